//! What a build would do, found out without doing it; and why.
//!
//! Bases are opened, lockfiles read and records asked for as a build does. Of layers that no lockfile
//! answers for, directories are walked, and what isn't known of their files is read; nothing is
//! compressed. The cache learns of files what a build would have learned.

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::base::Listing;
use crate::blob::{BlobError, Source, Store, Union};
use crate::build::bases::Foundations;
use crate::build::built::{LayersElsewhere, layer_numbers};
use crate::build::error::layer_fault;
use crate::build::find::{asking, holds, known, last_of, may_answer};
use crate::build::past::HOST;
use crate::build::resolve::{Decision, decide, reuse};
use crate::build::steps::{self, ForeseenStep, Progress, Steps};
use crate::build::{BuildError, Context, past};
use crate::cache::{BuiltLayer, Change, LastBuild, Past, Record};
use crate::event::LayerOutcome;
use crate::layer::{self, Answer, FileChanges, Holding, LayerError, StepKey, Workshop};
use crate::oci::{Compression, Descriptor};
use crate::plan::{Foundation, Plan};
use crate::reference::Reference;

/// What a build of a plan would do.
pub struct Foresight {
    /// What would become of each layer, in the order of the plan.
    pub layers: Vec<ForeseenLayer>,
    /// The images, in the order of the plan.
    pub images: Vec<ForeseenImage>,
    /// What would become of each step, in the order of the plan.
    pub steps: Vec<ForeseenStep>,
    store: Store,
    elsewhere: Vec<LayersElsewhere>,
}

impl Foresight {
    /// Returns where those blobs are that are somewhere: layers that something answers for, and those of
    /// bases.
    #[must_use]
    pub fn source(&self) -> Union<'_> {
        let elsewhere = self.elsewhere.iter().map(|layers| layers as &dyn Source);
        Union::new(elsewhere.chain([&self.store as &dyn Source]).collect())
    }
}

/// An image that would be built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeseenImage {
    /// Its name in the spec.
    pub name: String,
    /// What it would be called.
    pub tags: Vec<Reference>,
    /// Its own layers, by their place in the plan, each once.
    pub layers: Vec<usize>,
    /// The layers of its bases, each once.
    pub base: Vec<Descriptor>,
}

/// What would become of a layer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeseenLayer {
    /// Its place in the plan.
    pub index: usize,
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is.
    pub label: String,
    /// Whether it is that of a builtin base.
    pub is_builtin: bool,
    /// By what it was found, if something answers for all of it.
    pub by: Option<By>,
    /// Its blobs, bottom first: several where it is split.
    pub blobs: Vec<ForeseenBlob>,
    /// The number of its entries, where that is known.
    pub entries: Option<u64>,
    /// The length of its tar bytes, where that is known.
    pub tar_size: Option<u64>,
}

impl ForeseenLayer {
    /// Tells whether nothing of it has to be made.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.blobs.iter().all(|blob| blob.outcome.is_reused())
    }
}

/// By what a layer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// By its lockfiles, or by what the spec says where that is all: no file of it was looked at.
    Manifest,
    /// By what its files hold.
    Content,
}

/// A blob of a layer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeseenBlob {
    /// The blob, if it is somewhere.
    pub blob: Option<BuiltLayer>,
    /// Whether it has to be made, or what answers.
    pub outcome: LayerOutcome,
    /// What the place beside the cache is called that has it.
    pub place: Option<String>,
    /// The length of its tar bytes, where that is known.
    pub tar_size: Option<u64>,
    /// How long it will be, by what compression made of the layer in its last build.
    pub estimate: Option<u64>,
}

/// Why a layer has to be made anew, or hasn't.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// What would become of it.
    pub layer: ForeseenLayer,
    /// What is known of its last build, if the machine's cache knows of any.
    pub last: Option<LastBuild>,
    /// What its bytes follow from that is otherwise than in the last build.
    pub changes: Vec<Change>,
    /// How its files differ from what they were; none where that isn't known.
    pub files: Option<FileChanges>,
    /// What there was and isn't any more.
    pub gone: Option<Gone>,
    /// The same of the last build, against what the layer was before.
    pub earlier: (Vec<Change>, Option<FileChanges>),
    /// The places beside the cache that were asked.
    pub asked: Vec<String>,
}

/// What would have answered, and is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gone {
    /// The record is there, and one of its blobs isn't.
    Blob,
    /// Nothing changed since the last build, and its record isn't there any more.
    Record,
}

