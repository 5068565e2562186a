//! Pushing to real registries, and to what only seems to be one.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ocibuild_testkit::{auth_registry, registry, require, run_any};

use crate::bench::{Bench, SPEC};

/// A Docker config file with the credentials of one registry.
fn log_in(bench: &Bench, registry: &str, user: &str, password: &str) {
    let config = serde_json::json!({ "auths": { registry: { "username": user, "password": password } } });
    bench.tree.write("docker/config.json", config.to_string());
}

#[test]
fn what_is_pushed_is_what_was_built() {
    let address = require!(registry());
    let bench = Bench::with_spec(SPEC);
    let digest = bench.digest(&[]);
    let tags = ["a:1", "a:2", "b:1"].map(|tag| format!("{address}/cli-pushed/{tag}"));
    let arguments = ["--push", "-t", &tags[0], "-t", &tags[1], "-t", &tags[2]];
    let result = bench.digest(&arguments);
    assert_eq!(result, format!("{address}/cli-pushed/a@{digest}"));
    for image in tags.iter().chain([&result]) {
        bench.valid(image);
        let shown = bench.ok(&["inspect", "--format", "json", image]).json();
        assert_eq!(shown["descriptor"]["digest"], digest.as_str());
    }
    let again = bench.ok(&[&["build"][..], &arguments].concat());
    assert!(again.errors().contains("(0 B uploaded)"), "{again}");
    assert!(
        !bench.run(&["inspect", &format!("{address}/cli-pushed/a:3")]).expect_code(4).errors().is_empty()
    );
}

#[test]
fn a_push_and_an_output_at_once() {
    let address = require!(registry());
    let bench = Bench::with_spec(SPEC);
    let tag = format!("{address}/cli-both:1");
    bench.digest(&["--push", "-t", &tag, "--output", "type=oci,dest=both"]);
    bench.valid("both:1");
    bench.valid(&tag);
}

#[test]
fn several_platforms_are_pushed_under_one_tag() {
    let address = require!(registry());
    let spec = SPEC.replace("to = \"/app/hello\" }", "to = \"/app/hello\", allow-foreign = true }");
    let bench = Bench::with_spec(&spec);
    let tag = format!("{address}/cli-platforms:1");
    bench.digest(&["--push", "-t", &tag, "--platform", "linux/amd64", "--platform", "linux/arm64"]);
    bench.valid(&tag);
    assert_eq!(
        bench.ok(&["inspect", "--format", "json", &tag]).json()["images"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn credentials_come_from_dockers_config_file() {
    let registry = require!(auth_registry());
    let bench = Bench::with_spec(SPEC);
    let tag = format!("{}/cli-auth:1", registry.address);
    let push = || {
        run_any(
            bench
                .command(&["build", "-q", "--push", "-t", &tag])
                .env("DOCKER_CONFIG", bench.tree.join("docker")),
        )
    };
    let said = push().expect_code(5).errors();
    assert!(said.contains("without credentials: 401") && said.contains("ocibuild login"), "{said}");
    log_in(&bench, &registry.address, &registry.user, "wrong");
    let said = push().expect_code(5).errors();
    assert!(said.contains("config.json") && !said.contains("wrong"), "{said}");
    log_in(&bench, &registry.address, &registry.user, &registry.password);
    assert!(push().expect_code(0).text().contains("cli-auth@sha256:"));
    bench.tree.write("docker/config.json", "{");
    let said = push().expect_code(5).errors();
    assert!(said.contains("config.json") && said.contains("line 1"), "{said}");
}

#[test]
fn a_finished_layer_is_sent_while_others_are_built() {
    let address = require!(registry());
    let spec = SPEC.replace("[images.app]", "[layers.much]\ncopy = [{ from = \"much\", to = \"/much\" }]\ncompression = \"gzip:9\"\n\n[images.app]");
    let bench = Bench::with_spec(&spec.replace("layers = [\"app\"]", "layers = [\"app\", \"much\"]"));
    let much: Vec<u8> = (0..24_u64 << 20).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    bench.write("much", much);
    let tag = format!("{address}/cli-overlap:1");
    let said = bench.ok(&["build", "--push", "-t", &tag, "--threads", "1", "-v"]).errors();
    let sent = said.find("\nblob ").expect("the small layer is told of");
    let built = said.find("layer much: built").expect("the large layer is built");
    assert!(sent < built, "{said}");
}

#[test]
fn a_layer_of_two_images_is_built_once_and_sent_once() {
    let address = require!(registry());
    let spec = format!(
        "{SPEC}tags = [\"{address}/cli-shared:a\"]\n\n\
         [images.other]\nlayers = [\"app\"]\nuser = \"1\"\ntags = [\"{address}/cli-shared:b\"]\n"
    );
    let bench = Bench::with_spec(&spec);
    // Other content than that of other tests, which may have sent theirs.
    bench.write("hello", ocibuild_testkit::hello_program("shared\n"));
    let said = bench.ok(&["build", "--push", "-v"]).errors();
    let shown = bench.ok(&["inspect", "--format", "json", &format!("{address}/cli-shared:a")]).json();
    let layer = shown["images"][0]["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(said.matches("layer app: built").count(), 1, "{said}");
    let sent = said.lines().filter(|line| line.contains(&layer[7..19]) && line.contains("sent"));
    assert_eq!(sent.count(), 1, "{said}");
    for tag in ["a", "b"] {
        bench.valid(&format!("{address}/cli-shared:{tag}"));
    }
}

#[test]
fn a_push_that_fails_stops_the_build() {
    let bench = Bench::with_spec(SPEC);
    let output = bench.run(&["build", "--push", "-t", "127.0.0.1:1/app:1", "--output", "type=oci,dest=a"]);
    let output = output.expect_code(4);
    assert_eq!((output.text().as_str(), bench.names().len()), ("", 2), "{output}");
}

#[test]
fn a_build_that_fails_stops_the_push() {
    // Connections are made, as the system accepts them, and never get an answer.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    // That the layers disagree comes to light once both are finished and on their way.
    let spec = SPEC.replace(
        "[images.app]",
        "[layers.own]\ncopy = [{ directory = \"/app\", mode = \"0700\" }]\n\n[images.app]",
    );
    let bench = Bench::with_spec(&spec.replace("layers = [\"app\"]", "layers = [\"own\", \"app\"]"));
    let tag = format!("{}/app:1", mute.local_addr().unwrap());
    let start = Instant::now();
    let said = bench.run(&["build", "-q", "--push", "-t", &tag]).expect_code(2).errors();
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    assert!(said.contains("/app") && !said.contains("interrupted"), "{said}");
}
