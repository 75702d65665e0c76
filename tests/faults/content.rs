//! What is left out: by sampling, by redaction, after too long.

use std::{borrow::Cow, collections::BTreeSet, fs, time::Duration};

use beluga_o11y::{CallError, CallSink, InMemoryExporter, Json, LLMCallData, Submission};
use beluga_o11y_pipeline::{DeadLetter, LossReason, Pipeline};
use beluga_o11y_sandbox::{Fault, Sandbox};
use serde_json::json;

use crate::{
    alone::{self, Log},
    poison::letters,
    support::*,
};

/// 500 traces of two calls each. The trace ids are the same in every run, so the figures are, too.
pub(crate) fn a_sample_is_the_same_everywhere() {
    let _busy = one_at_a_time();
    let sampled = |rate: f64| {
        let sandbox = sandbox();
        let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
            .with_sample_rate(rate)
            .spawn()
            .unwrap();
        let _watch = watch(&pipeline);
        for number in 0..1000 {
            let trace = format!("trace-{}", number / 2);
            let submission = pipeline.submit(call().with_trace_id(trace));
            assert!(matches!(
                submission,
                Submission::Accepted | Submission::SampledOut
            ));
        }
        let report = pipeline.shutdown(10 * SECOND);
        check(&report.stats);
        assert_eq!(report.pending, 0);
        assert_eq!(report.stats.delivered + report.stats.sampled_out, 1000);
        let kept: Vec<_> = sandbox
            .traces()
            .into_iter()
            .map(|trace| trace.metadata.unwrap()["trace_id"].to_string())
            .collect();
        assert_eq!(kept.len() as u64, report.stats.delivered);
        let traces: BTreeSet<_> = kept.iter().cloned().collect();
        assert_eq!(
            kept.len(),
            2 * traces.len(),
            "the calls of a trace stay together"
        );
        traces
    };
    assert_eq!(sampled(0.0).len(), 0);
    assert_eq!(sampled(1.0).len(), 500);
    let (some, more) = (sampled(0.2), sampled(0.5));
    assert_eq!(some, sampled(0.2));
    assert!((60..140).contains(&some.len()), "{}", some.len());
    assert!((200..300).contains(&more.len()), "{}", more.len());
    assert!(some.is_subset(&more));
}

pub(crate) fn errors_are_always_kept() {
    let sandbox = sandbox();
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_sample_rate(0.0)
        .with_errors_always_kept(true)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    for _ in 0..50 {
        assert_eq!(pipeline.submit(call()), Submission::SampledOut);
        assert!(pipeline.submit(call().with_error("timeout")).is_accepted());
    }
    let report = pipeline.shutdown(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.stats.delivered, report.stats.sampled_out), (50, 50));
    assert!(
        sandbox
            .traces()
            .iter()
            .all(|trace| trace.error_info.is_some())
    );
}

pub(crate) fn expired_calls_are_dead_letters() {
    let port = ClosedPort::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dead-letters.jsonl");
    let told = InMemoryExporter::new();
    let tell = told.clone();
    let pipeline = Pipeline::builder(opik(port.url()))
        .with_max_retry_time(2 * SECOND)
        .with_dead_letter_file(&file)
        .with_dead_letters(move |letter: &DeadLetter| {
            assert_eq!(letter.reason, LossReason::Expired);
            tell.submit_shared(letter.call.clone());
        })
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let (ids, took) = timed(|| {
        let ids = submit(&pipeline, calls(100));
        wait_for("expiry", PATIENCE, || stats(&pipeline).pending == 0);
        ids
    });
    eprintln!("with_max_retry_time(2 s): given up after {took:?}");
    assert!((2 * SECOND..8 * SECOND).contains(&took), "{took:?}");
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert_eq!(
        (report.stats.dropped.expired, report.stats.rejected),
        (100, 0)
    );
    let told: BTreeSet<_> = told.calls().iter().map(|call| call.id()).collect();
    assert_eq!(told, ids);
    assert_eq!(letters(&file, "expired").len(), 100);
}

pub(crate) fn no_canary_anywhere() {
    alone::start("canary", &[]);
}

const CANARY: &str = "canary-bc4b2a76";

