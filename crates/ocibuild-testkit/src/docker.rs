//! The docker daemon that `cargo xtask test` starts.
//!
//! It is shared by all tests of a run and has no network of its own, so give images names that no
//! other test uses. What a test leaves there goes with the daemon.

use crate::command::{Output, run};
use crate::registry::variable;
use crate::skip::{Missing, is_executable, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A docker daemon, spoken to by docker's own command line.
#[derive(Debug, Clone)]
pub struct Docker {
    host: String,
    program: PathBuf,
}

/// Gives the daemon of this run.
pub fn docker() -> Result<Docker, Missing> {
    let host = variable("OCIBUILD_TEST_DOCKER_HOST", "a docker daemon")?;
    // Another version may stand ahead in `PATH`; the distribution's fits the daemon.
    let debian = PathBuf::from("/usr/bin/docker");
    let program = if is_executable(&debian) { debian } else { tool("docker")? };
    Ok(Docker { host, program })
}

impl Docker {
    /// The daemon's address, for `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Prepares a call of the docker command; no user's contexts or credentials reach it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", "/nonexistent")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_TLS_VERIFY");
        command
    }

    /// Loads an archive; gives the name, or without one the id, of the last image it held.
    #[track_caller]
    pub fn load(&self, archive: &Path) -> String {
        let output = run(self.command().args(["load", "--input"]).arg(archive));
        loaded_name(&output)
    }

    /// Pulls an image from a registry; http is good enough for docker on the loopback address.
    #[track_caller]
    pub fn pull(&self, reference: &str) {
        run(self.command().args(["pull", "--quiet", reference]));
    }

    /// Runs an image without a network to its end, with its own command where `arguments` is empty.
    #[track_caller]
    pub fn run(&self, image: &str, arguments: &[&str]) -> Output {
        self.run_with(&[], image, arguments)
    }

    /// Runs an image with more options of `docker run`, such as `["--user", "1"]`.
    #[track_caller]
    pub fn run_with(&self, options: &[&str], image: &str, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(["run", "--rm", "--network=none"]).args(options).arg(image).args(arguments);
        run(&mut command)
    }

    /// Tells what the daemon knows of an image (`docker image inspect`, its one element).
    #[track_caller]
    pub fn inspect(&self, image: &str) -> serde_json::Value {
        run(self.command().args(["image", "inspect", image])).json()[0].take()
    }

    /// Removes an image and its tags, where a test needs it gone.
    #[track_caller]
    pub fn remove(&self, image: &str) {
        run(self.command().args(["image", "rm", "--force", image]));
    }
}

/// Both docker and podman say `Loaded image: NAME` or `Loaded image ID: sha256:…`.
#[track_caller]
pub(crate) fn loaded_name(output: &Output) -> String {
    let text = output.text();
    let name = text.lines().rev().find_map(|line| {
        let (what, name) = line.split_once(": ")?;
        what.starts_with("Loaded image").then(|| name.trim().to_owned())
    });
    name.unwrap_or_else(|| panic!("no image was loaded: {output}"))
}
