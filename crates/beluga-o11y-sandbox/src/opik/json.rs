//! Reads request bodies the way the backend's JSON mapper does: one scan, small fields by type, big ones kept as text.
//!
//! Types are not converted into one another, but for usage counts (a float is truncated). The backend's Jackson would
//! also read `"5"` as 5 or a number as an epoch instant; no client should count on that, so it is refused here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::opik::instant;

/// Levels of nesting that a body may have. It is `serde_json`'s own limit, so what is accepted can always be read back;
/// Jackson's is 1000.
const MAX_DEPTH: usize = 127;

/// Why a body cannot be read: the text after `Unable to process JSON. `.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) String);

pub(crate) type Read<T> = Result<T, Unreadable>;

/// The failure that a span or trace reports (Opik: `ErrorInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// Class of the error, never blank.
    pub exception_type: String,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where it happened, never blank.
    pub traceback: String,
}

/// A JSON object, its values still text. If a key comes twice, the last one counts, as with Jackson.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads a whole request body.
    pub(crate) fn from_body(body: &'a [u8], java: &str) -> Read<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Unreadable(
                "No content to map due to end-of-input".to_owned(),
            ));
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| Unreadable(format!("Invalid UTF-8: {error}")))?;
        check_depth(text)?;
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        Self::from_raw(raw, java)
    }

    /// Reads a value that should be an object of the Java class `java`.
    pub(crate) fn from_raw(raw: &'a RawValue, java: &str) -> Read<Self> {
        match Token::of(raw) {
            Token::Object => {
                serde_json::from_str(raw.get()).map_err(|error| Unreadable(error.to_string()))
            }
            Token::String => Err(Unreadable(format!(
                "Cannot construct instance of `{java}` (although at least one Creator exists): no String-argument \
                 constructor/factory method to deserialize from String value ('{}')",
                serde_json::from_str::<String>(raw.get()).unwrap_or_default()
            ))),
            other => Err(wrong_type(java, other)),
        }
    }

    /// The value of a field, or none if it is absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
            .filter(|raw| Token::of(raw) != Token::Null)
    }

    pub(crate) fn any(&self, name: &str) -> Option<Box<RawValue>> {
        self.raw(name).map(ToOwned::to_owned)
    }

    pub(crate) fn string(&self, name: &str) -> Read<Option<String>> {
        self.raw(name).map(string).transpose()
    }

    /// UUID text: 36 characters with dashes, nothing else.
    pub(crate) fn uuid(&self, name: &str) -> Read<Option<Uuid>> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        uuid(&text).map(Some)
    }

    pub(crate) fn instant(&self, name: &str) -> Read<Option<DateTime<Utc>>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        if Token::of(raw) != Token::String {
            return Err(wrong_type("java.time.Instant", Token::of(raw)));
        }
        let text = string(raw)?;
        instant::parse(&text).map(Some).ok_or_else(|| {
            Unreadable(format!(
                "Cannot deserialize value of type `java.time.Instant` from String \"{text}\": Failed to deserialize \
                 java.time.Instant: (java.time.format.DateTimeParseException) Text '{text}' could not be parsed"
            ))
        })
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Read<Option<f64>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let number = match Token::of(raw) {
            Token::Number => raw
                .get()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite()),
            _ => None,
        };
        number
            .map(Some)
            .ok_or_else(|| wrong_type("java.lang.Double", Token::of(raw)))
    }

    pub(crate) fn boolean(&self, name: &str) -> Read<Option<bool>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match Token::of(raw) {
            Token::Boolean => Ok(Some(raw.get() == "true")),
            other => Err(wrong_type("boolean", other)),
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Read<Option<i32>> {
        self.raw(name).map(integer).transpose()
    }

    /// A set of strings, in the order they came.
    pub(crate) fn strings(&self, name: &str) -> Read<Option<Vec<String>>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let mut strings = Vec::new();
        for element in elements(raw, "java.util.HashSet<java.lang.String>")? {
            let text = string(element)?;
            if !strings.contains(&text) {
                strings.push(text);
            }
        }
        Ok(Some(strings))
    }

    /// A string that must be one of `words`.
    pub(crate) fn one_of(
        &self,
        name: &str,
        words: &[&'static str],
        java: &str,
    ) -> Read<Option<&'static str>> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        words
            .iter()
            .find(|word| **word == text)
            .map(|word| Some(*word))
            .ok_or_else(|| {
                Unreadable(format!(
                    "Cannot construct instance of `{java}`, problem: Unknown {name} '{text}'"
                ))
            })
    }

    /// A flat map of 32-bit integers. Null values are left out (Opik: `UsageUtils`; backends up to 2.0.x answer 500).
    pub(crate) fn counts(&self, name: &str) -> Read<Option<BTreeMap<String, i32>>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        if Token::of(raw) != Token::Object {
            return Err(wrong_type(
                "java.util.LinkedHashMap<java.lang.String,java.lang.Integer>",
                Token::of(raw),
            ));
        }
        let object = Self::from_raw(raw, "java.util.LinkedHashMap")?;
        let mut counts = BTreeMap::new();
        for (key, value) in &object.fields {
            if Token::of(value) != Token::Null {
                counts.insert(key.clone().into_owned(), integer(value)?);
            }
        }
        Ok(Some(counts))
    }

    /// An error; fields that are missing come back empty, for the constraints to refuse.
    pub(crate) fn error_info(&self, name: &str) -> Read<Option<ErrorInfo>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let object = Object::from_raw(raw, "com.comet.opik.api.ErrorInfo")?;
        Ok(Some(ErrorInfo {
            exception_type: object.string("exception_type")?.unwrap_or_default(),
            message: object.string("message")?,
            traceback: object.string("traceback")?.unwrap_or_default(),
        }))
    }

    /// A value that should be an object of the Java class `java`, if it is there.
    pub(crate) fn object(&self, name: &str, java: &str) -> Read<Option<Object<'a>>> {
        let raw = self.raw(name);
        raw.map(|raw| Object::from_raw(raw, java)).transpose()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// UUID texts, in the order they came.
    pub(crate) fn uuids(&self, name: &str) -> Read<Option<Vec<Uuid>>> {
        let texts = self.strings(name)?;
        let ids = texts.map(|texts| texts.iter().map(|text| uuid(text)).collect());
        ids.transpose()
    }

    /// The elements of an array, each read by `read`, or none if the array is absent.
    pub(crate) fn batch<T>(
        &self,
        name: &str,
        java: &str,
        read: impl Fn(&Object<'a>) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        let objects = self.objects(name, java)?;
        let batch = objects.map(|objects| objects.iter().map(read).collect());
        batch.transpose()
    }

    /// The elements of an array of objects, or none if the array is absent.
    pub(crate) fn objects(&self, name: &str, java: &str) -> Read<Option<Vec<Object<'a>>>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        elements(raw, &format!("java.util.ArrayList<{java}>"))?
            .into_iter()
            .map(|element| Object::from_raw(element, java))
            .collect::<Read<Vec<_>>>()
            .map(Some)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(16);
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            fields.push((key, value));
        }
        Ok(Object { fields })
    }
}

