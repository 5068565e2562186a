//! A fresh runner: an empty cache, nothing installed, and the image that was pushed before.

use ocibuild_core::blob::{BytesContent, Sink as _, Target as _, read_whole};
use ocibuild_core::oci::Descriptor;
use ocibuild_core::{Reference, Registry};
use serde_json::Value;

use crate::bench::Bench;
use crate::counts::{Watched, each};
use crate::double::Double;

pub(crate) const SPEC: &str = r#"version = 1
name = "api"

[layers.dependencies]
manifests = ["package-lock.json"]
copy = [{ from = "node_modules", to = "/app/node_modules" }]

[layers.app]
copy = [{ from = "src", to = "/app/src" }]

[images.app]
layers = ["dependencies", "app"]
entrypoint = ["/app/src/main.js"]
"#;

/// Text that doesn't repeat.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A checkout, as it comes from version control.
pub(crate) fn checkout(main: &str) -> Bench {
    let bench = Bench::with_spec(SPEC);
    bench.write("package-lock.json", "{}");
    bench.write("src/main.js", main);
    bench.write("src/other.js", text(1, 30_000));
    bench
}

/// The same after `npm ci`.
pub(crate) fn installed(main: &str) -> Bench {
    let bench = checkout(main);
    for number in 0..20 {
        bench.write(&format!("node_modules/{number}/index.js"), text(number + 7, 20_000));
    }
    bench
}

/// What a build told of itself.
pub(crate) fn metadata(bench: &Bench) -> Value {
    serde_json::from_slice(&std::fs::read(bench.path("build.json")).unwrap()).unwrap()
}

pub(crate) fn build(bench: &Bench, arguments: &[&str]) -> (Value, String) {
    let all = [&["build", "--push", "--metadata-file", "build.json"], arguments].concat();
    let output = bench.ok(&all);
    (metadata(bench), output.errors())
}

pub(crate) fn layers(metadata: &Value) -> (Vec<&str>, Vec<u64>) {
    let layers = metadata["images"][0]["platforms"][0]["layers"].as_array().unwrap();
    // Without those of a base.
    let own =
        layers.iter().filter_map(|layer| Some((layer["cache"].as_str()?, &layer["descriptor"]["size"])));
    own.map(|(cache, size)| (cache, size.as_u64().unwrap())).unzip()
}

pub(crate) fn digest(metadata: &Value) -> &str {
    metadata["images"][0]["digest"].as_str().unwrap()
}

#[test]
fn a_fresh_runner_sends_what_changed_and_nothing_else() {
    each(|label, registry: &dyn Watched| {
        let host = registry.host();
        let name = |path: &str| format!("{host}/{path}");
        build(&installed("1"), &["-t", &name("team/api:main")]);
        let expected = build(&installed("2"), &["-t", &name("team/expected:1")]).0;
        for (to, mounts) in [("team/api:next", 0), ("team/other:next", 1)] {
            registry.requests();
            let fresh = checkout("2");
            let from = name("team/api:main");
            let plan = fresh.ok(&["plan", "--format", "json", "--cache-from", &from, "-t", &name(to)]).json();
            assert_eq!(registry.uploaded(), 0);
            let asked = registry.requests();
            let is_question = |line: &String| line.starts_with("HEAD ") || line.starts_with("GET ");
            assert!(asked.iter().all(is_question), "{label}: {asked:#?}");
            let foreseen = plan["images"][0]["layers"].as_array().unwrap();
            let hits: Vec<bool> = foreseen.iter().map(|layer| layer["hit"].as_bool().unwrap()).collect();
            assert_eq!(hits, [true, false], "{label}: {plan:#}");
            assert_eq!(foreseen[0]["upload"]["sent"]["bytes"], 0, "{label}: {plan:#}");
            let mounted = if mounts > 0 { &foreseen[0]["size"]["bytes"] } else { &Value::from(0) };
            assert_eq!(foreseen[0]["upload"]["mounted"], *mounted, "{label}: {plan:#}");
            let (told, said) = build(&fresh, &["--cache-from", &name("team/api:main"), "-t", &name(to)]);
            let (uploaded, requests) = (registry.uploaded(), registry.requests());
            println!("{label}: {to}: {} requests, {uploaded} bytes", requests.len());
            let (made, sizes) = layers(&told);
            assert_eq!(made, ["registry", "built"], "{label}");
            let config = told["images"][0]["platforms"][0]["config"]["size"].as_u64().unwrap();
            // The app's layer is in `team/expected`, but nobody knows that.
            assert_eq!(uploaded, sizes[1] + config, "{label}: {requests:#?}");
            assert_eq!(digest(&told), digest(&expected), "{label}");
            assert_eq!(told["hits"]["registry"]["bytes"].as_u64().unwrap(), sizes[0]);
            assert_eq!(told["hits"]["local"]["count"], 0);
            let reads: Vec<_> = requests.iter().filter(|line| line.starts_with("GET")).collect();
            assert!(
                reads.iter().filter(|line| line.contains("/manifests/sha256:")).count() <= 1,
                "{reads:#?}"
            );
            assert!(reads.iter().filter(|line| line.contains("/blobs/sha256:")).count() <= 1, "{reads:#?}");
            let mounted = requests.iter().filter(|line| line.contains("mount=")).count();
            assert!(mounted >= mounts, "{label}: {requests:#?}");
            assert!(said.contains(&format!("1 by `{from}`")), "{said}");
            fresh.valid(&name(to));
        }
    });
}

