//! By what calls are summed up.

use std::{borrow::Cow, fmt, str::FromStr};

use beluga_o11y::LLMCallData;
use clap::ValueEnum;
use xxhash_rust::xxh64::xxh64;

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
    pub(crate) fn value<'a>(&self, call: &'a LLMCallData) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Model => Some(call.model.as_str()),
            Self::Provider => Some(call.provider.as_str()),
            Self::Name => call.name.as_deref(),
            Self::Session => call.session_id.as_deref(),
            Self::User => call.user_id.as_deref(),
            Self::Environment => call.environment.as_deref(),
            Self::Release => call.release.as_deref(),
            Self::Metadata(name) => {
                let json = call.metadata.get(name)?;
                return match json.as_str() {
                    "null" => None,
                    text if text.starts_with('"') => json
                        .read::<String>()
                        .ok()
                        .map(|text| Cow::Owned(short(&text).into_owned())),
                    text => Some(short(text)),
                };
            }
            Self::Tag | Self::Time => None,
        };
        text.filter(|text| !text.is_empty()).map(short)
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
