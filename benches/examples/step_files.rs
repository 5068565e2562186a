//! What steps' files cost, beside `cp` and `rm`: `step_files [ROUNDS [DIRECTORY]]`, in a directory on the disk
//! to be measured, or else in memory.
//!
//! Forty thousand files, as many as the packages of a larger service have, are copied to where a step runs,
//! looked at there again, taken over from there, looked at where they lie then, unpacked from their blob,
//! and removed. Everything is in the page cache.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ocibuild_benches::measure::median;
use ocibuild_core::blob::Source as _;
use ocibuild_core::cache::Record;
use ocibuild_core::event::Cancel;
use ocibuild_core::files::{DiskTree, FileKind, FileTree as _};
use ocibuild_core::key::{Key, KeyWriter};
use ocibuild_core::step::{OutputTrees, Private, Wanted, WantedKind, remove_beneath};
use ocibuild_core::{Builder, Spec};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// So many directories of so many files each.
const DIRECTORIES: usize = 1_000;
const FILES: usize = 40;

/// Makes of all files what is taken over: moved, as it is measured without the copy before it.
const SPEC: &str =
    "version = 1\n[steps.move]\nrun = \"mv tree out\"\ninputs = [\"tree\"]\noutputs = [\"out\"]\n";

/// What is measured, in the order in which it is done.
const ROWS: [&str; 9] = [
    "`cp -R`",
    "copied to where a step runs",
    "looked at there, nothing to do",
    "taken over from there",
    "looked at where they lie then",
    "unpacked from their blob",
    "removed",
    "`rm -r`",
    "a step that gets and makes them, and nothing else",
];

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(7), |rounds| rounds.parse::<usize>())?;
    let place = arguments.next();
    let directory = place.map_or_else(|| Ok(ocibuild_testkit::in_memory()), tempfile::tempdir_in)?;
    let root = directory.path().join("root");
    let bytes = prepare(&root.join("tree"))?;
    // Files are trusted to be as they were seen once they are some time old.
    std::thread::sleep(std::time::Duration::from_secs(3));
    // As builds work in a pool.
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    let round = || pool.install(|| round(directory.path(), &root));
    let all = (0..rounds).map(|_| round()).collect::<Fallible<Vec<_>>>()?;
    println!("{} files, {:.1} MB, {rounds} rounds\n", DIRECTORIES * FILES, bytes as f64 / 1e6);
    println!("| | median | least |\n|---|---|---|");
    for (row, name) in ROWS.iter().enumerate() {
        let times = || all.iter().map(|round| round[row]);
        println!("| {name} | {:.2} s | {:.2} s |", median(times()), times().fold(f64::INFINITY, f64::min));
    }
    Ok(())
}

/// Writes the files, of 0 to 8 KiB of text that is another in each, and gives the number of their bytes.
fn prepare(tree: &Path) -> Fallible<u64> {
    let mut bytes = 0;
    for directory in 0..DIRECTORIES {
        let path = tree.join(format!("package-{directory}/lib"));
        fs::create_dir_all(&path)?;
        for file in 0..FILES {
            let line = format!("exports.number = {directory} * {file};\n");
            let text = line.repeat((directory * 31 + file * 7) % 256);
            bytes += text.len() as u64;
            fs::write(path.join(format!("{file}.js")), text)?;
        }
    }
    Ok(bytes)
}

/// Does all of it once, and gives the seconds that each took.
fn round(directory: &Path, root: &Path) -> Fallible<[f64; ROWS.len()]> {
    let (cancel, cache) = (Cancel::new(), directory.join("cache"));
    let copy = directory.join("copy");
    let cp = timed(|| run(Command::new("cp").arg("-R").arg(root.join("tree")).arg(&copy)))?.0;
    let rm = timed(|| run(Command::new("rm").arg("-r").arg(&copy)))?.0;

    let tree = DiskTree::open(root)?;
    let wanted = wanted(&tree)?;
    let mut private = Private::open(&cache.join("private"), &cancel, &|| {})?;
    let (copied, _) = timed(|| Ok(private.sync(&wanted, &[], &cancel)?))?;
    let (looked_at, synced) = timed(|| Ok(private.sync(&wanted, &[], &cancel)?))?;
    assert_eq!(synced.written, 0, "it was right");
    let (key, work) = (key("taken over"), private.work());
    let trees = || OutputTrees::new(&cache);
    let adopt = || Ok(trees().adopt(&key, &work, &[b"tree"], &cancel)?);
    let (taken_over, _) = timed(adopt)?;
    let (found, tree) = timed(|| Ok(trees().find(&key, &cancel)?))?;
    assert!(tree.is_some(), "it lies there");
    drop((tree, private));

    let (whole, unpacked) = step(root, &cache)?;
    let (removed, ()) = timed(|| Ok(remove_beneath(&cache, b"outputs", &cancel)?))?;
    fs::remove_dir_all(&cache)?;
    // Of the trees in the cache there are three.
    Ok([cp, copied, looked_at, taken_over, found, unpacked, removed / 3.0, rm, whole])
}

/// Runs a step, and unpacks what it made.
fn step(root: &Path, cache: &Path) -> Fallible<(f64, f64)> {
    let path = |name: &str| (name == "PATH").then(|| std::env::var_os("PATH")).flatten();
    let builder = Builder::new(root, cache).environment(path);
    let spec = Spec::parse(SPEC, &std::collections::BTreeMap::new())?;
    let plan = builder.plan_steps(&spec, &["move".to_owned()], &[])?;
    let (whole, made) = timed(|| Ok(builder.run_steps(&plan, &[0])?))?;
    let Record { layers, tar_size, .. } = &made.steps[0].record;
    let store = ocibuild_core::blob::Store::new(cache);
    let unpack = || {
        let blob = store.fetch(&layers[0].descriptor)?.open(0)?;
        Ok(OutputTrees::new(cache).extract(&key("unpacked"), blob, *tar_size, &Cancel::new())?)
    };
    Ok((whole, timed(unpack)?.0))
}

/// All that is in the tree, as a step that has it among its inputs wants it.
fn wanted(tree: &DiskTree) -> Fallible<Vec<Wanted<'_>>> {
    let (mut all, mut left) = (Vec::new(), vec![b"tree".to_vec()]);
    while let Some(path) = left.pop() {
        for (name, seen) in tree.read_dir(&path)? {
            let path = [&path[..], b"/", &name].concat();
            if seen.kind == FileKind::Directory {
                left.push(path);
                continue;
            }
            let content = fs::read(tree.path().join(std::str::from_utf8(&path)?))?;
            let digest = *blake3::hash(&content).as_bytes();
            let what =
                WantedKind::File { tree, source: path.clone(), seen, digest, mode: 0o644, capability: None };
            all.push(Wanted { path, what });
        }
    }
    Ok(all)
}

fn key(of: &str) -> Key {
    KeyWriter::new(of, 1).finish()
}

fn timed<T>(work: impl FnOnce() -> Fallible<T>) -> Fallible<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

fn run(command: &mut Command) -> Fallible<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
