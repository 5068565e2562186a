//! What the keys of layers are made of: one thing is changed at a time, and exactly the keys that
//! it shows in change with it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ocibuild_core::base::Listing;
use ocibuild_core::blob::Memory;
use ocibuild_core::build::{Built, OpenBase};
use ocibuild_core::cache::{LastBuilds, LayerName, Particulars};
use ocibuild_core::compress::codec_id;
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::digest::Digest;
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::files::{DiskTree, FileId, FileKind, MemoryTree, Timestamp};
use ocibuild_core::key::{Key, KeyWriter};
use ocibuild_core::layer::{COMPAT, Circumstances, content_key, manifest_keys};
use ocibuild_core::oci::{CodecId, Compression, Platform};
use ocibuild_core::spec::{ImageSpec, LayerSpec, OnBaseSymlink, Preserve, Pyc, Split, Trust};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, build_image, planned, root, try_build};

/// Something below the copied directory.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    kind: FileKind,
    /// Content, or a link's target.
    bytes: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Node {
    fn new(kind: FileKind, bytes: &[u8]) -> Self {
        let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
        Self { kind, bytes: bytes.to_vec(), mode, owner: (7, 8), mtime: 100, xattrs: BTreeMap::new() }
    }
}

/// Everything that a build of one layer is made from.
#[derive(Debug, Clone)]
struct World {
    nodes: BTreeMap<String, Node>,
    linked: bool,
    lock: String,
    manifest: &'static str,
    ignore: Option<&'static str>,
    ignore_file: Option<Option<&'static str>>,
    from: &'static str,
    to: &'static str,
    mode: Option<u32>,
    dir_mode: Option<u32>,
    owner: Option<&'static str>,
    preserve: Preserve,
    pyc: Pyc,
    on_base_symlink: OnBaseSymlink,
    include: Option<&'static str>,
    exclude: Option<&'static str>,
    allow_empty: bool,
    allow_foreign: bool,
    inline: &'static str,
    link: &'static str,
    directory: &'static str,
    remove: Option<&'static str>,
    extra: Option<&'static str>,
    split: Option<Split>,
    trust: Option<Trust>,
    comment: Option<&'static str>,
    compression: &'static str,
    layer: &'static str,
    platform: &'static str,
    host: &'static str,
    spec: &'static str,
    epoch: u64,
    /// Directories of the base and their modes.
    base: BTreeMap<&'static str, u32>,
    passwd: &'static str,
    threads: usize,
}

fn world() -> World {
    let nodes = [
        ("a.js", Node::new(FileKind::Regular, b"a")),
        ("deep", Node::new(FileKind::Directory, b"")),
        ("deep/b.js", Node::new(FileKind::Regular, b"b")),
        ("deep/link", Node::new(FileKind::Symlink, b"../a.js")),
        ("void", Node::new(FileKind::Directory, b"")),
        ("__pycache__/c.pyc", Node::new(FileKind::Regular, b"c")),
    ];
    World {
        nodes: nodes.into_iter().map(|(path, node)| (path.to_owned(), node)).collect(),
        linked: false,
        lock: "lock 1".to_owned(),
        manifest: "package.lock",
        ignore: None,
        ignore_file: None,
        from: "modules",
        to: "/opt/app",
        mode: None,
        dir_mode: None,
        owner: None,
        preserve: Preserve::NOTHING,
        pyc: Pyc::Keep,
        on_base_symlink: OnBaseSymlink::Follow,
        include: None,
        exclude: None,
        allow_empty: false,
        allow_foreign: false,
        inline: "inline",
        link: "target",
        directory: "/opt/empty",
        remove: None,
        extra: None,
        split: None,
        trust: None,
        comment: None,
        compression: "gzip:3",
        layer: "app",
        platform: "linux/amd64",
        host: "linux-x86_64-glibc",
        spec: "spec",
        epoch: 1,
        base: BTreeMap::from([("/opt", 0o755), ("/old/x", 0o755), ("/far", 0o755)]),
        passwd: "app:x:10:10::/:\n",
        threads: 2,
    }
}

