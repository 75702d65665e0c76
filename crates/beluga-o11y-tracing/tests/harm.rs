//! What the layer must not do to the program, whatever the program, its types and its other layers do.
#![expect(clippy::panic, reason = "tests")]

#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::{
    cell::RefCell,
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use beluga_o11y::{CallSink, InMemoryExporter, LLMCallData, Submission};
use beluga_o11y_tracing::{CallScope, LayerStats, LlmCallLayer};
use support::{Lines, calls_with, one};
use tracing::{
    Dispatch, Span, dispatcher, error,
    field::{Empty, debug},
    info, info_span,
    subscriber::with_default,
    warn,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, filter_fn},
    fmt as log,
    layer::Identity,
    prelude::*,
};

/// A call with an answer.
macro_rules! chat {
    ($($more:tt)*) => {
        info_span!("chat", gen_ai.operation.name = "chat", gen_ai.response.id = "1", $($more)*)
    };
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

struct Panics;

impl fmt::Debug for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("on purpose")
    }
}

/// What became of the calls; `None` without the layer.
fn stats() -> Option<LayerStats> {
    dispatcher::get_default(|all| all.downcast_ref::<LlmCallLayer>().map(LlmCallLayer::stats))
}

/// Takes calls by running a function.
struct Sink<F>(F);

impl<F: Fn() + Send + Sync> CallSink for Sink<F> {
    fn submit_shared(&self, _: Arc<LLMCallData>) -> Submission {
        (self.0)();
        Submission::Accepted
    }
}

/// A log formats what is recorded while it holds the span. If that panics, nobody can get at the span any more.
fn panic_in_the_log(span: &Span) {
    span.record("later", debug(Panics));
}

#[test]
fn a_call_that_is_lost_because_another_layer_panicked_is_counted_and_panics_nowhere_else() {
    let cases: [(&str, fn()); 3] = [
        ("the call closes afterwards", || {
            let call = chat!(later = Empty);
            assert!(catch_unwind(AssertUnwindSafe(|| panic_in_the_log(&call))).is_err());
            drop(call);
        }),
        ("the call closes while it unwinds", || {
            // A second panic would abort the program.
            let panicked = catch_unwind(|| panic_in_the_log(&chat!(later = Empty)));
            assert!(panicked.is_err());
        }),
        ("it was in a span around the call", || {
            let request = info_span!("request", later = Empty).entered();
            assert!(catch_unwind(AssertUnwindSafe(|| panic_in_the_log(&request))).is_err());
            chat!();
        }),
    ];
    // Without the layer, the only panic is that of the log, too.
    for with_layer in [false, true] {
        for (name, case) in cases {
            let layer = if with_layer {
                LlmCallLayer::new(InMemoryExporter::new()).boxed()
            } else {
                Identity::new().boxed()
            };
            let log = log::layer().with_writer(io::sink);
            let all = Registry::default().with(log).with(layer);
            let stats = catch_unwind(AssertUnwindSafe(|| {
                with_default(all, || {
                    case();
                    stats()
                })
            }));
            let stats = stats.unwrap_or_else(|_| panic!("{name}, with the layer: {with_layer}"));
            let lost = stats.map(|stats| (stats.panicked, stats.accepted));
            assert_eq!(lost, with_layer.then_some((1, 0)), "{name}");
        }
    }
}

/// An error that says what its name is, and cannot say what caused it.
#[derive(Debug)]
enum Odd {
    PanicsAsked,
    CausedItself,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for Odd {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::PanicsAsked => panic!("on purpose"),
            Self::CausedItself => Some(&Self::CausedItself),
        }
    }
}

#[test]
fn the_causes_of_an_error_are_read_without_a_panic_and_to_an_end() {
    for (error, begins) in [
        (Odd::PanicsAsked, "PanicsAsked"),
        (Odd::CausedItself, "CausedItself: CausedItself"),
    ] {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let call = one(|| drop(chat!(error = &error as &dyn Error)));
            sender.send(call.error.unwrap().message).unwrap();
        });
        let message = receiver.recv_timeout(Duration::from_secs(10));
        let message = message.unwrap_or_else(|error| panic!("{begins}: {error}"));
        assert!(message.starts_with(begins), "{message}");
    }
}

#[test]
fn what_a_sink_panics_with_may_panic_when_it_is_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("on purpose")
            }
        }
    }
    let all = Registry::default().with(LlmCallLayer::new(Sink(|| panic_any(Bomb))));
    let stats = with_default(all, || {
        chat!();
        stats()
    });
    assert_eq!(stats.unwrap().panicked, 1);
}

#[test]
fn a_call_that_a_hook_or_a_sink_makes_is_not_reported() {
    let by_hook = calls_with(
        |builder| {
            builder.with_before_submit(|call| {
                chat!();
                Some(call)
            })
        },
        || drop(chat!()),
    );
    assert_eq!(by_hook.len(), 1);

    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let sink = Sink(move || {
        counter.fetch_add(1, Relaxed);
        chat!();
    });
    with_default(Registry::default().with(LlmCallLayer::new(sink)), || {
        chat!();
    });
    assert_eq!(taken.load(Relaxed), 1);
}

