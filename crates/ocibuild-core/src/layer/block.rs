//! Where a layer's tar stream is cut into blocks.
//!
//! Borders follow from the entries alone, never from offsets in the stream: an edit that changes a
//! file's length disturbs its own block and leaves its neighbours' bytes as they were.
//! `docs/performance.md` has the trial that settled the numbers.

use std::borrow::Borrow;

use crate::files::Entry;
use crate::layer::inventory::CHUNK;
use crate::oci::Compression;
use crate::tar;

/// Once a block is large enough, one path in this many begins the next.
const ONE_IN: u32 = 16;

/// How large blocks are, in bytes: part of what a compression's blobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// A block isn't cut before it holds this many bytes.
    min: u64,
    /// A block isn't grown beyond this many bytes by a further entry.
    max: u64,
    /// Files larger than this begin a block of their own, and are cut at its multiples. A multiple
    /// of the inventory's chunks, so that each chunk of a file lies in one block.
    chunk: u64,
}

impl Limits {
    const GZIP: Self = Self { min: 512 << 10, max: 4 << 20, chunk: CHUNK };
    /// Matches reach further than gzip's 32 KiB, so a border costs more.
    const ZSTD: Self = Self { min: 2 << 20, max: 4 << 20, chunk: 2 * CHUNK };

    /// Returns the limits of blocks that are compressed like this.
    pub(super) fn of(compression: Compression) -> Self {
        match compression {
            Compression::Zstd { .. } => Self::ZSTD,
            _ => Self::GZIP,
        }
    }
}

/// A frame's window is at most its block, and every decoder should grant 8 MiB.
const _: () = assert!(Limits::ZSTD.max + tar::TRAILER.len() as u64 <= 8 << 20);

/// A run of the tar stream: from somewhere within one entry to somewhere within another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins.
    pub(super) start: Position,
    /// Where it ends; the next block begins there.
    pub(super) end: Position,
    /// Its length in bytes.
    pub(super) len: u64,
}

impl Block {
    /// Returns the indices of the entries of which something lies in it.
    pub(super) fn entries(&self) -> std::ops::Range<usize> {
        self.start.entry..self.end.entry + usize::from(self.end.offset > 0)
    }
}

/// A place in the tar stream: the entry, and how many of its content bytes lie before it. At
/// offset 0 the header lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) entry: usize,
    pub(super) offset: u64,
}

/// Returns the length of the stream of these entries.
pub(super) fn stream_len<E: Borrow<Entry>>(entries: &[E]) -> u64 {
    let length = |entry: &Entry| tar::header_len(entry) + tar::padded(entry.size());
    entries.iter().map(|entry| length(entry.borrow())).sum::<u64>() + tar::TRAILER.len() as u64
}

/// Cuts the stream of these entries, with the trailer in the last block.
pub(super) fn cut<E: Borrow<Entry>>(entries: &[E], limits: Limits) -> Vec<Block> {
    let mut cutter = Cutter { limits, blocks: Vec::new(), start: Position { entry: 0, offset: 0 }, held: 0 };
    for (index, entry) in entries.iter().enumerate() {
        cutter.entry(index, entry.borrow());
    }
    cutter.held += tar::TRAILER.len() as u64;
    cutter.cut(Position { entry: entries.len(), offset: 0 });
    cutter.blocks
}

struct Cutter {
    limits: Limits,
    blocks: Vec<Block>,
    start: Position,
    held: u64,
}

impl Cutter {
    fn entry(&mut self, index: usize, entry: &Entry) {
        let header = tar::header_len(entry);
        let size = entry.size();
        if self.held > 0 && self.ends_before(entry, header + tar::padded(size)) {
            self.cut(Position { entry: index, offset: 0 });
        }
        self.held += header;
        let mut offset = 0;
        let Limits { chunk, .. } = self.limits;
        while size - offset > chunk {
            offset += chunk;
            self.held += chunk;
            self.cut(Position { entry: index, offset });
        }
        self.held += tar::padded(size - offset);
    }

    fn ends_before(&self, entry: &Entry, length: u64) -> bool {
        let is_border = || crc32fast::hash(&entry.path).is_multiple_of(ONE_IN);
        let Limits { min, max, chunk } = self.limits;
        entry.size() > chunk || self.held + length > max || (self.held >= min && is_border())
    }

    fn cut(&mut self, end: Position) {
        self.blocks.push(Block { start: self.start, end, len: self.held });
        self.start = end;
        self.held = 0;
    }
}

/// Returns the content bytes of an entry that lie in a block.
pub(super) fn content_range(block: &Block, index: usize, entry: &Entry) -> std::ops::Range<u64> {
    let from = if index == block.start.entry { block.start.offset } else { 0 };
    let to = if index == block.end.entry { block.end.offset } else { entry.size() };
    from..to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{EntryKind, FileSource};

    const BOTH: [Limits; 2] = [Limits::GZIP, Limits::ZSTD];

    fn file(path: &str, size: u64) -> Entry {
        let kind = EntryKind::File { source: FileSource::Bytes(Vec::new().into()), size };
        Entry { path: path.as_bytes().into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1, xattrs: None }
    }

    fn tree(sizes: impl Fn(u64) -> u64) -> Vec<Entry> {
        (0..2000).map(|n| file(&format!("dir/{n:05}"), sizes(n))).collect()
    }

    #[test]
    fn blocks_are_the_whole_stream_in_order() {
        let entries = tree(|n| if n % 97 == 0 { 5 << 20 } else { n * 37 % 20_000 });
        let stream: u64 =
            entries.iter().map(|entry| tar::header_len(entry) + tar::padded(entry.size())).sum();
        for limits in BOTH {
            let blocks = cut(&entries, limits);
            assert_eq!(blocks.iter().map(|block| block.len).sum::<u64>(), stream + 1024);
            assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(blocks.iter().all(|block| block.len > 0 && block.len <= limits.max + 1024));
            assert_eq!(cut::<Entry>(&[], limits).len(), 1);
        }
    }

    #[test]
    fn a_length_that_changes_disturbs_its_neighbourhood_only() {
        let before = tree(|n| n * 37 % 20_000);
        let mut after = before.clone();
        after[1000] = file("dir/01000", 123_456);
        for (limits, least) in BOTH.into_iter().zip([20, 6]) {
            let (before, after) = (cut(&before, limits), cut(&after, limits));
            let changed = after.iter().filter(|block| !before.contains(block)).count();
            assert!(after.len() > least && changed <= 3, "{changed} of {}", after.len());
        }
    }

    #[test]
    fn a_large_file_is_cut_at_multiples_from_its_own_start() {
        let blocks = cut(&[file("a", 1000), file("b", (5 << 20) + 7), file("c", 10)], Limits::GZIP);
        let offsets: Vec<(usize, u64)> =
            blocks.iter().map(|block| (block.start.entry, block.start.offset)).collect();
        assert_eq!(
            offsets,
            [(0, 0), (1, 0), (1, CHUNK), (1, 2 * CHUNK), (1, 3 * CHUNK), (1, 4 * CHUNK), (1, 5 * CHUNK)]
        );
    }

    #[test]
    fn a_chunk_of_an_inventory_lies_in_one_block() {
        assert!(BOTH.iter().all(|limits| limits.chunk.is_multiple_of(CHUNK) && limits.chunk <= limits.max));
    }
}
