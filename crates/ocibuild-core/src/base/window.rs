//! Packed bytes that are unpacked as they are needed.

use std::io::Read;

/// Bytes that are unpacked at a time.
const CHUNK: usize = 256 << 10;

/// A reader's bytes, of which no more is in memory than has to be.
pub(super) struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    passed: usize,
    /// Whether the reader has no more.
    ended: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), passed: 0, ended: false }
    }

    /// Takes something that has at most so many bytes; nothing if it can't be taken or read.
    pub(super) fn take<T>(&mut self, most: usize, take: impl FnOnce(&mut &[u8]) -> Option<T>) -> Option<T> {
        let mut rest = self.ahead(most)?;
        let before = rest.len();
        let taken = take(&mut rest)?;
        let after = rest.len();
        self.passed += before - after;
        Some(taken)
    }

    /// Tells whether all was taken, and could be read.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.ahead(1).is_some_and(<[u8]>::is_empty)
    }

    /// Returns what comes next, so many bytes at least, or all that are left.
    fn ahead(&mut self, least: usize) -> Option<&[u8]> {
        if self.buffer.len() - self.passed < least && !self.ended {
            self.buffer.drain(..self.passed);
            self.passed = 0;
            // More than is asked for, or the next one would move all of it again.
            let more = (least + CHUNK - self.buffer.len()) as u64;
            let count = self.reader.by_ref().take(more).read_to_end(&mut self.buffer).ok()?;
            self.ended = (count as u64) < more;
        }
        Some(&self.buffer[self.passed..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &mut &[u8]) -> Option<u8> {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(*first)
    }

    #[test]
    fn all_bytes_pass_in_order_to_the_last() {
        let bytes: Vec<u8> = (0..200_000).map(|number| (number % 251) as u8).collect();
        let mut window = Window::new(&bytes[..]);
        for byte in &bytes {
            assert!(!window.is_at_end());
            assert_eq!(window.take(1 << 20, number), Some(*byte));
        }
        assert!(window.is_at_end());
        assert_eq!(window.take(1, number), None);
        assert_eq!(window.take(1 << 20, |rest| Some(rest.len())), Some(0));
    }
}
