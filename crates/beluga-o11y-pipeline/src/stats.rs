//! What became of the calls.

use std::fmt;

use beluga_o11y::ExportError;

/// What became of all calls that a pipeline was ever given, at one moment.
///
/// Two sums hold at every moment:
///
/// - `submitted = accepted + refused.total() + sampled_out`
/// - `accepted + recovered = delivered + rejected + dropped.total() + pending`
///
/// `Display` says the same in one line.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PipelineStats {
    /// Calls handed over.
    pub submitted: u64,
    /// Calls taken into the queue.
    pub accepted: u64,
    /// Calls taken up again from a spool: those that earlier processes left there, and dead letters that are sent once
    /// more. 0 without a spool.
    pub recovered: u64,
    /// Calls not taken, by reason. Whoever handed them over was told.
    pub refused: Refused,
    /// Calls that are not in the sample.
    pub sampled_out: u64,
    /// Calls that the backend has taken.
    pub delivered: u64,
    /// Calls that the backend refused for what they are. They are dead letters.
    pub rejected: u64,
    /// Calls given up for another reason.
    pub dropped: Dropped,
    /// Calls that wait to be sent, are being sent, or are in doubt because no answer came.
    pub pending: u64,
    /// The memory that the pending calls take up, in bytes, without what the exporter makes of them. Those that wait on
    /// disk alone take up none.
    pub pending_bytes: u64,
    /// Batches handed to the exporter, first ones and repeated ones.
    pub export_calls: u64,
    /// What the exporter said last that was no success.
    pub last_error: Option<ExportError>,
    /// What is on disk. All 0 without a spool.
    pub spool: SpoolStats,
}

/// What the spool of a pipeline holds, and what it could not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStats {
    /// Pending calls that are on disk, and so survive the process.
    pub durable: u64,
    /// Calls that were accepted although they could not be written to disk, or not in time, ever since the start. They
    /// are sent like all others, but do not survive the process.
    pub not_durable: u64,
    /// The disk space that calls and dead letters take up, in bytes, without the write-ahead log.
    pub bytes: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Files that were found damaged and set aside.
    pub set_aside: u64,
}

/// Calls that were not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// No backend could take them: [`Refusal::Invalid`](beluga_o11y::Refusal::Invalid).
    pub invalid: u64,
    /// There was no memory left: [`Refusal::Full`](beluga_o11y::Refusal::Full),
    /// [`Refusal::TooLarge`](beluga_o11y::Refusal::TooLarge).
    pub full: u64,
    /// They came after the shutdown: [`Refusal::Closed`](beluga_o11y::Refusal::Closed).
    pub closed: u64,
    /// They came from a pipeline's own thread: [`Refusal::OwnTraffic`](beluga_o11y::Refusal::OwnTraffic).
    pub own_traffic: u64,
}

/// Accepted calls that were given up although the backend did not refuse them, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// To make room for newer ones: [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    pub overflow: u64,
    /// They could not be delivered within
    /// [`with_max_retry_time`](crate::PipelineBuilder::with_max_retry_time), or the age that a spool keeps them. They are
    /// dead letters.
    pub expired: u64,
    /// They waited on disk, and could not be read back.
    pub damaged: u64,
}

/// What a flush or a shutdown achieved.
#[derive(Clone, Debug, Default)]
#[must_use = "it tells which calls are still pending"]
#[non_exhaustive]
pub struct FlushReport {
    /// Of the calls accepted before the flush: those not settled when it returned, and those in doubt. 0 means that
    /// every one of them was delivered, rejected or dropped.
    pub pending: u64,
    /// What became of all calls so far.
    pub stats: PipelineStats,
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.invalid + self.full + self.closed + self.own_traffic
    }
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.overflow + self.expired + self.damaged
    }
}

impl PipelineStats {
    /// Whether any call is lost: refused, rejected or dropped.
    pub fn has_losses(&self) -> bool {
        self.refused.total() + self.lost() > 0
    }

    /// Accepted calls that will not be delivered.
    pub(crate) fn lost(&self) -> u64 {
        self.rejected + self.dropped.total()
    }
}

/// Reasons are named only where there are such calls.
impl fmt::Display for PipelineStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} delivered, {} pending", self.delivered, self.pending)?;
        if self.spool.durable > 0 {
            write!(f, " ({} of them on disk)", self.spool.durable)?;
        }
        let Refused {
            invalid,
            full,
            closed,
            own_traffic,
        } = self.refused;
        for (count, what) in [
            (self.rejected, "rejected by the backend"),
            (self.dropped.overflow, "dropped for newer ones"),
            (self.dropped.expired, "given up after the retry time"),
            (self.dropped.damaged, "damaged on disk"),
            (invalid, "refused as invalid"),
            (full, "refused because the queue was full"),
            (closed, "refused after the shutdown"),
            (own_traffic, "refused as the pipeline's own traffic"),
            (self.sampled_out, "not in the sample"),
            (self.recovered, "recovered from disk"),
            (self.spool.not_durable, "accepted without being on disk"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_what_there_is() {
        let mut stats = PipelineStats {
            delivered: 7,
            ..PipelineStats::default()
        };
        assert_eq!(stats.to_string(), "7 delivered, 0 pending");
        assert!(!stats.has_losses());
        stats.rejected = 1;
        stats.refused.full = 2;
        assert_eq!(
            stats.to_string(),
            "7 delivered, 0 pending, 1 rejected by the backend, 2 refused because the queue was full"
        );
        assert!(stats.has_losses());
    }
}
