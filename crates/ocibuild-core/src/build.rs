//! Resolving a plan and building it: which layers are answered by a record, which are made, and
//! the images put together from them.
//!
//! Never meets a registry or a layout: bases come from whatever [`Bases`] opens, and what was built
//! is handed out as a [`Source`](crate::blob::Source).

mod bases;
mod built;
mod check;
mod foresee;
mod listings;
mod past;
mod pool;
mod start;
mod verify;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::base::{BaseError, Listing, ListingError};
use crate::blob::{BlobError, Memory, Source, Store, Union};
use crate::cache::{BlockIndexes, BuiltLayer, CacheError, LastBuilds, Record, RecordStore, carried};
use crate::event::{Cancel, Cancelled, Event, LayerOutcome, Observer, Warning};
use crate::files::{FileError, FileId, FileTree, StatCache};
use crate::image::{Created, ImageError, OwnLayer, assemble, assemble_index};
use crate::key::Key;
use crate::layer::{
    self, Answer, Answers, Budget, Circumstances, InputFault, LayerError, Made, ManifestKeys, Origin,
    Outline, Workshop,
};
use crate::oci::{Descriptor, MediaType, Platform};
use crate::plan::{Foundation, Plan, PlannedImage, PlannedLayer};
use crate::spec::Span;

pub use bases::{Bases, OpenBase};
use bases::{Found, Foundations};
pub(crate) use built::BaseLayers;
pub use built::{Built, BuiltImage, FinishedLayer};
pub use check::check;
pub use foresee::{
    By, Explanation, ForeseenBlob, ForeseenImage, ForeseenLayer, Foresight, Gone, explain, foresee,
};
pub use listings::{Shelf, list_base};
pub use pool::Pool;

/// A plan can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A layer can't be built.
    #[error("layer `{layer}`")]
    Layer {
        /// Its label.
        layer: String,
        /// Why not.
        #[source]
        source: Box<LayerError>,
    },
    /// A base can't be used.
    #[error("base `{base}`")]
    Base {
        /// The base as the spec names it.
        base: String,
        /// Where it does.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// What a base holds can't be found out.
    #[error("base `{base}`")]
    Listing {
        /// The base as the spec names it.
        base: String,
        /// Why not.
        #[source]
        source: Box<ListingError>,
    },
    /// Two layers of an image want different metadata for one directory.
    #[error(
        "layers `{one}` and `{other}` disagree on the directory `/{path}`: {} and {}",
        owner(.first), owner(.second)
    )]
    Disagreement {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The directory in the image.
        path: String,
        /// Mode, user and group in the first.
        first: layer::DirectoryOwner,
        /// And in the second.
        second: layer::DirectoryOwner,
    },
    /// Two layers of an image want different extended attributes for one directory.
    #[error("layers `{one}` and `{other}` disagree on the directory `/{path}`: on its attribute `{name}`")]
    Attributes {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The directory in the image.
        path: String,
        /// The first attribute that only one of them has, or with another value.
        name: String,
    },
    /// Two layers of an image want different things at one path: a directory, and something else.
    #[error("layers `{one}` and `{other}` disagree on `/{path}`: it is a directory in one of them only")]
    Kinds {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The path in the image.
        path: String,
    },
    /// A layer takes away what a layer of the same image below it writes.
    #[error("layer `{other}` removes `/{path}`, which layer `{one}` below it writes")]
    TakenAway {
        /// The lower layer.
        one: String,
        /// The layer that takes away.
        other: String,
        /// What is lost, in the image.
        path: String,
    },
    /// The files make another layer than what was recorded.
    #[error("{}", verify::told(.layer, .place.as_deref(), *.has_manifests, .files))]
    Unlike {
        /// The layer's label.
        layer: String,
        /// Where it was recorded; none is the cache.
        place: Option<String>,
        /// Whether lockfiles vouched for it.
        has_manifests: bool,
        /// How what was recorded differs from what the files make; nothing differs where only the
        /// bytes of the blobs do.
        files: Box<layer::FileChanges>,
    },
    /// An image can't be put together.
    #[error("image `{image}`")]
    Image {
        /// Its name.
        image: String,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The records failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The system gives no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn owner((mode, uid, gid): &layer::DirectoryOwner) -> String {
    format!("{mode:04o} {uid}:{gid}")
}

impl BuildError {
    /// Returns where in the spec the fault lies, where that is known.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Layer { source, .. } => source.span(),
            Self::Base { span, .. } => *span,
            _ => None,
        }
    }
}

