//! Scores of traces and spans, alone and many at once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use beluga_o11y::{ExportErrorKind, TraceExporter};
use beluga_o11y_opik::{FeedbackScore, OpikError};
use beluga_o11y_sandbox::Fault;
use uuid::Uuid;

use super::{
    scripted::{Asked, Scripted, reply},
    *,
};

const TRACES: &str = "/traces/feedback-scores";
const SPANS: &str = "/spans/feedback-scores";

fn score(value: f64) -> FeedbackScore {
    FeedbackScore::new("quality", value)
}

#[tokio::test]
async fn a_trace_and_its_span_are_scored() {
    let sandbox = sandbox();
    let opik = builder(&sandbox).with_project("demo").build().unwrap();
    let call = call();
    opik.export_llm_call(&call).await.unwrap();
    let (trace, span) = (opik.trace_id(&call), opik.span_id(&call));
    opik.score_trace(trace, score(0.2)).await.unwrap();
    let full = FeedbackScore::new("  quality ", 0.9)
        .with_reason("names its source")
        .with_category("good");
    opik.score_trace(trace, full).await.unwrap();
    opik.score_span(span, score(-3.5)).await.unwrap();

    let [stored] = sandbox
        .trace(trace)
        .unwrap()
        .feedback_scores
        .try_into()
        .unwrap();
    assert_eq!((stored.name.as_str(), stored.value), ("quality", 0.9));
    assert_eq!(stored.reason.as_deref(), Some("names its source"));
    assert_eq!(stored.category_name.as_deref(), Some("good"));
    assert_eq!(stored.source, "sdk");
    let [stored] = sandbox
        .span(span)
        .unwrap()
        .feedback_scores
        .try_into()
        .unwrap();
    assert_eq!((stored.value, stored.reason), (-3.5, None));

    let report = opik
        .score_traces([(trace, FeedbackScore::new("length", 3.0))])
        .await
        .unwrap();
    assert_eq!((report.stored, report.unchanged), (1, 0));
    let report = opik.score_spans([(span, score(1.0))]).await.unwrap();
    report.into_result().unwrap();
    assert_eq!(sandbox.trace(trace).unwrap().feedback_scores.len(), 2);
    assert_eq!(sandbox.span(span).unwrap().feedback_scores[0].value, 1.0);
}

#[tokio::test]
async fn what_is_not_there_has_a_name() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let id = Uuid::now_v7();
    let error = opik.score_trace(id, score(1.0)).await.unwrap_err();
    assert!(
        matches!(error, OpikError::TraceNotFound { id: unknown } if unknown == id),
        "{error}"
    );
    let error = opik.score_span(id, score(1.0)).await.unwrap_err();
    assert!(
        matches!(error, OpikError::SpanNotFound { id: unknown } if unknown == id),
        "{error}"
    );
    assert_eq!(sandbox.request_count(), 2);

    let elsewhere = builder(&sandbox).with_workspace("other").build().unwrap();
    let error = elsewhere.score_trace(id, score(1.0)).await.unwrap_err();
    assert!(error.to_string().contains("no such workspace"), "{error}");
    for body in ["<html>nginx</html>", ""] {
        let server = Scripted::start(move |_| Some(reply(404).body(body))).await;
        let error = server.exporter().score_trace(id, score(1.0)).await;
        let error = error.unwrap_err();
        assert!(
            error.to_string().contains("no Opik API at this URL"),
            "{error}"
        );
    }
    // Opik itself takes many scores without asking.
    opik.score_traces([(id, score(1.0))])
        .await
        .unwrap()
        .into_result()
        .unwrap();
}

