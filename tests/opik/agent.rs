//! Runs of agents: one trace, with all that was done below it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use beluga_o11y::{CallError, CallSink, ExportErrorKind, TraceExporter, Usage};
use beluga_o11y_opik::{AgentRun, AgentStep};
use beluga_o11y_sandbox::{Fault, OpikCloud, Span, Trace};
use chrono::{TimeDelta, Utc};
use httpmock::prelude::*;
use proptest::{collection, prelude::*};
use serde_json::Value;
use uuid::Uuid;

use super::*;

const TRACES: &str = "/v1/private/traces/batch";
const SPANS: &str = "/v1/private/spans/batch";

/// Waits for what is sent in the background.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What is stored, if it is one trace.
fn stored(sandbox: &Sandbox) -> (Trace, Vec<Span>) {
    let [trace] = sandbox.traces().try_into().unwrap();
    (trace, sandbox.spans())
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans
        .iter()
        .filter(|span| span.name.as_deref() == Some(name));
    let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(found.next().is_none(), "several spans {name}");
    span
}

/// The names of a span and of all around it, from the inside.
fn path(spans: &[Span], name: &str) -> Vec<String> {
    let mut span = named(spans, name);
    let mut path = vec![name.to_owned()];
    while let Some(parent) = span.parent_span_id {
        span = spans.iter().find(|span| span.id == parent).unwrap();
        path.push(span.name.clone().unwrap());
    }
    path
}

fn kind(error: &Option<beluga_o11y_sandbox::ErrorInfo>) -> Option<&str> {
    error.as_ref().map(|error| error.exception_type.as_str())
}

fn requests_to(sandbox: &Sandbox, path: &str) -> usize {
    let requests = sandbox.requests();
    requests.iter().filter(|r| r.path.ends_with(path)).count()
}

