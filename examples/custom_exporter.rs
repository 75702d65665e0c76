//! An exporter of your own: one function, against the core alone.

use std::{error::Error, fs::OpenOptions, io::Write, path::PathBuf};

use beluga_o11y::{ExportError, LLMCallData, TraceExporter, async_trait};

/// Appends each call to a file, as one line of JSON.
struct JsonLines(PathBuf);

#[async_trait]
impl TraceExporter for JsonLines {
    fn name(&self) -> &str {
        "jsonl"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let line = serde_json::to_string(call).map_err(|error| {
            ExportError::rejected("jsonl", "cannot be written").with_cause(error)
        })?;
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|error| ExportError::temporary("jsonl", "cannot append").with_cause(error))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("beluga-{}.jsonl", std::process::id()));
    let exporter = JsonLines(path.clone());
    exporter
        .export_llm_call(&LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3))
        .await?;
    print!("{}", std::fs::read_to_string(&path)?);
    Ok(std::fs::remove_file(path)?)
}
