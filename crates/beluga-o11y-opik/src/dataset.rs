//! Datasets: what experiments are run on.

mod item;

use std::{collections::HashMap, fmt};

use beluga_o11y::{ExportError, JsonError};
use beluga_o11y_http::HttpRequest;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    OpikError, OpikExporter, WriteReport,
    ask::{checked_name, elements::Elements, json_post, pages::Page, read},
    exporter::now,
    id,
    score::check_id,
};

pub use item::DatasetItem;
use item::content_hash;

const OPERATION: &str = "dataset";
/// Opik's column for the name (`000001_init_script.sql`).
const MAX_NAME_CHARS: usize = 255;
/// How many items are asked for at once; Opik gives at most 2000 (`DatasetItemStreamRequest.java`).
const PAGE: usize = 500;

/// A dataset of Opik: the items that experiments are run on. It belongs to the exporter's workspace and project.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct OpikDataset {
    opik: OpikExporter,
    id: Uuid,
    name: String,
}

impl OpikExporter {
    /// Creates a dataset. Its name has at most 255 characters.
    ///
    /// # Errors
    ///
    /// The name is blank, too long, or in use ([`OpikError::DatasetExists`]), or Opik is not to be reached or refuses.
    pub async fn create_dataset(&self, name: &str) -> Result<OpikDataset, OpikError> {
        let name = dataset_name(name)?;
        let id = Uuid::now_v7();
        let body = json!({ "id": id, "name": name, "project_name": self.project() });
        let request = json_post("v1/private/datasets", &body);
        let exists = self.ask(OPERATION, request, &[409]).await?.status() == 409;
        match self.find_dataset(name).await? {
            // It was ours, and the first answer was lost.
            Some(dataset) if !exists || dataset.id == id => Ok(dataset),
            Some(_) => Err(OpikError::DatasetExists {
                name: name.to_owned(),
            }),
            None => Err(OpikError::NotOpik {
                operation: OPERATION,
            }),
        }
    }

    /// The dataset of this name.
    ///
    /// # Errors
    ///
    /// There is none ([`OpikError::DatasetNotFound`]), the name is blank or too long, or Opik is not to be reached or
    /// refuses.
    pub async fn dataset(&self, name: &str) -> Result<OpikDataset, OpikError> {
        let name = dataset_name(name)?;
        let found = self.find_dataset(name).await?;
        found.ok_or_else(|| OpikError::DatasetNotFound {
            name: name.to_owned(),
        })
    }

    /// The dataset of this name, which is created if there is none.
    ///
    /// # Errors
    ///
    /// The name is blank or too long, or Opik is not to be reached or refuses.
    pub async fn get_or_create_dataset(&self, name: &str) -> Result<OpikDataset, OpikError> {
        match self.dataset(name).await {
            Err(OpikError::DatasetNotFound { .. }) => {}
            found => return found,
        }
        match self.create_dataset(name).await {
            // Somebody else was faster.
            Err(OpikError::DatasetExists { .. }) => self.dataset(name).await,
            created => created,
        }
    }

    async fn find_dataset(&self, name: &str) -> Result<Option<OpikDataset>, OpikError> {
        #[derive(Deserialize)]
        struct Found {
            id: Uuid,
            name: String,
        }
        let body = json!({ "dataset_name": name, "project_name": self.project() });
        let request = json_post("v1/private/datasets/retrieve", &body);
        let response = self.ask(OPERATION, request, &[404]).await?;
        if response.status() == 404 {
            return Ok(None);
        }
        let Found { id, name } = read(OPERATION, &response)?;
        Ok(Some(OpikDataset {
            opik: self.clone(),
            id,
            name,
        }))
    }
}

impl OpikDataset {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn opik(&self) -> &OpikExporter {
        &self.opik
    }

