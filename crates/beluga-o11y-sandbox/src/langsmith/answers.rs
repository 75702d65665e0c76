//! LangSmith's answers. It has two shapes for what went wrong, `{"detail": ".."}` and, newer, `{"error": ".."}`. Texts
//! are those that public issues quote (of langchain-ai/langsmith-sdk unless another repository is named), where there
//! are any.

use hyper::StatusCode;
use serde_json::json;

use crate::answer::Answer;

/// `size_limit_bytes` of `/info`.
pub(crate) const MAX_BODY_BYTES: usize = 20_971_520;

pub(crate) fn detail(status: StatusCode, text: &str) -> Answer {
    Answer::json(status, &json!({"detail": text}))
}

pub(crate) fn error(status: StatusCode, text: &str) -> Answer {
    Answer::json(status, &json!({"error": text}))
}

/// The clients do not look at what is in it.
pub(crate) fn accepted() -> Answer {
    Answer::json(StatusCode::ACCEPTED, &json!({}))
}

/// The code that the Python client looks for.
pub(crate) fn workspace_wanted() -> Answer {
    error(StatusCode::FORBIDDEN, "org_scoped_key_requires_workspace")
}

/// Issues 1529 and 2111.
pub(crate) fn already_received() -> Answer {
    error(
        StatusCode::CONFLICT,
        "Conflict: payload already received: payloads already received",
    )
}

pub(crate) fn too_large() -> Answer {
    error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
}

/// What LangSmith says with this status when it is its own doing.
pub(crate) fn default_for(status: StatusCode) -> Answer {
    match status.as_u16() {
        200..=399 => Answer::empty(status),
        400 => error(status, "Bad request: invalid 'dotted_order'"),
        401 => detail(status, "Invalid token"),
        403 => error(status, "Forbidden"),
        409 => already_received(),
        413 => too_large(),
        422 => error(status, "Unprocessable entity: invalid batch JSON"),
        429 => detail(status, "Rate limit exceeded"),
        _ => detail(status, status.canonical_reason().unwrap_or_default()),
    }
}

/// Why a run is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body is no JSON, or not of the shape that is wanted.
    Body(String),
    /// A field is missing or has the wrong type.
    Schema {
        /// `post.0` in a batch, nothing for a run by itself.
        place: Option<String>,
        field: &'static str,
        problem: String,
    },
    /// Issue 453.
    NotIso8601(&'static str),
    /// Issue 637.
    IntegerTooBig,
    /// Where the run stands in its trace: what is wrong, and with what.
    Order(String),
    /// A session that does not exist.
    NoSession,
    /// A parent that does not exist, for a run that leaves its order to the server.
    NoParent,
}

impl Refusal {
    pub(crate) fn answer(&self) -> Answer {
        const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        match self {
            Self::Body(problem) => error(
                UNPROCESSABLE,
                &format!("Unprocessable entity: invalid batch JSON: {problem}"),
            ),
            // BerriAI/litellm issue 14996.
            Self::Schema {
                place: Some(place),
                field,
                problem,
            } => error(
                UNPROCESSABLE,
                &format!(
                    "Unprocessable entity: invalid batch JSON: batch schema error {place}.{field}: {problem}"
                ),
            ),
            // vercel/ai issue 4843.
            Self::Schema {
                place: None,
                field,
                problem,
            } => error(
                UNPROCESSABLE,
                &format!("Unprocessable entity: schema validation failed: {field}: {problem}"),
            ),
            Self::NotIso8601(field) => detail(
                UNPROCESSABLE,
                &format!("{field} must be an ISO 8601 timestamp"),
            ),
            Self::IntegerTooBig => detail(UNPROCESSABLE, "int too big to convert"),
            // langchain-ai/langchainjs issue 9077.
            Self::Order(problem) => error(
                StatusCode::BAD_REQUEST,
                &format!("Bad request: invalid 'dotted_order': {problem}"),
            ),
            Self::NoSession => detail(StatusCode::NOT_FOUND, "Session not found"),
            Self::NoParent => detail(StatusCode::NOT_FOUND, "Parent run not found"),
        }
    }
}
