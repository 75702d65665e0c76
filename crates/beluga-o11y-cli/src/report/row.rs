//! What a report needs of a call, read without its content: that is most of a line, and making records of it takes most of
//! the time.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use beluga_o11y::{Json, LLMCallData, Usage};
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::figures::Facts;
use crate::record::{self, Problem};

/// A call without its content.
#[derive(Debug, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) provider: Cow<'a, str>,
    pub(crate) model: Cow<'a, str>,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) session: Option<Cow<'a, str>>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) environment: Option<Cow<'a, str>>,
    pub(crate) release: Option<Cow<'a, str>>,
    pub(crate) tags: Vec<Cow<'a, str>>,
    /// Values as JSON.
    pub(crate) metadata: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) duration: Option<Duration>,
    pub(crate) facts: Facts,
}

/// A record as it stands in JSON. What is not read here is what `record::read` has more to say about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    #[serde(rename = "id")]
    _id: Option<Uuid>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    start_time: Option<DateTime<Utc>>,
    duration_ms: Option<f64>,
    time_to_first_token_ms: Option<f64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost: Option<f64>,
    #[serde(rename = "messages")]
    _messages: Option<IgnoredAny>,
    #[serde(rename = "response")]
    _response: Option<IgnoredAny>,
    #[serde(rename = "model_parameters")]
    _model_parameters: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    environment: Option<Text<'a>>,
    #[serde(borrow)]
    release: Option<Text<'a>>,
    #[serde(borrow, rename = "trace_id")]
    _trace_id: Option<Text<'a>>,
    #[serde(borrow, rename = "parent_span_id")]
    _parent_span_id: Option<Text<'a>>,
    #[serde(borrow)]
    metadata: Option<BTreeMap<Text<'a>, &'a RawValue>>,
}

/// Text that is copied only if it holds an escape; within an `Option`, a `Cow` would always be.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a call, or that of a dead letter.
///
/// # Errors
///
/// What `record::read` says is wrong with it.
pub(crate) fn read(json: &[u8], ignore_unknown: bool) -> Result<Row<'_>, Problem> {
    match quickly(json) {
        Some(row) => Ok(row),
        None => record::read(json, ignore_unknown).map(Row::of),
    }
}

/// A record with nothing unusual about it.
fn quickly(json: &[u8]) -> Option<Row<'_>> {
    let utf8 = std::str::from_utf8(json).ok()?;
    // An array would do as well.
    if !utf8.trim_start().starts_with('{') {
        return None;
    }
    let form: Form<'_> = serde_json::from_str(utf8).ok()?;
    let duration = |millis: Option<f64>| match millis {
        None => Some(None),
        Some(millis) => Duration::try_from_secs_f64(millis / 1e3).ok().map(Some),
    };
    let unusual = form.error.is_some()
        || form
            .cost
            .is_some_and(|cost| !cost.is_finite() || cost < 0.0)
        || !is_shallow(json);
    if unusual {
        return None;
    }
    let duration_of_call = duration(form.duration_ms)?;
    let mut usage = Usage::default();
    usage.input_tokens = form.input_tokens;
    usage.output_tokens = form.output_tokens;
    usage.cache_read_tokens = form.cache_read_tokens;
    usage.cache_write_tokens = form.cache_write_tokens;
    usage.reasoning_tokens = form.reasoning_tokens;
    let first_token = duration(form.time_to_first_token_ms)?;
    fn text(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
        text.map(|text| text.0)
    }
    Some(Row {
        provider: text(form.provider).unwrap_or_default(),
        model: text(form.model).unwrap_or_default(),
        name: text(form.name),
        session: text(form.session_id),
        user: text(form.user_id),
        environment: text(form.environment),
        release: text(form.release),
        tags: {
            let tags = form.tags.into_iter().flatten();
            tags.map(|tag| tag.0).collect()
        },
        metadata: {
            let entries = form.metadata.into_iter().flatten();
            entries
                .map(|(name, value)| (name.0, value.get().into()))
                .collect()
        },
        start: form.start_time,
        duration: duration_of_call,
        facts: Facts::new(false, &usage, form.cost, duration_of_call, first_token),
    })
}

impl Row<'_> {
    /// What a report needs of this.
    pub(crate) fn of(call: LLMCallData) -> Self {
        Self {
            facts: Facts::of(&call),
            start: call.has_start_time().then(|| call.start_time()),
            duration: call.duration,
            provider: call.provider.into(),
            model: call.model.into(),
            name: call.name.map(Cow::Owned),
            session: call.session_id.map(Cow::Owned),
            user: call.user_id.map(Cow::Owned),
            environment: call.environment.map(Cow::Owned),
            release: call.release.map(Cow::Owned),
            tags: call.tags.into_iter().map(Cow::Owned).collect(),
            metadata: call
                .metadata
                .iter()
                .map(|(name, value): (&String, &Json)| {
                    (name.clone().into(), value.as_str().to_owned().into())
                })
                .collect(),
        }
    }
}

