//! Caches in object stores: Debian's Redis, and an S3 server. A fresh runner has an empty cache and
//! nothing installed; what is wrong with a store is a miss.

use std::time::{Duration, Instant};

use ocibuild_testkit::{Output, Redis, S3, Store, require, run_any};
use serde_json::Value;

use crate::bench::Bench;
use crate::counts::{Watched, each};
use crate::double::Double;
use crate::repository::{onto, push_base, reads};
use crate::shared::{checkout, digest, installed, layers, metadata};

/// Runs a judge with each kind of store that there is.
fn each_store(test: &str, judge: impl Fn(&mut dyn Store)) {
    match Redis::start() {
        Ok(mut redis) => judge(&mut redis),
        Err(missing) => ocibuild_testkit::skip(test, &format!("it needs {missing}")),
    }
    match S3::start() {
        Ok(mut s3) => judge(&mut s3),
        Err(missing) => ocibuild_testkit::skip(test, &format!("it needs {missing}")),
    }
}

macro_rules! each_store {
    ($judge:expr) => {
        each_store(ocibuild_testkit::this_function!(), $judge)
    };
}

fn run(bench: &Bench, store: &dyn Store, arguments: &[&str]) -> Output {
    let all = [&["build", "--metadata-file", "build.json"], arguments].concat();
    run_any(bench.command(&all).envs(store.credentials()))
}

fn build(bench: &Bench, store: &dyn Store, arguments: &[&str]) -> (Value, String) {
    let output = run(bench, store, arguments).expect_code(0);
    let said = output.errors();
    for (_, secret) in store.credentials() {
        assert!(!said.contains(&secret), "{said}");
    }
    (metadata(bench), said)
}

fn records(store: &dyn Store) -> Vec<String> {
    store.objects().into_iter().filter(|name| name.contains("/v1/records/")).collect()
}

fn blobs(store: &dyn Store) -> Vec<String> {
    store.objects().into_iter().filter(|name| name.contains("/v1/blobs/")).collect()
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("warning:")).collect()
}

#[test]
fn a_fresh_runner_sends_what_changed_and_nothing_else() {
    each_store!(|store| {
        each(|label, registry: &dyn Watched| {
            let label = format!("{}, {label}", store.name());
            let host = registry.host();
            let name = |path: &str| format!("{host}/{path}");
            let cache = store.address(&format!("team-{}", host.replace([':', '.'], "-")));
            let before = records(store).len();
            let first = installed("1");
            let to = ["--push", "--cache-to", &cache, "-t", &name("team/api:main")];
            let (told, said) = build(&first, store, &to);
            // Two keys of the dependencies, and one of what else there is.
            assert_eq!(told["cached"]["records"], 3, "{label}: {said}");
            assert_eq!((records(store).len() - before, blobs(store).len()), (3, 0), "{label}");
            let kept: Vec<Vec<u8>> = records(store).iter().map(|name| store.read(name)).collect();
            // Nothing new is nothing written.
            assert_eq!(build(&first, store, &to).0["cached"]["records"], 0, "{label}");
            assert_eq!(kept, records(store).iter().map(|name| store.read(name)).collect::<Vec<_>>());
            let push = ["--push", "-t", &name("team/expected:1")];
            let expected = build(&installed("2"), store, &push).0;
            registry.requests();
            let fresh = checkout("2");
            let from = ["--push", "--cache-from", &cache, "-t", &name("team/api:next")];
            let start = Instant::now();
            let (told, said) = build(&fresh, store, &from);
            let elapsed = start.elapsed();
            let (uploaded, requests) = (registry.uploaded(), registry.requests());
            println!("{label}: {} requests, {uploaded} bytes, {elapsed:?}", requests.len());
            let (made, sizes) = layers(&told);
            assert_eq!(made, ["store", "built"], "{label}: {said}");
            let config = told["images"][0]["platforms"][0]["config"]["size"].as_u64().unwrap();
            assert_eq!(uploaded, sizes[1] + config, "{label}: {requests:#?}");
            assert_eq!(digest(&told), digest(&expected), "{label}");
            assert_eq!(told["hits"]["store"]["bytes"].as_u64().unwrap(), sizes[0]);
            assert_eq!(told["hits"]["places"][0]["place"], cache);
            assert!(warnings(&said).is_empty(), "{said}");
            fresh.valid(&name("team/api:next"));
            // It was only read.
            assert_eq!(kept, records(store).iter().map(|name| store.read(name)).collect::<Vec<_>>());
        });
    });
}

