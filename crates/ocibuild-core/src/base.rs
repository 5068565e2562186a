//! What a base holds: its config and layers, and the merged view of its files.
//!
//! A base is anybody's image, so everything about it is bounded and verified, and what different
//! consumers would take for different images is refused. Knows nothing of what is built on it.

mod builder;
mod changes;
mod encode;
mod index;
mod json;
mod listing;
mod open;
mod read;
#[cfg(test)]
mod tests;
mod track;
mod tree;
mod users;
pub(crate) mod varint;
mod window;

use crate::blob::{BlobError, Source};
use crate::compress::{DecodeError, DecodeLimits};
use crate::digest::{DiffId, Digest};
use crate::event::{Cancel, Cancelled};
use crate::oci::{Descriptor, ImageConfig, JsonError, Manifest, MediaType, Platform};
use crate::tar::ReadError;

pub use builder::ListingBuilder;
pub(crate) use json::duplicate_key;
pub use listing::{DirectoryMeta, Entries, Listed, ListedKind, Listing, listing_key};
pub(crate) use open::{is_image, read_index};
pub(crate) use read::{
    HashingReader, Whiteout, clean, is_content_fault, layer_fault, no_place, owner, read_layer, whiteout,
};
pub(crate) use track::{NOBODY, Tracked};
pub(crate) use tree::{MAX_PATH, checked_names};

/// The most layers that an image can have and still be run.
pub const MAX_LAYERS: usize = 127;

/// An image to build on: one platform's manifest and config, read and verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Base {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest, as the image specification would have it: media types of Docker's schema 2
    /// stand in it as their counterparts.
    pub manifest: Manifest,
    /// The manifest's bytes, as they came.
    pub manifest_bytes: Vec<u8>,
    /// What it runs on, as its config says.
    pub platform: Platform,
    /// The config, with what isn't understood of it.
    pub config: ImageConfig,
    /// The config's bytes, as they came.
    pub config_bytes: Vec<u8>,
    /// The layers, the lowest first, media types as in [`Base::manifest`].
    pub layers: Vec<Descriptor>,
    /// The digests of their contents, in the same order and number.
    pub diff_ids: Vec<DiffId>,
}

/// An image cannot be built on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// A blob of it could not be had, or isn't what it should be.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its manifest, index or config can't be read.
    #[error("`{digest}` cannot be read")]
    Json {
        /// What can't be read.
        digest: Digest,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A blob isn't what an image has in that place.
    #[error("`{digest}` cannot be used: {reason}")]
    Unusable {
        /// The blob at fault.
        digest: Digest,
        /// Why.
        reason: &'static str,
    },
    /// A media type is not one that an image has in that place.
    #[error("`{digest}` is of type `{media_type}`, which is no {expected}")]
    MediaType {
        /// The blob at fault.
        digest: Digest,
        /// Its media type.
        media_type: MediaType,
        /// What should be there.
        expected: &'static str,
    },
    /// It has no image for the platform.
    #[error("`{digest}` has no image for `{wanted}`, only for {}", list(available))]
    NoPlatform {
        /// The index, or the image.
        digest: Digest,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The platforms it has.
        available: Vec<Platform>,
    },
    /// It has images for several platforms, and none was asked for.
    #[error("`{digest}` has images for {}", list(available))]
    SeveralPlatforms {
        /// The index.
        digest: Digest,
        /// The platforms it has.
        available: Vec<Platform>,
    },
    /// An index says another platform of an image than its config.
    #[error("`{digest}` is for `{found}` by its config, but for `{declared}` by its index")]
    PlatformMismatch {
        /// The image.
        digest: Digest,
        /// What the index says.
        declared: Box<Platform>,
        /// What the config says.
        found: Box<Platform>,
    },
    /// The config doesn't go with the manifest.
    #[error("`{digest}` has {layers} layers, but its config tells the contents of {diff_ids}")]
    LayerCount {
        /// The manifest.
        digest: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
    /// It has more layers than can be run.
    #[error("`{digest}` has {count} layers: more than {MAX_LAYERS} cannot be run")]
    TooManyLayers {
        /// The manifest.
        digest: Digest,
        /// Their number.
        count: usize,
    },
    /// A layer can't be read, or holds what can't be unpacked.
    #[error("layer `{digest}` cannot be used")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<ListingError>,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(|platform| format!("`{platform}`")).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// What a layer or a stored listing holds is not fit to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// A path or what is at it cannot be unpacked.
    #[error("`{}` cannot be unpacked: {reason}", path.escape_ascii())]
    Path {
        /// The path.
        path: Vec<u8>,
        /// Why.
        reason: &'static str,
    },
    /// Links go in circles.
    #[error("`{}` leads through too many symbolic links", path.escape_ascii())]
    Loop {
        /// The path.
        path: Vec<u8>,
    },
    /// There is more than can be handled.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// It can't be decompressed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is no sound tar.
    #[error(transparent)]
    Tar(#[from] ReadError),
    /// The tar bytes aren't those the config names.
    #[error("the tar bytes should be `{expected}`, but are `{actual}`")]
    DiffId {
        /// What the config says.
        expected: Box<DiffId>,
        /// What came.
        actual: Box<DiffId>,
    },
    /// Bytes that should be a stored listing aren't.
    #[error("not a stored listing of this version")]
    Damaged,
}

/// How much of a base is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListingLimits {
    /// The most entries.
    pub entries: u32,
    /// The most bytes in all names and link targets.
    pub text: u32,
    /// How far layers are decompressed.
    pub decode: DecodeLimits,
}

impl Default for ListingLimits {
    /// A million entries: with these limits reading a base takes less than 64 MiB.
    fn default() -> Self {
        Self { entries: 1 << 20, text: 20 << 20, decode: DecodeLimits::default() }
    }
}

impl Base {
    /// Reads an image's manifest and config; of an index, those for a platform. Without a platform,
    /// the index's first image counts; attestations and the like are passed over.
    ///
    /// Docker's schema 2 is read as what it stands for in the image specification.
    ///
    /// # Errors
    /// [`BaseError`]; at most a few manifests of 4 MiB each are read to find out.
    pub fn open(
        source: &dyn Source,
        root: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Self, BaseError> {
        open::open(source, root, platform)
    }

    /// Reads an image's manifest and config; of an index, those of its only image. Attestations and
    /// the like are passed over.
    ///
    /// # Errors
    /// [`BaseError::SeveralPlatforms`] if the index has several; else as for [`Base::open`].
    pub fn sole(source: &dyn Source, root: &Descriptor) -> Result<Self, BaseError> {
        open::sole(source, root)
    }
}

impl Listing {
    /// Reads all layers of a base and merges them. Every byte is verified; the memory used depends
    /// on the number of entries alone.
    ///
    /// # Errors
    /// [`BaseError`] if a layer can't be had, isn't what it should be, or holds what can't be
    /// unpacked or is over the limits; [`BaseError::Cancelled`] soon after `cancel` is set.
    pub fn read(
        source: &dyn Source,
        base: &Base,
        limits: &ListingLimits,
        cancel: &Cancel,
    ) -> Result<Self, BaseError> {
        read::read(source, base, limits, cancel)
    }

    /// Writes the listing in a compact form of its own. The same listing gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode::to_bytes(self)
    }

    /// Reads what [`Listing::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ListingError`] if the bytes are anything else, or over the default limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ListingError> {
        encode::from_bytes(bytes, &ListingLimits::default())
    }
}
