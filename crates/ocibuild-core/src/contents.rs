//! What an image's layers hold: every item of every layer as it stands there, the merged view of
//! them, what that view no longer shows, and how two images differ.
//!
//! Any image is taken, so everything is bounded and verified as it is for bases, by the same
//! reader. Contents of files pass by and are hashed if that is asked for; none is kept.

mod compare;
mod items;
mod merged;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::base::{Base, BaseError, ListingLimits};
use crate::blob::Source;
use crate::digest::DiffId;
use crate::event::Cancel;
use crate::oci::Descriptor;

use items::Items;

pub use compare::{Aspect, Difference, Differences};
pub use items::{Item, ItemKind, Xattrs};
pub use merged::{Below, Merged, Place, Shadowed, Visible};

/// How an image's contents are read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentsOptions {
    /// How much is read, of all layers together. Paths count whole, so by default more text is
    /// allowed than for a base.
    pub limits: ListingLimits,
    /// Whether the contents of files are hashed.
    pub digests: bool,
    /// How many layers are read side by side; each takes up to 40 MB for its decoder.
    pub threads: usize,
}

impl Default for ContentsOptions {
    fn default() -> Self {
        let limits = ListingLimits { text: 1 << 30, ..ListingLimits::default() };
        Self { limits, digests: false, threads: 1 }
    }
}

impl ContentsOptions {
    /// Hashes the contents of files.
    #[must_use]
    pub fn digests(mut self, digests: bool) -> Self {
        self.digests = digests;
        self
    }

    /// Reads this many layers side by side.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

/// What the layers of one image hold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Contents {
    /// The layers, the lowest first.
    pub layers: Vec<LayerContents>,
}

/// What one layer holds. Clones share the items.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LayerContents {
    /// The layer's blob.
    pub descriptor: Descriptor,
    /// The digest of its tar bytes.
    pub diff_id: DiffId,
    /// The number of its tar bytes.
    pub tar_size: u64,
    items: Arc<Items>,
}

impl Contents {
    /// Reads all layers of an image. Every byte is verified, blobs and tar bytes; a layer that the
    /// image has twice is read once.
    ///
    /// In memory an item takes 48 bytes, its path, and 32 bytes for a digest: 125,000 files of an
    /// npm project take about 20 MB. Threads of its own do the work, beside the caller's; a caller
    /// on a thread of a rayon pool must not read from a registry.
    ///
    /// # Errors
    /// [`BaseError`] if a layer can't be had, isn't what it should be, holds what can't be unpacked
    /// or is over the limits; [`BaseError::Cancelled`] soon after `cancel` is set. Of several
    /// faulty layers the one that is told may be any.
    pub fn read(
        source: &dyn Source,
        image: &Base,
        options: &ContentsOptions,
        cancel: &Cancel,
    ) -> Result<Self, BaseError> {
        Self::read_knowing(source, image, &Self { layers: Vec::new() }, options, cancel)
    }

    /// Reads all layers of an image but those whose contents are known, by their `diff_id`, from
    /// another one: their blobs are not looked at.
    ///
    /// # Errors
    /// As for [`Contents::read`].
    pub fn read_knowing(
        source: &dyn Source,
        image: &Base,
        known: &Self,
        options: &ContentsOptions,
        cancel: &Cancel,
    ) -> Result<Self, BaseError> {
        read::read(source, image, known, options, cancel)
    }

    /// Puts the layers over each other.
    ///
    /// # Errors
    /// [`BaseError::Layer`] if a layer holds what can't be unpacked over those below it, such as a
    /// hard link to what isn't there.
    pub fn merged(&self) -> Result<Merged, BaseError> {
        Merged::new(self)
    }
}

impl LayerContents {
    /// Goes over the items, in the order in which they stand in the layer. A path that stands in
    /// it twice comes twice.
    #[must_use]
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|number| self.items.get(number))
    }

    /// Returns an item by its number in that order.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn item(&self, number: usize) -> Item<'_> {
        self.items.get(number)
    }

    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Tells whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
