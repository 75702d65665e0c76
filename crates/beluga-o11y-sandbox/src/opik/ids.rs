//! The rules for ids: version 7, and a time inside that is near now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::opik::instant;

/// How far an id's time may be from now (Opik: `UuidV7TimestampValidator`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdWindow(pub(crate) Duration);

impl IdWindow {
    /// The rule for the id of something new: version 7, its time within the window, both ways.
    pub(crate) fn check_new(
        self,
        id: Uuid,
        resource: &str,
        now: DateTime<Utc>,
    ) -> Result<(), String> {
        self.check_reference(id, resource, now)?;
        if millis(id) < now.timestamp_millis().saturating_sub(self.millis()) {
            return Err(self.complaint(id, "too_old"));
        }
        Ok(())
    }

    /// The rule for an id that points at something: version 7 and not in the future; old is fine.
    pub(crate) fn check_reference(
        self,
        id: Uuid,
        resource: &str,
        now: DateTime<Utc>,
    ) -> Result<(), String> {
        check_version(id, resource)?;
        if millis(id) > now.timestamp_millis().saturating_add(self.millis()) {
            return Err(self.complaint(id, "too_far_future"));
        }
        Ok(())
    }

    fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    fn complaint(self, id: Uuid, reason: &str) -> String {
        let time = DateTime::from_timestamp_millis(millis(id))
            .map(instant::format)
            .unwrap_or_default();
        format!(
            "id with timestamp '{time}' must be in the allowed ingestion window of '{}' around now, reason '{reason}'",
            java_duration(self.0)
        )
    }
}

/// The rule for an id whose time does not matter (Opik: `IdGenerator.validateVersion`).
pub(crate) fn check_version(id: Uuid, resource: &str) -> Result<(), String> {
    if id.get_version_num() == 7 {
        Ok(())
    } else {
        Err(format!("{resource} id must be a version 7 UUID"))
    }
}

/// The upper 48 bits: milliseconds since the epoch.
fn millis(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// `java.time.Duration::toString`, to whole seconds.
fn java_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, 'H'),
        (seconds / 60 % 60, 'M'),
        (seconds % 60, 'S'),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "PT0S".to_owned()
    } else {
        format!("PT{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_javas() {
        assert_eq!(java_duration(Duration::from_secs(86_400)), "PT24H");
        assert_eq!(java_duration(Duration::from_secs(3_661)), "PT1H1M1S");
        assert_eq!(java_duration(Duration::ZERO), "PT0S");
    }
}
