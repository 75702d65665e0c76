//! The memory that a call takes up.

use std::{collections::BTreeMap, mem::size_of};

use beluga_o11y::{CallError, Json, LLMCallData};

/// What an allocator needs for its own records and rounding, at most: glibc rounds up to 16 bytes after adding 8.
const ALLOCATOR_BYTES: usize = 16;
/// The two counts in front of what an `Arc` holds.
const ARC_BYTES: usize = 2 * size_of::<usize>();
/// The entries that a node of a `BTreeMap` has room for, used or not.
const NODE_ENTRIES: usize = 11;
/// A node without children: its entries, the way to its parent, two small numbers.
const LEAF_BYTES: usize =
    NODE_ENTRIES * (size_of::<String>() + size_of::<Json>()) + 2 * size_of::<usize>();
/// A node with children.
const INNER_BYTES: usize = LEAF_BYTES + (NODE_ENTRIES + 1) * size_of::<usize>();

/// The memory that a queued call takes up, in bytes, as it stands in an `Arc`: never less than it really is, and little
/// more.
///
/// Content that several calls share counts for each of them, since nobody knows who lets go of it first. (A map that
/// was emptied entry by entry may keep a node that is not counted.)
pub(crate) fn size(call: &LLMCallData) -> usize {
    let content = [&call.messages, &call.response, &call.model_parameters];
    let texts = [
        &call.name,
        &call.session_id,
        &call.user_id,
        &call.environment,
        &call.release,
        &call.trace_id,
        &call.parent_span_id,
    ];
    allocated(ARC_BYTES + size_of::<LLMCallData>())
        + content.into_iter().flatten().map(json).sum::<usize>()
        + text(&call.provider)
        + text(&call.model)
        + texts.into_iter().flatten().map(text).sum::<usize>()
        + call.error.as_ref().map_or(0, error)
        + tags(&call.tags)
        + metadata(&call.metadata)
}

/// What an allocation of so many bytes costs. None is made for nothing.
fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes.next_multiple_of(16) + ALLOCATOR_BYTES,
    }
}

fn text(text: &String) -> usize {
    allocated(text.capacity())
}

fn json(json: &Json) -> usize {
    match json.size() {
        // Held as an error: there is no text.
        0 => 0,
        bytes => allocated(ARC_BYTES + bytes),
    }
}

fn error(error: &CallError) -> usize {
    let optional = [&error.kind, &error.trace];
    text(&error.message) + optional.into_iter().flatten().map(text).sum::<usize>()
}

fn tags(tags: &Vec<String>) -> usize {
    allocated(tags.capacity() * size_of::<String>()) + tags.iter().map(text).sum::<usize>()
}

fn metadata(metadata: &BTreeMap<String, Json>) -> usize {
    let entries = metadata.iter().map(|(key, value)| text(key) + json(value));
    nodes(metadata.len()) + entries.sum::<usize>()
}

