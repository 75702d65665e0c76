//! The plain receiver of OTLP.

use beluga_o11y_sandbox::{Backend, Fault, OtlpSpan, Sandbox};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message;
use serde_json::{Value, json};

use crate::exports::Body::{Says, Text};
use crate::exports::{
    START, body, body_with, check, failed, hex, llm_span, pairs, post, row, span,
};
use crate::http::{Call, Reply};

const TRACES: &str = "/otlp/v1/traces";

fn export(spans: Vec<Span>) -> Call {
    post(TRACES, body(spans))
}

fn spans(sandbox: &Sandbox) -> Vec<OtlpSpan> {
    sandbox.otlp_spans(Backend::Otlp)
}

/// The answer, by the official message.
fn response(reply: &Reply) -> ExportTraceServiceResponse {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    ExportTraceServiceResponse::decode(reply.body.as_slice()).unwrap()
}

#[test]
#[rustfmt::skip] // One row a line.
fn what_is_refused() {
    let sandbox = Sandbox::builder().with_otlp_header("x-team", "ml").with_otlp_header("api-key", "k1").start().unwrap();
    let good = || export(vec![span(json!({}))]).header("X-Team", "ml").header("api-key", "k1");
    check(
        &sandbox,
        vec![
            row("the header is there", good().without("api-key"), 401, Says("Unauthorized")),
            row("and right", good().header("api-key", "k2"), 401, Says("Unauthorized")),
            row("all of them are", good().without("x-team"), 401, Says("Unauthorized")),
            row("it is protobuf", good().header("Content-Type", "application/json"), 415, Says("415 unsupported media type")),
            row("and says so", good().without("Content-Type"), 415, Says("415 unsupported media type")),
            row("packed with gzip", good().header("Content-Encoding", "zstd"), 415, Text("unsupported Content-Encoding: zstd")),
            row("which it is", good().header("Content-Encoding", "gzip"), 400, Says("Bad Request")),
            row("it is a message", good().body("{}"), 400, Says("Bad Request")),
            row("it is posted", good().method("GET"), 405, Says("405 method not allowed")),
            row("to the path", post("/otlp", body(vec![span(json!({}))])), 404, Says("404 page not found")),
            row("of traces", post("/otlp/v1/logs", body(vec![span(json!({}))])), 404, Says("404 page not found")),
        ],
    );
    // google.rpc.Status: code 16, unauthenticated, and a message.
    let refused = good().without("api-key").send(&sandbox);
    assert_eq!(refused.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(refused.body, b"\x08\x10\x12\x0cUnauthorized");
    for good in [good(), good().gzip(), good().header("Content-Type", "application/x-protobuf; a=b"), good().header("Content-Encoding", "identity")] {
        assert_eq!(response(&good.send(&sandbox)), ExportTraceServiceResponse::default());
    }
    assert_eq!(spans(&sandbox).len(), 4);
    let debug = format!("{:?} {sandbox:?}", Sandbox::builder().with_otlp_header("api-key", "k1"));
    assert!(debug.contains("api-key") && !debug.contains("k1"), "{debug}");
}

#[test]
fn a_span_is_kept_whole() {
    let sandbox = Sandbox::start().unwrap();
    let attributes = json!({"text": "ü", "int": 5, "float": 5.0, "bool": true, "list": ["a", 1], "map": {"k": null}});
    let mut sent = failed(span(attributes.clone()), "boom");
    sent.parent_span_id = vec![0xab; 8];
    sent.events.push(Event {
        name: "exception".to_owned(),
        time_unix_nano: START + 5,
        attributes: pairs(&json!({"exception.type": "E"})),
        ..Event::default()
    });
    let sent_at = |key: &str, value: Any| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    sent.attributes
        .push(sent_at("bytes", Any::BytesValue(vec![1, 2])));
    sent.attributes
        .push(sent_at("nan", Any::DoubleValue(f64::NAN)));
    sent.attributes
        .push(sent_at("text", Any::StringValue("twice".to_owned())));
    let call = post(
        TRACES,
        body_with(&json!({"service.name": "svc"}), vec![sent.clone()]),
    );
    assert_eq!(call.send(&sandbox).status, 200);
    let stored = serde_json::to_value(&spans(&sandbox)[0]).unwrap();
    assert_eq!(
        stored,
        json!({
            "resource": {"service.name": "svc"},
            "scope_name": "beluga-o11y", "scope_version": "0.1.0", "scope_attributes": {},
            "trace_id": hex(&sent.trace_id), "span_id": hex(&sent.span_id),
            "parent_span_id": "abababababababab", "trace_state": "", "name": "chat gpt-4o", "kind": "client",
            "start_time_unix_nano": START, "end_time_unix_nano": START + 840_000_000,
            "attributes": {"text": "twice", "int": 5, "float": 5.0, "bool": true, "list": ["a", 1], "map": {"k": null},
                "bytes": [1, 2], "nan": "NaN"},
            "repeated": ["text"],
            "events": [{"name": "exception", "time_unix_nano": START + 5, "attributes": {"exception.type": "E"}}],
            "status": "error", "status_message": "boom",
        })
    );
    // And so is the request.
    assert_eq!(sandbox.requests()[0].body["spans"][0], stored);
    // An LLM call is something else.
    assert_eq!(sandbox.calls(), []);
}

#[test]
fn calls_by_either_convention() {
    let both = json!({
        "llm.provider": "openai", "gen_ai.provider.name": "other", "llm.token_count.prompt": 10,
        "gen_ai.usage.output_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 4, "llm.cost.total": 0.5,
        "input.value": "hi", "output.value": "{\"a\":1}", "output.mime_type": "application/json",
        "session.id": "s", "user.id": "u", "tag.tags": ["b", "a"], "metadata": "{\"k\":1}",
        "gen_ai.request.temperature": 0.2, "gen_ai.response.time_to_first_chunk": 0.5,
    });
    let sandbox = Sandbox::start().unwrap();
    let resource = json!({"service.name": "svc", "service.version": "1", "deployment.environment.name": "prod"});
    let plain = span(json!({"http.method": "GET"}));
    let tool = span(json!({"gen_ai.operation.name": "execute_tool", "gen_ai.request.model": "m"}));
    let call = post(
        TRACES,
        body_with(&resource, vec![llm_span(both), plain, tool]),
    );
    assert_eq!(call.send(&sandbox).status, 200);
    let calls = sandbox.calls_of(Backend::Otlp);
    assert_eq!(calls.len(), 1);
    let call = serde_json::to_value(&calls[0]).unwrap();
    for (name, value) in [
        ("backend", json!("otlp")),
        ("project", json!("svc")),
        ("provider", json!("openai")),
        ("model", json!("gpt-4o")),
        ("time_to_first_token_ms", json!(500.0)),
        ("input", json!("hi")),
        ("output", json!({"a": 1})),
        ("model_parameters", json!({"temperature": 0.2})),
        ("input_tokens", json!(10)),
        ("output_tokens", json!(5)),
        ("cache_read_tokens", json!(4)),
        ("cost", json!(0.5)),
        ("error", Value::Null),
        ("session_id", json!("s")),
        ("user_id", json!("u")),
        ("tags", json!(["a", "b"])),
        ("environment", json!("prod")),
        ("release", json!("1")),
        ("metadata", json!({"k": 1})),
    ] {
        assert_eq!(call[name], value, "{name}");
    }
    let gen_ai = json!({"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.response.model": "m",
        "gen_ai.usage.cost": 0.25, "gen_ai.input.messages": "[{\"role\":\"user\"}]", "error.type": "timeout"});
    let sandbox = Sandbox::start().unwrap();
    assert_eq!(
        export(vec![failed(span(gen_ai), "late")])
            .send(&sandbox)
            .status,
        200
    );
    let call = sandbox.calls().pop().unwrap();
    assert_eq!(
        (call.provider.as_deref(), call.model.as_deref()),
        (Some("openai"), Some("m"))
    );
    assert_eq!(
        (call.cost, call.input),
        (Some(0.25), Some(json!([{"role": "user"}])))
    );
    let error = call.error.unwrap();
    assert_eq!(
        (error.kind.as_deref(), error.message.as_str()),
        (Some("timeout"), "late")
    );
}

#[test]
fn partial_success() {
    let sandbox = Sandbox::start().unwrap();
    let sent = [span(json!({})), span(json!({})), span(json!({}))];
    sandbox.answer_otlp_partially(2, "two too many");
    let partial = response(&export(sent.to_vec()).send(&sandbox))
        .partial_success
        .unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.as_str()),
        (2, "two too many")
    );
    assert_eq!(spans(&sandbox).len(), 1);
    assert_eq!(spans(&sandbox)[0].span_id, hex(&sent[0].span_id));
    sandbox.answer_otlp_partially(0, "a warning");
    let warning = response(&export(sent.to_vec()).send(&sandbox))
        .partial_success
        .unwrap();
    assert_eq!(
        (warning.rejected_spans, warning.error_message.as_str()),
        (0, "a warning")
    );
    assert_eq!(spans(&sandbox).len(), 4);
    sandbox.answer_otlp_partially(9, "");
    assert_eq!(export(sent.to_vec()).send(&sandbox).status, 200);
    assert_eq!(spans(&sandbox).len(), 4);
    sandbox.answer_otlp_fully();
    assert_eq!(
        response(&export(sent.to_vec()).send(&sandbox)).partial_success,
        None
    );
    assert_eq!(spans(&sandbox).len(), 7);
    sandbox.clear();
    assert_eq!(spans(&sandbox), []);
}

#[test]
fn faults_speak_otlp() {
    let sandbox = Sandbox::start().unwrap();
    for (status, code, message) in [
        (400, 3, "Bad Request"),
        (403, 7, "Forbidden"),
        (429, 8, "Too Many Requests"),
        (500, 13, "Internal Server Error"),
        (503, 14, "Service Unavailable"),
    ] {
        sandbox.inject(Fault::status(status));
        let reply = export(vec![span(json!({}))]).send(&sandbox);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(reply.body[..2], [0x08, code]);
        assert_eq!(&reply.body[4..], message.as_bytes());
    }
    assert_eq!(spans(&sandbox), []);
}
