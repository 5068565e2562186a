//! Resolving a plan and building it: which layers are answered by a record, which are made, and
//! the images put together from them.
//!
//! Never meets a registry or a layout: bases come from whatever [`Bases`] opens, and what was built
//! is handed out as a [`Source`](crate::blob::Source).

mod bases;
mod built;
mod check;
mod pool;
mod start;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::base::{BaseError, Listing, ListingError};
use crate::blob::{BlobError, Memory, Source as _, Store};
use crate::cache::{BlockIndexes, CacheError, Material, Record, RecordStore};
use crate::event::{Cancel, Cancelled, Event, LayerOutcome, Observer, Warning};
use crate::files::{FileError, FileId, FileTree, StatCache};
use crate::image::{Created, ImageError, OwnLayer, assemble, assemble_index};
use crate::key::Key;
use crate::layer::{self, Budget, Circumstances, InputFault, LayerError, Outline, Workshop};
use crate::oci::MediaType;
use crate::plan::{Foundation, Plan, PlannedImage, PlannedLayer};
use crate::spec::Span;

pub use bases::{Bases, OpenBase, Shelf, list_base};
use bases::{Found, Foundations};
pub(crate) use built::BaseLayers;
pub use built::{Built, BuiltImage, FinishedLayer};
pub use check::check;
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
    /// What is known of the tree's files since they were last read; without, they are read again.
    pub stat: Option<&'a StatCache>,
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
        Workshop {
            tree,
            skip,
            store,
            budget,
            observer,
            cancel,
            latest,
            stat,
            answers: None,
            blocks: None,
            last: None,
        }
    }

    /// What listings of bases need of it.
    fn shelf(self) -> Shelf<'a> {
        let Self { store, records, observer, cancel, .. } = self;
        Shelf { store, records, observer, cancel }
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
    keys: Vec<Key>,
    materials: Vec<Material>,
    reused: Option<Record>,
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
    let outlines = read_outlines(plan, &mut layers, context.store)?;
    Ok(Resolved { plan, foundations, layers, outlines })
}

