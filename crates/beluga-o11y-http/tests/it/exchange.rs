//! What goes out and what comes back when all is well.

use std::{io::Read, time::Duration};

use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{HttpRequest, SecretHeaderValue};

use crate::{
    builder,
    server::{Server, answer},
};

#[tokio::test]
async fn the_servers_clock_is_told() {
    for (headers, date) in [
        (
            &["Date: Sun, 22 Nov 2026 21:01:30 GMT"][..],
            Some("2026-11-22T21:01:30Z"),
        ),
        (
            &["date:  Sunday, 22-Nov-26 21:01:30 GMT "],
            Some("2026-11-22T21:01:30Z"),
        ),
        (&["Date: yesterday"], None),
        (&[], None),
    ] {
        let server = Server::answering(move |_| answer("200 OK", headers, ""));
        let sender = builder(server.url()).build().unwrap();
        let response = sender.send(HttpRequest::get("x")).await.unwrap();
        let expected = date.map(|date| date.parse().unwrap());
        assert_eq!(response.date(), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_post_and_a_get_are_what_they_should_be() {
    let server = Server::answering(|_| answer("200 OK", &["X-One: 1"], "hello"));
    let sender = builder(format!("{}/opik/api/", server.url()))
        .with_header("Comet-Workspace", "mine")
        .with_header("comet-workspace", "mine-2")
        .with_header("X-Gateway", "g")
        .with_header("x-version", "of the user")
        .with_public_header("X-Version", "4")
        .build()
        .unwrap();
    let key = SecretHeaderValue::new("raw-key").unwrap();

    let post =
        HttpRequest::post("v1/private/traces", "application/json", "{}").with_authorization(&key);
    let response = sender.send(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.is_success() && response.is_complete());
    assert_eq!(response.header("x-one"), Some("1"));
    assert_eq!(response.header("X-ONE"), Some("1"));
    assert_eq!(response.header("x-two"), None);
    assert_eq!(response.body(), b"hello");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.retry_after(), None);
    assert!(response.error_for_status("opik").is_none());

    sender
        .send(HttpRequest::get("is-alive/ping"))
        .await
        .unwrap();

    let seen = server.seen();
    assert_eq!(seen[0].line(), "POST /opik/api/v1/private/traces HTTP/1.1");
    assert_eq!(seen[0].body, b"{}");
    for (name, value) in [
        ("host", Some(server.address.to_string())),
        ("content-type", Some("application/json".into())),
        ("content-length", Some("2".into())),
        ("content-encoding", None),
        ("authorization", Some("raw-key".into())),
        ("comet-workspace", Some("mine-2".into())),
        ("x-gateway", Some("g".into())),
        ("x-version", Some("4".into())),
        (
            "user-agent",
            Some(concat!("beluga-o11y/", env!("CARGO_PKG_VERSION")).into()),
        ),
        ("accept-encoding", None),
        ("referer", None),
        ("cookie", None),
    ] {
        assert_eq!(seen[0].header(name), value.as_deref(), "{name}");
    }
    assert_eq!(seen[0].head.matches("comet-workspace").count(), 1);

    assert_eq!(seen[1].line(), "GET /opik/api/is-alive/ping HTTP/1.1");
    assert!(seen[1].body.is_empty());
    assert_eq!(seen[1].header("content-type"), None);
    assert_eq!(seen[1].header("authorization"), None);
    assert_eq!(seen[1].header("x-gateway"), Some("g"));
    assert_eq!(server.connections(), 1, "the connection is kept");
}

#[tokio::test]
async fn a_put_is_a_post_by_another_name() {
    let server = Server::answering(|_| answer("200 OK", &[], ""));
    let sender = builder(server.url()).build().unwrap();
    for body in ["{}".to_owned(), "a".repeat(2_000)] {
        let request = HttpRequest::put("x/y", "application/json", body.clone());
        sender.send(request).await.unwrap();
    }
    let seen = server.seen();
    assert_eq!(seen[0].line(), "PUT /x/y HTTP/1.1");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].body, b"{}");
    assert_eq!(seen[1].header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn an_empty_answer_is_a_success() {
    let server = Server::answering(|_| "HTTP/1.1 204 No Content\r\n\r\n".into());
    let sender = builder(server.url()).build().unwrap();
    for _ in 0..2 {
        let response = sender
            .send(HttpRequest::post("x", "application/json", Vec::new()))
            .await
            .unwrap();
        assert_eq!((response.status(), response.body()), (204, &b""[..]));
    }
    assert_eq!(server.seen()[0].header("content-length"), Some("0"));
    assert_eq!(
        server.seen()[0].header("content-type"),
        Some("application/json")
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bodies_from_1_kib_on_are_gzip_and_are_compressed_once() {
    let server = Server::answering(|_| answer("200 OK", &[], ""));
    let sender = builder(server.url()).build().unwrap();
    let big = "{\"a\":\"bcd\"}".repeat(1000);
    let request = HttpRequest::post("x", "application/json", big.clone());
    for request in [
        HttpRequest::post("x", "application/json", "a".repeat(1023)),
        HttpRequest::post("x", "application/json", "a".repeat(1024)),
        request.clone(),
        request,
    ] {
        sender.send(request).await.unwrap();
    }
    let plain = builder(server.url()).with_gzip(false).build().unwrap();
    plain
        .send(HttpRequest::post("x", "application/json", big.clone()))
        .await
        .unwrap();

    let seen = server.seen();
    let encodings: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-encoding"))
        .collect();
    assert_eq!(
        encodings,
        [None, Some("gzip"), Some("gzip"), Some("gzip"), None]
    );
    assert_eq!(seen[2].body, seen[3].body);
    assert_eq!(seen[4].body, big.as_bytes());
    assert!(seen[2].body.len() < big.len() / 10);
    for (index, expected) in [(1, "a".repeat(1024)), (3, big)] {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&seen[index].body[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn a_user_agent_of_ones_own() {
    let server = Server::answering(|_| answer("200 OK", &[], ""));
    let sender = builder(server.url())
        .with_user_agent("mine/1")
        .build()
        .unwrap();
    sender.send(HttpRequest::get("")).await.unwrap();
    assert_eq!(server.seen()[0].header("user-agent"), Some("mine/1"));
    assert_eq!(server.seen()[0].line(), "GET / HTTP/1.1");
}

#[tokio::test]
async fn a_status_becomes_an_export_error() {
    let server = Server::answering(|seen| {
        let status = seen.line().split(['/', ' ']).nth(2).unwrap().to_owned();
        answer(
            &format!("{status} Server-Says"),
            &["Retry-After: 2", "RateLimit-Reset: 5"],
            "{\"message\":\"no \u{1b}[31m prompt-canary\"}",
        )
    });
    let sender = builder(server.url()).build().unwrap();
    for (status, kind, text) in [
        (
            429,
            ExportErrorKind::Temporary,
            "opik: export: 429 Too Many Requests: rate limited",
        ),
        (
            503,
            ExportErrorKind::Temporary,
            "opik: export: 503 Service Unavailable: the server is not available right now",
        ),
        (
            401,
            ExportErrorKind::Destination,
            "opik: export: 401 Unauthorized: the API key was refused",
        ),
        (
            413,
            ExportErrorKind::TooLarge,
            "opik: export: 413 Payload Too Large: the request is too big",
        ),
        (
            422,
            ExportErrorKind::Rejected,
            "opik: export: 422 Unprocessable Entity: the server found its content invalid",
        ),
    ] {
        let response = sender
            .send(HttpRequest::get(status.to_string()))
            .await
            .unwrap();
        let error = response.error_for_status("opik").unwrap();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), text);
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
        let snippet = error.response_snippet().unwrap();
        assert!(snippet.contains("prompt-canary") && snippet.contains("\\u{1b}"));
        assert!(!format!("{error} {error:?} {response:?}").contains("canary"));
        assert!(!error.to_string().contains("Server-Says"));
    }
    assert_eq!(
        server.connections(),
        1,
        "an error keeps the connection as well"
    );
}
