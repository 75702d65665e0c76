//! How a sender is made.

use std::{fmt, time::Duration};

use reqwest::{
    Proxy, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::{
    HttpConfigError, HttpSender, SecretHeaderValue,
    clients::{ClientSpec, Clients},
    sender::Inner,
    tls::{PlatformRoots, Tls},
    url::{self, BaseUrl, Reach},
};

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter than the keep-alive time of the servers that we know (5 s and more), so that a connection is
/// closed from this side before a request meets it half closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Makes an [`HttpSender`]. Every setting has a default, and only [`build`](Self::build) can fail.
///
/// `Debug` shows no header, key, certificate or proxy.
#[derive(Clone)]
#[must_use]
pub struct HttpSenderBuilder {
    base_url: Result<BaseUrl, HttpConfigError>,
    public_headers: Vec<(&'static str, String)>,
    timeout: Duration,
    connect_timeout: Option<Duration>,
    user_agent: String,
    headers: Vec<(String, SecretString)>,
    roots: Vec<Vec<u8>>,
    identity: Option<SecretSlice<u8>>,
    proxy: Option<SecretString>,
    allow_http: bool,
    credentials: bool,
    gzip: Option<bool>,
    idle_timeout: Duration,
}

impl Default for HttpSenderBuilder {
    fn default() -> Self {
        Self {
            base_url: BaseUrl::parse(""),
            public_headers: Vec::new(),
            timeout: TIMEOUT,
            connect_timeout: None,
            user_agent: concat!("beluga-o11y/", env!("CARGO_PKG_VERSION")).to_owned(),
            headers: Vec::new(),
            roots: Vec::new(),
            identity: None,
            proxy: None,
            allow_http: false,
            credentials: false,
            gzip: None,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

impl HttpSenderBuilder {
    /// What the paths of requests are appended to: `http` or `https`, any path, with or without a slash
    /// at the end, without user, query and fragment. Required.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Self {
        self.base_url = BaseUrl::parse(base_url.as_ref());
        self
    }

    /// A header for every request that is neither a secret nor a credential: the name of a workspace or
    /// a version. For exporters; what a user sets goes to [`with_header`](Self::with_header), and cannot
    /// replace one of these.
    pub fn with_public_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.public_headers.push((name, value.into()));
        self
    }

    /// How long a request may take in all, from the start of connecting to the last byte of the answer.
    /// Default 10 s. Zero is refused.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting may take, name resolution and TLS included. Default 5 s, or the total timeout
    /// if that is shorter. Zero is refused.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// The `User-Agent` header. Default `beluga-o11y/<version>`.
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// A header for every request; the last one of a name wins. Default none.
    ///
    /// It is treated as a secret and as a credential, whatever its name, because many gateways take a
    /// key in a header of their own. So over plain `http://` the rule of
    /// [`with_allow_http`](Self::with_allow_http) applies.
    ///
    /// Headers that are the sender's own are refused: those of the connection and the body, `User-Agent`,
    /// and `Authorization`, which the exporter makes out of its key.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// An authority to trust besides those of the platform, in PEM; a bundle of several is fine, and so
    /// are several calls. Default none.
    pub fn with_root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// The certificate (with its chain) and the unencrypted key that this client shows to the server,
    /// one after the other in PEM. With the feature `native-tls` alone the key must be PKCS #8. Default
    /// none.
    pub fn with_client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(pem.into().into());
        self
    }

    /// The proxy for all requests: `http://` or `https://`, with user and password if it wants them. Not
    /// used for a base URL on this machine. Default: what the environment says (`HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), which does not matter once this is set.
    pub fn with_proxy(mut self, url: impl Into<SecretString>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Allows credentials over plain `http://` to any host. Default false.
    ///
    /// Without it they go over plain `http://` only to hosts that are on the local network by their name
    /// or address:
    ///
    /// - this machine: `127.0.0.0/8`, `::1`, `0.0.0.0`, `::`, `localhost`, `*.localhost`
    /// - `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `169.254.0.0/16`, `fc00::/7`, `fe80::/10`
    /// - names without a dot, and those that end in `.svc`, `.cluster.local`, `.local` or `.internal`
    ///
    /// `100.64.0.0/10` is not among them: internet providers share it between their customers.
    /// A proxy that is given and reached over plain `http://` must be such a host too. Requests without
    /// credentials may go anywhere.
    pub fn with_allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Whether requests will carry a credential, so that the rule of
    /// [`with_allow_http`](Self::with_allow_http) is checked when the sender is built and not only when
    /// the first request is sent. Default: true if there is an extra header, otherwise false.
    pub fn with_credentials(mut self, credentials: bool) -> Self {
        self.credentials = credentials;
        self
    }

    /// Whether bodies of 1 KiB and more are sent in gzip. Default true.
    pub fn with_gzip(mut self, gzip: bool) -> Self {
        self.gzip = Some(gzip);
        self
    }

    /// Takes the extra headers, certificates, client identity, proxy and the choice of gzip from `defaults` where they are
    /// not set here: those that come from the environment, say. Certificates to trust are added. Its other settings
    /// do not count.
    pub fn with_defaults(mut self, defaults: Self) -> Self {
        // The last header of a name wins.
        self.headers.splice(0..0, defaults.headers);
        self.roots.extend(defaults.roots);
        self.identity = self.identity.or(defaults.identity);
        self.proxy = self.proxy.or(defaults.proxy);
        self.gzip = self.gzip.or(defaults.gzip);
        self
    }

    /// How many extra headers are set so far.
    pub fn header_count(&self) -> usize {
        self.headers.len()
    }

    /// Whether a client identity is set so far.
    pub fn has_client_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The sender. No connection is made yet, and no runtime is needed.
    ///
    /// # Errors
    ///
    /// [`HttpConfigError`] names the first setting that is wrong.
    pub fn build(self) -> Result<HttpSender, HttpConfigError> {
        let base_url = self.base_url?;
        let connect_timeout = self
            .connect_timeout
            .unwrap_or_else(|| CONNECT_TIMEOUT.min(self.timeout));
        for (which, timeout) in [
            ("timeout", self.timeout),
            ("connect timeout", connect_timeout),
        ] {
            if timeout.is_zero() {
                return Err(HttpConfigError::ZeroTimeout { which });
            }
        }
        let user_agent = user_agent(&self.user_agent)?;
        let mut headers = headers(&self.headers)?;
        let proxy = self.proxy.as_ref().map(proxy_url).transpose()?;
        let loopback = base_url.reach() == Reach::Loopback;
        let proxy = proxy.filter(|_| !loopback);

        let stranger = stranger(&base_url, proxy.as_ref());
        let plain_to = stranger.filter(|_| !self.allow_http);
        if let Some(host) = &plain_to
            && (self.credentials || !headers.is_empty())
        {
            return Err(HttpConfigError::InsecureHttp { host: host.clone() });
        }

        for (name, value) in &self.public_headers {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
        }

        let https_proxy = proxy.as_ref().is_some_and(|url| url.scheme() == "https");
        let https = base_url.is_https() || https_proxy;
        let tls = Tls::new(
            https,
            &self.roots,
            self.identity.as_ref().map(ExposeSecret::expose_secret),
        )?;
        let platform_roots = if https {
            PlatformRoots::Needed
        } else if loopback || proxy.is_some() {
            PlatformRoots::Unused
        } else {
            PlatformRoots::IfThereAreAny
        };
        let peer = match &proxy {
            Some(proxy) => format!(
                "{} (through the proxy {})",
                base_url.authority(),
                url::authority(proxy)
            ),
            None => base_url.authority(),
        };
        let clients = Clients::new(ClientSpec {
            user_agent,
            timeout: self.timeout,
            connect_timeout,
            idle_timeout: self.idle_timeout,
            loopback,
            proxy: proxy.map(Proxy::all).transpose().map_err(|_| {
                HttpConfigError::InvalidProxy {
                    problem: "its URL is not valid",
                }
            })?,
            tls,
            platform_roots,
        })
        .map_err(|_| HttpConfigError::TlsSetup)?;
        Ok(HttpSender::new(Inner {
            base_url,
            peer,
            headers,
            plain_to,
            gzip: self.gzip.unwrap_or(true),
            clients,
        }))
    }
}

/// The host outside of the local network that would see requests unencrypted, if there is one.
fn stranger(base_url: &BaseUrl, proxy: Option<&Url>) -> Option<String> {
    if base_url.is_https() {
        return None;
    }
    if base_url.reach() == Reach::Public {
        return Some(base_url.authority());
    }
    proxy
        .filter(|proxy| proxy.scheme() == "http")
        .filter(|proxy| url::reach(proxy.host_str().unwrap_or_default()) == Reach::Public)
        .map(url::authority)
}

fn proxy_url(proxy: &SecretString) -> Result<Url, HttpConfigError> {
    url::parse_http(proxy.expose_secret())
        .map_err(|problem| HttpConfigError::InvalidProxy { problem })
}

fn user_agent(text: &str) -> Result<HeaderValue, HttpConfigError> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| HttpConfigError::InvalidHeaderValue {
            name: "user-agent".to_owned(),
        })
}

fn headers(given: &[(String, SecretString)]) -> Result<HeaderMap, HttpConfigError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let (name, value) = header(name, value.expose_secret())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HttpConfigError> {
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| HttpConfigError::InvalidHeaderName)?;
    if let Some(instead) = reserved(name.as_str()) {
        return Err(HttpConfigError::ReservedHeader {
            name: name.to_string(),
            instead,
        });
    }
    let value = SecretHeaderValue::for_header(name.as_str(), value)?;
    Ok((name, value.header_value()))
}

