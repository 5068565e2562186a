//! The example does what it says, against a real registry.

use std::process::Command;

use ocibuild_testkit::{Skopeo, registry, require, run};

#[test]
fn an_embedder_builds_and_pushes_with_the_library_alone() {
    let registry = require!(registry());
    let skopeo = require!(Skopeo::new());
    let directory = std::env::current_exe().expect("a test has a path");
    let directory = directory.ancestors().nth(2).expect("tests lie in `deps`");
    let program = directory.join("examples/embed");
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/hello/hello-x86_64");
    let cache = tempfile::tempdir().expect("a temporary directory");
    let reference = format!("{registry}/embed-{}/app:1", std::process::id());
    let output = run(Command::new(program).arg(hello).arg(cache.path()).arg(&reference));
    let image = format!("docker://{reference}");
    let config = skopeo.config(&image);
    assert_eq!(config["config"]["User"], "65532", "{config}");
    assert_eq!(config["config"]["Entrypoint"][0], "/app/server", "{config}");
    assert!(output.text().starts_with("sha256:"), "{output:?}");
}
