//! From a record to the trace and the span that it becomes in Opik. Pure: no IO, no clock.
//!
//! Why a span as well: Opik computes a trace's tokens and cost from its spans (`TraceDAO.java`).
//! A bare trace never shows any.

use beluga_o11y::{CallError, ExportError, LLMCallData};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use crate::{
    NAME, id,
    vocabulary::{self, Family},
    wire::{Common, Content, ErrorInfo, FlatUsage, Model, Span, SpanMetadata, Trace},
};

/// Opik's columns for the names of projects and environments.
pub(crate) const MAX_NAME_CHARS: usize = 150;

/// What every record of an exporter shares.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) project: Option<String>,
    pub(crate) environment: Option<String>,
    /// What it comes from, in Opik's words (`Source.java`).
    pub(crate) source: &'static str,
    pub(crate) max_record_bytes: usize,
}

/// Writes a record into the elements of both request bodies. On an error both are as they were.
pub(crate) fn write(
    call: &LLMCallData,
    target: &Target,
    now: DateTime<Utc>,
    traces: &mut Vec<u8>,
    spans: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let (traces_before, spans_before) = (traces.len(), spans.len());
    let result = write_unchecked(call, target, now, traces, spans).and_then(|()| {
        let size = (traces.len() - traces_before).max(spans.len() - spans_before);
        check_size("call", size, target)
    });
    if result.is_err() {
        traces.truncate(traces_before);
        spans.truncate(spans_before);
    }
    result
}

/// Opik's cloud takes about 20 MB a record.
pub(crate) fn check_size(what: &str, size: usize, target: &Target) -> Result<(), ExportError> {
    if size <= target.max_record_bytes {
        return Ok(());
    }
    Err(ExportError::too_large(
        NAME,
        format!(
            "the {what} is {size} bytes of JSON, more than the {} that are allowed; shorten its content, or raise \
             with_max_record_bytes if your server takes more",
            target.max_record_bytes
        ),
    ))
}

fn write_unchecked(
    call: &LLMCallData,
    target: &Target,
    now: DateTime<Utc>,
    traces: &mut Vec<u8>,
    spans: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let id = trace_id(call, now);
    with_parts(call, target, None, |common, model| {
        let trace = Trace {
            id,
            common,
            metadata: TraceMetadata { call, sent_as: id },
            tags: &call.tags,
            thread_id: call.session_id.as_deref(),
        };
        let span = Span {
            id: id::span_id(id),
            trace_id: id,
            parent_span_id: None,
            kind: "llm",
            common,
            metadata: call
                .model_parameters
                .as_ref()
                .map(|model_parameters| SpanMetadata { model_parameters }),
            tags: &[],
            model,
        };
        serde_json::to_writer(traces, &trace).and_then(|()| serde_json::to_writer(spans, &span))
    })
}

/// The id of the trace that a record becomes, or of the span, where it is one of a larger trace.
pub(crate) fn trace_id(call: &LLMCallData, now: DateTime<Utc>) -> Uuid {
    id::trace_id(call.id(), call.start_time(), now)
}

/// Writes a record as one span of a larger trace, which has no place for what the record's own trace would tell.
pub(crate) fn write_span(
    call: &LLMCallData,
    place: &Place<'_>,
    target: &Target,
    spans: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let before = spans.len();
    with_parts(call, target, Some(place.version), |common, model| {
        let span = Span {
            id: place.id,
            trace_id: place.trace_id,
            parent_span_id: place.parent,
            kind: "llm",
            common,
            metadata: Some(TraceMetadata {
                call,
                sent_as: place.id,
            }),
            tags: &call.tags,
            model,
        };
        serde_json::to_writer(&mut *spans, &span)
    })?;
    check_size("call", spans.len() - before, target)
}

/// Where in a trace a span is.
pub(crate) struct Place<'a> {
    pub(crate) id: Uuid,
    pub(crate) trace_id: Uuid,
    pub(crate) parent: Option<Uuid>,
    /// When it is sent. By its own end a call that is handed in again could be the older one.
    pub(crate) version: &'a str,
}

