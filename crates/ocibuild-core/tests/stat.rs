//! What is known of files since they were last read: unchanged ones are neither read nor compressed,
//! and no change is missed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "all of this is test")]

mod support;

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ocibuild_core::event::LayerOutcome;
use ocibuild_core::files::{DiskTree, FileTree, Metadata, OpenFile, StatCache};
use ocibuild_core::oci::Platform;
use ocibuild_core::spec::{ImageSpec, LayerSpec, Split};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, root, try_build};

/// A tree that counts how often a file is opened.
struct Counting {
    tree: DiskTree,
    opened: AtomicUsize,
}

impl FileTree for Counting {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        self.tree.metadata(path)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        self.tree.read_dir(path)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.tree.read_link(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.tree.open(path)
    }

    fn has_our_clock(&self, device: u64) -> bool {
        self.tree.has_our_clock(device)
    }

    fn capability(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.tree.capability(path)
    }
}

/// What a build came to: the image, how its layer came, and how many files were opened.
#[derive(Debug, PartialEq)]
struct Came {
    image: String,
    outcome: LayerOutcome,
    opened: usize,
}

fn image() -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64()).layer(LayerSpec::named("app").copy("d", "/d").allow_empty())
}

fn build(tree: &TempTree, cache: &Path, use_records: bool) -> Came {
    build_image(tree, cache, &image(), use_records)
}

fn build_image(tree: &TempTree, cache: &Path, image: &ImageSpec, use_records: bool) -> Came {
    let counting = Counting { tree: DiskTree::open(tree.path()).unwrap(), opened: AtomicUsize::new(0) };
    let stat = StatCache::new(cache, counting.tree.path());
    let setup = Setup { stat: Some(&stat), use_records, ..Setup::new(cache) };
    let built = try_build(&counting, image, &setup).unwrap();
    let (image, outcome) = (root(&built), built.layers[0].outcome);
    Came { image, outcome, opened: counting.opened.into_inner() }
}

/// The image of a build that knows nothing.
fn cold(tree: &TempTree) -> String {
    let cache = tempfile::tempdir().unwrap();
    build(tree, cache.path(), false).image
}

/// Waits until what was written so far is clearly past.
fn settle() {
    std::thread::sleep(Duration::from_millis(130));
}

fn sources() -> TempTree {
    TempTree::new()
        .file("d/a", "aaaa")
        .file("d/b", "bbbb")
        .file("d/sub/c", "cccc")
        .file("d/large", vec![7; (2 << 20) + 5])
        .file("d/empty", "")
        .file_with_mode("d/run", "#!/bin/sh\n", 0o755)
        .hard_link("d/link", "d/a")
}

#[test]
fn what_is_unchanged_is_not_read() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    settle();
    let first = build(&tree, cache.path(), true);
    assert_eq!(first.outcome, LayerOutcome::Built);
    let again = build(&tree, cache.path(), true);
    assert_eq!(again, Came { image: first.image.clone(), outcome: LayerOutcome::Reused, opened: 0 });
    // A change of one is found, and only that is read before it is known that nothing answers.
    tree.write("d/b", "BBBB");
    let changed = build(&tree, cache.path(), true);
    assert_eq!((changed.image, changed.outcome), (cold(&tree), LayerOutcome::Built));
    // What was there before answers again.
    tree.write("d/b", "bbbb");
    settle();
    let back = build(&tree, cache.path(), true);
    assert_eq!(back, Came { image: first.image, outcome: LayerOutcome::Reused, opened: 1 });
}

#[test]
fn new_times_are_hashed_and_not_compressed() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    settle();
    let first = build(&tree, cache.path(), true);
    // Another checkout of the same.
    let other = sources();
    let came = build(&other, cache.path(), true);
    assert_eq!((&came.image, came.outcome), (&first.image, LayerOutcome::Reused));
    // Seven files, one of them in three chunks and with two looks across their borders, and a look at
    // what the program may do.
    assert_eq!(came.opened, 12);
}

