//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use beluga_o11y_http::{HttpSenderBuilder, SecretHeaderValue, Setting, not_blank};
use beluga_o11y_otlp::{Attributes, OtlpConventions, OtlpTraces};
use secrecy::SecretString;

use crate::{
    PhoenixConfig, PhoenixConfigError, PhoenixExporter,
    config::{Credentials, DEFAULT_PROJECT, Layer, name},
    exporter::Phoenix,
};

const TRACES_PATH: &str = "v1/traces";

/// Makes a [`PhoenixExporter`]. Every setting has a default, and only [`build`](Self::build) can fail.
///
/// What is set in code beats the environment, whether [`from_env`](Self::from_env) is called before or after, and the
/// environment beats the default. `Debug` shows no key.
#[must_use]
pub struct PhoenixExporterBuilder {
    code: Layer,
    ambient: Result<Layer, PhoenixConfigError>,
    conventions: OtlpConventions,
    parents: bool,
    max_record_bytes: Option<usize>,
    max_request_bytes: Option<usize>,
    http: HttpSenderBuilder,
}

impl Default for PhoenixExporterBuilder {
    fn default() -> Self {
        Self {
            code: Layer::default(),
            ambient: Ok(Layer::default()),
            conventions: OtlpConventions::OpenInference,
            parents: false,
            max_record_bytes: None,
            max_request_bytes: None,
            http: HttpSenderBuilder::default()
                .with_user_agent(concat!("beluga-o11y-phoenix/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl PhoenixExporterBuilder {
    /// Takes what is not set in code from the environment, by the variables of Phoenix's own clients. Errors in them
    /// are reported by [`build`](Self::build).
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `PHOENIX_COLLECTOR_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` | [`with_base_url`](Self::with_base_url) |
    /// | `PHOENIX_API_KEY` | [`with_api_key`](Self::with_api_key) |
    /// | `PHOENIX_CLIENT_HEADERS` | `key=value,key2=value2`, percent-encoded, or a JSON object: `with_header`; an `authorization` among them beats `PHOENIX_API_KEY` |
    /// | `PHOENIX_PROJECT`, else `PHOENIX_PROJECT_NAME` | [`with_project`](Self::with_project) |
    /// | `BELUGA_O11Y_DISABLED` | the exporter accepts calls and sends nothing |
    /// | `BELUGA_O11Y_ALLOW_HTTP` | [`with_allow_http`](Self::with_allow_http) |
    ///
    /// A variable that is empty or blank counts as unset.
    pub fn from_env(mut self) -> Self {
        self.ambient = Layer::from_env().map_err(PhoenixConfigError::from);
        self
    }

    /// Whether there is a key, or the URL of a Phoenix, so far: whether Phoenix is meant to be used. The URL of OpenTelemetry's
    /// variable does not count.
    /// What is wrong with the settings counts as one, so that [`build`](Self::build) gets to tell.
    pub fn has_credentials(&self) -> bool {
        let has = |layer: &Layer| layer.api_key.is_some() || layer.names_phoenix;
        has(&self.code) || self.ambient.as_ref().map_or(true, has)
    }

    /// The base URL, with or without `/v1/traces`, with any path before it, such as `/s/<space>` of the hosted Phoenix. Variable
    /// `PHOENIX_COLLECTOR_ENDPOINT`; default `http://localhost:6006`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self.code.origins.code(name::BASE_URL);
        self.code.names_phoenix = true;
        self
    }

    /// The API key, sent as `Authorization: Bearer`. A Phoenix without authentication needs none; a blank one is none.
    /// Variable `PHOENIX_API_KEY`; no default.
    pub fn with_api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.code.api_key = Some(key.into());
        self.code.origins.code(name::API_KEY);
        self
    }

    /// The project, which Phoenix makes on first use; not blank. Variable `PHOENIX_PROJECT`, then `PHOENIX_PROJECT_NAME`;
    /// default `default`.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.code.project = Some(project.into());
        self.code.origins.code(name::PROJECT);
        self
    }

    /// The environment of calls that name none; it stands in the metadata. Default none.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self.code.origins.code(name::ENVIRONMENT);
        self
    }

    /// The names that attributes have. Default [`OtlpConventions::OpenInference`], which Phoenix prefers to all others.
    pub fn with_conventions(mut self, conventions: OtlpConventions) -> Self {
        self.conventions = conventions;
        self
    }

    /// Whether a span names the caller's [`parent_span_id`](beluga_o11y::LLMCallData::parent_span_id) as its parent. Default
    /// false: Phoenix's list of spans shows only those without a parent, so a call whose parent is kept elsewhere would be
    /// missing there. Set it if your own spans go to the same Phoenix. Either way the id is in the metadata.
    pub fn with_parent_spans(mut self, parents: bool) -> Self {
        self.parents = parents;
        self
    }

