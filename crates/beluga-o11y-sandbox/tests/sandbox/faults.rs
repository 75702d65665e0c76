//! Every fault, seen from a client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use beluga_o11y_sandbox::{Fault, Sandbox};
use serde_json::{Value, json};

use crate::http::{Call, read_reply, span, trace};

fn traces() -> Call {
    Call::traces(&[trace()])
}

#[test]
fn statuses_have_the_bodies_of_the_contract() {
    let sandbox = Sandbox::start().unwrap();
    let message = |code: u16, message: &str| json!({"code": code, "message": message});
    let bodies = [
        (401, message(401, "API key should be provided")),
        (
            402,
            message(402, "You have exceeded the usage limit for this operation."),
        ),
        (403, message(403, "User is not allowed to access workspace")),
        (404, message(404, "Workspace not found")),
        (409, json!({"errors": ["Trace already exists"]})),
        (
            413,
            message(
                413,
                "Request body exceeds the maximum allowed size of 52428800 bytes",
            ),
        ),
        (
            422,
            json!({"errors": ["traces[0].startTime must not be null"]}),
        ),
        (503, message(503, "HTTP 503 Service Unavailable")),
    ];
    for (status, body) in bodies {
        sandbox.inject(Fault::status(status));
        let reply = traces().send(&sandbox);
        assert_eq!((reply.status, reply.json()), (status, body));
    }
    for (status, part) in [
        (400, "Unable to process JSON. "),
        (429, "Too Many Requests: You have exceeded"),
        (500, "error"),
    ] {
        sandbox.inject(Fault::status(status));
        let reply = traces().send(&sandbox);
        assert!(
            reply.status == status && reply.text().contains(part),
            "{}",
            reply.text()
        );
    }
    sandbox.inject(Fault::status(7));
    assert_eq!(traces().send(&sandbox).status, 500, "what is no status");
    assert!(sandbox.traces().is_empty());
    assert_eq!(traces().send(&sandbox).status, 204);
}

#[test]
fn answers_are_what_was_ordered() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(
        Fault::status(429)
            .with_header("RateLimit-Reset", "5")
            .with_body(""),
    );
    let reply = traces().send(&sandbox);
    assert_eq!(
        (
            reply.status,
            reply.header("ratelimit-reset"),
            reply.body.len()
        ),
        (429, Some("5"), 0)
    );
    sandbox.inject(Fault::status(413).with_body("<html>413</html>"));
    let reply = traces().send(&sandbox);
    assert_eq!(
        (reply.header("content-type"), reply.text().as_str()),
        (Some("text/html"), "<html>413</html>")
    );
    sandbox.inject(
        Fault::status(200)
            .with_body("{}")
            .with_header("Content-Type", "text/x")
            .with_header("bad\nname", ""),
    );
    let reply = traces().send(&sandbox);
    assert_eq!(
        (
            reply.status,
            reply.header("content-type"),
            reply.text().as_str()
        ),
        (200, Some("text/x"), "{}")
    );
    sandbox.inject(Fault::redirect("https://other.example/opik"));
    let reply = traces().send(&sandbox);
    assert_eq!(
        (reply.status, reply.header("location")),
        (307, Some("https://other.example/opik"))
    );
    assert!(sandbox.traces().is_empty());
}

#[test]
fn counts_paths_and_clearing() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).times(2).after(1).on("/spans/batch"));
    assert_eq!(traces().send(&sandbox).status, 204);
    let statuses: Vec<_> = (0..4)
        .map(|_| Call::spans(&[span()]).send(&sandbox).status)
        .collect();
    assert_eq!(statuses, [204, 503, 503, 204]);
    sandbox.inject(Fault::status(500));
    sandbox.inject(Fault::status(503).always());
    let statuses: Vec<_> = (0..3).map(|_| traces().send(&sandbox).status).collect();
    assert_eq!(statuses, [500, 503, 503]);
    sandbox.clear_faults();
    assert_eq!(traces().send(&sandbox).status, 204);
    let logged: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|request| request.status.unwrap())
        .collect();
    assert_eq!(logged, [204, 204, 503, 503, 204, 500, 503, 503, 204]);
}

#[test]
fn faults_come_before_the_rules() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503));
    assert_eq!(
        traces()
            .header("Comet-Workspace", "nobody")
            .send(&sandbox)
            .status,
        503
    );
    assert_eq!(
        traces()
            .header("Comet-Workspace", "nobody")
            .send(&sandbox)
            .status,
        404
    );
}

