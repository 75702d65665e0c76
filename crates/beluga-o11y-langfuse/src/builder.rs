//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use beluga_o11y_http::{HttpSenderBuilder, SecretHeaderValue, Setting, not_blank};
use beluga_o11y_otlp::{Attributes, OtlpTraces};
use secrecy::SecretString;

use crate::{
    LangfuseConfig, LangfuseConfigError, LangfuseExporter,
    config::{Layer, name},
    convert,
    exporter::Langfuse,
};

/// Makes a [`LangfuseExporter`]. Every setting but the two keys has a default, and only [`build`](Self::build) can
/// fail.
///
/// What is set in code beats the environment, whether [`from_env`](Self::from_env) is called before or after, and the
/// environment beats the default. `Debug` shows no key.
#[must_use]
pub struct LangfuseExporterBuilder {
    code: Layer,
    ambient: Result<Layer, LangfuseConfigError>,
    max_record_bytes: Option<usize>,
    http: HttpSenderBuilder,
}

impl Default for LangfuseExporterBuilder {
    fn default() -> Self {
        Self {
            code: Layer::default(),
            ambient: Ok(Layer::default()),
            max_record_bytes: None,
            http: HttpSenderBuilder::default()
                .with_user_agent(concat!("beluga-o11y-langfuse/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl LangfuseExporterBuilder {
    /// Takes what is not set in code from the environment, by the variables of Langfuse's own clients. Errors in them
    /// are reported by [`build`](Self::build).
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `LANGFUSE_PUBLIC_KEY` | [`with_public_key`](Self::with_public_key) |
    /// | `LANGFUSE_SECRET_KEY` | [`with_secret_key`](Self::with_secret_key) |
    /// | `LANGFUSE_BASE_URL`, else `LANGFUSE_BASEURL`, else `LANGFUSE_HOST` | [`with_base_url`](Self::with_base_url) |
    /// | `LANGFUSE_TRACING_ENVIRONMENT` | [`with_environment`](Self::with_environment) |
    /// | `LANGFUSE_RELEASE`, else the commit that build servers name (`GITHUB_SHA`, `CI_COMMIT_SHA` and others) | [`with_release`](Self::with_release) |
    /// | `LANGFUSE_TIMEOUT` | seconds: [`with_timeout`](Self::with_timeout) |
    /// | `LANGFUSE_OTEL_COMPRESSION`, else `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION`, else `OTEL_EXPORTER_OTLP_COMPRESSION` | `gzip` or `none`: `with_gzip` |
    /// | `LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES` | [`with_max_request_bytes`](Self::with_max_request_bytes) |
    /// | `LANGFUSE_OTEL_TRACES_EXPORT_PATH` | the path below the base URL; default `/api/public/otel/v1/traces` |
    /// | `LANGFUSE_SAMPLE_RATE`, `LANGFUSE_FLUSH_AT`, `LANGFUSE_FLUSH_INTERVAL` | for the pipeline around it: see [`LangfuseConfig`] |
    /// | `LANGFUSE_TRACING_ENABLED`=`false`, `BELUGA_O11Y_DISABLED`=`true` | the exporter accepts calls and sends nothing |
    /// | `BELUGA_O11Y_ALLOW_HTTP` | [`with_allow_http`](Self::with_allow_http) |
    ///
    /// A variable that is empty or blank counts as unset.
    pub fn from_env(mut self) -> Self {
        self.ambient = Layer::from_env().map_err(LangfuseConfigError::from);
        self
    }

    /// Whether there is a key so far: whether Langfuse is meant to be used.
    /// What is wrong with the settings counts as one, so that [`build`](Self::build) gets to tell.
    pub fn has_credentials(&self) -> bool {
        let has = |layer: &Layer| layer.public_key.is_some() || layer.secret_key.is_some();
        has(&self.code) || self.ambient.as_ref().map_or(true, has)
    }

    /// The public key of the project, `pk-lf-..`. Required. Variable `LANGFUSE_PUBLIC_KEY`.
    pub fn with_public_key(mut self, key: impl Into<String>) -> Self {
        self.code.public_key = Some(key.into());
        self.code.origins.code(name::PUBLIC_KEY);
        self
    }

    /// The secret key of the project, `sk-lf-..`. Required. Variable `LANGFUSE_SECRET_KEY`.
    pub fn with_secret_key(mut self, key: impl Into<SecretString>) -> Self {
        self.code.secret_key = Some(key.into());
        self.code.origins.code(name::SECRET_KEY);
        self
    }

    /// The base URL, with any path, with or without a slash at the end. Variable `LANGFUSE_BASE_URL`, then `LANGFUSE_HOST`;
    /// default `https://cloud.langfuse.com`, the cloud in the EU. Others are `https://us.cloud.langfuse.com`,
    /// `https://jp.cloud.langfuse.com` and `https://hipaa.cloud.langfuse.com`; a self-hosted Langfuse is usually at
    /// `http://localhost:3000`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self.code.origins.code(name::BASE_URL);
        self
    }

    /// The environment of calls that name none: at most 40 of `a-z`, `0-9`, `-` and `_`, not starting with `langfuse`. Variable
    /// `LANGFUSE_TRACING_ENVIRONMENT`; default none, which Langfuse shows as `default`.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self.code.origins.code(name::ENVIRONMENT);
        self
    }

    /// The release of calls that name none. Variable `LANGFUSE_RELEASE`, then those of build servers; default none.
    pub fn with_release(mut self, release: impl Into<String>) -> Self {
        self.code.release = Some(release.into());
        self.code.origins.code(name::RELEASE);
        self
    }

    /// The most bytes of OTLP that one call may have, before compression. Larger ones are refused before anything is
    /// sent. Default 20 MB; the cloud takes about 5 MB in a request.
    pub fn with_max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record_bytes = Some(bytes);
        self
    }

    /// The most bytes of OTLP in one request, before compression; a batch is split accordingly. A single call may be
    /// larger. Variable `LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES`; default 4 MB.
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.code.max_request_bytes = Some(bytes);
        self
    }

