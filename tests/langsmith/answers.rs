//! What the server's answers mean.

use beluga_o11y::{ExportError, ExportErrorKind, TraceExporter};
use beluga_o11y_sandbox::Fault;
use httpmock::MockServer;

use super::*;

async fn fails(langsmith: &LangSmithExporter) -> ExportError {
    let error = langsmith.export_llm_call(&call()).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        error.to_string().starts_with("langsmith: export: "),
        "{error}"
    );
    assert!(!shown.contains("canary"), "{shown}");
    error
}

#[tokio::test]
async fn each_status_has_its_kind() {
    use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    for (status, kind, says) in [
        (400, Rejected, "none of the batch is stored"),
        (422, Rejected, "none of the batch is stored"),
        (401, Destination, "LANGSMITH_API_KEY"),
        (402, Destination, "402"),
        (403, Destination, "region"),
        (404, Destination, "/api/v1"),
        (405, Destination, "/api/v1"),
        (413, TooLarge, "too big"),
        (408, Temporary, "408"),
        (425, Temporary, "425"),
        (429, Temporary, "rate limited"),
        (500, Temporary, "500"),
        (502, Temporary, "502"),
        (503, Temporary, "503"),
        (504, Temporary, "504"),
    ] {
        let fault = Fault::status(status).with_header("Retry-After", "7");
        sandbox.inject(fault.with_body("canary prompt"));
        let error = fails(&langsmith).await;
        assert_eq!(
            (error.kind(), error.status()),
            (kind, Some(status)),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.response_snippet(), Some("canary prompt"));
        if kind == Temporary {
            assert_eq!(
                error.retry_after(),
                Some(Duration::from_secs(7)),
                "{status}"
            );
        }
    }
    assert!(sandbox.runs().is_empty());
}

#[tokio::test]
async fn what_was_received_already_is_no_error() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(409));
    exporter(&sandbox).export_llm_call(&call()).await.unwrap();
    assert_eq!(sandbox.request_count(), 1);
}

#[tokio::test]
async fn keys_and_workspaces() {
    let sandbox = sandbox();
    let with = |key: &str, workspace: Option<&str>| {
        let mut builder = at(sandbox.langsmith_url()).with_api_key(key);
        if let Some(id) = workspace {
            builder = builder.with_workspace_id(id);
        }
        builder.build().unwrap()
    };
    let error = fails(&with("lsv2_pt_canary_wrong", None)).await;
    assert_eq!(
        (error.kind(), error.status()),
        (ExportErrorKind::Destination, Some(401))
    );
    let error = fails(&with("lsv2_sk_canary", None)).await;
    assert_eq!(
        (error.kind(), error.status()),
        (ExportErrorKind::Destination, Some(403))
    );
    assert!(
        error.to_string().contains("LANGSMITH_WORKSPACE_ID"),
        "{error}"
    );
    let error = fails(&with(KEY, Some("other"))).await;
    assert_eq!(
        (error.kind(), error.status()),
        (ExportErrorKind::Destination, Some(403))
    );
    assert!(
        !error.to_string().contains("LANGSMITH_WORKSPACE_ID"),
        "{error}"
    );
    let good = with("lsv2_sk_canary", Some("team"));
    good.export_llm_call(&call()).await.unwrap();
    assert_eq!(sandbox.runs().len(), 1);
}

#[tokio::test]
async fn a_web_page_is_not_langsmith() {
    let server = MockServer::start_async().await;
    let page = server
        .mock_async(|_, then| {
            then.status(200)
                .header("content-type", "text/html; charset=utf-8")
                .body("<html>canary</html>");
        })
        .await;
    let langsmith = at(server.base_url()).build().unwrap();
    let error = fails(&langsmith).await;
    assert_eq!(
        (error.kind(), error.status()),
        (ExportErrorKind::Destination, Some(200))
    );
    assert!(error.to_string().contains("web page"), "{error}");
    page.assert_async().await;
}

#[tokio::test]
async fn any_success_will_do() {
    for status in [200, 201, 202, 204] {
        let server = MockServer::start_async().await;
        server.mock_async(|_, then| drop(then.status(status))).await;
        let langsmith = at(server.base_url()).build().unwrap();
        langsmith.export_llm_call(&call()).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_there_is_temporary() {
    let url = sandbox().langsmith_url();
    let error = fails(&at(url).build().unwrap()).await;
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
}

#[tokio::test]
async fn a_refused_batch_does_not_stop_the_next_one() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(422));
    let all = calls(150);
    let error = exporter(&sandbox)
        .export_batch(&all.iter().collect::<Vec<_>>())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    assert_eq!(sandbox.runs().len(), 50);
}
