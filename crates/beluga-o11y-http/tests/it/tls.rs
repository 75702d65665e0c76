//! TLS with an authority of our own.
#![expect(clippy::panic, reason = "tests")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::Engine;
use beluga_o11y::ExportErrorKind;
use beluga_o11y_http::{
    HttpConfigError, HttpError, HttpRequest, HttpSenderBuilder, SecretHeaderValue, TlsProblem,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::{
    builder,
    server::{Server, answer},
};

/// A certificate and its key.
pub(crate) struct Pair {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Pair {
    fn pem(&self) -> String {
        format!(
            "{}{}",
            pem("CERTIFICATE", &self.certificate),
            self.key.serialize_pem()
        )
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

/// PEM of what is only there as DER.
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

pub(crate) struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);

        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            DnType::CommonName,
            format!("canary {}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        );
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn issue(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.der().clone(),
            key,
        }
    }

    pub(crate) fn server(&self, names: &[&str]) -> ServerConfig {
        plain(self.issue(names, |_| {}))
    }

    /// A server that only takes clients with a certificate of this authority.
    fn mutual(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
        let pair = self.issue(&["localhost", "127.0.0.1"], |_| {});
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![pair.certificate.clone()], pair.private_key())
            .unwrap()
    }
}

fn plain(pair: Pair) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.certificate.clone()], pair.private_key())
        .unwrap()
}

/// Answers every request over TLS with `secure`.
pub(crate) fn serve(config: ServerConfig) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(acceptor.accept(stream).await?);
                    loop {
                        let mut line = String::new();
                        let mut length = 0;
                        while stream.read_line(&mut line).await? > 2 {
                            if let Some(text) = line.strip_prefix("content-length: ") {
                                length = text.trim().parse().unwrap();
                            }
                            line.clear();
                        }
                        if line.is_empty() {
                            return std::io::Result::Ok(());
                        }
                        stream.read_exact(&mut vec![0; length]).await?;
                        stream
                            .write_all(answer("200 OK", &[], "secure").as_bytes())
                            .await?;
                    }
                });
            }
        });
    });
    address
}

fn https(address: SocketAddr) -> HttpSenderBuilder {
    builder(format!("https://{address}")).with_timeout(Duration::from_secs(3))
}

