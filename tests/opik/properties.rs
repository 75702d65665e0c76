//! Whatever a record holds, Opik takes it, and gives it back as it was.

use std::collections::{BTreeMap, BTreeSet};

use beluga_o11y::{CallError, LLMCallData, TraceExporter, Usage};
use chrono::{DateTime, Utc};
use proptest::{collection, option, prelude::*};
use serde_json::Value;

use super::*;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    // serde_json reads some floats one bit off; what is compared has been read once too.
    .prop_map(|value| serde_json::from_str(&value.to_string()).unwrap())
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

prop_compose! {
    fn contents()(
        provider in prop_oneof![
            any::<String>(),
            prop::sample::select(vec!["openai", "anthropic", "bedrock", "gemini", "OpenAI", ""])
                .prop_map(str::to_owned),
        ],
        model: String,
        name in text(),
        messages in option::of(json()),
        response in option::of(json()),
        parameters in option::of(json()),
        metadata in collection::btree_map(any::<String>(), json(), 0..4),
        tags in collection::vec(any::<String>(), 0..3),
    ) -> LLMCallData {
        let mut call = LLMCallData::new(provider, model);
        call.name = name;
        call.messages = messages.map(|m| beluga_o11y::Json::new(&m));
        call.response = response.map(|m| beluga_o11y::Json::new(&m));
        call.model_parameters = parameters.map(|m| beluga_o11y::Json::new(&m));
        call.metadata =
            metadata.into_iter().map(|(k, v)| (k, beluga_o11y::Json::new(&v))).collect();
        call.tags = tags;
        call
    }
}

prop_compose! {
    fn any_call()(
        call in contents(),
        start in option::of(0..9_000_000_000_000_i64),
        duration in option::of(0..90_000_000_000_u64),
        ttft in option::of(0..90_000_000_000_u64),
        usage in option::of(any::<[u32; 5]>()),
        cost in option::of((0..1_000_000_000_u32).prop_map(|n| f64::from(n) / 1e4)),
        error in option::of((text(), any::<String>(), text())),
        session in text(),
        environment in option::of("[^\u{0}]{0,150}"),
        own_ids in (text(), text()),
    ) -> LLMCallData {
        let mut call = call;
        if let Some(millis) = start {
            call = call.with_start_time(DateTime::<Utc>::from_timestamp_millis(millis).unwrap());
        }
        call.duration = duration.map(Duration::from_micros);
        call.time_to_first_token = ttft.map(Duration::from_micros);
        if let Some(counts) = usage {
            let [input, output, read, write, reasoning] = counts.map(|n| u64::from(n / 4));
            call.usage = Usage::new(input, output)
                .with_cache_read(read)
                .with_cache_write(write)
                .with_reasoning(reasoning);
        }
        call.cost = cost;
        call.error = error.map(|(kind, message, trace)| {
            let mut error = CallError::new(message);
            (error.kind, error.trace) = (kind, trace);
            error
        });
        call.session_id = session;
        call.environment = environment;
        (call.trace_id, call.parent_span_id) = own_ids;
        call
    }
}

#[test]
fn any_record_is_taken_and_comes_back_as_it_was() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let runtime = runtime();
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) }, |(batch in collection::vec(any_call(), 1..8))| {
        sandbox.clear();
        let calls: Vec<_> = batch.iter().collect();
        let report = runtime.block_on(opik.export_batch(&calls)).expect("the request is taken");
        prop_assert!(report.is_complete(), "{:?}", report);
        let traces = sandbox.traces();
        prop_assert_eq!((traces.len(), sandbox.spans().len()), (batch.len(), batch.len()));
        for (trace, call) in traces.iter().zip(&batch) {
            let content = |json: &Option<beluga_o11y::Json>| {
                json.as_ref().map(|json| json.read::<Value>().unwrap())
            };
            let inner = |outer: &Option<Value>, key: &str| outer.as_ref().map(|v| v[key].clone());
            prop_assert_eq!(inner(&trace.input, "messages"), content(&call.messages));
            prop_assert_eq!(inner(&trace.output, "response"), content(&call.response));
            prop_assert_eq!(trace.name.as_deref(), Some(&*call.display_name()));
            prop_assert_eq!(trace.start_time.timestamp_micros(), call.start_time().timestamp_micros());
            // Opik keeps tags as a set.
            let set = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<_>>();
            prop_assert_eq!(set(&trace.tags), set(&call.tags));
            prop_assert_eq!(&trace.thread_id, &call.session_id);
            prop_assert_eq!(trace.total_estimated_cost.unwrap_or(0.0), call.cost.unwrap_or(0.0));
            let total = call.usage.total_tokens().map(|n| i64::try_from(n).unwrap());
            prop_assert_eq!(trace.usage.get("total_tokens").copied(), total);
            let metadata: BTreeMap<String, Value> =
                serde_json::from_value(trace.metadata.clone().unwrap()).unwrap();
            for (key, value) in &call.metadata {
                prop_assert_eq!(&metadata[key], &value.read::<Value>().unwrap());
            }
        }
    });
}
