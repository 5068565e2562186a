//! Finds earlier occurrences of what comes next, by chains of positions with equal hashes.

use crate::tables::MAX_MATCH;

/// How far back a match may lie. One less than the format allows, so that the link of every
/// position within reach is still there.
const REACH: u32 = 32767;
const LINKS: usize = 32768;

const HEAD_BITS: u32 = 15;
const SHORT_BITS: u32 = 14;

/// Bytes that must be left behind a position that is looked up.
pub(crate) const LOOKAHEAD: usize = 8;

/// Tables of positions.
///
/// Positions count on from block to block with a gap of more than [`REACH`], so whatever earlier
/// blocks left in the tables is out of reach and needn't be cleared.
#[derive(Debug)]
pub(crate) struct Matcher {
    heads: Box<[u32; 1 << HEAD_BITS]>,
    shorts: Box<[u32; 1 << SHORT_BITS]>,
    /// How far before each position the next one of its chain lies.
    links: Box<[u16; LINKS]>,
    base: u32,
}

/// A match; a length of 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Match {
    pub(crate) length: usize,
    pub(crate) distance: usize,
}

/// How hard to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    /// Positions tried at most.
    pub(crate) depth: u32,
    /// A length that is good enough.
    pub(crate) nice: usize,
}

impl Matcher {
    pub(crate) fn new() -> Self {
        Self { heads: table(), shorts: table(), links: table(), base: REACH + 1 }
    }

    /// Forgets earlier blocks, before one of `length` bytes, below 2^30.
    pub(crate) fn start(&mut self, length: usize) -> u32 {
        let next = length as u32 + REACH + 1;
        if self.base > u32::MAX - next {
            self.heads.fill(0);
            self.shorts.fill(0);
            self.base = REACH + 1;
        }
        let base = self.base;
        self.base += next;
        base
    }

    /// Notes a position without a search.
    #[inline(always)]
    pub(crate) fn insert<const SHORT: bool>(&mut self, bytes: &[u8], base: u32, position: usize) {
        let here = base + position as u32;
        let word = load4(bytes, position);
        if SHORT {
            self.shorts[short_hash(word)] = here;
        }
        let head = &mut self.heads[head_hash(word)];
        self.links[here as usize % LINKS] = (here - *head).min(0xffff) as u16;
        *head = here;
    }

    /// Notes a position, and finds the longest match there that is longer than `length`.
    #[inline(always)]
    pub(crate) fn search<const SHORT: bool>(
        &mut self,
        bytes: &[u8],
        base: u32,
        position: usize,
        search: Search,
        length: usize,
    ) -> Match {
        let here = base + position as u32;
        let word = load4(bytes, position);
        let mut short = u32::MAX;
        if SHORT {
            let head = &mut self.shorts[short_hash(word)];
            short = here - *head;
            *head = here;
        }
        let head = &mut self.heads[head_hash(word)];
        let mut distance = here - *head;
        *head = here;
        self.links[here as usize % LINKS] = distance.min(0xffff) as u16;

        let most = (bytes.len() - position).min(MAX_MATCH);
        let nice = search.nice.min(most);
        let mut best = Match { length: length.max(3), distance: 0 };
        if best.length >= most {
            return Match::default();
        }
        let mut last = load4(bytes, position + best.length - 3);
        let mut depth = search.depth;
        while distance <= REACH {
            let candidate = position - distance as usize;
            if load4(bytes, candidate + best.length - 3) == last && load4(bytes, candidate) == word {
                let length = extend(bytes, candidate, position, most);
                if length > best.length {
                    best = Match { length, distance: distance as usize };
                    if length >= nice {
                        break;
                    }
                    last = load4(bytes, position + length - 3);
                }
            }
            depth -= 1;
            if depth == 0 {
                break;
            }
            distance += u32::from(self.links[(here - distance) as usize % LINKS]);
        }
        if best.distance > 0 {
            return best;
        }
        if SHORT && length < 3 && short <= REACH {
            let candidate = position - short as usize;
            if (load4(bytes, candidate) ^ word) << 8 == 0 {
                return Match { length: 3, distance: short as usize };
            }
        }
        Match::default()
    }
}

/// Returns how many bytes are equal at two positions, of which at least four are.
#[inline(always)]
fn extend(bytes: &[u8], earlier: usize, later: usize, most: usize) -> usize {
    let mut length = 4;
    while length + 8 <= most {
        let difference = load8(bytes, earlier + length) ^ load8(bytes, later + length);
        if difference != 0 {
            return length + (difference.trailing_zeros() >> 3) as usize;
        }
        length += 8;
    }
    while length < most && bytes[earlier + length] == bytes[later + length] {
        length += 1;
    }
    length
}

#[inline(always)]
fn load4(bytes: &[u8], position: usize) -> u32 {
    bytes[position..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[inline(always)]
fn load8(bytes: &[u8], position: usize) -> u64 {
    bytes[position..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
fn head_hash(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HEAD_BITS)) as usize
}

#[inline(always)]
fn short_hash(word: u32) -> usize {
    ((word << 8).wrapping_mul(0x9e37_79b1) >> (32 - SHORT_BITS)) as usize
}

fn table<T: Clone + Default + std::fmt::Debug, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].try_into().expect("the lengths are the same")
}
