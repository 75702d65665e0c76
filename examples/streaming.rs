//! A streamed answer: the guard measures the call, the time to its first token, and what had arrived
//! if it ends early.

use std::{error::Error, time::Duration};

use beluga_o11y::{CallSink, InMemoryExporter, TraceExporter, Usage};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::Sandbox;
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sink = InMemoryExporter::new();
    ask(&sink).await;
    // The same call, given up half-way: the guard goes with the future, and reports what it has.
    let _ = tokio::time::timeout(Duration::from_millis(60), ask(&sink)).await;

    // What the sink has collected goes to Opik, here a sandbox.
    let sandbox = Sandbox::start()?;
    let opik = OpikExporter::builder()
        .with_base_url(sandbox.opik_url())
        .build()?;
    for call in sink.take() {
        opik.export_llm_call(&call).await?;
    }
    for trace in sandbox.traces() {
        println!(
            "{}: {} after {:.0} ms, first token after {:.0} ms, tokens {:?}, {}",
            trace.name.unwrap_or_default(),
            trace
                .output
                .map_or_else(|| "nothing".into(), |output| output.to_string()),
            trace.duration.unwrap_or_default(),
            trace.ttft.unwrap_or_default(),
            trace.usage.get("total_tokens"),
            trace
                .error_info
                .map_or_else(|| "complete".into(), |error| error.exception_type),
        );
    }
    Ok(())
}

async fn ask(sink: &InMemoryExporter) {
    let messages = json!([{"role": "user", "content": "What is the capital of France?"}]);
    let mut call = sink.start("anthropic", "claude-sonnet-4-5");
    call.messages(&messages);

    let mut stream = model();
    let mut usage = None;
    while let Some(chunk) = stream.recv().await {
        match chunk {
            Chunk::Text(text) => call.partial(text),
            Chunk::End(last) => usage = Some(Usage::from_anthropic(&last)),
        }
    }
    call.finish(usage);
}

enum Chunk {
    Text(&'static str),
    End(serde_json::Value),
}

/// Stands in for a model that streams.
fn model() -> mpsc::Receiver<Chunk> {
    let (chunks, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        for text in ["The capital ", "of France ", "is Paris."] {
            sleep(Duration::from_millis(25)).await;
            let _ = chunks.send(Chunk::Text(text)).await;
        }
        let usage = json!({"usage": {"input_tokens": 14, "output_tokens": 7}});
        let _ = chunks.send(Chunk::End(usage)).await;
    });
    stream
}
