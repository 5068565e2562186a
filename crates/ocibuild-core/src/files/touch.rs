//! Noting that a file was of use.

use std::path::Path;

/// Sets a file's times to now, by the file system's clock. What isn't ours to write to stays as it
/// is: somebody else tidies up there.
#[cfg(unix)]
pub(crate) fn note_use(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = utimensat(CWD, path, &times, AtFlags::empty());
}

/// Elsewhere the time of writing has to do.
#[cfg(not(unix))]
pub(crate) fn note_use(_: &Path) {}
