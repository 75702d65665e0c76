//! Reads calls from JSON, more strictly than the record itself does: what is not known is named, since it may be a
//! misspelt field whose content would be lost.

use std::{collections::BTreeMap, fmt};

use beluga_o11y::{InvalidCall, LLMCallData};
use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

/// The fields of a record, and what must stand there.
const FIELDS: &[(&str, &str)] = &[
    ("id", "a UUID"),
    ("provider", "a string"),
    ("model", "a string"),
    ("name", "a string"),
    (
        "start_time",
        "a time in RFC 3339, such as 2026-11-23T15:04:05Z",
    ),
    ("duration_ms", "milliseconds, a number from 0"),
    ("time_to_first_token_ms", "milliseconds, a number from 0"),
    ("input_tokens", "a whole number from 0"),
    ("output_tokens", "a whole number from 0"),
    ("cache_read_tokens", "a whole number from 0"),
    ("cache_write_tokens", "a whole number from 0"),
    ("reasoning_tokens", "a whole number from 0"),
    ("cost", "a number"),
    ("messages", "JSON"),
    ("response", "JSON"),
    ("model_parameters", "JSON"),
    ("error", "a string or {kind, message, trace}"),
    ("session_id", "a string"),
    ("user_id", "a string"),
    ("tags", "an array of strings"),
    ("environment", "a string"),
    ("release", "a string"),
    ("trace_id", "a string"),
    ("parent_span_id", "a string"),
    ("metadata", "an object"),
];

/// What else stands in a dead letter, and in a line of rejected ones.
const LETTER_FIELDS: &[&str] = &[
    "time", "exporter", "reason", "error", "status", "response", "file", "line", "field", "text",
];

/// Where a dead letter has its call.
pub(crate) const RECORD: &str = "record";

/// Why JSON is no call. It quotes nothing but the name of a field that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) field: Option<String>,
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let what = what.into();
        Self { field: None, what }
    }

    pub(crate) fn too_long(bytes: u64, most: usize) -> Self {
        Self::new(format!(
            "the line has {bytes} bytes, and at most {most} are read"
        ))
    }

    pub(crate) fn of(field: &str, what: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            what: what.into(),
        }
    }
}

impl From<InvalidCall> for Problem {
    fn from(invalid: InvalidCall) -> Self {
        let text = invalid.to_string();
        match text.split_once(": ") {
            Some((field, what)) => Self::of(field, what),
            None => Self::new(text),
        }
    }
}

/// Reads a call, or the call of a dead letter.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub(crate) fn read(json: &[u8], ignore_unknown: bool) -> Result<LLMCallData, Problem> {
    let mut unknown = false;
    let mut letter = false;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = serde_ignored::deserialize(&mut deserializer, |path| match path {
        serde_ignored::Path::Map { key, .. } if key == RECORD => letter = true,
        _ => unknown = true,
    });
    let call: Result<LLMCallData, _> = read.and_then(|call| deserializer.end().map(|()| call));
    match call {
        _ if letter => read_letter(json, ignore_unknown),
        Ok(_) if unknown && !ignore_unknown => Err(explain(json)),
        Ok(call) => {
            call.validate()?;
            Ok(call)
        }
        // A dead letter has a `response` or an `error` of its own, which may not be what a record has there.
        Err(_) if is_letter(json) => read_letter(json, ignore_unknown),
        Err(_) => Err(explain(json)),
    }
}

/// An object, by the names of its fields.
pub(crate) type Object<'a> = BTreeMap<String, &'a RawValue>;

fn is_letter(json: &[u8]) -> bool {
    serde_json::from_slice::<Object<'_>>(json).is_ok_and(|object| object.contains_key(RECORD))
}

