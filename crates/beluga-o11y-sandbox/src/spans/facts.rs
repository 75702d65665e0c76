//! Single facts out of attributes.

use serde_json::{Map, Value};

use super::Attributes;

/// The first attribute of these that is there and says something: not null, not empty, not false, not 0.
pub(crate) fn first<'a>(attributes: &'a Attributes, names: &[&str]) -> Option<&'a Value> {
    names
        .iter()
        .filter_map(|name| attributes.get(*name))
        .find(|value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Number(number) => number.as_f64() != Some(0.0),
            _ => true,
        })
}

/// The first of these as text.
pub(crate) fn text(attributes: &Attributes, names: &[&str]) -> Option<String> {
    first(attributes, names).map(as_text)
}

/// A text as it is, anything else as JSON.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first of these that is a count: a whole number, not negative. Text that is one counts.
pub(crate) fn count(attributes: &Attributes, names: &[&str]) -> Option<u64> {
    names
        .iter()
        .find_map(|name| as_count(attributes.get(*name)?))
}

pub(crate) fn as_count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The first of these that is a number.
pub(crate) fn number(attributes: &Attributes, names: &[&str]) -> Option<f64> {
    names
        .iter()
        .find_map(|name| attributes.get(*name)?.as_f64())
}

/// The texts of a list.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|values| values.iter().map(as_text).collect())
        .unwrap_or_default()
}

/// Text that is JSON as that, everything else as it is.
pub(crate) fn json_or_text(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}

/// Levels that a dotted name may have; beyond, its rest is one name. No convention comes near, and nothing hostile may
/// overflow the stack.
const MAX_LEVELS: usize = 32;

/// The attributes `PREFIX.a.0.b` as nested JSON. None if there is none.
pub(crate) fn unflattened(attributes: &Attributes, prefix: &str) -> Option<Value> {
    let start = format!("{prefix}.");
    let mut root = Value::Null;
    for (name, value) in attributes.range(start.clone()..) {
        let Some(path) = name.strip_prefix(&start) else {
            break;
        };
        put(&mut root, path, value.clone(), MAX_LEVELS);
    }
    (!root.is_null()).then(|| lists(root))
}

fn put(place: &mut Value, path: &str, value: Value, levels: usize) {
    let (name, rest) = path
        .split_once('.')
        .filter(|_| levels > 0)
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let Some(fields) = place.as_object_mut() else {
        return;
    };
    let field = fields.entry(name).or_insert(Value::Null);
    match rest {
        None => *field = value,
        Some(rest) => put(field, rest, value, levels - 1),
    }
}

/// Objects whose names are all numbers become lists, in the order of those.
fn lists(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let fields = fields.into_iter().map(|(name, value)| (name, lists(value)));
    let mut numbered: Vec<(Option<usize>, String, Value)> = fields
        .map(|(name, value)| (name.parse().ok(), name, value))
        .collect();
    if numbered.iter().all(|(number, ..)| number.is_some()) {
        numbered.sort_by_key(|(number, ..)| *number);
        return Value::Array(numbered.into_iter().map(|(.., value)| value).collect());
    }
    let named = numbered.into_iter().map(|(_, name, value)| (name, value));
    Value::Object(named.collect())
}

/// OpenInference's messages (`PREFIX.0.message.role`) without the layer that the names add.
pub(crate) fn inner_messages(attributes: &Attributes, prefix: &str) -> Option<Value> {
    let Value::Array(messages) = unflattened(attributes, prefix)? else {
        return None;
    };
    let inner = |message: Value| match message {
        Value::Object(mut fields) if fields.len() == 1 => {
            fields.remove("message").unwrap_or(Value::Object(fields))
        }
        other => other,
    };
    Some(Value::Array(messages.into_iter().map(inner).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn dotted_names_become_nested() {
        let attributes = attributes(json!({
            "m.10.message.role": "b", "m.2.message.role": "a",
            "m.2.message.tool_calls.0.tool_call.function.name": "f", "mm.0.x": 1,
        }));
        assert_eq!(
            inner_messages(&attributes, "m"),
            Some(json!([
                {"role": "a", "tool_calls": [{"tool_call": {"function": {"name": "f"}}}]},
                {"role": "b"},
            ]))
        );
        assert_eq!(unflattened(&attributes, "n"), None);
        assert_eq!(unflattened(&attributes, "mm"), Some(json!([{"x": 1}])));
    }

    #[test]
    fn a_name_of_many_dots_is_no_trouble() {
        let name = "m.".repeat(1_000_000);
        assert!(unflattened(&attributes(json!({name: 1})), "m").is_some());
    }

    #[test]
    fn what_says_nothing_is_passed_over() {
        let attributes = attributes(json!({"a": "", "b": 0, "c": false, "d": null, "e": "x"}));
        assert_eq!(
            text(&attributes, &["a", "b", "c", "d", "e"]),
            Some("x".into())
        );
    }
}
