//! The attributes of a span, a resource or an event, to be taken out one by one: what is left has no place in a record.

use std::collections::BTreeMap;

use beluga_o11y::Json;
use serde_json::{Map, Number, Value};

#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    /// Those of a list of `KeyValue`. What is none is left out.
    pub(super) fn of(list: Vec<Value>) -> Self {
        Self(list.into_iter().filter_map(pair).collect())
    }

    /// The same, of JSON.
    pub(super) fn of_json(json: &str) -> Self {
        match read(json) {
            Some(Value::Array(list)) => Self::of(list),
            _ => Self::default(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The text that is there, if it says anything.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str().filter(|text| is_filled(text))
    }

    pub(super) fn put(&mut self, name: &str, value: Value) {
        self.0.entry(name.to_owned()).or_insert(value);
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Takes all of these out that can be read so, and gives the first. What cannot be read stays.
    fn first<T>(&mut self, names: &[&str], read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let mut first = None;
        for name in names {
            if let Some(value) = self.0.get(*name).and_then(&read) {
                self.0.remove(*name);
                first = first.or(Some(value));
            }
        }
        first
    }

    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        self.first(names, |value| match value {
            Value::String(text) if is_filled(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A whole number from 0, also in a text: attributes are sometimes made of texts only.
    pub(super) fn count(&mut self, names: &[&str]) -> Option<u64> {
        self.first(names, count)
    }

    /// A number from 0, also in a text.
    pub(super) fn number(&mut self, names: &[&str]) -> Option<f64> {
        self.first(names, |value| {
            let number: f64 = match value {
                Value::Number(number) => number.as_f64()?,
                Value::String(text) => text.trim().parse().ok()?,
                _ => return None,
            };
            (number.is_finite() && number >= 0.0).then_some(number)
        })
    }

    pub(super) fn flag(&mut self, names: &[&str]) -> Option<bool> {
        self.first(names, Value::as_bool)
    }

    /// Texts, also as JSON in a text, or one alone.
    pub(super) fn texts(&mut self, names: &[&str]) -> Option<Vec<String>> {
        self.first(names, |value| match value {
            Value::Array(list) => texts(list),
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Array(list)) => texts(&list),
                _ => is_filled(text).then(|| vec![text.clone()]),
            },
            _ => None,
        })
    }

    /// Content as the text of a field: a text, or JSON of what is structured.
    pub(super) fn content(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => is_filled(&text).then_some(text),
            Value::Null => None,
            value => Some(value.to_string()),
        }
    }

    /// Takes out what is numbered: `<prefix>.<number>.<name>` by its number and then by its name.
    pub(super) fn numbered(&mut self, prefix: &str) -> BTreeMap<usize, Self> {
        let prefix = format!("{prefix}.");
        let mut all: BTreeMap<usize, Self> = BTreeMap::new();
        for name in self.starting_with(&prefix) {
            let rest = name.strip_prefix(&prefix).unwrap_or_default();
            let Some((number, rest)) = rest.split_once('.') else {
                continue;
            };
            if let Ok(number) = number.parse()
                && let Some(value) = self.0.remove(&name)
            {
                all.entry(number).or_default().put(rest, value);
            }
        }
        all
    }

    /// Takes out what is named so, by the rest of the name.
    pub(super) fn below(&mut self, prefix: &str) -> Vec<(String, Value)> {
        let names = self.starting_with(prefix);
        let taken = names.into_iter().filter_map(|name| {
            let value = self.0.remove(&name)?;
            Some((name.strip_prefix(prefix)?.to_owned(), value))
        });
        taken.collect()
    }

    fn starting_with(&self, prefix: &str) -> Vec<String> {
        let from = self.0.range(prefix.to_owned()..);
        let names = from.map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix));
        names.cloned().collect()
    }
}

impl IntoIterator for Attributes {
    type Item = (String, Value);
    type IntoIter = std::collections::btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// JSON, in which half a character, as a text has it that was cut, is mended.
pub(super) fn read(json: &str) -> Option<Value> {
    let read = serde_json::from_str(json).ok();
    read.or_else(|| Json::parse(json).ok()?.read().ok())
}

pub(super) fn is_filled(text: &str) -> bool {
    !text.trim().is_empty()
}

pub(super) fn count(value: &Value) -> Option<u64> {
    // 2^53: above it, not every whole number is one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, and in the range"
            )]
            (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
        }),
        _ => None,
    }
}

fn texts(list: &[Value]) -> Option<Vec<String>> {
    let texts = list.iter().map(|value| value.as_str().map(str::to_owned));
    texts.collect()
}

fn pair(pair: Value) -> Option<(String, Value)> {
    let Value::Object(mut pair) = pair else {
        return None;
    };
    match (pair.remove("key"), pair.remove("value")) {
        (Some(Value::String(key)), Some(found)) => Some((key, value(found)?)),
        _ => None,
    }
}

/// An `AnyValue`; `None` if it has none.
fn value(any: Value) -> Option<Value> {
    let Value::Object(any) = any else {
        return None;
    };
    any.into_iter()
        .find_map(|(kind, found)| match kind.as_str() {
            // Bytes stay in base64.
            "stringValue" | "bytesValue" if found.is_string() => Some(found),
            "boolValue" if found.is_boolean() => Some(found),
            // Of 64 bits, so in protobuf's JSON a text.
            "intValue" => match found {
                Value::String(text) => text.parse::<i64>().ok().map(Value::from),
                found => found.is_number().then_some(found),
            },
            // NaN and the infinities are texts, and no JSON.
            "doubleValue" => match found {
                Value::String(text) => {
                    let number = text.parse().ok().and_then(Number::from_f64);
                    Some(number.map_or(Value::String(text), Value::Number))
                }
                found => found.is_number().then_some(found),
            },
            "arrayValue" => {
                let list = values(found)?.into_iter();
                Some(list.map(|it| value(it).unwrap_or_default()).collect())
            }
            "kvlistValue" => {
                let pairs = values(found)?.into_iter().filter_map(pair);
                Some(Value::Object(pairs.collect::<Map<_, _>>()))
            }
            _ => None,
        })
}

/// An empty list has no `values`.
fn values(mut list: Value) -> Option<Vec<Value>> {
    match list.as_object_mut()?.remove("values") {
        Some(Value::Array(values)) => Some(values),
        None | Some(Value::Null) => Some(Vec::new()),
        Some(_) => None,
    }
}
