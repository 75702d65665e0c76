//! `replay`: what arrives, what does not, and what is said about it.

use std::{
    fs,
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use beluga_o11y_sandbox::{Fault, OpikCloud, Sandbox};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::support::{Place, json_lines, lines, models};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn calls_arrive_whole() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let call = json!({
        "id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "provider": "openai",
        "model": "gpt-4o",
        "start_time": "2026-11-23T09:52:14.072Z",
        "duration_ms": 840,
        "input_tokens": 117,
        "output_tokens": 3,
        "cost": 0.5,
        "messages": [{"role": "user", "content": "hi"}],
        "response": "hello",
        "session_id": "s",
        "tags": ["t"],
        "metadata": {"k": {"n": 1}},
    });
    let file = place.file("calls.jsonl", format!("{call}\n"));
    let ran = place.run(&["replay", &file, "--to", "opik"]).ends_with(0);
    ran.says("1 delivered").says("1 call read in ");
    let calls = sandbox.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].start_time.to_rfc3339(),
        "2026-11-23T09:52:14.072+00:00"
    );
    assert_eq!(calls[0].input_tokens, Some(117));
    assert_eq!(calls[0].cost, Some(0.5));
    assert_eq!(calls[0].session_id.as_deref(), Some("s"));
    assert_eq!(calls[0].tags, ["t"]);
    assert_eq!(calls[0].metadata["k"], json!({"n": 1}));
}

#[test]
fn a_call_without_an_id_gets_the_same_one_in_every_run() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    // Two calls that are alike are two.
    let mut text = lines(3);
    text.push_str(&lines(3));
    // And one of which nobody knows when it was.
    text.push_str("{\"model\":\"undated\"}");
    let file = place.file("calls.jsonl", &text);
    place.run(&["replay", &file]).ends_with(0);
    let ids = |sandbox: &Sandbox| {
        let calls = sandbox.calls().into_iter();
        let mut ids: Vec<_> = calls.map(|call| (call.id, call.start_time)).collect();
        ids.sort();
        ids
    };
    let first = ids(&sandbox);
    assert_eq!(first.len(), 7);
    place.run(&["replay", &file]).ends_with(0);
    assert_eq!(ids(&sandbox), first);
    // Elsewhere, and packed, but for the time of the one that has none of its own.
    let packed = place.path("elsewhere");
    fs::create_dir(&packed).unwrap();
    let packed = packed.join("calls.jsonl.gz");
    fs::write(&packed, gzip(&lines(3))).unwrap();
    place
        .run(&["replay", packed.to_str().unwrap()])
        .ends_with(0);
    assert_eq!(ids(&sandbox), first);
    // What stands in another file is another call.
    let other = place.file("other.jsonl", &text);
    place.run(&["replay", &other]).ends_with(0);
    assert_eq!(ids(&sandbox).len(), 14);
}

#[test]
fn files_may_be_packed_whatever_their_name_and_standard_input_too() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let mut two_members = gzip("{\"model\":\"a\"}\n{\"mod");
    two_members.extend(gzip("el\":\"b\"}\n"));
    let packed = place.file("packed", two_members);
    let plain = place.file(
        "plain.gz",
        "\u{feff}{\"model\":\"c\"}\r\n\r\n  \n{\"model\":\"d\"}",
    );
    let empty = place.file("empty", "");
    place
        .run_with_input(
            &["replay", &packed, &plain, &empty, "-"],
            gzip("{\"model\":\"e\"}"),
        )
        .ends_with(0)
        .says("5 delivered");
    assert_eq!(models(&sandbox), ["a", "b", "c", "d", "e"]);
    place
        .run_with_input(&["replay", "-"], "{\"model\":\"f\"}")
        .ends_with(0);
    assert_eq!(sandbox.calls().len(), 6);
    place
        .run(&["replay", "-", "-"])
        .ends_with(2)
        .complains("standard input can be read only once");
}

