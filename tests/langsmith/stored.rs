//! Questions to LangSmith that no export asks: its version, and whether a call has arrived.

use beluga_o11y::TraceExporter;
use beluga_o11y_http::HttpRequest;
use beluga_o11y_langsmith::LangSmithCheckError;
use beluga_o11y_sandbox::Fault;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn the_version_is_told_to_anybody() {
    let sandbox = sandbox();
    let wrong = at(sandbox.langsmith_url()).with_api_key("lsv2_pt_wrong");
    let version = wrong.build().unwrap().version().await.unwrap();
    assert!(version.is_some_and(|version| version.starts_with("0.0.0-sandbox")));

    let opik = at(sandbox.opik_url()).build().unwrap();
    let error = opik.version().await.unwrap_err();
    assert!(matches!(error, LangSmithCheckError::NotLangSmith { .. }));
}

#[tokio::test]
async fn a_call_is_stored_once_its_run_is() {
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    for call in [
        call(),
        // It is sent under another id.
        call().with_id(Uuid::new_v4()),
        // More than is read of an answer.
        call().with_response("x".repeat(200_000)),
    ] {
        assert!(!langsmith.is_stored(&call).await.unwrap());
        langsmith.export_llm_call(&call).await.unwrap();
        assert!(langsmith.is_stored(&call).await.unwrap());
    }
    assert!(!langsmith.is_stored(&call()).await.unwrap());
}

#[tokio::test]
async fn why_it_cannot_be_told_has_a_name() {
    use LangSmithCheckError::{
        Busy, Forbidden, KeyRefused, NotLangSmith, Unreachable, WorkspaceMissing,
    };
    let sandbox = sandbox();
    let asked = |langsmith: LangSmithExporter| async move {
        let error = langsmith.is_stored(&call()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
        error
    };
    let with = |key: &str| at(sandbox.langsmith_url()).with_api_key(key);
    let wrong = with("lsv2_pt_canary_wrong").build().unwrap();
    assert!(matches!(asked(wrong).await, KeyRefused));
    let organisation = with("lsv2_sk_canary").build().unwrap();
    assert!(matches!(asked(organisation).await, WorkspaceMissing));
    let elsewhere = with(KEY).with_workspace_id("other").build().unwrap();
    assert!(matches!(asked(elsewhere).await, Forbidden));
    for (status, body, is_it) in [
        (
            429,
            "{}",
            (|error| matches!(error, Busy { status: 429 })) as fn(&_) -> bool,
        ),
        (500, "canary", |error| matches!(error, Busy { status: 500 })),
        (200, "<html></html>", |error| {
            matches!(error, NotLangSmith { status: 200, .. })
        }),
        (200, "{}", |error| matches!(error, NotLangSmith { .. })),
        (
            200,
            r#"{"id":"01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11"}"#,
            |error| matches!(error, NotLangSmith { .. }),
        ),
    ] {
        sandbox.inject(Fault::status(status).with_body(body).on("/runs/"));
        let error = asked(exporter(&sandbox)).await;
        assert!(is_it(&error), "{status} {body}: {error:?}");
    }
    let gone = super::sandbox().langsmith_url();
    let nobody = at(gone).build().unwrap();
    assert!(matches!(asked(nobody).await, Unreachable(_)));
}

#[tokio::test]
async fn the_sender_asks_for_what_there_is_no_function_for() {
    let sandbox = sandbox();
    let langsmith = exporter(&sandbox);
    let sender = langsmith.sender().unwrap();
    let response = sender.send(HttpRequest::get("info")).await.unwrap();
    assert!(response.is_success());
}
