//! Runs a sandbox for clients in other languages.
//!
//! ```text
//! cargo run -p beluga-o11y-sandbox --example serve -- [--port N] [--cloud KEY] [--workspace NAME]...
//! ```
//!
//! Prints one line, `OPIK_URL_OVERRIDE=http://127.0.0.1:PORT/opik/api`, and serves until its standard input ends.
//! `GET /_sandbox/traces`, `/_sandbox/spans` and `/_sandbox/requests` tell what it holds.

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
    writeln!(io::stdout(), "OPIK_URL_OVERRIDE={}", sandbox.opik_url())?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}
