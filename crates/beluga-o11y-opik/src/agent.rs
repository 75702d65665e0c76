//! The handles of an agent run.

pub(crate) mod tree;

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{CallError, CallSink, ExportError, Json, LLMCallData, Refusal, Submission};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    NAME, OpikExporter,
    agent::tree::{AgentTree, Encoded, Node, What, Work},
    exporter::now,
    id,
};

/// A run of an agent, which Opik shows as one trace: its calls are spans of type `llm`, its tools spans of type `tool`,
/// nested as they were called, and its input and output stand on the trace.
///
/// Start one with [`OpikExporter::agent_run`]. It is a [`CallSink`]: whatever hands in calls can hand them in here, a
/// guard from [`start`](CallSink::start) among them. Nothing is sent before [`finish`](Self::finish) or
/// [`fail`](Self::fail), and then all of it at once, the trace and its spans complete. Opik replaces what has the same
/// id, so a run may be sent again: whole, if only a part of it arrived.
///
/// A clone is another handle of the same run. When the last one goes, with all steps and guards, and something of the
/// run has not been sent, it is sent then in the background of the tokio runtime; a run that nobody ended has failed,
/// with the kind [`CallError::CANCELLED`] or [`CallError::PANIC`]. Where there is no runtime, a warning tells of it.
///
/// What a run has done is kept in memory until it is sent.
///
/// ```no_run
/// use beluga_o11y::{CallSink, Usage};
/// use beluga_o11y_opik::OpikExporter;
/// use serde_json::json;
///
/// # async fn ask(_: &serde_json::Value) -> Result<(String, Usage), Box<dyn std::error::Error>> { todo!() }
/// # async fn search(_: &str) -> Result<String, Box<dyn std::error::Error>> { todo!() }
/// # async fn run(opik: OpikExporter) -> Result<(), Box<dyn std::error::Error>> {
/// let question = "What is the weather in Lagos?";
/// let run = opik.agent_run("weather-agent").with_input(question).with_session_id("conversation-7");
///
/// let messages = json!([{"role": "user", "content": question}]);
/// let mut call = run.start("openai", "gpt-4o");
/// call.messages(&messages);
/// let (answer, usage) = ask(&messages).await?;
/// call.response(&answer);
/// call.finish(usage);
///
/// let tool = run.tool("search").with_input(json!({"query": "weather Lagos"}));
/// let found = search("weather Lagos").await?; // a call that is made within it: tool.start(..)
/// tool.finish(&found);
///
/// run.finish("31 degrees and sunny").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AgentRun {
    shared: Arc<Shared>,
}

/// A step of an [`AgentRun`]: a tool, or a part of the run that has a name of its own. A span in Opik, with what was
/// called during it below.
///
/// It is a [`CallSink`] as the run is, and may have steps of its own. A clone is another handle of the same step. When
/// the last one goes and the step has not ended, it has failed, with the kind [`CallError::CANCELLED`] or
/// [`CallError::PANIC`].
#[derive(Clone)]
#[must_use = "a step that is dropped at once was cancelled"]
pub struct AgentStep {
    shared: Arc<SharedStep>,
}

struct SharedStep {
    run: Arc<Shared>,
    id: Uuid,
    start: DateTime<Utc>,
    place: usize,
    started: Instant,
}

struct Shared {
    opik: OpikExporter,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    tree: AgentTree,
    /// How often it has changed, and how much of that has been sent, or somebody has been told that it is not.
    changes: u64,
    told: u64,
}

impl OpikExporter {
    /// Starts a run of an agent: several calls and tools under one trace. With an off switch on it does everything but
    /// send.
    pub fn agent_run(&self, name: impl Into<String>) -> AgentRun {
        let tree = AgentTree::new(name.into(), now());
        AgentRun {
            shared: Arc::new(Shared {
                opik: self.clone(),
                started: Instant::now(),
                state: Mutex::new(State {
                    tree,
                    changes: 1,
                    told: 0,
                }),
            }),
        }
    }
}

impl AgentRun {
    /// The id of the trace, to link or to score it. One that runs for more than 23 hours gets another one when it is
    /// sent, since Opik refuses older ids.
    pub fn trace_id(&self) -> Uuid {
        self.shared.state().tree.sent_as(now())
    }

