//! A finished listing: which directories and links there are, whom they belong to, and where a
//! path ends up.

use std::io::{self, BufWriter, Write};

use crate::base::tree::{self, Step, Tree};
use crate::base::users::Users;
use crate::base::{ListingBuilder, ListingError, ListingLimits};
use crate::digest::{DiffId, Digest, HashingWriter};
use crate::key::{Key, KeyWriter};

/// The merged view of an image's file system: what its layers leave, without contents.
///
/// Paths are raw bytes, with or without a leading `/` where they are taken, without one where they
/// are given; the root is the empty path. In memory an entry takes sixteen bytes and its name.
#[derive(Clone)]
pub struct Listing {
    /// In breadth-first order, the entries of one directory beside each other and sorted by name;
    /// the root comes first.
    pub(super) nodes: Vec<Node>,
    /// Names, each preceded by its length in a byte; link targets, by theirs in two; sizes of large files.
    pub(super) text: Vec<u8>,
    pub(super) owners: Vec<Owner>,
    pub(super) users: Users,
}

/// An entry in its most compact form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Where its name is in the text.
    pub(super) name: u32,
    /// Its first entry, if it is a directory; the last is the one before the next node's first.
    pub(super) first: u32,
    pub(super) kind: Kind,
    /// A file's size; of a large file or a link, where its size or target is in the text.
    pub(super) value: u32,
}

/// Kind and owner in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u32);

impl Kind {
    pub(super) const REMOVED: u32 = 0;
    pub(super) const DIRECTORY: u32 = 1;
    pub(super) const FILE: u32 = 2;
    pub(super) const LINK: u32 = 3;
    pub(super) const OTHER: u32 = 4;
    /// A file whose size takes more than 32 bits.
    pub(super) const LARGE_FILE: u32 = 5;
    /// As many different owners as can be told apart.
    pub(super) const MAX_OWNERS: u64 = 1 << 29;

    pub(super) fn new(kind: u32, owner: u32) -> Self {
        Self(kind << 29 | owner)
    }

    pub(super) fn kind(self) -> u32 {
        self.0 >> 29
    }

    pub(super) fn owner(self) -> usize {
        (self.0 & ((1 << 29) - 1)) as usize
    }
}

/// Mode and owner of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// One entry of a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// What it is.
    pub kind: ListedKind<'a>,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

/// What an entry of a [`Listing`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListedKind<'a> {
    /// A directory.
    Directory,
    /// A regular file; each of several hard links is one.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, raw.
        target: &'a [u8],
    },
    /// A device or a named pipe.
    Other,
}

