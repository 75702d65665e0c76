//! Requests and answers of OpenAI's APIs, which others speak too, in the shape that every backend shows: that of chat.

use std::collections::btree_map::Entry;

use beluga_o11y::{Json, LLMCallData};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::secrets;
use crate::record::Problem;

pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
const OPERATION: &str = "gen_ai.operation.name";

/// A document as a value, with half characters mended.
pub(super) fn read(document: &str) -> Result<Value, Problem> {
    let json = Json::parse(document).map_err(|error| Problem::new(error.to_string()))?;
    json.read()
        .map_err(|_| Problem::new("no JSON that can be read"))
}

/// A field that is text with something in it.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    let text = value.get(name)?.as_str()?;
    (!text.trim().is_empty()).then_some(text)
}

/// A field that is there.
pub(super) fn some<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// What a value is, without quoting it.
pub(super) fn found(value: Option<&Value>) -> &'static str {
    match value {
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    }
}

/// Seconds since 1970, to the microsecond, which is as far as a float tells them.
pub(super) fn moment(seconds: f64) -> Option<DateTime<Utc>> {
    const FIRST: f64 = 0.0;
    /// The year 9999, the last that RFC 3339 has.
    const LAST: f64 = 253_402_300_799.0;
    if !(FIRST..=LAST).contains(&seconds) {
        return None;
    }
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

/// What was sent to the model: the messages, or what takes their place, with instructions before them.
pub(super) fn messages(instructions: Option<&Value>, input: Option<&Value>) -> Option<Json> {
    let input = input.filter(|input| !input.is_null());
    let Some(instructions) = instructions.filter(|text| !text.is_null()) else {
        return Some(match input? {
            Value::Array(items) => Json::new(&sent(items)),
            Value::String(text) => Json::new(&[user(text)]),
            other => Json::new(other),
        });
    };
    let mut all = match instructions {
        // Of the responses API, the items of a prompt that is kept there.
        Value::Array(items) => sent(items),
        other => vec![json!({"role": "system", "content": other})],
    };
    match input {
        Some(Value::Array(items)) => all.extend(sent(items)),
        Some(Value::String(text)) => all.push(user(text)),
        Some(other) => all.push(other.clone()),
        None => {}
    }
    Some(Json::new(&all))
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// Items of the responses API as messages; messages, and what is not known, as they are.
fn sent(items: &[Value]) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        match text(item, "type") {
            Some("function_call") => {
                let call = tool_call(item);
                // Calls that were made at once are of one message.
                let last = messages
                    .last_mut()
                    .filter(|last| last["role"] == "assistant");
                match last.and_then(|last| last.get_mut("tool_calls")?.as_array_mut()) {
                    Some(calls) => calls.push(call),
                    None => messages.push(json!({"role": "assistant", "tool_calls": [call]})),
                }
            }
            Some("function_call_output") => messages.push(json!({
                "role": "tool",
                "tool_call_id": item["call_id"],
                "content": content(&item["output"]),
            })),
            None | Some("message") if item.get("role").is_some() => {
                let mut message = item.clone();
                if let Value::Object(fields) = &mut message {
                    fields.remove("type");
                    if let Some(parts) = fields.get_mut("content") {
                        *parts = content(parts);
                    }
                }
                messages.push(message);
            }
            _ => messages.push(item.clone()),
        }
    }
    messages
}

fn tool_call(item: &Value) -> Value {
    json!({
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    })
}

/// Parts as chat has them; one text alone is a text.
fn content(value: &Value) -> Value {
    let Value::Array(parts) = value else {
        return value.clone();
    };
    match parts.as_slice() {
        [part] if is_text(part) => part["text"].clone(),
        parts => parts.iter().map(part).collect(),
    }
}

fn is_text(part: &Value) -> bool {
    matches!(
        text(part, "type"),
        Some("text" | "input_text" | "output_text")
    ) && part["text"].is_string()
}

fn part(part: &Value) -> Value {
    match (text(part, "type"), text(part, "image_url")) {
        _ if is_text(part) => json!({"type": "text", "text": part["text"]}),
        (Some("input_image"), Some(url)) => {
            json!({"type": "image_url", "image_url": {"url": url}})
        }
        _ => part.clone(),
    }
}

