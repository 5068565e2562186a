//! Credential helpers: programs that keep credentials, by docker's
//! [protocol](https://github.com/docker/docker-credential-helpers#development).
//!
//! Where programs are looked for and how long they may take are the caller's to say. A helper is
//! asked once for a registry, however many threads want to know; its answer is kept in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::event::{Cancel, Cancelled};
use crate::registry::auth::credentials::Secret;
use crate::registry::error::tidy;

/// What names of helpers' programs begin with.
const PREFIX: &str = "docker-credential-";
/// How much a helper may say on each of its streams, in bytes.
const MAX_SAID: u64 = 64 << 10;
/// How often a waiting thread looks up.
const TICK: Duration = Duration::from_millis(20);
/// How helpers say that they have nothing, which is no failure.
const NOTHING: &str = "credentials not found in native keychain";
/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// A credential helper could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The name can't be that of a helper.
    #[error("`{name}` cannot be the name of a credential helper")]
    Name {
        /// The name.
        name: String,
    },
    /// Helpers aren't run here.
    #[error("credential helpers are not run here")]
    NotRun,
    /// There is no such program.
    #[error("there is no program `{program}`")]
    Absent {
        /// The program.
        program: String,
    },
    /// The program can't be run.
    #[error("cannot run `{program}`")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The program took too long, and was stopped.
    #[error("`{program}` took more than {} seconds", after.as_secs_f64())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it had.
        after: Duration,
    },
    /// The program failed.
    #[error("`{program}` failed with {status}{said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, shortened, with `: ` before it; may be empty.
        said: String,
    },
    /// The program's answer isn't understood.
    #[error("`{program}` answered with {reason}")]
    Answer {
        /// The program.
        program: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl HelperError {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Name { .. } => {
                "name a helper by what follows `docker-credential-`, such as `pass` or `ecr-login`"
            }
            Self::Absent { .. } | Self::NotRun => {
                "install it, see to it that `PATH` has its directory, or take it out of the file"
            }
            _ => "run it by hand to see what is wrong: `echo HOST | docker-credential-NAME get`",
        }
    }
}

type Found = Result<Option<Secret>, HelperError>;
type Asked = Arc<OnceLock<Found>>;

/// Runs credential helpers.
pub struct Helpers {
    directories: Vec<PathBuf>,
    time_out: Duration,
    cancel: Cancel,
    /// By helper and registry; each is asked by whoever comes first.
    found: Mutex<BTreeMap<(String, String), Asked>>,
}

impl Helpers {
    /// How long a helper may take by default: some ask a server, some a person.
    pub const TIME_OUT: Duration = Duration::from_secs(30);

