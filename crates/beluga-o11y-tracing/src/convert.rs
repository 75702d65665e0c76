//! A closed span as the record of a call.

use std::{thread, time::Duration};

use beluga_o11y::{CallError, Json, LLMCallData, Usage};
use serde_json::{Map, Value as JsonValue};
use tracing::Metadata;

use crate::{
    messages,
    role::{OPERATION, Operation, RESERVED, Role},
    span::Noted,
    values::{Value, Values, is_content},
};

/// The entry of the metadata that marks an error which no library told of.
const INFERRED: &str = "error_inferred";

/// Drops an error that was only inferred.
pub(crate) fn forget_inferred_error(call: &mut LLMCallData) {
    if call.metadata.remove(INFERRED).is_some() {
        call.error = None;
    }
}

/// The record of a call, but for what it takes over from the spans around it.
pub(crate) fn record(noted: Noted, operation: Operation, metadata: &Metadata<'_>) -> LLMCallData {
    let duration = noted.started.elapsed();
    let values = &noted.values;
    let text = |names: [&str; 2]| names.iter().find_map(|name| values.text(name));

    let provider = text(["gen_ai.provider.name", "gen_ai.system"]);
    let model = text(["gen_ai.request.model", "gen_ai.response.model"]);
    let langchain = matches!(noted.role, Role::LangChain(_));
    let (provider, model) = match langchain {
        true => (values.text("provider"), values.text("model")),
        false => (provider, model),
    };
    let (provider, model) = (provider.unwrap_or_default(), model.unwrap_or_default());

    let library = Library::of(metadata);
    let mut call = LLMCallData::new(provider, model)
        .with_start_time(noted.start_time.into())
        .with_duration(duration);
    call.usage = usage(values, library, provider);
    call.messages = messages::input(
        values.text("gen_ai.system_instructions"),
        text(["gen_ai.input.messages", "gen_ai.prompt"]),
    );
    let output = text(["gen_ai.output.messages", "gen_ai.completion"]);
    call.response = output.map(messages::output);
    let first_chunk = values.get("gen_ai.response.time_to_first_chunk");
    call.time_to_first_token = first_chunk
        .and_then(Value::number)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(reasons) = output
        .map(messages::finish_reasons)
        .filter(|reasons| !reasons.is_empty())
    {
        call.metadata
            .insert(FINISH_REASONS.into(), Json::new(&reasons));
    }
    let answered = call.response.is_some() || has_answer(values);
    call.error = error(values, noted.error_event, answered);
    if call.error.is_none() && !answered && tells_of_answers(library, operation, values) {
        call.error = Some(CallError::new(
            "no answer was recorded: the call failed, was cancelled, or its answer was not read to the end",
        ));
        call.metadata.insert(INFERRED.into(), Json::new(&true));
    }
    rest(noted.values, langchain, &mut call);
    call
}

/// What made a span, where that changes the meaning of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// rig up to 0.42.
    OldRig,
    /// rig's direct calls of a model, since 0.44.
    RigCompletion,
    Genai,
    LangChain,
    Other,
}

impl Library {
    fn of(metadata: &Metadata<'_>) -> Self {
        let target = metadata.target();
        match target {
            // 0.44 added the field; nothing else tells the versions apart.
            "rig::completions" | "rig::agent_chat"
                if metadata.fields().field("gen_ai.request.stream").is_none() =>
            {
                Self::OldRig
            }
            "rig::completions" => Self::RigCompletion,
            _ if target.starts_with("genai::") => Self::Genai,
            _ if target.starts_with("langchain_rust") => Self::LangChain,
            _ => Self::Other,
        }
    }
}

/// With input including what is cached, and output including reasoning, whatever the library counts.
fn usage(values: &Values, library: Library, provider: &str) -> Usage {
    let count = |names: [&str; 3]| {
        let mut found = names.iter().filter_map(|name| values.get(name)?.count());
        found.next()
    };
    let mut usage = Usage::default();
    usage.input_tokens = count([
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "prompt_tokens",
    ]);
    usage.output_tokens = count([
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "completion_tokens",
    ]);
    usage.cache_read_tokens = count(["gen_ai.usage.cache_read.input_tokens", "", ""]);
    usage.cache_write_tokens = count([
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "",
    ]);
    usage.reasoning_tokens = count([
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "",
    ]);

    let read = usage.cache_read_tokens.unwrap_or(0);
    let cached = read.saturating_add(usage.cache_write_tokens.unwrap_or(0));
    // From the libraries' sources; the last case says of itself that it cannot be otherwise.
    let excludes_cached = match library {
        Library::OldRig if matches!(provider, "anthropic" | "aws_bedrock") => true,
        Library::Genai if provider == "aws.bedrock" => true,
        _ => usage.input_tokens.is_some_and(|input| input < cached),
    };
    if excludes_cached {
        usage.input_tokens = usage.input_tokens.map(|input| input.saturating_add(cached));
    }
    let reasoning = usage.reasoning_tokens.unwrap_or(0);
    let excludes_reasoning = (library == Library::OldRig && provider == "gcp.gemini")
        || usage.output_tokens.is_some_and(|output| output < reasoning);
    if excludes_reasoning {
        usage.output_tokens = usage
            .output_tokens
            .map(|output| output.saturating_add(reasoning));
    }
    usage
}

