//! Opik and Langfuse at once: each gets every call, whatever becomes of the other.

use std::error::Error;

use beluga_o11y::{LLMCallData, MultiExporter, TraceExporter};
use beluga_o11y_langfuse::LangfuseExporter;
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::{Fault, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A sandbox stands in for both. With accounts, leave the base URLs out and take the keys from your own.
    let sandbox = Sandbox::start()?;
    let opik = OpikExporter::builder()
        .with_api_key("my-api-key")
        .with_base_url(sandbox.opik_url())
        .build()?;
    let langfuse = LangfuseExporter::builder()
        .with_public_key(Sandbox::LANGFUSE_PUBLIC_KEY)
        .with_secret_key(Sandbox::LANGFUSE_SECRET_KEY)
        .with_base_url(sandbox.langfuse_url())
        .build()?;
    let multi = MultiExporter::new().with(opik).with(langfuse);

    let call = LLMCallData::new("openai", "gpt-4o")
        .with_messages("What is the capital of France?")
        .with_response("The capital of France is Paris.")
        .with_tokens(500, 150)
        .with_cost(0.003);
    multi.export_llm_call(&call).await?;
    for stored in sandbox.calls() {
        println!(
            "{:?} has {}: {:?} + {:?} tokens, {:?} USD",
            stored.backend,
            stored.model.as_deref().unwrap_or("?"),
            stored.input_tokens,
            stored.output_tokens,
            stored.cost
        );
    }

    // Langfuse goes down. Opik does not notice, and you are told of both.
    sandbox.inject(Fault::status(503).on("/langfuse").always());
    let call = LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3);
    for (name, result) in multi.export_each(&call).await {
        match result {
            Ok(()) => println!("{name}: accepted"),
            Err(error) => println!("{error} ({} error)", error.kind()),
        }
    }

    // As one exporter it gives the first error.
    let error = multi
        .export_llm_call(&call)
        .await
        .expect_err("one of them is down");
    println!("all together: {error}");
    Ok(())
}
