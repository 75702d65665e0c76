//! `from_env()` in a process of its own, since the environment belongs to all threads.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use beluga_o11y::{CallSink, LLMCallData, TraceExporter};
use beluga_o11y_opik::{FeedbackScore, OpikCheckError, OpikConfigError, OpikError, OpikExporter};
use beluga_o11y_sandbox::Sandbox;

const ALL: [&str; 10] = [
    "BELUGA_O11Y_ALLOW_HTTP",
    "BELUGA_O11Y_DISABLED",
    "HOME",
    "OPIK_API_KEY",
    "OPIK_CONFIG_PATH",
    "OPIK_ENVIRONMENT",
    "OPIK_PROJECT_NAME",
    "OPIK_TRACK_DISABLE",
    "OPIK_URL_OVERRIDE",
    "OPIK_WORKSPACE",
];

/// Runs with these variables and no others that matter. Tests in this file take turns.
fn with_env<T>(home: &Path, vars: &[(&str, &str)], run: impl FnOnce() -> T) -> T {
    let home = home
        .to_str()
        .expect("a temporary directory has a plain name");
    let all = ALL.map(|name| {
        let given = vars
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| *value);
        (name, if name == "HOME" { Some(home) } else { given })
    });
    temp_env::with_vars(all, run)
}

fn from_env(home: &Path, vars: &[(&str, &str)]) -> Result<OpikExporter, OpikConfigError> {
    with_env(home, vars, OpikExporter::from_env)
}

#[test]
fn variables_and_file_make_an_exporter() {
    let home = tempfile::tempdir().unwrap();
    let error = from_env(home.path(), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("opik: API key is required for www.comet.com")
    );

    let file =
        "[opik]\nurl_override = http://localhost:5173/api\nworkspace = file\nproject_name = p\n";
    fs::write(home.path().join(".opik.config"), file).unwrap();
    let vars = [("OPIK_WORKSPACE", "env"), ("OPIK_ENVIRONMENT", "staging")];
    let config = from_env(home.path(), &vars).unwrap().config().clone();
    assert_eq!(config.base_url, "http://localhost:5173/api");
    assert_eq!(config.workspace, "env");
    assert_eq!(config.project.as_deref(), Some("p"));
    assert_eq!(config.environment.as_deref(), Some("staging"));

    let other = home.path().join("other.ini");
    fs::write(&other, "[opik]\nurl_override = http://localhost:1\n").unwrap();
    let vars = [("OPIK_CONFIG_PATH", other.to_str().unwrap())];
    let config = from_env(home.path(), &vars).unwrap().config().clone();
    assert_eq!(
        (config.base_url.as_str(), config.workspace.as_str()),
        ("http://localhost:1", "default")
    );
}

#[test]
fn builder_alone_reads_nothing_and_code_beats_the_environment() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".opik.config"), "nonsense").unwrap();
    let vars = [
        ("OPIK_WORKSPACE", "env"),
        ("OPIK_API_KEY", "key"),
        ("OPIK_CONFIG_PATH", "/nonexistent/opik.config"),
    ];
    with_env(home.path(), &vars, || {
        let builder = || OpikExporter::builder().with_base_url("http://localhost:1");
        let alone = builder().build().unwrap().config().clone();
        assert_eq!(
            (alone.workspace.as_str(), alone.has_api_key),
            ("default", false)
        );
        for builder in [
            builder().with_workspace("code").from_env(),
            builder().from_env().with_workspace("code"),
        ] {
            let config = builder.build().unwrap().config().clone();
            assert_eq!(
                (config.workspace.as_str(), config.has_api_key),
                ("code", true)
            );
        }
    });
}

