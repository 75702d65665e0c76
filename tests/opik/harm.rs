//! What a program's own code may do, and must not harm an experiment or a run by: errors that cannot be printed, values
//! that panic when they go, sinks that panic or lose what they took, values that use what they are given to.

use std::{
    error::Error,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
};

use beluga_o11y::{CallError, CallSink, Submission, TraceExporter};
use beluga_o11y_opik::{
    AgentRun, DatasetItem, FeedbackScore, OpikError, TaskError, TaskOutput, TaskProblem,
};
use beluga_o11y_sandbox::Fault;
use futures_util::FutureExt;
use uuid::Uuid;

use super::{
    experiments::{experiment, items, number, problems, succeed},
    scripted::{Scripted, reply},
    *,
};

/// Errors of which one thing or another cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    PanicsInDisplay,
    FailsInDisplay,
    PanicsInSource,
    IsItsOwnCause,
    HasACauseThatPanics,
    PanicsWhenItGoes,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PanicsInDisplay => panic!("no words"),
            Self::FailsInDisplay => Err(fmt::Error),
            _ => f.write_str("odd"),
        }
    }
}

impl Error for Odd {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::PanicsInSource => panic!("no cause"),
            Self::IsItsOwnCause => Some(self),
            Self::HasACauseThatPanics => Some(&Self::PanicsInDisplay),
            _ => None,
        }
    }
}

/// An error with an end of its own.
#[derive(Debug)]
struct Owned(Odd);

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Owned {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        assert_ne!(self.0, Odd::PanicsWhenItGoes);
    }
}

/// Panics when it goes, with another one. (A second panic at a time would abort.)
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic_any(Self);
        }
    }
}

/// No panic comes out of this. One that does is not dropped: it may be a bomb.
async fn unharmed<T>(code: impl Future<Output = T>) -> T {
    let result = AssertUnwindSafe(code).catch_unwind().await;
    result.map_err(mem::forget).expect("no panic")
}

/// What comes of a task that is anything but well behaved, and of two beside it.
async fn beside_others(
    task: impl AsyncFn() -> Result<TaskOutput, TaskError>,
) -> (CallError, Sandbox) {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let bad = items[1].id();
    let run = experiment
        .runner()
        .with_timeout(Duration::from_millis(300))
        .run(items, async |item| match number(&item) {
            1 => task().await,
            _ => Ok(call().into()),
        });
    let summary = unharmed(run).await.unwrap();
    assert_eq!((summary.items, summary.calls, summary.errors), (3, 2, 1));
    let [failure] = summary.failures.as_slice() else {
        panic!("{:?}", summary.failures);
    };
    assert_eq!(failure.item, bad);
    let TaskProblem::Failed(error) = failure.problem.clone() else {
        panic!("{failure:?}");
    };
    assert_eq!(sandbox.experiment_items().len(), 3);
    (error, sandbox)
}

#[tokio::test]
async fn an_error_that_cannot_be_printed_is_a_failure_like_any_other() {
    for (odd, panics) in [
        (Odd::PanicsInDisplay, true),
        // As `to_string` has it.
        (Odd::FailsInDisplay, true),
        (Odd::PanicsInSource, true),
        (Odd::HasACauseThatPanics, true),
        (Odd::PanicsWhenItGoes, true),
        (Odd::IsItsOwnCause, false),
    ] {
        let (error, sandbox) = beside_others(async || Err(Owned(odd).into())).await;
        let kind = panics.then_some(CallError::PANIC);
        assert_eq!(error.kind.as_deref(), kind, "{odd:?}");
        let traces = sandbox.traces();
        let failures: Vec<_> = traces
            .iter()
            .filter_map(|trace| trace.error_info.as_ref())
            .collect();
        let [failure] = failures.as_slice() else {
            panic!("{odd:?}: {failures:?}");
        };
        if odd == Odd::IsItsOwnCause {
            assert_eq!(error.message, "odd");
            let causes = failure.traceback.matches("caused by: odd").count();
            assert!((1..100).contains(&causes), "{causes}");
        }
    }
}

/// A result that cannot become an output.
struct NotYet;

impl From<NotYet> for TaskOutput {
    fn from(_: NotYet) -> Self {
        panic!("not yet")
    }
}