    /// Looks for programs in directories, the first first; relative ones are passed over. A helper
    /// that takes longer than `time_out` is stopped, with all it started.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>, time_out: Duration, cancel: Cancel) -> Self {
        Self { directories, time_out, cancel, found: Mutex::default() }
    }

    /// Asks a helper for the credentials of a registry, once.
    pub(super) fn get(&self, helper: &str, server: &str) -> Found {
        let slot = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(found.entry((helper.to_owned(), server.to_owned())).or_default())
        };
        slot.get_or_init(|| self.ask(helper, server)).clone()
    }

    fn ask(&self, helper: &str, server: &str) -> Found {
        let program = program(helper)?;
        let ended = self.run(&program, "get", server)?;
        let answer: Result<Answer, _> = serde_json::from_slice(&ended.stdout);
        if !ended.status.success() {
            if String::from_utf8_lossy(&ended.stdout).contains(NOTHING) {
                return Ok(None);
            }
            // What it says on a failure is for people; but it may be half an answer.
            let secret = answer.map(|answer| answer.secret).unwrap_or_default();
            return Err(ended.failed(program, &secret));
        }
        let answer =
            answer.map_err(|_| HelperError::Answer { program, reason: "something that is no answer" })?;
        Ok(match (answer.username, answer.secret) {
            (_, secret) if secret.is_empty() => None,
            (username, secret) if username == TOKEN_USER => Some(Secret::IdentityToken(secret)),
            (username, password) => Some(Secret::Password { username, password }),
        })
    }

    /// Gives credentials to a helper.
    ///
    /// # Errors
    /// [`HelperError`] if it doesn't take them.
    pub fn store(&self, helper: &str, server: &str, username: &str, secret: &str) -> Result<(), HelperError> {
        let told = Told { server, username, secret };
        let text = serde_json::to_string(&told).expect("texts can be written as JSON");
        let program = program(helper)?;
        let ended = self.run(&program, "store", &text);
        self.forget();
        let ended = ended?;
        if ended.status.success() { Ok(()) } else { Err(ended.failed(program, secret)) }
    }

    /// Has a helper forget a registry's credentials; false if it had none.
    ///
    /// # Errors
    /// [`HelperError`] if it fails.
    pub fn erase(&self, helper: &str, server: &str) -> Result<bool, HelperError> {
        let had = !matches!(self.get(helper, server), Ok(None));
        let program = program(helper)?;
        let ended = self.run(&program, "erase", server);
        self.forget();
        let ended = ended?;
        let said = String::from_utf8_lossy(&ended.stdout);
        match ended.status.success() {
            true => Ok(had),
            false if said.contains(NOTHING) => Ok(false),
            false => Err(ended.failed(program, "")),
        }
    }

    /// Forgets all answers, as others may be right now.
    fn forget(&self) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn find(&self, program: &str) -> Result<PathBuf, HelperError> {
        let directories = self.directories.iter().filter(|directory| directory.is_absolute());
        let mut places = directories.map(|directory| directory.join(program));
        places
            .find(|path| is_program(path))
            .ok_or_else(|| HelperError::Absent { program: program.to_owned() })
    }

    fn run(&self, program: &str, verb: &str, input: &str) -> Result<Ended, HelperError> {
        let path = self.find(program)?;
        let failed =
            |source: io::Error| HelperError::Run { program: program.to_owned(), source: source.into() };
        let mut command = Command::new(path);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        // A group of its own, so that what it starts ends with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(failed)?;
        let streams = Streams::start(&mut child, input);
        let ended = self.wait(program, &mut child, &streams);
        if ended.is_err() {
            stop(&mut child);
        }
        ended
    }

    /// Waits for its end, and the end of what it says.
    fn wait(&self, program: &str, child: &mut Child, streams: &Streams) -> Result<Ended, HelperError> {
        let began = Instant::now();
        let failed =
            |source: io::Error| HelperError::Run { program: program.to_owned(), source: source.into() };
        let (mut stdout, mut stderr) = (None, None);
        loop {
            self.cancel.check()?;
            if began.elapsed() >= self.time_out {
                return Err(HelperError::TimedOut { program: program.to_owned(), after: self.time_out });
            }
            match streams.0.recv_timeout(TICK) {
                Ok((Stream::Stdout, bytes)) => stdout = Some(bytes),
                Ok((Stream::Stderr, bytes)) => stderr = Some(bytes),
                Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(TICK),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // It isn't waited for before its streams end: until then its group can be stopped.
            let (Some(out), Some(error)) = (&stdout, &stderr) else { continue };
            if (out.len().max(error.len())) as u64 > MAX_SAID {
                return Err(HelperError::Answer { program: program.to_owned(), reason: "more than 64 KiB" });
            }
            let Some(status) = child.try_wait().map_err(failed)? else { continue };
            let (stdout, stderr) = (stdout.unwrap_or_default(), stderr.unwrap_or_default());
            return Ok(Ended { status, stdout, stderr });
        }
    }
}

/// Shows where programs are looked for, and none of the answers.
impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers")
            .field("directories", &self.directories)
            .field("time_out", &self.time_out)
            .finish_non_exhaustive()
    }
}

/// The program of a helper.
fn program(helper: &str) -> Result<String, HelperError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = !helper.is_empty() && helper.len() <= 100 && helper.chars().all(fits);
    match is_name && !helper.starts_with(['-', '.']) {
        true => Ok(format!("{PREFIX}{helper}")),
        false => Err(HelperError::Name { name: tidy(helper) }),
    }
}

