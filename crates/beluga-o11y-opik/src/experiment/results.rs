//! What an experiment has already.

use std::collections::HashMap;

use beluga_o11y_http::HttpRequest;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use uuid::Uuid;

use crate::{
    OpikError, OpikExperiment,
    ask::{pages::MAX_PAGE_BYTES, read},
    experiment::{Link, OPERATION, Outcome},
    id,
};

/// How many are asked for at once, to begin with: each has the whole content of its item. A power of two, since what is
/// too large is asked for by halves.
const PAGE: usize = 256;

/// A score of a result.
#[derive(Deserialize)]
pub(crate) struct StoredScore {
    pub(crate) name: String,
    pub(crate) value: Option<f64>,
}

/// The items that have a result, with its scores.
pub(crate) type Results = HashMap<Uuid, Vec<StoredScore>>;

#[derive(Deserialize)]
struct Rows {
    content: Vec<Row>,
    #[serde(default)]
    total: Option<usize>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Option<Uuid>,
    #[serde(default)]
    experiment_items: Option<Vec<Stored>>,
}

#[derive(Deserialize)]
struct Stored {
    id: Uuid,
    #[serde(default)]
    experiment_id: Option<Uuid>,
    dataset_item_id: Uuid,
    trace_id: Uuid,
    #[serde(default)]
    input: Option<IgnoredAny>,
    #[serde(default)]
    output: Option<IgnoredAny>,
    #[serde(default)]
    duration: Option<IgnoredAny>,
    #[serde(default)]
    feedback_scores: Option<Vec<StoredScore>>,
}

impl OpikExperiment {
    /// What is there. A failure is no result, nor is a call whose trace has not arrived.
    pub(crate) async fn results(&self) -> Result<Results, OpikError> {
        let path = format!(
            "v1/private/datasets/{}/items/experiments/items",
            self.dataset().id()
        );
        let mut results = Results::new();
        let (mut page, mut size) = (1, PAGE);
        let mut before = None;
        loop {
            let request = HttpRequest::get(path.clone())
                .with_query("page", page.to_string())
                .with_query("size", size.to_string())
                .with_query("experiment_ids", json!([self.id()]).to_string())
                .with_query("truncate", "true")
                .with_max_answer_bytes(MAX_PAGE_BYTES);
            let response = self.opik().ask(OPERATION, request, &[]).await?;
            if !response.is_complete() && size > 1 {
                // Too large, or too slow.
                (page, size) = (2 * page - 1, size / 2);
                continue;
            }
            let Rows { content, total } = read(OPERATION, &response)?;
            let is_last = match total {
                Some(total) => content.is_empty() || page * size >= total,
                None => content.len() < size,
            };
            // A server that knows nothing of pages would give the first one for ever.
            let first = content.first().map(|row| row.id);
            if first.is_some() && first == before {
                return Err(OpikError::NotOpik {
                    operation: OPERATION,
                });
            }
            before = first;
            for stored in content.into_iter().filter_map(|row| row.experiment_items) {
                let done = stored.into_iter().filter(|stored| self.is_result(stored));
                results.extend(done.map(|stored| {
                    let scores = stored.feedback_scores.unwrap_or_default();
                    (stored.dataset_item_id, scores)
                }));
            }
            if is_last {
                return Ok(results);
            }
            page += 1;
        }
    }

    fn is_result(&self, stored: &Stored) -> bool {
        if stored.experiment_id.is_some_and(|id| id != self.id()) {
            return false;
        }
        let marked = |outcome| {
            let link = Link {
                item: stored.dataset_item_id,
                trace: stored.trace_id,
                outcome,
            };
            id::same_random_part(stored.id, self.mark(link))
        };
        if marked(Outcome::Stored) {
            return true;
        }
        if marked(Outcome::Failed) {
            return false;
        }
        let has_output = stored.output.is_some();
        // A call may have no content, but it has a duration.
        let has_trace = has_output || stored.input.is_some() || stored.duration.is_some();
        has_output || (has_trace && marked(Outcome::HandedOver))
    }
}
