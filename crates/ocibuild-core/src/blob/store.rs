//! Blobs in a directory: `blobs/ALGORITHM/HEX` below it, `tmp` beside.
//!
//! A blob is written under a temporary name in the same file system, synced, and renamed, so that
//! a file under a blob's name is whole unless the disk itself forgot it; and as bytes are verified
//! when they are read, even that is found. Many processes may share one store.
//!
//! A store may lie over another that is only read: what is there is found, and what is written, or
//! dropped, shows in the upper one alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempPath;

use crate::blob::{AheadFile, BlobError, BlobFiles, Content, Sink, Source, lacking, pour};
use crate::digest::{Digest, HashingWriter};
use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::own;

/// A content-addressed store in a directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    below: Option<Below>,
}

/// A store that is only read.
#[derive(Debug, Clone)]
struct Below {
    root: PathBuf,
    /// What was dropped of it.
    hidden: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Below {
    fn hidden(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its files, unless this one was dropped.
    fn files(&self, digest: &Digest) -> Option<BlobFiles<'_>> {
        (!self.hidden().contains(digest)).then_some(BlobFiles(&self.root))
    }
}

impl Store {
    /// Opens the store in a directory, which is made when the first blob is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), below: None }
    }

    /// Opens the store in a directory over one that is only read.
    pub fn over(root: impl Into<PathBuf>, below: impl Into<PathBuf>) -> Self {
        let below = Below { root: below.into(), hidden: Arc::default() };
        Self { root: root.into(), below: Some(below) }
    }

    /// Returns the directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the file that holds a blob, or would.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let own = self.files().path(digest);
        let below = self.below.as_ref().filter(|_| !own.exists()).and_then(|below| below.files(digest));
        below.map(|files| files.path(digest)).filter(|path| path.exists()).unwrap_or(own)
    }

    /// Starts a blob whose digest isn't known yet.
    ///
    /// # Errors
    /// [`BlobError::File`] if the directory can't be written to.
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        let fault = |source| file_fault("create a file in", &self.root, source);
        let (file, path) = own::beside(&self.root).map_err(fault)?.into_parts();
        Ok(BlobWriter { store: self.clone(), writer: HashingWriter::new(AheadFile::new(file)), path })
    }

    /// Drops a blob, if it is there: what was found to be damaged is made again.
    ///
    /// # Errors
    /// [`BlobError::File`] if it is there and can't be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        if let Some(below) = &self.below {
            below.hidden().insert(*digest);
        }
        let path = self.files().path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(file_fault("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, mut file: AheadFile, temporary: TempPath, digest: &Digest) -> Result<(), BlobError> {
        let path = self.files().path(digest);
        let fault = |source| file_fault("write", &path, source);
        file.sync().map_err(fault)?;
        own::put(file.file(), temporary, &path).map_err(fault)
    }

    fn files(&self) -> BlobFiles<'_> {
        BlobFiles(&self.root)
    }

    /// The files that have a blob, or would: the own ones, if they do.
    fn files_of(&self, descriptor: &Descriptor) -> Result<BlobFiles<'_>, BlobError> {
        let own = self.files();
        if own.has(descriptor)? {
            return Ok(own);
        }
        let below = self.below.as_ref().and_then(|below| below.files(&descriptor.digest));
        Ok(below.unwrap_or(own))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.files_of(descriptor)?.has(descriptor)
    }
}

fn file_fault(action: &'static str, path: &Path, source: io::Error) -> BlobError {
    BlobError::File { action, path: path.to_owned(), source }
}

impl Source for Store {
    fn place(&self) -> String {
        format!("the store `{}`", self.root.display())
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.has(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.files_of(descriptor)?.fetch(descriptor, self)
    }
}

impl Sink for Store {
    fn place(&self) -> String {
        Source::place(self)
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        lacking(descriptors, |descriptor| self.has(descriptor))
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        if self.has(descriptor)? {
            return Ok(Transfer::Present);
        }
        let BlobWriter { writer, path, .. } = self.writer()?;
        let (mut file, ..) = writer.finish();
        pour(descriptor, content, &mut file, &|source| file_fault("write", &path, source))?;
        self.keep(file, path, &descriptor.digest)?;
        Ok(Transfer::Sent)
    }
}

/// A blob on its way into a [`Store`]; it becomes visible only by [`BlobWriter::finish`].
///
/// Dropped before that, it leaves nothing behind.
pub struct BlobWriter {
    store: Store,
    writer: HashingWriter<AheadFile>,
    path: TempPath,
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`BlobError::File`] if they can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.writer.write_all(bytes).map_err(|source| file_fault("write", &self.path, source))
    }

    /// Makes the blob visible under its digest, and returns that and its size in bytes.
    ///
    /// # Errors
    /// [`BlobError::File`] if it can't be synced or renamed; nothing is then kept.
    pub fn finish(self) -> Result<(Digest, u64), BlobError> {
        let sealed = self.seal();
        let (digest, size) = (sealed.digest, sealed.size);
        sealed.keep()?;
        Ok((digest, size))
    }

    /// Ends the blob, without waiting for the disk.
    pub(crate) fn seal(self) -> SealedBlob {
        let (file, digest, size) = self.writer.finish();
        SealedBlob { store: self.store, file, path: self.path, digest, size }
    }
}

