//! Runs a task over the items of an experiment: beside each other, whatever happens to some of them.
//!
//! Tasks run in the future of [`ExperimentRunner::run`] itself, so they need not be `'static`, and whoever drops that
//! future stops them. What they give goes through a channel to a writer beside them, which stores all that is there at
//! once: in the time that Opik takes for one answer, more results come, so that there are fewer requests the busier it
//! is. A result is linked to its item last. What has a link is complete, and what has none is run again.

use std::{
    any::Any,
    error::Error,
    fmt,
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use beluga_o11y::{CallError, CallSink, ExportError, Json, LLMCallData, Submission};
use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt,
    future::try_join,
    stream::{self, StreamExt},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    DatasetItem, ExperimentSummary, FeedbackScore, OpikError, OpikExperiment, TaskError,
    TaskFailure, TaskOutput, TaskProblem,
    agent::{
        Sent,
        tree::{AgentTree, Encoded},
    },
    ask::elements::Elements,
    convert::{self, Target},
    experiment::{Link, OPERATION, Outcome, task::Made},
    exporter::now,
};

const CONCURRENCY: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(600);
/// An error may name itself as its cause.
const MAX_CAUSES: usize = 32;
/// The most results that are written at once.
const BATCH: usize = 500;
/// The fewest results that may wait to be written, so that fast tasks are not held up by each answer of Opik's. What
/// waits is lost if Opik does not come back, and may have cost money.
const WAITING: usize = 64;
/// What Opik's own clients say of what an experiment sends (`Source.java`).
const SOURCE: &str = "experiment";

type Scorer<'a> = dyn Fn(&DatasetItem, &TaskOutput) -> Vec<FeedbackScore> + Send + Sync + 'a;
type OnProgress<'a> = dyn Fn(&ExperimentProgress) + Send + Sync + 'a;

/// Runs an experiment, with settings. Made by [`OpikExperiment::runner`].
#[must_use = "nothing happens before run"]
pub struct ExperimentRunner<'a> {
    experiment: OpikExperiment,
    concurrency: usize,
    timeout: Duration,
    sink: Option<Arc<dyn CallSink>>,
    scorer: Option<Box<Scorer<'a>>>,
    on_progress: Option<Box<OnProgress<'a>>>,
}

/// How far a run of an experiment is: an item more has been run and stored, or has failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExperimentProgress {
    /// The item.
    pub item: Option<Uuid>,
    /// Whether its task, call or export failed.
    pub failed: bool,
    /// How many have been run.
    pub done: usize,
    /// How many there are to run; those that had a result already are not among them.
    pub total: usize,
    /// How many of those that have been run failed.
    pub errors: usize,
}

impl OpikExperiment {
    /// Runs a task over items of the dataset, 8 at a time, stores what it gives, and links and scores it. For other
    /// settings see [`runner`](Self::runner).
    ///
    /// # Errors
    ///
    /// As of [`ExperimentRunner::run`].
    pub async fn run<T, F, R>(
        &self,
        items: impl IntoIterator<Item = DatasetItem>,
        task: T,
    ) -> Result<ExperimentSummary, OpikError>
    where
        T: Fn(DatasetItem) -> F,
        F: Future<Output = Result<R, TaskError>>,
        R: Into<TaskOutput>,
    {
        self.runner().run(items, task).await
    }

    /// Settings for a run.
    pub fn runner<'a>(&self) -> ExperimentRunner<'a> {
        ExperimentRunner {
            experiment: self.clone(),
            concurrency: CONCURRENCY,
            timeout: TIMEOUT,
            sink: None,
            scorer: None,
            on_progress: None,
        }
    }
}

impl<'a> ExperimentRunner<'a> {
    /// How many tasks run at the same time, at least one. Default 8.
    pub fn with_concurrency(mut self, tasks: usize) -> Self {
        self.concurrency = tasks.max(1);
        self
    }

