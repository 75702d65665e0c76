//! Two teams, two workspaces: one exporter each.

use std::error::Error;

use beluga_o11y::{LLMCallData, TraceExporter};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::{OpikCloud, Sandbox};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A sandbox with the rules of the cloud, where a key has several workspaces.
    let key = "opik-example-key";
    let account = OpikCloud::new(key)
        .with_workspace("ml-team")
        .with_workspace("support");
    let cloud = Sandbox::builder().with_cloud(account).start()?;

    let team = |workspace: &str| {
        OpikExporter::builder()
            .with_base_url(cloud.opik_url())
            .with_api_key(key)
            .with_workspace(workspace)
            .build()
    };
    let (ml_team, support) = (team("ml-team")?, team("support")?);

    ml_team
        .export_llm_call(&LLMCallData::new("openai", "gpt-4o"))
        .await?;
    support
        .export_llm_call(&LLMCallData::new("anthropic", "claude-sonnet-4-5"))
        .await?;

    for trace in cloud.traces() {
        println!("{}: {}", trace.workspace, trace.name.unwrap_or_default());
    }
    Ok(())
}
