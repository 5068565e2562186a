//! Steps: what a builder is told of them, and running some without building images.

use std::ffi::OsString;

use crate::blob::{Source, Store};
use crate::build::{
    BuildError, Context, Deliver, FinishedStep, ForeseenStep, MadeSteps, RanSteps, Steps, Workplace,
    foresee_steps, run_steps,
};
use crate::builder::{Builder, Error};
use crate::cache::{CacheError, Kept, Record};
use crate::files::DiskTree;
use crate::oci::Platform;
use crate::plan::{Plan, PlanError, plan_steps};
use crate::spec::{CacheMode, CachePlace, Spec};

type Variables<'a> = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync + 'a>;

/// What a builder is told.
pub(super) struct Stepping<'a> {
    variables: Variables<'a>,
    jobs: usize,
    keep_going: bool,
    checks_inputs: bool,
    made: Option<&'a MadeSteps>,
}

impl Default for Stepping<'_> {
    fn default() -> Self {
        let variables = Box::new(|_: &str| None);
        Self { variables, jobs: 0, keep_going: false, checks_inputs: false, made: None }
    }
}

impl<'a> Builder<'a> {
    /// Gives steps what the environment has, by name: `PATH`, in which programs are looked for, what steps
    /// let through, and secrets. Commands inherit nothing else. By default nothing is there, and `PATH`
    /// is the system's usual one.
    #[must_use]
    pub fn environment(mut self, variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'a) -> Self {
        self.stepping.variables = Box::new(variables);
        self
    }

    /// Makes at most so many steps and layers at once; by default, or if told 0, as many as there are
    /// processors. How many threads compress is another matter: [`Builder::threads`].
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.stepping.jobs = jobs;
        self
    }

    /// Says whether, after a step failed, all goes on that doesn't need it. No image is built then either,
    /// but what was made is in the cache, and all that is wrong is told at once.
    #[must_use]
    pub fn keep_going(mut self, yes: bool) -> Self {
        self.stepping.keep_going = yes;
        self
    }

    /// Has steps that run in place watched: what they read below the root without declaring it is warned
    /// of. Needs `strace`.
    #[must_use]
    pub fn check_inputs(mut self, yes: bool) -> Self {
        self.stepping.checks_inputs = yes;
        self
    }

    /// Has no step run again that ran while this was at hand; see [`MadeSteps`]. By default steps that run
    /// always do so each time.
    #[must_use]
    pub fn made_before(mut self, made: &'a MadeSteps) -> Self {
        self.stepping.made = Some(made);
        self
    }

    /// Plans steps of a spec, by their names, and those they need, with no image; see
    /// [`plan_steps`](crate::plan::plan_steps()).
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn plan_steps(
        &self,
        spec: &Spec,
        steps: &[String],
        platforms: &[Platform],
    ) -> Result<Plan, PlanError> {
        plan_steps(spec, &self.name_of(spec), steps, platforms, self)
    }

    /// Runs steps of a plan, by their places in it, unless something answers for them; and what they need
    /// for which nothing answers. Returns all of which it is known now what they made.
    ///
    /// # Errors
    /// [`Error`]; nothing of a step that failed is in the cache.
    pub fn run_steps(&self, plan: &Plan, wanted: &[usize]) -> Result<RanSteps, Error> {
        self.run_and_deliver(plan, wanted, None)
    }

    /// Runs steps as [`Builder::run_steps`] does, and hands over what each of those wanted made: a
    /// directory that has it, which is there for as long as the function runs, and is only to be read.
    ///
    /// # Errors
    /// [`Error`]; nothing of a step that failed is in the cache.
    pub fn deliver_steps(
        &self,
        plan: &Plan,
        wanted: &[usize],
        deliver: &Deliver<'_>,
    ) -> Result<RanSteps, Error> {
        self.run_and_deliver(plan, wanted, Some(deliver))
    }

    fn run_and_deliver(
        &self,
        plan: &Plan,
        wanted: &[usize],
        deliver: Option<&Deliver<'_>>,
    ) -> Result<RanSteps, Error> {
        let tree = DiskTree::open(&self.root)?;
        let hold = self.enter_cache().map_err(BuildError::from)?;
        let (tiers, told) = (self.tiers(plan), self.told(plan));
        self.within(&tree, self.use_records, |context| {
            let context = Context { tiers: &tiers, told: &told, ..context };
            Ok(run_steps(plan, wanted, deliver, context)?.holding(hold))
        })
    }

    /// Finds out what would become of steps of a plan, by their places in it, without running any; see
    /// [`build::foresee_steps`](crate::build::foresee_steps()). Makes no cache where there is none.
    ///
    /// # Errors
    /// [`Error`], as running them would meet it before anything runs.
    pub fn foresee_steps(&self, plan: &Plan, wanted: &[usize]) -> Result<Vec<ForeseenStep>, Error> {
        self.looking(plan, |context| Ok(foresee_steps(plan, wanted, context)?))
    }

    /// Tells the place of [`Builder::cache_to`] what steps made, so that it answers for them, with their
    /// blobs: what another place answered with is copied there. Does nothing where there is no such place,
    /// or it is given no blobs ([`CacheMode::Min`]): no image has these.
    ///
    /// # Errors
    /// [`CacheError`]; what the steps made is what it is.
    pub fn write_step_cache(&self, plan: &Plan, ran: &RanSteps) -> Result<Option<Kept>, CacheError> {
        let Some((place, CacheMode::Max)) = self.cache_target(plan) else { return Ok(None) };
        let steps = (&*ran.steps, &ran.known);
        self.tell_with_blobs(&place, plan, (Vec::new(), steps), &ran.source()).map(Some)
    }

    /// Tells a place with blobs of layers and of steps: first what was found out in this run, then what the
    /// cache knows of the other steps.
    pub(super) fn tell_with_blobs(
        &self,
        place: &CachePlace,
        plan: &Plan,
        (mut records, (steps, known)): (Vec<Record>, (&[FinishedStep], &Steps)),
        blobs: &dyn Source,
    ) -> Result<Kept, CacheError> {
        records.extend(steps.iter().flat_map(FinishedStep::records));
        records.extend(known.records_here(plan, steps, (&self.local_records(), &self.store())));
        let kept = self.sink(place)?.keep_beside(&records, &known.unseen(steps), blobs, &self.cancel)?;
        Ok(Kept { told: records.len() as u64, ..kept })
    }

    pub(super) fn workplace<'b>(&'b self, tree: &'b DiskTree, store: &'b Store) -> Workplace<'b> {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let Stepping { variables, jobs, keep_going, checks_inputs, made } = &self.stepping;
        Workplace {
            root: tree.path(),
            cache: store.root(),
            below: self.caching.scratch.as_ref().map(|_| &*self.cache),
            variables: &**variables,
            made: *made,
            jobs: if *jobs == 0 { processors() } else { *jobs },
            keep_going: *keep_going,
            checks_inputs: *checks_inputs,
        }
    }
}
