//! Feedback scores: what people, tests or other models think of a trace or a span.

use std::fmt;

use beluga_o11y::LLMCallData;
use beluga_o11y_http::HttpRequest;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    OpikError, OpikExporter, WriteReport,
    ask::{checked_name, elements::Elements, json},
    convert,
    exporter::now,
    id,
};

/// The column is a decimal with nine digits on either side of the point, so the greatest value is 999999999.999999999
/// (`FeedbackScoreBatchItem.java`). As a double that is this already; the one before it is the greatest that fits.
const BEYOND: f64 = 1e9;

/// A score of a trace or a span: how good an answer is, by one measure.
///
/// ```
/// use beluga_o11y_opik::FeedbackScore;
///
/// let exact = FeedbackScore::new("exact_match", 1.0);
/// let judged = FeedbackScore::new("helpfulness", 0.4).with_reason("no source is named").with_category("poor");
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedbackScore {
    /// The measure, not blank. Opik keeps one score of a name for each trace, span and author, and replaces
    /// it by the next.
    pub name: String,
    /// Finite, from -999999999.999999999 to 999999999.999999999; Opik keeps nine digits after the point. Most measures
    /// go from 0 to 1.
    pub value: f64,
    /// Why, in words.
    pub reason: Option<String>,
    /// The word that stands for the value, as Opik's own categories have it: `good`, `poor`.
    pub category: Option<String>,
}

impl FeedbackScore {
    /// A score by a measure. What is wrong with it is told where it is written.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            reason: None,
            category: None,
        }
    }

    /// Why the score is what it is.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The word that stands for the value.
    #[must_use]
    pub fn with_category(mut self, category: impl Into<String>) -> Self {
        self.category = Some(category.into());
        self
    }

    pub(crate) fn check(&self) -> Result<(), OpikError> {
        checked_name("score", &self.name)?;
        let name = || self.name.clone();
        if !self.value.is_finite() {
            return Err(OpikError::ScoreNotFinite { name: name() });
        }
        if self.value.abs() >= BEYOND {
            return Err(OpikError::ScoreOutOfRange {
                name: name(),
                value: self.value,
            });
        }
        Ok(())
    }

    fn body<'a>(&'a self, id: Option<Uuid>, project_name: Option<&'a str>) -> Body<'a> {
        Body {
            id,
            project_name,
            name: self.name.trim(),
            category_name: self.category.as_deref(),
            value: self.value,
            reason: self.reason.as_deref(),
            source: "sdk",
        }
    }
}

/// Shows the size of the reason only, which may quote content.
impl fmt::Debug for FeedbackScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedbackScore")
            .field("name", &self.name)
            .field("value", &self.value)
            .field("reason_bytes", &self.reason.as_ref().map(String::len))
            .field("category", &self.category)
            .finish()
    }
}

/// As `FeedbackScoreBatchItem.java` has it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_name: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    category_name: Option<&'a str>,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    source: &'static str,
}

/// What can be scored.
#[derive(Clone, Copy)]
enum Scored {
    Trace,
    Span,
}

impl Scored {
    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Span => "span",
        }
    }

    fn not_found(self, id: Uuid) -> OpikError {
        match self {
            Self::Trace => OpikError::TraceNotFound { id },
            Self::Span => OpikError::SpanNotFound { id },
        }
    }
}

impl OpikExporter {
    /// The id of the trace that a call becomes, to score it or to link it. It is the call's own, unless that is not of
    /// version 7 or older than 23 hours, which Opik refuses.
    pub fn trace_id(&self, call: &LLMCallData) -> Uuid {
        convert::trace_id(call, now())
    }

    /// The id of the span that a call becomes beside its trace. In an [`AgentRun`](crate::AgentRun) a call is a span
    /// without a trace of its own, and [`trace_id`](Self::trace_id) gives that span's id.
    pub fn span_id(&self, call: &LLMCallData) -> Uuid {
        id::span_id(self.trace_id(call))
    }

    /// Scores a trace, and asks Opik whether it is there. A score of the same name is replaced.
    ///
    /// Opik stores a little after it has answered an export, so a trace that was sent a moment ago may not be found
    /// yet; [`score_traces`](Self::score_traces) does not ask.
    ///
    /// # Errors
    ///
    /// The score is bad ([`OpikError::BlankName`], [`OpikError::ScoreOutOfRange`], ..), the trace is not there
    /// ([`OpikError::TraceNotFound`]), or Opik is not to be reached or refuses. With an off switch on nothing is sent,
    /// and that is no error, as with an export.
    pub async fn score_trace(&self, trace: Uuid, score: FeedbackScore) -> Result<(), OpikError> {
        self.score_one(Scored::Trace, trace, score).await
    }

