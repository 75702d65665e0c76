//! A closed span as the record of a call.

use std::{thread, time::Duration};

use beluga_o11y::{Json, LLMCallData, Usage};
use serde_json::{Map, Value as JsonValue};
use tracing::Metadata;

use crate::{
    error, messages,
    role::{OPERATION, Operation, RESERVED, Role},
    span::Noted,
    values::Value,
};

const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

/// Whether a span is that of an agent's turn which came to nothing before its call: rig adds the provider when the call is
/// made.
pub(crate) fn was_never_sent(noted: &Noted, metadata: &Metadata<'_>) -> bool {
    metadata.target() == "rig::agent_chat" && noted.values.text("gen_ai.provider.name").is_none()
}

/// The record of a call, but for what it takes over from the spans around it.
pub(crate) fn record(noted: Noted, operation: Operation, metadata: &Metadata<'_>) -> LLMCallData {
    let duration = noted.started.elapsed();
    let mut call = LLMCallData::new("", "")
        .with_start_time(noted.start_time.into())
        .with_duration(duration);
    let mut fields = Fields {
        answered: noted.values.has_unkept_answer(),
        ..Fields::default()
    };
    let langchain = matches!(noted.role, Role::LangChain(_));
    for (name, value) in noted.values.into_iter() {
        match langchain {
            true => fields.take_langchain(name, value, &mut call),
            false => fields.take(name, value, &mut call),
        }
    }
    if langchain && operation == Operation::Embeddings {
        note(&mut call, OPERATION, &Value::Text("embeddings".to_owned()));
    }
    let library = Library::of(metadata);
    fields.finish(library, operation, noted.error_event, &mut call);
    call
}

/// The fields that have to be seen together.
#[derive(Default)]
struct Fields {
    response_model: Option<String>,
    system: Option<String>,
    input: Option<String>,
    output: Option<String>,
    parameters: Map<String, JsonValue>,
    streams: bool,
    /// Whether anything was recorded that only an answer has.
    answered: bool,
    failed: bool,
    error_type: Option<String>,
    error: Option<String>,
}

impl Fields {
    /// By the GenAI conventions, with the names that they had before, and those of the libraries. What the record has no place for
    /// stands in its metadata under its own name.
    fn take(&mut self, name: &'static str, value: Value, call: &mut LLMCallData) {
        self.answered |= (name.starts_with("gen_ai.usage.") && value.count().is_some())
            || (name.starts_with("gen_ai.response.") && name != FIRST_CHUNK && value.is_filled());
        let usage = &mut call.usage;
        match name {
            "gen_ai.provider.name" if value.is_filled() => call.provider = value.into_text(),
            "gen_ai.system" if call.provider.is_empty() => call.provider = value.into_text(),
            "gen_ai.request.model" => call.model = value.into_text(),
            "gen_ai.response.model" => replace(&mut self.response_model, value),

            "gen_ai.usage.input_tokens" => {
                usage.input_tokens = value.count().or(usage.input_tokens);
            }
            "gen_ai.usage.prompt_tokens" => {
                usage.input_tokens = usage.input_tokens.or(value.count());
            }
            "gen_ai.usage.output_tokens" => {
                usage.output_tokens = value.count().or(usage.output_tokens);
            }
            "gen_ai.usage.completion_tokens" => {
                usage.output_tokens = usage.output_tokens.or(value.count());
            }
            "gen_ai.usage.cache_read.input_tokens" => usage.cache_read_tokens = value.count(),
            "gen_ai.usage.cache_creation.input_tokens"
            | "gen_ai.usage.cache_write.input_tokens" => {
                usage.cache_write_tokens = value.count().or(usage.cache_write_tokens);
            }
            "gen_ai.usage.reasoning_tokens" | "gen_ai.usage.reasoning.output_tokens" => {
                usage.reasoning_tokens = value.count().or(usage.reasoning_tokens);
            }

            "gen_ai.system_instructions" => self.system = Some(value.into_text()),
            "gen_ai.input.messages" => replace(&mut self.input, value),
            "gen_ai.prompt" => complete(&mut self.input, value),
            "gen_ai.output.messages" => replace(&mut self.output, value),
            "gen_ai.completion" => complete(&mut self.output, value),
            FIRST_CHUNK => {
                let seconds = value.number();
                call.time_to_first_token =
                    seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            }

            "error.type" => self.error_type = Some(value.into_text()),
            "error.message" => replace(&mut self.error, value),
            "exception.message" | "otel.status_description" | "error" => self.tell(value),
            "otel.status_code" => {
                self.failed |= value
                    .text()
                    .is_some_and(|s| s.eq_ignore_ascii_case("error"));
            }

            OPERATION => match value.text() {
                Some("chat") => {}
                // How rig told of streams up to 0.42.
                Some("chat_streaming" | "interactions_streaming") => self.stream(true),
                _ => note(call, name, &value),
            },
            "gen_ai.request.stream" => self.stream(value.is_true()),
            "gen_ai.request.stop_sequences" => self.parameter("stop", list(value)),
            "gen_ai.request.choice.count" => self.parameter("n", json(value)),
            "gen_ai.request.encoding_formats" => self.parameter("encoding_formats", list(value)),
            "gen_ai.output.type" => self.parameter("output_type", json(value)),
            "gen_ai.tool.definitions" => self.parameter("tools", list(value)),
            FINISH_REASONS if value.is_filled() => {
                let reasons = match list(value) {
                    JsonValue::Array(reasons) => reasons,
                    one => vec![one],
                };
                call.metadata.insert(name.to_owned(), Json::new(&reasons));
            }

            // Taken over from the spans around the call as well.
            "gen_ai.agent.name" | "gen_ai.tool.name" => {}
            "gen_ai.conversation.id" | "rig.completion_parent" | "gen_ai.system" => {}
            "gen_ai.provider.name" | FINISH_REASONS => {}
            _ if name.starts_with("otel.") || name.starts_with(RESERVED) => {}
            _ => match name.strip_prefix("gen_ai.request.") {
                Some(parameter) => self.parameter(parameter, json(value)),
                None => note(call, name, &value),
            },
        }
    }

