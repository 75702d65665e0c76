//! Where settings come from: code, environment, `~/.opik.config`, default, in this order.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose};
use beluga_o11y_http::{
    BlankSetting, Env, EnvError, HttpConfigError, Origin, Origins, Setting, parse_switch,
};
use secrecy::{ExposeSecret, SecretString};

/// Opik's cloud.
pub(crate) const DEFAULT_BASE_URL: &str = "https://www.comet.com/opik/api";
pub(crate) const DEFAULT_WORKSPACE: &str = "default";
const TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_FILE: &str = "~/.opik.config";
const ALLOW_HTTP: &str = "BELUGA_O11Y_ALLOW_HTTP";

/// What the settings are called where people see them.
pub(crate) mod name {
    pub(crate) const API_KEY: &str = "API key";
    pub(crate) const BASE_URL: &str = "base URL";
    pub(crate) const WORKSPACE: &str = "workspace";
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
pub struct OpikConfig {
    /// The base URL of the API, without a slash at the end.
    pub base_url: String,
    /// The workspace, sent as `Comet-Workspace` with every request.
    pub workspace: String,
    /// The project; without one Opik files calls under `Default Project`.
    pub project: Option<String>,
    /// The environment of calls that name none.
    pub environment: Option<String>,
    /// Whether there is an API key.
    pub has_api_key: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether an off switch is on: calls are accepted and not sent.
    pub disabled: bool,
}

impl fmt::Display for OpikConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, workspace {}", self.base_url, self.workspace)?;
        match &self.project {
            Some(project) => write!(f, ", project {project}"),
            None => Ok(()),
        }
    }
}

/// What keeps an exporter from being built. Prints as `opik: <what is wrong>`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpikConfigError {
    /// Opik's cloud takes nothing without a key.
    #[error(
        "opik: API key is required for {host}: call with_api_key(..), or set OPIK_API_KEY and use \
         from_env()"
    )]
    MissingApiKey {
        /// The host that wants one.
        host: String,
    },
    /// A setting is empty or blank.
    #[error("opik: {0}")]
    Blank(#[from] BlankSetting),
    /// A project or environment name is longer than Opik's column for it.
    #[error("opik: the {setting} is {length} characters long, and Opik takes at most 150")]
    TooLong {
        /// The setting.
        setting: &'static str,
        /// Its length in characters.
        length: usize,
    },
    /// A value of the environment or the file (then with its path) is not what its name stands for.
    #[error("opik: {0}")]
    InvalidValue(#[from] EnvError),
    /// The configuration file cannot be read.
    #[error("opik: cannot read the configuration file {}: {reason}", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why, in the words of the system.
        reason: String,
    },
    /// The configuration file is not an INI file.
    #[error("opik: {}:{line}: {problem}", path.display())]
    FileMalformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key names its server after a `*`, but not so that it can be read or trusted.
    #[error("opik: the API key {problem}; set the base URL yourself")]
    KeyWithServer {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL, a header, a certificate, a proxy or a timeout.
    #[error("opik: {0}")]
    Http(#[from] HttpConfigError),
}

/// One source of settings. What it does not say is `None`.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) api_key: Option<SecretString>,
    pub(crate) base_url: Option<String>,
    pub(crate) workspace: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) allow_http: Option<bool>,
    /// The switch that is on.
    pub(crate) disabled_by: Option<&'static str>,
    pub(crate) origins: Origins,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("api_key", &self.api_key.is_some())
            .field("base_url", &self.base_url.is_some())
            .field("workspace", &self.workspace)
            .field("project", &self.project)
            .field("environment", &self.environment)
            .field("timeout", &self.timeout)
            .field("allow_http", &self.allow_http)
            .field("disabled_by", &self.disabled_by)
            .finish_non_exhaustive()
    }
}

