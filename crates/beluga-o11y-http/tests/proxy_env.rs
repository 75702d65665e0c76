//! Proxies of the environment. In a process of its own, since it changes the environment.
#![expect(clippy::unwrap_used, dead_code, reason = "tests")]

use beluga_o11y_http::{HttpRequest, HttpSender};

#[path = "it/server.rs"]
mod server;

use server::{Server, answer};

#[test]
fn the_environment_is_used_but_never_for_this_machine() {
    #[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let proxy = Server::answering(|_| answer("200 OK", &[], "from the proxy"));
    let server = Server::answering(|_| answer("200 OK", &[], "direct"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let send = |url: &str| {
        let sender = HttpSender::builder(url).build().unwrap();
        let response = runtime.block_on(sender.send(HttpRequest::get("x")));
        response.map(|response| response.text().into_owned())
    };
    let through = Some(proxy.url());
    for upper in [false, true] {
        let name = |name: &str| {
            if upper {
                name.to_uppercase()
            } else {
                name.to_owned()
            }
        };
        temp_env::with_vars(
            [
                (name("http_proxy"), through.clone()),
                (name("https_proxy"), through.clone()),
                (
                    name("no_proxy"),
                    Some("direct.invalid,.none.invalid".to_owned()),
                ),
            ],
            || {
                assert_eq!(
                    send("http://opik.example.internal").unwrap(),
                    "from the proxy"
                );
                assert_eq!(send(&server.url()).unwrap(), "direct");
                let localhost = format!("http://localhost:{}", server.address.port());
                assert_eq!(send(&localhost).unwrap(), "direct");
                assert!(send("http://direct.invalid").is_err());
                assert!(send("http://a.none.invalid").is_err());
            },
        );
    }
    assert_eq!(proxy.connections(), 2);
    assert_eq!(
        proxy.seen()[0].line(),
        "GET http://opik.example.internal/x HTTP/1.1"
    );
}
