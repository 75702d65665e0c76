//! `spool`: beside a running program, and after one has ended.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, ExportError, LLMCallData, TraceExporter, async_trait};
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::Sandbox;
use serde_json::Value;

use crate::support::{Place, models};

/// An exporter that is down, or refuses what it gets.
#[derive(Clone)]
struct Grumpy {
    name: &'static str,
    /// Refuses calls for what they are, instead of being down.
    rejects: bool,
    /// Takes everything, once this is set.
    well: Arc<AtomicBool>,
}

impl Grumpy {
    fn down(name: &'static str) -> Self {
        Self {
            name,
            rejects: false,
            well: Arc::default(),
        }
    }

    fn rejects(name: &'static str) -> Self {
        Self {
            rejects: true,
            ..Self::down(name)
        }
    }
}

#[async_trait]
impl TraceExporter for Grumpy {
    fn name(&self) -> &str {
        self.name
    }

    async fn export_llm_call(&self, _call: &LLMCallData) -> Result<(), ExportError> {
        match (self.well.load(Ordering::Relaxed), self.rejects) {
            (true, _) => Ok(()),
            (false, true) => {
                let error = ExportError::rejected(self.name, "422 Unprocessable Entity: no");
                Err(error.with_status(422).with_response_snippet("CANARY"))
            }
            (false, false) => Err(ExportError::temporary(self.name, "503 Service Unavailable")),
        }
    }
}

fn call(model: &str) -> LLMCallData {
    LLMCallData::new("openai", model).with_response("a\nb")
}

/// A program that runs.
fn program(exporter: &Grumpy, directory: &Path, models: &[&str]) -> Pipeline {
    let pipeline = Pipeline::builder(exporter.clone())
        .with_spool(directory)
        .with_max_batch_delay(Duration::ZERO)
        .with_drop_timeout(Duration::ZERO)
        .spawn()
        .unwrap();
    for model in models {
        assert!(pipeline.submit(call(model)).is_accepted());
    }
    if exporter.rejects {
        let report = pipeline.flush_within(Duration::from_secs(10));
        assert_eq!(report.stats.rejected, models.len() as u64);
    }
    pipeline
}

/// A program that has ended.
fn ended(exporter: &Grumpy, directory: &Path, models: &[&str]) {
    let pipeline = program(exporter, directory, models);
    let _ = pipeline.shutdown(Duration::from_millis(500));
}

fn place_with_spool() -> (Place, std::path::PathBuf) {
    let place = Place::new();
    let directory = place.path("spool");
    (place, directory)
}

#[test]
fn status_shows_what_waits_and_who_has_it() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("opik"), &directory, &["a", "b", "c"]);
    ended(&Grumpy::rejects("phoenix"), &directory, &["d", "e"]);
    let running = program(&Grumpy::down("langfuse"), &directory, &["f"]);

    let ran = place.run(&["spool", "status", "spool"]).ends_with(0);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.out);
    let id = std::process::id();
    assert!(
        lines[1].contains("langfuse") && lines[1].contains(&format!("in use by {id}")),
        "{}",
        ran.out
    );
    assert!(
        lines[2].contains("opik") && lines[2].contains(&format!("left by {id}")),
        "{}",
        ran.out
    );
    assert!(lines[2].contains("ago"), "{}", ran.out);

    let ran = place
        .run(&["spool", "status", "spool", "--json"])
        .ends_with(0);
    let status: Value = serde_json::from_str(&ran.out).unwrap();
    let file = |exporter: &str| {
        let files = status["files"].as_array().unwrap().iter();
        let mut files = files.filter(|file| file["exporter"] == exporter);
        files.next().unwrap().clone()
    };
    assert_eq!(
        (&file("opik")["waiting"], &file("opik")["in_use"]),
        (&3.into(), &false.into())
    );
    assert_eq!(file("phoenix")["dead_letters"], 2);
    assert_eq!(file("phoenix")["waiting"], 0);
    assert_eq!(
        (&file("langfuse")["waiting"], &file("langfuse")["in_use"]),
        (&1.into(), &true.into())
    );
    let one = place
        .run(&["spool", "status", "spool", "--exporter", "opik"])
        .ends_with(0);
    assert_eq!(one.out.lines().count(), 2);
    assert_eq!(running.stats().spool.not_durable, 0);
}

