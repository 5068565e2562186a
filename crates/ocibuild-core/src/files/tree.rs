//! What a tree of files can be asked.

use std::fs::File;
use std::io;

use crate::files::CAPABILITY;
use crate::files::mounted::within;

/// A tree of input files could not give what was asked for. Paths are relative to its root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Reading failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried: `read`, `list`, …
        action: &'static str,
        /// What it was tried on.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A path leads out of the tree.
    #[error("`{path}` leads out of the root, by way of `{by}`")]
    Escapes {
        /// The path as given.
        path: String,
        /// The link or part that leaves the root.
        by: String,
    },
    /// Symbolic links go in a circle.
    #[error("`{path}` goes through too many symbolic links")]
    Loop {
        /// The path as given.
        path: String,
    },
    /// The walk was cancelled.
    #[error(transparent)]
    Cancelled(#[from] crate::event::Cancelled),
}

impl FileError {
    pub(crate) fn io(action: &'static str, path: &[u8], source: io::Error) -> Self {
        Self::Io { action, path: display(path), source }
    }
}

/// Writes a path for people; bytes that aren't UTF-8 become `�`. One that leads into a mounted tree is
/// written as the path there.
#[must_use]
pub fn display(path: &[u8]) -> String {
    let path = within(path);
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
}

/// A moment as file systems keep it: seconds since 1970-01-01T00:00:00Z, and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds beyond them.
    pub nanoseconds: u32,
}

/// What a file system knows a file by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file within it.
    pub inode: u64,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: the lower twelve.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Which file it is.
    pub id: FileId,
    /// How many names it has.
    pub links: u64,
    /// When its content last changed.
    pub mtime: Timestamp,
    /// When anything of it last changed.
    pub ctime: Timestamp,
}

impl Metadata {
    /// Tells whether two looks at a file saw the same: the same file, length and times.
    #[must_use]
    pub fn is_unchanged(&self, other: &Self) -> bool {
        (self.kind, self.id, self.size, self.mtime, self.ctime)
            == (other.kind, other.id, other.size, other.mtime, other.ctime)
    }
}

/// A tree of input files. Paths are relative to its root, without a leading `/`; the root itself
/// is the empty path. No method follows a symbolic link, in no part of the path.
pub trait FileTree: Send + Sync {
    /// Tells what a path is.
    ///
    /// # Errors
    /// As the file system gives them; `NotFound` if there is nothing.
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata>;

    /// Lists a directory: names with what they are, in any order. What vanishes meanwhile is left
    /// out.
    ///
    /// # Errors
    /// As the file system gives them.
    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>>;

    /// Returns the target of a symbolic link, as it is.
    ///
    /// # Errors
    /// As the file system gives them.
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>>;

    /// Opens a regular file.
    ///
    /// # Errors
    /// As the file system gives them.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>>;

    /// Returns the names and values of a file's or directory's extended attributes, in any order;
    /// none where the file system keeps none.
    ///
    /// # Errors
    /// As the file system gives them.
    fn xattrs(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let _ = path;
        Ok(Vec::new())
    }

    /// Returns the value of a file's attribute [`CAPABILITY`] alone.
    ///
    /// # Errors
    /// As the file system gives them.
    fn capability(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let xattrs = self.xattrs(path)?;
        Ok(xattrs.into_iter().find(|(name, _)| name == CAPABILITY).map(|(_, value)| value))
    }

    /// Tells whether files of a device that were found have their times from the clock that this
    /// system gives files on its own disks; those on another machine's may be behind it.
    fn has_our_clock(&self, device: u64) -> bool {
        let _ = device;
        true
    }

    /// Returns the path below the root that an absolute path of the host means, if it lies there.
    fn locate(&self, absolute: &[u8]) -> Option<Vec<u8>> {
        let _ = absolute;
        None
    }

    /// Returns the tree that is mounted at the beginning of a path, and the length of that beginning, if
    /// it isn't this one's own files that lie there.
    fn mount(&self, path: &[u8]) -> Option<(usize, &dyn FileTree)> {
        let _ = path;
        None
    }
}

/// An open regular file.
pub trait OpenFile: Send {
    /// Tells what the file is now.
    ///
    /// # Errors
    /// As the file system gives them.
    fn metadata(&self) -> io::Result<Metadata>;

    /// Fills the buffer from `offset` on, as far as the file goes; returns the number of bytes.
    ///
    /// # Errors
    /// As the file system gives them.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns the file as the system has it, where it is one on disk: so that it can be copied without
    /// its bytes going through here.
    fn file(&self) -> Option<&File> {
        None
    }
}
