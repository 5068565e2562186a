//! What a copy preserves comes out of the image as it is in the source: contents, modes, times,
//! owners, extended attributes, capabilities, and which names are one file.

use crate::ocibuild::{Ocibuild, text};
use ocibuild_testkit::skip::root;
use ocibuild_testkit::{TempTree, Umoci, docker, require, run, tool};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const SPEC: &str = r#"
version = 1

[layers.data]
preserve = ["mode", "mtime", "owner", "xattrs", "hardlinks"]
copy = [{ from = "source", to = "/data" }]

[layers.plain]
copy = [{ from = "source", to = "/plain" }]

[images.faithful]
base = "scratch"
layers = ["data", "plain"]
entrypoint = ["/data/none"]
"#;

const TAG: &str = "localhost/promises/faithful:1";

/// Makes the source: whatever a file system takes and an archive may stumble over.
const MAKE: &str = r#"
import os, sys
os.chdir(os.fsencode(sys.argv[1]))
CAP = bytes.fromhex("0100000200200000000000000000000000000000")
def path(*names):
    return b"/".join(names)
def file(name, content=b"content", mode=0o644):
    os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
    with open(name, "wb") as f:
        f.write(content)
    os.chmod(name, mode)
    return name
long = path(b"n" * 150, b"m" * 100, b"o" * 48)
latin = path(b"caf\xe9", b"\xe8" * 120, b"gr\xfc\xdf" * 40)
file(long)
file(latin)
file(b"bin/su", b"su", 0o4755)
file(b"bin/wall", b"wall", 0o2711)
os.setxattr(file(b"bin/ping", b"ping", 0o755), "security.capability", CAP)
os.setxattr(file(b"note"), "user.both", b"a line\nand 20 user.x=1\nand a NUL\0end\xff\xfe")
os.setxattr(b"note", "user.a", b"1")
os.setxattr(b"note", b"user.caf\xe9", b"Latin-1")
os.setxattr(long, "user.long", bytes(range(256)) * 4)
os.setxattr(latin, "user.long", b"v" * 3000)
os.makedirs(b"dir/sticky")
os.chmod(b"dir/sticky", 0o1770)
os.setxattr(b"dir", "user.dir", b"of a directory")
os.symlink(b"../note", b"dir/link")
with open(b"sparse", "wb") as f:
    f.truncate(3 << 20)
    f.seek(1 << 20)
    f.write(b"in the middle")
os.makedirs(b"links/inner")
os.setxattr(file(b"links/one", b"linked", 0o751), "security.capability", CAP)
os.setxattr(b"links/one", "user.shared", b"by all names")
os.link(b"links/one", b"links/another")
os.link(b"links/one", b"links/inner/one")
os.link(latin, path(b"links", b"to \xe9" + b"x" * 200))
for number, (parent, directories, files) in enumerate(os.walk(b".", topdown=False)):
    for name in files + directories:
        name = path(parent, name)
        capability = None
        if not os.path.islink(name) and "security.capability" in os.listxattr(name):
            capability = os.getxattr(name, "security.capability")
        mode = os.lstat(name).st_mode & 0o7777
        os.chown(name, 1000 + number, 70000 + number, follow_symlinks=False)
        # A change of owner takes these away.
        if not os.path.islink(name):
            os.chmod(name, mode)
        if capability:
            os.setxattr(name, "security.capability", capability)
times = {b"note": -86400, b"sparse": 10**9, long: 8589934592 + 5, b"dir/link": 12345678}
for parent, directories, files in os.walk(b".", topdown=False):
    for name in files + directories:
        name = os.path.normpath(path(parent, name))
        time = times.get(name, 1_500_000_000 + len(name))
        os.utime(name, ns=(time * 10**9, time * 10**9 + 999_999_999), follow_symlinks=False)
os.utime(b".", (1_400_000_000, 1_400_000_000))
"#;

