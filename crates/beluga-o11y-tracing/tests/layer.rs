//! What the layer makes of spans, whoever made them.

mod support;

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use beluga_o11y::{CallError, CallSink, InMemoryExporter, LLMCallData, Submission, Usage};
use beluga_o11y_tracing::{LlmCallLayer, LlmCallLayerBuilder};
use serde_json::{Value, json};
use support::{calls, calls_under, calls_with, one, value};
use tracing::{Span, debug_span, error, field::Empty, info, info_span, trace_span, warn};
use tracing_subscriber::{Registry, filter::LevelFilter, fmt as log, prelude::*};

/// A call as most libraries make one, without an answer.
macro_rules! unanswered {
    ($($more:tt)*) => {
        info_span!(
            "any name",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = "gpt-4o",
            $($more)*
        )
    };
}

/// The same with an answer.
macro_rules! chat {
    ($($more:tt)*) => {
        unanswered!(gen_ai.usage.output_tokens = 3_u64, $($more)*)
    };
}

/// A log at WARN.
macro_rules! warnings {
    () => {
        log::layer()
            .with_writer(io::sink)
            .with_filter(LevelFilter::WARN)
    };
}

fn metadata(call: &LLMCallData, key: &str) -> Option<Value> {
    call.metadata.get(key).and_then(|value| value.read().ok())
}

#[test]
fn the_field_makes_a_call_not_name_target_or_level() {
    let calls = calls(|| {
        info_span!(target: "rig::completions", "chat", agent_name = "not by the conventions");
        info_span!("chat");
        trace_span!(target: "anything", "x", gen_ai.operation.name = "chat", gen_ai.response.id = "1");
        debug_span!("y", gen_ai.operation.name = Empty).record("gen_ai.operation.name", "chat");
    });
    assert_eq!(calls.len(), 2);
    assert_eq!(metadata(&calls[0], "gen_ai.response.id"), Some(json!("1")));
}

#[test]
fn operations_that_are_calls_and_those_that_are_not() {
    for (operation, has_model, is_call) in [
        ("chat", false, true),
        ("generate_content", false, true),
        ("text_completion", false, true),
        ("embeddings", false, true),
        ("rerank", false, true),
        ("transcription", false, true),
        ("image_generation", false, true),
        ("audio_generation", false, true),
        ("invoke_agent", true, false),
        ("execute_tool", true, false),
        ("create_agent", true, false),
        ("retrieval", true, false),
        ("moderation", true, true),
        ("moderation", false, false),
        ("", false, false),
    ] {
        let calls = calls(|| {
            let model = has_model.then_some("m");
            info_span!(
                "s",
                gen_ai.operation.name = operation,
                gen_ai.request.model = model
            );
        });
        assert_eq!(calls.len(), usize::from(is_call), "{operation} {has_model}");
    }
}

#[test]
fn every_type_of_value_is_read() {
    struct Shown(&'static str);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }
    let call = one(|| {
        info_span!(
            "s",
            gen_ai.operation.name = ?"chat",
            gen_ai.provider.name = %Shown("anthropic"),
            gen_ai.request.model = ?Some("claude"),
            gen_ai.request.temperature = 0.5,
            gen_ai.request.seed = 7_i64,
            gen_ai.request.stream = true,
            gen_ai.usage.input_tokens = 500_i64,
            gen_ai.usage.output_tokens = "150",
            gen_ai.usage.cache_read.input_tokens = 100.0,
            gen_ai.usage.cache_creation.input_tokens = ?Some(20),
            gen_ai.usage.reasoning_tokens = %30,
            gen_ai.response.time_to_first_chunk = 0.25,
            gen_ai.response.finish_reasons = r#"["stop"]"#,
            server.port = 443_u128,
            flag = true,
        );
    });
    assert_eq!(
        (call.provider.as_str(), call.model.as_str()),
        ("anthropic", "claude")
    );
    let usage = Usage::new(500, 150)
        .with_cache_read(100)
        .with_cache_write(20)
        .with_reasoning(30);
    assert_eq!(call.usage, usage);
    assert_eq!(call.time_to_first_token, Some(Duration::from_millis(250)));
    let parameters = json!({"temperature": 0.5, "seed": 7, "stream": true});
    assert_eq!(value(&call.model_parameters), parameters);
    assert_eq!(
        metadata(&call, "gen_ai.response.finish_reasons"),
        Some(json!(["stop"]))
    );
    assert_eq!(metadata(&call, "server.port"), Some(json!("443")));
    assert_eq!(metadata(&call, "flag"), Some(json!(true)));
}

#[test]
fn values_that_make_no_sense_cost_only_themselves() {
    let call = one(|| {
        info_span!(
            "s",
            gen_ai.operation.name = "chat",
            gen_ai.usage.input_tokens = -1,
            gen_ai.usage.output_tokens = "many",
            gen_ai.response.time_to_first_chunk = f64::NAN,
            gen_ai.request.temperature = f64::INFINITY,
            beluga.cost = -1.0,
        );
    });
    assert_eq!(call.usage, Usage::default());
    assert_eq!((call.time_to_first_token, call.cost), (None, None));
    assert_eq!(value(&call.model_parameters), json!({"temperature": null}));
}

#[test]
fn a_value_that_panics_or_fails_while_it_is_formatted_harms_nobody() {
    struct Panics;
    impl fmt::Debug for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("on purpose")
        }
    }
    struct Fails;
    impl fmt::Display for Fails {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }
    let call = one(|| {
        let span = chat!(a = ?Panics, b = %Fails, c = Empty);
        span.record("c", tracing::field::debug(Panics));
    });
    assert_eq!(metadata(&call, "b"), Some(json!("half")));
}