/// What a world comes to.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    manifest: Option<Key>,
    content: Key,
    blob: Digest,
    diff_id: String,
}

impl World {
    fn tree(&self) -> MemoryTree {
        let mut tree = MemoryTree::new().file(self.manifest, self.lock.as_str());
        for (path, text) in [(".dockerignore", self.ignore), ("other.ignore", Some("**/void\n"))] {
            tree = text.into_iter().fold(tree, |tree, text| tree.file(path, text));
        }
        for top in ["modules", "elsewhere"] {
            for (path, node) in &self.nodes {
                let path = format!("{top}/{path}");
                tree = tree.node(path.as_bytes(), node.kind, node.mode, node.bytes.clone());
                let time = Timestamp { seconds: node.mtime, ..Timestamp::default() };
                tree = tree.stamp(&path, node.owner, time);
                for (name, value) in &node.xattrs {
                    tree = tree.xattr(&path, name, value.clone());
                }
            }
        }
        if self.linked { tree.hard_link("modules/z.js", "modules/a.js") } else { tree }
    }

    fn layer(&self) -> LayerSpec {
        let layer = LayerSpec::named(self.layer).manifests([self.manifest]);
        let mut layer = layer.compression(self.compression.parse().unwrap()).preserve(self.preserve);
        layer = self.ignore_file.into_iter().fold(layer, LayerSpec::ignore_file);
        layer = self.extra.into_iter().fold(layer, |layer, extra| layer.key([extra]));
        layer = self.split.into_iter().fold(layer, LayerSpec::split);
        layer = self.trust.into_iter().fold(layer, LayerSpec::trust);
        layer = self.comment.into_iter().fold(layer, LayerSpec::comment);
        layer = self.remove.into_iter().fold(layer, LayerSpec::remove);
        layer = layer.pyc(self.pyc).copy(self.from, self.to).on_base_symlink(self.on_base_symlink);
        layer = self.mode.into_iter().fold(layer, LayerSpec::mode);
        layer = self.dir_mode.into_iter().fold(layer, LayerSpec::dir_mode);
        layer = self.owner.into_iter().fold(layer, LayerSpec::owned_by);
        layer = self.include.into_iter().fold(layer, LayerSpec::include);
        layer = self.exclude.into_iter().fold(layer, LayerSpec::exclude);
        layer = if self.allow_empty { layer.allow_empty() } else { layer };
        layer = if self.allow_foreign { layer.allow_foreign() } else { layer };
        layer.content("/opt/inline", self.inline).symlink("/opt/link", self.link).directory(self.directory)
    }

    /// Made once for all worlds that have the same.
    fn base(&self) -> OpenBase {
        static KNOWN: Mutex<BTreeMap<String, OpenBase>> = Mutex::new(BTreeMap::new());
        let of = format!("{} {:?} {}", self.platform, self.base, self.passwd);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(of).or_insert_with(|| self.make_base()).clone()
    }

    fn make_base(&self) -> OpenBase {
        let cache = tempfile::tempdir().unwrap();
        let layer = LayerSpec::named("base").content("/etc/passwd", self.passwd);
        let layer = self.base.iter().fold(layer, |layer, (path, mode)| layer.directory(*path).mode(*mode));
        let image = ImageSpec::scratch(self.platform.parse().unwrap()).layer(layer);
        let built = build_image(&MemoryTree::new(), &image, &Setup::new(cache.path()));
        let (memory, root) = (Memory::new(), built.images[0].root.clone());
        copy(std::slice::from_ref(&root), &built.source(), &memory, &CopyOptions::default()).unwrap();
        OpenBase { source: Arc::new(memory), root }
    }

    /// Found once for each world.
    fn outcome(&self) -> Outcome {
        static KNOWN: Mutex<BTreeMap<String, Outcome>> = Mutex::new(BTreeMap::new());
        let of = format!("{self:?}");
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(&of).cloned();
        found.unwrap_or_else(|| {
            let made = self.build();
            known().entry(of).or_insert(made).clone()
        })
    }

