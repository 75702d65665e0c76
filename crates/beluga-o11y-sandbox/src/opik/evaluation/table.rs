//! Rows that are found by a key and by what they belong to, and that can be deleted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

/// A row of a [`Table`].
pub(crate) trait Keyed {
    /// What tells rows apart.
    type Key: Debug + Clone + Eq + Hash;
    /// What several rows have in common.
    type Group: Debug + Clone + Eq + Hash;

    fn key(&self) -> Self::Key;
    fn group(&self) -> Self::Group;
}

/// Rows in order of their first arrival, of which the oldest may be forgotten.
#[derive(Debug)]
pub(crate) struct Table<R: Keyed> {
    rows: BTreeMap<u64, R>,
    next: u64,
    by_key: HashMap<R::Key, u64>,
    by_group: HashMap<R::Group, BTreeSet<u64>>,
}

impl<R: Keyed> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            next: 0,
            by_key: HashMap::new(),
            by_group: HashMap::new(),
        }
    }
}

impl<R: Keyed> Table<R> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(self.by_key.get(key)?)
    }

    /// Key and group have to stay as they are.
    pub(crate) fn get_mut(&mut self, key: &R::Key) -> Option<&mut R> {
        self.rows.get_mut(self.by_key.get(key)?)
    }

    /// The rows of a group, in order of arrival.
    pub(crate) fn of(&self, group: &R::Group) -> impl Iterator<Item = &R> + use<'_, R> {
        let places = self.by_group.get(group).into_iter().flatten();
        places.filter_map(|place| self.rows.get(place))
    }

    /// Stores a row in the place of the one with its key, or as the newest.
    pub(crate) fn put(&mut self, row: R) {
        let (key, group) = (row.key(), row.group());
        let place = match self.by_key.get(&key) {
            Some(place) => *place,
            None => {
                self.next += 1;
                self.by_key.insert(key, self.next);
                self.next
            }
        };
        let old = self.rows.get(&place).map(Keyed::group);
        if let Some(old) = old.filter(|old| *old != group) {
            self.leave(&old, place);
        }
        self.by_group.entry(group).or_default().insert(place);
        self.rows.insert(place, row);
    }

    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<R> {
        let place = self.by_key.remove(key)?;
        let row = self.rows.remove(&place)?;
        self.leave(&row.group(), place);
        Some(row)
    }

    pub(crate) fn remove_group(&mut self, group: &R::Group) {
        for place in self.by_group.remove(group).into_iter().flatten() {
            if let Some(row) = self.rows.remove(&place) {
                self.by_key.remove(&row.key());
            }
        }
    }

    /// Forgets the oldest rows beyond that many.
    pub(crate) fn forget_beyond(&mut self, max: usize) {
        while self.rows.len() > max {
            let Some((place, row)) = self.rows.pop_first() else {
                return;
            };
            self.by_key.remove(&row.key());
            self.leave(&row.group(), place);
        }
    }

    fn leave(&mut self, group: &R::Group, place: u64) {
        if let Entry::Occupied(mut places) = self.by_group.entry(group.clone()) {
            places.get_mut().remove(&place);
            if places.get().is_empty() {
                places.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Word(char, u32, &'static str);

    impl Keyed for Word {
        type Key = char;
        type Group = u32;

        fn key(&self) -> char {
            self.0
        }

        fn group(&self) -> u32 {
            self.1
        }
    }

    fn all(table: &Table<Word>) -> String {
        table.iter().map(|word| word.2).collect()
    }

    fn of(table: &Table<Word>, group: u32) -> String {
        table.of(&group).map(|word| word.2).collect()
    }

    #[test]
    fn nothing_is_left_of_rows_that_are_gone() {
        let mut table = Table::default();
        for word in [
            Word('a', 1, "a"),
            Word('b', 1, "b"),
            Word('c', 2, "c"),
            Word('d', 2, "d"),
        ] {
            table.put(word);
        }
        table.put(Word('b', 2, "B"));
        assert_eq!(all(&table), "aBcd", "a row keeps its place");
        assert_eq!((of(&table, 1), of(&table, 2)), ("a".into(), "Bcd".into()));
        assert_eq!(table.remove(&'c'), Some(Word('c', 2, "c")));
        assert_eq!(table.remove(&'c'), None);
        table.forget_beyond(2);
        assert_eq!((all(&table), of(&table, 1)), ("Bd".into(), String::new()));
        assert_eq!((table.get(&'a'), table.len()), (None, 2));
        table.remove_group(&2);
        assert_eq!(
            (table.len(), table.by_key.len(), table.by_group.len()),
            (0, 0, 0)
        );
    }
}
