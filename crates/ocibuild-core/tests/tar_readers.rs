//! The reader of tar against GNU tar, bsdtar, Python's tarfile and the `tar` crate: what they
//! write is read as they read it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use ocibuild_core::tar::{Entry, EntryKind, Reader};

/// Tells whether a program is there; says so loudly if it isn't, and fails where all must be.
fn found(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = status.is_ok_and(|status| status.success());
    #[expect(clippy::disallowed_methods, reason = "the test command sets it where nothing may be skipped")]
    let all = std::env::var_os("OCIBUILD_TEST_ALL").is_some();
    assert!(found || !all, "`{program}` is needed and isn't there");
    if !found {
        eprintln!("SKIPPED: `{program}` isn't there");
    }
    found
}

/// Makes a tree with everything that a tar can hold and any user can make. Names are raw bytes.
fn tree(root: &Path, long: bool) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("d/a"), b"hello").unwrap();
    fs::write(root.join("d/nothing"), b"").unwrap();
    fs::write(root.join("d/block"), [7; 512]).unwrap();
    fs::write(root.join("d/more"), vec![8; 70_001]).unwrap();
    fs::set_permissions(root.join("d/a"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(root.join("d/empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("d/a"), root.join("d/same")).unwrap();
    symlink("a", root.join("d/link")).unwrap();
    symlink("../..//x/./y", root.join("d/odd")).unwrap();
    let fifo = Command::new("mkfifo").arg(root.join("d/fifo")).status().unwrap();
    assert!(fifo.success());
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"d/new\nline")), b"1").unwrap();
    if long {
        let deep = root.join("d").join("x".repeat(150)).join("y".repeat(160));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("z"), b"deep").unwrap();
        symlink("t".repeat(200), root.join("d/far")).unwrap();
        fs::hard_link(deep.join("z"), root.join("d/z")).unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"d/\xff\xfe")), b"raw").unwrap();
    }
}

/// Reads all entries, each with its content.
fn read(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        if !entry.sparse {
            reader.content().read_to_end(&mut content).unwrap();
        }
        entries.push((entry, content));
    }
    entries
}

/// One line an entry, as the Python program below writes them.
fn show(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (entry, _) in read(bytes) {
        let (kind, link) = match &entry.kind {
            EntryKind::Regular => ("f", &b""[..]),
            EntryKind::Directory => ("d", &b""[..]),
            EntryKind::Symlink { target } => ("l", &target[..]),
            EntryKind::Hardlink { target } => ("h", &target[..]),
            EntryKind::Fifo => ("p", &b""[..]),
            other => panic!("{other:?}"),
        };
        let Entry { path, mode, uid, gid, mtime, size, .. } = &entry;
        let path = hex(path.strip_suffix(b"/").unwrap_or(path));
        writeln!(text, "{kind} {path} {mode:o} {uid} {gid} {mtime} {size} {}", hex(link)).unwrap();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

const LIST: &str = r#"
import sys, tarfile, math
kinds = {b"0": "f", b"\0": "f", b"S": "f", b"5": "d", b"2": "l", b"1": "h", b"6": "p"}
h = lambda s: s.encode("utf-8", "surrogateescape").hex()
for t in tarfile.open(sys.argv[1], encoding="utf-8", errors="surrogateescape"):
    size = 0 if t.islnk() else t.size
    print(kinds[t.type], h(t.name), "%o" % t.mode, t.uid, t.gid, math.floor(t.mtime), size, h(t.linkname))
"#;

const WRITE: &str = r#"
import sys, tarfile
formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
def big(t):
    if sys.argv[2] != "ustar": t.uid, t.gid = 3000000, 4294967294
    return t
with tarfile.open(sys.argv[1], "w", format=formats[sys.argv[2]], encoding="utf-8", errors="surrogateescape") as t:
    t.add("d", filter=big)
"#;

fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output =
        Command::new(program).args(arguments).env("LC_ALL", "C").current_dir(directory).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    // It lists a name in a pax header that isn't UTF-8 all the same.
    let complains = error.contains("can't be converted from UTF-8 to current locale");
    assert!(output.status.success() || complains, "{program} {arguments:?}: {error}");
    output.stdout
}

/// Writes a tar by a command, and compares our reading of it with that of every other reader.
#[track_caller]
fn check(program: &str, arguments: &[&str], long: bool) {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path(), long);
    check_in(directory.path(), program, arguments);
}

