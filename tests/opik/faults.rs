use std::time::Instant;

use beluga_o11y::{ExportErrorKind, TraceExporter};
use beluga_o11y_sandbox::Fault;

use super::*;

#[tokio::test]
async fn a_reset_is_temporary_and_a_second_try_arrives() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let call = call();
    sandbox.inject(Fault::reset().times(2));
    let error = opik.export_llm_call(&call).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    opik.export_llm_call(&call).await.unwrap();
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_and_a_second_try_are_one_call() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let call = call();
    sandbox.inject(Fault::lost_answer().times(2));
    let error = opik.export_llm_call(&call).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    assert_eq!(sandbox.traces().len(), 1);
    opik.export_llm_call(&call).await.unwrap();
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (1, 1));
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_timeout() {
    let sandbox = sandbox();
    sandbox.inject(Fault::silence().always());
    let opik = builder(&sandbox)
        .with_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let start = Instant::now();
    let error = opik.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_refused_connection_is_temporary() {
    let url = sandbox().opik_url();
    let opik = OpikExporter::builder().with_base_url(url).build().unwrap();
    let error = opik.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_names_the_host() {
    let (sandbox, elsewhere) = (sandbox(), super::sandbox());
    let target = format!(
        "{}/v1/private/traces/batch?token=canary",
        elsewhere.opik_url()
    );
    sandbox.inject(Fault::redirect(&target).always());
    let error = exporter(&sandbox)
        .export_llm_call(&call())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1") && !text.contains("canary"),
        "{text}"
    );
    assert_eq!(elsewhere.request_count(), 0);
}

#[tokio::test]
async fn an_endless_error_body_is_not_read() {
    let sandbox = sandbox();
    sandbox.inject(Fault::huge_body(500, 400_000_000).always());
    let start = Instant::now();
    let error = exporter(&sandbox)
        .export_llm_call(&call())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(500));
    assert!(error.response_snippet().unwrap().len() <= 512);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn one_refused_request_does_not_keep_back_those_after_it() {
    let sandbox = sandbox();
    let all = calls(2_000);
    sandbox.inject(Fault::status(422).on("/traces/batch"));
    let error = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    assert_eq!(sandbox.traces().len(), 1_000);
}

#[tokio::test]
async fn a_server_that_is_down_is_not_asked_again_for_the_rest_of_a_batch() {
    let sandbox = sandbox();
    let all = calls(3_000);
    sandbox.inject(
        Fault::status(503)
            .with_header("RateLimit-Reset", "5")
            .always(),
    );
    let error = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    assert_eq!(sandbox.request_count(), 2);
}

#[tokio::test]
async fn either_request_may_fail_and_the_call_with_it() {
    for path in ["/traces/batch", "/spans/batch"] {
        let sandbox = sandbox();
        sandbox.inject(Fault::status(503).on(path));
        let error = exporter(&sandbox)
            .export_llm_call(&call())
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(503), "{path}");
    }
}

#[tokio::test]
async fn what_is_refused_of_a_call_that_went_alone_is_that_calls_error() {
    let sandbox = Sandbox::builder()
        .with_max_body_bytes(1_000_000)
        .start()
        .unwrap();
    let opik = builder(&sandbox)
        .with_gzip(false)
        .with_max_request_bytes(100_000)
        .build()
        .unwrap();
    let mut all = calls(10);
    all[4] = call().with_response("x".repeat(1_500_000));
    all[6] = call().with_cost(-1.0);
    let report = opik
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|f| (f.index, f.error.kind()))
        .collect();
    assert_eq!(
        failures,
        [
            (4, ExportErrorKind::TooLarge),
            (6, ExportErrorKind::Rejected)
        ]
    );
    assert_eq!(sandbox.traces().len(), 8);
}

#[tokio::test]
async fn an_outage_outweighs_a_refusal_before_it() {
    let sandbox = sandbox();
    let all = calls(3_000);
    sandbox.inject(Fault::status(422).on("/traces/batch"));
    sandbox.inject(
        Fault::status(503)
            .with_header("RateLimit-Reset", "5")
            .on("/spans/batch")
            .after(1),
    );
    let error = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    assert_eq!(sandbox.request_count(), 4);
}
