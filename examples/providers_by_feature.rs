//! A program that names no provider: cargo features say which ones it can use, the environment which ones it does.
//!
//! ```sh
//! LANGFUSE_PUBLIC_KEY=pk-lf-.. LANGFUSE_SECRET_KEY=sk-lf-.. cargo run --example providers_by_feature
//! ```
//!
//! Without credentials it runs itself against a sandbox, twice, with other variables.

use std::{env, error::Error, process::Command, time::Duration};

use beluga_o11y::{CallSink, LLMCallData, Usage};
use beluga_o11y_sandbox::Sandbox;

fn main() -> Result<(), Box<dyn Error>> {
    let providers = beluga_o11y_providers::from_env()?;
    println!("{providers}");
    if providers.names().is_empty() && env::var_os("BELUGA_O11Y_EXPORTERS").is_none() {
        return demonstrate();
    }

    let mut call = providers.start("openai", "gpt-4o");
    call.messages("What is the capital of France?");
    call.partial("Paris.");
    call.finish(Usage::new(12, 3));
    providers.submit(LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150));

    for (name, report) in providers.shutdown(Duration::from_secs(5)) {
        println!("{name}: {}", report.stats);
    }
    Ok(())
}

/// The same program, sent first to one provider and then to two, by variables alone.
fn demonstrate() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start()?;
    for exporters in ["langfuse", "opik,phoenix"] {
        println!("\n$ BELUGA_O11Y_EXPORTERS={exporters} providers_by_feature");
        let status = Command::new(env::current_exe()?)
            .env("BELUGA_O11Y_EXPORTERS", exporters)
            .env("OPIK_URL_OVERRIDE", sandbox.opik_url())
            .env("LANGFUSE_BASE_URL", sandbox.langfuse_url())
            .env("LANGFUSE_PUBLIC_KEY", Sandbox::LANGFUSE_PUBLIC_KEY)
            .env("LANGFUSE_SECRET_KEY", Sandbox::LANGFUSE_SECRET_KEY)
            .env("PHOENIX_COLLECTOR_ENDPOINT", sandbox.phoenix_url())
            .status()?;
        if !status.success() {
            return Err(format!("it ended with {status}").into());
        }
    }
    println!("\narrived:");
    for call in sandbox.calls() {
        let project = call.project.as_deref().unwrap_or("none");
        println!("  {:?}, project {project}", call.backend);
    }
    Ok(())
}
