//! Ids in the form of W3C Trace Context, which is OTLP's: 16 bytes for a trace, 8 for a span, never all zero.

use beluga_o11y::LLMCallData;
use sha2::{Digest, Sha256};

/// The id of the trace that a call belongs to: the caller's own, else the call's.
///
/// An own id that is not of the form becomes the first 16 bytes of its SHA-256, so that all calls with
/// that id are in one trace. It is how Langfuse's clients make a trace id out of a seed (`create_trace_id`), so
/// that a program in another language ends up in the same trace.
pub(crate) fn trace_id(call: &LLMCallData) -> [u8; 16] {
    let own = call.trace_id.as_deref().map(str::trim);
    match own.filter(|id| !id.is_empty()) {
        None => call.id().into_bytes(),
        Some(id) => w3c(id).unwrap_or_else(|| {
            let hash = Sha256::digest(id.as_bytes());
            hash.first_chunk().copied().unwrap_or_default()
        }),
    }
}

/// The id of the call's span, from the random end of the call's id; none if that is all zero.
///
/// It is ours even if the caller has a span of its own around the call: a span id is unique in
/// its trace, and Phoenix keeps only the first span of an id.
pub(crate) fn span_id(call: &LLMCallData) -> Option<[u8; 8]> {
    let id = call.id().into_bytes();
    id.last_chunk().copied().filter(|id| *id != [0; 8])
}

/// The ids that the span of a call is sent with, its trace's and its own, in hexadecimal as servers show them: to ask
/// for it.
///
/// `None` for a call that cannot be sent, because the last 8 bytes of its id are zero.
pub fn wire_ids(call: &LLMCallData) -> Option<(String, String)> {
    Some((hex(&trace_id(call)), hex(&span_id(call)?)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The caller's own span that the call happened in, if it is of the form and its trace is known too: a
/// span id says nothing outside of its trace.
pub(crate) fn parent_span_id(call: &LLMCallData) -> Option<[u8; 8]> {
    w3c::<16>(call.trace_id.as_deref()?.trim())?;
    w3c(call.parent_span_id.as_deref()?.trim())
}

/// Exactly the bytes that so many hexadecimal digits stand for; hyphens may be between them, as in a UUID.
fn w3c<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
    let mut id = [0; N];
    for byte in &mut id {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    (digits.next().is_none() && id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> LLMCallData {
        LLMCallData::new("openai", "gpt-4o")
            .with_id("01a2053e-d6f8-792b-8988-1657efa89323".parse().unwrap())
    }

    #[test]
    fn without_ids_of_the_caller_the_calls_own_bytes_count() {
        assert_eq!(hex(&trace_id(&call())), "01a2053ed6f8792b89881657efa89323");
        assert_eq!(hex(&span_id(&call()).unwrap()), "89881657efa89323");
        let ids = wire_ids(&call()).unwrap();
        assert_eq!(ids.0, "01a2053ed6f8792b89881657efa89323");
        assert_eq!(ids.1, "89881657efa89323");
        assert_eq!(trace_id(&call().with_trace_id(" ")), trace_id(&call()));
        assert_eq!(parent_span_id(&call()), None);
    }

    #[test]
    fn the_callers_trace_is_joined_and_the_span_stays_ours() {
        let call = call()
            .with_trace_id("0AF7651916cd43dd8448eb211c80319c")
            .with_parent_span_id("b7ad6b7169203331");
        assert_eq!(hex(&trace_id(&call)), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex(&span_id(&call).unwrap()), "89881657efa89323");
        assert_eq!(hex(&parent_span_id(&call).unwrap()), "b7ad6b7169203331");
    }

    #[test]
    fn a_uuid_is_a_trace_id_and_anything_else_is_hashed() {
        let id = |text: &str| hex(&trace_id(&call().with_trace_id(text)));
        assert_eq!(
            id("0af76519-16cd-43dd-8448-eb211c80319c"),
            "0af7651916cd43dd8448eb211c80319c"
        );
        // sha256("order-7"), as `printf order-7 | sha256sum` has it.
        assert_eq!(id("order-7"), ORDER_7);
        for hashed in [&"0".repeat(32), &"a".repeat(31), &"a".repeat(33), "ü"] {
            assert_ne!(id(hashed), *hashed);
            assert_eq!(id(hashed).len(), 32);
        }
    }

    const ORDER_7: &str = "df8cf80227ec3237922df0ecd88385c5";

    #[test]
    fn a_parent_counts_only_in_a_known_trace() {
        let w3c_trace = "0af7651916cd43dd8448eb211c80319c";
        for (trace, parent) in [
            (None, "b7ad6b7169203331"),
            (Some("order-7"), "b7ad6b7169203331"),
            (Some(w3c_trace), "span-1"),
            (Some(w3c_trace), "0000000000000000"),
        ] {
            let mut call = call().with_parent_span_id(parent);
            call.trace_id = trace.map(str::to_owned);
            assert_eq!(parent_span_id(&call), None, "{trace:?} {parent}");
        }
    }

    #[test]
    fn a_span_id_of_zeros_is_none() {
        let id = "01a2053e-d6f8-792b-0000-000000000000".parse().unwrap();
        assert_eq!(span_id(&call().with_id(id)), None);
        assert_eq!(wire_ids(&call().with_id(id)), None);
    }
}
