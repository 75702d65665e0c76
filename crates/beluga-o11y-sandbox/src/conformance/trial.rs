//! One case being tried: what it does, and what it finds.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beluga_o11y::{BatchReport, ExportError, ExportErrorKind, LLMCallData, TraceExporter};
use serde_json::json;

use super::{Feature, Subject, Verdict, compare::compare, runner::Ended};

/// Stands in every call's messages, and must stand in no error.
pub(crate) const PROMPT: &str = "canary-prompt-9c41d2";
/// The key that every backend refuses.
pub(crate) const WRONG_KEY: &str = "canary-key-5b3a7e";

/// So many failures of a case are told one by one.
const MAX_FAILURES: usize = 8;
/// How often a backend is asked that takes its time.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What a case works with.
pub(crate) struct Trial {
    case: &'static str,
    about: &'static [Feature],
    pub(crate) subject: Box<dyn Subject>,
    pub(crate) exporter: Arc<dyn TraceExporter>,
    failures: Vec<String>,
    not_applicable: Option<&'static str>,
    not_compared: BTreeMap<Feature, &'static str>,
}

impl Trial {
    pub(crate) fn new(
        case: &'static str,
        about: &'static [Feature],
        subject: Box<dyn Subject>,
    ) -> Self {
        let exporter = subject.exporter();
        Self {
            case,
            about,
            subject,
            exporter,
            failures: Vec::new(),
            not_applicable: None,
            not_compared: BTreeMap::new(),
        }
    }

    /// What came of it.
    pub(crate) fn end(mut self) -> (Verdict, BTreeMap<Feature, &'static str>) {
        let more = self.failures.len().saturating_sub(MAX_FAILURES);
        if more > 0 {
            self.failures.truncate(MAX_FAILURES);
            self.failures.push(format!("and {more} more"));
        }
        let verdict = match self.not_applicable {
            _ if !self.failures.is_empty() => Verdict::Failed(self.failures),
            Some(why) => Verdict::NotApplicable(why.into()),
            None => Verdict::Ok,
        };
        (verdict, self.not_compared)
    }

    pub(crate) fn not_applicable(&mut self, why: &'static str) {
        self.not_applicable = Some(why);
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// A failure, unless it is so.
    pub(crate) fn expect(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.fail(otherwise());
        }
    }

    /// Exports a call, which must succeed, and must then be shown as the only one.
    pub(crate) async fn deliver(&mut self, call: LLMCallData) {
        self.deliver_all(&[call]).await;
    }

    /// Exports calls one after the other; all must succeed, and these and no others must then be shown.
    pub(crate) async fn deliver_all(&mut self, calls: &[LLMCallData]) {
        let exporter = Arc::clone(&self.exporter);
        for call in calls {
            let result = exporter.export_llm_call(call).await;
            self.succeeded("the export", &result);
        }
        self.shows(calls).await;
    }

    /// A failure, unless it succeeded.
    pub(crate) fn succeeded(&mut self, what: &str, result: &Result<(), ExportError>) -> bool {
        if let Err(error) = result {
            self.fail(format!(
                "expected {what} to succeed, saw \"{error}\" ({})",
                error.kind()
            ));
        }
        result.is_ok()
    }

    /// A failure, unless the whole batch was taken.
    pub(crate) fn took_all(&mut self, what: &str, result: &Result<BatchReport, ExportError>) {
        match result {
            Ok(report) => {
                if let Some(first) = report.failures.first() {
                    self.fail(format!(
                        "expected {what} to be taken, saw {} failures, the first at {}: \"{}\"",
                        report.failures.len(),
                        first.index,
                        first.error
                    ));
                }
            }
            Err(error) => self.fail(format!("expected {what} to be taken, saw \"{error}\"")),
        }
    }

    /// A failure, unless it is an error of this kind that is well formed and quotes nothing.
    pub(crate) fn failed_as(
        &mut self,
        what: &str,
        kind: ExportErrorKind,
        result: Result<(), ExportError>,
    ) {
        match result {
            Ok(()) => self.fail(format!("{what}: expected an error ({kind}), saw success")),
            Err(error) => self.is_error(what, kind, &error),
        }
    }

