//! What a command prints, and how it ends.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, ContentArrangement, Table, presets};
use console::Term;
use serde::Serialize;
use textwrap::WordSplitter;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// How a command ends when it does not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments or the settings are wrong: nothing was tried.
    #[error("{0}")]
    Settings(String),
    /// It was tried, and did not work.
    #[error("{0}")]
    Failed(String),
    /// The same, and everything about it has been said.
    #[error("failed")]
    Told,
    /// By a signal.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads any more what is printed.
    #[error("nobody reads the output")]
    BrokenPipe,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn settings(problem: impl Display) -> Self {
        Self::Settings(problem.to_string())
    }

    pub(crate) fn failed(problem: impl Display) -> Self {
        Self::Failed(problem.to_string())
    }

    /// Prints what there is to say, and gives the exit code.
    pub(crate) fn end(self) -> ExitCode {
        if let Self::Settings(problem) | Self::Failed(problem) = &self {
            complain(problem);
        }
        ExitCode::from(match self {
            Self::Failed(_) | Self::Told => 1,
            Self::Settings(_) => 2,
            Self::Interrupted => 130,
            // As a shell tells of SIGPIPE: whatever was going on, this is no success.
            Self::BrokenPipe => 141,
        })
    }
}

/// Writing to standard output failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

/// What somebody else wrote, for a terminal: nothing in it moves the cursor, changes colours or turns the direction of
/// writing.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let moves = |char: char| {
        char.is_control()
            || matches!(char, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match moves(char) {
            true => visible.extend(char.escape_default()),
            false => visible.push(char),
        }
    }
    Cow::Owned(visible)
}

/// The same of several lines.
pub(crate) fn visible_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(visible).collect();
    lines.join("\n")
}

/// An error, on standard error. If nobody reads that, there is nobody to tell.
pub(crate) fn complain(problem: impl Display) {
    let mut stderr = anstream::stderr().lock();
    let mut lines = lines(&Term::stderr(), &problem.to_string(), "error: ".len()).into_iter();
    let first = lines.next().unwrap_or_default();
    let _ = writeln!(stderr, "{RED}error:{RED:#} {first}");
    for line in lines {
        let _ = writeln!(stderr, "       {line}");
    }
}

/// A remark, on standard error.
pub(crate) fn remark(text: impl Display) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{}", visible(&text.to_string()));
}

/// A sentence of a summary, on standard output.
pub(crate) fn say(out: &mut dyn Write, text: impl Display) -> io::Result<()> {
    let mut indent = 0;
    for line in wrap(&text.to_string(), 2) {
        writeln!(out, "{:indent$}{line}", "")?;
        indent = 2;
    }
    Ok(())
}

/// JSON on one line.
pub(crate) fn json_line(out: &mut dyn Write, value: &impl Serialize) -> Outcome {
    let line = serde_json::to_string(value).map_err(Failure::failed)?;
    // Content is written as its author wrote it.
    writeln!(out, "{}", line.replace(['\n', '\r'], " "))?;
    Ok(())
}

/// A table without lines, as wide as the terminal at most.
pub(crate) fn table(header: impl IntoIterator<Item = impl Into<Cell>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(match width() {
        Some(_) => ContentArrangement::Dynamic,
        None => ContentArrangement::Disabled,
    });
    if let Some(width) = width() {
        table.set_width(u16::try_from(width.saturating_sub(2)).unwrap_or(u16::MAX));
    }
    table.set_header(
        header
            .into_iter()
            .map(Into::<Cell>::into)
            .collect::<Vec<_>>(),
    );
    table
}

/// The width of the terminal that standard output is, if it is one.
pub(crate) fn width() -> Option<usize> {
    width_of(&Term::stdout())
}

fn width_of(term: &Term) -> Option<usize> {
    const LEAST: usize = 40;
    if !term.is_term() {
        return None;
    }
    let (_, columns) = term.size_checked()?;
    Some(usize::from(columns).max(LEAST))
}

/// Text in lines that fit beside so many columns, if standard output is a terminal.
pub(crate) fn wrap(text: &str, beside: usize) -> Vec<String> {
    lines(&Term::stdout(), text, beside)
}

fn lines(term: &Term, text: &str, beside: usize) -> Vec<String> {
    let text = visible(text);
    let Some(width) = width_of(term) else {
        return vec![text.into_owned()];
    };
    let room = width.saturating_sub(beside).max(20);
    // A path, an address or a host name is to be copied whole.
    let whole = textwrap::Options::new(room)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    textwrap::wrap(&text, whole)
        .into_iter()
        .map(Cow::into_owned)
        .collect()
}

/// A table's text, without blanks at the ends of lines.
pub(crate) fn trimmed(table: &Table) -> String {
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_shown_instead() {
        for (text, shown) in [
            ("", ""),
            ("Projekt 東京 👩‍🔬 naïve", "Projekt 東京 👩‍🔬 naïve"),
            ("\u{1b}[2Jx\u{7}", "\\u{1b}[2Jx\\u{7}"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b\n");
    }
}
