//! Messages in the shapes that the APIs of providers have, turned into those of both conventions.
//!
//! Read are the shapes of OpenAI (chat and responses), Anthropic, Gemini and Bedrock, and those of the GenAI
//! conventions themselves. What is in none of them still arrives: as it is in `input.value` and `output.value`, and as
//! JSON in the text of a message.

mod parse;

use std::borrow::Cow;

use beluga_o11y::Json;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::value::RawValue;

use crate::{
    Attributes,
    raw::{Fields, Node, text},
};

pub(crate) use parse::{input, output};

/// Messages in one form.
#[derive(Debug, Default)]
pub(crate) struct Conversation<'a> {
    pub(crate) messages: Vec<Message<'a>>,
}

#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) role: Cow<'a, str>,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) parts: Vec<Part<'a>>,
    /// Why the model stopped, of messages that it wrote.
    pub(crate) finish_reason: Option<Cow<'a, str>>,
}

#[derive(Debug)]
pub(crate) enum Part<'a> {
    Text(Cow<'a, str>),
    Reasoning(Cow<'a, str>),
    /// By its URL, which may be a `data:` URL.
    Image(Cow<'a, str>),
    ToolCall {
        id: Option<Cow<'a, str>>,
        name: Cow<'a, str>,
        /// OpenAI has them as JSON in a text.
        arguments: Option<&'a RawValue>,
    },
    /// The only part of its message.
    ToolResult {
        id: Option<Cow<'a, str>>,
        result: Option<&'a RawValue>,
    },
    /// Anything else, as it was.
    Other(&'a RawValue),
}

/// `<side>.value` and `<side>.mime_type`: the content as it is, and whether it is text or JSON.
pub(crate) fn value(side: &str, content: &Json, out: &mut Attributes) {
    let (value, mime_type) = match text(content.as_raw()) {
        Some(text) => (text.into_owned(), "text/plain"),
        None => (content.as_str().to_owned(), "application/json"),
    };
    out.content(format!("{side}.value"), value);
    out.text(format!("{side}.mime_type"), mime_type);
}

/// `llm.input_messages.N.message.*` (OpenInference, `semantic_conventions.md`).
pub(crate) fn open_inference(
    prefix: &str,
    conversation: Option<&Conversation<'_>>,
    out: &mut Attributes,
) {
    let messages = conversation.map_or(&[][..], |conversation| &conversation.messages);
    for (index, message) in messages.iter().enumerate() {
        message.open_inference(&format!("{prefix}.{index}.message"), out);
    }
}

/// `gen_ai.input.messages` and `gen_ai.system_instructions`, JSON as text.
pub(crate) fn gen_ai_input(conversation: &Conversation<'_>, out: &mut Attributes) {
    let (system, messages): (Vec<_>, Vec<_>) = conversation
        .messages
        .iter()
        .partition(|message| message.is_system());
    let instructions: Vec<_> = system.iter().flat_map(|message| &message.parts).collect();
    if !instructions.is_empty() {
        out.json("gen_ai.system_instructions", &instructions);
    }
    if !messages.is_empty() {
        out.json("gen_ai.input.messages", &messages);
    }
}

/// `gen_ai.output.messages`, JSON as text, and `gen_ai.response.finish_reasons`.
pub(crate) fn gen_ai_output(conversation: &Conversation<'_>, out: &mut Attributes) {
    if conversation.messages.is_empty() {
        return;
    }
    out.json("gen_ai.output.messages", &conversation.messages);
    let reasons = conversation.messages.iter();
    let reasons: Vec<_> = reasons.filter_map(|m| m.finish_reason.as_deref()).collect();
    out.texts("gen_ai.response.finish_reasons", &reasons);
}

impl<'a> Message<'a> {
    fn is_system(&self) -> bool {
        matches!(&*self.role, "system" | "developer")
    }

    fn open_inference(&self, prefix: &str, out: &mut Attributes) {
        out.text(format!("{prefix}.role"), &*self.role);
        out.text_if(format!("{prefix}.name"), self.name.as_deref());
        let mut calls = 0;
        let mut contents = Vec::new();
        for part in &self.parts {
            match part {
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                } => {
                    let prefix = format!("{prefix}.tool_calls.{calls}.tool_call");
                    calls += 1;
                    out.text_if(format!("{prefix}.id"), id.as_deref());
                    out.text(format!("{prefix}.function.name"), &**name);
                    if let Some(arguments) = arguments {
                        let arguments = text_or_json(arguments);
                        out.content(format!("{prefix}.function.arguments"), arguments);
                    }
                }
                Part::ToolResult { id, result } => {
                    out.text_if(format!("{prefix}.tool_call_id"), id.as_deref());
                    contents.extend(result.map(|result| ("text", result_text(result))));
                }
                Part::Text(text) => contents.push(("text", Cow::Borrowed(&**text))),
                Part::Reasoning(text) => contents.push(("reasoning", Cow::Borrowed(&**text))),
                Part::Image(url) => contents.push(("image", Cow::Borrowed(&**url))),
                Part::Other(value) => contents.push(("text", text_or_json(value))),
            }
        }
        if let [("text", text)] = contents.as_slice() {
            out.content(format!("{prefix}.content"), &**text);
            return;
        }
        for (index, (kind, content)) in contents.into_iter().enumerate() {
            let prefix = format!("{prefix}.contents.{index}.message_content");
            out.text(format!("{prefix}.type"), kind);
            let field = match kind {
                "image" => "image.image.url",
                _ => "text",
            };
            out.content(format!("{prefix}.{field}"), content);
        }
    }
}

/// As the GenAI conventions have it (`gen-ai-input-messages.json`, `gen-ai-output-messages.json`).
impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &self.role)?;
        map.serialize_entry("parts", &self.parts)?;
        for (key, value) in [("name", &self.name), ("finish_reason", &self.finish_reason)] {
            if let Some(value) = value {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// As the GenAI conventions have it.
impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => content("text", text, serializer),
            Self::Reasoning(text) => content("reasoning", text, serializer),
            Self::Image(url) => image(url, serializer),
            Self::ToolCall {
                id,
                name,
                arguments,
            } => {
                let mut part = serializer.serialize_struct("Part", 4)?;
                part.serialize_field("type", "tool_call")?;
                part.serialize_field("id", id)?;
                part.serialize_field("name", name)?;
                part.serialize_field("arguments", &arguments.map(Arguments))?;
                part.end()
            }
            Self::ToolResult { id, result } => {
                let mut part = serializer.serialize_struct("Part", 3)?;
                part.serialize_field("type", "tool_call_response")?;
                part.serialize_field("id", id)?;
                part.serialize_field("response", result)?;
                part.end()
            }
            Self::Other(value) if is_part(value) => value.serialize(serializer),
            Self::Other(value) => content("text", &text_or_json(value), serializer),
        }
    }
}

