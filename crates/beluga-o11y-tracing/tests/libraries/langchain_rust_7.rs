//! langchain-rust 7.0.0, whose spans and fields have names of their own. It has no content on spans, and every error.

use serde_json::{Value, json};
use tracing::{
    Span,
    field::{Empty, display},
    info_span,
};

use crate::{
    Calls, only, records, records_beside_a_full_log, records_beside_a_log, records_of, seen, with,
};

/// `llm_span`
fn llm(provider: &'static str, model: &str, stream: bool) -> Span {
    info_span!(
        target: "langchain_rust::observability",
        "llm.generate",
        provider,
        model,
        stream,
        prompt_tokens = Empty,
        completion_tokens = Empty,
        total_tokens = Empty,
        tool_calls = Empty,
        error = Empty,
    )
}

/// `record_result`
fn record_result(span: &Span, tokens: Option<(u32, u32)>, tool_calls: usize) {
    if let Some((prompt, completion)) = tokens {
        span.record("prompt_tokens", prompt);
        span.record("completion_tokens", completion);
        span.record("total_tokens", prompt + completion);
    }
    if tool_calls > 0 {
        span.record("tool_calls", tool_calls);
    }
}

/// `record_error`
fn record_error(span: &Span, error: &str) {
    span.record("error", display(error));
    span.in_scope(|| {
        tracing::warn!(
            target: "langchain_rust::observability",
            error = %error,
            "{} failed",
            "llm.generate",
        );
    });
}

fn generate(model: &str, tool_calls: usize) {
    let span = llm("openai", model, false);
    span.in_scope(|| {});
    record_result(&span, Some((7, 3)), tool_calls);
}

/// `traced_embed_documents`
fn embed_documents(count: usize) -> Span {
    let (provider, model) = ("openai", "e");
    info_span!(
        target: "langchain_rust::observability",
        "embed.documents",
        provider,
        model,
        count,
        error = Empty,
    )
}

/// `traced_embed_query`
fn embed_query() -> Span {
    let (provider, model) = ("openai", "e");
    info_span!(
        target: "langchain_rust::observability",
        "embed.query",
        provider,
        model,
        count = 1,
        error = Empty,
    )
}

/// `LLMChain::call`
fn chain() -> Span {
    info_span!(
        target: "langchain_rust::chain::llm_chain",
        "chain.call",
        chain = "llm_chain",
        error = Empty,
    )
}

/// `RouterChain::span`
fn router() -> Span {
    info_span!(
        target: "langchain_rust::chain::router::chain",
        "chain.call",
        chain = "router",
        destination = Empty,
        error = Empty,
    )
}

/// `AgentExecutor::run`
fn agent_run() -> Span {
    let max_iterations = Some(10_i32);
    info_span!(
        target: "langchain_rust::agent::executor",
        "agent.run",
        max_iterations = max_iterations,
        steps = Empty,
        total_tokens = Empty,
        error = Empty,
    )
}

fn agent_plan(step: usize) -> Span {
    info_span!(target: "langchain_rust::agent::executor", "agent.plan", step = step)
}

fn tool_call(tool: &str) -> Span {
    info_span!(
        target: "langchain_rust::agent::executor",
        "tool.call",
        tool = %tool,
        error = Empty,
    )
}

/// An agent whose tool asks a model too.
pub(crate) fn agent(in_tool: &dyn Fn()) {
    let run = agent_run();
    run.in_scope(|| {
        agent_plan(0).in_scope(|| chain().in_scope(|| generate("planner", 1)));
        tool_call("search").in_scope(in_tool);
        agent_plan(1).in_scope(|| chain().in_scope(|| generate("planner", 0)));
        Span::current().record("steps", 1_usize);
    });
    run.record("total_tokens", 20_u32);
}

fn generated(model: &str) -> Value {
    json!({
        "provider": "openai",
        "model": model,
        "input_tokens": 7,
        "output_tokens": 3,
        "model_parameters": {"stream": false},
    })
}

#[test]
fn plain_call() {
    assert_eq!(only(|| generate("gpt-4o", 0)), generated("gpt-4o"));
    let tools = with(&generated("gpt-4o"), json!({"metadata": {"tool_calls": 2}}));
    assert_eq!(only(|| generate("gpt-4o", 2)), tools);
    let zero = only(|| record_result(&llm("openai", "gpt-4o", false), Some((0, 0)), 0));
    let counts = json!({"input_tokens": 0, "output_tokens": 0});
    assert_eq!(zero, with(&generated("gpt-4o"), counts));
}

/// Some providers count nothing. Since every error is recorded, that is none.
#[test]
fn a_call_that_leaves_nothing() {
    for stream in [false, true] {
        let call = only(|| {
            let span = llm("ollama", "llama3", stream);
            span.in_scope(|| {});
            record_result(&span, None, 0);
        });
        let parameters = json!({"stream": stream});
        let expected =
            json!({"provider": "ollama", "model": "llama3", "model_parameters": parameters});
        assert_eq!(call, expected);
    }
}

