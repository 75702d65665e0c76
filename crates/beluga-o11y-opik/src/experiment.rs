//! Experiments: what a program makes of the items of a dataset.

mod results;
mod run;
mod summary;
mod task;

use std::{collections::BTreeMap, fmt};

use beluga_o11y::Json;
use beluga_o11y_http::HttpRequest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    NAME, OpikDataset, OpikError, OpikExporter, WriteReport,
    ask::{checked_name, elements::Elements, json_post, pages::Page},
    id,
    score::check_id,
};

pub use run::{ExperimentProgress, ExperimentRunner};
pub use summary::{ExperimentSummary, ScoreSummary, TaskFailure, TaskProblem};
pub use task::{TaskError, TaskOutput};

pub(crate) const OPERATION: &str = "experiment";
/// The most experiments that Opik streams at once (`ExperimentStreamRequest.java`).
const EXPERIMENTS_PAGE: usize = 2_000;

/// An experiment that is to be created.
///
/// ```
/// use beluga_o11y_opik::NewExperiment;
///
/// let terse = NewExperiment::new("terse").with_metadata("prompt", "Answer in one word.").with_metadata("temperature", 0);
/// ```
#[derive(Clone, Debug)]
pub struct NewExperiment {
    name: String,
    metadata: BTreeMap<String, Json>,
}

impl NewExperiment {
    /// An experiment of this name. Opik takes several of one name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            metadata: BTreeMap::new(),
        }
    }

    /// Adds what the experiment tries out, such as the model or the prompt, from anything that serialises.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.metadata.insert(key.into(), Json::new(&value));
        self
    }
}

impl From<&str> for NewExperiment {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for NewExperiment {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// An experiment of Opik: a program that was run on the items of a dataset, its traces linked to the items, and
/// scored.
///
/// Cheap to clone. Run it with [`run`](Self::run), or with [`runner`](Self::runner) if something is to be set.
#[derive(Clone)]
pub struct OpikExperiment {
    dataset: OpikDataset,
    id: Uuid,
    name: String,
}

impl OpikDataset {
    /// Creates an experiment on this dataset.
    ///
    /// # Errors
    ///
    /// The name is blank, a value of the metadata cannot be kept as JSON, the dataset has been deleted meanwhile
    /// ([`OpikError::DatasetNotFound`]), or Opik is not to be reached or refuses.
    pub async fn create_experiment(
        &self,
        experiment: impl Into<NewExperiment>,
    ) -> Result<OpikExperiment, OpikError> {
        #[derive(Serialize)]
        struct Body<'a> {
            id: Uuid,
            dataset_name: &'a str,
            project_name: &'a str,
            name: &'a str,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            metadata: &'a BTreeMap<String, Json>,
            r#type: &'static str,
            evaluation_method: &'static str,
        }
        let NewExperiment { name, metadata } = experiment.into();
        let name = checked_name(OPERATION, &name)?;
        if let Some(error) = metadata.values().find_map(Json::error) {
            return Err(OpikError::ExperimentMetadata(error));
        }
        self.check_existence().await?;
        let id = Uuid::now_v7();
        let body = Body {
            id,
            dataset_name: self.name(),
            project_name: self.opik().project(),
            name,
            metadata: &metadata,
            r#type: "regular",
            evaluation_method: "dataset",
        };
        // Opik says 201 of an id that it knows; older ones say 409 `Already exists ..`, which is no error either.
        let request = json_post("v1/private/experiments", &body);
        self.opik().ask(OPERATION, request, &[]).await?;
        Ok(OpikExperiment {
            dataset: self.clone(),
            id,
            name: name.to_owned(),
        })
    }

    /// The newest experiment of this name on this dataset.
    ///
    /// # Errors
    ///
    /// There is none ([`OpikError::ExperimentNotFound`]), the name is blank, or Opik is not to be reached or refuses.
    pub async fn experiment(&self, name: &str) -> Result<OpikExperiment, OpikError> {
        let name = checked_name(OPERATION, name)?;
        let found = self.find_experiment(name).await?;
        found.ok_or_else(|| OpikError::ExperimentNotFound {
            name: name.to_owned(),
            dataset: self.name().to_owned(),
        })
    }

