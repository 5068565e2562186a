//! The items of a layer, packed: there may be a million of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{ListingError, ListingLimits, MAX_PATH, Whiteout, varint};
use crate::base::{checked_names, clean, no_place, owner, whiteout};
use crate::digest::Digest;
use crate::tar::{Entry, EntryKind};

/// One item of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item<'a> {
    /// Its path: raw bytes, without a leading or trailing `/`, `.` or empty names; the root is the
    /// empty path. Links of lower layers may lead it elsewhere. For a whiteout, what it hides.
    pub path: &'a [u8],
    /// What it is.
    pub kind: ItemKind<'a>,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Time of modification, in seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Xattrs<'a>,
}

/// What an item of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ItemKind<'a> {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its content's digest, if that was asked for. Sparse files have none.
        digest: Option<Digest>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, raw.
        target: &'a [u8],
    },
    /// Another name of what has a path already, in this layer or a lower one.
    HardLink {
        /// That path, raw, as [`Item::path`] is.
        target: &'a [u8],
    },
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u32,
        /// Its number with that driver.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u32,
        /// Its number with that driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// What lower layers have at this path is hidden
    /// ([image-spec, whiteouts](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts)).
    Whiteout,
    /// All that lower layers have in this directory is hidden
    /// ([image-spec, opaque whiteout](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#opaque-whiteout)).
    OpaqueDirectory,
}

impl ItemKind<'_> {
    /// Returns the bytes of content: of files their size, of everything else none.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            _ => 0,
        }
    }
}

/// Extended attributes of an item, sorted by name.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Xattrs<'a> {
    /// Names and values in turn, each after its length.
    packed: &'a [u8],
}

impl<'a> Xattrs<'a> {
    /// Goes over names and values, both raw.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut packed = self.packed;
        std::iter::from_fn(move || Some((varint::take_bytes(&mut packed)?, varint::take_bytes(&mut packed)?)))
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }
}

impl fmt::Debug for Xattrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value): (&[u8], &[u8])| {
            (name.escape_ascii().to_string(), value.escape_ascii().to_string())
        };
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

/// The items of a layer.
#[derive(Default)]
pub(super) struct Items {
    records: Vec<Record>,
    /// Of each item its path, its target and its extended attributes, one behind the other.
    text: Vec<u8>,
    digests: Vec<[u8; 32]>,
    /// Whether contents were hashed.
    pub(super) hashed: bool,
}

/// An item in its most compact form.
struct Record {
    /// A file's size, or a device's two numbers.
    value: u64,
    mtime: i64,
    text: u32,
    xattrs: u32,
    uid: u32,
    gid: u32,
    /// The place of its digest, plus one.
    digest: u32,
    path: u16,
    target: u16,
    mode: u16,
    tag: Tag,
}

#[derive(Clone, Copy)]
enum Tag {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
    Whiteout,
    Opaque,
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.len()).map(|number| self.get(number))).finish()
    }
}

impl Items {
    /// Starts with none; `hashed` says whether they will have digests.
    pub(super) fn new(hashed: bool) -> Self {
        Self { hashed, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, number: usize) -> Item<'_> {
        let record = &self.records[number];
        let (path, rest) = self.text[record.text as usize..].split_at(record.path.into());
        let (target, rest) = rest.split_at(record.target.into());
        let xattrs = Xattrs { packed: &rest[..record.xattrs as usize] };
        let (major, minor) = ((record.value >> 32) as u32, record.value as u32);
        let digest = record.digest.checked_sub(1).map(|at| Digest::from_sha256(self.digests[at as usize]));
        let kind = match record.tag {
            Tag::File => ItemKind::File { size: record.value, digest },
            Tag::Directory => ItemKind::Directory,
            Tag::Symlink => ItemKind::Symlink { target },
            Tag::HardLink => ItemKind::HardLink { target },
            Tag::CharDevice => ItemKind::CharDevice { major, minor },
            Tag::BlockDevice => ItemKind::BlockDevice { major, minor },
            Tag::Fifo => ItemKind::Fifo,
            Tag::Whiteout => ItemKind::Whiteout,
            Tag::Opaque => ItemKind::OpaqueDirectory,
        };
        let Record { mode, uid, gid, mtime, .. } = *record;
        Item { path, kind, mode: mode.into(), uid, gid, mtime, xattrs }
    }

