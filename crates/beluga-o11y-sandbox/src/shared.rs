//! What the server's thread and the sandbox's owner share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::arrival::Listener;
use crate::fault::{self, Fault, Verdict};
use crate::langsmith::LangSmith;
use crate::opik::Opik;
use crate::request::Log;
use crate::role::Role;
use crate::stored::StoredCall;
#[cfg(feature = "otlp")]
use crate::{langfuse::Langfuse, otlp::Otlp, phoenix::Phoenix};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) opik: Opik,
    #[cfg(feature = "otlp")]
    pub(crate) langfuse: Langfuse,
    #[cfg(feature = "otlp")]
    pub(crate) phoenix: Phoenix,
    pub(crate) langsmith: LangSmith,
    #[cfg(feature = "otlp")]
    pub(crate) otlp: Otlp,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) listener: Listener,
    pub(crate) log: Mutex<Log>,
    pub(crate) faults: Mutex<Vec<Fault>>,
}

impl Shared {
    /// All backends, Opik first.
    pub(crate) fn roles(&self) -> Vec<&dyn Role> {
        vec![
            &self.opik,
            #[cfg(feature = "otlp")]
            &self.langfuse,
            #[cfg(feature = "otlp")]
            &self.phoenix,
            &self.langsmith,
            #[cfg(feature = "otlp")]
            &self.otlp,
        ]
    }

    /// The backend that a path belongs to, and the path behind its prefix. What has no prefix is Opik's.
    pub(crate) fn role_at<'a>(&self, path: &'a str) -> (&dyn Role, &'a str) {
        for role in self.roles() {
            if let Some(rest) = path.strip_prefix(role.prefix())
                && !role.prefix().is_empty()
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return (role, rest);
            }
        }
        (&self.opik, path)
    }

    /// The LLM calls that all backends show.
    pub(crate) fn calls(&self) -> Vec<StoredCall> {
        let calls = |role: &dyn Role| role.calls();
        self.roles().into_iter().flat_map(calls).collect()
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
}

/// A panic in a test's thread must not take the sandbox along.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
