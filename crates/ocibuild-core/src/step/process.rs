//! A command, run with nothing of ours but what it is given, and ended with all it started.
//!
//! It has a session of its own: no terminal can be asked from it, and its group is stopped as one. A
//! process that leaves the group by a session of *its* own is out of reach, but for the pid
//! namespace of a sandbox. If this process is killed outright, the command goes on until it writes
//! into the pipes that nobody reads; to be told of a parent's death, a process must ask for it
//! itself.
//!
//! What the command is for, and where its lines go, isn't known here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::{CommandWrap, CommandWrapper as _, ProcessSession};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::event::{Cancel, Stream};
use crate::step::mask::Masker;

/// How often a waiting thread looks up, at least.
const TICK: Duration = Duration::from_millis(20);
/// How long a command has to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(1);
/// How long streams are waited for after the command and its group are gone: somebody out of reach
/// may hold them open.
const DRAIN: Duration = Duration::from_millis(200);
/// Longer lines are handed on in parts of about as many bytes, so that no secret is cut.
const MAX_LINE: usize = 64 << 10;
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
    /// for it.
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

/// What a command writes, cut into lines.
struct Streams<'a> {
    open: Vec<Reader>,
    masker: &'a Masker,
    line: &'a (dyn Fn(Stream, &[u8]) + Sync),
    chunk: Vec<u8>,
}

struct Reader {
    stream: Stream,
    pipe: Pipe,
    /// The beginning of a line whose end wasn't seen yet.
    begun: Vec<u8>,
}

enum Pipe {
    Stdout(std::process::ChildStdout),
    Stderr(std::process::ChildStderr),
}

impl Pipe {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Stdout(pipe) => pipe.as_fd(),
            Self::Stderr(pipe) => pipe.as_fd(),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(pipe) => pipe.read(bytes),
            Self::Stderr(pipe) => pipe.read(bytes),
        }
    }
}

impl<'a> Streams<'a> {
    fn new(child: &mut Child, masker: &'a Masker, line: &'a (dyn Fn(Stream, &[u8]) + Sync)) -> Self {
        let stdout = child.stdout.take().map(|pipe| (Stream::Stdout, Pipe::Stdout(pipe)));
        let stderr = child.stderr.take().map(|pipe| (Stream::Stderr, Pipe::Stderr(pipe)));
        let pipes = [stdout, stderr].into_iter().flatten();
        let open = pipes.map(|(stream, pipe)| Reader { stream, pipe, begun: Vec::new() }).collect();
        Self { open, masker, line, chunk: vec![0; MAX_LINE] }
    }

    /// Waits until something is written, at most as long as told, and hands on the lines.
    fn listen(&mut self, wait: Duration) -> io::Result<bool> {
        if self.open.is_empty() {
            // It has closed both and is mostly about to end.
            thread::sleep(Duration::from_millis(2));
            return Ok(false);
        }
        let ready = self.ready(wait)?;
        let is_ready = ready.contains(&true);
        for at in (0..self.open.len()).rev().filter(|at| ready[*at]) {
            self.read(at)?;
        }
        Ok(is_ready)
    }

    fn ready(&self, wait: Duration) -> io::Result<Vec<bool>> {
        let mut polled: Vec<PollFd<'_>> = self
            .open
            .iter()
            .map(|reader| PollFd::from_borrowed_fd(reader.pipe.as_fd(), PollFlags::IN))
            .collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut polled, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
    }

    fn read(&mut self, at: usize) -> io::Result<()> {
        let reader = &mut self.open[at];
        let length = match reader.pipe.read(&mut self.chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            length => length?,
        };
        match length {
            0 => {
                let reader = self.open.remove(at);
                self.finish(reader);
            }
            length => reader.take(&self.chunk[..length], self.masker, self.line),
        }
        Ok(())
    }

    /// Hands on what was written and not read yet, without waiting for who is out of reach.
    fn drain(mut self) -> io::Result<()> {
        let began = Instant::now();
        while !self.open.is_empty() && began.elapsed() < DRAIN {
            self.listen(TICK)?;
        }
        for reader in std::mem::take(&mut self.open) {
            self.finish(reader);
        }
        Ok(())
    }

    /// Hands on a last line that has no end.
    fn finish(&self, reader: Reader) {
        if !reader.begun.is_empty() {
            hand_on(reader.stream, &reader.begun, self.masker, self.line);
        }
    }
}

impl Reader {
    fn take(&mut self, bytes: &[u8], masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            self.shorten(masker, line);
            hand_on(self.stream, &self.begun, masker, line);
            self.begun.clear();
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        self.shorten(masker, line);
    }