/// A place beside the cache that answers for layers: an image that was pushed, a cache repository.
#[derive(Clone)]
pub struct Tier {
    /// What it is called.
    pub place: String,
    /// What it answers.
    pub records: Arc<dyn RecordStore>,
    /// The blobs of the layers that it answers with, wherever they are.
    pub blobs: Arc<dyn Source>,
    /// What is told of layers that it answered for.
    pub outcome: LayerOutcome,
}

/// What a plan is built from and with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The input files.
    pub tree: &'a dyn FileTree,
    /// What is never taken for input: our own outputs, caches and locks.
    pub skip: &'a [FileId],
    /// Opens the bases that the plan names.
    pub bases: &'a dyn Bases,
    /// Where blobs are kept.
    pub store: &'a Store,
    /// Where records are kept; without, nothing is answered nor recorded.
    pub records: Option<&'a dyn RecordStore>,
    /// What is asked, in this order, for layers that no record answers for, and for what bases hold.
    /// Layers that one of them has are neither brought to the store nor recorded.
    pub tiers: &'a [Tier],
    /// The places beside the cache that the run was told of, whether or not they may be asked now: what
    /// the cache keeps of theirs answers for bases, and answers nobody else.
    pub told: &'a [String],
    /// What is known of the tree's files since they were last read; without, they are read again.
    pub stat: Option<&'a StatCache>,
    /// Where it is noted what layers were made of, for whoever asks why one is made anew.
    pub last: Option<&'a LastBuilds>,
    /// Whether layers that something answers for are made all the same, and held against that.
    pub verifies: bool,
    /// Where work runs.
    pub pool: &'a Pool,
    /// The memory that blocks share.
    pub budget: &'a Budget,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Stops the work.
    pub cancel: &'a Cancel,
    /// Names the host that makes files: part of the key of layers that read it.
    pub host: &'a str,
    /// When images say they were made. Other than its default, it is also the latest time that a
    /// file may keep.
    pub created: Created,
}

/// Times that files keep are bounded only where somebody said when images are made.
impl<'a> Context<'a> {
    /// What layers need of it.
    fn workshop(self) -> Workshop<'a> {
        let latest = latest(self);
        let Self { tree, skip, store, budget, observer, cancel, stat, .. } = self;
        let (answers, is_listed, blocks, last) = (None, false, None, None);
        Workshop {
            tree,
            skip,
            store,
            budget,
            observer,
            cancel,
            latest,
            stat,
            answers,
            is_listed,
            blocks,
            last,
        }
    }

    /// What listings of bases need of it.
    fn shelf(self) -> Shelf<'a> {
        let Self { store, records, observer, cancel, .. } = self;
        // Who verifies what others say doesn't go by what they say of bases.
        let (told, tiers) = if self.verifies { (&[][..], &[][..]) } else { (self.told, self.tiers) };
        Shelf { store, records, told, tiers, observer, cancel }
    }
}

fn latest(context: Context<'_>) -> Option<i64> {
    let created = Some(context.created).filter(|created| *created != Created::default())?;
    Some(i64::try_from(created.0).unwrap_or(i64::MAX))
}

/// A plan for which it is known what has to be made.
pub struct Resolved<'p> {
    plan: &'p Plan,
    foundations: Foundations,
    layers: Vec<Decision>,
    /// Those of reused layers that others may disagree with, by the layer's place in the plan.
    outlines: BTreeMap<usize, Outline>,
}

/// What is known of a layer before any of its files is looked at.
#[derive(Debug)]
struct Decision {
    keys: ManifestKeys,
    reused: Option<Answer>,
}

impl Resolved<'_> {
    /// Tells for each layer of the plan whether it is reused, in their order.
    pub fn reused(&self) -> impl Iterator<Item = bool> + '_ {
        self.layers.iter().map(|layer| layer.reused.is_some())
    }
}

