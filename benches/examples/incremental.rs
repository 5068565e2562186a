//! What one changed file of a big layer costs: `incremental PROGRAM TREE [EDITS] [SEED]`.
//!
//! The tree is copied and built, by gzip and by zstd. Then one file after the other, each as likely
//! as any, gets up to 4 KiB more in its middle, and the image is built three times: by a program that
//! knows nothing (`--no-cache`, into a cache directory of its own that is emptied before), with what
//! the last build left, and once more with nothing changed. Digests must agree. The file is put back,
//! and what it was before is built, before the next. Every build writes a layout, which is removed
//! before.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ocibuild_benches::measure::median;
use ocibuild_benches::walk::{Kind, walk};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: incremental PROGRAM TREE [EDITS] [SEED]";
    let [program, tree, rest @ ..] = &arguments[..] else { return Err(usage.into()) };
    let edits = rest.first().map_or(Ok(20), |edits| edits.parse::<usize>())?;
    let seed = rest.get(1).map_or(Ok(1), |seed| seed.parse::<u64>())?;
    let directory = tempfile::tempdir()?;
    let mut copy = Command::new("cp");
    let copied = directory.path().join("tree");
    succeeds(copy.args(["-r", "--reflink=auto"]).arg(fs::canonicalize(tree)?).arg(&copied))?;
    println!("| compression | cold | one file changed | ratio of means | worst ratio | nothing changed |");
    println!("|---|---|---|---|---|---|");
    for compression in ["gzip:3", "zstd:3"] {
        let bench = Bench {
            program: fs::canonicalize(program)?,
            directory: directory.path().to_owned(),
            compression,
        };
        bench.run(&copied, edits, seed)?;
    }
    Ok(())
}

struct Bench {
    program: PathBuf,
    directory: PathBuf,
    compression: &'static str,
}

impl Bench {
    fn run(&self, tree: &Path, edits: usize, seed: u64) -> Result<()> {
        let spec = format!(
            "version = 1\n[layers.modules]\ncompression = \"{}\"\ncopy = [{{ from = \"tree\", to = \"/app\" }}]\n\
             [images.app]\nlayers = [\"modules\"]\n",
            self.compression
        );
        fs::write(self.directory.join("ocibuild.toml"), spec)?;
        let files = files(tree)?;
        let mut random = Random(seed);
        self.build("cache", &[])?;
        let mut rows = [const { Vec::new() }; 3];
        for _ in 0..edits {
            let path = &files[random.below(files.len() as u64) as usize];
            let old = fs::read(path)?;
            let (middle, more) = (old.len() / 2, 512 + random.below(3584));
            let inserted: Vec<u8> = (0..more).map(|_| b' ' + random.below(95) as u8).collect();
            fs::write(path, [&old[..middle], &inserted, &old[middle..]].concat())?;
            let _ = fs::remove_dir_all(self.directory.join("cold"));
            let (cold, expected) = self.build("cold", &["--no-cache"])?;
            let (changed, built) = self.build("cache", &[])?;
            let (nothing, _) = self.build("cache", &[])?;
            if built != expected {
                return Err(format!("{}: {built} is not {expected}", path.display()).into());
            }
            for (row, time) in rows.iter_mut().zip([cold, changed, nothing]) {
                row.push(time);
            }
            fs::write(path, old)?;
            self.build("cache", &[])?;
        }
        let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
        let worst = rows[1].iter().zip(&rows[0]).map(|(changed, cold)| changed / cold).fold(0.0, f64::max);
        let [cold, changed, nothing] = &rows;
        println!(
            "| {} | {:.2} s | {:.2} s (median {:.2} s) | {:.2} | {worst:.2} | {:.2} s |",
            self.compression,
            mean(cold),
            mean(changed),
            median(changed.iter().copied()),
            mean(changed) / mean(cold),
            mean(nothing),
        );
        Ok(())
    }

    /// Builds, and says how many seconds that took and what image it gave.
    fn build(&self, cache: &str, flags: &[&str]) -> Result<(f64, String)> {
        let mut command = Command::new(&self.program);
        command.args(["build", "--cache-dir", cache]).args(flags).current_dir(&self.directory);
        let _ = fs::remove_dir_all(self.directory.join("app.oci"));
        command.args(["--output", "type=oci,dest=app.oci"]);
        let start = Instant::now();
        let image = succeeds(&mut command)?;
        Ok((start.elapsed().as_secs_f64(), image))
    }
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = walk(root)?.into_iter().filter(|entry| matches!(entry.kind, Kind::File { .. }));
    Ok(entries.map(|entry| root.join(OsStr::from_bytes(&entry.path))).collect())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn succeeds(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
