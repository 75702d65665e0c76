//! Takes finished LLM calls out of a program's way, and loses none in silence.
//!
//! A [`Pipeline`] goes around any [`TraceExporter`](beluga_o11y::TraceExporter). The program hands calls over from any
//! thread and goes on at once; a thread of the pipeline's own sends them in batches, tries again when the backend is
//! down, and finds the one bad call in a batch. [`Pipeline::stats`] accounts for every call at any time.
//!
//! ```
//! use std::time::Duration;
//!
//! use beluga_o11y::{CallSink, InMemoryExporter, LLMCallData};
//! use beluga_o11y_pipeline::Pipeline;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = InMemoryExporter::new(); // or an OpikExporter
//! let pipeline = Pipeline::builder(backend.clone()).spawn()?;
//!
//! pipeline.submit(LLMCallData::new("openai", "gpt-4o").with_response("Paris"));
//!
//! let report = pipeline.shutdown(Duration::from_secs(5));
//! assert_eq!((report.pending, report.stats.delivered), (0, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - [`submit`](beluga_o11y::CallSink::submit) works on any thread, with any runtime or none, while a value is dropped
//!   and after a runtime has gone. It does not panic, and it does not wait unless [`Overflow::Block`] says so.
//! - At every moment, for every pipeline:
//!   `submitted = accepted + refused + sampled out` and `accepted = delivered + rejected + dropped + pending`. (With a spool,
//!   what earlier processes have left adds to what is accepted.)
//! - A call is sent again until the backend has taken or refused it, with the same id, so that it is stored once.
//! - One bad call costs no other; a dead backend costs no other backend anything.
//! - Memory is bounded in bytes.
//! - [`Pipeline::flush_within`] and [`Pipeline::shutdown`] return within their deadline, whatever the backend does, and
//!   tell the truth.
//!
//! Calls that are still pending when the process ends are gone, unless they are kept on disk: that is the feature `spool`
//! and `with_spool` of [`PipelineBuilder`].
//!
//! # Features
//!
//! `spool`: keeps calls on disk until they are delivered. It builds SQLite, which needs a C compiler.

mod builder;
mod dead_letter;
mod machine;
mod names;
mod panics;
mod pipeline;
mod redact;
mod row;
mod sample;
mod shorten;
mod size;
#[cfg(not(feature = "spool"))]
#[path = "no_spool.rs"]
mod spool;
#[cfg(feature = "spool")]
mod spool;
mod stats;
mod worker;

pub use builder::{Overflow, Oversize, PipelineBuilder, PipelineError};
pub use dead_letter::{DeadLetter, LossReason};
pub use pipeline::{FlushGuard, Pipeline};
#[cfg(feature = "spool")]
pub use spool::{
    Durability, Spool, SpoolDirectory, SpoolError, SpoolFile, SpoolSummary, SpooledCalls,
    SpooledDeadLetter, SpooledDeadLetters,
};
pub use stats::{Dropped, FlushReport, PipelineStats, Refused, SpoolStats};
