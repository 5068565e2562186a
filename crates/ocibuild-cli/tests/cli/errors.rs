//! Each kind of failure: its exit code, and what it says.

use ocibuild_testkit::run_any;
use snapbox::{assert_data_eq, file};

use crate::bench::{Bench, SPEC};
use crate::recorder::{Recorder, Reply};

#[track_caller]
fn fails(bench: &Bench, arguments: &[&str], code: i32) -> String {
    let output = bench.run(arguments).expect_code(code);
    assert_eq!(output.text(), "", "nothing but results on standard output");
    bench.said(&output)
}

macro_rules! told {
    ($said:expr, $snapshot:literal) => {
        assert_data_eq!($said, file![$snapshot].raw())
    };
}

#[test]
fn without_a_spec_it_says_how_to_start() {
    told!(fails(&Bench::new(), &["build"], 2), "snapshots/no-spec.txt");
}

#[test]
fn a_faulty_spec_shows_all_its_faults_with_their_lines() {
    let spec = SPEC.replace("layers = [\"app\"]", "layers = [\"ap\"]\nentrypont = [\"x\"]");
    told!(fails(&Bench::with_spec(&spec), &["build"], 2), "snapshots/faulty-spec.txt");
}

#[test]
fn one_fault_stands_behind_the_word_error() {
    let bench = Bench::with_spec(&SPEC.replace("[images.app]", "[images.app]\nuser = \"a b\""));
    told!(fails(&bench, &["build"], 2), "snapshots/one-fault.txt");
}

#[test]
fn a_missing_source_shows_its_line() {
    told!(
        fails(&Bench::with_spec(&SPEC.replace("\"hello\"", "\"hallo\"")), &["build"], 3),
        "snapshots/missing-source.txt"
    );
}

#[test]
fn a_missing_source_of_flags_says_where_it_was_looked_for() {
    told!(fails(&Bench::new(), &["build", "--copy", "nope:/app"], 3), "snapshots/missing-copy.txt");
}

#[test]
fn a_cache_that_is_no_directory_is_named() {
    let bench = Bench::with_spec(SPEC);
    bench.write("file", "");
    told!(fails(&bench, &["build", "--cache-dir", "file"], 6), "snapshots/cache.txt");
}

#[test]
fn a_registry_that_is_not_there() {
    let bench = Bench::with_spec(SPEC);
    // Nothing listens on the port of the multiplexer of old.
    told!(
        fails(&bench, &["build", "-q", "--push", "-t", "127.0.0.1:1/app:1"], 4),
        "snapshots/unreachable.txt"
    );
}

#[test]
fn usage() {
    let bench = Bench::with_spec(SPEC);
    let cases: [(&[&str], &str); 20] = [
        (&["build", "nope"], "the spec has no image `nope`\n  hint: it has `app`"),
        (&["build", "-f", "ocibuild.toml", "--copy", "a:/b"], "`--copy` describes an image of its own"),
        (&["build", "app", "--copy", "a:/b"], "`--name` names the image"),
        (&["build", "--user", "1"], "nothing is in it"),
        (&["build", "--volume", "/x"], "nothing is in it"),
        (&["build", "--copy", "a:/b", "--stop-timeout", "10"], "is not a duration"),
        (&["build", "--copy", "a:/b", "--stop-timeout", "1ms"], "`stop-timeout` is whole seconds"),
        (&["build", "--copy", "a:/b", "--stop-signal", "term"], "write \"SIGTERM\""),
        (&["build", "--annotation", "org.opencontainers.image.created=now"], "RFC 3339"),
        (&["build", "--copy", "a:/b", "--var", "x=1"], "`--var` gives values to a spec file"),
        (&["build", "--copy", "a"], "there is no destination"),
        (&["build", "--base", "a b"], "`a b` is no base"),
        (&["build", "--base", "static@9"], "there is no builtin base `static@9`"),
        (&["build", "--push"], "has no tag to push it to"),
        (&["build", "-t", "r.io/App:1"], "write \"r.io/app:1\""),
        (&["build", "--compression", "zstd:20"], "zstd has no level `20`"),
        (&["build", "--platform", "linux/x86_64"], "write \"linux/amd64\""),
        (&["build", "--output", "app.tar"], "it has no `dest=`"),
        (&["build", "--output", "type=oci,dest=a", "--output", "type=oci,dest=a"], "one destination"),
        (&["build", "-f", "nope.toml"], "cannot read the spec file `nope.toml`"),
    ];
    for (arguments, part) in cases {
        let said = fails(&bench, arguments, 2);
        assert!(said.starts_with("error: ") && said.contains(part), "{arguments:?} says:\n{said}");
    }
}

