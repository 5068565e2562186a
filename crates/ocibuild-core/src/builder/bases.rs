//! What a builder is told of bases in registries, and what it tells of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Base, BaseError};
use crate::blob::{BlobError, Source, Store};
use crate::build::{OpenBase, Tier};
use crate::builder::Builder;
use crate::builder::pull::Places;
use crate::cache::RecordStore;
use crate::event::LayerOutcome;
use crate::lock::{Lock, Pin, PinnedImage};
use crate::oci::{Descriptor, Platform};
use crate::plan::Plan;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::shared::ImageRecords;

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
        self.places(&Store::new(&self.cache), true).resolve(reference)
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
        let store = Store::new(&self.cache);
        let source = self.places(&store, true).source(reference);
        platforms.into_iter().try_fold(Pin::new(root.clone()), |pin, platform| {
            let base = Base::open(&source, root, Some(&platform))?;
            let image = PinnedImage::new(base.descriptor.digest, base.descriptor.size, base.diff_ids);
            Ok(pin.image(platform, image))
        })
    }

    /// Has images that were pushed before answer for layers, in place of those that the spec names; the
    /// first is asked first. Where one answers, the layer is neither built nor downloaded.
    #[must_use]
    pub fn cache_from(mut self, images: impl IntoIterator<Item = Reference>) -> Self {
        self.pulling.cache_from = Some(images.into_iter().collect());
        self
    }

    /// What is asked beside the cache: nothing where no registry may be, or no record is used.
    pub(super) fn tiers(&self, plan: &Plan) -> Vec<Tier> {
        let store = Store::new(&self.cache);
        let variants = plan.images.iter().flat_map(|image| &image.variants);
        let platforms: BTreeSet<Platform> = variants.map(|variant| variant.platform.clone()).collect();
        let of = |reference: &Reference| {
            let source = self.places(&store, true).source(reference);
            let open = move || {
                let root = source.resolve()?;
                Ok(OpenBase { source: Arc::new(source.clone()) as Arc<dyn Source>, root })
            };
            let image = Arc::new(ImageRecords::new(reference.to_string(), platforms.clone(), open));
            let records = Arc::clone(&image) as Arc<dyn RecordStore>;
            Tier { place: reference.to_string(), records, blobs: image, outcome: LayerOutcome::Shared }
        };
        let is_asked = self.use_records && !self.pulling.offline;
        let images = self.pulling.cache_from.as_ref().unwrap_or(&plan.cache_from);
        images.iter().filter(|_| is_asked).map(of).collect()
    }

    pub(super) fn places<'b>(&'b self, store: &'b Store, keep: bool) -> Places<'b> {
        Places::new(&self.root, &self.pulling, store, keep, self.observer)
    }
}
