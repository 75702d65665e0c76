//! Runs the command, away from the settings of whoever runs the tests.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
    thread,
};

use beluga_o11y_sandbox::Sandbox;
use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory for files, and for the home of the command.
pub(crate) struct Place {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// With the variables of a sandbox's Opik.
    pub(crate) fn with_opik(sandbox: &Sandbox) -> Self {
        Self::new().with("OPIK_URL_OVERRIDE", sandbox.opik_url())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and gives its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beluga-o11y"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).output().unwrap())
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        // The command may end before it has read everything.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let ran = Ran::new(child.wait_with_output().unwrap());
        writer.join().unwrap();
        ran
    }
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in {}", self.out);
        self
    }
}

/// So many lines, each a call with a model of its own and without an id; the same in all of a test's process.
pub(crate) fn lines(count: usize) -> String {
    // Within the day: the ids of older calls are made anew every 22 hours, for Opik takes none that is older, and one that
    // is sent again just then would be there twice.
    static START: LazyLock<String> = LazyLock::new(|| {
        let start = Utc::now() - TimeDelta::hours(1);
        start.to_rfc3339_opts(SecondsFormat::Millis, true)
    });
    let lines = (0..count).map(|number| {
        let call = json!({
            "provider": "openai",
            "model": format!("m{number}"),
            "start_time": *START,
            "duration_ms": 840,
            "input_tokens": number,
            "response": "Paris",
        });
        format!("{call}\n")
    });
    lines.collect()
}

pub(crate) fn models(sandbox: &Sandbox) -> Vec<String> {
    let mut models: Vec<_> = sandbox
        .calls()
        .into_iter()
        .map(|call| call.model.unwrap_or_default())
        .collect();
    models.sort();
    models
}

pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
