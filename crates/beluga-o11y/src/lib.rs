//! Reports finished LLM calls to the observability platforms that people use.

mod error;

pub use error::{ExportError, ExportErrorKind, MAX_SNIPPET_BYTES};
