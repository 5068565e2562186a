//! Projects to build: a split layer and one with a lockfile; and a layer so large that blocks of it are
//! taken again.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use ocibuild_testkit::{Output, TempTree};
use serde_json::Value;

use crate::bench::Bench;

/// Layers that are found by what they hold, one of them in parts, and one that is found by its lockfile.
pub(crate) const SPEC: &str = r#"version = 1
name = "project"

[layers.modules]
split = 2
copy = [{ from = "modules", to = "/app/modules" }]

[layers.app]
manifests = ["lock"]
copy = [{ from = "src", to = "/app/src" }]

[images.app]
layers = ["modules", "app"]
entrypoint = ["/app/src/main"]
"#;

/// A layer of which it is kept what its blocks were made of, and a small one.
pub(crate) const LARGE: &str = r#"version = 1
name = "large"

[layers.large]
copy = [{ from = "large", to = "/app/large" }]

[layers.app]
copy = [{ from = "src", to = "/app/src" }]

[images.app]
layers = ["large", "app"]
entrypoint = ["/app/src/main"]
"#;

/// Two steps in a row, and a layer of what they make.
pub(crate) const STEPS: &str = r#"version = 1
name = "steps"

[steps.compile]
run = "mkdir dist; cat src/* > dist/all; ln dist/all dist/same"
inputs = ["src"]
outputs = ["dist"]
cache-dirs = ["~/.tool", "kept"]

[steps.bundle]
needs = ["compile"]
run = "wc -c < dist/all > bundle"
outputs = ["bundle"]

[layers.dist]
copy = [{ step = "compile", from = "dist", to = "/app/dist" }]

[layers.bundle]
copy = [{ step = "bundle", from = "bundle", to = "/app/" }]

[images.app]
layers = ["dist", "bundle"]
"#;

/// Numbers that look random, the same for a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    /// Bytes that don't repeat.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..length.div_ceil(4)).flat_map(|_| (self.below(1 << 32) as u32).to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

/// A working directory with a spec. Programs are run there so often that a disk would take most of the time.
pub(crate) fn bench(spec: &str) -> Bench {
    let bench = Bench::at(TempTree::in_memory());
    bench.write("ocibuild.toml", spec);
    bench
}

/// The files of the project, of the first version or the second: it has other bytes in one file of each
/// layer.
pub(crate) fn write(bench: &Bench, version: u64) {
    for number in 0..6 {
        let seed = if number == 3 { 100 + version } else { number };
        bench.write(&format!("modules/m{number}/index.js"), Random::new(seed).bytes(3000));
    }
    bench.write("src/main", format!("version {version}"));
    bench.write("src/other", Random::new(7).bytes(5000));
    bench.write("lock", format!("{{\"version\": {version}}}"));
    // Files that changed just now would not be noted by the cache.
    thread::sleep(Duration::from_millis(150));
}

/// The files of the project with a large layer; versions differ in one file in the midst of it, by length
/// as well.
pub(crate) fn write_large(bench: &Bench, version: u64) {
    for number in 0..16 {
        let (seed, length) =
            if number == 6 { (version + 100, 300_000 + version as usize) } else { (number, 330_000) };
        bench.write(&format!("large/{number:02}"), Random::new(seed).bytes(length));
    }
    bench.write("src/main", "main");
    thread::sleep(Duration::from_millis(150));
}

/// A working directory with a large layer built in its first version, into the layout `out`, and its files
/// of the second.
pub(crate) fn large() -> Bench {
    let bench = bench(LARGE);
    write_large(&bench, 1);
    bench.digest(&["--output", "type=oci,dest=out"]);
    write_large(&bench, 2);
    bench
}

/// What a build of the second version comes to that knows nothing of the first.
pub(crate) fn expected_large() -> String {
    let bench = bench(LARGE);
    write_large(&bench, 2);
    let digest = bench.digest(&["--output", "type=oci,dest=out", "--no-cache"]);
    bench.valid("out");
    digest
}

/// A working directory with a project of steps in it, built in its first version, and the files of the
/// second.
pub(crate) fn steps() -> Bench {
    let bench = bench(STEPS);
    write(&bench, 1);
    bench.digest(&["--output", "type=oci,dest=out"]);
    write(&bench, 2);
    bench
}

/// What a build of its second version comes to that knows nothing of the first.
pub(crate) fn expected_steps() -> String {
    expected_of(STEPS)
}

/// What a build of a spec comes to with the second version of the files, and nothing in a cache.
pub(crate) fn expected_of(spec: &str) -> String {
    let bench = bench(spec);
    write(&bench, 2);
    let digest = bench.digest(&["--output", "type=oci,dest=out", "--no-cache"]);
    bench.valid("out");
    digest
}

/// A working directory with the project in it, and an empty cache.
pub(crate) fn project(version: u64) -> Bench {
    let bench = bench(SPEC);
    write(&bench, version);
    bench
}

/// What a build of that version comes to.
pub(crate) fn expected(version: u64) -> String {
    let bench = project(version);
    let digest = bench.digest(&["--output", "type=oci,dest=out", "--no-cache"]);
    bench.valid("out");
    digest
}

pub(crate) fn cache(bench: &Bench) -> PathBuf {
    bench.tree.join("cache")
}

/// All files below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// Puts a copy of a directory where another may be, with the times of its files.
pub(crate) fn copied(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let Ok(entries) = from.read_dir() else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copied(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            set_time(&to, from.metadata().unwrap().modified().unwrap());
        }
    }
}

pub(crate) fn set_time(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Demands that a cache is whole, and that tidying up leaves nothing there that is of no use.
pub(crate) fn is_whole_and_tidy(bench: &Bench) {
    bench.ok(&["cache", "verify"]);
    let temporary = cache(bench).join("tmp");
    // Those of a minute ago are nobody's where there is no build.
    let aged = |path: &Path| set_time(path, SystemTime::now() - Duration::from_secs(90));
    files(&temporary).iter().for_each(|path| aged(path));
    for directory in unfinished(bench) {
        aged(&directory);
        if directory.join("lock").exists() {
            aged(&directory.join("lock"));
        }
    }
    bench.ok(&["cache", "prune"]);
    assert_eq!((files(&temporary), unfinished(bench)), (Vec::new(), Vec::new()));
    let listed = bench.ok(&["cache", "ls", "--format", "json"]).json();
    assert_eq!(listed["totals"]["unnamed_blobs"]["count"], 0, "{listed:#}");
    assert_eq!(listed["strays"], Value::Array(Vec::new()));
}

/// Directories of what steps made, and of their own, that aren't whole yet, or not any more.
fn unfinished(bench: &Bench) -> Vec<PathBuf> {
    let places = ["outputs/v1", "steps/v1", "steps/v1/shared"].map(|name| cache(bench).join(name).read_dir());
    let paths = places.into_iter().flatten().flatten().map(|entry| entry.unwrap().path());
    let is_temporary = |path: &PathBuf| path.file_name().unwrap().as_encoded_bytes().starts_with(b".tmp");
    paths.filter(is_temporary).collect()
}

/// Builds into the layout `out`, and demands that it is the image, and whole.
#[track_caller]
pub(crate) fn builds(bench: &Bench, expected: &str) -> Output {
    let output = bench.ok(&["build", "--output", "type=oci,dest=out"]);
    assert_eq!(output.text(), expected, "{output}");
    bench.valid("out");
    output
}

/// Whether everything is to be tried, whatever time it takes.
pub(crate) fn is_thorough() -> bool {
    std::env::var_os(ocibuild_testkit::ALL).is_some_and(|value| value == "1")
}
