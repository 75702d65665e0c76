//! What a sender can be built from.

use std::time::Duration;

use beluga_o11y_http::{HttpConfigError, HttpError, HttpRequest, HttpSender, SecretHeaderValue};

use crate::builder;

const TLS: bool = cfg!(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
));

#[test]
fn where_it_goes_can_be_asked() {
    for (url, shown, host, loopback, private) in [
        (
            " http://localhost:5173/api/ ",
            "http://localhost:5173/api",
            "localhost",
            true,
            true,
        ),
        (
            "http://[::1]:4318",
            "http://[::1]:4318",
            "[::1]",
            true,
            true,
        ),
        (
            "http://collector:4318/v1",
            "http://collector:4318/v1",
            "collector",
            false,
            true,
        ),
        (
            "http://EXAMPLE.com",
            "http://example.com",
            "example.com",
            false,
            false,
        ),
    ] {
        let sender = builder(url).build().unwrap();
        assert_eq!(sender.base_url(), shown);
        assert_eq!(sender.host(), host);
        assert_eq!(
            (sender.is_loopback(), sender.is_private()),
            (loopback, private)
        );
        assert_eq!(sender.url_for("a/b"), format!("{shown}/a/b"));
    }
}

#[test]
fn credentials_over_plain_http_stay_in_the_local_network() {
    let names = |error: HttpConfigError| {
        let text = error.to_string();
        matches!(error, HttpConfigError::InsecureHttp { .. })
            && text.contains("with_allow_http(true)")
            && text.contains("BELUGA_O11Y_ALLOW_HTTP=true")
            && text.contains("example.com:8080")
    };
    let public = || builder("http://example.com:8080/api");

    assert!(names(public().with_credentials(true).build().unwrap_err()));
    assert!(names(
        public().with_header("X-Any", "1").build().unwrap_err()
    ));
    assert!(public().build().is_ok());
    assert!(
        public()
            .with_public_header("X-Workspace", "w")
            .build()
            .is_ok()
    );
    assert!(
        public()
            .with_credentials(true)
            .with_allow_http(true)
            .build()
            .is_ok()
    );
    assert!(
        public()
            .with_header("X-Any", "1")
            .with_allow_http(true)
            .build()
            .is_ok()
    );
    for private in [
        "http://127.0.0.1:1",
        "http://10.1.2.3",
        "http://otel",
        "http://a.b.svc.cluster.local.",
    ] {
        assert!(
            builder(private).with_credentials(true).build().is_ok(),
            "{private}"
        );
    }
    if TLS && !cfg!(feature = "rustls-no-provider") {
        assert!(
            builder("https://example.com")
                .with_credentials(true)
                .build()
                .is_ok()
        );
    }

    // The way to a proxy counts as well.
    let through = |proxy: &str| {
        builder("http://collector.internal")
            .with_credentials(true)
            .with_proxy(proxy)
            .build()
    };
    assert!(names(through("http://u:p@example.com:8080").unwrap_err()));
    assert!(through("http://proxy:3128").is_ok());
}

#[tokio::test]
async fn an_undeclared_credential_is_not_sent_either() {
    let sender = builder("http://example.invalid/api").build().unwrap();
    let request =
        HttpRequest::get("x").with_authorization(&SecretHeaderValue::new("canary").unwrap());
    let error = sender.send(request).await.unwrap_err();
    assert_eq!(
        error,
        HttpError::InsecureHttp {
            host: "example.invalid".into()
        }
    );
    let text = error.to_string();
    assert!(text.contains("with_allow_http(true)") && text.contains("BELUGA_O11Y_ALLOW_HTTP=true"));
    let error = error.into_export_error("opik");
    assert_eq!(error.kind(), beluga_o11y::ExportErrorKind::Destination);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let base = || builder("http://localhost");
    for (builder, part) in [
        (builder("  "), "blank"),
        (builder("localhost:80"), "http://"),
        (
            builder("http://u:canary@localhost"),
            "credentials in the URL",
        ),
        (
            base().with_timeout(Duration::ZERO),
            "the timeout must be longer than zero",
        ),
        (
            base().with_connect_timeout(Duration::ZERO),
            "the connect timeout must be longer",
        ),
        (base().with_user_agent("canary\r\nX: y"), "user-agent"),
        (base().with_user_agent("canary\u{fc}"), "user-agent"),
        (base().with_header("canary name", "x"), "header name"),
        (base().with_header("", "x"), "header name"),
        (base().with_header("canary\r\nX-Evil", "x"), "header name"),
        (base().with_header("X-Key", "canary\nX: y"), "x-key"),
        (base().with_header("Host", "canary"), "host cannot be set"),
        (
            base().with_header("Authorization", "canary"),
            "authorization cannot be set",
        ),
        (
            base().with_header("content-length", "canary"),
            "content-length cannot be set",
        ),
        (
            base().with_header("content-type", "canary"),
            "content-type cannot be set",
        ),
        (
            base().with_header("Content-Encoding", "canary"),
            "content-encoding cannot be set",
        ),
        (
            base().with_header("Transfer-Encoding", "canary"),
            "transfer-encoding cannot be set",
        ),
        (
            base().with_header("Connection", "canary"),
            "connection cannot be set",
        ),
        (
            base().with_header("User-Agent", "canary"),
            "with_user_agent",
        ),
        (
            base().with_header("Proxy-Authorization", "canary"),
            "URL of the proxy",
        ),
        (
            base().with_public_header("host", "canary"),
            "host cannot be set",
        ),
        (
            base().with_public_header("Not A Name", "canary"),
            "header name",
        ),
        (
            base().with_public_header("X-Workspace", "canary\n"),
            "x-workspace",
        ),
        (base().with_proxy("canary:3128"), "invalid proxy"),
        (base().with_proxy("socks5://canary:1080"), "invalid proxy"),
        (base().with_proxy(" "), "invalid proxy"),
        (base().with_proxy("http://u:canary@[x"), "invalid proxy"),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part), "{part}: {text}");
        assert!(
            !format!("{shown}{text}{error:?}").contains("canary"),
            "{shown} {text} {error:?}"
        );
        assert!(
            !text.ends_with('.') && !text.starts_with(|c: char| c.is_uppercase()),
            "{text}"
        );
    }
}

