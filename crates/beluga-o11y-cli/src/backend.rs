//! The backends: how flags, environment and files make an exporter to one, and how each is asked whether all is well.

mod finding;
mod probe;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use beluga_o11y::{BatchReport, ExportError, LLMCallData, TraceExporter};
use beluga_o11y_http::{Env, HttpSender, Setting};
use beluga_o11y_providers::{
    FromEnvError,
    langfuse::{LangfuseConfigError, LangfuseExporter, LangfuseExporterBuilder},
    langsmith::{LangSmithConfigError, LangSmithExporter, LangSmithExporterBuilder},
    opik::{OpikConfigError, OpikExporter, OpikExporterBuilder},
    otlp::{OtlpConfigError, OtlpExporter, OtlpExporterBuilder},
    phoenix::{PhoenixConfigError, PhoenixExporter, PhoenixExporterBuilder},
};

use crate::{
    arguments::{Connection, Target},
    output::{Failure, Outcome},
};

pub(crate) use finding::{Finding, Problem};
use probe::Access;
pub(crate) use probe::Probe;

/// An exporter, and what a person wants to know of it.
pub(crate) trait Backend: TraceExporter {
    /// Where it sends to.
    fn destination(&self) -> String;

    /// Whether an off switch is on: then it takes calls and sends nothing.
    fn is_switched_off(&self) -> bool;

    /// Whether it would refuse the call without asking the server.
    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError>;
}

/// What an exporter is made of, by provider.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as backends, each for a moment"
)]
pub(crate) enum Builder {
    Opik(OpikExporterBuilder),
    Langfuse(LangfuseExporterBuilder),
    Phoenix(PhoenixExporterBuilder),
    LangSmith(LangSmithExporterBuilder),
    Otlp(OtlpExporterBuilder),
    Nowhere,
}

/// The backends that are meant: those named, else those of the environment.
pub(crate) fn chosen(named: &[Target], connection: &Connection) -> Outcome<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    match named {
        [] => {
            let names = beluga_o11y_providers::names_from_env().map_err(not_chosen)?;
            targets.extend(names.into_iter().filter_map(Target::by_name));
        }
        named => {
            for target in named {
                if !targets.contains(target) {
                    targets.push(*target);
                }
            }
        }
    }
    if targets.is_empty() {
        if let Some(name) = nothing_is_meant() {
            return Err(Failure::Settings(format!(
                "{name} says that nothing is sent: unset it, or name a backend"
            )));
        }
        return Err(Failure::settings(
            "no backend is named and none has credentials: name one (opik, langfuse, phoenix, langsmith, otlp), or set \
             its variables; `beluga-o11y sandbox` plays all of them",
        ));
    }
    if targets.len() > 1 && connection.is_set() {
        return Err(Failure::settings(
            "flags for the connection are for one backend: name one, or set the variables of each",
        ));
    }
    Ok(targets)
}

/// The variable that says so.
fn nothing_is_meant() -> Option<&'static str> {
    let env = Env::process();
    let switch = env.first_on(&["BELUGA_O11Y_DISABLED"]).ok().flatten();
    let names = || env.first(&["BELUGA_O11Y_EXPORTERS"]).ok().flatten();
    switch.or_else(|| names().map(|(name, _)| name))
}

fn not_chosen(error: FromEnvError) -> Failure {
    match error {
        FromEnvError::Several { names } => Failure::Settings(format!(
            "several backends have credentials: {}. Say which are meant, by name or by BELUGA_O11Y_EXPORTERS",
            names.join(", ")
        )),
        other => Failure::settings(other),
    }
}