/// Finds out which layers are answered by records, without looking at their files.
///
/// Reads lockfiles, the listings of bases (from records where there are any, else from the bases'
/// layers), and the inventories that have to be compared; a layer whose inventory is damaged isn't
/// reused.
///
/// # Errors
/// [`BuildError`] for the first fault of a base, a lockfile or the cache.
pub fn resolve<'p>(plan: &'p Plan, context: Context<'_>) -> Result<Resolved<'p>, BuildError> {
    let foundations = Foundations::open(plan, context)?;
    foundations.warn_of_triggers(plan, context.observer);
    let decide = |layer: &PlannedLayer| {
        context.cancel.check()?;
        decide(plan, layer, foundations.listing(&layer.foundation), context)
    };
    let mut layers = plan.layers.iter().map(decide).collect::<Result<Vec<Decision>, BuildError>>()?;
    let outlines = read_outlines(plan, &mut layers, context)?;
    Ok(Resolved { plan, foundations, layers, outlines })
}

/// Reads the outlines of reused layers that others may disagree with. What turns out to be
/// damaged is dropped, and its layer made again; so is that of one that went meanwhile.
fn read_outlines(
    plan: &Plan,
    layers: &mut [Decision],
    context: Context<'_>,
) -> Result<BTreeMap<usize, Outline>, BuildError> {
    let store = context.store;
    let mut known = BTreeMap::new();
    for index in plan.images.iter().flat_map(|image| doubtful(plan, image)).flatten() {
        let Some(Answer { record, origin }) = &layers[index].reused else { continue };
        if known.contains_key(&index) {
            continue;
        }
        // A layer that another place answered for is read there if it must be.
        let is_elsewhere = matches!(origin, Origin::Place(_));
        match layer::outline(record, &source(&[*origin], context), context.cancel) {
            Ok(outline) => {
                known.insert(index, outline);
            }
            Err(fault @ BlobError::Cancelled(_)) => return Err(fault.into()),
            Err(fault) if is_elsewhere => {
                unused(&fault, context.observer);
                layers[index].reused = None;
            }
            Err(BlobError::Corrupt { digest, .. }) => {
                store.remove(&digest)?;
                layers[index].reused = None;
            }
            Err(fault) if fault.is_absence() => layers[index].reused = None,
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(known)
}

/// The store, and the other places that something is from.
fn source<'c>(origins: &[Origin], context: Context<'c>) -> Union<'c> {
    let places: BTreeSet<usize> = origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Place(tier) => Some(*tier),
            Origin::Made | Origin::Store => None,
        })
        .collect();
    let places = places.into_iter().map(|tier| &*context.tiers[tier].blobs as &dyn Source);
    Union::new(std::iter::once(context.store as &dyn Source).chain(places).collect())
}

fn decide(
    plan: &Plan,
    layer: &PlannedLayer,
    listing: &Listing,
    context: Context<'_>,
) -> Result<Decision, BuildError> {
    let circumstances = Circumstances { spec: &plan.name, host: context.host, latest: latest(context) };
    let keys = layer::manifest_keys(layer, listing, context.tree, circumstances)
        .map_err(|fault| layer_fault(layer, fault))?;
    let Some(keys) = keys else { return Ok(Decision { keys: ManifestKeys::default(), reused: None }) };
    let all: Vec<Key> = keys.all().copied().collect();
    let fits =
        |record: &Record| layer::suits(record, layer) && keys.of(&record.machines).contains(&record.key);
    let reused = find(&all, &fits, context).map_err(|fault| match fault {
        BlobError::Cancelled(cancelled) => cancelled.into(),
        fault => BuildError::Blob(fault),
    })?;
    Ok(Decision { keys, reused })
}

/// Asks for one of these keys: first the cache, then the other places in their order. One that has a
/// record and not its blobs is passed over.
fn find(
    keys: &[Key],
    fits: &(dyn Fn(&Record) -> bool + Sync),
    context: Context<'_>,
) -> Result<Option<Answer>, BlobError> {
    for (key, records) in keys.iter().filter_map(|key| Some((key, context.records?))) {
        let Some(record) = known(records, key, context.observer) else { continue };
        if record.content.is_some() && fits(&record) && holds(context.store, &record)? {
            records.used(key);
            return Ok(Some(Answer { record, origin: Origin::Store }));
        }
    }
    if context.tiers.is_empty() {
        return Ok(None);
    }
    pool::aside(|| find_elsewhere(keys, fits, context))
}

