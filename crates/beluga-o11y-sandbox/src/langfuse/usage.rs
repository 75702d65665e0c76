//! Tokens and cost. Langfuse's buckets are exclusive: cached tokens are not in `input`, reasoning is not in `output`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::spans::{Attributes, as_count, count, number, text};

/// Tokens by bucket, with `total`.
pub(super) type Usage = BTreeMap<String, u64>;
/// US dollars by bucket.
pub(super) type Cost = BTreeMap<String, f64>;

/// Names that are shared by `gen_ai` and OpenInference, in that order, with Langfuse's bucket.
const INPUT: &[&str] = &[
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
];
const OUTPUT: &[&str] = &[
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
];
const TOTAL: &[&str] = &["gen_ai.usage.total_tokens", "llm.token_count.total"];
const INPUT_PARTS: &[(&str, &[&str])] = &[
    (
        "input_cached_tokens",
        &[
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "llm.token_count.prompt_details.cache_read",
        ],
    ),
    (
        "input_cache_creation",
        &[
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ],
    ),
];
const OUTPUT_PARTS: &[(&str, &[&str])] = &[(
    "output_reasoning_tokens",
    &[
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ],
)];

/// `langfuse.observation.usage_details` as it is, else what the conventions say, made exclusive.
pub(super) fn usage(attributes: &Attributes) -> Usage {
    let mut usage = details(attributes, "langfuse.observation.usage_details")
        .map_or_else(|| by_convention(attributes), sent);
    if !usage.is_empty() && !usage.contains_key("total") {
        let total = usage.values().copied().fold(0, u64::saturating_add);
        usage.insert("total".to_owned(), total);
    }
    usage
}

/// `langfuse.observation.cost_details`, else `gen_ai.usage.cost`, else `llm.cost.total`. No price table.
pub(super) fn cost(attributes: &Attributes) -> Cost {
    let Some(details) = details(attributes, "langfuse.observation.cost_details") else {
        let total = number(attributes, &["gen_ai.usage.cost", "llm.cost.total"]);
        return total
            .map(|total| ("total".to_owned(), total))
            .into_iter()
            .collect();
    };
    let numbers = details
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_f64().filter(|cost| *cost >= 0.0)?)));
    let mut cost: Cost = numbers.collect();
    // Of other buckets it makes no sum: a total that is not sent is not shown.
    let keys: Vec<&str> = cost.keys().map(String::as_str).collect();
    if keys == ["input", "output"] {
        cost.insert("total".to_owned(), cost.values().sum());
    }
    cost
}

/// An attribute that is a JSON object as text.
fn details(attributes: &Attributes, name: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(&text(attributes, &[name])?).ok()
}

/// The shapes of OpenAI, which must be complete, else any buckets: what is no whole number is dropped.
fn sent(details: Map<String, Value>) -> Usage {
    const CHAT: [&str; 3] = ["prompt_tokens", "completion_tokens", "total_tokens"];
    const RESPONSES: [&str; 3] = ["input_tokens", "output_tokens", "total_tokens"];
    for [input, output, total] in [CHAT, RESPONSES] {
        let of = |name: &str| details.get(name).and_then(as_count);
        if let (Some(input_tokens), Some(output_tokens), Some(total)) =
            (of(input), of(output), of(total))
        {
            let mut usage = Usage::new();
            let parts = |name: &str| details.get(&format!("{name}_details"));
            usage.insert("total".to_owned(), total);
            exclusive(&mut usage, "input", input_tokens, parts(input));
            exclusive(&mut usage, "output", output_tokens, parts(output));
            return usage;
        }
    }
    let counts = details
        .into_iter()
        .filter_map(|(name, value)| Some((name, as_count(&value)?)));
    counts.collect()
}

/// Puts the parts of a count in buckets of their own, `input_cached_tokens` for example, and the rest in its own.
fn exclusive(usage: &mut Usage, bucket: &str, all: u64, parts: Option<&Value>) {
    let parts = parts.and_then(Value::as_object).into_iter().flatten();
    let mut rest = all;
    for (name, part) in parts {
        if let Some(part) = as_count(part) {
            rest = rest.saturating_sub(part);
            usage.insert(format!("{bucket}_{name}"), part);
        }
    }
    usage.insert(bucket.to_owned(), rest);
}

fn by_convention(attributes: &Attributes) -> Usage {
    let mut usage = Usage::new();
    for (bucket, names, parts) in [
        ("input", INPUT, INPUT_PARTS),
        ("output", OUTPUT, OUTPUT_PARTS),
    ] {
        let mut all = count(attributes, names);
        for (part, names) in parts {
            if let Some(count) = count(attributes, names) {
                usage.insert((*part).to_owned(), count);
                all = all.map(|all| all.saturating_sub(count));
            }
        }
        if let Some(rest) = all {
            usage.insert(bucket.to_owned(), rest);
        }
    }
    if let Some(total) = count(attributes, TOTAL) {
        usage.insert("total".to_owned(), total);
    }
    usage
}

/// What a person sees as input or output: the sum of its buckets. None if there is none.
pub(super) fn sum_of(usage: &Usage, side: &str) -> Option<u64> {
    let buckets = usage
        .iter()
        .filter(|(name, _)| name.starts_with(side))
        .map(|(_, count)| *count);
    buckets.reduce(u64::saturating_add)
}
