//! A key and a prompt, searched for wherever they must not be: every log level, `Debug`, `Display`,
//! errors with their sources, panics.
//!
//! What a sandbox gives back (`Trace`, `Span`, `Request`) is content by purpose and not searched.

use std::{
    error::Error,
    fmt::{Debug, Display},
    fs, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use beluga_o11y::{
    CallError, CallSink, ExportError, InMemoryExporter, Json, LLMCallData, MultiExporter,
    TraceExporter, Usage, async_trait,
};
use beluga_o11y_http::{HttpRequest, HttpSender, SecretHeaderValue};
use beluga_o11y_langfuse::{LangfuseExporter, LangfuseExporterBuilder};
use beluga_o11y_opik::{OpikAuthorization, OpikExporter, OpikExporterBuilder};
use beluga_o11y_otlp::{Attributes, OtlpConventions, OtlpExporter, OtlpExporterBuilder};
use beluga_o11y_phoenix::{PhoenixExporter, PhoenixExporterBuilder};
use beluga_o11y_pipeline::{Pipeline, PipelineBuilder, Spool};
use beluga_o11y_sandbox::{Fault, LangfuseProject, OpikCloud, Sandbox};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

const KEY: &str = "canary-key-5d41402a";
const PROMPT: &str = "canary-prompt-bc4b2a76";

/// All that was logged, printed for debugging or shown.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn debug(&self, value: &dyn Debug) {
        self.add(&format!("{value:?}\n{value:#?}\n"));
    }

    fn error(&self, error: &(dyn Error + 'static)) {
        self.debug(&error);
        let mut next = Some(error);
        while let Some(error) = next {
            self.show(&error);
            next = error.source();
        }
    }

    fn show(&self, value: &dyn Display) {
        self.add(&format!("{value}\n"));
    }

    fn add(&self, text: &str) {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Seen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_name(PROMPT)
        .with_messages(json!([{"role": "user", "content": PROMPT}]))
        .with_response(PROMPT)
        .with_model_parameters(json!({PROMPT: PROMPT}))
        .with_error(CallError::new(PROMPT).with_kind(PROMPT).with_trace(PROMPT))
        .with_session_id(PROMPT)
        .with_user_id(PROMPT)
        .with_tag(PROMPT)
        .with_trace_id(PROMPT)
        .with_parent_span_id(PROMPT)
        .with_metadata(PROMPT, PROMPT)
}

fn deep() -> Value {
    (0..200).fold(json!(PROMPT), |inner, _| json!([inner]))
}

struct Panics;

#[async_trait]
impl TraceExporter for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    async fn export_llm_call(&self, call: &LLMCallData) -> Result<(), ExportError> {
        panic!("with {call:?}");
    }
}

fn builder(url: &str) -> OpikExporterBuilder {
    OpikExporter::builder()
        .with_base_url(url)
        .with_api_key(KEY)
        .with_header("x-gateway-key", KEY)
        .with_timeout(Duration::from_secs(2))
}

#[test]
fn neither_key_nor_prompt_is_seen_anywhere() {
    let seen = Seen::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(seen.clone())
        .with_ansi(false)
        .init();
    let hook = seen.clone();
    std::panic::set_hook(Box::new(move |info| hook.show(&info)));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(exports(&seen));
    runtime.block_on(exports_over_otlp(&seen));
    configuration(&seen);
    configuration_of_otlp(&seen);
    records(&seen);
    pipelines(&seen);

    let _ = std::panic::take_hook();
    let text = seen.text();
    // The net is cast: logs of the HTTP stack, our own errors, and a panic are in it.
    for expected in [
        "TRACE",
        "opik: export: 401 Unauthorized",
        "with LLMCallData",
        "otlp: export: 401 Unauthorized",
        "langfuse: export: 401 Unauthorized",
        "phoenix: export: 401 Unauthorized",
        "otlp: export: the server took the request and rejected",
        "langfuse: check: the keys were refused",
        "phoenix: check: the API key was refused",
        "opik: a call was rejected by the backend: opik: export: 422",
        "opik: calls are kept and tried again later: opik: export: 401",
        "DEBUG",
    ] {
        assert!(text.contains(expected), "nothing of {expected:?} was seen");
    }
    for canary in [KEY, PROMPT] {
        let around = text.find(canary).map(|at| {
            let start = text[..at].rfind('\n').unwrap_or(0);
            text[start..].chars().take(400).collect::<String>()
        });
        assert_eq!(around, None, "{canary} was seen");
    }
}

