//! What is built: by file and by flags.

use ocibuild_testkit::run_any;

use crate::bench::{Bench, SPEC};

const FULL: &str = r#"version = 1
[layers.app]
copy = [{ from = "hello", to = "/app/hello" }, { from = "conf", to = "/etc/app" }]
[images.app]
base = { builtin = "static@1" }
layers = ["app"]
platforms = ["linux/amd64"]
entrypoint = ["/app/hello", "--serve"]
cmd = ["now"]
env = { MODE = "a=b" }
user = "65532"
workdir = "/app"
expose = ["8080/tcp"]
labels = { team = "x" }
"#;

#[test]
fn flags_and_file_make_the_same_image() {
    let bench = Bench::with_spec(FULL);
    bench.write("conf/a.yaml", "a: 1\n");
    let by_file = bench.digest(&[]);
    bench.valid("app.oci");
    let flags = [
        "--copy",
        "hello:/app/hello",
        "--copy",
        "conf:/etc/app",
        "--base",
        "static@1",
        "--platform",
        "linux/amd64",
        "--env",
        "MODE=a=b",
        "--user",
        "65532",
        "--workdir",
        "/app",
        "--expose",
        "8080",
        "--label",
        "team=x",
        "--name",
        "other",
        "--cmd",
        "now",
    ];
    let words = ["--entrypoint", "/app/hello", "--entrypoint", "--serve"];
    assert_eq!(bench.digest(&[&flags[..], &words].concat()), by_file);
    let array = ["--entrypoint", r#"["/app/hello", "--serve"]"#];
    assert_eq!(bench.digest(&[&flags[..], &array].concat()), by_file);
    bench.valid("other.oci");
}

#[test]
fn a_layout_is_a_base() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[]);
    bench.write("more", "more");
    bench.digest(&["--base", "oci:app.oci", "--copy", "more:/more", "--name", "on-top"]);
    bench.valid("on-top.oci");
    let shown = bench.ok(&["inspect", "--format", "json", "on-top.oci"]).json();
    assert_eq!(shown["images"][0]["layers"].as_array().unwrap().len(), 2);
    assert_eq!(shown["images"][0]["config"]["config"]["Entrypoint"][0], "/app/hello");
}

#[test]
fn several_platforms_make_an_index() {
    let spec = SPEC.replace("to = \"/app/hello\" }", "to = \"/app/hello\", allow-foreign = true }");
    let bench = Bench::with_spec(&spec);
    bench.digest(&["--platform", "linux/amd64,linux/arm64"]);
    bench.valid("app.oci");
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let platforms =
        shown["images"].as_array().unwrap().iter().map(|image| &image["platform"]["architecture"]);
    assert_eq!(platforms.collect::<Vec<_>>(), ["amd64", "arm64"]);
}

#[test]
fn variables_are_given_by_flags() {
    let bench = Bench::with_spec(
        &format!("{SPEC}tags = [\"r.io/app:{{var.tag}}\"]\n")
            .replace("[layers.app]", "[vars]\ntag = \"dev\"\n[layers.app]"),
    );
    bench.digest(&[]);
    assert!(bench.ok(&["inspect", "app.oci:dev"]).text().contains("sha256:"));
    bench.digest(&["--var", "tag=1.4.2"]);
    bench.ok(&["inspect", "app.oci:1.4.2"]);
    bench.ok(&["inspect", "app.oci:dev"]);
}

#[test]
fn one_digest_whatever_the_threads_and_the_cache() {
    let bench = Bench::with_spec(SPEC);
    let digest = bench.digest(&[]);
    for flags in [&["--threads", "1"][..], &["--threads", "4"], &["--no-cache"], &["--cache-dir", "own"]] {
        assert_eq!(bench.digest(flags), digest, "{flags:?}");
    }
    assert_ne!(bench.digest(&["--compression", "none"]), digest);
    let output = run_any(bench.command(&["build"]).env("SOURCE_DATE_EPOCH", "1700000000")).expect_code(0);
    assert_ne!(output.text(), digest);
    let shown = bench.ok(&["inspect", "app.oci"]).text();
    assert!(shown.contains("2023-11-14T22:13:20Z"), "{shown}");
}

