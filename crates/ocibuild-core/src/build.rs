//! Resolving a plan and building it: which layers are answered by a record, which are made, and
//! the images put together from them.
//!
//! Never meets a registry or a layout: bases come from whatever [`Bases`] opens, and what was built
//! is handed out as a [`Source`].

mod bases;
mod built;
mod check;
mod checks;
mod disagree;
mod error;
mod find;
mod foresee;
mod images;
mod listings;
mod lookups;
mod make;
mod past;
mod pool;
mod resolve;
mod schedule;
mod start;
mod steps;
mod verify;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::blob::{Memory, Source, Store};
use crate::cache::{BlockIndexes, LastBuilds, RecordStore};
use crate::event::{Cancel, Cancelled, LayerOutcome, Observer};
use crate::files::{FileId, FileTree, StatCache};
use crate::image::Created;
use crate::layer::{Budget, Circumstances, Origin, StepKey, Workshop};
use crate::plan::Plan;

use bases::Foundations;
use checks::Checker;
use disagree::{check_outlines, doubtful};
use images::put_together;
use make::make;
use resolve::Decision;
use steps::Progress;
pub(crate) use steps::Steps;

pub use bases::{Bases, OpenBase};
pub(crate) use built::LayersElsewhere;
pub use built::{Built, BuiltImage, FinishedLayer};
pub use check::check;
pub use error::BuildError;
pub(crate) use find::unanswered;
pub use foresee::{
    By, Explanation, ForeseenBlob, ForeseenImage, ForeseenLayer, Foresight, Gone, explain, foresee,
};
pub use listings::{Shelf, list_base};
pub use pool::Pool;
pub use resolve::{Resolved, resolve};
pub use steps::{
    Deliver, FinishedStep, ForeseenStep, MadeSteps, Outlook, RanSteps, SkippedStep, StepFailure,
    StepFailures, StepFault, Variables, Workplace,
};

/// A place beside the cache that answers for layers: an image that was pushed, a cache repository, an
/// object store.
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

/// Makes sure that something stayed as it was.
pub type Stayed<'a> = dyn Fn() -> Result<(), BuildError> + Sync + 'a;

/// What a plan is built from and with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The input files.
    pub tree: &'a dyn FileTree,
    /// Makes sure that what steps made stayed as it was, before anything is recorded of what was read of
    /// it; without, nothing of the tree is theirs.
    pub stayed: Option<&'a Stayed<'a>>,
    /// What is never taken for input: our own outputs, caches and locks.
    pub skip: &'a [FileId],
    /// Opens the bases that the plan names.
    pub bases: &'a dyn Bases,
    /// Where blobs are kept.
    pub store: &'a Store,
    /// Where records are kept; without, nothing is answered nor recorded.
    pub records: Option<&'a dyn RecordStore>,
    /// What is asked, in this order, for layers and steps that no record answers for, and for what bases
    /// hold. Layers and steps that one of them has are neither brought to the store nor recorded; what is
    /// made of what such steps made is recorded by that alone, not by what the steps are.
    pub tiers: &'a [Tier],
    /// The places beside the cache that the run was told of, whether or not they may be asked now: what
    /// the cache keeps of theirs answers for bases, and answers nobody else.
    pub told: &'a [String],
    /// What is known of the tree's files since they were last read; without, they are read again.
    pub stat: Option<&'a StatCache>,
    /// Where it is noted what layers were made of, for whoever asks why one is made anew.
    pub last: Option<&'a LastBuilds>,
    /// What blocks of large layers were made of, so that the next blob takes over those that are the
    /// same; without, all of them are made.
    pub blocks: Option<&'a BlockIndexes>,
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
    /// What layers know of the plan's steps: those who build find it out.
    pub step_keys: &'a [StepKey],
    /// What steps are run with; without, none is.
    pub workplace: Option<&'a Workplace<'a>>,
    /// When images say they were made. Other than its default, it is also the latest time that a
    /// file may keep.
    pub created: Created,
}

