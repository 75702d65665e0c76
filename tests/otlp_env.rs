//! `from_env()` of the exporters over OTLP in a process of its own, since the environment belongs to all threads.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use beluga_o11y::{LLMCallData, TraceExporter};
use beluga_o11y_langfuse::{LangfuseConfigError, LangfuseExporter};
use beluga_o11y_otlp::{OtlpConfigError, OtlpExporter};
use beluga_o11y_phoenix::{PhoenixConfigError, PhoenixExporter};
use beluga_o11y_sandbox::{Backend, LangfuseProject, Sandbox};

/// All that the three read.
const ALL: &[&str] = &[
    "BELUGA_O11Y_ALLOW_HTTP",
    "BELUGA_O11Y_DISABLED",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "CIRCLE_SHA1",
    "CI_COMMIT_SHA",
    "DRONE_COMMIT_SHA",
    "GITHUB_SHA",
    "GIT_COMMIT",
    "LANGFUSE_BASEURL",
    "LANGFUSE_BASE_URL",
    "LANGFUSE_FLUSH_AT",
    "LANGFUSE_FLUSH_INTERVAL",
    "LANGFUSE_HOST",
    "LANGFUSE_OTEL_COMPRESSION",
    "LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES",
    "LANGFUSE_OTEL_TRACES_EXPORT_PATH",
    "LANGFUSE_PUBLIC_KEY",
    "LANGFUSE_RELEASE",
    "LANGFUSE_SAMPLE_RATE",
    "LANGFUSE_SECRET_KEY",
    "LANGFUSE_TIMEOUT",
    "LANGFUSE_TRACING_ENABLED",
    "LANGFUSE_TRACING_ENVIRONMENT",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "PHOENIX_API_KEY",
    "PHOENIX_CLIENT_HEADERS",
    "PHOENIX_COLLECTOR_ENDPOINT",
    "PHOENIX_PROJECT",
    "PHOENIX_PROJECT_NAME",
    "RENDER_GIT_COMMIT",
    "SOURCE_VERSION",
    "TRAVIS_COMMIT",
];

/// Runs with these variables and no others that matter. Tests in this file take turns.
fn with_env<T>(vars: &[(&str, &str)], run: impl FnOnce() -> T) -> T {
    for (name, _) in vars {
        assert!(ALL.contains(name), "{name}");
    }
    let all = ALL.iter().map(|name| {
        let given = vars.iter().find(|(given, _)| given == name);
        (*name, given.map(|(_, value)| *value))
    });
    temp_env::with_vars(all.collect::<Vec<_>>(), run)
}

fn otlp(vars: &[(&str, &str)]) -> Result<OtlpExporter, OtlpConfigError> {
    with_env(vars, OtlpExporter::from_env)
}

fn langfuse(vars: &[(&str, &str)]) -> Result<LangfuseExporter, LangfuseConfigError> {
    with_env(vars, LangfuseExporter::from_env)
}

fn phoenix(vars: &[(&str, &str)]) -> Result<PhoenixExporter, PhoenixConfigError> {
    with_env(vars, PhoenixExporter::from_env)
}

const KEYS: [(&str, &str); 2] = [
    ("LANGFUSE_PUBLIC_KEY", "pk-lf-1"),
    ("LANGFUSE_SECRET_KEY", "sk-lf-canary"),
];

#[test]
fn variables_make_an_exporter_to_otlp() {
    let config = otlp(&[]).unwrap().config().clone();
    assert_eq!(config.endpoint, "http://localhost:4318/v1/traces");
    assert!(!config.has_authorization && !config.disabled);
    let config = otlp(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1/x/"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Authorization=Bearer%20canary,x-a=b",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_SERVICE_NAME", "svc"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=ml"),
    ])
    .unwrap();
    let config = config.config();
    assert_eq!(config.endpoint, "http://localhost:1/x/v1/traces");
    assert_eq!(config.service_name, "svc");
    assert_eq!(config.timeout, Duration::from_millis(2500));
    assert!(config.has_authorization);
    let traces = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:2/t"),
    ];
    let endpoint = otlp(&traces).unwrap().config().endpoint.clone();
    assert_eq!(endpoint, "http://localhost:2/t");
    let blank = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", " "),
        ("OTEL_SERVICE_NAME", ""),
    ];
    assert!(
        otlp(&blank)
            .unwrap()
            .config()
            .service_name
            .starts_with("unknown_service:")
    );
}