/// Lists a tree, or one directory of an archive: an object of names and all that is known of them.
const LIST: &str = r#"
import hashlib, json, os, stat, sys, tarfile
where, below = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
raw = lambda text: text.encode("utf-8", "surrogateescape")
digest = lambda content: hashlib.sha256(content).hexdigest()
found, names = {}, {}
def tree():
    for parent, directories, files in os.walk(os.path.join(where, below)):
        for name in [b"."] * (parent == os.path.join(where, below)) + directories + files:
            name = os.path.normpath(os.path.join(parent, name))
            s, link = os.lstat(name), os.path.islink(name)
            body = os.readlink(name).hex() if link else digest(open(name, "rb").read()) if stat.S_ISREG(s.st_mode) else ""
            xattrs = {} if link else {os.fsencode(x).hex(): os.getxattr(name, x).hex() for x in os.listxattr(name)}
            yield os.path.relpath(name, os.path.join(where, below)), s, s.st_ino, body, xattrs
def archive():
    class Stat: pass
    seen = {}
    with tarfile.open(where, encoding="utf-8", errors="surrogateescape") as t:
        for m in t:
            name = os.path.normpath(raw(m.name))
            if name != below and not name.startswith(below + b"/"):
                continue
            if m.islnk():
                _, s, inode, body, xattrs = seen[os.path.normpath(raw(m.linkname))]
            else:
                s, inode = Stat(), len(seen)
                kind = stat.S_IFDIR if m.isdir() else stat.S_IFLNK if m.issym() else stat.S_IFREG
                s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns = kind | m.mode, m.uid, m.gid, round(m.mtime * 1000) * 10**6
                body = raw(m.linkname).hex() if m.issym() else digest(t.extractfile(m).read()) if m.isreg() else ""
                prefix = "SCHILY.xattr."
                xattrs = {raw(k[len(prefix):]).hex(): raw(v).hex() for k, v in m.pax_headers.items() if k.startswith(prefix)}
            seen[name] = (os.path.relpath(name, below), s, inode, body, xattrs)
    return seen.values()
