//! What was learned of files when they were last read, so that unchanged ones needn't be read again.
//!
//! An entry is believed if the file at its path is still the same by device, inode, size and both
//! times. What that can miss is a change within the grain of the file system's clock, right after
//! the file was read. So, as git does with its index, nothing is kept of a file whose times aren't
//! clearly before the moment at which the cache began to look: whatever changes it after that gets
//! a later time. That moment is taken from the clock that files have their times from, by writing a
//! file.
//!
//! Each user of a tree has a file of its own, `stat/v1/NAME`: a head with what it noted of all it
//! saw, and rows of one length, one a file, in the order of hashed paths. Each ends with a digest, and
//! rows are read only if one is asked for: in one go, and searched where they lie. A row is found by 128 bits of the
//! BLAKE3 digest of the path. Should two paths have the same, one of them isn't kept; neither can be
//! taken for the other, as that is decided by device, inode, size and times.
//!
//! The file is written beside and renamed. Several processes may do so: the last one's stays, and
//! what the others learned is read again some day. One that is damaged, or another tree's, or of a
//! time to come (somebody set the clock back) is none.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::UNIX_EPOCH;

use rayon::slice::ParallelSliceMut as _;

use crate::files::{Metadata, Timestamp, note_use};

/// The directories of caches of trees, below that of the whole cache.
pub const STAT_DIRECTORY: [&str; 2] = ["stat", "v1"];

/// What a file begins with: its form, and the version of what is noted in it.
const MAGIC: &[u8; 16] = b"ocibuild stat 1\n";

/// The magic, the user, the moment, the number of devices, of rows, and of bytes of notes.
const HEADER: usize = 16 + 32 + 8 + 8 + 8 + 8;
const CHECKSUM: usize = 32;
const ROW: usize = 88;
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
const MAX_ROWS: usize = (256 << 20) / ROW;

/// The most devices that are told apart.
const MAX_DEVICES: usize = 256;

/// As many notes are kept, the last ones, and of so many bytes altogether.
const NOTES_KEPT: usize = 8;
const MAX_NOTES: usize = 64 << 10;

/// As often a row is written again without having been asked for: layers that weren't built this
/// time keep theirs for a while.
const MAX_AGE: u8 = 16;

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

type Row = [u8; ROW];

/// A note, and what it was made of.
type Note = ([u8; 32], Vec<u8>);

/// What is known of the files of one tree by one user of them. Nothing about it is ever a fault: what
/// can't be read or written is as if it weren't there.
#[derive(Debug)]
pub struct StatCache {
    cache: PathBuf,
    user: [u8; 32],
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
    rest: Mutex<Option<fs::File>>,
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

    /// Names what one user of the tree's files knows of them. Nothing is read yet.
    #[must_use]
    pub fn of(&self, user: &str) -> Self {
        let named = Self::named(self.cache.clone(), blake3::keyed_hash(&self.user, user.as_bytes()));
        Self { is_read_only: self.is_read_only, ..named }
    }

    fn named(cache: PathBuf, user: blake3::Hash) -> Self {
        let (learned, notes) = (Mutex::default(), Mutex::default());
        let user = *user.as_bytes();
        Self { cache, user, is_read_only: false, started: OnceLock::new(), learned, notes }
    }

    /// Takes the moment, and reads what was noted, unless that was done already. Comes before the
    /// first look at any file that is asked for or learned.
    pub fn start(&self) {
        self.started.get_or_init(|| {
            // Only a file that is written tells the time there; without it, nothing is learned.
            let moment = if self.is_read_only { None } else { now(&self.cache).ok() };
            let path = self.path();
            let read = Head::read(&path, &self.user);
            // A clock that went back could come by the same time again.
            let is_sound = |head: &Head| moment.is_none_or(|moment| head.moment <= moment);
            let (head, rest) = read.filter(|(head, _)| is_sound(head)).unzip();
            let is_damaged = head.is_none() && path.exists();
            let (head, rest) = (head.unwrap_or_default(), Mutex::new(rest));
            Started { moment, head, rest, table: OnceLock::new(), is_damaged }
        });
    }

    /// Tells whether a file's times are so far before the moment that no change of it after that
    /// can leave them as they are.
    pub fn is_settled(&self, seen: &Metadata) -> bool {
        let moment = self.started.get().and_then(|started| started.moment);
        let times = nanoseconds(seen.mtime).zip(nanoseconds(seen.ctime));
        let (Some(moment), Some((mtime, ctime))) = (moment, times) else { return false };
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
        self.started.get()?.table().find(&key(path), seen)
    }

