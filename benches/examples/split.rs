//! What a change costs where a layer is split: `split PROGRAM TREE [SPLIT] [EDITS] [SEED]`.
//!
//! The tree is copied and built into an empty layout with an empty cache. Then one file after the
//! other, each as likely as any, gets up to 4 KiB more in its middle, and the image is built again
//! over that cache and layout; the file is put back before the next. Uploads are the bytes that
//! come new into the layout: layers, config, manifest. `SPLIT` is `auto`, a number or `none`.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ocibuild_benches::walk::{Kind, walk};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: split PROGRAM TREE [SPLIT] [EDITS] [SEED]";
    let program = fs::canonicalize(arguments.next().ok_or(usage)?)?;
    let tree = fs::canonicalize(arguments.next().ok_or(usage)?)?;
    let split = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let edits = arguments.next().map_or(Ok(20), |edits| edits.parse::<u32>())?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse::<u64>())?;
    let directory = tempfile::tempdir()?;
    let bench = Bench::make(program, directory.path(), &tree, &split)?;
    let (cold, size) = bench.build()?;
    let layers = bench.blobs()?.len().saturating_sub(2);
    println!("{layers} layers, {:.1} MB; cold {:.2} s", size as f64 / 1e6, cold.as_secs_f64());
    let (nothing, _) = bench.build()?;
    println!("nothing changed: {:.2} s", nothing.as_secs_f64());
    let mut random = Random(seed);
    let files = bench.files()?;
    let mut rows = Vec::new();
    for _ in 0..edits {
        let file = &files[random.below(files.len() as u64) as usize];
        rows.push(bench.edit(file, &mut random)?);
    }
    let largest = files.iter().max_by_key(|(_, length)| *length).ok_or("the tree has no files")?;
    report("mean", &rows, cold, size);
    report("the largest file", &[bench.edit(largest, &mut random)?], cold, size);
    Ok(())
}

fn report(name: &str, rows: &[(Duration, u64)], cold: Duration, size: u64) {
    let times = rows.iter().map(|(time, _)| time.as_secs_f64() / cold.as_secs_f64());
    let bytes = rows.iter().map(|(_, bytes)| *bytes as f64 / size as f64);
    let count = rows.len() as f64;
    let worst = bytes.clone().fold(0.0, f64::max);
    println!(
        "{name}: {:.2} of cold, {:.2}% of the image sent, at most {:.2}%",
        times.sum::<f64>() / count,
        bytes.sum::<f64>() / count * 100.0,
        worst * 100.0
    );
}

struct Bench {
    program: PathBuf,
    directory: PathBuf,
}

impl Bench {
    fn make(program: PathBuf, directory: &Path, tree: &Path, split: &str) -> Result<Self> {
        let mut copy = Command::new("cp");
        succeeds(copy.args(["-r", "--reflink=auto"]).arg(tree).arg(directory.join("tree")))?;
        let split = match split {
            "none" => String::new(),
            number if number.parse::<u8>().is_ok() => format!("split = {number}\n"),
            word => format!("split = \"{word}\"\n"),
        };
        let spec = format!(
            "version = 1\n[layers.modules]\n{split}copy = [{{ from = \"tree\", to = \"/app\" }}]\n\
             [images.app]\nlayers = [\"modules\"]\n"
        );
        fs::write(directory.join("ocibuild.toml"), spec)?;
        Ok(Self { program, directory: directory.to_owned() })
    }

    /// Builds, and says how long it took and how many bytes came into the layout.
    fn build(&self) -> Result<(Duration, u64)> {
        let before = self.blobs()?;
        let mut command = Command::new(&self.program);
        command.args(["build", "--cache-dir", "cache", "--output", "type=oci,dest=app.oci"]);
        let start = Instant::now();
        succeeds(command.current_dir(&self.directory))?;
        let elapsed = start.elapsed();
        let new = self.blobs()?.into_iter().filter(|(blob, _)| !before.contains_key(blob));
        Ok((elapsed, new.map(|(_, length)| length).sum()))
    }

    fn blobs(&self) -> Result<BTreeMap<PathBuf, u64>> {
        let directory = self.directory.join("app.oci/blobs/sha256");
        if !directory.exists() {
            return Ok(BTreeMap::new());
        }
        fs::read_dir(directory)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.path(), entry.metadata()?.len()))
            })
            .collect()
    }

    fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let root = self.directory.join("tree");
        let mut files = Vec::new();
        for entry in walk(&root)? {
            if matches!(entry.kind, Kind::File { .. }) {
                let path = root.join(OsStr::from_bytes(&entry.path));
                let length = fs::metadata(&path)?.len();
                files.push((path, length));
            }
        }
        Ok(files)
    }

    /// Builds with one file made longer, and puts it back.
    fn edit(&self, (path, length): &(PathBuf, u64), random: &mut Random) -> Result<(Duration, u64)> {
        let old = fs::read(path)?;
        let (middle, more) = ((length / 2) as usize, 512 + random.below(3584));
        let inserted: Vec<u8> = (0..more).map(|_| b' ' + random.below(95) as u8).collect();
        fs::write(path, [&old[..middle], &inserted, &old[middle..]].concat())?;
        let built = self.build()?;
        fs::write(path, old)?;
        Ok(built)
    }
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

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
