//! Sequences to a DEFLATE block, in the cheapest of the three ways ([RFC 1951, section 3.2.3]).
//!
//! [RFC 1951, section 3.2.3]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.3

use crate::bits::{Bits, Room};
use crate::huffman;
use crate::sequences::{Counts, Sequence};
use crate::tables::{
    DISTANCES, END, FIRST_LENGTH, LENGTH_SLOT, LITLENS, MAX_MATCH, MIN_MATCH, distance_extra, distance_slot,
    length_extra, length_start,
};

/// Longest code of a literal or length: four of them are put between two flushes.
const LITLEN_LIMIT: usize = 14;
const DISTANCE_LIMIT: usize = 15;
const PRECODE_LIMIT: usize = 7;

/// Most bytes of a stored block.
const STORED: usize = 65535;

/// The order in which the lengths of the precode are written.
const PRECODE_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Code lengths of both alphabets.
#[derive(Debug, Clone)]
pub(crate) struct Lengths {
    pub(crate) litlens: [u8; 288],
    pub(crate) distances: [u8; 32],
}

impl Lengths {
    /// Finds the best lengths for a block.
    pub(crate) fn best(counts: &Counts) -> Self {
        let mut lengths = Self { litlens: [0; 288], distances: [0; 32] };
        huffman::lengths(&counts.litlens, LITLEN_LIMIT, &mut lengths.litlens[..LITLENS]);
        huffman::lengths(&counts.distances, DISTANCE_LIMIT, &mut lengths.distances[..DISTANCES]);
        lengths
    }

    /// The lengths that need no header.
    fn fixed() -> Self {
        let mut lengths = Self { litlens: [8; 288], distances: [5; 32] };
        lengths.litlens[144..256].fill(9);
        lengths.litlens[256..280].fill(7);
        lengths
    }

    /// Counts the bits of a block without its header.
    fn bits(&self, counts: &Counts) -> u64 {
        let cost =
            |count: &u32, length: &u8, extra: u32| u64::from(*count) * u64::from(u32::from(*length) + extra);
        let litlens =
            counts.litlens.iter().zip(&self.litlens).enumerate().map(|(symbol, (count, length))| {
                cost(
                    count,
                    length,
                    if symbol < FIRST_LENGTH { 0 } else { length_extra(symbol - FIRST_LENGTH) },
                )
            });
        let distances = counts.distances.iter().zip(&self.distances).enumerate();
        litlens.sum::<u64>()
            + distances.map(|(slot, (count, length))| cost(count, length, distance_extra(slot))).sum::<u64>()
    }
}

/// Writes a block of the bytes that the sequences cover.
pub(crate) fn write(
    bits: &mut Bits<'_>,
    bytes: &[u8],
    counts: &Counts,
    sequences: impl Iterator<Item = Sequence>,
) -> Lengths {
    let best = Lengths::best(counts);
    let header = Header::new(&best);
    let fixed = Lengths::fixed();
    let dynamic_bits = 3 + header.bits + best.bits(counts);
    let fixed_bits = 3 + fixed.bits(counts);
    let padding = u64::from((bits.padding() + 8 - 3) & 7);
    let stored_bits = bytes.len().div_ceil(STORED) as u64 * 40 + padding + 8 * bytes.len() as u64;
    if stored_bits <= dynamic_bits.min(fixed_bits) {
        store(bits, bytes);
    } else if fixed_bits <= dynamic_bits {
        bits.write(fixed_bits, |room| {
            room.put(0b010, 3);
            Codes::new(&fixed).write(room, bytes, sequences);
        });
    } else {
        bits.write(dynamic_bits, |room| {
            room.put(0b100, 3);
            header.write(room);
            Codes::new(&best).write(room, bytes, sequences);
        });
    }
    best
}

/// Writes bytes as they are.
pub(crate) fn store(bits: &mut Bits<'_>, bytes: &[u8]) {
    for piece in bytes.chunks(STORED) {
        bits.write(3, |room| room.put(0b000, 3));
        bits.align();
        let length = piece.len() as u16;
        bits.bytes(&length.to_le_bytes());
        bits.bytes(&(!length).to_le_bytes());
        bits.bytes(piece);
    }
}

/// Writes an empty stored block, behind which a byte begins.
pub(crate) fn sync(bits: &mut Bits<'_>) {
    bits.write(3, |room| room.put(0b000, 3));
    bits.align();
    bits.bytes(&[0, 0, 0xff, 0xff]);
}

/// Codes with their lengths, and those of matches with their extra bits.
struct Codes {
    literals: [u32; 256],
    lengths: [u32; 256],
    distances: [u32; 32],
    end: u32,
}

/// A code's length is above its bits.
const COUNT_SHIFT: u32 = 24;
const CODE: u32 = (1 << COUNT_SHIFT) - 1;

impl Codes {
    fn new(lengths: &Lengths) -> Self {
        let mut litlens = [0_u16; 288];
        huffman::codes(&lengths.litlens, &mut litlens);
        let mut distances = [0_u16; 32];
        huffman::codes(&lengths.distances, &mut distances);
        let entry = |code: u16, length: u8| u32::from(code) | u32::from(length) << COUNT_SHIFT;
        let litlen = |symbol: usize| entry(litlens[symbol], lengths.litlens[symbol]);
        Self {
            literals: std::array::from_fn(litlen),
            lengths: std::array::from_fn(|length| {
                let slot = LENGTH_SLOT[length] as usize;
                let code = litlen(FIRST_LENGTH + slot);
                let extra = (length - length_start(slot)) as u32;
                (code | extra << (code >> COUNT_SHIFT)) + (length_extra(slot) << COUNT_SHIFT)
            }),
            distances: std::array::from_fn(|slot| entry(distances[slot], lengths.distances[slot])),
            end: litlen(END),
        }
    }