/// Reads the outlines of reused layers that others may disagree with. What turns out to be
/// damaged is dropped, and its layer made again; so is that of one that went meanwhile.
fn read_outlines(
    plan: &Plan,
    layers: &mut [Decision],
    store: &Store,
) -> Result<BTreeMap<usize, Outline>, BuildError> {
    let mut known = BTreeMap::new();
    for index in plan.images.iter().flat_map(|image| doubtful(plan, image)).flatten() {
        let Some(record) = &layers[index].reused else { continue };
        if known.contains_key(&index) {
            continue;
        }
        match layer::outline(record, store) {
            Ok(outline) => {
                known.insert(index, outline);
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

fn decide(
    plan: &Plan,
    layer: &PlannedLayer,
    listing: &Listing,
    context: Context<'_>,
) -> Result<Decision, BuildError> {
    let circumstances = Circumstances { spec: &plan.name, host: context.host, latest: latest(context) };
    let keys = layer::manifest_keys(layer, listing, context.tree, circumstances)
        .map_err(|fault| layer_fault(layer, fault))?;
    let Some(layer::ManifestKeys { keys, materials }) = keys else {
        return Ok(Decision { keys: Vec::new(), materials: Vec::new(), reused: None });
    };
    let mut reused = None;
    if let Some(records) = context.records {
        for key in &keys {
            let Some(record) = known(records, key, context.observer) else { continue };
            if layer::suits(&record, layer) && holds(context.store, &record)? {
                records.used(key);
                reused = Some(record);
                break;
            }
        }
    }
    Ok(Decision { keys, materials, reused })
}

/// Asks for a record. A cache that can't be read costs time, and nothing else.
fn known(records: &dyn RecordStore, key: &Key, observer: &dyn Observer) -> Option<Record> {
    records.get(key).unwrap_or_else(|fault| {
        let warning = Warning::new(format!("a record is not used: {fault}"));
        observer.event(&Event::Warning(warning.hint("check the cache directory")));
        None
    })
}

/// Tells whether the store has everything a record names.
fn holds(store: &Store, record: &Record) -> Result<bool, BlobError> {
    for layer in &record.layers {
        if !store.exists(&layer.descriptor)? {
            return Ok(false);
        }
    }
    store.exists(&record.inventory)
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
    // One layer's fault stops the others; theirs, that they were stopped, is not told.
    let stop = context.cancel.child();
    let fault = Mutex::new(None);
    let context = Context { cancel: &stop, ..context };
    let one = |(index, decision): (usize, Decision)| {
        let listing = foundations.listing(&plan.layers[index].foundation);
        let layer = make(plan, index, decision, listing, context).map_err(|error| {
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
    remember(context);
    let memory = Memory::new();
    let mut images = Vec::with_capacity(plan.images.len());
    for image in &plan.images {
        check_outlines(plan, image, &layers, &mut outlines, context.store)?;
        images.push(put_together(plan, image, &foundations, &layers, &memory, context.created)?);
    }
    let warnings = start::warnings(plan, &foundations, &layers, context.store);
    let sources = foundations.into_sources();
    let (memory, store) = (Arc::new(memory), context.store.clone());
    Ok(Built { images, layers, warnings, memory, store, bases: sources, hold: None })
}

/// Writes down what was learned of files. Where that can't be, they are read again the next time:
/// of a cache that can't be written to, its records have told.
fn remember(context: Context<'_>) {
    if let Some(stat) = context.stat {
        let _ = stat.save();
    }
}

fn make(
    plan: &Plan,
    index: usize,
    decision: Decision,
    listing: &Listing,
    context: Context<'_>,
) -> Result<FinishedLayer, BuildError> {
    let start = Instant::now();
    let layer = &plan.layers[index];
    let Decision { keys, materials, reused } = decision;
    let (record, outcome) = match reused {
        Some(record) => (record, LayerOutcome::Reused),
        None => build_layer(plan, layer, listing, (&keys, materials), context)?,
    };
    let finished = FinishedLayer {
        index,
        name: layer.name.clone(),
        label: layer.label.clone(),
        record,
        outcome,
        elapsed: start.elapsed(),
    };
    for built in &finished.record.layers {
        context.observer.event(&Event::LayerFinished {
            layer: finished.label.clone(),
            digest: built.descriptor.digest,
            size: built.descriptor.size,
            outcome,
            elapsed: finished.elapsed,
        });
    }
    Ok(finished)
}

/// Builds a layer, and records it under all its keys.
///
/// Where the last build of the layer left a trace, its files are hashed first: they may hold what
/// they held then, or some time before.
fn build_layer(
    plan: &Plan,
    layer: &PlannedLayer,
    listing: &Listing,
    (keys, materials): (&[Key], Vec<Material>),
    context: Context<'_>,
) -> Result<(Record, LayerOutcome), BuildError> {
    let build = |answers, blocks, last| {
        let workshop = Workshop { answers, blocks, last, ..context.workshop() };
        layer::build(layer, listing, materials, workshop).map_err(|fault| layer_fault(layer, fault))
    };
    let Some(records) = context.records else { return build(None, None, None) };
    let Context { store, observer, .. } = context;
    let trace = layer.reads_host().then(|| layer::trace_key(layer, &plan.name));
    let last = trace.and_then(|trace| known(records, &trace, observer));
    let answers = |key: &Key| match known(records, key, observer) {
        Some(record) if holds(store, &record)? => Ok(Some(record)),
        _ => Ok(None),
    };
    let may_answer = match &last {
        Some(last) => holds(store, last)?,
        None => false,
    };
    // Only of what leaves a trace is it known what there was before.
    let indexes = trace.map(|_| BlockIndexes::new(store.root()));
    let before = last.as_ref().and_then(|last| Some(&last.layers.first()?.descriptor));
    let (record, outcome) = build(if may_answer { Some(&answers) } else { None }, indexes.as_ref(), before)?;
    if outcome == LayerOutcome::Reused {
        records.used(&record.key);
    }
    // No lockfile went into the key of the content.
    let plain = Record { materials: Vec::new(), ..record.clone() };
    let of_content = (outcome == LayerOutcome::Built).then(|| plain.clone());
    let is_traced = |last: &Record| last.layers == record.layers;
    let trace = trace.filter(|_| !last.as_ref().is_some_and(is_traced)).map(|trace| plain.under(trace));
    let under_keys = keys.iter().map(|key| record.under(*key));
    keep(of_content.into_iter().chain(under_keys).chain(trace), context, records);
    Ok((record, outcome))
}

/// Keeps records. A cache that can't be written to costs the next build time, and this one nothing.
fn keep(all: impl Iterator<Item = Record>, context: Context<'_>, records: &dyn RecordStore) {
    for record in all {
        if let Err(fault) = records.put(&record) {
            let warning = Warning::new(format!("the layer is not cached: {fault}"));
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
    store: &Store,
) -> Result<(), BuildError> {
    for pair in doubtful(plan, image) {
        for index in pair {
            if let Entry::Vacant(unknown) = known.entry(index) {
                unknown.insert(layer::outline(&layers[index].record, store)?);
            }
        }
        let [one, other] = pair;
        compare((&layers[one], &known[&one]), (&layers[other], &known[&other]))?;
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
        let own = variant.layers.iter().flat_map(|index| {
            let (layer, comment) = (&layers[*index], plan.layers[*index].comment.as_deref());
            layer.record.layers.iter().map(move |built| OwnLayer { name: &layer.name, comment, built })
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
