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
    /// A number is too large for the double precision in which backends read numbers.
    #[error("a number is too large for double precision; make it a string")]
    NumberOutOfRange,
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
    /// [`JsonError`], but not [`Syntax`](JsonError::Syntax).
    pub fn try_new<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        let mut text = Vec::with_capacity(128);
        let mut limit = DepthLimit::default();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, &mut limit);
        if value.serialize(&mut serializer).is_err() {
            return Err(limit.error.unwrap_or(JsonError::NotSerializable));
        }
        String::from_utf8(text)
            .ok()
            .and_then(|text| RawValue::from_string(text).ok())
            .map(|raw| Self(Ok(raw.into())))
            .ok_or(JsonError::NotSerializable)
    }

    /// Takes JSON text as it is. Only half of a surrogate pair (`\ud83d` alone), as texts have it that
    /// were cut in the middle of a character, is replaced by U+FFFD, since no backend can store it.
    ///
    /// # Errors
    ///
    /// [`JsonError`], but not [`NotSerializable`](JsonError::NotSerializable).
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
        Self(match scan(raw.get()) {
            Ok(scan) if scan.depth > MAX_JSON_DEPTH => Err(JsonError::TooDeep),
            Ok(scan) if scan.halves.is_empty() => Ok(raw.into()),
            Ok(scan) => RawValue::from_string(scan.repaired(raw.get()))
                .map(Arc::from)
                .map_err(|_| JsonError::Syntax),
            Err(error) => Err(error),
        })
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
/// A text, as [`Json::new`] makes it, a little faster.
impl From<&str> for Json {
    fn from(text: &str) -> Self {
        let raw = serde_json::value::to_raw_value(text);
        Self(raw.map(Arc::from).map_err(|_| JsonError::NotSerializable))
    }
}

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

/// Never fails for JSON that cannot be kept: that is held as its [`JsonError`]. (Reading from a
/// [`serde_json::Value`] is serde_json's own recursion, which some thousand levels exhaust.)
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from_raw)
    }
}

/// What there is to know of JSON text before it can be kept.
#[derive(Default)]
struct Scan {
    /// The most levels of arrays and objects.
    depth: usize,
    /// Where the escape of half a surrogate pair begins (`\ud83d` without its other half), as texts have
    /// it that were cut in the middle of a character. It stands for no text at all.
    halves: Vec<usize>,
}

impl Scan {
    /// The text with the replacement character in the place of each half character.
    fn repaired(&self, text: &str) -> String {
        let mut repaired = String::with_capacity(text.len());
        let mut done = 0;
        for at in &self.halves {
            repaired.push_str(text.get(done..*at).unwrap_or_default());
            repaired.push_str("\\ufffd");
            done = at + ESCAPE_BYTES;
        }
        repaired.push_str(text.get(done..).unwrap_or_default());
        repaired
    }
}

/// As long as `\ud83d`.
const ESCAPE_BYTES: usize = 6;

/// Reads JSON text once, without recursion, so that no input can exhaust the stack.
fn scan(text: &str) -> Result<Scan, JsonError> {
    let bytes = text.as_bytes();
    let mut scan = Scan::default();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => after_string(bytes, at + 1, &mut scan.halves),
            b'-' | b'0'..=b'9' => after_number(text, at)?,
            b'[' | b'{' => {
                depth += 1;
                scan.depth = scan.depth.max(depth);
                at + 1
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            _ => at + 1,
        };
    }
    Ok(scan)
}

/// The place after a string, from the place after its opening quote.
fn after_string(bytes: &[u8], mut at: usize, halves: &mut Vec<usize>) -> usize {
    let escaped = |at: usize| match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\\'), Some(b'u')) => hex(bytes.get(at + 2..at + ESCAPE_BYTES)),
        _ => None,
    };
    loop {
        at += match (bytes.get(at), escaped(at)) {
            (None, _) => return at,
            (Some(b'"'), _) => return at + 1,
            (_, Some(0xd800..=0xdbff))
                if matches!(escaped(at + ESCAPE_BYTES), Some(0xdc00..=0xdfff)) =>
            {
                2 * ESCAPE_BYTES
            }
            (_, Some(0xd800..=0xdfff)) => {
                halves.push(at);
                ESCAPE_BYTES
            }
            (_, Some(_)) => ESCAPE_BYTES,
            (Some(b'\\'), None) => 2,
            (Some(_), None) => 1,
        };
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok()
}