async fn problem(builder: HttpSenderBuilder) -> (TlsProblem, String) {
    let sender = builder.build().unwrap();
    let request = HttpRequest::post("x", "text/plain", "1")
        .with_authorization(&SecretHeaderValue::new("canary").unwrap());
    let error = sender.send(request).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination, "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    match &error {
        HttpError::Tls { problem, .. } => (*problem, error.to_string()),
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_once_it_is_given() {
    let authority = Authority::new();
    let address = serve(authority.server(&["127.0.0.1", "localhost"]));

    let (problem, text) = problem(https(address)).await;
    assert_eq!(problem, TlsProblem::Untrusted);
    assert!(text.contains("with_root_certificate_pem"), "{text}");

    let bundle = format!(
        "# a comment\n{}\n{}",
        Authority::new().pem(),
        authority.pem()
    );
    for builder in [
        https(address).with_root_certificate_pem(authority.pem()),
        https(address).with_root_certificate_pem(bundle),
        https(address)
            .with_root_certificate_pem(authority.pem())
            .with_root_certificate_pem(Authority::new().pem()),
        builder(format!("https://localhost:{}", address.port()))
            .with_root_certificate_pem(authority.pem()),
    ] {
        let sender = builder.with_credentials(true).build().unwrap();
        for _ in 0..2 {
            let response = sender
                .send(HttpRequest::post("x", "text/plain", "1"))
                .await
                .unwrap();
            assert_eq!(response.text(), "secure");
        }
    }
}

#[tokio::test]
async fn certificate_problems_are_told_apart() {
    let authority = Authority::new();
    let wrong_name = authority.server(&["canary.example", "10.1.2.3"]);
    let expired = plain(authority.issue(&["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }));
    let future = plain(authority.issue(&["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2301, 1, 1);
        params.not_after = date_time_ymd(2302, 1, 1);
    }));
    for (config, expected) in [
        (wrong_name, TlsProblem::WrongName),
        (expired, TlsProblem::Expired),
        (future, TlsProblem::Expired),
    ] {
        let builder = https(serve(config)).with_root_certificate_pem(authority.pem());
        assert_eq!(problem(builder).await.0, expected);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_untrusted_until_it_is_given() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pem = cert.pem();
    let pair = Pair {
        certificate: cert.der().clone(),
        key: signing_key,
    };
    let address = serve(plain(pair));
    assert_eq!(problem(https(address)).await.0, TlsProblem::Untrusted);

    let sender = https(address)
        .with_root_certificate_pem(pem)
        .build()
        .unwrap();
    assert!(
        sender
            .send(HttpRequest::get("x"))
            .await
            .unwrap()
            .is_success()
    );
}

/// What `openssl req -x509` makes: rustls does not take it, OpenSSL does.
#[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
#[tokio::test]
async fn an_authority_as_the_server_certificate_is_explained() {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem();
    let pair = Pair {
        certificate: certificate.der().clone(),
        key,
    };
    let address = serve(plain(pair));
    let (problem, text) = problem(https(address).with_root_certificate_pem(pem)).await;
    assert_eq!(problem, TlsProblem::Certificate);
    assert!(text.contains("no authority itself"), "{text}");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    let address = serve(authority.mutual());
    let client = authority.issue(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "client");
    });
    let trusting = || https(address).with_root_certificate_pem(authority.pem());

    let sender = trusting()
        .with_client_identity_pem(client.pem())
        .build()
        .unwrap();
    for _ in 0..2 {
        let response = sender
            .send(HttpRequest::post("x", "text/plain", "1"))
            .await
            .unwrap();
        assert_eq!(response.text(), "secure");
    }

    let stranger = Authority::new().issue(&[], |_| {});
    for builder in [
        trusting(),
        trusting().with_client_identity_pem(stranger.pem()),
    ] {
        let (problem, text) = problem(builder).await;
        assert_eq!(problem, TlsProblem::ClientCertificate);
        assert!(text.contains("with_client_identity_pem"), "{text}");
    }
}

#[tokio::test]
async fn plain_http_on_the_port_is_named() {
    let server = Server::raw(|mut stream| {
        use std::io::{Read, Write};
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        std::thread::sleep(Duration::from_millis(100));
    });
    let (problem, text) = problem(https(server.address)).await;
    assert_eq!(problem, TlsProblem::NotTls);
    assert!(text.contains("http://"), "{text}");
}

#[tokio::test]
async fn tls_on_the_port_of_plain_http_is_named() {
    let address = serve(Authority::new().server(&["127.0.0.1"]));
    let sender = builder(format!("http://{address}")).build().unwrap();
    let error = sender.send(HttpRequest::get("x")).await.unwrap_err();
    assert!(matches!(error, HttpError::NotHttp { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_handshake_is_temporary() {
    let server = Server::raw(drop);
    let sender = https(server.address).build().unwrap();
    let error = sender.send(HttpRequest::get("x")).await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary, "{error:?}");
}

#[test]
fn what_is_no_pem_is_refused() {
    let root = |pem: &str| {
        builder("https://localhost")
            .with_root_certificate_pem(pem)
            .build()
    };
    let broken = "-----BEGIN CERTIFICATE-----\ncanary!\n-----END CERTIFICATE-----\n";
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "canary", broken] {
        let error = root(pem).unwrap_err();
        assert!(
            matches!(error, HttpConfigError::InvalidRootCertificate),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert!(root(not_der).is_err());

    let pair = Authority::new().issue(&[], |_| {});
    let certificate = pem("CERTIFICATE", &pair.certificate);
    let identity = |pem: &str| {
        builder("https://localhost")
            .with_client_identity_pem(pem)
            .build()
    };
    assert!(identity(&pair.pem()).is_ok());
    assert!(identity(&format!("{}{certificate}", pair.key.serialize_pem())).is_ok());
    for pem in [
        "",
        "canary",
        broken,
        &certificate,
        &pair.key.serialize_pem(),
    ] {
        let error = identity(pem).unwrap_err();
        assert!(
            matches!(error, HttpConfigError::InvalidClientIdentity { .. }),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