#[test]
fn bad_input_is_named_and_the_rest_goes_on() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let bad = "{\"model\":\"a\"}\n\
        SECRET\n\
        {\"model\":\"b\",\"input_tokens\":\"SECRET\"}\n\
        {\"model\":\"c\",\"input_token\":5}\n\
        {\"model\":\"d\",\"cost\":-1}\n\
        {\"model\":\"e\"}\n\
        {\"model\":\"half";
    let bad = place.file("bad.jsonl", bad);
    let packed = gzip(&"{\"model\":\"packed\"}\n".repeat(50_000));
    let truncated = place.file("truncated.gz", &packed[..packed.len() / 2]);
    let mut damaged = packed.clone();
    damaged[12] ^= 0xff;
    damaged[20] ^= 0xff;
    let damaged = place.file("damaged.gz", damaged);
    let directory = place.path("directory");
    fs::create_dir(&directory).unwrap();
    let missing = place.path("missing.jsonl");
    let good = place.file("good.jsonl", "{\"model\":\"z\"}\n");
    let ran = place
        .run(&[
            "replay",
            &bad,
            &truncated,
            &damaged,
            directory.to_str().unwrap(),
            missing.to_str().unwrap(),
            &good,
        ])
        .ends_with(1);
    let ran = ran
        .complains("bad.jsonl:2: no JSON: expected value at byte 1")
        .complains(
            "bad.jsonl:3: input_tokens: expected a whole number from 0, found another string",
        )
        .complains("bad.jsonl:4: input_token: unknown field, perhaps input_tokens is meant")
        .complains("bad.jsonl:5: cost: -1 USD is negative")
        .complains("bad.jsonl:7: no JSON: it ends too early")
        .complains("the gzip data ends too early: the file is truncated")
        .complains("damaged.gz")
        .complains("directory: a directory; name the files in it")
        .complains("missing.jsonl: no such file")
        .says(" unreadable")
        .says("bad.jsonl.rejected.jsonl");
    assert!(!ran.err.contains("SECRET") && !ran.out.contains("SECRET"));
    let arrived = models(&sandbox);
    for model in ["a", "e", "packed", "z"] {
        assert!(arrived.contains(&model.to_owned()), "{model}");
    }
    for model in ["b", "c", "d", "half"] {
        assert!(!arrived.contains(&model.to_owned()), "{model}");
    }

    let rejected = json_lines(&place.path("bad.jsonl.rejected.jsonl"));
    assert_eq!(rejected.len(), 5);
    assert_eq!(rejected[0]["line"], 2);
    assert_eq!(rejected[0]["text"], "SECRET");
    assert_eq!(rejected[1]["field"], "input_tokens");
    assert_eq!(rejected[1]["reason"], "unreadable");
    assert_eq!(
        rejected[1]["record"],
        json!({"model": "b", "input_tokens": "SECRET"})
    );
    assert_eq!(rejected[2]["record"]["input_token"], 5);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let path = place.path("bad.jsonl.rejected.jsonl");
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds prompts");
    }
    // A second run replaces what the first one wrote.
    place.run(&["replay", &bad]).ends_with(1);
    assert_eq!(json_lines(&place.path("bad.jsonl.rejected.jsonl")).len(), 5);
    // A file of one's own is added to.
    let own = place.file("own.jsonl", "{\"mine\":1}\n");
    place
        .run(&["replay", &bad, "--rejected", &own])
        .ends_with(1);
    assert_eq!(json_lines(&place.path("own.jsonl")).len(), 6);
    // When it is mended, nothing is left of it, but for a run that only looks.
    place.file("bad.jsonl", "{\"model\":\"a\"}\n");
    place.run(&["replay", &bad, "--dry-run"]).ends_with(0);
    assert!(place.path("bad.jsonl.rejected.jsonl").exists());
    place.run(&["replay", &bad]).ends_with(0);
    assert!(!place.path("bad.jsonl.rejected.jsonl").exists());
}

#[test]
fn a_line_of_100_mb_costs_neither_memory_nor_the_other_lines() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let path = place.path("long.jsonl");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"{\"model\":\"before\"}\n{\"model\":\"long\",\"response\":\"")
        .unwrap();
    let block = vec![b'x'; 1_000_000];
    for _ in 0..100 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"\"}\n{\"model\":\"after\"}\n").unwrap();
    drop(file);
    place
        .run(&["replay", path.to_str().unwrap()])
        .ends_with(1)
        .complains("long.jsonl:2: the line has 100000030 bytes, and at most 33554432 are read");
    assert_eq!(models(&sandbox), ["after", "before"]);
    let rejected = json_lines(&place.path("long.jsonl.rejected.jsonl"));
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["line"], 2);
    assert!(rejected[0].get("text").is_none());
}