async fn exports(seen: &Seen) {
    let account = OpikCloud::new(KEY);
    let sandbox = Sandbox::builder().with_cloud(account).start().unwrap();
    let url = sandbox.opik_url();
    let opik = builder(&url).build().unwrap();
    seen.debug(&opik);
    opik.export_llm_call(&call()).await.unwrap();
    assert_eq!(sandbox.traces().len(), 1);
    // It holds the call now.
    seen.debug(&sandbox);
    seen.debug(&opik.check().await.unwrap());

    // Servers quote what they were sent: in bodies, in headers, in the targets of redirects.
    let quote = json!({"code": 400, "message": format!("{PROMPT} {KEY}")}).to_string();
    for status in [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503] {
        sandbox.inject(
            Fault::status(status)
                .with_body(&quote)
                .with_header("x-q", PROMPT)
                .times(4),
        );
        let error = opik.export_llm_call(&call()).await.unwrap_err();
        seen.error(&error);
        sandbox.clear_faults();
    }
    let targets = [
        format!("https://elsewhere.example/{KEY}?{PROMPT}"),
        format!("/{KEY}"),
    ];
    for target in targets {
        sandbox.inject(Fault::redirect(target).times(2));
        seen.error(&opik.export_llm_call(&call()).await.unwrap_err());
    }
    for fault in [Fault::reset().times(2), Fault::silence().times(2)] {
        sandbox.inject(fault);
        seen.error(&opik.export_llm_call(&call()).await.unwrap_err());
    }
    sandbox.inject(
        Fault::status(401)
            .with_body(&quote)
            .on("/v1/private/auth")
            .always(),
    );
    seen.error(&opik.check().await.unwrap_err());

    let wrong = builder(&url)
        .with_api_key(format!("{KEY}-wrong"))
        .build()
        .unwrap();
    seen.error(&wrong.export_llm_call(&call()).await.unwrap_err());
    let bare = builder(&url)
        .with_authorization(OpikAuthorization::Bare)
        .build()
        .unwrap();
    seen.debug(&bare);
    drop(sandbox);
    seen.error(&opik.export_llm_call(&call()).await.unwrap_err());
    seen.error(&opik.check().await.unwrap_err());

    for bad in [
        call().with_messages(deep()),
        call().with_metadata(PROMPT, deep()),
        call().with_cost(f64::NAN),
        call().with_tokens(u64::MAX, 1),
    ] {
        seen.error(&opik.export_llm_call(&bad).await.unwrap_err());
    }

    let multi = MultiExporter::new().with(Panics).with(opik);
    seen.debug(&multi);
    seen.error(&multi.export_llm_call(&call()).await.unwrap_err());
}

fn otlp(url: &str) -> OtlpExporterBuilder {
    OtlpExporter::builder()
        .with_endpoint(url)
        .with_authorization(format!("Bearer {KEY}"))
        .with_header("x-gateway-key", KEY)
        .with_resource_attribute("team", PROMPT)
        .with_timeout(Duration::from_secs(1))
}

fn langfuse(url: &str) -> LangfuseExporterBuilder {
    LangfuseExporter::builder()
        .with_base_url(url)
        .with_public_key(KEY)
        .with_secret_key(KEY)
        .with_header("x-gateway-key", KEY)
        .with_timeout(Duration::from_secs(1))
}

fn phoenix(url: &str) -> PhoenixExporterBuilder {
    PhoenixExporter::builder()
        .with_base_url(url)
        .with_api_key(KEY)
        .with_header("x-gateway-key", KEY)
        .with_timeout(Duration::from_secs(1))
}