/// A key that is borrowed unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Token {
    fn of(raw: &RawValue) -> Self {
        match raw.get().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number,
        }
    }

    /// Jackson's names for the kind of value and for the token.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Object => ("Object value", "START_OBJECT"),
            Self::Array => ("Array value", "START_ARRAY"),
            Self::String => ("String value", "VALUE_STRING"),
            Self::Number => ("Number value", "VALUE_NUMBER"),
            Self::Boolean => ("Boolean value", "VALUE_BOOLEAN"),
            Self::Null => ("Null value", "VALUE_NULL"),
        }
    }
}

/// UUID text as Java writes it: 36 characters with dashes.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

fn uuid(text: &str) -> Read<Uuid> {
    parse_uuid(text).ok_or_else(|| {
        Unreadable(format!(
            "Cannot deserialize value of type `java.util.UUID` from String \"{text}\": UUID has to be represented by \
             standard 36-char representation"
        ))
    })
}

fn wrong_type(java: &str, token: Token) -> Unreadable {
    let (kind, name) = token.names();
    Unreadable(format!(
        "Cannot deserialize value of type `{java}` from {kind} (token `JsonToken.{name}`)"
    ))
}

fn elements<'a>(raw: &'a RawValue, java: &str) -> Read<Vec<&'a RawValue>> {
    match Token::of(raw) {
        Token::Array => {
            serde_json::from_str(raw.get()).map_err(|error| Unreadable(error.to_string()))
        }
        other => Err(wrong_type(java, other)),
    }
}

fn string(raw: &RawValue) -> Read<String> {
    match Token::of(raw) {
        Token::String => {
            serde_json::from_str(raw.get()).map_err(|error| Unreadable(error.to_string()))
        }
        other => Err(wrong_type("java.lang.String", other)),
    }
}

/// A 32-bit integer; a float is truncated, as Jackson does.
fn integer(raw: &RawValue) -> Read<i32> {
    if Token::of(raw) != Token::Number {
        return Err(wrong_type("java.lang.Integer", Token::of(raw)));
    }
    let text = raw.get();
    let whole = match text.parse::<i64>() {
        Ok(whole) => i32::try_from(whole).ok(),
        Err(_) => text.parse::<f64>().ok().and_then(truncated),
    };
    whole.ok_or_else(|| {
        Unreadable(format!(
            "Numeric value ({text}) out of range of `int` (-2147483648 - 2147483647)"
        ))
    })
}

fn truncated(number: f64) -> Option<i32> {
    let whole = number.trunc();
    (f64::from(i32::MIN)..=f64::from(i32::MAX))
        .contains(&whole)
        .then_some(whole as i32)
}

/// Refuses a document that is nested deeper than [`MAX_DEPTH`], without recursion.
fn check_depth(text: &str) -> Read<()> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Unreadable(format!(
                "Document nesting depth ({depth}) exceeds the maximum allowed ({MAX_DEPTH})"
            )));
        }
    }
    Ok(())
}
