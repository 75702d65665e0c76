//! An Opik of one's own: any URL, no key.

use std::error::Error;

use beluga_o11y::{LLMCallData, TraceExporter};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::Sandbox;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A sandbox stands in for the server; yours is usually at http://localhost:5173/api.
    let server = Sandbox::start()?;
    let opik = OpikExporter::builder()
        .with_base_url(server.opik_url())
        .build()?;

    let found = opik.check().await?;
    println!(
        "Opik {} at {}, workspace {}",
        found.version.as_deref().unwrap_or("of unknown version"),
        opik.config().base_url,
        found.workspace
    );
    opik.export_llm_call(&LLMCallData::new("ollama", "llama3.2").with_tokens(26, 298))
        .await?;
    println!(
        "arrived: {} trace, {} span",
        server.traces().len(),
        server.spans().len()
    );

    // A self-hosted Opik has one workspace, and a check says so before anything is lost.
    let wrong = OpikExporter::builder()
        .with_base_url(server.opik_url())
        .with_workspace("ml-team")
        .build()?;
    println!(
        "{}",
        wrong.check().await.expect_err("there is no such workspace")
    );
    Ok(())
}
