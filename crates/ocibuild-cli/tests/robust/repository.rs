//! Cache repositories: a fresh runner, many writers, and who may answer whom.

use std::collections::BTreeSet;

use ocibuild_core::blob::{Target as _, read_whole};
use ocibuild_core::cache::RecordStore as _;
use ocibuild_core::oci::{Manifest, Platform, from_json};
use ocibuild_core::shared::ImageRecords;
use ocibuild_core::{Reference, Registry};
use serde_json::Value;

use crate::bench::Bench;
use crate::counts::{Watched, each};
use crate::double::Double;
use crate::shared::{SPEC, build, checkout, digest, installed, layers};

/// The bytes of an image's own that no cache spares: its config.
fn config(told: &Value) -> u64 {
    told["images"][0]["platforms"][0]["config"]["size"].as_u64().unwrap()
}

fn manifest(name: &str) -> Manifest {
    let reference: Reference = name.parse().unwrap();
    let repository = Registry::default().repository(reference.repository());
    let root = repository.resolve(reference.tag().unwrap()).unwrap();
    from_json(&read_whole(&repository, &root, 1 << 20).unwrap()).unwrap()
}

/// The number of records in a cache.
fn records(name: &str) -> usize {
    let packs = manifest(name).layers;
    let counts = packs.iter().filter_map(|layer| layer.annotations.get("vnd.ocibuild.cache.records"));
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

#[test]
fn a_fresh_runner_sends_what_changed_and_what_the_cache_is_told() {
    each(|label, registry: &dyn Watched| {
        let name = |path: &str| format!("{}/{path}", registry.host());
        let cache = name("team/cache:main");
        let (told, _) = build(&installed("1"), &["--cache-to", &cache, "-t", &name("team/api:main")]);
        assert_eq!(told["cached"]["records"], 3, "two of contents and one of a lockfile: {}", told["cached"]);
        // The same, and nothing to tell.
        let expected = build(&installed("2"), &["-t", &name("team/expected:1")]).0;
        registry.requests();
        let fresh = checkout("2");
        let (told, said) = build(&fresh, &["--cache-from", &cache, "-t", &name("team/api:next")]);
        let (uploaded, requests) = (registry.uploaded(), registry.requests());
        println!("{label}: {} requests, {uploaded} bytes", requests.len());
        let (from, sizes) = layers(&told);
        assert_eq!(from, ["registry", "built"], "{label}");
        assert_eq!(uploaded, sizes[1] + config(&told), "{label}: {requests:#?}");
        assert_eq!(digest(&told), digest(&expected), "{label}");
        assert_eq!(told["hits"]["places"][0]["place"], cache.as_str(), "{label}");
        assert!(said.contains(&format!("1 by `{cache}`")), "{said}");
        // A manifest, and a pack once.
        let reads = |part: &str| {
            requests.iter().filter(|line| line.starts_with("GET") && line.contains(part)).count()
        };
        assert_eq!((reads("/team/cache/manifests/"), reads("/team/cache/blobs/")), (1, 1), "{requests:#?}");
        // With a cache that is told as well: its pack, its config, its manifest.
        registry.requests();
        let fresh = checkout("3");
        let (told, _) =
            build(&fresh, &["--cache-from", &cache, "--cache-to", &cache, "-t", &name("team/api:third")]);
        let (uploaded, requests) = (registry.uploaded(), registry.requests());
        let sizes = layers(&told).1;
        let more = uploaded - sizes[1] - config(&told);
        println!("{label}: {} requests, {more} bytes for the cache", requests.len());
        assert_eq!(told["cached"]["records"], 1, "{label}");
        assert!(more < 4_000, "{label}: {more}");
        for image in ["team/cache:main", "team/api:third"] {
            fresh.valid(&name(image));
        }
    });
}

#[test]
fn an_unchanged_build_writes_nothing() {
    each(|label, registry: &dyn Watched| {
        let name = |path: &str| format!("{}/{path}", registry.host());
        let (cache, bench) = (name("team/cache:main"), installed("1"));
        let arguments = ["--cache-from", &cache, "--cache-to", &cache, "-t", &name("team/api:main")];
        build(&bench, &arguments);
        let before = manifest(&cache);
        registry.requests();
        let (told, _) = build(&bench, &arguments);
        let requests = registry.requests();
        println!("{label}: {} requests", requests.len());
        assert_eq!(told["cached"]["records"], 0, "{label}");
        let is_read = |line: &&String| line.starts_with("GET") || line.starts_with("HEAD");
        assert_eq!(requests.iter().filter(|line| !is_read(line)).count(), 0, "{label}: {requests:#?}");
        assert!(requests.len() <= 7, "{label}: {requests:#?}");
        assert_eq!(manifest(&cache), before, "{label}");
    });
}

#[test]
fn eight_writers_at_once_lose_no_record() {
    each(|label, registry: &dyn Watched| {
        let name = |path: &str| format!("{}/{path}", registry.host());
        let cache = name("team/cache:main");
        let benches: Vec<Bench> = (0..8).map(|number| checkout(&format!("writer {number}"))).collect();
        let spec = "version = 1\n[layers.app]\ncopy = [{ from = \"src\", to = \"/app\" }]\n[images.app]\nlayers = [\"app\"]\n";
        // Each tells so many records; returns how often the tag was moved.
        let tell = |records: u64| {
            registry.requests();
            std::thread::scope(|scope| {
                for (number, bench) in benches.iter().enumerate() {
                    let (cache, tag) = (cache.clone(), name(&format!("team/api:{number}")));
                    scope.spawn(move || {
                        bench.write("ocibuild.toml", spec);
                        let (told, said) = build(bench, &["--cache-to", &cache, "-t", &tag]);
                        assert_eq!(told["cached"]["records"], records, "{said}");
                    });
                }
            });
            let is_move =
                |line: &&String| line.starts_with("PUT") && line.ends_with("/team/cache/manifests/main");
            registry.requests().iter().filter(is_move).count()
        };
        // Who was gone over merges, as often as it takes.
        println!("{label}: the tag was moved {} times", tell(1));
        // Nobody has anything to tell any more, and nobody is in another's way.
        assert_eq!(tell(0), 0, "{label}");
        let reference: Reference = cache.parse().unwrap();
        let repository = std::sync::Arc::new(Registry::default().repository(reference.repository()));
        let image = ImageRecords::of(repository, "main", [Platform::linux_amd64()]);
        for number in 0..8 {
            let layer = manifest(&name(&format!("team/api:{number}"))).layers.remove(0);
            let key = layer.annotations["vnd.ocibuild.layer.key.v1"].parse().unwrap();
            let record = image.get(&key).unwrap().unwrap_or_else(|| panic!("{label}: {number} is lost"));
            assert_eq!(record.layers[0].descriptor.digest, layer.digest, "{label}");
        }
        assert!(records(&cache) >= 8);
        benches[0].valid(&cache);
    });
}

#[test]
fn branches_share_a_cache() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let cache = registry.name("team/cache:all");
    let tag = |branch: &str| registry.name(&format!("team/api:{branch}"));
    for branch in ["main", "one", "two"] {
        build(&installed(branch), &["--cache-from", &cache, "--cache-to", &cache, "-t", &tag(branch)]);
    }
    for branch in ["main", "one", "two"] {
        let (told, _) = build(&checkout(branch), &["--cache-from", &cache, "-t", &tag("again")]);
        assert_eq!(layers(&told).0, ["registry", "registry"], "{branch}");
    }
}

