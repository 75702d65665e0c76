//! A span, as far as a record needs it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, value::RawValue};

use super::attributes::{Attributes, count, read};
use crate::record::Problem;

pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) parent_span_id: Option<String>,
    pub(super) name: String,
    pub(super) start: DateTime<Utc>,
    /// Unless it never ended. It may stand before the start.
    pub(super) end: Option<DateTime<Utc>>,
    pub(super) attributes: Attributes,
    pub(super) events: Vec<Event>,
    pub(super) status: Status,
    pub(super) status_message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Unset,
    Ok,
    Error,
}

pub(super) struct Event {
    pub(super) name: String,
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) attributes: Attributes,
}

/// The fields of a span.
pub(super) fn fields(span: &RawValue) -> Result<Map<String, Value>, Problem> {
    match read(span.get()) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(Problem::new(format!(
            "expected a span, found {}",
            super::found(span)
        ))),
        None => Err(Problem::new(
            "a span that is nested too deeply, or has a number that is too large",
        )),
    }
}

pub(super) fn attributes(fields: &mut Map<String, Value>) -> Result<Attributes, Problem> {
    match fields.remove("attributes") {
        None | Some(Value::Null) => Ok(Attributes::default()),
        Some(Value::Array(list)) => Ok(Attributes::of(list)),
        Some(_) => Err(Problem::of("attributes", "expected an array")),
    }
}

impl Span {
    pub(super) fn read(
        mut fields: Map<String, Value>,
        attributes: Attributes,
    ) -> Result<Self, Problem> {
        let trace_id = id("traceId", 32, fields.remove("traceId"))?;
        let span_id = id("spanId", 16, fields.remove("spanId"))?;
        let parent_span_id = match fields.remove("parentSpanId") {
            None | Some(Value::Null) => None,
            // Of a root.
            Some(Value::String(text)) if text.bytes().all(|byte| byte == b'0') => None,
            found => Some(id("parentSpanId", 16, found)?),
        };
        let start = fields.remove("startTimeUnixNano");
        let start = match start.as_ref().map(|start| (start, time(start))) {
            Some((_, Some(start))) => start,
            None | Some((Value::Null, None)) => {
                return Err(Problem::of("startTimeUnixNano", "missing"));
            }
            Some(_) => {
                let what = "expected nanoseconds since 1970";
                return Err(Problem::of("startTimeUnixNano", what));
            }
        };
        let end = fields.remove("endTimeUnixNano");
        let end = end.as_ref().and_then(time);
        let status = fields.remove("status").unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            trace_id,
            span_id,
            parent_span_id,
            name: fields.get("name").and_then(text).unwrap_or_default(),
            start,
            end,
            attributes,
            events: events(fields.remove("events")),
            status_message: status.get("message").and_then(text),
            status: match status.get("code") {
                // The names are protobuf's own JSON.
                Some(Value::String(code)) if code == "STATUS_CODE_ERROR" => Status::Error,
                Some(Value::String(code)) if code == "STATUS_CODE_OK" => Status::Ok,
                Some(code) => match count(code) {
                    Some(2) => Status::Error,
                    Some(1) => Status::Ok,
                    _ => Status::Unset,
                },
                None => Status::Unset,
            },
        })
    }
}

fn events(events: Option<Value>) -> Vec<Event> {
    let Some(Value::Array(events)) = events else {
        return Vec::new();
    };
    let event = |event: Value| {
        let Value::Object(mut fields) = event else {
            return None;
        };
        Some(Event {
            name: fields.get("name")?.as_str()?.to_owned(),
            time: fields.get("timeUnixNano").and_then(time),
            attributes: attributes(&mut fields).ok()?,
        })
    };
    events.into_iter().filter_map(event).collect()
}

/// An id, in lower case. (All zeros are none.)
fn id(field: &str, digits: usize, found: Option<Value>) -> Result<String, Problem> {
    let expected = |found: String| {
        let what = format!("expected {digits} hexadecimal digits, found {found}");
        Err(Problem::of(field, what))
    };
    match found {
        None | Some(Value::Null) => expected("none".to_owned()),
        Some(Value::String(id)) => {
            let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if id.len() != digits || !is_hex {
                let base64 = id.len() == digits * 3 / 4 || id.ends_with('=');
                let hint = match base64 {
                    true => "; protobuf's own JSON has base64 here, OTLP/JSON has not",
                    false => "",
                };
                let count = id.chars().count();
                return expected(format!("a text of {count} characters{hint}"));
            }
            if id.bytes().all(|byte| byte == b'0') {
                return expected("only zeros".to_owned());
            }
            Ok(id.to_ascii_lowercase())
        }
        Some(_) => expected("no text".to_owned()),
    }
}

/// Of 64 bits, so in protobuf's JSON a text. 0 is none.
fn time(nanos: &Value) -> Option<DateTime<Utc>> {
    const SECOND: u64 = 1_000_000_000;
    let nanos = count(nanos).filter(|nanos| *nanos > 0)?;
    let seconds = i64::try_from(nanos / SECOND).ok()?;
    DateTime::from_timestamp(seconds, u32::try_from(nanos % SECOND).ok()?)
}
