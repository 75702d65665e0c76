//! Feedback scores: read, checked, stored, shown with their trace or span.

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::constraints::{Broken, Errors, Refused};
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::FeedbackScore;
use crate::opik::evaluation::table::Keyed;
use crate::opik::ids;
use crate::opik::json::{Object, Read};
use crate::opik::row::ProjectIndex;
use crate::opik::store::{Store, Stored, rounded};
use crate::opik::wire::{Kind, SpanOwn, TraceOwn};

const BATCH: &str = "com.comet.opik.api.FeedbackScoreBatch";
const ITEM: &str = "com.comet.opik.api.FeedbackScoreItem";
const SINGLE: &str = "com.comet.opik.api.FeedbackScore";
const SOURCES: &[&str] = &["ui", "sdk", "online_scoring"];
/// The column is `Decimal64(9)`: that many digits before and after the point (Opik: `ValidationUtils`).
const MAX_VALUE: &str = "999999999.999999999";
pub(crate) const SCORE_DECIMALS: usize = 9;

/// What can be scored.
pub(crate) trait Scored: Kind {
    /// The word in messages about the ids of scores (Opik: `EntityType`).
    const ENTITY: &'static str;
}

impl Scored for TraceOwn {
    const ENTITY: &'static str = "trace";
}

impl Scored for SpanOwn {
    const ENTITY: &'static str = "span";
}

/// A score and what it is of.
#[derive(Debug)]
pub(crate) struct ScoreRow {
    entity: &'static str,
    id: Uuid,
    project: ProjectIndex,
    score: FeedbackScore,
}

/// Opik's key has the author as well, of whom the sandbox has one; the category is not in it (`FeedbackScoreDAO`).
impl Keyed for ScoreRow {
    type Key = (&'static str, ProjectIndex, Uuid, String);
    type Group = (&'static str, ProjectIndex, Uuid);

    fn key(&self) -> Self::Key {
        (self.entity, self.project, self.id, self.score.name.clone())
    }

    fn group(&self) -> Self::Group {
        (self.entity, self.project, self.id)
    }
}

/// A score as it was sent.
#[derive(Debug)]
struct ScoreWrite {
    id: Option<Uuid>,
    project: Named,
    name: Option<String>,
    category_name: Option<String>,
    value: Option<Number>,
    reason: Option<String>,
    source: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
struct Number {
    value: f64,
    fits: bool,
}

impl Number {
    fn read(object: &Object<'_>) -> Read<Option<Self>> {
        let value = object.number("value")?;
        let fits = object.raw("value").is_some_and(fits);
        Ok(value.map(|value| Self { value, fits }))
    }
}

/// Compares digits: as floats the greatest value and the one after it are the same.
fn fits(raw: &RawValue) -> bool {
    let text = raw.get().trim_start_matches('-');
    let size = text.parse::<f64>().unwrap_or(f64::INFINITY);
    let greatest = || {
        let digits = text.trim_end_matches('0').trim_end_matches('.');
        let whole = digits.split('.').next().unwrap_or_default();
        whole == "999999999" && digits <= MAX_VALUE
    };
    size < 1e9 || (size <= 1e9 && greatest())
}

impl ScoreWrite {
    fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            id: object.uuid("id")?,
            project: Named::read(object)?,
            name: object.string("name")?,
            category_name: object.string("category_name")?,
            value: Number::read(object)?,
            reason: object.string("reason")?,
            source: object.one_of("source", SOURCES, "com.comet.opik.api.ScoreSource")?,
        })
    }

    fn check(&self, broken: &mut Broken<'_>) {
        broken.unless_named("name", self.name.as_deref());
        broken.if_null("value", self.value.as_ref());
        if let Some(number) = self.value.filter(|number| !number.fits) {
            let (bound, sign) = if number.value < 0.0 {
                ("greater", "-")
            } else {
                ("less", "")
            };
            let complaint = format!("must be {bound} than or equal to {sign}{MAX_VALUE}");
            broken.if_true(true, "value", &complaint);
        }
        broken.if_null("source", self.source.as_ref());
    }

    fn check_in_batch(&self, broken: &mut Broken<'_>) {
        broken.if_null("id", self.id.as_ref());
        self.project.check(broken);
        self.check(broken);
    }

    fn batch(body: &[u8]) -> Result<Vec<Self>, Refused> {
        let scores = Object::from_body(body, BATCH)?.batch("scores", ITEM, Self::read)?;
        let mut errors = Errors::default();
        errors.batch("scores", scores.as_deref(), Self::check_in_batch);
        errors.refuse()?;
        Ok(scores.unwrap_or_default())
    }

