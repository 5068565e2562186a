//! Finds earlier occurrences of what comes next, by buckets of positions with equal hashes.
//!
//! A bucket is a word that holds the four newest positions of a hash, so noting a position is a
//! shift. There are buckets by the first four bytes and by the first seven: the newest occurrences
//! of anything, and the newest of something longer. All candidates of both are compared by their
//! first eight bytes without a branch among them; unlike in a chain of positions, no candidate
//! waits for the one before it.

use crate::tables::MAX_MATCH;

/// How far back a match may lie.
const REACH: usize = 32768;

const NEAR_BITS: u32 = 14;
const FAR_BITS: u32 = 14;
const SHORT_BITS: u32 = 14;

/// Positions in a bucket.
const ENTRIES: usize = 4;

/// Bytes that must be left behind a position that is looked up.
pub(crate) const LOOKAHEAD: usize = 8;

/// Tables of positions.
///
/// Positions are held modulo 2^16, which is twice the reach: what is older looks as if it were
/// somewhere else, but a match is only taken after its bytes have been compared.
#[derive(Debug)]
pub(crate) struct Matcher {
    near: Box<[u64; 1 << NEAR_BITS]>,
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

/// The best of some candidates so far.
struct Best {
    /// The length, of eight at most, above the nearness.
    score: u32,
    /// A bit for each candidate whose eight first bytes are equal.
    full: u32,
}

impl Matcher {
    pub(crate) fn new() -> Self {
        Self { near: table(), far: table(), short: table() }
    }

    /// Forgets earlier blocks.
    pub(crate) fn start(&mut self) {
        self.near.fill(0);
        self.far.fill(0);
        self.short.fill(0);
    }

    /// Notes a position without a search.
    #[inline(always)]
    pub(crate) fn insert<const SHORT: bool>(&mut self, bytes: &[u8], position: usize) {
        let word = load8(bytes, position);
        if SHORT {
            self.short[short_hash(word)] = position as u16;
        }
        note(&mut self.near[near_hash(word)], position);
        note(&mut self.far[far_hash(word)], position);
    }

    /// Notes a position, and finds the longest match there.
    #[inline(always)]
    pub(crate) fn search<const SHORT: bool>(&mut self, bytes: &[u8], position: usize, search: Search) -> Match {
        let word = load8(bytes, position);
        let near = note(&mut self.near[near_hash(word)], position);
        let far = note(&mut self.far[far_hash(word)], position);
        let mut short = 0;
        if SHORT {
            short = std::mem::replace(&mut self.short[short_hash(word)], position as u16);
        }
        let mut best = Best { score: 0, full: 0 };
        for index in 0..ENTRIES {
            best.compare(bytes, position, word, (near >> (16 * index)) as u16, index);
        }
        for index in 0..ENTRIES {
            best.compare(bytes, position, word, (far >> (16 * index)) as u16, ENTRIES + index);
        }
        if SHORT {
            best.compare(bytes, position, word, short, 31);
        }
        let mut found = Match { length: (best.score >> 16) as usize, distance: 0xffff - (best.score & 0xffff) as usize };
        if found.length == 8 {
            let most = (bytes.len() - position).min(MAX_MATCH);
            let nice = search.nice.min(most);
            found.length = extend(bytes, position - found.distance, position, most);
            let mut full = best.full & (best.full.wrapping_sub(1)) & 0xff;
            while full != 0 && found.length < nice {
                let index = full.trailing_zeros() as usize;
                full &= full - 1;
                let bucket = if index < ENTRIES { near } else { far };
                let distance = distance(position, (bucket >> (16 * (index % ENTRIES))) as u16);
                let candidate = position - distance;
                if bytes[candidate + found.length] == bytes[position + found.length] {
                    let length = extend(bytes, candidate, position, most);
                    if length > found.length {
                        found = Match { length, distance };
                    }
                }
            }
        }
        found
    }
}

impl Best {
    /// Compares a candidate by its first eight bytes.
    #[inline(always)]
    fn compare(&mut self, bytes: &[u8], position: usize, word: u64, candidate: u16, index: usize) {
        let distance = distance(position, candidate);
        let difference = load8(bytes, position.saturating_sub(distance)) ^ word;
        let valid = distance.wrapping_sub(1) < position.min(REACH);
        let score = (difference.trailing_zeros() >> 3) << 16 | (0xffff - distance as u32);
        self.score = self.score.max(if valid { score } else { 0 });
        self.full |= u32::from(valid & (difference == 0)) << index;
    }
}

/// Returns how far back a position lies, if it is within 2^16.
#[inline(always)]
fn distance(position: usize, earlier: u16) -> usize {
    (position as u16).wrapping_sub(earlier) as usize
}

/// Notes a position in a bucket, and returns what it held.
#[inline(always)]
fn note(bucket: &mut u64, position: usize) -> u64 {
    let held = *bucket;
    *bucket = held << 16 | u64::from(position as u16);
    held
}

/// Returns how many bytes are equal at two positions, of which the first eight are.
#[inline(always)]
fn extend(bytes: &[u8], earlier: usize, later: usize, most: usize) -> usize {
    let mut length = 8;
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
    bytes[position..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
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
