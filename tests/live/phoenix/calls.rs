//! Calls of every kind, and many of one kind. Whoever changes one may have to teach `read_back.py` what it becomes.

use std::{sync::Arc, time::Duration};

use beluga_o11y::{CallError, InMemoryExporter, LLMCallData, Usage};
use beluga_o11y_tracing::LlmCallLayer;
use serde_json::{Value, json};
use tracing::info_span;
use tracing_subscriber::{prelude::*, registry};
use uuid::Uuid;

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// One call of each kind, each with a name of its own.
pub fn of_every_kind() -> Vec<LLMCallData> {
    let mut plain = answered("").with_tokens(1000, 200).with_cost(3.75);
    plain.name = None;
    let cached = Usage::new(1000, 200)
        .with_cache_read(100)
        .with_reasoning(50);
    let written = Usage::new(1000, 200)
        .with_cache_read(300)
        .with_cache_write(400);
    let mut claude = answered("cache written").with_usage(written);
    (claude.provider, claude.model) = ("anthropic".into(), "claude-sonnet-4-5".into());
    let mut unpriced = answered("a model without a price")
        .with_tokens(10, 5)
        .with_cost(0.5);
    (unpriced.provider, unpriced.model) = (String::new(), "our-own-7b".into());
    let error = CallError::new("429 Too Many Requests: slow down").with_kind("RateLimitError");
    let mut calls = vec![
        call("larger than a packet").with_response("Paris. ".repeat(50_000)),
        plain,
        answered("cached and reasoning").with_usage(cached),
        claude,
        unpriced,
        question("failed").with_error(error.with_trace("caused by: status 429\n  at chat.rs:7")),
        question("failed, plainly").with_error("connection reset"),
        call("only text").with_messages("hi").with_response("hello"),
        call("no content"),
        of_somebody(),
        tool_call(),
        tool_answer(),
        images(),
        characters(),
        answered("first token").with_time_to_first_token(Duration::from_micros(310_500)),
    ];
    calls.extend(of_an_agent());
    calls.push(
        answered("in a trace of the caller")
            .with_trace_id(Uuid::new_v4().simple().to_string())
            .with_parent_span_id("b7ad6b7169203331"),
    );
    calls
}

/// Two calls of an agent, as the tracing layer makes them of the spans of rig 0.44.
fn of_an_agent() -> Vec<LLMCallData> {
    let sink = InMemoryExporter::new();
    let subscriber = registry().with(LlmCallLayer::new(sink.clone()));
    let turn = |name: &str, input: &str, output: &str, usage: [u64; 4]| {
        let _named = info_span!("turn", beluga.trace.name = name).entered();
        let [input_tokens, output_tokens, cached, reasoning] = usage;
        info_span!(
            target: "rig::agent_chat",
            "chat",
            rig.completion_parent = true,
            gen_ai.operation.name = "chat",
            gen_ai.system_instructions = r#"[{"type":"text","content":"Be brief."}]"#,
            gen_ai.provider.name = "openai",
            gen_ai.request.model = "gpt-4o-mini",
            gen_ai.request.stream = false,
            gen_ai.response.id = "chatcmpl-1",
            gen_ai.response.model = "gpt-4o-mini-2024-07-18",
            gen_ai.usage.input_tokens = input_tokens,
            gen_ai.usage.output_tokens = output_tokens,
            gen_ai.usage.cache_read.input_tokens = cached,
            gen_ai.usage.reasoning_tokens = reasoning,
            gen_ai.input.messages = input,
            gen_ai.output.messages = output,
        );
    };
    let question = r#"{"role":"user","parts":[{"type":"text","content":"Weather in Paris?"}]}"#;
    let call = r#"{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"weather","arguments":{"city":"Paris"}}]}"#;
    let result = r#"{"role":"user","parts":[{"type":"tool_call_response","id":"call_1","response":"rain"}]}"#;
    let answer = r#"{"role":"assistant","parts":[{"type":"text","content":"It rains."}],"finish_reason":"unknown"}"#;
    tracing::subscriber::with_default(subscriber, || {
        let trace = Uuid::new_v4().simple().to_string();
        let _request = info_span!(
            "request",
            beluga.trace.id = trace,
            beluga.session.id = "an agent's",
            beluga.user.id = "of an agent",
        )
        .entered();
        let _run = info_span!(
            "invoke_agent",
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = "weather",
        )
        .entered();
        turn(
            "an agent calls a tool",
            &format!("[{question}]"),
            &format!("[{call}]"),
            [1000, 200, 100, 50],
        );
        turn(
            "an agent answers",
            &format!("[{question},{call},{result}]"),
            &format!("[{answer}]"),
            [1200, 20, 1000, 0],
        );
    });
    sink.take().into_iter().map(Arc::unwrap_or_clone).collect()
}

