//! `copy`, `push`, `pull`, `save`, `tag` and `index create`, and the names of places that they take.

use std::fs;
use std::path::Path;

use ocibuild_core::blob::Memory;
use ocibuild_core::copy::{CopyOptions, Listing as _, copy, referrers};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Manifest, MediaType, to_json};
use ocibuild_core::{Cancel, Digest};
use ocibuild_testkit::{registry, require};
use serde_json::Value;
use snapbox::{Data, assert_data_eq};

use crate::bench::{Bench, SPEC};

/// The one line of standard output.
#[track_caller]
fn line(bench: &Bench, arguments: &[&str]) -> String {
    let text = String::from_utf8(bench.ok(arguments).stdout).unwrap();
    let line = text.strip_suffix('\n').expect("the output ends with a newline");
    assert!(line.contains("sha256:") && !line.contains('\n'), "{text:?}");
    line.to_owned()
}

/// Demands that it fails with this code, and says what the snapshot of this name holds.
#[track_caller]
fn told(bench: &Bench, arguments: &[&str], code: i32, name: &str) {
    let output = bench.run(arguments).expect_code(code);
    assert_eq!(output.text(), "", "nothing but results on standard output");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/snapshots/places/{name}.txt"));
    assert_data_eq!(bench.said(&output), Data::read_from(&path, None).raw());
}

/// An image for two platforms in `app.oci`.
fn built() -> (Bench, String) {
    let bench = Bench::with_spec(SPEC);
    bench.write("ocibuild.toml", SPEC.replace("\"hello\"", "\"text\""));
    bench.write("text", "a text");
    let digest = bench.digest(&["--platform", "linux/amd64,linux/arm64"]);
    (bench, digest)
}

fn index(bench: &Bench, layout: &str) -> Value {
    serde_json::from_slice(&fs::read(bench.path(layout).join("index.json")).unwrap()).unwrap()
}

