//! What is summed up of calls.

use std::time::Duration;

use beluga_o11y::{LLMCallData, Usage};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Sort;

/// Sums of costs are whole numbers of this part of a dollar, so that they do not depend on the order of the calls.
const UNITS_PER_USD: f64 = 1e12;
/// So many values are kept as they are.
const FEW: usize = 128;
/// With two digits, a percentile is off by less than 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// What counts of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) failed: bool,
    input_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    pub(crate) cost: Option<u128>,
    duration: Option<u64>,
    time_to_first_token: Option<u64>,
}

impl Facts {
    pub(crate) fn of(call: &LLMCallData) -> Self {
        let failed = call.error.as_ref().is_some_and(|error| !error.is_empty());
        let first_token = call.time_to_first_token;
        Self::new(failed, &call.usage, call.cost, call.duration, first_token)
    }

    pub(crate) fn new(
        failed: bool,
        usage: &Usage,
        cost: Option<f64>,
        duration: Option<Duration>,
        time_to_first_token: Option<Duration>,
    ) -> Self {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            failed,
            input_tokens: usage.input_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            output_tokens: usage.output_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            cost: cost.map(|usd| (usd * UNITS_PER_USD).round() as u128),
            duration: duration.map(micros),
            time_to_first_token: time_to_first_token.map(micros),
        }
    }

    /// Input and output.
    pub(crate) fn tokens(&self) -> Option<u64> {
        sum(self.input_tokens, self.output_tokens)
    }
}

/// A sum that is unknown as long as nothing is known.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        _ => a.or(b),
    }
}

pub(crate) fn usd(units: u128) -> f64 {
    units as f64 / UNITS_PER_USD
}

/// The sums over some calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    input_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost: Option<u128>,
    calls_with_cost: u64,
    calls_with_tokens: u64,
    duration: Values,
    time_to_first_token: Values,
}

impl Sums {
    pub(crate) fn add(&mut self, facts: &Facts) {
        self.calls += 1;
        self.errors += u64::from(facts.failed);
        self.input_tokens = sum(self.input_tokens, facts.input_tokens);
        self.cache_read_tokens = sum(self.cache_read_tokens, facts.cache_read_tokens);
        self.cache_write_tokens = sum(self.cache_write_tokens, facts.cache_write_tokens);
        self.output_tokens = sum(self.output_tokens, facts.output_tokens);
        self.reasoning_tokens = sum(self.reasoning_tokens, facts.reasoning_tokens);
        self.add_cost(facts.cost);
        self.calls_with_cost += u64::from(facts.cost.is_some());
        self.calls_with_tokens += u64::from(facts.tokens().is_some());
        if let Some(duration) = facts.duration {
            self.duration.add(duration);
        }
        if let Some(time) = facts.time_to_first_token {
            self.time_to_first_token.add(time);
        }
    }

    fn add_cost(&mut self, cost: Option<u128>) {
        if let Some(cost) = cost {
            self.cost = Some(self.cost.unwrap_or(0).saturating_add(cost));
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.input_tokens = sum(self.input_tokens, other.input_tokens);
        self.cache_read_tokens = sum(self.cache_read_tokens, other.cache_read_tokens);
        self.cache_write_tokens = sum(self.cache_write_tokens, other.cache_write_tokens);
        self.output_tokens = sum(self.output_tokens, other.output_tokens);
        self.reasoning_tokens = sum(self.reasoning_tokens, other.reasoning_tokens);
        self.add_cost(other.cost);
        self.calls_with_cost += other.calls_with_cost;
        self.calls_with_tokens += other.calls_with_tokens;
        self.duration.merge(&other.duration);
        self.time_to_first_token.merge(&other.time_to_first_token);
    }

    /// By what it is larger than others.
    pub(crate) fn weight(&self, sort: Sort) -> u128 {
        match sort {
            Sort::Calls => self.calls.into(),
            Sort::Errors => self.errors.into(),
            Sort::Tokens => sum(self.input_tokens, self.output_tokens)
                .unwrap_or(0)
                .into(),
            Sort::Cost => self.cost.unwrap_or(0),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            calls: self.calls,
            errors: self.errors,
            input_tokens: self.input_tokens,
            cache_read_tokens: self.cache_read_tokens,
            cache_write_tokens: self.cache_write_tokens,
            output_tokens: self.output_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cost: self.cost.map(usd),
            calls_with_cost: self.calls_with_cost,
            calls_with_tokens: self.calls_with_tokens,
            duration_ms: self.duration.percentiles(),
            time_to_first_token_ms: self.time_to_first_token.percentiles(),
        }
    }
}

/// The sums, as they are shown. What is not known of any call is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    /// Cached ones included.
    pub(crate) input_tokens: Option<u64>,
    pub(crate) cache_read_tokens: Option<u64>,
    pub(crate) cache_write_tokens: Option<u64>,
    /// Reasoning included.
    pub(crate) output_tokens: Option<u64>,
    pub(crate) reasoning_tokens: Option<u64>,
    /// In USD.
    pub(crate) cost: Option<f64>,
    pub(crate) calls_with_cost: u64,
    pub(crate) calls_with_tokens: u64,
    pub(crate) duration_ms: Option<Percentiles>,
    pub(crate) time_to_first_token_ms: Option<Percentiles>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Lengths of time in microseconds: a few as they are, many as a histogram.
#[derive(Clone, Debug)]
enum Values {
    Few(Vec<u64>),
    Many(Box<Histogram<u32>>, u64),
}

impl Default for Values {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Values {
    fn add(&mut self, value: u64) {
        match self {
            Self::Few(values) if values.len() < FEW => values.push(value),
            Self::Few(_) => {
                self.count();
                self.add(value);
            }
            Self::Many(histogram, max) => {
                // It grows as far as a value goes.
                let _ = histogram.record(value);
                *max = value.max(*max);
            }
        }
    }