#[test]
fn with_the_blobs_a_cache_answers_alone() {
    let [one, other] = [(); 2].map(|()| Double::with(|_: &_| Vec::new(), |_| {}));
    let cache = one.name("team/cache:main");
    let bench = installed("1");
    bench.ok(&["build", "--cache-to", &cache, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"]);
    assert!(one.recorder.exchanges().iter().all(|exchange| exchange.path.contains("team/cache")));
    bench.valid(&cache);
    // To another registry, with bytes that come from the cache.
    let (told, _) = build(&checkout("1"), &["--cache-from", &cache, "-t", &other.name("team/api:1")]);
    assert_eq!(layers(&told).0, ["registry", "registry"]);
    bench.valid(&other.name("team/api:1"));
    let entries = &told["images"][0]["platforms"][0]["layers"][0]["entries"];
    assert!(entries.as_u64().unwrap() > 20, "what the inventory says is known: {entries}");
    // To another repository of its registry, with none.
    one.recorder.clear();
    let (told, _) = build(&checkout("1"), &["--cache-from", &cache, "-t", &one.name("team/other:1")]);
    assert_eq!(one.uploaded(), config(&told));
}

#[test]
fn from_one_cache_to_another_goes_all_that_its_records_name() {
    let [one, other] = [(); 2].map(|()| Double::with(|_: &_| Vec::new(), |_| {}));
    let (a, b) = (one.name("team/cache:a"), other.name("team/cache:b"));
    let max = ["--cache-mode", "max", "-t"];
    build(&installed("1"), &[&["--cache-to", &a][..], &max, &[&one.name("team/api:1")]].concat());
    // A fresh runner, which makes nothing and has no blob of it.
    let tag = other.name("team/api:1");
    let arguments = [&["--cache-from", &a, "--cache-to", &b][..], &max, &[&tag]].concat();
    let (told, said) = build(&checkout("1"), &arguments);
    assert_eq!(layers(&told).0, ["registry", "registry"]);
    assert_eq!(told["cached"]["records"], 3, "{said}");
    let inventories = |cache: &str| {
        let layers = manifest(cache).layers.into_iter();
        let named = layers.filter_map(|layer| layer.annotations.get("vnd.ocibuild.cache.inventory").cloned());
        named.collect::<BTreeSet<String>>()
    };
    assert_eq!(inventories(&b), inventories(&a));
    assert_eq!(inventories(&b).len(), 2);
    let bench = checkout("1");
    bench.valid(&b);
    drop(one);
    let (told, _) = build(&bench, &["--cache-from", &b, "-t", &other.name("team/api:2")]);
    assert_eq!(layers(&told).0, ["registry", "registry"]);
    let entries = &told["images"][0]["platforms"][0]["layers"][0]["entries"];
    assert!(entries.as_u64().unwrap() > 20, "{entries}");
    // The same again has nothing to tell.
    assert_eq!(build(&checkout("1"), &arguments_without(&arguments, &a, &b)).0["cached"]["records"], 0);
}

/// The arguments with a place in another's stead.
fn arguments_without<'a>(arguments: &[&'a str], one: &str, other: &'a str) -> Vec<&'a str> {
    arguments.iter().map(|argument| if *argument == one { other } else { argument }).collect()
}

#[test]
fn records_alone_answer_only_where_the_run_was_told_to_look() {
    let [one, other] = [(); 2].map(|()| Double::with(|_: &_| Vec::new(), |_| {}));
    let (cache, image) = (one.name("team/cache:main"), one.name("team/api:main"));
    build(&installed("1"), &["--cache-to", &cache, "-t", &image]);
    // Neither the cache nor the destination has the blobs, and nobody named the image.
    let elsewhere = other.name("team/api:1");
    let (told, said) = build(&installed("1"), &["--cache-from", &cache, "-t", &elsewhere]);
    assert_eq!(layers(&told).0, ["built", "built"], "{said}");
    one.recorder.clear();
    let (told, _) = build(
        &checkout("1"),
        &["--cache-from", &cache, "--cache-from", &image, "-t", &other.name("team/more:1")],
    );
    assert_eq!(layers(&told).0, ["registry", "registry"]);
}

#[test]
fn what_is_written_to_one_cache_changes_no_answer_of_another() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let name = |path: &str| registry.name(path);
    let (a, b) = (name("team/cache:a"), name("team/cache:b"));
    // To A go lies: other modules under the same lockfile.
    let lie = installed("1");
    lie.write("node_modules/1/index.js", "a lie");
    build(&lie, &["--cache-to", &a, "-t", &name("team/lie:1")]);
    build(&installed("1"), &["--cache-to", &b, "-t", &name("team/api:1")]);
    let answer = || build(&checkout("2"), &["--cache-from", &b, "-t", &name("team/api:2")]).0;
    let before = answer();
    // And more, also while B is written to.
    let both = installed("3");
    both.write("node_modules/1/index.js", "another lie");
    build(&both, &["--cache-from", &b, "--cache-to", &a, "-t", &name("team/lie:2")]);
    assert_eq!(digest(&answer()), digest(&before));
    // It does answer who asks it.
    let asked = build(&checkout("2"), &["--cache-from", &a, "-t", &name("team/lie:3")]).0;
    assert_ne!(digest(&asked), digest(&before));
    // A cache that is written to is not read for that.
    let (told, _) = build(&installed("1"), &["--cache-to", &a, "-t", &name("team/api:3")]);
    assert_eq!(layers(&told).0, ["built", "built"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let image = registry.name("team/api:main");
    // An image is never written over.
    let (told, said) = build(&installed("1"), &["--cache-to", &image, "-t", &image]);
    assert!(said.contains("is no cache, but an image"), "{said}");
    assert_eq!(told["cached"], Value::Null);
    // Nor is a registry that isn't there a failure.
    let (_, said) = build(&installed("1"), &["--cache-to", "127.0.0.1:1/team/cache:main", "-t", &image]);
    assert!(said.contains("the cache is not written"), "{said}");
    // Nothing is pushed that records could name.
    let bench = installed("1");
    let output =
        bench.ok(&["build", "--cache-to", &registry.name("team/cache:1"), "--output", "type=oci,dest=o"]);
    assert!(output.errors().contains("nothing is pushed"), "{}", output.errors());
}

#[test]
fn a_layer_that_goes_meanwhile_is_made_anew() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let image = registry.name("team/api:main");
    build(&installed("1"), &["-t", &image]);
    // The layout gets it from the cache, which says that it has it, and doesn't give it.
    let layer = manifest(&image).layers.remove(0).digest;
    let gone = format!("/blobs/{layer}");
    let refusing = Double::with(
        move |asked: &ocibuild_serve::faults::Asked| {
            let is_it = asked.method() == "GET" && asked.path().ends_with(&gone);
            if is_it { vec![ocibuild_serve::Fault::status(404)] } else { Vec::new() }
        },
        |_| {},
    );
    let cache = refusing.name("team/cache:main");
    build(
        &installed("1"),
        &["--cache-to", &cache, "--cache-mode", "max", "-t", &refusing.name("team/api:main")],
    );
    let bench = installed("1");
    let output = bench.ok(&["build", "--cache-from", &cache, "--output", "type=oci,dest=out.oci"]);
    assert!(
        output.errors().contains("where it was found a moment ago; it is made anew"),
        "{}",
        output.errors()
    );
    bench.valid("out.oci");
}

#[test]
fn however_many_layers_go_meanwhile_a_few_attempts_are_enough() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let image = registry.name("team/api:main");
    let names: Vec<String> = (0..6).map(|at| format!("l{at}")).collect();
    let layer = |name: &String| {
        let split = if name == "l0" { "split = 4\n" } else { "" };
        format!("[layers.{name}]\n{split}copy = [{{ from = \"{name}\", to = \"/{name}\" }}]\n")
    };
    let layers: String = names.iter().map(layer).collect();
    let spec = format!("version = 1\n{layers}[images.app]\nlayers = {names:?}\n");
    let fresh = || {
        let bench = Bench::with_spec(&spec);
        for name in &names {
            (0..16).for_each(|at| bench.write(&format!("{name}/{at}/file"), format!("{name} {at}")));
        }
        bench
    };
    build(&fresh(), &["-t", &image]);
    let gone: BTreeSet<String> =
        manifest(&image).layers.iter().map(|layer| format!("/blobs/{}", layer.digest)).collect();
    assert!(gone.len() > names.len() + 1, "{gone:?}");
    let refusing = Double::with(
        move |asked: &ocibuild_serve::faults::Asked| {
            let is_one = asked.method() == "GET" && gone.iter().any(|gone| asked.path().ends_with(gone));
            if is_one { vec![ocibuild_serve::Fault::status(404)] } else { Vec::new() }
        },
        |_| {},
    );
    let cache = refusing.name("team/cache:main");
    let to = ["--cache-to", &cache, "--cache-mode", "max", "-t", &refusing.name("team/api:main")];
    build(&fresh(), &to);
    let bench = fresh();
    let said = bench.ok(&["build", "--cache-from", &cache, "--output", "type=oci,dest=out.oci"]).errors();
    let attempts = said.matches("where it was found a moment ago; it is made anew").count();
    assert!((1..=3).contains(&attempts), "{said}");
    bench.valid("out.oci");
}

