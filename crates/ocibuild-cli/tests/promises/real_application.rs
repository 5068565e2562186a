//! A real application on a real root file system: it runs, and nothing on the way changed a file
//! of either.

use crate::ocibuild::{Ocibuild, amd64, repository, text};
use ocibuild_testkit::{Entry, Kind, Podman, TempTree, Umoci, docker, entries, require, run, tool};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const SPEC: &str = r#"
version = 1

[layers.packages]
manifests = ["requirements.txt"]
copy = [{ from = "site", to = "/opt/app/site" }]

[layers.application]
copy = [
  { from = "app", to = "/opt/app" },
  # Into the base: where its links lead, and beside what it has there.
  { from = "greeting", to = "/lib/application/" },
  { from = "overlay", to = "/" },
]

[images.application]
base = { layout = "base" }
layers = ["packages", "application"]
tags = ["localhost/promises/application:1"]
entrypoint = ["/usr/bin/python3", "/opt/app/main.py"]
env = { PYTHONPATH = "/opt/app/site", PYTHONDONTWRITEBYTECODE = "1" }
workdir = "/opt/app"
user = "65532:65532"
"#;

const TAG: &str = "localhost/promises/application:1";

/// What the application prints in its image.
const FACTS: &str = "\
user=65532:65532
django=5.2.8
date=Mittwoch, 12:00 JST
sql=SELECT 1
library=hello from the library
real=/usr/lib/application/greeting
temporary=/tmp";

/// Makes the files that the application has beside its packages: all kinds, owners and modes.
fn source() -> TempTree {
    let application = repository().join("testdata/application");
    let main = fs::read(application.join("main.py")).unwrap();
    let requirements = fs::read(application.join("requirements.txt")).unwrap();
    let tree = TempTree::from_text(
        r"
        greeting 0600 = hello from the library\n
        # The names of directories that the base has as links, or with modes of their own.
        app/tmp/scratch/ 0700
        app/tmp/note 0640 = a note\n
        app/lib/plugin.py 0755 = print()\n
        app/lib/shared 0664 = shared\n
        app/empty/
        app/current -> lib/plugin.py
        app/directory -> lib
        app/dangling -> ../no/such/file
        app/absolute -> /usr/lib/os-release
        app/set-user-id 04755 = dropped\n
        app/read-only 0400 = read\n
        app/only-for-others 0611 = x\n
        overlay/ 0700
        overlay/tmp/ 0700
        overlay/tmp/left-here 0666 = x\n
        overlay/lib/overlay/module 0644 = a module\n
        overlay/bin/overlay-tool 0755 = #!/bin/sh\n
        overlay/var/local/ 0711
        overlay/var/local/state = state\n
        overlay/etc/application.conf 0600 = x = 1\n
        overlay/srv/new/page = page\n
        ",
    );
    tree.file("requirements.txt", requirements)
        .file("app/main.py", main)
        .file("ocibuild.toml", SPEC)
        .hard_link("app/hard-link", "app/lib/shared")
}

/// Fetches the application's packages into `site`.
fn install(python: &Path, tree: &Path) {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]);
    command.args(["--no-compile", "--require-hashes", "--root-user-action=ignore"]);
    run(command
        .arg("--target")
        .arg(tree.join("site"))
        .arg("--requirement")
        .arg(tree.join("requirements.txt")));
}

/// Makes the base, out of Debian's own packages: the layout `base`, with one image.
pub(crate) fn debian(umoci: &Umoci, mmdebstrap: &Path, tree: &Path) {
    let archive = tree.join("base.tar");
    let mut command = Command::new(mmdebstrap);
    // Unpacked without their scripts, packages are a root file system that can run a program.
    command.args(["--quiet", "--variant=extract", "--include=base-files,base-passwd,python3"]);
    command.arg("--hook-directory=/usr/share/mmdebstrap/hooks/merged-usr");
    run(command.arg("bookworm").arg(&archive));
    let layout = tree.join("base");
    let image = format!("{}:debian", layout.display());
    run(umoci.command().args(["init", "--layout"]).arg(&layout));
    run(umoci.command().args(["new", "--image", &image]));
    run(umoci.command().args(["config", "--image", &image, "--os=linux", "--architecture=amd64"]));
    run(umoci.command().args(["raw", "add-layer", "--image", &image]).arg(&archive));
    fs::remove_file(archive).unwrap();
}

/// What an entry of the source has to be in the image.
fn in_image(entry: &Entry) -> Entry {
    let mode = match entry.kind {
        Kind::Symlink { .. } => 0o777,
        Kind::Directory => 0o755,
        _ if entry.mode & 0o100 != 0 => 0o755,
        _ => 0o644,
    };
    Entry { kind: entry.kind.clone(), mode, uid: 0, gid: 0, modified: 1 }
}

/// A tree, by paths from its root.
type Tree = BTreeMap<PathBuf, Entry>;