#[test]
fn the_last_value_wins() {
    let call = one(|| {
        let span = chat!(gen_ai.response.id = Empty);
        span.record("gen_ai.request.model", "gpt-4o-mini");
        span.record("gen_ai.response.id", "a");
        span.record("gen_ai.response.id", "b");
    });
    assert_eq!(call.model, "gpt-4o-mini");
    assert_eq!(metadata(&call, "gen_ai.response.id"), Some(json!("b")));
}

#[test]
fn usage_is_absent_zero_or_present() {
    let usage = |input: Option<u64>| {
        one(|| {
            info_span!(
                "s",
                gen_ai.operation.name = "chat",
                gen_ai.usage.input_tokens = input
            );
        })
        .usage
        .input_tokens
    };
    assert_eq!(usage(None), None);
    assert_eq!(usage(Some(0)), Some(0));
    assert_eq!(usage(Some(7)), Some(7));
}

#[test]
fn old_names_of_fields_are_known() {
    let call = one(|| {
        info_span!(
            "s",
            gen_ai.operation.name = "text_completion",
            gen_ai.system = "openai",
            gen_ai.response.model = "davinci",
            gen_ai.prompt = "Say hi",
            gen_ai.completion = "hi",
            gen_ai.usage.prompt_tokens = 2,
            gen_ai.usage.completion_tokens = 1,
            gen_ai.usage.cache_write.input_tokens = 1,
            gen_ai.usage.reasoning.output_tokens = 0,
        );
    });
    assert_eq!(
        (call.provider.as_str(), call.model.as_str()),
        ("openai", "davinci")
    );
    assert_eq!(
        call.usage,
        Usage::new(2, 1).with_cache_write(1).with_reasoning(0)
    );
    assert_eq!(
        (value(&call.messages), value(&call.response)),
        (json!("Say hi"), json!("hi"))
    );
    assert_eq!(
        metadata(&call, "gen_ai.operation.name"),
        Some(json!("text_completion"))
    );
}

#[test]
fn counts_include_their_parts() {
    let usage = |input: u64, read: u64, output: u64, reasoning: u64| {
        one(|| {
            info_span!(
                "s",
                gen_ai.operation.name = "chat",
                gen_ai.usage.input_tokens = input,
                gen_ai.usage.output_tokens = output,
                gen_ai.usage.cache_read.input_tokens = read,
                gen_ai.usage.reasoning_tokens = reasoning,
            );
        })
        .usage
    };
    let counts = |usage: Usage| (usage.input_tokens, usage.output_tokens);
    assert_eq!(counts(usage(100, 80, 20, 10)), (Some(100), Some(20)));
    assert_eq!(counts(usage(10, 80, 5, 10)), (Some(90), Some(15)));
}