    /// The most bytes of OTLP that one call may have, before compression. Larger ones are refused before anything is
    /// sent. Default 20 MB; Phoenix itself has no limit.
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = Some(bytes);
        self
    }

    /// The most bytes of OTLP in one request, before compression; a batch is split accordingly. A single call may be
    /// larger. Default 4 MB.
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = Some(bytes);
        self
    }

    /// How long one request may take, from connecting to the last byte of the answer. Default 10 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.code.timeout = Some(timeout);
        self.code.origins.code(name::TIMEOUT);
        self
    }

    /// Sends credentials over plain `http://` to any host. Variable `BELUGA_O11Y_ALLOW_HTTP`; default false:
    /// they go over plain `http://` only to this machine and the local network.
    pub fn with_allow_http(mut self, allow: bool) -> Self {
        self.code.allow_http = Some(allow);
        self.code.origins.code(name::ALLOW_HTTP);
        self
    }

    beluga_o11y_http::http_settings!(http);

    /// What the settings come to so far, by the rules of [`build`](Self::build), and where each comes from: for
    /// people who look for why calls go elsewhere. No secret is shown. It answers too if a key is missing or an off
    /// switch is on. With an off switch in the environment the rest of it is not read, so it does not count.
    ///
    /// # Errors
    ///
    /// A value in the environment is not what its name stands for.
    pub fn settings(&self) -> Result<Vec<Setting>, PhoenixConfigError> {
        let settings = self.code.clone().or(self.ambient.clone()?);
        Ok(settings.settings(self.http.header_count()))
    }

    /// The exporter. No connection is made yet, and no runtime is needed; to send, it must be called from
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`PhoenixConfigError`] names the first setting that is wrong.
    pub fn build(self) -> Result<PhoenixExporter, PhoenixConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("phoenix: switched off by {switch}: calls are accepted and not sent");
        }
        let project = not_blank("project", settings.project.clone())?;
        let project = project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        let environment = not_blank("environment", settings.environment.clone())?;
        let authorization = authorization(settings.credentials())?;
        let timeout = settings.timeout();
        let sender = self
            .http
            .with_defaults(settings.http.clone())
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(settings.base_url())
            .with_credentials(authorization.is_some())
            .build()?;
        let config = PhoenixConfig {
            base_url: sender.base_url().to_owned(),
            project: project.clone(),
            environment: environment.clone(),
            has_api_key: authorization.is_some(),
            timeout,
            disabled: settings.disabled_by.is_some(),
        };
        let backend = Phoenix {
            conventions: self.conventions,
            environment,
            parents: self.parents,
        };
        let mut resource = Attributes::new();
        // By attribute rather than by the header x-project-name: it survives a Collector.
        resource.text("openinference.project.name", project);
        let mut traces = OtlpTraces::new(backend, sender, TRACES_PATH)
            .with_authorization(authorization)
            .with_resource(resource);
        if let Some(bytes) = self.max_record_bytes {
            traces = traces.with_max_record_bytes(bytes);
        }
        if let Some(bytes) = self.max_request_bytes {
            traces = traces.with_max_request_bytes(bytes);
        }
        Ok(PhoenixExporter::new(config, traces))
    }
}

fn authorization(
    credentials: Option<Credentials<'_>>,
) -> Result<Option<SecretHeaderValue>, PhoenixConfigError> {
    let value = match credentials {
        None => return Ok(None),
        Some(Credentials::Whole(whole)) => SecretHeaderValue::new(whole),
        Some(Credentials::Key(key)) => SecretHeaderValue::new(&format!("Bearer {key}")),
    };
    Ok(Some(value?))
}