/// Whether JSON is not too deep for a record. The record itself, an object, may hold content of the greatest depth.
fn is_shallow(json: &[u8]) -> bool {
    const MAX_DEPTH: usize = 100;
    if memchr::memchr2_iter(b'[', b'{', json)
        .nth(MAX_DEPTH)
        .is_none()
    {
        return true;
    }
    let (mut depth, mut rest) = (0_usize, json);
    loop {
        let quote = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        let (outside, quoted) = rest.split_at(quote);
        for byte in outside {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_DEPTH {
                return false;
            }
        }
        // To the end of the string.
        let Some(mut string) = quoted.get(1..) else {
            return true;
        };
        rest = loop {
            match memchr::memchr2(b'"', b'\\', string) {
                None => return true,
                Some(end) if string.get(end) == Some(&b'"') => {
                    break string.get(end + 1..).unwrap_or_default();
                }
                Some(escape) => string = string.get(escape + 2..).unwrap_or_default(),
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A field of a record, or of no record.
    fn field() -> impl Strategy<Value = (String, Value)> {
        let names = [
            "id",
            "provider",
            "model",
            "name",
            "start_time",
            "duration_ms",
            "time_to_first_token_ms",
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cost",
            "messages",
            "response",
            "model_parameters",
            "error",
            "session_id",
            "user_id",
            "tags",
            "environment",
            "release",
            "trace_id",
            "metadata",
            "unknown",
            "record",
        ];
        let fitting = |name: &str| match name {
            "id" => json!("01a2053e-d6f8-792b-8988-1657efa89323"),
            "start_time" => json!("2026-11-22T21:52:14.072279+01:00"),
            "duration_ms" | "time_to_first_token_ms" => json!(840.25),
            "cost" => json!(0.00123),
            "tags" => json!(["a", "b\n", ""]),
            "metadata" => json!({"k": {"nested": [1, 2.5]}, "t": "x\u{1f600}\"", "n": null}),
            "messages" => json!([{"role": "user", "content": "[{\"\\\\"}]),
            name if name.ends_with("_tokens") => json!(117),
            "record" => json!({"model": "m"}),
            _ => json!("größer \" \\ \u{7f}"),
        };
        let odd = prop_oneof![
            Just(Value::Null),
            Just(json!(-1)),
            Just(json!(1.5)),
            Just(json!(1e300)),
            Just(json!("")),
            Just(json!([])),
            Just(json!({})),
            Just(json!("2026")),
            Just(json!({"kind": "E", "message": "m"})),
        ];
        let deep =
            (95_usize..105).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!([inner])));
        (
            prop::sample::select(names.to_vec()),
            prop_oneof![12 => Just(None), 1 => odd.prop_map(Some), 1 => deep.prop_map(Some)],
        )
            .prop_map(move |(name, odd)| (name.to_owned(), odd.unwrap_or_else(|| fitting(name))))
    }

    proptest! {
        #[test]
        fn what_is_read_quickly_is_what_the_record_has(
            fields in prop::collection::vec(field(), 0..8), cut in 0_usize..400, whole in prop::bool::weighted(0.9),
        ) {
            let fields: serde_json::Map<_, _> = fields.into_iter().collect();
            let mut text = Value::Object(fields).to_string().into_bytes();
            if !whole {
                text.truncate(cut);
            }
            let slowly = record::read(&text, false);
            match quickly(&text) {
                Some(row) => prop_assert_eq!(row, Row::of(slowly.unwrap())),
                None => prop_assert_eq!(read(&text, false), slowly.map(Row::of)),
            }
        }
    }

    #[test]
    fn a_usual_record_is_read_quickly() {
        let deepest = (0..99).fold(json!("]}"), |inner, _| json!([inner]));
        for usual in [
            json!({}),
            json!({"provider": "p", "model": "m", "tags": ["a"], "metadata": {"a": 1}, "error": null}),
            json!({"messages": deepest}),
            json!({"messages": vec![json!({"role": "user", "content": "{[\"\\"}); 500]}),
        ] {
            assert!(quickly(usual.to_string().as_bytes()).is_some(), "{usual}");
        }
        for unusual in [
            "",
            "[]",
            "{\"error\":\"x\"}",
            "{\"zzz\":1}",
            "{\"cost\":-1}",
        ] {
            assert!(quickly(unusual.as_bytes()).is_none(), "{unusual}");
        }
        assert!(quickly(b"{\"model\":\"\xff\"}").is_none());
    }
}
