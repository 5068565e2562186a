//! Places that are told of what was built, so that others needn't build it.

use std::sync::Arc;

use crate::blob::{BlobError, Source};
use crate::cache::{CacheError, Record, RecordStore};
use crate::event::Cancel;
use crate::key::Key;

/// A place beside the machine's cache that takes records of a whole build at once, and with them
/// blobs, if it is given any.
pub trait RecordSink: Send + Sync {
    /// Names the place, for people.
    fn place(&self) -> String;

    /// Makes sure that the place answers as these records do, whoever else writes to it meanwhile:
    /// what others wrote stays. Where it has all of it already, nothing is written. How much a place
    /// keeps is bounded, and what was written least recently goes first.
    ///
    /// From `blobs` come the blobs of the layers and their inventories, where the place shall have
    /// them too. Without it, records alone are kept, and they name no inventory; but what a base holds
    /// stands in its record, and is kept either way. Of more than the place has room for, what comes
    /// first is kept.
    ///
    /// # Errors
    /// [`CacheError`]; what the place answered before it answers still.
    fn keep(
        &self,
        records: &[Record],
        blobs: Option<&dyn Source>,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError>;

    /// Keeps records as [`RecordSink::keep`] does with blobs. If anything is written then, what the place
    /// has with all its blobs under some other keys counts as written now as well, and so isn't the first
    /// to go: what was of no need in this run, but belongs to it. A place that drops nothing by itself does
    /// as without these keys.
    ///
    /// # Errors
    /// As [`RecordSink::keep`].
    fn keep_beside(
        &self,
        records: &[Record],
        others: &[Key],
        blobs: &dyn Source,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        let _ = others;
        self.keep(records, Some(blobs), cancel)
    }
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// The number of records that the place was told.
    pub told: u64,
    /// The number of records that the place didn't have, or that said something else there.
    pub records: u64,
    /// The number of blobs that were sent for them.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of records that aren't kept, or without their blobs, because the place has no room for
    /// all that it was told at once.
    pub left_out: u64,
}

impl Kept {
    /// Counts a blob that was sent.
    pub fn add(&mut self, size: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

/// A place of records of a kind that the core doesn't know, opened.
#[derive(Clone)]
pub struct CacheStore {
    /// What it answers.
    pub records: Arc<dyn RecordStore>,
    /// The blobs that it has itself: none where it was only given records.
    pub blobs: Arc<dyn Source>,
    /// What it is told.
    pub sink: Arc<dyn RecordSink>,
}

/// Opens places of records by their address: `redis://host/prefix`.
pub trait Stores: Send + Sync {
    /// Opens one. It need not be reached yet: what can't be is found when it is asked.
    ///
    /// # Errors
    /// [`CacheError`] if there is no such kind of place, or it can't be meant.
    fn open(&self, address: &str) -> Result<CacheStore, CacheError>;
}

/// Knows of none.
impl Stores for () {
    fn open(&self, address: &str) -> Result<CacheStore, CacheError> {
        Err(CacheError::UnknownKind { place: address.to_owned() })
    }
}

/// A place that failed.
pub(crate) fn unusable(place: impl Into<String>, fault: BlobError) -> CacheError {
    match fault {
        BlobError::Cancelled(cancelled) => cancelled.into(),
        fault => CacheError::Place { place: place.into(), source: Box::new(fault) },
    }
}
