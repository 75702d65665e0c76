//! The command `beluga-o11y`: `docs/cli.md` shows what it does.

mod arguments;
mod output;
mod record;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use output::{Failure, Outcome};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}

fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        _ => Err(Failure::settings("not yet")),
    }
}
