//! Reading the shapes.

use beluga_o11y::Json;
use serde_json::{Map, Value};

use super::{Conversation, Message, Part};

type Object = Map<String, Value>;

/// The messages of a request: a list of them, a request's body with them in it, or plain text, which is what the
/// user said.
pub(crate) fn input(content: &Json) -> Conversation {
    let messages = match content.read::<Value>() {
        Ok(Value::String(text)) => vec![Message::of_text("user", text)],
        Ok(Value::Array(items)) => items
            .into_iter()
            .flat_map(|item| message(item, "user"))
            .collect(),
        Ok(Value::Object(body)) => request(body),
        _ => Vec::new(),
    };
    Conversation { messages }
}

/// The messages of an answer: plain text, a message, a list of messages or of parts of one, or the body of an answer. Each
/// has a reason why the model stopped, since Phoenix drops messages without one.
pub(crate) fn output(content: &Json, failed: bool) -> Conversation {
    let mut messages = match content.read::<Value>() {
        Ok(Value::String(text)) => vec![Message::of_text("assistant", text)],
        Ok(Value::Array(items)) => answers(items),
        Ok(Value::Object(body)) => answer(body),
        _ => Vec::new(),
    };
    for message in &mut messages {
        if message.role.is_empty() {
            "assistant".clone_into(&mut message.role);
        }
        let calls_tools = message
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolCall { .. }));
        let reason = message
            .finish_reason
            .take()
            .map(|reason| known_reason(&reason));
        message.finish_reason = Some(reason.unwrap_or_else(|| {
            match (failed, calls_tools) {
                (true, _) => "error",
                (false, true) => "tool_call",
                (false, false) => "stop",
            }
            .to_owned()
        }));
    }
    Conversation { messages }
}

/// `FinishReason` of the GenAI conventions, from the providers' words.
fn known_reason(reason: &str) -> String {
    match reason.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "stop_sequence" | "completed" | "complete" => "stop",
        "length" | "max_tokens" | "max_output_tokens" | "model_length" | "incomplete" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_call",
        "content_filter" | "safety" | "refusal" | "content_filtered" => "content_filter",
        "error" => "error",
        other => return other.to_owned(),
    }
    .to_owned()
}

/// A request's body: `messages` (OpenAI, Anthropic, Bedrock), `input` (OpenAI's responses) or `contents` (Gemini), and
/// the system prompt beside them; or a single message.
fn request(mut body: Object) -> Vec<Message> {
    let system = [
        "system",
        "instructions",
        "systemInstruction",
        "system_instruction",
    ]
    .iter()
    .find_map(|key| body.remove(*key));
    let system = system.map(|content| Message {
        role: "system".to_owned(),
        parts: parts_of(match content {
            Value::Object(mut object) if object.contains_key("parts") => {
                object.remove("parts").unwrap_or_default()
            }
            content => content,
        }),
        ..Message::default()
    });
    let messages = ["messages", "contents", "input"]
        .iter()
        .find_map(|key| body.remove(*key));
    let messages = match messages {
        Some(Value::Array(items)) => items
            .into_iter()
            .flat_map(|item| message(item, "user"))
            .collect(),
        Some(Value::String(text)) => vec![Message::of_text("user", text)],
        Some(_) => Vec::new(),
        None => message(Value::Object(body), "").into_iter().collect(),
    };
    let system = system.filter(|system| !system.parts.is_empty());
    system.into_iter().chain(messages).collect()
}

/// An answer's body: `choices` (OpenAI), `candidates` (Gemini), `output` (OpenAI's responses, Bedrock), or a message.
fn answer(mut body: Object) -> Vec<Message> {
    let choices = body.remove("choices").or_else(|| body.remove("candidates"));
    if let Some(Value::Array(choices)) = choices {
        return choices.into_iter().filter_map(choice).collect();
    }
    let reason = finish_reason(&mut body);
    let mut messages = match body.remove("output") {
        Some(Value::Array(items)) => answers(items),
        Some(Value::Object(mut output)) => output
            .remove("message")
            .and_then(|inner| message(inner, "assistant"))
            .into_iter()
            .collect(),
        _ => message(Value::Object(body), "assistant")
            .into_iter()
            .collect(),
    };
    if let Some(last) = messages.last_mut()
        && last.finish_reason.is_none()
    {
        last.finish_reason = reason;
    }
    messages
}

