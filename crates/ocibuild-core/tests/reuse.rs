//! Layers that are answered by records: what their keys depend on, when a record answers, and
//! when it doesn't.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocibuild_core::base::{Base, Listed, ListedKind, Listing, ListingBuilder, ListingLimits, listing_key};
use ocibuild_core::blob::{BlobError, BytesContent, Content, Memory, Sink as _, Source};
use ocibuild_core::build::{BuildError, Built, OpenBase};
use ocibuild_core::cache::{LocalRecords, RecordStore as _};
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::event::{Cancel, LayerOutcome};
use ocibuild_core::files::{DiskTree, FileKind, FileTree, MemoryTree};
use ocibuild_core::key::Key;
use ocibuild_core::layer::{Circumstances, LayerError, manifest_keys};
use ocibuild_core::oci::{Compression, Descriptor, Platform};
use ocibuild_core::plan::PlannedLayer;
use ocibuild_core::spec::{ImageSpec, LayerSpec, OnBaseSymlink, Preserve, Pyc, Spec};
use ocibuild_testkit::TempTree;
use proptest::prelude::*;
use support::{Setup, build_image, layers, planned, root, try_build, try_build_spec};

fn tree() -> MemoryTree {
    MemoryTree::new()
        .file("package.lock", "lock 1")
        .file("other.lock", "lock 1")
        .file("modules/a.js", "a")
        .file("modules/b/c.js", "c")
}

fn locked() -> LayerSpec {
    LayerSpec::named("app").copy("modules", "/app/modules").manifests(["package.lock"])
}

fn image(layer: LayerSpec) -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
}

fn plan_layer(layer: LayerSpec, platform: Platform) -> PlannedLayer {
    let spec = ImageSpec::scratch(platform).layer(layer).into_spec().unwrap();
    planned(&spec, "test").layers.remove(0)
}

fn key_of(layer: &PlannedLayer, tree: &dyn FileTree, listing: &Listing, spec: &str, host: &str) -> Key {
    let keys = manifest_keys(layer, listing, tree, Circumstances { spec, host, latest: None, steps: &[] })
        .unwrap()
        .unwrap();
    for keys in [&keys.with_host, &keys.without_host].into_iter().filter(|keys| !keys.is_empty()) {
        assert_eq!(keys.len(), layer.platforms.len());
    }
    *keys.all().next().unwrap()
}

fn key(layer: LayerSpec) -> Key {
    let layer = plan_layer(layer, Platform::linux_amd64());
    key_of(&layer, &tree(), &Listing::empty(), "test", "host")
}

#[test]
fn the_latest_time_is_in_the_keys_of_layers_that_keep_times() {
    let key = |names: &str, latest| {
        let mut preserve = Preserve::default();
        names.split_whitespace().for_each(|name| preserve.add(name).unwrap());
        let layer =
            LayerSpec::named("app").manifests(["package.lock"]).copy("modules", "/").preserve(preserve);
        let layer = plan_layer(layer, Platform::linux_amd64());
        let circumstances = Circumstances { spec: "test", host: "host", latest, steps: &[] };
        let keys = manifest_keys(&layer, &Listing::empty(), &tree(), circumstances).unwrap().unwrap();
        keys.without_host[0]
    };
    for names in ["", "mode owner xattrs hardlinks"] {
        assert_eq!(key(names, None), key(names, Some(1)), "{names}");
    }
    assert_different(&[
        ("none".to_owned(), key("mtime", None)),
        ("one".to_owned(), key("mtime", Some(1))),
        ("two".to_owned(), key("mtime", Some(2))),
        ("not kept".to_owned(), key("", None)),
    ]);
}

#[track_caller]
fn assert_different(keys: &[(String, Key)]) {
    let mut seen: BTreeMap<Key, &str> = BTreeMap::new();
    for (name, key) in keys {
        if let Some(other) = seen.insert(*key, name) {
            panic!("`{name}` and `{other}` have one key");
        }
    }
}

