//! What Langfuse makes of a span (Langfuse: `OtelIngestionProcessor.ts`, `ObservationTypeMapper.ts`).

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::metadata;
use super::usage::{self, Cost, Usage};
use crate::spans::{Attributes, OtlpSpan, first, json_or_text, text, texts, unflattened};
use crate::stored::{Backend, StoredCall, StoredError};

const TYPES: &[&str] = &[
    "SPAN",
    "GENERATION",
    "EVENT",
    "EMBEDDING",
    "AGENT",
    "TOOL",
    "CHAIN",
    "RETRIEVER",
    "GUARDRAIL",
    "EVALUATOR",
];
const MODEL: &[&str] = &[
    "langfuse.observation.model.name",
    "gen_ai.response.model",
    "ai.model.id",
    "gen_ai.request.model",
    "llm.model_name",
    "model",
];
const USER: &[&str] = &["langfuse.user.id", "user.id"];
const SESSION: &[&str] = &[
    "langfuse.session.id",
    "session.id",
    "gen_ai.conversation.id",
];
const TAGS: &[&str] = &["langfuse.trace.tags", "langfuse.tags", "tag.tags"];
const ENVIRONMENT: &[&str] = &[
    "langfuse.environment",
    "deployment.environment.name",
    "deployment.environment",
];
const PROVIDER: &[&str] = &["gen_ai.provider.name", "gen_ai.system", "llm.provider"];
/// An observation, as it is shown.
#[derive(Debug)]
pub(super) struct Observation {
    kind: &'static str,
    name: String,
    trace_name: Option<String>,
    pub(super) start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    completion_start_time: Option<DateTime<Utc>>,
    level: &'static str,
    status_message: Option<String>,
    model: Option<String>,
    model_parameters: Option<Value>,
    usage: Usage,
    cost: Cost,
    prompt_name: Option<String>,
    prompt_version: Option<Value>,
    input: Option<Value>,
    output: Option<Value>,
    user_id: Option<String>,
    session_id: Option<String>,
    tags: Vec<String>,
    environment: String,
    release: Option<String>,
    version: Option<String>,
    public: bool,
    root: bool,
    metadata: Map<String, Value>,
    ids: (String, String, Option<String>),
}

impl Observation {
    pub(super) fn of(span: &OtlpSpan) -> Self {
        let attributes = &span.attributes;
        let anywhere = |names: &[&str]| {
            let here = |name| text(attributes, &[name]).or_else(|| text(&span.resource, &[name]));
            names.iter().find_map(|name| here(*name))
        };
        let kind = kind(attributes);
        let (start_time, end_time) = times(span);
        // What an agent did is counted where it did it.
        let wiped = matches!(
            text(attributes, &["gen_ai.operation.name"]).as_deref(),
            Some("invoke_agent" | "agent_step")
        );
        let unless_wiped = |value: Option<String>| value.filter(|_| !wiped);
        let (input, output) = content(attributes);
        let is_generation = kind == "GENERATION";
        Self {
            kind,
            name: text(
                attributes,
                &["gen_ai.tool.name", "logfire.msg", "ai.toolCall.name"],
            )
            .unwrap_or_else(|| span.name.clone()),
            trace_name: text(attributes, &["langfuse.trace.name"]),
            start_time,
            end_time,
            completion_start_time: text(
                attributes,
                &["langfuse.observation.completion_start_time"],
            )
            .and_then(|time| time.trim_matches('"').parse().ok()),
            level: level(span),
            status_message: text(attributes, &["langfuse.observation.status_message"])
                .or_else(|| Some(span.status_message.clone()).filter(|text| !text.is_empty())),
            model: unless_wiped(text(attributes, MODEL)),
            model_parameters: model_parameters(attributes),
            usage: if wiped {
                Usage::new()
            } else {
                usage::usage(attributes)
            },
            cost: if wiped {
                Cost::new()
            } else {
                usage::cost(attributes)
            },
            prompt_name: text(attributes, &["langfuse.observation.prompt.name"])
                .filter(|_| is_generation),
            prompt_version: first(attributes, &["langfuse.observation.prompt.version"])
                .filter(|_| is_generation)
                .cloned(),
            input,
            output,
            user_id: text(attributes, USER),
            session_id: text(attributes, SESSION),
            tags: tags(attributes),
            environment: anywhere(ENVIRONMENT).unwrap_or_else(|| "default".to_owned()),
            release: anywhere(&["langfuse.release"]),
            version: text(attributes, &["langfuse.version"])
                .or_else(|| text(&span.resource, &["service.version"])),
            public: attributes.get("langfuse.trace.public") == Some(&Value::Bool(true)),
            root: span.parent_span_id.is_none()
                || attributes.get("langfuse.internal.is_app_root") == Some(&Value::Bool(true)),
            metadata: metadata::of(span),
            ids: (
                span.trace_id.clone(),
                span.span_id.clone(),
                span.parent_span_id.clone(),
            ),
        }
    }

