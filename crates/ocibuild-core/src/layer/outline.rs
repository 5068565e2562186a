//! What two layers of one image must not disagree about: the metadata of directories that both
//! write, and what one of them writes and the other above it takes away.
//!
//! Times of directories may differ, as they may within a layer: the time of one that two layers
//! write into is nobody's, and without that freedom no layer that keeps times could share one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use crate::base::{self, BaseError, ListingLimits};
use crate::blob::{BlobError, Source};
use crate::cache::Record;
use crate::digest::to_hex;
use crate::event::Cancel;
use crate::layer::draft::WHITEOUT;
use crate::layer::held::{Held, each_line};
use crate::layer::removal::OPAQUE;
use crate::oci::Descriptor;
use crate::plan::{PlannedCopy, PlannedLayer, What};
use crate::tar;

/// Mode, user and group of a directory.
pub type DirectoryOwner = (u32, u32, u32);

/// What a layer makes of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenDirectory {
    /// Mode, user and group.
    pub owner: DirectoryOwner,
    /// Extended attributes, by name; the values as hexadecimal digits.
    pub xattrs: BTreeMap<Vec<u8>, String>,
}

/// What a layer holds, as far as another one may disagree with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its directories, by path.
    pub directories: BTreeMap<Vec<u8>, WrittenDirectory>,
    /// All else that it writes.
    files: BTreeSet<Vec<u8>>,
    /// What it takes away from below; behind those whose content alone goes is a slash.
    removed: Vec<Vec<u8>>,
}

impl Outline {
    /// Returns a path of this layer that one above it takes away.
    #[must_use]
    pub fn taken_away_by(&self, above: &Self) -> Option<&[u8]> {
        above.removed.iter().find_map(|removed| {
            let itself = self.files.get(removed).or_else(|| {
                // One that is merely on the way to something that this layer takes away as well
                // isn't written for its own sake.
                let is_on_the_way = |path: &Vec<u8>| self.removed.iter().any(|own| is_below(own, path));
                let directory = self.directories.get_key_value(removed).map(|(path, _)| path);
                directory.filter(|path| !is_on_the_way(path))
            });
            let below = [removed.strip_suffix(b"/").unwrap_or(removed), b"/"].concat();
            let next = self.files.range(below.clone()..).next();
            itself.or(next.filter(|path| path.starts_with(&below))).map(Vec::as_slice)
        })
    }
}

impl Outline {
    /// Returns a path that is a directory in one of two layers, and something else in the other.
    #[must_use]
    pub fn differs_in_kind(&self, other: &Self) -> Option<&[u8]> {
        let directories = self.directories.keys().filter(|path| other.files.contains(*path));
        let files = self.files.iter().filter(|path| other.directories.contains_key(*path));
        directories.chain(files).map(Vec::as_slice).min()
    }
}

/// Tells from the plan alone whether two layers, the lower one first, may disagree: whether one
/// says something about directories that lie on the way of the other, or takes away what lies
/// there.
#[must_use]
pub fn may_disagree(one: &PlannedLayer, other: &PlannedLayer) -> bool {
    let takes_away = other
        .remove
        .iter()
        .any(|removal| one.copies.iter().any(|copy| overlap(&copy.to, &removal.pattern.literal_prefix())));
    takes_away || link_is_in_the_way(one, other) || may_disagree_on_directories(one, other)
}

/// Tells whether one makes a link where the other needs a directory.
fn link_is_in_the_way(one: &PlannedLayer, other: &PlannedLayer) -> bool {
    let pairs = |one: &PlannedLayer, other: &PlannedLayer| {
        let mut links = one.copies.iter().filter(|copy| matches!(copy.what, What::Symlink(_)));
        links.any(|link| other.copies.iter().any(|copy| overlap(&link.to, &copy.to)))
    };
    pairs(one, other) || pairs(other, one)
}

fn may_disagree_on_directories(one: &PlannedLayer, other: &PlannedLayer) -> bool {
    let pairs = |one: &PlannedLayer, other: &PlannedLayer| {
        one.copies.iter().filter(|copy| is_particular(copy)).any(|copy| {
            other.copies.iter().any(|other| overlap(&copy.to, &other.to) && !same_rule(copy, other))
        }) || one.copies.iter().filter(|copy| is_particular(copy)).any(|copy| {
            // A whiteout's parents are written as the base has them.
            other.remove.iter().any(|removal| overlap(&copy.to, &removal.pattern.literal_prefix()))
        })
    };
    pairs(one, other) || pairs(other, one)
}

fn is_particular(copy: &PlannedCopy) -> bool {
    copy.dir_mode.is_some()
        || copy.owner.is_some()
        || copy.preserve.mode
        || copy.preserve.owner
        || copy.preserve.xattrs
        || (copy.what == What::Directory && copy.mode.is_some())
}