fn read_letter(json: &[u8], ignore_unknown: bool) -> Result<LLMCallData, Problem> {
    #[derive(Deserialize)]
    struct Letter<'a> {
        #[serde(borrow)]
        record: &'a RawValue,
    }
    let letter: Letter<'_> = serde_json::from_slice(json).map_err(|_| explain(json))?;
    if !ignore_unknown && let Ok(object) = serde_json::from_slice::<Object<'_>>(json) {
        let mut names = object.keys().map(String::as_str);
        let known = |name: &&str| *name == RECORD || LETTER_FIELDS.contains(name);
        if let Some(unknown) = names.find(|name| !known(name)) {
            return Err(not_known(unknown, LETTER_FIELDS.iter().copied()));
        }
    }
    let record = letter.record.get().as_bytes();
    if is_letter(record) {
        return Err(Problem::of(RECORD, "a dead letter within a dead letter"));
    }
    read(record, ignore_unknown).map_err(|problem| Problem {
        field: Some(match problem.field {
            Some(field) => format!("{RECORD}.{field}"),
            None => RECORD.to_owned(),
        }),
        what: problem.what,
    })
}

/// What is wrong with JSON that is no call.
fn explain(json: &[u8]) -> Problem {
    let text = match self::json(json) {
        Ok(text) => text,
        Err(problem) => return problem,
    };
    if !text.trim_start().starts_with('{') {
        let found = found(text.trim_start());
        return Problem::new(format!("expected a JSON object, found {found}"));
    }
    let object = match serde_json::from_str::<Object<'_>>(text) {
        Ok(object) => object,
        Err(error) => return not_json(&error),
    };
    if object.contains_key("text") && object.contains_key("reason") {
        return Problem::new(
            "the text of a line that was no JSON: put the mended call in place of this line",
        );
    }
    for (name, value) in &object {
        let Some((name, expected)) = FIELDS.iter().find(|(known, _)| known == name) else {
            return not_known(name, FIELDS.iter().map(|(known, _)| *known));
        };
        let alone = format!("{{\"{name}\":{}}}", value.get());
        if serde_json::from_str::<LLMCallData>(&alone).is_err() {
            let found = found(value.get());
            return Problem::of(name, format!("expected {expected}, found {found}"));
        }
    }
    // Each is fine by itself.
    Problem::new("a field stands twice")
}

/// Bytes that are JSON, as text.
///
/// # Errors
///
/// Why they are none.
pub(crate) fn json(bytes: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(format!("not UTF-8 from byte {}", error.valid_up_to() + 1))
    })?;
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(not_json(&error)),
    }
}

pub(crate) fn not_json(error: &serde_json::Error) -> Problem {
    let what = error.to_string();
    // Its words, without the place: a line of its own is always the first.
    let words = what.split(" at line ").next().unwrap_or_default();
    match error.classify() {
        Category::Eof => Problem::new("no JSON: it ends too early"),
        // These quote nothing.
        Category::Syntax => Problem::new(format!("no JSON: {words} at byte {}", error.column())),
        Category::Data | Category::Io => Problem::new("no JSON that can be read"),
    }
}

/// The kind of a JSON value, by how it begins.
fn found(value: &str) -> &'static str {
    match value.bytes().next() {
        Some(b'"') => "another string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "another number",
    }
}

