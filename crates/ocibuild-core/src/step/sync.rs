//! Making a directory hold exactly what is wanted, by difference: what is right stays as it is, with its
//! times, and is not read; the rest is written, and what isn't wanted is removed.
//!
//! What a command left there may be anything. No link in it is followed, nothing that is mounted in it is
//! entered, and files are never written over: another takes their place, as a command may have given the
//! old one a second name somewhere.

mod wanted;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::event::Cancel;
use crate::files::{
    FileKind, Metadata, directory_beneath, display, each_name, metadata, open_beneath, open_directory,
    remove_at, split,
};
use crate::step::StepError;
use crate::step::copy::{Copier, CopyFault, create, mode, set_capability};
use crate::step::error::joined;
use crate::step::state::{Look, Row, State};

pub(super) use wanted::check_path;
use wanted::{Child, Place, children, sorted, sorted_kept};
pub use wanted::{Wanted, WantedKind};

/// The mode of directories that are made.
const DIRECTORY_MODE: u32 = 0o755;

/// As many files of a directory are copied in one go.
const CHUNK: usize = 64;

/// What was done to make a directory hold what is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// Files, links and directories that were made, or made anew.
    pub written: u64,
    /// The bytes of those files.
    pub bytes: u64,
    /// Files, links and directories that were removed, those included that others took the place of.
    pub removed: u64,
    /// Files, links and directories that were right.
    pub kept: u64,
}

impl std::ops::AddAssign for Synced {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.bytes += other.bytes;
        self.removed += other.removed;
        self.kept += other.kept;
    }
}

/// Makes `work`, a directory in the one that `state` is kept in, hold exactly what is wanted, and the
/// directories that are kept with whatever is in them.
pub(super) fn sync(
    (directory, work): (&Path, &[u8]),
    wanted: &[Wanted<'_>],
    kept: &[&[u8]],
    cancel: &Cancel,
) -> Result<Synced, StepError> {
    let path = joined(directory, work);
    let root = directory_beneath(open_directory(directory).map_err(fault("open", directory))?.as_fd(), work)
        .map_err(fault("open", &path))?;
    let (wanted, kept) = (sorted(wanted)?, sorted_kept(kept)?);
    let state = State::read(directory);
    let run = Run { path: &path, root: root.as_fd(), state: &state, copier: Copier::new(cancel), cancel };
    let mut found = run.look(&wanted, &kept)?;
    let rows = run.write(&found.stale)?;
    let mut synced = found.synced;
    let is_unsettled = found.rows.iter().any(|(_, row)| !state.is_settled(row));
    let is_same = rows.is_empty() && !is_unsettled && found.rows.len() == state.len();
    for (_, row) in &rows {
        synced += Synced { written: 1, bytes: row.look.size, ..Synced::default() };
    }
    found.rows.extend(rows);
    if !is_same {
        let rows = found.rows.iter().map(|(path, row)| (*path, row));
        State::write(directory, rows).map_err(fault("write the state of", directory))?;
    }
    Ok(synced)
}

fn fault<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StepError + 'a {
    StepError::own(action, path, b"")
}

/// What was found of a directory, or of all.
#[derive(Default)]
struct Found<'w, 'a> {
    synced: Synced,
    /// The files that are right.
    rows: Vec<(&'w [u8], Row)>,
    /// The files that have to be written, by their directories.
    stale: Vec<(&'w [u8], Vec<&'w Wanted<'a>>)>,
    /// The directories below.
    below: Vec<Place<'w, 'a>>,
}

struct Run<'r> {
    /// For faults.
    path: &'r Path,
    root: BorrowedFd<'r>,
    state: &'r State,
    copier: Copier<'r>,
    cancel: &'r Cancel,
}

impl<'r> Run<'r> {
    /// Goes through all directories, level by level: neither handles nor the stack then depend on how deep
    /// they lie.
    fn look<'w, 'a>(
        &self,
        wanted: &'w [&'w Wanted<'a>],
        kept: &'w [&'w [u8]],
    ) -> Result<Found<'w, 'a>, StepError> {
        let mut all = Found::default();
        let mut level = vec![Place { path: b"", wanted, kept }];
        while !level.is_empty() {
            let found = each(level, |place| self.look_at(&place))?;
            level = Vec::new();
            for found in found {
                all.synced += found.synced;
                all.rows.extend(found.rows);
                all.stale.extend(found.stale);
                level.extend(found.below);
            }
        }
        Ok(all)
    }