/// Checks a record by Opik's rules, and hands on what its trace and its span have of it.
fn with_parts(
    call: &LLMCallData,
    target: &Target,
    version: Option<&str>,
    write: impl FnOnce(&Common<'_>, Model<'_>) -> serde_json::Result<()>,
) -> Result<(), ExportError> {
    call.validate()
        .map_err(|invalid| bad(invalid.to_string()))?;
    let (start, end) = (call.start_time(), call.end_time());
    check_times(start, end)?;
    let environment = call.environment.as_deref();
    check_environment(environment)?;
    let (provider, family) = vocabulary::provider(&call.provider, &call.model);
    let usage = checked_usage(call, family)?;
    let (start, end) = (instant(start), instant(end));
    let error = Failure::of(call.error.as_ref());
    let name = call.display_name();
    let common = Common {
        project_name: target.project.as_deref(),
        name: &name,
        start_time: &start,
        end_time: &end,
        input: call
            .messages
            .as_ref()
            .map(|messages| Content::Named("messages", messages)),
        output: call
            .response
            .as_ref()
            .map(|response| Content::Named("response", response)),
        error_info: error.as_ref().map(Failure::info),
        last_updated_at: version.unwrap_or(&end),
        ttft: call
            .time_to_first_token
            .map(|time| time.as_secs_f64() * 1e3),
        source: target.source,
        environment: environment.or(target.environment.as_deref()),
    };
    let model = Model {
        model: not_blank(&call.model),
        provider: not_blank(&provider),
        usage,
        total_estimated_cost: call.cost,
    };
    write(&common, model).map_err(|_| bad("the call cannot be written as JSON"))
}

pub(crate) fn check_times(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<(), ExportError> {
    for (field, time) in [("start", start), ("end", end)] {
        if !in_range(time) {
            return Err(bad(format!(
                "the {field} is {}, and Opik takes times from 1970-01-01 to 2262-04-11; check \
                 start_time and duration",
                time.to_rfc3339_opts(SecondsFormat::Secs, true)
            )));
        }
    }
    Ok(())
}

pub(crate) fn check_environment(environment: Option<&str>) -> Result<(), ExportError> {
    let length = environment.map_or(0, |name| name.chars().count());
    if length > MAX_NAME_CHARS {
        return Err(bad(format!(
            "environment: {length} characters, and Opik takes at most {MAX_NAME_CHARS}"
        )));
    }
    Ok(())
}

pub(crate) fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> ExportError {
    ExportError::rejected(NAME, message)
}

/// Opik's column is a DateTime64 of nanoseconds, which ends in 2262.
fn in_range(time: DateTime<Utc>) -> bool {
    const END: i64 = 9_223_372_036;
    (0..END).contains(&time.timestamp())
}

pub(crate) fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Opik keeps token counts as integers of 32 bits, and refuses the whole batch for one above.
fn checked_usage(call: &LLMCallData, family: Family) -> Result<FlatUsage, ExportError> {
    const MAX: u64 = i32::MAX as u64;
    let usage = vocabulary::usage(&call.usage, family);
    match usage.0.iter().find(|(_, count)| *count > MAX) {
        Some((key, count)) => Err(bad(format!(
            "usage: {key} is {count}, and Opik takes at most {MAX}; check the token counts"
        ))),
        None => Ok(usage),
    }
}

pub(crate) fn not_blank(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

fn kind_of(error: &CallError) -> &str {
    error.kind.as_deref().and_then(not_blank).unwrap_or("Error")
}

/// An error, with what Opik wants to have in the place of a trace.
pub(crate) struct Failure<'a> {
    error: &'a CallError,
    traceback: String,
}

impl<'a> Failure<'a> {
    /// Nothing of an error that says nothing.
    pub(crate) fn of(error: Option<&'a CallError>) -> Option<Self> {
        let error = error.filter(|error| !error.is_empty())?;
        // What Opik's Python client sends for an error without a trace.
        let traceback = || match not_blank(&error.message) {
            Some(message) => format!("{}: {message}", kind_of(error)),
            None => kind_of(error).to_owned(),
        };
        let trace = error.trace.as_deref().and_then(not_blank);
        Some(Self {
            error,
            traceback: trace.map_or_else(traceback, str::to_owned),
        })
    }

    pub(crate) fn info(&self) -> ErrorInfo<'_> {
        let kind = kind_of(self.error);
        ErrorInfo {
            exception_type: kind,
            message: not_blank(&self.error.message).unwrap_or(kind),
            traceback: &self.traceback,
        }
    }
}

/// The call's facts by name, and the caller's own entries, which win.
struct TraceMetadata<'a> {
    call: &'a LLMCallData,
    sent_as: Uuid,
}

