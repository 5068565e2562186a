//! What didn't change of a large layer is taken from its last blob, and the result is the same, byte
//! for byte.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ocibuild_core::Builder;
use ocibuild_core::blob::Store;
use ocibuild_core::cache::Record;
use ocibuild_core::event::{Event, LayerOutcome};
use ocibuild_core::files::{DiskTree, StatCache};
use ocibuild_core::layer::Budget;
use ocibuild_core::oci::Platform;
use ocibuild_core::spec::{ImageSpec, LayerSpec};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, root, text, try_build};

/// What a build came to.
#[derive(Debug)]
struct Came {
    image: String,
    record: Record,
    outcome: LayerOutcome,
    /// The tar bytes of all blocks that were made or taken, and of those that were taken.
    all: u64,
    taken: u64,
}

impl Came {
    /// All that must be as without the last layer.
    fn result(&self) -> (&str, &Record) {
        (&self.image, &self.record)
    }
}

fn image(compression: &str) -> ImageSpec {
    let layer = LayerSpec::named("app").copy("d", "/d").compression(compression.parse().unwrap());
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer.allow_empty())
}

fn build(tree: &TempTree, cache: &Path, compression: &str, threads: usize) -> Came {
    let counted = Mutex::new((0, 0));
    let observer = |event: &Event| match event {
        Event::LayerProgress { bytes, .. } => counted.lock().unwrap().0 += bytes,
        Event::LayerTaken { bytes, .. } => counted.lock().unwrap().1 += bytes,
        _ => {}
    };
    let disk = DiskTree::open(tree.path()).unwrap();
    let stat = StatCache::new(cache, disk.path());
    // Little memory, so that blocks wait for each other.
    let memory = Budget::DEFAULT / 2;
    let setup = Setup { stat: Some(&stat), threads, observer: &observer, memory, ..Setup::new(cache) };
    let built = try_build(&disk, &image(compression), &setup).unwrap();
    let (image, layer) = (root(&built), &built.layers[0]);
    let (record, outcome) = (layer.record.clone(), layer.outcome);
    let (all, taken) = counted.into_inner().unwrap();
    Came { image, record, outcome, all, taken }
}

fn cold(tree: &TempTree, compression: &str) -> Came {
    let cache = tempfile::tempdir().unwrap();
    build(tree, cache.path(), compression, 2)
}

/// Waits until what was written so far is clearly past.
fn settle() {
    std::thread::sleep(Duration::from_millis(130));
}

/// Some megabytes in small files, and three large ones.
fn sources() -> TempTree {
    let mut tree = TempTree::new();
    for number in 0..240_u32 {
        let path = format!("d/{}/{number:03}.js", number % 7);
        tree = tree.file(&path, text(number, 9_000 + (number as usize * 7919) % 40_000));
    }
    tree.file("d/3/large.node", text(1001, (3 << 20) + 77))
        .file("d/6/large.node", text(1002, 2 << 20))
        .file("d/6/zlast", text(1003, (5 << 20) + 1))
        .file_with_mode("d/5/run", "#!/bin/sh\n", 0o755)
        .symlink("d/4/link", "../5/run")
        .file("d/4/empty", "")
}

const CODECS: [&str; 3] = ["gzip:3", "zstd:3", "none"];

#[test]
fn what_is_the_same_is_taken_from_the_last_blob() {
    for compression in CODECS {
        for threads in [1, 4] {
            let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
            settle();
            let first = build(&tree, cache.path(), compression, threads);
            assert_eq!((first.outcome, first.taken), (LayerOutcome::Built, 0));
            for (number, path) in ["d/0/000.js", "d/3/101.js", "d/6/zlast"].into_iter().enumerate() {
                tree.write(path, text(9000 + number as u32, 30_000 + number));
                let came = build(&tree, cache.path(), compression, threads);
                let cold = cold(&tree, compression);
                assert_eq!(came.result(), cold.result(), "{path} by {compression}");
                assert_eq!((came.outcome, came.all), (LayerOutcome::Built, cold.all));
                assert!(came.taken * 2 > came.all, "{path}: {} of {}", came.taken, came.all);
            }
        }
    }
}

#[test]
fn small_layers_are_made_as_ever() {
    let tree = TempTree::new().file("d/a", text(1, 1 << 20)).file("d/b", text(2, 2 << 20));
    let cache = tempfile::tempdir().unwrap();
    build(&tree, cache.path(), "gzip:3", 1);
    tree.write("d/a", "a");
    assert_eq!(build(&tree, cache.path(), "gzip:3", 1).taken, 0);
    assert!(!cache.path().join("blocks").exists());
}

#[test]
fn another_compression_takes_nothing() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    build(&tree, cache.path(), "gzip:3", 1);
    tree.write("d/0/000.js", "changed");
    let came = build(&tree, cache.path(), "gzip:4", 1);
    assert_eq!((came.result(), came.taken), (cold(&tree, "gzip:4").result(), 0));
}

