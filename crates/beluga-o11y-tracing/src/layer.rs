//! The layer.

use std::sync::Arc;

use beluga_o11y::CallSink;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::Filtered, registry::LookupSpan};

use crate::{LlmCallLayerBuilder, LlmSpans};

/// An [`LlmCallLayer`] behind its filter, as it is added to a registry.
pub type FilteredLlmCallLayer<S> = Filtered<LlmCallLayer, LlmSpans, S>;

/// Where a span stands in a trace that another system keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The span, 16 hexadecimal digits.
    pub span_id: String,
}

impl TraceContext {
    /// From both ids.
    pub fn new(trace_id: impl Into<String>, span_id: impl Into<String>) -> Self {
        Self {
            trace_id: trace_id.into(),
            span_id: span_id.into(),
        }
    }
}

/// Turns GenAI spans into records.
#[derive(Debug)]
pub struct LlmCallLayer {}

impl LlmCallLayer {
    /// With the defaults.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a layer without its filter would switch on every span there is"
    )]
    pub fn new<S>(sink: impl CallSink + 'static) -> FilteredLlmCallLayer<S> {
        Self::builder(sink).build()
    }

    /// Sets one up.
    pub fn builder(sink: impl CallSink + 'static) -> LlmCallLayerBuilder {
        LlmCallLayerBuilder::new(Arc::new(sink))
    }
}

impl<S> Layer<S> for LlmCallLayer where S: Subscriber + for<'span> LookupSpan<'span> {}
