//! What copies select, where it goes and with which metadata, and what is refused.

mod preserve;

use std::sync::Mutex;

use ocibuild_testkit::TempTree;

use super::*;
use crate::base::{Listed, ListedKind, ListingBuilder, ListingError, ListingLimits};
use crate::event::Event;
use crate::files::{DiskTree, Entry, EntryKind, FileKind, MemoryTree};
use crate::oci::Platform;
use crate::plan::{BuiltinBase, Surroundings, plan};
use crate::spec::{ImageSpec, LayerSpec, Pyc, Spec};

mod blobs;
mod ignored;
mod owners;
mod places;
mod removal;

struct Nothing;

impl Surroundings for Nothing {
    fn builtin(&self, _: &str, _: u32) -> Option<BuiltinBase> {
        None
    }

    fn base_platform(&self, _: &str) -> Option<Platform> {
        None
    }
}

fn planned(layer: LayerSpec) -> PlannedLayer {
    let spec = ImageSpec::scratch(Platform::linux_amd64()).layer(layer).into_spec().unwrap();
    plan(&spec, "test", &[], &Nothing).unwrap().layers.remove(0)
}

fn layer() -> LayerSpec {
    LayerSpec::named("app")
}

/// A base from lines: `d path mode uid`, `f path`, `l path target`.
fn base(lines: &str) -> Listing {
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (kind, path, word) = (words.next().unwrap(), words.next().unwrap(), words.next());
        let (kind, mode) = match kind {
            "d" => (ListedKind::Directory, word.map_or(0o755, |mode| u32::from_str_radix(mode, 8).unwrap())),
            "f" => (ListedKind::File { size: 1 }, 0o644),
            _ => (ListedKind::Symlink { target: word.unwrap().as_bytes() }, 0o777),
        };
        let uid = words.next().map_or(0, |uid| uid.parse().unwrap());
        builder.insert(path.as_bytes(), Listed { kind, mode, uid, gid: uid }).unwrap();
    }
    builder.finish()
}

fn gathered_from(
    tree: &dyn FileTree,
    listing: &Listing,
    layer: LayerSpec,
) -> Result<gather::Gathered, LayerError> {
    let cancel = Cancel::new();
    gather::gather(
        &planned(layer),
        draft::Sources { tree, listing, skip: &[], cancel: &cancel, latest: None, stat: None, steps: &[] },
    )
}

/// One line an entry: `d path mode uid:gid`, `f path mode uid:gid size`, `l path target`.
fn show(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| {
        let (path, owner) = (entry.path.escape_ascii(), format!("{}:{}", entry.uid, entry.gid));
        match &entry.kind {
            EntryKind::Directory => format!("d {path} {:o} {owner}", entry.mode),
            EntryKind::Symlink(target) => format!("l {path} {}", target.escape_ascii()),
            EntryKind::Hardlink(target) => format!("h {path} {}", target.escape_ascii()),
            EntryKind::File { size, .. } => format!("f {path} {:o} {owner} {size}", entry.mode),
        }
    };
    entries.iter().map(line).collect()
}

#[track_caller]
fn check_over(listing: &Listing, tree: &MemoryTree, layer: LayerSpec, expected: &str) {
    let gathered = gathered_from(tree, listing, layer).unwrap();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(&gathered.entries), expected);
}

#[track_caller]
fn check(tree: &MemoryTree, layer: LayerSpec, expected: &str) {
    check_over(&Listing::empty(), tree, layer, expected);
}

#[track_caller]
fn refused_over(listing: &Listing, tree: &MemoryTree, layer: LayerSpec, message: &str) {
    match gathered_from(tree, listing, layer) {
        Err(error) => assert_eq!(error.to_string(), message),
        Ok(gathered) => panic!("{:?}", show(&gathered.entries)),
    }
}

#[track_caller]
fn refused(tree: &MemoryTree, layer: LayerSpec, message: &str) {
    refused_over(&Listing::empty(), tree, layer, message);
}

