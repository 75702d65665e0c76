//! What clients send about the items of datasets, its constraints held.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::opik::constraints::{Broken, Errors, MAX_DATASET_TEXT, Refused};
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::DatasetItem;
use crate::opik::json::{Object, Read};
use crate::opik::search::Limit;
use crate::text::to_value;

const BATCH: &str = "com.comet.opik.api.DatasetItemBatch";
const ITEM: &str = "com.comet.opik.api.DatasetItem";
const STREAM: &str = "com.comet.opik.api.DatasetItemStreamRequest";
const DELETE: &str = "com.comet.opik.api.DatasetItemsDelete";
const SOURCES: &[&str] = &["manual", "trace", "span", "sdk"];

/// An item as it was sent.
#[derive(Debug)]
pub(crate) struct ItemWrite {
    pub(crate) id: Option<Uuid>,
    pub(crate) trace_id: Option<Uuid>,
    pub(crate) span_id: Option<Uuid>,
    pub(crate) source: Option<&'static str>,
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) evaluators: Option<Box<RawValue>>,
    pub(crate) execution_policy: Option<Box<RawValue>>,
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
            data: object
                .any("data")
                .filter(|_| data.is_some_and(|data| !data.is_empty())),
            description: object.string("description")?,
            tags: object.strings("tags")?.unwrap_or_default(),
            evaluators: object.any("evaluators"),
            execution_policy: object.any("execution_policy"),
        })
    }

    /// Opik: `DatasetItemInputValidator`.
    fn check(&self, broken: &mut Broken<'_>) {
        broken.if_true(self.data.is_none(), "data", "must not be empty");
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

    pub(crate) fn into_item(self, dataset: Uuid, now: DateTime<Utc>) -> DatasetItem {
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
pub(crate) struct Batch {
    pub(crate) dataset_id: Option<Uuid>,
    pub(crate) dataset_name: Option<String>,
    pub(crate) project: Named,
    pub(crate) group: Option<Uuid>,
    pub(crate) items: Vec<ItemWrite>,
    pub(crate) copies: bool,
}

impl Batch {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
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
        broken.if_longer(
            "datasetName",
            batch.dataset_name.as_deref(),
            MAX_DATASET_TEXT,
        );
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
pub(crate) struct Stream {
    pub(crate) dataset_name: String,
    pub(crate) project: Named,
    pub(crate) last: Option<Uuid>,
    pub(crate) limit: Limit,
    pub(crate) version: Option<String>,
    pub(crate) filters: Option<String>,
}

impl Stream {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
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

/// What to delete, its constraints held.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) dataset_id: Option<Uuid>,
    pub(crate) item_ids: Vec<Uuid>,
    pub(crate) group: Option<Uuid>,
}

impl Delete {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
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
