//! The providers, by name.

use std::error::Error;

use beluga_o11y::TraceExporter;
use beluga_o11y_pipeline::{Pipeline, PipelineBuilder};

use crate::FromEnvError;

/// A provider that is compiled in.
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    /// Whether the environment has what only this provider needs. OTLP's variables are there for other telemetry.
    pub(crate) has_credentials: fn() -> bool,
    pub(crate) make: fn() -> Result<Made, Box<dyn Error + Send + Sync>>,
}

/// An exporter in its pipeline, not started yet.
pub(crate) struct Made {
    /// Where it sends to, for people.
    pub(crate) destination: String,
    pub(crate) pipeline: PipelineBuilder,
}

impl Made {
    #[cfg_attr(
        not(any(
            feature = "langfuse",
            feature = "langsmith",
            feature = "opik",
            feature = "otlp",
            feature = "phoenix"
        )),
        expect(dead_code, reason = "without any provider there is nothing to make")
    )]
    fn new(exporter: impl TraceExporter + 'static, destination: String) -> Self {
        Self {
            destination,
            pipeline: Pipeline::builder(exporter),
        }
    }
}

const ALL: &[&str] = &["opik", "langfuse", "phoenix", "langsmith", "otlp"];

const COMPILED_IN: &[Provider] = &[
    #[cfg(feature = "opik")]
    Provider {
        name: "opik",
        has_credentials: || opik::OpikExporter::builder().from_env().has_credentials(),
        make: opik,
    },
    #[cfg(feature = "langfuse")]
    Provider {
        name: "langfuse",
        has_credentials: || {
            langfuse::LangfuseExporter::builder()
                .from_env()
                .has_credentials()
        },
        make: langfuse,
    },
    #[cfg(feature = "phoenix")]
    Provider {
        name: "phoenix",
        has_credentials: || {
            phoenix::PhoenixExporter::builder()
                .from_env()
                .has_credentials()
        },
        make: phoenix,
    },
    #[cfg(feature = "langsmith")]
    Provider {
        name: "langsmith",
        has_credentials: || {
            langsmith::LangSmithExporter::builder()
                .from_env()
                .has_credentials()
        },
        make: langsmith,
    },
    #[cfg(feature = "otlp")]
    Provider {
        name: "otlp",
        has_credentials: || false,
        make: otlp,
    },
];

pub(crate) fn compiled_in() -> impl Iterator<Item = &'static Provider> {
    COMPILED_IN.iter()
}

/// The provider of that name, in lower case.
pub(crate) fn find(name: &str) -> Result<&'static Provider, FromEnvError> {
    const MAX_CHARS: usize = 40;
    if let Some(provider) = compiled_in().find(|provider| provider.name == name) {
        return Ok(provider);
    }
    match ALL.iter().find(|known| **known == name) {
        Some(name) => Err(FromEnvError::NotCompiledIn {
            name,
            compiled_in: compiled_in().map(|provider| provider.name).collect(),
        }),
        None => Err(FromEnvError::Unknown {
            name: name
                .chars()
                .take(MAX_CHARS)
                .flat_map(char::escape_debug)
                .collect(),
            known: ALL.to_vec(),
        }),
    }
}

#[cfg(feature = "opik")]
use beluga_o11y_opik as opik;
#[cfg(feature = "opik")]
fn opik() -> Result<Made, Box<dyn Error + Send + Sync>> {
    let exporter = opik::OpikExporter::from_env()?;
    let destination = exporter.config().to_string();
    Ok(Made::new(exporter, destination))
}

#[cfg(feature = "langfuse")]
use beluga_o11y_langfuse as langfuse;
#[cfg(feature = "langfuse")]
fn langfuse() -> Result<Made, Box<dyn Error + Send + Sync>> {
    let exporter = langfuse::LangfuseExporter::from_env()?;
    let config = exporter.config().clone();
    let mut made = Made::new(exporter, config.to_string());
    // Langfuse's variables for what its own clients do and here a pipeline does.
    if let Some(rate) = config.sample_rate {
        made.pipeline = made.pipeline.with_sample_rate(rate);
    }
    if let Some(calls) = config.flush_at {
        made.pipeline = made.pipeline.with_max_batch_size(calls);
    }
    if let Some(delay) = config.flush_interval {
        made.pipeline = made.pipeline.with_max_batch_delay(delay);
    }
    Ok(made)
}

#[cfg(feature = "phoenix")]
use beluga_o11y_phoenix as phoenix;
#[cfg(feature = "phoenix")]
fn phoenix() -> Result<Made, Box<dyn Error + Send + Sync>> {
    let exporter = phoenix::PhoenixExporter::from_env()?;
    let destination = exporter.config().to_string();
    Ok(Made::new(exporter, destination))
}

#[cfg(feature = "langsmith")]
use beluga_o11y_langsmith as langsmith;
#[cfg(feature = "langsmith")]
fn langsmith() -> Result<Made, Box<dyn Error + Send + Sync>> {
    let exporter = langsmith::LangSmithExporter::from_env()?;
    let config = exporter.config();
    let destination = config.to_string();
    let sample_rate = config.sample_rate;
    let mut made = Made::new(exporter, destination);
    if let Some(rate) = sample_rate {
        made.pipeline = made.pipeline.with_sample_rate(rate);
    }
    Ok(made)
}

#[cfg(feature = "otlp")]
use beluga_o11y_otlp as otlp;
#[cfg(feature = "otlp")]
fn otlp() -> Result<Made, Box<dyn Error + Send + Sync>> {
    let exporter = otlp::OtlpExporter::from_env()?;
    let destination = exporter.config().to_string();
    Ok(Made::new(exporter, destination))
}
