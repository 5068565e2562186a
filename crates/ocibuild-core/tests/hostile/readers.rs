//! What is taken is what others see: entry by entry as GNU tar, bsdtar and Python list the layers,
//! and unpacked as umoci unpacks the image.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use ocibuild_core::base::{Base, ListedKind, Listing, ListingLimits};
use ocibuild_core::compress::{DecodeLimits, decoder};
use ocibuild_core::layout::Layout;
use ocibuild_core::tar::{EntryKind, Reader};
use ocibuild_core::{Cancel, blob::Source as _};
use ocibuild_testkit::skip::root;
use ocibuild_testkit::{Missing, Umoci, require, run, tool};

use crate::kit::Kit;
use crate::{Outcome, cases, table};

/// Where a reader differs from all others, and we don't follow it; `testdata/README.md` says why.
const DIFFERENT: [(&str, &str); 7] = [
    ("without-padding", "GNU tar"),
    ("without-padding", "bsdtar"),
    ("without-padding", "Python"),
    ("empty-layer", "GNU tar"),
    ("empty-layer", "Python"),
    ("empty-gzip-layer", "GNU tar"),
    ("empty-gzip-layer", "Python"),
];
/// What umoci refuses, or has otherwise; so does the table.
const NOT_UNPACKED: [&str; 9] = [
    "file-below-a-file",
    "deep",
    "aufs",
    "pax-remark-for-all",
    "sparse-old",
    "gzip-called-tar",
    "sha512",
    "index-wide",
    "index-attestation",
];

/// One line an entry: kind, path, mode, owner, size and target; and its time.
type Lines = Vec<(String, i64)>;

fn line(kind: char, path: &[u8], mode: u32, owner: (u64, u64), size: u64, target: &[u8]) -> String {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let (path, target) = (path.escape_ascii(), target.escape_ascii());
    // A link has no mode of its own, nor does a second name.
    let mode = if matches!(kind, 'l' | 'h') { 0 } else { mode & 0o7777 };
    format!("{kind} {path} {mode:o} {}:{} {size} {target}", owner.0, owner.1)
}

fn ours(bytes: &[u8]) -> Lines {
    let mut reader = Reader::new(bytes);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let (kind, target) = match &entry.kind {
            EntryKind::Directory => ('d', &b""[..]),
            EntryKind::Symlink { target } => ('l', &target[..]),
            EntryKind::Hardlink { target } => ('h', &target[..]),
            EntryKind::CharDevice { .. } => ('c', &b""[..]),
            EntryKind::BlockDevice { .. } => ('b', &b""[..]),
            EntryKind::Fifo => ('p', &b""[..]),
            _ => ('f', &b""[..]),
        };
        let owner = (entry.uid, entry.gid);
        lines.push((line(kind, &entry.path, entry.mode, owner, entry.size, target), entry.mtime));
    }
    lines
}

const PYTHON: &str = r#"
import sys, tarfile, math
kinds = {b"0": "f", b"\0": "f", b"S": "f", b"5": "d", b"2": "l", b"1": "h", b"6": "p", b"3": "c", b"4": "b"}
h = lambda s: s.encode("utf-8", "surrogateescape").hex() or "-"
for t in tarfile.open(sys.argv[1], "r:", encoding="utf-8", errors="surrogateescape"):
    size = 0 if t.islnk() else t.size
    print(kinds[t.type], h(t.name), "%o" % t.mode, t.uid, t.gid, size, h(t.linkname), math.floor(t.mtime))
"#;

fn python(file: &Path) -> Result<Lines, String> {
    let output = listed(Command::new("python3").args(["-c", PYTHON]).arg(file))?;
    let text = String::from_utf8(output).unwrap();
    Ok(text.lines().map(python_line).collect())
}

