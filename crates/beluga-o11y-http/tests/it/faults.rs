//! Servers that misbehave.

use std::{
    io::{BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{
    ConnectProblem, HttpError, HttpRequest, HttpSender, MAX_BODY_BYTES, SecretHeaderValue,
};

use crate::{
    builder,
    server::{Seen, Server, answer, timed},
};

const TIMEOUT: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(1500);

fn sender(server: &Server) -> HttpSender {
    builder(server.url()).with_timeout(TIMEOUT).build().unwrap()
}

fn post() -> HttpRequest {
    HttpRequest::post("x", "application/json", "{}")
}

/// Reads the request, then sends `text` byte by byte for as long as anybody listens.
fn drip(head: &'static str, byte: &'static str) -> Server {
    Server::with(move |_, stream| {
        let mut text = head;
        loop {
            if stream.write_all(text.as_bytes()).is_err() {
                return false;
            }
            text = byte;
            thread::sleep(Duration::from_millis(20));
        }
    })
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let silent = Server::raw(|stream| {
        thread::sleep(Duration::from_secs(10));
        drop(stream);
    });
    let (result, took) = timed(sender(&silent).send(post())).await;
    let error = result.unwrap_err();
    assert_eq!(
        error,
        HttpError::Timeout {
            host: silent.address.to_string(),
            after: TIMEOUT
        }
    );
    assert_eq!(
        error.to_string(),
        format!("no answer from {} within 500ms", silent.address)
    );
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    assert!(took >= TIMEOUT && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn the_deadline_holds_for_a_head_that_drips() {
    let server = drip("HTTP/1.1 200 OK\r\nX-A: ", "a");
    let (result, took) = timed(sender(&server).send(post())).await;
    assert!(
        matches!(result, Err(HttpError::Timeout { .. })),
        "{result:?}"
    );
    assert!(took >= TIMEOUT && took < SLACK, "{took:?}");
}

#[tokio::test]
async fn the_deadline_holds_for_a_body_that_drips_and_the_head_counts() {
    for (head, success) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nfirst",
            true,
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 100000\r\n\r\nfirst",
            false,
        ),
    ] {
        let server = drip(head, "x");
        let (result, took) = timed(sender(&server).send(post())).await;
        let response = result.unwrap();
        assert_eq!(response.is_success(), success);
        assert!(response.text().starts_with("firstx"), "{}", response.text());
        assert!(!response.is_complete());
        assert!(took >= TIMEOUT && took < SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_a_timeout() {
    let deaf = Server::raw(|stream| {
        thread::sleep(Duration::from_secs(10));
        drop(stream);
    });
    let request = HttpRequest::post("x", "application/octet-stream", vec![7; 32 << 20]);
    let sender = builder(deaf.url())
        .with_timeout(TIMEOUT)
        .with_gzip(false)
        .build()
        .unwrap();
    let (result, took) = timed(sender.send(request)).await;
    assert!(
        matches!(result, Err(HttpError::Timeout { .. })),
        "{result:?}"
    );
    assert!(took < SLACK, "{took:?}");
}

#[tokio::test]
async fn the_connect_timeout_holds() {
    // A listener with a full backlog does not take connections any more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    for _ in 0..4 {
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.set_nonblocking(true).unwrap();
        let _ = full.connect(&address.into());
        fill.push(full);
    }
    let sender = builder(format!("http://{address}"))
        .with_connect_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let (result, took) = timed(sender.send(post())).await;
    let Err(HttpError::Connect { problem, .. }) = &result else {
        panic!("{result:?}")
    };
    assert_eq!(*problem, ConnectProblem::TimedOut);
    assert!(took < Duration::from_millis(1300), "{took:?}");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sender = builder(format!("http://{address}")).build().unwrap();
    let error = sender.send(post()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to {address}: connection refused; check that it runs, and the port"
        )
    );
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
}

#[tokio::test]
async fn an_unknown_name_is_a_dns_problem() {
    let sender = builder("http://nobody.invalid").build().unwrap();
    let error = sender.send(post()).await.unwrap_err();
    let HttpError::Connect { host, problem } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(host, "nobody.invalid");
    // Without any network some resolvers take longer than the connect timeout to say so.
    assert!(
        matches!(problem, ConnectProblem::Dns | ConnectProblem::TimedOut),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_and_nothing_is_sent_twice() {
    for text in ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(text.as_bytes());
            false
        });
        let error = sender(&server).send(post()).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Broken { .. }),
            "{text:?} {error:?}"
        );
        assert_eq!(error.kind(), ExportErrorKind::Temporary);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_reset_is_told() {
    let server = Server::with(|_, stream| {
        let stream = socket2::SockRef::from(&*stream);
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        false
    });
    let error = sender(&server).send(post()).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_http_is_named() {
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "\0\0\u{12}\u{4}\0\0\0\0\0",
        "HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncanary header\r\n\r\n",
    ] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(text.as_bytes());
            thread::sleep(Duration::from_millis(100));
            false
        });
        let error = sender(&server).send(post()).await.unwrap_err();
        assert!(
            matches!(error, HttpError::NotHttp { .. }),
            "{text:?} {error:?}"
        );
        assert_eq!(error.kind(), ExportErrorKind::Destination);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let server = Server::with(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-A: ");
        while stream.write_all(&[b'a'; 16 * 1024]).is_ok() {
            count.fetch_add(16 * 1024, Ordering::SeqCst);
        }
        false
    });
    let (result, took) = timed(sender(&server).send(post())).await;
    assert!(
        matches!(result, Err(HttpError::NotHttp { .. })),
        "{result:?}"
    );
    assert!(took < SLACK, "{took:?}");
}

