//! Whose turn it is with a directory of a cache: a lock on a file in it.
//!
//! A directory may be removed with its lock by one who holds that; whoever waited for it has the lock of a
//! file without a name then, sees that, and begins anew. Where a file system knows no locks, everybody has
//! their turn at once.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::event::{Cancel, Cancelled};
use crate::files::note_use;
use crate::own::Locked;

/// The file's name in the directory.
pub(crate) const NAME: &str = "lock";

/// How often one looks who waits.
const PAUSE: Duration = Duration::from_millis(10);

/// A turn with a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: Locked,
}

/// A turn couldn't be had.
#[derive(Debug)]
pub(crate) enum NoTurn {
    /// The file can't be made or opened.
    Io(io::Error),
    /// The run was cancelled while it waited.
    Cancelled(Cancelled),
}

impl Turn {
    /// Makes a directory, unless it is there, and waits until nobody else has a turn with it. Tells
    /// `waiting` once, if it has to wait. Notes that the directory was of use.
    pub(crate) fn alone(directory: &Path, cancel: &Cancel, waiting: &dyn Fn()) -> Result<Self, NoTurn> {
        let mut has_told = false;
        loop {
            cancel.check().map_err(NoTurn::Cancelled)?;
            fs::create_dir_all(directory).map_err(NoTurn::Io)?;
            let file = match open(directory, true) {
                // It was removed between the two.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(NoTurn::Io)?,
            };
            while let Err(TryLockError::WouldBlock) = file.try_lock() {
                if !std::mem::replace(&mut has_told, true) {
                    waiting();
                }
                cancel.check().map_err(NoTurn::Cancelled)?;
                std::thread::sleep(PAUSE);
            }
            if is_at(&file, directory).map_err(NoTurn::Io)? {
                note_use(&directory.join(NAME));
                return Ok(Self { _file: Locked::new(file) });
            }
        }
    }

    /// Shares a directory with others that do, if it is there and nobody has it alone. Notes that the
    /// directory was of use.
    pub(crate) fn share(directory: &Path) -> Option<Self> {
        let file = open(directory, false).ok()?;
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return None;
        }
        is_at(&file, directory).ok().filter(|is_at| *is_at)?;
        note_use(&directory.join(NAME));
        Some(Self { _file: Locked::new(file) })
    }

    /// Shares a directory as [`Turn::share`] does, where nothing may be written: nor is anything noted.
    pub(crate) fn look(directory: &Path) -> Option<Self> {
        let file = open_to_read(&directory.join(NAME)).ok()?;
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return None;
        }
        is_at(&file, directory).ok().filter(|is_at| *is_at)?;
        Some(Self { _file: Locked::new(file) })
    }

    /// Takes a directory, if nobody has a turn with it or shares it. Where that can't be known, nobody
    /// gets it. Nothing is noted.
    pub(crate) fn try_alone(directory: &Path) -> Option<Self> {
        let file = open(directory, false).ok()?;
        file.try_lock().ok()?;
        is_at(&file, directory).ok().filter(|is_at| *is_at)?;
        Some(Self { _file: Locked::new(file) })
    }

    /// Makes the file in a directory that nobody knows of yet, and shares it.
    pub(crate) fn begin(directory: &Path) -> io::Result<Self> {
        let file = open(directory, true)?;
        // Where there are no locks, nobody else needs one.
        let _ = file.try_lock_shared();
        Ok(Self { _file: Locked::new(file) })
    }
}

/// None of it is a link: what steps run could put one there.
fn open(directory: &Path, create: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).mode(0o644);
    options.custom_flags(flags());
    let path = directory.join(NAME);
    // Another's file can be locked by whoever may read it.
    let opened = options.open(&path);
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    match opened {
        Err(error) if denied(&error) => open_to_read(&path),
        opened => opened,
    }
}

fn open_to_read(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(flags()).open(path)
}

fn flags() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed()
}

/// Tells whether a file is still the one in the directory.
fn is_at(file: &File, directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = file.metadata()?;
    match directory.join(NAME).symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_waits_for_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let turn = Turn::alone(&path, &Cancel::new(), &|| {}).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn who_waits_tells_so_once_and_can_be_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let (told, cancel) = (Cell::new(0), Cancel::new());
        let held = Turn::alone(directory.path(), &cancel, &|| told.set(9)).unwrap();
        assert_eq!(told.get(), 0);
        assert!(Turn::try_alone(directory.path()).is_none() && Turn::share(directory.path()).is_none());
        std::thread::scope(|scope| {
            let other = cancel.clone();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                other.cancel();
            });
            let refused = Turn::alone(directory.path(), &cancel, &|| told.set(told.get() + 1));
            assert!(matches!(refused, Err(NoTurn::Cancelled(_))));
        });
        assert_eq!(told.get(), 1);
        drop(held);
        let shares = [Turn::share(directory.path()), Turn::share(directory.path())];
        assert!(shares.iter().all(Option::is_some) && Turn::try_alone(directory.path()).is_none());
        drop(shares);
        assert!(Turn::try_alone(directory.path()).is_some());
    }

    #[test]
    fn a_directory_that_was_removed_meanwhile_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d");
        let held = Turn::alone(&path, &Cancel::new(), &|| {}).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Turn::alone(&path, &Cancel::new(), &|| {}).unwrap());
            std::thread::sleep(Duration::from_millis(30));
            fs::remove_dir_all(&path).unwrap();
            drop(held);
            let _turn = waiting.join().unwrap();
            assert!(path.join(NAME).exists() && Turn::try_alone(&path).is_none());
        });
        assert!(Turn::share(&directory.path().join("none")).is_none());
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", directory.path().join(NAME)).unwrap();
        assert!(Turn::alone(directory.path(), &Cancel::new(), &|| {}).is_err());
        assert!(!directory.path().join("elsewhere").exists());
    }
}
