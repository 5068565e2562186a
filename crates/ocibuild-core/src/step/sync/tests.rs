use std::collections::BTreeMap as Map;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;
use crate::files::{DiskTree, FileTree, MemoryTree};
use crate::step::Private;

/// What should be somewhere: a directory, a link, a file with its mode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Directory,
    Symlink(Vec<u8>),
    File(Vec<u8>, u32),
}

type Nodes = Map<Vec<u8>, Node>;

fn file(content: &str) -> Node {
    Node::File(content.as_bytes().to_vec(), 0o644)
}

fn nodes<const N: usize>(all: [(&str, Node); N]) -> Nodes {
    all.into_iter().map(|(path, node)| (path.as_bytes().to_vec(), node)).collect()
}

/// A tree with the files of all that is wanted, by the same paths.
fn tree(nodes: &Nodes) -> MemoryTree {
    nodes.iter().fold(MemoryTree::new(), |tree, (path, node)| match node {
        Node::File(content, _) => tree.file(path, content.clone()),
        _ => tree,
    })
}

fn wanted<'a>(nodes: &Nodes, tree: &'a dyn FileTree) -> Vec<Wanted<'a>> {
    let what = |path: &Vec<u8>, node: &Node| match node {
        Node::Directory => WantedKind::Directory,
        Node::Symlink(target) => WantedKind::Symlink(target.clone()),
        Node::File(content, mode) => WantedKind::File {
            tree,
            source: path.clone(),
            seen: tree.metadata(path).unwrap(),
            digest: *blake3::hash(content).as_bytes(),
            mode: *mode,
            capability: None,
        },
    };
    nodes.iter().map(|(path, node)| Wanted { path: path.clone(), what: what(path, node) }).collect()
}

struct Room {
    /// Removed when it is dropped.
    _directory: tempfile::TempDir,
    private: Private,
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let private = Private::open(&directory.path().join("step"), &Cancel::new(), &|| {}).unwrap();
        Self { _directory: directory, private }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.private.work().join(path)
    }

    fn outside(&self) -> PathBuf {
        self._directory.path().join("outside")
    }

    fn try_sync(&mut self, nodes: &Nodes, kept: &[&str]) -> Result<Synced, StepError> {
        let tree = tree(nodes);
        let kept: Vec<&[u8]> = kept.iter().map(|path| path.as_bytes()).collect();
        self.private.sync(&wanted(nodes, &tree), &kept, &Cancel::new())
    }

    fn sync(&mut self, nodes: &Nodes, kept: &[&str]) -> Synced {
        self.try_sync(nodes, kept).unwrap()
    }

    /// What is there, without directories that are only parents.
    fn read(&self) -> Nodes {
        let mut found = Nodes::new();
        read_below(&self.private.work(), b"", &mut found);
        found
    }
}

fn read_below(directory: &Path, prefix: &[u8], found: &mut Nodes) {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = [prefix, entry.file_name().as_bytes()].concat();
        let metadata = entry.path().symlink_metadata().unwrap();
        let node = if metadata.is_dir() {
            assert_eq!(metadata.mode() & 0o7777, 0o755);
            read_below(&entry.path(), &[&path[..], b"/"].concat(), found);
            Node::Directory
        } else if metadata.is_symlink() {
            Node::Symlink(fs::read_link(entry.path()).unwrap().into_os_string().into_vec())
        } else {
            assert!(metadata.is_file() && metadata.nlink() == 1, "{}", entry.path().display());
            Node::File(fs::read(entry.path()).unwrap(), metadata.mode() & 0o7777)
        };
        found.insert(path, node);
    }
}

/// What is wanted, with all parents.
fn whole(nodes: &Nodes) -> Nodes {
    let mut all = nodes.clone();
    for path in nodes.keys() {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            all.insert(path[..at].to_vec(), Node::Directory);
        }
    }
    all
}

