//! The command, run as a process as its users run it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod check;
mod docs;
mod import;
mod import_otlp;
mod manual;
mod replay;
mod report;
mod resume;
mod sandbox;
mod send;
mod spool;
mod support;
