//! What the tests share.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use beluga_o11y::{InMemoryExporter, Json, LLMCallData};
use beluga_o11y_tracing::{LlmCallLayer, LlmCallLayerBuilder};
use serde_json::Value;
use tracing::Subscriber;
use tracing_subscriber::{Registry, fmt::MakeWriter, prelude::*};

/// The records of the calls that are made while something runs.
pub(crate) fn calls(run: impl FnOnce()) -> Vec<LLMCallData> {
    calls_with(|builder| builder, run)
}

/// The same, with a layer that is set up.
pub(crate) fn calls_with(
    set_up: impl FnOnce(LlmCallLayerBuilder) -> LlmCallLayerBuilder,
    run: impl FnOnce(),
) -> Vec<LLMCallData> {
    calls_under(
        |sink| Registry::default().with(set_up(LlmCallLayer::builder(sink)).build()),
        run,
    )
}

/// The same, below other layers, too.
pub(crate) fn calls_under<S: Subscriber + Send + Sync + 'static>(
    subscriber: impl FnOnce(InMemoryExporter) -> S,
    run: impl FnOnce(),
) -> Vec<LLMCallData> {
    let sink = InMemoryExporter::new();
    tracing::subscriber::with_default(subscriber(sink.clone()), run);
    let calls = sink.take().into_iter();
    calls.map(Arc::unwrap_or_clone).collect()
}

/// The only one.
pub(crate) fn one(run: impl FnOnce()) -> LLMCallData {
    match <[LLMCallData; 1]>::try_from(calls(run)) {
        Ok([call]) => call,
        Err(calls) => panic!("{} records instead of one", calls.len()),
    }
}

/// Content, read back.
pub(crate) fn value(content: &Option<Json>) -> Value {
    let content = content.as_ref();
    content.map_or(Value::Null, |content| content.read().unwrap())
}

/// A log that is kept.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
