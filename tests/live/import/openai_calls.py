"""Makes calls with OpenAI's own client and writes pairs of requests and responses, as programs log them.

Arguments: the URL of llm_server.py, where to write the pairs, and where to write what the records must hold, a line for
each pair.
"""

import json
import sys
import time
from datetime import datetime, timezone

import openai

KEY = "sk-a-key-that-must-not-be-seen"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]
PARAMETERS = {"type": "object", "properties": {"country": {"type": "string"}}}
ANSWER = "Paris is the capital."
# When llm_server.py says that its answers were made.
CREATED = "2026-09-21T14:13:20Z"

# What llm_server.py counts.
WHOLE = {"input_tokens": 40, "cache_read_tokens": 16, "output_tokens": 25, "reasoning_tokens": 9}
STREAMED = {"input_tokens": 140, "cache_read_tokens": 16, "output_tokens": 125, "reasoning_tokens": 9}
SNAPSHOT = {"gen_ai.response.model": "gpt-4o-2026-11-01"}
STOPPED = {**SNAPSHOT, "gen_ai.response.finish_reasons": ["stop"]}


def main(url, out, out_expected):
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
    pairs, expected = [], []

    def add(pair, **fields):
        pairs.append(pair)
        defaults = {"provider": "openai", "model": "gpt-4o", "error": None, "cost": None}
        expected.append({"fields": {**defaults, **fields}})

    # As a program logs that has the times of its own clock.
    request = {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0.2, "user": "user-1", "metadata": {"team": "a"}}
    started = time.time()
    answer = client.chat.completions.create(**request)
    ended = time.time()
    times = {"start_time": started, "end_time": ended}
    add(
        {"request": request, "response": answer.model_dump(mode="json"), **times},
        messages=MESSAGES,
        response=ANSWER,
        user_id="user-1",
        model_parameters={"temperature": 0.2},
        metadata={"team": "a", **STOPPED},
        start_time=started,
        duration_ms=(ended - started) * 1000,
        **WHOLE,
    )

    # The same in other words, with the body as text beside its headers, which hold the key.
    raw = client.chat.completions.with_raw_response.create(**request)
    started = datetime(2026, 11, 23, 12, 0, 0, 250_000, timezone.utc)
    add(
        {
            "request": {"headers": dict(raw.http_request.headers), "body": raw.http_request.content.decode()},
            "response": {"status_code": raw.status_code, "headers": dict(raw.headers), "body": raw.text},
            "start_time": started.isoformat(),
            "duration_ms": 812.5,
            "time_to_first_token_ms": 99.5,
        },
        messages=MESSAGES,
        response=ANSWER,
        start_time=started.timestamp(),
        duration_ms=812.5,
        time_to_first_token_ms=99.5,
        **WHOLE,
    )

    # Nothing but what came and went: the second it was made at is all that is known of times.
    tools = [{"type": "function", "function": {"name": "capital", "parameters": PARAMETERS}}]
    request = {"model": "gpt-4o", "messages": MESSAGES, "tools": tools}
    answer = client.chat.completions.create(**request)
    function = {"name": "capital", "arguments": '{"country": "Paris"}'}
    called = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    add(
        {"request": request, "response": answer.model_dump(mode="json")},
        response=called,
        model_parameters={"tools": tools},
        metadata={**SNAPSHOT, "gen_ai.response.finish_reasons": ["tool_calls"]},
        start_time=datetime.fromisoformat(CREATED).timestamp(),
        duration_ms=None,
        **WHOLE,
    )

    # Streams, as the chunks that the client gives, and as they go over the wire.
    request = {"model": "gpt-4o", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    chunks = [chunk.model_dump(mode="json") for chunk in client.chat.completions.create(**request)]
    parameters = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = {"response": ANSWER, "model_parameters": parameters, "metadata": STOPPED, **STREAMED}
    add({"request": request, "response": chunks, "latency_ms": 20}, **streamed, duration_ms=20)
    with client.chat.completions.with_streaming_response.create(**request) as wire:
        text = wire.text()
    add({"request": request, "response": {"status_code": 200, "body": text}, **times}, **streamed)
    request = {**request, "tools": tools}
    chunks = [chunk.model_dump(mode="json") for chunk in client.chat.completions.create(**request)]
    add({"request": request, "response": chunks}, response=called, **STREAMED)

    # Responses.
    request = {"model": "gpt-4o", "input": MESSAGES[1]["content"], "instructions": "Be brief.", "max_output_tokens": 99}
    answer = client.responses.create(**request)
    add(
        {"request": request, "response": answer.model_dump(mode="json")},
        messages=MESSAGES,
        response=ANSWER,
        model_parameters={"max_output_tokens": 99},
        metadata=SNAPSHOT,
        **WHOLE,
    )
    flat = [{"type": "function", "name": "capital", "parameters": PARAMETERS, "strict": False}]
    call = client.responses.create(model="gpt-4o", input="Capital?", tools=flat).output[0].model_dump(mode="json")
    done = {"type": "function_call_output", "call_id": call["call_id"], "output": "Paris"}
    request = {"model": "gpt-4o", "input": [{"role": "user", "content": "Capital?"}, call, done]}
    answer = client.responses.create(**request, tools=flat)
    add(
        {"request": request, "response": answer.model_dump(mode="json")},
        messages=[
            {"role": "user", "content": "Capital?"},
            {"role": "assistant", "tool_calls": called["tool_calls"]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Paris"},
        ],
        response=ANSWER,
        **WHOLE,
    )
    request = {"model": "gpt-4o", "input": "Capital?", "tools": flat, "stream": True}
    events = [event.model_dump(mode="json") for event in client.responses.create(**request)]
    add({"request": request, "response": events}, response=called, **STREAMED)

    # Embeddings.
    request = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 3}
    answer = client.embeddings.create(**request)
    add(
        {"request": request, "response": answer.model_dump(mode="json"), "start_time": 1_790_000_000},
        model="text-embedding-3-small",
        response=None,
        input_tokens=14,
        output_tokens=None,
        model_parameters={"dimensions": 3},
        metadata={"gen_ai.operation.name": "embeddings"},
    )

    # Errors: what the server said, and what only the client knows.
    request = {"model": "busy-model", "messages": MESSAGES}
    error = {"kind": "rate_limit_exceeded", "message": "Rate limit reached for busy-model. Try again in 20 s."}
    busy = {"model": "busy-model", "messages": MESSAGES, "response": None, "input_tokens": None}
    try:
        client.chat.completions.create(**request)
        raise SystemExit("busy-model was not busy")
    except openai.RateLimitError as refused:
        body, status = refused.response.json(), refused.status_code
    add(
        {"request": request, "response": {"status_code": status, "body": body}, **times},
        **busy,
        error=error,
        metadata={"http.response.status_code": 429},
    )
    add({"request": request, "response": body, **times}, **busy, error=error)
    gone = {"request": request, "error": "Request timed out.", "start_time": "2026-11-23T12:00:00Z", "duration_ms": 500}
    add(gone, **busy, error={"kind": None, "message": "Request timed out."}, duration_ms=500)

    # The output of a batch, of which the client has no types: the form is that of OpenAI's documentation.
    request = {"model": "gpt-4o", "messages": MESSAGES}
    body = client.chat.completions.create(**request).model_dump(mode="json")
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    batch = {"id": "batch_req_1", "custom_id": "question-1", "response": response, "error": None}
    snapshot = "gpt-4o-2026-11-01"
    add(batch, model=snapshot, messages=None, response=ANSWER, metadata={"custom_id": "question-1"}, **WHOLE)

    write(out, pairs)
    write(out_expected, expected)


def write(path, lines):
    with open(path, "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
