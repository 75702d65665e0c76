//! Reports finished LLM calls to the observability platforms that people use: one record, one trait, many backends.
//!
//! This crate is the core, without HTTP and without a runtime:
//!
//! - [`LLMCallData`] is the record of one finished call, [`Usage`] its token counts, made from the
//!   raw answers of the providers, and [`CallGuard`] measures a call while it is made.
//! - [`TraceExporter`] is the door to a backend. One function makes an exporter.
//! - [`CallSink`] is the door for programs that do not want to wait.
//! - [`MultiExporter`] and [`FanOut`] serve several backends, [`InMemoryExporter`] serves tests.
//! - [`ExportError`] says what happened and, with its [`kind`](ExportError::kind), what to do.
//!
//! Crates beside it talk to backends, `beluga-o11y-opik` to [Opik](https://www.comet.com/site/products/opik/), and
//! `beluga-o11y-pipeline` takes calls out of the program's way: it queues, batches and tries again.

mod call_error;
mod error;
mod exporter;
mod guard;
mod json;
mod memory;
mod multi;
mod record;
mod record_json;
mod sink;
mod usage;

/// For `impl TraceExporter`, so that an exporter needs no other crate.
pub use async_trait::async_trait;
pub use call_error::CallError;
pub use error::{ExportError, ExportErrorKind, MAX_SNIPPET_BYTES};
pub use exporter::{BatchFailure, BatchReport, TraceExporter};
pub use guard::CallGuard;
pub use json::{Json, JsonError, MAX_JSON_DEPTH};
pub use memory::InMemoryExporter;
pub use multi::MultiExporter;
pub use record::{InvalidCall, LLMCallData};
pub use sink::{CallSink, FanOut, Refusal, Submission};
pub use usage::Usage;
