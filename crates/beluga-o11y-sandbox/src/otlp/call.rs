//! A span as an LLM call, by the conventions alone: OpenInference's names, then OpenTelemetry's.

use serde_json::{Map, Value};

use crate::spans::{
    OtlpSpan, as_text, count, first, inner_messages, json_or_text, number, text, texts, unflattened,
};
use crate::stored::{Backend, StoredCall, StoredError};

const MODEL: &[&str] = &[
    "llm.model_name",
    "gen_ai.request.model",
    "gen_ai.response.model",
];

/// None if nothing says that it is one.
pub(super) fn of(span: &OtlpSpan) -> Option<StoredCall> {
    let attributes = &span.attributes;
    if !is_call(span) {
        return None;
    }
    let said = |names: &[&str]| text(attributes, names);
    let anywhere = |names: &[&str]| said(names).or_else(|| text(&span.resource, names));
    let tokens = |names: &[&str]| count(attributes, names);
    let first_token = number(attributes, &["gen_ai.response.time_to_first_chunk"]);
    let mut tags = attributes.get("tag.tags").map(texts).unwrap_or_default();
    tags.sort();
    Some(StoredCall {
        project: text(&span.resource, &["service.name"]),
        parent_id: span.parent_span_id.clone(),
        name: Some(span.name.clone()),
        provider: said(&["llm.provider", "gen_ai.provider.name", "gen_ai.system"]),
        model: said(MODEL),
        end_time: span.end(),
        time_to_first_token_ms: first_token.map(|seconds| seconds * 1e3),
        input: content(span, "input"),
        output: content(span, "output"),
        model_parameters: parameters(span),
        input_tokens: tokens(&["llm.token_count.prompt", "gen_ai.usage.input_tokens"]),
        output_tokens: tokens(&["llm.token_count.completion", "gen_ai.usage.output_tokens"]),
        cache_read_tokens: tokens(&[
            "llm.token_count.prompt_details.cache_read",
            "gen_ai.usage.cache_read.input_tokens",
        ]),
        cache_write_tokens: tokens(&[
            "llm.token_count.prompt_details.cache_write",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
        ]),
        reasoning_tokens: tokens(&[
            "llm.token_count.completion_details.reasoning",
            "gen_ai.usage.reasoning.output_tokens",
        ]),
        cost: number(attributes, &["llm.cost.total", "gen_ai.usage.cost"]),
        error: (span.status == "error").then(|| error(span)),
        session_id: said(&["session.id", "gen_ai.conversation.id"]),
        user_id: said(&["user.id"]),
        tags,
        environment: anywhere(&["deployment.environment.name", "deployment.environment"]),
        release: anywhere(&["service.version"]),
        metadata: match metadata(span) {
            Some(Value::Object(fields)) => fields.into_iter().collect(),
            Some(other) => [("metadata".to_owned(), other)].into(),
            None => [].into(),
        },
        ..StoredCall::new(
            Backend::Otlp,
            span.span_id.clone(),
            span.trace_id.clone(),
            span.start().unwrap_or_default(),
        )
    })
}

fn is_call(span: &OtlpSpan) -> bool {
    let said = |name| text(&span.attributes, &[name]);
    if let Some(kind) = said("openinference.span.kind") {
        return kind.eq_ignore_ascii_case("LLM");
    }
    match said("gen_ai.operation.name").as_deref() {
        Some("chat" | "text_completion" | "generate_content") => true,
        Some(_) => false,
        None => first(&span.attributes, MODEL).is_some(),
    }
}

fn content(span: &OtlpSpan, side: &str) -> Option<Value> {
    let attributes = &span.attributes;
    let is_json = attributes
        .get(&format!("{side}.mime_type"))
        .is_some_and(|known| known == "application/json");
    attributes
        .get(&format!("{side}.value"))
        .map(|value| {
            if is_json {
                json_or_text(value)
            } else {
                value.clone()
            }
        })
        .or_else(|| inner_messages(attributes, &format!("llm.{side}_messages")))
        .or_else(|| {
            attributes
                .get(&format!("gen_ai.{side}.messages"))
                .map(json_or_text)
        })
}

fn parameters(span: &OtlpSpan) -> Option<Value> {
    if let Some(parameters) = span.attributes.get("llm.invocation_parameters") {
        return Some(json_or_text(parameters));
    }
    let requested = span.attributes.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("gen_ai.request.")?;
        (name != "model").then(|| (name.to_owned(), value.clone()))
    });
    let parameters: Map<String, Value> = requested.collect();
    (!parameters.is_empty()).then_some(Value::Object(parameters))
}

fn metadata(span: &OtlpSpan) -> Option<Value> {
    let whole = span.attributes.get("metadata").map(json_or_text);
    whole.or_else(|| unflattened(&span.attributes, "metadata"))
}

fn error(span: &OtlpSpan) -> StoredError {
    let of_exception = |name| span.exception()?.get(name).map(as_text);
    StoredError {
        kind: of_exception("exception.type").or_else(|| text(&span.attributes, &["error.type"])),
        message: Some(span.status_message.clone())
            .filter(|message| !message.is_empty())
            .or_else(|| of_exception("exception.message"))
            .unwrap_or_default(),
        trace: of_exception("exception.stacktrace"),
    }
}
