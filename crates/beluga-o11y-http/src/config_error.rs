//! Why a sender cannot be built.

use thiserror::Error;

/// Why [`HttpSenderBuilder::build`](crate::HttpSenderBuilder::build) or
/// [`SecretHeaderValue::new`](crate::SecretHeaderValue::new) refused what it was given.
///
/// No text holds what was given, since that may be a secret; a header's or a host's name at most.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum HttpConfigError {
    /// The base URL cannot be used.
    #[error("invalid base URL: {problem}")]
    InvalidBaseUrl {
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// The base URL or the proxy holds what cannot be there.
    #[error(
        "credentials in the URL: take the user and the password out of the base URL and set the key instead"
    )]
    CredentialsInUrl,
    /// A credential would go to another network unencrypted.
    #[error(
        "a credential over plain http:// to {host} could be read on its way: use https://, or allow it by \
         with_allow_http(true) or BELUGA_O11Y_ALLOW_HTTP=true"
    )]
    InsecureHttp {
        /// The host that it would go to.
        host: String,
    },
    /// The name of an extra header is not one that HTTP allows.
    #[error(
        "invalid header name: only letters, digits, and some of the signs such as - and _ can be in it"
    )]
    InvalidHeaderName,
    /// The name of an extra header is one that the sender sets itself.
    #[error("the header {name} cannot be set as an extra header: {instead}")]
    ReservedHeader {
        /// The header.
        name: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The value of a header cannot be sent.
    #[error(
        "invalid value for the header {name}: it holds a line break, a control character or a character \
         beyond ASCII; check what was pasted"
    )]
    InvalidHeaderValue {
        /// The header.
        name: String,
    },
    /// The total timeout or the connect timeout is zero.
    #[error("the {which} must be longer than zero")]
    ZeroTimeout {
        /// Which of the two.
        which: &'static str,
    },
    /// A root certificate cannot be read.
    #[error("invalid root certificate: it must be PEM with at least one BEGIN CERTIFICATE block")]
    InvalidRootCertificate,
    /// The client's certificate and key cannot be read.
    #[error("invalid client identity: {problem}")]
    InvalidClientIdentity {
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// The proxy cannot be used.
    #[error("invalid proxy: {problem}")]
    InvalidProxy {
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// TLS is needed, and was not compiled in.
    #[error(
        "{needed_for} needs TLS, which is not compiled in: enable one of the cargo features rustls, \
         rustls-no-provider or native-tls"
    )]
    NoTls {
        /// What needs it.
        needed_for: &'static str,
    },
    /// The feature `rustls-no-provider` is on, and the program has installed no provider.
    #[error(
        "rustls has no crypto provider: install one with CryptoProvider::install_default before the first \
         sender is built, or enable the cargo feature rustls"
    )]
    NoCryptoProvider,
    /// TLS cannot be set up.
    #[error(
        "TLS cannot be set up: check that the system has its trusted certificates (for example the package \
         ca-certificates), or give one with with_root_certificate_pem, and that certificates given are valid"
    )]
    TlsSetup,
}
