//! A pipeline to a backend, and what became of each call in it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, ExportErrorKind, LLMCallData, TraceExporter};
use beluga_o11y_pipeline::PipelineStats;
use uuid::Uuid;

use crate::backend::Backend;

/// How long a backend may go on refusing key, workspace or quota before it is given up: long enough for one slip.
const STUBBORN: Duration = Duration::from_secs(5);
/// How much is handed to a pipeline at most, well below what it has room for.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What a call takes up besides its text, about.
const CALL_BYTES: usize = 512;

/// The calls that were handed to a pipeline and have not arrived yet, each known by where it came from. Their size is bounded
/// here, so that the pipeline has room for every call that it is given.
pub(crate) struct Ledger<P> {
    state: Mutex<State<P>>,
    /// A call has left.
    room: Condvar,
}

struct State<P> {
    waiting: HashMap<Uuid, Waiting<P>>,
    /// Later calls with an id that another one has that waits as well. They leave in the order in which they came.
    namesakes: HashMap<Uuid, VecDeque<Waiting<P>>>,
    bytes: usize,
    /// Batches that are being sent.
    on_the_way: usize,
    /// No further batch is sent.
    halted: bool,
    /// What the exporter said last, if nothing was delivered since.
    error: Option<ExportError>,
    tell: Box<dyn FnMut(P) + Send>,
}

#[derive(Clone, Copy)]
struct Waiting<P> {
    place: P,
    bytes: usize,
}

impl<P: Copy> Ledger<P> {
    /// `tell` is told of every call that has arrived.
    pub(crate) fn new(tell: impl FnMut(P) + Send + 'static) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: HashMap::new(),
                namesakes: HashMap::new(),
                bytes: 0,
                on_the_way: 0,
                halted: false,
                error: None,
                tell: Box::new(tell),
            }),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of this size is about to be handed over. Waits until there is room for it, at most this long, and says
    /// whether there is. One that is larger than all the room may go alone.
    pub(crate) fn expect(&self, id: Uuid, place: P, bytes: usize, patience: Duration) -> bool {
        let bytes = bytes + CALL_BYTES;
        let is_full = |state: &mut State<P>| state.bytes > 0 && state.bytes + bytes > MAX_BYTES;
        let state = self.lock();
        let (mut state, _) = self
            .room
            .wait_timeout_while(state, patience, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        if is_full(&mut state) {
            return false;
        }
        state.bytes += bytes;
        let waiting = Waiting { place, bytes };
        match state.waiting.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(waiting);
            }
            Entry::Occupied(_) => state.namesakes.entry(id).or_default().push_back(waiting),
        }
        true
    }

    /// Where a call came from.
    pub(crate) fn place(&self, id: Uuid) -> Option<P> {
        self.lock().waiting.get(&id).map(|waiting| waiting.place)
    }

    /// The call that was expected last under this id was not handed over.
    pub(crate) fn take_back(&self, id: Uuid) {
        self.note(|state| {
            let newest = state.namesakes.get_mut(&id).and_then(VecDeque::pop_back);
            match newest {
                Some(newest) => state.bytes -= newest.bytes,
                None => drop(state.take(id)),
            }
        });
    }

    /// A call will not arrive.
    pub(crate) fn give_up(&self, id: Uuid) {
        self.note(|state| {
            state.take(id);
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Sends no further batch.
    pub(crate) fn halt(&self) {
        self.lock().halted = true;
    }

    /// Waits for the answers to what is on its way: whatever is in doubt would be sent twice by whoever goes on from here.
    pub(crate) fn answers_by(&self, until: Instant) {
        let patience = until.saturating_duration_since(Instant::now());
        let on_the_way = |state: &mut State<P>| state.on_the_way > 0;
        drop(
            self.room
                .wait_timeout_while(self.lock(), patience, on_the_way),
        );
    }

    fn note(&self, note: impl FnOnce(&mut State<P>)) {
        note(&mut self.lock());
        self.room.notify_all();
    }

    /// What the exporter said last, if nothing was delivered since.
    fn error(&self) -> Option<ExportError> {
        self.lock().error.clone()
    }
}

/// How long a backend is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    /// The backend's.
    name: String,
    limit: Duration,
    /// Calls that were delivered, rejected or dropped.
    settled: u64,
    /// The last time that there were more of them, or nothing was pending.
    gain: Instant,
}

impl Patience {
    pub(crate) fn new(name: &str, limit: Duration) -> Self {
        Self {
            name: name.to_owned(),
            limit,
            settled: 0,
            gain: Instant::now(),
        }
    }

    /// Why the backend is not worth waiting for any longer, if it is not. To be asked every now and then.
    pub(crate) fn is_over<P: Copy>(
        &mut self,
        stats: &PipelineStats,
        ledger: &Ledger<P>,
    ) -> Option<String> {
        let settled = stats.delivered + stats.rejected + stats.dropped.total();
        if settled != self.settled || stats.pending == 0 {
            self.settled = settled;
            self.gain = Instant::now();
            return None;
        }
        let error = ledger.error();
        let refused = error
            .as_ref()
            .is_some_and(|error| error.kind() == ExportErrorKind::Destination);
        let limit = if refused {
            self.limit.min(STUBBORN)
        } else {
            self.limit
        };
        let waited = self.gain.elapsed();
        (waited >= limit).then(|| match error {
            Some(error) => format!("{error} (given up after {:.0} s)", waited.as_secs_f64()),
            None => format!(
                "{}: no answer for {:.0} s; check the server, or wait longer with --patience",
                self.name,
                waited.as_secs_f64()
            ),
        })
    }
}

impl<P: Copy> State<P> {
    fn take(&mut self, id: Uuid) -> Option<P> {
        let waiting = self.waiting.remove(&id)?;
        if let Entry::Occupied(mut namesakes) = self.namesakes.entry(id) {
            if let Some(next) = namesakes.get_mut().pop_front() {
                self.waiting.insert(id, next);
            }
            if namesakes.get().is_empty() {
                namesakes.remove();
            }
        }
        self.bytes -= waiting.bytes;
        Some(waiting.place)
    }

    fn deliver(&mut self, id: Uuid) {
        self.error = None;
        if let Some(place) = self.take(id) {
            (self.tell)(place);
        }
    }
}

/// A backend, and the ledger that is told what it took.
pub(crate) struct Watched<P> {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) ledger: Arc<Ledger<P>>,
}

