//! What copies keep of the host's metadata, and what becomes of it where they don't.

use super::*;
use crate::digest::to_hex;
use crate::files::Timestamp;
use crate::spec::Preserve;

const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn keep(names: &str) -> Preserve {
    let mut preserve = Preserve::default();
    names.split(' ').for_each(|name| preserve.add(name).unwrap());
    preserve
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: 999_999_999 }
}

/// A tree in which everything has metadata of its own.
fn tree() -> MemoryTree {
    MemoryTree::new()
        .node(b"src", FileKind::Directory, 0o2770, Vec::new())
        .node(b"src/bin", FileKind::Directory, 0o1777, Vec::new())
        .node(b"src/bin/ping", FileKind::Regular, 0o4510, b"ping".to_vec())
        .file("src/note", "note")
        .symlink("src/link", "note")
        .stamp("src", (1, 2), at(10))
        .stamp("src/bin", (3, 4), at(20))
        .stamp("src/bin/ping", (5, 6), at(30))
        .stamp("src/note", (7, 8), at(-40))
        .stamp("src/link", (9, 10), at(9_000_000_000))
        .xattr("src/bin/ping", "security.capability", CAPABILITY)
        .xattr("src/bin/ping", "user.z", "1")
        .xattr("src/note", "user.b", "line\nNUL\0")
        .xattr("src/note", "user.a", "")
        .xattr("src/note", "security.capability", CAPABILITY)
        .xattr("src/note", "security.selinux", "label")
        .xattr("src/bin", "user.d", "d")
}

/// `KIND PATH MODE UID:GID MTIME NAME=HEX…`
fn lines(tree: &MemoryTree, listing: &Listing, latest: Option<i64>, layer: LayerSpec) -> Vec<String> {
    let cancel = Cancel::new();
    let sources =
        draft::Sources { tree, listing, skip: &[], cancel: &cancel, latest, stat: None, steps: &[] };
    let entries = gather::gather(&planned(layer), sources).unwrap().entries;
    let line = |entry: &Entry| {
        let kind = match &entry.kind {
            EntryKind::Directory => "d".to_owned(),
            EntryKind::Symlink(_) => "l".to_owned(),
            EntryKind::Hardlink(target) => format!("h<{}>", target.escape_ascii()),
            EntryKind::File { .. } => "f".to_owned(),
        };
        let Entry { path, mode, uid, gid, mtime, .. } = entry;
        let xattrs = entry.xattrs.iter().flat_map(|xattrs| xattrs.iter());
        let xattrs = xattrs.map(|(name, value)| format!(" {}={}", name.escape_ascii(), to_hex(value)));
        format!("{kind} {} {mode:o} {uid}:{gid} {mtime}{}", path.escape_ascii(), xattrs.collect::<String>())
    };
    entries.iter().map(line).collect()
}

#[track_caller]
fn check(layer: LayerSpec, expected: &str) {
    check_within(&tree(), &Listing::empty(), None, layer, expected);
}

#[track_caller]
fn check_within(tree: &MemoryTree, listing: &Listing, latest: Option<i64>, layer: LayerSpec, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(tree, listing, latest, layer), expected);
}

const CAP: &str = "security.capability=0100000200200000000000000000000000000000";

#[test]
fn by_default_nothing_stays_but_the_capabilities_of_programs() {
    check(
        layer().copy("src", "/a"),
        &format!(
            "d a 755 0:0 1\nd a/bin 755 0:0 1\nf a/bin/ping 755 0:0 1 {CAP}\nl a/link 777 0:0 1\nf a/note 644 0:0 1"
        ),
    );
    check(layer().copy("src/bin/ping", "/ping"), &format!("f ping 755 0:0 1 {CAP}"));
}

#[test]
fn each_kind_of_metadata_is_kept_alone() {
    let kept = |what| layer().copy("src", "/a").preserve(keep(what));
    check(
        kept("mode"),
        &format!(
            "d a 2770 0:0 1\nd a/bin 1777 0:0 1\nf a/bin/ping 4510 0:0 1 {CAP}\nl a/link 777 0:0 1\nf a/note 644 0:0 1"
        ),
    );
    check(
        kept("owner"),
        &format!(
            "d a 755 1:2 1\nd a/bin 755 3:4 1\nf a/bin/ping 755 5:6 1 {CAP}\nl a/link 777 9:10 1\nf a/note 644 7:8 1"
        ),
    );
    check(
        kept("mtime"),
        &format!(
            "d a 755 0:0 10\nd a/bin 755 0:0 20\nf a/bin/ping 755 0:0 30 {CAP}\nl a/link 777 0:0 9000000000\nf a/note 644 0:0 -40"
        ),
    );
    check(
        kept("xattrs"),
        &format!(
            "d a 755 0:0 1\nd a/bin 755 0:0 1 user.d=64\nf a/bin/ping 755 0:0 1 {CAP} user.z=31
            l a/link 777 0:0 1\nf a/note 644 0:0 1 {CAP} user.a= user.b=6c696e650a4e554c00"
        ),
    );
}