#[test]
fn reserved_fields_are_inherited_and_the_nearest_wins() {
    let call = one(|| {
        let _outer = info_span!(
            "outer",
            beluga.session.id = "outer",
            beluga.user.id = 17,
            beluga.tags = "a, b",
            beluga.environment = "production",
            beluga.release = %"1.2.3",
            beluga.metadata.tenant = "acme",
            beluga.metadata.attempt = 1,
        )
        .entered();
        let _other = info_span!("other", beluga_not = 1).entered();
        let _inner = debug_span!(
            "inner",
            beluga.session.id = "inner",
            beluga.tags = r#"["b", "c, d"]"#,
            beluga.trace.name = "answer a question",
            beluga.cost = 0.25,
            beluga.metadata.attempt = 2,
            secret = "of the program",
        )
        .entered();
        chat!(beluga.cost = 0.5, beluga.tags = "own");
    });
    assert_eq!(call.session_id.as_deref(), Some("inner"));
    assert_eq!(call.user_id.as_deref(), Some("17"));
    assert_eq!(call.tags, ["own", "b", "c, d", "a"]);
    assert_eq!(call.environment.as_deref(), Some("production"));
    assert_eq!(call.release.as_deref(), Some("1.2.3"));
    assert_eq!(call.name.as_deref(), Some("answer a question"));
    assert_eq!(call.cost, Some(0.5));
    assert_eq!(metadata(&call, "tenant"), Some(json!("acme")));
    assert_eq!(metadata(&call, "attempt"), Some(json!(2)));
    assert_eq!(call.metadata.len(), 2, "{:?}", call.metadata.keys());
}

#[test]
fn a_reserved_field_may_be_recorded_after_the_call_has_begun() {
    let call = one(|| {
        let request = info_span!("request", beluga.user.id = Empty).entered();
        let call = chat!();
        request.record("beluga.user.id", "late");
        drop(call);
    });
    assert_eq!(call.user_id.as_deref(), Some("late"));
}

#[test]
fn a_conversation_is_a_session_unless_one_is_named() {
    let session = |named: Option<&str>| {
        one(|| {
            let _run = info_span!(
                "run",
                beluga.session.id = named,
                gen_ai.operation.name = "invoke_agent",
                gen_ai.conversation.id = "c"
            )
            .entered();
            chat!();
        })
        .session_id
    };
    assert_eq!(session(None).as_deref(), Some("c"));
    assert_eq!(session(Some("s")).as_deref(), Some("s"));
    assert_eq!(session(Some(" ")).as_deref(), Some("c"));
}

#[test]
fn agent_and_tool_are_named() {
    let calls = calls(|| {
        let _run = info_span!(
            "run",
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = "planner",
            gen_ai.usage.input_tokens = 1_000
        )
        .entered();
        chat!();
        let _tool = info_span!(
            "tool",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = "search"
        )
        .entered();
        chat!(gen_ai.agent.name = "helper");
    });
    assert_eq!(calls.len(), 2);
    assert_eq!(
        metadata(&calls[0], "gen_ai.agent.name"),
        Some(json!("planner"))
    );
    assert_eq!(metadata(&calls[0], "gen_ai.tool.name"), None);
    assert_eq!(
        metadata(&calls[1], "gen_ai.agent.name"),
        Some(json!("helper"))
    );
    assert_eq!(
        metadata(&calls[1], "gen_ai.tool.name"),
        Some(json!("search"))
    );
    let parents = [&calls[0], &calls[1]].map(|call| call.parent_span_id.clone().unwrap());
    assert_ne!(parents[0], parents[1]);
    for (call, parent) in calls.iter().zip(parents) {
        assert_eq!((call.usage.input_tokens, parent.len()), (None, 16));
        assert_eq!(call.trace_id.as_deref().map(str::len), Some(32));
        assert_eq!(call.trace_id, calls[0].trace_id);
    }
}

#[test]
fn any_span_that_somebody_sees_is_a_trace_and_one_with_a_name_begins_one() {
    let sink = InMemoryExporter::new();
    let subscriber = Registry::default()
        .with(
            log::layer()
                .with_writer(io::sink)
                .with_filter(LevelFilter::INFO),
        )
        .with(LlmCallLayer::new(sink.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let _forever = info_span!("server").entered();
        let _hidden = debug_span!("nobody sees it").entered();
        for name in [None, None, Some("one"), Some("two")] {
            let _request = info_span!("request", beluga.trace.name = name).entered();
            chat!();
            chat!();
        }
        let _given = info_span!("job", beluga.trace.id = "my-trace").entered();
        chat!();
    });
    let calls = sink.take();
    let traces: Vec<_> = calls
        .iter()
        .map(|call| call.trace_id.clone().unwrap())
        .collect();
    assert!(
        traces[..4].iter().all(|trace| *trace == traces[0]),
        "all in the server's"
    );
    assert_eq!((&traces[4], &traces[6]), (&traces[5], &traces[7]));
    assert!(traces[4] != traces[0] && traces[4] != traces[6] && traces[6] != traces[0]);
    assert_eq!(traces[8], "my-trace");
    assert!(calls.iter().all(|call| call.parent_span_id.is_none()));
}