impl<P: Copy + Send + 'static> Watched<P> {
    /// A batch sets out.
    ///
    /// # Errors
    ///
    /// Nothing is sent any more.
    fn set_out(&self) -> Result<OnTheWay<'_, P>, ExportError> {
        let mut state = self.ledger.lock();
        if state.halted {
            return Err(ExportError::temporary("replay", "interrupted"));
        }
        state.on_the_way += 1;
        Ok(OnTheWay(&self.ledger))
    }
}

/// A batch that is being sent, until this is dropped: then there is an answer, or it was cancelled.
struct OnTheWay<'a, P: Copy>(&'a Ledger<P>);

impl<P: Copy> Drop for OnTheWay<'_, P> {
    fn drop(&mut self) {
        self.0.note(|state| state.on_the_way -= 1);
    }
}

#[async_trait]
impl<P: Copy + Send + 'static> TraceExporter for Watched<P> {
    fn name(&self) -> &str {
        self.backend.name()
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let _on_the_way = self.set_out()?;
        let result = self.backend.export_llm_call(call).await;
        self.ledger.note(|state| match &result {
            Ok(()) => state.deliver(call.id()),
            Err(error) => state.error = Some(error.clone()),
        });
        result
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let _on_the_way = self.set_out()?;
        let result = self.backend.export_batch(calls).await;
        self.ledger.note(|state| match &result {
            Ok(report) => {
                let mut failures = report.failures.iter().peekable();
                for (index, call) in calls.iter().enumerate() {
                    if failures.next_if(|failure| failure.index == index).is_none() {
                        state.deliver(call.id());
                    }
                }
            }
            Err(error) => state.error = Some(error.clone()),
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_one_id_leave_in_the_order_in_which_they_came() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let ledger = Ledger::new({
            let told = Arc::clone(&told);
            move |place: u64| told.lock().unwrap().push(place)
        });
        let id = Uuid::from_u128(7);
        for place in 1..=3 {
            assert!(ledger.expect(id, place, 10, Duration::ZERO));
        }
        assert!(ledger.expect(id, 4, 10, Duration::ZERO));
        ledger.take_back(id);
        ledger.note(|state| state.deliver(id));
        assert_eq!(ledger.place(id), Some(2));
        ledger.give_up(id);
        assert_eq!(ledger.place(id), Some(3));
        ledger.note(|state| state.deliver(id));
        assert_eq!(*told.lock().unwrap(), [1, 3]);
        assert!(ledger.is_empty());
        let state = ledger.lock();
        assert!(state.namesakes.is_empty());
        assert_eq!(state.bytes, 0);
    }
}
