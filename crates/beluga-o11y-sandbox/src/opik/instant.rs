//! Instants as `java.time.Instant` reads and the analytics database holds them.

use chrono::{DateTime, SecondsFormat, Utc};

/// Reads an ISO-8601 instant: a date, `T`, a time with seconds, at most nine digits of fraction, and `Z` or an offset.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    // chrono takes a blank for the T and any number of digits; Java takes neither.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let (_, fraction) = text.split_once('.').unwrap_or_default();
    if fraction.bytes().take_while(u8::is_ascii_digit).count() > 9 {
        return None;
    }
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|instant| instant.to_utc())
}

/// Writes an instant as Java does: as many digits of fraction as it needs, in threes.
pub(crate) fn format(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Seconds since the epoch at which a `DateTime64(9)` column ends: 2262-04-11T23:47:16Z (Opik: `InRangeValidator`).
const MAX_NANOSECONDS: i64 = 9_223_372_036;
/// The same for a `DateTime64(6)` column: 2300-01-01T00:00:00Z.
const MAX_MICROSECONDS: i64 = 10_413_792_000;

/// The columns that hold instants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// `start_time` and `end_time`.
    Nanoseconds,
    /// `last_updated_at`.
    Microseconds,
}

impl Column {
    pub(crate) fn holds(self, instant: DateTime<Utc>) -> bool {
        let before = match self {
            Self::Nanoseconds => MAX_NANOSECONDS,
            Self::Microseconds => MAX_MICROSECONDS,
        };
        (0..before).contains(&instant.timestamp())
    }

    /// What the backend says of an instant that does not fit.
    pub(crate) fn complaint(self) -> &'static str {
        match self {
            Self::Nanoseconds => {
                "must be after or equal 1970-01-01T00:00:00.000000Z and before 2262-04-11T23:47:16.000000000Z"
            }
            Self::Microseconds => {
                "must be after or equal 1970-01-01T00:00:00.000000Z and before 2300-01-01T00:00:00.000000Z"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        for text in [
            "2026-11-22T21:52:14Z",
            "2026-11-22T21:52:14.072279Z",
            "2026-11-22t21:52:14.123456789z",
            "2026-11-22T22:52:14+01:00",
        ] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T21:52Z",
            "2026-11-22T21:52:14",
            "2026-11-22 21:52:14Z",
            "2026-11-22T21:52:14.1234567891Z",
            "2026-13-22T21:52:14Z",
            "1763848334",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn writes_what_java_writes() {
        for text in [
            "2026-11-22T21:52:14Z",
            "2026-11-22T21:52:14.072Z",
            "2026-11-22T21:52:14.072279Z",
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
    }

    #[test]
    fn columns_end_where_the_database_says() {
        let last = parse("2262-04-11T23:47:15.999999999Z").unwrap();
        let first_after = parse("2262-04-11T23:47:16Z").unwrap();
        assert!(Column::Nanoseconds.holds(last) && !Column::Nanoseconds.holds(first_after));
        assert!(Column::Microseconds.holds(first_after));
        assert!(!Column::Microseconds.holds(parse("2300-01-01T00:00:00Z").unwrap()));
        assert!(!Column::Nanoseconds.holds(parse("1969-12-31T23:59:59.999Z").unwrap()));
    }
}