    /// Scores a span, otherwise as [`score_trace`](Self::score_trace).
    ///
    /// # Errors
    ///
    /// As of [`score_trace`](Self::score_trace); [`OpikError::SpanNotFound`] if the span is not there.
    pub async fn score_span(&self, span: Uuid, score: FeedbackScore) -> Result<(), OpikError> {
        self.score_one(Scored::Span, span, score).await
    }

    /// Scores traces of this exporter's project, a thousand in a request. Scores of the same name are replaced.
    ///
    /// A bad score is in the report; the others are stored. Opik does not ask whether a trace is there: it takes scores
    /// of traces that are on their way, and nobody ever sees one of a trace that never comes.
    /// [`score_trace`](Self::score_trace) asks.
    ///
    /// # Errors
    ///
    /// Opik is not to be reached, or refuses the key; scores may be stored. With an off switch on nothing is sent, and
    /// that is no error, as with an export.
    ///
    /// ```no_run
    /// use beluga_o11y_opik::{FeedbackScore, OpikExporter};
    ///
    /// # async fn run(opik: OpikExporter, call: beluga_o11y::LLMCallData) -> Result<(), Box<dyn std::error::Error>> {
    /// let trace = opik.trace_id(&call);
    /// let report = opik
    ///     .score_traces([
    ///         (trace, FeedbackScore::new("thumbs_up", 1.0)),
    ///         (trace, FeedbackScore::new("helpfulness", 0.9).with_reason("names its source")),
    ///     ])
    ///     .await?;
    /// for failure in &report.failures {
    ///     eprintln!("score {}: {}", failure.index, failure.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn score_traces(
        &self,
        scores: impl IntoIterator<Item = (Uuid, FeedbackScore)>,
    ) -> Result<WriteReport, OpikError> {
        self.score_many(Scored::Trace, scores).await
    }

    /// Scores spans, otherwise as [`score_traces`](Self::score_traces).
    ///
    /// # Errors
    ///
    /// As of [`score_traces`](Self::score_traces).
    pub async fn score_spans(
        &self,
        scores: impl IntoIterator<Item = (Uuid, FeedbackScore)>,
    ) -> Result<WriteReport, OpikError> {
        self.score_many(Scored::Span, scores).await
    }

    async fn score_one(
        &self,
        scored: Scored,
        id: Uuid,
        score: FeedbackScore,
    ) -> Result<(), OpikError> {
        score.check()?;
        check_id(scored.name(), id)?;
        if self.connection().is_none() {
            return Ok(());
        }
        let path = format!("v1/private/{}s/{id}/feedback-scores", scored.name());
        let body = json(&score.body(None, None));
        let request = HttpRequest::put(path, "application/json", body);
        match self.ask("score", request, &[404]).await?.status() {
            404 => Err(scored.not_found(id)),
            _ => Ok(()),
        }
    }

    async fn score_many(
        &self,
        scored: Scored,
        scores: impl IntoIterator<Item = (Uuid, FeedbackScore)>,
    ) -> Result<WriteReport, OpikError> {
        let mut report = WriteReport::default();
        let mut elements = Elements::default();
        let mut places = Vec::new();
        for (index, (id, score)) in scores.into_iter().enumerate() {
            match check_id(scored.name(), id).and_then(|()| score.check()) {
                Ok(()) => {
                    elements.push(&score.body(Some(id), Some(self.project())));
                    places.push(index);
                }
                Err(error) => report.push(index, error),
            }
        }
        let path = match scored {
            Scored::Trace => "v1/private/traces/feedback-scores",
            Scored::Span => "v1/private/spans/feedback-scores",
        };
        self.write_elements(
            "score",
            |body| HttpRequest::put(path, "application/json", body),
            ("{\"scores\":[", &elements),
            &places,
            &mut report,
        )
        .await?;
        Ok(report)
    }
}

pub(crate) fn check_id(of: &'static str, id: Uuid) -> Result<(), OpikError> {
    if id.get_version_num() == 7 {
        Ok(())
    } else {
        Err(OpikError::IdNotVersion7 { of, id })
    }
}
