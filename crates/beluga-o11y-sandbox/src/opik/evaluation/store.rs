//! Datasets and experiments as they are stored, and how they are found.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::opik::evaluation::record::{Dataset, DatasetItem, Experiment, ExperimentItem};
use crate::opik::evaluation::scores::SCORE_DECIMALS;
use crate::opik::evaluation::table::Keyed;
use crate::opik::evaluation::versions::Versions;
use crate::opik::record::Trace;
use crate::opik::row::ProjectIndex;
use crate::opik::store::{COST_DECIMALS, Store, rounded};
use crate::opik::wire::TraceOwn;

/// A dataset; what is counted is zero here.
#[derive(Debug)]
pub(crate) struct DatasetRow {
    pub(crate) shown: Dataset,
    pub(crate) versions: Versions,
}

impl Keyed for DatasetRow {
    type Key = Uuid;
    /// Names are compared whatever their case, as the column's collation does.
    type Group = (String, String);

    fn key(&self) -> Uuid {
        self.shown.id
    }

    fn group(&self) -> Self::Group {
        (self.shown.workspace.clone(), self.shown.name.to_lowercase())
    }
}

impl Keyed for DatasetItem {
    type Key = (Uuid, Uuid);
    type Group = Uuid;

    fn key(&self) -> Self::Key {
        (self.dataset_id, self.id)
    }

    fn group(&self) -> Uuid {
        self.dataset_id
    }
}

/// An experiment; what is computed is empty here.
#[derive(Debug)]
pub(crate) struct ExperimentRow(pub(crate) Experiment);

/// Its id is its own in all workspaces (Opik: `ExperimentDAO`).
impl Keyed for ExperimentRow {
    type Key = Uuid;
    type Group = Uuid;

    fn key(&self) -> Uuid {
        self.0.id
    }

    fn group(&self) -> Uuid {
        self.0.dataset_id
    }
}

impl Keyed for ExperimentItem {
    type Key = (String, Uuid);
    type Group = (String, Uuid);

    fn key(&self) -> Self::Key {
        (self.workspace.clone(), self.id)
    }

    fn group(&self) -> Self::Group {
        (self.workspace.clone(), self.experiment_id)
    }
}

/// What a dataset is made of.
#[derive(Debug, Default)]
pub(crate) struct NewDataset {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
}

impl Store {
    pub(crate) fn datasets(&self) -> Vec<Dataset> {
        let rows = self.evaluation.datasets.iter();
        rows.map(|row| self.dataset_record(row)).collect()
    }

    pub(crate) fn dataset_items(&self) -> Vec<DatasetItem> {
        self.evaluation.items.iter().cloned().collect()
    }

    pub(crate) fn experiments(&self) -> Vec<Experiment> {
        let rows = self.evaluation.experiments.iter();
        rows.map(|row| self.experiment_record(row)).collect()
    }

    pub(crate) fn experiment_items(&self) -> Vec<ExperimentItem> {
        self.evaluation.experiment_items.iter().cloned().collect()
    }

    /// The dataset with this id, if it is of this workspace.
    pub(crate) fn dataset(&self, workspace: &str, id: Uuid) -> Option<&DatasetRow> {
        let row = self.evaluation.datasets.get(&id);
        row.filter(|row| row.shown.workspace == workspace)
    }

    /// The datasets of that name, in any project.
    pub(crate) fn datasets_named(
        &self,
        workspace: &str,
        name: &str,
    ) -> impl Iterator<Item = &DatasetRow> {
        let group = (workspace.to_owned(), name.to_lowercase());
        self.evaluation.datasets.of(&group)
    }

    /// The dataset of that name in a project, else the one in none; without a project, of any.
    pub(crate) fn dataset_named(
        &self,
        workspace: &str,
        name: &str,
        project: Option<Uuid>,
    ) -> Option<&DatasetRow> {
        let rows = self.datasets_named(workspace, name);
        let Some(project) = project else {
            return rows.last();
        };
        let (mut here, mut nowhere) = (None, None);
        for row in rows {
            match row.shown.project_id {
                Some(id) if id == project => here = Some(row),
                None => nowhere = Some(row),
                Some(_) => {}
            }
        }
        here.or(nowhere)
    }

    /// Makes a dataset.
    pub(crate) fn add_dataset(
        &mut self,
        workspace: &str,
        new: NewDataset,
        project: Option<ProjectIndex>,
        now: DateTime<Utc>,
    ) -> Uuid {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let project = project.and_then(|index| self.project_at(index));
        let shown = Dataset {
            id,
            workspace: workspace.to_owned(),
            project_id: project.map(|project| project.id),
            project_name: project.map(|project| project.name.clone()),
            name: new.name,
            description: new.description,
            tags: new.tags,
            dataset_items_count: 0,
            experiment_count: 0,
            created_at: now,
            last_updated_at: now,
        };
        self.evaluation.datasets.put(DatasetRow {
            shown,
            versions: Versions::default(),
        });
        id
    }

