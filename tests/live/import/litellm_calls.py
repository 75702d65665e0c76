"""Makes calls with LiteLLM, whose logger of docs/cli.md writes them to litellm.jsonl in the working directory.

Arguments: the URL of llm_server.py, and where to write what the records must hold: a line for each call, by its tag.
"""

import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import litellm
import litellm_logger  # noqa: F401  its import switches it on

KEY = "sk-a-key-that-must-not-be-seen"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "capital",
        "parameters": {"type": "object", "properties": {"country": {"type": "string"}}},
    },
}
ANSWER = "Paris is the capital."
# USD for a million tokens: input, input from the cache, input written to it, output.
GPT_4O = (2.5, 1.25, 0, 10)
CLAUDE = (3, 0.3, 3.75, 15)

# What llm_server.py counts.
WHOLE = {"input_tokens": 40, "cache_read_tokens": 16, "output_tokens": 25, "reasoning_tokens": 9}
STREAMED = {"input_tokens": 140, "cache_read_tokens": 16, "output_tokens": 125, "reasoning_tokens": 9}
# What the server below counts, which speaks Anthropic's API: 10 that were in no cache, 100 read and 7 written.
ANTHROPIC = {"input_tokens": 117, "cache_read_tokens": 100, "cache_write_tokens": 7, "output_tokens": 3}
UNKNOWN = {name: None for name in [*WHOLE, "cache_write_tokens", "cost"]}


def cost(counts, prices):
    read, written = counts.get("cache_read_tokens", 0), counts.get("cache_write_tokens", 0)
    fresh = counts["input_tokens"] - read - written
    tokens = (fresh, read, written, counts["output_tokens"])
    return sum(count * price for count, price in zip(tokens, prices, strict=True)) / 1e6


