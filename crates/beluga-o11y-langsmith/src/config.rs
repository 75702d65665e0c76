//! Where settings come from: code, environment, default, in this order.

use std::{fmt, time::Duration};

use beluga_o11y_http::{BlankSetting, Env, EnvError, HttpConfigError, Origin, Origins, Setting};
use secrecy::{ExposeSecret, SecretString};

use crate::convert::Hide;

/// LangSmith's cloud in the US.
const DEFAULT_BASE_URL: &str = "https://api.smith.langchain.com";
/// What LangSmith's own clients use.
pub(crate) const DEFAULT_PROJECT: &str = "default";
const TIMEOUT: Duration = Duration::from_secs(10);
const ALLOW_HTTP: &str = "BELUGA_O11Y_ALLOW_HTTP";
const DISABLED: &str = "BELUGA_O11Y_DISABLED";
const SAMPLE_RATES: &[&str] = &[
    "LANGSMITH_TRACING_SAMPLING_RATE",
    "LANGCHAIN_TRACING_SAMPLING_RATE",
];
const PROJECTS: &[&str] = &[
    "HOSTED_LANGSERVE_PROJECT_NAME",
    "LANGSMITH_PROJECT",
    "LANGCHAIN_PROJECT",
    "LANGSMITH_SESSION",
    "LANGCHAIN_SESSION",
];

/// What the settings are called where people see them.
pub(crate) mod name {
    pub(crate) const API_KEY: &str = "API key";
    pub(crate) const BASE_URL: &str = "base URL";
    pub(crate) const PROJECT: &str = "project";
    pub(crate) const WORKSPACE_ID: &str = "workspace id";
    pub(crate) const ENVIRONMENT: &str = "environment";
    pub(crate) const TIMEOUT: &str = "timeout";
    pub(crate) const SAMPLE_RATE: &str = "sample rate";
    pub(crate) const ALLOW_HTTP: &str = "allow http";
    pub(crate) const HEADERS: &str = "headers";
    pub(crate) const DISABLED_BY: &str = "switched off by";
}

/// Where an exporter sends to, after all settings have been resolved. It holds no key. Prints as the address and the place
/// there, for people.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LangSmithConfig {
    /// The base URL of the API, without a slash at the end.
    pub base_url: String,
    /// The project, which LangSmith's API calls a session.
    pub project: String,
    /// The workspace, sent as `x-tenant-id` with every request.
    pub workspace_id: Option<String>,
    /// The environment of calls that name none.
    pub environment: Option<String>,
    /// Whether messages are left out.
    pub hides_inputs: bool,
    /// Whether responses are left out.
    pub hides_outputs: bool,
    /// Whether the caller's metadata, session and user are left out.
    pub hides_metadata: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether an off switch is on: calls are accepted and not sent.
    pub disabled: bool,
    /// What `LANGSMITH_TRACING_SAMPLING_RATE` asks for: the share of calls to keep, 0 to 1. An exporter sends all that it
    /// is given; this is for the pipeline around it.
    pub sample_rate: Option<f64>,
}

impl fmt::Display for LangSmithConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, project {}", self.base_url, self.project)?;
        match &self.workspace_id {
            Some(workspace) => write!(f, ", workspace {workspace}"),
            None => Ok(()),
        }
    }
}

/// What keeps an exporter from being built. Prints as `langsmith: <what is wrong>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LangSmithConfigError {
    /// LangSmith takes nothing without a key.
    #[error(
        "langsmith: API key is required: call with_api_key(..), or set LANGSMITH_API_KEY and use \
         from_env()"
    )]
    MissingApiKey,
    /// A setting is empty or blank.
    #[error("langsmith: {0}")]
    Blank(#[from] BlankSetting),
    /// A value of the environment is not what its name stands for.
    #[error("langsmith: {0}")]
    InvalidValue(#[from] EnvError),
    /// The URL, a header, a certificate, a proxy or a timeout.
    #[error("langsmith: {0}")]
    Http(#[from] HttpConfigError),
}

/// One source of settings. What it does not say is `None`.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) api_key: Option<SecretString>,
    pub(crate) base_url: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) hide_inputs: Option<bool>,
    pub(crate) hide_outputs: Option<bool>,
    pub(crate) hide_metadata: Option<bool>,
    pub(crate) sample_rate: Option<f64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) allow_http: Option<bool>,
    /// The switch that turns it off.
    pub(crate) disabled_by: Option<&'static str>,
    pub(crate) origins: Origins,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("api_key", &self.api_key.is_some())
            .field("base_url", &self.base_url.is_some())
            .field("project", &self.project)
            .field("workspace_id", &self.workspace_id)
            .field("environment", &self.environment)
            .field("hide_inputs", &self.hide_inputs)
            .field("hide_outputs", &self.hide_outputs)
            .field("hide_metadata", &self.hide_metadata)
            .field("sample_rate", &self.sample_rate)
            .field("timeout", &self.timeout)
            .field("allow_http", &self.allow_http)
            .field("disabled_by", &self.disabled_by)
            .finish_non_exhaustive()
    }
}

