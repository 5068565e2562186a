//! What goes to standard output, and what to standard error.

use std::process::Stdio;

use ocibuild_testkit::{run, run_any};

use crate::bench::{Bench, SPEC};

#[test]
fn standard_output_is_one_line_an_image() {
    let bench = Bench::with_spec(&format!(
        "{SPEC}\n[images.other]\nlayers = [\"app\"]\ntags = [\"r.io/team/other:1\"]\n"
    ));
    let text = bench.ok(&["build", "-v"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("sha256:") && lines[0].len() == 71, "{text}");
    assert!(lines[1].starts_with("r.io/team/other@sha256:"), "{text}");
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let bench = Bench::with_spec(SPEC);
    let output = bench.ok(&["build", "--quiet"]);
    assert_eq!(output.errors(), "");
    assert!(output.text().starts_with("sha256:"));
}

#[test]
fn the_summary_has_size_time_and_cache() {
    let bench = Bench::with_spec(&SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"hello\"]"));
    let first = bench.ok(&["build", "--progress", "none"]).errors();
    assert!(first.contains(" in app.oci; ") && first.contains("s; cache: 0 of 1 layer (0 B of "), "{first}");
    let second = bench.ok(&["build", "--progress", "none"]).errors();
    assert!(second.contains("cache: 1 of 1 layer ("), "{second}");
    assert_eq!(second.lines().count(), 1, "{second}");
    let third = bench.ok(&["build", "--no-cache"]).errors();
    assert!(third.contains("cache: 0 of 1 layer") && third.contains("layer app: built"), "{third}");
}

#[test]
fn bars_and_colours_stay_out_of_pipes() {
    let bench = Bench::with_spec(SPEC);
    for progress in ["auto", "tty", "plain", "none"] {
        let output = bench.ok(&["build", "--progress", progress, "-v"]);
        assert!(!output.errors().contains('\x1b') && !output.errors().contains('\r'), "{output}");
    }
    assert!(!bench.run(&["build", "nope"]).errors().contains('\x1b'));
}

#[test]
fn an_archive_on_standard_output_leaves_the_digest_to_standard_error() {
    let bench = Bench::with_spec(SPEC);
    let output = bench.ok(&["build", "-q", "-t", "app:1", "--output", "type=oci-archive,dest=-"]);
    bench.ok(&["build", "-q", "-t", "app:1", "--output", "type=oci-archive,dest=app.tar"]);
    assert!(output.stdout == bench.tree.read("work/app.tar"), "the stream isn't what the file is");
    assert!(output.errors().starts_with("docker.io/library/app@sha256:"), "{}", output.errors());
    let mut list = std::process::Command::new("tar");
    let list = run(list.arg("-tf").arg(bench.path("app.tar"))).text();
    assert!(list.contains("oci-layout") && list.contains("manifest.json"), "{list}");
}

#[test]
fn a_reader_that_has_gone_is_no_panic() {
    let bench = Bench::with_spec(SPEC);
    for (arguments, code) in [
        (&["build"][..], 0),
        (&["build", "--output", "type=oci-archive,dest=-"], 3),
        (&["inspect", "app.oci", "--format", "json"], 0),
        (&["--help"], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child =
            bench.command(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_spec_in_another_directory_is_built_there() {
    let bench = Bench::with_spec(SPEC);
    let here = bench.digest(&[]);
    let there = run_any(bench.command(&["build", "-f", "work/ocibuild.toml"]).current_dir(bench.tree.path()));
    assert_eq!(there.expect_code(0).text(), here);
    assert!(bench.names().contains(&"app.oci".to_owned()));
}
