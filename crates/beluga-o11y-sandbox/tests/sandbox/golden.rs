//! Recorded requests of the official clients are accepted, and come back as they were sent.

use std::time::Duration;

use beluga_o11y_sandbox::{OpikCloud, Sandbox};
use serde_json::{Value, json};

use crate::http::{Call, Reply, id_of};

const PYTHON: &str = include_str!("../golden/opik-python-sdk-2.2.122.jsonl");
const TYPESCRIPT: &str = include_str!("../golden/opik-ts-sdk-2.0.40.jsonl");

fn captures(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Sends a capture with the headers it was recorded with, compressed if it was.
fn replay(sandbox: &Sandbox, capture: &Value) -> Reply {
    let method = ["GET", "POST", "PUT", "PATCH"];
    let method = method
        .into_iter()
        .find(|method| capture["method"] == **method)
        .unwrap();
    let mut call = Call::get(capture["path"].as_str().unwrap()).method(method);
    for (name, value) in capture["headers"].as_object().unwrap() {
        if !["host", "content-length", "connection", "content-encoding"]
            .contains(&name.to_lowercase().as_str())
        {
            call = call.header(name, value.as_str().unwrap());
        }
    }
    if !capture["body"].is_null() {
        call = call.body(capture["body"].to_string());
    }
    if capture["headers"].get("Content-Encoding").is_some() {
        call = call.gzip();
    }
    call.send(sandbox)
}

/// The ids are of 2026: a wide window lets them in.
fn sandbox() -> Sandbox {
    let account = OpikCloud::new("KEY123").with_workspace("ml-team");
    Sandbox::builder()
        .with_cloud(account)
        .with_id_window(Duration::from_secs(100 * 365 * 86_400))
        .start()
        .unwrap()
}

fn assert_kept(stored: &Value, sent: &Value) {
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(stored.get(name), Some(value), "{name} of {sent}");
    }
}

fn assert_replays(lines: &str) -> Sandbox {
    let sandbox = sandbox();
    for capture in captures(lines) {
        let path = capture["path"].as_str().unwrap();
        let reply = replay(&sandbox, &capture);
        let expected = match path.rsplit('/').next() {
            _ if capture["method"] == "GET" => 200,
            Some("retrieve") => 200,
            Some("datasets" | "experiments") => 201,
            _ => 204,
        };
        assert_eq!(reply.status, expected, "{path}: {}", reply.text());
        let request = sandbox.requests().pop().unwrap();
        assert_eq!(
            (request.path.as_str(), &request.body),
            (path, &capture["body"])
        );
        assert_eq!(request.header("AUTHORIZATION"), Some("KEY123"));
        assert_eq!(
            request.wire_bytes < request.json_bytes,
            request.header("content-encoding").is_some()
        );
        for trace in capture["body"]["traces"].as_array().into_iter().flatten() {
            let stored = serde_json::to_value(sandbox.trace(id_of(trace)).unwrap()).unwrap();
            assert_kept(&stored, trace);
            assert_eq!(stored["workspace"], "ml-team");
        }
        for span in capture["body"]["spans"].as_array().into_iter().flatten() {
            assert_kept(
                &serde_json::to_value(sandbox.span(id_of(span)).unwrap()).unwrap(),
                span,
            );
        }
    }
    sandbox
}

#[test]
fn the_python_client() {
    let sandbox = assert_replays(PYTHON);
    let [trace] = &sandbox.traces()[..] else {
        panic!("one trace")
    };
    assert_eq!(sandbox.spans().len(), 2);
    assert_eq!((trace.span_count, trace.llm_span_count), (2, 2));
    assert_eq!(trace.providers, ["anthropic", "openai"]);
    assert_eq!(trace.usage["prompt_tokens"], 129);
    assert_eq!(trace.usage["original_usage.cache_read_input_tokens"], 100);
    assert_eq!(trace.total_estimated_cost, Some(0.00123));
    assert_eq!(trace.duration, Some(840.0));
    let scores: Vec<_> = trace
        .feedback_scores
        .iter()
        .map(|score| (score.name.as_str(), score.value))
        .collect();
    assert_eq!(scores, [("quality", 0.9), ("batch", 1.0)]);
    let (datasets, items) = (sandbox.datasets(), sandbox.dataset_items());
    assert_eq!(
        (datasets.len(), datasets[0].dataset_items_count, items.len()),
        (1, 1, 1)
    );
    assert_eq!(items[0].data, json!({"question": "q", "expected": "a"}));
    let [experiment] = &sandbox.experiments()[..] else {
        panic!("one experiment")
    };
    assert_eq!(
        (experiment.name.as_str(), experiment.dataset_id),
        ("exp-1", datasets[0].id)
    );
    let runs = sandbox.experiment_items();
    assert_eq!(
        (runs.len(), runs[0].experiment_id, runs[0].trace_id),
        (1, experiment.id, trace.id)
    );
    assert_eq!(
        (
            experiment.trace_count,
            &experiment.feedback_scores["quality"]
        ),
        (1, &0.9)
    );
}

#[test]
fn the_typescript_client() {
    let sandbox = assert_replays(TYPESCRIPT);
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (1, 1));
    assert_eq!(sandbox.traces()[0].usage["total_tokens"], 17);
}

#[test]
fn recorded_ids_are_too_old_without_a_wide_window() {
    let sandbox = Sandbox::builder()
        .with_id_window(Duration::ZERO)
        .start()
        .unwrap();
    let mut capture = captures(TYPESCRIPT).remove(0);
    capture["headers"]["comet-workspace"] = json!("default");
    let reply = replay(&sandbox, &capture);
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("too_old"), "{}", reply.text());
}
