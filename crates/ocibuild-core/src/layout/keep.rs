//! A layout that somebody looks after for long: what is put there stays, named or not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::blob::BlobError;
use crate::digest::Digest;
use crate::layout::{Layout, directory};
use crate::oci::IndexFile;

impl Layout {
    /// Makes the directory a layout at once, with an index, and stays at work in it until this value
    /// is dropped. From now on blobs stay though nothing names them.
    ///
    /// # Errors
    /// [`BlobError`] if the directory can't become a layout, or its index can't be read.
    pub fn keep(&self) -> Result<(), BlobError> {
        self.write(|session| {
            session.keeps = true;
            session.pending.clear();
            let _lock = session.lock_index().map_err(|fault| self.fault(fault))?;
            match self.read_index()? {
                Some(_) => Ok(()),
                None => self.replace_index(&IndexFile::default()),
            }
        })?
    }

    /// Returns the file that holds a blob, or would.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest)
    }

    /// Makes a file a blob by renaming it. Nothing of it is read: the caller has verified its bytes,
    /// and synced them. It must lie in the same file system.
    ///
    /// # Errors
    /// [`BlobError::File`] if it can't be renamed; it is then where it was.
    pub fn adopt(&self, file: &Path, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        let fault = |source| BlobError::File { action: "write", path: path.clone(), source };
        let parent = path.parent().expect("a blob's path has a parent");
        self.write(|session| session.note(*digest))?;
        fs::create_dir_all(parent).map_err(fault)?;
        fs::rename(file, &path).map_err(fault)?;
        directory::sync(parent).map_err(fault)
    }

    /// Takes a name away, and leaves what it stood for; tells whether it was there.
    ///
    /// # Errors
    /// [`BlobError`] if the index can't be read or replaced.
    pub fn untag(&self, name: &str) -> Result<bool, BlobError> {
        let mut was_there = false;
        self.change_index(|index| {
            was_there = index.remove(name);
            was_there
        })?;
        Ok(was_there)
    }

    /// Takes what stands in the index without a name out of it, as [`Listing::list`] put it there.
    ///
    /// [`Listing::list`]: crate::copy::Listing::list
    ///
    /// # Errors
    /// [`BlobError`] if the index can't be read or replaced.
    pub fn unlist(&self, digest: &Digest) -> Result<(), BlobError> {
        self.change_index(|index| index.remove_unnamed(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BytesContent, Sink as _, Source as _, Target as _};
    use crate::copy::Listing as _;
    use crate::oci::{Descriptor, MediaType};

    #[test]
    fn a_kept_layout_is_one_from_the_start_and_keeps_what_nothing_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made.oci");
        let one = Descriptor::of(MediaType::LAYER, b"one");
        let two = Descriptor::of(MediaType::LAYER, b"two");
        let layout = Layout::open_or_create(&path).unwrap();
        layout.keep().unwrap();
        assert!(Layout::open(&path).unwrap().names().unwrap().is_empty());
        layout.push(&one, &BytesContent::new(*b"one")).unwrap();
        fs::write(path.join(".part"), b"two").unwrap();
        layout.adopt(&path.join(".part"), &two.digest).unwrap();
        drop(layout);
        let layout = Layout::open(&path).unwrap();
        assert!(layout.exists(&one).unwrap() && layout.exists(&two).unwrap());
    }

    #[test]
    fn a_name_is_taken_away_and_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let one = Descriptor::of(MediaType::MANIFEST, b"{}");
        layout.push(&one, &BytesContent::new(*b"{}")).unwrap();
        layout.tag(&one, "a").unwrap();
        layout.tag(&one, "b").unwrap();
        assert!(layout.untag("a").unwrap());
        assert!(!layout.untag("a").unwrap());
        assert_eq!(layout.names().unwrap(), ["b"]);
        assert!(layout.exists(&one).unwrap());
    }

    #[test]
    fn what_has_no_name_is_taken_out_alone() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let one = Descriptor::of(MediaType::MANIFEST, b"{}");
        layout.push(&one, &BytesContent::new(*b"{}")).unwrap();
        layout.list(&one).unwrap();
        layout.tag(&one, "a").unwrap();
        assert_eq!(layout.descriptors().unwrap().len(), 2);
        layout.unlist(&one.digest).unwrap();
        assert_eq!((layout.descriptors().unwrap().len(), layout.names().unwrap().len()), (1, 1));
    }
}
