//! Blobs that are files, `ALGORITHM/HEX` below a directory: what a store and a layout share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::blob::{BlobError, Content, FileContent, Source};
use crate::digest::Digest;
use crate::oci::{Descriptor, ImageLayout};

/// The directory `blobs` below this one.
pub(crate) struct BlobFiles<'a>(pub(crate) &'a Path);

impl BlobFiles<'_> {
    /// Returns the file that holds a blob, or would.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(ImageLayout::BLOBS).join(digest.algorithm()).join(digest.hex())
    }

    /// Tells whether there is a file of the blob's size.
    pub(crate) fn has(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let path = self.path(&descriptor.digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == descriptor.size),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(BlobError::File { action: "read", path, source }),
        }
    }

    /// Returns what [`Source::fetch`] of the place is to return.
    pub(crate) fn fetch(
        &self,
        descriptor: &Descriptor,
        place: &dyn Source,
    ) -> Result<Box<dyn Content>, BlobError> {
        if self.has(descriptor)? {
            return Ok(Box::new(FileContent::new(self.path(&descriptor.digest), descriptor.clone())));
        }
        Err(BlobError::Missing { digest: descriptor.digest, place: place.place() })
    }
}
