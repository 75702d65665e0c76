//! The thread that looks after the files: deletes what is settled, brings back what waits on disk, takes over what other
//! processes have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use beluga_o11y::ExportError;

use super::{
    desk::{Desk, News, Range, now},
    directory::{Claim, Directory, DirectoryError, InUse},
    store::{Contents, Letter, Store, StoreError, Stored, Table},
};
use crate::{
    LossReason,
    panics::{caught, discard},
    pipeline::{Fallen, Shared, WORKER_OF},
    row::{Entry, Row},
    size::size,
};

/// How often to look for files that ended processes have left.
const ADOPT_EVERY: Duration = Duration::from_secs(60);
/// How often to look whether somebody else has written to our files.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often to try the disk again.
const RETRY_EVERY: Duration = super::desk::RETRY_AFTER;
/// The most rows that are read or deleted at a time: whoever wants to write waits for no more.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 512 * 1024;
const READS_AT_ONCE: usize = 16;
/// The most calls that wait for the worker to be told of.
const MOST_FALLEN: usize = 256;
/// From this size on, the log is copied to its end while nobody writes. It is less than SQLite's own limit, beyond which
/// whoever writes next would have to cut the log.
const LARGE_LOG: u64 = 12 << 20;
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    desk: Arc<Desk>,
    shared: Arc<Shared>,
    root: PathBuf,
    directory: Option<Directory>,
    in_use: Option<InUse>,
    /// The file that new calls are written to.
    own: Option<Own>,
    /// Files of other processes, and damaged ones.
    others: BTreeMap<u32, Other>,
    next_file: u32,
    /// Files that cannot be used, and were told of.
    skipped: BTreeSet<PathBuf>,
    warned_at: Option<Instant>,
    /// Whether the trouble that there is was told of.
    warned: bool,
    /// These dead letters are being made calls again.
    reviving: Option<RangeInclusive<i64>>,
    /// What ended processes have left was taken over, and nobody was told yet.
    adopted: bool,
    timers: Timers,
}

struct Own {
    file: u32,
    claim: Claim,
    /// Reads and copies the log, while calls are written.
    side: Store,
}

struct Other {
    claim: Claim,
    store: Store,
    bytes: u64,
    damaged: bool,
}

struct Timers {
    adopt: Instant,
    expire: Instant,
    look: Instant,
    retry: Instant,
}

impl Timers {
    /// Whether it is time, and from then on when it will be again.
    fn due(at: &mut Instant, every: Duration) -> bool {
        let now = Instant::now();
        let due = *at <= now;
        if due {
            *at = now + every;
        }
        due
    }
}

impl Keeper {
    /// Makes the file that calls are written to. If that cannot be done now, it is tried again later.
    pub(super) fn new(
        desk: Arc<Desk>,
        shared: Arc<Shared>,
        directory: Option<(Directory, InUse)>,
    ) -> Self {
        let now = Instant::now();
        let (directory, in_use) = directory.unzip();
        let mut keeper = Self {
            root: desk.spool.directory.clone(),
            desk,
            shared,
            directory,
            in_use,
            own: None,
            others: BTreeMap::new(),
            next_file: 0,
            skipped: BTreeSet::new(),
            warned_at: None,
            warned: false,
            reviving: None,
            adopted: false,
            timers: Timers {
                adopt: now,
                expire: now,
                look: now + LOOK_EVERY,
                retry: now + RETRY_EVERY,
            },
        };
        if keeper.directory.is_some() {
            keeper.make_own();
        }
        keeper
    }

    /// Until the pipeline is closed.
    pub(super) fn run(mut self) {
        WORKER_OF.set(self.shared.identity());
        let worked = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Err(payload) = worked {
            discard(payload);
            let name = &self.shared.name;
            say(|| {
                tracing::error!(
                    "{name}: the spool's thread panicked; calls are kept in memory from now on"
                );
            });
        }
        // Frees the locks first.
        let desk = Arc::clone(&self.desk);
        drop(self);
        desk.closed();
    }

