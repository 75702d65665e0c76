//! What the server's answers mean.

use beluga_o11y::{ExportErrorKind, TraceExporter};
use serde_json::json;

use super::*;

#[tokio::test]
async fn each_status_has_its_kind() {
    use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
    let quoting = |status| answer(status).body("text/plain", PROMPT);
    let row = |status, kind, text| (quoting(status), kind, text);
    let rows = vec![
        (answer(200).html(), Destination, "answered by a web page"),
        row(400, Rejected, "400 Bad Request"),
        row(401, Destination, "401 Unauthorized"),
        row(402, Destination, "402 Payment Required"),
        row(403, Destination, "403 Forbidden"),
        row(404, Destination, "404 Not Found"),
        row(405, Destination, "405 Method Not Allowed"),
        row(407, Destination, "407 "),
        row(408, Temporary, "408 Request Timeout"),
        row(409, Rejected, "409 Conflict"),
        row(410, Destination, "410 Gone"),
        row(413, TooLarge, "413 Payload Too Large"),
        row(
            415,
            Destination,
            "415 Unsupported Media Type: the server does not take OTLP",
        ),
        row(422, Rejected, "422 Unprocessable Entity"),
        row(425, Temporary, "425 "),
        row(429, Temporary, "429 Too Many Requests: rate limited"),
        row(
            500,
            Rejected,
            "500: the server failed, and says in OTLP's terms",
        ),
        row(501, Rejected, "501: the server failed"),
        row(502, Temporary, "502 Bad Gateway"),
        row(503, Temporary, "503 Service Unavailable"),
        row(504, Temporary, "504 Gateway Timeout"),
        row(507, Rejected, "507: the server failed"),
        row(599, Rejected, "599: the server failed"),
    ];
    each_answer_means("otlp", rows, exporter).await;
}

#[tokio::test]
async fn the_servers_wait_is_passed_on() {
    the_wait_is_passed_on(exporter).await;
}

/// `ExportTraceServiceResponse` with a `partial_success`, byte by byte.
fn partial(rejected: u8, message: &str) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap();
    let mut inner = vec![0x08, rejected];
    inner.extend([0x12, length]);
    inner.extend(message.as_bytes());
    let mut answer = vec![0x0a, u8::try_from(inner.len()).unwrap()];
    answer.extend(inner);
    answer
}

const PROTOBUF: &str = "application/x-protobuf";

#[tokio::test]
async fn what_counts_as_taken() {
    for answer in [
        answer(200),
        answer(202).body(PROTOBUF, ""),
        answer(200).body(PROTOBUF, partial(0, "a warning about canary")),
        answer(200).body(PROTOBUF, [0x0a, 0xff, 0xff]),
        answer(200).body("application/octet-stream", partial(1, "")),
        answer(200).body("text/plain", "ok"),
        answer(200).json(json!({})),
        answer(200).json(json!({"partialSuccess": null})),
        answer(200).json(json!({"partialSuccess": {"errorMessage": "canary"}})),
        answer(200).json(json!({"partialSuccess": {"rejectedSpans": "0"}})),
        answer(200).json(json!([1])),
        answer(200).body("application/json", "no json"),
    ] {
        let server = Server::start([answer]).await;
        export(&exporter(&server)).await.unwrap();
    }
}

#[tokio::test]
async fn a_rejected_call_alone_is_reported() {
    for answer in [
        answer(200).body(PROTOBUF, partial(1, "quotes canary")),
        answer(200)
            .json(json!({"partialSuccess": {"rejectedSpans": 1, "errorMessage": "quotes canary"}})),
        answer(200).json(
            json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "quotes canary"}}),
        ),
    ] {
        let server = Server::start([answer]).await;
        let otlp = exporter(&server);
        let error = export(&otlp).await.unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        assert_eq!(
            error.to_string(),
            "otlp: export: the server took the request and rejected the span in it"
        );
        assert_eq!(error.status(), Some(200));
        assert_eq!(error.response_snippet(), Some("quotes canary"));
        let report = otlp.export_batch(&[&call()]).await.unwrap();
        assert_eq!(report.failures.len(), 1);
    }
}

#[tokio::test]
async fn of_several_it_is_not_known_which() {
    for rejected in [1, 3] {
        let server = Server::start([answer(200).body(PROTOBUF, partial(rejected, ""))]).await;
        let calls = calls(3);
        let calls: Vec<_> = calls.iter().collect();
        let error = exporter(&server).export_batch(&calls).await.unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        let text = format!(
            "otlp: export: the server took the request and rejected {rejected} of its 3 spans"
        );
        assert!(error.to_string().starts_with(&text), "{error}");
        assert_eq!(error.response_snippet(), None);
    }
}
