//! What is said next to a call stays with that call.

use std::{future::pending, pin::pin};

use futures_util::poll;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};
use tracing::Instrument;

use beluga_o11y_tracing::CallScope;

use crate::support::*;

/// A scope that has said what it sends.
fn scope(prompt: &str) -> CallScope {
    let scope = CallScope::new();
    scope.messages(prompt);
    scope
}

/// What was sent, and what came back.
fn content(call: &Call) -> (Value, Value) {
    let value = |json: Option<&beluga_o11y::Json>| {
        json.map_or(Value::Null, |json| {
            serde_json::from_str(json.as_str()).unwrap()
        })
    };
    (value(call.messages.as_ref()), value(call.response.as_ref()))
}

/// A call in a scope of its own, which says `<name>?` and `<name>!`.
async fn scoped(name: &str) {
    let scope = scope(&format!("{name}?"));
    scope.run(call(name)).await;
    scope.response(format!("{name}!"));
}

#[track_caller]
fn said_its_own(calls: &[&Call]) {
    for call in calls {
        let name = &call.model;
        let own = (json!(format!("{name}?")), json!(format!("{name}!")));
        assert_eq!(content(call), own, "the content of {name}");
    }
}

#[track_caller]
fn said_nothing(calls: &[&Call]) {
    for call in calls {
        let nothing = (Value::Null, Value::Null);
        assert_eq!(content(call), nothing, "the content of {}", call.model);
    }
}

#[test]
fn scopes_that_are_joined_keep_their_own() {
    each(
        async || {
            let all = async {
                tokio::join!(scoped("a"), call("b"), scoped("c"));
            };
            all.instrument(agent()).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            parent(&[&a, &b, &c]);
            said_its_own(&[&a, &c]);
            said_nothing(&[&b]);
        },
    );
}

#[test]
fn a_scope_round_joined_calls_gives_each_of_them_once() {
    each(
        async || {
            let scope = scope("sent");
            scope
                .run(async { tokio::join!(call("a"), call("b")) })
                .await;
            scope.response("came");
        },
        ["a", "b"],
        |[a, b]| {
            let mut contents = [content(&a), content(&b)];
            contents.sort_by_key(|(sent, _)| sent.is_null());
            let first = (json!("sent"), Value::Null);
            assert_eq!(contents, [first, (Value::Null, json!("came"))]);
        },
    );
}

#[test]
fn a_clone_moved_into_a_task_is_the_same_scope() {
    for clone_ends_last in [true, false] {
        let stage = Stage::new();
        stage.on_threads(async {
            let scope = scope("a?");
            let (to_task, go) = oneshot::channel();
            let (to_us, done) = oneshot::channel();
            let moved = scope.clone();
            let task = tokio::spawn(async move {
                moved.run(call("a")).await;
                moved.response("a!");
                if clone_ends_last {
                    to_us.send(()).unwrap();
                    go.await.unwrap();
                    drop(moved);
                } else {
                    drop(moved);
                    to_us.send(()).unwrap();
                    go.await.unwrap();
                }
            });
            done.await.unwrap();
            // Either holds it back.
            assert_eq!(stage.reported(), 0);
            drop(scope);
            assert_eq!(stage.reported(), usize::from(!clone_ends_last));
            to_task.send(()).unwrap();
            task.await.unwrap();
        });
        let [a] = stage.calls(["a"]);
        alone(&a);
        said_its_own(&[&a]);
    }
}

#[test]
fn a_task_that_a_scope_spawns_is_not_in_it() {
    each(
        async || {
            let scope = scope("own?");
            let both = async {
                tokio::spawn(call("spawned")).await.unwrap();
                call("own").await;
            };
            scope.run(both).await;
            scope.response("own!");
        },
        ["spawned", "own"],
        |[spawned, own]| {
            said_nothing(&[&spawned]);
            said_its_own(&[&own]);
        },
    );
}