#[cfg(not(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
)))]
#[test]
fn without_tls_the_features_are_named() {
    let https = builder("https://example.com").build();
    let root = builder("http://localhost")
        .with_root_certificate_pem("x")
        .build();
    let identity = builder("http://localhost")
        .with_client_identity_pem("x")
        .build();
    let proxy = builder("http://example.com")
        .with_proxy("https://p")
        .build();
    for result in [https, root, identity, proxy] {
        let text = result.unwrap_err().to_string();
        for feature in ["rustls", "rustls-no-provider", "native-tls"] {
            assert!(text.contains(feature), "{text}");
        }
    }
}

/// Runs this test again in a process of its own, with these variables; says whether this is that process.
#[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
fn in_a_process_of_its_own(test: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "BELUGA_O11Y_HTTP_TEST_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .envs(variables.iter().copied())
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
#[test]
fn without_a_provider_nothing_panics() {
    // The other tests of this process install one.
    if in_a_process_of_its_own("config::without_a_provider_nothing_panics", &[]) {
        let error = beluga_o11y_http::HttpSender::builder("https://example.com")
            .build()
            .unwrap_err();
        assert!(
            matches!(error, HttpConfigError::NoCryptoProvider),
            "{error}"
        );
    }
}

/// As in a container that has only the program.
#[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
#[cfg(target_os = "linux")]
#[test]
fn without_the_platforms_certificates_plain_http_still_works() {
    let none = [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let name = "config::without_the_platforms_certificates_plain_http_still_works";
    if in_a_process_of_its_own(name, &none) {
        let error = builder("https://example.com").build().unwrap_err();
        assert!(error.to_string().contains("ca-certificates"), "{error}");
        let own = crate::tls::Authority::new().pem();
        assert!(
            builder("https://example.com")
                .with_root_certificate_pem(own)
                .build()
                .is_ok()
        );
        for plain in [
            "http://localhost",
            "http://collector:4318",
            "http://example.com",
        ] {
            assert!(builder(plain).build().is_ok(), "{plain}");
        }
        assert!(
            builder("http://collector")
                .with_proxy("http://proxy")
                .build()
                .is_ok()
        );
    }
}

#[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
#[cfg(target_os = "linux")]
#[test]
fn a_root_certificate_does_not_replace_those_of_the_platform() {
    use crate::tls::{Authority, serve};

    let name = "config::a_root_certificate_does_not_replace_those_of_the_platform";
    if in_a_process_of_its_own(name, &[]) {
        let (platform, own) = (Authority::new(), Authority::new());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), platform.pem()).unwrap();
        let variables = [("SSL_CERT_FILE", Some(file.path())), ("SSL_CERT_DIR", None)];
        for authority in [&platform, &own] {
            let address = serve(authority.server(&["127.0.0.1"]));
            let sender = temp_env::with_vars(variables, || {
                builder(format!("https://{address}"))
                    .with_root_certificate_pem(own.pem())
                    .build()
                    .unwrap()
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let response = runtime.block_on(sender.send(HttpRequest::get("x")));
            assert_eq!(response.unwrap().text(), "secure");
        }
    }
}

#[test]
fn it_is_send_sync_clone() {
    fn check<T: Send + Sync + Clone>() {}
    check::<HttpSender>();
    check::<HttpRequest>();
    check::<SecretHeaderValue>();
    check::<beluga_o11y_http::HttpResponse>();
    check::<HttpError>();
    fn send<T: Send>(_: T) {}
    let sender = builder("http://localhost").build();
    if let Ok(sender) = sender {
        send(sender.send(HttpRequest::get("x")));
    }
}