#[tokio::test]
async fn a_panic_is_a_failure_wherever_it_comes_from_and_whatever_it_says() {
    let (error, _) = beside_others(async || panic_any(17)).await;
    assert_eq!(error.message, "the task panicked");
    let (error, _) = beside_others(async || panic_any(Bomb)).await;
    assert_eq!(error.message, "the task panicked");

    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let summary = experiment
        .run(items.clone(), |item| {
            // Before there is a future at all.
            assert_ne!(number(&item), 1, "no future");
            async { Ok(NotYet) }
        })
        .await
        .unwrap();
    let found = problems(&summary);
    assert_eq!((summary.items, summary.errors), (3, 3));
    for (item, text) in [(1, "no future"), (2, "not yet")] {
        let problem = &found[&items[item].id()];
        assert!(problem.contains(text), "{problem}");
    }

    // Neither do scorers, sinks and callbacks end it, whatever they panic with.
    let experiment = experiment
        .dataset()
        .create_experiment("bombs")
        .await
        .unwrap();
    let run = experiment
        .runner()
        .with_scorer(|_, _| panic_any(Bomb))
        .on_progress(|_| panic_any(Bomb))
        .with_sink(Panics(true))
        .run(items, succeed);
    let summary = unharmed(run).await.unwrap();
    let whats: Vec<String> = problems(&summary).into_values().collect();
    assert_eq!(
        (summary.items, summary.errors, summary.failures.len()),
        (3, 3, 6)
    );
    assert_eq!(whats, vec!["panicked: the sink panicked"; 3]);
}

#[tokio::test]
async fn what_panics_when_a_task_is_dropped_at_its_timeout_costs_that_task_only() {
    let (error, _) = beside_others(async || {
        let _held = Bomb;
        std::future::pending().await
    })
    .await;
    assert_eq!(error.kind.as_deref(), Some(CallError::TIMEOUT));
    // Nor when a task has its result.
    let (error, _) = beside_others(async || {
        let _held = Bomb;
        Ok(call().into())
    })
    .await;
    assert_eq!(error.kind.as_deref(), Some(CallError::PANIC));
}

#[tokio::test]
async fn what_panics_when_a_run_stops_hides_not_why() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 9).await;
    sandbox.inject(Fault::status(401).on("/traces/batch").always());
    let run = experiment.run(items, async |item| {
        let _held = (number(&item) > 0).then_some(Bomb);
        if number(&item) > 0 {
            std::future::pending::<()>().await;
        }
        Ok(call())
    });
    let error = unharmed(run).await.unwrap_err();
    assert!(matches!(error, OpikError::RunStopped { .. }), "{error:?}");
}

/// A sink that panics, with what panics when it goes.
struct Panics(bool);

impl CallSink for Panics {
    fn submit_shared(&self, _: Arc<LLMCallData>) -> Submission {
        if self.0 {
            panic_any(Bomb);
        }
        panic!("the queue is ill")
    }
}

#[tokio::test]
async fn a_sink_that_panics_costs_its_calls_only() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let opik = exporter(&sandbox);
    let summary = experiment
        .runner()
        .with_sink(Panics(false))
        .with_scorer(|_, _| vec![FeedbackScore::new("x", 1.0)])
        .run(items.clone(), async |item| match number(&item) {
            0 => {
                let run = opik.agent_run("agent");
                run.submit(call());
                Ok(TaskOutput::from(run))
            }
            _ => Ok(call().into()),
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.errors), (3, 2));
    let found = problems(&summary);
    assert!(!found.contains_key(&items[0].id()));
    for item in &items[1..] {
        assert_eq!(found[&item.id()], "panicked: the sink panicked");
    }
    assert_eq!(summary.scores["x"].count, 1);
    let [link] = sandbox.experiment_items().try_into().unwrap();
    assert_eq!(Some(link.dataset_item_id), items[0].id());
    let summary = experiment.run(items, succeed).await.unwrap();
    assert_eq!((summary.items, summary.skipped), (2, 1));
}

/// A sink that takes all, and keeps what it has taken.
#[derive(Clone, Default)]
struct Keeps(Arc<Mutex<Vec<Arc<LLMCallData>>>>);

impl CallSink for Keeps {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        self.0.lock().unwrap().push(call);
        Submission::Accepted
    }
}