/// Whether anything was recorded that only an answer has.
fn has_answer(values: &Values) -> bool {
    values
        .iter()
        .any(|(name, _)| name.starts_with("gen_ai.response.") || name.starts_with("gen_ai.usage."))
}

/// Whether a call without any trace of an answer has none. Some leave no trace of theirs:
///
/// - langchain-rust and genai tell of every error; a stream of genai without `capture_usage` leaves little or nothing,
/// - a stream of rig's own leaves nothing unless it is read with `finish()`,
/// - images, audio and the like often have neither usage nor an id.
fn tells_of_answers(library: Library, operation: Operation, values: &Values) -> bool {
    let streams = values.get("gen_ai.request.stream") == Some(&Value::Bool(true));
    match library {
        Library::LangChain => false,
        Library::Genai => !streams,
        Library::RigCompletion if streams => false,
        _ => operation == Operation::Generation,
    }
}

fn error(values: &Values, event: Option<String>, answered: bool) -> Option<CallError> {
    let kind = values
        .get("error.type")
        .map(|kind| kind.clone().into_text());
    let kind = kind.filter(|kind| !kind.trim().is_empty());
    let message = [
        "error.message",
        "exception.message",
        "otel.status_description",
        "error",
    ]
    .iter()
    .find_map(|name| values.text(name).map(str::to_owned));
    let status = values.text("otel.status_code");
    let told = kind.is_some()
        || message.is_some()
        || status.is_some_and(|s| s.eq_ignore_ascii_case("error"));
    if thread::panicking() && !told && !answered {
        return Some(CallError::new("a panic ended the call").with_kind(CallError::PANIC));
    }
    // A library may complain of something on the way to a good answer.
    let event = event.filter(|_| told || !answered);
    if !told && event.is_none() {
        return None;
    }
    let message = message.or(event).unwrap_or_else(|| match &kind {
        Some(kind) => format!("the call failed: {kind}"),
        None => "the call failed".to_owned(),
    });
    let error = CallError::new(message);
    Some(match kind {
        Some(kind) => error.with_kind(kind),
        None => error,
    })
}

const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";

/// Model parameters, and all that the record has no place for: it stands in the metadata under its own name.
fn rest(values: Values, langchain: bool, call: &mut LLMCallData) {
    let mut parameters = Map::new();
    for (name, value) in values.into_iter() {
        let parameter = match name {
            "gen_ai.request.stop_sequences" => Some("stop"),
            "gen_ai.request.choice.count" => Some("n"),
            "gen_ai.tool.definitions" => Some("tools"),
            "gen_ai.output.type" => Some("output_type"),
            "stream" if langchain => Some("stream"),
            OPERATION => match value.text() {
                // How rig told of streams up to 0.42.
                Some("chat_streaming" | "interactions_streaming") => {
                    parameters.insert("stream".into(), true.into());
                    continue;
                }
                Some("chat") | None => continue,
                Some(_) => None,
            },
            "gen_ai.request.model" => continue,
            "gen_ai.response.model" if value.text() == Some(&call.model) => continue,
            _ if has_place(name, langchain) => continue,
            _ => name.strip_prefix("gen_ai.request."),
        };
        match parameter {
            Some(parameter) => {
                parameters.insert(parameter.into(), structured(name, value));
            }
            None => {
                let value = match name {
                    FINISH_REASONS => Json::new(&structured(name, value)),
                    _ => match value {
                        Value::Text(text) if is_content(name) => messages::as_it_is(&text),
                        value => Json::new(&value),
                    },
                };
                call.metadata.insert(name.to_owned(), value);
            }
        }
    }
    if !parameters.is_empty() {
        call.model_parameters = Some(Json::new(&parameters));
    }
}

/// Whether a field stands elsewhere in the record, or says nothing of the call.
fn has_place(name: &str, langchain: bool) -> bool {
    match name {
        "gen_ai.provider.name" | "gen_ai.system" => true,
        "gen_ai.system_instructions" | "gen_ai.input.messages" | "gen_ai.output.messages" => true,
        "gen_ai.prompt" | "gen_ai.completion" | "gen_ai.response.time_to_first_chunk" => true,
        "gen_ai.usage.tool_use_prompt_tokens" => false,
        "gen_ai.conversation.id" | "rig.completion_parent" => true,
        "error" | "error.type" | "error.message" | "exception.message" => true,
        "provider" | "model" | "prompt_tokens" | "completion_tokens" | "total_tokens" => langchain,
        _ => {
            name.starts_with("gen_ai.usage.")
                || name.starts_with("otel.")
                || name.starts_with(RESERVED)
        }
    }
}

/// A value as JSON; lists are fields of text that is JSON.
fn structured(name: &str, value: Value) -> JsonValue {
    let is_list = matches!(
        name,
        FINISH_REASONS
            | "gen_ai.request.stop_sequences"
            | "gen_ai.request.encoding_formats"
            | "gen_ai.tool.definitions"
    );
    match value {
        Value::U64(value) => value.into(),
        Value::I64(value) => value.into(),
        Value::F64(value) => value.into(),
        Value::Bool(value) => value.into(),
        Value::Text(text) if is_list => serde_json::from_str(&text).unwrap_or_else(|_| text.into()),
        Value::Text(text) => text.into(),
    }
}
