//! What steps made, as files, under the key of its content: so that commands and layers that need its bytes
//! have them without asking a cache.
//!
//! Each tree lies in a directory of its own: `tree/` with the files, `list` with how each of them looked
//! when it was put there, `lock`. A tree whose files don't look so any more isn't trusted, and removed. It
//! is made under another name and renamed when it is whole. Who uses one shares its lock, so that nobody
//! who tidies up takes it away.

mod adopt;
mod list;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::AtFlags;
use tempfile::TempDir;

use crate::cache::{OUTPUTS_DIRECTORY, Turn};
use crate::event::Cancel;
use crate::files::{DiskTree, directory_beneath, open_directory, remove_at, remove_tree, split};
use crate::key::Key;
use crate::own;
use crate::step::StepError;
use crate::step::copy::mode;
use crate::step::state::TEMPORARY;

use list::{MAGIC, list, look};

/// The name of the files' directory, and of the file that says how they looked.
const TREE: &str = "tree";
const LIST: &str = "list";

/// The mode of directories on the way to outputs.
const DIRECTORY_MODE: u32 = 0o755;

/// What steps made, as it lies in a cache.
#[derive(Debug)]
pub struct OutputTrees {
    root: PathBuf,
    /// Others that are only read.
    below: Option<PathBuf>,
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

impl OutputTrees {
    /// Names those of a cache. Nothing is read or made yet.
    #[must_use]
    pub fn new(cache: &Path) -> Self {
        Self { root: place(cache), below: None, known: Mutex::default() }
    }

    /// Has them looked for in another cache first, which is only read: what is right there is used in its
    /// place, and what isn't stays as it is.
    #[must_use]
    pub fn over(mut self, cache: Option<&Path>) -> Self {
        self.below = cache.map(place);
        self
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
        if let Some(tree) = self.find_below(key, cancel)? {
            return Ok(Some(self.keep(key, tree)));
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

    fn find_below(&self, key: &Key, cancel: &Cancel) -> Result<Option<OutputTree>, StepError> {
        let directory = self.below.as_ref().map(|below| below.join(key.hex()));
        let Some((directory, turn)) = directory.and_then(|at| Turn::look(&at).map(|turn| (at, turn))) else {
            return Ok(None);
        };
        self.look(&directory, turn, cancel)
    }

    /// Takes over what a step made: its outputs, by their paths in the directory that it ran in, out of which
    /// they are moved. If that is there already, they are left alone.
    ///
    /// # Errors
    /// [`StepError::NotMade`] if an output isn't there, or only through a link; others if something can't
    /// be moved or copied.
    pub fn adopt(
        &self,
        key: &Key,
        from: &Path,
        outputs: &[&[u8]],
        cancel: &Cancel,
    ) -> Result<OutputTree, StepError> {
        if let Some(tree) = self.find(key, cancel)? {
            return Ok(tree);
        }
        self.make(key, cancel, |tree| adopt::adopt(tree, from, outputs, cancel))
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

/// Where they lie in a cache.
fn place(cache: &Path) -> PathBuf {
    let [directory, version] = OUTPUTS_DIRECTORY;
    cache.join(directory).join(version)
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

#[cfg(test)]
mod tests;
