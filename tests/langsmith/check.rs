use beluga_o11y::TraceExporter;
use beluga_o11y_langsmith::LangSmithCheckError;
use beluga_o11y_sandbox::Fault;
use httpmock::MockServer;

use super::*;

async fn fails(langsmith: LangSmithExporter) -> LangSmithCheckError {
    let error = langsmith.check().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        error.to_string().starts_with("langsmith: check: "),
        "{error}"
    );
    assert!(!shown.contains("canary"), "{shown}");
    error
}

#[tokio::test]
async fn all_is_well_before_and_after_the_first_run() {
    let sandbox = sandbox();
    let langsmith = at(sandbox.langsmith_url())
        .with_project("a project & more")
        .build()
        .unwrap();
    let found = langsmith.check().await.unwrap();
    assert!(found.version.is_some());
    assert_eq!(found.project, "a project & more");
    assert!(!found.project_exists);
    assert!(sandbox.runs().is_empty());
    langsmith.export_llm_call(&call()).await.unwrap();
    assert!(langsmith.check().await.unwrap().project_exists);
}

#[tokio::test]
async fn each_failure_has_a_name() {
    use LangSmithCheckError::{
        Busy, Forbidden, KeyRefused, NotLangSmith, Refused, TooOld, Unreachable, WorkspaceMissing,
    };
    let sandbox = sandbox();
    let with = |key: &str| at(sandbox.langsmith_url()).with_api_key(key);
    let wrong = with("lsv2_pt_canary_wrong").build().unwrap();
    assert!(matches!(fails(wrong).await, KeyRefused));
    let organisation = with("lsv2_sk_canary").build().unwrap();
    assert!(matches!(fails(organisation).await, WorkspaceMissing));
    let elsewhere = with(KEY).with_workspace_id("other").build().unwrap();
    assert!(matches!(fails(elsewhere).await, Forbidden));
    let gone = super::sandbox().langsmith_url();
    assert!(matches!(
        fails(at(gone).build().unwrap()).await,
        Unreachable(_)
    ));
    let opik = at(sandbox.opik_url()).build().unwrap();
    assert!(matches!(
        fails(opik).await,
        NotLangSmith { status: 404, .. }
    ));

    for (path, status) in [
        ("/info", 503),
        ("/info", 429),
        ("/sessions", 500),
        ("/sessions", 408),
    ] {
        sandbox.inject(Fault::status(status).on(path));
        let error = fails(exporter(&sandbox)).await;
        assert!(
            matches!(error, Busy { status: seen } if seen == status),
            "{error}"
        );
    }
    sandbox.inject(Fault::status(422).on("/sessions"));
    assert!(matches!(
        fails(exporter(&sandbox)).await,
        Refused { status: 422 }
    ));
    sandbox.inject(Fault::status(404).with_body("{}").on("/sessions"));
    let error = fails(exporter(&sandbox)).await;
    assert!(matches!(error, TooOld { status: 404, .. }), "{error}");
    assert!(error.to_string().contains(" has version "), "{error}");
    sandbox.inject(
        Fault::status(404)
            .with_body("<html></html>")
            .on("/sessions"),
    );
    let error = fails(exporter(&sandbox)).await;
    assert!(matches!(error, NotLangSmith { status: 404, .. }), "{error}");
    sandbox.inject(Fault::status(401).on("/info"));
    assert!(matches!(fails(exporter(&sandbox)).await, KeyRefused));
}

#[tokio::test]
async fn what_answers_otherwise_is_not_langsmith() {
    for (status, kind, body) in [
        (200, "text/html", "<html></html>"),
        (403, "text/html", "<html>canary</html>"),
        (200, "application/json", "{}"),
        (200, "application/json", "[\"canary\"]"),
        (404, "application/json", "{\"detail\":\"canary\"}"),
    ] {
        let server = MockServer::start_async().await;
        server
            .mock_async(|_, then| drop(then.status(status).header("content-type", kind).body(body)))
            .await;
        let error = fails(at(server.base_url()).build().unwrap()).await;
        assert!(
            matches!(&error, LangSmithCheckError::NotLangSmith { status: seen, .. } if *seen == status),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_project_of_another_name_is_another_one() {
    let server = MockServer::start_async().await;
    server
        .mock_async(|when, then| {
            when.path("/info");
            then.status(200).body(r#"{"version":"0.12.44"}"#);
        })
        .await;
    server
        .mock_async(|when, then| {
            when.path("/sessions")
                .header("x-api-key", KEY)
                .query_param("limit", "1")
                .query_param("name", "default");
            then.status(200).body(r#"[{"name":"default-2"}]"#);
        })
        .await;
    let found = at(server.base_url())
        .build()
        .unwrap()
        .check()
        .await
        .unwrap();
    assert_eq!(found.version.as_deref(), Some("0.12.44"));
    assert!(!found.project_exists);
}
