//! Records joined to the traces of the real tracing-opentelemetry.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use beluga_o11y::{InMemoryExporter, LLMCallData};
use beluga_o11y_tracing::{FilteredLlmCallLayer, LlmCallLayer, LlmCallLayerBuilder, TraceContext};
use opentelemetry::{
    Context,
    trace::{
        SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
        noop::NoopTracer,
    },
};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracer, SdkTracerProvider, SpanData,
};
use tokio::{runtime, task::JoinSet};
use tracing::{Dispatch, Instrument, Metadata, Span, dispatcher, field::Empty, info_span};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::{Layer, Registry, filter::filter_fn, prelude::*};

const REMOTE_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const REMOTE_SPAN: &str = "b7ad6b7169203331";

/// Which of the two layers is nearer to the registry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    OtelFirst,
    OtelLast,
}

const ORDERS: [Order; 2] = [Order::OtelFirst, Order::OtelLast];

/// How the layer comes to know the traces of the other.
#[derive(Clone, Copy, Debug)]
enum Join {
    /// By the cargo feature.
    ByItself,
    /// By a function that the program gives.
    ByHand,
}

const JOINS: [Join; 2] = [Join::ByItself, Join::ByHand];

/// Any stack in which the two layers stand in either order.
fn each(test: impl Fn(&dyn Fn(Setup) -> Stage)) {
    for order in ORDERS {
        for join in JOINS {
            test(&|setup| Stage::new(order, join, setup));
        }
    }
}

/// What of the other layer is not as usual.
#[derive(Clone, Copy, Default)]
struct Setup {
    /// Which spans it sees, if not all.
    sees: Option<fn(&Metadata<'_>) -> bool>,
    unsampled: bool,
    /// Whether it leaves OpenTelemetry's own current span alone.
    inactive: bool,
}

fn as_usual() -> Setup {
    Setup::default()
}

struct Stage {
    order: Order,
    sink: InMemoryExporter,
    exporter: InMemorySpanExporter,
    /// Exports spans for as long as it lives.
    _provider: SdkTracerProvider,
    dispatch: Dispatch,
}

fn provider(setup: Setup) -> (InMemorySpanExporter, SdkTracerProvider) {
    let exporter = InMemorySpanExporter::default();
    let sampler = match setup.unsampled {
        true => Sampler::AlwaysOff,
        false => Sampler::AlwaysOn,
    };
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_sampler(sampler)
        .build();
    (exporter, provider)
}

fn otel<S>(provider: &SdkTracerProvider, setup: Setup) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer: OpenTelemetryLayer<S, SdkTracer> =
        OpenTelemetryLayer::new(provider.tracer("test")).with_context_activation(!setup.inactive);
    layer.with_filter(filter_fn(move |metadata| {
        setup.sees.is_none_or(|sees| sees(metadata))
    }))
}

fn by_hand(builder: LlmCallLayerBuilder) -> LlmCallLayerBuilder {
    builder.with_trace_context(|span, dispatch| {
        let context = tracing_opentelemetry::get_otel_context(span, dispatch)?;
        let context = context.span().span_context().clone();
        context.is_valid().then(|| {
            TraceContext::new(
                context.trace_id().to_string(),
                context.span_id().to_string(),
            )
        })
    })
}

fn ours<S>(join: Join, sink: &InMemoryExporter) -> FilteredLlmCallLayer<S> {
    let builder = LlmCallLayer::builder(sink.clone());
    match join {
        Join::ByItself => builder.build(),
        Join::ByHand => by_hand(builder).build(),
    }
}

impl Stage {
    fn new(order: Order, join: Join, setup: Setup) -> Self {
        let sink = InMemoryExporter::new();
        let (exporter, provider) = provider(setup);
        let registry = Registry::default();
        let dispatch = match order {
            Order::OtelFirst => {
                let registry = registry.with(otel(&provider, setup));
                Dispatch::new(registry.with(ours(join, &sink)))
            }
            Order::OtelLast => {
                let registry = registry.with(ours(join, &sink));
                Dispatch::new(registry.with(otel(&provider, setup)))
            }
        };
        Self {
            order,
            sink,
            exporter,
            _provider: provider,
            dispatch,
        }
    }

