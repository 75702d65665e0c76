//! Where the files of a spool are, and who holds them.
//!
//! Below the directory that the program names, each exporter has one of its own, which only its owner can look into. A
//! file `<name>.db` belongs to the process that holds the lock of `<name>.lock`. That is a file beside it because SQLite
//! has locks of its own in the database, which on Unix are gone as soon as anything else in the process closes it.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

/// The directory of one exporter.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// It is not fit for secrets: for the program's author to mend.
    #[error("{} {}", path.display(), problem)]
    Unfit { path: PathBuf, problem: String },
    /// It may be usable later.
    #[error("{}: {}", path.display(), source)]
    Io { path: PathBuf, source: io::Error },
}

/// A file that this process holds.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// Held until it is closed, by the end of the process at the latest.
    lock: File,
}

/// A directory that a pipeline of this process uses.
#[derive(Debug)]
pub(super) struct InUse(PathBuf);

static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl InUse {
    /// Nothing if another pipeline of this process uses it.
    pub(super) fn new(directory: &Path) -> Option<Self> {
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let new = in_use.insert(directory.to_owned());
        new.then(|| Self(directory.to_owned()))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.remove(&self.0);
    }
}

impl Directory {
    /// Makes the directory of that exporter if need be, and looks whether it is safe.
    pub(super) fn prepare(root: &Path, exporter: &str) -> Result<Self, DirectoryError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DirectoryError::Io { path, source }
        };
        make(root, true).map_err(io(root))?;
        let metadata = look(root)?;
        if is_shared(&metadata) {
            return Err(unfit(
                root,
                "can be written to by everybody; name a directory of the program's own",
            ));
        }
        // A link further up is the administrator's; SQLite follows none at all.
        let root = fs::canonicalize(root).map_err(io(root))?;
        let path = root.join(file_name_of(exporter));
        make(&path, false).map_err(io(&path))?;
        let metadata = look(&path)?;
        make_private(&path, &metadata, 0o700).map_err(io(&path))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file, empty.
    pub(super) fn create(&self) -> Result<Claim, DirectoryError> {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_millis();
        let io = |source| DirectoryError::Io {
            path: self.path.clone(),
            source,
        };
        for number in 0..100 {
            // Sorted by name, the oldest comes first.
            let name = format!("{now:014}-{}-{number}", process::id());
            let lock = self.path.join(format!("{name}.lock"));
            let file = match new_file(&lock) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(io)?,
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, &lock) => {}
                // Somebody took it for a left one already, and may even have removed it.
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    let _ = remove(&lock);
                    return Err(io(error));
                }
            }
            let claim = Claim {
                path: self.path.join(format!("{name}.db")),
                lock: file,
            };
            if let Err(error) = self.check_owner(&claim).and_then(|()| {
                new_file(&claim.path).map_err(io)?;
                Ok(())
            }) {
                let _ = claim.remove();
                return Err(error);
            }
            return Ok(claim);
        }
        Err(io(io::ErrorKind::AlreadyExists.into()))
    }

    /// What we make belongs to us; so must what it lies in.
    fn check_owner(&self, claim: &Claim) -> Result<(), DirectoryError> {
        let io = |source| DirectoryError::Io {
            path: self.path.clone(),
            source,
        };
        let ours = owner(&claim.lock.metadata().map_err(io)?);
        let theirs = owner(&fs::symlink_metadata(&self.path).map_err(io)?);
        if ours == theirs {
            return Ok(());
        }
        Err(unfit(&self.path, "belongs to another user"))
    }

    /// The files, oldest first.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("db") => files.push(path),
                // Made or removed halfway.
                Some("lock") if !path.with_extension("db").exists() => {
                    if let Ok(Some(claim)) = Claim::lock(path.with_extension("db")) {
                        let _ = claim.remove();
                    }
                }
                _ => {}
            }
        }
        files.sort();
        Ok(files)
    }

    /// Takes a file, unless another process holds it.
    pub(super) fn claim(&self, path: PathBuf) -> Result<Option<Claim>, DirectoryError> {
        let io = |source| DirectoryError::Io {
            path: path.clone(),
            source,
        };
        let metadata = match fs::symlink_metadata(&path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        if !metadata.is_file() {
            return Err(unfit(&path, "is not a regular file"));
        }
        if owner(&metadata) != owner(&fs::symlink_metadata(&self.path).map_err(io)?) {
            return Err(unfit(&path, "belongs to another user"));
        }
        make_private(&path, &metadata, 0o600).map_err(io)?;
        match Claim::lock(path.clone()).map_err(io)? {
            // Another process was faster, and this is a lock of nothing.
            Some(claim) if !path.exists() => {
                let _ = claim.remove();
                Ok(None)
            }
            claim => Ok(claim),
        }
    }
}

