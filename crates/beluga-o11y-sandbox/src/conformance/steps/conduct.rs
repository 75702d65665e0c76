//! How an exporter behaves: its name, its errors, in whatever place it is called.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use beluga_o11y::{ExportErrorKind, LLMCallData, TraceExporter};

use crate::conformance::{
    DOWN_LIMIT,
    runner::{beside, in_runtime, in_thread},
    trial::{Trial, WRONG_KEY, call},
};

/// For work in another thread.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn name(trial: &mut Trial) {
    let name = trial.exporter.name().to_owned();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    trial.expect(
        (1..=32).contains(&name.len()) && name.chars().all(is_plain),
        || format!("expected at most 32 of a-z, 0-9, - and _, since files are named after it, saw {name:?}"),
    );
    let again = trial.subject.exporter();
    trial.expect(again.name() == name, || {
        format!("expected {name:?} again, saw {:?}", again.name())
    });
    let result = again
        .export_llm_call(&call("nan").with_cost(f64::NAN))
        .await;
    trial.failed_as("a cost of NaN", ExportErrorKind::Rejected, result);
}

pub(crate) async fn wrong_credentials(trial: &mut Trial) {
    let Some(exporter) = trial.subject.with_wrong_credentials(WRONG_KEY) else {
        return trial.not_applicable("the backend has no credentials");
    };
    fails(trial, exporter.as_ref(), ExportErrorKind::Destination).await;
    trial.shows(&[]).await;
}

pub(crate) async fn server_down(trial: &mut Trial) {
    let Some(exporter) = trial.subject.down() else {
        return trial.not_applicable("the backend is always there");
    };
    let start = Instant::now();
    fails(trial, exporter.as_ref(), ExportErrorKind::Temporary).await;
    // For two exports.
    let took = start.elapsed() / 2;
    trial.expect(took <= DOWN_LIMIT, || {
        format!("expected an answer within {DOWN_LIMIT:?}, saw it after {took:?}")
    });
}

/// A call and a batch must fail with an error of this kind.
async fn fails(trial: &mut Trial, exporter: &dyn TraceExporter, kind: ExportErrorKind) {
    let result = exporter.export_llm_call(&call("alone")).await;
    trial.failed_as("a call", kind, result);
    let calls = [call("first"), call("second")];
    match exporter.export_batch(&calls.each_ref()).await {
        Err(error) => trial.is_error("a batch", kind, &error),
        Ok(report) => {
            let places: Vec<_> = report
                .failures
                .iter()
                .map(|failure| failure.index)
                .collect();
            trial.expect(places == [0, 1], || {
                format!("a batch: expected an error, or failures at [0, 1], saw them at {places:?}")
            });
            for failure in &report.failures {
                trial.is_error("a call of a batch", kind, &failure.error);
            }
        }
    }
}

pub(crate) async fn cancelled_future(trial: &mut Trial) {
    let exporter = Arc::clone(&trial.exporter);
    let mut calls = Vec::new();
    for polls in 0..8 {
        let dropped = call(&format!("dropped-after-{polls}"));
        abandon(exporter.export_llm_call(&dropped), polls).await;
        let batch = [
            call(&format!("batch-dropped-after-{polls}")),
            call(&format!("batch-dropped-after-{polls}-too")),
        ];
        abandon(exporter.export_batch(&batch.each_ref()), polls).await;
        let next = call(&format!("after-{polls}"));
        let result = exporter.export_llm_call(&next).await;
        if !trial.succeeded("the export after a dropped one", &result) {
            return;
        }
        calls.push(next);
    }
    // Whether a dropped one has arrived is unknown; it is not looked at.
    let seen = trial.arrived(calls.len()).await;
    for call in &calls {
        let times = seen.iter().filter(|seen| seen.model == call.model).count();
        trial.expect(times == 1, || {
            format!(
                "expected the call of {} once, saw it {times} times",
                call.model
            )
        });
    }
}

/// Polls it so often, and drops it.
async fn abandon(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return;
        }
        // Something may come that the next poll goes on with.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn shared(trial: &mut Trial) {
    let boxed: Box<dyn TraceExporter> = Box::new(Arc::clone(&trial.exporter));
    trial.expect(boxed.name() == trial.exporter.name(), || {
        "expected the same name by way of Box and Arc".into()
    });
    let shared = Arc::new(boxed);
    let calls: Vec<_> = (0..32).map(|n| call(&format!("task-{n}"))).collect();
    let tasks: Vec<_> = calls
        .iter()
        .map(|call| {
            let (exporter, call) = (Arc::clone(&shared), call.clone());
            tokio::spawn(async move { exporter.export_llm_call(&call).await })
        })
        .collect();
    for task in tasks {
        match task.await {
            Ok(result) => {
                trial.succeeded("the export", &result);
            }
            Err(error) => trial.fail(format!("expected an end of the export, saw: {error}")),
        }
    }
    trial.shows(&calls).await;
}

pub(crate) async fn several_runtimes(trial: &mut Trial) {
    let calls: Vec<_> = (0..6).map(|n| call(&format!("runtime-{n}"))).collect();
    let export = |call: &LLMCallData| {
        let (exporter, call) = (Arc::clone(&trial.exporter), call.clone());
        in_runtime(LIMIT, move || async move {
            exporter.export_llm_call(&call).await
        })
    };
    let mut results = Vec::new();
    // Each runtime ends before the next begins, with whatever the exporter keeps in it.
    let [first, second, third, fourth, fifth, sixth] = calls.as_slice() else {
        return trial.fail("there are six calls");
    };
    for call in [first, second, third, fourth] {
        results.push(export(call).await);
    }
    // And two at once.
    let (a, b) = tokio::join!(export(fifth), export(sixth));
    results.extend([a, b]);
    for result in results {
        if let Some(result) = trial.ended("in a runtime of its own", result) {
            trial.succeeded("the export", &result);
        }
    }
    trial.shows(&calls).await;
}

pub(crate) async fn no_runtime(trial: &mut Trial) {
    let call = call("gpt-4o");
    let (exporter, sent) = (Arc::clone(&trial.exporter), call.clone());
    let ended =
        beside(move || in_thread(LIMIT, move || by_hand(exporter.export_llm_call(&sent)))).await;
    match trial.ended("without a runtime", ended) {
        Some(Ok(())) => trial.shows(&[call]).await,
        Some(Err(error)) => trial.is_error("without a runtime", error.kind(), &error),
        None => {}
    }
}

/// Polls a future as somebody does who knows no runtime at all.
fn by_hand<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

pub(crate) async fn flush(trial: &mut Trial) {
    let exporter = Arc::clone(&trial.exporter);
    let result = exporter.flush().await;
    trial.succeeded("a flush of nothing", &result);
    trial.deliver(call("gpt-4o")).await;
    let result = exporter.flush().await;
    trial.succeeded("flush", &result);
}
