//! OTLP in JSON, as loosely as JavaScript takes it: what has the wrong type is not there.

use serde_json::Value;

use super::{Attributes, OtlpEvent, OtlpSpan, kind, status_name};

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotOtlp {
    /// It is no JSON.
    Unreadable,
    /// It is, but the attributes of something in it are no list.
    Malformed,
}

/// Reads a JSON body: its spans, in order.
pub(crate) fn from_json(body: &[u8]) -> Result<Vec<OtlpSpan>, NotOtlp> {
    let body: Value = serde_json::from_slice(body).map_err(|_| NotOtlp::Unreadable)?;
    let mut spans = Vec::new();
    for resource_spans in list(&body, "resourceSpans")? {
        let mut repeated = Vec::new();
        let resource = resource_spans.get("resource").unwrap_or(&Value::Null);
        let resource = attributes(resource, &mut repeated)?;
        for scope_spans in list(resource_spans, "scopeSpans")? {
            let scope = scope_spans.get("scope").unwrap_or(&Value::Null);
            let home = OtlpSpan {
                resource: resource.clone(),
                scope_name: string(scope, "name"),
                scope_version: string(scope, "version"),
                scope_attributes: attributes(scope, &mut Vec::new())?,
                repeated: repeated.clone(),
                ..OtlpSpan::default()
            };
            for span in list(scope_spans, "spans")? {
                spans.push(home.with_json(span)?);
            }
        }
    }
    Ok(spans)
}

impl OtlpSpan {
    fn with_json(&self, span: &Value) -> Result<Self, NotOtlp> {
        let mut repeated = self.repeated.clone();
        let status = span.get("status").unwrap_or(&Value::Null);
        let events = list(span, "events")?.iter().map(event);
        Ok(Self {
            trace_id: string(span, "traceId"),
            span_id: string(span, "spanId"),
            parent_span_id: Some(string(span, "parentSpanId")).filter(|id| !id.is_empty()),
            trace_state: string(span, "traceState"),
            name: string(span, "name"),
            kind: kind(number(span, "kind")),
            start_time_unix_nano: nanos(span, "startTimeUnixNano"),
            end_time_unix_nano: nanos(span, "endTimeUnixNano"),
            attributes: attributes(span, &mut repeated)?,
            events: events.collect::<Result<_, _>>()?,
            // A name in place of the number is no error there.
            status: status_name(number(status, "code")),
            status_message: string(status, "message"),
            repeated,
            ..self.clone()
        })
    }
}

fn event(event: &Value) -> Result<OtlpEvent, NotOtlp> {
    Ok(OtlpEvent {
        name: string(event, "name"),
        time_unix_nano: nanos(event, "timeUnixNano"),
        attributes: attributes(event, &mut Vec::new())?,
    })
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], NotOtlp> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(NotOtlp::Malformed),
    }
}

fn string(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn number(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// A number, or text with one; 0 for anything else.
fn nanos(value: &Value, name: &str) -> u64 {
    match value.get(name) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or_default(),
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

fn attributes(owner: &Value, repeated: &mut Vec<String>) -> Result<Attributes, NotOtlp> {
    let mut attributes = Attributes::new();
    for pair in list(owner, "attributes")? {
        let key = string(pair, "key");
        let value = any(pair.get("value").unwrap_or(&Value::Null));
        if attributes.insert(key.clone(), value).is_some() && !repeated.contains(&key) {
            repeated.push(key);
        }
    }
    Ok(attributes)
}

fn any(value: &Value) -> Value {
    let Some((name, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else {
        return Value::Null;
    };
    match (name.as_str(), inner) {
        ("intValue", Value::String(text)) => text
            .parse::<i64>()
            .map_or_else(|_| inner.clone(), Value::from),
        ("arrayValue", _) => {
            let values = inner.get("values").and_then(Value::as_array);
            Value::Array(values.into_iter().flatten().map(any).collect())
        }
        ("kvlistValue", _) => {
            let pairs = inner.get("values").and_then(Value::as_array);
            let fields = pairs.into_iter().flatten().map(|pair| {
                let value = pair.get("value").unwrap_or(&Value::Null);
                (string(pair, "key"), any(value))
            });
            Value::Object(fields.collect())
        }
        _ => inner.clone(),
    }
}