fn sources() -> MemoryTree {
    MemoryTree::new()
        .file("src/a.js", "a")
        .file("src/lib/b.js", "bb")
        .file("src/lib/b.map", "map")
        .file("src/lib/deep/c.js", "ccc")
        .symlink("src/lib/link", "../a.js")
        .directory("src/void")
        .program("bin/run", "#!")
}

#[test]
fn a_file_goes_to_a_name_or_into_a_directory() {
    check(&sources(), layer().copy("src/a.js", "/x"), "f x 644 0:0 1");
    check(
        &sources(),
        layer().copy("src/a.js", "/app/x/"),
        "d app 755 0:0\nd app/x 755 0:0\nf app/x/a.js 644 0:0 1",
    );
    check(&sources(), layer().copy("bin/run", "/"), "f run 755 0:0 2");
    check(&sources(), layer().copy("./bin//run", "/opt/"), "d opt 755 0:0\nf opt/run 755 0:0 2");
    check(&sources(), layer().copy("bin/run", "/run").mode(0o4711), "f run 4711 0:0 2");
}

#[test]
fn a_directory_merges_into_its_destination() {
    let all = "d app 755 0:0\nf app/a.js 644 0:0 1\nd app/lib 755 0:0\nf app/lib/b.js 644 0:0 2
        f app/lib/b.map 644 0:0 3\nd app/lib/deep 755 0:0\nf app/lib/deep/c.js 644 0:0 3
        l app/lib/link ../a.js\nd app/void 755 0:0";
    check(&sources(), layer().copy("src", "/app"), all);
    check(&sources(), layer().copy("src", "/app/"), all);
    check(&sources(), layer().copy("bin", "/"), "f run 755 0:0 2");
    check(&sources(), layer().copy(".", "/").include("bin/**"), "d bin 755 0:0\nf bin/run 755 0:0 2");
    let nested = layer().copy("bin", "/app").copy("src/lib/deep", "/app/run.d");
    check(
        &sources(),
        nested,
        "d app 755 0:0\nf app/run 755 0:0 2\nd app/run.d 755 0:0\nf app/run.d/c.js 644 0:0 3",
    );
}

#[test]
fn a_glob_keeps_paths_below_its_plain_part() {
    check(
        &sources(),
        layer().copy("src/**/*.js", "/app/"),
        "d app 755 0:0\nf app/a.js 644 0:0 1\nd app/lib 755 0:0\nf app/lib/b.js 644 0:0 2
        d app/lib/deep 755 0:0\nf app/lib/deep/c.js 644 0:0 3",
    );
    check(&sources(), layer().copy("src/*.js", "/"), "f a.js 644 0:0 1");
    check(
        &sources(),
        layer().copy("src/l*/d*", "/"),
        "d lib 755 0:0\nd lib/deep 755 0:0\nf lib/deep/c.js 644 0:0 3",
    );
    check(&sources(), layer().copy("src/**/*.js", "/").exclude("lib"), "f a.js 644 0:0 1");
}

#[test]
fn include_and_exclude_choose_below_the_source() {
    let only_maps = layer().copy("src", "/app").include("**/*.map");
    check(&sources(), only_maps, "d app 755 0:0\nd app/lib 755 0:0\nf app/lib/b.map 644 0:0 3");
    let without = layer().copy("src", "/").exclude("**/*.map").exclude("lib/deep").exclude("void");
    check(&sources(), without, "f a.js 644 0:0 1\nd lib 755 0:0\nf lib/b.js 644 0:0 2\nl lib/link ../a.js");
    // They speak of what lies below a directory, not of a file that is named itself.
    check(&sources(), layer().copy("src/a.js", "/x").exclude("**"), "f x 644 0:0 1");
}

#[test]
fn a_source_may_be_a_link_inside_the_root_only() {
    let tree = sources()
        .symlink("current", "src/lib")
        .symlink("alias", "current/b.js")
        .symlink("out", "../secret")
        .symlink("nowhere", "src/gone");
    check(&tree, layer().copy("current/deep", "/"), "f c.js 644 0:0 3");
    check(&tree, layer().copy("alias", "/app/"), "d app 755 0:0\nf app/alias 644 0:0 2");
    check(&tree, layer().copy("current/*.map", "/"), "f b.map 644 0:0 3");
    refused(&tree, layer().copy("out", "/x"), "`out` leads out of the root, by way of `..`");
    refused(&tree, layer().copy("out/*", "/x/"), "`out` leads out of the root, by way of `..`");
    refused(&tree, layer().copy("nowhere", "/x"), "`nowhere` doesn't exist");
}

