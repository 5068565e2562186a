//! What an ignore file leaves out isn't there, what is removed from a base is gone for everybody,
//! and owners named as the base names them come out by number.

use crate::ocibuild::{Ocibuild, amd64, text};
use ocibuild_testkit::{Podman, TempTree, Umoci, docker, hello_program, require, run};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

const SPEC: &str = r#"version = 1

[layers.app]
remove = ["/usr/share/zoneinfo/*", "/etc/ssl/certs/ca-certificates.crt", "/etc/os-r*"]
copy = [
  { from = ".", to = "/srv", owner = "nonroot:nonroot", pyc = "drop" },
  { from = "hello", to = "/app/hello", ignore-file = false },
  { content = "UTC", to = "/usr/share/zoneinfo/UTC", owner = "nobody" },
  { directory = "/var/mixed", owner = "nonroot:7" },
]

[images.app]
base = { builtin = "static@1" }
layers = ["app"]
entrypoint = ["/app/hello"]
tags = ["localhost/promises/removed:1"]
"#;

fn tree() -> TempTree {
    TempTree::new()
        .file("ocibuild.toml", SPEC)
        .file(".dockerignore", "*\n!src\n!mod.py\n**/*.log\n")
        .file_with_mode("hello", hello_program("hello\n"), 0o755)
        .file("mod.py", "")
        .file("__pycache__/mod.pyc", "")
        .file("src/__pycache__/a.pyc", "")
        .file("src/a", "a")
        .file("src/b.log", "b")
        .file("notes", "")
}

/// What is there, and what isn't, of all that the base, the copies and the whiteouts name.
#[track_caller]
fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) {
    let names: Vec<&str> = names.into_iter().map(|name| name.trim_end_matches('/')).collect();
    let zoneinfo: Vec<&str> =
        names.iter().copied().filter(|name| name.starts_with("usr/share/zoneinfo/")).collect();
    assert_eq!(zoneinfo, ["usr/share/zoneinfo/UTC"]);
    let mut srv: Vec<&str> = names.iter().copied().filter(|name| name.starts_with("srv/")).collect();
    srv.sort_unstable();
    assert_eq!(srv, ["srv/mod.py", "srv/src", "srv/src/a"]);
    for gone in ["etc/ssl/certs/ca-certificates.crt", "etc/os-release"] {
        assert!(!names.contains(&gone), "{gone}");
    }
    for there in ["etc/passwd", "etc/ssl/certs", "app/hello", "tmp"] {
        assert!(names.contains(&there), "{there}");
    }
    assert!(!names.iter().any(|name| name.contains(".wh.")), "{names:?}");
}

#[track_caller]
fn archive(ocibuild: &Ocibuild, tree: &TempTree) -> std::path::PathBuf {
    let archive = tree.join("out/image.tar");
    let output = format!("type=oci-archive,dest={}", archive.display());
    std::fs::create_dir(tree.join("out")).unwrap();
    ocibuild.build_one(&["-f", text(&tree.join("ocibuild.toml")), "--output", &output]);
    ocibuild.check_archive(&archive, "1");
    archive
}

/// Demands the names of what a container, made of an image and never started, exports.
#[track_caller]
fn check_exported(command: impl Fn() -> Command, name: &str, directory: &Path) {
    let container = run(command().args(["create", name])).text();
    let exported = directory.join("exported.tar");
    run(command().args(["export", "--output", text(&exported), container.trim()]));
    run(command().args(["rm", container.trim()]));
    let listed = run(Command::new("tar").arg("-tf").arg(&exported)).text();
    check_names(listed.lines());
}

#[test]
fn umoci_unpacks_what_is_left_with_its_owners() {
    let umoci = require!(Umoci::new());
    let (ocibuild, tree) = (Ocibuild::new(), tree());
    let layout = tree.join("out");
    let output = format!("type=oci,dest={}", layout.display());
    ocibuild.build_one(&["-f", text(&tree.join("ocibuild.toml")), "--output", &output]);
    let name = crate::ocibuild::names(&layout)[0].0.clone();
    ocibuild.check(&layout, &name);
    let bundle = umoci.unpack(&layout, &name);
    let entries = ocibuild_testkit::entries(&bundle.rootfs());
    check_names(entries.keys().filter_map(|path| path.to_str()));
    let owner = |path: &str| {
        let metadata = bundle.rootfs().join(path).symlink_metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner("srv/src/a"), (65532, 65532));
    assert_eq!(owner("srv/src"), (65532, 65532));
    assert_eq!(owner("usr/share/zoneinfo/UTC"), (65534, 65534));
    assert_eq!(owner("var/mixed"), (65532, 7));
    assert_eq!(owner("app/hello"), (0, 0));
}

#[test]
fn docker_has_nothing_of_what_was_removed() {
    require!(amd64());
    let docker = require!(docker());
    let (ocibuild, tree) = (Ocibuild::new(), tree());
    let name = docker.load(&archive(&ocibuild, &tree));
    check_exported(|| docker.command(), &name, &tree.join("out"));
    assert_eq!(docker.run(&name, &[]).text(), "hello");
    docker.remove(&name);
}

#[test]
fn podman_has_nothing_of_what_was_removed() {
    require!(amd64());
    let podman = require!(Podman::new());
    let (ocibuild, tree) = (Ocibuild::new(), tree());
    let name = podman.load(&archive(&ocibuild, &tree));
    check_exported(|| podman.command(), &name, &tree.join("out"));
    assert_eq!(podman.run(&name, &[]).text(), "hello");
}
