//! The file system that a container of an image sees: the base's, with the image's own layers over it.
//!
//! What own layers hold is looked up in what was found in them, as far as that goes; only what isn't
//! there, and isn't in the base, makes their whole contents be read.

use std::cell::Cell;
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

/// What own layers hold, those above over those below. Where that isn't to be had, nothing is answered.
pub trait Contents {
    /// Says what is at a path, without a leading `/`; links aren't followed.
    fn at(&self, path: &[u8]) -> Option<Option<Item>>;

    /// Finds the first path, in byte order, of a file or link of this name.
    fn named(&self, name: &[u8]) -> Option<Option<Vec<u8>>>;
}

/// All of it, by path.
impl Contents for Option<BTreeMap<Vec<u8>, Item>> {
    fn at(&self, path: &[u8]) -> Option<Option<Item>> {
        Some(self.as_ref()?.get(path).cloned())
    }

    fn named(&self, name: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut all = self.as_ref()?.iter();
        let found = all.find(|(path, item)| last(path) == name && **item != Item::Directory);
        Some(found.map(|(path, _)| path.clone()))
    }
}

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
    contents: &'a dyn Contents,
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
        contents: &'a dyn Contents,
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
        Self { listing, found, directories, programs, contents }
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
        let is_known = Cell::new(true);
        let whole = |path: &[u8]| match self.contents.at(path) {
            Some(own) => self.whole(own, path),
            None => {
                is_known.set(false);
                None
            }
        };
        match paths.find_map(|path| self.resolve(path, &whole)) {
            _ if !is_known.get() => Lookup::Unknown,
            found => found.map_or(Lookup::Missing, Lookup::There),
        }
    }

    /// Looks for a file of this name anywhere; returns whether it is one of the base.
    pub(super) fn anywhere(&self, name: &[u8]) -> Option<(Vec<u8>, bool)> {
        let is_it = |path: &[u8]| last(path) == name;
        let base = || {
            let is_file = |kind| !matches!(kind, ListedKind::Directory);
            let mut all = self.listing.entries(b"");
            all.find(|(path, listed)| is_it(path) && is_file(listed.kind)).map(|(path, _)| (path, true))
        };
        let found = || self.found.keys().find(|path| is_it(path)).cloned();
        let own = || self.contents.named(name).flatten().or_else(found);
        base().or_else(|| Some((own()?, false)))
    }

    fn quick(&self, path: &[u8]) -> Option<Item> {
        self.found
            .get(path)
            .cloned()
            .or_else(|| self.base(path))
            .or_else(|| self.directories.contains(path).then_some(Item::Directory))
    }

    fn whole(&self, own: Option<Item>, path: &[u8]) -> Option<Item> {
        // A directory of ours over a link of the base leads where that does.
        match (own, self.base(path)) {
            (Some(Item::Directory), Some(base)) => Some(base),
            (own, base) => own.or(base),
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
