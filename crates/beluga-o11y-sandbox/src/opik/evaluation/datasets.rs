//! Datasets: created, found, deleted.

use chrono::Utc;
use hyper::StatusCode;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::constraints::{Errors, MAX_DATASET_TEXT, Refused};
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::store::{DatasetRow, NewDataset};
use crate::opik::ids;
use crate::opik::json::Object;
use crate::opik::record::PublicView;
use crate::opik::search;
use crate::opik::store::Store;
use crate::text::query_value;

const DATASET: &str = "com.comet.opik.api.Dataset";
const IDENTIFIER: &str = "com.comet.opik.api.DatasetIdentifier";
const TYPES: &[&str] = &["dataset", "evaluation_suite"];
const VISIBILITIES: &[&str] = &["private", "public"];

/// What a create says, its constraints held.
fn read(body: &[u8]) -> Result<(NewDataset, Named), Refused> {
    let object = Object::from_body(body, DATASET)?;
    let project = Named::read(&object)?;
    let name = object.string("name")?;
    let new = NewDataset {
        id: object.uuid("id")?,
        name: name.clone().unwrap_or_default(),
        description: object.string("description")?,
        tags: object.strings("tags")?.unwrap_or_default(),
    };
    object.one_of("type", TYPES, "com.comet.opik.api.DatasetType")?;
    object.one_of("visibility", VISIBILITIES, "com.comet.opik.api.Visibility")?;
    let mut errors = Errors::default();
    let mut broken = errors.top();
    broken.unless_named("name", name.as_deref());
    broken.if_longer("name", name.as_deref(), MAX_DATASET_TEXT);
    broken.if_blank("description", new.description.as_deref());
    let length = new.description.iter().flat_map(|text| text.chars()).count();
    let complaint = format!("cannot exceed {MAX_DATASET_TEXT} characters");
    broken.if_true(length > MAX_DATASET_TEXT, "description", &complaint);
    project.check(&mut broken);
    errors.refuse()?;
    Ok((new, project))
}

/// The name of a dataset, and of its project if one was given.
fn read_identifier(body: &[u8]) -> Result<(String, Named), Refused> {
    let object = Object::from_body(body, IDENTIFIER)?;
    let name = object.string("dataset_name")?;
    let project = Named::read(&object)?;
    let mut errors = Errors::default();
    errors.top().unless_named("datasetName", name.as_deref());
    project.check(&mut errors.top());
    errors.refuse()?;
    Ok((name.unwrap_or_default(), project))
}

pub(crate) fn dataset_not_found() -> Answer {
    Answer::errors(StatusCode::NOT_FOUND, &["Dataset not found"])
}