    /// How long the task of one item may take; after that it is dropped, and has failed with the kind
    /// [`CallError::TIMEOUT`]. Default 10 minutes. A task that blocks its thread cannot be stopped.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Hands calls to a pipeline, which must end in the same Opik and project, with its queue, its redaction and its
    /// spool. Default: they are sent directly. The run does not wait for the pipeline: flush it afterwards. Agent runs
    /// are sent directly in any case, and so are the errors of failed tasks.
    ///
    /// Calls that the pipeline does not take, or does not sample, have no result and are run again the next time.
    pub fn with_sink(mut self, sink: impl CallSink + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Scores what each task gives, in addition to the scores that the task added itself. Not asked about tasks that
    /// failed.
    pub fn with_scorer<S>(mut self, score: S) -> Self
    where
        S: Fn(&DatasetItem, &TaskOutput) -> Vec<FeedbackScore> + Send + Sync + 'a,
    {
        self.scorer = Some(Box::new(score));
        self
    }

    /// Is told of each item that has been run and stored, or has failed.
    pub fn on_progress(mut self, tell: impl Fn(&ExperimentProgress) + Send + Sync + 'a) -> Self {
        self.on_progress = Some(Box::new(tell));
        self
    }

    /// Runs a task over items of the dataset, stores what it gives, links it to its item, and scores it.
    ///
    /// Items that have a result in this experiment are skipped, so that a run that was interrupted can go on. What
    /// failed has none, and is run again. Opik stores a little after it answers: what was run a moment ago may be run
    /// again.
    ///
    /// A task gives a call or an [`AgentRun`](crate::AgentRun). When it fails, panics or takes too long, that is
    /// recorded in Opik, as a trace with the error, and in the summary, and the others go on.
    ///
    /// # Errors
    ///
    /// What is there cannot be read, or the dataset has been deleted ([`OpikError::DatasetNotFound`]); or Opik refuses
    /// the key, or does not answer five times ([`OpikError::RunStopped`]). Tasks that run then are dropped, and no more
    /// are started. What is stored stays: run it again to go on.
    ///
    /// ```no_run
    /// use beluga_o11y::LLMCallData;
    /// use beluga_o11y_opik::{FeedbackScore, OpikExporter};
    ///
    /// # async fn ask(_: &str) -> Result<LLMCallData, std::io::Error> { todo!() }
    /// # async fn run(opik: OpikExporter) -> Result<(), Box<dyn std::error::Error>> {
    /// let dataset = opik.dataset("capitals").await?;
    /// let experiment = dataset.get_or_create_experiment("terse prompt").await?;
    /// let summary = experiment
    ///     .runner()
    ///     .with_concurrency(4)
    ///     .with_scorer(|item, output| {
    ///         let exact = item["expected"] == output.text();
    ///         vec![FeedbackScore::new("exact_match", f64::from(exact))]
    ///     })
    ///     .run(dataset.all_items().await?, async |item| {
    ///         let question = format!("In one word: the capital of {}?", item["country"]);
    ///         Ok(ask(&question).await?)
    ///     })
    ///     .await?;
    /// println!("{} calls, {} errors", summary.calls, summary.errors);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<T, F, R>(
        self,
        items: impl IntoIterator<Item = DatasetItem>,
        task: T,
    ) -> Result<ExperimentSummary, OpikError>
    where
        T: Fn(DatasetItem) -> F,
        F: Future<Output = Result<R, TaskError>>,
        R: Into<TaskOutput>,
    {
        // Of a dataset that has been deleted Opik gives no results, so that all would be run, and paid, again.
        self.experiment.dataset().check_existence().await?;
        let results = self.experiment.results().await?;
        let mut summary = ExperimentSummary::default();
        let mut todo = Vec::new();
        for item in items {
            match item.id().and_then(|id| results.get(&id)) {
                None => todo.push(item),
                Some(scores) => {
                    summary.skipped += 1;
                    for score in scores {
                        if let Some(value) = score.value {
                            summary.count_score(&score.name, value);
                        }
                    }
                }
            }
        }
        let total = todo.len();
        let started = AtomicUsize::new(0);
        let waiting = WAITING.max(self.concurrency.saturating_mul(2)).min(BATCH);
        let (sender, mut receiver) = mpsc::channel(waiting);

        let produce = async {
            // Each task waits for room by itself, so that an Opik that is slow does not hold up those that still run; one
            // that is gone holds up the next.
            let attempts = stream::iter(todo).map(|item| async {
                started.fetch_add(1, Ordering::Relaxed);
                let attempt = self.attempt(item, &task).await;
                let _ = sender.send(attempt).await;
            });
            attempts
                .buffer_unordered(self.concurrency)
                .collect::<()>()
                .await;
            drop(sender);
            Ok(())
        };
        let write = async {
            let mut results = Vec::new();
            while receiver.recv_many(&mut results, BATCH).await > 0 {
                let batch = mem::take(&mut results);
                self.write(batch, total, &mut summary).await?;
            }
            Ok::<_, OpikError>(())
        };
        let stopped = try_join(produce, write).await.err();
        if let Some(error) = stopped {
            return Err(OpikError::RunStopped {
                lost: started.into_inner().saturating_sub(summary.items),
                summary: Box::new(summary),
                error: Box::new(error),
            });
        }
        self.experiment.finish().await;
        Ok(summary)
    }