fn same_rule(one: &PlannedCopy, other: &PlannedCopy) -> bool {
    // What is kept is each source's own.
    let keeps = one.preserve.mode || one.preserve.owner || one.preserve.xattrs;
    one.to == other.to
        && !keeps
        && (one.mode, one.dir_mode, &one.owner, one.preserve, one.into)
            == (other.mode, other.dir_mode, &other.owner, other.preserve, other.into)
        && one.on_base_symlink == other.on_base_symlink
}

fn overlap(one: &[u8], other: &[u8]) -> bool {
    let above = |one: &[u8], other: &[u8]| {
        other.strip_prefix(one).is_some_and(|rest| one.is_empty() || rest.is_empty() || rest[0] == b'/')
    };
    above(one, other) || above(other, one)
}

/// Reads the outline of a layer from its inventory; where there is none, from the layer itself, which
/// is then read from its start to its end.
///
/// # Errors
/// [`BlobError`] if the inventory or a layer isn't there; [`BlobError::Corrupt`] if it isn't one.
pub fn outline(record: &Record, source: &dyn Source, cancel: &Cancel) -> Result<Outline, BlobError> {
    let Some(inventory) = &record.inventory else { return outline_of_blobs(record, source, cancel) };
    let mut outline = Outline::default();
    each_line(inventory, source, |line| outline.add(line))?;
    Ok(outline)
}

fn corrupt(descriptor: &Descriptor, source: io::Error) -> BlobError {
    BlobError::Corrupt { digest: descriptor.digest, source }
}

fn outline_of_blobs(record: &Record, source: &dyn Source, cancel: &Cancel) -> Result<Outline, BlobError> {
    let mut outline = Outline::default();
    let limits = ListingLimits::default().decode;
    for layer in &record.layers {
        let mut add = |entry: tar::Entry, _: &mut dyn io::Read| {
            let path = base::clean(&entry.path);
            let directory = match entry.kind {
                tar::EntryKind::Directory => {
                    let (uid, gid) = base::owner(&entry)?;
                    let xattrs = entry.xattrs.iter().map(|(name, value)| (name.clone(), to_hex(value)));
                    let owner = (entry.mode & 0o7777, uid, gid);
                    Some(WrittenDirectory { owner, xattrs: xattrs.collect() })
                }
                _ => None,
            };
            outline.put(path, directory);
            Ok(())
        };
        base::read_layer(source, &layer.descriptor, layer.diff_id, &limits, cancel, &mut add).map_err(
            |fault| match fault {
                BaseError::Blob(fault) => fault,
                BaseError::Cancelled(cancelled) => cancelled.into(),
                fault => corrupt(&layer.descriptor, io::Error::new(io::ErrorKind::InvalidData, fault)),
            },
        )?;
    }
    Ok(outline)
}

impl Outline {
    fn add(&mut self, line: &[u8]) -> io::Result<ControlFlow<()>> {
        let (path, Held { kind, mode, owner: (uid, gid), xattrs, .. }) = Held::parse(line)?;
        let directory = (kind == "directory").then_some(WrittenDirectory { owner: (mode, uid, gid), xattrs });
        self.put(path, directory);
        Ok(ControlFlow::Continue(()))
    }

    fn put(&mut self, path: Vec<u8>, directory: Option<WrittenDirectory>) {
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        if let Some(directory) = directory {
            self.directories.insert(path, directory);
        } else if path[name..] == *OPAQUE {
            self.removed.push(path[..name].to_vec());
        } else if let Some(removed) = path[name..].strip_prefix(WHITEOUT) {
            self.removed.push([&path[..name], removed].concat());
        } else {
            self.files.insert(path);
        }
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Tells from a layer's inventory whether one of these paths leads to something in it: whether it has
/// the path, or anything but a directory above it. Paths are relative to the image's root. Without an
/// inventory it may.
///
/// # Errors
/// [`BlobError`] if the inventory isn't there; [`BlobError::Corrupt`] if it isn't one.
pub fn leads_to(record: &Record, source: &dyn Source, paths: &BTreeSet<Vec<u8>>) -> Result<bool, BlobError> {
    let Some(inventory) = &record.inventory else { return Ok(true) };
    let ends = |path: &[u8]| {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes.chain([path.len()]).collect::<Vec<_>>()
    };
    let all = paths.iter().flat_map(|path| ends(path).into_iter().map(|end| path[..end].to_vec()));
    // Lines begin with their path; only those that are looked for are read.
    let begin = |path: Vec<u8>| {
        let text = serde_json::to_string(std::str::from_utf8(&path).ok()?).ok()?;
        Some((format!("{{\"path\":{text},"), paths.contains(&path)))
    };
    let begins: Vec<(String, bool)> = all.filter_map(begin).collect();
    let mut is_there = false;
    each_line(inventory, source, |line| {
        if let Some((_, is_whole)) = begins.iter().find(|(begin, _)| line.starts_with(begin.as_bytes())) {
            is_there = *is_whole || Held::parse(line)?.1.kind != "directory";
        }
        Ok(if is_there { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(is_there)
}
