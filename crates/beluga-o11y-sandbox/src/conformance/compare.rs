//! What was given against what is shown. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::time::Duration;

use beluga_o11y::{CallError, Json, LLMCallData};
use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Map, Number, Value};

use super::Feature;

/// The shown text of a value at most.
const MAX_SHOWN_CHARS: usize = 200;

/// One feature of a call, compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// None: the model.
    pub(crate) feature: Option<Feature>,
    /// Whether the call was given one.
    pub(crate) given: bool,
    /// What was expected and seen, if it is not the same.
    pub(crate) difference: Option<String>,
}

/// Compares all features.
pub(crate) fn compare(given: &LLMCallData, seen: &LLMCallData) -> Vec<Comparison> {
    let mut all = names(given, seen);
    all.extend(counts(given, seen));
    all.extend(labels(given, seen));
    all.extend(contents(given, seen));
    all.extend(metadata(given, seen));
    all.extend(times(given, seen));
    all.push(cost(given, seen));
    all.extend(errors(given, seen));
    all
}

fn names(given: &LLMCallData, seen: &LLMCallData) -> Vec<Comparison> {
    let model = |call: &LLMCallData| text(&call.model);
    let provider = |call: &LLMCallData| text(&call.provider.to_lowercase());
    let name = given.name.as_deref().filter(|name| !name.trim().is_empty());
    vec![
        compared(None, "model", model(given), model(seen)),
        feature(Feature::Provider, provider(given), provider(seen)),
        if_given(Feature::Name, name, Some(&seen.display_name())),
    ]
}

fn counts(given: &LLMCallData, seen: &LLMCallData) -> impl Iterator<Item = Comparison> {
    use Feature::*;
    let of = |call: &LLMCallData| {
        let usage = &call.usage;
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        ]
    };
    [
        InputTokens,
        OutputTokens,
        CacheReadTokens,
        CacheWriteTokens,
        ReasoningTokens,
    ]
    .into_iter()
    .zip(of(given).into_iter().zip(of(seen)))
    .map(|(of, (given, seen))| feature(of, given, seen))
}

fn labels(given: &LLMCallData, seen: &LLMCallData) -> Vec<Comparison> {
    use Feature::*;
    let ids = [
        (SessionId, &given.session_id, &seen.session_id),
        (UserId, &given.user_id, &seen.user_id),
        (Environment, &given.environment, &seen.environment),
        (Release, &given.release, &seen.release),
        (TraceId, &given.trace_id, &seen.trace_id),
        (ParentSpanId, &given.parent_span_id, &seen.parent_span_id),
    ];
    let present = |id: &Option<String>| id.as_deref().and_then(text);
    let ids = ids.map(|(of, given, seen)| feature(of, present(given), present(seen)));
    let mut all = Vec::from(ids);
    all.push(feature(Id, Some(given.id()), Some(seen.id())));
    all.push(feature(Tags, tags(given), tags(seen)));
    all
}

fn contents(given: &LLMCallData, seen: &LLMCallData) -> [Comparison; 3] {
    use Feature::*;
    [
        (Messages, &given.messages, &seen.messages),
        (Response, &given.response, &seen.response),
        (
            ModelParameters,
            &given.model_parameters,
            &seen.model_parameters,
        ),
    ]
    .map(|(of, given, seen)| {
        let (given, seen) = (content(given.as_ref()), content(seen.as_ref()));
        let difference = match (&given, &seen) {
            (None, None) => None,
            (Some(given), Some(seen)) if of != ModelParameters && is_wrapped(given, seen) => None,
            (Some(given), Some(seen)) => unlike(given, seen, &of.to_string()),
            _ => Some(differ(
                of,
                &shown_value(given.as_ref()),
                &shown_value(seen.as_ref()),
            )),
        };
        Comparison {
            feature: Some(of),
            given: given.is_some(),
            difference,
        }
    })
}