#[test]
fn variables_of_the_environment_are_checked() {
    let bench = Bench::with_spec(SPEC);
    for (name, value) in [("SOURCE_DATE_EPOCH", "now"), ("SOURCE_DATE_EPOCH", "-1")] {
        let output = run_any(bench.command(&["build"]).env(name, value)).expect_code(2);
        assert!(output.errors().contains(name), "{output}");
    }
    // Empty is as good as unset.
    for name in ["SOURCE_DATE_EPOCH", "XDG_CACHE_HOME"] {
        run_any(bench.command(&["build"]).env(name, "")).expect_code(0);
    }
}

#[test]
fn tags_are_for_one_image() {
    let spec = format!("{SPEC}\n[images.other]\nlayers = [\"app\"]\n");
    let bench = Bench::with_spec(&spec);
    assert!(fails(&bench, &["build", "-t", "a:1"], 2).contains("`--tag` is for one image, and 2"));
    bench.ok(&["build", "other", "-t", "a:1"]);
}

#[test]
fn two_images_under_one_name_are_refused_before_anything_is_built() {
    let spec = SPEC.replace(
        "[images.app]",
        "[images.other]\nlayers = [\"app\"]\ntags = [\"b:1\"]\n\n[images.app]\ntags = [\"a:1\"]",
    );
    let bench = Bench::with_spec(&spec);
    let said = fails(&bench, &["build", "--output", "type=oci,dest=all"], 2);
    assert!(said.contains("would both be called `1`"), "{said}");
    assert_eq!(bench.names(), ["hello", "ocibuild.toml"]);
    bench.ok(&["build"]);
    assert_eq!(bench.names(), ["app.oci", "hello", "ocibuild.toml", "other.oci"]);
}

#[test]
fn a_directory_of_something_else_is_not_written_into() {
    let bench = Bench::with_spec(SPEC);
    bench.write("app.oci/notes", "mine");
    let said = fails(&bench, &["build"], 3);
    assert!(said.contains("it is not an OCI layout"), "{said}");
    assert!(!said.contains("layer app"), "it was told too late:\n{said}");
}

#[test]
fn layers_that_disagree_on_a_directory_are_a_fault_of_the_spec() {
    let spec = SPEC.replace(
        "[images.app]",
        "[layers.own]\ncopy = [{ directory = \"/app\", mode = \"0700\" }]\n\n[images.app]",
    );
    let bench = Bench::with_spec(&spec.replace("layers = [\"app\"]", "layers = [\"own\", \"app\"]"));
    told!(fails(&bench, &["build", "-q"], 2), "snapshots/disagreement.txt");
}

#[test]
fn what_a_layer_below_writes_cannot_be_removed() {
    let spec = SPEC.replace("[layers.app]", "[layers.slim]\nremove = [\"/etc/passwd\"]\n\n[layers.app]");
    let spec = spec.replace("/app/hello", "/etc/passwd");
    let bench = |layers: &str| {
        let image = "[images.app]\nbase = { builtin = \"static@1\" }";
        let spec = spec.replace("[images.app]", image).replace("layers = [\"app\"]", layers);
        Bench::with_spec(&spec)
    };
    let said = fails(&bench("layers = [\"app\", \"slim\"]"), &["build", "-q"], 2);
    told!(said, "snapshots/taken-away.txt");
    bench("layers = [\"slim\", \"app\"]").ok(&["build"]);
}

#[test]
fn files_that_no_image_can_have_are_refused() {
    let bench = Bench::new();
    bench.write("hidden/.wh.file", "");
    let said = fails(&bench, &["build", "--copy", "hidden:/x"], 3);
    assert!(said.contains("would take files away") && said.contains("in a spec file"), "{said}");
    let said = fails(&bench, &["build", "--copy", "hello:/x", "--platform", "linux/arm64"], 3);
    assert!(said.contains("is a program for amd64"), "{said}");
}