/// Finds out what a build would do.
///
/// # Errors
/// [`BuildError`], as a build would meet it.
pub fn foresee(plan: &Plan, context: Context<'_>) -> Result<Foresight, BuildError> {
    let steps = Steps::find_out(plan, context)?;
    let step_keys = steps.declared(plan);
    let context = Context { step_keys: &step_keys, ..context };
    let foundations = Foundations::open(plan, context)?;
    let look = |index: usize| Look::of(plan, index, &foundations, context);
    let looks = || (0..plan.layers.len()).map(look).collect::<Result<Vec<Look<'_>>, BuildError>>();
    let looks = context.pool.install(looks)??;
    let (steps, step_keys) = foresee_steps(plan, &steps, &looks, context)?;
    let realised = Context { step_keys: &step_keys, ..context };
    let one = |look: &Look<'_>| look.foresee(false, realised).map(|(layer, _)| layer);
    let layers = context.pool.install(|| looks.par_iter().map(one).collect::<Result<Vec<_>, BuildError>>());
    let layers = layers??;
    let images = plan.images.iter().map(|image| {
        let mut base: Vec<Descriptor> = Vec::new();
        let all = image.variants.iter().flat_map(|variant| foundations.layers(&variant.foundation));
        for layer in all {
            if !base.iter().any(|known| known.digest == layer.digest) {
                base.push(layer.clone());
            }
        }
        ForeseenImage {
            name: image.name.clone(),
            tags: image.tags.clone(),
            layers: layer_numbers(image),
            base,
        }
    });
    let images = images.collect();
    let mut elsewhere = foundations.into_sources();
    elsewhere.extend(context.tiers.iter().map(|tier| {
        let blobs = layers.iter().flat_map(|layer: &ForeseenLayer| &layer.blobs);
        let own = blobs.filter(|blob| blob.place.as_ref() == Some(&tier.place));
        let digests = own.filter_map(|blob| Some(blob.blob.as_ref()?.descriptor.digest));
        LayersElsewhere::new(digests.collect(), std::sync::Arc::clone(&tier.blobs))
    }));
    Ok(Foresight { layers, images, steps, store: context.store.clone(), elsewhere })
}

/// Finds out what would become of the steps that layers need for which nothing answers; and how layers know
/// those by what they made.
fn foresee_steps(
    plan: &Plan,
    steps: &Steps,
    looks: &[Look<'_>],
    context: Context<'_>,
) -> Result<(Vec<ForeseenStep>, Vec<StepKey>), BuildError> {
    if steps.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let place = context.workplace.ok_or(BuildError::NoWorkplace)?;
    let progress = Progress::new(plan, steps, steps::quiet(context), place);
    let needed = looks.iter().filter(|look| look.decision.reused.is_none());
    let wanted = needed.flat_map(|look| plan.layers[look.index].steps());
    let foreseen = steps::foresee(&progress, wanted)?;
    Ok((foreseen, progress.realised()))
}

/// Finds out why these layers, by their places in the plan, would be made anew.
///
/// # Errors
/// As for [`foresee`].
pub fn explain(plan: &Plan, layers: &[usize], context: Context<'_>) -> Result<Vec<Explanation>, BuildError> {
    let steps = Steps::find_out(plan, context)?;
    let step_keys = steps.declared(plan);
    let context = Context { step_keys: &step_keys, ..context };
    let foundations = Foundations::open(plan, context)?;
    let look = |index: &usize| Look::of(plan, *index, &foundations, context);
    let looks = || layers.iter().map(look).collect::<Result<Vec<Look<'_>>, BuildError>>();
    let looks = context.pool.install(looks)??;
    let (_, step_keys) = foresee_steps(plan, &steps, &looks, context)?;
    let realised = Context { step_keys: &step_keys, ..context };
    let one = |look: &Look<'_>| look.explain(realised);
    let all = context.pool.install(|| looks.iter().map(one).collect::<Result<Vec<_>, BuildError>>());
    all?
}

/// A look at one layer.
struct Look<'a> {
    plan: &'a Plan,
    index: usize,
    listing: &'a Listing,
    decision: Decision,
    last: Option<LastBuild>,
    context: Context<'a>,
}