    pub(crate) fn is_error(&mut self, what: &str, kind: ExportErrorKind, error: &ExportError) {
        let (name, text) = (self.exporter.name().to_owned(), error.to_string());
        self.expect(error.kind() == kind, || {
            format!(
                "{what}: expected the kind {kind}, saw {} (\"{text}\")",
                error.kind()
            )
        });
        let start = format!("{name}: export: ");
        self.expect(text.starts_with(&start), || {
            format!("{what}: expected an error that starts with \"{start}\", saw \"{text}\"")
        });
        let mut all = format!("{text} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            all.push_str(&format!(" {error} {error:?}"));
            cause = error.source();
        }
        for (canary, it_is) in [(PROMPT, "the prompt"), (WRONG_KEY, "the key")] {
            self.expect(!all.contains(canary), || {
                format!("{what}: expected an error without {it_is}, saw {it_is} in it")
            });
        }
    }

    /// A failure, unless the backend shows these calls, each once, and no others.
    pub(crate) async fn shows(&mut self, given: &[LLMCallData]) {
        let seen = self.arrived(given.len()).await;
        if let ([given], [seen]) = (given, seen.as_slice()) {
            return self.is_same(given, seen, "");
        }
        let mut by_model: BTreeMap<&str, Vec<&LLMCallData>> = BTreeMap::new();
        for call in &seen {
            by_model.entry(&call.model).or_default().push(call);
        }
        for given in given {
            match by_model.remove(given.model.as_str()).as_deref() {
                Some([seen]) => self.is_same(given, seen, &format!("{}: ", given.model)),
                Some(several) => self.fail(format!(
                    "expected the call of {} once, saw it {} times",
                    given.model,
                    several.len()
                )),
                None => self.fail(format!(
                    "expected the call of {}, saw it not at all",
                    given.model
                )),
            }
        }
        for model in by_model.keys() {
            self.fail(format!("expected no call of {model}, saw one"));
        }
    }

    /// What the backend shows, as soon as it has so many, or when its patience ends.
    pub(crate) async fn arrived(&mut self, count: usize) -> Vec<LLMCallData> {
        let deadline = Instant::now() + self.subject.patience();
        loop {
            let seen = self.subject.arrived().await;
            if seen.len() >= count || Instant::now() >= deadline {
                return seen;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn is_same(&mut self, given: &LLMCallData, seen: &LLMCallData, which: &str) {
        use Feature::{Id, ParentSpanId, TraceId};
        for comparison in compare(given, seen) {
            let visible = match comparison.feature {
                Some(feature @ (Id | TraceId | ParentSpanId)) if !self.about.contains(&feature) => {
                    false
                }
                Some(feature) => self.is_shown(feature, comparison.given),
                None => true,
            };
            if let Some(difference) = comparison.difference.filter(|_| visible) {
                self.fail(format!("{which}{difference}"));
            }
        }
    }

    /// Whether the backend shows it. If not, and there is something to be shown, the report will say so.
    pub(crate) fn is_shown(&mut self, feature: Feature, relevant: bool) -> bool {
        let why = self.subject.not_shown(feature, self.case);
        if let Some(why) = why
            && (relevant || self.about.contains(&feature))
        {
            self.not_compared.insert(feature, why);
        }
        why.is_none()
    }

    /// The result of work in another thread; a failure if there is none.
    pub(crate) fn ended<T>(&mut self, what: &str, ended: Ended<T>) -> Option<T> {
        match ended {
            Ended::With(result) => return Some(result),
            Ended::Panicked(words) => self.fail(format!("{what}: {words}")),
            Ended::Late => self.fail(format!("{what}: expected an end, saw none in time")),
        }
        None
    }
}

/// A call that differs from others by its model. Its messages hold [`PROMPT`].
pub(crate) fn call(model: &str) -> LLMCallData {
    LLMCallData::new("openai", model)
        .with_messages(json!([{"role": "user", "content": format!("{PROMPT}: are you {model}?")}]))
        .with_response(format!("Yes, I am {model}."))
        .with_tokens(12, 5)
        .with_duration(Duration::from_millis(840))
}
