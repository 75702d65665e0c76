//! Where settings come from: code, environment, default, in this order.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use beluga_o11y_http::{
    BlankSetting, Env, EnvError, HttpConfigError, HttpSenderBuilder, Origin, Origins, Setting,
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

/// Where a Collector on this machine takes OTLP over HTTP.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
/// What is appended to an endpoint (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "v1/traces";
const TIMEOUT: Duration = Duration::from_secs(10);
const ALLOW_HTTP: &str = "BELUGA_O11Y_ALLOW_HTTP";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What the settings are called where people see them.
pub(crate) mod name {
    pub(crate) const ENDPOINT: &str = "endpoint";
    pub(crate) const AUTHORIZATION: &str = "authorization";
    pub(crate) const SERVICE_NAME: &str = "service name";
    pub(crate) const ENVIRONMENT: &str = "environment";
    pub(crate) const TIMEOUT: &str = "timeout";
    pub(crate) const ALLOW_HTTP: &str = "allow http";
    pub(crate) const HEADERS: &str = "headers";
    pub(crate) const CERTIFICATE: &str = "certificate";
    pub(crate) const CLIENT_CERTIFICATE: &str = "client certificate";
    pub(crate) const CLIENT_KEY: &str = "client key";
    pub(crate) const DISABLED_BY: &str = "switched off by";
}

/// Where an exporter sends to, after all settings have been resolved. It holds no key. Prints as the address and the place
/// there, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The URL that requests go to, with `/v1/traces`.
    pub endpoint: String,
    /// The attribute `service.name` of the resource.
    pub service_name: String,
    /// The environment of calls that name none.
    pub environment: Option<String>,
    /// Whether there is an `Authorization` header.
    pub has_authorization: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether an off switch is on: calls are accepted and not sent.
    pub disabled: bool,
}

impl fmt::Display for OtlpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, service {}", self.endpoint, self.service_name)
    }
}

