//! What a call takes over from the spans around it.

use std::collections::BTreeMap;

use beluga_o11y::{Json, LLMCallData};
use serde_json::Value as JsonValue;

use crate::{
    notice,
    role::{RESERVED, Role},
    values::{Value, Values},
};

const METADATA: &str = "beluga.metadata.";
const TRACE_ID: &str = "beluga.trace.id";
const TRACE_NAME: &str = "beluga.trace.name";
/// All of them, but for metadata, which have any name behind theirs.
const KNOWN: [&str; 8] = [
    "beluga.cost",
    "beluga.environment",
    "beluga.release",
    "beluga.session.id",
    "beluga.tags",
    TRACE_ID,
    TRACE_NAME,
    "beluga.user.id",
];

/// Whether a span begins a trace, because it names one.
pub(crate) fn begins_trace(values: &Values) -> bool {
    let is_named = |name| values.get(name).is_some_and(Value::is_filled);
    is_named(TRACE_ID) || is_named(TRACE_NAME)
}

/// Warns, once for each name, of fields that look like ours and are not.
pub(crate) fn warn_of_unknown<'a>(names: impl Iterator<Item = &'a str>) {
    for name in names {
        let ours = name.starts_with(RESERVED);
        if ours && !KNOWN.contains(&name) && !name.starts_with(METADATA) {
            notice::once(name, || {
                format!(
                    "the field {name} of a span is not known and is ignored; known are {} and {METADATA}*",
                    KNOWN.join(", ")
                )
            });
        }
    }
}

/// What a call takes over from its own span and from those around it. Spans are read from the inside to the outside: the
/// nearest wins.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    session_id: Option<String>,
    conversation_id: Option<String>,
    user_id: Option<String>,
    tags: Vec<String>,
    environment: Option<String>,
    release: Option<String>,
    cost: Option<f64>,
    bad_cost: bool,
    name: Option<String>,
    /// As it was given.
    pub(crate) trace_id: Option<String>,
    metadata: BTreeMap<String, Json>,
}

impl Inherited {
    pub(crate) fn read(&mut self, role: Role, values: &Values) {
        let langchain = matches!(role, Role::LangChain(_));
        for (name, value) in values.iter() {
            match name {
                "beluga.session.id" => keep(&mut self.session_id, value),
                "beluga.user.id" => keep(&mut self.user_id, value),
                "beluga.environment" => keep(&mut self.environment, value),
                "beluga.release" => keep(&mut self.release, value),
                "beluga.tags" => self.tag(value),
                "beluga.cost" => self.price(value),
                TRACE_NAME => keep(&mut self.name, value),
                TRACE_ID => keep(&mut self.trace_id, value),
                "gen_ai.conversation.id" => keep(&mut self.conversation_id, value),
                // rig's name for an agent without one.
                "gen_ai.agent.name" if value.text() == Some("Unnamed Agent") => {}
                "gen_ai.agent.name" | "gen_ai.tool.name" => self.note(name, value),
                "chain" | "tool" if langchain => self.note(name, value),
                _ => {
                    if let Some(key) = name.strip_prefix(METADATA) {
                        self.note(key, value);
                    }
                }
            }
        }
    }

    fn note(&mut self, key: &str, value: &Value) {
        if !self.metadata.contains_key(key) {
            self.metadata.insert(key.to_owned(), value.into());
        }
    }

    fn price(&mut self, value: &Value) {
        let usd = value.number().filter(|usd| *usd >= 0.0);
        self.bad_cost |= usd.is_none();
        self.cost = self.cost.or(usd);
    }

    fn tag(&mut self, value: &Value) {
        let text = value.clone().into_text();
        let tags: Vec<String> = match serde_json::from_str::<Vec<JsonValue>>(&text) {
            Ok(tags) => tags
                .into_iter()
                .filter_map(|tag| match tag {
                    JsonValue::Null => None,
                    JsonValue::String(tag) => Some(tag),
                    tag => Some(tag.to_string()),
                })
                .collect(),
            Err(_) => text.split(',').map(str::to_owned).collect(),
        };
        for tag in tags {
            let tag = tag.trim();
            if !tag.is_empty() && !self.tags.iter().any(|known| known == tag) {
                self.tags.push(tag.to_owned());
            }
        }
    }

    /// Fills in what the call does not have by itself.
    pub(crate) fn apply(self, call: &mut LLMCallData) {
        if self.bad_cost {
            notice::once("beluga.cost", || {
                "a beluga.cost is ignored: it is not a number of USD, or below zero".to_owned()
            });
        }
        call.session_id = self.session_id.or(self.conversation_id);
        call.user_id = self.user_id;
        call.environment = self.environment;
        call.release = self.release;
        call.tags = self.tags;
        call.cost = self.cost;
        call.name = self.name;
        for (key, value) in self.metadata {
            call.metadata.entry(key).or_insert(value);
        }
    }
}

fn keep(place: &mut Option<String>, value: &Value) {
    if place.is_none() {
        let text = value.clone().into_text();
        *place = Some(text).filter(|text| !text.trim().is_empty());
    }
}
