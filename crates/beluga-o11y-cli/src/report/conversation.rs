//! What was said in a call, for reading, whatever shape it has.

use beluga_o11y::{Json, LLMCallData};
use serde::Serialize;
use serde_json::{Map, Value};

/// The most characters of a call that are shown, of one message, and of its role.
const MAX_CHARS: usize = 32 * 1024;
const MAX_MESSAGE_CHARS: usize = 8 * 1024;
const MAX_ROLE_CHARS: usize = 100;
const MAX_MESSAGES: usize = 1_000;

/// One message, or the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Said {
    pub(crate) role: Option<String>,
    pub(crate) text: String,
    /// Characters that were cut.
    pub(crate) left_out: usize,
}

/// The messages and the answer; and how many before them are left out. The last ones matter most.
pub(crate) fn conversation(call: &LLMCallData) -> (Vec<Said>, usize) {
    let mut messages = Vec::new();
    if let Some(value) = call.messages.as_ref().and_then(read) {
        messages_of(value, "user", &mut messages);
    }
    if let Some(value) = call.response.as_ref().and_then(read) {
        answer_of(value, &mut messages);
    }
    let all = messages.len();
    let mut room = MAX_CHARS;
    let mut kept = Vec::new();
    for (role, text) in messages.into_iter().rev().take(MAX_MESSAGES) {
        if room == 0 {
            break;
        }
        let (text, left_out) = cut(text, room.min(MAX_MESSAGE_CHARS));
        room = room.saturating_sub(text.chars().count());
        kept.push(Said {
            role: role.map(|role| cut(role, MAX_ROLE_CHARS).0),
            text,
            left_out,
        });
    }
    kept.reverse();
    let left_out = all - kept.len();
    (kept, left_out)
}

/// A text of so many characters at most, and how many were cut.
pub(crate) fn cut(mut text: String, most: usize) -> (String, usize) {
    let Some((end, _)) = text.char_indices().nth(most) else {
        return (text, 0);
    };
    let left_out = text.get(end..).unwrap_or_default().chars().count();
    text.truncate(end);
    (text, left_out)
}

/// JSON as text, cut if it is long.
pub(crate) fn json_text(json: &Json) -> Option<String> {
    let value = read(json)?;
    let (mut text, left_out) = cut(pretty(&value), MAX_MESSAGE_CHARS);
    if left_out > 0 {
        text.push('…');
    }
    Some(text)
}

fn read(json: &Json) -> Option<Value> {
    json.error().is_none().then(|| json.read().ok()).flatten()
}

type Message = (Option<String>, String);

fn messages_of(value: Value, role: &str, all: &mut Vec<Message>) {
    match value {
        Value::Null => {}
        Value::Array(list) => {
            for value in list {
                match value {
                    Value::Object(message) => all.push(message_of(message, None)),
                    value => all.push((None, plain(value))),
                }
            }
        }
        Value::Object(mut fields) => match fields.remove("messages") {
            Some(Value::Array(list)) if fields.is_empty() => {
                messages_of(Value::Array(list), role, all);
            }
            other => {
                fields.extend(other.map(|messages| ("messages".to_owned(), messages)));
                all.push(message_of(fields, Some(role)));
            }
        },
        value => all.push((Some(role.to_owned()), plain(value))),
    }
}

/// A text, a message, several, or what an API answered as it is.
fn answer_of(value: Value, all: &mut Vec<Message>) {
    const ROLE: &str = "assistant";
    let list = match &value {
        Value::Object(fields) => {
            let list = |name: &str, within: &str| {
                let list = fields.get(name)?.as_array()?.iter();
                list.map(|one| one.get(within).cloned())
                    .collect::<Option<Vec<_>>>()
            };
            list("choices", "message").or_else(|| list("candidates", "content"))
        }
        Value::Array(list) => Some(list.clone()),
        _ => None,
    };
    match list {
        Some(list) => {
            for value in list {
                match value {
                    Value::Object(message) => all.push(message_of(message, Some(ROLE))),
                    value => all.push((Some(ROLE.to_owned()), plain(value))),
                }
            }
        }
        None => messages_of(value, ROLE, all),
    }
}

