//! Datasets, experiments, scores and agent runs, for Opik's official Python client to read.
//!
//! `take URL MADE` reads what that client has made (the file MADE tells what), and goes on with it; `make URL` makes
//! all of it itself. Both print, one JSON object a line, what they found and what is meant to be there now.

use std::{collections::BTreeMap, error::Error, fs, io, sync::Mutex, time::Duration};

use beluga_o11y::{CallError, CallSink, LLMCallData, TraceExporter, Usage};
use beluga_o11y_opik::{
    AgentRun, DatasetItem, ExperimentSummary, FeedbackScore, NewExperiment, OpikDataset, OpikError,
    OpikExperiment, OpikExporter, TaskError, TaskOutput, WriteReport,
};
use beluga_o11y_pipeline::Pipeline;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["take", url, made] => {
            let made = serde_json::from_str(&fs::read_to_string(made)?)?;
            take(&connect(url, "official-experiments")?, &made).await
        }
        ["make", url] => make(&connect(url, "beluga-experiments")?).await,
        _ => Err("usage: live_opik_experiments take URL MADE | make URL".into()),
    }
}

fn connect(url: &str, project: &str) -> Done<OpikExporter> {
    let opik = OpikExporter::builder()
        .with_base_url(url)
        .with_project(project)
        .with_environment("staging")
        .build()?;
    Ok(opik)
}

/// Goes on with what the official client has made.
async fn take(opik: &OpikExporter, made: &Value) -> Done {
    let dataset = opik.dataset(text(&made["dataset"])?).await?;
    let items: Vec<DatasetItem> = dataset.items().try_collect().await?;
    tell("dataset", dataset_of(&dataset, &items));
    let same = items.iter().map(|item| DatasetItem::new(item.data()));
    tell("same again", report_of(&dataset.insert(same).await?));

    let experiment = dataset.experiment(text(&made["experiment"])?).await?;
    let meant = Meant::default();
    let summary = experiment
        .runner()
        .with_scorer(|item, output| meant.scores(item, output))
        .run(items.clone(), async |item| Ok(meant.call(opik, &item)))
        .await?;
    tell("experiment", experiment_of(&experiment, &summary, meant));
    // Each has a result now, so there is nothing left to run.
    let summary = experiment
        .run(items.clone(), async |_| {
            Err::<LLMCallData, _>("run twice".into())
        })
        .await?;
    let skipped = json!({"skipped": summary.skipped, "items": summary.items});
    tell("experiment again", skipped);

    // What the official client traced becomes a result, and gets scores: one of a new name, one that replaces its own.
    let (trace, span) = (uuid(&made["trace"])?, uuid(&made["span"])?);
    let linked = dataset.create_experiment("linked by beluga").await?;
    let ids: Vec<Uuid> = items.iter().filter_map(DatasetItem::id).take(1).collect();
    let report = linked.link(ids.iter().map(|item| (*item, trace))).await?;
    report.into_result()?;
    tell(
        "linked",
        json!({"name": linked.name(), "item": ids.first(), "trace": trace}),
    );
    score(opik, trace, span).await
}