for name, s, inode, body, xattrs in sorted(archive() if os.path.isfile(where) else tree(), key=lambda one: one[0]):
    first = names.setdefault(inode, name.hex())
    found[name.hex()] = {
        "name": repr(name)[:60], "mode": "%o" % s.st_mode, "owner": "%d:%d" % (s.st_uid, s.st_gid),
        "time": s.st_mtime_ns // 10**9, "body": body, "xattrs": xattrs, "one with": first}
print(json.dumps(found))
"#;

#[track_caller]
pub(crate) fn list(python: &Path, place: &Path, below: &str) -> Value {
    run(Command::new(python).args(["-c", LIST]).arg(place).arg(below)).json()
}

#[track_caller]
pub(crate) fn assert_same(reader: &str, expected: &Value, found: &Value) {
    let (expected, found) = (expected.as_object().unwrap(), found.as_object().unwrap());
    for (name, entry) in expected {
        assert_eq!(
            found.get(name),
            Some(entry),
            "{reader}: what is in the image isn't what is in the source"
        );
    }
    assert_eq!(found.len(), expected.len(), "{reader}");
}

/// Leaves of all attributes only capabilities.
pub(crate) fn only_capabilities(listed: &Value) -> Value {
    let capability: String = b"security.capability".iter().map(|byte| format!("{byte:02x}")).collect();
    let mut listed = listed.clone();
    for entry in listed.as_object_mut().unwrap().values_mut() {
        entry["xattrs"].as_object_mut().unwrap().retain(|name, _| *name == capability);
    }
    listed
}

/// What is left of a source by a copy that preserves nothing.
fn reduced(source: &Value) -> Value {
    let mut reduced = only_capabilities(source);
    for (name, entry) in reduced.as_object_mut().unwrap() {
        let mode = u32::from_str_radix(entry["mode"].as_str().unwrap(), 8).unwrap();
        let (kind, is_program) = (mode & !0o7777, mode & 0o100 != 0);
        let bits = match kind {
            0o120_000 => 0o777,
            0o040_000 => 0o755,
            _ if is_program => 0o755,
            _ => 0o644,
        };
        entry["mode"] = format!("{:o}", kind | bits).into();
        entry["owner"] = "0:0".into();
        entry["time"] = 1.into();
        entry["one with"] = name.as_str().into();
    }
    reduced
}

/// Makes the source, with the spec beside it, and lists the source.
pub(crate) fn source(python: &Path, tree: TempTree, spec: &str) -> (TempTree, Value) {
    let tree = tree.directory("source").file("ocibuild.toml", spec);
    run(Command::new(python).args(["-c", MAKE]).arg(tree.join("source")));
    let listed = list(python, &tree.join("source"), "");
    assert!(listed.as_object().unwrap().len() >= 20);
    (tree, listed)
}

#[test]
fn what_is_preserved_is_the_same_after_unpacking() {
    require!(root());
    let umoci = require!(Umoci::new());
    let python = require!(tool("python3"));
    let (tree, source) = source(&python, TempTree::new(), SPEC);
    let ocibuild = Ocibuild::new();
    let (layout, spec) = (tree.join("layout"), tree.join("ocibuild.toml"));
    let output = format!("type=oci,dest={}", layout.display());
    let arguments = ["-f", text(&spec), "-t", TAG, "--output", &output];
    let line = ocibuild.build_one(&arguments);
    ocibuild.check(&layout, "1");
    let bundle = umoci.unpack(&layout, "1");
    assert_same("umoci", &source, &list(&python, &bundle.rootfs(), "data"));
    assert_same("umoci", &reduced(&source), &list(&python, &bundle.rootfs(), "plain"));
    assert_eq!(ocibuild.build_one(&arguments), line);
}

#[test]
fn what_is_preserved_is_the_same_in_docker() {
    require!(root());
    let docker = require!(docker());
    let python = require!(tool("python3"));
    let (tree, source) = source(&python, TempTree::new(), SPEC);
    let ocibuild = Ocibuild::new();
    let (archive, spec) = (tree.join("archive.tar"), tree.join("ocibuild.toml"));
    let output = format!("type=oci-archive,dest={}", archive.display());
    ocibuild.build_one(&["-f", text(&spec), "-t", TAG, "--output", &output]);
    assert_eq!(docker.load(&archive), TAG);
    let container = run(docker.command().args(["create", TAG])).text();
    let exported = tree.join("exported.tar");
    run(docker.command().args(["export", container.trim(), "--output"]).arg(&exported));
    run(docker.command().args(["rm", container.trim()]));
    docker.remove(TAG);
    // Docker exports no other attributes than this one, and knows no time before 1970.
    let mut expected = only_capabilities(&source);
    for entry in expected.as_object_mut().unwrap().values_mut() {
        entry["time"] = entry["time"].as_i64().unwrap().max(0).into();
    }
    assert_same("docker", &expected, &list(&python, &exported, "data"));
    assert_same("docker", &reduced(&source), &list(&python, &exported, "plain"));
}

#[test]
fn times_are_bounded_by_the_image_s_own() {
    let python = require!(tool("python3"));
    let umoci = require!(Umoci::new());
    let tree = TempTree::new().file("source/old", "").file("source/new", "").file("ocibuild.toml", SPEC);
    for (path, time) in [("source/old", 1_000), ("source/new", 3_000), ("source", 2_001)] {
        tree.set_modified(path, time);
    }
    let ocibuild = Ocibuild::new();
    let (layout, spec) = (tree.join("layout"), tree.join("ocibuild.toml"));
    let output = format!("type=oci,dest={}", layout.display());
    let mut command = ocibuild.command();
    command.env("SOURCE_DATE_EPOCH", "2000").args([
        "build",
        "-f",
        text(&spec),
        "-t",
        TAG,
        "--output",
        &output,
    ]);
    run(&mut command);
    let bundle = umoci.unpack(&layout, "1");
    let found = list(&python, &bundle.rootfs(), "data");
    let times: Vec<_> = found.as_object().unwrap().values().map(|entry| entry["time"].as_i64()).collect();
    assert_eq!(times, [Some(2_000), Some(2_000), Some(1_000)], "{found}");
}
