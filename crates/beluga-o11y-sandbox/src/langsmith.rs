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
pub use self::run::LangSmithRun;
use self::store::Store;
use crate::answer::Answer;
use crate::body::Coding;
use crate::role::{Arrived, Role};
use crate::sandbox::{Sandbox, SandboxBuilder};
use crate::shared::lock;
use crate::stored::{Backend, StoredCall};

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
    store: Mutex<Store>,
}

impl LangSmith {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            store: Mutex::default(),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
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

    fn answer(&self, request: &Arrived<'_>) -> Answer {
        api::answer(self, request)
    }

    fn refusal(&self, status: StatusCode) -> Answer {
        answers::default_for(status)
    }

    fn calls(&self) -> Vec<StoredCall> {
        calls::of(self.store().runs())
    }

    fn stored(&self) -> usize {
        self.store().count()
    }

    fn clear(&self) {
        *self.store() = Store::default();
    }
}
