//! Runs a sandbox for clients in other languages.
//!
//! ```text
//! cargo run -p beluga-o11y-sandbox --example serve -- [--port N] [--cloud KEY] [--workspace NAME]...
//! ```
//!
//! Prints the variables that point clients at it, one a line and Opik's URL first:
//! `OPIK_URL_OVERRIDE=http://127.0.0.1:PORT/opik/api`. Langfuse, Phoenix and OTLP want `--features otlp`. Serves until
//! its standard input ends.
//!
//! `GET /_sandbox/calls` tells which LLM calls it holds; `/_sandbox/traces`, `/_sandbox/spans`, `/_sandbox/datasets`,
//! `/_sandbox/dataset_items`, `/_sandbox/experiments` and `/_sandbox/experiment_items` tell Opik's rows,
//! `/_sandbox/requests` what arrived.

use std::error::Error;
use std::io::{self, Read, Write};

use beluga_o11y_sandbox::{OpikCloud, Sandbox};

fn main() -> Result<(), Box<dyn Error>> {
    let mut sandbox = Sandbox::builder();
    let mut key = None;
    let mut workspaces = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--port" => sandbox = sandbox.with_port(value.parse()?),
            "--cloud" => key = Some(value),
            "--workspace" => workspaces.push(value),
            _ => return Err(format!("unknown argument {argument}").into()),
        }
    }
    if let Some(key) = key {
        sandbox = sandbox.with_cloud(
            workspaces
                .iter()
                .fold(OpikCloud::new(key), OpikCloud::with_workspace),
        );
    }
    let sandbox = sandbox.start()?;
    let mut stdout = io::stdout().lock();
    for (name, value) in sandbox.environment() {
        writeln!(stdout, "{name}={value}")?;
    }
    stdout.flush()?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
