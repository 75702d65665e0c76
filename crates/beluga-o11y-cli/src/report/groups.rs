//! Calls by what they have in a field.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::{
    Key, Sort,
    figures::{Figures, Sums},
    key::short,
    row::Row,
};

/// So many values are shown; all others together are one row.
const MAX_ROWS: usize = 1_000;
/// So many values are kept apart while calls are read; then the smaller half goes to the others.
const MAX_VALUES: usize = 10_000;

/// The sums of each value of a key.
#[derive(Debug)]
pub(crate) struct Groups {
    key: Key,
    sort: Sort,
    values: HashMap<Box<str>, Sums>,
    /// Of calls that have none.
    none: Sums,
    other: Sums,
    /// Whether there were too many values to keep.
    approximate: bool,
}

/// The table of a key.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) by: String,
    /// How many different values there are, if that is known.
    pub(crate) values: Option<usize>,
    /// There were too many values to keep: rows may lack calls, which are among the others.
    pub(crate) approximate: bool,
    pub(crate) rows: Vec<TableRow>,
    pub(crate) other: Option<Figures>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TableRow {
    pub(crate) value: Option<String>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl Groups {
    pub(crate) fn new(key: Key, sort: Sort) -> Self {
        Self {
            key,
            sort,
            values: HashMap::new(),
            none: Sums::default(),
            other: Sums::default(),
            approximate: false,
        }
    }

    pub(crate) fn add(&mut self, call: &Row<'_>) {
        let facts = &call.facts;
        if self.key != Key::Tag {
            return match self.key.value(call) {
                Some(value) => self.value(&value).add(facts),
                None => self.none.add(facts),
            };
        }
        // One that stands twice is one.
        let tags: BTreeSet<&str> = call.tags.iter().map(|tag| &**tag).collect();
        let mut any = false;
        for tag in tags.into_iter().filter(|tag| !tag.is_empty()) {
            any = true;
            self.value(&short(tag)).add(facts);
        }
        if !any {
            self.none.add(facts);
        }
    }

    fn value(&mut self, value: &str) -> &mut Sums {
        if !self.values.contains_key(value) {
            if self.values.len() >= MAX_VALUES {
                self.shrink();
            }
            self.values.insert(value.into(), Sums::default());
        }
        // Just put there, if it was not.
        self.values.entry(value.into()).or_default()
    }

    /// The smaller half is no longer kept apart.
    fn shrink(&mut self) {
        self.approximate = true;
        let rest = self.sorted(MAX_VALUES / 2);
        for (_, sums) in rest {
            self.other.merge(&sums);
        }
    }

    /// Takes out all but the largest.
    fn sorted(&mut self, keep: usize) -> Vec<(Box<str>, Sums)> {
        let sort = self.sort;
        let mut all: Vec<_> = self.values.drain().collect();
        all.sort_by(|(a_value, a), (b_value, b)| {
            let larger = b.weight(sort).cmp(&a.weight(sort));
            larger
                .then(b.calls.cmp(&a.calls))
                .then_with(|| a_value.cmp(b_value))
        });
        let rest = all.split_off(keep.min(all.len()));
        self.values.extend(all);
        rest
    }

    pub(crate) fn table(mut self) -> Table {
        let values = (!self.approximate).then_some(self.values.len());
        let rest = self.sorted(MAX_ROWS);
        for (_, sums) in rest {
            self.other.merge(&sums);
        }
        // What is left, in order.
        let mut rows: Vec<_> = self
            .sorted(0)
            .into_iter()
            .map(|(value, sums)| (Some(value.into()), sums))
            .collect();
        if self.none.calls > 0 {
            let weight = self.none.weight(self.sort);
            let place = rows.partition_point(|(_, sums)| sums.weight(self.sort) >= weight);
            rows.insert(place, (None, self.none));
        }
        Table {
            by: self.key.to_string(),
            values,
            approximate: self.approximate,
            rows: rows
                .into_iter()
                .map(|(value, sums)| TableRow {
                    value,
                    figures: sums.figures(),
                })
                .collect(),
            other: (self.other.calls > 0).then(|| self.other.figures()),
        }
    }
}
