//! What was said, in the shape of OpenAI's chat API, from any of the forms in which spans have it.

use beluga_o11y::Json;
use beluga_o11y_tracing::messages;
use serde_json::{Map, Value, json};

use super::{
    attributes::{Attributes, is_filled, read},
    call::Kind,
    span::Event,
};

/// The event that has the attributes of the content, so that they need not stand on the span.
const DETAILS: &str = "gen_ai.client.inference.operation.details";

#[derive(Default)]
pub(super) struct Content {
    pub(super) messages: Option<Json>,
    pub(super) response: Option<Json>,
    pub(super) finish_reasons: Vec<String>,
}

/// Takes the content out. `whole` spans have it as it was, as ours do, and beside that in forms for others.
pub(super) fn take(span: &mut Attributes, events: &[Event], kind: Kind, whole: bool) -> Content {
    for event in events.iter().filter(|event| event.name == DETAILS) {
        for (name, value) in event.attributes.clone() {
            span.put(&name, value);
        }
    }
    let said = Said::of(events);
    let mut content = Content::default();

    let system = span.content("gen_ai.system_instructions");
    let input = span.content("gen_ai.input.messages");
    let parts = messages::input(system.as_deref(), input.as_deref());
    let indexed = indexed(span, "gen_ai.prompt", "user", &mut Vec::new());
    let plain = span.content("gen_ai.prompt").or(said.prompt);
    let listed = open_inference(span, "llm.input_messages", "user");
    let embedded = embedded(span);
    let asked = value(span, "input");
    content.messages = asked
        .clone()
        .filter(|_| whole)
        .or(parts)
        .or_else(|| list(indexed))
        .or_else(|| list(listed))
        .or_else(|| list(said.messages))
        .or_else(|| list(embedded))
        .or_else(|| messages::input(None, plain.as_deref()))
        .or(asked);

    let mut reasons = Vec::new();
    let output = span.content("gen_ai.output.messages");
    let indexed = indexed_answers(span, &mut reasons);
    let plain = span.content("gen_ai.completion").or(said.completion);
    let listed = open_inference(span, "llm.output_messages", "assistant");
    let answered = value(span, "output");
    let answer = |list: Vec<Value>| Some(list).filter(|list| !list.is_empty()).map(Value::from);
    let answer = output
        .or_else(|| Some(answer(indexed)?.to_string()))
        .or_else(|| Some(answer(listed)?.to_string()))
        .or_else(|| Some(answer(said.choices)?.to_string()))
        .or(plain);
    reasons.extend(said.finish_reasons);
    let (answer, told) = match answer {
        Some(answer) => {
            let (answer, told) = messages::output(&answer);
            (Some(answer), told)
        }
        None => (None, Vec::new()),
    };
    content.finish_reasons = if reasons.is_empty() { told } else { reasons };
    content.response = answered
        .clone()
        .filter(|_| whole)
        .or(answer)
        // Vectors are of no use to anybody who looks at a call.
        .or_else(|| answered.filter(|_| kind != Kind::Embeddings));
    content
}

fn list(messages: Vec<Value>) -> Option<Json> {
    (!messages.is_empty()).then(|| Json::new(&messages))
}

/// `input.value` or `output.value`: JSON, if it says so, else text.
fn value(span: &mut Attributes, side: &str) -> Option<Json> {
    let mime_type = span.text(&[&format!("{side}.mime_type")]);
    let value = span.take(&format!("{side}.value"))?;
    let Value::String(text) = value else {
        return Some(Json::new(&value));
    };
    match mime_type.as_deref() {
        Some("application/json") => {
            Some(Json::parse(text.as_str()).unwrap_or_else(|_| Json::new(&text)))
        }
        _ => Some(Json::new(&text)),
    }
}

/// The parts of a message, whatever the form that they come in.
#[derive(Default)]
struct Message {
    role: String,
    name: Option<String>,
    content: Option<Value>,
    thoughts: Vec<String>,
    calls: Vec<Value>,
    tool_call_id: Option<String>,
}

impl Message {
    fn value(self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), self.role.into());
        let content = self.content.or_else(|| {
            let says_nothing = self.calls.is_empty() && self.thoughts.is_empty();
            says_nothing.then(|| "".into())
        });
        let thoughts = (!self.thoughts.is_empty()).then(|| self.thoughts.join("\n").into());
        let calls = (!self.calls.is_empty()).then(|| self.calls.into());
        for (name, value) in [
            ("name", self.name.map(Value::from)),
            ("content", content),
            ("reasoning_content", thoughts),
            ("tool_calls", calls),
            ("tool_call_id", self.tool_call_id.map(Value::from)),
        ] {
            if let Some(value) = value {
                message.insert(name.into(), value);
            }
        }
        Value::Object(message)
    }
}

