//! What the server's answers mean.

use beluga_o11y::ExportErrorKind;
use serde_json::json;

use super::*;

#[tokio::test]
async fn each_status_has_its_kind() {
    use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
    let quoting = |status| answer(status).json(json!({"message": PROMPT}));
    let row = |status, kind, text| (quoting(status), kind, text);
    let version = json!({"error": "Unsupported x-langfuse-ingestion-version"});
    let rows = vec![
        (
            answer(200).html(),
            Destination,
            "answered by a web page, not by Langfuse",
        ),
        (
            answer(400).json(version),
            Destination,
            "400 Bad Request: the server does not take version 4",
        ),
        row(
            400,
            Rejected,
            "400 Bad Request: a span is not as Langfuse wants it",
        ),
        row(401, Destination, "401 Unauthorized: the keys were refused"),
        row(
            403,
            Destination,
            "403 Forbidden: the keys are not those of a project",
        ),
        row(404, Destination, "no Langfuse that takes OTLP at this URL"),
        row(405, Destination, "no Langfuse that takes OTLP at this URL"),
        row(408, Temporary, "408 Request Timeout"),
        row(413, TooLarge, "413 Payload Too Large"),
        row(422, Rejected, "422 Unprocessable Entity"),
        row(425, Temporary, "425 "),
        row(429, Temporary, "429 Too Many Requests"),
        row(500, Temporary, "500 Internal Server Error"),
        row(502, Temporary, "502 Bad Gateway"),
        row(503, Temporary, "503 Service Unavailable"),
        row(504, Temporary, "504 Gateway Timeout"),
        row(524, Temporary, "524"),
    ];
    each_answer_means("langfuse", rows, exporter).await;
}

#[tokio::test]
async fn the_servers_wait_is_passed_on() {
    the_wait_is_passed_on(exporter).await;
}

/// Langfuse answers with a job of its own, whatever was sent; nothing in it counts.
#[tokio::test]
async fn the_answer_is_not_read() {
    for answer in [
        answer(200),
        answer(200).json(json!({})),
        answer(207).json(json!({"successes": [], "errors": [{"id": "x", "status": 400}]})),
        answer(200).json(
            json!({"publicKey": PUBLIC_KEY, "data": {}, "partialSuccess": {"rejectedSpans": 5}}),
        ),
        answer(200).body("application/x-protobuf", [0x0a, 0x02, 0x08, 0x05]),
        answer(200).body("application/json", "no json"),
    ] {
        let server = Server::start([answer]).await;
        export(&exporter(&server)).await.unwrap();
    }
}
