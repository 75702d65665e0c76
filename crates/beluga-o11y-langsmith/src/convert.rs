//! From a record to the run that it becomes in LangSmith. Pure: no IO, no clock.
//!
//! Every run is the root of a trace of its own, also that of a call that happened in the caller's span: a run
//! whose parent never reaches LangSmith is never shown. The foreign ids are kept in the metadata.

use std::{borrow::Cow, time::Duration};

use beluga_o11y::{CallError, ExportError, LLMCallData};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use crate::{
    NAME, content, id, integers,
    parameters::Parameters,
    vocabulary,
    wire::{Content, Extra, InputDetails, NewToken, OutputDetails, Run, Runtime, UsageMetadata},
};

/// LangSmith once refused longer names, and with one the whole batch (langsmith-sdk issue 462). Whether it
/// still does is not known.
const MAX_NAME_CHARS: usize = 128;

/// What every record of an exporter shares.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) project: String,
    pub(crate) environment: Option<String>,
    pub(crate) hide: Hide,
    pub(crate) max_record_bytes: usize,
}

/// What is not sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hide {
    pub(crate) inputs: bool,
    pub(crate) outputs: bool,
    pub(crate) metadata: bool,
}

/// Writes a record into a request body. On an error that is as it was.
pub(crate) fn write(
    call: &LLMCallData,
    target: &Target,
    body: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let before = body.len();
    let result = write_unchecked(call, target, body).and_then(|()| {
        let size = body.len() - before;
        if size > target.max_record_bytes {
            return Err(ExportError::too_large(
                NAME,
                format!(
                    "the call is {size} bytes of JSON, more than the {} that are allowed; shorten \
                     its content, or raise with_max_record_bytes if your server takes more",
                    target.max_record_bytes
                ),
            ));
        }
        Ok(())
    });
    if result.is_err() {
        body.truncate(before);
    }
    result
}

fn write_unchecked(
    call: &LLMCallData,
    target: &Target,
    body: &mut Vec<u8>,
) -> Result<(), ExportError> {
    call.validate()
        .map_err(|invalid| bad(invalid.to_string()))?;
    check_integers(call, target.hide)?;
    let (start, end) = (call.start_time(), call.end_time());
    for (field, time) in [("start", start), ("end", end)] {
        if !in_range(time) {
            return Err(bad(format!(
                "the {field} is {}, and runs take times from 1970-01-01 to 9999-12-31; check \
                 start_time and duration",
                time.to_rfc3339_opts(SecondsFormat::Secs, true)
            )));
        }
    }
    let first_token = call
        .time_to_first_token
        .map(|wait| first_token(start, wait))
        .transpose()?;
    let usage = usage_metadata(call)?;

    let id = id::run_id(call.id(), start);
    let full_name = call.display_name();
    let name = shortened(&full_name);
    let error = call.error.as_ref().filter(|error| !error.is_empty());
    let error = error.map(error_text);
    let parameters = Parameters::of(call, target.hide.inputs);
    let run = Run {
        id,
        trace_id: id,
        dotted_order: &id::dotted_order(start, id),
        name: &name,
        run_type: "llm",
        start_time: &instant(start),
        end_time: &instant(end),
        session_name: &target.project,
        tags: &call.tags,
        inputs: match &call.messages {
            Some(messages) if !target.hide.inputs => content::inputs(messages),
            _ => Content::Empty,
        },
        outputs: call.response.as_ref().map(|response| {
            if target.hide.outputs {
                Content::Empty
            } else {
                content::outputs(response)
            }
        }),
        error: error.as_deref(),
        events: first_token.as_deref().map(|time| {
            [NewToken {
                name: "new_token",
                time,
            }]
        }),
        extra: Extra {
            metadata: Metadata {
                call,
                target,
                sent_as: id,
                full_name: matches!(name, Cow::Owned(_)).then_some(&full_name),
                parameters: &parameters,
                usage: &usage,
            },
            invocation_params: &parameters,
            runtime: Runtime {
                sdk: env!("CARGO_PKG_NAME"),
                sdk_version: env!("CARGO_PKG_VERSION"),
                library: "beluga-o11y",
                runtime: "rust",
            },
        },
    };
    serde_json::to_writer(body, &run).map_err(|_| bad("the call cannot be written as JSON"))
}

