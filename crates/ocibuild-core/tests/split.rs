//! A layer in several blobs holds what it holds in one, and a change re-makes those that it is in.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Mutex;

use ocibuild_core::BuildError;
use ocibuild_core::blob::{Source, read_whole};
use ocibuild_core::build::Built;
use ocibuild_core::digest::Digest;
use ocibuild_core::event::{Event, LayerOutcome};
use ocibuild_core::files::{DiskTree, FileTree, MemoryTree};
use ocibuild_core::image::ImageError;
use ocibuild_core::oci::{Compression, ImageConfig, Platform};
use ocibuild_core::plan;
use ocibuild_core::spec::{ImageSpec, LayerSpec, Preserve, Split};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, build_image, layers, planned, root, text, try_build};

const MIB: usize = 1 << 20;

fn image(layer: LayerSpec) -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
}

fn modules() -> LayerSpec {
    LayerSpec::named("modules").copy("node_modules", "/app/node_modules")
}

/// What the blobs of the only layer hold: a set of lines for each, by path.
fn held(built: &Built) -> Vec<BTreeMap<Vec<u8>, String>> {
    let blobs = built.layers[0].record.layers.iter().map(|layer| &layer.descriptor);
    let one = |descriptor| {
        let blob = read_whole(&built.source() as &dyn Source, descriptor, 1 << 30).unwrap();
        let mut bytes = Vec::new();
        match blob.starts_with(&[0x1f, 0x8b]) {
            true => flate2::bufread::GzDecoder::new(&blob[..]).read_to_end(&mut bytes).map(drop).unwrap(),
            false => bytes = blob,
        }
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut held = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let (header, target) = (entry.header(), entry.link_name_bytes());
            let line = format!(
                "{:?} {:o} {}:{} {} {:?} {}",
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                target.map(|target| target.escape_ascii().to_string()),
                Digest::of(&content),
            );
            let known = held.insert(entry.path_bytes().into_owned(), line);
            assert!(known.is_none(), "a part has {} twice", entry.path_bytes().escape_ascii());
        }
        held
    };
    blobs.map(one).collect()
}

/// Makes sure that parts are a whole layer divided.
#[track_caller]
fn assert_divided(parts: &Built, whole: &Built) {
    let (parts, whole) = (held(parts), held(whole));
    let [whole] = &whole[..] else { panic!("the whole has {} blobs", whole.len()) };
    let mut joined: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for part in &parts {
        assert!(
            parts.len() == 1 || part.values().any(|line| !line.starts_with("Directory")) || has_leaf(part)
        );
        for (path, line) in part {
            if let Some(known) = joined.insert(path.clone(), line.clone()) {
                assert_eq!(known, *line);
                assert!(line.starts_with("Directory"), "{} is in two parts", path.escape_ascii());
            }
            let parent = path.trim_suffix_slash();
            if let Some(slash) = parent.iter().rposition(|byte| *byte == b'/') {
                let parent = &parent[..=slash];
                assert!(part.contains_key(parent), "{} has no parent in its part", path.escape_ascii());
            }
        }
    }
    assert_eq!(joined, *whole);
}

trait TrimSuffix {
    fn trim_suffix_slash(&self) -> &[u8];
}

impl TrimSuffix for Vec<u8> {
    fn trim_suffix_slash(&self) -> &[u8] {
        self.strip_suffix(b"/").unwrap_or(self)
    }
}

/// Whether a part has a directory that nothing of it lies in.
fn has_leaf(part: &BTreeMap<Vec<u8>, String>) -> bool {
    part.keys().any(|path| !part.keys().any(|other| other != path && other.starts_with(path)))
}

/// A tree of packages with several files each.
fn packages(count: u32) -> MemoryTree {
    (0..count).fold(MemoryTree::new(), |tree, number| {
        let name = match number % 3 {
            0 => format!("@scope/p{number}"),
            _ => format!("p{number}"),
        };
        (0..4).fold(tree, |tree, file| {
            let path = format!("node_modules/{name}/lib/{file}.js");
            tree.file(path, text(number * 10 + file, 500 + number as usize * 13))
        })
    })
}

/// Builds with the records in a directory, and tells which blobs were reused.
fn with_outcomes(tree: &dyn FileTree, image: &ImageSpec, cache: &std::path::Path) -> (Built, Vec<bool>) {
    let outcomes = Mutex::new(Vec::new());
    let observer = |event: &Event| {
        if let Event::LayerFinished { outcome, .. } = event {
            outcomes.lock().unwrap().push(*outcome == LayerOutcome::Reused);
        }
    };
    let built = build_image(tree, image, &Setup { observer: &observer, ..Setup::new(cache) });
    (built, outcomes.into_inner().unwrap())
}

/// What was built, with the directory that it is read from.
struct Fresh {
    built: Built,
    _cache: tempfile::TempDir,
}

impl std::ops::Deref for Fresh {
    type Target = Built;

    fn deref(&self) -> &Built {
        &self.built
    }
}