/// A blob with all its bytes, which becomes visible only by [`SealedBlob::keep`].
///
/// Dropped before that, it leaves nothing behind.
pub(crate) struct SealedBlob {
    store: Store,
    file: AheadFile,
    path: TempPath,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl SealedBlob {
    /// Makes the blob visible under its digest, once it is on the disk.
    ///
    /// # Errors
    /// [`BlobError::File`] if it can't be synced or renamed; nothing is then kept.
    pub(crate) fn keep(self) -> Result<(), BlobError> {
        self.store.keep(self.file, self.path, &self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BytesContent, read_whole};
    use crate::oci::MediaType;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("made/when/needed"));
        (directory, store)
    }

    #[test]
    fn over_another_it_reads_that_and_writes_to_its_own() {
        let (_one, below) = store();
        let (_two, own) = store();
        let (kept, more) =
            (Descriptor::of(MediaType::LAYER, b"kept"), Descriptor::of(MediaType::LAYER, b"more"));
        below.push(&kept, &BytesContent::new(*b"kept")).unwrap();
        let over = Store::over(own.root(), below.root());
        assert_eq!(over.push(&kept, &BytesContent::new(*b"kept")).unwrap(), Transfer::Present);
        assert_eq!(over.path(&kept.digest), below.path(&kept.digest));
        assert_eq!(over.push(&more, &BytesContent::new(*b"more")).unwrap(), Transfer::Sent);
        assert!(!below.exists(&more).unwrap() && own.exists(&more).unwrap() && !own.exists(&kept).unwrap());
        assert_eq!(read_whole(&over, &kept, 9).unwrap(), b"kept");
        // What is dropped is there no longer, but for others.
        over.remove(&kept.digest).unwrap();
        assert!(!over.exists(&kept).unwrap() && below.exists(&kept).unwrap());
        assert!(over.clone().fetch(&kept).is_err());
        over.push(&kept, &BytesContent::new(*b"kept")).unwrap();
        assert_eq!(over.path(&kept.digest), own.path(&kept.digest));
    }

    fn files(store: &Store) -> usize {
        let files = |name: &str| fs::read_dir(store.root().join(name)).map_or(0, Iterator::count);
        files("tmp") + files("blobs/sha256")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (_directory, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write(b"hel").unwrap();
        writer.write(b"lo").unwrap();
        let (digest, size) = writer.finish().unwrap();
        let descriptor = Descriptor::new(MediaType::LAYER, digest, size);
        assert_eq!(descriptor, Descriptor::of(MediaType::LAYER, b"hello"));
        assert!(store.exists(&descriptor).unwrap());
        assert_eq!(read_whole(&store, &descriptor, 5).unwrap(), b"hello");
        assert!(read_whole(&store, &descriptor, 4).is_err());
        assert_eq!(files(&store), 1);
    }

    #[test]
    fn an_unfinished_blob_leaves_nothing() {
        let (_directory, store) = store();
        store.writer().unwrap().write(b"hello").unwrap();
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn wrong_bytes_are_refused_and_not_kept() {
        let (_directory, store) = store();
        let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
        let wrong = BytesContent::new(*b"hullo");
        assert!(matches!(store.push(&descriptor, &wrong), Err(BlobError::Corrupt { .. })));
        assert_eq!(files(&store), 0);
        assert_eq!(store.push(&descriptor, &BytesContent::new(*b"hello")).unwrap(), Transfer::Sent);
        assert_eq!(store.push(&descriptor, &BytesContent::new(*b"hello")).unwrap(), Transfer::Present);
    }

    #[test]
    fn large_blobs_are_held_to_the_same() {
        let (_directory, store) = store();
        let bytes: Vec<u8> = (0..(5 << 20) + 7).map(|at: u32| (at / 3) as u8).collect();
        let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let pushed = store.push(&descriptor, &BytesContent::new(wrong));
            assert!(matches!(pushed, Err(BlobError::Corrupt { .. })), "at {at}: {pushed:?}");
        }
        let short = store.push(&descriptor, &BytesContent::new(&bytes[1..]));
        assert!(matches!(short, Err(BlobError::Corrupt { .. })), "{short:?}");
        assert_eq!(files(&store), 0);
        assert_eq!(store.push(&descriptor, &BytesContent::new(&bytes[..])).unwrap(), Transfer::Sent);
        assert!(read_whole(&store, &descriptor, 6 << 20).unwrap() == bytes);
    }

    #[test]
    fn a_writer_that_fails_stops_the_reader() {
        struct Full(usize);
        impl io::Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = vec![7; 9 << 20];
        let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
        let fault = |source| BlobError::File { action: "write", path: "full".into(), source };
        let result = pour(&descriptor, &BytesContent::new(bytes), &mut Full(1 << 20), &fault);
        assert!(matches!(result, Err(BlobError::File { action: "write", .. })), "{result:?}");
    }

    #[test]
    fn damage_is_found_on_reading() {
        let (_directory, store) = store();
        let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
        store.push(&descriptor, &BytesContent::new(*b"hello")).unwrap();
        fs::write(store.path(&descriptor.digest), b"hellO").unwrap();
        assert!(matches!(read_whole(&store, &descriptor, 5), Err(BlobError::Corrupt { .. })));
        store.remove(&descriptor.digest).unwrap();
        store.remove(&descriptor.digest).unwrap();
        assert!(matches!(store.fetch(&descriptor), Err(BlobError::Missing { .. })));
    }
}
