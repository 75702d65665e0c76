use beluga_o11y::{ExportErrorKind, LLMCallData, TraceExporter};
use serde_json::{Value, json};

use super::*;

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| Value::Array(vec![inner]))
}

fn bad_calls() -> Vec<(LLMCallData, ExportErrorKind, &'static str)> {
    use ExportErrorKind::{Rejected, TooLarge};
    let time = |text: &str| text.parse().unwrap();
    vec![
        (
            call().with_cost(f64::NAN),
            Rejected,
            "cost: not a finite number",
        ),
        (
            call().with_cost(f64::NEG_INFINITY),
            Rejected,
            "cost: not a finite number",
        ),
        (
            call().with_cost(-0.01),
            Rejected,
            "cost: -0.01 USD is negative",
        ),
        (
            call().with_start_time(time("1969-12-31T23:59:59Z")),
            Rejected,
            "the start is 1969-",
        ),
        (
            call().with_start_time(time("2262-04-12T00:00:00Z")),
            Rejected,
            "the start is 2262-",
        ),
        (
            call().with_duration(Duration::MAX),
            Rejected,
            "the start is -262143-",
        ),
        (
            call().with_tokens(1 << 31, 0),
            Rejected,
            "usage: prompt_tokens is 2147483648",
        ),
        (
            call().with_environment("x".repeat(151)),
            Rejected,
            "environment: 151 characters",
        ),
        (
            call().with_messages(deep(101)),
            Rejected,
            "messages: JSON is more than 100 levels deep",
        ),
        (
            call().with_response(deep(10_000)),
            Rejected,
            "response: JSON is more than 100 levels",
        ),
        (
            call().with_metadata("k", deep(101)),
            Rejected,
            "metadata: JSON is more than 100 levels",
        ),
        (
            call().with_response("x".repeat(20_000_000)),
            TooLarge,
            "the call is 2000",
        ),
    ]
}

#[tokio::test]
async fn a_bad_call_alone_is_a_clear_error_and_nothing_is_sent() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    for (call, kind, text) in bad_calls() {
        let error = opik.export_llm_call(&call).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = format!("opik: export: {text}");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    assert_eq!(sandbox.request_count(), 0);
}

#[tokio::test]
async fn bad_calls_in_a_batch_cost_no_other() {
    let sandbox = sandbox();
    let mut batch = calls(1_000);
    let bad = bad_calls();
    let places: Vec<_> = (0..bad.len()).map(|i| i * 90 + 3).collect();
    for (place, (call, ..)) in places.iter().zip(&bad) {
        batch[*place] = call.clone();
    }
    let report = exporter(&sandbox)
        .export_batch(&batch.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let reported: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.index)
        .collect();
    assert_eq!(reported, places);
    for (failure, (_, kind, _)) in report.failures.iter().zip(&bad) {
        assert_eq!(failure.error.kind(), *kind);
    }
    assert_eq!(sandbox.traces().len(), 1_000 - bad.len());
    assert_eq!(sandbox.spans().len(), 1_000 - bad.len());
}

#[tokio::test]
async fn what_is_just_within_the_limits_arrives() {
    let sandbox = sandbox();
    // Plain, because compressing 38 MB takes a debug build several seconds.
    let opik = builder(&sandbox).with_gzip(false).build().unwrap();
    for call in [
        call()
            .with_messages(deep(100))
            .with_metadata("k", deep(100)),
        call().with_tokens((1 << 31) - 1, 0),
        call().with_cost(0.0),
        call().with_start_time("1970-01-01T00:00:00Z".parse().unwrap()),
        call().with_start_time("2262-04-11T23:47:15Z".parse().unwrap()),
        call().with_response("x".repeat(19_000_000)),
    ] {
        opik.export_llm_call(&call).await.unwrap();
    }
    assert_eq!(sandbox.traces().len(), 6);
}
