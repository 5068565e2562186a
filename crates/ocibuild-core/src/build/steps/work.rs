//! Steps and layers side by side, as tasks of one graph under one bound.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::base::Listing;
use crate::build::bases::Foundations;
use crate::build::disagree::known_outline;
use crate::build::error::layer_fault;
use crate::build::find::chain;
use crate::build::make::make;
use crate::build::resolve::{Decision, decide, reuse};
use crate::build::schedule::{self, Ending, Signal, Task};
use crate::build::steps::demand::{demanded, tasks};
use crate::build::steps::progress::{Fallible, FinishedStep, Progress};
use crate::build::steps::{Steps, Workplace};
use crate::build::{BuildError, Context, FinishedLayer, SkippedStep, StepFailures};
use crate::event::{Cancel, Event, Warning};
use crate::layer::{self, StepKey};
use crate::plan::Plan;

/// The layers of a plan that are to be made.
pub(in crate::build) struct Layers<'a> {
    pub(in crate::build) foundations: &'a Foundations,
    pub(in crate::build) decisions: Vec<Decision>,
    /// Those whose inventories are wanted.
    pub(in crate::build) listed: &'a (dyn Fn(usize) -> bool + Sync),
    pub(in crate::build) finished: &'a (dyn Fn(&FinishedLayer) + Sync),
}

/// Makes the layers of a plan, and the steps that those need which nothing answers for.
pub(in crate::build) fn make_all(
    plan: &Plan,
    layers: Layers<'_>,
    steps: &Steps,
    context: Context<'_>,
) -> Fallible<(Vec<FinishedLayer>, Vec<FinishedStep>)> {
    let place = context.workplace.ok_or(BuildError::NoWorkplace)?;
    let stop = context.cancel.child();
    let context = Context { cancel: &stop, ..context };
    let progress = Progress::new(plan, steps, context, place);
    let decisions = answer_mixed(plan, &layers, context)?;
    let is_needed = |index: &usize| context.verifies || decisions[*index].reused.is_none();
    let needed = (0..plan.layers.len()).filter(is_needed);
    let wanted = needed.flat_map(|index| plan.layers[index].steps());
    let demanded = demanded(&progress, wanted)?;
    let mut all = tasks(&progress, &demanded);
    let place_of = |step: usize| demanded.binary_search(&step).ok();
    all.extend(decisions.iter().zip(&plan.layers).enumerate().map(|(index, (_, layer))| {
        let steps = layer.steps().filter(|_| is_needed(&index));
        Task { after: steps.filter_map(place_of).collect(), claims: Vec::new() }
    }));
    let work = Work::new(&progress, &demanded, decisions, &layers, &stop);
    work.run(&all, place)?;
    let layers = work.layers.into_iter().map(|layer| layer.into_inner().expect("no task failed"));
    Ok((layers.collect(), progress.all_finished()))
}

/// Takes what a step made: the step, and a directory that has it.
pub type Deliver<'a> = dyn Fn(&FinishedStep, &Path) + Sync + 'a;

/// Makes steps, and those they need that nothing answers for, and hands over what those wanted made.
pub(in crate::build) fn run(
    plan: &Plan,
    wanted: &[usize],
    deliver: Option<&Deliver<'_>>,
    steps: &Steps,
    context: Context<'_>,
) -> Fallible<Vec<FinishedStep>> {
    let place = context.workplace.ok_or(BuildError::NoWorkplace)?;
    let stop = context.cancel.child();
    let context = Context { cancel: &stop, ..context };
    let progress = Progress::new(plan, steps, context, place);
    let demanded = demanded(&progress, wanted.iter().copied())?;
    let all = tasks(&progress, &demanded);
    Work::steps(&progress, &demanded, &stop).run(&all, place)?;
    if let Some(deliver) = deliver {
        for index in wanted {
            let tree = progress.tree(*index)?;
            deliver(&progress.finished(*index).expect("what is wanted is made"), tree.path());
            context.pool.install(|| progress.stayed(std::iter::once(*index)))??;
        }
    }
    Ok(progress.all_finished())
}

