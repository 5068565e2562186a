//! A time of writing into a layout, among others that do the same.
//!
//! Two locks, always taken in this order: one on the `oci-layout` file, for the moment of making a
//! layout, changing its index or taking it away; one on the directory `blobs`, shared by all that
//! are writing blobs, so that one who gives up knows whether others may rely on its blobs.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::blob::{BlobError, read_whole};
use crate::copy;
use crate::digest::Digest;
use crate::layout::directory::{self, Fault, State};
use crate::layout::{Layout, LayoutError};
use crate::oci::{Descriptor, ImageLayout, MAX_MANIFEST_SIZE};
use crate::own::Locked;

/// How often making a layout is tried that others take away again.
const MAX_ATTEMPTS: usize = 100;

#[derive(Debug)]
pub(super) struct Session {
    marker: PathBuf,
    /// Blobs written since the last naming.
    pub(super) pending: Vec<Digest>,
    /// What the directory was, where this session made it a layout.
    before: Option<State>,
    /// Locked, shared, as long as this lives; `None` where directories can't be locked.
    blobs: Option<Locked>,
    /// What is written stays, whether or not something names it.
    pub(super) keeps: bool,
}

impl Session {
    /// Makes the layout if need be, and joins those that write into it.
    pub(super) fn begin(directory: &Path) -> Result<Self, Fault> {
        let marker = directory.join(ImageLayout::FILE);
        let mut before = None;
        let mut attempts = 0;
        let _lock = loop {
            let state = directory::state(directory)?;
            if state != State::Layout {
                attempts += 1;
                match directory::create(directory) {
                    Err(fault) if fault.is_not_found() && attempts < MAX_ATTEMPTS => continue,
                    result => result?,
                }
                before = before.or(Some(state));
            }
            if let Some(lock) = lock_marker(&marker)? {
                break lock;
            }
        };
        let path = directory.join(ImageLayout::BLOBS);
        fs::create_dir_all(path.join("sha256")).map_err(Fault::file("create", &path))?;
        let blobs = File::open(&path).ok().filter(|blobs| join(blobs, directory).is_ok()).map(Locked::new);
        Ok(Self { marker, pending: Vec::new(), before, blobs, keeps: false })
    }

    /// Notes a blob before it is there, unless all stay anyway.
    pub(super) fn note(&mut self, digest: Digest) {
        if !self.keeps {
            self.pending.push(digest);
        }
    }

    /// Waits until nobody else changes the index; they wait while what is returned lives.
    pub(super) fn lock_index(&self) -> Result<Locked, Fault> {
        let gone = || Fault::Layout(LayoutError::Unfinished(ImageLayout::FILE));
        lock_marker(&self.marker)?.ok_or_else(gone)
    }

    /// Takes away what was written and never named, unless somebody else may have come to use it.
    /// Whatever is in the way of that is left as it is: it does no harm.
    pub(super) fn end(self, layout: &Layout) {
        if self.keeps || (self.pending.is_empty() && self.before.is_none()) {
            return;
        }
        let alone = |blobs: &Locked| matches!(blobs.file().try_lock(), Ok(()));
        let Ok(_lock) = self.lock_index() else { return };
        if self.blobs.as_ref().is_some_and(alone) {
            let _ = self.undo(layout);
        }
    }

    fn undo(&self, layout: &Layout) -> Result<(), BlobError> {
        let used = reachable(layout)?;
        for digest in self.pending.iter().filter(|digest| !used.contains(digest)) {
            let _ = fs::remove_file(layout.path(digest));
        }
        if let Some(before) = &self.before
            && !layout.directory.join(ImageLayout::INDEX).exists()
        {
            let _ = remove_empty(&layout.directory, before);
        }
        Ok(())
    }
}

/// Locks the marker; returns nothing if it was taken away meanwhile.
fn lock_marker(marker: &Path) -> Result<Option<Locked>, Fault> {
    // Network file systems lock exclusively only what is open for writing.
    let file = match File::options().read(true).write(true).open(marker) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(marker),
        result => result,
    };
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::file("open", marker)(error)),
    };
    match file.lock() {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(Fault::file("lock", marker)(error)),
        _ => Ok(Some(Locked::new(file)).filter(|lock| is_at(lock.file(), marker))),
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let here = file.metadata().map(|it| (it.dev(), it.ino()));
    let there = fs::metadata(path).map(|it| (it.dev(), it.ino()));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Joins those that write blobs. The first of them cleans up after those that were killed.
fn join(blobs: &File, directory: &Path) -> io::Result<()> {
    match blobs.try_lock() {
        Ok(()) => directory::remove_parts(directory)?,
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    blobs.lock_shared()
}

/// Returns everything that the index names, directly or not. What a layout holds only in part is
/// followed as far as it goes.
fn reachable(layout: &Layout) -> Result<BTreeSet<Digest>, BlobError> {
    let mut used = BTreeSet::new();
    let mut todo: Vec<Descriptor> = layout.descriptors()?;
    while let Some(descriptor) = todo.pop() {
        if !used.insert(descriptor.digest) {
            continue;
        }
        if (descriptor.media_type.is_manifest() || descriptor.media_type.is_index())
            && layout.has(&descriptor)?
        {
            let bytes = read_whole(layout, &descriptor, MAX_MANIFEST_SIZE)?;
            todo.extend(copy::children(&descriptor.media_type, &bytes).unwrap_or_default());
        }
    }
    Ok(used)
}

/// Removes a layout without blobs, down to what was before; stops at the first thing that isn't
/// its own.
fn remove_empty(directory: &Path, before: &State) -> io::Result<()> {
    let blobs = directory.join(ImageLayout::BLOBS);
    for entry in fs::read_dir(&blobs)? {
        fs::remove_dir(entry?.path())?;
    }
    fs::remove_dir(&blobs)?;
    fs::remove_file(directory.join(ImageLayout::FILE))?;
    match before {
        State::Absent => fs::remove_dir(directory),
        _ => Ok(()),
    }
}
