//! What the cache does, seen: `plan`, `explain`, `build --verify-cache`, and the hit rate.

use std::fs;

use ocibuild_serve::{Recorder, Running, ServeOptions, Server};
use serde_json::Value;

use crate::bench::Bench;

const SPEC: &str = r#"version = 1
name = "api"

[layers.dependencies]
manifests = ["package-lock.json"]
copy = [{ from = "node_modules", to = "/app/node_modules" }]

[layers.app]
copy = [
  { from = "src", to = "/app/src" },
  { content = "secret {var.token}", to = "/app/token" },
]

[images.app]
layers = ["dependencies", "app"]

[vars]
token = "one"
"#;

/// Text that doesn't repeat.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn checkout() -> Bench {
    let bench = Bench::with_spec(SPEC);
    bench.write("package-lock.json", "{}");
    bench.write("src/main.js", "main");
    bench.write("src/other.js", "other");
    bench
}

fn installed() -> Bench {
    let bench = checkout();
    for number in 0..12 {
        bench.write(&format!("node_modules/{number}/index.js"), text(number + 7, 5_000));
    }
    bench
}

fn edit(bench: &Bench, old: &str, new: &str) {
    let spec = fs::read_to_string(bench.path("ocibuild.toml")).unwrap();
    assert!(spec.contains(old), "{spec}");
    bench.write("ocibuild.toml", spec.replace(old, new));
}

fn explained(bench: &Bench, words: &[&str]) -> String {
    let output = bench.ok(&[&["explain"], words].concat());
    assert_eq!(output.errors(), "");
    String::from_utf8(output.stdout).unwrap()
}

fn reasons(bench: &Bench, layer: &str) -> Vec<Value> {
    let told = bench.ok(&["explain", "--format", "json", layer]).json();
    told["layers"][0]["reasons"].as_array().unwrap().clone()
}

#[test]
fn a_layer_is_explained_by_what_changed_since_the_last_build() {
    let bench = installed();
    assert_eq!(
        explained(&bench, &[]),
        "layer dependencies: miss because it was never built here\n\
         layer app: miss because it was never built here\n"
    );
    bench.digest(&[]);
    assert_eq!(
        explained(&bench, &[]),
        "layer dependencies: hit in the machine's cache, by what the spec and its manifests say\n\
         layer app: hit in the machine's cache, by what its files hold\n"
    );

    bench.write("package-lock.json", "{ }");
    bench.write("node_modules/0/index.js", "other");
    let told = explained(&bench, &["dependencies"]);
    let digest = |content: &[u8]| ocibuild_core::Digest::of(content).hex()[..12].to_owned();
    let (old, new) = (digest(b"{}"), digest(b"{ }"));
    assert_eq!(
        told,
        format!(
            "layer dependencies: miss\n  because package-lock.json changed (sha256 {old} → {new})\n  \
             because 1 path changed:\n    changed /app/node_modules/0/index.js (content, size)\n"
        )
    );
    let all = reasons(&bench, "dependencies");
    assert_eq!(all[0]["kind"], "manifest");
    assert_eq!(all[0]["path"], "package-lock.json");
    assert_eq!((&all[1]["kind"], &all[1]["changed"]), (&"files".into(), &1.into()));
    // Before the tree is installed, the lockfile alone says enough.
    fs::rename(bench.path("node_modules"), bench.path("elsewhere")).unwrap();
    assert_eq!(
        explained(&bench, &["dependencies"]),
        format!("layer dependencies: miss because package-lock.json changed (sha256 {old} → {new})\n")
    );
    fs::rename(bench.path("elsewhere"), bench.path("node_modules")).unwrap();

    bench.digest(&[]);
    let told = explained(&bench, &["dependencies"]);
    assert!(
        told.starts_with("layer dependencies: hit in") && told.contains("the last build that made it"),
        "{told}"
    );
    assert!(
        told.contains("because package-lock.json changed") && told.contains("index.js (content, size)"),
        "{told}"
    );
}

