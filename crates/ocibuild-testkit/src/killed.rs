//! Killing a program at a call of the system, counted over all of its threads: what a crash leaves at
//! any moment.
//!
//! By `ptrace`, as `strace` counts each thread's calls of each kind by itself, so that no number of
//! its own says "the seventh change of all". A program that is killed when it enters a call hasn't
//! made it, and what is between two calls changes no file: so all moments are had by killing at the
//! entry of each call, and once after the last.

use crate::skip::Missing;
use std::path::Path;
use std::process::Command;

/// A call that changes files, or their locks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The call, by its own name, those of one purpose by one: `rename`, `write`, …
    pub call: &'static str,
    /// What it changes, below the directory that is watched.
    pub path: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The changes that it came to, in their order; it was killed at the last one, if it was.
    pub changes: Vec<Change>,
    /// The exit code; none if it was killed.
    pub code: Option<i32>,
}

/// Runs a program until it begins the `kill_at`th of its changes below a directory, counted from 1,
/// and kills it then; to its end, if it makes fewer. What it says is lost; its standard input is empty.
///
/// Processes that it starts aren't watched. Only one thread of a test may do this with a program of
/// its own at a time, but different threads don't see each other's.
#[track_caller]
pub fn killed_at(command: &Command, below: &Path, kill_at: usize) -> Result<Ended, Missing> {
    traced::run(command, below, kill_at)
}

