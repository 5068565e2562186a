//! Finds earlier occurrences of what comes next, by buckets of positions with equal hashes.
//!
//! A bucket is a word that holds the four newest positions of a hash, so noting a position is a
//! shift. There are buckets by the first four bytes and by the first seven: the newest occurrences
//! of anything, and the newest of something longer. All candidates of both are compared by their
//! first eight bytes without a branch among them; unlike in a chain of positions, no candidate
//! waits for the one before it.

use crate::tables::MAX_MATCH;

const NEAR_BITS: u32 = 15;
const FAR_BITS: u32 = 15;
const SHORT_BITS: u32 = 12;

/// Bytes that must be left behind a position that is looked up.
pub(crate) const LOOKAHEAD: usize = 8;

/// A position that is out of reach of all that come in the first half of the 2^16, but the first.
const NOWHERE: u16 = 0x8000;

/// Tables of positions.
///
/// Positions are held modulo 2^16, which is twice the reach: what is older looks as if it were
/// somewhere else, but a match is only taken after its bytes have been compared.
#[derive(Debug)]
pub(crate) struct Matcher {
    near: Box<[u32; 1 << NEAR_BITS]>,
    far: Box<[u64; 1 << FAR_BITS]>,
    short: Box<[u16; 1 << SHORT_BITS]>,
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
    /// A length that is good enough.
    pub(crate) nice: usize,
}

impl Matcher {
    pub(crate) fn new() -> Self {
        Self { near: table(), far: table(), short: table() }
    }

    /// Forgets earlier blocks, and notes the first position.
    pub(crate) fn start(&mut self, bytes: &[u8]) {
        self.near.fill(u32::from(NOWHERE) * 0x1_0001);
        self.far.fill(u64::from(NOWHERE) * 0x1_0001_0001_0001);
        self.short.fill(NOWHERE);
        if bytes.len() >= LOOKAHEAD {
            self.insert_all::<true>(bytes, 0, 1);
        }
    }

    /// Notes positions without a search.
    #[inline(always)]
    pub(crate) fn insert_all<const SHORT: bool>(&mut self, bytes: &[u8], start: usize, end: usize) {
        let Some(window) = bytes.get(start..end + LOOKAHEAD - 1) else { return };
        for (word, position) in window.array_windows().zip(start..) {
            let (word, position) = (u64::from_le_bytes(*word), position as u16);
            let near = &mut self.near[near_hash(word)];
            *near = *near << 16 | u32::from(position);
            let far = &mut self.far[far_hash(word)];
            *far = *far << 16 | u64::from(position);
            if SHORT {
                self.short[short_hash(word)] = position;
            }
        }
    }

    /// Notes a position, not the first, and finds the longest match there.
    #[inline(always)]
    pub(crate) fn search<const SHORT: bool>(
        &mut self,
        bytes: &[u8],
        position: usize,
        search: Search,
    ) -> Match {
        let word = load8(bytes, position);
        let slot = &mut self.near[near_hash(word)];
        let near = *slot;
        *slot = near << 16 | u32::from(position as u16);
        let slot = &mut self.far[far_hash(word)];
        let far = *slot;
        *slot = far << 16 | u64::from(position as u16);
        let mut best = score(bytes, position, word, far as u16);
        if best >= LONG {
            if SHORT {
                self.short[short_hash(word)] = position as u16;
            }
            return longest(bytes, position, word, far, best, search);
        }
        best = best.max(score(bytes, position, word, near as u16));
        best = best.max(score(bytes, position, word, (near >> 16) as u16));
        if SHORT {
            let slot = &mut self.short[short_hash(word)];
            best = best.max(score(bytes, position, word, *slot));
            *slot = position as u16;
        }
        if best >= LONG {
            return longest(bytes, position, word, far, best, search);
        }
        Match { length: (best >> 16) as usize, distance: distance(best) }
    }
}

/// The score of a match of eight bytes.
const LONG: u32 = 8 << 16;

/// Finds the longest of some matches of eight bytes or more, given the newest of them.
#[inline(always)]
fn longest(bytes: &[u8], position: usize, word: u64, far: u64, best: u32, search: Search) -> Match {
    let most = (bytes.len() - position).min(MAX_MATCH);
    let nice = search.nice.min(most);
    let length = extend(bytes, position - distance(best), position, most, 8);
    let mut found = Match { length, distance: distance(best) };
    if length >= nice {
        return found;
    }
    let mut long = 0;
    for entry in 1..4 {
        long |= (score(bytes, position, word, (far >> (16 * entry)) as u16) >> 19) << entry;
    }
    while long != 0 && found.length < nice {
        let less = less(position, (far >> (16 * long.trailing_zeros())) as u16);
        long &= long - 1;
        let candidate = position - 1 - less as usize;
        if bytes[candidate + found.length] == bytes[position + found.length] {
            let length = extend(bytes, candidate, position, most, 8);
            if length > found.length {
                found = Match { length, distance: less as usize + 1 };
            }
        }
    }
    found
}

/// Returns the distance of what has a score.
#[inline(always)]
fn distance(score: u32) -> usize {
    0x8000 - (score & 0x7fff) as usize
}

/// Compares a candidate by its first eight bytes: returns the length above the nearness.
#[inline(always)]
fn score(bytes: &[u8], position: usize, word: u64, candidate: u16) -> u32 {
    let less = less(position, candidate);
    let earlier = position.wrapping_sub(1 + (less & 0x7fff) as usize);
    // What is out of reach differs in the first bit.
    let difference = load8(bytes, earlier) ^ word | u64::from(less >> 15);
    (difference.trailing_zeros() & !7) << 13 | (less ^ 0x7fff) & 0x7fff
}

/// Returns how far back a position lies less one, if it is within 2^16.
#[inline(always)]
fn less(position: usize, earlier: u16) -> u32 {
    u32::from((position as u16).wrapping_sub(earlier).wrapping_sub(1))
}

/// Returns how many bytes are equal at two positions, given how many are for certain.
#[inline(always)]
fn extend(bytes: &[u8], earlier: usize, later: usize, most: usize, mut length: usize) -> usize {
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
fn load8(bytes: &[u8], position: usize) -> u64 {
    bytes.get(position..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
fn near_hash(word: u64) -> usize {
    ((word as u32).wrapping_mul(0x9e37_79b1) >> (32 - NEAR_BITS)) as usize
}

#[inline(always)]
fn far_hash(word: u64) -> usize {
    ((word << FAR_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FAR_BITS)) as usize
}
const FAR_SHIFT: u32 = 8;

#[inline(always)]
fn short_hash(word: u64) -> usize {
    (((word as u32) << 8).wrapping_mul(0x9e37_79b1) >> (32 - SHORT_BITS)) as usize
}

fn table<T: Clone + Default + std::fmt::Debug, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].try_into().expect("the lengths are the same")
}
