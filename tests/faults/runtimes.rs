//! Every place that a pipeline may be used in.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use beluga_o11y::{CallSink, Refusal, Submission, TraceExporter};
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Fault;
use tokio::runtime::{Builder, Runtime};

use crate::{alone, support::*};

type Make = Box<dyn FnOnce() -> Pipeline + Send>;
type Use = Box<dyn FnOnce(Pipeline) + Send>;
/// Makes a pipeline and uses it, somewhere.
type Place = fn(Make, Use);

const PLACES: &[(&str, Place)] = &[
    ("no runtime", |make, use_it| use_it(make())),
    ("current-thread runtime", |make, use_it| {
        current_thread().block_on(async { use_it(make()) });
    }),
    ("multi-thread runtime, 1 worker", |make, use_it| {
        spawn_on(&multi_thread(1), make, use_it);
    }),
    ("multi-thread runtime", |make, use_it| {
        spawn_on(&multi_thread(2), make, use_it);
    }),
    ("block_on of a multi-thread runtime", |make, use_it| {
        multi_thread(2).block_on(async { use_it(make()) });
    }),
    (
        "tokio::spawn in a current-thread runtime",
        |make, use_it| {
            spawn_on(&current_thread(), make, use_it);
        },
    ),
    ("spawn_blocking", |make, use_it| {
        let runtime = multi_thread(1);
        let task = runtime.spawn_blocking(|| use_it(make()));
        runtime.block_on(task).unwrap();
    }),
    ("runtime without drivers", |make, use_it| {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { use_it(make()) });
    }),
    ("drop of a value", |make, use_it| {
        drop(OnDrop::new(make(), use_it));
    }),
    ("drop of a value in a task", |make, use_it| {
        spawn_on(
            &multi_thread(1),
            make,
            Box::new(|pipeline| drop(OnDrop::new(pipeline, use_it))),
        );
    }),
    (
        "drop of a task that a runtime's shutdown cancels",
        |make, use_it| {
            let runtime = multi_thread(1);
            let value = OnDrop::new(make(), use_it);
            runtime.spawn(async move {
                std::future::pending::<()>().await;
                drop(value);
            });
            drop(runtime);
        },
    ),
    ("drop of a thread's local value", |make, use_it| {
        thread_local!(static VALUE: RefCell<Option<OnDrop>> = const { RefCell::new(None) });
        let thread = thread::spawn(|| {
            VALUE.with(|value| *value.borrow_mut() = Some(OnDrop::new(make(), use_it)));
        });
        thread.join().unwrap();
    }),
    ("while a panic unwinds", |make, use_it| {
        let value = OnDrop::new(make(), use_it);
        let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
            let _value = value;
            panic!("a panic that the row wants");
        }));
        assert!(unwound.is_err());
    }),
    ("after the runtime's shutdown", |make, use_it| {
        let runtime = multi_thread(1);
        let pipeline = runtime.block_on(async {
            let pipeline = make();
            // Its exporter has been at work while there was a runtime.
            let _ = tokio::time::timeout(SECOND, pipeline.flush()).await;
            pipeline
        });
        runtime.shutdown_background();
        use_it(pipeline);
    }),
    ("panic hook", |make, use_it| {
        let inside = Mutex::new(Some((make(), use_it)));
        panic::set_hook(Box::new(move |_| {
            if let Some((pipeline, use_it)) = inside.lock().unwrap().take() {
                use_it(pipeline);
            }
        }));
        let thread = thread::spawn(|| panic!("a panic that the row wants"));
        thread.join().unwrap_err();
        drop(panic::take_hook());
    }),
];

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

fn spawn_on(runtime: &Runtime, make: Make, use_it: Use) {
    runtime
        .block_on(async { tokio::spawn(async { use_it(make()) }).await })
        .unwrap();
}

struct OnDrop(Option<(Pipeline, Use)>);

