//! The door that a finished call is handed in at.

use std::{fmt, sync::Arc};

use crate::{CallGuard, InvalidCall, LLMCallData};

/// Takes finished calls and returns at once.
///
/// It may be called from any thread, with or without a runtime, also while a value is dropped or a
/// panic unwinds: an implementation does not panic, and blocks only if it was configured to.
pub trait CallSink: Send + Sync {
    /// Hands a call over without copying it, for several sinks to share.
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission;

    /// Hands a call over.
    fn submit(&self, call: LLMCallData) -> Submission {
        self.submit_shared(Arc::new(call))
    }

    /// Starts to measure a call that is about to be made; its end is submitted here.
    ///
    /// ```
    /// use beluga_o11y::{CallSink, InMemoryExporter, Usage};
    ///
    /// let sink = InMemoryExporter::new();
    /// let mut call = sink.start("anthropic", "claude-sonnet-4-5");
    /// call.partial("Par");
    /// call.partial("is");
    /// call.finish(Usage::new(12, 2));
    ///
    /// assert_eq!(sink.calls()[0].response.as_ref().unwrap().as_str(), "\"Paris\"");
    /// ```
    fn start(&self, provider: impl Into<String>, model: impl Into<String>) -> CallGuard
    where
        Self: Clone + Sized + 'static,
    {
        CallGuard::new(Arc::new(self.clone()), provider, model)
    }
}

/// What became of a call that was handed over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Submission {
    /// It was taken.
    Accepted,
    /// It was not taken, because only a share of the calls is wanted and it is not one of them.
    SampledOut,
    /// It was not taken, and will not arrive anywhere.
    Refused(Refusal),
}

impl Submission {
    /// Whether the call was taken.
    pub fn is_accepted(&self) -> bool {
        *self == Self::Accepted
    }
}

/// Why a call was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No backend can take it.
    #[error(transparent)]
    Invalid(#[from] InvalidCall),
    /// There is no memory left for it: calls are made faster than the backend takes them.
    #[error(
        "the queue is full: the backend takes calls more slowly than they are made, or not at all"
    )]
    Full,
    /// By itself it is larger than all the memory that there is for calls.
    #[error("the call has {bytes} bytes, the queue takes at most {limit}")]
    TooLarge {
        /// What it takes up.
        bytes: usize,
        /// The most that one call may take up.
        limit: usize,
    },
    /// What it was handed to has been shut down.
    #[error("handed over after the shutdown")]
    Closed,
    /// It was made by the very thread that sends calls: to take it could go round for ever.
    #[error("a call made by the thread that sends calls; forward calls with export_llm_call")]
    OwnTraffic,
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: CallSink + ?Sized> CallSink for $pointer {
            fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
                (**self).submit_shared(call)
            }

            fn submit(&self, call: LLMCallData) -> Submission {
                (**self).submit(call)
            }
        }
    )*};
}

forward!(Arc<S>, Box<S>);

/// Hands every call to several sinks, which share the one record.
///
/// The answer is the first one that is not [`Submission::Accepted`], in the order of registration.
///
/// ```
/// use beluga_o11y::{CallSink, FanOut, InMemoryExporter, LLMCallData};
///
/// let (a, b) = (InMemoryExporter::new(), InMemoryExporter::new());
/// let both = FanOut::new().with(a.clone()).with(b.clone());
/// assert!(both.submit(LLMCallData::new("openai", "gpt-4o")).is_accepted());
/// assert_eq!((a.len(), b.len()), (1, 1));
/// ```
#[derive(Clone, Default)]
pub struct FanOut {
    sinks: Vec<Arc<dyn CallSink>>,
}

impl FanOut {
    /// One that hands calls to nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sink, after those already there.
    #[must_use]
    pub fn with(mut self, sink: impl CallSink + 'static) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }
}

impl CallSink for FanOut {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        self.sinks
            .iter()
            .map(|sink| sink.submit_shared(Arc::clone(&call)))
            .fold(Submission::Accepted, |first, next| match first {
                Submission::Accepted => next,
                refused => refused,
            })
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("sinks", &self.sinks.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryExporter;

    #[test]
    fn fan_out_shares_one_record_and_tells_of_the_first_refusal() {
        let (a, b) = (InMemoryExporter::new(), InMemoryExporter::new());
        let both = FanOut::new().with(a.clone()).with(Arc::new(b.clone()));
        assert!(both.submit(LLMCallData::new("p", "m")).is_accepted());
        assert!(Arc::ptr_eq(&a.calls()[0], &b.calls()[0]));

        let submission = both.submit(LLMCallData::new("p", "m").with_cost(f64::NAN));
        assert_eq!(
            submission,
            Submission::Refused(Refusal::Invalid(InvalidCall::CostNotFinite))
        );
        assert_eq!((a.len(), b.len()), (1, 1));
    }
}
