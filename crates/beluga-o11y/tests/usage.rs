//! `Usage` against answers as the providers give them, and against anything else.
//!
//! A golden file's `source` is where the shape of its answer is described; its values are made up.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test may panic as the test itself may"
)]

use beluga_o11y::Usage;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fs, path::Path};

type Maker = fn(&Value) -> Usage;

const MAKERS: [(&str, Maker); 4] = [
    ("openai", Usage::from_openai),
    ("anthropic", Usage::from_anthropic),
    ("gemini", Usage::from_gemini),
    ("bedrock", Usage::from_bedrock),
];

/// What each family must show at least, and the whole directory.
const CASES: [&str; 4] = ["plain", "cached", "reasoning", "streaming_final"];
const GOLDEN_FILES: usize = 73;

fn maker(name: &str) -> Maker {
    MAKERS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no maker is called {name:?}"))
        .1
}

fn as_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    })
}

struct Golden {
    name: String,
    maker: Maker,
    answer: Value,
    expected: Value,
}

fn goldens() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/usage");
    let golden = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let mut file: Map<String, Value> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut take = |key: &str| {
            file.remove(key)
                .unwrap_or_else(|| panic!("{name}: no {key:?}"))
        };
        let family = take("maker");
        let family = family.as_str().unwrap();
        let (answer, expected) = (take("answer"), take("expected"));
        assert!(
            take("source").as_str().unwrap().starts_with("https://"),
            "{name}: the source is not a link"
        );
        assert!(file.is_empty(), "{name}: unknown keys {:?}", file.keys());
        assert!(
            name.starts_with(&format!("{family}_")),
            "{name}: not named after its maker {family}"
        );
        Golden {
            maker: maker(family),
            name,
            answer,
            expected,
        }
    };
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| golden(&path))
        .collect()
}

#[test]
fn golden_answers_give_the_expected_usage() {
    for Golden {
        name,
        maker,
        answer,
        expected,
    } in goldens()
    {
        assert_eq!(as_json(maker(&answer)), expected, "{name}");
    }
}

#[test]
fn golden_answers_cover_every_family() {
    let names: BTreeSet<String> = goldens().into_iter().map(|golden| golden.name).collect();

    assert!(names.len() >= GOLDEN_FILES, "only {} files", names.len());
    for (family, _) in MAKERS {
        for case in CASES {
            assert!(
                names
                    .iter()
                    .any(|name| name.starts_with(family) && name.contains(case)),
                "no {case} answer of {family}"
            );
        }
    }
}

#[test]
fn golden_answers_have_parts_no_bigger_than_the_whole() {
    for Golden {
        name,
        maker,
        answer,
        ..
    } in goldens()
    {
        let usage = maker(&answer);
        let cached = usage.cache_read_tokens.unwrap_or(0) + usage.cache_write_tokens.unwrap_or(0);

        assert!(
            usage.input_tokens.is_none_or(|input| cached <= input),
            "{name}"
        );
        assert!(usage.reasoning_tokens <= usage.output_tokens, "{name}");
    }
}