    fn take_langchain(&mut self, name: &'static str, value: Value, call: &mut LLMCallData) {
        match name {
            "provider" => call.provider = value.into_text(),
            "model" => call.model = value.into_text(),
            "prompt_tokens" => call.usage.input_tokens = value.count(),
            "completion_tokens" => call.usage.output_tokens = value.count(),
            "total_tokens" => {}
            "error" => self.tell(value),
            "stream" => self.stream(value.is_true()),
            _ if name.starts_with(RESERVED) => {}
            _ => note(call, name, &value),
        }
    }

    /// Of an error; a flag says only whether there was one.
    fn tell(&mut self, value: Value) {
        match value {
            Value::Bool(failed) => self.failed |= failed,
            value => complete(&mut self.error, value),
        }
    }

    fn stream(&mut self, streams: bool) {
        self.streams = streams;
        self.parameter("stream", streams.into());
    }

    fn parameter(&mut self, name: &str, value: JsonValue) {
        self.parameters.insert(name.to_owned(), value);
    }

    fn finish(
        self,
        library: Library,
        operation: Operation,
        event: Option<String>,
        call: &mut LLMCallData,
    ) {
        if let Some(model) = self.response_model {
            if call.model.trim().is_empty() {
                call.model = model;
            } else if call.model != model {
                call.metadata
                    .insert("gen_ai.response.model".to_owned(), model.as_str().into());
            }
        }
        include_parts(&mut call.usage, library, &call.provider);
        call.messages = messages::input(filled(&self.system), filled(&self.input));
        if let Some(output) = filled(&self.output) {
            let (answer, reasons) = messages::output(output);
            call.response = Some(answer);
            if !reasons.is_empty() && !call.metadata.contains_key(FINISH_REASONS) {
                call.metadata
                    .insert(FINISH_REASONS.to_owned(), Json::new(&reasons));
            }
        }
        if !self.parameters.is_empty() {
            call.model_parameters = Some(Json::new(&self.parameters));
        }

        let answered = self.answered || call.response.is_some();
        let (kind, message) = (filled(&self.error_type), filled(&self.error));
        let told = self.failed || kind.is_some() || message.is_some();
        // A library may complain of something on the way to a good answer.
        let event = event.filter(|_| told || !answered);
        if told || event.is_some() {
            call.error = Some(error::told(kind, message.map(str::to_owned).or(event)));
        } else if !answered && thread::panicking() {
            call.error = Some(error::of_panic());
        } else if !answered && tells_of_answers(library, operation, self.streams) {
            error::infer(call);
        }
    }
}

/// Sets what is said under the name that it has by now.
fn replace(place: &mut Option<String>, value: Value) {
    if value.is_filled() {
        *place = Some(value.into_text());
    }
}

/// Sets what is said under a name that it had once, if it is not known better.
fn complete(place: &mut Option<String>, value: Value) {
    if place.is_none() {
        replace(place, value);
    }
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.trim().is_empty())
}

fn note(call: &mut LLMCallData, name: &str, value: &Value) {
    let value = match value {
        Value::Text(text) if name.starts_with("gen_ai.tool.call.") => messages::as_it_is(text),
        value => value.into(),
    };
    call.metadata.insert(name.to_owned(), value);
}

fn json(value: Value) -> JsonValue {
    serde_json::to_value(value).unwrap_or_default()
}

/// Lists are recorded as JSON in a text.
fn list(value: Value) -> JsonValue {
    match value {
        Value::Text(text) => match serde_json::from_str(&text) {
            // One level deeper than it stands, so that it can be kept among the parameters.
            Ok(list @ (JsonValue::Array(_) | JsonValue::Object(_)))
                if Json::try_new(&[&list]).is_ok() =>
            {
                list
            }
            _ => text.into(),
        },
        value => json(value),
    }
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

/// Makes input include what is cached, and output include reasoning, whatever the library counts.
fn include_parts(usage: &mut Usage, library: Library, provider: &str) {
    let read = usage.cache_read_tokens.unwrap_or(0);
    let cached = read.saturating_add(usage.cache_write_tokens.unwrap_or(0));
    // From the libraries' sources; the last case says of itself that it cannot be otherwise.
    let excludes_cached = match library {
        Library::OldRig if matches!(provider, "anthropic" | "aws_bedrock" | "z.ai") => true,
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
}

/// Whether a call without any trace of an answer has none. Some leave no trace of theirs:
///
/// - langchain-rust tells of every error, and of no answer but by its token counts, which not every provider has,
/// - a stream of rig's own leaves nothing unless it is ended with `finish()`,
/// - embeddings, images, audio and the like often have neither usage nor an id; genai's embeddings have a model.
fn tells_of_answers(library: Library, operation: Operation, streams: bool) -> bool {
    match (library, operation) {
        (Library::LangChain, _) => false,
        (Library::RigCompletion, _) if streams => false,
        (_, Operation::Generation) => true,
        (Library::Genai, Operation::Embeddings) => true,
        _ => false,
    }
}
