//! A span as the record of a call.

use std::{collections::BTreeMap, time::Duration};

use beluga_o11y::{CallError, Json, LLMCallData, Usage};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    attributes::{Attributes, is_filled, read},
    content,
    span::{Event, Span, Status},
};
use crate::{identity, import::secrets};

const OPERATION: &str = "gen_ai.operation.name";
const SPAN_KIND: &str = "openinference.span.kind";
const REQUEST_MODEL: &str = "gen_ai.request.model";
const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
const ENVIRONMENTS: [&str; 2] = ["deployment.environment.name", "deployment.environment"];
const RELEASE: &str = "service.version";

/// What is left of a span's attributes stands in the metadata, up to so many of so many bytes.
const MAX_ENTRIES: usize = 100;
const MAX_ENTRY_BYTES: usize = 8 * 1024;

/// Events that come with pieces of an answer.
const PIECES: &[&str] = &[
    "First Token Stream Event",
    "gen_ai.content.completion.chunk",
    "llm.content.completion.chunk",
];

/// What of an address may be a key.
const QUERIES: [&str; 2] = ["http.target", "url.query"];

/// What is told of all calls of a resource.
#[derive(Default)]
pub(super) struct Resource {
    environment: Option<String>,
    release: Option<String>,
    /// Who made it, and Phoenix's project.
    notes: Map<String, Value>,
}

impl Resource {
    pub(super) fn of(mut attributes: Attributes) -> Self {
        let environment = attributes.text(&ENVIRONMENTS);
        let release = attributes.text(&[RELEASE]);
        let mut notes = Map::new();
        for kept in ["service.", "openinference.project."] {
            let found = attributes.below(kept).into_iter();
            let found = found.filter(|(_, value)| is_small(value));
            notes.extend(found.map(|(name, value)| (format!("{kept}{name}"), value)));
        }
        clean(&mut notes);
        Self {
            environment,
            release,
            notes,
        }
    }
}

/// What is done to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Generation,
    Embeddings,
    Other,
}

impl Kind {
    /// `None` for what is no call of a model: an agent's run, a tool, a chain, HTTP.
    pub(super) fn of(span: &Attributes) -> Option<Self> {
        match span.peek(OPERATION) {
            Some("chat" | "generate_content" | "text_completion") => return Some(Self::Generation),
            Some("embeddings") => return Some(Self::Embeddings),
            Some("rerank" | "transcription" | "image_generation" | "audio_generation") => {
                return Some(Self::Other);
            }
            Some(
                "invoke_agent" | "create_agent" | "invoke_workflow" | "execute_tool" | "plan"
                | "retrieval" | "evaluate",
            ) => return None,
            _ => {}
        }
        if let Some(kind) = span.peek(SPAN_KIND) {
            return match kind.to_ascii_uppercase().as_str() {
                "LLM" => Some(Self::Generation),
                "EMBEDDING" => Some(Self::Embeddings),
                _ => None,
            };
        }
        // OpenLLMetry's, before it had the operation.
        match span.peek("llm.request.type") {
            Some("chat" | "completion") => return Some(Self::Generation),
            Some("embedding") => return Some(Self::Embeddings),
            Some("rerank") => return Some(Self::Other),
            _ => {}
        }
        let counts = [
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
        ];
        let is_used = counts.iter().any(|name| span.get(name).is_some());
        let has_model = span.peek(REQUEST_MODEL).is_some();
        (has_model && is_used).then(|| match span.peek(OPERATION) {
            None => Self::Generation,
            Some(_) => Self::Other,
        })
    }
}