class Anthropic(BaseHTTPRequestHandler):
    def do_POST(self):  # the base class looks for this name
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        usage = {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 7,
            "output_tokens": 3,
        }
        answer = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [{"type": "text", "text": ANSWER}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


expected = []


def expect(tag, started, **fields):
    """What the record with this tag must hold; None for a field that must not be there."""
    expected.append({"tag": tag, "started": started, "ended": time.time(), "fields": fields})


def call(tag, function, /, fails=False, tags=("live",), **arguments):
    """Makes a call, whole or streamed, and gives the time before it."""
    started = time.time()
    arguments["metadata"] = {"tags": [tag, *tags], **arguments.get("metadata", {})}
    try:
        answer = function(**arguments)
        if arguments.get("stream"):
            for _ in answer:
                pass
        failed = False
    except Exception as error:
        failed = True
        if not fails:
            raise SystemExit(f"{tag}: {error}") from error
    assert failed == fails, tag
    return started


def main(url, out):
    anthropic = ThreadingHTTPServer(("127.0.0.1", 0), Anthropic)
    threading.Thread(target=anthropic.serve_forever, daemon=True).start()
    chat = litellm.completion
    server = {"api_base": url, "api_key": KEY}
    openai = {"model": "openai/gpt-4o", "messages": MESSAGES, **server}
    whole = {"provider": "openai", "model": "gpt-4o", "messages": MESSAGES, "response": ANSWER, "error": None}
    snapshot = {"gen_ai.response.model": "gpt-4o-2026-11-01", "gen_ai.response.finish_reasons": ["stop"]}

    started = call(
        "mock",
        chat,
        model="gpt-4o",
        messages=MESSAGES,
        mock_response="Paris",
        temperature=0.2,
        user="user-1",
    )
    expect(
        "mock",
        started,
        **{**whole, "response": "Paris"},
        user_id="user-1",
        model_parameters={"temperature": 0.2},
        input_tokens=10,
        output_tokens=20,
        cost=10 * 2.5e-6 + 20 * 10e-6,
        time_to_first_token_ms=None,
        tags=["mock", "live"],
    )

    started = call("whole", chat, **openai, litellm_session_id="session-1")
    expect("whole", started, **whole, **WHOLE, cost=cost(WHOLE, GPT_4O), metadata=snapshot, trace_id="session-1")

    started = call("streamed", chat, **openai, stream=True, stream_options={"include_usage": True})
    parameters = {"stream": True, "stream_options": {"include_usage": True}}
    fields = {**whole, **STREAMED, "cost": cost(STREAMED, GPT_4O), "model_parameters": parameters}
    expect("streamed", started, **fields, streams=True)

    started = call("uncounted", chat, **openai, stream=True)
    expect("uncounted", started, **whole, **UNKNOWN, streams=True)

    started = call("tool", chat, **openai, tools=[TOOL])
    function = {"name": "capital", "arguments": '{"country": "Paris"}'}
    said = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    fields = {**whole, "response": said, "model_parameters": {"tools": [TOOL]}}
    expect("tool", started, **fields, **WHOLE)

    started = call("busy", chat, fails=True, **{**openai, "model": "openai/busy-model"}, max_retries=0)
    busy = {
        "provider": "openai",
        "model": "busy-model",
        "messages": MESSAGES,
        "response": None,
        "error": {"kind": "RateLimitError", "message": "Rate limit reached for busy-model"},
        **UNKNOWN,
        "metadata": {"http.response.status_code": 429},
    }
    expect("busy", started, **busy)

    started = call(
        "mock-busy", chat, fails=True, model="gpt-4o", messages=MESSAGES, mock_response="litellm.RateLimitError"
    )
    error = {"kind": "RateLimitError", "message": "mock rate limit"}
    expect("mock-busy", started, model="gpt-4o", response=None, error=error, **UNKNOWN)

    started = call("late", chat, fails=True, **{**openai, "model": "openai/slow-model"}, timeout=0.4, max_retries=0)
    expect("late", started, model="slow-model", error={"kind": "Timeout", "message": "timed out"}, least_ms=400)

    started = call("unpriced", chat, **{**openai, "model": "openai/our-model"})
    expect("unpriced", started, **{**whole, "model": "our-model"}, **WHOLE, cost=None)

    vectors = {"model": "openai/text-embedding-3-small", "input": ["a", "b"], **server}
    started = call("vectors", litellm.embedding, **vectors)
    expect(
        "vectors",
        started,
        model="text-embedding-3-small",
        response=None,
        input_tokens=14,
        cost=14 * 0.02e-6,
        metadata={"gen_ai.operation.name": "embeddings"},
    )

    responses = {"model": "openai/gpt-4o", "input": MESSAGES[1]["content"], "instructions": "Be brief.", **server}
    started = call("responses", litellm.responses, **responses)
    expect("responses", started, **whole, **WHOLE, cost=cost(WHOLE, GPT_4O), model_parameters=None)
    started = call("responses-streamed", litellm.responses, **responses, stream=True)
    fields = {**whole, **STREAMED, "cost": cost(STREAMED, GPT_4O), "model_parameters": {"stream": True}}
    expect("responses-streamed", started, **fields, streams=True)

    at = f"http://127.0.0.1:{anthropic.server_port}"
    started = call("anthropic", chat, model="anthropic/claude-sonnet-4-5", messages=MESSAGES, api_base=at, api_key=KEY)
    fields = {**whole, "provider": "anthropic", "model": "claude-sonnet-4-5"}
    expect("anthropic", started, **fields, **ANTHROPIC, cost=cost(ANTHROPIC, CLAUDE))

    group = {"model_name": "fast", "litellm_params": {"model": "openai/gpt-4o", **server}}
    other = {"model_name": "bad", "litellm_params": {"model": "openai/busy-model", **server}}
    router = litellm.Router(model_list=[group, other], fallbacks=[{"bad": ["fast"]}], num_retries=0)
    started = call("router", router.completion, model="fast", messages=MESSAGES)
    expect("router", started, **whole, **WHOLE, metadata={"model_group": "fast", **snapshot})
    started = call("fallback", router.completion, model="bad", messages=MESSAGES)
    expect("fallback", started, **{**busy, "metadata": {"model_group": "bad"}})
    expect("fallback", started, **whole, **WHOLE, metadata={"model_group": "fast"})

    async def alone():
        await litellm.acompletion(**openai, metadata={"tags": ["async"]})
        # The payload is written beside the call.
        await asyncio.sleep(2)

    started = time.time()
    asyncio.run(alone())
    expect("async", started, **whole, **WHOLE, cost=cost(WHOLE, GPT_4O))

    # The others must be written before what comes is switched on.
    lines = Path("litellm.jsonl")
    written(lines)
    litellm.turn_off_message_logging = True
    started = call("redacted", chat, **openai)
    hidden = "redacted-by-litellm"
    fields = {**whole, "messages": [{"role": "user", "content": hidden}], "response": hidden}
    expect("redacted", started, **fields, **WHOLE)
    written(lines)
    litellm.turn_off_message_logging = False

    litellm.request_correlation_in_logs = True
    started = call("session", chat, **openai, litellm_session_id="session-2", litellm_trace_id="trace-2")
    expect("session", started, **whole, session_id="session-2", trace_id="trace-2")
    written(lines)

    Path(out).write_text("".join(json.dumps(line) + "\n" for line in expected))


def written(lines):
    """Waits until every call that was made has its lines: LiteLLM writes them in threads of its own."""
    end = time.time() + 30
    while True:
        text = lines.read_text() if lines.exists() else ""
        missing = [line["tag"] for line in expected if f'"{line["tag"]}"' not in text]
        if not missing:
            # One of two.
            time.sleep(0.5)
            return
        if time.time() > end:
            raise SystemExit(f"LiteLLM has not written: {missing}")
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