/// Asks for layers that copy from steps and from the host as well, now that it is time to look at files.
fn answer_mixed(plan: &Plan, layers: &Layers<'_>, context: Context<'_>) -> Fallible<Vec<Decision>> {
    let one = |(index, decision): (usize, &Decision)| {
        let layer = &plan.layers[index];
        let listing = layers.foundations.listing(&layer.foundation);
        let keys = layer::mixed_keys(layer, listing, context.workshop(plan));
        let Some(keys) = keys.map_err(|fault| layer_fault(layer, fault))? else {
            return Ok(decision.clone());
        };
        let decision = reuse(layer, keys, context)?;
        match &decision.reused {
            Some(answer) if (layers.listed)(index) && known_outline(answer, context)?.is_none() => {
                Ok(Decision { reused: None, ..decision })
            }
            _ => Ok(decision),
        }
    };
    let all = || layers.decisions.iter().enumerate().map(one).collect();
    context.pool.install(all)?
}

/// Tasks at work.
struct Work<'w, 'a> {
    progress: &'w Progress<'a>,
    /// The steps that are tasks, which come first.
    demanded: &'w [usize],
    decisions: Vec<Decision>,
    of: Option<&'w Layers<'w>>,
    layers: Vec<OnceLock<FinishedLayer>>,
    faults: Mutex<Vec<(usize, BuildError)>>,
    stop: &'w Cancel,
}

impl<'w, 'a> Work<'w, 'a> {
    fn new(
        progress: &'w Progress<'a>,
        demanded: &'w [usize],
        decisions: Vec<Decision>,
        of: &'w Layers<'w>,
        stop: &'w Cancel,
    ) -> Self {
        let layers = decisions.iter().map(|_| OnceLock::new()).collect();
        Self { decisions, of: Some(of), layers, ..Self::steps(progress, demanded, stop) }
    }

    fn steps(progress: &'w Progress<'a>, demanded: &'w [usize], stop: &'w Cancel) -> Self {
        let (decisions, layers, faults) = (Vec::new(), Vec::new(), Mutex::default());
        Self { progress, demanded, decisions, of: None, layers, faults, stop }
    }

    /// Runs all tasks: layers in the pool; steps, which wait for commands, on threads of their own, and so
    /// layers that copy from steps, which wait for what those made.
    fn run(&self, all: &[Task], place: &Workplace<'_>) -> Fallible<()> {
        let stops = || self.stop.is_cancelled();
        let endings = self.progress.context.pool.in_place_scope(|pool| {
            std::thread::scope(|threads| {
                schedule::run(all, place.jobs, &stops, |task, signal| {
                    if self.waits(task) {
                        threads.spawn(move || self.task(task, signal));
                    } else {
                        pool.spawn(move |_| self.task(task, signal));
                    }
                })
            })
        })?;
        self.outcome(&endings)
    }

    /// Tells whether a task waits for something: a thread of the pool must not.
    fn waits(&self, task: usize) -> bool {
        let layer = || &self.progress.plan.layers[task - self.demanded.len()];
        task < self.demanded.len() || layer().steps().next().is_some()
    }

    fn task(&self, task: usize, signal: Signal) {
        let done = match self.demanded.get(task) {
            Some(step) => self.progress.make(*step),
            None => self.layer(task - self.demanded.len()),
        };
        let is_done = done.is_ok();
        if let Err(fault) = done {
            self.faults.lock().unwrap_or_else(PoisonError::into_inner).push((task, fault));
            if !self.progress.place.keep_going {
                self.stop.cancel();
            }
        }
        signal.end(is_done);
    }

    fn layer(&self, index: usize) -> Fallible<()> {
        let of = self.of.expect("tasks of layers come with them");
        let decision = self.decisions[index].clone();
        let listing = of.foundations.listing(&self.progress.plan.layers[index].foundation);
        let listed = (listing, (of.listed)(index));
        let finished = match self.waits(self.demanded.len() + index) {
            true => self.layer_of_steps(index, decision, listed)?,
            false => make(self.progress.plan, index, decision, listed, self.progress.context)?,
        };
        (of.finished)(&finished);
        self.layers[index].set(finished).expect("each layer is one task");
        Ok(())
    }