fn fresh(tree: &dyn FileTree, image: &ImageSpec) -> Fresh {
    let cache = tempfile::tempdir().unwrap();
    Fresh { built: build_image(tree, image, &Setup::new(cache.path())), _cache: cache }
}

#[test]
fn a_change_makes_one_part_anew_and_a_cache_does_not_show() {
    let image = image(modules().split(Split::Into(16)));
    let cache = tempfile::tempdir().unwrap();
    let (before, reused) = with_outcomes(&packages(60), &image, cache.path());
    assert_eq!(reused, vec![false; before.layers[0].record.layers.len()]);
    assert!(reused.len() > 10, "{} parts", reused.len());
    let changed = packages(60).file("node_modules/p7/lib/2.js", text(1, 9999));
    let (after, reused) = with_outcomes(&changed, &image, cache.path());
    assert_eq!(reused.iter().filter(|reused| !**reused).count(), 1, "{reused:?}");
    let (before, again): (BTreeSet<_>, BTreeSet<_>) =
        (layers(&before).into_iter().collect(), layers(&after).into_iter().collect());
    assert_eq!(again.difference(&before).count(), 1);
    assert_eq!(root(&after), root(&fresh(&changed, &image)));
    // A new package, one that goes, and a new name for a version move nobody else.
    let more = packages(61);
    let (_, reused) = with_outcomes(&more, &image, cache.path());
    assert_eq!(reused.iter().filter(|reused| !**reused).count(), 1, "{reused:?}");
    let (_, reused) = with_outcomes(&packages(60), &image, cache.path());
    assert!(reused.iter().all(|reused| *reused), "all was there once: {reused:?}");
}

#[test]
fn a_damaged_part_is_made_again() {
    let image = image(modules().split(Split::Into(4)));
    let cache = tempfile::tempdir().unwrap();
    let (built, _) = with_outcomes(&packages(20), &image, cache.path());
    let part = built.layers[0].record.layers[1].descriptor.digest;
    std::fs::remove_file(built.store().path(&part)).unwrap();
    let expected = root(&built);
    drop(built);
    let (again, reused) = with_outcomes(&packages(20), &image, cache.path());
    assert_eq!((reused, root(&again)), (vec![true, false, true, true], expected));
}

#[test]
fn threads_and_memory_do_not_show() {
    let image = image(modules().split(Split::Into(8)));
    let tree = packages(40).file("node_modules/large.bin", text(3, 9 * MIB));
    let expected = root(&fresh(&tree, &image));
    for (threads, memory) in [(1, 1), (4, 1), (4, 32 << 20)] {
        let cache = tempfile::tempdir().unwrap();
        for state in ["empty", "full"] {
            let setup = Setup { threads, memory, ..Setup::new(cache.path()) };
            let built = root(&build_image(&tree, &image, &setup));
            assert_eq!(built, expected, "{threads} threads, {memory} bytes, {state} cache");
        }
    }
}

#[test]
fn large_files_stand_alone_and_parts_follow_the_size() {
    let layer = || modules().compression(Compression::None);
    let mut tree = packages(10).file("node_modules/a/large.bin", text(1, 9 * MIB));
    for number in 0..24 {
        tree = tree.file(format!("node_modules/m{number}/index.js"), text(number, MIB));
    }
    let image_of = |split| image(layer().split(split));
    let (parts, whole) = (fresh(&tree, &image_of(Split::Auto)), fresh(&tree, &image(layer())));
    assert_divided(&parts, &whole);
    let sizes: Vec<u64> = parts.layers[0].record.layers.iter().map(|layer| layer.descriptor.size).collect();
    assert!((4..10).contains(&sizes.len()), "{sizes:?}");
    let holds = held(&parts);
    assert!(holds[0].contains_key(b"app/node_modules/a/large.bin".as_slice()));
    assert_eq!(holds[0].values().filter(|line| line.starts_with("Regular")).count(), 1);
    // Growing by a hundredth moves only what grows.
    let more = tree.file("node_modules/grown/index.js", text(99, MIB / 3));
    let after: BTreeSet<String> = layers(&fresh(&more, &image_of(Split::Auto))).into_iter().collect();
    let gone = layers(&parts).iter().filter(|layer| !after.contains(*layer)).count();
    assert!(gone <= 1, "{gone} of {}", sizes.len());
    // What is small is one blob, the same as without a split.
    let small = packages(5);
    assert_eq!(layers(&fresh(&small, &image_of(Split::Auto))), layers(&fresh(&small, &image(layer()))));
}

#[test]
fn names_of_one_file_stay_together() {
    let mut disk = TempTree::new();
    for number in 0..30 {
        disk = disk.file(format!("node_modules/p{number}/a"), format!("{number}"));
        disk = disk.hard_link(format!("node_modules/q{number}/b"), format!("node_modules/p{number}/a"));
    }
    let tree = DiskTree::open(disk.path()).unwrap();
    let layer = || modules().preserve(Preserve::ALL).compression(Compression::None);
    let (parts, whole) = (fresh(&tree, &image(layer().split(Split::Into(8)))), fresh(&tree, &image(layer())));
    assert_divided(&parts, &whole);
    let linked =
        held(&parts).iter().flat_map(|part| part.values()).filter(|line| line.starts_with("Link")).count();
    assert_eq!(linked, 30);
}

