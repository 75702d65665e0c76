//! What an exporter to LangSmith does, seen from the server: the sandbox where behaviour matters, httpmock where one
//! exact answer does.

mod answers;
mod check;
mod delivery;
mod stored;

use std::time::Duration;

use beluga_o11y::LLMCallData;
use beluga_o11y_langsmith::{LangSmithExporter, LangSmithExporterBuilder};
use beluga_o11y_sandbox::{LangSmithAccount, Sandbox};
use serde_json::json;

const KEY: &str = "lsv2_pt_canary";

fn sandbox() -> Sandbox {
    let account = LangSmithAccount::new(KEY).with_workspace("team");
    let organisation = LangSmithAccount::new("lsv2_sk_canary").with_workspace("team");
    Sandbox::builder()
        .with_langsmith(account)
        .with_langsmith(organisation)
        .start()
        .expect("a free port on loopback")
}

fn at(url: impl Into<String>) -> LangSmithExporterBuilder {
    LangSmithExporter::builder()
        .with_base_url(url)
        .with_api_key(KEY)
        .with_timeout(Duration::from_secs(5))
}

fn exporter(sandbox: &Sandbox) -> LangSmithExporter {
    at(sandbox.langsmith_url())
        .build()
        .expect("these settings are fine")
}

fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_messages(json!([{"role": "user", "content": "canary prompt"}]))
        .with_response("hello")
        .with_tokens(12, 5)
        .with_cost(0.003)
        .with_duration(Duration::from_millis(840))
}

fn calls(count: usize) -> Vec<LLMCallData> {
    (0..count).map(|_| call()).collect()
}
