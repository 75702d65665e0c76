//! Notices when spans are hidden by a global filter.

use std::{
    ptr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use tracing::{
    Dispatch, Metadata,
    callsite::{Callsite, Identifier},
    field::FieldSet,
    level_filters::{LevelFilter, STATIC_MAX_LEVEL},
    metadata::Kind,
    subscriber::Interest,
};

use crate::{notice, role::OPERATION, values::guarded};

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
            Some(file!()),
            Some(line!()),
            // Filters of a program may count on it.
            Some($target),
            FieldSet::new(&[OPERATION], Identifier(&$name)),
            Kind::SPAN,
        ));
    };
}

probe!(RIG, "chat", "rig::completions");
probe!(RIG_AGENT, "chat", "rig::agent_chat");
probe!(GENAI, "genai.chat", "genai::otel::span");
probe!(LANGCHAIN, "llm.generate", "langchain_rust::observability");

static PROBES: [&Probe; 4] = [&RIG, &RIG_AGENT, &GENAI, &LANGCHAIN];

/// Whether a span is not there, and is only asked about.
pub(crate) fn is_probe(metadata: &Metadata<'_>) -> bool {
    PROBES.iter().any(|probe| ptr::eq(metadata, &probe.0))
}

/// Asks every layer about spans as the libraries make them, and says once, on standard error, if none of them will reach this
/// layer. The log cannot be told: it may be behind the same filter.
///
/// `reached` tells, after a question, whether the layer was asked, too: it answers for the layers below it, and then says no for all.
/// Otherwise filters would keep their answers for the next span or event, and get that wrong.
pub(crate) fn warn(dispatch: &Dispatch, reached: &AtomicBool) {
    if STATIC_MAX_LEVEL < LevelFilter::INFO {
        notice::once_beside_the_log(
            "static",
            "no call of rig, genai or langchain-rust will be reported: their spans have level INFO, and \
             a feature of the crate tracing (max_level_.. or release_max_level_..) compiles them out; remove that feature",
        );
        return;
    }
    for probe in PROBES {
        // A panic would leave tracing's list of dispatchers locked for good.
        guarded(|| {
            // An EnvFilter with directives for spans, `rig[chat]=info`, knows only those that it has met.
            let _ = dispatch.register_callsite(&probe.0);
            dispatch.enabled(&probe.0)
        });
    }
    if !reached.load(Relaxed) {
        notice::once_beside_the_log(
            "hidden",
            "no call of rig, genai or langchain-rust will be reported: a global filter hides their spans; filter the other \
             layers instead, as in registry().with(fmt::layer().with_filter(EnvFilter::from_default_env())).with(LlmCallLayer::new(sink)), \
             or let these spans through, and your own: rig=info,genai=info,langchain_rust=info,my_crate=info",
        );
    }
}
