//! Calls whose answer comes in pieces: the span lives in the stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use crate::support::*;

/// An answer of so many pieces, with a pause before each, as a library streams it.
struct Answer {
    span: Span,
    left: usize,
    paused: bool,
}

/// Asked for in the current span, as libraries do, whoever reads it.
fn stream(name: &str) -> Answer {
    Answer {
        span: open(name),
        left: 3,
        paused: false,
    }
}

impl Stream for Answer {
    type Item = usize;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<usize>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        this.paused = !this.paused;
        if this.paused {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(left) = this.left.checked_sub(1) else {
            answered(&this.span);
            return Poll::Ready(None);
        };
        this.left = left;
        Poll::Ready(Some(left))
    }
}

#[test]
fn a_stream_read_to_its_end_is_reported_when_it_is_dropped() {
    let stage = Stage::new();
    stage.on_one_thread(async {
        let agent = agent();
        let mut answer = agent.in_scope(|| stream("a"));
        while answer.next().await.is_some() {
            call("meanwhile").await;
        }
        // One for each piece, and not yet that of the stream.
        assert_eq!(stage.reported(), 3);
        drop(answer);
        call("b").instrument(agent).await;
    });
    let [a, b, ..] = stage.calls(["a", "b", "meanwhile", "meanwhile", "meanwhile"]);
    trace(&[&a, &b]);
    parent(&[&a, &b]);
}

#[test]
fn what_is_done_between_the_pieces_is_not_in_the_stream() {
    each(
        async || {
            let mut answer = stream("a");
            while answer.next().await.is_some() {}
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
fn a_stream_dropped_early_is_reported_once_as_cancelled() {
    each(
        async || {
            let all = async {
                let mut answer = stream("cancelled");
                assert_eq!(answer.next().await, Some(2));
                drop(answer);
                drop(stream("cancelled unread"));
                call("b").await;
            };
            all.instrument(agent()).await;
        },
        ["cancelled", "cancelled unread", "b"],
        |[a, unread, b]| {
            trace(&[&a, &unread, &b]);
            parent(&[&a, &unread, &b]);
        },
    );
}

#[test]
fn a_stream_handed_to_a_task_stays_where_it_was_asked_for() {
    each(
        async || {
            let agent = agent();
            let mut answer = agent.in_scope(|| stream("a"));
            let elsewhere = async move { while answer.next().await.is_some() {} };
            let other = crate::support::agent();
            tokio::spawn(elsewhere.instrument(other.clone()))
                .await
                .unwrap();
            call("b").instrument(agent).await;
            call("c").instrument(other).await;
        },
        ["a", "b", "c"],
        |[a, b, c]| {
            apart(&[trace(&[&a, &b]), trace(&[&c])]);
            apart(&[parent(&[&a, &b]), parent(&[&c])]);
        },
    );
}

#[test]
fn a_stream_polled_by_one_task_after_the_other_is_one_call() {
    each(
        async || {
            let agent = agent();
            let mut answer = agent.in_scope(|| stream("a"));
            let mut pieces = 0;
            loop {
                let (returned, piece) = tokio::spawn(async move {
                    let piece = answer.next().await;
                    (answer, piece)
                })
                .await
                .unwrap();
                answer = returned;
                if piece.is_none() {
                    break;
                }
                pieces += 1;
            }
            assert_eq!(pieces, 3);
            drop(answer);
            call("b").instrument(agent).await;
        },
        ["a", "b"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn two_streams_read_in_turns_stay_apart() {
    each(
        async || {
            let (first, second) = (agent(), agent());
            let a = first.in_scope(|| stream("a"));
            let b = second.in_scope(|| stream("b"));
            let pieces: Vec<_> = a.zip(b).collect().await;
            assert_eq!(pieces, [(2, 2), (1, 1), (0, 0)]);
            call("c").instrument(first).await;
            call("d").instrument(second).await;
        },
        ["a", "b", "c", "d"],
        |[a, b, c, d]| {
            apart(&[trace(&[&a, &c]), trace(&[&b, &d])]);
            apart(&[parent(&[&a, &c]), parent(&[&b, &d])]);
        },
    );
}

#[test]
fn a_call_made_while_a_stream_is_open_is_not_in_it() {
    each(
        async || {
            let all = async {
                let mut answer = stream("a");
                answer.next().await;
                call("b").await;
                while answer.next().await.is_some() {}
            };
            all.instrument(agent()).await;
        },
        ["a", "b"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}

#[test]
fn the_pieces_may_pass_through_a_channel() {
    each(
        async || {
            let all = async {
                let (to, mut from) = mpsc::channel(1);
                let mut answer = stream("a");
                let reader = async move {
                    while let Some(piece) = answer.next().await {
                        to.send(piece).await.unwrap();
                    }
                };
                let reader = tokio::spawn(reader);
                let mut pieces = 0;
                while from.recv().await.is_some() {
                    pieces += 1;
                }
                assert_eq!(pieces, 3);
                reader.await.unwrap();
                call("b").await;
            };
            all.instrument(agent()).await;
        },
        ["a", "b"],
        |[a, b]| {
            trace(&[&a, &b]);
            parent(&[&a, &b]);
        },
    );
}
