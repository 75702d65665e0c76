//! The suite itself: what is right passes, and each case catches an exporter that is wrong in its way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use beluga_o11y::{
    BatchReport, CallError, ExportError, ExportErrorKind, InMemoryExporter, Json, Usage,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::trial::PROMPT;
use super::*;

const NAME: &str = "flawed";

/// An exporter to memory that is right in all, but wrong in one way: that of its case.
struct Flawed {
    flaw: &'static str,
    memory: Arc<InMemoryExporter>,
    busy: AtomicBool,
    runtime: OnceLock<Handle>,
    sent: Mutex<u32>,
}

impl Flawed {
    fn is(&self, flaw: &str) -> bool {
        self.flaw == flaw
    }

    fn keep(&self, call: &LLMCallData) {
        let mut calls = vec![call.clone()];
        spoil(self.flaw, &mut calls);
        if !self.is("sent_twice") {
            let known: BTreeSet<_> = self.memory.calls().iter().map(|call| call.id()).collect();
            calls.retain(|call| !known.contains(&call.id()));
        }
        for call in calls {
            let kept = beluga_o11y::CallSink::submit(&*self.memory, call);
            assert!(kept.is_accepted());
        }
    }
}

/// What the backend has of a call, after a flaw.
fn spoil(flaw: &str, calls: &mut Vec<LLMCallData>) {
    let Some(call) = calls.first_mut() else {
        return;
    };
    let error = call.error.clone();
    let text = |change: &dyn Fn(char) -> bool, json: &Option<Json>| {
        let text = json.as_ref()?.read::<Value>().ok()?.to_string();
        let kept: String = text.chars().filter(|c| !change(*c)).collect();
        Some(Json::parse(kept).unwrap_or_else(|_| Json::new("broken")))
    };
    match flaw {
        "plain" => call.cost = None,
        "tool_calls_openai" => call.response = Some(Json::new("null")),
        "tool_calls_anthropic" | "image_urls" | "image_base64" => {
            let flat = call.messages.as_ref().map(|json| Json::new(json.as_str()));
            call.messages = flat;
        }
        "unicode" => call.session_id = call.session_id.take().map(|id| id.replace('\u{200d}', "")),
        "control_characters" => call.messages = text(&|c| c == '\\', &call.messages),
        "half_characters" => {
            let cut = |json: &Json| Json::parse(json.as_str().replace("\\ufffd", "?")).unwrap();
            call.messages = call.messages.as_ref().map(cut);
        }
        "empty_content"
            if call
                .response
                .as_ref()
                .is_some_and(|json| json.as_str() == "null") =>
        {
            call.response = Some(Json::new("null"));
        }
        "huge_content" => {
            let cut = |json: &Json| match json.read::<Value>() {
                Ok(Value::String(text)) if text.len() > 100_000 => {
                    Json::new(&text.chars().take(50_000).collect::<String>())
                }
                _ => json.clone(),
            };
            call.response = call.response.as_ref().map(cut);
        }
        "error_text" => call.error = None,
        "error_kind_and_trace" => {
            call.error = error.map(|error| CallError::new(error.message));
        }
        "error_without_message" => {
            call.error = error.filter(|error| !error.message.is_empty());
        }
        "cached_tokens" if call.provider == "anthropic" => {
            // Charged twice.
            let usage = call.usage;
            call.usage.input_tokens = usage
                .input_tokens
                .map(|input| input + usage.cache_read_tokens.unwrap_or(0));
        }
        "reasoning_tokens" => call.usage.reasoning_tokens = None,
        "unknown_tokens_and_cost" => {
            let Usage {
                input_tokens,
                output_tokens,
                ..
            } = call.usage;
            call.usage.input_tokens = Some(input_tokens.unwrap_or(0));
            call.usage.output_tokens = Some(output_tokens.unwrap_or(0));
        }
        "zero_tokens_and_cost" => call.cost = call.cost.filter(|cost| *cost > 0.0),
        "model_parameters" => call.model_parameters = None,
        "call_name" => call.name = None,
        "session" => call.session_id = None,
        "user" => call.user_id = call.session_id.clone(),
        "tags" => {
            let joined = call.tags.join(",");
            call.tags = joined.split(',').map(str::to_owned).collect();
        }
        "environment_and_release" => call.release = None,
        "nested_metadata" => {
            // As what reads every number as a double.
            for json in call.metadata.values_mut() {
                let read = json
                    .as_str()
                    .replace("9007199254740993", "9007199254740992");
                *json = Json::parse(read).unwrap();
            }
        }
        "metadata_types" => {
            for json in call.metadata.values_mut() {
                *json = Json::new(json.as_str());
            }
        }
        // When it is sent, not when it was.
        "times" => {
            *call = call
                .clone()
                .with_start_time(chrono::Utc::now() - call.duration.unwrap_or_default())
        }
        "own_id" => *call = call.clone().with_id(uuid::Uuid::new_v4()),
        "own_trace" => call.trace_id = None,
        "empty_batch" => {}
        "batch_of_1000" if call.model.ends_with("0999") => calls.clear(),
        _ => {}
    }
}