/// A base in a registry, of which layers show something: its layers' digests.
pub(crate) fn push_base(name: &str) -> Vec<String> {
    let base = Bench::with_spec(
        r#"version = 1
[layers.os]
copy = [
  { symlink = "usr/app", to = "/app" },
  { content = "app:x:33:34::/:/bin/sh\n", to = "/etc/passwd" },
  { from = "lib", to = "/usr/lib" },
]
[images.os]
layers = ["os"]
"#,
    );
    base.write("lib/large", crate::shared::text(3, 300_000));
    build(&base, &["-t", name]);
    manifest(name).layers.iter().map(|layer| layer.digest.to_string()).collect()
}

/// Puts a checkout on a base.
pub(crate) fn onto(bench: Bench, base: &str) -> Bench {
    let spec = SPEC.replace("[images.app]", &format!("[images.app]\nbase = \"{base}\""));
    bench.write("ocibuild.toml", spec.replace("to = \"/app/src\"", "to = \"/app/src\", owner = \"app\""));
    bench
}

/// How often one of these layers was read.
pub(crate) fn reads(requests: &[String], layers: &[String]) -> usize {
    let is_layer = |line: &&String| layers.iter().any(|layer| line.contains(layer.as_str()));
    requests.iter().filter(|line| line.starts_with("GET ")).filter(is_layer).count()
}