/// The record of a call.
pub(super) fn record(span: Span, kind: Kind, scope: &str, resource: &Resource) -> LLMCallData {
    let Span {
        trace_id,
        span_id,
        parent_span_id,
        name,
        start,
        end,
        mut attributes,
        events,
        status,
        status_message,
    } = span;
    let span = &mut attributes;
    let mut call = LLMCallData::new("", "").with_start_time(start);
    call.duration = end.and_then(|end| (end - start).to_std().ok());
    call.time_to_first_token = first_token(span, &events, start);

    // A record of ours, which has an id and perhaps a trace of its own.
    let own_id = span.text(&["beluga_o11y.id"]);
    let own_id = own_id.and_then(|id| Uuid::try_parse(&id).ok());
    let own_trace = span.text(&["beluga_o11y.trace_id"]);
    let own_parent = span.text(&["beluga_o11y.parent_span_id"]);
    let is_ours = own_id.is_some();
    call = call.with_id(own_id.unwrap_or_else(|| {
        let parts = [trace_id.as_bytes(), b"\0", span_id.as_bytes()];
        identity::made(start, parts)
    }));
    (call.trace_id, call.parent_span_id) = match is_ours {
        true => (own_trace, own_parent),
        false => (Some(trace_id), parent_span_id),
    };

    let provider = span.text(&["gen_ai.provider.name", "gen_ai.system", "llm.provider"]);
    let system = span.text(&["llm.system"]);
    call.provider = provider.or(system).unwrap_or_default();
    if !is_ours {
        // OpenLLMetry has written `OpenAI`.
        call.provider.make_ascii_lowercase();
    }
    let operation = span.text(&[OPERATION]);
    span.text(&[SPAN_KIND, "llm.request.type"]);
    if kind == Kind::Embeddings {
        note(&mut call, OPERATION, "embeddings".into());
    } else if kind == Kind::Other
        && let Some(operation) = &operation
    {
        note(&mut call, OPERATION, operation.as_str().into());
    }

    let parameters = parameters(span, is_ours);
    let requested = span
        .text(&[REQUEST_MODEL, "llm.request.model_name"])
        .or_else(|| {
            let model = parameters.as_ref()?.get("model")?.as_str()?;
            is_filled(model).then(|| model.to_owned())
        });
    let answered = span.text(&[
        "gen_ai.response.model",
        "llm.response.model_name",
        "llm.model_name",
        "embedding.model_name",
    ]);
    if let (Some(requested), Some(answered)) = (&requested, &answered)
        && requested != answered
    {
        note(&mut call, "gen_ai.response.model", answered.as_str().into());
    }
    call.model = requested.or(answered).unwrap_or_default();
    call.name = own_name(&name, &call, operation.as_deref(), scope);
    call.model_parameters = parameters.map(|parameters| parameters.json);

    call.usage = usage(span, is_ours);
    call.cost = span.number(&["llm.cost.total", "gen_ai.usage.cost", "operation.cost"]);
    let content = content::take(span, &events, kind, is_ours);
    call.messages = content.messages;
    call.response = content.response;
    let reasons = span.texts(&[FINISH_REASONS, "llm.finish_reason"]);
    let reasons = reasons.unwrap_or(content.finish_reasons);
    if !reasons.is_empty() && !is_ours {
        note(&mut call, FINISH_REASONS, reasons.into());
    }
    let has_answer = call.response.is_some() || call.usage.output_tokens.is_some();
    call.error = error(span, &events, status, status_message, has_answer);

    call.session_id = span.text(&["session.id", "gen_ai.conversation.id"]);
    call.user_id = span.text(&["user.id", "enduser.id"]);
    call.tags = span.texts(&["tag.tags"]).unwrap_or_default();
    let environment = span.text(&ENVIRONMENTS);
    call.environment = environment.or_else(|| resource.environment.clone());
    let release = span.text(&[RELEASE]);
    call.release = release.or_else(|| resource.release.clone());

    match is_ours {
        true => own_metadata(&mut call, attributes),
        false => metadata(&mut call, attributes),
    }
    for (name, value) in &resource.notes {
        note(&mut call, name, value.clone());
    }
    call
}

/// The name of a span, if it is not how the conventions or the library name every such call.
fn own_name(
    name: &str,
    call: &LLMCallData,
    operation: Option<&str>,
    scope: &str,
) -> Option<String> {
    let operation = operation.unwrap_or("chat");
    let name = name.trim();
    let by_convention = name == operation
        || name.strip_prefix(operation).map(str::trim) == Some(&call.model)
        || name
            .split_once('.')
            .is_some_and(|(first, _)| first == call.provider);
    let says_something = !name.is_empty() && !by_convention && !scope.contains("instrumentation");
    says_something.then(|| name.to_owned())
}

fn note(call: &mut LLMCallData, name: &str, value: Value) {
    let is_filled = match &value {
        Value::Null => false,
        Value::String(text) => is_filled(text),
        _ => true,
    };
    if is_filled && let Ok(value) = Json::try_new(&value) {
        call.metadata.entry(name.to_owned()).or_insert(value);
    }
}