    /// Makes one directory hold the links and directories that it should, and finds the files that have to
    /// be written. Those that must go are gone then.
    fn look_at<'w, 'a>(&self, place: &Place<'w, 'a>) -> Result<Found<'w, 'a>, StepError> {
        self.cancel.check()?;
        let directory = self.open(place.path)?;
        let mut children = children(place)?;
        let mut found = Found::default();
        let mut stale = Vec::new();
        for name in self.names(&directory, place.path)? {
            match children.remove(&name[..]) {
                None => found.synced.removed += self.remove(&directory, place.path, &name)?,
                Some(child) => {
                    let is_right = self.is_right(&directory, &name, &child, &mut found.rows);
                    let is_right = is_right.map_err(self.fault_at("look at", place.path, &name))?;
                    if is_right {
                        found.synced.kept += 1;
                    } else {
                        found.synced.removed += self.remove(&directory, place.path, &name)?;
                        let made = self.make(&directory, &name, &child, &mut stale);
                        found.synced.written += made.map_err(self.fault_at("make", place.path, &name))?;
                    }
                    found.below.extend(child.place());
                }
            }
        }
        for (name, child) in children {
            let made = self.make(&directory, name, &child, &mut stale);
            found.synced.written += made.map_err(self.fault_at("make", place.path, name))?;
            found.below.extend(child.place());
        }
        if !stale.is_empty() {
            found.stale.push((place.path, stale));
        }
        Ok(found)
    }

    /// Opens one of the directories, and gives it its mode.
    fn open(&self, path: &[u8]) -> Result<OwnedFd, StepError> {
        let open = || -> io::Result<OwnedFd> {
            let directory = directory_beneath(self.root, path)?;
            if metadata(&rustix::fs::fstat(&directory)?).mode != DIRECTORY_MODE {
                rustix::fs::fchmod(&directory, mode(DIRECTORY_MODE))?;
            }
            Ok(directory)
        };
        open().map_err(StepError::own("open", self.path, path))
    }

