//! Answers in Opik's two JSON shapes: `{"code":..,"message":..}` and `{"errors":[..]}`.

use hyper::StatusCode;
use serde_json::json;

use crate::answer::Answer;

impl Answer {
    /// Dropwizard's shape.
    pub(crate) fn message(status: StatusCode, message: &str) -> Self {
        Self::json(
            status,
            &json!({"code": status.as_u16(), "message": message}),
        )
    }

    /// Opik's shape.
    pub(crate) fn errors(status: StatusCode, errors: &[impl AsRef<str>]) -> Self {
        let errors: Vec<&str> = errors.iter().map(AsRef::as_ref).collect();
        Self::json(status, &json!({"errors": errors}))
    }

    /// What Jersey says when nobody says anything better: `HTTP 404 Not Found`.
    pub(crate) fn plain(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self::message(
            status,
            format!("HTTP {} {reason}", status.as_u16()).trim_end(),
        )
    }

    pub(crate) fn unreadable(reason: &str) -> Self {
        Self::message(
            StatusCode::BAD_REQUEST,
            &format!("Unable to process JSON. {reason}"),
        )
    }

    pub(crate) fn invalid_id(details: &str) -> Self {
        let body = json!({"code": 400, "message": "Invalid UUID for id", "details": details});
        Self::json(StatusCode::BAD_REQUEST, &body)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let message = format!("Request body exceeds the maximum allowed size of {limit} bytes");
        Self::message(StatusCode::PAYLOAD_TOO_LARGE, &message)
    }

    /// What Opik says with this status when it is its own doing (contract, "Error answers").
    pub(crate) fn opik_default(status: StatusCode) -> Self {
        let text = match status.as_u16() {
            200..=399 => return Self::empty(status),
            400 => "Unable to process JSON. Unexpected end-of-input",
            401 => "API key should be provided",
            402 => "You have exceeded the usage limit for this operation.",
            403 => "User is not allowed to access workspace",
            404 => "Workspace not found",
            409 => return Self::errors(status, &["Trace already exists"]),
            413 => return Self::too_large(52_428_800),
            422 => return Self::errors(status, &["traces[0].startTime must not be null"]),
            429 => "Too Many Requests: You have exceeded the rate limit for this operation.",
            500 => {
                "There was an error processing your request. It has been logged (ID 0000000000000000)."
            }
            _ => return Self::plain(status),
        };
        Self::message(status, text)
    }
}
