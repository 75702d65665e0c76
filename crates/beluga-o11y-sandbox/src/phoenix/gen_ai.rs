//! What Phoenix takes from `gen_ai.*` where OpenInference says nothing (Phoenix: `gen_ai/conversion.py`).

use serde_json::{Map, Value, json};

use crate::spans::{Attributes, as_text, count, texts};

/// OpenTelemetry's providers, with OpenInference's `llm.provider` and `llm.system`.
const PROVIDERS: &[(&str, Option<&str>, Option<&str>)] = &[
    ("openai", Some("openai"), Some("openai")),
    ("anthropic", Some("anthropic"), Some("anthropic")),
    ("cohere", Some("cohere"), Some("cohere")),
    ("mistral_ai", Some("mistralai"), Some("mistralai")),
    ("deepseek", Some("deepseek"), None),
    ("groq", Some("groq"), None),
    ("perplexity", Some("perplexity"), None),
    ("x_ai", Some("xai"), None),
    ("azure.ai.openai", Some("azure"), Some("openai")),
    ("azure.ai.inference", Some("azure"), None),
    ("aws.bedrock", Some("aws"), None),
    ("gcp.vertex_ai", Some("google"), Some("vertexai")),
    ("gcp.gen_ai", Some("google"), None),
    ("gcp.gemini", Some("google"), None),
];
const PARAMETERS: &[(&str, &str)] = &[
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("max_tokens", "max_tokens"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("seed", "seed"),
    ("stream", "stream"),
    ("choice.count", "n"),
];
const USAGE: &[(&str, &str)] = &[
    ("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
    ("gen_ai.usage.output_tokens", "llm.token_count.completion"),
    (
        "gen_ai.usage.cache_read.input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    (
        "gen_ai.usage.cache_creation.input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
];

/// The OpenInference attributes that these `gen_ai` attributes stand for.
pub(super) fn converted(attributes: &Attributes) -> Attributes {
    let mut converted = Attributes::new();
    if !attributes.keys().any(|name| name.starts_with("gen_ai.")) {
        return converted;
    }
    let said = |name: &str| attributes.get(&format!("gen_ai.{name}")).map(as_text);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            converted.insert(name.to_owned(), value);
        }
    };
    put("openinference.span.kind", kind(attributes).map(Value::from));
    let name = said("provider.name").or_else(|| said("system").map(|name| name.to_lowercase()));
    let (provider, system) = name.as_deref().map_or((None, None), provider_and_system);
    put("llm.provider", provider.map(Value::from));
    put("llm.system", system.map(Value::from));
    put("session.id", said("conversation.id").map(Value::from));
    put("llm.model_name", said("request.model").map(Value::from));
    put("llm.invocation_parameters", parameters(attributes));
    for (gen_ai, open_inference) in USAGE {
        put(
            open_inference,
            count(attributes, &[gen_ai]).map(Value::from),
        );
    }
    let response: Map<String, Value> = [
        ("id", said("response.id")),
        ("model", said("response.model")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
    .collect();
    if !response.is_empty() {
        put(
            "output.value",
            Some(Value::Object(response).to_string().into()),
        );
        put("output.mime_type", Some("application/json".into()));
    }
    let system = list(attributes, "gen_ai.system_instructions", is_part)
        .map(|parts| vec![json!({"role": "system", "parts": parts})]);
    let input = list(attributes, "gen_ai.input.messages", is_message);
    let output = list(attributes, "gen_ai.output.messages", |message| {
        is_message(message) && message.get("finish_reason").is_some_and(Value::is_string)
    });
    let input = system
        .into_iter()
        .flatten()
        .chain(input.into_iter().flatten());
    flatten("llm.input_messages", input, &mut converted);
    flatten(
        "llm.output_messages",
        output.into_iter().flatten(),
        &mut converted,
    );
    converted
}

fn kind(attributes: &Attributes) -> Option<&'static str> {
    let there = |name: &str| {
        let value = attributes.get(&format!("gen_ai.{name}"));
        value.is_some_and(|value| *value != Value::Null && *value != "")
    };
    let operation = attributes.get("gen_ai.operation.name").map(as_text);
    match operation.as_deref() {
        Some("chat" | "text_completion" | "generate_content") => Some("LLM"),
        Some("embeddings") => Some("EMBEDDING"),
        Some("execute_tool") => Some("TOOL"),
        Some("retrieval") => Some("RETRIEVER"),
        Some("invoke_agent" | "create_agent") => Some("AGENT"),
        Some(_) => None,
        None if there("tool.call.id") || there("tool.name") => Some("TOOL"),
        None if ["input.messages", "output.messages", "request.model"]
            .iter()
            .any(|name| there(name)) =>
        {
            Some("LLM")
        }
        None => None,
    }
}

/// A name that is not registered is taken for a system.
fn provider_and_system(name: &str) -> (Option<&str>, Option<&str>) {
    PROVIDERS
        .iter()
        .find(|(known, ..)| *known == name)
        .map_or((None, Some(name)), |(_, provider, system)| {
            (*provider, *system)
        })
}

fn parameters(attributes: &Attributes) -> Option<Value> {
    let mut parameters = Map::new();
    for (name, shown) in PARAMETERS {
        if let Some(value) = attributes.get(&format!("gen_ai.request.{name}")) {
            parameters.insert((*shown).to_owned(), value.clone());
        }
    }
    if let Some(stop) = attributes.get("gen_ai.request.stop_sequences") {
        let stop = stop
            .as_str()
            .map_or_else(|| texts(stop), |one| vec![one.to_owned()]);
        parameters.insert("stop".to_owned(), stop.into());
    }
    (!parameters.is_empty()).then(|| Value::Object(parameters).to_string().into())
}

/// A list that is sent as JSON text. One bad element and there is none; a list that is no text is none, either.
fn list(
    attributes: &Attributes,
    name: &str,
    is_good: impl Fn(&Value) -> bool,
) -> Option<Vec<Value>> {
    let list: Vec<Value> = serde_json::from_str(attributes.get(name)?.as_str()?).ok()?;
    list.iter().all(is_good).then_some(list)
}

fn is_message(message: &Value) -> bool {
    let parts = message.get("parts").and_then(Value::as_array);
    message.get("role").is_some_and(Value::is_string)
        && parts.is_some_and(|parts| parts.iter().all(is_part))
}

/// What is not of a known type needs no more than a type.
fn is_part(part: &Value) -> bool {
    part.get("type").is_some_and(Value::is_string)
}

fn flatten(prefix: &str, messages: impl Iterator<Item = Value>, out: &mut Attributes) {
    for (index, message) in messages.enumerate() {
        let base = format!("{prefix}.{index}.message");
        let mut put = |name: &str, value: Option<&Value>| {
            if let Some(value) = value.filter(|value| !value.is_null() && **value != "") {
                out.insert(format!("{base}.{name}"), Value::from(as_text(value)));
            }
        };
        for name in ["role", "name", "finish_reason"] {
            put(name, message.get(name));
        }
        let parts = message.get("parts").and_then(Value::as_array);
        flatten_parts(parts.map(Vec::as_slice).unwrap_or_default(), &mut put);
    }
}

fn flatten_parts(parts: &[Value], put: &mut impl FnMut(&str, Option<&Value>)) {
    let is = |part: &&Value, kind: &str| part.get("type").is_some_and(|known| known == kind);
    if let Some(result) = parts.iter().find(|part| is(part, "tool_call_response")) {
        put("tool_call_id", result.get("id"));
        put(
            "content",
            result.get("response").or_else(|| result.get("result")),
        );
        return;
    }
    let contents = parts
        .iter()
        .filter(|part| ["text", "uri", "blob"].iter().any(|kind| is(part, kind)));
    match contents.collect::<Vec<_>>().as_slice() {
        [only] if is(only, "text") => put("content", only.get("content")),
        contents => {
            for (index, part) in contents.iter().enumerate() {
                let base = format!("contents.{index}.message_content");
                if is(part, "text") {
                    put(&format!("{base}.type"), Some(&json!("text")));
                    put(&format!("{base}.text"), part.get("content"));
                } else {
                    put(&format!("{base}.type"), Some(&json!("image")));
                    put(&format!("{base}.image.image.url"), Some(&image_url(part)));
                }
            }
        }
    }
    let calls = parts.iter().filter(|part| is(part, "tool_call"));
    for (index, call) in calls.enumerate() {
        let base = format!("tool_calls.{index}.tool_call");
        put(&format!("{base}.id"), call.get("id"));
        put(&format!("{base}.function.name"), call.get("name"));
        put(&format!("{base}.function.arguments"), call.get("arguments"));
    }
}

fn image_url(part: &Value) -> Value {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    match text("uri") {
        Some(uri) => uri.into(),
        None => format!(
            "data:{};base64,{}",
            text("mime_type").unwrap_or("application/octet-stream"),
            text("content").unwrap_or_default()
        )
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted_from(attributes: Value) -> Value {
        let attributes = serde_json::from_value(attributes).unwrap();
        serde_json::to_value(converted(&attributes)).unwrap()
    }

    #[test]
    fn messages_of_all_parts() {
        let messages = json!([
            {"role": "user", "parts": [
                {"type": "text", "content": "what?"},
                {"type": "uri", "uri": "http://image", "modality": "image"},
                {"type": "blob", "mime_type": "image/png", "content": "AAAA", "modality": "image"},
                {"type": "novelty"},
            ]},
            {"role": "assistant", "parts": [
                {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"at": "it"}},
            ]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"a": 1}}]},
        ]);
        let converted = converted_from(json!({
            "gen_ai.system_instructions": "[{\"type\":\"text\",\"content\":\"be brief\"}]",
            "gen_ai.input.messages": messages.to_string(),
        }));
        assert_eq!(
            converted,
            json!({
                "openinference.span.kind": "LLM",
                "llm.input_messages.0.message.role": "system",
                "llm.input_messages.0.message.content": "be brief",
                "llm.input_messages.1.message.role": "user",
                "llm.input_messages.1.message.contents.0.message_content.type": "text",
                "llm.input_messages.1.message.contents.0.message_content.text": "what?",
                "llm.input_messages.1.message.contents.1.message_content.type": "image",
                "llm.input_messages.1.message.contents.1.message_content.image.image.url": "http://image",
                "llm.input_messages.1.message.contents.2.message_content.type": "image",
                "llm.input_messages.1.message.contents.2.message_content.image.image.url":
                    "data:image/png;base64,AAAA",
                "llm.input_messages.2.message.role": "assistant",
                "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
                "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "look",
                "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": "{\"at\":\"it\"}",
                "llm.input_messages.3.message.role": "tool",
                "llm.input_messages.3.message.tool_call_id": "c1",
                "llm.input_messages.3.message.content": "{\"a\":1}",
            })
        );
    }

    #[test]
    fn one_bad_message_drops_them_all() {
        let good = json!({"role": "assistant", "parts": [{"type": "text", "content": "x"}], "finish_reason": "stop"});
        let mut without_reason = good.clone();
        without_reason
            .as_object_mut()
            .unwrap()
            .remove("finish_reason");
        let shown = |messages: Value| {
            let converted = converted_from(json!({"gen_ai.output.messages": messages}));
            converted
                .get("llm.output_messages.0.message.content")
                .is_some()
        };
        assert!(shown(json!([good]).to_string().into()));
        assert!(!shown(json!([good, without_reason]).to_string().into()));
        assert!(!shown(
            json!([good, {"role": "assistant", "content": "x", "finish_reason": "stop"}])
                .to_string()
                .into()
        ));
        assert!(!shown(json!([good])), "a list that is no text");
    }

    #[test]
    fn providers_and_what_is_not_read() {
        let converted = converted_from(json!({
            "gen_ai.provider.name": "azure.ai.openai", "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.reasoning.output_tokens": 5, "gen_ai.usage.cache_write.input_tokens": 6,
            "gen_ai.usage.cost": 1.0,
        }));
        assert_eq!(
            converted,
            json!({
                "llm.provider": "azure", "llm.system": "openai",
                "output.value": "{\"model\":\"gpt-4o-2024-08-06\"}",
                "output.mime_type": "application/json",
            })
        );
        let converted = converted_from(json!({"gen_ai.provider.name": "acme"}));
        assert_eq!(converted, json!({"llm.system": "acme"}));
    }
}
