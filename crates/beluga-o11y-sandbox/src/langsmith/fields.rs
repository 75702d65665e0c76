//! What a request says of a run: the fields, their types, and which of them must be there.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::answers::Refusal;

/// What the server says of a value of the wrong type where null would do as well (quoted in BerriAI/litellm issue
/// 14996 and vercel/ai issue 4843).
const WRONG_TYPE: &str = "Must validate one and only one schema (oneOf)";
const RUN_TYPES: [&str; 7] = [
    "tool",
    "chain",
    "llm",
    "retriever",
    "embedding",
    "prompt",
    "parser",
];

/// All that is known of a run's fields here. What is not given, or null, is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) id: Option<Uuid>,
    pub(crate) trace_id: Option<Uuid>,
    pub(crate) parent_run_id: Option<Uuid>,
    pub(crate) dotted_order: Option<String>,
    pub(crate) session_id: Option<Uuid>,
    pub(crate) session_name: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) run_type: Option<String>,
    pub(crate) start_time: Option<DateTime<Utc>>,
    pub(crate) end_time: Option<DateTime<Utc>>,
    pub(crate) inputs: Option<Map<String, Value>>,
    pub(crate) outputs: Option<Map<String, Value>>,
    pub(crate) error: Option<String>,
    pub(crate) events: Option<Vec<Value>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) extra: Option<Map<String, Value>>,
}

impl Fields {
    /// Reads a run; `place` is where it stands in a batch, `post.0`.
    pub(crate) fn read(run: &Value, place: Option<&str>) -> Result<Self, Refusal> {
        let Value::Object(run) = run else {
            return Err(Refusal::Body(format!(
                "{}: Invalid type. Expected: object",
                place.unwrap_or("(root)")
            )));
        };
        let reader = Reader { run, place };
        Ok(Self {
            id: reader.id("id")?,
            trace_id: reader.id("trace_id")?,
            parent_run_id: reader.id("parent_run_id")?,
            dotted_order: reader.text("dotted_order")?,
            session_id: reader.id("session_id")?,
            session_name: reader.text("session_name")?,
            name: reader.text("name")?,
            run_type: reader.run_type()?,
            start_time: reader.time("start_time")?,
            end_time: reader.time("end_time")?,
            inputs: reader.object("inputs")?,
            outputs: reader.object("outputs")?,
            error: reader.text("error")?,
            events: reader.events()?,
            tags: reader.tags()?,
            extra: reader.extra()?,
        })
    }

    /// Refuses a run without one of these.
    pub(crate) fn require(
        &self,
        place: Option<&str>,
        required: &[&'static str],
    ) -> Result<(), Refusal> {
        let has = |field: &str| match field {
            "id" => self.id.is_some(),
            "trace_id" => self.trace_id.is_some(),
            "dotted_order" => self.dotted_order.is_some(),
            "name" => self.name.as_ref().is_some_and(|name| !name.is_empty()),
            "run_type" => self.run_type.is_some(),
            "start_time" => self.start_time.is_some(),
            _ => true,
        };
        match required.iter().find(|field| !has(field)) {
            None => Ok(()),
            Some(field) => Err(Refusal::Schema {
                place: place.map(str::to_owned),
                field,
                problem: format!("{field} is required"),
            }),
        }
    }

    /// Takes over what a later write says. Objects in `extra` are merged by their keys.
    pub(crate) fn update(&mut self, later: Self) {
        fn take<T>(field: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *field = later;
            }
        }
        take(&mut self.name, later.name);
        take(&mut self.run_type, later.run_type);
        take(&mut self.start_time, later.start_time);
        take(&mut self.end_time, later.end_time);
        take(&mut self.inputs, later.inputs);
        take(&mut self.outputs, later.outputs);
        take(&mut self.error, later.error);
        take(&mut self.events, later.events);
        take(&mut self.tags, later.tags);
        for (key, value) in later.extra.unwrap_or_default() {
            let extra = self.extra.get_or_insert_default();
            match (extra.get_mut(&key), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (_, value) => {
                    extra.insert(key, value);
                }
            }
        }
    }
}

struct Reader<'a> {
    run: &'a Map<String, Value>,
    place: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.run.get(field).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &'static str, problem: &str) -> Refusal {
        Refusal::Schema {
            place: self.place.map(str::to_owned),
            field,
            problem: problem.to_owned(),
        }
    }

    /// A field of one type, or of none.
    fn typed<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(field, WRONG_TYPE)),
            },
        }
    }

    fn text(&self, field: &'static str) -> Result<Option<String>, Refusal> {
        self.typed(field, |value| value.as_str().map(str::to_owned))
    }

    fn id(&self, field: &'static str) -> Result<Option<Uuid>, Refusal> {
        // Only the form with dashes: 36 characters are what `dotted_order` is cut by.
        self.typed(field, |value| {
            let text = value.as_str().filter(|text| text.len() == 36)?;
            text.parse().ok()
        })
    }

    fn object(&self, field: &'static str) -> Result<Option<Map<String, Value>>, Refusal> {
        self.typed(field, |value| value.as_object().cloned())
    }

    /// Without an offset it is in UTC, as the Python client's documentation writes it.
    fn time(&self, field: &'static str) -> Result<Option<DateTime<Utc>>, Refusal> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let time = value.as_str().and_then(|text| {
            let with_offset = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
            let without = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
            with_offset
                .or_else(|_| without().map(|time| time.and_utc()))
                .ok()
        });
        time.map(Some).ok_or(Refusal::NotIso8601(field))
    }

    fn run_type(&self) -> Result<Option<String>, Refusal> {
        let run_type = self.text("run_type")?;
        match run_type.as_deref() {
            Some(other) if !RUN_TYPES.contains(&other) => Err(self.wrong(
                "run_type",
                &format!(
                    "run_type must be one of the following: {}",
                    RUN_TYPES.join(", ")
                ),
            )),
            _ => Ok(run_type),
        }
    }

    fn events(&self) -> Result<Option<Vec<Value>>, Refusal> {
        self.typed("events", |value| {
            let events = value.as_array()?;
            events.iter().all(Value::is_object).then(|| events.clone())
        })
    }

    fn tags(&self) -> Result<Option<Vec<String>>, Refusal> {
        self.typed("tags", |value| {
            let tags = value.as_array()?.iter();
            tags.map(|tag| tag.as_str().map(str::to_owned)).collect()
        })
    }

    fn extra(&self) -> Result<Option<Map<String, Value>>, Refusal> {
        let extra = self.object("extra")?;
        let metadata = extra.as_ref().and_then(|extra| extra.get("metadata"));
        match metadata {
            None | Some(Value::Null | Value::Object(_)) => Ok(extra),
            Some(_) => Err(self.wrong("extra.metadata", WRONG_TYPE)),
        }
    }
}