/// Of a record of ours, as it was: everything else has a place in it.
fn own_metadata(call: &mut LLMCallData, mut span: Attributes) {
    let text = span.content("metadata").unwrap_or_default();
    match serde_json::from_str::<BTreeMap<String, Json>>(&text) {
        Ok(own) => {
            let own = own.into_iter().filter(|(name, value)| {
                !is_told_elsewhere(call, name, value) && value.error().is_none()
            });
            for (name, value) in own.collect::<Vec<_>>() {
                call.metadata.entry(name).or_insert(value);
            }
        }
        Err(_) => note(call, "metadata", text.into()),
    }
}

/// What has no place in a record.
fn metadata(call: &mut LLMCallData, mut span: Attributes) {
    if let Some(text) = span.content("metadata") {
        match read(&text) {
            Some(Value::Object(mut own)) => {
                clean(&mut own);
                for (name, value) in own {
                    if let Ok(value) = Json::try_new(&value) {
                        call.metadata.entry(name).or_insert(value);
                    }
                }
            }
            _ => span.put("metadata", text.into()),
        }
    }
    let left = span.into_iter();
    let left = left.filter(|(name, value)| !QUERIES.contains(&&**name) && is_small(value));
    let mut left = left.collect();
    clean(&mut left);
    for (name, value) in left.into_iter().take(MAX_ENTRIES) {
        note(call, &name, value);
    }
}

fn is_small(value: &Value) -> bool {
    value.to_string().len() <= MAX_ENTRY_BYTES
}

/// Takes out what may be a key, also where a part of a name says so, and in JSON that is a text.
fn clean(fields: &mut Map<String, Value>) {
    fields.retain(|name, _| !name.split('.').any(secrets::is_secret));
    secrets::remove(fields);
    for value in fields.values_mut() {
        let Value::String(text) = value else { continue };
        match read(text) {
            Some(mut json @ (Value::Object(_) | Value::Array(_))) => {
                secrets::remove_of(&mut json);
                *text = json.to_string();
            }
            // Python's own form of it, for one.
            None if text.starts_with(['{', '[']) && secrets::is_secret(text) => {
                *value = Value::Null
            }
            _ => {}
        }
    }
}

/// Our spans repeat a few fields in the metadata, for backends that show them nowhere else.
fn is_told_elsewhere(call: &LLMCallData, name: &str, value: &Json) -> bool {
    let field = match name {
        "environment" => &call.environment,
        "release" => &call.release,
        "trace_id" => &call.trace_id,
        "parent_span_id" => &call.parent_span_id,
        _ => return false,
    };
    (field.as_ref()).is_some_and(|field| value.read().is_ok_and(|told: String| told == *field))
}

fn first_token(span: &mut Attributes, events: &[Event], start: DateTime<Utc>) -> Option<Duration> {
    let seconds = span.number(&["gen_ai.response.time_to_first_chunk"]);
    let told = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    told.or_else(|| {
        let pieces = events.iter().filter(|event| PIECES.contains(&&*event.name));
        let first = pieces.filter_map(|piece| piece.time).min()?;
        (first - start).to_std().ok()
    })
}

/// Input includes what is cached: so do the conventions, OpenInference and the instrumentations that were looked at. Counts
/// that cannot be so were made otherwise. Ours are as they were.
fn usage(span: &mut Attributes, is_ours: bool) -> Usage {
    let mut usage = Usage::default();
    usage.input_tokens = span.count(&[
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
    ]);
    usage.output_tokens = span.count(&[
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
    ]);
    usage.cache_read_tokens = span.count(&[
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ]);
    usage.cache_write_tokens = span.count(&[
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ]);
    usage.reasoning_tokens = span.count(&[
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ]);
    span.count(&[
        "gen_ai.usage.total_tokens",
        "llm.usage.total_tokens",
        "llm.token_count.total",
    ]);
    if is_ours {
        return usage;
    }
    let cached = usage.cache_read_tokens.unwrap_or(0);
    let cached = cached.saturating_add(usage.cache_write_tokens.unwrap_or(0));
    let including = |count: Option<u64>, part: u64| match count {
        Some(count) if count < part => Some(count.saturating_add(part)),
        count => count,
    };
    usage.input_tokens = including(usage.input_tokens, cached);
    let reasoning = usage.reasoning_tokens.unwrap_or(0);
    usage.output_tokens = including(usage.output_tokens, reasoning);
    usage
}

