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
    assert_eq!(run.machine.epochs.pending.len(), 1);
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

#[derive(Clone, Debug)]
enum Event {
    Push(usize),
    Pass(u64),
    Flush,
    PopOldest,
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
            prop_assert_eq!(run.machine.epochs.pending.iter().sum::<u64>(), run.machine.pending() as u64);
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
