//! Archives of images as a place that images come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;
use std::sync::OnceLock;

use crate::archive::docker::{self, Saved};
use crate::archive::members::{MemberContent, Members};
use crate::archive::{ArchiveError, names};
use crate::blob::{BlobError, Content, PlaceFault, Source};
use crate::compress::{Codec, DecodeLimits, decoder};
use crate::copy::{Referrers, referring};
use crate::digest::Digest;
use crate::layout::{self, LayoutError};
use crate::oci::{Descriptor, ImageLayout, IndexFile, MAX_MANIFEST_SIZE, annotation};

/// As what an archive is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ArchiveForm {
    /// As the layout that it is, or else as what `docker save` wrote.
    #[default]
    Any,
    /// As an OCI layout in a tar.
    Oci,
    /// By its `manifest.json`, as `docker load` does.
    Docker,
}

/// An archive of images: an OCI layout in a tar, or what `docker save` wrote before it wrote those.
///
/// Opening it looks at all headers and reads `index.json` or `manifest.json`; blobs are read, any
/// number at a time, where they lie, and verified at their end. A manifest that `manifest.json`
/// stands in for is made: the same archive gives the same digest, which no registry knows, unless
/// it was made here before.
pub struct Archive {
    place: String,
    members: Members,
    images: Images,
    referrers: OnceLock<BTreeMap<Digest, Vec<Descriptor>>>,
}

enum Images {
    Layout(IndexFile),
    Saved(Saved),
}

impl Archive {
    /// Opens the archive in a file. One that is compressed (gzip, zstd), or that is a pipe, is
    /// unpacked into a file without a name in the directory `spool`, which goes with this value.
    ///
    /// # Errors
    /// [`BlobError::File`] if a file can't be read or written, [`BlobError::Place`] with an
    /// [`ArchiveError`] if it isn't an archive of images, or not of that form.
    pub fn open(path: &Path, form: ArchiveForm, spool: &Path) -> Result<Self, BlobError> {
        let place = format!("the archive `{}`", path.display());
        let fault = |source| BlobError::File { action: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fault)?;
        let metadata = file.metadata().map_err(fault)?;
        if metadata.is_dir() {
            return Err(fault(io::ErrorKind::IsADirectory.into()));
        }
        let is_plain = metadata.is_file() && !is_compressed(&mut file).map_err(fault)?;
        let file = if is_plain { file } else { unpack(&place, file, spool)? };
        Self::of(place, file, form)
    }

    /// Reads the archive from a stream, which is called `place` in messages, into a file without a
    /// name in the directory `spool`.
    ///
    /// # Errors
    /// As for [`Archive::open`].
    pub fn from_stream(
        place: impl Into<String>,
        stream: impl Read + Send,
        form: ArchiveForm,
        spool: &Path,
    ) -> Result<Self, BlobError> {
        let place = place.into();
        let file = unpack(&place, stream, spool)?;
        Self::of(place, file, form)
    }

    fn of(place: String, file: File, form: ArchiveForm) -> Result<Self, BlobError> {
        let read = || {
            let members = Members::find(file)?;
            let images = images(&members, form)?;
            Ok((members, images))
        };
        let (members, images) = read().map_err(|error| unreadable(&place, error))?;
        Ok(Self { place, members, images, referrers: OnceLock::new() })
    }

