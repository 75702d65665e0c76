//! Hands over what the span of a call does not carry.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use beluga_o11y::{CallError, Json, LLMCallData, Usage};
use serde::Serialize;

use crate::{error, notice, report::Reporter};

thread_local! {
    /// The scope that the code on this thread runs in.
    static CURRENT: RefCell<Option<Arc<State>>> = const { RefCell::new(None) };
}

/// A value next to an LLM call, that hands over what the span of the library does not carry: content, so that prompts
/// need not pass through the output of every other layer, token counts, an error.
///
/// The call is the one whose span is opened while [`run`](Self::run) is polled or [`in_scope`](Self::in_scope) runs. Its record
/// is submitted when both its span is closed and the scope is dropped, with all its clones. What is said here wins over the
/// span; token counts it only completes.
///
/// A scope is for one call. Of several, as a run of an agent makes them, the first gets the messages and parameters,
/// the last the answer, the token counts and the error, and all but the last are submitted without waiting for the drop.
///
/// ```
/// use beluga_o11y_tracing::{CallScope, LlmCallLayer};
/// use serde_json::json;
/// use tracing_subscriber::prelude::*;
///
/// # async fn chat() -> String { tracing::info_span!("chat", gen_ai.operation.name = "chat"); "Paris".into() }
/// # fn main() { tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()) }
/// # async fn run() {
/// # let sink = beluga_o11y::InMemoryExporter::new();
/// # let _guard = tracing_subscriber::registry().with(LlmCallLayer::new(sink.clone())).set_default();
/// let scope = CallScope::new();
/// scope.messages(json!([{"role": "user", "content": "What is the capital of France?"}]));
/// let answer = scope.run(chat()).await; // a call of rig, genai, ..
/// scope.response(&answer);
/// drop(scope);
///
/// assert_eq!(sink.calls()[0].response.as_ref().unwrap().as_str(), "\"Paris\"");
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a scope that is dropped at once hands nothing over"]
pub struct CallScope(Arc<Handle>);

/// Ends the scope with its last clone. Spans hold the state only.
#[derive(Default)]
struct Handle(Arc<State>);

impl CallScope {
    /// A scope that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future: the LLM call that it makes is this scope's. Calls in tasks that it spawns are not.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _entered = Entered::new(&self.0.0);
            future.as_mut().poll(context)
        })
        .await
    }

    /// Runs a function: the LLM call that it makes is this scope's.
    pub fn in_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = Entered::new(&self.0.0);
        run()
    }

    /// Sets what was sent to the model, from anything that serialises.
    pub fn messages(&self, messages: impl Serialize) {
        if let Some(messages) = content("messages", &messages) {
            self.say(|said| said.messages = Some(messages));
        }
    }

    /// Sets the parameters of the request, from anything that serialises. They are content: they may define tools.
    pub fn model_parameters(&self, parameters: impl Serialize) {
        if let Some(parameters) = content("model_parameters", &parameters) {
            self.say(|said| said.model_parameters = Some(parameters));
        }
    }

    /// Sets the answer, from anything that serialises: text, a message, tool calls.
    pub fn response(&self, response: impl Serialize) {
        if let Some(response) = content("response", &response) {
            self.say(|said| said.response = Some(response));
        }
    }

    /// Adds a piece of the answer's text, and notes when the first came. What has been added is the answer, unless
    /// [`response`](Self::response) gives another.
    pub fn partial(&self, text: &str) {
        if !text.is_empty() {
            self.say(|said| {
                said.first_token.get_or_insert_with(Instant::now);
                said.partial.push_str(text);
            });
        }
    }

    /// Sets the token counts that the span does not know.
    pub fn usage(&self, usage: Usage) {
        self.say(|said| said.usage = usage);
    }

    /// Says that the call has failed, and how. rig's spans say nothing of it.
    pub fn fail(&self, error: impl Into<CallError>) {
        let error = error.into();
        if !error.is_empty() {
            self.say(|said| said.error = Some(error));
        }
    }

    /// Holds the lock, so it runs nothing of the program's.
    fn say(&self, say: impl FnOnce(&mut Said)) {
        say(&mut self.0.0.lock().said);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let held = {
            let mut inner = self.0.lock();
            inner.ended = true;
            let held = inner.held.take();
            // Otherwise a span is open still, as that of a stream is which was handed on, or there was none.
            held.map(|held| (held, mem::take(&mut inner.said)))
        };
        if let Some((held, said)) = held {
            held.finish(said);
        }
    }
}

