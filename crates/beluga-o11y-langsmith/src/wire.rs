//! The elements of `POST /runs/batch`, named as LangSmith's own client names them. What is unknown is left
//! out.

use beluga_o11y::Json;
use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

/// A finished run at the root of its trace.
#[derive(Serialize)]
pub(crate) struct Run<'a, M, P> {
    pub(crate) id: Uuid,
    /// That of the root, which is this run.
    pub(crate) trace_id: Uuid,
    pub(crate) dotted_order: &'a str,
    pub(crate) name: &'a str,
    pub(crate) run_type: &'static str,
    pub(crate) start_time: &'a str,
    pub(crate) end_time: &'a str,
    /// The project.
    pub(crate) session_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) tags: &'a [String],
    pub(crate) inputs: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outputs: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<[NewToken<'a>; 1]>,
    pub(crate) extra: Extra<M, P>,
}

/// The event by which LangSmith knows when the first token came.
#[derive(Serialize)]
pub(crate) struct NewToken<'a> {
    pub(crate) name: &'static str,
    pub(crate) time: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Extra<M, P> {
    pub(crate) metadata: M,
    pub(crate) invocation_params: P,
    pub(crate) runtime: Runtime,
}

/// Who sent it.
#[derive(Serialize)]
pub(crate) struct Runtime {
    pub(crate) sdk: &'static str,
    pub(crate) sdk_version: &'static str,
    pub(crate) library: &'static str,
    pub(crate) runtime: &'static str,
}

/// Inputs or outputs, which are always an object.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Nothing.
    Empty,
    /// An object as it is.
    Object(&'a Json),
    /// An array of messages.
    Messages(&'a Json),
    /// One message.
    Message(&'a Json),
    /// What somebody said.
    Said {
        role: &'static str,
        content: &'a Json,
    },
    /// Anything else, under a name.
    Named(&'static str, &'a Json),
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const MESSAGES: &str = "messages";
        #[derive(Serialize)]
        struct Message<'a> {
            role: &'static str,
            content: &'a Json,
        }
        if let Self::Object(json) = self {
            return json.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        match *self {
            Self::Empty | Self::Object(_) => {}
            Self::Messages(json) => map.serialize_entry(MESSAGES, json)?,
            Self::Message(json) => map.serialize_entry(MESSAGES, &[json])?,
            Self::Said { role, content } => {
                map.serialize_entry(MESSAGES, &[Message { role, content }])?;
            }
            Self::Named(name, json) => map.serialize_entry(name, json)?,
        }
        map.end()
    }
}

/// Token counts and cost. Counts include all their details.
#[derive(Serialize)]
pub(crate) struct UsageMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_tokens: Option<u64>,
    #[serde(skip_serializing_if = "InputDetails::is_empty")]
    pub(crate) input_token_details: InputDetails,
    #[serde(skip_serializing_if = "OutputDetails::is_empty")]
    pub(crate) output_token_details: OutputDetails,
    /// USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_cost: Option<f64>,
}

impl UsageMetadata {
    pub(crate) fn is_empty(&self) -> bool {
        self.input_tokens.is_none()
            && self.output_tokens.is_none()
            && self.input_token_details.is_empty()
            && self.output_token_details.is_empty()
            && self.total_cost.is_none()
    }
}

#[derive(Serialize)]
pub(crate) struct InputDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation: Option<u64>,
}

impl InputDetails {
    fn is_empty(&self) -> bool {
        self.cache_read.is_none() && self.cache_creation.is_none()
    }
}

#[derive(Serialize)]
pub(crate) struct OutputDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<u64>,
}

impl OutputDetails {
    fn is_empty(&self) -> bool {
        self.reasoning.is_none()
    }
}