    /// What the run is given, from anything that serialises. What is no object stands in Opik in the field `input` of
    /// one.
    #[must_use]
    pub fn with_input(self, input: impl Serialize) -> Self {
        let input = Json::new(&input);
        self.set(|tree| tree.work.input = Some(input))
    }

    /// The session, which is Opik's thread. Default: that of the first call that has one.
    #[must_use]
    pub fn with_session_id(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.set(|tree| tree.session_id = Some(id))
    }

    /// The user, in the metadata: Opik has no place of its own for it.
    #[must_use]
    pub fn with_user_id(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.set(|tree| tree.user_id = Some(id))
    }

    /// The environment of the run and of all in it that has none of its own, at most 150 characters. Default that of
    /// the exporter.
    #[must_use]
    pub fn with_environment(self, environment: impl Into<String>) -> Self {
        let environment = environment.into();
        self.set(|tree| tree.environment = Some(environment))
    }

    /// Adds a tag.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        self.set(|tree| tree.work.tags.push(tag))
    }

    /// Adds an entry to the metadata, from anything that serialises.
    #[must_use]
    pub fn with_metadata(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let (key, value) = (key.into(), Json::new(&value));
        self.set(|tree| {
            tree.work.metadata.insert(key, value);
        })
    }

    /// What is given is read before this, since it may be code of the program, and must not run under the lock.
    fn set(self, set: impl FnOnce(&mut AgentTree)) -> Self {
        self.shared.change(set);
        self
    }

    /// Starts a tool, which becomes a span of type `tool`.
    pub fn tool(&self, name: impl Into<String>) -> AgentStep {
        Shared::step(&self.shared, None, "tool", name.into())
    }

    /// Starts a part of the run that has a name of its own: a chain, a retrieval, an agent within the agent. It becomes
    /// a span of type `general`.
    pub fn step(&self, name: impl Into<String>) -> AgentStep {
        Shared::step(&self.shared, None, "general", name.into())
    }

    /// Ends the run with its output, from anything that serialises, and sends it. What is no object stands in Opik in
    /// the field `output` of one. Steps that have not ended end with it.
    ///
    /// Short failures of Opik are waited for: it is tried five times, with pauses of at most 15 seconds in all, or as
    /// the server asks, up to a minute each. Dropping the future leaves the sending to the last handle.
    ///
    /// To call it again sends the run again, with what has come meanwhile, in the place of what was sent.
    ///
    /// # Errors
    ///
    /// Opik is not to be reached or refuses. Of kind [`Rejected`](beluga_o11y::ExportErrorKind::Rejected) or
    /// [`TooLarge`](beluga_o11y::ExportErrorKind::TooLarge) if it could not take some of the run; the rest of it is
    /// stored then, unless it is the run itself that is bad.
    pub async fn finish(&self, output: impl Serialize) -> Result<(), ExportError> {
        let output = Json::new(&output);
        let sent = self.end(|work| work.finish(output)).await?;
        sent.into_result()
    }

    /// Ends the run with an error, and sends it, as [`finish`](Self::finish) does.
    ///
    /// # Errors
    ///
    /// As of [`finish`](Self::finish).
    pub async fn fail(&self, error: impl Into<CallError>) -> Result<(), ExportError> {
        let error = failure(error.into(), "the run failed");
        let sent = self.end(|work| work.error = Some(error)).await?;
        sent.into_result()
    }

    async fn end(&self, set: impl FnOnce(&mut Work)) -> Result<Sent, ExportError> {
        let elapsed = self.shared.elapsed();
        self.shared.change(|tree| {
            tree.end(elapsed);
            set(&mut tree.work);
        });
        self.send().await
    }

    /// Sends what has not been sent, if there is such; a run that goes on ends now.
    pub(crate) async fn send_rest(&self) -> Result<Sent, ExportError> {
        let (unsent, ended) = {
            let state = self.shared.state();
            (state.is_unsent(), state.tree.work.end.is_some())
        };
        match (unsent, ended) {
            (false, _) => Ok(Sent::Whole),
            (true, true) => self.send().await,
            (true, false) => self.end(|_| ()).await,
        }
    }

    pub(crate) fn calls(&self) -> Vec<Arc<LLMCallData>> {
        self.shared.state().tree.calls().cloned().collect()
    }

    pub(crate) fn output(&self) -> Option<Json> {
        self.shared.state().tree.work.output.clone()
    }

    /// What the run itself failed with.
    pub(crate) fn error(&self) -> Option<CallError> {
        self.shared.state().tree.work.error.clone()
    }

    async fn send(&self) -> Result<Sent, ExportError> {
        let opik = &self.shared.opik;
        if opik.connection().is_none() {
            return Ok(Sent::Whole);
        }
        let (encoded, changes) = {
            let state = self.shared.state();
            (state.tree.encode(opik.target(), now()), state.changes)
        };
        let result = match encoded {
            Ok(encoded) => opik.send_run(encoded).await,
            Err(error) => Err(error),
        };
        // Now somebody knows. What has come in the meantime is another matter.
        let mut state = self.shared.state();
        state.told = state.told.max(changes);
        result
    }
}