fn python_line(text: &str) -> (String, i64) {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, path, mode, uid, gid, size, target, time] = words[..] else { panic!("{text}") };
    let owner = (uid.parse().unwrap(), gid.parse().unwrap());
    let (kind, mode) = (kind.chars().next().unwrap(), u32::from_str_radix(mode, 8).unwrap());
    let line = line(kind, &hex(path), mode, owner, size.parse().unwrap(), &hex(target));
    (line, time.parse().unwrap())
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim_matches('-').as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Lists with GNU tar: `-rw-r--r-- 0/0 1 1970-01-01 00:00:01 path`.
fn gnu(file: &Path) -> Result<Lines, String> {
    let arguments = ["--list", "-vv", "--full-time", "--numeric-owner", "--quoting-style=escape", "-P"];
    let mut command = Command::new("tar");
    let output = listed(command.args(arguments).arg("--file").arg(file))?;
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(gnu_line).collect())
}

fn gnu_line(text: &[u8]) -> (String, i64) {
    let (words, name) = words(text, 5);
    let [mode, owner, size, date, time] = &words[..] else { panic!("{}", text.escape_ascii()) };
    let (kind, mode) = mode_of(mode);
    let (uid, gid) = owner.split_once('/').unwrap();
    let size = if matches!(kind, 'c' | 'b') { 0 } else { size.parse().unwrap() };
    let (path, target) = split_target(&name, kind);
    let owner = (uid.parse().unwrap(), gid.parse().unwrap());
    (line(kind, &unescape(path), mode, owner, size, &unescape(target)), seconds(date, time))
}

/// Lists with bsdtar: `-rw-r--r--  0 0      0           1 Jan  1  1970 path`. Its times have no
/// seconds.
fn bsdtar(file: &Path) -> Result<Vec<String>, String> {
    let mut command = Command::new("bsdtar");
    let output = listed(command.args(["--numeric-owner", "-tvf"]).arg(file))?;
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(bsdtar_line).collect())
}

fn bsdtar_line(text: &[u8]) -> String {
    let (words, name) = words(text, 8);
    let [mode, _, uid, gid, size, ..] = &words[..] else { panic!("{}", text.escape_ascii()) };
    let (mut kind, mode) = mode_of(mode);
    let is_hard_link = kind != 'l' && name.windows(9).any(|part| part == b" link to ");
    if is_hard_link {
        kind = 'h';
    }
    let size = if matches!(kind, 'c' | 'b') { 0 } else { size.parse().unwrap() };
    let (path, target) = split_target(&name, kind);
    let owner = (uid.parse().unwrap(), gid.parse().unwrap());
    line(kind, &unescape(path), mode, owner, size, &unescape(target))
}

/// Takes so many words off a line.
fn words(mut text: &[u8], count: usize) -> (Vec<String>, Vec<u8>) {
    let mut words = Vec::new();
    while words.len() < count {
        text = text.trim_ascii_start();
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        words.push(String::from_utf8(text[..end].to_vec()).unwrap());
        text = &text[end..];
    }
    (words, text[1..].to_vec())
}

fn split_target(name: &[u8], kind: char) -> (&[u8], &[u8]) {
    let mark: &[u8] = match kind {
        'l' => b" -> ",
        'h' => b" link to ",
        _ => return (name, b""),
    };
    let Some(at) = name.windows(mark.len()).position(|part| part == mark) else { return (name, b"") };
    (&name[..at], &name[at + mark.len()..])
}

/// Takes `\n` and `\ooo` back.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, more @ ..] = rest {
        rest = match (first, more) {
            (b'\\', [b'n', more @ ..]) => {
                bytes.push(b'\n');
                more
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                more
            }
            (byte, more) => {
                bytes.push(*byte);
                more
            }
        };
    }
    bytes
}

