//! Commands without a network, and commands that see little of the host: by
//! [bubblewrap](https://github.com/containers/bubblewrap), or for the network alone by util-linux's
//! `unshare`.
//!
//! It holds against mistakes, such as inputs that nobody declared, and not against a command that
//! means harm: that may find a hole in the kernel. What the command is for isn't known here.

mod rooms;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::event::Cancel;
use crate::step::process::{Ending, Process, ProcessError, find};

pub(crate) use rooms::Rooms;

/// How long a trial may take.
const TRIAL: Duration = Duration::from_secs(10);
/// What root may do in a sandbox: what it needs to unpack and install files, and nothing that would
/// let it mount over the walls.
const CAPABILITIES: [&str; 7] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"];
/// A network of its own begins with its loopback down, and tests like to talk to themselves.
const LOOPBACK: &str = "ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || :";

/// A command can't be kept from the network or the host here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The programs that do so aren't there.
    #[error("`{wish}` needs {}, which is not in `PATH`", needed(.wish))]
    Absent {
        /// What the spec says: `sandbox = true` or `network = false`.
        wish: &'static str,
    },
    /// The system doesn't let them.
    #[error("`{wish}` cannot be had here: {said}")]
    Refused {
        /// What the spec says: `sandbox = true` or `network = false`.
        wish: &'static str,
        /// What the program said that tried.
        said: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The command can't be run anyhow.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

fn needed(wish: &str) -> &'static str {
    if wish == SANDBOX { "bubblewrap (`bwrap`)" } else { "bubblewrap (`bwrap`) or `unshare` of util-linux" }
}

const SANDBOX: &str = "sandbox = true";
const NO_NETWORK: &str = "network = false";

impl SandboxError {
    /// Returns what to do about it, if there is something to do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Absent { .. } if cfg!(target_os = "linux") => {
                Some("install bubblewrap: `apt-get install bubblewrap`")
            }
            Self::Absent { .. } => Some("it is to be had on Linux only"),
            Self::Refused { remedy, .. } => Some(remedy),
            Self::Process(error) => error.remedy(),
        }
    }
}

/// What a step wants of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Whether it may use the network.
    pub(crate) network: bool,
    /// Whether it sees only system directories, programs and what it is given.
    pub(crate) sandbox: bool,
}

/// How the network is kept away, or the host: found out when it is first wanted, and kept.
#[derive(Debug)]
pub(crate) struct Confinement {
    path: OsString,
    network: OnceLock<Result<Vec<OsString>, Refusal>>,
    sandbox: OnceLock<Result<Vec<OsString>, Refusal>>,
}

