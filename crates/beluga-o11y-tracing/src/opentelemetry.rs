//! Joins records to the traces of tracing-opentelemetry.

use crate::layer::FindContext;

#[cfg(feature = "opentelemetry")]
pub(crate) fn find_context() -> Option<FindContext> {
    use opentelemetry::trace::TraceContextExt;

    use crate::TraceContext;

    Some(std::sync::Arc::new(|span, dispatch| {
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
pub(crate) fn find_context() -> Option<FindContext> {
    None
}
