//! The parallel walk over a tree.

use std::sync::{Mutex, PoisonError};

use rayon::Scope;

use crate::event::Cancel;
use crate::files::resolve::join;
use crate::files::{FileError, FileId, FileKind, FileTree, Metadata};

/// What the names of our outputs begin with while they are written; a killed run may leave one
/// behind. Nothing so named is ever an input.
pub const PART_PREFIX: &str = ".ocibuild-part-";

/// Something the walk found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path below the start of the walk.
    pub path: Box<[u8]>,
    /// What it is.
    pub metadata: Metadata,
    /// The target, where it is a symbolic link.
    pub target: Option<Box<[u8]>>,
}

/// What a walk takes and where it goes. Paths are below the start of the walk.
#[derive(Clone, Copy)]
pub struct WalkOptions<'a> {
    /// Tells whether a path is taken; the second argument says whether it is a directory.
    pub selects: &'a (dyn Fn(&[u8], bool) -> bool + Sync),
    /// Tells whether anything below a directory could be taken.
    pub enters: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// What is never taken nor entered, under whatever name it appears.
    pub skip: &'a [FileId],
    /// Stops the walk.
    pub cancel: &'a Cancel,
}

/// Finds everything selected below a directory, in any order; the directory itself isn't among it.
///
/// Directories are listed in parallel in the rayon pool that this is called from. Links are found
/// and not followed.
///
/// # Errors
/// The first fault of the tree; [`FileError::Cancelled`].
pub fn walk(tree: &dyn FileTree, start: &[u8], options: WalkOptions<'_>) -> Result<Vec<Found>, FileError> {
    let walk = Walk { tree, start, options, found: Mutex::default(), fault: Mutex::default() };
    rayon::scope(|scope| walk.visit(scope, Vec::new()));
    match walk.fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(fault) => Err(fault),
        None => Ok(walk.found.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

struct Walk<'a> {
    tree: &'a dyn FileTree,
    start: &'a [u8],
    options: WalkOptions<'a>,
    found: Mutex<Vec<Found>>,
    fault: Mutex<Option<FileError>>,
}

impl<'a> Walk<'a> {
    fn visit<'s>(&'s self, scope: &Scope<'s>, directory: Vec<u8>) {
        if self.fault.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        match self.list(scope, &directory) {
            Ok(found) => self.found.lock().unwrap_or_else(PoisonError::into_inner).extend(found),
            Err(fault) => {
                self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            }
        }
    }

    fn list<'s>(&'s self, scope: &Scope<'s>, directory: &[u8]) -> Result<Vec<Found>, FileError> {
        self.options.cancel.check()?;
        let full = join(self.start, directory);
        let children = self.tree.read_dir(&full).map_err(|error| FileError::io("list", &full, error))?;
        let mut found = Vec::with_capacity(children.len());
        for (name, metadata) in children {
            if self.options.skip.contains(&metadata.id) || name.starts_with(PART_PREFIX.as_bytes()) {
                continue;
            }
            let path = join(directory, &name);
            let is_directory = metadata.kind == FileKind::Directory;
            if (self.options.selects)(&path, is_directory) {
                let target = self.target(&path, &metadata)?;
                found.push(Found { path: path.as_slice().into(), metadata, target });
            }
            if is_directory && (self.options.enters)(&path) {
                scope.spawn(move |scope| self.visit(scope, path));
            }
        }
        Ok(found)
    }

    fn target(&self, path: &[u8], metadata: &Metadata) -> Result<Option<Box<[u8]>>, FileError> {
        if metadata.kind != FileKind::Symlink {
            return Ok(None);
        }
        let full = join(self.start, path);
        let target = self.tree.read_link(&full).map_err(|error| FileError::io("read", &full, error))?;
        Ok(Some(target.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryTree;

    fn walk_all(tree: &dyn FileTree, start: &str, skip: &[FileId]) -> Result<Vec<String>, FileError> {
        let cancel = Cancel::new();
        let options = WalkOptions {
            selects: &|path, _| !path.ends_with(b".map"),
            enters: &|path| path != b"closed",
            skip,
            cancel: &cancel,
        };
        let mut found: Vec<String> = walk(tree, start.as_bytes(), options)?
            .iter()
            .map(|found| String::from_utf8_lossy(&found.path).into_owned())
            .collect();
        found.sort();
        Ok(found)
    }

    #[test]
    fn everything_selected_is_found_once() {
        let tree = MemoryTree::new()
            .file("r/a/b/c", "")
            .file("r/a/x.map", "")
            .file("r/closed/d", "")
            .symlink("r/l", "a");
        assert_eq!(walk_all(&tree, "r", &[]).unwrap(), ["a", "a/b", "a/b/c", "closed", "l"]);
        let skipped = tree.metadata(b"r/a/b").unwrap().id;
        assert_eq!(walk_all(&tree, "r", &[skipped]).unwrap(), ["a", "closed", "l"]);
    }

    #[test]
    fn a_fault_is_told_with_its_path() {
        let error = walk_all(&MemoryTree::new(), "missing", &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot list `missing`");
    }
}
