//! The suite that every exporter must pass, and how to run it on yours.
//!
//! What a [`TraceExporter`] owes is written in its docs. Here it is tried: a few dozen [cases], from a plain
//! call to a cancelled future, each against an exporter and a backend that are made for it. You say how to make them,
//! and what the backend shows afterwards; this is the [`Subject`]:
//!
//! ```
//! use std::sync::Arc;
//!
//! use beluga_o11y::{LLMCallData, TraceExporter, async_trait};
//! use beluga_o11y_sandbox::conformance::{self, Feature, Subject};
//! # use beluga_o11y::InMemoryExporter as MyExporter;
//!
//! struct Mine(MyExporter);
//!
//! #[async_trait]
//! impl Subject for Mine {
//!     fn exporter(&self) -> Arc<dyn TraceExporter> {
//!         Arc::new(self.0.clone())
//!     }
//!
//!     async fn arrived(&self) -> Vec<LLMCallData> {
//!         self.0.calls().iter().map(|call| (**call).clone()).collect()
//!     }
//!
//!     fn not_shown(&self, feature: Feature, _case: &str) -> Option<&'static str> {
//!         (feature == Feature::Once).then_some("it keeps all that it is given")
//!     }
//! }
//!
//! // In a test, `#[test]` or any other.
//! let report = conformance::run(|| Mine(MyExporter::new()));
//! println!("{report}");
//! report.assert();
//! ```
//!
//! What has arrived is told as [`LLMCallData`] again, filled with what the backend shows. An exporter to a backend that
//! the [`Sandbox`](crate::Sandbox) plays has that for nothing: a [`StoredCall`](crate::StoredCall) converts
//! into one.
//!
//! Nothing is skipped silently. What the backend cannot show, [`Subject::not_shown`] says, with the reason, and the
//! report has it in the row of each case that would have looked at it. A subject without
//! [`with_wrong_credentials`](Subject::with_wrong_credentials) or [`down`](Subject::down) has those cases reported as not
//! applicable.
//!
//! [`cases`] lists the cases by name, for those who want each as a test of its own:
//!
//! ```
//! # use std::sync::Arc;
//! # use beluga_o11y::{InMemoryExporter, LLMCallData, TraceExporter, async_trait};
//! # use beluga_o11y_sandbox::conformance::{self, Feature, Subject};
//! # struct Mine(InMemoryExporter);
//! # #[async_trait]
//! # impl Subject for Mine {
//! #     fn exporter(&self) -> Arc<dyn TraceExporter> { Arc::new(self.0.clone()) }
//! #     async fn arrived(&self) -> Vec<LLMCallData> { self.0.calls().iter().map(|call| (**call).clone()).collect() }
//! # }
//! # fn start() -> Mine { Mine(InMemoryExporter::new()) }
//! let plain = conformance::cases().iter().find(|case| case.name() == "plain");
//! assert!(plain.unwrap().run(start).is_ok());
//! ```
//!
//! # What counts as the same
//!
//! A call has arrived if the backend shows one that is the same in all that was given, with these tolerances, since
//! backends have columns:
//!
//! - **Times** (start, duration, time to first token) may differ by 1 ms. No duration and one of 0 are the same.
//! - **Cost** may differ by a billionth of itself. **JSON numbers** are compared by value: `1` and `1.0` are the same, whole
//!   numbers must agree to the last digit, others to 12 digits.
//! - **Empty content** (`null`, `""`, `[]`, `{}`) and none are the same. An empty string where text may be absent is none.
//! - **Messages and response** may arrive as the list of the one message that was given, or that says it: `"Paris"` as
//!   `[{"role": "assistant", "content": "Paris"}]`.
//! - **U+0000** may arrive as U+FFFD, the replacement character. PostgreSQL cannot hold it.
//! - **Tags** are a set. The **name** of a call is compared if one was given.
//! - **An error's** kind, message and trace must be there if they were given, or stand in one text, where a backend has
//!   no more; those that were not given may be filled in.
//! - **Metadata** may have more entries than were given. The **provider** is compared in lower case.
//! - **Ids** are compared where they are what the case is about; elsewhere the backend's own are fine.
//!
//! Everything else that was not given must not be shown: no tokens of 0 for unknown ones, no user that nobody named.
//!
//! # How it runs
//!
//! Each case has a thread and a Tokio runtime of its own, so [`run`] is an ordinary function, a panic is a failed case and
//! so is one that hangs ([`CASE_LIMIT`]). The subject is made in that runtime and lives as long as its case. The thread
//! that called waits; do not call it where a server of the subject's needs that thread.

use std::sync::Arc;
use std::time::Duration;

use beluga_o11y::{LLMCallData, TraceExporter, async_trait};

mod case;
mod compare;
mod feature;
mod from_stored;
mod report;
mod runner;
mod steps;
#[cfg(test)]
mod tests;
mod trial;

pub use case::{Case, cases};
pub use feature::Feature;
pub use report::{CaseReport, Report, Verdict};

/// How long a case may take. One that takes longer has failed, and its thread is left to itself.
pub const CASE_LIMIT: Duration = Duration::from_secs(60);

/// How soon an exporter must say that the backend is not there.
pub const DOWN_LIMIT: Duration = Duration::from_secs(10);

/// An exporter and its backend, both new: what a case is tried on.
///
/// Two functions are required; the others say what the backend does not have.
#[async_trait]
pub trait Subject: Send + Sync {
    /// An exporter to the backend. Asked again, another one to the same backend.
    fn exporter(&self) -> Arc<dyn TraceExporter>;

    /// The calls that the backend shows, in any order, each filled with what it shows of it. Calls that the suite did not
    /// send are none of it.
    async fn arrived(&self) -> Vec<LLMCallData>;

    /// Why this cannot be seen in the backend, in this case; `None` if it can, which is the default. Then it is not
    /// compared, and the report says so.
    fn not_shown(&self, feature: Feature, case: &str) -> Option<&'static str> {
        let (_, _) = (feature, case);
        None
    }

    /// An exporter with this key, which the backend refuses. `None`, the default: the backend has no credentials.
    fn with_wrong_credentials(&self, key: &str) -> Option<Arc<dyn TraceExporter>> {
        let _ = key;
        None
    }

    /// An exporter to a backend that is not there, for example a port where nobody listens. `None`, the default: the
    /// backend is always there.
    fn down(&self) -> Option<Arc<dyn TraceExporter>> {
        None
    }

    /// How long it may take until the backend shows what it took. The suite asks again until then. Default: no
    /// time at all.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// Runs all cases, one after the other, each on a subject that `start` makes for it.
pub fn run<S: Subject + 'static>(start: impl Fn() -> S + Send + Sync + 'static) -> Report {
    let start = Arc::new(start);
    let run = |case: &Case| {
        let start = Arc::clone(&start);
        case.run(move || start())
    };
    Report::new(cases().iter().map(run).collect())
}