#[test]
fn what_isn_t_there_or_selects_nothing_is_refused() {
    refused(&sources(), layer().copy("gone", "/x"), "`gone` doesn't exist");
    refused(&sources(), layer().copy("src/a.js/x", "/x"), "`src/a.js/x` doesn't exist");
    refused(&sources(), layer().copy("gone/*.js", "/x/"), "`gone/*.js` selects no files");
    refused(&sources(), layer().copy("src/*.css", "/x/"), "`src/*.css` selects no files");
    refused(&sources(), layer().copy("src/void", "/x"), "`src/void` selects no files");
    refused(&sources(), layer().copy("src", "/x").exclude("**"), "`src` selects no files");
    let both = layer().copy("bin/run", "/run").copy("src/*.css", "/x/").allow_empty();
    check(&sources(), both, "f run 755 0:0 2");
    // Nothing is still something else than nothing being there.
    refused(&sources(), layer().copy("gone", "/x").allow_empty(), "`gone` doesn't exist");
}

#[test]
fn what_no_layer_can_hold_is_refused() {
    for (kind, name) in
        [(FileKind::Fifo, "named pipe"), (FileKind::Socket, "socket"), (FileKind::Device, "device")]
    {
        let tree = MemoryTree::new().node(b"run/odd", kind, 0o644, Vec::new()).file("run/x", "");
        let message = format!("`run/odd` is a {name}, which no layer can hold");
        refused(&tree, layer().copy("run", "/run"), &message);
        refused(&tree, layer().copy("run/odd", "/odd"), &message);
        check(&tree, layer().copy("run", "/run").exclude("odd"), "d run 755 0:0\nf run/x 644 0:0 0");
    }
    for path in ["src/.wh.a", "src/.wh..wh..opq", "src/.wh.d/x"] {
        let tree = MemoryTree::new().file(path, "");
        let error = gathered_from(&tree, &Listing::empty(), layer().copy("src", "/app")).err().unwrap();
        assert!(matches!(error, LayerError::Whiteout { .. }), "{path}: {error}");
    }
}

#[test]
fn our_own_outputs_are_never_input() {
    let tree = sources().file("src/.cache/blob", "x");
    let skip = [tree.metadata(b"src/.cache").unwrap().id];
    let cancel = Cancel::new();
    let listing = Listing::empty();
    let sources = draft::Sources {
        tree: &tree,
        listing: &listing,
        skip: &skip,
        cancel: &cancel,
        latest: None,
        stat: None,
        steps: &[],
    };
    let gathered = gather::gather(&planned(layer().copy("src", "/")), sources).unwrap();
    assert!(show(&gathered.entries).iter().all(|line| !line.contains(".cache")));
    for from in ["src/.cache", "src/.cache/blob", "src/.cache/*", "src/.cache/b*"] {
        let itself = gather::gather(&planned(layer().copy(from, "/x/")), sources);
        assert!(matches!(itself.err(), Some(LayerError::Empty { .. })), "{from}");
    }
}

#[test]
fn a_directory_of_the_base_is_not_replaced_by_a_link_or_file() {
    let tree = sources().symlink("tree/lib", "usr/lib").file("tree2/etc", "");
    let base = base("d lib\nf lib/x\nd etc");
    for layer in [layer().copy("tree", "/"), layer().copy("tree2", "/"), layer().symlink("/etc", "usr/etc")] {
        let refused = gathered_from(&tree, &base, layer).err();
        assert!(matches!(refused, Some(LayerError::OverDirectory { .. })), "{refused:?}");
    }
}

