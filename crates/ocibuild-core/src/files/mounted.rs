//! A tree with other trees mounted in it.

use std::io;
use std::sync::Arc;

use crate::files::{FileTree, Metadata, OpenFile};

/// A tree of files, with other trees beside its own files: each under a name that no file can have.
///
/// No way leads from one tree to another: links of a mounted tree are resolved within it, and a walk of
/// the root doesn't find them.
pub struct MountedTree<'a> {
    tree: &'a dyn FileTree,
    mounts: Vec<(usize, Arc<dyn FileTree>)>,
}

impl<'a> MountedTree<'a> {
    /// Mounts trees by their numbers.
    pub fn new(tree: &'a dyn FileTree, mounts: Vec<(usize, Arc<dyn FileTree>)>) -> Self {
        Self { tree, mounts }
    }

    /// Returns the path at which the tree of a number is mounted.
    #[must_use]
    pub fn place(number: usize) -> Vec<u8> {
        // No name of a file has a zero byte.
        format!("\0{number}").into_bytes()
    }

    /// Returns the number of the mounted tree that a path leads into.
    #[must_use]
    pub fn number(path: &[u8]) -> Option<usize> {
        std::str::from_utf8(name(path)?).ok()?.parse().ok()
    }

    fn at<'p>(&self, path: &'p [u8]) -> (&dyn FileTree, &'p [u8]) {
        match self.mount(path) {
            Some((length, tree)) => (tree, path[length..].strip_prefix(b"/").unwrap_or_default()),
            None => (self.tree, path),
        }
    }
}

impl FileTree for MountedTree<'_> {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        let (tree, path) = self.at(path);
        tree.metadata(path)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        let (tree, path) = self.at(path);
        tree.read_dir(path)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (tree, path) = self.at(path);
        tree.read_link(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        let (tree, path) = self.at(path);
        tree.open(path)
    }

    fn xattrs(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (tree, path) = self.at(path);
        tree.xattrs(path)
    }

    fn capability(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let (tree, path) = self.at(path);
        tree.capability(path)
    }

    fn has_our_clock(&self, device: u64) -> bool {
        self.tree.has_our_clock(device) || self.mounts.iter().any(|(_, tree)| tree.has_our_clock(device))
    }

    fn locate(&self, absolute: &[u8]) -> Option<Vec<u8>> {
        self.tree.locate(absolute)
    }

    fn mount(&self, path: &[u8]) -> Option<(usize, &dyn FileTree)> {
        let number = Self::number(path)?;
        let (_, tree) = self.mounts.iter().find(|(mounted, _)| *mounted == number)?;
        Some((1 + name(path)?.len(), &**tree))
    }
}

/// What follows the zero byte that a mount's name begins with, up to the end of the name.
fn name(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b"\0")?.split(|byte| *byte == b'/').next()
}

/// Returns a path without the name of the mount that it leads into: it means nothing to people.
pub(super) fn within(path: &[u8]) -> &[u8] {
    let rest = name(path).map_or(path, |name| &path[1 + name.len()..]);
    if rest.len() == path.len() { path } else { rest.strip_prefix(b"/").unwrap_or(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileError, MemoryTree, display, resolve};

    fn at(number: usize, path: &str) -> Vec<u8> {
        [MountedTree::place(number), format!("/{path}").into_bytes()].concat()
    }

    #[test]
    fn links_of_a_mounted_tree_stay_in_it() {
        let root = MemoryTree::new().file("secret", "of the root");
        let step = MemoryTree::new().file("dist/a", "of the step");
        let step = step.symlink("in", "dist").symlink("out", "../secret");
        let tree = MountedTree::new(&root, vec![(7, Arc::new(step))]);
        assert_eq!(resolve(&tree, &at(7, "in/a")).expect("it leads to a file"), at(7, "dist/a"));
        assert!(matches!(resolve(&tree, &at(7, "out")), Err(FileError::Escapes { .. })));
        assert!(tree.metadata(&at(7, "secret")).is_err());
        assert_eq!(tree.metadata(&at(7, "dist/a")).expect("it is there").size, 11);
        assert_eq!(tree.metadata(b"secret").expect("it is there").size, 11);
        assert!(tree.metadata(&at(8, "dist/a")).is_err());
        assert_eq!(display(&at(7, "dist/a")), "dist/a");
        assert_eq!((display(&MountedTree::place(7)).as_str(), display(b"/a").as_str()), (".", "/a"));
    }
}
