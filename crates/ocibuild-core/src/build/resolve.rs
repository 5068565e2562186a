//! Which layers of a plan something answers for before any of their files is looked at.

use std::collections::BTreeMap;

use crate::base::Listing;
use crate::blob::{BlobError, many};
use crate::build::bases::Foundations;
use crate::build::disagree::read_outlines;
use crate::build::error::layer_fault;
use crate::build::find::{at_once, find};
use crate::build::steps::Steps;
use crate::build::{BuildError, Context};
use crate::cache::Record;
use crate::key::Key;
use crate::layer::{self, Answer, ManifestKeys, Outline};
use crate::plan::{Plan, PlannedLayer};

/// A plan for which it is known what has to be made.
pub struct Resolved<'p> {
    pub(super) plan: &'p Plan,
    pub(super) foundations: Foundations,
    pub(super) layers: Vec<Decision>,
    /// Those of reused layers that others may disagree with, by the layer's place in the plan.
    pub(super) outlines: BTreeMap<usize, Outline>,
    pub(super) steps: Steps,
}

/// What is known of a layer before any of its files is looked at.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) keys: ManifestKeys,
    pub(super) reused: Option<Answer>,
}

impl Resolved<'_> {
    /// Tells for each layer of the plan whether it is reused, in their order.
    pub fn reused(&self) -> impl Iterator<Item = bool> + '_ {
        self.layers.iter().map(|layer| layer.reused.is_some())
    }
}

/// Finds out which layers are answered by records, without looking at their files.
///
/// Reads lockfiles, the inputs of steps, the listings of bases (from records where there are any, else
/// from the bases' layers), and the inventories that have to be compared; a layer whose inventory is
/// damaged isn't reused.
///
/// # Errors
/// [`BuildError`] for the first fault of a base, a lockfile or the cache.
pub fn resolve<'p>(plan: &'p Plan, context: Context<'_>) -> Result<Resolved<'p>, BuildError> {
    let steps = Steps::find_out(plan, context)?;
    let step_keys = steps.declared(plan);
    let context = Context { step_keys: &step_keys, ..context };
    let foundations = Foundations::open(plan, context)?;
    foundations.warn_of_triggers(plan, context.observer);
    let decide = |layer: &PlannedLayer| {
        context.cancel.check()?;
        // Of several faults that of the first layer is told, whoever was first to find one.
        Ok::<_, BuildError>(decide(plan, layer, foundations.listing(&layer.foundation), context))
    };
    let layers = many(&plan.layers, at_once(context), decide)?;
    let mut layers = layers.into_iter().collect::<Result<Vec<Decision>, BuildError>>()?;
    let outlines = read_outlines(plan, &mut layers, context)?;
    Ok(Resolved { plan, foundations, layers, outlines, steps })
}

pub(super) fn decide(
    plan: &Plan,
    layer: &PlannedLayer,
    listing: &Listing,
    context: Context<'_>,
) -> Result<Decision, BuildError> {
    let keys = layer::manifest_keys(layer, listing, context.tree, context.circumstances(plan))
        .map_err(|fault| layer_fault(layer, fault))?;
    match keys {
        Some(keys) => reuse(layer, keys, context),
        None => Ok(Decision { keys: ManifestKeys::default(), reused: None }),
    }
}

/// Asks for a layer by its keys.
pub(super) fn reuse(
    layer: &PlannedLayer,
    keys: ManifestKeys,
    context: Context<'_>,
) -> Result<Decision, BuildError> {
    let all: Vec<Key> = keys.all().copied().collect();
    let fits =
        |record: &Record| layer::suits(record, layer) && keys.of(&record.machines).contains(&record.key);
    let reused = find(&all, &fits, context).map_err(|fault| match fault {
        BlobError::Cancelled(cancelled) => cancelled.into(),
        fault => BuildError::Blob(fault),
    })?;
    Ok(Decision { keys, reused })
}