#[test]
fn two_copies_may_write_the_same_to_one_destination() {
    let tree = sources()
        .file("other/a.js", "a")
        .file("third", vec![7; 600 << 10])
        .file("fourth", vec![7; 600 << 10]);
    check(&tree, layer().copy("src/a.js", "/x").copy("other/a.js", "/x").content("/x", "a"), "f x 644 0:0 1");
    check(&tree, layer().copy("third", "/x").copy("fourth", "/x"), "f x 644 0:0 614400");
    check(&tree, layer().symlink("/l", "t").symlink("/l", "t"), "l l t");
    check(&tree, layer().directory("/d").directory("/d/"), "d d 755 0:0");
    check(
        &tree,
        layer().copy("bin", "/app").copy("other", "/app"),
        "d app 755 0:0\nf app/a.js 644 0:0 1\nf app/run 755 0:0 2",
    );
}

#[test]
fn two_copies_that_differ_are_told_with_what_they_differ_in() {
    let large = |last: u8| [vec![7; 600 << 10], vec![last]].concat();
    let tree = sources().file("other/a.js", "b").file("third", large(1)).file("fourth", large(2));
    let both = "copies 1 and 2 both write";
    let cases = [
        (layer().copy("src/a.js", "/x").copy("other/a.js", "/x"), "`/x`, with different contents"),
        (layer().copy("third", "/x").copy("fourth", "/x"), "`/x`, with different contents"),
        (layer().copy("src", "/").copy("other", "/"), "`/a.js`, with different contents"),
        (layer().content("/x", "a").content("/x", "a").mode(0o600), "`/x`, as 0644 0:0 and as 0600 0:0"),
        (layer().content("/x", "a").content("/x", "a").owner(1, 2), "`/x`, as 0644 0:0 and as 0644 1:2"),
        (layer().symlink("/x", "a").symlink("/x", "b"), "`/x`, with different targets"),
        (layer().symlink("/x", "a").content("/x", "a"), "`/x`, as a symbolic link and as a file"),
        (layer().directory("/x").content("/x", "a"), "`/x`, as a directory and as a file"),
        (layer().content("/x", "a").content("/x/y", "a"), "`/x`, as a file and as a directory"),
        (layer().content("/x/y/z", "a").symlink("/x", "a"), "`/x`, as a file and as a directory"),
    ];
    for (layer, message) in cases {
        let error = gathered_from(&tree, &Listing::empty(), layer).err().unwrap().to_string();
        let (one, other) = (format!("{both} {message}"), format!("copies 2 and 1 both write {message}"));
        assert!(error == one || error == other, "{error}");
    }
}

#[test]
fn a_conflict_is_told_with_its_place_in_the_spec() {
    let text = "version = 1\n[layers.app]\ncopy = [\n  { content = \"a\", to = \"/x\" },\n  { content = \"b\", to = \"/x\" },\n]\n[images.app]\nbase = \"scratch\"\nlayers = [\"app\"]\n";
    let spec = Spec::parse(text, &std::collections::BTreeMap::new()).unwrap();
    let planned = plan(&spec, "test", &[], &Nothing).unwrap().layers.remove(0);
    let (tree, listing, cancel) = (MemoryTree::new(), Listing::empty(), Cancel::new());
    let sources = draft::Sources {
        tree: &tree,
        listing: &listing,
        skip: &[],
        cancel: &cancel,
        latest: None,
        stat: None,
        steps: &[],
    };
    let span = gather::gather(&planned, sources).err().unwrap().span().unwrap();
    assert_eq!(&text[span.start..span.end], "{ content = \"b\", to = \"/x\" }");
}

#[test]
fn a_directory_that_is_asked_for_prevails_over_one_that_comes_along() {
    let tree = sources();
    let cases = [
        layer().directory("/app").mode(0o1777).owner(1, 1).copy("bin", "/app").owner(2, 2),
        layer().copy("bin", "/app").owner(2, 2).directory("/app").mode(0o1777).owner(1, 1),
    ];
    for layer in cases {
        check(&tree, layer, "d app 1777 1:1\nf app/run 755 2:2 2");
    }
    // A copy that says something of its directories prevails over one that doesn't.
    let both = layer().copy("bin", "/app").copy("src/lib/deep", "/app").dir_mode(0o700).owner(5, 6);
    check(&tree, both, "d app 700 5:6\nf app/c.js 644 5:6 3\nf app/run 755 0:0 2");
    // Two that do must agree.
    let both = layer().copy("bin", "/app").owner(1, 1).copy("src/lib/deep", "/app").owner(2, 2);
    refused(&tree, both, "copies 1 and 2 both write `/app`, as 0755 1:1 and as 0755 2:2");
}