#[track_caller]
fn check_in(directory: &Path, program: &str, arguments: &[&str]) {
    if !found(program) {
        return;
    }
    run(program, arguments, directory);
    let bytes = fs::read(directory.join("out.tar")).unwrap();
    let shown = show(&bytes);
    assert!(shown.lines().count() > 2);
    if found("python3") {
        let listed = run("python3", &["-c", LIST, "out.tar"], directory);
        assert_eq!(shown, String::from_utf8(listed).unwrap(), "{program} {arguments:?}");
    }
    let names: Vec<u8> =
        read(&bytes).iter().flat_map(|(entry, _)| [&entry.path[..], b"\n"].concat()).collect();
    if found("tar") {
        let listed = run("tar", &["--quoting-style=literal", "-tf", "out.tar"], directory);
        assert!(listed == names, "{program} {arguments:?}: GNU tar sees other names");
    }
    if found("bsdtar") {
        let listed = run("bsdtar", &["-tf", "out.tar"], directory);
        let escaped = escape(&bytes);
        assert_eq!(String::from_utf8(listed).unwrap(), escaped, "{program} {arguments:?}");
    }
    compare_with_crate(&bytes);
}

/// Returns the names as bsdtar lists them.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (entry, _) in read(bytes) {
        for byte in entry.path {
            match byte {
                b'\n' => text += "\\n",
                b'\\' => text += "\\\\",
                b' '..=b'~' => text.push(char::from(byte)),
                other => write!(text, "\\{other:03o}").unwrap(),
            }
        }
        text.push('\n');
    }
    text
}

fn compare_with_crate(bytes: &[u8]) {
    let mut archive = tar::Archive::new(bytes);
    let mut ours = read(bytes).into_iter();
    for theirs in archive.entries().unwrap() {
        let mut theirs = theirs.unwrap();
        let (entry, content) = ours.next().unwrap();
        if !entry.sparse {
            assert_eq!(*theirs.path_bytes(), entry.path);
            let mut other = Vec::new();
            theirs.read_to_end(&mut other).unwrap();
            assert_eq!(content, other);
        }
    }
    assert!(ours.next().is_none());
}

#[test]
fn gnu_tar_is_read() {
    for format in ["gnu", "oldgnu", "posix"] {
        check("tar", &["-cf", "out.tar", &format!("--format={format}"), "d"], true);
    }
    for format in ["ustar", "v7"] {
        check("tar", &["-cf", "out.tar", &format!("--format={format}"), "--exclude=d/fifo", "d"], false);
    }
}

#[test]
fn bsdtar_is_read() {
    for format in ["pax", "gnutar"] {
        check("bsdtar", &["-cf", "out.tar", &format!("--format={format}"), "d"], true);
    }
    check("bsdtar", &["-cf", "out.tar", "--format=ustar", "d"], false);
}

#[test]
fn python_is_read() {
    for format in ["gnu", "pax"] {
        check("python3", &["-c", WRITE, "out.tar", format], true);
    }
    check("python3", &["-c", WRITE, "out.tar", "ustar"], false);
}

#[test]
fn sparse_files_have_their_name_and_size() {
    for format in [
        "--format=gnu",
        "--format=posix --sparse-version=0.0",
        "--format=posix --sparse-version=0.1",
        "--format=posix",
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        let file = fs::File::create(directory.path().join("d/holes")).unwrap();
        for number in 0..200_u64 {
            std::os::unix::fs::FileExt::write_all_at(&file, b"data", number * 100_000).unwrap();
        }
        file.set_len(30_000_000).unwrap();
        fs::write(directory.path().join("d/z"), "after").unwrap();
        let mut arguments = vec!["-cSf", "out.tar", "--sort=name"];
        arguments.extend(format.split(' '));
        arguments.push("d");
        check_in(directory.path(), "tar", &arguments);
        let entries = read(&fs::read(directory.path().join("out.tar")).unwrap());
        let (holes, _) = &entries[1];
        assert_eq!((&holes.path[..], holes.size, holes.sparse), (&b"d/holes"[..], 30_000_000, true));
        assert_eq!(entries[2].1, b"after");
    }
}
