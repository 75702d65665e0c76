//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use beluga_o11y_http::{HttpSenderBuilder, SecretHeaderValue, Setting, not_blank};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Attributes, OtlpConfig, OtlpConfigError, OtlpConventions, OtlpExporter, OtlpTraces,
    config::{Layer, name, unknown_service},
    exporter::Otlp,
};

/// Makes an [`OtlpExporter`]. Every setting has a default, and only [`build`](Self::build) can fail.
///
/// What is set in code beats the environment, whether [`from_env`](Self::from_env) is called before or after, and the
/// environment beats the default. `Debug` shows no secret.
#[must_use]
pub struct OtlpExporterBuilder {
    code: Layer,
    ambient: Result<Layer, OtlpConfigError>,
    conventions: OtlpConventions,
    max_record_bytes: Option<usize>,
    max_request_bytes: Option<usize>,
    http: HttpSenderBuilder,
}

impl Default for OtlpExporterBuilder {
    fn default() -> Self {
        Self {
            code: Layer::default(),
            ambient: Ok(Layer::default()),
            conventions: OtlpConventions::default(),
            max_record_bytes: None,
            max_request_bytes: None,
            http: HttpSenderBuilder::default()
                .with_user_agent(concat!("beluga-o11y-otlp/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

impl OtlpExporterBuilder {
    /// Takes what is not set in code from the environment, by OpenTelemetry's variables. Errors in them are reported
    /// by [`build`](Self::build).
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | [`with_traces_endpoint`](Self::with_traces_endpoint) |
    /// | `OTEL_EXPORTER_OTLP_ENDPOINT` | [`with_endpoint`](Self::with_endpoint) |
    /// | `OTEL_EXPORTER_OTLP_HEADERS` | `key=value,key2=value2`, percent-encoded: `with_header`, and [`with_authorization`](Self::with_authorization) for `authorization` |
    /// | `OTEL_EXPORTER_OTLP_TIMEOUT` | milliseconds: [`with_timeout`](Self::with_timeout) |
    /// | `OTEL_EXPORTER_OTLP_COMPRESSION` | `gzip` or `none`: `with_gzip` |
    /// | `OTEL_EXPORTER_OTLP_CERTIFICATE` | a file: `with_root_certificate_pem` |
    /// | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_CLIENT_KEY` | two files: `with_client_identity_pem` |
    /// | `OTEL_EXPORTER_OTLP_PROTOCOL` | must be `http/protobuf`, if set |
    /// | `OTEL_SERVICE_NAME` | [`with_service_name`](Self::with_service_name) |
    /// | `OTEL_RESOURCE_ATTRIBUTES` | [`with_resource_attribute`](Self::with_resource_attribute) |
    /// | `OTEL_SDK_DISABLED`, `BELUGA_O11Y_DISABLED` | the exporter accepts calls and sends nothing |
    /// | `BELUGA_O11Y_ALLOW_HTTP` | [`with_allow_http`](Self::with_allow_http) |
    ///
    /// Of each `OTEL_EXPORTER_OTLP_..` there is an `OTEL_EXPORTER_OTLP_TRACES_..` that beats it. A variable that is empty or
    /// blank counts as unset.
    pub fn from_env(mut self) -> Self {
        self.ambient = Layer::from_env();
        self
    }

    /// Where the backend takes OTLP over HTTP; `/v1/traces` is appended, unless it is there. Variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; default `http://localhost:4318`, a Collector on this machine.
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.code.endpoint = Some(url.into());
        self.code.traces_endpoint = None;
        self.code.origins.code(name::ENDPOINT);
        self
    }

    /// The URL that takes spans, to which nothing is appended (a slash at its end is dropped); instead of
    /// [`with_endpoint`](Self::with_endpoint). Variable `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; no default.
    pub fn with_traces_endpoint(mut self, url: impl Into<String>) -> Self {
        self.code.traces_endpoint = Some(url.into());
        self.code.endpoint = None;
        self.code.origins.code(name::ENDPOINT);
        self
    }

    /// The `Authorization` header, whole: `Bearer ..` or `Basic ..`. Variable `OTEL_EXPORTER_OTLP_HEADERS`; default none.
    pub fn with_authorization(mut self, value: impl Into<SecretString>) -> Self {
        self.code.authorization = Some(value.into());
        self.code.origins.code(name::AUTHORIZATION);
        self
    }

    /// The attribute `service.name`: which program this is. Variable `OTEL_SERVICE_NAME`; default `unknown_service:` and
    /// the name of the executable, as OpenTelemetry wants it.
    pub fn with_service_name(mut self, name: impl Into<String>) -> Self {
        self.code.service_name = Some(name.into());
        self.code.origins.code(name::SERVICE_NAME);
        self
    }

    /// An attribute of the resource, which all spans share. Variable `OTEL_RESOURCE_ATTRIBUTES`; default `service.name`,
    /// `telemetry.sdk.name`, `telemetry.sdk.language` and `telemetry.sdk.version`.
    pub fn with_resource_attribute(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let key = key.into();
        if key == "service.name" {
            self.code.origins.code(name::SERVICE_NAME);
        }
        self.code.resource.insert(key, value.into());
        self
    }

    /// The environment of calls that name none, sent as `deployment.environment.name`. Default none.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self.code.origins.code(name::ENVIRONMENT);
        self
    }

    /// The names that attributes have. Default [`OtlpConventions::Both`].
    pub fn with_conventions(mut self, conventions: OtlpConventions) -> Self {
        self.conventions = conventions;
        self
    }

    /// The most bytes of OTLP that one call may have, before compression. Larger ones are refused before anything is
    /// sent. Default 20 MB, which is what an OpenTelemetry Collector takes.
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

    /// How long one request may take, from connecting to the last byte of the answer. Variable
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds; default 10 s.
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
    /// people who look for why calls go elsewhere. No secret is shown. It answers too if credentials are missing or
    /// an off switch is on. With an off switch in the environment the rest of it is not read, so it does not count.
    ///
    /// # Errors
    ///
    /// A value in the environment is not what its name stands for, or a file that it names cannot be read.
    pub fn settings(&self) -> Result<Vec<Setting>, OtlpConfigError> {
        let settings = self.code.clone().or(self.ambient.clone()?);
        Ok(settings.settings(&self.http))
    }

    /// The exporter. No connection is made yet, and no runtime is needed; to send, it must be called from
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`OtlpConfigError`] names the first setting that is missing or wrong.
    pub fn build(self) -> Result<OtlpExporter, OtlpConfigError> {
        let settings = self.code.or(self.ambient?);
        if let Some(switch) = settings.disabled_by {
            tracing::warn!("otlp: switched off by {switch}: calls are accepted and not sent");
        }
        let service_name = not_blank("service name", settings.service_name.clone())?;
        let service_name = service_name.unwrap_or_else(unknown_service);
        let environment = not_blank("environment", settings.environment.clone())?;
        let timeout = settings.timeout();
        let authorization = settings.authorization.as_ref();
        let authorization = authorization
            .map(|value| SecretHeaderValue::new(value.expose_secret().trim()))
            .transpose()?;
        let (base_url, path) = settings.target();
        let sender = self
            .http
            .with_defaults(settings.http.clone())
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(base_url)
            .with_credentials(authorization.is_some())
            .build()?;
        let config = OtlpConfig {
            endpoint: sender.url_for(path),
            service_name: service_name.clone(),
            environment: environment.clone(),
            has_authorization: authorization.is_some(),
            timeout,
            disabled: settings.disabled_by.is_some(),
        };
        let mut resource = Attributes::new();
        resource.text("service.name", service_name);
        for (key, value) in [
            ("telemetry.sdk.name", "beluga-o11y"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ] {
            if !settings.resource.contains_key(key) {
                resource.text(key, value);
            }
        }
        for (key, value) in settings.resource {
            resource.text(key, value);
        }
        let backend = Otlp {
            conventions: self.conventions,
            environment,
        };
        let mut traces = OtlpTraces::new(backend, sender, path)
            .with_authorization(authorization)
            .with_resource(resource);
        if let Some(bytes) = self.max_record_bytes {
            traces = traces.with_max_record_bytes(bytes);
        }
        if let Some(bytes) = self.max_request_bytes {
            traces = traces.with_max_request_bytes(bytes);
        }
        Ok(OtlpExporter::new(config, traces))
    }
}

impl fmt::Debug for OtlpExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpExporterBuilder")
            .field("code", &self.code)
            .field("ambient", &self.ambient)
            .field("conventions", &self.conventions)
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

    use super::*;
    use crate::config::read;

    /// A line a setting: its name, its value and where it came from.
    fn lines(builder: &OtlpExporterBuilder) -> Vec<String> {
        let settings = builder.settings().unwrap();
        let line = |setting: &Setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{}: {value} ({})", setting.name, setting.origin)
        };
        settings.iter().map(line).collect()
    }

    fn with_vars(mut builder: OtlpExporterBuilder, vars: &[(&str, &str)]) -> OtlpExporterBuilder {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        builder.ambient = read(Env::from_fn(&get));
        builder
    }

    #[test]
    fn each_setting_tells_where_it_came_from() {
        let none = OtlpExporter::builder;
        let service = unknown_service();
        let expected = [
            "endpoint: http://localhost:4318/v1/traces (default)",
            "authorization: - (default)",
            &format!("service name: {service} (default)"),
            "environment: - (default)",
            "timeout: 10s (default)",
            "allow http: false (default)",
            "headers: - (default)",
            "certificate: - (default)",
            "client certificate: - (default)",
            "client key: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&none()), expected);

        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:2/x"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-a=canary,authorization=Bearer%20canary-1234,x-b=canary",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=res"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", path),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", path),
            ("BELUGA_O11Y_ALLOW_HTTP", "yes"),
        ];
        let variables = with_vars(none(), &vars);
        let expected = [
            "endpoint: http://localhost:2/x (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)",
            "authorization: …1234 (OTEL_EXPORTER_OTLP_HEADERS)",
            "service name: res (OTEL_RESOURCE_ATTRIBUTES)",
            "environment: - (default)",
            "timeout: 2.5s (OTEL_EXPORTER_OTLP_TIMEOUT)",
            "allow http: true (BELUGA_O11Y_ALLOW_HTTP)",
            "headers: 2 headers (OTEL_EXPORTER_OTLP_HEADERS)",
            &format!("certificate: {path} (OTEL_EXPORTER_OTLP_CERTIFICATE)"),
            &format!("client certificate: {path} (OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE)"),
            &format!("client key: {path} (OTEL_EXPORTER_OTLP_CLIENT_KEY)"),
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&variables), expected);
        assert!(!format!("{:?} {variables:?}", variables.settings()).contains("canary"));