#[test]
fn directories_inside_a_copy_have_its_metadata_and_those_above_have_not() {
    let expected = "d srv 755 0:0\nd srv/app 700 7:8\nd srv/app/lib 700 7:8\nd srv/app/lib/deep 700 7:8
        f srv/app/lib/deep/c.js 600 7:8 3";
    let rules = |layer: LayerSpec| layer.mode(0o600).dir_mode(0o700).owner(7, 8);
    check(&sources(), rules(layer().copy("src", "/srv/app").include("lib/deep/c.js")), expected);
    check(
        &sources(),
        rules(layer().copy("src/lib/*/c.js", "/srv/app/lib/")).copy("bin", "/srv").include("x").allow_empty(),
        "d srv 755 0:0\nd srv/app 755 0:0\nd srv/app/lib 700 7:8\nd srv/app/lib/deep 700 7:8\nf srv/app/lib/deep/c.js 600 7:8 3",
    );
    check(&sources(), layer().directory("/a/b").mode(0o700).owner(1, 2), "d a 755 0:0\nd a/b 700 1:2");
    check(&sources(), layer().symlink("/a/l", "t").owner(1, 2), "d a 755 0:0\nl a/l t");
    check(
        &sources(),
        layer().content("/a/f", "t").owner(1, 4_294_967_294),
        "d a 755 0:0\nf a/f 644 1:4294967294 1",
    );
}

#[test]
fn modes_of_the_host_are_reduced_to_one_bit() {
    let mut tree = MemoryTree::new();
    for mode in [0o600, 0o444, 0o666, 0o011, 0o700, 0o555, 0o777, 0o100] {
        tree = tree.node(format!("f/{mode:04o}").as_bytes(), FileKind::Regular, mode, Vec::new());
    }
    let tree = tree.node(b"f/d", FileKind::Directory, 0o500, Vec::new());
    check(
        &tree,
        layer().copy("f", "/"),
        "f 0011 644 0:0 0\nf 0100 755 0:0 0\nf 0444 644 0:0 0\nf 0555 755 0:0 0\nf 0600 644 0:0 0
        f 0666 644 0:0 0\nf 0700 755 0:0 0\nf 0777 755 0:0 0\nd d 755 0:0",
    );
}

#[test]
fn entries_come_parents_first_with_subtrees_together() {
    let tree = MemoryTree::new()
        .file("a.b", "")
        .file("a/c", "")
        .file("a/b/c", "")
        .file("a-b/x", "")
        .file("a/b.c", "");
    check(
        &tree,
        layer().copy(".", "/"),
        "d a 755 0:0\nd a/b 755 0:0\nf a/b/c 644 0:0 0\nf a/b.c 644 0:0 0\nf a/c 644 0:0 0
        d a-b 755 0:0\nf a-b/x 644 0:0 0\nf a.b 644 0:0 0",
    );
}

const DEBIAN: &str = "d etc\nf etc/passwd\nl lib usr/lib\nd tmp 1777\nd usr\nd usr/lib 711 3\nd opt 750 9
    d srv\nd srv/data 700 4\nl opt/data ../srv/data\nl opt/users /etc/passwd\nl new /var/new";

