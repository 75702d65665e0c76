//! Proxies. The fake one is on this machine and answers itself, so no name is ever looked up.

use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{ConnectProblem, HttpError, HttpRequest, SecretHeaderValue};

use crate::{
    builder,
    server::{Server, answer},
};

/// `user:p@ss` in Basic authorization.
const BASIC: &str = "Basic dXNlcjpwQHNz";

fn post() -> HttpRequest {
    HttpRequest::post("v1/x", "text/plain", "1")
}

#[tokio::test]
async fn plain_http_goes_through_it_whole() {
    let proxy = Server::answering(|_| answer("200 OK", &[], "from the proxy"));
    let sender = builder("http://opik.example.internal/api")
        .with_proxy(format!("http://user:p%40ss@{}", proxy.address))
        .with_credentials(true)
        .build()
        .unwrap();
    let key = SecretHeaderValue::new("key").unwrap();
    let response = sender.send(post().with_authorization(&key)).await.unwrap();
    assert_eq!(response.text(), "from the proxy");

    let seen = &proxy.seen()[0];
    assert_eq!(
        seen.line(),
        "POST http://opik.example.internal/api/v1/x HTTP/1.1"
    );
    assert_eq!(seen.header("host"), Some("opik.example.internal"));
    assert_eq!(seen.header("proxy-authorization"), Some(BASIC));
    assert_eq!(seen.header("authorization"), Some("key"));
}

#[tokio::test]
async fn it_is_never_used_for_this_machine() {
    let proxy = Server::answering(|_| answer("200 OK", &[], "from the proxy"));
    let server = Server::answering(|_| answer("200 OK", &[], "direct"));
    let port = server.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.0.0.2",
        "0.0.0.0",
        "opik.localhost",
    ] {
        let sender = builder(format!("http://{host}:{port}"))
            .with_proxy(format!("http://{}", proxy.address))
            .build()
            .unwrap();
        match sender.send(post()).await {
            Ok(response) => assert_eq!(response.text(), "direct", "{host}"),
            // The server listens on 127.0.0.1 alone, and not every system knows `*.localhost`.
            Err(error) => assert!(
                matches!(error, HttpError::Connect { .. }),
                "{host}: {error}"
            ),
        }
    }
    assert_eq!(proxy.connections(), 0);
    assert!(server.connections() >= 2);
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_says_so() {
    let proxy = Server::answering(|_| answer("407 Proxy Authentication Required", &[], ""));
    let sender = builder("http://opik.example.internal")
        .with_proxy(proxy.url())
        .build()
        .unwrap();
    let error = sender
        .send(post())
        .await
        .unwrap()
        .error_for_status("opik")
        .unwrap();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert!(
        error
            .to_string()
            .contains("the proxy asks for a user and a password")
    );
}

#[tokio::test]
async fn a_proxy_that_is_down_is_named_without_its_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sender = builder("http://opik.example.internal:81")
        .with_proxy(format!("http://user:canary@{address}"))
        .build()
        .unwrap();
    let error = sender.send(post()).await.unwrap_err();
    let HttpError::Connect { host, problem } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        *host,
        format!("opik.example.internal:81 (through the proxy {address})")
    );
    assert_eq!(*problem, ConnectProblem::Refused);
    assert!(!format!("{error} {error:?} {sender:?}").contains("canary"));
}

#[cfg(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
))]
mod https {
    use std::io::{BufReader, Write};

    use super::*;

    #[tokio::test]
    async fn goes_through_a_tunnel() {
        use crate::tls::{Authority, serve};

        let authority = Authority::new();
        let target = serve(authority.server(&["opik.example.internal"]));
        // Takes one CONNECT, and connects to the target that is here.
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = lines.clone();
        let proxy = Server::raw(move |mut client| {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let request = crate::server::Seen::read(&mut reader).unwrap();
            log.lock().unwrap().push(request);
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let mut server = std::net::TcpStream::connect(target).unwrap();
            let (mut up, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let upward = std::thread::spawn(move || std::io::copy(&mut reader, &mut up));
            let _ = std::io::copy(&mut server, &mut down);
            let _ = client.shutdown(std::net::Shutdown::Both);
            let _ = upward.join();
        });
        let sender = builder("https://opik.example.internal/api")
            .with_root_certificate_pem(authority.pem())
            .with_proxy(format!("http://user:p%40ss@{}", proxy.address))
            .build()
            .unwrap();
        let key = SecretHeaderValue::new("canary").unwrap();
        let response = sender.send(post().with_authorization(&key)).await.unwrap();
        assert_eq!(response.text(), "secure");

        let request = lines.lock().unwrap()[0].clone();
        assert_eq!(request.line(), "CONNECT opik.example.internal:443 HTTP/1.1");
        assert_eq!(request.header("proxy-authorization"), Some(BASIC));
        assert!(!request.head.contains("canary"), "{}", request.head);
    }

    #[tokio::test]
    async fn a_tunnel_that_is_refused_is_told() {
        for (status, expected) in [
            (
                "407 Proxy Authentication Required",
                ConnectProblem::ProxyAuthorization,
            ),
            ("403 Forbidden", ConnectProblem::Proxy),
            ("503 Service Unavailable", ConnectProblem::Proxy),
        ] {
            let proxy = Server::answering(move |_| answer(status, &[], "canary"));
            let sender = builder("https://opik.example.internal")
                .with_proxy(proxy.url())
                .build()
                .unwrap();
            let error = sender.send(post()).await.unwrap_err();
            let HttpError::Connect { problem, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(*problem, expected);
            assert!(!format!("{error} {error:?}").contains("canary"));
            let kind = match expected {
                ConnectProblem::Proxy => ExportErrorKind::Temporary,
                _ => ExportErrorKind::Destination,
            };
            assert_eq!(error.kind(), kind);
        }
    }
}