#[tokio::test]
async fn of_an_endless_body_64_kib_are_read() {
    for status in ["400 Bad Request", "200 OK"] {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let (done, closed) = mpsc::channel();
        let done = Mutex::new(done);
        let server = Server::with(move |_, stream| {
            // Small, so that what the system takes on top of what the client reads stays small.
            socket2::SockRef::from(&*stream)
                .set_send_buffer_size(16 * 1024)
                .unwrap();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 400000000\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            while let Ok(n) = stream.write(&[b'x'; 8 * 1024]) {
                count.fetch_add(n, Ordering::SeqCst);
            }
            let _ = done.lock().unwrap().send(());
            false
        });
        let (result, took) = timed(sender(&server).send(post())).await;
        let response = result.unwrap();
        assert_eq!(response.body().len(), MAX_BODY_BYTES);
        assert!(!response.is_complete());
        assert!(took < TIMEOUT, "{took:?}");
        // The connection is closed, not drained.
        tokio::time::sleep(Duration::from_millis(50)).await;
        closed.recv_timeout(Duration::from_secs(2)).unwrap();
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken < 1024 * 1024, "{taken} bytes were taken");
    }
}

#[tokio::test]
async fn as_much_of_a_body_is_read_as_the_request_says() {
    let server = Server::answering(|_| answer("200 OK", &[], &"x".repeat(100_000)));
    for (most, read, complete) in [
        (0, 0, false),
        (10, 10, false),
        (99_999, 99_999, false),
        (100_000, 100_000, true),
        (usize::MAX, 100_000, true),
    ] {
        let request = post().with_max_answer_bytes(most);
        let response = sender(&server).send(request).await.unwrap();
        assert_eq!(response.body().len(), read);
        assert_eq!(response.is_complete(), complete, "{most}");
    }
}

#[tokio::test]
async fn a_body_of_exactly_64_kib_is_whole() {
    for (length, complete) in [(MAX_BODY_BYTES, true), (MAX_BODY_BYTES + 1, false)] {
        let server = Server::answering(move |_| answer("200 OK", &[], &"x".repeat(length)));
        let response = sender(&server).send(post()).await.unwrap();
        assert_eq!(response.body().len(), MAX_BODY_BYTES);
        assert_eq!(response.is_complete(), complete);
    }
}