fn find_elsewhere(
    keys: &[Key],
    fits: &(dyn Fn(&Record) -> bool + Sync),
    context: Context<'_>,
) -> Result<Option<Answer>, BlobError> {
    for (index, tier) in context.tiers.iter().enumerate() {
        for key in keys {
            context.cancel.check()?;
            let fits = |record: &Record| !record.is_listing() && fits(record);
            let Some(record) = known(&*tier.records, key, context.observer).filter(fits) else { continue };
            let blobs: Vec<Descriptor> = record.layers.iter().map(|layer| layer.descriptor.clone()).collect();
            match tier.blobs.lacking(&blobs) {
                Ok(lacking) if lacking.is_empty() => {
                    return Ok(Some(Answer { record, origin: Origin::Place(index) }));
                }
                Ok(_) => {}
                Err(fault) => unused(&fault, context.observer),
            }
        }
    }
    context.cancel.check()?;
    Ok(None)
}

/// Tells of a record that could have been used.
fn unused(fault: &BlobError, observer: &dyn Observer) {
    let message = format!("a layer of another image is not used: {}", chain(fault));
    observer.event(&Event::Warning(Warning::new(message).hint("the layer is made anew")));
}

/// A fault with its causes.
fn chain(fault: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(fault), |fault| fault.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Asks for a record. A cache that can't be read costs time, and nothing else.
fn known(records: &dyn RecordStore, key: &Key, observer: &dyn Observer) -> Option<Record> {
    records.get(key).unwrap_or_else(|fault| {
        unanswered(&fault, observer);
        None
    })
}

/// Tells of a place that should have answered.
pub(crate) fn unanswered(fault: &CacheError, observer: &dyn Observer) {
    let is_elsewhere = !matches!(fault, CacheError::File { .. } | CacheError::Foreign { .. });
    let message = match fault {
        CacheError::Records { .. } => chain(fault),
        _ if is_elsewhere => format!("{}; it answers for no layer", chain(fault)),
        _ => format!("a record is not used: {fault}"),
    };
    let hint = match is_elsewhere {
        true => "what it would have answered for is made anew",
        false => "check the cache directory",
    };
    observer.event(&Event::Warning(Warning::new(message).hint(hint)));
}

/// Tells whether the store has everything a record names.
fn holds(store: &Store, record: &Record) -> Result<bool, BlobError> {
    for layer in &record.layers {
        if !store.exists(&layer.descriptor)? {
            return Ok(false);
        }
    }
    record.inventory.as_ref().map_or(Ok(true), |inventory| store.exists(inventory))
}

fn layer_fault(layer: &PlannedLayer, fault: LayerError) -> BuildError {
    match fault {
        LayerError::Cancelled(cancelled)
        | LayerError::File(InputFault { fault: FileError::Cancelled(cancelled), .. })
        | LayerError::Blob(BlobError::Cancelled(cancelled)) => BuildError::Cancelled(cancelled),
        source => BuildError::Layer { layer: layer.label.clone(), source: Box::new(source) },
    }
}

/// Builds what has to be built, layers side by side, and puts the images together.
///
/// `finished` is told of each layer as soon as its blobs are in the store, from the thread that
/// made it, so that they can be sent while others are still being made.
///
/// # Errors
/// The first [`BuildError`]. Layers that were finished before it are recorded, and found again by
/// the next build.
pub fn build(
    resolved: Resolved<'_>,
    context: Context<'_>,
    finished: &(dyn Fn(&FinishedLayer) + Sync),
) -> Result<Built, BuildError> {
    let Resolved { plan, foundations, layers, mut outlines } = resolved;
    let work: Vec<(usize, Decision)> = layers.into_iter().enumerate().collect();
    let doubtful: BTreeSet<usize> =
        plan.images.iter().flat_map(|image| doubtful(plan, image)).flatten().collect();
    // One layer's fault stops the others; theirs, that they were stopped, is not told.
    let stop = context.cancel.child();
    let fault = Mutex::new(None);
    let context = Context { cancel: &stop, ..context };
    let one = |(index, decision): (usize, Decision)| {
        let listing = foundations.listing(&plan.layers[index].foundation);
        let is_listed = doubtful.contains(&index);
        let layer = make(plan, index, decision, (listing, is_listed), context).map_err(|error| {
            fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            stop.cancel();
            BuildError::Cancelled(Cancelled)
        })?;
        finished(&layer);
        Ok(layer)
    };
    let layers = if work.iter().all(|(_, decision)| decision.reused.is_some()) {
        work.into_iter().map(one).collect::<Result<Vec<_>, BuildError>>()
    } else {
        context.pool.install(|| work.into_par_iter().map(one).collect::<Result<Vec<_>, BuildError>>())?
    };
    if let Some(fault) = fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(fault);
    }
    let layers = layers?;
    let elsewhere = elsewhere(&layers, context.tiers);
    let memory = Memory::new();
    let mut images = Vec::with_capacity(plan.images.len());
    for image in &plan.images {
        check_outlines(plan, image, &layers, &mut outlines, context)?;
        images.push(put_together(plan, image, &foundations, &layers, &memory, context.created)?);
    }
    let warnings = start::warnings(plan, &foundations, &layers, context.store);
    let listings = foundations.records();
    let mut sources = foundations.into_sources();
    sources.extend(elsewhere);
    let (memory, store) = (Arc::new(memory), context.store.clone());
    Ok(Built { images, layers, warnings, memory, store, bases: sources, listings, hold: None })
}

