//! Where settings come from: code, environment, default, in this order.

use std::{fmt, time::Duration};

use beluga_o11y_http::{BlankSetting, Env, EnvError, HttpConfigError, Origin, Origins, Setting};
use secrecy::{ExposeSecret, SecretString};

/// Langfuse's cloud in the EU.
pub(crate) const DEFAULT_BASE_URL: &str = "https://cloud.langfuse.com";
pub(crate) const DEFAULT_PATH: &str = "api/public/otel/v1/traces";
const TIMEOUT: Duration = Duration::from_secs(10);
const BASE_URLS: &[&str] = &["LANGFUSE_BASE_URL", "LANGFUSE_BASEURL", "LANGFUSE_HOST"];
const TIMEOUT_VARIABLE: &str = "LANGFUSE_TIMEOUT";
const SAMPLE_RATE: &str = "LANGFUSE_SAMPLE_RATE";
const ALLOW_HTTP: &str = "BELUGA_O11Y_ALLOW_HTTP";

/// Where the release comes from if nothing names it: the variables of build servers and hosts, in the order of
/// Langfuse's clients (`_utils/environment.py`).
const RELEASES: &[&str] = &[
    "LANGFUSE_RELEASE",
    "RENDER_GIT_COMMIT",
    "CI_COMMIT_SHA",
    "CIRCLE_SHA1",
    "SOURCE_VERSION",
    "TRAVIS_COMMIT",
    "GIT_COMMIT",
    "GITHUB_SHA",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "DRONE_COMMIT_SHA",
];

/// What the settings are called where people see them.
pub(crate) mod name {
    pub(crate) const PUBLIC_KEY: &str = "public key";
    pub(crate) const SECRET_KEY: &str = "secret key";
    pub(crate) const BASE_URL: &str = "base URL";
    pub(crate) const PATH: &str = "path";
    pub(crate) const ENVIRONMENT: &str = "environment";
    pub(crate) const RELEASE: &str = "release";
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
pub struct LangfuseConfig {
    /// The base URL, without a slash at the end.
    pub base_url: String,
    /// The environment of calls that name none.
    pub environment: Option<String>,
    /// The release of calls that name none.
    pub release: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether an off switch is on: calls are accepted and not sent.
    pub disabled: bool,
    /// What `LANGFUSE_SAMPLE_RATE` asks for: the share of calls to keep, 0 to 1. An exporter sends all that it is
    /// given; this is for the pipeline around it.
    pub sample_rate: Option<f64>,
    /// What `LANGFUSE_FLUSH_AT` asks for: calls in a batch. For the pipeline around it.
    pub flush_at: Option<usize>,
    /// What `LANGFUSE_FLUSH_INTERVAL` asks for: how long a batch waits for more. For the pipeline around it.
    pub flush_interval: Option<Duration>,
}

impl fmt::Display for LangfuseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base_url)
    }
}

/// What keeps an exporter from being built. Prints as `langfuse: <what is wrong>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LangfuseConfigError {
    /// The public key is missing; a project has two keys.
    #[error(
        "langfuse: public key is required: call with_public_key(..), or set LANGFUSE_PUBLIC_KEY and use \
         from_env()"
    )]
    MissingPublicKey,
    /// The secret key is missing; a project has two keys.
    #[error(
        "langfuse: secret key is required: call with_secret_key(..), or set LANGFUSE_SECRET_KEY and use \
         from_env()"
    )]
    MissingSecretKey,
    /// The secret key is where the public one belongs, or the other way round.
    #[error(
        "langfuse: the keys are swapped: the public key starts with pk-, the secret one with sk-"
    )]
    SwappedKeys,
    /// The public key has a colon in it, which would be read as the start of the secret key.
    #[error("langfuse: the public key must not contain a colon; check what was pasted")]
    InvalidPublicKey,
    /// The environment is not one that Langfuse takes.
    #[error(
        "langfuse: the environment must be 1 to 40 of a-z, 0-9, - and _, and must not start with langfuse"
    )]
    InvalidEnvironment,
    /// A setting is empty or blank.
    #[error("langfuse: {0}")]
    Blank(#[from] BlankSetting),
    /// A value of the environment is not what its name stands for.
    #[error("langfuse: {0}")]
    InvalidValue(#[from] EnvError),
    /// The URL, a header, a certificate, a proxy or a timeout.
    #[error("langfuse: {0}")]
    Http(#[from] HttpConfigError),
}

/// One source of settings. What it does not say is `None`.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) public_key: Option<String>,
    pub(crate) secret_key: Option<SecretString>,
    pub(crate) base_url: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) gzip: Option<bool>,
    pub(crate) max_request_bytes: Option<usize>,
    pub(crate) sample_rate: Option<f64>,
    pub(crate) flush_at: Option<usize>,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) allow_http: Option<bool>,
    /// The switch that says so.
    pub(crate) disabled_by: Option<&'static str>,
    pub(crate) origins: Origins,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("public_key", &self.public_key.is_some())
            .field("secret_key", &self.secret_key.is_some())
            .field("base_url", &self.base_url.is_some())
            .field("environment", &self.environment)
            .field("release", &self.release)
            .field("timeout", &self.timeout)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("allow_http", &self.allow_http)
            .field("disabled_by", &self.disabled_by)
            .finish_non_exhaustive()
    }
}