#[tokio::test]
async fn a_success_with_a_broken_body_is_a_success() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
    ] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(text.as_bytes());
            false
        });
        let response = sender(&server).send(post()).await.unwrap();
        assert!(response.is_success());
        assert_eq!(response.body(), b"half");
        assert_eq!(response.is_complete(), text.contains("gzip"));
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_and_nothing_goes_there() {
    let other = Server::answering(|_| answer("200 OK", &[], ""));
    let port = other.address.port();
    let secret = format!("http://user:canary@127.0.0.1:{port}/canary?key=canary#canary");
    for (status, location, host) in [
        (
            "301 Moved",
            format!("Location: {secret}"),
            Some(format!("127.0.0.1:{port}")),
        ),
        (
            "302 Found",
            format!("Location: {secret}"),
            Some(format!("127.0.0.1:{port}")),
        ),
        (
            "303 See Other",
            format!("Location: {secret}"),
            Some(format!("127.0.0.1:{port}")),
        ),
        (
            "307 Temporary",
            format!("Location: {secret}"),
            Some(format!("127.0.0.1:{port}")),
        ),
        (
            "308 Permanent",
            "Location: //Canary-Not.example/canary".into(),
            Some("canary-not.example".into()),
        ),
        (
            "307 Temporary",
            "Location: /canary".into(),
            Some("self".into()),
        ),
        ("307 Temporary", "Location: javascript:canary".into(), None),
        ("307 Temporary", "Location: http://[canary".into(), None),
        (
            "307 Temporary",
            "Location: caf\u{e9} canary\u{1}".into(),
            None,
        ),
        ("307 Temporary", "X: y".into(), None),
        ("304 Not Modified", "X: y".into(), None),
    ] {
        let head = if status.starts_with("304") {
            format!("HTTP/1.1 {status}\r\n{location}\r\n\r\n")
        } else {
            answer(status, &[&location], "canary")
        };
        let server = Server::answering(move |_| head.clone());
        let request = post().with_authorization(&SecretHeaderValue::new("canary").unwrap());
        let error = sender(&server).send(request).await.unwrap_err();
        let host = host.map(|host| host.replace("self", &server.address.to_string()));
        if location.contains('\u{1}') {
            // Not legal in HTTP at all.
            assert!(matches!(error, HttpError::NotHttp { .. }), "{error:?}");
            continue;
        }
        let status: u16 = status[..3].parse().unwrap();
        assert_eq!(
            error,
            HttpError::Redirect {
                status,
                host: host.clone()
            }
        );
        let text = error.to_string();
        if let Some(host) = &host {
            assert!(text.contains(host.as_str()), "{text}");
        }
        if host.as_deref() != Some("canary-not.example") {
            assert!(!format!("{error:?} {text}").contains("canary"), "{text}");
        }
        let error = error.into_export_error("opik");
        assert_eq!(error.kind(), ExportErrorKind::Destination);
        assert_eq!(error.status(), Some(status));
        assert_eq!(server.seen().len(), 1);
    }
    assert_eq!(other.connections(), 0);
}

/// Answers the first request of each connection, and closes it a moment later; the receiver hears of it.
fn closing() -> (Server, Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let (closed, hear) = mpsc::channel();
    let closed = Mutex::new(closed);
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let server = Server::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if Seen::read(&mut reader).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer("200 OK", &[], "").as_bytes());
            thread::sleep(Duration::from_millis(20));
        }
        drop((reader, stream));
        let _ = closed.lock().unwrap().send(());
    });
    (server, requests, hear)
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_no_error() {
    let (server, requests, closed) = closing();
    let closed = Arc::new(Mutex::new(closed));
    let sender = builder(server.url()).build().unwrap();
    for round in 1..=3 {
        sender.send(post()).await.unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), round);
        let closed = closed.clone();
        let wait = move || closed.lock().unwrap().recv().unwrap();
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
    assert_eq!(server.connections(), 3);
}

#[test]
fn nor_if_the_runtime_slept_meanwhile() {
    let (server, requests, closed) = closing();
    let sender = builder(server.url()).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for round in 1..=10 {
        runtime.block_on(sender.send(post())).unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), round);
        closed.recv().unwrap();
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_sent_is_not_sent_again() {
    // The second request on the connection is read, and gets no answer.
    let server = Server::with(|seen, stream| {
        let first = stream.peer_addr().is_ok() && seen.head.contains("/first");
        first
            && stream
                .write_all(answer("200 OK", &[], "").as_bytes())
                .is_ok()
    });
    let sender = sender(&server);
    let first = HttpRequest::post("first", "text/plain", "1");
    let second = HttpRequest::post("second", "text/plain", "2");
    sender.send(first).await.unwrap();
    let error = sender.send(second).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 2);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_before_the_whole_request_is_read_is_heard() {
    // A 413 from a server that reads the head only, and closes without reading the rest.
    let server = Server::raw(|mut stream| {
        let mut head = [0; 256];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(answer("413 Too Large", &["Connection: close"], "no").as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // As servers do: they linger for a moment, or the answer would be lost in a reset.
        thread::sleep(Duration::from_millis(300));
    });
    let sender = builder(server.url()).with_gzip(false).build().unwrap();
    let request = HttpRequest::post("x", "application/octet-stream", vec![7; 16 << 20]);
    let response = sender.send(request).await.unwrap();
    assert_eq!(response.status(), 413);
}
