//! Which providers the environment chooses, in a process of its own, since the environment belongs to all threads.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use beluga_o11y::{CallSink, LLMCallData, Submission};
use beluga_o11y_langsmith::{LangSmithCheckError, LangSmithExporter};
use beluga_o11y_providers::{FromEnvError, Providers, from_env, from_env_with, names_from_env};
use beluga_o11y_sandbox::{Backend, Fault, LangSmithAccount, LangfuseProject, OpikCloud, Sandbox};

/// All variables that the providers read for themselves: none of whoever runs this may be seen.
const ALL: &[&str] = &[
    "BELUGA_O11Y_ALLOW_HTTP",
    "BELUGA_O11Y_DISABLED",
    "BELUGA_O11Y_EXPORTERS",
    "BELUGA_O11Y_SPOOL_DIR",
    "HOSTED_LANGSERVE_PROJECT_NAME",
    "LANGCHAIN_API_KEY",
    "LANGCHAIN_ENDPOINT",
    "LANGCHAIN_PROJECT",
    "LANGCHAIN_TRACING",
    "LANGCHAIN_TRACING_V2",
    "LANGFUSE_BASEURL",
    "LANGFUSE_BASE_URL",
    "LANGFUSE_FLUSH_AT",
    "LANGFUSE_FLUSH_INTERVAL",
    "LANGFUSE_HOST",
    "LANGFUSE_PUBLIC_KEY",
    "LANGFUSE_SAMPLE_RATE",
    "LANGFUSE_SECRET_KEY",
    "LANGFUSE_TRACING_ENABLED",
    "LANGSMITH_API_KEY",
    "LANGSMITH_ENDPOINT",
    "LANGSMITH_PROJECT",
    "LANGSMITH_TRACING",
    "LANGSMITH_TRACING_SAMPLING_RATE",
    "LANGSMITH_TRACING_V2",
    "LANGSMITH_WORKSPACE_ID",
    "OPIK_API_KEY",
    "OPIK_CONFIG_PATH",
    "OPIK_PROJECT_NAME",
    "OPIK_TRACK_DISABLE",
    "OPIK_URL_OVERRIDE",
    "OPIK_WORKSPACE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "PHOENIX_API_KEY",
    "PHOENIX_COLLECTOR_ENDPOINT",
    "PHOENIX_PROJECT",
];

/// Runs with these variables and no others that matter. Tests in this file take turns.
fn with_env<T>(vars: &[(&str, &str)], run: impl FnOnce() -> T) -> T {
    let all = ALL.iter().map(|name| {
        let given = vars.iter().find(|(given, _)| given == name);
        let value = given.map(|(_, value)| (*value).to_owned());
        let none = || (*name == "OPIK_CONFIG_PATH").then(|| "/dev/null".to_owned());
        (*name, value.or_else(none))
    });
    for (name, _) in vars {
        assert!(ALL.contains(name), "{name} would stay as it is");
    }
    temp_env::with_vars(all.collect::<Vec<_>>(), run)
}

fn names(vars: &[(&str, &str)]) -> Vec<&'static str> {
    with_env(vars, || {
        let names = from_env().expect("fine settings").names();
        let told = names_from_env().expect("fine settings");
        assert_eq!(told, names, "what is told is what is set up");
        names
    })
}

fn error(vars: &[(&str, &str)]) -> FromEnvError {
    with_env(vars, || from_env().expect_err("these are not fine"))
}

const LANGFUSE: [(&str, &str); 2] = [
    ("LANGFUSE_PUBLIC_KEY", "pk-lf-1"),
    ("LANGFUSE_SECRET_KEY", "sk-lf-canary"),
];

