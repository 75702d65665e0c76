//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use beluga_o11y_http::{HttpSenderBuilder, Setting, not_blank};
use secrecy::SecretString;

use crate::{
    LangSmithConfig, LangSmithConfigError, LangSmithExporter,
    config::{self, Layer, name},
    convert::Target,
    exporter::Inner,
};

const MAX_RECORD_BYTES: usize = 20_000_000;
const MAX_REQUEST_BYTES: usize = 4_000_000;

/// Makes a [`LangSmithExporter`]. Every setting but the key has a default, and only [`build`](Self::build) can
/// fail.
///
/// What is set in code beats the environment, whether [`from_env`](Self::from_env) is called before or after;
/// the environment beats the default. `Debug` shows no key.
#[must_use]
pub struct LangSmithExporterBuilder {
    code: Layer,
    ambient: Result<Layer, LangSmithConfigError>,
    max_record_bytes: usize,
    max_request_bytes: usize,
    http: HttpSenderBuilder,
}

impl Default for LangSmithExporterBuilder {
    fn default() -> Self {
        Self {
            code: Layer::default(),
            ambient: Ok(Layer::default()),
            max_record_bytes: MAX_RECORD_BYTES,
            max_request_bytes: MAX_REQUEST_BYTES,
            http: HttpSenderBuilder::default()
                .with_gzip(false)
                .with_user_agent(concat!("beluga-o11y-langsmith/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl LangSmithExporterBuilder {
    /// Takes what is not set in code from the environment, as LangSmith's own clients do. Errors in it are
    /// reported by [`build`](Self::build).
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `LANGSMITH_API_KEY` | [`with_api_key`](Self::with_api_key); blanks and quotes around it are taken off |
    /// | `LANGSMITH_ENDPOINT` | [`with_base_url`](Self::with_base_url) |
    /// | `LANGSMITH_PROJECT`, then `LANGSMITH_SESSION`; `HOSTED_LANGSERVE_PROJECT_NAME` before both | [`with_project`](Self::with_project) |
    /// | `LANGSMITH_WORKSPACE_ID` | [`with_workspace_id`](Self::with_workspace_id) |
    /// | `LANGSMITH_HIDE_INPUTS`, `LANGSMITH_HIDE_OUTPUTS`, `LANGSMITH_HIDE_METADATA` | [`with_hide_inputs`](Self::with_hide_inputs), [`with_hide_outputs`](Self::with_hide_outputs), [`with_hide_metadata`](Self::with_hide_metadata) |
    /// | `LANGSMITH_TRACING_SAMPLING_RATE` | for the pipeline around it: see [`LangSmithConfig`] |
    /// | `LANGSMITH_TRACING_V2`, then `LANGSMITH_TRACING` | `false`: the exporter accepts calls and sends nothing. Unset, it sends, unlike LangSmith's own clients |
    /// | `BELUGA_O11Y_DISABLED` | `true`: the exporter accepts calls and sends nothing |
    /// | `BELUGA_O11Y_ALLOW_HTTP` | [`with_allow_http`](Self::with_allow_http) |
    ///
    /// Each `LANGSMITH_` name counts also as `LANGCHAIN_`, which is read second. A variable that is empty
    /// or blank counts as unset. Not read: `LANGSMITH_RUNS_ENDPOINTS`, since one exporter sends to one place.
    pub fn from_env(mut self) -> Self {
        self.ambient = Layer::from_env();
        self
    }

    /// Whether there is a key so far: whether LangSmith is meant to be used.
    /// What is wrong with the settings counts as one, so that [`build`](Self::build) gets to tell.
    pub fn has_credentials(&self) -> bool {
        let has = |layer: &Layer| layer.api_key.is_some();
        has(&self.code) || self.ambient.as_ref().map_or(true, has)
    }

    /// The API key, sent as `x-api-key`. Required. Blanks and quotes around it are taken off. Variable
    /// `LANGSMITH_API_KEY`; no default.
    ///
    /// A key that belongs to a whole organisation also needs [`with_workspace_id`](Self::with_workspace_id).
    pub fn with_api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.code.api_key = Some(key.into());
        self.code.origins.code(name::API_KEY);
        self
    }

    /// The project; LangSmith makes it on first use. Variable `LANGSMITH_PROJECT`; default `default`.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.code.project = Some(project.into());
        self.code.origins.code(name::PROJECT);
        self
    }

    /// The base URL of the API, with any path, with or without a slash at the end. Variable
    /// `LANGSMITH_ENDPOINT`; default `https://api.smith.langchain.com`.
    ///
    /// Other regions have hosts of their own, such as `https://eu.api.smith.langchain.com`, and keys of
    /// their own. A server of one's own has its API below `/api/v1`. The `/otel` or `/otel/v1/traces` of
    /// an OpenTelemetry setup is taken off.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self.code.origins.code(name::BASE_URL);
        self
    }

    /// The id of the workspace, sent as `x-tenant-id`. A key that belongs to a whole organisation needs
    /// it; for a personal one LangSmith takes the default workspace. Variable `LANGSMITH_WORKSPACE_ID`; no
    /// default.
    pub fn with_workspace_id(mut self, id: impl Into<String>) -> Self {
        self.code.workspace_id = Some(id.into());
        self.code.origins.code(name::WORKSPACE_ID);
        self
    }

    /// The environment of calls that name none, sent as metadata. No variable; default none.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self.code.origins.code(name::ENVIRONMENT);
        self
    }