    async fn attempt<T, F, R>(&self, item: DatasetItem, task: &T) -> Attempt
    where
        T: Fn(DatasetItem) -> F,
        F: Future<Output = Result<R, TaskError>>,
        R: Into<TaskOutput>,
    {
        let mut attempt = Attempt::new(item);
        if let Err(error) = attempt.item.id_in(self.experiment.dataset()) {
            attempt.problem(TaskProblem::Opik(error));
            return attempt;
        }
        match self.result_of(&attempt.item, task).await {
            Ok(output) => attempt.output = Some(output),
            Err(error) => attempt.problem(TaskProblem::Failed(error)),
        }
        attempt.end = now();
        if let Some(error) = attempt.output.as_ref().and_then(TaskOutput::error) {
            attempt.problem(TaskProblem::Failed(error));
        } else {
            self.score(&mut attempt);
        }
        attempt.send_run().await;
        attempt
    }

    async fn result_of<T, F, R>(
        &self,
        item: &DatasetItem,
        task: &T,
    ) -> Result<TaskOutput, CallError>
    where
        T: Fn(DatasetItem) -> F,
        F: Future<Output = Result<R, TaskError>>,
        R: Into<TaskOutput>,
    {
        // All that the program does is within this: its task, what it makes of the result, and how its error prints.
        let task = async {
            let result = task(item.clone()).await;
            result.map(Into::into).map_err(|error| call_error(&*error))
        };
        let mut task = Held(Some(Box::pin(AssertUnwindSafe(task).catch_unwind())));
        let task = poll_fn(|context| match &mut task.0 {
            Some(task) => task.as_mut().poll(context),
            None => Poll::Pending,
        });
        match tokio::time::timeout(self.timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                let error = panicked(&*panic);
                discard(panic);
                Err(error)
            }
            Err(_) => {
                let message = format!("the task took longer than {:?}", self.timeout);
                Err(CallError::new(message).with_kind(CallError::TIMEOUT))
            }
        }
    }

    /// Adds what the scorer says.
    fn score(&self, attempt: &mut Attempt) {
        let (Some(scorer), Some(output)) = (&self.scorer, &mut attempt.output) else {
            return;
        };
        match harmless(|| scorer(&attempt.item, output)) {
            Some(scores) => output.scores.extend(scores),
            None => attempt.problem(TaskProblem::Panicked { what: "the scorer" }),
        }
    }

    /// Stores a batch: first the traces, then their scores, then what links them to their items.
    async fn write(
        &self,
        mut batch: Vec<Attempt>,
        total: usize,
        summary: &mut ExperimentSummary,
    ) -> Result<(), OpikError> {
        self.export(&mut batch).await?;
        self.write_scores(&mut batch, summary).await?;
        self.write_links(&mut batch).await?;
        let stopped = batch.iter().find_map(|attempt| attempt.stopped.clone());
        for attempt in batch {
            if attempt.stopped.is_none() {
                self.count(attempt, total, summary);
            }
        }
        match stopped {
            None => Ok(()),
            Some(error) => Err(OpikError::Failed {
                operation: OPERATION,
                error,
            }),
        }
    }

    async fn export(&self, batch: &mut [Attempt]) -> Result<(), OpikError> {
        let opik = self.experiment.opik();
        let target = Target {
            source: SOURCE,
            ..opik.target().clone()
        };
        let mut export = Export::new(target);
        for (index, attempt) in batch.iter_mut().enumerate() {
            let made = attempt.output.as_ref().map(|output| &output.made);
            let written = match (made, &self.sink) {
                (Some(Made::Call(call)), Some(sink)) => {
                    match harmless(|| sink.submit_shared(Arc::clone(call))) {
                        Some(Submission::Accepted) => Ok(Some(opik.trace_id(call))),
                        Some(submission) => Err(TaskProblem::NotAccepted(submission)),
                        None => Err(TaskProblem::Panicked { what: "the sink" }),
                    }
                }
                (Some(Made::Call(call)), None) => {
                    export.call(index, call).map_err(TaskProblem::Refused)
                }
                (Some(Made::Run(_)), _) => continue,
                (None, _) => export.failure(index, attempt).map_err(TaskProblem::Refused),
            };
            match written {
                Ok(trace) => attempt.trace = trace,
                Err(problem) => attempt.problem(problem),
            }
        }
        let (traces, spans) = opik.send_records(&export.traces, &export.spans).await;
        if let Some((_, error)) = traces.stopped.or(spans.stopped) {
            return Err(OpikError::Failed {
                operation: OPERATION,
                error,
            });
        }
        let refused = traces
            .refused
            .into_iter()
            .map(|one| (one, &export.of_traces));
        let refused = refused.chain(spans.refused.into_iter().map(|one| (one, &export.of_spans)));
        for ((place, error), owners) in refused {
            let owner = owners.get(place).and_then(|index| batch.get_mut(*index));
            if let Some(attempt) = owner
                && attempt.trace.take().is_some()
            {
                attempt.problem(TaskProblem::Refused(error));
            }
        }
        Ok(())
    }

    async fn write_scores(
        &self,
        batch: &mut [Attempt],
        summary: &mut ExperimentSummary,
    ) -> Result<(), OpikError> {
        let mut owners = Vec::new();
        let mut scores = Vec::new();
        for (index, attempt) in batch.iter_mut().enumerate() {
            let Some((trace, output)) = attempt.trace.zip(attempt.output.as_mut()) else {
                continue;
            };
            for score in one_of_each_name(mem::take(&mut output.scores)) {
                owners.push((index, score.name.clone(), score.value));
                scores.push((trace, score));
            }
        }
        let report = self.experiment.opik().score_traces(scores).await?;
        let mut failures = report.failures.into_iter().peekable();
        for (place, (index, name, value)) in owners.into_iter().enumerate() {
            match failures.next_if(|failure| failure.index == place) {
                None => summary.count_score(name.trim(), value),
                Some(failure) => {
                    if let Some(attempt) = batch.get_mut(index) {
                        attempt.problem(TaskProblem::Opik(failure.error));
                    }
                }
            }
        }
        Ok(())
    }

    async fn write_links(&self, batch: &mut [Attempt]) -> Result<(), OpikError> {
        let links = batch.iter().enumerate().filter_map(|(index, attempt)| {
            let link = Link {
                item: attempt.item.id()?,
                trace: attempt.trace?,
                outcome: match (&self.sink, &attempt.output) {
                    _ if attempt.has_failed() => Outcome::Failed,
                    (Some(_), Some(output)) if output.is_call() => Outcome::HandedOver,
                    _ => Outcome::Stored,
                },
            };
            Some((index, link))
        });
        let (owners, links): (Vec<_>, Vec<_>) = links.unzip();
        let report = self.experiment.write_links(links).await?;
        for failure in report.failures {
            let owner = owners.get(failure.index);
            if let Some(attempt) = owner.and_then(|index| batch.get_mut(*index)) {
                attempt.trace = None;
                attempt.problem(TaskProblem::Opik(failure.error));
            }
        }
        Ok(())
    }

    fn count(&self, attempt: Attempt, total: usize, summary: &mut ExperimentSummary) {
        let item = attempt.item.id();
        summary.items += 1;
        for call in attempt.output.iter().flat_map(TaskOutput::calls) {
            summary.count_call(&call);
        }
        let failed = attempt.has_failed() || attempt.trace.is_none();
        summary.errors += usize::from(failed);
        for problem in attempt.problems {
            summary.failures.push(TaskFailure { item, problem });
        }
        if let Some(tell) = &self.on_progress {
            let progress = ExperimentProgress {
                item,
                failed,
                done: summary.items,
                total,
                errors: summary.errors,
            };
            // What the program does with it must not cost it its results. Its panic hook has told of a panic.
            harmless(|| tell(&progress));
        }
    }
}

