//! Taking over what a step made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, RenameFlags};

use super::DIRECTORY_MODE;
use super::list::walk;
use crate::event::Cancel;
use crate::files::{
    DiskTree, FileId, FileKind, FileTree as _, Metadata, directory_beneath, display, metadata,
    open_directory, split,
};
use crate::step::StepError;
use crate::step::copy::{Copier, CopyFault, create, mode, set_capability};
use crate::step::error::joined;
use crate::step::sync::{check_path, each};

/// Takes outputs by their paths in a directory over into a tree, which is empty.
pub(super) fn adopt(tree: &Path, from: &Path, outputs: &[&[u8]], cancel: &Cancel) -> Result<(), StepError> {
    let source = DiskTree::open(from).map_err(|error| StepError::within(from, error))?;
    let from = open_directory(from).map_err(StepError::own("open", from, b""))?;
    let adopting = Adopting { source: &source, from, tree, cancel };
    outputs.iter().try_for_each(|path| adopting.take(path))?;
    // First, as modes are of all names of a file.
    adopting.part()?;
    even(tree).map_err(StepError::own("set the modes in", tree, b""))
}

/// Gives all that is in a directory the modes that it has when it is unpacked: of files it is kept whether
/// they can be run.
fn even(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = path.symlink_metadata()?;
    let mode = metadata.permissions().mode() & 0o7777;
    let bits = match metadata.is_dir() || mode & 0o100 != 0 {
        true => 0o755,
        false => 0o644,
    };
    let has_mode = metadata.is_dir() || metadata.is_file();
    if has_mode && mode != bits {
        fs::set_permissions(path, fs::Permissions::from_mode(bits))?;
    }
    if metadata.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| even(&entry?.path()))?;
    }
    Ok(())
}

/// Outputs on their way into a tree.
struct Adopting<'a> {
    source: &'a DiskTree,
    from: OwnedFd,
    tree: &'a Path,
    cancel: &'a Cancel,
}

