//! Items of datasets: written, streamed, listed, deleted.

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::constraints::{Broken, Errors, Refused};
use crate::opik::evaluation::datasets::dataset_not_found;
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::DatasetItem;
use crate::opik::evaluation::store::DatasetRow;
use crate::opik::ids;
use crate::opik::json::{Object, Read};
use crate::opik::record::PublicView;
use crate::opik::search::{self, Limit};
use crate::text::{query_value, to_value};

const BATCH: &str = "com.comet.opik.api.DatasetItemBatch";
const ITEM: &str = "com.comet.opik.api.DatasetItem";
const STREAM: &str = "com.comet.opik.api.DatasetItemStreamRequest";
const DELETE: &str = "com.comet.opik.api.DatasetItemsDelete";
const SOURCES: &[&str] = &["manual", "trace", "span", "sdk"];

/// An item as it was sent.
#[derive(Debug)]
struct ItemWrite {
    id: Option<Uuid>,
    trace_id: Option<Uuid>,
    span_id: Option<Uuid>,
    source: Option<&'static str>,
    data: Option<Box<RawValue>>,
    data_is_empty: bool,
    description: Option<String>,
    tags: Vec<String>,
    evaluators: Option<Box<RawValue>>,
    execution_policy: Option<Box<RawValue>>,
}

impl ItemWrite {
    fn read(object: &Object<'_>) -> Read<Self> {
        let data = object.object("data", "java.util.LinkedHashMap")?;
        object.objects("evaluators", "com.comet.opik.api.EvaluatorItem")?;
        object.object("execution_policy", "com.comet.opik.api.ExecutionPolicy")?;
        Ok(Self {
            id: object.uuid("id")?,
            trace_id: object.uuid("trace_id")?,
            span_id: object.uuid("span_id")?,
            source: object.one_of("source", SOURCES, "com.comet.opik.api.DatasetItemSource")?,
            data: object.any("data"),
            data_is_empty: data.is_none_or(|data| data.is_empty()),
            description: object.string("description")?,
            tags: object.strings("tags")?.unwrap_or_default(),
            evaluators: object.any("evaluators"),
            execution_policy: object.any("execution_policy"),
        })
    }

    /// Opik: `DatasetItemInputValidator`.
    fn check(&self, broken: &mut Broken<'_>) {
        broken.if_true(self.data_is_empty, "data", "must not be empty");
        broken.if_null("source", self.source.as_ref());
        let Some(source) = self.source else {
            return;
        };
        for (name, is_there, has_to_be) in [
            ("span_id", self.span_id.is_some(), source == "span"),
            (
                "trace_id",
                self.trace_id.is_some(),
                ["span", "trace"].contains(&source),
            ),
        ] {
            let not = if has_to_be { "not " } else { "" };
            let complaint = format!("when it is {source}, {name} must {not}be null");
            broken.if_true(is_there != has_to_be, "source", &complaint);
        }
    }

    fn into_item(self, dataset: Uuid, now: DateTime<Utc>) -> DatasetItem {
        let value = |raw: Option<Box<RawValue>>| raw.map(|raw| to_value(raw.get()));
        DatasetItem {
            id: self.id.unwrap_or_else(Uuid::now_v7),
            dataset_id: dataset,
            trace_id: self.trace_id,
            span_id: self.span_id,
            source: self.source.unwrap_or_default().to_owned(),
            data: value(self.data).unwrap_or_default(),
            description: self.description,
            tags: self.tags,
            evaluators: value(self.evaluators),
            execution_policy: value(self.execution_policy),
            created_at: now,
            last_updated_at: now,
        }
    }
}

/// The body of a write, its constraints held.
#[derive(Debug)]
struct Batch {
    dataset_id: Option<Uuid>,
    dataset_name: Option<String>,
    project: Named,
    group: Option<Uuid>,
    items: Vec<ItemWrite>,
    copies: bool,
}