/// What keeps an exporter from being built. Prints as `otlp: <what is wrong>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpConfigError {
    /// A setting is empty or blank.
    #[error("otlp: {0}")]
    Blank(#[from] BlankSetting),
    /// A value of the environment is not what its name stands for.
    #[error("otlp: {0}")]
    InvalidValue(#[from] EnvError),
    /// A file that a variable names cannot be read.
    #[error("otlp: cannot read the file {} that {name} names: {reason}", path.display())]
    FileUnreadable {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, in the words of the system.
        reason: String,
    },
    /// The URL, a header, a certificate, a proxy or a timeout.
    #[error("otlp: {0}")]
    Http(#[from] HttpConfigError),
}

/// One source of settings. What it does not say is absent.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    /// Without `/v1/traces`.
    pub(crate) endpoint: Option<String>,
    /// With it.
    pub(crate) traces_endpoint: Option<String>,
    pub(crate) authorization: Option<SecretString>,
    pub(crate) service_name: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) allow_http: Option<bool>,
    /// The switch that is on.
    pub(crate) disabled_by: Option<&'static str>,
    pub(crate) origins: Origins,
    pub(crate) http: HttpSenderBuilder,
    /// What was read into `http`.
    files: Files,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("endpoint", &self.endpoint.is_some())
            .field("traces_endpoint", &self.traces_endpoint.is_some())
            .field("authorization", &self.authorization.is_some())
            .field("service_name", &self.service_name)
            .field("environment", &self.environment)
            .field("resource", &self.resource.len())
            .field("timeout", &self.timeout)
            .field("allow_http", &self.allow_http)
            .field("disabled_by", &self.disabled_by)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// The files that variables name, for people.
#[derive(Clone, Default)]
struct Files {
    certificate: Option<String>,
    client_certificate: Option<String>,
    client_key: Option<String>,
}

impl Layer {
    /// This one, and where it says nothing, the other. The two endpoints are one setting, and so are the two ways to name
    /// the service.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.name_service();
        let own_endpoint = self.endpoint.is_some() || self.traces_endpoint.is_some();
        let (endpoint, traces_endpoint) = if own_endpoint {
            (self.endpoint, self.traces_endpoint)
        } else {
            (other.endpoint, other.traces_endpoint)
        };
        let mut resource = other.resource;
        resource.extend(self.resource);
        Self {
            endpoint,
            traces_endpoint,
            authorization: self.authorization.or(other.authorization),
            service_name: self.service_name.or(other.service_name),
            environment: self.environment.or(other.environment),
            resource,
            timeout: self.timeout.or(other.timeout),
            allow_http: self.allow_http.or(other.allow_http),
            disabled_by: self.disabled_by.or(other.disabled_by),
            origins: self.origins.or(other.origins),
            http: self.http.with_defaults(other.http),
            // Code has none.
            files: other.files,
        }
    }

    /// The base URL, and the path below it.
    pub(crate) fn target(&self) -> (&str, &'static str) {
        if let Some(url) = &self.traces_endpoint {
            return (url, "");
        }
        let url = self.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        let has_path = url.trim().trim_end_matches('/').ends_with("/v1/traces");
        (url, if has_path { "" } else { TRACES_PATH })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// All that says where calls go, with its defaults; `code` is what was set in code of what `http` has here.
    pub(crate) fn settings(&self, code: &HttpSenderBuilder) -> Vec<Setting> {
        let origins = &self.origins;
        let (base_url, path) = self.target();
        let endpoint =
            Setting::endpoint(name::ENDPOINT, base_url, path, origins.of(name::ENDPOINT));
        let authorization = self.authorization.as_ref();
        let service_name = match &self.service_name {
            Some(name) => name.trim().to_owned(),
            None => unknown_service(),
        };
        let mut settings = vec![
            endpoint,
            origins.secret(
                name::AUTHORIZATION,
                authorization.map(|value| value.expose_secret().trim()),
            ),
            origins.setting(name::SERVICE_NAME, Some(service_name)),
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
                (code.header_count(), Origin::Code),
                (self.http.header_count(), origins.of(name::HEADERS)),
            ],
        ));
        // An identity in code beats the one of the files.
        let identity = !code.has_client_identity();
        let identity = |file: &Option<String>| file.clone().filter(|_| identity);
        settings.extend([
            origins.setting(name::CERTIFICATE, self.files.certificate.clone()),
            origins.setting(
                name::CLIENT_CERTIFICATE,
                identity(&self.files.client_certificate),
            ),
            origins.setting(name::CLIENT_KEY, identity(&self.files.client_key)),
            origins.setting(name::DISABLED_BY, self.disabled_by),
        ]);
        settings
    }

    /// Takes the service's name out of the resource, where it must not stand twice; the setting beats the attribute.
    fn name_service(&mut self) {
        let attribute = self.resource.remove("service.name");
        self.service_name = self.service_name.take().or(attribute);
    }

    /// What the environment of this process says.
    pub(crate) fn from_env() -> Result<Self, OtlpConfigError> {
        read(Env::process())
    }
}

/// The variable for traces, then the one for all signals.
macro_rules! names {
    ($name:literal) => {
        &[
            concat!("OTEL_EXPORTER_OTLP_TRACES_", $name),
            concat!("OTEL_EXPORTER_OTLP_", $name),
        ]
    };
}