impl Layer {
    /// This one, and where it says nothing, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            api_key: self.api_key.or(other.api_key),
            base_url: self.base_url.or(other.base_url),
            project: self.project.or(other.project),
            workspace_id: self.workspace_id.or(other.workspace_id),
            environment: self.environment.or(other.environment),
            hide_inputs: self.hide_inputs.or(other.hide_inputs),
            hide_outputs: self.hide_outputs.or(other.hide_outputs),
            hide_metadata: self.hide_metadata.or(other.hide_metadata),
            sample_rate: self.sample_rate.or(other.sample_rate),
            timeout: self.timeout.or(other.timeout),
            allow_http: self.allow_http.or(other.allow_http),
            disabled_by: self.disabled_by.or(other.disabled_by),
            origins: self.origins.or(other.origins),
        }
    }

    /// The key to send, if there is one.
    pub(crate) fn key(&self) -> Option<&str> {
        let key = self.api_key.as_ref().map(expose);
        key.filter(|key| !key.is_empty())
    }

    pub(crate) fn base_url(&self) -> &str {
        without_otlp_door(self.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL))
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// All that says where calls go, with its defaults; `headers` are those that were set in code.
    pub(crate) fn settings(&self, headers: usize) -> Vec<Setting> {
        let origins = &self.origins;
        let text =
            |name, value: &Option<String>| origins.setting(name, value.as_deref().map(str::trim));
        let project = self.project.as_deref().unwrap_or(DEFAULT_PROJECT);
        vec![
            Setting::url(name::BASE_URL, self.base_url(), origins.of(name::BASE_URL)),
            origins.secret(name::API_KEY, self.key()),
            text(name::WORKSPACE_ID, &self.workspace_id),
            origins.setting(name::PROJECT, Some(project.trim())),
            text(name::ENVIRONMENT, &self.environment),
            origins.setting(name::TIMEOUT, Some(format!("{:?}", self.timeout()))),
            origins.setting(
                name::SAMPLE_RATE,
                self.sample_rate.map(|rate| rate.to_string()),
            ),
            origins.setting(
                name::ALLOW_HTTP,
                Some(self.allow_http.unwrap_or(false).to_string()),
            ),
            Setting::headers(name::HEADERS, headers, Origin::Code),
            origins.setting(name::DISABLED_BY, self.disabled_by),
        ]
    }

    pub(crate) fn hide(&self) -> Hide {
        Hide {
            inputs: self.hide_inputs.unwrap_or(false),
            outputs: self.hide_outputs.unwrap_or(false),
            metadata: self.hide_metadata.unwrap_or(false),
        }
    }

    /// What the environment of this process says.
    pub(crate) fn from_env() -> Result<Self, LangSmithConfigError> {
        Ok(read(Env::process())?)
    }
}

