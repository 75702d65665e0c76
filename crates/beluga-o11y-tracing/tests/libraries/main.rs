//! What the layer makes of the spans of each library, by version.
//!
//! The libraries themselves are no dependencies: some need a newer compiler, all are large. Each module declares the spans
//! of one version exactly as its source does (name, target, fields and their order, types of values) and replays what the
//! library does with them.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod genai_0_7_2;
mod langchain_rust_7;
mod rig;
mod rig_0_42;
mod rig_0_44;
mod rig_0_46;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::{collections::HashMap, io};

use beluga_o11y::LLMCallData;
use beluga_o11y_tracing::LlmCallLayer;
use serde_json::{Value, json};
use support::{calls as records, calls_under, calls_with as records_of};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{fmt, prelude::*, registry};

/// The message of an error that no field tells of.
const NO_ANSWER: &str =
    "no answer was recorded: the call failed, was cancelled, or its answer was not read to the end";

type Calls = Vec<LLMCallData>;

/// The records of what is done beside a log that only takes warnings, as most programs have one.
fn records_beside_a_log(run: impl FnOnce()) -> Calls {
    let log = fmt::layer().with_writer(io::sink);
    let log = log.with_filter(LevelFilter::WARN);
    calls_under(
        |sink| registry().with(log).with(LlmCallLayer::new(sink)),
        run,
    )
}

/// The same in a program that logs everything, so that every span of its own is enabled.
fn records_beside_a_full_log(run: impl FnOnce()) -> Calls {
    let log = fmt::layer().with_writer(io::sink);
    calls_under(
        |sink| registry().with(log).with(LlmCallLayer::new(sink)),
        run,
    )
}

/// All that there is in records, but for what differs from run to run: traces and spans are numbered in order of their
/// first appearance.
fn seen(calls: &[LLMCallData]) -> Vec<Value> {
    let mut ids = [("trace_id", 32), ("parent_span_id", 16)]
        .map(|(field, digits)| (field, digits, HashMap::new()));
    let seen = calls.iter().map(|call| {
        assert!(call.duration.is_some() && call.has_start_time());
        let mut value = serde_json::to_value(call).unwrap();
        let fields = value.as_object_mut().unwrap();
        for different in ["id", "start_time", "duration_ms"] {
            assert!(fields.remove(different).is_some(), "{different}");
        }
        for (field, digits, numbers) in &mut ids {
            let Some(id) = fields.get_mut(*field) else {
                continue;
            };
            let text = id.as_str().unwrap().to_owned();
            let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            assert!(text.len() == *digits && text.chars().all(is_hex), "{text}");
            let next = numbers.len() + 1;
            *id = json!(numbers.entry(text).or_insert(next));
        }
        value
    });
    seen.collect()
}

/// The only record of a script, in full.
fn only(run: impl FnOnce()) -> Value {
    let mut seen = seen(&records(run));
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

/// A record with other fields, or without those that are null.
fn with(record: &Value, changes: Value) -> Value {
    let mut record = record.clone();
    let fields = record.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    record
}

/// Libraries in each other: each call once, with the spans of all libraries as its parents.
#[test]
fn an_agent_of_one_library_whose_tool_uses_another() {
    let script = || {
        rig::agent::<rig_0_46::V046>("guide", false, false, &|| {
            genai_0_7_2::plain();
            langchain_rust_7::agent(&genai_0_7_2::plain);
        });
    };
    let calls = seen(&records(script));
    let place = |call: &Value| (call["trace_id"].as_u64(), call["parent_span_id"].as_u64());
    let places: Vec<_> = calls.iter().map(place).collect();
    // The run, rig's tool, a chain, langchain-rust's tool, another chain, the run.
    let expected = [1, 2, 3, 4, 5, 1].map(|parent| (Some(1), Some(parent)));
    assert_eq!(places, expected);
}
