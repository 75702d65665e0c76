//! An agent made with rig, whose LLM calls arrive in Opik. Three lines set that up; the agent knows nothing of it.
//!
//! `cargo run` in this directory needs nothing else: a sandbox in this process stands in for Opik, and canned answers
//! for OpenAI. With `OPIK_API_KEY` or `OPIK_URL_OVERRIDE` set, the calls go to your Opik, into the project `rig-to-opik`
//! unless `OPIK_PROJECT_NAME` says otherwise. With `OPENAI_API_KEY` set, the model is OpenAI's.

mod canned;

use std::{convert::Infallible, error::Error, time::Duration};

use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Sandbox;
use beluga_o11y_tracing::LlmCallLayer;
use rig::AgentBuilder;
use rig::agent::tool::{Tool, ToolContext};
use rig::providers::openai::OpenAI;
use serde_json::{Value, json};
use tracing::{Instrument, info_span};
use tracing_subscriber::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (opik, sandbox) = connect()?;

    // All that there is to it: the spans of rig become records, and the pipeline sends them, out of the agent's way.
    let pipeline = Pipeline::builder(opik).spawn()?;
    let layer = LlmCallLayer::new(pipeline.clone());
    tracing_subscriber::registry().with(layer).init();

    let openai = if is_set("OPENAI_API_KEY") {
        OpenAI::from_env()?
    } else {
        canned::openai().await?
    };
    // What is known here of the caller can be told in a span around the calls.
    let request = info_span!(
        "request",
        beluga.session.id = "umbrellas",
        beluga.user.id = "ada"
    );
    ask(&openai, "gpt-4o-mini").instrument(request).await;
    // Calls that fail are there, too. This one does: there is no such model.
    ask(&openai, "gpt-0").await;

    // Before the program ends, what still waits is sent.
    let report = pipeline.shutdown(Duration::from_secs(10));
    println!("\nSent to Opik: {}", report.stats);
    if let Some(sandbox) = sandbox {
        print(&sandbox);
    }
    if report.pending > 0 || report.stats.has_losses() {
        return Err("not all calls have arrived".into());
    }
    Ok(())
}

async fn ask(openai: &OpenAI, model: &str) {
    let agent = AgentBuilder::new(openai.completion(model))
        .name("weather")
        .preamble("Answer in one sentence.")
        .tool(Weather)
        // Off by default. Without it the records have tokens, times and errors, but no messages and no answers.
        .record_content_telemetry(true)
        .build();
    let question = "Do I need an umbrella in Paris today?";
    println!("\n{model}: {question}");
    match agent.prompt(question).max_turns(3).await {
        Ok(answer) => println!("{answer}"),
        Err(error) => println!("{error}"),
    }
}

struct Weather;

impl Tool for Weather {
    const NAME: &'static str = "weather";
    type Args = Value;
    type Output = String;
    type Error = Infallible;

    fn description(&self) -> String {
        "Tells today's weather in a city.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    }

    async fn call(&self, _: &mut ToolContext, arguments: Value) -> Result<String, Infallible> {
        Ok(format!(
            "{}: rain until noon",
            arguments["city"].as_str().unwrap_or("somewhere")
        ))
    }
}

/// Your Opik, if the environment names it, else a sandbox.
fn connect() -> Result<(OpikExporter, Option<Sandbox>), Box<dyn Error>> {
    if !is_set("OPIK_API_KEY") && !is_set("OPIK_URL_OVERRIDE") {
        let sandbox = Sandbox::start()?;
        let opik = OpikExporter::builder()
            .with_base_url(sandbox.opik_url())
            .with_project("rig-to-opik")
            .build()?;
        println!("No OPIK_API_KEY or OPIK_URL_OVERRIDE: using a sandbox in this process.");
        return Ok((opik, Some(sandbox)));
    }
    let mut builder = OpikExporter::builder().from_env();
    if !is_set("OPIK_PROJECT_NAME") {
        builder = builder.with_project("rig-to-opik");
    }
    let opik = builder.build()?;
    println!("Calls go to {}.", opik.config().base_url);
    Ok((opik, None))
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.trim().is_empty())
}

fn print(sandbox: &Sandbox) {
    println!(
        "\n  {:12}  {:>6}  {:>6}  {:9}  {:20}  error",
        "model", "input", "output", "session", "answer"
    );
    for call in sandbox.calls() {
        let count =
            |tokens: Option<u64>| tokens.map_or("-".to_owned(), |tokens| tokens.to_string());
        let answer = match call.output {
            Some(Value::String(text)) => text,
            Some(message) if message["tool_calls"].is_array() => "calls a tool".to_owned(),
            _ => "-".to_owned(),
        };
        let error = call.error.map_or("-".to_owned(), |error| error.message);
        println!(
            "  {:12}  {:>6}  {:>6}  {:9}  {:20}  {error}",
            call.model.as_deref().unwrap_or("-"),
            count(call.input_tokens),
            count(call.output_tokens),
            call.session_id.as_deref().unwrap_or("-"),
            answer
        );
    }
    println!("\nTo see them in Opik, set OPIK_API_KEY (cloud) or OPIK_URL_OVERRIDE (self-hosted).");
}
