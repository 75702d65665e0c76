//! What Phoenix shows of a span.

use serde_json::{Map, Value, json};

use super::gen_ai;
use crate::spans::{
    Attributes, OtlpSpan, as_count, as_text, inner_messages, json_or_text, number, text, texts,
    unflattened,
};
use crate::stored::{Backend, StoredCall, StoredError};

const KINDS: &[&str] = &[
    "LLM",
    "EMBEDDING",
    "CHAIN",
    "RETRIEVER",
    "TOOL",
    "AGENT",
    "RERANKER",
    "GUARDRAIL",
    "EVALUATOR",
    "PROMPT",
];
const UNKNOWN: &str = "UNKNOWN";
const PROMPT: &str = "llm.token_count.prompt";
const COMPLETION: &str = "llm.token_count.completion";
/// What it keeps of an exception.
const EXCEPTION: &[&str] = &[
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "exception.escaped",
];

#[derive(Debug)]
pub(super) struct Shown {
    kind: &'static str,
    /// OpenInference's, those that `gen_ai` stands for, and all others. No resource, no scope.
    attributes: Attributes,
    metadata: Option<Value>,
}

impl Shown {
    pub(super) fn of(span: &OtlpSpan) -> Self {
        let mut attributes = gen_ai::converted(&span.attributes);
        // OpenInference wins.
        attributes.extend(span.attributes.clone());
        let kind = attributes
            .remove("openinference.span.kind")
            .map(|kind| as_text(&kind).to_uppercase());
        let kind = KINDS
            .iter()
            .find(|known| kind.as_deref() == Some(**known))
            .copied();
        Self {
            kind: kind.unwrap_or(UNKNOWN),
            metadata: metadata(&attributes),
            attributes,
        }
    }

    /// As the REST API shows it.
    pub(super) fn view(&self, span: &OtlpSpan, id: &str) -> Value {
        let mut attributes: Map<String, Value> = self.attributes.clone().into_iter().collect();
        if let Some(metadata) = &self.metadata {
            attributes.retain(|name, _| !name.starts_with("metadata."));
            attributes.insert("metadata".to_owned(), metadata.clone());
        }
        json!({
            "id": id, "name": span.name, "span_kind": self.kind,
            "context": {"trace_id": span.trace_id, "span_id": span.span_id},
            "parent_id": span.parent_span_id,
            "start_time": span.start().unwrap_or_default(), "end_time": span.end(),
            "status_code": span.status.to_uppercase(), "status_message": span.status_message,
            "attributes": attributes, "events": events(span),
        })
    }

    /// As a call, if it is one or might be: what has no kind is shown, but without tokens.
    pub(super) fn call(&self, span: &OtlpSpan, project: &str) -> Option<StoredCall> {
        if self.kind != "LLM" && self.kind != UNKNOWN {
            return None;
        }
        let attributes = &self.attributes;
        let said = |name: &str| text(attributes, &[name]);
        let of_metadata = |name: &str| {
            let value = self.metadata.as_ref()?.get(name)?;
            value.as_str().map(str::to_owned)
        };
        let tokens = |name: &str| {
            let count = as_count(attributes.get(name)?);
            count.filter(|_| self.kind == "LLM")
        };
        // A total alone is shown as none of either.
        let only_total = tokens("llm.token_count.total")
            .filter(|_| tokens(PROMPT).is_none() && tokens(COMPLETION).is_none())
            .map(|_| 0);
        let mut tags = attributes.get("tag.tags").map(texts).unwrap_or_default();
        tags.sort();
        let first_token = number(attributes, &["gen_ai.response.time_to_first_chunk"]);
        Some(StoredCall {
            project: Some(project.to_owned()),
            parent_id: span.parent_span_id.clone(),
            name: Some(span.name.clone()),
            provider: said("llm.provider").or_else(|| said("llm.system")),
            model: said("llm.model_name"),
            end_time: span.end(),
            time_to_first_token_ms: first_token.map(|seconds| seconds * 1e3),
            input: self.pane("input"),
            output: self.pane("output"),
            model_parameters: attributes
                .get("llm.invocation_parameters")
                .map(json_or_text),
            input_tokens: tokens(PROMPT).or(only_total),
            output_tokens: tokens(COMPLETION).or(only_total),
            cache_read_tokens: tokens("llm.token_count.prompt_details.cache_read"),
            cache_write_tokens: tokens("llm.token_count.prompt_details.cache_write"),
            reasoning_tokens: tokens("llm.token_count.completion_details.reasoning"),
            // It shows a cost of its own making, not the one it was told.
            cost: None,
            error: (span.status == "error").then(|| error(span)),
            session_id: said("session.id"),
            user_id: said("user.id"),
            tags,
            environment: said("deployment.environment.name").or_else(|| of_metadata("environment")),
            release: said("service.version").or_else(|| of_metadata("release")),
            metadata: match &self.metadata {
                Some(Value::Object(fields)) => fields.clone().into_iter().collect(),
                Some(other) => [("metadata".to_owned(), other.clone())].into(),
                None => Attributes::new(),
            },
            ..StoredCall::new(
                Backend::Phoenix,
                span.span_id.clone(),
                span.trace_id.clone(),
                span.start().unwrap_or_default(),
            )
        })
    }

    /// The input or output pane, else the messages beside it.
    fn pane(&self, side: &str) -> Option<Value> {
        let value = self.attributes.get(&format!("{side}.value"));
        let mime_type = self.attributes.get(&format!("{side}.mime_type"));
        let is_json = mime_type.is_some_and(|known| known == "application/json");
        value
            .map(|value| {
                if is_json {
                    json_or_text(value)
                } else {
                    value.clone()
                }
            })
            .or_else(|| inner_messages(&self.attributes, &format!("llm.{side}_messages")))
    }
}

/// JSON as text, a list of keys and values, or dotted names; text that is no JSON stays text.
fn metadata(attributes: &Attributes) -> Option<Value> {
    let whole = attributes.get("metadata").map(json_or_text);
    whole.or_else(|| unflattened(attributes, "metadata"))
}

fn error(span: &OtlpSpan) -> StoredError {
    let of_exception = |name| text(span.exception()?, &[name]);
    StoredError {
        kind: of_exception("exception.type").or_else(|| text(&span.attributes, &["error.type"])),
        message: span.status_message.clone(),
        trace: of_exception("exception.stacktrace"),
    }
}

fn events(span: &OtlpSpan) -> Vec<Value> {
    let events = span.events.iter().map(|event| {
        let mut attributes = event.attributes.clone();
        if event.name == "exception" {
            attributes.retain(|name, _| EXCEPTION.contains(&name.as_str()));
        }
        let nanos = i64::try_from(event.time_unix_nano).unwrap_or(i64::MAX);
        json!({
            "name": event.name, "attributes": attributes,
            "timestamp": chrono::DateTime::from_timestamp_nanos(nanos),
        })
    });
    events.collect()
}
