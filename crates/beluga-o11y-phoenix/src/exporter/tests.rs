use std::time::Duration;

use beluga_o11y::CallError;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message;
use serde_json::{Value, json};

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn sent(builder: PhoenixExporterBuilder, call: &LLMCallData) -> (Resource, Span) {
    let bytes = builder.build().unwrap().encode(call).unwrap();
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(request.encode_to_vec(), bytes);
    let [mut spans] = <[_; 1]>::try_from(request.resource_spans).unwrap();
    (
        spans.resource.unwrap(),
        spans.scope_spans[0].spans.remove(0),
    )
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_names_of_openinference_and_the_project() {
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_release("1.2.3")
        .with_metadata("experiment", 1);
    let builder = || {
        PhoenixExporter::builder()
            .with_project(" my/project ")
            .with_environment("staging")
    };
    let (resource, span) = sent(builder(), &call);
    assert_eq!(resource.attributes.len(), 1);
    assert_eq!(
        text(&resource.attributes, "openinference.project.name"),
        Some("my/project")
    );
    assert_eq!(
        text(&span.attributes, "openinference.span.kind"),
        Some("LLM")
    );
    assert_eq!(
        text(&span.attributes, "metadata"),
        Some(r#"{"environment":"staging","release":"1.2.3","experiment":1}"#)
    );
    let gen_ai = |span: &Span| {
        span.attributes
            .iter()
            .any(|a| a.key == "gen_ai.request.model")
    };
    assert!(!gen_ai(&span));
    let (_, span) = sent(builder().with_conventions(OtlpConventions::Both), &call);
    assert!(gen_ai(&span));
    let (resource, _) = sent(PhoenixExporter::builder(), &call);
    assert_eq!(
        text(&resource.attributes, "openinference.project.name"),
        Some("default")
    );
}

#[test]
fn the_callers_span_is_a_parent_only_if_it_is_wished() {
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_trace_id(TRACE)
        .with_parent_span_id(PARENT);
    let (_, span) = sent(PhoenixExporter::builder(), &call);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.trace_id[..2], [0x0a, 0xf7]);
    let metadata: Value =
        serde_json::from_str(text(&span.attributes, "metadata").unwrap()).unwrap();
    assert_eq!(
        metadata,
        json!({"trace_id": TRACE, "parent_span_id": PARENT})
    );
    let (_, span) = sent(PhoenixExporter::builder().with_parent_spans(true), &call);
    assert_eq!(span.parent_span_id[..2], [0xb7, 0xad]);
}

/// Every text of the span, the JSON that Phoenix reads included.
fn texts(span: &Span) -> Vec<String> {
    fn of_value(value: &Any, out: &mut Vec<String>) {
        match value {
            Any::StringValue(text) => out.push(text.clone()),
            Any::ArrayValue(array) => array
                .values
                .iter()
                .filter_map(|value| value.value.as_ref())
                .for_each(|value| of_value(value, out)),
            _ => {}
        }
    }
    fn of_json(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) => out.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| of_json(item, out)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    out.push(key.clone());
                    of_json(value, out);
                }
            }
            _ => {}
        }
    }
    let mut out = vec![span.name.clone()];
    out.extend(span.status.iter().map(|status| status.message.clone()));
    let events = span.events.iter().flat_map(|event| &event.attributes);
    for attribute in span.attributes.iter().chain(events) {
        out.push(attribute.key.clone());
        let value = attribute
            .value
            .as_ref()
            .and_then(|value| value.value.as_ref());
        of_value(value.unwrap(), &mut out);
        let is_read = attribute.key == "metadata" || attribute.key.starts_with("gen_ai.");
        if let (true, Some(Any::StringValue(json))) = (is_read, value)
            && let Ok(json) = serde_json::from_str(json)
        {
            of_json(&json, &mut out);
        }
    }
    out
}

#[test]
fn no_nul_anywhere_and_all_around_it_stays() {
    let odd = "a\0\\u0000 \u{1}\u{7f}\u{fffe}b";
    let call = LLMCallData::new(odd, odd)
        .with_name(odd)
        .with_messages(json!([
            {"role": "system", "content": odd},
            {"role": odd, "name": odd, "content": [{"type": "text", "text": odd}, {"x": odd}]},
            {"role": "assistant", "tool_calls": [{"id": odd, "function": {"name": odd, "arguments": json!({odd: odd}).to_string()}}]},
        ]))
        .with_response(odd)
        .with_model_parameters(json!({"stop": [odd], "tools": [{odd: odd}]}))
        .with_duration(Duration::from_secs(1))
        .with_error(CallError::new(odd).with_kind(odd).with_trace(odd))
        .with_session_id(odd)
        .with_user_id(odd)
        .with_tag(odd)
        .with_environment(odd)
        .with_release(odd)
        .with_trace_id(odd)
        .with_parent_span_id(odd)
        .with_metadata(odd, json!({odd: [odd]}));
    let builder = PhoenixExporter::builder().with_conventions(OtlpConventions::Both);
    let (_, span) = sent(builder, &call);
    let texts = texts(&span);
    assert!(texts.iter().all(|text| !text.contains('\0')));
    let replaced = odd.replace('\0', "\u{fffd}");
    let shown = |text: &String| *text == replaced;
    // Also in the JSON of metadata, where the key, the inner key and the inner value have it.
    assert!(texts.iter().filter(|text| shown(text)).count() > 20);
    let metadata = text(&span.attributes, "metadata").unwrap();
    let metadata: Value = serde_json::from_str(metadata).unwrap();
    assert_eq!(metadata[&replaced], json!({&replaced: [&replaced]}));
    assert_eq!(metadata["environment"], replaced);
}