#[test]
fn without_a_record_that_could_answer_files_are_read_once() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    let first = build(&tree, cache.path(), true);
    assert_eq!((first.outcome, first.opened), (LayerOutcome::Built, 12));
    fs::remove_dir_all(cache.path().join("blobs")).unwrap();
    settle();
    let again = build(&tree, cache.path(), true);
    assert_eq!((&again.image, again.outcome), (&first.image, LayerOutcome::Built));
}

#[test]
fn what_changes_right_after_it_was_read_is_found() {
    for round in 0..20_u8 {
        let (tree, cache) = (TempTree::new().file("d/a", [0; 4]), tempfile::tempdir().unwrap());
        build(&tree, cache.path(), true);
        overwrite(&tree.join("d/a"), &[round + 1; 4], None);
        assert_eq!(build(&tree, cache.path(), true).image, cold(&tree), "round {round}");
    }
}

#[test]
fn a_damaged_cache_is_healed_in_the_same_run() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    settle();
    let first = build(&tree, cache.path(), true);
    let directory = cache.path().join("stat/v1");
    let file = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    let mut read = 0;
    for at in (0..bytes.len()).step_by(29) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&file, &damaged).unwrap();
        let came = build(&tree, cache.path(), true);
        assert_eq!((&came.image, came.outcome), (&first.image, LayerOutcome::Reused), "byte {at}");
        assert_eq!(build(&tree, cache.path(), true).opened, 0, "byte {at}");
        read += usize::from(came.opened > 0);
    }
    // What stands in the head is needed each time.
    assert!(read > 5, "{read}");
}

#[test]
fn one_new_time_costs_one_file() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    settle();
    let first = build(&tree, cache.path(), true);
    fs::rename(tree.join("d/sub/c"), tree.join("aside")).unwrap();
    fs::rename(tree.join("aside"), tree.join("d/sub/c")).unwrap();
    settle();
    // Its ctime is new, so it is read; and the program's attributes are known.
    let came = build(&tree, cache.path(), true);
    assert_eq!(came, Came { image: first.image.clone(), outcome: LayerOutcome::Reused, opened: 1 });
    assert_eq!(build(&tree, cache.path(), true).opened, 0);
}

#[test]
fn rules_that_change_are_noticed_where_no_file_did() {
    let (tree, cache) = (sources().symlink("d/s", "a"), tempfile::tempdir().unwrap());
    settle();
    let layer = || LayerSpec::named("app").copy("d", "/d");
    let layers = [
        layer(),
        layer().mode(0o600),
        layer().dir_mode(0o700),
        layer().owner(1, 2),
        layer().exclude("sub"),
        LayerSpec::named("app").copy("d", "/e"),
        LayerSpec::named("app").copy("d/*", "/d/"),
        layer().split(Split::new(2).unwrap()),
    ];
    let images = layers.map(|layer| ImageSpec::scratch(Platform::linux_amd64()).layer(layer));
    let nothing = tempfile::tempdir().unwrap();
    let cold = images.each_ref().map(|image| build_image(&tree, nothing.path(), image, false).image);
    for round in 0..2 {
        for (number, (image, cold)) in images.iter().zip(&cold).enumerate() {
            let came = build_image(&tree, cache.path(), image, true);
            assert_eq!(came.image, *cold, "{number}, round {round}");
            assert!(round == 0 || (came.outcome, came.opened) == (LayerOutcome::Reused, 0), "{number}");
        }
    }
    // A link that leads elsewhere, of the same length.
    fs::remove_file(tree.join("d/s")).unwrap();
    std::os::unix::fs::symlink("b", tree.join("d/s")).unwrap();
    assert_ne!(build_image(&tree, cache.path(), &images[0], true).image, cold[0]);
}

#[test]
fn what_has_a_time_to_come_is_read_each_time() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    let day = Duration::from_secs(24 * 60 * 60);
    let tomorrow = SystemTime::now() + day;
    File::options().write(true).open(tree.join("d/b")).unwrap().set_modified(tomorrow).unwrap();
    settle();
    let first = build(&tree, cache.path(), true);
    for byte in *b"xyz" {
        let again = build(&tree, cache.path(), true);
        assert_eq!((again.opened, again.image), (1, cold(&tree)));
        overwrite(&tree.join("d/b"), &[byte; 4], Some(tomorrow));
        let changed = build(&tree, cache.path(), true);
        assert_eq!((&changed.image, changed.outcome), (&cold(&tree), LayerOutcome::Built));
        assert_ne!(changed.image, first.image);
    }
}

