//! The parameters of the request: all of them, and those that LangSmith knows by name.

use std::collections::BTreeMap;

use beluga_o11y::{Json, LLMCallData};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned, ser::SerializeMap};
use serde_json::{Number, value::RawValue};

/// Serialises as `invocation_params`: the model, and the parameters as they are.
#[derive(Default)]
pub(crate) struct Parameters<'a> {
    model: Option<&'a str>,
    named: BTreeMap<String, Box<RawValue>>,
    /// What is no object has no names.
    unnamed: Option<&'a Json>,
    /// Only the two numbers and the model are sent: tools and response formats tell of the prompt.
    hidden: bool,
}

impl<'a> Parameters<'a> {
    pub(crate) fn of(call: &'a LLMCallData, hidden: bool) -> Self {
        let json = call.model_parameters.as_ref();
        let named = json.and_then(|json| json.read().ok());
        Self {
            model: Some(&*call.model).filter(|model| !model.trim().is_empty()),
            unnamed: json.filter(|_| named.is_none()),
            named: named.unwrap_or_default(),
            hidden,
        }
    }

    pub(crate) fn temperature(&self) -> Option<Number> {
        self.first(&["temperature"])
    }

    /// Under the names that LangSmith's client looks at, in its order.
    pub(crate) fn max_tokens(&self) -> Option<u64> {
        self.first(&["max_tokens", "max_completion_tokens", "max_output_tokens"])
    }

    pub(crate) fn stop(&self) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stop {
            One(String),
            Several(Vec<String>),
        }
        if self.hidden {
            return None;
        }
        self.first(&["stop", "stop_sequences"])
            .map(|stop| match stop {
                Stop::One(text) => vec![text],
                Stop::Several(texts) => texts,
            })
    }

    /// The first of these that is there and of that type.
    fn first<T: DeserializeOwned>(&self, names: &[&str]) -> Option<T> {
        names
            .iter()
            .filter_map(|name| self.named.get(*name))
            .find_map(|value| serde_json::from_str(value.get()).ok())
    }
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(model) = self
            .model
            .filter(|_| self.hidden || !self.named.contains_key("model"))
        {
            map.serialize_entry("model", model)?;
        }
        if !self.hidden {
            if let Some(unnamed) = self.unnamed {
                map.serialize_entry("model_parameters", unnamed)?;
            }
            for (name, value) in &self.named {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sent(parameters: Value, hidden: bool) -> Value {
        let call = LLMCallData::new("openai", "gpt-4o").with_model_parameters(parameters);
        let parameters = Parameters::of(&call, hidden);
        json!({
            "all": parameters,
            "temperature": parameters.temperature(),
            "max_tokens": parameters.max_tokens(),
            "stop": parameters.stop(),
        })
    }

    #[test]
    fn all_go_as_they_are_with_the_model() {
        let tools = json!([{"type": "function"}]);
        let sent = sent(
            json!({"temperature": 0.2, "max_tokens": 100, "stop": "END", "tools": tools}),
            false,
        );
        assert_eq!(
            sent,
            json!({
                "all": {"model": "gpt-4o", "temperature": 0.2, "max_tokens": 100, "stop": "END", "tools": tools},
                "temperature": 0.2, "max_tokens": 100, "stop": ["END"],
            })
        );
    }

    #[test]
    fn the_callers_model_wins() {
        assert_eq!(
            sent(json!({"model": "x"}), false)["all"],
            json!({"model": "x"})
        );
    }

    #[test]
    fn other_names_and_types() {
        let of = |parameters| sent(parameters, false);
        assert_eq!(of(json!({"max_completion_tokens": 7}))["max_tokens"], 7);
        assert_eq!(of(json!({"max_output_tokens": 7}))["max_tokens"], 7);
        assert_eq!(
            of(json!({"max_tokens": null, "max_output_tokens": 7}))["max_tokens"],
            7
        );
        assert_eq!(
            of(json!({"stop_sequences": ["a", "b"]}))["stop"],
            json!(["a", "b"])
        );
        for odd in [
            json!({"temperature": "hot", "max_tokens": -1, "stop": 5}),
            json!({"temperature": null, "max_tokens": 1.5, "stop": [1]}),
        ] {
            let sent = of(odd.clone());
            assert_eq!(
                [&sent["temperature"], &sent["max_tokens"], &sent["stop"]],
                [&Value::Null; 3]
            );
            assert_eq!(sent["all"]["temperature"], odd["temperature"]);
        }
    }

    #[test]
    fn what_is_no_object_gets_a_name() {
        for odd in [json!("text"), json!([1]), json!(null)] {
            assert_eq!(
                sent(odd.clone(), false)["all"],
                json!({"model": "gpt-4o", "model_parameters": odd})
            );
        }
    }

    #[test]
    fn hidden_inputs_leave_two_numbers() {
        let secret =
            json!({"model": "s", "temperature": 0.2, "max_tokens": 9, "stop": "s", "tools": ["s"]});
        assert_eq!(
            sent(secret, true),
            json!({"all": {"model": "gpt-4o"}, "temperature": 0.2, "max_tokens": 9, "stop": null})
        );
        assert_eq!(sent(json!("s"), true)["all"], json!({"model": "gpt-4o"}));
    }
}