#[test]
fn what_is_right_is_not_touched_and_the_rest_is() {
    let mut room = Room::new();
    let mut nodes = nodes([
        ("src/main.js", file("main")),
        ("src/util.js", file("util")),
        ("src/link", Node::Symlink(b"main.js".to_vec())),
        ("empty", Node::Directory),
        ("run.sh", Node::File(b"#!".to_vec(), 0o4755)),
    ]);
    let first = room.sync(&nodes, &[]);
    assert_eq!((first.written, first.bytes, first.removed, first.kept), (6, 10, 0, 0));
    assert_eq!(room.read(), whole(&nodes));
    let before = ["src/main.js", "src/link", "run.sh", "src", "empty"]
        .map(|path| (path, room.at(path).symlink_metadata().unwrap()));
    let state = room.private.path().join("state").metadata().unwrap();
    let again = room.sync(&nodes, &[]);
    assert_eq!((again.written, again.removed, again.kept), (0, 0, 6));
    assert_eq!(room.private.path().join("state").metadata().unwrap().ino(), state.ino());
    nodes.insert(b"src/util.js".to_vec(), file("other"));
    let changed = room.sync(&nodes, &[]);
    assert_eq!((changed.written, changed.bytes, changed.removed, changed.kept), (1, 5, 1, 5));
    assert_eq!(room.read(), whole(&nodes));
    for (path, was) in before.into_iter().filter(|(path, _)| *path != "src") {
        let is = room.at(path).symlink_metadata().unwrap();
        assert_eq!(
            (is.ino(), is.mtime_nsec(), is.ctime_nsec()),
            (was.ino(), was.mtime_nsec(), was.ctime_nsec())
        );
    }
}

#[test]
fn what_a_command_did_to_its_inputs_is_undone() {
    let nodes = nodes([("a/one", file("one")), ("a/two", file("two")), ("b/three", file("three"))]);
    let mut room = Room::new();
    room.sync(&nodes, &[]);
    type Tampering = fn(&Room);
    let tamperings: [Tampering; 13] = [
        |room| fs::write(room.at("a/one"), "eno").unwrap(),
        |room| {
            let was = room.at("a/one").metadata().unwrap();
            fs::write(room.at("a/one"), "eno").unwrap();
            let file = fs::File::options().write(true).open(room.at("a/one")).unwrap();
            file.set_modified(was.modified().unwrap()).unwrap();
        },
        |room| fs::remove_file(room.at("a/one")).unwrap(),
        |room| fs::set_permissions(room.at("a/one"), fs::Permissions::from_mode(0o600)).unwrap(),
        |room| fs::rename(room.at("a/one"), room.at("a/two")).unwrap(),
        |room| fs::hard_link(room.at("a/one"), room.at("a/name")).unwrap(),
        |room| {
            fs::rename(room.at("a"), room.at("c")).unwrap();
            symlink("c", room.at("a")).unwrap();
        },
        |room| {
            fs::create_dir_all(room.outside()).unwrap();
            fs::write(room.outside().join("one"), "kept").unwrap();
            fs::remove_dir_all(room.at("a")).unwrap();
            symlink(room.outside(), room.at("a")).unwrap();
        },
        |room| {
            fs::remove_file(room.at("a/one")).unwrap();
            fs::create_dir_all(room.at("a/one/d")).unwrap();
            fs::set_permissions(room.at("a/one"), fs::Permissions::from_mode(0o000)).unwrap();
        },
        |room| {
            fs::remove_file(room.at("a/one")).unwrap();
            symlink("two", room.at("a/one")).unwrap();
        },
        |room| {
            fs::remove_file(room.at("a/one")).unwrap();
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, room.at("a/one"), fifo, Mode::RUSR, 0).unwrap();
        },
        |room| fs::set_permissions(room.at("a"), fs::Permissions::from_mode(0o000)).unwrap(),
        |room| {
            use std::os::unix::ffi::OsStrExt as _;
            fs::write(room.at("a").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
            fs::create_dir_all(room.at("new/node_modules/x")).unwrap();
        },
    ];
    for (at, tampering) in tamperings.iter().enumerate() {
        tampering(&room);
        let synced = room.sync(&nodes, &[]);
        assert_eq!(room.read(), whole(&nodes), "tampering {at}");
        assert!(synced.kept >= 2, "tampering {at}: {synced:?}");
    }
    assert_eq!(fs::read_dir(room.outside()).unwrap().count(), 1);
    assert_eq!(fs::read(room.outside().join("one")).unwrap(), b"kept");
}