#[test]
fn a_scope_dropped_before_its_span_closes_has_said_its_part() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let agent = agent();
        let scope = scope("a?");
        let span = scope.in_scope(|| open_in(agent.id(), "a"));
        scope.partial("a");
        scope.partial("!");
        drop(scope);
        assert_eq!(stage.reported(), 0);
        answered(&span);
        drop(span);
        assert_eq!(stage.reported(), 1);
        scoped("b").instrument(agent).await;
    });
    let [a, b] = stage.calls(["a", "b"]);
    said_its_own(&[&a, &b]);
    trace(&[&a, &b]);
    parent(&[&a, &b]);
}

#[test]
fn scopes_in_turns_on_one_thread_keep_their_own() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let (to_b, from_a) = oneshot::channel();
        let (to_a, from_b) = oneshot::channel();
        let (to_both, go) = (Notify::new(), Notify::new());
        // Each opens its call only after the other has been in its scope.
        let a = async {
            let scope = scope("a?");
            let body = async {
                to_b.send(()).unwrap();
                from_b.await.unwrap();
                call("a").await;
                go.notify_one();
                to_both.notified().await;
            };
            scope.run(body).await;
            scope.response("a!");
        };
        let b = async {
            let scope = scope("b?");
            let body = async {
                from_a.await.unwrap();
                to_a.send(()).unwrap();
                go.notified().await;
                call("b").await;
                to_both.notify_one();
            };
            scope.run(body).await;
            scope.response("b!");
        };
        tokio::join!(a, b);
        call("after").await;
    });
    let [a, b, after] = stage.calls(["a", "b", "after"]);
    said_its_own(&[&a, &b]);
    said_nothing(&[&after]);
}

#[test]
fn the_inner_of_nested_scopes_has_the_call() {
    each(
        async || {
            let outer = scope("outer?");
            let both = async {
                scoped("inner").await;
                call("outer").await;
            };
            outer.run(both).await;
            outer.response("outer!");
        },
        ["inner", "outer"],
        |[inner, outer]| said_its_own(&[&inner, &outer]),
    );
}

#[test]
fn a_scope_round_a_run_of_three_calls_frames_it() {
    each(
        async || {
            let run = async {
                call("first").await;
                call("second").instrument(tool()).await;
                call("third").await;
            };
            let scope = scope("sent");
            scope.run(run.instrument(agent())).await;
            scope.response("came");
        },
        ["first", "second", "third"],
        |[first, second, third]| {
            trace(&[&first, &second, &third]);
            apart(&[parent(&[&first, &third]), parent(&[&second])]);
            assert_eq!(content(&first), (json!("sent"), Value::Null));
            said_nothing(&[&second]);
            assert_eq!(content(&third), (Value::Null, json!("came")));
        },
    );
}

#[test]
fn what_is_answered_between_two_calls_is_of_the_last() {
    each(
        async || {
            let scope = scope("sent");
            scope.run(call("first")).await;
            scope.response("came");
            scope.run(call("last")).await;
        },
        ["first", "last"],
        |[first, last]| {
            assert_eq!(content(&first), (json!("sent"), Value::Null));
            assert_eq!(content(&last), (Value::Null, json!("came")));
        },
    );
}

#[test]
fn a_scope_round_a_wrapper_has_one_call() {
    each(
        async || {
            let scope = scope("a?");
            let wrapped = async {
                let wrapper = open("wrapper");
                call("a").instrument(wrapper).await;
            };
            scope.run(wrapped).await;
            scope.response("a!");
        },
        ["a"],
        |[a]| said_its_own(&[&a]),
    );
}

#[test]
fn a_scope_without_a_call_reports_nothing() {
    each(
        async || {
            let scope = scope("nobody is asked");
            scope.run(async {}).await;
            scope.run(async {}.instrument(agent())).await;
            scope.response("and nobody answers");
            scope.fail("at all");
        },
        [],
        |[]| {},
    );
}

