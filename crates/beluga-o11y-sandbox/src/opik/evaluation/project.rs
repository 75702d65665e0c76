//! The project that a request names, if it names one.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::answer::Answer;
use crate::opik::api::project_not_found;
use crate::opik::constraints::Broken;
use crate::opik::json::{Object, Read, parse_uuid};
use crate::opik::row::ProjectIndex;
use crate::opik::store::{Project, Store};
use crate::text::query_value;

/// `project_id` or `project_name`, of which the id wins (Opik: `DatasetItemBatch`, `Experiment`).
#[derive(Debug)]
pub(crate) struct Named {
    id: Option<Uuid>,
    name: Option<String>,
}

impl Named {
    pub(crate) fn read(object: &Object<'_>) -> Read<Self> {
        Ok(Self {
            id: object.uuid("project_id")?,
            name: object.string("project_name")?,
        })
    }

    pub(crate) fn from_query(query: &str) -> Self {
        Self {
            id: query_value(query, "project_id")
                .as_deref()
                .and_then(parse_uuid),
            name: query_value(query, "project_name"),
        }
    }

    pub(crate) fn check(&self, broken: &mut Broken<'_>) {
        broken.check_project_name(self.name.as_deref());
    }

    /// For a write: one that is only named is made, one with an id has to be there.
    pub(crate) fn made(
        &self,
        store: &mut Store,
        workspace: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<ProjectIndex>, Answer> {
        match (self.id, self.name.as_deref()) {
            (None, Some(name)) => Ok(Some(store.project(workspace, Some(name), now))),
            _ => self.place(store, workspace),
        }
    }

    /// For a read: it has to be there.
    pub(crate) fn found<'s>(
        &self,
        store: &'s Store,
        workspace: &str,
    ) -> Result<Option<&'s Project>, Answer> {
        let place = self.place(store, workspace)?;
        Ok(place.and_then(|index| store.project_at(index)))
    }

    fn place(&self, store: &Store, workspace: &str) -> Result<Option<ProjectIndex>, Answer> {
        let found = match (self.id, self.name.as_deref()) {
            (Some(id), _) => store.project_with_id(workspace, id),
            (None, Some(name)) => store.project_named(workspace, name),
            (None, None) => return Ok(None),
        };
        found.map(Some).ok_or_else(project_not_found)
    }
}