/// Why there is no way; `None` if there was none to try.
type Refusal = Option<(String, &'static str)>;

impl Confinement {
    /// Looks for programs in the directories of a `PATH`, and for none yet.
    pub(crate) fn new(path: impl Into<OsString>) -> Self {
        Self { path: path.into(), network: OnceLock::new(), sandbox: OnceLock::new() }
    }

    /// Changes a command to one that runs it as wanted.
    ///
    /// What it said of signals is told by an exit code then, 128 and the signal's number. In a
    /// sandbox a command is killed at once when it is to end, with all it started anywhere.
    ///
    /// # Errors
    /// [`SandboxError`] if that can't be had here, or there is no such command.
    pub(crate) fn confine(
        &self,
        process: &mut Process,
        wants: Wants,
        rooms: &Rooms<'_>,
    ) -> Result<(), SandboxError> {
        if wants.network && !wants.sandbox {
            return Ok(());
        }
        // Afterwards all that is known is that a wrapper failed.
        process.program()?;
        let mut argv = match wants.sandbox {
            true => {
                let mut argv = self.sandbox()?;
                if !wants.network {
                    argv.push("--unshare-net".into());
                }
                argv.extend(rooms.mounts(process));
                argv.extend(["--chdir".into(), process.directory.clone().into(), "--".into()]);
                argv
            }
            false => self.no_network()?,
        };
        argv.append(&mut process.argv);
        process.argv = argv;
        Ok(())
    }

    fn no_network(&self) -> Result<Vec<OsString>, SandboxError> {
        let means = self.network.get_or_init(|| {
            let whole = |bwrap: &Path, more: &[&str]| {
                let mut argv = words(bwrap, &["--die-with-parent", "--unshare-net", "--dev-bind", "/", "/"]);
                argv.extend(more.iter().map(OsString::from));
                argv.push("--".into());
                argv
            };
            let mut ways = Vec::new();
            if let Some(bwrap) = self.find("bwrap") {
                ways.extend([whole(&bwrap, &[]), whole(&bwrap, &["--unshare-user"])]);
            }
            if let Some(unshare) = self.find("unshare") {
                ways.extend(unshared(&unshare));
            }
            self.first_that_works(ways, |_| Vec::new())
        });
        told(means, NO_NETWORK)
    }

    fn sandbox(&self) -> Result<Vec<OsString>, SandboxError> {
        let means = self.sandbox.get_or_init(|| {
            let bwrap = self.find("bwrap").into_iter();
            // Root needs no user namespace, unless it is that of a container; and there, a new `/proc`
            // may be refused.
            let ways = bwrap.flat_map(|bwrap| {
                let ways: [&[&str]; 4] = [
                    &["--proc", "/proc"],
                    &["--unshare-user", "--proc", "/proc"],
                    &["--ro-bind", "/proc", "/proc"],
                    &["--unshare-user", "--ro-bind", "/proc", "/proc"],
                ];
                ways.map(|way| [walls(&bwrap), way.iter().map(OsString::from).collect()].concat())
            });
            self.first_that_works(ways.collect(), |process| Rooms::default().mounts(process))
        });
        told(means, SANDBOX)
    }

    /// Finds a program by an absolute directory.
    fn find(&self, program: &str) -> Option<PathBuf> {
        find(OsStr::new(program), &self.path, Path::new("/")).ok()
    }

    fn first_that_works(
        &self,
        ways: Vec<Vec<OsString>>,
        more: impl Fn(&Process) -> Vec<OsString>,
    ) -> Result<Vec<OsString>, Refusal> {
        let mut first = None;
        for way in ways {
            match self.try_out(&way, &more) {
                Ok(()) => return Ok(way),
                Err(said) => first = first.or(Some(said)),
            }
        }
        Err(first.map(|said| (said, remedy())))
    }

    /// Runs a command that does nothing; what was said tells why that failed.
    fn try_out(&self, way: &[OsString], more: impl Fn(&Process) -> Vec<OsString>) -> Result<(), String> {
        let mut process = Process {
            environment: [("PATH".into(), self.path.clone())].into(),
            directory: "/".into(),
            timeout: Some(TRIAL),
            ..Process::default()
        };
        process.argv = [way, &more(&process), &["sh".into(), "-c".into(), ":".into()]].concat();
        let said = Mutex::new(String::new());
        let take = |_, line: &[u8]| {
            *said.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(line).into_owned();
        };
        match process.run(&Cancel::new(), &take) {
            Ok(Ending::Exited(0)) => Ok(()),
            Ok(ending) => {
                let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(if said.is_empty() {
                    format!("`{}` ended with {ending:?}", way[0].display())
                } else {
                    said
                })
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn told(means: &Result<Vec<OsString>, Refusal>, wish: &'static str) -> Result<Vec<OsString>, SandboxError> {
    match means {
        Ok(argv) => Ok(argv.clone()),
        Err(None) => Err(SandboxError::Absent { wish }),
        Err(Some((said, remedy))) => Err(SandboxError::Refused { wish, said: said.clone(), remedy }),
    }
}

/// A sandbox without anything in it. It gets no session of its own, as it has one already, and has
/// to stay in the group that is stopped.
fn walls(bwrap: &Path) -> Vec<OsString> {
    let mut argv = words(bwrap, &["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
    argv.extend(words("--hostname", &["localhost"]));
    argv.extend(words("--cap-drop", &["ALL"]));
    if rustix::process::geteuid().is_root() {
        argv.extend(CAPABILITIES.iter().flat_map(|name| words("--cap-add", &[name])));
    }
    argv
}

/// Ways to go without bubblewrap. Who isn't root becomes so in a user namespace to bring the
/// loopback up, and then itself again in one more.
fn unshared(unshare: &Path) -> Vec<Vec<OsString>> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let plain = format!("{LOOPBACK}; exec \"$@\"");
    let back = format!(
        "{LOOPBACK}; exec unshare --user --map-user={} --map-group={} -- \"$@\"",
        user.as_raw(),
        group.as_raw()
    );
    let root = words(unshare, &["--net", "--", "sh", "-c", &plain, "sh"]);
    let mapped = words(unshare, &["--user", "--map-root-user", "--net", "--", "sh", "-c", &back, "sh"]);
    let silent = words(unshare, &["--user", "--map-current-user", "--net", "--"]);
    if user.is_root() { vec![root, mapped] } else { vec![mapped, silent] }
}

fn words(first: impl AsRef<OsStr>, rest: &[&str]) -> Vec<OsString> {
    std::iter::once(first.as_ref().to_owned()).chain(rest.iter().map(OsString::from)).collect()
}

/// What to do where namespaces are refused, as far as the system says why.
fn remedy() -> &'static str {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1`";
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "allow user namespaces: `sysctl user.max_user_namespaces=10000`";
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "AppArmor restricts user namespaces: give `bwrap` a profile that allows `userns`, or run `sysctl kernel.apparmor_restrict_unprivileged_userns=0`";
    }
    "namespaces are refused here, as most containers do: start the container with `--privileged`, or with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
