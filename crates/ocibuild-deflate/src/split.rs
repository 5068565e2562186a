//! Cuts a stream of sequences into blocks where its statistics change.

use crate::bits::Bits;
use crate::block;
use crate::cost::{self, Prices};
use crate::sequences::{Counts, Sequences};

/// Symbols between two looks at the statistics.
const STRETCH: usize = 2048;

/// Longest block, in bytes, and most words of sequences it has.
const LONGEST: usize = 300 << 10;
const MOST_WORDS: usize = 48 << 10;

/// Takes sequences and writes blocks.
///
/// The newest stretch is held apart from the block before it, and joins it unless two blocks are
/// cheaper than one.
pub(crate) struct Splitter<'a, 'o> {
    bytes: &'a [u8],
    bits: Bits<'o>,
    sequences: &'a mut Sequences,
    block: Part,
    stretch: Part,
    symbols: usize,
    /// Where the block begins and where the stretch ends.
    start: usize,
    end: usize,
    pub(crate) prices: Prices,
}

/// Neighbouring sequences.
struct Part {
    counts: Counts,
    bytes: usize,
    words: usize,
    cost: u64,
}

impl Part {
    const EMPTY: Self = Self { counts: Counts::NONE, bytes: 0, words: 0, cost: 0 };
}

impl<'a, 'o> Splitter<'a, 'o> {
    pub(crate) fn new(bytes: &'a [u8], out: &'o mut Vec<u8>, sequences: &'a mut Sequences) -> Self {
        let bits = Bits::new(out);
        let prices = Prices::unknown();
        Self {
            bytes,
            bits,
            sequences,
            block: Part::EMPTY,
            stretch: Part::EMPTY,
            symbols: 0,
            start: 0,
            end: 0,
            prices,
        }
    }

    /// Counts a literal, which is taken later.
    #[inline(always)]
    pub(crate) fn count_literal(&mut self, byte: u8) {
        self.stretch.counts.literal(byte);
    }

    /// Takes literals up to `position` and a match there.
    #[inline(always)]
    pub(crate) fn push(&mut self, position: usize, length: usize, distance: usize) {
        let literals = &self.bytes[self.end..position];
        self.stretch.counts.matched(length, distance);
        self.sequences.push(literals.len(), length, distance);
        self.end = position + length;
        self.symbols += literals.len() + 1;
        if self.symbols >= STRETCH {
            self.join();
        }
    }

    /// Takes literals up to `position`.
    #[inline(never)]
    pub(crate) fn push_run(&mut self, position: usize) {
        let literals = &self.bytes[self.end..position];
        self.sequences.push_run(literals.len());
        self.end = position;
        self.symbols += literals.len();
        if self.symbols >= STRETCH {
            self.join();
        }
    }

    /// Returns where the literals begin that haven't been taken.
    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Writes what is left, and a sync flush.
    pub(crate) fn finish(mut self) {
        if self.end < self.bytes.len() {
            self.push_run(self.bytes.len());
        }
        self.join();
        self.write();
        block::sync(&mut self.bits);
    }

    /// Lets the stretch join the block or begin the next one.
    #[inline(never)]
    fn join(&mut self) {
        let stretch = &mut self.stretch;
        stretch.bytes = self.end - self.start - self.block.bytes;
        stretch.words = self.sequences.len() - self.block.words;
        stretch.counts.end();
        stretch.cost = cost::estimate(&stretch.counts);
        self.symbols = 0;
        let mut both = self.block.counts.clone();
        both.add(&self.stretch.counts);
        both.end();
        let cost = cost::estimate(&both);
        if self.block.bytes > 0
            && (cost > self.block.cost + self.stretch.cost
                || self.block.bytes + self.stretch.bytes > LONGEST
                || self.sequences.len() > MOST_WORDS)
        {
            self.write();
            self.block = std::mem::replace(&mut self.stretch, Part::EMPTY);
        } else {
            self.block.bytes += self.stretch.bytes;
            self.block.words += self.stretch.words;
            self.block.cost = cost;
            self.block.counts = both;
            self.stretch = Part::EMPTY;
        }
    }

    /// Writes the block.
    fn write(&mut self) {
        if self.block.bytes == 0 {
            return;
        }
        let bytes = &self.bytes[self.start..self.start + self.block.bytes];
        let sequences = self.sequences.iter(self.block.words);
        let lengths = block::write(&mut self.bits, bytes, &self.block.counts, sequences);
        self.prices = Prices::known(&lengths);
        self.sequences.drop_first(self.block.words);
        self.start += self.block.bytes;
        self.block = Part::EMPTY;
    }
}
