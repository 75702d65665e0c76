//! Messages of the GenAI conventions, in the shape that every backend shows: that of OpenAI's chat API.
//!
//! What is of another shape stays as it is. For programs that read such spans from elsewhere.

use beluga_o11y::Json;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What was sent: the system's instructions and the messages, each as the text of a field; `None` if neither is there.
pub fn input(system: Option<&str>, messages: Option<&str>) -> Option<Json> {
    let list = messages.and_then(read);
    // rig's agents have the instructions in both places.
    let has_system =
        matches!(&list, Some(Value::Array(list)) if list.first().is_some_and(is_system));
    let Some(system_text) = system.filter(|_| !has_system) else {
        let text = messages?;
        return Some(match list {
            Some(Value::Array(list)) => kept(&converted(list), text),
            _ => as_it_is(text),
        });
    };
    let mut all = vec![json!({"role": "system", "content": instructions(system_text)})];
    match (list, messages) {
        (Some(Value::Array(list)), _) => all.extend(converted(list)),
        (Some(content), _) => all.push(json!({"role": "user", "content": content})),
        (None, Some(text)) => all.push(json!({"role": "user", "content": text})),
        (None, None) => {}
    }
    // Too deep to be kept as JSON: both as the text that they came in.
    Some(Json::try_new(&all).unwrap_or_else(|_| {
        let user = messages.map(|text| json!({"role": "user", "content": text}));
        let system = json!({"role": "system", "content": system_text});
        Json::new(&Vec::from_iter([Some(system), user].into_iter().flatten()))
    }))
}

/// What the model answered, text if it is only that, else the message, or several; and why it stopped, as its messages say it.
pub fn output(text: &str) -> (Json, Vec<String>) {
    let Some(Value::Array(messages)) = read(text) else {
        return (as_it_is(text), Vec::new());
    };
    let reasons = messages.iter().filter_map(|message| {
        let reason = message.get("finish_reason")?.as_str()?;
        // So rig says for all but tool calls.
        (reason != "unknown").then(|| reason.to_owned())
    });
    let reasons = reasons.collect();
    let messages = converted(messages);
    let [Value::Object(message)] = messages.as_slice() else {
        return (kept(&messages, text), reasons);
    };
    let is_text = message.keys().all(|key| key == "role" || key == "content");
    let answer = match message.get("content").filter(|_| is_text) {
        Some(Value::String(content)) => content.as_str().into(),
        _ => kept(message, text),
    };
    (answer, reasons)
}

/// JSON as JSON, and anything else as text.
pub(crate) fn as_it_is(text: &str) -> Json {
    match text.trim_start().as_bytes().first() {
        // A text that is a number or a word is meant as text.
        Some(b'{' | b'[' | b'"') => Json::parse(text).unwrap_or_else(|_| Json::new(text)),
        _ => Json::new(text),
    }
}

/// Content that is too deep to be kept as JSON, which would cost the whole call, is kept as the text that it came in.
fn kept(value: &(impl Serialize + ?Sized), text: &str) -> Json {
    Json::try_new(value).unwrap_or_else(|_| Json::new(text))
}

/// serde_json gives up at a depth of 128; such content stays text.
fn read(text: &str) -> Option<Value> {
    // Half a character, as a text has it that was cut, is mended by `Json`.
    let read = serde_json::from_str(text).ok();
    read.or_else(|| Json::parse(text).ok()?.read().ok())
}

fn is_system(message: &Value) -> bool {
    let role = message.get("role").and_then(Value::as_str);
    matches!(role, Some("system" | "developer"))
}

/// A text, or a list of `{"type": "text", "content": ".."}`.
fn instructions(text: &str) -> Value {
    match read(text) {
        Some(Value::Array(parts)) => content(parts.into_iter().map(part).collect()),
        Some(Value::String(text)) => Value::String(text),
        _ => Value::from(text),
    }
}

