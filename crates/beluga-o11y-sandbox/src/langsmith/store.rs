//! What was accepted. A batch is taken whole or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::answers::Refusal;
use super::calls;
use super::fields::Fields;
use super::run::LangSmithRun;
use super::session::Session;
use crate::rows::{Rows, Touched};
use crate::stored::StoredCall;

/// Where runs go that name no project.
const DEFAULT_PROJECT: &str = "default";

#[derive(Debug, Default)]
pub(crate) struct Store {
    sessions: Vec<Session>,
    runs: Rows<Stored>,
    places: HashMap<Uuid, usize>,
    /// Updates of runs that have not been posted, with their numbers: the server puts them together when the run comes.
    early: HashMap<Uuid, (u64, Fields)>,
    /// The runs of these updates by number, so that the oldest is found.
    early_order: BTreeMap<u64, Uuid>,
    /// Of the next early update.
    next_early: u64,
}

#[derive(Debug)]
struct Stored {
    fields: Fields,
    session: Uuid,
    updated: bool,
}

/// Why a batch is not taken as a whole.
pub(crate) enum NotTaken {
    Refused(Refusal),
    /// One of its runs was posted before, or one of its updates was made before. A run is posted once and updated once
    /// (issue 1529).
    AlreadyReceived,
}

impl Store {
    pub(crate) fn runs(&self) -> Vec<LangSmithRun> {
        self.runs
            .iter()
            .filter_map(|stored| self.show(stored))
            .collect()
    }

    pub(crate) fn run(&self, id: Uuid) -> Option<LangSmithRun> {
        let place = self.places.get(&id)?;
        self.show(self.runs.get(*place)?)
    }

    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    pub(crate) fn session_named(&self, name: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.name == name)
    }

    pub(crate) fn session(&self, id: Uuid) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    pub(crate) fn add_session(&mut self, session: Session) {
        self.sessions.push(session);
    }

    fn show(&self, stored: &Stored) -> Option<LangSmithRun> {
        LangSmithRun::of(&stored.fields, self.session(stored.session)?)
    }

    /// Takes runs and updates that have been checked one by one.
    pub(crate) fn take(
        &mut self,
        posts: Vec<Fields>,
        patches: Vec<Fields>,
    ) -> Result<Touched, NotTaken> {
        self.check_once(&posts, &patches)?;
        let unknown = |run: &&Fields| run.session_id.is_some_and(|id| self.session(id).is_none());
        if posts.iter().any(|run| unknown(&run)) {
            return Err(NotTaken::Refused(Refusal::NoSession));
        }
        let mut touched = Touched::default();
        for run in posts {
            self.post(run, &mut touched);
        }
        for run in patches {
            self.patch(run, &mut touched);
        }
        Ok(touched)
    }

    /// The LLM call that the run at this place is, if it is one.
    pub(crate) fn call(&self, place: usize) -> Option<StoredCall> {
        calls::of(self.show(self.runs.get(place)?)?)
    }

    /// Forgets the oldest runs beyond that many, and of the updates whose runs have not come also the oldest.
    pub(crate) fn forget_beyond(&mut self, max: usize) {
        while let Some((_, stored)) = self.runs.pop_beyond(max) {
            if let Some(id) = stored.fields.id {
                self.places.remove(&id);
            }
        }
        while self.early.len() > max {
            let Some((_, id)) = self.early_order.pop_first() else {
                return;
            };
            self.early.remove(&id);
        }
    }

    fn check_once(&self, posts: &[Fields], patches: &[Fields]) -> Result<(), NotTaken> {
        let posted = |id: &Uuid| self.places.contains_key(id);
        let updated = |id: &Uuid| {
            let stored = self.places.get(id).and_then(|place| self.runs.get(*place));
            stored.is_some_and(|stored| stored.updated) || self.early.contains_key(id)
        };
        let mut seen = HashSet::new();
        let posts = posts.iter().filter_map(|run| run.id);
        let again = posts.into_iter().any(|id| posted(&id) || !seen.insert(id));
        let mut seen = HashSet::new();
        let patches = patches.iter().filter_map(|run| run.id);
        let again = again
            || patches
                .into_iter()
                .any(|id| updated(&id) || !seen.insert(id));
        match again {
            true => Err(NotTaken::AlreadyReceived),
            false => Ok(()),
        }
    }

    fn post(&mut self, mut run: Fields, touched: &mut Touched) {
        let Some(id) = run.id else {
            return;
        };
        let session = match run.session_id {
            Some(id) => id,
            None => self.project(run.session_name.as_deref().unwrap_or(DEFAULT_PROJECT)),
        };
        let early = self.early.remove(&id);
        let updated = early.is_some();
        if let Some((number, early)) = early {
            self.early_order.remove(&number);
            run.update(early);
        }
        let place = self.runs.push(Stored {
            fields: run,
            session,
            updated,
        });
        self.places.insert(id, place);
        touched.note(place, false);
    }

    fn patch(&mut self, run: Fields, touched: &mut Touched) {
        let Some(id) = run.id else {
            return;
        };
        let place = self.places.get(&id).copied();
        match place.and_then(|place| Some((place, self.runs.get_mut(place)?))) {
            Some((place, stored)) => {
                stored.fields.update(run);
                stored.updated = true;
                touched.note(place, true);
            }
            None => {
                self.early.insert(id, (self.next_early, run));
                self.early_order.insert(self.next_early, id);
                self.next_early += 1;
            }
        }
    }

    /// Made on demand.
    fn project(&mut self, name: &str) -> Uuid {
        if let Some(known) = self.session_named(name) {
            return known.id;
        }
        let session = Session::named(name);
        let id = session.id;
        self.sessions.push(session);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: Uuid) -> Fields {
        Fields {
            id: Some(id),
            ..Fields::default()
        }
    }

    #[test]
    fn nothing_is_left_of_updates_that_found_their_runs_or_are_forgotten() {
        let mut store = Store::default();
        for _ in 0..100 {
            let (waiting, posted) = (Uuid::new_v4(), Uuid::new_v4());
            let updates = vec![run(waiting), run(posted)];
            assert!(store.take(Vec::new(), updates).is_ok());
            assert!(store.take(vec![run(posted)], Vec::new()).is_ok());
            store.forget_beyond(5);
        }
        assert_eq!((store.runs.len(), store.places.len()), (5, 5));
        assert_eq!((store.early.len(), store.early_order.len()), (5, 5));
    }
}
