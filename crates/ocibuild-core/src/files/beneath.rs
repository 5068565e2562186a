//! Opening what lies beneath a directory's handle, whatever links somebody puts there meanwhile: by the
//! kernel where it can (`openat2`), else component by component.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};

use crate::files::{FileId, FileKind, Metadata, Timestamp};

/// How a directory is opened, to be listed or to open what is in it.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a path beneath a directory, for reading; the empty path is the directory itself. No part of it
/// is a link.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    open(root, path, flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, false)
}

/// Opens a directory beneath another, as one of our own is: on the same file system, and not where
/// another is mounted, as far as the kernel can tell.
pub(crate) fn directory_beneath(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    open(root, path, DIRECTORY, true)
}

/// Opens the directory at a path that is trusted up to its last part.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?)
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, is_own: bool) -> io::Result<OwnedFd> {
    if path.is_empty() {
        return Ok(rustix::fs::openat(root, ".", flags, Mode::empty())?);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let resolve = if is_own { resolve | ResolveFlags::NO_XDEV } else { resolve };
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // An old kernel, or a sandbox that doesn't know the call.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            result => return Ok(result?),
        }
    }
    open_stepwise(root, path, flags, is_own)
}

fn open_stepwise(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, is_own: bool) -> io::Result<OwnedFd> {
    let (parents, name) = split(path);
    let mut at = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    for part in parents.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        at = rustix::fs::openat(&at, part, DIRECTORY, Mode::empty())?;
    }
    let opened = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    let device = |of: BorrowedFd<'_>| rustix::fs::fstat(of).map(|stat| stat.st_dev);
    if is_own && device(opened.as_fd())? != device(root)? {
        return Err(rustix::io::Errno::XDEV.into());
    }
    Ok(opened)
}

/// Splits a path into its directory and its name there.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Goes through the names in a directory. Those of a directory lie in one buffer, and nothing is
/// made of them here.
#[cfg(target_os = "linux")]
pub(crate) fn each_name(
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

/// Goes through the names in a directory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn each_name(
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

/// What the system says of a file.
#[expect(clippy::unnecessary_cast, reason = "the types of these fields differ between systems")]
pub(crate) fn metadata(stat: &Stat) -> Metadata {
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
