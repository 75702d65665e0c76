//! What those who submit, the worker and the keeper of the files share.
//!
//! Whoever submits a call writes it to the file on its own thread if nobody else is writing: another thread would have
//! to be woken for it and wake this one again, which takes several times as long as the write. Who comes meanwhile waits
//! for the pen, and whoever gets it next writes for all who wait, in one transaction. Only where the disk itself has to be waited for
//! ([`Durability::Power`]), or was slow just now, does the keeper write: then whoever submits can give up in time.

use std::{
    collections::VecDeque,
    mem,
    ops::RangeInclusive,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::store::{Contents, Letter, Record, Store, StoreError, cost};
use crate::{Durability, Spool, SpoolStats, row::Row};

/// After a failure, the disk is left alone for so long.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After a slow write, the keeper writes for so long.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// So much in the log is worth a checkpoint.
const CHECKPOINT_BYTES: u64 = 4 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) spool: Spool,
    /// Whether a full spool drops its oldest calls.
    drops_oldest: bool,
    state: Mutex<State>,
    /// The pen is free, or something was written, cleared away, or closed.
    changed: Condvar,
    /// There is something to do for the keeper.
    work: Condvar,
    /// The file that new calls are written to. Only whoever has the pen uses it.
    own: Mutex<Option<Store>>,
}

/// What is shared.
#[derive(Debug)]
pub(super) struct State {
    /// Since when somebody has had the pen.
    pen: Option<Instant>,
    /// What waits to be written.
    queue: Vec<Arc<Ticket>>,
    /// How many wait for a change.
    waiting: usize,
    next_id: i64,
    /// The number of the file that new calls are written to.
    own: Option<u32>,
    /// That file turned out to be damaged.
    pub(super) own_damaged: bool,
    /// Why calls are not durable now.
    trouble: Option<Trouble>,
    /// Until then nothing is tried.
    retry_at: Option<Instant>,
    slow_until: Option<Instant>,
    /// What was written to the log and is not in the file yet.
    pub(super) log_bytes: u64,
    /// The keeper has something to do.
    work: bool,
    /// The keeper waits.
    idle: bool,
    pub(super) settled: Vec<Row>,
    pub(super) letters: Vec<Letter>,
    /// What was settled is being deleted.
    pub(super) clearing: bool,
    pub(super) send_again: bool,
    /// A call was not written for want of room.
    pub(super) is_full: bool,
    /// Calls that wait on disk alone, oldest first.
    ranges: VecDeque<Range>,
    pub(super) stats: SpoolStats,
    /// What other processes had left at the start has been taken over.
    adopted: bool,
    closing: bool,
    closed: bool,
}

/// Why calls are not durable.
#[derive(Debug)]
struct Trouble {
    what: String,
    told: bool,
    over: bool,
}

/// What there is to tell of the disk.
#[derive(Debug)]
pub(super) enum News {
    Trouble(String),
    Over,
}

/// A call that is to be written.
#[derive(Debug)]
struct Ticket {
    record: Record,
    outcome: AtomicU8,
}

const WAITS: u8 = 0;
const WRITTEN: u8 = 1;
const FAILED: u8 = 2;

/// Calls that wait on disk alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) file: u32,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: usize,
    pub(super) epoch: u64,
    /// Of an earlier process.
    pub(super) adopted: bool,
}

impl State {
    /// The disk is left alone for now.
    pub(super) fn must_wait(&self) -> bool {
        self.retry_at.is_some_and(|at| at > Instant::now())
    }
}

impl Range {
    pub(super) fn ids(&self) -> RangeInclusive<i64> {
        self.first..=self.last
    }
}

/// The right to write to the file of this process.
#[derive(Debug)]
pub(super) struct Pen<'a>(&'a Desk);

impl Pen<'_> {
    pub(super) fn own(&self) -> MutexGuard<'_, Option<Store>> {
        self.0.own()
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.pen = None;
        self.0.announce(&state);
    }
}

impl Desk {
    pub(super) fn new(spool: Spool, drops_oldest: bool) -> Self {
        Self {
            spool,
            drops_oldest,
            state: Mutex::new(State {
                pen: None,
                queue: Vec::new(),
                waiting: 0,
                next_id: 1,
                own: None,
                own_damaged: false,
                trouble: None,
                retry_at: None,
                slow_until: None,
                log_bytes: 0,
                work: true,
                idle: false,
                settled: Vec::new(),
                letters: Vec::new(),
                clearing: false,
                send_again: false,
                is_full: false,
                ranges: VecDeque::new(),
                stats: SpoolStats::default(),
                adopted: false,
                closing: false,
                closed: false,
            }),
            changed: Condvar::new(),
            work: Condvar::new(),
            own: Mutex::new(None),
        }
    }

