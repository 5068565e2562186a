//! What a builder is told of bases in registries, and what it tells of them.

use crate::base::{Base, BaseError};
use crate::blob::{BlobError, Store};
use crate::builder::Builder;
use crate::builder::pull::Places;
use crate::lock::{Lock, Pin, PinnedImage};
use crate::oci::{Descriptor, Platform};
use crate::reference::Reference;
use crate::registry::Registry;

impl Builder<'_> {
    /// Pulls bases with this client; by default with one that has no credentials.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.pulling.registry = registry.into();
        self
    }

    /// Says by a lock what the tags of bases mean: the registry isn't asked for those it has.
    #[must_use]
    pub fn lock(mut self, lock: Lock) -> Self {
        self.pulling.lock = lock;
        self
    }

    /// Demands that the lock has every base that has no digest, and that its tag hasn't moved since.
    #[must_use]
    pub fn locked(mut self, yes: bool) -> Self {
        self.pulling.locked = yes;
        self
    }

    /// Has no registry asked for bases: what is needed of them is in the cache, or missing.
    #[must_use]
    pub fn offline(mut self, yes: bool) -> Self {
        self.pulling.offline = yes;
        self
    }

    /// Keeps layers of bases in the cache when their bytes are needed: for images that are written
    /// to disk again and again. By default they stay in their registry.
    #[must_use]
    pub fn keep_base_layers(mut self, yes: bool) -> Self {
        self.pulling.keep_layers = yes;
        self
    }

    /// Asks a registry what a reference means now, whatever a lock says.
    ///
    /// # Errors
    /// [`BlobError`], with a [`PullError`](crate::PullError) inside if the registry doesn't have it.
    pub fn resolve_base(&self, reference: &Reference) -> Result<Descriptor, BlobError> {
        self.places(&self.store(), true).resolve(reference)
    }

    /// Finds out what a lock has to say of an image: the manifests for some platforms, and what their
    /// layers hold. Layers aren't read; manifests and configs are then in the cache.
    ///
    /// # Errors
    /// [`BaseError`] if the image can't be had or isn't for a platform.
    pub fn pin(
        &self,
        reference: &Reference,
        root: &Descriptor,
        platforms: impl IntoIterator<Item = Platform>,
    ) -> Result<Pin, BaseError> {
        let store = self.store();
        let source = self.places(&store, true).source(reference);
        platforms.into_iter().try_fold(Pin::new(root.clone()), |pin, platform| {
            let base = Base::open(&source, root, Some(&platform))?;
            let image = PinnedImage::new(base.descriptor.digest, base.descriptor.size, base.diff_ids);
            Ok(pin.image(platform, image))
        })
    }

    pub(super) fn places<'b>(&'b self, store: &'b Store, keep: bool) -> Places<'b> {
        Places::new(&self.root, &self.pulling, store, keep, self.observer)
    }
}