impl<'a> Context<'a> {
    /// What layers need of it.
    fn workshop(self, plan: &'a Plan) -> Workshop<'a> {
        let circumstances = self.circumstances(plan);
        let Self { tree, skip, store, budget, observer, cancel, stat, .. } = self;
        let (answers, is_listed, blocks, last) = (None, false, None, None);
        let asks_elsewhere = !self.tiers.is_empty();
        Workshop {
            tree,
            skip,
            store,
            budget,
            observer,
            cancel,
            circumstances,
            stat,
            answers,
            asks_elsewhere,
            is_listed,
            blocks,
            last,
            // What is found is a matter of fact, which the next run goes by; what is made of it isn't.
            inspects: true,
            last_inspection: None,
        }
    }

    /// What keys of layers depend on. Times that files keep are bounded only where somebody said when
    /// images are made.
    fn circumstances(self, plan: &'a Plan) -> Circumstances<'a> {
        let created = Some(self.created).filter(|created| *created != Created::default());
        let latest = created.map(|created| i64::try_from(created.0).unwrap_or(i64::MAX));
        Circumstances { spec: &plan.name, host: self.host, latest, steps: self.step_keys }
    }

    /// What is told of a layer's blob that is from there.
    fn outcome(self, origin: Origin) -> LayerOutcome {
        match origin {
            Origin::Made => LayerOutcome::Built,
            Origin::Store => LayerOutcome::Reused,
            Origin::Place(tier) => self.tiers[tier].outcome,
        }
    }

    /// What the place beside the cache is called that something is from.
    fn place(self, origin: Origin) -> Option<String> {
        match origin {
            Origin::Place(tier) => Some(self.tiers[tier].place.clone()),
            Origin::Made | Origin::Store => None,
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
    let Resolved { plan, foundations, layers, mut outlines, steps: known_steps } = resolved;
    let step_keys = known_steps.declared(plan);
    let context = Context { step_keys: &step_keys, ..context };
    let checker = Checker::new(plan, context);
    // One that fails by itself goes nowhere; the others are made, so that all that is wrong is told.
    let sound = |layer: &FinishedLayer| {
        if checker.layer(layer) {
            finished(layer);
        }
    };
    let finished = &sound;
    let (layers, steps) = match known_steps.is_empty() {
        true => (make_all(plan, &foundations, layers, context, finished)?, Vec::new()),
        false => {
            let doubtful = all_doubtful(plan);
            let listed = &|index: usize| doubtful.contains(&index);
            let layers = steps::Layers { foundations: &foundations, decisions: layers, listed, finished };
            steps::make_all(plan, layers, &known_steps, context)?
        }
    };
    let findings = checker.images(&foundations, &layers);
    if crate::checks::fails(&plan.checks.policy, &findings) {
        return Err(BuildError::Unsound { findings });
    }
    let memory = Memory::new();
    let mut images = Vec::with_capacity(plan.images.len());
    for image in &plan.images {
        check_outlines(plan, image, &layers, &mut outlines, context)?;
        images.push(put_together(plan, image, &foundations, &layers, &memory, context.created)?);
    }
    let warnings = start::warnings(plan, &foundations, &layers, context.store);
    let listings = foundations.records();
    let own = elsewhere(&layers, &steps, context.tiers);
    let elsewhere = foundations.into_sources().into_iter().chain(own).collect();
    let (memory, store) = (Arc::new(memory), context.store.clone());
    Ok(Built {
        images,
        layers,
        steps,
        known_steps,
        warnings,
        findings,
        memory,
        store,
        elsewhere,
        listings,
        hold: None,
    })
}

/// Runs steps of a plan, by their places in it, unless something answers for them, with all that they need
/// for which nothing does. Returns those of which it is known now what they made. What each of those wanted
/// made is handed to `deliver`, where that is given, as a directory that is there for that time.
///
/// # Errors
/// [`BuildError`]; nothing of a step that failed is recorded.
pub fn run_steps(
    plan: &Plan,
    wanted: &[usize],
    deliver: Option<&Deliver<'_>>,
    context: Context<'_>,
) -> Result<RanSteps, BuildError> {
    let steps = Steps::find_out(plan, context)?;
    let finished = steps::run(plan, wanted, deliver, &steps, context)?;
    Ok(RanSteps::new(steps, finished, (context.store, context.tiers)))
}

/// Finds out what would become of steps of a plan, by their places in it, without running any.
///
/// # Errors
/// [`BuildError`], as running them would meet it before anything runs.
pub fn foresee_steps(
    plan: &Plan,
    wanted: &[usize],
    context: Context<'_>,
) -> Result<Vec<ForeseenStep>, BuildError> {
    let steps = Steps::find_out(plan, context)?;
    let place = context.workplace.ok_or(BuildError::NoWorkplace)?;
    let progress = Progress::new(plan, &steps, steps::quiet(context), place);
    steps::foresee(&progress, wanted.iter().copied())
}

/// Makes the layers of a plan side by side. One layer's fault stops the others; theirs, that they were
/// stopped, is not told.
fn make_all(
    plan: &Plan,
    foundations: &Foundations,
    decisions: Vec<Decision>,
    context: Context<'_>,
    finished: &(dyn Fn(&FinishedLayer) + Sync),
) -> Result<Vec<FinishedLayer>, BuildError> {
    let work: Vec<(usize, Decision)> = decisions.into_iter().enumerate().collect();
    let doubtful = all_doubtful(plan);
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
    match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(fault) => Err(fault),
        None => layers,
    }
}

fn all_doubtful(plan: &Plan) -> BTreeSet<usize> {
    plan.images.iter().flat_map(|image| doubtful(plan, image)).flatten().collect()
}

/// The layers that other places have, by those places; and the inventories of those that one place has
/// all of, so that whoever is given the records can be given what they name.
fn elsewhere(layers: &[FinishedLayer], steps: &[FinishedStep], tiers: &[Tier]) -> Vec<LayersElsewhere> {
    let of = |(index, tier): (usize, &Tier)| {
        let is_there = |origin: &Origin| *origin == Origin::Place(index);
        let all = layers.iter().flat_map(|layer| layer.record.layers.iter().zip(&layer.origins));
        let own = all.filter(|(_, origin)| is_there(origin)).map(|(layer, _)| &layer.descriptor);
        let whole = layers.iter().filter(|layer| layer.origins.iter().all(is_there));
        let made = steps.iter().filter(|step| is_there(&step.origin)).flat_map(|step| step.record.kept());
        let inventories = whole.filter_map(|layer| layer.record.inventory.as_ref());
        let blobs = own.chain(inventories).chain(made).map(|blob| blob.digest);
        LayersElsewhere::new(blobs.collect(), Arc::clone(&tier.blobs))
    };
    tiers.iter().enumerate().map(of).collect()
}
