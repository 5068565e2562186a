//! A command, run with nothing of ours but what it is given, and ended with all it started.
//!
//! It has a session of its own: no terminal can be asked from it, and its group is stopped as one. A
//! process that leaves the group by a session of *its* own is out of reach here, but for the pid
//! namespace of a sandbox: it is ended by what it was started with (`orphans`). If this process is
//! killed outright, the command goes on until it writes into the pipes that nobody reads, or the next
//! run of the step ends it (`orphans` as well); to be told of a parent's death, a process must ask for
//! it itself.
//!
//! What the command is for, and where its lines go, isn't known here.

mod streams;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::{CommandWrap, CommandWrapper as _, ProcessSession};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::event::{Cancel, Stream};
use crate::step::mask::Masker;

use streams::Streams;

/// How often a waiting thread looks up, at least.
const TICK: Duration = Duration::from_millis(20);
/// How long a command has to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(1);
/// How often a program is started that somebody still writes, as it seems.
const BUSY_TRIES: u32 = 10;

/// A command can't be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The command has no words.
    #[error("the command is empty")]
    Empty,
    /// There is no such program in the directories that were searched.
    #[error("there is no program `{program}` in the command's `PATH`, `{path}`")]
    Unknown {
        /// The program.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The program is named by a path, and nothing is there.
    #[error("there is no program `{program}`")]
    Absent {
        /// The path, as the command has it.
        program: String,
    },
    /// What the name leads to isn't marked as a program, or is a directory.
    #[error("`{path}` cannot be executed: it is {}", if *.is_file { "not marked as executable" } else { "no file" })]
    NotExecutable {
        /// What was found.
        path: PathBuf,
        /// Whether it is a file.
        is_file: bool,
    },
    /// The program is there, but not what runs it.
    #[error("`{path}` cannot be executed: {}", interpreter(.wanted.as_deref()))]
    Interpreter {
        /// The program.
        path: PathBuf,
        /// What its first line wants; none if it isn't a script.
        wanted: Option<String>,
    },
    /// The directory to run it in isn't there.
    #[error("there is no directory `{path}` to run the command in")]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses to run the program.
    #[error("cannot run `{path}`")]
    Start {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The command can't be waited for or listened to.
    #[error("cannot wait for `{path}`")]
    Wait {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn interpreter(wanted: Option<&str>) -> String {
    match wanted {
        Some(wanted) => format!("its first line wants `{wanted}`, which is not there"),
        None => "the loader that it is linked for is not there".to_owned(),
    }
}

impl ProcessError {
    /// Returns what to do about it, if there is something to do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } => Some(
                "install it, or see to it that `PATH` has its directory; built-ins of the shell need `run` to be a string",
            ),
            Self::Absent { .. } => Some(
                "a command sees only its inputs and the outputs of its needs: is the program one of them?",
            ),
            Self::NotExecutable { is_file: true, .. } => {
                Some("`chmod +x` it, or name what runs it: `sh FILE`")
            }
            Self::Interpreter { wanted: Some(_), .. } => {
                Some("install it, or name what runs the file: `sh FILE`")
            }
            Self::Directory { .. } => {
                Some("`workdir` is below the step's directory, and exists only if an input or a need has it")
            }
            _ => None,
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a code; 0 means success.
    Exited(i32),
    /// By a signal that wasn't ours.
    Signalled(i32),
    /// Stopped by us, after this time.
    TimedOut(Duration),
    /// Stopped by us, as nobody wants it any more.
    Cancelled,
}

/// A command to be run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    /// The program and its arguments. A program without a slash is searched in `PATH` of
    /// `environment`; another is relative to `directory`.
    pub(crate) argv: Vec<OsString>,
    /// All of its environment.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// What is hidden in its lines.
    pub(crate) masker: Masker,
}

impl Process {
    /// Runs it to its end, and hands on each line that it writes: without its end, masked, long ones
    /// in parts of about 64 KiB.
    ///
    /// Its input is empty. It has no file descriptors but the three: all others of this process are
    /// marked to be closed in children, for good. On timeout or cancellation its group gets
    /// `SIGTERM`, and `SIGKILL` a second later; it ends in less than two seconds. What it leaves
    /// running in its group is killed.
    ///
    /// Lines of one stream come in order; `line` is called on this thread, and the command waits
    /// for it. With secrets to hide, it may leave no image of its memory in a file where it crashes.
    ///
    /// # Errors
    /// [`ProcessError`] if it can't be run. A command that fails is no error.
    pub(crate) fn run(
        &self,
        cancel: &Cancel,
        line: &(dyn Fn(Stream, &[u8]) + Sync),
    ) -> Result<Ending, ProcessError> {
        let program = self.program()?;
        let failed = |source: io::Error| ProcessError::Wait { path: program.clone(), source };
        let began = Instant::now();
        let mut group = Group::new(self.spawn(&program)?);
        if !self.masker.is_idle() {
            group.forbid_dumps();
        }
        let mut streams = Streams::new(&mut group.child, &self.masker, line);
        let stopped = self.watch(&mut group, &mut streams, began, cancel).map_err(failed)?;
        let status = group.end().map_err(failed)?;
        streams.drain().map_err(failed)?;
        Ok(stopped.unwrap_or_else(|| ending(status)))
    }

    /// Waits for the end of the command, and brings it about where that is needed.
    fn watch(
        &self,
        group: &mut Group,
        streams: &mut Streams<'_>,
        began: Instant,
        cancel: &Cancel,
    ) -> io::Result<Option<Ending>> {
        let mut stopped: Option<(Ending, Instant)> = None;
        while !group.has_ended()? {
            match stopped {
                None => {
                    stopped = self.reason_to_stop(began, cancel).map(|reason| (reason, Instant::now()));
                    if stopped.is_some() {
                        group.signal(Signal::TERM);
                        // What is stopped hears of nothing else.
                        group.signal(Signal::CONT);
                    }
                }
                Some((_, since)) if since.elapsed() >= GRACE => group.signal(Signal::KILL),
                Some(_) => {}
            }
            streams.listen(TICK)?;
        }
        Ok(stopped.map(|(reason, _)| reason))
    }

    fn reason_to_stop(&self, began: Instant, cancel: &Cancel) -> Option<Ending> {
        if cancel.is_cancelled() {
            return Some(Ending::Cancelled);
        }
        self.timeout.filter(|timeout| began.elapsed() >= *timeout).map(Ending::TimedOut)
    }

    fn spawn(&self, program: &Path) -> Result<Child, ProcessError> {
        if !self.directory.is_dir() {
            return Err(ProcessError::Directory { path: self.directory.clone() });
        }
        let mut tries = 0;
        loop {
            match self.command(program).and_then(|mut command| command.spawn()) {
                // Another thread wrote it, and a child of ours that hasn't become its program yet has
                // the file open still.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                    tries += 1;
                    thread::sleep(TICK);
                }
                Err(source) => return Err(not_started(program, source)),
                Ok(child) => return Ok(child),
            }
        }
    }

    fn command(&self, program: &Path) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.args(&self.argv[1..]).current_dir(&self.directory).env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(name) = self.argv.first() {
            command.arg0(name);
        }
        let outside = CommandWrap::from(Command::new(program));
        ProcessSession.pre_spawn(&mut command, &outside)?;
        // Rust marks what it opens; libraries in other languages, and whoever started us, may not.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        Ok(command)
    }

    /// Looks the program up, so that what is wrong can be said.
    pub(super) fn program(&self) -> Result<PathBuf, ProcessError> {
        let name = self.argv.first().filter(|name| !name.is_empty()).ok_or(ProcessError::Empty)?;
        let path = self.environment.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
        find(name, path, &self.directory)
    }
}

