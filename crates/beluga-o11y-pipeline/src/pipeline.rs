//! The handle: what a program holds, and what it shares with the worker.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use beluga_o11y::{
    BatchReport, CallSink, ExportError, ExportErrorKind, LLMCallData, Refusal, Submission,
    TraceExporter,
};
use tokio::sync::{Notify, oneshot};

use crate::{
    FlushReport, LossReason, Overflow, PipelineBuilder, PipelineStats,
    machine::{Machine, Rules},
    redact::Redactor,
    row::{Entry, Row},
    sample::Sampler,
    size::size,
    spool::Disk,
};

thread_local! {
    /// In the thread of a pipeline: which one's; 0 in all others.
    pub(crate) static WORKER_OF: Cell<usize> = const { Cell::new(0) };
}

/// Between the end of a flush and the drop of the last handle, where one follows from the other.
const JUST_NOW: Duration = Duration::from_secs(1);

/// Takes calls out of the program's way and delivers them; see the [crate] for what it promises.
///
/// A clone is a handle to the same pipeline. When the last one is dropped, it waits for what is pending, at most as long
/// as [`with_drop_timeout`](PipelineBuilder::with_drop_timeout) says.
///
/// As a [`CallSink`] it takes calls at once and tells what became of each. As a [`TraceExporter`] it can stand wherever
/// an exporter can; `Ok` then means that the call was accepted (or is not in the sample), and `flush` waits until
/// everything accepted before it is settled.
#[derive(Clone)]
pub struct Pipeline(Arc<Handle>);

/// Dropped with the last clone of the pipeline.
struct Handle {
    shared: Arc<Shared>,
    drop_timeout: Duration,
}

/// What the handles and the worker share.
pub(crate) struct Shared {
    pub(crate) name: String,
    intake: Intake,
    pub(crate) disk: Option<Disk>,
    state: Mutex<State>,
    /// Wakes the worker.
    pub(crate) wake: Notify,
    /// A pending call was settled, or the worker has gone.
    settled: Condvar,
    /// Memory was freed.
    room: Condvar,
    /// The deadline of a shutdown is over.
    pub(crate) stop: AtomicBool,
}

/// What happens to a call before it is queued.
pub(crate) struct Intake {
    pub(crate) overflow: Overflow,
    pub(crate) sampler: Sampler,
    pub(crate) redactor: Option<Redactor>,
}

pub(crate) struct State {
    pub(crate) machine: Machine<Entry>,
    /// Without what the machine knows itself: pending.
    pub(crate) stats: PipelineStats,
    /// No call is taken any more.
    pub(crate) closed: bool,
    /// Nobody holds a handle any more: the worker ends when it is done.
    pub(crate) abandoned: bool,
    /// The first loss of each kind, for the worker to warn of.
    pub(crate) losses: Losses,
    /// What was given up on disk, for the worker to tell of.
    pub(crate) fallen: Vec<Fallen>,
    /// How many of them the worker has not told of yet.
    pub(crate) falling: usize,
    /// Futures that wait for a flush.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    /// Threads that wait for a flush, and for room. To wake nobody would be a system call all the same.
    waiting_for_flush: usize,
    waiting_for_room: usize,
    /// The last flush that ran out of time.
    gave_up: Option<GaveUp>,
    /// The worker has ended.
    gone: bool,
}

/// A call that had waited on disk and was given up there. It is pending until the worker has told of it.
#[derive(Debug)]
pub(crate) struct Fallen {
    pub(crate) call: Arc<LLMCallData>,
    pub(crate) reason: LossReason,
    pub(crate) error: ExportError,
    pub(crate) epoch: u64,
    /// Where it is until then.
    pub(crate) row: Row,
}

struct GaveUp {
    at: Instant,
    waited: Duration,
    /// How many calls had been accepted by then.
    accepted: u64,
}

/// What has been lost, to be warned of once each.
#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) new: Vec<Loss>,
    known: Vec<&'static str>,
}

/// The first loss of a kind. Its error is not printed under the lock: its cause is of the exporter's making.
pub(crate) struct Loss {
    pub(crate) what: String,
    pub(crate) error: Option<ExportError>,
}

impl Losses {
    /// Returns whether it is the first of its kind.
    pub(crate) fn note(
        &mut self,
        kind: &'static str,
        what: impl FnOnce() -> String,
        error: Option<&ExportError>,
    ) -> bool {
        if self.known.contains(&kind) {
            return false;
        }
        self.known.push(kind);
        self.new.push(Loss {
            what: what(),
            error: error.cloned(),
        });
        true
    }
}

