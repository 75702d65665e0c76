//! Several backends at once, called directly.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};

use crate::{BatchReport, ExportError, LLMCallData, TraceExporter};

/// Calls several exporters, side by side, and waits for all of them.
///
/// Each one is called whatever becomes of the others: an error or a panic of one (which becomes
/// that one's error) keeps no call from the rest. The first error in the order of registration is
/// returned; [`export_each`](Self::export_each) gives every exporter's own result.
///
/// It answers when the slowest has answered.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), beluga_o11y::ExportError> {
/// use beluga_o11y::{InMemoryExporter, LLMCallData, MultiExporter, TraceExporter};
///
/// let (a, b) = (InMemoryExporter::new(), InMemoryExporter::new());
/// let multi = MultiExporter::new().with(a.clone()).with(b.clone());
///
/// multi.export_llm_call(&LLMCallData::new("openai", "gpt-4o")).await?;
///
/// assert_eq!((a.len(), b.len()), (1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct MultiExporter {
    /// Each with its name.
    exporters: Vec<(String, Arc<dyn TraceExporter>)>,
}

impl MultiExporter {
    /// One that calls nobody yet, and so always succeeds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an exporter, after those already there.
    #[must_use]
    pub fn with(mut self, exporter: impl TraceExporter + 'static) -> Self {
        self.exporters
            .push((exporter.name().to_owned(), Arc::new(exporter)));
        self
    }

    /// Exports a call to every exporter and gives each one's own result, in the order of registration.
    pub async fn export_each(&self, call: &LLMCallData) -> Vec<(&str, Result<(), ExportError>)> {
        let results = self.all(|exporter| exporter.export_llm_call(call)).await;
        let names = self.exporters.iter().map(|(name, _)| name.as_str());
        names.zip(results).collect()
    }

    async fn all<'a, T, F>(
        &'a self,
        run: impl Fn(&'a dyn TraceExporter) -> F,
    ) -> Vec<Result<T, ExportError>>
    where
        F: Future<Output = Result<T, ExportError>>,
    {
        let run = &run;
        join_all(self.exporters.iter().map(|(name, exporter)| async move {
            // An exporter is called through `&self` and keeps its own state in order: one that
            // panicked is no more broken for this caller than for its others.
            let result = AssertUnwindSafe(async move { run(exporter.as_ref()).await });
            result.catch_unwind().await.unwrap_or_else(|_| {
                Err(ExportError::rejected(
                    name.clone(),
                    "the exporter panicked; this is a bug in it",
                ))
            })
        }))
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl TraceExporter for MultiExporter {
    fn name(&self) -> &str {
        "multi"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let results = self.all(|exporter| exporter.export_llm_call(call)).await;
        results.into_iter().collect()
    }

    /// The report has each call that some exporter did not take, with the first such error in the
    /// order of registration.
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let results = self.all(|exporter| exporter.export_batch(calls)).await;
        let reports: Vec<BatchReport> = results.into_iter().collect::<Result<_, _>>()?;
        let mut failures: Vec<_> = reports.into_iter().flat_map(|r| r.failures).collect();
        failures.sort_by_key(|failure| failure.index);
        failures.dedup_by_key(|failure| failure.index);
        Ok(BatchReport { failures })
    }

    async fn flush(&self) -> Result<(), ExportError> {
        let results = self.all(|exporter| exporter.flush()).await;
        results.into_iter().collect()
    }
}

impl fmt::Debug for MultiExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.exporters.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{ExportErrorKind, InMemoryExporter};

    enum Does {
        Fail,
        Panic,
        Sleep,
    }

    struct Fake(&'static str, Does);

    #[async_trait]
    impl TraceExporter for Fake {
        fn name(&self) -> &str {
            self.0
        }

        async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
            match self.1 {
                Does::Fail if call.model == "good" => Ok(()),
                Does::Fail => Err(ExportError::rejected(self.0, "no")),
                Does::Panic => panic!("broken exporter"),
                Does::Sleep => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok(())
                }
            }
        }

        async fn flush(&self) -> Result<(), ExportError> {
            Err(ExportError::temporary(self.0, "flush"))
        }
    }

    #[tokio::test]
    async fn all_are_called_and_the_first_error_is_returned() {
        let memory = InMemoryExporter::new();
        let multi = MultiExporter::new()
            .with(Fake("panics", Does::Panic))
            .with(Fake("fails", Does::Fail))
            .with(memory.clone());
        let call = LLMCallData::new("p", "m");

        let error = multi.export_llm_call(&call).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("panics: export: the exporter panicked")
        );
        assert_eq!(error.kind(), ExportErrorKind::Rejected);
        assert_eq!(memory.len(), 1);

        let each = multi.export_each(&call).await;
        let each: Vec<_> = each
            .iter()
            .map(|(name, result)| (*name, result.is_ok()))
            .collect();
        assert_eq!(
            each,
            [("panics", false), ("fails", false), ("memory", true)]
        );

        let error = multi.flush().await.unwrap_err();
        assert_eq!(error.to_string(), "panics: export: flush");
    }

    /// As `async_trait` would not write it: it panics before there is a future.
    struct PanicsAtOnce;

    impl TraceExporter for PanicsAtOnce {
        fn name(&self) -> &str {
            "at once"
        }

        fn export_llm_call<'s, 'c, 'a>(
            &'s self,
            _: &'c LLMCallData,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + 'a>>
        where
            's: 'a,
            'c: 'a,
            Self: 'a,
        {
            panic!("broken exporter")
        }
    }

    #[tokio::test]
    async fn a_panic_before_the_first_await_keeps_nothing_from_the_others() {
        let memory = InMemoryExporter::new();
        let multi = MultiExporter::new().with(PanicsAtOnce).with(memory.clone());
        let error = multi
            .export_llm_call(&LLMCallData::new("p", "m"))
            .await
            .unwrap_err();
        assert_eq!(error.exporter(), "at once");
        assert_eq!(memory.len(), 1);
    }

    #[tokio::test]
    async fn they_run_side_by_side() {
        let sleepers = ["a", "b", "c", "d", "e"].map(|name| Fake(name, Does::Sleep));
        let multi = sleepers
            .into_iter()
            .fold(MultiExporter::new(), MultiExporter::with);
        let start = Instant::now();
        multi
            .export_llm_call(&LLMCallData::new("p", "m"))
            .await
            .unwrap();
        assert!(start.elapsed() < Duration::from_millis(800));
    }

    #[tokio::test]
    async fn a_batch_reports_what_any_exporter_refused() {
        let memory = InMemoryExporter::new();
        let multi = MultiExporter::new()
            .with(Fake("x", Does::Fail))
            .with(memory.clone())
            .with(Fake("y", Does::Fail));
        let calls = ["good", "bad", "good"].map(|model| LLMCallData::new("p", model));
        let calls: Vec<_> = calls.iter().collect();
        let report = multi.export_batch(&calls).await.unwrap();
        let failures: Vec<_> = report
            .failures
            .iter()
            .map(|failure| (failure.index, failure.error.exporter()))
            .collect();
        assert_eq!(failures, [(1, "x")]);
        assert_eq!(memory.len(), 3);
    }
}
