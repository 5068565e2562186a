//! What a tree costs that didn't change, as whole processes: `unchanged PROGRAM TREE [ROUNDS]`.
//!
//! A layer of the whole tree, without lockfiles, is built once. Then it is built again with nothing
//! changed, and as if all times were new (with nothing known of its files), each beside the least
//! that could be done: looking at every file, and reading and hashing every file.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use ocibuild_benches::measure::median;
use rayon::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, tree, rest @ ..] = &arguments[..] else {
        return Err("usage: unchanged PROGRAM TREE [ROUNDS]".into());
    };
    let tree = fs::canonicalize(tree)?;
    if first == "--look" || first == "--hash" {
        let found = visit(&tree, first == "--hash")?;
        println!("{found}");
        return Ok(());
    }
    let program = fs::canonicalize(first)?;
    let rounds = rest.first().map_or(Ok(9), |rounds| rounds.parse::<usize>())?;
    compare(&program, &tree, rounds)
}

/// Looks at all that a directory holds, in parallel; reads and hashes it if wanted. Returns the
/// number of entries.
fn visit(directory: &Path, hash: bool) -> std::io::Result<u64> {
    let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    let one = |entry: &fs::DirEntry| {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            return Ok(1 + visit(&entry.path(), hash)?);
        }
        if hash && metadata.is_file() {
            let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
            File::open(entry.path())?.read_to_end(&mut bytes)?;
            std::hint::black_box(blake3::hash(&bytes));
        }
        Ok(1)
    };
    entries.par_iter().map(one).sum()
}

fn compare(program: &Path, tree: &Path, rounds: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let spec = directory.path().join("ocibuild.toml");
    let text = format!(
        "version = 1\nroot = {:?}\n[layers.all]\ncopy = [{{ from = \".\", to = \"/app\" }}]\n\
         [images.app]\nlayers = [\"all\"]\n",
        tree.display().to_string()
    );
    fs::write(&spec, text)?;
    let own = std::env::current_exe()?;
    let build = || {
        let mut command = Command::new(program);
        command.args(["build", "--cache-dir", "cache"]).current_dir(directory.path());
        timed(command)
    };
    let least = |what: &str| {
        let mut command = Command::new(&own);
        command.arg(what).arg(tree);
        timed(command)
    };
    println!("first build: {:.3} s", build()?);
    println!("with what it learned: {:.3} s", build()?);
    let mut rows = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        rows[0].push(least("--look")?);
        rows[1].push(build()?);
        rows[2].push(least("--hash")?);
        fs::remove_dir_all(directory.path().join("cache/stat"))?;
        rows[3].push(build()?);
    }
    println!("| row | median | least | ratio |\n|---|---|---|---|");
    let names = [
        "every file looked at",
        "ocibuild, nothing changed",
        "every file read and hashed",
        "ocibuild, nothing known of files",
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

/// Says how many seconds a process took.
fn timed(mut command: Command) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed().as_secs_f64();
    if status.success() { Ok(elapsed) } else { Err(format!("{command:?} failed: {status}").into()) }
}
