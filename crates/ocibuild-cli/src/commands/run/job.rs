//! Steps that were asked for, resolved; and their run.

use std::path::PathBuf;
use std::time::Instant;

use ocibuild_core::build::ForeseenStep;
use ocibuild_core::plan::Plan;
use ocibuild_core::{Builder, Cancel, Error, Platform, Registry};

use crate::commands::build::{BuildFlags, CacheFlags, Caches};
use crate::commands::run::Outcome;
use crate::commands::run::output::Output;
use crate::failure::{BuildFailure, Failure, Origin};
use crate::host;
use crate::options::Options;
use crate::progress::Reporter;
use crate::registry;
use crate::source::{ImageFlags, Source};
use crate::step_flags::StepFlags;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) steps: Vec<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) var: Vec<(String, String)>,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) how: StepFlags,
    pub(crate) caches: CacheFlags,
    pub(crate) offline: bool,
}

impl Asked {
    /// Asks for no step yet, as a build with these flags would.
    pub(crate) fn like(flags: &BuildFlags) -> Self {
        Self {
            steps: Vec::new(),
            file: flags.file.clone(),
            var: flags.var.clone(),
            platforms: flags.platform.clone(),
            how: flags.steps.clone(),
            caches: flags.caches.clone(),
            offline: flags.lock.offline,
        }
    }
}

/// Steps with nothing left to find out.
pub(crate) struct StepJob<'a> {
    started: Instant,
    pub(crate) asked: Asked,
    pub(crate) source: Source,
    cache: PathBuf,
    caches: Caches,
    options: Options,
    reporter: &'a Reporter,
}

impl<'a> StepJob<'a> {
    /// Finds out what flags, environment and spec say together.
    ///
    /// # Errors
    /// [`Failure`] if that can't be meant.
    pub(crate) fn resolve(asked: Asked, options: &Options, reporter: &'a Reporter) -> Result<Self, Failure> {
        let started = Instant::now();
        let vars = asked.var.iter().cloned().collect();
        let source = Source::find(asked.file.clone(), ImageFlags::default(), &[], &vars)?;
        let cache = options.cache_directory()?;
        let caches = Caches::new(&asked.caches, asked.offline, &cache)?;
        let mut options = options.clone();
        options.cache_read_only = asked.caches.cache_read_only;
        Ok(Self { started, asked, source, cache, caches, options, reporter })
    }

    /// Runs the steps, and tells a cache of them.
    ///
    /// # Errors
    /// [`Failure`]; nothing of a step that failed is recorded.
    pub(crate) fn run(&self, output: Option<&Output>, cancel: &Cancel) -> Result<Outcome, Failure> {
        let plan = self.plan(cancel)?;
        self.reporter.expect(plan.steps.iter().map(|step| step.label.clone()));
        let registry = self.registry(&plan, cancel)?;
        let builder = self.connected(&plan, registry.as_ref(), cancel);
        let builder = output.iter().fold(builder, |builder, output| builder.output(output.directory()));
        let wanted = self.wanted(&plan);
        let steps = match output {
            None => builder.run_steps(&plan, &wanted),
            Some(output) => builder.deliver_steps(&plan, &wanted, &|step, tree| {
                output.take(&plan.steps[step.index], tree);
            }),
        };
        let ran = steps.map_err(|error| self.failure(error))?;
        self.asked.how.warn_of_unseen(&plan, &ran.steps, self.reporter);
        let shown = output.map(Output::finish).transpose()?;
        let told = self.caches.tell_of_steps(&builder, &plan, &ran, self.reporter);
        let told = told.map_err(|cancelled| {
            Failure::Place { error: cancelled.into(), origin: Origin::Registry, cache: None }.settled()
        })?;
        Ok(Outcome { steps: ran.steps, told, output: shown, elapsed: self.started.elapsed() })
    }

    /// Finds out what would become of the steps. Returns the plan as well.
    ///
    /// # Errors
    /// [`Failure`], as running them would meet it.
    pub(crate) fn foresee(&self, cancel: &Cancel) -> Result<(Plan, Vec<ForeseenStep>), Failure> {
        let plan = self.plan(cancel)?;
        let registry = self.registry(&plan, cancel)?;
        let builder = self.connected(&plan, registry.as_ref(), cancel);
        let steps = builder.foresee_steps(&plan, &self.wanted(&plan)).map_err(|error| self.failure(error))?;
        Ok((plan, steps))
    }

    /// Plans the steps that were asked for, and what they need.
    ///
    /// # Errors
    /// [`Failure`] if that can't be.
    pub(crate) fn plan(&self, cancel: &Cancel) -> Result<Plan, Failure> {
        let Asked { steps, platforms, .. } = &self.asked;
        let plan = self.builder(None, cancel).plan_steps(&self.source.spec, steps, platforms);
        let plan = plan
            .map_err(|error| Failure::plan(error, self.source.file.as_ref()).named_in(&self.source.spec))?;
        self.caches.open_stores(&plan, &self.options, self.reporter, cancel)?;
        if let Some(file) = &self.source.file {
            plan.warnings.iter().for_each(|fault| self.reporter.warn_text(&fault.render(file)));
        }
        Ok(plan)
    }

    /// The places of the steps that were asked for by name.
    fn wanted(&self, plan: &Plan) -> Vec<usize> {
        let is_asked = |index: &usize| self.asked.steps.contains(&plan.steps[*index].name);
        (0..plan.steps.len()).filter(is_asked).collect()
    }

    fn builder<'b>(&'b self, plan: Option<&Plan>, cancel: &Cancel) -> Builder<'b> {
        let builder = Builder::new(&self.source.root, &self.cache)
            .threads(self.options.threads())
            .observer(self.reporter)
            .cancel(cancel.clone())
            .host(host::name())
            .offline(self.asked.offline);
        let builder = self.asked.how.apply(self.caches.apply(builder, plan, false));
        self.source.name.iter().fold(builder, Builder::name)
    }

    fn connected<'b>(&'b self, plan: &Plan, registry: Option<&Registry>, cancel: &Cancel) -> Builder<'b> {
        registry.into_iter().cloned().fold(self.builder(Some(plan), cancel), Builder::registry)
    }

    /// A client for registries, if a cache is in one.
    fn registry(&self, plan: &Plan, cancel: &Cancel) -> Result<Option<Registry>, Failure> {
        let is_asked = !self.asked.offline && self.caches.asks_registries(plan);
        let told = self.caches.told_registry(self.builder(None, cancel).cache_target(plan), false);
        let open =
            || registry::open_for(plan, (false, told.as_deref()), &self.options, self.reporter, cancel);
        (is_asked || told.is_some()).then(open).transpose()
    }

    fn failure(&self, error: Error) -> Failure {
        let file = self.source.file.clone();
        match error {
            Error::Root(error) => Failure::Root(error),
            Error::Plan(error) => Failure::plan(error, file.as_ref()),
            Error::Build(error) => {
                let (root, cache) = (self.source.shown_root(), self.cache.clone());
                let failure = BuildFailure { error, file, root, cache, asks_caches: false };
                Failure::Build(Box::new(failure)).settled()
            }
            other => Failure::usage(other.to_string()),
        }
    }
}