    /// Leaves out what was sent to the model: the messages, and of the parameters all but temperature and
    /// the limit of tokens. Variable `LANGSMITH_HIDE_INPUTS`; default false.
    pub fn with_hide_inputs(mut self, hide: bool) -> Self {
        self.code.hide_inputs = Some(hide);
        self
    }

    /// Leaves out what the model answered. An error's text stays. Variable `LANGSMITH_HIDE_OUTPUTS`;
    /// default false.
    pub fn with_hide_outputs(mut self, hide: bool) -> Self {
        self.code.hide_outputs = Some(hide);
        self
    }

    /// Leaves out the caller's metadata, session, user, and foreign trace ids; model, tokens, cost,
    /// environment, release and tags stay. Variable `LANGSMITH_HIDE_METADATA`; default false.
    pub fn with_hide_metadata(mut self, hide: bool) -> Self {
        self.code.hide_metadata = Some(hide);
        self
    }

    /// The most bytes of JSON that one call may have. Larger ones are refused before anything is sent.
    /// Default 20 MB, just below the 20,971,520 bytes that LangSmith's `/info` gives as the limit of a
    /// request.
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = bytes;
        self
    }

    /// The most bytes of JSON in one request; a batch is split accordingly. A single call may be larger.
    /// Default 4 MB.
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// How long one request may take, from connecting to the last byte of the answer. Default 10 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.code.timeout = Some(timeout);
        self.code.origins.code(name::TIMEOUT);
        self
    }

    /// Sends the key over plain `http://` to any host. Variable `BELUGA_O11Y_ALLOW_HTTP`; default false: it
    /// goes over plain `http://` only to this machine and the local network.
    pub fn with_allow_http(mut self, allow: bool) -> Self {
        self.code.allow_http = Some(allow);
        self.code.origins.code(name::ALLOW_HTTP);
        self
    }

    beluga_o11y_http::http_settings!(
        http,
        gzip: "Default false: whether this door of LangSmith unpacks them is not known, and its own \
               clients send to it unpacked."
    );

    /// What the settings come to so far, by the rules of [`build`](Self::build), and where each comes from: for
    /// people who look for why calls go elsewhere. No secret is shown. It answers too if the key is missing or an off
    /// switch is on. With an off switch in the environment the rest of it is not read, so it does not count.
    ///
    /// # Errors
    ///
    /// A value in the environment is not what its name stands for.
    pub fn settings(&self) -> Result<Vec<Setting>, LangSmithConfigError> {
        let settings = self.code.clone().or(self.ambient.clone()?);
        Ok(settings.settings(self.http.header_count()))
    }

    /// The exporter. No connection is made yet, and no runtime is needed; to send, it must be called from
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`LangSmithConfigError`] names the first setting that is missing or wrong.
    pub fn build(self) -> Result<LangSmithExporter, LangSmithConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("langsmith: switched off by {switch}: calls are accepted and not sent");
        }
        let disabled = settings.disabled_by.is_some();
        let hide = settings.hide();
        let project = not_blank("project", settings.project.clone())?;
        let project = project.unwrap_or_else(|| config::DEFAULT_PROJECT.to_owned());
        let workspace_id = not_blank("workspace id", settings.workspace_id.clone())?;
        let environment = not_blank("environment", settings.environment.clone())?;
        let key = settings.key();
        if key.is_none() && !disabled {
            return Err(LangSmithConfigError::MissingApiKey);
        }

        let timeout = settings.timeout();
        let mut http = self
            .http
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(settings.base_url());
        if let Some(key) = key {
            http = http.with_header("x-api-key", key);
        }
        if let Some(id) = &workspace_id {
            http = http.with_public_header("x-tenant-id", id);
        }
        let sender = http.build()?;
        let config = LangSmithConfig {
            base_url: sender.base_url().to_owned(),
            project: project.clone(),
            workspace_id,
            environment: environment.clone(),
            hides_inputs: hide.inputs,
            hides_outputs: hide.outputs,
            hides_metadata: hide.metadata,
            timeout,
            disabled,
            sample_rate: settings.sample_rate,
        };
        Ok(LangSmithExporter::new(Inner {
            config,
            sender: (!disabled).then_some(sender),
            target: Target {
                project,
                environment,
                hide,
                max_record_bytes: self.max_record_bytes,
            },
            max_request_bytes: self.max_request_bytes,
        }))
    }
}

