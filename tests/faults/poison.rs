//! One call is bad, or too large; the others are fine.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use beluga_o11y::{ExportErrorKind, LLMCallData};
use beluga_o11y_pipeline::{DeadLetter, LossReason, Oversize, Pipeline, PipelineBuilder};
use beluga_o11y_sandbox::Sandbox;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::support::*;

type Letters = Arc<Mutex<Vec<DeadLetter>>>;

fn keep_letters(builder: PipelineBuilder) -> (PipelineBuilder, Letters) {
    let letters = Letters::default();
    let kept = Arc::clone(&letters);
    let keep = move |letter: &DeadLetter| kept.lock().unwrap().push(letter.clone());
    (builder.with_dead_letters(keep), letters)
}

/// The server has a narrower window for ids than the exporter knows, as a server may, so the exporter sees nothing
/// wrong with a call of two hours ago, and the server refuses all that it comes with.
pub(crate) fn one_bad_call_in_512() {
    let _busy = one_at_a_time();
    for at in [0, 200, 511] {
        let sandbox = Sandbox::builder()
            .with_id_window(Duration::from_secs(3600))
            .start()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dead-letters.jsonl");
        let builder = Pipeline::builder(opik(sandbox.opik_url()))
            .with_max_batch_size(512)
            .with_max_batch_delay(PATIENCE)
            .with_dead_letter_file(&file);
        let (builder, told) = keep_letters(builder);
        let pipeline = builder.spawn().unwrap();
        let _watch = watch(&pipeline);
        let mut all = calls(512);
        let old = SystemTime::now() - Duration::from_secs(2 * 3600);
        all[at] = call().with_start_time(old.into()).with_name("old");
        let bad = all[at].id();

        let mut ids = submit(&pipeline, all);
        let (report, took) = timed(|| pipeline.flush_within(PATIENCE));
        eprintln!(
            "1 bad of 512, at {at}: {} export calls, {took:?}",
            report.stats.export_calls
        );
        check(&report.stats);
        assert_eq!(report.pending, 0);
        assert_eq!((report.stats.delivered, report.stats.rejected), (511, 1));
        assert!(
            report.stats.export_calls <= 20,
            "{}",
            report.stats.export_calls
        );
        assert!(ids.remove(&bad));
        assert_stored(&sandbox, &ids);

        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].call.id(), bad);
        assert_eq!(told[0].reason, LossReason::Rejected);
        assert_eq!(told[0].error.kind(), ExportErrorKind::Rejected);
        let reason = told[0].error.response_snippet().unwrap();
        assert!(reason.contains("must be in the allowed"), "{reason}");
        let lines = letters(&file, "rejected");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["record"]["id"], bad.to_string());
        assert_eq!(lines[0]["status"], 400);
        assert_eq!(lines[0]["response"], reason);
    }
}

/// The file's lines, each with a call, the time and this reason.
pub(crate) fn letters(file: &Path, reason: &str) -> Vec<Value> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let text = fs::read_to_string(file).unwrap();
    let letters = text.lines().map(|line| {
        let letter: Value = serde_json::from_str(line).unwrap();
        assert_eq!(letter["reason"], reason);
        assert_eq!(letter["exporter"], "opik");
        let time: DateTime<Utc> = serde_json::from_value(letter["time"].clone()).unwrap();
        let age = DateTime::<Utc>::from(SystemTime::now()) - time;
        assert!((0..60).contains(&age.num_seconds()), "{age}");
        let call: LLMCallData = serde_json::from_value(letter["record"].clone()).unwrap();
        assert_eq!(call.usage.input_tokens, Some(12));
        letter
    });
    letters.collect()
}

/// The small ones alone are more than a request may have, so they are divided first.
fn with_a_large_call(oversize: Oversize) -> (Sandbox, Pipeline, Letters, uuid::Uuid) {
    let sandbox = Sandbox::builder()
        .with_max_body_bytes(1_000_000)
        .start()
        .unwrap();
    let exporter = opik_builder(sandbox.opik_url()).with_gzip(false);
    let builder = Pipeline::builder(exporter.build().unwrap()).with_oversize(oversize);
    let (builder, letters) = keep_letters(builder);
    let pipeline = builder.spawn().unwrap();
    let mut all: Vec<_> = (0..100)
        .map(|_| call().with_response("x".repeat(30_000)))
        .collect();
    let large = call()
        .with_messages(json!([{"role": "user", "content": "x".repeat(5_000_000)}]))
        .with_metadata("small", "stays");
    let id = large.id();
    all[50] = large;

    let watch = watch(&pipeline);
    submit(&pipeline, all);
    let (report, took) = timed(|| pipeline.flush_within(PATIENCE));
    drop(watch);
    check(&report.stats);
    eprintln!(
        "5 MB among 99 of 30 KB, limit 1 MB, {oversize:?}: {} export calls, {took:?}",
        report.stats.export_calls
    );
    assert_eq!(report.pending, 0);
    let small = sandbox.traces().into_iter().filter(|trace| trace.id != id);
    assert_eq!(small.count(), 99);
    (sandbox, pipeline, letters, id)
}

pub(crate) fn a_large_call_is_shortened() {
    let (sandbox, pipeline, letters, id) = with_a_large_call(Oversize::Shorten);
    let stats = stats(&pipeline);
    assert_eq!((stats.delivered, stats.rejected), (100, 0));
    assert!(letters.lock().unwrap().is_empty());
    let trace = sandbox.trace(id).unwrap();
    let bytes = json!([{"role": "user", "content": "x".repeat(5_000_000)}])
        .to_string()
        .len();
    assert_eq!(
        trace.input,
        Some(json!({"messages": {"truncated": true, "bytes": bytes}}))
    );
    assert_eq!(trace.output, Some(json!({"response": "hello"})));
    assert_eq!(trace.metadata.unwrap()["small"], "stays");
    let usage = |name: &str| trace.usage.get(name).copied();
    assert_eq!(usage("prompt_tokens"), Some(12));
    assert_eq!(usage("completion_tokens"), Some(5));
}

pub(crate) fn a_large_call_is_a_dead_letter() {
    let (sandbox, pipeline, letters, id) = with_a_large_call(Oversize::DeadLetter);
    let stats = stats(&pipeline);
    assert_eq!((stats.delivered, stats.rejected), (99, 1));
    assert_eq!(sandbox.trace(id), None);
    let letters = letters.lock().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].call.id(), id);
    assert_eq!(letters[0].reason, LossReason::TooLarge);
    assert_eq!(letters[0].error.status(), Some(413));
    let messages = letters[0].call.messages.as_ref().unwrap();
    assert!(messages.size() > 5_000_000, "it is whole");
}