#[test]
fn mistakes_are_named() {
    let home = tempfile::tempdir().unwrap();
    let text = |vars: &[(&str, &str)]| from_env(home.path(), vars).unwrap_err().to_string();
    assert_eq!(
        text(&[("OPIK_TRACK_DISABLE", "perhaps")]),
        "opik: OPIK_TRACK_DISABLE must be true or false"
    );
    let http = [
        ("OPIK_URL_OVERRIDE", "http://opik.example.com/api"),
        ("OPIK_API_KEY", "key"),
    ];
    assert!(text(&http).contains("BELUGA_O11Y_ALLOW_HTTP=true"));
    let allowed = [http[0], http[1], ("BELUGA_O11Y_ALLOW_HTTP", "true")];
    from_env(home.path(), &allowed).unwrap();
    fs::write(home.path().join(".opik.config"), "[opik]\nnonsense\n").unwrap();
    assert!(text(&[]).contains(".opik.config:2: "));
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

#[test]
fn one_line_says_that_it_is_switched_off_or_that_the_named_file_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let lines = logged(|| {
        from_env(home.path(), &[("BELUGA_O11Y_DISABLED", "true")]).unwrap();
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("switched off by BELUGA_O11Y_DISABLED"));

    let url = ("OPIK_URL_OVERRIDE", "http://localhost:1");
    let lines = logged(|| {
        from_env(
            home.path(),
            &[url, ("OPIK_CONFIG_PATH", "~/missing.config")],
        )
        .unwrap();
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("missing.config"),
        "{lines:?}"
    );
    let lines = logged(|| {
        from_env(home.path(), &[url]).unwrap();
    });
    assert_eq!(lines, [""; 0], "the default file may be missing");
}

#[test]
fn switched_off_it_accepts_and_sends_nothing() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.opik_url();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for switch in ["BELUGA_O11Y_DISABLED", "OPIK_TRACK_DISABLE"] {
        // Not even a key is wanted then.
        assert!(
            from_env(home.path(), &[(switch, "true")])
                .unwrap()
                .config()
                .disabled
        );
        let vars = [(switch, "true"), ("OPIK_URL_OVERRIDE", &url)];
        let opik = from_env(home.path(), &vars).unwrap();
        let call = LLMCallData::new("openai", "gpt-4o");
        runtime.block_on(opik.export_llm_call(&call)).unwrap();
        assert!(
            runtime
                .block_on(opik.export_batch(&[&call]))
                .unwrap()
                .is_complete()
        );
        for error in [
            runtime.block_on(opik.check()).unwrap_err(),
            runtime.block_on(opik.version()).unwrap_err(),
            runtime.block_on(opik.is_stored(&call)).unwrap_err(),
        ] {
            assert!(matches!(error, OpikCheckError::Disabled), "{error}");
        }
        assert!(opik.sender().is_none());
    }
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn a_run_with_an_off_switch_on_is_silent() {
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.opik_url();
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for switch in ["OPIK_TRACK_DISABLE", "BELUGA_O11Y_DISABLED"] {
        let vars = [("OPIK_URL_OVERRIDE", url.as_str()), (switch, "true")];
        let opik = from_env(home.path(), &vars).unwrap();
        let lines = logged(|| {
            runtime.block_on(async {
                let run = opik.agent_run("agent");
                let tool = run.tool("tool");
                // As an export with the switch on, it has nothing to say of what Opik would refuse.
                let call = LLMCallData::new("openai", "gpt-4o").with_tokens(1 << 31, 0);
                assert!(tool.submit(call).is_accepted());
                tool.finish("found");
                run.finish("done").await.unwrap();
                run.fail("late").await.unwrap();
                drop(opik.agent_run("dropped"));
            });
            drop(opik.agent_run("dropped without a runtime"));
        });
        assert_eq!(lines, [""; 0], "{switch}");
    }
    assert_eq!(sandbox.request_count(), 0);
}

/// What is like an export is no error when it is switched off; a question cannot be answered.
#[tokio::test]
async fn an_off_switch_stops_scores_and_datasets() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.opik_url();
    for switch in ["BELUGA_O11Y_DISABLED", "OPIK_TRACK_DISABLE"] {
        let opik = from_env(
            home.path(),
            &[("OPIK_URL_OVERRIDE", &url), (switch, "true")],
        )
        .unwrap();
        let call = LLMCallData::new("openai", "gpt-4o");
        let (trace, span) = (opik.trace_id(&call), opik.span_id(&call));
        let score = || FeedbackScore::new("quality", 1.0);
        opik.score_trace(trace, score()).await.unwrap();
        opik.score_span(span, score()).await.unwrap();
        for report in [
            opik.score_traces([(trace, score())]).await.unwrap(),
            opik.score_spans([(span, score())]).await.unwrap(),
        ] {
            assert_eq!((report.stored, report.failures.len()), (0, 0));
        }
        let bad = FeedbackScore::new("", 1.0);
        opik.score_trace(trace, bad.clone()).await.unwrap_err();
        let report = opik.score_traces([(trace, bad)]).await.unwrap();
        assert_eq!(report.failures.len(), 1);
        for error in [
            opik.create_dataset("x").await.unwrap_err(),
            opik.dataset("x").await.unwrap_err(),
            opik.get_or_create_dataset("x").await.unwrap_err(),
        ] {
            assert!(
                matches!(
                    error,
                    OpikError::Disabled {
                        operation: "dataset"
                    }
                ),
                "{error}"
            );
            assert!(error.to_string().contains(switch), "{error}");
        }
    }
    assert_eq!(sandbox.request_count(), 0);
}
