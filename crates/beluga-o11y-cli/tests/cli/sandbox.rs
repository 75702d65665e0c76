//! `sandbox`: what it prints, and for how long.

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};

use crate::support::{Place, lines};

/// Ends with the test, whatever becomes of it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Running {
    server: Server,
    out: Lines<BufReader<ChildStdout>>,
    /// Where the variables point.
    place: Place,
    port: String,
}

fn start(arguments: &[&str]) -> Running {
    let mut place = Place::new();
    let mut server = Server(place.start(&[&["sandbox", "--port", "0"], arguments].concat()));
    let mut out = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut port = String::new();
    loop {
        let line = out.next().unwrap().unwrap();
        let (name, value) = line
            .strip_prefix("export ")
            .unwrap()
            .split_once('=')
            .unwrap();
        if name == "OPIK_URL_OVERRIDE" {
            let address = value.split("127.0.0.1:").nth(1).unwrap();
            port = address.split('/').next().unwrap().to_owned();
        }
        place = place.with(name, value);
        // The last one.
        if name == "OTEL_EXPORTER_OTLP_PROTOCOL" {
            return Running {
                server,
                out,
                place,
                port,
            };
        }
    }
}

impl Running {
    fn line(&mut self) -> String {
        self.out.next().unwrap().unwrap()
    }

    /// Up to the first line that is empty.
    fn skip_remarks(&mut self) {
        while !self.line().is_empty() {}
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        let id = self.server.0.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let rest = self.out.map(Result::unwrap).collect();
        (self.server.0.wait().unwrap().code(), rest)
    }
}

#[test]
fn it_says_where_it_is_and_what_arrives_in_every_backend() {
    let mut sandbox = start(&[]);
    sandbox.skip_remarks();
    let all = "opik,langfuse,phoenix,langsmith,otlp";
    let arguments = [
        "send",
        "--to",
        all,
        "--provider",
        "openai",
        "--model",
        "gpt-4o",
        "--input-tokens",
        "1200",
        "--output-tokens",
        "35",
        "--duration-ms",
        "1234",
        "--response",
        "CONTENT",
    ];
    sandbox.place.run(&arguments).ends_with(0);
    for backend in all.split(',') {
        let line = sandbox.line();
        for part in [
            "  call ",
            backend,
            "openai/gpt-4o",
            "1200 in, 35 out",
            "1.2 s",
        ] {
            assert!(line.contains(part), "no {part} in {line}");
        }
        assert!(!line.contains("CONTENT"));
    }
    let failed = [
        "send",
        "--to",
        "opik",
        "--model",
        "m",
        "--error",
        "429 slow down",
    ];
    sandbox.place.run(&failed).ends_with(0);
    assert!(sandbox.line().contains("  error  opik "));
    assert!(sandbox.line().trim().ends_with("429 slow down"));
    let wrong_key = [
        "send",
        "--to",
        "langfuse",
        "--api-key",
        "sk-lf-other",
        "--model",
        "m",
    ];
    sandbox.place.run(&wrong_key).ends_with(1);
    let refused = sandbox.line();
    assert!(refused.contains("  401    langfuse   POST "), "{refused}");
    sandbox.line();
    let (code, rest) = sandbox.end("-INT");
    assert_eq!(
        (code, rest),
        (
            Some(0),
            vec!["6 calls arrived, 1 request refused".to_owned()]
        )
    );
}

#[test]
fn content_is_shown_when_asked_for_and_keeps_to_its_line() {
    let mut sandbox = start(&["-v"]);
    sandbox.skip_remarks();
    let arguments = [
        "send",
        "--to",
        "opik",
        "--model",
        "m\u{1b}[31m",
        "--prompt",
        "what?",
        "--response",
        "a\nb",
    ];
    sandbox.place.run(&arguments).ends_with(0);
    let call = sandbox.line();
    assert!(call.contains('m') && !call.contains('\u{1b}'), "{call:?}");
    assert!(sandbox.line().contains("in: ") && sandbox.line().contains("out: "));
    let (code, rest) = sandbox.end("-TERM");
    assert_eq!((code, rest.len()), (Some(0), 1));
}

#[test]
fn quiet_prints_the_variables_only() {
    let sandbox = start(&["--quiet"]);
    sandbox
        .place
        .run(&["send", "--to", "opik", "--model", "m"])
        .ends_with(0);
    assert_eq!(sandbox.end("-INT"), (Some(0), Vec::new()));
}

#[test]
fn the_newest_calls_are_kept() {
    let sandbox = start(&["--keep", "2", "--quiet"]);
    for model in ["oldest", "second", "third"] {
        sandbox
            .place
            .run(&["send", "--to", "opik", "--model", model])
            .ends_with(0);
    }
    let held = sandbox.get("/_sandbox/calls");
    assert!(
        !held.contains("oldest") && held.contains("second") && held.contains("third"),
        "{held}"
    );
    sandbox.end("-INT");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    Place::new()
        .run(&["sandbox", "--port", &port])
        .ends_with(2)
        .complains(&format!("port {port} is taken"));
}

#[test]
fn it_ends_when_nobody_reads() {
    let Running {
        mut server,
        out,
        place,
        ..
    } = start(&[]);
    drop(out);
    // It may have ended already, when it told what the variables are for.
    place.run(&["send", "--to", "opik", "--model", "m"]);
    let code = server.0.wait().unwrap().code();
    let mut err = String::new();
    server
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((code, err.as_str()), (Some(141), ""));
}

#[test]
fn a_reader_that_pauses_holds_up_nobody() {
    const CALLS: usize = 5_000;
    let mut sandbox = start(&[]);
    // What is printed of them is more than a pipe holds.
    let file = sandbox.place.file("calls.jsonl", lines(CALLS));
    sandbox
        .place
        .run(&["replay", &file, "--to", "opik"])
        .ends_with(0)
        .says("5,000 delivered");
    let id = sandbox.server.0.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
    assert_eq!(sandbox.server.0.wait().unwrap().code(), Some(0));
}
