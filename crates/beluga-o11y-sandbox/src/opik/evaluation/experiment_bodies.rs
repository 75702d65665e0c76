//! What clients send about experiments, its constraints held.

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::opik::constraints::{Errors, MAX_DATASET_TEXT, Refused};
use crate::opik::evaluation::project::Named;
use crate::opik::evaluation::record::Experiment;
use crate::opik::json::{Object, Read};
use crate::opik::row::replace;
use crate::opik::search::{DEFAULT_LIMIT, Limit};
use crate::opik::wire::check_tags;
use crate::text::to_value;

const EXPERIMENT: &str = "com.comet.opik.api.Experiment";
const TYPES: &[&str] = &["regular", "trial", "mini-batch", "mutation"];
const METHODS: &[&str] = &["dataset", "evaluation_suite"];
const STATUSES: &[&str] = &["running", "completed", "cancelled", "failed"];

/// The fields that a create and an update share.
#[derive(Debug)]
pub(crate) struct Fields {
    name: Option<String>,
    metadata: Option<Box<RawValue>>,
    tags: Option<Vec<String>>,
    experiment_type: Option<&'static str>,
    status: Option<&'static str>,
    scores: Option<Vec<(Option<String>, Option<f64>)>>,
}

impl Fields {
    fn read(object: &Object<'_>) -> Read<Self> {
        let score = |score: &Object<'_>| Ok((score.string("name")?, score.number("value")?));
        Ok(Self {
            name: object.string("name")?,
            metadata: object.any("metadata"),
            tags: object.strings("tags")?,
            experiment_type: object.one_of("type", TYPES, "com.comet.opik.api.ExperimentType")?,
            status: object.one_of("status", STATUSES, "com.comet.opik.api.ExperimentStatus")?,
            scores: object.batch(
                "experiment_scores",
                "com.comet.opik.api.ExperimentScore",
                score,
            )?,
        })
    }

    fn check(&self, errors: &mut Errors) {
        check_tags(
            &mut errors.top(),
            "tags",
            self.tags.as_deref().unwrap_or_default(),
        );
        for (index, (name, value)) in self.scores.iter().flatten().enumerate() {
            let mut broken = errors.at(format!("experimentScores[{index}]."));
            broken.unless_named("name", name.as_deref());
            broken.if_null("value", value.as_ref());
        }
    }

    /// Sets what is there.
    pub(crate) fn set(self, experiment: &mut Experiment) {
        if let Some(name) = self.name {
            experiment.name = name;
        }
        if let Some(tags) = self.tags {
            experiment.tags = tags;
        }
        if let Some(own) = self.experiment_type {
            own.clone_into(&mut experiment.experiment_type);
        }
        replace(
            &mut experiment.metadata,
            self.metadata.map(|raw| to_value(raw.get())),
        );
        replace(&mut experiment.status, self.status.map(str::to_owned));
        if let Some(scores) = self.scores {
            let named = scores
                .into_iter()
                .filter_map(|(name, value)| name.zip(value));
            experiment.experiment_scores = named.collect();
        }
    }
}

/// What a create says, its constraints held.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) id: Option<Uuid>,
    pub(crate) dataset_name: String,
    pub(crate) project: Named,
    pub(crate) fields: Fields,
    pub(crate) method: &'static str,
    pub(crate) optimization_id: Option<Uuid>,
    pub(crate) dataset_version_id: Option<Uuid>,
    pub(crate) prompt_versions: Option<Box<RawValue>>,
}

impl Create {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, EXPERIMENT)?;
        let dataset = object.string("dataset_name")?;
        let method = "com.comet.opik.api.EvaluationMethod";
        let create = Self {
            id: object.uuid("id")?,
            dataset_name: dataset.clone().unwrap_or_default(),
            project: Named::read(&object)?,
            fields: Fields::read(&object)?,
            method: object
                .one_of("evaluation_method", METHODS, method)?
                .unwrap_or("dataset"),
            optimization_id: object.uuid("optimization_id")?,
            dataset_version_id: object.uuid("dataset_version_id")?,
            prompt_versions: object.any("prompt_versions"),
        };
        let mut errors = Errors::default();
        let mut broken = errors.top();
        broken.unless_named("datasetName", dataset.as_deref());
        broken.if_longer("datasetName", dataset.as_deref(), MAX_DATASET_TEXT);
        create.project.check(&mut broken);
        create.fields.check(&mut errors);
        errors.refuse()?;
        Ok(create)
    }
}

/// A change, its constraints held.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) fields: Fields,
    pub(crate) tags_to_add: Vec<String>,
    pub(crate) tags_to_remove: Vec<String>,
}

impl Update {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let object = Object::from_body(body, "com.comet.opik.api.ExperimentUpdate")?;
        let update = Self {
            fields: Fields::read(&object)?,
            tags_to_add: object.strings("tags_to_add")?.unwrap_or_default(),
            tags_to_remove: object.strings("tags_to_remove")?.unwrap_or_default(),
        };
        let mut errors = Errors::default();
        errors.top().if_blank("name", update.fields.name.as_deref());
        update.fields.check(&mut errors);
        check_tags(&mut errors.top(), "tagsToAdd", &update.tags_to_add);
        check_tags(&mut errors.top(), "tagsToRemove", &update.tags_to_remove);
        errors.refuse()?;
        Ok(update)
    }
}

/// What to stream, its constraints held: of experiments, or of their items.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) project: Named,
    pub(crate) last: Option<Uuid>,
    pub(crate) limit: Limit,
    pub(crate) truncate: bool,
}

impl Stream {
    /// `field` has the experiment's name.
    pub(crate) fn read(body: &[u8], field: &str) -> Result<Self, Refused> {
        let object = Object::from_body(body, "com.comet.opik.api.ExperimentStreamRequest")?;
        let name = object.string(field)?;
        let stream = Self {
            name: name.clone().unwrap_or_default(),
            project: Named::read(&object)?,
            last: object.uuid("last_retrieved_id")?,
            limit: Limit::read(&object, "limit", DEFAULT_LIMIT)?,
            truncate: object.boolean("truncate")?.unwrap_or_default(),
        };
        let path = if field == "name" {
            "name"
        } else {
            "experimentName"
        };
        let mut errors = Errors::default();
        let mut broken = errors.top();
        broken.unless_named(path, name.as_deref());
        stream.limit.check(&mut broken, "limit");
        stream.project.check(&mut broken);
        errors.refuse()?;
        Ok(stream)
    }
}