#[test]
fn what_the_copy_says_prevails_over_what_the_layer_keeps() {
    check(
        layer()
            .preserve(keep("mode owner"))
            .copy("src", "/a")
            .exclude("link")
            .mode(0o600)
            .dir_mode(0o700)
            .owner(1, 1),
        &format!("d a 700 1:1 1\nd a/bin 700 1:1 1\nf a/bin/ping 600 1:1 1 {CAP}\nf a/note 600 1:1 1"),
    );
}

#[test]
fn directories_that_only_come_along_are_kept_as_they_are() {
    let all = keep("mode mtime owner xattrs");
    let ping = format!("f a/bin/ping 4510 5:6 30 {CAP} user.z=31");
    check(
        layer().copy("src", "/a").include("bin/ping").preserve(all),
        &format!("d a 2770 1:2 10\nd a/bin 1777 3:4 20 user.d=64\n{ping}"),
    );
    check(
        layer().copy("src/*/ping", "/a/").preserve(all),
        &format!("d a 755 0:0 1\nd a/bin 1777 3:4 20 user.d=64\n{ping}"),
    );
    // A single file brings nothing along.
    check(layer().copy("src/note", "/b/").preserve(keep("mtime")), "d b 755 0:0 1\nf b/note 644 0:0 -40");
}

#[test]
fn directories_of_the_base_stay_unless_something_of_them_is_kept() {
    let base = base("d a 711 3\nd a/bin 700 9");
    let only = |what| layer().copy("src", "/a").include("bin").exclude("bin/ping").preserve(keep(what));
    let check = |layer, expected| check_within(&tree(), &base, None, layer, expected);
    check(only("mtime"), "d a 711 3:3 10\nd a/bin 700 9:9 20");
    check(only("mode"), "d a 2770 3:3 1\nd a/bin 1777 9:9 1");
    check(only("owner"), "d a 711 1:2 1\nd a/bin 700 3:4 1");
}

#[test]
fn no_time_is_later_than_the_bound() {
    let kept = |what| layer().copy("src", "/").preserve(keep(what)).exclude("bin/ping");
    check_within(
        &tree(),
        &Listing::empty(),
        Some(15),
        kept("mtime"),
        "d bin 755 0:0 15\nl link 777 0:0 15\nf note 644 0:0 -40",
    );
    check_within(
        &tree(),
        &Listing::empty(),
        Some(15),
        kept("mode"),
        "d bin 1777 0:0 1\nl link 777 0:0 1\nf note 644 0:0 1",
    );
}

#[test]
fn a_directory_has_the_later_of_two_times_and_files_must_agree() {
    let tree = tree().file("other/x", "").stamp("other", (0, 0), at(15)).stamp("other/x", (0, 0), at(3));
    let both = |one: LayerSpec, from, what| one.copy(from, "/a").preserve(keep(what));
    let expected = "d a 755 0:0 15\nl a/link 777 0:0 9000000000\nf a/x 644 0:0 3";
    let links = |layer: LayerSpec| both(layer, "src", "mtime").include("link");
    check_within(&tree, &Listing::empty(), None, both(links(layer()), "other", "mtime"), expected);
    check_within(&tree, &Listing::empty(), None, links(both(layer(), "other", "mtime")), expected);
    let twice = layer().copy("src/note", "/x").copy("src/note", "/x");
    refused(
        &tree,
        twice.clone().preserve(keep("mtime")),
        "copies 1 and 2 both write `/x`, as changed 1 and -40 seconds after 1970-01-01",
    );
    refused(
        &tree,
        twice.preserve(keep("xattrs")),
        "copies 1 and 2 both write `/x`, with different extended attributes",
    );
}

#[test]
fn bits_that_are_kept_are_not_warned_of() {
    let kept = layer().copy("src", "/").preserve(keep("mode"));
    assert!(built(&tree(), kept).unwrap().1.is_empty());
    assert_eq!(built(&tree(), layer().copy("src", "/")).unwrap().1.len(), 1);
}

#[test]
fn a_name_that_no_archive_holds_is_refused() {
    for (name, shown) in [("user.a=b", "user.a=b"), ("user.a\nb", "user.a\\nb")] {
        let tree = tree().xattr("src/note", name, "1");
        let message = format!(
            "`src/note` has an extended attribute `{shown}`, and no archive can hold one with `=` or a line break in its name"
        );
        refused(&tree, layer().copy("src", "/").preserve(keep("xattrs")), &message);
    }
}

