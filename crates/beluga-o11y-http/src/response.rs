//! What came back.

use std::{borrow::Cow, fmt, time::Duration};

use beluga_o11y::ExportError;
use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;

use crate::{retry_after, status};

/// The most bytes of an answer's body that are read, unless the request
/// [says otherwise](crate::HttpRequest::with_max_answer_bytes): 64 KiB. The rest is dropped unread.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// An answer: its head, and its body, or the start of it: at most [`MAX_BODY_BYTES`] by default.
///
/// `Debug` shows sizes, never content, because servers quote what they were sent.
#[derive(Clone)]
pub struct HttpResponse {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    complete: bool,
    retry_after: Option<Duration>,
}

impl HttpResponse {
    /// Reads the body as far as it goes; that it breaks off, is late or is too long is no error.
    pub(crate) async fn read(mut response: reqwest::Response, max_bytes: usize) -> Self {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        // Now, since a wait that the server names begins with its answer.
        let retry_after = retry_after::retry_after(&headers, Utc::now());

        let mut body = Vec::new();
        let complete = loop {
            match response.chunk().await {
                // Copied, because a chunk keeps the whole read buffer alive.
                Ok(Some(chunk)) => {
                    let room = max_bytes.saturating_sub(body.len());
                    body.extend(chunk.iter().take(room));
                    if chunk.len() > room {
                        break false;
                    }
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Self {
            status,
            headers,
            body,
            complete,
            retry_after,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header's value, if it is there and is text; the first one if there are several. The name's case
    /// does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's own clock, as its `Date` header tells it.
    pub fn date(&self) -> Option<DateTime<Utc>> {
        self.header("date")
            .and_then(|text| retry_after::date(text.trim()))
    }

    /// Whether it is a page for people: a login page, a proxy's, a user interface.
    pub fn is_html(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
    }

    /// The body, or as much of it as was read, see [`is_complete`](Self::is_complete).
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether [`body`](Self::body) is all of it: not too long, not broken off, not late.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// How long the server asked to be left alone: the longest of `Retry-After` (in seconds, or a date,
    /// which is read relative to the answer's own `Date`) and `RateLimit-Reset` (in seconds).
    ///
    /// `None` if it said nothing, nonsense, or a wait of zero, which is no reason to drop one's own
    /// pause. At most 24 hours.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What this answer means for an export: `None` for a 2xx, otherwise an error with the kind of
    /// [`kind_for_status`](crate::kind_for_status), the status, the server's wait, and the start of the
    /// body as its [snippet](ExportError::response_snippet). The message has the status and our own words.
    pub fn error_for_status(&self, exporter: impl Into<Cow<'static, str>>) -> Option<ExportError> {
        if self.is_success() {
            return None;
        }
        let mut error = ExportError::new(
            status::kind_for_status(self.status),
            exporter,
            status::message(self.status),
        )
        .with_status(self.status);
        if let Some(wait) = self.retry_after {
            error = error.with_retry_after(wait);
        }
        if !self.body.is_empty() {
            error = error.with_response_snippet(&self.text());
        }
        Some(error)
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("complete", &self.complete)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}
