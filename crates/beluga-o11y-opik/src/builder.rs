//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use beluga_o11y_http::{HttpSenderBuilder, not_blank};
use secrecy::SecretString;

use crate::{
    OpikAuthorization, OpikConfig, OpikConfigError, OpikExporter,
    auth::Auth,
    config::{self, Layer},
    connection::Connection,
    convert::{MAX_NAME_CHARS, Target},
    exporter::Inner,
};

const MAX_RECORD_BYTES: usize = 20_000_000;
const MAX_REQUEST_BYTES: usize = 4_000_000;

/// Makes an [`OpikExporter`]. Every setting has a default, and only [`build`](Self::build) can fail.
///
/// What is set in code beats the environment, whether [`from_env`](Self::from_env) is called before or after;
/// the environment beats the configuration file, and that the default. `Debug` shows no key.
#[must_use]
pub struct OpikExporterBuilder {
    code: Layer,
    ambient: Result<Layer, OpikConfigError>,
    authorization: OpikAuthorization,
    max_record_bytes: usize,
    max_request_bytes: usize,
    timeout: Duration,
    http: HttpSenderBuilder,
}

impl Default for OpikExporterBuilder {
    fn default() -> Self {
        Self {
            code: Layer::default(),
            ambient: Ok(Layer::default()),
            authorization: OpikAuthorization::default(),
            max_record_bytes: MAX_RECORD_BYTES,
            max_request_bytes: MAX_REQUEST_BYTES,
            timeout: Duration::from_secs(10),
            http: HttpSenderBuilder::default()
                .with_user_agent(concat!("beluga-o11y-opik/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl OpikExporterBuilder {
    /// Takes what is not set in code from the environment and from the file that `opik configure` writes,
    /// as Opik's own clients do. Errors in them are reported by [`build`](Self::build).
    ///
    /// | variable | in the file | setting |
    /// |---|---|---|
    /// | `OPIK_API_KEY` | `api_key` | [`with_api_key`](Self::with_api_key) |
    /// | `OPIK_WORKSPACE` | `workspace` | [`with_workspace`](Self::with_workspace) |
    /// | `OPIK_URL_OVERRIDE` | `url_override` | [`with_base_url`](Self::with_base_url) |
    /// | `OPIK_PROJECT_NAME` | `project_name` | [`with_project`](Self::with_project) |
    /// | `OPIK_ENVIRONMENT` | `environment` | [`with_environment`](Self::with_environment) |
    /// | `OPIK_TRACK_DISABLE`, `BELUGA_O11Y_DISABLED` | `track_disable` | the exporter accepts calls and sends nothing |
    /// | `BELUGA_O11Y_ALLOW_HTTP` | | [`with_allow_http`](Self::with_allow_http) |
    /// | `OPIK_CONFIG_PATH` | | the file; default `~/.opik.config`, section `[opik]` |
    ///
    /// A variable that is empty or blank counts as unset.
    pub fn from_env(mut self) -> Self {
        self.ambient = Layer::from_env();
        self
    }

    /// Whether there is a key, or the URL of an Opik of one's own, so far: whether Opik is meant to be used.
    /// What is wrong with the settings counts as one, so that [`build`](Self::build) gets to tell.
    pub fn has_credentials(&self) -> bool {
        let has = |layer: &Layer| layer.api_key.is_some() || layer.base_url.is_some();
        has(&self.code) || self.ambient.as_ref().map_or(true, has)
    }

    /// The API key. Required for the cloud (`comet.com` and below); a self-hosted Opik has none. A blank one is none.
    /// Variable `OPIK_API_KEY`; no default.
    ///
    /// A key of the form `<key>*<base64 of {"baseUrl": "https://.."}>` also sets the base URL, if that is
    /// not set anywhere else.
    pub fn with_api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.code.api_key = Some(key.into());
        self
    }

    /// The workspace. Variable `OPIK_WORKSPACE`; default `default`, which is the only one that a self-hosted
    /// Opik has and, in the cloud, the user's own.
    pub fn with_workspace(mut self, workspace: impl Into<String>) -> Self {
        self.code.workspace = Some(workspace.into());
        self
    }

    /// The base URL of the API, with any path, with or without a slash at the end. Variable `OPIK_URL_OVERRIDE`;
    /// default `https://www.comet.com/opik/api`. A self-hosted Opik is usually at `http://localhost:5173/api`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self
    }

    /// The project, at most 150 characters; Opik makes it on first use. Variable `OPIK_PROJECT_NAME`; default none, which
    /// Opik files under `Default Project`.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.code.project = Some(project.into());
        self
    }

    /// The environment of calls that name none, at most 150 characters. Variable `OPIK_ENVIRONMENT`; default none.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self
    }