#[test]
fn whatever_goes_into_a_layer_goes_into_its_key() {
    let from = |from: &str, to: &str| LayerSpec::named("app").copy(from, to).manifests(["package.lock"]);
    let inline = |text: &str| LayerSpec::named("app").content("/x", text);
    let named =
        |name: &str| LayerSpec::named(name).copy("modules", "/app/modules").manifests(["package.lock"]);
    let specs = [
        ("plain", locked()),
        ("layer name", named("other")),
        ("from", from("modules/b", "/app/modules")),
        ("to", from("modules", "/app")),
        ("into", from("modules", "/app/modules/")),
        ("glob", from("modules/*", "/app/modules/")),
        ("other manifest of the same content", locked().manifests(["other.lock"])),
        ("mode", locked().mode(0o600)),
        ("dir-mode", locked().dir_mode(0o600)),
        ("owner", locked().owner(1, 2)),
        ("owner, the other way", locked().owner(2, 1)),
        ("owner that is the default", locked().owner(0, 0)),
        ("include", locked().include("*.js")),
        ("exclude", locked().exclude("*.js")),
        ("two patterns", locked().include("*.js").include("b")),
        ("allow-empty", locked().allow_empty()),
        ("allow-foreign", locked().allow_foreign()),
        ("pyc", locked().pyc(Pyc::Drop)),
        ("ignore-file", locked().ignore_file(Some("other.lock"))),
        ("extra", locked().key(["node-22"])),
        ("two extras", locked().key(["node", "-22"])),
        ("another copy", locked().content("/y", "")),
        ("none", locked().compression(Compression::None)),
        ("gzip:1", locked().compression(Compression::Gzip { level: 1 })),
        ("zstd:1", locked().compression(Compression::Zstd { level: 1 })),
        ("zstd:3", locked().compression(Compression::Zstd { level: 3 })),
        ("content", inline("a")),
        ("other content", inline("b")),
        ("content with a mode", inline("a").mode(0o600)),
        ("symlink", LayerSpec::named("app").symlink("/x", "a")),
        ("other target", LayerSpec::named("app").symlink("/x", "b")),
        ("directory", LayerSpec::named("app").directory("/x")),
        ("two directories", LayerSpec::named("app").directory("/x").directory("/y")),
        ("in the other order", LayerSpec::named("app").directory("/y").directory("/x")),
    ];
    let mut keys: Vec<(String, Key)> =
        specs.into_iter().map(|(name, layer)| (name.to_owned(), key(layer))).collect();
    let plain = plan_layer(locked(), Platform::linux_amd64());
    let empty = Listing::empty();
    let changed = tree().file("package.lock", "lock 2");
    keys.push(("lockfile".into(), key_of(&plain, &changed, &empty, "test", "host")));
    for ignore in ["", "*.js", "*.ts"] {
        let tree = tree().file(".dockerignore", ignore);
        keys.push((format!(".dockerignore `{ignore}`"), key_of(&plain, &tree, &empty, "test", "host")));
    }
    keys.push(("spec".into(), key_of(&plain, &tree(), &empty, "other", "host")));
    keys.push(("host".into(), key_of(&plain, &tree(), &empty, "test", "other")));
    let arm = plan_layer(locked(), Platform::linux_arm64());
    keys.push(("platform".into(), key_of(&arm, &tree(), &empty, "test", "host")));
    assert_different(&keys);
}

#[test]
fn what_does_not_go_into_a_layer_does_not_go_into_its_key() {
    let plain = plan_layer(locked(), Platform::linux_amd64());
    let expected = key(locked());
    // Nothing but the lockfile is looked at.
    let tree = MemoryTree::new().node(b"package.lock", FileKind::Regular, 0o4600, b"lock 1".to_vec());
    assert_eq!(key_of(&plain, &tree, &Listing::empty(), "test", "host"), expected);
    for _ in 0..2 {
        let disk = TempTree::new().file("real", "lock 1").symlink("package.lock", "real");
        disk.set_modified("real", 1_500_000_000);
        let disk_tree = DiskTree::open(disk.path()).unwrap();
        assert_eq!(key_of(&plain, &disk_tree, &Listing::empty(), "test", "host"), expected);
    }
    // An ignore file that is switched off doesn't count.
    let off = plan_layer(locked().ignore_file(None), Platform::linux_amd64());
    let ignoring = self::tree().file(".dockerignore", "*");
    assert_eq!(key_of(&off, &ignoring, &Listing::empty(), "test", "host"), expected);
    // A layer that reads nothing of the host doesn't depend on which it is.
    let inline = plan_layer(LayerSpec::named("app").content("/x", "a"), Platform::linux_amd64());
    let on = |host| key_of(&inline, &tree, &Listing::empty(), "test", host);
    assert_eq!(on("one"), on("other"));
}

#[test]
fn a_layer_that_nothing_vouches_for_has_no_key() {
    let layer = plan_layer(LayerSpec::named("app").copy("modules", "/app"), Platform::linux_amd64());
    let circumstances = Circumstances { spec: "test", host: "host", latest: None, steps: &[] };
    assert!(manifest_keys(&layer, &Listing::empty(), &tree(), circumstances).unwrap().is_none());
}

#[test]
fn a_lockfile_that_can_t_be_read_is_named() {
    for (tree, cause) in [
        (MemoryTree::new(), "entity not found"),
        (MemoryTree::new().directory("package.lock"), "it is not a regular file"),
    ] {
        let layer = plan_layer(locked(), Platform::linux_amd64());
        let circumstances = Circumstances { spec: "test", host: "host", latest: None, steps: &[] };
        let error = manifest_keys(&layer, &Listing::empty(), &tree, circumstances).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the manifest `package.lock`");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause);
    }
}

/// A base from lines: `d path mode`, `f path`, `l path target`.
fn listing(lines: &str) -> Listing {
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    for line in lines.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, mode) = match words[0] {
            "d" => (ListedKind::Directory, u32::from_str_radix(words[2], 8).unwrap()),
            "f" => (ListedKind::File { size: 1 }, 0o644),
            _ => (ListedKind::Symlink { target: words[2].as_bytes() }, 0o777),
        };
        builder.insert(words[1].as_bytes(), Listed { kind, mode, uid: 0, gid: 0 }).unwrap();
    }
    builder.finish()
}

fn key_over(lines: &str, layer: &LayerSpec) -> Key {
    let layer = plan_layer(layer.clone(), Platform::linux_amd64());
    key_of(&layer, &tree(), &listing(lines), "test", "host")
}

