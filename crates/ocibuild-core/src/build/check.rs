//! A plan held against the files and bases there are, without building it.

use std::collections::BTreeSet;

use crate::build::bases::Foundations;
use crate::build::error::layer_fault;
use crate::build::{BuildError, Context, steps};
use crate::layer;
use crate::plan::{Plan, PlannedLayer};

/// Finds what would keep a plan from being built, as far as that shows without reading the files of
/// layers: bases that can't be opened, lockfiles that aren't there, copies and inputs of steps that find
/// nothing, and what can't go where it is to go. All of it, where a build stops at the first fault.
///
/// Success doesn't mean that the plan can be built: files may be unreadable, change, or be programs
/// for another machine, steps may fail or not make what is copied, and layers may disagree on a directory or
/// take away what others write.
///
/// # Errors
/// [`BuildError`] if it was cancelled, or no threads can be had.
pub fn check(plan: &Plan, context: Context<'_>) -> Result<Vec<BuildError>, BuildError> {
    let (foundations, mut faults) = Foundations::open_all(plan, context);
    for layer in &plan.layers {
        context.cancel.check()?;
        let listing = foundations.known(&layer.foundation);
        let known = without_steps(layer);
        let found = context.pool.install(|| layer::check(&known, listing, context.workshop(plan)))?;
        faults.extend(found.into_iter().map(|fault| layer_fault(layer, fault)));
    }
    faults.extend(context.pool.install(|| steps::check(plan, context))?);
    // What is wrong with a copy is so on any base.
    let mut seen = BTreeSet::new();
    faults.retain(|fault| match fault {
        BuildError::Layer { source, .. } => seen.insert((source.span(), source.to_string())),
        _ => true,
    });
    match faults.iter().position(|fault| matches!(fault, BuildError::Cancelled(_))) {
        Some(cancelled) => Err(faults.swap_remove(cancelled)),
        None => Ok(faults),
    }
}

/// A layer without what steps have yet to make.
fn without_steps(layer: &PlannedLayer) -> PlannedLayer {
    let copies = layer.copies.iter().filter(|copy| copy.step().is_none());
    PlannedLayer { copies: copies.cloned().collect(), ..layer.clone() }
}
