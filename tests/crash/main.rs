//! What a spool is worth: processes are killed for real, and what they had accepted has to arrive all the same.
//!
//! The killed ones are this program again, see `alone`. The rows run one after the other: some keep all cores of a
//! small machine busy, and some look at the clock.

mod alone;
mod backlog;
mod calls;
mod disk;
mod garbled;
mod kills;
mod neighbours;
mod numbered;
mod outage;
mod plan;
mod program;
mod server;
mod support;

use libtest_mimic::{Arguments, Trial};

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
    arguments.test_threads.get_or_insert(1);
    let rows = rows! {
        backlog: a_hundred_thousand_calls_of_a_killed_process;
        disk: fills_up_and_has_room_again fills_up_and_has_room_again_by_a_limit hangs is_read_only_at_first
            stands_still_with_all_else;
        garbled: files_that_nothing_happened_to whatever_becomes_of_the_files;
        kills: no_accepted_call_is_lost;
        neighbours: a_dead_one_leaves_its_calls_to_the_living a_dead_one_leaves_its_calls_to_the_next
            all_at_once what_a_dead_one_has_started_holds_nothing;
        outage: of_an_hour of_some_minutes_with_a_kill older_than_opiks_ids_may_be;
    };
    libtest_mimic::run(&arguments, rows).exit();
}
