//! Experiments: what a run stores, in which order, and what becomes of tasks that fail and of servers that go away.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use beluga_o11y::{
    CallError, CallSink, ExportErrorKind, Refusal, Submission, TraceExporter, Usage,
};
use beluga_o11y_opik::{
    DatasetItem, ExperimentSummary, FeedbackScore, NewExperiment, OpikDataset, OpikError,
    OpikExperiment, TaskError, TaskOutput, TaskProblem,
};
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Fault;
use serde_json::Value;
use tokio::sync::{Barrier, Semaphore};
use uuid::Uuid;

use super::{
    scripted::{Asked, DATASET, Reply, Scripted, http, raw, reply},
    *,
};

const TRACES: &str = "/traces/batch";
const SPANS: &str = "/spans/batch";
const SCORES: &str = "/traces/feedback-scores";
const LINKS: &str = "/experiments/items";

fn question(number: usize) -> DatasetItem {
    DatasetItem::new(json!({"n": number}))
}

pub(crate) fn number(item: &DatasetItem) -> u64 {
    item["n"].as_u64().unwrap()
}

async fn dataset(sandbox: &Sandbox, count: usize) -> (OpikDataset, Vec<DatasetItem>) {
    let dataset = exporter(sandbox).create_dataset("capitals").await.unwrap();
    let report = dataset.insert((0..count).map(question)).await.unwrap();
    report.into_result().unwrap();
    let items = dataset.all_items().await.unwrap();
    (dataset, items)
}

pub(crate) async fn experiment(
    sandbox: &Sandbox,
    count: usize,
) -> (OpikExperiment, Vec<DatasetItem>) {
    let (dataset, items) = dataset(sandbox, count).await;
    (dataset.create_experiment("terse").await.unwrap(), items)
}

/// Items that a scripted server need not know.
pub(crate) fn items(count: usize) -> Vec<DatasetItem> {
    (0..count)
        .map(|number| question(number).with_id(Uuid::now_v7()))
        .collect()
}

pub(crate) async fn succeed(_: DatasetItem) -> Result<LLMCallData, TaskError> {
    Ok(call())
}

pub(crate) fn problems(summary: &ExperimentSummary) -> BTreeMap<Option<Uuid>, String> {
    let problem = |failure: &beluga_o11y_opik::TaskFailure| {
        let (kind, text) = match &failure.problem {
            TaskProblem::Failed(error) => ("failed", format!("{:?} {}", error.kind, error.message)),
            other @ TaskProblem::Panicked { .. } => ("panicked", other.to_string()),
            other @ TaskProblem::Refused(_) => ("refused", other.to_string()),
            other @ TaskProblem::NotAccepted(_) => ("not accepted", other.to_string()),
            other => ("opik", other.to_string()),
        };
        (failure.item, format!("{kind}: {text}"))
    };
    summary.failures.iter().map(problem).collect()
}

