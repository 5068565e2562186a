//! Places that said they had what they haven't.
//!
//! That shows when the manifest above isn't taken. The place no longer believes itself by then
//! ([`PlaceFault::Lacking`]), so what is below is pushed once more, and then the manifest, once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::blob::{BlobError, Content, PlaceFault, Sink, Source, read_whole};
use crate::copy::graph::{MAX_DEPTH, children, corrupt, is_foreign, plain};
use crate::copy::transfer::Outbox;
use crate::digest::Digest;
use crate::event::Transfer;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE};

/// From where to where is copied.
pub(super) struct Way<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    /// What was counted as being there, and wasn't sent yet.
    presumed: Mutex<BTreeSet<Digest>>,
}

impl<'a> Way<'a> {
    pub(super) fn new(source: &'a dyn Source, sink: &'a dyn Sink, present: &[Descriptor]) -> Self {
        let presumed = present.iter().map(|descriptor| descriptor.digest).collect();
        Self { source, sink, presumed: Mutex::new(presumed) }
    }

    /// Pushes; if the place lacks what is below, that first.
    pub(super) fn push(
        &self,
        descriptor: &Descriptor,
        content: &dyn Content,
        outbox: &Outbox,
    ) -> Result<Transfer, BlobError> {
        self.mending(descriptor, outbox, 0, &|| outbox.push(descriptor, content, self.sink))
    }

    fn push_again(
        &self,
        descriptor: &Descriptor,
        outbox: &Outbox,
        depth: usize,
    ) -> Result<Transfer, BlobError> {
        let content = self.source.fetch(descriptor)?;
        self.mending(descriptor, outbox, depth, &|| {
            outbox.push_again(descriptor, &*content, self.sink, &|| self.is_presumed(descriptor))
        })
    }

    fn mending(
        &self,
        descriptor: &Descriptor,
        outbox: &Outbox,
        depth: usize,
        push: &dyn Fn() -> Result<Transfer, BlobError>,
    ) -> Result<Transfer, BlobError> {
        match push() {
            Err(BlobError::Place { fault: PlaceFault::Lacking, .. }) if depth < MAX_DEPTH => {
                self.push_below(descriptor, outbox, depth + 1)?;
                push()
            }
            result => result,
        }
    }

    fn push_below(&self, descriptor: &Descriptor, outbox: &Outbox, depth: usize) -> Result<(), BlobError> {
        let bytes = read_whole(self.source, descriptor, MAX_MANIFEST_SIZE)?;
        let below = children(&descriptor.media_type, &bytes);
        for child in below.map_err(|error| corrupt(descriptor.digest, error))? {
            outbox.check()?;
            if !is_foreign(&child, self.source)? {
                self.push_again(&plain(&child), outbox, depth)?;
            }
        }
        Ok(())
    }

    /// Tells, once, whether it was counted as being there.
    fn is_presumed(&self, descriptor: &Descriptor) -> bool {
        self.presumed.lock().unwrap_or_else(PoisonError::into_inner).remove(&descriptor.digest)
    }
}
