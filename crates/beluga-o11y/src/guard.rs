//! Measures a call while it is made.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;

use crate::{CallError, CallSink, Json, LLMCallData, Submission, Usage, record};

/// A call that is being made. It measures the duration and the time to the first token, collects
/// partial output, and submits exactly one record, however the call ends:
///
/// | ending | record |
/// |---|---|
/// | [`finish`](Self::finish) with [`Usage`] | as measured |
/// | [`finish`](Self::finish) with `None` | the same, without token counts |
/// | [`finish`](Self::finish) after [`response`](Self::response) with tool calls | the same, with that response |
/// | [`fail`](Self::fail) with an error, or with [`CallError::TIMEOUT`] | the error, and what had arrived |
/// | [`cancel`](Self::cancel), or dropped early: an abandoned future, an early `?` | kind [`CallError::CANCELLED`], and what had arrived |
/// | dropped by a panic | kind [`CallError::PANIC`], and what had arrived |
///
/// Get one from [`CallSink::start`]. A stream that is read in chunks looks like this:
///
/// ```
/// # struct Chunk { text: &'static str }
/// # let stream = [Chunk { text: "Par" }, Chunk { text: "is" }];
/// # let last = serde_json::json!({"usage": {"input_tokens": 12, "output_tokens": 2}});
/// use beluga_o11y::{CallSink, InMemoryExporter, Usage};
/// use serde_json::json;
///
/// let sink = InMemoryExporter::new();
/// let mut call = sink.start("anthropic", "claude-sonnet-4-5");
/// call.messages(json!([{"role": "user", "content": "What is the capital of France?"}]));
/// for chunk in stream {
///     call.partial(chunk.text);
/// }
/// call.finish(Usage::from_anthropic(&last));
///
/// let call = &sink.calls()[0];
/// assert_eq!(call.response.as_ref().unwrap().as_str(), "\"Paris\"");
/// assert_eq!(call.usage.output_tokens, Some(2));
/// assert!(call.time_to_first_token <= call.duration);
/// ```
#[must_use = "a guard that is dropped at once reports a cancelled call"]
pub struct CallGuard {
    // None once the record has been submitted.
    sink: Option<Arc<dyn CallSink>>,
    started: Instant,
    partial: String,
    call: LLMCallData,
}

impl CallGuard {
    /// Starts to measure now.
    pub fn new(
        sink: Arc<dyn CallSink>,
        provider: impl Into<String>,
        model: impl Into<String>,
    ) -> Self {
        Self {
            sink: Some(sink),
            started: Instant::now(),
            partial: String::new(),
            call: LLMCallData::new(provider, model).with_start_time(record::now()),
        }
    }

    /// Sets what is sent to the model, from anything that serialises.
    pub fn messages(&mut self, messages: impl Serialize) {
        self.call.messages = Some(Json::new(&messages));
    }

    /// Sets the parameters of the request, from anything that serialises.
    pub fn model_parameters(&mut self, parameters: impl Serialize) {
        self.call.model_parameters = Some(Json::new(&parameters));
    }

    /// Notes that the first token has arrived. Only the first time counts;
    /// [`partial`](Self::partial) does it too.
    pub fn first_token(&mut self) {
        self.first_token_at(Instant::now());
    }

    fn first_token_at(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        self.call.time_to_first_token.get_or_insert(elapsed);
    }

    /// Adds a piece of the answer's text. What has been added is the response of the record, unless
    /// [`response`](Self::response) gives another. An empty piece, as some APIs send first, is not
    /// the first token.
    pub fn partial(&mut self, text: &str) {
        if !text.is_empty() {
            self.first_token();
            self.partial.push_str(text);
        }
    }

    /// Sets the answer, from anything that serialises: text, a message, tool calls.
    pub fn response(&mut self, response: impl Serialize) {
        self.call.response = Some(Json::new(&response));
    }

    /// The record, for everything else: session, user, tags, metadata. Set fields of it; to replace it
    /// whole would lose its start and [`id`](Self::id). Its duration is set at the end.
    pub fn call_mut(&mut self) -> &mut LLMCallData {
        &mut self.call
    }

    /// The id that the record will have.
    pub fn id(&self) -> uuid::Uuid {
        self.call.id()
    }

    /// The call has succeeded. `None` if its token counts are unknown.
    pub fn finish(mut self, usage: impl Into<Option<Usage>>) -> Submission {
        if let Some(usage) = usage.into() {
            self.call.usage = usage;
        }
        self.submit_at(Instant::now())
    }

    /// The call has failed. An error that says nothing becomes one that says so much.
    pub fn fail(mut self, error: impl Into<CallError>) -> Submission {
        let error = error.into();
        self.end_with(if error.is_empty() {
            CallError::new("the call failed")
        } else {
            error
        })
    }

    /// The call has been given up. Dropping the guard does the same.
    pub fn cancel(mut self) -> Submission {
        self.end_with(cancelled())
    }

    fn end_with(&mut self, error: CallError) -> Submission {
        self.call.error = Some(error);
        self.submit_at(Instant::now())
    }

    fn submit_at(&mut self, now: Instant) -> Submission {
        let Some(sink) = self.sink.take() else {
            return Submission::Accepted;
        };
        let mut call = std::mem::replace(&mut self.call, LLMCallData::new("", ""));
        call.duration = Some(now.saturating_duration_since(self.started));
        if call.response.is_none() && !self.partial.is_empty() {
            call.response = Some(Json::new(&self.partial));
        }
        sink.submit(call)
    }
}

fn cancelled() -> CallError {
    CallError::new("the call was given up before its end").with_kind(CallError::CANCELLED)
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.sink.is_none() {
            return;
        }
        let error = if std::thread::panicking() {
            CallError::new("a panic ended the call").with_kind(CallError::PANIC)
        } else {
            cancelled()
        };
        // A second panic while one unwinds would abort the process, and a sink may be anybody's.
        let _ = catch_unwind(AssertUnwindSafe(|| self.end_with(error)));
    }
}