#[test]
fn the_one_with_credentials_is_used() {
    assert_eq!(names(&[("OPIK_API_KEY", "k")]), ["opik"]);
    assert_eq!(
        names(&[("OPIK_URL_OVERRIDE", "http://localhost:5173/api")]),
        ["opik"]
    );
    assert_eq!(names(&LANGFUSE), ["langfuse"]);
    assert_eq!(names(&[("PHOENIX_API_KEY", "k")]), ["phoenix"]);
    assert_eq!(
        names(&[("PHOENIX_COLLECTOR_ENDPOINT", "http://localhost:6006")]),
        ["phoenix"]
    );
    assert_eq!(names(&[("LANGSMITH_API_KEY", "k")]), ["langsmith"]);
    assert_eq!(names(&[("LANGCHAIN_API_KEY", "k")]), ["langsmith"]);
}

#[test]
fn otlp_is_used_only_by_name() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    assert_eq!(names(&[endpoint]), [""; 0]);
    assert_eq!(names(&[endpoint, ("OPIK_API_KEY", "k")]), ["opik"]);
    assert_eq!(
        names(&[endpoint, ("BELUGA_O11Y_EXPORTERS", "otlp")]),
        ["otlp"]
    );
    assert_eq!(names(&[("BELUGA_O11Y_EXPORTERS", "otlp")]), ["otlp"]);
}

#[test]
fn names_choose_in_their_order_and_count_once() {
    let [public, secret] = LANGFUSE;
    let keys = [public, secret, ("OPIK_API_KEY", "k")];
    for (given, expected) in [
        ("opik", &["opik"][..]),
        ("langfuse,opik", &["langfuse", "opik"]),
        (" Langfuse , OPIK,, langfuse", &["langfuse", "opik"]),
        ("none", &[]),
        ("None,none", &[]),
    ] {
        let mut vars = keys.to_vec();
        vars.push(("BELUGA_O11Y_EXPORTERS", given));
        assert_eq!(names(&vars), expected, "{given}");
    }
}

#[test]
fn several_with_credentials_are_an_error_that_asks() {
    let [public, secret] = LANGFUSE;
    for blank in ["", " ", ","] {
        let error = error(&[
            public,
            secret,
            ("OPIK_API_KEY", "k"),
            ("BELUGA_O11Y_EXPORTERS", blank),
        ]);
        assert_eq!(
            error.to_string(),
            "opik and langfuse have credentials: say which are meant, by BELUGA_O11Y_EXPORTERS=opik,langfuse for example"
        );
    }
}

#[test]
fn bad_names_and_settings_are_told() {
    for (vars, text) in [
        (
            &[("BELUGA_O11Y_EXPORTERS", "opik,lang\u{1b}fuse")][..],
            "BELUGA_O11Y_EXPORTERS names `lang\\u{1b}fuse`, which is no provider; there are opik, langfuse, \
             phoenix, langsmith and otlp, and none",
        ),
        (
            &[("BELUGA_O11Y_EXPORTERS", "none,opik")],
            "BELUGA_O11Y_EXPORTERS names none and providers",
        ),
        (
            &[("BELUGA_O11Y_EXPORTERS", "opik")],
            "opik: API key is required",
        ),
        (
            &[("BELUGA_O11Y_EXPORTERS", "langfuse")],
            "langfuse: public key is required",
        ),
        (
            &[("LANGFUSE_SECRET_KEY", "sk-canary")],
            "langfuse: public key is required",
        ),
        (
            &[("BELUGA_O11Y_EXPORTERS", "langsmith")],
            "langsmith: API key is required",
        ),
        (
            &[
                ("PHOENIX_API_KEY", "canary"),
                ("PHOENIX_COLLECTOR_ENDPOINT", "x"),
            ],
            "phoenix: invalid base URL",
        ),
        (
            &[("BELUGA_O11Y_DISABLED", "maybe")],
            "BELUGA_O11Y_DISABLED must be true or false",
        ),
    ] {
        let error = error(vars).to_string();
        assert!(error.starts_with(text), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

/// What is logged meanwhile.
fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let bytes = log.0.lock().unwrap().clone();
    (result, String::from_utf8(bytes).unwrap())
}

#[test]
fn one_line_at_the_start_says_where_data_goes() {
    let vars = [
        ("OPIK_URL_OVERRIDE", "http://localhost:1/api"),
        ("PHOENIX_COLLECTOR_ENDPOINT", "http://localhost:2"),
        ("BELUGA_O11Y_EXPORTERS", "opik,phoenix"),
    ];
    let line = "LLM calls go to opik (http://localhost:1/api, workspace default), \
                phoenix (http://localhost:2, project default)";
    let (providers, log) = logged(|| with_env(&vars, || from_env().unwrap()));
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("INFO"), "{log}");
    assert_eq!(providers.to_string(), line);
}

#[test]
fn a_log_that_comes_later_gets_the_line_with_the_first_call() {
    let providers = with_env(&[], || from_env().unwrap());
    let ((), log) = logged(|| {
        for _ in 0..3 {
            let submission = providers.submit(LLMCallData::new("openai", "gpt-4o"));
            assert_eq!(submission, Submission::Accepted);
        }
    });
    let line = "LLM calls are not sent anywhere: no provider has credentials";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("WARN"), "{log}");

    let off = with_env(
        &[("BELUGA_O11Y_DISABLED", "1"), ("OPIK_API_KEY", "k")],
        || from_env().unwrap(),
    );
    assert!(
        off.to_string()
            .ends_with("switched off by BELUGA_O11Y_DISABLED")
    );
    let none = with_env(&[("BELUGA_O11Y_EXPORTERS", "none")], || from_env().unwrap());
    assert!(none.to_string().ends_with("BELUGA_O11Y_EXPORTERS is none"));
}