/// Content as JSON. What cannot be kept is left out: with it, the call would be refused.
fn content(name: &str, value: &impl Serialize) -> Option<Json> {
    let json = Json::try_new(value);
    if let Err(error) = &json {
        notice::once(&format!("scope {name}"), || {
            format!("what was given as {name} to a CallScope is left out: {error}")
        });
    }
    json.ok()
}

/// Shows no content.
impl fmt::Debug for CallScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallScope").finish_non_exhaustive()
    }
}

/// What a scope and the spans in it share.
#[derive(Default)]
pub(crate) struct State(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    said: Said,
    /// The last call, until it is known that no other comes and that nothing more is said of it.
    held: Option<Held>,
    /// Whether there is nobody left who could say anything.
    ended: bool,
}

#[derive(Default)]
struct Said {
    messages: Option<Json>,
    model_parameters: Option<Json>,
    response: Option<Json>,
    partial: String,
    first_token: Option<Instant>,
    usage: Usage,
    error: Option<CallError>,
}

struct Held {
    call: LLMCallData,
    started: Instant,
    reporter: Arc<Reporter>,
}

impl State {
    /// The one that the code on this thread runs in.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // Not while the thread ends.
        CURRENT.try_with(|current| current.borrow().clone()).ok()?
    }

    /// Takes a call over whose span is closed.
    pub(crate) fn submit(&self, call: LLMCallData, started: Instant, reporter: &Arc<Reporter>) {
        let mut next = Held {
            call,
            started,
            reporter: Arc::clone(reporter),
        };
        let mut inner = self.lock();
        next.begin(&mut inner.said);
        if inner.ended {
            let said = mem::take(&mut inner.said);
            drop(inner);
            next.finish(said);
        } else if let Some(earlier) = inner.held.replace(next) {
            drop(inner);
            earlier.finish(Said::default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Takes what belongs to the first call.
    fn begin(&mut self, said: &mut Said) {
        let (messages, parameters) = (said.messages.take(), said.model_parameters.take());
        if !self.reporter.content {
            return;
        }
        if messages.is_some() {
            self.call.messages = messages;
        }
        // They may define tools.
        if parameters.is_some() {
            self.call.model_parameters = parameters;
        }
    }

    /// Takes what belongs to the last call, and what was said late.
    fn finish(mut self, mut said: Said) {
        self.begin(&mut said);
        let call = &mut self.call;
        let usage = said.usage.merge(call.usage);
        // Pieces of an answer do not make a whole one.
        if said.error.is_some() {
            error::forget_inferred(call);
            call.error = said.error;
        } else if said.response.is_some() || usage != call.usage {
            error::forget_inferred(call);
        }
        let partial = Some(said.partial).filter(|text| !text.is_empty());
        let response = said
            .response
            .or_else(|| partial.map(|text| Json::new(&text)));
        call.usage = usage;
        if let Some(response) = response.filter(|_| self.reporter.content) {
            call.response = Some(response);
        }
        if let Some(first_token) = said.first_token {
            let elapsed = first_token.saturating_duration_since(self.started);
            call.time_to_first_token.get_or_insert(elapsed);
        }
        self.reporter.submit(self.call);
    }
}

/// Puts a scope in place for as long as it lives.
struct Entered(Option<Arc<State>>);

impl Entered {
    fn new(state: &Arc<State>) -> Self {
        let state = Some(Arc::clone(state));
        Self(CURRENT.with(|current| current.replace(state)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}
