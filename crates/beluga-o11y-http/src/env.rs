//! How exporters read environment variables: the same way, all of them.

use std::env::VarError;

/// Reads environment variables, by the rules that are the same for every exporter: blanks around a value do
/// not matter, and a variable that is empty or blank counts as unset.
#[derive(Clone, Copy)]
pub struct Env<'a>(&'a dyn Fn(&str) -> Result<String, VarError>);

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

impl Env<'static> {
    /// The variables of this process.
    pub fn process() -> Self {
        Self(&|name| std::env::var(name))
    }
}

impl<'a> Env<'a> {
    /// Variables that come from somewhere else, such as a test.
    pub fn from_fn(get: &'a dyn Fn(&str) -> Result<String, VarError>) -> Self {
        Self(get)
    }

    /// The value of a variable.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, EnvError> {
        match (self.0)(name) {
            Ok(value) if value.trim().is_empty() => Ok(None),
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(EnvError::new(name, "valid UTF-8")),
        }
    }

    /// The value of the first of these variables that is set, with its name.
    ///
    /// # Errors
    ///
    /// It, or one before it, is not UTF-8.
    pub fn first<'n>(&self, names: &[&'n str]) -> Result<Option<(&'n str, String)>, EnvError> {
        for name in names {
            if let Some(value) = self.text(name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// A switch: `true`, `1`, `yes`, `y`, `on`, `t`, or `false`, `0`, `no`, `n`, `off`, `f`, in any case.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, EnvError> {
        self.text(name)?
            .map(|value| parse_switch(name, &value))
            .transpose()
    }

    /// The first of these variables that is set, as a share: a number from 0 to 1.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn share(&self, names: &[&str]) -> Result<Option<f64>, EnvError> {
        let Some((name, value)) = self.first(names)? else {
            return Ok(None);
        };
        let share = value.parse::<f64>().ok();
        match share.filter(|share| (0.0..=1.0).contains(share)) {
            None => Err(EnvError::new(name, "a number from 0 to 1")),
            share => Ok(share),
        }
    }

    /// The first of these switches that is on.
    ///
    /// # Errors
    ///
    /// It, or one before it, is no switch.
    pub fn first_on(&self, names: &[&'static str]) -> Result<Option<&'static str>, EnvError> {
        for name in names {
            if self.switch(name)? == Some(true) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// A switch by the words that [`Env::switch`] takes; `name` is for the error.
///
/// # Errors
///
/// It is another word.
pub fn parse_switch(name: &str, value: &str) -> Result<bool, EnvError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" | "t" => Ok(true),
        "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
        _ => Err(EnvError::new(name, "true or false")),
    }
}

/// A variable whose value is not what its name stands for. Prints as `<name> must be <what>`; it never holds the
/// value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}")]
#[non_exhaustive]
pub struct EnvError {
    /// The variable.
    pub name: String,
    /// What it must be.
    pub expected: &'static str,
}

impl EnvError {
    /// Says what a variable must be.
    pub fn new(name: impl Into<String>, expected: &'static str) -> Self {
        Self {
            name: name.into(),
            expected,
        }
    }
}

/// A setting without the blanks around it.
///
/// # Errors
///
/// There is nothing else in it. In code that is a mistake, such as a variable that was meant to be set.
pub fn not_blank(
    setting: &'static str,
    value: Option<String>,
) -> Result<Option<String>, BlankSetting> {
    match value {
        Some(value) if value.trim().is_empty() => Err(BlankSetting { setting }),
        value => Ok(value.map(|value| value.trim().to_owned())),
    }
}

/// A setting that is empty or blank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {setting} is blank; leave it out to get the default")]
#[non_exhaustive]
pub struct BlankSetting {
    /// The setting.
    pub setting: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(value: Result<&str, VarError>, read: impl FnOnce(Env<'_>) -> T) -> T {
        let get = |name: &str| match name {
            "A" => value.clone().map(str::to_owned),
            _ => Err(VarError::NotPresent),
        };
        read(Env::from_fn(&get))
    }

    #[test]
    fn blank_is_unset_and_blanks_around_do_not_matter() {
        assert_eq!(read(Ok(" \t"), |env| env.text("A")), Ok(None));
        assert_eq!(read(Ok(" x\n"), |env| env.text("A")), Ok(Some("x".into())));
        assert_eq!(read(Ok("x"), |env| env.text("B")), Ok(None));
        let not_text = read(Err(VarError::NotUnicode("x".into())), |env| env.text("A"));
        assert_eq!(not_text.unwrap_err().to_string(), "A must be valid UTF-8");
    }

    #[test]
    fn the_first_that_is_set_counts() {
        let first = read(Ok("x"), |env| env.first(&["B", "A"]));
        assert_eq!(first, Ok(Some(("A", "x".into()))));
        assert_eq!(read(Ok(""), |env| env.first(&["B", "A"])), Ok(None));
    }

    #[test]
    fn switches() {
        for (value, expected) in [("TRUE", Some(true)), ("Off", Some(false)), (" ", None)] {
            assert_eq!(read(Ok(value), |env| env.switch("A")), Ok(expected));
        }
        assert_eq!(
            read(Ok("1"), |env| env.first_on(&["B", "A"])),
            Ok(Some("A"))
        );
        assert_eq!(read(Ok("0"), |env| env.first_on(&["B", "A"])), Ok(None));
        let error = read(Ok("secret"), |env| env.switch("A")).unwrap_err();
        assert_eq!(error.to_string(), "A must be true or false");
    }
}
