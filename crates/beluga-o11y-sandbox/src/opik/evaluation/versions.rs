//! Versions of a dataset: one for each group of writes. The items that are kept are those of the latest one.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// How many versions of a dataset are remembered.
const MAX_VERSIONS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) id: Uuid,
    number: usize,
    /// The `batch_group_id` of the writes that made it.
    group: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl Version {
    pub(crate) fn name(&self) -> String {
        format!("v{}", self.number)
    }

    pub(crate) fn hash(&self) -> String {
        let (_, low) = self.id.as_u64_pair();
        let text = format!("{low:016x}");
        text.chars().rev().take(8).collect()
    }
}

/// The versions of a dataset, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Versions(Vec<Version>);

impl Versions {
    /// Notes a write of items. Without a group it changes the latest version (Opik: `DatasetItemService`).
    pub(crate) fn note(&mut self, group: Option<Uuid>, now: DateTime<Utc>) {
        let known = |version: &Version| version.group == group;
        let same = match group {
            Some(_) => self.0.iter().any(known),
            None => !self.0.is_empty(),
        };
        if same {
            return;
        }
        let number = self.0.last().map_or(1, |version| version.number + 1);
        self.0.push(Version {
            id: Uuid::now_v7(),
            number,
            group,
            created_at: now,
        });
        if self.0.len() > MAX_VERSIONS {
            self.0.remove(0);
        }
    }

    pub(crate) fn has(&self, id: Uuid) -> bool {
        self.0.iter().any(|version| version.id == id)
    }

    pub(crate) fn latest(&self) -> Option<&Version> {
        self.0.last()
    }

    /// Whether this is the hash or tag of the latest; none if it is of no version.
    pub(crate) fn is_latest(&self, hash_or_tag: &str) -> Option<bool> {
        let latest = self.latest()?;
        let is = |version: &Version| version.hash() == hash_or_tag || version.name() == hash_or_tag;
        if hash_or_tag == "latest" || is(latest) {
            return Some(true);
        }
        self.0.iter().any(is).then_some(false)
    }

    /// The version of that name, as it is shown.
    pub(crate) fn named(&self, name: &str, dataset: Uuid, items: usize) -> Option<Value> {
        let version = self.0.iter().find(|version| version.name() == name)?;
        Some(self.view(version, dataset, items))
    }

    /// All of them as they are shown, newest first (Opik: `DatasetVersion`).
    pub(crate) fn views(&self, dataset: Uuid, items: usize) -> Vec<Value> {
        let newest_first = self.0.iter().rev();
        newest_first
            .map(|version| self.view(version, dataset, items))
            .collect()
    }

    fn view(&self, version: &Version, dataset: Uuid, items: usize) -> Value {
        let is_latest = self.latest().is_some_and(|latest| latest.id == version.id);
        let mut view = json!({
            "id": version.id, "dataset_id": dataset, "version_hash": version.hash(), "version_name": version.name(),
            "is_latest": is_latest, "tags": if is_latest { vec!["latest"] } else { Vec::new() },
            "created_at": version.created_at, "created_by": "admin",
            "last_updated_at": version.created_at, "last_updated_by": "admin",
        });
        if let Some(fields) = view.as_object_mut().filter(|_| is_latest) {
            fields.insert("items_total".to_owned(), items.into());
        }
        view
    }
}
