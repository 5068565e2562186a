//! `cargo xtask bench`: the trees that benchmarks are made with, then the comparisons.

use crate::Result;
use crate::parts;
use crate::programs::{cargo, run};
use crate::tools;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// `bench cache` and `bench states` measure what a cache is good for, `bench steps` what steps cost that
/// needn't run, and their files; else all the rest is measured.
pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let trees = root.join("target/bench-trees");
    match arguments.split_first() {
        Some((word, rest)) if word == "cache" => cache(root, &trees, rest)?,
        Some((word, rest)) if word == "states" => states(root, &trees, rest)?,
        Some((word, rest)) if word == "steps" => steps(root, rest)?,
        _ => compare(root, &trees, arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares cold builds, times manifest hits, and holds pushes against `curl`; `arguments` go to the
/// comparison.
fn compare(root: &Path, trees: &Path, arguments: &[String]) -> Result<()> {
    let program = build_release(root, &[])?;
    build_examples(root)?;
    run(example(root, "fetch-trees").arg(trees))?;
    let mut compare = example(root, "compare");
    for tree in ["npm", "pip"] {
        compare.arg("--tree").arg(trees.join(tree));
    }
    run(compare.arg("--ocibuild").arg(&program).args(arguments))?;
    run(example(root, "hit").arg(&program))?;
    run(example(root, "push").arg(&program))
}

fn cache(root: &Path, trees: &Path, arguments: &[String]) -> Result<()> {
    parts::install_for_benches()?;
    let (program, rest) = program(root, arguments, &["--features", "object-stores"])?;
    build_examples(root)?;
    run(example(root, "fetch-trees").arg(trees))?;
    let mut cache = example(root, "cache");
    cache.env("OCIBUILD_TEST_S3_SERVER", tools::S3_SERVER.built(root)?);
    run(cache.arg(program).arg(trees.join("npm")).args(rest))
}

fn states(root: &Path, trees: &Path, arguments: &[String]) -> Result<()> {
    parts::install_for_benches()?;
    let (program, rest) = program(root, arguments, &[])?;
    build_examples(root)?;
    run(example(root, "states").arg(program).arg(trees).args(rest))
}

fn steps(root: &Path, arguments: &[String]) -> Result<()> {
    let (program, rest) = program(root, arguments, &[])?;
    run(example(root, "steps").arg(program).args(rest))?;
    run(&mut example(root, "step_files"))
}

/// The program that `--program PATH` names as the first argument, or else one that is built.
fn program<'a>(root: &Path, arguments: &'a [String], options: &[&str]) -> Result<(PathBuf, &'a [String])> {
    match arguments {
        [option, path, rest @ ..] if option == "--program" => Ok((env::current_dir()?.join(path), rest)),
        _ => Ok((build_release(root, options)?, arguments)),
    }
}

fn build_release(root: &Path, options: &[&str]) -> Result<PathBuf> {
    run(cargo(root).args(["build", "--release", "--package", "ocibuild-cli"]).args(options))?;
    Ok(root.join("target/release/ocibuild"))
}

fn build_examples(root: &Path) -> Result<()> {
    run(cargo(root).args(["build", "--release", "--package", "ocibuild-benches", "--examples"]))
}

fn example(root: &Path, name: &str) -> Command {
    let mut command = cargo(root);
    command.args(["run", "--release", "--package", "ocibuild-benches", "--example", name, "--"]);
    command
}
