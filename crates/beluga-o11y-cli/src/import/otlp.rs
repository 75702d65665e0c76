//! Traces in OTLP/JSON: the spans of LLM calls, by OpenTelemetry's GenAI conventions, as they are and as they were, by
//! OpenLLMetry and by OpenInference.
//!
//! The encoding is that of `opentelemetry-proto/docs/specification.md`: protobuf's JSON, but with ids in hexadecimal, names in
//! lowerCamelCase only, and unknown fields ignored.

mod attributes;
mod call;
mod content;
mod span;
mod twice;

use serde_json::value::RawValue;

use self::{
    attributes::Attributes,
    call::{Kind, Resource},
    span::Span,
    twice::Told,
};
use super::Turned;
use crate::record::{self, Object, Problem};

/// Turns an `ExportTraceServiceRequest`, as the Collector's file exporter writes one a line, or one of its `resourceSpans`.
pub(super) fn turn(document: &str) -> Turned {
    let mut reading = Reading {
        document,
        told: Vec::new(),
        turned: Turned::default(),
    };
    if let Err((at, problem)) = reading.request() {
        reading.turned.problems.push((at, problem));
    }
    let Reading {
        told, mut turned, ..
    } = reading;
    let (calls, others) = twice::once(told);
    turned.others += others;
    for (at, call) in calls {
        match call.validate() {
            Ok(()) => turned.calls.push(call),
            Err(invalid) => turned.problems.push((at, invalid.into())),
        }
    }
    turned.problems.sort_by_key(|(at, _)| *at);
    turned
}

struct Reading<'a> {
    document: &'a str,
    told: Vec<Told>,
    turned: Turned,
}

/// Something bad, and where.
type Bad = (usize, Problem);

impl<'a> Reading<'a> {
    fn request(&mut self) -> Result<(), Bad> {
        let request: &RawValue =
            serde_json::from_str(self.document).map_err(|error| (0, record::not_json(&error)))?;
        let fields = self.object(request)?;
        if fields.contains_key("scopeSpans") {
            return self.resource(request);
        }
        let Some(resources) = fields.get("resourceSpans") else {
            // What the Collector writes of other signals, and an empty request.
            let signals = ["resourceLogs", "resourceMetrics", "resourceProfiles"];
            if fields.is_empty() || signals.iter().any(|signal| fields.contains_key(*signal)) {
                return Ok(());
            }
            let what = match fields.contains_key("resource_spans") {
                true => "resource_spans: OTLP/JSON has names in lowerCamelCase, resourceSpans",
                false => "no trace in OTLP/JSON: resourceSpans is missing",
            };
            return Err((self.place(request), Problem::new(what)));
        };
        for resource in self.list("resourceSpans", resources)? {
            let read = self.resource(resource);
            self.note(read);
        }
        Ok(())
    }

    fn resource(&mut self, spans: &'a RawValue) -> Result<(), Bad> {
        let fields = self.object(spans)?;
        let mut resource = Resource::default();
        if let Some(found) = fields.get("resource").filter(|found| is_there(found)) {
            let found = self.object(found)?;
            if let Some(attributes) = found.get("attributes") {
                resource = Resource::of(Attributes::of_json(attributes.get()));
            }
        }
        if let Some(scopes) = self.named(spans, &fields, "scopeSpans", "resource")? {
            for scope in self.list("scopeSpans", scopes)? {
                let read = self.scope(scope, &resource);
                self.note(read);
            }
        }
        Ok(())
    }

    fn scope(&mut self, spans: &'a RawValue, resource: &Resource) -> Result<(), Bad> {
        let fields = self.object(spans)?;
        let scope = fields.get("scope").map(|scope| scope.get());
        let scope: Option<serde_json::Value> = scope.and_then(|s| serde_json::from_str(s).ok());
        let scope = scope.as_ref().and_then(|scope| scope["name"].as_str());
        if let Some(spans) = self.named(spans, &fields, "spans", "scope")? {
            for span in self.list("spans", spans)? {
                let at = self.place(span);
                let read = self.span(at, span, scope.unwrap_or_default(), resource);
                self.note(read.map_err(|problem| (at, problem)));
            }
        }
        Ok(())
    }

    fn span(
        &mut self,
        at: usize,
        span: &RawValue,
        scope: &str,
        resource: &Resource,
    ) -> Result<(), Problem> {
        let mut fields = span::fields(span)?;
        let attributes = span::attributes(&mut fields)?;
        let Some(kind) = Kind::of(&attributes) else {
            self.turned.others += 1;
            return Ok(());
        };
        let span = Span::read(fields, attributes)?;
        self.told.push(Told::new(at, kind, scope, span, |span| {
            call::record(span, kind, scope, resource)
        }));
        Ok(())
    }

    fn note(&mut self, read: Result<(), Bad>) {
        self.turned.problems.extend(read.err());
    }

    /// Where this part of the document begins.
    fn place(&self, part: &RawValue) -> usize {
        let begin = self.document.as_ptr().addr();
        part.get().as_ptr().addr().saturating_sub(begin)
    }

    fn object(&self, part: &'a RawValue) -> Result<Object<'a>, Bad> {
        serde_json::from_str(part.get()).map_err(|_| {
            let what = format!("expected an object, found {}", found(part));
            (self.place(part), Problem::new(what))
        })
    }

    /// The spans of a resource or of a scope. It may have none, but not under another name.
    fn named(
        &self,
        part: &'a RawValue,
        fields: &Object<'a>,
        name: &str,
        of: &str,
    ) -> Result<Option<&'a RawValue>, Bad> {
        let found = fields.get(name).copied();
        let is_known = |field: &str| field == of || field == "schemaUrl";
        if found.is_none() && !fields.keys().all(|field| is_known(field)) {
            let what = format!("{name} is missing: OTLP/JSON has names in lowerCamelCase, {name}");
            return Err((self.place(part), Problem::new(what)));
        }
        Ok(found)
    }

    /// What is absent in protobuf may be `null` in its JSON.
    fn list(&self, name: &str, part: &'a RawValue) -> Result<Vec<&'a RawValue>, Bad> {
        if !is_there(part) {
            return Ok(Vec::new());
        }
        serde_json::from_str(part.get()).map_err(|_| {
            let what = format!("expected an array, found {}", found(part));
            (self.place(part), Problem::of(name, what))
        })
    }
}

fn is_there(part: &RawValue) -> bool {
    part.get() != "null"
}

/// The kind of a JSON value.
fn found(part: &RawValue) -> &'static str {
    match part.get().bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "another object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests;
