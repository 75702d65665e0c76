//! `replay --state`: interrupted and gone on with.

use std::{
    collections::BTreeSet,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use beluga_o11y_sandbox::{Arrival, Fault, Sandbox};

use crate::support::{Place, Ran, lines, models};

fn send(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Waits until the sandbox has more than so many calls.
fn wait_for(sandbox: &Sandbox, requests: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while sandbox.request_count() < requests {
        assert!(
            Instant::now() < until,
            "only {} requests",
            sandbox.request_count()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A sandbox, and how many calls came to it that it had already.
fn counting() -> (Sandbox, Arc<AtomicUsize>) {
    let again = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&again);
    let sandbox = Sandbox::builder().with_listener(move |arrival| {
        if let Arrival::Call { again: true, .. } = arrival {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (sandbox.start().unwrap(), again)
}

#[test]
fn an_interrupted_replay_goes_on_with_nothing_twice_and_nothing_missing() {
    const CALLS: usize = 100_000;
    let (sandbox, again) = counting();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(CALLS));
    let arguments = ["replay", &file, "--state", "state.json"];
    let mut interrupted = 0;
    for signal in ["-INT", "-TERM", "-INT"] {
        let before = sandbox.request_count();
        let child = place.start(&arguments);
        wait_for(&sandbox, before + 40);
        send(&child, signal);
        let ran = Ran::new(child.wait_with_output().unwrap());
        if ran.code == Some(130) {
            interrupted += 1;
            ran.says("run the same command again to go on");
        } else {
            ran.ends_with(0);
        }
    }
    assert!(interrupted >= 2, "{interrupted}");
    assert!(sandbox.calls().len() < CALLS, "it was interrupted too late");
    place
        .run(&arguments)
        .ends_with(0)
        .says("done with in earlier runs");
    let models: BTreeSet<_> = models(&sandbox).into_iter().collect();
    assert_eq!((models.len(), sandbox.calls().len()), (CALLS, CALLS));
    assert_eq!(sandbox.traces().len(), CALLS);
    assert_eq!(
        again.load(Ordering::Relaxed),
        0,
        "what was on its way was waited for"
    );
    // Everything is done with.
    let before = sandbox.request_count();
    place.run(&arguments).ends_with(0).says(" 0 delivered");
    assert_eq!(sandbox.request_count(), before);
}

#[test]
fn a_killed_replay_leaves_nothing_out_and_stores_nothing_twice() {
    const CALLS: usize = 30_000;
    let (sandbox, again) = counting();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(CALLS));
    let arguments = ["replay", &file, "--state", "state.json"];
    for _ in 0..3 {
        let before = sandbox.request_count();
        let mut child = place.start(&arguments);
        wait_for(&sandbox, before + 10);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(sandbox.calls().len() < CALLS, "it was killed too late");
    place.run(&arguments).ends_with(0);
    let models: BTreeSet<_> = models(&sandbox).into_iter().collect();
    assert_eq!((models.len(), sandbox.calls().len()), (CALLS, CALLS));
    // What had arrived in the second before each kill came again, under the same id.
    let again = again.load(Ordering::Relaxed);
    assert!(again < CALLS, "{again}");
}

#[test]
fn lines_that_are_added_are_sent_and_others_are_not_again() {
    let (sandbox, again) = counting();
    let place = Place::with_opik(&sandbox);
    // Blank lines are done with as well.
    let text = |count| lines(count).replacen('\n', "\n\n", 1);
    let file = place.file("calls.jsonl", text(2_000));
    let arguments = ["replay", &file, "--state", "state.json"];
    place.run(&arguments).ends_with(0).says("2,000 delivered");
    place.file("calls.jsonl", text(2_100));
    let ran = place.run(&arguments).ends_with(0);
    ran.says(" 100 delivered")
        .says("2,001 lines done with in earlier runs");
    assert_eq!(sandbox.calls().len(), 2_100);
    assert_eq!(again.load(Ordering::Relaxed), 0);
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_gone_on_with() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(2_000));
    let arguments = ["replay", &file, "--state", "state.json"];
    place.run(&arguments).ends_with(0);
    let changed = lines(2_100).replacen("m700", "x700", 1);
    place.file("calls.jsonl", changed);
    place
        .run(&arguments)
        .ends_with(1)
        .complains("the file is not as it was when the state was written");
    place.file("calls.jsonl", lines(1_000));
    place
        .run(&arguments)
        .ends_with(1)
        .complains("the file is shorter than when the state was written");
    assert_eq!(sandbox.calls().len(), 2_000);
}

#[test]
fn each_backend_is_remembered_by_itself() {
    let sandbox = Sandbox::start().unwrap();
    let place =
        Place::with_opik(&sandbox).with("PHOENIX_COLLECTOR_ENDPOINT", sandbox.phoenix_url());
    let file = place.file("calls.jsonl", lines(10));
    let replay = |more: &[&str]| {
        let arguments = [&["replay", &file, "--state", "state.json"], more].concat();
        place.run(&arguments).ends_with(0)
    };
    replay(&["--to", "opik"]).says("10 delivered");
    let ran = replay(&["--to", "opik,phoenix"]);
    assert!(
        ran.out.contains("): 0 delivered") && ran.out.contains("): 10 delivered"),
        "{}",
        ran.out
    );
    // Another project is another place.
    replay(&["--to", "opik", "--project", "other"]).says("10 delivered");
    replay(&["--to", "opik", "--project", "other"]).says(" 0 delivered");
}

#[test]
fn what_did_not_arrive_in_an_earlier_run_is_not_forgotten() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", format!("{}oops\n", lines(2)));
    let arguments = ["replay", &file, "--state", "state.json"];
    place.run(&arguments).ends_with(1);
    place
        .run(&arguments)
        .ends_with(1)
        .says("1 rejected in earlier runs");
    let rejected = place.read("calls.jsonl.rejected.jsonl");
    assert_eq!(rejected.lines().count(), 1, "it stays: {rejected}");
}

#[test]
fn a_backend_that_was_down_gets_the_rest_later() {
    let (sandbox, again) = counting();
    sandbox.inject(Fault::status(503).always().after(20));
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(20_000));
    let arguments = ["replay", &file, "--state", "state.json", "--patience", "4"];
    let ran = place.run(&arguments).ends_with(1);
    ran.complains("given up after").says("not delivered");
    let first = sandbox.calls().len();
    assert!((1..20_000).contains(&first), "{first}");
    sandbox.clear_faults();
    place.run(&arguments).ends_with(0);
    assert_eq!(sandbox.calls().len(), 20_000);
    assert_eq!(sandbox.traces().len(), 20_000);
    // Of a batch whose traces were taken and whose spans were not, nothing is told here: only its spans are calls.
    assert_eq!(again.load(Ordering::Relaxed), 0);
}

#[test]
fn a_state_that_cannot_be_used_is_refused() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1));
    let state = |state: &str| place.run(&["replay", &file, "--to", "none", "--state", state]);
    place.file("text", "something of mine");
    state("text")
        .ends_with(2)
        .complains("is no state of a replay");
    assert_eq!(place.read("text"), "something of mine");
    place.file("newer", "{\"format\":99,\"files\":{}}");
    state("newer")
        .ends_with(2)
        .complains("is no state of a replay");
    state("nowhere/state")
        .ends_with(2)
        .complains("cannot write");
    place
        .run_with_input(&["replay", "-", "--to", "none", "--state", "s"], "")
        .ends_with(2)
        .complains("standard input cannot be read again");
}