    fn work(&mut self) {
        while self.desk.wait_for_work(self.patience()) {
            self.desk.write_for_others();
            if self.own.is_none() && Timers::due(&mut self.timers.retry, RETRY_EVERY) {
                self.repair();
            }
            if self.desk.lock().own_damaged {
                self.replace_own(true);
            }
            self.clear();
            self.copy_log();
            self.make_room();
            self.drop_oldest();
            let adopts = Timers::due(&mut self.timers.adopt, ADOPT_EVERY);
            if adopts {
                self.adopt();
                // Somebody may have asked for the dead letters of a file that nobody had.
                self.timers.look = Instant::now();
            }
            let expire_every = self.expire_every();
            if Timers::due(&mut self.timers.expire, expire_every) {
                self.expire();
            }
            let looks = Timers::due(&mut self.timers.look, LOOK_EVERY);
            let fails = self.desk.lock().must_wait();
            if looks || fails {
                self.look_for_own();
            }
            if fails && let Some(own) = &self.own {
                // A full disk may have room for the file where it has none for the log.
                let _ = own.side.checkpoint();
            }
            let more = self.send_again(looks);
            self.adopted |= adopts;
            if self.adopted && !more {
                self.adopted = false;
                self.desk.adopted();
            }
            self.load();
            self.remove_empty();
            self.tell();
        }
        self.clear_now();
        self.tell();
        self.close();
    }

    fn patience(&self) -> Duration {
        let next = self.timers.adopt.min(self.timers.expire);
        let next = match &self.own {
            Some(_) => next.min(self.timers.look),
            None => next.min(self.timers.retry),
        };
        let wait = next.saturating_duration_since(Instant::now());
        // What could not be deleted is tried again.
        let again = !self.desk.lock().settled.is_empty();
        if again { wait.min(RETRY_EVERY) } else { wait }
    }