/// Runs with a log of its own, and gives what it warned of.
fn warned(run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn handles_go_anywhere() {
    fn anywhere<T: Clone + CallSink + fmt::Debug + Send + Sync + 'static>() {}
    fn sent<T: Send>(_: &T) {}
    anywhere::<AgentRun>();
    anywhere::<AgentStep>();
    let run = exporter(&sandbox()).agent_run("agent");
    sent(&run.finish("x"));
    sent(&run.fail("x"));
}

#[tokio::test]
async fn a_run_is_one_trace_and_what_it_did_is_below_it() {
    let sandbox = sandbox();
    let before = Utc::now() - TimeDelta::milliseconds(1);
    let run = exporter(&sandbox)
        .agent_run("weather")
        .with_input("what?")
        .with_user_id("u-1")
        .with_tag("a")
        .with_tag("b")
        .with_metadata("k", json!([1, {"x": null}]));
    let mut first = run.start("openai", "gpt-4o");
    first.messages(json!([{"role": "user", "content": "hi"}]));
    first.response("search!");
    first.call_mut().name = Some("first".into());
    first.call_mut().cost = Some(0.5);
    first.call_mut().session_id = Some("conversation".into());
    assert!(first.finish(Usage::new(12, 5)).is_accepted());

    let chain = run
        .step("chain")
        .with_input(json!({"from": "chain"}))
        .with_tag("c")
        .with_metadata("depth", 1);
    let tool = chain.tool("search").with_input(json!(["Lagos"]));
    let inner = tool.step("rank");
    let mut second = inner.start("Anthropic", "claude");
    second.call_mut().name = Some("second".into());
    second.call_mut().cost = Some(0.25);
    second.call_mut().session_id = Some("another".into());
    assert!(second.finish(Usage::new(7, 1)).is_accepted());
    inner.finish(json!({"rank": 1}));
    tool.finish("found");
    chain.finish(json!(null));
    assert_eq!(sandbox.request_count(), 0);
    let (trace_id, chain_id) = (run.trace_id(), chain.span_id());
    run.finish(json!({"answer": 31})).await.unwrap();

    let (trace, spans) = stored(&sandbox);
    let statuses: BTreeSet<_> = sandbox.requests().iter().map(|r| r.status).collect();
    assert_eq!(statuses, BTreeSet::from([Some(204)]));
    assert_eq!((sandbox.request_count(), spans.len()), (2, 5));
    assert_eq!(trace.id, trace_id);
    assert_eq!(trace.name.as_deref(), Some("weather"));
    assert_eq!(trace.input, Some(json!({"input": "what?"})));
    assert_eq!(trace.output, Some(json!({"answer": 31})));
    let metadata = json!({"k": [1, {"x": null}], "user_id": "u-1"});
    assert_eq!(trace.metadata, Some(metadata));
    assert_eq!(trace.tags, ["a", "b"]);
    assert_eq!(trace.thread_id.as_deref(), Some("conversation"));
    assert_eq!(kind(&trace.error_info), None);
    assert_eq!(trace.source.as_deref(), Some("sdk"));
    assert_eq!((trace.span_count, trace.llm_span_count), (5, 2));
    assert_eq!(trace.usage["total_tokens"], 25);
    assert_eq!(trace.total_estimated_cost, Some(0.75));
    assert_eq!(trace.providers, ["anthropic", "openai"]);
    assert!(trace.start_time > before && trace.end_time.unwrap() <= Utc::now());

    assert_eq!(path(&spans, "first"), ["first"]);
    assert_eq!(
        path(&spans, "second"),
        ["second", "rank", "search", "chain"]
    );
    assert_eq!(named(&spans, "chain").id, chain_id);
    for (name, kind) in [
        ("first", "llm"),
        ("chain", "general"),
        ("search", "tool"),
        ("rank", "general"),
    ] {
        let span = named(&spans, name);
        assert_eq!(span.span_type.as_deref(), Some(kind), "{name}");
        assert_eq!(span.trace_id, trace.id);
        assert_eq!(self::kind(&span.error_info), None, "{name}");
        assert!(span.start_time >= trace.start_time && span.end_time <= trace.end_time);
    }
    let search = named(&spans, "search");
    assert_eq!(search.input, Some(json!({"input": ["Lagos"]})));
    assert_eq!(search.output, Some(json!({"output": "found"})));
    assert_eq!((&search.model, &search.provider), (&None, &None));
    assert!(search.usage.is_empty() && search.metadata.is_none());
    let chain = named(&spans, "chain");
    assert_eq!(chain.input, Some(json!({"from": "chain"})));
    assert_eq!(chain.output, Some(json!({"output": null})));
    assert_eq!(chain.tags, ["c"]);
    assert_eq!(chain.metadata, Some(json!({"depth": 1})));
    let first = named(&spans, "first");
    assert_eq!(first.model.as_deref(), Some("gpt-4o"));
    assert_eq!(first.usage["prompt_tokens"], 12);
    assert_eq!(first.output, Some(json!({"response": "search!"})));
}

#[tokio::test]
async fn session_and_environment_of_the_run_come_before_those_of_calls_and_exporter() {
    let sandbox = sandbox();
    let opik = builder(&sandbox).with_environment("prod").build().unwrap();
    let session = |id: &str| call().with_session_id(id);
    for own in [false, true] {
        sandbox.clear();
        let mut run = opik.agent_run("agent");
        if own {
            run = run.with_session_id("mine").with_environment("staging");
        }
        assert!(run.submit(session("theirs")).is_accepted());
        run.tool("tool").finish(());
        run.finish(()).await.unwrap();
        let (trace, spans) = stored(&sandbox);
        let (thread, environment) = if own {
            ("mine", "staging")
        } else {
            ("theirs", "prod")
        };
        assert_eq!(trace.thread_id.as_deref(), Some(thread));
        assert_eq!(trace.environment.as_deref(), Some(environment));
        for span in &spans {
            assert_eq!(span.environment.as_deref(), Some(environment), "{own}");
        }
    }
}

#[test]
fn steps_and_calls_of_many_threads_and_tasks() {
    const MANY: usize = 8;
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let work = |run: &AgentRun, name: String| {
        for part in 0..5 {
            let tool = run.tool(format!("{name}-{part}"));
            let inner = tool.step(format!("{name}-{part}-inner"));
            let call = call().with_name(format!("{name}-{part}-call"));
            assert!(inner.submit(call).is_accepted());
            inner.finish(part);
            tool.finish(part);
        }
    };
    thread::scope(|scope| {
        for number in 0..MANY {
            let run = run.clone();
            scope.spawn(move || work(&run, format!("thread-{number}")));
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = (0..MANY).map(|number| {
            let run = run.clone();
            tokio::spawn(async move { work(&run, format!("task-{number}")) })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        run.finish("done").await.unwrap();
    });
    let (trace, spans) = stored(&sandbox);
    assert_eq!(trace.span_count, 2 * MANY * 5 * 3);
    for number in 0..MANY {
        for (kind, part) in [("thread", 0), ("thread", 4), ("task", 2)] {
            let tool = format!("{kind}-{number}-{part}");
            let (inner, call) = (format!("{tool}-inner"), format!("{tool}-call"));
            assert_eq!(path(&spans, &call), [call.clone(), inner, tool.clone()]);
        }
    }
}

#[tokio::test]
async fn a_run_of_thousands_of_spans_takes_several_requests() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let tool = run.tool("tool");
    for number in 0..2_499 {
        let sink: &dyn CallSink = if number % 2 == 0 { &tool } else { &run };
        assert!(sink.submit(call()).is_accepted());
    }
    tool.finish(());
    run.finish(()).await.unwrap();
    let (trace, spans) = stored(&sandbox);
    assert_eq!((trace.span_count, trace.llm_span_count), (2_500, 2_499));
    let tool = named(&spans, "tool").id;
    let within = spans
        .iter()
        .filter(|span| span.parent_span_id == Some(tool))
        .count();
    assert_eq!(within, 1_250);
    assert!(spans.iter().all(|span| span.trace_id == trace.id));
    assert_eq!(
        (requests_to(&sandbox, TRACES), requests_to(&sandbox, SPANS)),
        (1, 3)
    );
}

#[tokio::test]
async fn failures_are_those_of_whom_they_happened_to() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let tool = run.tool("tool");
    tool.fail(CallError::new("no such city").with_kind("NotFound"));
    run.step("step").fail("");
    run.tool("good").finish("fine");
    let call = run.start("openai", "gpt-4o");
    call.fail(CallError::new("slow").with_kind(CallError::TIMEOUT));
    run.fail(CallError::new("gave up").with_kind("Agent"))
        .await
        .unwrap();
    let (trace, spans) = stored(&sandbox);
    let error = trace.error_info.unwrap();
    assert_eq!(error.exception_type, "Agent");
    assert_eq!(error.message.as_deref(), Some("gave up"));
    assert_eq!(trace.output, None);
    let tool = named(&spans, "tool").error_info.clone().unwrap();
    assert_eq!(tool.exception_type, "NotFound");
    assert_eq!(tool.message.as_deref(), Some("no such city"));
    let step = named(&spans, "step").error_info.clone().unwrap();
    assert_eq!(step.message.as_deref(), Some("the step failed"));
    assert_eq!(kind(&named(&spans, "good").error_info), None);
    let call = &named(&spans, "openai/gpt-4o").error_info;
    assert_eq!(kind(call), Some("timeout"));

    sandbox.clear();
    let run = exporter(&sandbox).agent_run("agent");
    run.fail("").await.unwrap();
    let error = stored(&sandbox).0.error_info.unwrap();
    assert_eq!(error.message.as_deref(), Some("the run failed"));
}

#[tokio::test]
async fn a_step_that_is_dropped_was_cancelled_once_its_last_handle_goes() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let outer = run.step("outer");
    drop(outer.tool("dropped"));
    let tool = outer.tool("shared");
    drop(tool.clone());
    tool.finish("fine");
    let kept = outer.tool("guarded");
    let guard = kept.start("openai", "gpt-4o");
    // The guard is a handle, too.
    drop(kept);
    assert!(guard.finish(Usage::new(1, 1)).is_accepted());
    let open = run.tool("open");
    outer.finish(());
    run.finish("done").await.unwrap();
    let (trace, spans) = stored(&sandbox);
    let kind_of = |name: &str| kind(&named(&spans, name).error_info).map(str::to_owned);
    assert_eq!(kind(&trace.error_info), None);
    assert_eq!(kind_of("dropped").as_deref(), Some(CallError::CANCELLED));
    assert_eq!(kind_of("guarded").as_deref(), Some(CallError::CANCELLED));
    assert_eq!(kind_of("shared"), None);
    assert_eq!(kind_of("outer"), None);
    assert_eq!(kind_of("openai/gpt-4o"), None);
    // What goes on ends with the run, for now.
    assert_eq!(kind_of("open"), None);
    assert!(named(&spans, "open").end_time <= trace.end_time);
    open.finish("late");
    run.finish("done").await.unwrap();
    let output = named(&sandbox.spans(), "open").output.clone();
    assert_eq!(output, Some(json!({"output": "late"})));
}

#[tokio::test]
async fn a_panic_is_told_from_a_cancellation() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let task = tokio::spawn(async move {
        let run = opik.agent_run("agent");
        let tool = run.tool("tool");
        let _call = tool.start("openai", "gpt-4o");
        run.tool("good").finish(());
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    eventually("sent", || {
        sandbox.traces().len() == 1 && sandbox.spans().len() == 3
    })
    .await;
    let (trace, spans) = stored(&sandbox);
    assert_eq!(kind(&trace.error_info), Some(CallError::PANIC));
    for name in ["tool", "openai/gpt-4o"] {
        let error = &named(&spans, name).error_info;
        assert_eq!(kind(error), Some(CallError::PANIC), "{name}");
    }
    assert_eq!(path(&spans, "openai/gpt-4o"), ["openai/gpt-4o", "tool"]);
    assert_eq!(kind(&named(&spans, "good").error_info), None);
}

#[tokio::test]
async fn to_finish_again_sends_the_same_run_with_what_has_come_since() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let tool = run.tool("tool");
    assert!(tool.submit(call().with_name("early")).is_accepted());
    tool.finish("first");
    run.finish("first").await.unwrap();
    let (trace, spans) = stored(&sandbox);
    run.finish("first").await.unwrap();
    let (again, spans_again) = stored(&sandbox);
    assert_eq!(again.id, trace.id);
    let ids = |spans: &[Span]| spans.iter().map(|span| span.id).collect::<Vec<_>>();
    assert_eq!(ids(&spans_again), ids(&spans));
    assert_eq!((again.span_count, again.usage["total_tokens"]), (2, 17));

    assert!(tool.submit(call().with_name("late")).is_accepted());
    tool.finish("second");
    run.tool("later").finish(());
    run.finish("second").await.unwrap();
    let (trace, spans) = stored(&sandbox);
    assert_eq!((trace.id, trace.span_count), (again.id, 4));
    assert_eq!(trace.output, Some(json!({"output": "second"})));
    let output = named(&spans, "tool").output.clone();
    assert_eq!(output, Some(json!({"output": "second"})));
    assert_eq!(path(&spans, "late"), ["late", "tool"]);
    assert_eq!(named(&spans, "tool").id, tool.span_id());
    let requests = sandbox.request_count();
    assert_eq!(requests, 6);
    // All of it is stored: nobody is told again.
    drop((run, tool));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sandbox.request_count(), requests);
}

