//! Files of a cache, as far as they are known without being read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::CacheError;

/// A file of a cache, or a directory of files that go together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KnownFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, or noted as used.
    pub modified: SystemTime,
}

/// A number of files, and their size in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Extent {
    /// Counts a file in.
    pub fn add(&mut self, file: &KnownFile) {
        self.count += 1;
        self.bytes += file.size;
    }

    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a KnownFile>) -> Self {
        let mut extent = Self::default();
        files.into_iter().for_each(|file| extent.add(file));
        extent
    }
}

/// Tells whether there is a directory; a link to one is none, as it leads to somebody else's files.
pub(super) fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// The directories in a directory.
pub(super) fn directories(path: &Path) -> Result<impl Iterator<Item = PathBuf>, CacheError> {
    Ok(entries(path)?.into_iter().filter(|path| is_directory(path)))
}

/// The paths in a directory, in order; none where there is no directory.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || {
        let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<PathBuf>>>()
    };
    match read() {
        Ok(mut paths) => {
            paths.sort_unstable();
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(CacheError::File { action: "read", path: directory.to_owned(), source }),
    }
}

/// What is known of a regular file, if it is there still.
pub(super) fn known_file(path: PathBuf) -> Result<Option<KnownFile>, CacheError> {
    let looked = path.symlink_metadata().and_then(|metadata| Ok((metadata.modified()?, metadata)));
    match looked {
        Ok((modified, metadata)) if metadata.is_file() => {
            Ok(Some(KnownFile { path, size: metadata.len(), modified }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CacheError::File { action: "read", path, source }),
    }
}

pub(super) fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