impl<'a> Look<'a> {
    fn of(
        plan: &'a Plan,
        index: usize,
        foundations: &'a Foundations,
        context: Context<'a>,
    ) -> Result<Self, BuildError> {
        context.cancel.check()?;
        let listing = foundations.listing(&plan.layers[index].foundation);
        let layer = &plan.layers[index];
        let keys = layer::mixed_keys(layer, listing, context.workshop(plan));
        let decision = match keys.map_err(|fault| layer_fault(layer, fault))? {
            Some(keys) => reuse(layer, keys, context)?,
            None => decide(plan, layer, listing, context)?,
        };
        let last = past::last(plan, index, context);
        Ok(Self { plan, index, listing, decision, last, context })
    }

    /// Looks at the layer; at its files only if they have to be. `lists` says that it is wanted what
    /// they hold, whether anything may answer for it or not.
    fn foresee(
        &self,
        lists: bool,
        realised: Context<'_>,
    ) -> Result<(ForeseenLayer, Option<layer::Foreseen>), BuildError> {
        if let Some(answer) = &self.decision.reused {
            return Ok((self.hit(By::Manifest, answer), None));
        }
        let Self { plan, index, context, .. } = *self;
        let layer = &plan.layers[index];
        if layer.steps().next().is_some() {
            return Ok((self.of_steps(realised)?, None));
        }
        let may_answer = lists || may_answer(last_of(plan, layer, context).as_ref(), context)?;
        let seen = asking(plan, may_answer, context, |workshop| {
            layer::foresee(layer, self.listing, lists, Workshop { observer: &(), ..workshop })
        });
        let seen = seen.map_err(|fault| layer_fault(layer, fault))?;
        if let Some(answer) = &seen.answer {
            return Ok((self.hit(By::Content, answer), Some(seen)));
        }
        let blobs = match &seen.parts[..] {
            [] => vec![self.made(seen.tar_size)],
            parts => parts.iter().flat_map(|part| self.part(part)).collect(),
        };
        let (entries, tar_size) = (Some(seen.entries), Some(seen.tar_size));
        Ok((ForeseenLayer { by: None, blobs, entries, tar_size, ..self.unknown() }, Some(seen)))
    }

    /// Looks at a layer that copies from steps: as far as it is known what they make. Nothing of that is
    /// brought here only to be looked at.
    fn of_steps(&self, realised: Context<'_>) -> Result<ForeseenLayer, BuildError> {
        let Self { plan, index, listing, .. } = *self;
        let layer = &plan.layers[index];
        let keys = layer::mixed_keys(layer, listing, realised.workshop(plan));
        let decision = match keys.map_err(|fault| layer_fault(layer, fault))? {
            Some(keys) => reuse(layer, keys, realised)?,
            None => decide(plan, layer, listing, realised)?,
        };
        Ok(match &decision.reused {
            Some(answer) => self.hit(By::Manifest, answer),
            None => self.unseen(),
        })
    }

    /// A layer that will be made of what can't be looked at yet.
    fn unseen(&self) -> ForeseenLayer {
        let blob = ForeseenBlob {
            blob: None,
            outcome: LayerOutcome::Built,
            place: None,
            tar_size: None,
            estimate: self.last.as_ref().map(|last| last.last.size),
        };
        ForeseenLayer { blobs: vec![blob], ..self.unknown() }
    }

    fn unknown(&self) -> ForeseenLayer {
        let layer = &self.plan.layers[self.index];
        let mut variants = self.plan.images.iter().flat_map(|image| &image.variants);
        ForeseenLayer {
            index: self.index,
            name: layer.name.clone(),
            label: layer.label.clone(),
            is_builtin: variants
                .any(|variant| matches!(variant.foundation, Foundation::Builtin(own) if own == self.index)),
            by: None,
            blobs: Vec::new(),
            entries: None,
            tar_size: None,
        }
    }

    fn hit(&self, by: By, answer: &Answer) -> ForeseenLayer {
        let record = &answer.record;
        let is_listed = record.inventory.is_some();
        ForeseenLayer {
            by: Some(by),
            blobs: self.there(answer, is_listed.then_some(record.tar_size)),
            entries: is_listed.then_some(record.entries),
            tar_size: is_listed.then_some(record.tar_size),
            ..self.unknown()
        }
    }

    fn there(&self, answer: &Answer, tar_size: Option<u64>) -> Vec<ForeseenBlob> {
        let (outcome, place) = (self.context.outcome(answer.origin), self.context.place(answer.origin));
        let layers = &answer.record.layers;
        let tar_size = tar_size.filter(|_| layers.len() == 1);
        let blob = |built: &BuiltLayer| ForeseenBlob {
            blob: Some(built.clone()),
            outcome,
            place: place.clone(),
            tar_size,
            estimate: None,
        };
        layers.iter().map(blob).collect()
    }

