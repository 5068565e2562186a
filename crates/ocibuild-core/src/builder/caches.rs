//! Places beside the machine's cache: what a builder is told of them, who is asked for layers, where
//! their blobs are looked for, and who is told of what was built.
//!
//! Nothing that a record says decides where a run looks for blobs. It looks at the place that
//! answered, where the images of `cache_from` are, and where what is built is pushed to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{BlobError, Content, Source, Store};
use crate::build::{Built, Tier};
use crate::builder::Builder;
#[cfg(feature = "registry")]
use crate::builder::pull::{PullError, Pulled};
use crate::cache::{CacheError, CacheStore, Kept, RecordSink, Stores};
use crate::digest::Digest;
use crate::event::LayerOutcome;
use crate::oci::Descriptor;
use crate::plan::Plan;
use crate::reference::Reference;
use crate::spec::{CacheMode, CachePlace, has_credentials};
#[cfg(feature = "registry")]
use crate::{
    build::OpenBase,
    oci::Platform,
    shared::{ImageRecords, RepositoryCache},
};

/// What a builder is told.
pub(super) struct Caching<'a> {
    /// Places that answer for layers, in place of the plan's.
    from: Option<Vec<CachePlace>>,
    to: Option<CachePlace>,
    mode: Option<CacheMode>,
    stores: Box<dyn Stores + 'a>,
    /// Where images will be pushed.
    destinations: Vec<Reference>,
    /// Blobs that turned out not to be where they should be.
    distrusted: BTreeSet<Digest>,
    /// Where what is made goes, if the cache isn't to be written to.
    pub(super) scratch: Option<Store>,
}

impl Default for Caching<'_> {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            mode: None,
            stores: Box::new(()),
            destinations: Vec::new(),
            distrusted: BTreeSet::new(),
            scratch: None,
        }
    }
}

impl<'a> Builder<'a> {
    /// Has these places answer for layers, in place of those that the spec names; the first is asked
    /// first. Where one answers, the layer is neither built nor downloaded.
    #[must_use]
    pub fn cache_from(mut self, places: impl IntoIterator<Item = impl Into<CachePlace>>) -> Self {
        self.caching.from = Some(places.into_iter().map(Into::into).collect());
        self
    }

    /// Has this place told of what was built ([`Builder::write_cache`]), in place of the one that the
    /// spec names.
    #[must_use]
    pub fn cache_to(mut self, place: impl Into<CachePlace>) -> Self {
        self.caching.to = Some(place.into());
        self
    }

    /// Says how much that place is given, whatever the spec says.
    #[must_use]
    pub fn cache_mode(mut self, mode: CacheMode) -> Self {
        self.caching.mode = Some(mode);
        self
    }

    /// Opens places that are not in registries; by default there is no kind of them.
    #[must_use]
    pub fn cache_stores(mut self, stores: impl Stores + 'a) -> Self {
        self.caching.stores = Box::new(stores);
        self
    }

    /// Says where what is built will be pushed to: layers that a cache knows are looked for there
    /// before they are looked for anywhere else.
    #[must_use]
    pub fn pushes_to(mut self, destinations: impl IntoIterator<Item = Reference>) -> Self {
        self.caching.destinations = destinations.into_iter().collect();
        self
    }

    /// Has no place answer by a record with one of these blobs: they turned out not to be there.
    #[must_use]
    pub fn without_blobs(mut self, blobs: impl IntoIterator<Item = Digest>) -> Self {
        self.caching.distrusted = blobs.into_iter().collect();
        self
    }

    /// Leaves the cache as it is, and the places beside it as well: what is made goes to this store,
    /// which lies over the cache ([`Store::over`]).
    #[must_use]
    pub fn cache_read_only(mut self, scratch: Store) -> Self {
        self.caching.scratch = Some(scratch);
        self
    }

