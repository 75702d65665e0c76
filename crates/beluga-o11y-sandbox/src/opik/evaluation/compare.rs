//! Items of a dataset beside what experiments made of them.

use std::collections::{BTreeSet, HashMap};

use hyper::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::Call;
use crate::opik::evaluation::items;
use crate::opik::evaluation::record::ExperimentItem;
use crate::opik::json::parse_uuid;
use crate::opik::record::PublicView;
use crate::opik::search;
use crate::opik::store::Store;
use crate::opik::wire::TraceOwn;
use crate::text::{query_value, to_value};

/// Characters to which input and output are cut if that is asked for.
const SLIM: usize = 10_001;

/// An item of an experiment with what its trace says (Opik: `ExperimentItemDAO`).
pub(crate) fn shown(store: &Store, item: &ExperimentItem, truncate: bool) -> Value {
    let mut view = item.public_view();
    let trace = store.record::<TraceOwn>(item.trace_id, Some(&item.workspace));
    let Some(fields) = view.as_object_mut() else {
        return view;
    };
    let Some(trace) = trace else {
        return view;
    };
    fields.insert(
        "project_id".to_owned(),
        Value::from(trace.project_id.to_string()),
    );
    let Value::Object(mut trace) = trace.public_view() else {
        return view;
    };
    for name in [
        "input",
        "output",
        "feedback_scores",
        "usage",
        "total_estimated_cost",
        "duration",
    ] {
        if let Some(value) = trace.remove(name) {
            let slim = truncate && ["input", "output"].contains(&name);
            let value = if slim { slimmed(value) } else { value };
            fields.insert(name.to_owned(), value);
        }
    }
    view
}

fn slimmed(value: Value) -> Value {
    let text = value.to_string();
    match text.char_indices().nth(SLIM) {
        Some((end, _)) => to_value(text.get(..end).unwrap_or_default()),
        None => value,
    }
}

impl Store {
    /// The name of the project that an item was sent with, else of its trace's.
    pub(crate) fn project_of_item(&self, item: &ExperimentItem) -> Option<String> {
        let named = item.project_name.clone();
        named.or_else(|| {
            let project = self.project_of::<TraceOwn>(&item.workspace, item.trace_id)?;
            Some(self.project_at(project)?.name.clone())
        })
    }
}

impl Call<'_> {
    /// `GET /datasets/{id}/items/experiments/items`: the items that at least one of the experiments ran.
    pub(crate) fn compare(&self, dataset: Uuid) -> Result<Answer, Answer> {
        let query = self.query();
        search::no_filters(query)?;
        let experiments = experiment_ids(query)?;
        let truncate = query_value(query, "truncate").is_some_and(|text| text == "true");
        let store = self.opik.store();
        let mut ran: HashMap<Uuid, Vec<&ExperimentItem>> = HashMap::new();
        for id in &experiments {
            for item in store.items_of_experiment(self.workspace, *id) {
                ran.entry(item.dataset_item_id).or_default().push(item);
            }
        }
        let known = store.dataset(self.workspace, dataset).is_some();
        let items = if known {
            store.items_of(dataset)
        } else {
            Vec::new()
        };
        let rows: Vec<_> = items
            .into_iter()
            .filter_map(|item| Some((item, ran.get(&item.id)?)))
            .collect();
        let page = items::page(rows, query, |(item, ran)| {
            let of_item = ran.iter().map(|ran| shown(&store, ran, truncate));
            let mut view = items::view(item);
            if let Some(fields) = view.as_object_mut() {
                fields.insert("experiment_items".to_owned(), of_item.collect());
            }
            view
        });
        Ok(Answer::json(StatusCode::OK, &page))
    }
}

/// `experiment_ids` is JSON text.
fn experiment_ids(query: &str) -> Result<BTreeSet<Uuid>, Answer> {
    let refused = |text: &str| Err(Answer::message(StatusCode::BAD_REQUEST, text));
    let Some(text) = query_value(query, "experiment_ids") else {
        return refused("query param experiment_ids must not be null");
    };
    let texts: Option<Vec<String>> = serde_json::from_str(&text).ok();
    let ids = texts.and_then(|texts| texts.iter().map(|text| parse_uuid(text)).collect());
    ids.map_or_else(|| refused("Invalid query param ids"), Ok)
}
