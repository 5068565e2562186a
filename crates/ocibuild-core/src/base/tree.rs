//! Paths in a tree with symbolic links: taken apart, and resolved the way the kernel does inside a
//! root it cannot leave.

use crate::base::ListingError;

/// As many links as the Linux kernel follows for one path.
const MAX_LINKS: usize = 40;
/// As long as a path can be on Linux.
pub(crate) const MAX_PATH: usize = 4096;
/// As long as a name can be on Linux file systems.
pub(super) const MAX_NAME: usize = 255;

/// What is at a node, as far as resolving a path goes.
pub(super) enum Step<'a> {
    Directory,
    Link(&'a [u8]),
    Other,
}

/// A tree of nodes, named by number.
pub(super) trait Tree {
    /// Returns the root.
    fn root(&self) -> u32;
    /// Returns the entry of a directory, or nothing if it has none of that name.
    fn child(&self, directory: u32, name: &[u8]) -> Option<u32>;
    /// Tells what a node is.
    fn step(&self, node: u32) -> Step<'_>;
}

/// Splits a path into names; `.` and empty ones fall away.
pub(super) fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// Joins names again.
pub(crate) fn join(names: &[&[u8]]) -> Vec<u8> {
    names.join(&b'/')
}

/// Takes an entry's path apart, refusing what cannot be one inside a root.
pub(crate) fn checked_names(path: &[u8]) -> Result<Vec<&[u8]>, ListingError> {
    let fault = |reason| ListingError::Path { path: path.iter().copied().take(200).collect(), reason };
    if path.len() > MAX_PATH {
        return Err(fault("it is longer than paths can be"));
    }
    let names: Vec<&[u8]> = names(path).collect();
    for name in &names {
        match *name {
            b".." => return Err(fault("it holds `..`")),
            name if name.len() > MAX_NAME => return Err(fault("a name in it is longer than names can be")),
            name if name.contains(&0) => return Err(fault("it holds a NUL byte")),
            _ => {}
        }
    }
    Ok(names)
}

/// Resolves a path through the tree's links, in its last name only if `last`. What isn't there
/// stays as it is; `..` at the root stays there. Counts every name it looks at in `work`.
pub(super) fn resolve(
    tree: &impl Tree,
    path: &[u8],
    last: bool,
    work: &mut u64,
) -> Result<Vec<u8>, ListingError> {
    let fault = || ListingError::Loop { path: path.to_vec() };
    let mut pending: Vec<&[u8]> = names(path).rev().collect();
    let mut done: Vec<(&[u8], Option<u32>)> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        *work += 1;
        if name == b".." {
            done.pop();
            continue;
        }
        let directory = done.last().map_or(Some(tree.root()), |(_, node)| *node);
        let node = directory.and_then(|directory| tree.child(directory, name));
        let target = match node.map(|node| tree.step(node)) {
            Some(Step::Link(target)) if last || !pending.is_empty() => target,
            _ => {
                done.push((name, node));
                continue;
            }
        };
        links += 1;
        if links > MAX_LINKS || pending.len() > MAX_PATH {
            return Err(fault());
        }
        if target.starts_with(b"/") {
            done.clear();
        }
        pending.extend(names(target).rev());
    }
    let names: Vec<&[u8]> = done.into_iter().map(|(name, _)| name).collect();
    Ok(join(&names))
}