/// So many calls that share the name `batch`.
pub fn batch(count: u64) -> Vec<LLMCallData> {
    let one = |index| {
        question("batch")
            .with_response(format!("Answer {index}."))
            .with_tokens(index, 1)
            .with_metadata("index", index)
    };
    (0..count).map(one).collect()
}

fn call(name: &str) -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o-mini")
        .with_name(name)
        .with_duration(Duration::from_micros(1_234_567))
}

fn question(name: &str) -> LLMCallData {
    call(name).with_messages(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
    ]))
}

fn answered(name: &str) -> LLMCallData {
    question(name).with_response(json!({"role": "assistant", "content": "Paris."}))
}

fn of_somebody() -> LLMCallData {
    answered("of somebody")
        .with_session_id("conversation-1")
        .with_user_id("user-1")
        .with_tag("prod")
        .with_tag("blue, or green")
        .with_environment("staging")
        .with_release("1.2.3")
        .with_metadata("experiment", "baseline-v2")
        .with_metadata(
            "nested",
            json!({"a": [{"b": 1}, 2.5, null, true], "empty": {}}),
        )
        .with_metadata("with.dot", "dotted")
        .with_model_parameters(
            json!({"temperature": 0.2, "max_tokens": 64, "stop": ["\n"], "stream": true}),
        )
}

fn assistant_calls() -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}},
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]})
}

fn tool_call() -> LLMCallData {
    question("calls tools")
        .with_model_parameters(json!({"tools": [{"type": "function", "function": {
            "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }}]}))
        .with_response(assistant_calls())
}

fn tool_answer() -> LLMCallData {
    call("tools have answered")
        .with_messages(json!([
            {"role": "user", "content": "Weather and time in Paris?"},
            assistant_calls(),
            {"role": "tool", "tool_call_id": "call_1", "content": "{\"celsius\": 20}"},
            {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        ]))
        .with_response(json!({"role": "assistant", "content": "20 degrees at noon."}))
}

fn images() -> LLMCallData {
    call("images")
        .with_messages(json!([{"role": "user", "content": [
            {"type": "text", "text": "What are these?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/whale.png"}},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ]}]))
        .with_response(json!({"role": "assistant", "content": "A whale and a dot."}))
}

/// All but U+0000, which Phoenix's other database, PostgreSQL, does not take.
fn characters() -> LLMCallData {
    let text = "\u{1f40b} e\u{301} \u{5d0} \"q\" \\ \u{1}\u{7}\u{1b}[0m\u{7f}\u{85}\u{feff}\u{200b}\u{2028}\u{ffff}\t\r\n";
    call("characters \u{1f40b}")
        .with_messages(json!([{"role": "user", "content": text}]))
        .with_response(json!({"role": "assistant", "content": text}))
        .with_metadata("k\u{e9}y", text)
        .with_tag("\u{1f40b}")
        .with_session_id("s \u{1f40b}")
        .with_user_id("j\u{fc}rgen")
}
