//! The examples of `docs/cli.md` and the README, run as they stand there.
//!
//! In a block that is called `console`, a line that begins with `$ ` is a command, and what follows is what it prints, on
//! standard output and standard error together; `[1]` is an exit code that is not 0. `…` stands for anything within a line, a line
//! of it alone for any lines. How many blanks there are does not matter: columns are as wide as the port.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use beluga_o11y::{CallSink, LLMCallData};
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Fault, Sandbox};

use crate::support::{Place, lines};

/// What the documents call the sandbox's address.
const ADDRESS: &str = "127.0.0.1:5173";

struct Example {
    command: String,
    expected: Vec<String>,
    code: i32,
}

fn examples(document: &str) -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join(document)).unwrap();
    let mut examples: Vec<Example> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push(Example {
                    command: command.to_owned(),
                    expected: Vec::new(),
                    code: 0,
                }),
                (None, Some(example)) => {
                    match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                        Some(code) => example.code = code.parse().unwrap(),
                        None => example.expected.push(line.to_owned()),
                    }
                }
                (None, None) => panic!("{line:?} belongs to no command"),
            }
        }
    }
    examples
}

fn line_fits(expected: &str, line: &str) -> bool {
    let one_blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, line) = (one_blank(expected), one_blank(line));
    let mut parts = expected.split('…');
    let Some(mut rest) = line.as_str().strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    open || rest.is_empty()
}

fn fits(expected: &[String], lines: &[&str]) -> bool {
    match expected {
        [] => lines.is_empty(),
        [any, rest @ ..] if any == "…" => {
            (0..=lines.len()).any(|skip| fits(rest, &lines[skip..]))
        }
        [first, rest @ ..] => {
            lines.first().is_some_and(|line| line_fits(first, line)) && fits(rest, &lines[1..])
        }
    }
}

#[test]
fn what_fits() {
    assert!(line_fits("a … c", "a b c") && line_fits("a …", "a b c") && line_fits("a", "a"));
    assert!(!line_fits("a … c", "a b d") && !line_fits("a", "a b") && !line_fits("b", "a"));
    let any = ["a".to_owned(), "…".to_owned(), "d".to_owned()];
    assert!(fits(&any, &["a", "b", "c", "d"]) && fits(&any, &["a", "d"]));
    assert!(!fits(&any, &["a", "b"]) && !fits(&any[..1], &["a", "b"]));
}

/// A place as the documents have it.
fn prepared(sandbox: &Sandbox) -> Place {
    let mut place = Place::new();
    for (name, value) in sandbox.environment() {
        place = place.with(name, value);
    }
    place.file(
        "calls.jsonl",
        r#"{"provider":"openai","model":"gpt-4o","start_time":"2026-11-23T12:00:00Z","duration_ms":840,"input_tokens":117,"response":"hello"}
{"provider":"openai","model":"gpt-4o","start_time":"2026-11-23T12:00:01Z","input_token":117}
{"provider":"anthropic","model":"claude-sonnet-4-5","start_time":"2026-11-23T12:00:02Z","error":"overloaded"}
"#,
    );
    place.file("more.jsonl", lines(2));
    place.file("traces.jsonl", include_str!("../fixtures/otlp-genai.jsonl"));
    place.file("week.jsonl", include_str!("../fixtures/report.jsonl"));
    place.file("litellm.jsonl", include_str!("../fixtures/litellm.jsonl"));
    // A program that could not deliver, and has ended.
    sandbox.inject(Fault::status(503).always());
    let opik = OpikExporter::builder().with_base_url(sandbox.opik_url());
    let pipeline = Pipeline::builder(opik.build().unwrap())
        .with_spool(place.path("spool"))
        .with_drop_timeout(std::time::Duration::ZERO)
        .spawn()
        .unwrap();
    let too_old = "1600-01-01T00:00:00Z".parse().unwrap();
    let call = LLMCallData::new("openai", "gpt-4o").with_start_time(too_old);
    assert!(pipeline.submit(call).is_accepted());
    let _ = pipeline.flush_within(std::time::Duration::from_secs(5));
    for _ in 0..2 {
        let call = LLMCallData::new("openai", "gpt-4o");
        assert!(pipeline.submit(call).is_accepted());
    }
    let _ = pipeline.shutdown(std::time::Duration::from_millis(500));
    sandbox.clear_faults();
    place
}

fn run(place: &Place, sandbox: &Sandbox, example: &Example) -> (Option<i32>, String) {
    let mut command = Command::new("bash");
    // The test's own settings, but for what a shell needs.
    let binary = Path::new(env!("CARGO_BIN_EXE_beluga-o11y"));
    let mut path = binary.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let like = place.command(&[]);
    command
        .args(["-c", &format!("exec 2>&1; {}", example.command)])
        .env_clear()
        .envs(
            like.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("PATH", path)
        .current_dir(like.get_current_dir().unwrap())
        .stdin(Stdio::null());
    if example.command.starts_with("beluga-o11y sandbox") {
        return (Some(0), first_lines(place, example));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let address = sandbox.address().to_string();
    (output.status.code(), text.replace(&address, ADDRESS))
}

/// It serves until it is ended; its own port may be taken.
fn first_lines(place: &Place, example: &Example) -> String {
    let mut child = place.start(&["sandbox", "--port", "0"]);
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    let wanted = example.expected.len() - 1;
    for line in out.lines().take(wanted) {
        text.push_str(&line.unwrap());
        text.push('\n');
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let port = text.split("127.0.0.1:").nth(1).unwrap();
    let port = port.split('/').next().unwrap();
    text.replace(&format!("127.0.0.1:{port}"), ADDRESS)
}

#[test]
fn the_examples_do_what_the_documents_say() {
    for (document, at_least) in [("docs/cli.md", 12), ("README.md", 2)] {
        let sandbox = Sandbox::start().unwrap();
        let place = prepared(&sandbox);
        let examples = examples(document);
        assert!(
            examples.len() >= at_least,
            "{document} has {}",
            examples.len()
        );
        for example in examples {
            let (code, text) = run(&place, &sandbox, &example);
            let printed: Vec<_> = text.lines().map(str::trim_end).collect();
            assert!(
                fits(&example.expected, &printed) && code == Some(example.code),
                "{document}: $ {}\n{text}[{code:?}]\nand it says\n{}\n[{}]",
                example.command,
                example.expected.join("\n"),
                example.code
            );
        }
    }
}
