//! The endpoints of datasets and experiments.

use hyper::Method;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::json::parse_uuid;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    CreateDataset,
    Datasets,
    RetrieveDataset,
    DeleteDataset,
    Dataset(Uuid),
    PutItems,
    StreamItems,
    DeleteItems,
    Items(Uuid),
    Versions(Uuid),
    RetrieveVersion(Uuid),
    Compare(Uuid),
    CreateExperiment,
    Experiments,
    StreamExperiments,
    FinishExperiments,
    Experiment(Uuid),
    UpdateExperiment(Uuid),
    AddExperimentItems,
    DeleteExperimentItems,
    StreamExperimentItems,
}

/// What each method does at a path below `/v1/private`.
pub(crate) fn routes(path: &str) -> Vec<(Method, Route)> {
    match path {
        "/datasets" => vec![
            (Method::GET, Route::Datasets),
            (Method::POST, Route::CreateDataset),
        ],
        "/datasets/retrieve" => vec![(Method::POST, Route::RetrieveDataset)],
        "/datasets/delete" => vec![(Method::POST, Route::DeleteDataset)],
        "/datasets/items" => vec![(Method::PUT, Route::PutItems)],
        "/datasets/items/stream" => vec![(Method::POST, Route::StreamItems)],
        "/datasets/items/delete" => vec![(Method::POST, Route::DeleteItems)],
        "/experiments" => vec![
            (Method::GET, Route::Experiments),
            (Method::POST, Route::CreateExperiment),
        ],
        "/experiments/stream" => vec![(Method::POST, Route::StreamExperiments)],
        "/experiments/finish" => vec![(Method::POST, Route::FinishExperiments)],
        "/experiments/items" => vec![(Method::POST, Route::AddExperimentItems)],
        "/experiments/items/delete" => vec![(Method::POST, Route::DeleteExperimentItems)],
        "/experiments/items/stream" => vec![(Method::POST, Route::StreamExperimentItems)],
        path => {
            let path = path.strip_prefix('/').unwrap_or_default();
            let (kind, rest) = path.split_once('/').unwrap_or_default();
            let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
            parse_uuid(id).map_or_else(Vec::new, |id| routes_of_one(kind, id, rest))
        }
    }
}

fn routes_of_one(kind: &str, id: Uuid, rest: &str) -> Vec<(Method, Route)> {
    match (kind, rest) {
        ("datasets", "") => vec![(Method::GET, Route::Dataset(id))],
        ("datasets", "items") => vec![(Method::GET, Route::Items(id))],
        ("datasets", "versions") => vec![(Method::GET, Route::Versions(id))],
        ("datasets", "versions/retrieve") => vec![(Method::POST, Route::RetrieveVersion(id))],
        ("datasets", "items/experiments/items") => vec![(Method::GET, Route::Compare(id))],
        ("experiments", "") => vec![
            (Method::GET, Route::Experiment(id)),
            (Method::PATCH, Route::UpdateExperiment(id)),
        ],
        _ => Vec::new(),
    }
}

impl Call<'_> {
    pub(crate) fn answer_evaluation(&self, route: Route) -> Result<Answer, Answer> {
        match route {
            Route::CreateDataset => self.create_dataset(),
            Route::Datasets => self.list_datasets(),
            Route::RetrieveDataset => self.retrieve_dataset(),
            Route::DeleteDataset => self.delete_dataset(),
            Route::Dataset(id) => self.get_dataset(id),
            Route::PutItems => self.put_items(),
            Route::StreamItems => self.stream_items(),
            Route::DeleteItems => self.delete_items(),
            Route::Items(id) => self.list_items(id),
            Route::Versions(id) => self.list_versions(id),
            Route::RetrieveVersion(id) => self.retrieve_version(id),
            Route::Compare(id) => self.compare(id),
            Route::CreateExperiment => self.create_experiment(),
            Route::Experiments => self.list_experiments(),
            Route::StreamExperiments => self.stream_experiments(),
            Route::FinishExperiments => self.finish_experiments(),
            Route::Experiment(id) => self.get_experiment(id),
            Route::UpdateExperiment(id) => self.update_experiment(id),
            Route::AddExperimentItems => self.add_experiment_items(),
            Route::DeleteExperimentItems => self.delete_experiment_items(),
            Route::StreamExperimentItems => self.stream_experiment_items(),
        }
    }
}
