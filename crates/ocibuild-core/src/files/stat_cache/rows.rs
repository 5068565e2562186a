//! What is known of files: rows of one length, one a file, in the order of hashed paths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::slice::ParallelSliceMut as _;

use crate::files::stat_cache::Learned;
use crate::files::stat_cache::head::{CHECKSUM, Head};
use crate::files::{Metadata, Timestamp};

/// The length of a row, and of its key, which is the beginning.
pub(super) const LENGTH: usize = 88;
const KEY: usize = 16;

/// Where a row has what: key, device (its place among those named), age, notes, inode, size, mtime,
/// ctime, content.
const DEVICE: usize = 16;
const AGE: usize = 17;
const NOTES: usize = 18;
const INODE: usize = 24;
const SIZE: usize = 32;
const MTIME: usize = 40;
const CTIME: usize = 48;
const CONTENT: usize = 56;

/// The most rows, of altogether 256 MiB.
pub(super) const MAX: usize = (256 << 20) / LENGTH;

/// The most devices that are told apart.
pub(super) const MAX_DEVICES: usize = 256;

/// As often a row is written again without having been asked for: layers that weren't built this
/// time keep theirs for a while.
pub(super) const MAX_AGE: u8 = 16;

/// What is known of a file, but for the number of its device.
pub(super) type Row = [u8; LENGTH];

/// Makes a row of what was learned of a file; none of one whose times don't fit.
pub(super) fn row(path: &[u8], seen: &Metadata, learned: Learned) -> Option<Row> {
    let mut row = [0; LENGTH];
    row[..KEY].copy_from_slice(&key(path));
    row[NOTES..INODE].copy_from_slice(&learned.notes);
    row[INODE..SIZE].copy_from_slice(&seen.id.inode.to_le_bytes());
    row[SIZE..MTIME].copy_from_slice(&seen.size.to_le_bytes());
    row[MTIME..CTIME].copy_from_slice(&nanoseconds(seen.mtime)?.to_le_bytes());
    row[CTIME..CONTENT].copy_from_slice(&nanoseconds(seen.ctime)?.to_le_bytes());
    row[CONTENT..].copy_from_slice(&learned.content);
    Some(row)
}

/// Puts rows together, with their devices: of several of one path the first counts, and those that
/// nobody asked for in a long time are left out. Returns them in order, and the devices in the order of
/// the numbers that they have there: as the rows name only those that they are on, devices that are gone
/// go with their rows.
pub(super) fn merged(all: impl Iterator<Item = (Row, u64)>) -> (Vec<Row>, Vec<u64>) {
    let mut rows: Vec<(Row, u64)> = all.filter(|(row, _)| row[AGE] <= MAX_AGE).collect();
    rows.par_sort_by(|(one, _), (other, _)| one[..KEY].cmp(&other[..KEY]));
    rows.dedup_by(|(later, _), (first, _)| later[..KEY] == first[..KEY]);
    rows.truncate(MAX);
    let devices = devices(&rows);
    let numbers: BTreeMap<u64, u8> =
        devices.iter().zip(0..=u8::MAX).map(|(device, number)| (*device, number)).collect();
    let numbered = rows.into_iter().filter_map(|(mut row, device)| {
        row[DEVICE] = *numbers.get(&device)?;
        Some(row)
    });
    (numbered.collect(), devices)
}

/// The devices of rows, as many as have a number: those of the youngest.
fn devices(rows: &[(Row, u64)]) -> Vec<u64> {
    let mut ages: BTreeMap<u64, u8> = BTreeMap::new();
    for (row, device) in rows {
        let age = ages.entry(*device).or_insert(u8::MAX);
        *age = row[AGE].min(*age);
    }
    let mut devices: Vec<u64> = ages.keys().copied().collect();
    devices.sort_by_key(|device| ages[device]);
    devices.truncate(MAX_DEVICES);
    devices
}

