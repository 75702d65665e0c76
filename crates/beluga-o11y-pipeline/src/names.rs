//! Distinct names for what had equal ones.

use std::collections::HashMap;

/// The names given within one object, each with the number that its last namesake got.
#[derive(Default)]
pub(crate) struct Names(HashMap<String, usize>);

impl Names {
    /// Takes a name. If it is taken already, takes another one and says which: `key_2`, `key_3`.
    pub(crate) fn other_than_taken(&mut self, name: &str) -> Option<String> {
        let Some(&(mut number)) = self.0.get(name) else {
            self.0.insert(name.to_owned(), 1);
            return None;
        };
        let other = loop {
            number += 1;
            let other = format!("{name}_{number}");
            if !self.0.contains_key(&other) {
                break other;
            }
        };
        self.0.insert(name.to_owned(), number);
        self.0.insert(other.clone(), 1);
        Some(other)
    }
}