impl Layer {
    /// This one, and where it says nothing, the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            api_key: self.api_key.or(other.api_key),
            base_url: self.base_url.or(other.base_url),
            workspace: self.workspace.or(other.workspace),
            project: self.project.or(other.project),
            environment: self.environment.or(other.environment),
            timeout: self.timeout.or(other.timeout),
            allow_http: self.allow_http.or(other.allow_http),
            disabled_by: self.disabled_by.or(other.disabled_by),
            origins: self.origins.or(other.origins),
        }
    }

    /// The key to send, if there is one, and the base URL with the name of the setting that it comes from.
    pub(crate) fn key_and_base_url(&self) -> (Option<&str>, Result<BaseUrl, OpikConfigError>) {
        let key = self.api_key.as_ref().map(expose);
        let (key, server) = key.map_or(("", Ok(None)), split_key);
        let base_url = match (&self.base_url, server) {
            (Some(url), _) => Ok((url.clone(), name::BASE_URL)),
            (None, Ok(Some(url))) => Ok((url, name::API_KEY)),
            (None, Ok(None)) => Ok((DEFAULT_BASE_URL.to_owned(), name::BASE_URL)),
            (None, Err(error)) => Err(error),
        };
        (Some(key).filter(|key| !key.is_empty()), base_url)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// All that says where calls go, with its defaults; `headers` are those that were set in code.
    pub(crate) fn settings(&self, headers: usize) -> Vec<Setting> {
        let origins = &self.origins;
        let text =
            |name, value: &Option<String>| origins.setting(name, value.as_deref().map(str::trim));
        let (key, base_url) = self.key_and_base_url();
        let base_url = match base_url {
            Ok((url, of)) => Setting::url(name::BASE_URL, &url, origins.of(of)),
            // What the key says cannot be read, so nothing of it can be shown.
            Err(_) => Setting::url(name::BASE_URL, "", origins.of(name::API_KEY)),
        };
        let workspace = self.workspace.as_deref().unwrap_or(DEFAULT_WORKSPACE);
        vec![
            base_url,
            origins.secret(name::API_KEY, key),
            origins.setting(name::WORKSPACE, Some(workspace.trim())),
            text(name::PROJECT, &self.project),
            text(name::ENVIRONMENT, &self.environment),
            origins.setting(name::TIMEOUT, Some(format!("{:?}", self.timeout()))),
            origins.setting(
                name::ALLOW_HTTP,
                Some(self.allow_http.unwrap_or(false).to_string()),
            ),
            Setting::headers(name::HEADERS, headers, Origin::Code),
            origins.setting(name::DISABLED_BY, self.disabled_by),
        ]
    }

    /// What the environment and the configuration file of this process say.
    pub(crate) fn from_env() -> Result<Self, OpikConfigError> {
        read(Env::process(), std::env::home_dir().as_deref())
    }
}

/// A base URL, and the name of the setting that it comes from.
pub(crate) type BaseUrl = (String, &'static str);

pub(crate) fn read(env: Env<'_>, home: Option<&Path>) -> Result<Layer, OpikConfigError> {
    let mut origins = Origins::default();
    if let Some(switch) = env.first_on(&["BELUGA_O11Y_DISABLED", "OPIK_TRACK_DISABLE"])? {
        origins.note(name::DISABLED_BY, Origin::Variable(switch));
        // Nothing else matters, so nothing else can be wrong.
        return Ok(Layer {
            disabled_by: Some(switch),
            origins,
            ..Layer::default()
        });
    }
    let mut text = |setting, variable| origins.first(setting, env, &[variable]);
    let mut environment = Layer {
        api_key: text(name::API_KEY, "OPIK_API_KEY")?.map(SecretString::from),
        base_url: text(name::BASE_URL, "OPIK_URL_OVERRIDE")?,
        workspace: text(name::WORKSPACE, "OPIK_WORKSPACE")?,
        project: text(name::PROJECT, "OPIK_PROJECT_NAME")?,
        environment: text(name::ENVIRONMENT, "OPIK_ENVIRONMENT")?,
        allow_http: env.switch(ALLOW_HTTP)?,
        ..Layer::default()
    };
    // It is no text, so it was read otherwise.
    text(name::ALLOW_HTTP, ALLOW_HTTP)?;
    environment.origins = origins;
    let mut file = read_file(env.text("OPIK_CONFIG_PATH")?, home)?;
    if env.text("OPIK_TRACK_DISABLE")?.is_some() {
        // The environment said no, which beats a yes of the file.
        file.disabled_by = None;
    }
    Ok(environment.or(file))
}

fn read_file(named: Option<String>, home: Option<&Path>) -> Result<Layer, OpikConfigError> {
    let Some(path) = expand(named.as_deref().unwrap_or(DEFAULT_FILE), home) else {
        return Ok(Layer::default());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if named.is_some() {
                tracing::warn!(
                    path = %path.display(),
                    "opik: the configuration file that OPIK_CONFIG_PATH names does not exist"
                );
            }
            return Ok(Layer::default());
        }
        Err(error) => {
            return Err(OpikConfigError::FileUnreadable {
                path,
                reason: error.to_string(),
            });
        }
    };
    parse_file(&text, &path)
}

/// `~` is the home directory; without one there is no such file.
fn expand(path: &str, home: Option<&Path>) -> Option<PathBuf> {
    match path.strip_prefix("~/") {
        Some(rest) => home.map(|home| home.join(rest)),
        None => Some(PathBuf::from(path)),
    }
}

