//! Shortening of a call that is too large for the backend.

use std::{cmp::Reverse, mem};

use beluga_o11y::{Json, LLMCallData};
use serde::Serialize;

use crate::names::Names;

/// The content that is left, in bytes, at most.
const MOST_BYTES: usize = 64 * 1024;
/// The entries up to which metadata is shortened one by one. With so many, all that a call can have fits if no part is
/// larger than 256 bytes, so that smaller parts always stay.
const MOST_ENTRIES: usize = 100;
/// The room for the number of a metadata key, `_100` at most, when keys became equal.
const NUMBER_BYTES: usize = 4;

/// A copy of a call whose largest contents and texts are replaced by a marker that tells their size, until at most
/// 64 KiB are left. `None` if there is no more to begin with.
///
/// A text becomes the marker's JSON text, and so does the key of a metadata entry. All tags together are one part: they
/// become one tag. So is metadata of more than 100 entries: it becomes one entry, `truncated`. The id, the times and
/// the numbers stay.
pub(crate) fn shorten(call: &LLMCallData) -> Option<LLMCallData> {
    let mut short = call.clone();
    let mut metadata: Vec<_> = mem::take(&mut short.metadata).into_iter().collect();
    let numbers = NUMBER_BYTES * metadata.len().min(MOST_ENTRIES);
    if !shorten_largest(parts(&mut short, &mut metadata), MOST_BYTES - numbers) {
        return None;
    }
    let mut names = Names::default();
    let metadata = metadata.into_iter();
    short.metadata = metadata
        .map(|(key, value)| (names.other_than_taken(&key).unwrap_or(key), value))
        .collect();
    Some(short)
}

/// If the parts are too large, replaces the largest of them until the rest fits in `most` bytes. Tells whether they were.
fn shorten_largest(mut parts: Vec<Part<'_>>, most: usize) -> bool {
    let mut bytes: usize = parts.iter().map(Part::bytes).sum();
    if bytes <= MOST_BYTES {
        return false;
    }
    parts.sort_by_key(|part| Reverse(part.bytes()));
    for part in &mut parts {
        let before = part.bytes();
        if bytes <= most {
            break;
        }
        part.replace(before);
        bytes = bytes - before + part.bytes();
    }
    true
}

type Entry = (String, Json);

/// What is kept or replaced as a whole.
enum Part<'a> {
    Content(&'a mut Json),
    Text(&'a mut String),
    Tags(&'a mut Vec<String>),
    Metadata(&'a mut Vec<Entry>),
}

fn parts<'a>(call: &'a mut LLMCallData, metadata: &'a mut Vec<Entry>) -> Vec<Part<'a>> {
    let mut parts = vec![
        Part::Text(&mut call.provider),
        Part::Text(&mut call.model),
        Part::Tags(&mut call.tags),
    ];
    let content = [
        &mut call.messages,
        &mut call.response,
        &mut call.model_parameters,
    ];
    parts.extend(content.into_iter().flatten().map(Part::Content));
    let texts = [
        &mut call.name,
        &mut call.session_id,
        &mut call.user_id,
        &mut call.environment,
        &mut call.release,
        &mut call.trace_id,
        &mut call.parent_span_id,
    ];
    parts.extend(texts.into_iter().flatten().map(Part::Text));
    if let Some(error) = &mut call.error {
        parts.push(Part::Text(&mut error.message));
        let optional = [&mut error.kind, &mut error.trace];
        parts.extend(optional.into_iter().flatten().map(Part::Text));
    }
    if metadata.len() > MOST_ENTRIES {
        parts.push(Part::Metadata(metadata));
    } else {
        for (key, value) in metadata {
            parts.extend([Part::Text(key), Part::Content(value)]);
        }
    }
    parts
}

impl Part<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Content(json) => json.size(),
            Self::Text(text) => text.len(),
            Self::Tags(tags) => tags.iter().map(String::len).sum(),
            Self::Metadata(entries) => {
                let sizes = entries.iter().map(|(key, value)| key.len() + value.size());
                sizes.sum()
            }
        }
    }

    /// Puts the marker in its place.
    fn replace(&mut self, bytes: usize) {
        let marker = marker(bytes);
        match self {
            Self::Content(json) => **json = marker,
            Self::Text(text) => **text = marker.as_str().to_owned(),
            Self::Tags(tags) => **tags = vec![marker.as_str().to_owned()],
            Self::Metadata(entries) => **entries = vec![("truncated".to_owned(), marker)],
        }
    }
}

