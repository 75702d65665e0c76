use std::{collections::BTreeMap, time::Duration};

use beluga_o11y::{CallError, LLMCallData, MultiExporter, TraceExporter, Usage};
use chrono::{TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn a_call_arrives_complete() {
    let sandbox = sandbox();
    let opik = builder(&sandbox)
        .with_project("demo")
        .with_environment("staging")
        .build()
        .unwrap();
    let call = LLMCallData::new("anthropic", "claude-sonnet-4-5")
        .with_messages(json!([{"role": "user", "content": "hi"}]))
        .with_response(json!({"text": "hello"}))
        .with_model_parameters(json!({"temperature": 0.2}))
        .with_usage(Usage::new(117, 3).with_cache_read(100).with_cache_write(7))
        .with_duration(Duration::from_millis(840))
        .with_time_to_first_token(Duration::from_micros(120_500))
        .with_cost(0.00123)
        .with_error(CallError::new("429").with_kind("RateLimitError"))
        .with_session_id("conv-1")
        .with_tag("prod")
        .with_metadata("experiment", "baseline-v2");

    opik.export_llm_call(&call).await.unwrap();

    let trace = sandbox.trace(call.id()).expect("under the call's own id");
    assert_eq!(trace.workspace, "default");
    assert_eq!(trace.project_name, "demo");
    assert_eq!(trace.name.as_deref(), Some("anthropic/claude-sonnet-4-5"));
    assert_eq!(
        trace.input,
        Some(json!({"messages": [{"role": "user", "content": "hi"}]}))
    );
    assert_eq!(trace.output, Some(json!({"response": {"text": "hello"}})));
    let metadata = trace.metadata.unwrap();
    assert_eq!(metadata["experiment"], "baseline-v2");
    assert_eq!(metadata["cost"], 0.00123);
    assert_eq!(trace.tags, ["prod"]);
    assert_eq!(trace.thread_id.as_deref(), Some("conv-1"));
    assert_eq!(trace.environment.as_deref(), Some("staging"));
    assert_eq!(trace.ttft, Some(120.5));
    assert_eq!(trace.duration, Some(840.0));
    let error = trace.error_info.unwrap();
    assert_eq!(error.exception_type, "RateLimitError");
    assert_eq!(error.traceback, "RateLimitError: 429");

    // What Opik derives from the span: without one a trace has none of it.
    assert_eq!((trace.span_count, trace.llm_span_count), (1, 1));
    assert_eq!(trace.total_estimated_cost, Some(0.00123));
    assert_eq!(trace.providers, ["anthropic"]);
    let expected = BTreeMap::from([
        ("prompt_tokens", 117),
        ("completion_tokens", 3),
        ("total_tokens", 120),
        ("original_usage.input_tokens", 10),
        ("original_usage.output_tokens", 3),
        ("original_usage.cache_read_input_tokens", 100),
        ("original_usage.cache_creation_input_tokens", 7),
    ]);
    let usage: BTreeMap<_, _> = trace
        .usage
        .iter()
        .map(|(key, n)| (key.as_str(), *n))
        .collect();
    assert_eq!(usage, expected);

    let spans = sandbox.spans();
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.trace_id, call.id());
    assert_eq!(span.span_type.as_deref(), Some("llm"));
    assert_eq!(span.model.as_deref(), Some("claude-sonnet-4-5"));
    assert_eq!(span.provider.as_deref(), Some("anthropic"));
    assert_eq!(span.project_name, "demo");
    assert_eq!(
        (span.start_time, span.end_time),
        (trace.start_time, trace.end_time)
    );
    assert_eq!(
        span.metadata,
        Some(json!({"model_parameters": {"temperature": 0.2}}))
    );
}

#[tokio::test]
async fn sending_again_replaces_and_does_not_add() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let call = call().with_cost(0.5);
    for _ in 0..3 {
        opik.export_llm_call(&call).await.unwrap();
    }
    assert!(
        opik.export_batch(&[&call, &call])
            .await
            .unwrap()
            .is_complete()
    );
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (1, 1));
    assert_eq!(
        sandbox.trace(call.id()).unwrap().total_estimated_cost,
        Some(0.5)
    );
}

#[tokio::test]
async fn a_call_of_last_year_arrives_once_with_its_own_times() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let start = Utc::now() - TimeDelta::days(365);
    let by_age = call().with_start_time(start);
    let by_version = call().with_id(Uuid::new_v4());
    let from_the_future = call().with_start_time(Utc::now() + TimeDelta::days(3));
    for call in [&by_age, &by_version, &from_the_future] {
        opik.export_llm_call(call).await.unwrap();
        opik.export_llm_call(call).await.unwrap();
    }
    let traces = sandbox.traces();
    assert_eq!((traces.len(), sandbox.spans().len()), (3, 3));
    assert_eq!(
        traces[0].start_time.timestamp_micros(),
        start.timestamp_micros()
    );
    for (trace, call) in traces.iter().zip([&by_age, &by_version, &from_the_future]) {
        assert_ne!(trace.id, call.id());
        assert_eq!(
            trace.metadata.as_ref().unwrap()["original_id"],
            call.id().to_string()
        );
    }
}

