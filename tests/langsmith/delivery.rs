//! What arrives, how often, and in how many requests.

use beluga_o11y::{ExportErrorKind, TraceExporter};
use beluga_o11y_sandbox::{Fault, Request};
use serde_json::{Value, json};

use super::*;

fn runs_in(request: &Request) -> usize {
    assert_eq!(request.path, "/langsmith/runs/batch");
    let body = request.body.as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["post"]);
    body["post"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_call_is_one_finished_run_in_one_request() {
    let sandbox = sandbox();
    let langsmith = at(sandbox.langsmith_url())
        .with_project("demo")
        .with_workspace_id("team")
        .with_environment("staging")
        .build()
        .unwrap();
    let call = call().with_session_id("s").with_tag("t");
    langsmith.export_llm_call(&call).await.unwrap();

    let run = sandbox.run(call.id()).unwrap();
    assert_eq!((run.status, run.run_type.as_str()), ("success", "llm"));
    assert_eq!((run.trace_id, run.parent_run_id), (run.id, None));
    assert_eq!(run.session_name, "demo");
    assert_eq!((run.total_tokens, run.total_cost), (Some(17), Some(0.003)));
    assert_eq!(run.extra["metadata"]["environment"], "staging");

    let requests = sandbox.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(runs_in(&requests[0]), 1);
    for (name, value) in [
        ("x-api-key", KEY),
        ("x-tenant-id", "team"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(requests[0].header(name), Some(value));
    }
    let agent = requests[0].header("user-agent").unwrap();
    assert!(agent.starts_with("beluga-o11y-langsmith/"), "{agent}");

    let mut written = Vec::new();
    langsmith.encode(&call, &mut written).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(requests[0].body, json!({"post": [written]}));
}

#[tokio::test]
async fn bodies_go_unpacked_unless_told_otherwise() {
    let sandbox = sandbox();
    let large = call().with_response("x".repeat(10_000));
    exporter(&sandbox).export_llm_call(&large).await.unwrap();
    assert_eq!(sandbox.requests()[0].header("content-encoding"), None);
    let packing = at(sandbox.langsmith_url()).with_gzip(true).build().unwrap();
    // The sandbox takes none, since nobody knows whether LangSmith does.
    assert!(
        packing
            .export_llm_call(&call().with_response("x".repeat(10_000)))
            .await
            .is_err()
    );
    assert_eq!(
        sandbox.requests()[1].header("content-encoding"),
        Some("gzip")
    );
}

#[tokio::test]
async fn a_request_has_a_hundred_runs_and_so_many_bytes() {
    let sandbox = sandbox();
    let all = calls(250);
    let all: Vec<_> = all.iter().collect();
    let report = exporter(&sandbox).export_batch(&all).await.unwrap();
    assert!(report.is_complete());
    let sizes: Vec<_> = sandbox.requests().iter().map(runs_in).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(sandbox.runs().len(), 250);

    sandbox.clear();
    let small = at(sandbox.langsmith_url())
        .with_max_request_bytes(10_000)
        .build()
        .unwrap();
    let again = calls(20);
    let report = small
        .export_batch(&again.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(report.is_complete());
    assert_eq!(sandbox.runs().len(), 20);
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| request.wire_bytes <= 10_000)
    );
    assert!(sandbox.request_count() > 1);
}

#[tokio::test]
async fn bad_calls_are_reported_by_their_places_and_cost_no_other() {
    let sandbox = sandbox();
    let all = [
        call(),
        call().with_cost(f64::NAN),
        call().with_metadata("id", u64::MAX),
        call(),
    ];
    let report = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let places: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.index)
        .collect();
    assert_eq!(places, [1, 2]);
    assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.error.kind() == ExportErrorKind::Rejected)
    );
    assert_eq!(sandbox.runs().len(), 2);
}

#[tokio::test]
async fn a_lost_answer_and_a_second_try_are_one_run() {
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    let call = call();
    sandbox.inject(Fault::lost_answer());
    let error = langsmith.export_llm_call(&call).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    langsmith.export_llm_call(&call).await.unwrap();
    assert_eq!(sandbox.runs().len(), 1);
    let statuses: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [None, Some(409)]);
}

/// Half of a batch is there, the other half is not: the server answers 409 for all of it.
#[tokio::test]
async fn what_is_new_in_a_batch_that_was_received_in_part_arrives() {
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    let all = calls(10);
    let all: Vec<_> = all.iter().collect();
    assert!(
        langsmith
            .export_batch(&all[..5])
            .await
            .unwrap()
            .is_complete()
    );
    let report = langsmith.export_batch(&all).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(sandbox.runs().len(), 10);
    let sizes: Vec<_> = sandbox.requests().iter().map(runs_in).collect();
    assert_eq!(sizes[..2], [5, 10]);
    assert_eq!(sizes[2..], [1; 10]);
}

#[tokio::test]
async fn a_server_that_fails_meanwhile_is_a_failure() {
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    let all = calls(4);
    let all: Vec<_> = all.iter().collect();
    langsmith.export_llm_call(all[0]).await.unwrap();
    // The batch, the first run alone, and then it is down.
    sandbox.inject(Fault::status(503).after(2));
    let error = langsmith.export_batch(&all).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    assert_eq!(sandbox.request_count(), 4);
    assert!(langsmith.export_batch(&all).await.unwrap().is_complete());
    assert_eq!(sandbox.runs().len(), 4);
}

#[tokio::test]
async fn hidden_content_does_not_leave() {
    let sandbox = sandbox();
    let langsmith = at(sandbox.langsmith_url())
        .with_hide_inputs(true)
        .with_hide_outputs(true)
        .with_hide_metadata(true)
        .build()
        .unwrap();
    let secret = call()
        .with_response("canary answer")
        .with_user_id("canary user")
        .with_metadata("k", "canary note");
    langsmith.export_llm_call(&secret).await.unwrap();
    assert!(!sandbox.requests()[0].body.to_string().contains("canary"));
    assert_eq!(sandbox.runs()[0].total_tokens, Some(17));
}

#[tokio::test]
async fn an_own_path_stays() {
    let sandbox = sandbox();
    for url in ["/api/v1", "/api/v1/otel/v1/traces"] {
        let url = format!("{}{url}", sandbox.langsmith_url());
        at(url)
            .build()
            .unwrap()
            .export_llm_call(&call())
            .await
            .unwrap();
    }
    for request in sandbox.requests() {
        assert_eq!(request.path, "/langsmith/api/v1/runs/batch");
    }
}
