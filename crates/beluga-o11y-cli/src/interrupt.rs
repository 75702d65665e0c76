//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on, the first signal only asks. SIGHUP is left alone, so that `nohup` works.
pub(crate) fn handle() {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds nothing asked yet.
        let handled = flag::register_conditional_shutdown(signal, 130, Arc::clone(asked))
            .and_then(|_| flag::register(signal, Arc::clone(asked)));
        // Without it, a signal ends the process at once, which is no worse than that.
        if let Err(error) = handled {
            tracing::warn!("signals cannot be handled: {error}");
        }
    }
}

/// Whether there was one.
pub(crate) fn asked() -> bool {
    ASKED
        .get()
        .is_some_and(|asked| asked.load(Ordering::Relaxed))
}
