//! Files that tell programs what was built.

use std::collections::BTreeSet;
use std::fs;

use ocibuild_testkit::{Output, Podman, docker, registry, require, run_any};
use serde_json::{Value, json};

use crate::bench::{Bench, SPEC};

const DOCUMENTATION: &str = include_str!("../../../../docs/metadata.md");

/// Two platforms on a base, reused by lockfile.
const PLATFORMS: &str = r#"version = 1

[layers.app]
manifests = ["hello"]
copy = [{ from = "hello", to = "/app/hello", allow-foreign = true }]

[layers.stage]
copy = [{ content = "{arch}", to = "/app/STAGE" }]

[images.app]
base = { layout = "base" }
platforms = ["linux/amd64", "linux/arm64"]
layers = ["app", "stage"]
tags = ["r.io/team/app:1", "r.io/team/app:2"]
"#;

const OTHER: &str = "\n[images.other]\nlayers = [\"app\"]\ntags = [\"r.io/team/other:1\"]\n";

impl Bench {
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn metadata(&self, arguments: &[&str]) -> Value {
        self.ok(&[&["build", "--metadata-file", "m.json"], arguments].concat());
        serde_json::from_str(&self.text("m.json")).unwrap()
    }
}

/// The names of all fields that are ours; descriptors are the specification's.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if object.contains_key("mediaType") => {}
        Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                fields(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// A base for both platforms, and the spec.
fn on_platforms() -> Bench {
    let bench = Bench::with_spec(PLATFORMS);
    bench.write("base.toml", SPEC.replace("to = \"/app/hello\" }", "to = \"/base\", allow-foreign = true }"));
    let both = ["-f", "base.toml", "--platform", "linux/amd64,linux/arm64", "--output", "type=oci,dest=base"];
    bench.digest(&both);
    bench
}

#[test]
fn metadata_is_what_the_image_is() {
    let bench = on_platforms();
    let metadata = bench.metadata(&[]);
    assert_eq!((&metadata["version"], &metadata["ocibuild"]), (&json!(1), &json!(env!("CARGO_PKG_VERSION"))));
    let image = &metadata["images"][0];
    assert_eq!(image["tags"], json!(["r.io/team/app:1", "r.io/team/app:2"]));
    let digest = image["digest"].as_str().unwrap();
    assert_eq!(image["ref"], format!("r.io/team/app@{digest}"));
    assert_eq!(bench.digest(&[]), format!("r.io/team/app@{digest}"));
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci:1"]).json();
    assert_eq!(image["descriptor"]["digest"], shown["descriptor"]["digest"]);
    let platforms = image["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, shown) in platforms.iter().zip(shown["images"].as_array().unwrap()) {
        assert_eq!(platform["platform"]["architecture"], shown["config"]["architecture"]);
        let layers = platform["layers"].as_array().unwrap();
        let names: Vec<&Value> = layers.iter().map(|layer| &layer["name"]).collect();
        assert_eq!(names, [&Value::Null, &json!("app"), &json!("stage")]);
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["diff_id"]).collect();
        assert_eq!(json!(diff_ids), shown["config"]["rootfs"]["diff_ids"]);
        for (layer, shown) in layers.iter().zip(shown["layers"].as_array().unwrap()) {
            assert_eq!(layer["descriptor"]["digest"], shown["digest"]);
        }
        // `app` and the file, or the file alone.
        assert_eq!((layers[1]["entries"].as_u64(), layers[1]["cache"].as_str()), (Some(2), Some("built")));
        assert!(layers[1]["tar_size"].as_u64() >= Some(1024), "{layers:?}");
        assert!(layers[1]["seconds"].as_f64() > Some(0.0) && layers[0].get("seconds").is_none());
    }
    assert_eq!((&metadata["uploaded"], &metadata["pushed"]), (&Value::Null, &json!([])));
    assert_eq!(metadata["outputs"], json!(["app.oci"]));
}

