//! What an export must be: all of it is taken, or nothing. The order of the checks is Langfuse's.

use super::answers;
use crate::answer::Answer;
use crate::body::Problem;
use crate::role::Arrived;
use crate::spans::{self, NotOtlp, OtlpSpan};

/// The newest ingestion version that it knows.
const INGESTION_VERSION: i64 = 4;

/// The spans of a request that has nothing wrong.
pub(super) fn spans_of(request: &Arrived<'_>) -> Result<Vec<OtlpSpan>, Answer> {
    match request.body.problem {
        Some(Problem::Corrupt) => return Err(answers::bad("Failed to decompress request body")),
        Some(_) => return Err(answers::too_large()),
        None => {}
    }
    let content_type = request
        .header("content-type")
        .unwrap_or_default()
        .to_lowercase();
    let body = &request.body.bytes;
    let spans = if content_type.contains("application/x-protobuf") {
        spans::decode(body).map_err(|_| answers::bad("Failed to parse OTel Protobuf Trace"))
    } else if content_type.contains("application/json") {
        spans::from_json(body).map_err(|reason| match reason {
            NotOtlp::Unreadable => answers::bad("Failed to parse OTel JSON Trace"),
            NotOtlp::Malformed => answers::bad(
                "Invalid OTLP trace export: attributes or spans are present but not arrays. The entire export was \
                 rejected and no spans were ingested.",
            ),
        })
    } else {
        Err(answers::bad("Invalid content type"))
    }?;
    if !spans.is_empty() {
        check_ids(&spans)?;
        check_version(request.header("x-langfuse-ingestion-version"))?;
    }
    Ok(spans)
}

/// 4.16.0 looks for ids at all, newer servers at their length.
fn check_ids(spans: &[OtlpSpan]) -> Result<(), Answer> {
    let is_hex =
        |id: &str, length| id.len() == length && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bad = spans
        .iter()
        .filter(|span| !is_hex(&span.trace_id, 32) || !is_hex(&span.span_id, 16))
        .count();
    if bad == 0 {
        return Ok(());
    }
    let message = format!(
        "Invalid OTLP trace export: {bad} of {} span(s) have a missing or malformed traceId/spanId — a traceId must be \
         16 bytes (32 hex chars) and a spanId 8 bytes (16 hex chars). The entire export was rejected and no spans were \
         ingested.",
        spans.len()
    );
    Err(answers::bad(&message))
}

fn check_version(header: Option<&str>) -> Result<(), Answer> {
    let Some(version) = header.filter(|version| !version.is_empty()) else {
        return Ok(());
    };
    // As JavaScript's parseInt reads: digits at the start are enough.
    let text = version.trim_start();
    let digits = text.trim_start_matches(['-', '+']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let number = digits.get(..end).and_then(|digits| digits.parse().ok());
    let known =
        number.is_some_and(|number: i64| text.starts_with('-') || number <= INGESTION_VERSION);
    if known {
        return Ok(());
    }
    Err(answers::bad(&format!(
        "Unsupported x-langfuse-ingestion-version: \"{version}\". Maximum supported: \"{INGESTION_VERSION}\"."
    )))
}
