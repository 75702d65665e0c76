//! The settings of an exporter as they were resolved, for people: what counts, and who said so.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{Env, EnvError, url};

/// Stands for what is not shown.
const HIDDEN: &str = "…";
/// A secret that is shorter would be half shown by its last characters.
const MIN_SECRET_CHARS: usize = 12;
const SHOWN_SECRET_CHARS: usize = 4;

/// Where the value of a setting came from. Prints as the variable's name, `<file>: <key>`, `code` or `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It was set in code.
    Code,
    /// An environment variable.
    Variable(&'static str),
    /// A key of a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key: &'static str,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code => f.write_str("code"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, key } => write!(f, "{}: {key}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting of an exporter as it was resolved, for people: no secret is in it, and its text may change with any
/// version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// What it is, in words.
    pub name: &'static str,
    /// Its value; `None` if nobody set it and it has no default.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

impl Setting {
    /// A setting that anybody may see.
    pub fn new(name: &'static str, value: Option<impl Into<String>>, origin: Origin) -> Self {
        Self {
            name,
            value: value.map(Into::into),
            origin,
        }
    }

    /// A key: of its value only the last 4 characters are shown, after `…`, and of one that is shorter than 12
    /// characters nothing but `…`.
    pub fn secret(name: &'static str, value: Option<&str>, origin: Origin) -> Self {
        Self::new(name, value.map(masked), origin)
    }

    /// A base URL as [`HttpSender::base_url`](crate::HttpSender::base_url) has it. Of one that no sender can be built
    /// for, because there is a user, a query or the like in it, only the host is shown, since the rest may be a secret.
    pub fn url(name: &'static str, base_url: &str, origin: Origin) -> Self {
        Self::new(name, Some(url::shown(base_url, None)), origin)
    }

    /// The URL of a path below a base URL as [`HttpSender::url_for`](crate::HttpSender::url_for) has it; else as
    /// [`url`](Self::url).
    pub fn endpoint(name: &'static str, base_url: &str, path: &str, origin: Origin) -> Self {
        Self::new(name, Some(url::shown(base_url, Some(path))), origin)
    }

    /// How many extra headers there are. Their values are secrets, whatever their names.
    pub fn headers(name: &'static str, count: usize, origin: Origin) -> Self {
        match count {
            0 => Self::new(name, None::<String>, Origin::Default),
            1 => Self::new(name, Some("1 header"), origin),
            count => Self::new(name, Some(format!("{count} headers")), origin),
        }
    }

    /// The extra headers of several sources, which add up: a setting for each that has any, or else one that says that
    /// there are none.
    pub fn headers_of(
        name: &'static str,
        sources: impl IntoIterator<Item = (usize, Origin)>,
    ) -> Vec<Self> {
        let sources = sources.into_iter().filter(|(count, _)| *count > 0);
        let settings: Vec<_> = sources
            .map(|(count, origin)| Self::headers(name, count, origin))
            .collect();
        if settings.is_empty() {
            return vec![Self::headers(name, 0, Origin::Default)];
        }
        settings
    }
}

fn masked(secret: &str) -> String {
    let count = secret.chars().count();
    let shown = if count < MIN_SECRET_CHARS {
        0
    } else {
        SHOWN_SECRET_CHARS
    };
    let end = secret.chars().skip(count - shown);
    HIDDEN.chars().chain(end).collect()
}

/// Where the settings of one source, such as the environment, came from: the origin of each setting that has a value
/// there, by the setting's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<&'static str, Origin>);

impl Origins {
    /// Notes where a setting came from.
    pub fn note(&mut self, setting: &'static str, origin: Origin) {
        self.0.insert(setting, origin);
    }

    /// Notes that a setting was set in code.
    pub fn code(&mut self, setting: &'static str) {
        self.note(setting, Origin::Code);
    }

    /// Reads the first of these variables that is set, as [`Env::first`] does, and notes it as where a setting came
    /// from.
    ///
    /// # Errors
    ///
    /// It, or one before it, is not UTF-8.
    pub fn first(
        &mut self,
        setting: &'static str,
        env: Env<'_>,
        names: &[&'static str],
    ) -> Result<Option<String>, EnvError> {
        let Some((name, value)) = env.first(names)? else {
            return Ok(None);
        };
        self.note(setting, Origin::Variable(name));
        Ok(Some(value))
    }

    /// These, and where there is none for a setting, the other's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut origins = other.0;
        origins.extend(self.0);
        Self(origins)
    }

    /// Where a setting came from.
    pub fn of(&self, setting: &str) -> Origin {
        self.0.get(setting).cloned().unwrap_or(Origin::Default)
    }

    /// The setting of this name, see [`Setting::new`]. Without a value nobody set it.
    pub fn setting(&self, name: &'static str, value: Option<impl Into<String>>) -> Setting {
        let origin = self.of_value(name, value.is_some());
        Setting::new(name, value, origin)
    }

    /// The secret of this name, see [`Setting::secret`]. Without a value nobody set it.
    pub fn secret(&self, name: &'static str, value: Option<&str>) -> Setting {
        Setting::secret(name, value, self.of_value(name, value.is_some()))
    }

    fn of_value(&self, name: &str, has_value: bool) -> Origin {
        if has_value {
            self.of(name)
        } else {
            Origin::Default
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::*;

    #[test]
    fn origins_print_as_people_know_them() {
        let file = Origin::File {
            path: "/home/x/.opik.config".into(),
            key: "api_key",
        };
        for (origin, text) in [
            (Origin::Code, "code"),
            (Origin::Variable("OPIK_API_KEY"), "OPIK_API_KEY"),
            (file, "/home/x/.opik.config: api_key"),
            (Origin::Default, "default"),
        ] {
            assert_eq!(origin.to_string(), text);
        }
    }

    #[test]
    fn of_a_secret_only_the_end_is_shown_and_of_a_short_one_nothing() {
        for (secret, shown) in [
            ("", "…"),
            ("k", "…"),
            ("abcd", "…"),
            ("0123456789a", "…"),
            ("0123456789ab", "…89ab"),
            // Characters count, not bytes.
            ("üüüüüüüüüüü", "…"),
            ("üüüüüüüüüüüö", "…üüüö"),
            ("sk-lf-00000000-0000-0000-0000-00000000canary", "…nary"),
        ] {
            let setting = Setting::secret("API key", Some(secret), Origin::Code);
            assert_eq!(setting.value.as_deref(), Some(shown));
        }
        assert_eq!(Setting::secret("API key", None, Origin::Code).value, None);
    }

    #[test]
    fn urls_are_shown_as_they_are_used_and_without_secrets() {
        for (url, shown) in [
            (" http://localhost:5173/api/ ", "http://localhost:5173/api"),
            ("https://H:443", "https://h"),
            ("https://user:canary@h:1/canary", "https://h:1/…"),
            ("https://canary@h", "https://h/…"),
            ("http://h/?key=canary", "http://h/…"),
            ("http://h/#canary", "http://h/…"),
            ("canary", "…"),
            ("user:canary@h", "…"),
            ("ftp://u:canary@h", "…"),
            ("", "…"),
        ] {
            let setting = Setting::url("base URL", url, Origin::Default);
            assert_eq!(setting.value.as_deref(), Some(shown), "{url}");
        }
        for (url, path, shown) in [
            ("http://h", "v1/traces", "http://h/v1/traces"),
            ("http://h", "", "http://h/"),
            ("http://u:canary@h", "v1/traces", "http://h/…"),
            ("canary", "v1/traces", "…"),
        ] {
            let setting = Setting::endpoint("endpoint", url, path, Origin::Default);
            assert_eq!(setting.value.as_deref(), Some(shown), "{url}");
        }
    }

    #[test]
    fn headers_are_counted() {
        let code = |count| Setting::headers("headers", count, Origin::Code);
        let none = Setting::new("headers", None::<&str>, Origin::Default);
        assert_eq!(code(0), none);
        assert_eq!(code(1).value.as_deref(), Some("1 header"));
        assert_eq!(code(2).value.as_deref(), Some("2 headers"));

        let of = |code_count, variable_count| {
            let variable = (variable_count, Origin::Variable("X"));
            Setting::headers_of("headers", [(code_count, Origin::Code), variable])
        };
        let variable = Setting::headers("headers", 3, Origin::Variable("X"));
        assert_eq!(of(0, 0), [none]);
        assert_eq!(of(2, 0), [code(2)]);
        assert_eq!(of(0, 3), std::slice::from_ref(&variable));
        assert_eq!(of(2, 3), [code(2), variable]);
    }

    #[test]
    fn the_variable_that_was_found_is_noted_and_code_beats_it() {
        let get = |name: &str| match name {
            "A" => Ok(" ".to_owned()),
            "B" => Ok(" x ".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let env = Env::from_fn(&get);
        let mut ambient = Origins::default();
        let found = ambient.first("project", env, &["A", "B", "C"]);
        assert_eq!(found, Ok(Some("x".to_owned())));
        assert_eq!(ambient.first("workspace", env, &["A", "C"]), Ok(None));
        assert_eq!(ambient.of("project"), Origin::Variable("B"));
        assert_eq!(ambient.of("workspace"), Origin::Default);

        let mut code = Origins::default();
        code.code("project");
        let both = code.or(ambient.clone());
        assert_eq!(both.of("project"), Origin::Code);
        assert_eq!(Origins::default().or(ambient.clone()), ambient);
    }

    #[test]
    fn without_a_value_nobody_set_it() {
        let mut origins = Origins::default();
        origins.code("x");
        assert_eq!(origins.setting("x", Some("1")).origin, Origin::Code);
        assert_eq!(origins.setting("x", None::<&str>).origin, Origin::Default);
        assert_eq!(origins.secret("x", Some("1")).origin, Origin::Code);
        assert_eq!(origins.secret("x", None).origin, Origin::Default);
    }
}
