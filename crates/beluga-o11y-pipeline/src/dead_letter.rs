//! Calls that were given up, and the file that they are written to.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use beluga_o11y::{ExportError, LLMCallData};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::{PipelineError, panics::caught};

/// A call that the backend refused or that was given up.
///
/// Its JSON form is that of a line in the
/// [dead letter file](crate::PipelineBuilder::with_dead_letter_file): `time`, `exporter`, `reason`, `error`, `status`
/// and `response` if a server answered, and the call itself as `record`.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The call, as it was sent last.
    pub call: Arc<LLMCallData>,
    /// Why it was given up.
    pub reason: LossReason,
    /// What the exporter said about it last.
    pub error: ExportError,
    /// When it was given up.
    pub time: DateTime<Utc>,
}

/// Why an accepted call was given up. Prints as in JSON: `rejected`, `too_large`, `expired`, `overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// The backend refused it for what it is.
    Rejected,
    /// By itself it is too large for the backend.
    TooLarge,
    /// It could not be delivered within
    /// [`with_max_retry_time`](crate::PipelineBuilder::with_max_retry_time), or the age up to which a spool keeps calls.
    Expired,
    /// It waited on disk and made room for newer ones: [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    Overflow,
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Overflow => "overflow",
        })
    }
}

/// Shows neither content nor what the server answered, which may quote it.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("call", &self.call)
            .field("reason", &self.reason)
            .field("error", &self.error)
            .field("time", &self.time)
            .finish()
    }
}

impl Serialize for DeadLetter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            time: self.time,
            exporter: self.error.exporter(),
            reason: &self.reason.to_string(),
            error: &self.error.to_string(),
            status: self.error.status(),
            response: self.error.response_snippet(),
            record: Some(&self.call),
        }
        .serialize(serializer)
    }
}

/// The JSON form of a dead letter, wherever it comes from.
pub(crate) struct Line<'a> {
    pub(crate) time: DateTime<Utc>,
    pub(crate) exporter: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) error: &'a str,
    pub(crate) status: Option<u16>,
    pub(crate) response: Option<&'a str>,
    pub(crate) record: Option<&'a LLMCallData>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = self.time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &time)?;
        map.serialize_entry("exporter", self.exporter)?;
        map.serialize_entry("reason", self.reason)?;
        map.serialize_entry("error", self.error)?;
        if let Some(status) = self.status {
            map.serialize_entry("status", &status)?;
        }
        if let Some(response) = self.response {
            map.serialize_entry("response", response)?;
        }
        map.serialize_entry("record", &self.record)?;
        map.end()
    }
}

/// What the user wants done with dead letters: a function that is told of them, a file that keeps them, both or nothing.
pub(crate) struct DeadLetters {
    tell: Option<Box<Function>>,
    file: Option<LineFile>,
}

/// Is told of dead letters.
pub(crate) type Function = dyn Fn(&DeadLetter) + Send + Sync;

/// Why somebody may not have heard of a dead letter. The others have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLetterProblem {
    #[error("the function of with_dead_letters panicked")]
    Panic,
    #[error("cannot append to the dead letter file: {0}")]
    File(io::Error),
    #[error(
        "the function of with_dead_letters panicked, and cannot append to the dead letter file: {0}"
    )]
    PanicAndFile(io::Error),
}

impl DeadLetters {
    /// Opens the file, so that a wrong path is found out at the start.
    pub(crate) fn new(
        tell: Option<Box<Function>>,
        path: Option<PathBuf>,
    ) -> Result<Self, PipelineError> {
        let open = |path: PathBuf| {
            LineFile::open(&path).map_err(|source| PipelineError::DeadLetterFile { path, source })
        };
        Ok(Self {
            tell,
            file: path.map(open).transpose()?,
        })
    }