/// Futures whose flush has been settled. They are woken when this is dropped, which must not be under the lock: what
/// they are woken by is of somebody else's making.
#[must_use]
#[derive(Default)]
pub(crate) struct Settled(Vec<oneshot::Sender<()>>);

impl Drop for Settled {
    fn drop(&mut self) {
        for sender in self.0.drain(..) {
            let _ = sender.send(());
        }
    }
}

impl Pipeline {
    /// A pipeline around this exporter, to be configured and [spawned](PipelineBuilder::spawn).
    pub fn builder(exporter: impl TraceExporter + 'static) -> PipelineBuilder {
        PipelineBuilder::new(exporter)
    }

    pub(crate) fn new(shared: Arc<Shared>, drop_timeout: Duration) -> Self {
        Self(Arc::new(Handle {
            shared,
            drop_timeout,
        }))
    }

    /// What became of all calls, at this moment.
    pub fn stats(&self) -> PipelineStats {
        self.0.shared.stats(&self.0.shared.lock())
    }

    /// Makes calls again of all dead letters that the spool keeps, and returns how many are known of. They are sent soon,
    /// but for those that were found damaged. Without a spool there are none.
    ///
    /// Do it when the reason is gone: a limit was raised, an exporter mended.
    pub fn send_dead_letters_again(&self) -> u64 {
        let disk = self.0.shared.disk.as_ref();
        disk.map_or(0, Disk::send_dead_letters_again)
    }

    /// Waits until everything accepted so far is settled, at most this long, and tells what came of it. What waits for
    /// more calls or for its next attempt is tried at once, unless the backend asked to wait.
    ///
    /// It blocks the thread and works on any. In async code that goes on afterwards, prefer
    /// [`flush`](TraceExporter::flush) within a timeout, and [`stats`](Self::stats).
    pub fn flush_within(&self, deadline: Duration) -> FlushReport {
        self.0.shared.flush_within(deadline)
    }

    /// Takes no more calls, waits until everything accepted is settled, at most this long, stops, and tells what came
    /// of it.
    ///
    /// A call whose export was under way at the deadline is in doubt, and counted as pending. It blocks the thread and
    /// works on any.
    pub fn shutdown(&self, deadline: Duration) -> FlushReport {
        self.0.shared.shutdown(deadline)
    }

    /// A guard that flushes when it is dropped, and waits at most this long: for the end of `main`, where a handle lives
    /// on in a static or a global subscriber.
    pub fn flush_guard(&self, deadline: Duration) -> FlushGuard {
        FlushGuard {
            pipeline: self.clone(),
            deadline,
        }
    }
}

impl CallSink for Pipeline {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        if WORKER_OF.get() != 0 {
            return self.0.shared.refuse(Refusal::OwnTraffic);
        }
        self.0.shared.submit(call)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl TraceExporter for Pipeline {
    fn name(&self) -> &str {
        &self.0.shared.name
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.0.shared.export(call)
    }

    async fn export_batch(&self, calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        let mut report = BatchReport::default();
        for (index, call) in calls.iter().enumerate() {
            if let Err(error) = self.0.shared.export(call) {
                report.push(index, error);
            }
        }
        Ok(report)
    }

    /// Waits, without a deadline, until everything accepted before is settled.
    ///
    /// # Errors
    ///
    /// Meanwhile a call was rejected or dropped.
    async fn flush(&self) -> Result<(), ExportError> {
        self.0.shared.flush().await
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("exporter", &self.0.shared.name)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (closed, waited, stats) = {
            let state = self.shared.lock();
            // A guard, or the program itself, may have waited for these calls just now: that counts, or the end of the
            // program would come after both deadlines.
            let gave_up = state.gave_up.as_ref().filter(|gave_up| {
                gave_up.accepted == state.stats.accepted && gave_up.at.elapsed() < JUST_NOW
            });
            let waited = gave_up.map_or(Duration::ZERO, |gave_up| gave_up.waited);
            (state.closed, waited, self.shared.stats(&state))
        };
        let mut settled = false;
        if !closed {
            self.shared.close();
            let patience = self.drop_timeout.saturating_sub(waited);
            let report = self.shared.flush_within(patience);
            self.shared.log_sum(&report.stats);
            settled = report.stats.pending == 0;
        } else if stats.refused.closed > 0 {
            // They came after the sum was logged.
            self.shared.log_sum(&stats);
        }
        self.shared.lock().abandoned = true;
        self.shared.wake.notify_one();
        if settled {
            self.shared.close_disk(Instant::now());
        }
    }
}

/// Flushes its pipeline when it is dropped: [`Pipeline::flush_guard`].
#[derive(Debug)]
#[must_use = "it flushes when it is dropped, which is now unless it is bound to a name"]
pub struct FlushGuard {
    pipeline: Pipeline,
    deadline: Duration,
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let report = self.pipeline.flush_within(self.deadline);
        if report.pending > 0 {
            tracing::warn!(
                "{}: {} calls are not delivered yet: {}",
                self.pipeline.name(),
                report.pending,
                report.stats
            );
        }
    }
}

