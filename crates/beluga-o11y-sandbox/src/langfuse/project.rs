//! Projects, and the keys that open them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answers;
use crate::answer::Answer;
use crate::role::Arrived;
use crate::sandbox::{Sandbox, SandboxBuilder};

/// A project of Langfuse with its pair of keys. `Debug` does not show the secret.
#[derive(Clone)]
pub struct LangfuseProject {
    public_key: String,
    secret_key: String,
    name: String,
}

impl LangfuseProject {
    /// A project that these keys open: `pk-lf-..` and `sk-lf-..`. It is named `sandbox`.
    ///
    /// As in Langfuse the secret alone decides; whatever public key comes with it is let through.
    pub fn new(public_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            public_key: public_key.into(),
            secret_key: secret_key.into(),
            name: "sandbox".to_owned(),
        }
    }

    /// Names it. Default: `sandbox`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl fmt::Debug for LangfuseProject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LangfuseProject")
            .field("public_key", &self.public_key)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// The public key of the project that Langfuse has unless
    /// [`with_langfuse`](SandboxBuilder::with_langfuse) says otherwise.
    pub const LANGFUSE_PUBLIC_KEY: &str = "pk-lf-sandbox";
    /// The secret key of that project.
    pub const LANGFUSE_SECRET_KEY: &str = "sk-lf-sandbox";
}

impl SandboxBuilder {
    /// Gives Langfuse this project. Called again, it adds one.
    ///
    /// Default: one that is named `sandbox`, with the keys [`Sandbox::LANGFUSE_PUBLIC_KEY`] and
    /// [`Sandbox::LANGFUSE_SECRET_KEY`].
    #[must_use]
    pub fn with_langfuse(mut self, project: LangfuseProject) -> Self {
        self.langfuse.projects.push(project);
        self
    }
}

/// What the builder was told about Langfuse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    projects: Vec<LangfuseProject>,
}

impl Settings {
    /// The projects, at least one.
    pub(super) fn projects(self) -> Projects {
        if self.projects.is_empty() {
            let keys = (Sandbox::LANGFUSE_PUBLIC_KEY, Sandbox::LANGFUSE_SECRET_KEY);
            return Projects(vec![LangfuseProject::new(keys.0, keys.1)]);
        }
        Projects(self.projects)
    }
}

/// All projects. Others know them by their place.
#[derive(Debug)]
pub(super) struct Projects(Vec<LangfuseProject>);

impl Projects {
    /// The project that the credentials open (Langfuse: `apiAuth.ts`), by its place, and the public key as it was sent.
    pub(super) fn authenticate(&self, request: &Arrived<'_>) -> Result<(usize, String), Answer> {
        let header = request.header("authorization").unwrap_or_default();
        if let Some(public_key) = header.strip_prefix("Bearer ") {
            let known = self.0.iter().any(|p| p.public_key == public_key);
            // With a public key alone one may send scores, nothing else.
            return Err(if known {
                answers::forbidden("Access denied - need to use basic auth with secret key")
            } else {
                answers::unauthorized()
            });
        }
        let pair = header
            .strip_prefix("Basic ")
            .and_then(|pair| STANDARD.decode(pair.trim()).ok())
            .and_then(|pair| String::from_utf8(pair).ok());
        let (public_key, secret_key) = pair
            .as_deref()
            .and_then(|pair| pair.split_once(':'))
            .ok_or_else(answers::unauthorized)?;
        let place = self
            .0
            .iter()
            .position(|project| project.secret_key == secret_key)
            .ok_or_else(answers::unauthorized)?;
        Ok((place, public_key.to_owned()))
    }

    pub(super) fn name(&self, place: usize) -> &str {
        self.0.get(place).map_or("", |project| &project.name)
    }

    /// The keys of the first project.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        let keys = self.0.first().map(|project| {
            [
                ("LANGFUSE_PUBLIC_KEY", project.public_key.clone()),
                ("LANGFUSE_SECRET_KEY", project.secret_key.clone()),
            ]
        });
        keys.into_iter().flatten()
    }

    /// As the API shows it.
    pub(super) fn view(&self, place: usize) -> Value {
        json!({
            "id": id(place), "name": self.name(place),
            "organization": {"id": "sandbox", "name": "sandbox"}, "metadata": {},
        })
    }
}

/// Made up from its place.
pub(super) fn id(place: usize) -> String {
    format!("sandbox-project-{}", place + 1)
}
