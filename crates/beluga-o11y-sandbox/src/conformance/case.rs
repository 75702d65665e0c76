//! The cases by name.

use std::fmt;
use std::pin::Pin;

use super::{
    CASE_LIMIT, CaseReport, Feature, Subject, Verdict,
    runner::{self, Ended},
    steps,
    trial::Trial,
};

type Steps = for<'t> fn(&'t mut Trial) -> Pin<Box<dyn Future<Output = ()> + 't>>;

/// One thing that an exporter must do.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    about: &'static str,
    /// Without any of these there is nothing to look at.
    features: &'static [Feature],
    run: Steps,
}

impl Case {
    /// Its name, in snake case.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is about, in a sentence.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Runs it on a subject that `start` makes. Never panics.
    pub fn run<S: Subject + 'static>(
        &self,
        start: impl FnOnce() -> S + Send + 'static,
    ) -> CaseReport {
        let case = *self;
        let work = move || runner::block_on(async move { case.try_on(Box::new(start())).await });
        let failed = |what: String| CaseReport {
            case,
            verdict: Verdict::Failed(vec![what]),
            not_compared: Default::default(),
        };
        match runner::in_thread(CASE_LIMIT, work) {
            Ended::With(report) => report,
            Ended::Panicked(words) => failed(words),
            Ended::Late => failed(format!(
                "expected an end, saw none within {} s",
                CASE_LIMIT.as_secs()
            )),
        }
    }

    async fn try_on(self, subject: Box<dyn Subject>) -> CaseReport {
        let reasons: Vec<_> = self
            .features
            .iter()
            .map(|feature| Some((*feature, subject.not_shown(*feature, self.name)?)))
            .collect();
        let reasons: Option<Vec<_>> = reasons.into_iter().collect();
        if let Some(reasons) = reasons.filter(|reasons| !reasons.is_empty()) {
            let reasons: Vec<_> = reasons
                .iter()
                .map(|(feature, why)| format!("{feature}: {why}"))
                .collect();
            return CaseReport {
                case: self,
                verdict: Verdict::NotApplicable(reasons.join(", ")),
                not_compared: Default::default(),
            };
        }
        let mut trial = Trial::new(self.name, self.features, subject);
        (self.run)(&mut trial).await;
        let (verdict, not_compared) = trial.end();
        CaseReport {
            case: self,
            verdict,
            not_compared,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

macro_rules! table {
    ($($module:ident {$($name:ident [$($feature:ident)*] $about:literal;)*})*) => {
        &[$($(Case {
            name: stringify!($name),
            about: $about,
            features: &[$(Feature::$feature),*],
            run: |trial| Box::pin(steps::$module::$name(trial)),
        }),*),*]
    };
}

/// All cases, in the order in which [`run`](super::run) runs them.
pub fn cases() -> &'static [Case] {
    CASES
}

const CASES: &[Case] = table! {
    content {
        plain [] "a call as the documentation has it";
        tool_calls_openai [Messages Response] "tool calls and a tool's answer in OpenAI's shape";
        tool_calls_anthropic [Messages Response] "tool calls and a tool's answer as Anthropic's content blocks";
        image_urls [Messages] "images as URLs";
        image_base64 [Messages] "images as base64";
        unicode [] "emoji, right to left, combining marks, line separators, in every text";
        control_characters [] "U+0000, U+0001, escape and newlines in every text of the caller";
        half_characters [Messages Response Metadata] "JSON text that was cut within a surrogate pair";
        empty_content [] "an empty string, an empty array, null, nothing at all";
        huge_content [Messages Response] "a megabyte of text, both ways";
    }
    fields {
        error_text [Error] "an error that is a plain text";
        error_kind_and_trace [Error ErrorKind ErrorTrace] "an error with kind, message and trace";
        error_without_message [Error] "an error of which only the kind is known";
        cached_tokens [CacheReadTokens CacheWriteTokens] "tokens read from and written to a cache";
        reasoning_tokens [ReasoningTokens] "tokens that were reasoning";
        unknown_tokens_and_cost [InputTokens OutputTokens Cost] "unknown counts and cost are absent, not 0";
        zero_tokens_and_cost [InputTokens OutputTokens Cost] "counts and a cost of 0 stay 0";
        model_parameters [ModelParameters] "temperature, stop sequences, tools";
        call_name [Name] "the caller's name for it";
        session [SessionId] "the session";
        user [UserId] "the user";
        tags [Tags] "tags, one with a comma and one with a blank";
        environment_and_release [Environment Release] "where the program runs, and its version";
        nested_metadata [Metadata] "objects, arrays, 30 levels, and keys with dots, blanks and Unicode";
        metadata_types [Metadata] "numbers, large and small, true, false and null as metadata";
        times [StartTime Duration TimeToFirstToken] "start, duration and time to the first token, of an hour ago";
        own_id [Id] "an id that the caller gave";
        own_trace [TraceId ParentSpanId] "a trace and a parent span that are the caller's own";
    }
    batches {
        empty_batch [] "a batch of none";
        batch_of_1000 [] "a thousand calls arrive, each once";
        bad_calls_in_a_batch [] "bad calls are reported by their places, and cost no other";
        invalid_calls [] "what no backend can take is refused, with the reason, and does not arrive";
        sent_twice [Once] "a call that is sent again, alone and in a batch, is one call";
    }
    conduct {
        name [] "a short name in lower case";
        wrong_credentials [] "a wrong key is an error of the destination, which shows no key and no prompt";
        server_down [] "a backend that is not there is a temporary error, and soon";
        cancelled_future [] "a dropped future leaves the exporter in order";
        shared [] "many tasks use one exporter, by way of Arc and Box";
        several_runtimes [] "an exporter outlives the runtime that it was first used in";
        no_runtime [] "without a Tokio runtime: an error or success, no panic and no hanging";
        flush [] "flush succeeds when all has been sent";
    }
};
