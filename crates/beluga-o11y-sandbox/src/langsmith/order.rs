//! `dotted_order`: where a run stands in its trace.
//!
//! One part for each run from the root down, joined by dots; a part is the run's start and its id:
//! `20260102T030405000006Z<uuid>`.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};
use uuid::Uuid;

use super::answers::Refusal;

const FORMAT: &str = "%Y%m%dT%H%M%S%6fZ";
const ID_BYTES: usize = 36;

/// What a run says of its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: Uuid,
    pub(crate) trace_id: Uuid,
    pub(crate) parent_run_id: Option<Uuid>,
    pub(crate) dotted_order: &'a str,
}

/// The part of a run.
pub(crate) fn part(start: DateTime<Utc>, id: Uuid) -> String {
    format!("{}{id}", start.format(FORMAT))
}

/// The rules for it. Texts: issue 751 (root), BerriAI/litellm issues 7140 (child) and 37269 (trace id),
/// langgenius/dify issue 30021 (timestamp).
pub(crate) fn check(place: Place<'_>) -> Result<(), Refusal> {
    let wrong = |problem: String| {
        let Place {
            id,
            trace_id,
            dotted_order,
            ..
        } = place;
        let parent = place
            .parent_run_id
            .map_or_else(|| "<nil>".to_owned(), |id| id.to_string());
        Refusal::Order(format!(
            "{problem} for run_id:{id} trace_id:{trace_id} dotted_order:{dotted_order} parent_run_id:{parent}"
        ))
    };
    let mut parts = Vec::new();
    for (index, text) in place.dotted_order.split('.').enumerate() {
        let part = Part::read(text).map_err(|problem| wrong(problem.at(index)))?;
        parts.push(part);
    }
    match (place.parent_run_id, parts.as_slice()) {
        (None, [_]) => {}
        (None, _) => {
            return Err(wrong(
                "dotted_order must contain a single part for root runs".to_owned(),
            ));
        }
        (Some(_), [_] | []) => {
            return Err(wrong(
                "dotted_order must contain at least two parts for child runs".to_owned(),
            ));
        }
        (Some(parent), [.., named, _]) if named.id != parent => {
            return Err(wrong(format!(
                "parent_run_id {parent} does not match the last but one part of dotted_order {}",
                named.id
            )));
        }
        (Some(_), _) => {}
    }
    if let Some(first) = parts.first().filter(|part| part.id != place.trace_id) {
        return Err(wrong(format!(
            "trace_id {} does not match first part of dotted_order {}",
            place.trace_id, first.id
        )));
    }
    if let Some(last) = parts.last().filter(|part| part.id != place.id) {
        return Err(wrong(format!(
            "run_id {} does not match last part of dotted_order {}",
            place.id, last.id
        )));
    }
    // The Python client moves a child's start for this rule (pull request 2240).
    match parts.is_sorted_by_key(|part| part.time) {
        true => Ok(()),
        false => Err(wrong(
            "a part of dotted_order is earlier than its parent".to_owned(),
        )),
    }
}

#[derive(Debug)]
struct Part {
    time: NaiveDateTime,
    id: Uuid,
}

impl Part {
    fn read(text: &str) -> Result<Self, Problem> {
        let (time, id) = text
            .len()
            .checked_sub(ID_BYTES)
            .and_then(|at| text.split_at_checked(at))
            .ok_or(Problem::Id)?;
        let id = id.parse().map_err(|_| Problem::Id)?;
        // chrono would also take other numbers of digits.
        let time = NaiveDateTime::parse_from_str(time, FORMAT)
            .ok()
            .filter(|read| read.format(FORMAT).to_string() == time)
            .ok_or(Problem::Time)?;
        Ok(Self { time, id })
    }
}

enum Problem {
    Id,
    Time,
}

impl Problem {
    fn at(&self, index: usize) -> String {
        format!("invalid {self} in dotted_order at index {index}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Id => "run id",
            Self::Time => "timestamp format",
        })
    }
}