#[test]
fn more_attributes_than_readers_take_are_refused() {
    // Each record of these takes 64,026 bytes, that of the longer name two more, and all others 114.
    let with = |count: u32| {
        let value = "x".repeat(64_000 - 4);
        (0..count).fold(tree(), |tree, number| {
            let name = if number == 3 { "user.note-3" } else { &format!("user.{number:04}") };
            tree.xattr("src/note", name, value.as_str())
        })
    };
    let kept = || layer().copy("src", "/").preserve(keep("xattrs"));
    built(&with(16), kept()).unwrap();
    let message = "the extended attributes of `src/note` take 1088558 bytes in an archive, \
        and readers allow 1032192; `user.note-3` is the largest of them";
    refused(&with(17), kept(), message);
    built(&with(17), layer().copy("src", "/")).unwrap();
}

fn linked() -> MemoryTree {
    MemoryTree::new()
        .program("d/b", "12345")
        .hard_link("d/c", "d/b")
        .hard_link("d/a", "d/b")
        .hard_link("e/a", "d/b")
}

#[test]
fn names_of_one_file_stay_one_where_they_are_kept() {
    let links = keep("hardlinks");
    let check = |layer, expected: &str| check_within(&linked(), &Listing::empty(), None, layer, expected);
    let whole = "f d/a 755 0:0 1\nh<d/a> d/b 755 0:0 1\nh<d/a> d/c 755 0:0 1\nd e 755 0:0 1";
    let whole = format!("d d 755 0:0 1\n{whole}");
    check(layer().copy(".", "/").preserve(links), &format!("{whole}\nh<d/a> e/a 755 0:0 1"));
    let apart = |one: Preserve, other: Preserve| {
        layer().copy("d", "/d").preserve(one).copy("e", "/e").preserve(other)
    };
    check(apart(links, links), &format!("{whole}\nh<d/a> e/a 755 0:0 1"));
    // All names must be kept by their copies, with the same metadata.
    check(apart(links, Preserve::NOTHING), &format!("{whole}\nf e/a 755 0:0 1"));
    check(apart(links, links).mode(0o700), &format!("{whole}\nf e/a 700 0:0 1"));
    check(apart(links, links).allow_foreign(), &format!("{whole}\nf e/a 755 0:0 1"));
    check(
        apart(Preserve::NOTHING, links),
        "d d 755 0:0 1\nf d/a 755 0:0 1\nf d/b 755 0:0 1\nf d/c 755 0:0 1\nd e 755 0:0 1\nf e/a 755 0:0 1",
    );
}

#[test]
fn only_what_is_written_again_is_reported() {
    let warnings = |layer| built(&linked(), layer).unwrap().1;
    assert!(warnings(layer().copy(".", "/").preserve(keep("hardlinks"))).is_empty());
    let apart = layer().copy("d", "/d").preserve(keep("hardlinks")).copy("e", "/e");
    let twice = |what| vec![format!("layer `app`: {what} bytes are in it twice")];
    assert_eq!(warnings(apart), twice("a file is a hard link of another: 5"));
    assert_eq!(warnings(layer().copy(".", "/")), twice("3 files are hard links of others: 15"));
    // Two copies of one name to one place are one file.
    assert!(warnings(layer().copy("d/a", "/a").copy("d/a", "/a")).is_empty());
}

#[test]
fn compiled_python_is_fresh_where_its_sources_time_is_kept() {
    let pyc = [b"\xa7\x0d\x0d\x0a\0\0\0\0", &1_000_u32.to_le_bytes()[..], &[1; 40]].concat();
    let tree =
        MemoryTree::new().file("p/__pycache__/a.pyc", pyc).stamp("p/__pycache__/a.pyc", (0, 0), at(2_000));
    let stale = |latest, preserve| {
        let layer = layer().copy("p", "/").preserve(preserve);
        built_within(&tree, layer, latest).unwrap().1.len()
    };
    assert_eq!(stale(None, keep("mode")), 1);
    assert_eq!(stale(None, keep("mtime")), 0);
    assert_eq!(stale(Some(1_500), keep("mtime")), 0, "the source is older than the bound");
    assert_eq!(stale(Some(999), keep("mtime")), 1);
}

#[test]
fn whatever_is_kept_reaches_the_digest() {
    let digest = |layer| built(&tree(), layer).unwrap().0.layers[0].diff_id;
    let kinds = ["mode", "mtime", "owner", "xattrs", "mode mtime owner xattrs"];
    let mut digests: Vec<_> = kinds.map(|kind| digest(layer().copy("src", "/").preserve(keep(kind)))).into();
    digests.push(digest(layer().copy("src", "/")));
    let keys = |layer| built(&tree(), layer).unwrap().0.key;
    assert_ne!(keys(layer().copy("src", "/")), keys(layer().copy("src", "/").preserve(keep("mtime"))));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}
