//! Who may write where.

use std::fmt;

use hyper::{HeaderMap, StatusCode, header};

use crate::answer::Answer;
use crate::text::query_value;

/// The workspace of a self-hosted installation, and the name that official clients send when they know none.
pub(super) const DEFAULT_WORKSPACE: &str = "default";

/// A cloud account: an API key and the workspaces that it opens.
///
/// The key must arrive verbatim in `Authorization`; `Bearer <key>` is refused, as the cloud is expected to do, unless
/// [`with_bearer_accepted`](Self::with_bearer_accepted) is set. `Debug` does not show the key.
#[derive(Clone)]
pub struct OpikCloud {
    key: String,
    workspaces: Vec<String>,
    bearer_accepted: bool,
}

impl OpikCloud {
    /// An account with this key. Without any [`with_workspace`](Self::with_workspace) it has one named `default`.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            workspaces: Vec::new(),
            bearer_accepted: false,
        }
    }

    /// Adds a workspace. The first one is what the name `default` stands for, unless one is named so.
    #[must_use]
    pub fn with_workspace(mut self, name: impl Into<String>) -> Self {
        self.workspaces.push(name.into());
        self
    }

    /// Accepts `Bearer <key>` as well, as an installation with tokens does. Default: 401.
    #[must_use]
    pub fn with_bearer_accepted(mut self) -> Self {
        self.bearer_accepted = true;
        self
    }

    fn opens_with(&self, authorization: &str) -> bool {
        let bare = if self.bearer_accepted {
            authorization.strip_prefix("Bearer ")
        } else {
            None
        };
        authorization == self.key || bare == Some(self.key.as_str())
    }

    /// What a client has to send.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        let workspace = self.workspaces.first();
        let workspace = workspace.map_or(DEFAULT_WORKSPACE, String::as_str);
        [
            ("OPIK_API_KEY", self.key.clone()),
            ("OPIK_WORKSPACE", workspace.to_owned()),
        ]
    }

    /// The workspace that a name stands for, if this account has it.
    fn workspace<'a>(&'a self, name: &str) -> Option<&'a str> {
        let known = self
            .workspaces
            .iter()
            .map(String::as_str)
            .find(|known| *known == name);
        let first = || {
            self.workspaces
                .first()
                .map_or(DEFAULT_WORKSPACE, String::as_str)
        };
        known.or_else(|| (name == DEFAULT_WORKSPACE).then(first))
    }
}

impl fmt::Debug for OpikCloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpikCloud")
            .field("workspaces", &self.workspaces)
            .field("bearer_accepted", &self.bearer_accepted)
            .finish_non_exhaustive()
    }
}

/// The workspace a request goes to, or why it goes nowhere. Without accounts the rules are the self-hosted ones.
pub(crate) fn workspace<'a>(
    accounts: &'a [OpikCloud],
    headers: &HeaderMap,
    query: &str,
) -> Result<&'a str, Answer> {
    let name = headers
        .get("comet-workspace")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let name = name
        .or_else(|| query_value(query, "workspace_name"))
        .unwrap_or_default();
    if accounts.is_empty() {
        self_hosted(&name)
    } else {
        cloud(accounts, headers, name.trim())
    }
}

/// Opik: `AuthServiceImpl`. No key is looked at.
fn self_hosted(name: &str) -> Result<&'static str, Answer> {
    match name {
        "" | DEFAULT_WORKSPACE => Ok(DEFAULT_WORKSPACE),
        _ => Err(Answer::message(
            StatusCode::NOT_FOUND,
            "Workspace not found",
        )),
    }
}

/// Opik: `RemoteAuthService`, which looks at the workspace before the key.
fn cloud<'a>(
    accounts: &'a [OpikCloud],
    headers: &HeaderMap,
    name: &str,
) -> Result<&'a str, Answer> {
    if name.is_empty() {
        return Err(Answer::message(
            StatusCode::FORBIDDEN,
            "Workspace name should be provided",
        ));
    }
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if authorization.trim().is_empty() {
        return Err(Answer::message(
            StatusCode::UNAUTHORIZED,
            "API key should be provided",
        ));
    }
    let Some(account) = accounts
        .iter()
        .find(|account| account.opens_with(authorization))
    else {
        return Err(Answer::message(
            StatusCode::UNAUTHORIZED,
            "User not allowed to access workspace!",
        ));
    };
    if let Some(workspace) = account.workspace(name) {
        return Ok(workspace);
    }
    if accounts
        .iter()
        .any(|other| other.workspaces.iter().any(|known| known == name))
    {
        return Err(Answer::message(
            StatusCode::FORBIDDEN,
            "User is not allowed to access workspace",
        ));
    }
    Err(Answer::message(
        StatusCode::BAD_REQUEST,
        &format!("Workspace {name} does not exist"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_key() {
        let text = format!(
            "{:?}",
            OpikCloud::new("secret-key").with_workspace("ml-team")
        );
        assert!(
            text.contains("ml-team") && !text.contains("secret-key"),
            "{text}"
        );
    }
}
