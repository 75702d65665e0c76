//! genai 0.7.2 with its feature `otel`. It never enters its spans, and its counts are signed.

use serde_json::{Value, json};
use tracing::{Span, field::Empty, info_span};

use crate::{
    Calls, NO_ANSWER, only, records, records_beside_a_full_log, records_beside_a_log, records_of,
    seen, with,
};

/// `chat_request_span`, without the options of the request.
fn chat(provider: &str, model: &str, stream: bool) -> Span {
    let span_name = format!("chat {model}");
    let span = info_span!(
        target: "genai::otel::span",
        "genai.chat",
        "otel.name" = span_name.as_str(),
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = "chat",
        "gen_ai.provider.name" = provider,
        "gen_ai.request.model" = model,
        "gen_ai.request.stream" = stream,
        "gen_ai.request.temperature" = Empty,
        "gen_ai.request.max_tokens" = Empty,
        "gen_ai.request.top_p" = Empty,
        "gen_ai.request.seed" = Empty,
        "gen_ai.request.stop_sequences" = Empty,
        "gen_ai.output.type" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "gen_ai.response.id" = Empty,
        "gen_ai.response.model" = Empty,
        "gen_ai.response.finish_reasons" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
        "gen_ai.usage.cache_read.input_tokens" = Empty,
        "gen_ai.usage.cache_creation.input_tokens" = Empty,
        "gen_ai.usage.reasoning.output_tokens" = Empty,
        "gen_ai.response.time_to_first_chunk" = Empty,
        "gen_ai.system_instructions" = Empty,
        "gen_ai.input.messages" = Empty,
        "gen_ai.output.messages" = Empty,
        "gen_ai.tool.definitions" = Empty,
    );
    span.record("server.address", "api.openai.com");
    span.record("server.port", 443_i64);
    span
}

/// `embeddings_request_span`
fn embeddings(provider: &str, model: &str) -> Span {
    let span_name = format!("embeddings {model}");
    let span = info_span!(
        target: "genai::otel::span",
        "genai.embeddings",
        "otel.name" = span_name.as_str(),
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = "embeddings",
        "gen_ai.provider.name" = provider,
        "gen_ai.request.model" = model,
        "gen_ai.embeddings.dimension.count" = Empty,
        "gen_ai.request.encoding_formats" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "gen_ai.response.model" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
    );
    span.record("server.address", "api.openai.com");
    span.record("server.port", 443_i64);
    span
}

/// `AgentSpan::start`
fn agent(operation: &'static str, name: &str, model: &str) -> Span {
    let span_name = format!("{operation} {name}");
    let span = info_span!(
        target: "genai::otel::agent",
        "genai.agent",
        "otel.name" = span_name.as_str(),
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = operation,
        "gen_ai.agent.name" = Empty,
        "gen_ai.agent.id" = Empty,
        "gen_ai.agent.description" = Empty,
        "gen_ai.provider.name" = Empty,
        "gen_ai.request.model" = Empty,
    );
    span.record("gen_ai.agent.name", name);
    span.record("gen_ai.provider.name", "openai");
    span.record("gen_ai.request.model", model);
    span
}

/// `execute_tool_span`
fn execute_tool(name: &str) -> Span {
    let span_name = format!("execute_tool {name}");
    let span = info_span!(
        target: "genai::otel::agent",
        "genai.execute_tool",
        "otel.name" = span_name.as_str(),
        "otel.kind" = "internal",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = "execute_tool",
        "gen_ai.tool.name" = name,
        "gen_ai.tool.call.id" = Empty,
        "gen_ai.tool.description" = Empty,
        "gen_ai.tool.type" = Empty,
        "gen_ai.tool.call.arguments" = Empty,
        "gen_ai.tool.call.result" = Empty,
    );
    span.record("gen_ai.tool.call.id", "call_1");
    span.record("gen_ai.tool.type", "function");
    span
}

/// `invoke_workflow_span`
fn invoke_workflow(name: &str) -> Span {
    let span_name = format!("invoke_workflow {name}");
    info_span!(
        target: "genai::otel::agent",
        "genai.invoke_workflow",
        "otel.name" = span_name.as_str(),
        "otel.kind" = "internal",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = "invoke_workflow",
        "gen_ai.workflow.name" = name,
    )
}