    fn names(&self, directory: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>, StepError> {
        let mut names = Vec::new();
        let listed = each_name(directory, |name| {
            names.push(name.to_bytes().to_vec());
            Ok(())
        });
        listed.map_err(|error| StepError::own("list", self.path, path)(error.into()))?;
        Ok(names)
    }

    fn remove(&self, directory: &OwnedFd, path: &[u8], name: &[u8]) -> Result<u64, StepError> {
        remove_at(directory.as_fd(), name, self.cancel)
            .map_err(|error| StepError::within(&joined(self.path, path), error))
    }

    fn fault_at<'f>(
        &'f self,
        action: &'static str,
        directory: &'f [u8],
        name: &'f [u8],
    ) -> impl FnOnce(io::Error) -> StepError + 'f {
        move |source| {
            let path = joined(&joined(self.path, directory), name);
            StepError::File { action, path, source }
        }
    }

    /// Tells whether what has a name in a directory is what it should be. Of a directory only that it is
    /// one that can be opened: the rest is looked at in its turn.
    fn is_right<'w>(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        child: &Child<'w, '_>,
        rows: &mut Vec<(&'w [u8], Row)>,
    ) -> io::Result<bool> {
        let seen = metadata(&rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?);
        match child {
            Child::Kept => Ok(seen.kind == FileKind::Directory),
            Child::Directory(_) => Ok(seen.kind == FileKind::Directory && seen.mode & 0o700 == 0o700),
            Child::Leaf(Wanted { what: WantedKind::Symlink(target), .. }) => {
                let is_link = seen.kind == FileKind::Symlink;
                Ok(is_link && rustix::fs::readlinkat(directory, name, Vec::new())?.as_bytes() == target)
            }
            Child::Leaf(wanted) => {
                let row = self.known(directory, name, wanted, &seen)?;
                rows.extend(row.map(|row| (&wanted.path[..], row)));
                Ok(row.is_some())
            }
        }
    }

    /// Returns what is known of a file that is right.
    fn known(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        wanted: &Wanted<'_>,
        seen: &Metadata,
    ) -> io::Result<Option<Row>> {
        let WantedKind::File { digest, mode, .. } = &wanted.what else { return Ok(None) };
        let Some(identity) = wanted.what.identity() else { return Ok(None) };
        let row = Row { digest: identity, look: Look::of(seen) };
        let is_as_written = seen.kind == FileKind::Regular
            && seen.links == 1
            && seen.mode == *mode & 0o7777
            && self.state.get(&wanted.path) == Some(&row);
        if is_as_written && !self.state.is_settled(&row) {
            return Ok((hash(directory.as_fd(), name, self.cancel)? == *digest).then_some(row));
        }
        Ok(is_as_written.then_some(row))
    }

    /// Makes a link or a directory where nothing is, and notes a file; returns how many were made.
    fn make<'w, 'a>(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        child: &Child<'w, 'a>,
        stale: &mut Vec<&'w Wanted<'a>>,
    ) -> io::Result<u64> {
        match child {
            Child::Leaf(Wanted { what: WantedKind::Symlink(target), .. }) => {
                rustix::fs::symlinkat(&target[..], directory, name)?;
            }
            Child::Leaf(wanted) => {
                stale.push(*wanted);
                return Ok(0);
            }
            Child::Directory(_) => rustix::fs::mkdirat(directory, name, Mode::RWXU)?,
            Child::Kept => {
                rustix::fs::mkdirat(directory, name, Mode::RWXU)?;
                rustix::fs::fchmod(directory_beneath(directory.as_fd(), name)?, mode(DIRECTORY_MODE))?;
            }
        }
        Ok(1)
    }

    /// Writes files, and returns how they look.
    fn write<'w>(
        &self,
        stale: &[(&'w [u8], Vec<&'w Wanted<'_>>)],
    ) -> Result<Vec<(&'w [u8], Row)>, StepError> {
        let chunks = stale.iter().flat_map(|(path, all)| all.chunks(CHUNK).map(|chunk| (*path, chunk)));
        let rows = each(chunks.collect(), |(path, chunk)| {
            let directory = directory_beneath(self.root, path);
            let directory = directory.map_err(StepError::own("open", self.path, path))?;
            let written = chunk.iter().map(|wanted| Ok((&wanted.path[..], self.copy(&directory, wanted)?)));
            written.collect::<Result<Vec<_>, StepError>>()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Copies a file to where nothing is.
    fn copy(&self, directory: &OwnedFd, wanted: &Wanted<'_>) -> Result<Row, StepError> {
        let (WantedKind::File { tree, source, seen, digest, mode: bits, capability }, Some(identity)) =
            (&wanted.what, wanted.what.identity())
        else {
            unreachable!("only files are noted to be written");
        };
        let changed = || StepError::Changed { path: display(&wanted.path) };
        let input = |error: io::Error| match error.kind() {
            // It was there when its digest was taken.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => changed(),
            _ => StepError::input(&wanted.path, error),
        };
        let own = |error| StepError::own("write", self.path, &wanted.path)(error);
        let from = tree.open(source).map_err(input)?;
        if !from.metadata().map_err(input)?.is_unchanged(seen) {
            return Err(changed());
        }
        let (_, name) = split(&wanted.path);
        let to = create(directory.as_fd(), name).map_err(own)?;
        self.copier.copy(&*from, &to, seen.size, Some(digest)).map_err(|fault| match fault {
            CopyFault::Read(error) => input(error),
            CopyFault::Write(error) => own(error),
            CopyFault::Changed => changed(),
            CopyFault::Cancelled(cancelled) => cancelled.into(),
        })?;
        if !from.metadata().map_err(input)?.is_unchanged(seen) {
            return Err(changed());
        }
        let look = || -> io::Result<Look> {
            rustix::fs::fchmod(&to, mode(*bits))?;
            capability.as_ref().map_or(Ok(()), |value| set_if_permitted(&to, value))?;
            Ok(Look::of(&metadata(&rustix::fs::fstat(&to)?)))
        };
        Ok(Row { digest: identity, look: look().map_err(own)? })
    }
}

/// Does something with each item: side by side in the pool that this is called from, if it is; else one
/// after the other, as the pool of the whole process isn't ours.
pub(super) fn each<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, StepError> + Send + Sync,
) -> Result<Vec<R>, StepError> {
    match rayon::current_thread_index() {
        Some(_) => items.into_par_iter().map(work).collect(),
        None => items.into_iter().map(work).collect(),
    }
}

/// Gives a file its capabilities. Where we may not, or the file system can't, it is left without: the command
/// may do no more than we.
fn set_if_permitted(file: &File, value: &[u8]) -> io::Result<()> {
    match set_capability(file, value) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        set => set,
    }
}

/// The digest of a file's content.
fn hash(directory: BorrowedFd<'_>, name: &[u8], cancel: &Cancel) -> io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut file = File::from(open_beneath(directory, name, OFlags::NONBLOCK)?);
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            // Whatever it is then: it isn't believed, and the next look ends the work.
            _ if cancel.is_cancelled() => return Ok([0; 32]),
            count => hasher.update(&buffer[..count]),
        };
    }
}

#[cfg(test)]
mod tests;