/// Makes everything itself.
async fn make(opik: &OpikExporter) -> Done {
    let dataset = opik.create_dataset("beluga-capitals").await?;
    match opik.create_dataset("beluga-capitals").await {
        Err(OpikError::DatasetExists { .. }) => {}
        other => return Err(format!("a dataset of a name in use: {other:?}").into()),
    }
    let report = dataset.insert(questions()).await?;
    tell("inserted", report_of(&report));
    tell("same again", report_of(&dataset.insert(questions()).await?));
    let items = dataset.all_items().await?;
    tell("dataset", dataset_of(&dataset, &items));

    let new = NewExperiment::new("direct")
        .with_metadata("prompt", "In one word, \u{1f40b}: \"{country}\"?")
        .with_metadata(
            "parameters",
            json!({"temperature": 0.5, "stop": [null, "."]}),
        );
    let experiment = dataset.create_experiment(new).await?;
    let meant = Meant::default();
    let summary = experiment
        .runner()
        .with_concurrency(2)
        .with_scorer(|item, output| meant.scores(item, output))
        .run(items.clone(), async |item| match item["task"].as_str() {
            Some("fails") => Err(meant.failure(&item)),
            Some("agent") => meant.run(opik, &item).await,
            _ => Ok(meant.call(opik, &item)),
        })
        .await?;
    tell("experiment", experiment_of(&experiment, &summary, meant));

    let pipeline = Pipeline::builder(opik.clone()).spawn()?;
    let new = NewExperiment::new("pipeline").with_metadata("by", "pipeline");
    let experiment = dataset.get_or_create_experiment(new).await?;
    let meant = Meant::default();
    let summary = experiment
        .runner()
        .with_sink(pipeline.clone())
        .with_scorer(|item, output| meant.scores(item, output))
        .run(items, async |item| match item["task"].as_str() {
            Some("fails") => Err(meant.failure(&item)),
            _ => Ok(meant.call(opik, &item)),
        })
        .await?;
    pipeline.flush().await?;
    tell("experiment", experiment_of(&experiment, &summary, meant));

    let (run, mut meant) = agent(opik, "Who wrote Ìyàwó Ọ̀run?").await;
    run.finish(json!({"answer": "nobody knows", "sources": []}))
        .await?;
    meant["output"] = json!({"answer": "nobody knows", "sources": []});
    let span = uuid(&meant["spans"][1]["id"])?;
    tell("run", meant);
    score(opik, run.trace_id(), span).await
}

/// One trace and one span, each in the two ways that there are.
async fn score(opik: &OpikExporter, trace: Uuid, span: Uuid) -> Done {
    let quality = FeedbackScore::new("quality", 0.25)
        .with_reason("replaced: \"no\" source, \u{1f40b}")
        .with_category("poor");
    let plain = FeedbackScore::new("plain", -3.0);
    let exact = FeedbackScore::new("exact", 0.123_456_789).with_category("good");
    let reasoned = FeedbackScore::new("reasoned", 1.0).with_reason("two\nlines");

    opik.score_trace(trace, quality.clone()).await?;
    let many = [(trace, plain.clone()), (trace, exact.clone())];
    opik.score_traces(many).await?.into_result()?;
    opik.score_span(span, quality.clone()).await?;
    let many = [(span, reasoned.clone())];
    opik.score_spans(many).await?.into_result()?;
    let scores = json!({
        "trace": trace,
        "of_trace": [score_of(&quality), score_of(&plain), score_of(&exact)],
        "span": span,
        "of_span": [score_of(&quality), score_of(&reasoned)],
    });
    tell("scores", scores);
    Ok(())
}

/// Numbers of every kind, text of every kind, nesting; and what the tasks are to do.
fn questions() -> Vec<DatasetItem> {
    let nested = json!({"a": [{"b": [1, 2.5, null, true]}, {}, []], "": {"\u{e9}": "\u{1f40b}"}});
    let numbers = json!([
        0,
        -1,
        1.0,
        0.1,
        1e-7,
        1e300,
        9_007_199_254_740_993_u64,
        u64::MAX,
        i64::MIN
    ]);
    vec![
        DatasetItem::new(json!({"country": "France", "expected": "Paris"})),
        DatasetItem::new(
            json!({"country": "Brazil", "expected": "Bras\u{ed}lia", "nested": nested}),
        ),
        DatasetItem::new(json!({"country": "\"\\\n\t\u{202e}", "numbers": numbers})),
        DatasetItem::new(json!({"country": "Atlantis", "task": "fails"})),
        DatasetItem::new(json!({"country": "Lemuria", "task": "is refused"})),
        DatasetItem::new(json!({"country": "Nigeria", "expected": "Abuja", "task": "agent"})),
    ]
}

/// What is meant to become of each item.
#[derive(Default)]
struct Meant(Mutex<BTreeMap<Uuid, Value>>);