#[test]
fn strict_stops_at_the_first_bad_line() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let text = format!("{}oops\n{}", lines(2), lines(1_000));
    let file = place.file("calls.jsonl", text);
    place
        .run(&["replay", "--strict", &file])
        .ends_with(1)
        .complains("calls.jsonl:3: ");
    assert_eq!(sandbox.calls().len(), 2, "what came before is sent");
}

#[test]
fn unknown_fields_can_be_left_out() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", "{\"model\":\"a\",\"new\":1}\n");
    place
        .run(&["replay", &file, "--ignore-unknown"])
        .ends_with(0);
    assert_eq!(models(&sandbox), ["a"]);
}

#[test]
fn a_dry_run_sends_and_writes_nothing_and_finds_what_a_backend_would_refuse() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let good = place.file("good.jsonl", lines(5));
    place
        .run(&["replay", "--dry-run", &good, "--to", "opik"])
        .ends_with(0)
        .says("5 calls read in ");
    // Opik stores times from 1970 on.
    let bad = "nonsense\n{\"model\":\"old\",\"start_time\":\"1600-01-01T00:00:00Z\"}\n";
    let bad = place.file("bad.jsonl", bad);
    place
        .run(&["replay", "--dry-run", &bad, "--to", "opik"])
        .ends_with(1)
        .complains("bad.jsonl:1: no JSON")
        .complains("bad.jsonl:2: opik: export: ");
    // Nobody is asked for what only a backend knows.
    place.run(&["replay", "--dry-run", &bad]).ends_with(1);
    assert_eq!(sandbox.request_count(), 0);
    assert!(!place.path("bad.jsonl.rejected.jsonl").exists());
}

#[test]
fn a_rate_is_kept() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(30));
    let start = Instant::now();
    place.run(&["replay", &file, "--rate", "20"]).ends_with(0);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_300), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(sandbox.calls().len(), 30);
}

#[test]
fn several_backends_get_everything_and_each_rejects_for_itself() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox)
        .with("PHOENIX_COLLECTOR_ENDPOINT", sandbox.phoenix_url())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", sandbox.otlp_url());
    // Opik takes no tag of more than .. characters; the others do not care for a year before 1970.
    let text = format!(
        "{}{{\"model\":\"old\",\"start_time\":\"1600-01-01T00:00:00Z\"}}\n",
        lines(3)
    );
    let file = place.file("calls.jsonl", text);
    let ran = place.run(&["replay", &file, "--to", "opik,phoenix,otlp,opik"]);
    let ran = ran.ends_with(1).complains("calls.jsonl:4: opik: export: ");
    assert_eq!(
        ran.out.matches("delivered").count(),
        3,
        "each once: {}",
        ran.out
    );
    let rejected = json_lines(&place.path("calls.jsonl.rejected.jsonl"));
    assert!(rejected.iter().any(|line| line["exporter"] == "opik"));
    for line in &rejected {
        assert_eq!(
            (&line["line"], &line["record"]["model"]),
            (&json!(4), &json!("old"))
        );
        assert_eq!(line["reason"], "rejected");
    }
    let calls = sandbox.calls();
    assert_eq!(
        calls
            .iter()
            .filter(|call| call.model.as_deref() == Some("m0"))
            .count(),
        3
    );
    // The file of rejected lines can be replayed, for those that do not reject it.
    let rejected = place.path("calls.jsonl.rejected.jsonl");
    place
        .run(&["replay", rejected.to_str().unwrap(), "--to", "none"])
        .ends_with(0);
}