/// As many bits of the last blob are flipped, one at a time, and of what is known of its blocks; and every
/// so manieth of what else is done to it.
#[expect(clippy::disallowed_methods, reason = "it decides how much is tested")]
fn count_of_bits() -> (usize, usize) {
    if std::env::var_os(ocibuild_testkit::ALL).is_some_and(|value| value == "1") { (40, 1) } else { (2, 3) }
}

/// A number that looks random.
fn blake3_number(of: usize) -> usize {
    let digest = blake3::hash(&of.to_le_bytes());
    usize::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap()) >> 1
}

/// The only file in a directory, but for those that are smaller.
fn largest(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn damage_is_healed_in_the_same_run() {
    for compression in CODECS {
        let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
        settle();
        build(&tree, cache.path(), compression, 2);
        let blob = largest(&cache.path().join("blobs/sha256"));
        let index = largest(&cache.path().join("blocks/v1"));
        let (whole, rows) = (fs::read(&blob).unwrap(), fs::read(&index).unwrap());
        tree.write("d/3/101.js", text(7, 50_000));
        let expected = cold(&tree, compression);
        let build = || build(&tree, cache.path(), compression, 2);
        // The new layer is dropped each time, or its record would answer.
        let again = || {
            fs::remove_dir_all(cache.path().join("records")).unwrap();
            fs::remove_dir_all(cache.path().join("blobs")).unwrap();
            fs::create_dir_all(blob.parent().unwrap()).unwrap();
        };
        let records = copy_of(&cache.path().join("records"));
        let blobs = copy_of(&cache.path().join("blobs"));
        let restore = || {
            again();
            records.restore();
            blobs.restore();
        };
        let most = build().taken;
        assert!(most > 0);
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let (count, step) = count_of_bits();
        let bits = |bytes: &[u8]| -> Vec<usize> {
            let all = bytes.len() * 8;
            let drawn = (0..count).map(|number| blake3_number(number) % all);
            drawn.chain([0, all - 1]).collect()
        };
        let (mut taken, mut fewer) = (0, 0);
        for bit in bits(&whole) {
            restore();
            fs::write(&blob, flipped(&whole, bit)).unwrap();
            let came = build();
            assert_eq!(came.result(), expected.result(), "{compression}, bit {bit} of the blob");
            assert!(came.taken > 0 && came.taken <= most);
            (taken, fewer) = (taken + 1, fewer + u32::from(came.taken < most));
        }
        assert!(fewer > 0, "of {taken} bits none is of a block that would be taken");
        // Cut off; longer; gone; and what it was made of damaged or gone.
        for length in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 1].into_iter().step_by(step) {
            restore();
            fs::write(&blob, &whole[..length]).unwrap();
            assert_eq!(build().result(), expected.result(), "{compression}, cut at {length}");
        }
        restore();
        fs::write(&blob, [&whole[..], b"\n"].concat()).unwrap();
        assert_eq!(build().result(), expected.result());
        restore();
        fs::remove_file(&blob).unwrap();
        assert_eq!(build().result(), expected.result());
        let of_rows = bits(&rows).into_iter().map(|bit| (bit, flipped(&rows, bit)));
        let cuts = [0, 1, 64, rows.len() / 2, rows.len() - 1].map(|length| (length, rows[..length].to_vec()));
        for (at, damaged) in of_rows.chain(cuts).step_by(step) {
            restore();
            fs::write(&index, damaged).unwrap();
            let came = build();
            assert_eq!((came.result(), came.taken), (expected.result(), 0), "{at} of the index");
            assert!(!index.exists(), "what is of no use is dropped");
        }
        restore();
        fs::remove_dir_all(cache.path().join("blocks")).unwrap();
        assert_eq!(build().result(), expected.result());
    }
}

/// A directory's files, to be put back.
struct Copied(Vec<(PathBuf, Vec<u8>)>);

