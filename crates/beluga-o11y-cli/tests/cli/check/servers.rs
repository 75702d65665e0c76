//! Servers that are no backend, or that stand in front of one.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

/// Reads the head of each request, and answers with what `answer` makes of it.
pub(crate) fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut head = String::new();
                // An empty line ends it, or the end.
                while stream.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
                let _ = stream.get_mut().write_all(answer(&head).as_bytes());
            });
        }
    });
    address
}

/// An answer after which the connection ends.
pub(crate) fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// An authority of one's own.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// TLS under this name, in front of another server.
    pub(crate) fn tls(
        &self,
        name: &str,
        server: SocketAddr,
        change: impl Fn(&mut CertificateParams),
    ) -> SocketAddr {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut server = tokio::net::TcpStream::connect(server).await?;
                copy_bidirectional(&mut stream, &mut server).await?;
                Ok(())
            }
        })
    }
}

/// A proxy that makes tunnels, wherever to, to this server; and what it was asked for.
pub(crate) fn tunnel(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let address = serve(move |stream| {
        let log = Arc::clone(&log);
        async move {
            let mut stream = tokio::io::BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).await? > 2 {}
            let line = head.lines().next().unwrap_or_default();
            log.lock().unwrap().push(line.to_owned());
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let mut server = tokio::net::TcpStream::connect(server).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
            Ok(())
        }
    });
    (address, asked)
}

fn serve<F>(handle: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(tokio::spawn(handle(stream)));
            }
        });
    });
    address
}
