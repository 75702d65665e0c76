//! The record of one finished LLM call.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::{CallError, Json, JsonError, Usage};

/// One finished LLM call: who was asked what, what came of it, how long it took and what it cost.
///
/// Make one with [`new`](Self::new) when the call has ended, or let a
/// [`CallGuard`](crate::CallGuard) measure and make it. It is made once and does not change on its
/// way: every backend and every retry derive their ids from [`id`](Self::id), so that a call sent
/// again is the same call. A clone is the same call too; make a new record for each call.
///
/// What is unknown is absent, never 0 or an empty string. Token counts follow one rule for all
/// providers: input includes what was read from or written to a cache, output includes reasoning.
/// [`Usage`] makes them from the answer of each provider.
///
/// Its JSON form (serde) is public and stable: the names of the fields, with `start_time` in RFC 3339
/// and UTC, `duration_ms` and `time_to_first_token_ms` as numbers, and `error` as a string or an object.
/// Missing fields are fine, unknown ones are ignored. A call that [`validate`](Self::validate) refuses is not
/// written: without what is wrong with it, it would be read back as a call with nothing wrong.
///
/// ```
/// use beluga_o11y::LLMCallData;
/// use serde_json::json;
/// use std::time::Duration;
///
/// let call = LLMCallData::new("openai", "gpt-4o")
///     .with_messages(json!([{"role": "user", "content": "What is the capital of France?"}]))
///     .with_response("The capital of France is Paris.")
///     .with_tokens(500, 150)
///     .with_duration(Duration::from_millis(1200))
///     .with_cost(0.003)
///     .with_metadata("experiment", "baseline-v2");
///
/// assert_eq!(call.display_name(), "openai/gpt-4o");
/// assert_eq!(call.usage.total_tokens(), Some(650));
/// assert_eq!(call.end_time() - call.start_time(), chrono::TimeDelta::milliseconds(1200));
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct LLMCallData {
    /// Who served the model, in lower case: `openai`, `anthropic`, `bedrock`. Empty if unknown.
    pub provider: String,
    /// The model's name as the provider has it: `gpt-4o`, `claude-sonnet-4-5`. Empty if unknown.
    pub model: String,
    /// A name for this kind of call, instead of `provider/model`.
    pub name: Option<String>,
    /// What was sent: the message history, or any other JSON.
    pub messages: Option<Json>,
    /// What the model answered: text, or any other JSON.
    pub response: Option<Json>,
    /// The parameters of the request: temperature, top_p, tools.
    pub model_parameters: Option<Json>,
    /// How long the call took, from request to the last byte of the answer.
    pub duration: Option<Duration>,
    /// How long it took until the first token of the answer.
    pub time_to_first_token: Option<Duration>,
    /// The token counts.
    pub usage: Usage,
    /// What the call cost, in USD. Leave it out if you do not know: most backends price calls
    /// themselves.
    pub cost: Option<f64>,
    /// Why the call failed; absent if it did not.
    pub error: Option<CallError>,
    /// The session, thread or conversation that the call belongs to.
    pub session_id: Option<String>,
    /// The user on whose behalf the call was made.
    pub user_id: Option<String>,
    /// Labels to filter by.
    pub tags: Vec<String>,
    /// Where the program runs: `production`, `staging`.
    pub environment: Option<String>,
    /// The version of the program.
    pub release: Option<String>,
    /// The caller's own trace id, if the call is part of a trace kept elsewhere.
    pub trace_id: Option<String>,
    /// The caller's own span id that the call happened in.
    pub parent_span_id: Option<String>,
    /// Anything else, by name.
    pub metadata: BTreeMap<String, Json>,

    id: Option<Uuid>,
    start_time: Option<DateTime<Utc>>,
    created: DateTime<Utc>,
    // The random part of the id, for as long as no id is given.
    entropy: Uuid,
}

