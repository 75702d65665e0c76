#!/usr/bin/env python3
"""A server that speaks OpenAI's and Anthropic's APIs as far as the clients in this directory need them, on a free port of
loopback.

It prints its base URL, the one with /v1, and serves until it is stopped. There is no model: what it answers follows from
the request, mostly from the model's name, and so do the token counts.

    busy-model   429, with an error as OpenAI words it
    broken-model 500
    slow-model   nothing for a minute; while streaming, one piece of the answer first
    any other    a call of the first tool, if the request offers tools and holds no result of one yet; else an answer

Chat completions, responses and Anthropic's messages, whole or streamed, and embeddings.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = ["Paris ", "is ", "the capital."]
# What the tool is called with: its first parameter, if it is text.
ARGUMENT = "Paris"
# What it thinks first, if it is asked to think.
THOUGHT = "France has a capital."
CREATED = 1_790_000_000

stopping = threading.Event()


class Refused(Exception):
    """An answer that is an error: its status, OpenAI's code for it, and what it says."""


def usage(streamed):
    """Cached and reasoning tokens are parts of their totals. Streamed answers have other counts, to be told apart."""
    more = 100 if streamed else 0
    return {
        "prompt_tokens": 40 + more,
        "completion_tokens": 25 + more,
        "total_tokens": 65 + 2 * more,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 9},
    }


def usage_of_responses(streamed):
    """The same counts under the names that the responses have."""
    counts = usage(streamed)
    return {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": counts["prompt_tokens_details"],
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": counts["completion_tokens_details"],
        "total_tokens": counts["total_tokens"],
    }


def call_of_tool(tools, done):
    """Name and arguments of the call to make, if there is one to make."""
    if not tools or done:
        return None
    # The one is nested, the other is flat.
    tool = tools[0].get("function") or tools[0]
    parameters = (tool.get("parameters") or {}).get("properties") or {}
    return tool["name"], json.dumps({name: ARGUMENT for name in list(parameters)[:1]})


def chat_completion(request):
    """The answer to a chat completion that is not streamed."""
    done = any(message["role"] == "tool" for message in request["messages"])
    call = call_of_tool(request.get("tools"), done)
    message = {"role": "assistant", "content": None if call else "".join(ANSWER), "refusal": None}
    if call:
        name, arguments = call
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        # OpenAI names the snapshot that an alias stood for.
        "model": request["model"] + "-2026-11-01",
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if call else "stop",
            }
        ],
        "usage": usage(False),
    }


def chat_chunks(request):
    """The chunks of a streamed chat completion."""

    def chunk(choices, **more):
        return {
            "id": "chatcmpl-2",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request["model"] + "-2026-11-01",
            "choices": choices,
            **more,
        }

    def piece(delta, finish=None):
        return chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])

    done = any(message["role"] == "tool" for message in request["messages"])
    call = call_of_tool(request.get("tools"), done)
    if call:
        name, arguments = call
        function = {"name": name, "arguments": ""}
        start = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield piece({"role": "assistant", "content": None, "tool_calls": [start]})
        for part in arguments[:4], arguments[4:]:
            yield piece({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        yield piece({}, "tool_calls")
    else:
        yield piece({"role": "assistant", "content": ""})
        for text in ANSWER:
            yield piece({"content": text})
        yield piece({}, "stop")
    if (request.get("stream_options") or {}).get("include_usage"):
        yield chunk([], usage=usage(True))


def response(request, streamed=False):
    """The answer of the responses API."""
    items = request["input"] if isinstance(request["input"], list) else []
    done = any(item.get("type") == "function_call_output" for item in items)
    call = call_of_tool(request.get("tools"), done)
    if call:
        name, arguments = call
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments}
    else:
        text = {"type": "output_text", "text": "".join(ANSWER), "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": request["model"] + "-2026-11-01",
        "output": [{**item, "status": "completed"}],
        "tools": request.get("tools") or [],
        "usage": usage_of_responses(streamed),
    }


def response_events(request):
    """The events of a streamed response."""
    whole = response(request, streamed=True)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    item = whole["output"][0]
    place = {"item_id": item["id"], "output_index": 0}
    events = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    if item["type"] == "function_call":
        unfinished = {**item, "arguments": "", "status": "in_progress"}
        events += [
            {"type": "response.output_item.added", "output_index": 0, "item": unfinished},
            {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]},
            {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]},
        ]
    else:
        place["content_index"] = 0
        text = item["content"][0]
        unfinished = {**item, "content": [], "status": "in_progress"}
        events += [
            {"type": "response.output_item.added", "output_index": 0, "item": unfinished},
            {"type": "response.content_part.added", **place, "part": {**text, "text": ""}},
            *({"type": "response.output_text.delta", **place, "delta": piece} for piece in ANSWER),
            {"type": "response.output_text.done", **place, "text": text["text"]},
            {"type": "response.content_part.done", **place, "part": text},
        ]
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def embeddings(request):
    """One vector for each input."""
    inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
    width = request.get("dimensions") or 3
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": [index + 0.5] * width}
            for index in range(len(inputs))
        ],
        "model": request["model"],
        "usage": {"prompt_tokens": 7 * len(inputs), "total_tokens": 7 * len(inputs)},
    }