    fn build(&self) -> Outcome {
        let cache = tempfile::tempdir().unwrap();
        let image = ImageSpec::scratch(self.platform.parse().unwrap()).base_layout("base");
        let setup = Setup {
            threads: self.threads,
            use_records: false,
            created: self.epoch,
            host: self.host,
            name: self.spec,
            base: Some(self.base()),
            ..Setup::new(cache.path())
        };
        outcome(&build_image(&self.tree(), &image.layer(self.layer()), &setup))
    }

    fn keeping(mut self, names: &str) -> Self {
        names.split_whitespace().for_each(|name| self.preserve.add(name).unwrap());
        self
    }
}

fn outcome(built: &Built) -> Outcome {
    let layer = &built.layers[0];
    let blob = &layer.record.layers[0];
    Outcome {
        manifest: layer.manifest_keys.first().copied(),
        content: layer.record.content.unwrap(),
        blob: blob.descriptor.digest,
        diff_id: blob.diff_id.to_string(),
    }
}

/// What a change shows in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shows {
    /// In nothing.
    Nowhere,
    /// In the manifest key alone.
    Manifest,
    /// In the content key alone: files aren't looked at for the other.
    Content,
    /// In both.
    Both,
    /// In both, but what the layer holds stays the same.
    Codec,
    /// In both keys, but not in the bytes.
    Keys,
    /// There is no manifest key any more; the rest stays.
    NoManifest,
}
use Shows::{Both, Codec, Content, Keys, Manifest, NoManifest, Nowhere};

type Change = (&'static str, &'static str, Shows, fn(&mut World));

fn node<'w>(world: &'w mut World, path: &str) -> &'w mut Node {
    world.nodes.get_mut(path).unwrap()
}