fn with_canaries() -> LLMCallData {
    LLMCallData::new("openai", format!("gpt-{CANARY}"))
        .with_name(CANARY)
        .with_messages(json!([
            {"role": "user", "content": CANARY, CANARY: [CANARY, {"deep": [[CANARY]]}]},
            {"role": "tool", "arguments": json!({"q": CANARY}).to_string()},
        ]))
        .with_response(format!("é {CANARY}\n\"{CANARY}\""))
        .with_model_parameters(json!({"stop": [CANARY], CANARY: 1}))
        .with_error(CallError::new(CANARY).with_kind(CANARY).with_trace(CANARY))
        .with_session_id(CANARY)
        .with_user_id(CANARY)
        .with_tag(CANARY)
        .with_environment(CANARY)
        .with_release(CANARY)
        .with_trace_id(CANARY)
        .with_parent_span_id(CANARY)
        .with_metadata(CANARY, CANARY)
        .with_metadata("escaped", Json::parse(r#""\u0063anary-bc4b2a76""#).unwrap())
        .with_tokens(12, 5)
        .with_duration(Duration::from_millis(840))
}

/// In what the server got, in dead letters, in the log at every level, also when the function itself panics.
pub(crate) fn canary(_: &[String]) {
    let log = Log::capture();
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(422).times(2));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dead-letters.jsonl");
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_redaction(|text: &str| -> Cow<'_, str> {
            assert!(text != "break", "a panic that the row wants, at {CANARY}");
            match text.contains(CANARY) {
                true => text.replace(CANARY, "***").into(),
                false => text.into(),
            }
        })
        .with_dead_letter_file(&file)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);

    // One dead letter, one that makes the function panic, and others.
    submit(&pipeline, vec![with_canaries()]);
    assert_eq!(pipeline.flush_within(10 * SECOND).stats.rejected, 1);
    submit(
        &pipeline,
        vec![
            with_canaries(),
            with_canaries().with_tag("break"),
            with_canaries().with_response(json!({"a": ["break", CANARY]})),
        ],
    );
    let report = pipeline.shutdown(10 * SECOND);
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 3));

    let lines = letters(&file, "rejected");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["record"]["name"], "***");
    let lines = fs::read_to_string(&file).unwrap();
    let requests = serde_json::to_string(&sandbox.requests()).unwrap();
    let stored = serde_json::to_string(&(sandbox.traces(), sandbox.spans())).unwrap();
    let log = log.text();
    // The net is cast.
    assert!(requests.contains("***") && stored.contains("***") && log.contains("TRACE"));
    for (what, text) in [
        ("requests", &requests),
        ("the store", &stored),
        ("dead letters", &lines),
        ("the log", &log),
    ] {
        let at = text.find(CANARY);
        let around = at.map(|at| {
            text[at.saturating_sub(200)..]
                .chars()
                .take(400)
                .collect::<String>()
        });
        assert_eq!(around, None, "a canary in {what}");
    }
    assert!(!format!("{pipeline:?} {report:?}").contains(CANARY));
    // Its numbers arrive whatever the function does.
    for trace in sandbox.traces() {
        assert_eq!(trace.usage.get("prompt_tokens"), Some(&12));
        assert_eq!(trace.duration, Some(840.0));
    }
    let without: Vec<_> = sandbox
        .traces()
        .into_iter()
        .filter(|trace| trace.input.is_none() && trace.output.is_none())
        .collect();
    assert_eq!(without.len(), 2, "those that made the function panic");
}

pub(crate) fn losses_are_warned_of_once_and_summed_up() {
    alone::start("losses", &[]);
}

/// For a process of its own, since it reads the whole log.
pub(crate) fn losses(_: &[String]) {
    let log = Log::capture();
    let sandbox = sandbox();
    sandbox.inject(Fault::status(422).always());
    let pipeline = Pipeline::builder(opik(sandbox.opik_url()))
        .with_max_batch_delay(Duration::ZERO)
        .spawn()
        .unwrap();
    for call in calls(5) {
        pipeline.submit(call.clone().with_cost(-1.0));
        pipeline.submit(call);
    }
    assert_eq!(pipeline.flush_within(PATIENCE).pending, 0);
    let report = pipeline.shutdown(SECOND);
    pipeline.submit(call());
    check(&report.stats);
    let sum = "0 delivered, 0 pending, 5 rejected by the backend, 5 refused as invalid";
    assert_eq!(report.stats.to_string(), sum);
    let warnings = log.warnings();
    for warning in [
        "opik: a call was rejected by the backend: opik: export: 422 Unprocessable Entity",
        "opik: a call was refused: cost: -1 USD is negative",
        &format!("opik: shut down: {sum}"),
    ] {
        let count = warnings
            .iter()
            .filter(|line| line.contains(warning))
            .count();
        assert_eq!(count, 1, "{warning}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}