impl Meant {
    fn insert(&self, item: &DatasetItem, key: &str, value: Value) {
        if let (Ok(mut results), Some(id)) = (self.0.lock(), item.id()) {
            results.entry(id).or_insert_with(|| json!({}))[key] = value;
        }
    }

    fn call(&self, opik: &OpikExporter, item: &DatasetItem) -> TaskOutput {
        let question = format!("The capital of {}?", item["country"]);
        let mut call = LLMCallData::new("openai", "gpt-4o")
            .with_messages(json!([{"role": "user", "content": question}]))
            .with_usage(Usage::new(40, 7).with_cache_read(12))
            .with_duration(Duration::from_micros(12_345))
            .with_cost(0.000_25)
            .with_session_id("session-1")
            .with_tag("live")
            .with_metadata("country", &item["country"]);
        if item["task"] == "is refused" {
            let error = CallError::new("429 Too Many Requests").with_kind("RateLimitError");
            call = call.with_error(error);
        } else if item["expected"].is_string() {
            call = call.with_response(&item["expected"]);
        } else {
            call = call.with_response(json!({"role": "assistant", "content": ["?"]}));
        }
        self.insert(item, "trace", json!(opik.trace_id(&call)));
        self.insert(item, "record", json!(call));
        let own = FeedbackScore::new("of the task", 0.5).with_category("fair");
        self.insert(item, "scores", json!([score_of(&own)]));
        TaskOutput::from(call).with_score(own)
    }

    async fn run(&self, opik: &OpikExporter, item: &DatasetItem) -> Result<TaskOutput, TaskError> {
        let (run, mut meant) = agent(opik, "The capital of Nigeria?").await;
        run.finish(&item["expected"]).await?;
        meant["output"] = json!({"output": item["expected"]});
        self.insert(item, "trace", json!(run.trace_id()));
        self.insert(item, "run", meant);
        Ok(run.into())
    }

    fn failure(&self, item: &DatasetItem) -> TaskError {
        self.insert(item, "failed", json!("no such country"));
        io::Error::other("no such country").into()
    }

    fn scores(&self, item: &DatasetItem, output: &TaskOutput) -> Vec<FeedbackScore> {
        let expected = item["expected"].as_str().unwrap_or_default();
        let exact = FeedbackScore::new("exact_match", f64::from(output.text() == expected))
            .with_reason(format!("expected {expected:?}"));
        let scores = vec![
            exact,
            FeedbackScore::new("length", output.text().len() as f64),
        ];
        if let Ok(mut results) = self.0.lock()
            && let Some(result) = item.id().and_then(|id| results.get_mut(&id))
        {
            let all = result["scores"].as_array().cloned().unwrap_or_default();
            let all: Vec<_> = all.into_iter().chain(scores.iter().map(score_of)).collect();
            result["scores"] = json!(all);
        }
        scores
    }
}