#[test]
fn no_layer_of_a_base_is_read() {
    each_store!(|store| {
        let registry = Double::with(|_: &_| Vec::new(), |_| {});
        let (os, cache) = (registry.name("base/os:1"), store.address("bases"));
        let base = push_base(&os);
        for (mode, written) in [("min", 4), ("max", 3)] {
            let to =
                ["--push", "--cache-to", &cache, "--cache-mode", mode, "-t", &registry.name("team/api:main")];
            let bench = onto(installed("1"), &os);
            assert_eq!(build(&bench, store, &to).0["cached"]["records"], written);
            assert_eq!(build(&bench, store, &to).0["cached"]["records"], 0);
            registry.recorder.clear();
            let fresh = onto(checkout("2"), &os);
            let from = ["--push", "--cache-from", &cache, "-t", &registry.name("team/api:next")];
            let (told, said) = build(&fresh, store, &from);
            assert_eq!(layers(&told).0, ["store", "built"], "{said}");
            let requests: Vec<String> =
                registry.recorder.exchanges().iter().map(ToString::to_string).collect();
            assert_eq!(reads(&requests, &base), 0, "{requests:#?}");
            assert!(warnings(&said).iter().all(|line| line.contains("has that tag")), "{said}");
        }
    });
}

#[test]
fn with_its_blobs_it_answers_alone() {
    each_store!(|store| {
        let cache = store.address("alone");
        let first = installed("1");
        let to = ["--cache-to", &cache, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"];
        let (told, _) = build(&first, store, &to);
        let sizes = layers(&told).1;
        // Each layer, and what it holds.
        assert_eq!(told["cached"]["uploaded"]["count"], 4, "{told:#}");
        assert!(told["cached"]["uploaded"]["bytes"].as_u64().unwrap() > sizes.iter().sum());
        assert_eq!(build(&first, store, &to).0["cached"]["uploaded"]["count"], 0);
        // A registry that has nothing, and a disk.
        let registry = Double::with(|_: &_| Vec::new(), |_| {});
        let fresh = checkout("2");
        let name = registry.name("team/api:1");
        let (told, said) = build(&fresh, store, &["--push", "--cache-from", &cache, "-t", &name]);
        let (made, sizes) = layers(&told);
        assert_eq!(made, ["store", "built"], "{said}");
        let config = told["images"][0]["platforms"][0]["config"]["size"].as_u64().unwrap();
        assert_eq!(registry.uploaded(), sizes.iter().sum::<u64>() + config);
        fresh.valid(&name);
        let fresh = checkout("1");
        let (told, _) = build(&fresh, store, &["--cache-from", &cache, "--output", "type=oci,dest=out.oci"]);
        assert_eq!(layers(&told).0, ["store", "store"]);
        fresh.valid("out.oci");
    });
}

#[test]
fn a_blob_that_is_gone_is_a_miss() {
    each_store!(|store| {
        let cache = store.address("gone");
        let to = ["--cache-to", &cache, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"];
        let expected = build(&installed("1"), store, &to).0;
        let names = blobs(store);
        for name in &names {
            let bytes = store.read(name);
            store.remove(name);
            let from = ["--cache-from", &cache, "--output", "type=oci,dest=out.oci"];
            let bench = installed("1");
            let (told, said) = build(&bench, store, &from);
            assert_eq!(digest(&told), digest(&expected), "{said}");
            bench.valid("out.oci");
            store.write(name, &bytes);
        }
        names.iter().for_each(|name| store.remove(name));
        let bench = installed("1");
        let from = ["--cache-from", &cache, "--output", "type=oci,dest=out.oci"];
        let (told, said) = build(&bench, store, &from);
        assert_eq!(layers(&told).0, ["built", "built"]);
        assert!(warnings(&said).is_empty(), "{said}");
        // Whoever writes puts them there again.
        let (told, _) = build(&bench, store, &to);
        assert_eq!(told["cached"]["uploaded"]["count"], 4);
        assert_eq!(blobs(store), names);
    });
}

#[test]
fn records_without_blobs_are_a_miss_where_nobody_has_them() {
    each_store!(|store| {
        let cache = store.address("elsewhere");
        let [one, other] = [(); 2].map(|()| Double::with(|_: &_| Vec::new(), |_| {}));
        build(&installed("1"), store, &["--push", "--cache-to", &cache, "-t", &one.name("team/api:1")]);
        // No record makes a run ask a registry that it wasn't told of.
        one.recorder.clear();
        let from = ["--push", "--cache-from", &cache, "-t", &other.name("team/api:1")];
        let (told, said) = build(&installed("1"), store, &from);
        assert_eq!(layers(&told).0, ["built", "built"]);
        assert!(warnings(&said).is_empty() && one.recorder.exchanges().is_empty(), "{said}");
        // An image that it was told of has them.
        let both = ["--push", "--cache-from", &cache, "--cache-from", &one.name("team/api:1")];
        let to = ["-t", &other.name("team/other:1")];
        let (told, _) = build(&checkout("2"), store, &[&both[..], &to].concat());
        assert_eq!(layers(&told).0, ["store", "built"]);
    });
}

#[test]
fn a_damaged_record_is_a_miss_and_told_once() {
    each_store!(|store| {
        let cache = store.address("damaged");
        let to = ["--cache-to", &cache, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"];
        let expected = build(&installed("1"), store, &to).0;
        for name in records(store) {
            let mut bytes = store.read(&name);
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
            store.write(&name, &bytes);
        }
        let bench = installed("1");
        let both = [&["--cache-from", &cache][..], &to].concat();
        let (told, said) = build(&bench, store, &both);
        assert_eq!((layers(&told).0, digest(&told)), (vec!["built", "built"], digest(&expected)));
        let told_of = warnings(&said);
        assert!(!told_of.is_empty() && told_of.iter().all(|line| line.contains("is damaged")), "{said}");
        let mut distinct = told_of.clone();
        distinct.dedup();
        assert_eq!(told_of, distinct, "each is told once");
        // That run mended them.
        let (told, said) = build(&checkout("2"), store, &both);
        assert_eq!(layers(&told).0, ["store", "built"]);
        assert!(warnings(&said).is_empty(), "{said}");
    });
}

#[test]
fn a_damaged_blob_is_a_miss_and_told_once() {
    each_store!(|store| {
        let cache = store.address("spoiled");
        let to = ["--cache-to", &cache, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"];
        let expected = build(&installed("1"), store, &to).0;
        let layer = expected["images"][0]["platforms"][0]["layers"][0]["descriptor"]["digest"].as_str();
        let hex = layer.unwrap().trim_start_matches("sha256:").to_owned();
        let spoil = || {
            let name = blobs(store).into_iter().find(|name| name.contains(&hex)).unwrap();
            let mut bytes = store.read(&name);
            let at = bytes.len() / 2;
            bytes[at] ^= 0x10;
            store.write(&name, &bytes);
        };
        let registry = Double::with(|_: &_| Vec::new(), |_| {});
        let name = registry.name("team/api:1");
        for place in [&["--output", "type=oci,dest=out.oci"][..], &["--push", "-t", &name]] {
            spoil();
            let bench = installed("1");
            let from = ["--cache-from", &cache, "--cache-to", &cache, "--cache-mode", "max"];
            let (told, said) = build(&bench, store, &[&from[..], place].concat());
            assert_eq!((layers(&told).0[0], digest(&told)), ("built", digest(&expected)), "{said}");
            assert_eq!(warnings(&said).len(), 1, "{said}");
            // The run that found it put another there.
            assert_eq!(told["cached"]["uploaded"]["count"], 1, "{told:#}");
            bench.valid(if place.len() == 2 { "out.oci" } else { &name });
        }
        let from = ["--cache-from", &cache, "--output", "type=oci,dest=out.oci"];
        let (told, said) = build(&checkout("1"), store, &from);
        assert_eq!((layers(&told).0[0], digest(&told)), ("store", digest(&expected)), "{said}");
    });
}

#[test]
fn a_server_that_is_gone_is_one_warning() {
    each_store!(|store| {
        let cache = store.address("a");
        store.stop();
        let start = Instant::now();
        let all = ["--cache-from", &cache, "--cache-to", &cache, "--cache-mode", "max"];
        let bench = installed("1");
        let (told, said) = build(&bench, store, &[&all[..], &["--output", "type=oci,dest=out.oci"]].concat());
        assert_eq!(layers(&told).0, ["built", "built"]);
        assert_eq!(warnings(&said).len(), 1, "{said}");
        assert!(said.contains(&format!("cannot use the cache `{cache}`")), "{said}");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        bench.valid("out.oci");
    });
}

#[test]
fn who_may_not_enter_is_told_and_builds() {
    each_store!(|store| {
        let cache = store.address("a");
        let bench = installed("1");
        let all = ["build", "--cache-from", &cache, "--output", "type=oci,dest=out.oci"];
        let mut wrong = bench.command(&all);
        for (name, _) in store.credentials() {
            wrong.env(name, "wrong");
        }
        let start = Instant::now();
        let said = run_any(&mut wrong).expect_code(0).errors();
        assert_eq!(warnings(&said).len(), 1, "{said}");
        assert!(said.contains("cannot use the cache"), "{said}");
        assert!(said.contains("it doesn't let these credentials do that: "), "{said}");
        let (_, hint) = said.split_once("; check ").unwrap();
        assert!(hint.contains(store.credentials()[0].0), "{said}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
}

#[test]
fn nothing_is_written_where_it_may_only_be_read() {
    each_store!(|store| {
        let cache = store.address("a");
        let all = ["--cache-from", &cache, "--cache-to", &cache, "--cache-mode", "max", "--cache-read-only"];
        let all = [&all[..], &["--output", "type=oci,dest=out.oci"]].concat();
        build(&installed("1"), store, &all);
        assert!(store.objects().is_empty());
        build(&installed("1"), store, &["--cache-from", &cache, "--output", "type=oci,dest=out.oci"]);
        assert!(store.objects().is_empty());
    });
}

#[test]
fn a_run_answers_only_from_the_places_it_was_told_of() {
    each_store!(|store| {
        let (one, other) = (store.address("one"), store.address("other"));
        let to = ["--cache-to", &one, "--cache-mode", "max", "--output", "type=oci,dest=out.oci"];
        build(&installed("1"), store, &to);
        let from = ["--cache-from", &other, "--output", "type=oci,dest=out.oci"];
        let (told, _) = build(&installed("1"), store, &from);
        assert_eq!(layers(&told).0, ["built", "built"]);
        assert!(store.objects().iter().all(|name| name.contains("one/v1/")));
    });
}

#[test]
fn an_address_with_credentials_is_refused_and_not_shown() {
    let redis = require!(Redis::start());
    let bench = installed("1");
    for address in ["redis://me:hidden@127.0.0.1/a", "s3://bucket/a?secret_access_key=hidden"] {
        for flag in ["--cache-from", "--cache-to"] {
            let output = run(&bench, &redis, &[flag, address, "--output", "type=oci,dest=out.oci"]);
            let said = output.expect_code(2).errors();
            assert!(said.contains("an address has no credentials") && !said.contains("hidden"), "{said}");
        }
        bench.write("ocibuild.toml", format!("version = 1\n[cache]\nfrom = [\"{address}\"]\n[layers.a]\ncopy = [{{ from = \"src\", to = \"/a\" }}]\n[images.a]\nlayers = [\"a\"]\n"));
        let said = run(&bench, &redis, &["--output", "type=oci,dest=out.oci"]).expect_code(2).errors();
        assert!(said.contains("an address has no credentials") && !said.contains("hidden"), "{said}");
    }
    let said = run(&bench, &redis, &["--cache-from", "ftp://a/b", "--output", "type=oci,dest=out.oci"]);
    assert!(said.expect_code(2).errors().contains("`ftp://` is no object store"));
}
