//! What was learned of files when they were last read, so that unchanged ones needn't be read again.
//!
//! An entry is believed if the file at its path is still the same by device, inode, size and both
//! times. What that can miss is a change within the grain of the file system's clock, right after
//! the file was read. So, as git does with its index, nothing is kept of a file whose times aren't
//! clearly before the moment at which the cache began to look: whatever changes it after that gets
//! a later time. That moment is taken from the clock that files have their times from, by writing a
//! file.
//!
//! Where a file system keeps no times of changes, as in an image that is only read, both times are made up
//! and the same, and another image in its place may have them again: of files whose times are equal and
//! have no fraction, nothing is kept either.
//!
//! Each layer has a file of its own, `stat/v1/NAME`, named by a digest of the tree's path and of the
//! layer's label: a head with what was noted of all files together, and rows of one length, one a file,
//! in the order of hashed paths. Both end with a digest, and rows are read only if one is asked for: in
//! one go, and searched where they lie. A row is found by 128 bits of the BLAKE3 digest of the path.
//! Should two paths have the same, one of them isn't kept; neither can be taken for the other, as that is
//! decided by device, inode, size and times.
//!
//! The file is written beside and renamed. Several processes may do so: the last one's stays, and
//! what the others learned is read again some day. One that is damaged, or another tree's, or of a
//! time to come (somebody set the clock back) is none.

mod head;
mod rows;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::UNIX_EPOCH;

use crate::files::{Metadata, note_use};
use crate::own;
use head::{CHECKSUM, Head, Note, newest};
use rows::{Row, Table, nanoseconds};

/// The directories of caches of trees, below that of the whole cache.
pub const STAT_DIRECTORY: [&str; 2] = ["stat", "v1"];

/// By how much a file must be older than the moment, in nanoseconds: where its times have fractions
/// of a second, more than the ticks in which systems count; else more than the two seconds that the
/// coarsest file systems count in.
const FINE: i64 = 100_000_000;
const COARSE: i64 = 3_000_000_000;

/// What was learned of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// The digest of its content.
    pub content: [u8; 32],
    /// Whatever else was worth a note, to whoever reads it.
    pub notes: [u8; 6],
}

/// What is known of the files of a tree that go by one label. Nothing about it is ever a fault: what
/// can't be read or written is as if it weren't there.
#[derive(Debug)]
pub struct StatCache {
    cache: PathBuf,
    name: [u8; 32],
    is_read_only: bool,
    started: OnceLock<Started>,
    learned: Mutex<Vec<(Row, u64)>>,
    notes: Mutex<Vec<Note>>,
}

#[derive(Debug)]
struct Started {
    /// The moment, in nanoseconds; without, nothing is learned.
    moment: Option<i64>,
    head: Head,
    /// Where the rows are read from.
    rest: Mutex<Option<File>>,
    table: OnceLock<Table>,
    /// Whether there is a file whose head is of no use: another takes its place.
    is_damaged: bool,
}

impl StatCache {
    /// Names what is known of the tree at `root`, a path without links, in a cache's directory.
    /// Nothing is read yet.
    pub fn new(cache: impl Into<PathBuf>, root: &Path) -> Self {
        Self::named(cache.into(), blake3::hash(root.as_os_str().as_encoded_bytes()))
    }

    /// The same of a cache that stays as it is: nothing is learned.
    pub fn read_only(cache: impl Into<PathBuf>, root: &Path) -> Self {
        Self { is_read_only: true, ..Self::new(cache, root) }
    }

    /// Names what is known of those of the tree's files that go by a label, a layer's. Nothing is read yet.
    #[must_use]
    pub fn of(&self, label: &str) -> Self {
        let named = Self::named(self.cache.clone(), blake3::keyed_hash(&self.name, label.as_bytes()));
        Self { is_read_only: self.is_read_only, ..named }
    }

    fn named(cache: PathBuf, name: blake3::Hash) -> Self {
        let (learned, notes) = (Mutex::default(), Mutex::default());
        let name = *name.as_bytes();
        Self { cache, name, is_read_only: false, started: OnceLock::new(), learned, notes }
    }

    /// Takes the moment, and reads what was noted, unless that was done already. Comes before the
    /// first look at any file that is asked for or learned.
    pub fn start(&self) {
        self.started.get_or_init(|| {
            // Only a file that is written tells the time there; without it, nothing is learned.
            let moment = if self.is_read_only { None } else { now(&self.cache).ok() };
            let path = self.path();
            let read = Head::read(&path, &self.name);
            // A clock that went back could come by the same time again.
            let is_sound = |head: &Head| moment.is_none_or(|moment| head.moment <= moment);
            let (head, rest) = read.filter(|(head, _)| is_sound(head)).unzip();
            let is_damaged = head.is_none() && path.exists();
            let (head, rest) = (head.unwrap_or_default(), Mutex::new(rest));
            Started { moment, head, rest, table: OnceLock::new(), is_damaged }
        });
    }