/// What to do instead of setting this header.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "authorization" => Some("set the key, or the whole authorization, on the exporter"),
        "proxy-authorization" => Some("put user and password into the URL of the proxy"),
        "user-agent" => Some("use with_user_agent"),
        "accept-encoding" | "connection" | "content-encoding" | "content-length"
        | "content-type" | "expect" | "host" | "keep-alive" | "proxy-connection" | "te"
        | "trailer" | "transfer-encoding" | "upgrade" => Some("the sender sets it itself"),
        _ => None,
    }
}

impl fmt::Debug for HttpSenderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSenderBuilder")
            .field("base_url", &self.base_url)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("extra_headers", &self.headers.len())
            .field("root_certificates", &self.roots.len())
            .field("client_identity", &self.identity.is_some())
            .field("proxy", &self.proxy.is_some())
            .field("allow_http", &self.allow_http)
            .field("credentials", &self.credentials)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        time::Instant,
    };

    use super::*;
    use crate::HttpRequest;

    #[test]
    fn defaults() {
        let builder = HttpSender::builder("http://localhost");
        assert_eq!(builder.timeout, Duration::from_secs(10));
        assert_eq!(builder.idle_timeout, Duration::from_secs(4));
        assert!(builder.gzip.is_none() && !builder.allow_http && !builder.credentials);
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_from_this_side() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap();
            let answered = Instant::now();
            assert_eq!(stream.read(&mut buffer).unwrap(), 0);
            answered.elapsed()
        });
        let mut builder = HttpSender::builder(format!("http://{address}"));
        builder.idle_timeout = Duration::from_millis(300);
        #[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let sender = builder.build().unwrap();
        sender.send(HttpRequest::get("x")).await.unwrap();
        let idle = server.await.unwrap();
        // The pool looks every now and then, so it may be up to twice the time.
        assert!(
            (Duration::from_millis(290)..Duration::from_millis(1000)).contains(&idle),
            "{idle:?}"
        );
    }
}
