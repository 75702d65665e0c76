//! The JSON form of a record.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
    ser::{Error as _, SerializeMap},
};
use uuid::Uuid;

use crate::{CallError, Json, LLMCallData};

/// Milliseconds as a JSON number, a whole one where possible.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = self.0.as_nanos();
        match u64::try_from(nanos / 1_000_000) {
            Ok(whole) if nanos.is_multiple_of(1_000_000) => serializer.serialize_u64(whole),
            _ => serializer.serialize_f64(nanos as f64 / 1e6),
        }
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(millis / 1e3)
            .map(Self)
            .map_err(|_| D::Error::custom("expected milliseconds, a number from 0 to 1.8e22"))
    }
}

/// Fails for a call that [`validate`](LLMCallData::validate) refuses: written without what is wrong with
/// it, it would be read back as a call with nothing wrong.
impl Serialize for LLMCallData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.validate().map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id())?;
        map.serialize_entry("provider", &self.provider)?;
        map.serialize_entry("model", &self.model)?;
        macro_rules! known {
            ($($name:literal: $value:expr),* $(,)?) => {
                $(if let Some(value) = $value { map.serialize_entry($name, &value)?; })*
            };
        }
        known! { "name": &self.name }
        map.serialize_entry("start_time", &self.start_time())?;
        known! {
            "duration_ms": self.duration.map(Millis),
            "time_to_first_token_ms": self.time_to_first_token.map(Millis),
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cache_read_tokens": self.usage.cache_read_tokens,
            "cache_write_tokens": self.usage.cache_write_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "cost": self.cost,
            "messages": &self.messages,
            "response": &self.response,
            "model_parameters": &self.model_parameters,
            "error": self.error.as_ref().filter(|error| !error.is_empty()),
            "session_id": &self.session_id,
            "user_id": &self.user_id,
            "tags": (!self.tags.is_empty()).then_some(&self.tags),
            "environment": &self.environment,
            "release": &self.release,
            "trace_id": &self.trace_id,
            "parent_span_id": &self.parent_span_id,
            "metadata": (!self.metadata.is_empty()).then_some(&self.metadata),
        }
        map.end()
    }
}

/// As [`LLMCallData`] stands in JSON. Every field may be missing or null.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    id: Option<Uuid>,
    provider: Option<String>,
    model: Option<String>,
    name: Option<String>,
    start_time: Option<DateTime<Utc>>,
    duration_ms: Option<Millis>,
    time_to_first_token_ms: Option<Millis>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost: Option<f64>,
    messages: Option<Json>,
    response: Option<Json>,
    model_parameters: Option<Json>,
    error: Option<CallError>,
    session_id: Option<String>,
    user_id: Option<String>,
    tags: Option<Vec<String>>,
    environment: Option<String>,
    release: Option<String>,
    trace_id: Option<String>,
    parent_span_id: Option<String>,
    metadata: Option<BTreeMap<String, Json>>,
}

/// A derived `Deserialize` would also take an array, and `[]` for a call of which nothing is known.
struct OnlyObjects;

impl<'de> Visitor<'de> for OnlyObjects {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an LLM call as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form, A::Error> {
        Form::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A record without a start began when it is read, less its duration; one without an id gets a new
/// one each time that it is read.
impl<'de> Deserialize<'de> for LLMCallData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = deserializer.deserialize_map(OnlyObjects)?;
        let mut call = Self::new(
            form.provider.unwrap_or_default(),
            form.model.unwrap_or_default(),
        );
        if let Some(id) = form.id {
            call = call.with_id(id);
        }
        if let Some(start) = form.start_time {
            call = call.with_start_time(start);
        }
        call.name = form.name;
        call.duration = form.duration_ms.map(|millis| millis.0);
        call.time_to_first_token = form.time_to_first_token_ms.map(|millis| millis.0);
        call.usage.input_tokens = form.input_tokens;
        call.usage.output_tokens = form.output_tokens;
        call.usage.cache_read_tokens = form.cache_read_tokens;
        call.usage.cache_write_tokens = form.cache_write_tokens;
        call.usage.reasoning_tokens = form.reasoning_tokens;
        call.cost = form.cost;
        call.messages = form.messages;
        call.response = form.response;
        call.model_parameters = form.model_parameters;
        call.error = form.error.filter(|error| !error.is_empty());
        call.session_id = form.session_id;
        call.user_id = form.user_id;
        call.tags = form.tags.unwrap_or_default();
        call.environment = form.environment;
        call.release = form.release;
        call.trace_id = form.trace_id;
        call.parent_span_id = form.parent_span_id;
        call.metadata = form.metadata.unwrap_or_default();
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn full() -> Value {
        json!({
            "id": "01a2053e-d6f8-792b-8988-1657efa89323",
            "provider": "anthropic",
            "model": "claude-sonnet-4-5",
            "name": "judge",
            "start_time": "2026-11-22T21:52:14.072279Z",
            "duration_ms": 840,
            "time_to_first_token_ms": 120.5,
            "input_tokens": 117,
            "output_tokens": 3,
            "cache_read_tokens": 100,
            "cache_write_tokens": 7,
            "reasoning_tokens": 1,
            "cost": 0.00123,
            "messages": [{"role": "user", "content": "hi"}],
            "response": "hello",
            "model_parameters": {"temperature": 0.2},
            "error": {"kind": "RateLimitError", "message": "429", "trace": "at x"},
            "session_id": "conv-1",
            "user_id": "u-1",
            "tags": ["prod"],
            "environment": "staging",
            "release": "1.2.3",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "parent_span_id": "b7ad6b7169203331",
            "metadata": {"k": {"nested": [1, 2.50]}},
        })
    }