/// How it was asked: parameters, but for those that hold keys, which clients and tools of remote servers are given.
pub(super) fn parameters(mut fields: Map<String, Value>) -> Option<Json> {
    // Clients take it for what stands behind the `?` of the address.
    fields.retain(|name, value| name != "extra_query" && !value.is_null());
    secrets::remove(&mut fields);
    (!fields.is_empty()).then(|| Json::new(&fields))
}

/// Takes metadata of the one who called into the record, where its names are free.
pub(super) fn metadata(fields: Option<&Map<String, Value>>, call: &mut LLMCallData) {
    for (name, value) in fields.into_iter().flatten() {
        if !secrets::is_secret(name)
            && let Entry::Vacant(place) = call.metadata.entry(name.clone())
        {
            let mut value = value.clone();
            secrets::remove_of(&mut value);
            place.insert(Json::new(&value));
        }
    }
}

/// Takes an answer into the record: what was said, by which model, and why it ended there.
pub(super) fn answer(body: &Value, call: &mut LLMCallData) {
    let (messages, reasons) = said(body);
    call.response = match messages.as_slice() {
        [] => None,
        [message] => Some(alone(message)),
        several => Some(Json::new(several)),
    };
    if !reasons.is_empty() {
        call.metadata
            .insert(FINISH_REASONS.to_owned(), Json::new(&reasons));
    }
    if let Some(model) = text(body, "model") {
        if call.model.is_empty() {
            call.model = model.to_owned();
        } else if call.model != model {
            call.metadata
                .insert(RESPONSE_MODEL.to_owned(), model.into());
        }
    }
    // Their vectors are of use to nobody who looks at calls, and are long.
    if is_embeddings(body) {
        call.metadata
            .insert(OPERATION.to_owned(), "embeddings".into());
    }
}

fn is_embeddings(body: &Value) -> bool {
    body.pointer("/data/0/embedding").is_some()
}

/// The messages of an answer, and why they ended.
fn said(body: &Value) -> (Vec<Value>, Vec<&str>) {
    if let Some(choices) = body.get("choices").and_then(Value::as_array) {
        let message = |choice: &Value| some(choice, "message").or(some(choice, "text")).cloned();
        let reasons = choices
            .iter()
            .filter_map(|choice| text(choice, "finish_reason"));
        let messages = choices.iter().filter_map(message).filter_map(plain);
        return (messages.collect(), reasons.collect());
    }
    if let Some(items) = body.get("output").and_then(Value::as_array) {
        let reason = body.pointer("/incomplete_details/reason");
        return (
            output(items),
            reason.and_then(Value::as_str).into_iter().collect(),
        );
    }
    match body {
        Value::Null => (vec![], vec![]),
        Value::Object(fields) if fields.is_empty() || is_embeddings(body) => (vec![], vec![]),
        other => (vec![other.clone()], vec![]),
    }
}

/// A message without what says nothing, if then it says anything.
fn plain(mut message: Value) -> Option<Value> {
    if let Value::Object(fields) = &mut message {
        fields.retain(|name, value| match value {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            // Of LiteLLM, with names whose values are null.
            Value::Object(inner) => {
                name != "provider_specific_fields" || !inner.values().all(Value::is_null)
            }
            _ => true,
        });
        if fields.keys().all(|name| name == "role") {
            return None;
        }
    }
    Some(message)
}

/// Text if it is only that.
fn alone(message: &Value) -> Json {
    let only_text = |fields: &Map<String, Value>| {
        let mut names = fields.keys();
        names.all(|name| name == "role" || name == "content")
    };
    match message {
        Value::Object(fields) if only_text(fields) => fields
            .get("content")
            .map_or_else(|| Json::new(fields), Json::new),
        other => Json::new(other),
    }
}

