//! The layer and the filters of others: neither hides anything from the other.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use beluga_o11y::InMemoryExporter;
use beluga_o11y_tracing::{LlmCallLayer, LlmSpans};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::{Callsite, Identifier},
    debug, debug_span, dispatcher, enabled, error, event_enabled,
    field::{Empty, FieldSet},
    info, info_span,
    metadata::Kind,
    span, span_enabled,
    subscriber::{Interest, with_default},
    trace_span, warn,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, Targets, dynamic_filter_fn, filter_fn},
    fmt,
    layer::Context,
    prelude::*,
    registry::LookupSpan,
    reload,
};

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;
type Named<S> = (&'static str, fn(Ear) -> Boxed<S>);

/// The level of a process, and which filters are asked at all, depend on all of its subscribers.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer that notes all that it is told.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl Ear {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn events(&self) -> usize {
        let heard = self.heard();
        heard
            .iter()
            .filter(|what| what.starts_with("event"))
            .count()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, all: Context<'_, S>) {
        let around = all.lookup_current().map(|span| span.name());
        self.note(format!(
            "new {} in {around:?}",
            attributes.metadata().name()
        ));
    }

    fn on_record(&self, id: &span::Id, _: &span::Record<'_>, all: Context<'_, S>) {
        self.note(format!("record {}", all.span(id).unwrap().name()));
    }

    fn on_event(&self, event: &Event<'_>, all: Context<'_, S>) {
        let scope = all.event_scope(event).into_iter().flatten();
        let scope: Vec<_> = scope.map(|span| span.name()).collect();
        let (level, line) = (event.metadata().level(), event.metadata().line());
        self.note(format!("event {level} {line:?} in {scope:?}"));
    }

    fn on_enter(&self, id: &span::Id, all: Context<'_, S>) {
        self.note(format!("enter {}", all.span(id).unwrap().name()));
    }

    fn on_exit(&self, id: &span::Id, all: Context<'_, S>) {
        self.note(format!("exit {}", all.span(id).unwrap().name()));
    }

    fn on_close(&self, id: span::Id, all: Context<'_, S>) {
        self.note(format!("close {}", all.span(&id).unwrap().name()));
    }
}

const KINDS: usize = 21;

/// Other layers, with filters of every kind.
fn kinds<S: Subscriber + for<'a> LookupSpan<'a>>() -> [Named<S>; KINDS] {
    [
        ("no filter", |ear| ear.boxed()),
        ("WARN", |ear| ear.with_filter(LevelFilter::WARN).boxed()),
        ("OFF", |ear| ear.with_filter(LevelFilter::OFF).boxed()),
        ("EnvFilter", |ear| ear.with_filter(env("warn")).boxed()),
        ("EnvFilter of a span", |ear| {
            ear.with_filter(env("warn,[request]=debug")).boxed()
        }),
        ("EnvFilter of a value", |ear| {
            ear.with_filter(env("warn,[request{id=1}]=debug")).boxed()
        }),
        ("EnvFilter of calls", |ear| {
            let filter = env("off,rig::completions[chat]=trace,[step{x}]=debug");
            ear.with_filter(filter).boxed()
        }),
        ("EnvFilter of a reserved field", |ear| {
            let filter = env("error,[{beluga.user.id=u}]=trace");
            ear.with_filter(filter).boxed()
        }),
        ("Targets", |ear| {
            let targets = Targets::new().with_target("rig", LevelFilter::TRACE);
            let targets = targets.with_default(LevelFilter::WARN);
            ear.with_filter(targets).boxed()
        }),
        ("function", |ear| {
            let filter = filter_fn(|m| m.name() != "step" && *m.level() <= Level::INFO);
            ear.with_filter(filter).boxed()
        }),
        ("function of the span around", |ear| {
            let filter = dynamic_filter_fn(|metadata, all| {
                let around = all.lookup_current();
                *metadata.level() <= Level::WARN
                    || around.is_some_and(|span| span.name() == "request")
            });
            ear.with_filter(filter).boxed()
        }),
        ("or", |ear| {
            let filter = LevelFilter::ERROR.or(filter_fn(|metadata| metadata.is_span()));
            ear.with_filter(filter).boxed()
        }),
        ("not", |ear| {
            let filter = FilterExt::<S>::not(LevelFilter::WARN);
            ear.with_filter(filter).boxed()
        }),
        ("filter that can be replaced", |ear| {
            let filter = reload::Layer::new(LevelFilter::INFO).0;
            ear.with_filter(filter).boxed()
        }),
        ("optional", |ear| {
            Some(ear.with_filter(LevelFilter::INFO)).boxed()
        }),
        ("filter behind a filter", |ear| {
            let filtered = ear.with_filter(LevelFilter::INFO);
            filtered.with_filter(env("debug,[step]=off")).boxed()
        }),
        ("two filters side by side", |ear| {
            let other = ear.clone().with_filter(LevelFilter::INFO);
            other
                .and_then(ear.with_filter(env("warn,[chat]=trace")))
                .boxed()
        }),
        // Global in a stack: nobody sees that the layer in it has a filter of its own.
        ("layer that can be replaced", |ear| {
            let filtered = ear.with_filter(LevelFilter::WARN);
            reload::Layer::new(filtered).0.boxed()
        }),
        // Global in a stack: beside a layer that is not there, its level is that of all.
        ("beside no layer", |ear| {
            let filtered = ear.with_filter(LevelFilter::DEBUG);
            Layer::and_then(None::<LevelFilter>, filtered).boxed()
        }),
        ("global EnvFilter", |ear| env("info").and_then(ear).boxed()),
        ("global level", |ear| {
            let filtered = ear.with_filter(LevelFilter::WARN);
            LevelFilter::INFO.and_then(filtered).boxed()
        }),
    ]
}

