//! Questions to Phoenix that no export asks: its version, and whether a call has arrived.

use beluga_o11y::TraceExporter;
use beluga_o11y_http::HttpRequest;
use beluga_o11y_phoenix::PhoenixCheckError;
use beluga_o11y_sandbox::Sandbox;
use serde_json::json;

use super::*;

fn sandbox() -> Sandbox {
    Sandbox::builder().with_phoenix_key(KEY).start().unwrap()
}

#[tokio::test]
async fn the_version_is_told_to_anybody() {
    let sandbox = sandbox();
    let wrong = at(sandbox.phoenix_url()).with_api_key("wrong");
    let phoenix = wrong.build().unwrap();
    let version = phoenix.version().await.unwrap();
    assert_eq!(version.as_deref(), Some("20.26.1"));
    let [request] = sandbox.requests().try_into().unwrap();
    assert_eq!(request.header("authorization"), None);

    let server = Server::start([answer(200).html()]).await;
    let error = exporter(&server).version().await.unwrap_err();
    assert!(matches!(error, PhoenixCheckError::NotPhoenix { .. }));
}

#[tokio::test]
async fn a_call_is_stored_once_its_span_is_in_the_project() {
    let sandbox = sandbox();
    let in_project = |project: &str| {
        let builder = at(sandbox.phoenix_url()).with_project(project);
        builder.build().unwrap()
    };
    let phoenix = in_project("a b?%");
    // The second one is in the trace of the first, and the last is more than is read of an answer.
    let calls = [
        call().with_trace_id("order-7"),
        call().with_trace_id("order-7"),
        call().with_response("x".repeat(200_000)),
    ];
    for call in &calls {
        assert!(!phoenix.is_stored(call).await.unwrap());
        phoenix.export_llm_call(call).await.unwrap();
        assert!(phoenix.is_stored(call).await.unwrap());
        assert!(!in_project("default").is_stored(call).await.unwrap());
    }
    let no_span = call().with_id("01a2053e-d6f8-792b-0000-000000000000".parse().unwrap());
    assert!(!phoenix.is_stored(&no_span).await.unwrap());
}

#[tokio::test]
async fn the_question() {
    let call = call().with_id("01a2053e-d6f8-792b-8988-1657efa89323".parse().unwrap());
    let span = |id: &str| json!({"data": [{"context": {"span_id": id}}], "next_cursor": null});
    for (body, is_stored) in [
        (span("89881657efa89323"), true),
        // A server that does not know the parameter gives what it has.
        (span("b7ad6b7169203331"), false),
        (json!({"data": []}), false),
    ] {
        let server = Server::start([answer(200).json(body)]).await;
        let stored = exporter(&server).is_stored(&call).await.unwrap();
        assert_eq!(stored, is_stored);
        let [request] = server.requests().try_into().unwrap();
        assert_eq!(header(&request, "authorization"), ["Bearer canary-key"]);
        assert_eq!(
            request.uri().to_string().split_once("/v1/").unwrap().1,
            "projects/default/spans?trace_id=01a2053ed6f8792b89881657efa89323&span_id=89881657efa89323"
        );
    }
}

#[tokio::test]
async fn why_it_cannot_be_told_has_a_name() {
    let sandbox = sandbox();
    let wrong = at(sandbox.phoenix_url()).with_api_key("wrong");
    let error = wrong.build().unwrap().is_stored(&call()).await.unwrap_err();
    assert!(matches!(error, PhoenixCheckError::KeyRefused), "{error}");

    for (answer, variant) in [
        (answer(401), "KeyRefused"),
        (answer(429), "Busy"),
        (answer(503), "Busy { status: 503 }"),
        (answer(200).html(), "NotPhoenix"),
        (answer(200).json(json!({})), "NotPhoenix"),
        (answer(422), "NotPhoenix"),
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
    let keyless = PhoenixExporter::builder().with_base_url(sandbox.phoenix_url());
    let error = keyless
        .build()
        .unwrap()
        .is_stored(&call())
        .await
        .unwrap_err();
    assert!(matches!(error, PhoenixCheckError::KeyMissing), "{error}");
    for name in ["a/b", "..", "."] {
        let server = Server::start([]).await;
        let phoenix = at(server.url("/")).with_project(name).build().unwrap();
        let error = phoenix.is_stored(&call()).await.unwrap_err();
        assert!(
            matches!(&error, PhoenixCheckError::ProjectName { project } if project == name),
            "{error}"
        );
        assert!(server.paths().is_empty());
    }
}

#[tokio::test]
async fn the_sender_asks_for_what_there_is_no_function_for() {
    let server = Server::start([]).await;
    let phoenix = exporter(&server);
    let sender = phoenix.sender().unwrap();
    sender.send(HttpRequest::get("x")).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(header(&request, "authorization"), [""; 0]);
}