/// Gives a tag to an image that differs from another in what its manifest says of the layers.
fn annotated(from: &str, to: &str) {
    let [from, to]: [Reference; 2] = [from, to].map(|name| name.parse().unwrap());
    let repository = Registry::default().repository(from.repository());
    let root = repository.resolve(from.tag().unwrap()).unwrap();
    let bytes = read_whole(&repository, &root, 1 << 20).unwrap();
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    for layer in manifest["layers"].as_array_mut().unwrap() {
        layer["annotations"]["org.example.scanned"] = "yes".into();
        layer["urls"] = serde_json::json!(["https://example.com/layer"]);
    }
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let root = Descriptor::of(root.media_type, &bytes);
    repository.push(&root, &BytesContent::new(bytes)).unwrap();
    repository.tag(&root, to.tag().unwrap()).unwrap();
}

#[test]
fn an_image_is_the_same_whatever_answers_for_its_layers() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let name = |tag: &str| registry.name(&format!("team/api:{tag}"));
    let (plain, scanned) = (name("plain"), name("scanned"));
    let (caches, store) = (["min", "max"], tempfile::tempdir().unwrap());
    let own = ["--cache-dir", store.path().to_str().unwrap()];
    let made = build(&installed("1"), &[&own[..], &["-t", &plain]].concat()).0;
    annotated(&plain, &scanned);
    for mode in caches {
        let to = name(mode);
        let arguments =
            ["--cache-from", &scanned, "--cache-to", &to, "--cache-mode", mode, "-t", &name("written")];
        build(&installed("1"), &arguments);
    }
    let from = |place: &'static str| ["--cache-from".to_owned(), name(place)];
    let ways: [(&str, Vec<String>, [&str; 2]); 6] = [
        ("hit", own.map(str::to_owned).to_vec(), ["local"; 2]),
        ("none", vec!["--no-cache".to_owned()], ["built"; 2]),
        ("image", from("plain").to_vec(), ["registry"; 2]),
        ("annotated", from("scanned").to_vec(), ["registry"; 2]),
        ("records", from("min").to_vec(), ["registry"; 2]),
        ("blobs", from("max").to_vec(), ["registry"; 2]),
    ];
    for (label, arguments, expected) in ways {
        let tag = name("again");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["-t", &tag]).collect();
        let (told, said) = build(&installed("1"), &arguments);
        assert_eq!(layers(&told).0, expected, "{label}: {said}");
        let described = |told: &Value| {
            let layers = told["images"][0]["platforms"][0]["layers"].as_array().unwrap();
            layers.iter().map(|layer| layer["descriptor"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(described(&told), described(&made), "{label}");
        assert_eq!(digest(&told), digest(&made), "{label}");
    }
}

#[test]
fn the_parts_of_a_layer_are_asked_for_once() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let spec = "version = 1\n[layers.all]\nsplit = 64\ncopy = [{ from = \"node_modules\", to = \"/node_modules\" }]\n[images.app]\nlayers = [\"all\"]\n";
    let bench = |changed: usize| {
        let bench = Bench::with_spec(spec);
        for number in 0..600 {
            let version = u64::from(number == changed);
            bench
                .write(&format!("node_modules/{number}/index.js"), text(number as u64 + version * 1000, 200));
        }
        bench
    };
    let image = registry.name("team/api:main");
    let parts = layers(&build(&bench(600), &["-t", &image]).0).0.len();
    assert!((60..=64).contains(&parts), "{parts}");
    for (changed, built, to, places) in [
        (600, 0, "team/api:again", 1),
        (7, 1, "team/api:next", 1),
        (600, 0, "team/other:again", 2),
        (7, 1, "team/other:next", 2),
    ] {
        registry.recorder.clear();
        let (told, _) = build(&bench(changed), &["--cache-from", &image, "-t", &registry.name(to)]);
        let from = layers(&told).0;
        assert_eq!(from.iter().filter(|from| **from == "built").count(), built, "{to}");
        let exchanges = registry.recorder.exchanges();
        let asked =
            exchanges.iter().filter(|one| one.method == "HEAD" && one.path.contains("/blobs/sha256:"));
        let asked = asked.count();
        println!("{to}: {asked} of {} requests ask for {parts} blobs", exchanges.len());
        // Besides, for the config and what was built.
        assert!(asked <= places * parts + 3, "{to}: {asked}");
    }
}

