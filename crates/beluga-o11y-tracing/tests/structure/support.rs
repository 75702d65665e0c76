//! The stage on which calls are made, and what is asked of their records.

use std::{collections::BTreeSet, future::Future, mem, sync::Arc, thread, time::Duration};

use beluga_o11y::{CallError, InMemoryExporter, LLMCallData};
use beluga_o11y_tracing::LlmCallLayer;
use tokio::{runtime, task::yield_now};
use tracing::{
    Dispatch, Instrument, Span, Subscriber, dispatcher, field::Empty, info_span, span::Id,
};
use tracing_subscriber::{Layer, Registry, prelude::*};

pub(crate) type Call = Arc<LLMCallData>;

/// Switches on every span, as a layer that writes a log does. Without one, spans that are nobody's do not exist.
struct Everything;

impl<S: Subscriber> Layer<S> for Everything {}

/// A registry with the layer, and what it reported.
pub(crate) struct Stage {
    sink: InMemoryExporter,
    pub(crate) dispatch: Dispatch,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let sink = InMemoryExporter::new();
        let registry = Registry::default()
            .with(Everything)
            .with(LlmCallLayer::new(sink.clone()));
        Self {
            sink,
            dispatch: Dispatch::new(registry),
        }
    }

    /// With nothing else in the registry.
    pub(crate) fn bare() -> Self {
        let sink = InMemoryExporter::new();
        let registry = Registry::default().with(LlmCallLayer::new(sink.clone()));
        Self {
            sink,
            dispatch: Dispatch::new(registry),
        }
    }

    /// Runs on this thread alone.
    pub(crate) fn on_one_thread<T>(&self, future: impl Future<Output = T>) -> T {
        self.run(runtime::Builder::new_current_thread(), future)
    }

    /// Runs with three threads besides this one.
    pub(crate) fn on_threads<T>(&self, future: impl Future<Output = T>) -> T {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(3);
        self.run(builder, future)
    }

    fn run<T>(&self, mut builder: runtime::Builder, future: impl Future<Output = T>) -> T {
        let dispatch = self.dispatch.clone();
        let runtime = builder
            .enable_time()
            // For as long as the thread lives.
            .on_thread_start(move || mem::forget(dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        let _default = dispatcher::set_default(&self.dispatch);
        runtime.block_on(async {
            // Only so that a test which would hang fails.
            let limit = Duration::from_secs(60);
            let done = tokio::time::timeout(limit, future).await;
            done.expect("a test without end")
        })
    }

    /// Runs on a thread that no runtime knows, to its end.
    pub(crate) fn on_a_thread<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let run = || dispatcher::with_default(&self.dispatch, run);
            scope.spawn(run).join().unwrap()
        })
    }

    pub(crate) fn reported(&self) -> usize {
        self.sink.len()
    }

    /// The records of these calls. There must be no other, and none twice; one has an error exactly if its name says so.
    #[track_caller]
    pub(crate) fn calls<const N: usize>(&self, names: [&str; N]) -> [Call; N] {
        let calls = self.sink.take();
        let mut reported: Vec<_> = calls.iter().map(|call| call.model.as_str()).collect();
        let mut made = names.to_vec();
        reported.sort_unstable();
        made.sort_unstable();
        assert_eq!(reported, made, "each call is reported once");
        for call in &calls {
            well_formed(call);
            errs_as_named(call);
        }
        let find = |name: &str| calls.iter().find(|call| call.model == name).cloned();
        names.map(|name| find(name).unwrap())
    }
}

/// Plays a scenario on both kinds of runtime, and looks at the records of its calls, in the order of their names.
#[track_caller]
pub(crate) fn each<const N: usize>(
    scenario: impl AsyncFn(),
    names: [&str; N],
    check: impl Fn([Call; N]),
) {
    let stage = Stage::new();
    stage.on_one_thread(scenario());
    check(stage.calls(names));
    let stage = Stage::new();
    stage.on_threads(scenario());
    check(stage.calls(names));
}

