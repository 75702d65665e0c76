//! Experiments: created, changed, found, finished.

use std::collections::BTreeMap;

use chrono::Utc;
use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::constraints::{Broken, Errors, Refused};
use crate::opik::evaluation::experiment_bodies::{Create, Stream, Update};
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::Experiment;
use crate::opik::evaluation::store::ExperimentRow;
use crate::opik::ids;
use crate::opik::json::{Object, parse_uuid};
use crate::opik::record::PublicView;
use crate::opik::row::retag;
use crate::opik::search;
use crate::opik::store::Store;
use crate::text::{query_value, to_value};

/// A name of the form that Opik makes up: two words and a number.
fn made_up_name(id: Uuid) -> String {
    const FIRST: &[&str] = &[
        "calm", "bright", "early", "gentle", "quiet", "rapid", "steady", "vivid",
    ];
    const SECOND: &[&str] = &[
        "beach", "canyon", "forest", "harbor", "island", "meadow", "river", "valley",
    ];
    let (_, low) = id.as_u64_pair();
    let word = |words: &[&'static str], bits: u64| {
        let place = usize::try_from(bits % 8).unwrap_or_default();
        words.get(place).copied().unwrap_or("plain")
    };
    format!(
        "{}_{}_{}",
        word(FIRST, low),
        word(SECOND, low >> 3),
        (low >> 6) % 10_000
    )
}

fn not_found(id: Uuid) -> Answer {
    let text = format!("Not found experiment with id '{id}'");
    Answer::message(StatusCode::NOT_FOUND, &text)
}

