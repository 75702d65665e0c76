//! No runtime, half a runtime, one after another, many.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{HttpError, HttpRequest, HttpSender};
use tokio::runtime::{Builder, Runtime};

use crate::{
    builder,
    server::{Server, answer},
};

fn fixture() -> (Server, HttpSender) {
    let server = Server::answering(|_| answer("200 OK", &[], "hello"));
    let sender = builder(server.url()).build().unwrap();
    (server, sender)
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn post() -> HttpRequest {
    HttpRequest::post("x", "text/plain", "1")
}

/// Polls without a runtime, as another executor would.
fn block_on_without_tokio<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        thread::yield_now();
    }
}

#[test]
fn without_a_runtime_it_says_so() {
    let (server, sender) = fixture();
    let error = block_on_without_tokio(sender.send(post())).unwrap_err();
    assert_eq!(error, HttpError::NoRuntime);
    assert!(error.to_string().contains("#[tokio::main]"));
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_runtime_without_drivers_is_no_panic() {
    let (_server, sender) = fixture();
    for builder in [
        &mut Builder::new_current_thread(),
        Builder::new_current_thread().enable_io(),
        Builder::new_current_thread().enable_time(),
        Builder::new_multi_thread().worker_threads(1),
        Builder::new_multi_thread().worker_threads(1).enable_time(),
    ] {
        let runtime = builder.build().unwrap();
        let error = runtime.block_on(sender.send(post())).unwrap_err();
        assert_eq!(error, HttpError::NoDrivers);
        assert!(error.to_string().contains("enable_all"));
    }
    // The sender is fine afterwards.
    current_thread().block_on(sender.send(post())).unwrap();
}

#[test]
fn one_runtime_after_another() {
    let (server, sender) = fixture();
    for round in 0..20 {
        let runtime = if round % 2 == 0 {
            current_thread()
        } else {
            Builder::new_multi_thread().enable_all().build().unwrap()
        };
        let start = Instant::now();
        for _ in 0..2 {
            runtime.block_on(sender.send(post())).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(server.seen().len(), 40);
    // A connection may come back to the pool a moment after the answer, hence no exact count.
    assert!((20..=40).contains(&server.connections()));
}

#[test]
fn a_runtime_that_nobody_drives_does_not_hold_up_another() {
    let (_server, sender) = fixture();
    let idle = current_thread();
    idle.block_on(sender.send(post())).unwrap();

    let start = Instant::now();
    current_thread().block_on(sender.send(post())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));

    idle.block_on(sender.send(post())).unwrap();
}

#[test]
fn many_runtimes_at_once_that_come_and_go() {
    let (server, sender) = fixture();
    let threads: Vec<_> = (0..12)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || {
                for _ in 0..5 {
                    let runtime = current_thread();
                    for _ in 0..5 {
                        runtime.block_on(sender.send(post())).unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.seen().len(), 12 * 5 * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once() {
    let (server, sender) = fixture();
    let sender = Arc::new(sender);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(post()).await.unwrap().status() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(server.seen().len(), 50);
}
