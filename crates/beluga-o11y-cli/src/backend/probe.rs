//! How each backend is asked whether all is well.

use async_trait::async_trait;
use beluga_o11y::LLMCallData;
use beluga_o11y_http::HttpSender;
use beluga_o11y_providers::{
    langfuse::{LangfuseCheckError, LangfuseExporter},
    langsmith::{LangSmithCheckError, LangSmithExporter},
    opik::{OpikCheckError, OpikExporter},
    otlp::{OtlpCheckError, OtlpExporter},
    phoenix::{PhoenixCheckError, PhoenixExporter},
};

use super::finding::{Finding, Problem};
use crate::backend::Backend;

/// A backend that can be asked.
#[async_trait]
pub(crate) trait Probe: Backend {
    /// Nothing if it is switched off.
    fn sender(&self) -> Option<&HttpSender>;

    /// What any server of this kind answers without a key and without a redirect.
    fn path(&self) -> &'static str;

    /// The hosts of its cloud, if each has keys of its own.
    fn regions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Which server there is, in words.
    async fn server(&self) -> Result<String, Finding>;

    /// Whether the key is good, and where calls go.
    async fn access(&self) -> Result<Access, Finding>;

    /// Whether a call can be read. Nothing if there is no way to ask at all; a finding of [`Problem::NotReadable`] if this
    /// server has none.
    async fn has(&self, call: &LLMCallData) -> Option<Result<bool, Finding>>;
}

/// What a good key opens.
pub(crate) struct Access {
    /// The workspace or project, in words.
    pub(crate) place: String,
    /// The project, if it was not there before.
    pub(crate) missing_project: Option<String>,
}

fn version(name: &str, version: Option<String>) -> String {
    match version {
        Some(version) => format!("{name} {version}"),
        None => format!("{name}, which does not tell its version"),
    }
}

#[async_trait]
impl Probe for OpikExporter {
    fn sender(&self) -> Option<&HttpSender> {
        self.sender()
    }

    fn path(&self) -> &'static str {
        "is-alive/ping"
    }

    async fn server(&self) -> Result<String, Finding> {
        let found = self.version().await.map_err(opik)?;
        Ok(version("Opik", found))
    }

    async fn access(&self) -> Result<Access, Finding> {
        let checked = self.check().await.map_err(opik)?;
        let mut place = format!("workspace {}", checked.workspace);
        let project = self.config().project.clone();
        if let Some(project) = &project {
            place.push_str(", project ");
            place.push_str(project);
        }
        Ok(Access {
            place,
            missing_project: project.filter(|_| checked.project_exists == Some(false)),
        })
    }

    async fn has(&self, call: &LLMCallData) -> Option<Result<bool, Finding>> {
        Some(self.is_stored(call).await.map_err(opik))
    }
}

fn opik(error: OpikCheckError) -> Finding {
    use OpikCheckError as E;
    let problem = match &error {
        E::Unreachable(error) => return error.into(),
        E::Busy { status } | E::Unhealthy { status } => {
            return Finding::of_status(*status, Problem::Unhealthy, "opik", &error);
        }
        E::NotOpik { status, .. } => {
            return Finding::of_status(*status, Problem::WrongServer, "opik", &error);
        }
        E::Disabled => Problem::SwitchedOff,
        E::KeyMissing => Problem::MissingKey,
        E::KeyRefused => Problem::WrongKey,
        E::WorkspaceForbidden { .. } | E::WorkspaceUnknown { .. } => Problem::WrongWorkspace,
        E::TooOld { .. } => Problem::OldServer,
        _ => Problem::WrongServer,
    };
    Finding::of(problem, "opik", error)
}

#[async_trait]
impl Probe for LangfuseExporter {
    fn sender(&self) -> Option<&HttpSender> {
        self.sender()
    }

    fn path(&self) -> &'static str {
        "api/public/health"
    }

    fn regions(&self) -> &'static [&'static str] {
        &[
            "cloud.langfuse.com",
            "us.cloud.langfuse.com",
            "jp.cloud.langfuse.com",
            "hipaa.cloud.langfuse.com",
        ]
    }

    async fn server(&self) -> Result<String, Finding> {
        let found = self.version().await.map_err(langfuse)?;
        Ok(version("Langfuse", found))
    }

    async fn access(&self) -> Result<Access, Finding> {
        let checked = self.check().await.map_err(langfuse)?;
        Ok(Access {
            place: format!("project {} ({})", checked.project, checked.project_id),
            missing_project: None,
        })
    }

    async fn has(&self, call: &LLMCallData) -> Option<Result<bool, Finding>> {
        Some(self.is_stored(call).await.map_err(langfuse))
    }
}

fn langfuse(error: LangfuseCheckError) -> Finding {
    use LangfuseCheckError as E;
    let problem = match &error {
        E::Unreachable(error) => return error.into(),
        E::Busy { status } | E::Unhealthy { status } => {
            return Finding::of_status(*status, Problem::Unhealthy, "langfuse", &error);
        }
        E::NotLangfuse { status, .. } => {
            return Finding::of_status(*status, Problem::WrongServer, "langfuse", &error);
        }
        E::NoOtlp { status, .. } => {
            return Finding::of_status(*status, Problem::OldServer, "langfuse", &error);
        }
        E::Disabled => Problem::SwitchedOff,
        E::KeysRefused => Problem::WrongKey,
        E::NotProjectKeys => Problem::ProjectMissing,
        E::Suspended => Problem::Forbidden,
        E::NoObservations { .. } => Problem::NotReadable,
        _ => Problem::WrongServer,
    };
    Finding::of(problem, "langfuse", error)
}

