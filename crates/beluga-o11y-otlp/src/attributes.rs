//! Attributes of spans and resources while they are collected.

use std::fmt;

use serde::Serialize;

use crate::wire::{AnyValue, ArrayValue, KeyValue, Val};

/// Attributes of a span or a resource, in the order in which they were added. Add each name once.
///
/// What is blank or absent is not added: in OpenTelemetry an attribute that is unknown is left out. `Debug` shows
/// how many there are, never what.
#[derive(Clone, Default, PartialEq)]
pub struct Attributes(pub(crate) Vec<KeyValue>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, with room for those of a usual call.
    pub(crate) fn roomy() -> Self {
        Self(Vec::with_capacity(64))
    }

    /// Adds a text, unless it is blank.
    pub fn text(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.trim().is_empty() {
            self.put(key.into(), Val::Text(value));
        }
    }

    /// Adds a text, if there is one and it is not blank.
    pub fn text_if(&mut self, key: impl Into<String>, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Adds a text as it is, also a blank one: that a model answered with nothing is a fact.
    pub fn content(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.put(key.into(), Val::Text(value.into()));
    }

    /// Adds JSON as text, which is how OpenTelemetry's backends take what has a structure.
    pub fn json(&mut self, key: impl Into<String>, value: &impl Serialize) {
        if let Ok(json) = serde_json::to_string(value) {
            self.put(key.into(), Val::Text(json));
        }
    }

    /// Adds a count, if it is known. One that does not fit into 63 bits becomes the largest that does.
    pub fn count(&mut self, key: impl Into<String>, value: Option<u64>) {
        if let Some(value) = value {
            self.int(key, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Adds a whole number.
    pub fn int(&mut self, key: impl Into<String>, value: i64) {
        self.put(key.into(), Val::Int(value));
    }

    /// Adds a number, if it is known and finite.
    pub fn double(&mut self, key: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.put(key.into(), Val::Double(value));
        }
    }

    /// Adds a truth value.
    pub fn bool(&mut self, key: impl Into<String>, value: bool) {
        self.put(key.into(), Val::Bool(value));
    }

    /// Adds a list of texts, unless it is empty.
    pub fn texts(&mut self, key: impl Into<String>, values: &[impl AsRef<str>]) {
        let text = |value: &str| AnyValue {
            value: Some(Val::Text(value.to_owned())),
        };
        let values: Vec<_> = values.iter().map(|value| text(value.as_ref())).collect();
        if !values.is_empty() {
            self.put(key.into(), Val::Array(ArrayValue { values }));
        }
    }

    fn put(&mut self, key: String, value: Val) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key, value });
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({})", self.0.len())
    }
}
