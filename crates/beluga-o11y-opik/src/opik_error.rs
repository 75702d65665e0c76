//! What can go wrong with datasets, experiments and scores.

use beluga_o11y::{ExportError, ExportErrorKind, JsonError};
use uuid::Uuid;

use crate::ExperimentSummary;

/// Why something that was asked of Opik is not done: with a dataset, an experiment, a score. Prints as
/// `opik: <what>: <what happened, and what to do>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpikError {
    /// An off switch is on, so nothing is asked.
    #[error(
        "opik: {operation}: exporting is switched off by BELUGA_O11Y_DISABLED or OPIK_TRACK_DISABLE"
    )]
    Disabled {
        /// What was to be done.
        operation: &'static str,
    },
    /// Opik takes no blank names.
    #[error("opik: {of}: the name is blank")]
    BlankName {
        /// What has the name.
        of: &'static str,
    },
    /// Opik's column for the name is shorter.
    #[error("opik: {of}: the name has {length} characters, and Opik takes at most {limit}")]
    NameTooLong {
        /// What has the name.
        of: &'static str,
        /// In characters.
        length: usize,
        /// In characters.
        limit: usize,
    },
    /// There is no dataset of this name, in this project and workspace.
    #[error(
        "opik: dataset: there is no dataset `{name}` in this project and workspace; create it with create_dataset or \
         get_or_create_dataset"
    )]
    DatasetNotFound {
        /// Its name.
        name: String,
    },
    /// There is a dataset of this name already.
    #[error(
        "opik: dataset: there is a dataset `{name}` already; get it with dataset or get_or_create_dataset"
    )]
    DatasetExists {
        /// Its name.
        name: String,
    },
    /// There is no experiment of this name in the dataset.
    #[error(
        "opik: experiment: the dataset `{dataset}` has no experiment `{name}`; create it with create_experiment or \
         get_or_create_experiment"
    )]
    ExperimentNotFound {
        /// Its name.
        name: String,
        /// The dataset's name.
        dataset: String,
    },
    /// A value of an experiment's metadata that cannot be kept as JSON.
    #[error("opik: experiment: metadata: {0}")]
    ExperimentMetadata(#[source] JsonError),
    /// A dataset item without any field.
    #[error("opik: dataset item: it has no data; give it at least one field")]
    ItemWithoutData,
    /// A dataset item that is no object.
    #[error(
        "opik: dataset item: it is {found}, and Opik takes objects; give it fields, such as {{\"question\": ..}}"
    )]
    ItemNotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// A dataset item that cannot be kept as JSON.
    #[error("opik: dataset item: {0}")]
    ItemContent(#[source] JsonError),
    /// A dataset item that is too large for one request.
    #[error(
        "opik: dataset item: {bytes} bytes of JSON, more than the {limit} of with_max_record_bytes"
    )]
    ItemTooLarge {
        /// Of JSON.
        bytes: usize,
        /// The limit that is set.
        limit: usize,
    },
    /// An id that Opik takes for nothing: it wants UUIDs of version 7.
    #[error("opik: {of}: the id {id} is not a UUID of version 7, and Opik takes no other")]
    IdNotVersion7 {
        /// What has the id.
        of: &'static str,
        /// The id.
        id: Uuid,
    },
    /// A dataset item that Opik has not stored yet.
    #[error(
        "opik: experiment: the item has no id; insert it, and run the items that the dataset lists"
    )]
    ItemWithoutId,
    /// A dataset item that was read from another dataset than that of the experiment.
    #[error(
        "opik: experiment: the item is of another dataset than `{dataset}`, where the experiment is"
    )]
    ItemOfAnotherDataset {
        /// The name of the experiment's dataset.
        dataset: String,
    },
    /// A score that is not a number.
    #[error("opik: score `{name}`: the value is not a finite number")]
    ScoreNotFinite {
        /// The score's name.
        name: String,
    },
    /// A score that Opik's column cannot hold.
    #[error(
        "opik: score `{name}`: the value {value:e} is beyond the 999999999.999999999 that Opik takes, up or down"
    )]
    ScoreOutOfRange {
        /// The score's name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// There is no such trace, or not yet: Opik stores a little after it has answered.
    #[error(
        "opik: score: there is no trace {id} in this workspace, or not yet; check the id, or score it a little later"
    )]
    TraceNotFound {
        /// The trace's id.
        id: Uuid,
    },
    /// There is no such span, or not yet: Opik stores a little after it has answered.
    #[error(
        "opik: score: there is no span {id} in this workspace, or not yet; check the id, or score it a little later"
    )]
    SpanNotFound {
        /// The span's id.
        id: Uuid,
    },
    /// A run of an experiment had to stop, since nothing can be stored.
    #[error(
        "{error}; the experiment stopped after {} results were stored, and what {lost} more tasks made is not; run it \
         again to go on",
        summary.items
    )]
    RunStopped {
        /// What was stored, and what went wrong with it.
        summary: Box<ExperimentSummary>,
        /// The items whose tasks had begun, and whose results are not stored.
        lost: usize,
        /// Why.
        error: Box<OpikError>,
    },
    /// Something answers, but not as Opik does.
    #[error(
        "opik: {operation}: the answer is not one of Opik; check the base URL, which ends in /api, and the server's version"
    )]
    NotOpik {
        /// What was to be done.
        operation: &'static str,
    },
    /// One record of a stream is larger than what is read of an answer.
    #[error("opik: {operation}: a single record has more than {limit} bytes")]
    AnswerTooLarge {
        /// What was to be done.
        operation: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// Opik is not to be reached, or refused: as with an export, see [`ExportError::kind`].
    #[error("opik: {operation}: {}", error.message())]
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// What happened.
        error: ExportError,
    },
}

impl OpikError {
    /// In the terms that a caller decides by: whether to try again, or what has to be mended first.
    pub fn kind(&self) -> ExportErrorKind {
        match self {
            Self::Failed { error, .. } => error.kind(),
            Self::RunStopped { error, .. } => error.kind(),
            Self::Disabled { .. } | Self::NotOpik { .. } => ExportErrorKind::Destination,
            Self::ItemTooLarge { .. } | Self::AnswerTooLarge { .. } => ExportErrorKind::TooLarge,
            _ => ExportErrorKind::Rejected,
        }
    }
}
