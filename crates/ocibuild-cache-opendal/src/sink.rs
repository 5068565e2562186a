//! What a store is told of a build, and how stores are named to a builder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ocibuild_core::blob::{BlobError, Sink as _, Source, many};
use ocibuild_core::cache::{CacheError, CacheStore, Kept, Record, RecordSink, Stores};
use ocibuild_core::event::Transfer;
use ocibuild_core::{Cancel, Descriptor, Digest};

use crate::access::Access;
use crate::address::AddressError;
use crate::store::{ObjectStore, StoreError};
use crate::{AT_ONCE, LARGE_AT_ONCE, SMALL};

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
        let known = many(records, AT_ONCE, |record| {
            cancel.check()?;
            self.known(record)
        })?;
        let mut kept = Kept::default();
        let lacking = blobs.map(|source| self.send_blobs(records, source, &mut kept, cancel)).transpose()?;
        let told = records.iter().map(|record| told(record, lacking.as_ref())).zip(known);
        let news: Vec<(Record, bool)> = told
            .filter(|((record, has_blobs), known)| {
                let says_all = |(known, blobs): &(Record, bool)| {
                    let has_enough = *blobs || !has_blobs || record.is_listing();
                    has_enough && known.says_all_of(record, *has_blobs)
                };
                !known.as_ref().is_some_and(says_all)
            })
            .map(|(news, _)| news)
            .collect();
        let written = many(&news, AT_ONCE, |(record, has_blobs)| {
            cancel.check()?;
            if self.0.has_failed() {
                return Ok(0);
            }
            self.write(record, *has_blobs).map(|()| 1).map_err(|fault| self.fault(fault))
        })?;
        kept.records = written.into_iter().sum();
        Ok(kept)
    }
}

/// What a store is told of a record, and whether it has the blobs that are named there: of those that
/// it should have, these couldn't be had; or it should have none.
fn told(record: &Record, lacking: Option<&BTreeSet<Digest>>) -> (Record, bool) {
    let Some(lacking) = lacking else { return (record.without_inventory(), false) };
    if lacks_layers(record, lacking) {
        return (record.without_inventory(), false);
    }
    let lacks_inventory = record.kept().any(|blob| lacking.contains(&blob.digest));
    // A layer without the list of what it holds is still one.
    (if lacks_inventory { record.without_inventory() } else { record.clone() }, true)
}

/// Whether a record's layers can't all be had; of a base, its listing.
fn lacks_layers(record: &Record, lacking: &BTreeSet<Digest>) -> bool {
    let inventory = record.inventory.as_ref().filter(|_| !record.is_listing());
    let inventory = inventory.map(|inventory| inventory.digest);
    record.kept().any(|blob| Some(blob.digest) != inventory && lacking.contains(&blob.digest))
}

impl ObjectStore {
    fn known(&self, record: &Record) -> Result<Option<(Record, bool)>, CacheError> {
        if self.0.has_failed() {
            return Ok(None);
        }
        match self.look(&record.key) {
            // It is mended here.
            Err(StoreError::Damaged { .. }) => Ok(None),
            known => known.map_err(|fault| self.fault(fault)),
        }
    }

    /// Sends what the store lacks of the blobs of records, unless layers of a record can't be had:
    /// then it needn't have the others. Returns which couldn't be had.
    fn send_blobs(
        &self,
        records: &[Record],
        source: &dyn Source,
        kept: &mut Kept,
        cancel: &Cancel,
    ) -> Result<BTreeSet<Digest>, CacheError> {
        let all: BTreeMap<Digest, &Descriptor> =
            records.iter().flat_map(Record::kept).map(|blob| (blob.digest, blob)).collect();
        let all: Vec<Descriptor> = all.into_values().cloned().collect();
        let missing = self.missing(&all).map_err(|fault| self.unsent(fault))?;
        let contents = many(&missing, AT_ONCE, |blob| {
            cancel.check()?;
            there(source.fetch(blob)).map_err(|fault| self.unsent(fault))
        })?;
        let (mut found, mut lacking) = (Vec::new(), BTreeSet::new());
        for (blob, content) in missing.iter().zip(contents) {
            match content {
                Some(content) => found.push((blob, content)),
                None => drop(lacking.insert(blob.digest)),
            }
        }
        let whole = records.iter().filter(|record| !lacks_layers(record, &lacking));
        let wanted: BTreeSet<Digest> = whole.flat_map(Record::kept).map(|blob| blob.digest).collect();
        found.retain(|(blob, _)| wanted.contains(&blob.digest));
        let (small, large): (Vec<_>, Vec<_>) = found.into_iter().partition(|(blob, _)| blob.size <= SMALL);
        for (blobs, at_once) in [(small, AT_ONCE), (large, LARGE_AT_ONCE)] {
            let sent = many(&blobs, at_once, |(blob, content)| {
                cancel.check()?;
                there(self.push(blob, &**content)).map_err(|fault| self.unsent(fault))
            })?;
            for ((blob, _), sent) in blobs.iter().zip(sent) {
                match sent {
                    Some(Transfer::Present) => {}
                    Some(_) => kept.add(blob.size),
                    None => drop(lacking.insert(blob.digest)),
                }
            }
        }
        Ok(lacking)
    }

    fn unsent(&self, fault: BlobError) -> CacheError {
        match fault {
            BlobError::Cancelled(cancelled) => cancelled.into(),
            fault => CacheError::Place { place: self.name(), source: Box::new(fault) },
        }
    }
}

/// What isn't there is none.
fn there<T>(result: Result<T, BlobError>) -> Result<Option<T>, BlobError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.is_absence() => Ok(None),
        Err(fault) => Err(fault),
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
