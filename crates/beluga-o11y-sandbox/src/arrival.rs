//! What arrives, told as it arrives.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::Value;

use crate::answer::Answer;
use crate::stored::{Backend, StoredCall};

/// The longest reason, in characters.
const MAX_REASON: usize = 200;

/// Something that arrived at a sandbox, as it is told to a
/// [listener](crate::SandboxBuilder::with_listener).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arrival {
    /// An LLM call was stored, or stored anew with what is now known of it.
    Call {
        /// The call, as [`Sandbox::calls`](crate::Sandbox::calls) shows it at that moment.
        call: Box<StoredCall>,
        /// A row with this id was there before.
        again: bool,
    },
    /// A request was not taken, by the backend's rules or by an injected fault: its answer is no success, or a success
    /// with errors in it (207).
    Refused {
        /// The backend that was asked; none if the path is no backend's.
        backend: Option<Backend>,
        /// `POST`.
        method: String,
        /// As it arrived, with the prefix.
        path: String,
        /// The status of the answer.
        status: u16,
        /// The server's own words: one line of at most 200 characters, without control characters. None if it says
        /// nothing, or with a web page.
        reason: Option<String>,
    },
}

impl Arrival {
    /// None if the answer is no refusal.
    pub(crate) fn refused(backend: Option<Backend>, head: &Parts, answer: &Answer) -> Option<Self> {
        let refused = match answer.status {
            StatusCode::MULTI_STATUS => reason(answer).is_some(),
            status => !status.is_success(),
        };
        refused.then(|| Self::Refused {
            backend,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            status: answer.status.as_u16(),
            reason: reason(answer),
        })
    }
}

/// The function to tell, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<dyn Fn(Arrival) + Send + Sync>>);

impl Listener {
    pub(crate) fn new(tell: impl Fn(Arrival) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// A place for the calls of one request.
    pub(crate) fn news(&self) -> News {
        News {
            wanted: self.0.is_some(),
            calls: Vec::new(),
        }
    }

    /// Tells of a request: the calls that it brought, and that it was refused. A panic must not cost the client its
    /// answer.
    pub(crate) fn tell(&self, news: News, refused: impl FnOnce() -> Option<Arrival>) {
        let Some(tell) = &self.0 else {
            return;
        };
        for arrival in news.calls.into_iter().chain(refused()) {
            drop(catch_unwind(AssertUnwindSafe(|| tell(arrival))));
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

/// The calls that a request brought, to be told when no lock is held.
#[derive(Debug)]
pub(crate) struct News {
    /// Without a listener nothing is copied.
    wanted: bool,
    calls: Vec<Arrival>,
}

impl News {
    /// Notes a row, if it is a call.
    pub(crate) fn note(&mut self, again: bool, call: impl FnOnce() -> Option<StoredCall>) {
        if self.wanted
            && let Some(call) = call()
        {
            let call = Box::new(call);
            self.calls.push(Arrival::Call { call, again });
        }
    }
}

/// What an answer says in words.
fn reason(answer: &Answer) -> Option<String> {
    if answer.status == StatusCode::MULTI_STATUS {
        let body: Value = serde_json::from_slice(answer.ready_body()?).ok()?;
        return body.get("errors").and_then(words).map(|text| line(&text));
    }
    if answer.is_protobuf() {
        // The sandbox's `google.rpc.Status` says just that.
        return answer.status.canonical_reason().map(str::to_owned);
    }
    let text = String::from_utf8_lossy(answer.ready_body()?);
    if text.trim_start().starts_with('<') {
        return None;
    }
    let said = serde_json::from_str(&text)
        .ok()
        .and_then(|body| words(&body));
    Some(line(&said.unwrap_or_else(|| text.into_owned()))).filter(|text| !text.is_empty())
}

/// The words of a JSON body, under any name that a backend has for them. Opik tells in `details` what its `message` means.
fn words(body: &Value) -> Option<String> {
    match body {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().filter_map(words).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let said = |name: &str| fields.get(name).and_then(words);
            let first = ["message", "errors", "detail", "error"]
                .into_iter()
                .find_map(said)?;
            Some(match said("details") {
                Some(details) => format!("{first}: {details}"),
                None => first,
            })
        }
        _ => None,
    }
}

/// A text as one line that is short and safe to print: it may repeat what a client sent.
fn line(text: &str) -> String {
    let printable = text.replace(char::is_control, " ");
    let mut line = String::new();
    for word in printable.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * MAX_REASON {
            break;
        }
    }
    match line.char_indices().nth(MAX_REASON - 1) {
        Some((end, last)) if line.len() > end + last.len_utf8() => {
            line.truncate(end);
            line.push('…');
            line
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::answer::Payload;

    fn said(body: &str) -> Option<String> {
        let body = Payload::from(Bytes::copy_from_slice(body.as_bytes()));
        reason(&Answer::empty(StatusCode::BAD_REQUEST).with_body(body))
    }

    #[test]
    fn every_shape_of_a_refusal_gives_its_words() {
        for (body, expected) in [
            (json!({"code": 400, "message": "m"}), "m"),
            (
                json!({"message": "Invalid UUID", "details": "why"}),
                "Invalid UUID: why",
            ),
            (json!({"errors": ["a", "b"]}), "a; b"),
            (json!({"error": "e"}), "e"),
            (json!({"error": "UnauthorizedError", "message": "m"}), "m"),
            (json!({"detail": "d"}), "d"),
            (json!({"message": "m", "details": {"limit": 1000}}), "m"),
            (json!({"other": 1}), "{\"other\":1}"),
        ] {
            assert_eq!(said(&body.to_string()).as_deref(), Some(expected));
        }
        assert_eq!(said("Invalid token").as_deref(), Some("Invalid token"));
        assert_eq!(said(" a\n\u{1b}[31m \tb ").as_deref(), Some("a [31m b"));
        assert_eq!(said("<!DOCTYPE html>"), None);
        assert_eq!(said(" "), None);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let exactly = "ä".repeat(MAX_REASON);
        assert_eq!(said(&exactly), Some(exactly.clone()));
        let cut = format!("{}…", "ä".repeat(MAX_REASON - 1));
        assert_eq!(said(&format!("{exactly}ä")), Some(cut));
        let words = said(&"word ".repeat(1000)).unwrap();
        assert!(words.chars().count() == MAX_REASON && words.ends_with('…'));
    }
}
