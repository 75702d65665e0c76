//! Reading the shapes.

use std::borrow::Cow;

use beluga_o11y::Json;
use serde_json::value::RawValue;

use super::{Conversation, Message, Part};
use crate::raw::{Fields, Node};

const USER: &str = "user";
const ASSISTANT: &str = "assistant";
const TOOL: &str = "tool";
const SYSTEM: &str = "system";

/// The messages of a request: a list of them, a request's body with them in it, or plain text, which is what the
/// user said.
pub(crate) fn input(content: &Json) -> Conversation<'_> {
    let content = content.as_raw();
    let messages = match Node::of(content) {
        Node::Null => Vec::new(),
        Node::Text(text) => vec![Message::of(USER, Part::Text(text))],
        Node::List(items) => turns(items, USER),
        Node::Object(body) => request(content, &body),
        Node::Scalar => vec![Message::of(USER, Part::Other(content))],
    };
    Conversation {
        messages: results_apart(messages),
    }
}

/// The messages of an answer: plain text, a message, a list of messages or of parts of one, or the body of an answer. Each
/// has a reason why the model stopped, since Phoenix drops messages without one.
pub(crate) fn output(content: &Json, failed: bool) -> Conversation<'_> {
    let content = content.as_raw();
    let messages = match Node::of(content) {
        Node::Null => Vec::new(),
        Node::Text(text) => vec![Message::of(ASSISTANT, Part::Text(text))],
        Node::List(items) => turns(items, ASSISTANT),
        Node::Object(body) => answer(content, &body),
        Node::Scalar => vec![Message::of(ASSISTANT, Part::Other(content))],
    };
    let mut messages = results_apart(messages);
    for message in &mut messages {
        let calls_tools = message
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolCall { .. }));
        message.finish_reason = Some(match message.finish_reason.take() {
            Some(reason) => known_reason(reason),
            None if failed => "error".into(),
            None if calls_tools => "tool_call".into(),
            None => "stop".into(),
        });
    }
    Conversation { messages }
}

/// `FinishReason` of the GenAI conventions, from the providers' words.
fn known_reason(reason: Cow<'_, str>) -> Cow<'_, str> {
    Cow::Borrowed(match reason.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "stop_sequence" | "completed" | "complete" => "stop",
        "length" | "max_tokens" | "max_output_tokens" | "model_length" | "incomplete" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_call",
        "content_filter"
        | "content_filtered"
        | "guardrail_intervened"
        | "refusal"
        | "safety"
        | "recitation"
        | "blocklist"
        | "prohibited_content"
        | "spii" => "content_filter",
        "error" | "failed" | "malformed_function_call" => "error",
        other => return Cow::Owned(other.to_owned()),
    })
}

/// A request's body: `messages` (OpenAI, Anthropic, Bedrock), `input` (OpenAI's responses), `contents` (Gemini) or `prompt`,
/// and the system prompt beside them; or a single message.
fn request<'a>(raw: &'a RawValue, body: &Fields<'a>) -> Vec<Message<'a>> {
    if is_message(body) {
        return turns(vec![raw], USER);
    }
    let system = body.first(&[
        "system",
        "instructions",
        "systemInstruction",
        "system_instruction",
    ]);
    let system = system
        .map(|content| Message::with_parts(SYSTEM, parts_of(content)))
        .filter(|system| !system.parts.is_empty());
    let messages = match body.first(&["messages", "contents", "input", "prompt"]) {
        Some(messages) => match Node::of(messages) {
            Node::List(items) => turns(items, USER),
            _ => turns(vec![messages], USER),
        },
        None if system.is_some() => Vec::new(),
        None => turns(vec![raw], USER),
    };
    system.into_iter().chain(messages).collect()
}

/// An answer's body: `choices` (OpenAI), `candidates` (Gemini), `output` (OpenAI's responses, Bedrock), `message` (Ollama,
/// Cohere), or a message itself.
fn answer<'a>(raw: &'a RawValue, body: &Fields<'a>) -> Vec<Message<'a>> {
    let choices = body.list("choices").or_else(|| body.list("candidates"));
    if let Some(choices) = choices.filter(|choices| !choices.is_empty()) {
        return choices.into_iter().map(choice).collect();
    }
    if is_message(body) {
        return turns(vec![raw], ASSISTANT);
    }
    let inner = match body.get("output").map(|output| (output, Node::of(output))) {
        Some((_, Node::List(items))) => turns(items, ASSISTANT),
        Some((output, Node::Object(fields))) => {
            turns(vec![fields.get("message").unwrap_or(output)], ASSISTANT)
        }
        Some((output, _)) => turns(vec![output], ASSISTANT),
        None => match body.get("message") {
            Some(message) => turns(vec![message], ASSISTANT),
            None => turns(vec![raw], ASSISTANT),
        },
    };
    let mut messages = inner;
    if let Some(last) = messages.last_mut()
        && last.finish_reason.is_none()
    {
        last.finish_reason = finish_reason(body).or_else(|| incomplete(body));
    }
    messages
}