#[tokio::test]
async fn a_run_is_traced_linked_and_scored() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 4).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let summary = experiment
        .runner()
        .with_concurrency(1)
        .with_scorer(|item, output| {
            assert_eq!(output.text(), format!("answer {}", number(item)));
            vec![FeedbackScore::new("length ", number(item) as f64)]
        })
        .on_progress(move |progress| tell.lock().unwrap().push(progress.clone()))
        .run(items.clone(), async |item| {
            let n = number(&item);
            let usage = Usage::new(10 * n, n);
            let call = call()
                .with_response(format!("answer {n}"))
                .with_usage(usage)
                .with_cost(0.5 * n as f64);
            let even = FeedbackScore::new("even", 1.0).with_reason("by two");
            let output = TaskOutput::from(call);
            Ok(if n.is_multiple_of(2) {
                output.with_score(even)
            } else {
                output
            })
        })
        .await
        .unwrap();
    assert_eq!(
        (
            summary.items,
            summary.skipped,
            summary.calls,
            summary.errors
        ),
        (4, 0, 4, 0)
    );
    assert_eq!(
        (summary.input_tokens, summary.output_tokens),
        (Some(60), Some(6))
    );
    assert_eq!(summary.cost, Some(3.0));
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    let means: Vec<_> = summary
        .scores
        .iter()
        .map(|(name, score)| (name.as_str(), score.count, score.mean))
        .collect();
    assert_eq!(means, [("even", 2, 1.0), ("length", 4, 1.5)]);

    let told = told.lock().unwrap();
    let steps: Vec<_> = told
        .iter()
        .map(|p| (p.item, p.done, p.total, p.errors, p.failed))
        .collect();
    let expected: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(n, item)| (item.id(), n + 1, 4, 0, false))
        .collect();
    assert_eq!(steps, expected);

    let links = sandbox.experiment_items();
    assert_eq!(links.len(), 4);
    for link in &links {
        assert_eq!(link.experiment_id, experiment.id());
        let item = items
            .iter()
            .find(|item| item.id() == Some(link.dataset_item_id))
            .unwrap();
        let trace = sandbox.trace(link.trace_id).unwrap();
        assert_eq!(
            trace.output,
            Some(json!({"response": format!("answer {}", number(item))}))
        );
        assert_eq!(trace.source.as_deref(), Some("experiment"));
        assert_eq!(
            trace.feedback_scores.len(),
            if number(item).is_multiple_of(2) { 2 } else { 1 }
        );
        assert_eq!(link.project_name.as_deref(), Some("Default Project"));
    }
    let [stored] = sandbox.experiments().try_into().unwrap();
    assert_eq!(
        stored.feedback_scores,
        BTreeMap::from([("even".to_owned(), 1.0), ("length".to_owned(), 1.5)])
    );
    assert_eq!((stored.trace_count, stored.finished), (4, true));
    assert_eq!(stored.experiment_type, "regular");
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no answer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn whatever_happens_to_some_the_others_go_on() {
    let sandbox = sandbox();
    let (experiment, mut items) = experiment(&sandbox, 9).await;
    let ids: Vec<_> = items.iter().map(DatasetItem::id).collect();
    items.push(question(9));
    let errors = Arc::new(Mutex::new(Vec::new()));
    let tell = errors.clone();
    let summary = experiment
        .runner()
        .with_timeout(Duration::from_millis(400))
        .with_scorer(|item, _| match number(item) {
            5 => panic!("the judge is ill"),
            6 => vec![
                FeedbackScore::new("bad", f64::NAN),
                FeedbackScore::new("good", 0.5),
            ],
            _ => vec![FeedbackScore::new("good", 1.0)],
        })
        .on_progress(move |progress| {
            tell.lock()
                .unwrap()
                .push((progress.failed, progress.done, progress.errors));
            panic!("the callback is ill");
        })
        .run(items, async |item| match number(&item) {
            0 => Err(Outer(std::io::Error::other("cable cut")).into()),
            1 => panic!("index {}", 17),
            2 => panic!("plain"),
            3 => {
                std::future::pending::<()>().await;
                Ok(TaskOutput::from(call()))
            }
            4 => {
                let failed = call().with_error(CallError::new("429").with_kind("RateLimitError"));
                Ok(TaskOutput::from(failed).with_score(FeedbackScore::new("own", 0.0)))
            }
            7 => Err("".into()),
            _ => Ok(TaskOutput::from(call()).with_score(FeedbackScore::new("own", 1.0))),
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.calls, summary.errors), (10, 4, 7));
    let found = problems(&summary);
    assert_eq!(summary.failures.len(), found.len());
    let expected = [
        (ids[0], "failed: None no answer"),
        (
            ids[1],
            "failed: Some(\"panic\") the task panicked: index 17",
        ),
        (ids[2], "failed: Some(\"panic\") the task panicked: plain"),
        (
            ids[3],
            "failed: Some(\"timeout\") the task took longer than 400ms",
        ),
        (ids[4], "failed: Some(\"RateLimitError\") 429"),
        (ids[5], "panicked: the scorer panicked"),
        (
            ids[6],
            "opik: opik: score `bad`: the value is not a finite number",
        ),
        (ids[7], "failed: None the task failed"),
        (
            None,
            "opik: opik: experiment: the item has no id; insert it, and run the items that the dataset lists",
        ),
    ];
    let kinds = |text: &str| {
        text.replace(CallError::PANIC, "panic")
            .replace(CallError::TIMEOUT, "timeout")
    };
    for (item, expected) in expected {
        assert_eq!(kinds(&found[&item]), expected);
    }
    assert_eq!(found.len(), expected.len());
    let scores: Vec<_> = summary
        .scores
        .iter()
        .map(|(name, score)| (name.as_str(), score.count))
        .collect();
    assert_eq!(scores, [("good", 2), ("own", 4)]);
    assert_eq!(summary.scores["own"].mean, 0.75);

    let errors = errors.lock().unwrap();
    assert_eq!(
        errors.iter().map(|one| one.1).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    assert_eq!(errors.iter().filter(|one| one.0).count(), 7);
    assert_eq!(errors.last().unwrap().2, 7);

    // All but the one without an id have a trace that tells what happened, linked to the item.
    let mut traced = BTreeMap::new();
    for link in sandbox.experiment_items() {
        traced.insert(
            Some(link.dataset_item_id),
            sandbox.trace(link.trace_id).unwrap(),
        );
    }
    assert_eq!(traced.len(), 9);
    for (place, kind, message) in [
        (0, None, "no answer"),
        (1, Some(CallError::PANIC), "the task panicked: index 17"),
        (
            3,
            Some(CallError::TIMEOUT),
            "the task took longer than 400ms",
        ),
    ] {
        let trace = &traced[&ids[place]];
        assert_eq!(trace.name.as_deref(), Some("evaluation_task"));
        assert_eq!(trace.input, Some(json!({"n": place})));
        assert_eq!(trace.output, None);
        assert_eq!(trace.source.as_deref(), Some("experiment"));
        let error = trace.error_info.clone().unwrap();
        assert_eq!(error.message.as_deref(), Some(message));
        if let Some(kind) = kind {
            assert_eq!(error.exception_type, kind);
        }
        assert!(
            place != 0 || error.traceback.contains("caused by: cable cut"),
            "{}",
            error.traceback
        );
    }
    assert!(traced[&ids[3]].duration >= Some(400.0));
    assert_eq!(
        traced[&ids[4]].error_info.as_ref().unwrap().exception_type,
        "RateLimitError"
    );
    assert_eq!(traced[&ids[5]].feedback_scores.len(), 1);
    assert!(traced[&ids[5]].error_info.is_none());
    assert_eq!(traced[&ids[6]].feedback_scores.len(), 2);
}

async fn most_at_once(limit: Option<usize>, expected: usize) {
    let server = Scripted::start(|_| None).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Nobody gets on unless as many run at once.
    let barrier = Barrier::new(expected);
    let runner = experiment.runner().with_timeout(Duration::from_secs(20));
    let runner = match limit {
        Some(limit) => runner.with_concurrency(limit),
        None => runner,
    };
    let summary = runner
        .run(items(3 * expected), async |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait().await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(call())
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.errors), (3 * expected, 0));
    assert_eq!(most.into_inner(), expected);
}

#[tokio::test]
async fn so_many_run_at_once_and_no_more() {
    most_at_once(None, 8).await;
    most_at_once(Some(3), 3).await;
    most_at_once(Some(1), 1).await;
    let none = most_at_once(Some(0), 1);
    let none = tokio::time::timeout(Duration::from_secs(20), none).await;
    none.expect("it runs nothing for ever");
}

#[tokio::test]
async fn figures_that_nobody_tells_are_none() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let summary = experiment
        .run(items.clone(), async |_| {
            Ok(LLMCallData::new("openai", "gpt-4o").with_response("x"))
        })
        .await
        .unwrap();
    assert_eq!(
        (summary.input_tokens, summary.output_tokens, summary.cost),
        (None, None, None)
    );
    assert!(summary.scores.is_empty());

    let other = experiment
        .dataset()
        .create_experiment("some tell")
        .await
        .unwrap();
    let summary = other
        .run(items, async |item| {
            let call = LLMCallData::new("openai", "gpt-4o").with_response("x");
            Ok(match number(&item) {
                0 => call.with_cost(0.25),
                1 => call.with_tokens(0, 3),
                _ => call.with_cost(0.5).with_tokens(2, 4),
            })
        })
        .await
        .unwrap();
    assert_eq!(
        (summary.input_tokens, summary.output_tokens, summary.cost),
        (Some(2), Some(7), Some(0.75))
    );
}