#[test]
fn times_set_back_hide_nothing() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for byte in *b"wxyz" {
        overwrite(&tree.join("d/b"), &[byte; 4], Some(long_ago));
        settle();
        assert_eq!(build(&tree, cache.path(), true).image, cold(&tree));
        assert_eq!(build(&tree, cache.path(), true).opened, 0);
    }
}

#[test]
fn what_was_learned_is_kept_where_another_layer_fails() {
    let (tree, cache) = (sources(), tempfile::tempdir().unwrap());
    settle();
    build(&tree, cache.path(), true);
    let directory = cache.path().join("stat");
    fs::remove_dir_all(&directory).unwrap();
    let disk = DiskTree::open(tree.path()).unwrap();
    let stat = StatCache::new(cache.path(), disk.path());
    let setup = Setup { stat: Some(&stat), ..Setup::new(cache.path()) };
    let broken = LayerSpec::named("broken").copy("missing", "/m");
    assert!(try_build(&disk, &image().layer(broken), &setup).is_err());
    // The layer itself may have been stopped half-way; what is there is whole.
    for file in fs::read_dir(directory.join("v1")).into_iter().flatten() {
        assert!(StatCache::is_whole(&file.unwrap().path()).unwrap());
    }
    assert_eq!(build(&tree, cache.path(), true).image, cold(&tree));
}

#[test]
fn another_file_system_is_not_believed_unless_its_clock_is_ours() {
    let disk = DiskTree::open("/proc/self").unwrap();
    let (_, found) = disk.read_dir(b"net").unwrap().pop().unwrap();
    assert!(!disk.has_our_clock(found.id.device));
    let tree = sources();
    let disk = DiskTree::open(tree.path()).unwrap();
    let (_, found) = disk.read_dir(b"d").unwrap().pop().unwrap();
    assert!(disk.has_our_clock(found.id.device));
}

/// Something that happens to a tree. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Edit {
    /// The same size in place, with the times set back or not.
    Overwrite {
        file: usize,
        byte: u8,
        set_back: bool,
    },
    Append {
        file: usize,
        byte: u8,
    },
    /// A new file under the name, of the same size and time of modification.
    Replace {
        file: usize,
        byte: u8,
    },
    /// Two names change places.
    Swap {
        one: usize,
        other: usize,
    },
    Rename {
        file: usize,
        name: u8,
    },
    /// The first name becomes one of the second's file.
    Link {
        one: usize,
        other: usize,
    },
    Chmod {
        file: usize,
        mode: u32,
    },
    Touch {
        file: usize,
        seconds: u64,
    },
    Remove {
        file: usize,
    },
    Add {
        name: u8,
        byte: u8,
    },
    Settle,
    Build,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let (file, byte) = (0..64_usize, any::<u8>());
    prop_oneof![
        3 => (file.clone(), byte, any::<bool>())
            .prop_map(|(file, byte, set_back)| Edit::Overwrite { file, byte, set_back }),
        1 => (file.clone(), byte).prop_map(|(file, byte)| Edit::Append { file, byte }),
        2 => (file.clone(), byte).prop_map(|(file, byte)| Edit::Replace { file, byte }),
        2 => (file.clone(), file.clone()).prop_map(|(one, other)| Edit::Swap { one, other }),
        1 => (file.clone(), 0..8_u8).prop_map(|(file, name)| Edit::Rename { file, name }),
        1 => (file.clone(), file.clone()).prop_map(|(one, other)| Edit::Link { one, other }),
        1 => (file.clone(), prop_oneof![Just(0o644), Just(0o755), Just(0o600)])
            .prop_map(|(file, mode)| Edit::Chmod { file, mode }),
        1 => (file.clone(), 1..4_000_000_000_u64).prop_map(|(file, seconds)| Edit::Touch { file, seconds }),
        1 => file.clone().prop_map(|file| Edit::Remove { file }),
        1 => (0..8_u8, byte).prop_map(|(name, byte)| Edit::Add { name, byte }),
        1 => Just(Edit::Settle),
        3 => Just(Edit::Build),
    ]
}

