//! Removing trees of files that commands made: read-only directories, any depth, any names.
//!
//! No link is followed and no mounted file system entered, and the number of handles that are open at a
//! time has a bound: what lies deeper is moved up to the top first.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::event::Cancel;
use crate::files::{FileError, directory_beneath, each_name, open_directory};

/// So many directories are entered one below the other.
const DEPTH: usize = 64;

/// Removes whatever a directory has under a name, with all that is in it; returns how many files and
/// directories that was, none if there is nothing.
///
/// # Errors
/// [`FileError::Io`] with a path below the directory; [`FileError::Cancelled`].
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &[u8], cancel: &Cancel) -> Result<u64, FileError> {
    let plain = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        // Systems differ in what they say of a directory.
        Err(error @ (Errno::ISDIR | Errno::PERM | Errno::ACCESS)) => error,
        Err(error) => return Err(FileError::io("remove", name, error.into())),
    };
    let count = match enter(parent, name) {
        Ok(directory) => empty(directory.as_fd(), cancel).map_err(|error| below(error, name))?,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(FileError::io("remove", name, plain.into()));
        }
        Err(error) => return Err(FileError::io("remove", name, error)),
    };
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(count + 1),
        Err(Errno::NOENT) => Ok(count),
        Err(error) => Err(FileError::io("remove", name, error.into())),
    }
}

/// Removes a tree by its path; nothing, if it isn't there.
///
/// # Errors
/// As for [`remove_at`]; the path is that of the tree.
pub(crate) fn remove_tree(path: &Path, cancel: &Cancel) -> Result<u64, FileError> {
    use std::os::unix::ffi::OsStrExt as _;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(0) };
    match open_directory(parent) {
        Ok(parent_handle) => remove_at(parent_handle.as_fd(), name.as_bytes(), cancel)
            .map_err(|error| below(error, parent.as_os_str().as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(FileError::io("open", parent.as_os_str().as_bytes(), error)),
    }
}

/// Removes all that a directory holds; returns how many files and directories that was.
///
/// # Errors
/// As for [`remove_at`].
pub(crate) fn empty(directory: BorrowedFd<'_>, cancel: &Cancel) -> Result<u64, FileError> {
    let mut removal = Removal { top: directory, cancel, count: 0, moved: 0 };
    loop {
        let before = removal.moved;
        removal.clear(directory, 0)?;
        // What was moved up lies here now.
        if removal.moved == before {
            return Ok(removal.count);
        }
    }
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    cancel: &'a Cancel,
    count: u64,
    moved: u64,
}

impl Removal<'_> {
    fn clear(&mut self, directory: BorrowedFd<'_>, depth: usize) -> Result<(), FileError> {
        self.cancel.check()?;
        for name in names(directory).map_err(|error| FileError::io("list", b"", error))? {
            self.remove(directory, &name, depth)?;
        }
        Ok(())
    }

    fn remove(&mut self, directory: BorrowedFd<'_>, name: &CString, depth: usize) -> Result<(), FileError> {
        let fault = |error: Errno| FileError::io("remove", name.as_bytes(), error.into());
        let plain = match rustix::fs::unlinkat(directory, name.as_c_str(), AtFlags::empty()) {
            Ok(()) => {
                self.count += 1;
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(error @ (Errno::ISDIR | Errno::PERM | Errno::ACCESS)) => error,
            Err(error) => return Err(fault(error)),
        };
        let child = match enter(directory, name.as_bytes()) {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(fault(plain)),
            Err(error) => return Err(FileError::io("remove", name.as_bytes(), error)),
        };
        if depth >= DEPTH {
            return self.move_up(directory, name).map_err(fault);
        }
        self.clear(child.as_fd(), depth + 1).map_err(|error| below(error, name.as_bytes()))?;
        match rustix::fs::unlinkat(directory, name.as_c_str(), AtFlags::REMOVEDIR) {
            Ok(()) => self.count += 1,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(fault(error)),
        }
        Ok(())
    }

    /// Moves a directory to the top, under a name that nothing has there.
    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<()> {
        loop {
            self.moved += 1;
            let free = format!(".removed-{}", self.moved);
            if rustix::fs::statat(self.top, free.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                continue;
            }
            let flags = RenameFlags::empty();
            return rustix::fs::renameat_with(directory, name.as_c_str(), self.top, free.as_str(), flags);
        }
    }
}

/// Opens a directory so that what is in it can be removed, whatever its mode forbids us.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let open = || directory_beneath(parent, name);
    let directory = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            allow(parent, name)?;
            open()?
        }
        result => result?,
    };
    if rustix::fs::fstat(&directory)?.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&directory, Mode::RWXU)?;
    }
    Ok(directory)
}

