//! Which spans and events reach the layer.

use tracing::{Metadata, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// The filter in front of [`LlmCallLayer`](crate::LlmCallLayer).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LlmSpans;

impl<S> Filter<S> for LlmSpans {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_span()
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }
}
