//! The report as a person reads it in a terminal.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, ColumnConstraint};
use console::measure_text_width;
use indicatif::HumanCount;

use super::{
    Key,
    figures::{Figures, Percentiles},
    summary::Data,
};
use crate::{
    human,
    output::{say, table, trimmed, visible, width as width_of_output},
};

/// As many columns as there are figures, and what they are of.
const FIGURES: [&str; 10] = [
    "calls",
    "errors",
    "in",
    "cached",
    "out",
    "cost",
    "p50",
    "p95",
    "p99",
    "first token",
];

/// Calls and errors are there even if there are none.
const ALWAYS: usize = 2;
/// In a narrow terminal: the first token, p99, cached ones, p95, and all tokens.
const LEFT_OUT_FIRST: [usize; 6] = [9, 8, 3, 7, 2, 4];
/// A longer value does not push figures out.
const MAX_VALUE: usize = 24;
const PADDING: usize = 2;

pub(crate) fn write(out: &mut dyn Write, data: &Data, keys: &[Key]) -> io::Result<()> {
    head(out, data)?;
    if data.total.calls == 0 {
        return Ok(());
    }
    let mut tables = data.by.iter();
    for key in keys {
        if *key == Key::Time {
            let rows = data.time.rows.iter();
            let rows = rows.map(|row| (start(&row.start, data.time.every_seconds), &row.figures));
            shown(out, &format!("per {}", data.time.every), rows.collect())?;
            continue;
        }
        let Some(table) = tables.next() else {
            continue;
        };
        let rows = table.rows.iter().map(|row| {
            let value = row.value.as_deref();
            (
                value.map_or_else(|| "(none)".to_owned(), |value| visible(value).into_owned()),
                &row.figures,
            )
        });
        let other = table
            .other
            .iter()
            .map(|figures| ("(other)".to_owned(), figures));
        shown(out, &table.by, rows.chain(other).collect())?;
        if table.approximate {
            say(
                out,
                "There are too many values to count each of them: rows may lack calls, which are among the others.",
            )?;
        }
        if *key == Key::Tag
            && table.rows.iter().map(|row| row.figures.calls).sum::<u64>() > data.total.calls
        {
            say(out, "A call with several tags counts for each of them.")?;
        }
    }
    Ok(())
}

/// What it is about, and all of it together.
fn head(out: &mut dyn Write, data: &Data) -> io::Result<()> {
    let total = &data.total;
    let sources = match data.sources.as_slice() {
        [one] => visible(one).into_owned(),
        many => human::count(many.len() as u64, "file"),
    };
    let Some((first, last)) = data.first.as_deref().zip(data.last.as_deref()) else {
        return say(out, format_args!("{sources}: no calls"));
    };
    say(
        out,
        format_args!("{sources}, {} to {} UTC", start(first, 1), start(last, 1)),
    )?;
    let mut line = human::count(total.calls, "call");
    if total.errors > 0 {
        let share = 100.0 * total.errors as f64 / total.calls as f64;
        line.push_str(&format!(
            ", {} ({share:.1} %)",
            human::count(total.errors, "error")
        ));
    }
    if let Some(cost) = total.cost {
        line.push_str(&format!(", {}", human::usd(cost)));
        if total.calls_with_cost < total.calls {
            line.push_str(&format!(
                " (known of {})",
                human::count(total.calls_with_cost, "call")
            ));
        }
    }
    say(out, line)?;
    if total.calls_with_tokens > 0 {
        let tokens = |count: Option<u64>| {
            count.map_or_else(
                || "unknown".to_owned(),
                |count| HumanCount(count).to_string(),
            )
        };
        let mut line = format!("tokens: {} in", tokens(total.input_tokens));
        for (count, what) in [
            (total.cache_read_tokens, "cached"),
            (total.cache_write_tokens, "written to the cache"),
        ] {
            if count.is_some() {
                line.push_str(&format!(", {} of them {what}", tokens(count)));
            }
        }
        line.push_str(&format!("; {} out", tokens(total.output_tokens)));
        if total.reasoning_tokens.is_some() {
            line.push_str(&format!(
                ", {} of them reasoning",
                tokens(total.reasoning_tokens)
            ));
        }
        say(out, line)?;
    }
    for (what, percentiles) in [
        ("latency", total.duration_ms),
        ("time to first token", total.time_to_first_token_ms),
    ] {
        if let Some(Percentiles { p50, p95, p99, max }) = percentiles {
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(human::millis);
            say(
                out,
                format_args!("{what}: p50 {p50}, p95 {p95}, p99 {p99}, at most {max}"),
            )?;
        }
    }
    Ok(())
}

