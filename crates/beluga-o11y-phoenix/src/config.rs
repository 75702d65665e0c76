//! Where settings come from: code, environment, default, in this order.

use std::{collections::BTreeMap, fmt, time::Duration};

use beluga_o11y_http::{
    BlankSetting, Env, EnvError, HttpConfigError, HttpSenderBuilder, Origin, Origins, Setting,
};
use beluga_o11y_otlp::parse_pairs;
use secrecy::{ExposeSecret, SecretString};

/// A Phoenix on this machine.
const DEFAULT_BASE_URL: &str = "http://localhost:6006";
/// Phoenix's own name for where spans go that name no project.
pub(crate) const DEFAULT_PROJECT: &str = "default";
const TIMEOUT: Duration = Duration::from_secs(10);
const ALLOW_HTTP: &str = "BELUGA_O11Y_ALLOW_HTTP";
const CLIENT_HEADERS: &str = "PHOENIX_CLIENT_HEADERS";

/// What the settings are called where people see them.
pub(crate) mod name {
    pub(crate) const BASE_URL: &str = "base URL";
    pub(crate) const API_KEY: &str = "API key";
    pub(crate) const AUTHORIZATION: &str = "authorization";
    pub(crate) const PROJECT: &str = "project";
    pub(crate) const ENVIRONMENT: &str = "environment";
    pub(crate) const TIMEOUT: &str = "timeout";
    pub(crate) const ALLOW_HTTP: &str = "allow http";
    pub(crate) const HEADERS: &str = "headers";
    pub(crate) const DISABLED_BY: &str = "switched off by";
}

/// Where an exporter sends to, after all settings have been resolved. It holds no key. Prints as the address and the place
/// there, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhoenixConfig {
    /// The base URL, without `/v1/traces` and without a slash at the end.
    pub base_url: String,
    /// The project.
    pub project: String,
    /// The environment of calls that name none.
    pub environment: Option<String>,
    /// Whether there is an API key, or an `Authorization` header.
    pub has_api_key: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether an off switch is on: calls are accepted and not sent.
    pub disabled: bool,
}

impl fmt::Display for PhoenixConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, project {}", self.base_url, self.project)
    }
}