#[test]
fn an_edit_in_the_tick_of_the_copy_is_found() {
    let mut room = Room::new();
    for round in 0..10 {
        let nodes = nodes([("file", file(&format!("round {round}")))]);
        room.sync(&nodes, &[]);
        fs::write(room.at("file"), "edited!").unwrap();
        room.sync(&nodes, &[]);
        assert_eq!(room.read(), nodes);
    }
}

#[test]
fn what_is_not_sure_by_its_times_is_read() {
    let mut room = Room::new();
    let nodes = nodes([("one", file("one")), ("two", file("two"))]);
    room.sync(&nodes, &[]);
    // The state as it is where a clock doesn't move on.
    let path = room.private.path().join("state");
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..32].fill(0);
    let end = bytes.len() - 32;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
    fs::write(&path, bytes).unwrap();
    let inode = room.at("one").metadata().unwrap().ino();
    let synced = room.sync(&nodes, &[]);
    assert_eq!((synced.written, synced.kept), (0, 2));
    assert_eq!(room.at("one").metadata().unwrap().ino(), inode);
}

#[test]
fn without_a_state_everything_is_written_again() {
    let mut room = Room::new();
    let nodes = nodes([("d/one", file("one")), ("two", file("two"))]);
    room.sync(&nodes, &[]);
    let path = room.private.path().join("state");
    fs::write(&path, "damaged").unwrap();
    fs::write(room.at("two"), "edited").unwrap();
    let synced = room.sync(&nodes, &[]);
    assert_eq!((synced.written, synced.removed, synced.kept), (2, 2, 1));
    assert_eq!(room.read(), whole(&nodes));
}

#[test]
fn directories_that_are_kept_stay_as_they_are() {
    let mut room = Room::new();
    let nodes = nodes([("src/a", file("a")), ("target", Node::Directory)]);
    let kept = ["target", "src/.cache/deep", "target/inner"];
    room.sync(&nodes, &kept);
    assert!(room.at("src/.cache/deep").is_dir());
    fs::write(room.at("target/object"), "o").unwrap();
    fs::write(room.at("src/.cache/other"), "o").unwrap();
    fs::set_permissions(room.at("target"), fs::Permissions::from_mode(0o700)).unwrap();
    room.sync(&nodes, &kept);
    assert!(room.at("target/object").exists() && !room.at("src/.cache/other").exists());
    // Not what only has its name.
    fs::remove_dir_all(room.at("target")).unwrap();
    symlink("src", room.at("target")).unwrap();
    room.sync(&nodes, &kept);
    assert!(room.at("target").symlink_metadata().unwrap().is_dir());
    room.sync(&nodes, &[]);
    assert_eq!(room.read(), whole(&nodes));
}

