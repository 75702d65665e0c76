//! The steps of the cases, by what they are about.

pub(super) mod batches;
pub(super) mod conduct;
pub(super) mod content;
pub(super) mod fields;
