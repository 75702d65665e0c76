//! What an exporter to Langfuse does, seen from the server.

#[path = "../answering.rs"]
mod answering;

mod answers;
mod check;
mod delivery;
mod stored;

use answering::*;
use beluga_o11y_langfuse::{LangfuseExporter, LangfuseExporterBuilder};

const PUBLIC_KEY: &str = "pk-lf-canary";
const SECRET_KEY: &str = "sk-lf-canary";

fn at(url: impl Into<String>) -> LangfuseExporterBuilder {
    LangfuseExporter::builder()
        .with_base_url(url)
        .with_public_key(PUBLIC_KEY)
        .with_secret_key(SECRET_KEY)
}

fn exporter(server: &Server) -> LangfuseExporter {
    at(server.url("/"))
        .build()
        .expect("these settings are fine")
}