    /// Inserts items, a thousand in a request. An item whose content is there already is not sent again, whoever
    /// inserted it: the dataset is read first, so insert many at once rather than one after the other.
    ///
    /// An item that names no id gets one that follows from the dataset, its content and its place, so that inserting
    /// the same list again after a failure, or from two programs at once, makes no second ones. (Opik refuses ids whose
    /// time is more than a day away, so ids change every 22 hours; after that, reading the dataset first is what finds
    /// the item.)
    ///
    /// A bad item is in the report, and the others are stored.
    ///
    /// # Errors
    ///
    /// Opik is not to be reached, or refuses the key; some of the items may be stored. Inserting them again is safe. Or
    /// the dataset has been deleted meanwhile ([`OpikError::DatasetNotFound`]).
    ///
    /// ```no_run
    /// use beluga_o11y_opik::{DatasetItem, OpikExporter};
    /// use serde_json::json;
    ///
    /// # async fn run(opik: OpikExporter) -> Result<(), Box<dyn std::error::Error>> {
    /// let dataset = opik.get_or_create_dataset("capitals").await?;
    /// let report = dataset
    ///     .insert([
    ///         DatasetItem::new(json!({"country": "France", "expected": "Paris"})),
    ///         DatasetItem::new(json!({"country": "Nigeria", "expected": "Abuja"})),
    ///     ])
    ///     .await?;
    /// report.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(
        &self,
        items: impl IntoIterator<Item = DatasetItem>,
    ) -> Result<WriteReport, OpikError> {
        let items: Vec<DatasetItem> = items.into_iter().collect();
        let known = self.known().await?;
        let mut report = WriteReport::default();
        let encoded = self.encode(items, known, &mut report);
        // All requests of one insertion become one version of the dataset.
        let open = format!(
            "{{\"dataset_id\":\"{}\",\"dataset_name\":{},\"project_name\":{},\"batch_group_id\":\"{}\",\"items\":[",
            self.id,
            json!(self.name),
            json!(self.opik.project()),
            Uuid::now_v7()
        );
        let put = |body| HttpRequest::put("v1/private/datasets/items", "application/json", body);
        let Encoded { elements, places } = encoded;
        let written = self
            .opik
            .write_elements(OPERATION, put, (&open, &elements), &places, &mut report)
            .await;
        match written {
            Ok(()) => Ok(report),
            // By its name alone Opik would make another one (`DatasetItemService.java`).
            Err(OpikError::Failed { error, .. }) if is_gone(&error) => Err(self.not_found()),
            Err(error) => Err(error),
        }
    }

    fn encode(
        &self,
        items: Vec<DatasetItem>,
        mut known: Known,
        report: &mut WriteReport,
    ) -> Encoded {
        let mut ids = Ids::new(self.id, now(), known.newest);
        let mut encoded = Encoded::default();
        for (index, item) in items.iter().enumerate() {
            let added = item.checked().and_then(|data| {
                let hash = content_hash(self.id, data);
                let id = match item.id() {
                    Some(id) => {
                        check_id("dataset item", id)?;
                        if known.contents.get(&hash) == Some(&id) {
                            return Ok(false);
                        }
                        id
                    }
                    None if known.contents.contains_key(&hash) => return Ok(false),
                    None => ids.next(hash),
                };
                let limit = self.opik.target().max_record_bytes;
                encoded.elements.write(|json| {
                    let before = json.len();
                    let item = Write {
                        id,
                        source: "sdk",
                        data,
                    };
                    let written = serde_json::to_writer(&mut *json, &item);
                    written.map_err(|_| OpikError::ItemContent(JsonError::NotSerializable))?;
                    let bytes = json.len() - before;
                    if bytes > limit {
                        return Err(OpikError::ItemTooLarge { bytes, limit });
                    }
                    Ok(())
                })?;
                known.insert(hash, id);
                Ok(true)
            });
            match added {
                Ok(true) => encoded.places.push(index),
                Ok(false) => report.unchanged += 1,
                Err(error) => report.push(index, error),
            }
        }
        encoded
    }

    /// What is there.
    async fn known(&self) -> Result<Known, OpikError> {
        let mut known = Known::default();
        let mut items = self.items();
        while let Some(item) = items.try_next().await? {
            if let Some(id) = item.id() {
                known.newest = known.newest.max(id::time_part(id).unwrap_or(0));
                known.insert(content_hash(self.id, item.data()), id);
            }
        }
        Ok(known)
    }

    /// The items, the newest first, read as they are asked for.
    ///
    /// The stream ends with the first error: Opik is not to be reached, or refuses. Of a dataset that has been deleted
    /// meanwhile it gives nothing; [`all_items`](Self::all_items) tells.
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn run(dataset: beluga_o11y_opik::OpikDataset) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut items = dataset.items();
    /// while let Some(item) = items.try_next().await? {
    ///     println!("{}", item["question"]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn items(
        &self,
    ) -> impl Stream<Item = Result<DatasetItem, OpikError>> + Send + Unpin + use<> {
        let pages = stream::try_unfold(
            (self.clone(), Some(None)),
            |(dataset, next): (Self, Option<Option<Uuid>>)| async move {
                let Some(after) = next else {
                    return Ok(None);
                };
                let Page { rows, next } = dataset.page(after).await?;
                let stored = |line| Ok(dataset.stored(line));
                let items: Vec<_> = rows.into_iter().map(stored).collect();
                let items = stream::iter(items);
                Ok(Some((items, (dataset, next.map(Some)))))
            },
        );
        Box::pin(pages.try_flatten())
    }

    /// All items, the oldest first.
    ///
    /// # Errors
    ///
    /// Opik is not to be reached, or refuses, or the dataset has been deleted meanwhile
    /// ([`OpikError::DatasetNotFound`]).
    pub async fn all_items(&self) -> Result<Vec<DatasetItem>, OpikError> {
        let mut items: Vec<_> = self.items().try_collect().await?;
        if items.is_empty() {
            // Of a dataset that is not there Opik lists nothing (`DatasetsResource.java`).
            self.check_existence().await?;
        }
        items.reverse();
        Ok(items)
    }

    /// Whether it has not been deleted meanwhile: Opik makes a new one where a name is not known to it.
    pub(crate) async fn check_existence(&self) -> Result<(), OpikError> {
        match self.opik.find_dataset(&self.name).await? {
            Some(dataset) if dataset.id == self.id => Ok(()),
            _ => Err(self.not_found()),
        }
    }

    fn not_found(&self) -> OpikError {
        OpikError::DatasetNotFound {
            name: self.name.clone(),
        }
    }

    fn stored(&self, line: Line) -> DatasetItem {
        DatasetItem::stored(self.id, line.id, line.data.unwrap_or_default())
    }

    async fn page(&self, after: Option<Uuid>) -> Result<Page<Line>, OpikError> {
        let body = json!({
            "dataset_name": self.name,
            "project_name": self.opik.project(),
            "last_retrieved_id": after,
            // Opik's own spelling (`DatasetItemStreamRequest.java`).
            "steam_limit": PAGE,
        });
        let request = json_post("v1/private/datasets/items/stream", &body);
        Page::fetch(&self.opik, OPERATION, request, after, |line: &Line| line.id).await
    }
}

