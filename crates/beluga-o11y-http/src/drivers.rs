//! A runtime without IO or timers.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Poll,
};

use crate::HttpError;

/// Runs `future`, and turns the panic of a tokio runtime that was built without `enable_io` or
/// `enable_time` into an error.
///
/// A runtime cannot be asked what it was built with, and tokio panics when it meets the lack of it. A
/// missing line in the building of a runtime must not take down a program that only wanted to be observed.
/// With `panic = "abort"` it still does, and in any case the panic hook prints its message.
pub(crate) async fn guard<T>(
    future: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let mut future = Box::pin(future);
    poll_fn(|context| {
        // After a panic the future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) if is_lack_of_driver(&*panic) => Poll::Ready(Err(HttpError::NoDrivers)),
            Err(panic) => resume_unwind(panic),
        }
    })
    .await
}

fn is_lack_of_driver(panic: &(dyn Any + Send)) -> bool {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    text.contains("IO is disabled") || text.contains("timers are disabled")
}