fn sandboxed<T>(sandbox: &Sandbox, more: &[(&str, &str)], run: impl FnOnce() -> T) -> T {
    let (opik, langfuse) = (sandbox.opik_url(), sandbox.langfuse_url());
    let (phoenix, langsmith, otlp) = (
        sandbox.phoenix_url(),
        sandbox.langsmith_url(),
        sandbox.otlp_url(),
    );
    let mut vars = vec![
        (
            "BELUGA_O11Y_EXPORTERS",
            "opik,langfuse,phoenix,langsmith,otlp",
        ),
        ("OPIK_URL_OVERRIDE", opik.as_str()),
        ("LANGFUSE_BASE_URL", langfuse.as_str()),
        ("LANGFUSE_PUBLIC_KEY", Sandbox::LANGFUSE_PUBLIC_KEY),
        ("LANGFUSE_SECRET_KEY", Sandbox::LANGFUSE_SECRET_KEY),
        ("PHOENIX_COLLECTOR_ENDPOINT", phoenix.as_str()),
        ("LANGSMITH_API_KEY", "lsv2_pt_key"),
        ("LANGSMITH_ENDPOINT", langsmith.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.as_str()),
    ];
    vars.extend(more);
    // The last of a name counts.
    vars.reverse();
    with_env(&vars, run)
}

fn backends(sandbox: &Sandbox) -> Vec<Backend> {
    let mut all: Vec<_> = sandbox.calls().iter().map(|call| call.backend).collect();
    all.sort();
    all
}

#[test]
fn every_provider_gets_the_call_through_a_pipeline_of_its_own() {
    let sandbox = Sandbox::start().unwrap();
    let providers = sandboxed(&sandbox, &[], || from_env().unwrap());
    assert!(
        providers
            .submit(LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3))
            .is_accepted()
    );
    for (name, report) in providers.flush_within(Duration::from_secs(10)) {
        assert_eq!(
            (report.pending, report.stats.delivered),
            (0, 1),
            "{name}: {}",
            report.stats
        );
    }
    use Backend::{LangSmith, Langfuse, Opik, Otlp, Phoenix};
    assert_eq!(
        backends(&sandbox),
        [Opik, Langfuse, Phoenix, LangSmith, Otlp]
    );
    let stats = providers.stats();
    assert_eq!(
        stats.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["opik", "langfuse", "phoenix", "langsmith", "otlp"]
    );
    // Others are not held up, and the end waits for all of them at once.
    sandbox.inject(Fault::silence().always());
    providers.submit(LLMCallData::new("openai", "gpt-4o"));
    let start = Instant::now();
    let reports = providers.shutdown(Duration::from_millis(500));
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert!(
        reports.iter().all(|(_, report)| report.pending == 1),
        "{reports:?}"
    );
    let late = providers.submit(LLMCallData::new("openai", "gpt-4o"));
    assert!(matches!(late, Submission::Refused(_)));
}