impl LLMCallData {
    /// A call that ends now: its start is this moment less the [`duration`](Self::duration), unless
    /// [`with_start_time`](Self::with_start_time) says otherwise.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            name: None,
            messages: None,
            response: None,
            model_parameters: None,
            duration: None,
            time_to_first_token: None,
            usage: Usage::default(),
            cost: None,
            error: None,
            session_id: None,
            user_id: None,
            tags: Vec::new(),
            environment: None,
            release: None,
            trace_id: None,
            parent_span_id: None,
            metadata: BTreeMap::new(),
            id: None,
            start_time: None,
            created: now(),
            entropy: Uuid::new_v4(),
        }
    }

    /// The id of the call. Unless one was given with [`with_id`](Self::with_id), it is a UUIDv7
    /// whose time part is the [start](Self::start_time), in milliseconds: ask for it when start or
    /// duration are set, since it follows them.
    pub fn id(&self) -> Uuid {
        self.id.unwrap_or_else(|| {
            let millis = u64::try_from(self.start_time().timestamp_millis()).unwrap_or(0);
            let [_, _, _, _, _, _, random @ ..] = self.entropy.into_bytes();
            uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
        })
    }

    /// Whether the id was given, with [`with_id`](Self::with_id) or in JSON, and is not made of the start and chance.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the start was given, with [`with_start_time`](Self::with_start_time) or in JSON, and is not the moment of
    /// [`new`](Self::new) less the duration.
    pub fn has_start_time(&self) -> bool {
        self.start_time.is_some()
    }

    /// When the call started. A duration that reaches back beyond the calendar gives the calendar's
    /// first moment.
    pub fn start_time(&self) -> DateTime<Utc> {
        self.start_time.unwrap_or_else(|| {
            self.duration
                .map_or(Some(TimeDelta::zero()), |d| TimeDelta::from_std(d).ok())
                .and_then(|duration| self.created.checked_sub_signed(duration))
                .unwrap_or(DateTime::<Utc>::MIN_UTC)
        })
    }

    /// When the call ended: the start plus the duration; the start itself if that is unknown.
    pub fn end_time(&self) -> DateTime<Utc> {
        let duration = self.duration.unwrap_or_default();
        TimeDelta::from_std(duration)
            .ok()
            .and_then(|duration| self.start_time().checked_add_signed(duration))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The name that a person sees: the [`name`](Self::name) if given and not blank, else
    /// `provider/model`, or the one of them that is known, or `llm`.
    pub fn display_name(&self) -> Cow<'_, str> {
        let name = self.name.as_deref().filter(|name| !name.trim().is_empty());
        match (name, self.provider.trim(), self.model.trim()) {
            (Some(name), _, _) => name.into(),
            (None, "", "") => "llm".into(),
            (None, "", known) | (None, known, "") => known.into(),
            (None, provider, model) => format!("{provider}/{model}").into(),
        }
    }

    /// What no backend can take: content that could not be kept, a cost that is no amount of money.
    /// Every exporter asks this before it sends; backends add their own limits.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, by field.
    pub fn validate(&self) -> Result<(), InvalidCall> {
        let content = [
            ("messages", &self.messages),
            ("response", &self.response),
            ("model_parameters", &self.model_parameters),
        ];
        let content = content
            .into_iter()
            .filter_map(|(field, json)| Some((field, json.as_ref()?)));
        let metadata = self.metadata.values().map(|json| ("metadata", json));
        for (field, json) in content.chain(metadata) {
            if let Some(error) = json.error() {
                return Err(InvalidCall::Content { field, error });
            }
        }
        match self.cost {
            Some(cost) if !cost.is_finite() => Err(InvalidCall::CostNotFinite),
            Some(cost) if cost < 0.0 => Err(InvalidCall::CostNegative(cost)),
            _ => Ok(()),
        }
    }

    /// Sets the id. A UUIDv7 is best: backends sort by it, and Opik takes no other.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the start. The default is the moment of [`new`](Self::new) less the duration.
    #[must_use]
    pub fn with_start_time(mut self, start: DateTime<Utc>) -> Self {
        self.start_time = Some(start);
        self
    }

    /// Sets the [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the [`messages`](Self::messages) from anything that serialises. Content that cannot be
    /// kept is reported when the call is exported.
    #[must_use]
    pub fn with_messages(mut self, messages: impl Serialize) -> Self {
        self.messages = Some(Json::new(&messages));
        self
    }

    /// Sets the [`response`](Self::response) from anything that serialises.
    #[must_use]
    pub fn with_response(mut self, response: impl Serialize) -> Self {
        self.response = Some(Json::new(&response));
        self
    }

    /// Sets the [`model_parameters`](Self::model_parameters) from anything that serialises.
    #[must_use]
    pub fn with_model_parameters(mut self, parameters: impl Serialize) -> Self {
        self.model_parameters = Some(Json::new(&parameters));
        self
    }

    /// Sets the [`duration`](Self::duration).
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Sets the [`time_to_first_token`](Self::time_to_first_token).
    #[must_use]
    pub fn with_time_to_first_token(mut self, time: Duration) -> Self {
        self.time_to_first_token = Some(time);
        self
    }

    /// Sets the tokens read (including cached ones) and written (including reasoning).
    #[must_use]
    pub fn with_tokens(mut self, input: u64, output: u64) -> Self {
        self.usage.input_tokens = Some(input);
        self.usage.output_tokens = Some(output);
        self
    }

    /// Sets all token counts; those that `usage` does not know become absent.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets the [`cost`](Self::cost) in USD.
    #[must_use]
    pub fn with_cost(mut self, usd: f64) -> Self {
        self.cost = Some(usd);
        self
    }

    /// Sets the [`error`](Self::error); an empty one means that there was none.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<CallError>) -> Self {
        self.error = Some(error.into()).filter(|error| !error.is_empty());
        self
    }

    /// Sets the [`session_id`](Self::session_id).
    #[must_use]
    pub fn with_session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Sets the [`user_id`](Self::user_id).
    #[must_use]
    pub fn with_user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Adds one of the [`tags`](Self::tags).
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets the [`environment`](Self::environment).
    #[must_use]
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = Some(environment.into());
        self
    }

    /// Sets the [`release`](Self::release).
    #[must_use]
    pub fn with_release(mut self, release: impl Into<String>) -> Self {
        self.release = Some(release.into());
        self
    }

    /// Sets the caller's own [`trace_id`](Self::trace_id).
    #[must_use]
    pub fn with_trace_id(mut self, id: impl Into<String>) -> Self {
        self.trace_id = Some(id.into());
        self
    }

    /// Sets the caller's own [`parent_span_id`](Self::parent_span_id).
    #[must_use]
    pub fn with_parent_span_id(mut self, id: impl Into<String>) -> Self {
        self.parent_span_id = Some(id.into());
        self
    }

    /// Sets one entry of the [`metadata`](Self::metadata).
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.metadata.insert(key.into(), Json::new(&value));
        self
    }
}

