//! What steps made, as files, under the key of its content: so that commands and layers that need its bytes
//! have them without asking a cache.
//!
//! Each tree lies in a directory of its own: `tree/` with the files, `list` with how each of them looked
//! when it was put there, `lock`. A tree whose files don't look so any more isn't trusted, and removed. It
//! is made under another name and renamed when it is whole. Who uses one shares its lock, so that nobody
//! who tidies up takes it away.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, RenameFlags};
use tempfile::TempDir;

use crate::cache::{OUTPUTS_DIRECTORY, Turn};
use crate::event::Cancel;
use crate::files::{
    DiskTree, FileId, FileKind, FileTree as _, Metadata, directory_beneath, display, metadata,
    open_directory, remove_at, remove_tree, split,
};
use crate::key::Key;
use crate::own;
use crate::step::StepError;
use crate::step::copy::{Copier, CopyFault, create, mode, set_capability};
use crate::step::error::joined;
use crate::step::state::TEMPORARY;
use crate::step::sync::{check_path, each};

/// The name of the files' directory, and of the file that says how they looked.
const TREE: &str = "tree";
const LIST: &str = "list";

/// What a list begins with.
const MAGIC: &[u8; 16] = b"ocibuild list 1\n";

/// The mode of directories on the way to outputs.
const DIRECTORY_MODE: u32 = 0o755;

/// What steps made, as it lies in a cache.
#[derive(Debug)]
pub struct OutputTrees {
    root: PathBuf,
    /// Those that were looked at already.
    known: Mutex<BTreeMap<Key, OutputTree>>,
}

/// What a step made, until it is dropped: it isn't removed meanwhile.
#[derive(Debug, Clone)]
pub struct OutputTree(Arc<Held>);

#[derive(Debug)]
struct Held {
    tree: DiskTree,
    /// How its files looked when they were put there.
    listed: Vec<u8>,
    _turn: Turn,
}

impl OutputTree {
    /// Returns the directory that has the files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.tree.path()
    }

    /// Returns the files.
    #[must_use]
    pub fn tree(&self) -> &DiskTree {
        &self.0.tree
    }

    /// Tells whether all files look as they did when they were put there. To be asked when they were read:
    /// a process of the command's that nobody could end may have written to them meanwhile.
    ///
    /// # Errors
    /// [`StepError::Cancelled`].
    pub fn is_unchanged(&self, cancel: &Cancel) -> Result<bool, StepError> {
        Ok(look(self.path(), cancel)?.is_some_and(|now| now == self.0.listed))
    }
}

/// How a step's outputs come to lie in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// They are moved there: nothing of them is left.
    Move,
    /// They are copied: they are somebody's own.
    Copy,
}

impl OutputTrees {
    /// Names those of a cache. Nothing is read or made yet.
    #[must_use]
    pub fn new(cache: &Path) -> Self {
        let [directory, version] = OUTPUTS_DIRECTORY;
        Self { root: cache.join(directory).join(version), known: Mutex::default() }
    }

    /// Finds what a step made, if it is there and all its files look as they did when they were put there.
    /// If they don't, it is removed. What was found once is found again without another look.
    ///
    /// # Errors
    /// [`StepError::File`] if something that isn't right can't be taken away; [`StepError::Cancelled`].
    pub fn find(&self, key: &Key, cancel: &Cancel) -> Result<Option<OutputTree>, StepError> {
        if let Some(known) = self.known().get(key) {
            return Ok(Some(known.clone()));
        }
        let directory = self.root.join(key.hex());
        let Some(turn) = Turn::share(&directory) else {
            // Without a lock it is none of ours, or somebody is just about to remove it.
            return Ok(None);
        };
        match self.look(&directory, turn, cancel)? {
            Some(tree) => Ok(Some(self.keep(key, tree))),
            None => {
                self.drop_damaged(&directory, cancel)?;
                Ok(None)
            }
        }
    }

