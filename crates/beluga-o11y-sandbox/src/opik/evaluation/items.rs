//! Items of datasets: written, streamed, listed, deleted.

use chrono::Utc;
use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::evaluation::datasets::dataset_not_found;
use crate::opik::evaluation::item_bodies::{Batch, Delete, ItemWrite, Stream};
use crate::opik::evaluation::record::DatasetItem;
use crate::opik::evaluation::store::DatasetRow;
use crate::opik::ids;
use crate::opik::record::PublicView;
use crate::opik::search;
use crate::text::query_value;

impl Call<'_> {
    /// `PUT /datasets/items` (Opik: `DatasetItemService`).
    pub(crate) fn put_items(&self) -> Result<Answer, Answer> {
        let batch = Batch::read(self.body)?;
        self.check_item_ids(&batch.items)
            .map_err(|details| Answer::invalid_id(&details))?;
        if batch.copies {
            let text = "The sandbox does not copy versions of datasets";
            return Err(Answer::message(StatusCode::BAD_REQUEST, text));
        }
        let (mut store, now) = (self.opik.store(), Utc::now());
        let dataset = match (batch.dataset_id, batch.dataset_name) {
            (Some(id), _) => {
                let known = store.dataset(self.workspace, id);
                known.ok_or_else(dataset_not_found)?.shown.id
            }
            (None, name) => {
                let project = batch.project.made(&mut store, self.workspace, now)?;
                store.dataset_for(self.workspace, name.unwrap_or_default(), project, now)
            }
        };
        for write in batch.items {
            let mut item = write.into_item(dataset, now);
            if let Some(known) = store.evaluation.items.get(&(dataset, item.id)) {
                item.created_at = known.created_at;
            }
            store.evaluation.items.put(item);
        }
        store.note_version(dataset, batch.group, now);
        Ok(self.stored(store, StatusCode::NO_CONTENT))
    }

    fn check_item_ids(&self, items: &[ItemWrite]) -> Result<(), String> {
        let (window, now) = (self.opik.id_window, Utc::now());
        for item in items {
            if let Some(id) = item.id {
                ids::check_version(id, "dataset_item")?;
            }
            for (id, resource) in [(item.trace_id, "trace"), (item.span_id, "span")] {
                if let Some(id) = id {
                    window.check_reference(id, resource, now)?;
                }
            }
        }
        Ok(())
    }

    /// `POST /datasets/items/stream`: nothing for a dataset that is not there (Opik: `DatasetsResource`).
    pub(crate) fn stream_items(&self) -> Result<Answer, Answer> {
        let stream = Stream::read(self.body)?;
        search::no_filter_text(stream.filters.as_deref())?;
        let store = self.opik.store();
        let project = stream.project.found(&store, self.workspace);
        let row = project.ok().and_then(|project| {
            let project = project.map(|known| known.id);
            store.dataset_named(self.workspace, &stream.dataset_name, project)
        });
        let Some(row) = row else {
            return Ok(search::lines(Vec::<Value>::new()));
        };
        check_version(row, stream.version.as_deref())?;
        let items = store.items_of(row.shown.id).into_iter();
        let older = items.filter(|item| stream.last.is_none_or(|last| item.id < last));
        let views = older.take(stream.limit.get()).map(view);
        Ok(search::lines(views))
    }

    /// `GET /datasets/{id}/items`.
    pub(crate) fn list_items(&self, id: Uuid) -> Result<Answer, Answer> {
        let query = self.query();
        search::no_filters(query)?;
        let store = self.opik.store();
        let row = store
            .dataset(self.workspace, id)
            .ok_or_else(dataset_not_found)?;
        check_version(row, query_value(query, "version").as_deref())?;
        let page = page(store.items_of(id), query, view);
        Ok(Answer::json(StatusCode::OK, &page))
    }

    /// `POST /datasets/items/delete`: by their ids, or all of a dataset.
    pub(crate) fn delete_items(&self) -> Result<Answer, Answer> {
        let delete = Delete::read(self.body)?;
        let (mut store, now) = (self.opik.store(), Utc::now());
        let dataset = match (delete.dataset_id, delete.item_ids) {
            (Some(id), _) => {
                store
                    .dataset(self.workspace, id)
                    .ok_or_else(dataset_not_found)?;
                store.evaluation.items.remove_group(&id);
                Some(id)
            }
            (None, ids) => {
                let found = store.datasets_with(self.workspace, &ids);
                if found.len() > 1 {
                    let text = "Cannot operate on items across multiple datasets";
                    return Err(Answer::message(StatusCode::BAD_REQUEST, text));
                }
                let dataset = found.first().copied();
                for id in ids.iter().filter_map(|id| Some((dataset?, *id))) {
                    store.evaluation.items.remove(&id);
                }
                dataset
            }
        };
        if let Some(dataset) = dataset {
            store.note_version(dataset, delete.group, now);
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}

/// An item as Opik shows it.
pub(crate) fn view(item: &DatasetItem) -> Value {
    let mut view = item.public_view();
    if let Some(fields) = view.as_object_mut() {
        fields.insert(
            "dataset_item_id".to_owned(),
            Value::from(item.id.to_string()),
        );
    }
    view
}

/// A page of items (Opik: `DatasetItemPage`).
pub(crate) fn page<T>(all: Vec<T>, query: &str, view: impl FnMut(T) -> Value) -> Value {
    let mut page = search::paged_as(all, query, view);
    if let Some(fields) = page.as_object_mut() {
        fields.insert("columns".to_owned(), Value::Array(Vec::new()));
    }
    page
}

/// Only the items of the latest version are kept.
fn check_version(row: &DatasetRow, asked: Option<&str>) -> Result<(), Answer> {
    let Some(asked) = asked else {
        return Ok(());
    };
    match row.versions.is_latest(asked) {
        Some(true) => Ok(()),
        Some(false) => Err(Answer::message(
            StatusCode::BAD_REQUEST,
            "The sandbox keeps the items of the latest version only",
        )),
        None => Err(Answer::errors(
            StatusCode::NOT_FOUND,
            &["Dataset version not found"],
        )),
    }
}
