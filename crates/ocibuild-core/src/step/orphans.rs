//! What a killed run left running in a step's directory: ended before the next one begins there.
//!
//! A run that is killed outright can't end its command, which would go on writing to files that the next
//! run puts there. So there is a mark while a command runs; where one is found by whoever has the
//! directory alone now, every process that has the step's home as its own is killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The file that is there while a command runs.
const MARK: &str = "running";

/// How often it is looked for processes, and how long is waited in between: they may start others.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// The mark, until it is dropped.
pub(super) struct Mark(PathBuf);

impl Mark {
    /// Marks a step's directory.
    pub(super) fn set(directory: &Path) -> io::Result<Self> {
        let path = directory.join(MARK);
        File::create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays costs the next run a look.
        let _ = fs::remove_file(&self.0);
    }
}

/// Ends what a killed run left, if there is a mark of one. The directory must be nobody else's.
pub(super) fn end(directory: &Path, home: &Path) -> io::Result<()> {
    if directory.join(MARK).symlink_metadata().is_err() {
        return Ok(());
    }
    let variable = [b"HOME=", home.as_os_str().as_bytes()].concat();
    for _ in 0..TRIES {
        let left = left(&variable);
        if left.is_empty() {
            return fs::remove_file(directory.join(MARK));
        }
        for process in left {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other("a command that a killed run left there does not end"))
}

/// The processes that were started with a variable; none where the system doesn't tell.
fn left(variable: &[u8]) -> Vec<Pid> {
    let process = |entry: fs::DirEntry| -> Option<Pid> {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // What has ended and wasn't waited for has none.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|one| one == variable).then_some(pid)
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(process).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeping(home: &Path) -> std::process::Child {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 64 & sleep 65; true"]).env("HOME", home);
        let shell = command.spawn().expect("there is a shell");
        // Who starts a program goes on a moment before that has its environment.
        let environment = format!("/proc/{}/environ", shell.id());
        while fs::read(&environment).expect("it runs").is_empty() {
            thread::sleep(PAUSE);
        }
        shell
    }

    #[test]
    fn what_a_killed_run_left_is_ended_and_nothing_else() {
        let directory = tempfile::tempdir().expect("there is room");
        let (home, other) = (directory.path().join("home"), directory.path().join("home-of-another"));
        let (mut ours, mut others) = (sleeping(&home), sleeping(&other));
        let variable = |home: &Path| [b"HOME=", home.as_os_str().as_bytes()].concat();
        // Without a mark there is nothing to end.
        end(directory.path(), &home).expect("nothing is to be done");
        assert!(!left(&variable(&home)).is_empty());
        std::mem::forget(Mark::set(directory.path()).expect("there is room"));
        end(directory.path(), &home).expect("it can be ended");
        assert_eq!(left(&variable(&home)), []);
        assert!(!left(&variable(&other)).is_empty() && !directory.path().join(MARK).exists());
        others.kill().and_then(|()| others.wait()).expect("it is ours");
        ours.wait().expect("it is ours");
        std::mem::forget(Mark::set(directory.path()).expect("there is room"));
        end(directory.path(), &other).expect("its child is ended as well");
    }

    #[test]
    fn a_mark_is_there_as_long_as_it_is_kept() {
        let directory = tempfile::tempdir().expect("there is room");
        let mark = Mark::set(directory.path()).expect("there is room");
        assert!(directory.path().join(MARK).exists());
        drop(mark);
        assert!(!directory.path().join(MARK).exists());
    }
}
