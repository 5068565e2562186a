//! Who is using a cache: builds share a lock on a file of it, and whoever tidies up wants it alone.
//!
//! The lock keeps nobody from anything by itself. It tells one who removes files whether there is
//! a build that may be about to name a blob, or to read one: with no build there, anything may go;
//! with one, only what wasn't used for [`GRACE`](super::GRACE). A file system without locks, or a
//! cache that may not be written to, is used without: then builds find what is gone and make it
//! anew, and whoever tidies up takes it that there are builds.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::event::{Cancel, Cancelled};
use crate::own::Locked;

/// The file's name in the cache.
pub(super) const NAME: &str = "lock";

/// As long as a build waits for one who tidies up. That takes moments; one that hangs must not
/// keep builds from their work.
const PATIENCE: Duration = Duration::from_secs(10);

/// A share in a cache, or all of it, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    _file: Locked,
}

impl Hold {
    /// Takes a share, as a build does that reads and writes blobs: any number may have one. Waits
    /// a while for one who has it alone. Returns `None` where no lock can be had, which is no
    /// reason not to build; so where there is no lock file yet and none is to be made (`create`).
    ///
    /// # Errors
    /// [`Cancelled`] if it was, while waiting.
    pub fn share(root: &Path, create: bool, cancel: &Cancel) -> Result<Option<Self>, Cancelled> {
        let Ok(file) = open(root, create) else { return Ok(None) };
        let start = Instant::now();
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Some(Self { _file: Locked::new(file) })),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    cancel.check()?;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Takes all of it, if nobody has a share. Returns `None` if somebody has, or it can't be
    /// known.
    #[must_use]
    pub fn alone(root: &Path) -> Option<Self> {
        let file = open(root, true).ok()?;
        file.try_lock().ok()?;
        Some(Self { _file: Locked::new(file) })
    }

    /// Tells whether nobody has a share, and changes nothing.
    #[must_use]
    pub(super) fn is_free(root: &Path) -> bool {
        match open(root, false) {
            Ok(file) => file.try_lock().is_ok_and(|()| file.unlock().is_ok()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Another's file can be locked by whoever may read it.
fn open(root: &Path, create: bool) -> io::Result<File> {
    let path = root.join(NAME);
    let made = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(&path);
    made.or_else(|_| File::open(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_it_and_one_has_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let cancel = Cancel::new();
        assert!(Hold::is_free(root));
        let shares = [Hold::share(root, true, &cancel).unwrap(), Hold::share(root, true, &cancel).unwrap()];
        assert!(shares.iter().all(Option::is_some));
        assert!(Hold::alone(root).is_none() && !Hold::is_free(root));
        drop(shares);
        assert!(Hold::is_free(root));
        let alone = Hold::alone(root);
        assert!(alone.is_some());
        cancel.cancel();
        assert!(Hold::share(root, true, &cancel).is_err());
        drop(alone);
        assert!(Hold::share(root, true, &cancel).unwrap().is_some());
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("none");
        assert!(Hold::share(&root, true, &Cancel::new()).unwrap().is_none());
        assert!(Hold::alone(&root).is_none());
        assert!(!root.exists());
    }
}