#[test]
fn variables_make_an_exporter_to_langfuse() {
    let config = langfuse(&KEYS).unwrap().config().clone();
    assert_eq!(config.base_url, "https://cloud.langfuse.com");
    let vars = [
        KEYS[0],
        KEYS[1],
        ("LANGFUSE_HOST", "http://localhost:3"),
        ("LANGFUSE_BASE_URL", "http://localhost:1"),
        ("LANGFUSE_BASEURL", "http://localhost:2"),
        ("LANGFUSE_TRACING_ENVIRONMENT", "staging"),
        ("GITHUB_SHA", "abc"),
        ("LANGFUSE_TIMEOUT", "2.5"),
        ("LANGFUSE_SAMPLE_RATE", "0.5"),
        ("LANGFUSE_FLUSH_AT", "7"),
        ("LANGFUSE_FLUSH_INTERVAL", "3"),
    ];
    let config = langfuse(&vars).unwrap().config().clone();
    assert_eq!(config.base_url, "http://localhost:1");
    assert_eq!(config.environment.as_deref(), Some("staging"));
    assert_eq!(config.release.as_deref(), Some("abc"));
    assert_eq!(config.timeout, Duration::from_millis(2500));
    assert_eq!((config.sample_rate, config.flush_at), (Some(0.5), Some(7)));
    assert_eq!(config.flush_interval, Some(Duration::from_secs(3)));
    let own = [
        KEYS[0],
        KEYS[1],
        ("GITHUB_SHA", "abc"),
        ("LANGFUSE_RELEASE", "1"),
    ];
    assert_eq!(
        langfuse(&own).unwrap().config().release.as_deref(),
        Some("1")
    );
    let host = [KEYS[0], KEYS[1], ("LANGFUSE_HOST", "http://localhost:3")];
    assert_eq!(
        langfuse(&host).unwrap().config().base_url,
        "http://localhost:3"
    );
}

