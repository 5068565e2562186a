//! Which steps have to be looked at: those that are wanted, and of a step that nothing answers for,
//! those it needs.

use std::collections::BTreeSet;

use crate::build::schedule::Task;
use crate::build::steps::progress::{Fallible, Progress};

/// Finds the steps to be made, in the order of the plan, so that all that are wanted come to be known.
/// Nothing is asked of what a step needs that something answers for.
pub(super) fn demanded(progress: &Progress<'_>, wanted: impl Iterator<Item = usize>) -> Fallible<Vec<usize>> {
    let mut demanded = BTreeSet::new();
    let mut next: BTreeSet<usize> = wanted.collect();
    let mut looked = BTreeSet::new();
    while !next.is_empty() {
        progress.context.cancel.check()?;
        let asked: Vec<usize> = next.iter().copied().collect();
        looked.append(&mut next);
        for (step, is_answered) in asked.iter().zip(progress.are_answered(&asked)?) {
            if !is_answered {
                demanded.insert(*step);
                let needs = progress.plan.steps[*step].needs.iter().copied();
                next.extend(needs.filter(|need| !looked.contains(need)));
            }
        }
    }
    Ok(demanded.into_iter().collect())
}

/// The tasks of making steps, which are numbered by their places among these.
pub(super) fn tasks(progress: &Progress<'_>, demanded: &[usize]) -> Vec<Task> {
    let place = |need: &usize| demanded.binary_search(need).ok();
    let task = |step: &usize| {
        let step = &progress.plan.steps[*step];
        let shared = step.cache_dirs.iter().filter(|directory| directory.path.starts_with("~/"));
        let shared = shared.map(|directory| directory.path.clone());
        // There is one root.
        let root = step.in_place.then(|| "in place".to_owned());
        Task { after: step.needs.iter().filter_map(place).collect(), claims: shared.chain(root).collect() }
    };
    demanded.iter().map(task).collect()
}