fn converted(messages: Vec<Value>) -> Vec<Value> {
    messages.into_iter().flat_map(message).collect()
}

/// One message may become several: each answer of a tool is one of its own.
fn message(value: Value) -> Vec<Value> {
    let Value::Object(mut fields) = value else {
        return vec![value];
    };
    let parts = match fields.remove("parts") {
        Some(Value::Array(parts)) => parts,
        other => {
            fields.extend(other.map(|parts| ("parts".into(), parts)));
            return vec![Value::Object(fields)];
        }
    };
    fields.remove("finish_reason");
    // OpenTelemetry's own instrumentations for Python have names that are null.
    fields.retain(|_, value| !value.is_null());
    let (mut messages, mut contents, mut calls, mut thoughts) = (vec![], vec![], vec![], vec![]);
    for value in parts {
        match value.get("type").and_then(Value::as_str) {
            Some("tool_call") => calls.push(tool_call(&value)),
            Some("tool_call_response") => messages.push(tool_answer(value)),
            Some("reasoning") => match value.get("content").and_then(Value::as_str) {
                Some(thought) => thoughts.push(thought.to_owned()),
                None => contents.push(value),
            },
            _ => contents.push(part(value)),
        }
    }
    if messages.is_empty() || !(contents.is_empty() && calls.is_empty() && thoughts.is_empty()) {
        if !contents.is_empty() || calls.is_empty() {
            fields.insert("content".into(), content(contents));
        }
        if !thoughts.is_empty() {
            fields.insert("reasoning_content".into(), thoughts.join("\n").into());
        }
        if !calls.is_empty() {
            fields.insert("tool_calls".into(), calls.into());
        }
        messages.push(Value::Object(fields));
    }
    messages
}

/// One text is a text.
fn content(parts: Vec<Value>) -> Value {
    match parts.as_slice() {
        [] => Value::from(""),
        [only] if only["type"] == "text" && only["text"].is_string() => only["text"].clone(),
        _ => Value::Array(parts),
    }
}

fn part(value: Value) -> Value {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    let is_image = text("modality") == Some("image")
        || text("mime_type").is_some_and(|mime| mime.starts_with("image/"));
    let url = match (kind, text("content"), text("uri")) {
        ("text", Some(content), _) => return json!({"type": "text", "text": content}),
        ("uri", _, Some(uri)) if is_image => uri.to_owned(),
        ("blob", Some(data), _) if is_image => {
            format!(
                "data:{};base64,{data}",
                text("mime_type").unwrap_or("image/*")
            )
        }
        _ => return value,
    };
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn tool_call(part: &Value) -> Value {
    let arguments = match part.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(arguments) => arguments.to_string(),
        None => String::new(),
    };
    let mut call = Map::new();
    if let Some(id) = part.get("id").filter(|id| !id.is_null()) {
        call.insert("id".into(), id.clone());
    }
    call.insert("type".into(), "function".into());
    let name = part.get("name").cloned().unwrap_or_default();
    call.insert(
        "function".into(),
        json!({"name": name, "arguments": arguments}),
    );
    Value::Object(call)
}