/// The content as text; what else a message has, such as the calls of tools, as JSON.
fn message_of(mut fields: Map<String, Value>, role: Option<&str>) -> Message {
    let role = match fields.remove("role") {
        Some(Value::String(role)) => Some(role),
        other => {
            fields.extend(other.map(|role| ("role".to_owned(), role)));
            role.map(str::to_owned)
        }
    };
    let mut texts = Vec::new();
    for name in ["content", "parts"] {
        match fields.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(parts)) => texts.extend(parts.into_iter().map(part)),
            Some(value) => texts.push(plain(value)),
        }
    }
    fields.retain(|_, value| !value.is_null());
    if !fields.is_empty() {
        texts.push(pretty(&Value::Object(fields)));
    }
    texts.retain(|text| !text.is_empty());
    (role, texts.join("\n\n"))
}

/// A part of a content: its text, or all of it.
fn part(value: Value) -> String {
    if let Value::Object(fields) = &value {
        let known = |name: &str| matches!(name, "type" | "text" | "annotations" | "citations");
        if fields.keys().all(|name| known(name))
            && let Some(text) = fields.get("text").and_then(Value::as_str)
        {
            return text.to_owned();
        }
    }
    plain(value)
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => pretty(&value),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(messages: Value, response: Value) -> Vec<(Option<String>, String)> {
        let call = LLMCallData::new("p", "m")
            .with_messages(messages)
            .with_response(response);
        let (said, left_out) = conversation(&call);
        assert_eq!(left_out, 0);
        said.into_iter()
            .map(|said| (said.role, said.text))
            .collect()
    }

    fn line(role: &str, text: &str) -> (Option<String>, String) {
        (Some(role.to_owned()), text.to_owned())
    }

    #[test]
    fn whatever_shape_it_has() {
        let expected = [line("user", "hi"), line("assistant", "hello")];
        for (messages, response) in [
            (json!("hi"), json!("hello")),
            (
                json!({"role": "user", "content": "hi"}),
                json!({"role": "assistant", "content": "hello"}),
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
                json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": null}}]}),
            ),
            (
                json!([{"role": "user", "parts": [{"text": "hi"}]}]),
                json!({"candidates": [{"content": {"parts": [{"text": "hello"}]}}]}),
            ),
            (
                json!([{"role": "user", "content": ["hi"]}]),
                json!({"role": "assistant", "content": [{"type": "text", "text": "hello", "citations": []}]}),
            ),
        ] {
            assert_eq!(said(messages, response), expected);
        }
        assert_eq!(said(json!(null), json!(null)), []);
        assert_eq!(said(json!([1]), json!([])), [(None, "1".to_owned())]);
        let tools = said(
            json!([{"role": "tool", "content": "18", "tool_call_id": "c"}]),
            json!({"content": null, "tool_calls": [{"id": "c"}]}),
        );
        assert_eq!(tools[0].1, "18\n\n{\n  \"tool_call_id\": \"c\"\n}");
        assert_eq!(tools[1].0.as_deref(), Some("assistant"));
        assert!(tools[1].1.contains("tool_calls"));
    }

    #[test]
    fn the_end_of_what_is_long_is_kept() {
        let message = |text: String| json!({"role": "user", "content": text});
        let many: Vec<_> = (0..100)
            .map(|n| message(format!("{n} {}", "ä".repeat(1_000))))
            .collect();
        let call = LLMCallData::new("p", "m")
            .with_messages(&many)
            .with_response("y".repeat(9_000));
        let (said, left_out) = conversation(&call);
        let answer = said.last().unwrap();
        assert_eq!(
            (answer.text.len(), answer.left_out),
            (8 * 1024, 9_000 - 8 * 1024)
        );
        assert_eq!(left_out, 100 - (said.len() - 1));
        assert!(said[said.len() - 2].text.starts_with("99 "));
        let chars: usize = said.iter().map(|said| said.text.chars().count()).sum();
        assert_eq!(chars, 32 * 1024);
        let hostile = vec![json!({"role": "r".repeat(10_000)}); 5_000];
        let (said, left_out) = conversation(&LLMCallData::new("p", "m").with_messages(&hostile));
        assert_eq!((said.len(), left_out), (1_000, 4_000));
        assert!(
            said.iter()
                .all(|said| said.role.as_ref().unwrap().len() == 100)
        );
        let (only, left_out) = conversation(&LLMCallData::new("p", "m").with_messages(&many));
        assert_eq!(left_out, 100 - only.len());
    }
}