    /// The dataset of that name, made if there is none (Opik: `DatasetService.getOrCreate`).
    pub(crate) fn dataset_for(
        &mut self,
        workspace: &str,
        name: String,
        project: Option<ProjectIndex>,
        now: DateTime<Utc>,
    ) -> Uuid {
        let project_id = project.and_then(|index| Some(self.project_at(index)?.id));
        if let Some(known) = self.dataset_named(workspace, &name, project_id) {
            return known.shown.id;
        }
        let new = NewDataset {
            name,
            ..NewDataset::default()
        };
        self.add_dataset(workspace, new, project, now)
    }

    pub(crate) fn dataset_record(&self, row: &DatasetRow) -> Dataset {
        let id = row.shown.id;
        Dataset {
            dataset_items_count: self.evaluation.items.of(&id).count(),
            experiment_count: self.evaluation.experiments.of(&id).count(),
            ..row.shown.clone()
        }
    }

    /// The datasets of a workspace that have an item with one of these ids.
    pub(crate) fn datasets_with(&self, workspace: &str, ids: &[Uuid]) -> Vec<Uuid> {
        let datasets = self.evaluation.datasets.iter();
        let own = datasets.filter(|row| row.shown.workspace == workspace);
        let own = own.map(|row| row.shown.id);
        let has = |dataset, id| self.evaluation.items.get(&(dataset, id)).is_some();
        own.filter(|dataset| ids.iter().any(|id| has(*dataset, *id)))
            .collect()
    }

    /// Notes that items of a dataset were written or deleted.
    pub(crate) fn note_version(&mut self, dataset: Uuid, group: Option<Uuid>, now: DateTime<Utc>) {
        if let Some(row) = self.evaluation.datasets.get_mut(&dataset) {
            row.versions.note(group, now);
            row.shown.last_updated_at = now;
        }
    }

    /// The items of a dataset, newest id first.
    pub(crate) fn items_of(&self, dataset: Uuid) -> Vec<&DatasetItem> {
        let mut items: Vec<_> = self.evaluation.items.of(&dataset).collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.id));
        items
    }

    /// The experiment with this id, if it is of this workspace.
    pub(crate) fn experiment(&self, workspace: &str, id: Uuid) -> Option<&ExperimentRow> {
        let row = self.evaluation.experiments.get(&id);
        row.filter(|row| row.0.workspace == workspace)
    }

    /// The items of an experiment, newest id first.
    pub(crate) fn items_of_experiment(&self, workspace: &str, id: Uuid) -> Vec<&ExperimentItem> {
        let group = (workspace.to_owned(), id);
        let mut items: Vec<_> = self.evaluation.experiment_items.of(&group).collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.id));
        items
    }

    /// With what its items and their traces say (Opik: `ExperimentDAO`).
    pub(crate) fn experiment_record(&self, row: &ExperimentRow) -> Experiment {
        let workspace = &row.0.workspace;
        let items = self.items_of_experiment(workspace, row.0.id);
        let named: BTreeSet<Uuid> = items.iter().map(|item| item.trace_id).collect();
        // Averages are over the items: a trace that two of them name counts twice.
        let found =
            |item: &&ExperimentItem| self.record::<TraceOwn>(item.trace_id, Some(workspace));
        let traces: Vec<Trace> = items.iter().filter_map(found).collect();
        let scores = traces.iter().flat_map(|trace| &trace.feedback_scores);
        let scores = scores.map(|score| (score.name.as_str(), score.value));
        let usage = traces.iter().flat_map(|trace| &trace.usage);
        let usage = usage.map(|(key, count)| (key.as_str(), *count as f64));
        let costs = traces.iter().filter_map(|trace| trace.total_estimated_cost);
        let cost: f64 = costs.clone().sum();
        let dataset = self.evaluation.datasets.get(&row.0.dataset_id);
        Experiment {
            dataset_name: dataset.map(|row| row.shown.name.clone()),
            feedback_scores: averages(scores),
            trace_count: named.len(),
            total_estimated_cost: (cost > 0.0).then(|| rounded(cost, COST_DECIMALS)),
            total_estimated_cost_avg: average(costs).map(|cost| rounded(cost, COST_DECIMALS)),
            usage: averages(usage),
            duration: percentiles(traces.iter().filter_map(|trace| trace.duration).collect()),
            ..row.0.clone()
        }
    }
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn averages<'a>(values: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    let mut grouped: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in values {
        grouped.entry(name).or_default().push(value);
    }
    let averaged = |(name, values): (&str, Vec<f64>)| {
        let average = average(values.into_iter()).unwrap_or_default();
        (name.to_owned(), rounded(average, SCORE_DECIMALS))
    };
    grouped.into_iter().map(averaged).collect()
}

/// As `ClickHouse` has them (`quantiles`): between two values, in proportion.
fn percentiles(mut values: Vec<f64>) -> BTreeMap<String, f64> {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return BTreeMap::new();
    };
    let at = |level: f64| {
        let place = level * last as f64;
        let value = |place: f64| values.get(place as usize).copied().unwrap_or_default();
        let (below, above) = (value(place.floor()), value(place.ceil()));
        rounded(below + (above - below) * place.fract(), SCORE_DECIMALS)
    };
    let levels = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];
    levels
        .into_iter()
        .map(|(name, level)| (name.to_owned(), at(level)))
        .collect()
}
