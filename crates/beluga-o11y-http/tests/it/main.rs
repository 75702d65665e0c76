//! The sender against real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

mod config;
mod exchange;
mod faults;
mod proxy;
mod runtimes;
mod secrets;
mod server;
#[cfg(any(
    feature = "rustls",
    feature = "rustls-no-provider",
    feature = "native-tls"
))]
mod tls;

/// A builder; with the feature `rustls-no-provider` alone the program has to install a provider first.
fn builder(base_url: impl AsRef<str>) -> beluga_o11y_http::HttpSenderBuilder {
    #[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    beluga_o11y_http::HttpSender::builder(base_url)
}