/// Whether the dataset has been deleted meanwhile.
fn is_gone(error: &ExportError) -> bool {
    let said = error.response_snippet().unwrap_or_default();
    error.status() == Some(404) && said.contains("Dataset not found")
}

/// An item as the stream has it.
#[derive(Deserialize)]
struct Line {
    id: Uuid,
    #[serde(default)]
    data: Option<Map<String, Value>>,
}

/// The only one of these names for which Opik has a limit.
fn dataset_name(name: &str) -> Result<&str, OpikError> {
    let name = checked_name(OPERATION, name)?;
    let length = name.chars().count();
    if length > MAX_NAME_CHARS {
        return Err(OpikError::NameTooLong {
            of: OPERATION,
            length,
            limit: MAX_NAME_CHARS,
        });
    }
    Ok(name)
}

/// As `DatasetItem.java` has it.
#[derive(Serialize)]
struct Write<'a> {
    id: Uuid,
    source: &'static str,
    data: &'a Map<String, Value>,
}

#[derive(Default)]
struct Known {
    contents: HashMap<Uuid, Uuid>,
    of_ids: HashMap<Uuid, Uuid>,
    /// The time of the newest item's id, in milliseconds.
    newest: u64,
}

impl Known {
    /// An item of this id and content is there, in place of one that had the id.
    fn insert(&mut self, hash: Uuid, id: Uuid) {
        if let Some(replaced) = self.of_ids.insert(id, hash)
            && self.contents.get(&replaced) == Some(&id)
        {
            self.contents.remove(&replaced);
        }
        self.contents.insert(hash, id);
    }
}

#[derive(Default)]
struct Encoded {
    elements: Elements,
    /// Where each was in the caller's list.
    places: Vec<usize>,
}

/// Ids that follow from content, in the order of insertion.
///
/// Opik lists items by their ids, whose first part is a time that must be less than a day away. So that time is the last
/// boundary of a period of 22 hours, which begins for each dataset at a moment of its own, or that of the newest item
/// that is there, and a millisecond more for each: the same list, inserted again in that period, has the same ids.
struct Ids {
    millis: u64,
}

impl Ids {
    fn new(dataset: Uuid, now: DateTime<Utc>, newest: u64) -> Self {
        let now = id::millis(now);
        // No id may be in the future, and a large dataset takes a while.
        let boundary = id::boundary(dataset, now.saturating_sub(id::HOUR_MS));
        // Ids made in a loop run ahead of the clock; those of a wrong clock do not count.
        let newest = Some(newest).filter(|newest| *newest <= now + id::HOUR_MS);
        Self {
            millis: newest.map_or(boundary, |newest| newest.max(boundary)),
        }
    }

    fn next(&mut self, hash: Uuid) -> Uuid {
        self.millis += 1;
        id::with_time(hash, self.millis)
    }
}

impl fmt::Debug for OpikDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpikDataset")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn ids_change_every_22_hours_and_are_never_too_old() {
        let (dataset, hash) = (Uuid::now_v7(), Uuid::new_v4());
        let start = now();
        let mut minutes: BTreeMap<Uuid, u32> = BTreeMap::new();
        for minute in 0..3 * 22 * 60 {
            let now = start + TimeDelta::minutes(minute);
            let id = Ids::new(dataset, now, 0).next(hash);
            *minutes.entry(id).or_default() += 1;
            let age = id::millis(now) - id::time_part(id).unwrap();
            assert!(age < 24 * id::HOUR_MS, "{age} ms");
        }
        // The first and the last period are cut.
        let whole: Vec<_> = minutes.values().skip(1).take(2).collect();
        assert!(
            whole.iter().all(|minutes| **minutes == 22 * 60),
            "{minutes:?}"
        );
        assert!((3..=4).contains(&minutes.len()), "{minutes:?}");
    }
}
