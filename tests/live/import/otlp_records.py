"""Compares records with what is known of the calls: what otlp_calls.py asked, and what llm_server.py answers to that.

otlp_records.py genai | openinference | openllmetry CALLS RECORDS
"""

import json
import sys
from datetime import datetime

flavour, calls, records = sys.argv[1:]

QUESTION = {"role": "user", "content": 'What is the capital of "France"? \N{GRINNING FACE}'}
ASKED = [{"role": "system", "content": "Be brief."}, QUESTION]
ANSWER = "Paris is the capital."
GPT = {"provider": "openai", "model": "gpt-4o"}
CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
COUNTS = "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"
OF_GPT = 40, 25, 16, None, 9
OF_GPT_STREAMED = 140, 125, 16, None, 9
# Of its input tokens, 17 or 117 are neither read from a cache nor written to it.
OF_CLAUDE = 40, 25, 16, 7, None
OF_CLAUDE_STREAMED = 140, 125, 16, 7, None
NONE = (None,) * 5
LIMITED = {"max_tokens": 100}
SET = {"temperature": 0.2, "max_tokens": 100}


def tool_call(id):
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}


def calls_tool(id):
    return {"role": "assistant", "tool_calls": [tool_call(id)]}


def with_result(id):
    return [QUESTION, calls_tool(id), {"role": "tool", "tool_call_id": id, "content": "sunny"}]


# By scenario: the provider and model, what was asked and with which parameters, the answer, the counts, the error's kind.
EXPECTED = {
    "chat": (GPT, ASKED, SET, ANSWER, OF_GPT, None),
    "chat_stream": (GPT, ASKED, {**SET, "stream": True}, ANSWER, OF_GPT_STREAMED, None),
    "chat_tools": (GPT, ASKED, SET, calls_tool("call_1"), OF_GPT, None),
    "chat_tool_result": (GPT, with_result("call_1"), {}, ANSWER, OF_GPT, None),
    "chat_busy": ({**GPT, "model": "busy-model"}, ASKED, SET, None, NONE, "RateLimitError"),
    "chat_broken": ({**GPT, "model": "broken-model"}, ASKED, SET, None, NONE, "InternalServerError"),
    "embeddings": ({**GPT, "model": "text-embedding-3-small"}, None, {}, None, (14, None, None, None, None), None),
    "responses": (GPT, ASKED, LIMITED, ANSWER, OF_GPT, None),
    "messages": (CLAUDE, ASKED, LIMITED, ANSWER, OF_CLAUDE, None),
    "messages_stream": (CLAUDE, ASKED, {**LIMITED, "stream": True}, ANSWER, OF_CLAUDE_STREAMED, None),
    "messages_tools": (CLAUDE, ASKED, LIMITED, calls_tool("toolu_1"), OF_CLAUDE, None),
    "messages_tool_result": (CLAUDE, with_result("toolu_1"), LIMITED, ANSWER, OF_CLAUDE, None),
    "messages_thinking": (
        CLAUDE,
        ASKED,
        LIMITED,
        {"role": "assistant", "content": ANSWER, "reasoning_content": "France has a capital."},
        OF_CLAUDE,
        None,
    ),
    "messages_busy": ({**CLAUDE, "model": "busy-model"}, ASKED, LIMITED, None, NONE, "RateLimitError"),
}

# What an instrumentation tells otherwise, or not at all.
TOLD = {
    ("openinference", "embeddings", "messages"): ["one", "two"],
    ("openinference", "responses", "parameters"): {"max_output_tokens": 100},
    ("openllmetry", "embeddings", "messages"): [
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ],
    ("openllmetry", "embeddings", "counts"): (14, None, 0, None, None),
    ("openllmetry", "chat_stream", "counts"): (140, 125, 16, None, None),
    # It adds up what the events of a stream say, one token at its begin, and at its end all.
    ("openllmetry", "messages_stream", "counts"): (140, 126, 16, 7, None),
}
# Responses and embeddings have no tools, and the others offer the one.
OFFERS_TOOL = {"chat_tools", "chat_tool_result", "messages_tools"}


def same(place, found, expected):
    if found != expected:
        sys.exit(f"{flavour} {place}: {found!r}, and not {expected!r}")


def plain(value):
    """Arguments of tool calls are JSON in a text, whose spaces say nothing."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        arguments = {"arguments": json.loads(value["arguments"])} if "arguments" in value else {}
        return {name: plain(one) for name, one in {**value, **arguments}.items()}
    return value


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


def compare(seen, record):
    name = seen["scenario"]
    served, messages, parameters, answer, counts, failed = EXPECTED[name]

    def told(what, otherwise):
        return TOLD.get((flavour, name, what), otherwise)

    for field, expected in served.items():
        same(f"{name} {field}", record.get(field), expected)
    same(f"{name} messages", plain(record.get("messages")), told("messages", messages))
    same(f"{name} response", plain(record.get("response")), answer)
    same(f"{name} counts", tuple(record.get(field) for field in COUNTS), told("counts", counts))
    found = record.get("model_parameters") or {}
    for field, expected in told("parameters", parameters).items():
        same(f"{name} {field}", found.get(field), expected)
    tools = [tool.get("function", tool)["name"] for tool in found.get("tools", [])]
    same(f"{name} tools", tools, ["weather"] if name in OFFERS_TOOL else [])

    error = record.get("error")
    if failed:
        same(f"{name} error", error["kind"].rpartition(".")[2], failed)
        same(f"{name} error, as the program saw it", error["message"], seen["error"]["message"])
        same(f"{name} error's kind", seen["error"]["kind"], failed)
    else:
        same(f"{name} error", error, None)

    start, took = seconds(record["start_time"]), record["duration_ms"] / 1000
    if not seen["began"] - 0.001 <= start <= start + took <= seen["ended"] + 0.001:
        sys.exit(f"{flavour} {name}: from {start} for {took} s, and not within {seen['began']} and {seen['ended']}")
    first = record.get("time_to_first_token_ms")
    same(f"{name} has a first token", first is not None, name.endswith("stream"))
    if first is not None and not 0 < first <= record["duration_ms"]:
        sys.exit(f"{flavour} {name}: the first token after {first} ms of {record['duration_ms']}")

    for field in "trace_id", "parent_span_id":
        same(f"{name} {field}", record[field], seen[field])
    same(f"{name} environment", record["environment"], "staging")
    same(f"{name} release", record["release"], "1.2.3")
    same(f"{name} service", record["metadata"]["service.name"], "travel")


def main():
    with open(calls, encoding="utf-8") as lines:
        made = [json.loads(line) for line in lines]
    with open(records, encoding="utf-8") as lines:
        by_trace = {record["trace_id"]: record for record in map(json.loads, lines)}
    same("scenarios", [seen["scenario"] for seen in made], list(EXPECTED))
    same("traces", sorted(by_trace), sorted(seen["trace_id"] for seen in made))
    same("ids", len({record["id"] for record in by_trace.values()}), len(made))
    for seen in made:
        compare(seen, by_trace[seen["trace_id"]])
    print(f"   {len(made)} calls are as they were made")


main()