#[test]
fn a_backend_that_is_gone_costs_the_others_nothing() {
    let sandbox = Sandbox::start().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let place = Place::with_opik(&sandbox).with("PHOENIX_COLLECTOR_ENDPOINT", gone);
    let file = place.file("calls.jsonl", lines(2_000));
    let start = Instant::now();
    place
        .run(&["replay", &file, "--to", "phoenix,opik", "--patience", "1"])
        .ends_with(1)
        .complains("phoenix: export: cannot connect")
        .complains("given up after")
        .says("2,000 not delivered")
        .says("2,000 delivered");
    assert_eq!(sandbox.calls().len(), 2_000);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_key_that_is_refused_is_not_waited_for_long() {
    let account = OpikCloud::new("the-right-key");
    let sandbox = Sandbox::builder().with_cloud(account).start().unwrap();
    let place = Place::with_opik(&sandbox).with("OPIK_API_KEY", "a-wrong-key-canary");
    let file = place.file("calls.jsonl", lines(10));
    let start = Instant::now();
    let ran = place.run(&["replay", &file]).ends_with(1);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let ran = ran.complains("401 Unauthorized");
    assert!(!ran.err.contains("canary"));
    assert!(ran.out.contains("10 not delivered"), "{}", ran.out);
}

#[test]
fn every_record_is_there_once_through_errors_and_lost_answers() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).share(0.2));
    sandbox.inject(Fault::lost_answer().share(0.1));
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", lines(20_000));
    place
        .run(&["replay", &file, "--timeout", "2"])
        .ends_with(0)
        .says("20,000 delivered");
    let models = models(&sandbox);
    let mut twice = models.windows(2).filter(|pair| pair[0] == pair[1]);
    assert_eq!(twice.next(), None, "of {}", models.len());
    assert_eq!(models.len(), 20_000);
    assert_eq!(sandbox.traces().len(), 20_000);
}

#[test]
fn nothing_is_both_read_and_written() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1));
    let other = place.file("calls.jsonl.rejected.jsonl", lines(1));
    for arguments in [
        vec!["replay", &file, &other, "--to", "none"],
        vec!["replay", &file, "--rejected", &file, "--to", "none"],
        vec!["replay", &file, "--state", &file, "--to", "none"],
    ] {
        let ran = place.run(&arguments).ends_with(2);
        assert!(
            ran.err.contains("would be read and written")
                || ran.err.contains("no state of a replay"),
            "{}",
            ran.err
        );
        assert_eq!(place.read("calls.jsonl"), lines(1));
        assert_eq!(place.read("calls.jsonl.rejected.jsonl"), lines(1));
    }
}

#[test]
fn without_a_backend_it_says_what_there_is() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1));
    place
        .run(&["replay", &file])
        .ends_with(2)
        .complains("no backend is named and none has credentials");
    let two = Place::new()
        .with("OPIK_API_KEY", "k")
        .with("PHOENIX_API_KEY", "k");
    two.run(&["replay", &file])
        .ends_with(2)
        .complains("several backends have credentials: opik, phoenix");
    two.run(&["replay", &file, "--to", "opik,phoenix", "--project", "p"])
        .ends_with(2)
        .complains("flags for the connection are for one backend");
    let off = Place::new().with("OPIK_TRACK_DISABLE", "true");
    off.run(&["replay", &file, "--to", "opik"])
        .ends_with(2)
        .complains("switched off");
}

#[test]
fn quiet_says_nothing_that_is_well() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let file = place.file("calls.jsonl", format!("{}x\n", lines(1)));
    let ran = place.run(&["replay", "--quiet", &file]).ends_with(1);
    assert_eq!(ran.out, "");
    assert_eq!(ran.err.lines().count(), 1, "the bad line: {}", ran.err);
}

#[test]
fn many_bad_lines_do_not_flood_the_terminal() {
    let place = Place::new();
    let file = place.file("calls.jsonl", "x\n".repeat(1_000));
    let ran = place.run(&["replay", &file, "--to", "none"]).ends_with(1);
    assert_eq!(ran.err.lines().count(), 20);
    let ran = ran.says("980 more errors not shown");
    assert!(ran.out.contains("1,000 unreadable"), "{}", ran.out);
    assert_eq!(
        json_lines(&place.path("calls.jsonl.rejected.jsonl")).len(),
        1_000
    );
}

#[test]
fn a_broken_pipe_ends_quietly() {
    let place = Place::new();
    let mut child = place
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Before anything is written, if the reader is quick.
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), err.as_str()),
        (Some(141), "")
    );
}

