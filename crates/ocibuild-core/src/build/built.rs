//! What a build comes to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::blob::{BlobError, Content, Memory, Source, Store, Union};
use crate::build::{FinishedStep, Steps};
use crate::cache::{BuiltLayer, Hold, Record};
use crate::checks::Finding;
use crate::digest::Digest;
use crate::event::LayerOutcome;
use crate::inspect::Inspection;
use crate::key::Key;
use crate::layer::Origin;
use crate::oci::Descriptor;
use crate::plan::PlannedImage;
use crate::reference::Reference;
use crate::spec::Fault;

/// A layer whose blobs are there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FinishedLayer {
    /// Its place in [`Plan::layers`](crate::plan::Plan::layers).
    pub index: usize,
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is.
    pub label: String,
    /// Its blobs and what is known of them.
    pub record: Record,
    /// Whether something of it was made in this run, and what answered if not. What a place beside the
    /// cache answered for is in no store: [`Built::source`] has it.
    pub outcome: LayerOutcome,
    /// The manifest keys that it goes by, for each of its platforms in the plan's order; none where no
    /// lockfile vouches for it.
    pub manifest_keys: Vec<Key>,
    /// The keys that it goes by as well, by what the steps made that it copies from.
    pub(super) realised_keys: Vec<Key>,
    /// The same of each of the record's layers.
    pub(super) outcomes: Vec<LayerOutcome>,
    /// Where each of the record's layers is.
    pub(super) origins: Vec<Origin>,
    /// What the place beside the cache is called that has it, of each of the record's layers.
    pub(super) places: Vec<Option<String>>,
    /// What was found in its files, where anybody looked.
    pub(super) inspection: Option<Arc<Inspection>>,
    /// How long that took.
    pub elapsed: Duration,
}

impl FinishedLayer {
    /// Returns its blobs, and where each is from: of one that is split, parts may be made and others
    /// reused.
    pub fn blobs(&self) -> impl Iterator<Item = (&BuiltLayer, LayerOutcome)> {
        self.record.layers.iter().zip(self.outcomes.iter().copied())
    }

    /// Returns what the place is called that answered for each of its blobs; nothing for those that
    /// were made, or that the cache answered for.
    pub fn places(&self) -> impl Iterator<Item = Option<&str>> {
        self.places.iter().map(Option::as_deref)
    }
}

/// An image that was built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuiltImage {
    /// Its name in the spec.
    pub name: String,
    /// What it will be called.
    pub tags: Vec<Reference>,
    /// What it goes by in a layout or archive.
    pub ref_names: Vec<String>,
    /// Its manifest, or the index of its platforms.
    pub root: Descriptor,
    /// Its own layers, by their place in [`Built::layers`], each once.
    pub layers: Vec<usize>,
}

/// Images that were built, with everything they consist of.
pub struct Built {
    /// The images, in the order of the spec.
    pub images: Vec<BuiltImage>,
    /// Every layer of theirs, each once.
    pub layers: Vec<FinishedLayer>,
    /// The steps of which it was needed what they made, in the order of the plan: those that ran, and
    /// those that something answered for.
    pub steps: Vec<FinishedStep>,
    /// What will keep containers from starting, as far as that shows: a program that isn't in the
    /// image, a user that it doesn't know. Nothing is told that isn't sure.
    pub warnings: Vec<Fault>,
    /// What was found in the images, without being a reason not to publish them.
    pub findings: Vec<Finding>,
    /// What is known of all steps of the plan.
    pub(crate) known_steps: Steps,
    pub(super) memory: Arc<Memory>,
    pub(super) store: Store,
    /// Where layers are that aren't in the store: those of bases, and own ones that were answered for.
    pub(super) elsewhere: Vec<LayersElsewhere>,
    /// The records of what bases hold.
    pub(super) listings: Vec<Record>,
    pub(super) hold: Option<Hold>,
}

/// Layers of a base, or those that a place beside the cache answered for, and nothing else of the place
/// they are in: that is not to be asked for what it can't have.
pub(crate) struct LayersElsewhere {
    layers: BTreeSet<Digest>,
    source: Arc<dyn Source>,
}

impl LayersElsewhere {
    pub(crate) fn new(layers: BTreeSet<Digest>, source: Arc<dyn Source>) -> Self {
        Self { layers, source }
    }
}

impl Source for LayersElsewhere {
    fn place(&self) -> String {
        self.source.place()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.layers.contains(&descriptor.digest) && self.source.exists(descriptor)?)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        if self.layers.contains(&descriptor.digest) {
            return self.source.fetch(descriptor);
        }
        Err(BlobError::Missing { digest: descriptor.digest, place: self.place() })
    }
}

impl Built {
    /// Stands for an image whose layers are all somewhere else.
    pub(crate) fn elsewhere(
        image: BuiltImage,
        memory: Memory,
        layers: Vec<LayersElsewhere>,
        store: Store,
    ) -> Self {
        let (images, memory) = (vec![image], Arc::new(memory));
        let (layers, elsewhere, listings) = (Vec::new(), layers, Vec::new());
        let (steps, known_steps, warnings, findings) = (Vec::new(), Steps::default(), Vec::new(), Vec::new());
        Self {
            images,
            layers,
            steps,
            known_steps,
            memory,
            store,
            elsewhere,
            listings,
            hold: None,
            warnings,
            findings,
        }
    }

    /// Returns where all blobs of the images are: configs and manifests, own layers, bases' layers.
    #[must_use]
    pub fn source(&self) -> Union<'_> {
        let memory: &dyn Source = self.memory.as_ref();
        // Before the store, which may have layers of bases too, but doesn't know where else they are.
        let elsewhere = self.elsewhere.iter().map(|layers| layers as &dyn Source);
        Union::new(std::iter::once(memory).chain(elsewhere).chain([&self.store as &dyn Source]).collect())
    }

    /// Returns what a cache is to be told, so that it answers for these layers: each under the key of
    /// what it holds, and under those of its lockfiles, and each part of one under its own; and for what
    /// the bases hold, so that nobody who knows that reads their layers.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.listings.clone();
        for FinishedLayer { record, manifest_keys, realised_keys, .. } in &self.layers {
            let content = record.content.map(|key| Record { materials: Vec::new(), ..record.under(key) });
            records.extend(content);
            records.extend(manifest_keys.iter().chain(realised_keys).map(|key| record.under(*key)));
            records.extend(record.layers.iter().filter_map(|layer| record.part(layer)));
        }
        records
    }

    /// Keeps a share in the cache for as long as the layers may be read from it.
    #[must_use]
    pub fn holding(mut self, hold: Option<Hold>) -> Self {
        self.hold = hold;
        self
    }

    /// Returns the store that holds the layers.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

pub(super) fn layer_numbers(image: &PlannedImage) -> Vec<usize> {
    let mut numbers: Vec<usize> = image.variants.iter().flat_map(|variant| variant.layers.clone()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
