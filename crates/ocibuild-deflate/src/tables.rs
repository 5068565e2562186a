//! The symbols of lengths and distances ([RFC 1951, section 3.2.5]).
//!
//! [RFC 1951, section 3.2.5]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.5

/// The shortest match.
pub(crate) const MIN_MATCH: usize = 3;
/// The longest match.
pub(crate) const MAX_MATCH: usize = 258;
/// The symbol that ends a block.
pub(crate) const END: usize = 256;
/// The symbol of the first length.
pub(crate) const FIRST_LENGTH: usize = 257;
/// How many literal and length symbols there are.
pub(crate) const LITLENS: usize = 286;
/// How many distance symbols there are.
pub(crate) const DISTANCES: usize = 30;

/// Slot of a length, by the length less [`MIN_MATCH`].
pub(crate) const LENGTH_SLOT: [u8; 256] = length_slots();

/// Shortest length of each slot, less [`MIN_MATCH`].
const LENGTH_START: [u8; 29] = length_starts();

/// Slots of distances: of those up to 256 by themselves, of others by their upper bits.
const DISTANCE_SLOT: [u8; 512] = distance_slots();

const fn length_starts() -> [u8; 29] {
    let mut starts = [0; 29];
    let (mut slot, mut start) = (0, 0);
    while slot < 28 {
        starts[slot] = start as u8;
        start += 1 << length_extra(slot);
        slot += 1;
    }
    starts[28] = 255;
    starts
}

const fn length_slots() -> [u8; 256] {
    let starts = length_starts();
    let mut slots = [0; 256];
    let (mut slot, mut length) = (0, 0);
    while length < 256 {
        if slot < 28 && length == starts[slot + 1] as usize {
            slot += 1;
        }
        slots[length] = slot as u8;
        length += 1;
    }
    slots
}

const fn distance_slots() -> [u8; 512] {
    let mut slots = [0; 512];
    let mut index = 0;
    while index < 512 {
        let less = if index < 256 { index } else { (index - 256) << 7 };
        slots[index] = slow_distance_slot(less) as u8;
        index += 1;
    }
    slots
}

const fn slow_distance_slot(less: usize) -> usize {
    if less < 2 {
        return less;
    }
    let top = less.ilog2() as usize;
    2 * top + (less >> (top - 1) & 1)
}

/// Returns how many extra bits follow a length's symbol.
pub(crate) const fn length_extra(slot: usize) -> u32 {
    if slot < 8 || slot == 28 { 0 } else { slot as u32 / 4 - 1 }
}

/// Returns the shortest length of a slot, less [`MIN_MATCH`].
pub(crate) const fn length_start(slot: usize) -> usize {
    LENGTH_START[slot] as usize
}

/// Returns the slot of a distance, given less one, below 32768.
#[inline(always)]
pub(crate) fn distance_slot(less: usize) -> usize {
    let index = if less < 256 { less } else { 256 + (less >> 7) };
    DISTANCE_SLOT[index & 511] as usize
}

/// Returns how many extra bits follow a distance's symbol: the low bits of the distance less one.
#[inline(always)]
pub(crate) const fn distance_extra(slot: usize) -> u32 {
    (slot as u32 / 2).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_specification_s() {
        let symbol = |length: usize| FIRST_LENGTH + LENGTH_SLOT[length - MIN_MATCH] as usize;
        let known = [(3, 257), (10, 264), (11, 265), (12, 265), (13, 266), (18, 268), (19, 269), (114, 279)];
        for (length, expected) in known.into_iter().chain([(115, 280), (227, 284), (257, 284), (258, 285)]) {
            assert_eq!(symbol(length), expected, "length {length}");
        }
        let known = [(1, 0), (4, 3), (5, 4), (6, 4), (7, 5), (257, 16), (384, 16), (385, 17), (24577, 29)];
        for (distance, slot) in known {
            assert_eq!(distance_slot(distance - 1), slot, "distance {distance}");
        }
    }

    #[test]
    fn distance_slots_agree_with_their_definition() {
        for less in 0..32768 {
            let slot = distance_slot(less);
            assert_eq!(slot, slow_distance_slot(less));
            let start = if slot < 2 { slot } else { (2 + (slot & 1)) << distance_extra(slot) };
            assert_eq!(start | less & ((1 << distance_extra(slot)) - 1), less);
        }
    }
}
