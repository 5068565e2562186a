//! The parallel walk over a tree.

use std::sync::{Mutex, PoisonError};

use rayon::Scope;
use rayon::slice::ParallelSliceMut as _;

use crate::event::Cancel;
use crate::files::resolve::join;
use crate::files::{Entry, FileError, FileId, FileKind, FileTree, Metadata};

/// What the names of our outputs begin with while they are written; a killed run may leave one
/// behind. Nothing so named is ever an input.
pub const PART_PREFIX: &str = ".ocibuild-part-";

/// What a walk found, directory by directory, in the order of a layer.
#[derive(Debug, Default)]
pub struct Walked {
    directories: Vec<WalkedDirectory>,
}

/// A directory that was entered.
#[derive(Debug)]
pub struct WalkedDirectory {
    /// Its path below the start of the walk, which itself is the empty one.
    pub path: Box<[u8]>,
    /// What was found in it, by name; also directories that were entered and not selected.
    pub children: Vec<Child>,
}

/// Something the walk found.
#[derive(Debug)]
pub struct Child {
    /// Its name in its directory.
    pub name: Vec<u8>,
    /// What it is.
    pub metadata: Metadata,
    /// The target, where it is a symbolic link.
    pub target: Option<Box<[u8]>>,
    /// Whether it is selected, and not just on the way to what is.
    pub is_selected: bool,
}

/// Something selected, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The path of its directory, below the start of the walk.
    pub directory: &'a [u8],
    /// What was found there.
    pub child: &'a Child,
}

impl Found<'_> {
    /// Its path below the start of the walk.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        join(self.directory, &self.child.name)
    }
}

impl Walked {
    /// Returns the directories that were entered, parents first.
    #[must_use]
    pub fn directories(&self) -> &[WalkedDirectory] {
        &self.directories
    }

    /// Tells whether nothing was selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.directories.iter().flat_map(|directory| &directory.children).any(|child| child.is_selected)
    }

    /// Returns what was found at a path, selected or entered.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<Found<'_>> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let place = self.directories.binary_search_by(|one| Entry::compare_paths(&one.path, parent)).ok()?;
        let WalkedDirectory { path, children } = &self.directories[place];
        let child = children.binary_search_by(|child| child.name[..].cmp(name)).ok()?;
        Some(Found { directory: path, child: &children[child] })
    }

    /// Returns all that was selected, in the order of [`Entry::compare_paths`].
    #[must_use]
    pub fn found(&self) -> Vec<Found<'_>> {
        let mut found = Vec::with_capacity(self.directories.iter().map(|one| one.children.len()).sum());
        // The directories stand in the order in which they are come by.
        let mut directories = self.directories.iter().peekable();
        let mut open: Vec<(&[u8], std::slice::Iter<'_, Child>)> = Vec::new();
        open.extend(directories.next().map(|start| (&*start.path, start.children.iter())));
        while let Some((directory, children)) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                continue;
            };
            let directory = *directory;
            if child.is_selected {
                found.push(Found { directory, child });
            }
            if child.metadata.kind == FileKind::Directory
                && let Some(next) = directories.next_if(|next| is_child(&next.path, directory, &child.name))
            {
                open.push((&next.path, next.children.iter()));
            }
        }
        found
    }
}

/// Tells whether a path is that of a name in a directory.
fn is_child(path: &[u8], directory: &[u8], name: &[u8]) -> bool {
    let below = match directory {
        b"" => Some(path),
        _ => path.strip_prefix(directory).and_then(|rest| rest.strip_prefix(b"/")),
    };
    below == Some(name)
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

/// Finds everything selected below a directory; the directory itself isn't among it.
///
/// Directories are listed in parallel in the rayon pool that this is called from. Links are found
/// and not followed.
///
/// # Errors
/// The first fault of the tree; [`FileError::Cancelled`].
pub fn walk(tree: &dyn FileTree, start: &[u8], options: WalkOptions<'_>) -> Result<Walked, FileError> {
    let walk = Walk { tree, start, options, directories: Mutex::default(), fault: Mutex::default() };
    rayon::scope(|scope| walk.visit(scope, Box::default()));
    if let Some(fault) = walk.fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(fault);
    }
    let mut directories = walk.directories.into_inner().unwrap_or_else(PoisonError::into_inner);
    directories.par_sort_unstable_by(|one, other| Entry::compare_paths(&one.path, &other.path));
    Ok(Walked { directories })
}