impl Serialize for TraceMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { call, sent_as } = self;
        let mut map = serializer.serialize_map(None)?;
        macro_rules! facts {
            ($($name:literal: $value:expr),* $(,)?) => {
                $(if let Some(value) = $value
                    && !call.metadata.contains_key($name)
                {
                    map.serialize_entry($name, &value)?;
                })*
            };
        }
        facts! {
            "model": not_blank(&call.model),
            "provider": not_blank(&call.provider),
            "input_tokens": call.usage.input_tokens,
            "output_tokens": call.usage.output_tokens,
            "total_tokens": call.usage.total_tokens(),
            "cost": call.cost,
            "model_parameters": &call.model_parameters,
            "user_id": &call.user_id,
            "release": &call.release,
            "trace_id": &call.trace_id,
            "parent_span_id": &call.parent_span_id,
            "original_id": Some(call.id()).filter(|id| id != sent_as),
        }
        for (key, value) in &call.metadata {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn target() -> Target {
        Target {
            project: Some("demo".into()),
            environment: None,
            source: "sdk",
            max_record_bytes: 20_000_000,
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-22T22:00:00Z".parse().unwrap()
    }

    fn call(provider: &str, model: &str) -> LLMCallData {
        LLMCallData::new(provider, model)
            .with_id("01a2053e-d6f8-792b-8988-1657efa89323".parse().unwrap())
            .with_start_time("2026-11-22T21:52:14.072279Z".parse().unwrap())
            .with_duration(Duration::from_millis(840))
    }

    fn convert_with(call: &LLMCallData, target: &Target) -> Result<(Value, Value), ExportError> {
        let (mut traces, mut spans) = (Vec::new(), Vec::new());
        write(call, target, now(), &mut traces, &mut spans)?;
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
        Ok((read(&traces), read(&spans)))
    }

    fn convert(call: &LLMCallData) -> (Value, Value) {
        convert_with(call, &target()).unwrap()
    }

    #[test]
    fn a_full_call_field_by_field() {
        let call = call("openai", "gpt-4o")
            .with_messages(json!([{"role": "user", "content": "hi"}]))
            .with_response("hello")
            .with_model_parameters(json!({"temperature": 0.2}))
            .with_tokens(12, 5)
            .with_cost(0.00123)
            .with_time_to_first_token(Duration::from_micros(120_500))
            .with_session_id("conv-1")
            .with_user_id("u-1")
            .with_tag("prod")
            .with_environment("staging")
            .with_release("1.2.3")
            .with_trace_id("t")
            .with_parent_span_id("s")
            .with_metadata("k", "v");
        let (trace, span) = convert(&call);
        assert_eq!(
            trace,
            json!({
                "id": "01a2053e-d6f8-792b-8988-1657efa89323",
                "project_name": "demo",
                "name": "openai/gpt-4o",
                "start_time": "2026-11-22T21:52:14.072279Z",
                "end_time": "2026-11-22T21:52:14.912279Z",
                "input": {"messages": [{"role": "user", "content": "hi"}]},
                "output": {"response": "hello"},
                "metadata": {
                    "model": "gpt-4o", "provider": "openai", "input_tokens": 12,
                    "output_tokens": 5, "total_tokens": 17, "cost": 0.00123,
                    "model_parameters": {"temperature": 0.2}, "user_id": "u-1",
                    "release": "1.2.3", "trace_id": "t", "parent_span_id": "s", "k": "v",
                },
                "tags": ["prod"],
                "last_updated_at": "2026-11-22T21:52:14.912279Z",
                "ttft": 120.5,
                "thread_id": "conv-1",
                "source": "sdk",
                "environment": "staging",
            })
        );
        assert_eq!(
            span,
            json!({
                "id": span["id"],
                "trace_id": "01a2053e-d6f8-792b-8988-1657efa89323",
                "type": "llm",
                "project_name": "demo",
                "name": "openai/gpt-4o",
                "start_time": "2026-11-22T21:52:14.072279Z",
                "end_time": "2026-11-22T21:52:14.912279Z",
                "input": {"messages": [{"role": "user", "content": "hi"}]},
                "output": {"response": "hello"},
                "metadata": {"model_parameters": {"temperature": 0.2}},
                "model": "gpt-4o",
                "provider": "openai",
                "usage": {
                    "prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
                    "original_usage.prompt_tokens": 12, "original_usage.completion_tokens": 5,
                    "original_usage.total_tokens": 17,
                },
                "total_estimated_cost": 0.00123,
                "last_updated_at": "2026-11-22T21:52:14.912279Z",
                "ttft": 120.5,
                "source": "sdk",
                "environment": "staging",
            })
        );
        assert!(span["id"].as_str().unwrap().starts_with("01a2053e-d6f8-7"));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut target = target();
        target.project = None;
        let (trace, span) = convert_with(&call("", "llama3"), &target).unwrap();
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let common = ["end_time", "id", "last_updated_at"];
        assert_eq!(trace["name"], "llama3");
        assert_eq!(trace["metadata"], json!({"model": "llama3"}));
        assert_eq!(keys(&trace)[..3], common);
        assert_eq!(
            keys(&trace)[3..],
            ["metadata", "name", "source", "start_time"]
        );
        assert_eq!(keys(&span)[..3], common);
        assert_eq!(
            keys(&span)[3..],
            ["model", "name", "source", "start_time", "trace_id", "type"]
        );
    }

    #[test]
    fn the_callers_metadata_wins() {
        let call = call("openai", "gpt-4o")
            .with_tokens(1, 2)
            .with_metadata("model", "mine")
            .with_metadata("total_tokens", json!({"x": 1}));
        let (trace, span) = convert(&call);
        assert_eq!(trace["metadata"]["model"], "mine");
        assert_eq!(trace["metadata"]["total_tokens"], json!({"x": 1}));
        assert_eq!(trace["metadata"]["input_tokens"], 1);
        assert_eq!(span["model"], "gpt-4o");
    }

    #[test]
    fn the_provider_is_opiks_on_the_span_and_the_callers_in_the_metadata() {
        let (trace, span) = convert(&call("GCP.Gemini", "gemini-2.5-pro"));
        assert_eq!(span["provider"], "google_ai");
        assert_eq!(trace["metadata"]["provider"], "GCP.Gemini");
        assert_eq!(trace["name"], "GCP.Gemini/gemini-2.5-pro");
    }

    #[test]
    fn errors_have_three_fields_that_are_never_blank() {
        let info = |error: CallError| {
            let (trace, span) = convert(&call("a", "b").with_error(error));
            assert_eq!(trace["error_info"], span["error_info"]);
            trace["error_info"].clone()
        };
        let object = |kind: &str, message: &str, trace: &str| json!({"exception_type": kind, "message": message, "traceback": trace});
        assert_eq!(info("boom".into()), object("Error", "boom", "Error: boom"));
        assert_eq!(
            info(CallError::new("429").with_kind("RateLimitError")),
            object("RateLimitError", "429", "RateLimitError: 429")
        );
        assert_eq!(
            info(CallError::new("429").with_kind("E").with_trace("at x")),
            object("E", "429", "at x")
        );
        assert_eq!(
            info(CallError::new(" ").with_kind("\t").with_trace("\n")),
            object("Error", "Error", "Error")
        );
        let (trace, _) = convert(&call("a", "b").with_error(""));
        assert_eq!(trace.get("error_info"), None);
    }

    #[test]
    fn an_environment_may_have_150_characters() {
        let named = |length: usize| call("a", "b").with_environment("ü".repeat(length));
        assert!(convert_with(&named(150), &target()).is_ok());
        assert!(refused(&named(151)).starts_with("opik: export: environment: 151 characters"));
    }

    #[test]
    fn a_blank_model_or_provider_is_none() {
        let (trace, span) = convert(&call(" ", "\t"));
        assert_eq!((span.get("model"), span.get("provider")), (None, None));
        assert_eq!(
            (&trace["name"], &trace["metadata"]),
            (&json!("llm"), &json!({}))
        );
    }

    #[test]
    fn the_exporters_environment_is_the_default() {
        let mut target = target();
        target.environment = Some("production".into());
        let environment = |call| convert_with(&call, &target).unwrap().0["environment"].clone();
        assert_eq!(environment(call("a", "b")), "production");
        assert_eq!(environment(call("a", "b").with_environment("dev")), "dev");
    }

    #[test]
    fn an_old_call_is_sent_under_another_id_and_keeps_its_own_in_the_metadata() {
        let id = "018bcfe5-6800-792b-8988-1657efa89323";
        let (trace, span) = convert(&call("a", "b").with_id(id.parse().unwrap()));
        assert_ne!(trace["id"], id);
        assert!(
            trace["id"]
                .as_str()
                .unwrap()
                .ends_with("792b-8988-1657efa89323")
        );
        assert_eq!(span["trace_id"], trace["id"]);
        assert_eq!(trace["metadata"]["original_id"], id);
    }

    fn refused(call: &LLMCallData) -> String {
        let (mut traces, mut spans) = (b"before".to_vec(), b"before".to_vec());
        let error = write(call, &target(), now(), &mut traces, &mut spans).unwrap_err();
        assert_eq!((&traces[..], &spans[..]), (&b"before"[..], &b"before"[..]));
        error.to_string()
    }

    #[test]
    fn bad_calls_are_refused_before_anything_is_written() {
        let year = |year: i32| format!("{year}-01-01T00:00:00Z").parse().unwrap();
        for (call, text) in [
            (
                call("a", "b").with_cost(f64::NAN),
                "opik: export: cost: not a finite",
            ),
            (
                call("a", "b").with_cost(-1.0),
                "opik: export: cost: -1 USD is negative",
            ),
            (
                call("a", "b").with_start_time(year(1969)),
                "opik: export: the start is 1969-01-01T00:00:00Z",
            ),
            (
                call("a", "b").with_start_time(year(2263)),
                "opik: export: the start is 2263-01-01T00:00:00Z",
            ),
            (
                call("a", "b").with_duration(Duration::from_secs(400 * 365 * 86_400)),
                "opik: export: the end is 2426-",
            ),
            (
                call("a", "b").with_duration(Duration::MAX),
                "opik: export: the end is ",
            ),
            (
                call("a", "b").with_tokens(1 << 31, 0),
                "opik: export: usage: prompt_tokens is 2147483648",
            ),
            (
                call("a", "b").with_tokens((1 << 31) - 1, 1),
                "opik: export: usage: total_tokens is 2147483648",
            ),
        ] {
            let error = refused(&call);
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn the_last_moments_that_opik_takes() {
        let last = "2262-04-11T23:47:15.999999Z";
        let call = call("a", "b")
            .with_start_time(last.parse().unwrap())
            .with_duration(Duration::ZERO);
        assert_eq!(convert(&call).0["start_time"], last);
        assert!(
            refused(&call.with_duration(Duration::from_micros(1))).contains("the end is 2262-")
        );
    }

    #[test]
    fn a_call_that_is_too_large_is_refused_alone() {
        let mut target = target();
        target.max_record_bytes = 1_000;
        let big = call("a", "b").with_response("x".repeat(1_000));
        let error = convert_with(&big, &target).unwrap_err();
        assert_eq!(error.kind(), beluga_o11y::ExportErrorKind::TooLarge);
        assert!(convert_with(&call("a", "b"), &target).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_content_becomes_valid_wire_and_stays_what_it_was(
            messages in any_json(),
            response in any_json(),
            key: String,
            value in any_json(),
            texts: [String; 8],
            tokens: [u32; 2],
        ) {
            let [provider, model, error, kind, session, user, tag, name] = texts;
            let call = call(&provider, &model)
                .with_messages(&messages)
                .with_response(&response)
                .with_metadata(key.clone(), &value)
                .with_error(CallError::new(error).with_kind(kind))
                .with_session_id(session.clone())
                .with_user_id(user)
                .with_tag(tag.clone())
                .with_name(name.clone())
                .with_tokens(u64::from(tokens[0] / 4), u64::from(tokens[1] / 4));
            let (trace, span) = convert(&call);
            // serde_json reads some floats one bit off, so what is compared has been read once too.
            let read = |value: &Value| serde_json::from_str::<Value>(&value.to_string()).unwrap();
            prop_assert_eq!(&trace["input"]["messages"], &read(&messages));
            prop_assert_eq!(&trace["output"]["response"], &read(&response));
            prop_assert_eq!(&span["input"], &trace["input"]);
            prop_assert_eq!(&trace["metadata"][&key], &read(&value));
            prop_assert_eq!(trace["thread_id"].as_str(), Some(session.as_str()));
            prop_assert_eq!(&trace["tags"], &json!([tag]));
            prop_assert_eq!(trace["name"].as_str(), Some(&*call.display_name()));
            for field in ["exception_type", "message", "traceback"] {
                let text = trace["error_info"][field].as_str().unwrap();
                prop_assert!(!text.trim().is_empty());
            }
            for (_, count) in span["usage"].as_object().unwrap() {
                prop_assert!(count.as_u64().unwrap() <= u64::from(u32::MAX / 2));
            }
        }
    }
}
