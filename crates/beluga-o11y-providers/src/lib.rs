//! The exporters of `beluga-o11y`, each behind a cargo feature of its name, and all that is needed to set them up from the
//! environment.
//!
//! A program that uses this crate names no provider: which one it reports to is decided by a cargo feature and a
//! variable.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use beluga_o11y::{CallSink, LLMCallData};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let providers = beluga_o11y_providers::from_env()?; // BELUGA_O11Y_EXPORTERS=opik,langfuse
//! providers.submit(LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150));
//!
//! for (name, report) in providers.shutdown(Duration::from_secs(5)) {
//!     println!("{name}: {}", report.stats);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Which providers are used
//!
//! | `BELUGA_O11Y_EXPORTERS` | used are |
//! |---|---|
//! | `opik,langfuse` | those; an unknown name, or one whose feature is off, is an error that says what there is |
//! | unset or blank | the one provider that has credentials. Several are an error that lists them. Without any, nothing is sent, and that is said once |
//! | `none` | none: calls are accepted and not sent |
//!
//! Credentials are `OPIK_API_KEY` or `OPIK_URL_OVERRIDE` (or those of `~/.opik.config`), `LANGFUSE_SECRET_KEY`,
//! `PHOENIX_API_KEY` or `PHOENIX_COLLECTOR_ENDPOINT`, `LANGSMITH_API_KEY`. OTLP is used only if it is named, since
//! its variables are there for the program's other telemetry as a rule. What else each provider reads is documented at
//! its builder's `from_env`.
//!
//! # Calls that survive the process
//!
//! With the feature `spool`, `BELUGA_O11Y_SPOOL_DIR` names a directory where calls are kept until they are delivered; see
//! [`with_spool`](PipelineBuilder::with_spool). Each provider has a directory of its own in it. Each program needs one, and so
//! does each that reports to another project.
//!
//! # Features
//!
//! | feature | provider |
//! |---|---|
//! | `opik` (default) | `OpikExporter` |
//! | `langfuse` | `LangfuseExporter` |
//! | `phoenix` | `PhoenixExporter` |
//! | `langsmith` | `LangSmithExporter` |
//! | `otlp` | `OtlpExporter` |
//! | `spool` | of all: calls are on disk until they are delivered |
//! | `rustls` (default), `rustls-no-provider`, `native-tls` | TLS, for all of them |

mod config;
mod error;
mod provider;
mod providers;

pub use error::FromEnvError;
pub use providers::{Providers, from_env, from_env_with, names_from_env};

#[cfg(feature = "langfuse")]
pub use beluga_o11y_langfuse::{self as langfuse, LangfuseExporter};
#[cfg(feature = "langsmith")]
pub use beluga_o11y_langsmith::{self as langsmith, LangSmithExporter};
#[cfg(feature = "opik")]
pub use beluga_o11y_opik::{self as opik, OpikExporter};
#[cfg(feature = "otlp")]
pub use beluga_o11y_otlp::{self as otlp, OtlpExporter};
#[cfg(feature = "phoenix")]
pub use beluga_o11y_phoenix::{self as phoenix, PhoenixExporter};
pub use beluga_o11y_pipeline::{self as pipeline, FlushReport, PipelineBuilder, PipelineStats};
