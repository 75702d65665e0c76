//! Spans as they arrive over OTLP, read with the official messages.

mod facts;
mod otlp_json;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Number, Value};

pub(crate) use self::facts::{
    as_count, as_text, count, first, inner_messages, json_or_text, number, text, texts, unflattened,
};
pub(crate) use self::otlp_json::{NotOtlp, from_json};

/// Attributes by name. If a name comes twice, the last one counts; [`OtlpSpan::repeated`] tells.
pub(crate) type Attributes = BTreeMap<String, Value>;

/// A span that arrived over OTLP, whole: whatever the backend makes of it.
///
/// Of attributes, whole numbers are JSON integers, floats are JSON floats (5 and 5.0 are not equal), lists are arrays,
/// key-value lists are objects, bytes are arrays of numbers. A float that JSON does not have, such as NaN, is a string.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OtlpSpan {
    /// The attributes of the resource that it came with.
    pub resource: BTreeMap<String, Value>,
    /// The name of its instrumentation scope.
    pub scope_name: String,
    /// The version of its instrumentation scope.
    pub scope_version: String,
    /// The attributes of its instrumentation scope.
    pub scope_attributes: BTreeMap<String, Value>,
    /// Lower-case hex digits; 32 of them, if the client is right.
    pub trace_id: String,
    /// Lower-case hex digits; 16 of them, if the client is right.
    pub span_id: String,
    /// The id of the span that it happened in.
    pub parent_span_id: Option<String>,
    /// W3C trace state.
    pub trace_state: String,
    /// Its name.
    pub name: String,
    /// `unspecified`, `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: &'static str,
    /// Nanoseconds since 1970; 0 if it was not said.
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970; 0 if it was not said.
    pub end_time_unix_nano: u64,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Names of attributes that the span or its resource has more than once, which OpenTelemetry forbids.
    pub repeated: Vec<String>,
    /// What happened during it.
    pub events: Vec<OtlpEvent>,
    /// `unset`, `ok` or `error`.
    pub status: &'static str,
    /// What went wrong.
    pub status_message: String,
}

/// Something that happened during a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OtlpEvent {
    /// Its name: `exception`, for example.
    pub name: String,
    /// Nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// The bytes are no `ExportTraceServiceRequest`.
#[derive(Debug)]
pub(crate) struct Undecodable;

/// Reads a protobuf body: its spans, in order.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<OtlpSpan>, Undecodable> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| Undecodable)?;
    let mut spans = Vec::new();
    for resource_spans in request.resource_spans {
        let mut repeated = Vec::new();
        let resource = resource_spans.resource.unwrap_or_default().attributes;
        let resource = attributes(resource, &mut repeated);
        for scope_spans in resource_spans.scope_spans {
            let scope = scope_spans.scope.unwrap_or_default();
            let home = OtlpSpan {
                resource: resource.clone(),
                scope_name: scope.name,
                scope_version: scope.version,
                scope_attributes: attributes(scope.attributes, &mut Vec::new()),
                repeated: repeated.clone(),
                ..OtlpSpan::default()
            };
            spans.extend(scope_spans.spans.into_iter().map(|span| home.with(span)));
        }
    }
    Ok(spans)
}

/// A protobuf body as JSON, for people who look at requests.
pub(crate) fn readable(body: &[u8]) -> Value {
    decode(body)
        .ok()
        .and_then(|spans| serde_json::to_value(spans).ok())
        .map_or(Value::Null, |spans| {
            Value::Object(Map::from_iter([("spans".to_owned(), spans)]))
        })
}

impl OtlpSpan {
    /// This resource and scope, with that span.
    fn with(&self, span: wire::Span) -> Self {
        let mut repeated = self.repeated.clone();
        let status = span.status.unwrap_or_default();
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_span_id: Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty()),
            trace_state: span.trace_state,
            name: span.name,
            kind: kind(i64::from(span.kind)),
            start_time_unix_nano: span.start_time_unix_nano,
            end_time_unix_nano: span.end_time_unix_nano,
            attributes: attributes(span.attributes, &mut repeated),
            events: span.events.into_iter().map(event).collect(),
            status: status_name(i64::from(status.code)),
            status_message: status.message,
            repeated,
            ..self.clone()
        }
    }

    /// When it started; none if it was not said.
    pub(crate) fn start(&self) -> Option<DateTime<Utc>> {
        instant(self.start_time_unix_nano)
    }

    /// When it ended; none if it was not said.
    pub(crate) fn end(&self) -> Option<DateTime<Utc>> {
        instant(self.end_time_unix_nano)
    }

    /// The attributes of its first exception.
    pub(crate) fn exception(&self) -> Option<&Attributes> {
        let event = self.events.iter().find(|event| event.name == "exception")?;
        Some(&event.attributes)
    }
}

fn instant(nanos: u64) -> Option<DateTime<Utc>> {
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    (nanos > 0).then(|| DateTime::from_timestamp_nanos(nanos))
}

fn event(event: wire::span::Event) -> OtlpEvent {
    OtlpEvent {
        name: event.name,
        time_unix_nano: event.time_unix_nano,
        attributes: attributes(event.attributes, &mut Vec::new()),
    }
}

fn attributes(pairs: Vec<KeyValue>, repeated: &mut Vec<String>) -> Attributes {
    let mut attributes = Attributes::new();
    for KeyValue { key, value, .. } in pairs {
        if attributes.insert(key.clone(), any(value)).is_some() && !repeated.contains(&key) {
            repeated.push(key);
        }
    }
    attributes
}

fn any(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        None | Some(Any::StringValueStrindex(_)) => Value::Null,
        Some(Any::StringValue(text)) => Value::String(text),
        Some(Any::BoolValue(bool)) => Value::Bool(bool),
        Some(Any::IntValue(int)) => Value::from(int),
        Some(Any::DoubleValue(float)) => {
            Number::from_f64(float).map_or_else(|| Value::String(float.to_string()), Value::Number)
        }
        Some(Any::BytesValue(bytes)) => Value::from(bytes),
        Some(Any::ArrayValue(array)) => {
            let values = array.values.into_iter();
            Value::Array(values.map(|value| any(Some(value))).collect())
        }
        Some(Any::KvlistValue(list)) => {
            let fields = attributes(list.values, &mut Vec::new());
            Value::Object(fields.into_iter().collect())
        }
    }
}

fn kind(number: i64) -> &'static str {
    match number {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    }
}

fn status_name(code: i64) -> &'static str {
    match code {
        1 => "ok",
        2 => "error",
        _ => "unset",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
