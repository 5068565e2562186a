//! What a command reads that nobody declared: found by watching its calls with `strace`.
//!
//! Files and links count that are read, or looked at and found. Not counted: directories that are
//! listed, what isn't there, and what the command made itself. So it finds what a spec forgot, and
//! doesn't prove that nothing was forgotten.

mod line;
mod reads;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::event::{Cancel, Stream};
use crate::step::process::{Ending, Process, ProcessError, find};

use reads::{MAX_LINE, Reads};

/// How often a reader that has nothing to read looks up.
const TICK: Duration = Duration::from_millis(5);
/// How long `strace` may write after the command ended.
const LATE: Duration = Duration::from_secs(1);
/// How long a trial may take.
const TRIAL: Duration = Duration::from_secs(10);

/// A command can't be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// There is no `strace`.
    #[error("inputs are checked with `strace`, which is not in `PATH`")]
    Absent,
    /// The system doesn't let it.
    #[error("`strace` cannot be used here: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// What it says can't be read.
    #[error("cannot read what `strace` says through `{path}`")]
    Pipe {
        /// The pipe.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The command can't be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl TraceError {
    /// Returns what to do about it, if there is something to do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Absent if cfg!(target_os = "linux") => Some("install it: `apt-get install strace`"),
            Self::Absent => Some("it is to be had on Linux only"),
            Self::Refused { .. } => {
                Some("let processes be traced: in a container, by `--cap-add SYS_PTRACE`")
            }
            Self::Process(error) => error.remedy(),
            Self::Pipe { .. } => None,
        }
    }
}

/// What a command read below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// Files and links that weren't declared, relative to the root, in order.
    pub paths: BTreeSet<Vec<u8>>,
    /// Whether these are all; of very many some are left out.
    pub is_complete: bool,
}

/// What is watched, and what is fine to be read.
pub(crate) struct Watch<'a> {
    /// What declared paths are relative to.
    pub(crate) root: &'a Path,
    /// Where the pipe is made: a directory that is ours alone.
    pub(crate) directory: &'a Path,
    /// Whether a path below the root is an input, an output, or made by what the step needs.
    pub(crate) is_declared: &'a (dyn Fn(&[u8]) -> bool + Sync),
}

/// `strace`, tried out.
#[derive(Debug)]
pub(crate) struct Tracer {
    argv: Vec<OsString>,
}

impl Tracer {
    /// Finds `strace` in the directories of a `PATH`, and finds out whether it may be used.
    ///
    /// # Errors
    /// [`TraceError`] if it isn't there, or may not.
    pub(crate) fn new(path: &OsStr) -> Result<Self, TraceError> {
        let strace = find(OsStr::new("strace"), path, Path::new("/")).map_err(|_| TraceError::Absent)?;
        let calls = "trace=%file,fchdir,clone,clone3,fork,vfork";
        // It watches from beside, in a group of its own: the command is our child as ever, and what it
        // leaves running isn't waited for. Texts that are no paths are left out, arguments among them.
        let plain: Vec<OsString> = [&strace.into_os_string()]
            .into_iter()
            .cloned()
            .chain(
                ["-f", "-DD", "-qq", "-y", "-s", "0", "-e", calls, "-e", "signal=none"].map(OsString::from),
            )
            .collect();
        // Only calls that are asked for stop the command; older ones don't know that.
        let quick = [&plain[..], &["--seccomp-bpf".into()]].concat();
        let mut refused = None;
        for argv in [quick, plain] {
            match try_out(&argv, path) {
                Ok(()) => return Ok(Self { argv }),
                Err(said) => refused = Some(said),
            }
        }
        Err(TraceError::Refused { said: refused.unwrap_or_default() })
    }