pub(crate) fn read(env: Env<'_>) -> Result<Layer, EnvError> {
    let mut origins = Origins::default();
    if let Some(switch) = switched_off(env)? {
        origins.note(name::DISABLED_BY, Origin::Variable(switch));
        // Nothing else matters, so nothing else can be wrong.
        return Ok(Layer {
            disabled_by: Some(switch),
            origins,
            ..Layer::default()
        });
    }
    let mut unquoted = |setting, names: [&'static str; 2]| -> Result<Option<String>, EnvError> {
        let Some((name, value)) = env.first(&names)? else {
            return Ok(None);
        };
        let value = unquote(&value);
        if value.is_empty() {
            return Ok(None);
        }
        origins.note(setting, Origin::Variable(name));
        Ok(Some(value.to_owned()))
    };
    let switch = |names: [&str; 2]| match env.first(&names)? {
        Some((name, _)) => env.switch(name),
        None => Ok(None),
    };
    let workspace_ids = ["LANGSMITH_WORKSPACE_ID", "LANGCHAIN_WORKSPACE_ID"];
    let mut layer = Layer {
        api_key: unquoted(name::API_KEY, ["LANGSMITH_API_KEY", "LANGCHAIN_API_KEY"])?
            .map(SecretString::from),
        base_url: unquoted(name::BASE_URL, ["LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT"])?,
        workspace_id: unquoted(name::WORKSPACE_ID, workspace_ids)?,
        project: origins.first(name::PROJECT, env, PROJECTS)?,
        hide_inputs: switch(["LANGSMITH_HIDE_INPUTS", "LANGCHAIN_HIDE_INPUTS"])?,
        hide_outputs: switch(["LANGSMITH_HIDE_OUTPUTS", "LANGCHAIN_HIDE_OUTPUTS"])?,
        hide_metadata: switch(["LANGSMITH_HIDE_METADATA", "LANGCHAIN_HIDE_METADATA"])?,
        sample_rate: env.share(SAMPLE_RATES)?,
        allow_http: env.switch(ALLOW_HTTP)?,
        ..Layer::default()
    };
    // These are no text, so they were read otherwise.
    origins.first(name::SAMPLE_RATE, env, SAMPLE_RATES)?;
    origins.first(name::ALLOW_HTTP, env, &[ALLOW_HTTP])?;
    layer.origins = origins;
    Ok(layer)
}