#[test]
fn what_waits_can_be_exported_and_replayed() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("opik"), &directory, &["a", "b"]);
    let running = program(&Grumpy::down("opik2"), &directory, &["c"]);
    let ran = place.run(&["spool", "export", "spool"]).ends_with(0);
    let exported: Vec<LLMCallData> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let models_of: Vec<_> = exported.iter().map(|call| call.model.as_str()).collect();
    assert_eq!(models_of, ["a", "b", "c"]);
    let ran_one = place
        .run(&["spool", "export", "spool", "--exporter", "opik2"])
        .ends_with(0);
    assert_eq!(ran_one.out.lines().count(), 1);

    let sandbox = Sandbox::start().unwrap();
    let arguments = ["replay", "-", "--to", "opik", "--url", &sandbox.opik_url()];
    place.run_with_input(&arguments, ran.out).ends_with(0);
    assert_eq!(models(&sandbox), ["a", "b", "c"]);
    let ids: Vec<_> = sandbox.traces().iter().map(|trace| trace.id).collect();
    assert!(exported.iter().all(|call| ids.contains(&call.id())));
    drop(running);
}

#[test]
fn a_drain_delivers_what_ended_programs_left_and_nothing_else() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("opik"), &directory, &["a", "b"]);
    ended(&Grumpy::down("opik"), &directory, &["c"]);
    ended(&Grumpy::down("phoenix"), &directory, &["p"]);
    let running = program(&Grumpy::down("langfuse"), &directory, &["mine"]);
    let sandbox = Sandbox::start().unwrap();
    let place = place
        .with("OPIK_URL_OVERRIDE", sandbox.opik_url())
        .with("PHOENIX_COLLECTOR_ENDPOINT", sandbox.phoenix_url());

    let ran = place
        .run(&["spool", "drain", "spool", "--exporter", "phoenix"])
        .ends_with(0);
    ran.says("1 delivered");
    assert_eq!(models(&sandbox), ["p"]);
    place
        .run(&["spool", "drain", "spool"])
        .ends_with(0)
        .says("3 delivered")
        .says("1 call left to that program, which delivers what it has");
    assert_eq!(models(&sandbox), ["a", "b", "c", "p"]);
    place
        .run(&["spool", "drain", "spool"])
        .ends_with(0)
        .says("there is nothing to deliver");
    assert_eq!(running.stats().pending, 1);
    drop(running);
    let left = place
        .run(&["spool", "status", "spool", "--exporter", "opik"])
        .ends_with(0);
    left.says("nothing is in spool");
}

#[test]
fn what_cannot_be_delivered_stays() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("opik"), &directory, &["a", "b"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    place
        .run(&["spool", "drain", "spool", "--url", &gone, "--patience", "1"])
        .ends_with(1)
        .complains("opik: export: cannot connect")
        .says("2 still wait");
    let sandbox = Sandbox::start().unwrap();
    place
        .run(&["spool", "drain", "spool", "--url", &sandbox.opik_url()])
        .ends_with(0)
        .says("2 delivered");
    assert_eq!(models(&sandbox), ["a", "b"]);
}

#[test]
fn a_backend_that_is_not_set_up_keeps_no_other_waiting() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("langfuse"), &directory, &["l"]);
    ended(&Grumpy::down("opik"), &directory, &["o"]);
    let sandbox = Sandbox::start().unwrap();
    let place = place.with("OPIK_URL_OVERRIDE", sandbox.opik_url());
    place
        .run(&["spool", "drain", "spool"])
        .ends_with(1)
        .complains("langfuse: public key is required")
        .says("1 delivered");
    assert_eq!(models(&sandbox), ["o"]);
}

#[test]
fn a_drain_knows_no_exporter_of_somebody_else() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("mine"), &directory, &["a"]);
    place
        .run(&["spool", "drain", "spool"])
        .ends_with(1)
        .complains("the exporter mine is the program's own");
    let ran = place.run(&["spool", "status", "spool"]).ends_with(0);
    assert!(ran.out.contains("mine"), "{}", ran.out);
}

#[test]
fn dead_letters_are_shown_and_can_be_replayed() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::rejects("opik"), &directory, &["a", "b"]);
    let ran = place.run(&["spool", "dead", "spool"]).ends_with(0);
    assert_eq!(ran.out.lines().count(), 4, "two lines each: {}", ran.out);
    assert!(
        ran.out.contains("rejected") && ran.out.contains("422 Unprocessable Entity"),
        "{}",
        ran.out
    );
    assert!(
        !ran.out.contains("CANARY"),
        "the server's words may quote a prompt"
    );
    let ran = place
        .run(&["spool", "dead", "spool", "--json"])
        .ends_with(0);
    let letters: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["record"]["model"], "a");
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["status"]),
        (&"rejected".into(), &422.into())
    );
    place
        .run_with_input(&["replay", "-", "--to", "none"], ran.out)
        .ends_with(0)
        .says("2 delivered");
}

