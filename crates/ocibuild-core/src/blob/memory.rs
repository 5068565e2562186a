//! Blobs in memory: configs and manifests of a build, and everything in tests.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{BlobError, BytesContent, Content, Sink, Source, Target, read_fault};
use crate::digest::{Digest, VerifyingReader};
use crate::event::Transfer;
use crate::oci::{Descriptor, MediaType};

/// A content-addressed store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    names: BTreeMap<String, Descriptor>,
}

impl Memory {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes in and describes them.
    pub fn insert(&self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.state().blobs.insert(descriptor.digest, bytes.into());
        descriptor
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.state().blobs.contains_key(&descriptor.digest))
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let digest = descriptor.digest;
        match self.state().blobs.get(&digest) {
            Some(bytes) => Ok(Box::new(BytesContent::new(Arc::clone(bytes)))),
            None => Err(BlobError::Missing { digest, place: Source::place(self) }),
        }
    }
}

impl Sink for Memory {
    fn place(&self) -> String {
        Source::place(self)
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let state = self.state();
        Ok(descriptors.iter().filter(|one| !state.blobs.contains_key(&one.digest)).cloned().collect())
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        let digest = descriptor.digest;
        if self.exists(descriptor)? {
            return Ok(Transfer::Present);
        }
        let mut bytes = Vec::new();
        content
            .open(0)
            .and_then(|reader| VerifyingReader::new(reader, digest, descriptor.size).read_to_end(&mut bytes))
            .map_err(|source| read_fault(digest, source))?;
        self.state().blobs.insert(digest, bytes.into());
        Ok(Transfer::Sent)
    }
}

impl Target for Memory {
    fn resolve(&self, name: &str) -> Result<Descriptor, BlobError> {
        let unknown = || BlobError::UnknownName { name: name.to_owned(), place: Source::place(self) };
        self.state().names.get(name).cloned().ok_or_else(unknown)
    }

    fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError> {
        self.state().names.insert(name.to_owned(), descriptor.clone());
        Ok(())
    }
}
