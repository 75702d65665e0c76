//! Several calls at once, bad calls, and calls that come again.

use std::collections::BTreeMap;
use std::sync::Arc;

use beluga_o11y::{ExportErrorKind, LLMCallData};
use serde_json::{Value, json, value::RawValue};

use crate::conformance::trial::{Trial, call};

pub(crate) async fn empty_batch(trial: &mut Trial) {
    let exporter = Arc::clone(&trial.exporter);
    let result = exporter.export_batch(&[]).await;
    trial.took_all("a batch of none", &result);
    trial.shows(&[]).await;
}

pub(crate) async fn batch_of_1000(trial: &mut Trial) {
    let calls = numbered(1_000);
    let exporter = Arc::clone(&trial.exporter);
    let result = exporter.export_batch(&references(&calls)).await;
    trial.took_all("the batch", &result);
    trial.shows(&calls).await;
}

pub(crate) async fn bad_calls_in_a_batch(trial: &mut Trial) {
    let mut calls = numbered(100);
    let places = [3, 50, 51, 99];
    let mut bad = places.into_iter().zip(invalid());
    let mut good = Vec::new();
    let mut next = bad.next();
    for (index, call) in calls.iter_mut().enumerate() {
        match next.take_if(|(place, _)| *place == index) {
            Some((_, invalid)) => {
                *call = invalid;
                next = bad.next();
            }
            None => good.push(call.clone()),
        }
    }
    let exporter = Arc::clone(&trial.exporter);
    match exporter.export_batch(&references(&calls)).await {
        Ok(report) => {
            let reported: Vec<_> = report
                .failures
                .iter()
                .map(|failure| failure.index)
                .collect();
            trial.expect(reported == places, || {
                format!("expected failures at {places:?}, saw them at {reported:?}")
            });
            for failure in &report.failures {
                let what = format!("the call at {}", failure.index);
                trial.is_error(&what, ExportErrorKind::Rejected, &failure.error);
            }
        }
        Err(error) => trial.fail(format!("expected a report, saw \"{error}\"")),
    }
    trial.shows(&good).await;
}

pub(crate) async fn invalid_calls(trial: &mut Trial) {
    let exporter = Arc::clone(&trial.exporter);
    for call in invalid() {
        let Err(reason) = call.validate() else {
            trial.fail(format!("the call of {} is not invalid", call.model));
            continue;
        };
        let result = exporter.export_llm_call(&call).await;
        let reason = reason.to_string();
        if let Err(error) = &result {
            trial.expect(error.to_string().contains(&reason), || {
                format!("expected an error that says \"{reason}\", saw \"{error}\"")
            });
        }
        trial.failed_as(&reason, ExportErrorKind::Rejected, result);
    }
    trial.shows(&[]).await;
}

pub(crate) async fn sent_twice(trial: &mut Trial) {
    let calls = numbered(3);
    let exporter = Arc::clone(&trial.exporter);
    for call in calls.iter().chain(&calls) {
        let result = exporter.export_llm_call(call).await;
        trial.succeeded("the export", &result);
    }
    let result = exporter.export_batch(&references(&calls)).await;
    trial.took_all("the batch", &result);
    trial.shows(&calls).await;
}

fn numbered(count: usize) -> Vec<LLMCallData> {
    (0..count)
        .map(|number| {
            call(&format!("model-{number:04}"))
                .with_session_id(format!("session-{}", number % 7))
                .with_metadata("number", number)
        })
        .collect()
}

fn references(calls: &[LLMCallData]) -> Vec<&LLMCallData> {
    calls.iter().collect()
}

/// One of each kind of [`InvalidCall`](beluga_o11y::InvalidCall), in each place where it can be.
fn invalid() -> Vec<LLMCallData> {
    let deep = (0..101).fold(json!("bottom"), |inner, _| Value::Array(vec![inner]));
    let keys = BTreeMap::from([(vec![1_u8], 1)]);
    let number = RawValue::from_string("1e400".into()).ok();
    let new = |what: &str| call(&format!("invalid-{what}"));
    vec![
        new("cost-nan").with_cost(f64::NAN),
        new("messages-deep").with_messages(&deep),
        new("cost-negative").with_cost(-0.01),
        new("metadata-keys").with_metadata("k", &keys),
        new("cost-infinite").with_cost(f64::INFINITY),
        new("cost-minus-infinite").with_cost(f64::NEG_INFINITY),
        new("response-deep").with_response(&deep),
        new("parameters-deep").with_model_parameters(&deep),
        new("metadata-deep").with_metadata("k", &deep),
        new("messages-keys").with_messages(&keys),
        new("response-number").with_response(&number),
    ]
}
