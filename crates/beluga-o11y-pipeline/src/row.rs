//! Where on disk a call is.

use std::sync::Arc;

use beluga_o11y::LLMCallData;

/// A call in the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Arc<LLMCallData>,
    /// Where it is on disk, if it may be there.
    pub(crate) row: Option<Row>,
}

/// Where on disk a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) file: u32,
    pub(crate) id: i64,
    /// It was there before it was accepted, and not only perhaps.
    pub(crate) durable: bool,
}
