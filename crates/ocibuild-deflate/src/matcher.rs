//! Finds earlier occurrences of what comes next, by rows of positions with equal hashes.
//!
//! A row keeps the newest positions whose hashes are equal, each with a tag: more bits of its
//! hash. A search compares all tags of a row at once and looks only at those positions whose tag
//! is right. Unlike with chains of positions, nothing is followed from one to the next, and where
//! there is no match, usually no byte of the window is touched.

use crate::tables::MAX_MATCH;

/// How far back a match may lie.
const REACH: usize = 32768;

const ROW_BITS: u32 = 12;
const ENTRIES: usize = 16;
const SHORT_BITS: u32 = 14;

/// Bytes that must be left behind a position that is looked up.
pub(crate) const LOOKAHEAD: usize = 8;

/// Tables of positions.
///
/// Positions are held modulo 2^16, which is twice the reach: what is older looks as if it were
/// somewhere else, but a match is only taken after its bytes have been compared.
#[derive(Debug)]
pub(crate) struct Matcher {
    rows: Box<[Row; 1 << ROW_BITS]>,
    shorts: Box<[u16; 1 << SHORT_BITS]>,
}

/// Positions of one hash, the newest at `newest` and older ones behind it, around the end.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Row {
    tags: [u8; ENTRIES],
    positions: [u16; ENTRIES],
    newest: u8,
}

impl Row {
    const EMPTY: Self = Self { tags: [0; ENTRIES], positions: [0; ENTRIES], newest: 0 };

    #[inline(always)]
    fn insert(&mut self, tag: u8, position: usize) {
        let slot = self.newest.wrapping_sub(1) as usize % ENTRIES;
        self.newest = slot as u8;
        self.tags[slot] = tag;
        self.positions[slot] = position as u16;
    }

    /// Returns a bit for each entry with the tag, the newest one's lowest.
    #[inline(always)]
    fn having(&self, tag: u8) -> u16 {
        let tags = u128::from_le_bytes(self.tags);
        let low = zero_bytes(tags as u64 ^ u64::from(tag) * 0x0101_0101_0101_0101);
        let high = zero_bytes((tags >> 64) as u64 ^ u64::from(tag) * 0x0101_0101_0101_0101);
        (low | high << 8).rotate_right(u32::from(self.newest))
    }
}

/// Returns a bit for each byte that is 0.
#[inline(always)]
fn zero_bytes(bytes: u64) -> u16 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = !(((bytes & LOW) + LOW) | bytes | LOW);
    ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u16
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
    /// A bit for each entry that is tried, the newest one's lowest.
    pub(crate) entries: u16,
    /// A length that is good enough.
    pub(crate) nice: usize,
}

impl Matcher {
    pub(crate) fn new() -> Self {
        let rows = vec![Row::EMPTY; 1 << ROW_BITS].try_into().expect("the lengths are the same");
        let shorts = vec![0; 1 << SHORT_BITS].try_into().expect("the lengths are the same");
        Self { rows, shorts }
    }

    /// Forgets earlier blocks.
    pub(crate) fn start(&mut self) {
        self.rows.fill(Row::EMPTY);
        self.shorts.fill(0);
    }

    /// Notes a position without a search.
    #[inline(always)]
    pub(crate) fn insert<const SHORT: bool>(&mut self, bytes: &[u8], position: usize) {
        let word = load4(bytes, position);
        if SHORT {
            self.shorts[short_hash(word)] = position as u16;
        }
        let (row, tag) = hash(word);
        self.rows[row].insert(tag, position);
    }

    /// Notes a position, and finds the longest match there that is longer than `length`.
    #[inline(always)]
    pub(crate) fn search<const SHORT: bool>(
        &mut self,
        bytes: &[u8],
        position: usize,
        search: Search,
        length: usize,
    ) -> Match {
        let word = load4(bytes, position);
        let mut short = 0;
        if SHORT {
            let head = &mut self.shorts[short_hash(word)];
            short = *head;
            *head = position as u16;
        }
        let (row, tag) = hash(word);
        let row = &mut self.rows[row];
        let mut having = row.having(tag) & search.entries;
        let reach = position.min(REACH);
        let mut best = Match { length: length.max(3), distance: 0 };
        if having != 0 {
            let most = (bytes.len() - position).min(MAX_MATCH);
            let nice = search.nice.min(most);
            if best.length >= most {
                return Match::default();
            }
            let mut last = load4(bytes, position + best.length - 3);
            while having != 0 {
                let entry = having.trailing_zeros() as usize + row.newest as usize;
                having &= having - 1;
                let distance = (position as u16).wrapping_sub(row.positions[entry % ENTRIES]) as usize;
                if distance.wrapping_sub(1) >= reach {
                    continue;
                }
                let candidate = position - distance;
                if load4(bytes, candidate + best.length - 3) == last {
                    let length = extend(bytes, candidate, position, most);
                    if length > best.length {
                        best = Match { length, distance };
                        if length >= nice {
                            break;
                        }
                        last = load4(bytes, position + length - 3);
                    }
                }
            }
        }
        row.insert(tag, position);
        if best.distance > 0 {
            return best;
        }
        if SHORT && length < 3 {
            let distance = (position as u16).wrapping_sub(short) as usize;
            if distance.wrapping_sub(1) < reach && (load4(bytes, position - distance) ^ word) << 8 == 0 {
                return Match { length: 3, distance };
            }
        }
        Match::default()
    }
}

/// Returns how many bytes are equal at two positions; there are eight at least.
#[inline(always)]
fn extend(bytes: &[u8], earlier: usize, later: usize, most: usize) -> usize {
    let mut length = 0;
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

/// Returns the row of a position's first four bytes, and their tag.
#[inline(always)]
fn hash(word: u32) -> (usize, u8) {
    let hash = word.wrapping_mul(0x9e37_79b1);
    ((hash >> (32 - ROW_BITS)) as usize, (hash >> (24 - ROW_BITS)) as u8)
}

#[inline(always)]
fn short_hash(word: u32) -> usize {
    ((word << 8).wrapping_mul(0x9e37_79b1) >> (32 - SHORT_BITS)) as usize
}