    /// Returns the place that is told of what is built, and how much it is given; none where nobody may
    /// be asked.
    #[must_use]
    pub fn cache_target(&self, plan: &Plan) -> Option<(CachePlace, CacheMode)> {
        let is_written = self.use_records && self.caching.scratch.is_none() && !self.is_offline();
        let place = self.caching.to.as_ref().or(plan.cache_to.as_ref()).filter(|_| is_written)?;
        Some((place.clone(), self.caching.mode.unwrap_or(plan.cache_mode)))
    }

    /// Tells the place of [`Builder::cache_to`] what was built, so that it answers for these layers.
    /// In [`CacheMode::Min`] whoever reads it must find the blobs where the images are: so this is
    /// done once they are pushed. Does nothing where there is no such place.
    ///
    /// # Errors
    /// [`CacheError`]; the images are what they are.
    pub fn write_cache(&self, plan: &Plan, built: &Built) -> Result<Option<Kept>, CacheError> {
        let Some((place, mode)) = self.cache_target(plan) else { return Ok(None) };
        let records = built.records();
        let kept = match mode {
            CacheMode::Min => {
                let kept = self.sink(&place)?.keep(&records, None, &self.cancel)?;
                Kept { told: records.len() as u64, ..kept }
            }
            CacheMode::Max => {
                let steps = (&*built.steps, &built.known_steps);
                self.tell_with_blobs(&place, plan, (records, steps), &built.source())?
            }
        };
        Ok(Some(kept))
    }

    pub(super) fn sink(&self, place: &CachePlace) -> Result<Arc<dyn RecordSink>, CacheError> {
        match place {
            CachePlace::Store(address) => Ok(self.open(address)?.sink),
            CachePlace::Image(reference) => self.repository_cache(reference),
        }
    }

    #[cfg(feature = "registry")]
    #[expect(clippy::unnecessary_wraps, reason = "without registries there is none")]
    fn repository_cache(&self, reference: &Reference) -> Result<Arc<dyn RecordSink>, CacheError> {
        let registry = self.pulling.registry.get_or_init(crate::registry::Registry::default);
        let target = registry.without_mirrors().repository(reference.repository());
        let tag = reference.tag().unwrap_or("latest");
        Ok(Arc::new(RepositoryCache::new(Arc::new(target), tag).named(reference.to_string())))
    }

    #[cfg(not(feature = "registry"))]
    #[expect(clippy::unused_self, reason = "with registries it is used")]
    fn repository_cache(&self, reference: &Reference) -> Result<Arc<dyn RecordSink>, CacheError> {
        Err(CacheError::UnknownKind { place: reference.to_string() })
    }

    /// What is asked beside the cache: nothing where no registry may be, or no record is used.
    pub(super) fn tiers(&self, plan: &Plan) -> Vec<Tier> {
        if !self.use_records || self.is_offline() {
            return Vec::new();
        }
        let names = self.sources(plan);
        let images: Vec<&Reference> = names.iter().filter_map(CachePlace::image).collect();
        let beside = Arc::new(self.beside(&images));
        names.iter().filter_map(|name| self.tier(name, &beside, plan)).collect()
    }

    fn sources<'p>(&'p self, plan: &'p Plan) -> &'p [CachePlace] {
        self.caching.from.as_ref().unwrap_or(&plan.cache_from)
    }

    /// The places that may answer, whether or not they may be asked in this run.
    pub(super) fn told(&self, plan: &Plan) -> Vec<String> {
        self.sources(plan).iter().map(ToString::to_string).collect()
    }

    /// Opens a place whose address may be shown.
    fn open(&self, address: &str) -> Result<CacheStore, CacheError> {
        if has_credentials(address) {
            Err(CacheError::Credentials)
        } else {
            self.caching.stores.open(address)
        }
    }

