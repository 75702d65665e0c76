//! Sends LLM calls to any OpenTelemetry backend, or to a Collector, over OTLP: HTTP with protobuf.
//!
//! ```no_run
//! use beluga_o11y::{LLMCallData, TraceExporter};
//! use beluga_o11y_otlp::OtlpExporter;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let otlp = OtlpExporter::from_env()?; // OTEL_EXPORTER_OTLP_ENDPOINT, ..
//! otlp.export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call becomes one span, under the names of OpenInference and of OpenTelemetry's GenAI conventions:
//! [`OtlpConventions`] has the table.
//!
//! The exporters to Langfuse and Phoenix are made of [`OtlpTraces`] with an [`OtlpBackend`] of their own; so can be one
//! to any other backend that takes OTLP and has its own attributes, credentials or errors.
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
//! What is wrong with the settings is an [`OtlpConfigError`] of [`OtlpExporterBuilder::build`], what went wrong with
//! an export is a [`beluga_o11y::ExportError`], and what [`OtlpExporter::check`] finds is an [`OtlpCheckError`].

mod attributes;
mod builder;
mod check;
mod config;
mod conventions;
mod convert;
mod error;
mod exporter;
mod id;
mod messages;
mod nul;
mod parameters;
mod provider;
mod raw;
mod spans;
mod traces;
mod wire;

pub use attributes::Attributes;
pub use builder::OtlpExporterBuilder;
pub use check::{OtlpCheck, OtlpCheckError};
pub use config::{OtlpConfig, OtlpConfigError, parse_pairs};
pub use conventions::OtlpConventions;
pub use error::error_of_answer;
pub use exporter::OtlpExporter;
pub use id::wire_ids;
pub use traces::{OtlpBackend, OtlpTraces};

/// What errors, statistics and file names call this exporter.
const NAME: &str = "otlp";