#[test]
fn a_base_that_is_not_there_or_not_for_the_platform() {
    let bench = Bench::with_spec(SPEC);
    let said = fails(&bench, &["build", "--base", "oci:nope", "--copy", "hello:/x"], 3);
    assert!(said.contains("there is no such directory") && said.contains("by its reference"), "{said}");
    bench.ok(&["build"]);
    let flags = ["build", "--base", "oci:app.oci", "--copy", "ocibuild.toml:/x", "--platform", "linux/arm64"];
    let said = fails(&bench, &flags, 2);
    assert!(said.contains("has no image for `linux/arm64`, only for `linux/amd64`"), "{said}");
}

#[test]
fn what_can_t_be_left_out_taken_away_or_owned_says_what_can() {
    let spec = |layer: &str| {
        let base = "[images.app]\nbase = { builtin = \"static@1\" }";
        SPEC.replace("[images.app]", base).replace("[layers.app]", &format!("[layers.app]\n{layer}"))
    };
    let copied = |key: &str| spec("").replace("/app/hello\" }", &format!("/app/hello\", {key} }}"));
    let scratch = SPEC.replace("/app/hello\" }", "/app/hello\", owner = \"root\" }");
    let cases: [(String, i32, &[&str]); 8] = [
        (
            spec("remove = [\"/etc/paswd\"]"),
            3,
            &[":4:11: ", "nothing of that name", "did you mean `/etc/passwd`?"],
        ),
        (spec("remove = [\"/etc/*.bak\"]"), 3, &["leave it out of `remove`"]),
        (SPEC.replace("[layers.app]", "[layers.app]\nremove = [\"/etc\"]"), 3, &["the base is empty"]),
        (
            spec("remove = [\"/app\"]")
                .replace("\"/app\"", "\"/etc\"")
                .replace("/app/hello\" }", "/etc/x\" }"),
            2,
            &["`/etc` is removed and written by one layer", "`DIRECTORY/*` empties"],
        ),
        (copied("owner = \"node\""), 3, &[":5:54: ", "no user `node`", "`nobody`, `nonroot`, `root`"]),
        (scratch, 3, &["no user `root`", "no names at all", "65532:65532"]),
        (
            copied("ignore-file = \"gone\""),
            3,
            &["cannot read the ignore file `gone`", "looked for in the root"],
        ),
        (
            copied("ignore-file = \"faulty\""),
            3,
            &["the ignore file `faulty` cannot be used: line 2: `[` has no `]`"],
        ),
    ];
    for (spec, code, parts) in cases {
        let bench = Bench::with_spec(&spec);
        bench.write("faulty", "a\n[\n");
        let said = fails(&bench, &["build"], code);
        parts.iter().for_each(|part| assert!(said.contains(part), "{part}\n{said}"));
    }
    let bench = Bench::with_spec(&SPEC.replace("\"hello\"", "\".\""));
    bench.write(".dockerignore", "**\n");
    let said = fails(&bench, &["build"], 3);
    assert!(said.contains("hint: `.dockerignore` leaves files out: mend its rules"), "{said}");
}

#[test]
fn an_image_that_breaks_a_rule_ends_with_1() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[]);
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let layer = shown["images"][0]["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    std::fs::remove_file(bench.path("app.oci/blobs/sha256").join(layer)).unwrap();
    let output = bench.run(&["validate", "--depth", "manifests", "app.oci"]).expect_code(1);
    told!(bench.said(&output), "snapshots/broken-rule.txt");
}

#[test]
fn credentials_that_cannot_be_read_end_with_5() {
    let bench = Bench::with_spec(SPEC);
    bench.write("docker/config.json", "{");
    let registry = Recorder::start(|_, _| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    let tag = format!("{}/app:1", registry.host);
    let mut command = bench.command(&["build", "-q", "--push", "-t", &tag]);
    let output = run_any(command.env("DOCKER_CONFIG", bench.path("docker"))).expect_code(5);
    told!(bench.said(&output).replace(&registry.host, "REGISTRY"), "snapshots/credentials.txt");
}