    fn tier(&self, name: &CachePlace, beside: &Arc<Beside>, plan: &Plan) -> Option<Tier> {
        let (records, own, outcome) = match name {
            CachePlace::Store(address) => match self.open(address) {
                Ok(CacheStore { records, blobs, .. }) => (records, blobs, LayerOutcome::Stored),
                Err(fault) => {
                    crate::build::unanswered(&fault, self.observer);
                    return None;
                }
            },
            CachePlace::Image(reference) => self.image_tier(reference, plan)?,
        };
        let blobs = Arc::new(Blobs {
            own,
            beside: Arc::clone(beside),
            distrusted: self.caching.distrusted.clone(),
            known: Mutex::default(),
        });
        Some(Tier { place: name.to_string(), records, blobs, outcome })
    }

    #[cfg(feature = "registry")]
    #[expect(clippy::unnecessary_wraps, reason = "without registries there is none")]
    fn image_tier(&self, reference: &Reference, plan: &Plan) -> Option<OpenTier> {
        let variants = plan.images.iter().flat_map(|image| &image.variants);
        let platforms: BTreeSet<Platform> = variants.map(|variant| variant.platform.clone()).collect();
        let store = self.store();
        // A look ahead makes no cache where there is none.
        let source = self.places(&store, store.root().is_dir()).source(reference);
        let open = move || {
            let root = source.resolve()?;
            Ok(OpenBase { source: Arc::new(source.clone()) as Arc<dyn Source>, root })
        };
        let name = reference.to_string();
        let open = move || open().map_err(|fault| unnamed(fault, &name));
        let image = Arc::new(ImageRecords::new(reference.to_string(), platforms, open));
        Some((Arc::clone(&image) as _, image, LayerOutcome::Shared))
    }

    #[cfg(not(feature = "registry"))]
    fn image_tier(&self, _: &Reference, _: &Plan) -> Option<OpenTier> {
        None
    }

    /// Where blobs are looked for, whatever answered: destinations first, as a push asks there anyway.
    #[cfg(feature = "registry")]
    fn beside(&self, images: &[&Reference]) -> Beside {
        let store = self.store();
        let mut known = BTreeSet::new();
        let sources = self.places(&store, store.root().is_dir());
        let mut beside = Beside::default();
        for reference in &self.caching.destinations {
            if known.insert(reference.repository()) {
                beside.places.push(Arc::new(Destination(sources.source(reference))));
            }
        }
        beside.destinations = beside.places.len();
        for reference in images {
            if known.insert(reference.repository()) {
                beside.places.push(Arc::new(sources.source(reference)));
            }
        }
        beside
    }

    #[cfg(not(feature = "registry"))]
    #[expect(clippy::unused_self, reason = "with registries it is used")]
    fn beside(&self, _: &[&Reference]) -> Beside {
        Beside::default()
    }

    #[cfg(feature = "registry")]
    fn is_offline(&self) -> bool {
        self.pulling.offline
    }

    #[cfg(not(feature = "registry"))]
    #[expect(clippy::unused_self, reason = "with registries it is used")]
    fn is_offline(&self) -> bool {
        false
    }
}

/// An image that isn't there is one that has no such name.
#[cfg(feature = "registry")]
fn unnamed(fault: BlobError, name: &str) -> BlobError {
    match fault {
        BlobError::Place { place, source, .. }
            if matches!(source.downcast_ref(), Some(PullError::Gone { digest: None })) =>
        {
            BlobError::UnknownName { name: name.to_owned(), place }
        }
        fault => fault,
    }
}

type OpenTier = (Arc<dyn crate::cache::RecordStore>, Arc<dyn Source>, LayerOutcome);

/// A repository that is pushed to: it is asked as a push asks it, which then needn't ask again.
#[cfg(feature = "registry")]
struct Destination(Pulled);

#[cfg(feature = "registry")]
impl Source for Destination {
    fn place(&self) -> String {
        self.0.place()
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.lacking(std::slice::from_ref(blob))?.is_empty())
    }

    fn lacking(&self, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        self.0.missing(blobs)
    }

    fn fetch(&self, blob: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.0.fetch(blob)
    }
}