#[test]
fn metadata_tells_what_was_reused() {
    let bench = on_platforms();
    let first = bench.metadata(&[]);
    let again = bench.metadata(&[]);
    assert_eq!((&first["reused"]["count"], &again["reused"]), (&json!(0), &again["layers"]));
    let layer = &again["images"][0]["platforms"][1]["layers"][2];
    assert_eq!((layer["name"].as_str(), layer["cache"].as_str()), (Some("stage"), Some("local")));
    assert_eq!(first["images"][0]["digest"], again["images"][0]["digest"]);
}

#[test]
fn metadata_is_documented() {
    let mut found = BTreeSet::new();
    fields(&on_platforms().metadata(&[]), &mut found);
    for field in found {
        assert!(DOCUMENTATION.contains(&format!("`{field}`")), "docs/metadata.md doesn't know `{field}`");
    }
}

#[test]
fn metadata_tells_what_was_sent() {
    let address = require!(registry());
    let bench = Bench::with_spec(SPEC);
    let tag = format!("{address}/cli-metadata:{}", std::process::id());
    let metadata = bench.metadata(&["--push", "-t", &tag]);
    let number = |metadata: &Value, name: &str| metadata[name]["count"].as_u64().unwrap();
    // Layer, config and manifest; another run may have left some there.
    assert_eq!(number(&metadata, "uploaded") + number(&metadata, "skipped"), 3, "{metadata}");
    assert_eq!((&metadata["pushed"], &metadata["outputs"]), (&json!([tag]), &json!([])));
    let again = bench.metadata(&["--push", "-t", &tag]);
    assert_eq!(again["uploaded"], json!({ "count": 0, "bytes": 0 }));
    assert_eq!(again["skipped"], json!({ "count": 3, "bytes": again["bytes"] }));
}

#[test]
fn the_id_is_the_configs_digest_or_the_indexs() {
    let bench = on_platforms();
    bench.digest(&["--platform", "linux/arm64", "--iidfile", "id"]);
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci:1"]).json();
    let manifest =
        shown["images"][0]["descriptor"]["digest"].as_str().or(shown["descriptor"]["digest"].as_str());
    let id = bench.text("id");
    let blob = bench.path("app.oci/blobs/sha256").join(id.strip_prefix("sha256:").unwrap());
    let config: Value = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
    assert_eq!(config["architecture"], "arm64");
    assert_ne!(manifest, Some(id.as_str()));
    let line = bench.digest(&["--iidfile", "id"]);
    assert_eq!(line, format!("r.io/team/app@{}", bench.text("id")));
}

#[test]
fn docker_knows_a_loaded_image_by_its_id() {
    let docker = require!(docker());
    let bench = Bench::with_spec(SPEC);
    let tag = "localhost/cli-results-id:1";
    bench.digest(&["-t", tag, "--iidfile", "id", "--output", "type=oci-archive,dest=app.tar"]);
    docker.load(&bench.path("app.tar"));
    let id = bench.text("id");
    assert_eq!(docker.inspect(tag)["Id"], id.as_str());
    assert_eq!(docker.run(&id, &[]).text(), "hello");
}

#[test]
fn podman_knows_a_loaded_image_by_its_id() {
    let podman = require!(Podman::new());
    let bench = Bench::with_spec(SPEC);
    bench.digest(&["-t", "localhost/app:1", "--iidfile", "id", "--output", "type=oci-archive,dest=app.tar"]);
    podman.load(&bench.path("app.tar"));
    let id = bench.text("id");
    assert_eq!(podman.inspect("localhost/app:1")["Id"], id.strip_prefix("sha256:").unwrap());
    assert_eq!(podman.run(&id, &[]).text(), "hello");
}

#[test]
fn references_are_a_line_a_tag() {
    let bench = on_platforms();
    let line = bench.digest(&["--image-refs", "deep/down/refs"]);
    let digest = line.split_once('@').unwrap().1;
    assert_eq!(bench.text("deep/down/refs"), format!("r.io/team/app:1@{digest}\nr.io/team/app:2@{digest}\n"));
    bench.digest(&["-t", "app", "--image-refs", "deep/down/refs"]);
    assert_eq!(bench.text("deep/down/refs"), format!("docker.io/library/app:latest@{digest}\n"));
}

