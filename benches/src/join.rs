//! Makes a finished deflate stream one that others can follow, without compressing it again.
//!
//! libdeflate ends each call with a block marked as the stream's last, and has no sync flush, so
//! its outputs can't be parts of one gzip member as they are. Here a stream's symbols are walked
//! (their lengths only; nothing is decompressed) to find the last block's mark and the stream's
//! end in bits; the mark is cleared, and an empty stored block brings the stream to a whole byte.

/// Bits looked up at once; longer codes take the slow path.
const FAST_LITERAL: usize = 11;
const FAST_DISTANCE: usize = 9;

// A table's entry: the bits to skip (code and extra bits) in the low six bits, the kind above.
const LITERAL: u8 = 0 << 6;
const MATCH: u8 = 1 << 6;
const END: u8 = 2 << 6;
const LONG: u8 = 3 << 6;
const BITS: u8 = 0x3f;

/// Bytes that must be free after the stream, for the empty block and for reading ahead.
pub const SLACK: usize = 16;

/// Opens the deflate stream in `stream[..length]` at its end, and gives its new length.
///
/// # Errors
/// If it isn't a sound deflate stream of just that length, or `stream` lacks the slack.
pub fn open_end(stream: &mut [u8], length: usize) -> Result<usize, &'static str> {
    let tail = stream.get_mut(length..length + SLACK).ok_or("no room after the stream")?;
    tail.fill(0);
    let (mark, end) = last_block(stream, length)?;
    if end.div_ceil(8) != length {
        return Err("the stream ends elsewhere");
    }
    stream[mark / 8] &= !(1 << (mark % 8));
    let aligned = (end + 3).div_ceil(8);
    stream[aligned..aligned + 4].copy_from_slice(&[0, 0, 0xff, 0xff]);
    Ok(aligned + 4)
}

/// Finds the bit that marks the last block, and the stream's end in bits.
fn last_block(stream: &[u8], length: usize) -> Result<(usize, usize), &'static str> {
    let mut tables = Tables::new();
    let mut at = 0;
    loop {
        let mark = at;
        if mark + 3 > length * 8 {
            return Err("the stream has no last block");
        }
        let header = word(stream, at);
        at += 3;
        at = match header >> 1 & 3 {
            0 => stored(stream, at),
            1 => {
                tables.fixed();
                tables.skip(stream, at, length * 8)?
            }
            2 => {
                at = tables.dynamic(stream, at)?;
                tables.skip(stream, at, length * 8)?
            }
            _ => return Err("a block has no type"),
        };
        if at > length * 8 {
            return Err("a block is longer than the stream");
        }
        if header & 1 == 1 {
            return Ok((mark, at));
        }
    }
}

fn stored(stream: &[u8], at: usize) -> usize {
    let byte = at.div_ceil(8);
    let size = (word(stream, byte * 8) & 0xffff) as usize;
    (byte + 4 + size) * 8
}

/// The bits from `at` on, at least 57 of them; zeros beyond the end.
fn word(stream: &[u8], at: usize) -> u64 {
    let byte = at / 8;
    let bytes = stream.get(byte..byte + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 8]);
    u64::from_le_bytes(bytes) >> (at % 8)
}