/// The section `[opik]` of the file. A line that says nothing is an error with its number.
fn parse_file(text: &str, path: &Path) -> Result<Layer, OpikConfigError> {
    let values =
        ini_section(text, "opik").map_err(|(line, problem)| OpikConfigError::FileMalformed {
            path: path.to_owned(),
            line,
            problem,
        })?;
    let mut origins = Origins::default();
    let mut get = |setting, key: &'static str| {
        let value = values.get(key).cloned().filter(|value| !value.is_empty());
        if value.is_some() {
            let path = path.to_owned();
            origins.note(setting, Origin::File { path, key });
        }
        value
    };
    let switch = format!("{}: track_disable", path.display());
    let disabled =
        get(name::DISABLED_BY, "track_disable").map(|value| parse_switch(&switch, &value));
    Ok(Layer {
        api_key: get(name::API_KEY, "api_key").map(SecretString::from),
        base_url: get(name::BASE_URL, "url_override"),
        workspace: get(name::WORKSPACE, "workspace"),
        project: get(name::PROJECT, "project_name"),
        environment: get(name::ENVIRONMENT, "environment"),
        disabled_by: (disabled.transpose()? == Some(true))
            .then_some("track_disable in the configuration file"),
        timeout: None,
        allow_http: None,
        origins,
    })
}

/// One section of an INI file by the rules of Python's `configparser`, which Opik's own client reads it with:
/// `=` or `:`, keys in any case, whole-line comments, values as they stand, lines indented further continue a
/// value, `[DEFAULT]` counts for every section, and nothing stands twice. The INI crates that we
/// looked at have other rules for quotes and comments, or do not tell the line of a mistake.
fn ini_section(
    text: &str,
    wanted: &str,
) -> Result<BTreeMap<String, String>, (usize, &'static str)> {
    const DEFAULT: &str = "DEFAULT";
    let mut sections: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = None;
    // The last key, and how far it was indented.
    let mut last: Option<(String, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if let Some((key, _)) = last.as_ref().filter(|(_, of_key)| indent > *of_key) {
            let values = section.and_then(|name| sections.get_mut(name));
            if let Some(value) = values.and_then(|values| values.get_mut(key)) {
                *value = format!("{value}\n{trimmed}");
            }
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let (name, _) = rest
                .rsplit_once(']')
                .ok_or((number, "a section must end with ]"))?;
            if name != DEFAULT && sections.contains_key(name) {
                return Err((number, "the section stands twice"));
            }
            sections.entry(name).or_default();
            (section, last) = (Some(name), None);
            continue;
        }
        let Some(section) = section else {
            return Err((number, "settings must stand below a section, [opik]"));
        };
        let (key, value) = trimmed
            .split_once(['=', ':'])
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or((number, "expected key = value, or [section]"))?;
        let key = key.trim().to_ascii_lowercase();
        last = Some((key.clone(), indent));
        let values = sections.entry(section).or_default();
        if values.insert(key, value.trim().to_owned()).is_some() {
            return Err((number, "the key stands twice"));
        }
    }
    let mut values = sections.remove(DEFAULT).unwrap_or_default();
    match sections.remove(wanted) {
        Some(own) => values.extend(own),
        None => values.clear(),
    }
    Ok(values)
}

/// The key to send, and the base URL that stands in it.
///
/// Comet's keys may name their server: 25 characters, `*`, and base64 of `{"baseUrl": ".."}`. The
/// whole text is sent as the key, only a `*` with nothing behind it is cut off.
pub(crate) fn split_key(key: &str) -> (&str, Result<Option<String>, OpikConfigError>) {
    match key.split_once('*') {
        None => (key, Ok(None)),
        Some((bare, "")) => (bare, Ok(None)),
        Some((_, attributes)) if attributes.contains('*') => (key, Ok(None)),
        Some((_, attributes)) => (key, server_of(attributes).map(Some)),
    }
}

fn server_of(attributes: &str) -> Result<String, OpikConfigError> {
    #[derive(serde::Deserialize)]
    struct Attributes {
        #[serde(rename = "baseUrl")]
        base_url: String,
    }
    let unreadable = OpikConfigError::KeyWithServer {
        problem: "has a `*`, but what stands behind it does not name a server",
    };
    let unpadded = attributes.trim_end_matches('=');
    let bytes = general_purpose::STANDARD_NO_PAD
        .decode(unpadded)
        .or_else(|_| general_purpose::URL_SAFE_NO_PAD.decode(unpadded))
        .map_err(|_| unreadable.clone())?;
    let attributes: Attributes = serde_json::from_slice(&bytes).map_err(|_| unreadable)?;
    if !attributes.base_url.starts_with("https://") {
        return Err(OpikConfigError::KeyWithServer {
            problem: "names a server that is not https",
        });
    }
    Ok(format!(
        "{}/opik/api",
        attributes.base_url.trim_end_matches('/')
    ))
}