#[track_caller]
fn well_formed(call: &LLMCallData) {
    let is_hex = |id: &str, digits: usize| {
        let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        id.len() == digits && id.chars().all(digit)
    };
    let (trace, parent) = (call.trace_id.as_deref(), call.parent_span_id.as_deref());
    assert!(trace.is_none_or(|id| is_hex(id, 32)), "{trace:?}");
    assert!(parent.is_none_or(|id| is_hex(id, 16)), "{parent:?}");
    assert!(parent.is_none() || trace.is_some(), "a parent in no trace");
}

#[track_caller]
fn errs_as_named(call: &LLMCallData) {
    let name = &call.model;
    let kind = call.error.as_ref().map(|error| error.kind.as_deref());
    let inferred = call.metadata.contains_key("error_inferred");
    let expected = match name {
        name if name.starts_with("cancelled") => (Some(None), true),
        name if name.starts_with("panicked") => (Some(Some(CallError::PANIC)), false),
        _ => (None, false),
    };
    assert_eq!((kind, inferred), expected, "the error of {name}");
}

/// The trace that all of them are in.
#[track_caller]
pub(crate) fn trace<'a>(calls: &[&'a Call]) -> &'a str {
    one(calls, |call| call.trace_id.as_deref(), "trace")
}

/// The parent that all of them have.
#[track_caller]
pub(crate) fn parent<'a>(calls: &[&'a Call]) -> &'a str {
    one(calls, |call| call.parent_span_id.as_deref(), "parent")
}

#[track_caller]
fn one<'a>(calls: &[&'a Call], id: impl Fn(&'a Call) -> Option<&'a str>, what: &str) -> &'a str {
    let ids: BTreeSet<_> = calls.iter().map(|call| id(call)).collect();
    match ids.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(one)] => one,
        several => panic!("no one {what}, but {several:?}"),
    }
}

#[track_caller]
pub(crate) fn without_parent(calls: &[&Call]) {
    for call in calls {
        assert_eq!(call.parent_span_id, None, "the parent of {}", call.model);
    }
}

/// Below one user span: one trace, and no parent, since such a span is not reported.
#[track_caller]
pub(crate) fn flat<'a>(calls: &[&'a Call]) -> &'a str {
    without_parent(calls);
    trace(calls)
}

/// Neither in a trace nor below anything.
#[track_caller]
pub(crate) fn alone(call: &Call) {
    let ids = (&call.trace_id, &call.parent_span_id);
    assert_eq!(ids, (&None, &None), "the ids of {}", call.model);
}

/// Ids of which no two are the same.
#[track_caller]
pub(crate) fn apart(ids: &[&str]) {
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
}

macro_rules! chat {
    ($name:expr $(, parent: $parent:expr)?) => {
        info_span!(
            $(parent: $parent,)?
            "chat",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = $name,
            gen_ai.response.id = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
        )
    };
}

/// The span of a call, as a library opens it: below the current span. Its model tells it from others.
pub(crate) fn open(name: &str) -> Span {
    chat!(name)
}

/// Below the span with this id, whatever the current one is; without an id it is a root.
pub(crate) fn open_in(parent: Option<Id>, name: &str) -> Span {
    chat!(name, parent: parent)
}

/// What a library records when an answer came.
pub(crate) fn answered(span: &Span) {
    span.record("gen_ai.response.id", "resp-1")
        .record("gen_ai.usage.input_tokens", 3_u64)
        .record("gen_ai.usage.output_tokens", 2_u64);
}

/// A call as a library makes it: others run while it waits.
pub(crate) async fn call(name: &str) {
    let span = open(name);
    let answer = async {
        yield_now().await;
        answered(&Span::current());
    };
    answer.instrument(span).await;
}

/// One that never gets an answer; it tells when it waits.
pub(crate) async fn stuck_call(name: &str, waits: &tokio::sync::Notify) {
    let span = open(name);
    let answer = async {
        waits.notify_one();
        std::future::pending::<()>().await;
    };
    answer.instrument(span).await;
}

/// A span of the program itself.
pub(crate) fn request() -> Span {
    info_span!("request")
}

pub(crate) fn agent() -> Span {
    info_span!(
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "planner"
    )
}

pub(crate) fn tool() -> Span {
    info_span!(
        "execute_tool",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = "search"
    )
}