#[test]
fn fields_files_and_secrets_are_told_apart() {
    let bench = installed();
    bench.digest(&[]);
    edit(
        &bench,
        "{ from = \"src\", to = \"/app/src\" }",
        "{ from = \"src\", to = \"/app/src\", mode = \"755\" }",
    );
    let told = explained(&bench, &["app"]);
    assert!(told.contains("because copy 1: mode none → 0755\n"), "{told}");
    assert!(told.contains("because 2 paths changed:\n    changed /app/src/main.js (mode)\n"), "{told}");
    bench.digest(&[]);
    assert_eq!(reasons(&bench, "app"), [] as [Value; 0]);

    bench.write("src/new.js", "new");
    fs::remove_file(bench.path("src/main.js")).unwrap();
    let told = explained(&bench, &["app"]);
    assert!(told.contains("because 2 paths differ (1 added, 1 removed):\n    removed /app/src/main.js\n    added   /app/src/new.js\n"), "{told}");
    bench.digest(&[]);

    let told = explained(&bench, &["app", "--var", "token=two"]);
    assert!(told.contains("because copy 2: content changed (sha256 "), "{told}");
    let told = explained(&bench, &["--compression", "zstd:3"]);
    assert_eq!(told.matches("because compression gzip:3 → zstd:3\n").count(), 2, "{told}");
    edit(
        &bench,
        "copy = [{ from = \"node_modules\"",
        "key = [\"hunter2\"]\ncopy = [{ from = \"node_modules\"",
    );
    let told = explained(&bench, &["dependencies"]);
    assert!(
        told.contains(
            "hit in the machine's cache, by what its files hold\n  though key changed (none → sha256 "
        ),
        "{told}"
    );
    bench.digest(&["--var", "token=hunter3"]);
    // Nothing that may be a secret is kept or told.
    let cache = bench.tree.join("cache/layers/v1");
    let kept: String =
        cache.read_dir().unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(
        kept.contains("package-lock.json") && !kept.contains("hunter") && !told.contains("hunter"),
        "{kept}"
    );
    bench.run(&["explain", "other"]).expect_code(2);
}

#[test]
fn what_is_gone_is_told() {
    let bench = installed();
    bench.digest(&[]);
    let blobs =
        || fs::read_dir(bench.tree.join("cache/blobs/sha256")).unwrap().map(|blob| blob.unwrap().path());
    let largest = blobs().max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
    fs::remove_file(largest).unwrap();
    assert_eq!(
        explained(&bench, &["dependencies"]),
        "layer dependencies: miss because the record is there but its blob is gone\n"
    );
    bench.digest(&[]);
    fs::remove_dir_all(bench.tree.join("cache/records")).unwrap();
    assert_eq!(
        explained(&bench, &["app"]),
        "layer app: miss because its record is gone, though nothing changed\n"
    );
    bench.ok(&["cache", "prune", "--all"]);
    assert_eq!(explained(&bench, &["app"]), "layer app: miss because it was never built here\n");
    let ls = bench.ok(&["cache", "ls", "--format", "json"]).json();
    assert_eq!(ls["strays"].as_array().unwrap().len(), 0, "{ls:#}");
}

/// A registry in this process, that writes down what it is asked.
struct Registry {
    recorder: Recorder,
    host: String,
    _server: Running,
}

impl Registry {
    fn start(bench: &Bench) -> Self {
        let mut options = ServeOptions::default();
        let recorder = Recorder::new();
        options.recorder = Some(recorder.clone());
        let server = Server::start(bench.path("served"), options).unwrap();
        Self { recorder, host: server.address().to_string(), _server: server }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }
}

fn planned(bench: &Bench, words: &[&str]) -> Value {
    bench.ok(&[&["plan", "--format", "json"], words].concat()).json()["images"][0].clone()
}

