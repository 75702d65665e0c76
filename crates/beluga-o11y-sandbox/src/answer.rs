//! Answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

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

    #[cfg(feature = "otlp")]
    pub(crate) fn text(status: StatusCode, body: &str) -> Self {
        Self::empty(status)
            .with_body(Payload::from(Bytes::copy_from_slice(body.as_bytes())))
            .with_header("content-type", "text/plain; charset=utf-8")
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

    /// The body, if it is at hand.
    pub(crate) fn ready_body(&self) -> Option<&[u8]> {
        match &self.body {
            Payload::Ready(bytes) => Some(bytes),
            Payload::Endless(_) => None,
        }
    }

    pub(crate) fn is_protobuf(&self) -> bool {
        let is_protobuf = |(name, value): &(HeaderName, HeaderValue)| {
            name == header::CONTENT_TYPE && value == "application/x-protobuf"
        };
        self.headers.iter().any(is_protobuf)
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