async fn exports_over_otlp(seen: &Seen) {
    let sandbox = Sandbox::builder()
        .with_langfuse(LangfuseProject::new(KEY, KEY))
        .with_phoenix_key(KEY)
        .with_otlp_header("authorization", format!("Bearer {KEY}"))
        .start()
        .unwrap();
    let otlp = otlp(&sandbox.otlp_url()).build().unwrap();
    let langfuse = langfuse(&sandbox.langfuse_url()).build().unwrap();
    let phoenix = phoenix(&sandbox.phoenix_url()).build().unwrap();
    seen.debug(&(&otlp, &langfuse, &phoenix));
    seen.debug(&otlp.check().await.unwrap());
    seen.debug(&langfuse.check().await.unwrap());
    seen.debug(&phoenix.check().await.unwrap());
    let exporters: [&dyn TraceExporter; 3] = [&otlp, &langfuse, &phoenix];
    let quote = json!({"error": format!("{PROMPT} {KEY}")}).to_string();
    for exporter in exporters {
        exporter.export_llm_call(&call()).await.unwrap();
        // It holds the call now.
        seen.debug(&sandbox);
        for status in [
            400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 500, 503, 507,
        ] {
            let fault = Fault::status(status).with_body(&quote);
            sandbox.inject(fault.with_header("x-q", PROMPT));
            seen.error(&exporter.export_llm_call(&call()).await.unwrap_err());
        }
        let page = Fault::status(200).with_body(format!("<html>{PROMPT} {KEY}</html>"));
        sandbox.inject(page.with_header("content-type", "text/html"));
        seen.error(&exporter.export_llm_call(&call()).await.unwrap_err());
        sandbox.inject(Fault::redirect(format!(
            "https://elsewhere.example/{KEY}?{PROMPT}"
        )));
        seen.error(&exporter.export_llm_call(&call()).await.unwrap_err());
        for fault in [Fault::reset(), Fault::silence()] {
            sandbox.inject(fault);
            seen.error(&exporter.export_llm_call(&call()).await.unwrap_err());
        }
        let calls = [call(), call().with_messages(deep())];
        sandbox.inject(Fault::status(422).with_body(&quote));
        let report = exporter.export_batch(&[&calls[0], &calls[1]]).await;
        seen.debug(&report.unwrap());
        for bad in [
            call().with_messages(deep()),
            call().with_metadata(PROMPT, deep()),
            call().with_cost(f64::NAN),
            call().with_response(PROMPT.repeat(1_000_000)),
        ] {
            seen.error(&exporter.export_llm_call(&bad).await.unwrap_err());
        }
    }
    sandbox.answer_otlp_partially(0, format!("{PROMPT} {KEY}"));
    otlp.export_llm_call(&call()).await.unwrap();
    sandbox.answer_otlp_partially(1, format!("{PROMPT} {KEY}"));
    seen.error(&otlp.export_llm_call(&call()).await.unwrap_err());
    sandbox.answer_otlp_fully();
    sandbox.inject(
        Fault::status(401)
            .with_body(&quote)
            .on("v1/traces")
            .always(),
    );
    seen.error(&otlp.check().await.unwrap_err());
    seen.error(&langfuse.check().await.unwrap_err());
    seen.error(&phoenix.check().await.unwrap_err());
    sandbox.clear_faults();
    let page = || Fault::status(200).with_body(format!("<html>{PROMPT} {KEY}</html>"));
    sandbox.inject(page().with_header("content-type", "text/html").always());
    seen.error(&otlp.check().await.unwrap_err());
    seen.error(&langfuse.check().await.unwrap_err());
    seen.error(&phoenix.check().await.unwrap_err());
    drop(sandbox);
    for exporter in exporters {
        seen.error(&exporter.export_llm_call(&call()).await.unwrap_err());
    }
    seen.error(&otlp.check().await.unwrap_err());
    seen.error(&langfuse.check().await.unwrap_err());
    seen.error(&phoenix.check().await.unwrap_err());

    let mut attributes = Attributes::new();
    OtlpConventions::Both.write(&call(), Some(PROMPT), &mut attributes);
    attributes.text(PROMPT, KEY);
    seen.debug(&attributes);
}