#[test]
fn a_plan_says_what_a_build_does_and_sends() {
    let bench = installed();
    let registry = Registry::start(&bench);
    let tag = registry.name("team/app:1");
    let plan = planned(&bench, &[]);
    assert_eq!(plan["upload"], Value::Null, "no tag says where");
    assert!(plan["layers"].as_array().unwrap().iter().all(|layer| layer["hit"] == false), "{plan:#}");
    assert!(!bench.path("app.oci").exists());
    bench.ok(&["plan", "--cache-dir", "none"]);
    bench.ok(&["explain", "--cache-dir", "none"]);
    assert!(!bench.path("none").exists(), "a look makes no cache");
    let first = planned(&bench, &["-t", &tag]);
    assert_eq!(first["upload"]["sent"]["known"], "bound");
    assert!(
        registry
            .recorder
            .lines()
            .iter()
            .all(|line| line.starts_with("HEAD") || line.starts_with("GET /v2/ "))
    );

    let metadata = |words: &[&str]| -> Value {
        bench.ok(&[&["build", "--push", "--metadata-file", "build.json"], words].concat());
        serde_json::from_slice(&fs::read(bench.path("build.json")).unwrap()).unwrap()
    };
    let built = metadata(&["-t", &tag]);
    assert_eq!(built["own_layers"]["reused_share_of_bytes"], 0.0);
    let again = planned(&bench, &["-t", &tag]);
    assert_eq!(again["upload"]["sent"], serde_json::json!({ "bytes": 0, "known": "exact" }));
    assert_eq!(again["upload"]["present"], built["own_layers"]["bytes"]);

    bench.write("src/main.js", "other main");
    registry.recorder.clear();
    let changed = planned(&bench, &["-t", &tag]);
    let of = |plan: &Value, at: usize| plan["layers"][at].clone();
    assert_eq!(
        (of(&changed, 0)["hit"].clone(), of(&changed, 0)["by"].clone()),
        (true.into(), "manifests".into())
    );
    assert_eq!(of(&changed, 0)["upload"]["sent"]["bytes"], 0);
    assert_eq!(of(&changed, 1)["hit"], false);
    assert_eq!(of(&changed, 1)["size"]["known"], "estimate", "as it was compressed the last time");
    let lines = registry.recorder.lines();
    assert!(lines.iter().all(|line| line.starts_with("HEAD") || line.starts_with("GET /v2/ ")), "{lines:#?}");
    let text = bench.ok(&["plan", "-t", &tag]).text();
    assert!(text.contains("local (manifests)") && text.contains("  build  -"), "{text}");
    assert!(
        text.contains("upload: about ") && text.contains(&format!("to `{}`", registry.name("team/app"))),
        "{text}"
    );

    // A fresh runner: nothing installed, and the image that was pushed.
    let fresh = checkout();
    fresh.write("src/main.js", "other main");
    let next = registry.name("team/app:2");
    let plan = planned(&fresh, &["--cache-from", &tag, "-t", &next]);
    assert_eq!(
        (of(&plan, 0)["hit"].clone(), of(&plan, 1)["hit"].clone()),
        (true.into(), false.into()),
        "{plan:#}"
    );
    assert_eq!(of(&plan, 0)["blobs"][0]["cache"], "registry");
    assert_eq!(of(&plan, 0)["blobs"][0]["place"], *tag);
    assert_eq!(of(&plan, 0)["upload"]["sent"]["bytes"], 0);
    let elsewhere = planned(&fresh, &["--cache-from", &tag, "-t", &registry.name("team/other:1")]);
    assert_eq!(of(&elsewhere, 0)["upload"]["mounted"], of(&elsewhere, 0)["size"]["bytes"]);
    assert_eq!(
        explained(&fresh, &["app", "--cache-from", &tag]),
        format!("layer app: miss because it was never built here, and `{tag}` has nothing for it\n")
    );
    assert_eq!(
        explained(&fresh, &["dependencies", "--cache-from", &tag]),
        format!("layer dependencies: hit in {tag}, by what the spec and its manifests say\n")
    );
    let output =
        fresh.ok(&["build", "--push", "--cache-from", &tag, "-t", &next, "--metadata-file", "build.json"]);
    let told: Value = serde_json::from_slice(&fs::read(fresh.path("build.json")).unwrap()).unwrap();
    let layers = &told["images"][0]["platforms"][0]["layers"];
    assert_eq!((layers[0]["place"].clone(), layers[1]["place"].clone()), ((*tag).into(), Value::Null));
    assert_eq!(told["hits"]["places"][0]["place"], *tag);
    let share = told["own_layers"]["reused_share_of_bytes"].as_f64().unwrap();
    let size = |at: usize| layers[at]["descriptor"]["size"].as_f64().unwrap();
    assert!((share - size(0) / (size(0) + size(1))).abs() < 1e-9, "{told:#}");
    assert!(output.errors().contains(&format!("1 by `{tag}`")), "{}", output.errors());
    // Nobody is asked.
    assert_eq!(planned(&bench, &["-t", &tag, "--offline"])["upload"], Value::Null);
}

#[test]
fn a_look_ahead_makes_no_cache() {
    let bench = installed();
    let registry = Registry::start(&bench);
    let tag = registry.name("team/app:1");
    bench.ok(&["build", "--push", "-t", &tag, "--output", "type=oci,dest=base.oci"]);
    // What it learns of a base and of other images would be kept in one.
    edit(&bench, "layers = [\"dep", "base = { layout = \"base.oci\" }\nlayers = [\"dep");
    edit(&bench, "to = \"/app/node_modules\"", "to = \"/srv/node_modules\"");
    for words in [&["plan"][..], &["explain"], &["plan", "--offline"]] {
        bench.ok(&[words, &["--cache-dir", "none", "--cache-from", &tag]].concat());
        assert!(!bench.path("none").exists(), "{words:?}");
    }
}

