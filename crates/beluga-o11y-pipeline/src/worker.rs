//! The pipeline's own thread: sends what the [machine](crate::machine) says, and tells it what came of it.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::runtime::{self, Runtime};

use crate::{
    DeadLetter, LossReason, Oversize, PipelineError,
    dead_letter::DeadLetters,
    machine::{Batch, Finished, Item, Lost, Next},
    panics::{caught, discard},
    pipeline::{Fallen, Loss, Shared, State, WORKER_OF},
    row::Entry,
    shorten::shorten,
    size::size,
    spool::Disk,
};

type Exported = (Batch<Entry>, Result<BatchReport, ExportError>);

/// How the worker goes about it.
pub(crate) struct Ways {
    pub(crate) export_timeout: Duration,
    pub(crate) oversize: Oversize,
    pub(crate) dead_letters: DeadLetters,
}

struct Worker {
    shared: Arc<Shared>,
    ways: Ways,
}

/// Says that the worker has ended, however it did.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.worker_gone();
        if thread::panicking() {
            let name = &self.0.name;
            say(|| {
                tracing::error!("{name}: the pipeline's thread panicked; no more calls are taken")
            });
        }
    }
}

pub(crate) fn spawn(
    shared: Arc<Shared>,
    exporter: Arc<dyn TraceExporter>,
    ways: Ways,
) -> Result<(), PipelineError> {
    let identity = shared.identity();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        // What the exporter does in threads for blocking work is the pipeline's own traffic, too.
        .on_thread_start(move || WORKER_OF.set(identity))
        .build()
        .map_err(PipelineError::Thread)?;
    // Some systems show only 15 characters.
    let name = format!("o11y-{}", shared.name.replace('\0', ""));
    thread::Builder::new()
        .name(name)
        .spawn(move || work(shared, &*exporter, ways, runtime))
        .map_err(PipelineError::Thread)?;
    Ok(())
}

fn work(shared: Arc<Shared>, exporter: &dyn TraceExporter, ways: Ways, runtime: Runtime) {
    WORKER_OF.set(shared.identity());
    let presence = Presence(Arc::clone(&shared));
    runtime.block_on(Worker { shared, ways }.run(exporter));
    // A name that is still being looked up must not hold up whoever waits.
    runtime.shutdown_background();
    drop(presence);
}