/// Runs a program to its end, and tells what it changes below a directory.
#[track_caller]
pub fn changes(command: &Command, below: &Path) -> Result<Ended, Missing> {
    killed_at(command, below, usize::MAX)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
mod traced {
    use super::{Command, Ended, Missing, Path};

    pub(super) fn run(_: &Command, _: &Path, _: usize) -> Result<Ended, Missing> {
        Err(Missing::new("to trace programs of Linux on x86-64"))
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod traced {
    use super::{Change, Command, Ended, Missing, Path};
    use nix::libc::{self, c_long, user_regs_struct};
    use nix::sys::ptrace::{self, Options};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;
    use std::process::Stdio;

    pub(super) fn run(command: &Command, below: &Path, kill_at: usize) -> Result<Ended, Missing> {
        let mut watch =
            Watch { leader: seize(command)?, below, kill_at, is_begun: false, changes: Vec::new() };
        let code = watch.follow();
        Ok(Ended { changes: watch.changes, code })
    }

    /// Starts the program, watched from its first instruction on.
    #[expect(clippy::zombie_processes, reason = "it is waited for with all that is watched")]
    fn seize(command: &Command) -> Result<Pid, Missing> {
        // A shell that becomes the program once it is watched.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "read -r line; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        command.get_current_dir().into_iter().for_each(|directory| {
            shell.current_dir(directory);
        });
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut shell = shell.expect("a shell can be started");
        let pid = Pid::from_raw(i32::try_from(shell.id()).expect("a process id fits"));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        if let Err(error) = ptrace::seize(pid, options) {
            let _ = shell.kill();
            let _ = shell.wait();
            return Err(Missing::new(format!("to trace programs ({error})")));
        }
        ptrace::interrupt(pid).expect("what is watched can be stopped");
        wait();
        go_on(pid, None);
        let input = shell.stdin.as_mut().expect("it is a pipe");
        input.write_all(b"\n").expect("the shell reads");
        Ok(pid)
    }

    /// Waits for whatever this thread watches.
    fn wait() -> WaitStatus {
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Err(nix::errno::Errno::EINTR) => {}
                status => return status.expect("there is something to wait for"),
            }
        }
    }

    /// Lets a thread run to its next call. One that was killed meanwhile is gone.
    fn go_on(thread: Pid, signal: Option<Signal>) {
        let _ = ptrace::syscall(thread, signal);
    }

    struct Watch<'a> {
        leader: Pid,
        below: &'a Path,
        kill_at: usize,
        /// Whether the shell has become the program.
        is_begun: bool,
        changes: Vec<Change>,
    }

    impl Watch<'_> {
        fn follow(&mut self) -> Option<i32> {
            loop {
                match wait() {
                    WaitStatus::PtraceSyscall(thread) => self.call(thread),
                    WaitStatus::PtraceEvent(thread, _, event) => {
                        self.is_begun |= event == libc::PTRACE_EVENT_EXEC;
                        go_on(thread, None);
                    }
                    WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
                    WaitStatus::Exited(thread, code) if thread == self.leader => return Some(code),
                    WaitStatus::Signaled(thread, ..) if thread == self.leader => return None,
                    _ => {}
                }
            }
        }

        fn call(&mut self, thread: Pid) {
            let change = ptrace::getregs(thread).ok().filter(|_| self.is_begun).and_then(|registers| {
                // On the way in there is no result yet.
                let is_entry = registers.rax.cast_signed() == -i64::from(libc::ENOSYS);
                let (call, path) = is_entry.then(|| decode(thread, &registers)).flatten()?;
                let path = path.strip_prefix(self.below).ok()?.to_string_lossy().into_owned();
                Some(Change { call, path })
            });
            self.changes.extend(change.clone());
            if change.is_some() && self.changes.len() == self.kill_at {
                let _ = kill(self.leader, Signal::SIGKILL);
                return;
            }
            if self.changes.len() < self.kill_at {
                go_on(thread, None);
            }
        }
    }

    /// Tells what a call changes, if it does.
    fn decode(thread: Pid, registers: &user_regs_struct) -> Option<(&'static str, PathBuf)> {
        let [first, second, third] = [registers.rdi, registers.rsi, registers.rdx];
        let at = |directory: u64, path: u64| named(thread, directory, path);
        let here = |path: u64| named(thread, HERE, path);
        let open = |fd: u64| fs::read_link(format!("/proc/{thread}/fd/{}", fd as i32)).ok();
        let makes = |flags: u64| flags as i32 & (libc::O_CREAT | libc::O_TRUNC) != 0;
        let number = registers.orig_rax as c_long;
        let (call, path) = match number {
            libc::SYS_openat if makes(third) => ("open", at(first, second)),
            libc::SYS_openat2 if makes(word(thread, third)?) => ("open", at(first, second)),
            libc::SYS_open if makes(second) => ("open", here(first)),
            libc::SYS_creat => ("open", here(first)),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
                ("write", open(first))
            }
            libc::SYS_copy_file_range => ("write", open(third)),
            libc::SYS_sendfile | libc::SYS_splice => ("write", open(first)),
            libc::SYS_ftruncate | libc::SYS_fallocate => ("truncate", open(first)),
            libc::SYS_truncate => ("truncate", here(first)),
            libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync_file_range | libc::SYS_syncfs => {
                ("sync", open(first))
            }
            libc::SYS_rename => ("rename", here(second)),
            libc::SYS_renameat | libc::SYS_renameat2 => ("rename", at(third, registers.r10)),
            libc::SYS_link | libc::SYS_symlink => ("link", here(second)),
            libc::SYS_linkat => ("link", at(third, registers.r10)),
            libc::SYS_symlinkat => ("link", at(second, third)),
            libc::SYS_unlink | libc::SYS_rmdir => ("unlink", here(first)),
            libc::SYS_unlinkat => ("unlink", at(first, second)),
            libc::SYS_mkdir => ("mkdir", here(first)),
            libc::SYS_mkdirat => ("mkdir", at(first, second)),
            libc::SYS_chmod => ("chmod", here(first)),
            libc::SYS_fchmod => ("chmod", open(first)),
            libc::SYS_fchmodat => ("chmod", at(first, second)),
            libc::SYS_utimensat if second == 0 => ("touch", open(first)),
            libc::SYS_utimensat => ("touch", at(first, second)),
            libc::SYS_flock => ("lock", open(first)),
            _ => return None,
        };
        Some((call, path?))
    }

    const HERE: u64 = libc::AT_FDCWD as u64;

    /// The path that a call names, from a directory.
    fn named(thread: Pid, directory: u64, address: u64) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt as _;
        let mut bytes = vec![0; libc::PATH_MAX as usize];
        let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
        let count = memory.read_at(&mut bytes, address).ok()?;
        let end = bytes[..count].iter().position(|byte| *byte == 0)?;
        bytes.truncate(end);
        let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
        let from = match directory as i32 {
            libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
            directory => format!("/proc/{thread}/fd/{directory}"),
        };
        if path.is_absolute() { Some(path) } else { Some(fs::read_link(from).ok()?.join(path)) }
    }

    fn word(thread: Pid, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        File::open(format!("/proc/{thread}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TempTree;

    const SCRIPT: &str = "echo one > a; mkdir d; echo two > d/b; exit 7";

    fn shell(tree: &TempTree) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).current_dir(tree.path());
        command
    }

    #[test]
    fn changes_are_seen_and_stopped() {
        let tree = TempTree::new();
        let root = tree.path().canonicalize().unwrap();
        // `mkdir` is a program of its own, and isn't watched.
        let ended = crate::require!(changes(&shell(&tree), &root));
        let seen: Vec<String> =
            ended.changes.iter().map(|change| format!("{} {}", change.call, change.path)).collect();
        assert_eq!(seen, ["open a", "write a", "open d/b", "write d/b"]);
        assert_eq!(ended.code, Some(7));
        for (at, files) in [(1, [None, None]), (2, [Some(""), None]), (4, [Some("one\n"), Some("")])] {
            let tree = TempTree::new();
            let root = tree.path().canonicalize().unwrap();
            let ended = crate::require!(killed_at(&shell(&tree), &root, at));
            assert_eq!((ended.code, ended.changes.len()), (None, at));
            let content = |name: &str| std::fs::read_to_string(root.join(name)).ok();
            assert_eq!(["a", "d/b"].map(content), files.map(|text| text.map(str::to_owned)), "{at}");
        }
    }
}
