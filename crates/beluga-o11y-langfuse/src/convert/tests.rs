use std::time::Duration;

use beluga_o11y::{CallError, LLMCallData};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as Any,
    trace::v1::Span,
};
use prost::Message;
use serde_json::{Map, Value, json};

use super::*;
use crate::{LangfuseExporter, LangfuseExporterBuilder};

fn builder() -> LangfuseExporterBuilder {
    LangfuseExporter::builder()
        .with_public_key("pk-lf-1")
        .with_secret_key("sk-lf-1")
}

fn request(builder: LangfuseExporterBuilder, call: &LLMCallData) -> ExportTraceServiceRequest {
    let bytes = builder.build().unwrap().encode(call).unwrap();
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(request.encode_to_vec(), bytes);
    request
}

fn span(builder: LangfuseExporterBuilder, call: &LLMCallData) -> Span {
    let mut request = request(builder, call);
    request.resource_spans[0].scope_spans[0].spans.remove(0)
}

fn sent_by(builder: LangfuseExporterBuilder, call: &LLMCallData) -> Value {
    let attributes = span(builder, call).attributes;
    let count = attributes.len();
    let json = |value: Any| match value {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(value) => json!(value),
        Any::ArrayValue(array) => array
            .values
            .into_iter()
            .map(|value| match value.value {
                Some(Any::StringValue(text)) => json!(text),
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    let fields: Map<_, _> = attributes
        .into_iter()
        .map(|attribute| (attribute.key, json(attribute.value.unwrap().value.unwrap())))
        .collect();
    assert_eq!(fields.len(), count, "a name comes twice");
    Value::Object(fields)
}

fn sent(call: &LLMCallData) -> Value {
    sent_by(builder(), call)
}

fn full() -> LLMCallData {
    LLMCallData::new("OpenAI", "gpt-4o")
        .with_start_time("2026-11-22T10:00:00.123456Z".parse().unwrap())
        .with_name("answer")
        .with_messages(json!([{"role": "user", "content": "hi"}]))
        .with_response("hello")
        .with_model_parameters(Json::parse(r#"{"temperature": 0.20}"#).unwrap())
        .with_duration(Duration::from_millis(1500))
        .with_time_to_first_token(Duration::from_millis(250))
        .with_usage(
            Usage::new(100, 50)
                .with_cache_read(40)
                .with_cache_write(10)
                .with_reasoning(20),
        )
        .with_cost(0.003)
        .with_error(
            CallError::new("slow down")
                .with_kind("RateLimitError")
                .with_trace("at main"),
        )
        .with_session_id("s1")
        .with_user_id("u1")
        .with_tag("a")
        .with_tag("b")
        .with_environment("Production")
        .with_release("1.2.3")
        .with_metadata("plain", "text")
        .with_metadata("nested", json!({"z": [1, 2.5]}))
}

#[test]
fn every_field() {
    let expected = json!({
        "langfuse.observation.type": "generation",
        "langfuse.trace.name": "answer",
        "user.id": "u1",
        "session.id": "s1",
        "langfuse.trace.tags": ["a", "b"],
        "langfuse.environment": "production",
        "langfuse.release": "1.2.3",
        "langfuse.observation.input": r#"[{"content":"hi","role":"user"}]"#,
        "langfuse.observation.output": "hello",
        "langfuse.observation.model.name": "gpt-4o",
        "langfuse.observation.model.parameters": r#"{"temperature": 0.20}"#,
        "langfuse.observation.usage_details": concat!(
            r#"{"input":50,"input_cached_tokens":40,"input_cache_creation":10,"#,
            r#""output":30,"output_reasoning_tokens":20,"total":150}"#,
        ),
        "langfuse.observation.cost_details": r#"{"total":0.003}"#,
        "langfuse.observation.completion_start_time": "2026-11-22T10:00:00.373456Z",
        "gen_ai.provider.name": "OpenAI",
        "langfuse.observation.metadata.error_trace": "at main",
        "langfuse.observation.metadata.error_type": "RateLimitError",
        "langfuse.observation.metadata.plain": "text",
        "langfuse.observation.metadata.nested": r#"{"z":[1,2.5]}"#,
    });
    assert_eq!(sent(&full()), expected);
    let span = span(builder(), &full());
    assert_eq!(span.name, "answer");
    let status = span.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "slow down"));
}

#[test]
fn the_resource_says_who_sends() {
    let request = request(builder(), &full());
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    let names: Vec<_> = resource.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(
        names,
        [
            "telemetry.sdk.name",
            "telemetry.sdk.language",
            "telemetry.sdk.version"
        ]
    );
    let scope = request.resource_spans[0].scope_spans[0].scope.clone();
    assert_eq!(scope.unwrap().name, "beluga-o11y");
}

#[test]
fn what_is_unknown_is_left_out() {
    let bare = json!({"langfuse.observation.type": "generation"});
    assert_eq!(sent(&LLMCallData::new("", "")), bare);
    let blank = LLMCallData::new(" ", "")
        .with_name(" ")
        .with_user_id("")
        .with_session_id(" ")
        .with_environment(" ")
        .with_release("")
        .with_trace_id(" ")
        .with_parent_span_id("");
    assert_eq!(sent(&blank), bare);
    // Nor does a blank one hide the exporter's, or the trace's name.
    let builder = builder().with_environment("staging").with_release("9");
    assert_eq!(
        sent_by(builder, &blank.with_name("n")),
        json!({
            "langfuse.observation.type": "generation", "langfuse.trace.name": "n",
            "langfuse.environment": "staging", "langfuse.release": "9",
        })
    );
}

#[test]
fn those_of_the_call_beat_those_of_the_exporter() {
    let builder = builder().with_environment("staging").with_release("9");
    let sent = sent_by(builder, &full());
    assert_eq!(sent["langfuse.environment"], "production");
    assert_eq!(sent["langfuse.release"], "1.2.3");
}

#[test]
fn environments_become_such_as_langfuse_takes() {
    for (name, expected) in [
        ("production", "production"),
        (" Production ", "production"),
        ("langfuse-prod", "prod"),
        ("langfuse_langfuse-x", "x"),
        ("LANGFUSE", ""),
        ("pre prod/ö", "pre-prod--"),
        (&"x".repeat(50), &"x".repeat(40)),
        ("", ""),
    ] {
        assert_eq!(environment(name), expected, "{name}");
    }
    let call = LLMCallData::new("", "").with_environment("langfuse");
    let sent = sent_by(builder().with_environment("staging"), &call);
    assert_eq!(sent["langfuse.environment"], "staging");
}

fn usage(usage: Usage) -> Value {
    let sent = sent(&LLMCallData::new("", "").with_usage(usage));
    match sent.get("langfuse.observation.usage_details") {
        Some(json) => serde_json::from_str(json.as_str().unwrap()).unwrap(),
        None => Value::Null,
    }
}

#[test]
fn each_token_is_in_one_bucket() {
    let none = Usage::default();
    let mut only_output = none;
    only_output.output_tokens = Some(5);
    for (counts, expected) in [
        (none, Value::Null),
        (
            Usage::new(0, 0),
            json!({"input": 0, "output": 0, "total": 0}),
        ),
        (only_output, json!({"output": 5})),
        (
            Usage::new(10, 5).with_cache_read(4),
            json!({"input": 6, "input_cached_tokens": 4, "output": 5, "total": 15}),
        ),
        (
            Usage::new(10, 5).with_cache_read(0).with_reasoning(0),
            json!({"input": 10, "input_cached_tokens": 0, "output": 5, "output_reasoning_tokens": 0, "total": 15}),
        ),
        (none.with_cache_read(4), json!({"input_cached_tokens": 4})),
        // More parts than there are tokens: what is left is nothing, never less.
        (
            Usage::new(10, 5).with_cache_read(8).with_cache_write(8),
            json!({"input": 0, "input_cached_tokens": 8, "input_cache_creation": 8, "output": 5, "total": 15}),
        ),
        (
            Usage::new(1, 5).with_reasoning(9),
            json!({"input": 1, "output": 0, "output_reasoning_tokens": 9, "total": 6}),
        ),
        (
            Usage::new(u64::MAX, 1),
            json!({"input": u64::MAX, "output": 1}),
        ),
    ] {
        assert_eq!(usage(counts), expected, "{counts:?}");
    }
    let exact = usage(
        Usage::new(100, 50)
            .with_cache_read(40)
            .with_cache_write(10)
            .with_reasoning(20),
    );
    let mut exact: Map<String, Value> = serde_json::from_value(exact).unwrap();
    let total = exact.remove("total");
    let sum: u64 = exact.values().filter_map(Value::as_u64).sum();
    assert_eq!(total, Some(json!(sum)));
}

#[test]
fn cost_only_if_it_is_known_and_always_as_the_total() {
    let cost = |call: LLMCallData| {
        sent(&call)
            .get("langfuse.observation.cost_details")
            .cloned()
    };
    let call = || LLMCallData::new("", "");
    assert_eq!(cost(call()), None);
    assert_eq!(cost(call().with_cost(0.0)), Some(json!(r#"{"total":0.0}"#)));
    assert_eq!(
        cost(call().with_cost(1e-7)),
        Some(json!(r#"{"total":1e-7}"#))
    );
}

#[test]
fn a_call_below_a_span_of_the_caller_shows_in_the_list() {
    let call = full()
        .with_trace_id("0af7651916cd43dd8448eb211c80319c")
        .with_parent_span_id("b7ad6b7169203331")
        .with_metadata("trace_id", "own");
    let sent = sent(&call);
    assert_eq!(sent["langfuse.internal.is_app_root"], true);
    assert_eq!(sent["langfuse.observation.metadata.trace_id"], "own");
    assert_eq!(
        sent["langfuse.observation.metadata.parent_span_id"],
        "b7ad6b7169203331"
    );
    // The trace is the caller's, and so is its name.
    assert!(sent.get("langfuse.trace.name").is_none());
    let span = span(builder(), &call);
    assert_eq!(span.parent_span_id.len(), 8);
    assert_eq!(span.trace_id[0], 0x0a);
    assert!(
        super::tests::sent(&full())
            .get("langfuse.internal.is_app_root")
            .is_none()
    );
}
