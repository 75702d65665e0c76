use beluga_o11y_http::HttpRequest;
use beluga_o11y_otlp::OtlpCheckError;

use super::*;

async fn fails(otlp: OtlpExporter) -> OtlpCheckError {
    let error = otlp.check().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.starts_with("otlp: check: "), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    error
}

#[tokio::test]
async fn all_is_well() {
    let server = Server::start([answer(200).on("/v1/traces"), answer(404)]).await;
    let found = exporter(&server).check().await.unwrap();
    assert_eq!(found.endpoint, server.url("/v1/traces"));
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.method_str(), "POST");
    assert_eq!(header(&request, "content-type"), ["application/x-protobuf"]);
    assert_eq!(header(&request, "authorization"), ["Bearer canary-key"]);
    assert!(request.body_ref().is_empty());
}

#[tokio::test]
async fn each_failure_has_a_name() {
    for (answer, variant) in [
        (answer(200).html(), "NotOtlp"),
        (answer(400), "NotOtlp"),
        (answer(404).body("text/plain", PROMPT), "NotOtlp"),
        (answer(405), "NotOtlp"),
        (answer(415), "NotOtlp"),
        (answer(401).body("text/plain", PROMPT), "CredentialsRefused"),
        (answer(403), "CredentialsRefused"),
        (answer(408), "Busy"),
        (answer(429), "Busy"),
        (answer(500), "Busy"),
        (answer(503), "Busy"),
        (
            answer(302).header("location", "https://e.example/?canary"),
            "Unreachable",
        ),
    ] {
        let server = Server::start([answer]).await;
        let error = format!("{:?}", fails(exporter(&server)).await);
        assert!(error.starts_with(variant), "{variant}: {error}");
    }
    let server = Server::start([answer(401)]).await;
    let without = OtlpExporter::builder().with_endpoint(server.url("/"));
    let error = fails(without.build().unwrap()).await;
    assert!(matches!(error, OtlpCheckError::CredentialsMissing));
    let nobody = at("http://127.0.0.1:9").build().unwrap();
    assert!(matches!(
        fails(nobody).await,
        OtlpCheckError::Unreachable(_)
    ));
}

#[tokio::test]
async fn the_sender_asks_for_what_there_is_no_function_for() {
    let server = Server::start([]).await;
    let otlp = exporter(&server);
    let sender = otlp.sender().unwrap();
    sender.send(HttpRequest::get("x")).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(header(&request, "authorization"), [""; 0]);
}
