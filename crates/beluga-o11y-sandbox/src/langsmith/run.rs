//! A stored run.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fields::Fields;
use super::session::Session;

/// A run that LangSmith stored, in LangSmith's names, which are also those of its JSON form.
///
/// Tokens and cost are those of its usage: `outputs.usage_metadata`, else `extra.metadata.usage_metadata`. There
/// is no price table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LangSmithRun {
    /// Its id.
    pub id: Uuid,
    /// The id of the root of its trace.
    pub trace_id: Uuid,
    /// The run that it happened in.
    pub parent_run_id: Option<Uuid>,
    /// Where it stands in its trace.
    pub dotted_order: String,
    /// The id of the project.
    pub session_id: Uuid,
    /// The project.
    pub session_name: String,
    /// Its name.
    pub name: String,
    /// `llm`, `chain`, `tool`, `retriever`, `embedding`, `prompt` or `parser`.
    pub run_type: String,
    /// `pending`, `success` or `error`.
    pub status: &'static str,
    /// When it started.
    pub start_time: DateTime<Utc>,
    /// When it ended.
    pub end_time: Option<DateTime<Utc>>,
    /// The time of the first event `new_token`.
    pub first_token_time: Option<DateTime<Utc>>,
    /// What went in.
    pub inputs: Map<String, Value>,
    /// What came out.
    pub outputs: Option<Map<String, Value>>,
    /// Why it failed.
    pub error: Option<String>,
    /// What happened during it.
    pub events: Vec<Value>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its `metadata`, and what else was sent with it.
    pub extra: Map<String, Value>,
    /// All tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// All tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Both; the sum if it was not sent.
    pub total_tokens: Option<u64>,
    /// Parts of the prompt's tokens.
    pub prompt_token_details: Option<Map<String, Value>>,
    /// Parts of the answer's tokens.
    pub completion_token_details: Option<Map<String, Value>>,
    /// The cost of the prompt in USD.
    pub prompt_cost: Option<f64>,
    /// The cost of the answer in USD.
    pub completion_cost: Option<f64>,
    /// Both; the sum if it was not sent.
    pub total_cost: Option<f64>,
}

impl LangSmithRun {
    /// `fields` have been checked: what a run must have is there.
    pub(crate) fn of(fields: &Fields, session: &Session) -> Option<Self> {
        let extra = fields.extra.clone().unwrap_or_default();
        let events = fields.events.clone().unwrap_or_default();
        let usage = usage(fields.outputs.as_ref(), &extra);
        let count = |key: &str| usage.get(key).and_then(Value::as_u64);
        let cost = |key: &str| usage.get(key).and_then(Value::as_f64);
        let details = |key: &str| usage.get(key).and_then(Value::as_object).cloned();
        let (input, output) = (count("input_tokens"), count("output_tokens"));
        let (input_cost, output_cost) = (cost("input_cost"), cost("output_cost"));
        let sum_of_costs = match (input_cost, output_cost) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0.0) + output.unwrap_or(0.0)),
        };
        Some(Self {
            id: fields.id?,
            trace_id: fields.trace_id?,
            parent_run_id: fields.parent_run_id,
            dotted_order: fields.dotted_order.clone()?,
            session_id: session.id,
            session_name: session.name.clone(),
            name: fields.name.clone()?,
            run_type: fields.run_type.clone()?,
            status: match (&fields.error, fields.end_time) {
                (Some(_), _) => "error",
                (None, Some(_)) => "success",
                (None, None) => "pending",
            },
            start_time: fields.start_time?,
            end_time: fields.end_time,
            first_token_time: events.iter().find_map(first_token_time),
            inputs: fields.inputs.clone().unwrap_or_default(),
            outputs: fields.outputs.clone(),
            error: fields.error.clone(),
            events,
            tags: fields.tags.clone().unwrap_or_default(),
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: count("total_tokens").or_else(|| input?.checked_add(output?)),
            prompt_token_details: details("input_token_details"),
            completion_token_details: details("output_token_details"),
            prompt_cost: input_cost,
            completion_cost: output_cost,
            total_cost: cost("total_cost").or(sum_of_costs),
            extra,
        })
    }
}

fn usage(outputs: Option<&Map<String, Value>>, extra: &Map<String, Value>) -> Map<String, Value> {
    const KEY: &str = "usage_metadata";
    let of_outputs = outputs.and_then(|outputs| outputs.get(KEY));
    let of_metadata = || extra.get("metadata").and_then(|metadata| metadata.get(KEY));
    of_outputs
        .or_else(of_metadata)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn first_token_time(event: &Value) -> Option<DateTime<Utc>> {
    if event.get("name")? != "new_token" {
        return None;
    }
    let time = DateTime::parse_from_rfc3339(event.get("time")?.as_str()?);
    Some(time.ok()?.to_utc())
}
