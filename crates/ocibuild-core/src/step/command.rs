//! A step's command, run once with all that it is to find.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Cancel, Event, Observer, Stream};
use crate::files::FileTree;
use crate::plan::{Command, PlannedStep};
use crate::spec::Span;
use crate::step::environment::{SOURCE_DATE_EPOCH, path_of};
use crate::step::orphans::Mark;
use crate::step::process::Process;
use crate::step::sandbox::{Confinement, Rooms, Wants};
use crate::step::secret::{Places, Secrets};
use crate::step::trace::{Tracer, Undeclared, Watch};
use crate::step::{
    Ending, Log, Private, ProcessError, SandboxError, SecretError, Shared, StepError, TraceError,
};

/// Where commands run, and what they may be given.
pub struct Host<'a> {
    root: &'a Path,
    /// As commands could reach it.
    cache: PathBuf,
    variables: Variables<'a>,
    confinement: Confinement,
}

/// Values of variables of the run.
type Variables<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

impl<'a> Host<'a> {
    /// Names the directory of the spec's paths and that of the cache.
    pub fn new(root: &'a Path, cache: &'a Path, variables: Variables<'a>) -> Self {
        let cache = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
        Self { root, cache, variables, confinement: Confinement::new(path_of(variables)) }
    }
}

/// A command can't be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It can't be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A secret isn't there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It can't be kept from the network or the host.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It can't be watched.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It can't be noted that it runs.
    #[error("cannot write to `{}`", directory.display())]
    Mark {
        /// The step's directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What it left running can't be ended.
    #[error(transparent)]
    Left(StepError),
}

impl RunError {
    /// Returns what to do about it, if there is something to do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Process(fault) => fault.remedy(),
            Self::Secret(fault) => fault.remedy(),
            Self::Sandbox(fault) => fault.remedy(),
            Self::Trace(fault) => fault.remedy(),
            Self::Mark { .. } | Self::Left(_) => None,
        }
    }

    /// Returns where in the spec the fault lies, if it is somewhere within the step.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Secret(fault) => fault.span(),
            _ => None,
        }
    }
}

/// A command that is ready to run, as often as it takes.
pub struct Run<'a> {
    step: &'a PlannedStep,
    host: &'a Host<'a>,
    private: &'a Private,
    shared: &'a Shared,
    secrets: Secrets,
}

/// Where what a command writes goes, and who stops it.
#[derive(Clone, Copy)]
pub struct Ears<'a> {
    /// Keeps all of it.
    pub log: &'a Log,
    /// Is told of each line.
    pub observer: &'a dyn Observer,
    /// Ends it.
    pub cancel: &'a Cancel,
}

impl<'a> Run<'a> {
    /// Gets a step's command ready: finds its secrets, which are gone when this is.
    ///
    /// # Errors
    /// [`RunError::Secret`] if one can't be had.
    pub fn new(
        step: &'a PlannedStep,
        host: &'a Host<'a>,
        private: &'a Private,
        shared: &'a Shared,
    ) -> Result<Self, RunError> {
        let places =
            Places { variable: &|name| (host.variables)(name), root: host.root, directory: private.path() };
        let secrets = Secrets::gather(&step.secrets, &places)?;
        Ok(Self { step, host, private, shared, secrets })
    }

    /// Runs the command to its end, and ends what it leaves running. What it writes goes to the log and to
    /// the observer, line by line; secrets are masked before.
    ///
    /// # Errors
    /// [`RunError`] if it can't be run.
    pub fn run(&self, ears: Ears<'_>) -> Result<Ending, RunError> {
        let process = self.process()?;
        let _mark = self.mark()?;
        let ending = process.run(ears.cancel, &|stream, line| self.hear(ears, stream, line));
        self.private.end_left().map_err(RunError::Left)?;
        Ok(ending?)
    }

