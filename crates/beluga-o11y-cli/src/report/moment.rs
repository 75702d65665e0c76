//! A point in time, as it is written on the command line.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::before(Utc::now(), text).ok_or_else(|| {
            "a time is expected: a day (2026-11-23, in UTC), a time in RFC 3339 (2026-11-23T15:04:05Z), or how long ago (90m, 24h, 7d)"
                .to_owned()
        })
    }

    fn before(now: DateTime<Utc>, text: &str) -> Option<Self> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.to_utc()));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Some(Self(day.and_time(NaiveTime::MIN).and_utc()));
        }
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u32 = number.parse().ok()?;
        let ago = match unit {
            "s" => TimeDelta::seconds(number.into()),
            "m" => TimeDelta::minutes(number.into()),
            "h" => TimeDelta::hours(number.into()),
            "d" => TimeDelta::days(number.into()),
            "w" => TimeDelta::weeks(number.into()),
            _ => return None,
        };
        now.checked_sub_signed(ago).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let now = at("2026-11-24T12:00:00Z");
        for (text, expected) in [
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("2026-11-23T15:04:05+02:00", "2026-11-23T13:04:05Z"),
            ("30s", "2026-11-24T11:59:30Z"),
            ("90m", "2026-11-24T10:30:00Z"),
            ("24h", "2026-11-23T12:00:00Z"),
            ("7d", "2026-11-17T12:00:00Z"),
            ("2w", "2026-11-10T12:00:00Z"),
        ] {
            assert_eq!(
                Moment::before(now, text),
                Some(Moment(at(expected))),
                "{text}"
            );
        }
        for text in [
            "",
            "h",
            "yesterday",
            "2026-11-31",
            "-1h",
            "1y",
            "4294967295w",
            "7ä",
            "12",
        ] {
            assert_eq!(Moment::before(now, text), None, "{text}");
        }
    }
}