/// The place after a number.
fn after_number(text: &str, at: usize) -> Result<usize, JsonError> {
    // Fewer digits than this, without an exponent, fit in double precision.
    const SAFE_DIGITS: usize = 300;
    let rest = text.get(at..).unwrap_or_default();
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let number = rest
        .split_once(|c| !is_part(c))
        .map_or(rest, |(number, _)| number);
    if (number.len() > SAFE_DIGITS || number.contains(['e', 'E']))
        && !number.parse::<f64>().is_ok_and(f64::is_finite)
    {
        return Err(JsonError::NumberOutOfRange);
    }
    Ok(at + number.len())
}

/// Compact JSON that stops as soon as it gets too deep: a value of 10,000 levels is given up at
/// level 101, before serialising it recursively can exhaust the stack.
#[derive(Default)]
struct DepthLimit {
    depth: usize,
    error: Option<JsonError>,
}

impl DepthLimit {
    fn give_up(&mut self, error: JsonError) -> io::Error {
        self.error = Some(error);
        io::ErrorKind::InvalidData.into()
    }

    fn enter(&mut self) -> io::Result<()> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(self.give_up(JsonError::TooDeep));
        }
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
        let scan = scan(fragment).map_err(|error| self.give_up(error))?;
        if self.depth + scan.depth > MAX_JSON_DEPTH {
            return Err(self.give_up(JsonError::TooDeep));
        }
        if scan.halves.is_empty() {
            return writer.write_all(fragment.as_bytes());
        }
        writer.write_all(scan.repaired(fragment).as_bytes())
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
    fn a_text_is_the_same_whichever_way_it_is_made() {
        for text in ["", "Paris", "a\"b\\c\n\u{0}\u{7f}\u{2028}\u{1f600}"] {
            assert_eq!(Json::from(text), Json::new(text));
            assert_eq!(Json::from(text).read::<String>().unwrap(), text);
        }
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
    fn half_a_character_becomes_the_replacement_character() {
        for (text, kept) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDC0B""#, r#""\ufffd""#),
            (r#"{"a":["x\ud83d\n"]}"#, r#"{"a":["x\ufffd\n"]}"#),
            (r#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#),
            (r#""\ud83d\ud83d\udc0b""#, r#""\ufffd\ud83d\udc0b""#),
            (r#""\ud83dx\udc0b""#, r#""\ufffdx\ufffd""#),
            (r#""\ud83d\udc0b""#, r#""\ud83d\udc0b""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\u00e9\"\\""#, r#""\u00e9\"\\""#),
            (r#""🐋""#, r#""🐋""#),
        ] {
            assert_eq!(Json::parse(text).unwrap().as_str(), kept);
            assert_eq!(serde_json::from_str::<Json>(text).unwrap().as_str(), kept);
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(Json::new(&raw).as_str(), kept);
        }
    }

    #[test]
    fn a_number_that_no_backend_can_read_is_held_as_an_error() {
        for bad in ["1e999".to_owned(), "[-1E+400]".to_owned(), "9".repeat(400)] {
            assert_eq!(Json::parse(bad), Err(JsonError::NumberOutOfRange));
        }
        let raw = RawValue::from_string("1e999".to_owned()).unwrap();
        assert_eq!(Json::new(&[raw]).error(), Some(JsonError::NumberOutOfRange));
        for good in [
            "1e308",
            "[1.5,-0,1e-999,12345678901234567890123]",
            r#""1e999""#,
        ] {
            assert_eq!(Json::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn debug_shows_the_size_only() {
        assert_eq!(format!("{:?}", Json::new("secret")), "Json(8 bytes)");
    }

    proptest! {
        #[test]
        fn whatever_parses_as_a_value_is_kept(text in r#"[ \[\]{}":,a\\ud8c0123e.+-]{0,16}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let kept = Json::parse(text).unwrap();
                prop_assert_eq!(kept.read::<Value>().unwrap(), value);
            }
        }

        #[test]
        fn what_is_kept_parses_as_a_value(text in r#"("(\\ud83d|\\udc0b|\\n|x){0,6}"|-?[1-9]{1,3}(e[1-9]{1,3})?)"#) {
            if let Ok(kept) = Json::parse(text) {
                prop_assert!(kept.read::<Value>().is_ok(), "{}", kept.as_str());
            }
        }

        #[test]
        fn depth_is_that_of_the_value(text in r#"[\[\]{}":,a\\ ]{0,12}"#, levels in 0..20_usize) {
            let value = (0..levels).fold(json!({"k": text}), |inner, i| {
                if i % 2 == 0 { json!([text, inner]) } else { json!({"x": inner}) }
            });
            prop_assert_eq!(scan(&value.to_string()).unwrap().depth, levels + 1);
        }
    }
}
