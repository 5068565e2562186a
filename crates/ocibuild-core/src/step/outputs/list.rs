//! How the files of a tree looked when they were put there.

use std::path::Path;

use crate::event::Cancel;
use crate::files::{DiskTree, FileKind, FileTree as _, Metadata};
use crate::step::StepError;
use crate::step::sync::each;

/// What a list begins with.
pub(super) const MAGIC: &[u8; 16] = b"ocibuild list 1\n";

/// Everything in a tree but its root, in no order that is worth mention.
pub(super) fn walk(tree: &DiskTree, cancel: &Cancel) -> Result<Vec<(Vec<u8>, Metadata)>, StepError> {
    let (mut all, mut level) = (Vec::new(), vec![Vec::new()]);
    while !level.is_empty() {
        let listed = each(level, |path: Vec<u8>| {
            cancel.check()?;
            let children = tree.read_dir(&path).map_err(StepError::own("list", tree.path(), &path))?;
            let below =
                |name: Vec<u8>| if path.is_empty() { name } else { [&path[..], b"/", &name].concat() };
            Ok(children.into_iter().map(|(name, seen)| (below(name), seen)).collect::<Vec<_>>())
        })?;
        level = Vec::new();
        for (path, seen) in listed.into_iter().flatten() {
            if seen.kind == FileKind::Directory {
                level.push(path.clone());
            }
            all.push((path, seen));
        }
    }
    Ok(all)
}

/// How all files of a tree look, if they can all be looked at.
pub(super) fn look(path: &Path, cancel: &Cancel) -> Result<Option<Vec<u8>>, StepError> {
    match list(path, cancel) {
        Err(StepError::Cancelled(cancelled)) => Err(cancelled.into()),
        other => Ok(other.ok()),
    }
}

/// How all files of a tree look. The device isn't in it: its number may be another after a restart.
pub(super) fn list(path: &Path, cancel: &Cancel) -> Result<Vec<u8>, StepError> {
    let tree = DiskTree::open(path).map_err(|error| StepError::within(path, error))?;
    let mut all = walk(&tree, cancel)?;
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut hasher = blake3::Hasher::new();
    for (path, seen) in &all {
        let Metadata { kind, mode, size, id, links, mtime, ctime, .. } = seen;
        hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
        // Of a directory its names are in the list already.
        let size = if *kind == FileKind::Directory { 0 } else { *size };
        let links = if *kind == FileKind::Directory { 0 } else { *links };
        for number in [*kind as u64, u64::from(*mode), size, id.inode, links] {
            hasher.update(&number.to_le_bytes());
        }
        for time in [mtime, ctime] {
            hasher.update(&time.seconds.to_le_bytes()).update(&time.nanoseconds.to_le_bytes());
        }
    }
    Ok([MAGIC, &(all.len() as u64).to_le_bytes()[..], hasher.finalize().as_bytes()].concat())
}
