//! The character U+0000, which PostgreSQL's text and JSON cannot hold.

use crate::wire::{KeyValue, Span, Val};

const REPLACEMENT: &str = "\u{fffd}";
/// The attributes whose text a backend parses as JSON before it stores it.
const PARSED: &[&str] = &[
    "metadata",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
];

/// Puts the replacement character in the place of each, in all texts of the span.
pub(crate) fn replace(span: &mut Span) {
    in_text(&mut span.name);
    if let Some(status) = &mut span.status {
        in_text(&mut status.message);
    }
    let events = span
        .events
        .iter_mut()
        .flat_map(|event| &mut event.attributes);
    for attribute in span.attributes.iter_mut().chain(events) {
        in_attribute(attribute);
    }
}

fn in_attribute(attribute: &mut KeyValue) {
    in_text(&mut attribute.key);
    match attribute
        .value
        .as_mut()
        .and_then(|value| value.value.as_mut())
    {
        Some(Val::Text(text)) if PARSED.contains(&attribute.key.as_str()) => in_json(text),
        Some(Val::Text(text)) => in_text(text),
        Some(Val::Array(array)) => {
            for value in &mut array.values {
                if let Some(Val::Text(text)) = &mut value.value {
                    in_text(text);
                }
            }
        }
        _ => {}
    }
}

fn in_text(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', REPLACEMENT);
    }
}

/// In JSON it is the escape `\u0000`, unless its backslash is itself escaped.
fn in_json(json: &mut String) {
    const ESCAPE: &str = "\\u0000";
    if !json.contains(ESCAPE) {
        return;
    }
    let mut replaced = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        replaced.push_str(before);
        rest = match from.strip_prefix(ESCAPE) {
            Some(rest) => {
                replaced.push_str(REPLACEMENT);
                rest
            }
            None => {
                // A backslash and what it escapes: one character of ASCII.
                let (escape, rest) = from.split_at(from.len().min(2));
                replaced.push_str(escape);
                rest
            }
        };
    }
    replaced.push_str(rest);
    *json = replaced;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut text = text.to_owned();
        in_json(&mut text);
        text
    }

    #[test]
    fn escapes_are_told_from_escaped_backslashes() {
        assert_eq!(json(r#"{"a":"x\u0000y"}"#), "{\"a\":\"x\u{fffd}y\"}");
        assert_eq!(json(r#"{"a":"x\\u0000y"}"#), r#"{"a":"x\\u0000y"}"#);
        assert_eq!(
            json(r#""\\\u0000\n\u0001ü""#),
            "\"\\\\\u{fffd}\\n\\u0001ü\""
        );
    }
}