#[tokio::test]
async fn a_call_that_comes_twice_is_one_span_and_the_later_one() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let tool = run.tool("tool");
    let call = call().with_name("call");
    let call = call.clone().with_start_time(call.start_time());
    let with = |response: &str, duration: u64| {
        let call = call.clone().with_response(response);
        call.with_duration(Duration::from_millis(duration))
    };
    assert!(tool.submit(with("first", 100)).is_accepted());
    assert!(tool.submit(with("second", 200)).is_accepted());
    tool.finish(());
    for (response, duration) in [("third", 300), ("fourth", 100), ("fifth", 100)] {
        run.finish(()).await.unwrap();
        let (trace, spans) = stored(&sandbox);
        assert_eq!((trace.span_count, trace.usage["total_tokens"]), (2, 17));
        assert_eq!(path(&spans, "call"), ["call", "tool"]);
        // It may have become shorter, too.
        assert!(tool.submit(with(response, duration)).is_accepted());
        run.finish(()).await.unwrap();
        let (_, spans) = stored(&sandbox);
        let stored = named(&spans, "call");
        assert_eq!(stored.output, Some(json!({ "response": response })));
        assert_eq!(stored.id, call.id());
    }
    // To Opik a span below another parent is another span, with tokens of its own.
    assert!(run.submit(with("elsewhere", 100)).is_accepted());
    run.finish(()).await.unwrap();
    let (trace, spans) = stored(&sandbox);
    assert_eq!((trace.span_count, trace.usage["total_tokens"]), (2, 17));
    assert_eq!(path(&spans, "call"), ["call", "tool"]);
}