/// What keeps an exporter from being built. Prints as `phoenix: <what is wrong>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhoenixConfigError {
    /// A setting is empty or blank. An empty project would be one without a name, after which Phoenix's list of
    /// projects fails for everybody.
    #[error("phoenix: {0}")]
    Blank(#[from] BlankSetting),
    /// A value of the environment is not what its name stands for.
    #[error("phoenix: {0}")]
    InvalidValue(#[from] EnvError),
    /// The URL, a header, a certificate, a proxy or a timeout.
    #[error("phoenix: {0}")]
    Http(#[from] HttpConfigError),
}

/// One source of settings. What it does not say is absent.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) base_url: Option<String>,
    /// Whether the base URL was meant for Phoenix and nothing else.
    pub(crate) names_phoenix: bool,
    pub(crate) api_key: Option<SecretString>,
    /// The whole header.
    pub(crate) authorization: Option<SecretString>,
    pub(crate) project: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) allow_http: Option<bool>,
    /// The switch that is on.
    pub(crate) disabled_by: Option<&'static str>,
    pub(crate) origins: Origins,
    pub(crate) http: HttpSenderBuilder,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("base_url", &self.base_url.is_some())
            .field("api_key", &self.api_key.is_some())
            .field("authorization", &self.authorization.is_some())
            .field("project", &self.project)
            .field("environment", &self.environment)
            .field("timeout", &self.timeout)
            .field("allow_http", &self.allow_http)
            .field("disabled_by", &self.disabled_by)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl Layer {
    /// This one, and where it says nothing, the other. A key in code beats a header of the environment.
    pub(crate) fn or(self, other: Self) -> Self {
        let own_credentials = self.api_key.is_some() || self.authorization.is_some();
        let (api_key, authorization) = if own_credentials {
            (self.api_key, self.authorization)
        } else {
            (other.api_key, other.authorization)
        };
        Self {
            base_url: self.base_url.or(other.base_url),
            names_phoenix: self.names_phoenix || other.names_phoenix,
            api_key,
            authorization,
            project: self.project.or(other.project),
            environment: self.environment.or(other.environment),
            timeout: self.timeout.or(other.timeout),
            allow_http: self.allow_http.or(other.allow_http),
            disabled_by: self.disabled_by.or(other.disabled_by),
            origins: self.origins.or(other.origins),
            http: self.http.with_defaults(other.http),
        }
    }

    pub(crate) fn base_url(&self) -> &str {
        without_path(self.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL))
    }

    /// What requests are let through by, if anything.
    pub(crate) fn credentials(&self) -> Option<Credentials<'_>> {
        let key = self.api_key.as_ref().map(|key| key.expose_secret().trim());
        match (&self.authorization, key) {
            (Some(whole), _) => Some(Credentials::Whole(whole.expose_secret().trim())),
            (None, Some(key)) if !key.is_empty() => Some(Credentials::Key(key)),
            (None, _) => None,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// All that says where calls go, with its defaults; `headers` are those that were set in code.
    pub(crate) fn settings(&self, headers: usize) -> Vec<Setting> {
        let origins = &self.origins;
        let (key, authorization) = match self.credentials() {
            None => (None, None),
            Some(Credentials::Key(key)) => (Some(key), None),
            Some(Credentials::Whole(whole)) => (None, Some(whole)),
        };
        let project = self.project.as_deref().unwrap_or(DEFAULT_PROJECT);
        let mut settings = vec![
            Setting::url(name::BASE_URL, self.base_url(), origins.of(name::BASE_URL)),
            origins.secret(name::API_KEY, key),
            origins.secret(name::AUTHORIZATION, authorization),
            origins.setting(name::PROJECT, Some(project.trim())),
            origins.setting(
                name::ENVIRONMENT,
                self.environment.as_deref().map(str::trim),
            ),
            origins.setting(name::TIMEOUT, Some(format!("{:?}", self.timeout()))),
            origins.setting(
                name::ALLOW_HTTP,
                Some(self.allow_http.unwrap_or(false).to_string()),
            ),
        ];
        settings.extend(Setting::headers_of(
            name::HEADERS,
            [
                (headers, Origin::Code),
                (self.http.header_count(), Origin::Variable(CLIENT_HEADERS)),
            ],
        ));
        settings.push(origins.setting(name::DISABLED_BY, self.disabled_by));
        settings
    }

    /// What the environment of this process says.
    pub(crate) fn from_env() -> Result<Self, EnvError> {
        read(Env::process())
    }
}

/// Either way it is the header `Authorization` in the end.
pub(crate) enum Credentials<'a> {
    /// The API key.
    Key(&'a str),
    /// The whole header.
    Whole(&'a str),
}

fn without_path(url: &str) -> &str {
    let url = url.trim().trim_end_matches('/');
    url.strip_suffix("/v1/traces").unwrap_or(url)
}

pub(crate) fn read(env: Env<'_>) -> Result<Layer, EnvError> {
    const OWN_URL: &str = "PHOENIX_COLLECTOR_ENDPOINT";
    let mut origins = Origins::default();
    if let Some(switch) = env.first_on(&["BELUGA_O11Y_DISABLED"])? {
        origins.note(name::DISABLED_BY, Origin::Variable(switch));
        // Nothing else matters, so nothing else can be wrong.
        return Ok(Layer {
            disabled_by: Some(switch),
            origins,
            ..Layer::default()
        });
    }
    let mut first = |setting, variables| origins.first(setting, env, variables);
    let mut layer = Layer {
        names_phoenix: env.text(OWN_URL)?.is_some(),
        base_url: first(name::BASE_URL, &[OWN_URL, "OTEL_EXPORTER_OTLP_ENDPOINT"])?,
        api_key: first(name::API_KEY, &["PHOENIX_API_KEY"])?.map(SecretString::from),
        project: first(name::PROJECT, &["PHOENIX_PROJECT", "PHOENIX_PROJECT_NAME"])?,
        allow_http: env.switch(ALLOW_HTTP)?,
        ..Layer::default()
    };
    first(name::ALLOW_HTTP, &[ALLOW_HTTP])?;
    for (name, value) in client_headers(&env)? {
        if name.eq_ignore_ascii_case("authorization") {
            origins.note(name::AUTHORIZATION, Origin::Variable(CLIENT_HEADERS));
            layer.authorization = Some(value.into());
        } else {
            layer.http = layer.http.with_header(name, value);
        }
    }
    layer.origins = origins;
    Ok(layer)
}

/// In the form of Phoenix's Python client, `k=v,k2=v2` percent-encoded, or in that of its JavaScript one, a JSON object.
fn client_headers(env: &Env<'_>) -> Result<Vec<(String, String)>, EnvError> {
    match env.text(CLIENT_HEADERS)? {
        None => Ok(Vec::new()),
        Some(json) if json.starts_with('{') => {
            serde_json::from_str::<BTreeMap<String, String>>(&json)
                .map(|headers| headers.into_iter().collect())
                .map_err(|_| {
                    EnvError::new(
                        CLIENT_HEADERS,
                        "a JSON object of texts, or key=value,key2=value2",
                    )
                })
        }
        Some(pairs) => parse_pairs(CLIENT_HEADERS, &pairs),
    }
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
    fn every_variable_is_read_and_the_alias_of_the_project_loses() {
        let layer = layer(&[
            (
                "PHOENIX_COLLECTOR_ENDPOINT",
                "http://localhost:6006/v1/traces",
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://no"),
            ("PHOENIX_API_KEY", "key"),
            (
                "PHOENIX_CLIENT_HEADERS",
                "x-a=1%202,Authorization=Bearer%20other",
            ),
            ("PHOENIX_PROJECT", "p"),
            ("PHOENIX_PROJECT_NAME", "alias"),
            ("BELUGA_O11Y_ALLOW_HTTP", "true"),
        ])
        .unwrap();
        assert_eq!(
            layer.base_url.as_deref(),
            Some("http://localhost:6006/v1/traces")
        );
        assert_eq!(layer.api_key.unwrap().expose_secret(), "key");
        assert_eq!(layer.authorization.unwrap().expose_secret(), "Bearer other");
        assert_eq!(layer.project.as_deref(), Some("p"));
        assert!(format!("{:?}", layer.http).contains("extra_headers: 1"));
        assert_eq!(layer.allow_http, Some(true));
    }

    #[test]
    fn the_aliases_count_where_the_names_of_today_are_not_set() {
        let layer = layer(&[
            ("PHOENIX_PROJECT_NAME", "alias"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel"),
        ])
        .unwrap();
        assert_eq!(layer.project.as_deref(), Some("alias"));
        assert_eq!(layer.base_url.as_deref(), Some("http://otel"));
    }

    #[test]
    fn headers_may_be_json_and_bad_ones_are_not_shown() {
        let json = layer(&[("PHOENIX_CLIENT_HEADERS", r#"{"x-a": "1", "x-b": "2"}"#)]).unwrap();
        assert!(format!("{:?}", json.http).contains("extra_headers: 2"));
        for bad in ["canary", r#"{"canary": 1}"#, "{canary"] {
            let error = layer(&[("PHOENIX_CLIENT_HEADERS", bad)])
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("PHOENIX_CLIENT_HEADERS must be "),
                "{error}"
            );
            assert!(!error.contains("canary"));
        }
    }

    #[test]
    fn a_key_in_code_beats_a_header_of_the_environment() {
        let code = Layer {
            api_key: Some("code".into()),
            ..Layer::default()
        };
        let ambient = Layer {
            authorization: Some("Bearer ambient".into()),
            ..Layer::default()
        };
        assert!(code.or(ambient).authorization.is_none());
    }
}
