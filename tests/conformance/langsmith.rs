use std::sync::Arc;

use beluga_o11y::TraceExporter;
use beluga_o11y_langsmith::LangSmithExporter;
use beluga_o11y_sandbox::{Backend, LangSmithAccount, Sandbox, conformance::Feature};

use crate::sandboxed::{KEY, Row, Sandboxed};

pub(crate) fn start() -> Sandboxed {
    Row {
        backend: Backend::LangSmith,
        sandbox: |builder| builder.with_langsmith(LangSmithAccount::new(KEY)),
        url: Sandbox::langsmith_url,
        exporter,
        has_credentials: true,
        not_shown,
    }
    .start()
}

fn exporter(url: String, key: &str) -> Arc<dyn TraceExporter> {
    let builder = LangSmithExporter::builder()
        .with_base_url(url)
        .with_api_key(key);
    Arc::new(builder.build().expect("these settings are fine"))
}

fn not_shown(feature: Feature, case: &str) -> Option<&'static str> {
    match (feature, case) {
        (Feature::Provider, "cached_tokens" | "reasoning_tokens") => {
            Some("LangSmith has its own names for Bedrock and Gemini")
        }
        _ => None,
    }
}
