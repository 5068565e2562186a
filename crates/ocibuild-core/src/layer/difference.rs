//! How what a layer holds differs from what it held: path by path, from inventories, or from blobs
//! where no inventory is at hand.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::base::{self, BaseError, ListingLimits};
use crate::blob::{BlobError, Source};
use crate::cache::Record;
use crate::digest::to_hex;
use crate::event::Cancel;
use crate::files::{Entry, display};
use crate::layer::content::Content;
use crate::layer::held::{Held, each_line, lines_of};
use crate::layer::inventory::{CHUNK, ChunkDigest, ContentDigest, write_line};
use crate::oci::Descriptor;
use crate::tar;

/// As many paths as are named.
pub const MAX_PATHS: usize = 10;

/// How two lists of what a layer holds differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChanges {
    /// How many paths are new.
    pub added: u64,
    /// How many are gone.
    pub removed: u64,
    /// How many are otherwise.
    pub changed: u64,
    /// The first of them, [`MAX_PATHS`] at most, in the order of the layer.
    pub paths: Vec<FileChange>,
}

/// A path at which they differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChange {
    /// The path in the image, for people.
    pub path: String,
    /// Whether it came, went, or is otherwise.
    pub how: How,
    /// What is otherwise: `kind`, `content`, `size`, `target`, `mode`, `owner`, `mtime`, `xattrs`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<&'static str>,
}

/// How a path is otherwise than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum How {
    /// It wasn't there.
    Added,
    /// It isn't there any more.
    Removed,
    /// It is not as it was.
    Changed,
}

impl FileChanges {
    /// How many paths differ.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.added + self.removed + self.changed
    }

    fn add(&mut self, path: &[u8], how: How, what: Vec<&'static str>) {
        match how {
            How::Added => self.added += 1,
            How::Removed => self.removed += 1,
            How::Changed => self.changed += 1,
        }
        if self.paths.len() < MAX_PATHS {
            self.paths.push(FileChange { path: display(path), how, what });
        }
    }
}

/// What a layer holds, by path.
#[derive(Debug, Default)]
pub struct Holding(BTreeMap<Path, Held>);

/// A path, in the order of layers.
#[derive(Debug, PartialEq, Eq)]
struct Path(Vec<u8>);

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        Entry::compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Held {
    fn otherwise(&self, other: &Self) -> Vec<&'static str> {
        let Self { kind, mode, owner, mtime, size, content, target, xattrs } = self;
        if *kind != other.kind {
            return vec!["kind"];
        }
        let all = [
            (*content != other.content, "content"),
            (*size != other.size, "size"),
            (*target != other.target, "target"),
            (*mode != other.mode, "mode"),
            (*owner != other.owner, "owner"),
            (*mtime != other.mtime, "mtime"),
            (*xattrs != other.xattrs, "xattrs"),
        ];
        all.into_iter().filter_map(|(differs, name)| differs.then_some(name)).collect()
    }
}

impl Holding {
    /// Reads what the layers of a record hold: from its inventory, or else from the layers, which are
    /// then read from their start to their end.
    ///
    /// # Errors
    /// [`BlobError`] if neither is there; [`BlobError::Corrupt`] if it isn't what it should be.
    pub fn read(record: &Record, source: &dyn Source, cancel: &Cancel) -> Result<Self, BlobError> {
        match &record.inventory {
            Some(inventory) => match Self::of_inventory(inventory, source) {
                Err(fault) if !matches!(fault, BlobError::Cancelled(_)) => {
                    Self::of_blobs(record, source, cancel)
                }
                read => read,
            },
            None => Self::of_blobs(record, source, cancel),
        }
    }

    /// Reads an inventory.
    ///
    /// # Errors
    /// As for [`Holding::read`].
    pub fn of_inventory(inventory: &Descriptor, source: &dyn Source) -> Result<Self, BlobError> {
        let mut all = Self::default();
        each_line(inventory, source, |line| all.add(line))?;
        Ok(all)
    }

