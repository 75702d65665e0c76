//! What the server's answers mean.

use beluga_o11y::ExportErrorKind;

use super::*;

#[tokio::test]
async fn each_status_has_its_kind() {
    use ExportErrorKind::{Destination, Rejected, Temporary, TooLarge};
    let row = |status, kind, text| (answer(status).body("text/plain", PROMPT), kind, text);
    let rows = vec![
        (
            answer(200).html(),
            Destination,
            "answered by a web page, not by Phoenix's API",
        ),
        row(400, Rejected, "400 Bad Request"),
        row(
            401,
            Destination,
            "401 Unauthorized: the API key was refused or is missing",
        ),
        row(403, Destination, "403 Forbidden: the API key is a viewer's"),
        row(404, Destination, "no Phoenix at this URL"),
        row(405, Destination, "no Phoenix at this URL"),
        row(408, Temporary, "408 Request Timeout"),
        row(409, Rejected, "409 Conflict"),
        row(413, TooLarge, "413 Payload Too Large"),
        row(415, Destination, "415 Unsupported Media Type"),
        row(422, Rejected, "422 Unprocessable Entity"),
        row(429, Temporary, "429 Too Many Requests"),
        row(500, Rejected, "500: the server failed"),
        row(502, Temporary, "502 Bad Gateway"),
        row(503, Temporary, "503 Service Unavailable"),
        row(504, Temporary, "504 Gateway Timeout"),
        row(
            507,
            Destination,
            "507 Insufficient Storage: Phoenix's database is full",
        ),
    ];
    each_answer_means("phoenix", rows, exporter).await;
}

#[tokio::test]
async fn the_servers_wait_is_passed_on() {
    the_wait_is_passed_on(exporter).await;
}

#[tokio::test]
async fn what_counts_as_taken() {
    for answer in [
        answer(200),
        answer(200).body("application/x-protobuf", ""),
        answer(204),
    ] {
        let server = Server::start([answer]).await;
        export(&exporter(&server)).await.unwrap();
    }
}