#[test]
fn a_running_program_is_asked_to_send_dead_letters_again() {
    let (place, directory) = place_with_spool();
    let exporter = Grumpy::rejects("opik");
    let running = program(&exporter, &directory, &["a", "b"]);
    exporter.well.store(true, Ordering::Relaxed);
    let asked = Instant::now();
    place
        .run(&["spool", "retry-dead", "spool"])
        .ends_with(0)
        .says("2 dead letters to be sent again within seconds");
    while running.stats().delivered < 2 {
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "{:?}",
            running.stats()
        );
        thread::sleep(Duration::from_millis(20));
    }
    place
        .run(&["spool", "retry-dead", "spool"])
        .ends_with(0)
        .says("there are no dead letters in spool");
}

#[test]
fn dead_letters_of_an_ended_program_are_drained_when_asked_for() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::rejects("opik"), &directory, &["a", "b"]);
    let sandbox = Sandbox::start().unwrap();
    let place = place.with("OPIK_URL_OVERRIDE", sandbox.opik_url());
    let drain = || place.run(&["spool", "drain", "spool"]).ends_with(0);
    drain().says("there is nothing to deliver");
    place
        .run(&["spool", "retry-dead", "spool"])
        .ends_with(0)
        .says("by the next program that starts there, or by `spool drain`");
    place
        .run(&["spool", "status", "spool"])
        .ends_with(0)
        .says("2 to send again");
    drain().says("2 delivered");
    assert_eq!(models(&sandbox), ["a", "b"]);
    place
        .run(&["spool", "dead", "spool"])
        .ends_with(0)
        .says("there are no dead letters");
}

#[test]
fn directories_that_are_none_are_named() {
    let place = Place::new();
    for command in ["status", "drain", "export", "dead", "retry-dead"] {
        place
            .run(&["spool", command, "nowhere"])
            .ends_with(1)
            .complains("nowhere does not exist");
        let file = place.file("file", "");
        place
            .run(&["spool", command, &file])
            .ends_with(1)
            .complains("is not a directory");
    }
    fs::create_dir(place.path("empty")).unwrap();
    place
        .run(&["spool", "status", "empty"])
        .ends_with(0)
        .says("nothing is in empty");
}

#[test]
fn a_file_that_is_damaged_is_named_and_the_others_are_read() {
    let (place, directory) = place_with_spool();
    ended(&Grumpy::down("opik"), &directory, &["a"]);
    let strange = directory.join("opik").join("1764000000000-1-9.db");
    fs::write(
        &strange,
        "this is no database at all, but long enough to look like one. ".repeat(100),
    )
    .unwrap();
    let ran = place.run(&["spool", "status", "spool"]).ends_with(1);
    let ran = ran.complains("1764000000000-1-9.db");
    assert!(ran.out.contains("opik"), "{}", ran.out);
    let ran = place.run(&["spool", "export", "spool"]).ends_with(1);
    assert_eq!(ran.out.lines().count(), 1);
}

#[cfg(unix)]
#[test]
fn what_may_not_be_written_is_not_drained_and_that_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::start().unwrap();
    let (place, directory) = place_with_spool();
    let place = place.with("OPIK_URL_OVERRIDE", sandbox.opik_url());
    ended(&Grumpy::down("opik"), &directory, &["a", "b"]);
    let below = directory.join("opik");
    let files: Vec<_> = fs::read_dir(&below).unwrap().flatten().collect();
    let allow = |folder: u32, file: u32| {
        for entry in &files {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(file)).unwrap();
        }
        fs::set_permissions(&below, fs::Permissions::from_mode(folder)).unwrap();
    };
    allow(0o555, 0o444);
    // Whoever may do everything learns nothing here.
    if fs::write(below.join("probe"), "").is_err() {
        place
            .run(&["spool", "drain", directory.to_str().unwrap()])
            .ends_with(1)
            .complains("check that its files can be written")
            .says("0 delivered, 2 still wait");
        assert_eq!(sandbox.calls().len(), 0);
    }
    allow(0o755, 0o644);
}

#[test]
fn a_drain_waits_as_long_as_it_was_told_to() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (place, directory) = place_with_spool();
    let place = place.with("OPIK_URL_OVERRIDE", url);
    ended(&Grumpy::down("opik"), &directory, &["a"]);
    let directory = directory.to_str().unwrap();
    place
        .run(&["spool", "drain", directory, "--patience", "1"])
        .ends_with(1)
        .complains("opik: no answer for ")
        .says("0 delivered, 1 still wait");
}
