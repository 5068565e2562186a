//! What one changed file costs.
//!
//! Files are drawn by seed, each as likely as any, and one after the other gets 512 to 4,095 bytes
//! more in its middle; each time the image is built again over the cache and layout of before. In
//! between, as many cold builds as there are rounds: `--no-cache`, an empty cache directory, an empty
//! layout. Uploads are the bytes that come new into the layout: layers, config, manifest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ocibuild_benches::measure::{mean, median};
use ocibuild_benches::random::Random;
use ocibuild_benches::walk::{Kind, walk};

use crate::{Bench, Result};

/// One way to make the layer, and what it cost.
struct Variant {
    name: &'static str,
    directory: PathBuf,
    layers: usize,
    /// Bytes of the image.
    size: u64,
    cold: Vec<f64>,
    edits: Vec<Cost>,
}

struct Cost {
    seconds: f64,
    sent: u64,
}

pub(crate) fn measure(bench: &Bench) -> Result<()> {
    let mut variants = Vec::new();
    for (name, split) in [("`split = \"auto\"`", true), ("unsplit", false)] {
        variants.push(Variant::make(bench, name, split)?);
    }
    let files = files(&bench.tree)?;
    let mut random = Random::new(bench.arguments.seed);
    let count = bench.arguments.edits;
    let pause = count.div_ceil(bench.arguments.rounds).max(1);
    for at in 0..count {
        let (path, _) = &files[random.index(files.len())];
        grow(path, &mut random)?;
        for variant in &mut variants {
            let cost = variant.build(bench)?;
            let path = path.strip_prefix(&bench.tree)?.display();
            eprintln!("{}, {path}: {:.3} s, {} B", variant.name, cost.seconds, cost.sent);
            variant.edits.push(cost);
            if at % pause == 0 {
                variant.cold(bench)?;
            }
        }
    }
    let (path, length) = files.iter().max_by_key(|(_, length)| *length).ok_or("the tree has no files")?;
    grow(path, &mut random)?;
    println!(
        "\n| | layers | image | cold | one file changed | of cold | sent | of the image | at most | \
         the largest file ({:.1} MB) | sent |\n|---|---|---|---|---|---|---|---|---|---|---|",
        *length as f64 / 1e6
    );
    for variant in &mut variants {
        let largest = variant.build(bench)?;
        variant.report(&largest);
    }
    Ok(())
}

impl Variant {
    fn make(bench: &Bench, name: &'static str, split: bool) -> Result<Self> {
        let directory = bench.project(if split { "split" } else { "unsplit" }, split)?;
        let mut variant = Self { name, directory, layers: 0, size: 0, cold: Vec::new(), edits: Vec::new() };
        variant.size = variant.build(bench)?.sent;
        variant.layers = variant.blobs()?.len().saturating_sub(2);
        // The files were young when they were first read.
        variant.build(bench)?;
        Ok(variant)
    }

    fn build(&self, bench: &Bench) -> Result<Cost> {
        let before = self.blobs()?;
        let arguments = ["--cache-dir", "cache", "--output", "type=oci,dest=app.oci"];
        let seconds = bench.build(&self.directory, &arguments)?.wall;
        let new = self.blobs()?.into_iter().filter(|(blob, _)| !before.contains_key(blob));
        Ok(Cost { seconds, sent: new.map(|(_, length)| length).sum() })
    }

    fn cold(&mut self, bench: &Bench) -> Result<()> {
        let arguments = ["--no-cache", "--cache-dir", "cold", "--output", "type=oci,dest=cold.oci"];
        self.cold.push(bench.build(&self.directory, &arguments)?.wall);
        for directory in ["cold", "cold.oci"] {
            let directory = self.directory.join(directory);
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
        }
        Ok(())
    }

    fn blobs(&self) -> Result<BTreeMap<PathBuf, u64>> {
        let directory = self.directory.join("app.oci/blobs/sha256");
        if !directory.exists() {
            return Ok(BTreeMap::new());
        }
        let one = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.path(), entry.metadata()?.len()))
        };
        fs::read_dir(directory)?.map(one).collect()
    }

    fn report(&self, largest: &Cost) {
        let (size, cold) = (self.size as f64, median(self.cold.iter().copied()));
        let seconds = mean(self.edits.iter().map(|cost| cost.seconds));
        let sent = mean(self.edits.iter().map(|cost| cost.sent as f64));
        let most = self.edits.iter().map(|cost| cost.sent).max().unwrap_or_default() as f64;
        println!(
            "| {} | {} | {:.1} MB | {cold:.2} s | {seconds:.3} s | {:.2} | {:.2} MB | {:.2}% | {:.2}% | \
             {:.3} s, {:.2} | {:.2} MB, {:.2}% |",
            self.name,
            self.layers,
            size / 1e6,
            seconds / cold,
            sent / 1e6,
            sent / size * 100.0,
            most / size * 100.0,
            largest.seconds,
            largest.seconds / cold,
            largest.sent as f64 / 1e6,
            largest.sent as f64 / size * 100.0,
        );
    }
}

/// All files below a directory, and their lengths.
fn files(root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in walk(root)? {
        if let Kind::File { size, .. } = entry.kind {
            files.push((root.join(OsStr::from_bytes(&entry.path)), size));
        }
    }
    Ok(files)
}

/// Inserts 512 to 4,095 bytes in the middle of a file.
pub(crate) fn grow(path: &Path, random: &mut Random) -> Result<()> {
    let old = fs::read(path)?;
    let (middle, more) = (old.len() / 2, 512 + random.below(3584));
    let inserted: Vec<u8> = (0..more).map(|_| b' ' + random.below(95) as u8).collect();
    Ok(fs::write(path, [&old[..middle], &inserted, &old[middle..]].concat())?)
}
