//! Sends LLM calls to [Opik](https://www.comet.com/site/products/opik/), the cloud or one's own.
//!
//! ```no_run
//! use beluga_o11y::{LLMCallData, TraceExporter};
//! use beluga_o11y_opik::OpikExporter;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let opik = OpikExporter::from_env()?;
//! opik.export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call becomes a trace and, because Opik computes tokens and cost from spans, one span of type
//! `llm`. Both are written by Opik's batch endpoints, so sending a call again replaces it.
//!
//! Beside that the same [`OpikExporter`] has what Opik has beyond single calls: datasets
//! ([`get_or_create_dataset`](OpikExporter::get_or_create_dataset)), experiments that run a task over their items
//! ([`OpikExperiment::run`]), feedback scores ([`score_traces`](OpikExporter::score_traces)), and the run of an agent as
//! one trace with its calls and tools nested ([`agent_run`](OpikExporter::agent_run)).
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
//! What is wrong with the settings is an [`OpikConfigError`] of [`OpikExporterBuilder::build`], what went
//! wrong with an export or an agent run is a [`beluga_o11y::ExportError`], with a dataset, an experiment or a score
//! an [`OpikError`], and what [`OpikExporter::check`] finds is an [`OpikCheckError`].

mod agent;
mod ask;
mod auth;
mod bodies;
mod builder;
mod check;
mod config;
mod connection;
mod convert;
mod dataset;
mod error;
mod experiment;
mod exporter;
mod id;
mod opik_error;
mod score;
mod vocabulary;
mod wire;
mod write_report;

pub use agent::{AgentRun, AgentStep};
pub use auth::OpikAuthorization;
pub use builder::OpikExporterBuilder;
pub use check::{OpikCheck, OpikCheckError};
pub use config::{OpikConfig, OpikConfigError};
pub use dataset::{DatasetItem, OpikDataset};
pub use experiment::{
    ExperimentProgress, ExperimentRunner, ExperimentSummary, NewExperiment, OpikExperiment,
    ScoreSummary, TaskError, TaskFailure, TaskOutput, TaskProblem,
};
pub use exporter::OpikExporter;
pub use opik_error::OpikError;
pub use score::FeedbackScore;
pub use write_report::{WriteFailure, WriteReport};

/// What errors, statistics and file names call this exporter.
const NAME: &str = "opik";