    /// Writes the sequences and the end of the block.
    fn write(&self, room: &mut Room<'_>, mut bytes: &[u8], sequences: impl Iterator<Item = Sequence>) {
        room.flush();
        for sequence in sequences {
            let (literals, rest) = bytes.split_at(sequence.literals);
            bytes = rest.get(sequence.length..).unwrap_or_default();
            let (fours, few) = literals.as_chunks::<4>();
            for four in fours {
                four.iter().for_each(|&byte| put(room, self.literals[byte as usize]));
                room.flush();
            }
            if !few.is_empty() {
                few.iter().for_each(|&byte| put(room, self.literals[byte as usize]));
                room.flush();
            }
            if sequence.length > 0 {
                put(room, self.lengths[(sequence.length - MIN_MATCH) & 255]);
                let slot = distance_slot(sequence.distance);
                put(room, self.distances[slot & 31]);
                let extra = distance_extra(slot);
                room.put(sequence.distance as u64 & ((1 << extra) - 1), extra);
                room.flush();
            }
        }
        put(room, self.end);
    }
}

const _: () = assert!(MAX_MATCH - MIN_MATCH == 255);

#[inline(always)]
fn put(room: &mut Room<'_>, entry: u32) {
    room.put(u64::from(entry & CODE), entry >> COUNT_SHIFT);
}

/// The code lengths of a dynamic block, as they are written.
struct Header {
    litlens: usize,
    distances: usize,
    /// Symbols of the precode and their extra bits.
    symbols: [(u8, u8); 320],
    used: usize,
    lengths: [u8; 19],
    orders: usize,
    bits: u64,
}

impl Header {
    fn new(lengths: &Lengths) -> Self {
        let count = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|&length| length > 0).map_or(least, |last| (last + 1).max(least))
        };
        let litlens = count(&lengths.litlens[..LITLENS], FIRST_LENGTH);
        let distances = count(&lengths.distances[..DISTANCES], 1);
        let mut all = [0_u8; 320];
        all[..litlens].copy_from_slice(&lengths.litlens[..litlens]);
        all[litlens..litlens + distances].copy_from_slice(&lengths.distances[..distances]);
        let mut header = Self {
            litlens,
            distances,
            symbols: [(0, 0); 320],
            used: 0,
            lengths: [0; 19],
            orders: 0,
            bits: 0,
        };
        header.run_lengths(&all[..litlens + distances]);
        let mut counts = [0_u32; 19];
        header.symbols[..header.used].iter().for_each(|&(symbol, _)| counts[symbol as usize] += 1);
        huffman::lengths(&counts, PRECODE_LIMIT, &mut header.lengths);
        let last = PRECODE_ORDER.iter().rposition(|&symbol| header.lengths[symbol] > 0);
        header.orders = last.map_or(4, |last| (last + 1).max(4));
        let cost = |symbol: usize| {
            u64::from(counts[symbol]) * u64::from(u32::from(header.lengths[symbol]) + extra(symbol))
        };
        header.bits = 14 + 3 * header.orders as u64 + (0..19).map(cost).sum::<u64>();
        header
    }

    /// Takes runs of equal lengths together.
    fn run_lengths(&mut self, lengths: &[u8]) {
        for run in lengths.chunk_by(|a, b| a == b) {
            let (length, mut left) = (run[0], run.len());
            if length > 0 {
                self.push(length, 0);
                left -= 1;
            }
            while left >= 3 {
                let most = if length > 0 { 6 } else { 138 };
                let mut taken = left.min(most);
                if length > 0 && matches!(left - taken, 1 | 2) && left >= 6 {
                    // Two runs cost less than a run and lengths by themselves.
                    taken = left - 3;
                }
                match (length, taken) {
                    (1.., _) => self.push(16, taken as u8 - 3),
                    (0, ..=10) => self.push(17, taken as u8 - 3),
                    (0, _) => self.push(18, taken as u8 - 11),
                }
                left -= taken;
            }
            (0..left).for_each(|_| self.push(length, 0));
        }
    }

    fn push(&mut self, symbol: u8, extra: u8) {
        self.symbols[self.used] = (symbol, extra);
        self.used += 1;
    }

    fn write(&self, room: &mut Room<'_>) {
        room.put((self.litlens - 257) as u64, 5);
        room.put((self.distances - 1) as u64, 5);
        room.put((self.orders - 4) as u64, 4);
        for &symbol in &PRECODE_ORDER[..self.orders] {
            room.flush();
            room.put(u64::from(self.lengths[symbol]), 3);
        }
        let mut codes = [0_u16; 19];
        huffman::codes(&self.lengths, &mut codes);
        for &(symbol, bits) in &self.symbols[..self.used] {
            let symbol = symbol as usize;
            room.flush();
            room.put(u64::from(codes[symbol]), u32::from(self.lengths[symbol]));
            room.put(u64::from(bits), extra(symbol));
        }
    }
}

/// Returns how many extra bits follow a symbol of the precode.
fn extra(symbol: usize) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}
