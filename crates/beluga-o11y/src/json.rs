//! Content of any shape, serialised once.

use std::{fmt, io, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{ser::Formatter, value::RawValue};

/// The most levels of arrays and objects that content may have. Deeper JSON is refused, because
/// backends refuse or crash on it: `[[1]]` has two levels, a plain string none.
pub const MAX_JSON_DEPTH: usize = 100;

/// Why content cannot be kept. It never quotes the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// More than [`MAX_JSON_DEPTH`] levels of arrays and objects.
    #[error("JSON is more than {MAX_JSON_DEPTH} levels deep; flatten it or drop the inner levels")]
    TooDeep,
    /// The value's own `Serialize` failed, or a map has keys that JSON does not know.
    #[error(
        "the value cannot be written as JSON; its Serialize failed or a map key is not a string"
    )]
    NotSerializable,
    /// The text given to [`Json::parse`] is not JSON.
    #[error("the text is not valid JSON")]
    Syntax,
}

/// JSON content of an LLM call: messages, an answer, parameters, a metadata value.
///
/// The value is serialised once, when it is made. From then on it is a shared piece of text: cloning
/// it and asking for its size cost the same however large it is, and every backend copies it into
/// its requests without looking at it again.
///
/// Making one never fails: content that cannot be kept (see [`JsonError`]) is held as that error,
/// which is reported when the call is exported. [`error`](Self::error) asks earlier.
///
/// ```
/// use beluga_o11y::Json;
/// use serde_json::json;
///
/// let plain = Json::new("Paris");
/// assert_eq!(plain.as_str(), "\"Paris\"");
///
/// let messages = Json::new(&json!([{"role": "user", "content": "hi"}]));
/// assert_eq!(messages.size(), 32);
/// assert!(messages.error().is_none());
/// ```
#[derive(Clone)]
pub struct Json(Result<Arc<RawValue>, JsonError>);

impl Json {
    /// Serialises a value: a string, a [`serde_json::Value`], or anything else that implements
    /// [`Serialize`]. Numbers that JSON does not know (NaN, infinite) become `null`, as serde_json
    /// has it.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::try_new(value).unwrap_or_else(|error| Self(Err(error)))
    }

    /// Like [`new`](Self::new), but tells at once if the value cannot be kept.
    ///
    /// # Errors
    ///
    /// [`JsonError::TooDeep`] or [`JsonError::NotSerializable`].
    pub fn try_new<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let mut text = Vec::with_capacity(128);
        let mut limit = DepthLimit::default();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, &mut limit);
        if value.serialize(&mut serializer).is_err() {
            return Err(if limit.exceeded {
                JsonError::TooDeep
            } else {
                JsonError::NotSerializable
            });
        }
        String::from_utf8(text)
            .ok()
            .and_then(|text| RawValue::from_string(text).ok())
            .map(|raw| Self(Ok(raw.into())))
            .ok_or(JsonError::NotSerializable)
    }

    /// Takes JSON text as it is.
    ///
    /// # Errors
    ///
    /// [`JsonError::Syntax`] or [`JsonError::TooDeep`].
    ///
    /// ```
    /// use beluga_o11y::Json;
    ///
    /// assert_eq!(Json::parse(r#"{"a": 1.50}"#)?.as_str(), r#"{"a": 1.50}"#);
    /// assert!(Json::parse("{").is_err());
    /// # Ok::<(), beluga_o11y::JsonError>(())
    /// ```
    pub fn parse(text: impl Into<String>) -> Result<Self, JsonError> {
        let raw = RawValue::from_string(text.into()).map_err(|_| JsonError::Syntax)?;
        let json = Self::from_raw(raw);
        match json.0 {
            Ok(_) => Ok(json),
            Err(error) => Err(error),
        }
    }

    fn from_raw(raw: Box<RawValue>) -> Self {
        if depth(raw.get()) > MAX_JSON_DEPTH {
            return Self(Err(JsonError::TooDeep));
        }
        Self(Ok(raw.into()))
    }

    /// The JSON text; `null` for content that could not be kept.
    pub fn as_str(&self) -> &str {
        self.as_raw().get()
    }

    /// The JSON text as serde_json writes it into other JSON without reading it; `null` for content
    /// that could not be kept.
    pub fn as_raw(&self) -> &RawValue {
        match &self.0 {
            Ok(raw) => raw,
            Err(_) => RawValue::NULL,
        }
    }

    /// The size of the JSON text in bytes; 0 for content that could not be kept.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |raw| raw.get().len())
    }

    /// Why the content could not be kept, if so.
    pub fn error(&self) -> Option<JsonError> {
        self.0.as_ref().err().copied()
    }

    /// Reads the content back, for example as a [`serde_json::Value`].
    ///
    /// # Errors
    ///
    /// serde_json's own, if the content does not have the shape of `T`.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }
}

