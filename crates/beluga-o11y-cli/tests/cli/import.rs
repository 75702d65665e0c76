//! `import`: files of documents in, records out; what is bad is named, and costs nothing else.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::support::{Place, Ran};

fn pair(model: &str) -> Value {
    json!({
        "start_time": "2026-11-23T12:00:00Z",
        "duration_ms": 840,
        "request": {"model": model, "messages": [{"role": "user", "content": "CANARY\nhi"}]},
        "response": {"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
    })
}

fn span_id(model: &str) -> String {
    format!("b7ad6b71692033{:02x}", model.as_bytes()[0])
}

/// A trace with a span for each model.
fn trace(models: &[&str]) -> Value {
    let spans: Vec<_> = models
        .iter()
        .map(|model| {
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": span_id(model),
                "name": "chat",
                "startTimeUnixNano": "1795435200000000000",
                "endTimeUnixNano": "1795435201000000000",
                "attributes": [
                    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                    {"key": "gen_ai.request.model", "value": {"stringValue": model}},
                ],
            })
        })
        .collect();
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
}

fn models(ran: &Ran) -> Vec<String> {
    let records = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .map(|record| record["model"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_cannot_be_turned_is_named_and_all_else_is_there() {
    let place = Place::new();
    let text = format!(
        "\u{feff}{}\nCANARY\n\n{{\"request\":{{\"model\":\"m\"}}}}\r\n[1]\n{}",
        pair("a"),
        pair("b")
    );
    place.file("pairs.jsonl", text);
    let ran = place
        .run(&[
            "import",
            "--from",
            "openai",
            "pairs.jsonl",
            "missing.jsonl",
            ".",
        ])
        .ends_with(1)
        .complains("pairs.jsonl:2: no JSON: expected value at byte 1")
        .complains("pairs.jsonl:4: response: expected an object, found nothing")
        .complains("pairs.jsonl:5: expected an object with request and response, found an array")
        .complains("missing.jsonl: no such file")
        .complains(".: a directory; name the files in it")
        .complains("2 calls turned, 5 could not be turned");
    assert!(!ran.err.contains("CANARY"));
    assert_eq!(models(&ran), ["a", "b"]);
    for (arguments, words) in [
        (&["import", "pairs.jsonl"][..], "--from"),
        (
            &["import", "--from", "csv", "pairs.jsonl"],
            "otlp-json, litellm, openai",
        ),
        (
            &["import", "--from", "openai", "-", "-"],
            "standard input can be read only once",
        ),
        (
            &["import", "--from", "openai", "pairs.jsonl", "./pairs.jsonl"],
            "are the same file",
        ),
    ] {
        place.run(arguments).ends_with(2).complains(words);
    }
}

#[test]
fn what_is_told_twice_is_written_once() {
    let place = Place::new();
    let text = format!("{}\n{}\n{}\n", pair("a"), pair("b"), pair("a"));
    place.file("one.jsonl", text);
    place.file("two.jsonl", format!("{}\n{}\n", pair("b"), pair("c")));
    let ran = place
        .run(&["import", "--from", "openai", "one.jsonl", "two.jsonl"])
        .ends_with(0)
        .complains("3 calls turned, 2 told twice left out");
    assert_eq!(models(&ran), ["a", "b", "c"]);
}

#[test]
fn packed_files_and_standard_input_give_the_same_records_each_time() {
    let place = Place::new();
    let text: String = (0..500)
        .map(|n| format!("{}\n", pair(&format!("m{n}"))))
        .collect();
    place.file("pairs.jsonl", &text);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    place.file("packed", gzip.finish().unwrap());
    let arguments = ["import", "--quiet", "--from", "openai"];
    let plain = place
        .run(&[&arguments[..], &["pairs.jsonl"]].concat())
        .ends_with(0);
    assert_eq!(plain.err, "");
    assert_eq!(models(&plain).len(), 500);
    let packed = place
        .run(&[&arguments[..], &["packed"]].concat())
        .ends_with(0);
    let input = place
        .run_with_input(&[&arguments[..], &["-"]].concat(), &text)
        .ends_with(0);
    assert!(packed.out == plain.out && input.out == plain.out);
    // And `replay` and `report` read them.
    place
        .run_with_input(&["replay", "--to", "none", "-"], &plain.out)
        .ends_with(0)
        .says("500 calls read");
    place
        .run_with_input(&["report", "-"], &plain.out)
        .ends_with(0)
        .says("500 calls");
}

#[test]
fn a_trace_may_stand_on_a_line_or_over_many() {
    let place = Place::new();
    let line = place.file(
        "lines.jsonl",
        format!("{}\n{}\n", trace(&["a"]), trace(&["b", "c"])),
    );
    let one = place
        .run(&["import", "--from", "otlp-json", &line])
        .ends_with(0);
    assert_eq!(models(&one), ["a", "b", "c"]);
    let many = format!(
        "\n{}\n{}\n",
        serde_json::to_string_pretty(&trace(&["a"])).unwrap(),
        serde_json::to_string_pretty(&trace(&["b", "c"])).unwrap()
    );
    let file = place.file("pretty.json", &many);
    let over = place
        .run(&["import", "--from", "otlp-json", &file])
        .ends_with(0);
    assert_eq!(over.out, one.out);

    // A problem is where its span begins.
    let bad = many.replace(&span_id("c"), "no hexadecimal");
    let lines: Vec<_> = bad.lines().collect();
    let id = lines
        .iter()
        .position(|line| line.contains("no hexadecimal"))
        .unwrap();
    let indent = lines[id].len() - lines[id].trim_start().len() - 2;
    let brace = format!("{:indent$}{{", "");
    // Lines are counted from 1.
    let begins = lines[..id].iter().rposition(|line| *line == brace).unwrap() + 1;
    let file = place.file("pretty.json", &bad);
    let ran = place
        .run(&["import", "--from", "otlp-json", &file])
        .ends_with(1)
        .complains(&format!("pretty.json:{begins}: spanId: "));
    assert_eq!(models(&ran), ["a", "b"]);

    // One that was cut off, as the only one or after others.
    let cut = place.file("cut.json", &many[..many.len() - 40]);
    let ran = place
        .run(&["import", "--from", "otlp-json", &cut])
        .ends_with(1)
        .complains("no JSON: it ends too early");
    assert_eq!(models(&ran), ["a"]);
    let half = trace(&["x"]).to_string();
    let text = format!("{}\n{}\n{}\n", trace(&["a"]), &half[..60], trace(&["b"]));
    let cut = place.file("cut.jsonl", text);
    let ran = place
        .run(&["import", "--from", "otlp-json", &cut])
        .ends_with(1)
        .complains("cut.jsonl:2: no JSON: it ends too early");
    assert_eq!(models(&ran), ["a", "b"]);
}

/// A trace over many lines, in which these have no id.
fn pretty(models: &[&str], bad: &[&str]) -> String {
    let text = serde_json::to_string_pretty(&trace(models)).unwrap();
    bad.iter().fold(text, |text, model| {
        text.replace(&span_id(model), "no hexadecimal")
    })
}

#[test]
fn each_problem_is_where_it_begins() {
    let place = Place::new();
    let text = format!(
        "{}\n\n{}\n{}\n",
        pretty(&["a", "b", "c"], &["a", "c"]),
        pretty(&["d"], &[]),
        pretty(&["e", "f"], &["f"]),
    );
    let ran = place
        .run(&[
            "import",
            "--from",
            "otlp-json",
            &place.file("pretty.json", &text),
        ])
        .ends_with(1)
        .complains("3 could not be turned");
    // As deep as a span stands.
    let brace = format!("{:12}{{", "");
    let mut begins = 0;
    let mut expected = vec![];
    for (at, line) in text.lines().enumerate() {
        if line == brace {
            begins = at + 1;
        }
        if line.contains("no hexadecimal") {
            expected.push(format!("pretty.json:{begins}:"));
        }
    }
    let told = ran.err.lines().filter_map(|line| {
        let (_, place) = line.split_once("pretty.json:")?;
        Some(format!("pretty.json:{}:", place.split(':').next()?))
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(models(&ran), ["b", "d", "e"]);
}

#[test]
fn what_was_cut_off_swallows_nothing() {
    let place = Place::new();
    let half = trace(&["x"]).to_string();
    let good: String = ["a", "b", "c"]
        .map(|model| trace(&[model]).to_string() + "\n")
        .concat();
    // In a name, in a list, and where what follows fits.
    let cuts = [
        &half[..9],
        &half[..60],
        "{\"resourceSpans\":[",
        "{\"a\":[1,",
    ];
    for cut in cuts {
        let file = place.file("cut.jsonl", format!("{cut}\n{good}"));
        let ran = place
            .run(&["import", "--from", "otlp-json", &file])
            .ends_with(1)
            .complains("cut.jsonl:1: no JSON: it ends too early")
            .complains("1 could not be turned");
        assert_eq!(models(&ran), ["a", "b", "c"], "{cut}");
    }
    let bad = pretty(&["a", "b"], &[]).replacen("\"attributes\": [", "\"attributes\": CANARY", 1);
    let line = 1 + bad
        .lines()
        .position(|line| line.contains("CANARY"))
        .unwrap();
    let text = format!("{bad}\n{}\n{}\n", pretty(&["c"], &[]), pretty(&["d"], &[]));
    let ran = place
        .run(&[
            "import",
            "--from",
            "otlp-json",
            &place.file("bad.json", text),
        ])
        .ends_with(1)
        .complains(&format!("bad.json:{line}: no JSON: expected value"))
        .complains("1 could not be turned");
    assert_eq!(models(&ran), ["c", "d"]);
}
