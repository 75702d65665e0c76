//! What an exporter to Arize Phoenix does, seen from the server.

#[path = "../answering.rs"]
mod answering;

mod answers;
mod check;
mod delivery;
mod stored;

use answering::*;
use beluga_o11y_phoenix::{PhoenixExporter, PhoenixExporterBuilder};

const KEY: &str = "canary-key";

fn at(url: impl Into<String>) -> PhoenixExporterBuilder {
    PhoenixExporter::builder()
        .with_base_url(url)
        .with_api_key(KEY)
}

fn exporter(server: &Server) -> PhoenixExporter {
    at(server.url("/"))
        .build()
        .expect("these settings are fine")
}
