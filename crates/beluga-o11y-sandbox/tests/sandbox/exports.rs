//! Requests of OTLP, encoded with the official messages, and tables of those that are refused.

use beluga_o11y_sandbox::{Backend, Sandbox};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value, json};

use crate::http::{Call, id};

/// 2026-11-22T10:00:00.123456789Z.
pub(crate) const START: u64 = 1_795_341_600_123_456_789;
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// A span that every receiver takes, with ids of its own.
pub(crate) fn span(attributes: Value) -> Span {
    Span {
        trace_id: id().as_bytes().to_vec(),
        span_id: id().as_bytes()[8..].to_vec(),
        name: "chat gpt-4o".to_owned(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 840 * MILLISECOND,
        attributes: pairs(&attributes),
        ..Span::default()
    }
}

/// An LLM call by OpenInference's names, and these attributes.
pub(crate) fn llm_span(attributes: Value) -> Span {
    let mut span = span(json!({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o"}));
    span.attributes.extend(pairs(&attributes));
    span
}

pub(crate) fn failed(span: Span, message: &str) -> Span {
    Span {
        status: Some(Status {
            code: 2,
            message: message.to_owned(),
        }),
        ..span
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn pairs(attributes: &Value) -> Vec<KeyValue> {
    let attributes = attributes.as_object().unwrap().iter();
    let pair = |(key, value): (&String, &Value)| KeyValue {
        key: key.clone(),
        value: Some(any(value)),
        ..KeyValue::default()
    };
    attributes.map(pair).collect()
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Null => return AnyValue::default(),
        Value::Bool(bool) => Any::BoolValue(*bool),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Any::DoubleValue(number.as_f64().unwrap()), Any::IntValue),
        Value::String(text) => Any::StringValue(text.clone()),
        Value::Array(values) => Any::ArrayValue(ArrayValue {
            values: values.iter().map(any).collect(),
        }),
        Value::Object(_) => Any::KvlistValue(KeyValueList {
            values: pairs(value),
        }),
    };
    AnyValue { value: Some(value) }
}

/// The body with these spans, of a resource with these attributes.
pub(crate) fn body_with(resource: &Value, spans: Vec<Span>) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "beluga-o11y".to_owned(),
        version: "0.1.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: pairs(resource),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

pub(crate) fn body(spans: Vec<Span>) -> Vec<u8> {
    body_with(&json!({}), spans)
}

/// A request in protobuf.
pub(crate) fn post(path: &str, body: Vec<u8>) -> Call {
    Call::get(path)
        .method("POST")
        .header("Content-Type", "application/x-protobuf")
        .body(body)
}

pub(crate) enum Body {
    Text(&'static str),
    Is(Value),
    Says(&'static str),
    Any,
}

pub(crate) struct Row {
    pub(crate) rule: &'static str,
    pub(crate) call: Call,
    pub(crate) status: u16,
    pub(crate) body: Body,
}

pub(crate) fn row(rule: &'static str, call: Call, status: u16, body: Body) -> Row {
    Row {
        rule,
        call,
        status,
        body,
    }
}

/// Sends each, and looks at the answer and that nothing is stored.
pub(crate) fn check(sandbox: &Sandbox, rows: Vec<Row>) {
    for Row {
        rule,
        call,
        status,
        body,
    } in rows
    {
        let reply = call.send(sandbox);
        assert_eq!(reply.status, status, "{rule}: {}", reply.text());
        match body {
            Body::Text(text) => assert_eq!(reply.text(), text, "{rule}"),
            Body::Is(json) => {
                assert_eq!(reply.json(), json, "{rule}");
                let kind = reply.header("content-type");
                assert_eq!(kind, Some("application/json"), "{rule}");
            }
            Body::Says(part) => {
                assert!(reply.text().contains(part), "{rule}: {}", reply.text());
            }
            Body::Any => {}
        }
        for backend in [Backend::Langfuse, Backend::Phoenix, Backend::Otlp] {
            assert_eq!(sandbox.otlp_spans(backend), [], "{rule}");
        }
        let last = sandbox.requests().last().unwrap().status;
        assert_eq!(last, Some(status), "{rule}");
    }
}
