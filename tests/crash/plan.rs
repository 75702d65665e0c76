//! What a trial does: drawn by its seed.

use std::time::Duration;

use beluga_o11y_sandbox::Backend;

use crate::{
    alone::Signal,
    program::Settings,
    server::Mode,
    support::{MICROS, MILLIS, SECOND},
};

/// What a trial is about. Most are about the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    OneThread,
    FourThreads,
    /// Each with a backend and a spool of its own; one backend is away until the restart.
    TwoPipelines,
    Terminated,
    Power,
    /// Killed again while it takes up what is left of the last time.
    KilledAgain,
    /// Calls are accepted without being on disk, because that may take next to no time.
    Hasty,
}

/// How often each comes.
const VARIANTS: [Variant; 12] = [
    Variant::OneThread,
    Variant::FourThreads,
    Variant::TwoPipelines,
    Variant::KilledAgain,
    Variant::OneThread,
    Variant::Terminated,
    Variant::FourThreads,
    Variant::KilledAgain,
    Variant::Power,
    Variant::TwoPipelines,
    Variant::OneThread,
    Variant::Hasty,
];

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) variant: Variant,
    pub(crate) settings: Settings,
    /// What is sent to, and in what state it is until the last process starts.
    pub(crate) backends: Vec<(Backend, Mode)>,
    /// The processes that are killed, one after the other.
    pub(crate) processes: Vec<Doomed>,
    /// What the last one submits.
    pub(crate) last_calls: u16,
}

/// What a process does before it is killed, and when that happens.
#[derive(Debug)]
pub(crate) struct Doomed {
    pub(crate) threads: usize,
    pub(crate) calls: u16,
    pub(crate) moment: Moment,
    pub(crate) signal: Signal,
}

#[derive(Debug)]
pub(crate) enum Moment {
    /// So long after its start, be it ready or not.
    Start(Duration),
    /// After so many calls,
    Calls {
        calls: u16,
        /// when another request arrives at a backend, if there is one soon,
        request: bool,
        /// and then so much later.
        pause: Duration,
    },
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let place = usize::try_from(seed % VARIANTS.len() as u64).unwrap();
        let variant = VARIANTS[place];
        let mut backends = vec![(Backend::Opik, mode(&mut dice))];
        if variant == Variant::TwoPipelines {
            let other = dice.one_of(&[Backend::Opik, Backend::Langfuse]);
            let dead = dice.one_of(&[Mode::Down, Mode::Refusing]);
            backends.push((other, dead));
            if dice.below(2) == 0 {
                backends.swap(0, 1);
            }
        }
        let kills = match variant {
            Variant::KilledAgain => 2 + dice.below(2),
            _ => 1,
        };
        Self {
            variant,
            settings: Settings {
                trial: u32::try_from(seed & u64::from(u32::MAX)).unwrap(),
                process: 0,
                targets: Vec::new(),
                power: variant == Variant::Power,
                // Longer than any disk takes, however busy.
                write_timeout: match variant {
                    Variant::Hasty => (1 + dice.below(300)) * MICROS,
                    _ => 20 * SECOND,
                },
                // With the least that there can be, most calls wait on disk alone.
                max_memory_bytes: match variant {
                    Variant::Hasty => 64 << 20,
                    _ => dice.one_of(&[64 << 10, 64 << 20, 64 << 20]),
                },
                max_batch_delay: dice.below(15) * MILLIS,
                max_batch_size: dice.one_of(&[1, 7, 20, 50, 500]),
            },
            backends,
            processes: (0..kills)
                .map(|kill| Doomed::of(variant, kill > 0, &mut dice))
                .collect(),
            last_calls: dice.one_of(&[0, 0, 20]),
        }
    }
}

impl Doomed {
    fn of(variant: Variant, again: bool, dice: &mut Dice) -> Self {
        let calls: u16 = match variant {
            // The disk takes its time for each.
            Variant::Power => 60,
            _ if again => 50,
            _ => 200,
        };
        Self {
            threads: match variant {
                Variant::OneThread => 1,
                Variant::FourThreads => 4,
                _ => dice.one_of(&[1, 4]),
            },
            calls,
            moment: if again && dice.below(3) == 0 {
                Moment::Start(dice.below(15_000) * MICROS)
            } else {
                Moment::calls(if again { 0 } else { 1 }, calls, dice)
            },
            signal: match variant {
                Variant::Terminated => Signal::Term,
                _ => Signal::Kill,
            },
        }
    }
}

impl Moment {
    fn calls(least: u16, most: u16, dice: &mut Dice) -> Self {
        Self::Calls {
            // The first and the last one are moments of their own.
            calls: match dice.below(8) {
                0 => least,
                1 | 2 => most,
                _ => least + u16::try_from(dice.below(u32::from(most - least + 1))).unwrap(),
            },
            request: dice.below(2) == 0,
            pause: match dice.below(4) {
                0 => Duration::ZERO,
                1 => dice.below(200) * MICROS,
                2 => dice.below(3_000) * MICROS,
                _ => dice.below(40_000) * MICROS,
            },
        }
    }
}

fn mode(dice: &mut Dice) -> Mode {
    match dice.below(8) {
        0 | 1 => Mode::Up,
        2 => Mode::Slow(dice.below(30) * MILLIS),
        3 => Mode::Down,
        4 => Mode::Refusing,
        5 => Mode::LosesAnswers,
        _ => Mode::Flapping(dice.next()),
    }
}

/// The same numbers for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        let place = self.below(u32::try_from(values.len()).unwrap());
        values[usize::try_from(place).unwrap()]
    }
}
