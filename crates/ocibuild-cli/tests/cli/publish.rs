//! What a push costs: each blob goes to a registry once, and an unchanged image costs a request a tag.

use std::sync::Arc;

use ocibuild_serve::{Fault, Recorder, Running, Script, ServeOptions, Server, When};
use serde_json::Value;

use crate::bench::{Bench, SPEC};

/// A registry in this process, that writes down what it is asked.
struct Registry {
    recorder: Recorder,
    host: String,
    _server: Running,
}

impl Registry {
    fn start(bench: &Bench, name: &str) -> Self {
        Self::failing(bench, name, Script::new())
    }

    fn failing(bench: &Bench, name: &str, script: Script) -> Self {
        let mut options = ServeOptions::default();
        let recorder = Recorder::new();
        options.recorder = Some(recorder.clone());
        options.faults = Some(Arc::new(script));
        let server = Server::start(bench.path(&format!("{name}.served")), options).unwrap();
        Self { recorder, host: server.address().to_string(), _server: server }
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// Bytes that were sent as blobs.
    fn received(&self) -> u64 {
        let exchanges = self.recorder.exchanges();
        exchanges.iter().filter(|one| one.path.contains("/blobs/")).map(|one| one.received).sum()
    }

    fn count(&self, method: &str, part: &str) -> usize {
        self.recorder.count(|one| one.method == method && one.path.contains(part))
    }
}

/// An image of two layers.
fn spec() -> String {
    SPEC.replace("layers = [\"app\"]", "layers = [\"app\", \"text\"]")
        + "\n[layers.text]\ncopy = [{ content = \"some text\", to = \"/text\" }]\n"
}

/// The sizes of an image's config and layers.
fn blobs(bench: &Bench, image: &str) -> u64 {
    let shown = bench.ok(&["inspect", "--format", "json", image]).json();
    let image = &shown["images"][0];
    let layers = image["layers"].as_array().unwrap().iter();
    let sizes: u64 = layers.map(|layer| layer["size"].as_u64().unwrap()).sum();
    let digest = shown["descriptor"]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let manifest = std::fs::read(bench.path("app.oci/blobs/sha256").join(digest)).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    sizes + manifest["config"]["size"].as_u64().unwrap()
}

#[test]
fn each_blob_goes_to_each_registry_once() {
    let bench = Bench::with_spec(&spec());
    bench.digest(&[]);
    let size = blobs(&bench, "app.oci");
    // Built while it is pushed, and pushed from where it lies.
    for (turn, words) in [&["build", "--no-cache", "--push"][..], &["push", "app.oci"]].iter().enumerate() {
        let registries = ["one", "two"].map(|name| Registry::start(&bench, &format!("{name}{turn}")));
        let [one, two] = &registries;
        let tags =
            [one.image("a:1"), two.image("a:1"), one.image("b/c:1"), one.image("b/c:2"), two.image("d:1")];
        let flag = if turn == 0 { "-t" } else { "" };
        let tagged = tags.iter().flat_map(|tag| [flag, tag]).filter(|word| !word.is_empty());
        let words: Vec<&str> =
            words.iter().copied().chain(tagged).chain(["--metadata-file", "told.json"]).collect();
        bench.ok(&words);
        for registry in &registries {
            assert_eq!(registry.received(), size, "{:#?}", registry.recorder.lines());
            assert_eq!(registry.count("POST", "mount="), 3);
            // Tags come after everything else.
            let lines = registry.recorder.lines();
            let puts: Vec<&String> =
                lines.iter().filter(|line| line.starts_with("PUT") && line.contains("/manifests/")).collect();
            let first = puts.iter().position(|line| !line.contains("sha256")).unwrap();
            assert!(puts[first..].iter().all(|line| !line.contains("sha256")), "{puts:#?}");
        }
        tags.iter().for_each(|tag| bench.valid(tag));
        let told: Value = serde_json::from_slice(&std::fs::read(bench.path("told.json")).unwrap()).unwrap();
        assert_eq!(told["mounted"]["bytes"], 2 * size, "{told:#}");
        assert_eq!(told["mounted"]["count"], 6);
    }
}

#[test]
fn an_unchanged_image_costs_a_request_a_tag() {
    let bench = Bench::with_spec(&spec());
    bench.digest(&[]);
    let registry = Registry::start(&bench, "one");
    let tags = ["a:1", "a:2", "b:1"].map(|tag| registry.image(tag));
    let pushes = [
        vec!["build", "--push", "-t", &tags[0], "-t", &tags[1], "-t", &tags[2]],
        vec!["push", "app.oci", &tags[0], &tags[1], &tags[2]],
        vec!["copy", "app.oci", &tags[0]],
        vec!["index", "create", &registry.host, "app.oci"],
    ];
    let index = registry.image("index:1");
    for mut words in pushes {
        words.iter_mut().filter(|word| **word == registry.host).for_each(|word| *word = &index);
        bench.ok(&words);
        registry.recorder.clear();
        bench.ok(&words);
        let lines = registry.recorder.lines();
        let tags = words.iter().filter(|word| word.starts_with(&registry.host)).count();
        let heads = lines.iter().filter(|line| line.starts_with("HEAD ") && !line.contains("sha256"));
        assert_eq!(heads.count(), tags, "{lines:#?}");
        assert_eq!(lines.len(), tags, "{lines:#?}");
    }
}

#[test]
fn what_is_learned_of_a_registry_is_in_the_cache_and_may_be_deleted() {
    let bench = Bench::with_spec(&spec());
    bench.digest(&[]);
    let script = Script::new().on(When::asked("POST", "mount="), Fault::status(405));
    let registry = Registry::failing(&bench, "one", script);
    let push = |names: [&str; 2]| {
        registry.recorder.clear();
        let [one, two] = names.map(|name| registry.image(name));
        bench.ok(&["push", "app.oci", &one, &two]);
        registry.count("POST", "mount=")
    };
    assert_eq!(push(["a:1", "b:1"]), 3);
    assert_eq!(push(["c:1", "d:1"]), 0);
    let notes = || std::fs::read_dir(bench.tree.join("cache/registries")).unwrap().count();
    assert_eq!(notes(), 1);
    assert!(bench.ok(&["cache", "ls"]).text().contains("1 registry note"));
    bench.ok(&["cache", "verify"]);
    bench.ok(&["cache", "prune"]);
    assert_eq!(notes(), 1);
    let pruned = bench.ok(&["cache", "prune", "--all", "--format", "json"]).json();
    assert_eq!((pruned["registry_notes"]["count"].as_u64(), notes()), (Some(1), 0));
    assert_eq!(push(["e:1", "f:1"]), 3);
    // Whatever is there instead is no fault.
    for entry in std::fs::read_dir(bench.tree.join("cache/registries")).unwrap() {
        std::fs::write(entry.unwrap().path(), "no\0thing").unwrap();
    }
    assert_eq!(push(["g:1", "h:1"]), 3);
}

#[test]
fn a_tag_that_may_not_be_changed_is_told_with_what_it_is() {
    let bench = Bench::with_spec(&spec());
    let digest = bench.digest(&[]);
    let script = Script::new().on(When::asked("PUT", "/manifests/1").skip(1), Fault::status(409));
    let registry = Registry::failing(&bench, "one", script);
    let tag = registry.image("a:1");
    bench.ok(&["push", "app.oci", &tag]);
    bench.ok(&["push", "app.oci", &tag, &registry.image("a:2")]);
    bench.write("ocibuild.toml", spec().replace("some text", "other text"));
    let said = bench.run(&["build", "--push", "-t", &tag]).expect_code(4).errors();
    assert!(said.contains(&format!("the tag `1` may not be changed: it is `{digest}`")), "{said}");
    assert!(said.contains("hint: push under another tag"), "{said}");
}

#[test]
fn layers_that_are_made_again_are_not_asked_for_one_by_one() {
    let bench = Bench::new();
    let layers: String = (0..9)
        .map(|n| format!("[layers.l{n}]\ncopy = [{{ content = \"text {n}\", to = \"/{n}\" }}]\n"))
        .collect();
    let names: Vec<String> = (0..9).map(|n| format!("\"l{n}\"")).collect();
    let spec = format!("version = 1\n{layers}[images.app]\nlayers = [{}]\n", names.join(", "));
    bench.write("ocibuild.toml", &spec);
    let registry = Registry::start(&bench, "one");
    let tag = registry.image("a:1");
    for platforms in [&["--platform", "linux/amd64"][..], &["--platform", "linux/amd64,linux/arm64"]] {
        let words = [&["--no-cache", "--push", "-t", &tag], platforms].concat();
        bench.digest(&words);
        registry.recorder.clear();
        bench.digest(&words);
        let lines = registry.recorder.lines();
        assert_eq!(lines, ["GET /v2/a/manifests/1", "HEAD /v2/a/manifests/1"]);
        // One layer of nine is another.
        bench.write("ocibuild.toml", spec.replace("text 8", &format!("other {}", platforms[1])));
        bench.digest(&words);
        assert_eq!(registry.count("POST", "/blobs/uploads/"), 1 + platforms[1].split(',').count());
        bench.valid(&tag);
    }
    // Naming what has the name.
    registry.recorder.clear();
    bench.ok(&["tag", &tag, "2"]);
    assert_eq!(registry.count("PUT", "/manifests/2"), 1);
    registry.recorder.clear();
    bench.ok(&["tag", &tag, "2"]);
    assert_eq!(registry.recorder.lines(), ["HEAD /v2/a/manifests/1", "HEAD /v2/a/manifests/2"]);
}
