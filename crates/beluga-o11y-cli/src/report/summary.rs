//! All that a report says.

use std::time::SystemTime;

use beluga_o11y::LLMCallData;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Key,
    figures::{Figures, Sums},
    groups::{Groups, Table},
    key::short,
    picks::{Calls, Picks, Place},
    row::Row,
    timeline::{Models, Over, Timeline, time},
};
use crate::{arguments::Report, identity};

/// What is summed up while calls are read.
#[derive(Debug)]
pub(crate) struct Summary {
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// The earliest and the latest start.
    range: Option<(DateTime<Utc>, DateTime<Utc>)>,
    total: Sums,
    groups: Vec<Groups>,
    timeline: Timeline,
    /// For a page only.
    picks: Option<Picks>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// Where a call was read.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) place: Place<'a>,
    /// When it ended, as far as anybody knows, if it does not say when it began.
    pub(crate) modified: Option<SystemTime>,
}

/// What is known when all was read.
#[derive(Debug, Serialize)]
pub(crate) struct Data {
    pub(crate) version: &'static str,
    pub(crate) sources: Vec<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
    pub(crate) unreadable: u64,
    pub(crate) total: Figures,
    pub(crate) by: Vec<Table>,
    pub(crate) time: Over,
}

/// What a page shows besides.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    pub(crate) models: Models,
    #[serde(flatten)]
    pub(crate) calls: Calls,
}

impl Summary {
    pub(crate) fn new(arguments: &Report) -> Self {
        let keys = arguments.by.iter().filter(|key| **key != Key::Time);
        let page = arguments.html.is_some();
        Self {
            since: arguments.since.map(|moment| moment.0),
            until: arguments.until.map(|moment| moment.0),
            range: None,
            total: Sums::default(),
            groups: keys
                .map(|key| Groups::new(key.clone(), arguments.sort))
                .collect(),
            timeline: Timeline::new(page),
            picks: page.then(Picks::default),
            unreadable: 0,
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.total.calls
    }

    /// Adds a call; `read` gives all of it, if it is to be shown.
    pub(crate) fn add(
        &mut self,
        row: &Row<'_>,
        origin: &Origin<'_>,
        read: impl FnOnce() -> Option<LLMCallData>,
    ) {
        let ended = origin.modified.map_or_else(Utc::now, DateTime::from);
        let start = row
            .start
            .unwrap_or_else(|| identity::start(row.duration, ended));
        if self.since.is_some_and(|since| start < since)
            || self.until.is_some_and(|until| start >= until)
        {
            return;
        }
        self.range = match self.range {
            None => Some((start, start)),
            Some((first, last)) => Some((first.min(start), last.max(start))),
        };
        self.total.add(&row.facts);
        for groups in &mut self.groups {
            groups.add(row);
        }
        self.timeline.add(start, &short(&row.model), &row.facts);
        if let Some(picks) = &mut self.picks {
            picks.add(row, start, origin.place, read);
        }
    }

    /// What all that was added comes to, over so many intervals of time at most.
    pub(crate) fn data(
        mut self,
        sources: Vec<String>,
        most_intervals: i64,
    ) -> (Data, Option<Details>) {
        let over = self.timeline.over(most_intervals);
        let data = Data {
            version: env!("CARGO_PKG_VERSION"),
            sources,
            since: self.since.map(time),
            until: self.until.map(time),
            first: self.range.map(|(first, _)| time(first)),
            last: self.range.map(|(_, last)| time(last)),
            unreadable: self.unreadable,
            total: self.total.figures(),
            by: self.groups.into_iter().map(Groups::table).collect(),
            time: over,
        };
        let details = self.picks.map(|picks| Details {
            models: self.timeline.models(),
            calls: picks.calls(),
        });
        (data, details)
    }
}