#[test]
fn our_own_outputs_and_cache_are_never_input() {
    let bench = Bench::with_spec(
        &SPEC.replace("from = \"hello\", to = \"/app/hello\"", "from = \".\", to = \"/app\""),
    );
    let flags = ["--cache-dir", "own"];
    bench.ok(&["build", "--cache-dir", "own", "--output", "type=oci,dest=all"]);
    let first = bench.digest(&["--cache-dir", "own", "--output", "type=oci,dest=all"]);
    assert_eq!(bench.digest(&["--cache-dir", "own", "--output", "type=oci,dest=all"]), first);
    bench.tree.remove("work/all");
    assert_eq!(bench.digest(&flags), first);
    assert_eq!(bench.digest(&flags), first, "the layout of the run before was taken for input");
}

#[test]
fn two_specs_with_layers_of_one_name_do_not_answer_for_each_other() {
    let bench = Bench::with_spec(&SPEC.replace("[layers.app]", "[layers.app]\nmanifests = [\"lock\"]"));
    bench.write("lock", "1");
    bench.write("other/lock", "1");
    bench.write("other/hello", "not the same");
    bench.write("other/ocibuild.toml", bench.tree.read("work/ocibuild.toml"));
    bench.write(
        "other/ocibuild.toml",
        String::from_utf8(bench.tree.read("work/ocibuild.toml"))
            .unwrap()
            .replace("version = 1", "version = 1\nroot = \"..\"")
            .replace("\"lock\"", "\"other/lock\"")
            .replace("from = \"hello\"", "from = \"other/hello\""),
    );
    assert_ne!(bench.digest(&[]), bench.digest(&["-f", "other/ocibuild.toml"]));
}

#[test]
fn flags_describe_as_much_as_a_file() {
    let spec = format!(
        "{SPEC}volumes = [\"/data\"]\nstop-signal = \"SIGINT\"\nstop-timeout = \"30s\"\nauthor = \"me\"\n\
         labels = {{ a = \"1\" }}\nannotations = {{ b = \"2\", manifest = {{ c = \"3\" }} }}\n"
    );
    let bench = Bench::with_spec(&spec);
    let flags = "--copy hello:/app/hello --entrypoint /app/hello --volume /data --stop-signal SIGINT \
                 --stop-timeout 30s --author me --label a=1 --annotation b=2 --annotation manifest:c=3";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    assert_eq!(bench.digest(&[]), bench.digest(&flags));
    bench.valid("app.oci");
}

#[test]
fn labels_and_annotations_of_flags_overrule_the_specs() {
    let spec = SPEC.replace("to = \"/app/hello\" }", "to = \"/app/hello\", allow-foreign = true }");
    let bench = Bench::with_spec(&format!(
        "{spec}platforms = [\"linux/amd64\", \"linux/arm64\"]\nlabels = {{ a = \"spec\", b = \"spec\" }}\n\
         annotations = {{ a = \"spec\", b = \"spec\", manifest = {{ a = \"scope\" }} }}\n"
    ));
    let flags =
        "--label a={os} --annotation a=flag --annotation index:c=1 --annotation manifest-descriptor:d=2";
    bench.digest(&flags.split_whitespace().collect::<Vec<_>>());
    bench.valid("app.oci");
    let shown = bench.ok(&["inspect", "--format", "json", "app.oci"]).json();
    let image = &shown["images"][0];
    assert_eq!(image["config"]["config"]["Labels"], serde_json::json!({ "a": "{os}", "b": "spec" }));
    assert_eq!(image["annotations"], serde_json::json!({ "a": "flag", "b": "spec" }));
    assert_eq!(shown["annotations"], serde_json::json!({ "a": "flag", "b": "spec", "c": "1" }));

    let said = bench.ok(&["build", "--platform", "linux/amd64", "--annotation", "index:c=1"]).errors();
    assert!(said.contains("nothing carries annotations of the index"), "{said}");
    let said = bench.run(&["build", "--annotation", "index-descriptor:a=b"]).expect_code(2).errors();
    assert!(said.contains("`index-descriptor` is no scope of annotations"), "{said}");
}