/// What came with a request beside the messages.
struct Parameters {
    json: Json,
    fields: Map<String, Value>,
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}

/// Those that are told whole, else those that the GenAI conventions have names for. Of ours, as they were.
fn parameters(span: &mut Attributes, is_ours: bool) -> Option<Parameters> {
    let definitions = span.content("gen_ai.tool.definitions");
    let mut tools = content::tools(span);
    tools.retain(|tool| is_ours || !tool.as_str().is_some_and(secrets::is_secret));
    let tools = match definitions.as_deref().and_then(read) {
        Some(definitions @ Value::Array(_)) if tools.is_empty() => Some(definitions),
        _ => (!tools.is_empty()).then(|| tools.into()),
    };
    let mut fields = Map::new();
    if let Some(true) = span.flag(&[
        "gen_ai.request.stream",
        "gen_ai.is_streaming",
        "llm.is_streaming",
    ]) {
        fields.insert("stream".into(), true.into());
    }
    if let Some(kind) = span.text(&["gen_ai.output.type"]) {
        fields.insert("output_type".into(), kind.into());
    }
    let model = span.take(REQUEST_MODEL);
    for (name, value) in span.below("gen_ai.request.") {
        let name = match name.as_str() {
            "stop_sequences" => "stop".to_owned(),
            "choice.count" => "n".to_owned(),
            _ => name,
        };
        fields.insert(name, value);
    }
    if let Some(model) = model {
        span.put(REQUEST_MODEL, model);
    }
    let whole = [
        "llm.invocation_parameters",
        "embedding.invocation_parameters",
    ];
    let whole: Vec<_> = whole.iter().filter_map(|name| span.content(name)).collect();
    if let Some(text) = whole.first() {
        fields = match read(text) {
            Some(Value::Object(fields)) => fields,
            told => {
                let json = match told {
                    _ if is_ours => Json::parse(text.as_str()).unwrap_or_else(|_| Json::new(text)),
                    Some(mut told) => {
                        secrets::remove_of(&mut told);
                        Json::new(&told)
                    }
                    None if secrets::is_secret(text) => return None,
                    None => Json::new(text),
                };
                let fields = Map::new();
                return Some(Parameters { json, fields });
            }
        };
        if is_ours
            && (tools.is_none() || fields.contains_key("tools"))
            && let Ok(json) = Json::parse(text.as_str())
        {
            return Some(Parameters { json, fields });
        }
    }
    if let Some(tools) = tools {
        fields.entry("tools").or_insert(tools);
    }
    if !is_ours {
        clean(&mut fields);
    }
    let json = Json::try_new(&fields).ok()?;
    (!fields.is_empty()).then_some(Parameters { json, fields })
}

/// Why the call failed: by its status, by an `error.type`, or because an exception is all that there is.
fn error(
    span: &mut Attributes,
    events: &[Event],
    status: Status,
    status_message: Option<String>,
    has_answer: bool,
) -> Option<CallError> {
    let kind = span.text(&["error.type"]);
    let told = span.text(&["error.message"]);
    let exception = events.iter().rfind(|event| event.name == "exception");
    let mut exception = exception.map(|event| event.attributes.clone());
    let unanswered = exception.is_some() && !has_answer && status != Status::Ok;
    if status != Status::Error && kind.is_none() && !unanswered {
        return None;
    }
    let mut of_exception = |name: &str| exception.as_mut().and_then(|it| it.text(&[name]));
    // The conventions' word for an error without a known kind.
    let kind = kind.filter(|kind| kind != "_OTHER");
    let kind = kind.or_else(|| of_exception("exception.type"));
    let message = of_exception("exception.message")
        .or(status_message.filter(|message| is_filled(message)))
        .or(told);
    let message = message.unwrap_or_else(|| match &kind {
        Some(kind) => format!("the call failed: {kind}"),
        None => "the call failed".to_owned(),
    });
    let mut error = CallError::new(message);
    error.kind = kind;
    error.trace = of_exception("exception.stacktrace");
    Some(error)
}