    fn expire_every(&self) -> Duration {
        let age = self.desk.spool.max_age;
        (age / 20).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    fn tell(&mut self) {
        while let Some(news) = self.desk.news() {
            let name = &self.shared.name;
            // A disk that is sometimes full is told of now and then.
            let often = self.warned_at.is_some_and(|at| at.elapsed() < WARN_EVERY);
            match news {
                News::Trouble(what) if !often => {
                    (self.warned_at, self.warned) = (Some(Instant::now()), true);
                    say(|| {
                        tracing::warn!(
                            "{name}: calls cannot be written to the spool and are kept in memory only: {what}"
                        );
                    });
                }
                News::Over if std::mem::take(&mut self.warned) => {
                    say(|| tracing::info!("{name}: calls are written to the spool again"));
                }
                News::Trouble(_) | News::Over => {}
            }
        }
    }

    fn warn(&self, path: &std::path::Path, what: &str) {
        let name = &self.shared.name;
        say(|| tracing::warn!("{name}: spool: {}: {what}", path.display()));
    }

    fn note_failure(&self, error: &StoreError) {
        self.desk.note_failure(&mut self.desk.lock(), error);
    }

    // The file of this process

    fn make_own(&mut self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let made = directory.create();
        // Somebody else's: nor are the files in it to be trusted.
        let unfit = matches!(made, Err(DirectoryError::Unfit { .. }));
        let made = made.map_err(|error| StoreError::Io(std::io::Error::other(error.to_string())));
        let made = made.and_then(|claim| {
            let spool = &self.desk.spool;
            let open = || {
                let store = Store::create(claim.path(), spool.durability, spool.write_timeout)?;
                let side = store.connect_again(spool.write_timeout)?;
                Ok((store, side))
            };
            match open() {
                Ok(open) => Ok((claim, open)),
                Err(error) => {
                    let _ = claim.remove();
                    Err(error)
                }
            }
        });
        match made {
            Ok((claim, (store, side))) => {
                let file = self.next_file();
                self.own = Some(Own { file, claim, side });
                self.desk.exchange_own(Some((file, store)));
            }
            Err(error) => self.note_failure(&error),
        }
        if unfit {
            self.directory = None;
        }
    }

    fn next_file(&mut self) -> u32 {
        self.next_file += 1;
        self.next_file
    }

    /// Tries again what could not be done.
    fn repair(&mut self) {
        // It may be another one by now.
        (self.directory, self.in_use) = (None, None);
        match Directory::prepare(&self.root, &self.shared.name) {
            Ok(directory) => {
                let Some(in_use) = InUse::new(directory.path()) else {
                    return;
                };
                (self.directory, self.in_use) = (Some(directory), Some(in_use));
                self.timers.adopt = Instant::now();
                self.make_own();
            }
            Err(error) => {
                self.note_failure(&StoreError::Io(std::io::Error::other(error.to_string())));
            }
        }
    }

    /// Somebody may have deleted the file. What is in it can still be read, but not by the next process.
    fn look_for_own(&mut self) {
        let gone = self.own.as_ref().is_some_and(|own| !own.claim.is_there());
        if gone {
            let mut state = self.desk.lock();
            self.desk
                .note_trouble(&mut state, || "its file was deleted".to_owned());
            drop(state);
            self.replace_own(false);
        }
    }

    /// New calls go to another file. If this one is damaged, what can be read of it is sent.
    fn replace_own(&mut self, damaged: bool) {
        self.retire_own(damaged);
        self.make_own();
    }

    fn retire_own(&mut self, damaged: bool) {
        self.reviving = None;
        let store = self.desk.exchange_own(None);
        if let (Some(own), Some(store)) = (self.own.take(), store) {
            let other = Other {
                claim: own.claim,
                store,
                bytes: 0,
                damaged,
            };
            self.others.insert(own.file, other);
        }
    }

    /// Copies the log into the file.
    fn copy_log(&mut self) {
        const ENOUGH: u64 = 4 << 20;
        let Some(own) = &self.own else { return };
        if self.desk.lock().log_bytes < ENOUGH {
            return;
        }
        let copied = own.side.checkpoint().and_then(|(log, left)| {
            if log < LARGE_LOG {
                return Ok(left);
            }
            // It begins anew only when it has been copied to its end.
            let _pen = self.desk.take_pen();
            Ok(own.side.checkpoint()?.1)
        });
        match copied {
            Ok(left) => {
                self.desk.lock().log_bytes = left.min(ENOUGH / 2);
                self.measure();
            }
            Err(error) => {
                self.desk.lock().log_bytes = 0;
                self.note_failure(&error);
            }
        }
    }

    // Calls that are settled

    /// Deletes what is settled, and keeps dead letters, unless the disk is left alone for now.
    fn clear(&mut self) {
        if !self.desk.lock().must_wait() {
            self.clear_now();
        }
    }

    fn clear_now(&mut self) {
        let (rows, letters) = {
            let mut state = self.desk.lock();
            if state.settled.is_empty() && state.letters.is_empty() {
                return;
            }
            state.clearing = true;
            (
                std::mem::take(&mut state.settled),
                std::mem::take(&mut state.letters),
            )
        };
        let mut by_file: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
        for row in rows {
            by_file.entry(row.file).or_default().push(row);
        }
        let mut failed = Vec::new();
        let mut buried = 0;
        let mut letters = Some(letters);
        if let Some(own) = &self.own {
            let mut rows = by_file.remove(&own.file).unwrap_or_default();
            rows.sort_by_key(|row| row.id);
            let chunks: Vec<&[Row]> = match rows.is_empty() {
                true => vec![&[]],
                false => rows.chunks(AT_ONCE).collect(),
            };
            for chunk in chunks {
                let ids: Vec<i64> = chunk.iter().map(|row| row.id).collect();
                let with = letters.take().unwrap_or_default();
                if ids.is_empty() && with.is_empty() {
                    continue;
                }
                let pen = self.desk.take_pen();
                // What is deleted need not be waited for, however durable the rest is.
                let result = own.side.settle(&ids, &with);
                drop(pen);
                // Those who wait for the pen come first.
                self.desk.write_for_others();
                match result {
                    Ok(()) => {
                        buried += with.len();
                        self.desk.lock().log_bytes += ids.len() as u64 * 1024;
                    }
                    Err(error) => {
                        failed.extend_from_slice(chunk);
                        self.note_failed_letters(with);
                        self.note_own_failure(&error);
                    }
                }
            }
        }
        for (file, mut rows) in by_file {
            let Some(other) = self.others.get(&file).filter(|other| !other.damaged) else {
                continue;
            };
            rows.sort_by_key(|row| row.id);
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            if let Err(error) = other.store.settle(&ids, &[]) {
                self.note_other_failure(file, &error);
                failed.extend(rows);
            }
        }
        self.desk.lock().settled.extend(failed);
        // Without a file of our own there is no place for them yet.
        self.note_failed_letters(letters.unwrap_or_default());
        self.desk.count_letters(|letters| letters + buried as u64);
        self.measure();
        self.desk.cleared();
    }

    /// They are kept for the next attempt, the last ones of them.
    fn note_failed_letters(&self, letters: Vec<Letter>) {
        const MOST_LETTERS: usize = 100;
        // Those that came meanwhile have not failed.
        let too_many = letters.len().saturating_sub(MOST_LETTERS);
        let mut state = self.desk.lock();
        state
            .letters
            .splice(0..0, letters.into_iter().skip(too_many));
    }

    /// Another file is damaged, or cannot be read or written now.
    fn note_other_failure(&mut self, file: u32, error: &StoreError) {
        match (self.others.get_mut(&file), error) {
            (Some(other), StoreError::Damaged(_)) => other.damaged = true,
            _ => {
                let mut state = self.desk.lock();
                self.desk.note_trouble(&mut state, || error.to_string());
            }
        }
    }

    fn note_own_failure(&self, error: &StoreError) {
        let mut state = self.desk.lock();
        if let StoreError::Damaged(_) = error {
            state.own_damaged = true;
        }
        self.desk.note_failure(&mut state, error);
        drop(state);
        self.desk.wake();
    }

    /// How much is on disk.
    fn measure(&mut self) {
        let mut bytes = 0;
        for other in self.others.values_mut().filter(|other| !other.damaged) {
            other.bytes = other.store.used_bytes().unwrap_or(other.bytes);
            bytes += other.bytes;
        }
        if let Some(own) = &self.own {
            // While nobody writes.
            let pen = self.desk.take_pen();
            bytes += own.side.used_bytes().unwrap_or_default();
            if let Err(error) = own.side.shrink() {
                self.note_own_failure(&error);
            }
            self.desk.lock().stats.bytes = bytes;
            drop(pen);
        }
    }

    fn count_letters(&self) {
        let others = self
            .others
            .values()
            .filter(|other| !other.damaged)
            .map(|other| &other.store);
        let own = self.own.as_ref().map(|own| &own.side);
        let count = others
            .chain(own)
            .map(|store| store.dead_letters().unwrap_or_default())
            .sum();
        self.desk.count_letters(|_| count);
    }

    // Files of other processes

    fn adopt(&mut self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let files = match directory.files() {
            Ok(files) => files,
            Err(error) => return self.note_failure(&StoreError::Io(error)),
        };
        for path in files {
            let ours = self
                .own
                .as_ref()
                .is_some_and(|own| own.claim.path() == path)
                || self.others.values().any(|other| other.claim.path() == path);
            if ours || self.skipped.contains(&path) {
                continue;
            }
            let Some(directory) = &self.directory else {
                return;
            };
            match directory.claim(path.clone()) {
                Ok(None) => {}
                Ok(Some(claim)) => self.adopt_file(claim),
                Err(error) => {
                    self.warn(&path, &format!("not used: {error}"));
                    if let DirectoryError::Unfit { .. } = error {
                        self.skipped.insert(path);
                    }
                }
            }
        }
        self.count_letters();
        self.measure();
    }

    fn adopt_file(&mut self, claim: Claim) {
        let path = claim.path().to_owned();
        if claim.has_lost_all_but_its_log() {
            // SQLite would delete the log.
            return self.set_aside(claim, "it is empty, and its log is not");
        }
        let spool = &self.desk.spool;
        let opened = Store::open(&path, spool.durability, spool.write_timeout);
        let store = match opened {
            Ok(Some(store)) => store,
            Ok(None) => {
                let _ = claim.remove();
                return;
            }
            Err(error @ StoreError::Damaged(_)) => {
                return self.set_aside(claim, &error.to_string());
            }
            Err(error @ (StoreError::Foreign | StoreError::Newer(_))) => {
                self.warn(&path, &format!("left as it is: {error}"));
                self.skipped.insert(path);
                return;
            }
            // Held by somebody for a moment, or the disk has no room for its log now.
            Err(error) => return self.warn(&path, &format!("not used now: {error}")),
        };
        const ALL: std::ops::RangeInclusive<i64> = i64::MIN..=i64::MAX;
        let (contents, damaged) = match store.contents() {
            Ok(contents) => ([contents, None], false),
            Err(StoreError::Damaged(_)) => {
                let head = store.readable(&ALL, false);
                let rest = head.map_or(ALL, |head| head.last.saturating_add(1)..=i64::MAX);
                ([head, store.readable(&rest, true)], true)
            }
            Err(error) => {
                self.warn(&path, &format!("not used now: {error}"));
                return;
            }
        };
        let file = self.next_file();
        for Contents { first, last, count } in contents.into_iter().flatten() {
            let epoch = self.recover(count);
            self.desk.adopt(Range {
                file,
                first,
                last,
                count,
                epoch,
                adopted: true,
            });
        }
        let moved = match damaged {
            true => Ok(true),
            false => self.take_dead_letters(&store),
        };
        self.others.insert(
            file,
            Other {
                claim,
                store,
                bytes: 0,
                damaged,
            },
        );
        if let Err(error) = moved {
            self.note_other_failure(file, &error);
        }
    }

    /// These calls are pending again.
    fn recover(&self, calls: usize) -> u64 {
        let mut state = self.shared.lock();
        state.stats.recovered += calls as u64;
        state.machine.park(calls)
    }

    fn set_aside(&mut self, claim: Claim, why: &str) {
        let path = claim.path().to_owned();
        self.desk.lock().stats.set_aside += 1;
        match claim.set_aside() {
            Ok(aside) => self.warn(&path, &format!("{why}; kept as {}", aside.display())),
            Err(error) => {
                self.warn(&path, &format!("{why}; cannot be renamed: {error}"));
                self.skipped.insert(path);
            }
        }
    }

    /// Removes files whose calls are all settled, and sets aside damaged ones from which all has been read.
    fn remove_empty(&mut self) {
        let files: Vec<u32> = self.others.keys().copied().collect();
        let before = files.len();
        for file in files {
            let Some(other) = self
                .others
                .get(&file)
                .filter(|_| !self.desk.has_ranges_of(file))
            else {
                continue;
            };
            if !other.damaged {
                match self.empty(&other.store) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        self.note_other_failure(file, &error);
                        continue;
                    }
                }
            }
            let Some(Other {
                claim,
                store,
                damaged,
                ..
            }) = self.others.remove(&file)
            else {
                continue;
            };
            // A damaged page may hide calls: what cannot be seen is not deleted.
            let damaged = damaged || !store.is_sound().unwrap_or(false);
            drop(store);
            if damaged {
                self.set_aside(claim, "it is damaged");
            } else if let Err(error) = claim.remove() {
                self.note_failure(&StoreError::Io(error));
            }
        }
        if self.others.len() < before {
            self.count_letters();
            self.measure();
        }
    }

    /// Whether nothing is left in a file, once its dead letters have moved to that of this process.
    fn empty(&self, store: &Store) -> Result<bool, StoreError> {
        Ok(!store.has_calls()? && self.take_dead_letters(store)?)
    }

    /// Moves dead letters to the file of this process. Whether that could be done.
    fn take_dead_letters(&self, store: &Store) -> Result<bool, StoreError> {
        if store.dead_letters()? == 0 {
            return Ok(true);
        }
        let Some(own) = &self.own else {
            return Ok(false);
        };
        let _pen = self.desk.take_pen();
        own.side.take_dead_letters(store)?;
        Ok(true)
    }

    // Calls that wait on disk alone

    /// Brings back what there is room for.
    fn load(&mut self) {
        let room = |keeper: &Self| keeper.shared.lock().machine.room_to_unpark();
        let before = self.too_old();
        self.sweep(room, |keeper, range, stored| {
            if stored.time < before {
                return keeper.fall(range, stored, LossReason::Expired);
            }
            keeper.bring_back(range, stored)
        });
    }

    /// What was accepted before that is too old.
    fn too_old(&self) -> i64 {
        let age = i64::try_from(self.desk.spool.max_age.as_millis()).unwrap_or(i64::MAX);
        now().saturating_sub(age)
    }

    /// Gives up what has waited for too long.
    fn expire(&mut self) {
        let before = self.too_old();
        let mut any = false;
        self.sweep(Self::few, |keeper, range, stored| {
            let falls = stored.time < before && keeper.fall(range, stored, LossReason::Expired);
            any |= falls;
            falls
        });
        if any {
            // There may be more.
            self.timers.expire = Instant::now();
        }
        if let Some(own) = &self.own
            && self.desk.lock().stats.dead_letters > 0
        {
            let pen = self.desk.take_pen();
            let result = own.side.forget_dead_letters(before, AT_ONCE);
            drop(pen);
            match result {
                Ok(0) => {}
                Ok(count) => {
                    self.desk
                        .count_letters(|letters| letters.saturating_sub(count as u64));
                    // There may be more.
                    self.timers.expire = Instant::now();
                }
                Err(error) => self.note_own_failure(&error),
            }
        }
    }

    /// Where there is no room for new calls, old dead letters go first.
    fn make_room(&mut self) {
        let (is_full, letters) = {
            let mut state = self.desk.lock();
            (std::mem::take(&mut state.is_full), state.stats.dead_letters)
        };
        if !is_full || letters == 0 {
            return;
        }
        let Some(own) = &self.own else { return };
        let pen = self.desk.take_pen();
        let result = own.side.drop_oldest_dead_letters(AT_ONCE);
        drop(pen);
        match result {
            Ok(0) => {}
            Ok(dropped) => {
                let name = &self.shared.name;
                say(|| {
                    tracing::warn!(
                        "{name}: the spool is full: {dropped} old dead letters made room for new calls"
                    );
                });
                self.desk
                    .count_letters(|letters| letters.saturating_sub(dropped as u64));
                self.measure();
            }
            Err(error) => self.note_own_failure(&error),
        }
    }

    /// Gives up what has waited longest, where there is too much.
    fn drop_oldest(&mut self) {
        // What was given up or delivered takes up its space until it is deleted.
        let undeleted = {
            let state = self.desk.lock();
            state.must_wait() || !state.settled.is_empty()
        } || self.shared.lock().falling > 0;
        let mut excess = self.desk.excess();
        if excess == 0 || undeleted {
            return;
        }
        self.sweep(Self::few, |keeper, range, stored| {
            let bytes = stored.bytes as u64;
            let falls = excess > 0 && keeper.fall(range, stored, LossReason::Overflow);
            excess = excess.saturating_sub(bytes);
            falls
        });
    }

    /// How much to read of what is given up.
    fn few(&self) -> usize {
        64 * 1024
    }

    /// Goes through the calls that wait on disk, oldest first, until there is no room or one of them stays; or for so
    /// long that something else has its turn.
    fn sweep(
        &mut self,
        room: impl Fn(&Self) -> usize,
        mut take: impl FnMut(&mut Self, &Range, Stored) -> bool,
    ) {
        for _ in 0..READS_AT_ONCE {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            let room = room(self).min(BYTES_AT_ONCE);
            if room == 0 {
                return;
            }
            let Some(range) = self.desk.front() else {
                return;
            };
            if self.shared.lock().fallen.len() >= MOST_FALLEN {
                return;
            }
            let store = match self.own.as_ref().filter(|own| own.file == range.file) {
                Some(own) => Some(&own.side),
                None => self.others.get(&range.file).map(|other| &other.store),
            };
            let Some(store) = store else {
                self.lose(&range, None);
                continue;
            };
            let (rows, result) = store.read(&range.ids(), AT_ONCE, room);
            let nothing_left = rows.is_empty();
            for stored in rows {
                let id = stored.id;
                let taken = match stored.call {
                    None => {
                        self.bury_damaged(&range, &stored);
                        true
                    }
                    Some(_) => take(self, &range, stored),
                };
                if !taken {
                    return;
                }
                let missing = self.desk.advance(id);
                if missing > 0 {
                    self.count_damaged(range.epoch, missing);
                }
            }
            match result {
                Ok(()) if nothing_left => self.lose(&range, None),
                Ok(()) => {}
                Err(StoreError::Damaged(_)) => self.go_round_damage(range.file),
                Err(error) => return self.note_other_failure(range.file, &error),
            }
        }
        self.desk.wake();
    }

    /// The first range cannot be read on: what can be found from its end is left of it.
    fn go_round_damage(&mut self, file: u32) {
        match self.others.get_mut(&file) {
            Some(other) => other.damaged = true,
            None => {
                self.desk.lock().own_damaged = true;
                self.desk.wake();
            }
        }
        let Some(range) = self.desk.front().filter(|range| range.file == file) else {
            return;
        };
        let store = match self.others.get(&file) {
            Some(other) => Some(&other.store),
            None => self.own.as_ref().map(|own| &own.side),
        };
        let tail = store.and_then(|store| store.readable(&range.ids(), true));
        let left = match tail {
            // It can be found, but not read.
            Some(tail) if tail.first == range.first && tail.count == range.count => {
                (tail.count > 1).then(|| Contents {
                    first: tail.first + 1,
                    count: tail.count - 1,
                    ..tail
                })
            }
            tail => tail,
        };
        self.lose(&range, left);
    }

    fn bring_back(&mut self, range: &Range, stored: Stored) -> bool {
        let Some(call) = stored.call else {
            return true;
        };
        let bytes = size(&call);
        let waited = now().saturating_sub(stored.time).max(0).unsigned_abs();
        let row = Row {
            file: range.file,
            id: stored.id,
            durable: true,
        };
        let entry = Entry {
            call: Arc::new(call),
            row: Some(row),
        };
        let mut state = self.shared.lock();
        if !state.machine.may_unpark(bytes) {
            return false;
        }
        let waited = Duration::from_millis(waited);
        let wake = state
            .machine
            .unpark(entry, bytes, range.epoch, waited, Instant::now());
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        true
    }

    /// The worker tells of it.
    fn fall(&mut self, range: &Range, stored: Stored, reason: LossReason) -> bool {
        let Some(call) = stored.call else {
            return true;
        };
        let what = match reason {
            LossReason::Expired => "it has waited on disk for as long as the spool keeps calls",
            _ => "the oldest on disk made room for newer ones",
        };
        let mut state = self.shared.lock();
        if state.fallen.len() >= MOST_FALLEN {
            return false;
        }
        state.fallen.push(Fallen {
            call: Arc::new(call),
            reason,
            error: ExportError::temporary(self.shared.name.clone(), what),
            epoch: range.epoch,
            row: Row {
                file: range.file,
                id: stored.id,
                durable: true,
            },
        });
        state.falling += 1;
        drop(state);
        self.shared.wake.notify_one();
        true
    }

    /// A call is not what was written: it is kept as it is, and not sent.
    fn bury_damaged(&mut self, range: &Range, stored: &Stored) {
        let result = match self.others.get(&range.file) {
            Some(other) if other.damaged => Ok(false),
            Some(other) => other.store.bury_damaged(stored.id, now()).map(|()| true),
            None => {
                let pen = self.desk.take_pen();
                let own = pen.own();
                let buried = own.as_ref().map(|own| own.bury_damaged(stored.id, now()));
                buried.transpose().map(|buried| buried.is_some())
            }
        };
        match result {
            Ok(kept) => self.desk.count_letters(|letters| letters + u64::from(kept)),
            Err(error) => self.note_other_failure(range.file, &error),
        }
        self.count_damaged(range.epoch, 1);
    }

    /// Only that is left of the first range, if it still is that one; the rest cannot be read.
    fn lose(&self, range: &Range, left: Option<Contents>) {
        let lost = self.desk.shrink(range, left);
        if lost > 0 {
            self.count_damaged(range.epoch, lost);
        }
    }

    fn count_damaged(&self, epoch: u64, calls: usize) {
        self.desk.lose(calls);
        let mut state = self.shared.lock();
        state.machine.release_parked(epoch, calls);
        state.note_damaged(calls as u64);
        let settled = self.shared.settle(&mut state);
        drop(state);
        drop(settled);
        self.shared.wake.notify_one();
    }

    // Dead letters

    /// Makes calls again of dead letters, where somebody asked for it. Returns whether there are more, for another turn.
    fn send_again(&mut self, looks: bool) -> bool {
        let Some(own) = &self.own else {
            return false;
        };
        if self.desk.lock().must_wait() {
            return false;
        }
        let asked = std::mem::take(&mut self.desk.lock().send_again);
        if asked {
            // Those that die from now on are not meant.
            match own.side.last(Table::DeadLetters) {
                Ok(last) => self.reviving = last.map(|last| i64::MIN..=last),
                Err(error) => {
                    self.desk.lock().send_again = true;
                    self.note_own_failure(&error);
                    return false;
                }
            }
        }
        let among = self.reviving.clone();
        let wanted = looks && own.side.has_dead_letters_to_send().unwrap_or(false);
        if among.is_none() && !wanted {
            return false;
        }
        let file = own.file;
        let first = self.desk.reserve_ids(AT_ONCE);
        let pen = self.desk.take_pen();
        let revived = pen.own().as_ref().map_or(Ok((None, 0)), |own| {
            own.revive(among.clone(), first, AT_ONCE, BYTES_AT_ONCE)
        });
        drop(pen);
        let (seen, count) = match revived {
            Ok(revived) => revived,
            Err(error) => {
                self.note_own_failure(&error);
                return false;
            }
        };
        if count > 0 {
            self.desk
                .count_letters(|letters| letters.saturating_sub(count as u64));
            let epoch = self.recover(count);
            let last = first + i64::try_from(count).unwrap_or(i64::MAX) - 1;
            self.desk.adopt(Range {
                file,
                first,
                last,
                count,
                epoch,
                adopted: true,
            });
        }
        let Some(seen) = seen else {
            self.reviving = None;
            self.measure();
            return false;
        };
        match among {
            // Not once more from the start: the id of one that was revived may be that of another by now, which died since.
            Some(among) => self.reviving = Some(seen + 1..=*among.end()),
            None => self.timers.look = Instant::now(),
        }
        self.desk.wake();
        true
    }

    /// Lets go of all files. What is empty is removed.
    fn close(&mut self) {
        if self.desk.lock().own_damaged {
            self.retire_own(true);
        }
        let store = self.desk.exchange_own(None);
        if let (Some(own), Some(store)) = (self.own.take(), store) {
            let empty = !store.has_calls().unwrap_or(true)
                && store.dead_letters().is_ok_and(|dead| dead == 0);
            drop((store, own.side));
            if empty {
                let _ = own.claim.remove();
            }
        }
        self.remove_empty();
        self.others.clear();
        self.in_use = None;
    }
}

fn say(log: impl FnOnce()) {
    let _ = caught(log);
}
