//! Bits to bytes, the first bit lowest.

/// Writes bits behind what a vector holds.
#[derive(Debug)]
pub(crate) struct Bits<'a> {
    out: &'a mut Vec<u8>,
    tail: Tail,
}

/// Bits that don't fill a byte yet, and room to write them to.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    bits: u64,
    count: u32,
}

/// A stretch of room with a place in it.
///
/// At most 7 bits are held after [`flush`](Self::flush), so up to 57 may be put between two.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    bytes: &'a mut [u8],
    used: usize,
    tail: Tail,
}

impl<'a> Bits<'a> {
    /// Starts behind the vector's last byte.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, tail: Tail::default() }
    }

    /// Returns how many bits the last byte lacks.
    pub(crate) fn padding(&self) -> u32 {
        self.tail.count.wrapping_neg() & 7
    }

    /// Writes at most `bits` bits.
    pub(crate) fn write(&mut self, bits: u64, write: impl FnOnce(&mut Room<'_>)) {
        let start = self.out.len();
        // Eight bytes are written at a time, whatever is needed of them.
        self.out.resize(start + (bits / 8) as usize + 16, 0);
        let mut room = Room { bytes: &mut self.out[start..], used: 0, tail: self.tail };
        write(&mut room);
        room.flush();
        self.tail = room.tail;
        let used = room.used;
        self.out.truncate(start + used);
    }

    /// Pads to a byte.
    pub(crate) fn align(&mut self) {
        let padding = self.padding();
        self.write(8, |room| room.put(0, padding));
    }

    /// Writes bytes as they are; the last byte must be whole.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.tail.count, 0);
        self.out.extend_from_slice(bytes);
    }
}

impl Room<'_> {
    /// Puts bits, of which none above `count` is set.
    #[inline(always)]
    pub(crate) fn put(&mut self, bits: u64, count: u32) {
        self.tail.bits |= bits << (self.tail.count & 63);
        self.tail.count += count;
    }

    /// Writes out whole bytes.
    #[inline(always)]
    pub(crate) fn flush(&mut self) {
        self.bytes[self.used..self.used + 8].copy_from_slice(&self.tail.bits.to_le_bytes());
        let count = self.tail.count & 63;
        self.used += (count >> 3) as usize;
        self.tail.bits >>= count & !7;
        self.tail.count = count & 7;
    }
}