        let code = with_vars(none(), &vars)
            .with_endpoint("http://u:canary@h")
            .with_authorization("Bearer canary-code-90ab")
            .with_resource_attribute("service.name", "attribute")
            .with_environment("code")
            .with_timeout(Duration::from_secs(1))
            .with_allow_http(false)
            .with_header("x-gateway", "canary")
            .with_client_identity_pem("canary");
        let expected = [
            "endpoint: http://h/… (code)",
            "authorization: …90ab (code)",
            "service name: attribute (code)",
            "environment: code (code)",
            "timeout: 1s (code)",
            "allow http: false (code)",
            "headers: 1 header (code)",
            "headers: 2 headers (OTEL_EXPORTER_OTLP_HEADERS)",
            &format!("certificate: {path} (OTEL_EXPORTER_OTLP_CERTIFICATE)"),
            "client certificate: - (default)",
            "client key: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&code), expected);
        assert!(!format!("{:?}", code.settings()).contains("canary"));
        let named = code.with_service_name("code");
        assert_eq!(lines(&named)[2], "service name: code (code)");
    }

    #[test]
    fn the_endpoint_that_is_shown_is_the_one_in_use() {
        for (builder, endpoint) in [
            (OtlpExporter::builder(), "http://localhost:4318/v1/traces"),
            (
                OtlpExporter::builder().with_endpoint("http://h:1/p/"),
                "http://h:1/p/v1/traces",
            ),
            (
                OtlpExporter::builder().with_endpoint("http://h/v1/traces/"),
                "http://h/v1/traces",
            ),
            (
                OtlpExporter::builder().with_traces_endpoint("http://h"),
                "http://h/",
            ),
        ] {
            let settings = builder.settings().unwrap();
            assert_eq!(settings[0].value.as_deref(), Some(endpoint));
            assert_eq!(builder.build().unwrap().config().endpoint, endpoint);
        }
        let vars = [
            ("OTEL_SERVICE_NAME", "own"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=res"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1"),
        ];
        let builder = with_vars(OtlpExporter::builder(), &vars);
        let shown = lines(&builder);
        assert_eq!(
            shown[0],
            "endpoint: http://localhost:1/v1/traces (OTEL_EXPORTER_OTLP_ENDPOINT)"
        );
        assert_eq!(shown[2], "service name: own (OTEL_SERVICE_NAME)");
        assert_eq!(builder.build().unwrap().config().service_name, "own");
    }

    #[test]
    fn settings_answer_when_switched_off_and_fail_for_what_cannot_be_read() {
        let bad = ("OTEL_EXPORTER_OTLP_TIMEOUT", "x");
        let off = with_vars(
            OtlpExporter::builder(),
            &[("OTEL_SDK_DISABLED", "true"), bad],
        );
        assert_eq!(
            lines(&off).pop().as_deref(),
            Some("switched off by: OTEL_SDK_DISABLED (OTEL_SDK_DISABLED)")
        );
        let bad = with_vars(OtlpExporter::builder(), &[bad]);
        assert!(bad.settings().is_err());
    }
}
