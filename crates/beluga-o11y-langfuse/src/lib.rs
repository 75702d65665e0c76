//! Sends LLM calls to [Langfuse](https://langfuse.com), the cloud or one's own.
//!
//! ```no_run
//! use beluga_o11y::{LLMCallData, TraceExporter};
//! use beluga_o11y_langfuse::LangfuseExporter;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let langfuse = LangfuseExporter::from_env()?; // LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY, ..
//! langfuse.export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call becomes an observation of type `generation`. It goes in over OTLP, in the form that Langfuse's own clients
//! use since version 4 of the server (`x-langfuse-ingestion-version: 4`), with what belongs to the trace on every
//! span. A self-hosted server must be 3.30 or newer. The old ingestion API, which servers of version 4
//! refuse, is not spoken.
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
//! What is wrong with the settings is a [`LangfuseConfigError`] of [`LangfuseExporterBuilder::build`], what went wrong
//! with an export is a [`beluga_o11y::ExportError`], and what [`LangfuseExporter::check`] finds is a
//! [`LangfuseCheckError`].

mod builder;
mod check;
mod config;
mod convert;
mod error;
mod exporter;

pub use builder::LangfuseExporterBuilder;
pub use check::{LangfuseCheck, LangfuseCheckError};
pub use config::{LangfuseConfig, LangfuseConfigError};
pub use exporter::LangfuseExporter;

/// What errors, statistics and file names call this exporter.
const NAME: &str = "langfuse";
