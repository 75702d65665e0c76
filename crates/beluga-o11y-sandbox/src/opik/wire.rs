//! What clients send: traces, spans and their updates, read by type and then held against the constraints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::opik::constraints::{Broken, Errors, Refused, blank};
use crate::opik::instant::Column;
use crate::opik::json::{ErrorInfo, Object, Read};

pub(crate) const TRACE: &str = "com.comet.opik.api.Trace";
pub(crate) const SPAN: &str = "com.comet.opik.api.Span";

const SOURCES: &[&str] = &[
    "sdk",
    "experiment",
    "playground",
    "optimization",
    "evaluator",
];
const SPAN_TYPES: &[&str] = &["general", "tool", "llm", "guardrail"];
/// Characters of an environment.
const MAX_ENVIRONMENT: usize = 150;
/// Tags that an update may carry, and the characters of each (Opik: `TraceUpdate`).
const MAX_TAGS: usize = 50;
const MAX_TAG: usize = 100;

/// The fields that traces and spans share. Absent and null are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Common {
    pub(crate) project_name: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) start_time: Option<DateTime<Utc>>,
    pub(crate) end_time: Option<DateTime<Utc>>,
    pub(crate) input: Option<Box<RawValue>>,
    pub(crate) output: Option<Box<RawValue>>,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) error_info: Option<ErrorInfo>,
    /// Milliseconds.
    pub(crate) ttft: Option<f64>,
    pub(crate) source: Option<&'static str>,
    pub(crate) environment: Option<String>,
}

/// The fields that only traces have.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceOwn {
    pub(crate) thread_id: Option<String>,
}

/// The fields that only spans have.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpanOwn {
    pub(crate) trace_id: Option<Uuid>,
    pub(crate) parent_span_id: Option<Uuid>,
    pub(crate) span_type: Option<&'static str>,
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) usage: Option<BTreeMap<String, i32>>,
    pub(crate) total_estimated_cost: Option<f64>,
}

/// A trace or span as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Write<T> {
    pub(crate) id: Option<Uuid>,
    pub(crate) last_updated_at: Option<DateTime<Utc>>,
    pub(crate) common: Common,
    pub(crate) own: T,
}

/// A late change of a trace or span.
#[derive(Debug, Clone)]
pub(crate) struct Update<T> {
    pub(crate) project_id: Option<Uuid>,
    pub(crate) tags_to_add: Vec<String>,
    pub(crate) tags_to_remove: Vec<String>,
    pub(crate) common: Common,
    pub(crate) own: T,
}

/// What differs between traces and spans on the wire.
pub(crate) trait Kind: Clone + Default + 'static {
    /// The field of a batch that holds the elements.
    const BATCH: &'static str;
    /// The backend's class, for its error messages.
    const JAVA: &'static str;
    /// The backend's word in messages about ids.
    const RESOURCE: &'static str;

    fn read(object: &Object<'_>) -> Read<Self>;
    fn check(&self, broken: &mut Broken<'_>);
    /// The other ids it names, each with the word for it.
    fn references(&self) -> Vec<(Uuid, &'static str)>;
}

impl Kind for TraceOwn {
    const BATCH: &'static str = "traces";
    const JAVA: &'static str = TRACE;
    const RESOURCE: &'static str = "Trace";

    fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            thread_id: object.string("thread_id")?,
        })
    }

    fn check(&self, _broken: &mut Broken<'_>) {}

    fn references(&self) -> Vec<(Uuid, &'static str)> {
        Vec::new()
    }
}

impl Kind for SpanOwn {
    const BATCH: &'static str = "spans";
    const JAVA: &'static str = SPAN;
    const RESOURCE: &'static str = "Span";

    fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            trace_id: object.uuid("trace_id")?,
            parent_span_id: object.uuid("parent_span_id")?,
            span_type: object.one_of("type", SPAN_TYPES, "com.comet.opik.domain.SpanType")?,
            model: object.string("model")?,
            provider: object.string("provider")?,
            usage: object.counts("usage")?,
            total_estimated_cost: object.number("total_estimated_cost")?,
        })
    }

    fn check(&self, broken: &mut Broken<'_>) {
        broken.if_null("traceId", self.trace_id.as_ref());
        broken.if_true(
            negative(self.total_estimated_cost),
            "totalEstimatedCost",
            "must be greater than or equal to 0.0",
        );
    }

    fn references(&self) -> Vec<(Uuid, &'static str)> {
        let trace = self.trace_id.map(|id| (id, "Trace"));
        let parent = self.parent_span_id.map(|id| (id, "Parent span"));
        trace.into_iter().chain(parent).collect()
    }
}

