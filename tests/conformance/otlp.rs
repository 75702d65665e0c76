use std::sync::Arc;

use beluga_o11y::TraceExporter;
use beluga_o11y_otlp::OtlpExporter;
use beluga_o11y_sandbox::{Backend, Sandbox, conformance::Feature};

use crate::sandboxed::{KEY, Row, Sandboxed};

pub(crate) fn start() -> Sandboxed {
    Row {
        backend: Backend::Otlp,
        sandbox: |builder| builder.with_otlp_header("authorization", format!("Bearer {KEY}")),
        url: Sandbox::otlp_url,
        exporter,
        has_credentials: true,
        not_shown,
    }
    .start()
}

fn exporter(url: String, key: &str) -> Arc<dyn TraceExporter> {
    let builder = OtlpExporter::builder()
        .with_endpoint(url)
        .with_authorization(format!("Bearer {key}"));
    Arc::new(builder.build().expect("these settings are fine"))
}

fn not_shown(feature: Feature, case: &str) -> Option<&'static str> {
    match (feature, case) {
        (Feature::Once, _) => Some("a plain receiver keeps all that it is sent"),
        (Feature::Provider, "cached_tokens" | "reasoning_tokens") => {
            Some("OpenInference has its own names for Bedrock and Gemini")
        }
        _ => None,
    }
}
