//! What the sandbox stored, as a record again.

use beluga_o11y::{CallError, Json, LLMCallData};
use serde_json::Value;

use crate::StoredCall;

/// A record of what can be seen. The id is the one that the exporters of this workspace give to the trace; ids of the
/// caller are looked for in the metadata first, where backends without a place for them have them.
impl From<StoredCall> for LLMCallData {
    fn from(stored: StoredCall) -> Self {
        let own_id = |key: &str| match stored.metadata.get(key) {
            Some(Value::String(id)) => Some(id.clone()),
            _ => None,
        };
        let (trace_id, parent_id) = (own_id("trace_id"), own_id("parent_span_id"));
        let json = |value: Option<Value>| value.map(|value| Json::new(&value));
        let mut call = Self::new(
            stored.provider.unwrap_or_default(),
            stored.model.unwrap_or_default(),
        )
        .with_start_time(stored.start_time);
        // The form without dashes is read, too.
        if let Ok(id) = stored.trace_id.parse() {
            call = call.with_id(id);
        }
        call.name = stored.name;
        call.duration = stored
            .end_time
            .and_then(|end| (end - stored.start_time).to_std().ok());
        call.time_to_first_token = stored
            .time_to_first_token_ms
            .and_then(|ms| std::time::Duration::try_from_secs_f64(ms / 1e3).ok());
        call.messages = json(stored.input);
        call.response = json(stored.output);
        call.model_parameters = json(stored.model_parameters);
        call.usage.input_tokens = stored.input_tokens;
        call.usage.output_tokens = stored.output_tokens;
        call.usage.cache_read_tokens = stored.cache_read_tokens;
        call.usage.cache_write_tokens = stored.cache_write_tokens;
        call.usage.reasoning_tokens = stored.reasoning_tokens;
        call.cost = stored.cost;
        call.error = stored.error.map(|error| {
            let mut shown = CallError::new(error.message);
            shown.kind = error.kind;
            shown.trace = error.trace;
            shown
        });
        call.session_id = stored.session_id;
        call.user_id = stored.user_id;
        call.tags = stored.tags;
        call.environment = stored.environment;
        call.release = stored.release;
        call.trace_id = trace_id.or(Some(stored.trace_id));
        call.parent_span_id = parent_id.or(stored.parent_id);
        let metadata = stored.metadata.iter();
        call.metadata = metadata
            .map(|(key, value)| (key.clone(), Json::new(value)))
            .collect();
        call
    }
}