    /// Runs a command as [`Process::run`] does, and tells what it read that wasn't declared.
    ///
    /// Takes a few times as long. Memory is bounded.
    ///
    /// # Errors
    /// [`TraceError`] if the command can't be run or watched.
    pub(crate) fn run(
        &self,
        process: &Process,
        watch: &Watch<'_>,
        cancel: &Cancel,
        line: &(dyn Fn(Stream, &[u8]) + Sync),
    ) -> Result<(Ending, Undeclared), TraceError> {
        // Afterwards all that is known is that `strace` failed.
        process.program()?;
        let pipe = Pipe::new(watch.directory)?;
        let mut traced = process.clone();
        traced.argv =
            [&self.argv[..], &["-o".into(), pipe.path.clone().into(), "--".into()], &process.argv].concat();
        let reads = Reads::new(watch.root, &process.directory, watch.is_declared);
        let is_over = AtomicBool::new(false);
        let (ending, reads) = thread::scope(|scope| {
            let reader = scope.spawn(|| pipe.read(reads, &is_over));
            let ending = traced.run(cancel, line);
            is_over.store(true, Ordering::Release);
            let reads = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (ending, reads)
        });
        let (ending, reads) = (ending?, reads.map_err(|source| pipe.failed(source))?);
        let (paths, is_complete) = reads.finish(watch.root);
        Ok((ending, Undeclared { paths, is_complete }))
    }
}

