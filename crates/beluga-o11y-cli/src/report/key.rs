//! By what calls are summed up.

use std::{borrow::Cow, fmt, str::FromStr};

use clap::ValueEnum;
use xxhash_rust::xxh64::xxh64;

use super::row::Row;

/// A field of the record, or a key of its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Model,
    Provider,
    Name,
    Session,
    User,
    Tag,
    Environment,
    Release,
    /// When it began: the table over time.
    Time,
    Metadata(String),
}

const FIELDS: &[(&str, Key)] = &[
    ("model", Key::Model),
    ("provider", Key::Provider),
    ("name", Key::Name),
    ("session", Key::Session),
    ("user", Key::User),
    ("tag", Key::Tag),
    ("environment", Key::Environment),
    ("release", Key::Release),
    ("time", Key::Time),
];
const METADATA: &str = "metadata.";

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix(METADATA).filter(|name| !name.is_empty()) {
            return Ok(Self::Metadata(name.to_owned()));
        }
        let field = FIELDS.iter().find(|(name, _)| *name == text);
        field.map(|(_, key)| key.clone()).ok_or_else(|| {
            let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            format!("expected one of {names}; a key of the metadata is written {METADATA}KEY")
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Metadata(name) = self {
            return write!(f, "{METADATA}{name}");
        }
        let field = FIELDS.iter().find(|(_, key)| key == self);
        f.write_str(field.map(|(name, _)| *name).unwrap_or_default())
    }
}

impl Key {
    /// What a call has there, cut if it is long; tags are several.
    pub(crate) fn value<'a>(&self, row: &'a Row<'_>) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Model => Some(&row.model),
            Self::Provider => Some(&row.provider),
            Self::Name => row.name.as_ref(),
            Self::Session => row.session.as_ref(),
            Self::User => row.user.as_ref(),
            Self::Environment => row.environment.as_ref(),
            Self::Release => row.release.as_ref(),
            Self::Metadata(name) => {
                return match &**row.metadata.get(name.as_str())? {
                    "null" | "\"\"" => None,
                    text if text.starts_with('"') => {
                        // Half a character, such as a text has that was cut, is no text for serde_json.
                        let read: Option<String> = serde_json::from_str(text).ok();
                        Some(
                            short(&read.unwrap_or_else(|| text.to_owned()))
                                .into_owned()
                                .into(),
                        )
                    }
                    text => Some(short(text)),
                };
            }
            Self::Tag | Self::Time => None,
        };
        text.filter(|text| !text.is_empty()).map(|text| short(text))
    }
}

/// A long value, cut, and told from others that begin in the same way.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    const MAX_BYTES: usize = 200;
    if text.len() <= MAX_BYTES {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_BYTES)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let begin = text.get(..end).unwrap_or_default();
    Cow::Owned(format!(
        "{begin}… ({:08x})",
        xxh64(text.as_bytes(), 0) as u32
    ))
}

/// What comes first in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    #[default]
    Calls,
    Errors,
    /// Input and output together
    Tokens,
    Cost,
}
