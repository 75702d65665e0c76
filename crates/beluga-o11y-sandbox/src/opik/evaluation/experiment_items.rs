//! Items of experiments: which trace ran which item of a dataset.

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::constraints::{Broken, Errors, Refused};
use crate::opik::evaluation::compare::shown;
use crate::opik::evaluation::experiment_bodies::Stream;
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::ExperimentItem;
use crate::opik::ids;
use crate::opik::json::{Object, Read};
use crate::opik::search;
use crate::opik::store::Store;
use crate::text::to_value;

const BATCH: &str = "com.comet.opik.api.ExperimentItemsBatch";
const ITEM: &str = "com.comet.opik.api.ExperimentItem";

/// An item as it was sent.
#[derive(Debug)]
struct ItemWrite {
    id: Option<Uuid>,
    experiment_id: Option<Uuid>,
    dataset_item_id: Option<Uuid>,
    trace_id: Option<Uuid>,
    project: Named,
    execution_policy: Option<Box<RawValue>>,
}

impl ItemWrite {
    fn read(object: &Object<'_>) -> Read<Self> {
        object.object("execution_policy", "com.comet.opik.api.ExecutionPolicy")?;
        Ok(Self {
            id: object.uuid("id")?,
            experiment_id: object.uuid("experiment_id")?,
            dataset_item_id: object.uuid("dataset_item_id")?,
            trace_id: object.uuid("trace_id")?,
            project: Named::read(object)?,
            execution_policy: object.any("execution_policy"),
        })
    }

    fn check(&self, broken: &mut Broken<'_>) {
        broken.if_null("experimentId", self.experiment_id.as_ref());
        broken.if_null("datasetItemId", self.dataset_item_id.as_ref());
        broken.if_null("traceId", self.trace_id.as_ref());
        self.project.check(broken);
    }

    fn batch(body: &[u8]) -> Result<Vec<Self>, Refused> {
        let items = Object::from_body(body, BATCH)?.batch("experiment_items", ITEM, Self::read)?;
        let mut errors = Errors::default();
        errors.batch("experimentItems", items.as_deref(), Self::check);
        errors.refuse()?;
        Ok(items.unwrap_or_default())
    }

    /// Only the version counts (Opik: `ExperimentItemService`).
    fn check_ids(&self) -> Result<(), String> {
        for (id, resource) in [
            (self.id, "Experiment Item"),
            (self.experiment_id, "Experiment Item experiment"),
            (self.dataset_item_id, "Experiment Item datasetItem"),
            (self.trace_id, "Experiment Item trace"),
        ] {
            if let Some(id) = id {
                ids::check_version(id, resource)?;
            }
        }
        Ok(())
    }

    fn into_item(
        self,
        workspace: &str,
        project_name: Option<String>,
        now: DateTime<Utc>,
    ) -> ExperimentItem {
        ExperimentItem {
            id: self.id.unwrap_or_else(Uuid::now_v7),
            experiment_id: self.experiment_id.unwrap_or_default(),
            dataset_item_id: self.dataset_item_id.unwrap_or_default(),
            trace_id: self.trace_id.unwrap_or_default(),
            workspace: workspace.to_owned(),
            project_name,
            execution_policy: self.execution_policy.map(|raw| to_value(raw.get())),
            created_at: now,
            last_updated_at: now,
        }
    }
}

impl Store {
    /// What an item names may be unknown, but not of another workspace (Opik: `ExperimentItemService`).
    fn check_workspace(&self, workspace: &str, items: &[ItemWrite]) -> Result<(), Answer> {
        let foreign = |field: &str| {
            let text =
                format!("Upserting experiment item with '{field}' not belonging to the workspace");
            Answer::message(StatusCode::CONFLICT, &text)
        };
        let experiments = items.iter().filter_map(|item| item.experiment_id);
        let mut rows = experiments.filter_map(|id| self.evaluation.experiments.get(&id));
        if rows.any(|row| row.0.workspace != workspace) {
            return Err(foreign("experiment_id"));
        }
        let others = self.evaluation.datasets.iter();
        let mut others = others.filter(|row| row.shown.workspace != workspace);
        let is_item = |dataset, item: &ItemWrite| {
            let key = (dataset, item.dataset_item_id.unwrap_or_default());
            self.evaluation.items.get(&key).is_some()
        };
        if others.any(|row| items.iter().any(|item| is_item(row.shown.id, item))) {
            return Err(foreign("dataset_item_id"));
        }
        Ok(())
    }
}

impl Call<'_> {
    /// `POST /experiments/items`: experiment, item and trace need not be there.
    pub(crate) fn add_experiment_items(&self) -> Result<Answer, Answer> {
        let writes = ItemWrite::batch(self.body)?;
        for write in &writes {
            write
                .check_ids()
                .map_err(|details| Answer::invalid_id(&details))?;
        }
        let (mut store, now) = (self.opik.store(), Utc::now());
        store.check_workspace(self.workspace, &writes)?;
        // All or nothing: a project may be unknown.
        let mut items = Vec::with_capacity(writes.len());
        for write in writes {
            let project = write.project.made(&mut store, self.workspace, now)?;
            let project = project.and_then(|index| store.project_at(index));
            let project = project.map(|project| project.name.clone());
            items.push(write.into_item(self.workspace, project, now));
        }
        for mut item in items {
            let key = (item.workspace.clone(), item.id);
            if let Some(known) = store.evaluation.experiment_items.get(&key) {
                item.created_at = known.created_at;
            }
            store.evaluation.experiment_items.put(item);
        }
        Ok(self.stored(store, StatusCode::NO_CONTENT))
    }

    /// `POST /experiments/items/delete`: unknown ones are fine.
    pub(crate) fn delete_experiment_items(&self) -> Result<Answer, Answer> {
        let ids = self.ids()?;
        let mut store = self.opik.store();
        for id in ids {
            let key = (self.workspace.to_owned(), id);
            store.evaluation.experiment_items.remove(&key);
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    /// `POST /experiments/items/stream`: of all experiments whose name has the given one in it, mixed, newest id first
    /// (Opik: `ExperimentItemDAO`).
    pub(crate) fn stream_experiment_items(&self) -> Result<Answer, Answer> {
        let stream = Stream::read(self.body, "experiment_name")?;
        let store = self.opik.store();
        let Ok(project) = stream.project.found(&store, self.workspace) else {
            return Ok(search::lines(Vec::<Value>::new()));
        };
        let rows = self.experiments_like(&store, &stream.name);
        let mut items: Vec<_> = rows
            .iter()
            .flat_map(|row| store.items_of_experiment(self.workspace, row.0.id))
            .collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.id));
        items.retain(|item| {
            let own = || store.project_of_item(item);
            project.is_none_or(|project| own().is_some_and(|own| own == project.name))
                && stream.last.is_none_or(|last| item.id < last)
        });
        let views = items.into_iter().take(stream.limit.get());
        let views = views.map(|item| shown(&store, item, stream.truncate));
        Ok(search::lines(views))
    }
}
