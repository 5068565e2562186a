//! What a store is told of a build, and how stores are named to a builder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ocibuild_core::Cancel;
use ocibuild_core::blob::{BlobError, Sink as _, Source};
use ocibuild_core::cache::{CacheError, CacheStore, Kept, Record, RecordSink, Stores};
use ocibuild_core::event::Transfer;

use crate::access::Access;
use crate::address::AddressError;
use crate::store::{ObjectStore, StoreError};

impl RecordSink for ObjectStore {
    fn place(&self) -> String {
        self.name()
    }

    /// Each record is an object of its own, so that of several that write at once none takes away what
    /// another wrote. How much is kept, the store decides: by its rules of lifecycle, or by what it
    /// evicts.
    fn keep(
        &self,
        records: &[Record],
        blobs: Option<&dyn Source>,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        let mut kept = Kept::default();
        for record in records {
            cancel.check()?;
            if self.0.has_failed() {
                break;
            }
            let known = match self.look(&record.key) {
                Ok(known) => known,
                Err(StoreError::Damaged { .. }) => None,
                Err(fault) => return Err(self.fault(fault)),
            };
            let has_blobs = match blobs {
                Some(source) => self.keep_blobs(record, source, &mut kept)?,
                None => false,
            };
            let record = if has_blobs { record.clone() } else { without_inventory(record) };
            if !known.is_some_and(|(known, blobs)| says_all(&known, blobs, &record, has_blobs)) {
                self.write(&record, has_blobs).map_err(|fault| self.fault(fault))?;
                kept.records += 1;
            }
        }
        Ok(kept)
    }
}

/// Whether what is known under a key needn't be written again.
fn says_all(known: &Record, known_blobs: bool, record: &Record, blobs: bool) -> bool {
    if record.is_listing() {
        let digest = |record: &Record| record.inventory.as_ref().map(|inventory| inventory.digest);
        return known.is_listing() && digest(known) == digest(record);
    }
    if blobs { known_blobs && known == record } else { without_inventory(known) == *record }
}

/// The inventory is a blob too: where blobs aren't, nobody could read it. What a base holds stands in
/// the record.
fn without_inventory(record: &Record) -> Record {
    let mut record = record.clone();
    if record.is_listing() && record.kept().next().is_none() {
        return record;
    }
    (record.inventory, record.entries, record.tar_size) = (None, 0, 0);
    record
}

impl ObjectStore {
    /// Sends what the store lacks of a record's blobs; `false` if one can't be had.
    fn keep_blobs(&self, record: &Record, source: &dyn Source, kept: &mut Kept) -> Result<bool, CacheError> {
        let fault = |fault: BlobError| match fault {
            BlobError::Cancelled(cancelled) => cancelled.into(),
            fault => CacheError::Place { place: self.name(), source: Box::new(fault) },
        };
        // A layer that another place answered for has no inventory here, and needs none.
        let wanted: Vec<_> = record.kept().cloned().collect();
        for blob in self.missing(&wanted).map_err(fault)? {
            let sent = source.fetch(&blob).and_then(|content| self.push(&blob, &*content));
            match sent {
                Ok(Transfer::Present) => {}
                Ok(_) => kept.add(blob.size),
                Err(absence) if absence.is_absence() => return Ok(false),
                Err(other) => return Err(fault(other)),
            }
        }
        Ok(!self.0.has_failed())
    }
}

/// Object stores by their addresses. One that is read and written is one, and so it is for clones:
/// what is damaged in it is known to whoever writes it.
#[derive(Debug, Clone)]
pub struct ObjectStores {
    access: Access,
    opened: Arc<Mutex<BTreeMap<String, ObjectStore>>>,
}

impl ObjectStores {
    /// Reaches stores in one way.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access, opened: Arc::default() }
    }

    fn store(&self, address: &str) -> Result<ObjectStore, AddressError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(address) {
            return Ok(store.clone());
        }
        let store = ObjectStore::new(&address.parse()?, &self.access);
        opened.insert(address.to_owned(), store.clone());
        Ok(store)
    }
}

impl Stores for ObjectStores {
    fn open(&self, address: &str) -> Result<CacheStore, CacheError> {
        let store = self.store(address).map_err(|fault| CacheError::Place {
            place: "a cache beside the machine's".to_owned(),
            source: Box::new(fault),
        })?;
        let store = Arc::new(store);
        Ok(CacheStore { records: Arc::clone(&store) as _, blobs: Arc::clone(&store) as _, sink: store })
    }
}
