//! What a tree costs that didn't change.
//!
//! It is built once. Then it is built again with nothing changed, beside a process that only looks at
//! every file; and with all times new, as in every checkout, beside one that reads and hashes every
//! file.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use ocibuild_benches::measure::{command, median};
use rayon::prelude::*;

use crate::{Bench, Result};

/// Files that were written within less than this are told from later ones by no clock of a file
/// system; whoever remembers files has to read such ones again.
const SETTLED: Duration = Duration::from_secs(3);

/// What is done with each file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    Look,
    Hash,
    Touch,
}

impl Visit {
    pub(crate) fn of(word: &OsStr) -> Option<Self> {
        match word.to_str()? {
            "--look" => Some(Self::Look),
            "--hash" => Some(Self::Hash),
            _ => None,
        }
    }

    pub(crate) fn of_tree(self, tree: &Path) -> Result<()> {
        println!("{}", self.below(tree)?);
        Ok(())
    }

    /// Visits all that a directory holds, in parallel, and says how much that is.
    fn below(self, directory: &Path) -> std::io::Result<u64> {
        let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
        let one = |entry: &fs::DirEntry| {
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                let below = self.below(&entry.path())?;
                self.directory(&entry.path())?;
                return Ok(1 + below);
            }
            if metadata.is_file() {
                self.file(&entry.path(), metadata.len())?;
            }
            Ok(1)
        };
        entries.par_iter().map(one).sum()
    }

    fn directory(self, path: &Path) -> std::io::Result<()> {
        if self == Self::Touch { touch(path) } else { Ok(()) }
    }

    fn file(self, path: &Path, length: u64) -> std::io::Result<()> {
        match self {
            Self::Look => {}
            Self::Hash => {
                let mut bytes = Vec::with_capacity(length as usize + 1);
                File::open(path)?.read_to_end(&mut bytes)?;
                std::hint::black_box(blake3::hash(&bytes));
            }
            Self::Touch => touch(path)?,
        }
        Ok(())
    }
}

fn touch(path: &Path) -> std::io::Result<()> {
    File::open(path)?.set_times(FileTimes::new().set_modified(SystemTime::now()))
}

pub(crate) fn measure(bench: &Bench) -> Result<()> {
    let directory = bench.project("unchanged", false)?;
    let build = || Ok::<_, Box<dyn std::error::Error>>(bench.build(&directory, &BUILD)?.wall);
    let own = std::env::current_exe()?;
    let least = |visit: &str| {
        Ok::<_, Box<dyn std::error::Error>>(command(Command::new(&own).arg(visit).arg(&bench.tree))?.wall)
    };
    let first = build()?;
    let mut rows = [const { Vec::new() }; 4];
    for _ in 0..bench.arguments.rounds {
        Visit::Touch.below(&bench.tree)?;
        thread::sleep(SETTLED);
        rows[2].push(least("--hash")?);
        rows[3].push(build()?);
        rows[0].push(least("--look")?);
        rows[1].push(build()?);
    }
    println!(
        "\nFirst build of the tree: {first:.3} s\n\n| row | median | least | ratio |\n|---|---|---|---|"
    );
    let names = [
        "every file looked at",
        "**ocibuild**, nothing changed",
        "every file read and hashed",
        "**ocibuild**, all times new",
    ];
    for (at, (name, times)) in names.iter().zip(&rows).enumerate() {
        let ratios = times.iter().zip(&rows[at & !1]).map(|(time, least)| time / least);
        let shortest = times.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "| {name} | {:.3} s | {shortest:.3} s | {:.2} |",
            median(times.iter().copied()),
            median(ratios)
        );
    }
    Ok(())
}

const BUILD: [&str; 4] = ["--cache-dir", "cache", "--output", "type=oci,dest=app.oci"];