impl Shared {
    pub(crate) fn new(name: &str, intake: Intake, rules: Rules, disk: Option<Disk>) -> Self {
        Self {
            name: name.to_owned(),
            intake,
            disk,
            state: Mutex::new(State {
                machine: Machine::new(rules),
                stats: PipelineStats::default(),
                closed: false,
                abandoned: false,
                losses: Losses::default(),
                fallen: Vec::new(),
                falling: 0,
                flushes: Vec::new(),
                waiting_for_flush: 0,
                waiting_for_room: 0,
                gave_up: None,
                gone: false,
            }),
            wake: Notify::new(),
            settled: Condvar::new(),
            room: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Nothing that panics runs under the lock, so a poisoned one is as good as any.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, mut call: Arc<LLMCallData>) -> Submission {
        if let Err(invalid) = call.validate() {
            return self.refuse(Refusal::Invalid(invalid));
        }
        if !self.intake.sampler.keeps(&call) {
            let mut state = self.lock();
            state.stats.submitted += 1;
            state.stats.sampled_out += 1;
            return Submission::SampledOut;
        }
        if let Some(redactor) = &self.intake.redactor {
            redactor.apply(Arc::make_mut(&mut call));
        }
        match self.accept(call) {
            Ok(wake) => {
                if wake {
                    self.wake.notify_one();
                }
                Submission::Accepted
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Writes a call to disk, if there is one for it, and queues it, where need be after having made room for it.
    /// Returns whether the worker has to be woken.
    fn accept(&self, call: Arc<LLMCallData>) -> Result<bool, Refusal> {
        let bytes = size(&call);
        let mut give_up_at = None;
        // Freed and woken after the lock, which is declared later.
        let mut dropped = Vec::new();
        let _settled;
        let mut state = self.lock();
        let mut row = None;
        if let Some(disk) = &self.disk {
            check(&state, bytes)?;
            drop(state);
            row = disk.write(&call);
            state = self.lock();
        }
        let durable = row.filter(|row| row.durable);
        loop {
            // Nobody can take back what is on disk.
            if durable.is_none()
                && let Err(refusal) = check(&state, bytes)
            {
                self.forget(row);
                return Err(refusal);
            }
            if state.machine.has_room(bytes) && !state.gone {
                state.stats.submitted += 1;
                state.stats.accepted += 1;
                if self.disk.is_some() && durable.is_none() {
                    state.stats.spool.not_durable += 1;
                }
                if !dropped.is_empty() {
                    _settled = self.settle(&mut state);
                }
                let entry = Entry { call, row };
                return Ok(state.machine.push(entry, bytes, Instant::now()));
            }
            if let (Some(row), Some(disk)) = (durable, &self.disk) {
                state.stats.submitted += 1;
                state.stats.accepted += 1;
                disk.park(row, state.machine.park(1));
                if state.machine.may_unpark(bytes) {
                    disk.wake();
                }
                return Ok(false);
            }
            if let Some(disk) = &self.disk {
                // The disk takes no more right now; but what it has taken need not be in memory.
                let on_disk = |entry: &Entry| entry.row.is_some_and(|row| row.durable);
                let parked = state.machine.park_waiting(bytes, on_disk);
                if !parked.is_empty() {
                    for (entry, epoch) in parked {
                        if let Some(row) = entry.row {
                            disk.park(row, epoch);
                        }
                        dropped.push(entry);
                    }
                    continue;
                }
            }
            match self.intake.overflow {
                Overflow::RefuseNew => {
                    self.forget(row);
                    return Err(Refusal::Full);
                }
                Overflow::DropOldest => {
                    // Not in vain: what is on its way cannot be dropped.
                    let oldest = match state.machine.can_make_room(bytes) {
                        true => state.machine.pop_oldest(),
                        false => None,
                    };
                    let Some(oldest) = oldest else {
                        self.forget(row);
                        return Err(Refusal::Full);
                    };
                    self.forget(oldest.row);
                    dropped.push(oldest);
                    if state.note_overflow() {
                        self.wake.notify_one();
                    }
                }
                Overflow::Block(timeout) => {
                    let now = Instant::now();
                    let give_up_at = give_up_at.get_or_insert_with(|| later(now, timeout));
                    let left = give_up_at.saturating_duration_since(now);
                    // The worker would wait for itself.
                    if left.is_zero() || WORKER_OF.get() == self.identity() {
                        self.forget(row);
                        return Err(Refusal::Full);
                    }
                    state.waiting_for_room += 1;
                    let (back, _) = self
                        .room
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner);
                    state = back;
                    state.waiting_for_room -= 1;
                }
            }
        }
    }

    /// What is on disk of it is not needed any more.
    fn forget(&self, row: Option<Row>) {
        if let (Some(disk), Some(row)) = (&self.disk, row) {
            disk.settle([row]);
        }
    }

    fn refuse(&self, refusal: Refusal) -> Submission {
        let mut state = self.lock();
        state.stats.submitted += 1;
        let refused = &mut state.stats.refused;
        let (count, kind) = match &refusal {
            Refusal::Invalid(_) => (&mut refused.invalid, "invalid"),
            Refusal::Closed => (&mut refused.closed, "closed"),
            Refusal::OwnTraffic => (&mut refused.own_traffic, "own traffic"),
            Refusal::TooLarge { .. } => (&mut refused.full, "too large"),
            _ => (&mut refused.full, "full"),
        };
        *count += 1;
        let what = || format!("refused: {refusal}");
        let first = state.losses.note(kind, what, None);
        drop(state);
        if first {
            self.wake.notify_one();
        }
        Submission::Refused(refusal)
    }

    /// The other door. Unlike [`CallSink::submit`] it is open to the workers of other pipelines, which forward calls.
    fn export(&self, call: &LLMCallData) -> Result<(), ExportError> {
        let submission = if WORKER_OF.get() == self.identity() {
            self.refuse(Refusal::OwnTraffic)
        } else {
            self.submit(Arc::new(call.clone()))
        };
        let refusal = match submission {
            Submission::Refused(refusal) => refusal,
            _ => return Ok(()),
        };
        let kind = match refusal {
            Refusal::Full => ExportErrorKind::Temporary,
            Refusal::TooLarge { .. } => ExportErrorKind::TooLarge,
            Refusal::Closed => ExportErrorKind::Destination,
            _ => ExportErrorKind::Rejected,
        };
        Err(ExportError::new(
            kind,
            self.name.clone(),
            refusal.to_string(),
        ))
    }

    fn flush_within(&self, deadline: Duration) -> FlushReport {
        let until = later(Instant::now(), deadline);
        // The worker would wait for itself.
        let patient = WORKER_OF.get() != self.identity();
        let disk = self.disk.as_ref().filter(|_| patient);
        if let Some(disk) = disk {
            disk.adopted_by(until);
        }
        let mut state = self.lock();
        let epoch = state.machine.flush(Instant::now());
        self.wake.notify_one();
        while patient && !state.gone && !state.machine.is_settled(epoch) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.waiting_for_flush += 1;
            let (back, _) = self
                .settled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.waiting_for_flush -= 1;
        }
        let pending = state.machine.pending_until(epoch);
        if pending > 0 && patient {
            state.gave_up = Some(GaveUp {
                at: Instant::now(),
                waited: deadline,
                accepted: state.stats.accepted,
            });
        }
        if let Some(disk) = disk {
            drop(state);
            disk.cleared_by(until);
            state = self.lock();
        }
        FlushReport {
            pending,
            stats: self.stats(&state),
        }
    }

    async fn flush(&self) -> Result<(), ExportError> {
        if WORKER_OF.get() == self.identity() {
            return Err(ExportError::rejected(
                self.name.clone(),
                "a flush by the pipeline's own thread would wait for itself",
            ));
        }
        let (settled, lost_before) = {
            let (sender, settled) = oneshot::channel();
            let mut state = self.lock();
            let epoch = state.machine.flush(Instant::now());
            // Some were given up.
            state.flushes.retain(|(_, sender)| !sender.is_closed());
            state.flushes.push((epoch, sender));
            let now = self.settle(&mut state);
            let lost = state.stats.lost();
            drop(state);
            drop(now);
            (settled, lost)
        };
        self.wake.notify_one();
        let settled = settled.await.is_ok();
        let lost = self.lock().stats.lost() - lost_before;
        if !settled {
            return Err(ExportError::temporary(
                self.name.clone(),
                "the pipeline was stopped before everything was delivered",
            ));
        }
        if lost > 0 {
            let message = format!(
                "not everything was delivered: {lost} rejected or dropped; the log says why"
            );
            return Err(ExportError::rejected(self.name.clone(), message));
        }
        Ok(())
    }

    /// Takes no more calls.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.machine.close();
        drop(state);
        self.room.notify_all();
        self.wake.notify_one();
    }

    fn shutdown(&self, deadline: Duration) -> FlushReport {
        self.close();
        let until = later(Instant::now(), deadline);
        let report = self.flush_within(deadline);
        self.stop.store(true, Ordering::Release);
        self.wake.notify_one();
        self.close_disk(until);
        self.log_sum(&report.stats);
        report
    }

    /// Lets go of the files, so that the next pipeline can take them over.
    fn close_disk(&self, until: Instant) {
        const LEAST: Duration = Duration::from_millis(100);
        if let Some(disk) = &self.disk {
            disk.close();
            if WORKER_OF.get() != self.identity() {
                disk.closed_by(until.max(Instant::now() + LEAST));
            }
        }
    }

    fn log_sum(&self, stats: &PipelineStats) {
        if stats.pending > 0 || stats.has_losses() {
            tracing::warn!("{}: shut down: {stats}", self.name);
        } else {
            tracing::info!("{}: shut down: {stats}", self.name);
        }
    }

    /// Lets go whoever waits for what has been settled, or for room. Futures are woken by the drop of what comes back.
    pub(crate) fn settle(&self, state: &mut State) -> Settled {
        let State {
            machine,
            flushes,
            gone,
            ..
        } = state;
        let mut settled = Settled::default();
        // Whatever is not settled when the worker has gone never will be, which the drop of its sender tells.
        for (epoch, sender) in
            flushes.extract_if(.., |(epoch, _)| *gone || machine.is_settled(*epoch))
        {
            if machine.is_settled(epoch) {
                settled.0.push(sender);
            }
        }
        if state.waiting_for_flush > 0 {
            self.settled.notify_all();
        }
        if state.waiting_for_room > 0 {
            self.room.notify_all();
        }
        settled
    }

    /// The worker has ended, as it should or not.
    pub(crate) fn worker_gone(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.gone = true;
        let calls = state.machine.abandon();
        let settled = self.settle(&mut state);
        drop(state);
        drop((calls, settled));
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }

    fn stats(&self, state: &State) -> PipelineStats {
        let mut stats = PipelineStats {
            pending: state.machine.pending() as u64,
            pending_bytes: state.machine.pending_bytes() as u64,
            ..state.stats.clone()
        };
        if let Some(disk) = &self.disk {
            let not_durable = stats.spool.not_durable;
            stats.spool = disk.stats();
            stats.spool.not_durable = not_durable;
            // What was just settled is not deleted yet.
            stats.spool.durable = stats.spool.durable.min(stats.pending);
        }
        stats
    }

    /// Tells this pipeline from all others in the process.
    pub(crate) fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl State {
    /// Returns whether it is the first of its kind.
    fn note_overflow(&mut self) -> bool {
        self.stats.dropped.overflow += 1;
        let what = || "dropped to make room for newer ones".to_owned();
        self.losses.note("overflow", what, None)
    }

    /// Calls that waited on disk cannot be read.
    #[cfg(feature = "spool")]
    pub(crate) fn note_damaged(&mut self, calls: u64) {
        self.stats.dropped.damaged += calls;
        let what = || "found damaged on disk and not sent".to_owned();
        self.losses.note("damaged", what, None);
    }
}

/// Whether a call of that size can be taken at all.
fn check(state: &State, bytes: usize) -> Result<(), Refusal> {
    if state.closed {
        return Err(Refusal::Closed);
    }
    let limit = state.machine.rules().max_item_bytes();
    if bytes > limit {
        return Err(Refusal::TooLarge { bytes, limit });
    }
    Ok(())
}

/// A moment that far away; a year if it is further than that.
fn later(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now + wait.min(YEAR)
}
