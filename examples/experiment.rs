//! Compares two prompts on the same questions, as an experiment in Opik.
//!
//! `cargo run --example experiment` runs against a sandbox in this process. With `OPIK_API_KEY` or `OPIK_URL_OVERRIDE`
//! set, dataset, traces, scores and experiments go to your Opik, into the project `beluga-experiment` unless
//! `OPIK_PROJECT_NAME` says otherwise. Run it again: what is there already is not made twice.
//!
//! The model is a few lines of this file, so that nothing has to be installed or paid for: put your own call in the
//! place of `answer`.

use std::{error::Error, time::Duration};

use beluga_o11y::LLMCallData;
use beluga_o11y_opik::{
    DatasetItem, ExperimentSummary, FeedbackScore, NewExperiment, OpikExporter, TaskOutput,
};
use beluga_o11y_sandbox::Sandbox;
use serde_json::json;

const QUESTIONS: [(&str, &str); 6] = [
    ("France", "Paris"),
    ("Nigeria", "Abuja"),
    ("Japan", "Tokyo"),
    ("Australia", "Canberra"),
    ("Brazil", "Brasília"),
    ("Atlantis", "unknown"),
];

const PROMPTS: [(&str, &str); 2] = [
    ("chatty", "You are a helpful assistant. Tell what you know."),
    (
        "terse",
        "Answer with the name alone. If there is none, answer: unknown.",
    ),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The sandbox lasts as long as this does.
    let (opik, _sandbox) = connect()?;

    let dataset = opik.get_or_create_dataset("capitals").await?;
    let questions = QUESTIONS.map(|(country, expected)| {
        DatasetItem::new(json!({"country": country, "expected": expected}))
    });
    let inserted = dataset.insert(questions).await?;
    println!(
        "dataset `{}`: {} new items, {} that were there already",
        dataset.name(),
        inserted.stored,
        inserted.unchanged
    );
    inserted.into_result()?;
    let items = dataset.all_items().await?;

    let mut table = Vec::new();
    for (variant, prompt) in PROMPTS {
        let experiment = NewExperiment::new(variant)
            .with_metadata("prompt", prompt)
            .with_metadata("model", "example-model");
        let experiment = dataset.get_or_create_experiment(experiment).await?;
        let summary = experiment
            .runner()
            .with_concurrency(3)
            .with_timeout(Duration::from_secs(30))
            .with_scorer(scores)
            .on_progress(|at| {
                let state = if at.failed { "failed" } else { "stored" };
                println!("  {variant}: {} of {} {state}", at.done, at.total);
            })
            .run(items.clone(), async |item| {
                let country = item["country"].as_str().unwrap_or_default();
                Ok(answer(prompt, country).await?)
            })
            .await?;
        table.push((variant, summary));
    }
    print(&table);
    Ok(())
}

/// How good an answer is, from 0 to 1, by two measures.
fn scores(item: &DatasetItem, output: &TaskOutput) -> Vec<FeedbackScore> {
    let answer = output.text();
    let expected = item["expected"].as_str().unwrap_or_default();
    let exact = FeedbackScore::new("exact_match", f64::from(answer == expected));
    let contains = FeedbackScore::new("contains", f64::from(answer.contains(expected)));
    vec![exact.with_reason(format!("expected {expected}")), contains]
}

/// Stands for a call to a model.
async fn answer(prompt: &str, country: &str) -> Result<LLMCallData, String> {
    let latency = Duration::from_millis(20 + 5 * country.len() as u64);
    tokio::time::sleep(latency).await;
    let terse = prompt.starts_with("Answer with the name alone");
    let capital = match country {
        "France" => "Paris",
        "Nigeria" if terse => "Lagos",
        "Nigeria" => "Abuja",
        "Japan" => "Tokyo",
        "Australia" => "Canberra",
        "Brazil" => "Brasília",
        _ if terse => "unknown",
        _ => return Err("500 Internal Server Error".to_owned()),
    };
    let text = if terse {
        capital.to_owned()
    } else {
        format!("The capital of {country} is {capital}. Shall I tell you more about it?")
    };
    let question = format!("What is the capital of {country}?");
    Ok(LLMCallData::new("example", "example-model")
        .with_tokens(
            (prompt.len() + question.len()) as u64 / 4,
            text.len() as u64 / 4,
        )
        .with_messages(json!([
            {"role": "system", "content": prompt},
            {"role": "user", "content": question},
        ]))
        .with_cost(0.000_002 * text.len() as f64)
        .with_duration(latency)
        .with_response(text))
}

fn print(table: &[(&str, ExperimentSummary)]) {
    println!(
        "\n{:8}  {:>5}  {:>7}  {:>6}  {:>6}  {:>11}  {:>11}  {:>8}",
        "variant", "calls", "skipped", "errors", "tokens", "cost", "exact_match", "contains"
    );
    for (variant, summary) in table {
        let tokens = summary.input_tokens.unwrap_or(0) + summary.output_tokens.unwrap_or(0);
        let cost = summary
            .cost
            .map_or("-".to_owned(), |cost| format!("{cost:.6} USD"));
        let mean = |name| match summary.scores.get(name) {
            Some(score) => format!("{:.2}", score.mean),
            None => "-".to_owned(),
        };
        println!(
            "{variant:8}  {:>5}  {:>7}  {:>6}  {tokens:>6}  {cost:>11}  {:>11}  {:>8}",
            summary.calls,
            summary.skipped,
            summary.errors,
            mean("exact_match"),
            mean("contains"),
        );
    }
    for (variant, summary) in table {
        for failure in &summary.failures {
            println!("{variant}: {}", failure.problem);
        }
    }
}

/// Your Opik, if the environment names it, else a sandbox.
fn connect() -> Result<(OpikExporter, Option<Sandbox>), Box<dyn Error>> {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let builder = OpikExporter::builder().with_timeout(Duration::from_secs(30));
    if !set("OPIK_API_KEY") && !set("OPIK_URL_OVERRIDE") {
        println!("No OPIK_API_KEY or OPIK_URL_OVERRIDE: using a sandbox in this process.");
        let sandbox = Sandbox::start()?;
        let opik = builder
            .with_base_url(sandbox.opik_url())
            .with_project("beluga-experiment")
            .build()?;
        return Ok((opik, Some(sandbox)));
    }
    let builder = builder.from_env();
    let opik = if set("OPIK_PROJECT_NAME") {
        builder.build()?
    } else {
        builder.with_project("beluga-experiment").build()?
    };
    Ok((opik, None))
}