#[test]
fn another_registry_gets_the_bytes_through_this_run() {
    let [from, to] = [(); 2].map(|()| Double::with(|_: &_| Vec::new(), |_| {}));
    build(&installed("1"), &["-t", &from.name("team/api:main")]);
    let fresh = checkout("2");
    let (told, _) =
        build(&fresh, &["--cache-from", &from.name("team/api:main"), "-t", &to.name("team/api:1")]);
    let (made, sizes) = layers(&told);
    assert_eq!(made, ["registry", "built"]);
    let config = told["images"][0]["platforms"][0]["config"]["size"].as_u64().unwrap();
    assert_eq!(to.uploaded(), sizes.iter().sum::<u64>() + config);
    fresh.valid(&to.name("team/api:1"));
}

#[test]
fn a_layout_gets_the_layer_from_the_registry() {
    let from = Double::with(|_: &_| Vec::new(), |_| {});
    build(&installed("1"), &["-t", &from.name("team/api:main")]);
    let fresh = checkout("1");
    let spec = format!(
        "{SPEC}\n[cache]\nfrom = [\"{}\"]\n",
        from.name("team/api:{{var.branch}}").replace("{{", "{").replace("}}", "}")
    );
    fresh.write("ocibuild.toml", format!("{spec}\n[vars]\nbranch = \"main\"\n"));
    fresh.ok(&["build", "--output", "type=oci,dest=out.oci"]);
    fresh.valid("out.oci");
    // Nor is it asked where it may not be, and then nothing answers.
    for flag in ["--offline", "--no-cache"] {
        from.recorder.clear();
        let output = fresh.run(&["build", flag, "--output", "type=oci,dest=none.oci"]).expect_code(3);
        assert!(from.recorder.exchanges().is_empty(), "{flag}");
        assert!(!output.errors().contains("no cache answers"), "{output}");
    }
    // Where it is and nothing answers, that is why files are wanted.
    let none = from.name("team/none:1");
    let output = fresh.run(&["build", "--cache-from", &none, "--output", "type=oci,dest=none.oci"]);
    assert!(output.expect_code(3).errors().contains("no cache answers for the layer: "));
}

#[test]
fn an_image_that_is_not_there_is_a_warning() {
    let from = Double::with(|_: &_| Vec::new(), |_| {});
    let bench = installed("1");
    let name = from.name("team/api:none");
    let (told, said) = build(&bench, &["--cache-from", &name, "-t", &from.name("team/api:1")]);
    assert_eq!(layers(&told).0, ["built", "built"]);
    assert!(said.contains(&format!("warning: `{name}` isn't there; it answers for no layer")), "{said}");
    let refused = bench.run(&["build", "--cache-from", &format!("{name}@sha256:{}", "0".repeat(64))]);
    assert!(refused.expect_code(2).errors().contains("has a digest"));
}