    /// How the key is sent. Default [`OpikAuthorization::Auto`].
    pub fn with_authorization(mut self, form: OpikAuthorization) -> Self {
        self.authorization = form;
        self
    }

    /// The most bytes of JSON that one call may have. Larger ones are refused before anything is sent.
    /// Default 20 MB, which is about what the cloud takes.
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// The most bytes of JSON in one request; a batch is split accordingly. A single call may be larger. Default 4 MB.
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// How long one request may take, from connecting to the last byte of the answer. Default 10 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends credentials over plain `http://` to any host. Variable `BELUGA_O11Y_ALLOW_HTTP`; default false:
    /// they go over plain `http://` only to this machine and the local network.
    pub fn with_allow_http(mut self, allow: bool) -> Self {
        self.code.allow_http = Some(allow);
        self
    }

    beluga_o11y_http::http_settings!(http);

    /// The exporter. No connection is made yet, and no runtime is needed; to send, it must be called from
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`OpikConfigError`] names the first setting that is missing or wrong.
    pub fn build(self) -> Result<OpikExporter, OpikConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("opik: switched off by {switch}: calls are accepted and not sent");
        }
        let disabled = settings.disabled_by.is_some();
        let workspace = not_blank("workspace", settings.workspace)?;
        let project = short(not_blank("project", settings.project)?, "project")?;
        let environment = short(
            not_blank("environment", settings.environment)?,
            "environment",
        )?;
        let workspace = workspace.unwrap_or_else(|| config::DEFAULT_WORKSPACE.to_owned());

        let key = settings.api_key.as_ref().map(config::expose);
        let (key, server) = key.map_or(("", Ok(None)), config::split_key);
        let key = Some(key).filter(|key| !key.is_empty());
        let base_url = match settings.base_url {
            Some(url) => url,
            None => server?.unwrap_or_else(|| config::DEFAULT_BASE_URL.to_owned()),
        };
        let sender = self
            .http
            .with_timeout(self.timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(&base_url)
            .with_credentials(key.is_some())
            .with_public_header("comet-workspace", &workspace)
            .build()?;
        if key.is_none() && !disabled && config::is_cloud(sender.host()) {
            let host = sender.host().to_owned();
            return Err(OpikConfigError::MissingApiKey { host });
        }
        let auth = Auth::new(key, self.authorization, self.timeout)?;
        let config = OpikConfig {
            base_url: sender.base_url().to_owned(),
            workspace,
            project: project.clone(),
            environment: environment.clone(),
            has_api_key: key.is_some(),
            timeout: self.timeout,
            disabled,
        };
        Ok(OpikExporter::new(Inner {
            config,
            connection: (!disabled).then(|| Connection::new(sender, auth)),
            target: Target {
                project,
                environment,
                max_record_bytes: self.max_record_bytes,
            },
            max_request_bytes: self.max_request_bytes,
        }))
    }
}

fn short(value: Option<String>, setting: &'static str) -> Result<Option<String>, OpikConfigError> {
    match value.as_ref().map(|value| value.chars().count()) {
        Some(length) if length > MAX_NAME_CHARS => {
            Err(OpikConfigError::TooLong { setting, length })
        }
        _ => Ok(value),
    }
}

