//! What a flush waits for.

use std::collections::BTreeMap;

/// Counts pending calls by the flush that they were accepted before.
#[derive(Debug)]
pub(super) struct Epochs {
    current: u64,
    /// Calls of the current epoch.
    open: u64,
    /// Calls of earlier epochs, which a flush has closed. No entry is 0, so there are no more than calls.
    pub(super) closed: BTreeMap<u64, u64>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            // So that there is one before it, in which nothing is pending.
            current: 1,
            open: 0,
            closed: BTreeMap::new(),
        }
    }
}

impl Epochs {
    pub(super) fn enter(&mut self) -> u64 {
        self.enter_all(1)
    }

    pub(super) fn enter_all(&mut self, calls: u64) -> u64 {
        self.open += calls;
        self.current
    }

    pub(super) fn leave(&mut self, epoch: u64) {
        self.leave_all(epoch, 1);
    }

    pub(super) fn leave_all(&mut self, epoch: u64, calls: u64) {
        if epoch == self.current {
            self.open -= calls;
        } else if let Some(pending) = self.closed.get_mut(&epoch) {
            *pending -= calls;
            if *pending == 0 {
                self.closed.remove(&epoch);
            }
        }
    }

    /// The epoch after which a new one begins. One in which nothing is pending goes on.
    pub(super) fn close_current(&mut self) -> u64 {
        if self.open > 0 {
            self.closed.insert(self.current, self.open);
            self.open = 0;
            self.current += 1;
        }
        self.current - 1
    }

    pub(super) fn is_closed(&self, epoch: u64) -> bool {
        epoch < self.current
    }

    pub(super) fn pending_until(&self, epoch: u64) -> u64 {
        self.closed
            .range(..=epoch)
            .map(|(_, pending)| pending)
            .sum()
    }

    pub(super) fn is_settled(&self, epoch: u64) -> bool {
        self.closed.range(..=epoch).next().is_none()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> u64 {
        self.open + self.closed.values().sum::<u64>()
    }
}