#[tokio::test]
async fn calls_go_through_a_pipeline() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 5).await;
    let pipeline = Pipeline::builder(exporter(&sandbox))
        .with_redaction(|text| match text {
            "hello" => "redacted".into(),
            other => other.into(),
        })
        .spawn()
        .unwrap();
    let summary = experiment
        .runner()
        .with_sink(pipeline.clone())
        .with_scorer(|_, output| vec![FeedbackScore::new("size", output.text().len() as f64)])
        .run(items.clone(), async |item| match number(&item) {
            4 => Err("down".into()),
            _ => Ok(call()),
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.errors, summary.calls), (5, 1, 4));
    assert_eq!(summary.scores["size"].mean, 5.0);
    let deadline = Duration::from_secs(10);
    let report = tokio::task::spawn_blocking(move || pipeline.shutdown(deadline))
        .await
        .unwrap();
    assert_eq!(report.stats.delivered, 4);
    assert_eq!(sandbox.experiment_items().len(), 5);
    for link in sandbox.experiment_items() {
        let trace = sandbox.trace(link.trace_id).unwrap();
        if trace.error_info.is_none() {
            assert_eq!(trace.output, Some(json!({"response": "redacted"})));
            assert_eq!(trace.feedback_scores.len(), 1);
        }
    }

    // What the pipeline leaves out has no result.
    let pipeline = Pipeline::builder(exporter(&sandbox))
        .with_sample_rate(0.0)
        .spawn()
        .unwrap();
    let none = experiment
        .dataset()
        .create_experiment("none")
        .await
        .unwrap();
    let runner = none.runner().with_sink(pipeline.clone());
    let summary = runner.run(items.clone(), succeed).await.unwrap();
    assert_eq!((summary.items, summary.errors), (5, 5));
    for problem in problems(&summary).values() {
        assert_eq!(
            problem,
            "not accepted: the pipeline did not take the call: sampled out"
        );
    }

    // Nor what it has no room for.
    struct Full;
    impl CallSink for Full {
        fn submit_shared(&self, _: Arc<LLMCallData>) -> Submission {
            Submission::Refused(Refusal::Full)
        }
    }
    let runner = none.runner().with_sink(Full);
    let summary = runner.run(items, succeed).await.unwrap();
    assert_eq!((summary.items, summary.errors), (5, 5));
    for problem in problems(&summary).values() {
        assert!(problem.starts_with("not accepted: "), "{problem}");
        assert!(problem.ends_with(&Refusal::Full.to_string()), "{problem}");
    }
    assert_eq!(sandbox.experiment_items().len(), 5);
}

#[tokio::test]
async fn an_agent_run_is_a_result() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let opik = exporter(&sandbox);
    let summary = experiment
        .run(items.clone(), async |item| {
            let run = opik.agent_run("agent").with_input(item.data());
            let tool = run.tool("search");
            run.submit(call());
            tool.submit(call());
            tool.finish("found");
            match number(&item) {
                0 => run.finish("done").await?,
                1 => run.fail("lost its way").await?,
                // Nobody ends it: it is sent with the result.
                _ => {}
            }
            let score =
                FeedbackScore::new("text", TaskOutput::from(run.clone()).text().len() as f64);
            Ok(TaskOutput::from(run).with_score(score))
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.calls), (3, 6));
    assert_eq!(
        (summary.input_tokens, summary.output_tokens),
        (Some(72), Some(30))
    );
    let found = problems(&summary);
    assert_eq!(found[&items[1].id()], "failed: None lost its way");
    assert!(!found.contains_key(&items[0].id()));
    let links = sandbox.experiment_items();
    assert_eq!(links.len(), 3);
    for link in links {
        let trace = sandbox.trace(link.trace_id).unwrap();
        assert_eq!(trace.name.as_deref(), Some("agent"));
        assert_eq!((trace.span_count, trace.llm_span_count), (3, 2));
        assert_eq!(trace.feedback_scores.len(), 1);
        let first = items[0].id() == Some(link.dataset_item_id);
        assert!(!first || trace.feedback_scores[0].value == 4.0);
    }
}

#[tokio::test]
async fn a_run_goes_on_where_the_last_one_stopped() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 6).await;
    let run = async |fails: bool| {
        let ran = Mutex::new(Vec::new());
        let summary = experiment
            .run(items.clone(), async |item| {
                let n = number(&item);
                ran.lock().unwrap().push(n);
                match n {
                    1 if fails => Err("down".into()),
                    // It broke off, with an output.
                    2 if fails => Ok(call().with_error("cut off")),
                    3 if fails => panic!("ill"),
                    // A result, though without an output.
                    4 => Ok(LLMCallData::new("openai", "gpt-4o")),
                    _ => Ok(call()),
                }
            })
            .await
            .unwrap();
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        (ran, summary)
    };
    let (ran, summary) = run(true).await;
    assert_eq!((ran.len(), summary.errors, summary.skipped), (6, 3, 0));
    let (ran, summary) = run(true).await;
    assert_eq!(ran, [1, 2, 3]);
    assert_eq!((summary.items, summary.errors, summary.skipped), (3, 3, 3));
    let (ran, summary) = run(false).await;
    assert_eq!(ran, [1, 2, 3]);
    assert_eq!((summary.errors, summary.skipped), (0, 3));
    let (ran, summary) = run(false).await;
    assert!(ran.is_empty());
    assert_eq!((summary.items, summary.skipped), (0, 6));

    // Another experiment has results of its own.
    let again = experiment
        .dataset()
        .get_or_create_experiment("terse")
        .await
        .unwrap();
    assert_eq!(again.id(), experiment.id());
    let other = experiment
        .dataset()
        .create_experiment("terse")
        .await
        .unwrap();
    assert_ne!(other.id(), experiment.id());
    let summary = other.run(items.clone(), succeed).await.unwrap();
    assert_eq!(summary.items, 6);
}

fn compare(content: &[Value], total: Option<usize>) -> Reply {
    reply(200).json(&json!({"page": 1, "size": content.len(), "total": total, "content": content}))
}

fn is_compare(asked: &Asked) -> bool {
    asked.is(
        "GET",
        &format!("/datasets/{DATASET}/items/experiments/items"),
    )
}

fn page(asked: &Asked) -> usize {
    let page = asked
        .query
        .split('&')
        .find_map(|pair| pair.strip_prefix("page="));
    page.unwrap().parse().unwrap()
}

/// A row as Opik's own client leaves it: the link's id follows from nothing.
fn row(item: &DatasetItem, experiment: Option<Uuid>, output: Value) -> Value {
    json!({"id": item.id(), "data": {}, "experiment_items": [{
        "id": Uuid::now_v7(), "experiment_id": experiment, "dataset_item_id": item.id(),
        "trace_id": Uuid::now_v7(), "output": output,
        "feedback_scores": [{"name": "old", "value": if output.is_object() { 0.5 } else { 0.25 }, "source": "sdk"}],
    }]})
}