    fn single(body: &[u8]) -> Result<Self, Refused> {
        let score = Self::read(&Object::from_body(body, SINGLE)?)?;
        let mut errors = Errors::default();
        score.check(&mut errors.top());
        errors.refuse()?;
        Ok(score)
    }

    fn into_score(self, now: DateTime<Utc>) -> FeedbackScore {
        let value = self.value.map(|number| number.value).unwrap_or_default();
        FeedbackScore {
            name: self.name.unwrap_or_default(),
            category_name: stripped(self.category_name),
            value: rounded(value, SCORE_DECIMALS),
            reason: stripped(self.reason),
            source: self.source.unwrap_or_default().to_owned(),
            created_at: now,
            created_by: "admin".to_owned(),
            last_updated_at: now,
            last_updated_by: "admin".to_owned(),
        }
    }
}

/// An empty text reads back as none (Opik: `FeedbackScoreDAO`).
fn stripped(text: Option<String>) -> Option<String> {
    let text = text.map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty())
}

impl Store {
    /// Stores a score in place of the one with its name.
    fn score<T: Scored>(
        &mut self,
        id: Uuid,
        project: ProjectIndex,
        write: ScoreWrite,
        now: DateTime<Utc>,
    ) {
        let mut row = ScoreRow {
            entity: T::ENTITY,
            id,
            project,
            score: write.into_score(now),
        };
        let scores = &mut self.evaluation.scores;
        if let Some(old) = scores.get(&row.key()) {
            row.score.created_at = old.score.created_at;
        }
        scores.put(row);
    }

    /// The scores of a trace or span in its project, in order of arrival.
    pub(crate) fn scores_of<T: Scored>(
        &self,
        project: ProjectIndex,
        id: Uuid,
    ) -> Vec<FeedbackScore> {
        let rows = self.evaluation.scores.of(&(T::ENTITY, project, id));
        rows.map(|row| row.score.clone()).collect()
    }
}

impl Call<'_> {
    /// `PUT /traces/feedback-scores`, `/spans/feedback-scores`: what is scored need not be there.
    pub(crate) fn put_scores<T: Scored>(&self) -> Result<Answer, Answer> {
        let writes = ScoreWrite::batch(self.body)?;
        for id in writes.iter().filter_map(|write| write.id) {
            ids::check_version(id, T::ENTITY).map_err(|details| Answer::invalid_id(&details))?;
        }
        let (mut store, now) = (self.opik.store(), Utc::now());
        let mut scores = Vec::with_capacity(writes.len());
        for write in writes {
            let project = write.project.made(&mut store, self.workspace, now)?;
            let project = project.unwrap_or_else(|| store.project(self.workspace, None, now));
            scores.push((project, write));
        }
        for (project, write) in scores {
            store.score::<T>(write.id.unwrap_or_default(), project, write, now);
        }
        Ok(self.stored(store, StatusCode::NO_CONTENT))
    }

    /// `PUT /traces/{id}/feedback-scores`, `/spans/{id}/feedback-scores`: the project is that of the trace or span.
    pub(crate) fn put_score<T: Scored + Stored>(&self, id: Uuid) -> Result<Answer, Answer> {
        let write = ScoreWrite::single(self.body)?;
        ids::check_version(id, T::ENTITY).map_err(|details| Answer::invalid_id(&details))?;
        let mut store = self.opik.store();
        let project = store.project_of::<T>(self.workspace, id);
        let project = project.ok_or_else(|| Self::not_found::<T>(id))?;
        store.score::<T>(id, project, write, Utc::now());
        Ok(self.stored(store, StatusCode::NO_CONTENT))
    }

    /// `POST /traces/{id}/feedback-scores/delete` and the same of spans.
    pub(crate) fn delete_score<T: Scored + Stored>(&self, id: Uuid) -> Result<Answer, Answer> {
        let object = Object::from_body(self.body, "com.comet.opik.api.DeleteFeedbackScore")
            .map_err(Refused::from)?;
        let name = object.string("name").map_err(Refused::from)?;
        let mut errors = Errors::default();
        errors.top().unless_named("name", name.as_deref());
        errors.refuse()?;
        let mut store = self.opik.store();
        if let Some(project) = store.project_of::<T>(self.workspace, id) {
            let key = (T::ENTITY, project, id, name.unwrap_or_default());
            store.evaluation.scores.remove(&key);
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_nine_digits_on_each_side() {
        let fits = |text: &str| fits(&RawValue::from_string(text.to_owned()).unwrap());
        for text in [
            "0",
            "-1e8",
            "999999999.999999999",
            "-999999999.9999999990",
            "999999999",
        ] {
            assert!(fits(text), "{text}");
        }
        for text in [
            "1e9",
            "1000000000",
            "999999999.9999999991",
            "-1000000000.0",
            "1e300",
        ] {
            assert!(!fits(text), "{text}");
        }
    }
}