fn bad(message: impl Into<Cow<'static, str>>) -> ExportError {
    ExportError::rejected(NAME, message)
}

/// Of everything that is sent.
fn check_integers(call: &LLMCallData, hide: Hide) -> Result<(), ExportError> {
    let metadata = call.metadata.values().map(|json| ("metadata", json));
    let sent = [
        ("messages", call.messages.as_ref(), hide.inputs),
        ("response", call.response.as_ref(), hide.outputs),
        (
            "model_parameters",
            call.model_parameters.as_ref(),
            hide.inputs,
        ),
    ]
    .into_iter()
    .filter_map(|(field, json, hidden)| Some((field, json.filter(|_| !hidden)?)))
    .chain(metadata.filter(|_| !hide.metadata));
    for (field, json) in sent {
        if integers::are_too_big(json.as_str()) {
            return Err(bad(format!(
                "{field}: an integer is beyond 64 bits with a sign, which LangSmith refuses; make it \
                 a string"
            )));
        }
    }
    Ok(())
}

/// `dotted_order` has four digits for the year, and an id's time begins in 1970.
fn in_range(time: DateTime<Utc>) -> bool {
    const END: i64 = 253_402_300_800;
    (0..END).contains(&time.timestamp())
}

fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn first_token(start: DateTime<Utc>, wait: Duration) -> Result<String, ExportError> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| start.checked_add_signed(wait))
        .filter(|time| in_range(*time))
        .map(instant)
        .ok_or_else(|| bad("time_to_first_token: it ends after 9999-12-31; check it"))
}

fn usage_metadata(call: &LLMCallData) -> Result<UsageMetadata, ExportError> {
    const MAX: u64 = i64::MAX as u64;
    let usage = &call.usage;
    for (field, count) in [
        ("input_tokens", usage.input_tokens),
        ("output_tokens", usage.output_tokens),
        ("total_tokens", usage.total_tokens()),
        ("cache_read_tokens", usage.cache_read_tokens),
        ("cache_write_tokens", usage.cache_write_tokens),
        ("reasoning_tokens", usage.reasoning_tokens),
    ] {
        if let Some(count) = count.filter(|count| *count > MAX) {
            return Err(bad(format!(
                "usage: {field} is {count}, and LangSmith takes at most {MAX}; check the token counts"
            )));
        }
    }
    Ok(UsageMetadata {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens(),
        input_token_details: InputDetails {
            cache_read: usage.cache_read_tokens,
            cache_creation: usage.cache_write_tokens,
        },
        output_token_details: OutputDetails {
            reasoning: usage.reasoning_tokens,
        },
        total_cost: call.cost,
    })
}

fn not_blank(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

/// Owned if it had to be cut.
fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        None => name.into(),
        Some(_) => name.chars().take(MAX_NAME_CHARS - 1).chain(['…']).collect(),
    }
}

/// LangSmith keeps one text, which is what marks the run as failed. Its own client writes the exception into
/// it, an empty line, and the stack trace under a line that begins with `Traceback`.
fn error_text(error: &CallError) -> String {
    let kind = error.kind.as_deref().and_then(not_blank);
    let mut text = match (kind, not_blank(&error.message)) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (Some(known), None) | (None, Some(known)) => known.to_owned(),
        (None, None) => "Error".to_owned(),
    };
    if let Some(trace) = error.trace.as_deref().and_then(not_blank) {
        text.push_str("\n\nTraceback:\n");
        text.push_str(trace);
    }
    text
}