/// OpenAI's responses say only then why the model stopped.
fn incomplete<'a>(body: &Fields<'a>) -> Option<Cow<'a, str>> {
    let status = body.text("status");
    let status = status.filter(|status| matches!(&**status, "incomplete" | "failed"))?;
    let details = body.object("incomplete_details");
    Some(
        details
            .and_then(|details| details.text("reason"))
            .unwrap_or(status),
    )
}

fn choice(raw: &RawValue) -> Message<'_> {
    let Some(choice) = Fields::of(raw) else {
        return Message::with_parts(ASSISTANT, parts_of(raw));
    };
    let reason = finish_reason(&choice);
    let inner = choice.first(&["message", "content", "delta", "text"]);
    let message = match inner {
        Some(inner) => turns(vec![inner], ASSISTANT).into_iter().next(),
        // A filter may leave nothing but its reason.
        None if reason.is_some() => None,
        None => Some(Message::of(ASSISTANT, Part::Other(raw))),
    };
    let mut message = message.unwrap_or_else(|| Message::with_parts(ASSISTANT, Vec::new()));
    message.finish_reason = reason.or(message.finish_reason);
    message
}

fn finish_reason<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    fields.first_text(&[
        "finish_reason",
        "stop_reason",
        "finishReason",
        "stopReason",
        "done_reason",
    ])
}

/// A list that is messages, or the parts of one message, or both in turn, as OpenAI's responses have it. `role` is for
/// what has none.
fn turns<'a>(items: Vec<&'a RawValue>, role: &'static str) -> Vec<Message<'a>> {
    let mut messages: Vec<Message<'a>> = Vec::new();
    for item in items {
        let fields = Fields::of(item);
        if let Some(fields) = fields.as_ref().filter(|fields| is_message(fields)) {
            messages.push(message(item, fields, role));
            continue;
        }
        let kind = fields.as_ref().and_then(|fields| fields.text("type"));
        let role = role_of_item(kind.as_deref(), role);
        let Some(part) = part(item) else {
            continue;
        };
        match messages.last_mut() {
            Some(last) if last.role == role => last.parts.push(part),
            _ => messages.push(Message::of(role, part)),
        }
    }
    messages
}

/// Whether an object is a message rather than a part of one.
fn is_message(fields: &Fields<'_>) -> bool {
    let has_content = ["content", "parts", "tool_calls"]
        .iter()
        .any(|key| fields.has(key));
    match fields.text("type") {
        _ if fields.text("role").is_some() => true,
        Some(kind) => has_content && (kind == "message" || role_of_type(&kind).is_some()),
        None => has_content,
    }
}

/// LangChain's messages have a type for a role.
fn role_of_type(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "human" => USER,
        "ai" => ASSISTANT,
        "system" => SYSTEM,
        "tool" => TOOL,
        _ => return None,
    })
}

fn role_of_item(kind: Option<&str>, role: &'static str) -> &'static str {
    match kind {
        Some("reasoning" | "thinking" | "tool_use" | "tool_call") => ASSISTANT,
        Some("tool_result" | "tool_call_response") => TOOL,
        Some(kind) if kind.ends_with("_call_output") => TOOL,
        Some(kind) if kind.ends_with("_call") => ASSISTANT,
        _ => role,
    }
}

fn message<'a>(raw: &'a RawValue, fields: &Fields<'a>, role: &'static str) -> Message<'a> {
    let role = match (fields.text("role"), fields.text("type")) {
        // Gemini's word.
        (Some(role), _) if role == "model" => ASSISTANT.into(),
        (Some(role), _) => role,
        (None, Some(kind)) => role_of_type(&kind).unwrap_or(role).into(),
        (None, None) => role.into(),
    };
    let mut parts = Vec::new();
    let reasoning = fields.first_text(&["reasoning_content", "reasoning", "thinking"]);
    parts.extend(reasoning.map(Part::Reasoning));
    match (content(fields), fields.text("tool_call_id")) {
        (result, Some(id)) => parts.push(Part::ToolResult {
            id: Some(id),
            result,
        }),
        (Some(content), None) => parts.extend(parts_of(content)),
        (None, None) => {}
    }
    let audio = fields.object("audio");
    let transcript = audio.and_then(|audio| audio.text("transcript"));
    let refusal = fields.text("refusal");
    parts.extend(refusal.into_iter().chain(transcript).map(Part::Text));
    let calls = fields.list("tool_calls").unwrap_or_default();
    let calls = calls.into_iter().chain(fields.get("function_call"));
    parts.extend(calls.map(tool_call));
    let known = ["content", "parts", "tool_calls", "function_call"];
    if parts.is_empty() && !known.iter().any(|key| fields.has(key)) {
        parts.push(Part::Other(raw));
    }
    Message {
        role,
        name: fields.text("name"),
        parts,
        finish_reason: finish_reason(fields),
    }
}