    /// Tells whether a file's times are so far before the moment that no change of it after that
    /// can leave them as they are; not of times that look as if they were made up.
    pub fn is_settled(&self, seen: &Metadata) -> bool {
        let moment = self.started.get().and_then(|started| started.moment);
        let times = nanoseconds(seen.mtime).zip(nanoseconds(seen.ctime));
        let (Some(moment), Some((mtime, ctime))) = (moment, times) else { return false };
        if mtime == ctime && seen.ctime.nanoseconds == 0 {
            return false;
        }
        let margin = if seen.ctime.nanoseconds == 0 { COARSE } else { FINE };
        mtime.max(ctime) < moment.saturating_sub(margin)
    }

    /// Returns the note that was made of something.
    pub fn recall(&self, of: &[u8; 32]) -> Option<Vec<u8>> {
        let notes = &self.started.get()?.head.notes;
        notes.iter().find(|(known, _)| known == of).map(|(_, note)| note.clone())
    }

    /// Keeps a note, for whoever comes by the same again. What it is made of must tell apart all
    /// that it depends on, and be of nothing that isn't [settled](Self::is_settled).
    pub fn keep(&self, of: [u8; 32], note: Vec<u8>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((of, note));
    }

    /// Returns what is known of a file that is as it was `seen`.
    pub fn get(&self, path: &[u8], seen: &Metadata) -> Option<Learned> {
        self.started.get()?.table().find(path, seen)
    }

    /// Keeps what was learned of a file by reading it after it was `seen`, while it stayed so. What
    /// may change once more without a trace is not kept.
    pub fn learn(&self, path: &[u8], seen: &Metadata, learned: Learned) {
        let Some(row) = self.is_settled(seen).then(|| rows::row(path, seen, learned)).flatten() else {
            return;
        };
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).push((row, seen.id.device));
    }

    /// Writes what was learned, together with what was known; if nothing was learned and nothing is
    /// damaged, only notes that what is known was of use.
    ///
    /// # Errors
    /// Whatever writing meets; what was there before is there still.
    pub fn save(&self) -> io::Result<()> {
        let learned = std::mem::take(&mut *self.learned.lock().unwrap_or_else(PoisonError::into_inner));
        let notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        let is_new = |started: &&Started| started.is_damaged() || !learned.is_empty() || !notes.is_empty();
        let started = self.started.get().filter(is_new);
        if started.is_none() && !self.is_read_only && self.started.get().is_some() {
            note_use(&self.path());
        }
        let Some((started, moment)) = started.and_then(|started| Some((started, started.moment?))) else {
            return Ok(());
        };
        if now(&self.cache)? < moment {
            // The clock went back meanwhile: who knows when files were written.
            return Ok(());
        }
        own::replace(&self.cache, &self.path(), &started.merged((learned, notes), (&self.name, moment)))
    }

    fn path(&self) -> PathBuf {
        let [directory, version] = STAT_DIRECTORY;
        let name = &blake3::Hash::from_bytes(self.name).to_hex()[..32];
        self.cache.join(directory).join(version).join(name)
    }

    /// Tells whether a file of the directory is whole: its digests are those of the rest.
    ///
    /// # Errors
    /// Whatever reading it meets.
    pub fn is_whole(path: &Path) -> io::Result<bool> {
        let mut file = own::open_regular(path)?;
        Ok(Head::parse(&mut file)?.is_some_and(|head| Table::read(&head, &mut file).is_some()))
    }
}

impl Started {
    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            let file = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut file) = file else { return Table::default() };
            Table::read(&self.head, &mut file).unwrap_or_else(Table::damaged)
        })
    }

    /// Puts a file together: what was learned goes over what was known.
    fn merged(
        &self,
        (learned, mut notes): (Vec<(Row, u64)>, Vec<Note>),
        (name, moment): (&[u8; 32], i64),
    ) -> Vec<u8> {
        // The last that was learned of a path comes first, and what was known of it after that.
        let (rows, devices) = rows::merged(learned.into_iter().rev().chain(self.table().aged()));
        notes.reverse();
        notes.extend(self.head.notes.iter().cloned());
        let notes = newest(notes);
        let head = Head { name: *name, moment, devices, notes, rows: rows.len(), checksum: [0; CHECKSUM] };
        let mut bytes = head.bytes();
        let (_, sum) = bytes.split_last_chunk::<CHECKSUM>().expect("a head ends with its digest");
        let (at, sum) = (bytes.len(), *sum);
        bytes.reserve(rows.len() * rows::LENGTH + CHECKSUM);
        rows.iter().for_each(|row| bytes.extend_from_slice(row));
        let sum = rows::checksum(&sum, &bytes[at..]);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// Tells whether what was read of the file is of no use.
    fn is_damaged(&self) -> bool {
        self.is_damaged || self.table.get().is_some_and(|table| table.is_damaged)
    }
}

/// What time it is by the clock of the file system that the cache is on: that of a file written there.
fn now(cache: &Path) -> io::Result<i64> {
    let written = own::beside(cache)?.as_file().metadata()?.modified()?;
    let since = written.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    i64::try_from(since.as_nanos()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
