//! Notices when spans are hidden by a global filter.

use tracing::{
    Dispatch, Metadata,
    callsite::{Callsite, Identifier},
    field::FieldSet,
    level_filters::{LevelFilter, STATIC_MAX_LEVEL},
    metadata::Kind,
    subscriber::Interest,
};

use crate::{notice, role::OPERATION};

/// Spans as the libraries make them, to ask about.
struct Probe(Metadata<'static>);

impl Callsite for Probe {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &self.0
    }
}

macro_rules! probe {
    ($name:ident, $span:literal, $target:literal) => {
        static $name: Probe = Probe(Metadata::new(
            $span,
            $target,
            tracing::Level::INFO,
            None,
            None,
            None,
            FieldSet::new(&[OPERATION], Identifier(&$name)),
            Kind::SPAN,
        ));
    };
}

probe!(RIG, "chat", "rig::completions");
probe!(RIG_AGENT, "chat", "rig::agent_chat");
probe!(GENAI, "genai.chat", "genai::otel::span");
probe!(LANGCHAIN, "llm.generate", "langchain_rust::observability");

/// Says once, on standard error, if none of the spans that the layer is there for will reach it.
///
/// The log cannot be told: it may be behind the same filter.
pub(crate) fn warn(dispatch: &Dispatch) {
    if STATIC_MAX_LEVEL < LevelFilter::INFO {
        notice::once_beside_the_log(
            "static",
            "no LLM call will be reported: the spans of rig, genai and langchain-rust have level INFO, and \
             a feature of the crate tracing (max_level_.. or release_max_level_..) compiles them out; remove that feature",
        );
        return;
    }
    let probes = [&RIG, &RIG_AGENT, &GENAI, &LANGCHAIN];
    if !probes.iter().any(|probe| dispatch.enabled(&probe.0)) {
        notice::once_beside_the_log(
            "hidden",
            "no LLM call will be reported: a global filter hides the spans of rig, genai and langchain-rust; filter the other \
             layers instead, as in registry().with(fmt::layer().with_filter(EnvFilter::from_default_env())).with(LlmCallLayer::new(sink)), \
             or let these spans through: rig=info,genai=info,langchain_rust=info",
        );
    }
}