    /// Keeps what was learned of a file by reading it after it was `seen`, while it stayed so. What
    /// may change once more without a trace is not kept.
    pub fn learn(&self, path: &[u8], seen: &Metadata, learned: Learned) {
        let (Some(mtime), Some(ctime)) = (nanoseconds(seen.mtime), nanoseconds(seen.ctime)) else { return };
        if !self.is_settled(seen) {
            return;
        }
        let mut row = [0; ROW];
        row[..KEY].copy_from_slice(&key(path));
        row[NOTES..INODE].copy_from_slice(&learned.notes);
        row[INODE..SIZE].copy_from_slice(&seen.id.inode.to_le_bytes());
        row[SIZE..MTIME].copy_from_slice(&seen.size.to_le_bytes());
        row[MTIME..CTIME].copy_from_slice(&mtime.to_le_bytes());
        row[CTIME..CONTENT].copy_from_slice(&ctime.to_le_bytes());
        row[CONTENT..].copy_from_slice(&learned.content);
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
        let (temporary, path) = (self.cache.join("tmp"), self.path());
        fs::create_dir_all(&temporary)?;
        fs::create_dir_all(path.parent().expect("the path has directories"))?;
        let mut file = tempfile::NamedTempFile::new_in(temporary)?;
        if stamp(file.as_file())? < moment {
            // The clock went back meanwhile: who knows when files were written.
            return Ok(());
        }
        let bytes = merge(started, (learned, notes), (&self.user, moment));
        file.write_all(&bytes)?;
        make_readable(file.as_file())?;
        file.persist(path)?;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        let [directory, version] = STAT_DIRECTORY;
        let name = &blake3::Hash::from_bytes(self.user).to_hex()[..32];
        self.cache.join(directory).join(version).join(name)
    }

    /// Tells whether a file of the directory is whole: its digests are those of the rest.
    ///
    /// # Errors
    /// Whatever reading it meets.
    pub fn is_whole(path: &Path) -> io::Result<bool> {
        let mut file = open(path)?;
        Ok(Head::parse(&mut file)?.is_some_and(|head| Table::read(&head, &mut file).is_some()))
    }
}

impl Started {
    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            let file = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut file) = file else { return Table::default() };
            let damaged = || Table { is_damaged: true, ..Table::default() };
            Table::read(&self.head, &mut file).unwrap_or_else(damaged)
        })
    }

    /// Tells whether what was read of the file is of no use.
    fn is_damaged(&self) -> bool {
        self.is_damaged || self.table.get().is_some_and(|table| table.is_damaged)
    }
}

/// What a file begins with.
#[derive(Debug, Default)]
struct Head {
    user: [u8; 32],
    moment: i64,
    devices: Vec<u64>,
    notes: Vec<Note>,
    /// The number of rows that follow.
    rows: usize,
    checksum: [u8; CHECKSUM],
}

impl Head {
    /// Reads the head of a user's file, and returns what is left of that.
    fn read(path: &Path, user: &[u8; 32]) -> Option<(Self, fs::File)> {
        let mut file = open(path).ok()?;
        let head = Self::parse(&mut file).ok()??;
        (head.user == *user).then_some((head, file))
    }

    fn parse(file: &mut fs::File) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; HEADER];
        file.read_exact(&mut bytes)?;
        let number =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let [devices, rows, notes] = [56, 64, 72].map(|at| number(&bytes, at));
        let is_sane = devices <= MAX_DEVICES as u64 && rows <= MAX_ROWS as u64 && notes <= MAX_NOTES as u64;
        if !bytes.starts_with(MAGIC) || !is_sane {
            return Ok(None);
        }
        let noted = HEADER + devices as usize * 8;
        let end = noted + notes as usize;
        bytes.resize(end + CHECKSUM, 0);
        file.read_exact(&mut bytes[HEADER..])?;
        let checksum: [u8; CHECKSUM] = bytes[end..].try_into().expect("the rest is a checksum");
        if *blake3::hash(&bytes[..end]).as_bytes() != checksum {
            return Ok(None);
        }
        let devices = (HEADER..noted).step_by(8).map(|at| number(&bytes, at)).collect();
        let Some(notes) = read_notes(&bytes[noted..end]) else { return Ok(None) };
        let user = bytes[16..48].try_into().expect("32 bytes");
        let moment = number(&bytes, 48).cast_signed();
        Ok(Some(Self { user, moment, devices, notes, rows: rows as usize, checksum }))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.user);
        bytes.extend_from_slice(&self.moment.to_le_bytes());
        let notes: Vec<u8> = self
            .notes
            .iter()
            .flat_map(|(of, note)| [&of[..], &(note.len() as u64).to_le_bytes(), note].concat())
            .collect();
        for number in [self.devices.len(), self.rows, notes.len()] {
            bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        self.devices.iter().for_each(|device| bytes.extend_from_slice(&device.to_le_bytes()));
        bytes.extend_from_slice(&notes);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }
}

