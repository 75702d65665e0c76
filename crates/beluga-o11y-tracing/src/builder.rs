//! Sets a layer up.

use std::{fmt, sync::Arc};

use beluga_o11y::{CallSink, LLMCallData};
use tracing::{Dispatch, span};
use tracing_subscriber::filter::Filtered;

use crate::{
    FilteredLlmCallLayer, LlmCallLayer, LlmSpans, TraceContext, context::FindContext,
    report::Reporter,
};

/// Sets an [`LlmCallLayer`] up.
pub struct LlmCallLayerBuilder {
    reporter: Reporter,
    find_context: Option<FindContext>,
}

impl LlmCallLayerBuilder {
    pub(crate) fn new(sink: Arc<dyn CallSink>) -> Self {
        Self {
            reporter: Reporter::new(sink),
            find_context: crate::context::of_opentelemetry(),
        }
    }

    /// Whether records get content: messages, answers, definitions of tools, whether it comes from spans or from a
    /// [`CallScope`](crate::CallScope). Default: `true`, since the libraries themselves put no content on spans unless they are told to.
    ///
    /// Errors keep their message, which may quote what was sent.
    #[must_use]
    pub fn with_content(mut self, content: bool) -> Self {
        self.reporter.content = content;
        self
    }

    /// Passes every record through a function before it is submitted: to price it, to add to it, or, with `None`, to
    /// drop it. Default: none.
    ///
    /// It runs on the thread that closes the span, so it had better be quick, and open no spans: tracing-subscriber never ends a span
    /// that closes while another one does, nor those around it. A call of a model made there is not reported. If it panics, that call is lost, counted
    /// ([`LayerStats::panicked`](crate::LayerStats::panicked)) and warned of once.
    ///
    /// ```
    /// use beluga_o11y_tracing::{FilteredLlmCallLayer, LlmCallLayer};
    ///
    /// # let sink = beluga_o11y::InMemoryExporter::new();
    /// let layer: FilteredLlmCallLayer<tracing_subscriber::Registry> = LlmCallLayer::builder(sink)
    ///     .with_before_submit(|call| match (call.model.as_str(), call.usage.total_tokens()) {
    ///         ("my-finetune", Some(tokens)) => Some(call.with_cost(tokens as f64 * 0.8e-6)),
    ///         ("smoke-test", _) => None,
    ///         _ => Some(call),
    ///     })
    ///     .build();
    /// ```
    #[must_use]
    pub fn with_before_submit(
        mut self,
        before_submit: impl Fn(LLMCallData) -> Option<LLMCallData> + Send + Sync + 'static,
    ) -> Self {
        self.reporter.before_submit = Some(Arc::new(before_submit));
        self
    }

    /// Asks a function where a span stands in a trace that another system keeps; the record then has that trace's id,
    /// and that span as its parent. Default: with the cargo feature `opentelemetry` the one for tracing-opentelemetry 0.34, else none.
    ///
    /// It is asked for the span of the call when that is entered, and for those around it, from the inside to the outside, when it closes.
    /// For another version of tracing-opentelemetry, since 0.32:
    ///
    /// ```
    /// use beluga_o11y_tracing::{FilteredLlmCallLayer, LlmCallLayer, TraceContext};
    /// use opentelemetry::trace::TraceContextExt;
    ///
    /// # let sink = beluga_o11y::InMemoryExporter::new();
    /// # let _: FilteredLlmCallLayer<tracing_subscriber::Registry> =
    /// LlmCallLayer::builder(sink).with_trace_context(|span, dispatch| {
    ///     let context = tracing_opentelemetry::get_otel_context(span, dispatch)?;
    ///     let context = context.span().span_context().clone();
    ///     context.is_valid().then(|| {
    ///         TraceContext::new(context.trace_id().to_string(), context.span_id().to_string())
    ///     })
    /// })
    /// # .build();
    /// ```
    #[must_use]
    pub fn with_trace_context(
        mut self,
        find: impl Fn(&span::Id, &Dispatch) -> Option<TraceContext> + Send + Sync + 'static,
    ) -> Self {
        self.find_context = Some(Arc::new(find));
        self
    }

    /// The layer behind its filter, to be added to a registry.
    pub fn build<S>(self) -> FilteredLlmCallLayer<S> {
        Filtered::new(
            LlmCallLayer::with(self.reporter, self.find_context),
            LlmSpans,
        )
    }
}

impl fmt::Debug for LlmCallLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmCallLayerBuilder")
            .field("reporter", &self.reporter)
            .field("find_context", &self.find_context.is_some())
            .finish()
    }
}
