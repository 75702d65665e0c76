//! Metadata: what a span names so, and what is left of it.

use serde_json::{Map, Value, json};

use crate::spans::{OtlpSpan, as_text, first, json_or_text};

/// Attributes that hold content, and are not copied into metadata.
const CONTENT: &[&str] = &[
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.input",
    "langfuse.trace.output",
    "input.value",
    "output.value",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "input",
    "output",
];
const CONTENT_PREFIXES: &[&str] = &[
    "gen_ai.prompt",
    "gen_ai.completion",
    "llm.input_messages",
    "llm.output_messages",
];

/// At the top what is named as metadata, which can be filtered by; all the rest below `attributes`,
/// `resourceAttributes` and `scope`.
pub(super) fn of(span: &OtlpSpan) -> Map<String, Value> {
    let mut metadata = Map::new();
    for prefix in ["langfuse.trace.metadata", "langfuse.observation.metadata"] {
        if let Some(Value::Object(whole)) = first(&span.attributes, &[prefix]).map(json_or_text) {
            metadata.extend(whole);
        }
        let start = format!("{prefix}.");
        let own = span.attributes.iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(&start)?.to_owned(), shown(value)))
        });
        metadata.extend(own.filter(|(name, _)| is_safe(name)));
    }
    // Its own SDKs' attributes are all mapped.
    if !span.scope_name.starts_with("langfuse-sdk") {
        let rest = span.attributes.iter().filter(|(name, _)| !is_content(name));
        metadata.insert("attributes".to_owned(), as_texts(rest));
    }
    metadata.insert(
        "resourceAttributes".to_owned(),
        as_texts(span.resource.iter()),
    );
    metadata.insert(
        "scope".to_owned(),
        json!({
            "name": span.scope_name, "version": span.scope_version,
            "attributes": as_texts(span.scope_attributes.iter()),
        }),
    );
    metadata
}

fn as_texts<'a>(attributes: impl Iterator<Item = (&'a String, &'a Value)>) -> Value {
    let texts = attributes.map(|(name, value)| (name.clone(), Value::String(as_text(value))));
    Value::Object(texts.collect())
}

fn is_content(name: &str) -> bool {
    CONTENT.contains(&name)
        || CONTENT_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Names that would reach into a JavaScript object's insides are dropped.
fn is_safe(name: &str) -> bool {
    !name
        .split('.')
        .any(|part| matches!(part, "__proto__" | "constructor" | "prototype"))
}

/// Metadata is kept as text; lists and objects are read again when they are shown.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(['{', '[']) => json_or_text(value),
        other => other.clone(),
    }
}
