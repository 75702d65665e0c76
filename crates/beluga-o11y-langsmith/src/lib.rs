//! Sends LLM calls to [LangSmith](https://www.langchain.com/langsmith), the cloud or one's own.
//!
//! ```no_run
//! use beluga_o11y::{LLMCallData, TraceExporter};
//! use beluga_o11y_langsmith::LangSmithExporter;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let langsmith = LangSmithExporter::from_env()?;
//! langsmith.export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call becomes one run of type `llm`, finished, at the root of a trace of its own. It goes to
//! `POST /runs/batch`, because LangSmith's other door, OTLP, has no documented place for cost.
//!
//! # What is known of LangSmith
//!
//! Its server is closed source, and no account was used: what is said here about what it takes comes from
//! its documentation, from the source of its own Python client (`langsmith` 0.15.0), and from answers that
//! others quoted in public issues. Nothing was measured against it, so "sent" is never "shown".
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
//! What is wrong with the settings is a [`LangSmithConfigError`] of [`LangSmithExporterBuilder::build`], what
//! went wrong with an export is a [`beluga_o11y::ExportError`], and what [`LangSmithExporter::check`] finds is
//! a [`LangSmithCheckError`].

mod builder;
mod check;
mod config;
mod content;
mod convert;
mod error;
mod exporter;
mod id;
mod integers;
mod parameters;
mod runs;
mod vocabulary;
mod wire;

pub use builder::LangSmithExporterBuilder;
pub use check::{LangSmithCheck, LangSmithCheckError};
pub use config::{LangSmithConfig, LangSmithConfigError};
pub use exporter::LangSmithExporter;

/// What errors, statistics and file names call this exporter.
const NAME: &str = "langsmith";