/// A message's content, under any of its names. Where there are parts too, an empty text stands for nothing.
fn content<'a>(fields: &Fields<'a>) -> Option<&'a RawValue> {
    let parts = fields.get("parts");
    let content = fields.get("content");
    let content = content.filter(|content| parts.is_none() || content.get() != "\"\"");
    content
        .or(parts)
        .or_else(|| fields.first(&["text", "message"]))
}

fn parts_of(content: &RawValue) -> Vec<Part<'_>> {
    match Node::of(content) {
        Node::Null => Vec::new(),
        Node::Text(text) => vec![Part::Text(text)],
        Node::List(items) => items.into_iter().filter_map(part).collect(),
        // Gemini's content around its parts.
        Node::Object(fields) => match fields.list("parts") {
            Some(items) => items.into_iter().filter_map(part).collect(),
            None => part(content).into_iter().collect(),
        },
        Node::Scalar => vec![Part::Other(content)],
    }
}

/// One part of a message.
fn part(raw: &RawValue) -> Option<Part<'_>> {
    let fields = match Node::of(raw) {
        Node::Null => return None,
        Node::Text(text) => return Some(Part::Text(text)),
        Node::Object(fields) => fields,
        Node::List(_) | Node::Scalar => return Some(Part::Other(raw)),
    };
    let kind = fields.text("type").unwrap_or_default();
    let known = match &*kind {
        "text" | "input_text" | "output_text" | "summary_text" | "refusal" => fields
            .first_text(&["text", "content", "refusal"])
            .map(Part::Text),
        "thinking" | "reasoning" | "reasoning_text" => reasoning(&fields).map(Part::Reasoning),
        "image_url" | "input_image" | "image" | "uri" | "blob" => image(&fields).map(Part::Image),
        "tool_use" | "server_tool_use" | "tool_call" | "tool-call" | "toolcall"
        | "function_call" | "custom_tool_call" | "function" => Some(tool_call(raw)),
        "tool_result"
        | "tool_call_response"
        | "tool-result"
        | "toolresult"
        | "function_call_output"
        | "custom_tool_call_output" => Some(tool_result(&fields)),
        _ => untyped(&fields),
    };
    Some(known.unwrap_or(Part::Other(raw)))
}

/// Gemini's, Bedrock's and rig's parts, which are told by their keys.
fn untyped<'a>(fields: &Fields<'a>) -> Option<Part<'a>> {
    if let Some(text) = fields.text("text") {
        let is_thought = fields.get("thought").is_some_and(|it| it.get() == "true");
        return Some(match is_thought {
            true => Part::Reasoning(text),
            false => Part::Text(text),
        });
    }
    let object = |keys: [&str; 2]| keys.iter().find_map(|key| fields.object(key));
    if let Some(call) = fields.first(&["functionCall", "function_call", "toolUse"]) {
        return Some(tool_call(call));
    }
    if let Some(call) = fields.object("function") {
        return tool_call_of(&[fields, &call]);
    }
    if let Some(result) = object(["functionResponse", "function_response"])
        .or_else(|| object(["toolResult", "tool_result"]))
    {
        return Some(tool_result(&result));
    }
    if let Some(thought) = fields.object("reasoningContent") {
        let text = thought.object("reasoningText")?.text("text")?;
        return Some(Part::Reasoning(text));
    }
    if let Some(image) = fields.object("image") {
        let data = image.object("source")?.text("bytes")?;
        let format = image.text("format")?;
        return Some(Part::Image(
            format!("data:image/{format};base64,{data}").into(),
        ));
    }
    let data =
        object(["inlineData", "inline_data"]).or_else(|| object(["fileData", "file_data"]))?;
    let mime_type = data.first_text(&["mimeType", "mime_type"])?;
    if !mime_type.starts_with("image/") {
        return None;
    }
    let url = match data.first_text(&["fileUri", "file_uri"]) {
        Some(url) => url,
        None => format!("data:{mime_type};base64,{}", data.text("data")?).into(),
    };
    Some(Part::Image(url))
}

