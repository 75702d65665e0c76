//! Opik's rows as LLM calls: one for each span of type `llm`, with what its trace knows.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ErrorInfo, Span};
use crate::stored::{Backend, StoredCall, StoredError};

/// What a call has of its trace; nothing if the trace has not come.
#[derive(Debug, Default)]
pub(crate) struct OfTrace {
    pub(crate) metadata: Option<Value>,
    pub(crate) tags: Vec<String>,
    pub(crate) thread_id: Option<String>,
}

/// The call that a span of type `llm` is.
pub(crate) fn call(span: Span, trace: OfTrace) -> StoredCall {
    let own = object(span.metadata);
    let mut metadata = object(trace.metadata);
    let tokens = |keys: &[&str]| count(&span.usage, keys);
    // A call inside a run has its own; what only the trace has is the run's.
    let text = |name| {
        let texts = [&own, &metadata].map(|fields| fields.get(name).and_then(Value::as_str));
        texts.into_iter().flatten().next().map(str::to_owned)
    };
    let mut call = StoredCall {
        project: Some(span.project_name),
        parent_id: span.parent_span_id.map(|id| id.to_string()),
        name: span.name,
        provider: span.provider,
        model: span.model,
        end_time: span.end_time,
        time_to_first_token_ms: span.ttft,
        input: span.input.map(|input| unwrapped(input, "messages")),
        output: span.output.map(|output| unwrapped(output, "response")),
        input_tokens: tokens(&["prompt_tokens"]),
        output_tokens: tokens(&["completion_tokens"]),
        cache_read_tokens: tokens(CACHE_READ),
        cache_write_tokens: tokens(CACHE_WRITE),
        reasoning_tokens: tokens(REASONING),
        cost: span.total_estimated_cost,
        error: span.error_info.map(error),
        session_id: trace.thread_id,
        user_id: text("user_id"),
        environment: span.environment,
        release: text("release"),
        model_parameters: own
            .get("model_parameters")
            .or_else(|| metadata.get("model_parameters"))
            .cloned(),
        ..StoredCall::new(
            Backend::Opik,
            span.id.to_string(),
            span.trace_id.to_string(),
            span.start_time,
        )
    };
    call.tags = trace.tags.into_iter().chain(span.tags).collect();
    call.tags.sort();
    call.tags.dedup();
    metadata.extend(own);
    call.metadata = metadata.into_iter().collect();
    call
}

/// Where the providers' own counts are, after Opik's prefix (Opik: `SpanCostCalculator`).
const CACHE_READ: &[&str] = &[
    "original_usage.prompt_tokens_details.cached_tokens",
    "original_usage.input_tokens_details.cached_tokens",
    "original_usage.cache_read_input_tokens",
    "original_usage.cacheReadInputTokens",
    "original_usage.cached_content_token_count",
];
const CACHE_WRITE: &[&str] = &[
    "original_usage.prompt_tokens_details.cache_write_tokens",
    "original_usage.cache_creation_input_tokens",
    "original_usage.cacheWriteInputTokens",
];
const REASONING: &[&str] = &[
    "original_usage.completion_tokens_details.reasoning_tokens",
    "original_usage.output_tokens_details.reasoning_tokens",
    "original_usage.output_tokens_details.thinking_tokens",
    "original_usage.thoughts_token_count",
];

fn count(usage: &BTreeMap<String, i32>, keys: &[&str]) -> Option<u64> {
    let count = keys.iter().find_map(|key| usage.get(*key))?;
    u64::try_from(*count).ok()
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Opik wants objects, so clients put what they have under a name of their own: it comes back without.
fn unwrapped(value: Value, name: &str) -> Value {
    match value {
        Value::Object(mut fields) if fields.len() == 1 => match fields.remove(name) {
            Some(inner) => inner,
            None => Value::Object(fields),
        },
        other => other,
    }
}

fn error(info: ErrorInfo) -> StoredError {
    StoredError {
        message: info.message.unwrap_or_default(),
        kind: Some(info.exception_type),
        trace: Some(info.traceback),
    }
}
