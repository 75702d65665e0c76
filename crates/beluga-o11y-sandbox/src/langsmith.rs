//! LangSmith: REST, projects (its API calls them sessions) with runs.
//!
//! Its server is closed source. What is enforced here was read in its documentation and its Python client
//! (`langsmith` 0.15.0), or quoted from its answers in public issues; each rule says where it comes from.

mod account;
mod answers;
mod api;
mod calls;
mod fields;
mod integers;
mod order;
mod run;
mod session;
mod store;

use std::sync::{Mutex, MutexGuard};

use hyper::StatusCode;
use uuid::Uuid;

pub use self::account::LangSmithAccount;
use self::fields::Fields;
pub use self::run::LangSmithRun;
use self::store::{NotTaken, Store};
use crate::answer::Answer;
use crate::arrival::News;
use crate::body::Coding;
use crate::role::{Arrived, Role};
use crate::sandbox::{Sandbox, SandboxBuilder};
use crate::shared::lock;
use crate::stored::{Backend, StoredCall};

/// A key that any sandbox without accounts takes, of the form that personal ones have.
const DUMMY_KEY: &str = "lsv2_pt_sandbox";

/// What the builder was told about LangSmith.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Empty: any key will do.
    accounts: Vec<LangSmithAccount>,
}

impl SandboxBuilder {
    /// Lets this key, and no others but those added likewise, into LangSmith. Default: any key that is not blank.
    #[must_use]
    pub fn with_langsmith(mut self, account: LangSmithAccount) -> Self {
        self.langsmith.accounts.push(account);
        self
    }
}

impl Sandbox {
    /// The runs that LangSmith stored, in the order in which they were posted.
    pub fn runs(&self) -> Vec<LangSmithRun> {
        self.shared.langsmith.store().runs()
    }

    /// The run with this id.
    pub fn run(&self, id: Uuid) -> Option<LangSmithRun> {
        self.shared.langsmith.store().run(id)
    }
}

#[derive(Debug)]
pub(crate) struct LangSmith {
    settings: Settings,
    max_rows: usize,
    store: Mutex<Store>,
}

impl LangSmith {
    pub(crate) fn new(settings: Settings, max_rows: usize) -> Self {
        Self {
            settings,
            max_rows,
            store: Mutex::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Takes runs and updates that have been checked one by one, notes the calls among them, and forgets what is too
    /// old then.
    fn take(
        &self,
        posts: Vec<Fields>,
        patches: Vec<Fields>,
        news: &mut News,
    ) -> Result<(), NotTaken> {
        let mut store = self.store();
        let touched = store.take(posts, patches)?;
        for (place, again) in touched.iter() {
            news.note(again, || store.call(place));
        }
        store.forget_beyond(self.max_rows);
        Ok(())
    }

    /// The variables that point a client at it, which is at this URL.
    pub(crate) fn environment(&self, url: String) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("LANGSMITH_ENDPOINT", url),
            ("LANGSMITH_TRACING", "true".to_owned()),
        ];
        match self.settings.accounts.first() {
            None => all.push(("LANGSMITH_API_KEY", DUMMY_KEY.to_owned())),
            Some(account) => all.extend(account.environment()),
        }
        all
    }
}

impl Role for LangSmith {
    fn backend(&self) -> Backend {
        Backend::LangSmith
    }

    fn prefix(&self) -> &'static str {
        "/langsmith"
    }

    /// Its clients pack only what they send to `/runs/multipart`, so nobody knows whether the other doors unpack.
    fn coding(&self, _content_encoding: &str) -> Option<Coding> {
        None
    }

    fn answer(&self, request: &Arrived<'_>, news: &mut News) -> Answer {
        api::answer(self, request, news)
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        answers::default_for(status)
    }

    fn calls(&self) -> Vec<StoredCall> {
        let runs = self.store().runs();
        runs.into_iter().filter_map(calls::of).collect()
    }

    fn stored(&self) -> usize {
        self.store().count()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
