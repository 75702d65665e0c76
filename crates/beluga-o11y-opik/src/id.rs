//! Ids that Opik accepts.
//!
//! Opik takes only UUIDs of version 7, and recent servers refuse one whose time part is more than 24
//! hours from their clock (`IdGenerator.java`, `UuidV7TimestampValidator.java`), whatever
//! the call's start is. A call that was kept through an outage, or is replayed from a file, is often
//! older. It needs another id, and the same one each time that it is sent, or a retry would make a
//! second row and count its cost twice.
//!
//! So the time part of such a call's id is the latest boundary of a period of 22 hours, whose phase
//! comes from a hash of the original id: at most 22 hours old, stable until the call's own next
//! boundary, and spread out so that not all replayed calls change ids at the same moment. The random part
//! stays. Only a call whose export was in doubt, and which is sent again on the other side of its
//! boundary, can become two rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(crate) const HOUR_MS: u64 = 3_600_000;
/// How far an id's time may be from now: an hour less than Opik's window, for clocks that differ.
const WINDOW_MS: u64 = 23 * HOUR_MS;
/// How long a replaced id stays the same.
const PERIOD_MS: u64 = 22 * HOUR_MS;
/// Turns the random part of a trace's id into that of its span's: the one follows from the other, and
/// no two traces share a span.
const SPAN_MASK: u128 = 0x5b3a_9c41_d28e_6f07_a4d1;

/// The id of the trace that a call becomes.
pub(crate) fn trace_id(call: Uuid, start: DateTime<Utc>, now: DateTime<Utc>) -> Uuid {
    let now = millis(now);
    let own = time_part(call).filter(|time| time.abs_diff(now) <= WINDOW_MS);
    if own.is_some() {
        return call;
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, call.as_bytes());
    let version_7 = time_part(call).is_some();
    let random = if version_7 { call } else { hash };
    let start = Some(millis(start)).filter(|start| !version_7 && start.abs_diff(now) <= WINDOW_MS);
    with_time(random, start.unwrap_or_else(|| boundary(hash, now)))
}

/// The id of the span that belongs to a trace.
pub(crate) fn span_id(trace: Uuid) -> Uuid {
    let masked = Uuid::from_u128(trace.as_u128() ^ SPAN_MASK);
    with_time(masked, time_part(trace).unwrap_or(0))
}

pub(crate) fn millis(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}

/// The milliseconds in an id of version 7; nothing for any other.
pub(crate) fn time_part(id: Uuid) -> Option<u64> {
    (id.get_version_num() == 7).then(|| u64::try_from(id.as_u128() >> 80).unwrap_or(0))
}

pub(crate) fn with_time(random: Uuid, millis: u64) -> Uuid {
    let [_, _, _, _, _, _, random @ ..] = random.into_bytes();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Whether two ids differ in their time at most.
pub(crate) fn same_random_part(one: Uuid, other: Uuid) -> bool {
    with_time(one, 0) == with_time(other, 0)
}

/// The last one before `now` in the period of this hash.
pub(crate) fn boundary(hash: Uuid, now: u64) -> u64 {
    let (_, low) = hash.as_u64_pair();
    let phase = low % PERIOD_MS;
    // On a machine whose clock stands at 1970 there is no boundary yet.
    now.saturating_sub((now + PERIOD_MS - phase) % PERIOD_MS)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000).unwrap() + TimeDelta::hours(hours)
    }

    fn v7(time: DateTime<Utc>) -> Uuid {
        with_time(Uuid::new_v4(), millis(time))
    }

    #[test]
    fn a_fresh_id_stays() {
        for hours in [-22, -1, 0, 1, 22] {
            let id = v7(at(hours));
            assert_eq!(trace_id(id, at(0), at(0)), id);
        }
    }

    /// A call must have the same id in every version of this crate: one that waits in a file, or whose
    /// export was in doubt, would else become a second row that counts its cost twice.
    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let now = at(0);
        let sent = |id: &str| trace_id(id.parse().unwrap(), at(-1_000), now).to_string();
        let old = "018bcfe5-6800-792b-8988-1657efa89323"
            .parse::<Uuid>()
            .unwrap();
        assert_eq!(
            span_id(old).to_string(),
            "018bcfe5-6800-7211-95c9-c4d980af37f2"
        );
        assert_eq!(
            sent("017bcfe5-6800-792b-8988-1657efa89323"),
            "018bce28-c908-792b-8988-1657efa89323"
        );
        assert_eq!(
            sent("c9bf9e57-1685-4c89-bafb-ff5af830be8a"),
            "018bcea8-eb6a-7ded-a22e-eb8178b8266a"
        );
    }

    #[test]
    fn the_limit_is_23_hours() {
        for (millis, stays) in [(0, true), (1, false)] {
            let beyond = TimeDelta::hours(23) + TimeDelta::milliseconds(millis);
            for time in [at(0) - beyond, at(0) + beyond] {
                let id = v7(time);
                assert_eq!(trace_id(id, time, at(0)) == id, stays, "{time}");
            }
        }
    }

    #[test]
    fn a_clock_at_1970_does_not_panic() {
        for millis in [-5_000, 0, 1, 3_600_000] {
            let now = DateTime::from_timestamp_millis(millis).unwrap();
            assert_eq!(trace_id(v7(at(0)), at(0), now).get_version_num(), 7);
        }
    }

    #[test]
    fn an_old_or_future_id_is_replaced_and_keeps_its_random_part() {
        for hours in [-24, -100_000, 24, 1_000] {
            let id = v7(at(hours));
            let replaced = trace_id(id, at(hours), at(0));
            assert_ne!(replaced, id);
            assert_eq!(replaced.as_bytes()[6..], id.as_bytes()[6..]);
        }
    }

    #[test]
    fn an_id_of_another_version_takes_the_start_or_a_boundary() {
        let id = Uuid::new_v4();
        let fresh = trace_id(id, at(-1), at(0));
        assert_eq!(time_part(fresh), Some(millis(at(-1))));
        assert_eq!(trace_id(id, at(-1), at(5)), fresh);
        let old = trace_id(id, at(-1_000), at(0));
        assert_eq!(old.as_bytes()[6..], fresh.as_bytes()[6..]);
    }

    #[test]
    fn phases_are_spread() {
        let now = at(0);
        let mut ages: Vec<_> = (0..1_000)
            .map(|_| trace_id(v7(at(-500)), at(-500), now))
            .map(|id| (millis(now) - time_part(id).unwrap()) / HOUR_MS)
            .collect();
        ages.sort_unstable();
        ages.dedup();
        assert_eq!(ages.len(), 22);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_always_in_opiks_window(bits: u128, start in -1_000_000..1_000_000_i64, now in 0..400_000_i64) {
            let (id, now) = (Uuid::from_u128(bits), at(now));
            let sent = trace_id(id, at(start), now);
            for id in [sent, span_id(sent)] {
                prop_assert_eq!(id.get_version_num(), 7);
                prop_assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
                let age = millis(now).abs_diff(time_part(id).unwrap());
                prop_assert!(age <= WINDOW_MS);
            }
            prop_assert_ne!(sent, span_id(sent));
        }

        #[test]
        fn a_replaced_id_is_stable_for_a_period_and_changes_once(bits: u128, now in 0..400_000_i64) {
            let old = with_time(Uuid::from_u128(bits), 1);
            let sent = |hours: i64| trace_id(old, at(0), at(now) + TimeDelta::hours(hours));
            let mut ids: Vec<_> = (0..22).map(sent).collect();
            ids.dedup();
            prop_assert!(ids.len() <= 2, "{:?}", ids);
        }
    }
}