    /// How long one request may take, from connecting to the last byte of the answer. Variable `LANGFUSE_TIMEOUT`, in
    /// seconds; default 10 s.
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
    pub fn settings(&self) -> Result<Vec<Setting>, LangfuseConfigError> {
        let settings = self.code.clone().or(self.ambient.clone()?);
        Ok(settings.settings(self.http.header_count()))
    }

    /// The exporter. No connection is made yet, and no runtime is needed; to send, it must be called from
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`LangfuseConfigError`] names the first setting that is missing or wrong.
    pub fn build(self) -> Result<LangfuseExporter, LangfuseConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("langfuse: switched off by {switch}: calls are accepted and not sent");
        }
        let disabled = settings.disabled_by.is_some();
        let environment = not_blank("environment", settings.environment.clone())?;
        if let Some(name) = &environment
            && convert::environment(name) != *name
        {
            return Err(LangfuseConfigError::InvalidEnvironment);
        }
        let release = not_blank("release", settings.release.clone())?;
        let authorization = match authorization(settings.keys()) {
            Err(_) if disabled => None,
            authorization => Some(authorization?),
        };
        let timeout = settings.timeout();
        let mut ambient = HttpSenderBuilder::default();
        if let Some(gzip) = settings.gzip {
            ambient = ambient.with_gzip(gzip);
        }
        let sender = self
            .http
            .with_defaults(ambient)
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(settings.base_url())
            .with_credentials(authorization.is_some())
            // Without it the data shows up some ten minutes late in the cloud.
            .with_public_header("x-langfuse-ingestion-version", "4")
            .with_public_header("x-langfuse-sdk-name", "beluga-o11y-rust")
            .with_public_header("x-langfuse-sdk-version", env!("CARGO_PKG_VERSION"))
            .build()?;
        let config = LangfuseConfig {
            base_url: sender.base_url().to_owned(),
            environment: environment.clone(),
            release: release.clone(),
            timeout,
            disabled,
            sample_rate: settings.sample_rate,
            flush_at: settings.flush_at,
            flush_interval: settings.flush_interval,
        };
        let path = settings.path().to_owned();
        let backend = Langfuse {
            environment,
            release,
        };
        let mut resource = Attributes::new();
        resource.text("telemetry.sdk.name", "beluga-o11y");
        resource.text("telemetry.sdk.language", "rust");
        resource.text("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        let mut traces = OtlpTraces::new(backend, sender, path)
            .with_authorization(authorization)
            .with_resource(resource);
        if let Some(bytes) = self.max_record_bytes {
            traces = traces.with_max_record_bytes(bytes);
        }
        if let Some(bytes) = settings.max_request_bytes {
            traces = traces.with_max_request_bytes(bytes);
        }
        Ok(LangfuseExporter::new(config, traces))
    }
}

