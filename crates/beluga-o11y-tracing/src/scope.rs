//! Hands over what spans do not carry.

use std::future::Future;

use beluga_o11y::{CallError, Usage};

/// A scope.
#[derive(Debug, Default)]
pub struct CallScope {}

impl CallScope {
    /// Starts one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future in the scope: the LLM call that is made in it is the scope's.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        future.await
    }

    /// Runs a function in the scope.
    pub fn in_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        run()
    }

    /// What was sent to the model.
    pub fn messages(&self, _messages: impl serde::Serialize) {}

    /// What the model answered.
    pub fn response(&self, _response: impl serde::Serialize) {}

    /// A piece of the answer's text.
    pub fn partial(&self, _text: &str) {}

    /// Token counts.
    pub fn usage(&self, _usage: Usage) {}

    /// The call has failed.
    pub fn fail(&self, _error: impl Into<CallError>) {}
}
