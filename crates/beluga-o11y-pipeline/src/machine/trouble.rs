//! The backend takes nothing, for now: how long to leave it alone.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use beluga_o11y::{ExportError, ExportErrorKind};

/// Without a success for this long, and without a wait that the backend named, it is down.
pub(super) const DOWN_AFTER: Duration = Duration::from_secs(10);
/// How often a backend that is down is asked.
pub(super) const DOWN_PROBE: Duration = Duration::from_secs(10);
/// How often a backend that refuses everybody (key, quota, address) is asked.
pub(super) const REFUSED_PROBE: Duration = Duration::from_secs(60);
/// The waits between attempts until the backend is down. Each is lengthened at random by at most itself.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(5))
    .without_max_times()
    .with_jitter();
/// The waits that a backend may ask for; a shorter one could keep both sides busy, a longer one is a mistake.
const ORDERED_WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
/// Beyond these, the wait is at its longest.
const MAX_BACKOFF_STEPS: u32 = 10;

#[derive(Debug)]
pub(super) struct Trouble {
    /// The first failure after the last success, or the end of the last wait that the backend asked for.
    since: Instant,
    /// The last failure that counted.
    at: Instant,
    steps: u32,
    /// When to ask again.
    until: Instant,
    /// The backend itself named the wait.
    ordered: bool,
    told: bool,
}

impl Trouble {
    /// It begins with the failure of a batch that was sent then.
    pub(super) fn new(sent_at: Instant, now: Instant) -> Self {
        Self {
            since: now,
            at: sent_at,
            steps: 0,
            until: now,
            ordered: false,
            told: false,
        }
    }

    /// When to ask again.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Takes in the failure of a batch that was sent then. Returns by how much the backend has lengthened the wait.
    pub(super) fn failed(
        &mut self,
        error: &ExportError,
        sent_at: Instant,
        now: Instant,
    ) -> Duration {
        let mut lengthened = Duration::ZERO;
        let wait = match error.retry_after() {
            Some(wait) => wait.clamp(*ORDERED_WAIT.start(), *ORDERED_WAIT.end()),
            // Batches that were on their way at the same time fail at the same time: that is one failure.
            None if sent_at < self.at => Duration::ZERO,
            None if error.kind() == ExportErrorKind::Destination => REFUSED_PROBE,
            None if self.is_down(now) => DOWN_PROBE,
            None => {
                self.steps += 1;
                backoff(self.steps)
            }
        };
        let until = now + wait;
        if error.retry_after().is_some() {
            let waiting = if self.ordered {
                self.until.max(now)
            } else {
                now
            };
            lengthened = until.saturating_duration_since(waiting);
            // It is there and answers: it is not down.
            (self.since, self.steps) = (until, 0);
            self.ordered = true;
        } else if self.until <= now {
            self.ordered = false;
        }
        self.at = now;
        self.until = self.until.max(until);
        lengthened
    }

    /// Whether to tell of it now, which is done once.
    pub(super) fn tell(&mut self, error: &ExportError, now: Instant) -> bool {
        let worth = error.kind() == ExportErrorKind::Destination || self.is_down(now);
        worth && !std::mem::replace(&mut self.told, worth)
    }

    pub(super) fn was_told(&self) -> bool {
        self.told
    }

    /// Asks again now, unless the backend asked to wait.
    pub(super) fn hurry(&mut self, now: Instant) {
        if !self.ordered {
            self.until = self.until.min(now);
        }
    }

    /// Whether a success ends it. One that was on its way already does not shorten a wait that the backend asked for.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        !(self.ordered && self.until > now)
    }

    fn is_down(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= DOWN_AFTER
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff(attempts: u32) -> Duration {
    let steps = attempts.clamp(1, MAX_BACKOFF_STEPS) - 1;
    let mut waits = BACKOFF.build();
    usize::try_from(steps)
        .ok()
        .and_then(|steps| waits.nth(steps))
        .unwrap_or(DOWN_PROBE)
}
