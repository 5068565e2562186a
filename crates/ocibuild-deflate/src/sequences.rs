//! What a parse has found: runs of literals, each with a match behind it, and their statistics.

use crate::tables::{DISTANCES, END, FIRST_LENGTH, LENGTH_SLOT, LITLENS, MIN_MATCH, distance_slot};

/// Longest run of literals that a word holds by itself.
const LONGEST_RUN: usize = 509;
/// The next word is the run.
const LONG_RUN: usize = 510;
/// The next word is the run, and there is no match behind it.
const ONLY_RUN: usize = 511;

/// A run of literals and the match behind it, if its length isn't 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) literals: usize,
    pub(crate) length: usize,
    /// Slot of the distance, and the distance less one.
    pub(crate) distance: usize,
}

/// Sequences in words: 9 bits of run, 15 of distance less one, 8 of length less three.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    words: Vec<u32>,
}

impl Sequences {
    /// Adds a run of literals and a match.
    #[inline(always)]
    pub(crate) fn push(&mut self, literals: usize, length: usize, distance: usize) {
        let word = ((distance - 1) << 8 | (length - MIN_MATCH)) as u32;
        if literals <= LONGEST_RUN {
            self.words.push(word | (literals as u32) << 23);
        } else {
            self.words.push(word | (LONG_RUN as u32) << 23);
            self.words.push(literals as u32);
        }
    }

    /// Adds a run of literals.
    pub(crate) fn push_run(&mut self, literals: usize) {
        self.words.push((ONLY_RUN as u32) << 23);
        self.words.push(literals as u32);
    }

    /// Returns how many words there are.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Drops the first words.
    pub(crate) fn drop_first(&mut self, words: usize) {
        self.words.drain(..words);
    }

    /// Walks the first words.
    pub(crate) fn iter(&self, words: usize) -> impl Iterator<Item = Sequence> + '_ {
        let mut words = self.words[..words].iter();
        std::iter::from_fn(move || {
            let word = *words.next()? as usize;
            let mut literals = word >> 23;
            let mut length = (word & 255) + MIN_MATCH;
            if literals >= LONG_RUN {
                length = if literals == ONLY_RUN { 0 } else { length };
                literals = *words.next()? as usize;
            }
            Some(Sequence { literals, length, distance: word >> 8 & 0x7fff })
        })
    }
}

/// How often each symbol occurs.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) litlens: [u32; LITLENS],
    pub(crate) distances: [u32; DISTANCES],
}

impl Counts {
    pub(crate) const NONE: Self = Self { litlens: [0; LITLENS], distances: [0; DISTANCES] };

    #[inline(always)]
    pub(crate) fn literal(&mut self, byte: u8) {
        self.litlens[byte as usize] += 1;
    }

    #[inline(always)]
    pub(crate) fn matched(&mut self, length: usize, distance: usize) {
        let slot = LENGTH_SLOT[(length - MIN_MATCH) & 255] as usize;
        self.litlens[FIRST_LENGTH + slot] += 1;
        self.distances[distance_slot(distance - 1)] += 1;
    }

    /// Sets the count of the symbol that ends a block.
    pub(crate) fn end(&mut self) {
        self.litlens[END] = 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = self.litlens.iter_mut().zip(&other.litlens);
        pairs.for_each(|(sum, count)| *sum += count);
        let pairs = self.distances.iter_mut().zip(&other.distances);
        pairs.for_each(|(sum, count)| *sum += count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_come_back() {
        let mut sequences = Sequences::default();
        let mut expected = Vec::new();
        for (literals, length, distance) in
            [(0, 3, 1), (1, 258, 32768), (509, 4, 2), (510, 9, 7), (511, 3, 1), (70_000, 100, 300)]
        {
            sequences.push(literals, length, distance);
            expected.push(Sequence { literals, length, distance: distance - 1 });
        }
        for literals in [1, 600] {
            sequences.push_run(literals);
            expected.push(Sequence { literals, length: 0, distance: 0 });
        }
        assert_eq!(sequences.iter(sequences.len()).collect::<Vec<_>>(), expected);
    }
}
