//! An OCI layout in a directory, as a [`Target`]
//! ([image-spec, layout](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md)).
//!
//! What others put there stays: other names, foreign entries and unknown fields of `index.json` to
//! the byte, though space between them goes. A blob is written under a temporary name, synced and
//! renamed; `index.json` is replaced in the same way once every blob is on the disk, so a crash at
//! any moment leaves the old images or the new, never a name for what isn't whole.
//!
//! Many processes may write into one layout. They meet at a lock on the `oci-layout` file itself,
//! which nobody replaces: no file is needed that doesn't belong there. Tools that know nothing of
//! that lock (all others) must not change `index.json` at the same moment.
//!
//! Knows nothing of what images are for; a blob that nothing names any more is left to whoever
//! cleans layouts up.

mod directory;
mod keep;
mod session;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::blob::{
    AheadFile, BlobError, BlobFiles, Content, PlaceFault, Sink, Source, Target, lacking, pour,
};
use crate::copy::{Listing, Referrers, referring};
use crate::digest::Digest;
use crate::event::Transfer;
use crate::oci::{Descriptor, ImageLayout, IndexFile, JsonError, MAX_MANIFEST_SIZE, annotation};

use directory::State;
pub(crate) use directory::check_marker;
use session::Session;

/// A directory can't be used as a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is nothing under that name.
    #[error("there is no such directory")]
    Absent,
    /// There is something else than a directory.
    #[error("it is not a directory: name a directory, new or empty, or that of a layout")]
    NotADirectory,
    /// The directory holds other things.
    #[error("it is not an OCI layout: it holds {found} and no `oci-layout`")]
    Foreign {
        /// Some of what it holds, in backticks.
        found: String,
    },
    /// The directory is empty, or a layout that was never finished.
    #[error("it holds no image yet: there is no `{0}` in it")]
    Unfinished(&'static str),
    /// A file of the layout can't be read as what it should be.
    #[error("its `{file}` is damaged; move the directory away, or mend the file")]
    Damaged {
        /// The file.
        file: &'static str,
        /// How it can't be read.
        #[source]
        source: JsonError,
    },
    /// The layout is of a version that came after this library.
    #[error("it is a layout of version `{0}`, where only `{version}` is known", version = ImageLayout::VERSION)]
    Version(String),
    /// Nothing can be called by this name.
    #[error("an image can't be called `{0}` in a layout: a name has no spaces or control characters")]
    BadName(String),
    /// A name stands for several things.
    #[error("`{0}` stands for several images in it")]
    Ambiguous(String),
    /// Without a name, it isn't clear which image is meant.
    #[error("it doesn't hold just one image: choose one by its name{}", listed(names))]
    NotOne {
        /// The names of those that have one.
        names: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" (`{}`)", names.join("`, `")),
    }
}

/// An OCI layout in a directory.
///
/// Nothing is written or locked before the first push. If a value is dropped after pushes without
/// a [`Target::tag`] or [`Listing::list`] since, what it wrote is removed again, so far as nothing else came to use it:
/// a layout that it made itself disappears.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
    session: Mutex<Option<Session>>,
}

