//! The sender.

use std::{fmt, sync::Arc};

use reqwest::{
    Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
        LOCATION,
    },
};
use tokio::runtime::Handle;

use crate::{
    HttpError, HttpRequest, HttpResponse, HttpSenderBuilder, cause,
    clients::Clients,
    drivers,
    url::{self, BaseUrl, Reach},
};

/// The longest name that DNS allows; a longer "host" in a redirect is none.
const MAX_HOST_BYTES: usize = 253;

/// Sends requests to one server, see the [crate] for what it promises.
///
/// A clone is cheap and shares connections. `Debug` shows no secret.
#[derive(Clone)]
pub struct HttpSender(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) base_url: BaseUrl,
    /// Whom errors name: the server, and the proxy if one is set.
    pub(crate) peer: String,
    pub(crate) headers: HeaderMap,
    /// The host that no credential may go to.
    pub(crate) plain_to: Option<String>,
    pub(crate) gzip: bool,
    pub(crate) clients: Clients,
}

impl HttpSender {
    /// Starts the making of a sender for this base URL: absolute, `http://` or `https://`, with any path,
    /// with or without a slash at its end; without user and password, query or fragment. Blanks around
    /// it do not matter.
    pub fn builder(base_url: impl AsRef<str>) -> HttpSenderBuilder {
        HttpSenderBuilder::default().with_base_url(base_url)
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Sends the request once, and waits for the answer, whatever its status.
    ///
    /// Dropping the future ends the exchange; the server may have got the request.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer, or if it is a redirect.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let inner = &*self.0;
        // `build` has checked this for senders that said that credentials will come.
        if let Some(host) = inner
            .plain_to
            .as_ref()
            .filter(|_| request.has_authorization())
        {
            return Err(HttpError::InsecureHttp { host: host.clone() });
        }
        let runtime = Handle::try_current().map_err(|_| HttpError::NoRuntime)?;
        let client = inner
            .clients
            .get(runtime.id())
            .map_err(|_| HttpError::Setup)?;

        drivers::guard(async {
            // Lets the runtime look at its sockets. Without this, a `current_thread` runtime that did
            // not run for a while would send over a connection that the server has closed meanwhile.
            tokio::task::yield_now().await;
            let response = inner
                .request(&client, &request)
                .send()
                .await
                .map_err(|error| {
                    cause::http_error(&error, inner.peer.clone(), inner.clients.spec())
                })?;
            if response.status().is_redirection() {
                return Err(inner.redirect(response.status(), response.headers(), &request));
            }
            Ok(HttpResponse::read(response, request.max_answer_bytes()).await)
        })
        .await
    }

    /// Where a request with this path goes: the path's segments after those of the base URL, which are
    /// always kept, with one slash between. Each segment is encoded, so that a `?` in it does not start
    /// a query.
    pub fn url_for(&self, path: &str) -> String {
        self.0.base_url.join(path).into()
    }

    /// The base URL, without a slash at its end. It can be shown: there is no secret in it.
    pub fn base_url(&self) -> &str {
        self.0.base_url.as_str()
    }

    /// The base URL's host, without the port; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        self.0.base_url.host()
    }

    /// The base URL's port: if it names none, that of its scheme.
    pub fn port(&self) -> u16 {
        self.0.base_url.port()
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.0.base_url.reach() == Reach::Loopback
    }

    /// Whether the host is this machine or, by its name or address, on the local network, see
    /// [`with_allow_http`](HttpSenderBuilder::with_allow_http).
    pub fn is_private(&self) -> bool {
        self.0.base_url.reach() != Reach::Public
    }
}

impl Inner {
    fn request(&self, client: &reqwest::Client, request: &HttpRequest) -> reqwest::RequestBuilder {
        let parts = request.parts(self.gzip);
        let mut headers = self.headers.clone();
        if let Some(authorization) = parts.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        if parts.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(content_type) = parts.content_type
            && let Ok(content_type) = HeaderValue::from_str(content_type)
        {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if parts.method == Method::POST && parts.body.is_empty() {
            // The HTTP library leaves it out, and some proxies then answer 411.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut url = self.base_url.join(request.path());
        if !request.query().is_empty() {
            url.query_pairs_mut().extend_pairs(request.query());
        }
        let to = client.request(parts.method.clone(), url).headers(headers);
        match parts.method {
            Method::GET => to,
            _ => to.body(parts.body),
        }
    }

    /// Of where it points only the host is told: the rest may hold anything.
    fn redirect(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        request: &HttpRequest,
    ) -> HttpError {
        let host = headers
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| self.base_url.join(request.path()).join(location).ok())
            .filter(|target| matches!(target.scheme(), "http" | "https"))
            .map(|target| url::authority(&target))
            .filter(|host| !host.is_empty() && host.len() <= MAX_HOST_BYTES);
        HttpError::Redirect {
            status: status.as_u16(),
            host,
        }
    }
}

impl fmt::Debug for HttpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.0.clients.spec();
        f.debug_struct("HttpSender")
            .field("base_url", &self.0.base_url)
            .field("timeout", &spec.timeout)
            .field("connect_timeout", &spec.connect_timeout)
            .field("extra_headers", &self.0.headers.len())
            .field("proxy", &spec.proxy.is_some())
            .field("gzip", &self.0.gzip)
            .finish_non_exhaustive()
    }
}
