//! What clients send: traces, spans and their updates, read by type and then held against the constraints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

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
/// Elements that a batch may have (Opik: `TraceBatch`, `SpanBatch`).
const MAX_BATCH: usize = 1000;
/// Characters of a project's name; the column is VARCHAR(150).
const MAX_PROJECT_NAME: usize = 150;
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
        broken.if_true(self.trace_id.is_none(), "traceId", "must not be null");
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

/// Constraint violations, each with its path in camelCase, as Jakarta Validation reports them.
#[derive(Debug)]
pub(crate) struct Broken<'a> {
    errors: &'a mut Vec<String>,
    /// `traces[0].`, or nothing.
    path: String,
}

impl Broken<'_> {
    fn if_true(&mut self, broken: bool, field: &str, complaint: &str) {
        if broken {
            self.errors
                .push(format!("{}{field} {complaint}", self.path));
        }
    }
}

/// Why a body is refused before its ids are looked at.
#[derive(Debug)]
pub(crate) enum Refused {
    /// 400
    Unreadable(String),
    /// 422
    Broken(Vec<String>),
}

impl From<crate::opik::json::Unreadable> for Refused {
    fn from(unreadable: crate::opik::json::Unreadable) -> Self {
        Self::Unreadable(unreadable.0)
    }
}

impl<T: Kind> Write<T> {
    /// Reads and checks `{"traces":[...]}` or `{"spans":[...]}`: first every type, then every constraint.
    pub(crate) fn batch(body: &[u8]) -> Result<Vec<Self>, Refused> {
        let object = Object::from_body(body, &format!("{}Batch", T::JAVA))?;
        let Some(elements) = object.objects(T::BATCH, T::JAVA)? else {
            return Err(Refused::Broken(vec![format!(
                "{} must not be null",
                T::BATCH
            )]));
        };
        let writes = elements.iter().map(Self::read).collect::<Read<Vec<_>>>()?;
        let mut errors = Vec::new();
        if writes.is_empty() || writes.len() > MAX_BATCH {
            errors.push(format!(
                "{} size must be between 1 and {MAX_BATCH}",
                T::BATCH
            ));
        }
        for (index, write) in writes.iter().enumerate() {
            write.check(&mut Broken {
                errors: &mut errors,
                path: format!("{}[{index}].", T::BATCH),
            });
        }
        if errors.is_empty() {
            Ok(writes)
        } else {
            Err(Refused::Broken(errors))
        }
    }

    /// Reads and checks the body of a single create.
    pub(crate) fn single(body: &[u8]) -> Result<Self, Refused> {
        let write = Self::read(&Object::from_body(body, T::JAVA)?)?;
        let mut errors = Vec::new();
        write.check(&mut Broken {
            errors: &mut errors,
            path: String::new(),
        });
        if errors.is_empty() {
            Ok(write)
        } else {
            Err(Refused::Broken(errors))
        }
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
        broken.if_true(
            self.common.start_time.is_none(),
            "startTime",
            "must not be null",
        );
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
        let mut errors = Vec::new();
        let mut broken = Broken {
            errors: &mut errors,
            path: String::new(),
        };
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
        if errors.is_empty() {
            Ok(update)
        } else {
            Err(Refused::Broken(errors))
        }
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
        if let Some(name) = self.project_name.as_deref().map(str::trim) {
            broken.if_true(name.is_empty(), "projectName", "must not be blank");
            let too_long = name.chars().count() > MAX_PROJECT_NAME;
            broken.if_true(
                too_long,
                "projectName",
                &format!("size must be between 0 and {MAX_PROJECT_NAME}"),
            );
        }
        check_range(broken, "startTime", self.start_time, Column::Nanoseconds);
        check_range(broken, "endTime", self.end_time, Column::Nanoseconds);
        if let Some(error) = &self.error_info {
            // The backend does not look into a trace's error, but then its official reader cannot read the trace.
            broken.if_true(
                blank(&error.exception_type),
                "errorInfo.exceptionType",
                "must not be blank",
            );
            broken.if_true(
                blank(&error.traceback),
                "errorInfo.traceback",
                "must not be blank",
            );
        }
        broken.if_true(
            negative(self.ttft),
            "ttft",
            "must be greater than or equal to 0",
        );
        let environment = self
            .environment
            .as_deref()
            .unwrap_or_default()
            .chars()
            .count();
        let complaint = format!("size must be between 0 and {MAX_ENVIRONMENT}");
        broken.if_true(environment > MAX_ENVIRONMENT, "environment", &complaint);
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

fn check_tags(broken: &mut Broken<'_>, field: &str, tags: &[String]) {
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

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn negative(number: Option<f64>) -> bool {
    number.is_some_and(|number| number < 0.0)
}
