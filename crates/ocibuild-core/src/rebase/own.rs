//! What the image's own layers hold, as far as it may have to do with the base below them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::base::DirectoryMeta;
use crate::contents::{Contents, Item, ItemKind};

/// The image's own layers, taken together; of several items at one path the last one counts.
#[derive(Default)]
pub(super) struct Own<'a> {
    /// Directories, those that are merely on the way included: these have no metadata.
    pub(super) directories: BTreeMap<&'a [u8], Option<DirectoryMeta>>,
    /// Everything else that is written.
    pub(super) leaves: BTreeSet<&'a [u8]>,
    /// Whom files and directories belong to.
    pub(super) items: Vec<Item<'a>>,
    /// Hard links to what no layer of the image's own has, and these.
    pub(super) links: Vec<(&'a [u8], &'a [u8])>,
    /// What is taken away from below.
    pub(super) removed: BTreeSet<&'a [u8]>,
}

impl<'a> Own<'a> {
    pub(super) fn of(contents: &'a Contents) -> Self {
        let mut own = Self::default();
        for item in contents.layers.iter().flat_map(|layer| layer.items()) {
            own.add(item);
        }
        own
    }

    fn add(&mut self, item: Item<'a>) {
        let path = item.path;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for parent in ends.map(|end| &path[..end]) {
            self.directories.entry(parent).or_insert(None);
        }
        match item.kind {
            ItemKind::Whiteout | ItemKind::OpaqueDirectory => {
                // What it wrote itself, and took away again, is no matter of the base's.
                if !self.leaves.contains(path) {
                    self.removed.insert(path);
                }
                return;
            }
            ItemKind::Directory => {
                let Item { mode, uid, gid, .. } = item;
                self.directories.insert(path, Some(DirectoryMeta { mode, uid, gid }));
            }
            ItemKind::HardLink { target } => {
                if !self.leaves.contains(target) {
                    self.links.push((path, target));
                }
                self.leaves.insert(path);
            }
            _ => {
                self.leaves.insert(path);
            }
        }
        self.items.push(item);
    }

    /// Finds something that is written at a path or below it.
    pub(super) fn at_or_below(&self, path: &[u8]) -> Option<&'a [u8]> {
        if let Some(leaf) = self.leaves.get(path) {
            return Some(leaf);
        }
        let below = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let range = (Bound::Included(&below[..]), Bound::Unbounded);
        let leaf = self.leaves.range::<[u8], _>(range).next().copied();
        let directory = || self.directories.range::<[u8], _>(range).next().map(|(path, _)| *path);
        let itself = || self.directories.get_key_value(path).map(|(path, _)| *path);
        let is_below = |found: &&[u8]| found.starts_with(&below);
        leaf.filter(is_below).or_else(|| directory().filter(is_below)).or_else(itself)
    }
}
