//! What evaluations leave behind: feedback scores, datasets with their items, experiments with theirs.

pub(crate) mod api;
mod compare;
mod datasets;
mod experiment_bodies;
mod experiment_items;
mod experiments;
mod item_bodies;
mod items;
mod project;
pub(crate) mod record;
mod scores;
mod store;
mod table;
mod versions;

use self::record::ExperimentItem;
use self::store::{DatasetRow, ExperimentRow};
use self::table::Table;
use crate::opik::evaluation::record::DatasetItem;
use crate::opik::evaluation::scores::ScoreRow;

/// The rows, each kind in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Evaluation {
    scores: Table<ScoreRow>,
    datasets: Table<DatasetRow>,
    items: Table<DatasetItem>,
    experiments: Table<ExperimentRow>,
    experiment_items: Table<ExperimentItem>,
}

impl Evaluation {
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
            + self.datasets.len()
            + self.items.len()
            + self.experiments.len()
            + self.experiment_items.len()
    }

    /// Forgets the oldest rows of each kind beyond that many.
    pub(crate) fn forget_beyond(&mut self, max: usize) {
        self.scores.forget_beyond(max);
        self.datasets.forget_beyond(max);
        self.items.forget_beyond(max);
        self.experiments.forget_beyond(max);
        self.experiment_items.forget_beyond(max);
    }
}
