//! Layouts and archives, written over and added to.

use std::fs;

use crate::bench::{Bench, SPEC};

#[test]
fn a_layout_gains_names_and_replaces_its_own() {
    let bench = Bench::with_spec(SPEC);
    let into = |tag: &str| bench.digest(&["-q", "-t", tag, "--output", "type=oci,dest=all"]);
    let first = into("r.io/app:1");
    into("r.io/app:2");
    bench.write("hello", "changed");
    let changed = into("r.io/app:2");
    assert_ne!(first, changed);
    let digest = |name: &str| {
        let shown = bench.ok(&["inspect", "--format", "json", &format!("all:{name}")]).json();
        shown["descriptor"]["digest"].as_str().unwrap().to_owned()
    };
    assert!(first.ends_with(&digest("1")) && changed.ends_with(&digest("2")));
    bench.valid("all:1");
    bench.valid("oci:all:2");
    let said = bench.run(&["inspect", "all"]).expect_code(3).errors();
    assert!(said.contains("`1`, `2`") && said.contains("`:NAME`"), "{said}");
}

#[test]
fn several_outputs_are_written_at_once() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[
        "--output",
        "type=oci,dest=a",
        "--output",
        "type=oci,dest=b",
        "--output",
        "type=oci-archive,dest=c.tar",
    ]);
    assert_eq!(bench.names(), ["a", "b", "c.tar", "hello", "ocibuild.toml"]);
    bench.valid("a");
    bench.valid("b");
    fs::create_dir(bench.path("c")).unwrap();
    let mut unpack = std::process::Command::new("tar");
    ocibuild_testkit::run(unpack.arg("-xf").arg(bench.path("c.tar")).arg("-C").arg(bench.path("c")));
    bench.valid("c");
}

#[test]
fn a_failed_build_leaves_the_old_output_whole() {
    let bench = Bench::with_spec(SPEC);
    let outputs = ["build", "--output", "type=oci,dest=a", "--output", "type=oci-archive,dest=b.tar"];
    bench.ok(&outputs);
    let before = (bench.tree.read("work/a/index.json"), bench.tree.read("work/b.tar"));
    bench.tree.remove("work/hello");
    bench.run(&outputs).expect_code(3);
    assert!(before == (bench.tree.read("work/a/index.json"), bench.tree.read("work/b.tar")));
    assert_eq!(bench.names(), ["a", "b.tar", "ocibuild.toml"]);
}

/// Changes the cache's blobs of all layers of the image, whose layout it removes.
fn damage_layers(bench: &Bench) {
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    for layer in shown["images"][0]["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap().replace("sha256:", "");
        let blob = bench.tree.join("cache/blobs/sha256").join(digest);
        let mut bytes = fs::read(&blob).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&blob, bytes).unwrap();
    }
    bench.tree.remove("work/app.oci");
}

#[test]
fn a_damaged_blob_of_the_cache_is_made_anew() {
    let bench = Bench::with_spec(&SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"hello\"]"));
    let digest = bench.digest(&[]);
    damage_layers(&bench);
    let output = bench.ok(&["build"]);
    assert_eq!(output.text(), digest);
    assert!(output.errors().contains("warning: the cache's copy of"), "{output}");
    bench.valid("app.oci");
}

#[test]
fn all_damaged_blobs_of_the_cache_are_made_anew_at_once() {
    let layer = |name: &str| {
        format!(
            "[layers.{name}]\nmanifests = [\"hello\"]\ncopy = [{{ from = \"hello\", to = \"/{name}\" }}]\n"
        )
    };
    let image = "[images.app]\nlayers = [\"a\", \"b\", \"c\"]\n";
    let bench = Bench::with_spec(&["version = 1\n", &layer("a"), &layer("b"), &layer("c"), image].concat());
    let digest = bench.digest(&[]);
    damage_layers(&bench);
    let output = bench.ok(&["build"]);
    assert_eq!(output.text(), digest);
    assert_eq!(output.errors().matches("warning: the cache's copy of").count(), 3, "{output}");
    bench.valid("app.oci");
}

#[test]
fn an_archive_that_can_not_be_written_is_refused_before_anything_is_built() {
    let bench = Bench::with_spec(SPEC);
    fs::create_dir(bench.path("taken")).unwrap();
    // To make a file in `/proc` isn't even root's to do.
    for place in ["taken", "hello/a.tar", "hello/new/a.tar", "/proc/a.tar", "/proc/new/a.tar"] {
        let output = bench.run(&["build", "--output", &format!("type=oci-archive,dest={place}")]);
        let said = output.expect_code(3).errors();
        assert!(said.starts_with(&format!("error: cannot write `{place}`\n  caused by: ")), "{said}");
        assert!(said.contains("\n  hint: ") && !said.contains("layer app"), "{place}: {said}");
    }
    assert_eq!(bench.names(), ["hello", "ocibuild.toml", "taken"]);
    bench.digest(&["--output", "type=oci-archive,dest=new/er/a.tar"]);
    bench.digest(&["--output", "type=oci-archive,dest=/dev/null"]);
}

#[test]
fn one_place_is_no_two_outputs_however_it_is_written() {
    let bench = Bench::with_spec(SPEC);
    fs::create_dir(bench.path("sub")).unwrap();
    std::os::unix::fs::symlink("sub", bench.path("link")).unwrap();
    let absolute = format!("type=oci,dest={}", bench.path("a").display());
    for (one, other) in [
        ("type=oci,dest=a", "type=oci,dest=./a"),
        ("type=oci,dest=a", "type=oci-archive,dest=a"),
        ("type=oci,dest=a", "type=oci,dest=sub/../a/"),
        ("type=oci,dest=a", "type=oci,dest=new/../a"),
        ("type=oci,dest=sub/a", "type=oci-archive,dest=link/a"),
        ("type=oci-archive,dest=a", &absolute),
    ] {
        let said = bench.run(&["build", "--output", one, "--output", other]).expect_code(2).errors();
        assert!(said.contains("have one destination"), "{one} and {other}: {said}");
    }
    assert_eq!(bench.names(), ["hello", "link", "ocibuild.toml", "sub"]);
}
