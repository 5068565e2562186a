//! `cargo xtask bench`: the trees that benchmarks are made with, then the comparison.

use crate::Result;
use crate::programs::{cargo, run};
use std::path::Path;
use std::process::ExitCode;

/// Fetches the trees where they aren't there yet, and compares; `arguments` go to the comparison.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let trees = root.join("target/bench-trees");
    let example = |name: &str| {
        let mut command = cargo(root);
        command.args(["run", "--release", "--package", "ocibuild-benches", "--example", name]);
        command.arg("--").arg(&trees);
        command
    };
    run(&mut example("fetch-trees"))?;
    run(example("compare").args(arguments))?;
    Ok(ExitCode::SUCCESS)
}