#[async_trait]
impl Probe for PhoenixExporter {
    fn sender(&self) -> Option<&HttpSender> {
        self.sender()
    }

    fn path(&self) -> &'static str {
        "arize_phoenix_version"
    }

    async fn server(&self) -> Result<String, Finding> {
        let found = self.version().await.map_err(phoenix)?;
        Ok(version("Phoenix", found))
    }

    async fn access(&self) -> Result<Access, Finding> {
        let checked = self.check().await.map_err(phoenix)?;
        let missing = checked.project_exists == Some(false);
        Ok(Access {
            place: format!("project {}", checked.project),
            missing_project: missing.then_some(checked.project),
        })
    }

    async fn has(&self, call: &LLMCallData) -> Option<Result<bool, Finding>> {
        Some(self.is_stored(call).await.map_err(phoenix))
    }
}

fn phoenix(error: PhoenixCheckError) -> Finding {
    use PhoenixCheckError as E;
    let problem = match &error {
        E::Unreachable(error) => return error.into(),
        E::Busy { status } => {
            return Finding::of_status(*status, Problem::Unhealthy, "phoenix", &error);
        }
        E::NotPhoenix { status, .. } => {
            return Finding::of_status(*status, Problem::WrongServer, "phoenix", &error);
        }
        E::Disabled => Problem::SwitchedOff,
        E::KeyMissing => Problem::MissingKey,
        E::KeyRefused => Problem::WrongKey,
        E::KeyMayNotWrite => Problem::Forbidden,
        E::TooOld { .. } => Problem::OldServer,
        E::ProjectName { .. } => Problem::NotReadable,
        _ => Problem::WrongServer,
    };
    Finding::of(problem, "phoenix", error)
}

#[async_trait]
impl Probe for LangSmithExporter {
    fn sender(&self) -> Option<&HttpSender> {
        self.sender()
    }

    fn path(&self) -> &'static str {
        "info"
    }

    fn regions(&self) -> &'static [&'static str] {
        &[
            "api.smith.langchain.com",
            "eu.api.smith.langchain.com",
            "apac.api.smith.langchain.com",
            "aws.api.smith.langchain.com",
        ]
    }

    async fn server(&self) -> Result<String, Finding> {
        let found = self.version().await.map_err(langsmith)?;
        Ok(version("LangSmith", found))
    }

    async fn access(&self) -> Result<Access, Finding> {
        let checked = self.check().await.map_err(langsmith)?;
        Ok(Access {
            place: format!("project {}", checked.project),
            missing_project: (!checked.project_exists).then_some(checked.project),
        })
    }

    async fn has(&self, call: &LLMCallData) -> Option<Result<bool, Finding>> {
        Some(self.is_stored(call).await.map_err(langsmith))
    }
}

fn langsmith(error: LangSmithCheckError) -> Finding {
    use LangSmithCheckError as E;
    let problem = match &error {
        E::Unreachable(error) => return error.into(),
        E::Busy { status } => {
            return Finding::of_status(*status, Problem::Unhealthy, "langsmith", &error);
        }
        E::NotLangSmith { status, .. } => {
            return Finding::of_status(*status, Problem::WrongServer, "langsmith", &error);
        }
        E::Disabled => Problem::SwitchedOff,
        E::KeyRefused => Problem::WrongKey,
        E::WorkspaceMissing => Problem::MissingWorkspace,
        E::Forbidden | E::Refused { .. } => Problem::WrongWorkspace,
        E::TooOld { .. } => Problem::OldServer,
        _ => Problem::WrongServer,
    };
    Finding::of(problem, "langsmith", error)
}

#[async_trait]
impl Probe for OtlpExporter {
    fn sender(&self) -> Option<&HttpSender> {
        self.sender()
    }

    fn path(&self) -> &'static str {
        ""
    }

    /// A receiver tells nothing of itself.
    async fn server(&self) -> Result<String, Finding> {
        match self.check().await {
            Ok(checked) => Ok(format!("takes OTLP at {}", checked.endpoint)),
            // Somebody is there who knows OTLP; that is for the next step.
            Err(OtlpCheckError::CredentialsMissing | OtlpCheckError::CredentialsRefused { .. }) => {
                Ok("wants credentials".to_owned())
            }
            Err(error) => Err(otlp(error)),
        }
    }

    async fn access(&self) -> Result<Access, Finding> {
        self.check().await.map_err(otlp)?;
        Ok(Access {
            place: format!("service {}", self.config().service_name),
            missing_project: None,
        })
    }

    async fn has(&self, _call: &LLMCallData) -> Option<Result<bool, Finding>> {
        None
    }
}

fn otlp(error: OtlpCheckError) -> Finding {
    use OtlpCheckError as E;
    let problem = match &error {
        E::Unreachable(error) => return error.into(),
        E::Busy { status } => {
            return Finding::of_status(*status, Problem::Unhealthy, "otlp", &error);
        }
        E::NotOtlp { status: 404, .. } => Problem::OldServer,
        E::NotOtlp { status, .. } => {
            return Finding::of_status(*status, Problem::WrongServer, "otlp", &error);
        }
        E::Disabled => Problem::SwitchedOff,
        E::CredentialsMissing => Problem::MissingKey,
        E::CredentialsRefused { .. } => Problem::WrongKey,
        _ => Problem::WrongServer,
    };
    Finding::of(problem, "otlp", error)
}
