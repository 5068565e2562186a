//! The file system that a container of an image sees: the base's, with the image's own layers over it.
//!
//! What own layers hold is looked up in what was found in them, as far as that goes; only what isn't
//! there, and isn't in the base, makes their whole contents be read.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::{ListedKind, Listing};
use crate::inspect::{Elf, Inspection};

/// What is at a path of own layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A link to this target.
    Link(Vec<u8>),
}

/// Reads all that own layers hold, by path; nothing where that isn't to be had.
pub type Contents<'a> = dyn Fn() -> Option<BTreeMap<Vec<u8>, Item>> + 'a;

/// As many links lead on from one path.
const MAX_LINKS: usize = 40;

/// The file system of an image.
pub(super) struct Root<'a> {
    listing: &'a Listing,
    /// What own layers have, as far as it was found in them.
    found: BTreeMap<Vec<u8>, Item>,
    /// The directories that these are in.
    directories: BTreeSet<Vec<u8>>,
    /// Programs and libraries of own layers.
    pub(super) programs: BTreeMap<Vec<u8>, &'a Elf>,
    contents: &'a Contents<'a>,
    all: OnceCell<Option<BTreeMap<Vec<u8>, Item>>>,
}

/// What came of looking something up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// It is there, by this path.
    There(Vec<u8>),
    /// It isn't.
    Missing,
    /// Nobody knows.
    Unknown,
}

impl<'a> Root<'a> {
    pub(super) fn new(
        listing: &'a Listing,
        layers: impl Iterator<Item = &'a Inspection>,
        contents: &'a Contents<'a>,
    ) -> Self {
        let (mut found, mut directories, mut programs) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for inspection in layers {
            for file in &inspection.files {
                let path = file.path.as_bytes().to_vec();
                programs.extend(file.elf.as_deref().map(|elf| (path.clone(), elf)));
                found.insert(path, Item::File);
            }
            for (path, target) in &inspection.links {
                found.insert(path.as_bytes().to_vec(), Item::Link(target.as_bytes().to_vec()));
            }
        }
        for path in found.keys() {
            directories.extend(above(path).map(<[u8]>::to_vec));
        }
        Self { listing, found, directories, programs, contents, all: OnceCell::new() }
    }

    /// Looks for a file by an absolute path, links followed.
    pub(super) fn file(&self, path: &str) -> Lookup {
        self.first(&[path.to_owned()])
    }

    /// Looks for the first of these files. All are looked for where that is quick, before any is where
    /// it isn't.
    pub(super) fn first(&self, paths: &[String]) -> Lookup {
        let mut paths = paths.iter().map(String::as_bytes);
        if let Some(path) = paths.clone().find_map(|path| self.resolve(path, &|path| self.quick(path))) {
            return Lookup::There(path);
        }
        let Some(all) = self.all() else { return Lookup::Unknown };
        let found = paths.find_map(|path| self.resolve(path, &|path| self.whole(all, path)));
        found.map_or(Lookup::Missing, Lookup::There)
    }

    /// Looks for a file of this name anywhere; returns whether it is one of the base.
    pub(super) fn anywhere(&self, name: &[u8]) -> Option<(Vec<u8>, bool)> {
        let is_it = |path: &[u8]| last(path) == name;
        let own = self.all().and_then(|all| {
            all.iter()
                .find(|(path, item)| is_it(path) && **item != Item::Directory)
                .map(|(path, _)| path.clone())
        });
        let own = own.or_else(|| self.found.keys().find(|path| is_it(path)).cloned());
        let base = || {
            let is_file = |kind| !matches!(kind, ListedKind::Directory);
            let mut all = self.listing.entries(b"");
            all.find(|(path, listed)| is_it(path) && is_file(listed.kind)).map(|(path, _)| (path, true))
        };
        base().or_else(|| own.map(|path| (path, false)))
    }

    fn all(&self) -> Option<&BTreeMap<Vec<u8>, Item>> {
        self.all.get_or_init(|| (self.contents)()).as_ref()
    }

    fn quick(&self, path: &[u8]) -> Option<Item> {
        self.found
            .get(path)
            .cloned()
            .or_else(|| self.base(path))
            .or_else(|| self.directories.contains(path).then_some(Item::Directory))
    }

    fn whole(&self, all: &BTreeMap<Vec<u8>, Item>, path: &[u8]) -> Option<Item> {
        // A directory of ours over a link of the base leads where that does.
        match (all.get(path), self.base(path)) {
            (Some(Item::Directory), Some(base)) => Some(base),
            (Some(own), _) => Some(own.clone()),
            (None, base) => base,
        }
    }

    fn base(&self, path: &[u8]) -> Option<Item> {
        Some(match self.listing.get(path)?.kind {
            ListedKind::Directory => Item::Directory,
            ListedKind::Symlink { target } => Item::Link(target.to_vec()),
            _ => Item::File,
        })
    }

    /// Follows a path to a file.
    fn resolve(&self, path: &[u8], at: &dyn Fn(&[u8]) -> Option<Item>) -> Option<Vec<u8>> {
        let mut left: Vec<Vec<u8>> = names(path).rev().map(<[u8]>::to_vec).collect();
        let mut way: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                way.pop();
                continue;
            }
            way.push(name);
            let here = way.join(&b'/');
            match at(&here)? {
                Item::Directory => {}
                Item::File => return left.is_empty().then_some(here),
                Item::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    way.pop();
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    left.extend(names(&target).rev().map(<[u8]>::to_vec));
                }
            }
        }
        None
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// The directories above a path.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// The last name of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
