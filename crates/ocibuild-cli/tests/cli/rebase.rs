//! `rebase`.

use std::fs;

use serde_json::Value;
use snapbox::{assert_data_eq, file};

use crate::bench::Bench;

const SPEC: &str = r#"version = 1

[layers.old]
copy = [
  { symlink = "usr/lib", to = "/lib" },
  { directory = "/usr/lib" },
  { directory = "/work", mode = "1777" },
  { content = "web:x:7:8::/:\n", to = "/etc/passwd" },
]

[layers.new]
copy = [
  { symlink = "usr/lib", to = "/lib" },
  { content = "new\n", to = "/usr/lib/news" },
  { directory = "/work", mode = "1777" },
  { content = "web:x:7:8::/:\n", to = "/etc/passwd" },
]

[layers.other]
copy = [
  { directory = "/lib" },
  { directory = "/work" },
  { content = "web:x:17:8::/:\n", to = "/etc/passwd" },
]

[layers.app]
copy = [
  { content = "x\n", to = "/lib/app" },
  { content = "x\n", to = "/work/file", owner = "web" },
]

[images.old]
layers = ["old"]
platforms = ["linux/amd64"]
[images.new]
layers = ["new"]
platforms = ["linux/amd64"]
env = { NEW = "1" }
[images.other]
layers = ["other"]
platforms = ["linux/amd64"]
"#;

/// A spec of the same image on a base.
fn on(base: &str) -> String {
    let layers = SPEC.split("[layers.app]").nth(1).unwrap().split("[images").next().unwrap();
    format!(
        "version = 1\nname = \"app\"\n[layers.app]{layers}\n[images.app]\nbase = {{ layout = \"{base}.oci\" }}\n\
         layers = [\"app\"]\nplatforms = [\"linux/amd64\"]\nentrypoint = [\"/lib/app\"]\n"
    )
}

/// Bases, and an image on the old one.
fn bench() -> Bench {
    let bench = Bench::with_spec(SPEC);
    bench.ok(&["build"]);
    bench.write("app.toml", on("old"));
    bench.ok(&["build", "-f", "app.toml"]);
    bench
}

const MOVE: [&str; 6] = ["rebase", "app.oci", "--from", "old.oci", "--onto", "new.oci"];

#[test]
fn a_moved_image_is_what_a_build_gives() {
    let bench = bench();
    bench.write("moved.toml", on("new"));
    let built = bench.digest(&["-f", "moved.toml", "--output", "type=oci,dest=built"]);
    let output = bench.ok(&[&MOVE[..], &["--output", "type=oci,dest=moved"]].concat());
    assert_eq!(output.text(), built);
    assert!(output.errors().starts_with("moved onto new.oci, in moved; "), "{output}");
    bench.valid("moved");
    // What it was called it is called still; what tags call it counts before.
    bench.valid("moved:app");
    let tags = ["-t", "example.com/app:2", "--output", "type=oci,dest=tagged"];
    let line = bench.ok(&[&MOVE[..], &tags].concat()).text();
    assert_eq!(line, format!("example.com/app@{built}"));
    bench.valid("tagged:2");

    let archive = bench.ok(&[&MOVE[..], &["--output", "type=oci-archive,dest=-"]].concat());
    assert!(archive.stdout.len() > 1024 && archive.errors().ends_with(&built), "{}", archive.errors());
    let json = ["--progress", "json", "--output", "type=oci,dest=moved"];
    let said = bench.ok(&[&MOVE[..], &json].concat()).errors();
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["event"], &summary["images"][0]), (&"summary".into(), &built.into()));
    assert_eq!(summary["outputs"], serde_json::json!(["moved"]));
}

#[test]
fn what_the_new_base_has_otherwise_is_told_and_nothing_is_written() {
    let bench = bench();
    let words = ["rebase", "app.oci", "--from", "old.oci", "--onto", "other.oci"];
    let output = bench.run(&[&words[..], &["--output", "type=oci,dest=moved"]].concat()).expect_code(1);
    assert_data_eq!(bench.said(&output), file!["snapshots/rebase-conflicts.txt"].raw());
    assert!(!fs::exists(bench.path("moved")).unwrap());
}

#[test]
fn a_base_that_is_none_is_told_with_what_to_try() {
    let bench = bench();
    let to = ["--output", "type=oci,dest=moved"];
    let said = |words: &[&str]| bench.said(&bench.run(&[words, &to].concat()).expect_code(2));
    let unnamed = said(&["rebase", "app.oci", "--onto", "new.oci"]);
    assert!(unnamed.contains("not where that is") && unnamed.contains("--from BASE"), "{unnamed}");
    let none = said(&["rebase", "old.oci", "--onto", "new.oci"]);
    assert!(none.contains("doesn't say what its base is") && none.contains("--from BASE"), "{none}");
    let wrong = said(&["rebase", "app.oci", "--from", "other.oci", "--onto", "new.oci"]);
    assert!(wrong.contains("doesn't stand on `other.oci`: layer 1 is `sha256:HEX` there"), "{wrong}");
    assert!(!fs::exists(bench.path("moved")).unwrap());
}

#[test]
fn where_it_goes_must_be_said() {
    let bench = bench();
    assert!(bench.run(&MOVE).expect_code(2).errors().contains("--push"));
    let push = bench.run(&[&MOVE[..], &["--push"]].concat()).expect_code(2).errors();
    assert!(push.contains("--tag"), "{push}");
}
