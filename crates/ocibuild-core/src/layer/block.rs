//! Where a layer's tar stream is cut into blocks.
//!
//! Borders follow from the entries alone, never from offsets in the stream: an edit that changes a
//! file's length disturbs its own block and leaves its neighbours' bytes as they were.
//! `docs/performance.md` has the trial that settled the numbers.

use crate::files::{Entry, EntryKind};
use crate::tar;

/// A block isn't cut before it holds this many bytes.
const MIN: u64 = 512 << 10;

/// A block isn't grown beyond this many bytes by a further entry.
const MAX: u64 = 4 << 20;

/// Files larger than this begin a block of their own, and are cut at its multiples.
pub(super) const CHUNK: u64 = 1 << 20;

/// Once a block is large enough, one path in this many begins the next.
const ONE_IN: u32 = 16;

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

/// A place in the tar stream: the entry, and how many of its content bytes lie before it. At
/// offset 0 the header lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) entry: usize,
    pub(super) offset: u64,
}

/// Cuts the stream of these entries, with the trailer in the last block.
pub(super) fn cut(entries: &[Entry]) -> Vec<Block> {
    let mut cutter = Cutter { blocks: Vec::new(), start: Position { entry: 0, offset: 0 }, held: 0 };
    for (index, entry) in entries.iter().enumerate() {
        cutter.entry(index, entry);
    }
    cutter.held += tar::TRAILER.len() as u64;
    cutter.cut(Position { entry: entries.len(), offset: 0 });
    cutter.blocks
}

struct Cutter {
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
        while size - offset > CHUNK {
            offset += CHUNK;
            self.held += CHUNK;
            self.cut(Position { entry: index, offset });
        }
        self.held += tar::padded(size - offset);
    }

    fn ends_before(&self, entry: &Entry, length: u64) -> bool {
        let is_border = || crc32fast::hash(&entry.path).is_multiple_of(ONE_IN);
        entry.size() > CHUNK || self.held + length > MAX || (self.held >= MIN && is_border())
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

/// Tells whether a file's content lies in one block, or is cut.
pub(super) fn is_cut(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { size, .. } if size > CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileSource;

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
        let blocks = cut(&entries);
        let stream: u64 =
            entries.iter().map(|entry| tar::header_len(entry) + tar::padded(entry.size())).sum();
        assert_eq!(blocks.iter().map(|block| block.len).sum::<u64>(), stream + 1024);
        assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(blocks.iter().all(|block| block.len > 0 && block.len <= MAX + 1024));
        assert_eq!(cut(&[]).len(), 1);
    }

    #[test]
    fn a_length_that_changes_disturbs_its_neighbourhood_only() {
        let before = tree(|n| n * 37 % 20_000);
        let mut after = before.clone();
        after[1000] = file("dir/01000", 123_456);
        let (before, after) = (cut(&before), cut(&after));
        let changed = after.iter().filter(|block| !before.contains(block)).count();
        assert!(after.len() > 20 && changed <= 3, "{changed} of {}", after.len());
    }

    #[test]
    fn a_large_file_is_cut_at_multiples_from_its_own_start() {
        let blocks = cut(&[file("a", 1000), file("b", (5 << 20) + 7), file("c", 10)]);
        let offsets: Vec<(usize, u64)> =
            blocks.iter().map(|block| (block.start.entry, block.start.offset)).collect();
        assert_eq!(
            offsets,
            [(0, 0), (1, 0), (1, CHUNK), (1, 2 * CHUNK), (1, 3 * CHUNK), (1, 4 * CHUNK), (1, 5 * CHUNK)]
        );
    }
}
