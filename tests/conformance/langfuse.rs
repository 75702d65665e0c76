use std::sync::Arc;

use beluga_o11y::TraceExporter;
use beluga_o11y_langfuse::LangfuseExporter;
use beluga_o11y_sandbox::{Backend, LangfuseProject, Sandbox, conformance::Feature};

use crate::sandboxed::{KEY, Row, Sandboxed};

pub(crate) fn start() -> Sandboxed {
    Row {
        backend: Backend::Langfuse,
        sandbox: |builder| builder.with_langfuse(LangfuseProject::new("pk-lf-1", KEY)),
        url: Sandbox::langfuse_url,
        exporter,
        has_credentials: true,
        not_shown,
    }
    .start()
}

fn exporter(url: String, key: &str) -> Arc<dyn TraceExporter> {
    let builder = LangfuseExporter::builder()
        .with_base_url(url)
        .with_public_key("pk-lf-1")
        .with_secret_key(key);
    Arc::new(builder.build().expect("these settings are fine"))
}

fn not_shown(feature: Feature, case: &str) -> Option<&'static str> {
    match (feature, case) {
        (Feature::Environment, "unicode" | "control_characters") => {
            Some("Langfuse takes a-z, 0-9, - and _; others are replaced")
        }
        (Feature::Environment, case) if case != "environment_and_release" => {
            Some("Langfuse calls the one that nobody named `default`")
        }
        (Feature::ErrorKind | Feature::ErrorTrace, _) => {
            Some("Langfuse has a level and one message")
        }
        (Feature::MetadataTypes, _) => Some("Langfuse keeps metadata as text"),
        _ => None,
    }
}
