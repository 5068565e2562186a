//! Files of our own, as caches have them: each appears under its name whole, and is read only if it is a
//! file.
//!
//! Nothing here waits for the disk: who needs that syncs the file before it gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

/// A file that is locked, until it is dropped.
///
/// Closing the file isn't enough for that: the lock is the open file's, and for a moment a process that
/// another thread starts has it open as well.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Takes a file that its caller has locked, where that could be had.
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// The file, to look at it or to lock it otherwise.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What can't be unlocked is when it is closed by all.
        let _ = self.0.unlock();
    }
}

/// Puts a file with these bytes in the place of whatever file is at `path`, in the cache at `root`.
///
/// # Errors
/// Whatever writing meets; what was there before is there still.
pub(crate) fn replace(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = beside(root)?.into_parts();
    file.write_all(bytes)?;
    put(&file, temporary, path)
}

/// Makes a file without a name of its own, in the file system of the cache at `root`. It is gone when it
/// is dropped.
///
/// # Errors
/// Whatever making it meets.
pub(crate) fn beside(root: &Path) -> io::Result<NamedTempFile> {
    let directory = root.join("tmp");
    fs::create_dir_all(&directory)?;
    NamedTempFile::new_in(directory)
}

/// Gives a file its name, for everyone that may enter the cache: temporary ones are private.
///
/// # Errors
/// Whatever renaming meets; what was there before is there still.
pub(crate) fn put(file: &File, temporary: TempPath, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().expect("a file of a cache is in a directory of it"))?;
    make_readable(file)?;
    temporary.persist(path).map_err(|error| error.error)
}

#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

/// Opens a file to read it. What is none (a fifo would let its reader wait for ever) is as good as not
/// there, and so is a link: none of ours is one.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if there is no file; whatever else opening meets.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is not a regular file"));
    }
    let file = without_waiting(OpenOptions::new().read(true)).open(path)?;
    // Another may have taken its place meanwhile.
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "it is not a regular file")),
    }
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) -> &OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
}

#[cfg(not(unix))]
fn without_waiting(options: &mut OpenOptions) -> &OpenOptions {
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().unwrap();
        let (root, path) = (directory.path().join("cache"), directory.path().join("cache/a/b/name"));
        for bytes in [&b"one"[..], b"", b"another"] {
            replace(&root, &path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        drop(beside(&root).unwrap());
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        fs::create_dir(root.join("a/directory")).unwrap();
        assert!(replace(&root, &root.join("a/directory"), b"x").is_err());
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_ends_though_another_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        // As a process has it between its start and its program.
        let _inherited = file.try_clone().unwrap();
        let lock = Locked::new(file);
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        drop(lock);
        assert!(other.try_lock().is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn it_is_for_everyone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d/name");
        replace(directory.path(), &path, b"x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[cfg(unix)]
    #[test]
    fn only_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(open_regular(&at("file")).is_ok());
        for name in ["none", "link", "fifo", "socket", "", "."] {
            let kind = open_regular(&at(name)).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::NotFound, "{name}");
        }
    }
}