fn times(given: &LLMCallData, seen: &LLMCallData) -> [Comparison; 3] {
    let start = |call: &LLMCallData| call.start_time();
    let apart = (start(given) - start(seen)).abs();
    let shown_start = |call: &LLMCallData| start(call).to_rfc3339_opts(SecondsFormat::Nanos, true);
    let shown = |time: Option<Duration>| time.map_or_else(nothing, |time| format!("{time:?}"));
    let near = |a: Duration, b: Duration| a.abs_diff(b) <= Duration::from_millis(1);
    let durations = (given.duration, seen.duration);
    let first = (given.time_to_first_token, seen.time_to_first_token);
    [
        alike(
            Feature::StartTime,
            true,
            apart <= TimeDelta::milliseconds(1),
            [shown_start(given), shown_start(seen)],
        ),
        alike(
            Feature::Duration,
            durations.0.is_some(),
            near(
                durations.0.unwrap_or_default(),
                durations.1.unwrap_or_default(),
            ),
            [shown(durations.0), shown(durations.1)],
        ),
        alike(
            Feature::TimeToFirstToken,
            first.0.is_some(),
            match first {
                (Some(given), Some(seen)) => near(given, seen),
                (given, seen) => given == seen,
            },
            [shown(first.0), shown(first.1)],
        ),
    ]
}

fn cost(given: &LLMCallData, seen: &LLMCallData) -> Comparison {
    let shown = |cost: Option<f64>| cost.map_or_else(nothing, |cost| format!("{cost} USD"));
    let same = match (given.cost, seen.cost) {
        (Some(given), Some(seen)) => (given - seen).abs() <= given.abs() * 1e-9,
        (given, seen) => given.is_none() && seen.is_none(),
    };
    let texts = [shown(given.cost), shown(seen.cost)];
    alike(Feature::Cost, given.cost.is_some(), same, texts)
}

/// What was not given may be filled in by the backend, but for the error itself; all of it may stand in one text.
fn errors(given: &LLMCallData, seen: &LLMCallData) -> [Comparison; 3] {
    let (given, seen) = (given.error.as_ref(), seen.error.as_ref());
    let shown_text = seen.and_then(|error| text(&error.message));
    let is_in_text =
        |part: &str| matches!(&shown_text, Some(text) if text.contains(&without_nul(part)));
    let difference = match (given, seen) {
        (Some(_), None) => Some(differ(Feature::Error, "one", "none")),
        (None, Some(_)) => Some(differ(Feature::Error, "none", "one")),
        (Some(given), Some(_)) if !is_in_text(&given.message) && !given.message.is_empty() => {
            let message = text(&given.message);
            compared(None, "error.message", message, shown_text.clone()).difference
        }
        _ => None,
    };
    let part = |of: Feature, field: fn(&CallError) -> &Option<String>| {
        let given = given.and_then(|error| field(error).as_deref());
        let seen = seen.and_then(|error| field(error).as_deref());
        if seen.is_none() && given.is_some_and(is_in_text) {
            return if_given(of, given, given);
        }
        if_given(of, given, seen)
    };
    [
        Comparison {
            feature: Some(Feature::Error),
            given: given.is_some(),
            difference,
        },
        part(Feature::ErrorKind, |error| &error.kind),
        part(Feature::ErrorTrace, |error| &error.trace),
    ]
}

/// A text of which the backend may have one of its own, if none was given.
fn if_given(of: Feature, given: Option<&str>, seen: Option<&str>) -> Comparison {
    match given.and_then(text) {
        None => Comparison {
            feature: Some(of),
            given: false,
            difference: None,
        },
        given => feature(of, given, seen.and_then(text)),
    }
}

