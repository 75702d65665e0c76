//! What the layer has to say, each once in a process.

use std::{
    collections::HashSet,
    io::Write,
    sync::{LazyLock, Mutex, PoisonError},
};

/// What has been said. It grows with the program's text, not with its calls.
static SAID: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn is_new(what: &str) -> bool {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    !said.contains(what) && said.insert(what.to_owned())
}

/// Says something in the log. Not to be called where a layer is asked about another event or span: the answer to that
/// would be lost.
pub(crate) fn once(what: &str, message: impl FnOnce() -> String) {
    if is_new(what) {
        tracing::warn!("beluga-o11y-tracing: {}", message());
    }
}

/// Says something on standard error: for what the log cannot take, since it is the log that is set up wrongly.
pub(crate) fn once_beside_the_log(what: &str, message: &str) {
    if is_new(what) {
        // There is nobody to tell if this fails.
        let _ = writeln!(std::io::stderr().lock(), "beluga-o11y-tracing: {message}");
    }
}
