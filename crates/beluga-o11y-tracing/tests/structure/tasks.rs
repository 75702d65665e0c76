//! Calls in tasks.

use std::sync::Arc;

use tokio::{
    sync::Notify,
    task::{JoinSet, spawn_blocking},
};
use tracing::{Instrument, Span};

use crate::support::*;

#[test]
fn a_task_without_a_span_is_no_part_of_the_trace_that_spawned_it() {
    each(
        async || {
            let both = async {
                tokio::spawn(call("spawned")).await.unwrap();
                call("own").await;
            };
            both.instrument(agent()).await;
        },
        ["spawned", "own"],
        |[spawned, own]| {
            alone(&spawned);
            trace(&[&own]);
            parent(&[&own]);
        },
    );
}

#[test]
fn a_task_in_the_current_span_is_part_of_its_trace() {
    each(
        async || {
            let all = async {
                let a = tokio::spawn(call("a").in_current_span());
                let b = tokio::spawn(call("b").in_current_span());
                call("c").await;
                a.await.unwrap();
                b.await.unwrap();
            };
            all.instrument(agent()).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            parent(&[&a, &b, &c]);
        },
    );
}

#[test]
fn a_call_with_a_parent_of_its_own_is_below_it_wherever_it_runs() {
    each(
        async || {
            let (agent, other) = (agent(), agent());
            let (agent_id, other_id) = (agent.id(), other.id());
            let all = async {
                let spawned = tokio::spawn(async move {
                    answered(&open_in(agent_id, "a"));
                });
                spawned.await.unwrap();
                // The explicit parent wins over the current span.
                answered(&open_in(other_id, "b"));
                answered(&open("c"));
            };
            all.instrument(agent.clone()).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            apart(&[trace(&[&a, &c]), trace(&[&b])]);
            apart(&[parent(&[&a, &c]), parent(&[&b])]);
        },
    );
}

#[test]
fn the_tasks_of_a_join_set_are_where_their_spans_are() {
    each(
        async || {
            let all = async {
                let mut tasks = JoinSet::new();
                tasks.spawn(call("a").in_current_span());
                tasks.spawn(call("b").in_current_span());
                tasks.spawn(call("c").instrument(agent()));
                tasks.spawn(call("d"));
                tasks.join_all().await;
            };
            all.instrument(request()).await;
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| {
            assert_eq!(flat(&[&a, &b]), trace(&[&c]));
            parent(&[&c]);
            alone(&d);
        },
    );
}

#[test]
fn a_join_set_that_is_dropped_reports_each_open_call_once() {
    each(
        async || {
            let all = async {
                let waits = Arc::new(Notify::new());
                let mut tasks = JoinSet::new();
                for name in ["cancelled 1", "cancelled 2"] {
                    let waiting = Arc::clone(&waits);
                    let stuck = async move { stuck_call(name, &waiting).await };
                    tasks.spawn(stuck.in_current_span());
                    waits.notified().await;
                }
                tasks.shutdown().await;
            };
            all.instrument(agent()).await;
        },
        ["cancelled 1", "cancelled 2"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn an_aborted_task_reports_its_call_once_as_cancelled() {
    each(
        async || {
            let all = async {
                let waits = Arc::new(Notify::new());
                let waiting = Arc::clone(&waits);
                let stuck = async move { stuck_call("cancelled", &waiting).await };
                let task = tokio::spawn(stuck.in_current_span());
                waits.notified().await;
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                call("next").await;
            };
            all.instrument(agent()).await;
        },
        ["cancelled", "next"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn a_panic_in_a_call_is_its_error() {
    async fn panicking(name: &str) {
        let span = open(name);
        async { panic!("on purpose") }.instrument(span).await;
    }
    each(
        async || {
            let all = async {
                let task = tokio::spawn(panicking("panicked").in_current_span());
                assert!(task.await.unwrap_err().is_panic());
                call("next").await;
            };
            all.instrument(agent()).await;
        },
        ["panicked", "next"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn a_panic_after_the_answer_is_not_the_error_of_the_call() {
    each(
        async || {
            let task = tokio::spawn(async {
                let span = open("answered");
                answered(&span);
                panic!("on purpose");
            });
            assert!(task.await.unwrap_err().is_panic());
        },
        ["answered"],
        |[a]| alone(&a),
    );
}

#[test]
fn a_blocking_task_is_part_of_the_trace_if_it_enters_the_span() {
    each(
        async || {
            let all = async {
                let span = Span::current();
                let inside = spawn_blocking(move || span.in_scope(|| answered(&open("inside"))));
                let outside = spawn_blocking(|| answered(&open("outside")));
                inside.await.unwrap();
                outside.await.unwrap();
                call("own").await;
            };
            all.instrument(agent()).await;
        },
        ["inside", "outside", "own"],
        |[inside, outside, own]| {
            trace(&[&inside, &own]);
            parent(&[&inside, &own]);
            alone(&outside);
        },
    );
}

#[test]
fn a_task_that_outlives_its_parent_is_still_below_it() {
    each(
        async || {
            let go = Arc::new(Notify::new());
            let late = {
                let agent = agent();
                call("early").instrument(agent.clone()).await;
                let go = Arc::clone(&go);
                let span = open_in(agent.id(), "late");
                tokio::spawn(async move {
                    go.notified().await;
                    answered(&span);
                })
                // The agent's last handle goes here, while the call is open.
            };
            call("between").instrument(agent()).await;
            go.notify_one();
            late.await.unwrap();
        },
        ["early", "late", "between"],
        |[early, late, between]| {
            apart(&[trace(&[&early, &late]), trace(&[&between])]);
            apart(&[parent(&[&early, &late]), parent(&[&between])]);
        },
    );
}

#[test]
fn tasks_spawned_by_tasks_stay_in_the_trace() {
    each(
        async || {
            let inner = async {
                call("b").await;
                let deeper = tokio::spawn(call("c").in_current_span());
                deeper.await.unwrap();
            };
            let outer = async {
                call("a").await;
                tokio::spawn(inner.in_current_span()).await.unwrap();
            };
            outer.instrument(agent()).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            parent(&[&a, &b, &c]);
        },
    );
}