/// All that was given, and whether what is not a text arrived as something else than one.
fn metadata(given: &LLMCallData, seen: &LLMCallData) -> [Comparison; 2] {
    let entries = |call: &LLMCallData| -> BTreeMap<String, Value> {
        let entries = call.metadata.iter();
        entries
            .map(|(key, json)| (without_nul(key), value(json)))
            .collect()
    };
    let (given, seen) = (entries(given), entries(seen));
    let mut differences = [None, None];
    for (key, given) in &given {
        let path = format!("metadata.{key}");
        let seen = seen.get(key);
        let [content, types] = &mut differences;
        if seen
            .and_then(Value::as_str)
            .is_some_and(|text| is_text_of(text, given))
        {
            types.get_or_insert_with(|| {
                differ(&path, &shown_value(Some(given)), &shown_value(seen))
            });
            continue;
        }
        let difference = match seen {
            Some(seen) => unlike(given, seen, &path),
            // As for all content: null and nothing are the same.
            None if given.is_null() => None,
            None => Some(differ(&path, &shown_value(Some(given)), &nothing())),
        };
        *content = content.take().or(difference);
    }
    let [content, types] = differences;
    let has_types = given.values().any(is_bare);
    [
        Comparison {
            feature: Some(Feature::Metadata),
            given: !given.is_empty(),
            difference: content,
        },
        Comparison {
            feature: Some(Feature::MetadataTypes),
            given: has_types,
            difference: types,
        },
    ]
}

/// Whether it is how a number, a truth value or null is written.
fn is_text_of(text: &str, given: &Value) -> bool {
    let read = serde_json::from_str(text);
    is_bare(given) && read.is_ok_and(|read| unlike(given, &read, "").is_none())
}

fn is_bare(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Number(_))
}

fn alike(feature: Feature, given: bool, same: bool, [expected, seen]: [String; 2]) -> Comparison {
    Comparison {
        feature: Some(feature),
        given,
        difference: (!same).then(|| differ(feature, &expected, &seen)),
    }
}

fn feature<T: Debug + PartialEq>(
    feature: Feature,
    given: Option<T>,
    seen: Option<T>,
) -> Comparison {
    compared(Some(feature), feature, given, seen)
}

fn compared<T: Debug + PartialEq>(
    feature: Option<Feature>,
    name: impl Display,
    given: Option<T>,
    seen: Option<T>,
) -> Comparison {
    let shown = |value: &Option<T>| match value {
        Some(value) => shown(&format!("{value:?}")),
        None => nothing(),
    };
    Comparison {
        feature,
        given: given.is_some(),
        difference: (given != seen).then(|| differ(name, &shown(&given), &shown(&seen))),
    }
}

fn differ(name: impl Display, expected: &str, seen: &str) -> String {
    format!("{name}: expected {expected}, saw {seen}")
}

/// None if it says nothing.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| without_nul(text))
}

/// Databases that cannot hold U+0000 get the replacement character.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn tags(call: &LLMCallData) -> Option<BTreeSet<String>> {
    let tags = call.tags.iter().map(|tag| without_nul(tag));
    Some(tags.collect()).filter(|tags: &BTreeSet<_>| !tags.is_empty())
}

fn value(json: &Json) -> Value {
    let mut value = json.read().unwrap_or_default();
    remove_nul(&mut value);
    value
}

