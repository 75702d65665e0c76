"""Calls models with the clients of OpenAI and Anthropic, watched by instrumentations that we did not write, and has
OpenTelemetry's own exporter write their spans as OTLP/JSON.

    otlp_calls.py genai | openinference | openllmetry URL SPANS CALLS

URL is that of llm_server.py. To SPANS go the spans, to CALLS what was asked and answered, as this program saw it.
"""

import json
import os
import sys
import time
from importlib import import_module

flavour, url, spans, calls = sys.argv[1:]
os.environ.update(
    # The official ones want to be told that they may keep what is said.
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="span_only",
    OTEL_SEMCONV_STABILITY_OPT_IN="gen_ai_latest_experimental",
    # OpenLLMetry sends news of its use to its makers.
    TRACELOOP_TELEMETRY="false",
)

from opentelemetry import trace  # noqa: E402: only now is the environment as they have to see it
from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter  # noqa: E402
from opentelemetry.sdk.resources import Resource  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: E402

MODULES = {
    "genai": "opentelemetry.instrumentation.genai",
    "openinference": "openinference.instrumentation",
    "openllmetry": "opentelemetry.instrumentation",
}

provider = TracerProvider(
    resource=Resource({"service.name": "travel", "service.version": "1.2.3", "deployment.environment.name": "staging"})
)
# All spans in one line, so that those that tell the same call are together.
provider.add_span_processor(BatchSpanProcessor(FileSpanExporter(path=spans), schedule_delay_millis=600_000))
trace.set_tracer_provider(provider)
for module, name in ("openai", "OpenAIInstrumentor"), ("anthropic", "AnthropicInstrumentor"):
    instrumentor = getattr(import_module(f"{MODULES[flavour]}.{module}"), name)
    instrumentor().instrument(tracer_provider=provider)

import anthropic  # noqa: E402
import openai  # noqa: E402

gpt = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
claude = anthropic.Anthropic(api_key="k", base_url=url.removesuffix("/v1"), max_retries=0)

SYSTEM = "Be brief."
QUESTION = "What is the capital of \"France\"? \N{GRINNING FACE}"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "The weather of a city.", "parameters": PARAMETERS}

tracer = trace.get_tracer("travel")


def main():
    for name, call in SCENARIOS.items():
        with tracer.start_as_current_span(name) as span:
            began = time.time()
            failed = None
            try:
                call()
            except (openai.APIError, anthropic.APIError) as error:
                failed = {"kind": type(error).__name__, "message": str(error)}
            context = span.get_span_context()
            seen = {
                "scenario": name,
                "began": began,
                "ended": time.time(),
                "error": failed,
                "trace_id": f"{context.trace_id:032x}",
                "parent_span_id": f"{context.span_id:016x}",
            }
        with open(calls, "a", encoding="utf-8") as out:
            print(json.dumps(seen), file=out)
    provider.shutdown()


def chat(model="gpt-4o", **more):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return gpt.chat.completions.create(model=model, messages=messages, temperature=0.2, max_tokens=100, **more)


def chat_stream():
    for _ in chat(stream=True, stream_options={"include_usage": True}):
        pass


def chat_tools():
    chat(tools=[{"type": "function", "function": TOOL}])


def chat_tool_result():
    function = {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}
    gpt.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        tools=[{"type": "function", "function": TOOL}],
    )


def embeddings():
    gpt.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=3)


def responses():
    gpt.responses.create(model="gpt-4o", instructions=SYSTEM, input=QUESTION, max_output_tokens=100)


def messages(model="claude-sonnet-4-5", **more):
    asked = [{"role": "user", "content": QUESTION}]
    return claude.messages.create(model=model, system=SYSTEM, messages=asked, max_tokens=100, **more)


def messages_stream():
    for _ in messages(stream=True):
        pass


def messages_tools():
    messages(tools=[{"name": TOOL["name"], "description": TOOL["description"], "input_schema": PARAMETERS}])


def messages_tool_result():
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
    claude.messages.create(
        model="claude-sonnet-4-5",
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ],
        max_tokens=100,
    )


SCENARIOS = {
    "chat": chat,
    "chat_stream": chat_stream,
    "chat_tools": chat_tools,
    "chat_tool_result": chat_tool_result,
    "chat_busy": lambda: chat("busy-model"),
    "chat_broken": lambda: chat("broken-model"),
    "embeddings": embeddings,
    "responses": responses,
    "messages": messages,
    "messages_stream": messages_stream,
    "messages_tools": messages_tools,
    "messages_tool_result": messages_tool_result,
    "messages_thinking": lambda: messages(thinking={"type": "enabled", "budget_tokens": 1024}),
    "messages_busy": lambda: messages("busy-model"),
}

main()