impl AgentStep {
    /// What the step is given, from anything that serialises. What is no object stands in Opik in the field `input` of
    /// one.
    pub fn with_input(self, input: impl Serialize) -> Self {
        let input = Json::new(&input);
        self.set(|work| work.input = Some(input))
    }

    /// Adds a tag.
    pub fn with_tag(self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        self.set(|work| work.tags.push(tag))
    }

    /// Adds an entry to the metadata, from anything that serialises.
    pub fn with_metadata(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let (key, value) = (key.into(), Json::new(&value));
        self.set(|work| {
            work.metadata.insert(key, value);
        })
    }

    fn set(self, set: impl FnOnce(&mut Work)) -> Self {
        self.shared.change(set);
        self
    }

    /// The id of the span, to score it. A span that is sent after more than 23 hours gets another one, since Opik
    /// refuses older ids.
    pub fn span_id(&self) -> Uuid {
        id::trace_id(self.shared.id, self.shared.start, now())
    }

    /// Starts a tool within this step.
    pub fn tool(&self, name: impl Into<String>) -> Self {
        Shared::step(&self.shared.run, self.place(), "tool", name.into())
    }

    /// Starts a part of this step that has a name of its own.
    pub fn step(&self, name: impl Into<String>) -> Self {
        Shared::step(&self.shared.run, self.place(), "general", name.into())
    }

    /// Ends the step with its output, from anything that serialises. What is no object stands in Opik in the field
    /// `output` of one. Calls and steps may still come below it.
    pub fn finish(&self, output: impl Serialize) {
        let output = Json::new(&output);
        self.shared.end(|work| work.finish(output));
    }

    /// Ends the step with an error.
    pub fn fail(&self, error: impl Into<CallError>) {
        let error = failure(error.into(), "the step failed");
        self.shared.end(|work| work.error = Some(error));
    }

    fn place(&self) -> Option<usize> {
        Some(self.shared.place)
    }
}

impl CallSink for AgentRun {
    /// Keeps the call until the run is sent. A call that the run has already, by its id, is replaced where it is.
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        self.shared.add(call, None)
    }
}

impl CallSink for AgentStep {
    /// Keeps the call until the run is sent. A call that the run has already, by its id, is replaced where it is.
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        self.shared.run.add(call, self.place())
    }
}

impl SharedStep {
    fn change(&self, change: impl FnOnce(&mut Work)) {
        self.run.change(|tree| {
            if let Some(Node {
                what: What::Step { work, .. },
                ..
            }) = tree.nodes.get_mut(self.place)
            {
                change(work);
            }
        });
    }

    fn end(&self, set: impl FnOnce(&mut Work)) {
        let elapsed = self.started.elapsed();
        self.change(|work| {
            work.end_after(elapsed);
            set(work);
        });
    }

    fn has_ended(&self) -> bool {
        let state = self.run.state();
        match state.tree.nodes.get(self.place).map(|node| &node.what) {
            Some(What::Step { work, .. }) => work.end.is_some(),
            _ => true,
        }
    }
}

