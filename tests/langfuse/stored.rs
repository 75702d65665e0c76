//! Questions to Langfuse that no export asks: its version, and whether a call has arrived.

use beluga_o11y::TraceExporter;
use beluga_o11y_http::HttpRequest;
use beluga_o11y_langfuse::LangfuseCheckError;
use beluga_o11y_sandbox::{LangfuseProject, Sandbox};
use chrono::TimeDelta;
use serde_json::json;

use super::*;

const OBSERVATIONS: &str = "/api/public/v2/observations";

fn sandbox() -> Sandbox {
    let project = LangfuseProject::new(PUBLIC_KEY, SECRET_KEY);
    let other = LangfuseProject::new("pk-lf-other", "sk-lf-other");
    let builder = Sandbox::builder().with_langfuse(project);
    builder.with_langfuse(other).start().unwrap()
}

#[tokio::test]
async fn the_version_is_told_to_anybody() {
    let sandbox = sandbox();
    let wrong = at(sandbox.langfuse_url()).with_secret_key("sk-lf-wrong");
    let langfuse = wrong.build().unwrap();
    let version = langfuse.version().await.unwrap();
    assert_eq!(version.as_deref(), Some("4.16.0"));
    let [request] = sandbox.requests().try_into().unwrap();
    assert_eq!(request.header("authorization"), None);

    let server = Server::start([answer(200).html()]).await;
    let error = exporter(&server).version().await.unwrap_err();
    assert!(matches!(error, LangfuseCheckError::NotLangfuse { .. }));
}

#[tokio::test]
async fn a_call_is_stored_once_its_observation_is() {
    let sandbox = sandbox();
    let langfuse = at(sandbox.langfuse_url()).build().unwrap();
    // Two in a trace of the caller's, and one that is more than is read of an answer.
    let calls = [
        call().with_trace_id("order-7"),
        call().with_trace_id("order-7"),
        call().with_response("x".repeat(200_000)),
        call().with_start_time("1970-01-01T00:00:00Z".parse().unwrap()),
    ];
    for call in &calls {
        assert!(!langfuse.is_stored(call).await.unwrap());
        langfuse.export_llm_call(call).await.unwrap();
        assert!(langfuse.is_stored(call).await.unwrap());
    }
    let [first, ..] = &calls;
    let later = first.start_time() + TimeDelta::seconds(2);
    let moved = first.clone().with_start_time(later);
    assert!(!langfuse.is_stored(&moved).await.unwrap());

    let other = at(sandbox.langfuse_url()).with_secret_key("sk-lf-other");
    let other = other.with_public_key("pk-lf-other").build().unwrap();
    assert!(!other.is_stored(first).await.unwrap());

    let no_span = call().with_id("01a2053e-d6f8-792b-0000-000000000000".parse().unwrap());
    assert!(!langfuse.is_stored(&no_span).await.unwrap());
}

#[tokio::test]
async fn the_question() {
    let call = call()
        .with_id("01a2053e-d6f8-792b-8988-1657efa89323".parse().unwrap())
        .with_start_time("2026-11-22T21:52:14.072279Z".parse().unwrap());
    let found = json!({"data": [{"id": "89881657efa89323", "traceId": "01a2053ed6f8792b89881657efa89323"}]});
    let other = json!({"data": [{"id": "b7ad6b7169203331"}]});
    for (body, is_stored) in [(found, true), (other, false), (json!({"data": []}), false)] {
        let server = Server::start([answer(200).on(OBSERVATIONS).json(body)]).await;
        let stored = exporter(&server).is_stored(&call).await.unwrap();
        assert_eq!(stored, is_stored);
        let [request] = server.requests().try_into().unwrap();
        assert_eq!(header(&request, "authorization").len(), 1);
        assert_eq!(
            request.uri().query(),
            Some(
                "traceId=01a2053ed6f8792b89881657efa89323&fromStartTime=2026-11-22T21%3A52%3A13.072Z\
                 &toStartTime=2026-11-22T21%3A52%3A15.072Z&fields=core"
            )
        );
    }
}

#[tokio::test]
async fn why_it_cannot_be_told_has_a_name() {
    let sandbox = sandbox();
    let wrong = at(sandbox.langfuse_url()).with_secret_key("sk-lf-wrong");
    let error = wrong.build().unwrap().is_stored(&call()).await.unwrap_err();
    assert!(matches!(error, LangfuseCheckError::KeysRefused), "{error}");

    for (answer, variant) in [
        (answer(401), "KeysRefused"),
        (answer(403), "NotProjectKeys"),
        (answer(404).html(), "NoObservations { status: 404 }"),
        (answer(405), "NoObservations"),
        (answer(429), "Busy"),
        (answer(500), "Busy { status: 500 }"),
        (answer(200).html(), "NotLangfuse"),
        (answer(200).json(json!({})), "NotLangfuse"),
        (answer(400), "NotLangfuse"),
        (
            answer(302).header("location", "https://e.example/?canary"),
            "Unreachable",
        ),
    ] {
        let server = Server::start([answer]).await;
        let error = exporter(&server).is_stored(&call()).await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(variant), "{variant}: {shown}");
        assert!(!format!("{error} {shown}").contains("canary"));
    }
}

#[tokio::test]
async fn the_sender_asks_for_what_there_is_no_function_for() {
    let server = Server::start([]).await;
    let langfuse = exporter(&server);
    let sender = langfuse.sender().unwrap();
    sender.send(HttpRequest::get("x")).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(header(&request, "authorization"), [""; 0]);
}