fn tool_call(mut call: Attributes) -> Value {
    let name = call.text(&["tool_call.function.name", "name", "function.name"]);
    let arguments = [
        "tool_call.function.arguments",
        "arguments",
        "function.arguments",
    ];
    let arguments = arguments.iter().find_map(|name| call.content(name));
    let mut value = Map::new();
    if let Some(id) = call.text(&["tool_call.id", "id"]) {
        value.insert("id".into(), id.into());
    }
    value.insert("type".into(), "function".into());
    let function = json!({"name": name, "arguments": arguments.unwrap_or_default()});
    value.insert("function".into(), function);
    Value::Object(value)
}

fn tool_calls(message: &mut Attributes, prefix: &str) -> Vec<Value> {
    let calls = message.numbered(prefix);
    calls.into_values().map(tool_call).collect()
}

/// A text, or the parts of a content that had to be made a text.
fn parts(text: String) -> Value {
    let list = match text.trim_start().starts_with('[').then(|| read(&text)) {
        Some(Some(Value::Array(list))) if !list.is_empty() => list,
        _ => return text.into(),
    };
    // Bedrock's parts of text have no type.
    let typed = list.into_iter().map(|part| match &part {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("text") => {
            json!({"type": "text", "text": fields["text"]})
        }
        _ => part,
    });
    let typed: Vec<_> = typed.collect();
    let is_part = |part: &Value| part.is_object() && part.get("type").is_some();
    match typed.as_slice() {
        [only] if only["type"] == "text" && only["text"].is_string() => only["text"].clone(),
        parts if parts.iter().all(is_part) => Value::Array(typed),
        _ => text.into(),
    }
}

/// OpenInference's `llm.input_messages.<number>.message.*`.
fn open_inference(span: &mut Attributes, prefix: &str, role: &str) -> Vec<Value> {
    let messages = span.numbered(prefix).into_values().map(|mut fields| {
        let mut message = Message {
            role: (fields.text(&["message.role"])).unwrap_or_else(|| role.to_owned()),
            name: fields.text(&["message.name"]),
            content: fields.content("message.content").map(Value::from),
            calls: tool_calls(&mut fields, "message.tool_calls"),
            tool_call_id: fields.text(&["message.tool_call_id"]),
            thoughts: Vec::new(),
        };
        let mut contents = Vec::new();
        for mut part in fields.numbered("message.contents").into_values() {
            let kind = part.text(&["message_content.type"]).unwrap_or_default();
            let text = part.content("message_content.text");
            match (kind.as_str(), text) {
                ("reasoning", Some(text)) => message.thoughts.push(text),
                ("tool_use", _) if !message.calls.is_empty() => {}
                ("tool_use", _) => message.calls.push(tool_call(part)),
                (_, Some(text)) => contents.push(json!({"type": "text", "text": text})),
                (_, None) => match part.content("message_content.image.image.url") {
                    Some(url) => {
                        contents.push(json!({"type": "image_url", "image_url": {"url": url}}));
                    }
                    None => {
                        let mut other = Map::from_iter(part.below("message_content."));
                        other.insert("type".into(), kind.into());
                        contents.push(other.into());
                    }
                },
            }
        }
        if message.content.is_none() && !contents.is_empty() {
            message.content = Some(match contents.as_slice() {
                [only] if only["type"] == "text" => only["text"].clone(),
                _ => contents.into(),
            });
        }
        message.value()
    });
    messages.collect()
}

/// OpenInference's `embedding.embeddings.<number>.embedding.text`. The vectors are left out.
fn embedded(span: &mut Attributes) -> Vec<Value> {
    let embeddings = span.numbered("embedding.embeddings").into_values();
    embeddings
        .filter_map(|mut one| one.take("embedding.text"))
        .collect()
}

/// OpenLLMetry's `gen_ai.prompt.<number>.*`. What embeddings are made of has no role.
fn indexed(
    span: &mut Attributes,
    prefix: &str,
    role: &str,
    reasons: &mut Vec<String>,
) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    // A thought is told as a message of its own, before the one that it belongs to.
    let mut thoughts = Vec::new();
    for mut fields in span.numbered(prefix).into_values() {
        let reason = fields.text(&["finish_reason"]);
        let content = fields.content("content").map(parts);
        let calls = tool_calls(&mut fields, "tool_calls");
        let told = fields.text(&["role"]);
        if told.as_deref() == Some("thinking") {
            thoughts.extend(content.and_then(|it| it.as_str().map(str::to_owned)));
            reasons.extend(reason.filter(|reason| !reasons.contains(reason)));
            continue;
        }
        if told.is_none() && role == "user" && calls.is_empty() {
            all.extend(content);
            continue;
        }
        reasons.extend(reason);
        let message = Message {
            role: told.unwrap_or_else(|| role.to_owned()),
            content,
            thoughts: std::mem::take(&mut thoughts),
            calls,
            tool_call_id: fields.text(&["tool_call_id"]),
            name: None,
        };
        all.push(message.value());
    }
    if !thoughts.is_empty() {
        let message = Message {
            role: role.to_owned(),
            thoughts,
            ..Message::default()
        };
        all.push(message.value());
    }
    all
}

