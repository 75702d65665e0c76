//! Misbehaviour to order.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use crate::answer::{Answer, Payload};
use crate::role::Role;

/// A way to misbehave, for [`Sandbox::inject`](crate::Sandbox::inject).
///
/// By default it meets the next request, once. A fault is checked when a request has been read and before anything
/// else is: a refused request spends it too. Of several faults the first that was injected, matches and is not used
/// up applies; a latency is added to whatever comes after it.
///
/// ```
/// use beluga_o11y_sandbox::Fault;
///
/// Fault::status(429).with_header("RateLimit-Reset", "5").times(3).on("/spans/batch");
/// Fault::status(503).share(0.2); // one request in five, always the same ones
/// ```
#[derive(Debug, Clone)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    effect: Effect,
    path: Option<String>,
    skip: u64,
    times: Option<u64>,
    share: Option<f64>,
    /// State of the sequence that `share` draws from.
    seed: u64,
}

/// What a fault does.
#[derive(Debug, Clone)]
enum Effect {
    Latency(Duration),
    Do(Misdeed),
}

/// What to do in place of answering.
#[derive(Debug, Clone)]
pub(crate) enum Misdeed {
    Answer(Canned),
    Reset,
    LostAnswer,
    Silence,
}

/// An answer that is made up.
#[derive(Debug, Clone)]
pub(crate) struct Canned {
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<CannedBody>,
}

#[derive(Debug, Clone)]
enum CannedBody {
    Text(String),
    Endless(u64),
}

impl Canned {
    fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    /// The answer, as this backend would give it.
    pub(crate) fn answer(&self, role: &dyn Role) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = match &self.body {
            None => role.refusal(status),
            Some(CannedBody::Text(text)) => {
                let json = text.trim_start().starts_with(['{', '[']);
                Answer::empty(status)
                    .with_body(Payload::from(Bytes::from(text.clone())))
                    .with_header(
                        "content-type",
                        if json {
                            "application/json"
                        } else {
                            "text/html"
                        },
                    )
            }
            Some(CannedBody::Endless(bytes)) => Answer::empty(status)
                .with_body(Payload::Endless(*bytes))
                .with_header("content-type", "application/octet-stream"),
        };
        self.headers.iter().fold(answer, |answer, (name, value)| {
            answer.with_header(name, value)
        })
    }
}

impl Fault {
    /// Answers with this status and, unless [`with_body`](Self::with_body) says otherwise, the body that the backend
    /// whose path was asked for sends with it; below 400 none. Nothing is stored. A number that is no status becomes 500.
    ///
    /// Langfuse's 429 comes with `Retry-After: 2` and its `X-RateLimit-*` headers, Phoenix's 503 is a text without
    /// any, and a plain OTLP receiver sends a `google.rpc.Status`. Of Opik it is 400, 401, 402, 403, 404, 409, 413, 422, 429, 500, else `{"code":503,"message":"HTTP 503 Service
    /// Unavailable"}`, and no header comes by itself: a 429 has `RateLimit-Reset` if you add it, as with a proxy in
    /// front of Opik.
    pub fn status(status: u16) -> Self {
        Self::doing(Misdeed::Answer(Canned::new(status)))
    }

    /// Waits this long, then goes on normally.
    pub fn latency(delay: Duration) -> Self {
        Self::new(Effect::Latency(delay))
    }

    /// Breaks the connection with a TCP reset in place of an answer. Nothing is stored.
    pub fn reset() -> Self {
        Self::doing(Misdeed::Reset)
    }

    /// Handles the request, stores what it brings, then breaks the connection with a TCP reset in place of the answer.
    pub fn lost_answer() -> Self {
        Self::doing(Misdeed::LostAnswer)
    }

    /// Reads the request and never answers, until the client goes away or the sandbox stops. Nothing is stored.
    pub fn silence() -> Self {
        Self::doing(Misdeed::Silence)
    }

