//! Projects, which LangSmith's API calls sessions.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// The workspace that all of them are in, as far as clients are told.
const TENANT: Uuid = Uuid::from_u128(0x0b1e_1ee7_0000_4000_8000_0000_0000_0001);

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) start_time: DateTime<Utc>,
    pub(crate) description: Option<String>,
    pub(crate) extra: Option<Value>,
}

impl Session {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            start_time: std::time::SystemTime::now().into(),
            description: None,
            extra: None,
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "start_time": self.start_time.to_rfc3339_opts(SecondsFormat::Micros, true),
            "end_time": null,
            "description": self.description,
            "extra": self.extra,
            "tenant_id": TENANT,
            "reference_dataset_id": null,
        })
    }
}
