//! Calls that agents make.

use tokio::{sync::oneshot, task::yield_now};
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::support::*;

#[test]
fn calls_of_one_agent_share_its_span_and_others_do_not() {
    each(
        async || {
            for names in [["a", "b"], ["c", "d"]] {
                let run = async {
                    call(names[0]).await;
                    call(names[1]).await;
                };
                run.instrument(agent()).await;
            }
            call("without").await;
        },
        ["a", "b", "c", "d", "without"],
        |[a, b, c, d, without]| {
            apart(&[trace(&[&a, &b]), trace(&[&c, &d])]);
            apart(&[parent(&[&a, &b]), parent(&[&c, &d])]);
            alone(&without);
        },
    );
}

#[test]
fn agents_in_tools_of_agents_are_one_trace_with_the_nearest_step_as_parent() {
    each(
        async || {
            let inner = async {
                call("inner 1").await;
                call("inner 2").await;
            };
            let in_tool = async {
                call("tool 1").await;
                inner.instrument(agent()).await;
                call("tool 2").await;
            };
            let outer = async {
                call("outer 1").await;
                in_tool.instrument(tool()).await;
                call("outer 2").await;
            };
            outer.instrument(agent()).await;
        },
        [
            "outer 1", "tool 1", "inner 1", "inner 2", "tool 2", "outer 2",
        ],
        |[outer_1, tool_1, inner_1, inner_2, tool_2, outer_2]| {
            trace(&[&outer_1, &tool_1, &inner_1, &inner_2, &tool_2, &outer_2]);
            apart(&[
                parent(&[&outer_1, &outer_2]),
                parent(&[&tool_1, &tool_2]),
                parent(&[&inner_1, &inner_2]),
            ]);
        },
    );
}

#[test]
fn steps_that_name_a_model_are_no_calls() {
    each(
        async || {
            for operation in [
                "invoke_agent",
                "execute_tool",
                "create_agent",
                "invoke_workflow",
            ] {
                let step = info_span!(
                    "step",
                    gen_ai.operation.name = operation,
                    gen_ai.request.model = operation,
                    gen_ai.usage.input_tokens = 9_u64
                );
                call("a").instrument(step).await;
            }
        },
        ["a"; 4],
        |[a, ..]| {
            trace(&[&a]);
            parent(&[&a]);
        },
    );
}

