//! Archives of images: what others wrote is read ([`Archive`]), and one is written that every loader
//! takes ([`ArchiveWriter`]): a layout in a tar, with Docker's `manifest.json` beside its
//! index, both pointing at the same blobs.
//!
//! `docker load` reads `manifest.json` and nothing else; `ctr images import` reads `index.json`
//! and, in its entries, full names under containerd's annotation; `podman load` and `skopeo` read
//! either. As `manifest.json` knows no platforms, an index is there represented by **its first
//! image**, and is whole only in `index.json`.
//!
//! The archive is written in one go, so that it may be a stream. Its bytes follow from the images
//! and the order of the pushes, which [`copy`](crate::copy::copy) derives from the images: the
//! same images give the same archive. Headers are made by the `tar` crate, whose shortcomings are
//! in other parts: names here are short ASCII, and what a plain header can't hold goes into PAX
//! records.

mod docker;
mod entry;
mod members;
mod names;
mod output;
mod read;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::blob::{BlobError, BytesContent, Content, PlaceFault, Sink, pour, read_fault};
use crate::compress::DecodeError;
use crate::copy::{GraphError, Listing, children};
use crate::digest::{DiffId, Digest, VerifyingReader};
use crate::event::Transfer;
use crate::layout::{LayoutError, unnamed};
use crate::oci::{Descriptor, ImageLayout, JsonError, MAX_MANIFEST_SIZE, MediaType, to_json};
use crate::reference::Reference;
use crate::tar::ReadError;

pub use read::{Archive, ArchiveForm};

use output::Output;

/// An archive can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// An earlier push failed in the midst of a blob, and a stream can't be taken back.
    #[error("the archive broke off in the midst of a blob")]
    Broken,
    /// An image names a blob that isn't in the archive.
    #[error("`{digest}`, which `{image}` needs, is not in it")]
    Incomplete {
        /// The image's name.
        image: String,
        /// The blob that is missing.
        digest: Digest,
    },
    /// Two images would have one name.
    #[error("`{name}` would stand for two images in it, `{first}` and `{second}`")]
    SameName {
        /// The name.
        name: String,
        /// One image's own name.
        first: String,
        /// The other's.
        second: String,
    },
    /// The output can't be written.
    #[error("it can't be written")]
    Write(#[source] io::Error),
    /// Its bytes can't be had.
    #[error("it can't be read")]
    Read(#[source] io::Error),
    /// It is no tar, or a damaged one.
    #[error("it is no archive, or a damaged one")]
    Tar(#[source] ReadError),
    /// It is compressed by something that isn't known.
    #[error("it can't be unpacked")]
    Codec(#[source] DecodeError),
    /// It is an archive of something else.
    #[error(
        "it holds no images: there is neither an `index.json` with an `oci-layout` in it nor a `manifest.json`"
    )]
    NoImages,
    /// There is no layout in it.
    #[error("it is no OCI layout: there is no `index.json` with an `oci-layout` in it")]
    NotOci {
        /// Whether it can be read as [`ArchiveForm::Docker`].
        is_docker: bool,
    },
    /// It isn't what `docker save` writes.
    #[error("there is no `manifest.json` in it")]
    NotDocker {
        /// Whether it can be read as [`ArchiveForm::Oci`].
        is_oci: bool,
    },
    /// It is a layout that can't be read.
    #[error(transparent)]
    Layout(Box<LayoutError>),
    /// There is more in it than in any archive of images.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// A file is larger than it may be.
    #[error("`{name}` in it has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Two files have one name, and readers don't agree on which of them counts.
    #[error("`{0}` stands in it twice")]
    Twice(String),
    /// A file has holes.
    #[error("`{0}` is written with holes, which can't be read")]
    Sparse(String),
    /// Links lead to links.
    #[error("`{0}` in it is a link that leads nowhere")]
    Links(String),
    /// A file isn't what it should be.
    #[error("`{file}` in it is damaged")]
    Damaged {
        /// The file.
        file: &'static str,
        /// How it can't be read.
        #[source]
        source: JsonError,
    },
    /// A config can't be read.
    #[error("the config `{name}` in it can't be used")]
    Config {
        /// The file.
        name: String,
        /// How it can't be read.
        #[source]
        source: JsonError,
    },
    /// A file that is named isn't there.
    #[error("`{name}`, which `{file}` names, is not in it")]
    Absent {
        /// What names it.
        file: &'static str,
        /// What is named.
        name: String,
    },
    /// An image has more layers or fewer than its config says.
    #[error("an image has {layers} layers in it, and `diff_ids` of {diff_ids} in its config `{config}`")]
    LayerCount {
        /// The config.
        config: String,
        /// The layers of `manifest.json`.
        layers: usize,
        /// Those of the config.
        diff_ids: usize,
    },
    /// A compressed layer can't be read.
    #[error("the layer `{name}` in it can't be read")]
    Layer {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer isn't the one that the config names.
    #[error("the layer `{name}` in it is `{found}`, and should be `{expected}`")]
    DiffId {
        /// The file.
        name: String,
        /// What it is.
        found: Box<DiffId>,
        /// What the config says.
        expected: Box<DiffId>,
    },
}

/// An image or index in an archive, with what it is called there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArchiveImage {
    /// The image's manifest, or its index.
    pub descriptor: Descriptor,
    /// What it is called in `index.json` where it has no references.
    pub name: String,
    /// Its full names. The tag of each is its name in `index.json`.
    pub references: Vec<Reference>,
}

impl ArchiveImage {
    /// Describes an image without references.
    pub fn new(descriptor: Descriptor, name: impl Into<String>) -> Self {
        Self { descriptor, name: name.into(), references: Vec::new() }
    }

    /// Adds a full name; without a tag, it is taken to mean `latest`.
    #[must_use]
    pub fn reference(mut self, reference: Reference) -> Self {
        self.references.push(reference.or_latest());
        self
    }
}

/// An archive on its way to a file or a stream.
///
/// Blobs are pushed into it, and [`ArchiveWriter::finish`] names what they are. A file becomes
/// visible only then; dropped before, it leaves nothing behind, and what was there stays.
pub struct ArchiveWriter<'a> {
    place: String,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    output: Output<'a>,
    /// Blobs in the archive, with the parts of those that are manifests or indexes.
    blobs: BTreeMap<Digest, Blob>,
    /// What has no name and is to be found all the same.
    listed: Vec<Descriptor>,
    begun: bool,
    broken: bool,
}