impl Layout {
    /// Opens the layout in a directory, which must be there and be whole.
    ///
    /// # Errors
    /// [`BlobError::Place`] with a [`LayoutError`] if it isn't a layout, [`BlobError::File`] if it
    /// can't be read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let layout = Self::of(directory.into());
        match layout.state()? {
            State::Absent => Err(layout.unsuitable(LayoutError::Absent)),
            State::Empty => Err(layout.unsuitable(LayoutError::Unfinished(ImageLayout::FILE))),
            State::Layout => match layout.read_index()? {
                Some(_) => Ok(layout),
                None => Err(layout.unsuitable(LayoutError::Unfinished(ImageLayout::INDEX))),
            },
        }
    }

    /// Opens the layout in a directory, or plans one where the directory is empty or missing: it
    /// is made, with its parents, at the first push.
    ///
    /// # Errors
    /// [`BlobError::Place`] with a [`LayoutError`] if the directory is something else;
    /// [`BlobError::File`] if it can't be read.
    pub fn open_or_create(directory: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let layout = Self::of(directory.into());
        if layout.state()? == State::Layout {
            layout.read_index()?;
        }
        Ok(layout)
    }

    fn of(directory: PathBuf) -> Self {
        Self { directory, session: Mutex::new(None) }
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns what the layout's index lists, in its order and with all annotations. Entries with
    /// digests that can't be verified here are left out.
    ///
    /// # Errors
    /// [`BlobError`] if the index can't be read.
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, BlobError> {
        Ok(self.read_index()?.unwrap_or_default().descriptors())
    }

    /// Returns the names in the layout, in the order of its index.
    ///
    /// # Errors
    /// [`BlobError`] if the index can't be read.
    pub fn names(&self) -> Result<Vec<String>, BlobError> {
        let name = |mut one: Descriptor| one.annotations.remove(annotation::REF_NAME);
        Ok(self.descriptors()?.into_iter().filter_map(name).collect())
    }

    /// Returns the one image or index of a layout that has just one, under however many names.
    /// What has no name and refers to something, as signatures do, doesn't count.
    ///
    /// # Errors
    /// [`BlobError::Place`] with [`LayoutError::NotOne`] if there are more, or none.
    pub fn sole(&self) -> Result<Descriptor, BlobError> {
        match sole(self, self.descriptors()?) {
            Some(one) => Ok(one),
            None => Err(self.unsuitable(LayoutError::NotOne { names: self.names()? })),
        }
    }

    fn state(&self) -> Result<State, BlobError> {
        directory::state(&self.directory).map_err(|fault| self.fault(fault))
    }

    /// Reads the index; there is none in a layout that nothing was ever named in.
    fn read_index(&self) -> Result<Option<IndexFile>, BlobError> {
        let path = self.directory.join(ImageLayout::INDEX);
        let bytes = match directory::read_bounded(&path, MAX_MANIFEST_SIZE) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BlobError::File { action: "read", path, source }),
        };
        let damaged = |source| self.unsuitable(LayoutError::Damaged { file: ImageLayout::INDEX, source });
        IndexFile::parse(&bytes).map(Some).map_err(damaged)
    }

    fn files(&self) -> BlobFiles<'_> {
        BlobFiles(&self.directory)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.files().path(digest)
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.files().has(descriptor)
    }

    /// Does something within the layout's one session of writing, which is begun if it isn't yet.
    fn write<T>(&self, act: impl FnOnce(&mut Session) -> T) -> Result<T, BlobError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match &mut *session {
            Some(session) => session,
            none => none.insert(Session::begin(&self.directory).map_err(|fault| self.fault(fault))?),
        };
        Ok(act(session))
    }

    fn unsuitable(&self, error: LayoutError) -> BlobError {
        let (place, fault) = (Source::place(self), PlaceFault::Unsuitable);
        BlobError::Place { place, fault, source: Box::new(error) }
    }

    fn fault(&self, fault: directory::Fault) -> BlobError {
        match fault {
            directory::Fault::Layout(error) => self.unsuitable(error),
            directory::Fault::File { action, path, source } => BlobError::File { action, path, source },
        }
    }
}

/// A name in a layout is the layout's, not the image's.
pub(crate) fn unnamed(descriptor: &Descriptor) -> Descriptor {
    let mut descriptor = descriptor.clone();
    descriptor.annotations.remove(annotation::REF_NAME);
    descriptor.annotations.remove(annotation::CONTAINERD_NAME);
    descriptor
}

/// Returns the one image among entries of an index: what has no name and refers to something stands
/// there only to be found.
pub(crate) fn sole(source: &dyn Source, mut entries: Vec<Descriptor>) -> Option<Descriptor> {
    if let [one, rest @ ..] = &entries[..]
        && !all_are(one, rest)
    {
        // What can't be read doesn't stand aside: then there is more than one.
        let referring = referring(source, entries.clone()).unwrap_or_default();
        let referring: BTreeSet<Digest> = referring.values().flatten().map(|one| one.digest).collect();
        entries.retain(|entry| {
            entry.annotations.contains_key(annotation::REF_NAME) || !referring.contains(&entry.digest)
        });
    }
    match &entries[..] {
        [one, rest @ ..] if all_are(one, rest) => Some(unnamed(one)),
        _ => None,
    }
}