    /// Takes over what a step made: its outputs, by their paths in the directory that it ran in. If that is
    /// there already, they are left alone.
    ///
    /// # Errors
    /// [`StepError::NotMade`] if an output isn't there, or only through a link; others if something can't
    /// be moved or copied.
    pub fn adopt(
        &self,
        key: &Key,
        from: &Path,
        outputs: &[&[u8]],
        how: Adoption,
        cancel: &Cancel,
    ) -> Result<OutputTree, StepError> {
        if let Some(tree) = self.find(key, cancel)? {
            return Ok(tree);
        }
        self.make(key, cancel, |tree| {
            let source = DiskTree::open(from).map_err(|error| StepError::within(from, error))?;
            let from_handle = open_directory(from).map_err(StepError::own("open", from, b""))?;
            let adopting = Adopting { source: &source, from: from_handle, tree, how, cancel };
            outputs.iter().try_for_each(|path| adopting.take(path))?;
            even(tree).map_err(StepError::own("set the modes in", tree, b""))?;
            adopting.part()
        })
    }

    /// Makes a tree under another name, and gives it its own when it is whole.
    pub(super) fn make(
        &self,
        key: &Key,
        cancel: &Cancel,
        fill: impl FnOnce(&Path) -> Result<(), StepError>,
    ) -> Result<OutputTree, StepError> {
        fs::create_dir_all(&self.root).map_err(StepError::own("make", &self.root, b""))?;
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.root);
        let temporary = temporary.map_err(StepError::own("make a directory in", &self.root, b""))?;
        let path = temporary.path().to_owned();
        // Not left to the temporary directory: a command's directories may forbid to remove what is in them.
        let temporary = Unfinished(Some(temporary));
        let fault = |action| StepError::own(action, &path, b"");
        let turn = Turn::begin(&path).map_err(fault("lock"))?;
        let tree = path.join(TREE);
        let make = || -> io::Result<()> {
            let owned = open_directory(&path)?;
            rustix::fs::fchmod(&owned, mode(DIRECTORY_MODE))?;
            fs::create_dir(&tree)?;
            Ok(rustix::fs::fchmod(open_directory(&tree)?, mode(DIRECTORY_MODE))?)
        };
        make().map_err(fault("make"))?;
        fill(&tree)?;
        let list = list(&tree, cancel)?;
        let write = || -> io::Result<()> {
            fs::write(path.join(LIST), &list)?;
            rustix::fs::chmodat(rustix::fs::CWD, path.join(LIST), mode(0o644), AtFlags::empty())?;
            Ok(())
        };
        write().map_err(fault("write the list of"))?;
        self.name(key, (temporary, list), turn, cancel)
    }

    /// Gives a whole tree its name. If another process was faster, that one's is as good.
    fn name(
        &self,
        key: &Key,
        (temporary, listed): (Unfinished, Vec<u8>),
        turn: Turn,
        cancel: &Cancel,
    ) -> Result<OutputTree, StepError> {
        let directory = self.root.join(key.hex());
        for _ in 0..16 {
            match fs::rename(temporary.path(), &directory) {
                Ok(()) => {
                    temporary.keep();
                    let tree = DiskTree::open(directory.join(TREE));
                    let tree = tree.map_err(|error| StepError::within(&directory, error))?;
                    return Ok(self.keep(key, OutputTree(Arc::new(Held { tree, listed, _turn: turn }))));
                }
                Err(error) if is_taken(&error) => {
                    if let Some(tree) = self.find(key, cancel)? {
                        return Ok(tree);
                    }
                    // Something is there that isn't right: it makes room.
                    self.drop_damaged(&directory, cancel)?;
                }
                Err(error) => return Err(StepError::own("make", &directory, b"")(error)),
            }
        }
        Err(StepError::own("make", &directory, b"")(io::ErrorKind::DirectoryNotEmpty.into()))
    }

    /// Looks whether a tree is as it was made.
    fn look(&self, directory: &Path, turn: Turn, cancel: &Cancel) -> Result<Option<OutputTree>, StepError> {
        let read = || -> io::Result<Vec<u8>> {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            own::open_regular(&directory.join(LIST))?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let path = directory.join(TREE);
        let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let Some(listed) = read().ok().filter(|listed| is_directory && listed.starts_with(MAGIC)) else {
            return Ok(None);
        };
        if look(&path, cancel)?.is_none_or(|now| now != listed) {
            return Ok(None);
        }
        let Ok(tree) = DiskTree::open(&path) else { return Ok(None) };
        Ok(Some(OutputTree(Arc::new(Held { tree, listed, _turn: turn }))))
    }

    /// Takes something away that has the name of a tree: at once from that name, and altogether unless
    /// somebody uses it still.
    fn drop_damaged(&self, directory: &Path, cancel: &Cancel) -> Result<(), StepError> {
        let fault = |error| StepError::own("remove", directory, b"")(error);
        let aside = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.root).map_err(fault)?.keep();
        match fs::rename(directory, aside.join("damaged")) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(error)),
        }
        let damaged = aside.join("damaged");
        let is_ours = Turn::try_alone(&damaged).is_some() || !damaged.join("lock").exists();
        if is_ours {
            remove_tree(&aside, cancel).map_err(|error| StepError::within(&self.root, error))?;
        }
        Ok(())
    }

    fn keep(&self, key: &Key, tree: OutputTree) -> OutputTree {
        self.known().entry(*key).or_insert(tree).clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, OutputTree>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rename onto a directory that isn't empty, or onto a file.
fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

/// A directory that isn't whole yet. It is removed, whatever modes there are in it.
struct Unfinished(Option<TempDir>);

impl Unfinished {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("it is kept by value").path()
    }

    fn keep(mut self) {
        if let Some(directory) = self.0.take() {
            let _ = directory.keep();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take() {
            // What can't be removed now is for whoever tidies up.
            let _ = remove_tree(&directory.keep(), &Cancel::new());
        }
    }
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

/// Removes what is at a path below a directory, with all that is in it; no link on the way is followed.
///
/// # Errors
/// [`StepError::File`] if it can't be removed; [`StepError::Cancelled`].
pub fn remove_beneath(directory: &Path, path: &[u8], cancel: &Cancel) -> Result<(), StepError> {
    let (parents, name) = split(path);
    let root = open_directory(directory).map_err(StepError::own("open", directory, b""))?;
    let parent = match directory_beneath(root.as_fd(), parents) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StepError::own("open", directory, parents)(error)),
    };
    let removed = remove_at(parent.as_fd(), name, cancel);
    removed.map(drop).map_err(|error| StepError::within(directory, error))
}

/// Outputs on their way into a tree.
struct Adopting<'a> {
    source: &'a DiskTree,
    from: OwnedFd,
    tree: &'a Path,
    how: Adoption,
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
        if self.how == Adoption::Move {
            match self.rename(path, &seen, &parents) {
                // Another file system, as where a directory of the step is a mounted one.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                result => return result.map_err(StepError::own("move", self.source.path(), path)),
            }
        }
        self.copy(path)
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

/// Everything in a tree but its root, in no order that is worth mention.
fn walk(tree: &DiskTree, cancel: &Cancel) -> Result<Vec<(Vec<u8>, Metadata)>, StepError> {
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
fn look(path: &Path, cancel: &Cancel) -> Result<Option<Vec<u8>>, StepError> {
    match list(path, cancel) {
        Err(StepError::Cancelled(cancelled)) => Err(cancelled.into()),
        other => Ok(other.ok()),
    }
}

/// How all files of a tree look. The device isn't in it: its number may be another after a restart.
fn list(path: &Path, cancel: &Cancel) -> Result<Vec<u8>, StepError> {
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

#[cfg(test)]
mod tests;