fn is_program(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    metadata.is_file()
}

/// Ends a program and whatever it started.
fn stop(child: &mut Child) {
    #[cfg(unix)]
    {
        // Not waited for yet, so its number is its own still.
        let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

enum Stream {
    Stdout,
    Stderr,
}

/// What a program says, as it comes to the end of saying it.
struct Streams(mpsc::Receiver<(Stream, Vec<u8>)>);

impl Streams {
    fn start(child: &mut Child, input: &str) -> Self {
        let (sender, receiver) = mpsc::channel();
        if let Some(mut stdin) = child.stdin.take() {
            let input = format!("{input}\n");
            // It needn't listen.
            thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        }
        if let Some(stdout) = child.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || drop(sender.send((Stream::Stdout, read(stdout)))));
        }
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || drop(sender.send((Stream::Stderr, read(stderr)))));
        }
        Self(receiver)
    }
}

fn read(stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was said before it failed is all there is.
    let _ = stream.take(MAX_SAID + 1).read_to_end(&mut bytes);
    bytes
}

struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ended {
    fn failed(&self, program: String, secret: &str) -> HelperError {
        let mut said = tidy(&String::from_utf8_lossy(&self.stderr));
        if said.is_empty() && !self.stdout.trim_ascii_start().starts_with(b"{") {
            said = tidy(&String::from_utf8_lossy(&self.stdout));
        }
        if !secret.is_empty() {
            said = said.replace(secret, "(secret)");
        }
        if !said.is_empty() {
            said.insert_str(0, ": ");
        }
        HelperError::Failed { program, status: self.status, said }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    username: &'a str,
    secret: &'a str,
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a helper called `test`; a program of its own writes it, so that no other
    /// thread of ours can hold it open when it is to be run.
    fn helpers(script: &str, time_out: Duration, cancel: &Cancel) -> (tempfile::TempDir, Helpers) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        let script = format!("#!/bin/sh\ncd '{}'\n{script}\n", directory.path().display());
        let write = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let status = Command::new("sh").args(["-c", write, "sh", &script]).arg(&path).status().unwrap();
        assert!(status.success());
        let directories = vec!["relative".into(), directory.path().to_owned()];
        let helpers = Helpers::new(directories, time_out, cancel.clone());
        (directory, helpers)
    }

    fn run(script: &str) -> (tempfile::TempDir, Found) {
        let (directory, helpers) = helpers(script, Duration::from_secs(10), &Cancel::new());
        let found = helpers.get("test", "r.io");
        (directory, found)
    }

    fn words(found: Found) -> String {
        let error = found.err().unwrap();
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    }

    #[test]
    fn a_helper_is_asked_by_standard_input() {
        let (directory, found) = run(
            r#"echo "$@" > asked; cat >> asked; echo '{"ServerURL":"x","Username":"me","Secret":"hidden"}'"#,
        );
        assert!(
            found.unwrap()
                == Some(Secret::Password { username: "me".to_owned(), password: "hidden".to_owned() })
        );
        assert_eq!(std::fs::read_to_string(directory.path().join("asked")).unwrap(), "get\nr.io\n");
        let (_directory, found) = run(r#"echo '{"Username":"<token>","Secret":"hidden"}'"#);
        assert!(found.unwrap() == Some(Secret::IdentityToken("hidden".to_owned())));
    }

    #[test]
    fn a_helper_may_have_nothing() {
        for script in [
            "echo credentials not found in native keychain; exit 1",
            "echo '{}'",
            r#"echo '{"Username":"me","Secret":""}'"#,
        ] {
            assert!(run(script).1.unwrap().is_none(), "{script}");
        }
    }

    #[test]
    fn what_a_helper_says_of_its_failure_is_told_without_secrets() {
        let cases = [
            ("echo locked >&2; exit 3", "failed with exit status: 3: locked"),
            ("echo locked; exit 3", "failed with exit status: 3: locked"),
            (r#"echo '{"Username":"me","Secret":"hidden"}'; exit 1"#, "failed with exit status: 1"),
            (r#"echo '{"Username":"me","Secret":"hidden"}'; echo is hidden >&2; exit 1"#, "1: is (secret)"),
            ("echo nothing", "answered with something that is no answer"),
            ("kill -9 $$", "failed with signal: 9 (SIGKILL)"),
        ];
        for (script, expected) in cases {
            let said = words(run(script).1);
            assert!(said.ends_with(expected) && !said.contains("hidden"), "{said}");
        }
    }

    #[test]
    fn a_helper_that_says_too_much_is_refused() {
        for stream in ["1", "2"] {
            let said = words(run(&format!("head -c 70000 /dev/zero >&{stream}")).1);
            assert!(said.contains("more than 64 KiB"), "{said}");
        }
    }

    #[test]
    fn a_helper_that_hangs_is_stopped_with_all_it_started() {
        let began = Instant::now();
        for script in
            ["sleep 600 & echo $! > child; wait", "sleep 600 >&- 2>&- & echo $! > child; exec sleep 600"]
        {
            let (directory, helpers) = helpers(script, Duration::from_millis(400), &Cancel::new());
            let said = words(helpers.get("test", "r.io"));
            assert!(said.contains("took more than 0.4 seconds"), "{said}");
            let child = std::fs::read_to_string(directory.path().join("child")).unwrap();
            let stat = format!("/proc/{}/stat", child.trim());
            // Nobody may have taken note of its end yet.
            let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
            while lives() && began.elapsed() < Duration::from_secs(10) {
                thread::sleep(TICK);
            }
            assert!(!lives(), "{script}");
        }
    }

    #[test]
    fn cancelling_stops_a_helper() {
        let cancel = Cancel::new();
        let (_directory, helpers) = helpers("sleep 600", Duration::from_secs(60), &cancel);
        let began = Instant::now();
        cancel.cancel();
        assert!(matches!(helpers.get("test", "r.io"), Err(HelperError::Cancelled(_))));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_helper_is_asked_once_by_many_threads() {
        let script = r#"echo x >> count; sleep 0.2; echo '{"Username":"me","Secret":"hidden"}'"#;
        let (directory, helpers) = helpers(script, Duration::from_secs(10), &Cancel::new());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(helpers.get("test", "r.io").unwrap().is_some()));
            }
        });
        assert_eq!(std::fs::read_to_string(directory.path().join("count")).unwrap(), "x\n");
        assert!(!format!("{helpers:?}").contains("hidden"));
    }

    #[test]
    fn odd_names_are_refused_and_missing_programs_named() {
        let helpers = Helpers::new(vec!["/nowhere".into()], Duration::from_secs(1), Cancel::new());
        for name in ["", "../x", "a/b", "-x", ".x", "a b", "a\nb"] {
            assert!(matches!(helpers.get(name, "r.io"), Err(HelperError::Name { .. })), "{name}");
        }
        assert!(words(helpers.get("none", "r.io")).contains("no program `docker-credential-none`"));
    }

    #[test]
    fn credentials_are_stored_and_erased() {
        let (directory, helpers) =
            helpers("echo $1 >> log; cat >> log", Duration::from_secs(10), &Cancel::new());
        helpers.store("test", "r.io", "me", "hid\"den").unwrap();
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
        assert_eq!(log, "store\n{\"ServerURL\":\"r.io\",\"Username\":\"me\",\"Secret\":\"hid\\\"den\"}\n");
        let (_directory, helpers) = super::tests::helpers(
            "cat; cat >&2; echo is hidden >&2; exit 1",
            Duration::from_secs(10),
            &Cancel::new(),
        );
        let error = helpers.store("test", "r.io", "me", "hidden").unwrap_err().to_string();
        assert!(error.contains("(secret)") && !error.contains("hidden"), "{error}");
        assert!(helpers.erase("test", "r.io").is_err());
    }
}
