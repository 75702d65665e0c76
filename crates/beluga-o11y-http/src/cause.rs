//! What the HTTP library's error says, in our own terms.
//!
//! Nothing of its text is passed on: it has the whole URL, and TLS errors quote the server's certificate.

use std::{error::Error, io};

use crate::{ConnectProblem, HttpError, TlsProblem, clients::ClientSpec};

pub(crate) fn http_error(error: &reqwest::Error, host: String, spec: &ClientSpec) -> HttpError {
    let causes = chain(error);

    if let Some(problem) = causes.iter().find_map(|cause| tls_problem(*cause)) {
        return HttpError::Tls { host, problem };
    }
    if let Some(problem) = causes.iter().find_map(|cause| proxy_problem(*cause)) {
        return HttpError::Connect { host, problem };
    }
    let io_kind = causes
        .iter()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind)
        .next_back();
    if error.is_connect() {
        let problem = if error.is_timeout() {
            ConnectProblem::TimedOut
        } else if error.is_dns() {
            ConnectProblem::Dns
        } else if io_kind == Some(io::ErrorKind::ConnectionRefused) {
            ConnectProblem::Refused
        } else {
            ConnectProblem::Other(io_kind.filter(|kind| *kind != io::ErrorKind::Other))
        };
        return HttpError::Connect { host, problem };
    }
    if error.is_timeout() {
        return HttpError::Timeout {
            host,
            after: spec.timeout,
        };
    }
    // The HTTP library's parser has no public type for this; its texts for an answer that it cannot
    // read all start or end like these.
    let unreadable = causes.iter().any(|cause| {
        let text = cause.to_string();
        text.starts_with("invalid ") || text == "message head is too large"
    });
    if unreadable {
        HttpError::NotHttp { host }
    } else {
        HttpError::Broken { host }
    }
}

/// The error and its causes. An `io::Error` leaves out the error that it wraps, so look into it.
fn chain(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = match cause.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    causes
}

fn proxy_problem(cause: &(dyn Error + 'static)) -> Option<ConnectProblem> {
    match cause.to_string().strip_prefix("tunnel error: ")? {
        "proxy authorization required" => Some(ConnectProblem::ProxyAuthorization),
        // That has a cause of its own.
        "failed to create underlying connection" | "io error establishing tunnel" => None,
        _ => Some(ConnectProblem::Proxy),
    }
}

fn tls_problem(cause: &(dyn Error + 'static)) -> Option<TlsProblem> {
    #[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(rustls_problem(error));
    }
    #[cfg(feature = "native-tls")]
    if let Some(problem) = native_problem(cause) {
        return Some(problem);
    }
    let _ = cause;
    None
}

#[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
fn rustls_problem(error: &rustls::Error) -> TlsProblem {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};

    match error {
        Error::InvalidCertificate(Certificate::UnknownIssuer) => TlsProblem::Untrusted,
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => TlsProblem::WrongName,
        Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => TlsProblem::Expired,
        Error::InvalidCertificate(_) => TlsProblem::Certificate,
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => TlsProblem::ClientCertificate,
        Error::InvalidMessage(_) => TlsProblem::NotTls,
        _ => TlsProblem::Other,
    }
}

/// The libraries behind `native-tls` only say it in words.
#[cfg(feature = "native-tls")]
fn native_problem(cause: &(dyn Error + 'static)) -> Option<TlsProblem> {
    let text = cause.to_string().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // After the handshake OpenSSL's errors come without that type around them.
    if !cause.is::<native_tls::Error>() && !has(&["ssl routines"]) {
        return None;
    }
    let problem = if has(&[
        "hostname mismatch",
        "ip address mismatch",
        "name does not match",
        "name mismatch",
    ]) {
        TlsProblem::WrongName
    } else if has(&["expired", "not yet valid", "validity period"]) {
        TlsProblem::Expired
    } else if has(&[
        "alert certificate",
        "alert bad certificate",
        "alert unknown ca",
    ]) {
        TlsProblem::ClientCertificate
    } else if has(&[
        "certificate verify failed",
        "not trusted",
        "self-signed",
        "self signed",
    ]) {
        TlsProblem::Untrusted
    } else if has(&[
        "wrong version number",
        "packet length too long",
        "unknown protocol",
    ]) {
        TlsProblem::NotTls
    } else if has(&["eof"])
        || cause
            .source()
            .is_some_and(|source| source.is::<io::Error>())
    {
        // The connection broke; that it did so during the handshake says nothing about TLS.
        return None;
    } else {
        TlsProblem::Other
    };
    Some(problem)
}