struct Walk<'a> {
    tree: &'a dyn FileTree,
    start: &'a [u8],
    options: WalkOptions<'a>,
    directories: Mutex<Vec<WalkedDirectory>>,
    fault: Mutex<Option<FileError>>,
}

impl<'a> Walk<'a> {
    fn visit<'s>(&'s self, scope: &Scope<'s>, path: Box<[u8]>) {
        if self.fault.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        match self.list(scope, &path) {
            Ok(children) => {
                let directory = WalkedDirectory { path, children };
                self.directories.lock().unwrap_or_else(PoisonError::into_inner).push(directory);
            }
            Err(fault) => {
                self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            }
        }
    }

    fn list<'s>(&'s self, scope: &Scope<'s>, directory: &[u8]) -> Result<Vec<Child>, FileError> {
        self.options.cancel.check()?;
        let full = join(self.start, directory);
        let listed = self.tree.read_dir(&full).map_err(|error| FileError::io("list", &full, error))?;
        let mut children = Vec::with_capacity(listed.len());
        // One for all names, as nobody keeps it.
        let mut path = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
        let start = path.len();
        for (name, metadata) in listed {
            if self.options.skip.contains(&metadata.id) || name.starts_with(PART_PREFIX.as_bytes()) {
                continue;
            }
            path.truncate(start);
            path.extend_from_slice(&name);
            let is_directory = metadata.kind == FileKind::Directory;
            let is_selected = (self.options.selects)(&path, is_directory);
            let is_entered = is_directory && (self.options.enters)(&path);
            if is_entered {
                let path = Box::from(&path[..]);
                scope.spawn(move |scope| self.visit(scope, path));
            }
            if is_selected || is_entered {
                let target = self.target(&path, &metadata)?;
                children.push(Child { name, metadata, target, is_selected });
            }
        }
        children.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(children)
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
        let walked = walk(tree, start.as_bytes(), options)?;
        let found: Vec<Vec<u8>> = walked.found().iter().map(Found::path).collect();
        assert!(found.is_sorted_by(|one, other| Entry::compare_paths(one, other).is_lt()));
        assert_eq!(walked.is_empty(), found.is_empty());
        Ok(found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect())
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
    fn what_was_only_entered_is_not_found() {
        let tree = MemoryTree::new()
            .file("a/b/c.map", "")
            .file("a/b/d", "")
            .file("a.b/x", "")
            .file("a-b", "")
            .file("b/y", "")
            .directory("empty");
        let cancel = Cancel::new();
        let options = WalkOptions {
            selects: &|path, is_directory| !is_directory && !path.ends_with(b".map"),
            enters: &|_| true,
            skip: &[],
            cancel: &cancel,
        };
        let walked = walk(&tree, b"", options).unwrap();
        let found: Vec<Vec<u8>> = walked.found().iter().map(Found::path).collect();
        assert_eq!(found, [&b"a/b/d"[..], b"a-b", b"a.b/x", b"b/y"]);
        assert!(walked.find(b"a/b").is_some_and(|found| !found.child.is_selected));
        assert!(walked.find(b"a/b/d").is_some_and(|found| found.path() == b"a/b/d"));
        assert!(walked.find(b"a/c").is_none() && walked.find(b"c/d").is_none());
        let entered: Vec<&[u8]> = walked.directories().iter().map(|directory| &*directory.path).collect();
        assert_eq!(entered, [&b""[..], b"a", b"a/b", b"a.b", b"b", b"empty"]);
    }

    #[test]
    fn a_fault_is_told_with_its_path() {
        let error = walk_all(&MemoryTree::new(), "missing", &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot list `missing`");
    }
}