/// One call with the variables that a sandbox names, and none of this file.
fn arrives_everywhere(sandbox: &Sandbox) {
    let environment = sandbox.environment();
    let exporters = "opik,langfuse,phoenix,langsmith,otlp";
    let mut vars = vec![("BELUGA_O11Y_EXPORTERS", exporters)];
    vars.extend(
        environment
            .iter()
            .map(|(name, value)| (*name, value.as_str())),
    );
    let providers = with_env(&vars, || from_env().unwrap());
    providers.submit(LLMCallData::new("openai", "gpt-4o").with_tokens(12, 3));
    for (name, report) in providers.shutdown(Duration::from_secs(10)) {
        let sent = (report.pending, report.stats.delivered);
        assert_eq!(sent, (0, 1), "{name}: {}", report.stats);
    }
    use Backend::{LangSmith, Langfuse, Opik, Otlp, Phoenix};
    assert_eq!(
        backends(sandbox),
        [Opik, Langfuse, Phoenix, LangSmith, Otlp]
    );
}

#[test]
fn the_variables_that_a_sandbox_names_lead_to_all_its_backends() {
    let sandbox = Sandbox::start().unwrap();
    arrives_everywhere(&sandbox);
    // Older clients of Langfuse read its older name.
    let environment = sandbox.environment();
    let newer = |name: &str| name == "LANGFUSE_BASE_URL";
    let vars = environment.iter().filter(|(name, _)| !newer(name));
    let mut vars: Vec<_> = vars.map(|(name, value)| (*name, value.as_str())).collect();
    vars.push(("BELUGA_O11Y_EXPORTERS", "langfuse"));
    with_env(&vars, || from_env().unwrap()).submit(LLMCallData::new("openai", "gpt-4o"));
    assert_eq!(sandbox.calls_of(Backend::Langfuse).len(), 2);
    let builder = Sandbox::builder()
        .with_cloud(OpikCloud::new("opik-key").with_workspace("ml-team"))
        .with_langfuse(LangfuseProject::new("pk-lf-mine", "sk-lf-mine"))
        .with_phoenix_key("phoenix-key")
        .with_langsmith(LangSmithAccount::new("lsv2_sk_mine").with_workspace("my-workspace"))
        .with_otlp_header("authorization", "Bearer a,b=c d%")
        .with_otlp_header("x-scope", "all");
    let sandbox = builder.start().unwrap();
    arrives_everywhere(&sandbox);
    assert_eq!(sandbox.traces()[0].workspace, "ml-team");
    // A key of an organisation that opens all workspaces wants one all the same, and only the first account counts.
    let any = LangSmithAccount::new("lsv2_sk_any");
    let sandbox = Sandbox::builder()
        .with_langsmith(any)
        .with_langsmith(LangSmithAccount::new("lsv2_pt_other"))
        .with_cloud(OpikCloud::new("without-a-workspace"))
        .start()
        .unwrap();
    arrives_everywhere(&sandbox);
}

#[test]
fn what_a_provider_did_not_take_is_there_after_a_restart() {
    let directory = tempfile::TempDir::new().unwrap();
    let spool = ("BELUGA_O11Y_SPOOL_DIR", directory.path().to_str().unwrap());
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).on("/langfuse").always());
    let start = || sandboxed(&sandbox, &[spool], || from_env().unwrap());
    let providers = start();
    let submission = providers.submit(LLMCallData::new("openai", "gpt-4o"));
    assert!(submission.is_accepted());
    for (name, report) in providers.shutdown(Duration::from_secs(2)) {
        let kept = (report.pending, report.stats.spool.durable);
        let down = u64::from(name == "langfuse");
        assert_eq!(kept, (down, down), "{name}: {}", report.stats);
    }
    sandbox.clear_faults();
    let providers = start();
    for (name, report) in providers.shutdown(Duration::from_secs(10)) {
        let sent = (
            report.pending,
            report.stats.recovered,
            report.stats.delivered,
        );
        let down = u64::from(name == "langfuse");
        assert_eq!(sent, (0, down, down), "{name}: {}", report.stats);
    }
    assert_eq!(backends(&sandbox).len(), 5);
}