#[test]
fn two_replays_do_not_use_one_state() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1_000));
    let arguments = [
        "replay",
        &file,
        "--to",
        "none",
        "--state",
        "state.json",
        "--rate",
        "20",
    ];
    let mut first = place.start(&arguments);
    let until = Instant::now() + Duration::from_secs(20);
    while !place.path("state.json").exists() {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(10));
    }
    place
        .run(&arguments)
        .ends_with(2)
        .complains("another replay is using");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_lock_file_is_not_emptied() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1));
    place.file("Cargo.lock", "precious");
    place
        .run(&["replay", &file, "--to", "none", "--state", "Cargo"])
        .ends_with(0);
    assert_eq!(place.read("Cargo.lock"), "precious");
}

#[test]
fn a_state_is_for_what_can_be_read_again_and_for_nothing_else() {
    let place = Place::new();
    let file = place.file("calls.jsonl", format!("{}oops\n", lines(1)));
    place
        .run_with_input(
            &["replay", "/dev/stdin", "--to", "none", "--state", "s"],
            lines(1),
        )
        .ends_with(2)
        .complains("/dev/stdin cannot be read again");
    // The state would replace the rejected lines.
    place
        .run(&[
            "replay",
            &file,
            "--to",
            "none",
            "--state",
            "s",
            "--rejected",
            "s",
        ])
        .ends_with(2)
        .complains("s would hold both the state and the rejected lines");
    assert!(!place.path("s").exists());
}

