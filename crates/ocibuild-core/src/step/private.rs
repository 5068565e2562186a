//! A step's private directory: kept between runs, one run at a time.
//!
//! `work/` is where the command runs, `home/` and `tmp/` are its own, `log` has what it wrote, `state` what
//! is known of the files in `work/`. What commands leave in them is hostile as far as it goes: anything of
//! any kind under any name.

use std::fs::{self, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode};

use crate::cache::{NoTurn, STEPS_DIRECTORY, Turn};
use crate::event::Cancel;
use crate::files::{FileKind, directory_beneath, each_name, empty, metadata, open_directory, remove_at};
use crate::key::KeyWriter;
use crate::own::Locked;
use crate::step::orphans::{self, Mark, Traits};
use crate::step::{Shared, StepError, Synced, Wanted, copy, state, sync};

const WORK: &str = "work";
const HOME: &str = "home";
const TEMPORARY: &str = "tmp";

/// How often one looks whether a root is free.
const PAUSE: Duration = Duration::from_millis(10);

/// A step's private directory, until it is dropped: nobody else has it meanwhile.
#[derive(Debug)]
pub struct Private {
    path: PathBuf,
    handle: OwnedFd,
    /// Goes last.
    _turn: Turn,
}

impl Private {
    /// Returns where a step has its directory in a cache. `root` is that of the spec's paths, and
    /// `platform` none of a step that is the same for all.
    #[must_use]
    pub fn place(cache: &Path, spec: &str, root: &Path, step: &str, platform: Option<&str>) -> PathBuf {
        let mut key = KeyWriter::new("step-directory", 1);
        key.field("spec", spec).field("root", root.as_os_str().as_encoded_bytes());
        key.field("step", step).optional("platform", platform);
        let [directory, version] = STEPS_DIRECTORY;
        cache.join(directory).join(version).join(key.finish().hex())
    }

    /// Opens a step's directory, and makes what is missing of it. Waits while another process or thread
    /// has it, and tells `waiting` so, once.
    ///
    /// # Errors
    /// [`StepError::File`] if it can't be made or opened; [`StepError::Cancelled`].
    pub fn open(path: &Path, cancel: &Cancel, waiting: &dyn Fn()) -> Result<Self, StepError> {
        let turn = turn(path, cancel, waiting)?;
        let handle = open_directory(path).map_err(StepError::own("open", path, b""))?;
        // Commands are told of it, and run elsewhere.
        let path = path.canonicalize().map_err(StepError::own("open", path, b""))?;
        let private = Self { path, handle, _turn: turn };
        private.end_left()?;
        for name in [WORK, HOME, TEMPORARY] {
            private.directory(name, cancel)?;
        }
        private.tidy(cancel)?;
        Ok(private)
    }

    /// Marks that a command runs here, until what is returned is dropped: whoever comes after a run that
    /// was killed ends what that left.
    pub(super) fn mark(&self) -> io::Result<Mark> {
        Mark::set(&self.path)
    }

    /// Ends what a command left running here, where there is its mark.
    pub(super) fn end_left(&self) -> Result<(), StepError> {
        let traits = Traits::new(&self.home(), &self.temporary());
        orphans::end(&self.path, &traits).map_err(StepError::own("end what runs in", &self.path, b""))
    }

    /// Returns the directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory that the command runs in.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }

    /// Returns the command's home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path.join(HOME)
    }

    /// Returns the command's directory of temporary files.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// Returns the file that all that the command writes is kept in.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes [`work`](Self::work) hold exactly what is wanted, and whatever is in the directories that are
    /// `kept`, which are made if they aren't there; their paths are relative to it. What is right isn't
    /// touched or read. Directories have mode 0755, and what is written has the time at which it was.
    ///
    /// Works in the rayon pool that it is called from, or without one in this thread alone.
    ///
    /// # Errors
    /// [`StepError::Changed`] if a file isn't what it was when its digest was taken;
    /// [`StepError::Overlap`] if two things are wanted at one place, or something in a directory that is
    /// kept; others if something can't be read, written or removed.
    pub fn sync(
        &mut self,
        wanted: &[Wanted<'_>],
        kept: &[&[u8]],
        cancel: &Cancel,
    ) -> Result<Synced, StepError> {
        self.directory(WORK, cancel)?;
        sync::sync((&self.path, WORK.as_bytes()), wanted, kept, cancel)
    }

    /// Empties [`home`](Self::home) and [`temporary`](Self::temporary), and links the shared directories
    /// into the home.
    ///
    /// # Errors
    /// [`StepError::File`] if that can't be done; [`StepError::Cancelled`].
    pub fn prepare(&mut self, shared: &Shared, cancel: &Cancel) -> Result<(), StepError> {
        for name in [HOME, TEMPORARY] {
            let directory = self.directory(name, cancel)?;
            let at = self.path.join(name);
            empty(directory.as_fd(), cancel).map_err(|error| StepError::within(&at, error))?;
        }
        let home = self.directory(HOME, cancel)?;
        for (path, target) in shared.links() {
            link(&home, path, target).map_err(StepError::own("link", &self.home(), path))?;
        }
        Ok(())
    }

    /// Opens one of the directories, after making sure that it is one that we can use.
    fn directory(&self, name: &str, cancel: &Cancel) -> Result<OwnedFd, StepError> {
        let fault = || StepError::own("make", &self.path, name.as_bytes());
        let look = || rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_usable = match look() {
            Ok(stat) => {
                let seen = metadata(&stat);
                seen.kind == FileKind::Directory && seen.mode & 0o700 == 0o700
            }
            Err(rustix::io::Errno::NOENT) => false,
            Err(error) => return Err(fault()(error.into())),
        };
        if !is_usable {
            remove_at(self.handle.as_fd(), name.as_bytes(), cancel)
                .map_err(|error| StepError::within(&self.path, error))?;
            rustix::fs::mkdirat(&self.handle, name, Mode::RWXU).map_err(|error| fault()(error.into()))?;
        }
        let open = || -> io::Result<OwnedFd> {
            let directory = directory_beneath(self.handle.as_fd(), name.as_bytes())?;
            if !is_usable {
                rustix::fs::fchmod(&directory, copy::mode(0o755))?;
            }
            Ok(directory)
        };
        open().map_err(fault())
    }

    /// Removes what killed runs left while they wrote the state.
    fn tidy(&self, cancel: &Cancel) -> Result<(), StepError> {
        let mut left = Vec::new();
        let mut list = || -> io::Result<()> {
            let listed = directory_beneath(self.handle.as_fd(), b"")?;
            Ok(each_name(&listed, |name| {
                if name.to_bytes().starts_with(state::TEMPORARY.as_bytes()) {
                    left.push(name.to_bytes().to_vec());
                }
                Ok(())
            })?)
        };
        list().map_err(StepError::own("list", &self.path, b""))?;
        for name in left {
            remove_at(self.handle.as_fd(), &name, cancel)
                .map_err(|error| StepError::within(&self.path, error))?;
        }
        Ok(())
    }
}

/// A turn with a root, for a step that runs in it: no other step does until it is dropped, of whichever
/// process. It is a lock on the directory itself, whichever cache there is; nothing is written there. Where
/// a file system knows no locks, everybody has their turn at once.
#[derive(Debug)]
pub struct InPlace {
    _root: Locked,
}

impl InPlace {
    /// Waits while another step runs in a root, of this process or of another, and tells `waiting` so, once.
    ///
    /// # Errors
    /// [`StepError::File`] if it can't be opened; [`StepError::Cancelled`].
    pub fn take(root: &Path, cancel: &Cancel, waiting: &dyn Fn()) -> Result<Self, StepError> {
        let directory = fs::File::open(root).map_err(StepError::own("open", root, b""))?;
        let mut has_told = false;
        while let Err(TryLockError::WouldBlock) = directory.try_lock() {
            if !std::mem::replace(&mut has_told, true) {
                waiting();
            }
            cancel.check()?;
            std::thread::sleep(PAUSE);
        }
        Ok(Self { _root: Locked::new(directory) })
    }
}

/// Waits for a turn with a directory.
pub(super) fn turn(path: &Path, cancel: &Cancel, waiting: &dyn Fn()) -> Result<Turn, StepError> {
    Turn::alone(path, cancel, waiting).map_err(|refused| match refused {
        NoTurn::Io(source) => StepError::File { action: "lock", path: path.to_owned(), source },
        NoTurn::Cancelled(cancelled) => cancelled.into(),
    })
}

/// Puts a link at a path below an empty home.
fn link(home: &OwnedFd, path: &[u8], target: &Path) -> io::Result<()> {
    let (parents, name) = crate::files::split(path);
    let mut at = directory_beneath(home.as_fd(), b"")?;
    for part in parents.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        match rustix::fs::mkdirat(&at, part, copy::mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = directory_beneath(at.as_fd(), part)?;
    }
    Ok(rustix::fs::symlinkat(target, &at, name)?)
}

#[cfg(test)]
mod tests;
