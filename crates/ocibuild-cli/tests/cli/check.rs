//! `ocibuild check` and `ocibuild schema`.

use ocibuild_testkit::run_any;
use serde_json::json;
use snapbox::{assert_data_eq, file};

use crate::bench::{Bench, SPEC};

/// A spec with one thing wrong of each kind that shows only in the files.
const FAULTY: &str = r#"version = 1

[layers.app]
manifests = ["hello", "package-lock.json"]
copy = [
  { from = "hello", to = "/app/hello" },
  { from = "hallo", to = "/app/hallo" },
  { from = "empty/*", to = "/x/" },
  { content = "", to = "/y", owner = "nobody-there" },
]

[layers.twice]
copy = [{ content = "a", to = "/a" }, { content = "b", to = "/a" }]

[layers.sound]
copy = [{ from = "hello", to = "/sound" }]

[layers.unused]
copy = [{ from = "nowhere", to = "/unused" }]

[images.app]
layers = ["app", "twice", "sound"]

[images.based]
base = { layout = "base.oci" }
layers = ["sound", "app"]
"#;

#[test]
fn a_sound_spec_is_told_in_one_line() {
    let bench = Bench::with_spec(SPEC);
    let output = bench.ok(&["check"]);
    assert_eq!(output.stdout, b"ocibuild.toml: 1 image, 1 layer, ok\n");
    assert_eq!(output.errors(), "");
    assert_eq!(bench.names(), ["hello", "ocibuild.toml"], "nothing is built");
    assert_eq!(bench.tree.join("cache").read_dir().unwrap().count(), 0, "nothing is kept");
}

#[test]
fn steps_that_no_image_needs_are_looked_at_as_well() {
    let bench = Bench::with_spec(&format!(
        "{SPEC}\n[steps.test]\nrun = \"true\"\ninputs = [\"hello\"]\n\
         [steps.lint]\nrun = \"true\"\ninputs = [\"src/**\"]\n"
    ));
    let said = bench.run(&["check"]).expect_code(3).errors();
    assert!(said.contains("step `lint`: `src/**` selects no files"), "{said}");
    assert!(said.contains("inputs = [\"src/**\"]"), "with its line: {said}");
    // Who asks for an image asks for no tests.
    bench.ok(&["check", "app"]);
    std::fs::create_dir(bench.path("src")).unwrap();
    bench.write("src/main", "");
    assert_eq!(bench.ok(&["check"]).text(), "ocibuild.toml: 1 image, 1 layer, 2 steps, ok");
    let json = bench.ok(&["check", "--format", "json"]).json();
    assert_eq!(json["steps"], json!(["lint", "test"]));
}

#[test]
fn all_faults_of_files_are_told_at_once() {
    let bench = Bench::with_spec(FAULTY);
    std::fs::create_dir(bench.path("empty")).unwrap();
    let output = bench.run(&["check"]).expect_code(2);
    assert_eq!(output.text(), "");
    assert_data_eq!(bench.said(&output), file!["snapshots/check-files.txt"].raw());
    let chosen = bench.run(&["check", "based"]).expect_code(3);
    assert!(chosen.errors().contains("`base.oci`") && !chosen.errors().contains("twice"), "{chosen}");
}

#[test]
fn faults_of_the_spec_come_before_those_of_files() {
    let bench = Bench::with_spec(&FAULTY.replace("\"sound\"]", "\"sund\"]\nuser = \"a b\""));
    let output = bench.run(&["check"]).expect_code(2);
    assert_data_eq!(bench.said(&output), file!["snapshots/check-spec.txt"].raw());
    let bench = Bench::with_spec(&SPEC.replace("[images.app]", "[images.app]\ntags = [\"{var.tag}\"]"));
    assert!(bench.run(&["check"]).expect_code(2).errors().contains("unknown variable `tag`"));
    bench.ok(&["check", "--var", "tag=app:1"]);
    let bad = bench.run(&["check", "--var", "tag=App"]).expect_code(2);
    assert!(bad.errors().starts_with("error: ocibuild.toml:7:9: "), "{bad}");
}

