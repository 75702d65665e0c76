//! Sends LLM calls to [Opik](https://www.comet.com/site/products/opik/).
mod auth;
mod builder;
mod check;
mod config;
mod convert;
mod error;
mod exporter;
mod id;
mod vocabulary;
mod wire;

pub use auth::OpikAuthorization;
pub use builder::OpikExporterBuilder;
pub use check::{OpikCheck, OpikCheckError};
pub use config::{OpikConfig, OpikConfigError};
pub use exporter::OpikExporter;

/// What errors, statistics and file names call this exporter.
const NAME: &str = "opik";
