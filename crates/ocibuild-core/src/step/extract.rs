//! A step's outputs out of the blob that a cache has of them.
//!
//! The blob is one that we captured, as whoever may write to the cache says: nothing in it is believed that
//! a capture can't have. A path is made only in directories that this very blob has or implies, so no link
//! is on the way of anything; and all is opened beneath the tree's own handle.
//!
//! One thread reads and unpacks, others make the small files that it has read: to make files takes as long
//! as to unpack them. Links to files are made when these are all there, and directories get their modes
//! last, as they may forbid what was done in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};

use crate::compress::{DecodeLimits, decoder};
use crate::event::Cancel;
use crate::files::{CAPABILITY, directory_beneath, display, open_directory, split};
use crate::key::Key;
use crate::step::copy::{create, mode, set_capability};
use crate::step::sync::check_path;
use crate::step::{OutputTree, OutputTrees, StepError, UnpackError};
use crate::tar::{Entry, EntryKind, ReadError, Reader};

/// Threads that make small files.
const WRITERS: usize = 2;

/// Files up to this size are left to them; larger ones are written as they are read.
const SMALL: u64 = 256 << 10;

/// So many files, or bytes of files, are left to one of them at a time.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: usize = 1 << 20;

/// As many batches wait for a thread.
const WAITING: usize = 4;

impl OutputTrees {
    /// Unpacks what a step made from the blob that it was captured as, unless it is there already.
    /// `tar_size` is the number of its tar bytes, more than which it may not have. Reads the blob to its
    /// end, in this thread: only if that says that it was right is there a tree.
    ///
    /// # Errors
    /// [`StepError::Unpack`] if the blob can't be read, [`StepError::Unfit`] if it has what no capture has;
    /// others if something can't be written.
    pub fn extract(
        &self,
        key: &Key,
        blob: impl Read + Send,
        tar_size: u64,
        cancel: &Cancel,
    ) -> Result<OutputTree, StepError> {
        if let Some(tree) = self.find(key, cancel)? {
            return Ok(tree);
        }
        self.make(key, cancel, |tree| extract(tree, blob, tar_size, cancel))
    }
}

/// Unpacks a blob into an empty directory.
fn extract(tree: &Path, blob: impl Read + Send, tar_size: u64, cancel: &Cancel) -> Result<(), StepError> {
    let limits = DecodeLimits { bytes: tar_size, free: tar_size, ..DecodeLimits::default() };
    let bytes = decoder(blob, &limits).map_err(|error| unpack(error.into()))?;
    let root = open_directory(tree).map_err(StepError::own("open", tree, b""))?;
    let target = Target { path: tree, root: root.as_fd() };
    let has_failed = AtomicBool::new(false);
    let (sender, receiver) = sync_channel::<Vec<Small>>(WAITING);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let write = || {
            let result = target.write_all(&receiver);
            has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
            // Whoever reads must not wait for ever to be rid of a batch.
            while result.is_err() && next(&receiver).is_some() {}
            result
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let mut extraction = Extraction {
            target,
            made: BTreeMap::new(),
            links: Vec::new(),
            batch: Batch { files: Vec::new(), bytes: 0 },
            sender,
            has_failed: &has_failed,
            cancel,
        };
        let read = extraction.read(bytes);
        let Extraction { made, links, sender, .. } = extraction;
        // Without it the writers end when they have done what they were left.
        drop(sender);
        let written = writers.into_iter().map(|writer| writer.join());
        let mut faults = written.map(|result| match result {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // A writer's fault is why reading stopped.
        faults.try_for_each(|result| result)?;
        read?;
        links.iter().try_for_each(|(path, to)| target.link(path, to))?;
        target.set_modes(&made)
    })
}

fn unpack(error: UnpackError) -> StepError {
    StepError::Unpack(error)
}

fn tar(error: ReadError) -> StepError {
    unpack(error.into())
}

/// Something that was made, or is about to be.
enum Made {
    /// A directory; its mode and time are set last.
    Directory {
        mode: u32,
        mtime: i64,
    },
    File,
    Other,
}

/// A file that a writer makes.
struct Small {
    path: Vec<u8>,
    mode: u32,
    mtime: i64,
    content: Vec<u8>,
    capability: Option<Vec<u8>>,
}

struct Batch {
    files: Vec<Small>,
    bytes: usize,
}

/// Where everything is made.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// For faults.
    path: &'a Path,
    root: BorrowedFd<'a>,
}

