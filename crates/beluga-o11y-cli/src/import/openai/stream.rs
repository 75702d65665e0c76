//! Streamed answers, joined to what they would have been as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::import::chat::{some, text};

/// Whether what went over the wire is a stream of events.
pub(super) fn is_one(wire: &str) -> bool {
    wire.lines().any(|line| line.starts_with("data:"))
}

/// The events of a stream, as they went over the wire.
pub(super) fn events(wire: &str) -> Vec<Value> {
    let data = wire.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

/// The answer that the events make. What says why there is none quotes nothing.
pub(super) fn joined(events: &[Value]) -> Result<Value, &'static str> {
    let whole = events.iter().rev().find(|event| {
        let end = text(event, "type").and_then(|name| name.strip_prefix("response."));
        matches!(end, Some("completed" | "failed" | "incomplete"))
    });
    if let Some(response) = whole.and_then(|event| some(event, "response")) {
        return Ok(response.clone());
    }
    if let Some(error) = events.iter().find(|event| some(event, "error").is_some()) {
        return Ok(error.clone());
    }
    if let Some(error) = events.iter().find(|event| event["type"] == "error") {
        return Ok(json!({ "error": error }));
    }
    if events.iter().any(|event| event["choices"].is_array()) {
        return Ok(chunks(events));
    }
    match events.iter().any(|event| event["type"].is_string()) {
        true => Err("the stream has no end: expected the event response.completed"),
        false => Err("expected the events of a stream"),
    }
}

/// The answer that chunks of chat completions, or of completions, make.
fn chunks(events: &[Value]) -> Value {
    let mut answer = Map::new();
    let mut choices: BTreeMap<u64, Choice> = BTreeMap::new();
    for event in events {
        for (name, value) in event.as_object().into_iter().flatten() {
            // The first have what stays the same, and the last the usage.
            if !value.is_null() && name != "choices" {
                answer.insert(name.clone(), value.clone());
            }
        }
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            choices.entry(index).or_default().take(choice);
        }
    }
    let choices = choices.into_values().map(Choice::whole);
    answer.insert("choices".to_owned(), choices.collect());
    Value::Object(answer)
}

#[derive(Default)]
struct Choice {
    /// Texts that come in pieces: content, refusal, reasoning.
    texts: BTreeMap<String, String>,
    calls: BTreeMap<u64, Call>,
    /// Of a completion, which has no message.
    completed: Option<String>,
    reason: Option<Value>,
}

#[derive(Default)]
struct Call {
    id: Option<Value>,
    name: String,
    arguments: String,
}

impl Choice {
    fn take(&mut self, choice: &Value) {
        if let Some(piece) = choice["text"].as_str() {
            self.completed.get_or_insert_default().push_str(piece);
        }
        for (name, value) in choice["delta"].as_object().into_iter().flatten() {
            if name != "role"
                && let Some(piece) = value.as_str()
            {
                self.texts.entry(name.clone()).or_default().push_str(piece);
            }
        }
        let calls = choice
            .pointer("/delta/tool_calls")
            .and_then(Value::as_array);
        for piece in calls.into_iter().flatten() {
            let index = piece["index"].as_u64().unwrap_or(0);
            let call = self.calls.entry(index).or_default();
            call.id = some(piece, "id").cloned().or(call.id.take());
            let function = &piece["function"];
            call.name
                .push_str(function["name"].as_str().unwrap_or_default());
            let arguments = function["arguments"].as_str();
            call.arguments.push_str(arguments.unwrap_or_default());
        }
        self.reason = some(choice, "finish_reason")
            .cloned()
            .or(self.reason.take());
    }

    fn whole(self) -> Value {
        if let Some(text) = self.completed {
            return json!({"text": text, "finish_reason": self.reason});
        }
        let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
        let texts = self.texts.into_iter().filter(|(_, text)| !text.is_empty());
        message.extend(texts.map(|(name, text)| (name, text.into())));
        if !self.calls.is_empty() {
            let calls = self.calls.into_values().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            message.insert("tool_calls".to_owned(), calls.collect());
        }
        json!({"message": message, "finish_reason": self.reason})
    }
}