const BASE: &str = "d opt 755\nd opt/app 755\nl opt/app/data ../../srv/data\nd srv 755\nd srv/data 755
    l srv/data/more /mnt\nd mnt 755\nl opt/tool ../usr/tool\nd usr 755\nf usr/file\nd far 755";

#[test]
fn what_a_layer_takes_from_its_base_is_in_its_key() {
    let tree = LayerSpec::named("app").copy("modules", "/opt/app").manifests(["package.lock"]);
    let one = LayerSpec::named("app").content("/opt/tool", "x");
    let keys = |lines: &str| (key_over(lines, &tree), key_over(lines, &one));
    let plain = keys(BASE);
    // Line by line: whether it shows in a tree at `/opt/app`, and in a file at `/opt/tool`.
    for (from, to, in_tree, in_file) in [
        ("d opt 755", "d opt 700", true, true),
        ("d opt/app 755", "d opt/app 700", true, false),
        ("l opt/app/data ../../srv/data", "l opt/app/data ../../srv", true, false),
        ("d srv 755", "d srv 700", true, false),
        ("d srv/data 755", "d srv/data 700", true, false),
        ("d mnt 755", "d mnt 700", true, false),
        ("d mnt 755", "f mnt", true, false),
        ("l srv/data/more /mnt", "f srv/data/less", true, false),
        ("l opt/tool ../usr/tool", "d opt/tool 755", false, true),
        ("d far 755", "d far 700\nf far/x\nl far/y x", false, false),
        ("f usr/file", "f usr/other", false, false),
    ] {
        assert!(BASE.contains(from));
        let changed = keys(&BASE.replace(from, to));
        assert_eq!(changed.0 != plain.0, in_tree, "{to} in a tree");
        assert_eq!(changed.1 != plain.1, in_file, "{to} in a file");
    }
}

#[test]
fn what_a_layer_takes_away_is_in_its_key() {
    let glob = LayerSpec::named("app").remove("/opt/t*");
    let plain = key_over(BASE, &glob);
    assert_eq!(key_over(&BASE.replace("d srv 755", "d srv 700"), &glob), plain);
    for (from, to) in [("d opt 755", "d opt 700"), ("d opt/app 755", "d opt/app 755\nf opt/two")] {
        assert_ne!(key_over(&BASE.replace(from, to), &glob), plain, "{to}");
    }
    let same = LayerSpec::named("app").remove("/opt/tool");
    assert_ne!(key_over(BASE, &same), plain, "the rule itself counts, too");
    let gone = plan_layer(LayerSpec::named("app").remove("/opt/x"), Platform::linux_amd64());
    let circumstances = Circumstances { spec: "test", host: "host", latest: None, steps: &[] };
    let error = manifest_keys(&gone, &listing(BASE), &tree(), circumstances).unwrap_err();
    assert!(matches!(error, LayerError::NothingToRemove { .. }), "{error}");
}

#[test]
fn what_a_layer_takes_away_is_gone_from_the_image() {
    let cache = tempfile::tempdir().unwrap();
    let below = merged_usr().content("/usr/lib/a", "a").content("/usr/lib/b", "b").content("/tmp/c", "c");
    let setup =
        || Setup { base: Some(base(below.clone().content("/etc/d", "d"))), ..Setup::new(cache.path()) };
    let layer = LayerSpec::named("app").remove("/lib/a").remove("/tmp/**").remove("/etc");
    let spec = spec_over(layer.content("/tmp/new", "new"));
    let built = try_build_spec(&tree(), &spec, &setup()).unwrap();
    let open = Base::open(&built.source(), &built.images[0].root, None).unwrap();
    let listing = Listing::read(&built.source(), &open, &ListingLimits::default(), &Cancel::new()).unwrap();
    let paths = listing.entries(b"").map(|(path, _)| String::from_utf8(path).unwrap());
    assert_eq!(paths.collect::<Vec<_>>(), ["", "lib", "tmp", "tmp/new", "usr", "usr/lib", "usr/lib/b"]);
    assert_eq!(listing.directory(b"tmp").unwrap().mode, 0o1777);
    let again = try_build_spec(&tree(), &spec, &setup()).unwrap();
    assert_eq!((outcomes(&again), root(&again)), (REUSED.to_vec(), root(&built)));
}

#[test]
fn a_directory_that_a_removal_would_reset_is_told() {
    let setup =
        |cache: &Path| Setup { base: Some(base(merged_usr().content("/tmp/c", ""))), ..Setup::new(cache) };
    let cache = tempfile::tempdir().unwrap();
    let image = |mode| {
        let first = LayerSpec::named("one").directory("/tmp").mode(mode);
        let image = ImageSpec::scratch(Platform::linux_amd64()).base_layout("base").layer(first);
        image.layer(LayerSpec::named("two").remove("/tmp/c")).into_spec().unwrap()
    };
    let error = try_build_spec(&tree(), &image(0o700), &setup(cache.path())).err().unwrap();
    assert!(matches!(error, BuildError::Disagreement { .. }), "{error}");
    assert!(try_build_spec(&tree(), &image(0o1777), &setup(cache.path())).is_ok());
}

