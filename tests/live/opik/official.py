"""Opik's official Python client against the sandbox: what it sends is accepted, and comes back as sent."""

import datetime
import logging
import sys
import time

import opik

checks = 0
logged = []


class Collect(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            logged.append(record.getMessage())


def check(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}:\n  found    {found!r}\n  expected {expected!r}")


def within(seconds, probe):
    """What `probe` gives once it gives something; the client sends in the background."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"nothing after {seconds} s")


def main():
    logging.getLogger("opik").addHandler(Collect())
    client = opik.Opik(project_name="official")
    client.auth_check()

    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    end = start + datetime.timedelta(milliseconds=840)
    trace_sent = dict(
        name="chat",
        input={"messages": [{"role": "user", "content": "hi \U0001f40b"}]},
        output={"text": "hello"},
        metadata={"k": {"nested": [1, 2.5, None]}},
        tags=["prod", "blue"],
        thread_id="conv-1",
        error_info={"exception_type": "E", "message": "m", "traceback": "tb"},
    )
    trace = client.trace(start_time=start, end_time=end, **trace_sent)
    span_sent = dict(
        name="chat gpt-4o",
        type="llm",
        input={"messages": []},
        output={"text": "hello"},
        model="gpt-4o",
        provider="openai",
    )
    span = trace.span(
        start_time=start,
        end_time=end,
        usage={
            "prompt_tokens": 12,
            "completion_tokens": 5,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        total_cost=0.00123,
        **span_sent,
    )
    tool = span.span(name="look up", type="tool", start_time=start, end_time=end)
    # Started now, ended later: two writes of the same row. (Without the flush between them the update
    # may arrive first, and hides the create: Opik's own troubleshooting page on batching and updates.)
    late = client.trace(name="late", input={"q": 1})
    check("flush", client.flush(timeout=60), True)
    late.end(output={"a": 2})
    many = [client.trace(name="many", start_time=start, end_time=end) for _ in range(1500)]
    check("flush", client.flush(timeout=60), True)

    found = client.get_trace_content(trace.id)
    for field, value in trace_sent.items():
        if field == "error_info":
            check(field, found.error_info.model_dump(exclude_none=True), value)
        elif field == "tags":
            check(field, sorted(found.tags), sorted(value))
        else:
            check(field, getattr(found, field), value)
    check("start_time", found.start_time, start)
    check("end_time", found.end_time, end)
    check("cost", found.total_estimated_cost, 0.00123)
    check("spans", (found.span_count, found.llm_span_count), (2, 1))
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "original_usage.prompt_tokens": 12,
        "original_usage.completion_tokens": 5,
        "original_usage.total_tokens": 17,
        "original_usage.prompt_tokens_details.cached_tokens": 4,
    }
    check("usage of the trace", found.usage, usage)

    found = client.get_span_content(span.id)
    for field, value in span_sent.items():
        check(f"span {field}", getattr(found, field), value)
    check("span usage", found.usage, usage)
    check("span trace", found.trace_id, trace.id)
    check("span parent", client.get_span_content(tool.id).parent_span_id, span.id)

    found = within(10, lambda: client.get_trace_content(late.id).output)
    check("late output", found, {"a": 2})
    check("late input", client.get_trace_content(late.id).input, {"q": 1})
    found = client.search_traces(project_name="official", max_results=5000)
    check("all traces", {t.id for t in found}, {t.id for t in [trace, late, *many]})
    found = client.search_spans(project_name="official", trace_id=trace.id)
    check("all spans", {s.id for s in found}, {span.id, tool.id})

    client.end(timeout=30)
    check("warnings and errors in the client's log", logged, [])
    print(f"   {checks} checks")


main()
