//! What Phoenix says: plain text, mostly.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{PROTOBUF, VERSION};
use crate::answer::Answer;

/// With the header that all answers have but its crashes.
pub(super) fn signed(answer: Answer) -> Answer {
    if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
        return answer;
    }
    answer.with_header("x-phoenix-server-version", VERSION)
}

/// The status in words.
pub(super) fn text(status: StatusCode) -> Answer {
    Answer::text(status, status.canonical_reason().unwrap_or_default())
}

pub(super) fn unsupported(what: &str, value: &str) -> Answer {
    Answer::text(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        &format!("Unsupported content {what}: {value}"),
    )
}

pub(super) fn invalid_token() -> Answer {
    Answer::text(StatusCode::UNAUTHORIZED, "Invalid token").with_header(
        "www-authenticate",
        "Bearer realm=\"Arize Phoenix\", resource_metadata=\"/.well-known/oauth-protected-resource\"",
    )
}

pub(super) fn unprocessable() -> Answer {
    Answer::text(
        StatusCode::UNPROCESSABLE_ENTITY,
        "Request body is invalid ExportTraceServiceRequest",
    )
}

pub(super) fn internal_error() -> Answer {
    text(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn method_not_allowed() -> Answer {
    text(StatusCode::METHOD_NOT_ALLOWED).with_header("allow", "GET, HEAD")
}

pub(super) fn no_project(name: &str) -> Answer {
    Answer::text(
        StatusCode::NOT_FOUND,
        &format!("Project with name {name} not found"),
    )
}

/// The user interface, whatever the path.
pub(super) fn page() -> Answer {
    Answer::text(
        StatusCode::OK,
        "<!DOCTYPE html><html lang=\"en\"><head><title>Phoenix</title></head></html>",
    )
    .with_header("content-type", "text/html; charset=utf-8")
}

/// All of a list: there is no next page.
pub(super) fn list(data: &[Value]) -> Answer {
    Answer::json(StatusCode::OK, &json!({"data": data, "next_cursor": null}))
}

/// What it says with this status of its own accord.
pub(super) fn default_for(status: StatusCode) -> Answer {
    match status.as_u16() {
        200 => Answer::empty(status).with_header("content-type", PROTOBUF),
        201..=399 => Answer::empty(status),
        401 => invalid_token(),
        403 => Answer::text(status, "Viewers cannot perform this action."),
        405 => method_not_allowed(),
        415 => unsupported("type", "application/json"),
        422 => unprocessable(),
        503 => Answer::text(
            status,
            "Server is at capacity and cannot process more requests",
        ),
        507 => Answer::text(
            status,
            "Database operations are disabled due to insufficient storage.",
        ),
        _ => text(status),
    }
}
