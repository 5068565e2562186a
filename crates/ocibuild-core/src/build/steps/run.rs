//! One step run: its directory is filled, and its command run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::Listing;
use crate::build::BuildError;
use crate::build::steps::progress::{Fallible, Progress};
use crate::build::steps::{StepFailure, StepFault, read};
use crate::cache::Record;
use crate::event::{Cancel, Cancelled, Event, Warning};
use crate::files::{CAPABILITY, Entry, EntryKind, FileSource, FileTree, MountedTree, display};
use crate::layer::{self, Contents, Workshop};
use crate::oci::Platform;
use crate::plan::PlannedStep;
use crate::step::{
    Ears, Ending, InPlace, Log, OutputTree, Private, Run, Shared, StepError, Undeclared, Wanted, WantedKind,
    remove_beneath,
};

/// As many paths that weren't declared are named.
const MOST_PATHS: usize = 20;

/// Why a step came to no end that counts.
pub(super) enum Stopped {
    Fault(StepFault),
    Build(BuildError),
}

impl<F: Into<StepFault>> From<F> for Stopped {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

/// What came of a run.
pub(super) type Captured = (Record, OutputTree);

impl Progress<'_> {
    /// Runs a step and captures what it made. Returns the record under the key of what that holds, and the
    /// tree of it.
    pub(super) fn run(&self, index: usize) -> Fallible<Captured> {
        let (start, step) = (Instant::now(), &self.plan.steps[index]);
        let mut log = None;
        match self.try_run(index, &mut log) {
            Ok(made) => {
                self.note(step, start.elapsed());
                Ok(made)
            }
            Err(Stopped::Fault(fault)) => Err(self.failed(index, fault, log.as_ref(), start)),
            // Of another step's failure is told where it failed.
            Err(Stopped::Build(fault)) => Err(fault),
        }
    }

    pub(super) fn stopped(&self, index: usize, stopped: Stopped) -> BuildError {
        match stopped {
            Stopped::Build(fault) => fault,
            Stopped::Fault(fault) => self.fault(index, fault),
        }
    }

    /// Tells of a failed step, and adds what its command wrote last.
    pub(super) fn failed(
        &self,
        index: usize,
        fault: StepFault,
        log: Option<&Log>,
        start: Instant,
    ) -> BuildError {
        let mut failed = self.fault(index, fault);
        if let BuildError::Steps(failures) = &mut failed
            && let Some(StepFailure { step, fault, tail, log: path, .. }) = failures.failed.first_mut()
        {
            *tail = log.map(Log::tail).unwrap_or_default();
            *path = log.and_then(Log::path);
            let (step, reason) = (step.clone(), fault.to_string());
            self.context.observer.event(&Event::StepFailed { step, reason, elapsed: start.elapsed() });
        }
        failed
    }

    fn try_run(&self, index: usize, log: &mut Option<Log>) -> Result<Captured, Stopped> {
        let step = &self.plan.steps[index];
        let cancel = self.context.cancel;
        // What is gone is made anew, which takes directories of its own: so before any is taken here.
        let needs = step.needs.iter().copied().filter(|_| !step.in_place);
        let tree = self.mounted(needs).map_err(Stopped::Build)?;
        let mut private =
            Private::open(&self.directory(step), cancel, &|| self.waits(step, "its directory"))?;
        // Before what is shared: whoever has the root waits for that alone.
        let root = self.place.root;
        let waits = || self.waits(step, "the directory it runs in");
        let _root = step.in_place.then(|| InPlace::take(root, cancel, &waits)).transpose()?;
        let own = step.cache_dirs.iter().map(|directory| directory.path.as_str());
        let (shared, kept): (Vec<&str>, Vec<&str>) = own.partition(|path| path.starts_with("~/"));
        let shared = Shared::take(self.place.cache, &shared, cancel, &|path| self.waits(step, path))?;
        let log = &*log.insert(Log::begin(&private.log()));
        let kept: Vec<&[u8]> = kept.iter().map(|path| path.as_bytes()).collect();
        let made = self.attempts(index, &mut private, (&kept, &shared, &tree), log);
        if !step.secrets.is_empty() {
            self.forget(index, &mut private, (&kept, &shared, &tree));
        }
        made
    }

