//! The values of a span's fields.

use std::{
    error::Error,
    fmt::{self, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use beluga_o11y::Json;
use tracing::field::{Field, Visit};

use crate::role::{OPERATION, RESERVED, Role};

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Text(String),
}

impl Value {
    /// As a count: whole and not negative. Also from text, as a field has it that is recorded with `%` or `?`.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::U64(value) => Some(*value),
            Self::I64(value) => u64::try_from(*value).ok(),
            Self::Text(text) => text.trim().parse().ok(),
            // 2^53: above it, not every whole number is one.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, and in the range"
            )]
            Self::F64(value) => (value.fract() == 0.0
                && (0.0..=9_007_199_254_740_992.0).contains(value))
            .then_some(*value as u64),
            Self::Bool(_) => None,
        }
    }

    /// As a finite number.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "it is read as a number of seconds or USD"
            )]
            Self::U64(value) => Some(*value as f64),
            #[expect(
                clippy::cast_precision_loss,
                reason = "it is read as a number of seconds or USD"
            )]
            Self::I64(value) => Some(*value as f64),
            Self::F64(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(_) => None,
        }
        .filter(|value: &f64| value.is_finite())
    }

    /// As text that says something.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
            _ => None,
        }
    }

    /// Whether it says anything.
    pub(crate) fn is_filled(&self) -> bool {
        !matches!(self, Self::Text(text) if text.trim().is_empty())
    }

    /// As a flag, also one that was recorded with `%` or `?`.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Text(text) => text.trim() == "true",
            _ => false,
        }
    }

    /// As text, whatever it is.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::U64(value) => value.to_string(),
            Self::I64(value) => value.to_string(),
            Self::F64(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::U64(value) => serializer.serialize_u64(*value),
            Self::I64(value) => serializer.serialize_i64(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// The values of a span, each field once: the last value wins.
#[derive(Debug, Default)]
pub(crate) struct Values {
    fields: Vec<(&'static str, Value)>,
    /// Whether there was an answer that is not kept, since no content is wanted.
    unkept_answer: bool,
}

impl Values {
    pub(crate) fn with_capacity(fields: usize) -> Self {
        Self {
            fields: Vec::with_capacity(fields),
            unkept_answer: false,
        }
    }

    pub(crate) fn has_unkept_answer(&self) -> bool {
        self.unkept_answer
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let found = self.fields.iter().find(|(known, _)| *known == name)?;
        Some(&found.1)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::text)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (&'static str, Value)> {
        self.fields.into_iter()
    }

    /// Adds later values.
    pub(crate) fn merge(&mut self, later: Self) {
        self.unkept_answer |= later.unkept_answer;
        for (name, value) in later.fields {
            self.set(name, value);
        }
    }

    /// The name of a field of a span is the same text each time, not only an equal one.
    fn set(&mut self, name: &'static str, value: Value) {
        let mut known = self.fields.iter_mut();
        match known.find(|(known, _)| ptr::eq(*known, name)) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name, value)),
        }
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => text.as_str().into(),
            value => Self::new(value),
        }
    }
}

/// Reads the fields of a span that are wanted.
pub(crate) struct Reader<'a> {
    values: &'a mut Values,
    role: Role,
    /// Whether content is wanted.
    content: bool,
    read: Read,
    /// Whether there were values that are not read.
    left: bool,
}

/// Which values are read. To format a value runs code that may be anybody's.
#[derive(Clone, Copy, PartialEq)]
enum Read {
    All,
    /// Those that are there already, for as long as a lock is held.
    Ready,
    /// Those that have to be formatted.
    Formatted,
}

impl<'a> Reader<'a> {
    /// Reads all values.
    pub(crate) fn new(values: &'a mut Values, role: Role, content: bool) -> Self {
        Self {
            values,
            role,
            content,
            read: Read::All,
            left: false,
        }
    }

    /// Reads the values that need not be formatted.
    pub(crate) fn ready(values: &'a mut Values, role: Role, content: bool) -> Self {
        Self {
            read: Read::Ready,
            ..Self::new(values, role, content)
        }
    }

    /// Reads the values that `ready` leaves.
    pub(crate) fn formatted(values: &'a mut Values, role: Role, content: bool) -> Self {
        Self {
            read: Read::Formatted,
            ..Self::new(values, role, content)
        }
    }

    /// Whether there were values that are not read.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    fn wants(&self, name: &str) -> bool {
        match self.role {
            Role::Reserved => name.starts_with(RESERVED) || name.starts_with("gen_ai."),
            Role::GenAi | Role::LangChain(_) => true,
        }
    }

    /// A number or a flag, which is no content, unless it stands where content does.
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let of_content = matches!(name, "gen_ai.prompt" | "gen_ai.completion")
            || name.ends_with("_instructions")
            || name.ends_with(".messages");
        if self.read != Read::Formatted && self.wants(name) && (self.content || !of_content) {
            self.values.set(name, value);
        }
    }

    fn set_text(&mut self, field: &Field, text: &str) {
        if self.read == Read::Formatted {
            return;
        }
        if self.wants_text(field.name(), !text.trim().is_empty()) {
            self.values.set(field.name(), Value::Text(text.to_owned()));
        }
    }

    fn format(&mut self, field: &Field, text: impl FnOnce() -> Option<String>) {
        if !self.wants_text(field.name(), true) {
            return;
        }
        if self.read == Read::Ready {
            self.left = true;
        } else if let Some(text) = text() {
            self.values.set(field.name(), Value::Text(text));
        }
    }

    fn wants_text(&mut self, name: &str, is_filled: bool) -> bool {
        if self.content || is_no_content(name, self.role) {
            return self.wants(name);
        }
        // An answer that is not wanted is none the less an answer.
        let is_answer = matches!(name, "gen_ai.output.messages" | "gen_ai.completion");
        self.values.unkept_answer |= is_answer && is_filled;
        false
    }
}

