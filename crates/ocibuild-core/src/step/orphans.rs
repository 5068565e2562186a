//! What is left of a step's command when it is over, or when its run was killed: ended.
//!
//! What leaves the command's group by a session of its own isn't reached there, and would go on writing to
//! what the command made. And a run that is killed outright can't end its command at all: so there is a
//! mark while one runs, for whoever has the directory alone then. In both cases every process is killed
//! that was started with the step's own home, or its directory of temporary files. One that was given an
//! environment without either isn't found; what it writes to what was made is seen where that is read.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The file that is there while a command runs.
const MARK: &str = "running";

/// How often it is looked for processes, and how long is waited in between: they may start others.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// As many looks that find nobody make an end: who is just becoming another program shows no environment.
const CLEAN: u32 = 2;

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

/// What commands of a step were started with, and nobody else.
pub(super) struct Traits([Vec<u8>; 2]);

impl Traits {
    pub(super) fn new(home: &Path, temporary: &Path) -> Self {
        let variable = |name: &str, path: &Path| [name.as_bytes(), path.as_os_str().as_bytes()].concat();
        Self([variable("HOME=", home), variable("TMPDIR=", temporary)])
    }
}

/// Ends what a command left, if there is its mark. The directory must be nobody else's.
pub(super) fn end(directory: &Path, traits: &Traits) -> io::Result<()> {
    if directory.join(MARK).symlink_metadata().is_err() {
        return Ok(());
    }
    let mut clean = 0;
    for _ in 0..TRIES {
        let left: Vec<Pid> = left(traits).into_iter().filter(|process| sees(*process, directory)).collect();
        clean = if left.is_empty() { clean + 1 } else { 0 };
        if clean == CLEAN {
            return fs::remove_file(directory.join(MARK));
        }
        for process in left {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other("what a command left running there does not end"))
}

/// Tells whether a process has this very directory at its path. One in another container may have another
/// there, for a run of the same spec.
fn sees(process: Pid, directory: &Path) -> bool {
    let relative = directory.strip_prefix("/").unwrap_or(directory);
    let seen = Path::new("/proc").join(process.as_raw_nonzero().to_string()).join("root").join(relative);
    let id = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    id(directory).is_some_and(|ours| id(&seen) == Some(ours))
}

/// The processes that have one of a step's traits; none where the system doesn't tell.
fn left(Traits(variables): &Traits) -> Vec<Pid> {
    let process = |entry: fs::DirEntry| -> Option<Pid> {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // What has ended and wasn't waited for has none.
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|one| variables.iter().any(|own| one == own)).then_some(pid)
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
        let traits = |home: &Path| Traits::new(home, &home.join("tmp"));
        // Without a mark there is nothing to end.
        end(directory.path(), &traits(&home)).expect("nothing is to be done");
        assert!(!left(&traits(&home)).is_empty());
        std::mem::forget(Mark::set(directory.path()).expect("there is room"));
        end(directory.path(), &traits(&home)).expect("it can be ended");
        assert_eq!(left(&traits(&home)), []);
        assert!(!left(&traits(&other)).is_empty() && !directory.path().join(MARK).exists());
        others.kill().and_then(|()| others.wait()).expect("it is ours");
        ours.wait().expect("it is ours");
        std::mem::forget(Mark::set(directory.path()).expect("there is room"));
        end(directory.path(), &traits(&other)).expect("its child is ended as well");
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