/// Runs a command that does nothing; what was said tells why that failed.
fn try_out(argv: &[OsString], path: &OsStr) -> Result<(), String> {
    let process = Process {
        argv: [argv, &["-o".into(), "/dev/null".into(), "--".into(), "sh".into(), "-c".into(), ":".into()]]
            .concat(),
        environment: [("PATH".into(), path.to_owned())].into(),
        directory: "/".into(),
        timeout: Some(TRIAL),
        ..Process::default()
    };
    let said = Mutex::new(String::new());
    let take = |_, line: &[u8]| {
        *said.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(line).into_owned();
    };
    match process.run(&Cancel::new(), &take) {
        Ok(Ending::Exited(0)) => Ok(()),
        Ok(_) => Err(said.into_inner().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => Err(error.to_string()),
    }
}

/// A named pipe, which goes with this.
struct Pipe {
    path: PathBuf,
    file: File,
}

impl Pipe {
    fn new(directory: &Path) -> Result<Self, TraceError> {
        let path = directory.join("strace");
        let failed = |source: io::Error| TraceError::Pipe { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        make_pipe(&path).map_err(failed)?;
        // Not waiting for somebody to write: `strace` may fail before it does.
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let flags = i32::try_from(flags).expect("flags of open are an int");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(failed)?;
        Ok(Self { path, file })
    }

    fn failed(&self, source: io::Error) -> TraceError {
        TraceError::Pipe { path: self.path.clone(), source }
    }

    /// Reads lines until the run is over and nobody writes any more.
    fn read<'a>(&self, mut reads: Reads<'a>, is_over: &AtomicBool) -> io::Result<Reads<'a>> {
        let mut lines = Lines::default();
        let mut chunk = vec![0; 64 << 10];
        let mut over_since = None;
        loop {
            let was_over = is_over.load(Ordering::Acquire);
            let has_ended = match (&self.file).read(&mut chunk) {
                Ok(0) => true,
                Ok(length) => {
                    lines.take(&chunk[..length], &mut reads);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let since = was_over.then(|| *over_since.get_or_insert_with(Instant::now));
            // Whoever writes for longer belongs to what left the command's group.
            if since.is_some_and(|since| has_ended || since.elapsed() > LATE) {
                return Ok(reads);
            }
            thread::sleep(TICK);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(target_os = "linux")]
fn make_pipe(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

#[cfg(not(target_os = "linux"))]
fn make_pipe(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Cuts what is read into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], reads: &mut Reads<'_>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            if !std::mem::take(&mut self.is_too_long) {
                reads.line(&self.begun);
            }
            self.begun.clear();
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        if self.begun.len() > MAX_LINE {
            self.is_too_long = true;
            self.begun.clear();
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::sandbox::{Confinement, Rooms, Wants};
    use ocibuild_testkit::{require, tool};

    const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

    /// Runs a script in a root with some files; `declared*` is declared, and so is `out`.
    fn check(script: &str) -> (Vec<String>, Ending) {
        let (root, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(root.path().join("sub")).unwrap();
        for name in ["declared", "a b", "sub/é\n", "sub/c", "other"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let process = Process {
            argv: ["sh", "-euc", script].map(OsString::from).to_vec(),
            environment: [("PATH".into(), PATH.into())].into(),
            directory: root.path().to_owned(),
            timeout: Some(Duration::from_secs(60)),
            ..Process::default()
        };
        let is_declared = |path: &[u8]| path.starts_with(b"declared") || path.starts_with(b"out");
        let watch = Watch { root: root.path(), directory: ours.path(), is_declared: &is_declared };
        let tracer = Tracer::new(OsStr::new(PATH)).unwrap();
        let (ending, found) = tracer.run(&process, &watch, &Cancel::new(), &|_, _| {}).unwrap();
        assert!(found.is_complete);
        assert_eq!(fs::read_dir(ours.path()).unwrap().count(), 0);
        (found.paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect(), ending)
    }

    #[test]
    fn what_is_read_undeclared_is_found() {
        require!(tool("strace"));
        let (found, ending) = check("cat declared 'a b' > out; cd sub; cat *; cat ../absent || exit 3");
        assert_eq!(ending, Ending::Exited(3));
        assert_eq!(found, ["a b", "sub/c", "sub/é\n"]);
    }

    #[test]
    fn what_is_declared_or_made_is_fine() {
        require!(tool("strace"));
        let script = "cat declared > out; cat out; echo x > temporary; cat temporary; mkdir d; echo y > d/y; cat d/y; ls";
        assert_eq!(check(script), (Vec::new(), Ending::Exited(0)));
    }

    #[test]
    fn all_that_a_command_starts_is_watched() {
        require!(tool("strace"));
        let script = "(cd sub; for i in 1 2 3 4 5 6 7 8; do cat c & done; wait) > out; (cd sub && sh -c 'test -e ../other')";
        assert_eq!(check(script).0, ["other", "sub/c"]);
    }

    #[test]
    fn a_command_in_a_sandbox_is_watched_too() {
        require!(tool("strace"));
        require!(tool("bwrap"));
        let (root, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(root.path().join("sub")).unwrap();
        fs::write(root.path().join("sub/other"), "other").unwrap();
        let mut process = Process {
            argv: ["sh", "-euc", "cd sub; (cat other; test -e other)"].map(OsString::from).to_vec(),
            environment: [("PATH".into(), PATH.into())].into(),
            directory: root.path().to_owned(),
            timeout: Some(Duration::from_secs(60)),
            ..Process::default()
        };
        let rooms = Rooms { writable: vec![root.path()], ..Rooms::default() };
        let wants = Wants { network: false, sandbox: true };
        Confinement::new(PATH).confine(&mut process, wants, &rooms).unwrap();
        let watch = Watch { root: root.path(), directory: ours.path(), is_declared: &|_| false };
        let tracer = Tracer::new(OsStr::new(PATH)).unwrap();
        let (ending, found) = tracer.run(&process, &watch, &Cancel::new(), &|_, _| {}).unwrap();
        assert_eq!(ending, Ending::Exited(0));
        assert_eq!(found.paths.into_iter().collect::<Vec<_>>(), [b"sub/other"]);
    }

    #[test]
    fn what_is_left_running_is_not_waited_for() {
        require!(tool("strace"));
        let began = Instant::now();
        assert_eq!(check("cat other; sleep 100 & exit 4"), (vec!["other".to_owned()], Ending::Exited(4)));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_is_missing_is_told() {
        assert!(matches!(Tracer::new(OsStr::new("/nowhere")), Err(TraceError::Absent)));
    }
}
