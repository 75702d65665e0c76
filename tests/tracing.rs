//! A program's GenAI spans, through the tracing layer and a pipeline each, to all backends at once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{io, time::Duration};

use beluga_o11y::{FanOut, TraceExporter};
use beluga_o11y_langfuse::LangfuseExporter;
use beluga_o11y_langsmith::LangSmithExporter;
use beluga_o11y_opik::OpikExporter;
use beluga_o11y_phoenix::PhoenixExporter;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Backend, Sandbox, StoredCall};
use beluga_o11y_tracing::LlmCallLayer;
use serde_json::Value;
use tracing::{field::Empty, info_span};
use tracing_subscriber::{Registry, filter::LevelFilter, fmt, prelude::*};

/// One turn of an agent, as rig 0.44 makes it.
fn turn(usage: Option<[u64; 4]>) {
    let turn = info_span!(
        target: "rig::agent_chat",
        "chat",
        rig.completion_parent = true,
        gen_ai.operation.name = "chat",
        gen_ai.system_instructions = r#"[{"type":"text","content":"Be brief."}]"#,
        gen_ai.provider.name = Empty,
        gen_ai.request.model = Empty,
        gen_ai.request.stream = Empty,
        gen_ai.response.id = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.reasoning_tokens = Empty,
        gen_ai.input.messages = Empty,
        gen_ai.output.messages = Empty,
        gen_ai.agent.name = "capitals",
    );
    let _entered = turn.enter();
    turn.record(
        "gen_ai.input.messages",
        r#"[{"role":"user","parts":[{"type":"text","content":"Capital of France?"}]}]"#,
    );
    turn.record("gen_ai.provider.name", "openai");
    turn.record("gen_ai.request.model", "gpt-4o");
    turn.record("gen_ai.request.stream", false);
    let Some([input, output, cached, reasoning]) = usage else {
        return;
    };
    turn.record("gen_ai.response.id", "chatcmpl-1");
    turn.record("gen_ai.usage.input_tokens", input);
    turn.record("gen_ai.usage.output_tokens", output);
    turn.record("gen_ai.usage.cache_read.input_tokens", cached);
    turn.record("gen_ai.usage.reasoning_tokens", reasoning);
    turn.record(
        "gen_ai.output.messages",
        r#"[{"role":"assistant","parts":[{"type":"text","content":"Paris."}],"finish_reason":"unknown"}]"#,
    );
}

/// A request of a user, in which an agent makes two calls; the second fails.
fn program() {
    let _request = info_span!(
        "request",
        beluga.session.id = "thread-1",
        beluga.user.id = "user-1",
        beluga.tags = "demo",
    )
    .entered();
    let _run = info_span!(
        target: "rig_agent::agent::telemetry",
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "capitals",
        gen_ai.usage.input_tokens = 1_000_000_u64,
    )
    .entered();
    turn(Some([500, 150, 400, 20]));
    turn(None);
}

fn text(value: &Option<Value>) -> String {
    value.as_ref().map(Value::to_string).unwrap_or_default()
}

fn check(backend: Backend, calls: &[StoredCall]) {
    let [answered, failed] = calls else {
        panic!("{backend:?}: {} calls instead of two", calls.len());
    };
    for call in calls {
        assert_eq!(call.provider.as_deref(), Some("openai"), "{backend:?}");
        assert_eq!(call.model.as_deref(), Some("gpt-4o"), "{backend:?}");
        assert_eq!(call.session_id.as_deref(), Some("thread-1"), "{backend:?}");
        assert!(
            text(&call.input).contains("Capital of France?"),
            "{backend:?}"
        );
        assert!(text(&call.input).contains("Be brief."), "{backend:?}");
    }
    assert_eq!(
        (answered.input_tokens, answered.output_tokens),
        (Some(500), Some(150)),
        "{backend:?}"
    );
    assert_eq!(
        (answered.cache_read_tokens, answered.reasoning_tokens),
        (Some(400), Some(20)),
        "{backend:?}"
    );
    assert!(text(&answered.output).contains("Paris."), "{backend:?}");
    assert!(answered.error.is_none(), "{backend:?}");
    assert_eq!(failed.input_tokens, None, "{backend:?}");
    let error = failed.error.as_ref().unwrap();
    assert!(
        error.message.contains("no answer was recorded"),
        "{backend:?}: {}",
        error.message
    );
    // Opik and LangSmith get a trace for each call; the caller's own trace stands in the metadata there.
    if matches!(backend, Backend::Langfuse | Backend::Phoenix) {
        assert_eq!(answered.trace_id, failed.trace_id, "{backend:?}");
    } else {
        assert_eq!(
            answered.metadata.get("trace_id"),
            failed.metadata.get("trace_id")
        );
        assert!(answered.metadata.contains_key("trace_id"), "{backend:?}");
    }
}

#[test]
fn calls_of_an_agent_arrive_everywhere() {
    let sandbox = Sandbox::start().unwrap();
    let opik = OpikExporter::builder().with_base_url(sandbox.opik_url());
    let langfuse = LangfuseExporter::builder()
        .with_public_key(Sandbox::LANGFUSE_PUBLIC_KEY)
        .with_secret_key(Sandbox::LANGFUSE_SECRET_KEY)
        .with_base_url(sandbox.langfuse_url());
    let phoenix = PhoenixExporter::builder().with_base_url(sandbox.phoenix_url());
    let langsmith = LangSmithExporter::builder()
        .with_api_key("lsv2_pt_key")
        .with_base_url(sandbox.langsmith_url());
    let pipelines = [
        spawn(opik.with_api_key("k").build().unwrap()),
        spawn(langfuse.build().unwrap()),
        spawn(phoenix.build().unwrap()),
        spawn(langsmith.build().unwrap()),
    ];
    let all = pipelines.iter().cloned().fold(FanOut::new(), FanOut::with);
    let log = fmt::layer()
        .with_writer(io::sink)
        .with_filter(LevelFilter::WARN);
    let subscriber = Registry::default().with(log).with(LlmCallLayer::new(all));
    tracing::subscriber::with_default(subscriber, program);
    for pipeline in &pipelines {
        let stats = pipeline.shutdown(Duration::from_secs(30)).stats;
        assert_eq!((stats.submitted, stats.delivered), (2, 2));
    }
    for backend in [
        Backend::Opik,
        Backend::Langfuse,
        Backend::Phoenix,
        Backend::LangSmith,
    ] {
        let mut calls = sandbox.calls_of(backend);
        calls.sort_by_key(|call| call.start_time);
        check(backend, &calls);
    }
    assert_eq!(sandbox.calls().len(), 8);
}

fn spawn(exporter: impl TraceExporter + 'static) -> Pipeline {
    Pipeline::builder(exporter).spawn().unwrap()
}