    /// Returns the names of images, in the order of the archive.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match &self.images {
            Images::Layout(index) => {
                let name = |mut one: Descriptor| one.annotations.remove(annotation::REF_NAME);
                index.descriptors().into_iter().filter_map(name).collect()
            }
            Images::Saved(saved) => saved.names(),
        }
    }

    /// Returns the one image or index of an archive that has just one, under however many names;
    /// what has no name and refers to something, as signatures do, doesn't count.
    ///
    /// # Errors
    /// [`BlobError::Place`] with [`LayoutError::NotOne`] if there are more, or none; or with an
    /// [`ArchiveError`] if the image isn't whole.
    pub fn sole(&self) -> Result<Descriptor, BlobError> {
        let found = match &self.images {
            Images::Layout(index) => layout::sole(self, index.descriptors()),
            Images::Saved(saved) => {
                saved.choose(&self.members, None).map_err(|error| unreadable(&self.place, error))?
            }
        };
        found.ok_or_else(|| self.unsuitable(LayoutError::NotOne { names: self.names() }))
    }

    /// Looks a name up: a tag, a full name, or in an archive of docker's `@N`, the image at that
    /// place.
    ///
    /// # Errors
    /// [`BlobError::UnknownName`] if nothing has that name, [`BlobError::Place`] if several images
    /// have it, or the image isn't whole.
    pub fn resolve(&self, name: &str) -> Result<Descriptor, BlobError> {
        let unknown = || BlobError::UnknownName { name: name.to_owned(), place: self.place.clone() };
        let index = match &self.images {
            Images::Layout(index) => index,
            Images::Saved(saved) => {
                let found = saved.choose(&self.members, Some(name));
                return found.map_err(|error| unreadable(&self.place, error))?.ok_or_else(unknown);
            }
        };
        match &index.called(name)[..] {
            [one, rest @ ..] if rest.iter().all(|other| other.digest == one.digest) => {
                Ok(layout::unnamed(one))
            }
            [_, ..] => Err(self.unsuitable(LayoutError::Ambiguous(name.to_owned()))),
            [] => Err(unknown()),
        }
    }

    fn unsuitable(&self, error: LayoutError) -> BlobError {
        let (place, fault) = (self.place.clone(), PlaceFault::Unsuitable);
        BlobError::Place { place, fault, source: Box::new(error) }
    }

    fn find(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content>>, BlobError> {
        if let Images::Saved(saved) = &self.images {
            return Ok(saved.fetch(descriptor));
        }
        let member = self.members.get(&names::path(&descriptor.digest));
        let member = member.map_err(|error| unreadable(&self.place, error))?;
        let member = member.filter(|member| member.size == descriptor.size);
        Ok(member.map(|member| -> Box<dyn Content> {
            Box::new(MemberContent { member, descriptor: descriptor.clone() })
        }))
    }
}

impl Source for Archive {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.find(descriptor)?.is_some())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let missing = || BlobError::Missing { digest: descriptor.digest, place: self.place.clone() };
        self.find(descriptor)?.ok_or_else(missing)
    }
}

impl Referrers for Archive {
    /// Looks through everything that the index names, once.
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, BlobError> {
        let Images::Layout(index) = &self.images else { return Ok(Vec::new()) };
        let found = match self.referrers.get() {
            Some(found) => found,
            None => {
                let found = referring(self, index.descriptors())?;
                self.referrers.get_or_init(|| found)
            }
        };
        Ok(found.get(&subject.digest).cloned().unwrap_or_default())
    }
}

/// What the archive is, where it may be both.
fn images(members: &Members, form: ArchiveForm) -> Result<Images, ArchiveError> {
    let is_layout = members.has(ImageLayout::FILE) && members.has(ImageLayout::INDEX);
    let saved = || Saved::read(members).map(|saved| saved.map(Images::Saved));
    match form {
        ArchiveForm::Any if is_layout => layout_images(members),
        ArchiveForm::Any => saved()?.ok_or(ArchiveError::NoImages),
        ArchiveForm::Oci if is_layout => layout_images(members),
        ArchiveForm::Oci => Err(ArchiveError::NotOci { is_docker: members.has(docker::FILE) }),
        ArchiveForm::Docker => saved()?.ok_or(ArchiveError::NotDocker { is_oci: is_layout }),
    }
}

fn layout_images(members: &Members) -> Result<Images, ArchiveError> {
    let read = |name: &'static str| {
        let bytes = members.read(name, MAX_MANIFEST_SIZE)?;
        bytes.ok_or_else(|| ArchiveError::Absent { file: "the archive", name: name.to_owned() })
    };
    layout::check_marker(&read(ImageLayout::FILE)?).map_err(|error| ArchiveError::Layout(Box::new(error)))?;
    let damaged = |source| ArchiveError::Damaged { file: ImageLayout::INDEX, source };
    IndexFile::parse(&read(ImageLayout::INDEX)?).map(Images::Layout).map_err(damaged)
}

/// Tells whether the file has to be unpacked; or is of a kind that can't be.
fn is_compressed(file: &mut File) -> io::Result<bool> {
    let codec = decoder(&mut *file, &DecodeLimits::default()).map(|decoder| decoder.codec());
    file.rewind()?;
    Ok(codec.ok() != Some(Codec::None))
}

fn unpack(place: &str, stream: impl Read + Send, spool: &Path) -> Result<File, BlobError> {
    let full = |source| BlobError::File { action: "write a temporary file in", path: spool.into(), source };
    let mut decoder = decoder(stream, &DecodeLimits::default())
        .map_err(|error| unreadable(place, ArchiveError::Codec(error)))?;
    let mut file = tempfile::tempfile_in(spool).map_err(full)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(count) => io::Write::write_all(&mut file, &buffer[..count]).map_err(full)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(place, ArchiveError::Read(error))),
        }
    }
}

fn unreadable(place: &str, source: ArchiveError) -> BlobError {
    let (place, fault) = (place.to_owned(), PlaceFault::Unsuitable);
    BlobError::Place { place, fault, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