#[test]
fn offline_no_other_cache_is_asked_or_written() {
    let bench = installed();
    let cache = "127.0.0.1:1/team/cache:main";
    let told = "warning: the cache `127.0.0.1:1/team/cache:main` is not written: nobody is asked\n  \
                hint: leave out `--offline` where it is to be written\n";
    let all = ["build", "--offline", "--output", "type=oci,dest=out.oci", "--cache-mode", "max"];
    let output = bench.ok(&[&all[..], &["--cache-from", cache, "--cache-to", cache]].concat());
    let said = output.errors();
    assert!(said.contains(told) && said.matches("warning").count() == 1, "{said}");
    // A run that only reads caches would not write it either way.
    let output = bench.ok(&[&all[..], &["--cache-to", cache, "--cache-read-only"]].concat());
    assert!(!output.errors().contains("warning"), "{}", output.errors());
    // What a spec says is for runs that may.
    edit(&bench, "[vars]", &format!("[cache]\nfrom = [\"{cache}\"]\nto = \"{cache}\"\n\n[vars]"));
    assert!(!bench.ok(&all).errors().contains("warning"));
}

#[test]
fn parts_are_planned_and_told_one_by_one() {
    let bench = installed();
    edit(&bench, "manifests = [\"package-lock.json\"]", "split = 4");
    bench.ok(&["build", "--metadata-file", "build.json"]);
    bench.write("node_modules/3/index.js", text(99, 5_100));
    let layer = planned(&bench, &[])["layers"][0].clone();
    let blobs = layer["blobs"].as_array().unwrap();
    let made = blobs.iter().filter(|blob| blob["hit"] == false).count();
    assert!(blobs.len() > 2 && made == 1 && layer["hit"] == false, "{layer:#}");
    let told = explained(&bench, &["dependencies"]);
    assert!(
        told.starts_with(&format!(
            "layer dependencies: miss, but for {} of {} parts\n",
            blobs.len() - 1,
            blobs.len()
        )),
        "{told}"
    );
    bench.ok(&["build", "--metadata-file", "build.json"]);
    let told: Value = serde_json::from_slice(&fs::read(bench.path("build.json")).unwrap()).unwrap();
    let layers = told["images"][0]["platforms"][0]["layers"].as_array().unwrap();
    let parts: Vec<&Value> = layers.iter().filter(|layer| layer["name"] == "dependencies").collect();
    assert_eq!(parts.len(), blobs.len());
    assert_eq!(parts.iter().filter(|part| part["cache"] == "built").count(), 1);
    assert_eq!(parts[1]["part"], format!("2/{}", blobs.len()));
}

#[test]
fn a_tree_that_does_not_follow_from_its_lockfile_is_found() {
    let bench = installed();
    let digest = bench.digest(&[]);
    assert_eq!(bench.digest(&["--verify-cache"]), digest);
    for number in 0..11 {
        bench.write(&format!("node_modules/{number}/index.js"), "patched by hand");
    }
    bench.write("node_modules/phantom/index.js", "not in the lockfile");
    fs::remove_dir_all(bench.path("node_modules/11")).unwrap();
    assert_eq!(bench.digest(&[]), digest, "the lockfile vouches for it");
    let output = bench.run(&["build", "--verify-cache"]).expect_code(6);
    let errors = output.errors();
    assert!(errors.contains("the files of layer `dependencies` are not those that the cache has for its lockfiles: 15 paths differ"), "{errors}");
    assert!(errors.contains("changed:            /app/node_modules/0/index.js (content, size)"), "{errors}");
    assert!(
        errors.contains("and 5 more") && errors.contains("hint: install from the lockfiles anew"),
        "{errors}"
    );
    assert_eq!(bench.digest(&[]), digest, "nothing was recorded in its place");
    bench.run(&["build", "--verify-cache", "--no-cache"]).expect_code(2);
}

#[test]
fn a_place_that_answers_with_something_else_is_found() {
    let bench = installed();
    let registry = Registry::start(&bench);
    let tag = registry.name("team/app:1");
    bench.ok(&["build", "--push", "-t", &tag]);
    let fresh = installed();
    fresh.ok(&[
        "build",
        "--verify-cache",
        "--cache-from",
        &tag,
        "-t",
        &registry.name("team/app:2"),
        "--push",
    ]);
    let other = installed();
    other.write("node_modules/phantom/index.js", "not in the lockfile");
    let output = other.run(&["build", "--verify-cache", "--cache-from", &tag]).expect_code(6);
    let errors = output.errors();
    // All else is as the blob has it, of which no list is here.
    assert!(
        errors.contains(&format!("are not those that `{tag}` has for its lockfiles: 2 paths differ\n")),
        "{errors}"
    );
    assert!(errors.contains("only in the files:  /app/node_modules/phantom\n"), "{errors}");
    assert!(!other.path("app.oci").join("index.json").exists());
}