#[test]
fn a_scope_whose_future_is_dropped_half_way_reports_the_call_once() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let agent = agent();
        let waits = Notify::new();
        let cancelled = scope("cancelled?");
        {
            let stuck = stuck_call("cancelled", &waits).instrument(agent.clone());
            let mut stuck = pin!(cancelled.run(stuck));
            assert!(poll!(stuck.as_mut()).is_pending());
        }
        // The thread is out of it.
        call("next").await;
        assert_eq!(stage.reported(), 1);
        drop(cancelled);
        assert_eq!(stage.reported(), 2);
        scoped("last").instrument(agent).await;
    });
    let [cancelled, next, last] = stage.calls(["cancelled", "next", "last"]);
    trace(&[&cancelled, &last]);
    parent(&[&cancelled, &last]);
    let sent = (json!("cancelled?"), Value::Null);
    assert_eq!(content(&cancelled), sent);
    said_nothing(&[&next]);
    said_its_own(&[&last]);
}

#[test]
fn a_scope_dropped_with_its_future_reports_the_call_once() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let waits = Notify::new();
        let all = async {
            let scope = scope("cancelled?");
            scope.run(stuck_call("cancelled", &waits)).await;
        };
        tokio::select! {
            biased;
            () = all => {}
            () = waits.notified() => {}
        }
        assert_eq!(stage.reported(), 1);
        call("next").await;
    });
    let [cancelled, next] = stage.calls(["cancelled", "next"]);
    assert_eq!(content(&cancelled), (json!("cancelled?"), Value::Null));
    said_nothing(&[&next]);
}

#[test]
fn a_panic_in_a_scope_leaves_the_thread_out_of_it() {
    each(
        async || {
            let scope = scope("panicked?");
            let held = scope.clone();
            let panicking = async move {
                scope
                    .run(async {
                        let _span = open("panicked");
                        panic!("on purpose");
                    })
                    .await;
            };
            // On one thread, the tasks after it are polled where it was.
            assert!(tokio::spawn(panicking).await.unwrap_err().is_panic());
            tokio::spawn(call("next")).await.unwrap();
            call("own").await;
            drop(held);
        },
        ["panicked", "next", "own"],
        |[panicked, next, own]| {
            assert_eq!(content(&panicked), (json!("panicked?"), Value::Null));
            said_nothing(&[&next, &own]);
        },
    );
}

#[test]
fn of_a_call_dropped_half_way_only_a_whole_answer_is_one() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let waits = Notify::new();
        for (name, is_whole) in [("told", true), ("cancelled", false)] {
            let scope = CallScope::new();
            {
                let mut stuck = pin!(scope.run(stuck_call(name, &waits)));
                assert!(poll!(stuck.as_mut()).is_pending());
            }
            match is_whole {
                true => scope.response("an answer"),
                false => scope.partial("half an ans"),
            }
        }
    });
    let [told, cancelled] = stage.calls(["told", "cancelled"]);
    assert_eq!(content(&told), (Value::Null, json!("an answer")));
    assert_eq!(content(&cancelled), (Value::Null, json!("half an ans")));
}

#[test]
fn a_scope_that_outlives_a_stuck_future_holds_nothing_up() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let scope = scope("a?");
        let both = async {
            call("a").await;
            call("b").await;
            pending::<()>().await;
        };
        let mut stuck = pin!(scope.run(both));
        // Each call waits once.
        for _ in 0..4 {
            assert!(poll!(stuck.as_mut()).is_pending());
        }
        assert_eq!(stage.reported(), 1);
        // The first is out as soon as the second is there; others never wait.
        call("c").await;
        assert_eq!(stage.reported(), 2);
    });
    let [a, b, c] = stage.calls(["a", "b", "c"]);
    assert_eq!(content(&a), (json!("a?"), Value::Null));
    said_nothing(&[&b, &c]);
}