#[test]
fn json_text_reads_like_the_value() {
    for Golden {
        name,
        maker,
        answer,
        ..
    } in goldens()
        .into_iter()
        .filter(|golden| !golden.answer.is_string())
    {
        let text = answer.to_string();

        assert_eq!(maker(&Value::String(text)), maker(&answer), "{name}");
    }
    assert_eq!(
        Usage::from_openai(r#"{"prompt_tokens": 1}"#).input_tokens,
        Some(1)
    );
    assert_eq!(
        Usage::from_anthropic(&vec![
            r#"{"message": {"usage": {"input_tokens": 1}}}"#.to_owned(),
            "[DONE]".to_owned(),
            r#"{"usage": {"output_tokens": 2}}"#.to_owned(),
        ]),
        Usage::new(1, 2)
    );
}

#[test]
fn typed_answers_and_tuples_of_events_are_read() {
    #[derive(serde::Serialize)]
    struct Start {
        message: Message,
    }
    #[derive(serde::Serialize)]
    struct Message {
        usage: Counts,
    }
    #[derive(serde::Serialize)]
    struct Delta {
        usage: Counts,
    }
    #[derive(serde::Serialize)]
    struct Counts {
        input_tokens: Option<u32>,
        output_tokens: u32,
    }
    let start = Start {
        message: Message {
            usage: Counts {
                input_tokens: Some(25),
                output_tokens: 1,
            },
        },
    };
    let last = Delta {
        usage: Counts {
            input_tokens: None,
            output_tokens: 15,
        },
    };

    assert_eq!(Usage::from_anthropic(&(&start, &last)), Usage::new(25, 15));
    assert_eq!(Usage::from_anthropic(&last).input_tokens, None);
}

#[test]
fn what_does_not_serialize_is_an_empty_usage() {
    let not_json = std::collections::HashMap::from([((1, 2), 3)]);

    for answer in [json!(null), json!([]), json!({}), json!(7), json!("")] {
        for (family, make) in MAKERS {
            assert_eq!(make(&answer), Usage::default(), "{family}: {answer}");
        }
    }
    assert_eq!(Usage::from_openai(&not_json), Usage::default());
}

#[test]
fn only_whole_numbers_that_are_not_negative_count() {
    let input = |count: Value| Usage::from_openai(&json!({"prompt_tokens": count})).input_tokens;

    assert_eq!(input(json!(0)), Some(0));
    assert_eq!(input(json!(12.0)), Some(12));
    assert_eq!(input(json!(u64::MAX)), Some(u64::MAX));
    assert_eq!(input(json!(9_007_199_254_740_992_f64)), Some(1 << 53));
    for no_count in [
        json!(null),
        json!(-1),
        json!(-1.0),
        json!(0.5),
        json!(1e300),
        json!("12"),
        json!(""),
        json!(true),
        json!([12]),
        json!({"prompt_tokens": 12}),
    ] {
        assert_eq!(input(no_count.clone()), None, "{no_count}");
    }
}

#[test]
fn an_unknown_count_does_not_hide_the_others() {
    let usage = json!({
        "prompt_tokens": "many",
        "completion_tokens": 3,
        "prompt_tokens_details": null,
        "completion_tokens_details": [],
        "total_tokens": {},
    });

    let usage = Usage::from_openai(&json!({ "usage": usage }));

    assert_eq!(usage.input_tokens, None);
    assert_eq!(usage.output_tokens, Some(3));
}

#[test]
fn a_sum_that_does_not_fit_is_unknown() {
    let usage = Usage::from_anthropic(&json!({
        "input_tokens": u64::MAX,
        "cache_read_input_tokens": 1,
        "output_tokens": 3,
    }));

    assert_eq!(usage.input_tokens, None);
    assert_eq!(usage.cache_read_tokens, Some(1));
    assert_eq!(usage.output_tokens, Some(3));
    assert_eq!(Usage::new(u64::MAX, 1).total_tokens(), None);
    assert_eq!(Usage::new(7, 1).total_tokens(), Some(8));
    assert_eq!(Usage::default().total_tokens(), None);

    let iteration = json!({"input_tokens": u64::MAX, "output_tokens": 2});
    let usage = Usage::from_anthropic(&json!({
        "input_tokens": 5,
        "output_tokens": 2,
        "iterations": [iteration, iteration],
    }));
    assert_eq!(usage.input_tokens, None);
    assert_eq!(usage.output_tokens, Some(4));
}

#[test]
fn cached_tokens_without_the_rest_of_the_input_are_no_input() {
    let usage = Usage::from_anthropic(&json!({"cache_read_input_tokens": 100, "output_tokens": 3}));

    assert_eq!(usage.input_tokens, None);
    assert_eq!(usage.cache_read_tokens, Some(100));
}

type WithTotal = fn(u64) -> Value;

#[test]
fn the_total_tells_whether_reasoning_is_in_the_output() {
    let usages: [(&str, WithTotal); 4] = [
        ("openai", |total| {
            json!({
                "prompt_tokens": 10,
                "completion_tokens": 50,
                "completion_tokens_details": {"reasoning_tokens": 40},
                "total_tokens": total,
            })
        }),
        ("gemini", |total| {
            json!({
                "promptTokenCount": 10,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 40,
                "totalTokenCount": total,
            })
        }),
        ("gemini", |total| {
            json!({
                "prompt_token_count": 10,
                "candidates_token_count": 50,
                "thoughts_token_count": 40,
                "total_token_count": total,
            })
        }),
        ("gemini", |total| {
            json!({
                "total_input_tokens": 10,
                "total_output_tokens": 50,
                "total_thought_tokens": 40,
                "total_tokens": total,
            })
        }),
    ];

    for (family, usage) in usages {
        let output = |total| maker(family)(&usage(total)).output_tokens;
        let usual = if family == "openai" { 50 } else { 90 };

        assert_eq!(output(60), Some(50), "{family}");
        assert_eq!(output(100), Some(90), "{family}");
        assert_eq!(output(7), Some(usual), "{family}");
    }
}

#[test]
fn iterations_that_say_nothing_leave_the_counts_around_them() {
    for iterations in [
        json!(null),
        json!([]),
        json!([{}]),
        json!([null, 3]),
        json!({}),
    ] {
        let usage = Usage::from_anthropic(&json!({
            "input_tokens": 5,
            "output_tokens": 2,
            "iterations": iterations,
        }));

        assert_eq!(usage, Usage::new(5, 2), "{iterations}");
    }
}

#[test]
fn a_stream_keeps_counts_that_do_not_come_again() {
    let start = json!({"message": {"usage": {
        "input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 1,
    }}});
    let last = json!({"usage": {"input_tokens": 40, "output_tokens": 9}});

    assert_eq!(
        Usage::from_anthropic(&[&start, &last]),
        Usage::new(140, 9).with_cache_read(100)
    );
}

#[test]
fn merging_takes_the_later_count() {
    let first = Usage::new(10, 1).with_reasoning(1);
    let later = Usage::new(8, 20).with_cache_read(5).with_cache_write(2);

    assert_eq!(
        first.merge(later),
        Usage::new(8, 20)
            .with_cache_read(5)
            .with_cache_write(2)
            .with_reasoning(1)
    );
    assert_eq!(first.merge(Usage::default()), first);
    assert_eq!(Usage::default().merge(first), first);
}

#[test]
fn merging_keeps_cached_tokens_in_the_input() {
    let start = Usage::new(110, 1).with_cache_read(100);

    let without_cache = start.merge(Usage::new(10, 9));
    let with_cache = start.merge(Usage::new(50, 9).with_cache_read(40));

    assert_eq!(without_cache, Usage::new(110, 9).with_cache_read(100));
    assert_eq!(with_cache, Usage::new(50, 9).with_cache_read(40));
}

/// Every key that a maker looks for, so that random objects have counts in places that matter.
const KEYS: &[&str] = &[
    "usage",
    "response",
    "message",
    "metadata",
    "interaction",
    "choices",
    "results",
    "x_groq",
    "iterations",
    "usageMetadata",
    "usage_metadata",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_tokens",
    "output_tokens",
    "input_tokens_details",
    "input_token_details",
    "output_tokens_details",
    "thinking_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "promptTokenCount",
    "prompt_token_count",
    "candidatesTokenCount",
    "candidates_token_count",
    "responseTokenCount",
    "thoughtsTokenCount",
    "thoughts_token_count",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
    "total_input_tokens",
    "total_output_tokens",
    "total_thought_tokens",
    "inputTokens",
    "outputTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokenCount",
    "inputTokenCount",
    "outputTokenCount",
    "amazon-bedrock-invocationMetrics",
    "generation_token_count",
    "inputTextTokenCount",
    "tokenCount",
];

/// Keys whose counts are text.
const HEADERS: &[&str] = &[
    "x-amzn-bedrock-input-token-count",
    "X-Amzn-Bedrock-Output-Token-Count",
    "x-amzn-bedrock-cache-read-input-token-count",
];

fn tree(
    leaf: impl Strategy<Value = Value> + 'static,
    key: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(5, 64, 12, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((key.clone(), inner), 0..12)
                .prop_map(|entries| entries.into_iter().collect::<Value>()),
        ]
    })
}