#[test]
fn user_spans_between_an_agent_and_its_calls_are_no_parents() {
    each(
        async || {
            let run = async {
                call("a").instrument(request()).await;
                call("b").instrument(request()).await;
                call("c").await;
            };
            let outer = async {
                run.instrument(agent()).await;
                call("d").await;
            };
            outer.instrument(request()).await;
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| {
            trace(&[&a, &b, &c, &d]);
            parent(&[&a, &b, &c]);
            without_parent(&[&d]);
        },
    );
}

/// The spans of a run as rig 0.46 makes them: a root, turns and tools with their parent given, tied by `follows_from`.
async fn rig_run(first: &str, in_tool: &str, second: &str) {
    let run = info_span!(
        parent: None,
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "rig",
        gen_ai.usage.input_tokens = Empty,
    );
    let turn = |name: &str| {
        info_span!(
            target: "rig::agent_chat",
            parent: &run,
            "chat",
            rig.completion_parent = true,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai",
            gen_ai.request.model = name,
            gen_ai.request.stream = false,
            gen_ai.response.id = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
        )
    };
    let answer = async || {
        yield_now().await;
        // The provider adopts the span of the turn and says again what it is.
        let span = Span::current();
        span.record("gen_ai.operation.name", "chat");
        answered(&span);
    };
    let first = turn(first);
    answer().instrument(first.clone()).await;
    let tool = info_span!(
        parent: &run,
        "execute_tool",
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = "search",
    );
    tool.follows_from(&first);
    drop(first);
    call(in_tool).instrument(tool.clone()).await;
    let second = turn(second);
    second.follows_from(&tool);
    answer().instrument(second).await;
    // The totals of the run are no call.
    run.record("gen_ai.usage.input_tokens", 9_u64);
}

#[test]
fn a_run_of_rig_is_a_trace_of_its_own() {
    each(
        async || {
            rig_run("a", "in tool a", "b").await;
            let ambient = async {
                call("ambient").await;
                rig_run("c", "in tool c", "d").await;
            };
            ambient.instrument(agent()).await;
        },
        ["a", "in tool a", "b", "ambient", "c", "in tool c", "d"],
        |[a, tool_a, b, ambient, c, tool_c, d]| {
            // Also that which was made in a span of somebody's: its root says so.
            apart(&[
                trace(&[&a, &tool_a, &b]),
                trace(&[&c, &tool_c, &d]),
                trace(&[&ambient]),
            ]);
            apart(&[
                parent(&[&a, &b]),
                parent(&[&tool_a]),
                parent(&[&c, &d]),
                parent(&[&tool_c]),
                parent(&[&ambient]),
            ]);
        },
    );
}

#[test]
fn two_agents_in_turns_on_one_thread_stay_apart() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let (to_b, from_a) = oneshot::channel();
        let (to_a, from_b) = oneshot::channel();
        let a = async {
            call("a1").await;
            to_b.send(()).unwrap();
            from_b.await.unwrap();
            call("a2").instrument(tool()).await;
            call("a3").await;
        };
        let b = async {
            call("b1").await;
            from_a.await.unwrap();
            call("b2").instrument(tool()).await;
            to_a.send(()).unwrap();
            call("b3").await;
        };
        tokio::join!(a.instrument(agent()), b.instrument(agent()));
    });
    let [a1, a2, a3, b1, b2, b3] = stage.calls(["a1", "a2", "a3", "b1", "b2", "b3"]);
    apart(&[trace(&[&a1, &a2, &a3]), trace(&[&b1, &b2, &b3])]);
    apart(&[
        parent(&[&a1, &a3]),
        parent(&[&a2]),
        parent(&[&b1, &b3]),
        parent(&[&b2]),
    ]);
}

#[test]
fn agents_at_once_in_one_request_share_its_trace_and_not_their_parents() {
    each(
        async || {
            let run = |first: &'static str, second: &'static str| {
                let calls = async move { tokio::join!(call(first), call(second)) };
                calls.instrument(agent())
            };
            let all = async {
                let spawned = tokio::spawn(run("a", "b"));
                tokio::join!(run("c", "d"), call("e"));
                spawned.await.unwrap();
            };
            all.instrument(request()).await;
        },
        ["a", "b", "c", "d", "e"],
        |[a, b, c, d, e]| {
            trace(&[&a, &b, &c, &d, &e]);
            apart(&[parent(&[&a, &b]), parent(&[&c, &d])]);
            without_parent(&[&e]);
        },
    );
}

#[test]
fn the_steps_of_langchain_are_parents() {
    macro_rules! langchain {
        ($name:literal $($fields:tt)*) => {
            info_span!(target: "langchain_rust::observability", $name $($fields)*)
        };
    }
    let generate = |name: &str| {
        drop(langchain!(
            "llm.generate",
            provider = "openai",
            model = name,
            prompt_tokens = 3_u64
        ));
    };
    each(
        async || {
            let chain = langchain!("chain.call", chain = "qa").entered();
            generate("chain 1");
            {
                let _agent = langchain!("agent.run", max_iterations = 3_u64).entered();
                generate("agent 1");
                langchain!("agent.plan", step = 1_u64).in_scope(|| generate("plan"));
                langchain!("tool.call", tool = "search").in_scope(|| generate("tool"));
                generate("agent 2");
            }
            generate("chain 2");
            drop(chain);
        },
        ["chain 1", "agent 1", "plan", "tool", "agent 2", "chain 2"],
        |[chain_1, agent_1, plan, tool, agent_2, chain_2]| {
            trace(&[&chain_1, &agent_1, &plan, &tool, &agent_2, &chain_2]);
            apart(&[
                parent(&[&chain_1, &chain_2]),
                parent(&[&agent_1, &agent_2]),
                parent(&[&plan]),
                parent(&[&tool]),
            ]);
        },
    );
}