/// rig calls it `response`, genai `result`.
fn tool_answer(part: Value) -> Value {
    let answer = ["response", "result", "content"]
        .iter()
        .find_map(|name| part.get(*name).filter(|answer| !answer.is_null()));
    let content = match answer {
        Some(Value::String(text)) => text.clone(),
        Some(answer) => answer.to_string(),
        None => String::new(),
    };
    let mut message = Map::new();
    message.insert("role".into(), "tool".into());
    if let Some(id) = part.get("id").filter(|id| !id.is_null()) {
        message.insert("tool_call_id".into(), id.clone());
    }
    message.insert("content".into(), content.into());
    Value::Object(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(system: Option<&str>, messages: Option<&Value>) -> Value {
        let messages = messages.map(Value::to_string);
        input(system, messages.as_deref()).unwrap().read().unwrap()
    }

    fn answered(message: &Value) -> Value {
        output(&message.to_string()).0.read().unwrap()
    }

    #[test]
    fn text_and_system() {
        let messages = json!([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]);
        let user = json!({"role": "user", "content": "hi"});
        assert_eq!(sent(None, Some(&messages)), json!([user]));
        let system = r#"[{"type":"text","content":"Be brief."}]"#;
        let both = json!([{"role": "system", "content": "Be brief."}, user]);
        assert_eq!(sent(Some(system), Some(&messages)), both);
        assert_eq!(sent(Some("Be brief."), Some(&messages)), both);
        assert_eq!(sent(Some(system), None), json!([both[0]]));
        assert_eq!(
            sent(Some("Be brief."), Some(&both)),
            both,
            "rig has it twice"
        );
        assert_eq!(input(None, None), None);
    }

    #[test]
    fn tools_images_and_thoughts() {
        let messages = json!([
            {"role": "user", "parts": [
                {"type": "text", "content": "what is it?"},
                {"type": "uri", "modality": "image", "uri": "https://example.org/a.png"},
                {"type": "blob", "mime_type": "image/png", "modality": "image", "content": "AA=="},
                {"type": "file", "modality": "document", "file_id": "f"},
            ]},
            {"role": "assistant", "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "c", "name": "look", "arguments": {"at": 1}},
            ]},
            {"role": "user", "parts": [
                {"type": "tool_call_response", "id": "c", "response": {"seen": true}},
                {"type": "tool_call_response", "id": "d", "result": "a cat"},
                {"type": "text", "content": "go on"},
            ]},
        ]);
        let expected = json!([
            {"role": "user", "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "file", "modality": "document", "file_id": "f"},
            ]},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "{\"seen\":true}"},
            {"role": "tool", "tool_call_id": "d", "content": "a cat"},
            {"role": "user", "content": "go on"},
        ]);
        assert_eq!(sent(None, Some(&messages)), expected);
    }

    #[test]
    fn answers() {
        let text = json!({"type": "text", "content": "Paris"});
        let one =
            |parts: Value| json!([{"role": "assistant", "parts": parts, "finish_reason": "stop"}]);
        assert_eq!(answered(&one(json!([text]))), json!("Paris"));
        let call = json!({"type": "tool_call", "name": "look", "arguments": "{}"});
        assert_eq!(
            answered(&one(json!([text, call]))),
            json!({"role": "assistant", "content": "Paris", "tool_calls": [
                {"type": "function", "function": {"name": "look", "arguments": "{}"}},
            ]})
        );
        assert_eq!(answered(&one(json!([]))), json!(""));
        let two = json!([one(json!([text]))[0], one(json!([text]))[0]]);
        assert_eq!(answered(&two).as_array().map(Vec::len), Some(2));
        assert_eq!(output(&two.to_string()).1, ["stop", "stop"]);
        assert_eq!(output("Paris").0.as_str(), "\"Paris\"");
        assert_eq!(output("42").0.as_str(), "\"42\"");
    }

    #[test]
    fn other_shapes_stay_as_they_are() {
        let openai =
            json!([{"role": "user", "content": "hi"}, "loose", {"role": "user", "parts": "p"}]);
        assert_eq!(
            sent(None, Some(&openai)),
            json!([{"role": "user", "content": "hi"}, "loose", {"role": "user", "parts": "p"}])
        );
        for text in ["{\"contents\": []}", "[1", "not JSON", ""] {
            let kept = input(None, Some(text)).unwrap();
            let expected = Json::parse(text).unwrap_or_else(|_| Json::new(text));
            assert_eq!(kept, expected, "{text}");
        }
        for depth in [101, 120, 200] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(input(None, Some(&deep)).unwrap(), Json::new(&deep));
            assert_eq!(output(&deep).0, Json::new(&deep));
            assert_eq!(input(Some("s"), Some(&deep)).unwrap().error(), None);
        }
    }
}