    /// From now on they are counted.
    fn count(&mut self) {
        if let Self::Few(values) = self
            && let Ok(histogram) = Histogram::new(SIGNIFICANT_DIGITS)
        {
            let values = std::mem::take(values);
            *self = Self::Many(Box::new(histogram), 0);
            for value in values {
                self.add(value);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        match other {
            Self::Few(values) => {
                for value in values {
                    self.add(*value);
                }
            }
            Self::Many(theirs, their_max) => {
                self.count();
                if let Self::Many(histogram, max) = self {
                    let _ = histogram.add(&**theirs);
                    *max = (*max).max(*their_max);
                }
            }
        }
    }

    /// Of so many values, the one that this part of them does not exceed (nearest rank).
    fn percentiles(&self) -> Option<Percentiles> {
        let millis = |micros: u64| micros as f64 / 1000.0;
        match self {
            Self::Few(values) => {
                let mut values = values.clone();
                values.sort_unstable();
                let max = millis(*values.last()?);
                let at = |part: f64| {
                    let rank = (part * values.len() as f64).ceil() as usize;
                    let value = values.get(rank.saturating_sub(1));
                    value.map_or(max, |value| millis(*value))
                };
                Some(Percentiles {
                    p50: at(0.5),
                    p95: at(0.95),
                    p99: at(0.99),
                    max,
                })
            }
            Self::Many(histogram, max) => {
                let at = |part| millis(histogram.value_at_quantile(part).min(*max));
                Some(Percentiles {
                    p50: at(0.5),
                    p95: at(0.95),
                    p99: at(0.99),
                    max: millis(*max),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(millis: impl Iterator<Item = u64>) -> Sums {
        let mut sums = Sums::default();
        for millis in millis {
            let call = LLMCallData::new("p", "m")
                .with_duration(Duration::from_millis(millis))
                .with_cost(1e-10)
                .with_tokens(u64::MAX / 3, 1);
            sums.add(&Facts::of(&call));
        }
        sums
    }

    #[test]
    fn merged_sums_are_those_of_all_calls() {
        for (few, many) in [
            (3, 4),
            (100, 100),
            (128, 5),
            (5, 1_000),
            (1_000, 2_000),
            (1_000, 0),
        ] {
            let mut merged = sums(1..few);
            merged.merge(&sums(few..few + many));
            assert_eq!(
                merged.figures(),
                sums(1..few + many).figures(),
                "{few} {many}"
            );
        }
    }

    #[test]
    fn small_costs_count_and_large_counts_end() {
        let figures = sums(1..=1_000).figures();
        assert_eq!(figures.cost, Some(1e-7));
        assert_eq!(figures.input_tokens, Some(u64::MAX));
        let latency = figures.duration_ms.unwrap();
        assert_eq!(latency.max, 1_000.0);
        assert!(
            latency.p99 >= 990.0 && latency.p99 <= 1_000.0,
            "{latency:?}"
        );
    }

    #[test]
    fn nothing_is_longer_than_the_longest() {
        let call = LLMCallData::new("p", "m").with_duration(Duration::MAX);
        let mut sums = Sums::default();
        for _ in 0..200 {
            sums.add(&Facts::of(&call));
        }
        let latency = sums.figures().duration_ms.unwrap();
        assert_eq!(
            (latency.p50, latency.max),
            (u64::MAX as f64 / 1e3, u64::MAX as f64 / 1e3)
        );
    }
}