fn remove_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = without_nul(text),
        Value::Array(items) => items.iter_mut().for_each(remove_nul),
        Value::Object(entries) => {
            let all = std::mem::take(entries).into_iter();
            *entries = all
                .map(|(key, mut value)| {
                    remove_nul(&mut value);
                    (without_nul(&key), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// None if it says nothing.
fn content(json: Option<&Json>) -> Option<Value> {
    let value = value(json?);
    let is_empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    (!is_empty).then_some(value)
}

/// Whether it is a list of the one message that was given, or that says what was given.
fn is_wrapped(given: &Value, seen: &Value) -> bool {
    let Value::Array(messages) = seen else {
        return false;
    };
    let [message] = messages.as_slice() else {
        return false;
    };
    let is_given = |value: &Value| unlike(given, value, "").is_none();
    let says = |message: &Map<String, Value>| {
        message.len() == 2
            && message.contains_key("role")
            && message.get("content").is_some_and(is_given)
    };
    is_given(message) || message.as_object().is_some_and(says)
}

/// The first difference, with the path to it.
fn unlike(given: &Value, seen: &Value, path: &str) -> Option<String> {
    match (given, seen) {
        (Value::Number(a), Value::Number(b)) if same_number(a, b) => None,
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (a, b))| unlike(a, b, &format!("{path}[{index}]"))),
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .iter()
            .zip(b.values())
            .find_map(|((key, a), b)| unlike(a, b, &format!("{path}.{key}"))),
        _ if given == seen => None,
        (Value::String(a), Value::String(b)) if a.len() > MAX_SHOWN_CHARS => Some(format!(
            "{path}: expected a text of {} bytes, saw one of {} that is not the same",
            a.len(),
            b.len()
        )),
        _ => Some(differ(
            path,
            &shown(&given.to_string()),
            &shown(&seen.to_string()),
        )),
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    let whole = |n: &Number| n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
    match (whole(a), whole(b), a.as_f64(), b.as_f64()) {
        (Some(a), Some(b), ..) => a == b,
        (_, _, Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
        _ => a == b,
    }
}

fn nothing() -> String {
    "nothing".into()
}

fn shown_value(value: Option<&Value>) -> String {
    value.map_or_else(nothing, |value| shown(&value.to_string()))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> LLMCallData {
        LLMCallData::new("openai", "m").with_start_time("2026-11-22T10:00:00Z".parse().unwrap())
    }

    fn differences(given: &LLMCallData, seen: &LLMCallData) -> Vec<String> {
        compare(given, seen)
            .into_iter()
            .filter(|comparison| comparison.feature != Some(Feature::Id))
            .filter_map(|comparison| comparison.difference)
            .collect()
    }

    fn same(given: &LLMCallData, seen: &LLMCallData) {
        assert_eq!(differences(given, seen), [""; 0]);
    }

    #[test]
    fn the_tolerances() {
        let late =
            |micros| call().with_start_time(call().start_time() + TimeDelta::microseconds(micros));
        same(&call(), &late(1_000));
        assert!(differences(&call(), &late(1_001))[0].starts_with("start_time: expected 2026-"));

        same(&call(), &call().with_duration(Duration::ZERO));
        let second = call().with_duration(Duration::from_secs(1));
        same(
            &second,
            &call().with_duration(Duration::from_micros(1_000_900)),
        );
        assert_eq!(
            differences(&second, &call()),
            ["duration: expected 1s, saw nothing"]
        );
        let first = call().with_time_to_first_token(Duration::ZERO);
        assert_eq!(
            differences(&call(), &first),
            ["time_to_first_token: expected nothing, saw 0ns"]
        );

        same(&call().with_cost(0.003), &call().with_cost(0.003 + 1e-13));
        assert_eq!(
            differences(&call().with_cost(0.0), &call()),
            ["cost: expected 0 USD, saw nothing"]
        );
        assert_eq!(differences(&call(), &call().with_cost(0.0)).len(), 1);

        for empty in [json!(null), json!(""), json!([]), json!({})] {
            same(&call().with_messages(&empty), &call());
            same(&call(), &call().with_response(&empty));
        }
        assert_eq!(
            differences(&call(), &call().with_response("null")),
            ["response: expected nothing, saw \"null\""]
        );

        same(
            &call().with_tag("a").with_tag("b"),
            &call().with_tag("b").with_tag("a"),
        );
        assert_eq!(
            differences(&call().with_tag("a"), &call().with_tag("b")).len(),
            1
        );
        same(
            &LLMCallData::new("OpenAI", "m").with_name("n"),
            &LLMCallData::new("openai", "m").with_name("n"),
        );
    }

    #[test]
    fn the_backends_own_forms() {
        let named = call().with_name("judge");
        same(&call(), &named);
        assert_eq!(
            differences(&named, &call()),
            ["name: expected \"judge\", saw \"openai/m\""]
        );

        let all = |nul: &str| {
            call()
                .with_session_id(nul)
                .with_tag(nul)
                .with_metadata(nul, json!({nul: [nul]}))
                .with_messages(nul)
        };
        same(&all("a\0b"), &all("a\u{fffd}b"));
        assert!(!differences(&all("a\0b"), &all("ab")).is_empty());

        let says = |content: Value| {
            call().with_response(json!([{"role": "assistant", "content": content}]))
        };
        same(&call().with_response("hi"), &says(json!("hi")));
        same(
            &call().with_response(json!([{"type": "text"}])),
            &says(json!([{"type": "text"}])),
        );
        let message = json!({"role": "user", "content": "hi", "name": "n"});
        same(
            &call().with_messages(&message),
            &call().with_messages([&message]),
        );
        assert_eq!(
            differences(&call().with_response("hi"), &says(json!("ho"))).len(),
            1
        );
        assert_eq!(
            differences(&says(json!("hi")), &call().with_response("hi")).len(),
            1
        );
    }

    #[test]
    fn numbers_by_value() {
        let with = |text: &str| call().with_response(beluga_o11y::Json::parse(text).unwrap());
        same(&with("1"), &with("1.0"));
        same(&with("0.1"), &with("1e-1"));
        let large = differences(&with("9007199254740993"), &with("9007199254740992"));
        assert_eq!(
            large,
            ["response: expected 9007199254740993, saw 9007199254740992"]
        );
        assert_eq!(differences(&with("0.1"), &with("0.1000001")).len(), 1);
        assert_eq!(differences(&with("1"), &with("\"1\"")).len(), 1);
    }

    #[test]
    fn the_path_to_a_difference_is_told() {
        let with = |value: Value| call().with_metadata("k", value);
        assert_eq!(
            differences(
                &with(json!({"a": [1, {"b": true}]})),
                &with(json!({"a": [1, {"b": false}]}))
            ),
            ["metadata.k.a[1].b: expected true, saw false"]
        );
        same(&with(json!(1)), &with(json!(1)).with_metadata("more", 2));
        let text = compare(&with(json!(1.5)), &with(json!("1.5")));
        let text: Vec<_> = text
            .iter()
            .filter(|one| one.difference.is_some())
            .map(|one| one.feature)
            .collect();
        assert_eq!(text[1..], [Some(Feature::MetadataTypes)]);
        let list = compare(&with(json!([1.5])), &with(json!(["1.5"])));
        let list: Vec<_> = list
            .iter()
            .filter(|one| one.difference.is_some())
            .map(|one| one.feature)
            .collect();
        assert_eq!(list[1..], [Some(Feature::Metadata)]);
        assert_eq!(
            differences(&with(json!(1)), &call()),
            ["metadata.k: expected 1, saw nothing"]
        );
        let long = differences(
            &call().with_response("é".repeat(300)),
            &call().with_response("e"),
        );
        assert_eq!(
            long,
            ["response: expected a text of 600 bytes, saw one of 1 that is not the same"]
        );
    }

    #[test]
    fn what_an_error_was_not_given_may_be_filled_in() {
        let error = |error: CallError| call().with_error(error);
        let full = || CallError::new("m").with_kind("K").with_trace("t");
        same(&error("m".into()), &error(full()));
        same(&error(CallError::new("").with_kind("K")), &error(full()));
        assert_eq!(differences(&error(full()), &error("m".into())).len(), 2);
        assert_eq!(
            differences(&error("m".into()), &error("other".into())),
            ["error.message: expected \"m\", saw \"other\""]
        );
        assert_eq!(
            differences(&error("m".into()), &call()),
            ["error: expected one, saw none"]
        );
        assert_eq!(
            differences(&call(), &error("m".into())),
            ["error: expected none, saw one"]
        );
    }

    #[test]
    fn what_was_not_given_must_not_be_shown() {
        for seen in [
            call().with_tokens(0, 0),
            call().with_user_id("u"),
            call().with_session_id("s"),
            call().with_environment("e"),
            call().with_release("r"),
            call().with_tag("t"),
            call().with_model_parameters(json!({"t": 1})),
            call().with_messages("m"),
        ] {
            assert!(!differences(&call(), &seen).is_empty(), "{seen:?}");
        }
    }
}