fn read_notes(mut bytes: &[u8]) -> Option<Vec<Note>> {
    let mut notes = Vec::new();
    while !bytes.is_empty() {
        let (of, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (note, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        notes.push((*of, note.to_vec()));
        bytes = rest;
    }
    Some(notes)
}

/// The rows of a file, where they lie.
#[derive(Debug, Default)]
struct Table {
    bytes: Vec<u8>,
    devices: Vec<u64>,
    /// Where the rows begin whose keys have the same first two bytes; and the end.
    starts: Vec<u32>,
    /// Which rows were asked for, and held.
    used: Vec<AtomicBool>,
    /// Whether there were rows, but not as they were written.
    is_damaged: bool,
}

impl Table {
    /// Reads the rows after a head.
    fn read(head: &Head, file: &mut fs::File) -> Option<Self> {
        let length = head.rows * ROW;
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

    fn index(&self, count: usize) -> Vec<u32> {
        let mut starts = Vec::with_capacity((1 << 16) + 1);
        for place in 0..count {
            let bucket = bucket(self.row(place));
            starts.resize(starts.len().max(bucket + 1), place as u32);
        }
        starts.resize((1 << 16) + 1, count as u32);
        starts
    }

    fn row(&self, place: usize) -> &[u8] {
        &self.bytes[place * ROW..][..ROW]
    }

    fn find(&self, key: &[u8; KEY], seen: &Metadata) -> Option<Learned> {
        let bucket = bucket(key);
        let places = *self.starts.get(bucket)? as usize..*self.starts.get(bucket + 1)? as usize;
        let place = places.into_iter().find(|place| self.row(*place)[..KEY] == *key)?;
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

/// Puts a file together: what was learned goes over what was known.
fn merge(
    started: &Started,
    (learned, mut notes): (Vec<(Row, u64)>, Vec<Note>),
    (user, moment): (&[u8; 32], i64),
) -> Vec<u8> {
    let table = started.table();
    let mut devices = table.devices.clone();
    let mut rows: Vec<Row> = Vec::with_capacity(table.used.len() + learned.len());
    // The last that was learned of a path comes first, and what was known of it after that.
    for (mut row, device) in learned.into_iter().rev() {
        let place = devices.iter().position(|known| *known == device).unwrap_or_else(|| {
            devices.push(device);
            devices.len() - 1
        });
        if let Ok(place) = u8::try_from(place) {
            row[DEVICE] = place;
            rows.push(row);
        }
    }
    devices.truncate(MAX_DEVICES);
    for (place, used) in table.used.iter().enumerate() {
        let mut row: Row = table.row(place).try_into().expect("a row has its length");
        row[AGE] = if used.load(Ordering::Relaxed) { 0 } else { row[AGE].saturating_add(1) };
        if row[AGE] <= MAX_AGE {
            rows.push(row);
        }
    }
    rows.par_sort_by(|one, other| one[..KEY].cmp(&other[..KEY]));
    rows.dedup_by(|later, first| later[..KEY] == first[..KEY]);
    rows.truncate(MAX_ROWS);
    notes.reverse();
    notes.extend(started.head.notes.iter().cloned());
    let notes = newest(notes);
    let checksum_of = |head: &[u8]| head[head.len() - CHECKSUM..].try_into().expect("a head ends with one");
    let head = Head { user: *user, moment, devices, notes, rows: rows.len(), checksum: [0; CHECKSUM] };
    let mut bytes = head.bytes();
    let head_checksum: [u8; CHECKSUM] = checksum_of(&bytes);
    let at = bytes.len();
    bytes.reserve(rows.len() * ROW + CHECKSUM);
    rows.iter().for_each(|row| bytes.extend_from_slice(row));
    let checksum = checksum(&head_checksum, &bytes[at..]);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Takes as many notes as are kept, of which the newest come first.
fn newest(notes: Vec<Note>) -> Vec<Note> {
    let mut kept: Vec<Note> = Vec::new();
    let mut room = MAX_NOTES;
    for (of, note) in notes {
        let length = of.len() + 8 + note.len();
        if kept.len() < NOTES_KEPT && length <= room && kept.iter().all(|(known, _)| *known != of) {
            room -= length;
            kept.push((of, note));
        }
    }
    kept
}

/// The digest of rows, which belong to a head.
fn checksum(head: &[u8; CHECKSUM], rows: &[u8]) -> [u8; CHECKSUM] {
    *blake3::keyed_hash(head, rows).as_bytes()
}

fn bucket(key: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]]))
}

fn key(path: &[u8]) -> [u8; KEY] {
    blake3::hash(path).as_bytes()[..KEY].try_into().expect("a digest is longer")
}

/// A time as one number; none for one that doesn't fit, centuries from now.
fn nanoseconds(time: Timestamp) -> Option<i64> {
    time.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(time.nanoseconds))
}

fn open(path: &Path) -> io::Result<fs::File> {
    // Opening something else than a file might wait for ever.
    if !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::File::open(path)
}

/// What time it is by the clock of the file system that the cache is on.
fn now(cache: &Path) -> io::Result<i64> {
    let temporary = cache.join("tmp");
    fs::create_dir_all(&temporary)?;
    stamp(tempfile::NamedTempFile::new_in(temporary)?.as_file())
}

/// When a file was last written.
fn stamp(file: &fs::File) -> io::Result<i64> {
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    i64::try_from(since.as_nanos()).map_err(io::Error::other)
}

/// Temporary files are private; this is for everyone that may enter the cache.
#[cfg(unix)]
fn make_readable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &fs::File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{FileId, FileKind};

    /// Long ago, with fractions of a second.
    const THEN: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 5 };

    fn seen(inode: u64) -> Metadata {
        Metadata {
            kind: FileKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 10,
            id: FileId { device: 7, inode },
            links: 1,
            mtime: THEN,
            ctime: THEN,
        }
    }

    fn learned(byte: u8) -> Learned {
        Learned { content: [byte; 32], notes: [byte; 6] }
    }

    fn started(directory: &Path) -> StatCache {
        let stat = StatCache::new(directory, Path::new("/tree"));
        stat.start();
        stat
    }

    fn save(directory: &Path, files: &[(&str, Metadata, u8)]) -> PathBuf {
        let stat = started(directory);
        files.iter().for_each(|(path, seen, byte)| stat.learn(path.as_bytes(), seen, learned(*byte)));
        stat.save().unwrap();
        stat.path()
    }

    fn after(time: Timestamp, nanoseconds: i64) -> Timestamp {
        let all = nanoseconds_of(time) + nanoseconds;
        Timestamp {
            seconds: all.div_euclid(1_000_000_000),
            nanoseconds: all.rem_euclid(1_000_000_000) as u32,
        }
    }

    fn nanoseconds_of(time: Timestamp) -> i64 {
        nanoseconds(time).unwrap()
    }

    #[test]
    fn a_file_is_known_while_it_is_as_it_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let other = Metadata { id: FileId { device: 8, inode: 1 }, ..seen(1) };
        save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2), ("c", other, 3), ("b", seen(2), 4)]);
        let stat = started(directory.path());
        assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
        assert_eq!(stat.get(b"b", &seen(2)), Some(learned(4)), "the last that was learned counts");
        assert_eq!(stat.get(b"c", &other), Some(learned(3)));
        let whole = seen(1);
        for changed in [
            Metadata { size: 11, ..whole },
            Metadata { id: FileId { device: 7, inode: 2 }, ..whole },
            Metadata { id: FileId { device: 8, inode: 1 }, ..whole },
            Metadata { mtime: after(THEN, 1), ..whole },
            Metadata { ctime: after(THEN, -1), ..whole },
        ] {
            assert_eq!(stat.get(b"a", &changed), None, "{changed:?}");
        }
        assert_eq!(stat.get(b"d", &whole), None);
    }

    #[test]
    fn nothing_is_kept_of_what_may_change_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let stat = started(directory.path());
        let moment = stat.started.get().unwrap().moment.unwrap();
        let at = |nanoseconds| after(Timestamp::default(), moment + nanoseconds);
        let whole = |time: Timestamp| Timestamp { nanoseconds: 0, ..time };
        let cases = [
            (at(0), THEN, false),
            (THEN, at(0), false),
            (at(-FINE), THEN, false),
            (THEN, at(-FINE), false),
            (at(1 << 40), THEN, false),
            // A millisecond more, for one without a fraction is none of these.
            (at(-FINE - 1_000_000), at(-FINE - 1_000_000), true),
            (THEN, whole(at(-1_000_000_000)), false),
            (THEN, whole(at(-COARSE - 1_000_000_000)), true),
            (Timestamp { seconds: i64::MAX, nanoseconds: 0 }, THEN, false),
        ];
        for (place, (mtime, ctime, _)) in cases.iter().enumerate() {
            stat.learn(&[place as u8], &Metadata { mtime: *mtime, ctime: *ctime, ..seen(1) }, learned(1));
        }
        stat.save().unwrap();
        let stat = started(directory.path());
        for (place, (mtime, ctime, is_kept)) in cases.into_iter().enumerate() {
            let known = stat.get(&[place as u8], &Metadata { mtime, ctime, ..seen(1) });
            assert_eq!(known.is_some(), is_kept, "case {place}");
        }
    }

    #[test]
    fn what_is_damaged_or_another_trees_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2)]);
        assert!(StatCache::is_whole(&path).unwrap());
        let bytes = fs::read(&path).unwrap();
        let known = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            started(directory.path()).get(b"a", &seen(1))
        };
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(known(&damaged), None, "byte {at}");
            assert_eq!(known(&bytes[..at]), None, "cut off at {at}");
        }
        assert!(!StatCache::is_whole(&path).is_ok_and(|whole| whole));
        assert_eq!(known(&[&bytes[..], b"x"].concat()), None);
        // It doesn't stay once it was read, though nothing else is learned.
        let stat = started(directory.path());
        assert_eq!(stat.get(b"a", &seen(1)), None);
        stat.save().unwrap();
        assert!(StatCache::is_whole(&path).unwrap());
        assert_eq!(known(&bytes), Some(learned(1)));
        let other = StatCache::new(directory.path(), Path::new("/other"));
        fs::copy(&path, other.path()).unwrap();
        other.start();
        assert_eq!(other.get(b"a", &seen(1)), None);
    }

    #[test]
    fn numbers_that_lie_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = save(directory.path(), &[("a", seen(1), 1)]);
        let bytes = fs::read(&path).unwrap();
        let numbers = [0, 2, 3, u64::MAX];
        let end = bytes.len() - CHECKSUM - ROW - CHECKSUM;
        for (at, number) in [56, 64, 72].into_iter().flat_map(|at| numbers.map(|number| (at, number))) {
            let mut head = bytes[..end].to_vec();
            head[at..at + 8].copy_from_slice(&number.to_le_bytes());
            if head == bytes[..end] {
                continue;
            }
            let sum = *blake3::hash(&head).as_bytes();
            let rows = &bytes[end + CHECKSUM..][..ROW];
            let all = [&head[..], &sum, rows, &checksum(&sum, rows)].concat();
            fs::write(&path, all).unwrap();
            assert_eq!(started(directory.path()).get(b"a", &seen(1)), None, "{number} at {at}");
        }
    }

    #[test]
    fn what_was_noted_at_a_time_to_come_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let stat = started(directory.path());
        let now = stat.started.get().unwrap().moment.unwrap();
        let row = |moment| {
            stat.learn(b"a", &seen(1), learned(1));
            let rows = std::mem::take(&mut *stat.learned.lock().unwrap());
            fs::create_dir_all(stat.path().parent().unwrap()).unwrap();
            let none = Started {
                moment: None,
                head: Head::default(),
                rest: Mutex::default(),
                table: OnceLock::new(),
                is_damaged: false,
            };
            let notes = vec![([1; 32], vec![1])];
            fs::write(stat.path(), merge(&none, (rows, notes), (&stat.user, moment))).unwrap();
            assert_eq!(started(directory.path()).recall(&[1; 32]).is_some(), moment <= now);
            started(directory.path()).get(b"a", &seen(1))
        };
        assert_eq!(row(now), Some(learned(1)));
        assert_eq!(row(now + (24 * 60 * 60 * 1_000_000_000)), None);
    }

    #[test]
    fn what_is_not_asked_for_is_dropped_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2)]);
        let round = |number: u64| {
            let stat = started(directory.path());
            assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
            stat.learn(b"c", &seen(number), learned(3));
            stat.save().unwrap();
        };
        (0..u64::from(MAX_AGE)).for_each(round);
        // Asked for, but not written, so it is counted on.
        assert_eq!(started(directory.path()).get(b"b", &seen(2)), Some(learned(2)));
        round(100);
        let stat = started(directory.path());
        assert_eq!(stat.get(b"b", &seen(2)), None);
        assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
        assert_eq!(stat.get(b"c", &seen(100)), Some(learned(3)));
    }

    #[test]
    fn many_files_and_devices_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let stat = started(directory.path());
        let file = |number: u64| Metadata { id: FileId { device: number % 300, inode: number }, ..seen(0) };
        for number in 0..5000u64 {
            stat.learn(&number.to_le_bytes(), &file(number), learned(number as u8));
        }
        stat.save().unwrap();
        let stat = started(directory.path());
        let is_known = |number: &u64| {
            let known = stat.get(&number.to_le_bytes(), &file(*number));
            assert!(known.is_none_or(|known| known == learned(*number as u8)));
            known.is_some()
        };
        let known = (0..5000).filter(is_known).count();
        assert!((4000..5000).contains(&known), "{known}: the devices beyond the 256th have no number");
    }

    #[test]
    fn without_a_cache_to_write_to_nothing_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let stat = started(&file);
        stat.learn(b"a", &seen(1), learned(1));
        stat.save().unwrap();
        assert_eq!(stat.get(b"a", &seen(1)), None);
        // Nor before it was started: there would be no moment to hold times against.
        let stat = StatCache::new(directory.path(), Path::new("/tree"));
        stat.learn(b"a", &seen(1), learned(1));
        stat.save().unwrap();
        assert!(!directory.path().join("stat").exists());
    }

    #[test]
    fn the_last_notes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let note = |number: u8| ([number; 32], vec![number; 5]);
        for numbers in [&[1, 2][..], &[3, 4, 5, 6], &[7, 8, 2], &[9]] {
            let stat = started(directory.path());
            numbers.iter().map(|number| note(*number)).for_each(|(of, note)| stat.keep(of, note));
            stat.save().unwrap();
        }
        let stat = started(directory.path());
        let known = |number: &u8| stat.recall(&[*number; 32]) == Some(note(*number).1);
        assert_eq!((1..10).filter(known).collect::<Vec<u8>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
        // One that is too large for its place takes nobody else's.
        stat.keep([10; 32], vec![0; MAX_NOTES]);
        stat.save().unwrap();
        let stat = started(directory.path());
        assert!(stat.recall(&[10; 32]).is_none() && stat.recall(&[9; 32]).is_some());
    }

    #[test]
    fn users_of_a_tree_know_nothing_of_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let tree = StatCache::new(directory.path(), Path::new("/tree"));
        let users = ["one", "other"].map(|name| tree.of(name));
        users.iter().for_each(StatCache::start);
        users[0].learn(b"a", &seen(1), learned(1));
        users[0].save().unwrap();
        let again = ["one", "other"].map(|name| tree.of(name));
        again.iter().for_each(StatCache::start);
        assert_eq!(again.map(|user| user.get(b"a", &seen(1)).is_some()), [true, false]);
    }

    #[test]
    fn nothing_is_written_after_the_clock_went_back() {
        let directory = tempfile::tempdir().unwrap();
        let stat = StatCache::new(directory.path(), Path::new("/tree"));
        let day = 24 * 60 * 60 * 1_000_000_000;
        let moment = Some(now(directory.path()).unwrap() + day);
        let (head, rest, table) = (Head::default(), Mutex::default(), OnceLock::new());
        stat.started.set(Started { moment, head, rest, table, is_damaged: false }).unwrap();
        stat.learn(b"a", &seen(1), learned(1));
        stat.save().unwrap();
        assert!(!stat.path().exists());
    }
}
