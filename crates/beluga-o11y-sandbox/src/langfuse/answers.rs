//! What Langfuse says. Its endpoints do not agree on a shape.

use chrono::{TimeDelta, Utc};
use hyper::StatusCode;
use serde_json::json;

use crate::answer::Answer;

pub(super) fn bad(error: &str) -> Answer {
    Answer::json(StatusCode::BAD_REQUEST, &json!({"error": error}))
}

pub(super) fn message(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, &json!({"message": message}))
}

pub(super) fn unauthorized() -> Answer {
    message(
        StatusCode::UNAUTHORIZED,
        "Invalid credentials. Confirm that you've configured the correct host.",
    )
}

pub(super) fn legacy_unauthorized() -> Answer {
    let body = json!({
        "error": "UnauthorizedError",
        "message": "Invalid credentials. Confirm that you've configured the correct host.",
    });
    Answer::json(StatusCode::UNAUTHORIZED, &body)
}

pub(super) fn forbidden(reason: &str) -> Answer {
    message(StatusCode::FORBIDDEN, reason)
}

/// The web application's page.
pub(super) fn not_found() -> Answer {
    Answer::text(
        StatusCode::NOT_FOUND,
        "<!DOCTYPE html><html><body><h1>404</h1></body></html>",
    )
    .with_header("content-type", "text/html; charset=utf-8")
}

pub(super) fn method_not_allowed() -> Answer {
    message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}

/// What servers after 4.16.0 say.
pub(super) fn too_large() -> Answer {
    let error = "OTel trace request body exceeds the configured byte limit";
    Answer::json(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": error}))
}

/// As the cloud limits: the wait is two seconds.
fn too_many() -> Answer {
    const WAIT: i64 = 2;
    let reset = Utc::now() + TimeDelta::seconds(WAIT);
    let body = json!({
        "message": "Rate limit exceeded", "code": "rate_limited",
        "details": {"retryAfterSeconds": WAIT, "limit": 1000, "remaining": 0, "resetAt": reset},
    });
    Answer::json(StatusCode::TOO_MANY_REQUESTS, &body)
        .with_header("retry-after", &WAIT.to_string())
        .with_header("x-ratelimit-limit", "1000")
        .with_header("x-ratelimit-remaining", "0")
        // As JavaScript writes a date.
        .with_header(
            "x-ratelimit-reset",
            &reset
                .format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
                .to_string(),
        )
}

/// What it says with this status of its own accord.
pub(super) fn default_for(status: StatusCode) -> Answer {
    match status.as_u16() {
        200..=399 => Answer::empty(status),
        400 => bad("Failed to parse OTel Protobuf Trace"),
        401 => unauthorized(),
        403 => {
            forbidden("Ingestion suspended: Usage threshold exceeded. Please upgrade your plan.")
        }
        404 => not_found(),
        405 => method_not_allowed(),
        413 => too_large(),
        429 => too_many(),
        _ => message(status, status.canonical_reason().unwrap_or_default()),
    }
}