def usage_of_messages(streamed):
    """What was read from a cache or written to it is not among Anthropic's input tokens."""
    more = 100 if streamed else 0
    return {
        "input_tokens": 17 + more,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 16,
        "output_tokens": 25 + more,
    }


def message_of(request, streamed=False):
    """The answer of Anthropic's messages API."""
    contents = [message["content"] for message in request["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    done = any(part["type"] == "tool_result" for part in parts)
    content = []
    if request.get("thinking"):
        content.append({"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"})
    if request.get("tools") and not done:
        tool = request["tools"][0]
        argument = {name: ARGUMENT for name in list(tool["input_schema"]["properties"])[:1]}
        content.append({"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": argument})
    else:
        content.append({"type": "text", "text": "".join(ANSWER)})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"] + "-20261101",
        "content": content,
        "stop_reason": "tool_use" if content[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": usage_of_messages(streamed),
    }


def message_events(request):
    """The events of a streamed message."""
    whole = message_of(request, streamed=True)
    usage = whole["usage"]
    started = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": started}
    for index, block in enumerate(whole["content"]):
        match block["type"]:
            case "text":
                empty = {"text": ""}
                deltas = [{"type": "text_delta", "text": text} for text in ANSWER]
            case "thinking":
                empty = {"thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]},
                ]
            case "tool_use":
                empty = {"input": {}}
                arguments = json.dumps(block["input"])
                deltas = [
                    {"type": "input_json_delta", "partial_json": part}
                    for part in (arguments[:4], arguments[4:])
                ]
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Head and body are written one after the other: the body would wait for the client's acknowledgement of the head.
    disable_nagle_algorithm = True

    def do_POST(self):  # the base class looks for this name
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        try:
            self.answer(json.loads(body))
        except Refused as refused:
            status, code, words = refused.args
            error = {"message": words, "type": code, "param": None, "code": code}
            kind = {"type": "error"} if self.path == "/v1/messages" else {}
            self.whole({**kind, "error": error}, status)
        except (BrokenPipeError, ConnectionResetError):
            # The client has cancelled its call.
            self.close_connection = True

    def answer(self, request):
        model, streamed = request["model"], request.get("stream")
        if model == "busy-model":
            raise Refused(429, "rate_limit_exceeded", "Rate limit reached for busy-model. Try again in 20 s.")
        if model == "broken-model":
            raise Refused(500, "server_error", "The server had an error while processing your request.")
        if model == "slow-model" and not streamed:
            self.wait()
        match self.path, bool(streamed):
            case "/v1/chat/completions", False:
                self.whole(chat_completion(request))
            case "/v1/chat/completions", True:
                self.stream(chat_chunks(request), model)
                self.chunk(b"data: [DONE]\n\n")
                self.chunk(b"")
            case "/v1/responses", False:
                self.whole(response(request))
            case "/v1/responses", True:
                self.stream(response_events(request), model)
                self.chunk(b"")
            case "/v1/messages", False:
                self.whole(message_of(request))
            case "/v1/messages", True:
                self.stream(message_events(request), model)
                self.chunk(b"")
            case "/v1/embeddings", _:
                self.whole(embeddings(request))
            case _:
                raise Refused(404, "not_found", "There is no " + self.path)

    def whole(self, answer, status=200):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events, model):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", "req_2")
        self.end_headers()
        for number, event in enumerate(events):
            if model == "slow-model" and number == 3:
                self.wait()
            # The events of chat completions have no names.
            name = f"event: {event['type']}\n" if "type" in event else ""
            self.chunk(f"{name}data: {json.dumps(event)}\n\n".encode())

    def chunk(self, data):
        """One chunk of the body; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def wait(self):
        stopping.wait(60)

    def log_message(self, *_):
        """Quiet."""


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    # A client that waits for slow-model must not keep the server alive.
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
