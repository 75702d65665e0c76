//! How long a server asks to be left alone.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// No server means more than a day; what says so is a mistake that would stop an exporter for good.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// `RateLimit-Reset` counts seconds; a number like this is a point in time (2001 or later), as other
/// vendors put into headers with a similar name.
const UNIX_TIME: u64 = 1_000_000_000;

pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let texts = |name: &str| {
        headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    // The server's own clock, where it shows it, since ours may be wrong.
    let now = texts(DATE.as_str())
        .iter()
        .find_map(|text| date(text))
        .unwrap_or(now);

    let named = texts(RETRY_AFTER.as_str())
        .into_iter()
        .filter_map(|text| seconds(text).or_else(|| (date(text)? - now).to_std().ok()));
    let reset = texts("ratelimit-reset")
        .into_iter()
        .filter_map(seconds)
        .filter(|wait| wait.as_secs() < UNIX_TIME);

    named
        .chain(reset)
        .max()
        .filter(|wait| !wait.is_zero())
        .map(|wait| wait.min(MAX))
}

/// Whole seconds by the standard; some gateways send a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_number {
        return None;
    }
    let seconds = text.parse::<f64>().ok()?;
    // Beyond what a `Duration` holds it is nonsense.
    Duration::try_from_secs_f64(seconds).ok()
}

/// The three forms of RFC 9110, section 5.6.7.
pub(crate) fn date(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|date| date.and_utc())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    const NOW: &str = "2026-11-22T21:00:00Z";

    fn wait(headers: Headers<'_>) -> Option<f64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        retry_after(&map, NOW.parse().unwrap()).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn seconds_dates_and_the_longest_of_them() {
        let table: &[(Headers<'_>, Option<f64>)] = &[
            (&[], None),
            (&[("Retry-After", "2")], Some(2.0)),
            (&[("retry-after", " 120 ")], Some(120.0)),
            (&[("Retry-After", "1.5")], Some(1.5)),
            (&[("RateLimit-Reset", "7")], Some(7.0)),
            (&[("Retry-After", "2"), ("RateLimit-Reset", "7")], Some(7.0)),
            (&[("Retry-After", "9"), ("RateLimit-Reset", "7")], Some(9.0)),
            (&[("Retry-After", "2"), ("Retry-After", "5")], Some(5.0)),
            // A date, against our clock, and against the server's.
            (
                &[("Retry-After", "Sun, 22 Nov 2026 21:01:30 GMT")],
                Some(90.0),
            ),
            (
                &[("Retry-After", "Sunday, 22-Nov-26 21:01:30 GMT")],
                Some(90.0),
            ),
            (&[("Retry-After", "Sun Nov 22 21:01:30 2026")], Some(90.0)),
            (
                &[
                    ("Retry-After", "Sun, 22 Nov 2026 23:00:30 GMT"),
                    ("Date", "Sun, 22 Nov 2026 23:00:00 GMT"),
                ],
                Some(30.0),
            ),
            (
                &[
                    ("Retry-After", "Sun, 22 Nov 2026 21:01:30 GMT"),
                    ("Date", "yesterday"),
                ],
                Some(90.0),
            ),
            // A day at most.
            (&[("Retry-After", "86401")], Some(86400.0)),
            (
                &[("Retry-After", "Fri, 22 Nov 2126 21:01:30 GMT")],
                Some(86400.0),
            ),
            (&[("Retry-After", "99999999999")], Some(86400.0)),
            // Nothing to obey.
            (&[("Retry-After", "0")], None),
            (&[("Retry-After", "Sun, 22 Nov 2026 20:59:00 GMT")], None),
            (&[("RateLimit-Reset", "0")], None),
            // Nonsense.
            (&[("Retry-After", "soon")], None),
            (&[("Retry-After", "")], None),
            (&[("Retry-After", "-5")], None),
            (&[("Retry-After", "1e9")], None),
            (&[("Retry-After", "NaN")], None),
            (&[("Retry-After", "inf")], None),
            (&[("Retry-After", "1.2.3")], None),
            (&[("Retry-After", ".")], None),
            (&[("Retry-After", "\u{fc}")], None),
            (&[("Retry-After", &"9".repeat(400))], None),
            (&[("RateLimit-Reset", "1795381200")], None),
            (
                &[("RateLimit-Reset", "Sun, 22 Nov 2026 21:01:30 GMT")],
                None,
            ),
            (
                &[("Retry-After", "nonsense"), ("RateLimit-Reset", "3")],
                Some(3.0),
            ),
        ];
        for (headers, expected) in table {
            assert_eq!(wait(headers), *expected, "{headers:?}");
        }
    }
}
