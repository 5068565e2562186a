//! Our layers in other hands: GNU tar, bsdtar, Python's tarfile, the `tar` crate and our own
//! reader must all see what was put in, down to the bytes of names.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Cursor, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use ocibuild_core::Digest;
use ocibuild_core::files::{DiskTree, Entry, EntryKind, FileSource, FileTree as _, Xattrs};
use ocibuild_core::oci::{Compression, Platform};
use ocibuild_core::spec::{ImageSpec, LayerSpec};
use ocibuild_core::tar::{self as own, write_header};
use ocibuild_testkit::skip::root;
use ocibuild_testkit::{require, run, tool};
use proptest::prelude::*;

/// What a reader sees of a layer: a line for each path.
type Seen = BTreeMap<Vec<u8>, String>;

enum Node {
    Directory,
    File(&'static [u8], u32),
    Link(Vec<u8>),
}

/// A tree with whatever a file system takes and an archive may stumble over.
fn nodes() -> Vec<(Vec<u8>, Node)> {
    let mut nodes = vec![
        (b"empty".to_vec(), Node::File(b"", 0o600)),
        (b"void".to_vec(), Node::Directory),
        (b"with space".to_vec(), Node::File(b"1", 0o644)),
        (b" lead and trail ".to_vec(), Node::File(b"1", 0o644)),
        (b"new\nline".to_vec(), Node::File(b"2", 0o755)),
        (b"tab\tquote\"back\\slash*?[x]".to_vec(), Node::File(b"2", 0o755)),
        (b"-rf".to_vec(), Node::File(b"3", 0o644)),
        (b"caf\xe9".to_vec(), Node::File(b"Latin-1", 0o644)),
        (b"\xff\xfe\x01".to_vec(), Node::File(b"nothing at all", 0o644)),
        ("grün/😀".into(), Node::File(b"UTF-8", 0o644)),
        (b"link/odd".to_vec(), Node::Link(b"../x//y/./z/".to_vec())),
        (b"link/absolute".to_vec(), Node::Link(b"/with space/..//".to_vec())),
        (b"link/latin".to_vec(), Node::Link(b"../caf\xe9".to_vec())),
        (b"link/utf".to_vec(), Node::Link("../grün".into())),
        (b"block".to_vec(), Node::File(&[7; 512], 0o644)),
        (b"more".to_vec(), Node::File(&[8; 70_001], 0o644)),
        (b"large".to_vec(), Node::File(&[9; (3 << 20) + 17], 0o755)),
    ];
    for length in [99, 100, 101, 155, 156, 200, 255] {
        nodes.push((vec![b'a'; length], Node::File(b"long", 0o644)));
        nodes.push((["ü".repeat(length / 2).into_bytes(), vec![b'x'; length % 2]].concat(), Node::Directory));
        let target = [&[b't'; 300][..length - 2], b"/y"].concat();
        nodes.push((format!("link/{length}").into_bytes(), Node::Link(target)));
    }
    for length in [255, 256, 257, 300] {
        nodes.push((nested(b'n', length), Node::File(b"deep", 0o644)));
        nodes.push((nested(b'd', length), Node::Directory));
        nodes.push((nested(0xe9, length), Node::File(b"deep Latin-1", 0o644)));
        nodes.push((format!("link/to{length}").into_bytes(), Node::Link(nested(0xe8, length))));
    }
    // A prefix that is too long, though the name behind it isn't.
    nodes.push(([&[b'p'; 156][..], b"/y"].concat(), Node::File(b"split", 0o644)));
    nodes.push(([&[b'q'; 155][..], b"/", &[b'y'; 100]].concat(), Node::File(b"fits", 0o644)));
    for mode in [0o400, 0o444, 0o500, 0o640, 0o666, 0o711, 0o777] {
        nodes.push((format!("mode/{mode:o}").into_bytes(), Node::File(b"mode", mode)));
    }
    nodes
}

/// A path of a length, in names of 77 bytes.
fn nested(byte: u8, length: usize) -> Vec<u8> {
    let mut path = vec![byte; length];
    path.iter_mut().skip(77).step_by(78).for_each(|slash| *slash = b'/');
    if path.last() == Some(&b'/') {
        path[length - 1] = byte;
    }
    path
}

fn make(root: &Path, nodes: &[(Vec<u8>, Node)]) {
    for (path, node) in nodes {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::Directory => fs::create_dir_all(path).unwrap(),
            Node::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
            Node::File(content, mode) => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

/// Owner and modes that a copy gives.
#[derive(Clone, Copy)]
struct Rule {
    owner: (u64, u64),
    file: Option<u32>,
    directory: u32,
}

fn expected(nodes: &[(Vec<u8>, Node)], rule: Rule) -> Seen {
    let (mut seen, (uid, gid)) = (Seen::new(), rule.owner);
    for (path, node) in nodes {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            seen.insert(path[..at].to_vec(), line("directory", rule.directory, uid, gid, 1, b""));
        }
        let line = match node {
            Node::Directory => line("directory", rule.directory, uid, gid, 1, b""),
            Node::Link(target) => line("link", 0o777, uid, gid, 1, target),
            Node::File(content, mode) => {
                let mode = rule.file.unwrap_or(if mode & 0o100 == 0 { 0o644 } else { 0o755 });
                line("file", mode, uid, gid, 1, content)
            }
        };
        seen.insert(path.clone(), line);
    }
    seen
}

fn line(kind: &str, mode: u32, uid: u64, gid: u64, mtime: i64, body: &[u8]) -> String {
    let body = if kind == "file" { Digest::of(body).hex() } else { hex(body) };
    format!("{kind} {mode:o} {uid}:{gid} {mtime} {body}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn no_slash(path: &[u8]) -> Vec<u8> {
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

fn add(seen: &mut Seen, path: Vec<u8>, line: String) {
    assert!(seen.insert(path.clone(), line).is_none(), "`{}` is there twice", path.escape_ascii());
}

#[track_caller]
fn assert_same(reader: &str, expected: &Seen, seen: &Seen) {
    for (path, line) in expected {
        let found = seen.get(path).map_or("nothing", String::as_str);
        assert_eq!(found, line, "{reader}: `{}`", path.escape_ascii());
    }
    let more: Vec<_> = seen.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "{reader}: {more:?}");
}

/// Builds the layer in each compression, and hands its blob to a test.
fn with_layers(test: impl Fn(&str, &Path, &Path, &Seen)) {
    let rules = [
        Rule { owner: (0, 0), file: None, directory: 0o755 },
        Rule { owner: (u64::from(u32::MAX) - 1, 1 << 21), file: Some(0o6751), directory: 0o1770 },
    ];
    let home = tempfile::tempdir().unwrap();
    let (nodes, source) = (nodes(), home.path().join("source"));
    make(&source, &nodes);
    let tree = DiskTree::open(&source).unwrap();
    for (index, rule) in rules.into_iter().enumerate() {
        for compression in [Compression::None, Compression::default(), Compression::Zstd { level: 3 }] {
            let mut layer = LayerSpec::named("app").copy(".", "/").compression(compression);
            if let Some(mode) = rule.file {
                layer = layer.mode(mode).dir_mode(rule.directory);
                layer = layer.owner(rule.owner.0 as u32, rule.owner.1 as u32);
            }
            let image = ImageSpec::scratch(Platform::linux_amd64()).layer(layer);
            let cache = home.path().join("cache");
            let built = support::build_image(&tree, &image, &support::Setup::new(&cache));
            let blob = built.store().path(&built.layers[0].record.layers[0].descriptor.digest);
            let scratch = home.path().join(format!("{index}-{compression}"));
            fs::create_dir(&scratch).unwrap();
            let tar = scratch.join("layer.tar");
            fs::write(&tar, support::tar_bytes(&built)).unwrap();
            test(&format!("{compression}"), &blob, &tar, &expected(&nodes, rule));
        }
    }
}

/// Lists an unpacked tree.
fn listed(directory: &Path) -> Seen {
    let (mut seen, mut waiting) = (Seen::new(), vec![directory.to_owned()]);
    while let Some(parent) = waiting.pop() {
        for child in fs::read_dir(parent).unwrap() {
            let path = child.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let (kind, body) = if metadata.is_dir() {
                waiting.push(path.clone());
                ("directory", Vec::new())
            } else if metadata.is_symlink() {
                ("link", fs::read_link(&path).unwrap().into_os_string().into_vec())
            } else {
                ("file", fs::read(&path).unwrap())
            };
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid().into(), metadata.gid().into());
            let name = path.strip_prefix(directory).unwrap().as_os_str().as_bytes().to_vec();
            add(&mut seen, name, line(kind, mode, uid, gid, metadata.mtime(), &body));
        }
    }
    seen
}

/// Unpacks with a program; what it says has to be nothing, but in the C locale.
fn unpack(program: &Path, locale: &str, blob: &Path, expected: &Seen) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env("LC_ALL", locale).arg("-C").arg(directory.path()).args(["--numeric-owner", "-xpf"]).arg(blob);
    let output = ocibuild_testkit::run_any(&mut command);
    assert_same(&format!("{} in {locale}", program.display()), expected, &listed(directory.path()));
    // For what fits into no field, the two want different things of names that aren't UTF-8: see
    // `tar/write.rs`.
    let foreign = ["hdrcharset", "can't be converted from UTF-8", "Error exit delayed"];
    for said in output.errors().lines().filter(|line| !line.is_empty()) {
        assert!(foreign.iter().any(|known| said.contains(known)), "{output}");
    }
    if locale != "C" {
        output.expect_code(0);
    }
}

#[test]
fn gnu_tar_unpacks_what_was_put_in() {
    let tar = require!(tool("tar"));
    require!(root());
    with_layers(|_, blob, _, expected| {
        unpack(&tar, "C", blob, expected);
        unpack(&tar, "C.UTF-8", blob, expected);
    });
}

#[test]
fn bsdtar_unpacks_what_was_put_in() {
    let bsdtar = require!(tool("bsdtar"));
    require!(root());
    with_layers(|_, blob, _, expected| {
        unpack(&bsdtar, "C", blob, expected);
        unpack(&bsdtar, "C.UTF-8", blob, expected);
    });
}

const PYTHON: &str = r#"
import hashlib, sys, tarfile
raw = lambda name: name.encode("utf-8", "surrogateescape").hex()
archive = tarfile.open(sys.argv[1], mode="r:*")
for member in archive:
    kind = "directory" if member.isdir() else "link" if member.issym() else "file" if member.isreg() else "?"
    body = raw(member.linkname)
    if kind == "file" and sys.argv[2] == "read":
        body = hashlib.sha256(archive.extractfile(member).read()).hexdigest()
    print(raw(member.name), kind, "%o" % member.mode, "%d:%d" % (member.uid, member.gid), int(member.mtime), body or member.size, sep=" ")
    if sys.argv[2] == "first":
        break
"#;

fn python(python: &Path, archive: &Path, what: &str) -> Seen {
    let mut command = Command::new(python);
    command.args(["-c", PYTHON, archive.to_str().unwrap(), what]);
    let mut seen = Seen::new();
    for line in run(&mut command).text().lines() {
        let (path, rest) = line.split_once(' ').unwrap();
        add(&mut seen, unhex(path), rest.to_owned());
    }
    seen
}

#[test]
fn python_reads_what_was_put_in() {
    let program = require!(tool("python3"));
    with_layers(|compression, blob, tar, expected| {
        // Its older versions know nothing of zstd.
        let archive = if compression.starts_with("zstd") { tar } else { blob };
        let mut seen = python(&program, archive, "read");
        // A directory has no body; the script shows its size.
        seen.values_mut().filter(|line| line.starts_with("directory")).for_each(|line| {
            *line = line.strip_suffix('0').unwrap().to_owned();
        });
        assert_same("python", expected, &seen);
    });
}

#[test]
fn the_tar_crate_reads_what_was_put_in() {
    with_layers(|_, _, tar, expected| {
        assert_same("tar crate", expected, &read_with_crate(File::open(tar).unwrap()));
    });
}

fn read_with_crate(tar: impl std::io::Read) -> Seen {
    let mut seen = Seen::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = entry.link_name_bytes().map(Vec::from).unwrap_or_default();
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "link",
            tar::EntryType::Link => "hard link",
            tar::EntryType::Regular => "file",
            other => panic!("{other:?}"),
        };
        if kind == "file" {
            body.clear();
            entry.read_to_end(&mut body).unwrap();
        }
        let header = entry.header();
        let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap() as i64);
        let line = line(kind, mode, header.uid().unwrap(), header.gid().unwrap(), mtime, &body);
        add(&mut seen, no_slash(&entry.path_bytes()), line);
    }
    seen
}

