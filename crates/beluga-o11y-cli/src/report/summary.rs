//! All that a report says.

use std::time::SystemTime;

use beluga_o11y::LLMCallData;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Key,
    figures::{Facts, Figures, Sums},
    groups::{Groups, Table},
    picks::{Calls, Picks, Place},
    timeline::{MAX_BUCKETS, Models, Over, Timeline, time},
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
    pub(crate) timeline: Timeline,
    /// For a page only.
    picks: Option<Picks>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// Where a call was read.
pub(crate) struct Origin<'a> {
    pub(crate) place: Place<'a>,
    /// By which it gets an id if it has none, and when it ended if it does not say when it began.
    pub(crate) key: &'a str,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) text: &'a [u8],
}

impl<'a> Origin<'a> {
    /// One that has a start and an id, in a file of a spool.
    pub(crate) fn spool(file: &'a str) -> Self {
        Self {
            place: Place {
                source: file,
                line: None,
            },
            key: "",
            modified: None,
            text: &[],
        }
    }
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

    pub(crate) fn add(&mut self, call: &LLMCallData, origin: &Origin<'_>) {
        let modified = origin.modified.map(DateTime::<Utc>::from);
        let start = match modified {
            Some(ended) if !call.has_start_time() => identity::start(call, ended),
            _ => call.start_time(),
        };
        if self.since.is_some_and(|since| start < since)
            || self.until.is_some_and(|until| start >= until)
        {
            return;
        }
        self.range = match self.range {
            None => Some((start, start)),
            Some((first, last)) => Some((first.min(start), last.max(start))),
        };
        let facts = Facts::of(call);
        self.total.add(&facts);
        for groups in &mut self.groups {
            groups.add(call, &facts);
        }
        self.timeline.add(start, &call.model, &facts);
        if let Some(picks) = &mut self.picks {
            let line = origin.place.line.unwrap_or_default();
            picks.add(call, start, &facts, origin.place, |call| {
                identity::given(call, modified, origin.key, line, origin.text)
            });
        }
    }

    /// What all that was added comes to.
    pub(crate) fn data(mut self, sources: Vec<String>) -> (Data, Option<Details>) {
        let over = self.timeline.over(MAX_BUCKETS);
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
