//! A build as the flags ask for it, resolved; and its course.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ocibuild_core::blob::{BlobError, Source as _, many};
use ocibuild_core::build::{Explanation, FinishedLayer, Foresight, MadeSteps};
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::event::{Cancelled, Warning};
use ocibuild_core::layer::LayerError;
use ocibuild_core::oci::MediaType;
use ocibuild_core::plan::Plan;
use ocibuild_core::spec::{Fault, Located, Spec, Template, set_pair};
use ocibuild_core::{BuildError, Builder, Built, Cancel, Descriptor, Digest, Error, Registry};

use crate::commands::build::BuildFlags;
use crate::commands::build::caches::{Caches, Told};
use crate::commands::build::checks::{self, ChecksFlags};
use crate::commands::build::outcome::Outcome;
use crate::commands::build::results::Results;
use crate::commands::watch::Watched;
use crate::destination::Destinations;
use crate::failure::{BuildFailure, Failure, Origin, kind_of};
use crate::lock_file::{LockFile, LockFlags};
use crate::options::Options;
use crate::progress::Reporter;
use crate::publish::{Publisher, Traffic};
use crate::signals::Stop;
use crate::source::Source;
use crate::static_base::Builtins;
use crate::step_flags::StepFlags;
use crate::usage::Usage;
use crate::{environment, host, registry};

/// How many attempts a run has: more than any has blobs that go bad one by one.
const MAX_ATTEMPTS: usize = 128;

/// A blob that couldn't be had.
struct Bad {
    digest: Digest,
    /// Its bytes are others; else it is gone.
    is_corrupt: bool,
}

/// A build with nothing left to find out.
pub(crate) struct Job<'a> {
    started: Instant,
    source: Source,
    images: Vec<String>,
    cache: PathBuf,
    caches: Caches,
    verifies: bool,
    threads: usize,
    created: Option<u64>,
    destinations: Destinations,
    results: Results,
    push: bool,
    checks: ChecksFlags,
    lock_flags: LockFlags,
    lock: LockFile,
    steps: StepFlags,
    options: Options,
    builtins: Builtins,
    reporter: &'a Reporter,
    /// The blobs that layers of this run were said to have in the cache.
    named: Mutex<BTreeMap<Digest, Descriptor>>,
    /// What steps made in this run: none runs again in its next attempt.
    made: MadeSteps,
}

impl<'a> Job<'a> {
    /// Finds out what the flags, the environment and the spec ask for together.
    pub(crate) fn resolve(
        images: Vec<String>,
        args: BuildFlags,
        options: &Options,
        reporter: &'a Reporter,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let cache = options.cache_directory()?;
        let created = environment::source_date_epoch()?;
        let vars = args.var.iter().cloned().collect();
        let mut source = Source::find(args.file.clone(), args.image.clone(), &images, &vars)?;
        override_spec(&mut source, &images, &args)?;
        let lock = LockFile::of(&source)?;
        let caches = Caches::new(&args.caches, args.lock.offline, &cache)?;
        let verifies = args.verify_cache;
        let mut options = options.clone();
        options.cache_read_only = args.caches.cache_read_only;
        let destinations = Destinations::resolve(args.output, args.push, &source.beside)?;
        Ok(Self {
            started,
            source,
            images,
            cache,
            caches,
            verifies,
            threads: options.threads(),
            created,
            destinations,
            results: Results::new(args.results),
            push: args.push,
            checks: args.checks,
            lock_flags: args.lock,
            lock,
            steps: args.steps,
            options,
            builtins: Builtins::new(args.compression),
            reporter,
            named: Mutex::default(),
            made: MadeSteps::default(),
        })
    }

    /// Plans, and finds out what the build would do.
    ///
    /// # Errors
    /// [`Failure`], as the build would meet it.
    pub(crate) fn foresee(&self, cancel: &Cancel) -> Result<(Plan, Foresight, Option<Registry>), Failure> {
        let plan = self.planned(cancel)?;
        let registry = self.asking(&plan, cancel)?;
        let builder = self.connected(&plan, registry.as_ref(), cancel);
        let foresight = builder.foresee_plan(&plan).map_err(|error| self.build_failure(error))?;
        Ok((plan, foresight, registry))
    }

    /// Plans, and finds out why the build would make layers anew: those of these names, or all.
    ///
    /// # Errors
    /// [`Failure`], as the build would meet it; [`Failure::Usage`] for a layer that isn't there.
    pub(crate) fn explain(&self, names: &[String], cancel: &Cancel) -> Result<Vec<Explanation>, Failure> {
        let plan = self.planned(cancel)?;
        let layers = numbers(&plan, &self.source.spec, names)?;
        let registry = self.asking(&plan, cancel)?;
        let builder = self.connected(&plan, registry.as_ref(), cancel);
        builder.explain_plan(&plan, &layers).map_err(|error| self.build_failure(error))
    }

