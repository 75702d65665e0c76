//! What the layer says, and where, if it is set up so that nothing can reach it.
//!
//! It is said once in a process and on its standard error, so each case is a process: this program again, told by a
//! variable which case it is.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

use std::{env, io, process::Command};

use beluga_o11y::InMemoryExporter;
use beluga_o11y_tracing::LlmCallLayer;
use tracing::{Subscriber, info_span, subscriber};
use tracing_subscriber::{EnvFilter, Registry, filter::LevelFilter, fmt, prelude::*};

const CASE: &str = "BELUGA_O11Y_TEST_CASE";

/// Installs a subscriber twice, makes a call each time, and prints how many arrived.
fn play<S: Subscriber + Send + Sync>(make: impl Fn(InMemoryExporter) -> S) {
    let sink = InMemoryExporter::new();
    for _ in 0..2 {
        subscriber::with_default(make(sink.clone()), || {
            info_span!(target: "rig::completions", "chat", gen_ai.operation.name = "chat");
        });
    }
    println!("arrived: {}", sink.len());
}

/// Plays the case that the variable names; without one, there is nothing to do.
#[test]
fn child() {
    let log = || fmt::layer::<Registry>().with_writer(io::sink);
    let warn = || EnvFilter::new("warn");
    match env::var(CASE).unwrap_or_default().as_str() {
        "before" => play(|sink| {
            Registry::default()
                .with(warn())
                .with(LlmCallLayer::new(sink))
        }),
        "after" => play(|sink| {
            Registry::default()
                .with(LlmCallLayer::new(sink))
                .with(warn())
        }),
        "only my crate" => play(|sink| {
            let filter = EnvFilter::new("my_crate=debug");
            Registry::default()
                .with(LlmCallLayer::new(sink))
                .with(filter)
        }),
        "also my crate" => play(|sink| {
            let filter = EnvFilter::new("warn,my_crate=info");
            Registry::default()
                .with(filter)
                .with(LlmCallLayer::new(sink))
        }),
        "level" => play(|sink| {
            let level = LevelFilter::WARN;
            Registry::default()
                .with(level)
                .with(LlmCallLayer::new(sink))
        }),
        "alone" => play(|sink| Registry::default().with(LlmCallLayer::new(sink))),
        "filtered log" => play(|sink| {
            let log = log().with_filter(warn());
            Registry::default().with(log).with(LlmCallLayer::new(sink))
        }),
        "remedy" => play(|sink| {
            let filter = EnvFilter::new("warn,rig=info,genai=info,langchain_rust=info");
            Registry::default()
                .with(filter)
                .with(LlmCallLayer::new(sink))
        }),
        "one library" => play(|sink| {
            let filter = EnvFilter::new("warn,rig=info");
            Registry::default()
                .with(filter)
                .with(LlmCallLayer::new(sink))
        }),
        "of spans" => play(|sink| {
            let filter = EnvFilter::new("warn,rig::completions[chat]=info");
            Registry::default()
                .with(filter)
                .with(LlmCallLayer::new(sink))
        }),
        "of spans, after" => play(|sink| {
            let filter = EnvFilter::new("warn,rig::completions[chat]=info");
            Registry::default()
                .with(LlmCallLayer::new(sink))
                .with(filter)
        }),
        "of fields" => play(|sink| {
            let filter = EnvFilter::new("warn,[{gen_ai.operation.name}]=info");
            Registry::default()
                .with(filter)
                .with(LlmCallLayer::new(sink))
        }),
        "" => {}
        other => panic!("no case {other}"),
    }
}

/// What a case printed: how many calls arrived, and what was said.
fn run(case: &str) -> (String, Vec<String>) {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let lines = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let arrived = lines(child.stdout).into_iter();
    let arrived =
        arrived.filter_map(|line| line.split_once("arrived: ").map(|(_, n)| n.to_owned()));
    (arrived.collect(), lines(child.stderr))
}

#[test]
fn a_global_filter_is_noticed_once_with_the_remedy() {
    for case in ["before", "after", "only my crate", "also my crate", "level"] {
        let (arrived, said) = run(case);
        assert_eq!(arrived, "0", "{case}");
        assert_eq!(said.len(), 1, "{case}: {said:?}");
        for words in [
            "beluga-o11y-tracing: no call of rig, genai or langchain-rust will be reported",
            "a global filter",
            "fmt::layer().with_filter(",
            "rig=info,genai=info,langchain_rust=info",
        ] {
            assert!(said[0].contains(words), "{case}: {said:?}");
        }
    }
}

#[test]
fn nothing_is_said_where_spans_arrive() {
    for case in [
        "alone",
        "filtered log",
        "remedy",
        "one library",
        "of spans",
        "of spans, after",
        "of fields",
    ] {
        assert_eq!(run(case), ("2".to_owned(), vec![]), "{case}");
    }
}