#[test]
fn variables_make_an_exporter_to_phoenix() {
    let config = phoenix(&[]).unwrap().config().clone();
    assert_eq!(config.base_url, "http://localhost:6006");
    assert_eq!(
        (config.project.as_str(), config.has_api_key),
        ("default", false)
    );
    let vars = [
        (
            "PHOENIX_COLLECTOR_ENDPOINT",
            "http://localhost:1/s/x/v1/traces",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:2"),
        ("PHOENIX_API_KEY", "canary"),
        ("PHOENIX_PROJECT_NAME", "alias"),
        ("PHOENIX_PROJECT", "p"),
    ];
    let config = phoenix(&vars).unwrap().config().clone();
    assert_eq!(config.base_url, "http://localhost:1/s/x");
    assert_eq!((config.project.as_str(), config.has_api_key), ("p", true));
    let config = phoenix(&[vars[1], vars[3]]).unwrap().config().clone();
    assert_eq!(
        (config.base_url.as_str(), config.project.as_str()),
        ("http://localhost:2", "alias")
    );
}

#[test]
fn builders_alone_read_nothing_and_code_beats_the_environment() {
    let vars = [
        KEYS[0],
        KEYS[1],
        ("LANGFUSE_BASE_URL", "http://localhost:1"),
        ("LANGFUSE_SAMPLE_RATE", "nonsense"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://localhost:1/env",
        ),
        ("OTEL_SERVICE_NAME", "env"),
        ("PHOENIX_PROJECT", "env"),
        ("PHOENIX_API_KEY", "env"),
    ];
    with_env(&vars, || {
        let alone = OtlpExporter::builder().build().unwrap().config().clone();
        assert_eq!(alone.endpoint, "http://localhost:4318/v1/traces");
        let error = LangfuseExporter::builder().build().unwrap_err();
        assert!(matches!(error, LangfuseConfigError::MissingPublicKey));
        let alone = PhoenixExporter::builder().build().unwrap().config().clone();
        assert_eq!(
            (alone.project.as_str(), alone.has_api_key),
            ("default", false)
        );

        let otlp = || OtlpExporter::builder();
        let endpoint = "http://localhost:2";
        for builder in [
            otlp()
                .with_endpoint(endpoint)
                .with_resource_attribute("service.name", "code")
                .from_env(),
            otlp()
                .from_env()
                .with_endpoint(endpoint)
                .with_service_name("code"),
        ] {
            let config = builder.build().unwrap().config().clone();
            assert_eq!(config.endpoint, "http://localhost:2/v1/traces");
            assert_eq!(config.service_name, "code");
        }
        let phoenix = || PhoenixExporter::builder();
        for builder in [
            phoenix().with_project("code").from_env(),
            phoenix().from_env().with_project("code"),
        ] {
            let config = builder.build().unwrap().config().clone();
            assert_eq!(
                (config.project.as_str(), config.has_api_key),
                ("code", true)
            );
        }
    });
    let vars = [KEYS[0], KEYS[1], ("LANGFUSE_RELEASE", "env")];
    with_env(&vars, || {
        let langfuse = || LangfuseExporter::builder();
        for builder in [
            langfuse().with_release("code").from_env(),
            langfuse().from_env().with_release("code"),
        ] {
            let config = builder.build().unwrap().config().clone();
            assert_eq!(config.release.as_deref(), Some("code"));
        }
    });
}

#[test]
fn mistakes_are_named_and_no_value_is_shown() {
    let named = |error: &dyn std::error::Error, text: &str| {
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with(text), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    };
    for (name, value, text) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "canary",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "0",
            "the timeout must be longer",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "canary",
            "OTEL_EXPORTER_OTLP_HEADERS must be pairs",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a b=canary",
            "invalid header name",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "content-type=canary",
            "the header content-type",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "canary", "invalid base URL"),
        (
            "OTEL_SDK_DISABLED",
            "canary",
            "OTEL_SDK_DISABLED must be true or false",
        ),
    ] {
        named(
            &otlp(&[(name, value)]).unwrap_err(),
            &format!("otlp: {text}"),
        );
    }
    named(
        &langfuse(&[]).unwrap_err(),
        "langfuse: public key is required",
    );
    named(
        &langfuse(&KEYS[..1]).unwrap_err(),
        "langfuse: secret key is required",
    );
    for (name, value, text) in [
        (
            "LANGFUSE_TRACING_ENVIRONMENT",
            "Canary",
            "the environment must be 1 to 40",
        ),
        (
            "LANGFUSE_SAMPLE_RATE",
            "1.5",
            "LANGFUSE_SAMPLE_RATE must be",
        ),
        ("LANGFUSE_TIMEOUT", "canary", "LANGFUSE_TIMEOUT must be"),
        ("LANGFUSE_FLUSH_AT", "-1", "LANGFUSE_FLUSH_AT must be"),
        (
            "LANGFUSE_OTEL_COMPRESSION",
            "zstd",
            "LANGFUSE_OTEL_COMPRESSION must be gzip or none",
        ),
        (
            "LANGFUSE_TRACING_ENABLED",
            "canary",
            "LANGFUSE_TRACING_ENABLED must be true or false",
        ),
        (
            "LANGFUSE_BASE_URL",
            "http://langfuse.example.com",
            "a credential over plain http://",
        ),
    ] {
        let error = langfuse(&[KEYS[0], KEYS[1], (name, value)]).unwrap_err();
        named(&error, &format!("langfuse: {text}"));
    }
    for (name, value, text) in [
        (
            "PHOENIX_CLIENT_HEADERS",
            "canary",
            "PHOENIX_CLIENT_HEADERS must be",
        ),
        (
            "PHOENIX_CLIENT_HEADERS",
            "{\"canary\": 1}",
            "PHOENIX_CLIENT_HEADERS must be",
        ),
        (
            "PHOENIX_COLLECTOR_ENDPOINT",
            "localhost:6006",
            "invalid base URL",
        ),
        (
            "BELUGA_O11Y_DISABLED",
            "canary",
            "BELUGA_O11Y_DISABLED must be true or false",
        ),
    ] {
        named(
            &phoenix(&[(name, value)]).unwrap_err(),
            &format!("phoenix: {text}"),
        );
    }
    let http = [
        ("PHOENIX_COLLECTOR_ENDPOINT", "http://phoenix.example.com"),
        ("PHOENIX_API_KEY", "canary"),
        ("BELUGA_O11Y_ALLOW_HTTP", "true"),
    ];
    named(
        &phoenix(&http[..2]).unwrap_err(),
        "phoenix: a credential over plain http://",
    );
    phoenix(&http).unwrap();
}

/// What is logged, line by line.
fn logged(run: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = lines.0.lock().unwrap();
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn sends_nothing(name: &str, exporter: &dyn TraceExporter) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Even what could not be sent.
    let call = LLMCallData::new("openai", "gpt-4o").with_cost(f64::NAN);
    runtime.block_on(exporter.export_llm_call(&call)).unwrap();
    let report = runtime.block_on(exporter.export_batch(&[&call])).unwrap();
    assert!(report.is_complete(), "{name}");
}

