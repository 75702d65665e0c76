//! Answers, in the backend's two JSON shapes: `{"code":..,"message":..}` and `{"errors":[..]}`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// What to answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Payload,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Payload::from(Bytes::new()),
        }
    }

    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::empty(status)
            .with_body(Payload::from(Bytes::from(body)))
            .with_header("content-type", "application/json")
    }

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

    /// What the backend says with this status when it is its own doing (contract, "Error answers").
    pub(crate) fn default_for(status: StatusCode) -> Self {
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

    pub(crate) fn with_body(mut self, body: Payload) -> Self {
        self.body = body;
        self
    }

    /// Sets a header, in place of one that is there. What HTTP does not allow in a header is left out.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.retain(|(known, _)| *known != name);
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn into_response(self) -> Response<Payload> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

/// A body that is at hand, or made up while it is sent.
#[derive(Debug)]
pub(crate) enum Payload {
    Ready(Bytes),
    /// That many bytes yet to come.
    Endless(u64),
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Ready(bytes)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const CHUNK: &[u8] = &[b'x'; 65_536];
        let chunk = match self.get_mut() {
            Self::Ready(bytes) => std::mem::take(bytes),
            Self::Endless(left) => {
                let size = CHUNK
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= size as u64;
                Bytes::from_static(CHUNK.get(..size).unwrap_or_default())
            }
        };
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Endless(left) => SizeHint::with_exact(*left),
        }
    }
}
