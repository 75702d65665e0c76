//! A file of lines, packed or not, or standard input.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What is read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    StandardInput,
    File(PathBuf),
}

/// An open source.
pub(crate) struct Input {
    /// What is in it, unpacked.
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) packed: bool,
    /// When it was last changed; for standard input now.
    pub(crate) modified: SystemTime,
}

impl Source {
    pub(crate) fn new(path: &Path) -> Self {
        match path.to_str() {
            Some("-") => Self::StandardInput,
            _ => Self::File(path.to_owned()),
        }
    }

    /// Whether it is there and gives its content only once.
    pub(crate) fn is_pipe(&self) -> bool {
        match self {
            Self::StandardInput => true,
            Self::File(path) => path
                .metadata()
                .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()),
        }
    }

    /// As messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::StandardInput => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// By which it is told from others, whatever it is called.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::StandardInput => "-".to_owned(),
            Self::File(path) => std::fs::canonicalize(path)
                .or_else(|_| std::path::absolute(path))
                .unwrap_or_else(|_| path.clone())
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// The name by which ids of records without one are made: that of the file without its folder, and without `.gz`, so that
    /// neither moving nor packing it makes other records of them.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::StandardInput => "-".to_owned(),
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.strip_suffix(".gz").unwrap_or(&name).to_owned()
            }
        }
    }

    /// How many bytes there are to read, packed as they are, if that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::StandardInput => None,
            Self::File(path) => {
                let metadata = path.metadata().ok()?;
                metadata.is_file().then_some(metadata.len())
            }
        }
    }

    /// Opens it. What is read of it, packed as it is, is added to `read`.
    pub(crate) fn open(&self, read: &Arc<AtomicU64>) -> io::Result<Input> {
        let (raw, modified): (Box<dyn Read + Send>, _) = match self {
            Self::StandardInput => (Box::new(io::stdin()), SystemTime::now()),
            Self::File(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(ErrorKind::IsADirectory.into());
                }
                let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                (Box::new(file), modified)
            }
        };
        let mut raw = Counted {
            raw,
            read: Arc::clone(read),
        };
        // The first bytes tell, whatever the name is.
        let mut head = [0; GZIP.len()];
        let mut known = 0;
        while let Some(rest) = head.get_mut(known..).filter(|rest| !rest.is_empty()) {
            match raw.read(rest) {
                Ok(0) => break,
                Ok(more) => known += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let packed = known == GZIP.len() && head == GZIP;
        let head = Cursor::new(head).take(known as u64);
        let whole = BufReader::with_capacity(BLOCK_BYTES, head.chain(raw));
        let reader: Box<dyn Read + Send> = match packed {
            true => Box::new(MultiGzDecoder::new(whole)),
            false => Box::new(whole),
        };
        Ok(Input {
            reader,
            packed,
            modified,
        })
    }
}

/// Says how much was read.
struct Counted {
    raw: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Why a source cannot be read, or not to its end.
pub(crate) fn problem(error: &io::Error, packed: bool) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::IsADirectory => "a directory; name the files in it".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::UnexpectedEof if packed => {
            "the gzip data ends too early: the file is truncated".to_owned()
        }
        ErrorKind::InvalidInput | ErrorKind::InvalidData if packed => {
            "the gzip data is damaged".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}
