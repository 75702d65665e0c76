//! TLS, as far as cargo features allow; the only place that knows them.

use crate::HttpConfigError;

/// How a client depends on the certificates that the platform trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlatformRoots {
    /// For `https://`.
    Needed,
    /// For `http://`, since a proxy of the environment may be `https://`. A container without certificates
    /// must not keep a sender over `http://` from starting.
    IfThereAreAny,
    /// Where no TLS can come in.
    Unused,
}

/// What a client needs to know about TLS, read and checked.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    #[cfg(any(
        feature = "rustls",
        feature = "rustls-no-provider",
        feature = "native-tls"
    ))]
    inner: enabled::Inner,
}

#[cfg(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
))]
mod enabled {
    use reqwest::{Certificate, ClientBuilder, Identity};

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Inner {
        roots: Vec<Certificate>,
        identity: Option<Identity>,
    }

    impl Tls {
        /// `https` is whether the base URL or the proxy needs TLS.
        pub(crate) fn new(
            _https: bool,
            roots: &[Vec<u8>],
            identity: Option<&[u8]>,
        ) -> Result<Self, HttpConfigError> {
            provider()?;
            let mut certificates = Vec::new();
            for pem in roots {
                let read = Certificate::from_pem_bundle(pem)
                    .map_err(|_| HttpConfigError::InvalidRootCertificate)?;
                if read.is_empty() {
                    return Err(HttpConfigError::InvalidRootCertificate);
                }
                certificates.extend(read);
            }
            Ok(Self {
                inner: Inner {
                    roots: certificates,
                    identity: identity.map(self::identity).transpose()?,
                },
            })
        }

        pub(crate) fn apply(&self, client: ClientBuilder, platform_roots: bool) -> ClientBuilder {
            let Inner { roots, identity } = self.inner.clone();
            let client = backend(client);
            let client = if platform_roots {
                client.tls_certs_merge(roots)
            } else {
                client.tls_certs_only(roots)
            };
            match identity {
                Some(identity) => client.identity(identity),
                None => client,
            }
        }
    }

    // Named, because another crate in the program may turn on a second backend of the HTTP library.
    #[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
    fn backend(client: ClientBuilder) -> ClientBuilder {
        client.tls_backend_rustls()
    }

    #[cfg(not(any(feature = "rustls", feature = "rustls-no-provider")))]
    fn backend(client: ClientBuilder) -> ClientBuilder {
        client.tls_backend_native()
    }

    /// The HTTP library panics without a provider.
    fn provider() -> Result<(), HttpConfigError> {
        #[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(HttpConfigError::NoCryptoProvider);
        }
        Ok(())
    }

    #[cfg(any(feature = "rustls", feature = "rustls-no-provider"))]
    fn identity(pem: &[u8]) -> Result<Identity, HttpConfigError> {
        Identity::from_pem(pem).map_err(|_| HttpConfigError::InvalidClientIdentity {
            problem: "it must be PEM with a BEGIN CERTIFICATE and an unencrypted BEGIN PRIVATE KEY block",
        })
    }

    #[cfg(not(any(feature = "rustls", feature = "rustls-no-provider")))]
    fn identity(pem: &[u8]) -> Result<Identity, HttpConfigError> {
        const BEGIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";
        const END: &[u8] = b"-----END PRIVATE KEY-----";

        let invalid = || HttpConfigError::InvalidClientIdentity {
            problem: "with the feature native-tls it must be PEM with a BEGIN CERTIFICATE and an unencrypted \
                      BEGIN PRIVATE KEY (PKCS #8) block",
        };
        let find = |what: &[u8]| pem.windows(what.len()).position(|window| window == what);
        let begin = find(BEGIN).ok_or_else(invalid)?;
        let end = find(END).ok_or_else(invalid)? + END.len();
        let key = pem.get(begin..end).ok_or_else(invalid)?;
        let certificates = [
            pem.get(..begin).unwrap_or_default(),
            pem.get(end..).unwrap_or_default(),
        ]
        .concat();
        Identity::from_pkcs8_pem(&certificates, key).map_err(|_| invalid())
    }
}

#[cfg(not(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
)))]
impl Tls {
    pub(crate) fn new(
        https: bool,
        roots: &[Vec<u8>],
        identity: Option<&[u8]>,
    ) -> Result<Self, HttpConfigError> {
        let needed_for = if https {
            "https://"
        } else if !roots.is_empty() {
            "a root certificate"
        } else if identity.is_some() {
            "a client identity"
        } else {
            return Ok(Self::default());
        };
        Err(HttpConfigError::NoTls { needed_for })
    }

    pub(crate) fn apply(
        &self,
        client: reqwest::ClientBuilder,
        _platform_roots: bool,
    ) -> reqwest::ClientBuilder {
        client
    }
}