#[test]
fn a_file_of_the_base_in_a_layer_s_way_is_in_its_key() {
    let layer = |to: &str| LayerSpec::named("app").copy("modules", to).manifests(["package.lock"]);
    for (to, plain, file) in [
        ("/opt/", "", "f opt"),
        ("/opt/app/", "", "f opt"),
        ("/opt/app/", "d opt 755", "d opt 755\nf opt/app"),
        ("/link/", "l link usr/opt\nd usr 755", "l link usr/opt\nd usr 755\nf usr/opt"),
        ("/link/app/", "l link usr/opt\nd usr 755", "l link usr/opt\nd usr 755\nf usr/opt"),
    ] {
        assert_ne!(key_over(plain, &layer(to)), key_over(file, &layer(to)), "{to} over {file}");
    }
    let below = key_over("d opt 755\nf opt/file", &layer("/opt/"));
    assert_eq!(key_over("d opt 755", &layer("/opt/")), below);
}

#[test]
fn what_becomes_of_a_base_s_links_is_in_the_key() {
    let layer = |what| {
        let layer = LayerSpec::named("app").copy("modules", "/lib/app").manifests(["package.lock"]);
        layer.on_base_symlink(what)
    };
    let [follow, error, replace] =
        [OnBaseSymlink::Follow, OnBaseSymlink::Error, OnBaseSymlink::Replace].map(layer);
    let linked = "d usr 755\nl lib usr/lib\nd usr/lib 755";
    let keys = [&follow, &error, &replace].map(|layer| key_over(linked, layer));
    assert_different(&[
        ("follow".to_owned(), keys[0]),
        ("error".to_owned(), keys[1]),
        ("replace".to_owned(), keys[2]),
    ]);
    assert_ne!(keys[2], key_over("f lib", &replace), "a file is in the way, a link is not");
    assert_ne!(keys[1], key_over("d lib 755", &error), "a link is an error");
    let elsewhere = "d usr 700\nl lib usr/lib\nd usr/lib 700 9";
    assert_eq!(keys[2], key_over(elsewhere, &replace), "where a link led is no matter");
}

#[test]
fn a_link_of_another_layer_is_not_written_below() {
    let message = |first, second| {
        let cache = tempfile::tempdir().unwrap();
        let error = try_build(&tree(), &image(first).layer(second), &Setup::new(cache.path())).err()?;
        assert!(matches!(error, BuildError::Kinds { .. }), "{error}");
        Some(error.to_string())
    };
    let link = || LayerSpec::named("one").symlink("/data", "mnt/data");
    let file = |to| LayerSpec::named("two").content(to, "");
    let expected = "layers `one` and `two` disagree on `/data`: it is a directory in one of them only";
    assert_eq!(message(link(), file("/data/x")).as_deref(), Some(expected));
    assert_eq!(
        message(file("/data/x"), link()).as_deref(),
        Some("layers `two` and `one` disagree on `/data`: it is a directory in one of them only")
    );
    assert_eq!(message(link(), file("/data")), None, "a file takes its place");
    assert_eq!(message(link(), file("/mnt/data/x")), None);
}

#[test]
fn a_file_of_another_base_does_not_become_a_directory_on_a_hit() {
    let cache = tempfile::tempdir().unwrap();
    for to in ["/opt/", "/opt/app/"] {
        let over = |base_layer: LayerSpec| {
            let setup = Setup { base: Some(base(base_layer)), ..Setup::new(cache.path()) };
            let layer = LayerSpec::named("app").copy("modules/a.js", to).manifests(["package.lock"]);
            try_build_spec(&tree(), &spec_over(layer), &setup)
        };
        assert_eq!(outcomes(&over(merged_usr()).unwrap()), BUILT);
        let error = over(merged_usr().content("/opt", "a file")).err().unwrap();
        let BuildError::Layer { source, .. } = error else { panic!("{error}") };
        assert!(matches!(*source, LayerError::NotDirectory { .. }), "{source}");
    }
}