#[test]
fn a_line_is_not_done_with_before_it_stands_among_the_rejected_ones() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let old = "{\"model\":\"old\",\"start_time\":\"1600-01-01T00:00:00Z\"}\n";
    let file = place.file("calls.jsonl", format!("oops\n{old}{}", lines(3)));
    std::fs::create_dir(place.path("folder")).unwrap();
    let replay = |rejected: &str| {
        let arguments = ["replay", &file, "--state", "s", "--rejected", rejected];
        place.run(&arguments).ends_with(1)
    };
    let ran = replay("folder").says("3 delivered");
    let told = "cannot be written to the file of rejected lines";
    assert_eq!(ran.err.matches(told).count(), 2, "{}", ran.err);
    replay("rejected").says(" 0 delivered");
    assert_eq!(place.read("rejected").lines().count(), 2);
    let ran = replay("rejected").says("2 rejected in earlier runs");
    ran.says("5 lines done with in earlier runs");
    assert_eq!(place.read("rejected").lines().count(), 2);
}

#[test]
fn a_line_that_is_being_written_is_read_when_it_is_there() {
    let (sandbox, again) = counting();
    let place = Place::with_opik(&sandbox);
    let text = lines(30);
    // In the middle of the last line.
    let file = place.file("calls.jsonl", &text[..text.len() - 20]);
    let arguments = ["replay", &file, "--state", "s"];
    place
        .run(&arguments)
        .ends_with(1)
        .complains("calls.jsonl:30: no JSON: it ends too early (without a line break")
        .says("29 delivered");
    place.file("calls.jsonl", text);
    place.run(&arguments).ends_with(0).says("1 delivered");
    assert_eq!(sandbox.calls().len(), 30);
    assert_eq!(again.load(Ordering::Relaxed), 0);
}

#[test]
fn who_interrupts_while_an_answer_is_waited_for_is_told_how_to_go_on() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).always());
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(1));
    let arguments = ["replay", &file, "--state", "s"];
    let child = place.start(&arguments);
    wait_for(&sandbox, 1);
    send(&child, "-INT");
    Ran::new(child.wait_with_output().unwrap())
        .ends_with(130)
        .says("1 not delivered")
        .says("run the same command again to go on");
}

#[test]
fn a_replay_goes_on_when_its_terminal_has_gone_if_it_was_told_so() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(40));
    let mut command = std::process::Command::new("nohup");
    let like = place.command(&[]);
    command
        .arg(like.get_program())
        .args([
            "replay",
            &file,
            "--to",
            "none",
            "--rate",
            "40",
            "--state",
            "state.json",
        ])
        .env("HOME", place.path(""))
        .current_dir(place.path(""))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    send(&child, "-HUP");
    let ran = Ran::new(child.wait_with_output().unwrap());
    ran.ends_with(0).says("40 delivered");
}