/// Equal text, or the same error.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Ok(a), Ok(b)) => a.get() == b.get(),
            (Err(a), Err(b)) => a == b,
            _ => false,
        }
    }
}

/// Shows the size, never the content.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(raw) => write!(f, "Json({} bytes)", raw.get().len()),
            Err(error) => write!(f, "Json({error})"),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_raw().serialize(serializer)
    }
}

/// Never fails for JSON that is too deep: that is held as [`JsonError::TooDeep`].
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from_raw)
    }
}

/// Counts levels without recursion, so that no input can exhaust the stack. The text must be JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Compact JSON that stops as soon as it gets too deep: a value of 10,000 levels is given up at
/// level 101, before serialising it recursively can exhaust the stack.
#[derive(Default)]
struct DepthLimit {
    depth: usize,
    exceeded: bool,
}

impl DepthLimit {
    fn check(&mut self, more: usize) -> io::Result<()> {
        if self.depth + more > MAX_JSON_DEPTH {
            self.exceeded = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    fn enter(&mut self) -> io::Result<()> {
        self.check(1)?;
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

impl Formatter for &mut DepthLimit {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.leave();
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.leave();
        writer.write_all(b"}")
    }

    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.check(depth(fragment))?;
        writer.write_all(fragment.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| Value::Array(vec![inner]))
    }

    fn nested_text(levels: usize) -> String {
        format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn a_hundred_levels_are_fine_and_one_more_is_not() {
        assert_eq!(Json::new(&nested(100)).error(), None);
        assert_eq!(Json::new(&nested(101)).error(), Some(JsonError::TooDeep));
        assert!(Json::parse(nested_text(100)).is_ok());
        assert_eq!(Json::parse(nested_text(101)), Err(JsonError::TooDeep));
        let wrapped = [Json::new(&nested(100))];
        assert_eq!(Json::new(&wrapped).error(), Some(JsonError::TooDeep));
    }

    #[test]
    fn ten_thousand_levels_fit_a_stack_of_two_mebibytes() {
        std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(|| {
                let deep = nested(10_000);
                assert_eq!(Json::new(&deep).error(), Some(JsonError::TooDeep));
                assert_eq!(Json::parse(nested_text(10_000)), Err(JsonError::TooDeep));
                let read: Json = serde_json::from_str(&nested_text(10_000)).unwrap();
                assert_eq!(read.error(), Some(JsonError::TooDeep));
            })
            .unwrap()
            .join()
            .unwrap();
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        let text = "[".repeat(500) + "\\\"{";
        assert_eq!(Json::new(&text).error(), None);
        assert_eq!(Json::new(&[Json::new(&text)]).error(), None);
    }

    #[test]
    fn what_is_not_json_is_held_as_an_error() {
        let keys = HashMap::from([(vec![1], 2)]);
        let json = Json::new(&keys);
        assert_eq!(json.error(), Some(JsonError::NotSerializable));
        assert_eq!((json.as_str(), json.size()), ("null", 0));
        assert_eq!(Json::parse("{\"a\":"), Err(JsonError::Syntax));
    }

    #[test]
    fn debug_shows_the_size_only() {
        assert_eq!(format!("{:?}", Json::new("secret")), "Json(8 bytes)");
    }

    proptest! {
        #[test]
        fn depth_is_that_of_the_value(text in r#"[\[\]{}":,a\\ ]{0,12}"#, levels in 0..20_usize) {
            let value = (0..levels).fold(json!({"k": text}), |inner, i| {
                if i % 2 == 0 { json!([text, inner]) } else { json!({"x": inner}) }
            });
            prop_assert_eq!(depth(&value.to_string()), levels + 1);
        }
    }
}
