//! An exporter of your own, one function against the core alone, and the suite that proves it.

use std::{error::Error, fs, io::Write, path::PathBuf, sync::Arc};

use beluga_o11y::{ExportError, LLMCallData, TraceExporter, async_trait};
use beluga_o11y_sandbox::conformance::{self, Feature, Subject};

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
        let file = fs::File::options().create(true).append(true).open(&self.0);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|error| ExportError::temporary("jsonl", "cannot append").with_cause(error))
    }
}

/// The exporter with a new file, as the suite wants it: how to make one, and what has arrived.
pub(crate) struct File(tempfile::TempDir);

#[async_trait]
impl Subject for File {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        Arc::new(JsonLines(self.0.path().join("calls.jsonl")))
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        let text = fs::read_to_string(self.0.path().join("calls.jsonl")).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .expect("each line is a call")
    }

    fn not_shown(&self, feature: Feature, _case: &str) -> Option<&'static str> {
        (feature == Feature::Once).then_some("a file keeps every line")
    }

    fn down(&self) -> Option<Arc<dyn TraceExporter>> {
        Some(Arc::new(JsonLines(
            self.0.path().join("missing/calls.jsonl"),
        )))
    }
}

pub(crate) fn start() -> File {
    File(tempfile::tempdir().expect("a place for temporary files"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = start();
    let call = LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3);
    file.exporter().export_llm_call(&call).await?;
    print!("{}", fs::read_to_string(file.0.path().join("calls.jsonl"))?);

    let report = conformance::run(start);
    println!("{report}");
    report.assert();
    Ok(())
}
