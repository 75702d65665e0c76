//! Calls over time.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::figures::{Facts, Figures, Sums, usd};

/// So many buckets with calls, at most; where there are more, each takes a longer time.
const MAX_BUCKETS: usize = 400;
/// In the charts, so many models have a colour of their own.
const MAX_MODELS: usize = 7;
/// So many models are told from others, over time.
const MAX_KNOWN_MODELS: usize = 1_000;
const DAY: i64 = 24 * 60 * 60;
/// How long a bucket may take, in seconds, and what that is called. Each is a multiple of the one before.
const WIDTHS: &[(i64, &str)] = &[
    (1, "1s"),
    (10, "10s"),
    (60, "1min"),
    (300, "5min"),
    (900, "15min"),
    (3_600, "1h"),
    (6 * 3_600, "6h"),
    (DAY, "1d"),
    (7 * DAY, "7d"),
    (28 * DAY, "28d"),
    (364 * DAY, "364d"),
    (364 * DAY * 64, "64y"),
    (364 * DAY * 64 * 64, "4096y"),
];
/// The first Monday after 1970-01-01, with which weeks begin.
const MONDAY: i64 = 4 * DAY;

/// The sums of each bucket, by when calls began.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Which of the widths.
    width: usize,
    buckets: BTreeMap<i64, Bucket>,
    /// Models, by number; only where a page wants them.
    models: Option<HashMap<Box<str>, usize>>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    sums: Sums,
    /// By number of the model.
    models: BTreeMap<usize, Share>,
}

/// What a model has of a bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    calls: u64,
    errors: u64,
    cost: Option<u128>,
    tokens: Option<u64>,
}

impl Share {
    fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        if let Some(cost) = other.cost {
            self.cost = Some(self.cost.unwrap_or(0).saturating_add(cost));
        }
        if let Some(tokens) = other.tokens {
            self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(tokens));
        }
    }
}