impl Drop for SharedStep {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.end(|work| work.error = Some(abandoned()));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut AgentTree) -> T) -> T {
        let mut state = self.state();
        state.changes += 1;
        change(&mut state.tree)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn step(run: &Arc<Self>, parent: Option<usize>, kind: &'static str, name: String) -> AgentStep {
        let (id, start) = (Uuid::now_v7(), now());
        let work = Box::new(Work::new(name, start));
        let place = run.change(|tree| {
            tree.nodes.push(Node {
                parent,
                what: What::Step { id, kind, work },
            });
            tree.nodes.len() - 1
        });
        AgentStep {
            shared: Arc::new(SharedStep {
                run: Arc::clone(run),
                id,
                start,
                place,
                started: Instant::now(),
            }),
        }
    }

    fn add(&self, call: Arc<LLMCallData>, parent: Option<usize>) -> Submission {
        if let Err(invalid) = call.validate() {
            return Submission::Refused(Refusal::Invalid(invalid));
        }
        self.change(|tree| tree.add(call, parent));
        Submission::Accepted
    }
}

impl Drop for Shared {
    /// Sends what nobody has sent.
    fn drop(&mut self) {
        let elapsed = self.elapsed();
        let opik = self.opik.clone();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !state.is_unsent() || opik.connection().is_none() {
            return;
        }
        if state.tree.work.end.is_none() {
            state.tree.end(elapsed);
            state.tree.work.error = Some(abandoned());
        }
        let encoded = state.tree.encode(opik.target(), now());
        let lost = WarnsOfLoss;
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let result = match encoded {
                Ok(encoded) => opik.send_run(encoded).await.and_then(Sent::into_result),
                Err(error) => Err(error),
            };
            mem::forget(lost);
            if let Err(error) = result {
                tracing::warn!("{error}; it was an agent run that nobody had sent");
            }
        });
    }
}

/// Warns when it is dropped: outside of a runtime, or by one that shuts down.
struct WarnsOfLoss;

impl Drop for WarnsOfLoss {
    fn drop(&mut self) {
        tracing::warn!(
            "{NAME}: an agent run is lost: it was dropped before finish or fail had sent it, and no tokio runtime is \
             left that could"
        );
    }
}

impl State {
    fn is_unsent(&self) -> bool {
        self.changes > self.told
    }
}

/// How much of a run is stored.
pub(crate) enum Sent {
    Whole,
    /// All but what this is about.
    Partly(ExportError),
}

impl Sent {
    fn into_result(self) -> Result<(), ExportError> {
        match self {
            Self::Whole => Ok(()),
            Self::Partly(error) => Err(error),
        }
    }
}

impl OpikExporter {
    async fn send_run(&self, run: Encoded) -> Result<Sent, ExportError> {
        let (trace, spans) = self.send_records(&run.trace, &run.spans).await;
        let stopped = trace.stopped.or(spans.stopped);
        let trace_refused = trace.refused.into_iter().next();
        if let Some((_, error)) = stopped.or(trace_refused) {
            return Err(error);
        }
        let spans = spans.refused.into_iter().map(|(_, error)| error);
        let mut refused = run.refused.into_iter().chain(spans);
        let Some(first) = refused.next() else {
            return Ok(Sent::Whole);
        };
        let message = format!(
            "{} of the spans of an agent run left out, the rest is stored: {}",
            refused.count() + 1,
            first.message()
        );
        let kind = first.kind();
        Ok(Sent::Partly(first.reworded(kind, message)))
    }
}

/// What was dropped before its end.
fn abandoned() -> CallError {
    if thread::panicking() {
        CallError::new("the thread or task panicked").with_kind(CallError::PANIC)
    } else {
        CallError::new("dropped before it ended").with_kind(CallError::CANCELLED)
    }
}

/// An error that says nothing becomes one that says so much.
fn failure(error: CallError, nothing: &'static str) -> CallError {
    if error.is_empty() {
        CallError::new(nothing)
    } else {
        error
    }
}

/// Shows sizes, never content.
impl fmt::Debug for AgentRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("AgentRun")
            .field("id", &state.tree.id)
            .field("nodes", &state.tree.nodes.len())
            .field("ended", &state.tree.work.end.is_some())
            .field("unsent", &state.is_unsent())
            .finish()
    }
}

impl fmt::Debug for AgentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentStep")
            .field("place", &self.shared.place)
            .field("ended", &self.shared.has_ended())
            .finish()
    }
}