#[test]
fn one_that_is_down_does_not_hold_up_the_others() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::status(503).on("/langfuse").always());
    let providers = sandboxed(
        &sandbox,
        &[("BELUGA_O11Y_EXPORTERS", "langfuse,opik")],
        || from_env().unwrap(),
    );
    for _ in 0..20 {
        providers.submit(LLMCallData::new("openai", "gpt-4o"));
    }
    let reports = providers.flush_within(Duration::from_secs(2));
    let pending: Vec<_> = reports
        .iter()
        .map(|(name, report)| (*name, report.pending))
        .collect();
    assert_eq!(pending, [("langfuse", 20), ("opik", 0)]);
    assert_eq!(sandbox.calls_of(Backend::Opik).len(), 20);
}

#[test]
fn the_end_of_the_last_handle_sends_what_is_pending_for_all_at_once() {
    let sandbox = Sandbox::start().unwrap();
    let providers = sandboxed(&sandbox, &[], || from_env().unwrap());
    let other: Providers = providers.clone();
    drop(providers);
    other.submit(LLMCallData::new("openai", "gpt-4o"));
    drop(other);
    assert_eq!(sandbox.calls().len(), 5);

    sandbox.inject(Fault::silence().always());
    let providers = sandboxed(&sandbox, &[], || from_env().unwrap());
    providers.submit(LLMCallData::new("openai", "gpt-4o"));
    let start = Instant::now();
    drop(providers);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn the_program_has_a_say_in_each_pipeline() {
    let sandbox = Sandbox::start().unwrap();
    let providers = sandboxed(&sandbox, &[("BELUGA_O11Y_EXPORTERS", "opik,otlp")], || {
        from_env_with(|name, pipeline| match name {
            "opik" => pipeline.with_sample_rate(0.0),
            _ => pipeline,
        })
        .unwrap()
    });
    assert_eq!(
        providers.submit(LLMCallData::new("openai", "gpt-4o")),
        Submission::SampledOut
    );
    let _ = providers.flush_within(Duration::from_secs(10));
    assert_eq!(backends(&sandbox), [Backend::Otlp]);
}

#[test]
fn the_sample_rates_of_langfuse_and_langsmith_are_their_pipelines() {
    let sandbox = Sandbox::start().unwrap();
    let rates = [
        ("LANGFUSE_SAMPLE_RATE", "0"),
        ("LANGSMITH_TRACING_SAMPLING_RATE", "0"),
    ];
    let providers = sandboxed(&sandbox, &rates, || from_env().unwrap());
    for _ in 0..5 {
        providers.submit(LLMCallData::new("openai", "gpt-4o"));
    }
    for (name, stats) in providers.stats() {
        let sampled_out = if matches!(name, "langfuse" | "langsmith") {
            5
        } else {
            0
        };
        assert_eq!(stats.sampled_out, sampled_out, "{name}");
    }
}

#[test]
fn langsmith_is_asked_nothing_when_switched_off() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let vars = [("LANGSMITH_TRACING", "false")];
    let langsmith = with_env(&vars, LangSmithExporter::from_env).unwrap();
    let call = LLMCallData::new("openai", "gpt-4o");
    for error in [
        runtime.block_on(langsmith.check()).unwrap_err(),
        runtime.block_on(langsmith.version()).unwrap_err(),
        runtime.block_on(langsmith.is_stored(&call)).unwrap_err(),
    ] {
        assert!(matches!(error, LangSmithCheckError::Disabled), "{error}");
    }
    assert!(langsmith.sender().is_none());
}