#[test]
fn two_things_at_one_place_are_told() {
    let mut room = Room::new();
    let overlaps = |result: Result<Synced, StepError>| matches!(result, Err(StepError::Overlap { .. }));
    let below = nodes([("a", file("x")), ("a/b", file("y"))]);
    assert!(overlaps(room.try_sync(&below, &[])));
    let link = nodes([("a", Node::Symlink(b"b".to_vec())), ("a/b/c", Node::Directory)]);
    assert!(overlaps(room.try_sync(&link, &[])));
    let one = nodes([("a/b", file("x"))]);
    assert!(overlaps(room.try_sync(&one, &["a"])) && overlaps(room.try_sync(&one, &["a/b/c"])));
    let other = nodes([("a/b", file("y"))]);
    let (trees, cancel) = ([tree(&one), tree(&other)], Cancel::new());
    let both = [wanted(&one, &trees[0]), wanted(&other, &trees[1])].concat();
    assert!(overlaps(room.private.sync(&both, &[], &cancel)));
    let twice = [wanted(&one, &trees[0]), wanted(&one, &trees[0])].concat();
    assert!(room.private.sync(&twice, &[], &cancel).is_ok());
    for path in ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a\0"] {
        let wanted = Wanted { path: path.as_bytes().to_vec(), what: WantedKind::Directory };
        let refused = room.private.sync(&[wanted], &[], &cancel);
        assert!(matches!(refused, Err(StepError::Path { .. })), "{path}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_has_its_capabilities_where_that_is_permitted() {
    let mut room = Room::new();
    let tree = MemoryTree::new().file("program", "content");
    let (seen, digest) = (tree.metadata(b"program").unwrap(), *blake3::hash(b"content").as_bytes());
    // `cap_net_bind_service=ep` and `cap_net_raw=ep`, as the kernel stores them.
    let value = |low: u8, next: u8| vec![1, 0, 0, 2, low, next, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (bind, raw) = (value(0, 4), value(0, 32));
    for (capability, written) in
        [(None, 1), (Some(&bind), 1), (Some(&bind), 0), (Some(&raw), 1), (None, 1), (None, 0)]
    {
        let (tree, source, capability) = (&tree, b"program".to_vec(), capability.cloned());
        let what =
            WantedKind::File { tree, source, seen, digest, mode: 0o755, capability: capability.clone() };
        let wanted = [Wanted { path: b"bin/program".to_vec(), what }];
        let synced = room.private.sync(&wanted, &[], &Cancel::new()).unwrap();
        assert_eq!(synced.written - u64::from(synced.kept == 0), written, "{synced:?}");
        let mut kept = [0; 64];
        let size = rustix::fs::getxattr(room.at("bin/program"), crate::files::CAPABILITY, &mut kept);
        let permitted = capability.filter(|_| rustix::process::geteuid().is_root());
        assert_eq!(size.ok().map(|size| kept[..size].to_vec()), permitted);
    }
}

#[test]
fn a_file_that_changed_since_is_told() {
    let source = tempfile::tempdir().unwrap();
    let at = source.path().join("file");
    for size in [10, 100 << 10, 2 << 20] {
        fs::write(&at, vec![1; size]).unwrap();
        let tree = DiskTree::open(source.path()).unwrap();
        let seen = tree.metadata(b"file").unwrap();
        let wanted = |digest: &[u8]| {
            let digest = *blake3::hash(digest).as_bytes();
            let source = b"file".to_vec();
            let what = WantedKind::File { tree: &tree, source, seen, digest, mode: 0o644, capability: None };
            [Wanted { path: b"in".to_vec(), what }]
        };
        let mut room = Room::new();
        let cancel = Cancel::new();
        room.private.sync(&wanted(&vec![1; size]), &[], &cancel).unwrap();
        assert_eq!(fs::read(room.at("in")).unwrap(), vec![1; size]);
        let is_changed = |result| matches!(result, Err(StepError::Changed { path }) if path == "in");
        if size < 1 << 20 {
            // Of the same times and size, and yet another.
            assert!(is_changed(room.private.sync(&wanted(b"other"), &[], &cancel)));
        }
        fs::write(&at, vec![2; size]).unwrap();
        assert!(is_changed(room.private.sync(&wanted(&vec![3; size]), &[], &cancel)));
        fs::remove_file(&at).unwrap();
        assert!(is_changed(room.private.sync(&wanted(&vec![3; size]), &[], &cancel)));
    }
}

#[test]
fn it_can_be_cancelled_and_begun_again() {
    let mut room = Room::new();
    let nodes = nodes([("d/one", file("one"))]);
    let (tree, cancel) = (tree(&nodes), Cancel::new());
    cancel.cancel();
    let stopped = room.private.sync(&wanted(&nodes, &tree), &[], &cancel);
    assert!(matches!(stopped, Err(StepError::Cancelled(_))));
    room.sync(&nodes, &[]);
    assert_eq!(room.read(), whole(&nodes));
}

#[test]
fn trees_may_be_deep_and_wide() {
    let mut room = Room::new();
    let deep: Vec<u8> = [b"d/".repeat(1500), b"file".to_vec()].concat();
    let mut nodes: Nodes = (0..300).map(|at| (format!("wide/{at}").into_bytes(), file("x"))).collect();
    nodes.insert(deep, file("deep"));
    let pool = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let first = pool.install(|| room.sync(&nodes, &[]));
    assert_eq!(first.written, 1500 + 1 + 301);
    assert_eq!(pool.install(|| room.sync(&nodes, &[])).kept, first.written);
    assert_eq!(room.sync(&Nodes::new(), &[]).removed, first.written);
    assert_eq!(room.read(), Nodes::new());
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![&b"a"[..], b"b", b"a.b", b"\xff", b"-"]);
    prop::collection::vec(name, 1..4).prop_map(|parts| parts.join(&b'/'))
}

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![Just(b"".to_vec()), Just(b"one".to_vec()), Just(b"two".to_vec())];
    prop_oneof![
        1 => Just(Node::Directory),
        1 => prop_oneof![Just(b"a".to_vec()), Just(b"..".to_vec()), Just(b"/".to_vec())].prop_map(Node::Symlink),
        4 => (content, prop_oneof![Just(0o644), Just(0o755), Just(0o400)]).prop_map(|(c, m)| Node::File(c, m)),
    ]
}