#[tokio::test]
async fn what_another_client_has_done_is_done() {
    let items = items(5);
    let rows = items.clone();
    let server = Scripted::start(move |asked| {
        is_compare(asked).then(|| {
            let id = asked.query.split("experiment_ids=%5B%22").nth(1).unwrap();
            let own: Uuid = id[..36].parse().unwrap();
            compare(
                &[
                    row(&rows[0], Some(own), json!({"output": "a"})),
                    row(&rows[1], Some(own), json!(null)),
                    row(
                        &rows[2],
                        Some(Uuid::now_v7()),
                        json!("of another experiment"),
                    ),
                    row(&rows[3], None, json!("x")),
                    json!({"id": rows[4].id(), "experiment_items": null}),
                ],
                Some(5),
            )
        })
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let summary = experiment.run(items.clone(), succeed).await.unwrap();
    assert_eq!((summary.skipped, summary.items), (2, 3));
    // Their scores are those of the experiment; of items that are run again they are not.
    let old = summary.scores["old"];
    assert_eq!((old.count, old.mean), (2, 0.375));
    let mut linked: Vec<Value> = server
        .asked_of("POST", LINKS)
        .iter()
        .flat_map(|asked| asked.list("experiment_items"))
        .map(|link| link["dataset_item_id"].clone())
        .collect();
    linked.sort_by_key(Value::to_string);
    assert_eq!(
        linked,
        [
            json!(items[1].id()),
            json!(items[2].id()),
            json!(items[4].id())
        ]
    );
}

#[tokio::test]
async fn results_are_read_in_pages() {
    for (count, total, pages) in [
        (0, true, 1),
        (1, true, 1),
        (255, false, 1),
        (256, true, 1),
        (256, false, 2),
        (512, true, 2),
        (513, true, 3),
    ] {
        let items = items(count);
        let rows = items.clone();
        let server = Scripted::start(move |asked| {
            is_compare(asked).then(|| {
                assert!(asked.query.contains("size=256"));
                let rows = rows.chunks(256).nth(page(asked) - 1).unwrap_or_default();
                let rows: Vec<_> = rows
                    .iter()
                    .map(|item| row(item, None, json!("x")))
                    .collect();
                compare(&rows, total.then_some(count))
            })
        })
        .await;
        let experiment = server.dataset().await.create_experiment("x").await.unwrap();
        let summary = experiment.run(items, succeed).await.unwrap();
        assert_eq!((summary.skipped, summary.items), (count, 0));
        let asked: Vec<_> = server
            .asked()
            .iter()
            .filter(|asked| is_compare(asked))
            .map(page)
            .collect();
        assert_eq!(asked, (1..=pages).collect::<Vec<_>>());
    }

    let all = items(256);
    let rows: Vec<_> = all.iter().map(|item| row(item, None, json!("x"))).collect();
    let server =
        Scripted::start(move |asked| is_compare(asked).then(|| compare(&rows, None))).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let run = experiment.run(all, succeed);
    let run = tokio::time::timeout(Duration::from_secs(20), run).await;
    let error = run.expect("pages for ever").unwrap_err();
    assert!(matches!(error, OpikError::NotOpik { .. }), "{error}");
}

#[tokio::test]
async fn a_run_whose_state_cannot_be_read_runs_nothing() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 2).await;
    sandbox.inject(Fault::status(401).on("/items/experiments/items"));
    let ran = AtomicUsize::new(0);
    let error = experiment
        .run(items, async |_| {
            ran.fetch_add(1, Ordering::Relaxed);
            Ok(call())
        })
        .await
        .unwrap_err();
    assert!(matches!(error, OpikError::Failed { .. }), "{error:?}");
    assert_eq!(ran.into_inner(), 0);
}

#[tokio::test]
async fn to_link_again_changes_nothing() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 2).await;
    let (one, two) = (items[0].id().unwrap(), items[1].id().unwrap());
    let (call, other) = (call(), Uuid::now_v7());
    let trace = exporter(&sandbox).trace_id(&call);
    let bad = Uuid::new_v4();
    let links = [
        (one, trace),
        (bad, trace),
        (two, trace),
        (one, bad),
        (one, other),
    ];
    for _ in 0..2 {
        let report = experiment.link(links).await.unwrap();
        assert_eq!(report.stored, 3);
        let failures: Vec<_> = report
            .failures
            .iter()
            .map(|failure| match failure.error {
                OpikError::IdNotVersion7 { of, id } => (failure.index, of, id),
                _ => panic!("{failure:?}"),
            })
            .collect();
        assert_eq!(failures, [(1, "dataset item", bad), (3, "trace", bad)]);
    }
    let mut linked: Vec<_> = sandbox
        .experiment_items()
        .iter()
        .map(|link| (link.dataset_item_id, link.trace_id))
        .collect();
    linked.sort_unstable();
    let mut expected = [(one, trace), (two, trace), (one, other)];
    expected.sort_unstable();
    assert_eq!(linked, expected);
    for link in sandbox.experiment_items() {
        assert_eq!(link.id.get_version_num(), 7);
    }
    // What was linked by hand is a result, once its trace is there.
    exporter(&sandbox).export_llm_call(&call).await.unwrap();
    let summary = experiment.run(items, succeed).await.unwrap();
    assert_eq!((summary.skipped, summary.items), (2, 0));
}

#[tokio::test]
async fn a_link_comes_last() {
    let server = Scripted::start(|_| None).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let summary = experiment
        .runner()
        .with_concurrency(3)
        .with_scorer(|_, _| vec![FeedbackScore::new("x", 1.0)])
        .run(items(20), async |item| match number(&item) % 5 {
            4 => Err("down".into()),
            _ => Ok(call()),
        })
        .await
        .unwrap();
    assert_eq!((summary.items, summary.errors), (20, 4));
    let asked = server.asked();
    let place = |method: &str, path: &str, list: &str, field: &str, id: &Value| {
        asked.iter().position(|asked| {
            asked.is(method, path) && asked.list(list).iter().any(|one| one[field] == *id)
        })
    };
    let mut links = 0;
    for (linked, request) in asked
        .iter()
        .enumerate()
        .filter(|(_, asked)| asked.is("POST", LINKS))
    {
        for link in request.list("experiment_items") {
            links += 1;
            let id = &link["trace_id"];
            let trace = place("POST", TRACES, "traces", "id", id).unwrap();
            assert!(trace < linked);
            let span = place("POST", SPANS, "spans", "trace_id", id);
            let score = place("PUT", SCORES, "scores", "id", id);
            assert_eq!(span.is_some(), score.is_some());
            if let (Some(span), Some(score)) = (span, score) {
                assert!(span < score && trace < score && score < linked);
            }
        }
    }
    assert_eq!(links, 20);
    let last = asked.last().unwrap();
    assert!(last.is("POST", "/experiments/finish"));
    assert_eq!(last.body, json!({"ids": [experiment.id()]}));
}

