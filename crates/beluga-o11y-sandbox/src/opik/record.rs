//! What the sandbox gives back: traces and spans, typed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::opik::evaluation::record::FeedbackScore;
use crate::opik::json::ErrorInfo;

/// A stored trace, with what the backend computes from its spans.
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trace {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// The workspace whose row this is; `default` when self-hosted.
    pub workspace: String,
    /// Made by the sandbox on the project's first use.
    pub project_id: Uuid,
    /// As first used, without blanks around it; `Default Project` if none was sent.
    pub project_name: String,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As sent; 1970-01-01 while only an update has arrived.
    pub start_time: DateTime<Utc>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<DateTime<Utc>>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// As sent, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_info: Option<ErrorInfo>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Time to first token in milliseconds, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// As sent: `sdk`, `experiment`, `playground`, `optimization` or `evaluator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// When the row first arrived.
    pub created_at: DateTime<Utc>,
    /// The row's version: as sent, or the time of arrival.
    pub last_updated_at: DateTime<Utc>,
    /// Milliseconds from start to end, to the microsecond; none without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Per key, the sum over its spans (Opik: `TraceDAO`). Whatever usage was sent on the trace itself is ignored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, i64>,
    /// The sum over its spans in US dollars; none if that is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_estimated_cost: Option<f64>,
    /// Spans of this trace, in the same project.
    pub span_count: usize,
    /// Those of type `llm`.
    pub llm_span_count: usize,
    /// The providers of its spans, each once, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// One of a name, in the order in which the names first arrived.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feedback_scores: Vec<FeedbackScore>,
}

/// A stored span.
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// The workspace whose row this is; `default` when self-hosted.
    pub workspace: String,
    /// Made by the sandbox on the project's first use.
    pub project_id: Uuid,
    /// As first used, without blanks around it; `Default Project` if none was sent.
    pub project_name: String,
    /// As sent. The trace need not exist.
    pub trace_id: Uuid,
    /// As sent. The parent need not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<Uuid>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As sent: `general`, `tool`, `llm` or `guardrail`. Serialised as `type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub span_type: Option<String>,
    /// As sent; 1970-01-01 while only an update has arrived.
    pub start_time: DateTime<Utc>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<DateTime<Utc>>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// As sent, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// As sent, floats truncated and nulls left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, i32>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_info: Option<ErrorInfo>,
    /// Time to first token in milliseconds, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// US dollars: as sent, else `metadata.cost`. There is no price table, so without either there is no cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_estimated_cost: Option<f64>,
    /// As sent: `sdk`, `experiment`, `playground`, `optimization` or `evaluator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// When the row first arrived.
    pub created_at: DateTime<Utc>,
    /// The row's version: as sent, or the time of arrival.
    pub last_updated_at: DateTime<Utc>,
    /// Milliseconds from start to end, to the microsecond; none without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// One of a name, in the order in which the names first arrived.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feedback_scores: Vec<FeedbackScore>,
}

/// A record as the backend's own API shows it (Opik: `Trace.View.Public`, `Span.View.Public`).
pub(crate) trait PublicView: Serialize {
    /// The fields that are the sandbox's own.
    const HIDDEN: &'static [&'static str];

    fn public_view(&self) -> Value {
        let mut view = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = view.as_object_mut() {
            for name in Self::HIDDEN {
                fields.remove(*name);
            }
            for name in ["created_by", "last_updated_by"] {
                fields.insert(name.to_owned(), Value::from("admin"));
            }
        }
        view
    }
}

impl PublicView for Trace {
    const HIDDEN: &'static [&'static str] = &["workspace", "project_name"];
}

impl PublicView for Span {
    const HIDDEN: &'static [&'static str] = &["workspace"];
}
