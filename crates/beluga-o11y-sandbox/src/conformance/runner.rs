//! A case in a thread and a runtime of its own.

use std::any::Any;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What came of work in another thread.
pub(crate) enum Ended<T> {
    With(T),
    /// It panicked, with these words.
    Panicked(String),
    /// It took too long. The thread is left to itself.
    Late,
}

/// Runs it in a thread of its own.
pub(crate) fn in_thread<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Ended<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("conformance".into())
        .spawn(move || drop(sender.send(work())));
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => return Ended::Panicked(format!("no thread is to be had: {error}")),
    };
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            // What it drops at its end belongs to it, too.
            drop(thread.join());
            Ended::With(result)
        }
        Err(RecvTimeoutError::Timeout) => Ended::Late,
        Err(RecvTimeoutError::Disconnected) => Ended::Panicked(match thread.join() {
            Ok(()) => "it ended without a result".into(),
            Err(payload) => words(payload.as_ref()),
        }),
    }
}

/// Runs it in a thread and a single-threaded runtime of its own, while the caller's runtime goes on.
pub(crate) async fn in_runtime<T, F>(
    limit: Duration,
    work: impl FnOnce() -> F + Send + 'static,
) -> Ended<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    beside(move || in_thread(limit, move || block_on(work()))).await
}

/// Runs blocking work while the caller's runtime, where the subject may have its server, goes on.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Ended<T> + Send + 'static,
) -> Ended<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Ended::Panicked(error.to_string()))
}

/// In a runtime of its own, which ends with it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let output = runtime.block_on(future);
            // Not the default, which waits for blocking work that may hang.
            runtime.shutdown_background();
            output
        }
        #[expect(clippy::panic, reason = "the thread that this runs in reports panics")]
        Err(error) => panic!("no runtime is to be had: {error}"),
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("(no words)"))
}