#[test]
fn our_own_reader_reads_what_was_put_in_and_in_order() {
    with_layers(|_, _, tar, expected| {
        let (seen, order) = read_with_own(File::open(tar).unwrap());
        assert_same("own", expected, &seen);
        assert!(order.is_sorted_by(|one, other| Entry::compare_paths(one, other).is_lt()));
    });
}

fn read_with_own(tar: impl std::io::Read) -> (Seen, Vec<Vec<u8>>) {
    let (mut reader, mut seen, mut order) = (own::Reader::new(tar), Seen::new(), Vec::new());
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut body = Vec::new();
        reader.content().read_to_end(&mut body).unwrap();
        let kind = match &entry.kind {
            own::EntryKind::Directory => "directory",
            own::EntryKind::Regular => "file",
            own::EntryKind::Symlink { target } => {
                body.clone_from(target);
                "link"
            }
            own::EntryKind::Hardlink { target } => {
                body.clone_from(target);
                "hard link"
            }
            other => panic!("{other:?}"),
        };
        order.push(no_slash(&entry.path));
        let line = line(kind, entry.mode, entry.uid, entry.gid, entry.mtime, &body);
        let xattrs = entry.xattrs.iter().map(|(name, value)| format!(" {}={}", hex(name), hex(value)));
        add(&mut seen, no_slash(&entry.path), line + &xattrs.collect::<String>());
    }
    (seen, order)
}