    /// A client for what a look ahead asks, which is also where the images are to go.
    fn asking(&self, plan: &Plan, cancel: &Cancel) -> Result<Option<Registry>, Failure> {
        let is_tagged = plan.images.iter().any(|image| !image.tags.is_empty());
        match is_tagged && !self.lock_flags.offline {
            true => registry::open_for(plan, (true, None), &self.options, self.reporter, cancel).map(Some),
            false => self.registry(plan, cancel),
        }
    }

    /// Builds, writes, pushes, and tells what came of it.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.run_until(&Stop::on_signals()?)
    }

    /// Builds as [`Job::run`] does, as long as nothing stops it.
    pub(crate) fn run_until(&self, stop: &Stop) -> Result<(), Failure> {
        let cancel = stop.cancel();
        let plan = self.plan(&cancel)?;
        let registry = self.registry(&plan, &cancel)?;
        let mut forgotten = BTreeSet::new();
        let mut left = MAX_ATTEMPTS;
        let outcome = loop {
            left -= 1;
            let failure = match self.attempt(&plan, registry.as_ref(), &cancel) {
                Ok(outcome) => break outcome,
                Err(failure) => failure,
            };
            let Some(bad) = self.damaged(&failure) else { return Err(failure) };
            // What failed may have stopped the rest; from here on only a signal does.
            stop.reset();
            let is_new = !forgotten.contains(&bad.digest);
            for digest in self.spoiled(&bad, &cancel)? {
                self.forget(&digest)?;
                forgotten.insert(digest);
            }
            // Each blob once: what goes wrong again isn't mended by another attempt. What went down a
            // stream can't be taken back.
            if !is_new || left == 0 || self.destinations.uses_stdout() {
                return Err(failure);
            }
        };
        self.results.write(&outcome)?;
        if self.destinations.has_archive() {
            outcome.warn_of_archive(self.reporter);
        }
        outcome.tell(self.reporter, self.destinations.uses_stdout())
    }

    /// What a build reads, so that it can be seen when it changes.
    pub(crate) fn watched(&self) -> Watched {
        let mut watched = Watched::new(&self.source.root);
        self.source.file.iter().for_each(|file| watched.spec(file));
        let builder = self.builder(None, &Cancel::new());
        if let Ok(plan) = builder.plan(&self.source.spec) {
            watched.plan(&plan);
        }
        let names: Vec<String> =
            self.source.spec.images.iter().map(|image| image.name.value.clone()).collect();
        let outputs = self.destinations.paths(&self.source.beside, &names);
        watched.pass_over(outputs.into_iter().chain(self.results.paths()).chain([self.cache.clone()]));
        watched
    }

    fn builder<'b>(&'b self, plan: Option<&Plan>, cancel: &Cancel) -> Builder<'b> {
        let names: Vec<String> =
            self.source.spec.images.iter().map(|image| image.name.value.clone()).collect();
        let builder = Builder::new(&self.source.root, &self.cache)
            .images(&self.images)
            .verify_cache(self.verifies)
            .threads(self.threads)
            .observer(self.reporter)
            .cancel(cancel.clone())
            .host(host::name())
            .builtins(|name, version| self.builtins.get(name, version))
            .keep_base_layers(self.destinations.is_on_disk());
        let builder = self.lock_flags.apply(builder, &self.lock);
        let builder = self.steps.apply(self.caches.apply(builder, plan, self.push)).made_before(&self.made);
        let outputs = self.destinations.paths(&self.source.beside, &names);
        let builder = outputs
            .into_iter()
            .chain(self.results.paths())
            .chain(self.checks.path().map(Path::to_owned))
            .fold(builder, Builder::output);
        let builder = self.source.name.iter().fold(builder, Builder::name);
        self.created.into_iter().fold(builder, Builder::created)
    }

    /// Plans, and refuses what can be refused before anything is built.
    fn plan(&self, cancel: &Cancel) -> Result<Plan, Failure> {
        let file = self.source.file.as_ref();
        let plan = self.planned(cancel)?;
        self.destinations.check_names(&plan)?;
        let spec = file.map(|file| Path::new(file.name()));
        self.results.check(&plan, &self.destinations, spec)?;
        self.destinations.check_places(&plan)?;
        Ok(plan)
    }

    fn planned(&self, cancel: &Cancel) -> Result<Plan, Failure> {
        let file = self.source.file.as_ref();
        let mut plan = self
            .builder(None, cancel)
            .plan(&self.source.spec)
            .map_err(|error| Failure::plan(error, file).named_in(&self.source.spec))?;
        self.checks.apply(&mut plan.checks);
        self.caches.open_stores(&plan, &self.options, self.reporter, cancel)?;
        self.warn(&plan.warnings);
        if plan.images.is_empty() {
            let warning = Warning::new("the spec has no image, so there is nothing to build");
            self.reporter.warn(&match self.source.spec.steps.is_empty() {
                true => warning,
                false => warning.hint("`ocibuild run` lists its steps, and runs them by their names"),
            });
        }
        self.reporter.expect(plan.steps.iter().map(|step| step.label.clone()));
        Ok(plan)
    }

    /// Tells warnings of the spec, each with its line; those of flags have none.
    fn warn(&self, warnings: &[Fault]) {
        for fault in warnings {
            match &self.source.file {
                Some(file) => self.reporter.warn_text(&fault.render(file)),
                None => {
                    let warning = Warning::new(&fault.message);
                    self.reporter.warn(&fault.hint.iter().fold(warning, Warning::hint));
                }
            }
        }
    }

    fn attempt(&self, plan: &Plan, registry: Option<&Registry>, cancel: &Cancel) -> Result<Outcome, Failure> {
        let build = |finished: &(dyn Fn(&FinishedLayer) + Sync)| {
            let noted = |layer: &FinishedLayer| {
                let elsewhere = self.caches.note(layer);
                let kept = layer.record.kept().filter(|blob| !elsewhere.contains(&blob.digest));
                self.named().extend(kept.map(|blob| (blob.digest, blob.clone())));
                finished(layer);
            };
            let builder = self.connected(plan, registry, cancel).on_layer(&noted);
            let built = builder.build_plan(plan);
            self.write_findings(&built, plan)?;
            if let Ok(built) = &built {
                self.steps.warn_of_unseen(plan, &built.steps, self.reporter);
            }
            built.map_err(|error| self.build_failure(error))
        };
        let Some(pushed_to) = registry.filter(|_| self.push) else {
            let built = build(&|_| {})?;
            self.write(&built, cancel)?;
            let told = self.tell(&built, plan, registry, cancel)?;
            return self.outcome(&built, plan, registry, (None, told));
        };
        let publisher = Publisher::new(plan, pushed_to, self.reporter, cancel)?;
        let store = self.caches.store.clone();
        let built = publisher.alongside(&store, build);
        if let Some(fault) = publisher.fault() {
            return Err(self.place(fault, Origin::Registry));
        }
        let built = built?;
        self.write(&built, cancel)?;
        let traffic = publisher.finish(&built).map_err(|error| self.place(error, Origin::Registry))?;
        let told = self.tell(&built, plan, registry, cancel)?;
        self.outcome(&built, plan, registry, (Some(traffic), told))
    }

    /// Writes what the checks found, whether or not it stops the build.
    fn write_findings(&self, built: &Result<Built, Error>, plan: &Plan) -> Result<(), Failure> {
        let findings = match built {
            Ok(built) => &built.findings,
            Err(Error::Build(BuildError::Unsound { findings })) => findings,
            Err(_) => return Ok(()),
        };
        self.checks.write(findings, &plan.checks, self.source.file.as_ref())
    }

    fn connected<'b>(&'b self, plan: &Plan, registry: Option<&Registry>, cancel: &Cancel) -> Builder<'b> {
        let builder = self.builder(Some(plan), cancel);
        registry.into_iter().cloned().fold(builder, Builder::registry)
    }

    /// Tells a cache what was built.
    fn tell(
        &self,
        built: &Built,
        plan: &Plan,
        registry: Option<&Registry>,
        cancel: &Cancel,
    ) -> Result<Option<Told>, Failure> {
        let builder = self.connected(plan, registry, cancel);
        let told = self.caches.tell(&builder, plan, built, self.push, self.reporter);
        told.map_err(|cancelled| self.place(cancelled.into(), Origin::Registry))
    }

    fn outcome(
        &self,
        built: &Built,
        plan: &Plan,
        registry: Option<&Registry>,
        (traffic, told): (Option<Traffic>, Option<Told>),
    ) -> Result<Outcome, Failure> {
        self.warn(&built.warnings);
        let found: Vec<Fault> = checks::told(&built.findings).map(checks::fault).collect();
        self.warn(&found);
        let mut outcome =
            Outcome::new(built, plan, self.started).map_err(|error| self.place(error, Origin::Cache))?;
        let usage = registry.map(Usage::of);
        outcome.usage = match traffic {
            Some(traffic) => usage.map(|usage| usage.spare(traffic.skipped, traffic.mounted)),
            None => usage,
        };
        outcome.traffic = traffic;
        outcome.told = told;
        outcome.outputs = self.destinations.names(plan);
        Ok(outcome)
    }

    /// A client for registries, if any is needed.
    fn registry(&self, plan: &Plan, cancel: &Cancel) -> Result<Option<Registry>, Failure> {
        let is_pulled = !self.lock_flags.offline && !plan.remote_bases().is_empty();
        let is_asked = !self.lock_flags.offline && self.caches.asks_registries(plan);
        let told = self.caches.told_registry(self.builder(None, cancel).cache_target(plan), self.push);
        let named = told.as_deref();
        (self.push || is_pulled || is_asked || named.is_some())
            .then(|| registry::open_for(plan, (self.push, named), &self.options, self.reporter, cancel))
            .transpose()
    }

    fn build_failure(&self, error: Error) -> Failure {
        let file = self.source.file.clone();
        match error {
            Error::Spec(error) => Failure::Spec { error, file },
            Error::Plan(error) => Failure::plan(error, file.as_ref()).named_in(&self.source.spec),
            Error::Root(error) => Failure::Root(error),
            Error::Build(error) => {
                let (root, cache) = (self.source.shown_root(), self.cache.clone());
                let asks_caches =
                    !self.lock_flags.offline && self.caches.is_asked(!self.source.spec.cache.from.is_empty());
                Failure::Build(Box::new(BuildFailure { error, file, root, cache, asks_caches })).settled()
            }
            other => Failure::usage(other.to_string()),
        }
    }

    fn write(&self, built: &Built, cancel: &Cancel) -> Result<(), Failure> {
        let options = CopyOptions::new().observer(self.reporter).cancel(cancel.clone());
        self.destinations.write(built, &options).map_err(|error| self.place(error, Origin::Files))
    }

    fn place(&self, error: BlobError, origin: Origin) -> Failure {
        let is_there = |digest: &Digest| self.caches.store.path(digest).exists();
        let origin = match &error {
            BlobError::Corrupt { digest, .. } | BlobError::Read { digest, .. } if is_there(digest) => {
                Origin::Cache
            }
            error if self.gone(error).is_some() => Origin::Cache,
            _ => origin,
        };
        Failure::Place { error, origin, cache: Some(self.cache.clone()) }.settled()
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<Digest, Descriptor>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the blob that was in the cache and isn't any more, or not with all its bytes, if that is
    /// the fault.
    fn gone(&self, error: &BlobError) -> Option<Digest> {
        match error {
            BlobError::Missing { digest, .. } | BlobError::Read { digest, .. } if error.is_absence() => {
                Some(*digest)
                    .filter(|digest| self.named().contains_key(digest) || self.caches.is_elsewhere(digest))
            }
            _ => None,
        }
    }

    /// Finds the blob of the cache whose bytes went wrong since they were written, or that was taken
    /// away beneath this run, if that is why it failed.
    fn damaged(&self, failure: &Failure) -> Option<Bad> {
        let blob = match failure {
            Failure::Place { error, .. } => error,
            Failure::Build(failure) => match &failure.error {
                BuildError::Blob(error) => error,
                BuildError::Layer { source, .. } => match source.as_ref() {
                    LayerError::Blob(error) => error,
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        let is_corrupt = matches!(blob, BlobError::Corrupt { .. });
        let digest = match blob {
            // Whatever is wrong with a place beside the machine's cache: its blob can be made.
            BlobError::Corrupt { digest, .. } | BlobError::Read { digest, .. }
                if self.caches.is_elsewhere(digest) =>
            {
                Some(*digest)
            }
            BlobError::Corrupt { digest, .. } => self.caches.store.path(digest).exists().then_some(*digest),
            error => self.gone(error),
        }?;
        Some(Bad { digest, is_corrupt })
    }

    /// What is to be forgotten where one blob was found to be bad: of the cache's, all that this run
    /// named and that are. What spoiled one may have spoiled more, and each attempt finds but one. They
    /// are read only where bytes went wrong, not where somebody took them away.
    fn spoiled(&self, bad: &Bad, cancel: &Cancel) -> Result<BTreeSet<Digest>, Failure> {
        let mut spoiled = BTreeSet::from([bad.digest]);
        if self.caches.is_elsewhere(&bad.digest) {
            return Ok(spoiled);
        }
        let named: Vec<Descriptor> = self.named().values().cloned().collect();
        let is_bad = |blob: &Descriptor| match bad.is_corrupt {
            true => self.is_spoiled(blob, cancel),
            // The list of what a layer holds may be where the layer is from.
            false => {
                Ok(blob.media_type != MediaType::INVENTORY && !self.caches.store.path(&blob.digest).exists())
            }
        };
        let found = many(&named, self.threads, is_bad)
            .map_err(|cancelled| self.place(cancelled.into(), Origin::Cache))?;
        spoiled.extend(named.iter().zip(found).filter(|(_, is_bad)| *is_bad).map(|(blob, _)| blob.digest));
        Ok(spoiled)
    }

    /// Reads a blob of the cache, and tells whether its bytes are others than they should be.
    fn is_spoiled(&self, blob: &Descriptor, cancel: &Cancel) -> Result<bool, Cancelled> {
        let opened = self.caches.store.fetch(blob).ok().and_then(|content| content.open(0).ok());
        let Some(mut reader) = opened else { return Ok(false) };
        let mut buffer = vec![0; 1 << 16];
        loop {
            cancel.check()?;
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Ok(fault.kind() == io::ErrorKind::InvalidData),
            }
        }
    }

    fn forget(&self, digest: &Digest) -> Result<(), Failure> {
        let store = &self.caches.store;
        let is_there = store.path(digest).exists();
        if !is_there && self.caches.is_elsewhere(digest) {
            self.caches.forget(digest, self.reporter);
            return Ok(());
        }
        store.remove(digest).map_err(|error| self.place(error, Origin::Cache))?;
        self.reporter.clear();
        self.reporter.warn_text(&match is_there {
            true => format!("the cache's copy of `{digest}` was damaged; it is removed, to be made anew"),
            false => format!("the cache's copy of `{digest}` is gone; it is made anew"),
        });
        Ok(())
    }
}

/// Finds layers of a plan by their names or labels; all of the spec's where none is named.
fn numbers(plan: &Plan, spec: &Spec, names: &[String]) -> Result<Vec<usize>, Failure> {
    let own = || plan.own_layers().collect::<Vec<usize>>();
    let is_called = |index: &usize, name: &String| {
        let layer = &plan.layers[*index];
        layer.name == *name || layer.label == *name
    };
    if let Some(name) = names.iter().find(|name| !own().iter().any(|index| is_called(index, name))) {
        let mut known: Vec<&str> = own().iter().map(|index| plan.layers[*index].name.as_str()).collect();
        known.dedup();
        let failure = Failure::usage(format!("no image has a layer `{name}`"));
        let known = format!("there are `{}`", known.join("`, `"));
        return Err(failure.with_hint(match kind_of(spec, name) {
            Some("step") => {
                format!("it is a step: `ocibuild graph {name}` tells whether it would run; {known}")
            }
            Some("image") => format!("it is an image; {known}"),
            _ => known,
        }));
    }
    let is_meant = |index: &usize| names.is_empty() || names.iter().any(|name| is_called(index, name));
    Ok(own().into_iter().filter(is_meant).collect())
}

/// Lets the flags overrule the spec.
fn override_spec(source: &mut Source, images: &[String], args: &BuildFlags) -> Result<(), Failure> {
    let spec = &mut source.spec;
    let selected = |name: &str| images.is_empty() || images.iter().any(|image| image == name);
    let count = spec.images.iter().filter(|image| selected(&image.name.value)).count();
    if !args.tag.is_empty() && count > 1 {
        let failure = Failure::usage(format!("`--tag` is for one image, and {count} would be built"));
        return Err(failure.with_hint("name the image: `ocibuild build IMAGE --tag …`"));
    }
    for image in spec.images.iter_mut().filter(|image| selected(&image.name.value)) {
        if !args.tag.is_empty() {
            let tag = |tag: &ocibuild_core::Reference| Located::from(Template::literal(tag.to_string()));
            image.tags = args.tag.iter().map(tag).collect();
        }
        if !args.platform.is_empty() {
            image.platforms.clear();
            for platform in &args.platform {
                if !image.platforms.iter().any(|known| known.value == *platform) {
                    image.platforms.push(platform.clone().into());
                }
            }
        }
        for (key, value) in &args.label {
            set_pair(&mut image.config.labels, key, value);
        }
        for annotation in &args.annotation {
            annotation.set(&mut image.annotations);
        }
    }
    if let Some(compression) = args.compression {
        for layer in &mut spec.layers {
            layer.compression = Some(compression.into());
        }
    }
    Ok(())
}
