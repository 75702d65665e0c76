//! For the programs in the directories beside this file, which each have it as a module: three backends to report to,
//! and what they must have stored.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use beluga_o11y::{CallError, FanOut, Json, LLMCallData, Usage};
use beluga_o11y_langfuse::LangfuseExporter;
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_phoenix::PhoenixExporter;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Backend, Sandbox, StoredCall};
use beluga_o11y_tracing::LlmCallLayer;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// What a case comes to.
pub type Outcome = Result<(), Box<dyn Error>>;

/// What every prompt here says.
pub const PREAMBLE: &str = "Be brief.";
pub const QUESTION: &str = "What is the capital of France?";
/// What `llm_server.py` answers.
pub const ANSWER: &str = "Paris is the capital.";
/// Words of these, and of the tool's description, arguments and result. They must be nowhere while content is off.
const CONTENT: [&str; 4] = ["brief", "France", "Paris", "of a city"];

/// What is expected of one call. Where it has a trace or a parent, that is a label: calls with the same label must
/// have the same id, and calls with different ones must not. Its metadata must be there, among other entries. The
/// message of its error must be part of the one that is there.
pub type Wanted = LLMCallData;

/// A call of this model that was answered as `llm_server.py` answers, with content off.
pub fn answered(model: &str) -> Wanted {
    let usage = Usage::new(40, 25).with_cache_read(16);
    Wanted::new("openai", model).with_usage(usage.with_reasoning(9))
}

/// The same, but streamed.
pub fn streamed(model: &str) -> Wanted {
    let usage = Usage::new(140, 125).with_cache_read(16);
    Wanted::new("openai", model).with_usage(usage.with_reasoning(9))
}

/// With the duration of a call that is cancelled.
pub fn interrupted(wanted: Wanted) -> Wanted {
    wanted.with_duration(PATIENCE)
}

/// A call of this model of which no answer was recorded: that it failed or was cancelled is inferred.
pub fn unanswered(model: &str) -> Wanted {
    Wanted::new("openai", model)
        .with_error(CallError::new("no answer was recorded"))
        .with_metadata("error_inferred", true)
}

/// A call of this model of which nothing is known: with this library and this sort of call, an answer may leave as
/// little behind as none.
pub fn unknown(model: &str) -> Wanted {
    Wanted::new("openai", model)
}

/// The messages of a question, in OpenAI's shape.
pub fn question() -> Value {
    json!([{"role": "system", "content": PREAMBLE}, {"role": "user", "content": QUESTION}])
}

