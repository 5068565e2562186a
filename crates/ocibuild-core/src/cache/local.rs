//! Records in a directory: `records/v1/XX/KEY.json`, each written under a temporary name and
//! renamed. A record's time of modification is that of its last use.
//!
//! A file holds the record and a digest of it. A blob is verified when it is read, but a record is
//! believed: one flipped bit in a `diff_id` would be an image that nobody can start. So nothing waits
//! for the disk, either: a record that a lost disk cache took the bytes of is none.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::cache::{CacheError, Record, RecordStore, sealed};
use crate::files::note_use;
use crate::key::Key;
use crate::oci::to_json;
use crate::own;

/// Records in a directory, which many processes may share.
#[derive(Debug, Clone)]
pub struct LocalRecords {
    root: PathBuf,
    is_read_only: bool,
}

impl LocalRecords {
    /// Opens the records in a directory, which is made when the first is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_read_only: false }
    }

    /// Opens the records in a directory, which stays as it is: what is put there is not kept.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_read_only: true }
    }

    fn path(&self, key: &Key) -> PathBuf {
        let hex = key.hex();
        self.root.join("records").join("v1").join(&hex[..2]).join(format!("{hex}.json"))
    }
}

/// What a record is called where it is sealed.
const SEALED: &str = "record";

/// Reads the record of a key out of the bytes of a file; none if they aren't as they were written.
pub(super) fn unseal(bytes: &[u8], key: &Key) -> Option<Record> {
    let record = sealed::unseal(SEALED, bytes)?;
    serde_json::from_slice::<Record>(record).ok().filter(|record| record.answers(key))
}

/// The largest record that is read, in bytes: one may hold a base's listing.
const MAX_RECORD: u64 = 16 << 20;

/// Of what is larger the beginning, which is no record.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    own::open_regular(path)?.take(MAX_RECORD).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl RecordStore for LocalRecords {
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        let path = self.path(key);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::File { action: "read", path, source }),
        };
        Ok(unseal(&bytes, key))
    }

    fn put(&self, record: &Record) -> Result<(), CacheError> {
        if self.is_read_only {
            return Ok(());
        }
        let path = self.path(&record.key);
        let written = own::replace(&self.root, &path, &sealed::seal(SEALED, &to_json(record)));
        written.map_err(|source| CacheError::File { action: "write", path, source })
    }

    fn used(&self, key: &Key) {
        if !self.is_read_only {
            note_use(&self.path(key));
        }
    }

    fn remove(&self, key: &Key) -> Result<(), CacheError> {
        if self.is_read_only {
            return Ok(());
        }
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::File { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cache::BuiltLayer;
    use crate::digest::{DiffId, Digest};
    use crate::key::KeyWriter;
    use crate::oci::{Descriptor, MediaType};

    fn record(key: Key) -> Record {
        let descriptor = Descriptor::of(MediaType::LAYER_GZIP, b"blob");
        Record {
            inspection: None,
            version: Record::VERSION,
            key,
            content: Some(key),
            layers: vec![BuiltLayer::new(descriptor, DiffId(Digest::of(b"tar")))],
            materials: Vec::new(),
            inventory: Some(Descriptor::of(MediaType::INVENTORY, b"inventory")),
            machines: BTreeSet::from(["amd64".to_owned()]),
            entries: 3,
            tar_size: 4096,
            is_trace: false,
        }
    }

    #[test]
    fn a_record_is_read_as_written_under_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let records = LocalRecords::new(directory.path().join("cache"));
        let (one, other) = (KeyWriter::new("one", 1).finish(), KeyWriter::new("other", 1).finish());
        assert_eq!(records.get(&one).unwrap(), None);
        records.put(&record(one)).unwrap();
        assert_eq!(records.get(&one).unwrap(), Some(record(one)));
        fs::create_dir_all(records.path(&other).parent().unwrap()).unwrap();
        fs::copy(records.path(&one), records.path(&other)).unwrap();
        assert_eq!(records.get(&other).unwrap(), None);
        records.remove(&one).unwrap();
        records.remove(&one).unwrap();
        assert_eq!(records.get(&one).unwrap(), None);
    }

    /// Reading a fifo would wait for ever.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_none_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let records = LocalRecords::new(directory.path());
        let key = KeyWriter::new("one", 1).finish();
        records.put(&record(key)).unwrap();
        fs::remove_file(records.path(&key)).unwrap();
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, records.path(&key), fifo, mode, 0).unwrap();
        assert_eq!(records.get(&key).unwrap(), None);
        records.put(&record(key)).unwrap();
        assert_eq!(records.get(&key).unwrap(), Some(record(key)));
    }

    #[test]
    fn a_damaged_record_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let records = LocalRecords::new(directory.path());
        let key = KeyWriter::new("one", 1).finish();
        records.put(&record(key)).unwrap();
        let bytes = fs::read(records.path(&key)).unwrap();
        let is_none = |damage: &[u8]| {
            fs::write(records.path(&key), damage).unwrap();
            let shown = String::from_utf8_lossy(damage);
            assert_eq!(records.get(&key).unwrap(), None, "{shown}");
        };
        for damage in ["", "{", "{\"version\":2}", "\u{0}\u{0}"] {
            is_none(damage.as_bytes());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                is_none(&damaged);
            }
            is_none(&bytes[..at]);
        }
        is_none(&[&bytes[..], b"\n"].concat());
        // Without its digest, as an earlier version wrote it.
        is_none(&to_json(&record(key)));
        records.put(&record(key)).unwrap();
        assert!(records.get(&key).unwrap().is_some());
    }
}
