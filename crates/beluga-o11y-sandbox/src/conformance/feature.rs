//! What a backend may not show.

use std::fmt;

/// What a backend shows of a call, or does with it: what the suite looks at, and what a
/// [`Subject`](super::Subject) may say it cannot see. The model is always compared, since calls are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Feature {
    /// [`LLMCallData::id`](beluga_o11y::LLMCallData::id), or the backend's own form of it.
    Id,
    /// [`provider`](beluga_o11y::LLMCallData::provider).
    Provider,
    /// [`display_name`](beluga_o11y::LLMCallData::display_name).
    Name,
    /// [`messages`](beluga_o11y::LLMCallData::messages).
    Messages,
    /// [`response`](beluga_o11y::LLMCallData::response).
    Response,
    /// [`model_parameters`](beluga_o11y::LLMCallData::model_parameters).
    ModelParameters,
    /// [`start_time`](beluga_o11y::LLMCallData::start_time).
    StartTime,
    /// [`duration`](beluga_o11y::LLMCallData::duration).
    Duration,
    /// [`time_to_first_token`](beluga_o11y::LLMCallData::time_to_first_token).
    TimeToFirstToken,
    /// [`input_tokens`](beluga_o11y::Usage::input_tokens).
    InputTokens,
    /// [`output_tokens`](beluga_o11y::Usage::output_tokens).
    OutputTokens,
    /// [`cache_read_tokens`](beluga_o11y::Usage::cache_read_tokens).
    CacheReadTokens,
    /// [`cache_write_tokens`](beluga_o11y::Usage::cache_write_tokens).
    CacheWriteTokens,
    /// [`reasoning_tokens`](beluga_o11y::Usage::reasoning_tokens).
    ReasoningTokens,
    /// [`cost`](beluga_o11y::LLMCallData::cost).
    Cost,
    /// Whether there was an error, and its [`message`](beluga_o11y::CallError::message).
    Error,
    /// The [`kind`](beluga_o11y::CallError::kind) of an error.
    ErrorKind,
    /// The [`trace`](beluga_o11y::CallError::trace) of an error.
    ErrorTrace,
    /// [`session_id`](beluga_o11y::LLMCallData::session_id).
    SessionId,
    /// [`user_id`](beluga_o11y::LLMCallData::user_id).
    UserId,
    /// [`tags`](beluga_o11y::LLMCallData::tags).
    Tags,
    /// [`environment`](beluga_o11y::LLMCallData::environment).
    Environment,
    /// [`release`](beluga_o11y::LLMCallData::release).
    Release,
    /// [`trace_id`](beluga_o11y::LLMCallData::trace_id).
    TraceId,
    /// [`parent_span_id`](beluga_o11y::LLMCallData::parent_span_id).
    ParentSpanId,
    /// [`metadata`](beluga_o11y::LLMCallData::metadata).
    Metadata,
    /// That numbers, `true`, `false` and `null` in the metadata are told from texts. Without it they may arrive as text, `42` as
    /// `"42"`; inside of objects and arrays they may not.
    MetadataTypes,
    /// That a call which is sent again is still one call.
    Once,
}

/// The name of the field in the JSON form of a call: `session_id`.
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Id => "id",
            Self::Provider => "provider",
            Self::Name => "name",
            Self::Messages => "messages",
            Self::Response => "response",
            Self::ModelParameters => "model_parameters",
            Self::StartTime => "start_time",
            Self::Duration => "duration",
            Self::TimeToFirstToken => "time_to_first_token",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::CacheReadTokens => "cache_read_tokens",
            Self::CacheWriteTokens => "cache_write_tokens",
            Self::ReasoningTokens => "reasoning_tokens",
            Self::Cost => "cost",
            Self::Error => "error",
            Self::ErrorKind => "error.kind",
            Self::ErrorTrace => "error.trace",
            Self::SessionId => "session_id",
            Self::UserId => "user_id",
            Self::Tags => "tags",
            Self::Environment => "environment",
            Self::Release => "release",
            Self::TraceId => "trace_id",
            Self::ParentSpanId => "parent_span_id",
            Self::Metadata => "metadata",
            Self::MetadataTypes => "metadata types",
            Self::Once => "once",
        })
    }
}
