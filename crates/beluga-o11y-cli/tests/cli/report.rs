//! `report`: every figure against an independent computation, and what it does with what is odd.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Write as _, path::Path};

use beluga_o11y::{CallSink, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_pipeline::Pipeline;
use chrono::{DateTime, TimeDelta, Utc};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};

use crate::support::{Place, Ran};

fn report(place: &Place, arguments: &[&str]) -> Value {
    let arguments = [&["report", "--json"], arguments].concat();
    let ran = place.run(&arguments).ends_with(0);
    serde_json::from_str(&ran.out).unwrap()
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's constants.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Records of every kind, over some days, as JSON.
fn records(count: usize) -> Vec<Value> {
    let mut random = Random(17);
    let begin: DateTime<Utc> = "2026-11-01T06:30:00Z".parse().unwrap();
    let models = [
        "gpt-4o",
        "gpt-4o-mini",
        "claude-sonnet-4-5",
        "",
        "größtes \"m\", <b>",
    ];
    let record = |_| {
        let start = begin + TimeDelta::seconds(random.below(5 * 86_400) as i64);
        let provider = ["openai", "anthropic", ""][random.below(3) as usize];
        let model = models[random.below(5) as usize];
        let mut record = json!({
            "provider": provider,
            "model": model,
            "start_time": start.to_rfc3339(),
            "messages": [{"role": "user", "content": "hi"}],
        });
        let fields = record.as_object_mut().unwrap();
        let mut put = |name: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        let input = random.below(5_000);
        put("input_tokens", (!random.one_in(6)).then(|| input.into()));
        put(
            "cache_read_tokens",
            random.one_in(3).then(|| (input / 2).into()),
        );
        put(
            "cache_write_tokens",
            random.one_in(9).then(|| (input / 4).into()),
        );
        put(
            "output_tokens",
            (!random.one_in(5)).then(|| random.below(900).into()),
        );
        put(
            "reasoning_tokens",
            random.one_in(9).then(|| random.below(90).into()),
        );
        let cost = random.below(3_000_000) as f64 / 1e7;
        put("cost", (!random.one_in(4)).then(|| cost.into()));
        let micros = random.below(90_000_000);
        put(
            "duration_ms",
            (!random.one_in(7)).then(|| (micros as f64 / 1000.0).into()),
        );
        let first = (micros / 7) as f64 / 1000.0;
        put(
            "time_to_first_token_ms",
            random.one_in(2).then(|| first.into()),
        );
        put(
            "error",
            random
                .one_in(11)
                .then(|| json!({"kind": "E", "message": "no"})),
        );
        put("error", random.one_in(23).then(|| "".into()));
        let number = random.below(40);
        put(
            "session_id",
            (!random.one_in(5)).then(|| format!("s{number}").into()),
        );
        put(
            "user_id",
            random.one_in(2).then(|| format!("u{}", number % 7).into()),
        );
        let tags: Vec<_> = (0..random.below(4))
            .map(|_| format!("t{}", random.below(5)))
            .collect();
        put("tags", random.one_in(2).then(|| tags.into()));
        put("environment", random.one_in(2).then(|| "prod".into()));
        put("release", random.one_in(2).then(|| "1.2".into()));
        put("name", random.one_in(2).then(|| "answer".into()));
        let teams = [
            json!("search"),
            json!(7),
            json!(true),
            json!({"a": [1, 2]}),
            json!(null),
        ];
        let team = teams[random.below(5) as usize].clone();
        put(
            "metadata",
            random.one_in(2).then(|| json!({"team": team, "x.y": "z"})),
        );
        record
    };
    (0..count).map(record).collect()
}

fn lines(records: &[Value]) -> String {
    records.iter().fold(String::new(), |mut text, record| {
        writeln!(text, "{record}").unwrap();
        text
    })
}

/// What records have under a key: nothing, a value, or several.
fn values(record: &Value, by: &str) -> Vec<Option<String>> {
    let field = match by {
        "session" => "session_id",
        "user" => "user_id",
        by => by,
    };
    let of = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        value => Some(value.to_string()),
    };
    if let Some(key) = by.strip_prefix("metadata.") {
        return vec![of(&record["metadata"][key])];
    }
    if by != "tag" {
        return vec![of(&record[field])];
    }
    let tags = record["tags"].as_array().cloned().unwrap_or_default();
    let mut tags: Vec<_> = tags.iter().map(of).collect();
    tags.sort();
    tags.dedup();
    if tags.is_empty() { vec![None] } else { tags }
}