    /// Answers 307 to that address. Nothing is stored.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(307).with_header("Location", location)
    }

    /// Answers with this status and a body of that many bytes, which are made while they are sent. Nothing is stored.
    pub fn huge_body(status: u16, bytes: u64) -> Self {
        let body = Some(CannedBody::Endless(bytes));
        Self::doing(Misdeed::Answer(Canned {
            body,
            ..Canned::new(status)
        }))
    }

    /// Adds a header to the answer; only for a fault that answers. What HTTP does not allow in a header is left out.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Effect::Do(Misdeed::Answer(canned)) = &mut self.effect {
            canned.headers.push((name.into(), value.into()));
        }
        self
    }

    /// Replaces the body of the answer; only for a fault that answers. It is sent as `application/json` if it starts
    /// like JSON, else as `text/html`, unless a header says otherwise.
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        if let Effect::Do(Misdeed::Answer(canned)) = &mut self.effect {
            canned.body = Some(CannedBody::Text(body.into()));
        }
        self
    }

    /// Meets this many of the matching requests. Default: 1.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Meets every matching request.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Meets that share of the matching requests, 0.0 to 1.0: the same ones in every run, for as long as
    /// [`times`](Self::times) allows (then without an end by default).
    pub fn share(mut self, share: f64) -> Self {
        self.share = Some(share);
        self
    }

    /// Meets only requests whose path contains this, for example `/spans/batch`. `/spans` matches that, too. `/langfuse`
    /// matches all that one backend is sent.
    pub fn on(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Lets the first `requests` matching requests pass.
    pub fn after(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    fn doing(misdeed: Misdeed) -> Self {
        Self::new(Effect::Do(misdeed))
    }

    fn new(effect: Effect) -> Self {
        Self {
            effect,
            path: None,
            skip: 0,
            times: None,
            share: None,
            seed: 0,
        }
    }

    /// Whether this request is met, which uses the fault up a bit.
    fn meets(&mut self, path: &str) -> bool {
        let left = self
            .times
            .unwrap_or(if self.share.is_some() { u64::MAX } else { 1 });
        if left == 0
            || self
                .path
                .as_deref()
                .is_some_and(|part| !path.contains(part))
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.share.is_some_and(|share| self.draw() >= share) {
            return false;
        }
        if left < u64::MAX {
            self.times = Some(left - 1);
        }
        true
    }

    /// The next number in 0..1 (splitmix64).
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a request has to go through.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) misdeed: Option<Misdeed>,
}

/// Decides, once, for a request to this path.
pub(crate) fn decide(faults: &mut [Fault], path: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for fault in faults {
        if !fault.meets(path) {
            continue;
        }
        match &fault.effect {
            Effect::Latency(delay) => verdict.delay = verdict.delay.saturating_add(*delay),
            Effect::Do(misdeed) => {
                verdict.misdeed = Some(misdeed.clone());
                break;
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(fault: Fault, requests: usize) -> Vec<bool> {
        let mut faults = [fault];
        (0..requests)
            .map(|_| {
                decide(&mut faults, "/v1/private/spans/batch")
                    .misdeed
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn counts() {
        assert_eq!(hits(Fault::reset(), 3), [true, false, false]);
        assert_eq!(hits(Fault::reset().times(2), 3), [true, true, false]);
        assert_eq!(hits(Fault::reset().after(1), 3), [false, true, false]);
        assert_eq!(hits(Fault::reset().always(), 3), [true; 3]);
        assert_eq!(hits(Fault::reset().on("/traces").always(), 3), [false; 3]);
        assert_eq!(
            hits(Fault::reset().on("spans/batch").times(0), 3),
            [false; 3]
        );
    }

    #[test]
    fn a_share_is_the_same_in_every_run_and_about_right() {
        let first = hits(Fault::reset().share(0.2), 1000);
        assert_eq!(first, hits(Fault::reset().share(0.2), 1000));
        let met = first.iter().filter(|met| **met).count();
        assert!((170..230).contains(&met), "{met}");
        assert_eq!(hits(Fault::reset().share(0.0), 50), [false; 50]);
        assert_eq!(hits(Fault::reset().share(1.0), 50), [true; 50]);
        assert_eq!(
            hits(Fault::reset().share(1.0).times(1), 3),
            [true, false, false]
        );
    }

    #[test]
    fn latencies_add_up_and_the_first_misdeed_wins() {
        let delay = Duration::from_millis(10);
        let mut faults = [
            Fault::latency(delay),
            Fault::latency(delay),
            Fault::reset(),
            Fault::silence(),
        ];
        let verdict = decide(&mut faults, "/");
        assert_eq!(verdict.delay, delay * 2);
        assert!(matches!(verdict.misdeed, Some(Misdeed::Reset)));
        let verdict = decide(&mut faults, "/");
        assert_eq!(verdict.delay, Duration::ZERO);
        assert!(matches!(verdict.misdeed, Some(Misdeed::Silence)));
    }
}
