//! The table that is printed.

use std::{
    fmt,
    io::{self, Write},
};

use crate::Result;

/// What a median should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

pub(crate) struct Table(io::Stdout);

/// With thousands separated; below a hundred, with two digits more.
struct Figure(f64);

impl Table {
    pub(crate) fn start() -> Result<Self> {
        let mut table = Self(io::stdout());
        table.line("", ["median", "lowest", "highest"], "")?;
        Ok(table)
    }

    pub(crate) fn title(&mut self, title: &str) -> Result<()> {
        Ok(writeln!(self.0, "\n{title}")?)
    }

    /// What was measured once.
    pub(crate) fn info(&mut self, what: &str, figure: f64) -> Result<()> {
        self.row(what, &[figure])
    }

    /// What was measured in each round.
    pub(crate) fn row(&mut self, what: &str, figures: &[f64]) -> Result<()> {
        self.print(what, figures, |_| String::new())
    }

    /// The same, and whether the median is as it should be.
    pub(crate) fn goal(&mut self, what: &str, figures: &[f64], goal: Goal) -> Result<()> {
        self.print(what, figures, |median| {
            let (goal, figure, met) = match goal {
                Goal::AtLeast(least) => ("at least", least, median >= least),
                Goal::AtMost(most) => ("at most", most, median <= most),
            };
            let verdict = if met { "met" } else { "missed" };
            format!("{goal} {}: {verdict}", Figure(figure))
        })
    }

    fn print(
        &mut self,
        what: &str,
        figures: &[f64],
        remark: impl FnOnce(f64) -> String,
    ) -> Result<()> {
        let mut figures = figures.to_vec();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let median = at(figures.len() / 2);
        let [lowest, highest] = match figures.len() {
            0 | 1 => [String::new(), String::new()],
            rounds => [0, rounds - 1].map(|index| Figure(at(index)).to_string()),
        };
        let median_text = Figure(median).to_string();
        self.line(what, [&median_text, &lowest, &highest], &remark(median))
    }

    fn line(&mut self, what: &str, figures: [&str; 3], remark: &str) -> Result<()> {
        let [median, lowest, highest] = figures;
        let line = format!("  {what:<44}{median:>10}{lowest:>10}{highest:>10}  {remark}");
        Ok(writeln!(self.0, "{}", line.trim_end())?)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 100.0 {
            return write!(f, "{:.2}", self.0);
        }
        let digits = format!("{:.0}", self.0);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                write!(f, ",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}
