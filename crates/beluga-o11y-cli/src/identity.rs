//! Ids and starts for calls that have none of their own: the same in every run.

use std::time::Duration;

use beluga_o11y::LLMCallData;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use xxhash_rust::xxh64::Xxh64;

/// The call, with a start and an id. One without a start ended when its file was last changed, as far as anybody knows.
pub(crate) fn given(
    call: LLMCallData,
    modified: Option<DateTime<Utc>>,
    key: &str,
    line: u64,
    text: &[u8],
) -> LLMCallData {
    let call = match modified {
        Some(ended) if !call.has_start_time() => {
            let start = start(call.duration, ended);
            call.with_start_time(start)
        }
        _ => call,
    };
    if call.has_id() {
        return call;
    }
    let start = call.start_time();
    call.with_id(made(
        start,
        [
            key.as_bytes(),
            b"\0",
            &line.to_le_bytes(),
            text.trim_ascii(),
        ],
    ))
}

/// When a call began that took so long and ended then.
pub(crate) fn start(duration: Option<Duration>, ended: DateTime<Utc>) -> DateTime<Utc> {
    let duration = TimeDelta::from_std(duration.unwrap_or_default()).ok();
    let start = duration.and_then(|duration| ended.checked_sub_signed(duration));
    start.unwrap_or(ended)
}

/// A UUIDv7 at the call's start, whose random part is made of what tells the call from others.
pub(crate) fn made<'a>(
    start: DateTime<Utc>,
    parts: impl IntoIterator<Item = &'a [u8]> + Clone,
) -> Uuid {
    let hash = |seed| {
        let mut hash = Xxh64::new(seed);
        for part in parts.clone() {
            hash.update(part);
        }
        hash.digest().to_le_bytes()
    };
    let ([a, b, ..], [c, d, e, f, g, h, i, j]) = (hash(1), hash(2));
    let millis = u64::try_from(start.timestamp_millis()).unwrap_or(0);
    let random = [a, b, c, d, e, f, g, h, i, j];
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