/// The nodes of a map of so many entries, filled as badly as they may be.
fn nodes(entries: usize) -> usize {
    if entries == 0 {
        return 0;
    }
    // A leaf that is not the root has 5 entries at least, and one more stands between two leaves.
    let leaves = ((entries + 1) / 6).max(1);
    // An inner node that is not the root has 6 children at least: 1/6 + 1/36 + .. = 1/5.
    let inner = if leaves > 1 { leaves / 5 + 1 } else { 0 };
    leaves * allocated(LEAF_BYTES) + inner * allocated(INNER_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Without any heap of its own.
    fn bare() -> LLMCallData {
        LLMCallData::new(String::new(), String::new())
    }

    fn added(change: impl FnOnce(LLMCallData) -> LLMCallData) -> usize {
        size(&change(bare())) - size(&bare())
    }

    fn string(bytes: usize) -> String {
        let mut text = String::with_capacity(bytes);
        text.extend(std::iter::repeat_n('x', bytes));
        assert_eq!(text.capacity(), bytes);
        text
    }

    #[test]
    fn an_empty_call_is_its_struct_and_the_counts_of_its_arc() {
        let bytes = size_of::<LLMCallData>() + ARC_BYTES;
        let size = size(&bare());
        assert!((bytes + 16..bytes + 32).contains(&size), "{bytes} {size}");
    }

    #[test]
    fn each_allocation_costs_sixteen_bytes_more_and_is_rounded_up() {
        assert_eq!(allocated(0), 0);
        assert_eq!(allocated(1), 32);
        assert_eq!(allocated(16), 32);
        assert_eq!(allocated(17), 48);
        // glibc needs 8 more than what is asked for, in steps of 16, and 32 at least.
        for bytes in 1..1000_usize {
            let glibc = (bytes + 8).next_multiple_of(16).max(32);
            assert!(allocated(bytes) >= glibc, "{bytes}");
        }
    }

    #[test]
    fn every_string_counts_with_its_capacity() {
        let fields: [fn(LLMCallData, String) -> LLMCallData; 9] = [
            |call, text| LLMCallData::new(text, "").with_id(call.id()),
            |call, text| LLMCallData::new("", text).with_id(call.id()),
            LLMCallData::with_name,
            LLMCallData::with_session_id,
            LLMCallData::with_user_id,
            LLMCallData::with_environment,
            LLMCallData::with_release,
            LLMCallData::with_trace_id,
            LLMCallData::with_parent_span_id,
        ];
        for field in fields {
            assert_eq!(added(|call| field(call, string(1000))), 1008 + 16);
            assert_eq!(added(|call| field(call, String::with_capacity(1000))), 1024);
        }
    }

    #[test]
    fn every_text_of_an_error_counts() {
        let error = CallError::new(string(100))
            .with_kind(string(200))
            .with_trace(string(300));
        let expected = (112 + 16) + (208 + 16) + (304 + 16);
        assert_eq!(added(|call| call.with_error(error)), expected);
    }

    #[test]
    fn tags_count_with_the_room_that_their_list_has() {
        let mut tags = Vec::with_capacity(10);
        tags.push(string(100));
        let list = 10 * size_of::<String>();
        let expected = list.next_multiple_of(16) + 16 + (112 + 16);
        assert_eq!(
            added(|mut call| {
                call.tags = tags;
                call
            }),
            expected
        );
    }

    #[test]
    fn content_counts_with_the_counts_of_its_arc() {
        let text = "x".repeat(998);
        let expected = (1000 + ARC_BYTES).next_multiple_of(16) + 16;
        assert_eq!(added(|call| call.with_messages(&text)), expected);
        assert_eq!(added(|call| call.with_response(&text)), expected);
        assert_eq!(added(|call| call.with_model_parameters(&text)), expected);
    }

    #[test]
    fn content_that_is_held_as_an_error_takes_nothing() {
        let deep: Json = serde_json::from_str(&("[".repeat(200) + &"]".repeat(200))).unwrap();
        assert!(deep.error().is_some());
        assert_eq!(
            added(|mut call| {
                call.messages = Some(deep);
                call
            }),
            0
        );
    }

    #[test]
    fn one_metadata_entry_costs_a_whole_node() {
        let expected = allocated(LEAF_BYTES) + 32 + allocated(ARC_BYTES + 4);
        assert_eq!(added(|call| call.with_metadata(string(5), true)), expected);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn nodes_are_as_large_as_those_of_the_standard_library() {
        assert_eq!((LEAF_BYTES, INNER_BYTES), (456, 552));
    }

    #[test]
    fn nodes_are_counted_as_if_they_were_nearly_empty() {
        let (leaf, inner) = (allocated(LEAF_BYTES), allocated(INNER_BYTES));
        assert_eq!(nodes(0), 0);
        assert_eq!(nodes(1), leaf);
        assert_eq!(nodes(10), leaf);
        // 5 + 1 + 5, as a map of 12 becomes that loses one.
        assert_eq!(nodes(11), 2 * leaf + inner);
        // The worst map of three levels: a root with 2 children of 6 leaves of 5 entries.
        let entries = 12 * 5 + 2 * 5 + 1;
        assert!(nodes(entries) >= 12 * leaf + 3 * inner);
    }

    proptest! {
        #[test]
        fn whatever_is_added_makes_a_call_larger(
            texts in proptest::collection::vec("[a-z]{1,40}", 8),
            keys in proptest::collection::btree_set("[a-z]{1,9}", 1..40),
        ) {
            let mut call = bare();
            let mut last = size(&call);
            let mut grows = |call: &LLMCallData, by: usize| {
                let now = size(call);
                let grown = now >= last + by;
                last = now;
                grown
            };
            let [a, b, c, d, e, f, g, h] = <[String; 8]>::try_from(texts).unwrap();
            call = call.with_messages(json!([{"role": a}]));
            prop_assert!(grows(&call, a.len()));
            call = call.with_response(&b);
            prop_assert!(grows(&call, b.len()));
            call = call.with_error(CallError::new(&c).with_trace(&d));
            prop_assert!(grows(&call, c.len() + d.len()));
            call = call.with_tag(&e);
            prop_assert!(grows(&call, e.len() + size_of::<String>()));
            call = call.with_trace_id(&f).with_user_id(&g);
            prop_assert!(grows(&call, f.len() + g.len()));
            for key in keys {
                call = call.with_metadata(&key, &h);
                prop_assert!(grows(&call, key.len() + h.len()));
            }
        }
    }
}
