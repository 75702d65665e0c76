//! The decisions: what is sent when, and what becomes of it. Without a clock, a thread or IO: moments come in as
//! [`Instant`]s, results as values, so that every decision can be tested by itself.
//!
//! Two things are kept apart. *Trouble* belongs to the backend: one failure that every call would meet stops everything,
//! and from then on one batch at a time asks whether it is over, until one is taken. A *failed attempt* belongs to a
//! batch: it waits longer each time, and comes back in halves where it may be the batch's own fault (it fails while
//! others are taken, or no answer comes in time). So an outage costs a few requests, and neither a call that the
//! backend chokes on nor a batch too large for a slow line holds up the rest.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use beluga_o11y::{BatchReport, ExportError, ExportErrorKind};

use epochs::Epochs;
use trouble::{Trouble, backoff};

mod epochs;
mod trouble;

/// A batch that fails this often may come back in halves.
const HALVE_AFTER: u32 = 2;
/// A batch that gets no answer for this long may be too large for the line; one that gets none at once is not.
const SLOW: Duration = Duration::from_secs(1);
/// What an exporter makes of a batch while it is on its way, at most, as a multiple of the batch: Opik gets the content
/// twice, in trace and span, and a copy of that may be compressed.
const BODY_FACTOR: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) max_batch_size: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) max_batch_delay: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_memory_bytes: usize,
    pub(crate) max_retry_time: Option<Duration>,
}

impl Rules {
    /// Memory that is kept free for what the exporter makes of batches.
    fn reserve(&self) -> usize {
        self.max_memory_bytes / 3
    }

    /// The most bytes of calls in a batch, so that one always fits into the reserve.
    fn batch_bytes(&self) -> usize {
        self.max_batch_bytes.min(self.reserve() / BODY_FACTOR)
    }

    /// The share of the memory that calls have which come back from the disk: enough for the next batch to be ready
    /// while one is on its way.
    fn backlog_bytes(&self) -> usize {
        (2 * self.batch_bytes()).min(self.max_memory_bytes / 8)
    }

    /// The most bytes that a single call may have.
    pub(crate) fn max_item_bytes(&self) -> usize {
        self.max_memory_bytes - self.reserve()
    }
}

/// A call in the queue.
#[derive(Debug)]
pub(crate) struct Item<T> {
    pub(crate) value: T,
    pub(crate) bytes: usize,
    pub(crate) shortened: bool,
    /// It came from the disk, where it had waited.
    unparked: bool,
    epoch: u64,
    accepted_at: Instant,
    /// How long the backend had already asked to wait when the call came: the longer part is not counted against it.
    ordered_before: Duration,
}

/// Calls that are sent together.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) items: Vec<Item<T>>,
    /// How often it failed, by which the next wait is chosen.
    attempts: u32,
    /// How often it failed for whatever reason, by which batches take turns.
    tries: u32,
    /// It was sent to find out whether the trouble is over.
    asks: bool,
    first_failed_at: Option<Instant>,
    ready_at: Option<Instant>,
    sent_at: Instant,
}

impl<T> Batch<T> {
    fn new(items: Vec<Item<T>>, now: Instant) -> Self {
        Self {
            items,
            attempts: 0,
            tries: 0,
            asks: false,
            first_failed_at: None,
            ready_at: None,
            sent_at: now,
        }
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes).sum()
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.ready_at.is_none_or(|ready| ready <= now)
    }

    /// The second half goes into a batch of its own.
    fn split(&mut self) -> Self {
        Self {
            items: self.items.split_off(self.items.len() / 2),
            ..*self
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Send(Batch<T>),
    /// Nothing, until then, or until told.
    Wait(Option<Instant>),
}

/// How a call left the queue without being delivered.
#[derive(Debug)]
pub(crate) enum Lost {
    Rejected(ExportError),
    /// Too large by itself; it may come back [shortened](Machine::again).
    TooLarge(ExportError),
    Expired(ExportError),
}

/// What a batch came to. The lost ones are pending until [`Machine::release`] or [`Machine::again`].
#[derive(Debug)]
pub(crate) struct Finished<T> {
    pub(crate) delivered: Vec<Item<T>>,
    pub(crate) lost: Vec<(Item<T>, Lost)>,
    /// What every call would meet, if it begins now.
    pub(crate) trouble: Option<ExportError>,
    /// Whether a trouble that was told of is over.
    pub(crate) recovered: bool,
}

/// When the sleeping worker wants to be woken by a new call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Never,
    WhenFull,
    WhenAny,
}

