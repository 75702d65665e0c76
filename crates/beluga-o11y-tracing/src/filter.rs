//! Which spans and events reach the layer.

use tracing::{Level, Metadata, subscriber::Interest};
use tracing_subscriber::{
    filter::LevelFilter,
    layer::{Context, Filter},
};

use crate::role::Role;

/// The filter in front of [`LlmCallLayer`](crate::LlmCallLayer): it lets through what the layer reads, and is asked for nobody
/// else.
///
/// - spans with the field `gen_ai.operation.name`, whatever their name, target and level,
/// - spans of langchain-rust, known by target and name,
/// - spans with a field whose name begins with `beluga.`,
/// - events of level ERROR, which tell why a call failed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LlmSpans;

impl LlmSpans {
    fn wants(metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            Role::of(metadata).is_some()
        } else {
            *metadata.level() == Level::ERROR
        }
    }
}

impl<S> Filter<S> for LlmSpans {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) {
            // Not always: where all filters say that, none is asked, and tracing-subscriber takes the answers that they gave to
            // the last question, as `log_enabled!` and `enabled!` leave them behind. An event would be lost, for every layer.
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    // Levels are the business of whoever makes a span.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}
