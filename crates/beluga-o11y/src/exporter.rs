//! The door to a backend.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{ExportError, LLMCallData};

/// Sends finished LLM calls to a backend.
///
/// An implementor writes [`export_llm_call`](Self::export_llm_call) and [`name`](Self::name), and
/// gets the rest. It owes that:
///
/// - `Ok` means that the backend has taken the call. It sends what it is given once, does not
///   queue and does not retry, so that what wraps it can.
/// - A call that [`LLMCallData::validate`] refuses is refused with its words, as
///   [`Rejected`](crate::ExportErrorKind::Rejected): its content is not what the caller meant.
/// - Sending a call again under its [id](LLMCallData::id) makes no second one, if the backend can be
///   told so.
/// - An error's [`kind`](ExportError::kind) says what to do, its text holds neither a key nor content.
/// - A dropped future is a cancelled export: whether the backend has the call is then unknown.
///
/// ```
/// use beluga_o11y::{ExportError, LLMCallData, TraceExporter, async_trait};
///
/// #[derive(Debug)]
/// struct Print;
///
/// #[async_trait]
/// impl TraceExporter for Print {
///     fn name(&self) -> &str {
///         "print"
///     }
///
///     async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
///         println!("{} took {:?}", call.display_name(), call.duration);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait TraceExporter: Send + Sync {
    /// A short name in lower case, `opik`, for messages, statistics and file names.
    fn name(&self) -> &str;

    /// Sends one call and resolves when the backend has answered.
    ///
    /// # Errors
    ///
    /// The call was not taken, or it is unknown whether it was; see [`ExportError::kind`].
    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError>;

    /// Sends many calls. By default one after the other; backends that take many in one request
    /// override it.
    ///
    /// The report names the calls that were not taken, each with its error; all others were. The
    /// default stops at an error that [affects every call](crate::ExportErrorKind::affects_every_call)
    /// and reports the rest with it, untried.
    ///
    /// # Errors
    ///
    /// Treat the whole batch as undelivered. Part of it may be stored; sending the same calls again
    /// is safe.
    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        let mut stopped: Option<ExportError> = None;
        for (index, call) in calls.iter().enumerate() {
            let result = match &stopped {
                Some(error) => Err(error.clone()),
                None => self.export_llm_call(call).await,
            };
            if let Err(error) = result {
                if error.kind().affects_every_call() {
                    stopped = Some(error.clone());
                }
                report.push(index, error);
            }
        }
        Ok(report)
    }

    /// Waits until everything accepted so far has been sent. Nothing to do for an exporter that
    /// sends at once, which is the default.
    ///
    /// # Errors
    ///
    /// Something accepted earlier could not be sent.
    async fn flush(&self) -> Result<(), ExportError> {
        Ok(())
    }
}

/// What became of a batch: the calls that the backend did not take. All others were taken.
#[derive(Clone, Debug, Default)]
#[must_use = "calls that the backend did not take are named here and nowhere else"]
#[non_exhaustive]
pub struct BatchReport {
    /// The calls that were not taken, by their place in the batch, in ascending order.
    pub failures: Vec<BatchFailure>,
}

/// One call of a batch that was not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchFailure {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub error: ExportError,
}

impl BatchReport {
    /// Whether every call was taken.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// Adds a call that was not taken. Each place once, in ascending order.
    pub fn push(&mut self, index: usize, error: ExportError) {
        self.failures.push(BatchFailure { index, error });
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<E: TraceExporter + ?Sized> TraceExporter for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }

            async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
                (**self).export_llm_call(call).await
            }

            async fn export_batch(
                &self,
                calls: &[&LLMCallData],
            ) -> Result<BatchReport, ExportError> {
                (**self).export_batch(calls).await
            }

            async fn flush(&self) -> Result<(), ExportError> {
                (**self).flush().await
            }
        }
    )*};
}

forward!(Arc<E>, Box<E>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExportErrorKind;

    struct Picky;

    #[async_trait]
    impl TraceExporter for Picky {
        fn name(&self) -> &str {
            "picky"
        }

        async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
            match call.model.as_str() {
                "bad" => Err(ExportError::rejected("picky", "bad")),
                "down" => Err(ExportError::temporary("picky", "down")),
                _ => Ok(()),
            }
        }
    }

    async fn failures(models: &[&str]) -> Vec<(usize, ExportErrorKind)> {
        let calls: Vec<_> = models.iter().map(|m| LLMCallData::new("p", *m)).collect();
        let calls: Vec<_> = calls.iter().collect();
        let exporter: Box<dyn TraceExporter> = Box::new(Arc::new(Picky));
        let report = exporter.export_batch(&calls).await.unwrap();
        assert_eq!(report.is_complete(), report.failures.is_empty());
        let kinds = report.failures.iter().map(|f| (f.index, f.error.kind()));
        kinds.collect()
    }

    #[tokio::test]
    async fn the_default_batch_goes_on_after_a_bad_call_and_stops_when_the_backend_is_down() {
        use ExportErrorKind::{Rejected, Temporary};
        assert_eq!(failures(&["a", "b"]).await, []);
        assert_eq!(failures(&["a", "bad", "c"]).await, [(1, Rejected)]);
        assert_eq!(
            failures(&["bad", "b", "down", "d", "bad"]).await,
            [
                (0, Rejected),
                (2, Temporary),
                (3, Temporary),
                (4, Temporary)
            ]
        );
    }
}
