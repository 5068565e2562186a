//! Directories that two layers of one image write: they must not disagree about their metadata.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};

use serde::Deserialize;

use crate::blob::{BlobError, Source, read_whole};
use crate::cache::Record;
use crate::digest::from_hex_any;
use crate::plan::{PlannedCopy, PlannedLayer, What};

/// Mode, user and group of a directory.
pub type DirectoryOwner = (u32, u32, u32);

/// A layer's directories, by path.
pub type Directories = BTreeMap<Vec<u8>, DirectoryOwner>;

/// Tells from the plan alone whether two layers may disagree about a directory: whether one says
/// something about directories that lie on the way of the other.
#[must_use]
pub fn may_disagree(one: &PlannedLayer, other: &PlannedLayer) -> bool {
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
        || (copy.what == What::Directory && copy.mode.is_some())
}

fn same_rule(one: &PlannedCopy, other: &PlannedCopy) -> bool {
    // What is kept is each source's own.
    let keeps = one.preserve.mode || one.preserve.owner;
    one.to == other.to
        && !keeps
        && (one.mode, one.dir_mode, &one.owner, one.preserve, one.into)
            == (other.mode, other.dir_mode, &other.owner, other.preserve, other.into)
}

fn overlap(one: &[u8], other: &[u8]) -> bool {
    let above = |one: &[u8], other: &[u8]| {
        other.strip_prefix(one).is_some_and(|rest| one.is_empty() || rest.is_empty() || rest[0] == b'/')
    };
    above(one, other) || above(other, one)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    path: Option<String>,
    path_hex: Option<String>,
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
}

/// Reads the directories of a layer from its inventory.
///
/// # Errors
/// [`BlobError`] if the inventory isn't there; [`BlobError::Corrupt`] if it isn't one.
pub fn directories(record: &Record, source: &dyn Source) -> Result<Directories, BlobError> {
    let bytes = read_whole(source, &record.inventory, record.inventory.size)?;
    let fault = |source| BlobError::Corrupt { digest: record.inventory.digest, source };
    parse(&bytes).map_err(fault)
}

fn parse(inventory: &[u8]) -> io::Result<Directories> {
    let lines = BufReader::new(zstd::stream::Decoder::new(inventory)?);
    let mut directories = Directories::new();
    for line in lines.split(b'\n') {
        let line: Line = serde_json::from_slice(&line?)?;
        if line.kind != "directory" {
            continue;
        }
        let path = line.path.map(String::into_bytes).or_else(|| from_hex_any(&line.path_hex?));
        let mode = u32::from_str_radix(&line.mode, 8).unwrap_or_default();
        directories.insert(path.unwrap_or_default(), (mode, line.uid, line.gid));
    }
    Ok(directories)
}
