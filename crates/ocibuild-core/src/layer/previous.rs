//! Blocks of the layer as it was built last: those that would be made of the same are taken from
//! its blob, neither read nor compressed.
//!
//! What a block's bytes follow from are the inventory's lines of its entries, and which part of the
//! first and last lies in it: that is its key. So blocks are the same wherever an edit didn't reach,
//! and have the same bytes in the blob. The blob's own digest is made of all bytes, as ever, and each
//! block that is taken is held against its digest first: one that is damaged, or can't be read, is
//! made as if it were not there. What a blob says uncompressed is proven by that as well. So before
//! the first block that isn't the same, hashing for the `diff_id` goes on from states that were kept;
//! after it, blocks are unpacked, which is cheaper than reading files.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::blob::Store;
use crate::cache::{BlockIndex, BlockIndexes};
use crate::compress::{EncodedBlock, codec_id, unpack};
use crate::layer::block::Block;
use crate::layer::content::Content;
use crate::layer::key::COMPAT;
use crate::oci::{Compression, Descriptor};
use crate::own;

/// Blobs of fewer tar bytes have no index: they are made as quickly.
pub(super) const LEAST: u64 = 4 << 20;

/// Names what the bytes of blocks follow from.
pub(super) struct Keys {
    seed: [u8; 32],
}

impl Keys {
    /// Makes keys for a compression.
    pub(super) fn new(compression: Compression) -> Self {
        let codec = codec_id(compression);
        Self { seed: *blake3::hash(format!("block {COMPAT} {}", codec.as_str()).as_bytes()).as_bytes() }
    }

    /// Makes the key of a block out of the lines of its entries, all of them whole.
    pub(super) fn key(&self, block: &Block, lines: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        for number in [block.start.offset, block.end.offset, block.len] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.update(lines).finalize().as_bytes()
    }
}

/// Makes the keys of blocks as lines come. The line of a file of many blocks comes when the last of
/// them is there.
pub(super) struct KeyMaker {
    keys: Keys,
    blocks: Vec<Block>,
    lines: Vec<u8>,
    made: Vec<[u8; 32]>,
}

impl KeyMaker {
    pub(super) fn new(compression: Compression, blocks: &[Block]) -> Self {
        let made = Vec::with_capacity(blocks.len());
        Self { keys: Keys::new(compression), blocks: blocks.to_vec(), lines: Vec::new(), made }
    }

    /// Takes the line of the next entry.
    pub(super) fn add(&mut self, index: usize, line: &[u8]) {
        while let Some(block) = self.blocks.get(self.made.len()) {
            if block.entries().start > index {
                return;
            }
            self.lines.extend_from_slice(line);
            if block.entries().end > index + 1 {
                return;
            }
            self.made.push(self.keys.key(block, &self.lines));
            self.lines.clear();
        }
    }

    pub(super) fn finish(self) -> Vec<[u8; 32]> {
        self.made
    }
}

/// The layer as it was built last.
pub(super) struct Previous {
    index: BlockIndex,
    blob: File,
}

impl Previous {
    /// Opens it, if both its blob and what that was made of are there.
    pub(super) fn open(indexes: &BlockIndexes, store: &Store, layer: &Descriptor) -> Option<Self> {
        let index = indexes.get(&layer.digest)?;
        let blob = own::open_regular(&store.path(&layer.digest)).ok()?;
        Some(Self { index, blob })
    }
}

/// Which blocks can be taken.
pub(super) struct Reuse<'a> {
    previous: &'a Previous,
    /// What the layer is to hold.
    pub(super) content: &'a Content,
    compression: Compression,
    keys: Vec<[u8; 32]>,
    /// Of each block its like in the previous blob, and where that begins.
    likes: Vec<Option<(usize, u64)>>,
    /// As many blocks are the same from the beginning on.
    same: usize,
}

/// A block that was made before.
pub(super) struct Taken {
    /// Its bytes in the blob.
    pub(super) encoded: EncodedBlock,
    /// Their BLAKE3 digest.
    pub(super) digest: [u8; 32],
    /// Its tar bytes.
    pub(super) tar: Known,
}

/// What is known of a block's tar bytes.
pub(super) enum Known {
    /// The state of their hash up to there, which is all that is asked of them.
    Hashed([u32; 8]),
    /// All of them.
    Unpacked(Vec<u8>),
}

impl<'a> Reuse<'a> {
    /// Finds the blocks that are the same; `None` if there are none.
    pub(super) fn find(
        previous: &'a Previous,
        content: &'a Content,
        blocks: &[Block],
        compression: Compression,
    ) -> Option<Self> {
        let lines = content.lines.as_ref()?;
        let keys = Keys::new(compression);
        let key = |block: &Block| keys.key(block, lines.of(block.entries()));
        let keys: Vec<[u8; 32]> = blocks.par_iter().map(key).collect();
        let mut at = previous.index.start;
        let mut known = HashMap::with_capacity(keys.len());
        for (place, block) in previous.index.blocks.iter().enumerate() {
            known.insert(&block.key, (place, at));
            at += u64::from(block.size);
        }
        let like = |(block, key): (&Block, &[u8; 32])| {
            let like = known.get(key).copied();
            like.filter(|(place, _)| u64::from(previous.index.blocks[*place].length) == block.len)
        };
        let likes: Vec<_> = blocks.iter().zip(&keys).map(like).collect();
        let is_same =
            |(at, like): &(usize, &Option<(usize, u64)>)| like.is_some_and(|(place, _)| place == *at);
        let same = likes.iter().enumerate().take_while(is_same).count();
        let any = likes.iter().any(Option::is_some);
        any.then_some(Self { previous, content, compression, keys, likes, same })
    }

    /// The keys of all blocks.
    pub(super) fn keys(&self) -> &[[u8; 32]] {
        &self.keys
    }

    /// The state of the tar bytes' hash after a block, where all is the same up to there.
    pub(super) fn state(&self, index: usize) -> Option<[u32; 8]> {
        (index < self.same).then(|| self.previous.index.blocks[index].state)
    }

    /// Takes a block that is the same, if it is whole.
    pub(super) fn take(&self, index: usize) -> Option<Taken> {
        let (place, at) = self.likes[index]?;
        let like = &self.previous.index.blocks[place];
        let mut bytes = vec![0; like.size as usize];
        read_exact_at(&self.previous.blob, &mut bytes, at).ok()?;
        if *blake3::hash(&bytes).as_bytes() != like.digest {
            return None;
        }
        let tar = match self.state(index) {
            Some(state) => Known::Hashed(state),
            None => Known::Unpacked(unpack(self.compression, &bytes, like.length as usize)?),
        };
        let encoded = EncodedBlock::known(bytes, like.checksum, like.length.into());
        Some(Taken { encoded, digest: like.digest, tar })
    }
}

/// Lines of an inventory, and where each ends.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
}

impl Lines {
    /// Adds others behind these.
    pub(super) fn append(&mut self, others: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&others.bytes);
        self.ends.extend(others.ends.iter().map(|end| start + end));
    }

    /// The lines of some entries, one after the other.
    pub(super) fn of(&self, entries: Range<usize>) -> &[u8] {
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[end(entries.start)..end(entries.end)]
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}
