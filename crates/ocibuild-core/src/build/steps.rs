//! Steps: which of them have to run, what they make, and the layers that wait for them.
//!
//! Of each step the inputs are looked up, and its declared key made, before anything runs. Then the
//! layers that nothing answers for say which steps are needed; of those, the ones that no record answers
//! for run, each once what it needs is there.

mod capture;
mod demand;
mod error;
mod foresee;
mod known;
mod made;
mod progress;
mod ran;
mod read;
mod run;
mod work;

use std::ffi::OsString;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::base::Listing;
use crate::build::{BuildError, Context};
use crate::digest::Digest;
use crate::files::StatCache;
use crate::key::Key;
use crate::layer::{self, StepKey, Workshop};
use crate::plan::{Plan, PlannedStep};
use crate::step;

pub use error::{SkippedStep, StepFailure, StepFailures, StepFault};
pub use foresee::{ForeseenStep, Outlook};
pub(super) use foresee::{foresee, quiet};
pub use made::MadeSteps;
pub use progress::FinishedStep;
pub(super) use progress::Progress;
pub use ran::RanSteps;
pub use work::Deliver;
pub(super) use work::{Layers, make_all, run};

/// Returns the value of a variable that the run was given.
pub type Variables<'a> = dyn Fn(&str) -> Option<OsString> + Sync + 'a;

/// What steps are run with.
#[derive(Clone, Copy)]
pub struct Workplace<'a> {
    /// The directory of the input files.
    pub root: &'a Path,
    /// The directory of the cache in which steps have theirs.
    pub cache: &'a Path,
    /// A cache that is only read: what steps made, and what tools say, is looked for there first.
    pub below: Option<&'a Path>,
    /// What the run was given of variables: `PATH`, those that steps let through, secrets.
    pub variables: &'a Variables<'a>,
    /// What was made in earlier attempts of the run.
    pub made: Option<&'a MadeSteps>,
    /// How many steps and layers are made at once, at most.
    pub jobs: usize,
    /// Whether what doesn't need a step that failed goes on.
    pub keep_going: bool,
    /// Whether steps that run in place are watched for what they read without declaring it.
    pub checks_inputs: bool,
}

/// What is known of a plan's steps before any of them runs, in the order of the plan.
#[derive(Default)]
pub(crate) struct Steps {
    known: Vec<Known>,
}

/// What is known of a step before it runs.
struct Known {
    /// The digest of what its inputs hold.
    inputs: Digest,
    /// Its key, whatever it needs.
    own: Key,
    /// Its key; none if it runs always, or needs a step that does.
    declared: Option<Key>,
}

impl Steps {
    /// Looks up the inputs of all steps, and makes their keys.
    pub(super) fn find_out(plan: &Plan, context: Context<'_>) -> Result<Self, BuildError> {
        if plan.steps.is_empty() {
            return Ok(Self::default());
        }
        let place = context.workplace.ok_or(BuildError::NoWorkplace)?;
        // Tools that are still asked are stopped where an input is missing.
        let stop = context.cancel.child();
        let context = Context { cancel: &stop, ..context };
        let reader = Reader::new(plan, context, place);
        let look = || plan.steps.par_iter().map(|step| reader.inputs(step)).collect::<Result<Vec<_>, _>>();
        // They are waited for, which no thread of the pool must do.
        let (inputs, tools) = std::thread::scope(|threads| {
            let tools = threads.spawn(|| reader.tools());
            let inputs = context.pool.install(look);
            if !matches!(inputs, Ok(Ok(_))) {
                stop.cancel();
            }
            (inputs, tools.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        reader.save();
        let mut known: Vec<Known> = Vec::with_capacity(plan.steps.len());
        for (step, (inputs, tools)) in plan.steps.iter().zip(inputs??.into_iter().zip(tools?)) {
            let own = reader.own(step, &inputs, &tools);
            let needs: Option<Vec<Key>> = step.needs.iter().map(|need| known[*need].declared).collect();
            let declared = needs.filter(|_| !step.always).map(|needs| step::declared_key(&own, &needs));
            known.push(Known { inputs, own, declared });
        }
        Ok(Self { known })
    }

    /// Tells whether the plan has none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The steps as layers know them before any has run.
    pub(super) fn declared(&self, plan: &Plan) -> Vec<StepKey> {
        let steps = plan.steps.iter().zip(&self.known);
        steps.map(|(step, known)| StepKey { label: step.label.clone(), key: known.declared }).collect()
    }
}

/// Finds the inputs of steps that aren't there, without reading any.
pub(super) fn check(plan: &Plan, context: Context<'_>) -> Vec<BuildError> {
    let of = |step: &PlannedStep| {
        let inputs = read::inputs(step);
        let faults = layer::check(&inputs, Some(&Listing::empty()), context.workshop(plan)).into_iter();
        faults
            .map(|fault| BuildError::step(plan, step, StepFault::Inputs(Box::new(fault))))
            .collect::<Vec<_>>()
    };
    plan.steps.iter().flat_map(of).collect()
}

/// Reads what steps' keys are made of.
struct Reader<'a> {
    plan: &'a Plan,
    context: Context<'a>,
    place: &'a Workplace<'a>,
    /// What is known of input files, whichever step's they are.
    stat: Option<StatCache>,
}

impl<'a> Reader<'a> {
    fn new(plan: &'a Plan, context: Context<'a>, place: &'a Workplace<'a>) -> Self {
        let stat = context.stat.map(|tree| tree.of("inputs of steps"));
        if let Some(stat) = &stat {
            stat.start();
        }
        Self { plan, context, place, stat }
    }

    /// Keeps what was learned. Where that can't be, files are read again the next time.
    fn save(&self) {
        if let Some(stat) = &self.stat {
            let _ = stat.save();
        }
    }

    /// What the tools of each step say.
    fn tools(&self) -> Result<Vec<Vec<Vec<u8>>>, BuildError> {
        let tools = step::Tools::new(self.place.cache, self.place.variables, self.context.cancel)
            .over(self.place.below);
        let fault =
            |(index, tool)| BuildError::step(self.plan, &self.plan.steps[index], StepFault::Tool(tool));
        tools.ask(&self.plan.steps, self.place.jobs).map_err(fault)
    }

    /// A step's own key.
    fn own(&self, step: &PlannedStep, inputs: &Digest, tools: &[Vec<u8>]) -> Key {
        let keyed = step.pass_env.iter().filter(|variable| variable.is_keyed);
        let value = |name: &str| (self.place.variables)(name).map(OsString::into_encoded_bytes);
        let variables: Vec<Option<Vec<u8>>> = keyed.map(|variable| value(&variable.name)).collect();
        let circumstances = step::Circumstances {
            host: self.context.host,
            inputs,
            variables: &variables,
            tools,
            absent_secrets: &step::absent_secrets(&step.secrets, self.place.root, self.place.variables),
        };
        step::own_key(step, circumstances)
    }

    /// The digest of what a step's inputs hold.
    fn inputs(&self, step: &PlannedStep) -> Result<Digest, BuildError> {
        self.context.cancel.check()?;
        let workshop = Workshop { stat: self.stat.as_ref(), ..self.context.workshop(self.plan) };
        let contents = layer::contents(&read::inputs(step), &Listing::empty(), workshop);
        let fault = |fault| BuildError::step(self.plan, step, StepFault::Inputs(Box::new(fault)));
        contents.map(|contents| contents.root).map_err(fault)
    }
}
