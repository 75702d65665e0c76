//! Opik: REST, projects with traces and their spans.

mod answers;
mod api;
mod auth;
mod calls;
mod ids;
mod instant;
mod json;
mod record;
mod row;
mod search;
mod store;
mod wire;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use chrono::Utc;
use hyper::StatusCode;
use uuid::Uuid;

pub use self::auth::OpikCloud;
use self::ids::IdWindow;
pub use self::json::ErrorInfo;
pub use self::record::{Span, Trace};
use self::store::Store;
use self::wire::{Kind, SpanOwn, TraceOwn};
use crate::answer::Answer;
use crate::body::Coding;
use crate::role::{Arrived, Role};
use crate::shared::lock;
use crate::stored::{Backend, StoredCall};

#[derive(Debug)]
pub(crate) struct Opik {
    /// Empty: self-hosted.
    accounts: Vec<OpikCloud>,
    id_window: IdWindow,
    store: Mutex<Store>,
}

impl Opik {
    pub(crate) fn new(accounts: Vec<OpikCloud>, id_window: Duration) -> Self {
        Self {
            accounts,
            id_window: IdWindow(id_window),
            store: Mutex::default(),
        }
    }

    pub(crate) fn traces(&self) -> Vec<Trace> {
        self.store().records::<TraceOwn>()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.store().records::<SpanOwn>()
    }

    pub(crate) fn trace(&self, id: Uuid) -> Option<Trace> {
        self.store().record::<TraceOwn>(id, None)
    }

    pub(crate) fn span(&self, id: Uuid) -> Option<Span> {
        self.store().record::<SpanOwn>(id, None)
    }

    /// How many rows of traces and of spans there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.store().counts()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// The rules for a record's own id and for those it names.
    fn check_ids<T: Kind>(&self, id: Option<Uuid>, own: &T) -> Result<(), String> {
        let now = Utc::now();
        if let Some(id) = id {
            self.id_window.check_new(id, T::RESOURCE, now)?;
        }
        own.references()
            .into_iter()
            .try_for_each(|(id, resource)| self.id_window.check_reference(id, resource, now))
    }
}

impl Role for Opik {
    fn backend(&self) -> Backend {
        Backend::Opik
    }

    /// It has several, and tells them apart itself.
    fn prefix(&self) -> &'static str {
        ""
    }

    fn coding(&self, content_encoding: &str) -> Option<Coding> {
        content_encoding
            .eq_ignore_ascii_case("gzip")
            .then_some(Coding::Gzip)
    }

    fn answer(&self, request: &Arrived<'_>) -> Answer {
        api::answer(self, request.head, request.body)
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        Answer::opik_default(status)
    }

    fn calls(&self) -> Vec<StoredCall> {
        calls::of(&self.traces(), self.spans())
    }

    fn stored(&self) -> usize {
        let (traces, spans) = self.counts();
        traces + spans
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
