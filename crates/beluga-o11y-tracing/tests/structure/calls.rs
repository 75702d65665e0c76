//! Calls that a program awaits, without tasks of its own.

use std::{pin::pin, time::Duration};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
};
use tracing::{Instrument, Span};

use crate::support::*;

#[test]
fn a_call_that_is_awaited_without_any_span_stands_alone() {
    each(
        async || {
            call("a").await;
            call("b").await;
        },
        ["a", "b"],
        |[a, b]| {
            alone(&a);
            alone(&b);
        },
    );
}

#[test]
fn a_user_span_that_nobody_enables_makes_no_trace() {
    // Not even if another registry of the process wants them all.
    let _other = Stage::new();
    let stage = Stage::bare();
    stage.on_one_thread(call("a").instrument(request()));
    stage.on_one_thread(call("b").instrument(agent().in_scope(request)));
    let [a, b] = stage.calls(["a", "b"]);
    alone(&a);
    // A span that does not exist is not entered either: the agent is not the parent of what is made in it.
    alone(&b);
}

#[test]
fn a_call_in_an_instrumented_future_is_in_the_trace_of_its_span() {
    each(
        async || {
            call("a").instrument(request()).await;
            call("b").instrument(request()).await;
            call("c").await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            apart(&[flat(&[&a]), flat(&[&b])]);
            alone(&c);
        },
    );
}

#[test]
fn calls_one_after_the_other_below_one_span_share_its_trace() {
    let three = async |names: [&str; 3]| {
        for name in names {
            call(name).await;
            yield_now().await;
        }
    };
    each(
        async || {
            three(["a", "b", "c"]).instrument(request()).await;
            three(["d", "e", "f"]).instrument(request()).await;
        },
        ["a", "b", "c", "d", "e", "f"],
        |[a, b, c, d, e, f]| apart(&[flat(&[&a, &b, &c]), flat(&[&d, &e, &f])]),
    );
}

#[test]
fn the_outermost_span_is_the_trace_however_deep_a_call_is() {
    each(
        async || {
            let deep = async { call("deep").instrument(request()).await };
            let outer = async {
                call("flat").await;
                deep.instrument(request()).await;
                call("inner").instrument(request()).await;
            };
            outer.instrument(request()).await;
        },
        ["flat", "deep", "inner"],
        |[a, b, c]| {
            flat(&[&a, &b, &c]);
        },
    );
}

#[test]
fn joined_calls_below_one_span_share_its_trace() {
    each(
        async || {
            let joined = async {
                tokio::join!(call("a"), call("b"), call("c"));
            };
            joined.instrument(request()).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            flat(&[&a, &b, &c]);
        },
    );
}