#[test]
fn an_image_goes_round_on_disk_and_stays_what_it_is() {
    let (bench, digest) = built();
    assert_eq!(line(&bench, &["copy", "app.oci", "oci-archive:a.tar:one"]), digest);
    assert_eq!(line(&bench, &["copy", "a.tar:one", "oci:b:two"]), digest);
    assert_eq!(line(&bench, &["copy", "b:two", "oci:b:three"]), digest);
    assert_eq!(line(&bench, &["copy", "oci:b:two", "oci:b:two"]), digest, "onto itself");
    assert_eq!(line(&bench, &["save", "b:two", "saved.tar", "-t", "app:1", "-t", "r.io/x:2"]), digest);
    for image in ["a.tar", "oci-archive:a.tar:one", "b:two", "b:three", "saved.tar:1", "saved.tar:r.io/x:2"] {
        bench.valid(image);
    }
    let one = line(&bench, &["copy", "--platform", "linux/arm64", "app.oci", "c"]);
    assert_eq!(line(&bench, &["copy", "app.oci", "c:whole"]), digest);
    let names = index(&bench, "c");
    let names: Vec<&str> = names["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(names, ["-", "whole"], "other images are kept");
    assert_ne!(one, digest);
    for command in [&["inspect", "saved.tar:1"][..], &["ls", "--platform", "linux/amd64", "a.tar"]] {
        bench.ok(command);
    }
    bench.ok(&["diff", "--platform", "linux/arm64", "a.tar", "app.oci"]);
}

#[test]
fn archives_go_through_pipes() {
    let (bench, digest) = built();
    let saved = bench.ok(&["copy", "app.oci", "-"]);
    assert!(saved.errors().trim_end().ends_with(&digest), "the digest is on standard error: {saved}");
    bench.write("piped.tar", &saved.stdout);
    let mut command = bench.command(&["copy", "-", "oci:piped"]);
    command.stdin(fs::File::open(bench.path("piped.tar")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), digest);
    bench.valid("piped");
    let said = bench.ok(&["save", "app.oci", "-", "--progress", "json"]).errors();
    assert!(said.lines().all(|line| line.starts_with('{')), "{said}");
    assert!(said.contains(&digest));
}

#[test]
fn names_are_given_and_moved_in_layouts() {
    let (bench, digest) = built();
    let one = line(&bench, &["copy", "--platform", "linux/arm64", "app.oci", "l:arm"]);
    assert_eq!(line(&bench, &["tag", "oci:l", "x", "y"]), one);
    assert_eq!(line(&bench, &["copy", "app.oci", "oci:l:x"]), digest);
    assert_eq!(line(&bench, &["tag", "oci:l:x", "y"]), digest);
    assert_eq!(line(&bench, &["copy", "oci:l:y", "oci:m"]), digest);
    assert_eq!(line(&bench, &["copy", "l:arm", "oci:n"]), one);
    assert_eq!(line(&bench, &["copy", "l:arm", "oci:n:r.io/a:1"]), one);
    assert_eq!(line(&bench, &["tag", "oci:n:r.io/a:1", "b"]), one);
    assert_eq!(line(&bench, &["copy", "oci:n:b", "oci:n"]), one);
}

#[test]
fn images_of_several_runners_become_one_index() {
    let (bench, digest) = built();
    for arch in ["amd64", "arm64"] {
        bench.ok(&["copy", "--platform", &format!("linux/{arch}"), "app.oci", &format!("oci:{arch}")]);
    }
    let words = ["index", "create", "both.oci:1", "amd64", "arm64", "--metadata-file", "meta/data.json"];
    assert_eq!(line(&bench, &words), digest, "it is what one build would have made");
    let data: Value = serde_json::from_slice(&fs::read(bench.path("meta/data.json")).unwrap()).unwrap();
    assert_eq!((&data["version"], &data["descriptor"]["digest"]), (&1.into(), &digest.as_str().into()));
    let annotated = ["index", "create", "oci-archive:n.tar", "arm64", "amd64", "--annotation", "a=b"];
    let other = line(&bench, &annotated);
    assert_eq!(line(&bench, &annotated), other, "the same again");
    assert_ne!(other, digest);
    for image in ["both.oci", "n.tar"] {
        bench.valid(image);
    }
    told(&bench, &["index", "create", "x", "amd64", "app.oci"], 2, "same-platform");
    told(&bench, &["index", "create", "x", "amd64", "nope"], 3, "no-such-part");
    assert!(!bench.path("x").exists());
}

#[test]
fn what_cannot_be_meant_is_told() {
    let (bench, _) = built();
    bench.ok(&["save", "app.oci", "a.tar"]);
    bench.ok(&["copy", "app.oci", "two:1"]);
    bench.ok(&["copy", "--platform", "linux/arm64", "app.oci", "two:2"]);
    bench.write("text.tar", "no archive");
    bench.write("other/file", "x");
    told(&bench, &["copy", "app.oci", "docker-archive:x"], 2, "docker-archive-out");
    told(&bench, &["copy", "app.oci", "x.tar"], 2, "archive-or-layout");
    told(&bench, &["copy", "app.oci", "r.io/A:1"], 2, "no-destination");
    told(&bench, &["copy", "docker-daemon:app:1", "x"], 2, "docker-daemon");
    told(&bench, &["copy", "oci:", "x"], 2, "nothing-named");
    told(&bench, &["copy", "a.tar", "oci-archive:a.tar"], 2, "onto-itself");
    told(&bench, &["copy", "text.tar", "x"], 3, "no-archive");
    told(&bench, &["copy", "two", "x"], 3, "several");
    told(&bench, &["copy", "two:3", "x"], 3, "no-such-name");
    told(&bench, &["copy", "app.oci", "other"], 3, "no-layout");
    told(&bench, &["copy", "app.oci", "oci-archive:other"], 3, "directory-for-archive");
    told(&bench, &["save", "app.oci", "/dev/full"], 3, "full");
    told(&bench, &["copy", "--platform", "linux/s390x", "app.oci", "x"], 2, "no-such-platform");
    let wrong = format!("127.0.0.1:1/a@sha256:{}", "0".repeat(64));
    told(&bench, &["copy", "app.oci", &wrong], 2, "other-digest");
    told(&bench, &["push", "app.oci", "127.0.0.1:1/a:1"], 4, "unreachable");
    told(&bench, &["tag", "127.0.0.1:1/a:1", "a b"], 2, "no-tag");
    told(&bench, &["tag", "127.0.0.1:1/a:1", "127.0.0.1:1/b:1"], 2, "other-repository");
    told(&bench, &["tag", "oci:app.oci", "a b"], 3, "no-name");
    told(&bench, &["tag", "a.tar", "x"], 2, "tag-of-archive");
    told(&bench, &["pull", "./app.oci"], 2, "pull-of-disk");
    assert!(!bench.path("x").exists(), "nothing is left of what failed");
}

/// Adds to a layout what refers to an image in it, and to that again.
fn refer(bench: &Bench, layout: &str, digest: &str) -> Vec<Digest> {
    let layout = Layout::open_or_create(bench.path(layout)).unwrap();
    let mut subject = layout.descriptors().unwrap().into_iter().find(|one| one.digest.to_string() == digest);
    let mut digests = Vec::new();
    for _ in 0..2 {
        let memory = Memory::new();
        let config = memory.insert(MediaType::new("application/vnd.oci.empty.v1+json"), b"{}".to_vec());
        let mut manifest = Manifest::new(config.clone(), vec![config]);
        manifest.artifact_type = Some(MediaType::new("application/vnd.example"));
        manifest.subject = subject.take();
        let manifest = memory.insert(MediaType::MANIFEST, to_json(&manifest));
        copy(std::slice::from_ref(&manifest), &memory, &layout, &CopyOptions::new()).unwrap();
        layout.list(&manifest).unwrap();
        digests.push(manifest.digest);
        subject = Some(manifest);
    }
    digests
}

#[test]
fn what_refers_to_an_image_comes_along_on_demand() {
    let (bench, digest) = built();
    let signatures = refer(&bench, "app.oci", &digest);
    let found = |layout: &str| {
        let layout = Layout::open(bench.path(layout)).unwrap();
        let root = layout.sole().unwrap();
        let found = referrers(&[root], &layout, &Cancel::new()).unwrap();
        found.iter().map(|one| one.digest).collect::<Vec<Digest>>()
    };
    assert_eq!(line(&bench, &["copy", "app.oci", "oci:without:1"]), digest);
    assert!(found("without").is_empty());
    assert_eq!(line(&bench, &["copy", "--referrers", "app.oci", "oci:with:1"]), digest);
    assert_eq!(found("with"), signatures);
    assert_eq!(line(&bench, &["save", "--referrers", "app.oci", "with.tar"]), digest);
    assert_eq!(line(&bench, &["copy", "--referrers", "with.tar", "oci:again:1"]), digest);
    assert_eq!(found("again"), signatures);
    let address = require!(registry());
    let at = |name: &str| format!("{address}/cli-places-referrers/{name}");
    bench.ok(&["push", "--referrers", "with.tar", &at("a:1")]);
    bench.ok(&["copy", "--referrers", &at("a:1"), &at("b:1")]);
    assert_eq!(line(&bench, &["pull", "--referrers", &at("b:1"), "oci:back"]), digest);
    assert_eq!(found("back"), signatures);
}

#[test]
fn a_copy_that_fails_leaves_the_old_name() {
    let (bench, _) = built();
    bench.ok(&["copy", "--platform", "linux/arm64", "app.oci", "old:1"]);
    bench.ok(&["save", "--platform", "linux/arm64", "app.oci", "old.tar"]);
    let before = (index(&bench, "old"), fs::read(bench.path("old.tar")).unwrap());
    let blob = bench.path("app.oci/blobs/sha256");
    let amd = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let config = amd["images"][0]["config_descriptor"]["digest"].as_str().unwrap();
    let file = blob.join(config.trim_start_matches("sha256:"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[5] ^= 1;
    fs::write(&file, bytes).unwrap();
    for destination in ["old:1", "oci-archive:old.tar"] {
        let said = bench.run(&["copy", "app.oci", destination]).expect_code(3).errors();
        assert!(said.contains("are not what they should be"), "{said}");
    }
    assert_eq!((index(&bench, "old"), fs::read(bench.path("old.tar")).unwrap()), before);
    bench.valid("old:1");
    assert!(!bench.names().iter().any(|name| name.starts_with('.')), "{:?}", bench.names());
}

#[test]
fn images_go_to_registries_and_between_them() {
    let address = require!(registry());
    let (bench, digest) = built();
    let at = |name: &str| format!("{address}/cli-places/{name}");
    let push = ["push", "app.oci", &at("a:1"), &at("a:2"), &at("b:1"), "--metadata-file", "push.json"];
    assert_eq!(line(&bench, &push), format!("{}@{digest}", at("a")));
    let data: Value = serde_json::from_slice(&fs::read(bench.path("push.json")).unwrap()).unwrap();
    assert_eq!(data["refs"].as_array().unwrap().len(), 3);
    for name in ["a:1", "a:2", "b:1"] {
        bench.valid(&at(name));
    }
    assert_eq!(line(&bench, &["tag", &at("a:1"), "3", &at("a:4")]), format!("{}@{digest}", at("a")));
    assert_eq!(
        line(&bench, &["tag", &format!("{}@{digest}", at("a")), "5"]),
        format!("{}@{digest}", at("a"))
    );
    assert_eq!(line(&bench, &["copy", &at("a:5"), &at("c:1")]), format!("{}@{digest}", at("c")));
    let by_digest = format!("{}@{digest}", at("d"));
    assert_eq!(line(&bench, &["copy", &at("a:4"), &by_digest]), by_digest);
    bench.valid(&by_digest);
    bench.run(&["inspect", &at("d")]).expect_code(4);
    assert_eq!(line(&bench, &["pull", &at("a:3")]), digest);
    bench.valid("a.oci:3");
    assert_eq!(line(&bench, &["pull", &by_digest, "oci-archive:d.tar"]), digest);
    bench.valid("d.tar");
    let arm = line(&bench, &["copy", "--platform", "linux/arm64", &at("a:1"), &at("arm:1")]);
    let amd = line(&bench, &["copy", "--platform", "linux/amd64", &at("a:1"), &at("amd:1")]);
    assert!(arm.contains("/arm@") && amd.contains("/amd@"));
    let both = line(&bench, &["index", "create", &at("both:1"), &at("amd:1"), &at("arm:1")]);
    assert_eq!(both, format!("{}@{digest}", at("both")));
    bench.valid(&at("both:1"));
}
