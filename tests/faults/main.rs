//! What a pipeline does when things go wrong, in real time: each row orders a fault and looks at what arrived.
//!
//! The rows mostly wait, so they run all at once, however few cores there are. A row that is about what belongs to a
//! whole process (its end, its memory, its log, its panic hook) starts this program again, see `alone`.

mod alone;
mod content;
mod exporters;
mod memory;
mod outage;
mod overflow;
mod poison;
mod process;
mod refusal;
mod runtimes;
mod silence;
mod sockets;
mod support;

use libtest_mimic::{Arguments, Trial};

/// More than there are rows.
const THREADS: usize = 64;

macro_rules! rows {
    ($($module:ident: $($row:ident)*;)*) => {
        vec![$($(Trial::test(concat!(stringify!($module), "::", stringify!($row)), || {
            $module::$row();
            Ok(())
        })),*),*]
    };
}

fn main() {
    if alone::run() {
        return;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let rows = rows! {
        content: a_sample_is_the_same_everywhere errors_are_always_kept expired_calls_are_dead_letters
            losses_are_warned_of_once_and_summed_up no_canary_anywhere;
        exporters: a_blocking_exporter_delays_no_flush a_nested_pipeline a_panic_costs_one_call
            own_traffic_goes_nowhere three_backends_one_dead_one_slow;
        memory: a_huge_error_body a_million_calls_at_a_dead_backend
            a_million_calls_at_a_dead_backend_dropping_the_oldest;
        outage: a_backend_that_fails_now_and_then a_single_503_costs_no_breakers_wait connection_refused_for_30_s one_answer_in_five_is_lost
            rate_limited_with_a_date rate_limited_with_rate_limit_reset rate_limited_with_retry_after
            rate_limited_without_a_wait unavailable_for_30_s;
        overflow: block_goes_on_when_there_is_room block_waits_and_refuses drop_oldest refuse_new;
        poison: a_large_call_is_a_dead_letter a_large_call_is_shortened one_bad_call_in_512;
        process: ends_with_a_guard ends_with_a_guard_and_a_static ends_without_any_flush
            ends_in_time_with_a_guard ends_in_time_with_a_guard_and_a_static ends_in_time_with_a_shutdown
            ends_in_time_without_any_flush;
        refusal: a_redirect_is_not_followed quota_used_up wrong_key wrong_key_in_the_cloud;
        runtimes: a_flush_in_any_runtime any_place_healthy any_place_silent;
        silence: a_flush_tells_the_truth a_flush_tells_the_truth_of_what_reads_nothing;
    };
    libtest_mimic::run(&arguments, rows).exit();
}