/// `plan_span`
fn plan() -> Span {
    info_span!(
        target: "genai::otel::agent",
        "genai.plan",
        "otel.name" = "plan",
        "otel.kind" = "internal",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "gen_ai.operation.name" = "plan",
        "gen_ai.agent.name" = Empty,
    )
}

/// `EvalResult::emit`
fn evaluation_result() {
    let span = info_span!(
        target: "genai::otel::events",
        "genai.evaluation.result",
        "otel.name" = "gen_ai.evaluation.result",
        "otel.kind" = "internal",
        "otel.status_code" = Empty,
        "gen_ai.evaluation.name" = "relevance",
        "gen_ai.evaluation.score.value" = Empty,
        "gen_ai.evaluation.score.label" = Empty,
        "gen_ai.evaluation.explanation" = Empty,
        "gen_ai.response.id" = Empty,
        "error.type" = Empty,
    );
    span.record("gen_ai.evaluation.score.value", 0.8);
    span.record("gen_ai.evaluation.score.label", "pass");
    span.record("gen_ai.response.id", "chatcmpl-1");
}

/// `record_chat_response` and, for a stream, `record_stream_end`; a stream does not know the model that answers.
fn record_answer(span: &Span, model: Option<&str>, counts: [(&str, i64); 2]) {
    span.record("gen_ai.response.id", "chatcmpl-1");
    if let Some(model) = model {
        span.record("gen_ai.response.model", model);
    }
    span.record("gen_ai.response.finish_reasons", r#"["stop"]"#);
    for (part, count) in counts {
        span.record(format!("gen_ai.usage.{part}").as_str(), count);
    }
}

/// `record_error`
fn record_error(span: &Span, kind: &str) {
    span.record("otel.status_code", "error");
    span.record("error.type", kind);
}

const COUNTS: [(&str, i64); 2] = [("input_tokens", 12), ("output_tokens", 3)];

fn answered() -> Value {
    json!({
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 12,
        "output_tokens": 3,
        "model_parameters": {"stream": false},
        "metadata": {
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop"],
            "server.address": "api.openai.com",
            "server.port": 443,
        },
    })
}

pub(crate) fn plain() {
    record_answer(&chat("openai", "gpt-4o", false), Some("gpt-4o"), COUNTS);
}

/// genai tells the kind of an error and nothing else.
fn error(kind: &str) -> Value {
    json!({"kind": kind, "message": format!("the call failed: {kind}"), "trace": null})
}

#[test]
fn plain_call() {
    assert_eq!(only(plain), answered());
}

#[test]
fn options_of_the_request() {
    let call = only(|| {
        let span = chat("openai", "gpt-4o", false);
        span.record("gen_ai.request.temperature", 0.7);
        span.record("gen_ai.request.max_tokens", 256_i64);
        span.record("gen_ai.request.top_p", 0.9);
        span.record("gen_ai.request.seed", 42_i64);
        span.record("gen_ai.request.stop_sequences", r#"["END","\n"]"#);
        span.record("gen_ai.output.type", "json");
        record_answer(&span, Some("gpt-4o"), COUNTS);
    });
    let parameters = json!({
        "stream": false,
        "temperature": 0.7,
        "max_tokens": 256,
        "top_p": 0.9,
        "seed": 42,
        "stop": ["END", "\n"],
        "output_type": "json",
    });
    let expected = with(&answered(), json!({"model_parameters": parameters}));
    assert_eq!(call, expected);
}

#[test]
fn counts() {
    for (provider, parts, expected) in [
        (
            "anthropic",
            json!({
                "input_tokens": 195, "output_tokens": 70, "cache_read.input_tokens": 80,
                "cache_creation.input_tokens": 15, "reasoning.output_tokens": 30,
            }),
            json!([195, 70, 80, 15, 30]),
        ),
        (
            "openai",
            json!({"input_tokens": 0, "output_tokens": 0}),
            json!([0, 0, null, null, null]),
        ),
        ("openai", json!({}), json!([null, null, null, null, null])),
        // The Converse API counts what is cached apart, and genai hands that on.
        (
            "aws.bedrock",
            json!({
                "input_tokens": 10, "output_tokens": 5, "cache_read.input_tokens": 7,
                "cache_creation.input_tokens": 3,
            }),
            json!([20, 5, 7, 3, null]),
        ),
    ] {
        let call = only(|| {
            let span = chat(provider, "m", false);
            span.record("gen_ai.response.model", "m");
            for (part, count) in parts.as_object().unwrap() {
                let field = format!("gen_ai.usage.{part}");
                span.record(field.as_str(), count.as_i64().unwrap());
            }
        });
        let fields = [
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
        ];
        let counts = fields.map(|field| call[field].clone());
        assert_eq!(json!(counts), expected, "{provider} {parts}");
    }
}

#[test]
fn content() {
    // As `attrs.rs` writes it: system messages are apart, the content of binaries is left out.
    const SYSTEM: &str =
        r#"[{"content":"Be brief.","type":"text"},{"content":"Be kind.","type":"text"}]"#;
    const SENT: &str = r#"[{"parts":[{"content":"Paris?","type":"text"},{"type":"blob"}],"role":"user"},{"parts":[{"arguments":{"city":"Paris"},"id":"call_1","name":"weather","type":"tool_call"}],"role":"assistant"},{"parts":[{"id":"call_1","result":"sunny","type":"tool_call_response"}],"role":"tool"}]"#;
    const ANSWERED: &str = r#"[{"finish_reason":"stop","parts":[{"content":"It says sunny.","type":"reasoning"},{"content":"Sunny.","type":"text"}],"role":"assistant"}]"#;
    const TOOLS: &str = r#"[{"description":"Tells it.","name":"weather","parameters":{"type":"object"},"type":"function"}]"#;
    let run = || {
        let span = chat("openai", "gpt-4o", false);
        span.record("gen_ai.system_instructions", SYSTEM);
        span.record("gen_ai.input.messages", SENT);
        span.record("gen_ai.tool.definitions", TOOLS);
        record_answer(&span, Some("gpt-4o"), COUNTS);
        span.record("gen_ai.output.messages", ANSWERED);
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let function = json!({"name": "weather", "arguments": r#"{"city":"Paris"}"#});
    let messages = json!([
        {"role": "system", "content": [text("Be brief."), text("Be kind.")]},
        {"role": "user", "content": [text("Paris?"), {"type": "blob"}]},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]);
    let response = json!({
        "role": "assistant",
        "content": "Sunny.",
        "reasoning_content": "It says sunny.",
    });
    let tools: Value = serde_json::from_str(TOOLS).unwrap();
    let content = json!({
        "messages": messages,
        "response": response,
        "model_parameters": {"stream": false, "tools": tools},
    });
    assert_eq!(only(run), with(&answered(), content));
    let without = seen(&records_of(|layer| layer.with_content(false), run));
    assert_eq!(without, [answered()]);
}

/// With everything captured that `ChatOptions` can capture.
#[test]
fn streaming_call() {
    let calls = records(|| {
        let span = chat("openai", "gpt-4o", true);
        span.record("gen_ai.response.time_to_first_chunk", 0.25);
        record_answer(&span, None, COUNTS);
    });
    let expected = json!({"model_parameters": {"stream": true}, "time_to_first_token_ms": 250});
    assert_eq!(seen(&calls), [with(&answered(), expected)]);
}

/// By default a stream keeps neither counts nor text; every adapter keeps why it stopped.
#[test]
fn streaming_call_of_which_nothing_is_captured() {
    let call = only(|| {
        let span = chat("openai", "gpt-4o", true);
        span.record("gen_ai.response.time_to_first_chunk", 0.25);
        span.record("gen_ai.response.finish_reasons", r#"["stop"]"#);
    });
    assert_eq!(call.get("error"), None);
    assert_eq!(call["time_to_first_token_ms"], 250);
}

#[test]
fn errors() {
    for kind in ["429", "500", "timeout", "chat_response_generation"] {
        let call = only(|| record_error(&chat("openai", "gpt-4o", false), kind));
        let metadata = json!({"server.address": "api.openai.com", "server.port": 443});
        let expected = json!({
            "input_tokens": null,
            "output_tokens": null,
            "error": error(kind),
            "metadata": metadata,
        });
        assert_eq!(call, with(&answered(), expected));
    }
}

/// A stream may fail and come to its end all the same.
#[test]
fn an_error_in_a_stream() {
    let call = only(|| {
        let span = chat("openai", "gpt-4o", true);
        // The log is written outside of the span.
        tracing::error!(target: "genai::adapter::adapters::openai::streamer", "Error: SECRET");
        record_error(&span, "web_stream");
        record_answer(&span, None, COUNTS);
    });
    let expected = json!({"model_parameters": {"stream": true}, "error": error("web_stream")});
    assert_eq!(call, with(&answered(), expected));
}

#[test]
fn cancelled() {
    let unary = only(|| drop(chat("openai", "gpt-4o", false)));
    let unread = only(|| drop(chat("openai", "gpt-4o", true)));
    let half_read = only(|| {
        let span = chat("openai", "gpt-4o", true);
        span.record("gen_ai.response.time_to_first_chunk", 0.25);
    });
    for call in [unary, unread, half_read] {
        assert_eq!(call["error"], NO_ANSWER);
        assert_eq!(call["metadata"]["error_inferred"], true);
    }
}

#[test]
fn embeddings_calls() {
    let base = json!({
        "provider": "openai",
        "model": "e",
        "metadata": {
            "gen_ai.operation.name": "embeddings",
            "server.address": "api.openai.com",
            "server.port": 443,
        },
    });
    let counted = only(|| {
        let span = embeddings("openai", "e");
        span.record("gen_ai.response.model", "e");
        span.record("gen_ai.usage.input_tokens", 8_i64);
    });
    assert_eq!(counted, with(&base, json!({"input_tokens": 8})));
    // Gemini counts nothing.
    let uncounted = only(|| {
        embeddings("openai", "e").record("gen_ai.response.model", "e");
    });
    assert_eq!(uncounted, base);
    let failed = only(|| record_error(&embeddings("openai", "e"), "401"));
    assert_eq!(failed, with(&base, json!({"error": error("401")})));
    // Each answer has a model, so there was none.
    assert_eq!(only(|| drop(embeddings("openai", "e")))["error"], NO_ANSWER);

    let options = only(|| {
        let span = embeddings("openai", "e");
        span.record("gen_ai.embeddings.dimension.count", 512_i64);
        span.record("gen_ai.request.encoding_formats", r#"["float"]"#);
        span.record("gen_ai.response.model", "e");
    });
    assert_eq!(
        options["metadata"]["gen_ai.embeddings.dimension.count"],
        512
    );
    assert_eq!(
        options["model_parameters"],
        json!({"encoding_formats": ["float"]})
    );
}

/// What a program builds on top: none of it is a call, all of it may hold some.
fn workflow() {
    drop(agent("create_agent", "guide", "gpt-4o"));
    invoke_workflow("report").in_scope(|| {
        agent("invoke_agent", "guide", "gpt-4o").in_scope(|| {
            drop(plan());
            plain();
            execute_tool("weather").in_scope(plain);
            evaluation_result();
        });
    });
    evaluation_result();
}

#[test]
fn spans_around_calls() {
    let calls = seen(&records(workflow));
    let call = |parent: u64, names: Value| {
        let mut call = with(
            &answered(),
            json!({"trace_id": 1, "parent_span_id": parent}),
        );
        let metadata = call["metadata"].as_object_mut().unwrap();
        metadata.extend(names.as_object().unwrap().clone());
        call
    };
    let agent = json!({"gen_ai.agent.name": "guide"});
    let tool = json!({"gen_ai.agent.name": "guide", "gen_ai.tool.name": "weather"});
    assert_eq!(calls, [call(1, agent), call(2, tool)]);
}

/// genai's span is not entered, so what it calls is not in it, and calls that overlap are not one.
#[test]
fn no_doubles() {
    let script = || {
        workflow();
        let first = chat("openai", "gpt-4o", false);
        let second = chat("openai", "gpt-4o", true);
        let third = embeddings("openai", "e");
        drop((second, first, third));
        plain();
    };
    let beside: [fn(_) -> Calls; 3] = [records, records_beside_a_log, records_beside_a_full_log];
    for records in beside {
        assert_eq!(records(script).len(), 2 + 3 + 1);
    }
}
