//! Why there is no answer.

use std::{borrow::Cow, fmt, io, time::Duration};

use beluga_o11y::{ExportError, ExportErrorKind};
use thiserror::Error;

/// Why a request got no answer.
///
/// An answer with a bad status is not among them, see
/// [`HttpResponse::error_for_status`](crate::HttpResponse::error_for_status). No text holds more of the
/// request than the host it went to, or anything that a server said; `source()` is always `None` for the
/// same reason.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// Called outside of a tokio runtime.
    #[error(
        "no tokio runtime: call this from async code that tokio runs, for example under #[tokio::main] or \
         within Runtime::block_on"
    )]
    NoRuntime,
    /// Called in a tokio runtime that was built without IO or without timers.
    ///
    /// tokio panics about this; the panic is caught here, but the program's panic hook has run by then.
    /// In a program that is built with `panic = "abort"` it cannot be caught.
    #[error(
        "the tokio runtime has no IO or no timers: build it with tokio::runtime::Builder::enable_all()"
    )]
    NoDrivers,
    /// The total timeout is over, and no answer is there.
    #[error("no answer from {host} within {after:?}")]
    Timeout {
        /// Host and port, and the proxy if there is one.
        host: String,
        /// The total timeout.
        after: Duration,
    },
    /// There is no connection.
    #[error("cannot connect to {host}: {problem}")]
    Connect {
        /// Host and port, and the proxy if there is one.
        host: String,
        /// Why.
        problem: ConnectProblem,
    },
    /// There is a connection, but TLS does not come about or was refused.
    #[error("no secure connection to {host}: {problem}")]
    Tls {
        /// Host and port, and the proxy if there is one.
        host: String,
        /// Why.
        problem: TlsProblem,
    },
    /// The server answered with a redirect, which is not followed, since it would take the request and
    /// its credentials to where nobody meant to send them.
    #[error("{status}: {}", redirect(host.as_deref()))]
    Redirect {
        /// The status, 3xx.
        status: u16,
        /// The host, and the port if named, of where it points; `None` if it does not say so legibly.
        host: Option<String>,
    },
    /// The request carries a credential over plain `http://` to another network.
    #[error(
        "a credential over plain http:// to {host} could be read on its way: use https://, or allow it by \
         with_allow_http(true) or BELUGA_O11Y_ALLOW_HTTP=true"
    )]
    InsecureHttp {
        /// Host and port.
        host: String,
    },
    /// What came back is not HTTP/1.
    #[error("{host} does not speak HTTP/1.1: check the scheme and the port of the base URL")]
    NotHttp {
        /// Host and port, and the proxy if there is one.
        host: String,
    },
    /// The connection broke while the request or the head of the answer was on its way. The server may
    /// or may not have got the request.
    #[error("the connection to {host} broke before the answer was there")]
    Broken {
        /// Host and port, and the proxy if there is one.
        host: String,
    },
    /// The HTTP client could not be set up for another runtime, although it could for the first one.
    #[error("the HTTP client cannot be set up for this runtime: check the system's certificates")]
    Setup,
}

impl HttpError {
    /// Whether the same request may succeed later, or the configuration has to be mended first.
    pub fn kind(&self) -> ExportErrorKind {
        match self {
            Self::Connect {
                problem: ConnectProblem::ProxyAuthorization,
                ..
            } => ExportErrorKind::Destination,
            Self::Timeout { .. } | Self::Connect { .. } | Self::Broken { .. } | Self::Setup => {
                ExportErrorKind::Temporary
            }
            Self::NoRuntime
            | Self::NoDrivers
            | Self::Tls { .. }
            | Self::Redirect { .. }
            | Self::InsecureHttp { .. }
            | Self::NotHttp { .. } => ExportErrorKind::Destination,
        }
    }

    /// The export error of the same text and [`kind`](Self::kind), with the status if there was one.
    pub fn into_export_error(self, exporter: impl Into<Cow<'static, str>>) -> ExportError {
        let error = ExportError::new(self.kind(), exporter, self.to_string());
        match self {
            Self::Redirect { status, .. } => error.with_status(status),
            _ => error,
        }
    }
}

fn redirect(host: Option<&str>) -> String {
    match host {
        Some(host) => format!(
            "the server redirects to {host}, which is not followed; if that is right, change the base URL"
        ),
        None => "the server redirects, which is not followed; check the base URL".to_owned(),
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectProblem {
    /// The name is not known, or the name service does not answer.
    Dns,
    /// Nothing listens there.
    Refused,
    /// The connect timeout is over.
    TimedOut,
    /// The proxy wants a user and a password, or other ones.
    ProxyAuthorization,
    /// The proxy does not connect to the target.
    Proxy,
    /// Anything else, as far as the operating system tells.
    Other(Option<io::ErrorKind>),
}

impl fmt::Display for ConnectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("its name cannot be resolved; check the host in the base URL"),
            Self::Refused => f.write_str("connection refused; check that it runs, and the port"),
            Self::TimedOut => f.write_str("it did not take the connection in time"),
            Self::ProxyAuthorization => {
                f.write_str("the proxy asks for a user and a password in its URL")
            }
            Self::Proxy => f.write_str("the proxy did not connect to it"),
            Self::Other(Some(kind)) => kind.fmt(f),
            Self::Other(None) => f.write_str("the connection failed"),
        }
    }
}

/// Why TLS does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsProblem {
    /// No authority that is trusted has signed the server's certificate.
    Untrusted,
    /// The server's certificate is for another name.
    WrongName,
    /// The server's certificate is not valid any more, or not yet.
    Expired,
    /// Something else is wrong with the server's certificate.
    Certificate,
    /// The server does not accept our certificate, or misses one.
    ClientCertificate,
    /// The server does not speak TLS at all.
    NotTls,
    /// Anything else.
    Other,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => {
                "the server's certificate is not signed by a trusted authority; if it is your own, add it with \
                 with_root_certificate_pem"
            }
            Self::WrongName => "the server's certificate is for another host name",
            Self::Expired => {
                "the server's certificate has expired or is not valid yet; check it and this machine's clock"
            }
            Self::Certificate => {
                "the server's certificate is not acceptable; a server needs one that is no authority itself, \
                 signed by an authority"
            }
            Self::ClientCertificate => {
                "the server wants a client certificate, or another one; set it with with_client_identity_pem"
            }
            Self::NotTls => "the server does not speak TLS; is it http:// or another port",
            Self::Other => "TLS failed; there may be no version or cipher that both sides know",
        })
    }
}