#[test]
fn files_land_behind_the_links_of_a_base() {
    let base = base(DEBIAN);
    let check = |layer, expected| check_over(&base, &sources(), layer, expected);
    check(layer().copy("bin/run", "/lib/x"), "d usr 755 0:0\nd usr/lib 711 3:3\nf usr/lib/x 755 0:0 2");
    check(layer().copy("bin/run", "/lib/"), "d usr 755 0:0\nd usr/lib 711 3:3\nf usr/lib/run 755 0:0 2");
    check(layer().copy("bin", "/lib"), "d usr 755 0:0\nd usr/lib 711 3:3\nf usr/lib/run 755 0:0 2");
    check(layer().copy("bin/*", "/lib/"), "d usr 755 0:0\nd usr/lib 711 3:3\nf usr/lib/run 755 0:0 2");
    check(layer().directory("/lib/d"), "d usr 755 0:0\nd usr/lib 711 3:3\nd usr/lib/d 755 0:0");
    check(layer().directory("/new"), "d var 755 0:0\nd var/new 755 0:0");
    check(layer().symlink("/lib/l", "t"), "d usr 755 0:0\nd usr/lib 711 3:3\nl usr/lib/l t");
    // A single thing replaces a link that has its own name.
    check(layer().symlink("/lib", "usr/lib64"), "l lib usr/lib64");
    check(layer().content("/opt/users", "x"), "d opt 750 9:9\nf opt/users 644 0:0 1");
}

#[test]
fn directories_of_a_base_keep_its_metadata() {
    let base = base(DEBIAN);
    let tree = MemoryTree::new().file("root/tmp/x", "").file("root/lib/y", "").file("root/opt/data/z", "");
    let expected = "d opt 750 9:9\nd srv 755 0:0\nd srv/data 700 4:4\nf srv/data/z 644 0:0 0\nd tmp 1777 0:0
        f tmp/x 644 0:0 0\nd usr 755 0:0\nd usr/lib 711 3:3\nf usr/lib/y 644 0:0 0";
    check_over(&base, &tree, layer().copy("root", "/"), expected);
    // A glob takes only what it matches; what lies above comes along.
    let expected = expected.strip_prefix("d opt 750 9:9\n").unwrap();
    check_over(&base, &tree, layer().copy("root/**/?", "/"), expected);
    // Unless the copy says what they should be.
    let rules = layer().copy("root/tmp", "/tmp").dir_mode(0o700).owner(1, 2);
    check_over(&base, &tree, rules, "d tmp 700 1:2\nf tmp/x 644 1:2 0");
    check_over(&base, &tree, layer().directory("/tmp"), "d tmp 1777 0:0");
    check_over(&base, &tree, layer().directory("/tmp").mode(0o755), "d tmp 755 0:0");
}

#[test]
fn putting_a_file_into_a_directory_of_a_base_leaves_the_directory_as_it_is() {
    let base = base(DEBIAN);
    for from in ["bin/run", "bin/*"] {
        let rules = layer().copy(from, "/tmp/").owner(5, 5).dir_mode(0o700);
        check_over(&base, &sources(), rules, "d tmp 1777 0:0\nf tmp/run 755 5:5 2");
        // One that isn't there is made as the copy's own.
        let rules = layer().copy(from, "/tmp/new/").owner(5, 5).dir_mode(0o700);
        check_over(&base, &sources(), rules, "d tmp 1777 0:0\nd tmp/new 700 5:5\nf tmp/new/run 755 5:5 2");
    }
}

#[test]
fn metadata_of_a_copy_reaches_directories_behind_links_of_a_base() {
    let rules = layer().copy("src", "/lib/app").include("lib/b.js").dir_mode(0o700).owner(5, 5);
    check_over(
        &base(DEBIAN),
        &sources(),
        rules,
        "d usr 755 0:0\nd usr/lib 711 3:3\nd usr/lib/app 700 5:5\nd usr/lib/app/lib 700 5:5
        f usr/lib/app/lib/b.js 644 5:5 2",
    );
}

#[test]
fn a_file_of_a_base_is_never_taken_for_a_directory() {
    let base = base(DEBIAN);
    let tree = sources().file("root/opt/users/x", "");
    let message = |path: &str| format!("`/{path}` cannot be written: `/etc/passwd` is a file of the base");
    refused_over(&base, &tree, layer().content("/etc/passwd/x", ""), &message("etc/passwd/x"));
    refused_over(&base, &tree, layer().content("/opt/users/x", ""), &message("etc/passwd/x"));
    refused_over(&base, &tree, layer().copy("root", "/"), &message("opt/users"));
    refused_over(&base, &tree, layer().copy("bin", "/opt/users"), &message("opt/users"));
    refused_over(&base, &tree, layer().directory("/opt/users"), &message("opt/users"));
    let over = "`/etc` is a directory of the base, and a file would take its place";
    refused_over(&base, &tree, layer().content("/etc", ""), over);
    refused_over(&base, &tree, layer().copy("src/a.js", "/etc"), over);
}