fn failed(record: &Value) -> bool {
    match &record["error"] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// The figures of some records, computed in the plainest way; and whether those of a report are the same.
#[track_caller]
fn same(figures: &Value, records: &[&Value], what: &str) {
    let sum = |field: &str| {
        let known: Vec<u64> = records.iter().filter_map(|r| r[field].as_u64()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<u64>())
    };
    let count = |of: &dyn Fn(&Value) -> bool| records.iter().filter(|r| of(r)).count();
    assert_eq!(figures["calls"], json!(records.len()), "calls of {what}");
    assert_eq!(figures["errors"], json!(count(&failed)), "errors of {what}");
    for field in [
        "input_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
    ] {
        assert_eq!(figures[field], json!(sum(field)), "{field} of {what}");
    }
    // In ten millionths of a dollar they are whole numbers.
    let costs = records.iter().filter_map(|r| r["cost"].as_f64());
    let costs: Vec<u64> = costs.map(|usd| (usd * 1e7).round() as u64).collect();
    let cost = (!costs.is_empty()).then(|| costs.iter().sum::<u64>() as f64 / 1e7);
    assert_eq!(figures["cost"], json!(cost), "cost of {what}");
    assert_eq!(figures["calls_with_cost"], json!(costs.len()), "{what}");
    let tokens = |r: &Value| r["input_tokens"].is_u64() || r["output_tokens"].is_u64();
    assert_eq!(
        figures["calls_with_tokens"],
        json!(count(&tokens)),
        "{what}"
    );
    for field in ["duration_ms", "time_to_first_token_ms"] {
        let mut all: Vec<f64> = records.iter().filter_map(|r| r[field].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        let found = &figures[field];
        if all.is_empty() {
            assert_eq!(found, &Value::Null, "{field} of {what}");
            continue;
        }
        for (name, percent) in [("p50", 50), ("p95", 95), ("p99", 99), ("max", 100)] {
            // The nearest rank: so many of the values are not greater.
            let rank = (percent * all.len()).div_ceil(100);
            let expected = all[rank - 1];
            let found = found[name].as_f64().unwrap();
            // Many are counted in steps of less than 1 %.
            let off = if all.len() > 128 && name != "max" {
                expected * 0.01
            } else {
                0.000_5
            };
            assert!(
                found >= expected - 0.000_5 && found <= expected + off,
                "{name} of {field} of {what}: {found}, and it is {expected}"
            );
        }
    }
}

const KEYS: [&str; 10] = [
    "model",
    "provider",
    "name",
    "session",
    "user",
    "tag",
    "environment",
    "release",
    "metadata.team",
    "metadata.x.y",
];

#[test]
fn every_figure_is_that_of_an_independent_computation() {
    let place = Place::new();
    let records = records(3_000);
    let (first, rest) = records.split_at(1_000);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines(rest).as_bytes()).unwrap();
    let by = KEYS.join(",");
    let files = [
        place.file("first.jsonl", lines(first)),
        place.file("rest.jsonl.gz", gzip.finish().unwrap()),
    ];
    let report = report(&place, &[&files[0], &files[1], "--by", &by]);

    assert_eq!(report["sources"], json!(files));
    same(&report["total"], &records.iter().collect::<Vec<_>>(), "all");
    for (by, table) in KEYS.iter().zip(report["by"].as_array().unwrap()) {
        assert_eq!(table["by"], *by);
        let mut groups: BTreeMap<Option<String>, Vec<&Value>> = BTreeMap::new();
        for record in &records {
            for value in values(record, by) {
                groups.entry(value).or_default().push(record);
            }
        }
        let rows = table["rows"].as_array().unwrap();
        assert_eq!(rows.len(), groups.len(), "{by}");
        assert_eq!(table["other"], Value::Null);
        assert_eq!(table["approximate"], false);
        let with_a_value = groups.keys().filter(|value| value.is_some()).count();
        assert_eq!(table["values"], json!(with_a_value));
        for row in rows {
            let value = row["value"].as_str().map(str::to_owned);
            same(row, &groups[&value], &format!("{by} {value:?}"));
        }
        let calls: Vec<_> = rows.iter().map(|row| row["calls"].as_u64()).collect();
        assert!(calls.is_sorted_by(|a, b| a >= b), "{by}: {calls:?}");
    }

    let time = &report["time"];
    let every = time["every_seconds"].as_i64().unwrap();
    assert_eq!((every, time["every"].as_str()), (3_600, Some("1h")));
    let start = |record: &Value| {
        record["start_time"]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    let mut intervals: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        let seconds = start(record).timestamp();
        intervals
            .entry(seconds - seconds % every)
            .or_default()
            .push(record);
    }
    let rows = time["rows"].as_array().unwrap();
    assert_eq!(rows.len(), intervals.len());
    for (row, (seconds, records)) in rows.iter().zip(&intervals) {
        let shown: DateTime<Utc> = row["start"].as_str().unwrap().parse().unwrap();
        assert_eq!(shown.timestamp(), *seconds);
        same(row, records, &format!("{shown}"));
    }
    let ends = [
        records.iter().map(start).min(),
        records.iter().map(start).max(),
    ];
    let shown = ["first", "last"].map(|end| Some(report[end].as_str().unwrap().parse().unwrap()));
    assert_eq!(shown, ends);
}

#[test]
fn the_largest_come_first_and_all_others_are_one() {
    let place = Place::new();
    let mut text = String::new();
    // Those with a high number have more calls, which are cheaper; one in 500 has failed once.
    for user in 1..=1_050_u64 {
        for call in 0..user.div_ceil(100) {
            let mut record = json!({"start_time": "2026-11-01T00:00:00Z", "user_id": format!("u{user}"),
                "cost": (2_000 - user) as f64 / 1e6, "input_tokens": user});
            if user % 500 == 0 && call == 0 {
                record["error"] = "x".into();
            }
            writeln!(text, "{record}").unwrap();
        }
    }
    let calls = text.lines().count() as u64;
    let file = place.file("calls.jsonl", text);
    for (sort, field) in [
        ("calls", "calls"),
        ("errors", "errors"),
        ("tokens", "input_tokens"),
        ("cost", "cost"),
    ] {
        let report = report(&place, &[&file, "--by", "user", "--sort", sort]);
        let table = &report["by"][0];
        let rows = table["rows"].as_array().unwrap();
        assert_eq!(
            (rows.len(), &table["values"]),
            (1_000, &json!(1_050)),
            "{sort}"
        );
        let sizes: Vec<_> = rows
            .iter()
            .map(|row| row[field].as_f64().unwrap())
            .collect();
        let shown: u64 = rows.iter().map(|row| row["calls"].as_u64().unwrap()).sum();
        assert_eq!(shown + table["other"]["calls"].as_u64().unwrap(), calls);
        assert_eq!(report["total"]["calls"], json!(calls));
        let mut expected: Vec<f64> = (1..=1_050_u64)
            .map(|user| {
                let calls = user.div_ceil(100);
                match sort {
                    "calls" => calls as f64,
                    "errors" => f64::from(user % 500 == 0),
                    "tokens" => (calls * user) as f64,
                    _ => (calls * (2_000 - user)) as f64 / 1e6,
                }
            })
            .collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        expected.truncate(1_000);
        assert!(sizes == expected, "{sort}: others are larger");
    }
}

#[test]
fn more_values_than_can_be_kept_are_the_same_report_each_time() {
    let place = Place::new();
    let mut text = String::new();
    for n in 0..30_000_u32 {
        // Three that come again and again, and as many others as there are calls.
        let user = if n.is_multiple_of(3) {
            format!("often{}", n % 9)
        } else {
            format!("once{n}")
        };
        writeln!(
            text,
            r#"{{"start_time":"2026-11-01T00:00:00Z","user_id":"{user}","cost":0.25}}"#
        )
        .unwrap();
    }
    let file = place.file("calls.jsonl", text);
    let once = report(&place, &[&file, "--by", "user"]);
    let table = &once["by"][0];
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(
        (&table["approximate"], &table["values"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(rows.len(), 1_000);
    let mut often: Vec<_> = rows[..3]
        .iter()
        .map(|row| (row["value"].as_str().unwrap(), row["calls"].as_u64()))
        .collect();
    often.sort_unstable();
    // Those were never given up: each of their calls is there.
    assert_eq!(
        often,
        [
            ("often0", Some(3_334)),
            ("often3", Some(3_333)),
            ("often6", Some(3_333))
        ]
    );
    let sum = |field: &str| {
        let rows = rows.iter().chain([&table["other"]]);
        rows.map(|row| row[field].as_f64().unwrap()).sum::<f64>()
    };
    assert_eq!((sum("calls"), sum("cost")), (30_000.0, 7_500.0));
    for _ in 0..3 {
        assert!(
            report(&place, &[&file, "--by", "user"]) == once,
            "another report of the same file"
        );
    }
    let ran = place.run(&["report", &file, "--by", "user"]).ends_with(0);
    ran.says("rows may lack calls").says("(other)");
}

#[test]
fn only_calls_of_the_time_that_is_asked_for() {
    let place = Place::new();
    let now = Utc::now();
    let at = |time: DateTime<Utc>| {
        format!(
            "{}\n",
            json!({"start_time": time.to_rfc3339(), "model": "m"})
        )
    };
    let text: String = [
        at("2026-11-01T00:00:00Z".parse().unwrap()),
        at("2026-11-01T23:59:59.999Z".parse().unwrap()),
        at("2026-11-02T00:00:00Z".parse().unwrap()),
        at(now - TimeDelta::minutes(90)),
        at(now - TimeDelta::minutes(30)),
    ]
    .concat();
    let file = place.file("calls.jsonl", text);
    for (arguments, calls) in [
        (&["--since", "2026-11-02"][..], 3),
        (&["--until", "2026-11-02"], 2),
        (
            &[
                "--since",
                "2026-11-01",
                "--until",
                "2026-11-02T00:00:00.001Z",
            ],
            3,
        ),
        (
            &[
                "--since",
                "2026-11-02T01:00:00+02:00",
                "--until",
                "2026-11-02",
            ],
            1,
        ),
        (&["--since", "1h"], 1),
        (&["--since", "2h", "--until", "60m"], 1),
        (&["--until", "2000-01-01"], 0),
    ] {
        let report = report(&place, &[&[file.as_str()], arguments].concat());
        assert_eq!(report["total"]["calls"], calls, "{arguments:?}");
    }
    place
        .run(&["report", &file, "--since", "yesterday"])
        .ends_with(2)
        .complains("a time is expected: a day (2026-11-23, in UTC)");
    place
        .run(&["report", &file, "--until", "2000-01-01"])
        .ends_with(0)
        .says("no calls");
}

#[test]
fn what_cannot_be_read_is_named_and_all_else_is_counted() {
    let place = Place::new();
    let letter = json!({"time": "2026-11-22T21:52:14Z", "exporter": "opik", "reason": "rejected", "error": "422",
        "record": {"model": "dead", "start_time": "2026-11-01T00:00:00Z"}});
    let text = format!(
        "{}\nSECRET\n\n{}\n{letter}\n{}\n",
        json!({"model": "m", "start_time": "2026-11-01T00:00:00Z"}),
        json!({"model": "m", "input_token": 1}),
        json!({"model": "m", "cost": -1}),
    );
    let file = place.file("calls.jsonl", &text);
    let ran = place
        .run(&["report", "--json", &file, "missing.jsonl"])
        .ends_with(1)
        .complains("calls.jsonl:2: no JSON: expected value at byte 1")
        .complains("calls.jsonl:4: input_token: unknown field, perhaps input_tokens is meant")
        .complains("calls.jsonl:6: cost: -1 USD is negative")
        .complains("missing.jsonl: no such file");
    assert!(!ran.err.contains("SECRET"));
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&report["total"]["calls"], &report["unreadable"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(
        report["by"][0]["rows"][0]["value"], "dead",
        "of equal ones, the first by name"
    );
    let ran = place
        .run(&["report", "--json", "--ignore-unknown", &file])
        .ends_with(1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["total"]["calls"], 3);

    for (arguments, words) in [
        (&["report"][..], "required arguments"),
        (&["report", &file, &file], "is named twice"),
        (
            &["report", "-", "-"],
            "standard input can be read only once",
        ),
        (&["report", &file, "--spool", "."], "cannot be used with"),
        (&["report", &file, "--json", "--csv"], "cannot be used with"),
        (
            &["report", &file, "--by", "modle"],
            "expected one of model, provider, name",
        ),
        (
            &["report", &file, "--by", "metadata."],
            "written metadata.KEY",
        ),
        (
            &["report", &file, "--html", &file],
            "is no page of a report, and would be lost",
        ),
    ] {
        place.run(arguments).ends_with(2).complains(words);
    }
    assert_eq!(place.read("calls.jsonl"), text);
    for (arguments, words) in [
        (
            &["report", &file, "--html", "no/where.html", "--json"][..],
            "--html: no/where.html: ",
        ),
        (&["report", &file, "--html", "-"], "a page goes to a file"),
        (&["report", &file, "--html", "."], "is no page of a report"),
        (
            &["report", &file, "--html", "/dev/null"],
            "is no page of a report",
        ),
        (
            &["report", &file, "--by", "tag,model,tag"],
            "tag is named twice",
        ),
        (
            &["report", &file, "--since", "1h", "--until", "2h"],
            "no call can begin then",
        ),
    ] {
        place.run(arguments).ends_with(2).complains(words);
    }
}

#[test]
fn standard_input_and_calls_without_a_time() {
    let place = Place::new();
    let before = Utc::now();
    let ran = place
        .run_with_input(
            &["report", "--json", "-"],
            "{\"model\":\"m\",\"duration_ms\":60000}\n{\"model\":\"m\"}\n",
        )
        .ends_with(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["sources"], json!(["standard input"]));
    let at = |end: &str| {
        report[end]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    let took = (at("last") - at("first")).num_seconds();
    assert!(
        (59..=61).contains(&took),
        "the first began a minute before it ended, now: {took}"
    );
    assert!(at("last") >= before - TimeDelta::seconds(1) && at("last") <= Utc::now());
}

/// What machines read is not changed on its way, and what a person reads does not act on the terminal.
#[test]
fn control_characters_reach_machines_and_no_terminal() {
    let place = Place::new();
    let models = ["a\u{7f}b", "a\u{9b}b", "a\u{1b}[31mb", "a\u{7}b", "ab"];
    let file = place.file(
        "calls.jsonl",
        lines(&models.map(|model| json!({"model": model}))),
    );
    let read: Value = report(&place, &[&file]);
    let rows = read["by"][0]["rows"].as_array().unwrap();
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| row["value"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    let mut expected = models;
    expected.sort_unstable();
    assert_eq!(found, expected);
    let json = place.run(&["report", "--json", &file]).ends_with(0).out;
    assert!(!json.contains(|char: char| char.is_control() && char != '\n'));
    let rows = csv(&place
        .run(&["report", "--csv", &file, "--by", "model"])
        .ends_with(0)
        .out);
    let mut found: Vec<_> = rows.iter().skip(2).map(|row| row[2].as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// As long as a line may be, and no longer than it takes to read.
#[test]
fn a_call_with_very_many_tags() {
    let place = Place::new();
    let tags: Vec<_> = (0..200_000).map(|n| format!("t{}", n % 100_000)).collect();
    let file = place.file("calls.jsonl", lines(&[json!({"tags": tags, "cost": 1})]));
    let start = std::time::Instant::now();
    let report = report(&place, &[&file, "--by", "tag"]);
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let rows = report["by"][0]["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["calls"]), (1_000, &json!(1)));
    let others = report["by"][0]["other"]["calls"].as_u64().unwrap();
    assert_eq!(others, 99_000);
}

/// Every kind of value has a row of its own, whatever it is called.
#[test]
fn values_are_told_from_what_only_looks_like_them() {
    let place = Place::new();
    let long = "x".repeat(500);
    let records = [
        json!({"user_id": "(none)"}),
        json!({"user_id": ""}),
        json!({}),
        json!({"user_id": "(other)"}),
        json!({"user_id": format!("{long}1")}),
        json!({"user_id": format!("{long}2")}),
        json!({"user_id": "=1+1,\"x\"\n"}),
        json!({"user_id": "\u{1b}[2J"}),
    ];
    let file = place.file("calls.jsonl", lines(&records));
    let report = report(&place, &[&file, "--by", "user"]);
    let rows = report["by"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    let none = rows.iter().find(|row| row["value"].is_null()).unwrap();
    assert_eq!(none["calls"], 2);
    let ran = place.run(&["report", &file, "--by", "user"]).ends_with(0);
    assert!(!ran.out.contains('\u{1b}'));
    let ran = place
        .run(&["report", &file, "--by", "user", "--csv"])
        .ends_with(0);
    let read = csv(&ran.out);
    let kinds: Vec<_> = read
        .iter()
        .skip(2)
        .map(|row| (row[1].as_str(), row[2].as_str()))
        .collect();
    for row in [
        ("none", ""),
        ("value", "(none)"),
        ("value", "(other)"),
        ("value", "'=1+1,\"x\"\n"),
    ] {
        assert_eq!(
            kinds.iter().filter(|kind| **kind == row).count(),
            1,
            "{row:?}"
        );
    }
}

/// Fields of a CSV file, by RFC 4180.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            char => field.push(char),
        }
    }
    assert!(field.is_empty() && row.is_empty() && !quoted, "{text}");
    rows
}

#[test]
fn csv_has_the_figures_of_the_json() {
    let place = Place::new();
    let file = place.file("calls.jsonl", lines(&records(400)));
    let report = report(&place, &[&file, "--by", "tag,time,model"]);
    let ran = place
        .run(&["report", "--csv", &file, "--by", "tag,time,model"])
        .ends_with(0);
    let rows = csv(&ran.out);
    let (header, rows) = rows.split_first().unwrap();
    let mut expected: Vec<(String, &Value)> = vec![(String::new(), &report["total"])];
    let by = report["by"].as_array().unwrap();
    let table = |table: &'_ Value| -> Vec<(String, Value)> {
        let by = table["by"].as_str().unwrap().to_owned();
        table["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (by.clone(), row.clone()))
            .collect()
    };
    let (tags, models) = (table(&by[0]), table(&by[1]));
    expected.extend(tags.iter().map(|(by, row)| (by.clone(), row)));
    expected.extend(
        report["time"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| ("time".to_owned(), row)),
    );
    expected.extend(models.iter().map(|(by, row)| (by.clone(), row)));
    assert_eq!(rows.len(), expected.len());
    for (row, (by, figures)) in rows.iter().zip(expected) {
        assert_eq!((row.len(), &row[0]), (header.len(), &by));
        let value = figures["start"]
            .as_str()
            .or(figures["value"].as_str())
            .unwrap_or_default();
        assert_eq!(row[2], value);
        for (name, field) in header.iter().zip(row).skip(3) {
            let known = match name.rsplit_once('_') {
                Some((of, part)) if of.ends_with("_ms") => &figures[of][part],
                _ => &figures[name.as_str()],
            };
            let shown = if known.is_null() {
                String::new()
            } else {
                known.as_f64().unwrap().to_string()
            };
            assert_eq!(field, &shown, "{name} of {value}");
        }
    }
}

/// `tests/fixtures/report.{txt,json,csv}` are what was printed and read by a person. `BELUGA_O11Y_BLESS=1` writes them anew.
#[test]
fn golden_reports() {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let calls = fs::read_to_string(fixtures.join("report.jsonl")).unwrap();
    place.file("report.jsonl", &calls);
    for (ending, arguments) in [
        ("txt", &["--by", "model,tag,metadata.team,time"][..]),
        ("json", &["--json", "--by", "model,user"]),
        ("csv", &["--csv", "--by", "provider,session,time"]),
    ] {
        let ran = place
            .run(&[&["report", "report.jsonl"], arguments].concat())
            .ends_with(0);
        let golden = fixtures.join("report").with_extension(ending);
        if std::env::var_os("BELUGA_O11Y_BLESS").is_some() {
            fs::write(&golden, &ran.out).unwrap();
        }
        assert_eq!(
            ran.out,
            fs::read_to_string(&golden).unwrap(),
            "{}",
            golden.display()
        );
    }
}

#[test]
fn a_spool_is_its_calls_and_dead_letters_each_once() {
    struct Refuses(&'static str);
    #[async_trait::async_trait]
    impl TraceExporter for Refuses {
        fn name(&self) -> &str {
            self.0
        }

        async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
            match call.model.as_str() {
                "bad" => Err(ExportError::rejected("refuses", "no")),
                _ => Err(ExportError::temporary("refuses", "later")),
            }
        }
    }
    let place = Place::new();
    let spool = place.path("spool");
    for exporter in ["one", "two"] {
        let pipeline = Pipeline::builder(Refuses(exporter))
            .with_spool(spool.as_path())
            .spawn()
            .unwrap();
        let call = |model: &str, n: u32| {
            LLMCallData::new("p", model)
                .with_id(uuid::Uuid::from_u128(u128::from(n) + (7 << 76) + (2 << 62)))
                .with_cost(0.5)
        };
        for n in 1..=3 {
            pipeline.submit(call("good", n));
        }
        pipeline.submit(call("bad", 9));
        let _ = pipeline.flush_within(std::time::Duration::from_secs(2));
        let _ = pipeline.shutdown(std::time::Duration::ZERO);
    }
    let report = report(&place, &["--spool", spool.to_str().unwrap()]);
    let rows = report["by"][0]["rows"].as_array().unwrap();
    let found: Map<String, Value> = rows
        .iter()
        .map(|row| {
            (
                row["value"].as_str().unwrap().to_owned(),
                row["calls"].clone(),
            )
        })
        .collect();
    assert_eq!(Value::Object(found), json!({"good": 3, "bad": 1}));
    assert_eq!(report["total"]["cost"], 2.0);
    place
        .run(&["report", "--spool", "nowhere"])
        .ends_with(1)
        .complains("does not exist");
}

/// What the page was given.
fn page_data(place: &Place, ran: Ran) -> Value {
    ran.says("page.html: ");
    let page = place.read("page.html");
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_page_has_the_figures_and_the_calls_worth_a_look() {
    let place = Place::new();
    let records = records(1_500);
    let file = place.file("calls.jsonl", lines(&records));
    let plain = report(&place, &[&file, "--by", "model,user"]);
    let ran = place
        .run(&["report", &file, "--by", "model,user", "--html", "page.html"])
        .ends_with(0);
    let mut data = page_data(&place, ran);
    let calls = data["calls"].as_array().unwrap().clone();
    let lists = ["slowest", "dearest", "failed"].map(|list| {
        let places = data[list].as_array().unwrap();
        places
            .iter()
            .map(|place| &calls[place.as_u64().unwrap() as usize])
            .collect::<Vec<_>>()
    });
    // Each is the record of its line.
    for call in &calls {
        let record = &records[call["line"].as_u64().unwrap() as usize - 1];
        for field in [
            "duration_ms",
            "cost",
            "input_tokens",
            "session_id",
            "user_id",
            "release",
        ] {
            assert_eq!(call[field], record[field], "{field}");
        }
        assert_eq!(
            call["conversation"],
            json!([{"role": "user", "text": "hi", "left_out": 0}])
        );
        assert_eq!(call["source"], file.as_str());
    }
    let best = |field: &str| {
        let mut all: Vec<_> = records.iter().filter_map(|r| r[field].as_f64()).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all.truncate(100);
        all
    };
    for (list, field) in lists.iter().zip(["duration_ms", "cost"]) {
        let shown: Vec<_> = list
            .iter()
            .map(|call| call[field].as_f64().unwrap())
            .collect();
        assert_eq!(shown, best(field), "{field}");
    }
    let start = |of: &Value| {
        of["start_time"]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
            .unwrap()
    };
    let mut latest: Vec<_> = records.iter().filter(|r| failed(r)).map(start).collect();
    latest.sort_by(|a, b| b.cmp(a));
    latest.truncate(100);
    assert_eq!(
        lists[2].iter().map(|call| start(call)).collect::<Vec<_>>(),
        latest
    );

    // What each model has over time adds up.
    let models = data["models"].take();
    let names = models["names"].as_array().unwrap();
    let parts = models["rows"].as_array().unwrap();
    for (index, name) in names.iter().enumerate() {
        let parts = parts.iter().map(|parts| &parts[index]);
        let sum = |field: &str| {
            parts
                .clone()
                .filter_map(|part| part[field].as_f64())
                .sum::<f64>()
        };
        let own: Vec<_> = records
            .iter()
            .filter(|r| r["model"].as_str() == name.as_str())
            .collect();
        assert_eq!(sum("calls") as usize, own.len(), "{name}");
        assert_eq!(
            sum("errors") as usize,
            own.iter().filter(|r| failed(r)).count(),
            "{name}"
        );
        let tokens = |r: &&&Value| {
            r["input_tokens"].as_u64().unwrap_or(0) + r["output_tokens"].as_u64().unwrap_or(0)
        };
        assert_eq!(
            sum("tokens") as u64,
            own.iter().map(|r| tokens(&r)).sum::<u64>(),
            "{name}"
        );
    }
    for (row, parts) in data["time"]["rows"].as_array().unwrap().iter().zip(parts) {
        let parts = parts.as_array().unwrap().iter();
        let calls: u64 = parts.filter_map(|part| part["calls"].as_u64()).sum();
        assert_eq!(row["calls"], json!(calls));
    }
    let fields = data.as_object_mut().unwrap();
    for more in [
        "generated",
        "models",
        "calls",
        "slowest",
        "dearest",
        "failed",
    ] {
        assert!(fields.remove(more).is_some(), "{more}");
    }
    assert_eq!(data, plain, "and else it is what --json prints");
}

#[test]
fn a_page_is_for_its_owner_and_holds_hostile_content_as_text() {
    let place = Place::new();
    let hostile = "</script><script>x</script><!-- {{style}} {{data}} $& \u{2028}";
    let file = place.file(
        "<b>.jsonl",
        lines(&[
            json!({"model": hostile, "messages": hostile, "error": hostile, "duration_ms": 1}),
        ]),
    );
    let data = page_data(
        &place,
        place
            .run(&["report", &file, "--html", "page.html"])
            .ends_with(0),
    );
    assert_eq!(data["by"][0]["rows"][0]["value"], hostile);
    assert_eq!(data["calls"][0]["conversation"][0]["text"], hostile);
    assert_eq!(data["calls"][0]["error"]["message"], hostile);
    let page = place.read("page.html");
    assert_eq!(
        page.matches("</script").count(),
        2,
        "that of the data, and that of the script"
    );
    assert!(!page.contains("<b>"));
    // A page may take the place of a page.
    place
        .run(&["report", &file, "--html", "page.html", "--json"])
        .ends_with(0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(place.path("page.html"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
