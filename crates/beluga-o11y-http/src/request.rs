//! What is sent.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use reqwest::{Method, header::HeaderValue};

use crate::{MAX_BODY_BYTES, SecretHeaderValue, gzip};

/// One request, relative to the sender's base URL.
///
/// A clone shares the body, and the compressed body once there is one, so that sending the same request
/// again costs neither memory nor a second compression.
#[derive(Clone)]
pub struct HttpRequest {
    method: Method,
    path: Cow<'static, str>,
    query: Vec<(&'static str, String)>,
    content_type: Option<&'static str>,
    body: Bytes,
    compressed: Arc<OnceLock<Option<Bytes>>>,
    authorization: Option<SecretHeaderValue>,
    max_answer_bytes: usize,
}

impl HttpRequest {
    /// A `GET` of this path, see [`HttpSender::url_for`](crate::HttpSender::url_for).
    pub fn get(path: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Method::GET, path.into(), None, Bytes::new())
    }

    /// A `POST` to this path, see [`HttpSender::url_for`](crate::HttpSender::url_for).
    ///
    /// The body is given plain; the sender compresses it where that is worth it.
    pub fn post(
        path: impl Into<Cow<'static, str>>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self::new(Method::POST, path.into(), Some(content_type), body.into())
    }

    /// A `PUT` to this path, otherwise as [`post`](Self::post).
    pub fn put(
        path: impl Into<Cow<'static, str>>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self::new(Method::PUT, path.into(), Some(content_type), body.into())
    }

    fn new(
        method: Method,
        path: Cow<'static, str>,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            content_type,
            body,
            compressed: Arc::default(),
            authorization: None,
            max_answer_bytes: MAX_BODY_BYTES,
        }
    }

    /// The `Authorization` header of this request, whole: `Bearer …`, `Basic …`, or a bare key.
    ///
    /// A sender over plain `http://` should know at its building that credentials will come, see
    /// [`with_credentials`](crate::HttpSenderBuilder::with_credentials).
    #[must_use]
    pub fn with_authorization(mut self, value: &SecretHeaderValue) -> Self {
        self.authorization = Some(value.clone());
        self
    }

    /// Adds a parameter to the query; name and value are encoded.
    #[must_use]
    pub fn with_query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// How many bytes of the answer's body are read; the rest is dropped unread. Default [`MAX_BODY_BYTES`], which is
    /// enough for every answer that says no more than how a request went.
    #[must_use]
    pub fn with_max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    pub(crate) fn max_answer_bytes(&self) -> usize {
        self.max_answer_bytes
    }

    pub(crate) fn query(&self) -> &[(&'static str, String)] {
        &self.query
    }

    pub(crate) fn has_authorization(&self) -> bool {
        self.authorization.is_some()
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Method, content type, authorization, body, and whether the body is gzip.
    pub(crate) fn parts(&self, gzip: bool) -> Parts {
        let compressed = (gzip && self.body.len() >= gzip::MIN_BYTES)
            .then(|| {
                self.compressed
                    .get_or_init(|| gzip::compress(&self.body))
                    .clone()
            })
            .flatten();
        Parts {
            method: self.method.clone(),
            content_type: self.content_type,
            authorization: self
                .authorization
                .as_ref()
                .map(SecretHeaderValue::header_value),
            gzip: compressed.is_some(),
            body: compressed.unwrap_or_else(|| self.body.clone()),
        }
    }
}

pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) gzip: bool,
    pub(crate) body: Bytes,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_the_compressed_body() {
        let request = HttpRequest::post("x", "text/plain", "a".repeat(5000));
        let again = request.clone();
        let first = request.parts(true);
        let second = again.parts(true);
        assert!(first.gzip && second.gzip);
        assert_eq!(first.body.as_ptr(), second.body.as_ptr());
        assert!(!again.parts(false).gzip);
        assert_eq!(again.parts(false).body.len(), 5000);
    }

    #[test]
    fn small_bodies_stay_plain() {
        assert!(
            !HttpRequest::post("x", "text/plain", "a".repeat(1023))
                .parts(true)
                .gzip
        );
        assert!(
            HttpRequest::post("x", "text/plain", "a".repeat(1024))
                .parts(true)
                .gzip
        );
    }

    #[test]
    fn debug_shows_neither_body_nor_authorization() {
        let request = HttpRequest::post("x", "text/plain", "canary-body")
            .with_authorization(&SecretHeaderValue::new("canary-key").unwrap());
        assert!(!format!("{request:?}").contains("canary"));
    }
}