#[tokio::test]
async fn a_bad_score_is_not_sent() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let id = Uuid::now_v7();
    let limit = "999999999.999999999".parse::<f64>().unwrap();
    let bad = [
        (id, score(f64::NAN), "not finite"),
        (id, score(f64::INFINITY), "not finite"),
        (id, score(f64::NEG_INFINITY), "not finite"),
        (id, score(1e9), "range"),
        (id, score(-1e9), "range"),
        (id, score(limit), "range"),
        (id, score(f64::MAX), "range"),
        (id, FeedbackScore::new("", 1.0), "blank"),
        (id, FeedbackScore::new(" \t", 1.0), "blank"),
        (Uuid::new_v4(), score(1.0), "id"),
        (Uuid::nil(), score(1.0), "id"),
    ];
    let kind = |error: &OpikError| match error {
        OpikError::ScoreNotFinite { name } if name == "quality" => "not finite",
        OpikError::ScoreOutOfRange { name, value } if name == "quality" && value.abs() >= 1e9 => {
            "range"
        }
        OpikError::BlankName { of: "score" } => "blank",
        OpikError::IdNotVersion7 {
            of: "trace" | "span",
            ..
        } => "id",
        _ => "?",
    };
    for (id, score, expected) in bad.clone() {
        let error = opik.score_trace(id, score.clone()).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{error}");
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        let error = opik.score_span(id, score).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{error}");
    }
    let expected: Vec<_> = bad
        .iter()
        .map(|(.., expected)| *expected)
        .enumerate()
        .collect();
    let all = bad.map(|(id, score, _)| (id, score));
    let report = opik.score_traces(all.clone()).await.unwrap();
    assert_eq!(report.stored, 0);
    let kinds: Vec<_> = report
        .failures
        .iter()
        .map(|one| (one.index, kind(&one.error)))
        .collect();
    assert_eq!(kinds, expected);
    assert_eq!(sandbox.request_count(), 0);

    // The largest that there are; in between bad ones, which cost them nothing.
    let below = f64::from_bits(1e9_f64.to_bits() - 1);
    let mut mixed: Vec<_> = all.into_iter().collect();
    mixed.insert(0, (id, FeedbackScore::new("up", below)));
    mixed.push((id, FeedbackScore::new("down", -below)));
    let report = opik.score_spans(mixed).await.unwrap();
    assert_eq!((report.stored, report.failures.len()), (2, expected.len()));
    let [request] = sandbox.requests().try_into().unwrap();
    assert_eq!(request.status, Some(204));
    let values: Vec<_> = request.body["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["value"].as_f64())
        .collect();
    // To the last digit but one, as this reader of JSON has it.
    for (value, sent) in values.into_iter().zip([below, -below]) {
        assert!((value.unwrap() - sent).abs() < 1e-6, "{value:?}");
    }
}

#[tokio::test]
async fn many_scores_go_out_a_thousand_at_a_time() {
    let bad = |request: &Asked| {
        request
            .list("scores")
            .iter()
            .any(|one| one["value"] == 1_700.0)
    };
    let server = Scripted::start(move |request| {
        bad(request).then(|| reply(422).json(&json!({"errors": ["scores[700].name canary"]})))
    })
    .await;
    let opik = server.builder().with_project("demo").build().unwrap();
    let id = Uuid::now_v7();
    let scores = |count: u32| (0..count).map(move |number| (id, score(f64::from(number))));
    let report = opik.score_spans(scores(1_600)).await.unwrap();
    assert_eq!(report.stored, 1_600);
    let sent = server.asked_of("PUT", SPANS);
    assert_eq!(
        sent.iter()
            .map(|put| put.list("scores").len())
            .collect::<Vec<_>>(),
        [1_000, 600]
    );
    assert_eq!(sent[1].list("scores")[599]["project_name"], "demo");

    // One that Opik refuses, and one that is not sent.
    let bad_value = [(id, score(f64::NAN))];
    let all = scores(2_500).chain(bad_value);
    let report = opik.score_traces(all).await.unwrap();
    assert_eq!(report.stored, 2_499);
    let [failure, not_sent] = report.failures.try_into().unwrap();
    assert_eq!((failure.index, not_sent.index), (1_700, 2_500));
    assert!(
        failure.error.to_string().starts_with("opik: score: 422 "),
        "{}",
        failure.error
    );
    assert!(!format!("{failure:?} {}", failure.error).contains("canary"));
    let accepted = server
        .asked_of("PUT", TRACES)
        .into_iter()
        .filter(|put| !bad(put));
    let mut values: Vec<u32> = accepted
        .flat_map(|put| put.list("scores"))
        .map(|one| one["value"].as_f64().unwrap() as u32)
        .collect();
    values.sort_unstable();
    assert_eq!(
        values,
        (0..2_500).filter(|n| *n != 1_700).collect::<Vec<_>>()
    );

    let before = server.asked().len();
    let report = opik.score_traces([]).await.unwrap();
    assert_eq!((report.stored, server.asked().len()), (0, before));
}

