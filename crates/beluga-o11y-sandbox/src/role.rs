//! What every backend that the sandbox plays has to do.

use std::fmt;

use hyper::StatusCode;
use hyper::http::request::Parts;

use crate::answer::Answer;
use crate::arrival::News;
use crate::body::{Body, Coding};
use crate::stored::{Backend, StoredCall};

/// A request that was read whole and met no fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) head: &'a Parts,
    /// The path behind the backend's [`prefix`](Role::prefix): empty, or starting with a slash.
    pub(crate) path: &'a str,
    /// Unpacked if the backend knows how, see [`coding`](Role::coding); its problem, if it has one, is not answered yet.
    pub(crate) body: &'a Body,
}

impl Arrived<'_> {
    /// What came after `?`, or nothing.
    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The first value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }
}

/// A backend: its settings, what it stored, and how it answers.
///
/// Requests, faults and bodies are the server's, the rest is the role's own. It is used by several connections, so
/// what it stores is behind a lock of its own.
pub(crate) trait Role: fmt::Debug + Send + Sync {
    /// Which one it is.
    fn backend(&self) -> Backend;

    /// What its paths start with, for example `/langfuse`; nothing for the one that has all other paths.
    fn prefix(&self) -> &'static str;

    /// How to unpack a body with this `Content-Encoding`; none if the backend does not, so that the body stays as it came.
    fn coding(&self, content_encoding: &str) -> Option<Coding>;

    /// Handles a request: checks it in the backend's order, stores what it brings, and notes the calls among that.
    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer;

    /// What the backend says when it answers with this status of its own accord: for faults that name no body.
    fn refusal(&self, status: StatusCode) -> Answer;

    /// Whether a path that it was given is its own: the backend without a prefix is given all that no other one has.
    fn owns(&self, _path: &str) -> bool {
        true
    }

    /// The LLM calls that it shows, in order of arrival.
    fn calls(&self) -> Vec<StoredCall>;

    /// How many rows it stores, LLM calls or not.
    fn stored(&self) -> usize;

    /// Forgets all that it stored; settings stay.
    fn clear(&self);
}
