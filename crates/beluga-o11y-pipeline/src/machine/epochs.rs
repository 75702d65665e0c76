//! What a flush waits for.

use std::collections::VecDeque;

/// Counts pending calls by the flush that they were accepted before.
#[derive(Debug)]
pub(super) struct Epochs {
    first: u64,
    /// The last one is the current one; the ones before it are closed by a flush. Never empty.
    pub(super) pending: VecDeque<u64>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            // So that there is one before it, in which nothing is pending.
            first: 1,
            pending: VecDeque::from([0]),
        }
    }
}

impl Epochs {
    fn current(&self) -> u64 {
        self.first + self.pending.len() as u64 - 1
    }

    pub(super) fn enter(&mut self) -> u64 {
        if let Some(pending) = self.pending.back_mut() {
            *pending += 1;
        }
        self.current()
    }

    pub(super) fn leave(&mut self, epoch: u64) {
        let at = usize::try_from(epoch.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(pending) = self.pending.get_mut(at) {
            *pending -= 1;
        }
        while self.pending.len() > 1 && self.pending.front() == Some(&0) {
            self.pending.pop_front();
            self.first += 1;
        }
    }

    /// The epoch after which a new one begins. One in which nothing is pending goes on.
    pub(super) fn close_current(&mut self) -> u64 {
        let current = self.current();
        if self.pending.back() == Some(&0) {
            return current - 1;
        }
        self.pending.push_back(0);
        current
    }

    pub(super) fn is_closed(&self, epoch: u64) -> bool {
        epoch < self.current()
    }

    pub(super) fn pending_until(&self, epoch: u64) -> u64 {
        let count = (epoch + 1).saturating_sub(self.first);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.pending.iter().take(count).sum()
    }
}