#[test]
fn switched_off_they_accept_send_nothing_and_say_so_once() {
    let sandbox = Sandbox::start().unwrap();
    let (otlp_url, phoenix_url) = (sandbox.otlp_url(), sandbox.phoenix_url());
    let langfuse_url = sandbox.langfuse_url();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let call = LLMCallData::new("openai", "gpt-4o");
    for (switch, value, who) in [
        ("BELUGA_O11Y_DISABLED", "true", "otlp langfuse phoenix"),
        ("OTEL_SDK_DISABLED", "1", "otlp"),
        ("LANGFUSE_TRACING_ENABLED", "false", "langfuse"),
    ] {
        let vars = [
            (switch, value),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &otlp_url),
            ("LANGFUSE_BASE_URL", &langfuse_url),
            ("PHOENIX_COLLECTOR_ENDPOINT", &phoenix_url),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "nonsense"),
        ];
        for name in who.split(' ') {
            let lines = logged(|| match name {
                "otlp" => {
                    let otlp = otlp(&vars).unwrap();
                    sends_nothing(name, &otlp);
                    let error = runtime.block_on(otlp.check()).unwrap_err();
                    assert!(error.to_string().contains("switched off"));
                    assert!(otlp.sender().is_none());
                }
                "langfuse" => {
                    let langfuse = langfuse(&vars).unwrap();
                    sends_nothing(name, &langfuse);
                    for error in [
                        runtime.block_on(langfuse.check()).unwrap_err(),
                        runtime.block_on(langfuse.version()).unwrap_err(),
                        runtime.block_on(langfuse.is_stored(&call)).unwrap_err(),
                    ] {
                        assert!(error.to_string().contains("switched off"));
                    }
                    assert!(langfuse.sender().is_none());
                }
                _ => {
                    let phoenix = phoenix(&vars).unwrap();
                    sends_nothing(name, &phoenix);
                    for error in [
                        runtime.block_on(phoenix.check()).unwrap_err(),
                        runtime.block_on(phoenix.version()).unwrap_err(),
                        runtime.block_on(phoenix.is_stored(&call)).unwrap_err(),
                    ] {
                        assert!(error.to_string().contains("switched off"));
                    }
                    assert!(phoenix.sender().is_none());
                }
            });
            assert_eq!(lines.len(), 1, "{lines:?}");
            let text = format!("{name}: switched off by {switch}");
            assert!(
                lines[0].contains("WARN") && lines[0].contains(&text),
                "{lines:?}"
            );
        }
    }
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn what_the_environment_names_is_where_calls_arrive() {
    let sandbox = Sandbox::builder()
        .with_langfuse(LangfuseProject::new("pk-lf-1", "sk-lf-canary"))
        .with_phoenix_key("key")
        .with_otlp_header("x-tenant", "t,1")
        .start()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let call = LLMCallData::new("openai", "gpt-4o").with_response("x".repeat(2_000));
    let send = |exporter: &dyn TraceExporter| {
        runtime.block_on(exporter.export_llm_call(&call)).unwrap();
    };
    send(
        &langfuse(&[
            KEYS[0],
            KEYS[1],
            ("LANGFUSE_BASE_URL", &sandbox.langfuse_url()),
        ])
        .unwrap(),
    );
    send(
        &phoenix(&[
            ("PHOENIX_COLLECTOR_ENDPOINT", &sandbox.phoenix_url()),
            ("PHOENIX_API_KEY", "loses"),
            (
                "PHOENIX_CLIENT_HEADERS",
                r#"{"Authorization": "Bearer key"}"#,
            ),
            ("PHOENIX_PROJECT", "p"),
        ])
        .unwrap(),
    );
    send(
        &otlp(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &sandbox.otlp_url()),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=t%2C1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=ml"),
        ])
        .unwrap(),
    );
    let [langfuse] = sandbox.calls_of(Backend::Langfuse).try_into().unwrap();
    assert_eq!(langfuse.model.as_deref(), Some("gpt-4o"));
    let [phoenix] = sandbox.calls_of(Backend::Phoenix).try_into().unwrap();
    assert_eq!(phoenix.project.as_deref(), Some("p"));
    let [span] = sandbox.otlp_spans(Backend::Otlp).try_into().unwrap();
    assert_eq!(span.resource["team"], "ml");
    let encodings: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|request| request.header("content-encoding").is_some())
        .collect();
    assert_eq!(encodings, [true, true, false]);
}
