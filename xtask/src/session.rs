//! The part of `cargo xtask test` that runs in a world of its own, and vanishes with it.
//!
//! In mount and process namespaces of its own, nothing that the tests or their daemons start or
//! mount can outlive the run, however it ends: the kernel kills and unmounts what is left when
//! the first process there ends. Where namespaces aren't allowed the same happens without them,
//! and stopping each service has to do.

use crate::Result;
use crate::cgroups::Cgroups;
use crate::counts::Counts;
use crate::furnish;
use crate::interrupt::Interrupt;
use crate::programs::{self, is_root, signal_group, succeeds};
use crate::services::{self, PASSWORD, Service, USER};
use crate::tools;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What `main` knows this chore by; not for users.
pub(crate) const CHORE: &str = "test-session";

/// The file in the session's directory that holds the counts when it has ended.
pub(crate) const COUNTS: &str = "counts";

/// Prepares the call that runs a session in namespaces of its own, if the kernel lets us have them.
pub(crate) fn isolated(home: &Path, all: bool, arguments: &[String]) -> Option<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
    };
    if !is_root() || !succeeds(unshare().arg("true")) {
        return None;
    }
    let mut command = unshare();
    command.arg(env::current_exe().ok()?).arg(CHORE);
    command.arg(home).arg(if all { "all" } else { "some" }).args(arguments);
    command.stdin(Stdio::piped());
    Some(command)
}

/// Runs what [`isolated`] has called.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let [home, all, arguments @ ..] = arguments else {
        return Err("this chore is for `cargo xtask test` to call".into());
    };
    let home = Path::new(home);
    end_with_caller();
    furnish::furnish(home)?;
    session(root, home, all == "all", arguments, &Interrupt::listen()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the session, and so all that lives in it, when the caller's end of our input is closed:
/// it closes with the caller, even a killed one.
fn end_with_caller() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(1);
    });
}

/// Starts the services, runs the tests, stops the services; the counts lie in [`COUNTS`] then.
pub(crate) fn session(
    root: &Path,
    home: &Path,
    all: bool,
    arguments: &[String],
    interrupt: &Interrupt,
) -> Result<()> {
    let _cgroups = Cgroups::remember(); // dropped after the services
    let started = start(home, interrupt);
    let mut command = test_command(root, home, arguments)?;
    command.envs(started.variables);
    command.env("OCIBUILD_TEST_S3_SERVER", tools::S3_SERVER.path(root));
    if all {
        command.env("OCIBUILD_TEST_ALL", "1");
    }
    let skips = home.join("skips");
    command.env("OCIBUILD_TEST_SKIPS", &skips);
    let mut counts = count(&mut command, interrupt)?;
    let skipped = fs::read_to_string(skips).unwrap_or_default();
    eprint!("{skipped}");
    counts.skip(skipped.lines().count() as u64);
    fs::write(home.join(COUNTS), counts.to_string())?;
    drop(started.services);
    Ok(())
}

struct Started {
    services: Vec<Service>,
    variables: Vec<(&'static str, String)>,
}

/// A service that can't be started is told of, and missed by the tests that need it.
fn start(home: &Path, interrupt: &Interrupt) -> Started {
    let mut started = Started { services: Vec::new(), variables: Vec::new() };
    started.keep("OCIBUILD_TEST_REGISTRY", services::registry(&home.join("registry"), false, interrupt));
    let auth = services::registry(&home.join("registry-auth"), true, interrupt);
    if started.keep("OCIBUILD_TEST_REGISTRY_AUTH", auth) {
        started.variables.push(("OCIBUILD_TEST_REGISTRY_AUTH_USER", USER.to_owned()));
        started.variables.push(("OCIBUILD_TEST_REGISTRY_AUTH_PASSWORD", PASSWORD.to_owned()));
    }
    if is_root() {
        let docker = home.join("docker");
        let service = services::docker(&docker, interrupt);
        if started.keep("OCIBUILD_TEST_DOCKER_HOST", service) {
            let containerd = services::containerd(&docker).display().to_string();
            started.variables.push(("OCIBUILD_TEST_CONTAINERD", containerd));
        }
    }
    started
}

impl Started {
    fn keep(&mut self, variable: &'static str, service: Result<Service>) -> bool {
        match service {
            Ok(service) => {
                self.variables.push((variable, service.address.clone()));
                self.services.push(service);
                true
            }
            Err(error) => {
                eprintln!("{error}");
                false
            }
        }
    }
}

/// `cargo test` over the whole workspace with all features, doc tests too, unless the arguments choose
/// packages.
fn test_command(root: &Path, home: &Path, arguments: &[String]) -> Result<Command> {
    let mut command = programs::cargo(root);
    command.args(["test", "--no-fail-fast"]);
    let own = arguments.iter().take_while(|argument| *argument != "--");
    if !own.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        command.args(["--workspace", "--all-features"]);
    }
    command.args(arguments);
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary)?;
    command.env("TMPDIR", OsString::from(temporary));
    Ok(command)
}

/// Runs the tests, passing on and reading all they print.
fn count(command: &mut Command, interrupt: &Interrupt) -> Result<Counts> {
    // A group of its own, so that an interrupt reaches the tests through us, and all of them.
    let mut child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    let status = watched(&mut child, interrupt, |line| {
        println!("{line}");
        if let Some(of_line) = Counts::of_line(line) {
            counts += of_line;
        }
    })?;
    if !status.success() {
        counts.blame();
    }
    Ok(counts)
}

/// Hands each line the child prints to `see`; kills it and all it started on an interrupt.
fn watched(child: &mut Child, interrupt: &Interrupt, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
    let leader = child.id();
    let output = child.stdout.take().ok_or("the tests' output is piped")?;
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                if interrupt.asked() {
                    signal_group("KILL", leader);
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
            see(&String::from_utf8_lossy(&line));
        }
        let status = child.wait();
        has_ended.store(true, Ordering::Relaxed);
        Ok(status?)
    })
}