#[test]
fn links_of_a_base_that_go_in_circles_are_told() {
    let base = base("l a b\nl b a");
    let error = gathered_from(&sources(), &base, layer().copy("bin", "/a/x")).err().unwrap();
    assert!(matches!(error, LayerError::Listing(ListingError::Loop { .. })), "{error}");
}

/// Builds a layer into a store of its own, and returns what was warned of.
fn built(tree: &dyn FileTree, layer: LayerSpec) -> Result<(Record, Vec<String>), LayerError> {
    built_within(tree, layer, None)
}

fn built_within(
    tree: &dyn FileTree,
    layer: LayerSpec,
    latest: Option<i64>,
) -> Result<(Record, Vec<String>), LayerError> {
    build_planned(tree, &planned(layer), latest)
}

fn build_planned(
    tree: &dyn FileTree,
    layer: &PlannedLayer,
    latest: Option<i64>,
) -> Result<(Record, Vec<String>), LayerError> {
    let directory = tempfile::tempdir().unwrap();
    build_into(&Store::new(directory.path()), tree, layer, latest)
}

fn build_into(
    store: &Store,
    tree: &dyn FileTree,
    layer: &PlannedLayer,
    latest: Option<i64>,
) -> Result<(Record, Vec<String>), LayerError> {
    let (budget, cancel) = (Budget::default(), Cancel::new());
    let warnings = Mutex::new(Vec::new());
    let observer = |event: &Event| {
        if let Event::Warning(warning) = event {
            assert!(warning.hint.is_some());
            warnings.lock().unwrap().push(warning.message.clone());
        }
    };
    let workshop = Workshop {
        tree,
        skip: &[],
        store,
        budget: &budget,
        observer: &observer,
        cancel: &cancel,
        circumstances: Circumstances { spec: "test", host: "host", latest, steps: &[] },
        stat: None,
        answers: None,
        asks_elsewhere: false,
        is_listed: false,
        blocks: None,
        last: None,
        inspects: true,
        last_inspection: None,
    };
    let record = build(layer, &Listing::empty(), ManifestKeys::default(), workshop)?.0.record;
    let warnings = warnings.lock().unwrap().clone();
    Ok((record, warnings))
}

#[test]
fn dropped_bits_are_warned_of_unless_the_copy_says_a_mode() {
    let tree = MemoryTree::new()
        .node(b"bin/su", FileKind::Regular, 0o4755, Vec::new())
        .node(b"bin/wall", FileKind::Regular, 0o2755, Vec::new())
        .node(b"root/tmp", FileKind::Directory, 0o1777, Vec::new());
    let warnings = |layer| built(&tree, layer).unwrap().1;
    assert_eq!(
        warnings(layer().copy("bin", "/bin")),
        ["layer `app`: setuid, setgid or sticky is dropped from `bin/su` and 1 more"]
    );
    assert_eq!(
        warnings(layer().copy("root", "/")),
        ["layer `app`: setuid, setgid or sticky is dropped from `root/tmp`"]
    );
    assert!(warnings(layer().copy("bin/su", "/su").mode(0o4755)).is_empty());
    assert!(warnings(layer().copy("root", "/").dir_mode(0o755)).is_empty());
    check(&tree, layer().copy("bin/su", "/su"), "f su 755 0:0 0");
    let over = base("d tmp 1777");
    assert!(gathered_from(&tree, &over, layer().copy("root", "/")).unwrap().notes.special_modes.is_none());
}