fn file_entry(path: &[u8], size: u64, owner: (u32, u32)) -> Entry {
    let kind = EntryKind::File { source: FileSource::Bytes(Vec::new().into()), size };
    Entry { path: path.into(), kind, mode: 0o644, uid: owner.0, gid: owner.1, mtime: 1, xattrs: None }
}

/// The largest numbers that fit into ustar's fields, and what lies around them.
fn large_entries() -> Vec<Entry> {
    const MAX: u32 = u32::MAX - 1;
    vec![
        file_entry(b"a", (8 << 30) - 1, (0o7_777_777, 0o7_777_777)),
        file_entry(b"a", 8 << 30, (1 << 21, 0)),
        file_entry(b"a", (8 << 30) + 1, (0, 1 << 21)),
        file_entry(b"caf\xe9", 3 << 40, (MAX, MAX)),
        file_entry(&nested(b'x', 300), 9 << 30, (65_534, MAX)),
        file_entry(&nested(0xe9, 300), 9 << 30, (MAX, 65_534)),
    ]
}

/// An archive of one entry whose content is a hole.
fn sparse_archive(entry: &Entry) -> tempfile::NamedTempFile {
    let mut header = Vec::new();
    write_header(entry, &mut header);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&header).unwrap();
    file.as_file().set_len(header.len() as u64 + own::padded(entry.size()) + 1024).unwrap();
    file
}

