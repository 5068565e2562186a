//! Copying a file into a directory of a step's: without its bytes being read where the file system can
//! (they are shared until one of both is written to), else by reading. Never as another name of the same
//! file: a command may write to what it is given.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::event::Cancel;
use crate::files::OpenFile;

/// Files up to this size are read whatever the file system can: that is no slower, and their content is
/// held against its digest on the way.
const SMALL: u64 = 32 << 10;

/// Files up to this size are held against their digest, wherever their bytes come through here.
const HASHED: u64 = 1 << 20;

/// As much is copied between two looks at whether to stop.
const BLOCK: usize = 4 << 20;

/// Why a file wasn't copied.
#[derive(Debug)]
pub(super) enum CopyFault {
    /// The source can't be read.
    Read(io::Error),
    /// What is written to can't be.
    Write(io::Error),
    /// The content has another digest or length.
    Changed,
    /// It was cancelled.
    Cancelled(crate::event::Cancelled),
}

/// Copies files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copier<'a> {
    cancel: &'a Cancel,
}

impl<'a> Copier<'a> {
    pub(super) fn new(cancel: &'a Cancel) -> Self {
        Self { cancel }
    }

    /// Copies a file's content of `size` bytes to an empty file, and makes sure of its digest if that is
    /// given and costs nothing much.
    pub(super) fn copy(
        &self,
        from: &dyn OpenFile,
        to: &File,
        size: u64,
        digest: Option<&[u8; 32]>,
    ) -> Result<(), CopyFault> {
        self.cancel.check().map_err(CopyFault::Cancelled)?;
        if size > SMALL && from.file().is_some_and(|file| is_shared(file, to)) {
            return Ok(());
        }
        match from.file() {
            Some(file) if size > HASHED => self.pass_on(file, to, size),
            _ => self.read(from, to, size, digest),
        }
    }

    /// Leaves it to the system to copy.
    fn pass_on(&self, from: &File, mut to: &File, size: u64) -> Result<(), CopyFault> {
        use std::io::Read as _;
        let mut copied = 0;
        loop {
            // Which of both failed isn't told apart; that of what is written has a name for people.
            let count = io::copy(&mut from.take(BLOCK as u64), &mut to).map_err(CopyFault::Write)?;
            copied += count;
            if count == 0 {
                return if copied == size { Ok(()) } else { Err(CopyFault::Changed) };
            }
            self.cancel.check().map_err(CopyFault::Cancelled)?;
        }
    }

    fn read(
        &self,
        from: &dyn OpenFile,
        mut to: &File,
        size: u64,
        digest: Option<&[u8; 32]>,
    ) -> Result<(), CopyFault> {
        let length = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1).min(BLOCK);
        let (mut buffer, mut at) = (vec![0; length], 0);
        let mut hasher = blake3::Hasher::new();
        loop {
            let count = from.read_at(&mut buffer, at).map_err(CopyFault::Read)?;
            to.write_all(&buffer[..count]).map_err(CopyFault::Write)?;
            if digest.is_some() {
                hasher.update(&buffer[..count]);
            }
            at += count as u64;
            if count < length {
                break;
            }
            self.cancel.check().map_err(CopyFault::Cancelled)?;
        }
        let is_same = digest.is_none_or(|digest| hasher.finalize().as_bytes() == digest);
        if at == size && is_same { Ok(()) } else { Err(CopyFault::Changed) }
    }
}

/// Has both files share their content. Asked anew for each file: where it can't be, that costs next to
/// nothing, and sources may lie on several file systems.
#[cfg(target_os = "linux")]
fn is_shared(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_shared(_: &File, _: &File) -> bool {
    false
}

/// Makes a new file in a directory, for us alone as yet.
pub(super) fn create(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made: OwnedFd = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(made))
}

/// The bits of a mode as the system's calls take them.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & 0o7777) as rustix::fs::RawMode)
}

/// Gives a file the capabilities that another has.
#[cfg(target_os = "linux")]
pub(super) fn set_capability(file: &File, value: &[u8]) -> io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::fsetxattr(file, crate::files::CAPABILITY, value, flags)?)
}

/// Elsewhere there is none.
#[cfg(not(target_os = "linux"))]
pub(super) fn set_capability(_: &File, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
