//! The entries of a layer that wait until its whiteouts are known: packed and compressed, because
//! there may be a million of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use crate::base::read::{clean, put};
use crate::base::window::Window;
use crate::base::{ListingBuilder, ListingError, ListingLimits, builder, varint};
use crate::tar::{self, Entry, EntryKind};

/// Entries in the order of their layer, each path told by how it differs from the one before.
pub(super) struct Changes {
    packed: zstd::Encoder<'static, Vec<u8>>,
    /// Bytes before they are compressed.
    bytes: Vec<u8>,
    last: Vec<u8>,
    count: u64,
    /// The length of all entries, before they are compressed.
    length: u64,
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
    limits: ListingLimits,
}

/// Bytes that are compressed at a time.
const CHUNK: usize = 64 << 10;
/// The most bytes of an entry: a path, a target, and some numbers.
const MOST: usize = 2 * tar::MAX_PATH + 64;
/// What was written into memory can be read from there.
const PACKED: &str = "what was packed is unpacked";

impl Changes {
    pub(super) fn new(limits: &ListingLimits) -> Self {
        let packed = zstd::Encoder::new(Vec::new(), 1).expect("zstd has a level 1");
        let (bytes, last, contents) = Default::default();
        Self { packed, bytes, last, count: 0, length: 0, contents, limits: limits.clone() }
    }

    pub(super) fn push(&mut self, entry: &Entry, content: Option<Vec<u8>>) -> Result<(), ListingError> {
        let shared = entry.path.iter().zip(&self.last).take_while(|(one, other)| one == other).count();
        let bytes = &mut self.bytes;
        let before = bytes.len();
        varint::push(bytes, shared as u64);
        varint::push_bytes(bytes, &entry.path[shared..]);
        let (tag, target): (u8, &[u8]) = match &entry.kind {
            EntryKind::Directory => (b'd', b""),
            EntryKind::Regular => (b'f', b""),
            EntryKind::Symlink { target } => (b'l', target),
            EntryKind::Hardlink { target } => (b'h', target),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => (b'o', b""),
            _ => (b'?', b""),
        };
        bytes.push(tag);
        varint::push_bytes(bytes, target);
        for number in [entry.mode.into(), entry.uid, entry.gid, entry.size] {
            varint::push(bytes, number);
        }
        self.length += (bytes.len() - before) as u64;
        self.last.clone_from(&entry.path);
        self.count += 1;
        if self.bytes.len() > CHUNK {
            self.packed.write_all(&self.bytes).expect("zstd compresses any bytes in memory");
            self.bytes.clear();
        }
        if let Some(content) = content {
            self.contents.insert(clean(&entry.path), content);
        }
        builder::limit("the number of entries", self.count, self.limits.entries.into())?;
        builder::limit(
            "the length of all names",
            self.length,
            u64::from(self.limits.text) + 16 * u64::from(self.limits.entries),
        )
    }

    /// Puts all of them, in order.
    pub(super) fn apply(
        mut self,
        builder: &mut ListingBuilder,
        wanted: &BTreeSet<Vec<u8>>,
        linked: &mut Vec<Vec<u8>>,
    ) -> Result<(), ListingError> {
        self.packed.write_all(&self.bytes).expect("zstd compresses any bytes in memory");
        let packed = self.packed.finish().expect("zstd compresses any bytes in memory");
        let mut entries = Window::new(zstd::Decoder::new(&packed[..]).expect(PACKED));
        let mut path = Vec::new();
        for _ in 0..self.count {
            let entry = entries.take(MOST, |bytes| take(bytes, &mut path)).expect(PACKED);
            let content = self.contents.get(&clean(&entry.path)).cloned();
            put(builder, &entry, content, wanted, linked)?;
        }
        Ok(())
    }
}

fn take(bytes: &mut &[u8], path: &mut Vec<u8>) -> Option<Entry> {
    path.truncate(usize::try_from(varint::take(bytes)?).ok()?);
    path.extend_from_slice(varint::take_bytes(bytes)?);
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    let target = varint::take_bytes(bytes)?.to_vec();
    let kind = match tag {
        b'd' => EntryKind::Directory,
        b'f' => EntryKind::Regular,
        b'l' => EntryKind::Symlink { target },
        b'h' => EntryKind::Hardlink { target },
        b'o' => EntryKind::Fifo,
        other => EntryKind::Other(*other),
    };
    let mut entry = Entry::new(path.clone(), kind);
    entry.mode = varint::take_u32(bytes)?;
    entry.uid = varint::take(bytes)?;
    entry.gid = varint::take(bytes)?;
    entry.size = varint::take(bytes)?;
    Some(entry)
}