    /// As the read API shows it (Langfuse: `GET /api/public/v2/observations`).
    pub(super) fn view(&self, project_id: &str) -> Value {
        let (trace_id, id, parent) = &self.ids;
        json!({
            "id": id, "traceId": trace_id, "parentObservationId": parent, "projectId": project_id,
            "type": self.kind, "name": self.name, "traceName": self.trace_name.as_ref().or(Some(&self.name)),
            "startTime": self.start_time, "endTime": self.end_time,
            "completionStartTime": self.completion_start_time, "level": self.level,
            "statusMessage": self.status_message, "providedModelName": self.model,
            "modelParameters": self.model_parameters, "usageDetails": self.usage,
            "costDetails": self.cost, "totalCost": self.cost.get("total"),
            "promptName": self.prompt_name, "promptVersion": self.prompt_version,
            "input": self.input, "output": self.output, "userId": self.user_id,
            "sessionId": self.session_id, "tags": self.tags, "environment": self.environment,
            "release": self.release, "version": self.version, "public": self.public,
            "isRootObservation": self.root, "metadata": self.metadata,
        })
    }

    /// As a call, if it is a generation.
    pub(super) fn call(&self, span: &OtlpSpan, project: &str) -> Option<StoredCall> {
        if self.kind != "GENERATION" {
            return None;
        }
        let (trace_id, id, parent_id) = self.ids.clone();
        let bucket = |names: &[&str]| names.iter().find_map(|name| self.usage.get(*name)).copied();
        let start_time = self.start_time;
        let to_first = |time: DateTime<Utc>| (time - start_time).as_seconds_f64() * 1e3;
        let mut tags = self.tags.clone();
        tags.sort();
        // The read API's text, and what a person sees of it.
        let read = |value: &Option<Value>| value.as_ref().map(json_or_text);
        Some(StoredCall {
            project: Some(project.to_owned()),
            parent_id,
            name: Some(self.name.clone()),
            provider: text(&span.attributes, PROVIDER),
            model: self.model.clone(),
            end_time: Some(self.end_time),
            time_to_first_token_ms: self.completion_start_time.map(to_first),
            input: read(&self.input),
            output: read(&self.output),
            model_parameters: self.model_parameters.clone(),
            input_tokens: usage::sum_of(&self.usage, "input"),
            output_tokens: usage::sum_of(&self.usage, "output"),
            cache_read_tokens: bucket(&["input_cached_tokens", "input_cache_read"]),
            cache_write_tokens: bucket(&["input_cache_creation", "input_cache_write"]),
            reasoning_tokens: bucket(&["output_reasoning_tokens"]),
            cost: self.cost.get("total").copied(),
            error: (self.level == "ERROR").then(|| StoredError {
                kind: text(&span.attributes, &["exception.type", "error.type"]),
                message: self.status_message.clone().unwrap_or_default(),
                trace: text(&span.attributes, &["exception.stacktrace"]),
            }),
            session_id: self.session_id.clone(),
            user_id: self.user_id.clone(),
            tags,
            environment: Some(self.environment.clone()),
            release: self.release.clone(),
            metadata: self.metadata.clone().into_iter().collect(),
            ..StoredCall::new(Backend::Langfuse, id, trace_id, start_time)
        })
    }
}

