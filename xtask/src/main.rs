//! Chores of the project: `cargo xtask help` lists them.
//!
//! It only starts other programs and looks at how they end; it knows nothing of the product, so
//! that building it stays a matter of seconds.

mod bench;
mod cgroups;
mod ci;
mod counts;
mod fixtures;
mod furnish;
mod fuzz;
mod interrupt;
mod parts;
mod programs;
mod services;
mod session;
mod test;
mod tools;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A chore's outcome; its errors are read by people only.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "\
Chores of the project

cargo xtask test [ARGS…]      install and start what the tests need, run all of them
                              (ARGS go to `cargo test`; as root on Debian nothing is skipped)
cargo xtask ci                format, clippy, tests, fuzzing, docs, licences: what CI runs
cargo xtask bench [ARGS…]     fetch the benchmarks' trees and compare (ARGS go to the comparison)
cargo xtask bench cache|states [--program PATH] [ARGS…]
                              what a cache makes of little changes, and of twenty states of an
                              application, by the program of this tree or the one at PATH
cargo xtask fuzz [TARGET…] [--seconds N]
                              run the fuzz targets for N seconds each (600)
cargo xtask fixtures [--check]
                              remake the files of testdata, or check that they are up to date
cargo xtask help              this text
";

fn main() -> ExitCode {
    match run(env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<ExitCode> {
    let root = root()?;
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    match chore {
        "test" => test::main(&root, rest),
        "ci" => ci::main(&root),
        "bench" => bench::main(&root, rest),
        "fuzz" => fuzz::main(&root, rest),
        "fixtures" => fixtures(&root, rest),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        session::CHORE => session::main(&root, rest),
        other => Err(format!("there is no chore `{other}`\n\n{HELP}").into()),
    }
}

/// Remakes what lies in `testdata`, or with `--check` compares it with what would be made.
fn fixtures(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        _ => return Err("usage: cargo xtask fixtures [--check]".into()),
    };
    fixtures::remake(root, check)?;
    Ok(ExitCode::SUCCESS)
}

/// The workspace's directory: where this package was built from.
fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().ok_or("xtask lies in a workspace")?.to_owned())
}