fn indexed_answers(span: &mut Attributes, reasons: &mut Vec<String>) -> Vec<Value> {
    indexed(span, "gen_ai.completion", "assistant", reasons)
}

/// What the events of a span say, where it is told by them.
#[derive(Default)]
struct Said {
    messages: Vec<Value>,
    choices: Vec<Value>,
    finish_reasons: Vec<String>,
    prompt: Option<String>,
    completion: Option<String>,
}

impl Said {
    fn of(events: &[Event]) -> Self {
        let mut said = Self::default();
        for event in events {
            let mut fields = event.attributes.clone();
            // Azure's clients have it all in one attribute.
            if let Some(content) = fields.content("gen_ai.event.content")
                && let Some(Value::Object(content)) = read(&content)
            {
                for (name, value) in content {
                    fields.put(&name, value);
                }
            }
            let role = event.name.strip_prefix("gen_ai.");
            match role.and_then(|name| name.strip_suffix(".message")) {
                Some(role @ ("system" | "user" | "assistant" | "tool")) => {
                    said.messages.push(message(fields, role));
                }
                _ if event.name == "gen_ai.choice" => {
                    said.finish_reasons.extend(fields.text(&["finish_reason"]));
                    said.choices.push(choice(fields));
                }
                _ if event.name == "gen_ai.content.prompt" => {
                    said.prompt = said.prompt.or(fields.content("gen_ai.prompt"));
                }
                _ if event.name == "gen_ai.content.completion" => {
                    said.completion = said.completion.or(fields.content("gen_ai.completion"));
                }
                _ => {}
            }
        }
        said
    }
}

fn message(mut fields: Attributes, role: &str) -> Value {
    let content = fields.take("content").map(|content| match content {
        Value::String(text) => parts(text),
        content => content,
    });
    let calls = match fields.take("tool_calls") {
        Some(Value::Array(calls)) => calls,
        Some(Value::String(text)) => match read(&text) {
            Some(Value::Array(calls)) => calls,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let role = fields.text(&["role"]).unwrap_or_else(|| role.to_owned());
    let tool_call_id = fields
        .text(&["id", "tool_call_id"])
        .filter(|_| role == "tool");
    Message {
        role,
        content: content.filter(|content| !content.is_null()),
        calls,
        tool_call_id,
        ..Message::default()
    }
    .value()
}

/// The message of a choice: an object, also as JSON in a text, or its content, or with its fields beside it.
fn choice(mut fields: Attributes) -> Value {
    for (name, value) in fields.below("message.") {
        fields.put(&name, value);
    }
    match fields.take("message") {
        Some(Value::String(text)) => match read(&text) {
            Some(Value::Object(message)) => fill(&mut fields, message),
            _ => fields.put("content", text.into()),
        },
        Some(Value::Object(message)) => fill(&mut fields, message),
        _ => {}
    }
    message(fields, "assistant")
}

fn fill(fields: &mut Attributes, message: Map<String, Value>) {
    for (name, value) in message {
        fields.put(&name, value);
    }
}

/// The tools that a request offers, as OpenInference and OpenLLMetry have them, each for itself.
pub(super) fn tools(span: &mut Attributes) -> Vec<Value> {
    let schemas = span.numbered("llm.tools").into_values();
    let schemas = schemas.filter_map(|mut tool| {
        let schema = tool.content("tool.json_schema")?;
        Some(read(&schema).unwrap_or_else(|| schema.into()))
    });
    let schemas: Vec<_> = schemas.collect();
    let functions = span.numbered("llm.request.functions").into_values();
    let functions = functions.map(|function| {
        let mut fields = Map::new();
        for (name, value) in function {
            let parsed = match (&value, name.as_str()) {
                (Value::String(text), "parameters" | "input_schema") if is_filled(text) => {
                    read(text)
                }
                _ => None,
            };
            fields.insert(name, parsed.unwrap_or(value));
        }
        json!({"type": "function", "function": fields})
    });
    match schemas.is_empty() {
        true => functions.collect(),
        false => schemas,
    }
}
