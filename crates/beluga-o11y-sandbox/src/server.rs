//! The server: connections in, answers or faults out.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use crate::answer::{Answer, Payload};
use crate::arrival::Arrival;
use crate::body;
use crate::fault::Misdeed;
use crate::role::Arrived;
use crate::shared::Shared;

/// Serves until told to stop, or until the other end of `stop` is gone.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared)))),
            // Out of file descriptors, most likely: others will close.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection. Whatever breaks it is the client's to see.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small answers may wait for 40 ms.
    drop(stream.set_nodelay(true));
    let hangup = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let (shared, hangup) = (Arc::clone(&shared), Arc::clone(&hangup));
        async move { Ok::<_, Infallible>(respond(request, &shared, &hangup).await) }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let hung_up = tokio::select! {
        _ = &mut connection => false,
        () = hangup.notified() => true,
    };
    if hung_up {
        // With no time to linger, closing sends a reset.
        let stream = connection.into_parts().io.into_inner();
        drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    shared: &Shared,
    hangup: &Notify,
) -> Response<Payload> {
    let (head, incoming) = request.into_parts();
    if let Some(answer) = own_answer(&head.method, head.uri.path(), shared) {
        return answer.into_response();
    }
    let (role, path) = shared.role_at(head.uri.path());
    let number = shared.log().arrived(&head);
    let coding = head
        .headers
        .get(header::CONTENT_ENCODING)
        .and_then(|value| role.coding(value.to_str().ok()?));
    let Some(body) = body::read(incoming, shared.max_body_bytes, coding).await else {
        // The client is gone or sends nonsense. If it still listens, it may know.
        return role.refusal(StatusCode::BAD_REQUEST).into_response();
    };
    shared.log().read(number, &body);
    let verdict = shared.verdict(head.uri.path());
    if !verdict.delay.is_zero() {
        tokio::time::sleep(verdict.delay).await;
    }
    let arrived = Arrived {
        head: &head,
        path,
        body: &body,
    };
    let mut news = shared.listener.news();
    let answer = match verdict.misdeed {
        None => role.answer(&arrived, &mut news),
        Some(Misdeed::Answer(canned)) => canned.answer(role),
        Some(Misdeed::Silence) => return never().await,
        Some(Misdeed::Reset) => return hang_up(hangup).await,
        Some(Misdeed::LostAnswer) => {
            role.answer(&arrived, &mut news);
            shared.listener.tell(news, || None);
            return hang_up(hangup).await;
        }
    };
    shared.log().answered(number, answer.status);
    shared.listener.tell(news, || {
        let backend = role.owns(head.uri.path()).then(|| role.backend());
        Arrival::refused(backend, &head, &answer)
    });
    answer.into_response()
}

/// The connection's task sees it, and drops this future with the rest.
async fn hang_up(hangup: &Notify) -> Response<Payload> {
    hangup.notify_one();
    never().await
}

async fn never() -> Response<Payload> {
    std::future::pending().await
}

/// The sandbox's own endpoints, which no backend has: what is stored, for clients in other languages.
fn own_answer(method: &Method, path: &str, shared: &Shared) -> Option<Answer> {
    let what = path.strip_prefix("/_sandbox/")?;
    if method != Method::GET {
        return Some(Answer::plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    Some(match what {
        "traces" => Answer::json(StatusCode::OK, &shared.opik.traces()),
        "spans" => Answer::json(StatusCode::OK, &shared.opik.spans()),
        "datasets" => Answer::json(StatusCode::OK, &shared.opik.datasets()),
        "dataset_items" => Answer::json(StatusCode::OK, &shared.opik.dataset_items()),
        "experiments" => Answer::json(StatusCode::OK, &shared.opik.experiments()),
        "experiment_items" => Answer::json(StatusCode::OK, &shared.opik.experiment_items()),
        "calls" => Answer::json(StatusCode::OK, &shared.calls()),
        "requests" => Answer::json(StatusCode::OK, &shared.log().requests()),
        _ => Answer::plain(StatusCode::NOT_FOUND),
    })
}
