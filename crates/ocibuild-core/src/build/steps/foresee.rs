//! What would become of steps, found out without running any.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::build::Context;
use crate::build::steps::demand::demanded;
use crate::build::steps::progress::{Fallible, Progress};
use crate::event::LayerOutcome;
use crate::plan::PlannedStep;

/// What would become of a step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForeseenStep {
    /// Its place in [`Plan::steps`](crate::plan::Plan::steps).
    pub index: usize,
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is.
    pub label: String,
    /// Whether its command would run.
    pub outlook: Outlook,
    /// What the place beside the cache is called that answers.
    pub place: Option<String>,
    /// How long its command took when it last ran here, if it did.
    pub last: Option<Duration>,
}

/// Whether a step's command would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outlook {
    /// No: something answers.
    Hit(LayerOutcome),
    /// Yes.
    Runs,
    /// Yes, unless what runs before it makes what it made before.
    Depends,
    /// No: nothing that has to be made needs it.
    Unneeded,
}

/// Looks at all steps that are needed for those that are wanted. Those that something answers for are
/// finished by it.
pub(in crate::build) fn foresee(
    progress: &Progress<'_>,
    wanted: impl Iterator<Item = usize>,
) -> Fallible<Vec<ForeseenStep>> {
    let demanded: BTreeSet<usize> = demanded(progress, wanted)?.into_iter().collect();
    let mut all = Vec::with_capacity(progress.plan.steps.len());
    for (index, step) in progress.plan.steps.iter().enumerate() {
        let outlook = match demanded.contains(&index) {
            true => outlook(progress, index, step)?,
            false => progress.finished(index).map_or(Outlook::Unneeded, |step| Outlook::Hit(step.outcome)),
        };
        all.push(ForeseenStep {
            index,
            name: step.name.clone(),
            label: step.label.clone(),
            outlook,
            place: progress.finished(index).and_then(|step| step.place.clone()),
            last: progress.last(step),
        });
    }
    Ok(all)
}

fn outlook(progress: &Progress<'_>, index: usize, step: &PlannedStep) -> Fallible<Outlook> {
    if !step.needs.iter().all(|need| progress.finished(*need).is_some()) {
        return Ok(if step.always { Outlook::Runs } else { Outlook::Depends });
    }
    progress.is_realised(index)?;
    Ok(progress.finished(index).map_or(Outlook::Runs, |step| Outlook::Hit(step.outcome)))
}

/// Nobody is told of what is only looked at.
pub(in crate::build) fn quiet(context: Context<'_>) -> Context<'_> {
    Context { observer: &(), ..context }
}