fn kind(attributes: &Attributes) -> &'static str {
    let known = |name: &str| {
        let name = name.to_uppercase();
        TYPES.iter().find(|kind| **kind == name).copied()
    };
    let said = |name| text(attributes, &[name]);
    if let Some(kind) = said("langfuse.observation.type").and_then(|kind| known(&kind)) {
        return kind;
    }
    if let Some(kind) = said("openinference.span.kind") {
        match kind.to_uppercase().as_str() {
            "LLM" => return "GENERATION",
            other => {
                if let Some(kind) = known(other) {
                    return kind;
                }
            }
        }
    }
    match said("gen_ai.operation.name").as_deref() {
        Some("chat" | "text_completion" | "generate_content") => return "GENERATION",
        Some("embeddings") => return "EMBEDDING",
        Some("invoke_agent" | "create_agent") => return "AGENT",
        Some("execute_tool") => return "TOOL",
        _ => {}
    }
    if attributes
        .keys()
        .any(|name| name.starts_with("gen_ai.tool.") && name != "gen_ai.tool.definitions")
    {
        "TOOL"
    } else if first(attributes, MODEL).is_some() {
        "GENERATION"
    } else {
        "SPAN"
    }
}

/// To the millisecond. One that is missing is the other; without both it is now.
fn times(span: &OtlpSpan) -> (DateTime<Utc>, DateTime<Utc>) {
    let cut = |time: DateTime<Utc>| {
        DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
    };
    let (start, end) = (span.start().map(cut), span.end().map(cut));
    let now = cut(Utc::now());
    (start.or(end).unwrap_or(now), end.or(start).unwrap_or(now))
}

fn level(span: &OtlpSpan) -> &'static str {
    let said = text(&span.attributes, &["langfuse.observation.level"]);
    match said.map(|level| level.to_uppercase()).as_deref() {
        Some("DEBUG" | "TRACE") => "DEBUG",
        Some("DEFAULT" | "INFO") => "DEFAULT",
        Some("WARNING" | "WARN") => "WARNING",
        Some("ERROR" | "FATAL" | "CRITICAL") => "ERROR",
        _ if span.status == "error" => "ERROR",
        _ => "DEFAULT",
    }
}

/// Input and output, as text where they were sent so. The first pair of names that has one of both wins.
fn content(attributes: &Attributes) -> (Option<Value>, Option<Value>) {
    let pair = |input: &str, output: &str| {
        let of = |name: &str| first(attributes, &[name]).cloned();
        Some((of(input), of(output))).filter(|(input, output)| input.is_some() || output.is_some())
    };
    let nested = |input: &str, output: &str| {
        let of = |prefix: &str| {
            first(attributes, &[prefix])
                .cloned()
                .or_else(|| unflattened(attributes, prefix))
        };
        Some((of(input), of(output))).filter(|(input, output)| input.is_some() || output.is_some())
    };
    pair("langfuse.observation.input", "langfuse.observation.output")
        .or_else(|| pair("input.value", "output.value"))
        .or_else(|| nested("gen_ai.prompt", "gen_ai.completion"))
        .or_else(|| nested("llm.input_messages", "llm.output_messages"))
        .or_else(|| with_instructions(attributes))
        .unwrap_or_default()
}

/// `gen_ai.input.messages`, the system's instructions put first.
fn with_instructions(attributes: &Attributes) -> Option<(Option<Value>, Option<Value>)> {
    let of = |name: &str| first(attributes, &[name]).map(json_or_text);
    let mut input = of("gen_ai.input.messages");
    let output = of("gen_ai.output.messages");
    if let (Some(Value::Array(messages)), Some(parts)) =
        (&mut input, of("gen_ai.system_instructions"))
    {
        messages.insert(0, json!({"role": "system", "parts": parts}));
    }
    (input.is_some() || output.is_some()).then_some((input, output))
}

fn model_parameters(attributes: &Attributes) -> Option<Value> {
    let parsed = |name: &str| {
        let text = text(attributes, &[name])?;
        serde_json::from_str::<Value>(&text).ok()
    };
    let requested = || {
        let parameters = attributes.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("gen_ai.request.")?;
            (name != "model").then(|| (name.to_owned(), value.clone()))
        });
        let parameters: Map<String, Value> = parameters.collect();
        (!parameters.is_empty()).then_some(Value::Object(parameters))
    };
    parsed("langfuse.observation.model.parameters")
        .or_else(|| parsed("llm.invocation_parameters"))
        .or_else(requested)
}

/// A list, a list as JSON text, or text with commas.
fn tags(attributes: &Attributes) -> Vec<String> {
    match first(attributes, TAGS) {
        None => Vec::new(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => texts(&list),
            _ => text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        },
        Some(other) => texts(other),
    }
}
