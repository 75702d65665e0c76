//! What a failed LLM call failed with.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};

/// The error of a failed LLM call: what the model's API, the network or the program said.
///
/// A plain string is fine; an empty one means that there was no error.
///
/// ```
/// use beluga_o11y::CallError;
///
/// let plain = CallError::from("429 Too Many Requests");
/// let full = CallError::new("429 Too Many Requests").with_kind("RateLimitError");
/// assert_eq!(plain.kind, None);
/// assert_eq!(full.kind.as_deref(), Some("RateLimitError"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallError {
    /// The sort of error, as a class of exceptions is named: `RateLimitError`, `timeout`.
    pub kind: Option<String>,
    /// What happened.
    pub message: String,
    /// A stack trace, or the chain of causes.
    pub trace: Option<String>,
}

impl CallError {
    /// The kind that [`CallGuard`](crate::CallGuard) gives to a call that was dropped before its end.
    pub const CANCELLED: &str = "cancelled";
    /// The kind that [`CallGuard`](crate::CallGuard) gives to a call whose thread or task panicked.
    pub const PANIC: &str = "panic";
    /// The kind for a call that was given up because it took too long.
    pub const TIMEOUT: &str = "timeout";

    /// An error with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: None,
            message: message.into(),
            trace: None,
        }
    }

    /// Takes an error as Rust programs have them: its message, the name of its type as the kind, and
    /// its chain of causes, if it has any, as the trace.
    ///
    /// ```
    /// use beluga_o11y::CallError;
    ///
    /// let error = "x".parse::<u32>().unwrap_err();
    /// let error = CallError::from_error(&error);
    /// assert_eq!(error.kind.as_deref(), Some("ParseIntError"));
    /// assert_eq!(error.message, "invalid digit found in string");
    /// ```
    pub fn from_error<E: std::error::Error>(error: &E) -> Self {
        let mut trace = String::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            if !trace.is_empty() {
                trace.push('\n');
            }
            trace.push_str("caused by: ");
            trace.push_str(&error.to_string());
            cause = error.source();
        }
        let path = std::any::type_name::<E>();
        // The parameters of a generic type say nothing about the error.
        let path = path.split('<').next().unwrap_or(path);
        Self {
            kind: Some(path.rsplit("::").next().unwrap_or(path).to_owned()),
            message: error.to_string(),
            trace: (!trace.is_empty()).then_some(trace),
        }
    }

    /// Sets the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets the stack trace or chain of causes.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Whether it says nothing at all, which means that there was no error.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.kind.is_none() && self.trace.is_none()
    }
}

impl From<&str> for CallError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for CallError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// Shows the kind and sizes, never the texts: they may quote a prompt.
impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("kind_bytes", &self.kind.as_ref().map(String::len))
            .field("message_bytes", &self.message.len())
            .field("trace_bytes", &self.trace.as_ref().map(String::len))
            .finish()
    }
}

/// A string if there is only a message, else `{kind, message, trace}`.
impl Serialize for CallError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.kind.is_none() && self.trace.is_none() {
            return serializer.serialize_str(&self.message);
        }
        let mut object = serializer.serialize_struct("CallError", 3)?;
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("trace", &self.trace)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for CallError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string or {kind, message, trace}")]
        enum Form {
            Text(String),
            Object {
                kind: Option<String>,
                #[serde(default)]
                message: String,
                trace: Option<String>,
            },
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(message) => Self::new(message),
            Form::Object {
                kind,
                message,
                trace,
            } => Self {
                kind,
                message,
                trace,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("request failed")]
    struct Outer<T: fmt::Debug>(#[source] std::io::Error, T);

    #[test]
    fn an_error_type_gives_kind_message_and_causes() {
        let error = Outer(std::io::Error::other("reset by peer"), 1);
        let error = CallError::from_error(&error);
        assert_eq!(error.kind.as_deref(), Some("Outer"));
        assert_eq!(error.message, "request failed");
        assert_eq!(error.trace.as_deref(), Some("caused by: reset by peer"));
    }

    #[test]
    fn json_is_a_string_or_an_object() {
        let plain = CallError::new("boom");
        assert_eq!(serde_json::to_value(&plain).unwrap(), json!("boom"));
        let full = plain.clone().with_kind("E").with_trace("at x");
        let value = json!({"kind": "E", "message": "boom", "trace": "at x"});
        assert_eq!(serde_json::to_value(&full).unwrap(), value);
        assert_eq!(serde_json::from_value::<CallError>(value).unwrap(), full);
        let read: CallError = serde_json::from_value(json!("boom")).unwrap();
        assert_eq!(read, plain);
        assert!(serde_json::from_value::<CallError>(json!(7)).is_err());
    }

    #[test]
    fn debug_shows_sizes_only() {
        let error = CallError::new("secret").with_kind("KIND");
        let debug = format!("{error:?}");
        assert!(
            !debug.contains("secret") && !debug.contains("KIND"),
            "{debug}"
        );
    }
}