fn all_are(one: &Descriptor, rest: &[Descriptor]) -> bool {
    rest.iter().all(|other| other.digest == one.digest)
}

impl Source for Layout {
    fn place(&self) -> String {
        format!("the layout `{}`", self.directory.display())
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.has(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.files().fetch(descriptor, self)
    }
}

impl Sink for Layout {
    fn place(&self) -> String {
        Source::place(self)
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        lacking(descriptors, |descriptor| self.has(descriptor))
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        if self.has(descriptor)? {
            return Ok(Transfer::Present);
        }
        let path = self.path(&descriptor.digest);
        let fault = |source| BlobError::File { action: "write", path: path.clone(), source };
        self.write(|_| ())?;
        let part = directory::part(&self.directory).map_err(fault)?;
        let mut file = AheadFile::new(part.as_file().try_clone().map_err(fault)?);
        pour(descriptor, content, &mut file, &fault)?;
        file.sync().map_err(fault)?;
        fs::create_dir_all(path.parent().expect("a blob's path has a parent")).map_err(fault)?;
        // Noted before it is there, so that no blob is ever there unnoted.
        self.write(|session| session.note(descriptor.digest))?;
        part.persist(&path).map_err(|error| fault(error.error))?;
        Ok(Transfer::Sent)
    }
}

impl Target for Layout {
    fn resolve(&self, name: &str) -> Result<Descriptor, BlobError> {
        match &self.read_index()?.unwrap_or_default().called(name)[..] {
            [one, rest @ ..] if all_are(one, rest) => Ok(unnamed(one)),
            [_, ..] => Err(self.unsuitable(LayoutError::Ambiguous(name.to_owned()))),
            [] => Err(BlobError::UnknownName { name: name.to_owned(), place: Source::place(self) }),
        }
    }

    /// Everything written so far is on the disk before the name is changed. A name that means this
    /// already costs nothing.
    fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(self.unsuitable(LayoutError::BadName(name.to_owned())));
        }
        if !self.has(descriptor)? {
            return Err(BlobError::Missing { digest: descriptor.digest, place: Source::place(self) });
        }
        let entry = descriptor.clone().with_annotation(annotation::REF_NAME, name);
        self.change_index(|index| index.put(name, &entry))
    }
}

impl Referrers for Layout {
    /// Looks through everything that the index names.
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, BlobError> {
        let mut found = referring(self, self.descriptors()?)?;
        Ok(found.remove(&subject.digest).unwrap_or_default())
    }
}

impl Listing for Layout {
    /// Names it in the index without giving it a name, unless it has one: so readers find it, and
    /// those that clean up leave it. With this, too, everything written so far is on the disk.
    fn list(&self, referrer: &Descriptor) -> Result<(), BlobError> {
        if !self.has(referrer)? {
            return Err(BlobError::Missing { digest: referrer.digest, place: Source::place(self) });
        }
        self.change_index(|index| index.add(&unnamed(referrer)))
    }
}

impl Layout {
    /// Changes the index, if `change` tells that it did, while nobody else does.
    fn change_index(&self, change: impl FnOnce(&mut IndexFile) -> bool) -> Result<(), BlobError> {
        self.write(|session| {
            let _lock = session.lock_index().map_err(|fault| self.fault(fault))?;
            let mut index = self.read_index()?.unwrap_or_default();
            if change(&mut index) {
                self.replace_index(&index)?;
            }
            session.pending.clear();
            Ok(())
        })?
    }

    fn replace_index(&self, index: &IndexFile) -> Result<(), BlobError> {
        let path = self.directory.join(ImageLayout::INDEX);
        let fault = |source| BlobError::File { action: "write", path: path.clone(), source };
        let bytes = index
            .to_bytes()
            .map_err(|source| self.unsuitable(LayoutError::Damaged { file: ImageLayout::INDEX, source }))?;
        directory::sync_blobs(&self.directory).map_err(fault)?;
        directory::replace(&self.directory, ImageLayout::INDEX, &bytes).map_err(fault)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            session.end(self);
        }
    }
}

#[cfg(test)]
mod tests;
