//! Calls of which everything follows from three numbers, so that whoever finds one can tell whether it is whole, and
//! whether anybody made it.

use beluga_o11y::LLMCallData;
use beluga_o11y_sandbox::StoredCall;
use chrono::Utc;
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

/// About what the content of a call comes to.
const BYTES: usize = 1000;

/// Which call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    pub(crate) trial: u32,
    /// Which of the trial's processes made it.
    pub(crate) process: u8,
    /// Which of the calls of this process.
    pub(crate) call: u16,
}

impl Number {
    /// The numbers stand where a UUIDv7 is random, between its fixed bits.
    fn id(self) -> Uuid {
        let millis = u64::try_from(Utc::now().timestamp_millis()).unwrap();
        let mut random = [0; 10];
        random[1] = self.process;
        random[4..8].copy_from_slice(&self.trial.to_be_bytes());
        random[8..10].copy_from_slice(&self.call.to_be_bytes());
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// What [`id`](Self::id) was made of.
    pub(crate) fn of(id: Uuid) -> Self {
        let [.., a, b, c, d, e, f] = id.into_bytes();
        Self {
            trial: u32::from_be_bytes([a, b, c, d]),
            process: id.into_bytes()[7],
            call: u16::from_be_bytes([e, f]),
        }
    }

    pub(crate) fn record(self) -> LLMCallData {
        LLMCallData::new("openai", "gpt-4o")
            .with_id(self.id())
            .with_messages(self.messages())
            .with_response(self.text())
            .with_tokens(self.input_tokens(), self.output_tokens())
            .with_metadata("number", self.text())
    }

    /// Whether a backend has it whole.
    pub(crate) fn is(self, stored: &StoredCall) -> bool {
        let text = Some(Value::from(self.text()));
        stored.input == Some(self.messages())
            && stored.output == text
            && stored.metadata.get("number") == text.as_ref()
            && stored.input_tokens == Some(self.input_tokens())
            && stored.output_tokens == Some(self.output_tokens())
    }

    fn text(self) -> String {
        format!("call {} of {} of {}", self.call, self.process, self.trial)
    }

    fn messages(self) -> Value {
        let content = format!("{}; ", self.text());
        json!([{"role": "user", "content": content.repeat(BYTES / content.len())}])
    }

    fn input_tokens(self) -> u64 {
        u64::from(self.call)
    }

    fn output_tokens(self) -> u64 {
        u64::from(self.process) + 1
    }
}
