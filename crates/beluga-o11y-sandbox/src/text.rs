//! Text into values: JSON, query strings.

use serde_json::Value;

/// Stored JSON as a value. What `serde_json` cannot hold (half a surrogate pair, 1e999) comes back as its own text.
pub(crate) fn to_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The value of a query parameter, percent-decoded.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    percent_decoded(raw_values(query, name).next()?)
}

/// All values of a query parameter, percent-decoded.
#[cfg(feature = "otlp")]
pub(crate) fn query_values(query: &str, name: &str) -> Vec<String> {
    raw_values(query, name)
        .filter_map(percent_decoded)
        .collect()
}

fn raw_values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// None if a `%` is not followed by two hex digits, or it is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Text as OpenTelemetry's variables have it, with all but letters, digits and a few signs encoded.
#[cfg(feature = "otlp")]
pub(crate) fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded() {
        assert_eq!(query_value("a=1&b=x%20y+z", "b").as_deref(), Some("x y z"));
        assert_eq!(query_value("a=%zz", "a"), None);
        assert_eq!(query_value("a", "a"), None);
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn what_is_encoded_is_decoded_again() {
        assert_eq!(percent_encoded("Bearer a,b=ä"), "Bearer%20a%2Cb%3D%C3%A4");
        let text = "a-b_c.d+ %=,;ä";
        assert_eq!(
            percent_decoded(&percent_encoded(text)).as_deref(),
            Some(text)
        );
    }
}