fn any_layer() -> impl Strategy<Value = LayerSpec> {
    let copy = (0..4, 0..3_usize, prop::option::of(0..2_u32), 0..2, prop::collection::vec(0..2, 0..3));
    let copies = prop::collection::vec(copy, 1..3);
    (copies, 0..2, 0..2).prop_map(|(copies, extras, compression)| {
        let mut layer = LayerSpec::named("app").manifests(["package.lock"]);
        for (kind, to, mode, owner, patterns) in copies {
            let to = ["/a", "/a/", "/a/b"][to];
            layer = match kind {
                0 => layer.copy("modules", to),
                1 => layer.content(to.trim_end_matches('/'), "x"),
                2 => layer.symlink(to.trim_end_matches('/'), "x"),
                _ => layer.directory(to),
            };
            if let Some(mode) = mode.filter(|_| kind != 2) {
                layer = layer.mode(mode);
            }
            if owner == 1 {
                layer = layer.owner(0, 1);
            }
            for pattern in patterns.into_iter().filter(|_| kind == 0) {
                layer = if pattern == 0 { layer.include("x") } else { layer.exclude("x") };
            }
        }
        layer = if extras == 1 { layer.key(["x"]) } else { layer };
        if compression == 1 { layer.compression(Compression::None) } else { layer }
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn keys_are_equal_if_and_only_if_plans_are(one in any_layer(), other in any_layer()) {
        let plan = |layer: &LayerSpec| plan_layer(layer.clone(), Platform::linux_amd64());
        let same = plan(&one) == plan(&other);
        prop_assert_eq!(key(one) == key(other), same);
    }
}

fn outcomes(built: &Built) -> Vec<LayerOutcome> {
    built.layers.iter().map(|layer| layer.outcome).collect()
}

const BUILT: &[LayerOutcome] = &[LayerOutcome::Built];
const REUSED: &[LayerOutcome] = &[LayerOutcome::Reused];

#[test]
fn a_hit_needs_no_source_tree() {
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup::new(cache.path());
    let built = build_image(&tree(), &image(locked()), &setup);
    assert_eq!(outcomes(&built), BUILT);
    let gone = MemoryTree::new().file("package.lock", "lock 1");
    let hit = build_image(&gone, &image(locked()), &setup);
    assert_eq!((outcomes(&hit), root(&hit)), (REUSED.to_vec(), root(&built)));
    // With threads, memory, date and observer of another kind, too.
    let other =
        Setup { threads: 1, memory: 1, created: 5, observer: &|_: &_| {}, ..Setup::new(cache.path()) };
    let hit = build_image(&gone, &image(locked()), &other);
    assert_eq!((outcomes(&hit), layers(&hit)), (REUSED.to_vec(), layers(&built)));
    let changed = tree().file("package.lock", "lock 2").file("modules/a.js", "new");
    let miss = build_image(&changed, &image(locked()), &setup);
    assert_eq!(outcomes(&miss), BUILT);
    assert_ne!(layers(&miss), layers(&built));
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Files of a cache, and what happens to each.
type Damage<'a> = (&'a [PathBuf], &'a dyn Fn(&Path));

#[test]
fn what_is_missing_or_damaged_in_a_cache_is_made_again() {
    let whole = tempfile::tempdir().unwrap();
    let built = build_image(&tree(), &image(locked()), &Setup::new(whole.path()));
    let blob = built.store().path(&built.layers[0].record.layers[0].descriptor.digest);
    let inventory = built.store().path(&built.layers[0].record.inventory.as_ref().unwrap().digest);
    let records = files_below(&whole.path().join("records"));
    assert_eq!(records.len(), 3, "one by content, one by manifest, and the trace of the last build");
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let empty = |path: &Path| fs::write(path, "").unwrap();
    let garbage = |path: &Path| fs::write(path, "{\"version\":1}").unwrap();
    let later = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
    };
    let (blob, inventory) = (vec![blob], vec![inventory]);
    let damages: [Damage<'_>; 8] = [
        (&blob, &remove),
        (&blob, &empty),
        (&inventory, &remove),
        (&inventory, &empty),
        (&records, &remove),
        (&records, &empty),
        (&records, &garbage),
        (&records, &later),
    ];
    for (index, (paths, damage)) in damages.into_iter().enumerate() {
        paths.iter().for_each(|path| damage(path));
        let again = build_image(&tree(), &image(locked()), &Setup::new(whole.path()));
        assert_eq!((outcomes(&again), root(&again)), (BUILT.to_vec(), root(&built)), "damage {index}");
        let hit = build_image(&tree(), &image(locked()), &Setup::new(whole.path()));
        assert_eq!(outcomes(&hit), REUSED, "after damage {index}");
    }
}

#[test]
fn without_records_nothing_is_answered_nor_recorded() {
    let cache = tempfile::tempdir().unwrap();
    let without = || Setup { use_records: false, ..Setup::new(cache.path()) };
    for _ in 0..2 {
        assert_eq!(outcomes(&build_image(&tree(), &image(locked()), &without())), BUILT);
        assert!(!cache.path().join("records").exists());
    }
    assert_eq!(outcomes(&build_image(&tree(), &image(locked()), &Setup::new(cache.path()))), BUILT);
    assert_eq!(outcomes(&build_image(&tree(), &image(locked()), &without())), BUILT);
}

#[test]
fn what_can_t_be_built_is_not_recorded() {
    let cache = tempfile::tempdir().unwrap();
    let empty = LayerSpec::named("app").copy("modules/*.css", "/app/").manifests(["package.lock"]);
    for _ in 0..2 {
        let error = try_build(&tree(), &image(empty.clone()), &Setup::new(cache.path())).err().unwrap();
        assert!(
            matches!(error, BuildError::Layer { source, .. } if matches!(*source, LayerError::Empty { .. }))
        );
    }
    assert!(files_below(cache.path()).is_empty());
}

fn program(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([machine, 0, 0, 0]);
    bytes
}

#[test]
fn a_record_for_one_machine_does_not_answer_for_another() {
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup::new(cache.path());
    let with = |bytes| MemoryTree::new().file("package.lock", "").file("modules/x", bytes);
    let both = || image(locked()).platform(Platform::linux_arm64());
    assert_eq!(outcomes(&build_image(&with(program(0x3e)), &image(locked()), &setup)), BUILT);
    // The key for amd64 has a record, but it holds a program that arm64 doesn't run.
    let error = try_build(&with(program(0x3e)), &both(), &setup).err().unwrap();
    assert!(
        matches!(error, BuildError::Layer { source, .. } if matches!(*source, LayerError::Foreign { .. }))
    );
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup::new(cache.path());
    assert_eq!(outcomes(&build_image(&with(b"script".to_vec()), &image(locked()), &setup)), BUILT);
    assert_eq!(outcomes(&build_image(&with(b"script".to_vec()), &both(), &setup)), REUSED);
}

fn disagreement(layers: [LayerSpec; 2]) -> Option<String> {
    let cache = tempfile::tempdir().unwrap();
    let [one, other] = layers;
    match try_build(&tree(), &image(one).layer(other), &Setup::new(cache.path())) {
        Ok(_) => None,
        Err(error @ BuildError::Disagreement { .. }) => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn layers_that_disagree_on_a_directory_are_refused() {
    let one = || LayerSpec::named("one").copy("modules", "/app").owner(5, 5);
    let other = || LayerSpec::named("other").copy("modules/b", "/app/x");
    let message = "layers `one` and `other` disagree on the directory `/app`: 0755 5:5 and 0755 0:0";
    assert_eq!(disagreement([one(), other()]).as_deref(), Some(message));
    let tmp = LayerSpec::named("other").directory("/tmp").mode(0o1777);
    let file = LayerSpec::named("one").content("/tmp/x", "");
    let message = "layers `one` and `other` disagree on the directory `/tmp`: 0755 0:0 and 1777 0:0";
    assert_eq!(disagreement([file, tmp.clone()]).as_deref(), Some(message));
    // Also where one is the very root of the other.
    let everything = LayerSpec::named("one").copy(".", "/").dir_mode(0o700);
    let message = disagreement([everything, LayerSpec::named("other").content("/modules/x", "")]);
    assert!(message.is_some());
}

#[test]
fn layers_that_keep_different_modes_of_a_directory_are_refused() {
    let tree = MemoryTree::new()
        .node(b"one", FileKind::Directory, 0o750, Vec::new())
        .file("one/a", "")
        .file("other/b", "");
    let mut preserve = Preserve::default();
    preserve.add("mode").unwrap();
    let layer = |name: &str| LayerSpec::named(name).copy(name, "/app").preserve(preserve);
    let cache = tempfile::tempdir().unwrap();
    let both = image(layer("one")).layer(layer("other"));
    let error = try_build(&tree, &both, &Setup::new(cache.path())).err().unwrap();
    let message = "layers `one` and `other` disagree on the directory `/app`: 0750 0:0 and 0755 0:0";
    assert_eq!(error.to_string(), message);
}

#[test]
fn layers_that_keep_different_attributes_of_a_directory_are_refused() {
    let tree = |value: &str| {
        let tree = MemoryTree::new().file("one/a", "").file("other/b", "");
        tree.xattr("one", "user.note", "1").xattr("other", "user.note", value)
    };
    let mut preserve = Preserve::default();
    preserve.add("xattrs").unwrap();
    let layer = |name: &str| LayerSpec::named(name).copy(name, "/app").preserve(preserve);
    let message = "layers `one` and `other` disagree on the directory `/app`: on its attribute `user.note`";
    for (value, second, refused) in [
        ("1", layer("other"), false),
        ("2", layer("other"), true),
        ("1", LayerSpec::named("other").content("/app/b", ""), true),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let both = image(layer("one")).layer(second);
        let built = try_build(&tree(value), &both, &Setup::new(cache.path()));
        let told = built.err().map(|error| error.to_string());
        assert_eq!(told.as_deref(), refused.then_some(message));
    }
}

#[test]
fn layers_that_keep_different_times_of_a_directory_are_built() {
    let mut preserve = Preserve::default();
    preserve.add("mtime").unwrap();
    let one = LayerSpec::named("one").copy("modules", "/app").preserve(preserve);
    assert_eq!(disagreement([one, LayerSpec::named("other").content("/app/b", "")]), None);
}

#[test]
fn layers_that_agree_on_a_directory_are_built() {
    let one = || LayerSpec::named("one").copy("modules", "/app").owner(5, 5);
    assert_eq!(disagreement([one(), LayerSpec::named("other").copy("modules/b", "/app").owner(5, 5)]), None);
    assert_eq!(disagreement([one(), LayerSpec::named("other").copy("modules/b", "/srv")]), None);
    let directory = LayerSpec::named("other").directory("/app").owner(5, 5).content("/app/VERSION", "1");
    assert_eq!(disagreement([one(), directory]), None);
}

#[test]
fn layers_reused_from_a_cache_are_compared_as_well() {
    let cache = tempfile::tempdir().unwrap();
    let one = || LayerSpec::named("one").directory("/app").mode(0o700);
    let other = || LayerSpec::named("other").content("/app/x", "");
    for layer in [one(), other()] {
        build_image(&tree(), &image(layer), &Setup::new(cache.path()));
    }
    let error = try_build(&tree(), &image(one()).layer(other()), &Setup::new(cache.path())).err().unwrap();
    assert!(matches!(error, BuildError::Disagreement { .. }), "{error}");
}

#[test]
fn a_damaged_inventory_is_made_again_where_it_is_compared() {
    let cache = tempfile::tempdir().unwrap();
    let one = || LayerSpec::named("one").directory("/app").mode(0o755);
    let two = || image(one()).layer(LayerSpec::named("other").content("/app/x", ""));
    let build = || build_image(&tree(), &two(), &Setup::new(cache.path()));
    let built = build();
    let path = built.store().path(&built.layers[0].record.inventory.as_ref().unwrap().digest);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, vec![0; whole.len()]).unwrap();
    let again = build();
    assert_eq!((outcomes(&again), root(&again)), ([BUILT, REUSED].concat(), root(&built)));
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(outcomes(&build()), [REUSED, REUSED].concat());
}

/// Builds a base and keeps it in memory.
fn base(layer: LayerSpec) -> OpenBase {
    let cache = tempfile::tempdir().unwrap();
    let built = build_image(&tree(), &image(layer), &Setup::new(cache.path()));
    let (memory, root) = (Memory::new(), built.images[0].root.clone());
    copy(std::slice::from_ref(&root), &built.source(), &memory, &CopyOptions::default()).unwrap();
    OpenBase { source: Arc::new(memory), root }
}

fn merged_usr() -> LayerSpec {
    LayerSpec::named("base").directory("/usr/lib").symlink("/lib", "usr/lib").directory("/tmp").mode(0o1777)
}

fn spec_over(layer: LayerSpec) -> Spec {
    let image = ImageSpec::scratch(Platform::linux_amd64()).base_layout("base").layer(layer);
    image.into_spec().unwrap()
}

#[test]
fn another_base_that_shows_nothing_new_leaves_a_layer_reused() {
    let cache = tempfile::tempdir().unwrap();
    let over = |base_layer: LayerSpec, layer: LayerSpec| {
        let setup = Setup { base: Some(base(base_layer)), ..Setup::new(cache.path()) };
        try_build_spec(&tree(), &spec_over(layer), &setup).unwrap()
    };
    let layer = || LayerSpec::named("app").copy("modules", "/lib/app").manifests(["package.lock"]);
    let first = over(merged_usr(), layer());
    let patched = over(merged_usr().content("/etc/os-release", "patched"), layer());
    let other = over(merged_usr().directory("/usr").mode(0o711), layer());
    assert_eq!(outcomes(&first), BUILT);
    assert_eq!((outcomes(&patched), layers(&patched)), (REUSED.to_vec(), layers(&first)));
    assert_ne!(root(&patched), root(&first));
    assert_eq!(outcomes(&other), BUILT);
    assert_ne!(layers(&other), layers(&first));
}

#[test]
fn a_damaged_listing_of_a_base_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    let base = base(merged_usr());
    let build = || {
        let setup = Setup { base: Some(base.clone()), ..Setup::new(cache.path()) };
        try_build_spec(&tree(), &spec_over(locked()), &setup).unwrap()
    };
    let built = build();
    let diff_ids = Base::open(base.source.as_ref(), &base.root, None).unwrap().diff_ids;
    let (records, key) = (LocalRecords::new(cache.path()), listing_key(&diff_ids));
    let record = records.get(&key).unwrap().unwrap();
    let path = built.store().path(&record.inventory.as_ref().unwrap().digest);
    assert!(record.inventory.as_ref().unwrap().embedded().is_some() && !path.exists());
    for damaged in [Some("!"), Some(""), Some("b2NpYnVpbGQgbGlzdGluZyAxCg=="), None] {
        let mut other = record.clone();
        other.inventory.as_mut().unwrap().data = damaged.map(str::to_owned);
        records.put(&other).unwrap();
        let again = build();
        assert_eq!((outcomes(&again), root(&again)), (REUSED.to_vec(), root(&built)));
        assert_eq!(records.get(&key).unwrap().unwrap(), record, "{damaged:?}");
    }
}

/// A listing that is too large for a record is a blob, as all were once.
#[test]
fn a_listing_beside_its_record_is_found_and_made_again_if_damaged() {
    let cache = tempfile::tempdir().unwrap();
    let base = base(merged_usr());
    let build = || {
        let setup = Setup { base: Some(base.clone()), ..Setup::new(cache.path()) };
        try_build_spec(&tree(), &spec_over(locked()), &setup).unwrap()
    };
    let built = build();
    let diff_ids = Base::open(base.source.as_ref(), &base.root, None).unwrap().diff_ids;
    let (records, key) = (LocalRecords::new(cache.path()), listing_key(&diff_ids));
    let record = records.get(&key).unwrap().unwrap();
    let bytes = record.inventory.as_ref().unwrap().embedded().unwrap();
    let mut other = record.clone();
    other.inventory.as_mut().unwrap().data = None;
    built.store().push(other.inventory.as_ref().unwrap(), &BytesContent::new(bytes.clone())).unwrap();
    records.put(&other).unwrap();
    assert_eq!(root(&build()), root(&built));
    assert_eq!(records.get(&key).unwrap().unwrap(), other, "the blob answered");
    let path = built.store().path(&record.inventory.as_ref().unwrap().digest);
    for damaged in [vec![0; bytes.len()], Vec::new()] {
        fs::write(&path, damaged).unwrap();
        records.put(&other).unwrap();
        assert_eq!(root(&build()), root(&built));
        assert_eq!(records.get(&key).unwrap().unwrap(), record);
        assert!(!path.exists());
    }
}

/// A base's blobs; asking for one cancels the run.
struct Cancelling(Arc<dyn Source>, Cancel);

impl Source for Cancelling {
    fn place(&self) -> String {
        self.0.place()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.0.exists(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.1.cancel();
        self.0.fetch(descriptor)
    }
}

#[test]
fn a_base_is_not_listed_once_the_run_is_cancelled() {
    let (cache, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    let OpenBase { source, root } = base(merged_usr());
    let base = OpenBase { source: Arc::new(Cancelling(source, cancel.clone())), root };
    let setup = Setup { base: Some(base), cancel, ..Setup::new(cache.path()) };
    let error = try_build_spec(&tree(), &spec_over(locked()), &setup).err().unwrap();
    assert!(matches!(error, BuildError::Cancelled(_)), "{error:?}");
    assert!(files_below(cache.path()).is_empty());
}

#[test]
fn a_layer_over_a_base_is_the_same_with_and_without_a_known_listing() {
    let cache = tempfile::tempdir().unwrap();
    let spec = spec_over(LayerSpec::named("app").copy("modules", "/lib").content("/tmp/x", ""));
    let build = |use_records| {
        let setup = Setup { base: Some(base(merged_usr())), use_records, ..Setup::new(cache.path()) };
        root(&try_build_spec(&tree(), &spec, &setup).unwrap())
    };
    let without = build(false);
    assert_eq!([build(true), build(true), build(false)], [without.clone(), without.clone(), without]);
}

#[test]
fn what_a_layer_below_writes_is_not_taken_away() {
    let below = || merged_usr().content("/etc/motd", "hello").content("/var/cache/old/x", "");
    let lower = || LayerSpec::named("lower").content("/etc/motd", "bye").content("/var/cache/new", "");
    let cases: [(LayerSpec, LayerSpec, Option<&str>); 8] = [
        (lower(), LayerSpec::named("upper").remove("/etc/motd"), Some("/etc/motd")),
        (lower(), LayerSpec::named("upper").remove("/etc/m*"), Some("/etc/motd")),
        (lower(), LayerSpec::named("upper").remove("/etc"), Some("/etc")),
        (lower(), LayerSpec::named("upper").remove("/var/cache/*"), Some("/var/cache/new")),
        (lower(), LayerSpec::named("upper").remove("/var/cache/old"), None),
        // The other way round it is what is meant.
        (LayerSpec::named("upper").remove("/etc/motd").remove("/var/cache/*"), lower(), None),
        // Both may take away the same, or one what lies in something of the other.
        (
            LayerSpec::named("lower").remove("/var/cache/old/x"),
            LayerSpec::named("upper").remove("/var/cache"),
            None,
        ),
        (LayerSpec::named("lower").remove("/etc/motd"), LayerSpec::named("upper").remove("/etc/motd"), None),
    ];
    for (one, other, lost) in cases {
        let cache = tempfile::tempdir().unwrap();
        let setup = || Setup { base: Some(base(below())), ..Setup::new(cache.path()) };
        let image = ImageSpec::scratch(Platform::linux_amd64()).base_layout("base").layer(one).layer(other);
        let spec = image.into_spec().unwrap();
        // Also of layers that are reused.
        for _ in 0..2 {
            let told = try_build_spec(&tree(), &spec, &setup()).err().map(|error| error.to_string());
            let message = lost
                .map(|path| format!("layer `upper` removes `{path}`, which layer `lower` below it writes"));
            assert_eq!(told, message);
        }
    }
}

/// A key in PEM that nobody has; it isn't in the sources, where others' scanners would find it.
fn private_key() -> String {
    let body: String =
        (0..4).map(|n: u32| format!("{}\n", blake3::hash(&n.to_le_bytes()).to_hex())).collect();
    format!("-----BEGIN {0} KEY-----\n{body}-----END {0} KEY-----\n", "PRIVATE")
}

/// A layer may have been recorded by a version that looked for less. Known by its key, none of its files
/// is read; its blob is, once.
#[test]
fn a_layer_known_by_its_key_that_nobody_looked_at_is_looked_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let records = LocalRecords::new(cache.path());
    let tree = tree().file("modules/key.pem", private_key());
    let build = || build_image(&tree, &image(locked()), &Setup::new(cache.path()));
    let found = |built: &Built| -> Vec<String> {
        let ids = built.findings.iter().map(|finding| finding.id.clone());
        ids.filter(|id| id.starts_with("secret-") || id == "contents-unknown").collect()
    };
    let built = build();
    assert_eq!(found(&built), ["secret-private-key"]);
    let layer = &built.layers[0];
    let keys: Vec<Key> = layer.manifest_keys.iter().copied().chain(layer.record.content).collect();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        let mut record = records.get(key).unwrap().unwrap();
        record.inspection = None;
        records.put(&record).unwrap();
    }
    let again = build();
    assert_eq!((outcomes(&again), found(&again)), (vec![LayerOutcome::Reused], found(&built)));
    for key in &keys {
        assert!(records.get(key).unwrap().unwrap().inspection.is_some(), "it is known from now on");
    }
}