pub(crate) fn read(env: Env<'_>) -> Result<Layer, OtlpConfigError> {
    let mut origins = Origins::default();
    if let Some(switch) = env.first_on(&["BELUGA_O11Y_DISABLED", "OTEL_SDK_DISABLED"])? {
        origins.note(name::DISABLED_BY, Origin::Variable(switch));
        // Nothing else matters, so nothing else can be wrong.
        return Ok(Layer {
            disabled_by: Some(switch),
            origins,
            ..Layer::default()
        });
    }
    if let Some((name, protocol)) = env.first(names!("PROTOCOL"))?
        && protocol != "http/protobuf"
    {
        let error = EnvError::new(name, "http/protobuf, the only protocol of this exporter");
        return Err(error.into());
    }
    let [traces_endpoint, endpoint] = names!("ENDPOINT");
    let mut layer = Layer {
        endpoint: env.text(endpoint)?,
        traces_endpoint: env.text(traces_endpoint)?,
        allow_http: env.switch(ALLOW_HTTP)?,
        ..Layer::default()
    };
    for (setting, variables) in [
        (name::ENDPOINT, names!("ENDPOINT").as_slice()),
        (name::TIMEOUT, names!("TIMEOUT")),
        (name::HEADERS, names!("HEADERS")),
        (name::ALLOW_HTTP, &[ALLOW_HTTP]),
    ] {
        origins.first(setting, env, variables)?;
    }
    if let Some((name, millis)) = env.first(names!("TIMEOUT"))? {
        let millis = millis
            .parse()
            .map_err(|_| EnvError::new(name, "a number of milliseconds"))?;
        layer.timeout = Some(Duration::from_millis(millis));
    }
    if let Some((name, text)) = env.first(names!("HEADERS"))? {
        for (key, value) in parse_pairs(name, &text)? {
            if key.eq_ignore_ascii_case("authorization") {
                origins.note(name::AUTHORIZATION, Origin::Variable(name));
                layer.authorization = Some(value.into());
            } else {
                layer.http = layer.http.with_header(key, value);
            }
        }
    }
    match env.first(names!("COMPRESSION"))? {
        None => {}
        Some((_, choice)) if choice == "gzip" => layer.http = layer.http.with_gzip(true),
        Some((_, choice)) if choice == "none" => layer.http = layer.http.with_gzip(false),
        Some((name, _)) => return Err(EnvError::new(name, "gzip or none").into()),
    }
    if let Some((path, pem)) = file(&mut origins, name::CERTIFICATE, env, names!("CERTIFICATE"))? {
        layer.http = layer.http.with_root_certificate_pem(pem);
        layer.files.certificate = Some(path);
    }
    let (setting, variables) = (name::CLIENT_CERTIFICATE, names!("CLIENT_CERTIFICATE"));
    if let Some((path, mut pem)) = file(&mut origins, setting, env, variables)? {
        layer.files.client_certificate = Some(path);
        pem.push(b'\n');
        if let Some((path, key)) = file(&mut origins, name::CLIENT_KEY, env, names!("CLIENT_KEY"))?
        {
            layer.files.client_key = Some(path);
            pem.extend(key);
        }
        layer.http = layer.http.with_client_identity_pem(pem);
    }
    if let Some(text) = env.text(RESOURCE)? {
        layer.resource = parse_pairs(RESOURCE, &text)?.into_iter().collect();
        if layer.resource.contains_key("service.name") {
            origins.note(name::SERVICE_NAME, Origin::Variable(RESOURCE));
        }
    }
    layer.service_name = origins.first(name::SERVICE_NAME, env, &["OTEL_SERVICE_NAME"])?;
    layer.name_service();
    layer.origins = origins;
    Ok(layer)
}

/// OpenTelemetry's default (resource semantic conventions, `service.name`).
pub(crate) fn unknown_service() -> String {
    let executable = std::env::current_exe().ok();
    let name = executable
        .as_ref()
        .and_then(|path| path.file_stem())
        .and_then(|name| name.to_str());
    match name {
        Some(name) => format!("unknown_service:{name}"),
        None => "unknown_service".to_owned(),
    }
}