    fn part(&self, part: &layer::ForeseenPart) -> Vec<ForeseenBlob> {
        match &part.answer {
            Some(answer) => self.there(answer, Some(part.tar_size)),
            None => vec![self.made(part.tar_size)],
        }
    }

    fn made(&self, tar_size: u64) -> ForeseenBlob {
        let last = self.last.as_ref().map(|last| &last.last);
        let is_alike = |last: &&Past| {
            let compression = self.plan.layers[self.index].compression.to_string();
            last.tar_size > 0 && last.particulars.fields.get("compression") == Some(&compression)
        };
        let by_last = last.filter(is_alike).map(|last| {
            let estimate = u128::from(tar_size) * u128::from(last.size) / u128::from(last.tar_size);
            u64::try_from(estimate).unwrap_or(u64::MAX)
        });
        let is_plain = self.plan.layers[self.index].compression == Compression::None;
        ForeseenBlob {
            blob: None,
            outcome: LayerOutcome::Built,
            place: None,
            tar_size: Some(tar_size),
            estimate: if is_plain { Some(tar_size) } else { by_last },
        }
    }

    fn explain(&self, realised: Context<'_>) -> Result<Explanation, BuildError> {
        let Self { plan, index, context, .. } = *self;
        let layer = &plan.layers[index];
        let now = past::particulars(plan, index, self.listing, &self.decision.keys.materials, context);
        let mut now = now.map_err(|fault| layer_fault(layer, fault))?;
        let last = self.last.as_ref().map(|last| &last.last);
        if last.is_some_and(|last| !last.particulars.fields.contains_key(HOST)) {
            now.fields.remove(HOST);
        }
        let changes = last.map_or_else(Vec::new, |last| last.particulars.changes(&now));
        let (layer, seen) = match self.foresee(true, realised) {
            // What isn't there yet can't be looked at; what else is otherwise says enough.
            Err(BuildError::Layer { source, .. })
                if matches!(*source, LayerError::Missing { .. } | LayerError::Empty { .. })
                    && !changes.is_empty() =>
            {
                (self.unseen(), None)
            }
            looked => looked?,
        };
        let is_made = !layer.is_hit();
        let files = match (last, &seen) {
            (Some(last), Some(seen)) if is_made => self.files(last, seen),
            _ => None,
        };
        let gone = if is_made { self.gone(seen.as_ref())? } else { None };
        let asked = context.tiers.iter().map(|tier| tier.place.clone()).collect();
        let earlier = self.earlier();
        let last = self.last.clone();
        Ok(Explanation { layer, last, changes, files, gone, earlier, asked })
    }

    /// What a layer held. Where the list of it is damaged, the layer itself says so.
    fn holding(&self, past: &Past) -> Option<Holding> {
        let Context { store, records, observer, cancel, .. } = self.context;
        if let Ok(holding) = Holding::of_inventory(past.inventory.as_ref()?, store) {
            return Some(holding);
        }
        let record = known(records?, &past.content?, observer)?;
        Holding::read(&record, store, cancel).ok()
    }

    fn files(&self, last: &Past, seen: &layer::Foreseen) -> Option<FileChanges> {
        if seen.content.is_some() && seen.content == last.content {
            return Some(FileChanges::default());
        }
        Some(self.holding(last)?.changes(seen.holding.as_ref()?))
    }

    /// How the layer as it was built last differs from what it was before.
    fn earlier(&self) -> (Vec<Change>, Option<FileChanges>) {
        let Some(LastBuild { last, before: Some(before), .. }) = &self.last else {
            return (Vec::new(), None);
        };
        let files = || Some(self.holding(before)?.changes(&self.holding(last)?));
        (before.particulars.changes(&last.particulars), files())
    }

    fn gone(&self, seen: Option<&layer::Foreseen>) -> Result<Option<Gone>, BlobError> {
        let Some(records) = self.context.records else { return Ok(None) };
        let content = seen.and_then(|seen| seen.content);
        for key in self.decision.keys.all().chain(&content) {
            let lacks = |record: Record| holds(self.context.store, &record).map(|holds| !holds);
            if known(records, key, self.context.observer).map_or(Ok(false), lacks)? {
                return Ok(Some(Gone::Blob));
            }
        }
        let last = self.last.as_ref().and_then(|last| last.last.content);
        Ok((content.is_some() && content == last).then_some(Gone::Record))
    }
}
