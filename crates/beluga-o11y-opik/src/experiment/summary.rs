//! What an experiment came to.

use std::collections::BTreeMap;

use beluga_o11y::{CallError, ExportError, LLMCallData, Submission};
use uuid::Uuid;

use crate::OpikError;

/// What a run of an experiment came to. Calls, tokens and cost are those of what was run now; the scores are those of
/// all items that were given, also of those that were skipped.
#[derive(Clone, Debug, Default)]
#[must_use = "failures are named here"]
#[non_exhaustive]
pub struct ExperimentSummary {
    /// The items that were run.
    pub items: usize,
    /// The items that had a result already.
    pub skipped: usize,
    /// The calls that were made, several for an item that is an agent's run.
    pub calls: usize,
    /// The items whose task, call or export failed.
    pub errors: usize,
    /// Input tokens of all calls that tell; none if none does.
    pub input_tokens: Option<u64>,
    /// Output tokens of all calls that tell; none if none does.
    pub output_tokens: Option<u64>,
    /// USD, of all calls that tell; none if none does.
    pub cost: Option<f64>,
    /// Each score by its name: of what was run now, and of the items that were skipped.
    pub scores: BTreeMap<String, ScoreSummary>,
    /// What went wrong, in order of arrival: with an item, or with a score of it.
    pub failures: Vec<TaskFailure>,
}

/// A score over the items that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ScoreSummary {
    /// How many items have it.
    pub count: usize,
    /// The arithmetic mean.
    pub mean: f64,
}

/// What went wrong with an item.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskFailure {
    /// The item's id, if it has one.
    pub item: Option<Uuid>,
    /// What went wrong.
    pub problem: TaskProblem,
}

/// What can go wrong with an item of an experiment.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskProblem {
    /// The task gave an error, panicked ([`CallError::PANIC`]) or took too long ([`CallError::TIMEOUT`]), or the call
    /// that it made failed. It is recorded in Opik as a trace with that error. The text may quote a prompt.
    #[error("the task failed: {}", .0.message)]
    Failed(CallError),
    /// The scorer panicked, so that its scores are missing, or the sink, so that the call is.
    #[error("{what} panicked")]
    Panicked {
        /// Which of them.
        what: &'static str,
    },
    /// Opik does not take what the task gave: there is no trace of it, or, of an agent's run, not all.
    #[error("{0}")]
    Refused(ExportError),
    /// The pipeline did not take the call, or left it out as one of those that are not sampled; there is no trace of it.
    #[error("the pipeline did not take the call: {}", reason(.0))]
    NotAccepted(Submission),
    /// The item cannot be linked, or a score cannot be written. The trace is stored.
    #[error("{0}")]
    Opik(OpikError),
}

fn reason(submission: &Submission) -> String {
    match submission {
        Submission::Refused(refusal) => refusal.to_string(),
        Submission::SampledOut => "sampled out".to_owned(),
        _ => "not accepted".to_owned(),
    }
}

impl ExperimentSummary {
    pub(crate) fn count_call(&mut self, call: &LLMCallData) {
        let add = |sum: &mut Option<u64>, tokens: Option<u64>| {
            if let Some(tokens) = tokens {
                *sum = Some(sum.unwrap_or(0).saturating_add(tokens));
            }
        };
        self.calls += 1;
        add(&mut self.input_tokens, call.usage.input_tokens);
        add(&mut self.output_tokens, call.usage.output_tokens);
        // Others are refused.
        let cost = call.cost.filter(|cost| cost.is_finite() && *cost >= 0.0);
        if let Some(cost) = cost {
            self.cost = Some(self.cost.unwrap_or(0.0) + cost);
        }
    }

    pub(crate) fn count_score(&mut self, name: &str, value: f64) {
        let score = self.scores.entry(name.to_owned()).or_default();
        score.count += 1;
        // No sum of many large values.
        #[expect(
            clippy::cast_precision_loss,
            reason = "as exact as a mean of so many can be"
        )]
        let count = score.count as f64;
        score.mean += (value - score.mean) / count;
    }
}
