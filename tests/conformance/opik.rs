use std::sync::Arc;

use beluga_o11y::TraceExporter;
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_sandbox::{Backend, OpikCloud, Sandbox, conformance::Feature};

use crate::sandboxed::{KEY, Row, Sandboxed};

pub(crate) fn start() -> Sandboxed {
    Row {
        backend: Backend::Opik,
        sandbox: |builder| builder.with_cloud(OpikCloud::new(KEY)),
        url: Sandbox::opik_url,
        exporter,
        has_credentials: true,
        not_shown,
    }
    .start()
}

fn exporter(url: String, key: &str) -> Arc<dyn TraceExporter> {
    let builder = OpikExporter::builder().with_base_url(url).with_api_key(key);
    Arc::new(builder.build().expect("these settings are fine"))
}

fn not_shown(feature: Feature, case: &str) -> Option<&'static str> {
    match (feature, case) {
        (Feature::Provider, "reasoning_tokens") => Some("Opik has its own name for Gemini"),
        _ => None,
    }
}