/// Each change: what it is, what the layer keeps of the host, and where it shows.
const CHANGES: &[Change] = &[
    ("content", "", Content, |world| node(world, "a.js").bytes = b"A".to_vec()),
    ("length of content", "", Content, |world| node(world, "a.js").bytes.push(b'a')),
    ("content deep down", "", Content, |world| node(world, "deep/b.js").bytes = b"B".to_vec()),
    ("x bit", "", Content, |world| node(world, "a.js").mode = 0o744),
    ("mode that isn't kept", "", Nowhere, |world| node(world, "a.js").mode = 0o640),
    ("mode", "mode", Content, |world| node(world, "a.js").mode = 0o640),
    ("mode of a directory", "mode", Content, |world| node(world, "void").mode = 0o700),
    ("mode of a directory that isn't kept", "", Nowhere, |world| node(world, "void").mode = 0o700),
    ("owner", "owner", Content, |world| node(world, "a.js").owner.0 += 1),
    ("group", "owner", Content, |world| node(world, "void").owner.1 += 1),
    ("owner that isn't kept", "mode mtime xattrs hardlinks", Nowhere, |world| {
        node(world, "a.js").owner.0 += 1;
    }),
    ("mtime", "mtime", Content, |world| node(world, "a.js").mtime += 1),
    ("mtime that isn't kept", "mode owner xattrs hardlinks", Nowhere, |world| {
        node(world, "a.js").mtime += 1;
    }),
    ("link target", "", Content, |world| node(world, "deep/link").bytes = b"b.js".to_vec()),
    ("xattr", "xattrs", Content, |world| {
        node(world, "a.js").xattrs.insert("user.x".to_owned(), b"1".to_vec());
    }),
    ("xattr that isn't kept", "", Nowhere, |world| {
        node(world, "a.js").xattrs.insert("user.x".to_owned(), b"1".to_vec());
    }),
    ("hard link instead of a copy", "", Content, |world| world.linked = true),
    ("name", "", Content, |world| {
        let node = world.nodes.remove("a.js").unwrap();
        world.nodes.insert("b.js".to_owned(), node);
    }),
    ("another file", "", Content, |world| {
        world.nodes.insert("n".to_owned(), Node::new(FileKind::Regular, b""));
    }),
    ("another directory", "", Content, |world| {
        world.nodes.insert("n".to_owned(), Node::new(FileKind::Directory, b""));
    }),
    ("a file less", "", Content, |world| drop(world.nodes.remove("a.js"))),
    ("a file for a link", "", Content, |world| {
        let bytes = node(world, "deep/link").bytes.clone();
        *node(world, "deep/link") = Node::new(FileKind::Regular, &bytes);
    }),
    ("manifest content", "", Manifest, |world| world.lock.push('2')),
    ("manifest name", "", Manifest, |world| world.manifest = "other.lock"),
    ("ignore file that leaves nothing out", "", Manifest, |world| world.ignore = Some("nothing\n")),
    ("ignore file", "", Both, |world| world.ignore = Some("**/a.js\n")),
    ("another ignore file", "", Both, |world| world.ignore_file = Some(Some("other.ignore"))),
    ("no ignore file, where there is none", "", Nowhere, |world| world.ignore_file = Some(None)),
    ("from, to the same", "", Manifest, |world| world.from = "elsewhere"),
    ("from below", "", Both, |world| world.from = "modules/deep"),
    ("destination", "", Both, |world| world.to = "/opt/other"),
    ("into the destination", "", Manifest, |world| world.to = "/opt/app/"),
    ("mode by rule", "", Both, |world| world.mode = Some(0o600)),
    ("mode of directories by rule", "", Both, |world| world.dir_mode = Some(0o700)),
    ("owner by rule", "", Both, |world| world.owner = Some("1:2")),
    ("owner by name", "", Both, |world| world.owner = Some("app")),
    ("owner by rule that is the default", "", Manifest, |world| world.owner = Some("0:0")),
    ("preserve that finds nothing", "", Manifest, |world| world.preserve.add("hardlinks").unwrap()),
    ("preserve", "", Both, |world| world.preserve.add("owner").unwrap()),
    ("pyc", "", Both, |world| world.pyc = Pyc::Drop),
    ("links of the base are errors", "", Manifest, |world| world.on_base_symlink = OnBaseSymlink::Error),
    ("links of the base are replaced", "", Manifest, |world| world.on_base_symlink = OnBaseSymlink::Replace),
    ("include", "", Both, |world| world.include = Some("*.js")),
    ("exclude", "", Both, |world| world.exclude = Some("*.js")),
    ("exclude of nothing", "", Manifest, |world| world.exclude = Some("*.ts")),
    ("allow-empty", "", Manifest, |world| world.allow_empty = true),
    ("allow-foreign", "", Manifest, |world| world.allow_foreign = true),
    ("inline content", "", Both, |world| world.inline = "Inline"),
    ("inline link", "", Both, |world| world.link = "Target"),
    ("directory", "", Both, |world| world.directory = "/opt/none"),
    ("remove", "", Both, |world| world.remove = Some("/old/x")),
    ("remove, otherwise said", "", Both, |world| world.remove = Some("/old/*")),
    ("extra", "", Manifest, |world| world.extra = Some("node-22")),
    ("split", "", Both, |world| world.split = Some(Split::Into(4))),
    ("split that leaves one part", "", Keys, |world| world.split = Some(Split::Auto)),
    ("trust", "", NoManifest, |world| world.trust = Some(Trust::Content)),
    ("trust that is the default", "", Nowhere, |world| world.trust = Some(Trust::Manifests)),
    ("comment", "", Nowhere, |world| world.comment = Some("a remark")),
    ("codec", "", Codec, |world| world.compression = "zstd:3"),
    ("no codec", "", Codec, |world| world.compression = "none"),
    ("level", "", Codec, |world| world.compression = "gzip:6"),
    ("layer name", "", Manifest, |world| world.layer = "other"),
    ("platform", "", Manifest, |world| world.platform = "linux/arm64"),
    ("host", "", Nowhere, |world| world.host = "linux-x86_64-musl"),
    ("spec", "", Manifest, |world| world.spec = "other"),
    ("time of the image", "", Nowhere, |world| world.epoch = 1_700_000_000),
    ("bound of times", "mtime", Manifest, |world| world.epoch = 1_700_000_000),
    ("bound of times that counts", "mtime", Both, |world| world.epoch = 50),
    ("mode at the destination", "", Both, |world| {
        world.base.insert("/opt", 0o700);
    }),
    ("nothing at the destination", "", Manifest, |world| {
        world.base.remove("/opt");
    }),
    ("directory below the destination", "", Both, |world| {
        world.base.insert("/opt/app/void", 0o700);
    }),
    ("directory below, that isn't written", "", Manifest, |world| {
        world.base.insert("/opt/app/unwritten", 0o700);
    }),
    ("far from the destination", "", Nowhere, |world| {
        world.base.insert("/far", 0o700);
    }),
    ("account that isn't named", "", Nowhere, |world| world.passwd = "app:x:11:11::/:\n"),
    ("threads", "", Nowhere, |world| world.threads = 7),
];

