//! What symbols cost: entropies by counts, and prices by code lengths. All in integers, so that
//! decisions are the same on every machine.

use crate::block::Lengths;
use crate::sequences::Counts;
use crate::tables::{DISTANCES, FIRST_LENGTH, distance_extra, length_extra};

/// Entropies are in 1/256 bit.
pub(crate) const BIT: u64 = 256;

const FRACTION_BITS: u32 = 9;

/// Fractions of logarithms, of numbers from 1 to 2.
static LOG2: [u16; 1 << FRACTION_BITS] = log2_table();

const fn log2_table() -> [u16; 1 << FRACTION_BITS] {
    let mut table = [0; 1 << FRACTION_BITS];
    let mut index = 0;
    while index < 1 << FRACTION_BITS {
        // Squaring a number doubles its logarithm: each carry is a bit.
        let mut number = ((index as u64) << 31 >> FRACTION_BITS) + (1 << 31);
        let (mut log, mut bit) = (0, 0);
        while bit < 8 {
            number = (number * number) >> 31;
            log <<= 1;
            if number >= 1 << 32 {
                number >>= 1;
                log |= 1;
            }
            bit += 1;
        }
        table[index] = log;
        index += 1;
    }
    table
}

/// Returns the logarithm to the base 2, of a number above 0, in 1/256.
#[inline(always)]
fn log2(number: u32) -> u32 {
    let zeros = number.leading_zeros();
    let fraction = (number << zeros) >> (31 - FRACTION_BITS) & ((1 << FRACTION_BITS) - 1);
    ((31 - zeros) << 8) + u32::from(LOG2[fraction as usize])
}

/// Returns how many bits, in 1/256, symbols of these counts take with ideal codes, and about how
/// many bits describe the codes.
fn ideal(counts: &[u32]) -> u64 {
    let (mut total, mut known, mut used) = (0, 0, 0);
    for &count in counts {
        total += count;
        known += u64::from(count) * u64::from(log2(count.max(1)));
        used += u64::from(count > 0);
    }
    u64::from(total) * u64::from(log2(total.max(1))) - known + used * 3 * BIT
}

/// Estimates what a block costs, in 1/256 bit, without extra bits.
pub(crate) fn estimate(counts: &Counts) -> u64 {
    ideal(&counts.litlens) + ideal(&counts.distances) + 64 * BIT
}

/// What literals and short matches cost in bits, going by the block before.
#[derive(Debug, Clone)]
pub(crate) struct Prices {
    literals: [u8; 256],
    /// Of a match of three bytes, by the slot of its distance.
    shortest: [u8; 32],
}

impl Prices {
    /// The prices where nothing is known yet.
    pub(crate) fn unknown() -> Self {
        let shortest = std::array::from_fn(|slot| 10 + distance_extra(slot) as u8);
        Self { literals: [6; 256], shortest }
    }

    /// Takes the prices of a block's codes.
    pub(crate) fn known(lengths: &Lengths) -> Self {
        let or = |length: u8, rare: u8| if length == 0 { rare } else { length };
        let length = or(lengths.litlens[FIRST_LENGTH], 10) + length_extra(0) as u8;
        let shortest = std::array::from_fn(|slot| {
            length
                + if slot < DISTANCES { or(lengths.distances[slot], 8) } else { 8 }
                + distance_extra(slot) as u8
        });
        Self { literals: std::array::from_fn(|byte| or(lengths.litlens[byte], 12)), shortest }
    }

    /// Tells whether a match of three bytes is cheaper than its bytes.
    #[inline(always)]
    pub(crate) fn favours_shortest(&self, bytes: &[u8], slot: usize) -> bool {
        let literals: u32 = bytes.iter().take(3).map(|&byte| u32::from(self.literals[byte as usize])).sum();
        u32::from(self.shortest[slot & 31]) < literals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close() {
        for number in (1..100_000_u32).chain([u32::MAX]) {
            let exact = f64::from(number).log2() * 256.0;
            assert!((f64::from(log2(number)) - exact).abs() < 1.8, "of {number}");
        }
    }
}