/// The switch that turns exporting off, if one does. For LangSmith's own clients an unset
/// `LANGSMITH_TRACING` means off as well; here somebody has built an exporter, which says enough.
fn switched_off(env: Env<'_>) -> Result<Option<&'static str>, EnvError> {
    const TRACING: [&str; 4] = [
        "LANGSMITH_TRACING_V2",
        "LANGCHAIN_TRACING_V2",
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING",
    ];
    if env.switch(DISABLED)? == Some(true) {
        return Ok(Some(DISABLED));
    }
    let Some((first, _)) = env.first(&TRACING)? else {
        return Ok(None);
    };
    let off = env.switch(first)? == Some(false);
    Ok(TRACING.into_iter().find(|name| off && *name == first))
}

/// A value without blanks and quotes around it, as LangSmith's own client takes it.
fn unquote(value: &str) -> &str {
    value.trim().trim_matches('"').trim_matches('\'')
}

/// The text of a key, for the place that needs it.
fn expose(key: &SecretString) -> &str {
    unquote(key.expose_secret())
}

/// A base URL without LangSmith's OTLP door at its end, as people have it who come from OpenTelemetry.
fn without_otlp_door(url: &str) -> &str {
    let url = unquote(url).trim_end_matches('/');
    let base = url.strip_suffix("/v1/traces").unwrap_or(url);
    base.strip_suffix("/otel").unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError};

    use super::*;

    fn layer(vars: &[(&str, &str)]) -> Result<Layer, EnvError> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            vars.get(name)
                .map(|v| (*v).to_owned())
                .ok_or(VarError::NotPresent)
        };
        read(Env::from_fn(&get))
    }

    fn key(layer: &Layer) -> &str {
        expose(layer.api_key.as_ref().unwrap())
    }

    #[test]
    fn every_variable_is_read_under_both_names() {
        for prefix in ["LANGSMITH", "LANGCHAIN"] {
            let names = [
                ("API_KEY", " 'lsv2_pt_x'\n"),
                ("ENDPOINT", "\"http://localhost:1984/api/v1/\""),
                ("PROJECT", "p"),
                ("WORKSPACE_ID", "\"w\""),
                ("HIDE_INPUTS", "true"),
                ("HIDE_OUTPUTS", "True"),
                ("HIDE_METADATA", "false"),
            ]
            .map(|(name, value)| (format!("{prefix}_{name}"), value));
            let mut vars: Vec<_> = names.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            vars.push(("BELUGA_O11Y_ALLOW_HTTP", "1"));
            let layer = layer(&vars).unwrap();
            assert_eq!(key(&layer), "lsv2_pt_x");
            assert_eq!(
                layer.base_url.as_deref(),
                Some("http://localhost:1984/api/v1/")
            );
            assert_eq!(layer.project.as_deref(), Some("p"));
            assert_eq!(layer.workspace_id.as_deref(), Some("w"));
            assert_eq!(
                (layer.hide_inputs, layer.hide_outputs, layer.hide_metadata),
                (Some(true), Some(true), Some(false))
            );
            assert_eq!((layer.allow_http, layer.disabled_by), (Some(true), None));
        }
    }

    #[test]
    fn langsmith_beats_langchain_and_blank_is_unset() {
        let layer = layer(&[
            ("LANGCHAIN_API_KEY", "old"),
            ("LANGSMITH_API_KEY", "new"),
            ("LANGCHAIN_PROJECT", "old"),
            ("LANGSMITH_PROJECT", " "),
            ("LANGSMITH_WORKSPACE_ID", "\"\""),
            ("LANGCHAIN_HIDE_INPUTS", "true"),
            ("LANGSMITH_HIDE_INPUTS", "false"),
        ])
        .unwrap();
        assert_eq!(key(&layer), "new");
        assert_eq!(layer.project.as_deref(), Some("old"));
        assert_eq!(layer.workspace_id, None);
        assert_eq!(layer.hide_inputs, Some(false));
    }

    #[test]
    fn the_order_of_project_names() {
        let mut vars = vec![("LANGCHAIN_SESSION", "1")];
        for name in [
            ("LANGSMITH_SESSION", "2"),
            ("LANGCHAIN_PROJECT", "3"),
            ("LANGSMITH_PROJECT", "4"),
            ("HOSTED_LANGSERVE_PROJECT_NAME", "5"),
        ] {
            let project = layer(&vars).unwrap().project;
            assert_eq!(project.as_deref(), vars.last().map(|(_, value)| *value));
            vars.push(name);
        }
        assert_eq!(layer(&vars).unwrap().project.as_deref(), Some("5"));
    }

    #[test]
    fn the_off_switches() {
        let by = |vars: &[(&str, &str)]| layer(vars).unwrap().disabled_by;
        assert_eq!(by(&[]), None);
        assert_eq!(by(&[("BELUGA_O11Y_DISABLED", "true")]), Some(DISABLED));
        for name in [
            "LANGSMITH_TRACING_V2",
            "LANGCHAIN_TRACING_V2",
            "LANGSMITH_TRACING",
            "LANGCHAIN_TRACING",
        ] {
            assert_eq!(by(&[(name, "False")]), Some(name));
            assert_eq!(by(&[(name, "true")]), None);
            assert_eq!(
                by(&[(name, "true"), ("BELUGA_O11Y_DISABLED", "1")]),
                Some(DISABLED)
            );
        }
        let both = [
            ("LANGSMITH_TRACING", "false"),
            ("LANGCHAIN_TRACING_V2", "true"),
        ];
        assert_eq!(
            by(&both),
            None,
            "V2 is asked first, as LangSmith's client does"
        );
    }

    #[test]
    fn switched_off_nothing_else_can_be_wrong() {
        let vars = [
            ("LANGSMITH_TRACING", "false"),
            ("LANGSMITH_HIDE_INPUTS", "x"),
        ];
        assert!(layer(&vars).is_ok());
    }

    #[test]
    fn a_switch_that_is_none_is_named() {
        for name in [
            "BELUGA_O11Y_DISABLED",
            "BELUGA_O11Y_ALLOW_HTTP",
            "LANGCHAIN_TRACING_V2",
            "LANGSMITH_HIDE_OUTPUTS",
            "LANGCHAIN_HIDE_METADATA",
        ] {
            let error = LangSmithConfigError::from(layer(&[(name, "canary")]).unwrap_err());
            assert_eq!(
                error.to_string(),
                format!("langsmith: {name} must be true or false")
            );
        }
    }

    #[test]
    fn the_otlp_door_is_taken_off() {
        for (url, base) in [
            ("https://x.example.com", "https://x.example.com"),
            (
                "https://x.example.com/api/v1/",
                "https://x.example.com/api/v1",
            ),
            ("https://x.example.com/otel", "https://x.example.com"),
            (
                "https://x.example.com/otel/v1/traces/",
                "https://x.example.com",
            ),
            (
                " 'https://x.example.com/api/v1/otel/' ",
                "https://x.example.com/api/v1",
            ),
            ("https://x.example.com/hotel", "https://x.example.com/hotel"),
            (
                "https://x.example.com/v1/traces",
                "https://x.example.com/v1/traces",
            ),
        ] {
            assert_eq!(without_otlp_door(url), base);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let layer = layer(&[
            ("LANGSMITH_API_KEY", "canary"),
            ("LANGSMITH_ENDPOINT", "http://u:canary@h"),
        ]);
        assert!(!format!("{layer:?}").contains("canary"));
    }
}