/// Mode and owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryMeta {
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl Listing {
    /// Makes the listing of an image without layers: nothing but a root, 0755 and 0:0.
    #[must_use]
    pub fn empty() -> Self {
        ListingBuilder::new(&ListingLimits::default()).finish()
    }

    /// Returns what is at a path itself; links are not followed.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Listed<'_>> {
        self.find(path).map(|node| self.listed(node))
    }

    /// Returns a directory's mode and owner; links are not followed.
    #[must_use]
    pub fn directory(&self, path: &[u8]) -> Option<DirectoryMeta> {
        let Listed { kind, mode, uid, gid } = self.get(path)?;
        (kind == ListedKind::Directory).then_some(DirectoryMeta { mode, uid, gid })
    }

    /// Follows the links in all names of a path, absolute and relative ones, without leaving the
    /// root. Names that aren't there are kept as they are.
    ///
    /// For a directory to put something into: with `/lib` a link to `usr/lib`, `/lib/x` ends up as
    /// `usr/lib/x`, and `/lib` as `usr/lib`.
    ///
    /// # Errors
    /// [`ListingError::Loop`] if the links go in circles.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, ListingError> {
        tree::resolve(self, path, true, &mut 0)
    }

    /// Follows the links in all names of a path but its last: for a file that is to replace
    /// whatever has that name.
    ///
    /// # Errors
    /// [`ListingError::Loop`] if the links go in circles.
    pub fn resolve_parents(&self, path: &[u8]) -> Result<Vec<u8>, ListingError> {
        tree::resolve(self, path, false, &mut 0)
    }

    /// Finds the first link in the names of a path, the last of them only if asked for, and where
    /// it points.
    pub(crate) fn first_link(&self, path: &[u8], last: bool) -> Option<(Vec<u8>, &[u8])> {
        let names: Vec<&[u8]> = tree::names(path).collect();
        let mut node = self.root();
        for at in 0..names.len() {
            node = self.child(node, names[at])?;
            if let Step::Link(target) = self.step(node) {
                let counts = last || at + 1 < names.len();
                return counts.then(|| (tree::join(&names[..=at]), target));
            }
        }
        None
    }

    /// Digests all directories (path, mode, owner) and links (path, target) at and below a path,
    /// which is taken as it is: what a layer put there depends on. Files don't count. All paths
    /// with nothing there have one digest.
    #[must_use]
    pub fn fingerprint(&self, below: &[u8]) -> Digest {
        let mut writer = KeyWriter::new("listing fingerprint", 1);
        for (path, listed) in self.entries(below) {
            match listed.kind {
                ListedKind::Directory => {
                    writer.field("directory", &path);
                    writer.number("mode", listed.mode.into());
                    writer.number("uid", listed.uid.into()).number("gid", listed.gid.into());
                }
                ListedKind::Symlink { target } => {
                    writer.field("link", &path).field("target", target);
                }
                ListedKind::File { .. } | ListedKind::Other => {}
            }
        }
        let key = writer.finish();
        Digest::from_sha256(crate::digest::from_hex(&key.hex()).expect("a key has 32 bytes"))
    }

    /// Digests all entries; accounts don't count. Two listings of one digest hold the same.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut writer = BufWriter::new(HashingWriter::new(io::sink()));
        let hashed = self.write(&mut writer).and_then(|()| writer.into_inner().map_err(Into::into));
        hashed.expect("a sink takes all bytes").finish().1
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut number = |number: u32| to.write_all(&number.to_le_bytes());
        number(self.nodes.len() as u32)?;
        for Node { name, first, kind, value } in &self.nodes {
            [*name, *first, kind.0, *value].into_iter().try_for_each(&mut number)?;
        }
        number(self.owners.len() as u32)?;
        for Owner { mode, uid, gid } in &self.owners {
            [*mode, *uid, *gid].into_iter().try_for_each(&mut number)?;
        }
        to.write_all(&self.text)
    }

    /// Goes over the entry at a path and all below it, parents first, in component-wise byte order.
    #[must_use]
    pub fn entries(&self, below: &[u8]) -> Entries<'_> {
        let start: Vec<&[u8]> = tree::names(below).collect();
        let path = tree::join(&start);
        let pending = self.find(below).map(|node| (node, 0)).into_iter().collect();
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (path[..slash].to_vec(), path[slash + 1..].to_vec()),
            None => (Vec::new(), path),
        };
        Entries { listing: self, path: parent, first: Some(name), pending }
    }

    /// Returns the number of entries, without the root.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Tells whether there is nothing but a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks a user up by name in `/etc/passwd`, and returns its number and its group's.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<(u32, u32)> {
        self.users.user(name)
    }

    /// Looks a group up by name in `/etc/group`, and returns its number.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        self.users.group(name)
    }

    /// Returns the names of all users, or all groups, that can be looked up, each once, in order.
    #[must_use]
    pub fn account_names(&self, groups: bool) -> Vec<String> {
        self.users.names(groups)
    }

    /// Finds the node at a path, taken as it is.
    pub(crate) fn find(&self, path: &[u8]) -> Option<u32> {
        tree::names(path).try_fold(self.root(), |node, name| self.child(node, name))
    }

    pub(super) fn children(&self, node: u32) -> std::ops::Range<u32> {
        let end = self.nodes.get(node as usize + 1).map_or(self.nodes.len() as u32, |next| next.first);
        self.nodes[node as usize].first..end
    }

    pub(super) fn name(&self, node: u32) -> &[u8] {
        name_at(&self.text, self.nodes[node as usize].name)
    }

    /// Returns what is at a node.
    pub(crate) fn listed(&self, node: u32) -> Listed<'_> {
        let node = self.nodes[node as usize];
        listed(node.kind, node.value, &self.text, &self.owners)
    }
}

