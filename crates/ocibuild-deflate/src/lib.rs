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
use tables::MAX_MATCH;

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
        let matcher = &mut self.matcher;
        let splitter = Splitter::new(bytes, out, &mut self.sequences);
        let effort = |nice, sure| Effort { search: Search { nice }, sure };
        match self.level {
            0..=2 => parse::parse::<false, false>(matcher, bytes, effort(16, 0), splitter),
            3..=5 => parse::parse::<true, false>(matcher, bytes, effort(64, 0), splitter),
            6.. => parse::parse::<true, true>(matcher, bytes, effort(MAX_MATCH, 32), splitter),
        }
    }
}