#[test]
fn numbers_beyond_ustar_are_read_by_our_reader_and_the_crate() {
    for entry in large_entries() {
        let mut header = Vec::new();
        write_header(&entry, &mut header);
        assert_eq!(header.len() as u64, own::header_len(&entry));
        let read = own::Reader::new(&header[..]).next_entry().unwrap().unwrap();
        assert_eq!((&read.path[..], read.size), (&entry.path[..], entry.size()));
        assert_eq!((read.uid, read.gid, read.mtime), (entry.uid.into(), entry.gid.into(), 1));
        let mut archive = tar::Archive::new(Cursor::new(header));
        let read = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!((&*read.path_bytes(), read.size()), (&entry.path[..], entry.size()));
        let owner = (read.header().uid().unwrap(), read.header().gid().unwrap());
        assert_eq!(owner, (entry.uid.into(), entry.gid.into()));
    }
}

#[test]
fn numbers_beyond_ustar_are_read_by_python() {
    let program = require!(tool("python3"));
    for entry in large_entries() {
        let seen = python(&program, sparse_archive(&entry).path(), "first");
        let expected = format!("file 644 {}:{} 1 {}", entry.uid, entry.gid, entry.size());
        assert_eq!(seen.get(&entry.path[..]), Some(&expected));
    }
}