impl fmt::Debug for LangSmithExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LangSmithExporterBuilder")
            .field("code", &self.code)
            .field("ambient", &self.ambient)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("http", &self.http)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError};

    use beluga_o11y_http::Env;

    use crate::config::read;

    use super::*;

    fn builder() -> LangSmithExporterBuilder {
        LangSmithExporterBuilder::default()
    }

    fn with_key() -> LangSmithExporterBuilder {
        builder().with_api_key("key")
    }

    fn fails(builder: LangSmithExporterBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    fn with_ambient(
        mut builder: LangSmithExporterBuilder,
        ambient: Layer,
    ) -> LangSmithExporterBuilder {
        builder.ambient = Ok(ambient);
        builder
    }

    #[test]
    fn defaults() {
        let exporter = with_key().build().unwrap();
        assert_eq!(
            *exporter.config(),
            LangSmithConfig {
                base_url: "https://api.smith.langchain.com".into(),
                project: "default".into(),
                workspace_id: None,
                environment: None,
                hides_inputs: false,
                hides_outputs: false,
                hides_metadata: false,
                timeout: Duration::from_secs(10),
                disabled: false,
                sample_rate: None,
            }
        );
    }

    #[test]
    fn a_key_is_required_everywhere() {
        let error = fails(builder());
        assert_eq!(
            error,
            "langsmith: API key is required: call with_api_key(..), or set LANGSMITH_API_KEY and use \
             from_env()"
        );
        let own = builder().with_base_url("http://localhost:1984/api/v1");
        assert_eq!(fails(own), error);
        for nothing in ["", " ", "\"\"", "''\n"] {
            assert_eq!(fails(builder().with_api_key(nothing)), error);
        }
    }

    #[test]
    fn code_beats_the_environment_in_either_order() {
        let ambient = Layer {
            api_key: Some("ambient".into()),
            project: Some("ambient".into()),
            workspace_id: Some("ambient".into()),
            hide_inputs: Some(true),
            hide_outputs: Some(true),
            ..Layer::default()
        };
        let code = |builder: LangSmithExporterBuilder| {
            builder.with_project("code").with_hide_inputs(false)
        };
        let after = with_ambient(code(builder()), ambient.clone());
        let before = code(with_ambient(builder(), ambient));
        for builder in [after, before] {
            let exporter = builder.build().unwrap();
            let config = exporter.config();
            assert_eq!(config.project, "code");
            assert_eq!(config.workspace_id.as_deref(), Some("ambient"));
            assert_eq!((config.hides_inputs, config.hides_outputs), (false, true));
        }
    }

    #[test]
    fn the_base_url_may_have_a_path_and_loses_the_otlp_door() {
        for (url, base) in [
            (
                "https://ls.example.com/api/v1/",
                "https://ls.example.com/api/v1",
            ),
            (
                "https://ls.example.com/api/v1/otel",
                "https://ls.example.com/api/v1",
            ),
            (
                "https://eu.api.smith.langchain.com/otel/v1/traces",
                "https://eu.api.smith.langchain.com",
            ),
        ] {
            let exporter = with_key().with_base_url(url).build().unwrap();
            assert_eq!(exporter.config().base_url, base);
        }
    }

    #[test]
    fn bad_settings_are_named() {
        for (builder, text) in [
            (
                with_key().with_project(" "),
                "langsmith: the project is blank",
            ),
            (
                with_key().with_workspace_id(""),
                "langsmith: the workspace id is blank",
            ),
            (
                with_key().with_environment("\n"),
                "langsmith: the environment is blank",
            ),
            (
                with_key().with_workspace_id("a\nb"),
                "langsmith: invalid value for the header x-tenant-id",
            ),
            (
                builder().with_api_key("a\nb"),
                "langsmith: invalid value for the header x-api-key",
            ),
            (
                with_key().with_base_url("nonsense"),
                "langsmith: invalid base URL",
            ),
            (with_key().with_base_url(""), "langsmith: invalid base URL"),
            (
                with_key().with_base_url("http://u:p@localhost"),
                "langsmith: credentials in the URL",
            ),
            (
                with_key().with_timeout(Duration::ZERO),
                "langsmith: the timeout must be longer than zero",
            ),
            (
                with_key().with_header("Bad Name", "x"),
                "langsmith: invalid header name",
            ),
        ] {
            let error = fails(builder);
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn the_key_over_plain_http_stays_in_the_local_network() {
        let public = || with_key().with_base_url("http://ls.example.com/api/v1");
        let error = fails(public());
        assert!(
            error.starts_with("langsmith: a credential over plain http://"),
            "{error}"
        );
        assert!(public().with_allow_http(true).build().is_ok());
        let private = with_key().with_base_url("http://10.0.0.7:1984/api/v1");
        assert!(private.build().is_ok());
    }

    #[test]
    fn switched_off_needs_no_key() {
        let off = Layer {
            disabled_by: Some("LANGSMITH_TRACING"),
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

    /// A line a setting: its name, its value and where it came from.
    fn lines(builder: &LangSmithExporterBuilder) -> Vec<String> {
        let settings = builder.settings().unwrap();
        let line = |setting: &Setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{}: {value} ({})", setting.name, setting.origin)
        };
        settings.iter().map(line).collect()
    }

    fn with_vars(
        mut builder: LangSmithExporterBuilder,
        vars: &[(&str, &str)],
    ) -> LangSmithExporterBuilder {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        builder.ambient = read(Env::from_fn(&get)).map_err(LangSmithConfigError::from);
        builder
    }

    #[test]
    fn each_setting_tells_where_it_came_from() {
        let expected = [
            "base URL: https://api.smith.langchain.com (default)",
            "API key: - (default)",
            "workspace id: - (default)",
            "project: default (default)",
            "environment: - (default)",
            "timeout: 10s (default)",
            "sample rate: - (default)",
            "allow http: false (default)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&builder()), expected);

        let vars = [
            ("LANGCHAIN_ENDPOINT", "'http://localhost:1984/api/v1/otel/'"),
            ("LANGSMITH_API_KEY", "\"lsv2_pt_canary_1234\""),
            ("LANGCHAIN_API_KEY", "lsv2_pt_canary_5678"),
            ("LANGSMITH_WORKSPACE_ID", "\"\""),
            ("LANGCHAIN_SESSION", "session"),
            ("LANGCHAIN_TRACING_SAMPLING_RATE", "0.5"),
            ("BELUGA_O11Y_ALLOW_HTTP", "1"),
        ];
        let variables = with_vars(builder(), &vars);
        let expected = [
            "base URL: http://localhost:1984/api/v1 (LANGCHAIN_ENDPOINT)",
            "API key: …1234 (LANGSMITH_API_KEY)",
            "workspace id: - (default)",
            "project: session (LANGCHAIN_SESSION)",
            "environment: - (default)",
            "timeout: 10s (default)",
            "sample rate: 0.5 (LANGCHAIN_TRACING_SAMPLING_RATE)",
            "allow http: true (BELUGA_O11Y_ALLOW_HTTP)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&variables), expected);
        assert!(!format!("{:?} {variables:?}", variables.settings()).contains("canary"));
        let settings = variables.settings().unwrap();
        let exporter = variables.build().unwrap();
        let config = exporter.config();
        assert_eq!(settings[0].value.as_ref(), Some(&config.base_url));
        assert_eq!(settings[3].value.as_ref(), Some(&config.project));

        let code = with_vars(builder(), &vars)
            .with_base_url("http://u:canary@h/otel")
            .with_api_key(" 'lsv2_pt_code_canary_90ab' ")
            .with_workspace_id("code")
            .with_project("code")
            .with_environment("code")
            .with_timeout(Duration::from_secs(1))
            .with_allow_http(false)
            .with_header("x-gateway", "canary");
        let expected = [
            "base URL: http://h/… (code)",
            "API key: …90ab (code)",
            "workspace id: code (code)",
            "project: code (code)",
            "environment: code (code)",
            "timeout: 1s (code)",
            "sample rate: 0.5 (LANGCHAIN_TRACING_SAMPLING_RATE)",
            "allow http: false (code)",
            "headers: 1 header (code)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&code), expected);
        assert!(!format!("{:?}", code.settings()).contains("canary"));
    }

    #[test]
    fn settings_answer_when_switched_off_and_fail_for_what_cannot_be_read() {
        let off = [
            ("LANGCHAIN_TRACING", "false"),
            ("LANGSMITH_HIDE_INPUTS", "x"),
        ];
        let last = lines(&with_vars(builder(), &off)).pop();
        assert_eq!(
            last.as_deref(),
            Some("switched off by: LANGCHAIN_TRACING (LANGCHAIN_TRACING)")
        );
        // In quotes there is nothing, so nobody set it.
        let nothing = [("LANGSMITH_ENDPOINT", "''"), ("LANGSMITH_API_KEY", "\"\"")];
        let shown = lines(&with_vars(builder(), &nothing));
        assert_eq!(
            shown[..2],
            [
                "base URL: https://api.smith.langchain.com (default)",
                "API key: - (default)"
            ]
        );
        let bad = with_vars(builder(), &[("LANGSMITH_HIDE_INPUTS", "x")]);
        assert!(bad.settings().is_err());
    }
}
