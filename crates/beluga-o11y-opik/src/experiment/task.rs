//! What a task of an experiment makes of an item.

use std::{error::Error, sync::Arc};

use beluga_o11y::{CallError, LLMCallData};
use serde_json::Value;

use crate::{AgentRun, FeedbackScore};

/// What a task may fail with: any error, by `?`.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// What a task made of an item: a call, or the run of an agent, with scores.
///
/// A call that failed is a result too: give it its [`error`](LLMCallData::error), and its tokens and its latency are
/// kept, which they are not when the task itself fails.
#[derive(Clone, Debug)]
pub struct TaskOutput {
    pub(crate) made: Made,
    pub(crate) scores: Vec<FeedbackScore>,
}

#[derive(Clone, Debug)]
pub(crate) enum Made {
    Call(Arc<LLMCallData>),
    Run(AgentRun),
}

impl TaskOutput {
    /// Adds a score. What is wrong with it is told in the summary.
    #[must_use]
    pub fn with_score(mut self, score: FeedbackScore) -> Self {
        self.scores.push(score);
        self
    }

    /// The answer, for whoever scores it: the call's response, or the run's output. Text without its quotes, anything
    /// else as JSON; empty if there is none.
    pub fn text(&self) -> String {
        let response = match &self.made {
            Made::Call(call) => call.response.clone(),
            Made::Run(run) => run.output(),
        };
        let Some(response) = response else {
            return String::new();
        };
        match response.read() {
            Ok(Value::String(text)) => text,
            _ => response.as_str().to_owned(),
        }
    }

    pub(crate) fn is_call(&self) -> bool {
        matches!(self.made, Made::Call(_))
    }

    /// The calls that were made: one, or those of the run.
    pub fn calls(&self) -> Vec<Arc<LLMCallData>> {
        match &self.made {
            Made::Call(call) => vec![Arc::clone(call)],
            Made::Run(run) => run.calls(),
        }
    }

    /// What it failed with, if it did.
    pub fn error(&self) -> Option<CallError> {
        match &self.made {
            Made::Call(call) => call.error.clone().filter(|error| !error.is_empty()),
            Made::Run(run) => run.error(),
        }
    }
}

impl From<LLMCallData> for TaskOutput {
    fn from(call: LLMCallData) -> Self {
        Arc::new(call).into()
    }
}

impl From<Arc<LLMCallData>> for TaskOutput {
    fn from(call: Arc<LLMCallData>) -> Self {
        Self {
            made: Made::Call(call),
            scores: Vec::new(),
        }
    }
}

/// The run is sent if it has not been.
impl From<AgentRun> for TaskOutput {
    fn from(run: AgentRun) -> Self {
        Self {
            made: Made::Run(run),
            scores: Vec::new(),
        }
    }
}
