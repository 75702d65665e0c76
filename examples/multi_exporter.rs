//! Several backends at once: each gets every call, whatever becomes of the others.

use std::error::Error;

use beluga_o11y::{InMemoryExporter, LLMCallData, MultiExporter, TraceExporter};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::{Fault, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Sandboxes stand in for the backends, and the second one is down.
    let (healthy, down) = (Sandbox::start()?, Sandbox::start()?);
    down.inject(Fault::status(503).always());

    let opik = |url: String| OpikExporter::builder().with_base_url(url).build();
    let memory = InMemoryExporter::new();
    let multi = MultiExporter::new()
        .with(opik(healthy.opik_url())?)
        .with(opik(down.opik_url())?)
        .with(memory.clone());

    let call = LLMCallData::new("openai", "gpt-4o").with_tokens(500, 150);
    for (name, result) in multi.export_each(&call).await {
        match result {
            Ok(()) => println!("{name}: accepted"),
            Err(error) => println!("{name}: {} ({} error)", error, error.kind()),
        }
    }
    println!(
        "arrived: {} in Opik, {} in memory",
        healthy.traces().len(),
        memory.len()
    );

    // As one exporter it gives the first error.
    let error = multi
        .export_llm_call(&call)
        .await
        .expect_err("one of them is down");
    println!("all together: {error}");
    Ok(())
}