/// The file that the first of these variables names, and what is in it.
fn file(
    origins: &mut Origins,
    setting: &'static str,
    env: Env<'_>,
    names: &[&'static str],
) -> Result<Option<(String, Vec<u8>)>, OtlpConfigError> {
    let Some((name, path)) = env.first(names)? else {
        return Ok(None);
    };
    origins.note(setting, Origin::Variable(name));
    match std::fs::read(&path) {
        Ok(pem) => Ok(Some((path, pem))),
        Err(error) => Err(OtlpConfigError::FileUnreadable {
            name,
            path: path.into(),
            reason: error.to_string(),
        }),
    }
}

/// Pairs as OpenTelemetry's variables have them: `key=value,key2=value2`, percent-encoded. `name` is the variable's, for
/// the error.
///
/// # Errors
///
/// There is no `=` in one of them, no key, or what is encoded is no UTF-8.
pub fn parse_pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, EnvError> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text.trim()).decode_utf8().ok()?;
        Some(text.into_owned())
    };
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = decoded(key).filter(|key| !key.is_empty())?;
            Some((key, decoded(value)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| EnvError::new(name, "pairs such as key=value,key2=value2, percent-encoded"))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError};

    use super::*;

    fn layer(vars: &[(&str, &str)]) -> Result<Layer, OtlpConfigError> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        read(Env::from_fn(&get))
    }

    #[test]
    fn the_variables_for_traces_beat_those_for_all() {
        let layer = layer(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=no"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "Authorization=Basic%20a2V5=, x-tenant = t%2C1,",
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=res,team=ml%20ops"),
            ("BELUGA_O11Y_ALLOW_HTTP", "1"),
        ])
        .unwrap();
        assert_eq!(layer.endpoint.as_deref(), Some("http://a:4318"));
        assert_eq!(layer.traces_endpoint.as_deref(), Some("http://b/x"));
        assert_eq!(layer.timeout, Some(Duration::from_millis(2500)));
        let authorization = layer.authorization.as_ref().unwrap();
        assert_eq!(authorization.expose_secret(), "Basic a2V5=");
        assert!(format!("{:?}", layer.http).contains("extra_headers: 1"));
        assert!(format!("{:?}", layer.http).contains("gzip: Some(false)"));
        assert_eq!(layer.service_name.as_deref(), Some("res"));
        assert_eq!(
            layer.resource,
            BTreeMap::from([("team".into(), "ml ops".into())])
        );
        assert_eq!(layer.allow_http, Some(true));
        assert!(!format!("{layer:?}").contains("a2V5"));
    }

    #[test]
    fn the_service_name_has_a_variable_of_its_own() {
        let layer = layer(&[
            ("OTEL_SERVICE_NAME", "own"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=res"),
        ]);
        assert_eq!(layer.unwrap().service_name.as_deref(), Some("own"));
    }

    #[test]
    fn bad_values_are_named_and_not_shown() {
        for (name, value, text) in [
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "grpc",
                "otlp: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be http/protobuf",
            ),
            (
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "10s",
                "otlp: OTEL_EXPORTER_OTLP_TIMEOUT must be a number of milliseconds",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "canary",
                "otlp: OTEL_EXPORTER_OTLP_HEADERS must be pairs",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "=canary",
                "otlp: OTEL_EXPORTER_OTLP_HEADERS must be pairs",
            ),
            (
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "zstd",
                "otlp: OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none",
            ),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "/nowhere/ca.pem",
                "otlp: cannot read the file /nowhere/ca.pem that OTEL_EXPORTER_OTLP_CERTIFICATE names",
            ),
        ] {
            let error = layer(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
            assert!(!error.contains("canary"));
        }
    }

    #[test]
    fn switched_off_nothing_else_can_be_wrong() {
        for name in ["OTEL_SDK_DISABLED", "BELUGA_O11Y_DISABLED"] {
            let layer = layer(&[(name, "true"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "x")]).unwrap();
            assert_eq!(layer.disabled_by, Some(name));
        }
    }

    #[test]
    fn an_endpoint_in_code_beats_both_of_the_environment() {
        let code = Layer {
            endpoint: Some("http://code".to_owned()),
            ..Layer::default()
        };
        let ambient = Layer {
            traces_endpoint: Some("http://ambient".to_owned()),
            ..Layer::default()
        };
        let both = code.or(ambient);
        assert_eq!(both.endpoint.as_deref(), Some("http://code"));
        assert_eq!(both.traces_endpoint, None);
    }
}