struct Extraction<'a> {
    target: Target<'a>,
    made: BTreeMap<Vec<u8>, Made>,
    /// Links to files, which may not be made yet.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    batch: Batch,
    sender: SyncSender<Vec<Small>>,
    has_failed: &'a AtomicBool,
    cancel: &'a Cancel,
}

impl Extraction<'_> {
    fn read(&mut self, bytes: impl Read) -> Result<(), StepError> {
        let mut reader = Reader::new(bytes);
        while let Some(entry) = reader.next_entry().map_err(tar)? {
            self.cancel.check()?;
            if self.has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.entry(entry, &mut reader)?;
        }
        // What verifies the blob sees only its end.
        let mut rest = reader.finish().map_err(tar)?;
        io::copy(&mut rest, &mut io::sink()).map_err(|error| unpack(error.into()))?;
        self.send();
        Ok(())
    }

    fn entry(&mut self, entry: Entry, reader: &mut Reader<impl Read>) -> Result<(), StepError> {
        let path = entry.path.strip_suffix(b"/").unwrap_or(&entry.path).to_vec();
        let unfit = |reason| StepError::Unfit { path: display(&entry.path), reason };
        check_path(&path).map_err(|_| unfit("is no path below the step's directory"))?;
        if entry.sparse {
            return Err(unfit("has holes"));
        }
        self.parents(&path)?;
        if let Some(made) = self.made.get_mut(&path) {
            // A directory may have been implied before it is named.
            return match (made, &entry.kind) {
                (Made::Directory { mode, mtime }, EntryKind::Directory) => {
                    (*mode, *mtime) = (entry.mode, entry.mtime);
                    Ok(())
                }
                _ => Err(unfit("is there twice")),
            };
        }
        let made = match &entry.kind {
            EntryKind::Directory => {
                self.target.make_directory(&path)?;
                Made::Directory { mode: entry.mode, mtime: entry.mtime }
            }
            EntryKind::Regular => {
                self.file(&path, &entry, reader)?;
                Made::File
            }
            EntryKind::Symlink { target } => {
                self.target.make_symlink(&path, target, entry.mtime)?;
                Made::Other
            }
            EntryKind::Hardlink { target } => {
                if !matches!(self.made.get(target), Some(Made::File)) {
                    return Err(unfit("is a link to something that isn't a file before it"));
                }
                self.links.push((path.clone(), target.clone()));
                Made::Other
            }
            _ => return Err(unfit("is no file, directory or link")),
        };
        self.made.insert(path, made);
        Ok(())
    }

    /// Makes the directories that a path lies in, as far as they aren't made.
    fn parents(&mut self, path: &[u8]) -> Result<(), StepError> {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            match self.made.get(&path[..at]) {
                Some(Made::Directory { .. }) => {}
                Some(_) => {
                    return Err(StepError::Unfit {
                        path: display(path),
                        reason: "lies in what is no directory",
                    });
                }
                None => {
                    self.target.make_directory(&path[..at])?;
                    let implied = Made::Directory { mode: 0o755, mtime: crate::files::DEFAULT_MTIME };
                    self.made.insert(path[..at].to_vec(), implied);
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], entry: &Entry, reader: &mut Reader<impl Read>) -> Result<(), StepError> {
        let read = |error: io::Error| unpack(error.into());
        let capability = entry.xattrs.get(CAPABILITY).cloned();
        let mut small = Small {
            path: path.to_vec(),
            mode: entry.mode,
            mtime: entry.mtime,
            content: Vec::new(),
            capability,
        };
        if entry.size > SMALL {
            let parent = self.target.directory(split(path).0)?;
            let file = self.target.create(&parent, path)?;
            let mut content = reader.content();
            let mut buffer = vec![0; 256 << 10];
            loop {
                self.cancel.check()?;
                match content.read(&mut buffer).map_err(read)? {
                    0 => break,
                    count => (&file).write_all(&buffer[..count]).map_err(self.target.fault("write", path))?,
                }
            }
            return self.target.complete(&file, &small);
        }
        small.content.reserve(usize::try_from(entry.size).expect("it is small"));
        reader.content().read_to_end(&mut small.content).map_err(read)?;
        self.batch.bytes += small.content.len();
        self.batch.files.push(small);
        if self.batch.files.len() >= BATCH_FILES || self.batch.bytes >= BATCH_BYTES {
            self.send();
        }
        Ok(())
    }

    /// Leaves what was read to the writers. If there are none any more, they have failed, and tell why.
    fn send(&mut self) {
        let files = std::mem::take(&mut self.batch.files);
        self.batch.bytes = 0;
        let _ = self.sender.send(files);
    }
}