/// OpenAI's, Anthropic's, Gemini's, Bedrock's and the conventions' own.
fn tool_call(raw: &RawValue) -> Part<'_> {
    let call = Fields::of(raw).and_then(|call| match call.object("function") {
        Some(function) => tool_call_of(&[&call, &function]),
        None => tool_call_of(&[&call]),
    });
    call.unwrap_or(Part::Other(raw))
}

fn tool_call_of<'a>(objects: &[&Fields<'a>]) -> Option<Part<'a>> {
    let text = |keys: &[&str]| objects.iter().rev().find_map(|it| it.first_text(keys));
    Some(Part::ToolCall {
        id: text(&["call_id", "id", "toolUseId", "toolCallId"]),
        name: text(&["name", "toolName"])?,
        arguments: objects
            .iter()
            .rev()
            .find_map(|it| it.first(&["arguments", "input", "args"])),
    })
}

fn tool_result<'a>(fields: &Fields<'a>) -> Part<'a> {
    Part::ToolResult {
        id: fields.first_text(&[
            "tool_use_id",
            "call_id",
            "toolUseId",
            "toolCallId",
            "id",
            "name",
        ]),
        result: fields.first(&["content", "response", "result", "output"]),
    }
}

fn reasoning<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    if let Some(text) = fields.first_text(&["thinking", "reasoning", "content", "text"]) {
        return Some(text);
    }
    let texts: Vec<_> = ["summary", "content"]
        .iter()
        .flat_map(|key| fields.list(key).unwrap_or_default())
        .filter_map(|item| Fields::of(item)?.text("text"))
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n").into())
}

/// The image's URL; what is inline becomes a `data:` URL.
fn image<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    let is = |key: &str, wanted: &str| fields.text(key).is_none_or(|it| it.starts_with(wanted));
    if !is("modality", "image") || !is("mime_type", "image/") {
        return None;
    }
    if let Some(url) = fields.first_text(&["image_url", "url", "uri"]) {
        return Some(url);
    }
    if let Some(image) = fields.object("image_url") {
        return image.text("url");
    }
    if let Some(source) = fields.object("source") {
        return source
            .text("url")
            .or_else(|| data_url(&source, "media_type", "data"));
    }
    data_url(fields, "mime_type", "content")
}

fn data_url<'a>(fields: &Fields<'_>, mime_type: &str, data: &str) -> Option<Cow<'a, str>> {
    let (mime_type, data) = (fields.text(mime_type)?, fields.text(data)?);
    Some(format!("data:{mime_type};base64,{data}").into())
}

/// Each result of a tool becomes a message of its own, with the role `tool`, since a message of OpenInference has room for
/// one. (Anthropic, Gemini and Bedrock put those of parallel calls into one message of the user.)
fn results_apart(messages: Vec<Message<'_>>) -> Vec<Message<'_>> {
    let is_result = |part: &Part<'_>| matches!(part, Part::ToolResult { .. });
    let mut apart = Vec::with_capacity(messages.len());
    for message in messages {
        if !message.parts.iter().any(is_result) {
            apart.push(message);
            continue;
        }
        let Message {
            role,
            name,
            parts,
            finish_reason,
        } = message;
        let mut pending = Vec::new();
        for part in parts {
            if !is_result(&part) {
                pending.push(part);
                continue;
            }
            if !pending.is_empty() {
                let before = std::mem::take(&mut pending);
                apart.push(Message::with_parts(role.clone(), before));
            }
            let mut result = Message::of(TOOL, part);
            result.name.clone_from(&name);
            apart.push(result);
        }
        if !pending.is_empty() {
            apart.push(Message::with_parts(role, pending));
        }
        if let Some(last) = apart.last_mut() {
            last.finish_reason = finish_reason;
        }
    }
    apart
}

impl<'a> Message<'a> {
    fn of(role: impl Into<Cow<'a, str>>, part: Part<'a>) -> Self {
        Self::with_parts(role, vec![part])
    }

    fn with_parts(role: impl Into<Cow<'a, str>>, parts: Vec<Part<'a>>) -> Self {
        Self {
            role: role.into(),
            parts,
            ..Self::default()
        }
    }
}
