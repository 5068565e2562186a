//! `cargo xtask test`: every test with every part it needs, and nothing left behind.

use crate::Result;
use crate::counts::Counts;
use crate::interrupt::Interrupt;
use crate::programs::is_root;
use crate::{parts, session, tools};
use std::env;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

/// Runs the tests; the last line printed holds the counts.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let counts = tests(root, arguments, &Interrupt::listen()?)?;
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests and gives the counts.
pub(crate) fn tests(root: &Path, arguments: &[String], interrupt: &Interrupt) -> Result<Counts> {
    // As another user there are neither mounts nor containers: those tests have to be skipped.
    // A failed installation, though, is no reason to skip anything.
    let is_complete = parts::install().unwrap_or_else(|error| {
        eprintln!("{error}");
        true
    });
    if let Err(error) = tools::S3_SERVER.built(root) {
        eprintln!("{error}");
    }
    let all = is_complete && is_root();
    let home = Home::new()?;
    match session::isolated(&home.0, all, arguments) {
        Some(mut command) => supervise(&mut command, interrupt)?,
        None => session::session(root, &home.0, all, arguments, interrupt)?,
    }
    interrupt.check()?;
    let mut counts = home.counts().unwrap_or_default();
    if counts == Counts::default() {
        counts.blame(); // Nothing ran: that isn't success.
    }
    Ok(counts)
}

/// Waits for the isolated session, or ends it; all that lives in it ends at once then.
fn supervise(command: &mut Command, interrupt: &Interrupt) -> Result<()> {
    let mut session = Killed(command.spawn()?);
    while session.0.try_wait()?.is_none() && !interrupt.asked() {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A child that doesn't outlive this value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory of everything that the run writes outside of `target`.
struct Home(PathBuf);

impl Home {
    fn new() -> Result<Self> {
        // A short path: the daemon's socket lies in it, and its name may have 107 bytes.
        let path = env::temp_dir().join(format!("ocibuild-test-{}", process::id()));
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        let home = Self(path);
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o755))?; // whatever the umask
        Ok(home)
    }

    fn counts(&self) -> Option<Counts> {
        fs::read_to_string(self.0.join(session::COUNTS)).ok()?.parse().ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What was killed a moment ago may still be writing.
        for _ in 0..100 {
            match fs::remove_dir_all(&self.0) {
                Err(_) if self.0.exists() => thread::sleep(Duration::from_millis(50)),
                _ => return,
            }
        }
        eprintln!("left behind: {}", self.0.display());
    }
}