#[async_trait]
impl TraceExporter for Flawed {
    fn name(&self) -> &str {
        if self.is("name") { "My Exporter" } else { NAME }
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        if let Err(invalid) = call.validate() {
            if self.is("invalid_calls") {
                return Ok(());
            }
            return Err(ExportError::rejected(NAME, invalid.to_string()));
        }
        if self.is("no_runtime") {
            // Panics.
            let _handle = Handle::current();
        }
        if self.is("several_runtimes") {
            let runtime = self.runtime.get_or_init(Handle::current);
            let done = runtime.spawn(async {}).await;
            done.map_err(|_| ExportError::temporary(NAME, "the runtime is gone"))?;
        }
        if self.is("shared") || self.is("cancelled_future") {
            if self.busy.swap(true, Ordering::AcqRel) {
                return Err(ExportError::temporary(NAME, "busy"));
            }
            tokio::task::yield_now().await;
            self.busy.store(false, Ordering::Release);
        }
        *self.sent.lock().unwrap() += 1;
        self.keep(call);
        Ok(())
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        if self.is("empty_batch") && calls.is_empty() {
            return Err(ExportError::rejected(NAME, "a batch of none"));
        }
        if self.is("bad_calls_in_a_batch") && calls.iter().any(|call| call.validate().is_err()) {
            return Err(ExportError::rejected(NAME, "one is bad"));
        }
        for (index, call) in calls.iter().enumerate() {
            if let Err(error) = self.export_llm_call(call).await {
                report.push(index, error);
            }
        }
        Ok(report)
    }

    async fn flush(&self) -> Result<(), ExportError> {
        if self.is("flush") && *self.sent.lock().unwrap() > 0 {
            return Err(ExportError::temporary(NAME, "not now"));
        }
        Ok(())
    }
}

/// One that never takes anything.
struct Refuses(ExportError);

#[async_trait]
impl TraceExporter for Refuses {
    fn name(&self) -> &str {
        NAME
    }

    async fn export_llm_call(&self, _: &LLMCallData) -> Result<(), ExportError> {
        Err(self.0.clone())
    }
}

struct FlawedSubject {
    flaw: &'static str,
    memory: Arc<InMemoryExporter>,
}

fn flawed(flaw: &'static str) -> impl Fn() -> FlawedSubject {
    move || FlawedSubject {
        flaw,
        memory: Arc::default(),
    }
}

#[async_trait]
impl Subject for FlawedSubject {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        Arc::new(Flawed {
            flaw: self.flaw,
            memory: Arc::clone(&self.memory),
            busy: AtomicBool::new(false),
            runtime: OnceLock::new(),
            sent: Mutex::new(0),
        })
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        let calls = self.memory.calls();
        calls.iter().map(|call| (**call).clone()).collect()
    }

    fn with_wrong_credentials(&self, key: &str) -> Option<Arc<dyn TraceExporter>> {
        let shown = if self.flaw == "wrong_credentials" {
            key
        } else {
            "the key"
        };
        let message = format!("401 Unauthorized: {shown} was refused");
        Some(Arc::new(Refuses(ExportError::destination(NAME, message))))
    }

    fn down(&self) -> Option<Arc<dyn TraceExporter>> {
        let kind = if self.flaw == "server_down" {
            ExportErrorKind::Rejected
        } else {
            ExportErrorKind::Temporary
        };
        Some(Arc::new(Refuses(ExportError::new(kind, NAME, "refused"))))
    }
}

#[test]
fn what_is_right_passes_everything() {
    let report = run(flawed("none"));
    report.assert();
    assert_eq!(report.cases().len(), cases().len());
    for case in report.cases() {
        assert_eq!(case.verdict, Verdict::Ok, "{case}");
        assert!(case.not_compared.is_empty(), "{case}");
    }
}

#[test]
fn every_case_catches_its_flaw() {
    for case in cases() {
        let report = case.run(flawed(case.name()));
        assert!(!report.is_ok(), "{report}");
        assert!(case.run(flawed("none")).is_ok());
    }
}

#[test]
fn names_are_unique_and_said_in_a_sentence() {
    let names: BTreeSet<_> = cases().iter().map(Case::name).collect();
    assert_eq!(names.len(), cases().len());
    assert!(cases().iter().all(|case| !case.about().is_empty()));
    let longest = names.iter().map(|name| name.len()).max();
    assert_eq!(longest, Some(report::NAME_WIDTH));
}

/// Shows no sessions, and no costs where they are 0.
struct Blind(FlawedSubject);

#[async_trait]
impl Subject for Blind {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        self.0.exporter()
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        self.0.arrived().await
    }

    fn not_shown(&self, feature: Feature, case: &str) -> Option<&'static str> {
        match feature {
            Feature::SessionId => Some("it has no sessions"),
            Feature::Cost if case == "zero_tokens_and_cost" => Some("it has no costs of 0"),
            _ => None,
        }
    }
}