#[tokio::test]
async fn what_comes_after_the_end_is_sent_when_the_last_handle_goes() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    let tool = run.tool("tool");
    tool.finish(());
    run.finish("done").await.unwrap();
    let requests = sandbox.request_count();
    assert!(tool.submit(call().with_name("late")).is_accepted());
    drop(run);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(sandbox.request_count(), requests);
    drop(tool);
    eventually("sent again", || sandbox.spans().len() == 2).await;
    eventually("the trace, too", || sandbox.request_count() == requests + 2).await;
    let (trace, spans) = stored(&sandbox);
    assert_eq!(path(&spans, "late"), ["late", "tool"]);
    assert_eq!(trace.output, Some(json!({"output": "done"})));
    assert_eq!(kind(&trace.error_info), None);
}

#[tokio::test]
async fn what_comes_while_it_is_sent_is_not_lost() {
    let sandbox = sandbox();
    sandbox.inject(Fault::latency(Duration::from_millis(400)).times(2));
    let run = exporter(&sandbox).agent_run("agent");
    let (sent, ()) = tokio::join!(run.finish("done"), async {
        eventually("on its way", || sandbox.request_count() > 0).await;
        assert!(run.submit(call()).is_accepted());
    });
    sent.unwrap();
    assert!(sandbox.spans().is_empty());
    drop(run);
    eventually("sent", || sandbox.spans().len() == 1).await;
}