fn choice(choice: Value) -> Option<Message> {
    let Value::Object(mut choice) = choice else {
        return None;
    };
    let reason = finish_reason(&mut choice);
    let inner = choice
        .remove("message")
        .or_else(|| choice.remove("content"))
        .or_else(|| choice.remove("delta"));
    let mut message = match (inner, choice.remove("text")) {
        (Some(inner), _) => message(inner, "assistant")?,
        (None, Some(Value::String(text))) => Message::of_text("assistant", text),
        _ => return None,
    };
    message.finish_reason = reason;
    Some(message)
}

fn finish_reason(object: &mut Object) -> Option<String> {
    ["finish_reason", "stop_reason", "finishReason", "stopReason"]
        .iter()
        .find_map(|key| text(object.remove(*key)?))
}

/// A list that is messages, or the parts of one message, or both in turn, as OpenAI's responses have it.
fn answers(items: Vec<Value>) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for item in items {
        let is_message =
            item.get("role").is_some() || item.get("content").is_some_and(Value::is_array);
        if is_message {
            messages.extend(message(item, "assistant"));
            continue;
        }
        let parts = part(item);
        match messages.last_mut() {
            Some(message) => message.parts.extend(parts),
            None => messages.push(Message {
                role: "assistant".to_owned(),
                parts: parts.into_iter().collect(),
                ..Message::default()
            }),
        }
    }
    messages
}

/// One message, if it is one. `role` is for what has none.
fn message(value: Value, role: &str) -> Option<Message> {
    let mut object = match value {
        Value::Object(object) => object,
        Value::String(content) => return Some(Message::of_text(role, content)),
        _ => return None,
    };
    let own_role = object.remove("role").and_then(text);
    let has_content = ["content", "parts", "tool_calls"]
        .iter()
        .any(|key| object.contains_key(*key));
    if own_role.is_none() && !has_content {
        // An item of OpenAI's responses, such as a `function_call`.
        let typed = object.get("type").is_some_and(Value::is_string);
        return typed.then(|| Message {
            role: role_of_item(&object, role).to_owned(),
            parts: part(Value::Object(object)).into_iter().collect(),
            ..Message::default()
        });
    }
    let role = own_role.unwrap_or_else(|| role.to_owned());
    let mut message = Message {
        // Gemini's word.
        role: if role == "model" {
            "assistant".to_owned()
        } else {
            role
        },
        name: object.remove("name").and_then(text),
        finish_reason: finish_reason(&mut object),
        ..Message::default()
    };
    if let Some(Value::String(reasoning)) = object.remove("reasoning_content") {
        message.parts.push(Part::Reasoning(reasoning));
    }
    let answered = object.remove("tool_call_id").and_then(text);
    let content = object.remove("content").or_else(|| object.remove("parts"));
    match (content, answered) {
        (Some(result), Some(id)) => message.parts.push(Part::ToolResult {
            id: Some(id),
            result,
        }),
        (Some(content), None) => message.parts.extend(parts_of(content)),
        (None, _) => {}
    }
    if let Some(Value::String(refusal)) = object.remove("refusal") {
        message.parts.push(Part::Text(refusal));
    }
    if let Some(Value::Array(calls)) = object.remove("tool_calls") {
        message.parts.extend(calls.into_iter().map(tool_call));
    }
    Some(message)
}

fn role_of_item<'a>(item: &Object, role: &'a str) -> &'a str {
    match item.get("type").and_then(Value::as_str) {
        Some("function_call" | "reasoning") => "assistant",
        Some("function_call_output") => "tool",
        _ => role,
    }
}

fn parts_of(content: Value) -> Vec<Part> {
    match content {
        Value::Null => Vec::new(),
        Value::String(text) => vec![Part::Text(text)],
        Value::Array(items) => items.into_iter().filter_map(part).collect(),
        other => part(other).into_iter().collect(),
    }
}

