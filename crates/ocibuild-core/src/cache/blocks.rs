//! What the blocks of a large blob were made from, so that the next blob takes over those that are
//! the same.
//!
//! A file a blob, `blocks/v1/HEX` by the blob's digest: rows of one length, and a digest at the end.
//! Written beside and renamed, by nobody alone and never synced: one that is damaged, or of another
//! form, is removed when it is read, and its blob is made without it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::own;

/// The directory of block indexes, below that of the whole cache.
pub(super) const DIRECTORY: [&str; 2] = ["blocks", "v1"];

/// What a file begins with: its form, and the version of what stands in it.
const MAGIC: &[u8; 16] = b"ocibuild blks 1\n";

/// The magic, the blob, where its first block begins, the number of rows.
const HEADER: usize = 16 + 32 + 8 + 8;
const CHECKSUM: usize = 32;
const ROW: usize = 3 * 4 + 3 * 32;

/// The largest file that is read, in bytes: rows of a blob of some hundred gigabytes.
const MAX: u64 = 64 << 20;

/// A block of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBlock {
    /// Stands for all that its bytes follow from.
    pub key: [u8; 32],
    /// The number of its uncompressed bytes.
    pub length: u32,
    /// The number of its bytes in the blob.
    pub size: u32,
    /// The checksum of the uncompressed bytes, for the blob's end.
    pub checksum: u32,
    /// The BLAKE3 digest of its bytes in the blob.
    pub digest: [u8; 32],
    /// The state of the uncompressed bytes' SHA-256, from the blob's beginning to this block's end.
    pub state: [u32; 8],
}

/// The blocks of a blob, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockIndex {
    /// The SHA-256 digest of the blob.
    pub blob: Digest,
    /// Where in the blob the first block begins.
    pub start: u64,
    /// The blocks; nothing lies between them.
    pub blocks: Vec<KnownBlock>,
}

impl BlockIndex {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.blocks.len() * ROW + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&name(&self.blob));
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        for block in &self.blocks {
            bytes.extend_from_slice(&block.key);
            bytes.extend_from_slice(&block.digest);
            block.state.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            for number in [block.length, block.size, block.checksum] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    fn parse(bytes: &[u8], blob: &Digest) -> Option<Self> {
        let body = body(bytes)?;
        let (header, rows) = body.split_at_checked(HEADER)?;
        let number = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let (start, count) = (number(48)?, number(56)?);
        let (rows, rest) = rows.as_chunks::<ROW>();
        if header[16..48] != name(blob) || rows.len() as u64 != count || !rest.is_empty() {
            return None;
        }
        Some(Self { blob: *blob, start, blocks: rows.iter().map(row).collect() })
    }
}

fn row(bytes: &[u8; ROW]) -> KnownBlock {
    let part = |at: usize| bytes[at..at + 32].try_into().expect("a row has its length");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a row has its length"));
    KnownBlock {
        key: part(0),
        digest: part(32),
        state: std::array::from_fn(|at| word(64 + at * 4)),
        length: word(96),
        size: word(100),
        checksum: word(104),
    }
}

/// What a file holds without its digest, if that is right and the form is known.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    (body.starts_with(MAGIC) && *blake3::hash(body).as_bytes() == *checksum).then_some(body)
}

/// Blobs of this store are all named by SHA-256; another name would only have another index.
fn name(blob: &Digest) -> [u8; 32] {
    *blake3::hash(blob.to_string().as_bytes()).as_bytes()
}

/// Block indexes in a cache's directory, which many processes may share.
#[derive(Debug, Clone)]
pub struct BlockIndexes {
    root: PathBuf,
    is_written: bool,
}

impl BlockIndexes {
    /// Names the indexes in a cache's directory. Nothing is read yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_written: true }
    }

    /// Names those in a cache's directory, which stays as it is.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_written: false }
    }

    /// Tells whether indexes are kept.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Returns the index of a blob, if there is one that is whole. One that isn't is removed, where the
    /// directory may be written to.
    #[must_use]
    pub fn get(&self, blob: &Digest) -> Option<BlockIndex> {
        let path = self.path(blob);
        let index = BlockIndex::parse(&read(&path).ok()?, blob);
        if index.is_none() && self.is_written {
            // Another process may have just written a whole one; that costs a build its time.
            let _ = fs::remove_file(path);
        }
        index
    }

    /// Keeps an index, unless the directory is only read.
    ///
    /// # Errors
    /// Whatever writing meets; what was there before is there still.
    pub fn put(&self, index: &BlockIndex) -> io::Result<()> {
        if !self.is_written {
            return Ok(());
        }
        own::replace(&self.root, &self.path(&index.blob), &index.to_bytes())
    }

    fn path(&self, blob: &Digest) -> PathBuf {
        directory(&self.root).join(blob.hex())
    }
}

/// The directory of the indexes of a cache.
pub(super) fn directory(root: &Path) -> PathBuf {
    root.join(DIRECTORY[0]).join(DIRECTORY[1])
}

/// The blob that a file would be the index of, by its name.
pub(super) fn blob_of(path: &Path) -> Option<Digest> {
    format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()
}

/// Tells whether a file is whole: an index of the blob that its name says.
pub(super) fn is_whole(path: &Path) -> io::Result<bool> {
    let bytes = read(path)?;
    Ok(blob_of(path).is_some_and(|blob| BlockIndex::parse(&bytes, &blob).is_some()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    own::open_regular(path)?.take(MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(count: u8) -> BlockIndex {
        let block = |number: u8| KnownBlock {
            key: [number; 32],
            length: u32::from(number) << 20,
            size: u32::from(number) << 10,
            checksum: !u32::from(number),
            digest: [!number; 32],
            state: std::array::from_fn(|at| u32::from(number) + at as u32),
        };
        BlockIndex { blob: Digest::of(b"blob"), start: 10, blocks: (0..count).map(block).collect() }
    }

    #[test]
    fn an_index_is_read_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let indexes = BlockIndexes::new(directory.path().join("cache"));
        assert_eq!(indexes.get(&Digest::of(b"blob")), None);
        for count in [0, 1, 200] {
            indexes.put(&index(count)).unwrap();
            assert_eq!(indexes.get(&Digest::of(b"blob")), Some(index(count)));
        }
        assert!(is_whole(&indexes.path(&Digest::of(b"blob"))).unwrap());
        assert_eq!(fs::read_dir(directory.path().join("cache/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn one_that_is_damaged_or_another_blobs_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let indexes = BlockIndexes::new(directory.path());
        let (blob, other) = (Digest::of(b"blob"), Digest::of(b"other"));
        indexes.put(&index(3)).unwrap();
        let path = indexes.path(&blob);
        let bytes = fs::read(&path).unwrap();
        fs::write(indexes.path(&other), &bytes).unwrap();
        assert!(!is_whole(&indexes.path(&other)).unwrap());
        assert_eq!(indexes.get(&other), None);
        assert!(!indexes.path(&other).exists(), "it is of no use to anybody");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(indexes.get(&blob), None, "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(!is_whole(&path).unwrap());
            assert_eq!(indexes.get(&blob), None, "cut at {at}");
            assert!(!path.exists());
        }
    }
}