#[test]
fn a_call_by_itself_is_its_own_trace() {
    let call = one(|| drop(chat!()));
    assert_eq!((call.trace_id, call.parent_span_id), (None, None));
}

#[test]
fn errors_are_told_in_several_ways() {
    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("request failed")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let outer = Outer(io::Error::other("reset by peer"));
    let told = |make: &dyn Fn() -> Span| {
        let error = one(|| drop(make())).error.unwrap();
        (error.kind, error.message)
    };
    let kind = |kind: &str| Some(kind.to_owned());
    assert_eq!(
        told(&|| chat!(otel.status_code = "ERROR")),
        (None, "the call failed".into())
    );
    assert_eq!(
        told(&|| chat!(error.type = "429")),
        (kind("429"), "the call failed: 429".into())
    );
    assert_eq!(
        told(&|| chat!(error.type = 503, error.message = "busy")),
        (kind("503"), "busy".into())
    );
    assert_eq!(
        told(&|| chat!(error = &outer as &dyn Error)),
        (None, "request failed: reset by peer".into())
    );
    assert_eq!(told(&|| chat!(error = %"no")), (None, "no".into()));
    assert_eq!(
        one(|| drop(chat!(error = "", otel.status_code = "OK"))).error,
        None
    );
}

#[test]
fn an_event_tells_of_an_error_if_there_is_no_answer() {
    let call = one(|| {
        let span = unanswered!();
        let _entered = span.enter();
        warn!("not so bad");
        let _inner = info_span!("inner").entered();
        error!(
            error = "reset by peer",
            body = "SECRET",
            "the request failed"
        );
        info!("bye");
    });
    assert_eq!(
        call.error,
        Some(CallError::new("the request failed: reset by peer"))
    );
    assert_eq!(metadata(&call, "error_inferred"), None);

    let answered = one(|| chat!().in_scope(|| error!("a retry was needed")));
    assert_eq!(answered.error, None);

    let beside = one(|| {
        let run = info_span!("run", gen_ai.operation.name = "invoke_agent").entered();
        error!("of the run");
        chat!().in_scope(|| {
            info_span!("t", gen_ai.operation.name = "execute_tool")
                .in_scope(|| error!("of the tool"))
        });
        drop(run);
        error!("of nobody");
    });
    assert_eq!(beside.error, None);
}

#[test]
fn a_call_without_an_answer_has_failed_as_far_as_anybody_knows() {
    let call = one(|| drop(unanswered!(gen_ai.response.time_to_first_chunk = 0.1)));
    let error = call.error.clone().unwrap();
    assert!(
        error.message.starts_with("no answer was recorded"),
        "{}",
        error.message
    );
    assert_eq!(
        (error.kind, metadata(&call, "error_inferred")),
        (None, Some(json!(true)))
    );
    for answered in [
        one(|| drop(unanswered!(gen_ai.response.id = "1"))),
        one(|| drop(unanswered!(gen_ai.usage.input_tokens = 0))),
        one(|| drop(unanswered!(gen_ai.output.messages = "hi"))),
        // Nothing can be told of these.
        one(|| drop(info_span!("s", gen_ai.operation.name = "image_generation"))),
        one(|| drop(info_span!("s", gen_ai.operation.name = "embeddings"))),
    ] {
        assert_eq!(
            (answered.error, answered.metadata.get("error_inferred")),
            (None, None)
        );
    }
}

#[test]
fn content_is_of_one_shape() {
    let call = one(|| {
        drop(chat!(
            gen_ai.system_instructions = r#"[{"type":"text","content":"Be brief."}]"#,
            gen_ai.input.messages = r#"[{"role":"user","parts":[{"type":"text","content":"hi"}]}]"#,
            gen_ai.output.messages = r#"[{"role":"assistant","parts":[{"type":"text","content":"hello"}],"finish_reason":"stop"}]"#,
            gen_ai.tool.definitions = r#"[{"type":"function","name":"look"}]"#,
        ));
    });
    let messages =
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]);
    assert_eq!(value(&call.messages), messages);
    assert_eq!(value(&call.response), json!("hello"));
    assert_eq!(
        value(&call.model_parameters),
        json!({"tools": [{"type": "function", "name": "look"}]})
    );
    assert_eq!(
        metadata(&call, "gen_ai.response.finish_reasons"),
        Some(json!(["stop"]))
    );
}

