//! One of the backends that calls go to, and which of them it has.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use beluga_o11y_pipeline::{DeadLetter, Overflow, Oversize, Pipeline};

use super::{
    TICK, lock,
    rejected::{self, Rejected},
    state::{Remembered, Share},
};
use crate::{
    backend::Backend,
    delivery::{Ledger, Patience, Watched},
    input::Complaints,
    output::{Failure, Outcome},
};

/// Where a call came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) line: u64,
}

/// A backend, in a pipeline of its own.
pub(crate) struct Outlet {
    pub(crate) backend: Arc<dyn Backend>,
    /// By which it is remembered.
    pub(crate) key: String,
    pub(crate) pipeline: Pipeline,
    pub(crate) ledger: Arc<Ledger<Place>>,
    shares: Arc<Mutex<Vec<Share>>>,
    pub(crate) patience: Patience,
    pub(crate) given_up: Option<String>,
    /// Lines that did not arrive in earlier runs.
    pub(crate) lost_before: u64,
}

/// Where calls go that a backend does not take.
pub(crate) struct Waste {
    /// The names of the files.
    pub(crate) names: Arc<[String]>,
    pub(crate) rejected: Arc<Mutex<Rejected>>,
    pub(crate) complaints: Arc<Complaints>,
}

impl Outlet {
    /// `remembered` is what is known of each file from earlier runs.
    pub(crate) fn open(
        backend: &Arc<dyn Backend>,
        remembered: &[Option<Remembered>],
        patience: Duration,
        waste: Waste,
    ) -> Outcome<Self> {
        let key = format!("{} {}", backend.name(), backend.destination());
        let shares: Vec<_> = remembered
            .iter()
            .map(|before| before.as_ref()?.to.get(&key).cloned())
            .map(Option::unwrap_or_default)
            .collect();
        let lost_before = shares.iter().map(|share| share.lost).sum();
        let shares = Arc::new(Mutex::new(shares));
        let ledger = Arc::new(Ledger::new({
            let shares = Arc::clone(&shares);
            move |place: Place| settle(&shares, place, false)
        }));
        let dead_letter = {
            let (ledger, shares) = (Arc::clone(&ledger), Arc::clone(&shares));
            move |letter: &DeadLetter| {
                let Some(place) = ledger.place(letter.call.id()) else {
                    return;
                };
                let name = waste.names.get(place.file).map_or("", String::as_str);
                waste.complaints.line(name, place.line, &letter.error);
                let written = lock(&waste.rejected).letter(place.file, place.line, letter);
                match written {
                    Ok(()) => settle(&shares, place, true),
                    Err(error) => {
                        let problem = rejected::not_written(&error);
                        waste.complaints.line(name, place.line, problem);
                    }
                }
                ledger.give_up(letter.call.id());
            }
        };
        let watched = Watched {
            backend: Arc::clone(backend),
            ledger: Arc::clone(&ledger),
        };
        let pipeline = Pipeline::builder(watched)
            .with_overflow(Overflow::Block(TICK))
            // Somebody looks at what is rejected, and has the whole of it.
            .with_oversize(Oversize::DeadLetter)
            .with_drop_timeout(Duration::ZERO)
            .with_dead_letters(dead_letter)
            .spawn()
            .map_err(Failure::failed)?;
        Ok(Self {
            backend: Arc::clone(backend),
            key,
            pipeline,
            ledger,
            shares,
            patience: Patience::new(backend.name(), patience),
            given_up: None,
            lost_before,
        })
    }

    /// Whether it still has to get that line.
    pub(crate) fn wants(&self, place: Place) -> bool {
        let share = lock(&self.shares);
        let share = share.get(place.file);
        self.given_up.is_none() && share.is_none_or(|share| !share.settled.contains(place.line))
    }

    /// It is done with that line.
    pub(crate) fn settle(&self, place: Place, lost: bool) {
        settle(&self.shares, place, lost);
    }

    /// The line up to which it is done with a file.
    pub(crate) fn settled_up_to(&self, file: usize) -> u64 {
        lock(&self.shares)
            .get(file)
            .map_or(0, |share| share.settled.up_to())
    }

    pub(crate) fn share(&self, file: usize) -> Option<Share> {
        lock(&self.shares).get(file).cloned()
    }
}

fn settle(shares: &Mutex<Vec<Share>>, place: Place, lost: bool) {
    if let Some(share) = lock(shares).get_mut(place.file) {
        share.settled.insert(place.line);
        share.lost += u64::from(lost);
    }
}
