//! The HTTP sender that the exporters of `beluga-o11y` share.
//!
//! An exporter knows what to send and what an answer means to it; everything between is here, so that
//! it is the same for all of them: TLS, proxies, deadlines, gzip, bounded answers, secrets that never
//! show, and which status means what to a retry loop.
//!
//! ```
//! use beluga_o11y_http::{HttpRequest, HttpSender, SecretHeaderValue};
//!
//! # async fn send() -> Result<(), Box<dyn std::error::Error>> {
//! let sender = HttpSender::builder("https://www.comet.com/opik/api")
//!     .with_credentials(true)
//!     .build()?;
//! let key = SecretHeaderValue::new("my-key")?;
//!
//! let request = HttpRequest::post("v1/private/traces/batch", "application/json", "{}")
//!     .with_authorization(&key);
//! let response = match sender.send(request).await {
//!     Ok(response) => response,
//!     Err(error) => return Err(error.into_export_error("opik").into()),
//! };
//! if let Some(error) = response.error_for_status("opik") {
//!     return Err(error.into());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **A request is sent once.** Nothing is retried here, but for a request of which not a byte was sent
//!   because its idle connection had been closed: that one goes out on a fresh connection. A connection
//!   that breaks while the request or the answer is on its way is an error, since the server may have
//!   done the work. Idle connections are closed after 4 s, before most servers close them.
//! - **A deadline holds**, from the start of connecting to the last byte of the answer, whatever the
//!   server does. (The system's name resolution cannot be stopped: it may go on in the background.)
//! - **Memory is bounded.** Of an answer's body 64 KiB are kept, or as much as the request asks for; the rest is never read.
//! - **The head of an answer decides.** Once it is here, a body that breaks off or is late is no error:
//!   a 2xx is a success, and a 400 with half a body is a 400.
//! - **No redirect is followed**; it is an error that names the host.
//! - **Secrets stay secret**: no `Debug`, no error and no log shows a header's value, a key, a URL's
//!   user or what a server said.
//! - **A credential goes over plain `http://` only inside the local network**, unless
//!   [`with_allow_http`](HttpSenderBuilder::with_allow_http) says otherwise.
//! - **It never panics**, and it works from any number of tokio runtimes, one after another or at once:
//!   each has its own connections.
//!
//! # Features
//!
//! | feature | TLS |
//! |---|---|
//! | `rustls` (default) | rustls with aws-lc-rs and the certificates that the platform trusts |
//! | `rustls-no-provider` | rustls with the crypto provider that the program installed as its default |
//! | `native-tls` | OpenSSL, Schannel or Secure Transport |
//!
//! Without any of them `http://` works and `https://` is refused when the sender is built. If several
//! are on, rustls is used. Types of the HTTP and TLS libraries are not part of this API.

mod batch;
mod builder;
mod cause;
mod clients;
mod config_error;
mod drivers;
mod env;
mod error;
mod gzip;
mod request;
mod response;
mod retry_after;
mod secret;
mod sender;
mod setting;
mod settings;
mod status;
mod tls;
mod url;

pub use batch::{Packed, Packing, export_packed, single};
pub use builder::HttpSenderBuilder;
pub use config_error::HttpConfigError;
pub use env::{BlankSetting, Env, EnvError, not_blank, parse_switch};
pub use error::{ConnectProblem, HttpError, TlsProblem};
pub use request::HttpRequest;
pub use response::{HttpResponse, MAX_BODY_BYTES};
pub use secret::SecretHeaderValue;
pub use sender::HttpSender;
pub use setting::{Origin, Origins, Setting};
pub use status::kind_for_status;