#[track_caller]
fn check(before: &World, (name, kept, shows, change): &Change) {
    let before = before.clone().keeping(kept);
    let mut after = before.clone();
    change(&mut after);
    let (one, other) = (before.outcome(), after.outcome());
    let moved = [one.manifest != other.manifest, one.content != other.content, one.blob != other.blob];
    let expected = match shows {
        Nowhere => [false; 3],
        Manifest | NoManifest => [true, false, false],
        Content => [false, true, true],
        Both | Codec => [true; 3],
        Keys => [true, true, false],
    };
    assert_eq!(moved, expected, "{name}: manifest key, content key, blob");
    assert_eq!(other.manifest.is_none(), *shows == NoManifest, "{name}");
    assert_eq!(one.diff_id != other.diff_id, matches!(shows, Content | Both), "{name}: tar bytes");
}

#[test]
fn every_change_shows_where_it_should() {
    let before = world();
    CHANGES.iter().for_each(|change| check(&before, change));
}

/// What is noted of a layer when it is built.
fn particulars(world: &World) -> Particulars {
    let cache = tempfile::tempdir().unwrap();
    let image = ImageSpec::scratch(world.platform.parse().unwrap()).base_layout("base");
    let setup = Setup {
        created: world.epoch,
        host: world.host,
        name: world.spec,
        base: Some(world.base()),
        ..Setup::new(cache.path())
    };
    let built = build_image(&world.tree(), &image.layer(world.layer()), &setup);
    let image = built.images[0].name.as_str();
    let name = LayerName::new(world.spec, image, world.layer, vec![world.platform.to_owned()]);
    LastBuilds::new(cache.path()).get(&name).unwrap().last.particulars
}

#[test]
fn what_shows_in_a_manifest_key_can_be_told() {
    let before = world();
    for (name, kept, shows, change) in CHANGES {
        let before = before.clone().keeping(kept);
        let mut after = before.clone();
        change(&mut after);
        // These say which layer is meant.
        let is_another = ["layer name", "spec"].contains(name);
        let is_told = !matches!(shows, Nowhere | Content) && !is_another;
        let changes = particulars(&before).changes(&particulars(&after));
        assert_eq!(!changes.is_empty(), is_told, "{name}: {changes:?}");
    }
}

/// A program for amd64, and as much of one for macOS and Windows as is looked at.
fn programs() -> [Vec<u8>; 3] {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 0x3e;
    let mut windows = b"MZ".to_vec();
    windows.resize(0x80, 0);
    windows[0x3c] = 0x80;
    windows.extend(b"PE\0\0");
    [elf, b"\xcf\xfa\xed\xfe\x0c\0\0\x01".to_vec(), windows]
}

#[test]
fn the_host_is_in_the_keys_of_layers_with_programs() {
    let host: Change = ("host", "", Manifest, |world| world.host = "linux-x86_64-musl");
    for program in programs() {
        let mut with = world();
        with.nodes.insert("native.node".to_owned(), Node::new(FileKind::Regular, &program));
        check(&with, &host);
    }
    // What is let through isn't looked at.
    check(&World { allow_foreign: true, ..world() }, &host);
    // A layer that gets its first program goes by another key, though all else is the same.
    check(
        &world(),
        &("first program", "", Both, |world| {
            world.nodes.insert("native.node".to_owned(), Node::new(FileKind::Regular, &programs()[0]));
        }),
    );
}