fn content<S: Serializer>(kind: &str, content: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut part = serializer.serialize_struct("Part", 2)?;
    part.serialize_field("type", kind)?;
    part.serialize_field("content", content)?;
    part.end()
}

/// `blob` for what is in the URL itself, else `uri`.
fn image<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let inline = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    let mut part = serializer.serialize_struct("Part", 4)?;
    part.serialize_field("type", if inline.is_some() { "blob" } else { "uri" })?;
    part.serialize_field("modality", "image")?;
    match inline {
        Some((mime_type, data)) => {
            part.serialize_field("mime_type", mime_type)?;
            part.serialize_field("content", data)?;
        }
        None => part.serialize_field("uri", url)?,
    }
    part.end()
}

/// Whether the conventions allow it for a part as it is: of a type of its own, or whole. Phoenix drops all messages for one
/// part that is not.
fn is_part(value: &RawValue) -> bool {
    let Some(fields) = Fields::of(value) else {
        return false;
    };
    let has = |field: &str| fields.text(field).is_some();
    match fields.text("type").as_deref() {
        None | Some("text" | "reasoning" | "tool_call" | "tool_call_response") => false,
        Some("server_tool_call" | "server_tool_call_response") => false,
        Some("blob") => has("modality") && has("content"),
        Some("uri") => has("modality") && has("uri"),
        Some("file") => has("modality") && has("file_id"),
        Some(_) => true,
    }
}

/// The arguments of a tool call, as JSON also where they are JSON in a text.
struct Arguments<'a>(&'a RawValue);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match text(self.0).and_then(|json| Json::parse(json).ok()) {
            Some(json) => json.serialize(serializer),
            None => self.0.serialize(serializer),
        }
    }
}

/// Text as it is, anything else as JSON.
fn text_or_json(value: &RawValue) -> Cow<'_, str> {
    text(value).unwrap_or(Cow::Borrowed(value.get()))
}

/// What a tool gave back: text as it is, also in parts, anything else as JSON.
fn result_text(result: &RawValue) -> Cow<'_, str> {
    let Node::List(items) = Node::of(result) else {
        return text_or_json(result);
    };
    let texts: Option<Vec<_>> = items.iter().map(|item| only_text(item)).collect();
    match texts {
        Some(texts) if !texts.is_empty() => Cow::Owned(texts.join("\n")),
        _ => Cow::Borrowed(result.get()),
    }
}

fn only_text(part: &RawValue) -> Option<Cow<'_, str>> {
    let fields = Fields::of(part)?;
    let kind = fields.text("type");
    matches!(
        kind.as_deref(),
        None | Some("text" | "input_text" | "output_text")
    )
    .then(|| fields.text("text"))?
}

#[cfg(test)]
mod tests;