fn count() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        (0..1_000_u64).prop_map(Value::from),
        (0..1_000_u32).prop_map(|count| Value::from(f64::from(count))),
        (0..1_000_u32).prop_map(|count| Value::from(count.to_string())),
    ]
}

fn no_count() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (i64::MIN..0).prop_map(Value::from),
        (0..1_000_u32).prop_map(|count| Value::from(f64::from(count) + 0.5)),
        (1e17..1e300_f64).prop_map(Value::from),
        "[a-z{}\\[\\]\":,. -]{0,8}".prop_map(Value::from),
    ]
}

fn any_key() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        8 => prop::sample::select(KEYS).prop_map(str::to_owned),
        1 => prop::sample::select(HEADERS).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

/// All whole numbers that stand in the value, in text too, together.
fn sum(value: &Value) -> u128 {
    match value {
        Value::Number(number) => number
            .as_u64()
            .map(u128::from)
            .or(number.as_f64().map(|float| float as u128))
            .filter(|number| *number <= u128::from(u64::MAX))
            .unwrap_or(0),
        Value::String(text) => text.parse().unwrap_or(0),
        Value::Array(values) => values.iter().map(sum).sum(),
        Value::Object(entries) => entries.values().map(sum).sum(),
        Value::Null | Value::Bool(_) => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_input_makes_a_maker_panic_or_count_too_much(
        answer in tree(prop_oneof![2 => count(), 1 => no_count()], any_key())
    ) {
        for (family, make) in MAKERS {
            let usage = make(&answer);
            let counts = [
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.reasoning_tokens,
            ];

            for count in counts.into_iter().flatten() {
                prop_assert!(u128::from(count) <= sum(&answer), "{family}: {usage:?}");
            }
        }
    }

    #[test]
    fn where_no_count_stands_none_is_found(answer in tree(no_count(), any_key())) {
        for (family, make) in MAKERS {
            prop_assert_eq!(make(&answer), Usage::default(), "{}", family);
        }
    }

    #[test]
    fn a_count_in_text_is_no_count(
        answer in tree(
            (0..1_000_u32).prop_map(|count| Value::from(count.to_string())),
            prop::sample::select(KEYS).prop_map(str::to_owned),
        )
    ) {
        for (family, make) in MAKERS {
            prop_assert_eq!(make(&answer), Usage::default(), "{}", family);
        }
    }

    #[test]
    fn one_event_reads_like_a_stream_of_one(
        answer in tree(count(), any_key()).prop_filter("one event", Value::is_object)
    ) {
        for (family, make) in MAKERS {
            prop_assert_eq!(make(&json!([answer])), make(&answer), "{}", family);
        }
    }
}

#[test]
fn ten_thousand_levels_fit_a_stack_of_two_mebibytes() {
    let run = || {
        let deep = (0..10_000).fold(json!(1), |inner, _| Value::Array(vec![inner]));
        for (_, maker) in MAKERS {
            assert_eq!(maker(&deep), Usage::default());
            assert_eq!(maker(&json!("[".repeat(10_000))), Usage::default());
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .unwrap();
    thread.join().unwrap();
}
