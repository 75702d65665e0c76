//! Calls on threads that no runtime knows.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use tracing::{Instrument, Span};

use crate::support::*;

#[test]
fn a_thread_with_a_span_moved_into_it_is_part_of_its_trace() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let all = async {
            let span = Span::current();
            stage.on_a_thread(move || span.in_scope(|| answered(&open("moved"))));
            stage.on_a_thread(|| answered(&open("apart")));
            call("own").await;
        };
        all.instrument(agent()).await;
    });
    let [moved, outside, own] = stage.calls(["moved", "apart", "own"]);
    trace(&[&moved, &own]);
    parent(&[&moved, &own]);
    alone(&outside);
}

#[test]
fn a_thread_without_the_subscriber_still_closes_a_span_into_it() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let agent = agent();
        let span = agent.in_scope(|| open("a"));
        thread::scope(|scope| {
            scope.spawn(move || {
                answered(&span);
                drop(span);
            });
        });
        assert_eq!(stage.reported(), 1);
        call("b").instrument(agent).await;
    });
    let [a, b] = stage.calls(["a", "b"]);
    trace(&[&a, &b]);
    parent(&[&a, &b]);
}

#[test]
fn a_span_closed_on_another_thread_than_it_was_opened_on_keeps_its_place() {
    let stage = Stage::new();
    let (agent, span) = stage.on_a_thread(|| {
        let agent = agent();
        let span = agent.in_scope(|| open("moved"));
        (agent, span)
    });
    stage.on_a_thread(|| {
        // The spans that the closing thread is in have no part in it.
        let _entered = request().entered();
        answered(&span);
        drop(span);
    });
    stage.on_a_thread(|| agent.in_scope(|| answered(&open("own"))));
    let [moved, own] = stage.calls(["moved", "own"]);
    trace(&[&moved, &own]);
    parent(&[&moved, &own]);
}

#[test]
fn the_last_of_several_handles_closes_a_span_once() {
    let stage = Stage::new();
    stage.on_a_thread(|| {
        let span = agent().in_scope(|| open("shared"));
        answered(&span);
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (span, barrier) = (span.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    drop(span);
                });
            }
            drop(span);
        });
    });
    let [call] = stage.calls(["shared"]);
    trace(&[&call]);
    parent(&[&call]);
}

#[test]
fn a_panic_on_a_thread_is_the_error_of_its_call_only() {
    let stage = Stage::new();
    stage.on_a_thread(|| {
        let agent = agent();
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                tracing::dispatcher::with_default(&stage.dispatch, || {
                    let _call = agent.in_scope(|| open("panicked"));
                    panic!("on purpose");
                });
            });
            assert!(panicking.join().is_err());
        });
        agent.in_scope(|| answered(&open("next")));
    });
    let [a, b] = stage.calls(["panicked", "next"]);
    trace(&[&a, &b]);
    parent(&[&a, &b]);
}

#[test]
fn calls_that_close_at_once_agree_on_the_span_around_them() {
    // The ids of a span are made by whichever call closes first.
    const ROUNDS: usize = 500;
    let names: [String; 2 * ROUNDS] = std::array::from_fn(|call| call.to_string());
    let stage = Stage::new();
    let mut spans = [Vec::new(), Vec::new()];
    stage.on_a_thread(|| {
        for pair in names.chunks(2) {
            let agent = agent();
            for (spans, name) in spans.iter_mut().zip(pair) {
                let span = agent.in_scope(|| open(name));
                answered(&span);
                spans.push(span);
            }
        }
    });
    let arrived = AtomicUsize::new(0);
    thread::scope(|scope| {
        for spans in spans {
            let arrived = &arrived;
            scope.spawn(move || {
                for (round, span) in spans.into_iter().enumerate() {
                    arrived.fetch_add(1, SeqCst);
                    // A barrier would wake the threads one after the other.
                    while arrived.load(SeqCst) < 2 * (round + 1) {
                        thread::yield_now();
                    }
                    drop(span);
                }
            });
        }
    });
    let calls = stage.calls(names.each_ref().map(String::as_str));
    for pair in calls.chunks(2) {
        let pair: Vec<_> = pair.iter().collect();
        trace(&pair);
        parent(&pair);
    }
}