#[test]
fn hard_links_are_written_each_and_reported() {
    let disk = TempTree::new()
        .file("d/a", "12345")
        .hard_link("d/b", "d/a")
        .hard_link("d/c", "d/a")
        .hard_link("e", "d/a");
    let tree = DiskTree::open(disk.path()).unwrap();
    let (record, warnings) = built(&tree, layer().copy("d", "/")).unwrap();
    assert_eq!(record.entries, 3);
    assert_eq!(warnings, ["layer `app`: 2 files are hard links of others: 10 bytes are in it twice"]);
    // One of several names alone is nothing to speak of.
    assert!(built(&tree, layer().copy("e", "/e")).unwrap().1.is_empty());
}

#[test]
fn compiled_python_that_goes_stale_is_counted() {
    let pyc = |flags: u8| [b"\xa7\x0d\x0d\x0a", &[flags, 0, 0, 0][..], &[1; 40]].concat();
    let tree = MemoryTree::new()
        .file("p/__pycache__/a.pyc", pyc(0))
        .file("p/__pycache__/b.pyc", pyc(0))
        .file("p/__pycache__/c.pyc", pyc(3))
        .file("p/__pycache__/d.py", pyc(0))
        .file("p/legacy.pyc", pyc(0));
    let (_, warnings) = built(&tree, layer().copy("p", "/")).unwrap();
    assert_eq!(warnings, ["layer `app`: 2 compiled Python files check a timestamp that images don't keep"]);
    let (_, warnings) = built(&tree, layer().copy("p", "/").pyc(Pyc::Drop)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

fn program(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([machine, 0, 0, 0]);
    bytes
}

#[test]
fn programs_for_another_machine_are_refused_unless_they_are_let_through() {
    let tree = MemoryTree::new().program("bin/ours", program(0x3e)).program("arm/theirs", program(0xb7));
    let (record, _) = built(&tree, layer().copy("bin", "/bin")).unwrap();
    assert_eq!(record.machines.iter().collect::<Vec<_>>(), ["amd64"]);
    let error = built(&tree, layer().copy("arm", "/bin")).unwrap_err();
    assert_eq!(error.to_string(), "`/bin/theirs` is a program for arm64, and the image is for linux/amd64");
    let (record, _) = built(&tree, layer().copy("arm", "/bin").allow_foreign()).unwrap();
    assert!(record.machines.is_empty());
    let error = built(&tree, layer().copy("arm", "/a").allow_foreign().copy("arm", "/b")).unwrap_err();
    assert!(matches!(error, LayerError::Foreign { .. }));
    // What packages brought is judged when all is there; but the layer has programs, which follow from the host.
    let (record, _) = built(&tree, layer().copy("arm", "/app/node_modules/addon")).unwrap();
    assert!(!record.machines.is_empty() && suits(&record, &planned(layer().copy("arm", "/app"))));
}

#[test]
fn programs_are_refused_by_systems_that_do_not_run_their_form() {
    let tree = MemoryTree::new().program("ours", program(0x3e)).file("setup.exe", b"MZ\x90\0".to_vec());
    let on =
        |platform: &str, layer| PlannedLayer { platforms: vec![platform.parse().unwrap()], ..planned(layer) };
    let error = build_planned(&tree, &on("windows/amd64", layer().copy("ours", "/")), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/ours` is a program for Linux (ELF) on amd64, and the image is for windows/amd64"
    );
    for (platform, layer) in [
        ("windows/amd64", layer().copy("ours", "/").allow_foreign()),
        ("freebsd/amd64", layer().copy("ours", "/")),
        // .NET's libraries have the form of Windows' programs everywhere.
        ("linux/amd64", layer().copy("setup.exe", "/")),
        ("windows/amd64", layer().copy("setup.exe", "/")),
    ] {
        build_planned(&tree, &on(platform, layer), None).unwrap();
    }
    let (record, _) = built(&tree, layer().copy("ours", "/")).unwrap();
    assert!(!suits(&record, &on("windows/amd64", layer().copy("ours", "/"))));
}

#[test]
fn a_layer_of_nothing_is_a_layer() {
    let (record, _) = built(&MemoryTree::new(), layer().directory("/")).unwrap();
    assert_eq!((record.entries, record.tar_size), (0, 1024));
}