/// A server with this first answer; how long the score took, what came of it, and how often it was asked.
async fn first(
    status: u16,
    wait: Option<&'static str>,
) -> (Duration, Result<(), OpikError>, usize) {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |_| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        let answer = reply(status).json(&json!({"message": "canary"}));
        first.then(|| match wait {
            Some(wait) => answer.header("RateLimit-Reset", wait),
            None => answer,
        })
    })
    .await;
    let opik = server.exporter();
    let started = Instant::now();
    let result = opik.score_trace(Uuid::now_v7(), score(1.0)).await;
    (started.elapsed(), result, server.asked().len())
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let (took, result, asked) = first(429, Some("2")).await;
    result.unwrap();
    assert_eq!(asked, 2);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let (took, result, asked) = first(429, Some("1")).await;
    result.unwrap();
    assert!(asked == 2 && took >= Duration::from_secs(1), "{took:?}");
    for status in [408, 500, 503] {
        let (took, result, asked) = first(status, None).await;
        result.unwrap();
        assert_eq!(asked, 2);
        assert!(took >= Duration::from_millis(500), "{took:?}");
    }
    // Nobody waits for longer than a minute.
    let (_, result, asked) = first(429, Some("61")).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), asked), (ExportErrorKind::Temporary, 1));
}

#[tokio::test]
async fn what_does_not_change_is_not_asked_again() {
    for (status, kind) in [
        (400, ExportErrorKind::Rejected),
        (401, ExportErrorKind::Destination),
        (402, ExportErrorKind::Destination),
        (403, ExportErrorKind::Destination),
        (422, ExportErrorKind::Rejected),
    ] {
        let (_, result, asked) = first(status, None).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), asked), (kind, 1), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    // Nor is the rest sent to a server that refuses the key.
    let sandbox = sandbox();
    sandbox.inject(Fault::status(401).after(1).always());
    let scores = (0..3_000).map(|_| (Uuid::now_v7(), score(1.0)));
    let error = exporter(&sandbox).score_traces(scores).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpikError::Failed {
                operation: "score",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(sandbox.request_count(), 2);
}

#[test]
fn a_score_shows_no_reason() {
    let score = score(1.0).with_reason("canary").with_category("good");
    let shown = format!("{score:?}");
    assert!(
        shown.contains("quality") && shown.contains("good"),
        "{shown}"
    );
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_bad_score_in_each_of_many_requests_costs_no_other() {
    let bad = |request: &Asked| {
        let mut scores = request.list("scores").into_iter();
        scores.any(|one| one["name"] == "bad")
    };
    let server = Scripted::start(move |request| bad(request).then(|| reply(422))).await;
    let opik = server.builder().build().unwrap();
    let id = Uuid::now_v7();
    let scores = (0..20_000).map(|n| {
        let name = if n % 1_000 == 500 { "bad" } else { "good" };
        (id, FeedbackScore::new(name, 1.0))
    });
    let report = opik.score_traces(scores).await.unwrap();
    let places: Vec<_> = report.failures.iter().map(|one| one.index).collect();
    assert_eq!(places, (0..20).map(|n| 1_000 * n + 500).collect::<Vec<_>>());
    assert_eq!(report.stored, 19_980);
    let sent = server.asked_of("PUT", TRACES).into_iter();
    let stored = sent.filter(|put| !bad(put));
    let stored: usize = stored.map(|put| put.list("scores").len()).sum();
    assert_eq!(stored, 19_980);
}
