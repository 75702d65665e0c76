//! From a record to the attributes of its span. Pure: no IO, no clock.
//!
//! Langfuse reads many conventions, and `langfuse.*` before all others; what it does not read it copies into the metadata, where
//! nothing can be searched. So only its own names are sent, and few others.

use beluga_o11y::{Json, LLMCallData, Usage};
use beluga_o11y_otlp::Attributes;
use chrono::{SecondsFormat, TimeDelta};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Adds the attributes of a call; `environment` and `release` count for calls that name none.
pub(crate) fn attributes(
    call: &LLMCallData,
    default_environment: Option<&str>,
    default_release: Option<&str>,
    out: &mut Attributes,
) {
    out.text("langfuse.observation.type", "generation");
    // There is no request for a trace any more: what is the trace's stands on every span.
    if not_blank(call.trace_id.as_deref()).is_none() {
        out.text_if("langfuse.trace.name", call.name.as_deref());
    }
    out.text_if("user.id", call.user_id.as_deref());
    out.text_if("session.id", call.session_id.as_deref());
    out.texts("langfuse.trace.tags", &call.tags);
    let own = call.environment.as_deref().map(environment);
    let own = own.as_deref().filter(|name| !name.is_empty());
    out.text_if("langfuse.environment", own.or(default_environment));
    out.text_if(
        "langfuse.release",
        not_blank(call.release.as_deref()).or(default_release),
    );

    if let Some(messages) = &call.messages {
        out.content("langfuse.observation.input", text_or_json(messages));
    }
    if let Some(response) = &call.response {
        out.content("langfuse.observation.output", text_or_json(response));
    }
    out.text("langfuse.observation.model.name", call.model.as_str());
    if let Some(parameters) = &call.model_parameters {
        out.content("langfuse.observation.model.parameters", parameters.as_str());
    }
    let usage = Buckets(&call.usage);
    if !usage.is_empty() {
        out.json("langfuse.observation.usage_details", &usage);
    }
    if let Some(cost) = call.cost {
        // With any key but input and output, Langfuse computes no total of its own.
        out.json("langfuse.observation.cost_details", &Cost { total: cost });
    }
    let first_token = call
        .time_to_first_token
        .and_then(|time| TimeDelta::from_std(time).ok())
        .and_then(|time| call.start_time().checked_add_signed(time));
    if let Some(time) = first_token {
        out.text(
            "langfuse.observation.completion_start_time",
            time.to_rfc3339_opts(SecondsFormat::Micros, true),
        );
    }
    out.text("gen_ai.provider.name", call.provider.trim());
    metadata(call, out);
    if not_blank(call.parent_span_id.as_deref()).is_some() {
        // Else a call whose parent is kept elsewhere is missing from the list, which shows roots only.
        out.bool("langfuse.internal.is_app_root", true);
    }
}

/// At the top level, one attribute each: all else in Langfuse's metadata cannot be searched. The caller's own entries win.
fn metadata(call: &LLMCallData, out: &mut Attributes) {
    let mut put = |key: &str, value: String| {
        out.content(format!("langfuse.observation.metadata.{key}"), value);
    };
    let error = call.error.as_ref();
    let facts = [
        ("trace_id", &call.trace_id),
        ("parent_span_id", &call.parent_span_id),
        // Langfuse shows an error's message only.
        ("error_type", error.map_or(&None, |error| &error.kind)),
        ("error_trace", error.map_or(&None, |error| &error.trace)),
    ];
    for (key, fact) in facts {
        if let Some(fact) = not_blank(fact.as_deref())
            && !call.metadata.contains_key(key)
        {
            put(key, fact.to_owned());
        }
    }
    for (key, value) in &call.metadata {
        put(key, text_or_json(value));
    }
}

fn not_blank(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// As Langfuse's own clients send content: text as it is, anything else as JSON.
fn text_or_json(content: &Json) -> String {
    content
        .read::<String>()
        .unwrap_or_else(|_| content.as_str().to_owned())
}

/// An environment as Langfuse takes it: 1 to 40 of `a-z`, `0-9`, `-` and `_`, not starting with `langfuse`. Others would
/// become `default` without a word.
pub(crate) fn environment(name: &str) -> String {
    const MAX_CHARS: usize = 40;
    let name = name.trim().to_lowercase();
    let mut name = name.as_str();
    while let Some(rest) = name.strip_prefix("langfuse") {
        name = rest.trim_start_matches(['-', '_']);
    }
    name.chars()
        .take(MAX_CHARS)
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '-' | '_' => c,
            _ => '-',
        })
        .collect()
}

#[derive(Serialize)]
struct Cost {
    total: f64,
}

/// Langfuse adds up all keys, so each token may be in one of them only. The names are those of its price table.
struct Buckets<'a>(&'a Usage);

impl Buckets<'_> {
    fn counts(&self) -> [(&'static str, Option<u64>); 6] {
        let usage = self.0;
        let less = |count: Option<u64>, parts: [Option<u64>; 2]| {
            let parts = parts.iter().flatten();
            count.map(|count| parts.fold(count, |left, part| left.saturating_sub(*part)))
        };
        let (read, write) = (usage.cache_read_tokens, usage.cache_write_tokens);
        let reasoning = usage.reasoning_tokens;
        [
            ("input", less(usage.input_tokens, [read, write])),
            ("input_cached_tokens", read),
            ("input_cache_creation", write),
            ("output", less(usage.output_tokens, [reasoning, None])),
            ("output_reasoning_tokens", reasoning),
            ("total", usage.total_tokens()),
        ]
    }

    fn is_empty(&self) -> bool {
        self.counts().iter().all(|(_, count)| count.is_none())
    }
}

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, count) in self.counts() {
            if let Some(count) = count {
                map.serialize_entry(name, &count)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