impl Claim {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn lock(path: PathBuf) -> io::Result<Option<Self>> {
        let lock_path = path.with_extension("lock");
        let lock = match fs::symlink_metadata(&lock_path) {
            Ok(metadata) if !metadata.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
            Ok(_) => match OpenOptions::new().read(true).write(true).open(&lock_path) {
                // Its process was faster, and has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            },
            Err(_) => match new_file(&lock_path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                other => other?,
            },
        };
        if !take(&lock)? {
            return Ok(None);
        }
        // Whoever held it may have removed it before letting go: then this is the lock of nothing.
        let same = is_at(&lock, &lock_path);
        Ok(same.then_some(Self { path, lock }))
    }

    /// Whether the next process would find it.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Whether the file is empty and its log is not. No process leaves it like that: the log comes after the first page.
    /// SQLite takes a file of one byte for an empty one, too (`unixFileSize`).
    pub(super) fn has_lost_all_but_its_log(&self) -> bool {
        length(&self.path) <= 1 && length(&with_suffix(&self.path, "-wal")) > 0
    }

    /// Deletes the file, and lets go.
    pub(super) fn remove(self) -> io::Result<()> {
        let removed = remove(&self.path);
        // Without its file, the log is nothing.
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = remove(&with_suffix(&self.path, suffix));
        }
        removed?;
        remove(&self.path.with_extension("lock"))
    }

    /// Gives the file another name, under which nobody touches it, and lets go. Returns that name.
    pub(super) fn set_aside(self) -> io::Result<PathBuf> {
        let aside = with_suffix(&self.path, ".damaged");
        fs::rename(&self.path, &aside)?;
        let log = with_suffix(&self.path, "-wal");
        if log.exists() {
            fs::rename(log, with_suffix(&aside, "-wal"))?;
        }
        let _ = remove(&with_suffix(&self.path, "-shm"));
        remove(&self.path.with_extension("lock"))?;
        Ok(aside)
    }
}

/// Takes a lock, unless a process holds it. Those who only look whether somebody does hold it too, together and for a
/// moment: they are waited for.
fn take(lock: &File) -> io::Result<bool> {
    const TRIES: usize = 50;
    const MOMENT: Duration = Duration::from_millis(2);
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_taken(lock)? {
            return Ok(false);
        }
        thread::sleep(MOMENT);
    }
    Ok(false)
}