impl Layer {
    /// This one, and where it says nothing, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            public_key: self.public_key.or(other.public_key),
            secret_key: self.secret_key.or(other.secret_key),
            base_url: self.base_url.or(other.base_url),
            path: self.path.or(other.path),
            environment: self.environment.or(other.environment),
            release: self.release.or(other.release),
            timeout: self.timeout.or(other.timeout),
            gzip: self.gzip.or(other.gzip),
            max_request_bytes: self.max_request_bytes.or(other.max_request_bytes),
            sample_rate: self.sample_rate.or(other.sample_rate),
            flush_at: self.flush_at.or(other.flush_at),
            flush_interval: self.flush_interval.or(other.flush_interval),
            allow_http: self.allow_http.or(other.allow_http),
            disabled_by: self.disabled_by.or(other.disabled_by),
            origins: self.origins.or(other.origins),
        }
    }

    pub(crate) fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL)
    }

    /// The public key and the secret one, as far as they are there.
    pub(crate) fn keys(&self) -> (Option<&str>, Option<&str>) {
        let secret = self.secret_key.as_ref().map(ExposeSecret::expose_secret);
        let [public, secret] = [self.public_key.as_deref(), secret].map(|key| {
            let key = key.map(str::trim);
            key.filter(|key| !key.is_empty())
        });
        (public, secret)
    }

    /// Below the base URL.
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(DEFAULT_PATH)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// All that says where calls go, with its defaults; `headers` are those that were set in code.
    pub(crate) fn settings(&self, headers: usize) -> Vec<Setting> {
        let origins = &self.origins;
        let (public_key, secret_key) = self.keys();
        vec![
            Setting::url(name::BASE_URL, self.base_url(), origins.of(name::BASE_URL)),
            origins.setting(name::PATH, Some(self.path())),
            origins.secret(name::PUBLIC_KEY, public_key),
            origins.secret(name::SECRET_KEY, secret_key),
            origins.setting(
                name::ENVIRONMENT,
                self.environment.as_deref().map(str::trim),
            ),
            origins.setting(name::RELEASE, self.release.as_deref().map(str::trim)),
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

    /// What the environment of this process says.
    pub(crate) fn from_env() -> Result<Self, EnvError> {
        read(Env::process())
    }
}

pub(crate) fn read(env: Env<'_>) -> Result<Layer, EnvError> {
    let mut origins = Origins::default();
    let off = match env.first_on(&["BELUGA_O11Y_DISABLED"])? {
        None if env.switch("LANGFUSE_TRACING_ENABLED")? == Some(false) => {
            Some("LANGFUSE_TRACING_ENABLED")
        }
        off => off,
    };
    if let Some(switch) = off {
        origins.note(name::DISABLED_BY, Origin::Variable(switch));
        // Nothing else matters, so nothing else can be wrong.
        return Ok(Layer {
            disabled_by: off,
            origins,
            ..Layer::default()
        });
    }
    let compression = [
        "LANGFUSE_OTEL_COMPRESSION",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
    ];
    let gzip = match env.first(&compression)? {
        None => None,
        Some((_, choice)) if choice == "gzip" => Some(true),
        Some((_, choice)) if choice == "none" => Some(false),
        Some((name, _)) => return Err(EnvError::new(name, "gzip or none")),
    };
    let mut first = |setting, variables| origins.first(setting, env, variables);
    let mut layer = Layer {
        public_key: first(name::PUBLIC_KEY, &["LANGFUSE_PUBLIC_KEY"])?,
        secret_key: first(name::SECRET_KEY, &["LANGFUSE_SECRET_KEY"])?.map(SecretString::from),
        base_url: first(name::BASE_URL, BASE_URLS)?,
        path: first(name::PATH, &["LANGFUSE_OTEL_TRACES_EXPORT_PATH"])?,
        environment: first(name::ENVIRONMENT, &["LANGFUSE_TRACING_ENVIRONMENT"])?,
        release: first(name::RELEASE, RELEASES)?,
        timeout: seconds(&env, TIMEOUT_VARIABLE)?,
        gzip,
        max_request_bytes: number(&env, "LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES")?,
        sample_rate: env.share(&[SAMPLE_RATE])?,
        flush_at: number(&env, "LANGFUSE_FLUSH_AT")?,
        flush_interval: seconds(&env, "LANGFUSE_FLUSH_INTERVAL")?,
        allow_http: env.switch(ALLOW_HTTP)?,
        ..Layer::default()
    };
    // These are no text, so they were read otherwise.
    for (setting, variable) in [
        (name::TIMEOUT, TIMEOUT_VARIABLE),
        (name::SAMPLE_RATE, SAMPLE_RATE),
        (name::ALLOW_HTTP, ALLOW_HTTP),
    ] {
        origins.first(setting, env, &[variable])?;
    }
    layer.origins = origins;
    Ok(layer)
}

fn number(env: &Env<'_>, name: &str) -> Result<Option<usize>, EnvError> {
    let value = env.text(name)?;
    let parsed = value.map(|value| value.parse().ok().filter(|number| *number > 0));
    parsed
        .map(|number| number.ok_or_else(|| EnvError::new(name, "a whole number above zero")))
        .transpose()
}

fn seconds(env: &Env<'_>, name: &str) -> Result<Option<Duration>, EnvError> {
    let value = env.text(name)?;
    let parsed = value.map(|value| {
        let seconds = value.parse().ok().filter(|seconds| *seconds > 0.0)?;
        Duration::try_from_secs_f64(seconds).ok()
    });
    parsed
        .map(|time| time.ok_or_else(|| EnvError::new(name, "a number of seconds above zero")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError};

    use super::*;

    fn layer(vars: &[(&str, &str)]) -> Result<Layer, EnvError> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        read(Env::from_fn(&get))
    }

    #[test]
    fn every_variable_is_read() {
        let layer = layer(&[
            ("LANGFUSE_PUBLIC_KEY", "pk-1"),
            ("LANGFUSE_SECRET_KEY", " sk-1 "),
            ("LANGFUSE_HOST", "http://no"),
            ("LANGFUSE_BASE_URL", "http://localhost:3000"),
            ("LANGFUSE_OTEL_TRACES_EXPORT_PATH", "/x"),
            ("LANGFUSE_TRACING_ENVIRONMENT", "staging"),
            ("GITHUB_SHA", "sha"),
            ("GIT_COMMIT", "commit"),
            ("LANGFUSE_TIMEOUT", "2.5"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("LANGFUSE_OTEL_COMPRESSION", "none"),
            ("LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES", "1000000"),
            ("LANGFUSE_SAMPLE_RATE", "0.25"),
            ("LANGFUSE_FLUSH_AT", "15"),
            ("LANGFUSE_FLUSH_INTERVAL", "0.5"),
            ("BELUGA_O11Y_ALLOW_HTTP", "true"),
        ])
        .unwrap();
        assert_eq!(layer.public_key.as_deref(), Some("pk-1"));
        assert_eq!(layer.secret_key.unwrap().expose_secret(), "sk-1");
        assert_eq!(layer.base_url.as_deref(), Some("http://localhost:3000"));
        assert_eq!(layer.path.as_deref(), Some("/x"));
        assert_eq!(layer.environment.as_deref(), Some("staging"));
        assert_eq!(layer.release.as_deref(), Some("commit"));
        assert_eq!(layer.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(layer.gzip, Some(false));
        assert_eq!(layer.max_request_bytes, Some(1_000_000));
        assert_eq!((layer.sample_rate, layer.flush_at), (Some(0.25), Some(15)));
        assert_eq!(layer.flush_interval, Some(Duration::from_millis(500)));
        assert_eq!((layer.allow_http, layer.disabled_by), (Some(true), None));
    }

    #[test]
    fn the_old_name_of_the_url_counts_where_the_new_one_is_not_set() {
        let vars = [
            ("LANGFUSE_HOST", "http://old"),
            ("LANGFUSE_RELEASE", "r"),
            ("GIT_COMMIT", "c"),
        ];
        let layer = layer(&vars).unwrap();
        assert_eq!(layer.base_url.as_deref(), Some("http://old"));
        assert_eq!(layer.release.as_deref(), Some("r"));
    }

    #[test]
    fn switched_off_nothing_else_can_be_wrong() {
        for (name, value) in [
            ("BELUGA_O11Y_DISABLED", "1"),
            ("LANGFUSE_TRACING_ENABLED", "False"),
        ] {
            let layer = layer(&[(name, value), ("LANGFUSE_SAMPLE_RATE", "x")]).unwrap();
            assert_eq!(layer.disabled_by, Some(name));
        }
        assert_eq!(
            layer(&[("LANGFUSE_TRACING_ENABLED", "true")])
                .unwrap()
                .disabled_by,
            None
        );
    }

    #[test]
    fn bad_values_are_named() {
        for (name, value, text) in [
            (
                "LANGFUSE_SAMPLE_RATE",
                "1.5",
                "must be a number from 0 to 1",
            ),
            (
                "LANGFUSE_SAMPLE_RATE",
                "NaN",
                "must be a number from 0 to 1",
            ),
            (
                "LANGFUSE_TIMEOUT",
                "0",
                "must be a number of seconds above zero",
            ),
            (
                "LANGFUSE_TIMEOUT",
                "inf",
                "must be a number of seconds above zero",
            ),
            (
                "LANGFUSE_FLUSH_AT",
                "0",
                "must be a whole number above zero",
            ),
            ("LANGFUSE_OTEL_COMPRESSION", "zstd", "must be gzip or none"),
            ("LANGFUSE_TRACING_ENABLED", "maybe", "must be true or false"),
        ] {
            let error = layer(&[(name, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("{name} {text}"));
        }
    }
}
