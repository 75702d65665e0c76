use std::sync::Arc;

use beluga_o11y::TraceExporter;
use beluga_o11y_phoenix::PhoenixExporter;
use beluga_o11y_sandbox::{Backend, Sandbox, conformance::Feature};

use crate::sandboxed::{KEY, Row, Sandboxed};

pub(crate) fn start() -> Sandboxed {
    Row {
        backend: Backend::Phoenix,
        sandbox: |builder| builder.with_phoenix_key(KEY),
        url: Sandbox::phoenix_url,
        exporter,
        has_credentials: true,
        not_shown,
    }
    .start()
}

fn exporter(url: String, key: &str) -> Arc<dyn TraceExporter> {
    let builder = PhoenixExporter::builder()
        .with_base_url(url)
        .with_api_key(key)
        .with_project("conformance");
    Arc::new(builder.build().expect("these settings are fine"))
}

fn not_shown(feature: Feature, case: &str) -> Option<&'static str> {
    match (feature, case) {
        (Feature::Cost, _) => Some("Phoenix prices calls itself"),
        (Feature::Provider, "cached_tokens" | "reasoning_tokens") => {
            Some("OpenInference has its own names for Bedrock and Gemini")
        }
        _ => None,
    }
}
