//! Length-limited prefix codes ([RFC 1951, section 3.2.2]).
//!
//! [RFC 1951, section 3.2.2]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.2

/// The most symbols an alphabet has.
const MOST: usize = 288;

/// Longest code of any alphabet here.
const LONGEST: usize = 15;

/// Bits of a key that name the symbol; the others count it.
const SYMBOL_BITS: u32 = 9;

/// Finds code lengths, of at most `limit` bits, for symbols by how often each occurs.
///
/// A symbol that doesn't occur gets length 0, but there are always two codes at least, because
/// some readers refuse an incomplete set. Among symbols that occur equally often the higher ones
/// get the shorter codes, so lengths are a function of the counts alone. Counts are below 2^23.
pub(crate) fn lengths(counts: &[u32], limit: usize, lengths: &mut [u8]) {
    let mut keys = [0_u32; MOST];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count > 0 {
            keys[used] = count << SYMBOL_BITS | symbol as u32;
            used += 1;
        }
    }
    lengths.fill(0);
    if used < 2 {
        let only = if used == 1 { (keys[0] & 511) as usize } else { 0 };
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return;
    }
    let keys = &mut keys[..used];
    keys.sort_unstable();
    let mut by_length = depths(keys);
    limit_depths(&mut by_length, limit);
    // The rarest symbols get the longest codes.
    let mut keys = keys.iter();
    for length in (1..=limit).rev() {
        for key in keys.by_ref().take(by_length[length] as usize) {
            lengths[(key & 511) as usize] = length as u8;
        }
    }
}

/// Counts the leaves at each depth of the Huffman tree over sorted keys; what is deeper than the
/// table counts at its end.
fn depths(keys: &[u32]) -> [u32; 33] {
    let leaves = keys.len();
    let mut weights = [0_u32; MOST];
    let mut parents = [0_u16; 2 * MOST];
    let (mut leaf, mut node) = (0, 0);
    for made in 0..leaves - 1 {
        for _ in 0..2 {
            // Leaves come first where weights are equal, which keeps the tree flat.
            if leaf < leaves && (node == made || keys[leaf] >> SYMBOL_BITS <= weights[node]) {
                weights[made] += keys[leaf] >> SYMBOL_BITS;
                parents[leaf] = made as u16;
                leaf += 1;
            } else {
                weights[made] += weights[node];
                parents[MOST + node] = made as u16;
                node += 1;
            }
        }
    }
    let mut node_depths = [0_u8; MOST];
    for node in (0..leaves - 2).rev() {
        node_depths[node] = (node_depths[parents[MOST + node] as usize] + 1).min(31);
    }
    let mut by_depth = [0; 33];
    for &parent in &parents[..leaves] {
        by_depth[node_depths[parent as usize] as usize + 1] += 1;
    }
    by_depth
}

/// Shortens codes that are too long and pays for it with others, as little as can be.
fn limit_depths(by_length: &mut [u32; 33], limit: usize) {
    let too_long: u32 = by_length[limit + 1..].iter().sum();
    by_length[limit + 1..].fill(0);
    by_length[limit] += too_long;
    // In units of the longest code.
    let mut taken: u32 = (1..=limit).map(|length| by_length[length] << (limit - length)).sum();
    while taken > 1 << limit {
        // A leaf at the limit goes beside the deepest leaf above it, which comes down a level.
        let Some(above) = (1..limit).rev().find(|&length| by_length[length] > 0) else { return };
        by_length[above] -= 1;
        by_length[above + 1] += 2;
        by_length[limit] -= 1;
        taken -= 1;
    }
}

/// Assigns canonical codes, first bit lowest.
pub(crate) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut next = [0_u16; LONGEST + 2];
    for &length in lengths {
        next[length as usize + 1] += u16::from(length > 0);
    }
    let mut first = 0;
    for slot in &mut next {
        first = (first + *slot) << 1;
        *slot = first;
    }
    for (code, &length) in codes.iter_mut().zip(lengths) {
        if length > 0 {
            let next = &mut next[length as usize];
            *code = next.reverse_bits() >> (16 - u32::from(length));
            *next += 1;
        }
    }
}