/// Takes the next batch, if any is to come.
fn next(batches: &Mutex<Receiver<Vec<Small>>>) -> Option<Vec<Small>> {
    batches.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl<'a> Target<'a> {
    fn fault<'f>(&self, action: &'static str, path: &'f [u8]) -> impl FnOnce(io::Error) -> StepError + 'f
    where
        'a: 'f,
    {
        StepError::own(action, self.path, path)
    }

    fn directory(&self, path: &[u8]) -> Result<OwnedFd, StepError> {
        directory_beneath(self.root, path).map_err(self.fault("open", path))
    }

    fn make_directory(&self, path: &[u8]) -> Result<(), StepError> {
        let (parents, name) = split(path);
        let made = rustix::fs::mkdirat(self.directory(parents)?, name, Mode::RWXU);
        made.map_err(|error| self.fault("make", path)(error.into()))
    }

    fn make_symlink(&self, path: &[u8], target: &[u8], mtime: i64) -> Result<(), StepError> {
        let (parents, name) = split(path);
        let parent = self.directory(parents)?;
        let make = || -> rustix::io::Result<()> {
            rustix::fs::symlinkat(target, &parent, name)?;
            rustix::fs::utimensat(&parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
        };
        make().map_err(|error| self.fault("make", path)(error.into()))
    }

    fn create(&self, parent: &OwnedFd, path: &[u8]) -> Result<File, StepError> {
        create(parent.as_fd(), split(path).1).map_err(self.fault("make", path))
    }

    /// Gives a written file what else it has.
    fn complete(&self, file: &File, small: &Small) -> Result<(), StepError> {
        let complete = || -> io::Result<()> {
            rustix::fs::fchmod(file, mode(small.mode))?;
            if let Some(value) = &small.capability {
                set_capability(file, value)?;
            }
            Ok(rustix::fs::futimens(file, &times(small.mtime))?)
        };
        complete().map_err(self.fault("set the metadata of", &small.path))
    }

    /// Makes all files that are left to a writer.
    fn write_all(&self, batches: &Mutex<Receiver<Vec<Small>>>) -> Result<(), StepError> {
        while let Some(batch) = next(batches) {
            let mut last: Option<(&[u8], OwnedFd)> = None;
            for small in &batch {
                let (parents, _) = split(&small.path);
                if last.as_ref().is_none_or(|(path, _)| *path != parents) {
                    last = Some((parents, self.directory(parents)?));
                }
                let (_, parent) = last.as_ref().expect("it was just opened");
                let file = self.create(parent, &small.path)?;
                (&file).write_all(&small.content).map_err(self.fault("write", &small.path))?;
                self.complete(&file, small)?;
            }
        }
        Ok(())
    }

    fn link(&self, path: &[u8], to: &[u8]) -> Result<(), StepError> {
        let ((parents, name), (others, other)) = (split(path), split(to));
        let (directory, source) = (self.directory(parents)?, self.directory(others)?);
        let linked = rustix::fs::linkat(source, other, directory, name, AtFlags::empty());
        linked.map_err(|error| self.fault("link", path)(error.into()))
    }

    /// Gives directories their modes and times, those within others first.
    fn set_modes(&self, made: &BTreeMap<Vec<u8>, Made>) -> Result<(), StepError> {
        for (path, made) in made.iter().rev() {
            if let Made::Directory { mode: bits, mtime } = made {
                let directory = self.directory(path)?;
                let set = || -> rustix::io::Result<()> {
                    rustix::fs::fchmod(&directory, mode(*bits))?;
                    rustix::fs::futimens(&directory, &times(*mtime))
                };
                set().map_err(|error| self.fault("set the metadata of", path)(error.into()))?;
            }
        }
        Ok(())
    }
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests;