#[test]
fn an_image_is_the_same_from_any_host_unless_there_are_programs_in_it() {
    let made = |with_program: bool, trust: Trust, host: &'static str, cache: &Path| {
        let tree = MemoryTree::new().file("package.lock", "lock").file("modules/a.js", "a");
        let [program, ..] = programs();
        let tree = if with_program { tree.program("modules/native", program) } else { tree };
        let layer = LayerSpec::named("app").manifests(["package.lock"]).copy("modules", "/app").trust(trust);
        let image = ImageSpec::scratch(Platform::linux_amd64()).layer(layer);
        let built = build_image(&tree, &image, &Setup { host, ..Setup::new(cache) });
        (root(&built), built.layers[0].outcome)
    };
    let two = |with_program, trust| {
        ["one", "other"].map(|host| {
            let cache = tempfile::tempdir().unwrap();
            let (first, outcome) = made(with_program, trust, host, cache.path());
            assert_eq!(outcome, LayerOutcome::Built);
            assert_eq!(made(with_program, trust, host, cache.path()), (first.clone(), LayerOutcome::Reused));
            first
        })
    };
    let [one, other] = two(false, Trust::Manifests);
    assert_eq!(one, other);
    let [one, other] = two(true, Trust::Manifests);
    assert_ne!(one, other);
    let [one, other] = two(true, Trust::Content);
    assert_eq!(one, other);
}

#[test]
fn a_lockfile_answers_on_another_host_unless_there_are_programs() {
    let layer = || LayerSpec::named("app").manifests(["package.lock"]).copy("modules", "/app");
    let tree = || MemoryTree::new().file("package.lock", "lock").file("modules/a.js", "a");
    let [elf, macos, _] = programs();
    let cases = [
        (tree(), layer(), true),
        (tree().program("modules/native", elf), layer(), false),
        (tree().file("modules/native.node", macos), layer(), false),
        (tree(), layer().allow_foreign(), false),
        (tree(), layer().trust(Trust::Content), false),
    ];
    for (number, (tree, layer, is_answered)) in cases.into_iter().enumerate() {
        let cache = tempfile::tempdir().unwrap();
        let image = ImageSpec::scratch(Platform::linux_amd64()).layer(layer);
        let on = |host| Setup { host, ..Setup::new(cache.path()) };
        build_image(&tree, &image, &on("one"));
        // Nothing is installed there, so nothing but the lockfile could answer.
        let bare = MemoryTree::new().file("package.lock", "lock");
        assert_eq!(try_build(&bare, &image, &on("other")).is_ok(), is_answered, "{number}");
    }
}

#[test]
fn an_account_s_number_is_in_the_keys_of_layers_that_name_it() {
    let named = World { owner: Some("app"), ..world() };
    check(&named, &("number", "", Both, |world| world.passwd = "app:x:11:11::/:\n"));
    check(
        &named,
        &("another account", "", Nowhere, |world| {
            world.passwd = "app:x:10:10::/:\nother:x:9:9::/:\n";
        }),
    );
}

/// Worlds with other files and rules, in which every change still means something.
fn any_world() -> impl Strategy<Value = World> {
    let files =
        prop::collection::btree_map("more/[a-c]{1,3}", prop::collection::vec(any::<u8>(), 0..40), 0..6);
    let rules = (prop::option::of(Just("mtime")), prop::option::of(Just("xattrs")), any::<bool>());
    (files, rules, 0..3_usize, "[a-z]{0,8}").prop_map(|(files, (mtime, xattrs, empty), codec, lock)| {
        let mut world = world();
        for (path, bytes) in files {
            world.nodes.insert(path, Node::new(FileKind::Regular, &bytes));
        }
        world.lock += &lock;
        world.extra = empty.then_some("extra");
        world.compression = ["gzip:1", "gzip:3", "zstd:1"][codec];
        // What a world keeps beyond what a change is about doesn't hide the change.
        world.keeping(mtime.unwrap_or_default()).keeping(xattrs.unwrap_or_default())
    })
}