fn make(
    plan: &Plan,
    index: usize,
    decision: Decision,
    (listing, is_listed): (&Listing, bool),
    context: Context<'_>,
) -> Result<FinishedLayer, BuildError> {
    let start = Instant::now();
    let layer = &plan.layers[index];
    let Decision { keys, reused } = decision;
    let outcome_of = |origin: &Origin| match origin {
        Origin::Made => LayerOutcome::Built,
        Origin::Store => LayerOutcome::Reused,
        Origin::Place(tier) => context.tiers[*tier].outcome,
    };
    let (record, origins) = match reused {
        reused if context.verifies => {
            let made = verify::make(plan, index, listing, &keys, reused, context)?;
            (made.record, made.origins)
        }
        Some(Answer { record, origin }) => {
            let origins = vec![origin; record.layers.len()];
            (record, origins)
        }
        None => {
            let made = build_layer(plan, index, (listing, is_listed), &keys, context)?;
            (made.record, made.origins)
        }
    };
    let outcomes: Vec<LayerOutcome> = origins.iter().map(outcome_of).collect();
    let place_of = |origin: &Origin| match origin {
        Origin::Place(tier) => Some(context.tiers[*tier].place.clone()),
        Origin::Made | Origin::Store => None,
    };
    let places = origins.iter().map(place_of).collect();
    let finished = FinishedLayer {
        index,
        name: layer.name.clone(),
        label: layer.label.clone(),
        places,
        // The key of what a layer without lockfiles holds says all that its manifest key could.
        manifest_keys: match layer.manifests.is_empty() {
            true => Vec::new(),
            false => keys.of(&record.machines).to_vec(),
        },
        record,
        outcome: overall(&outcomes),
        outcomes,
        origins,
        elapsed: start.elapsed(),
    };
    past::note(plan, &finished, listing, &keys.materials, context);
    for (built, outcome) in finished.record.layers.iter().zip(&finished.outcomes) {
        context.observer.event(&Event::LayerFinished {
            layer: finished.label.clone(),
            digest: built.descriptor.digest,
            size: built.descriptor.size,
            outcome: *outcome,
            elapsed: finished.elapsed,
        });
    }
    Ok(finished)
}

/// A layer of which something was made was built; one of which something is elsewhere is shared.
fn overall(outcomes: &[LayerOutcome]) -> LayerOutcome {
    let has = |outcome| outcomes.contains(&outcome);
    match outcomes.iter().find(|outcome| **outcome != LayerOutcome::Reused) {
        _ if has(LayerOutcome::Built) => LayerOutcome::Built,
        other => other.copied().unwrap_or(LayerOutcome::Reused),
    }
}

