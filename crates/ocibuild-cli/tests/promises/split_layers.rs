//! A layer in several blobs unpacks to what it is made of, whoever unpacks it.

use std::path::{Path, PathBuf};
use std::process::Command;

use ocibuild_testkit::skip::root;
use ocibuild_testkit::{Podman, TempTree, Umoci, docker, require, run, tool};
use serde_json::Value;

use crate::faithful_files::{assert_same, list, only_capabilities, source};
use crate::ocibuild::{Ocibuild, text};

const SPEC: &str = r#"
version = 1

[layers.data]
split = 8
preserve = ["mode", "mtime", "owner", "xattrs", "hardlinks"]
copy = [{ from = "source", to = "/data" }]

[images.split]
base = "scratch"
layers = ["data"]
entrypoint = ["/data/none"]
"#;

const TAG: &str = "localhost/promises/split:1";

/// Packages, one of them large, beside everything that a file system takes.
fn packages() -> TempTree {
    let tree = TempTree::new().file("source/large.bin", vec![7; 9 << 20]);
    (0..24).fold(tree, |tree, number| {
        let package = format!("source/node_modules/@scope/p{number}");
        let tree = tree.file(format!("{package}/package.json"), format!("{{\"version\":\"{number}\"}}"));
        let tree = tree.file(format!("{package}/lib/index.js"), "x".repeat(number * 100));
        tree.symlink(
            format!("source/node_modules/.bin/p{number}"),
            format!("../@scope/p{number}/lib/index.js"),
        )
    })
}

/// The image as `kind`, and how many parts it has.
fn build(ocibuild: &Ocibuild, tree: &TempTree, kind: &str) -> PathBuf {
    let (place, spec) = (tree.join(kind), tree.join("ocibuild.toml"));
    let output = format!("type={kind},dest={}", place.display());
    ocibuild.build_one(&["-f", text(&spec), "-t", TAG, "--output", &output]);
    let shown = ocibuild.inspect(text(&place));
    let parts = shown["images"][0]["layers"].as_array().unwrap().len();
    assert!((6..=9).contains(&parts), "{parts} parts");
    place
}

/// What a container has below `/data`, as `export` of docker and podman tells it.
fn exported(command: &dyn Fn() -> Command, python: &Path, tree: &TempTree) -> Value {
    let container = run(command().args(["create", TAG])).text();
    let exported = tree.join("exported.tar");
    run(command().args(["export", container.trim(), "--output"]).arg(&exported));
    run(command().args(["rm", container.trim()]));
    comparable(&list(python, &exported, "data"))
}

/// Neither exports all attributes, nor knows a time before 1970.
fn comparable(listed: &Value) -> Value {
    let mut listed = only_capabilities(listed);
    for entry in listed.as_object_mut().unwrap().values_mut() {
        entry["time"] = entry["time"].as_i64().unwrap().max(0).into();
    }
    listed
}

#[test]
fn umoci_puts_the_parts_of_a_layer_together() {
    require!(root());
    let umoci = require!(Umoci::new());
    let python = require!(tool("python3"));
    let (tree, source) = source(&python, packages(), SPEC);
    let ocibuild = Ocibuild::new();
    let layout = build(&ocibuild, &tree, "oci");
    ocibuild.check(&layout, "1");
    let bundle = umoci.unpack(&layout, "1");
    assert_same("umoci", &source, &list(&python, &bundle.rootfs(), "data"));
}

#[test]
fn docker_puts_the_parts_of_a_layer_together() {
    require!(root());
    let docker = require!(docker());
    let python = require!(tool("python3"));
    let (tree, source) = source(&python, packages(), SPEC);
    assert_eq!(docker.load(&build(&Ocibuild::new(), &tree, "oci-archive")), TAG);
    let found = exported(&|| docker.command(), &python, &tree);
    docker.remove(TAG);
    assert_same("docker", &comparable(&source), &found);
}

#[test]
fn podman_puts_the_parts_of_a_layer_together() {
    require!(root());
    let podman = require!(Podman::new());
    let python = require!(tool("python3"));
    let (tree, source) = source(&python, packages(), SPEC);
    assert_eq!(podman.load(&build(&Ocibuild::new(), &tree, "oci-archive")), TAG);
    let found = exported(&|| podman.command(), &python, &tree);
    assert_same("podman", &comparable(&source), &found);
}
