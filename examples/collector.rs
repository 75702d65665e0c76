//! To an OpenTelemetry Collector, or any backend that takes OTLP over HTTP.
//!
//! ```sh
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --example collector
//! ```

use std::{env, error::Error, time::Duration};

use beluga_o11y::{LLMCallData, TraceExporter};
use beluga_o11y_otlp::OtlpExporter;
use beluga_o11y_sandbox::{Backend, Sandbox};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Without a Collector of yours, a sandbox receives.
    let sandbox = match env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Some(_) => None,
        None => Some(Sandbox::start()?),
    };
    let mut builder = OtlpExporter::builder()
        .from_env()
        .with_service_name("capitals")
        .with_resource_attribute("service.version", "1.2.3");
    if let Some(sandbox) = &sandbox {
        builder = builder.with_endpoint(sandbox.otlp_url());
    }
    let otlp = builder.build()?;
    println!("checking {} ..", otlp.check().await?.endpoint);

    // The ids of your own trace, if you have one: the call's span becomes part of it.
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_messages(json!([{"role": "user", "content": "What is the capital of France?"}]))
        .with_response("The capital of France is Paris.")
        .with_tokens(500, 150)
        .with_duration(Duration::from_millis(1200))
        .with_trace_id("0af7651916cd43dd8448eb211c80319c")
        .with_parent_span_id("b7ad6b7169203331");
    otlp.export_llm_call(&call).await?;

    let spans = sandbox.map(|sandbox| sandbox.otlp_spans(Backend::Otlp));
    for span in spans.unwrap_or_default() {
        println!("{} in trace {}", span.name, span.trace_id);
        for (name, value) in &span.attributes {
            println!("  {name} = {value}");
        }
    }
    Ok(())
}