/// The backends that are meant, ready to send.
pub(crate) fn open(named: &[Target], connection: &Connection) -> Outcome<Vec<Arc<dyn Backend>>> {
    let targets = chosen(named, connection)?.into_iter();
    let backends = targets.map(|target| {
        let built = Builder::new(target, connection)?.build();
        let backend: Arc<dyn Backend> = built.map_err(|finding| {
            Failure::Settings(format!("{}: {}", target.name(), finding.text))
        })?;
        match backend.is_switched_off() {
            // It would take everything and send nothing.
            true => Err(Failure::Settings(format!(
                "{}: exporting is switched off by a variable or the configuration file; `beluga-o11y check {0}` shows which",
                backend.name()
            ))),
            false => Ok(backend),
        }
    });
    backends.collect()
}

impl Connection {
    pub(crate) fn is_set(&self) -> bool {
        let Self {
            url,
            api_key,
            public_key,
            workspace,
            project,
            header,
            ca,
            proxy,
            timeout,
            allow_http,
        } = self;
        let texts = [url, api_key, public_key, workspace, project, proxy];
        texts.iter().any(|text| text.is_some())
            || !header.is_empty()
            || ca.is_some()
            || timeout.is_some()
            || *allow_http
    }

    /// The authorities of `--ca`.
    fn authorities(&self) -> Outcome<Option<Vec<u8>>> {
        let Some(path) = &self.ca else {
            return Ok(None);
        };
        std::fs::read(path).map(Some).map_err(|error| {
            Failure::Settings(format!("--ca: cannot read {}: {error}", path.display()))
        })
    }

    /// The headers of `--header`.
    fn headers(&self) -> Outcome<Vec<(&str, &str)>> {
        let headers = self.header.iter().map(|header| {
            // The text may be a secret.
            let problem = || Failure::settings("--header: expected `name: value`");
            let (name, value) = header.split_once(':').ok_or_else(problem)?;
            Ok((name.trim(), value.trim()))
        });
        headers.collect()
    }

    fn refuse(&self, provider: &str, flags: &[(&str, bool, &str)]) -> Outcome {
        match flags.iter().find(|(_, is_set, _)| *is_set) {
            None => Ok(()),
            Some((flag, _, why)) => Err(Failure::Settings(format!("{flag}: {provider} {why}"))),
        }
    }
}

/// Puts what all builders have in common into one.
macro_rules! connect {
    ($builder:expr, $connection:expr, $headers:expr, { $($flag:ident => $with:ident),* $(,)? }) => {{
        let connection: &Connection = $connection;
        let mut builder = $builder;
        $(if let Some(value) = &connection.$flag {
            builder = builder.$with(value.clone());
        })*
        if let Some(pem) = connection.authorities()? {
            builder = builder.with_root_certificate_pem(pem);
        }
        if let Some(proxy) = &connection.proxy {
            builder = builder.with_proxy(proxy.clone());
        }
        if let Some(timeout) = connection.timeout {
            builder = builder.with_timeout(timeout);
        }
        if connection.allow_http {
            builder = builder.with_allow_http(true);
        }
        for (name, value) in $headers {
            builder = builder.with_header(name, value);
        }
        builder
    }};
}