impl<T: Kind> Write<T> {
    /// Reads and checks `{"traces":[...]}` or `{"spans":[...]}`: first every type, then every constraint.
    pub(crate) fn batch(body: &[u8]) -> Result<Vec<Self>, Refused> {
        let object = Object::from_body(body, &format!("{}Batch", T::JAVA))?;
        let writes = object.batch(T::BATCH, T::JAVA, Self::read)?;
        let mut errors = Errors::default();
        errors.batch(T::BATCH, writes.as_deref(), Self::check);
        errors.refuse()?;
        Ok(writes.unwrap_or_default())
    }

    /// Reads and checks the body of a single create.
    pub(crate) fn single(body: &[u8]) -> Result<Self, Refused> {
        let write = Self::read(&Object::from_body(body, T::JAVA)?)?;
        let mut errors = Errors::default();
        write.check(&mut errors.top());
        errors.refuse()?;
        Ok(write)
    }

    fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            id: object.uuid("id")?,
            last_updated_at: object.instant("last_updated_at")?,
            common: Common::read(object, true)?,
            own: T::read(object)?,
        })
    }

    fn check(&self, broken: &mut Broken<'_>) {
        broken.if_null("startTime", self.common.start_time.as_ref());
        check_range(
            broken,
            "lastUpdatedAt",
            self.last_updated_at,
            Column::Microseconds,
        );
        self.common.check(broken);
        self.own.check(broken);
    }
}

impl<T: Kind> Update<T> {
    /// Reads and checks the body of a PATCH.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, &format!("{}Update", T::JAVA))?;
        let update = Self {
            project_id: object.uuid("project_id")?,
            tags_to_add: object.strings("tags_to_add")?.unwrap_or_default(),
            tags_to_remove: object.strings("tags_to_remove")?.unwrap_or_default(),
            common: Common::read(&object, false)?,
            own: T::read(&object)?,
        };
        let mut errors = Errors::default();
        let mut broken = errors.top();
        update.common.check(&mut broken);
        update.own.check(&mut broken);
        let tags = update.common.tags.as_deref().unwrap_or_default();
        for (field, tags) in [
            ("tags", tags),
            ("tagsToAdd", &update.tags_to_add),
            ("tagsToRemove", &update.tags_to_remove),
        ] {
            check_tags(&mut broken, field, tags);
        }
        errors.refuse()?;
        Ok(update)
    }
}

impl Common {
    fn read(object: &Object<'_>, with_start: bool) -> Read<Self> {
        Ok(Self {
            project_name: object.string("project_name")?,
            name: object.string("name")?,
            start_time: if with_start {
                object.instant("start_time")?
            } else {
                None
            },
            end_time: object.instant("end_time")?,
            input: object.any("input"),
            output: object.any("output"),
            metadata: object.any("metadata"),
            tags: object.strings("tags")?,
            error_info: object.error_info("error_info")?,
            ttft: object.number("ttft")?,
            source: object.one_of("source", SOURCES, "com.comet.opik.api.Source")?,
            environment: object.string("environment")?,
        })
    }

    fn check(&self, broken: &mut Broken<'_>) {
        broken.check_project_name(self.project_name.as_deref());
        check_range(broken, "startTime", self.start_time, Column::Nanoseconds);
        check_range(broken, "endTime", self.end_time, Column::Nanoseconds);
        if let Some(error) = &self.error_info {
            // The backend does not look into a trace's error, but then its official reader cannot read the trace.
            broken.if_blank("errorInfo.exceptionType", Some(&error.exception_type));
            broken.if_blank("errorInfo.traceback", Some(&error.traceback));
        }
        broken.if_true(
            negative(self.ttft),
            "ttft",
            "must be greater than or equal to 0",
        );
        broken.if_longer("environment", self.environment.as_deref(), MAX_ENVIRONMENT);
    }
}

fn check_range(
    broken: &mut Broken<'_>,
    field: &str,
    instant: Option<DateTime<Utc>>,
    column: Column,
) {
    broken.if_true(
        instant.is_some_and(|instant| !column.holds(instant)),
        field,
        column.complaint(),
    );
}

pub(crate) fn check_tags(broken: &mut Broken<'_>, field: &str, tags: &[String]) {
    broken.if_true(
        tags.len() > MAX_TAGS,
        field,
        &format!("Cannot have more than {MAX_TAGS} tags"),
    );
    broken.if_true(
        tags.iter().any(|tag| blank(tag)),
        field,
        "Tag must not be blank",
    );
    let too_long = tags.iter().any(|tag| tag.chars().count() > MAX_TAG);
    broken.if_true(
        too_long,
        field,
        &format!("Tag cannot exceed {MAX_TAG} characters"),
    );
}

fn negative(number: Option<f64>) -> bool {
    number.is_some_and(|number| number < 0.0)
}