impl fmt::Debug for OpikExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpikExporterBuilder")
            .field("code", &self.code)
            .field("ambient", &self.ambient)
            .field("authorization", &self.authorization)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("timeout", &self.timeout)
            .field("http", &self.http)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> OpikExporterBuilder {
        OpikExporterBuilder::default()
    }

    fn fails(builder: OpikExporterBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    fn with_ambient(mut builder: OpikExporterBuilder, ambient: Layer) -> OpikExporterBuilder {
        builder.ambient = Ok(ambient);
        builder
    }

    #[test]
    fn defaults() {
        let exporter = builder().with_api_key("key").build().unwrap();
        let config = exporter.config();
        assert_eq!(config.base_url, "https://www.comet.com/opik/api");
        assert_eq!(config.workspace, "default");
        assert_eq!((&config.project, &config.environment), (&None, &None));
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert!(config.has_api_key && !config.disabled);
    }

    #[test]
    fn the_cloud_wants_a_key_and_others_do_not() {
        let error = fails(builder());
        assert!(
            error.starts_with("opik: API key is required for www.comet.com"),
            "{error}"
        );
        assert!(
            error.contains("with_api_key(..)") && error.contains("OPIK_API_KEY"),
            "{error}"
        );
        for nothing in ["", " ", "*", " *\n"] {
            assert!(fails(builder().with_api_key(nothing)).contains("API key is required"));
        }
        let own = builder()
            .with_base_url("http://localhost:5173/api/")
            .build()
            .unwrap();
        assert_eq!(own.config().base_url, "http://localhost:5173/api");
        assert!(!own.config().has_api_key);
    }

    #[test]
    fn code_beats_the_environment_in_either_order() {
        let ambient = Layer {
            workspace: Some("ambient".into()),
            project: Some("ambient".into()),
            base_url: Some("http://localhost:1".into()),
            ..Layer::default()
        };
        let after = with_ambient(builder().with_workspace("code"), ambient.clone());
        let before = with_ambient(builder(), ambient).with_workspace("code");
        for builder in [after, before] {
            let exporter = builder.build().unwrap();
            assert_eq!(exporter.config().workspace, "code");
            assert_eq!(exporter.config().project.as_deref(), Some("ambient"));
        }
    }

    #[test]
    fn names_may_have_150_characters() {
        let name = "ü".repeat(150);
        let own = builder().with_base_url("http://localhost:5173/api");
        assert!(
            own.with_project(&name)
                .with_environment(&name)
                .build()
                .is_ok()
        );
    }

    #[test]
    fn bad_settings_are_named() {
        let own = || builder().with_base_url("http://localhost:5173/api");
        for (builder, text) in [
            (own().with_workspace(" "), "opik: the workspace is blank"),
            (own().with_project(""), "opik: the project is blank"),
            (
                own().with_project("x".repeat(151)),
                "opik: the project is 151 characters long",
            ),
            (
                own().with_workspace("a\nb"),
                "opik: invalid value for the header comet-workspace",
            ),
            (
                own().with_api_key("a\nb"),
                "opik: invalid value for the header authorization",
            ),
            (
                builder().with_base_url("nonsense"),
                "opik: invalid base URL",
            ),
            (builder().with_base_url(""), "opik: invalid base URL"),
            (
                builder().with_base_url("ftp://localhost"),
                "opik: invalid base URL",
            ),
            (
                builder().with_base_url("http://u:p@localhost"),
                "opik: credentials in the URL",
            ),
            (
                own().with_timeout(Duration::ZERO),
                "opik: the timeout must be longer than zero",
            ),
            (
                own().with_header("Bad Name", "x"),
                "opik: invalid header name",
            ),
            (
                own().with_root_certificate_pem("x"),
                "opik: invalid root certificate",
            ),
        ] {
            let error = fails(builder);
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn a_key_over_plain_http_stays_in_the_local_network() {
        let public = || builder().with_base_url("http://opik.example.com/api");
        let error = fails(public().with_api_key("key"));
        assert!(
            error.starts_with("opik: a credential over plain http://"),
            "{error}"
        );
        assert!(error.contains("with_allow_http(true)"), "{error}");
        assert!(error.contains("BELUGA_O11Y_ALLOW_HTTP=true"), "{error}");
        assert!(
            public()
                .with_api_key("key")
                .with_allow_http(true)
                .build()
                .is_ok()
        );
        assert!(public().build().is_ok(), "a workspace is no credential");
        let private = builder()
            .with_base_url("http://10.0.0.7:5173/api")
            .with_api_key("key");
        assert!(private.build().is_ok());
    }

    #[test]
    fn a_key_names_its_server_if_nothing_else_does() {
        // {"baseUrl":"https://comet.example.com"}
        let key = "k*eyJiYXNlVXJsIjoiaHR0cHM6Ly9jb21ldC5leGFtcGxlLmNvbSJ9";
        let base_url =
            |builder: OpikExporterBuilder| builder.build().unwrap().config().base_url.clone();
        assert_eq!(
            base_url(builder().with_api_key(key)),
            "https://comet.example.com/opik/api"
        );
        let given = builder()
            .with_api_key(key)
            .with_base_url("https://o.example.com/api");
        assert_eq!(base_url(given), "https://o.example.com/api");
        assert!(fails(builder().with_api_key("k*x")).contains("set the base URL yourself"));
        let given = builder()
            .with_api_key("k*x")
            .with_base_url("https://o.example.com/api");
        assert_eq!(base_url(given), "https://o.example.com/api");
    }

    #[test]
    fn switched_off_needs_no_key() {
        let off = Layer {
            disabled_by: Some("OPIK_TRACK_DISABLE"),
            ..Layer::default()
        };
        let exporter = with_ambient(builder(), off).build().unwrap();
        assert!(exporter.config().disabled);
    }

    #[test]
    fn debug_shows_no_secret() {
        let builder = builder()
            .with_api_key("canary")
            .with_header("x-gateway", "canary")
            .with_proxy("http://u:canary@localhost:1");
        assert!(!format!("{builder:?}").contains("canary"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("canary"));
    }
}