/// The clock. (`Utc::now()` would panic on a machine whose clock stands before 1970.)
pub(crate) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Shows ids, counts and sizes, never content.
impl fmt::Debug for LLMCallData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LLMCallData")
            .field("id", &self.id())
            .field("provider", &self.provider)
            .field("model", &self.model)
            .field("start_time", &self.start_time())
            .field("duration", &self.duration)
            .field("messages", &self.messages)
            .field("response", &self.response)
            .field("usage", &self.usage)
            .field("cost", &self.cost)
            .field("error", &self.error)
            .field("tags", &self.tags.len())
            .field("metadata", &self.metadata.len())
            .finish_non_exhaustive()
    }
}

/// What is wrong with a call that no backend can take. It never quotes content.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCall {
    /// Content could not be kept as JSON.
    #[error("{field}: {error}")]
    Content {
        /// The field of the record.
        field: &'static str,
        /// Why.
        error: JsonError,
    },
    /// The cost is NaN or infinite.
    #[error("cost: not a finite number; leave it out if it is unknown")]
    CostNotFinite,
    /// The cost is below zero.
    #[error("cost: {0} USD is negative; leave it out if it is unknown")]
    CostNegative(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_now_less_the_duration_and_gives_the_id_its_time() {
        let before = Utc::now();
        let call = LLMCallData::new("openai", "gpt-4o").with_duration(Duration::from_secs(60));
        let age = (before - call.start_time()).num_milliseconds();
        assert!((58_000..=60_000).contains(&age), "{age}");
        let id = call.id();
        assert_eq!(id.get_version_num(), 7);
        let (secs, nanos) = id.get_timestamp().unwrap().to_unix();
        let millis = secs * 1000 + u64::from(nanos) / 1_000_000;
        assert_eq!(
            i64::try_from(millis).unwrap(),
            call.start_time().timestamp_millis()
        );
        assert_eq!(id, call.clone().id());
        assert_ne!(id, LLMCallData::new("openai", "gpt-4o").id());
    }

    #[test]
    fn what_is_given_stays() {
        let id = Uuid::new_v4();
        let start = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let call = LLMCallData::new("", "m").with_id(id).with_start_time(start);
        assert_eq!((call.id(), call.start_time()), (id, start));
        assert_eq!(call.end_time(), start);
    }

    #[test]
    fn absurd_times_do_not_panic() {
        let call = LLMCallData::new("a", "b").with_duration(Duration::MAX);
        assert_eq!(call.start_time(), DateTime::<Utc>::MIN_UTC);
        assert_eq!(call.end_time(), DateTime::<Utc>::MAX_UTC);
        assert_eq!(call.id().get_version_num(), 7);
        let late = LLMCallData::new("a", "b").with_start_time(DateTime::<Utc>::MAX_UTC);
        assert_eq!(late.id().get_version_num(), 7);
    }

    #[test]
    fn names() {
        let name = |provider: &str, model: &str| {
            LLMCallData::new(provider, model)
                .display_name()
                .into_owned()
        };
        assert_eq!(name("openai", "gpt-4o"), "openai/gpt-4o");
        assert_eq!(name("", "gpt-4o"), "gpt-4o");
        assert_eq!(name("openai", ""), "openai");
        assert_eq!(name("", ""), "llm");
        let named = LLMCallData::new("openai", "gpt-4o").with_name("judge");
        assert_eq!(named.display_name(), "judge");
        assert_eq!(named.with_name(" ").display_name(), "openai/gpt-4o");
        assert_eq!(name(" ", "\t"), "llm");
    }

    #[test]
    fn validate_names_the_field() {
        let fails = |call: LLMCallData| call.validate().unwrap_err().to_string();
        let new = || LLMCallData::new("a", "b");
        let deep = (0..200).fold(serde_json::json!(1), |v, _| {
            serde_json::Value::Array(vec![v])
        });
        assert!(fails(new().with_messages(&deep)).starts_with("messages: JSON is more than 100"));
        assert!(fails(new().with_response(&deep)).starts_with("response: "));
        assert!(fails(new().with_model_parameters(&deep)).starts_with("model_parameters: "));
        assert!(fails(new().with_metadata("secret", &deep)).starts_with("metadata: "));
        assert!(fails(new().with_cost(f64::NAN)).starts_with("cost: not a finite"));
        assert!(fails(new().with_cost(f64::INFINITY)).starts_with("cost: not a finite"));
        assert!(fails(new().with_cost(-0.5)).starts_with("cost: -0.5 USD is negative"));
        assert_eq!(new().with_cost(0.0).validate(), Ok(()));
    }

    #[test]
    fn an_empty_error_is_none() {
        assert_eq!(LLMCallData::new("a", "b").with_error("").error, None);
    }

    #[test]
    fn debug_shows_no_content() {
        let call = LLMCallData::new("a", "b")
            .with_messages("SECRET")
            .with_response("SECRET")
            .with_error(
                CallError::new("SECRET")
                    .with_kind("SECRET")
                    .with_trace("SECRET"),
            )
            .with_session_id("SECRET")
            .with_user_id("SECRET")
            .with_tag("SECRET")
            .with_metadata("SECRET", "SECRET")
            .with_model_parameters("SECRET");
        assert!(!format!("{call:?} {call:#?}").contains("SECRET"));
    }
}