    /// Makes a layer that copies from steps: by what the steps are, or by what they made, where something
    /// answers for that, else of the files that they made.
    fn layer_of_steps(
        &self,
        index: usize,
        decision: Decision,
        (listing, is_listed): (&Listing, bool),
    ) -> Fallible<FinishedLayer> {
        let Progress { plan, context, .. } = *self.progress;
        let is_answered = |decision: &Decision| decision.reused.is_some() && !context.verifies;
        let make = |decision, context: Context<'_>| {
            let make = || make(plan, index, decision, (listing, is_listed), context);
            context.pool.install(make)?
        };
        if is_answered(&decision) {
            return make(decision, context);
        }
        let realise = |decision, step_keys: &[StepKey]| {
            let realised = Context { step_keys, ..context };
            let realise = || self.realise(index, decision, (listing, is_listed), realised);
            context.pool.install(realise)?
        };
        let claimed = self.progress.realised();
        let realised = realise(decision.clone(), &claimed)?;
        if is_answered(&realised) {
            return make(realised, context);
        }
        let tree = self.progress.mounted(plan.layers[index].steps())?;
        // What a place said of its bytes may turn out otherwise.
        let seen = self.progress.realised();
        let is_same = seen.iter().zip(&claimed).all(|(seen, claimed)| seen.key == claimed.key);
        let realised = if is_same { realised } else { realise(decision, &seen)? };
        let stayed = || self.progress.stayed(plan.layers[index].steps());
        make(realised, Context { tree: &tree, stayed: Some(&stayed), ..context })
    }

    /// Asks for a layer by what the steps made that it copies from. What answers is recorded by what the
    /// steps are as well.
    fn realise(
        &self,
        index: usize,
        decision: Decision,
        (listing, is_listed): (&Listing, bool),
        context: Context<'_>,
    ) -> Fallible<Decision> {
        let plan = self.progress.plan;
        let layer = &plan.layers[index];
        let realised = match decision.keys.host {
            Some(_) => {
                let keys = layer::mixed_keys(layer, listing, context.workshop(plan));
                reuse(layer, keys.map_err(|fault| layer_fault(layer, fault))?.unwrap_or_default(), context)?
            }
            None => decide(plan, layer, listing, context)?,
        };
        let mut keys = decision.keys;
        keys.realised = Some(Box::new(realised.keys));
        keys.is_foreign = self.progress.is_any_foreign(layer.steps());
        let mut reused = decision.reused.or(realised.reused);
        if let (true, Some(answer)) = (is_listed, &reused)
            && known_outline(answer, context)?.is_none()
        {
            reused = None;
        }
        if let (Some(answer), Some(records)) = (&reused, context.records)
            && answer.origin == layer::Origin::Store
        {
            for key in keys.recorded(&answer.record.machines) {
                // Where it can't be kept, what was made answers the next time as well.
                let _ = records.put(&answer.record.under(*key));
            }
        }
        Ok(Decision { keys, reused })
    }

    /// What all came to: the first fault, or all of those of steps. What else went wrong then is told as a
    /// warning, so that all is told at once.
    fn outcome(&self, endings: &[Ending]) -> Fallible<()> {
        let mut faults = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        let skipped = self.skipped(endings);
        let is_real = |(_, fault): &(usize, BuildError)| !matches!(fault, BuildError::Cancelled(_));
        if faults.iter().any(is_real) {
            faults.retain(is_real);
        }
        let mut failed = Vec::new();
        let mut other = Vec::new();
        for (_, fault) in faults {
            match fault {
                BuildError::Steps(failures) => failed.extend(failures.failed),
                fault => other.push(fault),
            }
        }
        if !failed.is_empty() {
            for fault in &other {
                let warning = Warning::new(format!("beside that: {}", chain(fault)));
                self.progress.context.observer.event(&Event::Warning(warning));
            }
            return Err(BuildError::Steps(Box::new(StepFailures { failed, skipped })));
        }
        other.into_iter().next().map_or(Ok(()), Err)?;
        Ok(self.progress.context.cancel.check()?)
    }

    /// Tells of steps that weren't started.
    fn skipped(&self, endings: &[Ending]) -> Vec<SkippedStep> {
        let label = |task: usize| self.progress.plan.steps[self.demanded[task]].label.clone();
        let mut skipped = Vec::new();
        for (task, ending) in endings.iter().enumerate().take(self.demanded.len()) {
            if let Ending::Skipped(because) = ending {
                let (step, because) = (label(task), label(*because));
                let event = Event::StepSkipped { step: step.clone(), because: because.clone() };
                self.progress.context.observer.event(&event);
                skipped.push(SkippedStep { step, because });
            }
        }
        skipped
    }
}
