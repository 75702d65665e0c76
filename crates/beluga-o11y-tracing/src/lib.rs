//! Reports the LLM calls of programs that are built on [rig](https://docs.rs/rig), [genai](https://docs.rs/genai) (feature
//! `otel`) or [langchain-rust](https://docs.rs/langchain-rust), without a line of exporter code: [`LlmCallLayer`] is a
//! [`tracing`] layer that turns the GenAI spans of these libraries into records and hands them to any
//! [`CallSink`](beluga_o11y::CallSink).
//!
//! ```
//! use beluga_o11y_tracing::LlmCallLayer;
//! use tracing_subscriber::prelude::*;
//!
//! # let sink = beluga_o11y::InMemoryExporter::new();
//! tracing_subscriber::registry().with(LlmCallLayer::new(sink)).init();
//! ```
//!
//! - Fields that a program puts on spans of its own give session, user, tags and cost.
//! - [`CallScope`] hands over content, token counts and errors that the spans of a library do not carry.

mod builder;
mod context;
mod convert;
mod error;
mod filter;
mod hidden;
mod layer;
pub mod messages;
mod notice;
mod report;
mod reserved;
mod role;
mod scope;
mod span;
mod values;

pub use builder::LlmCallLayerBuilder;
pub use context::TraceContext;
pub use filter::LlmSpans;
pub use layer::{FilteredLlmCallLayer, LlmCallLayer};
pub use report::LayerStats;
pub use scope::CallScope;
