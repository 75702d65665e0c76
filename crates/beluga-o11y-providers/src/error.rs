//! What keeps providers from being set up.

use std::error::Error;

use beluga_o11y_http::EnvError;
use beluga_o11y_pipeline::PipelineError;

use crate::config::{EXPORTERS, SPOOL_DIR};

/// What keeps providers from being set up from the environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FromEnvError {
    /// A name is not that of a provider.
    #[error(
        "{EXPORTERS} names `{name}`, which is no provider; there are {}, and none",
        list(known)
    )]
    Unknown {
        /// The name, escaped and at most 40 characters of it.
        name: String,
        /// The names of all providers.
        known: Vec<&'static str>,
    },
    /// A provider is not compiled in.
    #[error(
        "{EXPORTERS} names `{name}`, which is not compiled in: enable the cargo feature `{name}` of \
         beluga-o11y-providers; compiled in: {}",
        list(compiled_in)
    )]
    NotCompiledIn {
        /// The provider, and the feature.
        name: &'static str,
        /// Those that are.
        compiled_in: Vec<&'static str>,
    },
    /// A directory for the spool is named, and the spool is not compiled in.
    #[error(
        "{SPOOL_DIR} is set, and the spool is not compiled in: enable the cargo feature `spool` of \
         beluga-o11y-providers, or unset it"
    )]
    SpoolNotCompiledIn,
    /// `none` stands beside other names.
    #[error("{EXPORTERS} names none and providers; name one or the other")]
    NoneAndOthers,
    /// Several providers have credentials, and nobody says which is meant.
    #[error(
        "{} have credentials: say which are meant, by {EXPORTERS}={} for example",
        list(names),
        names.join(",")
    )]
    Several {
        /// The providers.
        names: Vec<&'static str>,
    },
    /// The variable cannot be read.
    #[error(transparent)]
    Variable(#[from] EnvError),
    /// The settings of a provider are wrong. Prints as the provider's own error, `opik: ..`.
    #[error(transparent)]
    Provider(Box<dyn Error + Send + Sync>),
    /// A pipeline cannot be started.
    #[error("{name}: {error}")]
    Pipeline {
        /// The provider.
        name: &'static str,
        /// Why.
        error: PipelineError,
    },
}

/// `a`, `a and b`, `a, b and c`; `nothing` for none.
fn list(names: &[&'static str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_what_there_is_and_what_to_do() {
        let unknown = FromEnvError::Unknown {
            name: "opick".to_owned(),
            known: vec!["opik", "otlp"],
        };
        assert_eq!(
            unknown.to_string(),
            "BELUGA_O11Y_EXPORTERS names `opick`, which is no provider; there are opik and otlp, and none"
        );
        let several = FromEnvError::Several {
            names: vec!["opik", "langfuse", "phoenix"],
        };
        assert_eq!(
            several.to_string(),
            "opik, langfuse and phoenix have credentials: say which are meant, by \
             BELUGA_O11Y_EXPORTERS=opik,langfuse,phoenix for example"
        );
    }
}
