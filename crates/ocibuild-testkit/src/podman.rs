//! A podman of the test's own: its images, containers, locks and mounts are nobody else's.

use crate::command::{Output, run};
use crate::docker::loaded_name;
use crate::mounts::unmount_below;
use crate::skip::{Missing, root, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Podman over private directories, removed with their mounts when dropped.
#[derive(Debug)]
pub struct Podman {
    program: PathBuf,
    home: TempDir,
}

/// Podman's default locks live in one shared memory segment of the machine, and a podman that
/// finds its own state new frees all of them, those of a neighbour too: so lock files.
const CONFIGURATION: &str = "[engine]\nlock_type = \"file\"\n";

impl Podman {
    /// Sets up a podman without images.
    pub fn new() -> Result<Self, Missing> {
        let program = tool("podman")?;
        tool("runc")?;
        root()?;
        let home = TempDir::with_prefix("podman-").expect("a temporary directory can be made");
        for (name, content) in [("containers.conf", CONFIGURATION), ("auth.json", "{}")] {
            fs::write(home.path().join(name), content).expect("a temporary file can be written");
        }
        Ok(Self { program, home })
    }

    /// Prepares a call of podman on the private directories.
    pub fn command(&self) -> Command {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command
            .env("CONTAINERS_CONF", home.join("containers.conf"))
            .env("REGISTRY_AUTH_FILE", home.join("auth.json"));
        for (option, directory) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(home.join(directory));
        }
        // Neither systemd nor its journal can be counted on where tests run.
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none"]);
        command.args(["--storage-driver=overlay", "--runtime", "runc"]);
        command
    }

    /// Loads an archive; gives the name, or without one the id, of the last image it held.
    #[track_caller]
    pub fn load(&self, archive: &Path) -> String {
        let output = run(self.command().args(["load", "--input"]).arg(archive));
        loaded_name(&output)
    }

    /// Pulls an image, over http where the registry speaks that only; without a user's credentials.
    #[track_caller]
    pub fn pull(&self, reference: &str) {
        run(self.command().args(["pull", "--quiet", "--tls-verify=false", reference]));
    }

    /// Runs an image without a network to its end, with its own command where `arguments` is empty.
    #[track_caller]
    pub fn run(&self, image: &str, arguments: &[&str]) -> Output {
        self.run_with(&[], image, arguments)
    }

    /// Runs an image with more options of `podman run`, such as `["--user", "1"]`.
    #[track_caller]
    pub fn run_with(&self, options: &[&str], image: &str, arguments: &[&str]) -> Output {
        let mut command = self.command();
        // Podman's default limits may be above those of the machine, and then can't be set.
        command.args(["run", "--rm", "--network=none", "--pids-limit=-1"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(options).arg(image).args(arguments);
        run(&mut command)
    }

    /// Tells what podman knows of an image (`podman image inspect`, its one element).
    #[track_caller]
    pub fn inspect(&self, image: &str) -> serde_json::Value {
        run(self.command().args(["image", "inspect", image])).json()[0].take()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        unmount_below(self.home.path());
    }
}