#[tokio::test]
async fn what_a_sink_took_and_lost_is_run_again() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 4).await;
    let sink = Keeps::default();
    let runner = experiment.runner().with_sink(sink.clone());
    let summary = runner
        .with_concurrency(1)
        .with_scorer(|_, _| vec![FeedbackScore::new("x", 0.5)])
        .run(items.clone(), succeed)
        .await
        .unwrap();
    assert_eq!((summary.items, summary.errors), (4, 0));
    assert_eq!(sandbox.experiment_items().len(), 4);
    assert!(sandbox.traces().is_empty());
    // Two of them arrive late, the others never.
    let taken = sink.0.lock().unwrap().clone();
    for call in &taken[1..3] {
        exporter(&sandbox).export_llm_call(call).await.unwrap();
    }
    let again = async || {
        let ran = Mutex::new(Vec::new());
        let run = experiment.run(items.clone(), async |item| {
            ran.lock().unwrap().push(number(&item));
            Ok(call())
        });
        let summary = run.await.unwrap();
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        (ran, summary.skipped)
    };
    assert_eq!(again().await, (vec![0, 3], 2));
    assert_eq!(again().await, (vec![], 4));
}

/// Uses the run that it is given to, while it is read.
struct Uses(AgentRun);

impl Uses {
    fn run(&self) -> String {
        self.0.submit(call());
        self.0.step("below").finish("done");
        self.0.trace_id().to_string()
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.run())
    }
}

impl From<Uses> for String {
    fn from(uses: Uses) -> Self {
        uses.run()
    }
}

#[test]
fn a_value_that_uses_the_run_it_is_given_to_waits_for_nobody() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let (tell, told) = mpsc::channel();
    // It is not waited for: it might never end.
    thread::spawn(move || {
        let run = opik.agent_run("agent");
        let uses = || Uses(run.clone());
        let used = run
            .clone()
            .with_input(format_args!("{}", uses()))
            .with_session_id(uses())
            .with_user_id(uses())
            .with_environment("test")
            .with_tag(uses())
            .with_metadata(uses(), format_args!("{}", uses()));
        let tool = used
            .tool(uses())
            .with_input(format_args!("{}", uses()))
            .with_tag(uses());
        tool.finish(format_args!("{}", uses()));
        let step = used
            .step(uses())
            .with_metadata(uses(), format_args!("{}", uses()));
        step.fail(uses().run());
        let runtime = runtime();
        runtime
            .block_on(run.finish(format_args!("{}", uses())))
            .unwrap();
        tell.send(run.trace_id()).unwrap();
    });
    let trace = told.recv_timeout(Duration::from_secs(10)).expect("an end");
    let stored = sandbox.trace(trace).unwrap();
    assert_eq!(stored.output, Some(json!({"output": trace.to_string()})));
    // As many calls, and as many steps with the two that were asked for.
    assert_eq!((stored.llm_span_count, stored.span_count), (15, 32));
}

/// Panics while it is read.
struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("unreadable")
    }
}

#[tokio::test]
async fn a_run_whose_value_panicked_goes_on() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent").with_input("question");
    let tool = run.tool("search");
    let panics = |code: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(code)).is_err());
    panics(&|| drop(run.clone().with_input(format_args!("{Unreadable}"))));
    panics(&|| drop(run.clone().with_metadata("k", format_args!("{Unreadable}"))));
    panics(&|| tool.finish(format_args!("{Unreadable}")));
    tool.submit(call());
    tool.finish("found");
    run.finish("done").await.unwrap();
    let [trace] = sandbox.traces().try_into().unwrap();
    assert_eq!(trace.input, Some(json!({"input": "question"})));
    assert_eq!(trace.output, Some(json!({"output": "done"})));
    assert_eq!((trace.span_count, trace.error_info), (2, None));
}

#[tokio::test]
async fn a_scorer_and_a_callback_may_use_the_run_of_an_agent() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 2).await;
    let opik = exporter(&sandbox);
    let runs = Mutex::new(Vec::new());
    let run = experiment
        .runner()
        .with_scorer(|_, output| {
            let late = runs.lock().unwrap().last().cloned();
            let run: AgentRun = late.expect("a run");
            run.step("judge").finish(output.text());
            vec![FeedbackScore::new("calls", output.calls().len() as f64)]
        })
        .on_progress(|_| {
            let last = runs.lock().unwrap().last().cloned();
            if let Some(run) = last {
                run.step("told").finish("seen");
            }
        })
        .with_concurrency(1)
        .run(items, async |_| {
            let run = opik.agent_run("agent");
            run.submit(call());
            run.finish("done").await?;
            runs.lock().unwrap().push(run.clone());
            Ok(run)
        });
    let run = tokio::time::timeout(Duration::from_secs(20), run).await;
    let summary = run.expect("an end").unwrap();
    assert_eq!((summary.items, summary.errors), (2, 0));
    assert_eq!(summary.scores["calls"].mean, 1.0);
    // What the scorer added is sent before the item is linked.
    for trace in sandbox.traces() {
        assert_eq!(trace.span_count, 2);
    }
}