#[test]
fn a_share_hits_the_same_requests_in_every_run() {
    let run = || -> Vec<u16> {
        let sandbox = Sandbox::start().unwrap();
        sandbox.inject(Fault::status(503).share(0.2));
        (0..50).map(|_| traces().send(&sandbox).status).collect()
    };
    let first = run();
    assert_eq!(first, run());
    let failed = first.iter().filter(|status| **status == 503).count();
    assert!((4..=18).contains(&failed), "{failed} of 50");
}

#[test]
fn counts_hold_under_concurrency() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).times(7));
    let failed: usize = std::thread::scope(|scope| {
        let failures = || {
            (0..5)
                .filter(|_| traces().send(&sandbox).status == 503)
                .count()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(failures)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((failed, sandbox.traces().len()), (7, 33));
}

#[test]
fn latency_delays_and_then_goes_on() {
    let sandbox = Sandbox::start().unwrap();
    let delay = Duration::from_millis(150);
    sandbox.inject(Fault::latency(delay).times(2));
    sandbox.inject(Fault::status(503));
    for status in [503, 204] {
        let start = Instant::now();
        assert_eq!(traces().send(&sandbox).status, status);
        assert!(start.elapsed() >= delay);
    }
    let start = Instant::now();
    assert_eq!(traces().send(&sandbox).status, 204);
    assert!(start.elapsed() < delay);
}

#[test]
fn one_slow_answer_holds_up_no_other() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::latency(Duration::from_secs(1)).on("/traces"));
    let slow = traces().open(&sandbox).unwrap();
    let start = Instant::now();
    while sandbox.request_count() < 1 {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(Call::spans(&[span()]).send(&sandbox).status, 204);
    assert!(start.elapsed() < Duration::from_millis(900));
    assert_eq!(read_reply(slow).unwrap().status, 204);
}

#[test]
fn a_reset_is_a_reset_and_stores_nothing() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::reset());
    let error = traces().try_send(&sandbox).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(sandbox.traces().is_empty());
    assert_eq!(
        (sandbox.request_count(), sandbox.requests()[0].status),
        (1, None)
    );
    assert_eq!(traces().send(&sandbox).status, 204);
}

#[test]
fn a_lost_answer_is_a_reset_after_storing() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::lost_answer());
    let error = traces().try_send(&sandbox).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(sandbox.traces().len(), 1);
    assert_eq!(sandbox.requests()[0].status, None);
}

#[test]
fn silence_lasts_until_the_client_gives_up() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::silence());
    let mut stream = traces().open(&sandbox).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
    drop(stream);
    assert_eq!(traces().send(&sandbox).status, 204);
    assert_eq!(
        (sandbox.traces().len(), sandbox.requests()[0].status),
        (1, None)
    );
}

#[test]
fn a_huge_body_is_as_huge_as_ordered() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::huge_body(500, 3_000_001));
    let reply = traces().send(&sandbox);
    assert_eq!((reply.status, reply.body.len()), (500, 3_000_001));
    // Nobody reads this one, so nobody may have to hold it.
    sandbox.inject(Fault::huge_body(500, u64::MAX / 4));
    let mut stream = traces().open(&sandbox).unwrap();
    stream.read_exact(&mut [0; 100_000]).unwrap();
    drop(stream);
    assert_eq!(traces().send(&sandbox).status, 204);
}

#[test]
fn dropping_it_closes_what_hangs() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::silence().always().on("/traces"));
    sandbox.inject(
        Fault::latency(Duration::from_secs(600))
            .always()
            .on("/spans"),
    );
    let mut hanging = vec![
        traces().open(&sandbox).unwrap(),
        Call::spans(&[span()]).open(&sandbox).unwrap(),
    ];
    let mut half = TcpStream::connect(sandbox.address()).unwrap();
    half.write_all(
        b"POST /opik/api/v1/private/traces/batch HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    hanging.push(half);
    hanging.push(TcpStream::connect(sandbox.address()).unwrap());
    let start = Instant::now();
    while sandbox.request_count() < 3 {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    let (address, start) = (sandbox.address(), Instant::now());
    drop(sandbox);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    for mut stream in hanging {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn connections_are_kept_open() {
    let sandbox = Sandbox::start().unwrap();
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET /is-alive/ver HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\"}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    let paths: Vec<Value> = sandbox
        .requests()
        .into_iter()
        .map(|request| json!(request.path))
        .collect();
    assert_eq!(paths, ["/is-alive/ver"; 3]);
}