fn shown(out: &mut dyn Write, by: &str, rows: Vec<(String, &Figures)>) -> io::Result<()> {
    let cells: Vec<_> = rows.iter().map(|(_, figures)| cells(figures)).collect();
    let widths: Vec<usize> = FIGURES
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = cells.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| measure_text_width(cell)).max();
            match widest {
                // What nothing is known of has no column.
                None | Some(0) if column >= ALWAYS => 0,
                widest => widest.unwrap_or(0).max(name.len()) + PADDING,
            }
        })
        .collect();
    let values = rows.iter().map(|(value, _)| measure_text_width(value));
    let value = values.max().unwrap_or(0).clamp(by.len(), MAX_VALUE) + PADDING;
    let mut columns: Vec<usize> = (0..FIGURES.len())
        .filter(|column| widths.get(*column).is_some_and(|width| *width > 0))
        .collect();
    let mut left_out: Vec<&str> = Vec::new();
    for column in LEFT_OUT_FIRST {
        let taken = |column: &usize| widths.get(*column).copied().unwrap_or(0);
        let width = value + columns.iter().map(taken).sum::<usize>();
        if width_of_output().is_none_or(|room| width + 2 <= room) {
            break;
        }
        if let Some(place) = columns.iter().position(|shown| *shown == column) {
            columns.remove(place);
            left_out.extend(FIGURES.get(column));
        }
    }
    let mut header = vec![by.to_owned()];
    let names = columns.iter().filter_map(|column| FIGURES.get(*column));
    header.extend(names.map(|name| (*name).to_owned()));
    let mut table = table(header);
    for ((value, _), cells) in rows.iter().zip(&cells) {
        let mut row = vec![value.clone()];
        row.extend(
            columns
                .iter()
                .filter_map(|column| cells.get(*column).cloned()),
        );
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
        // A figure is not broken; a value is, if it is long.
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    writeln!(out, "\n{}", trimmed(&table))?;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        say(out, format_args!("No room for: {names}."))?;
    }
    Ok(())
}

fn cells(figures: &Figures) -> [String; 10] {
    let tokens = |count: Option<u64>| count.map(human::short).unwrap_or_default();
    let time = |of: Option<Percentiles>, pick: fn(&Percentiles) -> f64| {
        of.map(|of| human::millis(pick(&of))).unwrap_or_default()
    };
    [
        HumanCount(figures.calls).to_string(),
        match figures.errors {
            0 => String::new(),
            errors => HumanCount(errors).to_string(),
        },
        tokens(figures.input_tokens),
        tokens(figures.cache_read_tokens),
        tokens(figures.output_tokens),
        figures.cost.map(human::usd).unwrap_or_default(),
        time(figures.duration_ms, |of| of.p50),
        time(figures.duration_ms, |of| of.p95),
        time(figures.duration_ms, |of| of.p99),
        time(figures.time_to_first_token_ms, |of| of.p50),
    ]
}

/// When a bucket begins, as precisely as it is wide.
fn start(time: &str, every_seconds: i64) -> String {
    let Ok(time) = time.parse::<DateTime<Utc>>() else {
        return time.to_owned();
    };
    let format = match every_seconds {
        ..60 => "%Y-%m-%d %H:%M:%S",
        60..86_400 => "%Y-%m-%d %H:%M",
        _ => "%Y-%m-%d",
    };
    time.format(format).to_string()
}