/// The call's facts under LangSmith's names, the caller's own entries, which win, and the usage, which is the
/// record's alone.
struct Metadata<'a> {
    call: &'a LLMCallData,
    target: &'a Target,
    sent_as: Uuid,
    /// If the run has it shortened.
    full_name: Option<&'a str>,
    parameters: &'a Parameters<'a>,
    usage: &'a UsageMetadata,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const USAGE: &str = "usage_metadata";
        const CALLERS_USAGE: &str = "caller_usage_metadata";
        let Self { call, target, .. } = self;
        let hidden = target.hide.metadata;
        let provider = not_blank(&call.provider).map(vocabulary::provider);
        let mut map = serializer.serialize_map(None)?;
        macro_rules! facts {
            ($($name:literal: $value:expr),* $(,)?) => {
                $(if let Some(value) = $value
                    && (hidden || !call.metadata.contains_key($name))
                {
                    map.serialize_entry($name, &value)?;
                })*
            };
        }
        facts! {
            "ls_provider": provider,
            "ls_model_name": not_blank(&call.model),
            "ls_temperature": self.parameters.temperature(),
            "ls_max_tokens": self.parameters.max_tokens(),
            "ls_stop": self.parameters.stop(),
            "error_type": call.error.as_ref().and_then(|error| error.kind.as_deref()).and_then(not_blank),
            "environment": call.environment.as_ref().or(target.environment.as_ref()),
            "revision_id": &call.release,
            "provider": Some(&call.provider).filter(|given| provider.is_some_and(|sent| sent != *given)),
            "name": self.full_name,
            "original_id": Some(call.id()).filter(|id| *id != self.sent_as),
        }
        if !hidden {
            facts! {
                "thread_id": &call.session_id,
                "user_id": &call.user_id,
                "trace_id": &call.trace_id,
                "parent_span_id": &call.parent_span_id,
            }
            for (key, value) in &call.metadata {
                match key.as_str() {
                    // A name stands once; the entry that has the other one's name stays.
                    USAGE if call.metadata.contains_key(CALLERS_USAGE) => {}
                    USAGE => map.serialize_entry(CALLERS_USAGE, value)?,
                    key => map.serialize_entry(key, value)?,
                }
            }
        }
        if !self.usage.is_empty() {
            map.serialize_entry(USAGE, self.usage)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use beluga_o11y::{ExportErrorKind, Usage};
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn target() -> Target {
        Target {
            project: "demo".into(),
            environment: None,
            hide: Hide::default(),
            max_record_bytes: 20_000_000,
        }
    }

    fn call(provider: &str, model: &str) -> LLMCallData {
        LLMCallData::new(provider, model)
            .with_id("01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11".parse().unwrap())
            .with_start_time("2026-11-22T10:00:00.123456Z".parse().unwrap())
            .with_duration(Duration::from_millis(840))
    }

    fn convert_with(call: &LLMCallData, target: &Target) -> Result<Value, ExportError> {
        let mut body = b"before".to_vec();
        let result = write(call, target, &mut body);
        assert_eq!(result.is_err(), body == b"before");
        assert!(body.starts_with(b"before"));
        result.map(|()| serde_json::from_slice(&body[6..]).unwrap())
    }

    fn convert(call: &LLMCallData) -> Value {
        convert_with(call, &target()).unwrap()
    }

    fn refused(call: &LLMCallData) -> String {
        let error = convert_with(call, &target()).unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        error.to_string()
    }

    fn full() -> LLMCallData {
        call("openai", "gpt-4o")
            .with_messages(json!([{"role": "user", "content": "hi"}]))
            .with_response("hello")
            .with_model_parameters(json!({"temperature": 0.2, "max_tokens": 100, "tools": []}))
            .with_usage(
                Usage::new(12, 5)
                    .with_cache_read(4)
                    .with_cache_write(1)
                    .with_reasoning(2),
            )
            .with_cost(0.00123)
            .with_time_to_first_token(Duration::from_micros(120_500))
            .with_session_id("conv-1")
            .with_user_id("u-1")
            .with_tag("prod")
            .with_environment("staging")
            .with_release("1.2.3")
            .with_trace_id("t")
            .with_parent_span_id("s")
            .with_metadata("k", json!({"nested": [1]}))
    }

    #[test]
    fn no_name_stands_twice_in_the_metadata() {
        let both = LLMCallData::new("openai", "gpt-4o")
            .with_metadata("usage_metadata", "dropped")
            .with_metadata("caller_usage_metadata", "kept");
        let mut body = Vec::new();
        write(&both, &target(), &mut body).unwrap();
        let text = String::from_utf8(body).unwrap();
        assert_eq!(
            text.matches("\"caller_usage_metadata\"").count(),
            1,
            "{text}"
        );
        assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
    }

    #[test]
    fn a_full_call_field_by_field() {
        assert_eq!(
            convert(&full()),
            json!({
                "id": "01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11",
                "trace_id": "01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11",
                "dotted_order": "20261122T100000123456Z01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11",
                "name": "openai/gpt-4o",
                "run_type": "llm",
                "start_time": "2026-11-22T10:00:00.123456Z",
                "end_time": "2026-11-22T10:00:00.963456Z",
                "session_name": "demo",
                "tags": ["prod"],
                "inputs": {"messages": [{"role": "user", "content": "hi"}]},
                "outputs": {"messages": [{"role": "assistant", "content": "hello"}]},
                "events": [{"name": "new_token", "time": "2026-11-22T10:00:00.243956Z"}],
                "extra": {
                    "metadata": {
                        "ls_provider": "openai", "ls_model_name": "gpt-4o",
                        "ls_temperature": 0.2, "ls_max_tokens": 100,
                        "environment": "staging", "revision_id": "1.2.3",
                        "thread_id": "conv-1", "user_id": "u-1",
                        "trace_id": "t", "parent_span_id": "s",
                        "k": {"nested": [1]},
                        "usage_metadata": {
                            "input_tokens": 12, "output_tokens": 5, "total_tokens": 17,
                            "input_token_details": {"cache_read": 4, "cache_creation": 1},
                            "output_token_details": {"reasoning": 2},
                            "total_cost": 0.00123,
                        },
                    },
                    "invocation_params": {
                        "model": "gpt-4o", "temperature": 0.2, "max_tokens": 100, "tools": [],
                    },
                    "runtime": {
                        "sdk": "beluga-o11y-langsmith", "sdk_version": env!("CARGO_PKG_VERSION"),
                        "library": "beluga-o11y", "runtime": "rust",
                    },
                },
            })
        );
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let run = convert(&call("", "llama3"));
        let keys: Vec<_> = run.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "dotted_order",
                "end_time",
                "extra",
                "id",
                "inputs",
                "name",
                "run_type",
                "session_name",
                "start_time",
                "trace_id"
            ]
        );
        assert_eq!(run["name"], "llama3");
        assert_eq!(run["inputs"], json!({}));
        assert_eq!(run["extra"]["metadata"], json!({"ls_model_name": "llama3"}));
        assert_eq!(
            run["extra"]["invocation_params"],
            json!({"model": "llama3"})
        );
    }

    #[test]
    fn counts_and_cost_that_are_known_in_part() {
        let usage = |usage: Usage, cost: Option<f64>| {
            let mut call = call("a", "b").with_usage(usage);
            call.cost = cost;
            convert(&call)["extra"]["metadata"]["usage_metadata"].clone()
        };
        assert_eq!(usage(Usage::default(), None), Value::Null);
        assert_eq!(
            usage(Usage::default(), Some(0.5)),
            json!({"total_cost": 0.5})
        );
        let mut input_only = Usage::default();
        input_only.input_tokens = Some(0);
        assert_eq!(
            usage(input_only, Some(0.0)),
            json!({"input_tokens": 0, "total_cost": 0.0})
        );
        assert_eq!(
            usage(Usage::default().with_reasoning(3), None),
            json!({"output_token_details": {"reasoning": 3}})
        );
        assert_eq!(
            usage(Usage::new(1, 0), None),
            json!({"input_tokens": 1, "output_tokens": 0, "total_tokens": 1})
        );
    }

    #[test]
    fn the_callers_metadata_wins_but_not_over_the_usage() {
        let call = full()
            .with_metadata("ls_model_name", "mine")
            .with_metadata("thread_id", "theirs")
            .with_metadata("usage_metadata", json!({"input_tokens": 1_000_000}));
        let metadata = convert(&call)["extra"]["metadata"].clone();
        assert_eq!(metadata["ls_model_name"], "mine");
        assert_eq!(metadata["thread_id"], "theirs");
        assert_eq!(metadata["usage_metadata"]["input_tokens"], 12);
        assert_eq!(
            metadata["caller_usage_metadata"],
            json!({"input_tokens": 1_000_000})
        );
    }

    #[test]
    fn the_provider_is_langsmiths_and_the_callers_stays() {
        let metadata = |provider| convert(&call(provider, "m"))["extra"]["metadata"].clone();
        let bedrock = metadata("aws.bedrock");
        assert_eq!(bedrock["ls_provider"], "amazon_bedrock");
        assert_eq!(bedrock["provider"], "aws.bedrock");
        assert_eq!(metadata("openai").get("provider"), None);
    }

    #[test]
    fn an_id_of_another_version_is_replaced_and_kept() {
        let id = "c9bf9e57-1685-4c89-bafb-ff5af830be8a";
        let run = convert(&call("a", "b").with_id(id.parse().unwrap()));
        let sent = run["id"].as_str().unwrap();
        assert_ne!(sent, id);
        assert_eq!(run["trace_id"], sent);
        assert!(run["dotted_order"].as_str().unwrap().ends_with(sent));
        assert_eq!(run["extra"]["metadata"]["original_id"], id);
    }

    #[test]
    fn a_long_name_is_cut_and_kept() {
        let name = |length: usize| {
            let run = convert(&call("a", "b").with_name("ü".repeat(length)));
            let full = run["extra"]["metadata"]["name"].as_str().map(str::to_owned);
            (run["name"].as_str().unwrap().to_owned(), full)
        };
        assert_eq!(name(128), ("ü".repeat(128), None));
        let (cut, full) = name(129);
        assert_eq!(cut, format!("{}…", "ü".repeat(127)));
        assert_eq!(full, Some("ü".repeat(129)));
    }

    #[test]
    fn errors_are_one_text_that_is_never_blank() {
        let text = |error: CallError| convert(&call("a", "b").with_error(error))["error"].clone();
        assert_eq!(text("boom".into()), "boom");
        let full = CallError::new("429").with_kind("RateLimitError");
        assert_eq!(text(full.clone()), "RateLimitError: 429");
        assert_eq!(
            text(full.with_trace("at x")),
            "RateLimitError: 429\n\nTraceback:\nat x"
        );
        assert_eq!(text(CallError::new("").with_kind("timeout")), "timeout");
        assert_eq!(
            text(CallError::new(" ").with_kind("\t").with_trace("\n")),
            "Error"
        );
        assert_eq!(convert(&call("a", "b").with_error("")).get("error"), None);
    }

    #[test]
    fn what_is_hidden_is_nowhere() {
        let secret = full()
            .with_messages("canary-in")
            .with_response("canary-out")
            .with_model_parameters(
                json!({"temperature": 0.2, "tools": ["canary-in"], "stop": "canary-in"}),
            )
            .with_session_id("canary-meta")
            .with_user_id("canary-meta")
            .with_trace_id("canary-meta")
            .with_parent_span_id("canary-meta")
            .with_metadata("k", "canary-meta")
            .with_metadata("canary-meta", 1);
        let hidden = |hide: Hide| {
            let mut target = target();
            target.hide = hide;
            convert_with(&secret, &target).unwrap()
        };
        let none = hidden(Hide::default()).to_string();
        let inputs = hidden(Hide {
            inputs: true,
            ..Hide::default()
        });
        let outputs = hidden(Hide {
            outputs: true,
            ..Hide::default()
        });
        let metadata = hidden(Hide {
            metadata: true,
            ..Hide::default()
        });
        for (canary, run) in [
            ("canary-in", &inputs),
            ("canary-out", &outputs),
            ("canary-meta", &metadata),
        ] {
            assert!(none.contains(canary));
            assert!(!run.to_string().contains(canary), "{run}");
            let others = ["canary-in", "canary-out", "canary-meta"];
            let others = others.iter().filter(|other| **other != canary);
            assert!(
                others
                    .into_iter()
                    .all(|other| run.to_string().contains(other))
            );
            assert_eq!(
                run["extra"]["metadata"]["usage_metadata"]["total_tokens"],
                17
            );
            assert_eq!(run["extra"]["metadata"]["ls_model_name"], "gpt-4o");
        }
        assert_eq!(
            (&inputs["inputs"], &outputs["outputs"]),
            (&json!({}), &json!({}))
        );
    }

    #[test]
    fn what_langsmith_would_refuse_is_refused_alone_and_by_name() {
        let year = |year: i32| {
            chrono::NaiveDate::from_ymd_opt(year, 1, 1)
                .unwrap()
                .and_hms_opt(0, 0, 0)
                .unwrap()
                .and_utc()
        };
        let big = 1_u64 << 63;
        for (call, text) in [
            (
                call("a", "b").with_cost(f64::NAN),
                "langsmith: export: cost: ",
            ),
            (
                call("a", "b").with_start_time(year(1969)),
                "langsmith: export: the start is 1969-01-01T00:00:00Z",
            ),
            (
                call("a", "b").with_start_time(year(10_000)),
                "langsmith: export: the start is +10000-01-01T00:00:00Z",
            ),
            (
                call("a", "b").with_duration(Duration::MAX),
                "langsmith: export: the end is ",
            ),
            (
                call("a", "b").with_time_to_first_token(Duration::MAX),
                "langsmith: export: time_to_first_token: ",
            ),
            (
                call("a", "b").with_tokens(big, 0),
                "langsmith: export: usage: input_tokens is 9223372036854775808",
            ),
            (
                call("a", "b").with_tokens(big - 1, 1),
                "langsmith: export: usage: total_tokens is 9223372036854775808",
            ),
            (
                call("a", "b").with_messages(json!([{"id": big}])),
                "langsmith: export: messages: an integer is beyond 64 bits",
            ),
            (
                call("a", "b").with_response(big),
                "langsmith: export: response: an integer is beyond 64 bits",
            ),
            (
                call("a", "b").with_model_parameters(json!({"seed": big})),
                "langsmith: export: model_parameters: an integer is beyond 64 bits",
            ),
            (
                call("a", "b").with_metadata("id", big),
                "langsmith: export: metadata: an integer is beyond 64 bits",
            ),
        ] {
            let error = refused(&call);
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn what_is_hidden_may_have_any_integers() {
        let mut target = target();
        target.hide = Hide {
            inputs: true,
            outputs: true,
            metadata: true,
        };
        let big = json!([u64::MAX]);
        let call = call("a", "b")
            .with_messages(&big)
            .with_response(&big)
            .with_model_parameters(&big)
            .with_metadata("k", &big);
        assert!(convert_with(&call, &target).is_ok());
    }

    #[test]
    fn the_first_and_the_last_moment() {
        for moment in ["1970-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"] {
            let call = call("a", "b")
                .with_start_time(moment.parse().unwrap())
                .with_duration(Duration::ZERO);
            let run = convert(&call);
            assert_eq!(
                (&run["start_time"], &run["end_time"]),
                (&moment.into(), &moment.into())
            );
        }
    }

    #[test]
    fn a_call_that_is_too_large_is_refused_alone() {
        let mut target = target();
        target.max_record_bytes = 1_000;
        let big = call("a", "b").with_response("x".repeat(1_000));
        let error = convert_with(&big, &target).unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::TooLarge);
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
        let key = prop_oneof![
            any::<String>(),
            prop::sample::select(vec!["role", "type", "content", "messages"])
                .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// serde_json reads some floats one bit off, so what is compared has been read once too.
    fn read(value: &Value) -> Value {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    /// Content in the object that it was put into, or as the object itself.
    fn is_in(object: &Value, content: &Value) -> bool {
        let content = &read(content);
        let messages = object["messages"].as_array();
        let only = messages.and_then(|messages| messages.first());
        object.is_object()
            && (object == content
                || object["messages"] == *content
                || only == Some(content)
                || only.is_some_and(|message| message["content"] == *content)
                || object.as_object().map(Map::len) == Some(1)
                    && object
                        .as_object()
                        .unwrap()
                        .values()
                        .any(|value| value == content))
    }

    /// Section 3 of what is known of `/runs/batch`, for a root.
    fn is_valid(run: &Value) -> bool {
        let text = |field: &str| run[field].as_str().unwrap();
        let id: Uuid = text("id").parse().unwrap();
        let start: DateTime<Utc> = text("start_time").parse().unwrap();
        let end: DateTime<Utc> = text("end_time").parse().unwrap();
        let (time, last) = text("dotted_order").split_at(22);
        let time = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%S%6fZ").unwrap();
        id.get_version_num() == 7
            && run["trace_id"] == run["id"]
            && last == text("id")
            && time.and_utc() == start
            && end >= start
            && run["run_type"] == "llm"
            && !text("name").is_empty()
            && text("name").chars().count() <= MAX_NAME_CHARS
            && run["inputs"].is_object()
            && run.get("outputs").is_none_or(Value::is_object)
            && run.get("error").is_none_or(Value::is_string)
            && run.get("parent_run_id").is_none()
            && !integers::are_too_big(&run.to_string())
    }

    proptest! {
        #[test]
        fn any_content_becomes_a_valid_run_and_survives(
            messages in any_json(),
            response in any_json(),
            parameters in any_json(),
            key: String,
            value in any_json(),
            texts: [String; 8],
            tokens: [u32; 2],
            id: u128,
            millis in 0..253_402_300_000_000_i64,
        ) {
            let [provider, model, error, kind, session, user, tag, name] = texts;
            let call = call(&provider, &model)
                .with_id(Uuid::from_u128(id))
                .with_start_time(DateTime::from_timestamp_millis(millis).unwrap())
                .with_messages(&messages)
                .with_response(&response)
                .with_model_parameters(&parameters)
                .with_metadata(key.clone(), &value)
                .with_error(CallError::new(error.clone()).with_kind(kind))
                .with_session_id(session.clone())
                .with_user_id(user.clone())
                .with_tag(tag.clone())
                .with_name(name.clone())
                .with_tokens(u64::from(tokens[0]), u64::from(tokens[1]));
            let run = convert(&call);
            prop_assert!(is_valid(&run), "{}", run);
            prop_assert!(is_in(&run["inputs"], &messages), "{}", run);
            prop_assert!(is_in(&run["outputs"], &response), "{}", run);
            let extra = &run["extra"];
            let sent = &extra["invocation_params"];
            match read(&parameters).as_object() {
                Some(object) => for (name, value) in object {
                    prop_assert_eq!(&sent[name], value);
                },
                None => prop_assert_eq!(&sent["model_parameters"], &read(&parameters)),
            }
            let metadata = &extra["metadata"];
            prop_assert_eq!(&metadata[&key], &read(&value));
            if key != "thread_id" {
                prop_assert_eq!(metadata["thread_id"].as_str(), Some(session.as_str()));
            }
            prop_assert_eq!(&run["tags"], &json!([tag]));
            prop_assert!(run["error"].as_str().unwrap().contains(error.trim()));
            let sum = u64::from(tokens[0]) + u64::from(tokens[1]);
            prop_assert_eq!(&metadata["usage_metadata"]["total_tokens"], sum);
        }

        #[test]
        fn whatever_it_is_nothing_panics(
            text: String, millis: i64, duration: u64, wait: u64, tokens: [u64; 2], cost: f64,
        ) {
            let start = DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MIN_UTC);
            let mut call = call("a", "b")
                .with_start_time(start)
                .with_duration(Duration::from_millis(duration))
                .with_time_to_first_token(Duration::from_nanos(wait))
                .with_tokens(tokens[0], tokens[1])
                .with_cost(cost);
            call.messages = beluga_o11y::Json::parse(text).ok();
            if let Ok(run) = convert_with(&call, &target()) {
                prop_assert!(is_valid(&run), "{}", run);
            }
        }
    }
}