#[tokio::test]
async fn a_run_stops_when_opik_goes_away_and_goes_on_later() {
    for (path, passed) in [(TRACES, 2), (SPANS, 1), (SCORES, 1), (LINKS, 2), (LINKS, 0)] {
        let sandbox = sandbox();
        let (experiment, items) = experiment(&sandbox, 12).await;
        sandbox.inject(
            Fault::status(401)
                .on(format!("v1/private{path}"))
                .after(passed)
                .always(),
        );
        let started = AtomicUsize::new(0);
        // So that not all is stored at once.
        let may_go_on = Semaphore::new(2);
        let runner = experiment.runner().with_concurrency(2);
        let error = runner
            .with_scorer(|_, _| vec![FeedbackScore::new("x", 1.0)])
            .on_progress(|_| may_go_on.add_permits(1))
            .run(items.clone(), async |item| {
                started.fetch_add(1, Ordering::Relaxed);
                may_go_on.acquire().await?.forget();
                match number(&item) {
                    5 => Err("down".into()),
                    _ => Ok(call()),
                }
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ExportErrorKind::Destination);
        let linked = sandbox.experiment_items().len();
        let OpikError::RunStopped {
            summary,
            lost,
            error: cause,
        } = &error
        else {
            panic!("{error:?}");
        };
        let stored = summary.items;
        assert_eq!(stored, linked, "{path}");
        assert_eq!(*lost, started.into_inner() - linked, "{path}");
        assert!(cause.to_string().contains("401 Unauthorized"), "{cause}");
        let text = format!("stopped after {stored} results were stored, and what {lost} more");
        assert!(error.to_string().contains(&text), "{error}");
        assert!(!sandbox.experiments()[0].finished);

        sandbox.clear_faults();
        let summary = experiment.run(items.clone(), succeed).await.unwrap();
        assert_eq!(summary.items + summary.skipped, 12);
        let failed_before = usize::from(summary.skipped != linked);
        assert_eq!(summary.skipped + failed_before, linked, "{path}");
        let summary = experiment.run(items, succeed).await.unwrap();
        assert_eq!((summary.items, summary.skipped), (0, 12));
        assert!(sandbox.experiments()[0].finished);
    }
}

#[tokio::test]
async fn agent_runs_stop_too_when_opik_goes_away() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 6).await;
    sandbox.inject(Fault::status(401).on(TRACES).after(3).always());
    let opik = exporter(&sandbox);
    let started = AtomicUsize::new(0);
    let runner = experiment.runner().with_concurrency(1);
    let error = runner
        .run(items, async |_| {
            started.fetch_add(1, Ordering::Relaxed);
            let run = opik.agent_run("agent");
            run.submit(call());
            Ok(run)
        })
        .await
        .unwrap_err();
    let OpikError::RunStopped { summary, lost, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((summary.items, sandbox.experiment_items().len()), (3, 3));
    assert_eq!(lost, started.into_inner() - 3);
}

