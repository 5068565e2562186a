//! Builds that are disturbed: files that change under them, faults in the middle, a cancel. They
//! end, say why, and leave nothing half-made.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ocibuild_core::build::BuildError;
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::event::{Cancel, Event};
use ocibuild_core::files::{FileTree, MemoryTree, Metadata, OpenFile};
use ocibuild_core::layer::LayerError;
use ocibuild_core::oci::{Compression, Platform};
use ocibuild_core::spec::{ImageSpec, LayerSpec};
use support::{Setup, layers, text, try_build, try_foresee, unfinished};

/// What happens to a file between the look at it and its reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Touched,
    Replaced,
    Grown,
    Truncated,
    Vanished,
    BecameDirectory,
    ParentVanished,
    Unreadable,
    Panic,
    DirectoryVanished,
}

/// A tree in which one thing changes, so many times.
struct Fickle {
    tree: MemoryTree,
    path: &'static [u8],
    change: Change,
    times: AtomicUsize,
}

impl Fickle {
    fn new(tree: MemoryTree, path: &'static str, change: Change, times: usize) -> Self {
        Self { tree, path: path.as_bytes(), change, times: AtomicUsize::new(times) }
    }

    fn changes(&self, path: &[u8]) -> bool {
        let less = |times: usize| times.checked_sub(1);
        path == self.path && self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl FileTree for Fickle {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        self.tree.metadata(path)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        if self.change == Change::DirectoryVanished && self.changes(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.tree.read_dir(path)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.tree.read_link(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        let file = self.tree.open(path)?;
        if self.change == Change::DirectoryVanished || !self.changes(path) {
            return Ok(file);
        }
        match self.change {
            Change::Vanished => Err(io::ErrorKind::NotFound.into()),
            Change::BecameDirectory => Err(io::ErrorKind::IsADirectory.into()),
            Change::ParentVanished => Err(io::ErrorKind::NotADirectory.into()),
            Change::Panic => panic!("this tree panics"),
            Change::Unreadable => Err(io::ErrorKind::PermissionDenied.into()),
            change => Ok(Box::new(FickleFile { file, change })),
        }
    }
}

struct FickleFile {
    file: Box<dyn OpenFile>,
    change: Change,
}

impl OpenFile for FickleFile {
    fn metadata(&self) -> io::Result<Metadata> {
        let mut metadata = self.file.metadata()?;
        match self.change {
            Change::Touched => metadata.ctime.nanoseconds += 1,
            Change::Replaced => metadata.id.inode += 1_000_000,
            Change::Grown => metadata.size += 1,
            _ => metadata.size -= 1,
        }
        Ok(metadata)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        Ok(if self.change == Change::Truncated { count - 1 } else { count })
    }
}

fn tree() -> MemoryTree {
    let tree = MemoryTree::new().file("app/large", text(1, (1 << 20) + 17)).file("app/d/small", "small");
    (0..6).fold(tree, |tree, number| tree.file(format!("app/{number}"), text(number, 100 << 10)))
}

fn image() -> ImageSpec {
    let layer = LayerSpec::named("app").copy("app", "/app").compression(Compression::None);
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
}

fn blobs(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("blobs/sha256")).map_or(0, Iterator::count)
}

#[track_caller]
fn layer_error(result: Result<ocibuild_core::Built, BuildError>) -> LayerError {
    match result {
        Err(BuildError::Layer { layer, source }) => {
            assert_eq!(layer, "app");
            *source
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was built"),
    }
}

#[test]
fn a_file_that_changes_once_or_twice_is_read_again() {
    use Change::{
        BecameDirectory, DirectoryVanished, Grown, ParentVanished, Replaced, Touched, Truncated, Vanished,
    };
    let calm = tempfile::tempdir().unwrap();
    let expected = layers(&try_build(&tree(), &image(), &Setup::new(calm.path())).unwrap());
    for change in [Touched, Replaced, Grown, Truncated, Vanished, BecameDirectory, ParentVanished] {
        for (path, times) in [("app/large", 1), ("app/d/small", 2)] {
            let cache = tempfile::tempdir().unwrap();
            let fickle = Fickle::new(tree(), path, change, times);
            let built = try_build(&fickle, &image(), &Setup { threads: 1, ..Setup::new(cache.path()) });
            assert_eq!(layers(&built.unwrap()), expected, "{change:?}");
            assert_eq!(unfinished(cache.path()), 0);
            // Nor is it foreseen otherwise.
            let fickle = Fickle::new(tree(), path, change, times);
            let seen = try_foresee(&fickle, &image(), &Setup { threads: 1, ..Setup::new(cache.path()) });
            assert!(seen.unwrap().layers[0].is_hit(), "{change:?}");
        }
    }
    let cache = tempfile::tempdir().unwrap();
    let fickle = Fickle::new(tree(), "app/d", DirectoryVanished, 2);
    assert_eq!(layers(&try_build(&fickle, &image(), &Setup::new(cache.path())).unwrap()), expected);
}

#[test]
fn a_file_that_keeps_changing_is_an_error_that_names_it() {
    use Change::{DirectoryVanished, Grown, Replaced, Touched, Truncated, Vanished};
    for change in [Touched, Replaced, Grown, Truncated, Vanished, DirectoryVanished] {
        let path = if change == DirectoryVanished { "app/d" } else { "app/large" };
        for threads in [1, 4] {
            let cache = tempfile::tempdir().unwrap();
            let fickle = Fickle::new(tree(), path, change, usize::MAX);
            let setup = Setup { threads, memory: 1, ..Setup::new(cache.path()) };
            let error = layer_error(try_build(&fickle, &image(), &setup));
            assert_eq!(error.to_string(), format!("`{path}` keeps changing while it is read"), "{change:?}");
            assert_eq!((unfinished(cache.path()), blobs(cache.path())), (0, 0), "{change:?}");
        }
    }
}

#[test]
fn what_can_t_be_read_is_an_error_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let fickle = Fickle::new(tree(), "app/3", Change::Unreadable, 1);
    let error = layer_error(try_build(&fickle, &image(), &Setup::new(cache.path())));
    assert_eq!(error.to_string(), "cannot read `app/3`");
    assert_eq!((unfinished(cache.path()), blobs(cache.path())), (0, 0));
}

#[test]
fn a_cancelled_build_stops_and_leaves_nothing_behind() {
    // Every layer has more blocks than there are threads to finish theirs.
    let (tree, image) = many();
    for (threads, memory) in [(1, 32 << 20), (4, 32 << 20), (4, 1)] {
        let (cache, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        let progress = AtomicUsize::new(0);
        let observer = |event: &Event| {
            if let Event::LayerProgress { .. } = event {
                progress.fetch_add(1, Ordering::SeqCst);
                cancel.cancel();
            }
        };
        let setup = Setup {
            threads,
            memory,
            observer: &observer,
            cancel: cancel.clone(),
            ..Setup::new(cache.path())
        };
        let result = try_build(&tree, &image, &setup);
        assert!(matches!(result, Err(BuildError::Cancelled(_))));
        assert!((1..=threads).contains(&progress.load(Ordering::SeqCst)));
        assert_eq!((unfinished(cache.path()), blobs(cache.path())), (0, 0));
    }
    let (cache, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    cancel.cancel();
    let result = try_build(&tree, &image, &Setup { cancel, ..Setup::new(cache.path()) });
    assert!(matches!(result, Err(BuildError::Cancelled(_))));
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

/// Fails a test that hangs instead of hanging with it.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(120)).expect("it ends in time")
}

/// Several layers of many blocks each, which share one budget.
fn many() -> (MemoryTree, ImageSpec) {
    let mut image = ImageSpec::scratch(Platform::linux_amd64());
    let mut tree = MemoryTree::new();
    for layer in 0..3 {
        let name = format!("l{layer}");
        tree = tree.file(format!("{name}/a"), "a").file(format!("{name}/large"), vec![layer; (3 << 20) + 1]);
        tree = tree.file(format!("{name}/z"), "z");
        let rule = LayerSpec::named(&name).copy(&name, format!("/{name}")).compression(Compression::None);
        image = image.layer(rule);
    }
    (tree, image)
}

#[test]
fn layers_share_the_smallest_budget_without_a_deadlock() {
    in_time(|| {
        let (tree, image) = many();
        let mut seen: Vec<Vec<String>> = Vec::new();
        for (threads, memory) in [(8, 1), (3, 1), (8, 3 << 20)] {
            let cache = tempfile::tempdir().unwrap();
            let setup = Setup { threads, memory, ..Setup::new(cache.path()) };
            seen.push(layers(&try_build(&tree, &image, &setup).unwrap()));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    });
}

#[test]
fn a_fault_in_one_block_ends_the_build_in_any_budget() {
    for path in ["l0/a", "l1/large", "l2/z"] {
        for (threads, memory) in [(1, 1), (8, 1), (16, 2 << 20)] {
            in_time(move || {
                let (tree, image) = many();
                let cache = tempfile::tempdir().unwrap();
                let fickle = Fickle::new(tree, path, Change::Unreadable, usize::MAX);
                let setup = Setup { threads, memory, ..Setup::new(cache.path()) };
                let error = try_build(&fickle, &image, &setup).err().unwrap();
                assert!(matches!(error, BuildError::Layer { .. }), "{error}");
                assert_eq!(unfinished(cache.path()), 0);
            });
        }
    }
}

#[test]
fn a_panic_of_a_tree_comes_through_instead_of_a_hang() {
    for (threads, memory) in [(1, 1), (8, 1), (4, 3 << 20)] {
        let panicked = in_time(move || {
            let (tree, image) = many();
            let cache = tempfile::tempdir().unwrap();
            let fickle = Fickle::new(tree, "l1/large", Change::Panic, 1);
            let setup = Setup { threads, memory, ..Setup::new(cache.path()) };
            let build = || try_build(&fickle, &image, &setup).map(|_| ());
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build));
            (result.is_err(), unfinished(cache.path()))
        });
        assert_eq!(panicked, (true, 0));
    }
}

#[test]
fn a_store_that_can_t_be_written_to_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let setup = Setup { use_records: false, ..Setup::new(file.path()) };
    let error = layer_error(try_build(&tree(), &image(), &setup));
    assert!(matches!(error, LayerError::Blob(_)), "{error}");
}

/// A tree that is another one each time that a file of it was opened.
struct Turning {
    trees: Vec<MemoryTree>,
    opened: &'static str,
    turns: AtomicUsize,
}

impl Turning {
    fn new(trees: Vec<MemoryTree>, opened: &'static str) -> Self {
        Self { trees, opened, turns: AtomicUsize::new(0) }
    }

    fn now(&self) -> &MemoryTree {
        &self.trees[self.turns.load(Ordering::SeqCst).min(self.trees.len() - 1)]
    }
}

impl FileTree for Turning {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        self.now().metadata(path)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        self.now().read_dir(path)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.now().read_link(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        let file = self.now().open(path)?;
        if path == self.opened.as_bytes() {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        Ok(file)
    }
}

fn locked() -> ImageSpec {
    let layer = LayerSpec::named("app").copy("app", "/app").manifests(["lock"]).ignore_file(Some("ignore"));
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
}

/// What vouches for an application, without it: nothing but a record makes a layer of that.
fn vouching(lock: &str, ignore: &str) -> MemoryTree {
    MemoryTree::new().file("lock", lock).file("ignore", ignore)
}

fn installed(lock: &str, ignore: &str) -> MemoryTree {
    vouching(lock, ignore).file("app/a", "a").file("app/z.tmp", "z")
}

#[test]
fn what_vouches_for_a_layer_and_changes_meanwhile_does_not_answer_for_it() {
    let (first, second) = (("1", ""), ("2", ""));
    let other = ("1", "*.tmp");
    for (was, is) in [(first, second), (first, other), (other, second)] {
        for verifies in [false, true] {
            let cache = tempfile::tempdir().unwrap();
            let setup = Setup { threads: 1, verifies, ..Setup::new(cache.path()) };
            let turning = Turning::new(vec![installed(was.0, was.1), installed(is.0, is.1)], "app/a");
            let made = try_build(&turning, &locked(), &setup).unwrap();
            let calm = tempfile::tempdir().unwrap();
            let expected = try_build(&installed(is.0, is.1), &locked(), &Setup::new(calm.path())).unwrap();
            assert_eq!(support::root(&made), support::root(&expected));
            let setup = Setup::new(cache.path());
            let error = layer_error(try_build(&vouching(was.0, was.1), &locked(), &setup));
            assert!(matches!(error, LayerError::Missing { .. }), "{error}");
            let reused = try_build(&vouching(is.0, is.1), &locked(), &setup).unwrap();
            assert_eq!(reused.layers[0].outcome, LayerOutcome::Reused);
            assert_eq!(support::root(&reused), support::root(&expected));
        }
    }
}

#[test]
fn what_vouches_for_a_layer_and_keeps_changing_is_an_error_that_names_it() {
    for path in ["lock", "ignore"] {
        let tree = |number: u32| match (path, number.to_string()) {
            ("lock", number) => installed(&number, ""),
            (_, number) => installed("1", &number),
        };
        let (cache, trees) = (tempfile::tempdir().unwrap(), (0..10).map(tree).collect());
        let error =
            layer_error(try_build(&Turning::new(trees, "app/a"), &locked(), &Setup::new(cache.path())));
        assert_eq!(error.to_string(), format!("`{path}` keeps changing while it is read"));
        assert!(!cache.path().join("records").exists(), "nothing is recorded");
    }
}