/// Whether the text of a field is known not to be what people, models or tools said. Of a field that nobody knows, that cannot
/// be said: `#[instrument]` makes one of each argument of a function.
fn is_no_content(name: &str, role: Role) -> bool {
    const KNOWN: [&str; 14] = [
        OPERATION,
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.output.type",
        "gen_ai.agent.id",
        "gen_ai.agent.name",
        "gen_ai.agent.version",
        "gen_ai.tool.name",
        "gen_ai.tool.type",
        "gen_ai.tool.call.id",
        "gen_ai.tool.call.outcome",
        "gen_ai.tool.error.type",
        "gen_ai.request.model",
        "error",
    ];
    const BEGINNINGS: [&str; 9] = [
        RESERVED,
        "error.",
        "exception.",
        "gen_ai.conversation.",
        "gen_ai.response.",
        "gen_ai.usage.",
        "otel.",
        "rig.",
        "server.",
    ];
    // Those that the conventions name; `gen_ai.request.prompt`, which some have, is content.
    const PARAMETERS: [&str; 10] = [
        "choice.count",
        "encoding_formats",
        "frequency_penalty",
        "max_tokens",
        "presence_penalty",
        "seed",
        "stream",
        "temperature",
        "top_k",
        "top_p",
    ];
    let of_langchain = ["provider", "model", "chain", "destination", "tool"];
    KNOWN.contains(&name)
        || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || name
            .strip_prefix("gen_ai.request.")
            .is_some_and(|name| PARAMETERS.contains(&name))
        || (matches!(role, Role::LangChain(_)) && of_langchain.contains(&name))
}

impl Visit for Reader<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::U64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::I64(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::F64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.format(field, || {
            let mut text = formatted(format_args!("{value}"));
            let mut cause = guarded(|| value.source()).flatten();
            // An error may name itself as its cause.
            for _ in 0..MAX_CAUSES {
                let Some(error) = cause else { break };
                text.push_str(": ");
                text.push_str(&formatted(format_args!("{error}")));
                cause = guarded(|| error.source()).flatten();
            }
            Some(text)
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.format(field, || plain(&formatted(format_args!("{value:?}"))));
    }
}

/// Formats what may be anybody's type: one that panics or fails while it is formatted gives what it wrote until then.
pub(crate) fn formatted(value: fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    guarded(|| {
        let _ = text.write_fmt(value);
    });
    text
}

const MAX_CAUSES: usize = 32;

/// Runs what may be anybody's; `None` if it panics.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run))
        // To drop what it panicked with may panic, too.
        .map_err(mem::forget)
        .ok()
}

/// What was meant by a value that was formatted with `?`: `Some("gpt-4o")` and `"gpt-4o"` are gpt-4o, and `None` is
/// nothing. With `%` it comes as it is.
fn plain(debug: &str) -> Option<String> {
    if debug == "None" {
        return None;
    }
    let some = debug.strip_prefix("Some(");
    let debug = some
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(debug);
    // Rust quotes as JSON does, but for some characters.
    let quoted = debug
        .starts_with('"')
        .then(|| serde_json::from_str(debug).ok().or_else(|| unquoted(debug)));
    Some(quoted.flatten().unwrap_or_else(|| debug.to_owned()))
}

/// One text as Rust quotes it; `None` if that is not what it is.
fn unquoted(debug: &str) -> Option<String> {
    let mut rest = debug.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut text = String::with_capacity(debug.len());
    while let Some(c) = rest.next() {
        text.push(match c {
            '"' => return None,
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (code, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                    rest = after.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                c @ ('"' | '\\' | '\'') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_in_every_type() {
        for value in [
            Value::U64(7),
            Value::I64(7),
            Value::F64(7.0),
            Value::Text(" 7 ".into()),
        ] {
            assert_eq!(value.count(), Some(7), "{value:?}");
        }
        for value in [
            Value::I64(-1),
            Value::F64(7.5),
            Value::F64(-1.0),
            Value::F64(f64::NAN),
            Value::F64(f64::INFINITY),
            Value::Text("seven".into()),
            Value::Text("-7".into()),
            Value::Bool(true),
        ] {
            assert_eq!(value.count(), None, "{value:?}");
        }
        assert_eq!(Value::U64(u64::MAX).count(), Some(u64::MAX));
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(Value::Text("0.25".into()).number(), Some(0.25));
        assert_eq!(Value::I64(-2).number(), Some(-2.0));
        assert_eq!(Value::F64(f64::NAN).number(), None);
        assert_eq!(Value::Text("inf".into()).number(), None);
    }

    #[test]
    fn debug_is_read_as_it_was_meant() {
        for (debug, meant) in [
            (format!("{:?}", "a\"b\n"), Some("a\"b\n")),
            (format!("{:?}", Some("gpt-4o")), Some("gpt-4o")),
            (format!("{:?}", Some(5)), Some("5")),
            (format!("{:?}", None::<u8>), None),
            ("plain".to_owned(), Some("plain")),
            ("\"".to_owned(), Some("\"")),
            (format!("{:?}", "it\u{7f}s"), Some("it\u{7f}s")),
        ] {
            assert_eq!(plain(&debug).as_deref(), meant, "{debug}");
        }
    }
}