    /// Runs a step's command as often as it takes, and captures what it made.
    fn attempts(
        &self,
        index: usize,
        private: &mut Private,
        (kept, shared, tree): (&[&[u8]], &Shared, &MountedTree<'_>),
        log: &Log,
    ) -> Result<Captured, Stopped> {
        let step = &self.plan.steps[index];
        let (cancel, observer) = (self.context.cancel, self.context.observer);
        let mut attempt = 1;
        loop {
            match step.in_place {
                true => self.clear(step)?,
                false => self.fill(index, private, (kept, tree))?,
            }
            private.prepare(shared, cancel)?;
            observer.event(&Event::StepStarted { step: step.label.clone(), attempt });
            let run = Run::new(step, &self.host, private, shared)?;
            let ears = Ears { log, observer, cancel };
            let ending = match step.in_place && self.place.checks_inputs {
                true => self.watch(step, &run, ears)?,
                false => run.run(ears)?,
            };
            let fault = match ending {
                Ending::Exited(0) => return self.capture(index, private, &run),
                Ending::Cancelled => return Err(Stopped::Build(Cancelled.into())),
                Ending::Exited(code) => StepFault::Exit(code),
                Ending::Signalled(signal) => StepFault::Signal(signal),
                Ending::TimedOut(after) => StepFault::TimedOut(after),
            };
            if attempt > step.retries {
                return Err(fault.into());
            }
            let (step, reason) = (step.label.clone(), fault.to_string());
            observer.event(&Event::StepRetry { step, reason });
            attempt += 1;
        }
    }

    /// Takes away what a step in place is to make: what a former run left isn't made by this one.
    fn clear(&self, step: &PlannedStep) -> Result<(), Stopped> {
        step.outputs.iter().try_for_each(|output| {
            let path = output.path.as_bytes();
            Ok(remove_beneath(self.place.root, path, self.context.cancel)?)
        })
    }

    /// Takes away whatever a command that knew secrets wrote beside what it made. Its directories that
    /// are kept stay: what is in these is its own doing.
    fn forget(
        &self,
        index: usize,
        private: &mut Private,
        (kept, shared, tree): (&[&[u8]], &Shared, &MountedTree<'_>),
    ) {
        // Done also where all is stopped; what can't be taken away now is before the next run.
        let cancel = Cancel::new();
        if !self.plan.steps[index].in_place && self.fill(index, private, (kept, tree)).is_err() {
            let _ = private.sync(&[], kept, &cancel);
        }
        let _ = private.prepare(shared, &cancel);
    }

    /// Runs a step's command in place, and tells of what it read without declaring it.
    fn watch(&self, step: &PlannedStep, run: &Run<'_>, ears: Ears<'_>) -> Result<Ending, Stopped> {
        let needs: Vec<&str> = step
            .needs
            .iter()
            .flat_map(|need| &self.plan.steps[*need].outputs)
            .chain(&step.outputs)
            .chain(&step.cache_dirs)
            .map(|path| path.path.as_str())
            .collect();
        let is_declared =
            |path: &[u8]| needs.iter().any(|made| is_in(path, made.as_bytes())) || read::is_input(step, path);
        let (ending, Undeclared { paths, is_complete, .. }) = run.watched(&is_declared, ears)?;
        if !paths.is_empty() {
            let names: Vec<String> =
                paths.iter().take(MOST_PATHS).map(|path| format!("`{}`", display(path))).collect();
            let more = match (paths.len() - names.len(), is_complete) {
                (0, true) => String::new(),
                (more, true) => format!(" and {more} more"),
                (more, false) => format!(" and at least {more} more"),
            };
            let message =
                format!("step `{}` read what it doesn't declare: {}{more}", step.label, names.join(", "));
            let warning = Warning::new(message).hint("add to `inputs` what it makes anything of");
            ears.observer.event(&Event::Warning(warning));
        }
        Ok(ending)
    }

    /// Tells that another run has what this one needs.
    fn waits(&self, step: &PlannedStep, what: &str) {
        let message = format!("step `{}` waits for another run, which has {what}", step.label);
        self.context.observer.event(&Event::Warning(Warning::new(message)));
    }

    fn directory(&self, step: &PlannedStep) -> PathBuf {
        self.directory_in(self.place.cache, step)
    }

    fn directory_in(&self, cache: &Path, step: &PlannedStep) -> PathBuf {
        let platform = step.platform.as_ref().map(Platform::to_string);
        let root = self.place.root;
        Private::place(cache, &self.plan.name, root, &step.name, platform.as_deref())
    }

    /// Makes the step's directory hold its inputs, and what the steps it needs made.
    fn fill(
        &self,
        index: usize,
        private: &mut Private,
        (kept, tree): (&[&[u8]], &MountedTree<'_>),
    ) -> Result<(), Stopped> {
        let step = &self.plan.steps[index];
        let context = self.context;
        let fill = || {
            let inputs = self.contents(&read::inputs(step), "inputs of steps", context.tree)?;
            if inputs.root != self.steps.known[index].inputs {
                return Err(Stopped::Fault(StepFault::Changed));
            }
            let needs = read::needs(&self.plan.steps, step);
            let needs = self.contents(&needs, &format!("needs of {}", step.label), tree)?;
            let wanted: Vec<Wanted<'_>> = wanted(&inputs, context.tree).chain(wanted(&needs, tree)).collect();
            // Where what a need made is another thing by now, that is what is wrong.
            let synced = private.sync(&wanted, kept, context.cancel);
            self.stayed(step.needs.iter().copied()).map_err(Stopped::Build)?;
            synced.map(drop).map_err(|fault| match fault {
                StepError::Changed { .. } => Stopped::Fault(StepFault::Changed),
                fault => fault.into(),
            })
        };
        context.pool.install(fill).map_err(|fault| Stopped::Build(fault.into()))?
    }

    /// Looks up files of a tree, with what is known of them by a name.
    pub(super) fn contents(
        &self,
        layer: &crate::plan::PlannedLayer,
        known_by: &str,
        tree: &dyn FileTree,
    ) -> Result<Contents, Stopped> {
        let stat = self.context.stat.map(|stat| stat.of(known_by));
        if let Some(stat) = &stat {
            stat.start();
        }
        let workshop = Workshop { stat: stat.as_ref(), tree, ..self.context.workshop(self.plan) };
        let contents = layer::contents(layer, &Listing::empty(), workshop);
        if let Some(stat) = &stat {
            // Where that can't be, files are read again the next time.
            let _ = stat.save();
        }
        contents.map_err(|fault| Stopped::Fault(StepFault::Inputs(Box::new(fault))))
    }

    /// Notes how long a step took, for whoever asks what takes longest.
    fn note(&self, step: &PlannedStep, elapsed: Duration) {
        let path = self.directory(step).join("elapsed");
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let _ = crate::own::replace(self.place.cache, &path, millis.to_string().as_bytes());
    }

    /// How long a step took when it last ran here.
    pub(super) fn last(&self, step: &PlannedStep) -> Option<Duration> {
        let read = |cache| std::fs::read_to_string(self.directory_in(cache, step).join("elapsed")).ok();
        let millis = self.place.below.into_iter().chain([self.place.cache]).find_map(read)?;
        millis.trim().parse().ok().map(Duration::from_millis)
    }
}

/// What a step's directory is to hold of what was found in a tree.
fn wanted<'c>(contents: &'c Contents, tree: &'c dyn FileTree) -> impl Iterator<Item = Wanted<'c>> {
    contents.entries.iter().zip(&contents.digests).map(move |(entry, digest)| {
        let what = match (&entry.kind, digest) {
            (EntryKind::File { source: FileSource::Tree { path, seen, .. }, .. }, Some(digest)) => {
                WantedKind::File {
                    tree,
                    source: path.to_vec(),
                    seen: **seen,
                    digest: *digest,
                    mode: entry.mode,
                    capability: capability(entry),
                }
            }
            (EntryKind::Symlink(target), _) => WantedKind::Symlink(target.to_vec()),
            _ => WantedKind::Directory,
        };
        Wanted { path: entry.path.to_vec(), what }
    })
}

fn capability(entry: &Entry) -> Option<Vec<u8>> {
    let mut kept = entry.xattrs.iter().flat_map(|kept| kept.iter());
    kept.find(|(name, _)| *name == CAPABILITY).map(|(_, value)| value.to_vec())
}

/// Tells whether a path is another, or lies below it.
fn is_in(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
