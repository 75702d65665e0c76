//! Panics of what somebody else wrote.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs what somebody else wrote; `None` if it panics.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // The payload is of their making too: its drop may panic, and so may that of the next one, which is leaked.
            if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(next);
            }
            None
        }
    }
}
