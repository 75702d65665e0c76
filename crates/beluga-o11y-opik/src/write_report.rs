//! What became of many things that were written at once.

use crate::OpikError;

/// What became of the things that were written together: dataset items, scores.
#[derive(Clone, Debug, Default)]
#[must_use = "what Opik did not take is named here and nowhere else"]
#[non_exhaustive]
pub struct WriteReport {
    /// How many are stored now.
    pub stored: usize,
    /// How many were there already, and were not sent.
    pub unchanged: usize,
    /// Those that are not stored, in order.
    pub failures: Vec<WriteFailure>,
}

/// One that is not stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WriteFailure {
    /// Its place in what was given.
    pub index: usize,
    /// Why.
    pub error: OpikError,
}

impl WriteReport {
    pub(crate) fn push(&mut self, index: usize, error: OpikError) {
        self.failures.push(WriteFailure { index, error });
    }

    /// Nothing if all of it is stored, else the first failure: for whom one bad thing is one too many.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn into_result(self) -> Result<(), OpikError> {
        match self.failures.into_iter().next() {
            Some(failure) => Err(failure.error),
            None => Ok(()),
        }
    }
}
