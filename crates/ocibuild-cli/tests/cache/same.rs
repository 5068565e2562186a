//! What answered for a layer doesn't show in the image: its manifest is the same, byte for byte, whether
//! a layer was made, found in the machine's cache, found in a registry, or made without any cache.

use std::fs;
use std::path::Path;

use ocibuild_serve::{ServeOptions, Server};
use serde_json::Value;

use crate::bench::Bench;
use crate::project::{self, cache, files, is_thorough};

const ANNOTATIONS: [&str; 2] = ["org.opencontainers.image.title=it", "com.example.own=1"];

/// Layers in all their kinds: split or not, with lockfiles or without, trusted by them or by content.
fn spec(rules: &str, platforms: &str) -> String {
    format!(
        r#"version = 1
name = "same"

[layers.modules]
{rules}
copy = [{{ from = "modules", to = "/app/modules" }}]

[layers.app]
copy = [{{ from = "src", to = "/app/src" }}]

[layers.inline]
copy = [{{ content = "inline", to = "/app/inline" }}]

[images.app]
layers = ["modules", "app", "inline"]
platforms = [{platforms}]
entrypoint = ["/app/src/main"]
"#
    )
}

/// All documents of the image in a layout, from its index on: manifests with all their annotations.
fn documents(layout: &Path) -> Vec<(String, Vec<u8>)> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digests = index["manifests"].as_array().unwrap().iter();
    let mut todo: Vec<String> = digests.map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    let mut found = Vec::new();
    while let Some(digest) = todo.pop() {
        let bytes = fs::read(layout.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let children = value["manifests"].as_array().into_iter().flatten().chain(value.get("config"));
        todo.extend(children.filter_map(|child| Some(child["digest"].as_str()?.to_owned())));
        found.push((digest, bytes));
    }
    found
}

/// The annotations of all layers, as they stand in the manifests.
fn annotations(documents: &[(String, Vec<u8>)]) -> Vec<Value> {
    let manifests = documents.iter().map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).unwrap());
    manifests
        .flat_map(|manifest| manifest["layers"].as_array().cloned().unwrap_or_default())
        .map(|layer| layer["annotations"].clone())
        .collect()
}

struct Place<'a> {
    bench: &'a Bench,
    registry: &'a str,
}

impl Place<'_> {
    /// Builds into a new layout; tells how many of the layers were found where, and what the image is.
    fn build(&self, flags: &[&str]) -> ([u64; 3], Vec<(String, Vec<u8>)>) {
        let _ = fs::remove_dir_all(self.bench.path("out"));
        let told = ["--output", "type=oci,dest=out", "--metadata-file", "build.json"];
        let own = ANNOTATIONS.iter().flat_map(|pair| ["--annotation", *pair]);
        let all: Vec<&str> =
            ["build"].into_iter().chain(told).chain(own).chain(flags.iter().copied()).collect();
        self.bench.ok(&all);
        self.bench.valid("out");
        let metadata: Value =
            serde_json::from_slice(&fs::read(self.bench.path("build.json")).unwrap()).unwrap();
        let count = |value: &Value| value["count"].as_u64().unwrap();
        let hits = &metadata["hits"];
        let counts = [count(&metadata["layers"]), count(&hits["local"]), count(&hits["registry"])];
        (counts, documents(&self.bench.path("out")))
    }

    fn forget(&self) {
        fs::remove_dir_all(cache(self.bench)).unwrap();
        fs::create_dir(cache(self.bench)).unwrap();
    }

    /// Builds in all ways, and demands the same of each.
    fn all_the_same(&self, label: &str) {
        let image = format!("{}/same:1", self.registry);
        let (miss, expected) = self.build(&[]);
        assert_eq!(miss[1..], [0, 0], "{label}");
        let same = |way: &str, flags: &[&str]| {
            let (counts, documents) = self.build(flags);
            assert_eq!(annotations(&documents), annotations(&expected), "{label}: {way}");
            assert!(documents == expected, "{label}: {way} makes another image");
            counts
        };
        let [layers, local, registry] = same("a local hit", &[]);
        assert_eq!((local, registry), (layers, 0), "{label}");
        assert_eq!(same("without a cache", &["--no-cache"])[1..], [0, 0], "{label}");
        assert_eq!(same("one thread", &["--no-cache", "--threads", "1"])[1..], [0, 0], "{label}");
        self.bench.ok(&["build", "--push", "-t", &image]
            .into_iter()
            .chain(ANNOTATIONS.iter().flat_map(|pair| ["--annotation", *pair]))
            .collect::<Vec<_>>());
        self.forget();
        let [layers, local, registry] = same("a hit in a registry", &["--cache-from", &image]);
        assert!(registry > 0 && local + registry <= layers, "{label}: {local} {registry} {layers}");
        same("a hit in a registry, with a cache", &["--cache-from", &image]);
        self.forget();
        assert_eq!(same("a miss again", &[])[1..], [0, 0], "{label}");
        // Half of the records are gone: some layers are found by what they hold, some are made.
        for path in files(&cache(self.bench).join("records")).iter().step_by(2) {
            fs::remove_file(path).unwrap();
        }
        same("half a cache", &[]);
        same("half a cache and a registry", &["--cache-from", &image]);
        assert!(
            annotations(&expected).iter().all(Value::is_object),
            "{label}: every layer has its keys: {:?}",
            annotations(&expected)
        );
        self.forget();
    }
}

#[test]
fn what_answered_does_not_show() {
    let directory = ocibuild_testkit::in_memory();
    let rules = [
        ("whole", ""),
        ("split", "split = 3"),
        ("lockfile", "manifests = [\"lock\"]"),
        ("lockfile, split", "manifests = [\"lock\"]\nsplit = \"auto\""),
        ("lockfile, content", "manifests = [\"lock\"]\ntrust = \"content\""),
        ("lockfile, content, split", "manifests = [\"lock\"]\ntrust = \"content\"\nsplit = 3"),
        ("zstd", "manifests = [\"lock\"]\ncompression = \"zstd\""),
    ];
    for (number, (label, rules)) in rules.into_iter().enumerate() {
        let both = ["\"linux/amd64\", \"linux/arm64\"", "\"linux/amd64\""];
        for platforms in &both[..if is_thorough() { 2 } else { 1 }] {
            let path = directory.path().join(format!("{number}-{}.oci", platforms.len()));
            let server = Server::start(path, ServeOptions::default()).unwrap();
            let bench = project::bench(&spec(rules, platforms));
            project::write(&bench, 1);
            let registry = server.address().to_string();
            Place { bench: &bench, registry: &registry }.all_the_same(&format!("{label}, {platforms}"));
        }
    }
}