    /// The other layer by itself.
    fn without_ours(setup: Setup) -> Self {
        let (exporter, provider) = provider(setup);
        let dispatch = Dispatch::new(Registry::default().with(otel(&provider, setup)));
        Self {
            order: Order::OtelFirst,
            sink: InMemoryExporter::new(),
            exporter,
            _provider: provider,
            dispatch,
        }
    }

    fn play(&self, run: impl FnOnce()) {
        dispatcher::with_default(&self.dispatch, run);
    }

    /// The records of these calls, of which there must be no other.
    #[track_caller]
    fn calls<const N: usize>(&self, names: [&str; N]) -> [Arc<LLMCallData>; N] {
        let calls = self.sink.take();
        let mut reported: Vec<_> = calls.iter().map(|call| call.model.as_str()).collect();
        let mut made = names.to_vec();
        reported.sort_unstable();
        made.sort_unstable();
        assert_eq!(reported, made);
        names.map(|name| {
            calls
                .iter()
                .find(|call| call.model == name)
                .unwrap()
                .clone()
        })
    }

    fn exported(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    /// The one span that was exported under this name; calls are exported under that of their model.
    #[track_caller]
    fn span(&self, name: &str) -> SpanData {
        let mut spans = self.exported();
        spans.retain(|span| span.name == name);
        assert_eq!(spans.len(), 1, "spans of the name {name}");
        spans.remove(0)
    }

    /// The call stands in the trace of that exported span, and below it.
    #[track_caller]
    fn is_below(&self, call: &LLMCallData, name: &str) {
        let exported = self.span(name).span_context;
        assert_eq!(
            ids(call),
            (
                Some(hex(exported.trace_id())),
                Some(hex(exported.span_id()))
            )
        );
    }
}

fn hex(id: impl ToString) -> String {
    id.to_string()
}

fn ids(call: &LLMCallData) -> (Option<String>, Option<String>) {
    (call.trace_id.clone(), call.parent_span_id.clone())
}

/// The span of a call, exported under the name of its model.
fn open(name: &str) -> Span {
    info_span!(
        "chat",
        otel.name = name,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = name,
        gen_ai.response.id = Empty,
        gen_ai.usage.input_tokens = Empty,
    )
}

fn answered(span: &Span) {
    span.record("gen_ai.response.id", "resp-1")
        .record("gen_ai.usage.input_tokens", 3_u64);
}

/// A call whose answer is recorded in the span, as libraries do.
fn call(name: &str) {
    let span = open(name);
    span.in_scope(|| answered(&Span::current()));
}

fn request() -> Span {
    info_span!("request")
}

fn agent() -> Span {
    info_span!("agent", gen_ai.operation.name = "invoke_agent")
}

fn remote() -> Context {
    let context = SpanContext::new(
        TraceId::from_hex(REMOTE_TRACE).unwrap(),
        SpanId::from_hex(REMOTE_SPAN).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    Context::new().with_remote_span_context(context)
}

#[test]
fn a_record_has_the_ids_of_the_exported_span_of_its_call() {
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            call("alone");
            request().in_scope(|| {
                call("a");
                agent().in_scope(|| call("b"));
            });
        });
        let [alone, a, b] = stage.calls(["alone", "a", "b"]);
        stage.is_below(&alone, "alone");
        stage.is_below(&a, "a");
        stage.is_below(&b, "b");
        assert_eq!(a.trace_id, b.trace_id);
        assert_eq!(
            a.trace_id,
            Some(hex(stage.span("request").span_context.trace_id()))
        );
        assert_ne!(a.trace_id, alone.trace_id);
    });
}

