//! Entries: what a layer holds.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::files::{Metadata, Xattrs};

/// One path of a layer, with everything that reaches the tar.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it goes, relative to the image's root, without a leading or trailing `/`.
    pub path: Box<[u8]>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When it last changed: seconds since 1970-01-01T00:00:00Z. [`DEFAULT_MTIME`] unless the
    /// source's time is kept.
    pub mtime: i64,
    /// Its extended attributes.
    pub xattrs: Option<Box<Xattrs>>,
}

/// The modification time of entries that keep none of their source's: 1970-01-01T00:00:01Z. Zero
/// breaks some readers.
pub const DEFAULT_MTIME: i64 = 1;

/// What an entry is.
#[derive(Debug, Clone)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A symbolic link to this target, as it is.
    Symlink(Box<[u8]>),
    /// Another name of the file at this path of the layer, which comes before it.
    Hardlink(Box<[u8]>),
    /// A regular file.
    File {
        /// Its bytes.
        source: FileSource,
        /// Their number.
        size: u64,
    },
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// From the input tree.
    Tree {
        /// The file in the tree.
        path: Box<[u8]>,
        /// What was known of it when it was found; it must still be so when it is read.
        seen: Box<Metadata>,
        /// Whether it may be a program for another machine than the image's.
        allow_foreign: bool,
        /// The copy that brings it: its place among its layer's.
        copy: u32,
        /// Whether it stays one file with the other names of its [`FileId`](crate::files::FileId).
        keeps_links: bool,
    },
    /// From memory.
    Bytes(Arc<[u8]>),
}

impl Entry {
    /// Returns the number of content bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// Compares paths component by component, each by its bytes, so that a subtree is contiguous
    /// and follows its root: `a`, `a/b`, `a.b`.
    #[must_use]
    pub fn compare_paths(one: &[u8], other: &[u8]) -> Ordering {
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
        match one.iter().zip(other).find(|(one, other)| one != other) {
            Some((one, other)) => rank(one).cmp(&rank(other)),
            None => one.len().cmp(&other.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_is_contiguous() {
        let mut paths = ["a.b", "a/c", "a", "a/b/c", "a/b", "a-b/x", "b", "a/b.c", "\u{0}"];
        paths.sort_by(|one, other| Entry::compare_paths(one.as_bytes(), other.as_bytes()));
        assert_eq!(paths, ["\u{0}", "a", "a/b", "a/b/c", "a/b.c", "a/c", "a-b/x", "a.b", "b"]);
    }
}
