//! `inspect` and `validate`.

use snapbox::{assert_data_eq, file};

use crate::bench::{Bench, SPEC, without_digests};

#[test]
fn inspect_shows_everything_to_people() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&["--compression", "none", "-t", "r.io/app:1"]);
    let shown = bench.ok(&["inspect", "app.oci"]).stdout;
    let shown = without_digests(&String::from_utf8(shown).unwrap());
    let without_key = |line: &str| match line.split_once(" cached  by content (") {
        Some((before, key)) if key.len() == 13 => format!("{before} cached  by content (KEY)\n"),
        _ => format!("{line}\n"),
    };
    let shown: String = shown.lines().map(without_key).collect();
    assert_data_eq!(shown, file!["snapshots/shown.txt"].raw());
}

#[test]
fn inspect_shows_what_docker_added_to_configs() {
    let fields = "\
        stop-timeout = \"10s\"\nshell = [\"/bin/bash\", \"-c\"]\non-build = [\"RUN make\"]\n\
        healthcheck = { test = [\"CMD\", \"/x\"], interval = \"1m30s\", retries = 2 }\n";
    let bench = Bench::with_spec(&format!("{SPEC}{fields}"));
    bench.digest(&[]);
    let shown = bench.ok(&["inspect", "app.oci"]).text();
    for line in [
        "  stop timeout 10 s",
        "  healthcheck  [\"CMD\",\"/x\"]",
        "               interval 90s, retries 2",
        "  shell        [\"/bin/bash\",\"-c\"]",
        "  on build     RUN make",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no `{line}` in\n{shown}");
    }
}

#[test]
fn inspect_shows_everything_to_programs() {
    let bench = Bench::with_spec(SPEC);
    let digest = bench.digest(&[]);
    let shown = bench.ok(&["inspect", "--format", "json", "oci:app.oci"]).json();
    assert_eq!(shown["version"], 1);
    assert_eq!(shown["descriptor"]["digest"], digest.as_str());
    let image = &shown["images"][0];
    assert_eq!(image["config"]["config"]["Entrypoint"][0], "/app/hello");
    assert_eq!(image["platform"]["os"], "linux");
    assert_eq!(image["layers"][0]["diff_id"], image["config"]["rootfs"]["diff_ids"][0]);
    assert_eq!(image["size"], shown["size"]);
}

#[test]
fn validate_tells_each_broken_rule_and_ends_with_1() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[]);
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let layer = shown["images"][0]["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let blob = bench.path("app.oci/blobs/sha256").join(layer);
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let output = bench.run(&["validate", "app.oci"]).expect_code(1);
    assert!(output.text().starts_with("sha256:"), "{output}");
    assert!(output.errors().starts_with("error: the image breaks "), "{output}");
    bench.ok(&["validate", "--depth", "manifests", "app.oci"]);
    std::fs::remove_file(&blob).unwrap();
    let output = bench.run(&["validate", "--depth", "manifests", "app.oci"]).expect_code(1);
    assert!(output.text().contains("it is missing"), "{output}");
}

#[test]
fn what_is_no_image_is_told_as_that() {
    let bench = Bench::new();
    for command in ["inspect", "validate"] {
        let said = bench.run(&[command, "nope"]).expect_code(3).errors();
        assert!(said.contains("there is no such directory") && said.contains("docker.io/library"), "{said}");
        bench.run(&[command, "."]).expect_code(3);
        bench.run(&[command, "r.io/App:1"]).expect_code(2);
    }
}
