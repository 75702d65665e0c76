//! What an answer of an OTLP receiver means.

use beluga_o11y::{ExportError, ExportErrorKind};
use beluga_o11y_http::HttpResponse;
use prost::Message;

use crate::wire::{ExportTraceServiceResponse, PartialSuccess};

/// What an answer to an export means by the OTLP specification; nothing if all spans were taken.
///
/// | status | means | kind |
/// |---|---|---|
/// | 2xx | taken | |
/// | 2xx with `partial_success` that counts rejected spans | refused, of which it does not say which | `Rejected` |
/// | 2xx with an HTML page | no receiver of OTLP: a login page, a user interface | `Destination` |
/// | 429, 502, 503, 504 | busy or down; also 408 and 425 | `Temporary` |
/// | 401, 402, 403, 404, 405, 407, 410, 415 | key, quota, address, or a receiver that takes no protobuf | `Destination` |
/// | 413 | the request is too big | `TooLarge` |
/// | every other 4xx and 5xx, so also 500 | must not be sent again (OTLP specification, "OTLP/HTTP Response") | `Rejected` |
///
/// `name` is the exporter's, `spans` how many were sent.
pub fn error_of_answer(
    name: &'static str,
    response: &HttpResponse,
    spans: usize,
) -> Option<ExportError> {
    use ExportErrorKind::{Destination, Rejected};
    let status = response.status();
    if response.is_success() {
        return error_of_success(name, response, spans);
    }
    let general = response.error_for_status(name)?;
    Some(match status {
        415 => general.reworded(
            Destination,
            "415 Unsupported Media Type: the server does not take OTLP as protobuf here; check the endpoint",
        ),
        500 | 501 | 505..=599 => general.reworded(
            Rejected,
            format!("{status}: the server failed, and says in OTLP's terms not to send it again"),
        ),
        _ => general,
    })
}

fn error_of_success(
    name: &'static str,
    response: &HttpResponse,
    spans: usize,
) -> Option<ExportError> {
    if response.is_html() {
        let error = ExportError::destination(
            name,
            "answered by a web page, not by a receiver of OTLP; check the endpoint",
        );
        return Some(error.with_status(response.status()));
    }
    let partial = partial_success(response)?;
    if partial.rejected_spans <= 0 {
        if !partial.error_message.is_empty() {
            // Its text may quote what was sent.
            tracing::debug!("{name}: the server took the spans and added a warning");
        }
        return None;
    }
    let message = match (partial.rejected_spans, spans) {
        (_, 1) => "the server took the request and rejected the span in it".to_owned(),
        (rejected, all) => format!(
            "the server took the request and rejected {rejected} of its {all} spans, without saying which"
        ),
    };
    let error = ExportError::rejected(name, message).with_status(response.status());
    Some(match partial.error_message.as_str() {
        "" => error,
        text => error.with_response_snippet(text),
    })
}

/// Only of an answer that says that it is protobuf, or JSON, which some servers always answer with.
fn partial_success(response: &HttpResponse) -> Option<PartialSuccess> {
    let kind = response.header("content-type").unwrap_or_default();
    if kind.contains("protobuf") {
        let answer = ExportTraceServiceResponse::decode(response.body()).ok()?;
        return answer.partial_success;
    }
    if !kind.contains("json") {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
    let partial = answer.get("partialSuccess")?;
    let rejected = partial.get("rejectedSpans")?;
    Some(PartialSuccess {
        // 64-bit numbers are strings in protobuf's JSON.
        rejected_spans: rejected
            .as_i64()
            .or_else(|| rejected.as_str()?.parse().ok())?,
        error_message: partial
            .get("errorMessage")
            .and_then(|text| text.as_str())
            .unwrap_or_default()
            .to_owned(),
    })
}