#[test]
fn what_has_no_such_result_is_told_before_anything_is_built() {
    let bench = Bench::with_spec(&format!("{SPEC}{OTHER}"));
    bench.write("file", "");
    for (words, code, says) in [
        (&["--iidfile", "id"][..], 2, "2 would be built"),
        (&["--image-refs", "refs"], 2, "`app` has no tag"),
        (&["--metadata-file", "-"], 2, "standard output has"),
        (
            &["--metadata-file", "m", "--iidfile", "./m", "app"],
            2,
            "`--iidfile` names `./m`, which is for --metadata-file",
        ),
        (
            &["--metadata-file", "x", "--output", "type=oci-archive,dest=x", "app"],
            2,
            "which is for the image",
        ),
        (&["--metadata-file", "./app.oci"], 2, "which is for the image"),
        (&["--iidfile", "../work/ocibuild.toml", "app"], 2, "which is for the spec"),
        (&["--metadata-file", "file/below"], 3, "for `--metadata-file`"),
        (&["--iidfile", ".", "app"], 3, "for `--iidfile`"),
    ] {
        let said = bench.run(&[&["build"], words].concat()).expect_code(code).errors();
        assert!(said.contains(says) && said.contains("hint:"), "{words:?}: {said}");
        assert_eq!(bench.names(), ["file", "hello", "ocibuild.toml"], "{words:?}");
    }
}

#[test]
fn a_failed_build_leaves_old_results() {
    let bench = Bench::with_spec(SPEC);
    let words = ["build", "-t", "a:1", "--metadata-file", "m", "--iidfile", "id", "--image-refs", "refs"];
    let github = bench.path("github");
    let run = |code| run_any(bench.command(&words).env("GITHUB_OUTPUT", &github)).expect_code(code);
    run(0);
    let read = || ["m", "id", "refs", "github"].map(|name| bench.text(name));
    let before = read();
    bench.tree.remove("work/hello");
    run(3);
    assert_eq!(before, read());
    assert_eq!(bench.names(), ["app.oci", "github", "id", "m", "ocibuild.toml", "refs"]);
}

#[test]
fn results_are_never_input() {
    let bench = Bench::with_spec(
        &SPEC.replace("from = \"hello\", to = \"/app/hello\"", "from = \".\", to = \"/app\""),
    );
    let words = ["--metadata-file", "m.json", "--iidfile", "id"];
    let first = bench.digest(&words);
    assert_eq!(bench.digest(&words), first);
    assert_ne!(bench.digest(&[]), first, "files of another run's results are files like any other");
}

fn on_github(bench: &Bench, words: &[&str], file: &str) -> Output {
    run_any(bench.command(&[&["build"], words].concat()).env("GITHUB_OUTPUT", file))
}

#[test]
fn a_step_gets_outputs() {
    let bench = Bench::with_spec(&format!("{SPEC}{OTHER}"));
    let file = bench.path("github").display().to_string();
    let app = on_github(&bench, &["app"], &file).expect_code(0).text();
    let one = format!("digest={app}\nref={app}\ndigests={{\"app\":\"{app}\"}}\nrefs={{\"app\":\"{app}\"}}\n");
    assert_eq!(bench.text("github"), one);
    // A writer before us that left its line open.
    bench.write("github", "a=1");
    let other = on_github(&bench, &[], &file).expect_code(0).text().lines().nth(1).unwrap().to_owned();
    let digest = other.split_once('@').unwrap().1;
    let several = format!(
        "a=1\ndigests={{\"app\":\"{app}\",\"other\":\"{digest}\"}}\nrefs={{\"app\":\"{app}\",\"other\":\"{other}\"}}\n"
    );
    assert_eq!(bench.text("github"), several);
}

#[test]
fn a_step_whose_file_cannot_be_written_is_told_the_variable() {
    let bench = Bench::with_spec(SPEC);
    bench.write("file", "");
    let file = bench.path("file/below").display().to_string();
    let said = on_github(&bench, &[], &file).expect_code(3).errors();
    assert!(said.contains("for `GITHUB_OUTPUT`") && said.contains("unset `GITHUB_OUTPUT`"), "{said}");
    assert_eq!(bench.names(), ["file", "hello", "ocibuild.toml"]);
    on_github(&bench, &[], "").expect_code(0);
}