    /// The newest experiment of this name on this dataset, which is created if there is none: to go on with one that
    /// was interrupted.
    ///
    /// # Errors
    ///
    /// As of [`create_experiment`](Self::create_experiment).
    pub async fn get_or_create_experiment(
        &self,
        experiment: impl Into<NewExperiment>,
    ) -> Result<OpikExperiment, OpikError> {
        let experiment = experiment.into();
        match self.experiment(&experiment.name).await {
            Err(OpikError::ExperimentNotFound { .. }) => self.create_experiment(experiment).await,
            found => found,
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<Option<OpikExperiment>, OpikError> {
        #[derive(Deserialize)]
        struct Row {
            id: Uuid,
            #[serde(default)]
            name: Option<String>,
            #[serde(default)]
            dataset_name: Option<String>,
            #[serde(default)]
            dataset_id: Option<Uuid>,
        }
        let mut after = None;
        loop {
            let body = json!({
                "name": name,
                "project_name": self.opik().project(),
                "limit": EXPERIMENTS_PAGE,
                "last_retrieved_id": after,
            });
            let request = json_post("v1/private/experiments/stream", &body);
            let page =
                Page::fetch(self.opik(), OPERATION, request, after, |row: &Row| row.id).await?;
            // Opik looks for the name as a part of names.
            let found = page.rows.into_iter().find(|row| {
                let ours = match (row.dataset_id, &row.dataset_name) {
                    (Some(id), _) => id == self.id(),
                    (None, Some(name)) => name == self.name(),
                    (None, None) => false,
                };
                ours && row.name.as_deref() == Some(name)
            });
            if let Some(row) = found {
                return Ok(Some(OpikExperiment {
                    dataset: self.clone(),
                    id: row.id,
                    name: name.to_owned(),
                }));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(None),
            }
        }
    }
}

/// A trace that is an item's result.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) item: Uuid,
    pub(crate) trace: Uuid,
    pub(crate) outcome: Outcome,
}

/// What a link says of the result.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Stored,
    /// A pipeline has the call, which may never arrive.
    HandedOver,
    Failed,
}

impl OpikExperiment {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The dataset that it is run on.
    pub fn dataset(&self) -> &OpikDataset {
        &self.dataset
    }

    pub(crate) fn opik(&self) -> &OpikExporter {
        self.dataset.opik()
    }

    /// Links traces to the items whose results they are, a thousand in a request: `(item, trace)`. For what a program
    /// has exported by itself; [`run`](Self::run) does it for its own. To link the same again changes nothing.
    ///
    /// Opik does not ask whether item and trace are there: they may be on their way.
    ///
    /// # Errors
    ///
    /// Opik is not to be reached, or refuses the key. An id that is not of version 7 is in the report.
    pub async fn link(
        &self,
        results: impl IntoIterator<Item = (Uuid, Uuid)>,
    ) -> Result<WriteReport, OpikError> {
        let links = results.into_iter().map(|(item, trace)| Link {
            item,
            trace,
            outcome: Outcome::HandedOver,
        });
        self.write_links(links).await
    }

    pub(crate) async fn write_links(
        &self,
        links: impl IntoIterator<Item = Link>,
    ) -> Result<WriteReport, OpikError> {
        #[derive(Serialize)]
        struct Body<'a> {
            id: Uuid,
            experiment_id: Uuid,
            dataset_item_id: Uuid,
            trace_id: Uuid,
            // Without it Opik does not find the link by project if it comes before its trace.
            project_name: &'a str,
        }
        let mut report = WriteReport::default();
        let mut elements = Elements::default();
        let mut places = Vec::new();
        for (index, link) in links.into_iter().enumerate() {
            let checked =
                check_id("dataset item", link.item).and_then(|()| check_id("trace", link.trace));
            if let Err(error) = checked {
                report.push(index, error);
                continue;
            }
            elements.push(&Body {
                id: self.link_id(link),
                experiment_id: self.id,
                dataset_item_id: link.item,
                trace_id: link.trace,
                project_name: self.opik().project(),
            });
            places.push(index);
        }
        let post =
            |body| HttpRequest::post("v1/private/experiments/items", "application/json", body);
        let list = ("{\"experiment_items\":[", &elements);
        self.opik()
            .write_elements(OPERATION, post, list, &places, &mut report)
            .await?;
        Ok(report)
    }

    /// The id of a link follows from what it links, so that to link the same again makes no second one. Its time is that
    /// of the trace: of the ids of links Opik wants the version only (`ExperimentItemService.java`).
    fn link_id(&self, link: Link) -> Uuid {
        id::with_time(self.mark(link), id::time_part(link.trace).unwrap_or(0))
    }

    /// The random part of a link's id. It also tells the outcome, which Opik keeps nowhere in an experiment: a call that
    /// broke off may have an output, and one that is complete may have none.
    pub(crate) fn mark(&self, link: Link) -> Uuid {
        let outcome: &[u8] = match link.outcome {
            Outcome::Stored => b"stored",
            Outcome::HandedOver => b"",
            Outcome::Failed => b"failed",
        };
        let mut parts = link.item.as_bytes().to_vec();
        parts.extend_from_slice(link.trace.as_bytes());
        parts.extend_from_slice(outcome);
        Uuid::new_v5(&self.id, &parts)
    }

    /// Tells Opik that the experiment is over, for those who wait for it. Whether it listens does not matter, so it is
    /// said once.
    pub(crate) async fn finish(&self) {
        let request = json_post(
            "v1/private/experiments/finish",
            &json!({ "ids": [self.id] }),
        );
        if let Some(connection) = self.opik().connection()
            && let Err(error) = connection.send(request).await
        {
            tracing::debug!("{NAME}: experiment: {error}");
        }
    }
}

impl fmt::Debug for OpikExperiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpikExperiment")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("dataset", &self.dataset.name())
            .finish_non_exhaustive()
    }
}