#[test]
fn content_can_be_switched_off() {
    let calls = calls_with(
        |builder| builder.with_content(false),
        || {
            let span = chat!(
                gen_ai.system_instructions = "SECRET",
                gen_ai.input.messages = "SECRET",
                gen_ai.output.messages = Empty,
                gen_ai.prompt = "SECRET",
                gen_ai.completion = "SECRET",
                gen_ai.tool.definitions = "SECRET",
                gen_ai.tool.call.arguments = "SECRET",
                gen_ai.tool.call.result = ?"SECRET",
            );
            span.record("gen_ai.output.messages", "SECRET");
            let scope = beluga_o11y_tracing::CallScope::new();
            scope.messages("SECRET");
            scope.model_parameters(json!({"tools": ["SECRET"]}));
            scope.response("SECRET");
            scope.partial("SECRET");
            scope.in_scope(|| drop(chat!(gen_ai.request.temperature = 0.1)));
        },
    );
    assert_eq!(calls.len(), 2);
    for call in calls {
        let text = serde_json::to_string(&call).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
        assert_eq!(call.usage.output_tokens, Some(3));
    }
}

#[test]
fn a_hook_prices_changes_and_drops() {
    let calls = calls_with(
        |builder| {
            builder.with_before_submit(|call| match call.model.as_str() {
                "free" => None,
                _ => Some(call.with_cost(0.01).with_tag("priced")),
            })
        },
        || {
            chat!();
            unanswered!().record("gen_ai.request.model", "free");
        },
    );
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].cost, calls[0].tags.as_slice()),
        (Some(0.01), &["priced".to_owned()][..])
    );
}

/// Takes calls as it was told to.
struct Sink(fn(&LLMCallData) -> Submission);

impl CallSink for Sink {
    fn submit_shared(&self, call: Arc<LLMCallData>) -> Submission {
        (self.0)(&call)
    }
}

#[test]
fn what_becomes_of_calls_is_counted_and_a_panic_stays_inside() {
    let sink = Sink(|call| match call.model.as_str() {
        "panic" => panic!("on purpose"),
        "sampled" => Submission::SampledOut,
        "refused" => Submission::Refused(beluga_o11y::Refusal::Full),
        _ => Submission::Accepted,
    });
    let layer = LlmCallLayer::builder(sink).with_before_submit(|call| match call.model.as_str() {
        "drop" => None,
        "hook panic" => panic!("on purpose"),
        _ => Some(call),
    });
    let stats = tracing::subscriber::with_default(Registry::default().with(layer.build()), || {
        for model in [
            "panic",
            "sampled",
            "refused",
            "drop",
            "hook panic",
            "m",
            "m",
        ] {
            unanswered!().record("gen_ai.request.model", model);
        }
        tracing::dispatcher::get_default(|all| all.downcast_ref::<LlmCallLayer>().unwrap().stats())
    });
    assert_eq!(
        [
            stats.accepted,
            stats.sampled_out,
            stats.refused,
            stats.dropped,
            stats.panicked
        ],
        [2, 1, 1, 1, 2]
    );
}

#[test]
fn a_span_that_closes_while_its_thread_panics_is_a_call_that_panicked() {
    let calls = calls(|| {
        let panicked = std::panic::catch_unwind(|| {
            let _span = unanswered!().entered();
            panic!("on purpose");
        });
        assert!(panicked.is_err());
    });
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].error.as_ref().unwrap().kind.as_deref(),
        Some(CallError::PANIC)
    );
}

#[test]
fn a_sink_may_make_spans_and_events_of_its_own() {
    let sink = Sink(|_| {
        // With a lock held on the span or those around it, this would hang.
        let _span = info_span!("of the sink", beluga.session.id = "x").entered();
        Span::current().record("beluga.session.id", "y");
        error!("of the sink");
        Submission::Accepted
    });
    let subscriber = Registry::default()
        .with(log::layer().with_writer(io::sink))
        .with(LlmCallLayer::new(sink));
    tracing::subscriber::with_default(subscriber, || {
        let _request = info_span!("request", beluga.user.id = "u").entered();
        chat!();
    });
}