#[derive(Debug)]
pub(crate) struct Machine<T> {
    rules: Rules,
    fresh: VecDeque<Item<T>>,
    fresh_bytes: usize,
    again: VecDeque<Batch<T>>,
    in_flight: usize,
    in_flight_bytes: usize,
    /// A batch is on its way that was sent to find out whether the trouble is over.
    asking: bool,
    /// Calls of batches in flight, and lost ones that are not released yet.
    away: usize,
    /// Bytes of all calls that are pending.
    bytes: usize,
    /// Calls that wait on disk, and take up no memory.
    parked: usize,
    /// Bytes of those that came back from there.
    unparked_bytes: usize,
    /// How many of those have not been sent yet.
    unparked_fresh: usize,
    trouble: Option<Trouble>,
    last_success: Option<Instant>,
    /// All waits that the backend has asked for, together.
    ordered_wait: Duration,
    closing: bool,
    wake: Wake,
    arrived: bool,
    /// Until then the worker looks by itself; a program that makes calls all the time need not wake it for each batch.
    watching_until: Option<Instant>,
    epochs: Epochs,
}

impl<T> Machine<T> {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            again: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            asking: false,
            away: 0,
            bytes: 0,
            parked: 0,
            unparked_bytes: 0,
            unparked_fresh: 0,
            trouble: None,
            last_success: None,
            ordered_wait: Duration::ZERO,
            closing: false,
            wake: Wake::Never,
            arrived: false,
            watching_until: None,
            epochs: Epochs::default(),
        }
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many calls are pending: waiting, on their way, or lost and not released yet.
    pub(crate) fn pending(&self) -> usize {
        self.in_memory() + self.parked
    }

    fn in_memory(&self) -> usize {
        let again: usize = self.again.iter().map(|batch| batch.items.len()).sum();
        self.fresh.len() + again + self.away
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for a new call, beside those that wait on disk and want to come back.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let kept = match self.parked {
            0 => 0,
            _ => self
                .rules
                .backlog_bytes()
                .saturating_sub(self.unparked_bytes),
        };
        self.fits(bytes.saturating_add(kept))
    }

    fn fits(&self, bytes: usize) -> bool {
        let bodies = self.bodies();
        self.bytes.saturating_add(bytes).saturating_add(bodies) <= self.rules.max_memory_bytes
    }

    /// What is on its way takes up, or will. The request of a single huge call may be more, but that must not keep out
    /// all others.
    fn bodies(&self) -> usize {
        let bodies = self.in_flight_bytes.saturating_mul(BODY_FACTOR);
        bodies.clamp(self.rules.reserve(), self.rules.max_memory_bytes / 2)
    }

    /// Takes a call in, whether there is room or not. Returns whether the worker has to be woken.
    pub(crate) fn push(&mut self, value: T, bytes: usize, now: Instant) -> bool {
        let item = Item {
            value,
            bytes,
            shortened: false,
            unparked: false,
            epoch: self.epochs.enter(),
            accepted_at: now,
            ordered_before: self.ordered_wait - self.ordered(now),
        };
        self.enqueue(item)
    }

    fn enqueue(&mut self, item: Item<T>) -> bool {
        self.fresh_bytes += item.bytes;
        self.bytes += item.bytes;
        self.fresh.push_back(item);
        self.arrived = true;
        let wake = match self.wake {
            Wake::Never => false,
            Wake::WhenFull => self.is_full() || self.unparked_fresh > 0,
            Wake::WhenAny => true,
        };
        if wake {
            self.wake = Wake::Never;
        }
        wake
    }

    /// So many calls wait on disk from now on. Returns what they come back with.
    pub(crate) fn park(&mut self, calls: usize) -> u64 {
        self.parked += calls;
        self.epochs.enter_all(calls as u64)
    }

    /// Whether a call of that size may come back from the disk now. A share of the memory is theirs; of the rest they
    /// take none, so that they do not keep out new calls.
    pub(crate) fn may_unpark(&self, bytes: usize) -> bool {
        // One that is larger than all the share goes alone. One that is larger than all the memory was accepted when
        // there was more.
        self.unparked_bytes == 0 && (bytes > self.rules.backlog_bytes() || self.bytes == 0)
            || self.unparked_bytes.saturating_add(bytes) <= self.rules.backlog_bytes()
                && self.fits(bytes)
    }

    /// How many bytes of calls may come back from the disk now, more or less.
    #[cfg(any(feature = "spool", test))]
    pub(crate) fn room_to_unpark(&self) -> usize {
        let room = self
            .rules
            .backlog_bytes()
            .saturating_sub(self.unparked_bytes);
        if self.may_unpark(1) { room.max(1) } else { 0 }
    }

    /// Takes in a call that has waited on disk for so long. Returns whether the worker has to be woken.
    #[cfg(any(feature = "spool", test))]
    pub(crate) fn unpark(
        &mut self,
        value: T,
        bytes: usize,
        epoch: u64,
        age: Duration,
        now: Instant,
    ) -> bool {
        self.parked -= 1;
        self.unparked_bytes += bytes;
        self.unparked_fresh += 1;
        self.enqueue(Item {
            value,
            bytes,
            shortened: false,
            unparked: true,
            epoch,
            accepted_at: now.checked_sub(age).unwrap_or(now),
            ordered_before: self.ordered_wait - self.ordered(now),
        })
    }

    /// Makes room for a call of that size: the newest of the waiting ones that may wait on disk alone do so from now on.
    /// Returns them, oldest first, and what they come back with.
    pub(crate) fn park_waiting(&mut self, bytes: usize, may: impl Fn(&T) -> bool) -> Vec<(T, u64)> {
        let wanted = bytes.saturating_add(self.rules.backlog_bytes());
        let mut stay = VecDeque::with_capacity(self.fresh.len());
        let mut parked = Vec::new();
        let mut freed: usize = 0;
        while let Some(item) = self.fresh.pop_back() {
            if freed >= wanted || !may(&item.value) {
                stay.push_front(item);
                continue;
            }
            freed += item.bytes;
            self.fresh_bytes -= item.bytes;
            self.bytes -= item.bytes;
            self.parked += 1;
            if item.unparked {
                self.unparked_bytes -= item.bytes;
                self.unparked_fresh -= 1;
            }
            parked.push((item.value, item.epoch));
        }
        self.fresh = stay;
        parked.reverse();
        parked
    }

    /// Calls that have waited on disk are accounted for elsewhere from now on.
    pub(crate) fn release_parked(&mut self, epoch: u64, calls: usize) {
        self.parked -= calls;
        self.epochs.leave_all(epoch, calls as u64);
    }

    /// How long the backend still wants to be left alone.
    fn ordered(&self, now: Instant) -> Duration {
        let trouble = self.trouble.as_ref();
        trouble.map_or(Duration::ZERO, |trouble| trouble.ordered(now))
    }

    /// Whether there would be room if nothing but what is on its way were there.
    pub(crate) fn can_make_room(&self, bytes: usize) -> bool {
        let bodies = self.bodies();
        let away = self.in_flight_bytes.saturating_add(bodies);
        away.saturating_add(bytes) <= self.rules.max_memory_bytes
    }

    /// Lets go of all that waits, which stays pending for ever: nobody is left to send it.
    pub(crate) fn abandon(&mut self) -> Vec<T> {
        let again = self.again.drain(..).flat_map(|batch| batch.items);
        let items: Vec<_> = again.chain(self.fresh.drain(..)).collect();
        self.fresh_bytes = 0;
        self.unparked_fresh = 0;
        self.away += items.len();
        items.into_iter().map(|item| item.value).collect()
    }

    /// Takes out the call that waits longest.
    pub(crate) fn pop_oldest(&mut self) -> Option<T> {
        let oldest = self.again.iter().enumerate();
        let oldest = oldest.min_by_key(|(_, batch)| batch.items.first().map(|i| i.accepted_at));
        let item = match oldest.map(|(at, _)| at) {
            Some(at) => {
                let batch = self.again.get_mut(at)?;
                let item = (!batch.items.is_empty()).then(|| batch.items.remove(0));
                if batch.items.is_empty() {
                    self.again.remove(at);
                }
                item?
            }
            None => {
                let item = self.fresh.pop_front()?;
                self.fresh_bytes -= item.bytes;
                self.unparked_fresh -= usize::from(item.unparked);
                item
            }
        };
        self.leave(&item);
        Some(item.value)
    }

    /// Makes one immediate try, whatever trouble there is, unless the backend asked to wait; and sends what has
    /// been accepted so far without waiting for more. Returns what to ask [`is_settled`](Self::is_settled) for.
    pub(crate) fn flush(&mut self, now: Instant) -> u64 {
        if let Some(trouble) = &mut self.trouble {
            trouble.hurry(now, self.asking);
        }
        for batch in &mut self.again {
            batch.ready_at = None;
        }
        self.epochs.close_current()
    }

    /// Whether all that was accepted before that flush has left.
    pub(crate) fn is_settled(&self, epoch: u64) -> bool {
        self.epochs.is_settled(epoch)
    }

    /// How much of what was accepted before that flush is still pending.
    pub(crate) fn pending_until(&self, epoch: u64) -> u64 {
        self.epochs.pending_until(epoch)
    }

    /// Nothing more will come, so nothing waits for more.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        self.wake = Wake::Never;
        if self.arrived {
            self.arrived = false;
            self.watching_until = now.checked_add(self.rules.max_batch_delay);
        }
        if self.in_flight >= self.rules.max_in_flight {
            return Next::Wait(None);
        }
        if let Some(trouble) = &self.trouble {
            if self.asking {
                return Next::Wait(None);
            }
            if trouble.until() > now {
                return Next::Wait(Some(trouble.until()));
            }
        }
        let Some(mut batch) = self.pick(now) else {
            return Next::Wait(self.sleep(now));
        };
        let bytes = batch.bytes();
        if self.in_flight > 0 && !self.has_memory_for_body(bytes) {
            self.again.push_front(batch);
            return Next::Wait(None);
        }
        batch.sent_at = now;
        batch.asks = self.trouble.is_some();
        self.asking |= batch.asks;
        self.in_flight += 1;
        self.in_flight_bytes += bytes;
        self.away += batch.items.len();
        Next::Send(batch)
    }

    fn has_memory_for_body(&self, bytes: usize) -> bool {
        let bodies = (self.in_flight_bytes + bytes).saturating_mul(BODY_FACTOR);
        let free = self.rules.max_memory_bytes.saturating_sub(self.bytes);
        bodies
            <= free
                .min(self.rules.max_memory_bytes / 2)
                .max(self.rules.reserve())
    }

    /// Repeated ones first, since they are older; but while there is trouble, whatever was tried least, so that one
    /// batch that the backend chokes on is not the only one that asks.
    fn pick(&mut self, now: Instant) -> Option<Batch<T>> {
        let ready = self
            .again
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.is_ready(now))
            .min_by_key(|(_, batch)| batch.tries);
        let fresh = self.is_due(now);
        match ready {
            Some((at, batch)) if !(fresh && self.trouble.is_some() && batch.tries > 0) => {
                self.again.remove(at)
            }
            _ if fresh => Some(self.take_fresh(now)),
            _ => None,
        }
    }

    fn take_fresh(&mut self, now: Instant) -> Batch<T> {
        let (mut count, mut bytes) = (0, 0);
        for item in self.fresh.iter().take(self.rules.max_batch_size) {
            if count > 0 && bytes + item.bytes > self.rules.batch_bytes() {
                break;
            }
            count += 1;
            bytes += item.bytes;
            self.unparked_fresh -= usize::from(item.unparked);
        }
        self.fresh_bytes -= bytes;
        Batch::new(self.fresh.drain(..count).collect(), now)
    }

    fn is_full(&self) -> bool {
        self.fresh.len() >= self.rules.max_batch_size
            || self.fresh_bytes >= self.rules.batch_bytes()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.fresh.front().is_some_and(|oldest| {
            self.closing
                || self.is_full()
                // It has waited long enough.
                || self.unparked_fresh > 0
                || self.epochs.is_closed(oldest.epoch)
                || now.saturating_duration_since(oldest.accepted_at) >= self.rules.max_batch_delay
        })
    }

    /// Until when there is nothing to do, and by what to be woken earlier.
    fn sleep(&mut self, now: Instant) -> Option<Instant> {
        let again = self.again.iter().filter_map(|batch| batch.ready_at).min();
        let watching = self.watching_until.filter(|until| *until > now);
        let fresh = match self.fresh.front() {
            Some(oldest) => oldest.accepted_at.checked_add(self.rules.max_batch_delay),
            None => watching,
        };
        self.wake = if self.fresh.is_empty() && watching.is_none() {
            Wake::WhenAny
        } else {
            Wake::WhenFull
        };
        again.into_iter().chain(fresh).min()
    }

    /// Takes in what the exporter said of a batch.
    pub(crate) fn finish(
        &mut self,
        mut batch: Batch<T>,
        result: Result<BatchReport, ExportError>,
        now: Instant,
    ) -> Finished<T> {
        self.in_flight -= 1;
        self.in_flight_bytes -= batch.bytes();
        self.away -= batch.items.len();
        self.asking &= !batch.asks;
        let sent_at = batch.sent_at;
        let mut finished = Finished {
            delivered: Vec::new(),
            lost: Vec::new(),
            trouble: None,
            recovered: false,
        };
        match result {
            Ok(report) => {
                let again = sort_out(&mut batch, report, &mut finished);
                let taken = !finished.delivered.is_empty();
                match again {
                    None if taken => self.succeeded(sent_at, now, &mut finished),
                    None => {}
                    Some(error) => {
                        if taken {
                            self.last_success = Some(now);
                            if let Some(trouble) = &mut self.trouble {
                                trouble.alive(now);
                            }
                        }
                        self.fail(batch, &error, now, &mut finished);
                    }
                }
            }
            Err(error) if error.kind().affects_every_call() => {
                self.fail(batch, &error, now, &mut finished);
            }
            // Whoever refuses a request is there.
            Err(error) => {
                self.succeeded(sent_at, now, &mut finished);
                self.divide(batch, error, &mut finished);
            }
        }
        for item in &finished.delivered {
            self.leave(item);
        }
        self.away += finished.lost.len();
        finished
    }

    fn succeeded(&mut self, sent_at: Instant, now: Instant, finished: &mut Finished<T>) {
        self.last_success = Some(now);
        if let Some(trouble) = self
            .trouble
            .take_if(|trouble| trouble.is_over(sent_at, now))
        {
            finished.recovered = trouble.was_told();
        }
    }

    /// Something in it is bad, or it is too large: in halves, until it is alone.
    fn divide(&mut self, mut batch: Batch<T>, error: ExportError, finished: &mut Finished<T>) {
        batch.ready_at = None;
        if batch.items.len() > 1 {
            let second = batch.split();
            self.again.push_front(second);
            self.again.push_front(batch);
            return;
        }
        let lost = |item| match error.kind() {
            ExportErrorKind::TooLarge => (item, Lost::TooLarge(error.clone())),
            _ => (item, Lost::Rejected(error.clone())),
        };
        finished.lost.extend(batch.items.into_iter().map(lost));
    }

    /// The backend takes nothing now: everything waits.
    fn fail(
        &mut self,
        mut batch: Batch<T>,
        error: &ExportError,
        now: Instant,
        finished: &mut Finished<T>,
    ) {
        let trouble = self
            .trouble
            .get_or_insert_with(|| Trouble::new(batch.sent_at, now));
        let hurried = trouble.is_hurried();
        self.ordered_wait += trouble.failed(error, batch.sent_at, now);
        if trouble.tell(error, now) {
            finished.trouble = Some(error.clone());
        }
        let ordered = error.retry_after().is_some();
        if !ordered {
            self.expire(&mut batch, error, now, &mut finished.lost);
        }
        batch.tries += 1;
        if error.kind() == ExportErrorKind::Temporary {
            let first = *batch.first_failed_at.get_or_insert(batch.sent_at);
            let alone = self.last_success.is_some_and(|success| success > first);
            let slow = now.saturating_duration_since(batch.sent_at) >= SLOW;
            let unanswered = slow && error.status().is_none();
            let halve =
                batch.tries >= HALVE_AFTER && batch.items.len() > 1 && (alone || unanswered);
            if halve {
                // A half has not failed yet, so it does not wait for long; if it does, it is halved at once.
                (batch.tries, batch.attempts) = (HALVE_AFTER - 1, 0);
            }
            if !ordered {
                batch.attempts += 1;
                batch.ready_at = if hurried {
                    None
                } else {
                    now.checked_add(backoff(batch.attempts))
                };
            }
            if halve {
                let second = batch.split();
                self.again.push_back(second);
            }
        }
        if !batch.items.is_empty() {
            self.again.push_back(batch);
        }
    }

    /// Takes out of the batch, and of those that failed before, what has been tried for too long.
    fn expire(
        &mut self,
        batch: &mut Batch<T>,
        error: &ExportError,
        now: Instant,
        lost: &mut Vec<(Item<T>, Lost)>,
    ) {
        let Some(max) = self.rules.max_retry_time else {
            return;
        };
        let ordered_wait = self.ordered_wait;
        let is_old = |item: &Item<T>| {
            let age = now.saturating_duration_since(item.accepted_at);
            age.saturating_sub(ordered_wait.saturating_sub(item.ordered_before)) >= max
        };
        for batch in self.again.iter_mut().chain([batch]) {
            let items = batch.items.extract_if(.., |item| is_old(item));
            lost.extend(items.map(|item| (item, Lost::Expired(error.clone()))));
        }
        self.again.retain(|batch| !batch.items.is_empty());
    }

    /// A lost call is accounted for elsewhere from now on.
    pub(crate) fn release(&mut self, item: &Item<T>) {
        self.away -= 1;
        self.leave(item);
    }

    /// A lost call goes once more, with another size.
    pub(crate) fn again(&mut self, mut item: Item<T>, bytes: usize, now: Instant) {
        self.away -= 1;
        self.bytes = self.bytes - item.bytes + bytes;
        if item.unparked {
            self.unparked_bytes = self.unparked_bytes - item.bytes + bytes;
        }
        item.bytes = bytes;
        self.again.push_front(Batch::new(vec![item], now));
    }

    fn leave(&mut self, item: &Item<T>) {
        self.bytes -= item.bytes;
        if item.unparked {
            self.unparked_bytes -= item.bytes;
        }
        self.epochs.leave(item.epoch);
    }
}