#[test]
fn programs_are_told_places() {
    let bench = Bench::with_spec(FAULTY);
    let output = bench.run(&["check", "--format", "json"]).expect_code(2);
    assert_eq!(output.errors(), "");
    let found = output.json();
    assert_eq!(
        (&found["version"], &found["sound"], &found["images"], &found["layers"]),
        (&json!(1), &json!(false), &json!(["app", "based"]), &json!(["app", "sound", "twice"]))
    );
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(
        findings[1],
        json!({
            "severity": "error", "file": "ocibuild.toml", "line": 7, "column": 3, "end_line": 7, "end_column": 40,
            "message": "layer `app (on scratch)`: `hallo` doesn't exist",
            "hint": format!("did you mean `hello`? paths are relative to the root, `{}`", bench.tree.join("work").display()),
        })
    );
    let last = findings.last().unwrap();
    assert_eq!(
        (&last["severity"], &last["message"]),
        (&json!("warning"), &json!("layer `unused` is in no image"))
    );

    let sound = Bench::with_spec(SPEC);
    let found = sound.ok(&["check", "--format", "json"]).json();
    assert_eq!((&found["sound"], &found["findings"]), (&json!(true), &json!([])));
    let broken = Bench::with_spec("version = 1\n[images.a]\nbase = \"scratch\nlayers = 1\n");
    let found = broken.run(&["check", "--format", "json"]).expect_code(2).json();
    assert_eq!((&found["images"], &found["findings"][0]["line"]), (&json!(null), &json!(3)));
}

#[test]
fn what_check_says_of_one_fault_build_says_as_well() {
    let faults = [
        (SPEC.replace("\"hello\", to", "\"hallo\", to"), 3),
        (SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"lock\"]"), 3),
        (SPEC.replace("[images.app]", "[images.app]\nbase = { layout = \"none\" }"), 3),
        (SPEC.replace("[images.app]", "[images.app]\nbase = { builtin = \"static@7\" }"), 2),
        (SPEC.replace("layers = [\"app\"]", "layers = [\"ap\"]"), 2),
        (SPEC.replace("{ from", "{ directory = \"/app/hello\" }, { from"), 2),
    ];
    for (spec, code) in faults {
        let bench = Bench::with_spec(&spec);
        let checked = bench.run(&["check"]).expect_code(code);
        let built = bench.run(&["build", "-q"]).expect_code(code);
        assert_eq!(checked.errors(), built.errors(), "{spec}");
    }
}

#[test]
fn a_base_and_its_users_are_looked_at() {
    let bench = Bench::with_spec(SPEC);
    bench.ok(&["build", "--copy", "hello:/etc/thing/file", "--name", "base"]);
    let spec = SPEC
        .replace("[images.app]", "[images.app]\nbase = { layout = \"base.oci\" }")
        .replace("to = \"/app/hello\"", "to = \"/etc/thing\", owner = \"app:app\"");
    bench.write("ocibuild.toml", &spec);
    let said = bench.run(&["check"]).expect_code(3).errors();
    assert!(said.contains("the base has no user `app`"), "{said}");
    bench.write("ocibuild.toml", spec.replace(", owner = \"app:app\"", ""));
    let said = bench.run(&["check"]).expect_code(3).errors();
    assert!(said.contains("is a directory of the base"), "{said}");
    bench.write(
        "ocibuild.toml",
        spec.replace(", owner = \"app:app\"", "").replace("/etc/thing\"", "/etc/thing/\""),
    );
    bench.ok(&["check"]);
}

#[test]
fn a_spec_that_is_not_there() {
    let bench = Bench::new();
    assert!(bench.run(&["check"]).expect_code(2).errors().contains("there is no `ocibuild.toml`"));
    assert!(bench.run(&["check", "-f", "nope.toml"]).expect_code(2).errors().contains("cannot read"));
    let bench = Bench::with_spec(SPEC);
    assert!(bench.run(&["check", "nope"]).expect_code(2).errors().contains("no image `nope`"));
    // The cache may be anywhere, or nowhere.
    let cache = bench.path("no/cache");
    run_any(bench.command(&["check"]).env("OCIBUILD_CACHE_DIR", &cache)).expect_code(0);
    assert!(!cache.exists());
}

#[test]
fn the_schema_is_printed() {
    let schema = Bench::new().ok(&["schema"]).json();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(schema["properties"]["images"]["description"].is_string());
}
