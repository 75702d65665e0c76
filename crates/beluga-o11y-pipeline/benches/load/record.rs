//! The call that all figures are about: a history of 1 KB and an answer of 500 B.

use std::time::Duration;

use beluga_o11y::{Json, LLMCallData};
use serde_json::json;
use uuid::Uuid;

/// So many that their text is not in the processor's fast caches when its turn comes, as in a real program.
const CONTENTS: usize = 4_096;

/// A call whose content nobody else holds.
pub(crate) fn call() -> LLMCallData {
    call_with(prose)
}

/// This many calls, each under an id of its own. They share a few thousand contents in turn, so that many of them
/// fit in memory.
pub(crate) fn calls(count: usize) -> Vec<LLMCallData> {
    copies(call, count)
}

/// Like [`calls`], but of words in random order: prose in circles compresses better than any real conversation.
pub(crate) fn varied_calls(count: usize) -> Vec<LLMCallData> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    copies(|| call_with(|bytes| random.text(bytes)), count)
}

fn call_with(mut text: impl FnMut(usize) -> String) -> LLMCallData {
    let messages = json!([
        {"role": "system", "content": text(200)},
        {"role": "user", "content": text(300)},
        {"role": "assistant", "content": text(200)},
        {"role": "user", "content": text(140)},
    ]);
    let call = LLMCallData::new("openai", "gpt-4o")
        .with_messages(messages)
        .with_response(text(480))
        .with_tokens(500, 150)
        .with_duration(Duration::from_millis(1200))
        .with_cost(0.003)
        .with_session_id("conversation-1")
        .with_metadata("experiment", "baseline-v2");
    let size = call.messages.as_ref().map_or(0, Json::size);
    assert!((950..1_100).contains(&size), "{size}");
    call
}

fn copies(mut make: impl FnMut() -> LLMCallData, count: usize) -> Vec<LLMCallData> {
    let contents: Vec<_> = (0..CONTENTS.min(count)).map(|_| make()).collect();
    let first = Uuid::now_v7().as_u128();
    let copies = contents.iter().cycle().take(count).zip(0_u128..);
    copies
        .map(|(call, at)| call.clone().with_id(Uuid::from_u128(first + at)))
        .collect()
}

fn prose(bytes: usize) -> String {
    let prose = "Paris is the capital of France, and \"the city of light\" to many.\n";
    prose.chars().cycle().take(bytes).collect()
}

/// Marsaglia's xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Some thousand words of different lengths, some of them much more frequent than others, in lines.
    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            let frequent = self.below(50) * self.below(50);
            for syllable in 0..=frequent % 3 {
                let letters = frequent * 31 + syllable * 17;
                for (set, at) in [("bcdfghlmnprstvw", letters), ("aeiou", letters / 15)] {
                    text.extend(set.chars().cycle().nth((at % 15) as usize));
                }
            }
            text.push(if self.below(12) == 0 { '\n' } else { ' ' });
        }
        text.truncate(bytes);
        text
    }
}