/// What a model answers by the responses API, as one message; as it is, if there are items that chat does not have.
fn output(items: &[Value]) -> Vec<Value> {
    let (mut texts, mut refusals, mut calls, mut thoughts) = (vec![], vec![], vec![], vec![]);
    let mut known = true;
    for item in items {
        let parts = |name| {
            item.get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        match text(item, "type") {
            Some("message") => {
                for part in parts("content") {
                    match (part["text"].as_str(), part["refusal"].as_str()) {
                        (Some(said), _) => texts.push(said),
                        (None, Some(refused)) => refusals.push(refused),
                        _ => known = false,
                    }
                }
            }
            Some("function_call") => calls.push(tool_call(item)),
            Some("reasoning") => {
                thoughts.extend(parts("summary").filter_map(|part| part["text"].as_str()));
            }
            _ => known = false,
        }
    }
    if !known {
        return vec![Value::from(items)];
    }
    let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
    let mut put = |name: &str, value: Value| message.insert(name.to_owned(), value);
    if !texts.is_empty() {
        put("content", texts.concat().into());
    }
    if !refusals.is_empty() {
        put("refusal", refusals.concat().into());
    }
    if !thoughts.is_empty() {
        put("reasoning_content", thoughts.join("\n").into());
    }
    if !calls.is_empty() {
        put("tool_calls", calls.into());
    }
    match message.len() {
        // There is nothing but the role.
        1 => vec![],
        _ => vec![Value::Object(message)],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(Value::from(1e308)),
            ".{0,4}".prop_map(Value::from),
            Just(json!({"type": "function_call"})),
            Just(json!([{"choices": [{"delta": {"tool_calls": [{}]}}]}])),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                vec((".{0,3}", inner), 0..3).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    /// One of these, with something else in some places of it.
    pub(in crate::import) fn changed(documents: Vec<Value>) -> impl Strategy<Value = Value> {
        let document = proptest::sample::select(documents);
        let changes = vec((any::<Index>(), any_json()), 0..4);
        (document, changes).prop_map(|(mut document, changes)| {
            for (place, value) in changes {
                let places = places(&document);
                let place = place.get(&places);
                if let Some(old) = document.pointer_mut(place) {
                    *old = value;
                }
            }
            document
        })
    }

    fn places(value: &Value) -> Vec<String> {
        let inner = |name: &str, value: &Value| {
            let name = name.replace('~', "~0").replace('/', "~1");
            let inner = places(value).into_iter();
            inner
                .map(|place| format!("/{name}{place}"))
                .collect::<Vec<_>>()
        };
        let mut all = vec![String::new()];
        match value {
            Value::Object(fields) => {
                all.extend(fields.iter().flat_map(|(name, value)| inner(name, value)))
            }
            Value::Array(items) => {
                all.extend(
                    items
                        .iter()
                        .enumerate()
                        .flat_map(|(at, value)| inner(&at.to_string(), value)),
                );
            }
            _ => {}
        }
        all
    }

    #[test]
    fn no_parameter_is_a_key() {
        let given = json!({
            "seed": null,
            "temperature": 0.5,
            "api_key": "SECRET",
            "Authorization": "SECRET",
            "api-key": "SECRET",
            "extra_headers": {"x": "SECRET"},
            "extra_query": {"x": "SECRET"},
            "extra_body": {"API_KEY": "SECRET", "top_k": 3},
            "data_sources": [{"parameters": {"authentication": {"key": "SECRET"}, "index": "i"}}],
            "mcp_servers": [{"name": "m", "authorization_token": "SECRET"}],
            "tools": [{
                "type": "mcp",
                "server_label": "a",
                "server_url": "https://example.com/mcp?token=SECRET",
                "authorization": "SECRET",
                "headers": {"x": "SECRET"},
            }],
        });
        let kept = parameters(given.as_object().unwrap().clone()).unwrap();
        let expected = json!({
            "temperature": 0.5,
            "extra_body": {"top_k": 3},
            "data_sources": [{"parameters": {"index": "i"}}],
            "mcp_servers": [{"name": "m"}],
            "tools": [{
                "type": "mcp",
                "server_label": "a",
                "server_url": "https://example.com/mcp",
            }],
        });
        assert_eq!(kept.read::<Value>().unwrap(), expected);
        assert_eq!(
            parameters(Map::from_iter([("seed".to_owned(), Value::Null)])),
            None
        );
    }

    #[test]
    fn half_characters_are_mended() {
        let read = read(r#"{"a":"x\ud83d"}"#).unwrap();
        assert_eq!(read, json!({"a": "x\u{fffd}"}));
    }

    #[test]
    fn several_answers_are_a_list() {
        let mut call = LLMCallData::new("", "");
        let choice = |text: &str| json!({"message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        answer(&json!({"choices": [choice("a"), choice("b")]}), &mut call);
        let said: Value = call.response.take().unwrap().read().unwrap();
        assert_eq!(
            said,
            json!([
                {"role": "assistant", "content": "a"},
                {"role": "assistant", "content": "b"},
            ])
        );
        answer(&json!({"model": "m", "choices": []}), &mut call);
        assert_eq!((call.response, call.model.as_str()), (None, "m"));
    }
}