#[tokio::test]
async fn a_large_batch_is_split_and_arrives() {
    let sandbox = sandbox();
    let all = calls(2_500);
    let report = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(report.is_complete());
    assert_eq!(
        (sandbox.traces().len(), sandbox.spans().len()),
        (2_500, 2_500)
    );
    assert_eq!(sandbox.request_count(), 6);
}

#[tokio::test]
async fn a_batch_is_split_by_bytes() {
    let sandbox = sandbox();
    let opik = builder(&sandbox)
        .with_max_request_bytes(10_000)
        .build()
        .unwrap();
    let all: Vec<_> = (0..20)
        .map(|_| call().with_response("x".repeat(3_000)))
        .collect();
    let report = opik
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(report.is_complete());
    assert_eq!(sandbox.traces().len(), 20);
    let requests = sandbox.requests();
    assert!(requests.len() >= 14, "{}", requests.len());
    assert!(requests.iter().all(|request| request.json_bytes <= 10_000));
}

#[tokio::test]
async fn a_request_has_at_most_4_mb_by_default() {
    let sandbox = sandbox();
    let opik = builder(&sandbox).with_gzip(false).build().unwrap();
    let all: Vec<_> = (0..9)
        .map(|_| call().with_response("x".repeat(1_000_000)))
        .collect();
    let report = opik
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(report.is_complete());
    let sizes: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|r| r.json_bytes / 1_000_000)
        .collect();
    assert_eq!(sizes, [3; 6]);
}

#[tokio::test]
async fn an_empty_batch_sends_nothing() {
    let sandbox = sandbox();
    assert!(
        exporter(&sandbox)
            .export_batch(&[])
            .await
            .unwrap()
            .is_complete()
    );
    exporter(&sandbox).flush().await.unwrap();
    assert_eq!(sandbox.request_count(), 0);
}

#[tokio::test]
async fn traces_and_spans_are_sent_at_once() {
    let sandbox = sandbox();
    let delay = Duration::from_secs(1);
    sandbox.inject(beluga_o11y_sandbox::Fault::latency(delay).always());
    let start = std::time::Instant::now();
    exporter(&sandbox).export_llm_call(&call()).await.unwrap();
    assert!(start.elapsed() < delay * 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn bodies_of_a_kilobyte_are_compressed() {
    let sandbox = sandbox();
    let big = call().with_response("x".repeat(10_000));
    exporter(&sandbox).export_llm_call(&big).await.unwrap();
    for request in sandbox.requests() {
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        assert!(request.wire_bytes < 1_000 && request.json_bytes > 10_000);
    }
    sandbox.clear();
    let plain = builder(&sandbox).with_gzip(false).build().unwrap();
    plain.export_llm_call(&big).await.unwrap();
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|r| r.header("content-encoding").is_none())
    );
}

#[tokio::test]
async fn every_request_names_the_workspace_and_ourselves() {
    let sandbox = sandbox();
    let opik = builder(&sandbox)
        .with_header("X-Gateway", "open")
        .build()
        .unwrap();
    opik.export_llm_call(&call()).await.unwrap();
    opik.check().await.unwrap();
    let requests = sandbox.requests();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(request.header("comet-workspace"), Some("default"));
        assert_eq!(request.header("x-gateway"), Some("open"));
        assert_eq!(request.header("authorization"), None);
        let agent = request.header("user-agent").unwrap();
        assert!(agent.starts_with("beluga-o11y-opik/"), "{agent}");
    }
}

#[tokio::test]
async fn the_url_may_have_any_prefix_and_a_slash_at_the_end() {
    let sandbox = sandbox();
    let root = sandbox.opik_url().trim_end_matches("/opik/api").to_owned();
    for url in ["", "/", "/api", "/api/", "/opik/api", "/opik/api/"] {
        let url = format!("{root}{url}");
        let opik = OpikExporter::builder().with_base_url(&url).build().unwrap();
        opik.export_llm_call(&call()).await.unwrap();
    }
    assert_eq!(sandbox.traces().len(), 6);
}

#[tokio::test]
async fn several_exporters_get_every_call() {
    let (a, b) = (sandbox(), sandbox());
    let multi = MultiExporter::new().with(exporter(&a)).with(exporter(&b));
    multi.export_llm_call(&call()).await.unwrap();
    assert_eq!((a.traces().len(), b.traces().len()), (1, 1));
}

#[test]
fn an_exporter_works_from_one_runtime_after_another() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    for workers in [0, 1, 2] {
        let mut runtime = match workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime
            .enable_all()
            .worker_threads(workers.max(1))
            .build()
            .unwrap();
        runtime.block_on(opik.export_llm_call(&call())).unwrap();
    }
    assert_eq!(sandbox.traces().len(), 3);
}

#[test]
fn without_a_runtime_it_says_what_to_do() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let call = call();
    let mut export = opik.export_llm_call(&call);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = export.as_mut().poll(&mut context) else {
        panic!("an answer at once");
    };
    let text = error.to_string();
    assert!(
        text.starts_with("opik: export: ") && text.contains("tokio runtime"),
        "{text}"
    );
    assert_eq!(error.kind(), beluga_o11y::ExportErrorKind::Destination);
    assert_eq!(sandbox.request_count(), 0);
}