impl fmt::Debug for PhoenixExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoenixExporterBuilder")
            .field("code", &self.code)
            .field("ambient", &self.ambient)
            .field("conventions", &self.conventions)
            .field("parents", &self.parents)
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

    fn builder() -> PhoenixExporterBuilder {
        PhoenixExporter::builder()
    }

    fn base_url(url: &str) -> String {
        let exporter = builder().with_base_url(url).build().unwrap();
        exporter.config().base_url.clone()
    }

    #[test]
    fn defaults() {
        let exporter = builder().build().unwrap();
        let config = exporter.config();
        assert_eq!(config.base_url, "http://localhost:6006");
        assert_eq!(config.project, "default");
        assert!(!config.has_api_key && !config.disabled);
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert!(
            !builder()
                .with_api_key(" ")
                .build()
                .unwrap()
                .config()
                .has_api_key
        );
    }

    #[test]
    fn the_url_may_have_the_path_and_a_prefix() {
        assert_eq!(base_url("http://localhost:6006/"), "http://localhost:6006");
        assert_eq!(
            base_url("http://localhost:6006/v1/traces/"),
            "http://localhost:6006"
        );
        assert_eq!(
            base_url("https://phoenix.example.com/s/my-space/v1/traces"),
            "https://phoenix.example.com/s/my-space"
        );
        assert_eq!(
            base_url("https://phoenix.example.com/s/my-space"),
            "https://phoenix.example.com/s/my-space"
        );
    }

    #[test]
    fn bad_settings_are_named() {
        for (builder, text) in [
            (builder().with_project(""), "phoenix: the project is blank"),
            (
                builder().with_project(" \t"),
                "phoenix: the project is blank",
            ),
            (
                builder().with_environment(" "),
                "phoenix: the environment is blank",
            ),
            (
                builder().with_api_key("a\ncanary"),
                "phoenix: invalid value for the header",
            ),
            (builder().with_base_url("x"), "phoenix: invalid base URL"),
            (
                builder().with_base_url("/v1/traces"),
                "phoenix: invalid base URL",
            ),
            (
                builder().with_timeout(Duration::ZERO),
                "phoenix: the timeout must be longer",
            ),
            (
                builder()
                    .with_base_url("http://p.example.com")
                    .with_api_key("canary"),
                "phoenix: a credential over plain http://",
            ),
        ] {
            let error = builder.build().unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(!format!("{error:?} {error}").contains("canary"));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let builder = builder()
            .with_api_key("canary")
            .with_header("x-gateway", "canary");
        assert!(!format!("{builder:?}").contains("canary"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("canary"));
    }

    /// A line a setting: its name, its value and where it came from.
    fn lines(builder: &PhoenixExporterBuilder) -> Vec<String> {
        let settings = builder.settings().unwrap();
        let line = |setting: &Setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{}: {value} ({})", setting.name, setting.origin)
        };
        settings.iter().map(line).collect()
    }

    fn with_vars(
        mut builder: PhoenixExporterBuilder,
        vars: &[(&str, &str)],
    ) -> PhoenixExporterBuilder {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        builder.ambient = read(Env::from_fn(&get)).map_err(PhoenixConfigError::from);
        builder
    }

    #[test]
    fn each_setting_tells_where_it_came_from() {
        let expected = [
            "base URL: http://localhost:6006 (default)",
            "API key: - (default)",
            "authorization: - (default)",
            "project: default (default)",
            "environment: - (default)",
            "timeout: 10s (default)",
            "allow http: false (default)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&builder()), expected);

        let vars = [
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://localhost:1/v1/traces",
            ),
            ("PHOENIX_API_KEY", "canary-key-1234"),
            ("PHOENIX_PROJECT_NAME", "alias"),
            ("BELUGA_O11Y_ALLOW_HTTP", "true"),
        ];
        let variables = with_vars(builder(), &vars);
        let expected = [
            "base URL: http://localhost:1 (OTEL_EXPORTER_OTLP_ENDPOINT)",
            "API key: …1234 (PHOENIX_API_KEY)",
            "authorization: - (default)",
            "project: alias (PHOENIX_PROJECT_NAME)",
            "environment: - (default)",
            "timeout: 10s (default)",
            "allow http: true (BELUGA_O11Y_ALLOW_HTTP)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&variables), expected);
        let settings = variables.settings().unwrap();
        let exporter = variables.build().unwrap();
        let config = exporter.config();
        assert_eq!(settings[0].value.as_ref(), Some(&config.base_url));
        assert_eq!(settings[3].value.as_ref(), Some(&config.project));

        let own = [
            ("PHOENIX_COLLECTOR_ENDPOINT", "http://localhost:2"),
            (
                "PHOENIX_CLIENT_HEADERS",
                "x-a=canary,Authorization=Bearer%20canary-5678,x-b=canary",
            ),
        ];
        let own: Vec<_> = own.into_iter().chain(vars).collect();
        let shown = |builder: &PhoenixExporterBuilder| {
            assert!(!format!("{:?} {builder:?}", builder.settings()).contains("canary"));
            let mut lines = lines(builder);
            lines.retain(|line| !line.contains("(default)") && !line.starts_with("allow http"));
            lines
        };
        let expected = [
            "base URL: http://localhost:2 (PHOENIX_COLLECTOR_ENDPOINT)",
            "authorization: …5678 (PHOENIX_CLIENT_HEADERS)",
            "project: alias (PHOENIX_PROJECT_NAME)",
            "headers: 2 headers (PHOENIX_CLIENT_HEADERS)",
        ];
        assert_eq!(shown(&with_vars(builder(), &own)), expected);

        let code = with_vars(builder(), &own)
            .with_base_url("http://u:canary@h/v1/traces")
            .with_api_key("canary-code-90ab")
            .with_project("code")
            .with_environment("code")
            .with_timeout(Duration::from_secs(1))
            .with_header("x-gateway", "canary");
        let expected = [
            "base URL: http://h/… (code)",
            "API key: …90ab (code)",
            "project: code (code)",
            "environment: code (code)",
            "timeout: 1s (code)",
            "headers: 1 header (code)",
            "headers: 2 headers (PHOENIX_CLIENT_HEADERS)",
        ];
        assert_eq!(shown(&code), expected);
    }

    #[test]
    fn settings_answer_when_switched_off_and_fail_for_what_cannot_be_read() {
        let bad = ("PHOENIX_CLIENT_HEADERS", "canary");
        let off = with_vars(builder(), &[("BELUGA_O11Y_DISABLED", "1"), bad]);
        assert_eq!(
            lines(&off).pop().as_deref(),
            Some("switched off by: BELUGA_O11Y_DISABLED (BELUGA_O11Y_DISABLED)")
        );
        assert!(with_vars(builder(), &[bad]).settings().is_err());
    }
}