    /// Adds an entry of a layer. What is book-keeping of AUFS is passed over.
    pub(super) fn push(
        &mut self,
        entry: &Entry,
        digest: Option<[u8; 32]>,
        budget: &Budget,
    ) -> Result<(), ListingError> {
        let names = checked_names(&entry.path)?;
        let (path, tag, target) = match whiteout(&names, &entry.path)? {
            Whiteout::Ignore => return Ok(()),
            Whiteout::Hide(path) => (path, Tag::Whiteout, Vec::new()),
            Whiteout::HideAll(path) => (path, Tag::Opaque, Vec::new()),
            Whiteout::No => {
                let (tag, target) = kind(entry)?;
                (clean(&entry.path), tag, target)
            }
        };
        let start = self.text.len();
        let xattrs = pack(entry);
        budget.spend(path.len() + target.len() + xattrs.len())?;
        let (uid, gid) = owner(entry)?;
        let record = Record {
            value: value(entry, tag)?,
            mtime: entry.mtime,
            text: u32::try_from(start).expect("the limit is a u32"),
            xattrs: u32::try_from(xattrs.len()).expect("the limit is a u32"),
            uid,
            gid,
            digest: digest.map_or(0, |digest| self.push_digest(digest)),
            path: u16::try_from(path.len()).expect("paths were checked"),
            target: u16::try_from(target.len()).expect("targets were checked"),
            mode: (entry.mode & 0o7777) as u16,
            tag,
        };
        self.records.push(record);
        for part in [path, target, xattrs] {
            self.text.extend_from_slice(&part);
        }
        Ok(())
    }

    fn push_digest(&mut self, digest: [u8; 32]) -> u32 {
        self.digests.push(digest);
        u32::try_from(self.digests.len()).expect("there are no more than entries")
    }

    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.text.shrink_to_fit();
        self.digests.shrink_to_fit();
    }
}

fn kind(entry: &Entry) -> Result<(Tag, Vec<u8>), ListingError> {
    let no_target = |tag| Ok((tag, Vec::new()));
    match &entry.kind {
        EntryKind::Regular => no_target(Tag::File),
        EntryKind::Directory => no_target(Tag::Directory),
        EntryKind::Symlink { target } => Ok((Tag::Symlink, checked_target(entry, target)?.to_vec())),
        EntryKind::Hardlink { target } => {
            checked_names(target)?;
            Ok((Tag::HardLink, clean(checked_target(entry, target)?)))
        }
        EntryKind::CharDevice { .. } => no_target(Tag::CharDevice),
        EntryKind::BlockDevice { .. } => no_target(Tag::BlockDevice),
        EntryKind::Fifo => no_target(Tag::Fifo),
        _ => Err(no_place(&entry.path)),
    }
}

fn checked_target<'a>(entry: &Entry, target: &'a [u8]) -> Result<&'a [u8], ListingError> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
        let reason = "it is a link whose target is no path";
        return Err(ListingError::Path { path: entry.path.clone(), reason });
    }
    Ok(target)
}

fn value(entry: &Entry, tag: Tag) -> Result<u64, ListingError> {
    let (EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }) = entry.kind
    else {
        return Ok(if matches!(tag, Tag::File) { entry.size } else { 0 });
    };
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(u64::from(major) << 32 | u64::from(minor)),
        _ => {
            let reason = "its device numbers are over 32 bits";
            Err(ListingError::Path { path: entry.path.clone(), reason })
        }
    }
}

fn pack(entry: &Entry) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, value) in &entry.xattrs {
        varint::push_bytes(&mut packed, name);
        varint::push_bytes(&mut packed, value);
    }
    packed
}

/// What all layers together may still hold.
pub(super) struct Budget {
    entries: AtomicU64,
    text: AtomicU64,
    limits: ListingLimits,
}

impl Budget {
    pub(super) fn new(limits: &ListingLimits) -> Self {
        Self { entries: AtomicU64::new(0), text: AtomicU64::new(0), limits: limits.clone() }
    }

    /// Takes one entry with this much text.
    fn spend(&self, text: usize) -> Result<(), ListingError> {
        let ListingLimits { entries, text: most, .. } = self.limits;
        if self.entries.fetch_add(1, Ordering::Relaxed) >= entries.into() {
            return Err(ListingError::Limit { what: "the number of entries", limit: entries.into() });
        }
        let text = text as u64;
        if self.text.fetch_add(text, Ordering::Relaxed) + text > most.into() {
            return Err(ListingError::Limit { what: "the length of all paths", limit: most.into() });
        }
        Ok(())
    }
}