fn overwrite(path: &Path, bytes: &[u8], modified: Option<SystemTime>) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    if let Some(modified) = modified {
        file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    }
}

fn files(tree: &TempTree) -> Vec<PathBuf> {
    let entries = fs::read_dir(tree.join("d")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort_unstable();
    files
}

fn apply(edit: &Edit, tree: &TempTree, cache: &Path) {
    let files = files(tree);
    let pick = |number: usize| files.get(number % files.len().max(1)).cloned();
    let size = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let named = |name: u8| tree.join(format!("d/n{name}"));
    let aside = tree.join("aside");
    match edit {
        Edit::Overwrite { file, byte, set_back } => {
            let Some(path) = pick(*file) else { return };
            overwrite(&path, &vec![*byte; size(&path)], Some(time(&path)).filter(|_| *set_back));
        }
        Edit::Append { file, byte } => {
            let Some(path) = pick(*file) else { return };
            OpenOptions::new().append(true).open(path).unwrap().write_all(&[*byte]).unwrap();
        }
        Edit::Replace { file, byte } => {
            let Some(path) = pick(*file) else { return };
            fs::write(&aside, vec![*byte; size(&path)]).unwrap();
            let times = FileTimes::new().set_modified(time(&path));
            File::options().write(true).open(&aside).unwrap().set_times(times).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
        Edit::Swap { one, other } => {
            let (Some(one), Some(other)) = (pick(*one), pick(*other)) else { return };
            fs::rename(&one, &aside).unwrap();
            if other.exists() {
                fs::rename(&other, &one).unwrap();
            }
            fs::rename(&aside, &other).unwrap();
        }
        Edit::Rename { file, name } => {
            let Some(path) = pick(*file) else { return };
            fs::rename(path, named(*name)).unwrap();
        }
        Edit::Link { one, other } => {
            let (Some(one), Some(other)) = (pick(*one), pick(*other)) else { return };
            fs::hard_link(&other, &aside).unwrap();
            fs::rename(&aside, &one).unwrap();
            // Renaming to another name of the same file does nothing.
            let _ = fs::remove_file(&aside);
        }
        Edit::Chmod { file, mode } => {
            let Some(path) = pick(*file) else { return };
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Edit::Touch { file, seconds } => {
            let Some(path) = pick(*file) else { return };
            let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds));
            File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        }
        Edit::Remove { file } => {
            let Some(path) = pick(*file) else { return };
            fs::remove_file(path).unwrap();
        }
        Edit::Add { name, byte } => fs::write(named(*name), vec![*byte; 4]).unwrap(),
        Edit::Settle => settle(),
        Edit::Build => {
            let came = build(tree, cache, true);
            assert_eq!(came.image, cold(tree));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_is_missed(edits in prop::collection::vec(any_edit(), 1..20)) {
        let cache = tempfile::tempdir().unwrap();
        let tree = TempTree::new().file("d/a", "aaaa").file("d/b", "bbbb").file("d/c", "cccc").file("d/e", "");
        settle();
        for edit in edits.iter().chain([&Edit::Build, &Edit::Settle, &Edit::Build]) {
            apply(edit, &tree, cache.path());
        }
        // All of it settled before the last but one, so nothing is left to read: but what has a
        // time to come, of which it can't be known.
        let is_to_come = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap() > SystemTime::now();
        let to_come = files(&tree).iter().filter(|path| is_to_come(path)).count();
        let last = build(&tree, cache.path(), true);
        prop_assert_eq!(last.outcome, LayerOutcome::Reused);
        prop_assert!(last.opened <= 2 * to_come, "{} files are read, {} are to come", last.opened, to_come);
    }
}