#[test]
fn images_share_layers_that_are_built_once() {
    let spec = format!("{SPEC}\n[images.other]\nlayers = [\"app\"]\nuser = \"1\"\n");
    let bench = Bench::with_spec(&spec);
    let said = bench.ok(&["build", "-v"]).errors();
    assert_eq!(said.matches("layer app: built").count(), 1, "{said}");
    let layers = |image: &str| {
        bench.valid(image);
        let shown = bench.ok(&["inspect", "--format", "json", image]).json();
        shown["images"][0]["layers"][0]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(layers("app.oci"), layers("other.oci"));
}

#[test]
fn what_containers_would_stumble_over_is_told_with_its_line() {
    let spec = SPEC.replace("entrypoint = [\"/app/hello\"]", "entrypoint = [\"/app/hallo\"]\nuser = \"app\"");
    let bench = Bench::with_spec(&format!("{spec}env = {{ PATH = \"$PATH:/x\" }}\n"));
    let expected = "\
warning: ocibuild.toml:10:16: `$PATH` in the variable `PATH` stays as it is: images expand no variables
  10 | env = { PATH = \"$PATH:/x\" }
     |                ^^^^^^^^^^
  hint: write all of it, such as \"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/x\"";
    let checked = bench.ok(&["check"]).errors();
    assert_eq!(checked, expected);
    let built = bench.ok(&["build"]).errors();
    assert!(built.starts_with(expected), "{built}");
    let started = "\
warning: ocibuild.toml:8:14: containers are to start `/app/hallo`, which isn't in the image
  8 | entrypoint = [\"/app/hallo\"]
    |              ^^^^^^^^^^^^^^
  hint: mend the path, or copy the program there
warning: ocibuild.toml:9:8: containers are to run with the user `app`, which the image doesn't have
  9 | user = \"app\"
    |        ^^^^^
  hint: it has no names at all: give numbers, such as `65532:65532`\n";
    assert!(built.contains(started), "{built}");
    // Reused or not.
    let built = bench.ok(&["build"]).errors();
    assert!(built.contains(started), "{built}");
}

#[test]
fn flags_are_warned_of_as_well() {
    let bench = Bench::new();
    let flags = ["build", "--copy", "hello:/app/hello", "--base", "static@1", "--user", "nonroot"];
    let built =
        bench.ok(&[&flags[..], &["--env", "DIR=${HOME}/x", "--entrypoint", "/hello"]].concat()).errors();
    for line in [
        "warning: `${HOME}` in the variable `DIR` stays as it is: images expand no variables",
        "  hint: write what `HOME` is in its place; `ocibuild inspect` shows what a base has",
        "warning: containers are to start `/hello`, which isn't in the image",
    ] {
        assert!(built.lines().any(|told| told == line), "no `{line}` in\n{built}");
    }
    assert!(!built.contains("nonroot"), "{built}");
    let built = bench.ok(&[&flags[..], &["--entrypoint", "/app/hello"]].concat()).errors();
    assert!(!built.contains("warning"), "{built}");
}

#[test]
fn a_program_in_a_form_that_the_system_does_not_run_is_refused() {
    let bench = Bench::with_spec(SPEC);
    let built = bench.run(&["build", "--platform", "windows/amd64"]).expect_code(3).errors();
    assert!(
        built.contains(
            "`/app/hello` is a program for Linux (ELF) on amd64, and the image is for windows/amd64"
        ),
        "{built}"
    );
    bench.write("ocibuild.toml", SPEC.replace("/app/hello\" }", "/app/hello\", allow-foreign = true }"));
    bench.ok(&["build", "--platform", "windows/amd64"]);
}