/// The message that calls the tool, in OpenAI's shape.
pub fn tool_call() -> Value {
    let function = json!({"name": "weather", "arguments": r#"{"city":"Paris"}"#});
    json!({"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]})
}

/// The messages after the tool has answered.
pub fn with_tool_result(result: &str) -> Value {
    let mut messages = question();
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": result});
    if let Value::Array(messages) = &mut messages {
        messages.extend([tool_call(), result]);
    }
    messages
}

/// The answer must be the server's.
pub fn expect_answer(answer: &str) -> Outcome {
    match answer {
        ANSWER => Ok(()),
        other => Err(format!("the answer is '{other}'").into()),
    }
}

/// The call must fail.
pub fn expect_error<T, E>(result: Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Err("it should have failed".into()),
        Err(_) => Ok(()),
    }
}

/// How long a call lasts before it is cancelled.
const PATIENCE: Duration = Duration::from_millis(300);

/// Drops the future after a moment, which must not have been enough for it.
pub async fn cancelled(future: impl Future<Output = ()>) -> Outcome {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(()) => Err("it should have taken longer".into()),
        Err(_) => Ok(()),
    }
}

/// The backends, with a pipeline to each.
pub struct Backends {
    sandbox: Sandbox,
    pipelines: [(Backend, Pipeline); 3],
    /// How many calls of each were looked at.
    seen: usize,
    failures: usize,
}

impl Backends {
    /// Starts them, and has all LLM calls of this process reported to them.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let sandbox = Sandbox::start()?;
        let opik = OpikExporter::builder()
            .with_base_url(sandbox.opik_url())
            .build()?;
        let langfuse = LangfuseExporter::builder()
            .with_base_url(sandbox.langfuse_url())
            .with_public_key(Sandbox::LANGFUSE_PUBLIC_KEY)
            .with_secret_key(Sandbox::LANGFUSE_SECRET_KEY)
            .build()?;
        let phoenix = PhoenixExporter::builder()
            .with_base_url(sandbox.phoenix_url())
            .with_project("live")
            .build()?;
        let pipelines = [
            (Backend::Opik, Pipeline::builder(opik).spawn()?),
            (Backend::Langfuse, Pipeline::builder(langfuse).spawn()?),
            (Backend::Phoenix, Pipeline::builder(phoenix).spawn()?),
        ];
        let all = pipelines.iter().fold(FanOut::new(), |all, (_, pipeline)| {
            all.with(pipeline.clone())
        });

        // What the log would print is of no interest. That it wants no span of level INFO is: the layer must get them.
        let log = tracing_subscriber::fmt::layer()
            .with_writer(std::io::sink)
            .with_filter(LevelFilter::WARN);
        tracing_subscriber::registry()
            .with(log)
            .with(LlmCallLayer::new(all))
            .try_init()?;
        Ok(Self {
            sandbox,
            pipelines,
            seen: 0,
            failures: 0,
        })
    }

    /// Runs a case, looks at what has arrived everywhere, and prints a line.
    pub async fn case(
        &mut self,
        name: &str,
        run: impl Future<Output = Outcome>,
        wanted: Vec<Wanted>,
    ) {
        let outcome = run.await.map_err(|error| format!("it failed: {error}"));
        let mut complaints: Vec<_> = outcome.err().into_iter().collect();
        complaints.extend(self.complaints(&wanted));
        self.seen += wanted.len();
        if complaints.is_empty() {
            println!("   {name}: {}", counted(wanted.len()));
            return;
        }
        self.failures += 1;
        println!("   {name}: FAILED");
        for complaint in complaints {
            println!("      {complaint}");
        }
        for call in self.arrived(Backend::Opik) {
            println!("      in Opik: {}", json!(call));
        }
        // Whatever came is no part of the next case.
        let arrived = self
            .pipelines
            .iter()
            .map(|(backend, _)| self.sandbox.calls_of(*backend).len());
        self.seen = arrived.max().unwrap_or(self.seen);
    }

    /// The end: no case has failed, and nothing arrives late.
    pub fn end(mut self) -> ExitCode {
        for complaint in self.complaints(&[]) {
            println!("   at the end: {complaint}");
            self.failures += 1;
        }
        match self.failures {
            0 => ExitCode::SUCCESS,
            failures => {
                println!("{failures} of the cases failed");
                ExitCode::FAILURE
            }
        }
    }

    /// The calls of the current case: session after session, trace after trace, in the order in which they were made.
    fn arrived(&self, backend: Backend) -> Vec<StoredCall> {
        let mut calls = self.sandbox.calls_of(backend);
        calls.drain(..self.seen.min(calls.len()));
        calls.sort_by_key(|call| call.start_time);
        let trace = |call: &StoredCall| LLMCallData::from(call.clone()).trace_id;
        let traces: Vec<_> = calls.iter().map(trace).collect();
        calls.sort_by_key(|call| {
            let number = traces.iter().position(|id| *id == trace(call));
            (call.session_id.clone(), number)
        });
        calls
    }

    fn complaints(&self, wanted: &[Wanted]) -> Vec<String> {
        let mut complaints = Vec::new();
        for (backend, pipeline) in &self.pipelines {
            // It blocks, but nothing else is to be done meanwhile.
            let report = pipeline.flush_within(Duration::from_secs(10));
            if report.pending > 0 || report.stats.has_losses() {
                complaints.push(format!(
                    "{backend:?}: not all was delivered: {}",
                    report.stats
                ));
            }
            let arrived = self.arrived(*backend);
            if arrived.len() != wanted.len() {
                let (here, wanted) = (counted(arrived.len()), wanted.len());
                complaints.push(format!("{backend:?}: {here} where {wanted} should be"));
                continue;
            }
            let mut labels = Labels::default();
            for (number, (stored, wanted)) in arrived.into_iter().zip(wanted).enumerate() {
                let found = differences(*backend, &stored, wanted, &mut labels);
                complaints.extend(
                    found
                        .into_iter()
                        .map(|what| format!("{backend:?}, call {number}: {what}")),
                );
            }
        }
        complaints
    }
}

fn counted(calls: usize) -> String {
    match calls {
        1 => "1 call".to_owned(),
        calls => format!("{calls} calls"),
    }
}

/// Which id each label stands for, of traces and of parents.
#[derive(Default)]
struct Labels(BTreeMap<(&'static str, String), String>);

impl Labels {
    fn complaint(&mut self, kind: &'static str, label: &str, id: &str) -> Option<String> {
        let id = id.to_owned();
        let own = (kind, label.to_owned());
        let other = self
            .0
            .iter()
            .find(|(known, theirs)| known.0 == kind && **known != own && **theirs == id);
        if let Some((known, _)) = other {
            return Some(format!("its {kind} is that of '{}'", known.1));
        }
        let known = self.0.entry(own).or_insert_with(|| id.clone());
        (*known != id).then(|| format!("its {kind} is not that of the others of '{label}'"))
    }
}

/// In what a stored call is not what was wanted.
fn differences(
    backend: Backend,
    stored: &StoredCall,
    wanted: &Wanted,
    labels: &mut Labels,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, is: &dyn std::fmt::Debug, should_be: &dyn std::fmt::Debug| {
        let (is, should_be) = (format!("{is:?}"), format!("{should_be:?}"));
        if is != should_be {
            found.push(format!("{what} is {is}, should be {should_be}"));
        }
    };
    // It has the ids as they were handed over, where the backend has them under names of its own.
    let call = LLMCallData::from(stored.clone());
    compare("provider", &call.provider.to_lowercase(), &wanted.provider);
    compare("model", &call.model, &wanted.model);
    compare("usage", &call.usage, &wanted.usage);
    compare("session", &call.session_id, &wanted.session_id);
    compare("user", &call.user_id, &wanted.user_id);
    compare("tags", &call.tags, &wanted.tags);
    let parameters = value(call.model_parameters.as_ref());
    let wanted_parameters = value(wanted.model_parameters.as_ref());
    // As values: objects know no order.
    if wanted_parameters.is_some() && parameters != wanted_parameters {
        compare("model parameters", &parameters, &wanted_parameters);
    }
    for (what, is, should_be) in [
        ("input", stored.input.as_ref(), wanted.messages.as_ref()),
        ("output", stored.output.as_ref(), wanted.response.as_ref()),
    ] {
        let should_be = value(should_be);
        if !says(is, should_be.as_ref()) {
            compare(what, &is, &should_be.as_ref());
        }
    }
    for (key, should_be) in &wanted.metadata {
        let (is, should_be) = (value(call.metadata.get(key)), value(Some(should_be)));
        // Langfuse keeps metadata as text.
        let as_text = should_be
            .as_ref()
            .map(|value| Value::String(value.to_string()));
        if is != should_be && is != as_text {
            compare(key, &is, &should_be);
        }
    }

    if call
        .duration
        .is_none_or(|took| took < wanted.duration.unwrap_or_default())
    {
        compare("duration", &call.duration, &wanted.duration);
    }

    match (&call.error, &wanted.error) {
        (None, None) => {}
        (Some(is), Some(should_be)) => {
            // Langfuse has only a message; there the kind is a part of it. Others make a kind up where there is none.
            let kind = should_be.kind.as_deref().unwrap_or_default();
            let kind_is_there = match backend {
                Backend::Langfuse => is.message.contains(kind),
                _ => kind.is_empty() || is.kind.as_deref() == Some(kind),
            };
            if !kind_is_there || !is.message.contains(&should_be.message) {
                let (is, should_be) = ((&is.kind, &is.message), (kind, &should_be.message));
                found.push(format!("error is {is:?}, should be {should_be:?}"));
            }
        }
        (Some(is), None) => found.push(format!("it has an error: {:?} {}", is.kind, is.message)),
        (None, Some(_)) => found.push("it has no error".to_owned()),
    }
    if wanted.time_to_first_token.is_some() != call.time_to_first_token.is_some() {
        found.push(format!(
            "time to the first token: {:?}",
            call.time_to_first_token
        ));
    }
    if let (Some(label), Some(id)) = (&wanted.trace_id, &call.trace_id) {
        found.extend(labels.complaint("trace", label, id));
    }
    match (&wanted.parent_span_id, &call.parent_span_id) {
        (None, None) => {}
        (Some(label), Some(id)) => found.extend(labels.complaint("parent", label, id)),
        (None, Some(id)) => found.push(format!("it has a parent: {id}")),
        (Some(_), None) => found.push("it has no parent".to_owned()),
    }
    if wanted.messages.is_none() && wanted.response.is_none() {
        let all = json!(stored).to_string();
        let words = CONTENT.iter().filter(|word| all.contains(*word));
        found.extend(words.map(|word| format!("content is off, and '{word}' is there: {all}")));
    }
    found
}

fn value(json: Option<&Json>) -> Option<Value> {
    json.and_then(|json| json.read().ok())
}

/// Whether this is shown where that was handed over. A backend may make a list of messages of the one text.
fn says(shown: Option<&Value>, meant: Option<&Value>) -> bool {
    let (Some(shown), Some(meant)) = (shown, meant) else {
        let nothing = |value: Option<&Value>| {
            value.is_none_or(|value| value.is_null() || *value == json!({}) || *value == json!([]))
        };
        return nothing(shown) && nothing(meant);
    };
    shown == meant
        || *shown == json!([meant])
        || *shown == json!({"role": "assistant", "content": meant})
        || *shown == json!([{"role": "assistant", "content": meant}])
}
