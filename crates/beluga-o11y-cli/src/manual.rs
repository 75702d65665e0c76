//! What a package of the command installs beside it: completions and manual pages.

use std::{io::Write, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    arguments::Arguments,
    output::{Failure, Outcome},
};

pub(crate) fn completions(shell: Shell) -> Outcome {
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "beluga-o11y", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}

pub(crate) fn pages(directory: Option<&Path>) -> Outcome {
    let command = Arguments::command();
    match directory {
        Some(directory) => clap_mangen::generate_to(command, directory).map_err(|error| {
            Failure::Failed(format!("cannot write to {}: {error}", directory.display()))
        }),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(std::io::stdout().lock().write_all(&page)?)
        }
    }
}
