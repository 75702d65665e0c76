//! What any backend stored, in one form.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

/// A backend that the sandbox plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// Opik.
    Opik,
    /// Langfuse.
    Langfuse,
    /// Arize Phoenix.
    Phoenix,
    /// LangSmith.
    LangSmith,
    /// Any receiver of OTLP.
    Otlp,
}

/// An LLM call as a backend stored it, in the same form for all of them: what a person would see there.
///
/// What the backend does not show is absent, even if it was sent. Token counts have one meaning: input includes
/// cached tokens, output includes reasoning.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredCall {
    /// Who stored it.
    pub backend: Backend,
    /// The project that it is filed under; for a plain OTLP receiver its `service.name`.
    pub project: Option<String>,
    /// The id of the span, run or observation, as the backend writes it.
    pub id: String,
    /// The id of its trace, as the backend writes it.
    pub trace_id: String,
    /// The id of the span that it happened in, if the backend was told one.
    pub parent_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Who served the model.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// When it started.
    pub start_time: DateTime<Utc>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// Milliseconds until the first token.
    pub time_to_first_token_ms: Option<f64>,
    /// What was sent: the messages.
    pub input: Option<Value>,
    /// What the model answered.
    pub output: Option<Value>,
    /// The parameters of the request.
    pub model_parameters: Option<Value>,
    /// All tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// All tokens of the answer.
    pub output_tokens: Option<u64>,
    /// The part of the input that came out of a cache.
    pub cache_read_tokens: Option<u64>,
    /// The part of the input that went into a cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The cost in USD that it shows, of those that it was told.
    pub cost: Option<f64>,
    /// Why the call failed.
    pub error: Option<StoredError>,
    /// The session or thread.
    pub session_id: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The tags, sorted.
    pub tags: Vec<String>,
    /// The environment.
    pub environment: Option<String>,
    /// The release.
    pub release: Option<String>,
    /// The metadata that can be seen, the caller's and the exporter's.
    pub metadata: BTreeMap<String, Value>,
}

impl StoredCall {
    /// A call of which nothing else is known.
    pub(crate) fn new(
        backend: Backend,
        id: String,
        trace_id: String,
        start_time: DateTime<Utc>,
    ) -> Self {
        Self {
            backend,
            project: None,
            id,
            trace_id,
            parent_id: None,
            name: None,
            provider: None,
            model: None,
            start_time,
            end_time: None,
            time_to_first_token_ms: None,
            input: None,
            output: None,
            model_parameters: None,
            input_tokens: None,
            output_tokens: None,
            cache_read_tokens: None,
            cache_write_tokens: None,
            reasoning_tokens: None,
            cost: None,
            error: None,
            session_id: None,
            user_id: None,
            tags: Vec::new(),
            environment: None,
            release: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// The error of a stored call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredError {
    /// The sort of error.
    pub kind: Option<String>,
    /// What happened.
    pub message: String,
    /// The stack trace.
    pub trace: Option<String>,
}
