//! A tree on disk.
//!
//! Everything is opened beneath a handle of the root, with links refused on the way. A tree that is
//! changed while it is read can so never lead out of the root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use crate::files::beneath::{self, each_name, metadata, split};
#[cfg(target_os = "linux")]
use crate::files::{CAPABILITY, xattrs::absent_is_none};
use crate::files::{FileError, FileTree, Metadata, OpenFile, display};

/// A tree of files on disk.
#[derive(Debug)]
pub struct DiskTree {
    root: OwnedFd,
    path: PathBuf,
    /// Whether files of a device have their times from this system.
    clocks: Mutex<BTreeMap<u64, bool>>,
}

impl DiskTree {
    /// Opens the tree below a directory.
    ///
    /// # Errors
    /// [`FileError::Io`] if it isn't there, or isn't a directory.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, FileError> {
        let root = root.as_ref();
        let fault = |source| FileError::io("open the root", root.as_os_str().as_bytes(), source);
        let path = root.canonicalize().map_err(fault)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| fault(error.into()))?;
        Ok(Self { root, path, clocks: Mutex::default() })
    }

    /// Returns the root's path, absolute and without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        beneath::open_beneath(self.root.as_fd(), path, flags)
    }

    /// Notes whose clock files of a device have their times from, by a directory of it.
    fn note_clock(&self, directory: BorrowedFd<'_>, device: u64) {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        // The child may be where another file system is mounted.
        let is_of = |stat: &Stat| metadata(stat).id.device == device;
        if !clocks.contains_key(&device) && rustix::fs::fstat(directory).is_ok_and(|stat| is_of(&stat)) {
            clocks.insert(device, is_local(directory));
        }
    }

    /// Runs `look` on the directory that holds a path, and on its name there.
    fn in_parent<T>(
        &self,
        path: &[u8],
        look: impl FnOnce(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (parents, name) = split(path);
        if parents.is_empty() {
            let name = if name.is_empty() { b"." } else { name };
            return Ok(look(self.root.as_fd(), name)?);
        }
        let parent = self.open_beneath(parents, OFlags::DIRECTORY)?;
        Ok(look(parent.as_fd(), name)?)
    }
}

impl FileTree for DiskTree {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        self.in_parent(path, |parent, name| {
            let seen = metadata(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?);
            self.note_clock(parent, seen.id.device);
            Ok(seen)
        })
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        let directory = self.open_beneath(path, OFlags::DIRECTORY)?;
        let mut children = Vec::new();
        each_name(&directory, |name| {
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => children.push((name.to_bytes().to_vec(), metadata(&stat))),
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        if let Some((_, first)) = children.first() {
            self.note_clock(directory.as_fd(), first.id.device);
        }
        Ok(children)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.in_parent(path, |parent, name| rustix::fs::readlinkat(parent, name, Vec::new()))
            .map(std::ffi::CString::into_bytes)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        // Without NONBLOCK, a fifo that took the file's place would hold us up for ever.
        let file = File::from(self.open_beneath(path, OFlags::NONBLOCK)?);
        Ok(Box::new(DiskFile(file)))
    }

    #[cfg(target_os = "linux")]
    fn xattrs(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let file = self.open_beneath(path, OFlags::NONBLOCK)?;
        let list = whole(|buffer| rustix::fs::flistxattr(&file, buffer))?.unwrap_or_default();
        let mut xattrs = Vec::new();
        for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            // One that was there a moment ago may be gone.
            if let Some(value) = whole(|buffer| rustix::fs::fgetxattr(&file, name, buffer))? {
                xattrs.push((name.to_vec(), value));
            }
        }
        Ok(xattrs)
    }

    #[cfg(target_os = "linux")]
    fn capability(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let file = self.open_beneath(path, OFlags::NONBLOCK)?;
        whole(|buffer| rustix::fs::fgetxattr(&file, CAPABILITY, buffer))
    }

    fn has_our_clock(&self, device: u64) -> bool {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.get(&device).copied().unwrap_or_default()
    }

    fn locate(&self, absolute: &[u8]) -> Option<Vec<u8>> {
        let path = Path::new(OsStr::from_bytes(absolute));
        let below = path.strip_prefix(&self.path).ok()?;
        Some(below.as_os_str().as_bytes().to_vec())
    }
}

/// Tells whether a directory lies on a file system that takes times from this system's clock: one
/// of those that are known to.
#[cfg(target_os = "linux")]
fn is_local(directory: BorrowedFd<'_>) -> bool {
    // ext2 to 4, XFS, Btrfs, tmpfs, overlayfs, F2FS, bcachefs, ZFS: see statfs(2).
    const LOCAL: [u64; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1];
    rustix::fs::fstatfs(directory).is_ok_and(|stat| LOCAL.contains(&u64::from(stat.f_type as u32)))
}

#[cfg(target_vendor = "apple")]
fn is_local(directory: BorrowedFd<'_>) -> bool {
    // Not HFS+: its times have no fractions, and those of new files can't be told from made up ones.
    let name = |stat: rustix::fs::StatFs| stat.f_fstypename.map(|byte| byte as u8);
    rustix::fs::fstatfs(directory).map(name).is_ok_and(|name| name.starts_with(b"apfs\0"))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn is_local(_: BorrowedFd<'_>) -> bool {
    false
}

/// Reads an attribute, or the list of their names, however long it is.
#[cfg(target_os = "linux")]
fn whole(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    // The most that Linux keeps for one attribute or list.
    const MAX: usize = 64 << 10;
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Err(rustix::io::Errno::RANGE) if buffer.len() < MAX => buffer.resize(MAX, 0),
            result => {
                let length = absent_is_none(result.map_err(io::Error::from))?;
                return Ok(length.map(|length| {
                    buffer.truncate(length);
                    buffer
                }));
            }
        }
    }
}

struct DiskFile(File);

impl OpenFile for DiskFile {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata(&rustix::fs::fstat(&self.0)?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

impl std::fmt::Display for DiskTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&display(self.path.as_os_str().as_bytes()))
    }
}
