//! A tree on disk.
//!
//! Everything is opened beneath a handle of the root, with links refused on the way: by the kernel
//! where it can (`openat2`), else component by component. A tree that is changed while it is read
//! can so never lead out of the root.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

#[cfg(target_os = "linux")]
use crate::files::{CAPABILITY, xattrs::absent_is_none};
use crate::files::{FileError, FileId, FileKind, FileTree, Metadata, OpenFile, Timestamp, display};

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
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.is_empty() {
            return Ok(rustix::fs::openat(&self.root, ".", flags, Mode::empty())?);
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // An old kernel, or a sandbox that doesn't know the call.
                Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
                result => return Ok(result?),
            }
        }
        self.open_stepwise(path, flags)
    }

    fn open_stepwise(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let (parents, name) = split(path);
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(&self.root, ".", directory, Mode::empty())?;
        for part in parents.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            at = rustix::fs::openat(&at, part, directory, Mode::empty())?;
        }
        Ok(rustix::fs::openat(&at, name, flags, Mode::empty())?)
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

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
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

/// Goes through the names in a directory. Those of a directory lie in one buffer, and nothing is
/// made of them here.
#[cfg(target_os = "linux")]
fn each_name(
    directory: &OwnedFd,
    mut each: impl FnMut(&CStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 16 << 10];
    let mut entries = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(name)?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn each_name(
    directory: &OwnedFd,
    mut each: impl FnMut(&CStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(name)?;
        }
    }
    Ok(())
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
}

#[expect(clippy::unnecessary_cast, reason = "the types of these fields differ between systems")]
fn metadata(stat: &Stat) -> Metadata {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        _ => FileKind::Regular,
    };
    let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
    Metadata {
        kind,
        mode: stat.st_mode as u32 & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        id: FileId { device: stat.st_dev as u64, inode: stat.st_ino },
        links: stat.st_nlink as u64,
        mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
    }
}

impl std::fmt::Display for DiskTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&display(self.path.as_os_str().as_bytes()))
    }
}