/// The rows of a file, where they lie.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    devices: Vec<u64>,
    /// Where the rows begin whose keys have the same first two bytes; and the end.
    starts: Vec<u32>,
    /// Which rows were asked for, and held.
    used: Vec<AtomicBool>,
    /// Whether there were rows, but not as they were written.
    pub(super) is_damaged: bool,
}

impl Table {
    /// Reads the rows after a head.
    pub(super) fn read(head: &Head, file: &mut File) -> Option<Self> {
        let length = head.rows * LENGTH;
        let mut bytes = Vec::with_capacity(length + CHECKSUM + 1);
        file.take((length + CHECKSUM + 1) as u64).read_to_end(&mut bytes).ok()?;
        if bytes.len() != length + CHECKSUM || checksum(&head.checksum, &bytes[..length]) != bytes[length..] {
            return None;
        }
        let mut table = Self { bytes, devices: head.devices.clone(), ..Self::default() };
        table.starts = table.index(head.rows);
        table.used.resize_with(head.rows, AtomicBool::default);
        Some(table)
    }

    /// Where there were rows, but not as they were written.
    pub(super) fn damaged() -> Self {
        Self { is_damaged: true, ..Self::default() }
    }

    fn index(&self, count: usize) -> Vec<u32> {
        let mut starts = Vec::with_capacity((1 << 16) + 1);
        for place in 0..count {
            let bucket = bucket(self.row(place));
            starts.resize(starts.len().max(bucket + 1), place as u32);
        }
        starts.resize((1 << 16) + 1, count as u32);
        starts
    }

    /// Returns all rows with their devices, those that held when they were asked for as new, others older
    /// than they were.
    pub(super) fn aged(&self) -> impl Iterator<Item = (Row, u64)> {
        self.used.iter().enumerate().filter_map(|(place, used)| {
            let mut row: Row = self.row(place).try_into().expect("a row has its length");
            row[AGE] = if used.load(Ordering::Relaxed) { 0 } else { row[AGE].saturating_add(1) };
            Some((row, *self.devices.get(usize::from(row[DEVICE]))?))
        })
    }

    fn row(&self, place: usize) -> &[u8] {
        &self.bytes[place * LENGTH..][..LENGTH]
    }

    /// Returns what is known of a file that is as it was `seen`.
    pub(super) fn find(&self, path: &[u8], seen: &Metadata) -> Option<Learned> {
        let key = key(path);
        let bucket = bucket(&key);
        let places = *self.starts.get(bucket)? as usize..*self.starts.get(bucket + 1)? as usize;
        let place = places.into_iter().find(|place| self.row(*place)[..KEY] == key)?;
        let row = self.row(place);
        let is_same = self.devices.get(usize::from(row[DEVICE])) == Some(&seen.id.device)
            && row[INODE..SIZE] == seen.id.inode.to_le_bytes()
            && row[SIZE..MTIME] == seen.size.to_le_bytes()
            && row[MTIME..CTIME] == nanoseconds(seen.mtime)?.to_le_bytes()
            && row[CTIME..CONTENT] == nanoseconds(seen.ctime)?.to_le_bytes();
        if !is_same {
            return None;
        }
        self.used[place].store(true, Ordering::Relaxed);
        let content = row[CONTENT..].try_into().expect("a row ends with a digest");
        let notes = row[NOTES..INODE].try_into().expect("notes have their place");
        Some(Learned { content, notes })
    }
}

/// The digest of rows, which belong to a head.
pub(super) fn checksum(head: &[u8; CHECKSUM], rows: &[u8]) -> [u8; CHECKSUM] {
    *blake3::keyed_hash(head, rows).as_bytes()
}

fn bucket(key: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]]))
}

fn key(path: &[u8]) -> [u8; KEY] {
    blake3::hash(path).as_bytes()[..KEY].try_into().expect("a digest is longer")
}

/// A time as one number; none for one that doesn't fit, centuries from now.
pub(super) fn nanoseconds(time: Timestamp) -> Option<i64> {
    time.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(time.nanoseconds))
}