/// Changes that mean the same in any of those worlds.
fn any_change() -> impl Strategy<Value = &'static Change> {
    let depends = [
        "mtime that isn't kept",
        "owner that isn't kept",
        "xattr that isn't kept",
        "level",
        "extra",
        "time of the image",
        "preserve that finds nothing",
    ];
    let all: Vec<&Change> = CHANGES.iter().filter(|(name, ..)| !depends.contains(name)).collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_change_at_a_time_in_any_world(world in any_world(), change in any_change()) {
        check(&world, change);
    }

    #[test]
    fn content_keys_are_equal_exactly_where_blobs_are(one in any_world(), other in any_world()) {
        let (one, other) = (one.outcome(), other.outcome());
        prop_assert_eq!(one.content == other.content, one.blob == other.blob);
    }
}

/// The names that a value's fields have in its `Debug` form, of itself alone.
fn field_names(text: &str, level: usize) -> BTreeSet<String> {
    let indent = " ".repeat(4 * level);
    let own = text.lines().filter_map(|line| line.strip_prefix(&indent));
    let names = own.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    names.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
}

/// The fields of what is planned, with the changes above that move them; those without are none of
/// the layer's bytes. `layer::key` takes the same apart, so that a new field doesn't compile there.
#[test]
fn every_field_of_a_plan_is_decided_on() {
    let layer = [
        ("name", "layer name"),
        ("label", ""),
        ("platforms", "platform"),
        ("foundation", "mode at the destination"),
        ("compression", "codec"),
        ("manifests", "manifest name"),
        ("trust", "trust"),
        ("split", "split"),
        ("extras", "extra"),
        ("copies", "inline content"),
        ("remove", "remove"),
        ("comment", "comment"),
    ];
    let copy = [
        ("what", "inline link"),
        ("to", "destination"),
        ("into", "into the destination"),
        ("mode", "mode by rule"),
        ("dir_mode", "mode of directories by rule"),
        ("owner", "owner by rule"),
        ("owner_span", ""),
        ("preserve", "preserve"),
        ("pyc", "pyc"),
        ("on_base_symlink", "links of the base are errors"),
        ("span", ""),
    ];
    let from = [
        ("step", ""), // What it makes counts, not where it is planned.
        ("path", "from below"),
        ("literal", "from below"),
        ("glob", "from below"),
        ("patterns", "include"),
        ("selection", "exclude"),
        ("ignore", "another ignore file"),
        ("allow_empty", "allow-empty"),
        ("allow_foreign", "allow-foreign"),
        ("step", ""),  // By its key: see `tests/steps`.
        ("whole", ""), // Of what steps make and need.
    ];
    let image = ImageSpec::scratch(Platform::linux_amd64()).layer(world().layer());
    let planned = planned(&image.into_spec().unwrap(), "spec").layers.remove(0);
    let ocibuild_core::plan::What::From(planned_from) = &planned.copies[0].what else { panic!() };
    for (text, decided) in [
        (format!("{planned:#?}"), &layer[..]),
        (format!("{:#?}", planned.copies[0]), &copy[..]),
        (format!("{planned_from:#?}"), &from[..]),
    ] {
        let known: BTreeSet<String> = decided.iter().map(|(field, _)| (*field).to_owned()).collect();
        assert_eq!(field_names(&text, 1), known);
        for (field, change) in decided.iter().filter(|(_, change)| !change.is_empty()) {
            assert!(CHANGES.iter().any(|(name, ..)| name == change), "`{change}` of `{field}`");
        }
    }
}

#[test]
fn the_set_of_rules_and_the_codec_are_in_the_key_of_the_content() {
    let (inventory, codec) = (Digest::of(b"lines"), codec_id(Compression::None));
    let key = |compat: u64, codec: &CodecId| {
        let mut key = KeyWriter::new("content", 1);
        key.number("compat", compat).field("codec", codec.as_str()).digest("inventory", &inventory);
        key.finish()
    };
    assert_eq!(content_key(&inventory, &codec), key(COMPAT, &codec));
    assert_ne!(content_key(&inventory, &codec), key(COMPAT + 1, &codec));
    assert_ne!(content_key(&Digest::of(b"other"), &codec), key(COMPAT, &codec));
}

