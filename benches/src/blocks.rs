//! Where a tar stream is cut into the blocks that are compressed on their own.

use std::str::FromStr;

use crate::error::Error;
use crate::stream::padding;

/// A rule that says where the borders of blocks lie.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Borders follow from the entries: before one whose path's hash says so, once a block holds
    /// enough; inside a large file at fixed multiples from the file's start.
    Entries {
        /// Bytes a block holds before a border is looked for.
        min: usize,
        /// Bytes a block never exceeds.
        max: usize,
        /// A border is where the low `bits` bits of the path's hash are zero.
        bits: u32,
        /// Distance of the borders inside a file, in bytes.
        chunk: usize,
    },
    /// Borders lie at multiples of a size in the tar stream.
    Offsets {
        /// That size in bytes.
        size: usize,
    },
}

impl Rule {
    /// Says how many bytes the largest block may hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match *self {
            Rule::Entries { max, .. } => max,
            Rule::Offsets { size } => size,
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    /// Reads `offsets:KIB` or `entries:MIN_KIB:BITS:CHUNK_KIB[:MAX_KIB]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Argument { what: "rule", value: text.to_owned() };
        let (name, numbers) = text.split_once(':').ok_or_else(wrong)?;
        let numbers: Vec<usize> =
            numbers.split(':').map(|number| number.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        match (name, numbers.as_slice()) {
            ("offsets", &[size]) if size > 0 => Ok(Rule::Offsets { size: size << 10 }),
            ("entries", &[min, bits, chunk]) => Ok(entries(min, bits, chunk, 4096)),
            ("entries", &[min, bits, chunk, max]) if max >= chunk + 8 => Ok(entries(min, bits, chunk, max)),
            _ => Err(wrong()),
        }
    }
}

fn entries(min: usize, bits: usize, chunk: usize, max: usize) -> Rule {
    Rule::Entries { min: min << 10, max: max << 10, bits: bits as u32, chunk: chunk << 10 }
}

/// Forms blocks out of entries and hands each finished one to `emit`, which gives a buffer of the
/// rule's capacity back for the next.
pub struct Former<F> {
    rule: Rule,
    buffer: Vec<u8>,
    length: usize,
    emit: F,
}

impl<F: FnMut(Vec<u8>, usize) -> Result<Vec<u8>, Error>> Former<F> {
    /// Begins with an empty block in `buffer`, which has the rule's capacity as its length.
    pub fn new(rule: Rule, buffer: Vec<u8>, emit: F) -> Self {
        Former { rule, buffer, length: 0, emit }
    }

    /// Adds an entry: its header and `size` bytes that `read` supplies piece by piece.
    ///
    /// # Errors
    /// What `read` or `emit` returns.
    pub fn entry(
        &mut self,
        path: &[u8],
        header: &[u8],
        size: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.border(path, header.len(), size)?;
        self.bytes(header)?;
        let mut done = 0;
        while done < size {
            let room = self.room(done);
            let take = room.min((size - done).try_into().unwrap_or(usize::MAX));
            read(&mut self.buffer[self.length..self.length + take])?;
            self.length += take;
            done += take as u64;
            if take == room && (done < size || matches!(self.rule, Rule::Offsets { .. })) {
                self.cut()?;
            }
        }
        self.bytes(&[0; 512][..padding(size)])
    }

    /// Ends the stream with tar's two zero records and the last block.
    ///
    /// # Errors
    /// What `emit` returns.
    pub fn finish(mut self) -> Result<(), Error> {
        if let Rule::Entries { max, .. } = self.rule
            && self.length + 1024 > max
        {
            self.cut()?;
        }
        self.bytes(&[0; 1024])?;
        self.cut()
    }

    fn border(&mut self, path: &[u8], header: usize, size: u64) -> Result<(), Error> {
        let Rule::Entries { min, max, bits, chunk } = self.rule else {
            return Ok(());
        };
        let first = chunk.min(size.try_into().unwrap_or(usize::MAX));
        let chosen = self.length >= min && hash(path) & ((1 << bits) - 1) == 0;
        if chosen || self.length + header + first + 512 > max { self.cut() } else { Ok(()) }
    }

    fn room(&self, done: u64) -> usize {
        match self.rule {
            Rule::Entries { chunk, .. } => chunk - (done % chunk as u64) as usize,
            Rule::Offsets { size } => size - self.length,
        }
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let take = bytes.len().min(self.rule.capacity() - self.length);
            self.buffer[self.length..self.length + take].copy_from_slice(&bytes[..take]);
            self.length += take;
            bytes = &bytes[take..];
            if self.length == self.rule.capacity() && matches!(self.rule, Rule::Offsets { .. }) {
                self.cut()?;
            }
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<(), Error> {
        if self.length > 0 {
            self.buffer = (self.emit)(std::mem::take(&mut self.buffer), self.length)?;
            self.length = 0;
        }
        Ok(())
    }
}

/// FNV-1a with a final mix, because its low bits alone depend on the last byte too plainly.
fn hash(path: &[u8]) -> u64 {
    let fnv = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
}