    /// Takes what was found before anything was written.
    pub(super) fn of(entries: &[Entry], content: &Content) -> Self {
        let mut lines = Vec::new();
        for (entry, content) in entries.iter().zip(&content.contents) {
            write_line(&mut lines, entry, *content);
        }
        let mut all = Self::default();
        lines_of(&lines[..], |line| all.add(line)).expect("lines are read as they are written");
        all
    }

    fn add(&mut self, line: &[u8]) -> io::Result<ControlFlow<()>> {
        let (path, held) = Held::parse(line)?;
        self.0.insert(Path(path), held);
        Ok(ControlFlow::Continue(()))
    }

    fn of_blobs(record: &Record, source: &dyn Source, cancel: &Cancel) -> Result<Self, BlobError> {
        let mut all = Self::default();
        let limits = ListingLimits::default().decode;
        for layer in &record.layers {
            let mut add = |entry: tar::Entry, content: &mut dyn Read| {
                let (path, held) = of_tar(entry, content)?;
                all.0.insert(Path(path), held);
                Ok(())
            };
            let descriptor = &layer.descriptor;
            base::read_layer(source, descriptor, layer.diff_id, &limits, cancel, &mut add).map_err(
                |fault| match fault {
                    BaseError::Blob(fault) => fault,
                    BaseError::Cancelled(cancelled) => cancelled.into(),
                    fault => BlobError::Corrupt {
                        digest: descriptor.digest,
                        source: io::Error::new(io::ErrorKind::InvalidData, fault),
                    },
                },
            )?;
        }
        Ok(all)
    }

    /// Tells how what is held `now` differs from this.
    #[must_use]
    pub fn changes(&self, now: &Self) -> FileChanges {
        let mut changes = FileChanges::default();
        let paths: BTreeSet<&Path> = self.0.keys().chain(now.0.keys()).collect();
        for path in paths {
            match (self.0.get(path), now.0.get(path)) {
                (Some(before), Some(after)) if before == after => {}
                (Some(before), Some(after)) => {
                    changes.add(&path.0, How::Changed, before.otherwise(after));
                }
                (Some(_), None) => changes.add(&path.0, How::Removed, Vec::new()),
                _ => changes.add(&path.0, How::Added, Vec::new()),
            }
        }
        changes
    }
}

fn of_tar(entry: tar::Entry, content: &mut dyn Read) -> Result<(Vec<u8>, Held), base::ListingError> {
    let owner = base::owner(&entry)?;
    let (kind, target) = match entry.kind {
        tar::EntryKind::Regular => ("file", None),
        tar::EntryKind::Directory => ("directory", None),
        tar::EntryKind::Symlink { target } => ("symlink", Some(target)),
        tar::EntryKind::Hardlink { target } => ("hardlink", Some(target)),
        _ => ("other", None),
    };
    let is_file = kind == "file";
    let digest =
        if is_file { Some(digest_of(content, entry.size).map_err(tar::ReadError::from)?) } else { None };
    let held = Held {
        kind: kind.to_owned(),
        mode: entry.mode & 0o7777,
        owner,
        mtime: entry.mtime,
        size: is_file.then_some(entry.size),
        content: digest.map(|digest| format!("blake3:{}", to_hex(&digest.0))),
        target,
        xattrs: entry.xattrs.iter().map(|(name, value)| (name.clone(), to_hex(value))).collect(),
    };
    Ok((base::clean(&entry.path), held))
}

fn digest_of(content: &mut dyn Read, size: u64) -> io::Result<ContentDigest> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        (&mut *content).take(CHUNK).read_to_end(&mut chunk)?;
        if chunk.is_empty() && !chunks.is_empty() {
            return Ok(ContentDigest::of(size, chunks));
        }
        chunks.extend(ChunkDigest::all(&chunk));
    }
}
