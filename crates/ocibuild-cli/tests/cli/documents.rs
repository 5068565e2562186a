//! The documents for programs, held against what is written of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bench::{Bench, SPEC};

const JSON: &str = include_str!("../../../../docs/json.md");
const ALL: [&str; 3] =
    [JSON, include_str!("../../../../docs/metadata.md"), include_str!("../../../../docs/progress.md")];

/// Objects that are others' forms, or have names of their users' for fields.
const FOREIGN: [&str; 6] =
    ["descriptor", "config_descriptor", "annotations", "platform", "inventory", "history"];

/// The names of all fields of a document.
fn fields(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                names.insert(name.clone());
                let is_config = name == "config" && value.is_object();
                if !FOREIGN.contains(&name.as_str()) && !is_config {
                    fields(value, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, names)),
        _ => {}
    }
}

#[test]
fn every_field_of_a_document_is_written_of() {
    let bench = Bench::with_spec(&SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"hello\"]"));
    bench.digest(&[]);
    bench.digest(&["--label", "a=b", "--output", "type=oci,dest=other.oci"]);
    let changed = SPEC.replace("copy = [", "copy = [{ symlink = \"x\", to = \"/y\" }, ");
    bench.write("ocibuild.toml", changed);
    bench.digest(&["--output", "type=oci,dest=changed.oci"]);
    let json = |words: &[&str]| bench.run(&[words, &["--format", "json"]].concat()).json();
    for words in [
        &["ls", "app.oci"][..],
        &["ls", "--digests", "--layer", "1", "changed.oci"],
        &["diff", "app.oci", "other.oci"],
        &["diff", "app.oci", "changed.oci"],
        &["inspect", "app.oci"],
        &["validate", "app.oci"],
        &["graph"],
        &["cache", "ls"],
        &["cache", "verify"],
        &["cache", "prune"],
    ] {
        let document = json(words);
        assert_eq!(document["version"], 1, "{words:?}");
        let mut names = BTreeSet::new();
        fields(&document, &mut names);
        assert!(names.len() > 3, "{words:?}: {names:?}");
        // A layer of `inspect` has the fields of its descriptor.
        let is_known = |name: &&String| !["mediaType", "digest", "size"].contains(&name.as_str());
        for name in names.iter().filter(is_known) {
            assert!(JSON.contains(&format!("`{name}`")), "docs/json.md doesn't know `{name}` of {words:?}");
        }
    }
}

#[test]
fn one_thing_has_one_name_in_all_documents() {
    for (old, new) in [("uncompressed_size", "tar_size"), ("number", "count"), ("items", "entries")] {
        for text in ALL {
            assert!(!text.contains(&format!("`{old}`")), "`{old}` is `{new}` elsewhere");
        }
        assert!(ALL.iter().filter(|text| text.contains(&format!("`{new}`"))).count() > 1, "{new}");
    }
}

#[test]
fn a_broken_rule_is_told_to_programs() {
    let bench = Bench::with_spec(SPEC);
    let digest = bench.digest(&[]);
    let value = bench.ok(&["validate", "--format", "json", "app.oci"]).json();
    assert_eq!((&value["valid"], &value["descriptor"]["digest"]), (&true.into(), &digest.into()));
    assert_eq!(value["violations"], Value::Array(Vec::new()));
    let blobs = bench.path("app.oci/blobs/sha256");
    let layer = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let layer = layer["images"][0]["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    std::fs::remove_file(blobs.join(&layer)).unwrap();
    let output = bench.run(&["validate", "--format", "json", "app.oci"]).expect_code(1);
    let value = output.json();
    assert_eq!(value["valid"], false);
    let violation = &value["violations"][0];
    assert!(violation["place"].as_str().unwrap().contains(&layer), "{violation}");
    assert!(violation["message"].as_str().unwrap().contains("missing"), "{violation}");
    let (section, url) = (&violation["section"], &violation["url"]);
    assert!(section.is_null() == url.is_null(), "{violation}");
}

#[test]
fn one_index_does_not_differ_from_itself() {
    let bench = Bench::with_spec(&SPEC.replace("\"/app/hello\" }", "\"/app/hello\", allow-foreign = true }"));
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let digest = bench.digest(&platforms);
    bench.digest(&[&platforms[..], &["--output", "type=oci,dest=other.oci"]].concat());
    let text = bench.ok(&["diff", "app.oci", "other.oci"]).text();
    assert_eq!(
        text,
        format!("--- app.oci  {digest}\n+++ other.oci  {digest}\n\nit is one and the same image")
    );
    let value = bench.ok(&["diff", "--format", "json", "app.oci", "other.oci"]).json();
    assert_eq!((&value["same"], &value["before"]["platform"]), (&true.into(), &Value::Null));
    bench.ok(&["diff", "--platform", "linux/arm64", "app.oci", "other.oci"]);
    bench.digest(&[&platforms[..], &["--label", "a=b", "--output", "type=oci,dest=third.oci"]].concat());
    let said = bench.run(&["diff", "app.oci", "third.oci"]).errors();
    assert!(said.contains("platform"), "{said}");
}
