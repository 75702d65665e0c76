//! Exports three calls to Opik and shows them arrived.
//!
//! `cargo run --example quickstart` runs against a sandbox in this process. With `OPIK_API_KEY` or
//! `OPIK_URL_OVERRIDE` set, the calls go to your Opik, into the project `beluga-quickstart` unless
//! `OPIK_PROJECT_NAME` says otherwise.

use std::{error::Error, process::ExitCode, time::Duration};

use beluga_o11y::{CallError, LLMCallData, TraceExporter, Usage};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::Sandbox;
use serde_json::json;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Box<dyn Error>> {
    let (opik, sandbox) = connect()?;
    if opik.config().disabled {
        println!("Exporting is switched off by the environment: nothing to show.");
        return Ok(false);
    }

    let mut all_accepted = true;
    let mut sent = Table::new("sent");
    for call in calls() {
        let result = opik.export_llm_call(&call).await;
        sent.row(
            &call.id().to_string(),
            &call.display_name(),
            call.usage.total_tokens(),
            call.cost,
            call.duration,
            if result.is_ok() {
                "accepted"
            } else {
                "not accepted"
            },
        );
        if let Err(error) = result {
            all_accepted = false;
            eprintln!("{error}");
        }
    }
    sent.print();

    if let Some(sandbox) = sandbox {
        let mut arrived = Table::new("arrived in the sandbox");
        for trace in sandbox.traces() {
            let failed = trace.error_info.map(|error| error.exception_type);
            arrived.row(
                &trace.id.to_string(),
                trace.name.as_deref().unwrap_or(""),
                trace
                    .usage
                    .get("total_tokens")
                    .and_then(|n| u64::try_from(*n).ok()),
                trace.total_estimated_cost,
                trace.duration.map(|ms| Duration::from_secs_f64(ms / 1e3)),
                failed.as_deref().unwrap_or("ok"),
            );
        }
        all_accepted &= arrived.rows.len() == calls().len();
        arrived.print();
        println!(
            "\nTo see them in Opik, set OPIK_API_KEY (cloud) or OPIK_URL_OVERRIDE (self-hosted)."
        );
    }
    Ok(all_accepted)
}

/// Your Opik, if the environment names it, else a sandbox.
fn connect() -> Result<(OpikExporter, Option<Sandbox>), Box<dyn Error>> {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    if !set("OPIK_API_KEY") && !set("OPIK_URL_OVERRIDE") {
        let sandbox = Sandbox::start()?;
        let opik = OpikExporter::builder()
            .with_base_url(sandbox.opik_url())
            .with_project("beluga-quickstart")
            .build()?;
        println!("No OPIK_API_KEY or OPIK_URL_OVERRIDE: using a sandbox in this process.");
        return Ok((opik, Some(sandbox)));
    }
    let mut builder = OpikExporter::builder().from_env();
    if !set("OPIK_PROJECT_NAME") {
        builder = builder.with_project("beluga-quickstart");
    }
    let opik = builder.build()?;
    let target = opik.config();
    println!(
        "Exporting to {}, workspace {}, project {}.",
        target.base_url,
        target.workspace,
        target.project.as_deref().unwrap_or("Default Project")
    );
    Ok((opik, None))
}

fn calls() -> [LLMCallData; 3] {
    let question = json!([{"role": "user", "content": "What is the capital of France?"}]);
    [
        LLMCallData::new("openai", "gpt-4o")
            .with_messages(&question)
            .with_response("The capital of France is Paris.")
            .with_tokens(500, 150)
            .with_duration(Duration::from_millis(1200))
            .with_cost(0.003)
            .with_metadata("experiment", "baseline-v2"),
        // The usage as Anthropic sends it: cached tokens are not part of `input_tokens` there.
        LLMCallData::new("anthropic", "claude-sonnet-4-5")
            .with_messages(&question)
            .with_response("Paris.")
            .with_usage(Usage::from_anthropic(&json!({"usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 1_800,
                "cache_creation_input_tokens": 200,
                "output_tokens": 4,
            }})))
            .with_duration(Duration::from_millis(840))
            .with_time_to_first_token(Duration::from_millis(310))
            .with_session_id("quickstart"),
        LLMCallData::new("openai", "gpt-4o-mini")
            .with_messages(&question)
            .with_duration(Duration::from_millis(95))
            .with_error(CallError::new("429 Too Many Requests").with_kind("RateLimitError")),
    ]
}

struct Table {
    title: &'static str,
    rows: Vec<String>,
}

impl Table {
    fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: Vec::new(),
        }
    }

    fn row(
        &mut self,
        id: &str,
        name: &str,
        tokens: Option<u64>,
        cost: Option<f64>,
        duration: Option<Duration>,
        status: &str,
    ) {
        let dash = || "-".to_owned();
        let tokens = tokens.map_or_else(dash, |tokens| tokens.to_string());
        let cost = cost.map_or_else(dash, |cost| format!("{cost:.4} USD"));
        let duration = duration.map_or_else(dash, |time| format!("{} ms", time.as_millis()));
        self.rows
            .push(line(id, name, &tokens, &cost, &duration, status));
    }

    fn print(&self) {
        println!("\n{}:", self.title);
        println!(
            "{}",
            line("trace id", "name", "tokens", "cost", "duration", "status")
        );
        for row in &self.rows {
            println!("{row}");
        }
    }
}

fn line(id: &str, name: &str, tokens: &str, cost: &str, duration: &str, status: &str) -> String {
    format!("  {id:36}  {name:27}  {tokens:>6}  {cost:>10}  {duration:>8}  {status}")
}
