//! A header's value that nobody sees.

use std::fmt;

use reqwest::header::HeaderValue;

use crate::HttpConfigError;

/// The value of a header that is a secret, such as `Authorization`: checked once, then ready to send.
///
/// `Debug` shows nothing of it, and the HTTP library is told never to show or index it.
#[derive(Clone)]
pub struct SecretHeaderValue(HeaderValue);

impl SecretHeaderValue {
    /// The whole value, such as `Bearer <key>`.
    ///
    /// # Errors
    ///
    /// [`HttpConfigError::InvalidHeaderValue`] if it holds a line break, a control character or anything
    /// beyond ASCII. Blanks around it are not trimmed here, but a space at either end is not sent by HTTP
    /// as part of a value; trim a key where it is read.
    pub fn new(value: &str) -> Result<Self, HttpConfigError> {
        Self::for_header("authorization", value)
    }

    pub(crate) fn for_header(name: &str, value: &str) -> Result<Self, HttpConfigError> {
        let invalid = || HttpConfigError::InvalidHeaderValue {
            name: name.to_owned(),
        };
        // A tab is legal in HTTP, but in a key it is a mistake of copying.
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(invalid());
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for SecretHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHeaderValue([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_header_is_refused_without_showing_it() {
        for bad in [
            "canary\r\nX-Evil: 1",
            "canary\n",
            "canary\0",
            "canary\u{7f}",
            "canary\u{1b}[31m",
            "canary\t",
            "canary-ü",
            "canary\u{200b}",
        ] {
            let error = SecretHeaderValue::new(bad).unwrap_err();
            assert!(
                matches!(&error, HttpConfigError::InvalidHeaderValue { name } if name == "authorization"),
                "{bad:?}"
            );
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn takes_what_a_key_looks_like_and_hides_it() {
        let value = SecretHeaderValue::new("Bearer canary-!#$%&'*+./:;=?@^_`{|}~\"\\").unwrap();
        assert!(value.header_value().is_sensitive());
        assert!(!format!("{value:?} {:?}", value.header_value()).contains("canary"));
    }
}
