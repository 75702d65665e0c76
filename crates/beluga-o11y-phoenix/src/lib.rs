//! Sends LLM calls to [Arize Phoenix](https://phoenix.arize.com), hosted or one's own.
//!
//! ```no_run
//! use beluga_o11y::{LLMCallData, TraceExporter};
//! use beluga_o11y_phoenix::PhoenixExporter;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let phoenix = PhoenixExporter::builder().with_project("my-project").build()?; // http://localhost:6006
//! phoenix.export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call becomes a span of kind `LLM` in OpenInference's names, over OTLP.
//!
//! **Phoenix computes the cost itself**, from the model and the tokens and its own table of prices. The
//! [`cost`](beluga_o11y::LLMCallData::cost) of a call arrives as the attribute `llm.cost.total` and is not used for the cost that
//! Phoenix shows; a model that the table does not know has none, until you add it in Phoenix's settings. (Measured with
//! Phoenix 20.26.1.)
//!
//! # Features
//!
//! | feature | TLS |
//! |---|---|
//! | `rustls` (default) | rustls with aws-lc-rs and the certificates that the platform trusts |
//! | `rustls-no-provider` | rustls with the crypto provider that the program installed as its default |
//! | `native-tls` | OpenSSL, Schannel or Secure Transport |
//!
//! # Errors
//!
//! What is wrong with the settings is a [`PhoenixConfigError`] of [`PhoenixExporterBuilder::build`], what went wrong
//! with an export is a [`beluga_o11y::ExportError`], and what [`PhoenixExporter::check`] finds is a
//! [`PhoenixCheckError`].

mod builder;
mod check;
mod config;
mod error;
mod exporter;

pub use builder::PhoenixExporterBuilder;
pub use check::{PhoenixCheck, PhoenixCheckError};
pub use config::{PhoenixConfig, PhoenixConfigError};
pub use exporter::PhoenixExporter;

/// What errors, statistics and file names call this exporter.
const NAME: &str = "phoenix";
