//! Ids that LangSmith accepts, and where a run stands in its trace.
//!
//! LangSmith wants a UUID, best one of version 7 ("future versions will require UUID v7", says its Python
//! client). A call whose id is another one needs a version 7 in its place, and the same one each time that
//! it is sent, or a retry would make a second run and count its cost twice. So it is made of the id and the
//! call's start alone.

use chrono::{DateTime, Utc};
use uuid::{Uuid, Variant};

/// The id of the run that a call becomes: its own, or one that follows from it.
pub(crate) fn run_id(call: Uuid, start: DateTime<Utc>) -> Uuid {
    if call.get_version_num() == 7 && call.get_variant() == Variant::RFC4122 {
        return call;
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, call.as_bytes());
    let [_, _, _, _, _, _, random @ ..] = hash.into_bytes();
    let millis = u64::try_from(start.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The `dotted_order` of a run that is the root of its trace: one part, of its start in microseconds and its
/// id. LangSmith compares it with the trace's id, and sorts by it.
pub(crate) fn dotted_order(start: DateTime<Utc>, run: Uuid) -> String {
    format!("{}{run}", start.format("%Y%m%dT%H%M%S%6fZ"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        "2026-11-22T10:00:00.123456789Z".parse().unwrap()
    }

    #[test]
    fn an_id_of_version_7_stays() {
        let id = "01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11".parse().unwrap();
        assert_eq!(run_id(id, start()), id);
    }

    /// A call must have the same id in every version of this crate: one that waits in a file, or whose
    /// export was in doubt, would else become a second run that counts its cost twice.
    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let sent = |id: &str| run_id(id.parse().unwrap(), start()).to_string();
        assert_eq!(
            sent("c9bf9e57-1685-4c89-bafb-ff5af830be8a"),
            "01a202b2-c57b-7ded-a22e-eb8178b8266a"
        );
        // Version 7 by its digit, but not a UUID of RFC 4122.
        assert_eq!(
            sent("01991f3c-7c1e-7b3a-0a54-2f1f0c5d7e11"),
            "01a202b2-c57b-7ffe-90d3-67cbc1cbab48"
        );
    }

    #[test]
    fn the_order_is_written_as_langsmiths_python_client_writes_it() {
        let id = "01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11".parse().unwrap();
        assert_eq!(
            dotted_order(start(), id),
            "20261122T100000123456Z01991f3c-7c1e-7b3a-9a54-2f1f0c5d7e11"
        );
        let even = "2026-01-02T03:04:05Z".parse().unwrap();
        assert!(dotted_order(even, id).starts_with("20260102T030405000000Z0199"));
    }

    proptest! {
        #[test]
        fn any_id_becomes_one_of_version_7(bits: u128, millis in 0..253_402_300_799_999_i64) {
            let start = DateTime::from_timestamp_millis(millis).unwrap();
            let id = run_id(Uuid::from_u128(bits), start);
            prop_assert_eq!(id.get_version_num(), 7);
            prop_assert_eq!(id.get_variant(), Variant::RFC4122);
            prop_assert_eq!(run_id(Uuid::from_u128(bits), start), id);
            let order = dotted_order(start, id);
            prop_assert_eq!(order.len(), 22 + 36);
            prop_assert!(order.ends_with(&id.to_string()));
        }
    }
}
