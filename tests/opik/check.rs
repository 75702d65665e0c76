use beluga_o11y::TraceExporter;
use beluga_o11y_opik::OpikCheckError;
use beluga_o11y_sandbox::{Fault, OpikCloud};

use super::*;

fn cloud() -> Sandbox {
    let account = OpikCloud::new("key").with_workspace("ml-team");
    Sandbox::builder().with_cloud(account).start().unwrap()
}

async fn fails(opik: OpikExporter) -> OpikCheckError {
    let error = opik.check().await.unwrap_err();
    assert!(error.to_string().starts_with("opik: check: "), "{error}");
    error
}

#[tokio::test]
async fn all_is_well() {
    let sandbox = cloud();
    let opik = builder(&sandbox)
        .with_api_key("key")
        .with_workspace("ml-team")
        .build()
        .unwrap();
    let found = opik.check().await.unwrap();
    assert!(found.version.is_some());
    assert_eq!(found.workspace, "ml-team");
    // Nobody has asked for one.
    assert_eq!(found.project_exists, None);
    assert!(sandbox.traces().is_empty());
}

#[tokio::test]
async fn a_project_is_looked_up() {
    let sandbox = cloud();
    let opik = builder(&sandbox)
        .with_api_key("key")
        .with_workspace("ml-team")
        .with_project("Demo \"ü\"")
        .build()
        .unwrap();
    assert_eq!(opik.check().await.unwrap().project_exists, Some(false));
    opik.export_llm_call(&LLMCallData::new("openai", "m"))
        .await
        .unwrap();
    assert_eq!(opik.check().await.unwrap().project_exists, Some(true));

    // What cannot be asked is no failure.
    for fault in [
        Fault::status(404).with_body(r#"{"code":404,"message":"HTTP 404 Not Found"}"#),
        Fault::status(404).with_body("<html></html>"),
        Fault::status(200).with_body("<html></html>"),
        Fault::status(403),
        Fault::status(503),
    ] {
        sandbox.inject(fault.on("/projects/retrieve"));
        assert_eq!(opik.check().await.unwrap().project_exists, None);
    }
    sandbox.inject(Fault::reset().on("/projects/retrieve"));
    let error = fails(opik).await;
    assert!(matches!(error, OpikCheckError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn each_failure_has_a_name() {
    let sandbox = cloud();
    let wrong = builder(&sandbox)
        .with_api_key("wrong")
        .with_workspace("ml-team")
        .build()
        .unwrap();
    assert!(matches!(fails(wrong).await, OpikCheckError::KeyRefused));
    let none = builder(&sandbox).with_workspace("ml-team").build().unwrap();
    assert!(matches!(fails(none).await, OpikCheckError::KeyMissing));
    let unknown = builder(&sandbox)
        .with_api_key("key")
        .with_workspace("x")
        .build()
        .unwrap();
    assert!(matches!(
        fails(unknown).await,
        OpikCheckError::WorkspaceUnknown { .. }
    ));
    let own = super::sandbox();
    let other = builder(&own).with_workspace("ml-team").build().unwrap();
    assert!(matches!(
        fails(other).await,
        OpikCheckError::WorkspaceUnknown { .. }
    ));
}

#[tokio::test]
async fn what_a_server_may_answer() {
    let server = sandbox();
    server.inject(Fault::status(403).on("/v1/private/auth"));
    let error = fails(exporter(&server)).await;
    assert!(
        matches!(error, OpikCheckError::WorkspaceForbidden { .. }),
        "{error}"
    );
    server.inject(Fault::status(429).on("/v1/private/auth"));
    assert!(matches!(
        fails(exporter(&server)).await,
        OpikCheckError::Busy { status: 429 }
    ));
    server.inject(Fault::status(503).on("/is-alive/ping"));
    assert!(matches!(
        fails(exporter(&server)).await,
        OpikCheckError::Unhealthy { status: 503 }
    ));
    server.inject(
        Fault::status(200)
            .with_body("<html>hello</html>")
            .on("/is-alive/ping"),
    );
    assert!(matches!(
        fails(exporter(&server)).await,
        OpikCheckError::NotOpik { .. }
    ));
    server.inject(
        Fault::status(404)
            .with_body("<html></html>")
            .on("/v1/private/auth"),
    );
    assert!(matches!(
        fails(exporter(&server)).await,
        OpikCheckError::NotOpik { status: 404, .. }
    ));
    server.inject(
        Fault::status(404)
            .with_body(r#"{"code":404,"message":"HTTP 404 Not Found"}"#)
            .on("/v1/private/auth"),
    );
    let error = fails(exporter(&server)).await;
    assert!(matches!(error, OpikCheckError::TooOld { status: 404, .. }));
    let text = "opik: check: the server has version 2.2.48 and lacks the endpoint v1/private/auth (status 404)";
    assert!(error.to_string().starts_with(text), "{error}");
    server.inject(Fault::redirect(
        "https://elsewhere.example/login?token=canary",
    ));
    let error = fails(exporter(&server)).await;
    assert!(matches!(error, OpikCheckError::Unreachable(_)));
    let text = error.to_string();
    assert!(
        text.contains("elsewhere.example") && !text.contains("canary"),
        "{text}"
    );
    // A server that does not tell its version is none the worse for it.
    server.inject(Fault::status(404).on("/is-alive/ver"));
    assert_eq!(exporter(&server).check().await.unwrap().version, None);
}

#[tokio::test]
async fn nobody_there() {
    let url = sandbox().opik_url();
    let opik = OpikExporter::builder().with_base_url(url).build().unwrap();
    assert!(matches!(fails(opik).await, OpikCheckError::Unreachable(_)));
}