fn configuration_of_otlp(seen: &Seen) {
    let url = "https://otlp.example.com";
    let with_user = format!("https://user:{KEY}@otlp.example.com");
    let with_key = format!("https://otlp.example.com/?key={KEY}");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{KEY}\n-----END CERTIFICATE-----");
    let plain = "http://otlp.example.com";
    let bad_key = format!("{KEY}\nX: {KEY}");
    for builder in [
        otlp(&with_user),
        otlp(&with_key),
        otlp(url).with_traces_endpoint(format!("nonsense {KEY}")),
        otlp(url).with_authorization(bad_key.clone()),
        otlp(url).with_header("x-key", bad_key.clone()),
        otlp(url).with_root_certificate_pem(pem.clone()),
        otlp(plain),
    ] {
        seen.debug(&builder);
        seen.error(&builder.build().unwrap_err());
    }
    for builder in [
        langfuse(&with_user),
        langfuse(&with_key),
        langfuse(url).with_secret_key(bad_key.clone()),
        langfuse(url).with_public_key(bad_key.clone()),
        langfuse(url).with_public_key(format!("{KEY}:{KEY}")),
        langfuse(url)
            .with_public_key(format!("sk-{KEY}"))
            .with_secret_key("pk-1"),
        langfuse(url).with_root_certificate_pem(pem.clone()),
        langfuse(plain),
    ] {
        seen.debug(&builder);
        seen.error(&builder.build().unwrap_err());
    }
    for builder in [
        phoenix(&with_user),
        phoenix(&with_key),
        phoenix(url).with_api_key(bad_key.clone()),
        phoenix(url).with_header("x-key", bad_key.clone()),
        phoenix(url).with_client_identity_pem(pem),
        phoenix(plain),
    ] {
        seen.debug(&builder);
        seen.error(&builder.build().unwrap_err());
    }
    let fine = (otlp(url), langfuse(url), phoenix(url));
    seen.debug(&fine);
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("{KEY},{KEY}")),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization={KEY}%0a,x={KEY}"),
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", KEY.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", KEY.to_owned()),
    ] {
        let builder = temp_env::with_var(name, Some(value), || OtlpExporter::builder().from_env());
        seen.debug(&builder);
        // A line break at its end is trimmed away.
        match builder.build() {
            Ok(exporter) => seen.debug(&exporter),
            Err(error) => seen.error(&error),
        }
    }
    for (name, value) in [
        ("PHOENIX_CLIENT_HEADERS", format!("{{\"a\": {KEY}}}")),
        ("PHOENIX_CLIENT_HEADERS", KEY.to_owned()),
        ("PHOENIX_API_KEY", format!("{KEY}\n{KEY}")),
        ("LANGFUSE_SAMPLE_RATE", KEY.to_owned()),
        ("LANGFUSE_SECRET_KEY", KEY.to_owned()),
    ] {
        temp_env::with_var(name, Some(value), || {
            let builders = (
                PhoenixExporter::builder().from_env(),
                LangfuseExporter::builder().from_env(),
            );
            seen.debug(&builders);
            let failed = match name.starts_with("PHOENIX") {
                true => builders
                    .0
                    .build()
                    .map(drop)
                    .map_err(|error| seen.error(&error)),
                false => builders
                    .1
                    .build()
                    .map(drop)
                    .map_err(|error| seen.error(&error)),
            };
            assert!(failed.is_err(), "{name}");
        });
    }
}

fn pipelines(seen: &Seen) {
    let sandbox = Sandbox::start().unwrap();
    let quote = format!("{PROMPT} {KEY}");
    let told = seen.clone();
    let settings = |pipeline: PipelineBuilder| {
        let told = told.clone();
        pipeline
            .with_max_batch_delay(Duration::ZERO)
            .with_drop_timeout(Duration::ZERO)
            .with_dead_letters(move |letter| told.debug(letter))
    };
    let opik = builder(&sandbox.opik_url()).build().unwrap();
    for status in [422, 401, 413, 503] {
        sandbox.inject(Fault::status(status).with_body(&quote).always());
        let pipeline = settings(Pipeline::builder(opik.clone()));
        seen.debug(&pipeline);
        let pipeline = pipeline.spawn().unwrap();
        seen.debug(&pipeline.submit(call()));
        seen.debug(&pipeline);
        seen.debug(&pipeline.submit(call().with_messages(deep())));
        let report = pipeline.flush_within(Duration::from_secs(1));
        seen.show(&report.stats);
        seen.debug(&report);
        seen.debug(&pipeline.shutdown(Duration::ZERO));
        seen.debug(&pipeline.submit(call()));
        sandbox.clear_faults();
    }
    let panics = settings(Pipeline::builder(Panics)).spawn().unwrap();
    panics.submit(call());
    seen.debug(&panics.shutdown(Duration::from_secs(5)));
    spools(seen, &sandbox);
}

