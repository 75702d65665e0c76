//! What an exporter to Opik does, seen from the server: the sandbox where behaviour matters, httpmock
//! where one exact request or answer does.

mod agent;
mod auth;
mod bad_input;
mod check;
mod datasets;
mod delivery;
mod exact;
mod experiments;
mod faults;
mod golden;
mod harm;
mod properties;
mod scores;
mod scripted;
mod stored;

use std::time::Duration;

use beluga_o11y::LLMCallData;
use beluga_o11y_opik::{OpikExporter, OpikExporterBuilder};
use beluga_o11y_sandbox::{Request, Sandbox};
use serde_json::json;

fn sandbox() -> Sandbox {
    Sandbox::start().expect("a free port on loopback")
}

fn builder(sandbox: &Sandbox) -> OpikExporterBuilder {
    OpikExporter::builder()
        .with_base_url(sandbox.opik_url())
        .with_timeout(Duration::from_secs(5))
}

fn exporter(sandbox: &Sandbox) -> OpikExporter {
    builder(sandbox).build().expect("these settings are fine")
}

fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_messages(json!([{"role": "user", "content": "hi"}]))
        .with_response("hello")
        .with_tokens(12, 5)
        .with_duration(Duration::from_millis(840))
}

/// For a test that is more than one future.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn calls(count: usize) -> Vec<LLMCallData> {
    (0..count).map(|_| call()).collect()
}

/// The values of a header over all requests, in order of arrival.
fn headers(requests: &[Request], name: &str) -> Vec<String> {
    let value = |request: &Request| request.header(name).unwrap_or("(none)").to_owned();
    requests.iter().map(value).collect()
}