impl OnDrop {
    fn new(pipeline: Pipeline, use_it: Use) -> Self {
        Self(Some((pipeline, use_it)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some((pipeline, use_it)) = self.0.take() {
            use_it(pipeline);
        }
    }
}

pub(crate) fn any_place_healthy() {
    alone::start("any place", &["healthy"]);
}

pub(crate) fn any_place_silent() {
    alone::start("any place", &["silent"]);
}

/// All places at once, but the last, since the panic hook is called for everybody's panics.
pub(crate) fn any_place(arguments: &[String]) {
    let healthy = arguments[0] == "healthy";
    let (last, others) = PLACES.split_last().unwrap();
    let start = |&(name, place): &(&'static str, Place)| {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || visit(name, place, healthy)).unwrap()
    };
    let threads: Vec<_> = others.iter().map(start).collect();
    let ends = threads.into_iter().map(|thread| thread.join());
    let mut ends: Vec<_> = ends.collect();
    ends.push(start(last).join());
    assert!(ends.iter().all(Result::is_ok), "see above");
    let slowest = ends.into_iter().flatten().max();
    eprintln!(
        "any place, {}: the slowest step took {slowest:?}",
        arguments[0]
    );
}

/// Submits, flushes, shuts down and drops there, and gives the time of the slowest step.
fn visit(name: &'static str, place: Place, healthy: bool) -> Duration {
    let sandbox = sandbox();
    if !healthy {
        sandbox.inject(Fault::silence().always());
    }
    let url = sandbox.opik_url();
    let make = move || Pipeline::builder(opik(url)).spawn().unwrap();
    let slowest = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&slowest);
    let use_it = move |pipeline| *noted.lock().unwrap() = Some(use_all(pipeline, healthy));
    let ((), took) = timed(|| place(Box::new(make), Box::new(use_it)));
    let slowest = slowest.lock().unwrap().expect("it was used");
    assert!(took < 10 * SECOND, "{name}: {took:?} in all");
    assert_eq!(sandbox.traces().len(), if healthy { 12 } else { 0 });
    slowest
}

/// Gives the time of the slowest step, none of which may take more than a second longer than its deadline.
fn use_all(pipeline: Pipeline, healthy: bool) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut step = |what: &str, took: Duration, deadline: Duration| {
        assert!(took < deadline + SECOND, "{what} took {took:?}");
        slowest = slowest.max(took);
    };
    let pending = |count: u64| if healthy { 0 } else { count };

    let (_, took) = timed(|| submit(&pipeline, calls(10)));
    step("submit", took, Duration::ZERO);
    let (report, took) = timed(|| pipeline.flush_within(2 * SECOND));
    step("flush_within", took, 2 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, pending(10));
    let (_, took) = timed(|| {
        submit(&pipeline, calls(1));
        pipeline.start("openai", "gpt-4o").finish(None);
    });
    step("submit", took, Duration::ZERO);
    let (_, took) = timed(|| drop(pipeline.flush_guard(SECOND)));
    step("a guard", took, SECOND);
    let (report, took) = timed(|| pipeline.shutdown(2 * SECOND));
    step("shutdown", took, 2 * SECOND);
    check(&report.stats);
    assert_eq!(report.pending, pending(12));
    // Again is the same, and late calls are refused.
    let (report, took) = timed(|| pipeline.shutdown(2 * SECOND));
    step("shutdown", took, Duration::ZERO);
    assert_eq!(report.pending, pending(12));
    let refused = pipeline.submit(call());
    assert_eq!(refused, Submission::Refused(Refusal::Closed));
    assert_eq!(stats(&pipeline).refused.closed, 1);
    let (_, took) = timed(|| drop(pipeline));
    step("drop", took, Duration::ZERO);
    slowest
}

/// As an exporter it is awaited; nothing of it needs the runtime to have timers or IO.
pub(crate) fn a_flush_in_any_runtime() {
    let bare = Builder::new_current_thread().build().unwrap();
    for runtime in [current_thread(), multi_thread(1), multi_thread(2), bare] {
        let sandbox = sandbox();
        let pipeline = Pipeline::builder(opik(sandbox.opik_url())).spawn().unwrap();
        let _watch = watch(&pipeline);
        let exporter = pipeline.clone();
        let task = async move {
            for call in calls(100) {
                exporter.export_llm_call(&call).await.unwrap();
            }
            exporter.flush().await
        };
        let (flushed, took) = timed(|| runtime.block_on(async { tokio::spawn(task).await }));
        flushed.unwrap().unwrap();
        assert!(took < 5 * SECOND, "{took:?}");
        let stats = stats(&pipeline);
        assert_eq!((stats.delivered, stats.pending), (100, 0));
        assert_eq!(sandbox.traces().len(), 100);
    }
}
