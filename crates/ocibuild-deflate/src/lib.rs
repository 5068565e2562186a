//! A [DEFLATE](https://www.rfc-editor.org/rfc/rfc1951) encoder for independent blocks.
//!
//! Each block of input becomes DEFLATE blocks of which none is the last, and a sync flush: an
//! empty stored block, behind which a byte begins. So blocks can be compressed side by side, in
//! any order, and joined: what an encoder wrote for some blocks, one behind the other, and an
//! empty last block ([`LAST_BLOCK`]) are one DEFLATE stream.
//!
//! # The same bytes for ever
//!
//! What is written for a block is a function of its bytes and of the level, and of nothing else:
//! not of the machine, the build, the room in the output, or of what the encoder did before. All
//! decisions are made in integers. A change that writes other bytes raises [`FRAMING`]; golden
//! digests in the tests see to it.
//!
//! # Levels
//!
//! | level | matches | for |
//! |---|---|---|
//! | 1–2 | of four bytes or more, satisfied early | speed |
//! | 3 | of four bytes or more | the default |
//! | 4–5 | of three bytes or more | machine code |
//! | 6–9 | the better one of two neighbours | size |
//!
//! There is no level that tries for the smallest size there is.
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

/// The version of what is written: for one version, level and block the bytes are always the same.
pub const FRAMING: u32 = 1;

/// An empty block that is the last one, to end a stream with.
pub const LAST_BLOCK: [u8; 2] = [3, 0];

/// Longest block that is compressed as one.
const LONGEST: usize = 1 << 29;

/// Compresses blocks. Holds tables of about half a MiB, and is best kept for many blocks.
#[derive(Debug)]
pub struct Encoder {
    level: u8,
    matcher: Matcher,
    sequences: Sequences,
}

impl Encoder {
    /// Makes an encoder of a level from 1 to 9; what is outside counts as the nearest of them.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self { level: level.clamp(1, 9), matcher: Matcher::new(), sequences: Sequences::default() }
    }

    /// Compresses a block and appends it. What cannot be compressed is stored, and grows by little: in
    /// the tests never by more than 5 bytes in 64 KiB and 16.
    ///
    /// The input may have any length; where it is more than 512 MiB, no match reaches from one
    /// such piece to another.
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
            3 => parse::parse::<false, false>(matcher, bytes, effort(64, 0), splitter),
            4..=5 => parse::parse::<true, false>(matcher, bytes, effort(64, 0), splitter),
            6.. => parse::parse::<true, true>(matcher, bytes, effort(MAX_MATCH, 32), splitter),
        }
    }
}
