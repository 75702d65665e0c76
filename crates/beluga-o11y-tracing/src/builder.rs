//! Sets a layer up.

use std::{fmt, sync::Arc};

use beluga_o11y::{CallSink, LLMCallData};
use tracing::{Dispatch, span};
use tracing_subscriber::filter::Filtered;

use crate::{FilteredLlmCallLayer, LlmCallLayer, LlmSpans, TraceContext};

/// Sets up an [`LlmCallLayer`].
pub struct LlmCallLayerBuilder {
    #[expect(dead_code, reason = "to come")]
    sink: Arc<dyn CallSink>,
}

impl LlmCallLayerBuilder {
    pub(crate) fn new(sink: Arc<dyn CallSink>) -> Self {
        Self { sink }
    }

    /// Whether records get content: messages, answers, definitions of tools. Default: `true`.
    #[must_use]
    pub fn with_content(self, _content: bool) -> Self {
        self
    }

    /// Passes every record through a function before it is submitted: to price it, to change it, or to drop it (`None`).
    #[must_use]
    pub fn with_before_submit(
        self,
        _hook: impl Fn(LLMCallData) -> Option<LLMCallData> + Send + Sync + 'static,
    ) -> Self {
        self
    }

    /// Where a span stands in a trace kept elsewhere.
    #[must_use]
    pub fn with_trace_context(
        self,
        _find: impl Fn(&span::Id, &Dispatch) -> Option<TraceContext> + Send + Sync + 'static,
    ) -> Self {
        self
    }

    /// The layer behind its filter, to be added to a registry.
    pub fn build<S>(self) -> FilteredLlmCallLayer<S> {
        Filtered::new(LlmCallLayer {}, LlmSpans)
    }
}

impl fmt::Debug for LlmCallLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmCallLayerBuilder").finish_non_exhaustive()
    }
}
