//! `send`: one call, from flags or from JSON.

use std::time::{Duration, Instant};

use beluga_o11y_sandbox::{Fault, Sandbox, StoredCall};
use serde_json::json;

use crate::support::{Place, Ran};

/// The one call that arrived.
#[track_caller]
fn only(sandbox: &Sandbox) -> StoredCall {
    let mut calls = sandbox.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

/// Every backend of a sandbox.
fn everywhere(sandbox: &Sandbox) -> Place {
    let variables = sandbox.environment().into_iter();
    variables.fold(Place::new(), |place, (name, value)| place.with(name, value))
}

#[test]
fn flags_make_a_call() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let ran = place.run(&[
        "send",
        "--provider",
        "openai",
        "--model",
        "gpt-4o",
        "--name",
        "greet",
        "--prompt",
        "hi",
        "--response",
        "hello",
        "--input-tokens",
        "7",
        "--output-tokens",
        "2",
        "--duration-ms",
        "840.5",
        "--cost",
        "0.25",
        "--session-id",
        "s",
        "--user-id",
        "u",
        "--tag",
        "a",
        "--tag",
        "b",
        "--metadata",
        "n=1",
        "--metadata",
        "object={\"k\":[true]}",
        "--metadata",
        "text=a=b, and so on",
        "--metadata",
        "empty=",
    ]);
    let ran = ran.ends_with(0);
    let call = only(&sandbox);
    let url = sandbox.opik_url();
    assert!(ran.out.starts_with("opik: 0"), "{}", ran.out);
    assert!(
        ran.out
            .ends_with(&format!(" is with {url}, workspace default\n"))
    );
    assert_eq!(ran.err, "");
    assert_eq!(call.provider.as_deref(), Some("openai"));
    assert_eq!(call.model.as_deref(), Some("gpt-4o"));
    assert_eq!(call.name.as_deref(), Some("greet"));
    assert_eq!((call.input_tokens, call.output_tokens), (Some(7), Some(2)));
    assert_eq!(call.cost, Some(0.25));
    assert_eq!(call.session_id.as_deref(), Some("s"));
    assert_eq!(call.user_id.as_deref(), Some("u"));
    assert_eq!(call.tags, ["a", "b"]);
    assert_eq!(call.metadata["n"], json!(1));
    assert_eq!(call.metadata["object"], json!({"k": [true]}));
    assert_eq!(call.metadata["text"], json!("a=b, and so on"));
    assert_eq!(call.metadata["empty"], json!(""));
    let spans = sandbox.spans();
    let shown = serde_json::to_string(&spans[0].input).unwrap();
    assert!(
        shown.contains(r#""role":"user""#) && shown.contains("\"hi\""),
        "{shown}"
    );
}

#[test]
fn one_flag_is_enough() {
    for flags in [
        &["--error", "429"][..],
        &["--messages", "[{\"role\":\"system\",\"content\":\"x\"}]"],
        &["--tag", "t"],
        &["--cost", "0"],
        &["--output-tokens", "0"],
        &["--metadata", "k=v"],
    ] {
        let sandbox = Sandbox::start().unwrap();
        let arguments = [&["send"], flags].concat();
        Place::with_opik(&sandbox).run(&arguments).ends_with(0);
        only(&sandbox);
    }
}

#[test]
fn an_error_is_told_as_one() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    place
        .run(&["send", "--model", "m", "--error", "rate limited"])
        .ends_with(0);
    let error = only(&sandbox).error.unwrap();
    assert!(format!("{error:?}").contains("rate limited"), "{error:?}");
}