/// The table over time.
#[derive(Debug, Serialize)]
pub(crate) struct Over {
    pub(crate) every: &'static str,
    pub(crate) every_seconds: i64,
    /// Only those in which calls began.
    pub(crate) rows: Vec<Interval>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Interval {
    pub(crate) start: String,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What each model has of each bucket.
#[derive(Debug, Serialize)]
pub(crate) struct Models {
    /// All that have no name here are the last one, if there are any.
    names: Vec<Option<String>>,
    rows: Vec<Vec<Option<Part>>>,
}

#[derive(Debug, Serialize)]
struct Part {
    calls: u64,
    errors: u64,
    cost: Option<f64>,
    tokens: Option<u64>,
}

impl Timeline {
    pub(crate) fn new(with_models: bool) -> Self {
        Self {
            width: 0,
            buckets: BTreeMap::new(),
            models: with_models.then(HashMap::new),
        }
    }

    pub(crate) fn add(&mut self, start: DateTime<Utc>, model: &str, facts: &Facts) {
        let model = self.models.as_mut().map(|models| number(models, model));
        let seconds = start.timestamp();
        let bucket = self.buckets.entry(begin(seconds, self.width)).or_default();
        bucket.sums.add(facts);
        if let Some(model) = model {
            bucket.models.entry(model).or_default().merge(Share {
                calls: 1,
                errors: u64::from(facts.failed),
                cost: facts.cost,
                tokens: facts.tokens(),
            });
        }
        while self.buckets.len() > MAX_BUCKETS && self.widen() {}
    }

    /// Makes each bucket take a longer time, if there is one.
    fn widen(&mut self) -> bool {
        if self.width + 1 >= WIDTHS.len() {
            return false;
        }
        self.width += 1;
        for (start, bucket) in std::mem::take(&mut self.buckets) {
            let wider = self.buckets.entry(begin(start, self.width)).or_default();
            wider.sums.merge(&bucket.sums);
            for (model, share) in bucket.models {
                wider.models.entry(model).or_default().merge(share);
            }
        }
        true
    }

    /// From the first bucket to the last, but for one call in fifty at either end, whose clocks may have been wrong: how many
    /// there would be if all had calls.
    fn length(&self) -> i64 {
        let calls: u64 = self.buckets.values().map(|bucket| bucket.sums.calls).sum();
        let mut before = 0;
        let mut inner = self.buckets.iter().filter(|(_, bucket)| {
            let (first, last) = (before + 1, before + bucket.sums.calls);
            before = last;
            last > calls / 50 && first <= calls - calls / 50
        });
        let first = inner.next().map(|(start, _)| *start).unwrap_or_default();
        let last = inner.last().map_or(first, |(start, _)| *start);
        let (width, _) = WIDTHS.get(self.width).copied().unwrap_or((1, ""));
        let rows = i64::try_from(self.buckets.len()).unwrap_or(i64::MAX);
        (last.saturating_sub(first) / width + 1).max(rows)
    }

    /// In so many intervals at most, those in which no calls began included.
    pub(crate) fn over(&mut self, most: i64) -> Over {
        while self.length() > most && self.widen() {}
        let (seconds, name) = WIDTHS.get(self.width).copied().unwrap_or((1, "1s"));
        Over {
            every: name,
            every_seconds: seconds,
            rows: self
                .buckets
                .iter()
                .map(|(start, bucket)| Interval {
                    // An interval may begin before time does.
                    start: time(
                        DateTime::from_timestamp(*start, 0).unwrap_or(DateTime::<Utc>::MIN_UTC),
                    ),
                    figures: bucket.sums.figures(),
                })
                .collect(),
        }
    }

    /// The dearest models, and all others as one.
    pub(crate) fn models(&self) -> Models {
        let mut totals: BTreeMap<usize, Share> = BTreeMap::new();
        for bucket in self.buckets.values() {
            for (model, share) in &bucket.models {
                totals.entry(*model).or_default().merge(*share);
            }
        }
        let names: HashMap<usize, &str> = self
            .models
            .iter()
            .flatten()
            .map(|(name, number)| (*number, &**name))
            .collect();
        let mut ranked: Vec<_> = totals
            .into_iter()
            .filter_map(|(model, share)| Some((*names.get(&model)?, model, share)))
            .collect();
        ranked.sort_by(|(a_name, _, a), (b_name, _, b)| {
            let dearer = b.cost.cmp(&a.cost).then(b.tokens.cmp(&a.tokens));
            dearer.then(b.calls.cmp(&a.calls)).then(a_name.cmp(b_name))
        });
        ranked.truncate(MAX_MODELS);
        let shown: HashMap<usize, usize> = ranked
            .iter()
            .enumerate()
            .map(|(place, (_, model, _))| (*model, place))
            .collect();
        let mut any_other = false;
        let mut rows = Vec::new();
        for bucket in self.buckets.values() {
            let mut parts = vec![None; ranked.len() + 1];
            for (model, share) in &bucket.models {
                let place = shown.get(model).copied();
                any_other |= place.is_none();
                if let Some(part) = parts.get_mut(place.unwrap_or(ranked.len())) {
                    part.get_or_insert_with(Share::default).merge(*share);
                }
            }
            rows.push(parts);
        }
        let columns = ranked.len() + usize::from(any_other);
        let names = ranked.iter().map(|(name, ..)| Some((*name).to_owned()));
        let names = names.chain(any_other.then_some(None)).collect();
        let part = |share: Share| Part {
            calls: share.calls,
            errors: share.errors,
            cost: share.cost.map(usd),
            tokens: share.tokens,
        };
        Models {
            names,
            rows: rows
                .into_iter()
                .map(|parts| {
                    let parts = parts.into_iter().take(columns);
                    parts.map(|share| share.map(part)).collect()
                })
                .collect(),
        }
    }
}

/// When the bucket begins in which a time falls.
fn begin(seconds: i64, width: usize) -> i64 {
    let (width, _) = WIDTHS.get(width).copied().unwrap_or((1, ""));
    let offset = if width > DAY { MONDAY } else { 0 };
    (seconds - offset).div_euclid(width) * width + offset
}

/// The number of a model. Those that come when many are known are not told from one another.
fn number(models: &mut HashMap<Box<str>, usize>, name: &str) -> usize {
    if let Some(number) = models.get(name) {
        return *number;
    }
    let number = models.len();
    if number < MAX_KNOWN_MODELS {
        models.insert(name.into(), number);
    }
    number
}

pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(times: &[&str], most: i64) -> (&'static str, Vec<String>, u64) {
        let mut timeline = Timeline::new(true);
        for time in times {
            timeline.add(time.parse().unwrap(), "m", &Facts::default());
        }
        let over = timeline.over(most);
        let calls = over.rows.iter().map(|row| row.figures.calls).sum();
        (
            over.every,
            over.rows.into_iter().map(|row| row.start).collect(),
            calls,
        )
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn intervals_are_as_long_as_it_takes() {
        let times = [
            "2026-11-22T23:59:59Z",
            "2026-11-23T00:00:00Z",
            "2026-11-24T08:15:00.9Z",
        ];
        for (most, every, expected) in [
            (
                200_000,
                "1s",
                &[
                    "2026-11-22T23:59:59Z",
                    "2026-11-23T00:00:00Z",
                    "2026-11-24T08:15:00Z",
                ][..],
            ),
            (
                400,
                "5min",
                &[
                    "2026-11-22T23:55:00Z",
                    "2026-11-23T00:00:00Z",
                    "2026-11-24T08:15:00Z",
                ],
            ),
            (
                31,
                "6h",
                &[
                    "2026-11-22T18:00:00Z",
                    "2026-11-23T00:00:00Z",
                    "2026-11-24T06:00:00Z",
                ],
            ),
            (
                3,
                "1d",
                &[
                    "2026-11-22T00:00:00Z",
                    "2026-11-23T00:00:00Z",
                    "2026-11-24T00:00:00Z",
                ],
            ),
            // A Sunday and a Monday.
            (2, "7d", &["2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"]),
            (1, "364d", &["2026-10-26T00:00:00Z"]),
        ] {
            let (found, starts, calls) = starts(&times, most);
            assert_eq!(
                (found, &starts[..], calls),
                (every, &owned(expected)[..], 3)
            );
        }
        assert_eq!(starts(&[], 10), ("1s", vec![], 0));
        let ends = [
            "-262142-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "+262141-01-01T00:00:00Z",
        ];
        let (every, starts, calls) = starts(&ends, 31);
        assert_eq!((every, starts.len(), calls), ("4096y", 3, 3));
        assert_eq!(starts[0], "-262143-01-01T00:00:00Z");
        // A clock that was wrong costs the others nothing.
        let mut times: Vec<String> = (0..24)
            .flat_map(|hour| {
                (0..5).map(move |minute| format!("2026-11-22T{hour:02}:{minute:02}:00Z"))
            })
            .collect();
        times.push("1970-01-01T00:00:00Z".to_owned());
        let times: Vec<_> = times.iter().map(String::as_str).collect();
        let (every, starts, calls) = self::starts(&times, 31);
        assert_eq!((every, starts.len(), calls), ("1h", 25, 121));
    }
}
