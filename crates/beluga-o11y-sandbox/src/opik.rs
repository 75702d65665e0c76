//! Opik: REST, projects with traces and their spans.

mod answers;
mod api;
mod auth;
mod calls;
mod constraints;
mod evaluation;
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
pub use self::evaluation::record::{
    Dataset, DatasetItem, Experiment, ExperimentItem, FeedbackScore,
};
use self::ids::IdWindow;
pub use self::json::ErrorInfo;
pub use self::record::{Span, Trace};
use self::store::{Store, Stored};
use self::wire::{Kind, SpanOwn, TraceOwn};
use crate::answer::Answer;
use crate::arrival::News;
use crate::body::Coding;
use crate::role::{Arrived, Role};
use crate::rows::Touched;
use crate::shared::lock;
use crate::stored::{Backend, StoredCall};

#[derive(Debug)]
pub(crate) struct Opik {
    /// Empty: self-hosted.
    accounts: Vec<OpikCloud>,
    id_window: IdWindow,
    max_rows: usize,
    store: Mutex<Store>,
}

impl Opik {
    pub(crate) fn new(accounts: Vec<OpikCloud>, id_window: Duration, max_rows: usize) -> Self {
        Self {
            accounts,
            id_window: IdWindow(id_window),
            max_rows,
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

    pub(crate) fn datasets(&self) -> Vec<Dataset> {
        self.store().datasets()
    }

    pub(crate) fn dataset_items(&self) -> Vec<DatasetItem> {
        self.store().dataset_items()
    }

    pub(crate) fn experiments(&self) -> Vec<Experiment> {
        self.store().experiments()
    }

    pub(crate) fn experiment_items(&self) -> Vec<ExperimentItem> {
        self.store().experiment_items()
    }

    /// How many rows of traces and of spans there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.store().counts()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Notes the calls among the rows that a request stored, and forgets what is too old then.
    fn note_stored<T: Stored>(&self, store: &mut Store, touched: &Touched, news: &mut News) {
        if T::ARE_CALLS {
            for (place, again) in touched.iter() {
                news.note(again, || store.call(place));
            }
        }
        store.forget_beyond(self.max_rows);
    }

    /// The variables that point a client at it, which is at this URL.
    pub(crate) fn environment(&self, url: String) -> Vec<(&'static str, String)> {
        let mut all = vec![("OPIK_URL_OVERRIDE", url)];
        match self.accounts.first() {
            None => all.push(("OPIK_WORKSPACE", auth::DEFAULT_WORKSPACE.to_owned())),
            Some(account) => all.extend(account.environment()),
        }
        all
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

    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer {
        api::answer(self, request.head, request.body, news)
    }

    fn owns(&self, path: &str) -> bool {
        api::owns(path)
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        Answer::opik_default(status)
    }

    fn calls(&self) -> Vec<StoredCall> {
        self.store().calls()
    }

    fn stored(&self) -> usize {
        let store = self.store();
        let (traces, spans) = store.counts();
        traces + spans + store.evaluation.len()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
