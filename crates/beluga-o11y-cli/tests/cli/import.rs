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

/// A trace with a span for each model.
fn trace(models: &[&str]) -> Value {
    let spans: Vec<_> = models
        .iter()
        .enumerate()
        .map(|(index, model)| {
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": format!("b7ad6b716920333{index}"),
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
    let bad = many.replace("b7ad6b7169203331", "no hexadecimal");
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