    /// Writes a letter to the file and tells the function of it. A problem with one of them keeps it neither from the
    /// other nor from the next letter.
    pub(crate) fn tell(&mut self, letter: &DeadLetter) -> Result<(), DeadLetterProblem> {
        // The file first: the function may do anything, also end the process.
        let written = self.file.as_mut().map_or(Ok(()), |file| {
            // The error is of the exporter's making, and so is the text of its cause.
            caught(|| file.append(letter))
                .unwrap_or_else(|| Err(io::Error::other("the error panicked when it was printed")))
        });
        let told = self
            .tell
            .as_ref()
            .map_or(Some(()), |tell| caught(|| tell(letter)));
        match (told, written) {
            (Some(()), Ok(())) => Ok(()),
            (None, Ok(())) => Err(DeadLetterProblem::Panic),
            (Some(()), Err(error)) => Err(DeadLetterProblem::File(error)),
            (None, Err(error)) => Err(DeadLetterProblem::PanicAndFile(error)),
        }
    }
}

/// A file of JSON lines that only its owner can read, and that other processes may append to as well.
struct LineFile {
    file: File,
    /// Whether the last line may be torn: nobody has looked yet, or the last write failed.
    in_doubt: bool,
}

impl LineFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // To read only how it ends.
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        #[cfg(unix)]
        make_private(&file, &metadata)?;
        Ok(Self {
            file,
            in_doubt: true,
        })
    }

    fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        // Content is written as its author wrote it. Between the tokens of JSON a line break is as good as a space, and
        // within a string there is none.
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        if self.in_doubt && self.ends_within_a_line()? {
            line.insert(0, b'\n');
        }
        self.in_doubt = true;
        // All at once, so that the lines of two processes do not mix.
        self.file.write_all(&line)?;
        self.in_doubt = false;
        Ok(())
    }

    fn ends_within_a_line(&mut self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Ok(false);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}