/// One code's lengths, as a table of its short codes and canonical counts for the long ones.
struct Code<const FAST: usize> {
    table: Vec<u8>,
    /// Bits of the code alone, without extra bits, for each entry of `table`.
    widths: Vec<u8>,
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl<const FAST: usize> Code<FAST> {
    fn new() -> Self {
        Code {
            table: vec![LONG; 1 << FAST],
            widths: vec![0; 1 << FAST],
            counts: [0; 16],
            symbols: Vec::new(),
        }
    }

    /// Builds the code from its lengths; `entry` says kind and extra bits of a symbol.
    fn build(&mut self, lengths: &[u8], entry: impl Fn(u16) -> u8) {
        self.counts = [0; 16];
        for &length in lengths {
            self.counts[usize::from(length)] += 1;
        }
        self.counts[0] = 0;
        let mut starts = [0_u16; 17];
        let mut codes = [0_u16; 17];
        for length in 1..16 {
            starts[length + 1] = starts[length] + self.counts[length];
            codes[length + 1] = (codes[length] + self.counts[length]) << 1;
        }
        self.symbols.clear();
        self.symbols.resize(usize::from(starts[16]), 0);
        self.table.fill(LONG);
        for (symbol, &length) in lengths.iter().enumerate() {
            let length = usize::from(length);
            if length == 0 {
                continue;
            }
            self.symbols[usize::from(starts[length])] = symbol as u16;
            starts[length] += 1;
            let code = codes[length];
            codes[length] += 1;
            if length <= FAST {
                let first = usize::from(code.reverse_bits() >> (16 - length));
                let filled = entry(symbol as u16) + length as u8;
                for at in (first..1 << FAST).step_by(1 << length) {
                    self.table[at] = filled;
                    self.widths[at] = length as u8;
                }
            }
        }
    }

    /// Lets an entry stand for as many literals as its bits hold, and for what follows them.
    fn chain(&self, chained: &mut [u8; 1 << FAST_LITERAL]) {
        for (bits, slot) in chained.iter_mut().enumerate() {
            let mut used = 0;
            *slot = loop {
                let entry = self.table[bits >> used];
                if entry >= LONG || used + usize::from(self.widths[bits >> used]) > FAST {
                    break if used == 0 { LONG } else { LITERAL + used as u8 };
                }
                if entry >= MATCH {
                    break entry + used as u8;
                }
                used += usize::from(entry);
                if used == FAST {
                    break LITERAL + used as u8;
                }
            };
        }
    }

    /// Reads one symbol bit by bit, and gives it with its code's length.
    fn symbol(&self, bits: u64) -> Result<(u16, u8), &'static str> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for length in 1..16_u8 {
            code |= (bits >> (length - 1)) as u32 & 1;
            let count = u32::from(self.counts[usize::from(length)]);
            if code < first + count {
                let symbol = self.symbols.get((index + code - first) as usize);
                return symbol.map(|&symbol| (symbol, length)).ok_or("a code is unknown");
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err("a code is unknown")
    }
}

/// Kind and extra bits of a literal, length or end symbol.
fn literal(symbol: u16) -> u8 {
    match symbol {
        0..256 => LITERAL,
        256 => END,
        257..265 | 285.. => MATCH,
        _ => MATCH + ((symbol - 261) / 4) as u8,
    }
}

/// Extra bits of a distance symbol.
fn distance(symbol: u16) -> u8 {
    if symbol < 4 { 0 } else { ((symbol - 2) / 2) as u8 }
}

struct Tables {
    literals: Code<FAST_LITERAL>,
    /// `literals`, with several symbols to an entry.
    chained: [u8; 1 << FAST_LITERAL],
    distances: Code<FAST_DISTANCE>,
    meta: Code<7>,
}

impl Tables {
    fn new() -> Self {
        Tables {
            literals: Code::new(),
            chained: [LONG; 1 << FAST_LITERAL],
            distances: Code::new(),
            meta: Code::new(),
        }
    }

    fn fixed(&mut self) {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.literals.build(&lengths, literal);
        self.distances.build(&[5; 30], distance);
    }