impl Builder {
    pub(crate) fn new(target: Target, connection: &Connection) -> Outcome<Self> {
        let Connection {
            public_key,
            workspace,
            project,
            api_key,
            ..
        } = connection;
        let no_public_key = ("--public-key", public_key.is_some(), "has no public key");
        let headers = connection.headers()?;
        Ok(match target {
            Target::Opik => {
                connection.refuse("opik", &[no_public_key])?;
                Self::Opik(
                    connect!(OpikExporter::builder().from_env(), connection, headers, {
                        url => with_base_url,
                        api_key => with_api_key,
                        workspace => with_workspace,
                        project => with_project,
                    }),
                )
            }
            Target::Langfuse => {
                let keys = "takes the workspace and the project from its keys";
                connection.refuse(
                    "langfuse",
                    &[
                        ("--workspace", workspace.is_some(), keys),
                        ("--project", project.is_some(), keys),
                    ],
                )?;
                Self::Langfuse(
                    connect!(LangfuseExporter::builder().from_env(), connection, headers, {
                        url => with_base_url,
                        api_key => with_secret_key,
                        public_key => with_public_key,
                    }),
                )
            }
            Target::Phoenix => {
                let none = ("--workspace", workspace.is_some(), "has no workspaces");
                connection.refuse("phoenix", &[no_public_key, none])?;
                Self::Phoenix(
                    connect!(PhoenixExporter::builder().from_env(), connection, headers, {
                        url => with_base_url,
                        api_key => with_api_key,
                        project => with_project,
                    }),
                )
            }
            Target::LangSmith => {
                connection.refuse("langsmith", &[no_public_key])?;
                Self::LangSmith(
                    connect!(LangSmithExporter::builder().from_env(), connection, headers, {
                        url => with_base_url,
                        api_key => with_api_key,
                        workspace => with_workspace_id,
                        project => with_project,
                    }),
                )
            }
            Target::Otlp => {
                let own = "has headers only: --header 'authorization: Bearer KEY'";
                let none =
                    "has neither workspaces nor projects; OTEL_SERVICE_NAME names the service";
                connection.refuse(
                    "otlp",
                    &[
                        no_public_key,
                        ("--api-key", api_key.is_some(), own),
                        ("--workspace", workspace.is_some(), none),
                        ("--project", project.is_some(), none),
                    ],
                )?;
                let (authorization, headers): (Vec<_>, Vec<_>) = headers
                    .into_iter()
                    .partition(|(name, _)| name.eq_ignore_ascii_case("authorization"));
                let mut builder = connect!(OtlpExporter::builder().from_env(), connection, headers, {
                    url => with_endpoint,
                });
                for (_, value) in authorization {
                    builder = builder.with_authorization(value.to_owned());
                }
                Self::Otlp(builder)
            }
            Target::None => Self::Nowhere,
        })
    }

    /// How long connecting may take, TLS included.
    pub(crate) fn with_connect_timeout(self, timeout: Duration) -> Self {
        match self {
            Self::Opik(builder) => Self::Opik(builder.with_connect_timeout(timeout)),
            Self::Langfuse(builder) => Self::Langfuse(builder.with_connect_timeout(timeout)),
            Self::Phoenix(builder) => Self::Phoenix(builder.with_connect_timeout(timeout)),
            Self::LangSmith(builder) => Self::LangSmith(builder.with_connect_timeout(timeout)),
            Self::Otlp(builder) => Self::Otlp(builder.with_connect_timeout(timeout)),
            Self::Nowhere => Self::Nowhere,
        }
    }

    /// The settings as they were resolved, and where each is from.
    pub(crate) fn settings(&self) -> Result<Vec<Setting>, Finding> {
        match self {
            Self::Opik(builder) => builder.settings().map_err(opik),
            Self::Langfuse(builder) => builder.settings().map_err(langfuse),
            Self::Phoenix(builder) => builder.settings().map_err(phoenix),
            Self::LangSmith(builder) => builder.settings().map_err(langsmith),
            Self::Otlp(builder) => builder.settings().map_err(otlp),
            Self::Nowhere => Ok(Vec::new()),
        }
    }

    pub(crate) fn build(self) -> Result<Arc<dyn Probe>, Finding> {
        Ok(match self {
            Self::Opik(builder) => Arc::new(builder.build().map_err(opik)?),
            Self::Langfuse(builder) => Arc::new(builder.build().map_err(langfuse)?),
            Self::Phoenix(builder) => Arc::new(builder.build().map_err(phoenix)?),
            Self::LangSmith(builder) => Arc::new(builder.build().map_err(langsmith)?),
            Self::Otlp(builder) => Arc::new(builder.build().map_err(otlp)?),
            Self::Nowhere => Arc::new(Nowhere),
        })
    }
}

fn opik(error: OpikConfigError) -> Finding {
    use OpikConfigError as E;
    match &error {
        E::MissingApiKey { .. } => Finding::of(Problem::MissingKey, "opik", error),
        E::Http(error) => error.into(),
        _ => Finding::of(Problem::Settings, "opik", error),
    }
}