/// An existing file may be open to all. A pipe or a device is left alone.
#[cfg(unix)]
fn make_private(file: &File, metadata: &std::fs::Metadata) -> io::Result<()> {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    const PRIVATE: u32 = 0o600;
    if !metadata.is_file() || metadata.permissions().mode() & 0o7777 == PRIVATE {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(PRIVATE))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use beluga_o11y::{CallError, Json};
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    fn call() -> LLMCallData {
        LLMCallData::new("openai", "gpt-4o")
            .with_name("SECRET")
            .with_messages(json!([{"role": "user", "content": "SECRET\n"}]))
            .with_response("SECRET")
            .with_model_parameters(json!({"temperature": 0.2}))
            .with_error(CallError::new("SECRET").with_kind("SECRET"))
            .with_tag("SECRET")
            .with_metadata("SECRET", "SECRET")
            .with_tokens(500, 150)
    }

    fn letter(call: LLMCallData) -> DeadLetter {
        DeadLetter {
            call: Arc::new(call),
            reason: LossReason::Rejected,
            error: ExportError::rejected("opik", "422 Unprocessable Entity")
                .with_status(422)
                .with_response_snippet("no SECRET"),
            time: DateTime::from_timestamp_millis(1_700_000_000_000).unwrap(),
        }
    }

    fn file(path: impl Into<PathBuf>) -> DeadLetters {
        DeadLetters::new(None, Some(path.into())).unwrap()
    }

    fn function(tell: impl Fn(&DeadLetter) + Send + Sync + 'static) -> Option<Box<Function>> {
        Some(Box::new(tell))
    }

    fn error_of(path: impl Into<PathBuf>) -> io::Error {
        match DeadLetters::new(None, Some(path.into())).err() {
            Some(PipelineError::DeadLetterFile { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(str::to_owned).collect()
    }

    fn record(line: &str) -> LLMCallData {
        let mut line: Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(line["record"].take()).unwrap()
    }

    #[test]
    fn json_says_what_happened_and_holds_the_call() {
        let letter = letter(call());
        let mut value = serde_json::to_value(&letter).unwrap();
        assert_eq!(
            value["record"].take(),
            serde_json::to_value(&*letter.call).unwrap()
        );
        let expected = json!({
            "time": "2023-11-14T22:13:20.000Z",
            "exporter": "opik",
            "reason": "rejected",
            "error": "opik: export: 422 Unprocessable Entity",
            "status": 422,
            "response": "no SECRET",
            "record": null,
        });
        assert_eq!(value, expected);
        let text = serde_json::to_string(&letter).unwrap();
        assert!(text.starts_with(r#"{"time":"2023"#), "{text}");
    }

    #[test]
    fn what_no_server_said_is_absent() {
        let mut letter = letter(call());
        letter.error = ExportError::temporary("opik", "cannot connect");
        letter.reason = LossReason::Expired;
        let value = serde_json::to_value(&letter).unwrap();
        assert_eq!((value.get("status"), value.get("response")), (None, None));
        assert_eq!(value["reason"], "expired");
    }

    #[test]
    fn a_reason_prints_as_it_is_written() {
        for (reason, text) in [
            (LossReason::Rejected, "rejected"),
            (LossReason::TooLarge, "too_large"),
            (LossReason::Expired, "expired"),
        ] {
            assert_eq!(reason.to_string(), text);
            assert_eq!(serde_json::to_value(reason).unwrap(), text);
            assert_eq!(
                serde_json::from_value::<LossReason>(json!(text)).unwrap(),
                reason
            );
        }
    }

    #[test]
    fn debug_shows_no_content() {
        let letter = letter(call());
        let debug = format!("{letter:?} {letter:#?}");
        assert!(!debug.contains("SECRET"), "{debug}");
        assert!(
            debug.contains("Rejected") && debug.contains("422"),
            "{debug}"
        );
    }

    #[test]
    fn nobody_to_tell_is_fine() {
        let mut none = DeadLetters::new(None, None).unwrap();
        assert!(none.tell(&letter(call())).is_ok());
    }

    #[test]
    fn each_letter_is_a_line_that_gives_the_call_back() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let calls = [
            call(),
            LLMCallData::new("", "").with_response("\u{2028}\r\n\""),
        ];
        let mut letters = file(&path);
        for call in &calls {
            letters.tell(&letter(call.clone())).unwrap();
        }
        // Another process goes on.
        drop(letters);
        file(&path).tell(&letter(call())).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 3);
        for (line, call) in lines.iter().zip(&calls) {
            let read = record(line);
            assert_eq!(read.id(), call.id());
            assert_eq!(
                serde_json::to_string(&read).unwrap(),
                serde_json::to_string(call).unwrap()
            );
        }
    }

    #[test]
    fn content_of_several_lines_stays_on_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let mut call = call();
        let text = "{\n  \"a\":\r\n [1.50,\t2],\n\"b\\n\": \"\\r\\n\" }";
        call.messages = Some(Json::parse(text).unwrap());
        file(&path).tell(&letter(call)).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 1);
        let messages = record(&lines[0]).messages.unwrap().read::<Value>().unwrap();
        assert_eq!(messages, serde_json::from_str::<Value>(text).unwrap());
        assert!(lines[0].contains("1.50"));
    }

    #[test]
    fn only_a_torn_line_is_bad() {
        let dir = TempDir::new().unwrap();
        for (before, bad) in [("", 0), ("{}\n", 0), ("{}\n{\"time\":\"20", 1), ("x", 1)] {
            let path = dir.path().join("dead.jsonl");
            fs::write(&path, before).unwrap();
            let mut letters = file(&path);
            letters.tell(&letter(call())).unwrap();
            letters.tell(&letter(call())).unwrap();
            let lines = lines(&path);
            assert_eq!(lines.len(), before.lines().count() + 2);
            let unreadable = |line: &&String| serde_json::from_str::<Value>(line).is_err();
            assert_eq!(lines.iter().filter(unreadable).count(), bad, "{before}");
        }
    }

    #[test]
    fn a_write_that_fails_puts_the_last_line_in_doubt() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        fs::write(&path, "{\"torn\":").unwrap();
        let mut lines_file = LineFile {
            file: File::open(&path).unwrap(),
            in_doubt: false,
        };
        assert!(lines_file.append(&1).is_err());
        lines_file.file = LineFile::open(&path).unwrap().file;
        lines_file.append(&2).unwrap();
        lines_file.append(&3).unwrap();
        assert_eq!(lines(&path), ["{\"torn\":", "2", "3"]);
    }

    #[test]
    fn a_call_that_cannot_be_written_leaves_no_trace() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let mut letters = file(&path);
        let bad = letters
            .tell(&letter(call().with_cost(f64::NAN)))
            .unwrap_err();
        assert!(matches!(bad, DeadLetterProblem::File(_)), "{bad}");
        assert!(
            bad.to_string().contains("cost: not a finite number"),
            "{bad}"
        );
        letters.tell(&letter(call())).unwrap();
        assert_eq!(lines(&path).len(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_is_refused_at_the_start() {
        let dir = TempDir::new().unwrap();
        let missing = dir.path().join("missing").join("dead.jsonl");
        assert_eq!(error_of(&missing).kind(), io::ErrorKind::NotFound);
        assert!(!missing.exists());
        error_of(dir.path());
        #[cfg(unix)]
        assert_eq!(error_of(dir.path()).kind(), io::ErrorKind::IsADirectory);
        error_of("");
    }

    #[test]
    fn two_writers_do_not_mix_their_lines() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut letters = file(&path);
                    for _ in 0..50 {
                        let call = call().with_response("x".repeat(20_000));
                        letters.tell(&letter(call)).unwrap();
                    }
                });
            }
        });
        let lines = lines(&path);
        // A writer that begins in the middle of another's write may leave an empty line.
        let whole: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(whole.len(), 200);
        for line in whole {
            assert_eq!(record(line).provider, "openai");
        }
    }

    #[test]
    fn a_function_that_panics_is_reported_and_told_of_the_next() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let tell = function(move |letter| {
            assert_eq!(letter.call.provider, "openai");
            assert_ne!(count.fetch_add(1, Ordering::Relaxed), 0);
        });
        let mut letters = DeadLetters::new(tell, Some(path.clone())).unwrap();
        let problem = letters.tell(&letter(call())).unwrap_err();
        assert!(matches!(problem, DeadLetterProblem::Panic), "{problem}");
        letters.tell(&letter(call())).unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert_eq!(lines(&path).len(), 2);
    }

    #[test]
    fn an_error_that_panics_is_reported_and_not_written() {
        #[derive(Debug)]
        struct Panics;
        impl std::error::Error for Panics {}
        impl fmt::Display for Panics {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("no")
            }
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let mut letters = file(&path);
        let mut bad = letter(call());
        bad.error = bad.error.with_cause(Panics);
        let problem = letters.tell(&bad).unwrap_err();
        assert!(matches!(problem, DeadLetterProblem::File(_)), "{problem}");
        letters.tell(&letter(call())).unwrap();
        assert_eq!(lines(&path).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("dead.jsonl");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        file(&path);
        assert_eq!(mode(), 0o600);
        for loose in [0o644, 0o666, 0o640, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
            file(&path).tell(&letter(call())).unwrap();
            assert_eq!(mode(), 0o600, "{loose:o}");
        }
        assert_eq!(lines(&path).len(), 4);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported_each_time() {
        let mut letters = file("/dev/full");
        for _ in 0..2 {
            match letters.tell(&letter(call())) {
                Err(DeadLetterProblem::File(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                }
                other => panic!("{other:?}"),
            }
        }
        let tell = function(|_| panic!("no"));
        let mut letters = DeadLetters::new(tell, Some("/dev/full".into())).unwrap();
        let problem = letters.tell(&letter(call())).unwrap_err();
        assert!(
            matches!(problem, DeadLetterProblem::PanicAndFile(_)),
            "{problem}"
        );
        assert!(!problem.to_string().contains("SECRET"), "{problem}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_left_as_it_is() {
        let before = fs::metadata("/dev/null").unwrap().permissions();
        file("/dev/null").tell(&letter(call())).unwrap();
        assert_eq!(fs::metadata("/dev/null").unwrap().permissions(), before);
    }
}