impl Batch {
    fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, BATCH)?;
        let items = object.batch("items", ITEM, ItemWrite::read)?;
        let copied = (
            object.uuid("copy_from_dataset_id")?,
            object.uuid("copy_from_version_id")?,
        );
        let mut batch = Self {
            dataset_id: object.uuid("dataset_id")?,
            dataset_name: object.string("dataset_name")?,
            project: Named::read(&object)?,
            group: object.uuid("batch_group_id")?,
            items: Vec::new(),
            copies: copied.0.is_some(),
        };
        let mut errors = Errors::default();
        let mut broken = errors.top();
        broken.if_blank("datasetName", batch.dataset_name.as_deref());
        broken.unless_true(
            batch.dataset_id.is_some() || batch.dataset_name.is_some(),
            "The request body must provide either a dataset_name or a dataset_id",
        );
        broken.unless_true(
            copied.0.is_some() == copied.1.is_some(),
            "copy_from_dataset_id and copy_from_version_id must be provided together",
        );
        batch.project.check(&mut broken);
        errors.batch("items", items.as_deref(), ItemWrite::check);
        errors.refuse()?;
        batch.items = items.unwrap_or_default();
        Ok(batch)
    }
}

/// The body of a stream, its constraints held.
#[derive(Debug)]
struct Stream {
    dataset_name: String,
    project: Named,
    last: Option<Uuid>,
    limit: Limit,
    version: Option<String>,
    filters: Option<String>,
}

impl Stream {
    fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, STREAM)?;
        let name = object.string("dataset_name")?;
        let stream = Self {
            dataset_name: name.clone().unwrap_or_default(),
            project: Named::read(&object)?,
            last: object.uuid("last_retrieved_id")?,
            // That is its name.
            limit: Limit::read(&object, "steam_limit", 2000)?,
            version: object.string("dataset_version")?,
            filters: object.string("filters")?,
        };
        let mut errors = Errors::default();
        let mut broken = errors.top();
        broken.unless_named("datasetName", name.as_deref());
        stream.limit.check(&mut broken, "steamLimit");
        stream.project.check(&mut broken);
        errors.refuse()?;
        Ok(stream)
    }
}

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
        let row = project
            .ok()
            .and_then(|project| store.dataset_named(self.workspace, &stream.dataset_name, project));
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
        let views = store.items_of(id).into_iter().map(view).collect();
        Ok(Answer::json(StatusCode::OK, &page(views, query)))
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
                let mut found = store.items_with(self.workspace, &ids);
                found.dedup_by_key(|(dataset, _)| *dataset);
                if found.len() > 1 {
                    let text = "Cannot operate on items across multiple datasets";
                    return Err(Answer::message(StatusCode::BAD_REQUEST, text));
                }
                let dataset = found.first().map(|(dataset, _)| *dataset);
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

/// What to delete, its constraints held.
#[derive(Debug)]
struct Delete {
    dataset_id: Option<Uuid>,
    item_ids: Vec<Uuid>,
    group: Option<Uuid>,
}

impl Delete {
    fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, DELETE)?;
        let item_ids = object.uuids("item_ids")?;
        let dataset_id = object.uuid("dataset_id")?;
        let filters = object.objects("filters", "com.comet.opik.api.filter.DatasetItemFilter")?;
        let filters = filters.is_some_and(|filters| !filters.is_empty());
        let mut errors = Errors::default();
        let mut broken = errors.top();
        broken.unless_true(
            item_ids.is_none() || (dataset_id.is_none() && !filters),
            "Cannot provide 'dataset_id' or 'filters' when using 'item_ids'.",
        );
        broken.unless_true(
            item_ids.is_some() || dataset_id.is_some(),
            "Either 'item_ids' or 'dataset_id' must be provided.",
        );
        if item_ids.is_some() {
            errors.batch("itemIds", item_ids.as_deref(), |_, _| ());
        }
        errors.refuse()?;
        if filters {
            return Err(Refused::Unreadable(
                "The sandbox has no filters here".to_owned(),
            ));
        }
        Ok(Self {
            dataset_id,
            item_ids: item_ids.unwrap_or_default(),
            group: object.uuid("batch_group_id")?,
        })
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
pub(crate) fn page(views: Vec<Value>, query: &str) -> Value {
    let mut page = search::paged(views, query);
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
