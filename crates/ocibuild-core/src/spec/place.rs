//! Places beside the machine's cache that answer for layers, or are told of them.

use std::fmt;

use crate::reference::Reference;

/// A place beside the machine's cache: in a registry, or of a kind that only the program knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CachePlace {
    /// An image that was pushed, or a cache repository; which it is, shows when it is read.
    Image(Reference),
    /// Something with a scheme: `redis://host/prefix`, `s3://bucket/prefix?region=…`.
    Store(String),
}

impl CachePlace {
    /// Returns the reference, if it is in a registry.
    #[must_use]
    pub fn image(&self) -> Option<&Reference> {
        match self {
            Self::Image(reference) => Some(reference),
            Self::Store(_) => None,
        }
    }
}

impl From<Reference> for CachePlace {
    fn from(reference: Reference) -> Self {
        Self::Image(reference)
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reference) => reference.fmt(f),
            Self::Store(url) => f.write_str(url),
        }
    }
}

/// How much a cache is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// Records alone: the blobs are where the images were pushed to.
    #[default]
    Min,
    /// The blobs of the layers as well, so that the cache answers alone.
    Max,
}
