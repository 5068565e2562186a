//! A [DEFLATE](https://www.rfc-editor.org/rfc/rfc1951) encoder for independent blocks.
#![forbid(unsafe_code)]

mod bits;
mod block;
mod cost;
mod huffman;
mod matcher;
mod parse;
mod sequences;
mod split;
mod tables;

use matcher::{Matcher, Search};
use parse::Effort;
use sequences::Sequences;
use split::Splitter;

/// Longest block that is compressed as one.
const LONGEST: usize = 1 << 29;

/// Compresses blocks.
#[derive(Debug)]
pub struct Encoder {
    level: u8,
    matcher: Matcher,
    sequences: Sequences,
}

impl Encoder {
    /// Makes an encoder.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self { level, matcher: Matcher::new(), sequences: Sequences::default() }
    }

    /// Compresses a block and appends it.
    pub fn encode(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let mut pieces = block.chunks(LONGEST);
        self.encode_piece(pieces.next().unwrap_or_default(), out);
        pieces.for_each(|piece| self.encode_piece(piece, out));
    }

    fn encode_piece(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (_, nice) = match self.level {
            0..=1 => (3, 8),
            2 => (0xff, 10),
            3 => (0xffff, 14),
            4 => (0xffff, 30),
            _ => (0xffff, 64),
        };
        let splitter = Splitter::new(bytes, out, &mut self.sequences);
        let effort = Effort { search: Search { nice } };
        if self.level < 2 {
            parse::greedy::<false>(&mut self.matcher, bytes, effort, splitter);
        } else {
            parse::greedy::<true>(&mut self.matcher, bytes, effort, splitter);
        }
    }
}