impl Tree for Listing {
    fn root(&self) -> u32 {
        0
    }

    fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let range = self.children(directory);
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    fn step(&self, node: u32) -> Step<'_> {
        match self.listed(node).kind {
            ListedKind::Directory => Step::Directory,
            ListedKind::Symlink { target } => Step::Link(target),
            ListedKind::File { .. } | ListedKind::Other => Step::Other,
        }
    }
}

/// Compares what is listed, however it lies in memory.
impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        self.users == other.users && self.entries(b"").eq(other.entries(b""))
    }
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.entries(b"").map(|(path, listed)| (path.escape_ascii().to_string(), listed)))
            .finish()
    }
}

/// The entries of a [`Listing`], with their paths.
pub struct Entries<'a> {
    listing: &'a Listing,
    /// The path of the parent of what comes next.
    path: Vec<u8>,
    /// The name of the entry that it starts with, for as long as that is still to come.
    first: Option<Vec<u8>>,
    /// Nodes to come, the next one last, each with the length of its parent's path.
    pending: Vec<(u32, usize)>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Vec<u8>, Listed<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.next_node()?;
        let path = path.to_vec();
        Some((path, self.listing.listed(node)))
    }
}

impl Entries<'_> {
    /// Goes to the next node, and returns its path and number.
    pub(crate) fn next_node(&mut self) -> Option<(&[u8], u32)> {
        let (node, length) = self.pending.pop()?;
        match self.first.take() {
            Some(name) => push_name(&mut self.path, &name),
            None => {
                self.path.truncate(length);
                push_name(&mut self.path, self.listing.name(node));
            }
        }
        let length = self.path.len();
        self.pending.extend(self.listing.children(node).rev().map(|child| (child, length)));
        Some((&self.path, node))
    }
}

fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

pub(super) fn name_at(text: &[u8], offset: u32) -> &[u8] {
    let start = offset as usize + 1;
    &text[start..start + usize::from(text[offset as usize])]
}

/// Returns the link target that lies at an offset.
pub(super) fn target_at(text: &[u8], offset: u32) -> &[u8] {
    let (length, rest) = text[offset as usize..].split_first_chunk().expect("a target has a length");
    &rest[..usize::from(u16::from_le_bytes(*length))]
}

/// Returns the size of a large file that lies at an offset.
fn size_at(text: &[u8], offset: u32) -> u64 {
    let size = text[offset as usize..].first_chunk().expect("a size has eight bytes");
    u64::from_le_bytes(*size)
}

pub(super) fn listed<'a>(kind: Kind, value: u32, text: &'a [u8], owners: &[Owner]) -> Listed<'a> {
    let Owner { mode, uid, gid } = owners[kind.owner()];
    let kind = match kind.kind() {
        Kind::DIRECTORY => ListedKind::Directory,
        Kind::FILE => ListedKind::File { size: value.into() },
        Kind::LARGE_FILE => ListedKind::File { size: size_at(text, value) },
        Kind::LINK => ListedKind::Symlink { target: target_at(text, value) },
        _ => ListedKind::Other,
    };
    Listed { kind, mode, uid, gid }
}

/// Names the listing of these layers in a cache: it depends on their contents alone.
#[must_use]
pub fn listing_key(diff_ids: &[DiffId]) -> Key {
    let mut writer = KeyWriter::new("listing", 1);
    writer.list("diff_id", diff_ids.iter().map(DiffId::to_string));
    writer.finish()
}
