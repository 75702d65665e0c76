//! Rows in order of arrival, of which the oldest may be forgotten.

use std::collections::{BTreeMap, VecDeque};

/// A row's place stays the same for as long as it is kept, however many before it are forgotten.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    rows: VecDeque<T>,
    /// How many have been forgotten: the place of the first one that is left.
    forgotten: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            rows: VecDeque::new(),
            forgotten: 0,
        }
    }
}

impl<T> Rows<T> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The place that the next new row gets.
    pub(crate) fn next_place(&self) -> usize {
        self.forgotten + self.rows.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.rows.get(place.checked_sub(self.forgotten)?)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.rows.get_mut(place.checked_sub(self.forgotten)?)
    }

    /// Adds a row and gives its place.
    pub(crate) fn push(&mut self, row: T) -> usize {
        self.rows.push_back(row);
        self.next_place() - 1
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn iter_with_places(&self) -> impl Iterator<Item = (usize, &T)> {
        (self.forgotten..).zip(&self.rows)
    }

    /// Takes away the oldest row if there are more than that many; what knows its place has to forget it, too.
    pub(crate) fn pop_beyond(&mut self, max: usize) -> Option<(usize, T)> {
        if self.rows.len() <= max {
            return None;
        }
        let row = self.rows.pop_front()?;
        self.forgotten += 1;
        Some((self.forgotten - 1, row))
    }
}

/// The places of the rows that a request stored, and whether a row was there before it.
#[derive(Debug, Default)]
pub(crate) struct Touched(BTreeMap<usize, bool>);

impl Touched {
    /// Of a row that comes twice in a request the first time counts.
    pub(crate) fn note(&mut self, place: usize, again: bool) {
        self.0.entry(place).or_insert(again);
    }

    /// In order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, bool)> {
        self.0.iter().map(|(place, again)| (*place, *again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_while_the_oldest_are_forgotten() {
        let mut rows = Rows::default();
        let places: Vec<_> = "abc".chars().map(|row| rows.push(row)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(rows.pop_beyond(3), None);
        assert_eq!(rows.pop_beyond(2), Some((0, 'a')));
        assert_eq!(rows.pop_beyond(2), None);
        assert_eq!(
            (rows.get(0), rows.get(1), rows.get(2)),
            (None, Some(&'b'), Some(&'c'))
        );
        assert_eq!((rows.push('d'), rows.get_mut(3)), (3, Some(&mut 'd')));
        assert_eq!(rows.iter().collect::<String>(), "bcd");
        assert_eq!(rows.pop_beyond(0), Some((1, 'b')));
    }
}
