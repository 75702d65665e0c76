//! Streamed answers, joined to what they would have been as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::failure;
use crate::import::chat::{some, text};

/// Whether what went over the wire is a stream of events.
pub(super) fn is_one(wire: &str) -> bool {
    wire.lines().any(|line| line.starts_with("data:"))
}

/// The events of a stream, as they went over the wire. Without one of them the answer would be another.
pub(super) fn events(wire: &str) -> Result<Vec<Value>, &'static str> {
    let data = wire.lines().filter_map(|line| line.strip_prefix("data:"));
    let data = data.filter(|data| !matches!(data.trim(), "" | "[DONE]"));
    data.map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|_| "an event of the stream is no JSON")
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
    if let Some(error) = events.iter().find(|event| failure(event).is_some()) {
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
            // The first have what stays the same, and the last the usage; some say nothing.
            if !value.is_null() && value != "" && name != "choices" {
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
    /// By index, which some give to several, and which of those it is.
    calls: BTreeMap<(u64, usize), Call>,
    /// What was before tool calls.
    function: Option<Call>,
    /// Of a completion, which has no message.
    completed: Option<String>,
    reason: Option<Value>,
}

#[derive(Default)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
    is_custom: bool,
}

impl Call {
    fn take(&mut self, function: &Value, arguments: &str) {
        let text = |name| function[name].as_str().unwrap_or_default();
        self.name.push_str(text("name"));
        self.arguments.push_str(text(arguments));
    }

    fn whole(self) -> Value {
        let Self {
            id,
            name,
            arguments,
            is_custom,
        } = self;
        match is_custom {
            true => {
                json!({"id": id, "type": "custom", "custom": {"name": name, "input": arguments}})
            }
            false => {
                let function = json!({"name": name, "arguments": arguments});
                json!({"id": id, "type": "function", "function": function})
            }
        }
    }
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
            let call = self.call(index, text(piece, "id"));
            match some(piece, "custom") {
                Some(custom) => {
                    call.is_custom = true;
                    call.take(custom, "input");
                }
                None => call.take(&piece["function"], "arguments"),
            }
        }
        let function = choice.pointer("/delta/function_call");
        if let Some(function) = function.filter(|function| function.is_object()) {
            let call = self.function.get_or_insert_default();
            call.take(function, "arguments");
        }
        self.reason = some(choice, "finish_reason")
            .cloned()
            .or(self.reason.take());
    }

    /// The call that a piece belongs to: the last of its index, unless that has another id.
    fn call(&mut self, index: u64, id: Option<&str>) -> &mut Call {
        let mut known = self.calls.range((index, 0)..=(index, usize::MAX));
        let number = known.next_back().map_or(0, |((_, number), last)| {
            let is_another = id.is_some_and(|id| last.id.as_ref().is_some_and(|last| last != id));
            number + usize::from(is_another)
        });
        let call = self.calls.entry((index, number)).or_default();
        call.id = id.map(str::to_owned).or(call.id.take());
        call
    }

    fn whole(self) -> Value {
        if let Some(text) = self.completed {
            return json!({"text": text, "finish_reason": self.reason});
        }
        let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
        let texts = self.texts.into_iter().filter(|(_, text)| !text.is_empty());
        message.extend(texts.map(|(name, text)| (name, text.into())));
        if !self.calls.is_empty() {
            let calls = self.calls.into_values().map(Call::whole);
            message.insert("tool_calls".to_owned(), calls.collect());
        }
        if let Some(call) = self.function {
            let function = json!({"name": call.name, "arguments": call.arguments});
            message.insert("function_call".to_owned(), function);
        }
        json!({"message": message, "finish_reason": self.reason})
    }
}