/// A run with calls and tools in tools; one of them fails. It has not ended.
async fn agent(opik: &OpikExporter, question: &str) -> (AgentRun, Value) {
    let call = |name: &str| {
        LLMCallData::new("anthropic", "claude-sonnet-4-5")
            .with_name(name)
            .with_messages(json!([{"role": "user", "content": name}]))
            .with_response(json!({"role": "assistant", "content": name}))
            .with_usage(Usage::new(300, 20).with_cache_read(200).with_reasoning(5))
            .with_model_parameters(json!({"temperature": 0.2}))
            .with_time_to_first_token(Duration::from_micros(310_500))
            .with_duration(Duration::from_millis(400))
            .with_cost(0.001)
    };
    let run = opik
        .agent_run("capital-agent")
        .with_input(question)
        .with_session_id("session-7")
        .with_user_id("user-1")
        .with_environment("production")
        .with_tag("agent")
        .with_tag("live")
        .with_metadata(
            "prompt",
            json!({"version": 3, "text": "Gr\u{fc}\u{df}e \u{1f40b}"}),
        );
    let plan = run.step("plan").with_input(json!({"question": question}));
    let planned = call("plan");
    plan.submit(planned.clone());
    plan.finish("search, then answer");

    let search = run
        .tool("search")
        .with_input(json!({"query": question, "limit": 3}))
        .with_tag("cached")
        .with_metadata("index", json!(["capitals", 2]));
    let fetch = search.tool("fetch").with_input("http://127.0.0.1/");
    tokio::time::sleep(Duration::from_millis(3)).await;
    fetch.fail(
        CallError::new("connection refused")
            .with_kind("Io")
            .with_trace("caused by: os error 111"),
    );
    let ranked = call("rank");
    search.submit(ranked.clone());
    search.finish(json!(["Abuja", "Lagos"]));
    let answered = call("answer").with_tag("last").with_metadata("attempt", 2);
    run.submit(answered.clone());

    let meant = json!({
        "trace": run.trace_id(),
        "name": "capital-agent",
        "input": {"input": question},
        "thread_id": "session-7",
        "environment": "production",
        "tags": ["agent", "live"],
        "metadata": {
            "user_id": "user-1",
            "prompt": {"version": 3, "text": "Gr\u{fc}\u{df}e \u{1f40b}"},
        },
        "spans": [
            {"id": plan.span_id(), "parent": null, "type": "general", "name": "plan",
                "input": {"question": question}, "output": {"output": "search, then answer"}},
            {"id": opik.trace_id(&planned), "parent": plan.span_id(), "type": "llm", "record": planned},
            {"id": search.span_id(), "parent": null, "type": "tool", "name": "search",
                "input": {"query": question, "limit": 3}, "output": {"output": ["Abuja", "Lagos"]},
                "tags": ["cached"], "metadata": {"index": ["capitals", 2]}},
            {"id": fetch.span_id(), "parent": search.span_id(), "type": "tool", "name": "fetch",
                "input": {"input": "http://127.0.0.1/"},
                "error": {"kind": "Io", "message": "connection refused", "trace": "caused by: os error 111"}},
            {"id": opik.trace_id(&ranked), "parent": search.span_id(), "type": "llm", "record": ranked},
            {"id": opik.trace_id(&answered), "parent": null, "type": "llm", "record": answered},
        ],
    });
    (run, meant)
}

fn tell(what: &str, mut it: Value) {
    it["what"] = json!(what);
    println!("{it}");
}

fn dataset_of(dataset: &OpikDataset, items: &[DatasetItem]) -> Value {
    let items = items
        .iter()
        .map(|item| json!({"id": item.id(), "data": item.data()}));
    json!({"id": dataset.id(), "name": dataset.name(), "items": items.collect::<Vec<_>>()})
}

fn report_of(report: &WriteReport) -> Value {
    let failures = report.failures.iter().map(|failure| &failure.error);
    let failures: Vec<_> = failures.map(ToString::to_string).collect();
    json!({"stored": report.stored, "unchanged": report.unchanged, "failures": failures})
}

fn experiment_of(experiment: &OpikExperiment, summary: &ExperimentSummary, meant: Meant) -> Value {
    let scores = summary.scores.iter();
    let scores: BTreeMap<_, _> = scores
        .map(|(name, score)| (name, json!([score.count, score.mean])))
        .collect();
    json!({
        "id": experiment.id(),
        "name": experiment.name(),
        "dataset": experiment.dataset().name(),
        "items": summary.items,
        "skipped": summary.skipped,
        "calls": summary.calls,
        "errors": summary.errors,
        "tokens": [summary.input_tokens, summary.output_tokens],
        "cost": summary.cost,
        "scores": scores,
        "results": meant.0.into_inner().unwrap_or_default(),
    })
}

fn score_of(score: &FeedbackScore) -> Value {
    json!({"name": score.name, "value": score.value, "reason": score.reason, "category_name": score.category})
}

fn text(value: &Value) -> Done<&str> {
    Ok(value.as_str().ok_or("no text")?)
}

fn uuid(value: &Value) -> Done<Uuid> {
    Ok(text(value)?.parse()?)
}