#[test]
fn calls_in_tasks_are_joined_as_well() {
    each(|stage| {
        let stage = stage(as_usual());
        let dispatch = stage.dispatch.clone();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // For as long as the thread lives.
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        let names = ["a", "b", "c", "d", "e", "f"];
        let all = async {
            let mut tasks = JoinSet::new();
            for name in names {
                let made = async move {
                    tokio::task::yield_now().await;
                    answered(&Span::current());
                };
                tasks.spawn(made.instrument(open(name)));
            }
            tasks.join_all().await;
        };
        stage.play(|| {
            let request = request();
            let all = request.in_scope(|| all.instrument(agent()));
            runtime.block_on(all);
        });
        drop(runtime);
        let calls = stage.calls(names);
        for call in &calls {
            stage.is_below(call, &call.model);
        }
    });
}

#[test]
fn where_the_span_of_a_call_is_filtered_out_the_nearest_exported_around_it_counts() {
    each(|stage| {
        let stage = stage(Setup {
            sees: Some(|metadata| metadata.name() != "chat" && metadata.name() != "agent"),
            ..as_usual()
        });
        stage.play(|| {
            request().in_scope(|| {
                call("a");
                info_span!("inner").in_scope(|| agent().in_scope(|| call("b")));
            });
            call("alone");
            agent().in_scope(|| call("c"));
        });
        let [a, b, alone, c] = stage.calls(["a", "b", "alone", "c"]);
        stage.is_below(&a, "request");
        stage.is_below(&b, "inner");
        assert_eq!(a.trace_id, b.trace_id);
        // Of these, nothing is exported: the ids are the layer's own, as without the other.
        assert_eq!(ids(&alone), (None, None));
        assert!(c.trace_id.is_some() && c.parent_span_id.is_some());
        assert_eq!(stage.exported().len(), 2);
    });
}

#[test]
fn a_trace_that_is_not_sampled_has_its_ids_all_the_same() {
    // They are what other services and logs know the request by.
    each(|stage| {
        let stage = stage(Setup {
            unsampled: true,
            ..as_usual()
        });
        let mut known = None;
        stage.play(|| {
            let request = request();
            request.in_scope(|| {
                call("a");
                call("b");
            });
            known = Some(hex(request.context().span().span_context().trace_id()));
        });
        let [a, b] = stage.calls(["a", "b"]);
        assert!(stage.exported().is_empty());
        assert_eq!(a.trace_id, known);
        assert_eq!(b.trace_id, known);
        assert!(a.parent_span_id.is_some() && a.parent_span_id != b.parent_span_id);
    });
}

#[test]
fn a_remote_parent_gives_its_trace() {
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            let request = request();
            request.set_parent(remote()).unwrap();
            request.in_scope(|| {
                call("a");
                agent().in_scope(|| call("b"));
            });
            // Also on the span of a call itself, until it is entered.
            let span = open("c");
            span.set_parent(remote()).unwrap();
            span.in_scope(|| answered(&span));
        });
        let [a, b, c] = stage.calls(["a", "b", "c"]);
        for call in [&a, &b, &c] {
            assert_eq!(call.trace_id.as_deref(), Some(REMOTE_TRACE));
            stage.is_below(call, &call.model);
        }
        let request = stage.span("request");
        assert_eq!(hex(request.parent_span_id), REMOTE_SPAN);
    });
}

#[test]
fn a_remote_parent_counts_where_the_span_of_a_call_is_filtered_out() {
    each(|stage| {
        let stage = stage(Setup {
            sees: Some(|metadata| metadata.name() == "request"),
            ..as_usual()
        });
        stage.play(|| {
            let request = request();
            request.set_parent(remote()).unwrap();
            request.in_scope(|| call("a"));
        });
        let [a] = stage.calls(["a"]);
        assert_eq!(a.trace_id.as_deref(), Some(REMOTE_TRACE));
        stage.is_below(&a, "request");
    });
}

#[test]
fn a_call_that_is_never_entered_is_joined_as_far_as_can_be_known() {
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            request().in_scope(|| answered(&open("a")));
            answered(&open("alone"));
        });
        let [a, alone] = stage.calls(["a", "alone"]);
        match stage.order {
            // The other layer has let go of the span by then; those around it, it still knows.
            Order::OtelFirst => {
                stage.is_below(&a, "request");
                assert_eq!(ids(&alone), (None, None));
            }
            Order::OtelLast => {
                stage.is_below(&a, "a");
                stage.is_below(&alone, "alone");
            }
        }
        let trace = hex(stage.span("request").span_context.trace_id());
        assert_eq!(a.trace_id, Some(trace));
    });
}

