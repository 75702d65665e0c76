//! Rows: how they are found, replaced, changed late, and what they cost.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::opik::json::Object;
use crate::opik::wire::{Common, Kind, SpanOwn, Write};
use crate::rows::Rows;

/// A project's place in the list of them.
pub(crate) type ProjectIndex = usize;

#[derive(Debug)]
pub(crate) struct Row<T> {
    pub(crate) id: Uuid,
    pub(crate) project: ProjectIndex,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// Only an update has arrived so far.
    pub(crate) partial: bool,
    pub(crate) common: Common,
    pub(crate) own: T,
}

impl<T: Kind> Row<T> {
    pub(crate) fn new(write: Write<T>, project: ProjectIndex, now: DateTime<Utc>) -> Self {
        Self {
            id: write.id.unwrap_or_else(Uuid::now_v7),
            project,
            created_at: now,
            updated_at: write.last_updated_at.unwrap_or(now),
            partial: false,
            common: Common {
                project_name: None,
                ..write.common
            },
            own: write.own,
        }
    }
}

/// Rows in order of arrival. Within a workspace and project a row's key is its id, and for spans also the ids it names.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pub(crate) rows: Rows<Row<T>>,
    /// A row's id stays as it is, so of its places the first is the oldest.
    by_id: HashMap<Uuid, VecDeque<usize>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            by_id: HashMap::new(),
        }
    }
}

impl<T: Kind> Table<T> {
    pub(crate) fn with_id(&self, id: Uuid) -> impl Iterator<Item = (usize, &Row<T>)> {
        let places = self.by_id.get(&id).into_iter().flatten();
        places.filter_map(|place| Some((*place, self.rows.get(*place)?)))
    }

    /// Stores a row, unless the one that is there is newer: its place, and whether there was one.
    pub(crate) fn upsert(&mut self, row: Row<T>) -> Option<(usize, bool)> {
        let same = self
            .with_id(row.id)
            .find(|(_, old)| {
                old.project == row.project && old.own.references() == row.own.references()
            })
            .map(|(place, _)| place);
        let Some(place) = same else {
            return Some((self.push(row), false));
        };
        let old = self.rows.get_mut(place)?;
        if row.updated_at < old.updated_at {
            return None;
        }
        *old = Row {
            created_at: old.created_at,
            ..row
        };
        Some((place, true))
    }

    /// Forgets the oldest row if there are more than that many.
    pub(crate) fn pop_beyond(&mut self, max: usize) -> Option<(usize, Row<T>)> {
        let (place, row) = self.rows.pop_beyond(max)?;
        if let Entry::Occupied(mut places) = self.by_id.entry(row.id) {
            places.get_mut().pop_front();
            if places.get().is_empty() {
                places.remove();
            }
        }
        Some((place, row))
    }

    fn push(&mut self, row: Row<T>) -> usize {
        let id = row.id;
        let place = self.rows.push(row);
        self.by_id.entry(id).or_default().push_back(place);
        place
    }
}

impl Row<SpanOwn> {
    /// The cost in US dollars: what was sent, else `metadata.cost` (Opik: `CostService`).
    pub(crate) fn cost(&self) -> Option<f64> {
        self.own
            .total_estimated_cost
            .or_else(|| cost_in(self.common.metadata.as_deref()?))
    }
}

/// Adds tags, each once, and removes others.
pub(crate) fn retag(tags: &mut Vec<String>, add: &[String], remove: &[String]) {
    for tag in add {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags.retain(|tag| !remove.contains(tag));
}

impl Common {
    pub(crate) fn duration(&self) -> Option<f64> {
        let micros = (self.end_time? - self.start_time?).num_microseconds()?;
        Some(micros as f64 / 1000.0)
    }

    /// Takes over what an update says.
    pub(crate) fn merge(
        &mut self,
        update: Self,
        tags_to_add: &[String],
        tags_to_remove: &[String],
    ) {
        replace(&mut self.name, update.name);
        replace(&mut self.end_time, update.end_time);
        replace(&mut self.input, update.input);
        replace(&mut self.output, update.output);
        replace(&mut self.metadata, update.metadata);
        replace(&mut self.tags, update.tags);
        replace(&mut self.error_info, update.error_info);
        replace(&mut self.ttft, update.ttft);
        replace(&mut self.source, update.source);
        replace(&mut self.environment, update.environment);
        retag(
            self.tags.get_or_insert_default(),
            tags_to_add,
            tags_to_remove,
        );
    }

    /// Fills what is missing from a row that only updates have made.
    pub(crate) fn complete(&mut self, partial: Self) {
        keep(&mut self.name, partial.name);
        keep(&mut self.end_time, partial.end_time);
        keep(&mut self.input, partial.input);
        keep(&mut self.output, partial.output);
        keep(&mut self.metadata, partial.metadata);
        keep(&mut self.tags, partial.tags.filter(|tags| !tags.is_empty()));
        keep(&mut self.error_info, partial.error_info);
        keep(&mut self.ttft, partial.ttft);
        keep(&mut self.source, partial.source);
        keep(&mut self.environment, partial.environment);
    }
}

/// Of the elements of a batch with one id, the newest, if all say how new they are (Opik: `TraceService.dedupTraces`).
pub(crate) fn newest_of_each<T>(writes: Vec<Write<T>>) -> Vec<Write<T>> {
    let mut newest: Vec<Write<T>> = Vec::with_capacity(writes.len());
    let mut places = HashMap::new();
    for write in writes {
        let (Some(id), Some(version)) = (write.id, write.last_updated_at) else {
            newest.push(write);
            continue;
        };
        let place = *places.entry(id).or_insert(newest.len());
        match newest.get_mut(place) {
            Some(known) if known.last_updated_at <= Some(version) => *known = write,
            Some(_) => {}
            None => newest.push(write),
        }
    }
    newest
}

/// `metadata.cost` of the form `{"currency":"USD","total_cost":0.0012}`.
fn cost_in(metadata: &RawValue) -> Option<f64> {
    let metadata = Object::from_raw(metadata, "").ok()?;
    let cost = Object::from_raw(metadata.raw("cost")?, "").ok()?;
    let currency = cost.string("currency").ok()??;
    (currency == "USD").then(|| cost.number("total_cost").ok())??
}

pub(crate) fn replace<T>(slot: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *slot = new;
    }
}

pub(crate) fn keep<T>(slot: &mut Option<T>, old: Option<T>) {
    if slot.is_none() {
        *slot = old;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opik::wire::TraceOwn;

    #[test]
    fn nothing_is_left_of_a_row_that_is_forgotten() {
        let body = r#"{"traces":[{"start_time":"2026-11-22T21:52:14Z"},{"start_time":"2026-11-22T21:52:14Z"}]}"#;
        let writes = || Write::<TraceOwn>::batch(body.as_bytes()).unwrap();
        let mut table = Table::default();
        for _ in 0..100 {
            for (project, write) in writes().into_iter().enumerate() {
                let row = Row::new(write, project, Utc::now());
                // The same id in two projects is two rows.
                let twin = Row {
                    project: project + 2,
                    ..Row::new(writes().remove(0), project, Utc::now())
                };
                let twin = Row { id: row.id, ..twin };
                table.upsert(row);
                table.upsert(twin);
            }
            while table.pop_beyond(7).is_some() {}
        }
        let places: usize = table.by_id.values().map(VecDeque::len).sum();
        assert_eq!((table.rows.len(), table.by_id.len(), places), (7, 4, 7));
        while table.pop_beyond(0).is_some() {}
        assert_eq!(table.by_id.len(), 0);
    }
}
