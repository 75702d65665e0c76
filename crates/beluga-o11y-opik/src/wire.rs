//! The elements of `POST /v1/private/traces/batch` and `/spans/batch`, named as Opik's API has them
//! (`Trace.java`, `Span.java`, `ErrorInfo.java`). What is unknown is left out: older servers fail on
//! nulls in `usage`.

use beluga_o11y::Json;
use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

/// What a trace and its span have in common.
#[derive(Serialize)]
pub(crate) struct Common<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project_name: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) start_time: &'a str,
    pub(crate) end_time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Input<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Output<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_info: Option<ErrorInfo<'a>>,
    /// The version of the row: the same each time that a call is sent.
    pub(crate) last_updated_at: &'a str,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttft: Option<f64>,
    pub(crate) source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct Input<'a> {
    pub(crate) messages: &'a Json,
}

#[derive(Serialize)]
pub(crate) struct Output<'a> {
    pub(crate) response: &'a Json,
}

/// All three must be there and not blank: Opik's own Python client cannot read a trace without them.
#[derive(Serialize)]
pub(crate) struct ErrorInfo<'a> {
    pub(crate) exception_type: &'a str,
    pub(crate) message: &'a str,
    pub(crate) traceback: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Trace<'a, M> {
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) common: &'a Common<'a>,
    pub(crate) metadata: M,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct Span<'a> {
    pub(crate) id: Uuid,
    pub(crate) trace_id: Uuid,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(flatten)]
    pub(crate) common: &'a Common<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<SpanMetadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<&'a str>,
    #[serde(skip_serializing_if = "FlatUsage::is_empty")]
    pub(crate) usage: &'a FlatUsage,
    /// USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_estimated_cost: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct SpanMetadata<'a> {
    pub(crate) model_parameters: &'a Json,
}

/// Token counts as Opik takes them: a flat map to integers of 32 bits.
#[derive(Default)]
pub(crate) struct FlatUsage(pub(crate) Vec<(&'static str, u64)>);

impl FlatUsage {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for FlatUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, count) in &self.0 {
            map.serialize_entry(key, count)?;
        }
        map.end()
    }
}
