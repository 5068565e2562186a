//! Directories of a cache that go as a whole: what steps made, steps' private directories, and those that
//! their homes share. When one was last used is the time of its lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::known::{entries, file_name, is_directory, known_file};
use crate::cache::{CacheError, KnownFile, OUTPUTS_DIRECTORY, SHARED_NAME, STEPS_DIRECTORY, TOOLS_NAME};
use crate::event::Cancel;

/// What begins the names of directories that aren't whole yet, or not any more.
const TEMPORARY: &str = ".tmp";

/// The name in each of the file that is locked.
const LOCK: &str = "lock";

/// All such directories of a cache.
#[derive(Debug, Default)]
pub(super) struct Trees {
    pub(super) outputs: Vec<KnownFile>,
    pub(super) steps: Vec<KnownFile>,
    pub(super) unfinished: Vec<KnownFile>,
    /// Notes on what tools said of themselves.
    pub(super) tools: Vec<KnownFile>,
    pub(super) strays: Vec<PathBuf>,
}

impl Trees {
    pub(super) fn take(root: &Path, cancel: &Cancel) -> Result<Self, CacheError> {
        let mut trees = Self::default();
        let [outputs, version] = OUTPUTS_DIRECTORY;
        trees.versions(&root.join(outputs), version)?;
        let found = trees.look(&root.join(outputs).join(version), &[], cancel)?;
        trees.outputs = found;
        let [steps, version] = STEPS_DIRECTORY;
        trees.versions(&root.join(steps), version)?;
        let steps = root.join(steps).join(version);
        let found = trees.look(&steps, &[SHARED_NAME, TOOLS_NAME], cancel)?;
        trees.steps = found;
        let shared = trees.look(&steps.join(SHARED_NAME), &[], cancel)?;
        trees.steps.extend(shared);
        trees.look_at_tools(&steps.join(TOOLS_NAME))?;
        Ok(trees)
    }

    fn versions(&mut self, directory: &Path, version: &str) -> Result<(), CacheError> {
        let is_ours = |path: &PathBuf| file_name(path) == Some(version) && is_directory(path);
        self.strays.extend(entries(directory)?.into_iter().filter(|path| !is_ours(path)));
        Ok(())
    }

    /// Goes through a directory of such directories.
    fn look(
        &mut self,
        directory: &Path,
        others: &[&str],
        cancel: &Cancel,
    ) -> Result<Vec<KnownFile>, CacheError> {
        let mut found = Vec::new();
        for path in entries(directory)? {
            cancel.check()?;
            let name = file_name(&path);
            match name {
                _ if !is_directory(&path) => self.strays.push(path),
                Some(name) if is_hex(name) => found.extend(known(path)),
                Some(name) if name.starts_with(TEMPORARY) => self.unfinished.extend(known(path)),
                Some(name) if others.contains(&name) => {}
                _ => self.strays.push(path),
            }
        }
        Ok(found)
    }

    fn look_at_tools(&mut self, directory: &Path) -> Result<(), CacheError> {
        for path in entries(directory)? {
            match known_file(path.clone())? {
                Some(file) if file_name(&path).is_some_and(is_hex) => self.tools.push(file),
                _ => self.strays.push(path),
            }
        }
        Ok(())
    }
}

fn is_hex(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is known of a directory, unless it is gone.
fn known(path: PathBuf) -> Option<KnownFile> {
    let modified = last_used(&path)?;
    Some(KnownFile { size: size(&path), path, modified })
}

fn last_used(path: &Path) -> Option<SystemTime> {
    let lock = path.join(LOCK).symlink_metadata();
    lock.or_else(|_| path.symlink_metadata()).and_then(|metadata| metadata.modified()).ok()
}

/// The bytes of all files below a directory. What can't be looked at counts for nothing.
fn size(directory: &Path) -> u64 {
    let (mut size, mut left) = (0, vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) if metadata.is_file() => size += metadata.len(),
                _ => {}
            }
        }
    }
    size
}

/// Tells whether somebody uses a directory.
#[cfg(unix)]
pub(super) fn is_used(tree: &KnownFile) -> bool {
    use crate::cache::Turn;
    Turn::try_alone(&tree.path).is_none() && tree.path.join(LOCK).symlink_metadata().is_ok()
}

/// Removes a directory with all that is in it, unless somebody uses it, or has since it was looked at;
/// tells whether it did. It loses its name first, so that nobody finds a part of it.
#[cfg(unix)]
pub(super) fn remove(tree: &KnownFile, cancel: &Cancel) -> Result<bool, CacheError> {
    use crate::cache::Turn;
    use crate::files::{FileError, remove_tree};
    let fault = |source| CacheError::File { action: "remove", path: tree.path.clone(), source };
    let turn = Turn::try_alone(&tree.path);
    let is_free = turn.is_some() || tree.path.join(LOCK).symlink_metadata().is_err();
    if !is_free || last_used(&tree.path) != Some(tree.modified) {
        return Ok(false);
    }
    let parent = tree.path.parent().expect("a directory of a cache is in one of it");
    let aside = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent).map_err(fault)?.keep();
    let moved = fs::rename(&tree.path, aside.join("gone"));
    let removed = remove_tree(&aside, cancel).map_err(|error| match error {
        FileError::Cancelled(cancelled) => cancelled.into(),
        FileError::Io { source, .. } => fault(source),
        other => fault(io::Error::other(other)),
    });
    match moved {
        Err(error) if error.kind() == io::ErrorKind::NotFound => removed.map(|_| false),
        Err(error) => Err(fault(error)),
        Ok(()) => removed.map(|_| true),
    }
}

/// Elsewhere there are no steps.
#[cfg(not(unix))]
pub(super) fn is_used(_: &KnownFile) -> bool {
    true
}

/// Elsewhere there are no steps.
#[cfg(not(unix))]
pub(super) fn remove(_: &KnownFile, _: &Cancel) -> Result<bool, CacheError> {
    Ok(false)
}
