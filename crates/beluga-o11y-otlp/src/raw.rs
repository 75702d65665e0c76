//! JSON that is read only as far as it is needed. What stays unread keeps its numbers and the order of its keys, which a
//! tree of values would not.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One level of JSON.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    Null,
    Text(Cow<'a, str>),
    List(Vec<&'a RawValue>),
    Object(Fields<'a>),
    /// A number or a truth value.
    Scalar,
}

impl<'a> Node<'a> {
    pub(crate) fn of(raw: &'a RawValue) -> Self {
        let json = raw.get();
        let node = match json.as_bytes().first() {
            Some(b'"') => text(raw).map(Self::Text),
            Some(b'[') => serde_json::from_str(json).ok().map(Self::List),
            Some(b'{') => Fields::of(raw).map(Self::Object),
            Some(b'n') => Some(Self::Null),
            _ => None,
        };
        node.unwrap_or(Self::Scalar)
    }
}

/// The text, if it is one.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    // Where nothing is escaped, what is between the quotes is the text.
    let plain = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !plain.contains('\\') {
        return Some(Cow::Borrowed(plain));
    }
    let text = serde_json::from_str::<Text<'_>>(raw.get()).ok()?;
    Some(text.0)
}

/// The fields of an object, their values still unread. One that is `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Those of an object, if it is one.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().starts_with('{').then_some(())?;
        serde_json::from_str(raw.get()).ok()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let field = self.0.iter().rev().find(|(name, _)| name == key);
        field
            .map(|(_, value)| *value)
            .filter(|value| value.get() != "null")
    }

    /// Whether there is one of this name, `null` or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// The first of these that is there.
    pub(crate) fn first(&self, keys: &[&str]) -> Option<&'a RawValue> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The first of these that is a text.
    pub(crate) fn first_text(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| text(self.get(key)?))
    }

    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        text(self.get(key)?)
    }

    pub(crate) fn object(&self, key: &str) -> Option<Fields<'a>> {
        Fields::of(self.get(key)?)
    }

    pub(crate) fn list(&self, key: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

/// Borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn one_level_is_read_and_the_rest_stays_as_it_is() {
        let fields = Fields::of(raw(
            r#"{"z": {"b": 1e2, "a": 12345678901234567890123}, "n": null, "\u0061": "\u00fc", "l": [1, "x"]}"#,
        ))
        .unwrap();
        let inner = fields.get("z").unwrap().get();
        assert_eq!(inner, r#"{"b": 1e2, "a": 12345678901234567890123}"#);
        assert!(fields.get("n").is_none() && fields.has("n") && !fields.has("m"));
        assert_eq!(fields.text("a").as_deref(), Some("ü"));
        assert_eq!(fields.first_text(&["l", "n", "a"]).as_deref(), Some("ü"));
        assert_eq!(fields.list("l").unwrap().len(), 2);
        assert!(fields.object("l").is_none() && fields.text("z").is_none());
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        let fields = Fields::of(raw(r#"{"a": 1, "a": 2}"#)).unwrap();
        assert_eq!(fields.get("a").unwrap().get(), "2");
    }

    #[test]
    fn nodes() {
        assert!(matches!(Node::of(raw("null")), Node::Null));
        assert!(matches!(Node::of(raw("\"a\\n\"")), Node::Text(text) if text == "a\n"));
        assert!(matches!(Node::of(raw("[1]")), Node::List(items) if items.len() == 1));
        assert!(matches!(Node::of(raw("{}")), Node::Object(_)));
        for scalar in ["true", "false", "-1", "1.5"] {
            assert!(matches!(Node::of(raw(scalar)), Node::Scalar));
        }
    }
}