#[test]
fn the_layer_sees_its_spans_beside_a_log_at_warn_and_switches_nothing_on() {
    let sink = InMemoryExporter::new();
    let lines = support::Lines::default();
    let subscriber = Registry::default()
        .with(
            log::layer()
                .with_writer(lines.clone())
                .with_filter(LevelFilter::WARN),
        )
        .with(LlmCallLayer::new(sink.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let _other = info_span!("other").entered();
        assert!(Span::current().is_none(), "nobody wants it");
        chat!().in_scope(|| {
            info!("not shown");
            warn!("shown");
        });
    });
    assert_eq!(sink.len(), 1);
    let lines = lines.text();
    assert!(
        lines.contains("shown") && !lines.contains("not shown"),
        "{lines}"
    );
    assert!(
        !lines.contains("gpt-4o"),
        "the log does not want the span: {lines}"
    );
}

/// To ask a stack of filters about a span that is never made can leave their answer behind, for the next event.
#[test]
fn to_look_for_a_global_filter_costs_no_other_layer_an_event() {
    for first in [true, false] {
        let lines = support::Lines::default();
        let run = || error!("the first event of the program");
        if first {
            let layer = LlmCallLayer::new(InMemoryExporter::new());
            let log = log::layer()
                .with_writer(lines.clone())
                .with_filter(LevelFilter::WARN);
            tracing::subscriber::with_default(Registry::default().with(layer).with(log), run);
        } else {
            let layer = LlmCallLayer::new(InMemoryExporter::new());
            let log = log::layer()
                .with_writer(lines.clone())
                .with_filter(LevelFilter::WARN);
            tracing::subscriber::with_default(Registry::default().with(log).with(layer), run);
        }
        assert!(lines.text().contains("the first event"), "{first}");
    }
}

#[test]
fn the_order_of_layers_does_not_matter() {
    for first in [true, false] {
        let sink = InMemoryExporter::new();
        let run = || {
            let _request = info_span!("request", beluga.user.id = "u").entered();
            chat!();
        };
        if first {
            let all = Registry::default()
                .with(LlmCallLayer::new(sink.clone()))
                .with(warnings!());
            tracing::subscriber::with_default(all, run);
        } else {
            let all = Registry::default()
                .with(warnings!())
                .with(LlmCallLayer::new(sink.clone()));
            tracing::subscriber::with_default(all, run);
        }
        assert_eq!(sink.take()[0].user_id.as_deref(), Some("u"));
    }
}

/// tracing-subscriber does not tell a layer in an `Option` or a `Vec` what stack it is part of.
#[test]
fn a_layer_that_is_there_only_if_it_is_wanted_sees_as_much() {
    let run = || {
        let _request = info_span!("request").entered();
        chat!();
        chat!();
    };
    let log = || log::layer::<Registry>().with_writer(io::sink);
    let traces = |calls: Vec<LLMCallData>| {
        let [a, b] = <[LLMCallData; 2]>::try_from(calls).unwrap();
        assert!(a.trace_id.is_some());
        assert_eq!(a.trace_id, b.trace_id);
    };
    traces(calls_under(
        |sink| {
            Registry::default()
                .with(log())
                .with(Some(LlmCallLayer::new(sink)))
        },
        run,
    ));
    traces(calls_under(
        |sink| {
            Registry::default()
                .with(log())
                .with(vec![LlmCallLayer::new(sink)])
        },
        run,
    ));
}

#[test]
fn of_two_layers_in_a_registry_the_first_reports() {
    let (a, b) = (InMemoryExporter::new(), InMemoryExporter::new());
    let subscriber = Registry::default()
        .with(LlmCallLayer::new(a.clone()))
        .with(LlmCallLayer::new(b.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let _request = info_span!("request", beluga.user.id = "u").entered();
        chat!(gen_ai.response.id = Empty).record("gen_ai.response.id", "1");
    });
    assert_eq!((a.len(), b.len()), (1, 0));
    assert_eq!(a.take()[0].user_id.as_deref(), Some("u"));
}

#[test]
fn start_and_duration_are_those_of_the_span() {
    let before = std::time::SystemTime::now();
    let call = one(|| {
        let span = chat!();
        std::thread::sleep(Duration::from_millis(20));
        drop(span);
    });
    let start = std::time::SystemTime::from(call.start_time());
    assert!(start.duration_since(before).unwrap() < Duration::from_secs(2));
    let duration = call.duration.unwrap();
    assert!(duration >= Duration::from_millis(20) && duration < Duration::from_secs(2));
}

#[test]
fn debug_shows_no_content() {
    let builder: LlmCallLayerBuilder = LlmCallLayer::builder(InMemoryExporter::new());
    let text = format!("{builder:?}");
    assert!(text.contains("content: true"), "{text}");
    let layer = builder.build::<Registry>();
    assert!(format!("{layer:?}").contains("accepted: 0"));
}
