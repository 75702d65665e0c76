use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    trouble::{DOWN_AFTER, DOWN_PROBE, REFUSED_PROBE},
    *,
};

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules {
        max_batch_size: 10,
        max_batch_bytes: 1_000,
        max_batch_delay: SECOND,
        max_in_flight: 4,
        max_memory_bytes: 100_000,
        max_retry_time: None,
    }
}

/// A machine, its clock, and what became of the calls, which are numbers.
struct Run {
    machine: Machine<u32>,
    now: Instant,
    delivered: Vec<u32>,
    rejected: Vec<u32>,
    expired: Vec<u32>,
}

impl Run {
    fn new(rules: Rules) -> Self {
        Self {
            machine: Machine::new(rules),
            now: Instant::now(),
            delivered: Vec::new(),
            rejected: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// One that holds these calls of 10 bytes.
    fn with(rules: Rules, calls: std::ops::Range<u32>) -> Self {
        let mut run = Self::new(rules);
        for call in calls {
            run.push(call, 10);
        }
        run
    }

    fn push(&mut self, call: u32, bytes: usize) -> bool {
        self.machine.push(call, bytes, self.now)
    }

    fn next(&mut self) -> Next<u32> {
        self.machine.next(self.now)
    }

    fn send(&mut self) -> Batch<u32> {
        match self.next() {
            Next::Send(batch) => batch,
            Next::Wait(until) => panic!("waits until {:?}", until.map(|t| t - self.now)),
        }
    }

    /// How long it wants to wait.
    fn wait(&mut self) -> Option<Duration> {
        match self.next() {
            Next::Wait(until) => until.map(|until| until - self.now),
            Next::Send(batch) => panic!("sends {} calls", batch.items.len()),
        }
    }

    /// Lets the time pass that it wants to wait.
    fn pass(&mut self) -> Duration {
        let wait = self.wait().expect("it waits for something");
        self.now += wait;
        wait
    }

    /// Lets time pass until it sends.
    fn send_later(&mut self) -> Batch<u32> {
        loop {
            match self.next() {
                Next::Send(batch) => return batch,
                Next::Wait(until) => self.now = until.expect("it waits for something"),
            }
        }
    }

    fn finish(&mut self, batch: Batch<u32>, result: Result<BatchReport, ExportError>) -> bool {
        let finished = self.machine.finish(batch, result, self.now);
        self.delivered
            .extend(finished.delivered.iter().map(|item| item.value));
        for (item, lost) in finished.lost {
            match lost {
                Lost::Expired(_) => self.expired.push(item.value),
                Lost::Rejected(_) | Lost::TooLarge(_) => self.rejected.push(item.value),
            }
            self.machine.release(&item);
        }
        finished.trouble.is_some()
    }

    fn deliver(&mut self, batch: Batch<u32>) {
        self.finish(batch, Ok(BatchReport::default()));
    }

    /// Sends once and fails so. Returns whether that is told.
    fn fail(&mut self, error: ExportError) -> bool {
        let batch = self.send();
        self.finish(batch, Err(error))
    }
}

fn busy() -> ExportError {
    ExportError::temporary("test", "busy").with_status(503)
}

fn unanswered() -> ExportError {
    ExportError::temporary("test", "no answer")
}

fn ordered(wait: Duration) -> ExportError {
    ExportError::temporary("test", "rate limited")
        .with_status(429)
        .with_retry_after(wait)
}

fn refused() -> ExportError {
    ExportError::destination("test", "wrong key").with_status(401)
}

fn rejected() -> ExportError {
    ExportError::rejected("test", "bad").with_status(400)
}

fn values(batch: &Batch<u32>) -> Vec<u32> {
    batch.items.iter().map(|item| item.value).collect()
}

#[test]
fn a_batch_goes_by_count_by_bytes_and_by_time() {
    let mut run = Run::with(rules(), 0..10);
    assert_eq!(values(&run.send()), (0..10).collect::<Vec<_>>());

    let mut run = Run::with(rules(), 0..9);
    assert_eq!(run.pass(), SECOND);
    assert_eq!(values(&run.send()).len(), 9);

    let mut run = Run::new(rules());
    for call in 0..5 {
        run.push(call, 300);
    }
    assert_eq!(values(&run.send()), [0, 1, 2]);
    assert_eq!(run.pass(), SECOND);
    assert_eq!(values(&run.send()), [3, 4]);
}

#[test]
fn a_large_call_goes_alone_and_a_batch_fits_into_a_small_memory() {
    let mut run = Run::new(rules());
    for (call, bytes) in [(0, 10), (1, 5_000), (2, 10)] {
        run.push(call, bytes);
    }
    assert_eq!(values(&run.send()), [0]);
    assert_eq!(values(&run.send()), [1]);

    let small = Rules {
        max_memory_bytes: 1_800,
        ..rules()
    };
    // A third of it is for requests, which are three times as large as what they are made of.
    assert_eq!((small.reserve(), small.batch_bytes()), (600, 200));
    assert_eq!(small.max_item_bytes(), 1_200);
    let mut run = Run::with(
        Rules {
            max_batch_size: 100,
            ..small
        },
        0..50,
    );
    assert_eq!(run.send().items.len(), 20);
}

#[test]
fn memory_is_bounded_with_what_is_on_its_way() {
    let mut run = Run::new(Rules {
        max_memory_bytes: 9_000,
        max_batch_bytes: 1_000,
        ..rules()
    });
    let mut calls = 0;
    while run.machine.has_room(500) {
        run.push(calls, 500);
        calls += 1;
    }
    // 3 000 are kept free for a batch of 1 000.
    assert_eq!(calls, 12);
    let first = run.send();
    assert_eq!(first.items.len(), 2);
    // Nothing is free for the body of a second batch.
    assert_eq!(run.wait(), None);
    assert!(!run.machine.has_room(500));
    run.deliver(first);
    assert!(run.machine.has_room(1_000) && !run.machine.has_room(1_500));
    assert_eq!(run.machine.pending_bytes(), 5_000);
}

#[test]
fn so_many_batches_are_on_their_way_and_no_more() {
    let mut run = Run::with(rules(), 0..100);
    let batches: Vec<_> = (0..4).map(|_| run.send()).collect();
    assert_eq!(run.wait(), None);
    assert_eq!(run.machine.pending(), 100);
    for batch in batches {
        run.deliver(batch);
    }
    assert_eq!((run.machine.pending(), run.delivered.len()), (60, 40));
}

#[test]
fn a_single_failure_among_successes_costs_a_fraction_of_a_second() {
    let mut run = Run::with(rules(), 0..20);
    assert!(!run.fail(busy()));
    let wait = run.pass();
    assert!(
        (Duration::from_millis(100)..=Duration::from_millis(200)).contains(&wait),
        "{wait:?}"
    );
    let batch = run.send();
    // Until one is taken, one at a time asks.
    assert_eq!(run.wait(), None);
    run.deliver(batch);
    while run.delivered.len() < 20 {
        match run.next() {
            Next::Send(batch) => run.deliver(batch),
            Next::Wait(_) => drop(run.pass()),
        }
    }
}

#[test]
fn batches_that_fail_together_are_one_failure() {
    let mut run = Run::with(rules(), 0..40);
    let batches: Vec<_> = (0..4).map(|_| run.send()).collect();
    run.now += Duration::from_millis(20);
    for batch in batches {
        run.finish(batch, Err(busy()));
    }
    let wait = run.wait().unwrap();
    assert!(wait <= Duration::from_millis(200), "{wait:?}");
}

#[test]
fn a_backend_that_is_down_is_asked_every_ten_seconds() {
    let mut run = Run::with(rules(), 0..100);
    let start = run.now;
    let (mut tries, mut told) = (0, 0);
    while run.now - start < DOWN_AFTER {
        told += u32::from(run.fail(busy()));
        tries += 1;
        run.pass();
    }
    assert_eq!(told, 0);
    assert!((4..=8).contains(&tries), "{tries}");
    for _ in 0..20 {
        told += u32::from(run.fail(busy()));
        assert_eq!(run.pass(), DOWN_PROBE);
    }
    assert_eq!(told, 1);
    assert_eq!(run.machine.pending(), 100);

    let batch = run.send();
    let finished = run
        .machine
        .finish(batch, Ok(BatchReport::default()), run.now);
    assert!(finished.recovered);
    run.send();
    run.send();
}

#[test]
fn an_idle_hour_does_not_make_a_single_failure_an_outage() {
    let mut run = Run::with(rules(), 0..10);
    let batch = run.send();
    run.deliver(batch);
    run.now += Duration::from_secs(3600);
    for call in 0..10 {
        run.push(call, 10);
    }
    assert!(!run.fail(busy()));
    assert!(run.wait().unwrap() < SECOND);
}

#[test]
fn a_wait_that_the_backend_names_is_obeyed_and_ends_no_patience() {
    let mut run = Run::with(rules(), 0..20);
    for _ in 0..50 {
        assert!(!run.fail(ordered(SECOND * 7)));
        run.machine.flush(run.now);
        assert_eq!(run.pass(), SECOND * 7);
    }
    // No attempt was counted: what follows is as after the first failure.
    run.machine.trouble = None;
    run.fail(busy());
    assert!(run.wait().unwrap() <= Duration::from_millis(200));
}

#[test]
fn what_was_on_its_way_does_not_shorten_a_named_wait() {
    let mut run = Run::with(rules(), 0..30);
    let (a, b) = (run.send(), run.send());
    run.finish(a, Err(ordered(SECOND * 5)));
    run.deliver(b);
    assert_eq!(run.pass(), SECOND * 5);
    run.send();
}

#[test]
fn senseless_waits_are_bounded() {
    let mut run = Run::with(rules(), 0..10);
    run.fail(ordered(Duration::ZERO));
    assert_eq!(run.pass(), Duration::from_millis(100));
    run.fail(ordered(Duration::MAX));
    assert_eq!(run.pass(), SECOND * 24 * 3600);
}

#[test]
fn a_refusing_destination_is_asked_every_minute_and_nothing_is_divided() {
    let mut run = Run::with(rules(), 0..10);
    assert!(run.fail(refused()));
    for _ in 0..10 {
        assert_eq!(run.pass(), REFUSED_PROBE);
        let batch = run.send();
        assert_eq!(batch.items.len(), 10);
        assert!(!run.finish(batch, Err(refused())), "told once");
    }
    assert!(run.rejected.is_empty());
    run.machine.flush(run.now);
    let batch = run.send();
    run.deliver(batch);
    assert_eq!(run.delivered.len(), 10);
}

#[test]
fn a_flush_sends_what_there_is_and_makes_one_immediate_try() {
    let mut run = Run::with(rules(), 0..3);
    let epoch = run.machine.flush(run.now);
    run.push(3, 10);
    let batch = run.send();
    // What came later goes along, but nobody waits for it.
    assert_eq!(values(&batch), [0, 1, 2, 3]);
    assert!(!run.machine.is_settled(epoch));
    run.finish(batch, Err(busy()));
    run.machine.flush(run.now);
    run.fail(busy());
    run.wait().expect("only one try");
    let batch = run.send_later();
    run.deliver(batch);
    assert!(run.machine.is_settled(epoch));
}

#[test]
fn flushes_wait_for_what_was_there_before_them() {
    let mut run = Run::new(rules());
    let nothing = run.machine.flush(run.now);
    assert!(run.machine.is_settled(nothing));
    run.push(0, 10);
    assert!(run.machine.is_settled(nothing));
    let first = run.machine.flush(run.now);
    let again = run.machine.flush(run.now);
    assert!(!run.machine.is_settled(again));
    let batch = run.send();
    run.push(1, 10);
    let second = run.machine.flush(run.now);
    run.deliver(batch);
    assert!(run.machine.is_settled(first) && run.machine.is_settled(again));
    assert_eq!(run.machine.pending_until(second), 1);
    let batch = run.send();
    run.deliver(batch);
    assert!(run.machine.is_settled(second));
}

#[test]
fn one_bad_call_in_512_is_found_in_20_exports() {
    for bad in [0, 1, 255, 256, 400, 511] {
        let rules = Rules {
            max_batch_size: 512,
            max_batch_bytes: 1_000_000,
            max_memory_bytes: 100_000_000,
            ..rules()
        };
        let mut run = Run::with(rules, 0..512);
        let mut exports = 0;
        while run.machine.pending() > 0 {
            let batch = run.send();
            exports += 1;
            let result = if values(&batch).contains(&bad) {
                Err(rejected())
            } else {
                Ok(BatchReport::default())
            };
            run.finish(batch, result);
        }
        assert_eq!((run.delivered.len(), &run.rejected), (511, &vec![bad]));
        assert!(exports <= 20, "{exports}");
    }
}

#[test]
fn a_report_is_taken_by_its_word() {
    let mut run = Run::with(rules(), 0..10);
    let batch = run.send();
    let mut report = BatchReport::default();
    report.push(7, busy());
    report.push(2, rejected());
    report.push(2, busy());
    report.push(4, ExportError::too_large("test", "too large"));
    report.push(99, rejected());
    run.finish(batch, Ok(report));
    assert_eq!(run.delivered, [0, 1, 3, 5, 6, 8, 9]);
    assert_eq!(run.rejected, [2, 4]);
    assert_eq!(values(&run.send_later()), [7]);
}

#[test]
fn a_shortened_call_goes_once_more_alone() {
    let mut run = Run::new(rules());
    run.push(0, 5_000);
    let batch = run.send();
    let error = ExportError::too_large("test", "too large");
    let mut finished = run.machine.finish(batch, Err(error), run.now);
    let (item, lost) = finished.lost.remove(0);
    assert!(matches!(lost, Lost::TooLarge(_)));
    assert_eq!(run.machine.pending(), 1);
    run.machine.again(item, 70, run.now);
    assert_eq!(
        (run.machine.pending(), run.machine.pending_bytes()),
        (1, 70)
    );
    let batch = run.send();
    run.deliver(batch);
    assert_eq!((run.machine.pending(), run.machine.pending_bytes()), (0, 0));
}

#[test]
fn a_call_that_the_backend_chokes_on_holds_up_no_other() {
    let mut run = Run::with(rules(), 0..40);
    let start = run.now;
    while run.delivered.len() < 39 {
        match run.next() {
            Next::Send(batch) => {
                let result = if values(&batch).contains(&13) {
                    Err(busy())
                } else {
                    Ok(BatchReport::default())
                };
                run.finish(batch, result);
            }
            Next::Wait(_) => drop(run.pass()),
        }
        assert!(run.now - start < SECOND * 60, "{}", run.delivered.len());
    }
    assert_eq!((run.machine.pending(), run.rejected.len()), (1, 0));
}

#[test]
fn a_batch_too_large_for_a_slow_line_becomes_smaller() {
    let mut run = Run::with(rules(), 0..40);
    let start = run.now;
    while run.machine.pending() > 0 {
        match run.next() {
            Next::Send(batch) if batch.items.len() > 3 => {
                run.now += SECOND * 10;
                run.finish(batch, Err(unanswered()));
            }
            Next::Send(batch) => run.deliver(batch),
            Next::Wait(_) => drop(run.pass()),
        }
        assert!(run.now - start < SECOND * 600, "{}", run.delivered.len());
    }
}

#[test]
fn an_outage_divides_nothing() {
    let mut run = Run::with(rules(), 0..10);
    for _ in 0..20 {
        let batch = run.send_later();
        assert_eq!(batch.items.len(), 10);
        run.finish(batch, Err(busy()));
    }
}

#[test]
fn what_was_tried_for_too_long_is_given_up() {
    let mut run = Run::with(
        Rules {
            max_retry_time: Some(SECOND * 30),
            ..rules()
        },
        0..15,
    );
    run.fail(ordered(SECOND * 100));
    run.pass();
    let start = run.now;
    while run.now - start < SECOND * 20 {
        let batch = run.send_later();
        run.finish(batch, Err(busy()));
    }
    assert!(
        run.expired.is_empty(),
        "the wait that was asked for does not count"
    );
    run.push(99, 10);
    while run.machine.pending() > 1 {
        let batch = run.send_later();
        run.finish(batch, Err(busy()));
        assert!(run.now - start < SECOND * 60);
    }
    run.expired.sort_unstable();
    assert_eq!(run.expired, (0..15).collect::<Vec<_>>());
}

#[test]
fn the_oldest_is_dropped_first() {
    let mut run = Run::with(rules(), 0..12);
    run.fail(busy());
    let oldest: Vec<_> = std::iter::from_fn(|| run.machine.pop_oldest()).collect();
    assert_eq!(oldest, (0..12).collect::<Vec<_>>());
    assert_eq!((run.machine.pending(), run.machine.pending_bytes()), (0, 0));
    // What is on its way cannot be dropped.
    run.push(0, 10);
    run.now += SECOND;
    let _sent = run.send();
    assert_eq!(run.machine.pop_oldest(), None);
}

#[test]
fn the_worker_is_woken_once_for_a_batch() {
    let mut run = Run::new(rules());
    assert!(!run.push(0, 10), "it is awake");
    run.next();
    let mut woken = 0;
    for call in 0..1_000 {
        // Calls come all the time, faster than the delay.
        run.now += Duration::from_millis(20);
        if run.push(call, 10) {
            woken += 1;
            let batch = run.send();
            run.deliver(batch);
            run.next();
        }
    }
    assert!(woken <= 1_000 / 10 + 1, "{woken}");

    // Then it sleeps, and the first call wakes it, not the second.
    run.now += SECOND * 2;
    let batch = run.send();
    run.deliver(batch);
    run.now += SECOND * 2;
    assert_eq!(run.wait(), None);
    assert!(run.push(0, 10));
    assert_eq!(run.wait(), Some(SECOND));
    assert!(!run.push(1, 10));
}

#[test]
fn nobody_is_woken_while_nothing_can_be_sent() {
    let mut run = Run::with(rules(), 0..10);
    run.fail(busy());
    run.next();
    assert!((0..100).all(|call| !run.push(call, 10)));
    // Nor by a queue that was full already.
    let mut run = Run::with(rules(), 0..100);
    for _ in 0..4 {
        let _ = run.send();
    }
    run.next();
    assert!((0..100).all(|call| !run.push(call, 10)));
}

#[test]
fn after_the_close_nothing_waits_for_more() {
    let mut run = Run::with(rules(), 0..3);
    run.machine.close();
    assert_eq!(run.send().items.len(), 3);
}

/// Fails again and again, each time as soon as it may go.
fn fail_times(run: &mut Run, times: usize, error: fn() -> ExportError) {
    for _ in 0..times {
        let batch = run.send_later();
        run.now += SECOND;
        run.finish(batch, Err(error()));
    }
}

#[test]
fn halves_after_the_second_time_without_an_answer() {
    let mut run = Run::with(rules(), 0..10);
    fail_times(&mut run, 1, unanswered);
    let batch = run.send_later();
    assert_eq!(batch.items.len(), 10);
    run.now += SECOND;
    run.finish(batch, Err(unanswered()));
    assert_eq!(run.send_later().items.len(), 5);
}

#[test]
fn a_half_does_not_wait_for_long() {
    let mut run = Run::with(
        Rules {
            max_batch_size: 64,
            ..rules()
        },
        0..64,
    );
    for _ in 0..4 {
        // 64, 64, 32, ..
        fail_times(&mut run, 1, unanswered);
    }
    let longest = run
        .machine
        .again
        .iter()
        .filter_map(|b| b.ready_at)
        .map(|at| at.saturating_duration_since(run.now))
        .max();
    assert!(
        longest.unwrap() <= Duration::from_millis(200),
        "{longest:?}"
    );
}

#[test]
fn least_tried_first_while_there_is_trouble() {
    let mut run = Run::with(rules(), 0..20);
    let (a, b) = (run.send(), run.send());
    run.finish(a, Err(busy()));
    run.finish(b, Err(busy()));
    let first = run.send_later();
    let first_values = values(&first);
    run.finish(first, Err(busy()));
    run.now += SECOND * 5;
    assert_ne!(values(&run.send_later()), first_values);
}

#[test]
fn repeated_ones_first_when_the_trouble_is_over() {
    let mut run = Run::with(rules(), 0..10);
    run.fail(busy());
    run.machine.trouble = None;
    run.now += SECOND;
    for c in 10..30 {
        run.push(c, 10);
    }
    assert_eq!(values(&run.send())[0], 0);
}

#[test]
fn new_ones_ask_while_there_is_trouble() {
    let mut run = Run::with(rules(), 0..10);
    run.fail(busy());
    for c in 10..20 {
        run.push(c, 10);
    }
    run.now += SECOND;
    assert_eq!(values(&run.send())[0], 10);
}

#[test]
fn a_refused_request_ends_the_trouble() {
    let mut run = Run::with(rules(), 0..40);
    run.fail(busy());
    let batch = run.send_later();
    run.finish(batch, Err(rejected()));
    assert!(run.machine.trouble.is_none());
    let _ = (run.send(), run.send(), run.send());
}

#[test]
fn the_bad_half_goes_before_everything_else() {
    let mut run = Run::with(rules(), 0..20);
    let batch = run.send();
    run.finish(batch, Err(rejected()));
    assert_eq!(values(&run.send()), [0, 1, 2, 3, 4]);
    assert_eq!(values(&run.send()), [5, 6, 7, 8, 9]);
}

#[test]
fn a_destination_that_gives_no_status_divides_nothing() {
    let no_status = || ExportError::destination("test", "redirected");
    let mut run = Run::with(rules(), 0..20);
    let (a, b) = (run.send(), run.send());
    run.finish(a, Err(no_status()));
    run.deliver(b); // so it is alone
    for _ in 0..5 {
        let batch = run.send_later();
        assert_eq!(batch.items.len(), 10);
        run.finish(batch, Err(no_status()));
    }
}

#[test]
fn a_named_wait_gives_nothing_up() {
    let mut run = Run::with(
        Rules {
            max_retry_time: Some(SECOND * 5),
            ..rules()
        },
        0..10,
    );
    run.now += SECOND * 20;
    run.fail(ordered(SECOND));
    assert!(run.expired.is_empty());
}

#[test]
fn a_wait_that_was_over_is_no_credit() {
    let mut run = Run::with(
        Rules {
            max_retry_time: Some(SECOND * 30),
            ..rules()
        },
        0..10,
    );
    run.fail(ordered(SECOND * 1000));
    run.now += SECOND * 1000;
    let batch = run.send();
    run.deliver(batch);
    for c in 10..20 {
        run.push(c, 10);
    }
    run.now += SECOND * 31;
    run.fail(busy());
    assert_eq!(run.expired.len(), 10);
}

#[test]
fn too_large_in_a_report_is_too_large() {
    let mut run = Run::with(rules(), 0..10);
    let batch = run.send();
    let mut report = BatchReport::default();
    report.push(3, ExportError::too_large("test", "too large"));
    let finished = run.machine.finish(batch, Ok(report), run.now);
    assert!(matches!(finished.lost[0].1, Lost::TooLarge(_)));
}

#[test]
fn only_a_trouble_that_was_told_of_is_told_to_be_over() {
    let mut run = Run::with(rules(), 0..10);
    run.fail(busy());
    let batch = run.send_later();
    assert!(
        !run.machine
            .finish(batch, Ok(BatchReport::default()), run.now)
            .recovered
    );
}

#[test]
fn the_numbers_are_those_of_the_docs() {
    assert_eq!(
        (DOWN_AFTER, DOWN_PROBE, REFUSED_PROBE),
        (SECOND * 10, SECOND * 10, SECOND * 60)
    );
    let between = |attempts, low: u64, high: u64| {
        let waits: Vec<_> = (0..200).map(|_| backoff(attempts)).collect();
        let range = Duration::from_millis(low)..=Duration::from_millis(high);
        assert!(
            waits.iter().all(|w| range.contains(w)),
            "{attempts}: {waits:?}"
        );
        // Lengthened at random.
        assert!(
            *waits.iter().max().unwrap() - *waits.iter().min().unwrap()
                > Duration::from_millis(low / 2)
        );
    };
    between(1, 100, 200);
    between(2, 200, 400);
    between(6, 3_200, 6_400);
    between(7, 5_000, 10_000);
    between(1_000, 5_000, 10_000);
}

#[test]
fn after_a_named_wait_the_backoff_begins_anew() {
    let mut run = Run::with(rules(), 0..10);
    fail_times(&mut run, 5, busy);
    fail_times(&mut run, 1, || ordered(SECOND));
    let batch = run.send_later();
    run.finish(batch, Err(busy()));
    let trouble = run.machine.trouble.as_ref().unwrap();
    assert!(trouble.until() - run.now <= Duration::from_millis(200));
}

#[test]
fn what_fails_late_neither_shortens_nor_unbinds_a_named_wait() {
    let mut run = Run::with(rules(), 0..30);
    let (a, b) = (run.send(), run.send());
    run.now += SECOND / 10;
    run.finish(a, Err(ordered(SECOND * 5)));
    run.now += SECOND / 10;
    run.finish(b, Err(busy()));
    run.machine.flush(run.now);
    assert_eq!(run.wait(), Some(SECOND * 5 - SECOND / 10));
}

#[test]
fn a_wait_named_by_four_at_once_counts_once() {
    let mut run = Run::with(rules(), 0..40);
    let batches: Vec<_> = (0..4).map(|_| run.send()).collect();
    for batch in batches {
        run.finish(batch, Err(ordered(SECOND * 10)));
    }
    assert_eq!(run.machine.ordered_wait, SECOND * 10);
}

#[test]
fn told_once_whatever_comes_between() {
    let mut run = Run::with(rules(), 0..10);
    assert!(run.fail(refused()));
    let batch = run.send_later();
    run.finish(batch, Err(ordered(SECOND)));
    let batch = run.send_later();
    run.finish(batch, Err(busy()));
    let batch = run.send_later();
    assert!(!run.finish(batch, Err(refused())));
}

fn refused_connection() -> ExportError {
    ExportError::temporary("test", "connection refused")
}

/// How many calls are delivered in an hour, one a second, if one of the first is always answered so.
fn delivered_beside(error: fn() -> ExportError) -> usize {
    let mut run = Run::with(rules(), 0..20);
    let start = run.now;
    let (mut calls, mut next_push) = (20, run.now);
    while run.now - start < SECOND * 3600 {
        if run.now >= next_push {
            run.push(calls, 10);
            calls += 1;
            next_push += SECOND;
        }
        match run.next() {
            Next::Send(batch) if values(&batch).contains(&13) => {
                run.finish(batch, Err(error()));
            }
            Next::Send(batch) => run.deliver(batch),
            Next::Wait(until) => run.now = until.map_or(next_push, |until| until.min(next_push)),
        }
    }
    run.delivered.len()
}

#[test]
fn a_named_wait_is_not_counted_against_calls_that_came_during_it() {
    let mut run = Run::with(
        Rules {
            max_retry_time: Some(SECOND * 30),
            ..rules()
        },
        0..10,
    );
    run.fail(ordered(SECOND * 100));
    run.now += SECOND; // the call comes 1 s later
    run.push(99, 10);
    assert_eq!(run.pass(), SECOND * 99);
    run.fail(busy()); // first ordinary failure; 99 has never been sent
    assert_eq!(run.expired, Vec::<u32>::new());
}

#[test]
fn a_call_that_was_never_tried_is_not_given_up() {
    let mut run = Run::new(Rules {
        max_retry_time: Some(SECOND * 10),
        max_batch_delay: SECOND * 60,
        ..rules()
    });
    run.push(0, 10);
    run.now += SECOND * 11;
    // A full batch of others... 10 in total goes; one more waits
    for c in 1..11 {
        run.push(c, 10);
    }
    run.now += SECOND * 11;
    let b = run.send();
    run.finish(b, Err(busy()));
    assert!(
        !run.expired.contains(&10),
        "10 was never handed to the exporter: {:?}",
        run.expired
    );
}

#[test]
fn one_503_does_not_cost_a_backlog() {
    let mut run = Run::with(
        Rules {
            max_retry_time: Some(SECOND * 30),
            max_in_flight: 1,
            ..rules()
        },
        0..1000,
    );
    // slow: 1 s per batch
    for _ in 0..40 {
        let b = run.send();
        run.now += SECOND;
        run.deliver(b);
    }
    let b = run.send();
    run.now += SECOND;
    run.finish(b, Err(busy()));
    assert!(
        run.expired.len() <= 10,
        "{} calls given up by one 503, {} of them never sent",
        run.expired.len(),
        run.expired.len() - 10
    );
}

#[test]
fn an_outage_of_an_hour_leaves_batches_whole() {
    let big = Rules {
        max_batch_size: 500,
        max_batch_bytes: 4_000_000,
        max_memory_bytes: 64 << 20,
        ..rules()
    };
    let mut run = Run::new(big);
    for c in 0..5_000 {
        run.push(c, 1_000);
    }
    let start = run.now;
    while run.now - start < SECOND * 3600 {
        match run.next() {
            Next::Send(b) => {
                run.finish(b, Err(refused_connection()));
            }
            Next::Wait(u) => run.now = u.unwrap(),
        }
    }
    let mut exports = 0;
    while run.machine.pending() > 0 {
        match run.next() {
            Next::Send(b) => {
                exports += 1;
                run.deliver(b);
            }
            Next::Wait(u) => run.now = u.unwrap(),
        }
    }
    assert!(exports <= 20, "{exports}");
}

#[test]
fn a_hanging_export_and_one_503_do_not_stop_everything() {
    let mut run = Run::with(rules(), 0..40);
    let hanging = run.send();
    let b = run.send();
    run.finish(b, Err(busy()));
    run.now += SECOND * 20;
    run.machine.flush(run.now);
    let next = run.next();
    assert!(
        matches!(next, Next::Send(_)),
        "20 s after a single 503, and a flush: {:?}",
        matches!(next, Next::Wait(None))
    );
    drop(hanging);
}

#[test]
fn the_longest_named_wait_of_a_report_is_obeyed() {
    let mut run = Run::with(rules(), 0..10);
    let b = run.send();
    let mut report = BatchReport::default();
    report.push(1, busy());
    report.push(2, ordered(SECOND * 30));
    run.finish(b, Ok(report));
    assert_eq!(run.wait(), Some(SECOND * 30));
}

#[test]
fn an_endless_delay_does_not_wake_for_each_call() {
    let mut run = Run::new(Rules {
        max_batch_delay: Duration::MAX,
        max_batch_size: 1000,
        max_batch_bytes: 1_000_000,
        ..rules()
    });
    run.push(0, 10);
    let mut woken = 0;
    for c in 1..900 {
        run.next();
        woken += u32::from(run.push(c, 10));
    }
    assert!(woken <= 1, "{woken}");
}

#[test]
fn epochs_do_not_grow() {
    let mut run = Run::new(rules());
    run.push(0, 10);
    run.machine.flush(run.now);
    let poison = run.send();
    run.finish(poison, Err(busy()));
    for c in 1..1000 {
        run.push(c, 10);
        run.machine.flush(run.now);
        loop {
            match run.next() {
                Next::Send(b) if values(&b).contains(&0) => {
                    run.finish(b, Err(busy()));
                }
                Next::Send(b) => run.deliver(b),
                Next::Wait(_) => break,
            }
        }
        run.now += SECOND;
    }
    assert!(run.machine.epochs.closed.len() < 10);
}

#[test]
fn a_destination_error_of_some_calls_is_told_once() {
    let mut run = Run::new(rules());
    let (mut told, mut recovered) = (0, 0);
    for round in 0..20 {
        for c in 0..10 {
            run.push(round * 10 + c, 10);
        }
        let b = run.send_later();
        let mut report = BatchReport::default();
        report.push(b.items.len() - 1, refused());
        let f = run.machine.finish(b, Ok(report), run.now);
        told += u32::from(f.trouble.is_some());
        recovered += u32::from(f.recovered);
    }
    assert!(told <= 1, "{told} WARN, {recovered} INFO");
}

#[test]
fn a_wait_of_a_day_is_told() {
    let mut run = Run::with(rules(), 0..10);
    let mut told = 0;
    for _ in 0..10 {
        told += u32::from(run.fail(ordered(SECOND * 86_400)));
        run.pass();
    }
    assert!(told > 0, "ten days without a delivery and without a word");
}

#[test]
fn a_flush_has_its_own_try() {
    let mut run = Run::with(rules(), 0..10);
    let start = run.now;
    while run.now - start < SECOND * 15 {
        let b = run.send_later();
        run.finish(b, Err(busy()));
    }
    let probe = run.send_later(); // began before the flush
    run.machine.flush(run.now);
    run.now += SECOND / 100;
    run.finish(probe, Err(busy()));
    run.send();
}

#[test]
fn a_short_named_wait_does_not_make_a_long_one_binding() {
    let mut run = Run::with(rules(), 0..40);
    let (a, b, c) = (run.send(), run.send(), run.send());
    run.finish(a, Err(refused())); // 60 s, which a flush may shorten
    run.finish(b, Err(ordered(SECOND))); // 1 s, which it may not
    run.now += SECOND * 2;
    run.machine.flush(run.now);
    run.send();
    run.deliver(c);
}

#[test]
fn a_call_for_which_the_server_names_a_wait_holds_up_no_other() {
    assert!(delivered_beside(busy) > 3_500);
    assert!(delivered_beside(unanswered) > 3_500);
    assert!(delivered_beside(|| ordered(SECOND)) > 3_000);
}

#[test]
fn whoever_is_only_busy_is_heard_from_by_any_success() {
    let mut run = Run::with(rules(), 0..40);
    let (a, b) = (run.send(), run.send());
    run.now += SECOND / 10;
    run.finish(a, Err(busy()));
    run.deliver(b);
    let _ = (run.send(), run.send());
}

#[test]
fn a_key_that_is_revoked_is_told_of_once() {
    let mut run = Run::with(rules(), 0..400);
    let batches: Vec<_> = (0..4).map(|_| run.send()).collect();
    run.now += SECOND / 10;
    let mut told = 0;
    for (index, batch) in batches.into_iter().enumerate() {
        // Those that were on their way are taken, later than the first refusal.
        if index == 0 {
            told += u32::from(run.finish(batch, Err(refused())));
        } else {
            run.deliver(batch);
        }
        run.now += SECOND / 100;
    }
    run.machine.flush(run.now);
    told += u32::from(run.fail(refused()));
    assert_eq!(told, 1);
}

#[test]
fn what_waited_on_disk_is_as_old_as_it_is() {
    let mut run = Run::new(Rules {
        max_retry_time: Some(3600 * SECOND),
        ..rules()
    });
    let start = run.now;
    run.now = start + 3 * 3600 * SECOND;
    let epoch = run.machine.park(2);
    run.machine.unpark(1, 10, epoch, 2 * 3600 * SECOND, run.now);
    run.machine.unpark(2, 10, epoch, SECOND, run.now);
    let Next::Send(batch) = run.next() else {
        panic!("they have waited long enough");
    };
    run.finish(batch, Err(busy()));
    assert_eq!((run.expired.clone(), run.machine.pending()), (vec![1], 1));
}

#[test]
fn a_huge_call_comes_back_alone_beside_others() {
    let mut run = Run::new(Rules {
        max_memory_bytes: 20_000,
        ..rules()
    });
    let share = run.machine.rules().backlog_bytes();
    run.push(1, 100);
    let epoch = run.machine.park(2);
    assert!(run.machine.may_unpark(share + 1));
    run.machine.unpark(2, share + 1, epoch, SECOND, run.now);
    assert!(!run.machine.may_unpark(share + 1) && !run.machine.may_unpark(1));
    assert_eq!(run.machine.room_to_unpark(), 0);
}

#[derive(Clone, Debug)]
enum Event {
    Push(usize),
    Pass(u64),
    Flush,
    PopOldest,
    /// A call waits on disk; the one that has waited there longest comes back if it may, or is given up.
    Park(usize),
    Unpark,
    GiveUpParked,
    /// Even numbers of those that wait may do so on disk.
    ParkWaiting(usize),
    /// The batch on its way for longest, or another, ends so.
    End(usize, End),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Taken,
    Busy,
    Unanswered,
    Ordered(u64),
    Refused,
    Rejected,
    TooLarge,
    Report(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![
        4 => Just(End::Taken),
        1 => Just(End::Busy),
        1 => Just(End::Unanswered),
        1 => (0..5_000_u64).prop_map(End::Ordered),
        1 => Just(End::Refused),
        1 => Just(End::Rejected),
        1 => Just(End::TooLarge),
        2 => any::<u32>().prop_map(End::Report),
    ];
    prop_oneof![
        6 => (1..2_000_usize).prop_map(Event::Push),
        3 => (0..20_000_u64).prop_map(Event::Pass),
        1 => Just(Event::Flush),
        1 => Just(Event::PopOldest),
        2 => (1..2_000_usize).prop_map(Event::Park),
        3 => Just(Event::Unpark),
        1 => Just(Event::GiveUpParked),
        1 => (1..2_000_usize).prop_map(Event::ParkWaiting),
        5 => (0..4_usize, end).prop_map(|(which, end)| Event::End(which, end)),
    ]
}

fn result(end: End, calls: usize) -> Result<BatchReport, ExportError> {
    Err(match end {
        End::Taken => return Ok(BatchReport::default()),
        End::Busy => busy(),
        End::Unanswered => unanswered(),
        End::Ordered(millis) => ordered(Duration::from_millis(millis)),
        End::Refused => refused(),
        End::Rejected => rejected(),
        End::TooLarge => ExportError::too_large("test", "too large"),
        End::Report(seed) => {
            let mut report = BatchReport::default();
            for index in 0..calls {
                match (seed.rotate_left(index as u32 * 3)) % 8 {
                    0 => report.push(index, busy()),
                    1 => report.push(index, rejected()),
                    _ => {}
                }
            }
            return Ok(report);
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: every call is somewhere, exactly once; bounds hold; and once the backend takes everything,
    /// everything is delivered.
    #[test]
    fn every_call_is_somewhere(
        events in proptest::collection::vec(event(), 0..300),
        retry_time in proptest::option::of(1_u64..60),
    ) {
        let rules = Rules {
            max_memory_bytes: 20_000,
            max_retry_time: retry_time.map(Duration::from_secs),
            ..rules()
        };
        let mut run = Run::new(rules.clone());
        let mut flying: Vec<Batch<u32>> = Vec::new();
        let (mut pushed, mut popped) = (0, Vec::new());
        let mut epochs = Vec::new();
        let mut parked = VecDeque::new();
        for event in events {
            match event {
                Event::Push(bytes) if run.machine.has_room(bytes) => {
                    run.push(pushed, bytes);
                    pushed += 1;
                }
                Event::Push(_) => {}
                Event::Pass(millis) => run.now += Duration::from_millis(millis),
                Event::Flush => {
                    let epoch = run.machine.flush(run.now);
                    epochs.push((epoch, pushed));
                }
                Event::PopOldest => popped.extend(run.machine.pop_oldest()),
                Event::Park(bytes) => {
                    parked.push_back((pushed, bytes, run.machine.park(1)));
                    pushed += 1;
                }
                Event::Unpark => {
                    if let Some(&(_, bytes, _)) = parked.front()
                        && run.machine.may_unpark(bytes)
                        && let Some((call, bytes, epoch)) = parked.pop_front()
                    {
                        let room = run.machine.room_to_unpark();
                        prop_assert!(room > 0);
                        run.machine.unpark(call, bytes, epoch, SECOND, run.now);
                    }
                }
                Event::ParkWaiting(bytes) => {
                    let sizes: BTreeMap<u32, usize> =
                        run.machine.fresh.iter().map(|item| (item.value, item.bytes)).collect();
                    let may = sizes.keys().any(|call| call % 2 == 0);
                    let waiting = run.machine.park_waiting(bytes, |call| call % 2 == 0);
                    prop_assert_eq!(may, !waiting.is_empty());
                    let odd = run.machine.fresh.iter().filter(|item| item.value % 2 == 1).count();
                    prop_assert_eq!(odd, sizes.keys().filter(|call| *call % 2 == 1).count());
                    parked.extend(waiting.into_iter().map(|(call, epoch)| (call, sizes[&call], epoch)));
                }
                Event::GiveUpParked => {
                    if let Some((call, _, epoch)) = parked.pop_front() {
                        run.machine.release_parked(epoch, 1);
                        popped.push(call);
                    }
                }
                Event::End(which, end) if !flying.is_empty() => {
                    let batch = flying.remove(which % flying.len());
                    let result = result(end, batch.items.len());
                    run.finish(batch, result);
                }
                Event::End(..) => {}
            }
            while let Next::Send(batch) = run.next() {
                prop_assert!(batch.items.len() <= rules.max_batch_size && !batch.items.is_empty());
                prop_assert!(batch.items.len() == 1 || batch.bytes() <= rules.batch_bytes());
                flying.push(batch);
            }
            prop_assert!(flying.len() <= rules.max_in_flight);
            prop_assert!(run.machine.pending_bytes() <= rules.max_item_bytes());
            let gone = run.delivered.len() + run.rejected.len() + run.expired.len() + popped.len();
            prop_assert_eq!(pushed as usize, gone + run.machine.pending());
            // The counts that are kept are those that are found.
            let held = |batch: &Batch<u32>| batch.bytes();
            let bytes = run.machine.fresh.iter().map(|item| item.bytes).sum::<usize>()
                + run.machine.again.iter().map(held).sum::<usize>()
                + flying.iter().map(held).sum::<usize>();
            prop_assert_eq!(run.machine.pending_bytes(), bytes);
            let unparked = |items: &mut dyn Iterator<Item = &Item<u32>>| {
                items.filter(|item| item.unparked).map(|item| item.bytes).sum::<usize>()
            };
            let back = unparked(&mut run.machine.fresh.iter())
                + unparked(&mut run.machine.again.iter().chain(&flying).flat_map(|batch| &batch.items));
            prop_assert_eq!(run.machine.unparked_bytes, back);
            let fresh = run.machine.fresh.iter().filter(|item| item.unparked).count();
            prop_assert_eq!(run.machine.unparked_fresh, fresh);
            prop_assert_eq!(run.machine.epochs.all(), run.machine.pending() as u64);
            let settled: std::collections::BTreeSet<u32> =
                run.delivered.iter().chain(&run.rejected).chain(&run.expired).chain(&popped).copied().collect();
            for (epoch, before) in &epochs {
                let all = (0..*before).all(|call| settled.contains(&call));
                prop_assert_eq!(run.machine.is_settled(*epoch), all);
            }
        }
        for batch in flying {
            run.deliver(batch);
        }
        run.machine.close();
        let mut steps = 0;
        while run.machine.pending() > 0 {
            while let Some((_, bytes, _)) = parked.front()
                && run.machine.may_unpark(*bytes)
                && let Some((call, bytes, epoch)) = parked.pop_front()
            {
                run.machine.unpark(call, bytes, epoch, SECOND, run.now);
            }
            match run.next() {
                Next::Send(batch) => run.deliver(batch),
                Next::Wait(_) => drop(run.pass()),
            }
            steps += 1;
            prop_assert!(steps < 10_000, "stuck with {} calls", run.machine.pending());
        }
        let mut all = run.delivered;
        all.extend(run.rejected.into_iter().chain(run.expired).chain(popped));
        all.sort_unstable();
        prop_assert_eq!(all, (0..pushed).collect::<Vec<_>>());
    }
}
