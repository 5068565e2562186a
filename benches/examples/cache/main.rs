//! What a cache makes of little changes: `cache PROGRAM TREE`, TREE being npm's of `fetch-trees`.
//!
//! Three parts, each a table of its own, whose ratios are of one run:
//!
//! - `unchanged`: nothing changed, and nothing but times changed, beside the least that could be done.
//! - `edits`: one file changed, of a layer that is split and of one that isn't, beside a cold build.
//! - `fresh`: an empty cache directory and no `node_modules`, with the image of before in a registry.

mod edits;
mod fresh;
mod unchanged;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Parser, ValueEnum};
use ocibuild_benches::measure::{Usage, command};
use ocibuild_benches::states::copy;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What to measure.
#[derive(Parser)]
struct Arguments {
    /// The product's program.
    program: PathBuf,
    /// A `node_modules` with its lockfile.
    tree: PathBuf,
    /// How often each thing is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How many files are drawn for edits.
    #[arg(long, default_value_t = 20)]
    edits: usize,
    /// What they are drawn by.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this part; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Unchanged,
    Edits,
    Fresh,
}

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    // A process of our own to compare with.
    if let Some(visit) = words.next().and_then(|word| unchanged::Visit::of(&word)) {
        return visit.of_tree(Path::new(&words.next().ok_or("no tree to visit")?));
    }
    let arguments = Arguments::parse();
    let home = tempfile::tempdir()?;
    let bench = Bench {
        program: fs::canonicalize(&arguments.program)?,
        tree: home.path().join("tree"),
        home: home.path().to_owned(),
        arguments,
    };
    // Files are edited, and get new times.
    copy(&fs::canonicalize(&bench.arguments.tree)?, &bench.tree)?;
    if bench.wants(Part::Unchanged) {
        unchanged::measure(&bench)?;
    }
    if bench.wants(Part::Edits) {
        edits::measure(&bench)?;
    }
    if bench.wants(Part::Fresh) {
        fresh::measure(&bench)?;
    }
    Ok(())
}

/// What all parts have: the program, a copy of the tree, and a directory that goes with the run.
struct Bench {
    arguments: Arguments,
    program: PathBuf,
    tree: PathBuf,
    home: PathBuf,
}

impl Bench {
    fn wants(&self, part: Part) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.contains(&part)
    }

    /// Makes a directory with a spec for a layer of the whole tree, with nothing that vouches for it.
    fn project(&self, name: &str, split: bool) -> Result<PathBuf> {
        let directory = self.home.join(name);
        fs::create_dir(&directory)?;
        let spec = format!(
            "version = 1\nroot = {:?}\n[layers.all]\n{}copy = [{{ from = \".\", to = \"/app\" }}]\n\
             [images.app]\nlayers = [\"all\"]\n",
            self.tree.display().to_string(),
            if split { "split = \"auto\"\n" } else { "" },
        );
        fs::write(directory.join("ocibuild.toml"), spec)?;
        Ok(directory)
    }

    /// Runs `ocibuild build` in a directory.
    fn build(&self, directory: &Path, arguments: &[&str]) -> Result<Usage> {
        self.build_with(directory, arguments, &[])
    }

    /// The same, with these variables.
    fn build_with(
        &self,
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Usage> {
        let mut build = Command::new(&self.program);
        build.arg("build").args(arguments).current_dir(directory);
        build.envs(variables.iter().map(|(name, value)| (name, value)));
        Ok(command(&build)?)
    }
}