impl Worker {
    async fn run(mut self, exporter: &dyn TraceExporter) {
        let mut exports = FuturesUnordered::new();
        let timeout = self.ways.export_timeout;
        let name = self.shared.name.clone();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.tell_of_fallen();
            let Some(next) = self.next() else { break };
            let until = match next {
                Next::Send(batch) => {
                    exports.push(export(exporter, name.clone(), batch, timeout));
                    // Begins with it, and lets the runtime write it, before the next batch is made ready: the backend
                    // has something to do meanwhile, and answers do not come all at once.
                    if let Some(Some((batch, result))) = exports.next().now_or_never() {
                        self.finish(batch, result);
                    }
                    tokio::task::yield_now().await;
                    continue;
                }
                Next::Wait(until) => until.map(tokio::time::Instant::from_std),
            };
            tokio::select! {
                Some((batch, result)) = exports.next() => self.finish(batch, result),
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(until.unwrap_or_else(tokio::time::Instant::now)), if until.is_some() => {}
            }
        }
        self.warn();
    }

    /// Nothing if the work is done for good.
    fn next(&self) -> Option<Next<Entry>> {
        self.warn();
        let mut state = self.shared.lock();
        if state.abandoned && state.machine.pending() == 0 {
            return None;
        }
        let next = state.machine.next(Instant::now());
        if matches!(next, Next::Send(_)) {
            state.stats.export_calls += 1;
        }
        Some(next)
    }

    fn finish(&mut self, batch: Batch<Entry>, result: Result<BatchReport, ExportError>) {
        let error = match &result {
            Ok(report) => report.failures.first().map(|failure| &failure.error),
            Err(error) => Some(error),
        };
        let error = error.cloned();
        let (finished, settled, old) = {
            let mut state = self.shared.lock();
            let finished = state.machine.finish(batch, result, Instant::now());
            state.stats.delivered += finished.delivered.len() as u64;
            // Before a flush hears of it. Also if none of them is on disk: there is room for others now.
            if let Some(disk) = &self.shared.disk {
                disk.settle(finished.delivered.iter().filter_map(|item| item.value.row));
            }
            let old = match error {
                Some(error) => state.stats.last_error.replace(error),
                None => None,
            };
            (finished, self.shared.settle(&mut state), old)
        };
        drop((settled, old));
        self.log(&finished);
        for (item, lost) in finished.lost {
            self.lose(item, lost);
        }
    }

    fn lose(&mut self, mut item: Item<Entry>, lost: Lost) {
        let (reason, error) = match lost {
            Lost::TooLarge(error) => {
                let may_shorten = self.ways.oversize == Oversize::Shorten && !item.shortened;
                if let Some(short) = may_shorten.then(|| shorten(&item.value.call)).flatten() {
                    let bytes = size(&short);
                    item.value.call = Arc::new(short);
                    item.shortened = true;
                    let settled = {
                        let mut state = self.shared.lock();
                        state.machine.again(item, bytes, Instant::now());
                        // There is more room now.
                        self.shared.settle(&mut state)
                    };
                    return drop(settled);
                }
                (LossReason::TooLarge, error)
            }
            Lost::Rejected(error) => (LossReason::Rejected, error),
            Lost::Expired(error) => (LossReason::Expired, error),
        };
        let letter = DeadLetter {
            call: Arc::clone(&item.value.call),
            reason,
            error,
            time: SystemTime::now().into(),
        };
        self.give_up(
            &letter,
            |state| state.machine.release(&item),
            |disk| {
                disk.bury(item.value.row, &letter);
            },
        );
    }

    /// Tells of what was given up on disk.
    fn tell_of_fallen(&mut self) {
        if self.shared.disk.is_none() {
            return;
        }
        let fallen = std::mem::take(&mut self.shared.lock().fallen);
        let any = !fallen.is_empty();
        for Fallen {
            call,
            reason,
            error,
            epoch,
            row,
        } in fallen
        {
            let letter = DeadLetter {
                call,
                reason,
                error,
                time: SystemTime::now().into(),
            };
            self.give_up(
                &letter,
                |state| {
                    state.machine.release_parked(epoch, 1);
                    state.falling -= 1;
                },
                |disk| disk.settle([row]),
            );
        }
        if any && let Some(disk) = &self.shared.disk {
            // It waits with the next ones.
            disk.wake();
        }
    }

    fn give_up(
        &mut self,
        letter: &DeadLetter,
        release: impl FnOnce(&mut State),
        bury: impl FnOnce(&Disk),
    ) {
        // Told before it is counted: who sees the count can look.
        let told = self.ways.dead_letters.tell(letter);
        if let Some(disk) = &self.shared.disk {
            bury(disk);
        }
        let settled = {
            let mut state = self.shared.lock();
            release(&mut state);
            let (count, kind, what) = match letter.reason {
                LossReason::Overflow => (
                    &mut state.stats.dropped.overflow,
                    "overflow",
                    "dropped to make room for newer ones",
                ),
                LossReason::Expired => (
                    &mut state.stats.dropped.expired,
                    "expired",
                    "given up after the retry time",
                ),
                LossReason::Rejected | LossReason::TooLarge => (
                    &mut state.stats.rejected,
                    "rejected",
                    "rejected by the backend",
                ),
            };
            *count += 1;
            let error = Some(&letter.error);
            state.losses.note(kind, || what.to_owned(), error);
            self.shared.settle(&mut state)
        };
        drop(settled);
        if let Err(problem) = told {
            say(|| tracing::error!("{}: dead letter: {problem}", self.shared.name));
        }
    }

    fn log(&self, finished: &Finished<Entry>) {
        let name = &self.shared.name;
        if let Some(error) = &finished.trouble {
            say(|| tracing::warn!("{name}: calls are kept and tried again later: {error}"));
        }
        if finished.recovered {
            say(|| tracing::info!("{name}: calls are delivered again"));
        }
    }

    fn warn(&self) {
        let name = &self.shared.name;
        let losses = std::mem::take(&mut self.shared.lock().losses.new);
        for Loss { what, error } in losses {
            say(|| match &error {
                Some(error) => {
                    tracing::warn!(
                        "{name}: a call was {what}: {error}; more of these are only counted"
                    );
                }
                None => tracing::warn!("{name}: a call was {what}; more of these are only counted"),
            });
        }
    }
}

/// Logs. The subscriber is somebody else's, and so is the cause of an error that is printed; neither takes the worker
/// along.
fn say(log: impl FnOnce()) {
    let _ = caught(log);
}

async fn export(
    exporter: &dyn TraceExporter,
    name: String,
    batch: Batch<Entry>,
    timeout: Duration,
) -> Exported {
    let result = {
        let calls: Vec<&LLMCallData> = batch.items.iter().map(|item| &*item.value.call).collect();
        // It is called through `&self` and keeps its own state in order; see MultiExporter.
        let export = async { tokio::time::timeout(timeout, exporter.export_batch(&calls)).await };
        AssertUnwindSafe(export).catch_unwind().await
    };
    let result = match result {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ExportError::temporary(
            name,
            format!("not done after {timeout:?}, and cancelled"),
        )),
        // One call may be what it cannot stand: it is found as one that the backend rejects.
        Err(payload) => {
            discard(payload);
            Err(ExportError::rejected(
                name,
                "the exporter panicked; this is a bug in it",
            ))
        }
    };
    (batch, result)
}
