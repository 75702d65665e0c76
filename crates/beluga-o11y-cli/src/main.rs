//! The command `beluga-o11y`: `docs/cli.md` shows what it does.

mod arguments;
mod backend;
mod delivery;
mod human;
mod interrupt;
mod output;
mod record;
mod replay;
mod screen;

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
    screen::log(arguments.loudness);
    match &arguments.command {
        Command::Replay(replay) => replay::run(replay, arguments.loudness),
        _ => Err(Failure::settings("not yet")),
    }
}