/// Puts what `source` holds at `to`: the tree that an image has to have.
fn put(tree: &mut Tree, source: &Path, to: &str) {
    for (path, entry) in entries(source) {
        tree.insert(Path::new(to).join(path), in_image(&entry));
    }
}

/// Adds the directories that nobody copied, and that the base doesn't have.
fn add_parents(tree: &mut Tree) {
    let directory = Entry { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, modified: 1 };
    let paths: Vec<PathBuf> = tree.keys().cloned().collect();
    for parent in paths.iter().flat_map(|path| path.ancestors().skip(1)) {
        if !parent.as_os_str().is_empty() && !tree.contains_key(parent) {
            tree.insert(parent.to_owned(), directory.clone());
        }
    }
}

/// Lists all differences, at most a screenful.
fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let missing = expected.keys().filter(|path| !found.contains_key(*path));
    let missing = missing.map(|path| format!("{} is missing", path.display()));
    let others = found.iter().filter(|(path, entry)| expected.get(*path) != Some(entry));
    let others =
        others.map(|(path, entry)| format!("{}: {entry:?}, not {:?}", path.display(), expected.get(path)));
    missing.chain(others).take(40).collect()
}

/// Compares the image's tree with what was put into it, each entry of the base included.
#[track_caller]
fn compare(source: &Path, base: &Path, image: &Path) {
    let base = entries(base);
    let found = entries(image);
    let mut added = Tree::new();
    put(&mut added, &source.join("site"), "opt/app/site");
    put(&mut added, &source.join("app"), "opt/app");
    add_parents(&mut added);
    assert!(added.len() > 5_000, "{} entries", added.len());
    added.insert("usr/lib/application/greeting".into(), in_image(&entries(source)[Path::new("greeting")]));
    // The overlay's `lib` and `bin` are links in the base: its files lie behind them.
    let overlay = source.join("overlay");
    for (inside, to) in [("lib", "usr/lib"), ("bin", "usr/bin"), ("tmp", "tmp"), ("var", "var")] {
        put(&mut added, &overlay.join(inside), to);
    }
    put(&mut added, &overlay.join("etc"), "etc");
    put(&mut added, &overlay.join("srv"), "srv");
    add_parents(&mut added);

    let mut expected = added;
    for (path, entry) in base {
        // What the base had as a directory stays what it was, except for when something came in.
        let time = match (expected.contains_key(&path), &entry.kind) {
            (true, Kind::Directory) => 1,
            _ => entry.modified,
        };
        expected.insert(path, Entry { modified: time, ..entry });
    }
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn real_application_runs_and_is_unchanged() {
    require!(amd64());
    let docker = require!(docker());
    let umoci = require!(Umoci::new());
    let podman = require!(Podman::new());
    let mmdebstrap = require!(tool("mmdebstrap"));
    let python = require!(tool("python3"));
    let tree = source();
    thread::scope(|scope| {
        scope.spawn(|| debian(&umoci, &mmdebstrap, tree.path()));
        install(&python, tree.path());
    });
    for path in ["app/lib/plugin.py", "app/current", "site/django/__init__.py", "overlay/tmp"] {
        lchown(tree.join(path), Some(1000), Some(1000)).unwrap();
    }

    let ocibuild = Ocibuild::new();
    let (archive, layout) = (tree.join("application.tar"), tree.join("application"));
    let outputs = [
        format!("type=oci-archive,dest={}", archive.display()),
        format!("type=oci,dest={}", layout.display()),
    ];
    let spec = tree.join("ocibuild.toml");
    let arguments = ["-f", text(&spec), "--output", &outputs[0], "--output", &outputs[1]];
    let output = run(ocibuild.command().arg("build").args(arguments));
    let line = crate::ocibuild::lines(&output).remove(0);
    assert!(output.errors().contains("set-user-id"), "dropped bits are warned of: {output}");
    ocibuild.check(&layout, "1");
    ocibuild.check_archive(&archive, "1");
    assert_eq!(ocibuild.build_one(&arguments), line, "from the cache");

    let base = umoci.unpack(&tree.join("base"), "debian");
    let image = umoci.unpack(&layout, "1");
    compare(tree.path(), &base.rootfs(), &image.rootfs());
    let found = entries(&image.rootfs());
    for (link, target) in [("lib", "usr/lib"), ("bin", "usr/bin"), ("lib64", "usr/lib64")] {
        assert_eq!(found[Path::new(link)].kind, Kind::Symlink { target: target.into() });
    }
    assert_eq!(found[Path::new("tmp")].mode, 0o1777);
    assert_eq!(found[Path::new("var/local")].mode, 0o2775, "as Debian has it");
    drop(base);

    assert_eq!(docker.load(&archive), TAG);
    assert_eq!(docker.run(TAG, &[]).text(), FACTS);
    docker.remove(TAG);
    assert_eq!(podman.load(&archive), TAG);
    assert_eq!(podman.run(TAG, &[]).text(), FACTS);
    assert_eq!(image.run().text(), FACTS);
}