    /// Hands on the beginning of a line that is too long.
    fn shorten(&mut self, masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
        while self.begun.len() > MAX_LINE {
            let Some(cut) = masker.cut(&self.begun, MAX_LINE) else { return };
            hand_on(self.stream, &self.begun[..cut], masker, line);
            self.begun.drain(..cut);
        }
    }
}

fn hand_on(stream: Stream, bytes: &[u8], masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
    line(stream, &masker.mask(bytes.strip_suffix(b"\r").unwrap_or(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::sync::Mutex;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
        Process {
            argv: ["sh", "-euc", script].map(OsString::from).to_vec(),
            environment: [(OsString::from("PATH"), path)].into(),
            directory: "/".into(),
            timeout: Some(LONG),
            masker: Masker::default(),
        }
    }

    /// What it wrote to either stream, line by line, and how it ended.
    fn run(process: &Process) -> (Vec<(Stream, String)>, Ending) {
        let lines = Mutex::new(Vec::new());
        let take = |stream, line: &[u8]| {
            lines.lock().unwrap().push((stream, String::from_utf8_lossy(line).into_owned()));
        };
        let ending = process.run(&Cancel::new(), &take).unwrap();
        (lines.into_inner().unwrap(), ending)
    }

    fn said(script: &str) -> String {
        let (lines, ending) = run(&shell(script));
        assert_eq!(ending, Ending::Exited(0), "{lines:?}");
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }

    fn error(process: &Process) -> ProcessError {
        process.run(&Cancel::new(), &|_, _| {}).unwrap_err()
    }

    /// Runs what says a number and then stays, stops it, and returns how long that took and how it
    /// ended; nothing may be left of the process of that number.
    fn stop(script: &str) -> (Duration, Ending) {
        let (cancel, number) = (Cancel::new(), Mutex::new(None));
        let asked = Mutex::new(Instant::now());
        let take = |_, line: &[u8]| {
            *number.lock().unwrap() = str::from_utf8(line).unwrap().parse().ok();
            *asked.lock().unwrap() = Instant::now();
            cancel.cancel();
        };
        let ending = shell(script).run(&cancel, &take).unwrap();
        let took = asked.lock().unwrap().elapsed();
        let number = number.lock().unwrap().expect("it said a number");
        assert!(is_gone(number), "{number} is still there");
        (took, ending)
    }

    /// Whether a process is gone, or dead and not yet waited for by whoever inherited it.
    fn is_gone(number: i32) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            match std::fs::read_to_string(format!("/proc/{number}/stat")) {
                Ok(stat) if !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']) => {
                    thread::sleep(Duration::from_millis(5));
                }
                _ => return true,
            }
        }
        false
    }

    #[test]
    fn a_command_has_only_what_it_is_given() {
        let mut process = shell("pwd; env; cat");
        process.directory = "/usr".into();
        process.environment.insert("GREETING".into(), "hello".into());
        let lines: Vec<String> = run(&process).0.into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines[0], "/usr");
        // The shell's own.
        let own = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
        let rest: Vec<&String> =
            lines[1..].iter().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
        assert!(rest.iter().all(|line| line.starts_with("PATH=") || *line == "GREETING=hello"), "{rest:?}");
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn streams_are_told_apart_and_cut_into_lines() {
        let (lines, ending) = run(&shell("echo one; echo two >&2; printf 'three\\r\\n\\nfour'; exit 3"));
        assert_eq!(ending, Ending::Exited(3));
        let of = |wanted| -> Vec<&str> {
            lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| &**line).collect()
        };
        assert_eq!(of(Stream::Stdout), ["one", "three", "", "four"]);
        assert_eq!(of(Stream::Stderr), ["two"]);
    }

    #[test]
    fn an_end_by_a_signal_is_told() {
        assert_eq!(run(&shell("kill -9 $$")).1, Ending::Signalled(9));
    }

    #[test]
    fn a_long_line_is_cut_and_its_secrets_are_not() {
        let mut process = shell(
            "head -c 65533 /dev/zero | tr '\\0' .; printf hunter2; head -c 200000 /dev/zero | tr '\\0' ,",
        );
        process.masker = Masker::new(["hunter2"]).unwrap();
        let (lines, _) = run(&process);
        assert!(lines.iter().all(|(_, line)| line.len() <= MAX_LINE + 100));
        let whole: String = lines.into_iter().map(|(_, line)| line).collect();
        assert!(whole == ".".repeat(65533) + "***" + &",".repeat(200_000), "{} bytes", whole.len());
    }

    #[test]
    fn much_is_written_and_all_is_read() {
        let (lines, ending) = run(&shell("seq 100000; seq 100000 >&2"));
        assert_eq!((lines.len(), ending), (200_000, Ending::Exited(0)));
        let errors: Vec<&(Stream, String)> = lines.iter().filter(|(s, _)| *s == Stream::Stderr).collect();
        assert_eq!(errors[99_999].1, "100000");
    }

    #[test]
    fn descriptors_of_others_are_not_inherited() {
        // Unlike what Rust opens, a copy by this call isn't marked to be closed.
        let leaky = rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
        let numbers = said("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
        let leaky = leaky.as_raw_fd();
        assert!(!numbers.lines().any(|number| number == leaky.to_string()), "{leaky} is among {numbers}");
    }

    #[test]
    fn no_terminal_can_be_reached() {
        // A session of its own, led by itself, without a terminal.
        let shown = said("cut -d' ' -f5,6,7 /proc/$$/stat; echo $$; (: < /dev/tty) 2>&1 || echo none");
        let lines: Vec<&str> = shown.lines().collect();
        let (stat, pid) = (lines[0], lines[1]);
        assert_eq!(stat, format!("{pid} {pid} 0"));
        assert_eq!(lines.last(), Some(&"none"));
    }

    #[test]
    fn the_time_is_bounded() {
        let mut process = shell("echo begun; sleep 100");
        process.timeout = Some(Duration::from_millis(300));
        let began = Instant::now();
        let (lines, ending) = run(&process);
        assert_eq!(ending, Ending::TimedOut(Duration::from_millis(300)));
        assert_eq!(lines.len(), 1);
        assert!(began.elapsed() < Duration::from_millis(1300));
    }

    #[test]
    fn a_command_ends_when_it_is_cancelled() {
        let (took, ending) = stop("echo $$; sleep 100");
        assert_eq!(ending, Ending::Cancelled);
        assert!(took < Duration::from_millis(900), "{took:?}");
    }

    #[test]
    fn a_command_may_clean_up_when_it_is_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let script = format!("trap 'echo done > {}; exit 0' TERM; echo $$; sleep 100 & wait", mark.display());
        assert_eq!(stop(&script).1, Ending::Cancelled);
        assert_eq!(std::fs::read_to_string(mark).unwrap(), "done\n");
    }

    #[test]
    fn who_does_not_listen_is_killed_after_a_second() {
        let (took, ending) = stop("trap '' TERM INT HUP; echo $$; while :; do sleep 1; done");
        assert_eq!(ending, Ending::Cancelled);
        assert!(took >= GRACE && took < Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn what_was_started_in_the_group_ends_too() {
        let (took, _) = stop("trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; wait");
        assert!(took < Duration::from_secs(2), "{took:?}");
        // Stopped, so it hears of nothing.
        let (took, _) = stop("sh -c 'echo $$; kill -STOP $$' ");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn what_is_left_behind_ends_with_the_command() {
        let began = Instant::now();
        let number: i32 = said("sleep 100 & echo $!").trim().parse().unwrap();
        assert!(is_gone(number));
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn nobody_is_waited_for_who_is_out_of_reach() {
        let began = Instant::now();
        // It holds both streams open, in a session of its own, until the test ends it.
        let number = said("setsid sh -c 'echo $$; exec sleep 20' & sleep 0.3").trim().parse().unwrap();
        assert!(began.elapsed() < Duration::from_secs(3));
        kill_process(Pid::from_raw(number).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_program_that_cannot_be_run_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("plain", "", 0o644);
        write("script", "#!/nowhere/bin/ruby -w\n", 0o755);
        let with = |program: &str| {
            let mut process = shell("");
            process.argv = vec![program.into()];
            process.directory = directory.path().to_owned();
            process.environment.insert("PATH".into(), "/usr/nowhere:tools".into());
            error(&process).to_string()
        };
        let root = directory.path().display();
        assert_eq!(
            with("gcc-99"),
            "there is no program `gcc-99` in the command's `PATH`, `/usr/nowhere:tools`"
        );
        assert_eq!(with("./absent"), "there is no program `./absent`");
        assert_eq!(
            with("./plain"),
            format!("`{root}/./plain` cannot be executed: it is not marked as executable")
        );
        assert_eq!(
            with("./script"),
            format!(
                "`{root}/./script` cannot be executed: its first line wants `/nowhere/bin/ruby`, which is not there"
            )
        );
        assert_eq!(with(""), "the command is empty");
        let mut process = shell("true");
        process.directory = directory.path().join("absent");
        assert!(matches!(error(&process), ProcessError::Directory { .. }));
    }

    #[test]
    fn programs_are_found_below_the_directory_they_run_in() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tools")).unwrap();
        std::os::unix::fs::symlink("/bin/echo", directory.path().join("tools/say")).unwrap();
        let mut process = shell("");
        process.argv = vec!["say".into(), "hello".into()];
        process.directory = directory.path().to_owned();
        process.environment.insert("PATH".into(), "tools".into());
        assert_eq!(run(&process).0, [(Stream::Stdout, "hello".to_owned())]);
    }
}
