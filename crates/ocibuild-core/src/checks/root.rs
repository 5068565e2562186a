//! The file system that a container of an image sees: the base's, with the image's own layers over it.
//!
//! What own layers hold is looked up in what was found in them, as far as that goes; only what isn't
//! there, and isn't in the base, makes their whole contents be read.

use std::cell::{Cell, OnceCell};
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
    /// Says what is at a path, without a leading `/`, and the place of the layer that has it; links aren't
    /// followed.
    fn at(&self, path: &[u8]) -> Option<Option<(Item, usize)>>;

    /// Finds files and links of this name, by their paths.
    fn named(&self, name: &[u8]) -> Option<Vec<Vec<u8>>>;
}

/// All of it, by path.
pub type Held = BTreeMap<Vec<u8>, (Item, usize)>;

impl Contents for Option<Held> {
    fn at(&self, path: &[u8]) -> Option<Option<(Item, usize)>> {
        Some(self.as_ref()?.get(path).cloned())
    }

    fn named(&self, name: &[u8]) -> Option<Vec<Vec<u8>>> {
        let named =
            |(path, (item, _)): &(&Vec<u8>, &(Item, usize))| last(path) == name && *item != Item::Directory;
        Some(self.as_ref()?.iter().filter(named).map(|(path, _)| path.clone()).collect())
    }
}

/// What is taken away from the base: a path with all below it, or, if so, only what is below.
pub type Removed = (Vec<u8>, bool);

/// As many links lead on from one path.
const MAX_LINKS: usize = 40;

/// The file system of an image.
pub(super) struct Root<'a> {
    listing: &'a Listing,
    /// What is taken away from that.
    removed: &'a [Removed],
    /// What own layers have, as far as it was found in them.
    found: BTreeMap<Vec<u8>, Item>,
    /// The directories that these are in.
    directories: BTreeSet<Vec<u8>>,
    /// Programs and libraries of own layers.
    pub(super) programs: BTreeMap<Vec<u8>, &'a Elf>,
    contents: &'a dyn Contents,
    /// Where the libraries are that own programs need, by their names, as far as that is known without
    /// asking for all that own layers hold.
    libraries: OnceCell<BTreeMap<Vec<u8>, Anywhere>>,
}

/// Where files of a name are.
#[derive(Debug, Clone, Default)]
pub(super) struct Anywhere {
    /// Whether the base has one.
    pub(super) is_in_base: bool,
    /// Those in own layers.
    pub(super) own: Vec<Vec<u8>>,
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
        (listing, removed): (&'a Listing, &'a [Removed]),
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
        let libraries = OnceCell::new();
        Self { listing, removed, found, directories, programs, contents, libraries }
    }

    /// Looks for a file by an absolute path, links followed.
    pub(super) fn file(&self, path: &str) -> Lookup {
        self.first(&[path.to_owned()])
    }

    /// Looks for the first of these files. All are looked for where that is quick, before any is where
    /// it isn't.
    pub(super) fn first(&self, paths: &[String]) -> Lookup {
        match self.first_that(paths, &|_| true) {
            Ok((_, path)) => Lookup::There(path),
            Err(lookup) => lookup,
        }
    }

    /// Looks for the first of these files that fits. Returns its place among them, and its path, links
    /// followed.
    ///
    /// # Errors
    /// Whether there is none, or nobody knows.
    pub(super) fn first_that(
        &self,
        paths: &[String],
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(usize, Vec<u8>), Lookup> {
        let look = |at: &dyn Fn(&[u8]) -> Option<Item>| {
            let found = |(index, path): (usize, &String)| Some((index, self.resolve(path.as_bytes(), at)?));
            paths.iter().enumerate().filter_map(found).find(|(_, path)| fits(path))
        };
        if let Some(found) = look(&|path| self.quick(path)) {
            return Ok(found);
        }
        let is_known = Cell::new(true);
        let whole = |path: &[u8]| match self.contents.at(path) {
            Some(own) => self.whole(own.map(|(item, _)| item), path),
            None => {
                is_known.set(false);
                None
            }
        };
        match look(&whole) {
            _ if !is_known.get() => Err(Lookup::Unknown),
            found => found.ok_or(Lookup::Missing),
        }
    }

    /// Tells whether an own layer has a file or link of this path.
    pub(super) fn is_own(&self, path: &[u8]) -> bool {
        self.contents.at(path).is_none_or(|held| held.is_some())
    }

    /// Tells whether what a layer has at a path isn't replaced by one above it.
    pub(super) fn is_still(&self, path: &[u8], layer: usize) -> bool {
        let held = self.contents.at(path).flatten();
        held.is_none_or(|(item, by)| item == Item::File && by == layer)
    }

    /// Tells where libraries are that have the name of one which an own program needs.
    pub(super) fn anywhere(&self, name: &[u8]) -> Anywhere {
        let known = self.libraries.get_or_init(|| self.libraries()).get(name);
        let mut anywhere = known.cloned().unwrap_or_default();
        // These are in their order.
        let known = anywhere.own.len();
        for path in self.contents.named(name).unwrap_or_default() {
            if anywhere.own[..known].binary_search(&path).is_err() {
                anywhere.own.push(path);
            }
        }
        anywhere
    }

    /// All that is known is gone through once, whatever is looked for.
    fn libraries(&self) -> BTreeMap<Vec<u8>, Anywhere> {
        let needed = self.programs.values().flat_map(|elf| &elf.needed);
        let wanted = needed.map(|name| (last(name.as_bytes()).to_vec(), Anywhere::default()));
        let mut wanted: BTreeMap<Vec<u8>, Anywhere> = wanted.collect();
        for path in self.found.keys() {
            if let Some(anywhere) = wanted.get_mut(last(path)) {
                anywhere.own.push(path.clone());
            }
        }
        for (path, listed) in self.listing.entries(b"") {
            let is_file = !matches!(listed.kind, ListedKind::Directory);
            if let Some(anywhere) = wanted.get_mut(last(&path)).filter(|_| is_file && !self.is_removed(&path))
            {
                anywhere.is_in_base = true;
            }
        }
        wanted
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
        Some(match self.listing.get(path).filter(|_| !self.is_removed(path))?.kind {
            ListedKind::Directory => Item::Directory,
            ListedKind::Symlink { target } => Item::Link(target.to_vec()),
            _ => Item::File,
        })
    }

    fn is_removed(&self, path: &[u8]) -> bool {
        self.removed.iter().any(|(removed, is_content_only)| match path.strip_prefix(&removed[..]) {
            Some([]) => !is_content_only,
            Some(rest) => rest.starts_with(b"/") || removed.is_empty(),
            None => false,
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
