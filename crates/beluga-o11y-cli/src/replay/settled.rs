//! Which lines of a file are done with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Lines by number: all up to one, and ranges beyond it. What comes in about the order of the lines takes little room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The last line of those from 1 on.
    up_to: u64,
    /// First and last lines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    beyond: BTreeMap<u64, u64>,
}

impl Settled {
    /// The line up to which all are.
    pub(crate) fn up_to(&self) -> u64 {
        self.up_to
    }

    pub(crate) fn contains(&self, line: u64) -> bool {
        if line <= self.up_to {
            return true;
        }
        let before = self.beyond.range(..=line).next_back();
        before.is_some_and(|(_, last)| line <= *last)
    }

    pub(crate) fn insert(&mut self, line: u64) {
        if self.contains(line) {
            return;
        }
        let mut last = line;
        if let Some(joined) = self.beyond.remove(&(line + 1)) {
            last = joined;
        }
        if line == self.up_to + 1 {
            self.up_to = last;
            return;
        }
        match self.beyond.range_mut(..line).next_back() {
            Some((_, end)) if *end + 1 == line => *end = last,
            _ => {
                self.beyond.insert(line, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(lines in prop::collection::vec(1_u64..30, 0..60)) {
            let (mut settled, mut set) = (Settled::default(), BTreeSet::new());
            for line in lines {
                settled.insert(line);
                set.insert(line);
                let up_to = (1..).find(|line| !set.contains(line)).unwrap() - 1;
                prop_assert_eq!(settled.up_to(), up_to);
                for line in 1..32 {
                    prop_assert_eq!(settled.contains(line), set.contains(&line), "{}", line);
                }
                let gaps = settled.beyond.iter().zip(settled.beyond.keys().skip(1));
                for ((_, last), next) in gaps {
                    prop_assert!(last + 1 < *next, "neighbours are one range");
                }
                let text = serde_json::to_string(&settled).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Settled>(&text).unwrap(), &settled);
            }
        }
    }
}