    /// Reads a dynamic block's two codes, and gives the bit after them.
    fn dynamic(&mut self, stream: &[u8], mut at: usize) -> Result<usize, &'static str> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let header = word(stream, at);
        at += 14;
        let literals = 257 + (header & 31) as usize;
        let all = literals + 1 + (header >> 5 & 31) as usize;
        let mut meta = [0; 19];
        for &symbol in &ORDER[..4 + (header >> 10 & 15) as usize] {
            meta[symbol] = (word(stream, at) & 7) as u8;
            at += 3;
        }
        self.meta.build(&meta, |_| 0);
        let mut lengths = [0_u8; 320];
        let mut filled = 0;
        while filled < all {
            let bits = word(stream, at);
            let (symbol, used) = self.meta.symbol(bits)?;
            let bits = bits >> used;
            let (value, times, extra) = match symbol {
                16 => (filled.checked_sub(1).map_or(0, |last| lengths[last]), 3 + (bits & 3), 2),
                17 => (0, 3 + (bits & 7), 3),
                18 => (0, 11 + (bits & 127), 7),
                length => (length as u8, 1, 0),
            };
            at += usize::from(used) + extra;
            let run = lengths.get_mut(filled..filled + times as usize).ok_or("too many code lengths")?;
            run.fill(value);
            filled += times as usize;
        }
        self.literals.build(&lengths[..literals], literal);
        self.distances.build(&lengths[literals..all], distance);
        Ok(at)
    }

    /// Walks a block's symbols from `at`, and gives the bit after its end symbol.
    fn skip(&mut self, stream: &[u8], mut at: usize, limit: usize) -> Result<usize, &'static str> {
        const MASK: usize = (1 << FAST_LITERAL) - 1;
        self.literals.chain(&mut self.chained);
        while at < limit {
            let mut bits = word(stream, at);
            let mut entry = self.chained[bits as usize & MASK];
            // Two entries of literals leave enough of the 57 bits for a length and a distance.
            for _ in 0..2 {
                if entry < MATCH {
                    bits >>= entry;
                    at += usize::from(entry);
                    entry = self.chained[bits as usize & MASK];
                }
            }
            if entry >= LONG {
                let (symbol, used) = self.literals.symbol(bits)?;
                entry = literal(symbol) + used;
            }
            let used = entry & BITS;
            at += usize::from(used);
            match entry & !BITS {
                END => return Ok(at),
                MATCH => at += self.distance(bits >> used)?,
                _ => {}
            }
        }
        Err("a block has no end")
    }

    fn distance(&self, bits: u64) -> Result<usize, &'static str> {
        let entry = self.distances.table[bits as usize & ((1 << FAST_DISTANCE) - 1)];
        if entry < LONG {
            return Ok(usize::from(entry));
        }
        let (symbol, used) = self.distances.symbol(bits)?;
        Ok(usize::from(distance(symbol) + used))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use libdeflater::{CompressionLvl, Compressor};

    use super::{SLACK, open_end};

    fn parts() -> Vec<Vec<u8>> {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|at| format!("{} ", u64::from(at) * u64::from(at) % 9973).into_bytes())
            .collect();
        let mut state = 1_u64;
        let noise = (0..100_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        vec![text, Vec::new(), b"a".to_vec(), vec![0; 300_000], noise.collect(), b"the end".to_vec()]
    }

    #[test]
    fn joined_streams_are_read_as_one() {
        for level in 0..=12 {
            let mut compressor = Compressor::new(CompressionLvl::new(level).expect("a level of libdeflate"));
            let mut joined = Vec::new();
            for part in parts() {
                let bound = compressor.deflate_compress_bound(part.len());
                let mut stream = vec![0xff; bound + SLACK];
                let length =
                    compressor.deflate_compress(&part, &mut stream).expect("sound input and room enough");
                let length = open_end(&mut stream, length).expect("a sound stream");
                joined.extend_from_slice(&stream[..length]);
            }
            joined.extend_from_slice(&[3, 0]);
            let mut read = Vec::new();
            flate2::read::DeflateDecoder::new(joined.as_slice())
                .read_to_end(&mut read)
                .expect("sound input and room enough");
            assert_eq!(read, parts().concat(), "level {level}");
        }
    }

    #[test]
    fn a_cut_stream_is_refused() {
        let mut compressor = Compressor::new(CompressionLvl::new(3).expect("a level of libdeflate"));
        let mut stream = vec![0; 1 << 20];
        let length = compressor
            .deflate_compress(&parts()[0][..500_000], &mut stream)
            .expect("sound input and room enough");
        assert!(open_end(&mut stream, length - 1).is_err());
    }
}
