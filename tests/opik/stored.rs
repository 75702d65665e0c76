//! Questions to Opik that no export asks: its version, and whether a call has arrived.

use beluga_o11y::TraceExporter;
use beluga_o11y_http::HttpRequest;
use beluga_o11y_opik::{OpikCheckError, OpikConfigError};
use beluga_o11y_sandbox::{Fault, OpikCloud};
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use super::*;

fn cloud() -> Sandbox {
    let account = OpikCloud::new("key").with_workspace("ml-team");
    Sandbox::builder().with_cloud(account).start().unwrap()
}

fn with_key(sandbox: &Sandbox, key: &str) -> Result<OpikExporter, OpikConfigError> {
    let builder = builder(sandbox).with_workspace("ml-team");
    builder.with_api_key(key).build()
}

#[tokio::test]
async fn the_version_is_told_to_anybody() {
    let sandbox = cloud();
    for opik in [
        exporter(&sandbox),
        with_key(&sandbox, "key").unwrap(),
        with_key(&sandbox, "wrong").unwrap(),
    ] {
        assert_eq!(opik.version().await.unwrap().as_deref(), Some("2.2.48"));
    }
    let sent = headers(&sandbox.requests(), "authorization");
    assert!(sent.iter().all(|value| value == "(none)"), "{sent:?}");

    sandbox.inject(Fault::status(404).on("/is-alive/ver"));
    assert_eq!(exporter(&sandbox).version().await.unwrap(), None);
    sandbox.inject(
        Fault::status(200)
            .with_body("<html></html>")
            .on("/is-alive/ping"),
    );
    let error = exporter(&sandbox).version().await.unwrap_err();
    assert!(matches!(error, OpikCheckError::NotOpik { status: 200, .. }));
}

#[tokio::test]
async fn a_call_is_stored_once_its_trace_and_its_span_are() {
    let sandbox = cloud();
    let opik = with_key(&sandbox, "key").unwrap();
    let (call, other) = (call(), call());
    assert!(!opik.is_stored(&call).await.unwrap());
    opik.export_llm_call(&call).await.unwrap();
    assert!(opik.is_stored(&call).await.unwrap());
    assert!(!opik.is_stored(&other).await.unwrap());

    let [stored] = sandbox.spans().try_into().unwrap();
    for path in [
        format!("/opik/api/v1/private/traces/{}", call.id()),
        format!("/opik/api/v1/private/spans/{}", stored.id),
    ] {
        let requests = sandbox.requests();
        let asked = requests.iter().rfind(|request| request.path == path);
        let asked = asked.expect(&path);
        assert_eq!((asked.method.as_str(), asked.status), ("GET", Some(200)));
        assert_eq!(asked.header("comet-workspace"), Some("ml-team"));
        assert_eq!(asked.header("authorization"), Some("key"));
    }

    // Without its span Opik shows neither tokens nor cost.
    let own = super::sandbox();
    let opik = exporter(&own);
    own.inject(Fault::status(204).on("/v1/private/spans/batch"));
    opik.export_llm_call(&call).await.unwrap();
    assert_eq!((own.traces().len(), own.spans().len()), (1, 0));
    assert!(!opik.is_stored(&call).await.unwrap());
    opik.export_llm_call(&call).await.unwrap();
    assert!(opik.is_stored(&call).await.unwrap());
}

#[tokio::test]
async fn a_call_is_found_under_the_id_that_it_was_sent_with() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    for call in [
        call().with_id(Uuid::new_v4()),
        call().with_start_time(Utc::now() - TimeDelta::days(400)),
        // More than is read of an answer.
        call().with_response("x".repeat(200_000)),
    ] {
        assert!(!opik.is_stored(&call).await.unwrap());
        opik.export_llm_call(&call).await.unwrap();
        assert!(opik.is_stored(&call).await.unwrap());
    }
}

#[tokio::test]
async fn why_it_cannot_be_told_has_a_name() {
    use OpikCheckError::{
        Busy, KeyMissing, KeyRefused, NotOpik, Unreachable, WorkspaceForbidden, WorkspaceUnknown,
    };
    let cloud = cloud();
    let asked = |opik: OpikExporter| async move { opik.is_stored(&call()).await.unwrap_err() };
    let error = asked(with_key(&cloud, "wrong").unwrap()).await;
    assert!(matches!(error, KeyRefused), "{error}");
    let keyless = builder(&cloud).with_workspace("ml-team").build().unwrap();
    assert!(matches!(asked(keyless).await, KeyMissing));
    let other = builder(&cloud).with_api_key("key").with_workspace("x");
    let error = asked(other.build().unwrap()).await;
    assert!(matches!(error, WorkspaceUnknown { .. }), "{error}");

    let own = sandbox();
    let gone = own.opik_url();
    for (status, body, is_it) in [
        (
            403,
            "{}",
            (|e| matches!(e, WorkspaceForbidden { .. })) as fn(&_) -> bool,
        ),
        (429, "{}", |e| matches!(e, Busy { status: 429 })),
        (503, "{}", |e| matches!(e, Busy { status: 503 })),
        (200, "<html></html>", |e| {
            matches!(e, NotOpik { status: 200, .. })
        }),
        (200, "{}", |e| matches!(e, NotOpik { status: 200, .. })),
        (
            200,
            r#"{"id":"01a2053e-d6f8-792b-8988-1657efa89323"}"#,
            |e| matches!(e, NotOpik { .. }),
        ),
    ] {
        own.inject(
            Fault::status(status)
                .with_body(body)
                .on("/v1/private/traces"),
        );
        let error = asked(exporter(&own)).await;
        assert!(is_it(&error), "{status} {body}: {error:?}");
    }
    // A workspace that a server of one's own does not have holds no call.
    let elsewhere = builder(&own).with_workspace("x").build().unwrap();
    assert!(!elsewhere.is_stored(&call()).await.unwrap());
    drop(own);
    let nobody = OpikExporter::builder().with_base_url(gone).build().unwrap();
    assert!(matches!(asked(nobody).await, Unreachable(_)));
}

#[tokio::test]
async fn the_sender_asks_for_what_there_is_no_function_for() {
    let sandbox = sandbox();
    let opik = builder(&sandbox)
        .with_api_key("key")
        .with_header("x-gateway", "g")
        .build()
        .unwrap();
    let sender = opik.sender().unwrap();
    let response = sender.send(HttpRequest::get("is-alive/ping")).await;
    assert!(response.unwrap().is_success());
    let [request] = sandbox.requests().try_into().unwrap();
    assert_eq!(request.header("x-gateway"), Some("g"));
    assert_eq!(request.header("authorization"), None);
}
