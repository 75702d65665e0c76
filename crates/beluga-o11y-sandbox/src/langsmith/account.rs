//! Who may write where.

use std::fmt;

use hyper::StatusCode;
use uuid::Uuid;

use super::answers;
use crate::answer::Answer;
use crate::role::Arrived;

/// A service key of an organisation begins with this (documentation, "API keys").
const SERVICE_KEY: &str = "lsv2_sk_";
/// Keys of this form ended in October 2024.
const LEGACY_KEY: &str = "ls__";

/// An API key of LangSmith and the workspaces that it opens.
///
/// A key that begins with `lsv2_sk_` belongs to an organisation: a request must name the workspace. Others may leave it
/// to the account's own one. `Debug` does not show the key.
#[derive(Clone)]
pub struct LangSmithAccount {
    key: String,
    workspaces: Vec<String>,
}

impl LangSmithAccount {
    /// An account with this key. Without any [`with_workspace`](Self::with_workspace) it opens all that a request names.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            workspaces: Vec::new(),
        }
    }

    /// Adds a workspace by its id, which a request names as `x-tenant-id`.
    #[must_use]
    pub fn with_workspace(mut self, id: impl Into<String>) -> Self {
        self.workspaces.push(id.into());
        self
    }

    /// What a client has to send. A key of an organisation wants a workspace, so without one of its own any will do.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let own = self.workspaces.first().cloned();
        let wants_one = self.key.starts_with(SERVICE_KEY);
        let workspace = own.or_else(|| wants_one.then(|| Uuid::nil().to_string()));
        let key = ("LANGSMITH_API_KEY", self.key.clone());
        let workspace = workspace.map(|id| ("LANGSMITH_WORKSPACE_ID", id));
        [key].into_iter().chain(workspace).collect()
    }

    fn opens(&self, workspace: Option<&str>) -> bool {
        workspace.is_none_or(|id| {
            self.workspaces.is_empty() || self.workspaces.iter().any(|known| known == id)
        })
    }
}

impl fmt::Debug for LangSmithAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LangSmithAccount")
            .field("workspaces", &self.workspaces)
            .finish_non_exhaustive()
    }
}

/// Whether a request may come in, or why not.
pub(crate) fn admit(accounts: &[LangSmithAccount], request: &Arrived<'_>) -> Result<(), Answer> {
    let given = |name| {
        request
            .header(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let workspace = given("x-tenant-id");
    let Some(key) = given("x-api-key") else {
        return Err(answers::detail(StatusCode::UNAUTHORIZED, "Invalid token"));
    };
    if key.starts_with(LEGACY_KEY) {
        return Err(answers::detail(
            StatusCode::UNAUTHORIZED,
            "Using legacy API key. Please generate a new API key.",
        ));
    }
    let account = accounts.iter().find(|account| account.key == key);
    if account.is_none() && !accounts.is_empty() {
        return Err(answers::detail(StatusCode::UNAUTHORIZED, "Invalid token"));
    }
    if key.starts_with(SERVICE_KEY) && workspace.is_none() {
        return Err(answers::workspace_wanted());
    }
    if account.is_some_and(|account| !account.opens(workspace)) {
        return Err(answers::error(StatusCode::FORBIDDEN, "Forbidden"));
    }
    Ok(())
}