/// Builds a layer, and records it under all its keys.
///
/// Where something could answer for what the layer holds, its files are hashed first: where the last
/// build of the layer left a trace, as they may hold what they held then, or some time before; and
/// where other places are asked.
fn build_layer(
    plan: &Plan,
    index: usize,
    (listing, is_listed): (&Listing, bool),
    keys: &ManifestKeys,
    context: Context<'_>,
) -> Result<Made, BuildError> {
    let layer = &plan.layers[index];
    let last = last_of(plan, layer, context);
    let may_answer = may_answer(last.as_ref(), context)?;
    let answers = |key: &Key| find(std::slice::from_ref(key), &|_| true, context);
    let answers = Some(&answers as &Answers<'_>).filter(|_| may_answer || !context.tiers.is_empty());
    // Of what leaves no trace it isn't known what there was before.
    let has_trace = context.records.is_some() && layer.reads_host();
    let blocks = has_trace.then(|| BlockIndexes::new(context.store.root()));
    let before = last.as_ref().filter(|last| last.layers.len() == 1).map(|last| &last.layers[0].descriptor);
    let workshop =
        Workshop { answers, is_listed, blocks: blocks.as_ref(), last: before, ..context.workshop() };
    let mut made = layer::build(layer, listing, keys.materials.clone(), workshop)
        .map_err(|fault| layer_fault(layer, fault))?;
    record(plan, index, keys, last.as_ref(), &mut made, context);
    Ok(made)
}

/// Records a layer that was made under all its keys, and leaves its trace.
fn record(
    plan: &Plan,
    index: usize,
    keys: &ManifestKeys,
    last: Option<&Record>,
    made: &mut Made,
    context: Context<'_>,
) {
    let layer = &plan.layers[index];
    let trace = context.records.filter(|_| layer.reads_host());
    let trace = trace.map(|_| layer::trace_key(layer, &plan.name));
    let all = std::mem::take(&mut made.new).into_iter();
    let is_here = |origin: &Origin| !matches!(origin, Origin::Place(_));
    if let Some(records) = context.records {
        if made.origins.iter().all(is_here) {
            let is_traced = |last: &Record| last.layers == made.record.layers;
            let trace = trace.filter(|_| !last.is_some_and(is_traced));
            let under_keys = keys.of(&made.record.machines).iter().map(|key| made.record.under(*key));
            keep(all.chain(under_keys).chain(trace.map(|key| made.record.traced(key))), context, records);
        } else {
            keep(all, context, records);
        }
    }
}

/// Returns the record of the last build of a layer, whatever it held.
fn last_of(plan: &Plan, layer: &PlannedLayer, context: Context<'_>) -> Option<Record> {
    let records = context.records.filter(|_| layer.reads_host())?;
    known(records, &layer::trace_key(layer, &plan.name), context.observer)
}

/// Tells whether the cache may have a record of what a layer holds.
fn may_answer(last: Option<&Record>, context: Context<'_>) -> Result<bool, BlobError> {
    match last {
        // Of several blobs some may be there though one is gone.
        Some(last) if last.layers.len() == 1 => holds(context.store, last),
        last => Ok(last.is_some()),
    }
}

/// Keeps records. A cache that can't be written to costs the next build time, and this one nothing.
fn keep(all: impl Iterator<Item = Record>, context: Context<'_>, records: &dyn RecordStore) {
    for record in all {
        if let Err(fault) = records.put(&record) {
            let warning = Warning::new(format!("the layer is not cached: {}", chain(&fault)));
            context.observer.event(&Event::Warning(warning.hint("check the cache directory")));
            return;
        }
    }
}

/// Returns the pairs of an image's layers, the lower one first, that may disagree.
fn doubtful(plan: &Plan, image: &PlannedImage) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    for variant in &image.variants {
        let foundation = match variant.foundation {
            Foundation::Builtin(index) => Some(index),
            _ => None,
        };
        let own: Vec<usize> =
            variant.layers.iter().copied().filter(|index| Some(*index) != foundation).collect();
        for (at, one) in own.iter().enumerate() {
            let others = own[at + 1..].iter();
            let others =
                others.filter(|other| layer::may_disagree(&plan.layers[*one], &plan.layers[**other]));
            pairs.extend(others.map(|other| [*one, *other]));
        }
    }
    pairs
}

/// Makes sure that no layer of an image resets a directory of another, or takes away its files.
fn check_outlines(
    plan: &Plan,
    image: &PlannedImage,
    layers: &[FinishedLayer],
    known: &mut BTreeMap<usize, Outline>,
    context: Context<'_>,
) -> Result<(), BuildError> {
    for pair in doubtful(plan, image) {
        for index in pair {
            if let Entry::Vacant(unknown) = known.entry(index) {
                let FinishedLayer { record, origins, .. } = &layers[index];
                match layer::outline(record, &source(origins, context), context.cancel) {
                    Ok(outline) => unknown.insert(outline),
                    // What another place has was made under the same rules.
                    Err(fault) if record.inventory.is_none() && fault.is_absence() => continue,
                    Err(fault) => return Err(fault.into()),
                };
            }
        }
        let [one, other] = pair;
        if let (Some(ours), Some(theirs)) = (known.get(&one), known.get(&other)) {
            compare((&layers[one], ours), (&layers[other], theirs))?;
        }
    }
    Ok(())
}