#[test]
fn dead_letters_of_a_pipeline_are_replayed() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let letter = json!({
        "time": "2026-11-22T21:52:14Z", "exporter": "opik", "reason": "rejected", "error": "opik: export: 422",
        "status": 422, "response": "no", "record": {"model": "dead", "response": "r"},
    });
    let file = place.file("dead.jsonl", format!("{letter}\n"));
    place.run(&["replay", &file]).ends_with(0);
    assert_eq!(models(&sandbox), ["dead"]);
}

#[test]
fn a_process_substitution_works() {
    // A pipe under the name of a file: it has no size.
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let ran = place.run_with_input(&["replay", "/dev/stdin"], lines(3));
    ran.ends_with(0);
    assert_eq!(sandbox.calls().len(), 3);
}

#[test]
fn what_is_rejected_can_be_mended_and_replayed_again_and_again() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    // Longer than a line that is no JSON may be, to be copied.
    let long = json!({"model": "long", "response": "x".repeat(2_000_000), "modle": 1});
    let letter = json!({"reason": "rejected", "record": {"model": "letter", "modle": 1}});
    let file = place.file("calls.jsonl", format!("{long}\n{letter}\n"));
    place.run(&["replay", &file]).ends_with(1);
    let rejected = "calls.jsonl.rejected.jsonl";
    let lines = json_lines(&place.path(rejected));
    assert_eq!(lines[0]["record"], long);
    assert_eq!(lines[1]["record"], letter["record"], "the call itself");
    // Once more, as it is: still the call itself.
    let again = place.path(rejected);
    place
        .run(&["replay", again.to_str().unwrap()])
        .ends_with(1)
        .complains("rejected.jsonl:1: record.modle: unknown field, perhaps model is meant");
    let again = format!("{rejected}.rejected.jsonl");
    assert_eq!(
        json_lines(&place.path(&again))[1]["record"],
        letter["record"]
    );
    let mended = place.read(&again).replace(",\"modle\":1", "");
    let mended = place.file("mended.jsonl", mended);
    place.run(&["replay", &mended]).ends_with(0);
    assert_eq!(models(&sandbox), ["letter", "long"]);
}

#[test]
fn rejected_lines_do_not_run_into_what_is_there() {
    let place = Place::new();
    let file = place.file("calls.jsonl", "oops\n");
    let own = place.file("own.jsonl", "{\"mine\":1}");
    place
        .run(&["replay", &file, "--to", "none", "--rejected", &own])
        .ends_with(1);
    let lines = json_lines(&place.path("own.jsonl"));
    assert_eq!((lines.len(), &lines[1]["text"]), (2, &json!("oops")));
}

#[test]
fn a_file_is_read_once() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(1));
    place
        .run(&["replay", &file, &file, "--to", "none"])
        .ends_with(2)
        .complains("calls.jsonl is named twice");
    let around = place.path("./calls.jsonl");
    fs::create_dir(place.path("folder")).unwrap();
    let around = around.with_file_name("folder/../calls.jsonl");
    place
        .run(&["replay", &file, around.to_str().unwrap(), "--to", "none"])
        .ends_with(2)
        .complains("are the same file; name it once");
}

#[test]
fn a_rate_without_sense_is_refused() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(2));
    for rate in ["0", "-1", "1e-20", "inf", "NaN", "x"] {
        let rate = format!("--rate={rate}");
        place
            .run(&["replay", &file, "--to", "none", &rate])
            .ends_with(2)
            .complains("a number from 0.000001 is expected");
    }
    place
        .run(&["replay", &file, "--to", "none", "--rate=1e300"])
        .ends_with(0);
}

#[test]
fn a_backend_that_never_answers_is_named() {
    // Connections are made, and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let place = Place::new().with("OPIK_URL_OVERRIDE", url);
    let file = place.file("calls.jsonl", lines(1));
    place
        .run(&["replay", &file, "--to", "opik", "--patience", "1"])
        .ends_with(1)
        .complains("opik: no answer for 1 s")
        .says("1 not delivered");
}

#[test]
fn a_terminal_gets_no_orders_from_a_name() {
    let place = Place::new();
    let ran = place.run(&["replay", "a\u{1b}]0;b\u{7}\nc\u{9b}31m", "--to", "none"]);
    ran.ends_with(1)
        .complains("a\\u{1b}]0;b\\u{7}\\nc\\u{9b}31m: no such file");
}
