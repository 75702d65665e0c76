//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use beluga_o11y_http::{HttpSenderBuilder, SecretHeaderValue, not_blank};
use beluga_o11y_otlp::{Attributes, OtlpTraces};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    LangfuseConfig, LangfuseConfigError, LangfuseExporter,
    config::{DEFAULT_BASE_URL, DEFAULT_PATH, Layer},
    convert,
    exporter::Langfuse,
};

const TIMEOUT: Duration = Duration::from_secs(10);

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
        self
    }

    /// The secret key of the project, `sk-lf-..`. Required. Variable `LANGFUSE_SECRET_KEY`.
    pub fn with_secret_key(mut self, key: impl Into<SecretString>) -> Self {
        self.code.secret_key = Some(key.into());
        self
    }

    /// The base URL, with any path, with or without a slash at the end. Variable `LANGFUSE_BASE_URL`, then `LANGFUSE_HOST`;
    /// default `https://cloud.langfuse.com`, the cloud in the EU. Others are `https://us.cloud.langfuse.com`,
    /// `https://jp.cloud.langfuse.com` and `https://hipaa.cloud.langfuse.com`; a self-hosted Langfuse is usually at
    /// `http://localhost:3000`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self
    }

    /// The environment of calls that name none: at most 40 of `a-z`, `0-9`, `-` and `_`, not starting with `langfuse`. Variable
    /// `LANGFUSE_TRACING_ENVIRONMENT`; default none, which Langfuse shows as `default`.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self
    }

    /// The release of calls that name none. Variable `LANGFUSE_RELEASE`, then those of build servers; default none.
    pub fn with_release(mut self, release: impl Into<String>) -> Self {
        self.code.release = Some(release.into());
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
    /// [`LangfuseConfigError`] names the first setting that is missing or wrong.
    pub fn build(self) -> Result<LangfuseExporter, LangfuseConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("langfuse: switched off by {switch}: calls are accepted and not sent");
        }
        let disabled = settings.disabled_by.is_some();
        let environment = not_blank("environment", settings.environment)?;
        if let Some(name) = &environment
            && convert::environment(name) != *name
        {
            return Err(LangfuseConfigError::InvalidEnvironment);
        }
        let release = not_blank("release", settings.release)?;
        let authorization = match authorization(settings.public_key, settings.secret_key) {
            Err(_) if disabled => None,
            authorization => Some(authorization?),
        };
        let timeout = settings.timeout.unwrap_or(TIMEOUT);
        let mut ambient = HttpSenderBuilder::default();
        if let Some(gzip) = settings.gzip {
            ambient = ambient.with_gzip(gzip);
        }
        let base_url = settings.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL);
        let sender = self
            .http
            .with_defaults(ambient)
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(base_url)
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
        let path = settings.path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
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
    public_key: Option<String>,
    secret_key: Option<SecretString>,
) -> Result<SecretHeaderValue, LangfuseConfigError> {
    let public = public_key.unwrap_or_default();
    let public = public.trim();
    let secret = secret_key.unwrap_or_default();
    let secret = secret.expose_secret().trim();
    if public.starts_with("sk-") && secret.starts_with("pk-") {
        return Err(LangfuseConfigError::SwappedKeys);
    }
    if public.is_empty() {
        return Err(LangfuseConfigError::MissingPublicKey);
    }
    if secret.is_empty() {
        return Err(LangfuseConfigError::MissingSecretKey);
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
}