struct Blob {
    size: u64,
    parts: Vec<Descriptor>,
}

impl<'a> ArchiveWriter<'a> {
    /// Starts an archive that becomes a file, in place of one that may be there. Missing parent
    /// directories are made. What isn't a regular file (a pipe, a device) is written to as it is.
    ///
    /// # Errors
    /// [`BlobError::File`] if nothing can be written there.
    pub fn to_file(path: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let path = path.into();
        let place = format!("the archive `{}`", path.display());
        let output = Output::file(&path).map_err(|source| BlobError::File {
            action: "write",
            path: path.clone(),
            source,
        })?;
        Ok(Self::new(place, output))
    }

    /// Starts an archive that goes to a stream, which is called `place` in messages. A stream that
    /// breaks off holds no `manifest.json` and no `index.json`, so that no loader takes it.
    pub fn to_stream(place: impl Into<String>, stream: impl Write + Send + 'a) -> Self {
        Self::new(place.into(), Output::stream(stream))
    }

    fn new(place: String, output: Output<'a>) -> Self {
        Self {
            place,
            state: Mutex::new(State {
                output,
                blobs: BTreeMap::new(),
                listed: Vec::new(),
                begun: false,
                broken: false,
            }),
        }
    }

    /// Names the images and completes the archive; a file is synced and put in place.
    ///
    /// # Errors
    /// [`BlobError`] if an image or one of its parts isn't in the archive, two images would share
    /// a name, or the output can't be written. A file that was there is then still the old one.
    pub fn finish(self, images: &[ArchiveImage]) -> Result<(), BlobError> {
        let Self { place, state } = self;
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.finish(images).map_err(|error| fault(&place, error))
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    fn finish(mut self, images: &[ArchiveImage]) -> Result<(), ArchiveError> {
        let docker = names::docker_manifest(images, &self.blobs)?;
        let index = names::index(images, &self.listed)?;
        self.begin()?;
        self.file("manifest.json", &to_json(&docker))?;
        self.file(ImageLayout::INDEX, &to_json(&index))?;
        entry::end(&mut self.output).map_err(ArchiveError::Write)?;
        self.output.finish().map_err(ArchiveError::Write)
    }

    /// Writes what stands before the first blob, unless it is there.
    fn begin(&mut self) -> Result<(), ArchiveError> {
        if self.broken {
            return Err(ArchiveError::Broken);
        }
        if !self.begun {
            self.begun = true;
            self.file(ImageLayout::FILE, &to_json(&ImageLayout::default()))?;
            for name in ["blobs/", "blobs/sha256/"] {
                entry::directory(&mut self.output, name).map_err(ArchiveError::Write)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let size = bytes.len() as u64;
        entry::start_file(&mut self.output, name, size)
            .and_then(|()| self.output.write_all(bytes))
            .and_then(|()| entry::padding(&mut self.output, size))
            .map_err(ArchiveError::Write)
    }

    /// Writes a blob; whatever fails in the midst of it ends the archive.
    fn blob(&mut self, place: &str, descriptor: &Descriptor, content: &dyn Content) -> Result<(), BlobError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let failed = |error| fault(place, ArchiveError::Write(error));
        self.begin().map_err(|error| fault(place, error))?;
        self.broken = true;
        entry::start_file(&mut self.output, &names::path(&digest), size).map_err(failed)?;
        pour(descriptor, content, &mut self.output, &failed)?;
        entry::padding(&mut self.output, size).map_err(failed)?;
        self.broken = false;
        Ok(())
    }
}

fn fault(place: &str, source: ArchiveError) -> BlobError {
    let fault = match source {
        ArchiveError::Write(_) | ArchiveError::Broken => PlaceFault::Unavailable,
        _ => PlaceFault::Refused,
    };
    BlobError::Place { place: place.to_owned(), fault, source: Box::new(source) }
}

fn is_document(media_type: &MediaType) -> bool {
    media_type.is_manifest() || media_type.is_index()
}

/// Reads a manifest whole, to learn its parts before any of it is written.
fn read_document(
    descriptor: &Descriptor,
    content: &dyn Content,
) -> Result<(Vec<u8>, Vec<Descriptor>), BlobError> {
    let Descriptor { digest, size, .. } = *descriptor;
    let corrupt = |error| read_fault(digest, io::Error::new(io::ErrorKind::InvalidData, error));
    if size > MAX_MANIFEST_SIZE {
        return Err(corrupt(GraphError::Form(JsonError::TooLarge { size })));
    }
    let mut bytes = Vec::new();
    let reader = content.open(0).map_err(|source| read_fault(digest, source))?;
    VerifyingReader::new(reader, digest, size)
        .read_to_end(&mut bytes)
        .map_err(|source| read_fault(digest, source))?;
    let parts = children(&descriptor.media_type, &bytes).map_err(corrupt)?;
    Ok((bytes, parts))
}

impl Sink for ArchiveWriter<'_> {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let state = self.state();
        let missing = |one: &&Descriptor| !state.blobs.contains_key(&one.digest);
        Ok(descriptors.iter().filter(missing).cloned().collect())
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let mut state = self.state();
        if state.blobs.contains_key(&digest) {
            return Ok(Transfer::Present);
        }
        let mut parts = Vec::new();
        if is_document(&descriptor.media_type) {
            let (bytes, below) = read_document(descriptor, content)?;
            parts = below;
            state.blob(&self.place, descriptor, &BytesContent::new(bytes))?;
        } else {
            state.blob(&self.place, descriptor, content)?;
        }
        state.blobs.insert(digest, Blob { size, parts });
        Ok(Transfer::Sent)
    }

    /// One: the bytes of the archive follow the order of the pushes.
    fn concurrency(&self) -> usize {
        1
    }
}

impl Listing for ArchiveWriter<'_> {
    fn list(&self, referrer: &Descriptor) -> Result<(), BlobError> {
        let mut state = self.state();
        if !state.blobs.contains_key(&referrer.digest) {
            return Err(BlobError::Missing { digest: referrer.digest, place: self.place.clone() });
        }
        if state.listed.iter().all(|known| known.digest != referrer.digest) {
            state.listed.push(unnamed(referrer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
