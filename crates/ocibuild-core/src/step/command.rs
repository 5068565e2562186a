//! A step's command, run once with all that it is to find.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::event::{Cancel, Event, Observer, Stream};
use crate::plan::{Command, PlannedStep};
use crate::step::environment::{SOURCE_DATE_EPOCH, path_of};
use crate::step::process::Process;
use crate::step::secret::{Places, Secrets};
use crate::step::{Ending, Log, Private, ProcessError, SecretError};

/// Where commands run, and what they may be given.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// The directory of the spec's paths.
    pub root: &'a Path,
    /// Values of variables of the run.
    pub variables: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
}

/// A command that is ready to run, as often as it takes.
pub struct Run<'a> {
    step: &'a PlannedStep,
    host: Host<'a>,
    private: &'a Private,
    secrets: Secrets,
}

impl<'a> Run<'a> {
    /// Gets a step's command ready: finds its secrets, which are gone when this is.
    ///
    /// # Errors
    /// [`SecretError`] if one can't be had.
    pub fn new(step: &'a PlannedStep, host: Host<'a>, private: &'a Private) -> Result<Self, SecretError> {
        let places =
            Places { variable: &|name| (host.variables)(name), root: host.root, directory: private.path() };
        let secrets = Secrets::gather(&step.secrets, &places)?;
        Ok(Self { step, host, private, secrets })
    }

    /// Runs the command to its end. What it writes goes to the log and to the observer, line by line;
    /// secrets are masked before.
    ///
    /// # Errors
    /// [`ProcessError`] if it can't be run.
    pub fn run(&self, log: &Log, observer: &dyn Observer, cancel: &Cancel) -> Result<Ending, ProcessError> {
        let process = Process {
            argv: self.argv(),
            environment: self.environment(),
            directory: self.directory(),
            timeout: self.step.timeout,
            masker: self.secrets.masker().clone(),
        };
        process.run(cancel, &|stream: Stream, line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            log.line(&line);
            observer.event(&Event::StepOutput { step: self.step.label.clone(), stream, line });
        })
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
