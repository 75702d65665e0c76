//! What the server's thread and the sandbox's owner share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use uuid::Uuid;

use crate::auth::OpikCloud;
use crate::fault::{self, Fault, Verdict};
use crate::ids::IdWindow;
use crate::request::Log;
use crate::store::Store;
use crate::wire::Kind;

#[derive(Debug)]
pub(crate) struct Shared {
    /// Empty: self-hosted.
    pub(crate) accounts: Vec<OpikCloud>,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) id_window: IdWindow,
    pub(crate) store: Mutex<Store>,
    pub(crate) log: Mutex<Log>,
    pub(crate) faults: Mutex<Vec<Fault>>,
}

impl Shared {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        lock(&self.faults)
    }

    /// What a request to this path has to go through.
    pub(crate) fn verdict(&self, path: &str) -> Verdict {
        fault::decide(&mut self.faults(), path)
    }

    /// The rules for a record's own id and for those it names.
    pub(crate) fn check_ids<T: Kind>(&self, id: Option<Uuid>, own: &T) -> Result<(), String> {
        let now = Utc::now();
        if let Some(id) = id {
            self.id_window.check_new(id, T::RESOURCE, now)?;
        }
        own.references()
            .into_iter()
            .try_for_each(|(id, resource)| self.id_window.check_reference(id, resource, now))
    }
}

/// A panic in a test's thread must not take the sandbox along.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