    /// Runs the command as [`run`](Self::run) does, and returns what it read below the spec's root that
    /// isn't declared, by paths relative to it.
    ///
    /// # Errors
    /// [`RunError`] if it can't be run, or watched.
    pub fn watched(
        &self,
        is_declared: &(dyn Fn(&[u8]) -> bool + Sync),
        ears: Ears<'_>,
    ) -> Result<(Ending, Undeclared), RunError> {
        let process = self.process()?;
        let _mark = self.mark()?;
        let tracer = Tracer::new(&path_of(self.host.variables))?;
        let watch = Watch { root: self.host.root, directory: self.private.path(), is_declared };
        let seen = tracer.run(&process, &watch, ears.cancel, &|stream, line| self.hear(ears, stream, line));
        self.private.end_left().map_err(RunError::Left)?;
        Ok(seen?)
    }

    /// Looks for the command's secrets in what it made: in contents, names and targets of links.
    ///
    /// # Errors
    /// [`StepError::Leak`] if one is there; others if something can't be read.
    pub fn search(&self, made: &dyn FileTree, outputs: &[&[u8]], cancel: &Cancel) -> Result<(), StepError> {
        self.secrets.search(made, outputs, cancel)
    }

    /// Returns text without secrets.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.secrets.masker().mask(text.as_bytes())).into_owned()
    }

    fn mark(&self) -> Result<Mark, RunError> {
        let directory = self.private.path();
        self.private.mark().map_err(|source| RunError::Mark { directory: directory.to_owned(), source })
    }

    fn hear(&self, ears: Ears<'_>, stream: Stream, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        ears.log.line(&line);
        ears.observer.event(&Event::StepOutput { step: self.step.label.clone(), stream, line });
    }

    fn process(&self) -> Result<Process, RunError> {
        let mut process = Process {
            argv: self.argv(),
            environment: self.environment(),
            directory: self.directory(),
            timeout: self.step.timeout,
            masker: self.secrets.masker().clone(),
        };
        let (work, home) = (self.private.work(), self.private.home());
        let temporary = self.private.temporary();
        let callers = (self.host.variables)("HOME").map(PathBuf::from);
        let own = [&*work, &*home, &*temporary];
        let rooms = Rooms {
            writable: own.into_iter().chain(self.shared.directories()).collect(),
            readable: self.secrets.directory().into_iter().collect(),
            home: callers.as_deref(),
            hidden: vec![self.host.root, &self.host.cache],
        };
        let wants = Wants { network: self.step.network, sandbox: self.step.sandbox };
        self.host.confinement.confine(&mut process, wants, &rooms)?;
        Ok(process)
    }

    fn argv(&self) -> Vec<OsString> {
        match &self.step.run {
            Command::Arguments(words) => words.iter().map(OsString::from).collect(),
            Command::Script(script) => ["sh", "-euc", script].map(OsString::from).to_vec(),
        }
    }

    fn directory(&self) -> PathBuf {
        let work = if self.step.in_place { self.host.root.to_owned() } else { self.private.work() };
        self.step.workdir.as_ref().map_or_else(|| work.clone(), |workdir| work.join(workdir))
    }

    fn environment(&self) -> BTreeMap<OsString, OsString> {
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: &OsStr| drop(all.insert(OsString::from(name), value.to_owned()));
        set("PATH", &path_of(self.host.variables));
        set("HOME", self.private.home().as_os_str());
        set("TMPDIR", self.private.temporary().as_os_str());
        set("SOURCE_DATE_EPOCH", OsStr::new(SOURCE_DATE_EPOCH));
        set("LANG", OsStr::new("C.UTF-8"));
        set("TZ", OsStr::new("UTC"));
        if let Some(platform) = &self.step.platform {
            set("OCIBUILD_PLATFORM", OsStr::new(&platform.to_string()));
        }
        for variable in &self.step.pass_env {
            if let Some(value) = (self.host.variables)(&variable.name) {
                set(&variable.name, &value);
            }
        }
        for (name, value) in &self.step.env {
            set(name, OsStr::new(value));
        }
        all.extend(self.secrets.environment().iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }
}
