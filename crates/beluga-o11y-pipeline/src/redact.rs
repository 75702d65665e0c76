//! Redaction: every string of a call goes through the user's function.

use std::{borrow::Cow, collections::BTreeMap, fmt, mem};

use beluga_o11y::{CallError, Json, LLMCallData};

use crate::{names::Names, panics::caught};

/// Passes every string of a call through a function, and lets nothing pass that the function could not see.
///
/// Content is changed in its text: what is not a string is copied as it stands, so that `1.50` stays `1.50`, and
/// content in which no string changes is not even copied. An empty provider or model is unknown, not a string, and the
/// function is not asked about it.
pub(crate) struct Redactor(Box<Function>);

type Function = dyn for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync;

/// The metadata entry of a call whose redaction failed.
const FAILED: &str = "redaction_failed";

impl Redactor {
    pub(crate) fn new(
        redact: impl for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(redact))
    }

    /// Redacts a call. If the function panics over any of its strings, the call loses its content and keeps its
    /// numbers, its times and those labels that pass the function.
    pub(crate) fn apply(&self, call: &mut LLMCallData) {
        let content = caught(|| self.content(call)).is_some();
        let labels = self.labels(call);
        if !(content && labels) {
            strip(call);
        }
    }

    /// Redacts what a call can do without.
    fn content(&self, call: &mut LLMCallData) {
        let content = [
            &mut call.messages,
            &mut call.response,
            &mut call.model_parameters,
        ];
        for json in content.into_iter().flatten() {
            self.json(json);
        }
        for text in call.name.iter_mut().chain(&mut call.tags) {
            self.text(text);
        }
        if let Some(error) = call.error.as_mut().filter(|error| !error.is_empty()) {
            self.error(error);
        }
        if !call.metadata.is_empty() {
            call.metadata = self.metadata(mem::take(&mut call.metadata));
        }
    }

    /// Redacts what says whose call it is, each by itself: what the function panics over is emptied. Tells whether all
    /// of them passed.
    fn labels(&self, call: &mut LLMCallData) -> bool {
        let passes = |text: &mut String| caught(|| self.text(text)).is_some();
        let mut all = true;
        for label in [&mut call.provider, &mut call.model] {
            if !label.is_empty() && !passes(label) {
                label.clear();
                all = false;
            }
        }
        for label in [
            &mut call.session_id,
            &mut call.user_id,
            &mut call.environment,
            &mut call.release,
            &mut call.trace_id,
            &mut call.parent_span_id,
        ] {
            if !label.as_mut().is_none_or(passes) {
                *label = None;
                all = false;
            }
        }
        all
    }

    fn error(&self, error: &mut CallError) {
        if !error.message.is_empty() {
            self.text(&mut error.message);
        }
        let optional = [&mut error.kind, &mut error.trace];
        for text in optional.into_iter().flatten() {
            self.text(text);
        }
        // An error that says nothing at all would be none.
        if error.is_empty() {
            error.message = "removed by the redaction function".to_owned();
        }
    }

    fn metadata(&self, metadata: BTreeMap<String, Json>) -> BTreeMap<String, Json> {
        let mut names = Names::default();
        let redacted = metadata.into_iter().map(|(mut key, mut value)| {
            self.text(&mut key);
            self.json(&mut value);
            (names.other_than_taken(&key).unwrap_or(key), value)
        });
        redacted.collect()
    }

    fn text(&self, text: &mut String) {
        if let Some(redacted) = self.changed(text) {
            *text = redacted;
        }
    }

    /// What the function makes of a text, if that is something else.
    fn changed(&self, text: &str) -> Option<String> {
        let redacted = (self.0)(text);
        (redacted != text).then(|| redacted.into_owned())
    }

    fn json(&self, json: &mut Json) {
        if json.error().is_some() {
            return;
        }
        if let Some(text) = self.json_text(json.as_str()) {
            // It is JSON, since only strings were replaced. If not, it does not pass.
            *json = Json::parse(text).unwrap_or_else(|_| Json::new("removed: cannot be redacted"));
        }
    }

    /// JSON text with its strings redacted, if any changed.
    fn json_text(&self, text: &str) -> Option<String> {
        let mut keys_changed = false;
        let redacted = rewritten(text, |piece| match piece {
            Piece::Between(_) => None,
            Piece::Text(literal) => self.literal(literal),
            Piece::Key(literal) => {
                let key = self.literal(literal);
                keys_changed |= key.is_some();
                key
            }
        })?;
        let renamed = keys_changed.then(|| with_distinct_keys(&redacted));
        renamed.flatten().or(Some(redacted))
    }

    /// A string as it stands in JSON text, redacted, if it changed.
    fn literal(&self, literal: &str) -> Option<String> {
        match unescaped(literal) {
            Some(text) => self.changed(&text).as_deref().map(quoted),
            // What cannot be shown to the function does not pass.
            None => Some(quoted("")),
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// Takes away what may hold content, except for the labels.
fn strip(call: &mut LLMCallData) {
    call.messages = None;
    call.response = None;
    call.model_parameters = None;
    call.name = None;
    call.tags = Vec::new();
    call.metadata = BTreeMap::from([(FAILED.to_owned(), Json::new(&true))]);
    call.error = call
        .error
        .take()
        .filter(|error| !error.is_empty())
        .map(|_| CallError::new("removed: the redaction function panicked"));
}

/// A piece of JSON text. A string is a piece of its own, with its quotes and its escapes.
enum Piece<'a> {
    /// A key of an object.
    Key(&'a str),
    /// A string that is no key.
    Text(&'a str),
    /// All that stands between two strings.
    Between(&'a str),
}

/// Cuts valid JSON text into pieces, in one go and without recursion.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let string = self.0.starts_with('"');
        let length = match string {
            true => literal_length(self.0),
            false => self.0.find('"').unwrap_or(self.0.len()),
        };
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        match string {
            true if rest.trim_start().starts_with(':') => Some(Piece::Key(piece)),
            true => Some(Piece::Text(piece)),
            false if piece.is_empty() => None,
            false => Some(Piece::Between(piece)),
        }
    }
}

/// The length of the string that the text begins with, with both quotes.
fn literal_length(text: &str) -> usize {
    let mut length = 1;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let Some((inside, _)) = rest.split_once('"') else {
            return text.len();
        };
        length += inside.len() + 1;
        let escapes = inside.bytes().rev().take_while(|byte| *byte == b'\\');
        if escapes.count().is_multiple_of(2) {
            return length;
        }
    }
}

/// JSON text with some of its pieces replaced; `None` if none is.
fn rewritten(text: &str, mut replace: impl FnMut(&Piece<'_>) -> Option<String>) -> Option<String> {
    let mut written = String::new();
    let (mut done, mut at) = (0, 0);
    for piece in Pieces(text) {
        let (Piece::Key(old) | Piece::Text(old) | Piece::Between(old)) = piece;
        let end = at + old.len();
        if let Some(new) = replace(&piece) {
            written.reserve(text.len() - done);
            written.push_str(text.get(done..at).unwrap_or_default());
            written.push_str(&new);
            done = end;
        }
        at = end;
    }
    (done > 0).then(|| written + text.get(done..).unwrap_or_default())
}

/// JSON text in which no object has a key twice: most readers would keep one of the values only. `None` if none has.
fn with_distinct_keys(text: &str) -> Option<String> {
    let mut objects: Vec<Names> = Vec::new();
    rewritten(text, |piece| match piece {
        Piece::Text(_) => None,
        Piece::Key(literal) => {
            let other = objects.last_mut()?.other_than_taken(&unescaped(literal)?)?;
            Some(quoted(&other))
        }
        Piece::Between(between) => {
            for byte in between.bytes() {
                match byte {
                    b'{' => objects.push(Names::default()),
                    b'}' => drop(objects.pop()),
                    _ => {}
                }
            }
            None
        }
    })
}

/// The text that a string stands for.
fn unescaped(literal: &str) -> Option<Cow<'_, str>> {
    let inside = literal.strip_prefix('"')?.strip_suffix('"')?;
    match inside.contains('\\') {
        true => serde_json::from_str(literal).ok().map(Cow::Owned),
        false => Some(Cow::Borrowed(inside)),
    }
}

/// A text as a string of JSON. (Never fails; if it did, the empty text is no JSON and would not pass.)
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        panic,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    const CANARY: &str = "c4n4ry";

    fn without_canary() -> Redactor {
        Redactor::new(|text| match text.contains(CANARY) {
            true => text.replace(CANARY, "[gone]").into(),
            false => text.into(),
        })
    }

    /// The canary in every string and every key.
    fn full() -> LLMCallData {
        let content = || json!({"c4n4ry": ["x c4n4ry y", {"deep c4n4ry": "c4n4ry"}, 1.5, null]});
        LLMCallData::new("provider c4n4ry", "model c4n4ry")
            .with_name("name c4n4ry")
            .with_messages(content())
            .with_response(content())
            .with_model_parameters(content())
            .with_error(
                CallError::new("message c4n4ry")
                    .with_kind("kind c4n4ry")
                    .with_trace("trace c4n4ry"),
            )
            .with_session_id("session c4n4ry")
            .with_user_id("user c4n4ry")
            .with_tag("tag c4n4ry")
            .with_tag("other tag c4n4ry")
            .with_environment("environment c4n4ry")
            .with_release("release c4n4ry")
            .with_trace_id("trace c4n4ry")
            .with_parent_span_id("span c4n4ry")
            .with_metadata("key c4n4ry", content())
            .with_metadata("other key c4n4ry", "c4n4ry")
            .with_tokens(500, 150)
            .with_cost(0.25)
            .with_duration(Duration::from_secs(2))
            .with_time_to_first_token(Duration::from_secs(1))
    }

    fn text_of(call: &LLMCallData) -> String {
        serde_json::to_string(call).unwrap()
    }

    fn redacted(redactor: &Redactor, text: &str) -> String {
        let mut json = Json::parse(text).unwrap();
        redactor.json(&mut json);
        assert_eq!(json.error(), None);
        json.as_str().to_owned()
    }

    fn numbers(call: &LLMCallData) -> impl PartialEq + std::fmt::Debug + use<> {
        let times = (call.start_time(), call.duration, call.time_to_first_token);
        (call.id(), times, call.usage, call.cost)
    }

    #[test]
    fn no_string_is_forgotten() {
        let before = full();
        let strings = text_of(&before).matches(CANARY).count();
        let mut call = before.clone();
        without_canary().apply(&mut call);
        let after = text_of(&call);
        assert!(!after.contains(CANARY), "{after}");
        assert_eq!(after.matches("[gone]").count(), strings);
        assert_eq!(after.replace("[gone]", CANARY), text_of(&before));
        assert_eq!(numbers(&call), numbers(&before));
    }

    #[test]
    fn every_string_is_shown_to_the_function_once() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let redactor = Redactor::new(move |text| {
            assert!(text.contains(CANARY));
            counter.fetch_add(1, Ordering::Relaxed);
            text.into()
        });
        let mut call = full();
        redactor.apply(&mut call);
        assert!(!call.metadata.contains_key(FAILED));
        let strings = text_of(&full()).matches(CANARY).count();
        assert_eq!(seen.load(Ordering::Relaxed), strings);
    }

    #[test]
    fn escapes_hide_nothing() {
        for (text, expected) in [
            (r#""\u0063\u0034n4ry""#, r#""[gone]""#),
            (r#"{"\u0063\u0034n4ry":1}"#, r#"{"[gone]":1}"#),
            (r#""\"c4n4ry\\""#, r#""\"[gone]\\""#),
            (
                r#"["\\","c4n4ry\\\"","\\\\"]"#,
                r#"["\\","[gone]\\\"","\\\\"]"#,
            ),
            (r#""\ud83d\udc0bc4n4ry🐋\u0001""#, r#""🐋[gone]🐋\u0001""#),
            // Half a character, which `Json` replaces.
            (r#""c4n4ry\ud83d""#, "\"[gone]\u{fffd}\""),
            (r#"{"a" : "c4n4ry" }"#, r#"{"a" : "[gone]" }"#),
        ] {
            assert_eq!(redacted(&without_canary(), text), expected);
        }
    }

    #[test]
    fn what_does_not_change_stays_as_it_is_written() {
        let huge = "9".repeat(200);
        let text = format!(
            r#"{{ "a" : [1.50, -0, 1e-9, {huge},{NEWLINE} true, null, "\u00e9\/", {{}}, []], "b":"c4n4ry" }}"#,
            NEWLINE = "\n\t"
        );
        let expected = text.replace(CANARY, "[gone]");
        assert_eq!(redacted(&without_canary(), &text), expected);
    }

    #[test]
    fn content_without_a_change_is_not_copied() {
        let messages = Json::parse(r#"{"a": "\u0041", "a": 1}"#).unwrap();
        let mut call = LLMCallData::new("a", "b").with_metadata("k", 1);
        call.messages = Some(messages.clone());
        without_canary().apply(&mut call);
        let same = |json: &Json| std::ptr::eq(json.as_raw(), messages.as_raw());
        assert!(call.messages.as_ref().is_some_and(same));
    }

    #[test]
    fn keys_that_become_equal_are_numbered() {
        let blank = || {
            Redactor::new(|text| match text.parse::<u8>() {
                Ok(_) => "n".into(),
                Err(_) => text.into(),
            })
        };
        for (text, expected) in [
            (r#"{"1":1,"2":2,"3":3}"#, r#"{"n":1,"n_2":2,"n_3":3}"#),
            (r#"{"n_2":1,"1":2,"2":3}"#, r#"{"n_2":1,"n":2,"n_3":3}"#),
            (r#"{"1":1,"2":2,"n_2":3}"#, r#"{"n":1,"n_2":2,"n_2_2":3}"#),
            (r#"{"1":1,"\u006e":2}"#, r#"{"n":1,"n_2":2}"#),
            (
                r#"{"1":{"2":2,"3":[{"4":4},"5"]},"6":{}}"#,
                r#"{"n":{"n":2,"n_2":[{"n":4},"n"]},"n_2":{}}"#,
            ),
            ("{ \"1\" : 1, \"2\"\n:2 }", "{ \"n\" : 1, \"n_2\"\n:2 }"),
            (r#"[{"1":1},{"2":2}]"#, r#"[{"n":1},{"n":2}]"#),
        ] {
            assert_eq!(redacted(&blank(), text), expected);
        }
        let mut call = LLMCallData::new("a", "b")
            .with_metadata("1", "x")
            .with_metadata("2", "y")
            .with_metadata("n", "z");
        blank().apply(&mut call);
        let entries: Vec<_> = call
            .metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            entries,
            [("n", "\"x\""), ("n_2", "\"y\""), ("n_3", "\"z\"")]
        );
    }

    #[test]
    fn a_hundred_thousand_equal_keys_are_no_trouble() {
        let keys: Vec<_> = (0..100_000).map(|i| format!("\"{i}\":{i}")).collect();
        let text = format!("{{{}}}", keys.join(","));
        let all_one = Redactor::new(|_| "x".into());
        let object: Map<String, Value> = serde_json::from_str(&redacted(&all_one, &text)).unwrap();
        assert_eq!(object.len(), 100_000);
        assert_eq!(object["x_100000"], 99_999);
    }

    #[test]
    fn depth_is_no_trouble() {
        let text = r#"{"c4n4ry":["#.repeat(50) + r#""c4n4ry""# + &"]}".repeat(50);
        let expected = text.replace(CANARY, "[gone]");
        assert_eq!(redacted(&without_canary(), &text), expected);
    }

    #[test]
    fn content_that_is_held_as_an_error_stays() {
        let deep: Json = serde_json::from_str(&("[".repeat(200) + &"]".repeat(200))).unwrap();
        let mut call = LLMCallData::new("a", "b");
        call.messages = Some(deep.clone());
        Redactor::new(|_| "x".into()).apply(&mut call);
        assert_eq!(call.messages, Some(deep));
    }

    #[test]
    fn an_error_stays_an_error() {
        let mut call = LLMCallData::new("a", "b").with_error("c4n4ry");
        Redactor::new(|_| "".into()).apply(&mut call);
        assert_eq!(
            call.error,
            Some(CallError::new("removed by the redaction function"))
        );
        call.error = Some(CallError::new(""));
        Redactor::new(|_| "x".into()).apply(&mut call);
        assert_eq!(call.error, Some(CallError::new("")));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let mut call = LLMCallData::new("", "").with_error(CallError::new("").with_kind("k"));
        Redactor::new(|_| "x".into()).apply(&mut call);
        assert_eq!((call.provider.as_str(), call.model.as_str()), ("", ""));
        assert_eq!(call.error, Some(CallError::new("").with_kind("x")));
    }

    /// Panics over the string with this number, counted from 0, and redacts the others.
    fn panics_at(number: usize) -> Redactor {
        let count = AtomicUsize::new(0);
        Redactor::new(move |text| {
            assert_ne!(count.fetch_add(1, Ordering::Relaxed), number);
            text.replace(CANARY, "[gone]").into()
        })
    }

    #[test]
    fn a_panic_over_any_string_costs_the_content_and_nothing_else() {
        let strings = text_of(&full()).matches(CANARY).count();
        for number in 0..strings {
            let before = full();
            let mut call = before.clone();
            panics_at(number).apply(&mut call);
            let text = text_of(&call);
            assert!(!text.contains(CANARY), "{number}: {text}");
            assert_eq!(numbers(&call), numbers(&before));
            assert_eq!(
                call.metadata,
                BTreeMap::from([(FAILED.to_owned(), Json::new(&true))])
            );
            assert_eq!(
                (&call.messages, &call.response, &call.model_parameters),
                (&None, &None, &None)
            );
            assert_eq!((&call.name, call.tags.len()), (&None, 0));
            assert_eq!(
                call.error,
                Some(CallError::new("removed: the redaction function panicked"))
            );
            // Of the eight labels, at most the one that it panicked over is missing.
            let labels = text.matches("[gone]").count();
            assert!(labels == 8 || labels == 7, "{number}: {text}");
        }
        let mut untouched = full();
        panics_at(strings).apply(&mut untouched);
        assert!(!untouched.metadata.contains_key(FAILED));
    }

    #[test]
    fn the_label_that_it_panics_over_is_emptied() {
        let mut call = full();
        Redactor::new(
            |text| match text.starts_with("model") || text.starts_with("user") {
                true => panic!("no"),
                false => text.replace(CANARY, "[gone]").into(),
            },
        )
        .apply(&mut call);
        assert_eq!(
            (call.provider.as_str(), call.model.as_str()),
            ("provider [gone]", "")
        );
        assert_eq!(call.user_id, None);
        assert_eq!(call.session_id.as_deref(), Some("session [gone]"));
        assert_eq!(call.messages, None);
    }

    #[test]
    fn a_function_that_always_panics_leaves_the_numbers() {
        let before = full();
        let mut call = before.clone();
        Redactor::new(|_| panic!("no")).apply(&mut call);
        assert_eq!(numbers(&call), numbers(&before));
        let value = serde_json::to_value(&call).unwrap();
        let keys: Vec<_> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = [
            "cost",
            "duration_ms",
            "error",
            "id",
            "input_tokens",
            "metadata",
            "model",
            "output_tokens",
            "provider",
            "start_time",
            "time_to_first_token_ms",
        ];
        assert_eq!(keys, expected);
        assert!(!text_of(&call).contains(CANARY));
    }

    #[test]
    fn a_call_without_an_error_gets_none_by_a_panic() {
        let mut call = LLMCallData::new("a", "b");
        Redactor::new(|_| panic!("no")).apply(&mut call);
        assert_eq!(call.error, None);
        call.error = Some(CallError::new(""));
        call.provider = "a".to_owned();
        Redactor::new(|_| panic!("no")).apply(&mut call);
        assert_eq!(call.error, None);
    }

    /// Its drop panics, with a payload whose drop panics.
    struct Mine(u8);

    impl Drop for Mine {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic::panic_any(Self(self.0 - 1));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_does_no_harm() {
        for mines in 0..4 {
            let mut call = full();
            Redactor::new(move |_| panic::panic_any(Mine(mines))).apply(&mut call);
            assert!(call.metadata.contains_key(FAILED));
        }
    }

    #[test]
    fn a_panic_while_another_one_unwinds_does_no_harm() {
        struct Submits;
        impl Drop for Submits {
            fn drop(&mut self) {
                let mut call = full();
                Redactor::new(|_| panic!("no")).apply(&mut call);
                assert!(call.metadata.contains_key(FAILED));
            }
        }
        let thread = std::thread::spawn(|| {
            let _submits = Submits;
            panic!("first");
        });
        assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&"first"));
    }

    #[test]
    fn it_can_be_shared_and_its_debug_shows_nothing() {
        fn shared(_: &(impl Send + Sync)) {}
        let redactor = without_canary();
        shared(&redactor);
        assert_eq!(format!("{redactor:?}"), "Redactor { .. }");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = || {
            prop_oneof![
                any::<String>(),
                "[ab\"\\\\:{}, \u{0}-\u{1f}]{0,8}",
                Just(CANARY.to_owned()),
                "(c4n4ry|é|🐋|\u{2028}){0,3}",
            ]
        };
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((text(), inner), 0..8)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// The same, done on the value.
    fn redacted_value(value: &Value, redact: fn(&str) -> Cow<'_, str>) -> Value {
        match value {
            Value::String(text) => redact(text).into(),
            Value::Array(items) => items
                .iter()
                .map(|item| redacted_value(item, redact))
                .collect(),
            Value::Object(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    let key = redact(key).into_owned();
                    let others = (2..).map(|number| format!("{key}_{number}"));
                    let free = std::iter::once(key.clone())
                        .chain(others)
                        .find(|name| !object.contains_key(name))
                        .unwrap();
                    object.insert(free, redacted_value(value, redact));
                }
                Value::Object(object)
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn a_function_that_changes_nothing_changes_nothing(value in any_value()) {
            for text in [value.to_string(), format!("{value:#}")] {
                let same = Redactor::new(|text| text.to_owned().into());
                prop_assert_eq!(redacted(&same, &text), text);
            }
        }

        #[test]
        fn the_text_is_redacted_as_the_value_would_be(value in any_value()) {
            let functions: [fn(&str) -> Cow<'_, str>; 4] = [
                |text| text.replace(CANARY, "[gone]").into(),
                // Makes many keys equal.
                |text| text.get(..1).unwrap_or_default().into(),
                |text| format!("\"{text}\\").into(),
                |_| "x".into(),
            ];
            for function in functions {
                for text in [value.to_string(), format!("{value:#}")] {
                    // Reading a number may change its last digit.
                    let read: Value = serde_json::from_str(&text).unwrap();
                    let redacted = redacted(&Redactor::new(function), &text);
                    let redacted: Value = serde_json::from_str(&redacted).unwrap();
                    prop_assert_eq!(redacted, redacted_value(&read, function));
                }
            }
        }
    }
}
