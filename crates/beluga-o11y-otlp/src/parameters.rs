//! The parameters of a request as attributes.

use beluga_o11y::Json;
use serde_json::{Map, Value};

use crate::Attributes;

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

pub(crate) fn write(parameters: &Json, open_inference: bool, gen_ai: bool, out: &mut Attributes) {
    if open_inference {
        out.json("llm.invocation_parameters", parameters);
    }
    let Ok(Value::Object(parameters)) = parameters.read::<Value>() else {
        return;
    };
    let tools = match parameters.get("tools") {
        Some(Value::Array(tools)) => tools.as_slice(),
        _ => &[],
    };
    if open_inference {
        for (index, tool) in tools.iter().enumerate() {
            out.json(format!("llm.tools.{index}.tool.json_schema"), tool);
        }
    }
    if gen_ai {
        request(&parameters, out);
        if !tools.is_empty() {
            out.json("gen_ai.tool.definitions", &tools);
        }
    }
}

fn request(parameters: &Map<String, Value>, out: &mut Attributes) {
    for (name, kind, keys) in REQUEST {
        let Some(value) = keys.iter().find_map(|key| parameters.get(*key)) else {
            continue;
        };
        let name = format!("gen_ai.request.{name}");
        match kind {
            Type::Double => out.double(name, value.as_f64()),
            Type::Int => {
                if let Some(value) = value.as_i64() {
                    out.int(name, value);
                }
            }
            Type::Bool => {
                if let Some(value) = value.as_bool() {
                    out.bool(name, value);
                }
            }
            Type::Texts => match value {
                Value::String(text) => out.texts(name, &[text]),
                Value::Array(values) => {
                    let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                    out.texts(name, &texts);
                }
                _ => {}
            },
        }
    }
}
