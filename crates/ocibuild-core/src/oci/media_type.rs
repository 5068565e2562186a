//! Media types.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::oci::Compression;

/// A media type, as it stands in a descriptor; any text is representable, the known ones have a
/// name here
/// ([image-spec, media types](https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// An image manifest.
    pub const MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// An image index.
    pub const INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// An image's config.
    pub const CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// A layer, uncompressed.
    pub const LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// A layer, gzip.
    pub const LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// A layer, zstd.
    pub const LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: Self = Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker's manifest list.
    pub const DOCKER_LIST: Self = Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker's image config.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");
    /// A layer's inventory, as records name it: one JSON object a line, zstd.
    pub const INVENTORY: Self = Self::known("application/vnd.ocibuild.inventory.v1+jsonl+zstd");

    /// A base's listing, as records name it.
    pub const LISTING: Self = Self::known("application/vnd.ocibuild.listing.v1");

    /// What layers hold at paths that checks ask for, as records name it.
    pub const LOOKUP: Self = Self::known("application/vnd.ocibuild.lookup.v1+json+zstd");

    const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Takes any text as a media type.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is an image manifest, OCI's or Docker's.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        *self == Self::MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Tells whether this is an image index, OCI's or Docker's manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        *self == Self::INDEX || *self == Self::DOCKER_LIST
    }

    /// Tells whether this is an image config, OCI's or Docker's.
    #[must_use]
    pub fn is_config(&self) -> bool {
        *self == Self::CONFIG || *self == Self::DOCKER_CONFIG
    }

    /// Tells whether this is a layer that can stand in an image's root file system.
    #[must_use]
    pub fn is_layer(&self) -> bool {
        self.as_str().starts_with("application/vnd.oci.image.layer.")
            || self.as_str().starts_with("application/vnd.docker.image.rootfs.")
    }

    /// Returns the media type of a layer compressed like this: always OCI's, as Docker's schema has
    /// none for zstd.
    #[must_use]
    pub fn layer(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::LAYER,
            Compression::Gzip { .. } => Self::LAYER_GZIP,
            Compression::Zstd { .. } => Self::LAYER_ZSTD,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
