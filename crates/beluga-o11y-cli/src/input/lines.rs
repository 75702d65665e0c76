//! Cuts what is read into lines, in blocks for another thread, with memory bounded whatever a file holds.

use std::io::{self, ErrorKind, Read};

use xxhash_rust::xxh64::Xxh64;

/// The longest line that is read, in bytes. Backends take calls of 20 MB at most.
pub(crate) const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;
/// How much is read before the lines are handed over.
const BLOCK_BYTES: usize = 256 * 1024;

/// Whole lines, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Block {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// A line of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Where it begins and ends in the text of its block; nothing for one that is too long.
    range: Option<(usize, usize)>,
    /// How long it is.
    pub(crate) bytes: u64,
    /// Whether it has a line break at its end.
    pub(crate) ended: bool,
    /// Of all the file up to its end.
    pub(crate) digest: u64,
}

impl Block {
    /// The lines with their text; of one that is too long there is none.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Line, Option<&[u8]>)> {
        self.lines.iter().map(|line| {
            let text = line
                .range
                .and_then(|(start, end)| self.text.get(start..end));
            (*line, text)
        })
    }
}

/// Cuts a reader into lines.
pub(crate) struct Lines<R> {
    reader: R,
    /// What was read of the next line already.
    rest: Vec<u8>,
    number: u64,
    digest: Xxh64,
    /// How much of the line that is being read was thrown away, since it is too long.
    dropped: u64,
    ended: bool,
    /// The longest line that is kept.
    longest: usize,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self::up_to(MAX_LINE_BYTES, reader)
    }

    /// With lines of so many bytes at most.
    pub(crate) fn up_to(longest: usize, reader: R) -> Self {
        Self {
            reader,
            longest,
            rest: Vec::new(),
            number: 0,
            digest: Xxh64::new(0),
            dropped: 0,
            ended: false,
        }
    }

    /// The number of the line that is being read.
    pub(crate) fn number(&self) -> u64 {
        self.number + 1
    }

    /// The next lines; nothing at the end. After an error, too, what was read whole before comes first, and that is the end.
    pub(crate) fn next_block(&mut self) -> Result<Option<Block>, io::Error> {
        if self.ended {
            return Ok(None);
        }
        let mut block = Block {
            text: std::mem::take(&mut self.rest),
            lines: Vec::new(),
        };
        // Up to here there is no line break in the text.
        let mut searched = block.text.len();
        let mut start = 0;
        loop {
            let filled = block.text.len();
            block.text.resize(filled + BLOCK_BYTES, 0);
            let room = block.text.get_mut(filled..).unwrap_or_default();
            let read = match self.reader.read(room) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    block.text.truncate(filled);
                    continue;
                }
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            };
            block.text.truncate(filled + read);
            if read == 0 {
                self.ended = true;
                // A line may lack its break at the end.
                if start < block.text.len() || self.dropped > 0 {
                    let end = block.text.len();
                    self.line(&mut block, start, end);
                }
                break;
            }
            while let Some(found) = block
                .text
                .get(searched..)
                .and_then(|text| memchr::memchr(b'\n', text))
            {
                let end = searched + found;
                self.line(&mut block, start, end);
                start = end + 1;
                searched = start;
            }
            searched = block.text.len();
            if !block.lines.is_empty() {
                break;
            }
            if block.text.len() - start > self.longest {
                // It may go on for ever.
                self.digest
                    .update(block.text.get(start..).unwrap_or_default());
                self.dropped += (block.text.len() - start) as u64;
                block.text.truncate(start);
                searched = start;
            }
        }
        if !self.ended {
            self.rest = block.text.split_off(start);
        }
        match block.lines.is_empty() {
            true if self.ended => Ok(None),
            _ => Ok(Some(block)),
        }
    }

    /// A line from `start` to its break, or to the end of the text.
    fn line(&mut self, block: &mut Block, start: usize, end: usize) {
        self.number += 1;
        let line = block.text.get(start..end).unwrap_or_default();
        self.digest.update(line);
        self.digest.update(b"\n");
        let ended = !self.ended;
        let bytes = self.dropped + line.len() as u64;
        let too_long = bytes > self.longest as u64;
        let first = self.number == 1 && self.dropped == 0;
        let skipped = if first && line.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        self.dropped = 0;
        block.lines.push(Line {
            number: self.number,
            range: (!too_long).then_some((start + skipped, end)),
            bytes,
            ended,
            digest: self.digest.digest(),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads at most so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    type Found = Vec<(u64, Option<Vec<u8>>, u64, u64)>;

    fn lines(reader: impl Read) -> Found {
        let mut lines = Lines::new(reader);
        let mut found = Vec::new();
        while let Some(block) = lines.next_block().unwrap() {
            for (line, text) in block.lines() {
                let text = text.map(<[u8]>::to_vec);
                found.push((line.number, text, line.bytes, line.digest));
            }
        }
        found
    }

    fn texts(text: &[u8]) -> Vec<String> {
        let found = lines(Slow(text, 3)).into_iter();
        found
            .map(|(_, text, ..)| String::from_utf8(text.unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn lines_are_cut_at_their_breaks() {
        assert_eq!(texts(b""), Vec::<String>::new());
        assert_eq!(texts(b"a"), ["a"]);
        assert_eq!(texts(b"a\n"), ["a"]);
        assert_eq!(texts(b"a\n\nb\r\n \nccccc"), ["a", "", "b\r", " ", "ccccc"]);
        assert_eq!(texts(b"\xef\xbb\xbfa\n\xef\xbb\xbfb"), ["a", "\u{feff}b"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_counted() {
        let long = MAX_LINE_BYTES + 5_000_000;
        let mut text = b"before\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', long));
        text.extend(b"\nafter\n");
        let found = lines(&*text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].1.as_deref(), Some(&b"before"[..]));
        assert_eq!(
            (found[1].0, &found[1].1, found[1].2),
            (2, &None, long as u64)
        );
        assert_eq!(found[2].1.as_deref(), Some(&b"after"[..]));
        assert_eq!(lines(Slow(&text, 100_000)), found, "the digests too");
        text.truncate(text.len() - 7);
        assert_eq!(lines(&*text).len(), 2, "also at the end of the file");
    }

    #[test]
    fn what_stands_before_an_error_is_kept() {
        struct Broken<'a>(&'a [u8]);
        impl Read for Broken<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.is_empty() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => self.0.read(buffer),
                }
            }
        }
        let mut lines = Lines::new(Broken(b"a\nb\nhalf"));
        let block = lines.next_block().unwrap().unwrap();
        assert_eq!(block.lines().count(), 2);
        assert!(lines.next_block().is_err());
        assert_eq!(lines.number(), 3);
        assert!(lines.next_block().unwrap().is_none());
    }

    proptest! {
        #[test]
        fn the_cuts_do_not_depend_on_how_it_is_read(
            text in "[ab\n\r]{0,60}", at_a_time in 1_usize..20,
        ) {
            let found = lines(Slow(text.as_bytes(), at_a_time));
            prop_assert_eq!(&found, &lines(text.as_bytes()));
            let numbers: Vec<_> = found.iter().map(|line| line.0).collect();
            prop_assert_eq!(numbers, (1..=text.lines().count() as u64).collect::<Vec<_>>());
            let mut whole = text.clone();
            if !whole.is_empty() && !whole.ends_with('\n') {
                whole.push('\n');
            }
            let digest = found.last().map(|line| line.3);
            let expected = (!text.is_empty()).then(|| xxhash_rust::xxh64::xxh64(whole.as_bytes(), 0));
            prop_assert_eq!(digest, expected);
        }
    }
}
