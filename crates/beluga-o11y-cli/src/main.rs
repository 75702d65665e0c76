//! The command `beluga-o11y`: `docs/cli.md` shows what it does.

mod arguments;
mod backend;
mod check;
mod delivery;
mod human;
mod identity;
mod import;
mod input;
mod interrupt;
mod manual;
mod output;
mod record;
mod replay;
mod report;
mod runtime;
mod sandbox;
mod screen;
mod send;
mod spool;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use output::Outcome;

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
        Command::Check(check) => check::run(check, arguments.loudness),
        Command::Import(import) => import::run(import, arguments.loudness),
        Command::Report(report) => report::run(report, arguments.loudness),
        Command::Replay(replay) => replay::run(replay, arguments.loudness),
        Command::Sandbox(sandbox) => sandbox::run(sandbox, arguments.loudness),
        Command::Send(send) => send::run(send, arguments.loudness),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::pages(dir.as_deref()),
        Command::Spool(spool) => spool::run(spool, arguments.loudness),
    }
}