#[test]
fn the_way_to_split_is_part_of_the_key_and_of_nothing_else() {
    let cache = tempfile::tempdir().unwrap();
    let tree = packages(30).file("lock", "1");
    let build = |split: Option<Split>| {
        let layer = modules().manifests(["lock"]);
        let layer = split.map_or(layer.clone(), |split| layer.split(split));
        with_outcomes(&tree, &image(layer), cache.path()).0
    };
    let counts: Vec<usize> = [None, Some(Split::Into(4)), Some(Split::Into(8)), Some(Split::Auto)]
        .map(|split| build(split).layers[0].record.layers.len())
        .to_vec();
    assert_eq!(counts, [1, 4, 8, 1]);
    let inventories =
        [None, Some(Split::Into(4))].map(|split| build(split).layers[0].record.inventory.clone());
    assert_eq!(inventories[0], inventories[1]);
    assert_eq!(build(Some(Split::Into(4))).layers[0].outcome, LayerOutcome::Reused);
}

#[test]
fn layers_of_one_image_share_what_they_may_be_split_into() {
    let split = |layers: &[&str]| {
        let layer = |name: &&str| LayerSpec::named(*name).content("/x", "x").split(Split::Auto);
        let image =
            layers.iter().map(layer).fold(ImageSpec::scratch(Platform::linux_amd64()), ImageSpec::layer);
        planned(&image.into_spec().unwrap(), "test").layers[0].split
    };
    assert_eq!(split(&["a"]), plan::Split::Auto { most: 64 });
    assert_eq!(split(&["a", "b"]), plan::Split::Auto { most: 32 });
    assert_eq!(split(&["a", "b", "c"]), plan::Split::Auto { most: 16 });
}

#[test]
fn more_parts_than_an_image_should_have_are_an_error() {
    let cache = tempfile::tempdir().unwrap();
    let tree = (0..600_u32).fold(MemoryTree::new(), |tree, number| tree.file(format!("m/{number}"), "x"));
    let layer = |name: &str| LayerSpec::named(name).copy("m", format!("/{name}")).split(Split::Into(64));
    let image = image(layer("one")).layer(layer("other"));
    let result = try_build(&tree, &image, &Setup::new(cache.path()));
    let Err(BuildError::Image { source, .. }) = result.map(drop) else { panic!("it was built") };
    let expected = "the image would have 128 layers, 0 of them its base's and 128 parts of `one`, `other`: \
                    100 are the limit where layers are split";
    assert_eq!(source.to_string(), expected);
    assert!(matches!(source, ImageError::TooManyParts { .. }));
}

#[test]
fn the_history_tells_parts_apart() {
    let built = fresh(&packages(20), &image(modules().split(Split::Into(3))));
    let manifest = read_whole(&built.source() as &dyn Source, &built.images[0].root, 1 << 20).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = serde_json::from_value(manifest["config"].clone()).unwrap();
    let config = read_whole(&built.source() as &dyn Source, &config, 1 << 20).unwrap();
    let config: ImageConfig = serde_json::from_slice(&config).unwrap();
    let told: Vec<String> = config.history.into_iter().filter_map(|entry| entry.created_by).collect();
    assert_eq!(told, [1, 2, 3].map(|number| format!("ocibuild layer modules ({number}/3)")));
}

/// Paths with packages of many kinds, links and empty directories, and their sizes.
fn any_tree() -> impl Strategy<Value = Vec<(String, usize)>> {
    let name = "[a-c]{1,2}|@s|node_modules|\\.pnpm|x@1\\.2|site-packages|d-1\\.0\\.dist-info|vendor|github\\.com|e-2\\.jar";
    let path = prop::collection::vec(name, 1..6).prop_map(|names| names.join("/"));
    prop::collection::vec((path, 0_usize..3000), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_tree_is_divided(paths in any_tree(), parts in 2_u8..20) {
        let mut tree = MemoryTree::new();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for (path, size) in paths {
            let is_above = taken.iter().any(|known| known.starts_with(&format!("{path}/")));
            let is_below = taken.iter().any(|known| path.starts_with(&format!("{known}/")));
            if is_above || is_below || !taken.insert(path.clone()) {
                continue;
            }
            tree = match size % 10 {
                0 => tree.directory(format!("t/{path}")),
                1 => tree.symlink(format!("t/{path}"), "x"),
                _ => tree.file(format!("t/{path}"), text(size as u32, size)),
            };
        }
        let layer = || LayerSpec::named("t").copy("t", "/").owner(1, 2).compression(Compression::None);
        let (divided, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let split = image(layer().split(Split::Into(parts)));
        let divided = build_image(&tree, &split, &Setup::new(divided.path()));
        assert_divided(&divided, &build_image(&tree, &image(layer()), &Setup::new(whole.path())));
    }
}