    /// Nothing that panics runs under it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Option<Store>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let (mut state, _) = self
            .changed
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Writes a call. Returns where it is, if it may be there.
    pub(super) fn write(&self, json: Vec<u8>) -> Option<Row> {
        let patience = self.spool.write_timeout;
        let began = Instant::now();
        let mut state = self.lock();
        if state.own.is_none() || state.closing || state.must_wait() {
            return None;
        }
        // Whoever has the pen is stuck.
        if state
            .pen
            .is_some_and(|since| began.saturating_duration_since(since) >= patience)
        {
            self.note_slow(&mut state);
            return None;
        }
        let cost = cost(json.len());
        while state.stats.bytes.saturating_add(cost) > self.spool.max_bytes {
            state.is_full = true;
            self.call_keeper(&mut state);
            let left = patience.saturating_sub(began.elapsed());
            if !self.drops_oldest || state.ranges.is_empty() || left.is_zero() || state.closing {
                return None;
            }
            // A few more while the oldest are dropped.
            if state.stats.bytes <= self.spool.max_bytes / 16 * 17 {
                break;
            }
            state = self.wait(state, left);
        }
        let file = state.own?;
        let id = state.next_id;
        state.next_id += 1;
        let ticket = Arc::new(Ticket {
            record: Record {
                id,
                time: now(),
                json,
            },
            outcome: AtomicU8::new(WAITS),
        });
        state.queue.push(Arc::clone(&ticket));
        let mut row = Row {
            file,
            id,
            durable: true,
        };
        loop {
            match ticket.outcome.load(Ordering::Acquire) {
                WRITTEN => {
                    state.stats.durable += 1;
                    return Some(row);
                }
                // Who knows how far it got.
                FAILED => {
                    row.durable = false;
                    return Some(row);
                }
                _ => {}
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                self.note_slow(&mut state);
                let waiting = state.queue.len();
                state.queue.retain(|other| !Arc::ptr_eq(other, &ticket));
                // Unless it is being written right now.
                row.durable = false;
                return (state.queue.len() == waiting).then_some(row);
            }
            // The keeper may be busy with something else.
            let keeper_has = (patience / 2).saturating_sub(began.elapsed());
            let keeper_writes = self.keeper_writes(&state) && !keeper_has.is_zero();
            if state.pen.is_none() {
                if !keeper_writes {
                    state = self.write_queue(state);
                    continue;
                }
                self.call_keeper(&mut state);
            }
            let left = if keeper_writes { keeper_has } else { left };
            state = self.wait(state, left);
        }
    }

    fn keeper_writes(&self, state: &State) -> bool {
        self.spool.durability == Durability::Power
            || state.slow_until.is_some_and(|until| until > Instant::now())
    }

    fn note_slow(&self, state: &mut State) {
        state.slow_until = Instant::now().checked_add(SLOW_FOR);
        let patience = self.spool.write_timeout;
        self.note_trouble(state, || format!("the disk takes longer than {patience:?}"));
    }

    pub(super) fn note_trouble(&self, state: &mut State, what: impl FnOnce() -> String) {
        match &mut state.trouble {
            Some(trouble) => trouble.over = false,
            None => {
                state.trouble = Some(Trouble {
                    what: what(),
                    told: false,
                    over: false,
                });
                self.call_keeper(state);
            }
        }
    }

    /// The disk did not take something.
    pub(super) fn note_failure(&self, state: &mut State, error: &StoreError) {
        state.retry_at = Instant::now().checked_add(RETRY_AFTER);
        self.note_trouble(state, || error.to_string());
    }

