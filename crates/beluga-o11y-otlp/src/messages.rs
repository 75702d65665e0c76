//! Messages in the shapes that the APIs of providers have, turned into those of both conventions.
//!
//! Read are the shapes of OpenAI (chat and responses), Anthropic, Gemini and Bedrock, and those of the GenAI
//! conventions themselves. What is in none of them still arrives as `input.value` and `output.value`, which hold the
//! content as it is.

mod parse;

use beluga_o11y::Json;
use serde_json::{Value, json};

use crate::Attributes;

pub(crate) use parse::{input, output};

/// Messages in one form.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// Empty if the message has none.
    pub(crate) role: String,
    pub(crate) name: Option<String>,
    pub(crate) parts: Vec<Part>,
    /// Why the model stopped, of messages that it wrote.
    pub(crate) finish_reason: Option<String>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Reasoning(String),
    /// By its URL, which may be a `data:` URL.
    Image(String),
    ToolCall {
        id: Option<String>,
        name: String,
        arguments: Value,
    },
    ToolResult {
        id: Option<String>,
        result: Value,
    },
    /// Anything else, as it was.
    Other(Value),
}

/// `<side>.value` and `<side>.mime_type`: the content as it is, and whether it is text or JSON.
pub(crate) fn value(side: &str, content: &Json, out: &mut Attributes) {
    let (value, mime_type) = match content.read::<String>() {
        Ok(text) => (text, "text/plain"),
        Err(_) => (content.as_str().to_owned(), "application/json"),
    };
    out.content(format!("{side}.value"), value);
    out.text(format!("{side}.mime_type"), mime_type);
}

/// `llm.input_messages.N.message.*` (OpenInference, `semantic_conventions.md`).
pub(crate) fn open_inference(
    prefix: &str,
    conversation: Option<&Conversation>,
    out: &mut Attributes,
) {
    let messages = conversation.map_or(&[][..], |conversation| &conversation.messages);
    for (index, message) in messages.iter().enumerate() {
        message.open_inference(&format!("{prefix}.{index}.message"), out);
    }
}

/// `gen_ai.input.messages` and `gen_ai.system_instructions`, JSON as text.
pub(crate) fn gen_ai_input(conversation: &Conversation, out: &mut Attributes) {
    let (system, messages): (Vec<_>, Vec<_>) = conversation
        .messages
        .iter()
        .partition(|message| message.is_system());
    let instructions: Vec<_> = system
        .iter()
        .flat_map(|message| &message.parts)
        .map(Part::gen_ai)
        .collect();
    if !instructions.is_empty() {
        out.json("gen_ai.system_instructions", &instructions);
    }
    if !messages.is_empty() {
        let messages: Vec<_> = messages.into_iter().map(Message::gen_ai).collect();
        out.json("gen_ai.input.messages", &messages);
    }
}

/// `gen_ai.output.messages`, JSON as text, and `gen_ai.response.finish_reasons`.
pub(crate) fn gen_ai_output(conversation: &Conversation, out: &mut Attributes) {
    if conversation.messages.is_empty() {
        return;
    }
    let messages: Vec<_> = conversation.messages.iter().map(Message::gen_ai).collect();
    out.json("gen_ai.output.messages", &messages);
    let reasons = conversation.messages.iter();
    let reasons: Vec<_> = reasons.filter_map(|m| m.finish_reason.as_deref()).collect();
    out.texts("gen_ai.response.finish_reasons", &reasons);
}

impl Message {
    fn is_system(&self) -> bool {
        matches!(self.role.as_str(), "system" | "developer")
    }

    fn open_inference(&self, prefix: &str, out: &mut Attributes) {
        out.text(format!("{prefix}.role"), self.role.as_str());
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
                    out.text(format!("{prefix}.function.name"), name.as_str());
                    out.content(format!("{prefix}.function.arguments"), text_of(arguments));
                }
                Part::ToolResult { id, result } => {
                    out.text_if(format!("{prefix}.tool_call_id"), id.as_deref());
                    contents.push(("text", text_of(result)));
                }
                Part::Text(text) => contents.push(("text", text.clone())),
                Part::Reasoning(text) => contents.push(("reasoning", text.clone())),
                Part::Image(url) => contents.push(("image", url.clone())),
                Part::Other(value) => contents.push(("text", text_of(value))),
            }
        }
        if let [("text", text)] = contents.as_slice() {
            out.content(format!("{prefix}.content"), text.as_str());
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

    fn gen_ai(&self) -> Value {
        let parts: Vec<_> = self.parts.iter().map(Part::gen_ai).collect();
        let mut message = json!({"role": self.role, "parts": parts});
        if let Some(fields) = message.as_object_mut() {
            if let Some(name) = &self.name {
                fields.insert("name".to_owned(), json!(name));
            }
            if let Some(reason) = &self.finish_reason {
                fields.insert("finish_reason".to_owned(), json!(reason));
            }
        }
        message
    }
}

impl Part {
    fn gen_ai(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "content": text}),
            Self::Reasoning(text) => json!({"type": "reasoning", "content": text}),
            Self::Image(url) => image(url),
            Self::ToolCall {
                id,
                name,
                arguments,
            } => json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments}),
            Self::ToolResult { id, result } => {
                json!({"type": "tool_call_response", "id": id, "response": result})
            }
            Self::Other(value) if value.get("type").is_some_and(Value::is_string) => value.clone(),
            Self::Other(value) => json!({"type": "text", "content": text_of(value)}),
        }
    }
}

/// `blob` for what is in the URL itself, else `uri`.
fn image(url: &str) -> Value {
    let inline = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((mime_type, data)) => {
            json!({"type": "blob", "modality": "image", "mime_type": mime_type, "content": data})
        }
        None => json!({"type": "uri", "modality": "image", "uri": url}),
    }
}

/// Text as it is, anything else as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