impl Call<'_> {
    /// `POST /datasets` (Opik: `DatasetService.save`).
    pub(crate) fn create_dataset(&self) -> Result<Answer, Answer> {
        let (new, project) = read(self.body)?;
        if let Some(id) = new.id {
            ids::check_version(id, "dataset").map_err(|details| Answer::invalid_id(&details))?;
        }
        let (mut store, now) = (self.opik.store(), Utc::now());
        let project = project.made(&mut store, self.workspace, now)?;
        let project_id = project
            .and_then(|index| store.project_at(index))
            .map(|known| known.id);
        let same_name = store
            .datasets_named(self.workspace, &new.name)
            .any(|known| known.shown.project_id == project_id);
        let same_id = new
            .id
            .is_some_and(|id| store.evaluation.datasets.get(&id).is_some());
        if same_name || same_id {
            return Err(Answer::errors(
                StatusCode::CONFLICT,
                &["Dataset already exists"],
            ));
        }
        let id = store.add_dataset(self.workspace, new, project, now);
        store.forget_beyond(self.opik.max_rows);
        Ok(self.created("datasets", id))
    }

    /// `POST /datasets/retrieve`.
    pub(crate) fn retrieve_dataset(&self) -> Result<Answer, Answer> {
        let (name, project) = read_identifier(self.body)?;
        let store = self.opik.store();
        let row = self.dataset_at(&store, &name, &project)?;
        let view = store.dataset_record(row).public_view();
        Ok(Answer::json(StatusCode::OK, &view))
    }

    /// `POST /datasets/delete`. Its items and experiments stay (Opik: `DatasetService.delete`).
    pub(crate) fn delete_dataset(&self) -> Result<Answer, Answer> {
        let (name, project) = read_identifier(self.body)?;
        let mut store = self.opik.store();
        let id = self.dataset_at(&store, &name, &project)?.shown.id;
        store.evaluation.datasets.remove(&id);
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    /// `GET /datasets/{id}`.
    pub(crate) fn get_dataset(&self, id: Uuid) -> Result<Answer, Answer> {
        let store = self.opik.store();
        let row = store.dataset(self.workspace, id);
        let record = store.dataset_record(row.ok_or_else(dataset_not_found)?);
        Ok(Answer::json(StatusCode::OK, &record.public_view()))
    }

    /// `GET /datasets`: newest first, a part of the name in any case.
    pub(crate) fn list_datasets(&self) -> Result<Answer, Answer> {
        let query = self.query();
        search::no_filters(query)?;
        let store = self.opik.store();
        let project = Named::from_query(query).found(&store, self.workspace)?;
        let project = project.map(|known| known.id);
        let part = query_value(query, "name")
            .unwrap_or_default()
            .to_lowercase();
        let mut rows: Vec<_> = store.evaluation.datasets.iter().collect();
        rows.retain(|row| {
            row.shown.workspace == self.workspace
                && row.shown.name.to_lowercase().contains(&part)
                && (project.is_none() || row.shown.project_id == project)
        });
        rows.sort_by_key(|row| std::cmp::Reverse(row.shown.id));
        let page = search::paged_as(rows, query, |row| store.dataset_record(row).public_view());
        Ok(Answer::json(StatusCode::OK, &page))
    }

    /// `GET /datasets/{id}/versions`, newest first.
    pub(crate) fn list_versions(&self, id: Uuid) -> Result<Answer, Answer> {
        let store = self.opik.store();
        let row = store
            .dataset(self.workspace, id)
            .ok_or_else(dataset_not_found)?;
        let views = row
            .versions
            .views(id, store.evaluation.items.of(&id).count());
        Ok(Answer::json(
            StatusCode::OK,
            &search::paged(views, self.query()),
        ))
    }

    /// `POST /datasets/{id}/versions/retrieve`.
    pub(crate) fn retrieve_version(&self, id: Uuid) -> Result<Answer, Answer> {
        let object = Object::from_body(
            self.body,
            "com.comet.opik.api.DatasetVersionRetrieveRequest",
        )
        .map_err(Refused::from)?;
        let name = object.string("version_name").map_err(Refused::from)?;
        let mut errors = Errors::default();
        errors.top().unless_named("versionName", name.as_deref());
        errors.refuse()?;
        let store = self.opik.store();
        let row = store
            .dataset(self.workspace, id)
            .ok_or_else(dataset_not_found)?;
        let items = store.evaluation.items.of(&id).count();
        let view = row.versions.named(&name.unwrap_or_default(), id, items);
        view.map(|view| Answer::json(StatusCode::OK, &view))
            .ok_or_else(|| Answer::errors(StatusCode::NOT_FOUND, &["Dataset version not found"]))
    }

    fn dataset_at<'s>(
        &self,
        store: &'s Store,
        name: &str,
        project: &Named,
    ) -> Result<&'s DatasetRow, Answer> {
        let project = project.found(store, self.workspace);
        let project = project.map_err(|_| dataset_not_found())?;
        let row = store.dataset_named(self.workspace, name, project.map(|known| known.id));
        row.ok_or_else(dataset_not_found)
    }
}