    #[test]
    fn every_field_survives_and_has_its_public_name() {
        let call: LLMCallData = serde_json::from_value(full()).unwrap();
        assert_eq!(serde_json::to_value(&call).unwrap(), full());
        let again: LLMCallData =
            serde_json::from_str(&serde_json::to_string(&call).unwrap()).unwrap();
        assert_eq!(again.messages, call.messages);
        assert_eq!(again.duration, Some(Duration::from_millis(840)));
        assert_eq!(
            again.time_to_first_token,
            Some(Duration::from_micros(120_500))
        );
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let call = LLMCallData::new("openai", "gpt-4o");
        let value = serde_json::to_value(&call).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["id", "model", "provider", "start_time"]);
        assert!(value["start_time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn missing_null_and_unknown_fields_are_fine() {
        let read: LLMCallData =
            serde_json::from_str(r#"{"model":"m","messages":null,"error":"","tags":null,"new":1}"#)
                .unwrap();
        assert_eq!((read.provider.as_str(), read.model.as_str()), ("", "m"));
        assert_eq!((read.messages.clone(), read.error.clone()), (None, None));
        assert_eq!(read.id().get_version_num(), 7);
        assert!(!read.has_id() && !read.has_start_time());
        let read: LLMCallData = serde_json::from_value(full()).unwrap();
        assert!(read.has_id() && read.has_start_time());
    }

    #[test]
    fn bad_fields_are_refused() {
        for bad in [
            r#"{"duration_ms":-1}"#,
            r#"{"duration_ms":1e300}"#,
            r#"{"input_tokens":-1}"#,
            r#"{"input_tokens":1.5}"#,
            r#"{"start_time":"yesterday"}"#,
            r#"{"id":"x"}"#,
            r#"{"tags":"prod"}"#,
            "[]",
            "null",
            r#""text""#,
        ] {
            assert!(serde_json::from_str::<LLMCallData>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_call_does_not_get_lost_by_writing_it() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let deep: LLMCallData =
            serde_json::from_str(&format!(r#"{{"messages":{deep},"response":"x"}}"#)).unwrap();
        let error = serde_json::to_string(&deep).unwrap_err().to_string();
        assert!(
            error.starts_with("messages: JSON is more than 100 levels deep"),
            "{error}"
        );
        let free = LLMCallData::new("a", "b").with_cost(f64::NAN);
        assert!(serde_json::to_string(&free).is_err());
    }

    #[test]
    fn times_with_an_offset_become_utc() {
        let read: LLMCallData =
            serde_json::from_str(r#"{"start_time":"2026-11-22T22:52:14+01:00"}"#).unwrap();
        assert_eq!(read.start_time().to_rfc3339(), "2026-11-22T21:52:14+00:00");
    }

    proptest! {
        #[test]
        fn durations_survive_to_the_nanosecond(nanos in 0..1_u64 << 52) {
            let duration = Duration::from_nanos(nanos);
            let text = serde_json::to_string(&Millis(duration)).unwrap();
            let read: Millis = serde_json::from_str(&text).unwrap();
            prop_assert!(read.0.abs_diff(duration) <= Duration::from_nanos(1), "{}", text);
        }
    }
}
