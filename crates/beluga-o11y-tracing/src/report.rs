//! Hands records over.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use beluga_o11y::{CallSink, LLMCallData, Submission};

use crate::{notice, values::guarded};

thread_local! {
    /// Whether this thread hands a record over.
    static SUBMITTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the code that runs is that of a sink or of `with_before_submit`: a call that it makes is not reported, or reporting
/// it would make another, without end.
pub(crate) fn is_submitting() -> bool {
    SUBMITTING.get()
}

/// What was so before, to be so again.
struct Submitting(bool);

impl Submitting {
    fn new() -> Self {
        Self(SUBMITTING.replace(true))
    }
}

impl Drop for Submitting {
    fn drop(&mut self) {
        SUBMITTING.set(self.0);
    }
}

pub(crate) type BeforeSubmit = Arc<dyn Fn(LLMCallData) -> Option<LLMCallData> + Send + Sync>;

/// What became of the calls that a layer has seen: each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerStats {
    /// Taken by the sink.
    pub accepted: u64,
    /// Left out by the sink, which wants only a share.
    pub sampled_out: u64,
    /// Refused by the sink.
    pub refused: u64,
    /// Dropped by the program, with `with_before_submit`.
    pub dropped: u64,
    /// Lost, because `with_before_submit` or the sink panicked, or another layer while it held the span.
    pub panicked: u64,
}

/// Where a layer's records go.
pub(crate) struct Reporter {
    pub(crate) sink: Arc<dyn CallSink>,
    pub(crate) before_submit: Option<BeforeSubmit>,
    /// Whether content is wanted.
    pub(crate) content: bool,
    accepted: AtomicU64,
    sampled_out: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    panicked: AtomicU64,
}

impl Reporter {
    pub(crate) fn new(sink: Arc<dyn CallSink>) -> Self {
        Self {
            sink,
            before_submit: None,
            content: true,
            accepted: AtomicU64::new(0),
            sampled_out: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        }
    }

    /// Runs the program's own code, so it holds no lock and lets no panic out: it may be called while one unwinds.
    pub(crate) fn submit(&self, call: LLMCallData) {
        let submitted = guarded(|| {
            let _submitting = Submitting::new();
            let call = match &self.before_submit {
                Some(before_submit) => before_submit(call)?,
                None => call,
            };
            Some(self.sink.submit(call))
        });
        let count = match submitted {
            Some(Some(Submission::Accepted)) => &self.accepted,
            Some(Some(Submission::SampledOut)) => &self.sampled_out,
            Some(Some(Submission::Refused(refusal))) => {
                notice::once("refused", || {
                    format!("calls are lost, since they are refused: {refusal}")
                });
                &self.refused
            }
            Some(Some(_)) => &self.refused,
            Some(None) => &self.dropped,
            None => {
                notice::once("panicked", || {
                    "calls are lost, since with_before_submit or the sink panicked".to_owned()
                });
                &self.panicked
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// Counts a call that is lost because other code panicked.
    pub(crate) fn lose(&self) {
        self.panicked.fetch_add(1, Relaxed);
    }

    pub(crate) fn stats(&self) -> LayerStats {
        LayerStats {
            accepted: self.accepted.load(Relaxed),
            sampled_out: self.sampled_out.load(Relaxed),
            refused: self.refused.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            panicked: self.panicked.load(Relaxed),
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("before_submit", &self.before_submit.is_some())
            .field("content", &self.content)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