#[test]
fn flags_that_make_no_call() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    for (flags, words) in [
        (&["--cost", "-1"][..], "cost"),
        (&["--cost=-0.5"], "negative"),
        (&["--cost", "nan"], "cost"),
        (
            &["--duration-ms=-1"],
            "--duration-ms: a number of milliseconds from 0",
        ),
        (
            &["--duration-ms", "inf"],
            "--duration-ms: a number of milliseconds from 0",
        ),
        (&["--duration-ms", "1e300"], "--duration-ms"),
        (&["--input-tokens=-1"], "--input-tokens"),
        (&["--input-tokens", "many"], "--input-tokens"),
        (&["--messages", "{"], "--messages: "),
        (
            &["--messages", "[]", "--prompt", "p"],
            "cannot be used with",
        ),
        (&["--metadata", "name"], "--metadata: expected name=value"),
        (&["--metadata", "=value"], "--metadata: expected name=value"),
        (&["--colour", "red"], "--colour"),
        (&["--to", "comet", "--model", "m"], "comet"),
        (
            &["--model", "m", "--to", "opik", "--public-key", "x"],
            "opik has no public key",
        ),
        (
            &["--model", "m", "--to", "opik", "--header", "x"],
            "`name: value`",
        ),
    ] {
        let arguments = [&["send"], flags].concat();
        let ran = place.run(&arguments).ends_with(2).complains(words);
        assert_eq!(ran.out, "");
    }
    assert_eq!(sandbox.request_count(), 0);
}

