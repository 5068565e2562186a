//! What is known of the files that were put into a step's directory: which content each has, and how the
//! file looked when it was written. A file that still looks so needs no reading.
//!
//! A command may write to a file in the very tick in which it was put there, and leave its times as they
//! are. So the moment at which all was written is kept, by the clock of the file system, and only what is
//! older is believed; of the rest the content is read once more. As a rule that is none, because whoever
//! writes the state waits for the clock to move on.
//!
//! The file is for one machine: a magic, the moment, a row for each file, a digest of all. One that isn't
//! as it was written is none, and everything is written again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::{Builder, NamedTempFile};

use crate::files::{Metadata, Timestamp, metadata};
use crate::own;

const MAGIC: &[u8; 16] = b"ocibuild step 1\n";

/// The file's name in a step's directory.
pub(super) const NAME: &str = "state";

/// What names of files begin with that are being written.
pub(super) const TEMPORARY: &str = ".tmp";

/// As long as it takes for clocks that files have their times from to move on, where they have fractions
/// of a second; the others aren't waited for.
const PATIENCE: Duration = Duration::from_millis(40);

/// How a file looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
}

impl Look {
    pub(super) fn of(seen: &Metadata) -> Self {
        let Metadata { mode, size, id, mtime, ctime, .. } = *seen;
        Self { mode, device: id.device, inode: id.inode, size, mtime, ctime }
    }

    /// The time of its last change of any kind.
    pub(super) fn latest(&self) -> Timestamp {
        self.mtime.max(self.ctime)
    }
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) digest: [u8; 32],
    pub(super) look: Look,
}

/// What is known of all files.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Everything that changed since then has a time that isn't before it.
    moment: Timestamp,
    rows: HashMap<Box<[u8]>, Row>,
}

impl State {
    /// Reads what is known; nothing, if there is no file that says it.
    pub(super) fn read(directory: &Path) -> Self {
        let read = || -> io::Result<Option<Self>> {
            let mut bytes = Vec::new();
            own::open_regular(&directory.join(NAME))?.read_to_end(&mut bytes)?;
            Ok(Self::parse(&bytes))
        };
        read().ok().flatten().unwrap_or_default()
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Row> {
        self.rows.get(path)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Tells whether a file that still looks so can't have been changed since without a trace.
    pub(super) fn is_settled(&self, row: &Row) -> bool {
        row.look.latest() < self.moment
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        let body = body.strip_prefix(MAGIC)?;
        if blake3::hash(&bytes[..bytes.len() - 32]).as_bytes() != digest {
            return None;
        }
        let mut fields = Fields(body);
        let (moment, count) = (fields.time()?, fields.number()?);
        let mut rows = HashMap::with_capacity(usize::try_from(count).ok()?.min(body.len() / 64));
        for _ in 0..count {
            let length = usize::try_from(fields.number()?).ok()?;
            let path = fields.take(length)?;
            let digest = fields.take(32)?.try_into().ok()?;
            let mode = u32::try_from(fields.number()?).ok()?;
            let [device, inode, size] = [fields.number()?, fields.number()?, fields.number()?];
            let look = Look { mode, device, inode, size, mtime: fields.time()?, ctime: fields.time()? };
            rows.insert(path.into(), Row { digest, look });
        }
        fields.0.is_empty().then_some(Self { moment, rows })
    }

    fn bytes<'a>(moment: Timestamp, rows: impl ExactSizeIterator<Item = (&'a [u8], &'a Row)>) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let number = |bytes: &mut Vec<u8>, number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        let time = |bytes: &mut Vec<u8>, time: Timestamp| {
            number(bytes, time.seconds.cast_unsigned());
            number(bytes, u64::from(time.nanoseconds));
        };
        time(&mut bytes, moment);
        number(&mut bytes, rows.len() as u64);
        for (path, Row { digest, look }) in rows {
            number(&mut bytes, path.len() as u64);
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(digest);
            for field in [u64::from(look.mode), look.device, look.inode, look.size] {
                number(&mut bytes, field);
            }
            for field in [look.mtime, look.ctime] {
                time(&mut bytes, field);
            }
        }
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Writes what is known now, after the clock that files have their times from has moved on.
    ///
    /// # Errors
    /// Whatever writing meets; what was there before is there still.
    pub(super) fn write<'a>(
        directory: &Path,
        rows: impl ExactSizeIterator<Item = (&'a [u8], &'a Row)> + Clone,
    ) -> io::Result<()> {
        let mut file: NamedTempFile = Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
        let latest = rows.clone().map(|(_, row)| row.look.latest()).max().unwrap_or_default();
        let moment = moment_after(file.as_file_mut(), latest)?;
        file.as_file_mut().rewind()?;
        file.write_all(&Self::bytes(moment, rows))?;
        let (file, temporary) = file.into_parts();
        own::put(&file, temporary, &directory.join(NAME))
    }
}

/// Waits for a time after `latest` by the clock that a file has its times from, and returns what time it
/// is then; or was, when that took too long.
fn moment_after(file: &mut File, latest: Timestamp) -> io::Result<Timestamp> {
    let start = Instant::now();
    loop {
        file.rewind()?;
        file.write_all(b" ")?;
        let now = metadata(&rustix::fs::fstat(&*file)?).mtime;
        if now > latest || start.elapsed() > PATIENCE {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = (self.number()?.cast_signed(), self.number()?);
        Some(Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn row(seconds: i64) -> Row {
        let mtime = Timestamp { seconds, nanoseconds: 5 };
        let look = Look { mode: 0o644, device: 1, inode: 2, size: 3, mtime, ctime: mtime };
        Row { digest: [7; 32], look }
    }

    fn written(directory: &Path, rows: &[(&[u8], Row)]) -> io::Result<()> {
        State::write(directory, rows.iter().map(|(path, row)| (*path, row)))
    }

    #[test]
    fn what_was_written_is_known() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(State::read(directory.path()).len(), 0);
        written(directory.path(), &[(b"a", row(1)), (b"\xff/b", row(i64::MAX))]).unwrap();
        let state = State::read(directory.path());
        assert_eq!((state.get(b"a"), state.get(b"\xff/b")), (Some(&row(1)), Some(&row(i64::MAX))));
        assert!(state.get(b"b").is_none());
        // One of a time to come is never sure.
        assert!(state.is_settled(&row(1)) && !state.is_settled(&row(i64::MAX)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), &[(b"a", row(1))]).unwrap();
        let path = directory.path().join(NAME);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(State::read(directory.path()).len(), 0, "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert_eq!(State::read(directory.path()).len(), 0, "cut at {at}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(State::read(directory.path()).len(), 0);
    }

    #[test]
    fn the_clock_moves_on_before_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for round in 0..5 {
            fs::write(&path, format!("{round}")).unwrap();
            let seen = metadata(&rustix::fs::stat(&path).unwrap());
            let known = Row { digest: [0; 32], look: Look::of(&seen) };
            written(directory.path(), &[(b"file", known)]).unwrap();
            assert!(State::read(directory.path()).is_settled(&known));
            // Whatever comes now shows in its times.
            fs::write(&path, format!("{round}")).unwrap();
            assert_ne!(Look::of(&metadata(&rustix::fs::stat(&path).unwrap())), known.look);
        }
    }
}
