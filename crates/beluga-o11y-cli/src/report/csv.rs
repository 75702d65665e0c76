//! The tables as CSV: a row for each of their rows, whichever table it is of.

use super::{
    Key,
    figures::{Figures, Percentiles},
    summary::Data,
};

const HEADER: &str = "by,row,value,calls,errors,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,\
reasoning_tokens,cost,calls_with_cost,calls_with_tokens,duration_ms_p50,duration_ms_p95,duration_ms_p99,duration_ms_max,\
time_to_first_token_ms_p50,time_to_first_token_ms_p95,time_to_first_token_ms_p99,time_to_first_token_ms_max";

/// What kind of row it is is told apart from the value, which may be any text.
pub(crate) fn text(data: &Data, keys: &[Key]) -> String {
    let mut text = format!("{HEADER}\n");
    let mut row = |by: &str, kind: &str, value: &str, of: &Figures| {
        text.push_str(&line(by, kind, value, of));
    };
    row("", "total", "", &data.total);
    let mut tables = data.by.iter();
    for key in keys {
        if *key == Key::Time {
            for interval in &data.time.rows {
                row("time", "value", &interval.start, &interval.figures);
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
            row(&table.by, kind, value, &shown.figures);
        }
        if let Some(other) = &table.other {
            row(&table.by, "other", "", other);
        }
    }
    text
}

fn line(by: &str, kind: &str, value: &str, of: &Figures) -> String {
    let some = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut fields = vec![
        quoted(by),
        kind.to_owned(),
        quoted(value),
        of.calls.to_string(),
        of.errors.to_string(),
        some(of.input_tokens),
        some(of.cache_read_tokens),
        some(of.cache_write_tokens),
        some(of.output_tokens),
        some(of.reasoning_tokens),
        of.cost.map(|cost| cost.to_string()).unwrap_or_default(),
        of.calls_with_cost.to_string(),
        of.calls_with_tokens.to_string(),
    ];
    for percentiles in [of.duration_ms, of.time_to_first_token_ms] {
        match percentiles {
            Some(Percentiles { p50, p95, p99, max }) => {
                fields.extend([p50, p95, p99, max].map(|value| value.to_string()));
            }
            None => fields.extend([const { String::new() }; 4]),
        }
    }
    format!("{}\n", fields.join(","))
}

/// As RFC 4180 has it, but for the line breaks. What a spreadsheet would take for a formula is made text.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_quotes_has_them() {
        for (text, field) in [
            ("gpt-4o", "gpt-4o"),
            ("a,b", "\"a,b\""),
            ("a\rb", "\"a\rb\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@x", "\"'@x\""),
            ("\tx", "\"'\tx\""),
        ] {
            assert_eq!(quoted(text), field);
        }
    }
}