#[test]
fn on_a_fresh_runner_no_layer_of_a_base_is_read() {
    each(|label, registry: &dyn Watched| {
        let name = |path: &str| format!("{}/{path}", registry.host());
        let os = name("base/os:1");
        let base = push_base(&os);
        let expected = build(&onto(installed("2"), &os), &["-t", &name("team/expected:1")]).0;
        for mode in ["min", "max"] {
            let cache = name(&format!("team/cache:{mode}"));
            registry.requests();
            let bench = onto(installed("1"), &os);
            let to = ["--cache-to", &cache, "--cache-mode", mode, "-t", &name("team/api:main")];
            let (told, _) = build(&bench, &to);
            assert_eq!(told["cached"]["records"], 4, "{label}: {}", told["cached"]);
            assert_eq!(reads(&registry.requests(), &base), 1, "{label}");
            // It is written once, and names no layer of the base.
            assert_eq!(build(&bench, &to).0["cached"]["records"], 0, "{label}");
            let held: Vec<String> =
                manifest(&cache).layers.iter().map(|layer| layer.digest.to_string()).collect();
            assert!(base.iter().all(|layer| !held.contains(layer)), "{label}: {held:?}");
            registry.requests();
            let fresh = onto(checkout("2"), &os);
            let from = ["--cache-from", &cache, "-t", &name(&format!("team/api:next-{mode}"))];
            let plan = ["plan", "--push", "--cache-from", &cache, "-t", &name("team/api:next")];
            fresh.ok(&plan);
            let (told, said) = build(&fresh, &from);
            let requests = registry.requests();
            println!("{label}: {mode}: {} requests", requests.len());
            assert_eq!(reads(&requests, &base), 0, "{label}: {requests:#?}");
            assert_eq!(layers(&told).0, ["registry", "built"], "{label}: {said}");
            assert_eq!(digest(&told), digest(&expected), "{label}");
            fresh.valid(&name(&format!("team/api:next-{mode}")));
            registry.requests();
            // From now on the machine knows it, from the place that it has it from, and from no other.
            build(&fresh, &from);
            let again = registry.requests();
            assert_eq!(reads(&again, &base), 0, "{label}: {again:#?}");
            build(&fresh, &["--cache-from", &name("team/expected:1"), "-t", &name("team/other:1")]);
            assert_eq!(reads(&registry.requests(), &base), 1, "{label}");
        }
    });
}