#[tokio::test]
async fn a_finish_that_is_dropped_is_made_up_for() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent");
    run.tool("tool").finish(());
    sandbox.inject(Fault::silence().times(2));
    let finish = tokio::time::timeout(Duration::from_millis(300), run.finish("done"));
    assert!(finish.await.is_err());
    assert!(sandbox.traces().is_empty());
    drop(run);
    eventually("sent", || {
        sandbox.traces().len() == 1 && sandbox.spans().len() == 1
    })
    .await;
    let (trace, _) = stored(&sandbox);
    assert_eq!(trace.output, Some(json!({"output": "done"})));
    assert_eq!(kind(&trace.error_info), None);
}

#[tokio::test]
async fn a_run_that_is_dropped_arrives_as_cancelled() {
    let sandbox = sandbox();
    let run = exporter(&sandbox).agent_run("agent").with_input("in");
    let tool = run.tool("tool");
    let call = run.start("openai", "gpt-4o");
    let other = run.clone();
    drop(run);
    drop(tool);
    drop(call);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sandbox.request_count(), 0);
    drop(other);
    eventually("sent", || {
        sandbox.traces().len() == 1 && sandbox.spans().len() == 2
    })
    .await;
    let (trace, spans) = stored(&sandbox);
    assert_eq!(kind(&trace.error_info), Some(CallError::CANCELLED));
    assert_eq!(trace.input, Some(json!({"input": "in"})));
    assert!(trace.duration.unwrap() >= 100.0);
    for name in ["tool", "openai/gpt-4o"] {
        let error = &named(&spans, name).error_info;
        assert_eq!(kind(error), Some(CallError::CANCELLED), "{name}");
    }
}