/// The span is made with the stream, entered at each poll, and closed when the stream is dropped.
#[test]
fn streaming_call() {
    let calls = records(|| {
        let span = llm("anthropic", "claude-sonnet-4-5", true);
        let other = llm("openai", "gpt-4o", true);
        for _chunk in 0..3 {
            span.in_scope(|| {});
            other.in_scope(|| {});
        }
        record_result(&other, Some((1, 1)), 0);
        record_result(&span, Some((7, 3)), 0);
    });
    let models: Vec<_> = calls.iter().map(|call| call.model.as_str()).collect();
    assert_eq!(models, ["gpt-4o", "claude-sonnet-4-5"]);
    assert_eq!(calls[1].usage.input_tokens, Some(7));
    let seen = seen(&calls);
    assert!(seen.iter().all(|c| c["model_parameters"]["stream"] == true));
}

#[test]
fn errors() {
    let error = "OpenAI error: 429 Too Many Requests";
    let call = only(|| record_error(&llm("openai", "gpt-4o", false), error));
    let expected = json!({"input_tokens": null, "output_tokens": null, "error": error});
    assert_eq!(call, with(&generated("gpt-4o"), expected));
    let call = only(|| record_error(&embed_query(), error));
    assert_eq!(call["error"], error);
    // The chain around it fails too, which is not another call.
    let calls = records(|| {
        let chain = chain();
        chain.in_scope(|| record_error(&llm("openai", "gpt-4o", false), error));
        record_error(&chain, error);
    });
    assert_eq!(calls.len(), 1);
    // A stream goes on after an error, but the error stays.
    let calls = records(|| {
        let span = llm("openai", "gpt-4o", true);
        record_error(&span, error);
        record_result(&span, Some((7, 3)), 0);
    });
    assert_eq!(calls[0].error.as_ref().unwrap().message, error);
    assert_eq!(calls[0].usage.input_tokens, Some(7));
}

/// Nothing is recorded of a success, not even how many tokens it took.
#[test]
fn embeddings() {
    let embedded = |count: u64| {
        json!({
            "provider": "openai",
            "model": "e",
            "metadata": {"count": count, "gen_ai.operation.name": "embeddings"},
        })
    };
    assert_eq!(only(|| drop(embed_documents(3))), embedded(3));
    assert_eq!(only(|| drop(embed_query())), embedded(1));
}

fn in_step(model: &str, parent: u64, metadata: Value) -> Value {
    let step = json!({"trace_id": 1, "parent_span_id": parent, "metadata": metadata});
    with(&generated(model), step)
}

#[test]
fn an_agent_and_its_tool() {
    let calls = seen(&records(|| agent(&|| generate("searcher", 0))));
    // In a chain, in the tool, in another chain.
    let expected = [
        in_step("planner", 1, json!({"tool_calls": 1, "chain": "llm_chain"})),
        in_step("searcher", 2, json!({"tool": "search"})),
        in_step("planner", 3, json!({"chain": "llm_chain"})),
    ];
    assert_eq!(calls, expected);
}

/// The router asks where to, then calls another chain: two calls, side by side.
#[test]
fn a_router() {
    let calls = seen(&records(|| {
        let span = router();
        span.in_scope(|| {
            generate("router", 0);
            span.record("destination", "physics");
            chain().in_scope(|| generate("expert", 0));
        });
    }));
    let expected = [
        in_step("router", 1, json!({"chain": "router"})),
        in_step("expert", 2, json!({"chain": "llm_chain"})),
    ];
    assert_eq!(calls, expected);
}

/// `debug!` events hold prompts; a record does not.
#[test]
fn content_stays_in_the_log() {
    for content in [true, false] {
        let calls = records_of(
            |layer| layer.with_content(content),
            || {
                chain().in_scope(|| {
                    tracing::debug!(target: "langchain_rust::chain::llm_chain", "Prompt: SECRET");
                    let span = llm("openai", "gpt-4o", false);
                    span.in_scope(|| tracing::debug!("SECRET"));
                });
            },
        );
        let text = serde_json::to_string(&seen(&calls)).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
    }
}

/// Other programs have spans of these names, too.
#[test]
fn only_its_own_spans() {
    let calls = records(|| {
        let (provider, model) = ("openai", "gpt-4o");
        drop(info_span!(
            "llm.generate",
            provider,
            model,
            prompt_tokens = 7_u64
        ));
        drop(info_span!(target: "langchain_rusty", "llm.generate", provider, model));
        drop(info_span!(target: "langchain_rust::tools", "search", provider, model));
    });
    assert!(calls.is_empty());
}

#[test]
fn no_doubles() {
    let script = || {
        agent(&|| agent(&|| generate("searcher", 0)));
        chain().in_scope(|| generate("gpt-4o", 0));
        router().in_scope(|| generate("gpt-4o", 0));
        drop(embed_documents(3));
        drop(embed_query());
    };
    let beside: [fn(_) -> Calls; 3] = [records, records_beside_a_log, records_beside_a_full_log];
    for records in beside {
        assert_eq!(records(script).len(), (2 + (2 + 1)) + 1 + 1 + 2);
    }
}
