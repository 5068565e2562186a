//! Bits that flip, and files that get shorter or longer, in whatever the cache has: never another image,
//! and what a run has a use for is right again when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use ocibuild_serve::{Fault, ServeOptions, Server};
use ocibuild_testkit::{require, run, tool};
use serde_json::Value;

use crate::bench::Bench;
use crate::project::{self, Random, SPEC, cache, copied, files, is_thorough, project};

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Bit(u64),
    Empty,
    Half,
    Longer,
}

impl Damage {
    /// Some of them, drawn by a number: of the first file of a kind a bit, of the second a length, where not
    /// every file is tried.
    fn some(seed: u64) -> Vec<Self> {
        let mut random = Random::new(seed);
        let mut bit = || Self::Bit(random.below(1 << 40));
        let length = |number: u64| [Self::Empty, Self::Half, Self::Longer][number as usize % 3];
        match (is_thorough(), seed % 2) {
            (true, _) => vec![bit(), bit(), length(seed)],
            (false, 0) => vec![bit()],
            (false, _) => vec![length(seed / 2)],
        }
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

/// As many files of a kind are damaged where not all are: their form is the same.
const SOME: u64 = 2;

/// Damages each file that a run leaves, and has that done again; then the image is the same, and nothing in
/// the cache is damaged where `heals` says so. `cargo test` tries some files of each kind, `cargo xtask test`
/// all.
fn damage_each(label: &str, bench: &Bench, act: &dyn Fn(&Bench) -> String, heals: &dyn Fn(&str) -> bool) {
    let expected = act(bench);
    assert_eq!(act(bench), expected, "{label}");
    damage_each_before(label, bench, (act, &expected), heals);
}

/// The same of the files that are there before.
fn damage_each_before(
    label: &str,
    bench: &Bench,
    (act, expected): (&dyn Fn(&Bench) -> String, &str),
    heals: &dyn Fn(&str) -> bool,
) {
    let start = Instant::now();
    let saved = bench.tree.join("saved");
    copied(&cache(bench), &saved);
    let inventories = inventories(bench);
    let mut tried: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for path in files(&cache(bench)) {
        let name: PathBuf = path.strip_prefix(cache(bench)).unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let kind = kind(&name, &inventories);
        let counted = seen.entry(kind).or_default();
        let number = *counted;
        *counted += 1;
        if number >= SOME && !is_thorough() {
            continue;
        }
        for damage in Damage::some(number) {
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
            if !is_healed {
                // Without what was damaged.
                assert_eq!(act(bench), expected, "{what}");
                bench.ok(&["cache", "verify"]);
            }
        }
    }
    copied(&saved, &cache(bench));
    println!("{label}: the same image each time, {:.0?}", start.elapsed());
    for (kind, (tries, healed)) in tried {
        println!("  {kind}: damaged {tries} times, healed {healed}");
    }
}

/// A build into a new layout: all blobs of layers move.
fn to_files(bench: &Bench) -> String {
    if bench.path("out").exists() {
        bench.tree.remove("work/out");
    }
    let digest = bench.digest(&["--output", "type=oci,dest=out"]);
    bench.valid("out");
    digest
}

#[test]
fn a_build_into_files_is_right_and_heals() {
    let bench = project::bench(&SPEC.replace("manifests = [\"lock\"]\n", ""));
    crate::project::write(&bench, 1);
    // A part of a layer that answers as a whole has a record and an inventory that nobody reads.
    damage_each("layers by content", &bench, &to_files, &|kind| ["blob", "last build"].contains(&kind));
}

#[test]
fn a_layer_with_a_lockfile_is_right_and_heals() {
    let bench = project(1);
    // Who has the lockfile's record needs neither the files' nor the inventory.
    damage_each("layers by content and lockfile", &bench, &to_files, &|kind| {
        ["blob", "last build"].contains(&kind)
    });
}

/// Whoever reads a fifo waits for ever.
#[test]
fn what_is_no_file_is_not_read_and_is_replaced() {
    let timeout = require!(tool("timeout"));
    let mkfifo = require!(tool("mkfifo"));
    let (bench, digest) = (project::large(), project::expected_large());
    for path in files(&cache(&bench)) {
        fs::remove_file(&path).unwrap();
        run(Command::new(&mkfifo).arg(path));
    }
    let command = bench.command(&["build", "--output", "type=oci,dest=out"]);
    let mut bounded = Command::new(timeout);
    bounded
        .args(["--signal=KILL", "60"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(bench.path(""));
    bounded.env("OCIBUILD_CACHE_DIR", cache(&bench));
    assert_eq!(run(&mut bounded).text(), digest);
    bench.valid("out");
    let said = project::builds(&bench, &digest).errors();
    assert!(said.contains("cache: 2 of 2 layers"), "{said}");
}

#[test]
fn blocks_of_the_last_layer_are_right_and_heal() {
    let bench = project::large();
    let digest = project::expected_large();
    let act: &dyn Fn(&Bench) -> String = &to_files;
    // Of the build before, its layer's blob and inventory are of no use any more; blocks of the blob that
    // are damaged are passed over, and the blob is found by who wants it whole.
    let heals = |kind: &str| ["block index", "last build"].contains(&kind);
    damage_each_before("blocks of the last layer", &bench, (act, &digest), &heals);
    if is_thorough() {
        // Nothing changed, and all of it is wanted.
        let bench = project::bench(project::LARGE);
        project::write_large(&bench, 2);
        damage_each("a large layer", &bench, &to_files, &|kind| ["blob", "last build"].contains(&kind));
    }
}

/// What a layer was is explained by the layer itself where the list of it is damaged.
#[test]
fn what_is_damaged_is_explained_all_the_same() {
    let bench = project(1);
    let out = ["build", "--output", "type=oci,dest=out"];
    bench.ok(&out);
    crate::project::write(&bench, 2);
    let explain = || bench.ok(&["explain", "--format", "json"]).json();
    let (explained, saved) = (explain(), bench.tree.join("saved"));
    assert!(explained.to_string().contains("modules/m3/index.js"), "{explained:#}");
    copied(&cache(&bench), &saved);
    for hex in inventories(&bench) {
        let path = cache(&bench).join("blobs/sha256").join(hex);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, Damage::Bit(8 * 40).of(bytes)).unwrap();
    }
    assert_eq!(explain(), explained);
    bench.ok(&["ls", "out"]);
    bench.ok(&out);
    // The last builds themselves: what isn't known isn't told wrong.
    copied(&saved, &cache(&bench));
    for path in files(&cache(&bench).join("layers")) {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, Damage::Bit(8 * 150).of(bytes)).unwrap();
    }
    let unknown = explain();
    let layers = unknown["layers"].as_array().unwrap();
    assert!(
        layers.iter().all(|layer| layer["known"] == false && layer["changes"] == Value::Array(Vec::new()))
    );
    let found = bench.run(&["cache", "verify", "--format", "json"]).expect_code(6).json();
    assert!(found["damages"].as_array().unwrap().iter().all(|damage| damage["kind"] == "last-build"));
    bench.ok(&out);
    bench.ok(&["cache", "verify"]);
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
    let bench = project::bench(COMPARED);
    crate::project::write(&bench, 1);
    damage_each("layers that are compared", &bench, &to_files, &|kind| {
        ["blob", "inventory", "last build"].contains(&kind)
    });
}

/// A base in a registry, and a push to it, by which a note is kept.
#[test]
fn what_is_known_of_bases_and_registries_heals() {
    let directory = ocibuild_testkit::in_memory();
    let mut options = ServeOptions::default();
    options.faults = Some(Arc::new(|_: &_| vec![Fault::BodyLimit(200 << 10)]));
    let server = Server::start(directory.path().join("registry.oci"), options).unwrap();
    let name = |path: &str| format!("{}/{path}", server.address());
    let base = project::bench(crate::bench::SPEC);
    base.write("hello", Random::new(5).bytes(600 << 10));
    let line = base.digest(&["-t", &name("base:1"), "--push"]);
    let spec = SPEC.replace("layers = [\"modules\"", &format!("base = \"{line}\"\nlayers = [\"modules\""));
    let bench = project::bench(&spec);
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
    damage_each("a base and a push", &bench, &push, &|kind| ["blob", "note", "last build"].contains(&kind));
}