fn langfuse(error: LangfuseConfigError) -> Finding {
    use LangfuseConfigError as E;
    match &error {
        E::MissingPublicKey | E::MissingSecretKey => {
            Finding::of(Problem::MissingKey, "langfuse", error)
        }
        E::SwappedKeys | E::InvalidPublicKey => Finding::of(Problem::WrongKey, "langfuse", error),
        E::Http(error) => error.into(),
        _ => Finding::of(Problem::Settings, "langfuse", error),
    }
}

fn phoenix(error: PhoenixConfigError) -> Finding {
    match &error {
        PhoenixConfigError::Http(error) => error.into(),
        _ => Finding::of(Problem::Settings, "phoenix", error),
    }
}

fn langsmith(error: LangSmithConfigError) -> Finding {
    use LangSmithConfigError as E;
    match &error {
        E::MissingApiKey => Finding::of(Problem::MissingKey, "langsmith", error),
        E::Http(error) => error.into(),
        _ => Finding::of(Problem::Settings, "langsmith", error),
    }
}

fn otlp(error: OtlpConfigError) -> Finding {
    match &error {
        OtlpConfigError::Http(error) => error.into(),
        _ => Finding::of(Problem::Settings, "otlp", error),
    }
}

impl Backend for OpikExporter {
    fn destination(&self) -> String {
        self.config().to_string()
    }

    fn is_switched_off(&self) -> bool {
        self.config().disabled
    }

    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.encode(call, &mut Vec::new(), &mut Vec::new())
    }
}

impl Backend for LangfuseExporter {
    fn destination(&self) -> String {
        self.config().to_string()
    }

    fn is_switched_off(&self) -> bool {
        self.config().disabled
    }

    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.encode(call).map(drop)
    }
}

impl Backend for PhoenixExporter {
    fn destination(&self) -> String {
        self.config().to_string()
    }

    fn is_switched_off(&self) -> bool {
        self.config().disabled
    }

    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.encode(call).map(drop)
    }
}

impl Backend for LangSmithExporter {
    fn destination(&self) -> String {
        self.config().to_string()
    }

    fn is_switched_off(&self) -> bool {
        self.config().disabled
    }

    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.encode(call, &mut Vec::new())
    }
}

impl Backend for OtlpExporter {
    fn destination(&self) -> String {
        self.config().to_string()
    }

    fn is_switched_off(&self) -> bool {
        self.config().disabled
    }

    fn validate(&self, call: &LLMCallData) -> Result<(), ExportError> {
        self.encode(call).map(drop)
    }
}

/// Throws calls away.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl TraceExporter for Nowhere {
    fn name(&self) -> &str {
        "none"
    }

    async fn export_llm_call(&self, _call: &LLMCallData) -> Result<(), ExportError> {
        Ok(())
    }

    async fn export_batch(&self, _calls: &[&LLMCallData]) -> Result<BatchReport, ExportError> {
        Ok(BatchReport::default())
    }
}

impl Backend for Nowhere {
    fn destination(&self) -> String {
        "nowhere".to_owned()
    }

    fn is_switched_off(&self) -> bool {
        false
    }

    fn validate(&self, _call: &LLMCallData) -> Result<(), ExportError> {
        Ok(())
    }
}

/// Nobody is asked.
#[async_trait]
impl Probe for Nowhere {
    fn sender(&self) -> Option<&HttpSender> {
        None
    }

    fn path(&self) -> &'static str {
        ""
    }

    async fn server(&self) -> Result<String, Finding> {
        Ok("none".to_owned())
    }

    async fn access(&self) -> Result<Access, Finding> {
        Ok(Access {
            place: "nowhere".to_owned(),
            missing_project: None,
        })
    }

    async fn has(&self, _call: &LLMCallData) -> Option<Result<bool, Finding>> {
        None
    }
}