/// A tree on disk, its files made in some order, with permissions that a umask leaves.
fn on_disk(reversed: bool, umask: u32) -> TempTree {
    let mut files: Vec<(String, String)> =
        (0..40).map(|number| (format!("modules/{}/{number}.js", number % 7), "x".repeat(number))).collect();
    files.push(("package.lock".to_owned(), "lock 1".to_owned()));
    if reversed {
        files.reverse();
    }
    let tree = files
        .into_iter()
        .fold(TempTree::new(), |tree, (path, text)| tree.file_with_mode(path, text, 0o666 & !umask));
    (0..7).for_each(|number| tree.chmod(format!("modules/{number}"), 0o777 & !umask));
    tree
}

fn id(path: &Path) -> FileId {
    let metadata = path.metadata().unwrap();
    FileId { device: metadata.dev(), inode: metadata.ino() }
}

#[test]
fn what_must_not_matter_does_not() {
    let image = |layer: LayerSpec| ImageSpec::scratch(Platform::linux_amd64()).layer(layer);
    let layer = || LayerSpec::named("app").manifests(["package.lock"]).copy("modules", "/app");
    let built = |tree: &TempTree, change: &dyn Fn(&mut Setup<'_>)| {
        let cache = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(cache.path());
        change(&mut setup);
        let built = build_image(&DiskTree::open(tree.path()).unwrap(), &image(layer()), &setup);
        (outcome(&built), root(&built))
    };
    let first = on_disk(false, 0o022);
    let expected = built(&first, &|_| {});
    // Another checkout, in another order, under another umask, at another time.
    for umask in [0o077, 0o002] {
        let other = on_disk(true, umask);
        assert_eq!(built(&other, &|_| {}), expected, "umask {umask:o}");
        for number in 1..40 {
            other.set_modified(format!("modules/{}/{number}.js", number % 7), 1_234_567 + number);
        }
        assert_eq!(built(&other, &|_| {}), expected, "times");
    }
    // New inodes.
    let (path, text) = ("modules/1/8.js", "x".repeat(8));
    first.remove(path);
    first.write("keep", "");
    first.write(path, text);
    assert_eq!(built(&first, &|_| {}), expected, "inodes");
    for threads in [1, 3, 16] {
        assert_eq!(built(&first, &|setup| setup.threads = threads), expected, "{threads} threads");
    }
    assert_eq!(built(&first, &|setup| setup.memory = 1), expected, "memory");
    assert_eq!(built(&first, &|setup| setup.use_records = false), expected, "without records");
    assert_eq!(
        built(&first, &|setup| setup.skip = vec![id(&first.join("keep"))]),
        expected,
        "what is skipped"
    );
    assert_eq!(built(&first, &|setup| setup.created = 77).0, expected.0, "the time of the image");
    // What is in the cache: nothing, the layer, or another of the same files.
    let cache = tempfile::tempdir().unwrap();
    let tree = DiskTree::open(first.path()).unwrap();
    let again = |layer: LayerSpec| {
        let built = build_image(&tree, &image(layer), &Setup::new(cache.path()));
        (outcome(&built), root(&built))
    };
    again(layer().key(["other"]));
    assert_eq!(again(layer()), expected, "beside another");
    assert_eq!(again(layer()), expected, "a hit");
}

#[test]
fn a_key_stays_what_it_was() {
    let layer = LayerSpec::named("app").manifests(["package.lock"]).copy("modules", "/app");
    let image = ImageSpec::scratch(Platform::linux_amd64()).layer(layer.compression(Compression::None));
    let layer = planned(&image.into_spec().unwrap(), "spec").layers.remove(0);
    let circumstances = Circumstances { spec: "spec", host: "host", latest: None, steps: &[] };
    let tree = MemoryTree::new().file("package.lock", "lock");
    let keys = manifest_keys(&layer, &Listing::empty(), &tree, circumstances).unwrap().unwrap();
    // Whoever changes what a key is made of changes its version, or `COMPAT`, and then this.
    assert_eq!(
        [keys.with_host[0].hex(), keys.without_host[0].hex()],
        [
            "ac8e59f85ee0e44d5c7956e01efdadc6a18ae86c0f3df9a3563dc132f6753e04",
            "c7d76381b47ab46da28c8fd7901bcaa78860534d91267feb086217fd900c1514"
        ]
    );
}