#[test]
fn what_a_place_said_of_a_base_is_known_without_asking() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let (os, cache) = (registry.name("base/os:1"), registry.name("team/cache:main"));
    push_base(&os);
    build(&onto(installed("1"), &os), &["--cache-to", &cache, "-t", &registry.name("team/api:1")]);
    let fresh = onto(installed("1"), &os);
    fresh.ok(&["lock"]);
    build(&fresh, &["--cache-from", &cache, "-t", &registry.name("team/api:2")]);
    registry.recorder.clear();
    fresh.ok(&["plan", "--offline", "--cache-from", &cache]);
    // Who isn't told of the place doesn't go by what it said.
    fresh.run(&["plan", "--offline"]).expect_code(4);
    assert!(registry.recorder.exchanges().is_empty());
}

#[test]
fn what_is_wrong_with_a_listing_costs_its_base_to_be_read() {
    let listing = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    for status in [Some(404), Some(403), None] {
        let asked_for = std::sync::Arc::clone(&listing);
        let registry = Double::with(
            move |asked: &ocibuild_serve::faults::Asked| {
                let listing = asked_for.lock().unwrap();
                let is_it =
                    asked.method() == "GET" && !listing.is_empty() && asked.path().ends_with(&*listing);
                match status.filter(|_| is_it) {
                    Some(status) => vec![ocibuild_serve::Fault::status(status)],
                    None => Vec::new(),
                }
            },
            |_| {},
        );
        listing.lock().unwrap().clear();
        let (os, cache) = (registry.name("base/os:1"), registry.name("team/cache:main"));
        let base = push_base(&os);
        let (told, _) =
            build(&onto(installed("1"), &os), &["--cache-to", &cache, "-t", &registry.name("team/api:1")]);
        let holder = manifest(&cache).layers.into_iter();
        let mut holder =
            holder.filter(|layer| layer.annotations.contains_key("vnd.ocibuild.cache.inventory"));
        *listing.lock().unwrap() = holder.next().unwrap().digest.to_string();
        assert!(holder.next().is_none());
        registry.recorder.clear();
        let fresh = onto(checkout("1"), &os);
        let (again, said) = build(&fresh, &["--cache-from", &cache, "-t", &registry.name("team/api:2")]);
        assert_eq!(digest(&again), digest(&told), "{said}");
        let requests: Vec<String> = registry.recorder.exchanges().iter().map(ToString::to_string).collect();
        assert_eq!(reads(&requests, &base), usize::from(status.is_some()), "{requests:#?}");
        let is_told = said.contains("says of a base is not used");
        assert_eq!(is_told, status == Some(403), "{said}");
    }
}