/// An item that has been run, and what became of it.
struct Attempt {
    item: DatasetItem,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    /// What the task gave, if it gave anything.
    output: Option<TaskOutput>,
    problems: Vec<TaskProblem>,
    /// The trace that is stored, or on its way.
    trace: Option<Uuid>,
    /// Why nothing more can be stored.
    stopped: Option<ExportError>,
}

impl Attempt {
    fn new(item: DatasetItem) -> Self {
        Self {
            item,
            start: now(),
            end: now(),
            output: None,
            problems: Vec::new(),
            trace: None,
            stopped: None,
        }
    }

    fn problem(&mut self, problem: TaskProblem) {
        self.problems.push(problem);
    }

    fn has_failed(&self) -> bool {
        self.output
            .as_ref()
            .is_none_or(|output| output.error().is_some())
    }

    /// An agent's run is sent by itself.
    async fn send_run(&mut self) {
        let Some(TaskOutput {
            made: Made::Run(run),
            ..
        }) = &self.output
        else {
            return;
        };
        let trace = Some(run.trace_id());
        match run.send_rest().await {
            Ok(Sent::Whole) => self.trace = trace,
            Ok(Sent::Partly(error)) => {
                self.trace = trace;
                self.problem(TaskProblem::Refused(error));
            }
            Err(error) if error.kind().affects_every_call() => self.stopped = Some(error),
            Err(error) => self.problem(TaskProblem::Refused(error)),
        }
    }
}