/// One part of a message.
fn part(value: Value) -> Option<Part> {
    let mut object = match value {
        Value::Null => return None,
        Value::String(text) => return Some(Part::Text(text)),
        Value::Object(object) => object,
        other => return Some(Part::Other(other)),
    };
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let known = match kind.as_str() {
        "text" | "input_text" | "output_text" | "refusal" => ["text", "content", "refusal"]
            .iter()
            .find_map(|key| text(object.get(*key)?.clone()))
            .map(Part::Text),
        "thinking" | "reasoning" => reasoning(&object).map(Part::Reasoning),
        "image_url" | "input_image" | "image" | "uri" | "blob" => image(&object).map(Part::Image),
        "tool_use" | "tool_call" | "function_call" | "function" => {
            return Some(tool_call(Value::Object(object)));
        }
        "tool_result" | "tool_call_response" | "function_call_output" => Some(Part::ToolResult {
            id: first_text(&object, &["tool_use_id", "id", "call_id"]),
            result: ["content", "response", "result", "output"]
                .iter()
                .find_map(|key| object.remove(*key))
                .unwrap_or_default(),
        }),
        _ => untyped(&object),
    };
    Some(known.unwrap_or(Part::Other(Value::Object(object))))
}

/// Gemini's and Bedrock's parts, which are told by their keys.
fn untyped(object: &Object) -> Option<Part> {
    let inner = |keys: [&str; 2]| keys.iter().find_map(|key| object.get(*key));
    if let Some(Value::String(text)) = object.get("text") {
        return Some(Part::Text(text.clone()));
    }
    if let Some(call) = inner(["functionCall", "toolUse"]) {
        return Some(tool_call(call.clone()));
    }
    if let Some(Value::Object(result)) = inner(["functionResponse", "toolResult"]) {
        return Some(Part::ToolResult {
            id: first_text(result, &["id", "toolUseId", "name"]),
            result: ["response", "content"]
                .iter()
                .find_map(|key| result.get(*key).cloned())
                .unwrap_or_default(),
        });
    }
    if let Some(Value::Object(data)) = inner(["inlineData", "inline_data"]) {
        let mime_type = first_text(data, &["mimeType", "mime_type"])?;
        let data = first_text(data, &["data"])?;
        return mime_type
            .starts_with("image/")
            .then(|| Part::Image(format!("data:{mime_type};base64,{data}")));
    }
    None
}

/// OpenAI's, Anthropic's, Gemini's, Bedrock's and the conventions' own.
fn tool_call(call: Value) -> Part {
    let Value::Object(mut call) = call else {
        return Part::Other(call);
    };
    let id = first_text(&call, &["call_id", "id", "toolUseId"]);
    if let Some(Value::Object(function)) = call.remove("function") {
        call.extend(function);
    }
    let Some(name) = first_text(&call, &["name"]) else {
        return Part::Other(Value::Object(call));
    };
    let arguments = ["arguments", "input", "args"]
        .iter()
        .find_map(|key| call.remove(*key))
        .unwrap_or_default();
    Part::ToolCall {
        id,
        name,
        arguments: match arguments {
            // OpenAI sends JSON as text.
            Value::String(json) => serde_json::from_str(&json).unwrap_or(Value::String(json)),
            arguments => arguments,
        },
    }
}

fn reasoning(object: &Object) -> Option<String> {
    if let Some(text) = first_text(object, &["thinking", "content", "text"]) {
        return Some(text);
    }
    let Some(Value::Array(summary)) = object.get("summary") else {
        return None;
    };
    let texts: Vec<_> = summary
        .iter()
        .filter_map(|item| item.get("text")?.as_str())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// The image's URL; what is inline becomes a `data:` URL.
fn image(object: &Object) -> Option<String> {
    if let Some(url) = first_text(object, &["image_url", "url", "uri"]) {
        return Some(url);
    }
    let is_image = object
        .get("modality")
        .is_none_or(|modality| modality == "image");
    match (object.get("image_url"), object.get("source")) {
        (Some(Value::Object(image)), _) => first_text(image, &["url"]),
        (None, Some(Value::Object(source))) => match first_text(source, &["url"]) {
            Some(url) => Some(url),
            None => data_url(source, "media_type", "data"),
        },
        (None, None) if is_image => data_url(object, "mime_type", "content"),
        _ => None,
    }
}

fn data_url(object: &Object, mime_type: &str, data: &str) -> Option<String> {
    let mime_type = first_text(object, &[mime_type])?;
    let data = first_text(object, &[data])?;
    Some(format!("data:{mime_type};base64,{data}"))
}

fn first_text(object: &Object, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| Some(object.get(*key)?.as_str()?.to_owned()))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

impl Message {
    fn of_text(role: &str, text: String) -> Self {
        Self {
            role: role.to_owned(),
            parts: vec![Part::Text(text)],
            ..Self::default()
        }
    }
}
