//! What `docker save` wrote before it wrote layouts, and what others still write for its sake:
//! `manifest.json`, configs, and layers as tars.
//!
//! It has no manifests. One is made of what there is, so that the image has a digest: config and
//! layers are taken as they are, to the byte.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::archive::ArchiveError;
use crate::archive::members::{Member, MemberContent, Members};
use crate::base::HashingReader;
use crate::blob::{BytesContent, Content};
use crate::compress::{Codec, DecodeLimits, decoder};
use crate::digest::{DiffId, Digest, HashingWriter};
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, Manifest, MediaType, from_json, to_json};
use crate::reference::Reference;

/// The file that says what there is.
pub(super) const FILE: &str = "manifest.json";

/// An image, as the file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// As much of a config as says what the layers should be.
#[derive(Deserialize)]
struct SavedConfig {
    rootfs: SavedRootFs,
}

#[derive(Deserialize)]
struct SavedRootFs {
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

/// A blob that an image has.
#[derive(Clone)]
enum Held {
    Bytes(Arc<[u8]>),
    Member(Member),
}

/// The images of an archive; each is looked at only once it is asked for.
pub(super) struct Saved {
    images: Vec<SavedImage>,
    blobs: Mutex<BTreeMap<Digest, (u64, Held)>>,
}

impl Saved {
    pub(super) fn read(members: &Members) -> Result<Option<Self>, ArchiveError> {
        let Some(bytes) = members.read(FILE, MAX_MANIFEST_SIZE)? else { return Ok(None) };
        let damaged = |source| ArchiveError::Damaged { file: FILE, source };
        let images: Vec<SavedImage> = from_json(&bytes).map_err(damaged)?;
        Ok(Some(Self { images, blobs: Mutex::default() }))
    }

    /// Returns the names of all images.
    pub(super) fn names(&self) -> Vec<String> {
        self.images.iter().flat_map(|image| image.repo_tags.clone().unwrap_or_default()).collect()
    }

    /// Finds the image of this name, `@N` being the one at that place; without a name the only one.
    /// Nothing if there is no such image.
    pub(super) fn choose(
        &self,
        members: &Members,
        name: Option<&str>,
    ) -> Result<Option<Descriptor>, ArchiveError> {
        let found = match (name, &self.images[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), images) => match name.strip_prefix('@').map(str::parse::<usize>) {
                Some(Ok(number)) => images.get(number),
                _ => images.iter().find(|image| image.is_called(name)),
            },
        };
        found.map(|image| self.make(members, image)).transpose()
    }

    /// Makes the image's manifest, and notes where its blobs are.
    fn make(&self, members: &Members, image: &SavedImage) -> Result<Descriptor, ArchiveError> {
        let absent = |name: &str| ArchiveError::Absent { file: FILE, name: name.to_owned() };
        let config = members.read(&image.config, MAX_MANIFEST_SIZE)?.ok_or_else(|| absent(&image.config))?;
        let parsed: SavedConfig = from_json(&config)
            .map_err(|source| ArchiveError::Config { name: image.config.clone(), source })?;
        let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
        let names = image.layers.as_deref().unwrap_or_default();
        if names.len() != diff_ids.len() {
            let (config, layers) = (image.config.clone(), names.len());
            return Err(ArchiveError::LayerCount { config, layers, diff_ids: diff_ids.len() });
        }
        let mut layers = Vec::with_capacity(names.len());
        for (name, diff_id) in names.iter().zip(diff_ids) {
            let member = members.get(name)?.ok_or_else(|| absent(name))?;
            let layer = describe(name, &member, diff_id)?;
            self.hold(&layer, Held::Member(member));
            layers.push(layer);
        }
        let config = self.hold_bytes(MediaType::CONFIG, config);
        Ok(self.hold_bytes(MediaType::MANIFEST, to_json(&Manifest::new(config, layers))))
    }

    fn hold_bytes(&self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.hold(&descriptor, Held::Bytes(bytes.into()));
        descriptor
    }

    fn hold(&self, descriptor: &Descriptor, held: Held) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(descriptor.digest, (descriptor.size, held));
    }

    /// Returns a blob of an image that was chosen.
    pub(super) fn fetch(&self, descriptor: &Descriptor) -> Option<Box<dyn Content>> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (size, held) = blobs.get(&descriptor.digest)?.clone();
        if size != descriptor.size {
            return None;
        }
        Some(match held {
            Held::Bytes(bytes) => Box::new(BytesContent::new(bytes)),
            Held::Member(member) => Box::new(MemberContent { member, descriptor: descriptor.clone() }),
        })
    }
}

impl SavedImage {
    /// Tells whether this is a name of the image, be it in short.
    fn is_called(&self, name: &str) -> bool {
        let full = |name: &str| name.parse::<Reference>().ok().map(Reference::or_latest);
        let wanted = full(name);
        let is = |tag: &String| tag == name || (wanted.is_some() && full(tag) == wanted);
        self.repo_tags.iter().flatten().any(is)
    }
}

/// Describes a layer. One that isn't compressed is what its `diff_id` says, which is verified
/// whenever it is read; of any other that is made sure here, as its own digest stands nowhere.
fn describe(name: &str, member: &Member, diff_id: DiffId) -> Result<Descriptor, ArchiveError> {
    let unreadable = |source: io::Error| ArchiveError::Layer { name: name.to_owned(), source };
    let decoder = decoder(member.open(0), &DecodeLimits::default())
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let media_type = match decoder.codec() {
        Codec::None => return Ok(Descriptor::new(MediaType::LAYER, diff_id.0, member.size)),
        Codec::Gzip => MediaType::LAYER_GZIP,
        Codec::Zstd => MediaType::LAYER_ZSTD,
    };
    let mut content = HashingReader::new(decoder, diff_id);
    io::copy(&mut content, &mut io::sink()).map_err(unreadable)?;
    let found = content.value();
    if found != diff_id {
        let (found, expected) = (Box::new(found), Box::new(diff_id));
        return Err(ArchiveError::DiffId { name: name.to_owned(), found, expected });
    }
    let mut hashed = HashingWriter::new(io::sink());
    io::copy(&mut member.open(0), &mut hashed).map_err(unreadable)?;
    let (_, digest, size) = hashed.finish();
    Ok(Descriptor::new(media_type, digest, size))
}