#[test]
fn joined_futures_below_spans_of_their_own_stay_apart() {
    each(
        async || {
            tokio::join!(
                call("a").instrument(request()),
                call("b").instrument(agent()),
                call("c"),
                call("d").instrument(agent()),
            );
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| {
            apart(&[flat(&[&a]), trace(&[&b]), trace(&[&d])]);
            apart(&[parent(&[&b]), parent(&[&d])]);
            alone(&c);
        },
    );
}

#[test]
fn join_all_keeps_calls_below_the_span() {
    each(
        async || {
            join_all([call("a"), call("b"), call("c")])
                .instrument(agent())
                .await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            parent(&[&a, &b, &c]);
        },
    );
}

#[test]
fn futures_unordered_keep_calls_below_their_spans() {
    each(
        async || {
            let (first, second) = (agent(), agent());
            let calls = FuturesUnordered::new();
            for (span, name) in [(&first, "a"), (&second, "b"), (&first, "c"), (&second, "d")] {
                calls.push(call(name).instrument(span.clone()));
            }
            calls.collect::<()>().await;
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| {
            apart(&[trace(&[&a, &c]), trace(&[&b, &d])]);
            apart(&[parent(&[&a, &c]), parent(&[&b, &d])]);
        },
    );
}

#[test]
fn the_loser_of_a_select_is_reported_once_as_cancelled() {
    each(
        async || {
            let race = async {
                let waits = Notify::new();
                tokio::select! {
                    biased;
                    () = stuck_call("cancelled", &waits) => {}
                    () = async { waits.notified().await; call("winner").await } => {}
                }
                call("after").await;
            };
            race.instrument(agent()).await;
        },
        ["cancelled", "winner", "after"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            parent(&[&a, &b, &c]);
        },
    );
}

#[test]
fn a_call_that_times_out_is_reported_once_as_cancelled() {
    each(
        async || {
            let both = async {
                let waits = Notify::new();
                let stuck = stuck_call("cancelled", &waits);
                let timed_out = tokio::time::timeout(Duration::ZERO, stuck).await;
                assert!(timed_out.is_err());
                call("again").await;
            };
            both.instrument(agent()).await;
        },
        ["cancelled", "again"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn a_future_that_is_dropped_before_it_was_polled_leaves_nothing() {
    each(
        async || {
            drop(call("never made"));
            drop(call("nor this").instrument(request()));
        },
        [],
        |[]| {},
    );
}

#[test]
fn a_call_in_a_call_is_reported_once() {
    let wrapped = async |name: &str| {
        let wrapper = open("wrapper");
        async {
            call(name).await;
            answered(&Span::current());
        }
        .instrument(wrapper)
        .await;
    };
    each(
        async || {
            wrapped("alone").await;
            let in_agent = async {
                wrapped("a").await;
                call("b").await;
            };
            in_agent.instrument(agent()).await;
        },
        ["alone", "a", "b"],
        |[only, a, b]| {
            // The wrapper is a span around it, so there is a trace.
            flat(&[&only]);
            apart(&[trace(&[&only]), trace(&[&a, &b])]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn three_retries_in_a_wrapper_are_three_calls() {
    each(
        async || {
            let tries = async {
                drop(open("cancelled 1"));
                drop(open("cancelled 2"));
                call("third").await;
                answered(&Span::current());
            };
            let agent = agent();
            let wrapper = agent.in_scope(|| open("wrapper"));
            tries.instrument(wrapper).await;
            call("next").instrument(agent).await;
        },
        ["cancelled 1", "cancelled 2", "third", "next"],
        |[a, b, c, d]| {
            trace(&[&a, &b, &c, &d]);
            parent(&[&a, &b, &c, &d]);
        },
    );
}

#[test]
fn a_wrapper_of_a_wrapper_is_reported_once() {
    each(
        async || {
            let outer = open("outer");
            let inner = outer.in_scope(|| open("inner"));
            call("a").instrument(inner).instrument(outer).await;
        },
        ["a"],
        |[a]| {
            flat(&[&a]);
        },
    );
}

#[test]
fn a_call_that_makes_a_call_of_another_kind_is_no_wrapper() {
    let embed = || {
        tracing::info_span!(
            "embeddings",
            gen_ai.operation.name = "embeddings",
            gen_ai.request.model = "embeddings",
            gen_ai.usage.input_tokens = 3_u64
        )
    };
    each(
        async || {
            let agent = agent();
            let chat = open_in(agent.id(), "chat");
            chat.in_scope(|| drop(embed()));
            answered(&chat);
        },
        ["chat", "embeddings"],
        |[chat, embeddings]| {
            trace(&[&chat, &embeddings]);
            parent(&[&chat, &embeddings]);
        },
    );
}

#[test]
fn a_tool_that_asks_a_model_while_a_call_is_open_makes_both_calls() {
    each(
        async || {
            let agent = agent();
            let outer = open_in(agent.id(), "outer");
            let tool = outer.in_scope(tool);
            call("inner").instrument(tool).await;
            answered(&outer);
        },
        ["outer", "inner"],
        |[outer, inner]| {
            trace(&[&outer, &inner]);
            apart(&[parent(&[&outer]), parent(&[&inner])]);
        },
    );
}

#[test]
fn a_call_is_in_the_trace_of_those_that_are_made_in_it() {
    each(
        async || {
            let outer = open("outer");
            let tool = outer.in_scope(tool);
            call("inner 1").instrument(tool.clone()).await;
            call("inner 2").instrument(tool).await;
            answered(&outer);
            drop(outer);
            call("next").await;
        },
        ["outer", "inner 1", "inner 2", "next"],
        |[outer, inner_1, inner_2, next]| {
            trace(&[&outer, &inner_1, &inner_2]);
            without_parent(&[&outer]);
            parent(&[&inner_1, &inner_2]);
            alone(&next);
        },
    );
}

#[test]
fn a_call_that_is_never_entered_is_reported() {
    each(
        async || {
            let request = agent();
            let span = open_in(request.id(), "a");
            answered(&span);
            drop(span);
            answered(&open_in(None, "b"));
        },
        ["a", "b"],
        |[a, b]| {
            trace(&[&a]);
            parent(&[&a]);
            alone(&b);
        },
    );
}

#[test]
fn two_requests_in_turns_on_one_thread_stay_apart() {
    // Guards live between two awaits only.
    let stage = Stage::new();
    stage.on_one_thread(async {
        let (to_b, from_a) = oneshot::channel();
        let (to_a, from_b) = oneshot::channel();
        let a = async {
            let request = agent();
            let first = {
                let _entered = request.enter();
                open("a1")
            };
            to_b.send(()).unwrap();
            from_b.await.unwrap();
            let second = {
                let _entered = request.enter();
                open("a2")
            };
            answered(&first);
            answered(&second);
        };
        let b = async {
            from_a.await.unwrap();
            let request = agent();
            let first = {
                let _entered = request.enter();
                open("b1")
            };
            to_a.send(()).unwrap();
            yield_now().await;
            answered(&first);
            request.in_scope(|| answered(&open("b2")));
        };
        tokio::join!(a, b);
    });
    let [a1, a2, b1, b2] = stage.calls(["a1", "a2", "b1", "b2"]);
    apart(&[trace(&[&a1, &a2]), trace(&[&b1, &b2])]);
    apart(&[parent(&[&a1, &a2]), parent(&[&b1, &b2])]);
}

#[test]
fn a_guard_held_across_an_await_mixes_requests_up_but_loses_nothing() {
    // The mistake that tracing warns of: B begins while the guard of A still holds the thread.
    let stage = Stage::new();
    stage.on_one_thread(async {
        let (to_b, from_a) = oneshot::channel();
        let (to_a, from_b) = oneshot::channel();
        let (to_b_again, from_a_again) = oneshot::channel();
        let a = async {
            let request = agent();
            let _entered = request.enter();
            answered(&open("a1"));
            to_b.send(()).unwrap();
            from_b.await.unwrap();
            answered(&open("a2"));
            to_b_again.send(()).unwrap();
        };
        let b = async {
            from_a.await.unwrap();
            let request = agent();
            let _entered = request.enter();
            answered(&open("b1"));
            to_a.send(()).unwrap();
            from_a_again.await.unwrap();
            answered(&open("b2"));
        };
        tokio::join!(a, b);
        answered(&open("after"));
    });
    let [a1, a2, b1, b2, after] = stage.calls(["a1", "a2", "b1", "b2", "after"]);
    // All stand in the trace of A, and A's second call below B.
    trace(&[&a1, &a2, &b1, &b2]);
    apart(&[parent(&[&a1]), parent(&[&b1])]);
    parent(&[&b1, &a2, &b2]);
    alone(&after);
}

#[test]
fn a_future_that_is_dropped_half_way_closes_its_call() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let agent = agent();
        let waits = Notify::new();
        {
            let mut stuck = pin!(stuck_call("cancelled", &waits).instrument(agent.clone()));
            assert!(futures_util::poll!(stuck.as_mut()).is_pending());
            assert_eq!(stage.reported(), 0);
        }
        assert_eq!(stage.reported(), 1);
        call("next").instrument(agent).await;
    });
    let [a, b] = stage.calls(["cancelled", "next"]);
    trace(&[&a, &b]);
    parent(&[&a, &b]);
}