#[test]
fn what_is_not_shown_is_not_compared_and_the_report_says_so() {
    let blind = |flaw| move || Blind(flawed(flaw)());
    let report = run(blind("zero_tokens_and_cost"));
    report.assert();
    let row = |name: &str| {
        let mut rows = report.cases().iter();
        rows.find(|row| row.case.name() == name).unwrap()
    };
    let not_applicable = |why: &str| Verdict::NotApplicable(why.into());
    assert_eq!(
        row("session").verdict,
        not_applicable("session_id: it has no sessions")
    );
    assert_eq!(
        row("wrong_credentials").verdict,
        not_applicable("the backend has no credentials")
    );
    assert_eq!(
        row("server_down").verdict,
        not_applicable("the backend is always there")
    );
    let zero = row("zero_tokens_and_cost").to_string();
    assert!(
        zero.ends_with("ok              not compared: cost (it has no costs of 0)"),
        "{zero}"
    );
    assert!(
        row("unicode")
            .not_compared
            .contains_key(&Feature::SessionId)
    );
    assert!(row("user").not_compared.is_empty());
    assert_eq!(row("plain").verdict, Verdict::Ok);

    // Only what was said to be hidden is.
    assert!(!cases()[0].run(blind("plain")).is_ok());
}

#[test]
fn a_table_tells_what_was_expected_and_seen() {
    let plain = cases()[0].run(flawed("plain"));
    assert_eq!(
        plain.to_string(),
        "plain                    FAILED          cost: expected 0.003 USD, saw nothing"
    );
    let report = Report::new(vec![plain, cases()[0].run(flawed("none"))]);
    let table = report.to_string();
    assert!(
        table.starts_with("conformance: 1 ok, 0 not applicable, 1 failed\n  plain "),
        "{table}"
    );
    let panic = std::panic::catch_unwind(|| report.assert()).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&table));
}

/// Shows nothing before it was asked some times.
struct Late {
    subject: FlawedSubject,
    patience: Duration,
    asked: AtomicU32,
}

#[async_trait]
impl Subject for Late {
    fn exporter(&self) -> Arc<dyn TraceExporter> {
        self.subject.exporter()
    }

    async fn arrived(&self) -> Vec<LLMCallData> {
        if self.asked.fetch_add(1, Ordering::AcqRel) < 2 {
            return Vec::new();
        }
        self.subject.arrived().await
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

#[test]
fn a_backend_that_takes_its_time_is_asked_again() {
    let late = |patience| {
        move || Late {
            subject: flawed("none")(),
            patience,
            asked: AtomicU32::new(0),
        }
    };
    cases()[0].run(late(Duration::from_secs(10))).assert();
    assert!(!cases()[0].run(late(Duration::ZERO)).is_ok());
}

#[test]
fn what_hangs_is_given_up() {
    let ended = runner::in_thread(Duration::from_millis(10), std::thread::park);
    assert!(matches!(ended, runner::Ended::Late));
}

#[test]
fn a_panic_is_a_failed_case() {
    let report = cases()[0].run(|| -> FlawedSubject { panic!("no backend today") });
    assert_eq!(
        report.verdict,
        Verdict::Failed(vec!["it panicked: no backend today".into()])
    );
}

/// What errors must not be like: each line is one that the suite finds fault with.
#[test]
fn errors_are_looked_at_from_all_sides() {
    #[derive(Clone)]
    struct Says(ExportError);

    #[async_trait]
    impl Subject for Says {
        fn exporter(&self) -> Arc<dyn TraceExporter> {
            Arc::new(Refuses(self.0.clone()))
        }

        async fn arrived(&self) -> Vec<LLMCallData> {
            Vec::new()
        }

        fn with_wrong_credentials(&self, _: &str) -> Option<Arc<dyn TraceExporter>> {
            Some(self.exporter())
        }
    }

    let case = cases()
        .iter()
        .find(|case| case.name() == "wrong_credentials");
    let verdict = |error: ExportError| case.unwrap().run(move || Says(error)).verdict;
    assert_eq!(verdict(ExportError::destination(NAME, "401")), Verdict::Ok);
    for (error, fault) in [
        (
            ExportError::temporary(NAME, "401"),
            "expected the kind destination, saw temporary",
        ),
        (
            ExportError::destination("other", "401"),
            "starts with \"flawed: export: \"",
        ),
        (
            ExportError::destination(NAME, format!("not sent: {PROMPT}")),
            "saw the prompt in it",
        ),
        (
            ExportError::destination(NAME, "401")
                .with_cause(json!({"key": trial::WRONG_KEY}).to_string()),
            "saw the key in it",
        ),
    ] {
        match verdict(error) {
            Verdict::Failed(what) => assert!(what[0].contains(fault), "{what:?}"),
            verdict => panic!("{verdict:?}"),
        }
    }
}
