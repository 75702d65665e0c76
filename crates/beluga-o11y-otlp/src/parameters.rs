//! The parameters of a request as attributes.

use beluga_o11y::Json;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Attributes,
    raw::{Fields, Node, text},
};

/// What a parameter of the GenAI conventions holds.
enum Type {
    Double,
    Int,
    Bool,
    Texts,
}

/// `gen_ai.request.<name>`, and what the APIs of providers call it.
const REQUEST: &[(&str, Type, &[&str])] = &[
    ("temperature", Type::Double, &["temperature"]),
    ("top_p", Type::Double, &["top_p", "topP"]),
    ("top_k", Type::Int, &["top_k", "topK"]),
    (
        "max_tokens",
        Type::Int,
        &[
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "maxOutputTokens",
            "maxTokens",
        ],
    ),
    (
        "frequency_penalty",
        Type::Double,
        &["frequency_penalty", "frequencyPenalty"],
    ),
    (
        "presence_penalty",
        Type::Double,
        &["presence_penalty", "presencePenalty"],
    ),
    (
        "stop_sequences",
        Type::Texts,
        &["stop", "stop_sequences", "stopSequences"],
    ),
    ("seed", Type::Int, &["seed"]),
    ("stream", Type::Bool, &["stream"]),
    ("choice.count", Type::Int, &["n", "candidateCount"]),
];

/// Where Gemini and Bedrock put the parameters of sampling.
const NESTED: &[&str] = &["generationConfig", "generation_config", "inferenceConfig"];

pub(crate) fn write(parameters: &Json, open_inference: bool, gen_ai: bool, out: &mut Attributes) {
    if open_inference {
        out.json("llm.invocation_parameters", parameters);
    }
    let Some(fields) = Fields::of(parameters.as_raw()) else {
        return;
    };
    let tools = fields.list("tools").unwrap_or_default();
    if open_inference {
        for (index, tool) in tools.iter().enumerate() {
            out.json(format!("llm.tools.{index}.tool.json_schema"), tool);
        }
    }
    if gen_ai {
        request(&fields, out);
        if !tools.is_empty() {
            out.json("gen_ai.tool.definitions", &tools);
        }
    }
}

fn request(parameters: &Fields<'_>, out: &mut Attributes) {
    let nested = NESTED.iter().find_map(|key| parameters.object(key));
    for (name, kind, keys) in REQUEST {
        let inner = || nested.as_ref()?.first(keys);
        let Some(value) = parameters.first(keys).or_else(inner) else {
            continue;
        };
        let name = format!("gen_ai.request.{name}");
        match kind {
            Type::Double => out.double(name, read(value)),
            Type::Int => {
                if let Some(value) = integer(value) {
                    out.int(name, value);
                }
            }
            Type::Bool => {
                if let Some(value) = read(value) {
                    out.bool(name, value);
                }
            }
            Type::Texts => match Node::of(value) {
                Node::Text(text) => out.texts(name, &[text]),
                Node::List(values) => {
                    let texts: Vec<_> = values.into_iter().filter_map(text).collect();
                    out.texts(name, &texts);
                }
                _ => {}
            },
        }
    }
}

/// A whole number, also one such as `40.0`, which is how Gemini's clients write `topK`.
fn integer(value: &RawValue) -> Option<i64> {
    /// The largest number up to which double precision has every whole one.
    const SAFE: f64 = 9_007_199_254_740_992.0;
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= SAFE;
    read(value).or_else(|| {
        let number = read::<f64>(value).filter(whole)?;
        format!("{number:.0}").parse().ok()
    })
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}