/// Whether the host is Opik's cloud, which takes nothing without a key.
pub(crate) fn is_cloud(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "comet.com" || host.ends_with(".comet.com")
}

/// The text of a key, for the places that need it.
pub(crate) fn expose(key: &SecretString) -> &str {
    key.expose_secret().trim()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, env::VarError};

    use super::*;

    fn layer(vars: &[(&str, &str)]) -> Result<Layer, OpikConfigError> {
        layer_at(vars, None)
    }

    fn layer_at(vars: &[(&str, &str)], home: Option<&Path>) -> Result<Layer, OpikConfigError> {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        let get = |name: &str| {
            vars.get(name)
                .map(|v| (*v).to_owned())
                .ok_or(VarError::NotPresent)
        };
        read(Env::from_fn(&get), home)
    }

    fn with_file<T>(text: &str, run: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".opik.config"), text).unwrap();
        run(dir.path())
    }

    const FILE: &str = "# written by opik configure\n[opik]\nurl_override = https://opik.example.com/api/\n\
        Workspace = team\nproject_name: 100% mine\napi_key = a=b;c#d\nenvironment = staging\n\n[other]\nworkspace = no\n";

    #[test]
    fn every_variable_is_read() {
        let layer = layer(&[
            ("OPIK_API_KEY", " key\n"),
            ("OPIK_URL_OVERRIDE", "http://localhost:5173/api"),
            ("OPIK_WORKSPACE", "w"),
            ("OPIK_PROJECT_NAME", "p"),
            ("OPIK_ENVIRONMENT", "e"),
            ("BELUGA_O11Y_ALLOW_HTTP", "True"),
        ])
        .unwrap();
        assert_eq!(expose(layer.api_key.as_ref().unwrap()), "key");
        assert_eq!(layer.base_url.as_deref(), Some("http://localhost:5173/api"));
        assert_eq!(layer.workspace.as_deref(), Some("w"));
        assert_eq!(layer.project.as_deref(), Some("p"));
        assert_eq!(layer.environment.as_deref(), Some("e"));
        assert_eq!((layer.allow_http, layer.disabled_by), (Some(true), None));
    }

    #[test]
    fn the_file_is_read_as_opiks_own_clients_read_it() {
        with_file(FILE, |home| {
            let layer = layer_at(&[], Some(home)).unwrap();
            assert_eq!(
                layer.base_url.as_deref(),
                Some("https://opik.example.com/api/")
            );
            assert_eq!(layer.workspace.as_deref(), Some("team"));
            assert_eq!(layer.project.as_deref(), Some("100% mine"));
            assert_eq!(expose(layer.api_key.as_ref().unwrap()), "a=b;c#d");
            assert_eq!(layer.environment.as_deref(), Some("staging"));
        });
    }

    #[test]
    fn environment_beats_file_and_blank_is_unset() {
        with_file(FILE, |home| {
            let vars = [("OPIK_WORKSPACE", "mine"), ("OPIK_PROJECT_NAME", "  ")];
            let layer = layer_at(&vars, Some(home)).unwrap();
            assert_eq!(layer.workspace.as_deref(), Some("mine"));
            assert_eq!(layer.project.as_deref(), Some("100% mine"));
        });
    }

    #[test]
    fn a_named_file_is_taken_and_a_missing_one_is_no_error() {
        with_file("[opik]\nworkspace=x\n", |home| {
            let path = home.join(".opik.config");
            let vars = [("OPIK_CONFIG_PATH", path.to_str().unwrap())];
            assert_eq!(
                layer_at(&vars, None).unwrap().workspace.as_deref(),
                Some("x")
            );
            let vars = [("OPIK_CONFIG_PATH", "~/.opik.config")];
            assert_eq!(
                layer_at(&vars, Some(home)).unwrap().workspace.as_deref(),
                Some("x")
            );
            let vars = [("OPIK_CONFIG_PATH", "~/nothing")];
            assert_eq!(layer_at(&vars, Some(home)).unwrap().workspace, None);
        });
    }

    #[test]
    fn a_malformed_file_is_named_with_its_line() {
        for (text, line) in [
            ("workspace = x\n", 1),
            ("\n# comment\nworkspace = x\n[opik]\n", 3),
            ("[opik]\nworkspace = x\nthis is nothing\n", 3),
            ("[opik\nworkspace = x\n", 1),
            (
                "[opik]\nworkspace = x\n[other]\n[opik]\nworkspace = nothing\n",
                4,
            ),
            ("[opik]\nworkspace = x\nWorkspace: nothing\n", 3),
            ("[other]\na = x\na = nothing\n", 3),
            ("[opik]\n = nothing\n", 2),
            ("\u{feff}[opik]\n", 1),
        ] {
            with_file(text, |home| {
                let error = layer_at(&[], Some(home)).unwrap_err().to_string();
                let expected = format!("opik: {}:{line}: ", home.join(".opik.config").display());
                assert!(error.starts_with(&expected), "{text:?}: {error}");
                assert!(!error.contains("nothing"), "{error}");
            });
        }
    }

    #[test]
    fn values_stand_as_they_are_and_may_go_on_in_the_next_line() {
        let text = "[opik]\n workspace = \"q\" ; x\n  y\n project_name = a\\b\n\t  b\n[other]\nworkspace = 1\n  c\n";
        let values = ini_section(text, "opik").unwrap();
        assert_eq!(values["workspace"], "\"q\" ; x\ny");
        assert_eq!(values["project_name"], "a\\b\nb");
        let text = "[DEFAULT]\nworkspace = d\nproject_name = d\n[opik] # mine\r\nworkspace = o\r\n";
        let values = ini_section(text, "opik").unwrap();
        assert_eq!(
            (
                values["workspace"].as_str(),
                values["project_name"].as_str()
            ),
            ("o", "d")
        );
        assert!(
            ini_section("[DEFAULT]\nworkspace = d\n", "opik")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".opik.config")).unwrap();
        let error = layer_at(&[], Some(dir.path())).unwrap_err().to_string();
        assert!(
            error.starts_with("opik: cannot read the configuration file "),
            "{error}"
        );
        std::fs::remove_dir(dir.path().join(".opik.config")).unwrap();
        std::fs::write(dir.path().join(".opik.config"), b"[opik]\n\xff\xfe").unwrap();
        let error = layer_at(&[], Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn the_off_switches() {
        let by = |vars: &[(&str, &str)]| layer(vars).unwrap().disabled_by;
        assert_eq!(
            by(&[("BELUGA_O11Y_DISABLED", "true")]),
            Some("BELUGA_O11Y_DISABLED")
        );
        assert_eq!(
            by(&[("OPIK_TRACK_DISABLE", "1")]),
            Some("OPIK_TRACK_DISABLE")
        );
        assert_eq!(by(&[("OPIK_TRACK_DISABLE", "no")]), None);
        with_file("[opik]\ntrack_disable = true\n", |home| {
            assert!(layer_at(&[], Some(home)).unwrap().disabled_by.is_some());
            let vars = [("OPIK_TRACK_DISABLE", "false")];
            assert!(layer_at(&vars, Some(home)).unwrap().disabled_by.is_none());
        });
        let error = layer(&[("BELUGA_O11Y_DISABLED", "maybe")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "opik: BELUGA_O11Y_DISABLED must be true or false"
        );
    }

    #[test]
    fn a_key_may_name_its_server() {
        let encode = |json: &str| format!("k*{}", general_purpose::STANDARD.encode(json));
        let server = |key: &str| split_key(key).1.map_err(|error| error.to_string());
        for url in ["https://comet.example.com", "https://comet.example.com/"] {
            let key = encode(&format!(r#"{{"baseUrl":"{url}"}}"#));
            assert_eq!(split_key(&key).0, key);
            assert_eq!(
                server(&key),
                Ok(Some("https://comet.example.com/opik/api".into()))
            );
        }
        assert_eq!((split_key("k*").0, server("k*")), ("k", Ok(None)));
        assert_eq!(server("plain"), Ok(None));
        let plain_http = encode(r#"{"baseUrl":"http://comet.example.com"}"#);
        assert!(server(&plain_http).unwrap_err().contains("not https"));
        assert!(
            server("k*!!")
                .unwrap_err()
                .starts_with("opik: the API key has a `*`")
        );
        assert!(server(&encode("{}")).is_err());
    }

    #[test]
    fn the_cloud_is_comet_com_and_below() {
        for host in ["comet.com", "www.comet.com", "WWW.Comet.com."] {
            assert!(is_cloud(host), "{host}");
        }
        for host in ["comet.com.example.com", "notcomet.com", "localhost"] {
            assert!(!is_cloud(host), "{host}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let layer = layer(&[
            ("OPIK_API_KEY", "canary"),
            ("OPIK_URL_OVERRIDE", "http://u:canary@h"),
        ]);
        assert!(!format!("{layer:?}").contains("canary"));
    }
}