fn name(kind: usize) -> &'static str {
    kinds::<Registry>()[kind].0
}

fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(kind: usize, ear: &Ear) -> Boxed<S> {
    kinds()[kind].1(ear.clone())
}

fn env(directives: &str) -> EnvFilter {
    EnvFilter::new(directives)
}

/// Global filters hide calls from the layer, as documented. What others hear under one changes with any layer that has a filter,
/// for tracing-subscriber then asks where it took one answer for all.
fn is_global(how: How, kind: &str) -> bool {
    let only_in_a_stack = ["layer that can be replaced", "beside no layer"];
    kind.starts_with("global") || (matches!(how, How::Stack) && only_in_a_stack.contains(&kind))
}

/// Spans and events of all kinds, with six calls among them.
fn program() {
    error!("first");
    for id in 0..3 {
        let request = info_span!("request", beluga.user.id = "u", id, later = Empty);
        let entered = request.enter();
        info!("in the request");
        debug!("in the request");
        warn!("in the request");
        let step = info_span!("step", x = 1).entered();
        let chat = trace_span!(
            target: "rig::completions",
            "chat",
            gen_ai.operation.name = "chat",
            gen_ai.response.id = Empty,
        );
        chat.in_scope(|| {
            info!("in the call");
            debug!("in the call");
            error!("in the call");
            let _inner = debug_span!("inner").entered();
            debug!("in a span of the call");
        });
        chat.record("gen_ai.response.id", "1");
        request.record("later", 1);
        drop(chat);
        info!("after the call");
        debug!("after the call");
        drop(step);
        debug!("after the step");
        info_span!(
            target: "rig::completions",
            "another chat",
            gen_ai.operation.name = "chat",
            gen_ai.response.id = "2",
        );
        debug!("after another call");
        drop(entered);
        info!("after the request");
        error!("after the request");
    }
}

/// How layers come into a registry.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Each by a `with` of its own.
    Stack,
    /// All in a `Vec`.
    List,
}

/// The layer, or one that does nothing behind the same filter.
#[derive(Clone, Copy)]
enum Third<'a> {
    Llm(&'a InMemoryExporter),
    Idle,
}

struct Idle;

impl<S: Subscriber> Layer<S> for Idle {}

impl Third<'_> {
    fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(self) -> Boxed<S> {
        match self {
            Self::Llm(sink) => LlmCallLayer::new(sink.clone()).boxed(),
            Self::Idle => Idle.with_filter(LlmSpans::default()).boxed(),
        }
    }
}

