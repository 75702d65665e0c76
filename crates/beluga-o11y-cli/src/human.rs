//! Numbers as people read them.

use std::time::Duration;

use indicatif::HumanCount;

/// `0.3 s`, `12 s`, `3 min 20 s`, `1 h 5 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 line`, `2,000 lines`.
pub(crate) fn count(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", HumanCount(count))
}

/// Milliseconds: `0.4 ms`, `840 ms`, `2.13 s`, `45.2 s`, `3 min 20 s`.
pub(crate) fn millis(millis: f64) -> String {
    match millis {
        ..=0.0 => "0 ms".to_owned(),
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        ..9_995.0 => format!("{:.2} s", millis / 1000.0),
        ..59_950.0 => format!("{:.1} s", millis / 1000.0),
        _ => duration(Duration::try_from_secs_f64((millis / 1000.0).round()).unwrap_or_default()),
    }
}

/// Dollars, the small ones with two digits that count: `$0.00012`, `$0.35`, `$1,234.50`.
pub(crate) fn usd(usd: f64) -> String {
    match usd {
        ..=0.0 => "$0".to_owned(),
        ..0.1 => {
            let digits = (1.0 - usd.log10().floor()).clamp(2.0, 12.0) as usize;
            format!("${usd:.digits$}")
        }
        _ => {
            let cents = (usd * 100.0).round() as u128;
            let whole = u64::try_from(cents / 100).unwrap_or(u64::MAX);
            format!("${}.{:02}", HumanCount(whole), cents % 100)
        }
    }
}

/// A count in three digits: `812`, `12.3k`, `4.56M`, `1.20G`.
pub(crate) fn short(count: u64) -> String {
    let (value, unit) = match count {
        0..10_000 => return HumanCount(count).to_string(),
        10_000..999_500 => (count as f64 / 1e3, "k"),
        999_500..999_500_000 => (count as f64 / 1e6, "M"),
        999_500_000..999_500_000_000 => (count as f64 / 1e9, "G"),
        _ => (count as f64 / 1e12, "T"),
    };
    let digits = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_in_three_digits() {
        for (of, text) in [
            (0.0, "0 ms"),
            (0.42, "0.4 ms"),
            (840.2, "840 ms"),
            (999.7, "1.00 s"),
            (2_130.0, "2.13 s"),
            (45_200.0, "45.2 s"),
            (59_960.0, "1 min 0 s"),
            (200_000.0, "3 min 20 s"),
        ] {
            assert_eq!(millis(of), text);
        }
    }

    #[test]
    fn money() {
        for (of, text) in [
            (0.0, "$0"),
            (0.000_123_4, "$0.00012"),
            (0.05, "$0.050"),
            (0.354, "$0.35"),
            (12.3, "$12.30"),
            (1_234.5, "$1,234.50"),
        ] {
            assert_eq!(usd(of), text);
        }
    }

    #[test]
    fn counts_in_three_digits() {
        for (of, text) in [
            (0, "0"),
            (812, "812"),
            (9_999, "9,999"),
            (12_345, "12.3k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (4_560_000, "4.56M"),
            (1_200_000_000, "1.20G"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(short(of), text);
        }
    }

    #[test]
    fn durations() {
        for (millis, text) in [
            (40, "0.0 s"),
            (340, "0.3 s"),
            (12_700, "12 s"),
            (200_000, "3 min 20 s"),
            (3_900_000, "1 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn counts() {
        assert_eq!(count(0, "line"), "0 lines");
        assert_eq!(count(1, "line"), "1 line");
        assert_eq!(count(2_000, "line"), "2,000 lines");
    }
}