fn piped(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Ran {
    let arguments = [&["send", "--to", "opik"], arguments].concat();
    Place::with_opik(sandbox).run_with_input(&arguments, input)
}

#[test]
fn json_makes_a_call() {
    let sandbox = Sandbox::start().unwrap();
    let call = json!({
        "id": "01a2053e-d6f8-792b-8988-1657efa89323",
        "provider": "openai",
        "model": "gpt-4o",
        "start_time": "2026-11-23T09:52:14.072Z",
        "duration_ms": 840,
        "cost": 0.5,
        "response": "hello",
        "metadata": {"k": 1},
    });
    // Over several lines, and with a line break at the end, as files are.
    let text = format!("{call:#}\n");
    let ran = piped(&sandbox, &[], &text).ends_with(0);
    ran.says("01a2053e-d6f8-792b-8988-1657efa89323 is with ");
    let call = only(&sandbox);
    assert_eq!(
        call.start_time.to_rfc3339(),
        "2026-11-23T09:52:14.072+00:00"
    );
    assert_eq!(call.cost, Some(0.5));
    assert_eq!(call.metadata["k"], json!(1));
}

#[test]
fn a_dead_letter_is_sent_as_its_call() {
    let sandbox = Sandbox::start().unwrap();
    let letter = r#"{"exporter":"opik","reason":"rejected","error":"422","record":{"model":"m"}}"#;
    piped(&sandbox, &[], letter).ends_with(0);
    assert_eq!(only(&sandbox).model.as_deref(), Some("m"));
}

#[test]
fn json_that_makes_no_call() {
    let sandbox = Sandbox::start().unwrap();
    for (input, words) in [
        ("", "standard input: no JSON: it ends too early"),
        ("{\"model\":", "standard input: no JSON: it ends too early"),
        ("{\"model\":canary}", "no JSON: expected value at byte 10"),
        ("[]", "expected a JSON object, found an array"),
        ("{} {}", "trailing characters"),
        (
            "{\"modle\":\"canary\"}",
            "modle: unknown field, perhaps model is meant",
        ),
        (
            "{\"model\":7}",
            "model: expected a string, found another number",
        ),
        ("{\"cost\":-1}", "cost: -1 USD is negative"),
        (
            "{\"duration_ms\":-1}",
            "duration_ms: expected milliseconds, a number from 0",
        ),
        ("{\"\\u001b[31m\":1}", "\\u{1b}[31m: unknown field"),
    ] {
        let ran = piped(&sandbox, &[], input).ends_with(1).complains(words);
        assert_eq!(ran.out, "");
        assert!(
            !ran.err.contains("canary") && !ran.err.contains('\u{1b}'),
            "{}",
            ran.err
        );
    }
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn unknown_fields_can_be_ignored() {
    let sandbox = Sandbox::start().unwrap();
    let input = "{\"model\":\"m\",\"colour\":\"red\"}";
    piped(&sandbox, &[], input)
        .ends_with(1)
        .complains("colour: unknown field");
    piped(&sandbox, &["--ignore-unknown"], input).ends_with(0);
    assert_eq!(only(&sandbox).model.as_deref(), Some("m"));
}

#[test]
fn more_input_than_any_backend_takes() {
    let sandbox = Sandbox::start().unwrap();
    let input = format!("{{\"response\":\"{}\"}}", "x".repeat(40_000_000));
    let ran = piped(&sandbox, &[], &input).ends_with(1);
    ran.complains("standard input: more than 33554432 bytes, which no backend takes");
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn settings_are_looked_at_before_the_input() {
    let ran = Place::new().run_with_input(&["send"], "{}").ends_with(2);
    ran.complains("no backend is named and none has credentials");
    let ran = Place::new().run(&["send", "--model", "m"]).ends_with(2);
    ran.complains("no backend is named");
    let ran = Place::new()
        .run(&["send", "--model", "m", "--to", "opik"])
        .ends_with(2);
    ran.complains("OPIK_API_KEY");
    let off = Place::new().with("OPIK_TRACK_DISABLE", "true");
    let ran = off
        .run(&["send", "--model", "m", "--to", "opik"])
        .ends_with(2);
    ran.complains("exporting is switched off");
    // It does not wait for a call that it has nowhere to send to.
    let child = Place::new()
        .command(&["send", "--to", "opik"])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(10), "it waits");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn several_backends() {
    let sandbox = Sandbox::start().unwrap();
    let place = everywhere(&sandbox);
    let arguments = ["send", "--model", "m", "--to", "opik,langfuse,phoenix"];
    let ran = place.run(&[&arguments[..], &["--to", "langsmith,otlp"]].concat());
    let ran = ran.ends_with(0);
    assert_eq!(ran.out.lines().count(), 5, "{}", ran.out);
    assert_eq!(sandbox.calls().len(), 5);

    // Several with credentials, and none named.
    let ran = place.run(&["send", "--model", "m"]).ends_with(2);
    ran.complains("several backends have credentials: opik, langfuse, phoenix, langsmith")
        .complains("BELUGA_O11Y_EXPORTERS");
    let place = place.with("BELUGA_O11Y_EXPORTERS", "phoenix,otlp");
    let ran = place.run(&["send", "--model", "m"]).ends_with(0);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);

    sandbox.clear();
    sandbox.inject(Fault::status(422).on("/phoenix").always());
    let ran = place.run(&arguments).ends_with(1);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    assert_eq!(sandbox.calls().len(), 2);
    ran.complains("phoenix").complains("422");

    let ran = place.run(&[&arguments[..], &["--project", "p"]].concat());
    ran.ends_with(2)
        .complains("flags for the connection are for one backend");
}

#[test]
fn quiet_and_loud() {
    let sandbox = Sandbox::start().unwrap();
    let place = Place::with_opik(&sandbox);
    let ran = place.run(&["send", "--model", "m", "--quiet"]).ends_with(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let answer = json!({"errors": ["this \u{1b}[31m and that"]}).to_string();
    let fault = Fault::status(422).with_body(answer).on("/batch").always();
    sandbox.inject(fault);
    let ran = place.run(&["send", "--model", "m", "--quiet"]).ends_with(1);
    assert!(!ran.err.contains("and that"), "{}", ran.err);
    ran.complains("error: opik: ");
    let ran = place.run(&["send", "--model", "m", "-v"]).ends_with(1);
    assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
    ran.complains("the server answered: ").complains("and that");
}

#[test]
fn flags_of_the_connection() {
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.opik_url();
    let arguments = ["send", "--model", "m", "--to", "opik", "--url", &url];
    let ran = Place::new().run(&[&arguments[..], &["--project", "p"]].concat());
    ran.ends_with(0).says(", project p");
    assert_eq!(sandbox.traces()[0].project_name, "p");
    // What is in a name does not act on the terminal.
    let ran = Place::new().run(&[&arguments[..], &["--project", "p\u{1b}[31m"]].concat());
    let ran = ran.ends_with(0).says("project p\\u{1b}[31m");
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
    let ran = Place::new().run(&[
        "send",
        "--model",
        "m",
        "--to",
        "otlp",
        "--url",
        "http://127.0.0.1:1",
    ]);
    ran.ends_with(1)
        .complains("otlp: ")
        .complains("127.0.0.1:1");
}

#[test]
fn sent_to_nowhere() {
    let ran = Place::new()
        .run(&["send", "--model", "m", "--to", "none"])
        .ends_with(0);
    ran.says("none: ").says(" is with nowhere");
}
