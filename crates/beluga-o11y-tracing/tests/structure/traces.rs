//! Many requests, and spans that outlive them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::Barrier, task::JoinSet};
use tracing::{Instrument, Span, info_span};

use crate::support::*;

fn named(name: &str) -> Span {
    info_span!("request", beluga.trace.name = name)
}

#[test]
fn below_a_long_lived_span_each_named_request_is_a_trace() {
    each(
        async || {
            let server = async {
                let two = async {
                    call("a").await;
                    call("b").instrument(agent()).await;
                };
                two.instrument(named("first")).await;
                call("c").instrument(named("second")).await;
                call("d").await;
                call("e").await;
            };
            server.instrument(request()).await;
        },
        ["a", "b", "c", "d", "e"],
        |[a, b, c, d, e]| {
            apart(&[trace(&[&a, &b]), flat(&[&c]), flat(&[&d, &e])]);
            without_parent(&[&a]);
            parent(&[&b]);
            let names = [&a, &b, &c, &d].map(|call| call.name.as_deref());
            assert_eq!(names, [Some("first"), Some("first"), Some("second"), None]);
        },
    );
}

#[test]
fn the_nearest_named_span_is_the_trace() {
    each(
        async || {
            let inner = async {
                call("a").await;
                call("b").instrument(request()).await;
            };
            let outer = async {
                inner.instrument(named("inner")).await;
                call("c").await;
                call("d").instrument(request()).await;
            };
            outer.instrument(named("outer")).await;
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| apart(&[flat(&[&a, &b]), flat(&[&c, &d])]),
    );
}

#[test]
fn a_given_trace_holds_for_all_below_it() {
    const GIVEN: &str = "0af7651916cd43dd8448eb211c80319c";
    each(
        async || {
            let all = async {
                call("a").await;
                tokio::spawn(call("b").in_current_span()).await.unwrap();
                call("c").instrument(agent()).await;
            };
            let given = request().in_scope(|| info_span!("request", beluga.trace.id = GIVEN));
            all.instrument(given).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            assert_eq!(trace(&[&a, &b, &c]), GIVEN);
            without_parent(&[&a, &b]);
            parent(&[&c]);
        },
    );
}

#[test]
fn a_call_that_is_named_itself_is_not_in_the_trace_around_it() {
    each(
        async || {
            let all = async {
                call("a").await;
                let named = info_span!(
                    "chat",
                    gen_ai.operation.name = "chat",
                    gen_ai.request.model = "named",
                    gen_ai.response.id = "resp-1",
                    beluga.trace.name = "its own"
                );
                drop(named);
            };
            all.instrument(request()).await;
        },
        ["a", "named"],
        |[a, named]| {
            flat(&[&a]);
            alone(&named);
        },
    );
}

#[test]
fn the_nearest_session_wins() {
    each(
        async || {
            let inner = async {
                call("a").await;
                call("b").instrument(agent()).await;
            };
            let outer = async {
                let span = info_span!("request", beluga.session.id = "inner");
                inner.instrument(span).await;
                call("c").await;
            };
            let span = info_span!(
                "request",
                beluga.session.id = "outer",
                beluga.user.id = "user"
            );
            outer.instrument(span).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            trace(&[&a, &b, &c]);
            let sessions = [&a, &b, &c].map(|call| call.session_id.as_deref());
            assert_eq!(sessions, [Some("inner"), Some("inner"), Some("outer")]);
            let users = [&a, &b, &c].map(|call| call.user_id.as_deref());
            assert_eq!(users, [Some("user"); 3]);
        },
    );
}

/// Requests at once, each with three calls that run while those of the others do.
fn hundred_requests(around: impl FnOnce() -> Span) {
    const REQUESTS: usize = 100;
    let names: [String; REQUESTS * 3] =
        std::array::from_fn(|call| format!("{} of {}", call % 3, call / 3));
    let stage = Stage::new();
    stage.on_threads(async {
        let all = async {
            let barrier = Arc::new(Barrier::new(REQUESTS));
            let mut requests = JoinSet::new();
            for request in 0..REQUESTS {
                let barrier = Arc::clone(&barrier);
                let span = info_span!(
                    "request",
                    beluga.trace.name = "request",
                    beluga.session.id = format!("session {request}"),
                    beluga.user.id = format!("user {request}"),
                );
                let calls = async move {
                    let [first, second, third] = [0, 1, 2].map(|n| format!("{n} of {request}"));
                    barrier.wait().await;
                    call(&first).await;
                    barrier.wait().await;
                    let spawned = async move {
                        barrier.wait().await;
                        call(&second).await;
                    };
                    let spawned = tokio::spawn(spawned.in_current_span());
                    call(&third).instrument(agent()).await;
                    spawned.await.unwrap();
                };
                requests.spawn(calls.instrument(span));
            }
            requests.join_all().await;
        };
        all.instrument(around()).await;
    });
    let calls = stage.calls(names.each_ref().map(String::as_str));
    let mut traces = BTreeMap::<_, Vec<_>>::new();
    for (n, call) in calls.iter().enumerate() {
        let request = n / 3;
        let session = call.session_id.as_deref();
        assert_eq!(session, Some(format!("session {request}").as_str()));
        let user = call.user_id.as_deref();
        assert_eq!(user, Some(format!("user {request}").as_str()));
        let below_agent = n % 3 == 2;
        assert_eq!(call.parent_span_id.is_some(), below_agent);
        traces.entry(trace(&[call])).or_default().push(request);
    }
    assert_eq!(traces.len(), REQUESTS);
    for requests in traces.values() {
        let [a, b, c] = requests.as_slice() else {
            panic!("a trace of {requests:?}");
        };
        assert!(a == b && b == c, "a trace of {requests:?}");
    }
    let parents: Vec<_> = calls
        .iter()
        .filter_map(|call| call.parent_span_id.as_deref())
        .collect();
    apart(&parents);
}

#[test]
fn hundred_requests_at_once_stay_apart() {
    hundred_requests(Span::none);
}

#[test]
fn hundred_requests_at_once_below_one_span_stay_apart() {
    hundred_requests(request);
}
