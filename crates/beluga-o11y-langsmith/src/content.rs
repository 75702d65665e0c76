//! The shape of inputs and outputs.
//!
//! LangSmith takes nothing but objects there, and shows a conversation where it finds a `messages` array in
//! the shape of OpenAI, Anthropic or LangChain. Content that has such a shape goes as it is; other content is
//! put into one, whole.

use beluga_o11y::Json;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::wire::Content;

/// The size of `""`.
const EMPTY_TEXT: usize = 2;

/// The call's messages as inputs.
///
/// | messages | inputs |
/// |---|---|
/// | an array | `{"messages": [..]}` |
/// | an object with a `role` | `{"messages": [{..}]}` |
/// | another object, such as a whole request | as it is |
/// | text | `{"messages": [{"role": "user", "content": ".."}]}` |
/// | anything else, also a text of no length | `{"input": ..}` |
pub(crate) fn inputs(messages: &Json) -> Content<'_> {
    match first(messages) {
        b'[' => Content::Messages(messages),
        b'{' if has_role(messages) => Content::Message(messages),
        b'{' => Content::Object(messages),
        b'"' if messages.size() > EMPTY_TEXT => Content::Said {
            role: "user",
            content: messages,
        },
        _ => Content::Named("input", messages),
    }
}

/// The call's response as outputs.
///
/// | response | outputs |
/// |---|---|
/// | an object, such as a message or a whole answer | as it is |
/// | an array whose first element has a `role` | `{"messages": [..]}` |
/// | an array whose first element has a `type`: parts of a message | `{"messages": [{"role": "assistant", "content": [..]}]}` |
/// | text | `{"messages": [{"role": "assistant", "content": ".."}]}` |
/// | anything else | `{"output": ..}` |
pub(crate) fn outputs(response: &Json) -> Content<'_> {
    let assistant = Content::Said {
        role: "assistant",
        content: response,
    };
    match first(response) {
        b'{' => Content::Object(response),
        b'"' => assistant,
        b'[' => match first_element(response) {
            Marks { role: Some(_), .. } => Content::Messages(response),
            Marks { kind: Some(_), .. } => assistant,
            Marks { .. } => Content::Named("output", response),
        },
        _ => Content::Named("output", response),
    }
}

/// The first byte, which tells the type.
fn first(json: &Json) -> u8 {
    let text = json.as_str().trim_ascii_start();
    text.bytes().next().unwrap_or_default()
}

fn has_role(json: &Json) -> bool {
    marks(json.as_str()).role.is_some()
}

fn first_element(json: &Json) -> Marks {
    let elements: Vec<&RawValue> = serde_json::from_str(json.as_str()).unwrap_or_default();
    elements
        .first()
        .map_or_else(Marks::default, |element| marks(element.get()))
}

/// None for what is no object.
fn marks(json: &str) -> Marks {
    if json.trim_ascii_start().starts_with('{') {
        serde_json::from_str(json).unwrap_or_default()
    } else {
        Marks::default()
    }
}

/// What marks an object as a message, or as a part of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Marks {
    role: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shape(make: fn(&Json) -> Content<'_>, value: Value) -> Value {
        serde_json::to_value(make(&Json::new(&value))).unwrap()
    }

    #[test]
    fn inputs_have_messages_where_there_are_any() {
        let inputs = |value| shape(inputs, value);
        let message = json!({"role": "user", "content": "hi"});
        assert_eq!(inputs(json!([message])), json!({"messages": [message]}));
        assert_eq!(inputs(json!([])), json!({"messages": []}));
        assert_eq!(inputs(message.clone()), json!({"messages": [message]}));
        assert_eq!(inputs(json!("hi")), json!({"messages": [message]}));
        for request in [
            json!({}),
            json!({"model": "gpt-4o", "messages": [message]}),
            json!({"contents": [{"parts": []}]}),
        ] {
            assert_eq!(inputs(request.clone()), request);
        }
        for other in [json!(null), json!(17), json!(true), json!("")] {
            assert_eq!(inputs(other.clone()), json!({"input": other}));
        }
        let blanks = Json::parse(" \n[1]").unwrap();
        assert!(matches!(super::inputs(&blanks), Content::Messages(_)));
    }

    #[test]
    fn outputs_have_the_shape_of_an_answer() {
        let outputs = |value| shape(outputs, value);
        let said =
            |content: Value| json!({"messages": [{"role": "assistant", "content": content}]});
        assert_eq!(outputs(json!("hello")), said(json!("hello")));
        let parts = json!([{"type": "text", "text": "hello"}]);
        assert_eq!(outputs(parts.clone()), said(parts));
        let messages = json!([{"role": "assistant", "content": "hello", "type": "message"}]);
        assert_eq!(outputs(messages.clone()), json!({"messages": messages}));
        for answer in [
            json!({}),
            json!({"role": "assistant", "content": "hello"}),
            json!({"choices": [{"message": {"role": "assistant", "content": "hello"}}]}),
        ] {
            assert_eq!(outputs(answer.clone()), answer);
        }
        for other in [
            json!(null),
            json!(1.5),
            json!([]),
            json!(["a", {"role": "x"}]),
            json!([{"x": 1}]),
        ] {
            assert_eq!(outputs(other.clone()), json!({"output": other}));
        }
    }
}