fn compare(
    (lower, ours): (&FinishedLayer, &Outline),
    (upper, theirs): (&FinishedLayer, &Outline),
) -> Result<(), BuildError> {
    let (one, other) = (lower.label.clone(), upper.label.clone());
    for (path, first) in &ours.directories {
        let Some(second) = theirs.directories.get(path).filter(|second| *second != first) else { continue };
        let path = crate::files::display(path);
        if first.owner != second.owner {
            let (first, second) = (first.owner, second.owner);
            return Err(BuildError::Disagreement { one, other, path, first, second });
        }
        let mut names = first.xattrs.keys().chain(second.xattrs.keys());
        let name = names.find(|name| first.xattrs.get(*name) != second.xattrs.get(*name));
        let name = name.map(|name| crate::files::display(name)).unwrap_or_default();
        return Err(BuildError::Attributes { one, other, path, name });
    }
    if let Some(path) = ours.differs_in_kind(theirs) {
        return Err(BuildError::Kinds { one, other, path: crate::files::display(path) });
    }
    match ours.taken_away_by(theirs) {
        Some(path) => Err(BuildError::TakenAway { one, other, path: crate::files::display(path) }),
        None => Ok(()),
    }
}

/// The layers that other places have, by those places; and the inventories of those that one place has
/// all of, so that whoever is given the records can be given what they name.
fn elsewhere(layers: &[FinishedLayer], tiers: &[Tier]) -> Vec<BaseLayers> {
    let of = |(index, tier): (usize, &Tier)| {
        let is_there = |origin: &Origin| *origin == Origin::Place(index);
        let all = layers.iter().flat_map(|layer| layer.record.layers.iter().zip(&layer.origins));
        let own = all.filter(|(_, origin)| is_there(origin)).map(|(layer, _)| &layer.descriptor);
        let whole = layers.iter().filter(|layer| layer.origins.iter().all(is_there));
        let inventories = whole.filter_map(|layer| layer.record.inventory.as_ref());
        let blobs = own.chain(inventories).map(|blob| blob.digest);
        BaseLayers::new(blobs.collect(), Arc::clone(&tier.blobs))
    };
    tiers.iter().enumerate().map(of).collect()
}

/// What an image for a platform says of a layer: the same whatever answered for it.
fn carry(planned: &PlannedLayer, layer: &FinishedLayer, platform: &Platform) -> Vec<BuiltLayer> {
    let place = planned.platforms.iter().position(|own| own == platform);
    let manifest = place.and_then(|place| layer.manifest_keys.get(place));
    carried(&layer.record, manifest)
}

fn put_together(
    plan: &Plan,
    image: &PlannedImage,
    foundations: &Foundations,
    layers: &[FinishedLayer],
    memory: &Memory,
    created: Created,
) -> Result<BuiltImage, BuildError> {
    let fault = |source| BuildError::Image { image: image.name.clone(), source };
    let mut assembled = Vec::with_capacity(image.variants.len());
    for variant in &image.variants {
        let base = foundations.base(&variant.foundation).map(Found::base);
        let built = |index: &usize| carry(&plan.layers[*index], &layers[*index], &variant.platform);
        let built: Vec<Vec<BuiltLayer>> = variant.layers.iter().map(built).collect();
        let own = variant.layers.iter().zip(&built).flat_map(|(index, built)| {
            let (layer, comment) = (&layers[*index], plan.layers[*index].comment.as_deref());
            let count = built.len();
            let part = move |number| Some((number + 1, count)).filter(|_| count > 1);
            let own =
                move |(number, built)| OwnLayer { name: &layer.name, comment, built, part: part(number) };
            built.iter().enumerate().map(own)
        });
        let own: Vec<OwnLayer<'_>> = own.collect();
        let image = assemble(variant, base, &own, created).map_err(fault)?;
        memory.insert(MediaType::CONFIG, image.config.clone());
        memory.insert(MediaType::MANIFEST, image.manifest.clone());
        assembled.push((image, variant));
    }
    let root = match &assembled[..] {
        [(only, _)] => only.descriptor.clone(),
        several => memory.insert(MediaType::INDEX, assemble_index(several)),
    };
    Ok(BuiltImage {
        name: image.name.clone(),
        tags: image.tags.clone(),
        ref_names: image.ref_names(),
        root,
        layers: built::layer_numbers(image),
    })
}