#[test]
fn a_call_that_outlives_the_span_around_it_is_joined() {
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            let span = request().in_scope(|| open("a"));
            span.in_scope(|| answered(&span));
            drop(span);
        });
        let [a] = stage.calls(["a"]);
        stage.is_below(&a, "a");
        assert_eq!(
            a.trace_id,
            Some(hex(stage.span("request").span_context.trace_id()))
        );
    });
}

#[test]
fn without_activation_of_contexts_records_are_joined_too() {
    each(|stage| {
        let stage = stage(Setup {
            inactive: true,
            ..as_usual()
        });
        stage.play(|| {
            call("alone");
            request().in_scope(|| call("a"));
        });
        let [alone, a] = stage.calls(["alone", "a"]);
        stage.is_below(&alone, "alone");
        stage.is_below(&a, "a");
    });
}

#[test]
fn without_the_other_layer_the_ids_are_our_own() {
    for join in JOINS {
        let sink = InMemoryExporter::new();
        let dispatch = Dispatch::new(Registry::default().with(ours(join, &sink)));
        dispatcher::with_default(&dispatch, || {
            call("alone");
            agent().in_scope(|| {
                call("a");
                call("b");
            });
            agent().in_scope(|| call("c"));
        });
        let calls = sink.take();
        let [alone, a, b, c] = calls.as_slice() else {
            unreachable!("four calls, not {}", calls.len());
        };
        assert_eq!(ids(alone), (None, None));
        assert_eq!(ids(a), ids(b));
        assert!(a.trace_id.is_some() && a.trace_id != c.trace_id);
        assert!(a.parent_span_id.is_some() && a.parent_span_id != c.parent_span_id);
    }
}

#[test]
fn a_tracer_that_gives_no_ids_leaves_ours() {
    for join in JOINS {
        let sink = InMemoryExporter::new();
        let registry = Registry::default()
            .with(OpenTelemetryLayer::new(NoopTracer::new()))
            .with(ours(join, &sink));
        dispatcher::with_default(&Dispatch::new(registry), || {
            call("alone");
            agent().in_scope(|| call("a"));
        });
        let calls = sink.take();
        let [alone, a] = calls.as_slice() else {
            unreachable!("two calls, not {}", calls.len());
        };
        assert_eq!(ids(alone), (None, None));
        let zeros = |id: &Option<String>| id.as_deref().is_none_or(|id| id.starts_with("00000000"));
        assert!(!zeros(&a.trace_id) && !zeros(&a.parent_span_id));
    }
}

#[test]
fn a_given_trace_wins() {
    const GIVEN: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            let given = info_span!("given", beluga.trace.id = GIVEN);
            given.set_parent(remote()).unwrap();
            given.in_scope(|| {
                call("a");
                agent().in_scope(|| call("b"));
            });
        });
        let [a, b] = stage.calls(["a", "b"]);
        // Their parents are not of the other system's trace either.
        assert_eq!(ids(&a), (Some(GIVEN.to_owned()), None));
        assert_eq!(b.trace_id.as_deref(), Some(GIVEN));
        let exported: Vec<_> = stage.exported();
        assert!(
            exported
                .iter()
                .all(|span| Some(hex(span.span_context.span_id())) != b.parent_span_id)
        );
        assert!(b.parent_span_id.is_some());
    });
}

#[test]
fn a_call_in_a_call_is_joined_once() {
    each(|stage| {
        let stage = stage(as_usual());
        stage.play(|| {
            let wrapper = open("wrapper");
            wrapper.in_scope(|| {
                call("a");
                answered(&wrapper);
            });
        });
        let [a] = stage.calls(["a"]);
        stage.is_below(&a, "a");
        let wrapper = stage.span("wrapper").span_context.span_id();
        assert_eq!(stage.span("a").parent_span_id, wrapper);
    });
}