/// Reads `-rwsr-xr-t`.
fn mode_of(text: &str) -> (char, u32) {
    let letters = text.as_bytes();
    let kind = if letters[0] == b'-' { 'f' } else { char::from(letters[0]) };
    let mode = letters[1..10].iter().enumerate().fold(0, |mode, (at, letter)| {
        let bit = 1 << (8 - at);
        let special = [0o4000, 0o2000, 0o1000][at / 3];
        mode | match letter {
            b'-' => 0,
            b's' | b't' => bit | special,
            b'S' | b'T' => special,
            _ => bit,
        }
    });
    (kind, mode)
}

/// Seconds since 1970 of a date and a time in UTC, by days since then.
fn seconds(date: &str, time: &str) -> i64 {
    let numbers = |text: &str, by: char| -> Vec<i64> {
        text.split(by).map(|part| part.split('.').next().unwrap().parse().unwrap()).collect()
    };
    let ([mut year, month, day], [hour, minute, second]) =
        (numbers(date, '-')[..].try_into().unwrap(), numbers(time, ':')[..].try_into().unwrap());
    let _: (i64, i64) = (month, hour);
    // Years from March, so that the day that is sometimes there is the last.
    let month = (month + 9) % 12;
    year -= i64::from(month >= 10);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

fn listed(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").output().unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The tar bytes of an image's layers.
fn layers(layout: &Layout) -> Vec<Vec<u8>> {
    let root = layout.sole().unwrap();
    let base = Base::open(layout, &root, None).unwrap();
    let read = |layer| {
        let content = layout.fetch(layer).unwrap();
        let mut bytes = Vec::new();
        let bounded = decoder(content.open(0).unwrap(), &DecodeLimits::default()).unwrap();
        bounded.take(16 << 20).read_to_end(&mut bytes).unwrap();
        bytes
    };
    base.layers.iter().map(read).collect()
}

/// The cases that are taken, but those too large to be looked at here, each in a layout.
fn taken() -> Vec<(&'static str, tempfile::TempDir)> {
    let table = table();
    let is_taken = |(index, (name, _)): &(usize, (&str, cases::Make))| {
        let large = ["million", "million-over-another-layer", "zeros", "bomb-nested"].contains(name);
        !large && !matches!(table[*index].1, Outcome::Refused(_))
    };
    let made = cases::cases().into_iter().enumerate().filter(is_taken).map(|(_, (name, make))| {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        make(Kit::new(&directory.path().join("base"), &outside));
        (name, directory)
    });
    made.collect()
}

fn tar_readers() -> Result<(), Missing> {
    ["tar", "bsdtar", "python3"].into_iter().try_for_each(|name| tool(name).map(drop))
}

#[test]
fn tar_readers_list_what_we_list() {
    require!(tar_readers());
    let mut faults = String::new();
    for (name, directory) in taken() {
        let layout = Layout::open(directory.path().join("base")).unwrap();
        for bytes in layers(&layout) {
            let file = directory.path().join("layer.tar");
            fs::write(&file, &bytes).unwrap();
            let ours = ours(&bytes);
            let without_times: Vec<String> = ours.iter().map(|(line, _)| line.clone()).collect();
            let bsdtar = bsdtar(&file).map(|lines| (lines == without_times, format!("{lines:?}")));
            let [gnu, python] = [gnu(&file), python(&file)]
                .map(|lines| lines.map(|lines| (lines == ours, format!("{lines:?}"))));
            for (reader, result) in [("GNU tar", gnu), ("bsdtar", bsdtar), ("Python", python)] {
                let same = matches!(result, Ok((true, _)));
                let known = DIFFERENT.contains(&(name, reader));
                if same == known {
                    writeln!(faults, "{name}: {reader}: {result:?}, not {ours:?}").unwrap();
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// What a listing says of an entry, or a file system: its second name is a file like the first.
fn shown(kind: char, mode: u32, owner: (u32, u32), size: u64, target: &[u8]) -> String {
    let mode = if kind == 'l' { 0 } else { mode & 0o7777 };
    format!("{kind} {mode:o} {}:{} {size} {}", owner.0, owner.1, target.escape_ascii())
}

fn listing_of(directory: &Path) -> BTreeMap<Vec<u8>, String> {
    let layout = Layout::open(directory).unwrap();
    let base = Base::open(&layout, &layout.sole().unwrap(), None).unwrap();
    let listing = Listing::read(&layout, &base, &ListingLimits::default(), &Cancel::new()).unwrap();
    let entries = listing.entries(b"").skip(1).map(|(path, listed)| {
        let (kind, size, target) = match listed.kind {
            ListedKind::Directory => ('d', 0, &b""[..]),
            ListedKind::File { size } => ('f', size, &b""[..]),
            ListedKind::Symlink { target } => ('l', 0, target),
            _ => ('o', 0, &b""[..]),
        };
        (path, shown(kind, listed.mode, (listed.uid, listed.gid), size, target))
    });
    entries.collect()
}

fn unpacked(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let (letter, size, target) = match () {
            () if kind.is_dir() => ('d', 0, Vec::new()),
            () if kind.is_file() => ('f', metadata.len(), Vec::new()),
            () if kind.is_symlink() => {
                ('l', 0, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            }
            () => {
                assert!(kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
                ('o', 0, Vec::new())
            }
        };
        if kind.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if path != root {
            let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let owner = (metadata.uid(), metadata.gid());
            found.insert(below, shown(letter, metadata.mode(), owner, size, &target));
        }
    }
    found
}

/// Says what is in one of two trees only, or not the same: a screenful at most.
fn differences(ours: &BTreeMap<Vec<u8>, String>, theirs: &BTreeMap<Vec<u8>, String>) -> Vec<String> {
    let paths = ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path)));
    let different = paths.filter(|path| ours.get(*path) != theirs.get(*path));
    let tell =
        |path: &Vec<u8>| format!("{}: {:?}, not {:?}", path.escape_ascii(), ours.get(path), theirs.get(path));
    different.map(tell).take(20).collect()
}

#[test]
fn umoci_unpacks_what_we_list() {
    require!(root());
    let umoci = require!(Umoci::new());
    let mut faults = String::new();
    for (name, directory) in taken() {
        let base = directory.path().join("base");
        let bundle = directory.path().join("bundle");
        let image = format!("{}:t", base.display());
        let output = umoci.command().args(["unpack", "--image", &image]).arg(&bundle).output().unwrap();
        let result = match output.status.success() {
            true => differences(&listing_of(&base), &unpacked(&bundle.join("rootfs"))),
            false => vec![String::from_utf8_lossy(&output.stderr).into_owned()],
        };
        if result.is_empty() == NOT_UNPACKED.contains(&name) {
            writeln!(faults, "{name}: {result:?}").unwrap();
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn umoci_unpacks_debian_as_we_list_it() {
    require!(root());
    let umoci = require!(Umoci::new());
    let mmdebstrap = require!(tool("mmdebstrap"));
    let home = tempfile::tempdir().unwrap();
    let archive = home.path().join("debian.tar");
    let mut command = Command::new(mmdebstrap);
    command.args(["--quiet", "--variant=extract", "--include=base-files,base-passwd,perl-base"]);
    command.arg("--hook-directory=/usr/share/mmdebstrap/hooks/merged-usr");
    run(command.arg("bookworm").arg(&archive));
    let base = home.path().join("base");
    let image = format!("{}:debian", base.display());
    run(umoci.command().args(["init", "--layout"]).arg(&base));
    run(umoci.command().args(["new", "--image", &image]));
    run(umoci.command().args(["raw", "add-layer", "--image", &image]).arg(&archive));
    let bundle = umoci.unpack(&base, "debian");
    let listing = listing_of(&base);
    assert!(listing.len() > 1_000, "{} entries", listing.len());
    let differences = differences(&listing, &unpacked(&bundle.rootfs()));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