impl Adopting<'_> {
    /// Takes one output.
    fn take(&self, path: &[u8]) -> Result<(), StepError> {
        check_path(path)?;
        self.cancel.check()?;
        let not_made = |error: io::Error| match error.kind() {
            // What it lies in may be a link: then it is made elsewhere.
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => not_made(path),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => not_made(path),
            _ => StepError::own("read", self.source.path(), path)(error),
        };
        let seen = self.source.metadata(path).map_err(not_made)?;
        let parents = self.parents(path).map_err(StepError::own("make", self.tree, path))?;
        match self.rename(path, &seen, &parents) {
            // Another file system, as where a directory of the step is a mounted one.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.copy(path),
            result => result.map_err(StepError::own("move", self.source.path(), path)),
        }
    }

    /// Makes the directories that an output lies in.
    fn parents(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut at = open_directory(self.tree)?;
        for part in split(path).0.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match rustix::fs::mkdirat(&at, part, Mode::RWXU) {
                Ok(()) => {
                    at = directory_beneath(at.as_fd(), part)?;
                    rustix::fs::fchmod(&at, mode(DIRECTORY_MODE))?;
                }
                Err(rustix::io::Errno::EXIST) => at = directory_beneath(at.as_fd(), part)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(at)
    }

    fn rename(&self, path: &[u8], seen: &Metadata, to: &OwnedFd) -> io::Result<()> {
        let (parents, name) = split(path);
        let from = directory_beneath(self.from.as_fd(), parents)?;
        let rename = || rustix::fs::renameat_with(&from, name, to, name, RenameFlags::empty());
        match rename() {
            // A directory that isn't to be written to can't be moved: its parent is noted in it.
            Err(rustix::io::Errno::ACCESS) if seen.kind == FileKind::Directory => {
                let handle = directory_beneath(from.as_fd(), name)?;
                rustix::fs::fchmod(&handle, mode(seen.mode | 0o700))?;
                let renamed = rename();
                rustix::fs::fchmod(&handle, mode(seen.mode))?;
                Ok(renamed?)
            }
            result => Ok(result?),
        }
    }

    /// Copies an output with all that is in it. Times aren't kept: nothing goes by them.
    fn copy(&self, output: &[u8]) -> Result<(), StepError> {
        let mut directories = Vec::new();
        let mut left = vec![output.to_vec()];
        while let Some(path) = left.pop() {
            self.cancel.check()?;
            let own = |error| StepError::own("copy", self.source.path(), &path)(error);
            let seen = self.source.metadata(&path).map_err(own)?;
            let to = joined(self.tree, &path);
            match seen.kind {
                FileKind::Directory => {
                    fs::create_dir(&to).map_err(own)?;
                    directories.push((to, seen.mode));
                    let children = self.source.read_dir(&path).map_err(own)?;
                    left.extend(children.iter().map(|(name, _)| [&path[..], b"/", name].concat()));
                }
                FileKind::Symlink => {
                    let target = self.source.read_link(&path).map_err(own)?;
                    rustix::fs::symlink(&target[..], &to).map_err(|error| own(error.into()))?;
                }
                FileKind::Regular => self.copy_file(&path, &seen)?,
                FileKind::Fifo | FileKind::Socket | FileKind::Device => {
                    return Err(own(io::ErrorKind::Unsupported.into()));
                }
            }
        }
        // Last of all and from within, as they may forbid what was done.
        for (path, bits) in directories.into_iter().rev() {
            let set = || -> io::Result<()> { Ok(rustix::fs::fchmod(open_directory(&path)?, mode(bits))?) };
            set().map_err(StepError::own("set the mode of", &path, b""))?;
        }
        Ok(())
    }

    fn copy_file(&self, path: &[u8], seen: &Metadata) -> Result<(), StepError> {
        let own = |error| StepError::own("copy", self.source.path(), path)(error);
        let (parents, name) = split(path);
        let parent = open_directory(&joined(self.tree, parents)).map_err(own)?;
        duplicate(self.source, path, seen, &parent, name, self.cancel)
            .map_err(|fault| copy_fault(fault, self.source.path(), path))
    }

    /// Gives files with names elsewhere a content of their own, as package managers link what they install:
    /// who writes to the other name would write to this tree.
    fn part(&self) -> Result<(), StepError> {
        let tree = DiskTree::open(self.tree).map_err(|error| StepError::within(self.tree, error))?;
        let mut linked: BTreeMap<FileId, Vec<(Vec<u8>, Metadata)>> = BTreeMap::new();
        for (path, seen) in walk(&tree, self.cancel)? {
            if seen.kind == FileKind::Regular && seen.links > 1 {
                linked.entry(seen.id).or_default().push((path, seen));
            }
        }
        let elsewhere = linked.into_values().filter(|all| (all.len() as u64) < all[0].1.links);
        each(elsewhere.flatten().collect(), |(path, seen)| {
            let own = |error| StepError::own("copy", self.tree, &path)(error);
            let (parents, name) = split(&path);
            let replace = || -> Result<(), CopyFault> {
                let top = open_directory(self.tree).map_err(CopyFault::Write)?;
                let parent = directory_beneath(top.as_fd(), parents).map_err(CopyFault::Write)?;
                let bits = rustix::fs::fstat(&parent).map_err(|error| CopyFault::Write(error.into()))?;
                let bits = metadata(&bits).mode;
                let write =
                    |result: rustix::io::Result<()>| result.map_err(|error| CopyFault::Write(error.into()));
                write(rustix::fs::fchmod(&parent, mode(bits | 0o700)))?;
                // Beside it first: the source is read by its name.
                let beside = [b".tmp-".as_slice(), blake3::hash(name).to_hex().as_bytes()].concat();
                duplicate(&tree, &path, &seen, &parent, &beside, self.cancel)?;
                write(rustix::fs::renameat(&parent, &beside[..], &parent, name))?;
                write(rustix::fs::fchmod(&parent, mode(bits)))
            };
            replace().map_err(|fault| match fault {
                CopyFault::Read(error) | CopyFault::Write(error) => own(error),
                other => copy_fault(other, self.tree, &path),
            })
        })?;
        Ok(())
    }
}

fn not_made(path: &[u8]) -> StepError {
    StepError::NotMade { path: display(path) }
}

/// Copies a file with its mode, to where nothing is.
fn duplicate(
    tree: &DiskTree,
    path: &[u8],
    seen: &Metadata,
    to: &OwnedFd,
    name: &[u8],
    cancel: &Cancel,
) -> Result<(), CopyFault> {
    let from = tree.open(path).map_err(CopyFault::Read)?;
    let to: File = create(to.as_fd(), name).map_err(CopyFault::Write)?;
    Copier::new(cancel).copy(&*from, &to, seen.size, None)?;
    rustix::fs::fchmod(&to, mode(seen.mode)).map_err(|error| CopyFault::Write(error.into()))?;
    match tree.capability(path).map_err(CopyFault::Read)? {
        Some(value) => set_capability(&to, &value).map_err(CopyFault::Write),
        None => Ok(()),
    }
}

fn copy_fault(fault: CopyFault, directory: &Path, path: &[u8]) -> StepError {
    match fault {
        CopyFault::Read(error) | CopyFault::Write(error) => StepError::own("copy", directory, path)(error),
        CopyFault::Changed => StepError::Changed { path: display(path) },
        CopyFault::Cancelled(cancelled) => cancelled.into(),
    }
}
