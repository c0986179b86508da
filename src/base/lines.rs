//! Splits a byte stream into lines, in bounded memory. Of a line over the bound only the head and the length are kept.

use std::io::BufRead;

/// Maximum length of a line that is kept whole, in bytes.
///
/// The longest answer of today's models (128,000 tokens, about half a megabyte) fits even if every character is
/// escaped.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Length of the kept head of a line over the bound: enough to identify its kind.
const HEAD_BYTES: usize = 512;

/// Maximum capacity of `partial` between lines. A longer line is assembled in the spare buffer, which many streams
/// share.
const KEPT_CAPACITY_BYTES: usize = 64 * 1024;

/// Maximum capacity of the spare buffer. A larger one is freed.
const MAX_SPARE_BYTES: usize = 1024 * 1024;

/// One line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the bound.
    Complete(&'a [u8]),
    /// A line over the bound.
    Oversized {
        /// First bytes of the line.
        head: &'a [u8],
        /// Length of the whole line in bytes.
        bytes: u64,
    },
}

/// Splitter of one stream.
#[derive(Debug)]
pub struct LineSplitter {
    partial: Vec<u8>,
    /// Spare buffer: empty, but with the capacity of an earlier long line, if any.
    spare: Vec<u8>,
    /// Length of the current line if it is over the bound; `partial` then holds its head.
    too_long_bytes: Option<u64>,
    max_line_bytes: usize,
}

impl Default for LineSplitter {
    fn default() -> Self {
        LineSplitter::with_bound(MAX_LINE_BYTES)
    }
}

impl LineSplitter {
    /// Creates a splitter for lines of at most `max_line_bytes`.
    #[must_use]
    pub fn with_bound(max_line_bytes: usize) -> Self {
        LineSplitter { partial: Vec::new(), spare: Vec::new(), too_long_bytes: None, max_line_bytes }
    }

    /// Consumes the next piece of the stream and calls the callback for each complete line.
    pub fn push(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line)) {
        while let Some(newline) = find_newline(bytes) {
            let (line, rest) = (&bytes[..newline], &bytes[newline + 1..]);
            if self.partial.is_empty() && self.too_long_bytes.is_none() && line.len() <= self.max_line_bytes {
                on_line(Line::Complete(line)); // the usual case: nothing is copied
            } else {
                self.append(line);
                self.complete(&mut on_line);
            }
            bytes = rest;
        }
        self.append(bytes);
    }

    /// Ends the stream: calls the callback for the rest after the last newline, if any.
    pub fn finish(&mut self, mut on_line: impl FnMut(Line)) {
        if !self.partial.is_empty() {
            self.complete(&mut on_line);
        }
    }

    /// Swaps the spare buffer with the caller's.
    ///
    /// Allocating memory is cheap, but touching it for the first time is expensive. A reader of many streams therefore
    /// lends one buffer to each in turn, in which their long lines are assembled.
    pub fn lend_scratch(&mut self, spare: &mut Vec<u8>) {
        std::mem::swap(&mut self.spare, spare);
    }

    fn append(&mut self, bytes: &[u8]) {
        let length = self.partial.len() + bytes.len();
        if let Some(length) = &mut self.too_long_bytes {
            *length += bytes.len() as u64;
        } else if length <= self.max_line_bytes {
            if length > KEPT_CAPACITY_BYTES && self.partial.capacity() < self.spare.capacity() {
                self.spare.extend_from_slice(&self.partial);
                self.partial = std::mem::take(&mut self.spare);
            }
            self.partial.extend_from_slice(bytes);
        } else {
            self.too_long_bytes = Some(length as u64);
            let head_bytes = HEAD_BYTES.min(self.max_line_bytes);
            self.partial.extend_from_slice(&bytes[..bytes.len().min(head_bytes)]);
            self.partial.truncate(head_bytes);
            self.partial.shrink_to_fit();
        }
    }

    fn complete(&mut self, on_line: &mut impl FnMut(Line)) {
        match self.too_long_bytes.take() {
            None => on_line(Line::Complete(&self.partial)),
            Some(bytes) => on_line(Line::Oversized { head: &self.partial, bytes }),
        }
        self.partial.clear();
        if self.partial.capacity() > KEPT_CAPACITY_BYTES {
            let large = std::mem::take(&mut self.partial);
            if large.capacity() <= MAX_SPARE_BYTES {
                self.spare = large;
            }
        }
    }
}

/// Returns the position of the first newline. `skip_until` uses the C library's vectorized `memchr`.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let passed = rest.skip_until(b'\n').ok()?;
    let last = passed.checked_sub(1)?;
    if bytes[last] == b'\n' { Some(last) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(bound: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = LineSplitter::with_bound(bound);
        let mut found = Vec::new();
        let mut on_line = |line: Line| {
            found.push(match line {
                Line::Complete(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Line::Oversized { head, bytes } => format!("{}… {bytes}", String::from_utf8_lossy(head)),
            });
        };
        for piece in pieces {
            lines.push(piece, &mut on_line);
        }
        lines.finish(&mut on_line);
        found
    }

    #[test]
    fn lines_are_complete_for_any_split_of_the_stream() {
        let text = b"one\n\ntwo\nthree";
        for cut in 0..text.len() {
            assert_eq!(collect(100, &[&text[..cut], &text[cut..]]), ["one", "", "two", "three"]);
        }
        assert_eq!(collect(100, &[b"one\n"]), ["one"]);
    }

    #[test]
    fn length_of_an_oversized_line_is_counted() {
        let text = b"0123456789\nabc\n012345678\n01234567";
        for cut in 0..text.len() {
            let found = collect(8, &[&text[..cut], &text[cut..]]);
            assert_eq!(found, ["01234567… 10", "abc", "01234567… 9", "01234567"], "cut at {cut}");
        }
    }

    #[test]
    fn oversized_line_takes_bounded_memory() {
        let mut lines = LineSplitter::with_bound(1 << 20);
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..1000 {
            lines.push(&piece, |_| panic!("no line has ended"));
            assert!(lines.partial.capacity() <= 2 << 20);
        }
        let mut length = 0;
        lines.push(b"\n", |line| {
            if let Line::Oversized { bytes, .. } = line {
                length = bytes;
            }
        });
        assert_eq!(length, 1000 * 64 * 1024);
        assert!(lines.partial.capacity() <= KEPT_CAPACITY_BYTES);
    }

    #[test]
    fn buffer_of_a_long_line_is_reused() {
        let (mut one, mut other, mut spare) = (LineSplitter::default(), LineSplitter::default(), Vec::new());
        let piece = vec![b'x'; KEPT_CAPACITY_BYTES];
        for lines in [&mut one, &mut other, &mut LineSplitter::default()] {
            let had = spare.capacity();
            lines.lend_scratch(&mut spare);
            for _ in 0..8 {
                lines.push(&piece, |_| panic!("no line has ended"));
            }
            assert!(had == 0 || lines.partial.capacity() == had);
            lines.push(b"\nx", |line| assert!(matches!(line, Line::Complete(bytes) if bytes.len() == 8 * piece.len())));
            lines.lend_scratch(&mut spare);
            assert!(lines.partial.capacity() <= KEPT_CAPACITY_BYTES && lines.spare.capacity() == 0);
            assert!(spare.is_empty() && spare.capacity() >= 8 * piece.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            text in proptest::collection::vec(proptest::sample::select(vec![b'a', b'b', b'\n']), 0..200),
            cuts in proptest::collection::vec(0_usize..200, 0..6),
            bound in 1_usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            proptest::prop_assert_eq!(collect(bound, &pieces), collect(bound, &[&text]));
        }
    }
}