/// Sorts the calls of a batch by what the report says of each. Those that stay in it have to be sent again, because of
/// the error that comes back.
fn sort_out<T>(
    batch: &mut Batch<T>,
    report: BatchReport,
    finished: &mut Finished<T>,
) -> Option<ExportError> {
    let mut failures = report.failures;
    failures.sort_by_key(|failure| failure.index);
    failures.dedup_by_key(|failure| failure.index);
    if failures.is_empty() {
        finished.delivered = std::mem::take(&mut batch.items);
        return None;
    }
    let mut failures = failures.into_iter().peekable();
    let mut again = None;
    for (index, item) in std::mem::take(&mut batch.items).into_iter().enumerate() {
        let Some(failure) = failures.next_if(|failure| failure.index == index) else {
            finished.delivered.push(item);
            continue;
        };
        match failure.error.kind() {
            ExportErrorKind::Temporary | ExportErrorKind::Destination => {
                batch.items.push(item);
                // The longest wait that the backend asked for, if it asked for several.
                let waits = |error: &ExportError| error.retry_after();
                if again
                    .as_ref()
                    .is_none_or(|first| waits(first) < waits(&failure.error))
                {
                    again = Some(failure.error);
                }
            }
            ExportErrorKind::TooLarge => {
                finished.lost.push((item, Lost::TooLarge(failure.error)));
            }
            _ => finished.lost.push((item, Lost::Rejected(failure.error))),
        }
    }
    again
}

#[cfg(test)]
mod tests;