/// `Basic`, with the public key as the user and the secret key as the password.
fn authorization(
    keys: (Option<&str>, Option<&str>),
) -> Result<SecretHeaderValue, LangfuseConfigError> {
    let public = keys.0.ok_or(LangfuseConfigError::MissingPublicKey)?;
    let secret = keys.1.ok_or(LangfuseConfigError::MissingSecretKey)?;
    if public.starts_with("sk-") && secret.starts_with("pk-") {
        return Err(LangfuseConfigError::SwappedKeys);
    }
    if public.contains(':') {
        return Err(LangfuseConfigError::InvalidPublicKey);
    }
    // Encoded, a line break would be no error any more but a wrong key.
    SecretHeaderValue::new(public)?;
    SecretHeaderValue::new(secret)?;
    let encoded = STANDARD.encode(format!("{public}:{secret}"));
    Ok(SecretHeaderValue::new(&format!("Basic {encoded}"))?)
}

impl fmt::Debug for LangfuseExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LangfuseExporterBuilder")
            .field("code", &self.code)
            .field("ambient", &self.ambient)
            .field("max_record_bytes", &self.max_record_bytes)
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

    fn keyed() -> LangfuseExporterBuilder {
        LangfuseExporter::builder()
            .with_public_key("pk-lf-1")
            .with_secret_key("sk-lf-canary")
    }

    fn fails(builder: LangfuseExporterBuilder) -> String {
        let error = builder.build().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
        error.to_string()
    }

    #[test]
    fn defaults() {
        let exporter = keyed().build().unwrap();
        let config = exporter.config();
        assert_eq!(config.base_url, "https://cloud.langfuse.com");
        assert_eq!((&config.environment, &config.release), (&None, &None));
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert!(!config.disabled);
    }

    #[test]
    fn both_keys_are_required_and_each_is_named() {
        let none = LangfuseExporter::builder;
        assert!(fails(none().with_secret_key("sk-canary")).starts_with("langfuse: public key is"));
        assert!(
            fails(none().with_public_key("pk-1")).starts_with("langfuse: secret key is required")
        );
        assert!(
            fails(keyed().with_secret_key(" \n")).starts_with("langfuse: secret key is required")
        );
        let swapped = none().with_public_key("sk-canary").with_secret_key("pk-1");
        assert!(fails(swapped).starts_with("langfuse: the keys are swapped"));
    }

    #[test]
    fn bad_settings_are_named() {
        for (builder, text) in [
            (
                keyed().with_environment(""),
                "langfuse: the environment is blank",
            ),
            (
                keyed().with_environment("Prod"),
                "langfuse: the environment must be",
            ),
            (
                keyed().with_environment("langfuse-x"),
                "langfuse: the environment must be",
            ),
            (
                keyed().with_environment("x".repeat(41)),
                "langfuse: the environment must be",
            ),
            (keyed().with_release(" "), "langfuse: the release is blank"),
            (
                keyed().with_public_key("pk:1"),
                "langfuse: the public key must not contain a colon",
            ),
            (
                keyed().with_secret_key("sk\ncanary"),
                "langfuse: invalid value for the header",
            ),
            (
                keyed().with_base_url("nonsense"),
                "langfuse: invalid base URL",
            ),
            (
                keyed().with_timeout(Duration::ZERO),
                "langfuse: the timeout must be longer",
            ),
            (
                keyed().with_base_url("http://langfuse.example.com"),
                "langfuse: a credential over plain http://",
            ),
        ] {
            let error = fails(builder);
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn code_beats_the_environment_and_switched_off_needs_no_key() {
        let ambient = Layer {
            base_url: Some("http://localhost:1".to_owned()),
            release: Some("ambient".to_owned()),
            ..Layer::default()
        };
        let mut builder = keyed().with_release("code");
        builder.ambient = Ok(ambient);
        let exporter = builder.build().unwrap();
        assert_eq!(exporter.config().base_url, "http://localhost:1");
        assert_eq!(exporter.config().release.as_deref(), Some("code"));

        let mut builder = LangfuseExporter::builder();
        builder.ambient = Ok(Layer {
            disabled_by: Some("LANGFUSE_TRACING_ENABLED"),
            ..Layer::default()
        });
        assert!(builder.build().unwrap().config().disabled);
    }

    #[test]
    fn debug_shows_no_secret() {
        let builder = keyed().with_header("x-gateway", "canary");
        assert!(!format!("{builder:?}").contains("canary"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("canary"));
    }

    /// A line a setting: its name, its value and where it came from.
    fn lines(builder: &LangfuseExporterBuilder) -> Vec<String> {
        let settings = builder.settings().unwrap();
        let line = |setting: &Setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{}: {value} ({})", setting.name, setting.origin)
        };
        settings.iter().map(line).collect()
    }

    fn with_vars(
        mut builder: LangfuseExporterBuilder,
        vars: &[(&str, &str)],
    ) -> LangfuseExporterBuilder {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        builder.ambient = read(Env::from_fn(&get)).map_err(LangfuseConfigError::from);
        builder
    }

    #[test]
    fn each_setting_tells_where_it_came_from() {
        let none = LangfuseExporter::builder;
        let expected = [
            "base URL: https://cloud.langfuse.com (default)",
            "path: api/public/otel/v1/traces (default)",
            "public key: - (default)",
            "secret key: - (default)",
            "environment: - (default)",
            "release: - (default)",
            "timeout: 10s (default)",
            "sample rate: - (default)",
            "allow http: false (default)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&none()), expected);

        let vars = [
            ("LANGFUSE_HOST", "http://localhost:3000/"),
            ("LANGFUSE_OTEL_TRACES_EXPORT_PATH", "/x"),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-canary-1234"),
            ("LANGFUSE_SECRET_KEY", " sk-lf-canary-5678 "),
            ("LANGFUSE_TRACING_ENVIRONMENT", "staging"),
            ("GIT_COMMIT", "c0ffee"),
            ("LANGFUSE_TIMEOUT", "2.5"),
            ("LANGFUSE_SAMPLE_RATE", "0.25"),
            ("BELUGA_O11Y_ALLOW_HTTP", "1"),
        ];
        let variables = with_vars(none(), &vars);
        let expected = [
            "base URL: http://localhost:3000 (LANGFUSE_HOST)",
            "path: /x (LANGFUSE_OTEL_TRACES_EXPORT_PATH)",
            "public key: …1234 (LANGFUSE_PUBLIC_KEY)",
            "secret key: …5678 (LANGFUSE_SECRET_KEY)",
            "environment: staging (LANGFUSE_TRACING_ENVIRONMENT)",
            "release: c0ffee (GIT_COMMIT)",
            "timeout: 2.5s (LANGFUSE_TIMEOUT)",
            "sample rate: 0.25 (LANGFUSE_SAMPLE_RATE)",
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
        assert_eq!(settings[4].value, config.environment);
        assert_eq!(settings[5].value, config.release);
        assert_eq!(
            settings[6].value.as_deref(),
            Some(format!("{:?}", config.timeout).as_str())
        );

        let code = with_vars(none(), &vars)
            .with_base_url("https://u:canary@h")
            .with_public_key("short")
            .with_secret_key("sk-lf-code-canary-90ab")
            .with_environment("code")
            .with_release("code")
            .with_timeout(Duration::from_secs(1))
            .with_allow_http(false)
            .with_header("x-gateway", "canary");
        let expected = [
            "base URL: https://h/… (code)",
            "path: /x (LANGFUSE_OTEL_TRACES_EXPORT_PATH)",
            "public key: … (code)",
            "secret key: …90ab (code)",
            "environment: code (code)",
            "release: code (code)",
            "timeout: 1s (code)",
            "sample rate: 0.25 (LANGFUSE_SAMPLE_RATE)",
            "allow http: false (code)",
            "headers: 1 header (code)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&code), expected);
        assert!(!format!("{:?}", code.settings()).contains("canary"));
    }

    #[test]
    fn settings_answer_when_switched_off_and_fail_for_what_cannot_be_read() {
        for (name, value) in [
            ("LANGFUSE_TRACING_ENABLED", "false"),
            ("BELUGA_O11Y_DISABLED", "true"),
        ] {
            let off = with_vars(keyed(), &[(name, value), ("LANGFUSE_TIMEOUT", "x")]);
            let last = lines(&off).pop();
            assert_eq!(last, Some(format!("switched off by: {name} ({name})")));
        }
        let bad = with_vars(keyed(), &[("LANGFUSE_TIMEOUT", "x")]);
        assert!(bad.settings().is_err());
    }
}