#[test]
fn a_span_that_closes_while_its_thread_ends_is_reported() {
    thread_local! {
        static SPAN: RefCell<Option<Span>> = const { RefCell::new(None) };
    }
    let sink = InMemoryExporter::new();
    let log = log::layer()
        .with_writer(io::sink)
        .with_filter(LevelFilter::WARN);
    let all = Registry::default()
        .with(log)
        .with(LlmCallLayer::new(sink.clone()));
    let dispatch = Dispatch::new(all);
    // What a thread uses first, it drops last: the span comes before what tracing and the layer keep, or after it.
    for span_is_first in [true, false] {
        let dispatch = dispatch.clone();
        let thread = thread::spawn(move || {
            if span_is_first {
                SPAN.with(|span| drop(span.borrow_mut()));
            }
            dispatcher::with_default(&dispatch, || {
                CallScope::new().in_scope(|| ());
                // Both of its fields are warned of when the call closes.
                let _request = info_span!("request", beluga.unknwn = 1, beluga.cost = -1).entered();
                SPAN.with(|span| *span.borrow_mut() = Some(chat!()));
            });
        });
        thread.join().unwrap();
    }
    assert_eq!(sink.len(), 2);
}

#[test]
fn the_one_of_two_layers_that_wants_no_content_never_gets_that_of_the_other() {
    type Two = fn(InMemoryExporter, InMemoryExporter) -> Boxed;
    macro_rules! without {
        ($sink:expr) => {
            LlmCallLayer::builder($sink).with_content(false).build()
        };
    }
    let cases: [(&str, Two); 4] = [
        ("a list, without first", |without, with| {
            vec![without!(without).boxed(), LlmCallLayer::new(with).boxed()].boxed()
        }),
        ("a list, without last", |without, with| {
            vec![LlmCallLayer::new(with).boxed(), without!(without).boxed()].boxed()
        }),
        ("a tree, without first", |without, with| {
            without!(without).and_then(LlmCallLayer::new(with)).boxed()
        }),
        ("a tree, without last", |without, with| {
            LlmCallLayer::new(with).and_then(without!(without)).boxed()
        }),
    ];
    for (name, two) in cases {
        let (without, with) = (InMemoryExporter::new(), InMemoryExporter::new());
        let all = Registry::default().with(two(without.clone(), with.clone()));
        with_default(all, || {
            let call = chat!(gen_ai.prompt = "SECRET", gen_ai.completion = Empty);
            call.record("gen_ai.completion", "SECRET");
        });
        assert_eq!(without.len() + with.len(), 1, "{name}");
        for call in without.take() {
            let text = serde_json::to_string(&*call).unwrap();
            assert!(!text.contains("SECRET"), "{name}: {text}");
        }
    }
}

#[test]
fn a_filter_may_count_on_the_module_path_of_whatever_it_is_asked_about() {
    let nameless = Arc::new(AtomicBool::new(false));
    let (found, lines) = (Arc::clone(&nameless), Lines::default());
    let own = filter_fn(move |metadata| {
        found.fetch_or(metadata.module_path().is_none(), Relaxed);
        metadata.module_path().unwrap() == module_path!()
    });
    let all = Registry::default()
        .with(LlmCallLayer::new(InMemoryExporter::new()))
        .with(log::layer().with_writer(lines.clone()).with_filter(own));
    with_default(all, || info!("shown"));
    assert!(!nameless.load(Relaxed));
    assert!(lines.text().contains("shown"));
}

#[test]
fn a_value_that_makes_spans_and_events_while_it_is_formatted_costs_no_event() {
    struct Loud;
    impl fmt::Debug for Loud {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            warn!("of the value");
            error!("of the value");
            let span = info_span!("of the value", beluga.user.id = "x").entered();
            span.record("beluga.user.id", "y");
            Span::current().record("later", "z");
            f.write_str("loud")
        }
    }
    for log_is_first in [true, false] {
        let (sink, lines) = (InMemoryExporter::new(), Lines::default());
        let llm = LlmCallLayer::new(sink.clone());
        let log = log::layer()
            .with_writer(lines.clone())
            .with_filter(LevelFilter::WARN);
        let both = if log_is_first {
            log.and_then(llm).boxed()
        } else {
            llm.and_then(log).boxed()
        };
        with_default(Registry::default().with(both), || {
            let call = chat!(a = ?Loud, later = Empty).entered();
            call.record("later", debug(Loud));
            info!("HIDDEN");
            warn!("shown in the call");
            drop(call);
            info!("HIDDEN");
            warn!("shown after it");
            chat!();
            info!("HIDDEN");
            warn!("shown after another");
        });
        assert_eq!(sink.len(), 2);
        let text = lines.text();
        for shown in ["in the call", "after it", "after another"] {
            assert!(text.contains(&format!("shown {shown}")), "{text}");
        }
        // Nor does it let the log see an event or a span that it does not want.
        assert!(!text.contains("HIDDEN") && !text.contains("chat"), "{text}");
    }
}