/// Whether somebody holds that lock for themselves.
fn is_taken(lock: &File) -> io::Result<bool> {
    match lock.try_lock_shared() {
        Ok(()) => lock.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process holds that file, seen from outside.
pub(super) fn is_in_use(path: &Path) -> io::Result<bool> {
    let lock = path.with_extension("lock");
    // Opening anything else might wait for ever.
    match fs::symlink_metadata(&lock) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    match File::open(&lock) {
        Ok(lock) => is_taken(&lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn unfit(path: &Path, problem: &str) -> DirectoryError {
    DirectoryError::Unfit {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

/// A file name that no other exporter has: what might mean something in a path is escaped.
fn file_name_of(exporter: &str) -> String {
    let mut name = String::new();
    for byte in exporter.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            // Capitals too: on some disks they are the same as small letters.
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.is_empty() {
        "%".to_owned()
    } else {
        name
    }
}

/// The exporter whose directory has that name, if it is the name of one.
pub(super) fn exporter_of(file_name: &str) -> Option<String> {
    if file_name == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = file_name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let exporter = String::from_utf8(bytes).ok()?;
    // Each exporter has one name only.
    (file_name_of(&exporter) == file_name).then_some(exporter)
}

fn make(path: &Path, parents: bool) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(parents);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    match builder.create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn look(path: &Path) -> Result<Metadata, DirectoryError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| DirectoryError::Io {
        path: path.to_owned(),
        source,
    })?;
    if metadata.is_symlink() {
        return Err(unfit(
            path,
            "is a symbolic link, which is not followed; name where it leads to",
        ));
    }
    if !metadata.is_dir() {
        return Err(unfit(path, "is not a directory"));
    }
    Ok(metadata)
}

fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    there.is_ok_and(|there| file.metadata().is_ok_and(|ours| is_same(&there, &ours)))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Nothing if it is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn is_shared(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o002 != 0
}

#[cfg(unix)]
fn owner(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(unix)]
fn make_private(path: &Path, metadata: &Metadata, mode: u32) -> io::Result<()> {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

// Elsewhere what a user's directory allows is inherited, and a file that is open cannot be removed.

#[cfg(not(unix))]
fn is_shared(_: &Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn owner(_: &Metadata) {}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn make_private(_: &Path, _: &Metadata, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn names_of_exporters_become_names_of_files() {
        for (exporter, name) in [
            ("opik", "opik"),
            ("my-own_2", "my-own_2"),
            ("../etc", "%2E%2E%2Fetc"),
            ("Opik", "%4Fpik"),
            ("", "%"),
        ] {
            assert_eq!(file_name_of(exporter), name);
            assert_eq!(exporter_of(name).as_deref(), Some(exporter));
        }
        for other in [
            "Opik",
            "lost+found",
            ".git",
            "a%",
            "a%4",
            "%4f",
            "%+4",
            "%61",
            "%FF",
            "%%",
            "",
        ] {
            assert_eq!(exporter_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_is_held_by_one() {
        let root = TempDir::new().unwrap();
        let directory = Directory::prepare(root.path(), "x").unwrap();
        let claim = directory.create().unwrap();
        let path = claim.path().to_owned();
        assert_eq!(directory.files().unwrap(), std::slice::from_ref(&path));
        assert!(directory.claim(path.clone()).unwrap().is_none());
        drop(claim);
        let claim = directory.claim(path.clone()).unwrap().unwrap();
        claim.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(directory.claim(path).unwrap().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn the_lock_of_a_removed_file_is_the_lock_of_nothing() {
        let root = TempDir::new().unwrap();
        let directory = Directory::prepare(root.path(), "x").unwrap();
        let claim = directory.create().unwrap();
        let path = claim.path().to_owned();
        let lock = path.with_extension("lock");
        // Removed and made anew while it was held.
        fs::remove_file(&lock).unwrap();
        new_file(&lock).unwrap();
        let other = directory.claim(path).unwrap();
        assert!(other.is_some());
        drop((claim, other));
    }

    /// One who looks at the wrong moment must not keep a file from the next process.
    #[test]
    fn who_only_looks_is_waited_for() {
        let root = TempDir::new().unwrap();
        let directory = Directory::prepare(root.path(), "x").unwrap();
        let claim = directory.create().unwrap();
        let path = claim.path().to_owned();
        assert!(is_in_use(&path).unwrap());
        drop(claim);
        assert!(!is_in_use(&path).unwrap());
        let looker = File::open(path.with_extension("lock")).unwrap();
        looker.try_lock_shared().unwrap();
        assert!(!is_in_use(&path).unwrap());
        thread::scope(|scope| {
            let claim = scope.spawn(|| directory.claim(path.clone()).unwrap());
            thread::sleep(Duration::from_millis(20));
            drop(looker);
            assert!(claim.join().unwrap().is_some());
        });
        // All look all the time, and still each that wants it gets it.
        thread::scope(|scope| {
            let lookers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..2000).for_each(|_| drop(is_in_use(&path)))))
                .collect();
            while lookers.iter().any(|looker| !looker.is_finished()) {
                assert!(directory.claim(path.clone()).unwrap().is_some());
            }
        });
    }

    #[cfg(unix)]
    #[test]
    fn what_belongs_to_another_user_is_left_alone() {
        let root = TempDir::new().unwrap();
        let directory = Directory::prepare(root.path(), "x").unwrap();
        let claim = directory.create().unwrap();
        let path = claim.path().to_owned();
        drop(claim);
        // Only the administrator can give a file away.
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            return;
        }
        let error = directory.claim(path).unwrap_err();
        assert!(
            error.to_string().ends_with("belongs to another user"),
            "{error}"
        );
        std::os::unix::fs::chown(directory.path(), Some(12_345), None).unwrap();
        let error = directory.create().unwrap_err();
        assert!(
            error.to_string().ends_with("belongs to another user"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_two_exporters_share_a_name(one in ".{0,12}", other in ".{0,12}") {
            let names = (file_name_of(&one), file_name_of(&other));
            prop_assert_eq!(one == other, names.0.eq_ignore_ascii_case(&names.1));
            prop_assert!(!names.0.contains(['/', '\\', '.', '\0', ':']));
        }

        #[test]
        fn the_name_of_a_file_tells_the_exporter(exporter in ".{0,12}", other in "[a-zA-Z0-9%./_-]{0,12}") {
            prop_assert_eq!(exporter_of(&file_name_of(&exporter)), Some(exporter));
            // Only what is the name of one.
            if let Some(exporter) = exporter_of(&other) {
                prop_assert_eq!(file_name_of(&exporter), other);
            }
        }
    }
}