#[test]
fn a_run_that_is_dropped_without_a_runtime_is_a_warning() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let log = warned(|| drop(opik.agent_run("SECRET").with_input("SECRET")));
    assert!(log.contains("WARN"), "{log}");
    assert!(log.contains("opik: an agent run is lost"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");

    // Nor with one that is gone before it has been sent.
    let log = warned(|| {
        let runtime = runtime();
        runtime.block_on(async { drop(opik.agent_run("agent")) });
    });
    assert_eq!(log.matches("an agent run is lost").count(), 1, "{log}");
    assert_eq!(sandbox.request_count(), 0);
}

#[test]
fn a_run_that_has_been_sent_is_dropped_in_silence() {
    let sandbox = sandbox();
    let runtime = runtime();
    let run = exporter(&sandbox).agent_run("agent");
    runtime.block_on(run.finish("done")).unwrap();
    assert_eq!(warned(|| drop(run)), "");
    // Its user has been told.
    sandbox.inject(Fault::status(401).always());
    let run = exporter(&sandbox).agent_run("agent");
    runtime.block_on(run.finish("done")).unwrap_err();
    assert_eq!(warned(|| drop(run)), "");
}

#[test]
fn what_fails_in_the_background_is_a_warning() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(401).always());
    let log = warned(|| {
        let runtime = runtime();
        runtime.block_on(async {
            drop(exporter(&sandbox).agent_run("SECRET"));
            eventually("both refused", || {
                let requests = sandbox.requests();
                requests.iter().filter(|r| r.status.is_some()).count() == 2
                    || requests
                        .iter()
                        .any(|r| r.path.ends_with(TRACES) && r.status.is_some())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
    });
    assert!(log.contains("401 Unauthorized"), "{log}");
    assert!(!log.contains("is lost"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[tokio::test]
async fn a_short_failure_is_waited_for() {
    let sandbox = sandbox();
    for path in [TRACES, SPANS] {
        sandbox.inject(Fault::status(503).on(path).times(2));
    }
    let run = exporter(&sandbox).agent_run("agent");
    run.tool("tool").finish(());
    let start = Instant::now();
    run.finish("done").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(1_400));
    assert_eq!(stored(&sandbox).1.len(), 1);
    assert_eq!(sandbox.request_count(), 6);
}

#[tokio::test]
async fn a_server_that_stays_down_is_an_error_after_five_tries() {
    let sandbox = sandbox();
    sandbox.inject(Fault::status(503).with_header("Retry-After", "0").always());
    let run = exporter(&sandbox).agent_run("agent");
    run.tool("tool").finish(());
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    assert_eq!(error.status(), Some(503));
    assert_eq!(
        (requests_to(&sandbox, TRACES), requests_to(&sandbox, SPANS)),
        (5, 5)
    );
    // It is there still, for another try.
    sandbox.clear_faults();
    run.finish("done").await.unwrap();
    assert_eq!(stored(&sandbox).1.len(), 1);
}

#[tokio::test]
async fn a_wait_of_more_than_a_minute_is_an_error_at_once() {
    let sandbox = sandbox();
    let busy = Fault::status(429).with_header("RateLimit-Reset", "61");
    sandbox.inject(busy.always());
    let run = exporter(&sandbox).agent_run("agent");
    let start = Instant::now();
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(61)));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(requests_to(&sandbox, TRACES), 1);
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_within_seconds() {
    let url = sandbox().opik_url();
    let opik = OpikExporter::builder().with_base_url(url).build().unwrap();
    let run = opik.agent_run("agent");
    let start = Instant::now();
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Temporary);
    let took = start.elapsed();
    let bounds = Duration::from_secs(7)..Duration::from_secs(25);
    assert!(bounds.contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_refused_key_is_an_error_at_once() {
    let account = OpikCloud::new("key").with_workspace("ml-team");
    let sandbox = Sandbox::builder().with_cloud(account).start().unwrap();
    let opik = |key: &str| {
        let builder = builder(&sandbox).with_workspace("ml-team");
        builder.with_api_key(key).build().unwrap()
    };
    let run = opik("wrong").agent_run("agent");
    run.tool("tool").finish(());
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert_eq!(error.status(), Some(401));
    // Each of them once with the key as it is, and once in its other form.
    assert!(sandbox.request_count() <= 4);
    assert!(sandbox.traces().is_empty() && sandbox.spans().is_empty());
    opik("key").agent_run("agent").finish("done").await.unwrap();
    assert_eq!(stored(&sandbox).0.workspace, "ml-team");
}

#[tokio::test]
async fn a_span_that_the_server_refuses_costs_no_other() {
    let server = MockServer::start_async().await;
    let stored = Arc::new(Mutex::new(BTreeSet::new()));
    let is_bad = |body: &[u8]| String::from_utf8_lossy(body).contains("MARKER");
    server
        .mock_async(|when, then| {
            when.method(POST)
                .is_true(move |request| is_bad(request.body_ref()));
            then.status(422)
                .header("content-type", "application/json")
                .body(r#"{"errors":["spans[0].name is bad"]}"#);
        })
        .await;
    let kept = Arc::clone(&stored);
    server
        .mock_async(|when, then| {
            when.method(POST).is_true(move |request| {
                let body = request.body_ref();
                let good = !is_bad(body);
                if good {
                    let body: Value = serde_json::from_slice(body).unwrap();
                    let lists = body.as_object().unwrap().values();
                    let names = lists.flat_map(|list| list.as_array().unwrap());
                    let names = names.map(|element| element["name"].as_str().unwrap().to_owned());
                    kept.lock().unwrap().extend(names);
                }
                good
            });
            then.status(204);
        })
        .await;
    let opik = OpikExporter::builder()
        .with_base_url(server.url("/api"))
        .with_gzip(false)
        .build()
        .unwrap();
    let run = opik.agent_run("agent");
    for number in 0..9 {
        let marker = if number == 4 { "MARKER" } else { "fine" };
        run.tool(format!("tool-{number}")).finish(marker);
    }
    assert!(run.submit(call().with_tokens(1 << 31, 0)).is_accepted());
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    let text = error.to_string();
    assert!(
        text.contains("2 of the spans of an agent run left out, the rest is stored"),
        "{text}"
    );
    let stored = stored.lock().unwrap().clone();
    let mut expected: BTreeSet<_> = (0..9).map(|number| format!("tool-{number}")).collect();
    expected.remove("tool-4");
    expected.insert("agent".into());
    assert_eq!(stored, expected);

    let error = opik.agent_run("MARKER").finish("done").await.unwrap_err();
    assert_eq!(error.status(), Some(422));
}

#[tokio::test]
async fn what_is_too_large_for_the_server_costs_no_other() {
    let sandbox = Sandbox::builder()
        .with_max_body_bytes(100_000)
        .start()
        .unwrap();
    let opik = builder(&sandbox).with_gzip(false).build().unwrap();
    let run = opik.agent_run("agent");
    for number in 0..20 {
        let size = if number == 7 { 200_000 } else { 20_000 };
        run.tool(format!("tool-{number}")).finish("x".repeat(size));
    }
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::TooLarge);
    assert!(error.to_string().contains("1 of the spans"), "{error}");
    let (trace, spans) = stored(&sandbox);
    assert_eq!((trace.span_count, spans.len()), (19, 19));
}

#[tokio::test]
async fn a_bad_run_is_an_error_and_nothing_is_sent() {
    let sandbox = sandbox();
    let deep = (0..101).fold(json!(1), |inner, _| json!([inner]));
    let opik = exporter(&sandbox);
    let run = opik.agent_run("agent").with_metadata("k", &deep);
    let error = run.finish("done").await.unwrap_err();
    assert_eq!(error.kind(), ExportErrorKind::Rejected);
    assert!(error.to_string().contains("metadata: JSON"), "{error}");
    let run = opik.agent_run("agent");
    run.finish(&deep).await.unwrap_err();
    assert_eq!(sandbox.request_count(), 0);
    run.finish("fine").await.unwrap();
    assert_eq!(stored(&sandbox).0.output, Some(json!({"output": "fine"})));
}

#[tokio::test]
async fn debug_shows_no_content() {
    let secret = "SECRET";
    let run = exporter(&sandbox())
        .agent_run(secret)
        .with_input(secret)
        .with_session_id(secret)
        .with_user_id(secret)
        .with_environment(secret)
        .with_tag(secret)
        .with_metadata(secret, secret);
    let step = run
        .tool(secret)
        .with_input(secret)
        .with_tag(secret)
        .with_metadata(secret, secret);
    assert!(step.submit(call().with_response(secret)).is_accepted());
    step.fail(secret);
    let shown = format!("{run:?} {run:#?} {step:?} {step:#?}");
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains("nodes: 2") && shown.contains("ended: false"));
    assert!(shown.contains(&run.trace_id().to_string()), "{shown}");
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Not,
    /// Refused when it is handed in.
    AtOnce,
    /// Refused when the run is sent.
    Later,
}

#[derive(Clone, Debug)]
struct Plan {
    is_call: bool,
    bad: Bad,
    which: usize,
    parent: prop::sample::Index,
    id: u128,
    /// Seconds before now.
    start: i64,
    duration: Option<u64>,
    content: String,
}

prop_compose! {
    fn plan()(
        is_call: bool,
        bad in prop_oneof![4 => Just(Bad::Not), 1 => Just(Bad::AtOnce), 2 => Just(Bad::Later)],
        which in 0..4_usize,
        parent: prop::sample::Index,
        id: u128,
        start in prop_oneof![0..100_i64, -1_000_000..1_000_000_i64, Just(1_700_000_000)],
        duration in proptest::option::of(0..100_000_000_u64),
        content: String,
    ) -> Plan {
        let bad = if !is_call && bad == Bad::AtOnce { Bad::Later } else { bad };
        Plan { is_call, bad, which, parent, id, start, duration, content }
    }
}

impl Plan {
    fn call(&self, place: usize) -> LLMCallData {
        let random = Uuid::from_u128(self.id).into_bytes();
        let id = match self.which {
            0 => uuid::Builder::from_random_bytes(random).into_uuid(),
            1 => Uuid::now_v7(),
            // In the year 2004, and in 3000.
            2 => {
                uuid::Builder::from_unix_timestamp_millis(1 << 40, random[..10].try_into().unwrap())
                    .into_uuid()
            }
            _ => uuid::Builder::from_unix_timestamp_millis(
                32_503_680_000_000,
                random[..10].try_into().unwrap(),
            )
            .into_uuid(),
        };
        let mut call = LLMCallData::new("openai", "gpt-4o")
            .with_name(format!("node-{place}"))
            .with_id(id)
            .with_start_time(Utc::now() - TimeDelta::seconds(self.start))
            .with_messages(&self.content)
            .with_tokens(place as u64, 1)
            .with_cost(0.5);
        call.duration = self.duration.map(Duration::from_millis);
        let deep = || (0..101).fold(json!(1), |inner, _| json!([inner]));
        match (self.bad, self.which) {
            (Bad::Not, _) => call,
            (Bad::AtOnce, 0) => call.with_cost(f64::NAN),
            (Bad::AtOnce, 1) => call.with_cost(-1.0),
            (Bad::AtOnce, 2) => call.with_messages(deep()),
            (Bad::AtOnce, _) => call.with_metadata("k", deep()),
            (Bad::Later, 0) => call.with_tokens(1 << 31, 1),
            (Bad::Later, 1) => call.with_start_time("1969-12-31T00:00:00Z".parse().unwrap()),
            (Bad::Later, 2) => call.with_start_time("3000-01-01T00:00:00Z".parse().unwrap()),
            (Bad::Later, _) => call.with_duration(Duration::MAX),
        }
    }
}

#[test]
fn any_run_is_taken_and_stored_as_it_was() {
    let sandbox = sandbox();
    let opik = exporter(&sandbox);
    let runtime = runtime();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    };
    proptest!(config, |(plans in collection::vec(plan(), 0..16))| {
        sandbox.clear();
        let run = opik.agent_run("agent");
        let mut steps: Vec<(usize, AgentStep)> = Vec::new();
        let mut parents: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        for (place, plan) in plans.iter().enumerate() {
            let parent = plan.parent.index(steps.len() + 1).checked_sub(1).map(|i| &steps[i]);
            parents.insert(place, parent.map(|(place, _)| *place));
            if plan.is_call {
                let call = plan.call(place);
                let taken = match parent {
                    Some((_, step)) => step.submit(call),
                    None => run.submit(call),
                };
                prop_assert_eq!(taken.is_accepted(), plan.bad != Bad::AtOnce);
            } else {
                let name = format!("node-{place}");
                let step = match (parent, plan.which % 2) {
                    (Some((_, step)), 0) => step.tool(name),
                    (Some((_, step)), _) => step.step(name),
                    (None, 0) => run.tool(name),
                    (None, _) => run.step(name),
                };
                let step = step.with_input(&plan.content);
                if plan.bad == Bad::Not {
                    step.finish(place);
                } else {
                    step.finish((0..101).fold(json!(1), |inner, _| json!([inner])));
                }
                steps.push((place, step));
            }
        }
        let result = runtime.block_on(run.finish("done"));
        let later = plans.iter().filter(|plan| plan.bad == Bad::Later).count();
        match result {
            Ok(()) => prop_assert_eq!(later, 0),
            Err(error) => {
                prop_assert_eq!(error.kind(), ExportErrorKind::Rejected);
                let text = format!("{later} of the spans of an agent run left out");
                prop_assert!(error.to_string().contains(&text), "{}", error);
            }
        }
        let requests = sandbox.requests();
        prop_assert!(requests.iter().all(|request| request.status == Some(204)));
        let (trace, spans) = stored(&sandbox);
        prop_assert_eq!(trace.id, run.trace_id());
        let good = || (0..plans.len()).filter(|place| plans[*place].bad == Bad::Not);
        prop_assert_eq!(spans.len(), good().count());
        let calls = || good().filter(|place| plans[*place].is_call);
        prop_assert_eq!(trace.llm_span_count, calls().count());
        prop_assert_eq!(trace.total_estimated_cost.unwrap_or(0.0), calls().count() as f64 / 2.0);
        for place in good() {
            let plan = &plans[place];
            let span = named(&spans, &format!("node-{place}"));
            let mut above = parents[&place];
            while let Some(bad) = above.filter(|place| plans[*place].bad != Bad::Not) {
                above = parents[&bad];
            }
            let above = above.map(|place| named(&spans, &format!("node-{place}")));
            prop_assert_eq!(span.parent_span_id, above.map(|span| span.id));
            for (start, end) in above.map(|above| (above.start_time, above.end_time))
                .into_iter().chain([(trace.start_time, trace.end_time)])
            {
                prop_assert!(start <= span.start_time && span.end_time <= end);
            }
            prop_assert!(Some(span.start_time) <= span.end_time);
            let (kind, field, usage) = match (plan.is_call, plan.which % 2) {
                (true, _) => ("llm", "messages", Some(place as i32 + 1)),
                (false, 0) => ("tool", "input", None),
                (false, _) => ("general", "input", None),
            };
            prop_assert_eq!(span.span_type.as_deref(), Some(kind));
            prop_assert_eq!(&span.input, &Some(json!({ field: plan.content })));
            prop_assert_eq!(span.usage.get("total_tokens").copied(), usage);
            prop_assert_eq!(span.model.is_some(), plan.is_call);
        }
    });
}

#[tokio::test]
async fn a_call_by_itself_is_still_one_trace_with_one_span() {
    let sandbox = sandbox();
    exporter(&sandbox).export_llm_call(&call()).await.unwrap();
    let (trace, spans) = stored(&sandbox);
    let [span] = spans.try_into().unwrap();
    assert_eq!((span.trace_id, span.parent_span_id), (trace.id, None));
}
