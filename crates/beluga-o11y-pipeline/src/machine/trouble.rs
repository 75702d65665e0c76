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
    /// The first failure after the last success.
    began: Instant,
    /// Since when nothing has been heard but failures: that, or the end of the last wait that the backend asked for.
    since: Instant,
    /// The last failure that counted.
    at: Instant,
    steps: u32,
    /// When to ask again.
    until: Instant,
    /// When the backend allows to ask again, if it said so.
    ordered_until: Option<Instant>,
    /// It refuses everybody: key, quota, address.
    refused: bool,
    /// A flush came while it was being asked already, and wants a try of its own.
    hurried: bool,
    told: bool,
}

impl Trouble {
    /// It begins with the failure of a batch that was sent then.
    pub(super) fn new(sent_at: Instant, now: Instant) -> Self {
        Self {
            began: now,
            since: now,
            at: sent_at,
            steps: 0,
            until: now,
            ordered_until: None,
            refused: false,
            hurried: false,
            told: false,
        }
    }

    /// When to ask again.
    pub(super) fn until(&self) -> Instant {
        self.ordered_until
            .map_or(self.until, |ordered| ordered.max(self.until))
    }

    /// How long the backend still wants to be left alone.
    pub(super) fn ordered(&self, now: Instant) -> Duration {
        self.ordered_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Takes in the failure of a batch that was sent then. Returns by how much the backend has lengthened its wait.
    pub(super) fn failed(
        &mut self,
        error: &ExportError,
        sent_at: Instant,
        now: Instant,
    ) -> Duration {
        let mut lengthened = Duration::ZERO;
        let hurried = std::mem::take(&mut self.hurried);
        self.refused |= error.kind() == ExportErrorKind::Destination;
        if let Some(wait) = error.retry_after() {
            let until = now + wait.clamp(*ORDERED_WAIT.start(), *ORDERED_WAIT.end());
            let before = self.ordered_until.map_or(now, |before| before.max(now));
            lengthened = until.saturating_duration_since(before);
            self.ordered_until = Some(until.max(before));
            // It is there and answers: it is not down.
            (self.since, self.steps) = (until, 0);
        } else if sent_at < self.at {
            // Batches that were on their way at the same time fail at the same time: that is one failure.
        } else {
            let wait = match error.kind() {
                ExportErrorKind::Destination => REFUSED_PROBE,
                _ if self.is_down(now) => DOWN_PROBE,
                _ => {
                    self.steps += 1;
                    backoff(self.steps)
                }
            };
            self.until = if hurried {
                now
            } else {
                self.until.max(now + wait)
            };
        }
        self.at = now;
        lengthened
    }

    /// Whether to tell of it now, which is done once.
    pub(super) fn tell(&mut self, error: &ExportError, now: Instant) -> bool {
        let worth = error.kind() == ExportErrorKind::Destination
            || self.is_down(now)
            || self.ordered(now) >= DOWN_AFTER;
        worth && !std::mem::replace(&mut self.told, true)
    }

    pub(super) fn was_told(&self) -> bool {
        self.told
    }

    /// Asks again now, unless the backend asked to wait; and once more if it is being asked already.
    pub(super) fn hurry(&mut self, now: Instant, asking: bool) {
        self.until = self.until.min(now);
        self.hurried = asking;
    }

    /// The backend has taken some calls of a batch, and not the rest.
    pub(super) fn alive(&mut self, now: Instant) {
        self.since = now;
    }

    /// Whether a flush waits for a try of its own.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// Whether the success of a batch that was sent then ends it. Of a backend that is only busy any success does. Where
    /// it asked to wait, or refuses everybody from now on, what was on its way before says nothing.
    pub(super) fn is_over(&self, sent_at: Instant, now: Instant) -> bool {
        let busy = !self.refused && self.ordered(now).is_zero();
        busy || sent_at > self.began
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
