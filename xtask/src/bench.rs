//! `cargo xtask bench`: the trees that benchmarks are made with, then the comparison.

use crate::Result;
use crate::programs::{cargo, run};
use std::path::Path;
use std::process::ExitCode;

/// Fetches the trees where they aren't there yet, compares cold builds, times manifest hits, and
/// holds pushes against `curl`; `arguments` go to the comparison.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let trees = root.join("target/bench-trees");
    let program = root.join("target/release/ocibuild");
    let example = |name: &str| {
        let mut command = cargo(root);
        command.args(["run", "--release", "--package", "ocibuild-benches", "--example", name, "--"]);
        command
    };
    run(cargo(root).args(["build", "--release", "--package", "ocibuild-cli"]))?;
    run(cargo(root).args(["build", "--release", "--package", "ocibuild-benches", "--examples"]))?;
    run(example("fetch-trees").arg(&trees))?;
    let mut compare = example("compare");
    for tree in ["npm", "pip"] {
        compare.arg("--tree").arg(trees.join(tree));
    }
    run(compare.arg("--ocibuild").arg(&program).args(arguments))?;
    run(example("hit").arg(&program))?;
    run(example("push").arg(&program))?;
    Ok(ExitCode::SUCCESS)
}