#[tokio::test]
async fn tasks_are_not_started_for_a_server_that_is_gone() {
    let server = Scripted::start(|asked| {
        let gone = asked.is("POST", TRACES);
        gone.then(|| reply(503).header("Retry-After", "600"))
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let alive = Arc::new(());
    // The first gives a result, and all that run beside it would run for ever.
    let run = experiment.run(items(50), |item| {
        let alive = alive.clone();
        async move {
            let _alive = alive;
            if number(&item) > 0 {
                std::future::pending::<()>().await;
            }
            Ok(call())
        }
    });
    let error = run.await.unwrap_err();
    assert_eq!(Arc::strong_count(&alive), 1);
    let kind = error.kind();
    let OpikError::RunStopped { summary, lost, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(summary.items, 0);
    assert!((8..=9).contains(&lost), "{lost}");
    assert_eq!(kind, ExportErrorKind::Temporary);
}

#[tokio::test]
async fn while_opik_does_not_answer_few_tasks_are_run_in_vain() {
    let server = Scripted::start(|asked| {
        let gone = asked.is("POST", TRACES);
        gone.then(|| reply(503).header("Retry-After", "1"))
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let error = experiment.run(items(1_000), succeed).await.unwrap_err();
    let OpikError::RunStopped { lost, .. } = error else {
        panic!("{error:?}");
    };
    // Those of one request, those that wait, and those that run.
    assert!((64..=2 * 64 + 8).contains(&lost), "{lost}");
}

#[tokio::test]
async fn what_opik_refuses_costs_no_other() {
    let poison = |asked: &Asked| asked.body.to_string().contains("poison");
    for path in [TRACES, SPANS, SCORES] {
        let server = Scripted::start(move |asked| {
            let refused = asked.path.ends_with(path) && poison(asked);
            refused.then(|| reply(422).json(&json!({"errors": ["canary"]})))
        })
        .await;
        let experiment = server.dataset().await.create_experiment("x").await.unwrap();
        let items = items(10);
        let bad = items[7].id();
        let summary = experiment
            .runner()
            .with_scorer(move |item, _| {
                let name = if item.id() == bad { "poison" } else { "fine" };
                vec![FeedbackScore::new(name, 1.0)]
            })
            .run(items, async |item| {
                let name = if item.id() == bad { "poison" } else { "fine" };
                Ok(LLMCallData::new("openai", name).with_response("x"))
            })
            .await
            .unwrap();
        let found = problems(&summary);
        assert_eq!((summary.items, found.len()), (10, 1), "{path}");
        let problem = &found[&bad];
        assert!(problem.contains("422 Unprocessable Entity"), "{problem}");
        assert!(!format!("{problem} {summary:?}").contains("canary"));
        let linked: Vec<Value> = server
            .asked_of("POST", LINKS)
            .iter()
            .flat_map(|asked| asked.list("experiment_items"))
            .map(|link| link["dataset_item_id"].clone())
            .collect();
        if path == SCORES {
            // Only the score is lost.
            assert!(problem.starts_with("opik: "), "{problem}");
            assert_eq!((summary.errors, linked.len()), (0, 10));
        } else {
            assert!(problem.starts_with("refused: "), "{problem}");
            assert_eq!((summary.errors, linked.len()), (1, 9), "{path}");
            assert!(!linked.contains(&json!(bad)));
        }
        assert_eq!(summary.scores["fine"].count, 9);
        assert!(!summary.scores.contains_key("poison"), "{path}");
    }
}

#[tokio::test]
async fn a_link_that_opik_refuses_is_told() {
    let items = items(5);
    let bad = items[2].id();
    let server = Scripted::start(move |asked| {
        let refused = asked.is("POST", LINKS)
            && asked
                .list("experiment_items")
                .iter()
                .any(|link| link["dataset_item_id"] == json!(bad));
        refused.then(|| {
            reply(409).json(&json!({"code": 409, "message": "not belonging to the workspace"}))
        })
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let summary = experiment.run(items, succeed).await.unwrap();
    let found = problems(&summary);
    assert_eq!((summary.items, summary.errors, found.len()), (5, 1, 1));
    assert!(
        found[&bad].starts_with("opik: opik: experiment: 409 Conflict"),
        "{found:?}"
    );
}

#[tokio::test]
async fn whoever_drops_the_run_stops_its_tasks() {
    let server = Scripted::start(|_| None).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let alive = Arc::new(());
    let all_run = Barrier::new(5);
    let run = experiment.runner().with_concurrency(4).run(items(20), |_| {
        let alive = alive.clone();
        let all_run = &all_run;
        async move {
            let _alive = alive;
            all_run.wait().await;
            std::future::pending::<()>().await;
            Ok(call())
        }
    });
    tokio::select! {
        _ = run => panic!("it never ends"),
        _ = all_run.wait() => {}
    }
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(server.asked_of("POST", LINKS).is_empty());
}

#[tokio::test]
async fn a_run_can_be_spawned_and_a_task_may_borrow() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    let (spawned, all) = (experiment.clone(), items.clone());
    let run = tokio::spawn(async move { spawned.run(all, async |_| Ok(call())).await });
    assert_eq!(run.await.unwrap().unwrap().items, 3);

    let other = experiment
        .dataset()
        .create_experiment("borrows")
        .await
        .unwrap();
    let prompt = String::from("in one word");
    let mut told = Vec::new();
    let seen = Mutex::new(&mut told);
    let summary = other
        .runner()
        .on_progress(|progress| seen.lock().unwrap().push(progress.done))
        .with_scorer(|_, _| vec![FeedbackScore::new(prompt.as_str(), 1.0)])
        .run(items, async |_| Ok(call().with_response(&prompt)))
        .await
        .unwrap();
    assert_eq!(told, [1, 2, 3]);
    assert_eq!(summary.scores[&prompt].count, 3);
}

#[tokio::test]
async fn an_experiment_is_found_by_its_whole_name_in_its_dataset() {
    let sandbox = sandbox();
    let (capitals, _) = dataset(&sandbox, 0).await;
    let rivers = exporter(&sandbox).create_dataset("rivers").await.unwrap();
    let first = capitals.create_experiment("  terse ").await.unwrap();
    assert_eq!(first.name(), "terse");
    capitals.create_experiment("terse two").await.unwrap();
    rivers.create_experiment("terse").await.unwrap();
    assert_eq!(capitals.experiment("terse").await.unwrap().id(), first.id());
    let newer = capitals.create_experiment("terse").await.unwrap();
    assert_eq!(
        capitals.experiment(" terse ").await.unwrap().id(),
        newer.id()
    );
    let error = capitals.experiment("ter").await.unwrap_err();
    assert!(
        matches!(&error, OpikError::ExperimentNotFound { name, dataset } if name == "ter" && dataset == "capitals"),
        "{error}"
    );
    let count = sandbox.experiments().len();
    let got = capitals.get_or_create_experiment("terse").await.unwrap();
    assert_eq!((got.id(), sandbox.experiments().len()), (newer.id(), count));
    let metadata = NewExperiment::new("ter")
        .with_metadata("model", "gpt-4o")
        .with_metadata("t", 0);
    let got = capitals.get_or_create_experiment(metadata).await.unwrap();
    let stored = sandbox.experiments();
    let stored = stored.iter().find(|one| one.id == got.id()).unwrap();
    assert_eq!(stored.metadata, Some(json!({"model": "gpt-4o", "t": 0})));
    assert_eq!(stored.dataset_id, capitals.id());
    for blank in ["", " "] {
        for error in [
            capitals.create_experiment(blank).await.unwrap_err(),
            capitals.experiment(blank).await.unwrap_err(),
            capitals.get_or_create_experiment(blank).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, OpikError::BlankName { of: "experiment" }),
                "{error}"
            );
        }
    }
    let odd = NewExperiment::new("odd").with_metadata("canary", BTreeMap::from([((1, 2), 3)]));
    assert!(
        !format!("{:?}", NewExperiment::new("n").with_metadata("k", "canary")).contains("canary")
    );
    let error = capitals.create_experiment(odd).await.unwrap_err();
    assert!(matches!(error, OpikError::ExperimentMetadata(_)), "{error}");
    assert_eq!(sandbox.experiments().len(), count + 1);
}

#[tokio::test]
async fn what_a_409_of_an_experiment_means() {
    for (message, created) in [
        ("Already exists experiment with id 'x'", true),
        ("Dataset version not found", false),
    ] {
        let server = Scripted::start(move |asked| {
            let create = asked.is("POST", "/experiments");
            create.then(|| reply(409).json(&json!({"code": 409, "message": message})))
        })
        .await;
        let result = server.dataset().await.create_experiment("x").await;
        assert_eq!(result.is_ok(), created, "{message}");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_makes_no_second_result() {
    let sandbox = sandbox();
    let (dataset, items) = dataset(&sandbox, 4).await;
    sandbox.inject(Fault::lost_answer().on("/v1/private/experiments"));
    sandbox.inject(Fault::lost_answer().on(LINKS));
    let experiment = dataset.create_experiment("terse").await.unwrap();
    assert_eq!(sandbox.experiments().len(), 1);
    let summary = experiment.run(items, succeed).await.unwrap();
    assert_eq!((summary.items, summary.errors), (4, 0));
    assert_eq!(sandbox.experiment_items().len(), 4);
    assert_eq!(sandbox.traces().len(), 4);
}

/// Searched for in all that prints: the key, an item's content, a prompt, an answer.
#[tokio::test]
async fn nothing_shows_content() {
    let server = Scripted::start(|asked| {
        let body = json!({"errors": [format!("canary {}", asked.body)]});
        let refused = asked.is("POST", TRACES) || asked.is("PUT", SCORES);
        refused.then(|| reply(422).json(&body))
    })
    .await;
    let opik = server.builder().with_api_key("canary-key").build().unwrap();
    let dataset = opik.dataset("capitals").await.unwrap();
    let experiment = dataset.create_experiment("x").await.unwrap();
    let canary = DatasetItem::new(json!({"canary": "canary"})).with_id(Uuid::now_v7());
    let made = || {
        let messages = json!([{"role": "user", "content": "canary"}]);
        let call = LLMCallData::new("openai", "gpt-4o").with_messages(messages);
        let reason = FeedbackScore::new("x", 1.0).with_reason("canary");
        TaskOutput::from(call.with_response("canary")).with_score(reason)
    };
    let runner = experiment.runner().with_scorer(|_, _| panic!("canary"));
    let shown = format!(
        "{opik:?} {dataset:?} {experiment:?} {runner:?} {:?} {canary:?}",
        made()
    );
    assert!(!shown.contains("canary"), "{shown}");
    let items = [canary, items(1).remove(0)];
    let summary = runner
        .run(items.clone(), async |item| match item["n"].is_null() {
            true => Ok(made()),
            false => Err("canary".into()),
        })
        .await
        .unwrap();
    assert_eq!(summary.errors, 2);
    assert!(
        !format!("{summary:?} {summary:#?}").contains("canary"),
        "{summary:?}"
    );

    let gone = Scripted::start(|asked| {
        let traces = asked.is("POST", TRACES);
        traces.then(|| reply(401).json(&json!({"message": format!("canary {}", asked.body)})))
    })
    .await;
    let experiment = gone.dataset().await.create_experiment("x").await.unwrap();
    let error = experiment
        .run(items, async |_| Ok(made()))
        .await
        .unwrap_err();
    assert!(
        !format!("{error} {error:?} {error:#?}").contains("canary"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_cost_that_is_none_costs_no_other() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 5).await;
    let run = experiment.run(items.clone(), async |item| {
        Ok(call().with_cost(match number(&item) {
            1 => f64::NAN,
            2 => -100.0,
            3 => f64::INFINITY,
            _ => 0.5,
        }))
    });
    let summary = run.await.unwrap();
    assert_eq!((summary.items, summary.calls, summary.errors), (5, 5, 3));
    assert_eq!(summary.cost, Some(1.0));
    let found = problems(&summary);
    for item in &items[1..4] {
        assert!(found[&item.id()].starts_with("refused: "), "{found:?}");
    }
    assert_eq!(sandbox.experiment_items().len(), 2);
}

#[tokio::test]
async fn of_scores_of_one_name_the_last_good_one_counts() {
    let (good, better, bad) = (Some(0.25), Some(0.75), None);
    for (given, kept) in [
        (vec![good, better], Some(0.75)),
        (vec![better, good], Some(0.25)),
        (vec![good, bad], Some(0.25)),
        (vec![bad, good], Some(0.25)),
        (vec![good, bad, better], Some(0.75)),
        (vec![bad, good, better], Some(0.75)),
        (vec![bad, bad], None),
    ] {
        let sandbox = sandbox();
        let (experiment, items) = experiment(&sandbox, 1).await;
        let score = |value: Option<f64>| FeedbackScore::new("x", value.unwrap_or(f64::NAN));
        let (own, judged) = given.split_first().unwrap();
        let run = experiment
            .runner()
            // Opik takes the names for the same.
            .with_scorer(|_, _| {
                let judged = judged
                    .iter()
                    .map(|value| FeedbackScore::new(" x ", score(*value).value));
                judged.collect()
            })
            .run(items, async |_| {
                Ok(TaskOutput::from(call()).with_score(score(*own)))
            });
        let summary = run.await.unwrap();
        let counted = summary.scores.get("x").map(|x| (x.count, x.mean));
        assert_eq!(counted, kept.map(|value| (1, value)), "{given:?}");
        let [trace] = sandbox.traces().try_into().unwrap();
        let stored = trace.feedback_scores.first().map(|score| score.value);
        assert_eq!(stored, kept, "{given:?}");
        let bad = given.iter().filter(|value| value.is_none()).count();
        assert_eq!(summary.failures.len(), bad, "{given:?}");
        assert_eq!(summary.errors, 0);
    }
}

#[tokio::test]
async fn a_run_that_stops_tells_what_went_wrong_with_what_is_stored() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 4).await;
    let first_is_stored = Semaphore::new(0);
    let run = experiment
        .runner()
        .with_concurrency(1)
        .on_progress(|_| first_is_stored.add_permits(1))
        .run(items.clone(), async |item| {
            if number(&item) == 1 {
                first_is_stored.acquire().await?.forget();
                sandbox.inject(Fault::status(401).always());
            }
            Ok(TaskOutput::from(call().with_cost(0.5))
                .with_score(FeedbackScore::new("x", f64::NAN)))
        });
    let error = run.await.unwrap_err();
    let OpikError::RunStopped { summary, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((summary.items, summary.errors), (1, 0));
    assert_eq!((summary.calls, summary.cost), (1, Some(0.5)));
    let [failure] = summary.failures.as_slice() else {
        panic!("{:?}", summary.failures);
    };
    assert_eq!(failure.item, items[0].id());
    assert!(
        matches!(
            failure.problem,
            TaskProblem::Opik(OpikError::ScoreNotFinite { .. })
        ),
        "{failure:?}"
    );
    // Nobody would be told of it the next time.
    sandbox.clear_faults();
    let summary = experiment.run(items, succeed).await.unwrap();
    assert_eq!((summary.skipped, summary.failures.len()), (1, 0));
}

#[tokio::test]
async fn tasks_go_on_while_opik_makes_the_writer_wait() {
    let slow_has_ended = Arc::new(AtomicBool::new(false));
    let ended = slow_has_ended.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tell = seen.clone();
    let server = Scripted::start(move |asked| {
        if !asked.is("POST", TRACES) {
            return None;
        }
        let mut seen = tell.lock().unwrap();
        seen.push(ended.load(Ordering::SeqCst));
        (seen.len() == 1).then(|| reply(429).header("RateLimit-Reset", "3"))
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let started = AtomicUsize::new(0);
    let run = experiment.run(items(2_000), async |item| {
        started.fetch_add(1, Ordering::SeqCst);
        if number(&item) == 0 {
            // Until there is no room for more results.
            let mut before = 0;
            while before < 100 || before != started.load(Ordering::SeqCst) {
                before = started.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            slow_has_ended.store(true, Ordering::SeqCst);
        }
        Ok(LLMCallData::new("openai", "gpt-4o"))
    });
    let summary = run.await.unwrap();
    assert_eq!((summary.items, summary.errors), (2_000, 0));
    let seen = seen.lock().unwrap();
    assert!(seen[1], "it stood still with the writer");
}

#[tokio::test]
async fn the_end_of_a_run_waits_for_nobody() {
    let server = Scripted::start(|asked| {
        let finish = asked.is("POST", "/experiments/finish");
        finish.then(|| reply(429).header("RateLimit-Reset", "5"))
    })
    .await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let summary = experiment.run(items(1), succeed).await.unwrap();
    assert_eq!((summary.items, summary.errors), (1, 0));
    assert_eq!(server.asked_of("POST", "/experiments/finish").len(), 1);
}

#[tokio::test]
async fn results_that_are_too_much_for_one_answer_are_read_by_halves() {
    let all = items(300);
    let page = |size: usize, page: usize| {
        let rows = all.chunks(size).nth(page - 1).unwrap_or_default();
        let rows: Vec<_> = rows
            .iter()
            .map(|item| row(item, None, json!("x")))
            .collect();
        let body = json!({"page": page, "size": size, "total": 300, "content": rows}).to_string();
        http(body.len(), &body)
    };
    let found = json!({"id": DATASET, "name": "capitals"}).to_string();
    let too_much = http(1_000_000, "{\"page\":1,\"content\":[");
    let (url, asked) = raw(vec![
        http(found.len(), &found),
        http(found.len(), &found),
        http(0, ""),
        http(found.len(), &found),
        too_much.clone(),
        page(128, 1),
        too_much.clone(),
        too_much,
        page(32, 5),
        page(32, 6),
        page(32, 7),
        page(32, 8),
        page(32, 9),
        page(32, 10),
        http(0, ""),
    ]);
    let opik = OpikExporter::builder().with_base_url(url).build().unwrap();
    let dataset = opik.dataset("capitals").await.unwrap();
    let experiment = dataset.create_experiment("x").await.unwrap();
    let summary = experiment.run(all.clone(), succeed).await.unwrap();
    assert_eq!((summary.skipped, summary.items), (300, 0));
    assert_eq!(summary.scores["old"].count, 300);
    let asked = asked.lock().unwrap();
    let asked = asked.iter().filter_map(|asked| {
        let (page, _) = asked
            .query
            .strip_prefix("page=")?
            .split_once("&experiment_ids")?;
        Some(page.replace("&size=", " of "))
    });
    let expected = [
        "1 of 256", "1 of 128", "2 of 128", "3 of 64", "5 of 32", "6 of 32", "7 of 32", "8 of 32",
        "9 of 32", "10 of 32",
    ];
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_item_of_another_dataset_is_not_run() {
    let sandbox = sandbox();
    let (experiment, mut all) = experiment(&sandbox, 2).await;
    let rivers = exporter(&sandbox).create_dataset("rivers").await.unwrap();
    let report = rivers.insert((5..8).map(question)).await.unwrap();
    report.into_result().unwrap();
    let foreign = rivers.all_items().await.unwrap();
    all.extend(foreign.clone());
    for (ran_now, skipped) in [(vec![0, 1], 0), (vec![], 2)] {
        let ran = Mutex::new(Vec::new());
        let run = experiment.run(all.clone(), async |item| {
            ran.lock().unwrap().push(number(&item));
            Ok(call())
        });
        let summary = run.await.unwrap();
        assert_eq!(ran.into_inner().unwrap(), ran_now);
        assert_eq!(
            (summary.items, summary.errors, summary.skipped),
            (ran_now.len() + 3, 3, skipped)
        );
        assert_eq!(summary.calls, ran_now.len());
        let problem = "opik: opik: experiment: the item is of another dataset than `capitals`, where the experiment is";
        let found = problems(&summary);
        for item in &foreign {
            assert_eq!(found[&item.id()], problem);
        }
    }
    assert_eq!(sandbox.experiment_items().len(), 2);
    assert_eq!(sandbox.traces().len(), 2);
}

#[tokio::test]
async fn a_run_that_is_dropped_anywhere_goes_on_later() {
    let mut partly = 0;
    for polls in 0.. {
        let sandbox = sandbox();
        let (experiment, items) = experiment(&sandbox, 6).await;
        let runner = experiment.runner().with_concurrency(2);
        let run = runner.run(items.clone(), async |_| {
            tokio::task::yield_now().await;
            Ok(call())
        });
        let mut run = Box::pin(run);
        let mut left = polls;
        let ended = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            run.as_mut().poll(context).map(|_| true)
        })
        .await;
        drop(run);
        let summary = experiment.run(items.clone(), succeed).await.unwrap();
        assert_eq!((summary.items + summary.skipped, summary.errors), (6, 0));
        partly += usize::from((1..6).contains(&summary.skipped));
        // What was on its way may be there twice; nothing is missing.
        let links = sandbox.experiment_items();
        let linked: BTreeSet<_> = links.iter().map(|link| link.dataset_item_id).collect();
        assert_eq!(linked.len(), 6, "after {polls}");
        for link in links {
            assert!(sandbox.trace(link.trace_id).is_some(), "after {polls}");
        }
        if ended {
            break;
        }
    }
    assert!(partly > 0);
}

#[tokio::test]
async fn whatever_answer_is_lost_nothing_is_stored_twice() {
    let sandbox = sandbox();
    let (experiment, items) = experiment(&sandbox, 3).await;
    for path in [TRACES, SPANS, SCORES, LINKS] {
        sandbox.inject(Fault::lost_answer().on(format!("v1/private{path}")));
    }
    let summary = experiment
        .runner()
        .with_scorer(|_, _| vec![FeedbackScore::new("x", 1.0)])
        .run(items, succeed)
        .await
        .unwrap();
    assert_eq!((summary.items, summary.failures.len()), (3, 0));
    assert_eq!((sandbox.traces().len(), sandbox.spans().len()), (3, 3));
    assert_eq!(sandbox.experiment_items().len(), 3);
    for trace in sandbox.traces() {
        assert_eq!(trace.feedback_scores.len(), 1);
    }
}

#[tokio::test]
async fn settings_may_be_extreme() {
    let server = Scripted::start(|_| None).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let usual = format!("{:?}", experiment.runner());
    assert!(usual.contains("concurrency: 8, timeout: 600s"), "{usual}");
    for (tasks, timeout) in [
        (usize::MAX, Duration::MAX),
        (usize::MAX, Duration::ZERO),
        (1, Duration::from_secs(u64::MAX / 2)),
    ] {
        let runner = experiment.runner().with_concurrency(tasks);
        let run = runner.with_timeout(timeout).run(items(20), async |item| {
            if number(&item) == 7 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(call())
        });
        let summary = run.await.unwrap();
        // What needs no time has it.
        let late = usize::from(timeout.is_zero());
        assert_eq!((summary.items, summary.errors), (20, late), "{timeout:?}");
    }
    let summary = experiment.run([], succeed).await.unwrap();
    assert_eq!((summary.items, summary.skipped), (0, 0));
}

#[tokio::test]
async fn a_link_to_an_old_trace_stays_the_same() {
    let server = Scripted::start(|_| None).await;
    let experiment = server.dataset().await.create_experiment("x").await.unwrap();
    let item = Uuid::now_v7();
    let old = |day: u64| {
        let millis = 1_700_000_000_000 + day * 86_400_000;
        uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid()
    };
    let links = [(item, old(0)), (item, old(1)), (item, Uuid::now_v7())];
    for _ in 0..2 {
        let report = experiment.link(links).await.unwrap();
        assert_eq!(report.stored, 3);
    }
    let [one, other] = server.asked_of("POST", LINKS).try_into().unwrap();
    assert_eq!(one.body, other.body);
    for (link, (_, trace)) in one.list("experiment_items").iter().zip(links) {
        let id: Uuid = link["id"].as_str().unwrap().parse().unwrap();
        // It does not move with the clock.
        assert_eq!(id.get_timestamp(), trace.get_timestamp());
        assert_ne!(id, trace);
    }
}