/// Gives us all rights to a directory that can't even be opened to read it.
#[cfg(target_os = "linux")]
fn allow(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // A handle by path alone can't be asked to change modes; its name in /proc can.
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::chmodat(rustix::fs::CWD, path, Mode::RWXU, AtFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn allow(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let _ = OFlags::empty();
    Ok(rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The names in a directory, gathered first: what is removed while a directory is listed may hide others.
fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let listed = directory_beneath(directory, b"")?;
    let mut names = Vec::new();
    each_name(&listed, |name| {
        names.push(name.to_owned());
        Ok(())
    })?;
    Ok(names)
}

/// A fault's path, one directory up.
fn below(error: FileError, directory: &[u8]) -> FileError {
    match error {
        FileError::Io { action, path, source } if path == "." => FileError::io(action, directory, source),
        FileError::Io { action, path, source } => {
            FileError::Io { action, path: format!("{}/{path}", crate::files::display(directory)), source }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn remove(path: &Path) -> u64 {
        remove_tree(path, &Cancel::new()).unwrap()
    }

    #[test]
    fn everything_goes_and_nothing_behind_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("kept/d")).unwrap();
        fs::write(at("kept/d/file"), "x").unwrap();
        fs::create_dir_all(at("tree/a/b")).unwrap();
        fs::write(at("tree/a/b/file"), "x").unwrap();
        fs::write(at("tree/read-only"), "x").unwrap();
        symlink("../kept", at("tree/link")).unwrap();
        symlink("nowhere", at("tree/dangling")).unwrap();
        let odd = std::ffi::OsStr::new("tree").to_owned();
        let odd = directory
            .path()
            .join(odd)
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\n"));
        fs::write(odd, "x").unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("tree/fifo"), fifo, Mode::RUSR, 0).unwrap();
        for (path, mode) in [("tree/a/b", 0o000), ("tree/a", 0o555), ("tree/read-only", 0o444)] {
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(remove(&at("tree")), 9);
        assert!(!at("tree").exists() && at("kept/d/file").exists());
        assert_eq!(remove(&at("tree")), 0);
        symlink("kept", at("link")).unwrap();
        assert_eq!(remove(&at("link")), 1);
        assert!(at("kept/d/file").exists());
        assert_eq!(remove(&at("none/none")), 0);
    }

    #[test]
    fn a_tree_may_be_deeper_than_paths_are_long() {
        let directory = tempfile::tempdir().unwrap();
        let top = open_directory(directory.path()).unwrap();
        let mut at = directory_beneath(top.as_fd(), b"").unwrap();
        for _ in 0..1500 {
            rustix::fs::mkdirat(&at, "a-name-of-some-length", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/", &at, "link").unwrap();
            at = directory_beneath(at.as_fd(), b"a-name-of-some-length").unwrap();
        }
        // A name that would be given to what is moved up.
        fs::write(directory.path().join(".removed-1"), "").unwrap();
        assert_eq!(empty(top.as_fd(), &Cancel::new()).unwrap(), 3001);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn it_can_be_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        let fault = remove_tree(&directory.path().join("a"), &cancel).unwrap_err();
        assert!(matches!(fault, FileError::Cancelled(_)));
    }
}