#[test]
fn numbers_beyond_ustar_are_read_by_gnu_tar_and_bsdtar() {
    for program in ["tar", "bsdtar"] {
        let program = require!(tool(program));
        for entry in large_entries().iter().filter(|entry| entry.size() < 1 << 40) {
            let archive = sparse_archive(entry);
            let mut command = Command::new(&program);
            command.env("LC_ALL", "C.UTF-8").args(["--numeric-owner", "-tvf"]).arg(archive.path());
            let text = run(&mut command).text();
            let words: Vec<&str> = text.split_whitespace().collect();
            let (uid, gid, size) = (entry.uid.to_string(), entry.gid.to_string(), entry.size().to_string());
            let owner = format!("{uid}/{gid}");
            let gnu = words[1] == owner && words[2] == size;
            assert!(gnu || words[2..5] == [&uid[..], &gid, &size], "{text}");
        }
    }
}

/// An archive of whatever ustar has no fields for: times, attributes, hard links.
fn extended_archive() -> tempfile::NamedTempFile {
    let attributes = |pairs: &[(&str, &[u8])]| {
        Xattrs::new(pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect())
    };
    let mut entries = vec![
        Entry { mtime: -86_400, ..file_entry(b"before", 0, (0, 0)) },
        Entry { mtime: (1 << 33) - 1, ..file_entry(b"last", 0, (0, 0)) },
        Entry { mtime: 1 << 33, ..file_entry(b"beyond", 0, (0, 0)) },
        file_entry(b"some", 0, (0, 0)),
        file_entry(&nested(0xe9, 300), 0, (0, 0)),
    ];
    for entry in &mut entries[3..] {
        entry.xattrs = attributes(&[("user.x", b"a\n12 user.y=\0\xff"), ("user.a", b"1")]);
    }
    for (name, target) in [(b"z1", b"some".to_vec()), (b"z2", nested(0xe9, 300))] {
        let kind = EntryKind::Hardlink(target.into());
        entries.push(Entry { kind, xattrs: entries[3].xattrs.clone(), ..file_entry(name, 0, (0, 0)) });
    }
    let mut tar = Vec::new();
    entries.iter().for_each(|entry| write_header(entry, &mut tar));
    tar.extend_from_slice(&own::TRAILER);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&tar).unwrap();
    file
}

/// Unpacks that archive with a program, and demands that everything in it comes out.
#[cfg(target_os = "linux")]
fn check_extended(program: &Path, options: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").arg("-C").arg(directory.path()).args(options);
    let output = ocibuild_testkit::run_any(command.arg("-xpf").arg(extended_archive().path()));
    let at = |name: &[u8]| directory.path().join(OsStr::from_bytes(name));
    for (name, time) in [("before", -86_400), ("last", (1 << 33) - 1), ("beyond", 1 << 33)] {
        assert_eq!(fs::metadata(at(name.as_bytes())).unwrap().mtime(), time, "{name}: {output}");
    }
    for (name, link) in [(b"some".to_vec(), b"z1"), (nested(0xe9, 300), b"z2")] {
        let tree = DiskTree::open(directory.path()).unwrap();
        let xattrs = Xattrs::new(tree.xattrs(&name).unwrap()).unwrap();
        let xattrs: Vec<_> = xattrs.iter().filter(|(name, _)| name.starts_with(b"user.")).collect();
        let expected = [(&b"user.a"[..], &b"1"[..]), (b"user.x", b"a\n12 user.y=\0\xff")];
        assert_eq!(xattrs, expected, "{}: {output}", name.escape_ascii());
        let inode = |name: &[u8]| fs::metadata(at(name)).unwrap().ino();
        assert_eq!(inode(&name), inode(link), "{output}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn times_attributes_and_links_are_read_by_gnu_tar() {
    check_extended(&require!(tool("tar")), &["--xattrs", "--xattrs-include=user.*"]);
}

#[cfg(target_os = "linux")]
#[test]
fn times_attributes_and_links_are_read_by_bsdtar() {
    check_extended(&require!(tool("bsdtar")), &["--xattrs"]);
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(b' '), Just(b'\n'), Just(0xc3), 1_u8..=255];
    prop::collection::vec(byte, 1..130).prop_map(|mut name| {
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
        name
    })
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any_name(), 1..5)
        .prop_map(|names| names.join(&b'/'))
        .prop_filter("no such name lies on a disk", |path| {
            path.split(|byte| *byte == b'/').all(|name| name != b"." && name != b"..")
        })
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let bytes = prop::collection::vec(any::<u8>(), 0..1500).prop_map(|bytes| {
        let size = bytes.len() as u64;
        EntryKind::File { source: FileSource::Bytes(bytes.into()), size }
    });
    prop_oneof![
        Just(EntryKind::Directory),
        any_path().prop_map(|target| EntryKind::Symlink(target.into())),
        any_path().prop_map(|target| EntryKind::Hardlink(target.into())),
        bytes
    ]
}

