//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// From now on, the first signal only asks.
pub(crate) fn handle() {
    let handle = || {
        if SIGNALS.fetch_add(1, Ordering::Relaxed) > 0 {
            process::exit(130);
        }
    };
    // Without it, a signal ends the process at once, which is no worse than that.
    if let Err(error) = ctrlc::set_handler(handle) {
        tracing::warn!("signals cannot be handled: {error}");
    }
}

/// Whether there was one.
pub(crate) fn asked() -> bool {
    SIGNALS.load(Ordering::Relaxed) > 0
}