/// The records of a batch.
struct Export {
    target: Target,
    traces: Elements,
    spans: Elements,
    /// Whose each is.
    of_traces: Vec<usize>,
    of_spans: Vec<usize>,
}

impl Export {
    fn new(target: Target) -> Self {
        Self {
            target,
            traces: Elements::default(),
            spans: Elements::default(),
            of_traces: Vec::new(),
            of_spans: Vec::new(),
        }
    }

    /// Adds a call, and gives its trace.
    fn call(&mut self, index: usize, call: &LLMCallData) -> Result<Option<Uuid>, ExportError> {
        let now = now();
        let spans = &mut self.spans;
        self.traces.write(|trace| {
            spans.write(|span| convert::write(call, &self.target, now, trace, span))
        })?;
        self.of_traces.push(index);
        self.of_spans.push(index);
        Ok(Some(convert::trace_id(call, now)))
    }

    /// Adds the trace of a task that failed, if it was one.
    fn failure(&mut self, index: usize, attempt: &Attempt) -> Result<Option<Uuid>, ExportError> {
        let Some(TaskProblem::Failed(error)) = attempt.problems.first() else {
            return Ok(None);
        };
        // As Opik's Python client names it.
        let mut tree = AgentTree::new("evaluation_task".to_owned(), attempt.start);
        tree.work.input = Some(Json::new(attempt.item.data()));
        tree.work.error = Some(error.clone());
        tree.work.end = Some(attempt.end);
        let now = now();
        let Encoded { trace, .. } = tree.encode(&self.target, now)?;
        self.of_traces.push(index);
        self.traces.append(trace);
        Ok(Some(tree.sent_as(now)))
    }
}

/// A task. What it holds may panic when it goes, also when a run stops.
struct Held<T>(Option<T>);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

/// What code of the program gives, unless it panics.
fn harmless<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(discard).ok()
}

/// Drops a value of the program, which may panic, as may what it panics with.
fn discard<T>(value: T) {
    mem::forget(catch_unwind(AssertUnwindSafe(|| drop(value))));
}

/// Of scores of one name Opik keeps the last. Bad ones stay, to be told of.
fn one_of_each_name(scores: Vec<FeedbackScore>) -> Vec<FeedbackScore> {
    let mut kept: Vec<FeedbackScore> = Vec::with_capacity(scores.len());
    for score in scores {
        let same = |known: &&mut FeedbackScore| {
            known.name.trim() == score.name.trim() && known.check().is_ok()
        };
        match kept.iter_mut().find(same) {
            Some(known) if score.check().is_ok() => *known = score,
            _ => kept.push(score),
        }
    }
    kept
}

/// An error without a type of its own. Its message, and the chain of its causes.
fn call_error(error: &(dyn Error + 'static)) -> CallError {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < MAX_CAUSES) {
        causes.push(format!("caused by: {cause}"));
        next = cause.source();
    }
    let message = error.to_string();
    let failure = if message.trim().is_empty() {
        CallError::new("the task failed")
    } else {
        CallError::new(message)
    };
    if causes.is_empty() {
        failure
    } else {
        failure.with_trace(causes.join("\n"))
    }
}

fn panicked(panic: &(dyn Any + Send)) -> CallError {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = match message {
        Some(message) => format!("the task panicked: {message}"),
        None => "the task panicked".to_owned(),
    };
    CallError::new(message).with_kind(CallError::PANIC)
}

impl fmt::Debug for ExperimentRunner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExperimentRunner")
            .field("experiment", &self.experiment)
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("sink", &self.sink.is_some())
            .field("scorer", &self.scorer.is_some())
            .field("on_progress", &self.on_progress.is_some())
            .finish()
    }
}
