//! From a record to the span that it becomes. Pure: no IO, no clock.

use beluga_o11y::{CallError, ExportError, LLMCallData};
use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message;

use crate::{
    Attributes, OtlpBackend, id, nul,
    wire::{Event, KIND_CLIENT, Span, Status},
};

/// Turns a record into its span and gives the span's size, or says why it has none.
pub(crate) fn span(
    backend: &impl OtlpBackend,
    call: &LLMCallData,
    max_record_bytes: usize,
) -> Result<(Span, usize), ExportError> {
    let name = backend.name();
    let bad = |message: String| ExportError::rejected(name, message);
    call.validate()
        .map_err(|invalid| bad(invalid.to_string()))?;
    let nanos = |field: &str, time: DateTime<Utc>| {
        let nanos = time.timestamp_nanos_opt();
        nanos.and_then(|nanos| u64::try_from(nanos).ok()).ok_or_else(|| {
            bad(format!(
                "the {field} is {}, and OTLP is used for times from 1970-01-01 to 2262-04-11; check \
                 start_time and duration",
                time.to_rfc3339_opts(SecondsFormat::Secs, true)
            ))
        })
    };
    let start = nanos("start", call.start_time())?;
    let end = nanos("end", call.end_time())?;
    let span_id = id::span_id(call).ok_or_else(|| {
        bad(
            "id: its last 8 bytes are zero, and they are the id of the span; use a UUID of version 4 \
             or 7"
            .to_owned(),
        )
    })?;
    let mut attributes = Attributes::roomy();
    backend.attributes(call, &mut attributes);
    let error = call.error.as_ref().filter(|error| !error.is_empty());
    let parent = id::parent_span_id(call).filter(|_| backend.sends_parent());
    let mut span = Span {
        trace_id: id::trace_id(call).to_vec(),
        span_id: span_id.to_vec(),
        parent_span_id: parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: span_name(call),
        kind: KIND_CLIENT,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: attributes.0,
        events: error
            .map(|error| exception(error, end))
            .into_iter()
            .collect(),
        status: Some(status(error)),
    };
    if backend.replaces_nul() {
        nul::replace(&mut span);
    }
    let size = span.encoded_len();
    if size > max_record_bytes {
        return Err(ExportError::too_large(
            name,
            format!(
                "the call is {size} bytes of OTLP, more than the {max_record_bytes} that are allowed; \
                 shorten its content, or raise with_max_record_bytes if your server takes more"
            ),
        ));
    }
    Ok((span, size))
}

/// The caller's name for it, else `chat <model>`, as the GenAI conventions name such spans.
fn span_name(call: &LLMCallData) -> String {
    let name = call.name.as_deref().map(str::trim);
    match (name.filter(|name| !name.is_empty()), call.model.trim()) {
        (Some(name), _) => name.to_owned(),
        (None, "") => "chat".to_owned(),
        (None, model) => format!("chat {model}"),
    }
}

fn status(error: Option<&CallError>) -> Status {
    match error {
        None => Status {
            message: String::new(),
            code: Status::OK,
        },
        Some(error) => Status {
            message: message(error).to_owned(),
            code: Status::ERROR,
        },
    }
}

fn message(error: &CallError) -> &str {
    match (error.message.trim(), &error.kind) {
        ("", kind) => kind.as_deref().unwrap_or_default().trim(),
        _ => &error.message,
    }
}

/// The event `exception`, in OpenTelemetry's words.
fn exception(error: &CallError, time_unix_nano: u64) -> Event {
    let mut attributes = Attributes::new();
    attributes.text_if("exception.type", error.kind.as_deref());
    attributes.text("exception.message", message(error));
    attributes.text_if("exception.stacktrace", error.trace.as_deref());
    Event {
        time_unix_nano,
        name: "exception".to_owned(),
        attributes: attributes.0,
    }
}

#[cfg(test)]
mod tests;