    /// Writes all that waits, for everybody. The pen must be free.
    fn write_queue<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let tickets = mem::take(&mut state.queue);
        let began = Instant::now();
        state.pen = Some(began);
        drop(state);
        let records = tickets.iter().map(|ticket| &ticket.record);
        let result = self.own().as_ref().map(|own| own.insert(records));
        let took = began.elapsed();
        let mut state = self.lock();
        state.pen = None;
        let outcome = if let Some(Ok(())) = result {
            WRITTEN
        } else {
            FAILED
        };
        for ticket in &tickets {
            ticket.outcome.store(outcome, Ordering::Release);
            if outcome == WRITTEN {
                state.stats.bytes += cost(ticket.record.json.len());
                state.log_bytes += ticket.record.json.len() as u64 + 4096;
            }
        }
        match result {
            Some(Err(error)) => {
                if let StoreError::Damaged(_) = error {
                    state.own_damaged = true;
                    self.call_keeper(&mut state);
                }
                self.note_failure(&mut state, &error);
            }
            Some(Ok(())) if took < self.spool.write_timeout => {
                if let Some(trouble) = &mut state.trouble {
                    trouble.over = true;
                    self.call_keeper(&mut state);
                }
            }
            _ => {}
        }
        if took >= self.spool.write_timeout / 2 {
            state.slow_until = Instant::now().checked_add(SLOW_FOR);
        }
        if state.log_bytes >= CHECKPOINT_BYTES {
            self.call_keeper(&mut state);
        }
        self.announce(&state);
        state
    }

    /// The keeper's part: writes what waits, if nobody else does.
    pub(super) fn write_for_others(&self) {
        let state = self.lock();
        if state.pen.is_none() && !state.queue.is_empty() {
            drop(self.write_queue(state));
        }
    }

    /// Waits for the pen.
    pub(super) fn take_pen(&self) -> Pen<'_> {
        let mut state = self.lock();
        while state.pen.is_some() {
            state = self.wait(state, Duration::from_secs(1));
        }
        state.pen = Some(Instant::now());
        Pen(self)
    }

    /// Exchanges the file that new calls are written to. Returns the one before.
    pub(super) fn exchange_own(&self, new: Option<(u32, Store)>) -> Option<Store> {
        let pen = self.take_pen();
        let (file, store) = new.unzip();
        let before = mem::replace(&mut *pen.own(), store);
        let mut state = self.lock();
        // They were meant for the one before.
        for ticket in state.queue.drain(..) {
            ticket.outcome.store(FAILED, Ordering::Release);
        }
        state.own = file;
        state.own_damaged = false;
        state.retry_at = None;
        state.log_bytes = 0;
        drop(state);
        drop(pen);
        before
    }

    /// Ids that nobody else uses in the file of this process.
    pub(super) fn reserve_ids(&self, count: usize) -> i64 {
        let mut state = self.lock();
        let first = state.next_id;
        state.next_id += i64::try_from(count).unwrap_or(i64::MAX);
        first
    }

    /// These calls have left the pipeline, some as dead letters to be kept.
    pub(super) fn settle(
        &self,
        rows: impl IntoIterator<Item = Row>,
        letters: impl IntoIterator<Item = Letter>,
    ) {
        let mut state = self.lock();
        if state.closed {
            // Nobody is left to delete them; whoever takes over the file sends them again.
            return;
        }
        for row in rows {
            let durable = u64::from(row.durable);
            state.stats.durable = state.stats.durable.saturating_sub(durable);
            state.settled.push(row);
        }
        state.letters.extend(letters);
        self.call_keeper(&mut state);
    }

    /// A call waits on disk alone from now on.
    pub(super) fn park(&self, row: Row, epoch: u64) {
        let mut state = self.lock();
        match state.ranges.back_mut() {
            Some(range)
                if range.file == row.file
                    && !range.adopted
                    && range.epoch == epoch
                    && range.last.checked_add(1) == Some(row.id) =>
            {
                range.last = row.id;
                range.count += 1;
            }
            _ => state.ranges.push_back(Range {
                file: row.file,
                first: row.id,
                last: row.id,
                count: 1,
                epoch,
                adopted: false,
            }),
        }
    }

    /// Calls of an earlier process wait. They are older than all of this one.
    pub(super) fn adopt(&self, range: Range) {
        let mut state = self.lock();
        let at = state.ranges.iter().position(|range| !range.adopted);
        let at = at.unwrap_or(state.ranges.len());
        state.stats.durable += range.count as u64;
        state.ranges.insert(at, range);
    }

    /// The calls that have waited longest.
    pub(super) fn front(&self) -> Option<Range> {
        self.lock().ranges.front().cloned()
    }

    /// There are more or fewer dead letters.
    pub(super) fn count_letters(&self, change: impl FnOnce(u64) -> u64) {
        let mut state = self.lock();
        state.stats.dead_letters = change(state.stats.dead_letters);
    }

    /// Calls on disk are given up.
    pub(super) fn lose(&self, calls: usize) {
        let mut state = self.lock();
        state.stats.durable = state.stats.durable.saturating_sub(calls as u64);
    }

    /// Whether any calls of that file wait.
    pub(super) fn has_ranges_of(&self, file: u32) -> bool {
        self.lock().ranges.iter().any(|range| range.file == file)
    }

    /// The first call of the first range does not wait any more, which is that one. Returns how many calls of that range
    /// should have come before its end, and were not there.
    pub(super) fn advance(&self, id: i64) -> usize {
        let mut state = self.lock();
        let Some(range) = state.ranges.front_mut() else {
            return 0;
        };
        range.count = range.count.saturating_sub(1);
        if range.count == 0 || id >= range.last {
            let missing = range.count;
            state.ranges.pop_front();
            missing
        } else {
            range.first = id + 1;
            0
        }
    }

    /// Only that is left of the first range. Returns how many calls are given up.
    pub(super) fn shrink(&self, range: &Range, left: Option<Contents>) -> usize {
        let mut state = self.lock();
        let Some(front) = state.ranges.front_mut().filter(|front| *front == range) else {
            return 0;
        };
        let before = front.count;
        let Some(Contents { first, last, count }) = left else {
            state.ranges.pop_front();
            return before;
        };
        (front.first, front.last, front.count) = (first, last, count.min(before));
        before - front.count
    }

    /// How much more is on disk than may be.
    pub(super) fn excess(&self) -> u64 {
        if !self.drops_oldest {
            return 0;
        }
        self.lock().stats.bytes.saturating_sub(self.spool.max_bytes)
    }

    /// Tells the keeper that there is something to do.
    pub(super) fn wake(&self) {
        self.call_keeper(&mut self.lock());
    }

    fn call_keeper(&self, state: &mut State) {
        state.work = true;
        if mem::take(&mut state.idle) {
            self.work.notify_one();
        }
    }

    /// The keeper waits until there is something to do, so long at most. Returns whether it is to go on.
    pub(super) fn wait_for_work(&self, most: Duration) -> bool {
        let mut state = self.lock();
        if !state.work && !state.closing {
            state.idle = true;
            (state, _) = self
                .work
                .wait_timeout(state, most)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle = false;
        }
        state.work = false;
        !state.closing
    }

    /// What the keeper has to tell, once.
    pub(super) fn news(&self) -> Option<News> {
        let mut state = self.lock();
        let trouble = state.trouble.as_mut()?;
        if !mem::replace(&mut trouble.told, true) {
            return Some(News::Trouble(trouble.what.clone()));
        }
        state
            .trouble
            .take_if(|trouble| trouble.over)
            .map(|_| News::Over)
    }

    /// Waits until all that was settled has been deleted, or the disk refuses.
    pub(super) fn cleared_by(&self, until: Instant) {
        let mut state = self.lock();
        while !state.closed && state.trouble.as_ref().is_none_or(|trouble| trouble.over) {
            let left = until.saturating_duration_since(Instant::now());
            let clear = state.settled.is_empty() && state.letters.is_empty() && !state.clearing;
            if clear || left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
    }

    /// What was settled has been deleted, or will be tried again.
    pub(super) fn cleared(&self) {
        let mut state = self.lock();
        state.clearing = false;
        self.announce(&state);
    }

    pub(super) fn adopted(&self) {
        let mut state = self.lock();
        state.adopted = true;
        self.announce(&state);
    }

    /// Waits until it is known what other processes had left at the start.
    pub(super) fn adopted_by(&self, until: Instant) {
        let mut state = self.lock();
        while !state.adopted && !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.call_keeper(&mut state);
    }

    /// The files are closed, and the locks are free.
    pub(super) fn closed(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.closed = true;
        state.own = None;
        for ticket in state.queue.drain(..) {
            ticket.outcome.store(FAILED, Ordering::Release);
        }
        self.announce(&state);
    }

    /// Waits until the files are closed.
    pub(super) fn closed_by(&self, until: Instant) {
        let mut state = self.lock();
        while !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, thread};

    use tempfile::TempDir;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn desk(spool: Spool) -> (TempDir, Desk) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().canonicalize().unwrap().join("a.db");
        File::create(&path).unwrap();
        let store = Store::create(&path, spool.durability, spool.write_timeout).unwrap();
        let desk = Desk::new(spool, false);
        desk.exchange_own(Some((1, store)));
        (dir, desk)
    }

    fn json() -> Vec<u8> {
        b"{}".to_vec()
    }

    #[test]
    fn who_waits_for_the_keeper_is_served_although_the_disk_is_quick_again() {
        let (_dir, desk) = desk(Spool::new("").with_write_timeout(10 * SECOND));
        desk.lock().slow_until = Some(Instant::now() + SECOND / 20);
        thread::scope(|scope| {
            let began = Instant::now();
            let writer = scope.spawn(|| desk.write(json()));
            assert!(desk.wait_for_work(SECOND));
            // The keeper comes late.
            thread::sleep(SECOND / 10);
            desk.write_for_others();
            assert!(writer.join().unwrap().is_some_and(|row| row.durable));
            assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
        });
    }

    #[test]
    fn a_keeper_that_is_busy_is_not_waited_for_to_the_end() {
        let spool = Spool::new("").with_write_timeout(SECOND);
        let (_dir, desk) = desk(spool.with_durability(Durability::Power));
        let began = Instant::now();
        let row = desk.write(json());
        assert!(row.is_some_and(|row| row.durable));
        assert!(began.elapsed() >= SECOND / 2, "{:?}", began.elapsed());
    }

    #[test]
    fn whoever_holds_the_pen_for_too_long_is_not_waited_for_again() {
        let (_dir, desk) = desk(Spool::new("").with_write_timeout(SECOND / 5));
        let pen = desk.take_pen();
        let began = Instant::now();
        assert_eq!(desk.write(json()), None);
        assert!(began.elapsed() >= SECOND / 5);
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(desk.write(json()), None);
        }
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        assert!(matches!(desk.news(), Some(News::Trouble(what)) if what.contains("200ms")));
        drop(pen);
        assert!(desk.news().is_none());
        assert!(desk.write(json()).is_some_and(|row| row.durable));
        assert!(matches!(desk.news(), Some(News::Over)));
    }

    #[test]
    fn what_was_meant_for_another_file_is_not_written_to_this_one() {
        let (_dir, desk) = desk(Spool::new("").with_write_timeout(10 * SECOND));
        thread::scope(|scope| {
            let pen = desk.take_pen();
            let writer = scope.spawn(|| desk.write(json()));
            while desk.lock().queue.is_empty() {
                thread::yield_now();
            }
            let exchange = scope.spawn(|| desk.exchange_own(None).is_some());
            drop(pen);
            let row = writer.join().unwrap();
            assert!(exchange.join().unwrap());
            // It may have been quicker; then it is where it says.
            assert!(row.is_some_and(|row| row.file == 1));
        });
        assert_eq!(desk.write(json()), None);
    }

    #[test]
    fn calls_that_wait_are_kept_as_ranges_in_their_order() {
        let (_dir, desk) = desk(Spool::new(""));
        let row = |id| Row {
            file: 1,
            id,
            durable: true,
        };
        for id in [1, 2, 3, 7] {
            desk.park(row(id), 5);
        }
        desk.park(row(8), 6);
        let adopted = Range {
            file: 2,
            first: 1,
            last: 90,
            count: 3,
            epoch: 6,
            adopted: true,
        };
        desk.adopt(adopted.clone());
        let ranges = |desk: &Desk| {
            let ranges = desk.lock().ranges.clone();
            ranges
                .iter()
                .map(|range| (range.file, range.ids(), range.count))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ranges(&desk),
            [(2, 1..=90, 3), (1, 1..=3, 3), (1, 7..=7, 1), (1, 8..=8, 1)]
        );
        desk.advance(40);
        assert_eq!(
            desk.front().map(|range| (range.first, range.count)),
            Some((41, 2))
        );
        // It has changed.
        assert_eq!(desk.shrink(&adopted, None), 0);
        let front = desk.front().unwrap();
        let left = Contents {
            first: 80,
            last: 90,
            count: 1,
        };
        assert_eq!(desk.shrink(&front, Some(left)), 1);
        desk.advance(80);
        assert_eq!(ranges(&desk), [(1, 1..=3, 3), (1, 7..=7, 1), (1, 8..=8, 1)]);
        let front = desk.front().unwrap();
        assert_eq!(desk.shrink(&front, None), 3);
        assert!(desk.has_ranges_of(1) && !desk.has_ranges_of(2));
    }
}
