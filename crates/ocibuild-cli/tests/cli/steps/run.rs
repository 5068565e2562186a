//! `ocibuild run`, and `build` with steps.

use std::fs;

use ocibuild_serve::{ServeOptions, Server};
use ocibuild_testkit::run_any;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::bench::Bench;
use crate::steps::{SPEC, project, said};

#[test]
fn without_a_name_the_steps_are_listed() {
    let output = project().ok(&["run"]);
    assert_data_eq!(
        output.text() + "\n",
        str![[r#"
STEP     RUNS                                          NEEDS    USED BY
install  echo installing; mkdir -p modules; cp lock …  -        step compile
compile  echo compiling; cat src/* modules/list > pr…  install  layer app, step test
test     grep -q hello program || { echo no greeting…  compile  -

"#]]
    );
    let bench = Bench::with_spec(crate::bench::SPEC);
    assert!(bench.ok(&["run"]).text().contains("has no steps"));
}

#[test]
fn a_build_runs_what_it_needs_and_only_once() {
    let bench = project();
    let output = bench.ok(&["build", "--jobs", "1"]);
    assert_data_eq!(
        said(&output).lines().take(6).collect::<Vec<_>>().join("\n"),
        str![[r#"
step install: started
install | installing
step install: ran in TIME
step compile: started
compile | compiling
step compile: ran in TIME
"#]]
    );
    bench.valid("service.oci");
    let again = bench.ok(&["build"]).errors();
    assert!(!again.contains("step ") && again.contains("layer app: reused"), "{again}");
}

#[test]
fn steps_run_without_an_image_and_what_they_made_can_be_had() {
    let bench = project();
    let output = bench.ok(&["run", "test", "compile", "-o", "made/here"]);
    assert!(output.text().is_empty());
    assert!(output.errors().contains("\nran install, compile, test; "), "{}", output.errors());
    assert_eq!(fs::read_to_string(bench.path("made/here/program")).unwrap(), "hello\none\n");
    // What a cache has is brought back, where it isn't at hand.
    fs::remove_dir_all(bench.path("made")).unwrap();
    fs::remove_dir_all(bench.tree.join("cache/outputs")).unwrap();
    let output = bench.ok(&["run", "compile", "--output", "."]);
    assert!(output.errors().contains("\nreused compile; "), "{}", output.errors());
    assert_eq!(fs::read_to_string(bench.path("program")).unwrap(), "hello\none\n");
    assert_eq!(bench.names(), ["hello", "lock", "ocibuild.toml", "program", "src"]);
}

#[test]
fn several_platforms_have_directories_of_their_own() {
    let spec = SPEC.replace("echo compiling;", "echo $OCIBUILD_PLATFORM;");
    let bench = Bench::with_spec(&spec);
    bench.write("lock", "one\n");
    bench.write("src/main", "hello\n");
    bench.ok(&["run", "compile", "--platform", "linux/amd64,linux/arm64", "-o", "out"]);
    for platform in ["linux-amd64", "linux-arm64"] {
        assert!(bench.path("out").join(platform).join("program").is_file());
    }
}

#[test]
fn an_output_that_cant_be_written_is_told_before_anything_runs() {
    let bench = project();
    let output = bench.run(&["run", "compile", "-o", "lock"]).expect_code(3);
    assert!(!output.errors().contains("compiling"), "{}", output.errors());
}

#[test]
fn a_step_that_isnt_there_is_told_with_those_that_are() {
    let output = project().run(&["run", "tests"]).expect_code(2);
    assert_eq!(
        output.errors().trim_end(),
        "error: the spec has no step `tests`\n  hint: it has `install`, `compile`, `test`"
    );
}

#[test]
fn a_name_of_something_else_is_told_with_the_command_for_it() {
    let bench = project();
    for (words, hint) in [
        (["run", "service"], "it is an image: `ocibuild build service`"),
        (["run", "app"], "it is a layer; it has `install`, `compile`, `test`"),
        (["build", "test"], "it is a step: `ocibuild run test`"),
        (["build", "app"], "it is a layer; it has `service`"),
        (["explain", "compile"], "it is a step: `ocibuild graph compile` tells whether it would run"),
        (["explain", "service"], "it is an image; there are `app`"),
    ] {
        let said = bench.run(&words).expect_code(2).errors();
        assert!(said.contains(&format!("hint: {hint}")), "{words:?}: {said}");
    }
}

#[test]
fn a_build_of_no_image_says_so() {
    let bench = Bench::with_spec("version = 1\n[steps.test]\nrun = \"true\"\ninputs = []\n");
    let said = bench.ok(&["build"]).errors();
    assert!(said.contains("warning: the spec has no image"), "{said}");
    assert!(said.contains("hint: `ocibuild run` lists its steps"), "{said}");
}

#[test]
fn what_a_step_reads_that_is_not_run_is_not_taken_for_checked() {
    let spec = "version = 1\n[steps.place]\nrun = \"cat hello > made\"\ninputs = [\"hello\"]\n\
                outputs = [\"made\"]\nin-place = true\n[steps.other]\nrun = \"true\"\ninputs = []\n";
    let bench = Bench::with_spec(spec);
    bench.ok(&["run", "place"]);
    let said = bench.ok(&["run", "place", "--check-inputs"]).errors();
    assert!(said.contains("warning: step `place` was not run, so nobody saw what it reads"), "{said}");
    assert!(said.contains("hint: `--no-cache` runs it"), "{said}");
    let said = bench.ok(&["run", "other", "--check-inputs"]).errors();
    assert!(said.contains("warning: no step here has `in-place = true`"), "{said}");
    assert!(!bench.ok(&["run", "place"]).errors().contains("warning"), "nobody asked");
}

#[test]
fn no_cache_runs_all_of_it() {
    let bench = project();
    let count = bench.tree.join("count");
    let times = || fs::read_to_string(&count).unwrap_or_default().lines().count();
    for (flags, expected) in [(&[][..], 1), (&[], 1), (&["--no-cache"], 2), (&[], 2)] {
        let words = [&["run", "compile"], flags].concat();
        run_any(bench.command(&words).env("COUNT", &count)).expect_code(0);
        assert_eq!(times(), expected, "{flags:?}");
    }
}

#[test]
fn programs_are_told_of_each_step() {
    let bench = project();
    let output = bench.ok(&["run", "test", "--progress", "json"]);
    let errors = output.errors();
    let lines: Vec<Value> = errors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("step-started").len(), 3);
    assert_eq!(of("step-output")[0]["line"], "installing");
    let summary = of("summary")[0];
    assert_eq!(summary["steps"].as_array().unwrap().len(), 3);
    assert_eq!(summary["steps"][0]["cache"], "built");
    let output = bench.ok(&["build", "--metadata-file", "../metadata.json"]);
    assert!(output.errors().contains("; 0 of 1 step ran; "), "{}", output.errors());
    let metadata: Value = serde_json::from_slice(&fs::read(bench.path("../metadata.json")).unwrap()).unwrap();
    assert_eq!(metadata["steps"][0]["name"], "compile");
    assert_eq!(metadata["steps"][0]["cache"], "local");
}

#[test]
fn a_check_knows_inputs_and_asks_nothing_of_what_steps_make() {
    let bench = project();
    bench.ok(&["check"]);
    fs::remove_file(bench.path("lock")).unwrap();
    let output = bench.run(&["check"]).expect_code(3);
    let told = output.text() + &output.errors();
    assert!(told.contains("ocibuild.toml:6:11: step `install`: `lock` doesn't exist"), "{told}");
}

#[test]
fn another_machine_has_what_steps_made_from_a_cache_repository() {
    let bench = project();
    let server = Server::start(bench.tree.join("served"), ServeOptions::default()).unwrap();
    let cache = format!("{}/cache:main", server.address());
    let count = bench.tree.join("count");
    let times = || fs::read_to_string(&count).unwrap_or_default().lines().count();
    let run = |words: &[&str], own: &str| {
        let mut command = bench.command(&[&["run", "compile"], words].concat());
        run_any(command.env("COUNT", &count).env("OCIBUILD_CACHE_DIR", bench.tree.join(own))).expect_code(0)
    };
    let told = run(&["--cache-to", &cache, "--cache-mode", "max"], "one").errors();
    assert!(told.contains("records to `"), "{told}");
    let told = run(&["--cache-to", &cache], "one").errors();
    assert!(told.contains("is not told of steps") && told.contains("--cache-mode max"), "{told}");
    let told = run(&["--cache-from", &cache, "-o", "made"], "two").errors();
    assert!(told.contains("step compile: reused from a registry"), "{told}");
    assert_eq!(fs::read_to_string(bench.path("made/program")).unwrap(), "hello\none\n");
    // An edit runs what it is for, on what the other machine installed.
    bench.write("src/main", "hello again\n");
    let told = run(&["--cache-from", &cache], "three").errors();
    assert!(told.contains("step compile: ran") && times() == 1, "{told}");
}