/// Looks a program up as the system would: a name without a slash in the directories of `path`,
/// relative ones below `directory`.
pub(super) fn find(name: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, ProcessError> {
    let has_slash = name.as_bytes().contains(&b'/');
    let places: Vec<PathBuf> = match has_slash {
        true => vec![directory.join(name)],
        false => directories(path).map(|place| directory.join(place).join(name)).collect(),
    };
    let is_program = |place: &&PathBuf| is_executable(place);
    if let Some(found) = places.iter().find(is_program) {
        return Ok(found.clone());
    }
    let shown = || name.to_string_lossy().into_owned();
    match places.iter().find(|place| place.exists()) {
        Some(place) => Err(ProcessError::NotExecutable { path: place.clone(), is_file: place.is_file() }),
        None if has_slash => Err(ProcessError::Absent { program: shown() }),
        None => Err(ProcessError::Unknown { program: shown(), path: path.to_string_lossy().into_owned() }),
    }
}

/// The directories of a `PATH`; an empty one means the current one to others, and nothing to us.
pub(super) fn directories(path: &OsStr) -> impl Iterator<Item = &Path> {
    let parts = path.as_bytes().split(|byte| *byte == b':').filter(|part| !part.is_empty());
    parts.map(|part| Path::new(OsStr::from_bytes(part)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn not_started(program: &Path, source: io::Error) -> ProcessError {
    let path = program.to_owned();
    match source.kind() {
        // It was found a moment ago.
        io::ErrorKind::NotFound => ProcessError::Interpreter { wanted: first_line(program), path },
        _ => ProcessError::Start { path, source },
    }
}

/// What the first line of a script wants.
fn first_line(program: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(program).ok()?.take(256).read_to_end(&mut bytes).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    let wanted = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
    Some(String::from_utf8_lossy(wanted).escape_debug().to_string())
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

/// A command and all that it started in its group; killed when this goes.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn new(child: Child) -> Self {
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Self { child, leader }
    }

    /// Tells whether the command ended, without letting its number go: until it is waited for, the
    /// group of that number is its own.
    fn has_ended(&self) -> io::Result<bool> {
        let Some(leader) = self.leader else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(leader), options) {
                Err(rustix::io::Errno::INTR) => {}
                status => return Ok(status?.is_some()),
            }
        }
    }

    /// Sees to it that no core dump is written: secrets are in it, and it may lie in what is kept.
    #[cfg(target_os = "linux")]
    fn forbid_dumps(&self) {
        use rustix::process::{Resource, Rlimit, prlimit};
        // A command that is gone already leaves none either.
        let _ = prlimit(self.leader, Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }

    /// Elsewhere dumps lie in a directory of the system's.
    #[cfg(not(target_os = "linux"))]
    fn forbid_dumps(&self) {}

    fn signal(&self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        // Nobody may be left, or allowed to be reached.
        if kill_process_group(leader, signal).is_err() {
            let _ = kill_process(leader, signal);
        }
    }

    /// Kills what is left, and lets the number go.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.leader = None;
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.leader.is_some() {
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests;