/// What is asked of a runtime that lacks something.
async fn all_that_may_be_asked(opik: &OpikExporter) -> Vec<String> {
    let run = opik.agent_run("agent");
    run.submit(call());
    let mut said = vec![run.finish("done").await.unwrap_err().to_string()];
    let id = Uuid::now_v7();
    let score = || FeedbackScore::new("x", 1.0);
    let errors = [
        opik.score_trace(id, score()).await.unwrap_err(),
        opik.score_traces([(id, score())]).await.unwrap_err(),
        opik.create_dataset("capitals").await.unwrap_err(),
        opik.get_or_create_dataset("capitals").await.unwrap_err(),
    ];
    said.extend(errors.iter().map(ToString::to_string));
    said
}

#[test]
fn a_runtime_without_timers_or_none_at_all_is_an_error() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let with_all = runtime();
    let (experiment, items) = with_all.block_on(experiment(&sandbox, 2));
    let ask = async || {
        let mut said = all_that_may_be_asked(&opik).await;
        let dataset = experiment.dataset();
        let new: Vec<DatasetItem> = self::items(2);
        said.push(dataset.insert(new).await.unwrap_err().to_string());
        said.push(dataset.all_items().await.unwrap_err().to_string());
        let run = experiment.run(items.clone(), succeed).await;
        said.push(run.unwrap_err().to_string());
        said
    };
    let before = sandbox.request_count();
    let without = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    for text in without.block_on(ask()) {
        assert!(text.contains("no IO or no timers"), "{text}");
    }
    let mut asking = pin!(ask());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(said) = asking.as_mut().poll(&mut context) else {
        panic!("there is nothing to wait for");
    };
    for text in said {
        assert!(text.contains("no tokio runtime"), "{text}");
    }
    assert_eq!(sandbox.request_count(), before);
}

#[tokio::test]
async fn a_server_that_answers_anything_is_an_error() {
    let anything = [
        "null",
        "[]",
        "{}",
        "17",
        "\"x\"",
        "<html></html>",
        "\u{0}",
        "{\"error\":\"canary\"}",
        "{\"id\":null}",
        "{\"id\":\"canary\",\"name\":1}\r\n",
        "{\"content\":null}",
        "{\"content\":[null]}",
        "{\"content\":[{\"experiment_items\":[null]}],\"total\":1}",
        "{\"content\":[],\"total\":-1}",
    ];
    // Pages of rows that are nothing.
    let rows = json!({"content": vec![json!({}); 256], "total": 1_u64 << 40});
    let anything = anything.map(str::to_owned).into_iter();
    for body in anything.chain([rows.to_string()]) {
        let answer = body.clone();
        let server = Scripted::start(move |asked| {
            let is_read = asked.method == "GET" || asked.path.ends_with("/stream");
            is_read.then(|| {
                reply(200)
                    .header("content-type", "application/json")
                    .body(answer.clone())
            })
        })
        .await;
        let dataset = server.dataset().await;
        let experiment = dataset.create_experiment("x").await.unwrap();
        let all = async {
            [
                dataset.all_items().await.unwrap_err(),
                dataset.insert(items(1)).await.unwrap_err(),
                dataset.experiment("x").await.unwrap_err(),
                dataset.get_or_create_experiment("x").await.unwrap_err(),
                experiment
                    .run(items(1), async |_| -> Result<LLMCallData, _> {
                        panic!("{body}: what there is cannot be read")
                    })
                    .await
                    .unwrap_err(),
            ]
        };
        let all = tokio::time::timeout(Duration::from_secs(20), all).await;
        for error in all.unwrap_or_else(|_| panic!("{body}: for ever")) {
            assert!(
                matches!(error, OpikError::NotOpik { .. }),
                "{body}: {error:?}"
            );
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert!(
            server.asked_of("PUT", "/datasets/items").is_empty(),
            "{body}"
        );
        assert_eq!(server.asked_of("POST", "/experiments").len(), 1, "{body}");
    }
}
