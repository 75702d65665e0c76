//! What arrived, for tests to look at.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Serialize;
use serde_json::Value;

use crate::body::Body;
use crate::text::to_value;

/// Bytes of bodies that are kept; beyond it the oldest ones are forgotten.
const MAX_BODIES: usize = 64 * 1024 * 1024;

/// A request that arrived, whatever became of it.
///
/// `Debug` leaves out the values of headers that may hold a key, `Authorization` for example; the field and the JSON
/// form have them.
#[derive(Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// As it arrived, with the prefix: `/opik/api/v1/private/traces/batch`.
    pub path: String,
    /// What came after `?`, as it arrived; empty if nothing did.
    pub query: String,
    /// Names in lower case, in the order of arrival (values of one name together).
    pub headers: Vec<(String, String)>,
    /// Bytes of the body on the wire.
    pub wire_bytes: u64,
    /// Bytes of the body once unpacked; 0 if it was too large or could not be. One that the backend does not know how to
    /// unpack stays as it came.
    pub json_bytes: u64,
    /// The body: JSON as it is, OTLP in protobuf as `{"spans": [..]}` with what `OtlpSpan` has, other
    /// text as a string; null if there was none, if it is no OTLP, or if it has been forgotten (the newest 64 MiB of
    /// bodies are kept).
    pub body: Value,
    /// The status it was answered with; none if it was not answered (yet).
    pub status: Option<u16>,
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): &(String, String)| {
            if is_secret(name) {
                format!("{name}: ***")
            } else {
                format!("{name}: {value}")
            }
        };
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field(
                "headers",
                &self.headers.iter().map(shown).collect::<Vec<_>>(),
            )
            .field("wire_bytes", &self.wire_bytes)
            .field("json_bytes", &self.json_bytes)
            .field("body", &self.body)
            .field("status", &self.status)
            .finish()
    }
}

/// A request, as compact as it can be kept.
#[derive(Debug)]
struct Entry {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    wire_bytes: u64,
    json_bytes: u64,
    body: Bytes,
    status: Option<StatusCode>,
}

impl Entry {
    fn request(&self) -> Request {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let content_type = self.headers.get(header::CONTENT_TYPE);
        let body = if self.body.is_empty() {
            Value::Null
        } else if content_type.is_some_and(is_protobuf) {
            protobuf(&self.body)
        } else {
            to_value(&text(&self.body))
        };
        Request {
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().unwrap_or_default().to_owned(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            wire_bytes: self.wire_bytes,
            json_bytes: self.json_bytes,
            body,
            status: self.status.map(|status| status.as_u16()),
        }
    }
}

fn is_protobuf(content_type: &HeaderValue) -> bool {
    content_type
        .as_bytes()
        .starts_with(b"application/x-protobuf")
}

/// The only protobuf that any backend takes is OTLP.
#[cfg(feature = "otlp")]
fn protobuf(body: &[u8]) -> Value {
    crate::spans::readable(body)
}

#[cfg(not(feature = "otlp"))]
fn protobuf(_body: &[u8]) -> Value {
    Value::Null
}

/// Whether a header's value may be a secret.
fn is_secret(name: &str) -> bool {
    ["auth", "key", "token", "secret", "cookie"]
        .iter()
        .any(|part| name.contains(part))
}

/// The newest requests.
#[derive(Debug)]
pub(crate) struct Log {
    capacity: usize,
    entries: VecDeque<Entry>,
    /// Number of the first entry, of all that ever were.
    first: u64,
    /// Requests since the start or the last [`clear`](Self::clear).
    count: u64,
    /// Bytes of all bodies that are kept.
    body_bytes: usize,
    /// Number of the first entry that still has its body.
    first_body: u64,
}

impl Log {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: VecDeque::new(),
            first: 0,
            count: 0,
            body_bytes: 0,
            first_body: 0,
        }
    }

    /// Notes a request and gives its number.
    pub(crate) fn arrived(&mut self, head: &Parts) -> u64 {
        self.count += 1;
        self.entries.push_back(Entry {
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            wire_bytes: 0,
            json_bytes: 0,
            body: Bytes::new(),
            status: None,
        });
        let number = self.first + self.entries.len() as u64 - 1;
        while self.entries.len() > self.capacity {
            if let Some(entry) = self.entries.pop_front() {
                self.body_bytes -= entry.body.len();
            }
            self.first += 1;
        }
        number
    }

    pub(crate) fn read(&mut self, number: u64, body: &Body) {
        let Some(entry) = self.entry(number) else {
            return;
        };
        entry.wire_bytes = body.wire_bytes;
        entry.json_bytes = body.bytes.len() as u64;
        entry.body = body.bytes.clone();
        self.body_bytes += body.bytes.len();
        self.first_body = self.first_body.min(number);
        self.forget_old_bodies();
    }

    pub(crate) fn answered(&mut self, number: u64, status: StatusCode) {
        if let Some(entry) = self.entry(number) {
            entry.status = Some(status);
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.entries.iter().map(Entry::request).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.first_body = self.first;
        self.entries.clear();
        self.body_bytes = 0;
        self.count = 0;
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let place = number.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(place).ok()?)
    }

    fn forget_old_bodies(&mut self) {
        self.first_body = self.first_body.max(self.first);
        while self.body_bytes > MAX_BODIES {
            let number = self.first_body;
            let Some(entry) = self.entry(number) else {
                return;
            };
            let forgotten = std::mem::take(&mut entry.body).len();
            self.body_bytes -= forgotten;
            self.first_body += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_bodies_are_forgotten_and_the_rest_stays() {
        let (head, ()) = hyper::Request::post("/x").body(()).unwrap().into_parts();
        let mut log = Log::new(1000);
        let body = Body {
            wire_bytes: 1,
            bytes: Bytes::from(format!("\"{}\"", "x".repeat(1024 * 1024 - 2))),
            problem: None,
        };
        // The first one is read last, as when it comes slowly.
        let slow = log.arrived(&head);
        for _ in 0..66 {
            let number = log.arrived(&head);
            log.read(number, &body);
            log.answered(number, StatusCode::NO_CONTENT);
        }
        log.read(slow, &body);
        let kept: Vec<_> = log
            .requests()
            .iter()
            .map(|request| !request.body.is_null())
            .collect();
        assert_eq!(kept.len(), 67);
        assert!(kept[..3].iter().all(|kept| !kept) && kept[3..].iter().all(|kept| *kept));
        assert!(
            log.requests()
                .iter()
                .all(|request| request.json_bytes == 1024 * 1024)
        );
        log.clear();
        assert_eq!(
            (log.count(), log.requests().len(), log.body_bytes),
            (0, 0, 0)
        );
        log.answered(slow, StatusCode::OK);
        log.read(slow, &body);
        assert_eq!(log.body_bytes, 0, "what was cleared is gone");
    }
}
