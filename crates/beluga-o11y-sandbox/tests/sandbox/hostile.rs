//! What nobody should send, and what must not break the sandbox.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use beluga_o11y_sandbox::Sandbox;
use serde_json::json;

use crate::http::{Call, gzip, trace, with};

fn batch(body: impl Into<Vec<u8>>) -> Call {
    Call::traces(&[]).body(body)
}

fn still_works(sandbox: &Sandbox) {
    assert_eq!(Call::traces(&[trace()]).send(sandbox).status, 204);
}

#[test]
fn what_is_not_http() {
    let sandbox = Sandbox::start().unwrap();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01" as &[u8],
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        long.as_bytes(),
        headers.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(sandbox.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // It may have hung up before all is written.
        drop(stream.write_all(bytes));
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    still_works(&sandbox);
}

#[test]
fn a_client_that_stops_in_the_middle() {
    let sandbox = Sandbox::start().unwrap();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(sandbox.address()).unwrap();
        stream
            .write_all(
                b"POST /v1/private/traces/batch HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{\"tra",
            )
            .unwrap();
    }
    still_works(&sandbox);
    assert_eq!(sandbox.traces().len(), 1);
}

#[test]
fn chunks_instead_of_a_length() {
    let sandbox = Sandbox::start().unwrap();
    let body = json!({"traces": [trace()]}).to_string();
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    let head = "POST /v1/private/traces/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    stream
        .write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .unwrap();
    for chunk in body.as_bytes().chunks(100) {
        stream
            .write_all(
                format!(
                    "{:x}\r\n{}\r\n",
                    chunk.len(),
                    std::str::from_utf8(chunk).unwrap()
                )
                .as_bytes(),
            )
            .unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(sandbox.requests()[0].wire_bytes, body.len() as u64);
}

#[test]
fn chunks_are_counted() {
    let sandbox = Sandbox::builder().with_max_body_bytes(10).start().unwrap();
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    stream.write_all(b"POST /v1/private/traces/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n[[[[[[[[[[[\r\n0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn deep_json() {
    let sandbox = Sandbox::start().unwrap();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let trace = |levels| {
        let start = r#"{"traces":[{"start_time":"2026-11-22T21:52:14Z","input":"#;
        batch(format!("{start}{}}}]}}", nested(levels))).send(&sandbox)
    };
    assert_eq!(trace(124).status, 204);
    assert_eq!(trace(125).status, 400);
    let reply = trace(1_000_000);
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("Document nesting depth"),
        "{}",
        reply.text()
    );
    assert_eq!(batch("[".repeat(1_000_000)).send(&sandbox).status, 400);
    assert!(sandbox.traces()[0].input.as_ref().unwrap().is_array());
    let brackets = with(
        crate::http::trace(),
        json!({"input": "[".repeat(500), "output": "\\\"[".repeat(200)}),
    );
    assert_eq!(
        Call::traces(&[brackets]).send(&sandbox).status,
        204,
        "brackets in strings do not count"
    );
}

/// 300 MiB of blanks. What becomes of it is tested on a smaller scale; here, that nobody has to wait for it.
#[test]
fn a_gzip_bomb_holds_up_nobody() {
    let sandbox = Sandbox::start().unwrap();
    let bomb = batch(gzip(&vec![b' '; 1024 * 1024]).repeat(300));
    let unanswered = bomb
        .header("Content-Encoding", "gzip")
        .open(&sandbox)
        .unwrap();
    let start = Instant::now();
    while sandbox.request_count() < 1 {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    still_works(&sandbox);
    drop(sandbox);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop(unanswered);
}

#[test]
fn broken_gzip() {
    let sandbox = Sandbox::start().unwrap();
    let body = gzip(json!({"traces": [trace()]}).to_string().as_bytes());
    let half = body[..body.len() / 2].to_vec();
    assert_eq!(
        batch(half)
            .header("Content-Encoding", "gzip")
            .send(&sandbox)
            .status,
        400
    );
    assert!(sandbox.traces().is_empty());
}

#[test]
fn odd_text_and_numbers() {
    let sandbox = Sandbox::start().unwrap();
    let with_input = |input: &str| {
        batch(format!(
            r#"{{"traces":[{{"start_time":"2026-11-22T21:52:14Z","input":{input}}}]}}"#
        ))
        .send(&sandbox)
        .status
    };
    assert_eq!(with_input(r#""\ud83d\ude00 \u0000""#), 204);
    assert_eq!(
        with_input(r#"{"n": 123456789012345678901234567890, "e": 1e3}"#),
        204
    );
    assert_eq!(
        with_input(r#""half a pair \ud800""#),
        204,
        "Jackson takes it"
    );
    assert_eq!(with_input("1e999"), 204);
    let inputs: Vec<_> = sandbox
        .traces()
        .into_iter()
        .map(|trace| trace.input.unwrap())
        .collect();
    assert_eq!(inputs[0], json!("😀 \0"));
    assert_eq!(
        inputs[2],
        json!(r#""half a pair \ud800""#),
        "as its own text"
    );
    assert_eq!(inputs[3], json!("1e999"));
    assert_eq!(with_input("NaN"), 400);
    assert_eq!(
        batch(b"{\"traces\":[\"\xff\"]}".to_vec())
            .send(&sandbox)
            .status,
        400
    );
    // Of two fields with one name the last one counts.
    let twice =
        r#"{"traces":[{"start_time":"x","start_time":"2026-11-22T21:52:14Z","input":"twice"}]}"#;
    assert_eq!(batch(twice).send(&sandbox).status, 204);
}

#[test]
fn a_taken_port() {
    let sandbox = Sandbox::start().unwrap();
    let port = sandbox.address().port();
    assert!(Sandbox::builder().with_port(port).start().is_err());
    drop(sandbox);
    assert_eq!(
        Sandbox::builder()
            .with_port(port)
            .start()
            .unwrap()
            .address()
            .port(),
        port
    );
}

#[tokio::test]
async fn it_starts_and_stops_within_a_runtime() {
    let sandbox = Sandbox::start().unwrap();
    assert!(sandbox.opik_url().starts_with("http://127.0.0.1:"));
    drop(sandbox);
}

/// None of it is taken apart without a limit, and none of it ends the thread.
#[cfg(feature = "otlp")]
#[test]
fn otlp_that_nobody_should_send() {
    use beluga_o11y_sandbox::Backend;

    use crate::exports::{body, llm_span, pairs, post};

    let sandbox = Sandbox::start().unwrap();
    let paths = [
        "/langfuse/api/public/otel/v1/traces",
        "/phoenix/v1/traces",
        "/otlp/v1/traces",
    ];
    let keys = "Basic cGstbGYtc2FuZGJveDpzay1sZi1zYW5kYm94";
    let send = |body: &[u8]| {
        for path in paths {
            let call = post(path, body.to_vec()).header("Authorization", keys);
            let status = call.send(&sandbox).status;
            assert!(matches!(status, 200 | 400 | 422), "{path}: {status}");
        }
    };
    // Bytes by a rule that makes many that look like fields.
    for seed in 0..200_u64 {
        let byte = |n: u64| (seed.wrapping_mul(0x9e37_79b9).wrapping_add(n * n * 31) >> 3) as u8;
        send(&(0..seed).map(byte).collect::<Vec<_>>());
    }
    // A real one, cut off and changed.
    let good = body(vec![llm_span(json!({"metadata": "{\"k\":1}"}))]);
    for end in 0..good.len() {
        send(&good[..end]);
        let mut changed = good.clone();
        changed[end] ^= 0x55;
        send(&changed);
    }
    let dots = "llm.input_messages.".to_owned() + &"0.".repeat(100_000);
    let brackets = "[".repeat(200_000);
    let mut odd = llm_span(json!({
        dots: "x", "metadata": brackets, "gen_ai.input.messages": brackets,
        "langfuse.observation.usage_details": brackets, "langfuse.observation.completion_start_time": "+262000-01-01T00:00:00Z",
        "llm.token_count.prompt": i64::MIN, "llm.token_count.completion": "99999999999999999999",
        "langfuse.observation.cost_details": "{\"total\":1e400}", "tag.tags": {"no": "list"},
    }));
    odd.attributes.extend(pairs(&json!({"user.id": null})));
    odd.start_time_unix_nano = u64::MAX;
    odd.kind = -7;
    send(&body(vec![odd]));
    let usage = json!({"input": u64::MAX, "output": u64::MAX}).to_string();
    let huge = llm_span(json!({"langfuse.observation.usage_details": usage}));
    send(&body(vec![huge]));
    assert!(sandbox.calls().len() > 3);
    for backend in [Backend::Langfuse, Backend::Phoenix, Backend::Otlp] {
        assert!(!sandbox.otlp_spans(backend).is_empty());
    }
    assert!(Call::get("/_sandbox/requests").send(&sandbox).status == 200);
    still_works(&sandbox);
}