impl Call<'_> {
    /// `POST /experiments`: the same id again changes nothing (Opik: `ExperimentService.create`).
    pub(crate) fn create_experiment(&self) -> Result<Answer, Answer> {
        let create = Create::read(self.body)?;
        let id = create.id.unwrap_or_else(Uuid::now_v7);
        ids::check_version(id, "Experiment").map_err(|details| Answer::invalid_id(&details))?;
        let (mut store, now) = (self.opik.store(), Utc::now());
        let project = create.project.made(&mut store, self.workspace, now)?;
        let dataset = store.dataset_for(self.workspace, create.dataset_name, project, now);
        let versions = store
            .dataset(self.workspace, dataset)
            .map(|row| &row.versions);
        let latest = versions.and_then(|versions| Some(versions.latest()?.id));
        let known = |id| versions.is_some_and(|versions| versions.has(id));
        if create.dataset_version_id.is_some_and(|id| !known(id)) {
            return Err(Answer::message(
                StatusCode::CONFLICT,
                "Dataset version not found",
            ));
        }
        if store.evaluation.experiments.get(&id).is_none() {
            let project = project.and_then(|index| store.project_at(index));
            let mut experiment = Experiment {
                id,
                workspace: self.workspace.to_owned(),
                project_id: project.map(|project| project.id),
                project_name: project.map(|project| project.name.clone()),
                dataset_id: dataset,
                dataset_name: None,
                name: String::new(),
                experiment_type: "regular".to_owned(),
                evaluation_method: create.method.to_owned(),
                status: None,
                metadata: None,
                tags: Vec::new(),
                optimization_id: create.optimization_id,
                dataset_version_id: create.dataset_version_id.or(latest),
                prompt_versions: create.prompt_versions.map(|raw| to_value(raw.get())),
                experiment_scores: BTreeMap::new(),
                feedback_scores: BTreeMap::new(),
                trace_count: 0,
                total_estimated_cost: None,
                total_estimated_cost_avg: None,
                duration: BTreeMap::new(),
                usage: BTreeMap::new(),
                finished: false,
                created_at: now,
                last_updated_at: now,
            };
            create.fields.set(&mut experiment);
            if experiment.name.trim().is_empty() {
                experiment.name = made_up_name(id);
            }
            store.evaluation.experiments.put(ExperimentRow(experiment));
        }
        store.forget_beyond(self.opik.max_rows);
        Ok(self.created("experiments", id))
    }

    /// `PATCH /experiments/{id}` (Opik: `ExperimentService.update`).
    pub(crate) fn update_experiment(&self, id: Uuid) -> Result<Answer, Answer> {
        let update = Update::read(self.body)?;
        let mut store = self.opik.store();
        if store.experiment(self.workspace, id).is_none() {
            let text = format!("Experiment not found: '{id}'");
            return Err(Answer::message(StatusCode::NOT_FOUND, &text));
        }
        if let Some(ExperimentRow(experiment)) = store.evaluation.experiments.get_mut(&id) {
            update.fields.set(experiment);
            retag(
                &mut experiment.tags,
                &update.tags_to_add,
                &update.tags_to_remove,
            );
            experiment.last_updated_at = Utc::now();
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    /// `POST /experiments/finish`: unknown ones are fine, and no status changes (Opik: `ExperimentService`).
    pub(crate) fn finish_experiments(&self) -> Result<Answer, Answer> {
        let ids = self.ids()?;
        let mut store = self.opik.store();
        for id in ids {
            let row = store.evaluation.experiments.get_mut(&id);
            if let Some(row) = row.filter(|row| row.0.workspace == self.workspace) {
                row.0.finished = true;
            }
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    /// `GET /experiments/{id}`.
    pub(crate) fn get_experiment(&self, id: Uuid) -> Result<Answer, Answer> {
        let store = self.opik.store();
        let row = store
            .experiment(self.workspace, id)
            .ok_or_else(|| not_found(id))?;
        let view = store.experiment_record(row).public_view();
        Ok(Answer::json(StatusCode::OK, &view))
    }

    /// `GET /experiments`: newest first.
    pub(crate) fn list_experiments(&self) -> Result<Answer, Answer> {
        let query = self.query();
        search::no_filters(query)?;
        let store = self.opik.store();
        let id = |name| query_value(query, name).as_deref().and_then(parse_uuid);
        let dataset = id("datasetId").or_else(|| id("dataset_id"));
        let project = Named::from_query(query).found(&store, self.workspace)?;
        let project = project.map(|known| known.id);
        let name = query_value(query, "name").unwrap_or_default();
        let mut rows = self.experiments_like(&store, &name);
        rows.retain(|row| {
            dataset.is_none_or(|dataset| row.0.dataset_id == dataset)
                && (project.is_none() || row.0.project_id == project)
        });
        let page = search::paged_as(rows, query, |row| {
            store.experiment_record(row).public_view()
        });
        Ok(Answer::json(StatusCode::OK, &page))
    }

    /// `POST /experiments/stream`: those whose name has the given one in it, in any case.
    pub(crate) fn stream_experiments(&self) -> Result<Answer, Answer> {
        let stream = Stream::read(self.body, "name")?;
        let store = self.opik.store();
        let Ok(project) = stream.project.found(&store, self.workspace) else {
            return Ok(search::lines(Vec::<Value>::new()));
        };
        let project = project.map(|known| known.id);
        let rows = self.experiments_like(&store, &stream.name).into_iter();
        let rows = rows.filter(|row| project.is_none() || row.0.project_id == project);
        let older = rows.filter(|row| stream.last.is_none_or(|last| row.0.id < last));
        let views = older.take(stream.limit.get());
        let views = views.map(|row| store.experiment_record(row).public_view());
        Ok(search::lines(views))
    }

    /// The workspace's experiments whose name has this part, newest id first (Opik: `ilike` in `ExperimentDAO`).
    pub(crate) fn experiments_like<'s>(
        &self,
        store: &'s Store,
        part: &str,
    ) -> Vec<&'s ExperimentRow> {
        let part = part.to_lowercase();
        let rows = store.evaluation.experiments.iter();
        let rows = rows.filter(|row| row.0.workspace == self.workspace);
        let mut rows: Vec<_> = rows
            .filter(|row| row.0.name.to_lowercase().contains(&part))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.0.id));
        rows
    }

    /// A body that is a list of ids.
    pub(crate) fn ids(&self) -> Result<Vec<Uuid>, Refused> {
        let object = Object::from_body(self.body, "com.comet.opik.api.IdsHolder")?;
        let ids = object.uuids("ids")?;
        let mut errors = Errors::default();
        errors.batch("ids", ids.as_deref(), |_, _: &mut Broken<'_>| ());
        errors.refuse()?;
        Ok(ids.unwrap_or_default())
    }
}
