//! The choice of the calls that are kept.

use beluga_o11y::LLMCallData;
use xxhash_rust::xxh64::xxh64;

/// Keeps a share of the calls, the calls of a trace together.
///
/// The choice is the hash of an id, compared with the rate: no state, no chance. So every process and every version
/// chooses alike, which is why neither the hash nor what goes into it may ever change, and what a lower rate keeps, a
/// higher rate keeps too.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// The hashes that are kept; `None` for all of them.
    below: Option<u64>,
    keep_errors: bool,
}

impl Sampler {
    /// Keeps the share `rate`, from 0.0 to 1.0, and with `keep_errors` also every call with an error.
    pub(crate) fn new(rate: f64, keep_errors: bool) -> Self {
        const HASHES: f64 = (1_u128 << 64) as f64;
        Self {
            // Rounded up: below the product are as many whole numbers.
            below: (rate < 1.0).then(|| (rate * HASHES).ceil() as u64),
            keep_errors,
        }
    }

    /// Whether a call is kept.
    pub(crate) fn keeps(&self, call: &LLMCallData) -> bool {
        let Some(below) = self.below else {
            return true;
        };
        let failed = || call.error.as_ref().is_some_and(|error| !error.is_empty());
        (self.keep_errors && failed()) || hash(call) < below
    }
}

/// The hash of the trace id, or of the call's own id if it has none.
fn hash(call: &LLMCallData) -> u64 {
    let trace = call.trace_id.as_deref().unwrap_or_default();
    match trace.trim_ascii().as_bytes() {
        [] => xxh64(call.id().as_bytes(), 0),
        // Some systems write the same id in capitals.
        id if id.iter().any(u8::is_ascii_uppercase) => xxh64(&id.to_ascii_lowercase(), 0),
        id => xxh64(id, 0),
    }
}

#[cfg(test)]
mod tests {
    use beluga_o11y::CallError;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn call() -> LLMCallData {
        LLMCallData::new("openai", "gpt-4o")
    }

    fn keeps(rate: f64, call: &LLMCallData) -> bool {
        Sampler::new(rate, false).keeps(call)
    }

    fn share_kept(rate: f64, call: impl Fn() -> LLMCallData) -> f64 {
        const CALLS: u32 = 100_000;
        let sampler = Sampler::new(rate, false);
        let kept = (0..CALLS).filter(|_| sampler.keeps(&call())).count();
        kept as f64 / f64::from(CALLS)
    }

    #[test]
    fn the_share_kept_is_the_rate() {
        // Five standard deviations of 100,000 coins are below 0.008.
        for rate in [0.01, 0.1, 0.5, 0.9] {
            let own = share_kept(rate, || call().with_id(Uuid::now_v7()));
            assert!((own - rate).abs() < 0.008, "{rate}: {own}");
            let trace = share_kept(rate, || {
                call().with_trace_id(Uuid::new_v4().simple().to_string())
            });
            assert!((trace - rate).abs() < 0.008, "{rate}: {trace}");
        }
    }

    #[test]
    fn the_ends_keep_all_and_none() {
        for _ in 0..1000 {
            assert!(keeps(1.0, &call()));
            assert!(!keeps(0.0, &call()));
            assert!(!keeps(-0.0, &call()));
        }
    }

    #[test]
    fn the_border_is_where_the_rate_says() {
        let call = call().with_trace_id("conv-1");
        let keeps_below = |below| {
            let sampler = Sampler {
                below: Some(below),
                keep_errors: false,
            };
            sampler.keeps(&call)
        };
        assert!(!keeps_below(hash(&call)) && keeps_below(hash(&call) + 1));
        assert_eq!(Sampler::new(0.5, false).below, Some(1 << 63));
        assert_eq!(Sampler::new(0.25, false).below, Some(1 << 62));
        assert_eq!(Sampler::new(f64::MIN_POSITIVE, false).below, Some(1));
        let nearly = Sampler::new(1.0_f64.next_down(), false).below;
        assert_eq!(nearly, Some(u64::MAX - (1 << 11) + 1));
    }

    #[test]
    fn a_trace_is_kept_or_left_out_as_a_whole() {
        let sampler = Sampler::new(0.5, false);
        for _ in 0..1000 {
            let trace = Uuid::new_v4().simple().to_string();
            let first = sampler.keeps(&call().with_trace_id(&trace));
            for form in [trace.clone(), trace.to_uppercase(), format!(" {trace}\n")] {
                assert_eq!(sampler.keeps(&call().with_trace_id(form)), first);
            }
        }
    }

    #[test]
    fn a_blank_trace_id_is_none() {
        for _ in 0..100 {
            let call = call();
            let kept = keeps(0.5, &call);
            for blank in ["", " ", "\t\r\n "] {
                assert_eq!(keeps(0.5, &call.clone().with_trace_id(blank)), kept);
            }
        }
    }

    #[test]
    fn errors_are_kept_if_asked_for() {
        let failed = call().with_error("429");
        assert!(Sampler::new(0.0, true).keeps(&failed));
        assert!(!Sampler::new(0.0, false).keeps(&failed));
        assert!(!Sampler::new(0.0, true).keeps(&call()));
        let mut no_error = call();
        no_error.error = Some(CallError::new(""));
        assert!(!Sampler::new(0.0, true).keeps(&no_error));
        no_error.error = Some(CallError::new("").with_kind(CallError::TIMEOUT));
        assert!(Sampler::new(0.0, true).keeps(&no_error));
    }

    /// Other processes run other versions: what these ids hash to must stay.
    #[test]
    fn the_hash_never_changes() {
        for (trace, expected, keeps_half) in [
            (
                "0af7651916cd43dd8448eb211c80319c",
                0x82d8_c03a_cc9e_b486,
                false,
            ),
            (
                "0AF7651916CD43DD8448EB211C80319C",
                0x82d8_c03a_cc9e_b486,
                false,
            ),
            (
                "4bf92f3577b34da6a3ce929d0e0e4736",
                0x2ab2_8d25_664b_8cfd,
                true,
            ),
            ("conv-1", 0x65f6_e62a_6454_c70b, true),
            ("sitzung-ü-🐋", 0x24d4_274e_0461_a0e1, true),
            (" trace 7 ", 0xa2c3_f0f0_9895_9e88, false),
        ] {
            let call = call().with_trace_id(trace);
            assert_eq!(hash(&call), expected, "{trace}");
            assert_eq!(keeps(0.5, &call), keeps_half, "{trace}");
        }
        for (id, expected) in [
            (
                "01a2053e-d6f8-792b-8988-1657efa89323",
                0x8790_ac22_fa6c_8089,
            ),
            (
                "01890f3e-8c1a-7cc3-98c4-dc0c0c07398f",
                0xaf6a_78a8_eb0d_789f,
            ),
            (
                "00000000-0000-0000-0000-000000000000",
                0xaf09_f715_1624_7c32,
            ),
        ] {
            let call = call().with_id(id.parse().unwrap());
            assert_eq!(hash(&call), expected, "{id}");
            assert!(!keeps(0.5, &call) && keeps(0.7, &call), "{id}");
        }
    }

    proptest! {
        #[test]
        fn a_higher_rate_keeps_what_a_lower_one_keeps(
            trace in ".{0,40}",
            lower in 0.0..=1.0_f64,
            higher in 0.0..=1.0_f64,
        ) {
            let (lower, higher) = (lower.min(higher), lower.max(higher));
            let call = call().with_trace_id(trace);
            prop_assert!(!keeps(lower, &call) || keeps(higher, &call));
        }
    }
}
