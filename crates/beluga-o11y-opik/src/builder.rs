//! Makes an exporter out of settings.

use std::{fmt, time::Duration};

use beluga_o11y_http::{HttpSenderBuilder, Setting, not_blank};
use secrecy::SecretString;

use crate::{
    OpikAuthorization, OpikConfig, OpikConfigError, OpikExporter,
    auth::Auth,
    config::{self, Layer, name},
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
        self.code.origins.code(name::API_KEY);
        self
    }

    /// The workspace. Variable `OPIK_WORKSPACE`; default `default`, which is the only one that a self-hosted
    /// Opik has and, in the cloud, the user's own.
    pub fn with_workspace(mut self, workspace: impl Into<String>) -> Self {
        self.code.workspace = Some(workspace.into());
        self.code.origins.code(name::WORKSPACE);
        self
    }

    /// The base URL of the API, with any path, with or without a slash at the end. Variable `OPIK_URL_OVERRIDE`;
    /// default `https://www.comet.com/opik/api`. A self-hosted Opik is usually at `http://localhost:5173/api`.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.code.base_url = Some(url.into());
        self.code.origins.code(name::BASE_URL);
        self
    }

    /// The project, at most 150 characters; Opik makes it on first use. Variable `OPIK_PROJECT_NAME`; default none, which
    /// Opik files under `Default Project`.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.code.project = Some(project.into());
        self.code.origins.code(name::PROJECT);
        self
    }

    /// The environment of calls that name none, at most 150 characters. Variable `OPIK_ENVIRONMENT`; default none.
    pub fn with_environment(mut self, environment: impl Into<String>) -> Self {
        self.code.environment = Some(environment.into());
        self.code.origins.code(name::ENVIRONMENT);
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
    /// people who look for why calls go elsewhere. No secret is shown. It answers too if the key is missing or an off
    /// switch is on. With an off switch in the environment the rest of it and the file are not read, so they do not
    /// count.
    ///
    /// # Errors
    ///
    /// The environment or the configuration file cannot be read, or a value in it is not what its name stands for.
    pub fn settings(&self) -> Result<Vec<Setting>, OpikConfigError> {
        let settings = self.code.clone().or(self.ambient.clone()?);
        Ok(settings.settings(self.http.header_count()))
    }

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
        let workspace = not_blank("workspace", settings.workspace.clone())?;
        let project = short(not_blank("project", settings.project.clone())?, "project")?;
        let environment = short(
            not_blank("environment", settings.environment.clone())?,
            "environment",
        )?;
        let workspace = workspace.unwrap_or_else(|| config::DEFAULT_WORKSPACE.to_owned());

        let (key, base_url) = settings.key_and_base_url();
        let (base_url, _) = base_url?;
        let timeout = settings.timeout();
        let sender = self
            .http
            .with_timeout(timeout)
            .with_allow_http(settings.allow_http.unwrap_or(false))
            .with_base_url(&base_url)
            .with_credentials(key.is_some())
            .with_public_header("comet-workspace", &workspace)
            .build()?;
        if key.is_none() && !disabled && config::is_cloud(sender.host()) {
            let host = sender.host().to_owned();
            return Err(OpikConfigError::MissingApiKey { host });
        }
        let auth = Auth::new(key, self.authorization, timeout)?;
        let config = OpikConfig {
            base_url: sender.base_url().to_owned(),
            workspace,
            project: project.clone(),
            environment: environment.clone(),
            has_api_key: key.is_some(),
            timeout,
            disabled,
        };
        Ok(OpikExporter::new(Inner {
            config,
            connection: (!disabled).then(|| Connection::new(sender, auth)),
            target: Target {
                project,
                environment,
                source: "sdk",
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
            .field("http", &self.http)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError, path::Path};

    use beluga_o11y_http::Env;
    use proptest::prelude::*;

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

    /// A line a setting: its name, its value and where it came from.
    fn lines(builder: &OpikExporterBuilder) -> Vec<String> {
        let settings = builder.settings().unwrap();
        let line = |setting: &Setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{}: {value} ({})", setting.name, setting.origin)
        };
        settings.iter().map(line).collect()
    }

    fn with_vars(
        mut builder: OpikExporterBuilder,
        vars: &[(&str, &str)],
        home: Option<&Path>,
    ) -> OpikExporterBuilder {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            let value = vars.get(name).map(|value| (*value).to_owned());
            value.ok_or(VarError::NotPresent)
        };
        builder.ambient = config::read(Env::from_fn(&get), home);
        builder
    }

    #[test]
    fn the_settings_are_shown_with_their_defaults_and_without_a_key() {
        let expected = [
            "base URL: https://www.comet.com/opik/api (default)",
            "API key: - (default)",
            "workspace: default (default)",
            "project: - (default)",
            "environment: - (default)",
            "timeout: 10s (default)",
            "allow http: false (default)",
            "headers: - (default)",
            "switched off by: - (default)",
        ];
        assert_eq!(lines(&builder()), expected);
    }

    #[test]
    fn each_setting_tells_where_it_came_from() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".opik.config");
        let file = "[opik]\nurl_override = http://localhost:1/api/\nworkspace = file\nproject_name = file\n\
            environment = file\napi_key = file-canary-1234\n";
        std::fs::write(&path, file).unwrap();
        let file = path.display();

        let only_file = with_vars(builder(), &[], Some(home.path()));
        let expected = [
            format!("base URL: http://localhost:1/api ({file}: url_override)"),
            format!("API key: …1234 ({file}: api_key)"),
            format!("workspace: file ({file}: workspace)"),
            format!("project: file ({file}: project_name)"),
            format!("environment: file ({file}: environment)"),
            "timeout: 10s (default)".to_owned(),
            "allow http: false (default)".to_owned(),
            "headers: - (default)".to_owned(),
            "switched off by: - (default)".to_owned(),
        ];
        assert_eq!(lines(&only_file), expected);

        let vars = [
            ("OPIK_API_KEY", "variable-canary-5678"),
            ("OPIK_PROJECT_NAME", "variable"),
            ("OPIK_ENVIRONMENT", "variable"),
            ("OPIK_URL_OVERRIDE", " "),
            ("BELUGA_O11Y_ALLOW_HTTP", "true"),
        ];
        let all = with_vars(builder(), &vars, Some(home.path()))
            .with_environment(" code ")
            .with_timeout(Duration::from_millis(2500))
            .with_header("x-a", "canary")
            .with_header("x-b", "canary");
        let expected = [
            format!("base URL: http://localhost:1/api ({file}: url_override)"),
            "API key: …5678 (OPIK_API_KEY)".to_owned(),
            format!("workspace: file ({file}: workspace)"),
            "project: variable (OPIK_PROJECT_NAME)".to_owned(),
            "environment: code (code)".to_owned(),
            "timeout: 2.5s (code)".to_owned(),
            "allow http: true (BELUGA_O11Y_ALLOW_HTTP)".to_owned(),
            "headers: 2 headers (code)".to_owned(),
            "switched off by: - (default)".to_owned(),
        ];
        assert_eq!(lines(&all), expected);
        assert!(!format!("{:?}", all.settings()).contains("canary"));

        let vars = [("OPIK_WORKSPACE", "w"), ("OPIK_URL_OVERRIDE", "http://h:2")];
        let code = with_vars(builder(), &vars, None)
            .with_base_url("http://h:3")
            .with_workspace("code")
            .with_project("code")
            .with_api_key("code-canary-1234")
            .with_allow_http(false);
        let shown = lines(&code).join("\n");
        for line in [
            "base URL: http://h:3 (code)",
            "API key: …1234 (code)",
            "workspace: code (code)",
            "project: code (code)",
            "allow http: false (code)",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }

    #[test]
    fn a_server_in_the_key_comes_from_where_the_key_does() {
        // {"baseUrl":"https://comet.example.com"}
        let key = "k*eyJiYXNlVXJsIjoiaHR0cHM6Ly9jb21ldC5leGFtcGxlLmNvbSJ9";
        let from = |vars: &[(&str, &str)]| lines(&with_vars(builder(), vars, None));
        let shown = from(&[("OPIK_API_KEY", key)]);
        assert_eq!(
            shown[0],
            "base URL: https://comet.example.com/opik/api (OPIK_API_KEY)"
        );
        let shown = from(&[("OPIK_API_KEY", key), ("OPIK_URL_OVERRIDE", "http://h")]);
        assert_eq!(shown[0], "base URL: http://h (OPIK_URL_OVERRIDE)");
        // Nothing of it can be read, and nothing is shown.
        let shown = from(&[("OPIK_API_KEY", "canary*canary")]);
        assert_eq!(shown[0], "base URL: … (OPIK_API_KEY)");
        assert!(!shown.join("").contains("canary*"));
    }

    #[test]
    fn settings_answer_when_switched_off_and_fail_for_what_cannot_be_read() {
        let vars = [("OPIK_TRACK_DISABLE", "1"), ("OPIK_WORKSPACE", "w")];
        let off = with_vars(builder(), &vars, None).with_project("code");
        let shown = lines(&off).join("\n");
        assert!(shown.contains("switched off by: OPIK_TRACK_DISABLE (OPIK_TRACK_DISABLE)"));
        assert!(shown.contains("workspace: default (default)") && shown.contains("project: code"));

        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".opik.config");
        let with_file = |text: &str, vars: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            with_vars(builder(), vars, Some(home.path()))
        };
        let off = "[opik]\ntrack_disable = yes\n";
        let last = lines(&with_file(off, &[])).pop().unwrap();
        let file = path.display();
        let by = "track_disable in the configuration file";
        assert_eq!(
            last,
            format!("switched off by: {by} ({file}: track_disable)")
        );
        let last = lines(&with_file(off, &[("OPIK_TRACK_DISABLE", "no")])).pop();
        assert_eq!(last.as_deref(), Some("switched off by: - (default)"));

        assert!(with_file("nothing", &[]).settings().is_err());
        let bad = [("BELUGA_O11Y_ALLOW_HTTP", "maybe")];
        assert!(with_vars(builder(), &bad, None).settings().is_err());
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let url = builder().with_base_url("https://canary:canary@h:1/api?canary");
        assert_eq!(lines(&url)[0], "base URL: https://h:1/… (code)");
    }

    proptest! {
        /// The characters of the key are in no other text.
        #[test]
        fn of_a_key_nothing_but_its_end_is_shown(key in "[\u{e000}-\u{e0ff}*]{0,40}", variable: bool) {
            let builder = if variable {
                with_vars(builder(), &[("OPIK_API_KEY", &key)], None)
            } else {
                builder().with_api_key(key.clone())
            };
            let shown = lines(&builder).join("\n");
            let key: Vec<char> = key.chars().filter(|c| *c != '*').collect();
            for part in key.windows(5) {
                prop_assert!(!shown.contains(&part.iter().collect::<String>()));
            }
            let of_key = shown.chars().filter(|c| ('\u{e000}'..='\u{e0ff}').contains(c)).count();
            prop_assert!(of_key <= 4);
        }

        #[test]
        fn settings_and_exporter_agree(
            code: [Option<u8>; 4],
            variable: [Option<u8>; 4],
            millis in proptest::option::of(1..100_000_u64),
        ) {
            let text = |n: &Option<u8>| n.map(|n| format!("v{n}"));
            let url = |n: &Option<u8>| n.map(|n| format!("http://localhost:{}/api/", 1000 + u16::from(n)));
            let variables: Vec<_> = [
                ("OPIK_URL_OVERRIDE", url(&variable[0])),
                ("OPIK_WORKSPACE", text(&variable[1])),
                ("OPIK_PROJECT_NAME", text(&variable[2])),
                ("OPIK_ENVIRONMENT", text(&variable[3])),
                ("OPIK_API_KEY", Some("key-1234567890".to_owned())),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut builder = with_vars(builder(), &variables, None);
            if let Some(url) = url(&code[0]) {
                builder = builder.with_base_url(url);
            }
            if let Some(text) = text(&code[1]) {
                builder = builder.with_workspace(text);
            }
            if let Some(text) = text(&code[2]) {
                builder = builder.with_project(text);
            }
            if let Some(text) = text(&code[3]) {
                builder = builder.with_environment(text);
            }
            if let Some(millis) = millis {
                builder = builder.with_timeout(Duration::from_millis(millis));
            }
            let settings = builder.settings().unwrap();
            let exporter = builder.build().unwrap();
            let config = exporter.config();
            let value = |name: &str| settings.iter().find(|s| s.name == name).unwrap().value.clone();
            prop_assert_eq!(value("base URL"), Some(config.base_url.clone()));
            prop_assert_eq!(value("workspace"), Some(config.workspace.clone()));
            prop_assert_eq!(value("project"), config.project.clone());
            prop_assert_eq!(value("environment"), config.environment.clone());
            prop_assert_eq!(value("timeout"), Some(format!("{:?}", config.timeout)));
        }
    }
}