/// What two layers of some kinds hear of the program, alone or with a third at a place among them.
fn heard(how: How, [a, b]: [usize; 2], third: Option<(usize, Third<'_>)>) -> [Vec<String>; 2] {
    let ears = [Ear::default(), Ear::default()];
    let [first, second] = &ears;
    let none = Registry::default();
    match (how, third) {
        (How::Stack, None) => {
            let all = none.with(layer(a, first)).with(layer(b, second));
            with_default(all, program);
        }
        (How::Stack, Some((0, third))) => {
            let all = none.with(third.layer()).with(layer(a, first));
            with_default(all.with(layer(b, second)), program);
        }
        (How::Stack, Some((1, third))) => {
            let all = none.with(layer(a, first)).with(third.layer());
            with_default(all.with(layer(b, second)), program);
        }
        (How::Stack, Some((_, third))) => {
            let all = none.with(layer(a, first)).with(layer(b, second));
            with_default(all.with(third.layer()), program);
        }
        (How::List, third) => {
            let mut layers = vec![layer(a, first), layer(b, second)];
            if let Some((place, third)) = third {
                layers.insert(place, third.layer());
            }
            with_default(none.with(layers), program);
        }
    }
    ears.map(|ear| ear.heard())
}

/// Where two layers began to hear something else.
fn difference(with: &[String], without: &[String]) -> Option<String> {
    let longer = with.len().max(without.len());
    let at = (0..longer).find(|&at| with.get(at) != without.get(at))?;
    Some(format!(
        "hears {:?} instead of {:?}, as number {at} of {}",
        with.get(at),
        without.get(at),
        without.len()
    ))
}

#[test]
fn two_other_layers_hear_the_same_with_this_one_at_any_place() {
    let _alone = alone();
    let mut wrong = Vec::new();
    let pairs = (0..KINDS).flat_map(|a| (0..KINDS).map(move |b| [a, b]));
    let pairs = pairs.flat_map(|pair| [How::Stack, How::List].map(|how| (how, pair)));
    for (how, pair) in pairs {
        let names = pair.map(name);
        let has_global = names.into_iter().any(|kind| is_global(how, kind));
        let without = heard(how, pair, None);
        for place in 0..3 {
            let stack = format!("{how:?} of {names:?}, this one at {place}");
            let sink = InMemoryExporter::new();
            let with = heard(how, pair, Some((place, Third::Llm(&sink))));
            if with != without
                && (!has_global || with != heard(how, pair, Some((place, Third::Idle))))
            {
                for ((name, with), without) in names.iter().zip(&with).zip(&without) {
                    if let Some(difference) = difference(with, without) {
                        wrong.push(format!("{stack}: {name} {difference}"));
                    }
                }
            }
            if sink.len() != 6 && !has_global {
                wrong.push(format!("{stack}: {} of 6 records", sink.len()));
            }
        }
    }
    let first = wrong
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(wrong.is_empty(), "{} are wrong:\n{first}", wrong.len());
}

/// Asks whether things are enabled, or not, between some events.
fn events(asks: bool) {
    let ask = |question: fn() -> bool| asks && question();
    ask(|| enabled!(Level::INFO));
    error!("after a question");
    ask(|| event_enabled!(Level::DEBUG));
    error!("after one about an event");
    ask(|| span_enabled!(Level::INFO));
    error!("after one about a span");
    warn!("after an event");
    ask(|| enabled!(Level::ERROR));
    info!("after one about another level");
    error!("after an event");
    warn!("after an event");
    ask(|| enabled!(Level::INFO));
    info_span!("request", beluga.user.id = "u").in_scope(|| {
        info_span!("chat", gen_ai.operation.name = "chat");
        warn!("in a span");
    });
}

/// By itself, tracing-subscriber loses some: a filter's answer to a question is taken for that to the next event.
#[test]
fn questions_whether_something_is_enabled_cost_no_other_layer_an_event() {
    let _alone = alone();
    for kind in 0..KINDS {
        let (unasked, asked) = (Ear::default(), Ear::default());
        with_default(Registry::default().with(layer(kind, &unasked)), || {
            events(false);
        });
        let sink = InMemoryExporter::new();
        let all = Registry::default()
            .with(layer(kind, &asked))
            .with(LlmCallLayer::new(sink.clone()));
        with_default(all, || events(true));
        let kind = name(kind);
        assert_eq!(asked.events(), unasked.events(), "{kind}");
        assert!(sink.len() == 1 || is_global(How::Stack, kind), "{kind}");
    }
}

/// What tracing-log asks for `log_enabled!(Debug)`.
#[test]
fn a_question_of_the_log_crate_costs_no_other_layer_an_event() {
    struct Asked(Metadata<'static>);
    impl Callsite for Asked {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &self.0
        }
    }
    static ASKED: Asked = Asked(Metadata::new(
        "log record",
        "hyper",
        Level::DEBUG,
        None,
        None,
        None,
        FieldSet::new(&[], Identifier(&ASKED)),
        Kind::EVENT,
    ));
    let ask = || {
        if LevelFilter::current() >= LevelFilter::DEBUG {
            dispatcher::get_default(|all| all.enabled(&ASKED.0));
        }
    };
    let _alone = alone();
    let (ear, sink) = (Ear::default(), InMemoryExporter::new());
    let all = Registry::default()
        .with(ear.clone().with_filter(LevelFilter::INFO))
        .with(LlmCallLayer::new(sink.clone()));
    with_default(all, || {
        ask();
        error!("an error");
        ask();
        warn!("a warning");
        ask();
        info_span!("chat", gen_ai.operation.name = "chat");
    });
    let heard = ear.heard();
    assert_eq!(ear.events(), 2, "{heard:?}");
    assert!(
        heard.iter().any(|what| what.starts_with("new chat")),
        "{heard:?}"
    );
    assert_eq!(sink.len(), 1);
}

#[test]
fn with_a_level_of_its_own_it_raises_that_of_the_program_no_further() {
    let _alone = alone();
    let sink = InMemoryExporter::new();
    let log = fmt::layer()
        .with_writer(io::sink)
        .with_filter(LevelFilter::WARN);
    let all = Registry::default()
        .with(log)
        .with(LlmCallLayer::new(sink.clone()).with_filter(LevelFilter::INFO));
    with_default(all, || {
        assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        let _request = info_span!("request", beluga.session.id = "s").entered();
        info_span!("chat", gen_ai.operation.name = "chat");
        debug_span!("chat", gen_ai.operation.name = "chat");
    });
    let calls = sink.take();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].session_id.as_deref(), Some("s"));
}

#[test]
#[should_panic = "fmt::Subscriber does not currently support filters"]
fn the_finished_log_of_tracing_subscriber_takes_no_layer_with_a_filter() {
    let _ = fmt::fmt()
        .finish()
        .with(LlmCallLayer::new(InMemoryExporter::new()));
}
