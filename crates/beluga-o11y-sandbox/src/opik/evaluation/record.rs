//! What the sandbox gives back: scores, datasets and experiments, typed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::opik::record::PublicView;

/// A score that a trace or span was given (Opik: `FeedbackScore`).
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FeedbackScore {
    /// As sent. A trace or span has one score of a name; a later one replaces it.
    pub name: String,
    /// As sent, without blanks around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category_name: Option<String>,
    /// As sent, to nine decimals.
    pub value: f64,
    /// As sent, without blanks around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As sent: `sdk`, `ui` or `online_scoring`.
    pub source: String,
    /// When a score of this name first arrived.
    pub created_at: DateTime<Utc>,
    /// The sandbox has one user: `admin`.
    pub created_by: String,
    /// When this one arrived.
    pub last_updated_at: DateTime<Utc>,
    /// As [`created_by`](Self::created_by).
    pub last_updated_by: String,
}

/// A stored dataset (Opik: `Dataset`).
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Dataset {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// The workspace it is in; `default` when self-hosted.
    pub workspace: String,
    /// The project it is in, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<Uuid>,
    /// The name of that project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// As sent. Within a project it is there once.
    pub name: String,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As sent, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How many items it has.
    pub dataset_items_count: usize,
    /// How many experiments were made with it.
    pub experiment_count: usize,
    /// When it was created, also by a write that only named it.
    pub created_at: DateTime<Utc>,
    /// When it or an item of it last changed.
    pub last_updated_at: DateTime<Utc>,
}

/// A stored item of a dataset (Opik: `DatasetItem`).
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DatasetItem {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// The dataset it is in.
    pub dataset_id: Uuid,
    /// As sent; there if the source is `trace` or `span`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Uuid>,
    /// As sent; there if the source is `span`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<Uuid>,
    /// As sent: `sdk`, `manual`, `trace` or `span`.
    pub source: String,
    /// As sent: an object that is not empty.
    pub data: Value,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As sent, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluators: Option<Value>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_policy: Option<Value>,
    /// When it first arrived.
    pub created_at: DateTime<Utc>,
    /// When it last arrived.
    pub last_updated_at: DateTime<Utc>,
}

/// A stored experiment, with what the backend computes from its items and their traces (Opik: `Experiment`).
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Experiment {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// The workspace it is in; `default` when self-hosted.
    pub workspace: String,
    /// The project it is in, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<Uuid>,
    /// The name of that project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The dataset that was named, made if there was none.
    pub dataset_id: Uuid,
    /// Its name; none if it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    /// As sent, or made up if none was.
    pub name: String,
    /// As sent, else `regular`: also `trial`, `mini-batch` and `mutation`. Serialised as `type`.
    #[serde(rename = "type")]
    pub experiment_type: String,
    /// As sent, else `dataset`: also `evaluation_suite`.
    pub evaluation_method: String,
    /// As sent: `running`, `completed`, `cancelled` or `failed`. Finishing it does not change this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// As sent, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization_id: Option<Uuid>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_version_id: Option<Uuid>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_versions: Option<Value>,
    /// As sent: scores of the experiment as a whole, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "as_list")]
    pub experiment_scores: BTreeMap<String, f64>,
    /// The averages of its traces' scores, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "as_list")]
    pub feedback_scores: BTreeMap<String, f64>,
    /// How many traces its items name.
    pub trace_count: usize,
    /// The sum over its traces in US dollars; none if that is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_estimated_cost: Option<f64>,
    /// The average over those of its traces that have a cost, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_estimated_cost_avg: Option<f64>,
    /// Milliseconds from start to end of its traces: `p50`, `p90` and `p99`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub duration: BTreeMap<String, f64>,
    /// Per key, the average over those of its traces that have usage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, f64>,
    /// Whether the client said that it is done.
    pub finished: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub last_updated_at: DateTime<Utc>,
}

/// A stored item of an experiment: a trace that ran an item of a dataset (Opik: `ExperimentItem`).
///
/// Serialises to the names of the wire; absent fields are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExperimentItem {
    /// As sent, or made by the sandbox if none was.
    pub id: Uuid,
    /// As sent. The experiment need not exist.
    pub experiment_id: Uuid,
    /// As sent. The item need not exist.
    pub dataset_item_id: Uuid,
    /// As sent. The trace need not exist.
    pub trace_id: Uuid,
    /// The workspace it is in; `default` when self-hosted.
    pub workspace: String,
    /// The project that was named, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_policy: Option<Value>,
    /// When it first arrived.
    pub created_at: DateTime<Utc>,
    /// When it last arrived.
    pub last_updated_at: DateTime<Utc>,
}

/// Opik: `FeedbackScoreAverage`, `ExperimentScore`.
fn as_list<S: Serializer>(
    scores: &BTreeMap<String, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let score = |(name, value): (&String, &f64)| json!({"name": name, "value": value});
    serializer.collect_seq(scores.iter().map(score))
}

impl PublicView for Dataset {
    const HIDDEN: &'static [&'static str] = &["workspace", "project_name"];
}

impl PublicView for DatasetItem {
    const HIDDEN: &'static [&'static str] = &[];
}

impl PublicView for Experiment {
    const HIDDEN: &'static [&'static str] = &["workspace", "finished"];
}

impl PublicView for ExperimentItem {
    const HIDDEN: &'static [&'static str] = &["workspace", "project_name"];
}
