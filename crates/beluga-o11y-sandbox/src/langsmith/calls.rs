//! LangSmith's runs as LLM calls.

use serde_json::{Map, Value};

use super::run::LangSmithRun;
use crate::stored::{Backend, StoredCall, StoredError};

/// None if the run is of another type.
pub(crate) fn of(run: LangSmithRun) -> Option<StoredCall> {
    (run.run_type == "llm").then(|| call(run))
}

fn call(run: LangSmithRun) -> StoredCall {
    let mut extra = run.extra;
    let mut metadata = object(extra.remove("metadata"));
    metadata.remove("usage_metadata");
    let text = |names: &[&str]| {
        let text = |name: &&str| metadata.get(*name).and_then(Value::as_str);
        names.iter().find_map(text).map(str::to_owned)
    };
    let parameters = object(extra.remove("invocation_params"));
    let model = text(&["ls_model_name"]);
    let model_of_parameters = parameters.get("model").and_then(Value::as_str);
    let model = model.or_else(|| model_of_parameters.map(str::to_owned));
    let detail = |details: &Option<Map<String, Value>>, name: &str| {
        details.as_ref()?.get(name).and_then(Value::as_u64)
    };
    let mut tags = run.tags;
    tags.sort();
    let wait = |first: chrono::DateTime<chrono::Utc>| {
        let micros = (first - run.start_time).num_microseconds()?;
        Some(micros as f64 / 1e3)
    };
    StoredCall {
        project: Some(run.session_name),
        parent_id: run.parent_run_id.map(|id| id.to_string()),
        name: Some(run.name),
        provider: text(&["ls_provider"]),
        model_parameters: model_parameters(parameters, model.as_deref()),
        model,
        end_time: run.end_time,
        time_to_first_token_ms: run.first_token_time.and_then(wait),
        input: input(run.inputs),
        output: run.outputs.map(output),
        input_tokens: run.prompt_tokens,
        output_tokens: run.completion_tokens,
        cache_read_tokens: detail(&run.prompt_token_details, "cache_read"),
        cache_write_tokens: detail(&run.prompt_token_details, "cache_creation"),
        reasoning_tokens: detail(&run.completion_token_details, "reasoning"),
        cost: run.total_cost,
        error: run
            .error
            .map(|error_text| error(&error_text, text(&["error_type"]))),
        // The names that make threads (documentation, "Set up threads").
        session_id: text(&["thread_id", "session_id", "conversation_id"]),
        user_id: text(&["user_id"]),
        tags,
        environment: text(&["environment"]),
        release: text(&["revision_id"]),
        metadata: metadata.into_iter().collect(),
        ..StoredCall::new(
            Backend::LangSmith,
            run.id.to_string(),
            run.trace_id.to_string(),
            run.start_time,
        )
    }
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The value of an object's only field, if it has this name.
fn only(fields: &Map<String, Value>, name: &str) -> Option<Value> {
    fields.get(name).filter(|_| fields.len() == 1).cloned()
}

/// LangSmith wants objects, so clients put what they have under a name: it comes back without.
fn input(fields: Map<String, Value>) -> Option<Value> {
    let named = ["messages", "input"].iter();
    let inner = named.filter_map(|name| only(&fields, name)).next();
    inner.or_else(|| (!fields.is_empty()).then_some(Value::Object(fields)))
}

/// What an assistant said, if it is that and nothing else.
fn output(fields: Map<String, Value>) -> Value {
    let messages = only(&fields, "messages");
    let message = match messages
        .as_ref()
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        Some([Value::Object(message)]) => Some(message),
        _ => None,
    };
    let said = message.filter(|message| {
        message.len() == 2 && message.get("role").and_then(Value::as_str) == Some("assistant")
    });
    said.and_then(|message| message.get("content").cloned())
        .or_else(|| only(&fields, "output"))
        .or(messages)
        .unwrap_or(Value::Object(fields))
}

/// The model is shown as the model.
fn model_parameters(mut fields: Map<String, Value>, model: Option<&str>) -> Option<Value> {
    if fields.get("model").and_then(Value::as_str) == model {
        fields.remove("model");
    }
    match only(&fields, "model_parameters") {
        Some(other) => Some(other),
        None => (!fields.is_empty()).then_some(Value::Object(fields)),
    }
}

/// LangSmith keeps one text. Its Python client ends it with the stack trace, which begins with this word; the kind is
/// known if the metadata has it.
fn error(text: &str, kind: Option<String>) -> StoredError {
    const TRACE: &str = "\n\nTraceback";
    let (text, trace) = match text.split_once(TRACE) {
        Some((text, trace)) => (text, Some(trace.strip_prefix(":\n").unwrap_or(trace))),
        None => (text, None),
    };
    let message = match kind.as_deref() {
        Some(kind) if text == kind => "",
        Some(kind) => {
            let rest = text.strip_prefix(kind);
            rest.and_then(|rest| rest.strip_prefix(": "))
                .unwrap_or(text)
        }
        None => text,
    };
    StoredError {
        message: message.to_owned(),
        trace: trace.map(str::to_owned),
        kind,
    }
}