impl fmt::Debug for CallGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard")
            .field("call", &self.call)
            .field("partial_bytes", &self.partial.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::InMemoryExporter;

    fn guard() -> (CallGuard, InMemoryExporter) {
        let sink = InMemoryExporter::new();
        (sink.start("openai", "gpt-4o"), sink)
    }

    fn only(sink: &InMemoryExporter) -> Arc<LLMCallData> {
        let calls = sink.take();
        assert_eq!(calls.len(), 1, "exactly one record");
        Arc::clone(&calls[0])
    }

    fn kind(call: &LLMCallData) -> Option<&str> {
        call.error.as_ref().and_then(|error| error.kind.as_deref())
    }

    fn response(call: &LLMCallData) -> &str {
        call.response.as_ref().map_or("", Json::as_str)
    }

    #[test]
    fn done() {
        let (mut guard, sink) = guard();
        let id = guard.id();
        guard.messages(json!([{"role": "user", "content": "hi"}]));
        guard.model_parameters(json!({"temperature": 0.2}));
        guard.response("hello");
        guard.call_mut().session_id = Some("s".into());
        assert!(guard.finish(Usage::new(12, 5)).is_accepted());
        let call = only(&sink);
        assert_eq!((call.id(), &call.error), (id, &None));
        assert_eq!(call.usage, Usage::new(12, 5));
        assert_eq!(response(&call), "\"hello\"");
        assert_eq!(call.session_id.as_deref(), Some("s"));
        assert!(call.messages.is_some() && call.model_parameters.is_some());
        assert!(call.duration.is_some());
    }

    #[test]
    fn error() {
        let (mut guard, sink) = guard();
        guard.partial("hel");
        guard.fail(CallError::new("429").with_kind("RateLimitError"));
        let call = only(&sink);
        assert_eq!(kind(&call), Some("RateLimitError"));
        assert_eq!(response(&call), "\"hel\"");
    }

    #[test]
    fn an_error_without_words_is_still_an_error() {
        let (guard, sink) = guard();
        guard.fail("");
        assert_eq!(only(&sink).error, Some(CallError::new("the call failed")));
    }

    #[test]
    fn dropped() {
        let (mut guard, sink) = guard();
        guard.partial("hel");
        drop(guard);
        let call = only(&sink);
        assert_eq!(kind(&call), Some(CallError::CANCELLED));
        assert_eq!(response(&call), "\"hel\"");
    }

    #[tokio::test]
    async fn timeout() {
        // Outside of the future that times out: the program says what happened.
        let (outer, sink) = guard();
        let never = std::future::pending::<()>();
        if tokio::time::timeout(Duration::from_millis(5), never)
            .await
            .is_err()
        {
            outer.fail(CallError::new("no answer in 5 ms").with_kind(CallError::TIMEOUT));
        }
        assert_eq!(kind(&only(&sink)), Some(CallError::TIMEOUT));

        // Inside of it: the guard goes with the future.
        let (inner, sink) = guard();
        let call = async move {
            std::future::pending::<()>().await;
            inner.finish(None);
        };
        assert!(
            tokio::time::timeout(Duration::from_millis(5), call)
                .await
                .is_err()
        );
        assert_eq!(kind(&only(&sink)), Some(CallError::CANCELLED));
    }

    #[test]
    fn cancel() {
        let (guard, sink) = guard();
        guard.cancel();
        assert_eq!(kind(&only(&sink)), Some(CallError::CANCELLED));
    }

    #[test]
    fn panic() {
        let (guard, sink) = guard();
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(kind(&only(&sink)), Some(CallError::PANIC));
    }

    #[test]
    fn no_usage() {
        let (guard, sink) = guard();
        guard.finish(None);
        let call = only(&sink);
        assert_eq!((call.usage, &call.error), (Usage::default(), &None));
    }

    #[test]
    fn tool_call() {
        let (mut guard, sink) = guard();
        guard.partial("Let me look. ");
        guard.response(json!({"tool_calls": [{"name": "weather"}]}));
        guard.finish(Usage::new(12, 5));
        assert_eq!(
            response(&only(&sink)),
            r#"{"tool_calls":[{"name":"weather"}]}"#
        );
    }

    #[test]
    fn a_sink_that_panics_while_a_panic_unwinds_does_not_abort() {
        struct Broken;
        impl CallSink for Broken {
            fn submit_shared(&self, _: Arc<LLMCallData>) -> Submission {
                panic!("broken sink")
            }
        }
        let guard = CallGuard::new(Arc::new(Broken), "p", "m");
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
    }

    #[test]
    fn times_are_measured_from_the_start() {
        let (mut guard, sink) = guard();
        let start = guard.started;
        guard.partial("");
        assert_eq!(guard.call.time_to_first_token, None);
        guard.first_token_at(start + Duration::from_millis(120));
        guard.first_token_at(start + Duration::from_millis(500));
        guard.submit_at(start + Duration::from_millis(840));
        drop(guard);
        let call = only(&sink);
        assert_eq!(call.time_to_first_token, Some(Duration::from_millis(120)));
        assert_eq!(call.duration, Some(Duration::from_millis(840)));
        assert_eq!(
            call.end_time() - call.start_time(),
            chrono::TimeDelta::milliseconds(840)
        );
    }

    #[test]
    fn debug_shows_no_content() {
        let (mut guard, _sink) = guard();
        guard.partial("SECRET");
        guard.messages("SECRET");
        assert!(!format!("{guard:?}").contains("SECRET"));
        guard.cancel();
    }
}