/// Times that fit and that don't, and attributes of any bytes.
fn any_rest() -> impl Strategy<Value = (i64, Option<Box<Xattrs>>)> {
    let time = prop_oneof![Just(1), 0_i64..1 << 34, -(1_i64 << 40)..1 << 40];
    let name = prop::collection::vec(prop_oneof![1_u8..b'\n', 11..b'=', b'>'..=255], 1..20);
    let value = prop::collection::vec(any::<u8>(), 0..700);
    let xattrs = prop::collection::btree_map(name, value, 0..4);
    (time, xattrs.prop_map(|xattrs| Xattrs::new(xattrs.into_iter().collect())))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (any_path(), any_kind(), 0_u32..0o10000, any::<u32>(), any::<u32>(), any_rest()).prop_map(
        |(path, kind, mode, uid, gid, (mtime, xattrs))| {
            let path = path.into();
            Entry { path, kind, mode, uid, gid, mtime, xattrs }
        },
    )
}

fn attributes(entry: &Entry) -> String {
    let xattrs = entry.xattrs.iter().flat_map(|xattrs| xattrs.iter());
    xattrs.map(|(name, value)| format!(" {}={}", hex(name), hex(value))).collect()
}

/// The bytes of an archive, and what is in it.
fn written(entries: &[Entry]) -> (Vec<u8>, Seen) {
    let (mut tar, mut expected) = (Vec::new(), Seen::new());
    for entry in entries {
        if expected.contains_key(&entry.path[..]) {
            continue;
        }
        let start = tar.len();
        write_header(entry, &mut tar);
        assert_eq!((tar.len() - start) as u64, own::header_len(entry));
        let (kind, body) = match &entry.kind {
            EntryKind::Directory => ("directory", Vec::new()),
            EntryKind::Symlink(target) => ("link", target.to_vec()),
            EntryKind::Hardlink(target) => ("hard link", target.to_vec()),
            EntryKind::File { source: FileSource::Bytes(bytes), .. } => ("file", bytes.to_vec()),
            EntryKind::File { .. } => unreachable!(),
        };
        if kind == "file" {
            tar.extend_from_slice(&body);
            own::pad(&mut tar);
        }
        let line = line(kind, entry.mode, entry.uid.into(), entry.gid.into(), entry.mtime, &body);
        expected.insert(entry.path.to_vec(), line + &attributes(entry));
    }
    tar.extend_from_slice(&own::TRAILER);
    (tar, expected)
}

/// The crate cuts extended headers at newlines, also inside of a name or value, and knows no times
/// from records.
fn for_the_crate(mut entry: Entry) -> Entry {
    entry.mtime = entry.mtime.clamp(0, (1 << 33) - 1);
    entry.xattrs = None;
    let replace =
        |name: &mut [u8]| name.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'n');
    replace(&mut entry.path);
    if let EntryKind::Symlink(target) | EntryKind::Hardlink(target) = &mut entry.kind {
        replace(target);
    }
    entry
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read_back(entries in prop::collection::vec(any_entry(), 0..12)) {
        let (tar, expected) = written(&entries);
        prop_assert_eq!(&read_with_own(&tar[..]).0, &expected);
        let entries: Vec<Entry> = entries.into_iter().map(for_the_crate).collect();
        let (tar, expected) = written(&entries);
        prop_assert_eq!(&read_with_crate(&tar[..]), &expected);
    }
}