/// A set in which nothing lies below a file or a link.
fn set() -> impl Strategy<Value = Nodes> {
    prop::collection::btree_map(path(), node(), 0..12).prop_map(|all| {
        let is_leaf = |path: &[u8]| matches!(all.get(path), Some(Node::File(..) | Node::Symlink(_)));
        let is_free =
            |path: &[u8]| !path.iter().enumerate().any(|(at, byte)| *byte == b'/' && is_leaf(&path[..at]));
        all.iter()
            .filter(|(path, _)| is_free(path))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect()
    })
}

/// Does what a command might, somewhere that may be there or not.
fn tamper(work: &Path, path: &[u8], how: u8) {
    let at = joined(work, path);
    // Nothing is done through links: what lies outside isn't ours to break.
    let parents = at.ancestors().skip(1).take_while(|parent| *parent != work);
    if parents.into_iter().any(|parent| parent.is_symlink()) {
        return;
    }
    let is_there = at.symlink_metadata().is_ok();
    let _ = match how {
        0 => fs::remove_dir_all(&at).or_else(|_| fs::remove_file(&at)),
        1 if !at.is_symlink() => fs::write(&at, "eno"),
        2 => symlink("b", &at),
        3 => fs::create_dir_all(&at),
        4 if is_there && !at.is_symlink() => fs::set_permissions(&at, fs::Permissions::from_mode(0o500)),
        5 => fs::rename(&at, work.join("b")),
        6 => fs::hard_link(&at, work.join("another name")),
        _ => Ok(()),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// However sets follow each other and whatever is done in between, the directory is as if it had been
    /// made anew.
    #[test]
    fn a_sync_makes_what_a_fresh_copy_would(
        rounds in prop::collection::vec((set(), prop::collection::vec((path(), 0u8..7), 0..6)), 1..5),
    ) {
        let mut room = Room::new();
        for (nodes, tampering) in rounds {
            room.sync(&nodes, &[]);
            prop_assert_eq!(room.read(), whole(&nodes));
            for (path, how) in tampering {
                tamper(&room.private.work(), &path, how);
            }
            room.sync(&nodes, &[]);
            prop_assert_eq!(room.read(), whole(&nodes));
            let again = room.sync(&nodes, &[]);
            prop_assert_eq!((again.written, again.removed), (0, 0));
        }
    }
}
