//! The same inputs give the same bytes: whatever the threads, the memory, the order of
//! directories, the place of the tree, its times and inodes, and the state of the cache.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::io;
use std::path::Path;

use ocibuild_core::blob::read_whole;
use ocibuild_core::build::Built;
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::files::{DiskTree, FileTree, MemoryTree, Metadata, OpenFile};
use ocibuild_core::oci::{Compression, MediaType, Platform};
use ocibuild_core::spec::{ImageSpec, LayerSpec};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, build_image, layers, root, text};

/// Files of a tree that makes several blocks, in no order.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files =
        vec![("app/large".to_owned(), text(1, (2 << 20) + 12_345)), ("package.lock".into(), b"1".to_vec())];
    for number in 0..150_u32 {
        let length = (number as usize * 7919) % 15_000;
        files.push((format!("app/{}/{}.js", number * 37 % 11, number), text(number, length)));
    }
    files
}

fn memory() -> MemoryTree {
    let tree = MemoryTree::new().symlink("app/link", "large").directory("app/void");
    files().into_iter().fold(tree, |tree, (path, bytes)| tree.file(path, bytes))
}

fn on_disk() -> TempTree {
    let tree = TempTree::new().symlink("app/link", "large").directory("app/void");
    files().into_iter().rev().fold(tree, |tree, (path, bytes)| tree.file(path, bytes))
}

fn image() -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64())
        .layer(LayerSpec::named("app").copy("app", "/srv/app").owner(7, 8).manifests(["package.lock"]))
        .layer(LayerSpec::named("config").content("/etc/app.conf", "x = 1\n").directory("/tmp").mode(0o1777))
        .entrypoint(["/srv/app/large"])
}

fn fresh(tree: &dyn FileTree, change: impl FnOnce(&mut Setup<'_>)) -> String {
    let cache = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(cache.path());
    change(&mut setup);
    root(&build_image(tree, &image(), &setup))
}

#[test]
fn threads_and_memory_do_not_show() {
    let tree = memory();
    let one = fresh(&tree, |setup| setup.threads = 1);
    for threads in [2, 4, 16] {
        assert_eq!(fresh(&tree, |setup| setup.threads = threads), one, "{threads} threads");
    }
    for (threads, memory) in [(1, 1), (4, 1), (16, 1), (4, 5 << 20)] {
        let tight = fresh(&tree, |setup| (setup.threads, setup.memory) = (threads, memory));
        assert_eq!(tight, one, "{threads} threads and {memory} bytes");
    }
}

/// Enough text for several blocks of zstd, and a file that is cut inside.
fn much() -> MemoryTree {
    let tree = MemoryTree::new().file("app/large", text(9, (5 << 20) + 77));
    (0..80_u32).fold(tree, |tree, number| {
        tree.file(format!("app/{number:03}"), text(number, 60_000 + number as usize % 7 * 1000))
    })
}

fn much_by(compression: &str) -> ImageSpec {
    let compression = compression.parse::<Compression>().unwrap();
    let layer = LayerSpec::named("app").copy("app", "/app").compression(compression);
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
}

#[test]
fn threads_and_memory_do_not_show_in_zstd_either() {
    // Matches are looked for in another way at each of these levels.
    let tree = much();
    for compression in ["zstd:3", "zstd:6"] {
        let image = much_by(compression);
        let build = |threads, memory| {
            let cache = tempfile::tempdir().unwrap();
            let built = build_image(&tree, &image, &Setup { threads, memory, ..Setup::new(cache.path()) });
            let blob = built.layers[0].record.layers[0].descriptor.clone();
            assert_eq!(blob.media_type, MediaType::LAYER_ZSTD);
            (root(&built), blob.size)
        };
        let one = build(1, 32 << 20);
        for (threads, memory) in [(2, 32 << 20), (4, 128 << 20), (16, 32 << 20), (4, 1)] {
            assert_eq!(build(threads, memory), one, "{compression}, {threads} threads, {memory} bytes");
        }
    }
}

#[test]
fn a_layer_holds_the_same_in_any_compression() {
    let tree = much();
    let made = ["none", "gzip:1", "zstd:3"].map(|compression| {
        let cache = tempfile::tempdir().unwrap();
        let built = build_image(&tree, &much_by(compression), &Setup::new(cache.path()));
        let record = &built.layers[0].record;
        (record.layers[0].diff_id, record.inventory.clone(), record.entries, record.tar_size)
    });
    assert_eq!(made[1], made[0]);
    assert_eq!(made[2], made[0]);
}

#[test]
fn place_times_inodes_and_kind_of_a_tree_do_not_show() {
    let (one, other) = (on_disk(), on_disk());
    for (path, _) in files() {
        other.set_modified(path, 1_600_000_000);
    }
    other.set_modified("app", 1);
    let expected = fresh(&memory(), |_| {});
    for tree in [&one, &other] {
        assert_eq!(fresh(&DiskTree::open(tree.path()).unwrap(), |_| {}), expected);
    }
    // A hard link is a file like any other, and so is one that was copied.
    one.remove("app/0/0.js");
    let linked = one.file("keep", text(0, 0)).hard_link("app/0/0.js", "keep");
    assert_eq!(fresh(&DiskTree::open(linked.path()).unwrap(), |_| {}), expected);
    // Nor do permissions beyond the owner's x.
    linked.chmod("app/large", 0o604);
    linked.chmod("app/1", 0o700);
    assert_eq!(fresh(&DiskTree::open(linked.path()).unwrap(), |_| {}), expected);
    linked.chmod("app/large", 0o755);
    assert_ne!(fresh(&DiskTree::open(linked.path()).unwrap(), |_| {}), expected);
}

fn outcomes(built: &Built) -> Vec<LayerOutcome> {
    built.layers.iter().map(|layer| layer.outcome).collect()
}

#[test]
fn the_cache_does_not_show() {
    use LayerOutcome::{Built, Reused};
    let (tree, cache) = (memory(), tempfile::tempdir().unwrap());
    let setup = Setup::new(cache.path());
    let miss = build_image(&tree, &image(), &setup);
    let hit = build_image(&tree, &image(), &setup);
    let without = build_image(&tree, &image(), &Setup { use_records: false, ..Setup::new(cache.path()) });
    assert_eq!(outcomes(&miss), [Built, Built]);
    assert_eq!(outcomes(&hit), [Reused, Reused]);
    assert_eq!(outcomes(&without), [Built, Built]);
    assert_eq!([root(&hit), root(&without)], [root(&miss), root(&miss)]);
    assert_eq!(root(&miss), fresh(&tree, |setup| setup.use_records = false));
}

fn blobs(built: &Built) -> (String, String, serde_json::Value) {
    let image = &built.images[0];
    let manifest = read_whole(&built.source(), &image.root, 1 << 20).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    (root(built), manifest["config"]["digest"].to_string(), manifest["layers"].clone())
}

#[test]
fn the_date_changes_config_and_manifest_and_no_layer() {
    let (tree, cache) = (memory(), tempfile::tempdir().unwrap());
    let dated = |created| {
        let setup = Setup { created, use_records: false, ..Setup::new(cache.path()) };
        blobs(&build_image(&tree, &image(), &setup))
    };
    let (one, other) = (dated(1), dated(1_700_000_000));
    assert_eq!(one.2, other.2);
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_eq!(one.2[0]["mediaType"], MediaType::LAYER_GZIP.to_string());
}

#[test]
fn layers_do_not_depend_on_their_neighbours() {
    let (tree, cache) = (memory(), tempfile::tempdir().unwrap());
    let setup = Setup { use_records: false, ..Setup::new(cache.path()) };
    let both = layers(&build_image(&tree, &image(), &setup));
    let config =
        LayerSpec::named("renamed").directory("/tmp").mode(0o1777).content("/etc/app.conf", "x = 1\n");
    let alone = ImageSpec::scratch(Platform::linux_arm64()).layer(config);
    assert_eq!(layers(&build_image(&tree, &alone, &setup)), both[1..]);
}

/// A tree whose directories are listed in another order each time.
struct Shuffled<'a> {
    tree: &'a MemoryTree,
    seed: u64,
}