/// `{"truncated":true,"bytes":n}`
fn marker(bytes: usize) -> Json {
    #[derive(Serialize)]
    struct Marker {
        truncated: bool,
        bytes: usize,
    }
    Json::new(&Marker {
        truncated: true,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beluga_o11y::{CallError, Usage};
    use proptest::prelude::*;

    use super::*;

    const KIB: usize = 1024;
    /// No part that is smaller is ever replaced.
    const SMALL_BYTES: usize = 256;

    fn text(bytes: usize) -> String {
        "x".repeat(bytes)
    }

    /// As JSON, so many bytes.
    fn content(bytes: usize) -> String {
        text(bytes - 2)
    }

    fn marker_text(bytes: usize) -> String {
        format!(r#"{{"truncated":true,"bytes":{bytes}}}"#)
    }

    fn call() -> LLMCallData {
        LLMCallData::new("openai", "gpt-4o")
    }

    fn bytes(call: &LLMCallData) -> usize {
        let mut copy = call.clone();
        let mut metadata: Vec<_> = mem::take(&mut copy.metadata).into_iter().collect();
        parts(&mut copy, &mut metadata)
            .iter()
            .map(Part::bytes)
            .sum()
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(shorten(&call()), None);
        let names = "openai".len() + "gpt-4o".len();
        let full = call().with_messages(content(MOST_BYTES - names));
        assert_eq!(bytes(&full), MOST_BYTES);
        assert_eq!(shorten(&full), None);
        assert!(shorten(&full.with_tag("x")).is_some());
    }

    #[test]
    fn the_largest_goes_first_and_the_rest_stays() {
        let long = call()
            .with_messages(content(40 * KIB))
            .with_response(content(50 * KIB))
            .with_model_parameters(content(3 * KIB))
            .with_metadata("k", content(20 * KIB));
        let short = shorten(&long).unwrap();
        assert_eq!(
            short.response.as_ref().unwrap().as_str(),
            marker_text(50 * KIB)
        );
        assert_eq!(short.messages, long.messages);
        assert_eq!(short.model_parameters, long.model_parameters);
        assert_eq!(short.metadata, long.metadata);
        assert!(bytes(&short) <= MOST_BYTES);

        let more = long.with_metadata("l", content(45 * KIB));
        let short = shorten(&more).unwrap();
        assert_eq!(short.metadata["l"].as_str(), marker_text(45 * KIB));
        assert_eq!(
            short.response.as_ref().unwrap().as_str(),
            marker_text(50 * KIB)
        );
        assert_eq!(short.messages, more.messages);
        assert_eq!(short.metadata["k"], more.metadata["k"]);
    }

    #[test]
    fn numbers_times_and_the_id_stay() {
        let long = call()
            .with_messages(content(100 * KIB))
            .with_usage(Usage::new(500, 150).with_cache_read(7))
            .with_cost(0.25)
            .with_duration(Duration::from_secs(2))
            .with_time_to_first_token(Duration::from_secs(1));
        let short = shorten(&long).unwrap();
        assert_eq!(short.id(), long.id());
        assert_eq!(short.start_time(), long.start_time());
        let mut expected = long;
        expected.messages = Some(marker(100 * KIB));
        assert_eq!(short, expected);
    }

    #[test]
    fn long_texts_become_the_text_of_the_marker() {
        let with: [fn(LLMCallData, String) -> LLMCallData; 7] = [
            LLMCallData::with_name,
            LLMCallData::with_session_id,
            LLMCallData::with_user_id,
            LLMCallData::with_environment,
            LLMCallData::with_release,
            LLMCallData::with_trace_id,
            LLMCallData::with_parent_span_id,
        ];
        for field in with {
            let long = field(call(), text(100 * KIB));
            let short = shorten(&long).unwrap();
            assert_eq!(short, field(long, marker_text(100 * KIB)));
        }
        let short = shorten(&LLMCallData::new(text(80 * KIB), text(70 * KIB))).unwrap();
        assert_eq!(short.provider, marker_text(80 * KIB));
        assert_eq!(short.model, marker_text(70 * KIB));
    }

    #[test]
    fn the_texts_of_an_error_are_shortened_one_by_one() {
        let error = CallError::new(text(90 * KIB))
            .with_trace(text(80 * KIB))
            .with_kind("E");
        let short = shorten(&call().with_error(error)).unwrap();
        let expected = CallError::new(marker_text(90 * KIB))
            .with_trace(marker_text(80 * KIB))
            .with_kind("E");
        assert_eq!(short.error, Some(expected));
        let huge_kind = CallError::new("m").with_kind(text(90 * KIB));
        let short = shorten(&call().with_error(huge_kind)).unwrap();
        let expected = CallError::new("m").with_kind(marker_text(90 * KIB));
        assert_eq!(short.error, Some(expected));
    }

    #[test]
    fn many_tags_become_one() {
        let tags = (0..100_000).map(|i| format!("{i:05}"));
        let short = shorten(&tags.fold(call(), LLMCallData::with_tag)).unwrap();
        assert_eq!(short.tags, [marker_text(500_000)]);
    }

    #[test]
    fn huge_metadata_keys_keep_their_values() {
        let long = call()
            .with_metadata(format!("a{}", text(100 * KIB)), 1)
            .with_metadata(format!("b{}", text(100 * KIB)), 2)
            .with_metadata("c", 3);
        let short = shorten(&long).unwrap();
        let key = marker_text(100 * KIB + 1);
        let expected = call()
            .with_metadata(&key, 1)
            .with_metadata(format!("{key}_2"), 2)
            .with_metadata("c", 3);
        assert_eq!(short.metadata, expected.metadata);
    }

    #[test]
    fn the_numbers_of_keys_fit_too() {
        // Some of these end just below the limit before the keys are numbered.
        for value in 600..612 {
            let mut long = call();
            for i in 0..MOST_ENTRIES {
                long = long.with_metadata(format!("{i:01000}"), content(value));
            }
            let short = shorten(&long).unwrap();
            assert_eq!(short.metadata.len(), MOST_ENTRIES);
            assert!(bytes(&short) <= MOST_BYTES, "{value}");
        }
    }

    #[test]
    fn a_great_many_metadata_entries_become_one() {
        let keys = (0..10_000).map(|i| format!("{i:05}"));
        let long = keys.fold(call(), |call, key| call.with_metadata(key, true));
        let long = long.with_messages(content(KIB));
        let short = shorten(&long).unwrap();
        assert_eq!(short.metadata.len(), 1);
        assert_eq!(short.metadata["truncated"].as_str(), marker_text(90_000));
        assert_eq!(short.messages, long.messages);
    }

    #[test]
    fn the_most_small_parts_fit() {
        let small = || text(SMALL_BYTES);
        let error = CallError::new(small())
            .with_kind(small())
            .with_trace(small());
        let mut call = LLMCallData::new(small(), small())
            .with_name(small())
            .with_messages(content(SMALL_BYTES))
            .with_response(content(SMALL_BYTES))
            .with_model_parameters(content(SMALL_BYTES))
            .with_error(error)
            .with_session_id(small())
            .with_user_id(small())
            .with_tag(small())
            .with_environment(small())
            .with_release(small())
            .with_trace_id(small())
            .with_parent_span_id(small());
        for i in 0..MOST_ENTRIES {
            call = call.with_metadata(format!("{i:0SMALL_BYTES$}"), content(SMALL_BYTES));
        }
        let room = MOST_BYTES - NUMBER_BYTES * MOST_ENTRIES;
        assert!((room * 4 / 5..=room).contains(&bytes(&call)));
    }

    #[test]
    fn content_that_is_held_as_an_error_counts_nothing() {
        let mut call = call();
        let deep = "[".repeat(50_000) + &"]".repeat(50_000);
        call.messages = Some(serde_json::from_str(&deep).unwrap());
        assert!(call.validate().is_err());
        assert_eq!(shorten(&call), None);
    }

    proptest! {
        #[test]
        fn it_fits_in_the_end_and_small_parts_stay(
            sizes in proptest::collection::vec(prop_oneof![2..600_usize, 2..100_000_usize], 6),
            metadata in proptest::collection::vec((0..2000_usize, 2..2000_usize), 0..150),
        ) {
            let mut long = call()
                .with_messages(content(sizes[0]))
                .with_response(content(sizes[1]))
                .with_model_parameters(content(sizes[2]))
                .with_error(CallError::new(text(sizes[3])).with_trace(text(sizes[4])))
                .with_name(text(sizes[5]));
            for (i, (key, value)) in metadata.iter().enumerate() {
                long = long.with_metadata(format!("{i}{}", text(*key)), content(*value));
            }
            match shorten(&long) {
                None => prop_assert!(bytes(&long) <= MOST_BYTES),
                Some(short) => {
                    prop_assert!(bytes(&long) > MOST_BYTES);
                    prop_assert!(bytes(&short) <= MOST_BYTES);
                    prop_assert_eq!(short.id(), long.id());
                    prop_assert_eq!(shorten(&short), None);
                    for (short, long) in [
                        (short.messages, long.messages),
                        (short.response, long.response),
                        (short.model_parameters, long.model_parameters),
                    ] {
                        let bytes = long.as_ref().unwrap().size();
                        let marked = short == Some(marker(bytes));
                        prop_assert!(short == long || marked && bytes > SMALL_BYTES);
                    }
                    if long.metadata.len() <= MOST_ENTRIES {
                        prop_assert_eq!(short.metadata.len(), long.metadata.len());
                    }
                }
            }
        }
    }
}
