//! What came of the cases.

use std::collections::BTreeMap;
use std::fmt;

use super::{Case, Feature};

/// What came of all cases. `Display` is a table with a row for each.
///
/// ```text
/// conformance: 35 ok, 1 not applicable, 1 failed
///   plain              ok              not compared: cost (Phoenix prices calls itself)
///   wrong_credentials  not applicable  the backend has no credentials
///   user               FAILED          user_id: expected "user 7", saw nothing
/// ```
#[derive(Clone, Debug)]
#[must_use = "a failed case is told here and nowhere else"]
pub struct Report {
    cases: Vec<CaseReport>,
}

impl Report {
    pub(crate) fn new(cases: Vec<CaseReport>) -> Self {
        Self { cases }
    }

    /// The cases in the order in which they ran.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// Whether no case failed.
    pub fn is_ok(&self) -> bool {
        self.cases.iter().all(CaseReport::is_ok)
    }

    /// For a test: does nothing if no case failed.
    ///
    /// # Panics
    ///
    /// With the table, if one did.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.is_ok(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: fn(&Verdict) -> bool| {
            let verdicts = self.cases.iter().map(|report| &report.verdict);
            verdicts.filter(|verdict| of(verdict)).count()
        };
        write!(
            f,
            "conformance: {} ok, {} not applicable, {} failed",
            count(|verdict| *verdict == Verdict::Ok),
            count(|verdict| matches!(verdict, Verdict::NotApplicable(_))),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
        )?;
        self.cases
            .iter()
            .try_for_each(|case| write!(f, "\n  {case}"))
    }
}

/// What came of one case. `Display` is its row of the table; a failed one may have several lines.
#[derive(Clone, Debug)]
#[must_use = "a failed case is told here and nowhere else"]
#[non_exhaustive]
pub struct CaseReport {
    /// The case.
    pub case: Case,
    /// What came of it.
    pub verdict: Verdict,
    /// What was not compared, and why, as [`Subject::not_shown`](super::Subject::not_shown) has it.
    pub not_compared: BTreeMap<Feature, &'static str>,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// All was as it must be, but for what was not compared.
    Ok,
    /// The case says nothing about this backend: why.
    NotApplicable(String),
    /// What was expected and what was seen, each difference with a sentence of its own. The text quotes the suite's own calls
    /// only.
    Failed(Vec<String>),
}

impl CaseReport {
    /// Whether it did not fail.
    pub fn is_ok(&self) -> bool {
        !matches!(self.verdict, Verdict::Failed(_))
    }

    /// For a test: does nothing if the case did not fail.
    ///
    /// # Panics
    ///
    /// With its row, if it did.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.is_ok(), "{self}");
    }
}

/// As wide as the longest name of a case.
pub(crate) const NAME_WIDTH: usize = 23;
/// As wide as "not applicable".
const VERDICT_WIDTH: usize = 14;

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, mut lines) = match &self.verdict {
            Verdict::Ok => ("ok", Vec::new()),
            Verdict::NotApplicable(why) => ("not applicable", vec![why.clone()]),
            Verdict::Failed(what) => ("FAILED", what.clone()),
        };
        if !self.not_compared.is_empty() {
            let all: Vec<_> = self
                .not_compared
                .iter()
                .map(|(feature, why)| format!("{feature} ({why})"))
                .collect();
            lines.push(format!("not compared: {}", all.join(", ")));
        }
        let head = format!(
            "{:NAME_WIDTH$}  {verdict:VERDICT_WIDTH$}  ",
            self.case.name()
        );
        let next_line = format!("\n  {:width$}", "", width = head.len());
        f.write_str(format!("{head}{}", lines.join(&next_line)).trim_end())
    }
}