/// What was exported, without that which differs from run to run: by name, the names above it, the id of a remote parent,
/// kind, status, attributes, events and links.
fn shape(spans: &[SpanData]) -> BTreeMap<String, String> {
    let by_id: BTreeMap<_, _> = spans
        .iter()
        .map(|span| (span.span_context.span_id().to_string(), span))
        .collect();
    let name = |id: SpanId| match by_id.get(&id.to_string()) {
        Some(span) => span.name.to_string(),
        None => id.to_string(),
    };
    let shapes = spans.iter().map(|span| {
        let mut path = vec![name(span.parent_span_id)];
        let mut above = by_id.get(&span.parent_span_id.to_string());
        while let Some(span) = above {
            path.push(name(span.parent_span_id));
            above = by_id.get(&span.parent_span_id.to_string());
        }
        let attributes = span
            .attributes
            .iter()
            // Times and threads are those of a run.
            .map(|pair| (pair.key.to_string(), pair.value.to_string()))
            .filter(|(key, _)| !key.starts_with("thread.") && key != "busy_ns" && key != "idle_ns")
            .collect::<Vec<_>>();
        let events: Vec<_> = span
            .events
            .iter()
            .map(|event| (&event.name, &event.attributes))
            .collect();
        let links: Vec<_> = span
            .links
            .iter()
            .map(|link| name(link.span_context.span_id()))
            .collect();
        let (kind, status) = (&span.span_kind, &span.status);
        let shape = format!("{path:?} {kind:?} {status:?} {attributes:?} {events:?} {links:?}");
        (span.name.to_string(), shape)
    });
    let shapes: BTreeMap<_, _> = shapes.collect();
    assert_eq!(shapes.len(), spans.len(), "each span has a name of its own");
    shapes
}

/// All that programs do with spans.
fn everything() {
    call("alone");
    answered(&open("never entered"));
    let request = request();
    request.set_parent(remote()).unwrap();
    request.in_scope(|| {
        let agent = agent();
        agent.in_scope(|| {
            let first = open("first");
            first.in_scope(|| {
                tracing::error!("the first try failed");
                answered(&first);
            });
            let tool = info_span!("tool", gen_ai.operation.name = "execute_tool");
            tool.follows_from(&first);
            let second = open("second");
            second.follows_from(&tool);
            drop(first);
            tool.in_scope(|| call("in the tool"));
            second.set_attribute("own", "attribute");
            second.in_scope(|| answered(&second));
            // What comes before a span is entered may still be changed.
            let late = open("late");
            // Not where nobody enables it.
            let _ = late.set_parent(remote());
            late.record("gen_ai.response.id", "early");
            late.in_scope(|| answered(&late));
        });
        // Enclosing, but never entered itself.
        let unentered = info_span!("unentered");
        let below = info_span!(parent: &unentered, "below", gen_ai.operation.name = "chat");
        below.in_scope(|| {});
        drop(below);
        unentered.set_attribute("own", "attribute");
    });
    info_span!("failed", otel.kind = "client", otel.status_code = "ERROR").in_scope(|| {
        let failed = info_span!(
            "call",
            otel.name = "failed call",
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            otel.status_code = "error",
            error.type = "429",
        );
        drop(failed.entered());
    });
}

#[test]
fn joining_changes_nothing_that_the_other_layer_exports() {
    let hides_calls: fn(&Metadata<'_>) -> bool = |metadata| metadata.name() != "chat";
    for setup in [
        as_usual(),
        Setup {
            inactive: true,
            ..as_usual()
        },
        Setup {
            sees: Some(hides_calls),
            ..as_usual()
        },
        Setup {
            unsampled: true,
            ..as_usual()
        },
    ] {
        let alone = Stage::without_ours(setup);
        alone.play(everything);
        let expected = shape(&alone.exported());
        assert_eq!(expected.is_empty(), setup.unsampled);
        each(|stage| {
            let stage = stage(setup);
            stage.play(everything);
            assert_eq!(shape(&stage.exported()), expected);
            assert_eq!(stage.sink.len(), 8, "calls are reported all the same");
        });
    }
}
