//! What went wrong with an export, in the terms that a caller decides by.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

/// The most bytes of a server's answer that an [`ExportError`] keeps.
pub const MAX_SNIPPET_BYTES: usize = 512;

/// What to do about a failed export. It is all that a retry loop needs to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportErrorKind {
    /// Busy, down, timed out or rate-limited: the same request may succeed later.
    Temporary,
    /// The key, workspace, project, quota or address is wrong, so every record would meet this
    /// until somebody mends the configuration. Keep the records.
    Destination,
    /// This request is too big. Split it; a single record that is too big must shrink.
    TooLarge,
    /// Something in this request is bad, and sending it again will not help.
    Rejected,
}

impl ExportErrorKind {
    /// Whether the next call would meet the same error, so that it is no use to send it now:
    /// [`Temporary`](Self::Temporary) and [`Destination`](Self::Destination).
    pub fn affects_every_call(self) -> bool {
        matches!(self, Self::Temporary | Self::Destination)
    }
}

impl fmt::Display for ExportErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Temporary => "temporary",
            Self::Destination => "destination",
            Self::TooLarge => "too large",
            Self::Rejected => "rejected",
        })
    }
}

/// A failed export.
///
/// Prints as `<exporter>: export: <what happened>[: <cause>]`, for example
/// `opik: export: 429 Too Many Requests: rate limited`. The text is written by the exporter; it never holds a
/// key, a prompt, or text that a server sent, because servers quote what they were sent. What the
/// server said is in [`response_snippet`](Self::response_snippet).
///
/// Since [`Display`](fmt::Display) already shows the cause, [`source`](Error::source) answers with
/// the cause's own source, so that a chain printed by an error reporter repeats nothing.
///
/// ```
/// use beluga_o11y::{ExportError, ExportErrorKind};
/// use std::time::Duration;
///
/// let error = ExportError::temporary("mine", "rate limited")
///     .with_status(429)
///     .with_retry_after(Duration::from_secs(2));
///
/// assert_eq!(error.to_string(), "mine: export: rate limited");
/// assert_eq!(error.kind(), ExportErrorKind::Temporary);
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
/// ```
#[derive(Clone)]
pub struct ExportError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ExportErrorKind,
    exporter: Cow<'static, str>,
    message: Cow<'static, str>,
    status: Option<u16>,
    retry_after: Option<Duration>,
    response_snippet: Option<String>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ExportError {
    /// An error of the given kind. `exporter` is the name that the message starts with, `message`
    /// says what happened and what to do, in lower case and without a full stop.
    pub fn new(
        kind: ExportErrorKind,
        exporter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            exporter: exporter.into(),
            message: message.into(),
            status: None,
            retry_after: None,
            response_snippet: None,
            cause: None,
        }))
    }

    /// A failure that may pass: [`ExportErrorKind::Temporary`].
    pub fn temporary(
        exporter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ExportErrorKind::Temporary, exporter, message)
    }

    /// A failure that every record would meet: [`ExportErrorKind::Destination`].
    pub fn destination(
        exporter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ExportErrorKind::Destination, exporter, message)
    }

    /// A request that is too big: [`ExportErrorKind::TooLarge`].
    pub fn too_large(
        exporter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ExportErrorKind::TooLarge, exporter, message)
    }

    /// A request that is bad in itself: [`ExportErrorKind::Rejected`].
    pub fn rejected(
        exporter: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ExportErrorKind::Rejected, exporter, message)
    }

    /// The same failure in other words and of another kind, for a backend whose answer means more than its status
    /// says. The exporter, the status, the wait and the server's answer stay.
    #[must_use]
    pub fn reworded(
        mut self,
        kind: ExportErrorKind,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.kind = kind;
        self.0.message = message.into();
        self
    }

    /// The HTTP status that the server answered with.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// How long the server asked to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The start of what the server answered: control characters are escaped, and what is beyond
    /// [`MAX_SNIPPET_BYTES`] is cut off.
    #[must_use]
    pub fn with_response_snippet(mut self, text: &str) -> Self {
        let mut snippet = String::new();
        for c in text.chars() {
            let start = snippet.len();
            // Bidirectional and zero-width characters can forge a log line as well as an escape
            // sequence can; `escape_debug` knows them all, but would also escape quotes.
            match c {
                '"' | '\'' | '\\' => snippet.push(c),
                c => snippet.extend(c.escape_debug()),
            }
            if snippet.len() > MAX_SNIPPET_BYTES {
                snippet.truncate(start);
                break;
            }
        }
        self.0.response_snippet = Some(snippet);
        self
    }

    /// What caused this. Its text becomes part of the message, so it must not hold a secret.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ExportErrorKind {
        self.0.kind
    }

    /// What happened, without the exporter's name and the cause: for an error of one's own that says it in another
    /// place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The name of the exporter that failed.
    pub fn exporter(&self) -> &str {
        &self.0.exporter
    }

    /// The HTTP status, if a server answered.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// How long the server asked to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The start of the server's answer, at most [`MAX_SNIPPET_BYTES`] bytes, control characters
    /// escaped. A server may quote what it was sent, so show this to a person or keep it with the
    /// record; do not log it.
    pub fn response_snippet(&self) -> Option<&str> {
        self.0.response_snippet.as_deref()
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: export: {}", self.0.exporter, self.0.message)?;
        match &self.0.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportError")
            .field("kind", &self.0.kind)
            .field("status", &self.0.status)
            .field("retry_after", &self.0.retry_after)
            .field("message", &self.to_string())
            .finish_non_exhaustive()
    }
}

impl Error for ExportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_ref().and_then(|cause| cause.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("os error 111")]
    struct Inner;

    #[test]
    fn display_names_the_exporter_and_the_cause() {
        let error = ExportError::temporary("opik", "cannot connect").with_cause(Outer(Inner));
        assert_eq!(
            error.to_string(),
            "opik: export: cannot connect: connection refused"
        );
        assert_eq!(error.message(), "cannot connect");
        assert_eq!(error.source().unwrap().to_string(), "os error 111");
    }

    #[test]
    fn other_words_keep_what_the_server_said() {
        let error = ExportError::temporary("opik", "the server failed")
            .with_status(500)
            .with_retry_after(Duration::from_secs(1))
            .with_response_snippet("text");
        let error = error.reworded(ExportErrorKind::Rejected, "bad");
        assert_eq!(error.to_string(), "opik: export: bad");
        assert_eq!(
            (error.kind(), error.status(), error.response_snippet()),
            (ExportErrorKind::Rejected, Some(500), Some("text"))
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn snippet_is_cut_and_escaped_and_stays_out_of_the_text() {
        let server = format!("\u{1b}[31m{}ü", "x".repeat(1000));
        let error = ExportError::rejected("opik", "bad").with_response_snippet(&server);
        let snippet = error.response_snippet().unwrap();
        assert!(snippet.starts_with("\\u{1b}[31mxxx"), "{snippet}");
        assert!(snippet.len() <= MAX_SNIPPET_BYTES);
        assert!(!error.to_string().contains("xxx"));
        assert!(!format!("{error:?}").contains("xxx"));
    }

    #[test]
    fn snippet_never_splits_a_character() {
        for pad in 505..515 {
            let server = format!("{}{}", "x".repeat(pad), "ü".repeat(9));
            let error = ExportError::rejected("opik", "bad").with_response_snippet(&server);
            assert!(error.response_snippet().unwrap().len() <= MAX_SNIPPET_BYTES);
        }
    }
}