/// Calls on disk, first unharmed, then damaged. A prompt is there, and no key.
fn spools(seen: &Seen, sandbox: &Sandbox) {
    let directory = tempfile::TempDir::new().unwrap();
    let start = || {
        let spool = Spool::new(directory.path());
        seen.debug(&spool);
        let told = seen.clone();
        let pipeline = Pipeline::builder(builder(&sandbox.opik_url()).build().unwrap())
            .with_max_batch_delay(Duration::ZERO)
            .with_dead_letters(move |letter| told.debug(letter))
            .with_spool(spool);
        seen.debug(&pipeline);
        pipeline.spawn().unwrap()
    };
    sandbox.inject(Fault::status(503).always());
    let pipeline = start();
    seen.debug(&pipeline.submit(call()));
    seen.debug(&pipeline.shutdown(Duration::ZERO));
    sandbox.clear_faults();
    let files = || {
        let files = fs::read_dir(directory.path().join("opik")).unwrap();
        files.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    let all: Vec<u8> = files()
        .iter()
        .flat_map(|file| fs::read(file).unwrap())
        .collect();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains(PROMPT) && !all.contains(KEY));
    for file in files() {
        let changed = fs::read(&file).unwrap();
        let changed: Vec<u8> = changed.iter().rev().copied().collect();
        fs::write(&file, changed).unwrap();
    }
    let pipeline = start();
    let report = pipeline.shutdown(Duration::from_secs(5));
    assert_eq!(report.stats.spool.set_aside, 1);
    seen.debug(&report);
    seen.show(&report.stats);
}

fn configuration(seen: &Seen) {
    let key_with_server = format!("{KEY}*{KEY}");
    let bad_key = format!("{KEY}\nX: {KEY}");
    let with_user = format!("https://user:{KEY}@opik.example.com/api");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{KEY}\n-----END CERTIFICATE-----");
    let url = "https://opik.example.com/api";
    for builder in [
        OpikExporter::builder().with_api_key(key_with_server),
        builder(url).with_api_key(bad_key),
        builder(&with_user),
        builder(&format!("https://opik.example.com/?key={KEY}")),
        builder(&format!("nonsense {KEY}")),
        builder(url).with_header("x-key", format!("{KEY}\r\n")),
        builder(url).with_header(format!("{KEY} x"), "x"),
        builder(url).with_root_certificate_pem(pem.clone()),
        builder(url).with_client_identity_pem(pem),
        builder(url).with_proxy(format!("nonsense://u:{KEY}@proxy")),
        builder("http://opik.example.com/api"),
    ] {
        seen.debug(&builder);
        seen.error(&builder.build().unwrap_err());
    }
    let fine = builder(url).with_proxy(format!("http://u:{KEY}@localhost:3128"));
    seen.debug(&fine);
    seen.debug(&fine.build().unwrap());

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("opik.config");
    let vars = |path: &std::path::Path| {
        [
            ("OPIK_CONFIG_PATH", Some(path.to_owned().into_os_string())),
            ("OPIK_API_KEY", None),
            ("OPIK_URL_OVERRIDE", None),
        ]
    };
    for text in [
        format!("[opik]\n{KEY}\n"),
        format!("{KEY}\n"),
        format!("[opik]\ntrack_disable={KEY}\n"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = temp_env::with_vars(vars(&file), || OpikExporter::from_env().unwrap_err());
        seen.error(&error);
    }
    let missing = dir.path().join("missing");
    temp_env::with_vars(vars(&missing), || {
        let with_key = OpikExporter::builder().from_env().with_api_key(KEY);
        seen.debug(&with_key);
        seen.debug(&with_key.build().unwrap());
    });

    let secret = SecretHeaderValue::new(KEY).unwrap();
    let request = HttpRequest::post("x", "application/json", PROMPT).with_authorization(&secret);
    seen.debug(&secret);
    seen.debug(&request);
    let sender = HttpSender::builder(url).with_header("x-key", KEY.to_owned());
    seen.debug(&sender);
    seen.debug(&sender.build().unwrap());
}

fn records(seen: &Seen) {
    let call = call();
    seen.debug(&call);
    seen.debug(&Json::new(PROMPT));
    seen.debug(&call.error);
    let sink = InMemoryExporter::new();
    sink.submit(call.clone());
    seen.debug(&sink);
    seen.debug(&sink.calls());
    seen.debug(&sink.submit(call.clone().with_messages(deep())));
    let mut guard = sink.start("openai", "gpt-4o");
    guard.partial(PROMPT);
    guard.messages(PROMPT);
    seen.debug(&guard);
    guard.finish(Usage::new(1, 2));
    let thread = std::thread::spawn({
        let (sink, call) = (sink.clone(), call.clone());
        move || {
            let mut guard = sink.start("openai", "gpt-4o");
            guard.partial(PROMPT);
            panic!("with {call:?} {guard:?}");
        }
    });
    thread.join().unwrap_err();

    seen.error(&call.with_response(deep()).validate().unwrap_err());
    seen.error(&Json::parse(PROMPT).unwrap_err());
    let error = ExportError::rejected("opik", "no").with_response_snippet(PROMPT);
    seen.error(&error);
    assert_eq!(error.response_snippet(), Some(PROMPT));
}
