//! Bits that flip, and files that get shorter or longer, in whatever the cache has: never another image,
//! and what a run has a use for is right again when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ocibuild_serve::{Fault, ServeOptions, Server};

use crate::bench::Bench;
use crate::project::{Random, SPEC, cache, copied, files, is_thorough, project};

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Bit(u64),
    Empty,
    Half,
    Longer,
}

impl Damage {
    /// Some of them, drawn by a seed.
    fn some(seed: u64) -> Vec<Self> {
        let mut random = Random::new(seed);
        let lengths = [Self::Empty, Self::Half, Self::Longer];
        if !is_thorough() {
            return vec![Self::Bit(random.below(1 << 40)), lengths[seed as usize % 3]];
        }
        let bits = (0..6).map(|_| Self::Bit(random.below(1 << 40)));
        bits.chain(lengths).collect()
    }

    fn of(self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Bit(_) if bytes.is_empty() => return b"x".to_vec(),
            Self::Bit(number) => {
                let at = number as usize % (8 * bytes.len());
                bytes[at / 8] ^= 1 << (at % 8);
            }
            Self::Empty => bytes.clear(),
            Self::Half => bytes.truncate(bytes.len() / 2),
            Self::Longer => bytes.push(b'\n'),
        }
        bytes
    }
}

/// What a file of the cache is, by its directory.
fn kind(name: &Path, inventories: &BTreeSet<String>) -> &'static str {
    let name = name.to_str().unwrap();
    match name.split('/').next().unwrap() {
        "blobs" if inventories.iter().any(|hex| name.ends_with(hex.as_str())) => "inventory",
        "blobs" => "blob",
        "records" => "record",
        "stat" => "stat cache",
        "blocks" => "block index",
        "layers" => "last build",
        "registries" => "note",
        "lock" => "lock",
        other => panic!("what is {other}?"),
    }
}

/// The inventories that records name, without their algorithm.
fn inventories(bench: &Bench) -> BTreeSet<String> {
    let listed = bench.ok(&["cache", "ls", "--format", "json"]).json();
    let records = listed["records"].as_array().unwrap();
    let named = records.iter().filter_map(|record| record["inventory"]["digest"].as_str());
    named.map(|digest| digest["sha256:".len()..].to_owned()).collect()
}

/// Damages each file in each way, and has something done; then the image is the same, and nothing in the
/// cache is damaged where `heals` says so.
fn damage_each(label: &str, bench: &Bench, act: &dyn Fn(&Bench) -> String, heals: &dyn Fn(&str) -> bool) {
    let start = Instant::now();
    let expected = act(bench);
    assert_eq!(act(bench), expected, "{label}");
    let saved = bench.tree.join("saved");
    copied(&cache(bench), &saved);
    let inventories = inventories(bench);
    let mut tried: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (number, path) in files(&cache(bench)).into_iter().enumerate() {
        let name: PathBuf = path.strip_prefix(cache(bench)).unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let kind = kind(&name, &inventories);
        for damage in Damage::some(number as u64) {
            copied(&saved, &cache(bench));
            fs::write(&path, damage.of(bytes.clone())).unwrap();
            let what = format!("{label}: {} {damage:?}", name.display());
            assert_eq!(act(bench), expected, "{what}");
            // What the run had no use for is found by who looks.
            let found = bench.ok(&["cache", "verify", "--remove", "--format", "json"]).json();
            let is_healed = found["damages"].as_array().unwrap().is_empty();
            assert!(is_healed || !heals(kind), "{what}: it stays damaged: {found:#}");
            let (tries, healed) = tried.entry(kind).or_default();
            *tries += 1;
            *healed += u64::from(is_healed);
            assert_eq!(act(bench), expected, "{what}");
            bench.ok(&["cache", "verify"]);
        }
    }
    copied(&saved, &cache(bench));
    println!("{label}: the same image each time, {:.0?}", start.elapsed());
    for (kind, (tries, healed)) in tried {
        println!("  {kind}: damaged {tries} times, healed {healed}");
    }
}

/// A build into a new layout and a new archive: all blobs of layers move.
fn to_files(bench: &Bench) -> String {
    for name in ["out", "out.tar"] {
        if bench.path(name).exists() {
            bench.tree.remove(format!("work/{name}"));
        }
    }
    let digest =
        bench.digest(&["--output", "type=oci,dest=out", "--output", "type=oci-archive,dest=out.tar"]);
    bench.valid("out");
    bench.valid("oci-archive:out.tar");
    digest
}

#[test]
fn a_build_into_files_is_right_and_heals() {
    let bench = Bench::with_spec(&SPEC.replace("manifests = [\"lock\"]\n", ""));
    crate::project::write(&bench, 1);
    // A part of a layer that answers as a whole has a record and an inventory that nobody reads.
    damage_each("layers by content", &bench, &to_files, &|kind| kind == "blob");
}

#[test]
fn a_layer_with_a_lockfile_is_right_and_heals() {
    let bench = project(1);
    // Who has the lockfile's record needs neither the files' nor the inventory.
    damage_each("layers by content and lockfile", &bench, &to_files, &|kind| kind == "blob");
}

/// Two layers that may disagree on a directory: their inventories are read.
const COMPARED: &str = r#"version = 1
name = "compared"

[layers.modules]
manifests = ["lock"]
copy = [{ from = "modules", to = "/app", owner = "7:7", dir-mode = "0750" }]

[layers.app]
manifests = ["lock"]
copy = [{ from = "src", to = "/app/own", owner = "7:7" }, { directory = "/app", mode = "0750", owner = "7:7" }]

[images.app]
layers = ["modules", "app"]
entrypoint = ["/app/own/main"]
"#;

#[test]
fn inventories_that_are_read_heal() {
    let bench = Bench::with_spec(COMPARED);
    crate::project::write(&bench, 1);
    damage_each("layers that are compared", &bench, &to_files, &|kind| ["blob", "inventory"].contains(&kind));
}

/// A base in a registry, and a push to it, by which a note is kept.
#[test]
fn what_is_known_of_bases_and_registries_heals() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = ServeOptions::default();
    options.faults = Some(Arc::new(|_: &_| vec![Fault::BodyLimit(200 << 10)]));
    let server = Server::start(directory.path().join("registry.oci"), options).unwrap();
    let name = |path: &str| format!("{}/{path}", server.address());
    let base = Bench::with_spec(crate::bench::SPEC);
    base.write("hello", Random::new(5).bytes(600 << 10));
    let line = base.digest(&["-t", &name("base:1"), "--push"]);
    let spec = SPEC.replace("layers = [\"modules\"", &format!("base = \"{line}\"\nlayers = [\"modules\""));
    let bench = Bench::with_spec(&spec);
    // More than goes in one request, which is worth a note.
    bench.write("src/large", Random::new(6).bytes(500 << 10));
    crate::project::write(&bench, 1);
    let count = std::cell::Cell::new(0);
    let push = |bench: &Bench| {
        count.set(count.get() + 1);
        let repository = name(&format!("pushed/{}:1", count.get()));
        let line = bench.digest(&["-t", &repository, "--push", "--output", "type=oci,dest=out"]);
        bench.valid(&repository);
        bench.valid("out");
        bench.tree.remove("work/out");
        line.split_once('@').unwrap().1.to_owned()
    };
    damage_each("a base and a push", &bench, &push, &|kind| ["blob", "note"].contains(&kind));
}
