//! containerd without docker, by its own `ctr`, in a namespace of the test's own.

use crate::command::{Output, run};
use crate::registry::variable;
use crate::skip::{Missing, root, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// The containerd of this run; images imported by one value aren't seen by another.
#[derive(Debug)]
pub struct Containerd {
    program: PathBuf,
    address: String,
    namespace: String,
}

/// Makes the names of namespaces and containers unique in the process.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

fn unique_name() -> String {
    format!("ocibuild-test-{}-{}", process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed))
}

impl Containerd {
    /// Gives the daemon that `cargo xtask test` starts, with a namespace without images.
    pub fn new() -> Result<Self, Missing> {
        root()?;
        Ok(Self {
            program: tool("ctr")?,
            address: variable("OCIBUILD_TEST_CONTAINERD", "a containerd")?,
            namespace: unique_name(),
        })
    }

    /// Prepares a call of `ctr`.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--address", &self.address, "--namespace", &self.namespace]);
        command
    }

    /// Imports an archive and unpacks its layers; gives the names of the images it held.
    #[track_caller]
    pub fn import(&self, archive: &Path) -> Vec<String> {
        run(self.command().args(["images", "import"]).arg(archive));
        let list = run(self.command().args(["images", "list", "--quiet"]));
        list.text().lines().map(str::to_owned).collect()
    }

    /// Runs an image to its end, with its own command where `arguments` is empty. What it writes to
    /// standard error stands in the output, too.
    ///
    /// By way of a file: of what goes through `ctr` a part is lost now and then
    /// ([containerd, issue 5741](https://github.com/containerd/containerd/issues/5741)).
    #[track_caller]
    pub fn run(&self, image: &str, arguments: &[&str]) -> Output {
        let log = tempfile::NamedTempFile::new().expect("there is room for a temporary file");
        let mut command = self.command();
        command.args(["run", "--rm", "--log-uri"]).arg(format!("file://{}", log.path().display()));
        command.args([image, &unique_name()]).args(arguments);
        let output = run(&mut command);
        Output { stdout: fs::read(log.path()).expect("the file is there"), ..output }
    }
}
