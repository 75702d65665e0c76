//! Joins records to the traces of another system.

use std::sync::Arc;

use tracing::{Dispatch, span};

/// Where a span stands in a trace that another system keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span: 16 hexadecimal digits.
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

/// Finds the context of a span.
pub(crate) type FindContext =
    Arc<dyn Fn(&span::Id, &Dispatch) -> Option<TraceContext> + Send + Sync>;

/// That of tracing-opentelemetry.
#[cfg(feature = "opentelemetry")]
pub(crate) fn of_opentelemetry() -> Option<FindContext> {
    use opentelemetry::trace::TraceContextExt;

    Some(Arc::new(|span, dispatch| {
        let context = tracing_opentelemetry::get_otel_context(span, dispatch)?;
        let context = context.span().span_context().clone();
        context.is_valid().then(|| {
            TraceContext::new(
                context.trace_id().to_string(),
                context.span_id().to_string(),
            )
        })
    }))
}

#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn of_opentelemetry() -> Option<FindContext> {
    None
}