impl FileTree for Shuffled<'_> {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        self.tree.metadata(path)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        let mut children = self.tree.read_dir(path)?;
        let mut state = self.seed;
        for at in (1..children.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            children.swap(at, (state >> 33) as usize % (at + 1));
        }
        Ok(children)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.tree.read_link(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        self.tree.open(path)
    }
}

fn any_tree() -> impl Strategy<Value = MemoryTree> {
    let name = prop::sample::select(vec!["a", "a.b", "a-b", "b", "b b", "é", "zz"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let bytes = prop::collection::vec(any::<u8>(), 0..64);
    prop::collection::vec((path, bytes), 1..24).prop_map(|files| {
        let mut tree = MemoryTree::new().file("root/always", "");
        let mut taken: Vec<String> = Vec::new();
        for (path, bytes) in files {
            let clash = |other: &String| {
                path == *other
                    || path.starts_with(&format!("{other}/"))
                    || other.starts_with(&format!("{path}/"))
            };
            if !taken.iter().any(clash) {
                tree = tree.file(format!("root/{path}"), bytes);
                taken.push(path);
            }
        }
        tree
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

fn layer_of(tree: &dyn FileTree, cache: &Path, threads: usize) -> Vec<String> {
    let image = ImageSpec::scratch(Platform::linux_amd64()).layer(LayerSpec::named("app").copy("root", "/"));
    layers(&build_image(tree, &image, &Setup { threads, use_records: false, ..Setup::new(cache) }))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_shuffled_walk_gives_the_same_layer(tree in any_tree(), seed in any::<u64>(), threads in 1_usize..5) {
        let cache = tempfile::tempdir().unwrap();
        let shuffled = layer_of(&Shuffled { tree: &tree, seed }, cache.path(), threads);
        prop_assert_eq!(shuffled, layer_of(&tree, cache.path(), 1));
    }
}