fn copy_of(directory: &Path) -> Copied {
    let mut files = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => files.push((path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    Copied(files)
}

impl Copied {
    fn restore(&self) {
        for (path, bytes) in &self.0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Something that happens to a tree. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Edit {
    Overwrite { file: usize, seed: u32, length: usize },
    Append { file: usize, count: usize },
    Shrink { file: usize, part: usize },
    Flip { file: usize, at: usize },
    Rename { file: usize, name: u32 },
    Add { name: u32, length: usize },
    Remove { file: usize },
    Chmod { file: usize, mode: u32 },
    Link { name: u32 },
    Settle,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let file = 0..1000_usize;
    let length = prop_oneof![4 => 0..60_000_usize, 1 => (1_usize << 20) - 2..(3 << 20)];
    prop_oneof![
        3 => (file.clone(), any::<u32>(), length.clone())
            .prop_map(|(file, seed, length)| Edit::Overwrite { file, seed, length }),
        2 => (file.clone(), 1..5000_usize).prop_map(|(file, count)| Edit::Append { file, count }),
        2 => (file.clone(), 0..8_usize).prop_map(|(file, part)| Edit::Shrink { file, part }),
        2 => (file.clone(), any::<u16>()).prop_map(|(file, at)| Edit::Flip { file, at: at.into() }),
        1 => (file.clone(), 0..9_u32).prop_map(|(file, name)| Edit::Rename { file, name }),
        1 => (0..9_u32, length).prop_map(|(name, length)| Edit::Add { name, length }),
        1 => file.clone().prop_map(|file| Edit::Remove { file }),
        1 => (file, prop_oneof![Just(0o644), Just(0o755)])
            .prop_map(|(file, mode)| Edit::Chmod { file, mode }),
        1 => (0..9_u32).prop_map(|name| Edit::Link { name }),
        1 => Just(Edit::Settle),
    ]
}

/// The regular files, the large ones ten times as often.
fn files(tree: &TempTree) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..7 {
        let Ok(entries) = fs::read_dir(tree.join(format!("d/{number}"))) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let metadata = path.symlink_metadata().unwrap();
            let times = if metadata.len() > 1 << 20 { 10 } else { 1 };
            files.extend((0..times).filter(|_| metadata.is_file()).map(|_| path.clone()));
        }
    }
    files.sort_unstable();
    files
}

fn apply(edit: &Edit, tree: &TempTree) {
    let files = files(tree);
    let pick = |number: usize| files[number % files.len()].clone();
    let named = |name: u32| tree.join(format!("d/{}/n{name}", name % 7));
    match edit {
        Edit::Overwrite { file, seed, length } => fs::write(pick(*file), text(*seed, *length)).unwrap(),
        Edit::Append { file, count } => {
            let mut bytes = fs::read(pick(*file)).unwrap();
            bytes.extend(text(*count as u32, *count));
            fs::write(pick(*file), bytes).unwrap();
        }
        Edit::Shrink { file, part } => {
            let bytes = fs::read(pick(*file)).unwrap();
            fs::write(pick(*file), &bytes[..bytes.len() * part / 8]).unwrap();
        }
        Edit::Flip { file, at } => {
            let mut bytes = fs::read(pick(*file)).unwrap();
            let at = bytes.len() * at / (1 << 16);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
            fs::write(pick(*file), bytes).unwrap();
        }
        Edit::Rename { file, name } => fs::rename(pick(*file), named(*name)).unwrap(),
        Edit::Add { name, length } => {
            let _ = fs::remove_file(named(*name));
            fs::write(named(*name), text(*name + 500, *length)).unwrap();
        }
        Edit::Remove { file } => fs::remove_file(pick(*file)).unwrap(),
        Edit::Chmod { file, mode } => {
            fs::set_permissions(pick(*file), fs::Permissions::from_mode(*mode)).unwrap();
        }
        Edit::Link { name } => {
            let _ = fs::remove_file(named(*name));
            std::os::unix::fs::symlink("somewhere", named(*name)).unwrap();
        }
        Edit::Settle => settle(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_gives_what_a_cold_build_gives(
        rounds in prop::collection::vec(prop::collection::vec(any_edit(), 1..4), 1..5),
        codec in 0..CODECS.len(),
        threads in prop_oneof![Just(1_usize), Just(4)],
    ) {
        let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
        settle();
        build(&tree, cache.path(), CODECS[codec], threads);
        for edits in &rounds {
            edits.iter().for_each(|edit| apply(edit, &tree));
            let came = build(&tree, cache.path(), CODECS[codec], threads);
            let cold = cold(&tree, CODECS[codec]);
            prop_assert_eq!(came.result(), cold.result());
            // All edits together reach some blocks only, or nothing changed.
            prop_assert!(came.taken > 0 || came.outcome == LayerOutcome::Reused);
        }
    }
}

#[test]
fn a_cache_that_is_only_read_gives_its_blocks_and_keeps_none() {
    let (tree, cache, scratch) = (TempTree::new(), TempTree::new(), TempTree::new());
    for number in 0..8 {
        tree.write(format!("d/{number}"), text(number, 1 << 20));
    }
    let taken = Mutex::new(0);
    let observer = |event: &Event| {
        if let Event::LayerTaken { bytes, .. } = event {
            *taken.lock().unwrap() += bytes;
        }
    };
    let built = |builder: Builder<'_>| {
        let built = builder.name("test").observer(&observer).build(&image("gzip")).unwrap();
        (root(&built), std::mem::take(&mut *taken.lock().unwrap()))
    };
    built(Builder::new(tree.path(), cache.path()));
    tree.write("d/7", text(70, 1 << 20));
    let expected = built(Builder::new(tree.path(), scratch.join("other"))).0;
    let over = |place: &str| Store::over(scratch.join(place), cache.path());
    let read_only = |place| built(Builder::new(tree.path(), cache.path()).cache_read_only(over(place)));
    let (image, bytes) = read_only("one");
    assert!(image == expected && bytes >= 4 << 20, "{bytes}");
    assert!(!scratch.join("one/blocks").exists(), "nobody would read it");
    // A damaged index stays where nothing is written.
    let indexes: Vec<PathBuf> =
        fs::read_dir(cache.join("blocks/v1")).unwrap().map(|index| index.unwrap().path()).collect();
    assert_eq!(indexes.len(), 1);
    fs::write(&indexes[0], "damaged").unwrap();
    assert_eq!(read_only("two"), (expected, 0));
    assert_eq!(fs::read(&indexes[0]).unwrap(), b"damaged");
}