fn not_known(name: &str, known: impl Iterator<Item = &'static str>) -> Problem {
    const MAX_CHARS: usize = 40;
    const LIKE: f64 = 0.8;
    let likeness = |known: &'static str| (strsim::jaro_winkler(name, known), known);
    let likest = known.map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    let what = match likest {
        Some((likeness, known)) if likeness > LIKE => {
            format!("unknown field, perhaps {known} is meant")
        }
        _ => "unknown field".to_owned(),
    };
    let name: String = name
        .chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    Problem::of(&name, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        read(json.as_bytes(), false).unwrap_err().to_string()
    }

    #[test]
    fn the_table_has_the_fields_of_the_record() {
        let mut full = serde_json::Map::new();
        for (name, _) in FIELDS {
            let value = match *name {
                "id" => "01a2053e-d6f8-792b-8988-1657efa89323".into(),
                "start_time" => "2026-11-22T21:52:14Z".into(),
                "tags" => serde_json::json!(["t"]),
                "metadata" => serde_json::json!({"k": 1}),
                "cost" => 0.5.into(),
                name if name.contains("_ms") || name.contains("_tokens") => 1.into(),
                _ => "x".into(),
            };
            full.insert((*name).to_owned(), value);
        }
        let text = serde_json::to_string(&full).unwrap();
        let call = read(text.as_bytes(), false).unwrap();
        let written = serde_json::to_value(&call).unwrap();
        assert_eq!(written, serde_json::Value::Object(full), "and no others");
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        for (json, expected) in [
            ("", "no JSON: it ends too early"),
            ("{\"model\":\"m\"", "no JSON: it ends too early"),
            ("{\"model\":SECRET}", "no JSON: expected value at byte 10"),
            ("SECRET", "no JSON: expected value at byte 1"),
            (
                "{\"model\":\"m\"} {}",
                "no JSON: trailing characters at byte 15",
            ),
            ("[]", "expected a JSON object, found an array"),
            ("\"SECRET\"", "expected a JSON object, found another string"),
            (
                "{\"model\":7}",
                "model: expected a string, found another number",
            ),
            (
                "{\"input_tokens\":\"SECRET\"}",
                "input_tokens: expected a whole number from 0, found another string",
            ),
            (
                "{\"input_tokens\":-1}",
                "input_tokens: expected a whole number from 0, found another number",
            ),
            (
                "{\"id\":\"SECRET\"}",
                "id: expected a UUID, found another string",
            ),
            (
                "{\"start_time\":\"SECRET\"}",
                "start_time: expected a time in RFC 3339, such as 2026-11-23T15:04:05Z, found another string",
            ),
            (
                "{\"tags\":\"SECRET\"}",
                "tags: expected an array of strings, found another string",
            ),
            (
                "{\"error\":7}",
                "error: expected a string or {kind, message, trace}, found another number",
            ),
            (
                "{\"input_token\":7}",
                "input_token: unknown field, perhaps input_tokens is meant",
            ),
            ("{\"zzz\":7}", "zzz: unknown field"),
            (
                "{\"text\":\"SECRET\",\"reason\":\"unreadable\",\"line\":1}",
                "the text of a line that was no JSON: put the mended call in place of this line",
            ),
            (
                "{\"cost\":-1}",
                "cost: -1 USD is negative; leave it out if it is unknown",
            ),
            ("{\"model\":\"a\",\"model\":\"b\"}", "a field stands twice"),
            (
                "{\"record\":{\"cost\":\"SECRET\"}}",
                "record.cost: expected a number, found another string",
            ),
            (
                "{\"record\":{},\"reasn\":\"x\"}",
                "reasn: unknown field, perhaps reason is meant",
            ),
            (
                "{\"record\":{\"record\":{}}}",
                "record: a dead letter within a dead letter",
            ),
            (
                "{\"record\":[]}",
                "record: expected a JSON object, found an array",
            ),
        ] {
            let problem = problem(json);
            assert_eq!(problem, expected, "{json}");
        }
        let deep = format!("{{\"messages\":{}{}}}", "[".repeat(120), "]".repeat(120));
        assert!(problem(&deep).starts_with("messages: JSON is more than 100 levels deep"));
        let not_text = read(b"{\"model\":\"\xff\"}", false).unwrap_err();
        assert_eq!(not_text.to_string(), "not UTF-8 from byte 11");
        let long = format!("{{\"{}\":1}}", "n".repeat(1_000));
        assert!(problem(&long).len() < 60);
    }

    #[test]
    fn unknown_fields_can_be_left_out() {
        let call = read(b"{\"model\":\"m\",\"zzz\":7}", true).unwrap();
        assert_eq!(call.model, "m");
        assert!(read(b"{\"model\":7,\"zzz\":7}", true).is_err());
        assert!(read(b"{\"record\":{\"zzz\":1},\"other\":1}", true).is_ok());
    }

    #[test]
    fn a_dead_letter_is_its_call() {
        let letter =
            br#"{"time":"2026-11-22T21:52:14Z","exporter":"opik","reason":"rejected","error":"422",
            "status":422,"response":{"code":1},"record":{"model":"m","response":"r"}}"#;
        let call = read(letter, false).unwrap();
        assert_eq!(call.model, "m");
        assert_eq!(call.response.unwrap().as_str(), "\"r\"");
    }
}