/// All files below a directory, with their times.
fn files(bench: &Bench, path: &str) -> BTreeSet<(String, std::time::SystemTime)> {
    fn visit(path: &std::path::Path, found: &mut BTreeSet<(String, std::time::SystemTime)>) {
        for entry in std::fs::read_dir(path).into_iter().flatten() {
            let entry = entry.unwrap();
            found.insert((entry.path().display().to_string(), entry.metadata().unwrap().modified().unwrap()));
            visit(&entry.path(), found);
        }
    }
    let mut found = BTreeSet::new();
    visit(&bench.path(path), &mut found);
    found
}

#[test]
fn a_read_only_build_writes_to_its_output_alone() {
    let registry = Double::with(|_: &_| Vec::new(), |_| {});
    let cache = registry.name("team/cache:main");
    let spec = format!("{SPEC}\n[cache]\nfrom = [\"{cache}\"]\nto = \"{cache}\"\n");
    let bench = installed("1");
    bench.write("ocibuild.toml", &spec);
    let directory = bench.path("cache");
    let own = ["--cache-dir", directory.to_str().unwrap()];
    let first = build(&bench, &[&own[..], &["-t", &registry.name("team/api:1")]].concat()).0;
    let (before, there) = (files(&bench, "cache"), manifest(&cache));
    assert!(before.len() > 5);
    let read_only = |tag: &str| {
        let tag = registry.name(tag);
        build(&bench, &[&own[..], &["--cache-read-only", "-t", &tag]].concat()).0
    };
    let again = read_only("team/api:2");
    assert_eq!((digest(&again), layers(&again).0), (digest(&first), vec!["local", "local"]));
    bench.write("src/main.js", "2");
    let changed = read_only("team/api:3");
    assert_eq!(layers(&changed).0, ["local", "built"]);
    assert_eq!(files(&bench, "cache"), before);
    assert_eq!(manifest(&cache), there);
    bench.valid(&registry.name("team/api:3"));
    // Nor is one made where there is none.
    let none = bench.path("none");
    let arguments =
        ["--cache-dir", none.to_str().unwrap(), "--cache-read-only", "-t", &registry.name("team/api:4")];
    assert_eq!(digest(&build(&bench, &arguments).0), digest(&changed));
    assert!(!none.exists());
}
