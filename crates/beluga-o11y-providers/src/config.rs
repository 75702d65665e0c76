//! Which providers the environment names.

use beluga_o11y_http::Env;

use crate::{
    FromEnvError,
    provider::{self, Provider},
};

pub(crate) const EXPORTERS: &str = "BELUGA_O11Y_EXPORTERS";
pub(crate) const SPOOL_DIR: &str = "BELUGA_O11Y_SPOOL_DIR";
const DISABLED: &str = "BELUGA_O11Y_DISABLED";
/// The name that stands for no provider.
const NONE: &str = "none";

/// What the environment asks for.
pub(crate) enum Choice {
    /// These, each once, in its order. Without names: the one that has credentials.
    Providers(Vec<&'static Provider>),
    /// Nothing, and why.
    Nothing(Nothing),
}

/// Why calls are not sent anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    Named,
    SwitchedOff,
    NoCredentials,
}

impl Nothing {
    /// In a line of the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Named => "BELUGA_O11Y_EXPORTERS is none",
            Self::SwitchedOff => "switched off by BELUGA_O11Y_DISABLED",
            Self::NoCredentials => {
                "no provider has credentials; set those of one, or name one by BELUGA_O11Y_EXPORTERS"
            }
        }
    }
}

pub(crate) fn chosen(env: Env<'_>) -> Result<Choice, FromEnvError> {
    if env.switch(DISABLED)? == Some(true) {
        return Ok(Choice::Nothing(Nothing::SwitchedOff));
    }
    let names: Vec<_> = env
        .text(EXPORTERS)?
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return only(provider::compiled_in().filter(|provider| (provider.has_credentials)()));
    }
    if names.iter().any(|name| name == NONE) {
        return match names.iter().all(|name| name == NONE) {
            true => Ok(Choice::Nothing(Nothing::Named)),
            false => Err(FromEnvError::NoneAndOthers),
        };
    }
    let mut chosen: Vec<&'static Provider> = Vec::new();
    for name in names {
        let provider = provider::find(&name)?;
        if chosen.iter().all(|known| known.name != provider.name) {
            chosen.push(provider);
        }
    }
    Ok(Choice::Providers(chosen))
}

/// Where calls are kept until they are delivered, if anywhere.
pub(crate) fn spool_directory(env: Env<'_>) -> Result<Option<String>, FromEnvError> {
    let directory = env.text(SPOOL_DIR)?;
    if directory.is_some() && !cfg!(feature = "spool") {
        return Err(FromEnvError::SpoolNotCompiledIn);
    }
    Ok(directory)
}

fn only(candidates: impl Iterator<Item = &'static Provider>) -> Result<Choice, FromEnvError> {
    let candidates: Vec<_> = candidates.collect();
    match candidates.len() {
        0 => Ok(Choice::Nothing(Nothing::NoCredentials)),
        1 => Ok(Choice::Providers(candidates)),
        _ => Err(FromEnvError::Several {
            names: candidates.iter().map(|provider| provider.name).collect(),
        }),
    }
}
