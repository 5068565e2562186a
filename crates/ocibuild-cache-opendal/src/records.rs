//! Records in a store: each an object, with the digest of its bytes, as no store is asked to find
//! damage by itself.

use ocibuild_core::cache::{CacheError, Record, RecordStore, seal, unseal};
use ocibuild_core::key::Key;
use ocibuild_core::oci::to_json;
use opendal_core::{Buffer, Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::store::{ObjectStore, QUESTION, StoreError};

/// The largest record that is read or written, in bytes: one may hold a base's listing.
const MAX_RECORD: u64 = 16 << 20;

/// What an object is called where it is sealed.
const SEALED: &str = "kept";

/// What lies in the store.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Whether the record's blobs were put there too.
    blobs: bool,
    record: Record,
}

pub(crate) fn path(key: &Key) -> String {
    let hex = key.hex();
    format!("v1/records/{}/{hex}.json", &hex[..2])
}

pub(crate) fn encode(record: &Record, blobs: bool) -> Vec<u8> {
    seal(SEALED, &to_json(&Kept { blobs, record: record.clone() }))
}

/// Reads a record; the error says what is wrong with it.
fn decode(bytes: &[u8], key: &Key) -> Result<(Record, bool), String> {
    let kept = unseal(SEALED, bytes).ok_or("its bytes aren't those that were written")?;
    let Kept { blobs, record } = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
    if record.key != *key {
        return Err("it answers another key".to_owned());
    }
    Ok((record, blobs))
}

impl ObjectStore {
    pub(crate) fn fault(&self, fault: StoreError) -> CacheError {
        match fault {
            StoreError::Cancelled(cancelled) => cancelled.into(),
            fault @ StoreError::Damaged { .. } => {
                CacheError::Damaged { place: self.name(), source: Box::new(fault) }
            }
            fault => CacheError::Place { place: self.name(), source: Box::new(fault) },
        }
    }

    /// Reads what the store has under a key, if it isn't known yet.
    pub(crate) fn look(&self, key: &Key) -> Result<Option<(Record, bool)>, StoreError> {
        if let Some(known) = self.0.state().records.get(key) {
            return Ok(Some(known.clone()));
        }
        let path = path(key);
        let own = path.clone();
        let read = |operator: opendal_core::Operator| async move {
            // Where requests are, they bound what comes; a server on the same network is asked first.
            let size = match operator.info().capability().write_can_multi {
                true => 0,
                false => operator.stat(&own).await?.content_length(),
            };
            let bytes = match size {
                0..=MAX_RECORD => operator.read(&own).await?,
                _ => Buffer::new(),
            };
            match size.max(bytes.len() as u64) {
                0..=MAX_RECORD => Ok(Ok(bytes)),
                size => Ok(Err(format!("it has {size} bytes, over the limit of {MAX_RECORD}"))),
            }
        };
        let Some(read) = self.0.ask(QUESTION, read)? else { return Ok(None) };
        let read = read.and_then(|bytes: Buffer| decode(&bytes.to_bytes(), key));
        let (record, blobs) = read.map_err(|reason| StoreError::Damaged { path, reason })?;
        // Another version's is none, and no damage.
        if record.version != Record::VERSION {
            return Ok(None);
        }
        let mut state = self.0.state();
        if blobs {
            state.said.extend(record.kept().map(|blob| blob.digest));
        }
        state.records.insert(*key, (record.clone(), blobs));
        Ok(Some((record, blobs)))
    }

    /// Writes a record; `blobs` says that those it names are there.
    pub(crate) fn write(&self, record: &Record, blobs: bool) -> Result<(), StoreError> {
        let bytes = encode(record, blobs);
        let path = path(&record.key);
        if bytes.len() as u64 > MAX_RECORD {
            return Ok(());
        }
        let write = |operator: opendal_core::Operator| async move {
            match operator.write(&path, bytes).await {
                Ok(_) => Ok(()),
                Err(error) if is_there(&error) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.0.demand(QUESTION, write)?;
        let mut state = self.0.state();
        state.told.remove(&record.key);
        state.records.insert(record.key, (record.clone(), blobs));
        Ok(())
    }
}

/// What GitHub has it never writes again, whoever was first.
pub(crate) fn is_there(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch)
}

impl RecordStore for ObjectStore {
    /// Fails once where the store can't be used, and once for each record that is damaged; asked
    /// again, there is none.
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        if self.0.has_failed() {
            return Ok(None);
        }
        match self.look(key) {
            Ok(found) => Ok(found.map(|(record, _)| record)),
            Err(StoreError::Damaged { .. }) if !self.0.state().told.insert(*key) => Ok(None),
            Err(fault) => self.0.untold(fault).map_or(Ok(None), |fault| Err(self.fault(fault))),
        }
    }

    /// Keeps a record, without its blobs.
    fn put(&self, record: &Record) -> Result<(), CacheError> {
        if self.0.has_failed() {
            return Ok(());
        }
        self.write(record, false).map_err(|fault| self.fault(fault))
    }

    /// Where nothing can be removed, as at GitHub, it is just not answered with in this run.
    fn remove(&self, key: &Key) -> Result<(), CacheError> {
        self.0.state().records.remove(key);
        if self.0.has_failed() {
            return Ok(());
        }
        let path = path(key);
        let delete = |operator: opendal_core::Operator| async move {
            match operator.delete(&path).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
                done => done,
            }
        };
        self.0.ask(QUESTION, delete).map_err(|fault| self.fault(fault))?;
        Ok(())
    }
}