/// Repositories that the run was told of.
#[derive(Default)]
struct Beside {
    /// Those that are pushed to come first.
    places: Vec<Arc<dyn Source>>,
    destinations: usize,
    /// What each hasn't, whichever place's records led there.
    lacks: Mutex<BTreeSet<(usize, Digest)>>,
}

impl Beside {
    /// Asks one of them. Nothing follows from a question that failed, so that it can be asked again.
    fn lacking(&self, at: usize, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let is_known = |blob: &Descriptor| lock(&self.lacks).contains(&(at, blob.digest));
        let (mut lacking, new): (Vec<_>, Vec<_>) = blobs.iter().cloned().partition(is_known);
        if !new.is_empty() {
            let new = self.places[at].lacking(&new)?;
            lock(&self.lacks).extend(new.iter().map(|blob| (at, blob.digest)));
            lacking.extend(new);
        }
        Ok(lacking)
    }
}

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// At the place that answered.
    Own,
    /// At one of those beside it.
    Beside(usize),
}

/// Where the blobs are of layers that a place answers with.
struct Blobs {
    /// The place itself. What it hasn't is its own to remember: it may learn of more with each record.
    own: Arc<dyn Source>,
    beside: Arc<Beside>,
    distrusted: BTreeSet<Digest>,
    /// What was found: a layer is looked for by several keys, and its parts by themselves.
    known: Mutex<BTreeMap<Digest, Spot>>,
}

impl Blobs {
    /// Looks for blobs that were not found before: in each place for what those before it haven't. If
    /// some are left, the first fault is what is known of them.
    fn look_for(&self, mut left: Vec<Descriptor>) -> Result<(), BlobError> {
        let Beside { places, destinations, .. } = &*self.beside;
        let (before, after) = (0..*destinations, *destinations..places.len());
        let spots = before.map(Spot::Beside).chain([Spot::Own]).chain(after.map(Spot::Beside));
        let mut first = None;
        for spot in spots {
            if left.is_empty() {
                break;
            }
            let answer = match spot {
                Spot::Own => self.own.lacking(&left),
                Spot::Beside(at) => self.beside.lacking(at, &left),
            };
            match answer {
                Ok(lacking) => left = self.note(&left, lacking, spot),
                Err(cancelled @ BlobError::Cancelled(_)) => return Err(cancelled),
                Err(fault) => {
                    first.get_or_insert(fault);
                }
            }
        }
        first.filter(|_| !left.is_empty()).map_or(Ok(()), Err)
    }

    /// Notes which of these a place has, and returns the others.
    fn note(&self, blobs: &[Descriptor], lacking: Vec<Descriptor>, spot: Spot) -> Vec<Descriptor> {
        let is_lacking: BTreeSet<Digest> = lacking.iter().map(|blob| blob.digest).collect();
        let there = blobs.iter().map(|blob| blob.digest).filter(|digest| !is_lacking.contains(digest));
        lock(&self.known).extend(there.map(|digest| (digest, spot)));
        lacking
    }

    /// Where a blob was found.
    fn spot(&self, blob: &Descriptor) -> Option<Spot> {
        lock(&self.known).get(&blob.digest).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for Blobs {
    fn place(&self) -> String {
        self.own.place()
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.lacking(std::slice::from_ref(blob))?.is_empty())
    }

    fn lacking(&self, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let new: BTreeMap<Digest, &Descriptor> = blobs.iter().map(|blob| (blob.digest, blob)).collect();
        let is_new =
            |blob: &&Descriptor| self.spot(blob).is_none() && !self.distrusted.contains(&blob.digest);
        self.look_for(new.into_values().filter(is_new).cloned().collect())?;
        Ok(blobs.iter().filter(|blob| self.spot(blob).is_none()).cloned().collect())
    }

    fn fetch(&self, blob: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        match self.spot(blob) {
            Some(Spot::Beside(at)) => self.beside.places[at].fetch(blob),
            _ => self.own.fetch(blob),
        }
    }
}

#[cfg(test)]
mod tests;
