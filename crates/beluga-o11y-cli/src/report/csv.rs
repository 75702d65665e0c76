//! The tables as CSV: a row for each of their rows, whichever table it is of.

use std::io::{self, Write};

use super::{
    Key,
    figures::{Figures, Percentiles},
    summary::Data,
};

const HEADER: &str = "by,row,value,calls,errors,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,\
reasoning_tokens,cost,calls_with_cost,calls_with_tokens,duration_ms_p50,duration_ms_p95,duration_ms_p99,duration_ms_max,\
time_to_first_token_ms_p50,time_to_first_token_ms_p95,time_to_first_token_ms_p99,time_to_first_token_ms_max";

/// What kind of row it is is told apart from the value, which may be any text.
pub(crate) fn write(out: &mut dyn Write, data: &Data, keys: &[Key]) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    row(out, "", "total", "", &data.total)?;
    let mut tables = data.by.iter();
    for key in keys {
        if *key == Key::Time {
            for interval in &data.time.rows {
                row(out, "time", "value", &interval.start, &interval.figures)?;
            }
            continue;
        }
        let Some(table) = tables.next() else {
            continue;
        };
        for shown in &table.rows {
            let kind = if shown.value.is_some() {
                "value"
            } else {
                "none"
            };
            let value = shown.value.as_deref().unwrap_or_default();
            row(out, &table.by, kind, value, &shown.figures)?;
        }
        if let Some(other) = &table.other {
            row(out, &table.by, "other", "", other)?;
        }
    }
    Ok(())
}

fn row(out: &mut dyn Write, by: &str, kind: &str, value: &str, of: &Figures) -> io::Result<()> {
    let some = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    write!(
        out,
        "{},{kind},{},{},{},{},{},{},{},{},{},{},{}",
        quoted(by),
        quoted(value),
        of.calls,
        of.errors,
        some(of.input_tokens),
        some(of.cache_read_tokens),
        some(of.cache_write_tokens),
        some(of.output_tokens),
        some(of.reasoning_tokens),
        of.cost.map(|cost| cost.to_string()).unwrap_or_default(),
        of.calls_with_cost,
        of.calls_with_tokens,
    )?;
    for percentiles in [of.duration_ms, of.time_to_first_token_ms] {
        match percentiles {
            Some(Percentiles { p50, p95, p99, max }) => write!(out, ",{p50},{p95},{p99},{max}")?,
            None => write!(out, ",,,,")?,
        }
    }
    writeln!(out)
}

/// As RFC 4180 has it. What a spreadsheet would take for a formula is made text.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = match formula {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\n', '\r']) || formula {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
