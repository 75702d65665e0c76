//! In place of the spool, where it is not wanted: there is none.

use std::{convert::Infallible, time::Instant};

use beluga_o11y::LLMCallData;

use crate::{DeadLetter, SpoolStats, row::Row};

/// There is none.
#[derive(Debug)]
pub(crate) struct Disk(Infallible);

impl Disk {
    pub(crate) fn write(&self, _: &LLMCallData) -> Option<Row> {
        match self.0 {}
    }

    pub(crate) fn park(&self, _: Row, _: u64) {}

    pub(crate) fn settle(&self, _: impl IntoIterator<Item = Row>) {}

    pub(crate) fn bury(&self, _: Option<Row>, _: &DeadLetter) {}

    pub(crate) fn wake(&self) {}

    pub(crate) fn stats(&self) -> SpoolStats {
        match self.0 {}
    }

    pub(crate) fn send_dead_letters_again(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn adopted_by(&self, _: Instant) {}

    pub(crate) fn cleared_by(&self, _: Instant) {}

    pub(crate) fn close(&self) {}

    pub(crate) fn closed_by(&self, _: Instant) {}
}
