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
    pub(crate) input: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Content<'a>>,
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

/// Opik shows an object field by field, so what may be anything stands in one under a name.
pub(crate) enum Content<'a> {
    Named(&'static str, &'a Json),
    /// An object already.
    Whole(&'a Json),
}

impl<'a> Content<'a> {
    /// An object as it is, anything else under a name.
    pub(crate) fn object_or(name: &'static str, json: &'a Json) -> Self {
        if json.as_str().trim_start().starts_with('{') {
            Self::Whole(json)
        } else {
            Self::Named(name, json)
        }
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(name, json) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(name, json)?;
                map.end()
            }
            Self::Whole(json) => json.serialize(serializer),
        }
    }
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
pub(crate) struct Span<'a, M> {
    pub(crate) id: Uuid,
    pub(crate) trace_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_span_id: Option<Uuid>,
    /// `general`, `tool` or `llm`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(flatten)]
    pub(crate) common: &'a Common<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<M>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) tags: &'a [String],
    #[serde(flatten)]
    pub(crate) model: Model<'a>,
}

/// What only a span of type `llm` has.
#[derive(Default, Serialize)]
pub(crate) struct Model<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<&'a str>,
    #[serde(skip_serializing_if = "FlatUsage::is_empty")]
    pub(crate) usage: FlatUsage,
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
