//! What an exporter to any receiver of OTLP does, seen from the server.

#[path = "../answering.rs"]
mod answering;

mod answers;
mod check;
mod delivery;

use answering::*;
use beluga_o11y_otlp::{OtlpExporter, OtlpExporterBuilder};

fn at(url: impl Into<String>) -> OtlpExporterBuilder {
    OtlpExporter::builder()
        .with_endpoint(url)
        .with_authorization("Bearer canary-key")
}

fn exporter(server: &Server) -> OtlpExporter {
    at(server.url("/"))
        .build()
        .expect("these settings are fine")
}
