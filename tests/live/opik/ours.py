"""What our exporter sends, in the eyes of Opik's official Python client.

Every request that the sandbox got from us is parsed with the client's own wire models and must come
out of them unchanged, without a field that they do not know. Every value is computed again from the
record that was meant, here; token counts by the client's own code from the provider's raw answer.
What the server gives back must parse as the client's public models and as its `Opik` class reads it.
"""

import datetime
import json
import sys

import opik
from opik.llm_usage import opik_usage_factory
from opik.rest_api.types.span_public import SpanPublic
from opik.rest_api.types.span_write import SpanWrite
from opik.rest_api.types.trace_public import TracePublic
from opik.rest_api.types.trace_write import TraceWrite

from wire import BASE, check, done, get, instant, lines, parsed, requests_of_ours


def micros(text):
    """The sandbox of records has nanoseconds, the wire microseconds, cut off."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return instant(f"{head}.{fraction[:6].ljust(6, '0')}Z")


def usage_parts(answer):
    """The usage objects in an answer of any shape: the answer itself, its parts, the events of a stream."""
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except ValueError:
            return
    if isinstance(answer, list):
        for part in answer:
            yield from usage_parts(part)
    elif isinstance(answer, dict):
        for key in ("usage", "usageMetadata", "usage_metadata", "x_groq", "response", "message", "metadata"):
            yield from usage_parts(answer.get(key))
        yield answer


def snake(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


def by_the_official_client(provider, answer):
    """The client's own conversion of the answer's usage, if it is in a shape that the client reads."""
    if isinstance(answer, list) or provider is None:
        return None  # the client is given the usage of one answer
    for part in usage_parts(answer):
        if provider == "google_ai":
            # The client reads the Python SDK's names.
            part = {snake(key): value for key, value in part.items()}
        try:
            return opik_usage_factory.build_opik_usage(provider, part).to_backend_compatible_full_usage_dict()
        except Exception:
            continue
    return None


# The counts that we send by the provider's family, and no others; all of them, whenever the answer has
# them. The client also sends what else it finds, and OpenAI's newer words where an answer has those;
# Opik prices both alike.
SHOWN = {"prompt_tokens", "completion_tokens", "total_tokens"}
OURS = {
    "openai": {
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details.cached_tokens",
        "prompt_tokens_details.cache_write_tokens", "completion_tokens_details.reasoning_tokens",
    },
    "anthropic": {
        "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        "output_tokens_details.thinking_tokens",
    },
    "bedrock": {
        "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens",
        "completion_tokens_details.reasoning_tokens",
    },
    "google_ai": {
        "prompt_token_count", "candidates_token_count", "total_token_count", "cached_content_token_count",
        "thoughts_token_count",
    },
}


def ours(provider):
    return SHOWN | {f"original_usage.{name}" for name in OURS.get(provider, OURS["openai"])}


# Where our counts differ from the client's, on purpose, and under which keys.
OURS_SUMS_COMPACTION = {
    # The client sums the iterations for what it shows, but sends the counts of the last one to be priced.
    "original_usage.input_tokens",
    "original_usage.output_tokens",
    "original_usage.cache_read_input_tokens",
}
DIFFERS = {
    "anthropic_compaction": OURS_SUMS_COMPACTION - {"original_usage.cache_read_input_tokens"},
    "anthropic_compaction_cached": OURS_SUMS_COMPACTION,
    # The client does not know the names that Nova has for cached tokens.
    "bedrock_nova_cached": {"prompt_tokens", "total_tokens"},
    # The client does not know the name that the Live API has for the answer's tokens.
    "gemini_live_streaming_final": {"completion_tokens"},
    "gemini_sdk_live_streaming_final": {"completion_tokens"},
    # The answer has reasoning within the candidates; on the wire it always stands beside them.
    "gemini_reasoning_among_candidates": {"original_usage.candidates_token_count"},
    # The results of tools are input too, and priced as such.
    "gemini_sdk_reasoning": {"original_usage.prompt_token_count"},
    "gemini_tool_use": {"original_usage.prompt_token_count"},
    # Grok counts reasoning beside the completion, as its total proves.
    "openai_grok_reasoning": {"completion_tokens", "original_usage.completion_tokens"},
}


def expected_error(error):
    if error is None:
        return None
    if isinstance(error, str):
        error = {"message": error}
    text = lambda key: (error.get(key) or "").strip() and error[key]
    kind = text("kind") or "Error"
    message = text("message") or kind
    fallback = f"{kind}: {error['message']}" if text("message") else kind
    return {"exception_type": kind, "message": message, "traceback": text("trace") or fallback}


def without_none(values):
    return {key: value for key, value in values.items() if value is not None}


def main():
    meant = lines(sys.argv[1])
    requests = [r for r in requests_of_ours() if r["path"].endswith("/batch")]
    traces = {t["name"] + t["id"]: t for r in requests for t in r["body"].get("traces", [])}
    spans = {s["trace_id"]: s for r in requests for s in r["body"].get("spans", [])}
    check("traces sent", len(traces), len(meant))
    check("spans sent", len(spans), len(meant))
    for request in requests:
        check("answered", request["status"], 204)

    by_record = {}
    for trace in traces.values():
        by_record[trace["metadata"].get("original_id", trace["id"])] = trace

    usages = 0
    for one in meant:
        record = one["record"]
        trace = by_record[record["id"]]
        span = spans[trace["id"]]
        parsed(TraceWrite, trace)
        parsed(SpanWrite, span)
        expect_pair(one, trace, span)
        usages += expect_usage(one, span)
    check("answers whose usage the client reads too", usages >= 40, True)

    read_back(meant, by_record)
    done(f"{len(meant)} traces and spans, {usages} usages by the client's own code, ")


def expect_pair(one, trace, span, **where):
    record, what = one["record"], one["what"]
    for sent in (trace, span):
        expect_call(what, record, sent, **where)
    check(f"{what}: thread", trace.get("thread_id"), record.get("session_id"))
    check(f"{what}: tags", trace.get("tags", []), record.get("tags", []))
    check(f"{what}: metadata", trace["metadata"], expected_metadata(record, trace["id"]))
    expect_model(what, record, span)
    parameters = record.get("model_parameters")
    check(f"{what}: span metadata", span.get("metadata"), parameters and {"model_parameters": parameters})


def expect_call(what, record, sent, project="beluga-live", source="sdk", environment="staging", updated=None):
    """What a trace and its span have in common."""
    start = micros(record["start_time"])
    duration = datetime.timedelta(microseconds=round(record.get("duration_ms", 0) * 1000))
    default = "/".join(part for part in (record["provider"], record["model"]) if part)
    check(f"{what}: name", sent["name"], record.get("name") or default)
    check(f"{what}: project", sent["project_name"], project)
    check(f"{what}: start", instant(sent["start_time"]), start)
    took = instant(sent["end_time"]) - start
    check(f"{what}: duration", abs(took - duration) <= datetime.timedelta(microseconds=1), True)
    check(f"{what}: last_updated_at", sent["last_updated_at"], updated or sent["end_time"])
    check(f"{what}: environment", sent["environment"], record.get("environment", environment))
    check(f"{what}: source", sent["source"], source)
    check(f"{what}: ttft", sent.get("ttft"), record.get("time_to_first_token_ms"))
    check(f"{what}: input", sent.get("input"), "messages" in record and {"messages": record["messages"]} or None)
    check(f"{what}: output", sent.get("output"), "response" in record and {"response": record["response"]} or None)
    check(f"{what}: error", sent.get("error_info"), expected_error(record.get("error")))


def expect_model(what, record, span):
    check(f"{what}: type", span["type"], "llm")
    check(f"{what}: model", span.get("model"), record["model"] or None)
    check(f"{what}: provider", span.get("provider"), record["provider"] or None)
    check(f"{what}: cost", span.get("total_estimated_cost"), record.get("cost"))


def expected_metadata(record, sent_as):
    total = None
    if "input_tokens" in record and "output_tokens" in record:
        total = record["input_tokens"] + record["output_tokens"]
    facts = {
        "model": record["model"] or None, "provider": record["provider"] or None, "total_tokens": total,
        **{key: record.get(key) for key in (
            "input_tokens", "output_tokens", "cost", "model_parameters", "user_id", "release", "trace_id",
            "parent_span_id")},
        "original_id": record["id"] if sent_as != record["id"] else None,
    }
    return {**without_none(facts), **record.get("metadata", {})}


def expect_usage(one, span):
    sent, what = span.get("usage", {}), one["what"]
    record = one["record"]
    check(f"{what}: counts that are not of its family", set(sent) - ours(record["provider"]), set())
    shown = {"prompt_tokens": record.get("input_tokens"), "completion_tokens": record.get("output_tokens")}
    for key, value in shown.items():
        check(f"{what}: {key}", sent.get(key), value)
    official = by_the_official_client(one["provider"], one["answer"])
    if official is None:
        return 0
    both = {key for key in official if key in sent or key in ours(record["provider"])}
    differs = {key for key in both if sent.get(key) != official[key]}
    check(f"{what}: counts that differ from the client's {official}", differs, DIFFERS.get(what, set()))
    return 1


def read_back(meant, by_record):
    client = opik.Opik(project_name="beluga-live")
    for one in meant:
        trace_id = by_record[one["record"]["id"]]["id"]
        sent = by_record[one["record"]["id"]]
        raw = get(f"{BASE}/v1/private/traces/{trace_id}")
        public = TracePublic.model_validate(raw)
        check("unknown fields of TracePublic", public.model_extra, {})
        found = client.get_trace_content(trace_id)
        for field in ("name", "input", "output", "metadata", "tags", "thread_id", "environment"):
            check(f"{one['what']}: {field}, read back", getattr(found, field) or None, sent.get(field))
        check(f"{one['what']}: spans", (public.span_count, public.llm_span_count), (1, 1))
        check(f"{one['what']}: cost", public.total_estimated_cost or None, one["record"].get("cost"))
        total = (public.usage or {}).get("total_tokens")
        tokens = [one["record"].get(key) for key in ("input_tokens", "output_tokens")]
        check(f"{one['what']}: tokens", total, None if None in tokens else sum(tokens))
    found = client.search_spans(project_name="beluga-live", max_results=1000)
    check("spans found by the client", len(found), len(meant))
    for span in found:
        check("unknown fields of SpanPublic", SpanPublic.model_validate(span.model_dump()).model_extra, {})
        check("type", span.type, "llm")
    client.end()


if __name__ == "__main__":
    main()
