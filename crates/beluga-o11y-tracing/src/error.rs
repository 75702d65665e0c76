//! What a call failed with.

use beluga_o11y::{CallError, Json, LLMCallData};

/// The entry of the metadata that marks an error which no library told of.
const INFERRED: &str = "error_inferred";
const NO_ANSWER: &str =
    "no answer was recorded: the call failed, was cancelled, or its answer was not read to the end";

/// As it was told, as far as there was anything.
pub(crate) fn told(kind: Option<&str>, message: Option<String>) -> CallError {
    let error = CallError::new(message.unwrap_or_else(|| match kind {
        Some(kind) => format!("the call failed: {kind}"),
        None => "the call failed".to_owned(),
    }));
    match kind {
        Some(kind) => error.with_kind(kind),
        None => error,
    }
}

/// Of a span that is closed while a panic unwinds.
pub(crate) fn of_panic() -> CallError {
    CallError::new("a panic ended the call").with_kind(CallError::PANIC)
}

/// Marks a call as failed because nothing says that it was answered.
pub(crate) fn infer(call: &mut LLMCallData) {
    call.metadata.insert(INFERRED.to_owned(), Json::new(&true));
    call.error = Some(CallError::new(NO_ANSWER));
}

/// Drops an error that was only inferred.
pub(crate) fn forget_inferred(call: &mut LLMCallData) {
    // A program may have metadata of that name.
    let is_inferred = call
        .error
        .as_ref()
        .is_some_and(|error| error.message == NO_ANSWER);
    if is_inferred && call.metadata.remove(INFERRED).is_some() {
        call.error = None;
    }
}
