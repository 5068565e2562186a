//! Programs that Debian doesn't have, built once into `target`.

use crate::Result;
use crate::programs::{cargo, run, succeeds};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of a package of the registry, in one version: another may do otherwise.
pub(crate) struct Tool {
    package: &'static str,
    version: &'static str,
    options: &'static [&'static str],
}

/// Judges the dependency graph.
pub(crate) const CARGO_DENY: Tool = Tool { package: "cargo-deny", version: "0.20.2", options: &[] };

/// An S3 server over a directory. A program of its own, not a dependency of the tests: all
/// who test anything would build its crates.
pub(crate) const S3_SERVER: Tool =
    Tool { package: "s3s-fs", version: "0.14.1", options: &["--features", "binary"] };

impl Tool {
    /// Where it lies once it is built.
    pub(crate) fn path(&self, root: &Path) -> PathBuf {
        root.join("target/ci-tools/bin").join(self.package)
    }

    /// Gives the program, built if it isn't there: unoptimised, as it has little to do.
    pub(crate) fn built(&self, root: &Path) -> Result<PathBuf> {
        let program = self.path(root);
        let version = Command::new(&program).arg("--version").output();
        let is_there = version
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(self.version));
        if !is_there {
            let mut install = cargo(root);
            install.env("CARGO_PROFILE_DEV_DEBUG", "0");
            install.args(["install", self.package, "--version", self.version]).args(self.options);
            install.args(["--locked", "--debug", "--force", "--root"]);
            run(install.arg(root.join("target/ci-tools")))?;
        }
        if succeeds(Command::new(&program).arg("--version")) {
            Ok(program)
        } else {
            Err(format!("`{}` doesn't run", program.display()).into())
        }
    }
}
